/**
 * Keeps, proves and gives up this node's leadership, on a timer of its own, whatever the cycle is waiting for
 * (protocol.md 3 to 5). It is the only one who writes `leader` and `status`, and never has two such writes under way.
 * It does not decide who should lead and never touches Postgres; `onLost` does, at once.
 */

import { GUARD_LIMIT, PROOF_AGAIN, PROOF_EVERY, requestLimit } from '../core/budget.ts';
import type { ClusterView, FailsafeList, LeaderKey, Release } from '../core/cluster.ts';
import { KEYS, readFailsafeKey, readStatusKey } from '../core/cluster.ts';
import {
  asksAfter,
  confirmLimit,
  type FailsafeAnswer,
  type FailsafeRequest,
  gateBehind,
  holdOfRequest,
  isListed,
  sameList,
  union,
  whyNotConfirmed,
} from '../core/failsafe.ts';
import { type Gate, gateOpen, mayBeOld, noShorterThanLost, noteStatus, vouchedFor } from '../core/gate.ts';
import { InvariantError, invariant } from '../core/invariant.ts';
import {
  acquireTxn,
  type BeatVerdict,
  beatTxn,
  begin,
  holdFor,
  isProof,
  judgeRefusedBeat,
  listTxn,
  releaseTxn,
  retakeTxn,
  type StatusFields,
  type SyncChange,
  swapLeaseTxn,
  type Tenure,
  takeOverTxn,
  windowAfter,
  withSync,
} from '../core/leadership.ts';
import { deadlineOf, LONGEST_TTL_SECONDS, margin } from '../core/lease.ts';
import type { SystemId } from '../core/local.ts';
import { type Lsn, printLsn } from '../core/lsn.ts';
import type { PeerAnswer } from '../core/peer.ts';
import { ABSENT, type KeyValue, type LeaseId, type NodeName, type Op, type Revision } from '../core/store.ts';
import { between, type Instant, LONG_AGO, laterBy, latest, longest, type Millis, millis } from '../core/time.ts';
import type { Leadership } from '../core/view.ts';
import type { CancelTimer, Clock } from '../ports/clock.ts';
import type { Dcs, TxnAnswer } from '../ports/dcs.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { ClocksAhead, Guard } from '../ports/guard.ts';
import type { StateFile } from '../ports/state-file.ts';

/** Of the boot clock against the monotonic one, beyond what reading both can differ by. */
const STOOD_STILL = 100;
/** Of the wall clock, which somebody may have set a little: by so much the guard doubts it too. */
const RAN_AHEAD = 500;
/** Without a beat that landed for so long, etcd keeps us from leading, and nothing of ours the others. */
const LANDING_GAP = 5_000;
/** A leader reads of maintenance with his next loop, the longest of which is 10 s, and his next beat says so. */
const SAYS_SO_WITHIN = 15_000;
/** What etcd was read to say counts for so long. */
const READ_LATELY = 1_000;
/** Delayed writes of our own can only be so many; then something else is wrong. */
const REPEATS = 5;

export interface LeaseKeeperParts {
  readonly clock: Clock;
  readonly dcs: Dcs;
  readonly guard: Guard;
  readonly state: StateFile;
  readonly log: EventLog;
  readonly self: NodeName;
  readonly dataDirectory: string;
  /** What `status` says beside the beat. */
  readonly fields: () => StatusFields;
  /** Since when Postgres is known not to accept writes; null while it may. */
  readonly downSince: () => Instant | null;
  /** Postgres here is out of recovery, as last seen. */
  readonly isPrimary: () => boolean;
  readonly paused: () => boolean;
  /** The TTL that the settings ask for, and the cluster's (they differ only while settings change). */
  readonly wantedTtl: () => Millis;
  /** The cluster's settings have been read: until then the wanted TTL is this node's own, and no reason to change one. */
  readonly settled: () => boolean;
  /** This cluster follows another one, and nothing here writes: no window is opened. */
  readonly leadsStandbys: () => boolean;
  readonly failsafe: FailsafeParts;
  /** Has the cluster read now; `note` is told before it resolves. */
  readonly readCluster: () => Promise<unknown>;
  /** Something changed that a decision may rest on. */
  readonly onChange: (what: 'proof' | 'lost' | 'released' | 'acquired' | 'key') => void;
  /**
   * Rule 7: Postgres stops now, without waiting for a cycle.
   *
   * @param promotable - a window was open in this term: a standby may have been told to promote, and may still do it
   */
  readonly onLost: (why: string, promotable: boolean) => void;
}

/** What `failsafe_mode` needs of the rest of the agent. */
export interface FailsafeParts {
  readonly enabled: () => boolean;
  /** Who should stand in the list, by the newest read of the members. */
  readonly wanted: () => ReadonlyMap<NodeName, string>;
  readonly ask: (
    member: { readonly name: NodeName; readonly apiUrl: string },
    request: FailsafeRequest,
    limit: Millis,
  ) => Promise<FailsafeAnswer>;
}

export type AcquireOutcome = 'ours' | 'refused' | 'unknown';

interface Session {
  readonly lease: LeaseId;
  readonly ttl: Millis;
  readonly grantedFor: Millis;
}

const clocksAhead = (clock: Clock): ClocksAhead => ({
  boot: clock.suspendedFor(),
  wall: millis(clock.wall() - clock.now()),
});

export class LeaseKeeper {
  private readonly parts: LeaseKeeperParts;
  private tenure: Tenure | null = null;
  /** The last term that this process itself has won, and not found. */
  private wonTerm: Revision | null = null;
  private since: Instant = LONG_AGO;
  private adopting = false;
  /** etcd was replaced: before that what it says of who leads binds this node to nobody. */
  private confirmsAfter: Instant = LONG_AGO;
  /** When it was first read that the cluster is in maintenance; null: it is not. */
  private pausedSince: Instant | null = null;
  /** The term of a key with our name that a replaced etcd has brought back: it is left to run out. */
  private disowned: Revision | null = null;
  /** Leases of leaderships of this process that are over. */
  private readonly retired = new Set<LeaseId>();
  /** A running primary is taken in no longer than this without a proof: beyond it only the lease speaks for us. */
  private adoptingUntil: Instant = LONG_AGO;
  /** The key was asked for, for a primary to be taken in as it runs, and no answer has come. */
  private adoption: { readonly session: Session; readonly status: Revision; readonly gate: Gate } | null = null;
  /** The newest beat said `hold_ms: null`: maintenance, no deadline. */
  private pausedBeat = false;
  /** The guard was told to stand down or to stand by, and has not answered: it may strike at a deadline, and may never. */
  private standingDown = false;
  /** What may write here was left by an earlier process with a guard that is not armed: nothing but us ends it. */
  private unguarded = false;
  private guardAcks = true;
  private known: Gate | null = null;
  private session: Session | null = null;
  /** The release that was sent last, repeated until etcd says what became of it. */
  private releasing: { readonly record: Release; readonly also: readonly Op[]; readonly endless: boolean } | null =
    null;
  private cancel: CancelTimer | null = null;
  private turnRunning = false;
  private turnWanted = false;
  private stopped = false;
  private gatePassedStored = false;
  private servedCluster: SystemId | null = null;
  private suspectedAt: Instant = LONG_AGO;
  /** Since when beats land behind the gate without opening a window. */
  private unopenedSince: Instant | null = null;
  /** When the newest beat landed. */
  private landedAt: Instant = LONG_AGO;
  /** When the newest write was sent by which etcd has kept everybody else from leading. */
  private vouchedAt: Instant = LONG_AGO;
  /** Until when the window was open that a release has closed. */
  private closedUntil: Instant = LONG_AGO;
  /** When the newest proof was sent that opened a window, or the newest beat of maintenance that landed. */
  private provenAt: Instant = LONG_AGO;
  /** How the clocks stood then. */
  private provenClocks: ClocksAhead | null = null;
  /** ... and when etcd was last read. */
  private readClocks: ClocksAhead | null = null;
  /** Since when it was read without a silence in which it could have been replaced; null: not yet. */
  private readSince: Instant | null = null;
  private proofs = 0;
  private swapTriedAt: Instant = LONG_AGO;
  /** Leases with which the key was written together with a beat, in transactions whose answer may have been lost. */
  private readonly written = new Set<LeaseId>();
  /** The leader key and the failsafe list as they were last read. */
  private leaderSeen: LeaderKey | null = null;
  private listSeen: FailsafeList | null = null;
  /** The list as this process has written it in this term, and what it has written since without an answer. */
  private list: FailsafeList | null = null;
  private listUnsettled: ReadonlyMap<NodeName, string> | null = null;
  /** The hold of the newest beat that has landed: no confirmation binds anybody for longer. */
  private heldFor: Millis = millis(0);
  private provenBy: 'etcd' | 'members' = 'etcd';
  private refusalSaid = '';
  /** An acquire was sent on the strength of this version of `status`. */
  private acquiredOn: Revision | null = null;
  /** Rule 31: until when this node does not promote because it has said so, and to whom. */
  private confirmedTo: { readonly to: NodeName; readonly until: Instant } | null = null;
  /** One write at a time: everything that touches `leader`, `status` or the lease waits here. */
  private tail: Promise<unknown> = Promise.resolve();

  constructor(parts: LeaseKeeperParts) {
    this.parts = parts;
    parts.guard.onReplaced(() => {
      // The new guard has armed itself from its file; it hears the newest deadline with the next proof, now.
      this.guardAcks = false;
      this.poke();
    });
  }

  /**
   * Finds out whether this process takes over a leadership that an earlier one of this node left behind (rule 25). The
   * window it goes on with is the guard's, never a stored one.
   */
  async start(): Promise<void> {
    const stored = await this.parts.state.read();
    if (stored !== null && stored.dataDirectory === this.parts.dataDirectory) {
      const armed = await this.armedSince();
      const deadline = armed !== null && armed !== 'silent' ? armed.deadline : null;
      const isPrimary = this.parts.isPrimary();
      // A guard that does not answer may hold a deadline beyond the next beat's hold: until when Postgres may write here
      // is not known then, and nothing may be said of it (rule 25). Postgres is fenced, and the key found by rule 14.
      const until = deadline === null ? LONG_AGO : laterBy(deadline, margin(stored.ttl));
      // The key has run out long ago; should it stand all the same, etcd may have been restored.
      const isOver = deadline !== null && !isPrimary && this.parts.clock.now() >= laterBy(until, stored.ttl);
      if (armed !== 'silent' && !isOver && (isPrimary || stored.gatePassed)) {
        this.tenure = {
          ...begin(stored.term, stored.lease, stored.ttl, ABSENT, LONG_AGO),
          seq: this.seqOfNewProcess(),
          until,
          // With Postgres down the earlier process may have sent a release that is still on its way: nothing is written
          // before a newer beat of ours has succeeded (rule 18).
          releaseSent: this.parts.downSince() !== null,
        };
        // In maintenance nothing ends but by a newer status, and one that names an end is ours to write: Postgres goes on,
        // and gets its deadline before the first of those (rule 10).
        this.pausedBeat = stored.unbounded && armed === null && isPrimary;
        // What its postmaster has left may write as well, and so may one that does not answer.
        this.unguarded = armed === null && this.parts.downSince() === null && !this.pausedBeat;
        // What was written in this term nobody else has changed since (rule 28), and each beat behind the gate has bound
        // the others for a whole TTL.
        this.list = stored.list;
        this.listUnsettled = stored.list?.unsettled ?? null;
        this.heldFor = stored.gatePassed ? stored.ttl : millis(0);
        this.since = this.parts.clock.now();
        this.gatePassedStored = stored.gatePassed;
        this.servedCluster = stored.ledAs;
        this.session = { lease: stored.lease, ttl: stored.ttl, grantedFor: stored.ttl };
        this.parts.log.write(
          'info',
          'lease.acquired',
          `the leadership of an earlier process is taken up again, in term ${stored.term}`,
          {
            term: stored.term.toString(),
            window_left_ms: deadline === null ? 0 : Math.max(0, Math.round(between(this.parts.clock.now(), deadline))),
          },
        );
      } else {
        // Rule 25: this term never opened a window and may still have to wait for its gate, or nobody says until when its
        // window is open: found again by rule 14.
        await this.parts.state.forget();
      }
    }
    this.schedule(millis(0));
  }

  /** What the guard was armed with by an earlier process; asked again, because on a busy machine it may be slow once. */
  private async armedSince(): ReturnType<Guard['armed']> {
    const { guard } = this.parts;
    const armed = await guard.armed(GUARD_LIMIT);
    return armed === 'silent' ? guard.armed(GUARD_LIMIT) : armed;
  }

  /**
   * The machine may have been suspended (rule 24): the guard has cut its deadline. Prove now; a proof that was under way
   * was counted on a clock that stood still.
   */
  suspect(because: string): void {
    this.suspectedAt = this.parts.clock.now();
    this.parts.log.write(
      'warn',
      'lease.proof-delayed',
      `the machine may have been suspended (${because}): leadership is proven anew at once`,
    );
    this.poke();
  }

  stop(): void {
    this.stopped = true;
    this.cancel?.();
    this.cancel = null;
  }

  /**
   * This process makes room for the next one: no turn begins any more, what is under way is waited for, and the next one
   * finds a window that was proven a moment ago.
   */
  async handOn(limit: Millis): Promise<void> {
    this.stop();
    const last = this.alone(async () => {
      if (this.tenure !== null && this.releasing === null) await this.prove();
    });
    const failed = last.catch((error: unknown) =>
      this.parts.log.write('warn', 'action.failed', 'leadership was not proven once more before the end', { error }),
    );
    await Promise.race([failed, this.parts.clock.sleep(limit)]);
  }

  /** Runs a turn at once, or right after the one that runs. */
  poke(): void {
    this.schedule(millis(0));
  }

  get leadership(): Leadership {
    const { tenure } = this;
    if (tenure === null) return { kind: 'none' };
    const deadline = this.pausedBeat ? (Number.POSITIVE_INFINITY as Instant) : deadlineOf(tenure.until, tenure.ttl);
    const now = this.parts.clock.now();
    return {
      kind: 'holding',
      term: tenure.term,
      ttl: tenure.ttl,
      since: this.since,
      // Maintenance that has just ended keeps a primary running until its window has an end; it starts none.
      windowOpen:
        !tenure.releaseSent &&
        now < deadline &&
        (!this.pausedBeat || this.parts.paused() || this.parts.isPrimary()) &&
        this.disowned !== tenure.term &&
        // The clock that says so may have stood still: what runs is the guard's, which has cut its deadline; nothing is
        // started or promoted before the next proof.
        (!this.clocksDoubted || this.parts.isPrimary()),
      until: this.pausedBeat ? deadline : tenure.until,
      deadline,
      gate: tenure.gate,
      unopenedSince: between(this.landedAt, now) > LANDING_GAP ? null : this.unopenedSince,
      releaseSent: tenure.releaseSent,
      adopting: this.isAdopting(),
      provenBy: this.provenBy,
    };
  }

  private isAdopting(): boolean {
    return this.adopting && this.parts.clock.now() < this.adoptingUntil;
  }

  get gate(): Gate | null {
    return gateBehind(this.known, this.confirmedTo?.until ?? LONG_AGO);
  }

  /** To whom this node has confirmed that it waits, while that binds it. */
  get confirmed(): { readonly to: NodeName; readonly until: Instant } | null {
    return this.confirmedTo !== null && this.parts.clock.now() < this.confirmedTo.until ? this.confirmedTo : null;
  }

  /** For people: how often leadership was proven by this process, and when last; null: never. */
  get proofsSoFar(): { readonly count: number; readonly last: Instant | null } {
    return { count: this.proofs, last: this.proofs === 0 ? null : this.provenAt };
  }

  /**
   * The machine may have been suspended since the last proof: deadlines are told by a clock that may have stood still.
   * The clocks themselves are asked too: a daemon that goes on may be here before the guard's word is.
   */
  get clocksDoubted(): boolean {
    return this.suspectedAt > this.provenAt || this.ranAheadSince(this.provenClocks);
  }

  private ranAheadSince(before: ClocksAhead | null): boolean {
    if (before === null) return false;
    const { boot, wall } = clocksAhead(this.parts.clock);
    return boot - before.boot > STOOD_STILL || wall - before.wall > RAN_AHEAD;
  }

  /**
   * Since when etcd has been read without a silence in which it could have been replaced. null: it was not read yet, or the
   * machine stood still since it was.
   */
  get etcdSince(): Instant | null {
    return this.ranAheadSince(this.readClocks) ? null : this.readSince;
  }

  /** What the others say of etcd may end the doubt that a silence here has left. */
  heed(answers: Iterable<PeerAnswer>): void {
    if (this.known !== null) this.known = noShorterThanLost(vouchedFor(this.known, answers), answers);
  }

  get acknowledged(): boolean {
    return this.guardAcks;
  }

  /** Whose cluster the scope was while this process, or the one whose leadership it goes on with, led it with its data. */
  get ledAs(): SystemId | null {
    return this.servedCluster;
  }

  /** The scope is named after the data that this node leads with: also the next process has to know. */
  leadsAs(systemId: SystemId): void {
    if (this.servedCluster === systemId) return;
    this.servedCluster = systemId;
    this.storeSoon('whose cluster this node leads');
  }

  /** Whether this process itself took the key in this term: no earlier one has sent anything in it. */
  hasWon(term: Revision): boolean {
    return this.wonTerm === term;
  }

  /** The lease that the member key hangs on; null until etcd has granted one. */
  get lease(): LeaseId | null {
    return this.tenure?.lease ?? this.session?.lease ?? null;
  }

  /**
   * A linearizable read of the cluster: notes the gate, and finds a key of our own that no answer told us about (rule
   * 14): an acquire whose answer was lost, or one that an earlier process sent.
   *
   * @param arrivedAt - when this version of `status` was first known to exist
   * @param readAt - when the answer of this read was there
   * @param nameIsOurs - false: another machine runs under this name, and a key with it is that one's
   * @param historyRestarted - true: etcd was restored to before what was heard from it
   * @param told - the watch has told of this version of `status`, without a break since the read before
   * @returns whether etcd was replaced since the last read
   */
  note(
    cluster: ClusterView,
    arrivedAt: Instant,
    readAt: Instant,
    nameIsOurs = true,
    historyRestarted = false,
    told = false,
  ): boolean {
    const { log } = this.parts;
    const before = this.known;
    const stoodStill = this.ranAheadSince(this.readClocks);
    this.readClocks = clocksAhead(this.parts.clock);
    const clusterTtl = clusterTtlOf(cluster) ?? this.parts.wantedTtl();
    const ownTtl = this.parts.wantedTtl();
    const { self } = this.parts;
    // The settings that this read brings are taken up after it. Later than this a leader has said so himself, or he is gone.
    if (!this.parts.paused()) this.pausedSince = null;
    else this.pausedSince ??= readAt;
    const isNew = this.pausedSince !== null && between(this.pausedSince, readAt) < SAYS_SO_WITHIN;
    const led = isNew ? (this.leaderSeen?.name ?? null) : null;
    const ledInMaintenance = led === self ? null : led;
    const times = { at: arrivedAt, readAt, clusterTtl, ownTtl, stoodStill };
    const arrival = { cluster, ...times, historyRestarted, told, ledInMaintenance, self };
    this.known = noteStatus(before, arrival);
    const restarted =
      before !== null &&
      (historyRestarted || before.clusterId !== this.known.clusterId || cluster.revision < before.storeRevision);
    if (restarted) {
      log.write(
        'warn',
        'dcs.history-restarted',
        'etcd was replaced: what was known from it is forgotten, and every wait starts anew',
      );
    }
    const isOld = before !== null && mayBeOld(before, arrival);
    if (restarted || isOld) this.readSince = null;
    this.readSince ??= readAt;
    this.doubtList(cluster, restarted);
    const { leader } = cluster;
    if (restarted) this.confirmsAfter = laterBy(arrivedAt, longest(clusterTtl, ownTtl));
    // Behind one who went on in maintenance nobody could take over, so it is still he.
    const goesOn = this.known.opensAt === 'never' && this.known.writer === self;
    if (restarted && leader?.name === self && !goesOn)
      this.disown(leader.term, 'etcd was replaced, and no open window says that nobody has led since');
    else if (isOld && leader?.name === self && !goesOn && this.isOver())
      this.disown(
        leader.term,
        'its window has closed, and etcd, which was not read for long, may have been replaced since',
      );
    this.leaderSeen = leader;
    this.listSeen = cluster.failsafe;
    const { adoption } = this;
    const adopts =
      adoption !== null &&
      leader?.name === this.parts.self &&
      leader.lease === adoption.session.lease &&
      this.known.revision === adoption.status &&
      this.parts.clock.now() < this.adoptingUntil;
    const isStranger = leader?.name === self && this.tenure === null && leader.lease !== this.session?.lease;
    const fromBackup = isStranger ? this.mayBeFromBackup(before, cluster, told) : null;
    if (leader !== null && fromBackup !== null) this.disown(leader.term, fromBackup);
    // With a Postgres that may write it is not ours to take up: that one is stopped first, and should it not end, our
    // beats would only keep everybody else from leading. What is to be taken in as it runs is what we took it for.
    const mayTakeUp = nameIsOurs && (this.parts.downSince() !== null || this.parts.paused());
    if (this.tenure === null && adopts && nameIsOurs)
      this.won(leader.term, adoption.session, adoption.gate, false, true);
    else if (
      leader?.name === this.parts.self &&
      this.tenure === null &&
      leader.lease !== null &&
      leader.term !== this.disowned &&
      !this.retired.has(leader.lease) &&
      mayTakeUp
    ) {
      const behind = this.gate?.opensAt ?? 'never';
      const anew = restarted ? laterBy(arrivedAt, longest(clusterTtl, ownTtl)) : this.parts.clock.now();
      const gate = behind === 'never' ? anew : behind;
      const ttl = this.session?.lease === leader.lease ? this.session.ttl : this.parts.wantedTtl();
      this.session = { lease: leader.lease, ttl, grantedFor: this.parts.wantedTtl() };
      const seq = this.seqOfNewProcess();
      this.begin({ ...begin(leader.term, leader.lease, ttl, this.known.revision, gate), seq });
      // In maintenance it goes on writing, and should that end before our first beat, nobody else would end it.
      this.unguarded = this.parts.downSince() === null;
      log.write(
        'warn',
        'lease.acquired',
        `the leader key was found to be ours, in term ${leader.term}; its gate is waited for like any other`,
        {
          term: leader.term.toString(),
          gate_ms: Math.round(between(this.parts.clock.now(), gate)),
        },
      );
      // Beats at the gate show that this lease is alive; the next turn of one who leads nothing may be seconds away.
      this.poke();
    } else if (this.tenure !== null && (leader === null || leader.term !== this.tenure.term)) {
      // Newer knowledge than ours, perhaps: a turn tells (rules 6 and 7); a read alone decides nothing.
      this.poke();
    }
    return restarted;
  }

  /**
   * Rule 13. Nothing is sent before the gate has passed.
   *
   * @param despitePause - also behind the gate of a leader in maintenance, which no time opens (rule 10)
   * @param sync - what becomes of the `sync` key in the same transaction
   */
  acquire(
    status: Revision,
    standing: Revision | null,
    adopting: boolean,
    despitePause = false,
    sync: SyncChange | null = null,
  ): Promise<AcquireOutcome> {
    return this.alone(async () => {
      const { clock, dcs, log, self } = this.parts;
      const known = this.gate;
      if (this.tenure !== null) return 'ours';
      if (known === null || known.revision !== status) return 'refused';
      // Rule 33, whatever the settings say now.
      if (!isListed(this.listSeen, self)) return 'refused';
      const listRevision = this.listSeen?.revision ?? ABSENT;
      const isLost = known.lostUntil !== undefined && clock.now() < known.lostUntil;
      const forced = despitePause && known.opensAt === 'never' && this.confirmed === null && !isLost;
      if (!forced && !gateOpen(known, clock.now())) return 'refused';
      const gate: Gate = forced ? { ...known, opensAt: clock.now() } : known;
      const session = await this.ensureSession();
      if (session === null) return 'unknown';
      // The lease may be a quarter of a TTL old; what is left of it is not used up.
      this.adoptingUntil = laterBy(clock.now(), millis(session.ttl / 2));
      // Looked at again: what was confirmed while the lease was granted holds.
      if (this.confirmed !== null) return 'refused';
      const txn =
        standing === null
          ? acquireTxn(self, session.lease, status, listRevision)
          : takeOverTxn(self, session.lease, standing, status, listRevision);
      this.acquiredOn = status;
      this.adoption = adopting ? { session, status, gate } : null;
      const answer = await dcs.txn(sync === null ? txn : withSync(txn, sync), this.callLimit());
      // A read was faster than the answer.
      if (adopting && this.isAdopting()) return 'ours';
      if (answer.kind === 'unknown') return 'unknown';
      if (answer.kind === 'failed') {
        if (answer.reason === 'lease-not-found') this.session = null;
        // etcd may apply a transaction with which it crosses its quota, and say "no space" all the same.
        return answer.reason === 'no-space' ? 'unknown' : 'refused';
      }
      if (!answer.succeeded) {
        // A hedged or delayed attempt of our own may have won: the read in the answer tells.
        const leader = answer.found.get(KEYS.leader) ?? null;
        const found = answer.found.get(KEYS.status) ?? null;
        const ours = leader !== null && leader.value === self && leader.lease === session.lease;
        if (!ours || (found?.modRevision ?? ABSENT) !== status) return 'refused';
        this.won(leader.modRevision, session, gate, standing !== null, adopting);
        return 'ours';
      }
      this.won(answer.header.revision, session, gate, standing !== null, adopting);
      log.write('debug', 'lease.acquired', 'acquire answered', { raft_term: answer.header.raftTerm.toString() });
      return 'ours';
    });
  }

  /**
   * Of an etcd that was emptied first nothing else tells that a backup was put over it. What is taken by force stands beside
   * the endless word of whoever led before.
   */
  private mayBeFromBackup(before: Gate | null, { status }: ClusterView, told: boolean): string | null {
    const { known } = this;
    const isLastWord = status?.beat?.holdMs === null && status.leader === known?.writer;
    if (known?.opensAt === 'never' && known.writer !== this.parts.self && !isLastWord)
      return 'another one led in maintenance, and nobody has led since';
    const isFirst = before?.revision === ABSENT && status !== null && !told;
    return isFirst ? 'nothing stood in etcd before, and it may come from a backup' : null;
  }

  private won(term: Revision, session: Session, gate: Gate, takenOver: boolean, adopting: boolean): void {
    invariant(gate.opensAt !== 'never', 'a key was taken behind a gate that never opens');
    this.begin(begin(term, session.lease, session.ttl, gate.revision, gate.opensAt));
    this.wonTerm = term;
    this.adopting = adopting;
    this.parts.log.write(
      'info',
      takenOver ? 'lease.taken-over' : 'lease.acquired',
      takenOver
        ? `took over the leader key, whose owner's window has closed; this is term ${term}`
        : `took the leader key; this is term ${term}`,
      { term: term.toString(), lease: session.lease },
    );
    this.parts.onChange('acquired');
    this.poke();
  }

  /**
   * Where the numbers of beats go on in a term that an earlier process of this node may have beaten in. With the same
   * numbers again its last beat would be taken for ours: a refused beat would count as landed, and a window would open
   * for which nothing stands in etcd. One beat a second never catches up with a count of milliseconds.
   */
  private seqOfNewProcess(): number {
    return Math.floor(this.parts.clock.now());
  }

  private begin(tenure: Tenure): void {
    this.tenure = tenure;
    this.vouchedAt = this.parts.clock.now();
    this.closedUntil = LONG_AGO;
    this.disowned = null;
    this.adoption = null;
    this.wonTerm = null;
    this.since = this.parts.clock.now();
    this.adopting = false;
    this.pausedBeat = false;
    this.standingDown = false;
    this.unopenedSince = null;
    this.releasing = null;
    this.gatePassedStored = false;
    this.written.clear();
    this.forgetList();
  }

  /** Somebody wrote or deleted the list, or all of etcd is another: it keeps nobody away before it is written anew. */
  private doubtList(cluster: ClusterView, restarted: boolean): void {
    const { list } = this;
    if (list === null) return;
    const isNewer = cluster.revision >= list.revision;
    if (!restarted && !(isNewer && cluster.failsafe?.revision !== list.revision)) return;
    this.list = null;
    // The next process must not go on with it either.
    this.storeSoon('that the failsafe list is in doubt');
  }

  private storeSoon(what: string): void {
    this.alone(() => this.store()).catch((error: unknown) => {
      this.parts.log.write('error', 'action.failed', `${what} could not be stored`, { error });
    });
  }

  /**
   * What a backup of etcd holds may be a key that was lost since: whoever led after that has a window open, and commits
   * that this node may lack. So it is left to run out, and who leads is found out anew. Not where this node leads with a
   * Postgres that writes: inside of an open window nobody else can have led.
   */
  private disown(term: Revision, why: string): void {
    if (this.tenure !== null && (this.tenure.term !== term || this.mayWriteNow(this.tenure))) return;
    const isKnown = this.disowned === term;
    this.disowned = term;
    if (this.tenure === null) {
      const sentence = `the leader key stands here in our name, and is left to run out: ${why}`;
      if (!isKnown) this.parts.log.write('warn', 'lease.lost', sentence, { term: term.toString() });
      return;
    }
    const dropped = this.alone(async () => {
      if (this.tenure?.term !== term) return;
      this.parts.log.write('warn', 'lease.lost', `leadership is lost: ${why}`, { term: term.toString() });
      await this.end();
      // Not renewed any more: the key goes with it.
      this.session = null;
      this.parts.onChange('lost');
    });
    dropped.catch((error: unknown) => {
      this.parts.log.write('error', 'action.failed', 'that leadership is lost could not be stored', { error });
    });
  }

  /** This node leads, its window is closed, and nothing of it has kept others from leading for a TTL. */
  private isOver(): boolean {
    const { tenure } = this;
    const now = this.parts.clock.now();
    if (tenure === null || now < latest(tenure.until, this.closedUntil)) return false;
    return between(this.vouchedAt, now) > tenure.ttl;
  }

  private mayWriteNow({ until, ttl }: Tenure): boolean {
    if (this.parts.downSince() !== null) return false;
    const isOpen = this.pausedBeat || this.parts.clock.now() < deadlineOf(until, ttl);
    return this.isAdopting() || (isOpen && !this.clocksDoubted);
  }

  private forgetList(): void {
    this.list = null;
    this.listUnsettled = null;
    this.heldFor = millis(0);
    this.provenBy = 'etcd';
    this.refusalSaid = '';
  }

  /**
   * Rule 17. The caller has seen Postgres down (or a standby). From here on the window is closed (rule 18), whatever
   * the answer says.
   *
   * @param also - operations of the same transaction: clearing the operator's request
   * @param more - what else the record says
   * @param endless - whoever is named writes already, and for how long nobody says (maintenance)
   * @returns whether etcd has it; false: not yet known, and repeated until it is
   */
  release(
    lsn: Lsn,
    candidate: NodeName | null,
    also: readonly Op[],
    more: Pick<Release, 'asked' | 'unpromoted'> = {},
    endless = false,
  ): Promise<boolean> {
    return this.alone(async () => {
      if (this.tenure === null) return true;
      const down = this.parts.downSince();
      invariant(down !== null, 'a release is only sent with Postgres seen down or in recovery');
      this.closedUntil = latest(this.tenure.until, this.closedUntil);
      this.tenure = { ...this.tenure, releaseSent: true, until: LONG_AGO };
      this.releasing = { record: { lsn, candidate, ...more }, also, endless };
      const known = await this.sendRelease();
      if (!known) this.schedule(PROOF_AGAIN);
      return known;
    });
  }

  private async sendRelease(): Promise<boolean> {
    const { clock, dcs, log } = this.parts;
    const { tenure, releasing } = this;
    if (tenure === null || releasing === null) return true;
    if (!(await this.readsFirst(tenure))) return false;
    const seq = tenure.seq + 1;
    this.tenure = { ...tenure, seq };
    const fields = this.parts.fields();
    // Who was not promoted published nothing: what the leader before him had is not to be taken for less.
    const { record: final, also, endless } = releasing;
    const optime = final.unpromoted === true ? (fields.optime ?? final.lsn) : final.lsn;
    const txn = releaseTxn(this.tenure, seq, clock.now(), final, { ...fields, optime }, endless);
    const answer = await dcs.txn({ ...txn, success: [...txn.success, ...also] }, this.callLimit());
    if (answer.kind !== 'answered') return false;
    if (!answer.succeeded) {
      const leader = answer.found.get(KEYS.leader) ?? null;
      const status = answer.found.get(KEYS.status) ?? null;
      const ours = leader !== null && leader.modRevision === tenure.term && leader.lease === tenure.lease;
      if (ours) {
        this.tenure = { ...this.tenure, statusRevision: status?.modRevision ?? ABSENT };
        return false;
      }
    }
    const record = answer.succeeded ? true : found(answer, KEYS.status);
    const stands = record === true || (record !== null && readStatusKey(record).beat?.release != null);
    if (!stands) {
      log.write(
        'warn',
        'lease.lost',
        'the key was gone before it could be given up: there is no release record, and the next leader waits for its gate',
        {
          term: tenure.term.toString(),
        },
      );
      await this.end();
      this.session = null;
      await this.parts.guard.disarm(GUARD_LIMIT);
      this.parts.onChange('released');
      return true;
    }
    log.write(
      'info',
      'lease.released',
      `the key was given up at ${printLsn(final.lsn)}${final.candidate === null ? '' : ` for ${final.candidate}`}`,
      { term: tenure.term.toString(), lsn: final.lsn, candidate: final.candidate },
    );
    await this.end();
    // Rule 19: this lease never carries a leader key again.
    this.session = null;
    await this.parts.guard.disarm(GUARD_LIMIT);
    this.parts.onChange('released');
    return true;
  }

  /**
   * The leader of a standby cluster writes nothing: its window is closed, then the guard has nothing to strike at. What
   * was stored goes too: the next process of this node finds its key by rule 14.
   *
   * @returns whether the guard has stood down
   */
  standDown(): Promise<boolean> {
    return this.alone(async () => {
      if (this.tenure !== null) {
        if (!this.parts.leadsStandbys() || this.parts.downSince() === null) return false;
        this.tenure = { ...this.tenure, until: LONG_AGO };
        this.pausedBeat = false;
        this.gatePassedStored = false;
        await this.parts.state.forget();
      }
      return (await this.parts.guard.disarm(GUARD_LIMIT)).kind === 'acked';
    });
  }

  /** Rule 18: after a release whose fate is unknown, writing again needs a newer beat first. */
  reclaim(): Promise<boolean> {
    return this.alone(async () => {
      if (this.tenure === null) return false;
      if (!this.tenure.releaseSent) return true;
      this.releasing = null;
      return this.prove();
    });
  }

  /** Rule 19: it never carries a leader key of ours again, but in a backup of etcd. */
  private retireLease(): void {
    if (this.tenure !== null) this.retired.add(this.tenure.lease);
  }

  private async end(): Promise<void> {
    this.retireLease();
    this.tenure = null;
    this.releasing = null;
    this.adopting = false;
    this.pausedBeat = false;
    await this.parts.state.forget();
  }

  // ---------------------------------------------------------------- the timer

  private schedule(after: Millis): void {
    if (this.stopped) return;
    if (this.turnRunning) {
      if (after === 0) this.turnWanted = true;
      return;
    }
    this.cancel?.();
    this.cancel = this.parts.clock.timer(after, () => {
      this.cancel = null;
      void this.turn();
    });
  }

  private async turn(): Promise<void> {
    if (this.turnRunning || this.stopped) return;
    this.turnRunning = true;
    this.turnWanted = false;
    let next: Millis = PROOF_EVERY;
    try {
      next = await this.alone(() => (this.tenure === null ? this.idle() : this.keep()));
    } catch (error) {
      if (error instanceof InvariantError) throw error;
      // A runtime directory without room, for one: nothing was opened, and the timer has to go on.
      this.parts.log.write('error', 'action.failed', 'leadership could not be proven', { error });
      next = PROOF_AGAIN;
    } finally {
      this.turnRunning = false;
    }
    this.schedule(this.turnWanted ? millis(0) : next);
  }

  /** Not leading: the member key's lease is kept alive, and nothing else. */
  private async idle(): Promise<Millis> {
    const wanted = this.parts.wantedTtl();
    if (this.session === null || this.session.grantedFor !== wanted) {
      this.session = null;
      return (await this.ensureSession()) === null ? PROOF_AGAIN : PROOF_EVERY;
    }
    const answer = await this.parts.dcs.keepAlive(this.session.lease, this.callLimit());
    if (answer.kind === 'gone') this.session = null;
    if (answer.kind === 'gone') return millis(0);
    return answer.kind === 'renewed' ? millis(Math.max(PROOF_EVERY, wanted / 4)) : PROOF_AGAIN;
  }

  private async ensureSession(): Promise<Session | null> {
    if (this.session !== null) return this.session;
    const wanted = this.parts.wantedTtl();
    const answer = await this.parts.dcs.grant(wanted, this.callLimit());
    if (answer.kind !== 'granted') return null;
    this.session = { lease: answer.lease, ttl: answer.ttl, grantedFor: wanted };
    this.parts.log.write('debug', 'lease.granted', `etcd granted a lease of ${answer.ttl / 1000} s`, {
      lease: answer.lease,
    });
    this.parts.onChange('key');
    return this.session;
  }

  /** One turn of the leader. @returns when the next one is due */
  private async keep(): Promise<Millis> {
    if (this.releasing !== null) return (await this.sendRelease()) ? PROOF_EVERY : PROOF_AGAIN;
    if (await this.prove()) {
      await this.keepList();
      return this.pace();
    }
    await this.askMembers();
    return PROOF_AGAIN;
  }

  /** Rule 28: the list is kept as the members are, by the one who proves that he leads. */
  private async keepList(): Promise<void> {
    const { dcs, failsafe, log, settled } = this.parts;
    const { tenure } = this;
    if (tenure === null || tenure.releaseSent || !settled() || this.parts.clock.now() < tenure.gate) return;
    // Switched off it is emptied: whoever it kept away may race again.
    const wanted = failsafe.enabled() ? failsafe.wanted() : new Map<NodeName, string>();
    // Nothing is known of the members yet.
    if (failsafe.enabled() && !wanted.has(this.parts.self)) return;
    const before = this.list?.members ?? this.listSeen?.members ?? new Map<NodeName, string>();
    if (!failsafe.enabled() && before.size === 0 && this.listUnsettled === null) return;
    if (this.list !== null && this.listUnsettled === null && sameList(this.list.members, wanted)) return;
    const revision = this.list?.revision ?? this.listSeen?.revision ?? ABSENT;
    this.listUnsettled = union(wanted, this.listUnsettled);
    // It may land and not be answered: then nobody is kept away any more, and there is nobody whose word would do.
    if (wanted.size === 0) this.list = null;
    await this.store();
    const answer = await dcs.txn(listTxn(tenure, wanted, revision), this.callLimit());
    // Unknown or failed: both lists count until a later write has succeeded.
    if (answer.kind !== 'answered') return;
    if (answer.succeeded) {
      this.list = { members: wanted, revision: answer.header.revision };
      this.listUnsettled = null;
      await this.store();
      log.write('info', 'failsafe.listed', `the failsafe list is ${[...wanted.keys()].join(', ') || 'empty'} now`);
      return;
    }
    // An earlier write of this term has landed in between: what stands there counts too, until it is written over.
    const entry = found(answer, KEYS.failsafe);
    this.listSeen = entry === null ? null : readFailsafeKey(entry);
    this.list = null;
    this.listUnsettled = union(this.listUnsettled, this.listSeen?.members ?? null);
    await this.store();
  }

  /** Rule 29: without a proof of etcd, everybody who could take over is asked to wait for one more TTL. */
  private async askMembers(): Promise<void> {
    const { clock, failsafe, log, self, settled } = this.parts;
    const { tenure, list } = this;
    if (tenure === null || list === null || this.parts.paused() || this.pausedBeat) return;
    // Switched off, the list is emptied: one that an earlier process left says that it is on until the settings are read.
    if (settled() && !failsafe.enabled()) return;
    // An emptied list is none: nobody in it would mean that nobody has to be asked.
    if (tenure.releaseSent || this.heldFor < tenure.ttl || !list.members.has(self)) return;
    if (between(this.provenAt, clock.now()) < (this.provenBy === 'members' ? PROOF_EVERY : asksAfter(tenure.ttl)))
      return;
    const clocks = clocksAhead(clock);
    const sentAt = clock.now();
    const others = [...union(list.members, this.listUnsettled)].filter(([name]) => name !== self);
    const limit = confirmLimit(tenure.ttl);
    const { slots } = this.parts.fields();
    const answers = await Promise.all(
      others.map(async ([name, apiUrl]) => {
        const request: FailsafeRequest = { name: self, to: name, term: tenure.term, hold: tenure.ttl, slots };
        return { name, answer: await failsafe.ask({ name, apiUrl }, request, limit) };
      }),
    );
    if (this.tenure?.term !== tenure.term || clock.suspendedFor() - clocks.boot > STOOD_STILL) return;
    const refusals = answers.flatMap(({ name, answer }) =>
      answer.kind === 'refused' ? [`${name}: ${answer.why}`] : [],
    );
    if (refusals.length > 0) {
      const said = refusals.join('; ');
      const severity = said === this.refusalSaid ? 'debug' : 'warn';
      this.refusalSaid = said;
      log.write(
        severity,
        'failsafe.refused',
        `without etcd this node goes on only if all confirm, and not all do: ${said}`,
      );
      return;
    }
    this.refusalSaid = '';
    if (!(await this.openWindow({ sentAt, hold: tenure.ttl, clocks })) || this.tenure === null) return;
    if (this.provenBy === 'members' || this.provenAt !== sentAt) return;
    this.provenBy = 'members';
    log.write(
      'warn',
      'failsafe.entered',
      `etcd does not prove this leadership; ${others.length === 0 ? 'there is no other member' : `all members confirm it: ${others.map(([name]) => name).join(', ')}`}; writes go on`,
      { term: tenure.term.toString() },
    );
    this.parts.onChange('proof');
  }

  /**
   * Rules 30 and 31: a leader without etcd asks this node to wait for it.
   *
   * @returns why it does not; null: it does, and its gate is behind that from now on
   */
  async confirm(request: FailsafeRequest): Promise<string | null> {
    const { clock, log, state } = this.parts;
    const termOnDisk = (await state.read()) !== null;
    const ttl = this.parts.wantedTtl();
    const isTooSoon = clock.now() < this.confirmsAfter;
    const why = isTooSoon
      ? 'etcd was replaced, and may know nothing of who has led since'
      : whyNotConfirmed(request, {
          self: this.parts.self,
          gate: this.known,
          leader: this.leaderSeen,
          holdsKey: this.tenure !== null,
          termOnDisk,
          acquiredOn: this.acquiredOn,
          postgresIsHarmless: this.parts.downSince() !== null && !this.parts.isPrimary(),
          ttl,
        });
    if (why !== null) {
      log.write('debug', 'failsafe.refused', `${request.name} asked for a confirmation and got none: ${why}`);
      return why;
    }
    const until = laterBy(clock.now(), holdOfRequest(request, ttl));
    const isNew = this.confirmed === null;
    this.confirmedTo = { to: request.name, until: latest(until, this.confirmedTo?.until ?? LONG_AGO) };
    log.write(
      isNew ? 'info' : 'debug',
      'failsafe.confirmed',
      `${request.name} has lost etcd: this node waits for it, for ${Math.round(between(clock.now(), until))} ms each time it asks`,
    );
    return null;
  }

  /** Every second, and exactly when the gate passes: the first full proof should not wait for the next second. */
  private pace(): Millis {
    const gate = this.tenure?.gate ?? LONG_AGO;
    const left = between(this.parts.clock.now(), gate);
    return left > 0 ? millis(Math.min(PROOF_EVERY, Math.ceil(left))) : PROOF_EVERY;
  }

  /**
   * Maintenance has ended while no daemon was there, or in front of a gate: Postgres runs, and no guard has a deadline
   * for it. A beat with a hold would tell the others when to promote, and nothing would end this one if we died then
   * (protocol.md 10): it is fenced first. In maintenance itself the beats name no end.
   */
  private mayBeat(): boolean {
    // From a beat without an end that has landed, the way back leads by the guard.
    if (this.pausedBeat || this.parts.downSince() !== null) this.unguarded = false;
    return !this.unguarded || this.parts.paused();
  }

  /**
   * For a TTL nothing of ours has landed, and no window is open: somebody may have led since. An etcd that was restored to
   * before that takes our next write all the same, and whoever reads it counts from there (protocol.md 11). So it is read
   * first.
   *
   * @returns whether something may be written
   */
  private async readsFirst({ term, ttl, until }: Tenure): Promise<boolean> {
    const isStale = (): boolean => {
      const now = this.parts.clock.now();
      const doubted = this.clocksDoubted;
      if (!doubted && !this.isOver()) return false;
      const readAt = this.known?.readAt ?? LONG_AGO;
      if (between(readAt, now) > READ_LATELY) return true;
      return doubted && (this.suspectedAt > readAt || this.ranAheadSince(this.readClocks));
    };
    if (!isStale()) return true;
    const isNew = this.known === null;
    await this.parts.readCluster();
    if (isStale()) return false;
    // A new process has nothing to compare with what it reads.
    const isOver = until !== LONG_AGO && this.parts.clock.now() >= laterBy(until, ttl);
    if (isNew && isOver && !this.pausedBeat)
      this.disown(term, 'its window has been closed for longer than a TTL, and etcd was not heard in between');
    return this.disowned !== term;
  }

  /** Rules 1 to 6: keepalive, beat, window, guard. @returns whether the next turn may wait a whole cycle */
  private async prove(): Promise<boolean> {
    const { clock, dcs } = this.parts;
    const started = this.tenure;
    invariant(started !== null, 'only a holder proves');
    if (!this.mayBeat() || !(await this.readsFirst(started))) return false;
    const otherTtl =
      this.parts.settled() &&
      started.ttl !== this.parts.wantedTtl() &&
      this.session?.grantedFor !== this.parts.wantedTtl();
    // A change that does not go through (no space) must not keep the lease that we have from being renewed.
    if (otherTtl && between(this.swapTriedAt, clock.now()) >= PROOF_EVERY) {
      this.swapTriedAt = clock.now();
      return this.swapLease(started);
    }
    // A beat without an end has landed: the guard is all that maintenance waits for, also while etcd is away.
    if (this.standingDown && this.parts.paused()) await this.enterPause();
    // Before S is read: while the machine stands still in between, S is younger than it looks, and the guard has to see it.
    const clocks = clocksAhead(clock);
    const sentAt = clock.now();
    // Maintenance ends: the window without an end has to end before the first beat with a hold is sent, which may land
    // although its answer never comes. A new process knows that only once it has read the settings.
    if ((this.pausedBeat || this.standingDown) && !this.parts.paused() && this.parts.settled())
      await this.boundWindow(started, sentAt, clocks);
    if (!this.mayBeat()) return false;
    const keepAlive = await dcs.keepAlive(started.lease, this.callLimit());
    if (keepAlive.kind === 'unanswered') return false;
    if (keepAlive.kind === 'renewed' && this.tenure !== null) this.tenure = { ...this.tenure, ttl: keepAlive.ttl };

    for (let attempt = 0; attempt < REPEATS; attempt++) {
      const tenure: Tenure | null = this.tenure;
      if (tenure === null) return true;
      // Maintenance may have ended since it was asked.
      if (!this.mayBeat()) return false;
      const seq = tenure.seq + 1;
      this.tenure = { ...tenure, seq };
      const hold = holdFor(tenure, sentAt);
      const paused = this.namesNoEnd;
      const answer = await dcs.txn(beatTxn(tenure, seq, paused ? null : hold, this.parts.fields()), this.callLimit());
      const verdict = this.judge(tenure, seq, answer);
      switch (verdict.kind) {
        case 'unknown':
          return false;
        case 'landed': {
          this.tenure = { ...tenure, seq, statusRevision: verdict.statusRevision, releaseSent: false };
          this.heldFor = hold;
          this.vouchedAt = sentAt;
          if (paused) {
            // It opens no window, and says all the same that the key is ours, whatever the clocks have done before.
            this.provenAt = sentAt;
            this.provenClocks = clocks;
            return this.enterPause();
          }
          this.noteLanded(tenure, sentAt);
          const renewed = keepAlive.kind === 'renewed' && isProof(keepAlive.header.raftTerm, verdict.raftTerm);
          // Rule 24: the clock stood still in between, so S is younger than it looks.
          const stoodStill = clock.suspendedFor() - clocks.boot > STOOD_STILL;
          if (!renewed || stoodStill || !(await this.openWindow({ sentAt, hold, clocks }))) return false;
          this.provenByEtcd();
          return true;
        }
        case 'repeat':
          this.tenure = { ...tenure, seq, statusRevision: verdict.statusRevision };
          continue;
        case 'key-absent':
          this.tenure = { ...tenure, seq, statusRevision: verdict.statusRevision };
          if (this.mayHaveBeenSucceeded(verdict, tenure.statusRevision)) {
            await this.lose('the key is gone, and somebody else has led since');
            return true;
          }
          return this.retake();
        case 'lost':
          if (answer.kind === 'answered' && (await this.foundOwnWrite(tenure, answer))) return false;
          await this.lose(verdict.holder === null ? 'the key is not ours' : `the key belongs to ${verdict.holder} now`);
          return true;
      }
    }
    return false;
  }

  private provenByEtcd(): void {
    if (this.provenBy === 'etcd') return;
    this.provenBy = 'etcd';
    this.parts.log.write('info', 'failsafe.left', 'etcd proves this leadership again');
    this.parts.onChange('proof');
  }

  /** Behind the gate each beat keeps everybody else from leading; whether it opens a window is seen a moment later. */
  private noteLanded(tenure: Tenure, sentAt: Instant): void {
    const now = this.parts.clock.now();
    // After a while in which none landed it is another matter.
    if (between(this.landedAt, now) > LANDING_GAP) this.unopenedSince = null;
    this.landedAt = now;
    if (sentAt >= tenure.gate) this.unopenedSince ??= now;
  }

  private judge(
    tenure: Tenure,
    seq: number,
    answer: TxnAnswer,
  ):
    | { readonly kind: 'unknown' }
    | { readonly kind: 'landed'; readonly statusRevision: Revision; readonly raftTerm: bigint }
    | { readonly kind: 'repeat'; readonly statusRevision: Revision }
    | Extract<BeatVerdict, { kind: 'key-absent' }>
    | { readonly kind: 'lost'; readonly holder: NodeName | null } {
    if (answer.kind !== 'answered') return { kind: 'unknown' };
    const { raftTerm } = answer.header;
    if (answer.succeeded) return { kind: 'landed', statusRevision: answer.header.revision, raftTerm };
    const verdict = judgeRefusedBeat(tenure, seq, found(answer, KEYS.leader), found(answer, KEYS.status));
    return verdict.kind === 'landed' ? { ...verdict, raftTerm } : verdict;
  }

  /**
   * That nobody can have led since is what an open window says. Not one without an end, in maintenance, when an operator may
   * have made somebody lead. And not one on a clock that stood still: status tells, as who led after us has written it;
   * an earlier one than we know of does not, as etcd was restored or emptied.
   */
  private mayHaveBeenSucceeded(found: Extract<BeatVerdict, { kind: 'key-absent' }>, known: Revision): boolean {
    const { ours, later, by } = found;
    if (!this.pausedBeat && this.clocksDoubted && found.statusRevision < known) return true;
    if (ours) return false;
    if (this.pausedBeat) return true;
    // By our own name: a retake whose answer was lost. An earlier term: etcd was restored.
    return by !== this.parts.self && (later || this.clocksDoubted);
  }

  /** In maintenance, and until a guard has a deadline again, what is written says nothing of an end. */
  private get namesNoEnd(): boolean {
    return this.parts.paused() || this.pausedBeat || this.standingDown;
  }

  private async openWindow(proof: {
    readonly sentAt: Instant;
    readonly hold: Millis;
    readonly clocks: ClocksAhead;
  }): Promise<boolean> {
    const { clock, guard, log } = this.parts;
    const { tenure } = this;
    if (tenure === null) return true;
    if (proof.sentAt < this.suspectedAt) return false;
    if (this.parts.leadsStandbys()) {
      // Proven, and nothing opened by it: whatever comes to write here all the same is fenced.
      this.provenAt = proof.sentAt;
      this.provenClocks = proof.clocks;
      this.proofs++;
      this.unopenedSince = null;
      return true;
    }
    // A primary taken in as it runs had no window that could have passed.
    const downSince = this.isAdopting() ? proof.sentAt : this.parts.downSince();
    const counted = windowAfter(tenure, proof, clock.now(), downSince);
    if (counted === null) return proof.sentAt < tenure.gate;
    // The end of what was open before is told by a clock that may have stood still: a beat's hold covers it all the same,
    // and members have agreed to no more than they were asked for.
    const until = this.clocksDoubted ? laterBy(proof.sentAt, proof.hold) : counted;
    if (until < tenure.until) this.tenure = { ...tenure, until };
    const wasOpen = clock.now() < deadlineOf(tenure.until, tenure.ttl);
    const deadline = deadlineOf(until, tenure.ttl);
    const proven = { until, ttl: tenure.ttl };
    const { clocks } = proof;
    const answer = await guard.arm({ deadline, dataDirectory: this.parts.dataDirectory, proven, clocks }, GUARD_LIMIT);
    if (answer.kind === 'silent') {
      if (this.guardAcks) log.write('error', 'guard.silent', `the guard does not acknowledge: ${answer.cause}`);
      this.guardAcks = false;
      // It may have the old end still: the hold of the next beat has to reach as far.
      if (this.tenure !== null) this.tenure = { ...this.tenure, until: tenure.until };
      return false;
    }
    this.guardAcks = true;
    if (!this.gatePassedStored) {
      await this.store(true);
      this.gatePassedStored = true;
    }
    if (this.tenure === null) return true;
    this.tenure = { ...this.tenure, until };
    this.provenAt = proof.sentAt;
    this.provenClocks = proof.clocks;
    this.proofs++;
    this.unopenedSince = null;
    this.adopting = false;
    if (!wasOpen) {
      log.write(
        'info',
        'lease.window-opened',
        `leadership is proven: Postgres may write for the next ${Math.round(between(clock.now(), deadline))} ms, and on with each further proof`,
        {
          term: tenure.term.toString(),
          until_ms: Math.round(between(clock.now(), until)),
        },
      );
      this.parts.onChange('proof');
    }
    const took = between(proof.sentAt, clock.now());
    if (took > tenure.ttl / 5) {
      log.write('warn', 'lease.proof-delayed', `a proof of leadership took ${Math.round(took)} ms`, {
        took_ms: Math.round(took),
      });
    }
    return true;
  }

  private async enterPause(): Promise<boolean> {
    // While one that was to stand by again has not answered there is no maintenance to go back to, unless it is on once more.
    if (this.pausedBeat && !(this.standingDown && this.parts.paused())) return true;
    // A guard that has not stood down strikes at its deadline: until it has, there is one. Should maintenance end before
    // it answers, it is armed again before any beat names an end.
    this.standingDown = true;
    if ((await this.parts.guard.disarm(GUARD_LIMIT)).kind === 'silent') return false;
    this.adopting = false;
    this.standingDown = false;
    this.pausedBeat = true;
    await this.store();
    this.parts.onChange('proof');
    return true;
  }

  /**
   * The window of a leader that comes out of maintenance: from `sentAt` on as long as any hold that its next beat can
   * say, with the guard armed. While the guard does not acknowledge, maintenance goes on.
   */
  private async boundWindow(tenure: Tenure, sentAt: Instant, clocks: ClocksAhead): Promise<void> {
    // From here on others may hear of an end: a process that follows finds a deadline, or fences.
    await this.store(this.gatePassedStored, false);
    if (sentAt < tenure.gate || this.parts.downSince() !== null) {
      // Nothing writes that might go on: the first proof opens a window like any other. The one of before has lost its
      // guard when maintenance began, and may not have passed yet. What runs in front of a gate is fenced.
      this.tenure = { ...tenure, until: LONG_AGO };
      this.pausedBeat = false;
      this.standingDown = false;
      this.unguarded = this.parts.downSince() === null;
      this.parts.onChange('proof');
      return;
    }
    const until = laterBy(sentAt, holdFor({ ...tenure, until: LONG_AGO }, sentAt));
    const deadline = deadlineOf(until, tenure.ttl);
    const proven = { until, ttl: tenure.ttl };
    const answer = await this.parts.guard.arm(
      { deadline, dataDirectory: this.parts.dataDirectory, proven, clocks },
      GUARD_LIMIT,
    );
    this.guardAcks = answer.kind === 'acked';
    // It may have heard: should maintenance begin once more, it has to be told to stand down again.
    this.standingDown = !this.guardAcks;
    if (!this.guardAcks) return;
    this.tenure = { ...tenure, until };
    this.pausedBeat = false;
    this.unguarded = false;
  }

  /** Rule 6: inside of an open window, with our own primary running, the key is taken again at once. */
  private async retake(): Promise<boolean> {
    const { clock, dcs, log, self } = this.parts;
    const tenure = this.tenure;
    if (tenure === null) return true;
    const inTime = (): boolean => this.pausedBeat || clock.now() < deadlineOf(tenure.until, tenure.ttl);
    if (tenure.releaseSent || !inTime() || !this.parts.isPrimary()) {
      await this.lose('the key is gone and no window is open any more');
      return true;
    }
    const sentAt = clock.now();
    const seq = tenure.seq + 1;
    const hold = holdFor(tenure, sentAt);
    let lease = tenure.lease;
    let ttl = tenure.ttl;
    for (let attempt = 0; attempt < 2; attempt++) {
      this.written.add(lease);
      const txn = retakeTxn(
        self,
        lease,
        tenure.statusRevision,
        seq,
        this.namesNoEnd ? null : hold,
        this.parts.fields(),
      );
      const answer = await dcs.txn(txn, this.callLimit());
      if (answer.kind === 'unknown') return false;
      if (answer.kind === 'failed') {
        if (answer.reason !== 'lease-not-found') return false;
        // As long as the lease that is gone, until the cluster's settings are known: the window may be open for longer
        // than this node's own TTL.
        const wanted = this.parts.settled() ? this.parts.wantedTtl() : tenure.ttl;
        const granted = await dcs.grant(wanted, this.callLimit());
        if (granted.kind !== 'granted') return false;
        lease = granted.lease;
        ttl = granted.ttl;
        continue;
      }
      if (!answer.succeeded) {
        const leader = found(answer, KEYS.leader);
        const status = found(answer, KEYS.status);
        // An earlier attempt whose answer was lost: key and beat came in one transaction, so both must be of it.
        if (leader?.value !== self || leader.lease !== lease || status?.modRevision !== leader.modRevision) {
          await this.lose('the key had vanished and could not be taken again');
          return true;
        }
        return this.retaken(tenure, leader.modRevision, lease, ttl, seq, inTime());
      }
      log.write(
        'warn',
        'lease.retaken',
        'the leader key had vanished inside the open window; it was taken again, and nobody can have led in between',
        {
          term: answer.header.revision.toString(),
        },
      );
      return this.retaken(tenure, answer.header.revision, lease, ttl, seq, inTime());
    }
    return false;
  }

  private async retaken(
    tenure: Tenure,
    term: Revision,
    lease: LeaseId,
    ttl: Millis,
    seq: number,
    inTime: boolean,
  ): Promise<boolean> {
    if (!inTime) {
      await this.lose('the key was taken again too late');
      return true;
    }
    this.tenure = { ...tenure, term, lease, ttl, seq, statusRevision: term };
    this.session = { lease, ttl, grantedFor: this.parts.wantedTtl() };
    this.vouchedAt = this.parts.clock.now();
    // The key vanished, perhaps with everything else: whoever was kept away by the list may not be any more.
    this.list = null;
    await this.store();
    this.parts.onChange('key');
    // The beat counts only together with a keepalive of the same raft term: the next turn proves.
    return false;
  }

  /**
   * A retake or a change of lease landed although its answer never came: key and beat carry one revision, and the lease
   * is one that only such a transaction of ours has used. It counts like an answer, if it is still in time.
   */
  private async foundOwnWrite(tenure: Tenure, answer: Extract<TxnAnswer, { kind: 'answered' }>): Promise<boolean> {
    const leader = found(answer, KEYS.leader);
    const status = found(answer, KEYS.status);
    if (leader === null || leader.value !== this.parts.self || leader.lease === null) return false;
    if (status?.modRevision !== leader.modRevision || !this.written.has(leader.lease)) return false;
    const inTime = this.pausedBeat || this.parts.clock.now() < deadlineOf(tenure.until, tenure.ttl);
    if (!inTime) return false;
    await this.retaken(tenure, leader.modRevision, leader.lease, tenure.ttl, tenure.seq + 1, true);
    return true;
  }

  /** Rule 8: term and lease change together. */
  private async swapLease(tenure: Tenure): Promise<boolean> {
    const { clock, dcs, log, self } = this.parts;
    const granted = await dcs.grant(this.parts.wantedTtl(), this.callLimit());
    if (granted.kind !== 'granted' || !this.mayBeat()) return false;
    const sentAt = clock.now();
    const seq = tenure.seq + 1;
    const hold = this.namesNoEnd ? null : holdFor(tenure, sentAt, granted.ttl);
    this.written.add(granted.lease);
    const answer = await dcs.txn(
      swapLeaseTxn(self, tenure, granted.lease, seq, hold, this.parts.fields()),
      this.callLimit(),
    );
    if (answer.kind !== 'answered') return false;
    if (!answer.succeeded) {
      const leader = found(answer, KEYS.leader);
      this.tenure = { ...tenure, seq, statusRevision: found(answer, KEYS.status)?.modRevision ?? ABSENT };
      // Not ours any more, or changed by an attempt whose answer was lost: the next beat finds out which.
      if (leader?.modRevision !== tenure.term) {
        this.session = { lease: tenure.lease, ttl: tenure.ttl, grantedFor: this.parts.wantedTtl() };
      }
      return false;
    }
    this.swapped(tenure, answer.header.revision, granted.lease, granted.ttl, seq);
    log.write('info', 'lease.granted', `the TTL is ${granted.ttl / 1000} s now`, {
      term: answer.header.revision.toString(),
    });
    await this.store();
    return false;
  }

  private swapped(tenure: Tenure, term: Revision, lease: LeaseId, ttl: Millis, seq: number): void {
    this.tenure = { ...tenure, term, lease, ttl, seq, statusRevision: term };
    this.session = { lease, ttl, grantedFor: this.parts.wantedTtl() };
    this.parts.onChange('key');
  }

  private async store(gatePassed = this.gatePassedStored, unbounded = this.pausedBeat): Promise<void> {
    const { tenure, list } = this;
    if (tenure === null) return;
    await this.parts.state.write({
      lease: tenure.lease,
      ttl: tenure.ttl,
      term: tenure.term,
      dataDirectory: this.parts.dataDirectory,
      gatePassed,
      unbounded,
      ledAs: this.servedCluster,
      list: list === null ? null : { ...list, unsettled: this.listUnsettled },
    });
  }

  /** Rule 7. The deadline stays armed: the guard is told to stand down only when the family was seen gone. */
  private async lose(why: string): Promise<void> {
    this.parts.log.write('warn', 'lease.lost', `leadership is lost: ${why}`, { term: this.tenure?.term.toString() });
    const promotable = this.gatePassedStored;
    this.retireLease();
    this.tenure = null;
    this.session = null;
    this.releasing = null;
    this.adopting = false;
    this.pausedBeat = false;
    this.forgetList();
    this.parts.onLost(why, promotable);
    this.parts.onChange('lost');
    await this.parts.state.forget();
  }

  /**
   * Postgres is to end and does not: it hangs in the kernel. Nothing can be released then, and each further proof would
   * keep the others from leading a cluster that nobody can write to. So nothing is proven any more: the guard keeps
   * striking, the hold of the last beat runs out, and somebody else takes over.
   */
  resign(why: string): Promise<void> {
    return this.alone(async () => {
      if (this.tenure === null) return;
      this.parts.log.write('error', 'lease.lost', `leadership is left to run out: ${why}`, {
        term: this.tenure.term.toString(),
      });
      this.retireLease();
      this.tenure = null;
      // Not renewed any more: the key goes with it.
      this.session = null;
      this.releasing = null;
      this.adopting = false;
      this.pausedBeat = false;
      this.parts.onChange('lost');
      await this.parts.state.forget();
    });
  }

  /** A call that takes longer than this is given up; the adapter hedges within it. */
  private callLimit(): Millis {
    const ttl = this.tenure?.ttl ?? this.parts.wantedTtl();
    return requestLimit(ttl);
  }

  /** Nothing that writes `leader` or `status` overlaps with anything else that does. */
  private alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.tail.then(work, work);
    this.tail = mine.catch(() => undefined);
    return mine;
  }
}

function found(answer: Extract<TxnAnswer, { kind: 'answered' }>, key: string): KeyValue | null {
  return answer.found.get(key) ?? null;
}

/** The TTL that the cluster's settings name, for a `status` that says no hold of its own. */
function clusterTtlOf(cluster: ClusterView): Millis | null {
  const ttl = cluster.config?.value['ttl'];
  return typeof ttl === 'number' && ttl > 0 ? millis(Math.min(ttl, LONGEST_TTL_SECONDS) * 1000) : null;
}
