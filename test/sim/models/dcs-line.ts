/**
 * The line between one daemon and its etcd client: hands requests on, loses them, loses their answers or hands them on
 * after the sender gave up, as the plan wants it; and tells the world what was sent, for the invariants and for faults
 * that are tied to events.
 */
import { KEYS } from '../../../src/core/cluster.ts';
import type { KeyValue, LeaseId, Txn } from '../../../src/core/store.ts';
import { type Millis, millis } from '../../../src/core/time.ts';
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
import type { Incarnation } from '../world/incarnation.ts';
import type { Scheduler } from '../world/scheduler.ts';

export type RequestKind =
  | 'keepalive'
  | 'grant'
  | 'read'
  | 'beat'
  | 'acquire'
  | 'take-over'
  | 'retake'
  | 'swap'
  | 'release'
  | 'sync'
  | 'other';

/** What becomes of a request. */
export type Fate =
  | { readonly kind: 'normal' }
  | { readonly kind: 'lost' }
  | { readonly kind: 'answer-lost' }
  /** Handed on after `ms`, its answer never heard. */
  | { readonly kind: 'late'; readonly ms: number }
  /** Both ways slow by `ms` in all. */
  | { readonly kind: 'slow'; readonly ms: number };

export interface LineEvents {
  /** A request leaves; what happens to it. */
  sent(kind: RequestKind, txn: Txn | null): Fate;
  revoked(lease: LeaseId): void;
  /** How often all of etcd was replaced: what is on its way goes with the connections. */
  replacements(): number;
  /** The daemon hears what etcd holds. */
  read(entries: readonly KeyValue[]): void;
}

export function kindOf(txn: Txn): RequestKind {
  const puts = (key: string): boolean => txn.success.some((op) => op.op === 'put' && op.key === key);
  const deletesLeader = txn.success.some((op) => op.op === 'delete' && op.key === KEYS.leader);
  const free = txn.compare.some((c) => c.key === KEYS.leader && 'createRevision' in c && c.createRevision === 0n);
  if (puts(KEYS.leader) && puts(KEYS.status)) return free ? 'retake' : 'swap';
  if (puts(KEYS.leader)) return free ? 'acquire' : 'take-over';
  if (deletesLeader) return 'release';
  if (puts(KEYS.status)) return 'beat';
  if (txn.success.some((op) => op.op !== 'get' && op.key === KEYS.sync)) return 'sync';
  return 'other';
}

export class DcsLine implements Dcs {
  private readonly inner: Dcs;
  private readonly process: Incarnation;
  private readonly scheduler: Scheduler;
  private readonly events: LineEvents;

  constructor(inner: Dcs, process: Incarnation, scheduler: Scheduler, events: LineEvents) {
    this.inner = inner;
    this.process = process;
    this.scheduler = scheduler;
    this.events = events;
  }

  read(limit: Millis): Promise<ReadAnswer> {
    const none: ReadAnswer = { kind: 'unanswered', cause: 'no answer in time' };
    return this.pass<ReadAnswer>('read', null, limit, () => this.inner.read(limit), none).then((answer) => {
      if (answer.kind === 'answered') this.events.read(answer.entries);
      return answer;
    });
  }

  txn(txn: Txn, limit: Millis): Promise<TxnAnswer> {
    return this.pass<TxnAnswer>(kindOf(txn), txn, limit, () => this.inner.txn(txn, limit), {
      kind: 'unknown',
      cause: 'no answer in time',
    });
  }

  grant(ttl: Millis, limit: Millis): Promise<GrantAnswer> {
    return this.pass<GrantAnswer>('grant', null, limit, () => this.inner.grant(ttl, limit), {
      kind: 'unanswered',
      cause: 'no answer in time',
    });
  }

  keepAlive(lease: LeaseId, limit: Millis): Promise<KeepAliveAnswer> {
    return this.pass<KeepAliveAnswer>('keepalive', null, limit, () => this.inner.keepAlive(lease, limit), {
      kind: 'unanswered',
      cause: 'no answer in time',
    });
  }

  revoke(lease: LeaseId, limit: Millis): Promise<void> {
    this.events.revoked(lease);
    return this.pass<undefined>(
      'other',
      null,
      limit,
      async () => {
        await this.inner.revoke(lease, limit);
        return undefined;
      },
      undefined,
    );
  }

  watch(hint: (changes: readonly Change[] | null) => void): StopWatching {
    return this.inner.watch((changes) => this.process.deliver(() => hint(changes)));
  }

  async versions(_limit: Millis): Promise<readonly StoreVersion[]> {
    return [];
  }

  async close(): Promise<void> {
    await this.inner.close();
  }

  private pass<T>(kind: RequestKind, txn: Txn | null, limit: Millis, hand: () => Promise<T>, none: T): Promise<T> {
    const fate = this.events.sent(kind, txn);
    return new Promise<T>((resolve, reject) => {
      // The caller's own clock bounds the wait, a little beyond the limit.
      const give = this.process.timer(millis(Math.max(0, limit) + 1), () => resolve(none));
      const listen = (answer: Promise<T>, slow: number): void => {
        answer.then(
          (value) =>
            this.process.later(slow, () => {
              give();
              resolve(value);
            }),
          (error: unknown) => this.process.later(0, () => reject(error)),
        );
      };
      const { replacements } = this.events;
      const before = replacements();
      const arrive = (after: number, then: () => void): void => {
        this.scheduler.after(after, () => {
          if (replacements() === before) then();
        });
      };
      switch (fate.kind) {
        case 'normal':
          listen(hand(), 0);
          return;
        case 'lost':
          return;
        case 'answer-lost':
          hand().catch(() => undefined);
          return;
        case 'late':
          arrive(fate.ms, () => void hand().catch(() => undefined));
          return;
        case 'slow':
          arrive(fate.ms / 2, () => listen(hand(), fate.ms / 2));
          return;
        default:
          return ((never: never) => never)(fate);
      }
    });
  }
}
