/**
 * What is worth telling people and their scripts about a cluster: the closed list of events, what one event says, and
 * how a list of them stands in etcd. The names are repmgr's wherever it has one, so that its notification scripts go on
 * working. Nothing is decided by an event.
 */

import type { Key } from './store.ts';

/** Every event, with its meaning. `ok` is false where the meaning says "could not" or tells of trouble. */
export const CLUSTER_EVENTS = {
  cluster_created: 'this node made a new cluster',
  repmgrd_start: 'the service has started on this node',
  repmgrd_shutdown: 'the service stops on this node',
  repmgrd_config_reload: 'the configuration file was read again, or could not be used',
  repmgrd_failover_promote: 'this node was promoted because the former primary failed or was stopped',
  repmgrd_failover_follow: 'this standby follows the new primary after a failover',
  repmgrd_failover_abort: 'an election had begun and the old leader is back: nobody else was promoted',
  repmgrd_promote_error: 'this node could not be promoted',
  repmgrd_local_disconnect: 'the Postgres of the primary does not answer, or is gone',
  repmgrd_local_reconnect: 'the Postgres of the primary answers again',
  repmgrd_upstream_disconnect: 'this standby receives nothing from its upstream, or the leader is gone',
  repmgrd_upstream_reconnect: 'this standby receives from the same upstream again',
  repmgrd_standby_reconnect: 'a former primary is back as a standby',
  standby_failure: 'the Postgres of a standby does not answer, or is gone',
  standby_recovery: 'the Postgres of a standby answers again',
  standby_promote: 'a standby was promoted, for whatever reason',
  standby_follow: 'a standby receives from another upstream than before',
  standby_switchover: 'a switchover is done: this node is the new primary',
  standby_clone: 'the data of this node were copied from another, or could not be',
  standby_register: 'a member joined the cluster',
  standby_unregister: 'a member left the cluster: it was stopped, or its key ran out',
  witness_register: 'a witness joined the cluster',
  witness_unregister: 'a witness left the cluster',
  standby_disconnect_manual: 'there is no leader, and with `failover: manual` nobody takes over',
  node_rejoin: 'this node was rewound to the line of the leader, or could not be',
  child_node_disconnect: 'a standby does not stream from this node any more',
  child_node_reconnect: 'a standby streams from this node again',
  child_node_new_connect: 'a standby streams from this node for the first time',
  child_nodes_disconnect_command: 'child_nodes_disconnect_command was run, or failed',
  fenced: 'the Postgres of this node was stopped, so that it cannot accept writes',
  lease_lost: 'the leader key is not ours any more, although nobody gave it up',
  lease_released: 'this node gave the leader key up in order',
  store_unreachable: 'etcd does not answer this node',
  store_reachable: 'etcd answers this node again',
  failover_vetoed: 'failover_validation_command was against a takeover by this node',
  failover_loss_possible: 'commits in a range of WAL may be lost; the range stands in the details',
  failover_loss_excluded: 'the new primary has all WAL of the last one: nothing is lost',
  switchover_refused: 'a switchover that was asked for could not be done safely',
  wal_rescue: "the end of a dead primary's WAL was brought to a standby, or could not be",
  wal_discarded: 'WAL that only this node had is undone, so that it can follow; false when transactions go with it',
  poolers_paused:
    'clients are held back in the poolers before a planned stop; false when not all transactions ended in time',
  poolers_resumed: 'clients go on in the poolers, after how long; false when a pooler was late',
  pooler_skipped: 'a pooler did not answer, or did not do as it was told',
  vip_taken: 'this node has the virtual address from now on',
  vip_released: 'this node has given the virtual address up; false when it was there and should not have been',
  vip_failed: 'the virtual address could not be put on the interface, or removed, or another machine has it too',
  cluster_paused: 'maintenance has begun: nothing is done by itself',
  cluster_resumed: 'maintenance has ended',
  node_sick:
    'something ails this node: a disk, the checkpointer, the archiver, crashes, a wraparound; the details say what',
  node_recovered: 'what ailed this node is over',
  node_unusable: 'this node cannot take part before somebody helps; the details say why',
} as const;

export type ClusterEventName = keyof typeof CLUSTER_EVENTS;

/** Names of repmgr's that a list of wanted events may hold, and why such an event never comes. */
export const EVENTS_OF_REPMGR_ONLY: Readonly<Record<string, string>> = {
  primary_register: 'members register themselves: see cluster_created and standby_register',
  primary_unregister: 'see standby_unregister',
  standby_register_sync: 'see standby_register',
  cluster_cleanup: 'old events and lags go by themselves',
  repmgrd_reload: 'see repmgrd_failover_promote',
  repmgrd_failover_aborted: 'see repmgrd_failover_abort',
};

export const isClusterEvent = (name: string): name is ClusterEventName => Object.hasOwn(CLUSTER_EVENTS, name);

/** The other node that an event is about: whom a standby follows, or who was the primary before. */
export interface EventPrimary {
  readonly id: number | null;
  readonly name: string;
  /** `host=10.0.0.11 port=5432`; null: its address is not known. */
  readonly conninfo: string | null;
}

export interface ClusterEvent {
  /** Wall clock of the node that tells, as ISO 8601 in UTC. */
  readonly time: string;
  /** The node it is about. */
  readonly node: string;
  readonly nodeId: number | null;
  /** One of {@link CLUSTER_EVENTS}; a newer version may have written others. */
  readonly event: string;
  readonly ok: boolean;
  /** One sentence. */
  readonly details: string;
  readonly primary: EventPrimary | null;
}

/** What one member keeps in etcd at most: the newest of them. */
export const KEPT_EVENTS = 100;
export const KEPT_EVENTS_BYTES = 64 * 1024;
/** A sentence, not a program's whole output. */
const LONGEST_DETAILS = 500;

/** @param details - of any length and with any line ends */
export function sentenceOf(details: string): string {
  const line = details.replace(/\s+/g, ' ').trim();
  return line.length <= LONGEST_DETAILS ? line : `${line.slice(0, LONGEST_DETAILS - 3)}...`;
}

/** One event as it stands in JSON, here and over HTTP. */
export function eventAsJson(event: ClusterEvent): Readonly<Record<string, unknown>> {
  return {
    time: event.time,
    node: event.node,
    node_id: event.nodeId,
    event: event.event,
    ok: event.ok,
    details: event.details,
    ...(event.primary === null ? {} : { primary: event.primary }),
  };
}

/** A list as it is written, newest last; the oldest go when it would become too long. */
export function writeEvents(events: readonly ClusterEvent[]): string {
  const written = events.slice(-KEPT_EVENTS).map((event) => JSON.stringify(eventAsJson(event)));
  // Two brackets, and a comma each; a letter takes up to three bytes.
  let bytes = written.reduce((sum, one) => sum + new TextEncoder().encode(one).length + 1, 2);
  while (bytes > KEPT_EVENTS_BYTES) bytes -= new TextEncoder().encode(written.shift() ?? '').length + 1;
  return `[${written.join(',')}]`;
}

/** @returns what could be read, and why something could not; null: all of it was */
export function readEvents(value: string): {
  readonly events: readonly ClusterEvent[];
  readonly trouble: string | null;
} {
  let list: unknown;
  try {
    list = JSON.parse(value);
  } catch {
    return { events: [], trouble: 'not JSON' };
  }
  if (!Array.isArray(list)) return { events: [], trouble: 'not a JSON array' };
  const events = list.map(readEvent).filter((event) => event !== null);
  const strange = list.length - events.length;
  return { events, trouble: strange === 0 ? null : `a list with ${strange} entries that are no events` };
}

/** What all members have told, newest first. @param entries - `events/<member>`; other keys are passed over */
export function readAllEvents(entries: readonly { readonly key: Key; readonly value: string }[]): {
  readonly events: readonly ClusterEvent[];
  readonly troubles: readonly { readonly key: Key; readonly why: string }[];
} {
  const troubles: { key: Key; why: string }[] = [];
  const events = entries
    .filter(({ key }) => key.startsWith('events/'))
    .flatMap(({ key, value }) => {
      const read = readEvents(value);
      if (read.trouble !== null) troubles.push({ key, why: read.trouble });
      // The last written comes first among those of one instant.
      return read.events.toReversed();
    })
    .toSorted((a, b) => Date.parse(b.time) - Date.parse(a.time));
  return { events, troubles };
}

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const whole = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) ? value : null;

function readEvent(value: unknown): ClusterEvent | null {
  if (!isObject(value)) return null;
  const { time, node, event, details, primary } = value;
  if (typeof time !== 'string' || Number.isNaN(Date.parse(time))) return null;
  if (typeof node !== 'string' || typeof event !== 'string') return null;
  return {
    time,
    node,
    nodeId: whole(value['node_id']),
    event,
    ok: value['ok'] !== false,
    details: typeof details === 'string' ? sentenceOf(details) : '',
    primary:
      isObject(primary) && typeof primary['name'] === 'string'
        ? {
            id: whole(primary['id']),
            name: primary['name'],
            conninfo: typeof primary['conninfo'] === 'string' ? primary['conninfo'] : null,
          }
        : null,
  };
}
