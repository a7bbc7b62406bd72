/**
 * What must hold at every event, checked against the world's true state and not against what daemons believe
 * (protocol.md 11, simulation.md 4). Each invariant says what it means and when it is switched off. The nearer one is to
 * the cause, the sooner it speaks.
 */
import { KEYS, readStatusKey } from '../../src/core/cluster.ts';
import type { Compare, KeyValue, LeaseId, Txn } from '../../src/core/store.ts';
import { revision } from '../../src/core/store.ts';
import type { Leadership } from '../../src/core/view.ts';
import { kindOf, type RequestKind } from './models/dcs-line.ts';
import type { GuardProcess } from './models/guard.ts';
import type { PostgresServer } from './models/postgres-server.ts';
import { REPLACING_MS } from './world/faults.ts';
import type { Incarnation, MachineClock } from './world/incarnation.ts';

/** A node as the checker looks at it. */
export interface WatchedNode {
  readonly name: string;
  readonly clock: MachineClock;
  readonly server: PostgresServer;
  readonly guard: GuardProcess;
  daemon(): {
    readonly startedAt: number;
    readonly process: Incarnation;
    readonly control: { leadershipNow(): Leadership };
  } | null;
}

/** What etcd's majority holds, and its own clock. */
export interface EtcdTruth {
  leader(): { readonly name: string; readonly lease: LeaseId | null } | null;
  /** Milliseconds until the lease's TTL has run out on the clock of the member that may expire it; null: no such lease. */
  leaseLeft(lease: LeaseId): number | null;
  /** Who stands in the failsafe list; null: there is none. */
  listed(): readonly string[] | null;
}

export interface AppliedChange {
  readonly key: string;
  /** null: deleted. */
  readonly value: string | null;
  readonly revision: bigint;
  readonly lease: LeaseId | null;
}

/** One version of `status` as it was sent. */
interface SentBeat {
  readonly text: string;
  readonly kind: RequestKind;
  /** S: when the keepalive before it was sent, or the transaction itself where there is none; true time. */
  readonly from: number;
  readonly hold: number | null;
  readonly sentAt: number;
}

interface StatusVersion {
  readonly writer: string;
  readonly at: number;
  readonly hold: number | null;
}

interface Ledger {
  readonly node: WatchedNode;
  readonly sent: SentBeat[];
  keepaliveSentAt: number;
  /** Latest S + hold of a beat that was applied: P2's bound, true time. */
  windowBound: number;
  /** Not writable later than this, unless a newer version of its own is applied: P1. */
  mustEndBy: number;
  /** A release was sent and no newer beat of this node was applied: P4. */
  releaseSentAt: number | null;
  lease: LeaseId | null;
  /** Nothing could end Postgres when the window closed (protocol.md 10): by design, and counted. */
  excused: boolean;
  wrote: boolean;
  /** Its newest beat says that its window has no end: maintenance. */
  endless: boolean;
  /** etcd took this lease away, or it was changed for a shorter one: until the window ends that is no fault of the node. */
  pardonedLease: LeaseId | null;
  pardonedUntil: number;
  /** When a beat of its own was applied last. */
  beatAt: number;
  /** When it last read etcd, and when it did before that was replaced. */
  readAt: number;
  readBefore: number;
  /** Its daemon was stopped (SIGSTOP) then. */
  stoodThen: boolean;
  /** Rounds of questions to the members: who has confirmed so far. By the instant of asking. */
  readonly rounds: Map<number, Set<string>>;
  /** Latest S + hold of a round that was complete: no lease has to last so long. */
  confirmedUntil: number;
  /** The failsafe list when its newest beat was applied: what it goes by until the next one, also when etcd forgets it. */
  listed: readonly string[] | null;
  /** etcd was replaced in maintenance: what runs here since is taken in like a server that ran before anybody led. */
  ranThrough: boolean;
  /** Since when the health check says 200 although writes do not work. */
  wrong200Since: number | null;
}

/** Whoever reaches etcd reads it with every loop, the longest of which is 10 s. */
const UNREAD_MS = 15_000;
/** A keepalive is so much older than its beat at most, or the beat is not about that lease alone. */
const A_LITTLE_MS = 1_000;
/** A suspension is noticed within a tick of the guard; half a second later it strikes, and a hung family takes a while. */
const AFTER_SUSPENSION_MS = 200 + 500 + 25 + 400;
/** A suspension that is shorter goes unnoticed; the margin covers it. */
const UNNOTICED_MS = 500;

/** What an operator asked for by hand is done, or was refused, by then. */
export const BY_HAND_MS = 90_000;

const standsAlone = (listed: readonly string[] | null, { node }: Ledger): boolean =>
  listed?.length === 1 && listed[0] === node.name;

/** Clock rates differ by at most 0.1 % each way; a millisecond for rounding. */
const late = (hold: number): number => hold * 1.0021 + 1;
const early = (hold: number): number => hold * 0.9979 - 1;

/**
 * How often each invariant was really looked at: where it could have failed, and no condition had switched it off. One
 * that is never looked at in a whole run of CI is no invariant (marks.ts).
 */
export const noneChecked = () => ({
  'S1 a writer was counted': 0,
  'S2 armed before it writes': 0,
  'S2 the lease of a writer': 0,
  'S3 a promotion begins': 0,
  'S3 a promotion takes effect': 0,
  'S10 conditions of a write': 0,
  'S10 a lease is revoked': 0,
  'S11 an answer of 200': 0,
  'S12 a guard strikes beside its daemon': 0,
  'P1 after the hold of another one': 0,
  'P1 a status while its writer writes': 0,
  'P2 what the guard was told': 0,
  'P2 what the daemon believes': 0,
  'P3 the hold of another one': 0,
  'P3 a leader in maintenance': 0,
  'P4 a release was sent': 0,
});

export class Invariants {
  readonly checked = noneChecked();
  private readonly ledgers: readonly Ledger[];
  private readonly now: () => number;
  private readonly etcd: EtcdTruth;
  private readonly fail: (invariant: string, sentence: string) => void;
  private readonly mark: (name: string) => void;
  private readonly marginMs: number;
  private readonly guarded: boolean;
  private readonly strict: boolean;
  private lastStatus: StatusVersion[] = [];
  private replacedAt = Number.NEGATIVE_INFINITY;
  private leaderName: string | null = null;
  private paused = false;
  /** The newest version of `status` names no end: no time opens anybody's gate. */
  endless = false;
  private byHandUntil = Number.NEGATIVE_INFINITY;
  /** Seconds during which a node was writable although nothing could have ended it. */
  exposure = 0;
  private lastCheck = 0;

  constructor(parts: {
    readonly nodes: readonly WatchedNode[];
    readonly now: () => number;
    readonly etcd: EtcdTruth;
    readonly ttlMs: number;
    readonly guarded: boolean;
    /** Nobody is excused: for the canary, which has to break S1. */
    readonly strict: boolean;
    readonly fail: (invariant: string, sentence: string) => void;
    readonly mark: (name: string) => void;
  }) {
    this.ledgers = parts.nodes.map((node) => ({
      node,
      sent: [],
      keepaliveSentAt: Number.NEGATIVE_INFINITY,
      windowBound: Number.NEGATIVE_INFINITY,
      listed: null,
      mustEndBy: Number.POSITIVE_INFINITY,
      releaseSentAt: null,
      lease: null,
      excused: false,
      wrote: false,
      endless: false,
      pardonedLease: null,
      pardonedUntil: Number.NEGATIVE_INFINITY,
      beatAt: Number.NEGATIVE_INFINITY,
      readAt: Number.NEGATIVE_INFINITY,
      readBefore: Number.NEGATIVE_INFINITY,
      stoodThen: false,
      ranThrough: false,
      rounds: new Map(),
      confirmedUntil: Number.NEGATIVE_INFINITY,
      wrong200Since: null,
    }));
    this.guarded = parts.guarded;
    this.strict = parts.strict;
    this.now = parts.now;
    this.etcd = parts.etcd;
    this.fail = parts.fail;
    this.mark = parts.mark;
    this.marginMs = Math.max(1_000, 500 + parts.ttlMs / 250);
  }

  private ledger(name: string): Ledger {
    const found = this.ledgers.find((one) => one.node.name === name);
    if (found === undefined) throw new Error(`no node ${name}`);
    return found;
  }

  // ---- what is sent and what is applied ----------------------------------------------------------------------

  /**
   * S10: the leader's keys are changed only by transactions that are conditional on what they replace. Never off.
   * P4 begins with the sending of a release.
   */
  sent(name: string, kind: RequestKind, txn: Txn | null): void {
    const ledger = this.ledger(name);
    const at = this.now();
    if (kind === 'keepalive') ledger.keepaliveSentAt = at;
    if (txn === null) return;
    if (kind !== 'other') this.checked['S10 conditions of a write'] += 1;
    this.checkConditions(name, txn);
    for (const op of txn.success) {
      if (op.op !== 'put' || op.key !== KEYS.status) continue;
      const beat = statusOf(op.value);
      if (beat === null) continue;
      const { rate } = ledger.node.clock;
      ledger.sent.push({
        text: op.value,
        kind,
        from: kind === 'beat' ? Math.max(ledger.keepaliveSentAt, 0) : at,
        hold: beat.holdMs === null ? null : beat.holdMs / rate,
        sentAt: at,
      });
      if (ledger.sent.length > 64) ledger.sent.shift();
    }
    if (kind === 'release') ledger.releaseSentAt = at;
  }

  private checkConditions(name: string, txn: Txn): void {
    const has = (test: (c: Compare) => boolean): boolean => txn.compare.some(test);
    const onStatus = has((c) => c.key === KEYS.status && 'modRevision' in c);
    const onTerm = has((c) => c.key === KEYS.leader && 'modRevision' in c);
    const onLease = has((c) => c.key === KEYS.leader && 'lease' in c);
    const onFree = has((c) => c.key === KEYS.leader && 'createRevision' in c && c.createRevision === 0n);
    for (const op of txn.success) {
      if (op.op === 'get') continue;
      if (op.key === KEYS.leader) {
        const taken = op.op === 'put' && onFree && onStatus;
        const changed = onTerm && onStatus && (onLease || op.op === 'put');
        if (!taken && !changed)
          this.fail('S10', `${name} sends a ${kindOf(txn)} that changes the leader key without the conditions`);
      }
      if (op.key === KEYS.failsafe && !(onTerm && onLease && has((c) => c.key === KEYS.failsafe))) {
        this.fail('S10', `${name} writes the failsafe list without the conditions`);
      }
      if (op.key === KEYS.status && !(onStatus && (onFree || (onTerm && onLease)))) {
        this.fail('S10', `${name} sends a ${kindOf(txn)} that changes status without the conditions`);
      }
    }
  }

  /** S10, rule 19: a lease that carries the leader key is not revoked while Postgres may write. Never off. */
  revoked(name: string, lease: LeaseId): void {
    const leader = this.etcd.leader();
    if (leader !== null) this.checked['S10 a lease is revoked'] += 1;
    if (leader?.lease === lease && this.ledger(name).node.server.acceptsWrites()) {
      this.fail('S10', `${name} revokes the lease of the leader key while its Postgres accepts writes`);
    }
  }

  /**
   * The leader changed its lease for one of another TTL. A window that was proven under the longer TTL outlives a lease
   * of the shorter one; others wait for its hold all the same (rule 8).
   */
  ttlChanged(): void {
    this.pardon(this.ledgers.find((one) => one.node.name === this.leaderName));
  }

  /** etcd itself gave a lease up before its time: inside of its window the node may take the key again (rule 6). */
  etcdRevokedEarly(lease: LeaseId): void {
    this.pardon(this.ledgers.find((one) => one.lease === lease));
  }

  private pardon(ledger: Ledger | undefined): void {
    if (ledger === undefined) return;
    ledger.pardonedLease = ledger.lease;
    ledger.pardonedUntil = ledger.endless ? Number.POSITIVE_INFINITY : ledger.windowBound + 1;
  }

  /** A daemon has heard what etcd holds. */
  read(name: string): void {
    this.ledger(name).readAt = this.now();
  }

  /**
   * etcd was wiped or restored: whoever leads may go on until his window ends, and what was promised in versions of
   * `status` that nobody can read any more still counts.
   */
  etcdReplaced(status: string | null): void {
    this.replacedAt = this.now();
    for (const ledger of this.ledgers) {
      ledger.readBefore = ledger.readAt;
      ledger.stoodThen = ledger.node.daemon()?.process.paused === true;
      this.pardon(ledger);
      // In maintenance nothing is armed; whoever brings the scope back is taken in as it runs.
      const { guard } = ledger.node;
      if (ledger.endless && guard.written === null) ledger.ranThrough = true;
    }
    const leader = this.etcd.leader();
    this.leaderName = leader?.name ?? null;
    const owner = this.ledgers.find((one) => one.node.name === leader?.name);
    if (leader !== null && owner !== undefined) {
      owner.lease = leader.lease;
      owner.pardonedLease = leader.lease;
    }
    const known = status === null ? null : statusOf(status);
    // Whoever went in maintenance goes on without an end, and those who have heard of it know that.
    this.endless ||= known !== null && known.holdMs === null;
  }

  /**
   * A member has confirmed a leader that asked it at `askedAt`. All who stand in the list have: the window may be as long
   * as they wait (P2), whatever becomes of the lease.
   */
  confirmed(name: string, by: string, askedAt: number, hold: number): void {
    const ledger = this.ledger(name);
    const round = ledger.rounds.get(askedAt) ?? new Set();
    ledger.rounds.set(askedAt, round.add(by));
    for (const old of ledger.rounds.keys()) if (ledger.rounds.size > 8) ledger.rounds.delete(old);
    const complete = (list: readonly string[] | null): boolean => {
      const others = (list ?? []).filter((one) => one !== name);
      return others.length > 0 && others.every((one) => round.has(one));
    };
    if (!complete(this.etcd.listed()) && !complete(ledger.listed)) return;
    this.mark('failsafe: all have confirmed');
    this.goesOnUntil(ledger, askedAt + hold / ledger.node.clock.rate);
  }

  private goesOnUntil(ledger: Ledger, until: number): void {
    ledger.windowBound = Math.max(ledger.windowBound, until);
    ledger.confirmedUntil = Math.max(ledger.confirmedUntil, until);
  }

  /** What it has written itself it goes by, also when etcd forgets it before its next beat. */
  listPut(by: string): void {
    const ledger = this.ledgers.find((one) => one.node.name === by);
    if (ledger !== undefined) ledger.listed = this.etcd.listed();
  }

  /** Nobody else stands in the list: there is nobody to ask. */
  private isAlone(ledger: Ledger): boolean {
    return standsAlone(ledger.listed, ledger) || standsAlone(this.etcd.listed(), ledger);
  }

  /** An operator named a leader and answers for the last one (rule 10): that one is not counted any more. */
  failedOverByHand(): void {
    this.byHandUntil = this.now() + BY_HAND_MS;
  }

  settings(config: Readonly<Record<string, unknown>>): void {
    this.paused = config['pause'] === true;
  }

  /** @param kind - of the transaction; null: a lease has ended */
  applied(changes: readonly AppliedChange[], kind: RequestKind | null): void {
    const at = this.now();
    const before = this.leaderName;
    for (const change of changes) {
      if (change.key !== KEYS.leader) continue;
      this.leaderName = change.value;
      if (change.value !== null) {
        const ledger = this.ledgers.find((one) => one.node.name === change.value);
        if (ledger === undefined) continue;
        // Taken again inside of the window that the pardon is for (rule 6): the new lease may be as short as the last one.
        if (kind === 'retake' && this.isPardoned(ledger, at)) ledger.pardonedLease = change.lease;
        ledger.lease = change.lease;
      }
    }
    for (const change of changes) {
      if (change.key !== KEYS.status || change.value === null) continue;
      const status = statusOf(change.value);
      const writer = this.writerOf(change.value) ?? this.leaderName ?? before;
      if (status === null || writer === null) continue;
      this.statusApplied(writer, change.value, status.holdMs, status.release, at);
    }
  }

  /** Who sent it last: after etcd was wiped, terms are given again, and one text may have been sent by two. */
  private writerOf(text: string): string | null {
    const sentAt = (one: Ledger): number => one.sent.findLast((beat) => beat.text === text)?.sentAt ?? -1;
    const latest = this.ledgers.toSorted((a, b) => sentAt(b) - sentAt(a))[0];
    return latest === undefined || sentAt(latest) < 0 ? null : latest.node.name;
  }

  private statusApplied(writer: string, text: string, holdMs: number | null, release: boolean, at: number): void {
    const own = this.ledger(writer);
    this.endless = holdMs === null;
    if (holdMs === null) this.checked['P3 a leader in maintenance'] += 1;
    this.lastStatus = [...this.lastStatus.filter((one) => one.writer !== writer), { writer, at, hold: holdMs }];
    for (const ledger of this.ledgers) {
      if (ledger === own || holdMs === null) continue;
      this.checked['P1 after the hold of another one'] += 1;
      ledger.mustEndBy = Math.min(ledger.mustEndBy, at + late(holdMs));
    }
    // P1 for the writer itself: a version that is applied while its own window is open must cover what is left of it.
    // A delayed beat with a shorter hold (story 1), a lowered TTL (10) or a release of a writing node (2) does not.
    const { server, guard, clock, name } = own.node;
    if (holdMs !== null && server.acceptsWrites() && guard.written !== null) {
      const ends = clock.trueTimeOf(guard.written) + this.marginMs / clock.rate;
      this.checked['P1 a status while its writer writes'] += 1;
      if (ends > at + late(holdMs)) {
        this.fail(
          'P1',
          `a status of ${name} says ${holdMs} ms, and its own window is open for ${(ends - at).toFixed(0)} ms more`,
        );
      }
    }
    if (release) return;
    own.beatAt = at;
    own.listed = this.etcd.listed();
    own.mustEndBy = Number.POSITIVE_INFINITY;
    const beat = own.sent.findLast((one) => one.text === text && one.sentAt <= at);
    if (beat === undefined) return;
    if (beat.hold !== null) {
      own.windowBound = Math.max(own.windowBound, beat.from + beat.hold);
      // Of a window that was proven under a longer TTL each beat tells; on a clock that stood still meanwhile it ends later.
      const left = own.lease === null ? null : this.etcd.leaseLeft(own.lease);
      const outlives = left !== null && beat.hold > left + A_LITTLE_MS;
      if (outlives && own.pardonedLease === own.lease && at <= own.pardonedUntil)
        own.pardonedUntil = Math.max(own.pardonedUntil, own.windowBound + 1);
    }
    // Maintenance has ended: the window gets an end before anything is proven again, and the lease may be gone.
    const resumed = own.endless && beat.hold !== null;
    own.endless = beat.hold === null;
    if (resumed) this.pardon(own);
    if (own.releaseSentAt !== null && beat.sentAt >= own.releaseSentAt) own.releaseSentAt = null;
  }

  // ---- at every event ----------------------------------------------------------------------------------------

  check(): void {
    const now = this.now();
    let writable = 0;
    for (const ledger of this.ledgers) {
      const { node } = ledger;
      const { server, guard, clock } = node;
      const suspended = clock.isSuspended;
      const resumed = this.justResumed(ledger, now);
      const writes = !suspended && server.acceptsWrites();
      if (writes) this.noteExcuse(ledger, now);
      else ledger.excused = false;
      const unknowing = suspended || resumed || guard.missedSuspension || guard.blind;
      if (!ledger.excused && !unknowing) this.checkWindow(ledger, now);
      if (!writes) {
        if (ledger.releaseSentAt !== null) this.checked['P4 a release was sent'] += 1;
        ledger.wrote = false;
        continue;
      }
      ledger.wrote = true;
      if (ledger.excused || resumed) {
        this.exposure += Math.max(0, now - this.lastCheck) / 1000;
        continue;
      }
      writable += 1;
      this.checked['S1 a writer was counted'] += 1;
      this.checkWriter(ledger, now, guard.written);
    }
    // S1: at most one instance accepts writes (asynchronous replication: what it accepts, it acknowledges). A node that
    // is excused is not counted: guard and daemon were both not there when its window closed (protocol.md 10).
    if (writable > 1) {
      const counted = this.ledgers.filter((one) => one.wrote && !one.excused && !this.justResumed(one, now));
      const names = counted.map((one) => one.node.name);
      this.fail('S1', `${names.join(' and ')} accept writes at the same time`);
    }
    this.lastCheck = now;
  }

  private noteExcuse(ledger: Ledger, now: number): void {
    if (ledger.excused || this.strict) return;
    const { guard, clock } = ledger.node;
    const daemon = ledger.node.daemon();
    const nobody = (!guard.alive || guard.paused) && (daemon === null || daemon.process.paused);
    const ends = this.guarded
      ? guard.written === null
        ? null
        : clock.trueTimeOf(guard.written)
      : ledger.windowBound - this.marginMs;
    // Its clock stood still, so the deadline on it lies later than it was meant.
    const meant = clock.resumedAt > 0 ? Math.min(ends ?? now, ledger.windowBound - this.marginMs) : ends;
    if (nobody && meant !== null && now >= meant) {
      ledger.excused = true;
      this.mark('excused: neither guard nor daemon was there');
    } else if (guard.missedSuspension || (guard.blind && !this.justResumed(ledger, now))) {
      ledger.excused = true;
      this.mark('excused: the guard was not there when the machine came back');
    } else if (this.sleptThroughRestore(ledger, now)) {
      ledger.excused = true;
      this.mark('excused: the machine stood still while etcd was restored');
    } else if (this.isForgotten(ledger, now)) {
      ledger.excused = true;
      this.mark('excused: who leads now could not hear of it, because etcd was restored');
    } else if (
      now < this.byHandUntil &&
      ledger.endless &&
      this.leaderName !== null &&
      this.leaderName !== ledger.node.name
    ) {
      ledger.excused = true;
      this.mark('excused: an operator failed over by hand from a leader in maintenance');
    }
  }

  /** Who led meanwhile stands nowhere, and its own key stands again (docs/failsafe.md). */
  private sleptThroughRestore(ledger: Ledger, now: number): boolean {
    const { clock } = ledger.node;
    if (clock.resumedAt <= this.replacedAt || clock.resumedAt - clock.stoodStillFor > this.replacedAt) return false;
    return this.ledgers.some((one) => one !== ledger && now <= one.windowBound);
  }

  /**
   * What it was promised was lost with what etcd was restored to, and who leads now was not there to hear it before; or it
   * stands alone in its list and has nobody to ask (docs/failsafe.md).
   */
  private isForgotten(ledger: Ledger, now: number): boolean {
    // Who never wrote a beat was promised nothing, and an etcd that nobody replaced has lost nothing.
    if (!Number.isFinite(ledger.beatAt) || ledger.beatAt > this.replacedAt) return false;
    if (this.leaderName === null || this.leaderName === ledger.node.name) return false;
    if (standsAlone(ledger.listed, ledger)) return true;
    const couldHear = !this.wasAway(this.ledger(this.leaderName), ledger.beatAt);
    return !couldHear && (ledger.endless || now <= ledger.windowBound);
  }

  /** It was off, stood still, or did not reach etcd, from before this on until etcd was replaced. */
  private wasAway({ node, readBefore, stoodThen }: Ledger, from: number): boolean {
    const { clock } = node;
    if (readBefore < from - UNREAD_MS || (stoodThen && readBefore < from)) return true;
    if (clock.resumedAt >= this.replacedAt && clock.resumedAt - clock.stoodStillFor <= from) return true;
    return (node.daemon()?.startedAt ?? 0) >= this.replacedAt - REPLACING_MS;
  }

  /** Its machine stood still a moment ago: what it does now is the guard's to end. */
  hasJustResumed(name: string): boolean {
    return this.justResumed(this.ledger(name), this.now());
  }

  /** What this node knows of its own window may be wrong by design (protocol.md 10). */
  isUnknowing(name: string): boolean {
    const ledger = this.ledger(name);
    const { guard } = ledger.node;
    const now = this.now();
    const replaced =
      now < this.byHandUntil && ledger.endless && this.leaderName !== null && this.leaderName !== ledger.node.name;
    if (this.sleptThroughRestore(ledger, now) || this.isForgotten(ledger, now)) return true;
    // A guard that finds out late has cut its deadline, and is about to strike.
    return this.justResumed(ledger, now) || guard.missedSuspension || guard.hasJustCut || guard.blind || replaced;
  }

  /** protocol.md 10: from resumption, of a guard that was stopped too, to its strike, or to the first refused beat. */
  private justResumed({ node: { clock, guard } }: Ledger, now: number): boolean {
    return !this.strict && now < Math.max(clock.resumedAt, guard.wokeLateAt) + AFTER_SUSPENSION_MS;
  }

  /**
   * P2: no window is longer than S + hold of a beat that was applied, and the guard strikes the margin before its end.
   * Off: for a leader in maintenance, whose beats name no end.
   */
  private checkWindow(ledger: Ledger, now: number): void {
    if (ledger.endless) return;
    const { clock, guard, name } = ledger.node;
    const daemon = ledger.node.daemon();
    const failed = (sentence: string): void => {
      if (!this.isAlone(ledger)) this.fail('P2', sentence);
    };
    const slack = clock.resumedAt > 0 ? UNNOTICED_MS : 0.5;
    if (guard.written !== null && !guard.hasJustCut) {
      const ends = clock.trueTimeOf(guard.written);
      if (ends > now) this.checked['P2 what the guard was told'] += 1;
      if (ends > now && ends + this.marginMs / clock.rate > ledger.windowBound + slack) {
        const over = ends + this.marginMs / clock.rate - ledger.windowBound;
        failed(`the guard of ${name} strikes ${over.toFixed(1)} ms later than the beats that were applied allow`);
      }
    }
    if (daemon === null) return;
    const leadership = daemon.control.leadershipNow();
    if (leadership.kind !== 'holding' || !leadership.windowOpen) return;
    // The guard has cut it and struck; nothing is started before the next proof, whatever was seen last.
    if (guard.cut && ledger.node.server.processes.kind === 'none') return;
    const until = clock.trueTimeOf(leadership.until);
    // Rule 5: the window is open only once the guard has acked the deadline that belongs to it.
    const struck = clock.trueTimeOf(leadership.deadline);
    // A guard that noticed a suspension has cut it, and the daemon hears of it.
    const { cut } = guard;
    if (!cut && guard.written !== null && struck > now && struck > clock.trueTimeOf(guard.written) + 0.5) {
      failed(`${name} believes in a window whose deadline its guard was never told`);
    }
    if (until > now) this.checked['P2 what the daemon believes'] += 1;
    if (until > now && until > ledger.windowBound + slack) {
      failed(
        `${name} believes in a window that is ${(until - ledger.windowBound).toFixed(1)} ms longer than the beats that were applied allow`,
      );
    }
  }

  private checkWriter(ledger: Ledger, now: number, armed: number | null): void {
    const { name } = ledger.node;
    // P1: each version of status says for how long after it nobody but its writer is writable.
    if (now > ledger.mustEndBy) {
      this.fail(
        'P1',
        `${name} accepts writes ${(now - ledger.mustEndBy).toFixed(0)} ms after the hold of a newer status had run out`,
      );
    }
    // P4: after a release was sent nothing is written before a newer beat of this node was applied.
    if (ledger.releaseSentAt !== null) {
      this.fail('P4', `${name} accepts writes after it sent a release, and no newer beat was applied`);
    }
    // In maintenance nobody promotes, and nothing is armed: the node may write for as long as it is the last that leads.
    if (this.paused || this.endless || ledger.endless) return;
    // A server that ran before anybody led here may go on until its first window opens; then it is one like any other.
    if (armed !== null) {
      ledger.node.server.managed = true;
      ledger.ranThrough = false;
    }
    if (!ledger.node.server.managed || ledger.ranThrough) return;
    // Rule 21: armed before Postgres starts as primary or is promoted.
    if (this.guarded) this.checked['S2 armed before it writes'] += 1;
    if (this.guarded && armed === null) this.fail('S2', `${name} accepts writes and its guard was not armed`);
    // S2: who accepts writes has a lease that has not run out on etcd's own clock.
    this.checked['S2 the lease of a writer'] += 1;
    const left = ledger.lease === null ? null : this.etcd.leaseLeft(ledger.lease);
    if ((left === null || left <= 0) && !this.isPardoned(ledger, now)) {
      this.fail(
        'S2',
        `${name} accepts writes and its lease ${left === null ? 'is gone' : `ran out ${(-left).toFixed(0)} ms ago`}`,
      );
    }
  }

  private isPardoned(ledger: Ledger, now: number): boolean {
    return (
      now <= ledger.confirmedUntil ||
      this.isAlone(ledger) ||
      (ledger.pardonedLease !== null && ledger.lease === ledger.pardonedLease && now <= ledger.pardonedUntil)
    );
  }

  /**
   * S11: the health check says 200 only where a window is open and writes work. `lateMs`: how long an unchanged answer
   * may outlive the truth.
   */
  healthChecked(name: string, says200: boolean, lateMs: number): void {
    const ledger = this.ledger(name);
    const now = this.now();
    if (says200) this.checked['S11 an answer of 200'] += 1;
    if (!says200 || ledger.node.server.acceptsWrites()) {
      ledger.wrong200Since = null;
      return;
    }
    ledger.wrong200Since ??= now;
    if (now - ledger.wrong200Since > lateMs) {
      const since = (now - ledger.wrong200Since).toFixed(0);
      this.fail('S11', `the health check of ${name} says 200, and for ${since} ms no write has worked`);
    }
  }

  /**
   * S12: in maintenance no guard ends Postgres. It has stood down before the daemon takes its window for one without an
   * end; what it hears at the end of maintenance is taken back when that begins once more.
   */
  guardStrikes(name: string): void {
    const daemon = this.ledger(name).node.daemon();
    if (daemon === null || daemon.process.paused) return;
    this.checked['S12 a guard strikes beside its daemon'] += 1;
    const leadership = daemon.control.leadershipNow();
    if (!this.paused || leadership.kind !== 'holding' || Number.isFinite(leadership.deadline)) return;
    this.fail('S12', `the guard of ${name} ends Postgres in maintenance, and its daemon knows of no deadline`);
  }

  // ---- promotions --------------------------------------------------------------------------------------------

  /**
   * P3: nobody promotes before the hold of the last version of status that another node wrote has run out. S3, first
   * half: and only while its node owns the key. S3 is off for a while after etcd gave a lease up early.
   */
  promotionBegins(name: string): void {
    const now = this.now();
    const others = this.lastStatus.filter((one) => one.writer !== name);
    const last = others[others.length - 1];
    if (last !== undefined) this.checked['P3 the hold of another one'] += 1;
    const unheard = last !== undefined && this.couldNotKnow(this.ledger(name), last);
    if (last !== undefined && last.hold === null && now >= this.byHandUntil && this.endless && !unheard) {
      this.fail('P3', `${name} promotes although ${last.writer} went in maintenance and may write without an end`);
    }
    const ledger = this.ledger(name);
    if (ledger.excused || this.justResumed(ledger, now)) return;
    const waits = last !== undefined && last.hold !== null && now < last.at + early(last.hold);
    if (waits && this.couldNotKnow(ledger, last)) {
      this.mark('known limitation: was not there when etcd was restored');
    } else if (waits) {
      const missing = last.at + early(last.hold) - now;
      this.fail(
        'P3',
        `${name} promotes ${missing.toFixed(0)} ms before the hold of ${last.writer}'s last status has run out`,
      );
    }
    if (this.ownsKey(name, 'promotes')) this.checked['S3 a promotion begins'] += 1;
  }

  /** What was lost with the old etcd tells nobody anything who was not there to hear it (docs/failsafe.md). */
  private couldNotKnow(ledger: Ledger, version: StatusVersion): boolean {
    return version.at <= this.replacedAt && this.wasAway(ledger, version.at);
  }

  /** S3, second half: a promotion takes effect only while its node owns the key. */
  promoted(name: string): void {
    if (this.ownsKey(name, 'comes out of recovery')) this.checked['S3 a promotion takes effect'] += 1;
  }

  /** @returns whether it was looked at */
  private ownsKey(name: string, what: string): boolean {
    const ledger = this.ledger(name);
    const now = this.now();
    // A promotion that its daemon has begun goes on without it.
    this.noteExcuse(ledger, now);
    if (ledger.excused || this.justResumed(ledger, now) || this.isPardoned(ledger, now) || ledger.endless) return false;
    const leader = this.etcd.leader();
    if (leader?.name !== name)
      this.fail('S3', `${name} ${what} while ${leader === null ? 'nobody' : leader.name} owns the key`);
    return true;
  }
}

function statusOf(text: string): { readonly holdMs: number | null; readonly release: boolean } | null {
  const entry: KeyValue = {
    key: KEYS.status,
    value: text,
    createRevision: revision(1),
    modRevision: revision(1),
    lease: null,
  };
  const { beat } = readStatusKey(entry);
  return beat === null ? null : { holdMs: beat.holdMs, release: beat.release !== null };
}
