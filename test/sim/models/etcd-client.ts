/**
 * One node's end of the model of etcd: its link, with what goes wrong on it, and a client that behaves as the adapter
 * in src/etcd does: hedges, keeps the caller's limit, and replaces watches that broke. `etcd.ts` has the other end.
 */
import type { LeaseId, Txn } from '../../../src/core/store.ts';
import type { Millis } from '../../../src/core/time.ts';
import type { CancelTimer } from '../../../src/ports/clock.ts';
import type {
  Change,
  Dcs,
  GrantAnswer,
  KeepAliveAnswer,
  ReadAnswer,
  StopWatching,
  StoreVersion,
  TxnAnswer,
} from '../../../src/ports/dcs.ts';
import type { Random } from '../../../src/ports/random.ts';

/** All that the model needs of the world's event queue; true time in milliseconds. */
export interface Scheduler {
  now(): number;
  /** Runs once, `ms` from now. */
  after(ms: number, run: () => void): CancelTimer;
}

/**
 * - up: takes part
 * - down: connections to it are refused; those that stood are reset
 * - frozen: connections stand, nothing answers; what came meanwhile is handled after the thaw
 * - isolated: clients reach it, the other members do not
 */
export type MemberState = 'up' | 'down' | 'frozen' | 'isolated';

export type RequestKind = 'read' | 'txn' | 'grant' | 'keepAlive' | 'revoke';

/** Between one client and etcd. Chances are for each request to one member, lengths in milliseconds. */
export interface LinkFaults {
  readonly latencyMs: readonly [number, number];
  readonly requestLost: number;
  readonly answerLost: number;
  /** Chance that a request is held back on its way, by `heldMs`, and then arrives. */
  readonly held: number;
  readonly heldMs: readonly [number, number];
  /** Members out of reach of this client; nothing passes, nothing is refused. */
  readonly cutFrom: 'all' | readonly number[];
  readonly hintsLateMs: readonly [number, number];
  /** Chance that a change breaks the watch instead of being told. */
  readonly hintsBroken: number;
}

export const GOOD_LINK: LinkFaults = {
  latencyMs: [0.2, 1.5],
  requestLost: 0,
  answerLost: 0,
  held: 0,
  heldMs: [300, 10_000],
  cutFrom: [],
  hintsLateMs: [0, 0],
  hintsBroken: 0,
};

/** What happens to the next matching call of a client, once; for faults that are tied to an event. */
export interface NextFault {
  readonly what: 'lose-request' | 'lose-answer' | 'hold';
  readonly heldMs?: number;
  /** Any kind, when left out. */
  readonly kind?: RequestKind;
  /** Only transactions for which this holds. */
  readonly when?: (txn: Txn) => boolean;
  /** Also the copies that hedging sends to other members; true when left out. */
  readonly allCopies?: boolean;
}

export interface Link {
  set(faults: Partial<LinkFaults>): void;
  readonly faults: LinkFaults;
}

/** A request to one member. Never settles when the member hangs. */
export interface Courier<T> {
  answer(value: T): void;
  /** The connection was refused or reset. */
  broke(cause: string): void;
}

/** The model as its clients see it. */
export interface Inside {
  readonly scheduler: Scheduler;
  readonly size: number;
  readonly version: string;
  stateOf(member: number): MemberState;
  tellsChanges(member: number): boolean;
  hasLeader(): boolean;
  consensusMs(): number;
  arrive(member: number, run: () => void, broke: (cause: string) => void): void;
  read(member: number, courier: Courier<ReadAnswer>): void;
  txn(member: number, by: string, txn: Txn, courier: Courier<TxnAnswer>): void;
  grant(member: number, ttl: Millis, courier: Courier<GrantAnswer>): void;
  keepAlive(member: number, lease: LeaseId, courier: Courier<KeepAliveAnswer>): void;
  revoke(member: number, lease: LeaseId, courier: Courier<undefined>): void;
}

const STAGGER_MS = 200;
const GRANT_STAGGER_MS = 500;
const SILENT_WATCH_MS = 2_000;
/** A member that lost sight of the leader ends its streams after three election timeouts. */
const LEADERLESS_WATCH_MS = 3_000;

export class ModelLink implements Link {
  readonly next: NextFault[] = [];
  private readonly changed: () => void;
  private current: LinkFaults = GOOD_LINK;

  constructor(changed: () => void) {
    this.changed = changed;
  }

  get faults(): LinkFaults {
    return this.current;
  }

  set(faults: Partial<LinkFaults>): void {
    this.current = { ...this.current, ...faults };
    this.changed();
  }

  cut(member: number): boolean {
    const { cutFrom } = this.current;
    return cutFrom === 'all' || cutFrom.includes(member);
  }

  takeNext(kind: RequestKind, txn: Txn | null): NextFault | null {
    const position = this.next.findIndex(
      (fault) =>
        (fault.kind === undefined || fault.kind === kind) &&
        (fault.when === undefined || (txn !== null && fault.when(txn))),
    );
    return position < 0 ? null : (this.next.splice(position, 1)[0] ?? null);
  }
}

interface Watch {
  readonly hint: (changes: readonly Change[] | null) => void;
  /** null: no stream stands. */
  member: number | null;
  /** Hints keep their order. */
  lastAt: number;
  breaking: boolean;
  stopped: boolean;
}

interface Call<T> {
  readonly kind: RequestKind;
  readonly txn: Txn | null;
  readonly limit: Millis;
  readonly staggerMs: number | null;
  readonly unanswered: (cause: string) => T;
  /** An answer that counts only if no other copy may have been applied. */
  readonly isRefusal: (answer: T) => boolean;
  readonly send: (member: number, courier: Courier<T>) => void;
}

/** Hedges as src/etcd/hedge.ts does: preferred member first, the next when it is slow or breaks, first answer counts. */
export class ModelClient implements Dcs {
  private readonly inside: Inside;
  private readonly name: string;
  private readonly link: ModelLink;
  private readonly timing: Scheduler;
  private readonly random: Random;
  private readonly watches = new Set<Watch>();
  private preferred = 0;
  private closed = false;

  constructor(inside: Inside, name: string, link: ModelLink, timing: Scheduler, random: Random) {
    this.inside = inside;
    this.name = name;
    this.link = link;
    this.timing = timing;
    this.random = random;
  }

  read(limit: Millis): Promise<ReadAnswer> {
    return this.call<ReadAnswer>({
      kind: 'read',
      txn: null,
      limit,
      staggerMs: STAGGER_MS,
      isRefusal: () => false,
      unanswered: (cause) => ({ kind: 'unanswered', cause }),
      send: (member, courier) => this.inside.read(member, courier),
    });
  }

  txn(txn: Txn, limit: Millis): Promise<TxnAnswer> {
    return this.call<TxnAnswer>({
      kind: 'txn',
      txn,
      limit,
      staggerMs: txn.compare.length === 0 ? null : STAGGER_MS,
      unanswered: (cause) => ({ kind: 'unknown', cause }),
      isRefusal: (answer) => answer.kind === 'failed',
      send: (member, courier) => this.inside.txn(member, this.name, txn, courier),
    });
  }

  grant(ttl: Millis, limit: Millis): Promise<GrantAnswer> {
    return this.call<GrantAnswer>({
      kind: 'grant',
      txn: null,
      limit,
      staggerMs: GRANT_STAGGER_MS,
      isRefusal: () => false,
      unanswered: (cause) => ({ kind: 'unanswered', cause }),
      send: (member, courier) => this.inside.grant(member, ttl, courier),
    });
  }

  keepAlive(lease: LeaseId, limit: Millis): Promise<KeepAliveAnswer> {
    return this.call<KeepAliveAnswer>({
      kind: 'keepAlive',
      txn: null,
      limit,
      staggerMs: STAGGER_MS,
      isRefusal: () => false,
      unanswered: (cause) => ({ kind: 'unanswered', cause }),
      send: (member, courier) => this.inside.keepAlive(member, lease, courier),
    });
  }

  revoke(lease: LeaseId, limit: Millis): Promise<void> {
    return this.call<undefined>({
      kind: 'revoke',
      txn: null,
      limit,
      staggerMs: STAGGER_MS,
      isRefusal: () => false,
      unanswered: () => undefined,
      send: (member, courier) => this.inside.revoke(member, lease, courier),
    });
  }

  watch(hint: (changes: readonly Change[] | null) => void): StopWatching {
    const watch: Watch = { hint, member: null, lastAt: 0, breaking: false, stopped: this.closed };
    this.watches.add(watch);
    this.openWatch(watch);
    return () => {
      watch.stopped = true;
      this.watches.delete(watch);
    };
  }

  versions(): Promise<readonly StoreVersion[]> {
    const versions = Array.from({ length: this.inside.size }, (_, member) => {
      const answers = this.inside.stateOf(member) !== 'down' && this.inside.stateOf(member) !== 'frozen';
      return { endpoint: `etcd${member}`, version: answers && !this.link.cut(member) ? this.inside.version : null };
    });
    return Promise.resolve(versions);
  }

  close(): Promise<void> {
    this.closed = true;
    for (const watch of this.watches) watch.stopped = true;
    this.watches.clear();
    return Promise.resolve();
  }

  // ---- calls --------------------------------------------------------------------------------------------------------

  private call<T>(call: Call<T>): Promise<T> {
    if (this.closed) return Promise.resolve(call.unanswered('the connection to etcd was closed'));
    return new Promise((resolve) => {
      const fault = this.link.takeNext(call.kind, call.txn);
      const order = this.inOrder();
      let asked = 0;
      let open = 0;
      let settled = false;
      let uncertain: string | null = null;
      let refusal: T | null = null;
      let cancelNext: CancelTimer = () => undefined;

      const settle = (answer: T): void => {
        if (settled) return;
        settled = true;
        cancelNext();
        cancelLimit();
        resolve(answer);
      };
      const cancelLimit = this.timing.after(Math.max(0, call.limit), () =>
        settle(call.unanswered(`no answer within ${call.limit} ms`)),
      );
      const failed = (): void => {
        open--;
        if (refusal === null && asked < order.length) askNext();
        else if (open === 0) {
          settle(refusal !== null && uncertain === null ? refusal : call.unanswered(uncertain ?? 'nobody answered'));
        }
      };
      const askNext = (): void => {
        const member = order[asked];
        if (settled || refusal !== null || member === undefined) return;
        const isFirst = asked === 0;
        asked++;
        open++;
        cancelNext();
        if (call.staggerMs !== null && asked < order.length) cancelNext = this.timing.after(call.staggerMs, askNext);
        this.transmit(member, isFirst || fault?.allCopies !== false ? fault : null, call.send, {
          answer: (answer) => {
            if (call.isRefusal(answer)) {
              refusal ??= answer;
              failed();
              return;
            }
            this.preferred = member;
            settle(answer);
          },
          broke: (cause) => {
            if (cause !== 'connection refused') uncertain ??= cause;
            failed();
          },
        });
      };
      askNext();
    });
  }

  private inOrder(): readonly number[] {
    const others = Array.from({ length: this.inside.size }, (_, member) => member).filter((m) => m !== this.preferred);
    return [this.preferred, ...others];
  }

  /** One copy of a request, there and back. */
  private transmit<T>(
    member: number,
    fault: NextFault | null,
    send: (member: number, courier: Courier<T>) => void,
    caller: Courier<T>,
  ): void {
    const { requestLost, answerLost, held, heldMs } = this.link.faults;
    // Drawn always and in one order, so that switching one fault off does not shift the others.
    const [lost, silent, late] = [this.chance(requestLost), this.chance(answerLost), this.chance(held)];
    const holding = this.between(...heldMs);
    const there = this.latencyMs();
    const back = this.latencyMs();
    if (this.link.cut(member) || lost || fault?.what === 'lose-request') return;
    const heldFor = fault?.what === 'hold' ? (fault.heldMs ?? holding) : late ? holding : 0;
    const mute = silent || fault?.what === 'lose-answer';

    const home = (run: () => void): void => {
      if (mute || this.link.cut(member)) return;
      this.inside.scheduler.after(back, () => {
        if (!this.link.cut(member)) run();
      });
    };
    const courier: Courier<T> = {
      answer: (value) => home(() => caller.answer(value)),
      broke: (cause) => home(() => caller.broke(cause)),
    };
    this.inside.scheduler.after(there + heldFor, () => {
      // What was under way when the link was cut is lost; what was held is beyond the cut already.
      if (heldFor === 0 && this.link.cut(member)) return;
      this.inside.arrive(member, () => send(member, courier), courier.broke);
    });
  }

  private latencyMs(): number {
    return this.between(...this.link.faults.latencyMs);
  }

  private between(from: number, to: number): number {
    return from + this.random.next() * (to - from);
  }

  private chance(probability: number): boolean {
    return this.random.next() < probability;
  }

  // ---- watches ------------------------------------------------------------------------------------------------------

  /** A change happened: told late, or not told, but then the watch breaks. */
  tell(changes: readonly Change[]): void {
    const { scheduler } = this.inside;
    for (const watch of this.watches) {
      const { member } = watch;
      if (member === null || watch.breaking) continue;
      if (this.chance(this.link.faults.hintsBroken)) {
        this.breakWatch(watch);
        continue;
      }
      const takes = this.inside.consensusMs() / 2 + this.latencyMs() + this.between(...this.link.faults.hintsLateMs);
      watch.lastAt = Math.max(watch.lastAt, scheduler.now() + takes);
      scheduler.after(watch.lastAt - scheduler.now(), () => {
        const stands = watch.member === member && !watch.breaking && !watch.stopped;
        if (stands && !this.link.cut(member)) watch.hint(changes);
      });
    }
  }

  /** A stream whose member or link is in trouble is silent from now on, and is given up when that is noticed. */
  reviewWatches(): void {
    for (const watch of this.watches) {
      const { member } = watch;
      if (member === null || watch.breaking) continue;
      const cut = this.link.cut(member);
      if (!cut && this.inside.tellsChanges(member)) continue;
      watch.breaking = true;
      const state = this.inside.stateOf(member);
      const noticed =
        !cut && state === 'down' ? 1 : !cut && state === 'isolated' ? LEADERLESS_WATCH_MS : SILENT_WATCH_MS;
      this.inside.scheduler.after(noticed + this.random.next() * 500, () => this.breakWatch(watch));
    }
  }

  breakWatches(): void {
    for (const watch of this.watches) this.breakWatch(watch);
  }

  private breakWatch(watch: Watch): void {
    watch.breaking = false;
    if (watch.member === null) return; // being opened already
    watch.member = null;
    this.inside.scheduler.after(100, () => this.openWatch(watch));
  }

  private openWatch(watch: Watch): void {
    if (watch.stopped) return;
    const { scheduler } = this.inside;
    const good = (member: number): boolean => !this.link.cut(member) && this.inside.tellsChanges(member);
    const member = this.inside.hasLeader() ? this.inOrder().find(good) : undefined;
    if (member === undefined) {
      scheduler.after(500 + this.random.next() * 500, () => this.openWatch(watch));
      return;
    }
    // It stands from now on for what changes; that it stands is heard a little later.
    watch.member = member;
    watch.lastAt = scheduler.now() + 2 * this.latencyMs() + this.inside.consensusMs();
    scheduler.after(watch.lastAt - scheduler.now(), () => {
      if (watch.member === member && !watch.stopped && !watch.breaking) watch.hint(null);
    });
    this.reviewWatches();
  }
}
