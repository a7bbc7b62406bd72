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
 *       pgha/                       what only pgha reads: events, and what later protocols need
 */
import type { Key } from '../core/store.ts';

/** @returns `/service/demo/`, whatever slashes the configuration wrote around the two names */
export function basePath(namespace: string, scope: string): string {
  return `/${namespace}/${scope}/`.replace(/\/{2,}/g, '/');
}

export interface KeySpace {
  /** First key of the range that holds everything of this cluster. */
  readonly first: Buffer;
  /** End of that range, exclusive. */
  readonly end: Buffer;
  absolute(key: Key): Buffer;
  relative(bytes: Buffer): Key;
}

export function keySpace(base: string): KeySpace {
  const first = Buffer.from(base);
  // The base ends with a slash, and the byte after it, '0', ends the range: no carry to think of.
  const end = Buffer.from(first);
  end[end.length - 1] = (end[end.length - 1] ?? 0) + 1;
  return {
    first,
    end,
    absolute: (key) => Buffer.from(base + key),
    relative: (bytes) => bytes.toString().slice(base.length),
  };
}
