/**
 * Where things stand in etcd: Patroni's layout, and our own keys under `pgha/`. Turns keys relative to the cluster's
 * path into etcd's bytes and back; what the values mean is known in core/.
 *
 *     /service/demo/                `/<namespace>/<scope>/`, repeated slashes squeezed
 *       leader                      name of the leader, bare text; on its owner's lease; never rewritten to renew it
 *       members/<name>              JSON of one member; on the same lease as its leader key would be
 *       status                      JSON {optime, slots, retain_slots, pgha: {term, seq, hold_ms, release?}}; never deleted
 *       initialize                  system identifier in decimal; empty text while the first node bootstraps
 *       config                      JSON, cluster-wide settings
 *       failover                    JSON, an operator's request; `{}` when there is none
 *       sync                        JSON {leader, quorum, sync_standby}
 *       history                     JSON array of timelines
 *       failsafe                    JSON {name: api_url}
 *       pgha/                       what only pgha reads
 *         events/<name>             JSON array: what happened to one member; not in the read of each cycle
 *         audit                     JSON array: who asked for what; not in the read of each cycle
 *         lag                       JSON array: how far the standbys were behind; not in the read of each cycle
 *         last_takeover             JSON: how the present leader came to lead
 */
import type { Key } from '../core/store.ts';

/** @returns `/service/demo/`, whatever slashes the configuration wrote around the two names */
export function basePath(namespace: string, scope: string): string {
  return `/${namespace}/${scope}/`.replace(/\/{2,}/g, '/');
}

export interface Range {
  readonly first: Buffer;
  /** Exclusive. */
  readonly end: Buffer;
}

export interface KeySpace extends Range {
  /** Everything of this cluster but the chronicle, which is large and which no cycle needs. */
  readonly decisive: readonly Range[];
  /** `pgha/audit`, `pgha/events/` and `pgha/lag`. */
  readonly chronicle: readonly Range[];
  absolute(key: Key): Buffer;
  relative(bytes: Buffer): Key;
}

/** Where the keys of ports/chronicle.ts stand, below the cluster's path. */
export const CHRONICLE = 'pgha/';

export function keySpace(base: string): KeySpace {
  const whole = below(base);
  const one = (key: string): Range => {
    const first = Buffer.from(`${base}${CHRONICLE}${key}`);
    return { first, end: Buffer.concat([first, Buffer.from([0])]) };
  };
  // In the order of their keys, so that what lies between them is the rest.
  const chronicle = [one('audit'), below(`${base}${CHRONICLE}events/`), one('lag')];
  const begins = [whole.first, ...chronicle.map(({ end }) => end)];
  const ends = [...chronicle.map(({ first }) => first), whole.end];
  return {
    ...whole,
    decisive: begins.map((first, index) => ({ first, end: ends[index] ?? whole.end })),
    chronicle,
    absolute: (key) => Buffer.from(base + key),
    relative: (bytes) => bytes.toString().slice(base.length),
  };
}

/** @param prefix - ends with a slash: the byte after it, '0', ends the range, and there is no carry to think of */
function below(prefix: string): Range {
  const first = Buffer.from(prefix);
  const end = Buffer.from(first);
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  return { first, end };
}
