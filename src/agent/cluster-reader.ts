/**
 * The agent's knowledge of etcd: the last linearizable read, and when each version of `status` was first known to
 * exist. Watch events only say that something changed; what it says now is always read.
 */
import { type ClusterView, KEYS, readCluster } from '../core/cluster.ts';
import { LASTING } from '../core/situations/leaderless.ts';
import { ABSENT, isOneHistory, type Revision, type Snapshot } from '../core/store.ts';
import { between, type Instant, type Millis, type WallTime } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { Change, Dcs, StopWatching } from '../ports/dcs.ts';
import type { EventLog } from '../ports/event-log.ts';

/** Changes of these wake the cycle; members and beats wait for the next one. */
const WAKING: ReadonlySet<string> = new Set([
  KEYS.leader,
  KEYS.failover,
  KEYS.config,
  KEYS.initialize,
  KEYS.sync,
  KEYS.poolers,
]);
/** Arrivals of `status` versions that are kept: more than can come between two reads. */
const ARRIVALS = 64;

export interface Reading {
  readonly cluster: ClusterView;
  readonly at: Instant;
  readonly atWall: WallTime;
  /** When this version of `status` was first known to exist. */
  readonly statusArrived: Instant;
  /** The watch has told of it, and did not break since the read before: it was written since then. */
  readonly statusTold: boolean;
  /** etcd's revision has gone back, or it is another one: what was known of its history is worth nothing. */
  readonly restarted: boolean;
}

export class ClusterReader {
  private readonly arrivals = new Map<Revision, Instant>();
  /** The newest revision that this etcd has told of, by a read or by the watch: of the store, and of `status` in it. */
  private newest: Told = { store: ABSENT, status: ABSENT };
  private readonly clock: Clock;
  private readonly dcs: Dcs;
  private readonly log: EventLog;
  private readonly onWake: (why: string) => void;
  private stopWatching: StopWatching | null = null;
  private running: Promise<Reading | null> | null = null;
  private latestReading: Reading | null = null;
  private snapshot: Snapshot | null = null;
  /** How often the watch was interrupted, and had been when the last answered read was sent. */
  private interruptions = 0;
  private interruptionsThen = -1;
  private answers = true;
  private stale = true;

  constructor(clock: Clock, dcs: Dcs, log: EventLog, onWake: (why: string) => void) {
    this.clock = clock;
    this.dcs = dcs;
    this.log = log;
    this.onWake = onWake;
  }

  start(): void {
    this.stopWatching = this.dcs.watch((changes) => this.hint(changes));
  }

  stop(): void {
    this.stopWatching?.();
    this.stopWatching = null;
  }

  get latest(): Reading | null {
    return this.latestReading;
  }

  /** The newest read was answered. */
  get answering(): boolean {
    return this.answers;
  }

  /**
   * Whether a cycle has to read: what it knows is old, or said to be.
   *
   * @param every - the pace of the cycle
   * @param seeking - the rule that spoke last in an election that is under way; null: none is
   */
  isDue(every: Millis, seeking: string | null): boolean {
    const { latest } = this;
    if (latest === null || this.stale || between(latest.at, this.clock.now()) >= every * 0.9) return true;
    // A gate that is about to be trusted rests on the newest status.
    return seeking !== null && !LASTING.has(seeking);
  }

  /** One read; a second caller gets the answer of the one that is under way. */
  read(limit: Millis): Promise<Reading | null> {
    this.running ??= this.readOnce(limit).finally(() => {
      this.running = null;
    });
    return this.running;
  }

  private async readOnce(limit: Millis): Promise<Reading | null> {
    this.stale = false;
    // The watch may be ahead of the reads: what it has told before a read was sent, that read has to know.
    const { newest: known, interruptions } = this;
    const answer = await this.dcs.read(limit);
    if (answer.kind === 'unanswered') {
      this.answers = false;
      this.stale = true;
      return null;
    }
    this.answers = true;
    const at = this.clock.now();
    const cluster = readCluster(answer.entries, answer.header);
    for (const { key, why, part } of cluster.notUnderstood) {
      const known = this.latestReading?.cluster.notUnderstood.some((other) => other.key === key && other.part === part);
      if (known === true) continue;
      const sentence =
        part === undefined
          ? `etcd's key ${key} is ${why}; it is left alone and ${key === KEYS.config ? 'the settings that were read last count' : 'counts as empty'}`
          : `${part} in etcd's key ${key} counts as absent: ${why}`;
      this.log.write('warn', 'dcs.value-not-understood', sentence, { key });
    }
    const before = this.latestReading?.cluster ?? null;
    const read = { store: cluster.revision, status: cluster.status?.revision ?? ABSENT };
    const snapshot = { revision: cluster.revision, entries: answer.entries };
    // A restored etcd counts on from the backup, and may have come as far as before when it is read; `status` is older, or
    // its members' elections are, or its keys are others.
    const restarted =
      (before !== null && (before.clusterId !== cluster.clusterId || cluster.raftTerm < before.raftTerm)) ||
      (this.snapshot !== null && !isOneHistory(this.snapshot, snapshot, KEYS.status)) ||
      read.store < known.store ||
      read.status < known.status;
    this.snapshot = snapshot;
    if (restarted) this.arrivals.clear();
    this.newest = restarted ? read : newer(this.newest, read);
    const told = cluster.status === null ? undefined : this.arrivals.get(cluster.status.revision);
    const statusTold = told !== undefined && this.interruptions === this.interruptionsThen;
    this.interruptionsThen = interruptions;
    this.latestReading = { cluster, at, atWall: this.clock.wall(), statusArrived: told ?? at, statusTold, restarted };
    return this.latestReading;
  }

  private hint(changes: readonly Change[] | null): void {
    const now = this.clock.now();
    if (changes === null) {
      // After a gap nothing is known of what was seen before (protocol.md 11): a restored etcd gives revisions again that
      // it gave before, and an arrival of the first must not be taken for one of the second.
      this.arrivals.clear();
      this.interruptions++;
      this.stale = true;
      this.onWake('the watch was interrupted');
      return;
    }
    for (const { key, revision } of changes) {
      this.newest = newer(this.newest, { store: revision, status: key === KEYS.status ? revision : ABSENT });
      if (key === KEYS.status) {
        if (!this.arrivals.has(revision)) this.arrivals.set(revision, now);
        for (const old of this.arrivals.keys()) {
          if (this.arrivals.size <= ARRIVALS) break;
          this.arrivals.delete(old);
        }
      }
    }
    const waking = changes.find((change) => WAKING.has(change.key));
    if (waking === undefined) return;
    this.stale = true;
    this.onWake(`${waking.key} changed`);
  }
}

interface Told {
  readonly store: Revision;
  readonly status: Revision;
}

const newer = (a: Told, b: Told): Told => ({
  store: a.store > b.store ? a.store : b.store,
  status: a.status > b.status ? a.status : b.status,
});
