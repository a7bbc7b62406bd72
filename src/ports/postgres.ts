/**
 * The one Postgres instance of this node. The adapter knows commands, files and SQL; it decides nothing, starts
 * nothing by itself, and never touches a data directory that is not ours.
 *
 * Everything that can take long is bounded by the caller's signal. What fails in operation is thrown as a PghaError
 * that says what happened, what was not touched and what to do; `look` never throws.
 */
import type { LocalPostgres, SystemId } from '../core/local.ts';
import type { Lsn, Timeline } from '../core/lsn.ts';
import type { CheckType, RemoteSource } from '../core/policy.ts';
import type { Acknowledging, SyncMode } from '../core/quorum.ts';
import type { Vitals } from '../core/sickness.ts';
import type { LeaderSlots, ServerSlots, SlotStep } from '../core/slots.ts';
import type { Millis } from '../core/time.ts';
import type { TimelineHistory } from '../core/timeline.ts';

export interface Promotion {
  readonly synchronous?: boolean;
  readonly taken?: readonly Timeline[];
}

/** Where another member's Postgres is reached. */
export interface ServerAddress {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** For the operator's commands; absent or null: it has none, or is not asked for. */
  readonly nodeId?: number | null;
  /** It is no member: the primary of another cluster, which this one follows. */
  readonly remote?: RemoteSource;
}

/**
 * What a server says when somebody asks it from outside whether it is there. Only `alive` and `full` are signs of life
 * of a server that works.
 */
export type ServerCheck =
  /** @property inRecovery - null: this way of asking does not tell. `said`: it refused us all the same, and how. */
  | { readonly kind: 'alive'; readonly inRecovery: boolean | null; readonly said: string | null }
  /** 53300: no room for another connection. It serves those it has. */
  | { readonly kind: 'full'; readonly said: string }
  /** 57P03: it starts up, shuts down, or is a standby that cannot be read. */
  | { readonly kind: 'not-ready'; readonly said: string }
  /** The machine answers, and no server does: nobody listens, or the connection was ended without a word. */
  | { readonly kind: 'refused'; readonly said: string }
  /** No answer within the limit: a server that hangs, a network or a machine that does not answer; `said` tells how far it came. */
  | { readonly kind: 'silent'; readonly said: string };

/** Told while something takes long: for /patroni, `list` and the log. */
export type Progress = (sentence: string, fraction: number | null) => void;

/** What the cluster says about every server's settings; the node's own file is merged over it by the adapter. */
export interface ServerSettings {
  /** `postgresql.parameters` of the cluster-wide configuration. */
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  /** `postgresql.recovery_conf` of it: restore_command and its kin. */
  readonly recoveryConf: Readonly<Record<string, string | number | boolean>>;
  readonly pgHba: readonly string[] | null;
  readonly pgIdent: readonly string[] | null;
  readonly usePgRewind: boolean;
  readonly useSlots: boolean;
  /** Permanent logical slots are asked for: `wal_level` is logical, and standbys give feedback. */
  readonly logicalSlots: boolean;
  /**
   * The cluster keeps synchronous standbys: a server that starts, or that is promoted, acknowledges no commit before
   * it is told whom to wait for.
   */
  readonly synchronous: boolean;
}

/** How another server came to the timeline it is on; from IDENTIFY_SYSTEM and TIMELINE_HISTORY. */
export interface Lineage {
  readonly systemId: SystemId;
  readonly timeline: Timeline;
  readonly position: Lsn;
  readonly history: TimelineHistory;
  readonly inRecovery: boolean;
}

export interface WalChunk {
  readonly start: Lsn;
  readonly bytes: Uint8Array;
}

/** WAL that only this server has, and that its way back throws away. */
export interface DiscardedRange {
  readonly timeline: Timeline;
  readonly from: Lsn;
  readonly to: Lsn;
  /** Whose line replaces it. */
  readonly leader: string;
}

/** What became of it. */
export interface DiscardedWal extends DiscardedRange {
  /** Directory in which it is kept; null: it is not. */
  readonly kept: string | null;
  /** An earlier try had kept it already. */
  readonly again: boolean;
  /** Transactions committed in it; null: they could not be read. */
  readonly commits: number | null;
  /** ISO 8601, by this server's clock. */
  readonly firstCommit: string | null;
  readonly lastCommit: string | null;
  /** What could not be kept or read, and why; null: nothing is missing. */
  readonly trouble: string | null;
}

/** A logical slot of the leader, as bytes that only this server may take (same cluster, same version). */
export interface SlotCopy {
  readonly name: string;
  /** The contents of its state file. */
  readonly state: Uint8Array;
  /** Where decoding begins, if it was written down there: without it, decoding would find its feet only later. */
  readonly snapshot: { readonly file: string; readonly bytes: Uint8Array } | null;
}

/** What a data directory has to be like before it is emptied for a copy. */
export interface WipeOrder {
  /** Data of any other cluster are left alone. null: not known, and not compared. */
  readonly systemId: SystemId | null;
  /** Whose size must fit into the room that there is then. null: not known, and not looked at. */
  readonly source: ServerAddress | null;
  /** Nothing is removed any more once it is aborted before the first file went. */
  readonly signal: AbortSignal;
}

export interface Postgres {
  /**
   * One look: process, control file, one query for all we need, and the check. Answers within `limit`.
   *
   * @param check - the cluster's `connection_check_type` now; left out, what this node's own file says
   */
  look(limit: Millis, check?: CheckType): Promise<LocalPostgres>;
  /** What was last learned of the disks and of the server's inner works; from memory. */
  vitals(): Vitals;
  /** Begins to learn it anew, beside everything else; nothing while an earlier round has not ended. */
  examine(): void;
  /** The postmaster died, seen within milliseconds. A hint: `look` says what is true. */
  onDeath(listener: () => void): void;
  /** The held connection ended: a backend or the whole server is in trouble. A hint like the other. */
  onDoubt(listener: () => void): void;
  /** The server's address as other members reach it. */
  readonly address: ServerAddress;
  /** Resolved data directory, for the guard. */
  readonly dataDirectory: string;

  /**
   * New cluster in an absent data directory: initdb, users, post_bootstrap, on a server that only its unix socket
   * reaches and that is down again at the end.
   */
  bootstrap(settings: ServerSettings, progress: Progress, signal: AbortSignal): Promise<SystemId>;
  /**
   * Renames what `bootstrap` has just made here: another member's cluster was first.
   *
   * @returns the sentence that says where it is
   */
  setAside(): Promise<string>;
  /** pg_basebackup from `source` into an absent or half-made directory; afterwards a stopped standby. */
  copy(source: ServerAddress, settings: ServerSettings, progress: Progress, signal: AbortSignal): Promise<void>;
  /** pg_rewind of a stopped directory; the source has done its checkpoint (asked for here). Afterwards a stopped standby. */
  rewind(source: ServerAddress, settings: ServerSettings, progress: Progress, signal: AbortSignal): Promise<void>;
  /**
   * Keeps that WAL of a stopped server aside, within the configured bounds, and tells which transactions are in it. Never
   * throws: what could not be done stands in the answer.
   */
  keepDiscarded(range: DiscardedRange, progress: Progress, signal: AbortSignal): Promise<DiscardedWal>;
  /**
   * Removes the data directory's contents, for a copy anew. Refuses while any process of the family lives, and where
   * no copy could be made afterwards.
   *
   * @param lastLook - called immediately before the first file goes; what it throws leaves everything as it is
   */
  wipe(lastLook: () => Promise<void>, order: WipeOrder): Promise<void>;

  /**
   * Starts out of recovery (no standby.signal). Resolves as soon as the process runs; `look` tells the rest.
   *
   * @param stillAllowed - asked again immediately before the process is started: the disk may have taken its time
   * @param blocked - it acknowledges no commit before it is told whom to wait for; left out: as the settings say
   */
  startPrimary(settings: ServerSettings, stillAllowed?: () => boolean, blocked?: boolean): Promise<void>;
  /** standby.signal first. Upstream null: stands by on its own and waits. */
  startStandby(upstream: ServerAddress | null, settings: ServerSettings): Promise<void>;
  /** Resolves when the family is seen empty: `fast` is escalated to `immediate` after `limit`, that to SIGKILL. */
  stop(mode: 'fast' | 'immediate', limit: Millis): Promise<void>;
  /**
   * The stop of a switchover: stops fast, watches pg_control; resolves with the position of the shutdown checkpoint
   * once the family is seen empty, or null when it had to be ended without one (postgres-notes 5, recipe B).
   */
  stopForSwitchover(limit: Millis): Promise<Lsn | null>;
  /** Before it, while still serving: short wal_sender_timeout, stale senders gone, checkpoint (recipe A). */
  prepareSwitchover(signal: AbortSignal): Promise<void>;
  /** Undoes what prepareSwitchover changed; harmless if there is nothing to undo. */
  afterSwitchover(): Promise<void>;

  /**
   * Receiver ended, promote file and signal, until out of recovery (postgres-notes 4). `stillAllowed` is asked again
   * immediately before the step that cannot be undone; when it says no, nothing was changed and it throws.
   *
   * @param how.synchronous - as in the settings: it comes out of recovery acknowledging no commit
   * @param how.taken - timelines on which the cluster has been and this server has not: it begins none of these numbers
   *   again, so that whoever comes back from one of them is told apart
   */
  promote(stillAllowed: () => boolean, signal: AbortSignal, how?: Promotion): Promise<void>;
  /** Upstream by reload where the version allows it (13 and newer), else by restart. null: no upstream. */
  follow(upstream: ServerAddress | null): Promise<void>;
  /** primary_conninfo emptied, receiver ended and seen gone; then the final position. */
  withdraw(signal: AbortSignal): Promise<Lsn>;
  checkpoint(): Promise<void>;
  /** Stops fast, within `limit` at most, writes the settings, and starts again as what it was. */
  restart(limit: Millis, settings: ServerSettings): Promise<void>;
  /**
   * Parameters of which this running standby has less than its primary had when it last started. From 14 on it replays
   * nothing more until it is restarted, older ones end by themselves.
   */
  outgrown(): Promise<readonly string[]>;
  /**
   * Whom commits of this primary wait for; null: whom the operator's own settings name. Written and reloaded: `look`
   * says when new sessions have it, and others may have it later.
   */
  setAcknowledging(names: Acknowledging | null, mode: SyncMode): Promise<void>;
  /**
   * What keeps this server from living with settings that are to be stored: a sentence each, none when it would. Asked
   * of its own program; the running server is left alone. Takes up to some seconds.
   *
   * @param inForce - what is stored now: what was wrong before is not told
   */
  objections(candidate: ServerSettings, inForce: ServerSettings): Promise<readonly string[]>;
  /** Writes the settings and reloads, if anything differs. @returns whether it did */
  applySettings(settings: ServerSettings): Promise<boolean>;
  /**
   * What this running server, made by somebody else, has of the parameters that pgha keeps the same on all nodes, where that
   * is not what pgha would set: it becomes part of the cluster's settings, so that taking the server in changes none of it.
   */
  sharedParameters(): Promise<Readonly<Record<string, string>>>;
  /** The replication slots of the running server. */
  readSlots(): Promise<ServerSlots>;
  /**
   * One step of a plan. Bounded: steps for logical slots take up to a minute, the others seconds.
   *
   * @throws {PghaError} PGHA_SLOT_FAILED
   */
  changeSlot(step: SlotStep): Promise<void>;
  /**
   * What the leader says of these logical slots, and whether our feedback counts there.
   *
   * @param through - the name of the physical slot that our standby streams through
   */
  slotsOfLeader(leader: ServerAddress, names: readonly string[], through: string, limit: Millis): Promise<LeaderSlots>;
  /**
   * State files of logical slots of the leader, such as this standby could use as it stands: with the WAL that they
   * need here, and room for them.
   *
   * @throws {PghaError} PGHA_SLOT_FAILED with the first reason when none of them can be had
   */
  fetchSlots(leader: ServerAddress, names: readonly string[], limit: Millis): Promise<readonly SlotCopy[]>;
  /**
   * Stops this standby, puts the copies into its data directory and starts it again, with them or, when it does not
   * come up, without them. After a checkpoint the stop is short.
   *
   * @param stillAllowed - asked again immediately before the stop
   * @param signal - nothing is started any more once it is aborted
   */
  installSlots(
    copies: readonly SlotCopy[],
    stillAllowed: () => boolean,
    limit: Millis,
    signal: AbortSignal,
  ): Promise<void>;

  /** End of valid WAL of the stopped server, found from `from` on (a record boundary); null = nothing beyond `from`. */
  endOfWal(tl: Timeline, from: Lsn): Promise<Lsn>;
  /**
   * What of the stopped server's WAL would be undone, on the timeline that it is on or one that it came through.
   *
   * @returns whether all of it is still here, and from its first commit to the last one, by the clock that they were
   *   written by; null: there are none, or they could not be read
   */
  lookAtUndone(
    range: Omit<DiscardedRange, 'leader'>,
  ): Promise<{ readonly whole: boolean; readonly span: Millis | null }>;
  /** Raw bytes of the local WAL, for a rescue. */
  readWal(tl: Timeline, from: Lsn, to: Lsn): Promise<WalChunk>;
  /**
   * Puts bytes into pg_wal of this withdrawn standby, piece by piece as they come, and waits until it has replayed up to
   * `end`. What was put there when it fails is WAL like any other.
   */
  deliverWal(
    tl: Timeline,
    chunks: AsyncIterable<WalChunk> | Iterable<WalChunk>,
    end: Lsn,
    signal: AbortSignal,
  ): Promise<void>;
  /** Asks another server for its lineage through a replication connection. */
  lineage(of: ServerAddress, limit: Millis): Promise<Lineage | null>;
  /**
   * Asks another member's server whether it is there: `ping` for any answer, `connection` for a login, `query` for a
   * statement. Answers within `limit` and never throws.
   */
  checkServer(of: ServerAddress, type: CheckType, limit: Millis): Promise<ServerCheck>;
  /** The local history file of this server's timeline; empty on timeline 1. */
  ownHistory(tl: Timeline): Promise<TimelineHistory>;
}
