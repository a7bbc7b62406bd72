/**
 * Ports for tests of single parts of the agent: a clock on an event queue, an etcd whose next call can be made to go
 * wrong in one chosen way, a guard, a state file and a log that remember. The simulation has the models that go wrong
 * by themselves.
 */
import type { Beat } from '../../../src/core/cluster.ts';
import { readStatusKey } from '../../../src/core/cluster.ts';
import { type Key, type KeyValue, type LeaseId, leaseId, type Revision, type Txn } from '../../../src/core/store.ts';
import { between, type Instant, instant, type Millis, millis, wallTime } from '../../../src/core/time.ts';
import type { EventName } from '../../../src/log/events.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import type { Change, Dcs, GrantAnswer, KeepAliveAnswer, ReadAnswer, TxnAnswer } from '../../../src/ports/dcs.ts';
import type { EventLog, Facts, Severity } from '../../../src/ports/event-log.ts';
import type { Arming, Guard, GuardAnswer } from '../../../src/ports/guard.ts';
import type { StateFile, StoredLeadership } from '../../../src/ports/state-file.ts';
import { KeyStore } from '../../sim/models/etcd-store.ts';
import { EventQueue } from '../../sim/world/scheduler.ts';

/** The clock of the machine shows this when a test begins. */
export const START = 100_000;

export class FakeClock implements Clock {
  readonly queue = new EventQueue();
  /** How long the machine was suspended. */
  suspended = 0;

  now(): Instant {
    return instant(START + this.queue.now());
  }

  wall() {
    return wallTime(1_795_000_000_000 + this.queue.now());
  }

  suspendedFor(): Millis {
    return millis(this.suspended);
  }

  timer(after: Millis, run: () => void) {
    return this.queue.after(after, run);
  }

  sleep(length: Millis): Promise<void> {
    return new Promise((resolve) => {
      this.queue.after(length, resolve);
    });
  }

  /** Lets this much time pass, with all that happens in it. */
  async pass(ms: number): Promise<void> {
    // What was begun just now gets as far as its first wait.
    await new Promise((resolve) => setImmediate(resolve));
    await this.queue.run(
      this.queue.now() + ms,
      () => undefined,
      () => false,
    );
  }

  /** The outcome of something that is under way, and hardly a moment later. */
  async outcome<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const settle = () => {
      settled = true;
    };
    promise.then(settle, settle);
    await this.pass(0);
    for (let ms = 0; ms < 60_000 && !settled; ms++) await this.pass(1);
    return promise;
  }
}

type Call = 'read' | 'txn' | 'grant' | 'keepAlive';

/** What happens to the next call of its kind, once. */
export interface Fault {
  readonly on: Call;
  /** Only a transaction for which this holds. */
  readonly when?: (txn: Txn) => boolean;
  /** It never arrives. */
  readonly loseRequest?: boolean;
  /** It is applied, and nobody hears of it. */
  readonly loseAnswer?: boolean;
  /** It is applied so much later, also when the sender has given up by then. */
  readonly delay?: number;
  /** Applied twice, as by a hedge; the second answer is the one that comes. */
  readonly twice?: boolean;
  /** Happens just before it is applied. */
  readonly first?: () => void;
}

export const writesKey =
  (key: Key, op: 'put' | 'delete' = 'put') =>
  (txn: Txn): boolean =>
    txn.success.some((one) => one.op === op && one.key === key);
/** A beat and nothing else. */
export const isBeat = (txn: Txn): boolean => txn.success.length === 1 && writesKey('status')(txn);

export class FakeEtcd implements Dcs {
  private readonly clock: FakeClock;
  readonly store = new KeyStore();
  readonly leases = new Map<LeaseId, Millis>();
  readonly faults: Fault[] = [];
  /** Transactions as they arrived. */
  readonly applied: Txn[] = [];
  clusterId = 'one';
  raftTerm = 4n;
  /** While false nothing arrives. */
  reachable = true;
  private grants = 0;
  private hint: ((changes: readonly Change[] | null) => void) | null = null;

  constructor(clock: FakeClock) {
    this.clock = clock;
  }

  // ---- what a test does -----------------------------------------------------------------------------------------------

  fault(fault: Fault): void {
    this.faults.push(fault);
  }

  /** Somebody else writes this. @returns its revision */
  put(key: Key, value: unknown, lease: LeaseId | null = null): Revision {
    if (lease !== null && !this.leases.has(lease)) this.leases.set(lease, millis(10_000));
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    this.run({ compare: [], success: [{ op: 'put', key, value: text, lease }], failure: [] });
    return this.store.revision;
  }

  delete(key: Key): void {
    this.run({ compare: [], success: [{ op: 'delete', key }], failure: [] });
  }

  tell(changes: readonly Change[] | null): void {
    this.hint?.(changes);
  }

  key(key: Key): KeyValue | null {
    return this.store.get(key);
  }

  /** The newest beat. */
  get beat(): Beat | null {
    const status = this.key('status');
    return status === null ? null : readStatusKey(status).beat;
  }

  // ---- the port -------------------------------------------------------------------------------------------------------

  read(limit: Millis): Promise<ReadAnswer> {
    return this.call<ReadAnswer>('read', limit, { kind: 'unanswered', cause: 'no answer in time' }, () => ({
      kind: 'answered',
      header: this.header(),
      entries: this.store.entries(),
    }));
  }

  txn(txn: Txn, limit: Millis): Promise<TxnAnswer> {
    const unknown: TxnAnswer = { kind: 'unknown', cause: 'no answer in time' };
    return this.call<TxnAnswer>('txn', limit, unknown, () => this.run(txn), txn);
  }

  grant(ttl: Millis, limit: Millis): Promise<GrantAnswer> {
    return this.call<GrantAnswer>('grant', limit, { kind: 'unanswered', cause: 'no answer in time' }, () => {
      const lease = leaseId(String(7001 + this.grants++));
      this.leases.set(lease, ttl);
      return { kind: 'granted', lease, ttl, header: this.header() };
    });
  }

  keepAlive(lease: LeaseId, limit: Millis): Promise<KeepAliveAnswer> {
    return this.call<KeepAliveAnswer>('keepAlive', limit, { kind: 'unanswered', cause: 'no answer in time' }, () => {
      const ttl = this.leases.get(lease);
      const header = this.header();
      return ttl === undefined ? { kind: 'gone', header } : { kind: 'renewed', ttl, header };
    });
  }

  revoke(): Promise<void> {
    throw new Error('nobody revokes a lease');
  }

  watch(hint: (changes: readonly Change[] | null) => void) {
    this.hint = hint;
    return () => {
      this.hint = null;
    };
  }

  versions() {
    return Promise.resolve([]);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** One millisecond there, one back. */
  private call<T>(on: Call, limit: Millis, missing: T, apply: () => T, txn?: Txn): Promise<T> {
    const index = this.faults.findIndex((one) => one.on === on && (txn === undefined || (one.when?.(txn) ?? true)));
    const fault = index < 0 ? undefined : this.faults.splice(index, 1)[0];
    const { queue } = this.clock;
    return new Promise((resolve) => {
      const giveUp = queue.after(limit, () => resolve(missing));
      if (!this.reachable || fault?.loseRequest === true) return;
      queue.after(1 + (fault?.delay ?? 0), () => {
        fault?.first?.();
        let answer = apply();
        if (fault?.twice === true) answer = apply();
        if (fault?.loseAnswer === true) return;
        queue.after(1, () => {
          giveUp();
          resolve(answer);
        });
      });
    });
  }

  private run(txn: Txn): TxnAnswer {
    this.applied.push(txn);
    const applied = this.store.apply(txn, { leaseExists: (lease) => this.leases.has(lease), outOfSpace: false });
    if (applied.kind === 'failed') return applied;
    return { kind: 'answered', header: this.header(), succeeded: applied.succeeded, found: applied.found };
  }

  header() {
    return { clusterId: this.clusterId, raftTerm: this.raftTerm, revision: this.store.revision };
  }
}

export class FakeGuard implements Guard {
  readonly mode = 'on';
  readonly watchdog = { kind: 'off' } as const;
  private readonly clock: FakeClock;
  answers = true;
  arming: Arming | null = null;
  armings = 0;
  disarms = 0;
  private replaced: () => void = () => undefined;

  constructor(clock: FakeClock) {
    this.clock = clock;
  }

  arm(arming: Arming, limit: Millis): Promise<GuardAnswer> {
    return this.answer(limit, () => {
      this.arming = arming;
      this.armings += 1;
    });
  }

  disarm(limit: Millis): Promise<GuardAnswer> {
    return this.answer(limit, () => {
      this.arming = null;
      this.disarms += 1;
    });
  }

  async armed(limit: Millis): Promise<Arming | null | 'silent'> {
    const answer = await this.answer(limit, () => undefined);
    return answer.kind === 'silent' ? 'silent' : this.arming;
  }

  onReplaced(listener: () => void): void {
    this.replaced = listener;
  }

  /** The guard process died, and another one stands in its place. */
  replace(): void {
    this.replaced();
  }

  private async answer(limit: Millis, then: () => void): Promise<GuardAnswer> {
    if (!this.answers) {
      await this.clock.sleep(limit);
      return { kind: 'silent', cause: 'no ack in time' };
    }
    await this.clock.sleep(millis(1));
    then();
    return { kind: 'acked' };
  }
}

export class FakeState implements StateFile {
  stored: StoredLeadership | null = null;

  read() {
    return Promise.resolve(this.stored);
  }

  write(state: StoredLeadership) {
    this.stored = state;
    return Promise.resolve();
  }

  forget() {
    this.stored = null;
    return Promise.resolve();
  }
}

export class FakeLog implements EventLog {
  readonly lines: {
    readonly severity: Severity;
    readonly event: EventName;
    readonly sentence: string;
    readonly facts: Facts;
  }[] = [];

  write(severity: Severity, event: EventName, sentence: string, facts: Facts = {}): void {
    this.lines.push({ severity, event, sentence, facts });
  }

  get events(): readonly EventName[] {
    return this.lines.map(({ event }) => event);
  }
}

/** Milliseconds from now until this instant. */
export const left = (clock: FakeClock, until: Instant): number => between(clock.now(), until);
