/**
 * Synchronous replication of one simulated server: commits that wait, WAL senders that each go by their own copy of
 * `synchronous_standby_names`, and a flag of the checkpointer's that says whether commits wait at all. After a reload
 * every process reads the setting when it gets to it, and the checkpointer may be busy for seconds.
 */
import { type Acknowledging, sameAcknowledging } from '../../../src/core/quorum.ts';
import type { SeededRandom } from '../world/random.ts';
import type { Scheduler } from '../world/scheduler.ts';
import type { WalEntry } from './wal.ts';

const ALONE: Acknowledging = { kind: 'alone' };

/** A WAL sender with the standby that it serves. */
export interface SyncSender {
  readonly name: string;
  /** What the standby has said that it has flushed. */
  confirmed: number;
  names: Acknowledging;
}

interface Waiter {
  readonly entry: WalEntry;
  readonly done: (acked: boolean) => void;
}

export class Synchronous {
  private readonly scheduler: Scheduler;
  private readonly random: SeededRandom;
  private readonly senders: () => readonly SyncSender[];
  /** In the file. */
  written: Acknowledging = ALONE;
  /** In force in new sessions. */
  inForce: Acknowledging = ALONE;
  /** Commits wait. */
  defined = false;
  private busyUntil = -1;
  private waiters: Waiter[] = [];
  private reloads = 0;

  constructor(scheduler: Scheduler, random: SeededRandom, senders: () => readonly SyncSender[]) {
    this.scheduler = scheduler;
    this.random = random;
    this.senders = senders;
  }

  get checkpointerIdle(): boolean {
    return this.scheduler.now() >= this.busyUntil;
  }

  get waiting(): number {
    return this.waiters.length;
  }

  /** The server starts: everybody reads the file. */
  start(): void {
    this.reloads += 1;
    this.inForce = this.written;
    this.defined = this.written.kind !== 'alone';
    this.busyUntil = -1;
    this.drop();
  }

  /** All sessions end, and no commit that waits is acknowledged any more. */
  drop(): void {
    for (const { done } of this.waiters.splice(0)) done(false);
  }

  write(names: Acknowledging): void {
    this.written = names;
  }

  /** SIGHUP. */
  reload(): void {
    this.reloads += 1;
    const now = this.reloads;
    const names = this.written;
    const current = (): boolean => this.reloads === now;
    this.scheduler.after(this.random.between(0.1, 3), () => {
      if (!current()) return;
      this.inForce = names;
      for (const sender of this.senders()) {
        const late = this.random.chance(0.1) ? this.random.between(50, 900) : this.random.between(0.1, 20);
        this.scheduler.after(late, () => {
          // A newer one reaches it later.
          if (!current()) return;
          sender.names = names;
          this.release(sender);
        });
      }
    });
    const busy = this.random.chance(0.1) ? this.random.between(500, 6_000) : this.random.between(0.1, 30);
    this.busyUntil = this.scheduler.now() + busy;
    this.scheduler.after(busy, () => {
      if (!current()) return;
      this.defined = names.kind !== 'alone';
      if (this.defined) return;
      for (const { done } of this.waiters.splice(0)) done(true);
    });
  }

  commit(entry: WalEntry, done: (acked: boolean) => void): void {
    if (!this.defined) done(true);
    else {
      this.waiters.push({ entry, done });
      for (const sender of this.senders()) this.release(sender);
    }
  }

  /** The standby of this sender has flushed so far. */
  confirm(sender: SyncSender, position: number): void {
    sender.confirmed = Math.max(sender.confirmed, position);
    this.release(sender);
  }

  isWaitedFor(sender: SyncSender): boolean {
    return lists(sender.names, sender.name);
  }

  /** As SyncRepReleaseWaiters does: by this sender's own count, among those who think that they are on the list. */
  private release(sender: SyncSender): void {
    if (this.waiters.length === 0 || sender.names.kind !== 'standbys' || !this.isWaitedFor(sender)) return;
    const flushed = this.senders()
      .filter((one) => this.isWaitedFor(one))
      .map((one) => one.confirmed)
      .sort((a, b) => b - a);
    const reached = flushed[sender.names.count - 1];
    if (reached === undefined) return;
    const acked = this.waiters.filter(({ entry }) => entry.end <= reached);
    this.waiters = this.waiters.filter(({ entry }) => entry.end > reached);
    for (const { done } of acked) done(true);
  }

  /** Every way in which a commit could be acknowledged at this instant. */
  waysToAcknowledge(): readonly Acknowledging[] {
    if (!this.defined) return [ALONE];
    const ways: Acknowledging[] = [];
    for (const { names } of this.senders()) if (!ways.some((way) => sameAcknowledging(way, names))) ways.push(names);
    return ways.filter((way) => way.kind === 'standbys');
  }
}

const lists = (names: Acknowledging, name: string): boolean =>
  names.kind === 'standbys' && names.names.some((one) => one === name);
