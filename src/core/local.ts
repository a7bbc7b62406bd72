/**
 * What the local Postgres is at one instant. A closed list: every rule that looks at Postgres looks at one of these.
 * "No answer" is a case of its own and never means "stopped".
 */
import type { Lsn, Timeline } from './lsn.ts';
import type { Acknowledging } from './quorum.ts';
import type { Millis } from './time.ts';

/** Decimal text, as in `pg_controldata` and etcd's `initialize` key. */
export type SystemId = string & { readonly __brand: 'SystemId' };
export const systemId = (text: string): SystemId => text as SystemId;

/** The WAL receiver of a standby, from pg_stat_wal_receiver. */
export interface Receiver {
  readonly streaming: boolean;
  /** `host:port` it is connected to. */
  readonly from: string;
  readonly timeline: Timeline;
  /** Since the last message of the sender; null when there was none. */
  readonly lastMessage: Millis | null;
  /** Where the sender's WAL ended by its last message. Absent: it has not said. */
  readonly latestEnd?: Lsn;
}

/** One row of pg_stat_replication. */
export interface Sender {
  readonly applicationName: string;
  readonly user: string;
  readonly clientAddress: string | null;
  readonly state: string;
  readonly syncState: string;
  readonly syncPriority: number;
  readonly sent: Lsn | null;
  readonly flushed: Lsn | null;
  readonly replayed: Lsn | null;
}

/** Facts of a running server that do not depend on its role. */
export interface Running {
  readonly systemId: SystemId;
  readonly timeline: Timeline;
  /** 150018 */
  readonly version: number;
  /** `2026-11-20 10:44:00.123456+00:00`, as Patroni prints it. */
  readonly startedAt: string;
  /** Settings that wait for a restart. */
  readonly pendingRestart: readonly { readonly name: string; readonly from: string; readonly to: string }[];
  /**
   * null: the configured check passed. Otherwise the check that failed (the held query counts whichever type is
   * configured) and what it said; `disk`: processes wait for its WAL to be written, and none is. The other facts are then the last that were known.
   */
  readonly failing: {
    readonly check: 'ping' | 'connection' | 'query' | 'disk';
    readonly said: string;
    /** The query was not answered: what is known beside it is from before. */
    readonly outdated?: true;
  } | null;
  /** What says that new sessions find no room (53300). It serves the ones it has: shown, and no failure. Absent: there is room. */
  readonly full?: string;
}

export interface Primary extends Running {
  readonly kind: 'primary';
  readonly flushed: Lsn;
  readonly senders: readonly Sender[];
  /** The control file names the current timeline: a rewind that uses this server as its source sees it (postgres-notes 2). */
  readonly checkpointed: boolean;
  /** What its commits wait for, as new sessions have it. Absent: not known. */
  readonly acknowledging?: Acknowledging;
  /**
   * The process that lets sessions know whether commits wait at all has done all it was told. Its word counts only some
   * time after a change (docs/synchronous.md).
   */
  readonly checkpointerIdle?: boolean;
  /**
   * It runs under this cluster's name, so pgha or Patroni has configured it: never a stranger's server that is taken in
   * as it runs. Absent: not known.
   */
  readonly managed?: boolean;
  /** Commit time of the last transaction that it replayed before its promotion. Absent: none, or not known. */
  readonly recoveredUpTo?: string;
}

export interface Standby extends Running {
  readonly kind: 'standby';
  /** Received and flushed; 0/0 when nothing was since the start. Use the larger of this and `replayed`. */
  readonly received: Lsn;
  readonly replayed: Lsn;
  readonly replayedAt: string | null;
  readonly replayPaused: boolean;
  /** Whether the larger of the two is all this server has: false while it still replays WAL it had before its start. */
  readonly positionFinal: boolean;
  readonly receiver: Receiver | null;
  /** It has a restore_command to get WAL with. Absent: not known. */
  readonly restores?: boolean;
  /** What primary_conninfo says now, as `host:port`; null when it is empty. */
  readonly follows: string | null;
  /** Downstream standbys that stream from here (cascading). */
  readonly senders: readonly Sender[];
}

export interface Stopped {
  readonly kind: 'stopped';
  readonly systemId: SystemId;
  readonly timeline: Timeline;
  readonly version: number;
  /** pg_control: "shut down" or "shut down in recovery". */
  readonly cleanly: boolean;
  /** It was out of recovery when it ended: pg_control says "in production", "shutting down" or "shut down". */
  readonly wasPrimary: boolean;
  /** A standby.signal is there: a start would make it a standby. */
  readonly standbySignal: boolean;
  /** pg_control: redo position of the last checkpoint; the end of the local WAL lies at or beyond it. */
  readonly checkpoint: Lsn;
  /**
   * pg_control: pages of the data may be as new as this, on `timeline`. Beyond the end of the local WAL it lies after a
   * rewind: the rest has to be received. 0/0: there is none.
   */
  readonly minRecoveryPoint: Lsn;
}

/** The postmaster is there and does not take connections yet (57P03). */
export interface Starting {
  readonly kind: 'starting';
  /** For how long. */
  readonly since: Millis;
  readonly asPrimary: boolean;
  /** Whom a standby is told to receive from, as `host:port`; null: nobody. Missing: nobody knows. */
  readonly follows?: string | null;
  /** For how long what replays a standby's WAL has done nothing; missing: nobody knows. */
  readonly idle?: Millis;
}

export type LocalPostgres =
  /** No data directory, or an empty one. */
  | { readonly kind: 'absent' }
  /** Not ours to touch, or not understood: told, and left alone. */
  | {
      readonly kind: 'unusable';
      readonly code: string;
      readonly sentence: string;
      /** A server runs there all the same, which nobody can ask. */
      readonly runs?: true;
    }
  /** Our own marker says that a copy, a rewind or an initdb did not end: never started. */
  | { readonly kind: 'half-made'; readonly by: 'initdb' | 'copy' | 'rewind' }
  /** The family of processes is seen empty. */
  | Stopped
  /** The postmaster is gone; some of its children are still there, and may still commit. */
  | { readonly kind: 'orphans'; readonly processes: number }
  | Starting
  /** The postmaster is there and does not take connections any more (57P03). */
  | { readonly kind: 'stopping'; readonly since: Millis }
  | Primary
  | Standby
  /** The postmaster is there, nothing was ever learned from it, and it does not answer. */
  | {
      readonly kind: 'silent';
      readonly since: Millis;
      readonly said: string;
      /** It did answer: that it has no room for another connection (53300). It lives, and more is not known. */
      readonly full?: true;
    };

/** May this Postgres accept a write, or be about to? Silence and orphans count. */
export function mayWrite(local: LocalPostgres): boolean {
  switch (local.kind) {
    case 'primary':
    case 'orphans':
    case 'silent':
      return true;
    case 'starting':
      return local.asPrimary;
    case 'unusable':
      return local.runs === true;
    case 'absent':
    case 'half-made':
    case 'stopped':
    case 'stopping':
    case 'standby':
      return false;
    default:
      return ((never: never) => never)(local);
  }
}

/** What has replayed nothing for so long waits for WAL. */
const WAITS_FOR_WAL_MS = 10_000;

/** Whether a standby that is starting would do so for ever if whom it is told to receive from is the wrong one. */
export function startsInVain(local: Starting): boolean {
  return !local.asPrimary && local.follows !== undefined && (local.idle ?? 0) > WAITS_FOR_WAL_MS;
}

/** What is wrong with a server that runs, in words that stay the same while it does; null: nothing that is known. */
export function troubleOf(local: LocalPostgres): string | null {
  if (local.kind === 'silent') return local.full === true ? 'no room for sessions' : 'no answer';
  if (local.kind !== 'primary' && local.kind !== 'standby') return null;
  if (local.failing !== null) return local.failing.check === 'disk' ? 'disk hangs' : `${local.failing.check} fails`;
  return local.full === undefined ? null : 'no room for sessions';
}

/**
 * How a standby gets its WAL, in Patroni's words; null: not at all, or nobody knows. What a server that does not answer was
 * last seen doing says nothing about what it does.
 */
export function replicationState(local: LocalPostgres): 'streaming' | 'in archive recovery' | null {
  if (local.kind !== 'standby' || local.failing !== null) return null;
  if (local.receiver?.streaming === true) return 'streaming';
  return local.restores === true ? 'in archive recovery' : null;
}

/** How far this standby's WAL reaches. */
export function position(standby: Standby): Lsn {
  return standby.received > standby.replayed ? standby.received : standby.replayed;
}
