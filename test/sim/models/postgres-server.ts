/**
 * One Postgres server with its data directory, as the machine sees it: processes, WAL, replication. It is adversarial
 * within what the real one does: promotions and starts sometimes take long, an orphaned backend goes on committing, a
 * restarted standby reports a low position first, a hung server answers nothing and is not stopped.
 *
 * What a daemon can ask of it is in postgres-port.ts; this part decides nothing and obeys.
 */

import { slotName } from '../../../src/core/cluster.ts';
import type { SlotStep } from '../../../src/core/slots.ts';
import type { SimulatedSickness } from '../plan.ts';
import type { Network } from '../world/network.ts';
import type { SeededRandom } from '../world/random.ts';
import type { Scheduler } from '../world/scheduler.ts';
import { Synchronous, type SyncSender } from './synchronous.ts';
import { type Branch, endOf, FIRST_LSN, indexAt, type WalArchive, type WalEntry } from './wal.ts';

export interface DataDirectory {
  readonly systemId: string;
  wal: WalEntry[];
  branch: Branch;
  /** Which timeline pg_control names: the old one until the first checkpoint after a promotion. */
  controlTimeline: number;
  control: 'in production' | 'shutting down' | 'shut down' | 'in archive recovery' | 'shut down in recovery';
  checkpoint: number;
  /** Pages are as new as this: before all WAL up to there is replayed, nobody connects. */
  minRecoveryPoint: number;
  standbySignal: boolean;
  /** primary_conninfo: name of the node; null: empty. */
  upstream: string | null;
  /** Highest timeline number of which a history file is here. */
  highestKnown: number;
  /** Replication slots, by name: the oldest WAL that each holds back. */
  readonly slots: Map<string, number>;
}

export type Disk =
  | { readonly kind: 'absent' }
  | { readonly kind: 'half-made'; readonly by: 'initdb' | 'copy' | 'rewind' }
  | { readonly kind: 'whole'; readonly data: DataDirectory };

export type Processes =
  | { readonly kind: 'none' }
  | { readonly kind: 'starting'; readonly asPrimary: boolean; readonly since: number }
  | { readonly kind: 'running'; readonly recovery: boolean; readonly since: number }
  | { readonly kind: 'stopping'; readonly wasPrimary: boolean; readonly since: number; readonly fast: boolean }
  /** The postmaster is gone, backends are not. `busy`: one of them goes on committing. */
  | { readonly kind: 'orphans'; readonly busy: boolean; readonly since: number };

export interface WalReceiver extends SyncSender {
  readonly from: PostgresServer;
  /** How many of the sender's entries were sent. */
  sent: number;
  readonly wal: readonly WalEntry[];
  lastMessage: number;
  ended: boolean;
  stalled: boolean;
  readonly began: number;
  readonly lag: number;
}

export interface PostgresTiming {
  /** Extra delay of replication, to make standbys lag. */
  readonly replicationDelay: number;
  readonly slowPromotionChance: number;
  readonly slowStartChance: number;
  /** Standbys tell how far they are: only where commits may wait for them, for it takes events. */
  readonly feedback: boolean;
}

/** What the world is told. */
export interface ServerEvents {
  trace(who: string, what: string): void;
  mark(name: string): void;
  promotionBegins(server: PostgresServer): void;
  promoted(server: PostgresServer): void;
  /** Out of recovery by a start. */
  startedAsPrimary(server: PostgresServer): void;
  postmasterGone(server: PostgresServer): void;
  /** All its sessions were ended, by whatever. */
  connectionsBroke(server: PostgresServer): void;
  violated(invariant: string, sentence: string): void;
}

const ENTRY = 128;
const CHECKPOINT = 120;
/** wal_receiver_timeout, as Postgres has it: so long nobody notices that a sender is gone without a word. */
const RECEIVER_TIMEOUT_MS = 60_000;

export class PostgresServer {
  /** Copies into this directory that failed without a reason since the last that did not. */
  copiesFailed = 0;
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly random: SeededRandom;
  readonly archive: WalArchive;
  readonly timing: PostgresTiming;
  readonly events: ServerEvents;
  private readonly others: (name: string) => PostgresServer | null;

  disk: Disk = { kind: 'absent' };
  processes: Processes = { kind: 'none' };
  /** Nothing it does goes on until then. */
  hungUntil = -1;
  /** ... and what hangs are its processes: with them it is over. */
  hangsByProcess = false;
  receiver: WalReceiver | null = null;
  readonly downstream = new Set<{ readonly of: PostgresServer; readonly receiver: WalReceiver }>();
  /** A standby's replay position, and whether it has replayed all it had before its start. */
  replayed = 0;
  caughtUp = false;
  /** Received since the start; 0 before the first byte. */
  received = 0;
  promoting = false;
  startedAt = 0;
  /** Counts the lives of the postmaster, to tell an old continuation from a new one. */
  private life = 0;
  private retrying = false;
  private retries = 0;
  /** pgha has started or configured it: no stranger's server that is taken in as it runs. */
  managed = true;
  /** What the plan lets go wrong with it. */
  readonly trouble = {
    checkFailsUntil: -1,
    fullUntil: -1,
    promotions: 0,
    starts: 0,
    walUnreadableUntil: -1,
    unusableUntil: -1,
  };
  /** What ails it or its disk, and since when. */
  readonly sickness = new Map<SimulatedSickness, number>();
  /** When one of its backends crashed. */
  readonly crashedAt: number[] = [];
  /** How often it was started, stopped or copied: for quiet plans (S13). */
  restarts = 0;
  copies = 0;
  private copiedAt = -1;
  readonly synchronous: Synchronous;
  private toldToFollowAt = -1;

  constructor(parts: {
    readonly name: string;
    readonly scheduler: Scheduler;
    readonly network: Network;
    readonly random: SeededRandom;
    readonly archive: WalArchive;
    readonly timing: PostgresTiming;
    readonly events: ServerEvents;
    readonly others: (name: string) => PostgresServer | null;
  }) {
    this.name = parts.name;
    this.scheduler = parts.scheduler;
    this.network = parts.network;
    this.random = parts.random;
    this.archive = parts.archive;
    this.timing = parts.timing;
    this.events = parts.events;
    this.others = parts.others;
    this.synchronous = new Synchronous(parts.scheduler, parts.random.fork('synchronous'), () =>
      [...this.downstream].map(({ receiver }) => receiver).filter((receiver) => !receiver.ended),
    );
  }

  get data(): DataDirectory | null {
    return this.disk.kind === 'whole' ? this.disk.data : null;
  }

  /** @throws when there is no whole data directory: a mistake of the one who asks */
  needData(): DataDirectory {
    const { data } = this;
    if (data === null) throw new Error(`the data directory of ${this.name} is ${this.disk.kind}`);
    return data;
  }

  get end(): number {
    return this.data === null ? 0 : endOf(this.data.wal);
  }

  /** No room for another session. */
  get full(): boolean {
    return this.scheduler.now() < this.trouble.fullUntil;
  }

  /** The next write ends it. */
  get cannotWrite(): boolean {
    return this.sickness.has('read-only') || this.sickness.has('io-error');
  }

  get hung(): boolean {
    return this.scheduler.now() < this.hungUntil;
  }

  /** Could a client get a write acknowledged at this instant, if it reaches the server? */
  acceptsWrites(): boolean {
    if (this.hung) return false;
    const { processes } = this;
    switch (processes.kind) {
      case 'running':
        return !processes.recovery;
      case 'stopping':
        // Immediate: backends may commit until they die. Fast: sessions are thrown out first.
        return processes.wasPrimary && !processes.fast;
      case 'orphans':
        return processes.busy;
      case 'none':
      case 'starting':
        return false;
      default:
        return ((never: never) => never)(processes);
    }
  }

  takesConnections(): boolean {
    return this.processes.kind === 'running' && !this.hung;
  }

  /** Runs `then` after `ms` unless the postmaster has died or was replaced; waits while the server hangs. */
  private continueAfter(ms: number, then: () => void): void {
    const { life } = this;
    const go = (): void => {
      if (this.life !== life) return;
      if (this.hung) this.scheduler.after(this.hungUntil - this.scheduler.now(), go);
      else then();
    };
    this.scheduler.after(ms, go);
  }

  // ---- writing -----------------------------------------------------------------------------------------------

  /** One commit, on disk at once. null: it does not accept writes. */
  commit(token: number | null): WalEntry | null {
    if (!this.acceptsWrites()) return null;
    if (this.cannotWrite || (this.sickness.has('full') && this.random.chance(0.002))) {
      this.gone('PANIC: its WAL cannot be written');
      return null;
    }
    return this.append(ENTRY, token);
  }

  /**
   * A client's commit: `done` says whether it was acknowledged. false: the session ended while it waited.
   *
   * @returns null: it does not accept writes
   */
  commitFor(token: number, done: (acked: boolean) => void): WalEntry | null {
    const entry = this.commit(token);
    if (entry !== null) this.synchronous.commit(entry, done);
    return entry;
  }

  private append(length: number, token: number | null): WalEntry {
    const data = this.needData();
    const entry = this.archive.write(data.branch, endOf(data.wal), length, token, this.scheduler.now());
    data.wal.push(entry);
    this.send();
    return entry;
  }

  private writeCheckpoint(): void {
    const data = this.needData();
    const entry = this.append(CHECKPOINT, null);
    data.checkpoint = entry.start;
    data.controlTimeline = data.branch.id;
  }

  checkpoint(): void {
    const { data, processes } = this;
    if (data === null || processes.kind !== 'running') return;
    if (processes.recovery) data.checkpoint = Math.max(data.checkpoint, this.replayed);
    else this.writeCheckpoint();
  }

  // ---- processes ---------------------------------------------------------------------------------------------

  start(asPrimary: boolean): void {
    if (this.disk.kind === 'half-made') {
      this.events.violated('S7', `the half-made directory (${this.disk.by}) of ${this.name} was started`);
      return;
    }
    const data = this.needData();
    if (this.processes.kind !== 'none') throw new Error(`Postgres of ${this.name} is already ${this.processes.kind}`);
    this.life += 1;
    this.restarts += 1;
    data.standbySignal = !asPrimary;
    const crashed = data.control !== 'shut down' && data.control !== 'shut down in recovery';
    this.processes = { kind: 'starting', asPrimary, since: this.scheduler.now() };
    this.synchronous.start();
    this.startedAt = this.scheduler.now();
    this.toldToFollowAt = this.startedAt;
    this.received = 0;
    this.caughtUp = false;
    this.promoting = false;
    this.replayed = asPrimary ? this.end : data.checkpoint;
    this.events.trace(
      this.name,
      `postgres starts as ${asPrimary ? 'primary' : 'standby'}${crashed ? ' (crash recovery)' : ''}`,
    );
    let length = crashed ? this.random.between(100, 300) : this.random.between(20, 60);
    if (this.trouble.starts > 0 || this.cannotWrite) {
      if (!this.cannotWrite) this.trouble.starts -= 1;
      // At once, or in the middle of its recovery.
      if (this.random.chance(0.5)) {
        this.gone('it did not start');
        return;
      }
      this.continueAfter(length, () => this.gone('it did not start'));
      return;
    }
    if (this.random.chance(this.timing.slowStartChance)) length += this.random.between(500, 15_000);
    this.continueAfter(length, () => {
      if (asPrimary && this.awaitsWal)
        this.events.violated('S8', `${this.name} starts as a primary, and its pages are newer than its WAL`);
      if (!asPrimary && this.awaitsWal) {
        this.caughtUp = true;
        this.idleSince = this.scheduler.now();
        this.events.trace(this.name, 'postgres needs more WAL before it takes connections');
        this.connectSoon(1);
        return;
      }
      this.processes = { kind: 'running', recovery: !asPrimary, since: this.scheduler.now() };
      if (asPrimary) {
        data.control = 'in production';
        this.writeCheckpoint();
        this.events.trace(this.name, `postgres is up as primary on timeline ${data.branch.id}`);
        this.events.startedAsPrimary(this);
      } else {
        data.control = 'in archive recovery';
        this.climb();
        this.connectSoon(1);
      }
    });
  }

  /** Since when a standby that takes no connections yet has replayed nothing. */
  idleSince = 0;

  /** It takes no connections before it has received more. */
  get awaitsWal(): boolean {
    return this.end < (this.data?.minRecoveryPoint ?? 0);
  }

  /** The WAL that a standby needed before it takes connections has come. */
  private becomeConsistent(data: DataDirectory): void {
    const { processes } = this;
    if (processes.kind !== 'starting' || processes.asPrimary || !this.caughtUp || this.awaitsWal) return;
    data.control = 'in archive recovery';
    this.replayed = this.end;
    this.processes = { kind: 'running', recovery: true, since: this.scheduler.now() };
    this.events.mark('a standby became consistent with WAL that it received');
  }

  /** A restarted standby replays what it had: its position starts low. */
  private climb(): void {
    const steps = this.random.whole(1, 4);
    const step = (left: number): void => {
      this.continueAfter(this.random.between(5, 150), () => {
        if (this.processes.kind !== 'running' || !this.processes.recovery) return;
        if (left > 0) {
          this.replayed = Math.max(this.replayed, this.replayed + Math.floor((this.end - this.replayed) / 2));
          step(left - 1);
        } else {
          this.replayed = this.end;
          this.caughtUp = true;
        }
      });
    };
    step(steps);
  }

  /** SIGINT. Resolves by itself as long as walsenders confirm; the caller bounds it. */
  stopFast(): void {
    const { processes } = this;
    if (processes.kind === 'none' || processes.kind === 'orphans') return;
    if (processes.kind === 'stopping') return;
    const data = this.needData();
    const wasPrimary = processes.kind === 'running' && !processes.recovery;
    const starting = processes.kind === 'starting';
    this.processes = { kind: 'stopping', wasPrimary, since: this.scheduler.now(), fast: true };
    this.synchronous.drop();
    this.endReceiver();
    this.events.trace(this.name, 'postgres stops (fast)');
    if (wasPrimary) data.control = 'shutting down';
    const end = (): void => {
      if (wasPrimary && this.cannotWrite) this.gone('PANIC: no shutdown checkpoint');
      else if (wasPrimary && this.sickness.has('checkpointer')) {
        // Nobody is there to write it: that takes as long as the sickness, or as whoever stops it has patience.
        this.continueAfter(500, end);
      } else if (wasPrimary) {
        this.writeCheckpoint();
        data.control = 'shut down';
        this.awaitSenders(() => this.gone('stopped (fast)'));
      } else {
        if (!starting) {
          data.control = 'shut down in recovery';
          data.checkpoint = Math.max(data.checkpoint, this.replayed);
        }
        this.gone('stopped (fast)');
      }
    };
    this.continueAfter(this.random.between(10, 40), end);
  }

  /** Each connected standby gets the shutdown checkpoint; one that does not answer holds the exit up. */
  private awaitSenders(then: () => void): void {
    const waiting = [...this.downstream].some(({ of, receiver }) => !receiver.ended && of.end < this.end);
    if (waiting) this.continueAfter(5, () => this.awaitSenders(then));
    else this.continueAfter(this.random.between(5, 25), then);
  }

  /** SIGQUIT to the postmaster, SIGKILL to what is left of the family after a grace. */
  stopImmediate(): void {
    const { processes } = this;
    if (processes.kind === 'none') return;
    const wasPrimary =
      (processes.kind === 'running' && !processes.recovery) ||
      (processes.kind === 'orphans' && processes.busy) ||
      (processes.kind === 'stopping' && processes.wasPrimary && !processes.fast);
    const fastAlready = processes.kind === 'stopping' && processes.fast;
    this.events.trace(this.name, 'postgres is ended (immediate)');
    if (this.promoting) this.events.mark('a promotion under way was ended');
    this.life += 1;
    const { life } = this;
    this.processes = {
      kind: 'stopping',
      wasPrimary: wasPrimary && !fastAlready,
      since: this.scheduler.now(),
      fast: fastAlready,
    };
    this.promoting = false;
    this.synchronous.drop();
    this.endReceiver();
    // A hung family ignores SIGQUIT; SIGKILL works.
    const length = this.hung ? this.random.between(300, 375) : this.random.between(8, 50);
    this.scheduler.after(length, () => {
      if (this.life === life) this.gone('ended (immediate)');
    });
  }

  /** The postmaster alone is killed. */
  killPostmaster(busyOrphans: boolean): void {
    const { processes } = this;
    if (processes.kind === 'none' || processes.kind === 'orphans') return;
    const wasPrimary = processes.kind === 'running' && !processes.recovery;
    this.life += 1;
    this.promoting = false;
    this.synchronous.drop();
    this.endReceiver();
    this.cutDownstream();
    this.events.trace(
      this.name,
      `postmaster killed${busyOrphans && wasPrimary ? ', a backend goes on committing' : ''}`,
    );
    const busy = busyOrphans && wasPrimary;
    this.processes = { kind: 'orphans', busy, since: this.scheduler.now() };
    if (busy) {
      this.events.mark('orphans committed');
      this.orphanWrites();
    } else {
      const { life } = this;
      this.scheduler.after(this.random.between(8, 14), () => {
        if (this.life === life) this.gone('last backend gone');
      });
    }
    this.events.connectionsBroke(this);
    this.events.postmasterGone(this);
  }

  /** A backend crashes: the postmaster ends all of them, recovers, and goes on in the role it had. */
  backendCrash(): void {
    const { processes } = this;
    if (processes.kind !== 'running' || this.promoting) return;
    const { recovery } = processes;
    this.crashedAt.push(this.scheduler.now());
    this.life += 1;
    this.synchronous.start();
    this.endReceiver();
    this.cutDownstream();
    this.received = 0;
    this.caughtUp = false;
    this.processes = { kind: 'starting', asPrimary: !recovery, since: this.scheduler.now() };
    this.events.trace(this.name, 'a backend crashed: postgres ends all sessions and recovers');
    this.events.connectionsBroke(this);
    this.continueAfter(this.random.between(50, 400), () => {
      this.processes = { kind: 'running', recovery, since: this.scheduler.now() };
      if (recovery) {
        this.climb();
        this.connectSoon(1);
      } else {
        this.writeCheckpoint();
        this.events.startedAsPrimary(this);
      }
    });
  }

  private orphanWrites(): void {
    this.continueAfter(this.random.between(5, 40), () => {
      if (this.processes.kind !== 'orphans') return;
      this.append(ENTRY, null);
      this.orphanWrites();
    });
  }

  /** All processes at once. */
  crash(): void {
    if (this.processes.kind === 'none') return;
    this.gone('killed, all of it');
  }

  /** The machine has lost its power. */
  powerLoss(): void {
    // Nobody is left who would end a connection: its other end notices by itself, or never. What was on its way is gone.
    for (const { receiver } of this.downstream) receiver.stalled = true;
    this.downstream.clear();
    if (this.processes.kind !== 'none') this.gone('power lost');
    this.hungUntil = -1;
    this.trouble.checkFailsUntil = -1;
    this.trouble.fullUntil = -1;
  }

  private gone(how: string): void {
    const had = this.processes.kind;
    this.life += 1;
    this.processes = { kind: 'none' };
    if (this.hangsByProcess) this.hungUntil = -1;
    this.hangsByProcess = false;
    this.promoting = false;
    this.synchronous.drop();
    this.endReceiver();
    this.cutDownstream();
    this.events.trace(this.name, `postgres is gone: ${how}`);
    if (had !== 'orphans') this.events.connectionsBroke(this);
    if (had !== 'orphans') this.events.postmasterGone(this);
  }

  // ---- promotion ---------------------------------------------------------------------------------------------

  /** The step that cannot be undone: the promote file is there and the signal is sent. */
  promote(done: () => void): void {
    const data = this.needData();
    if (this.processes.kind !== 'running' || !this.processes.recovery) throw new Error(`${this.name} is no standby`);
    this.promoting = true;
    this.endReceiver();
    this.events.promotionBegins(this);
    let length = this.random.between(10, 80);
    if (this.trouble.promotions > 0 || this.cannotWrite) {
      if (!this.cannotWrite) this.trouble.promotions -= 1;
      // The startup process died of it, and the postmaster with it.
      this.continueAfter(length, () => this.gone('it failed to promote'));
      return;
    }
    if (this.random.chance(this.timing.slowPromotionChance)) length += this.random.between(500, 12_000);
    this.continueAfter(length, () => {
      if (this.processes.kind !== 'running' || !this.processes.recovery) return;
      const branch: Branch = {
        id: Math.max(data.highestKnown, data.branch.id) + 1,
        parent: data.branch,
        switchedAt: this.end,
        by: this.name,
      };
      this.archive.begun(branch);
      data.branch = branch;
      data.highestKnown = branch.id;
      data.control = 'in production';
      data.standbySignal = false;
      this.promoting = false;
      this.processes = { kind: 'running', recovery: false, since: this.scheduler.now() };
      this.append(CHECKPOINT, null);
      this.events.trace(this.name, `promoted to timeline ${branch.id}, ${length.toFixed(0)} ms`);
      this.events.promoted(this);
      this.continueAfter(this.random.between(200, 2_000), () => {
        if (this.processes.kind === 'running' && !this.processes.recovery) this.checkpoint();
      });
      done();
    });
  }

  // ---- replication -------------------------------------------------------------------------------------------

  setUpstream(upstream: string | null): void {
    const data = this.needData();
    this.toldToFollowAt = this.scheduler.now();
    if (data.upstream === upstream && (upstream === null || this.receiver !== null)) return;
    data.upstream = upstream;
    this.endReceiver();
    if (upstream !== null) this.connectSoon(1);
  }

  /** The receiver is ended (TERM); with an upstream set, another one comes. */
  endReceiver(): void {
    const { receiver } = this;
    if (receiver === null) return;
    receiver.ended = true;
    this.receiver = null;
    this.forget(receiver);
  }

  private forget(receiver: WalReceiver): void {
    for (const one of receiver.from.downstream) if (one.receiver === receiver) receiver.from.downstream.delete(one);
  }

  /** Senders whose peers do not answer are ended, as before a planned stop. */
  shed(): void {
    for (const one of [...this.downstream]) if (one.receiver.stalled) this.downstream.delete(one);
  }

  /**
   * Our walsenders died with us: what was sent still arrives, then the end of the stream. Where that does not get through,
   * the other end waits on, and for the server that comes up here nobody is connected.
   */
  private cutDownstream(): void {
    for (const { of, receiver } of this.downstream) {
      this.scheduler.after(receiver.lag, () => {
        if (receiver.ended) return;
        if (this.network.passes('replication', this.name, of.name)) of.lostReceiver(receiver);
        else receiver.stalled = true;
      });
    }
    this.downstream.clear();
  }

  private lostReceiver(receiver: WalReceiver): void {
    if (this.receiver !== receiver) return;
    this.endReceiver();
    this.connectSoon(20);
  }

  private connectSoon(ms: number): void {
    if (this.retrying) return;
    this.retrying = true;
    this.scheduler.after(ms, () => {
      this.retrying = false;
      this.connect();
    });
  }

  private connect(): void {
    const { data, processes } = this;
    const replays = processes.kind === 'starting' && !processes.asPrimary && this.caughtUp;
    if (data === null || this.promoting || !(replays || (processes.kind === 'running' && processes.recovery))) return;
    if (data.upstream === null || this.receiver !== null) return;
    const again = (): void => {
      this.retries += 1;
      this.connectSoon(this.retries > 20 ? 1_000 : 100);
    };
    if (this.hung) {
      again();
      return;
    }
    const up = this.others(data.upstream);
    if (up === null || !up.takesConnections() || !this.network.connects('replication', this.name, up.name)) {
      again();
      return;
    }
    const theirs = up.data;
    if (theirs === null || theirs.systemId !== data.systemId || up === this) {
      again();
      return;
    }
    // It asks for what it has not; it replays all it has first.
    if (!this.caughtUp) {
      again();
      return;
    }
    const end = this.end;
    let at: number;
    if (theirs.branch.id < data.branch.id || up.end < end) {
      again(); // "highest timeline is behind recovery timeline", "ahead of the WAL flush position"
      return;
    }
    if (theirs.branch.id === data.branch.id) {
      at = indexAt(theirs.wal, end);
    } else {
      const line = this.switchPoint(theirs.branch, data.branch.id);
      if (line === null || Math.max(end, data.minRecoveryPoint) > line) {
        again(); // diverged: it looks as if it streamed for a moment, and never does
        return;
      }
      at = indexAt(theirs.wal, end);
    }
    const last = data.wal[data.wal.length - 1];
    if (last !== undefined) this.events.mark('checked S8 a stream goes on from what is there');
    if (last !== undefined && theirs.wal[at - 1] !== last) {
      if (this.archive.givenTwice && up.copiedAt > this.toldToFollowAt) {
        // It was right to follow that server, until it was made anew from another timeline of the same number. A daemon
        // that hears of it compares; one that is cut off cannot, and Postgres does not.
        const sentence = `${up.name} was made anew from another timeline of that number, and ${this.name} streams on`;
        this.archive.reused ??= { sentence, apart: false };
        return;
      }
      this.events.violated('S8', `${this.name} streams from ${up.name}, whose WAL before that position is another one`);
      return;
    }
    this.retries = 0;
    const lag = this.random.between(0.2, 1.5) + this.timing.replicationDelay;
    const receiver: WalReceiver = {
      name: this.name,
      confirmed: 0,
      names: up.synchronous.inForce,
      from: up,
      sent: at,
      wal: theirs.wal,
      lastMessage: this.scheduler.now(),
      ended: false,
      stalled: false,
      began: this.scheduler.now(),
      lag,
    };
    this.receiver = receiver;
    up.downstream.add({ of: this, receiver });
    this.received = Math.max(this.received, end);
    this.events.trace(this.name, `streams from ${up.name}`);
    up.sendTo(this, receiver);
    this.tellFlushed(receiver);
    this.beat(receiver);
  }

  /** Whether the standby of that name streams from here: its slot is in use, and moves by itself. */
  streamsThrough(slot: string): boolean {
    return [...this.downstream].some(({ of, receiver }) => slotName(of.name) === slot && !receiver.ended);
  }

  /** @returns why Postgres refuses it; null: done */
  changeSlot(step: SlotStep): string | null {
    const { slots } = this.needData();
    const present = slots.get(step.slot);
    if (step.do === 'create-logical') return 'logical decoding requires wal_level >= logical';
    if (step.do === 'create-physical') {
      if (present !== undefined) return `replication slot "${step.slot}" already exists`;
      // Reserved from the last checkpoint or restart point on.
      slots.set(step.slot, this.needData().checkpoint);
      return null;
    }
    if (present === undefined) return `replication slot "${step.slot}" does not exist`;
    if (this.streamsThrough(step.slot)) return `replication slot "${step.slot}" is active`;
    if (step.do === 'drop') slots.delete(step.slot);
    else slots.set(step.slot, Math.max(present, Number(step.to)));
    return null;
  }

  /** The standby's answer: how far it has flushed. */
  private tellFlushed(receiver: WalReceiver): void {
    const { from } = receiver;
    if (!from.timing.feedback) return;
    const flushed = this.end;
    const arrive = (): void => {
      if (receiver.ended || receiver.stalled || from.processes.kind !== 'running') return;
      if (from.hung) this.scheduler.after(from.hungUntil - this.scheduler.now(), arrive);
      else if (this.network.passes('replication', this.name, from.name)) from.synchronous.confirm(receiver, flushed);
    };
    this.scheduler.after(receiver.lag, arrive);
  }

  private switchPoint(branch: Branch, id: number): number | null {
    for (let at: Branch = branch; at.parent !== null; at = at.parent) if (at.parent.id === id) return at.switchedAt;
    return null;
  }

  /** The sender's keepalives, and what notices that a connection is dead. */
  private beat(receiver: WalReceiver): void {
    this.scheduler.after(1_000, () => {
      if (receiver.ended) return;
      const { from } = receiver;
      const alive = from.takesConnections() && this.network.connects('replication', from.name, this.name);
      if (alive && !receiver.stalled) {
        receiver.lastMessage = this.scheduler.now();
        this.tellFlushed(receiver);
      } else if (alive && receiver.stalled) {
        // The link is back: the old connection is given up, a new one continues where this one ended.
        this.lostReceiver(receiver);
        return;
      } else receiver.stalled = true;
      if (this.scheduler.now() - receiver.lastMessage > RECEIVER_TIMEOUT_MS) {
        this.lostReceiver(receiver);
        return;
      }
      this.beat(receiver);
    });
  }

  private send(): void {
    for (const { of, receiver } of this.downstream) this.sendTo(of, receiver);
  }

  private sendTo(of: PostgresServer, receiver: WalReceiver): void {
    if (receiver.ended || receiver.stalled) return;
    const from = receiver.sent;
    const upTo = receiver.wal.length;
    if (upTo <= from) return;
    receiver.sent = upTo;
    this.scheduler.after(receiver.lag, () => {
      if (receiver.ended || receiver.stalled) return;
      if (!this.network.passes('replication', this.name, of.name)) {
        receiver.stalled = true;
        return;
      }
      of.receive(receiver, from, upTo);
    });
  }

  private receive(receiver: WalReceiver, from: number, upTo: number): void {
    const { data } = this;
    if (data === null || this.receiver !== receiver) return;
    if (this.hung) {
      receiver.stalled = true;
      return;
    }
    for (const entry of receiver.wal.slice(from, upTo)) this.take(data, entry);
    receiver.lastMessage = this.scheduler.now();
    this.tellFlushed(receiver);
    this.received = this.end;
    this.idleSince = this.scheduler.now();
    this.becomeConsistent(data);
    receiver.from.confirmed(slotName(this.name), this.end);
    const target = this.end;
    this.continueAfter(this.random.between(0.1, 3), () => {
      if (this.caughtUp) this.replayed = Math.max(this.replayed, Math.min(target, this.end));
    });
    this.send();
  }

  /** A standby has written this much: its slot lets go of what is older. */
  private confirmed(slot: string, upTo: number): void {
    const at = this.data?.slots.get(slot);
    if (at !== undefined) this.data?.slots.set(slot, Math.max(at, upTo));
  }

  private take(data: DataDirectory, entry: WalEntry): void {
    data.wal.push(entry);
    // What a rewind left out may be older than the timeline that it went over to.
    if (entry.branch !== data.branch && entry.branch.id >= data.branch.id) {
      data.branch = entry.branch;
      data.controlTimeline = entry.branch.id;
      data.highestKnown = Math.max(data.highestKnown, entry.branch.id);
    }
  }

  /** Bytes of WAL put into pg_wal by hand: the startup process picks them up. */
  deliver(entries: readonly WalEntry[]): void {
    const data = this.needData();
    for (const entry of entries) if (entry.start >= this.end) this.take(data, entry);
    const target = this.end;
    this.continueAfter(this.random.between(5, 40), () => {
      this.replayed = Math.max(this.replayed, target);
    });
    this.send();
  }

  // ---- making directories ------------------------------------------------------------------------------------

  initdb(systemId: string): void {
    const branch: Branch = { id: 1, parent: null, switchedAt: FIRST_LSN, by: systemId };
    this.disk = {
      kind: 'whole',
      data: {
        systemId,
        wal: [],
        branch,
        controlTimeline: 1,
        control: 'shut down',
        checkpoint: FIRST_LSN,
        minRecoveryPoint: FIRST_LSN,
        standbySignal: false,
        upstream: null,
        highestKnown: 1,
        slots: new Map(),
      },
    };
  }

  /** Somebody restored another cluster's data here. */
  foreign(systemId: string): void {
    if (this.processes.kind !== 'none') throw new Error(`Postgres of ${this.name} runs`);
    this.initdb(systemId);
    this.copiedAt = this.scheduler.now();
  }

  /**
   * This directory as that of `source`; the newest WAL, from which some of its pages were changed, may have been written
   * after the files were fetched.
   */
  rewoundTo(source: DataDirectory): void {
    const { wal } = this.needData();
    this.becomeLike(source);
    const data = this.needData();
    data.minRecoveryPoint = this.end;
    const common = wal.findIndex((entry, at) => data.wal[at] !== entry);
    const alone = data.wal.length - (common === -1 ? Math.min(wal.length, data.wal.length) : common);
    const missing = this.random.whole(0, Math.min(3, alone));
    if (missing === 0) return;
    data.wal.splice(-missing);
    data.checkpoint = Math.min(data.checkpoint, endOf(data.wal.slice(0, data.wal.length + missing - alone)));
    this.events.mark('rewound, with WAL to come');
  }

  /** The directory as a copy of `source`: the same WAL, to be started as a standby. */
  becomeLike(source: DataDirectory): void {
    this.copies += 1;
    this.copiedAt = this.scheduler.now();
    this.disk = {
      kind: 'whole',
      data: {
        systemId: source.systemId,
        wal: [...source.wal],
        branch: source.branch,
        controlTimeline: source.branch.id,
        control: 'in archive recovery',
        checkpoint: source.checkpoint,
        minRecoveryPoint: FIRST_LSN,
        standbySignal: true,
        upstream: null,
        highestKnown: source.highestKnown,
        // Neither a copy nor a rewind leaves any (PostgreSQL docs: "pg_basebackup", "pg_rewind").
        slots: new Map(),
      },
    };
  }
}
