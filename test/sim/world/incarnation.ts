/**
 * One life of one process on a simulated machine, and the machine's clocks. Killed, its timers and answers are never
 * delivered again; stopped (SIGSTOP), they are held back and all delivered at once when it goes on.
 */
import { type Instant, instant, type Millis, millis, type WallTime, wallTime } from '../../../src/core/time.ts';
import type { CancelTimer, Clock } from '../../../src/ports/clock.ts';
import type { Cancel, Scheduler } from './scheduler.ts';

/**
 * The clocks of one machine: all its processes share them, and a reboot starts the monotonic one anew. While the machine
 * is suspended nothing on it runs and the monotonic clock stands still; only the wall clock, and on some machines the
 * boot clock, tell of it afterwards.
 */
export class MachineClock {
  private readonly scheduler: Scheduler;
  /** 1.001 runs 0.1 % fast. */
  readonly rate: number;
  private base: number;
  private wallOffset: number;
  private suspendedAt: number | null = null;
  private suspendedFor = 0;
  private asleep: (() => void)[] = [];
  /** True time of the last resumption. */
  resumedAt = Number.NEGATIVE_INFINITY;
  /** How long the machine had stood still then. */
  stoodStillFor = 0;

  constructor(scheduler: Scheduler, rate: number, base: number, wallOffset: number) {
    this.scheduler = scheduler;
    this.rate = rate;
    this.base = base;
    this.wallOffset = wallOffset;
  }

  now(): Instant {
    return instant(this.base + (this.suspendedAt ?? this.scheduler.now()) * this.rate);
  }

  get isSuspended(): boolean {
    return this.suspendedAt !== null;
  }

  /** Runs it now, or when the machine goes on. */
  whenAwake(run: () => void): void {
    if (this.suspendedAt === null) run();
    else this.asleep.push(run);
  }

  suspend(): void {
    this.suspendedAt ??= this.scheduler.now();
  }

  /** @param bootClock - whether the clock that counts suspension noticed it */
  resume(bootClock: boolean): void {
    if (this.suspendedAt === null) return;
    const length = this.scheduler.now() - this.suspendedAt;
    this.base -= length * this.rate;
    if (bootClock) this.suspendedFor += length;
    this.suspendedAt = null;
    this.resumedAt = this.scheduler.now();
    this.stoodStillFor = length;
    // Each as an event of its own, in order: all at the same instant.
    for (const run of this.asleep.splice(0)) this.scheduler.after(0, run);
  }

  /** By how much the boot clock has run ahead of the monotonic one. */
  standstill(): Millis {
    return millis(this.suspendedFor);
  }

  /** Somebody sets the wall clock. */
  stepWall(by: number): void {
    this.wallOffset += by;
  }

  /** What this machine's clock says at a true time. */
  at(trueTime: number): Instant {
    return instant(this.base + trueTime * this.rate);
  }

  /** The true time at which this machine's clock says `at`. */
  trueTimeOf(at: Instant): number {
    return (at - this.base) / this.rate;
  }

  /** True milliseconds in `local` milliseconds of this machine. */
  trueLength(local: number): number {
    return local / this.rate;
  }

  wall(): WallTime {
    return wallTime(1_790_000_000_000 + this.wallOffset + this.scheduler.now());
  }

  reboot(): void {
    this.base = -this.scheduler.now() * this.rate + 5_000;
    this.suspendedAt = null;
    this.suspendedFor = 0;
    this.asleep = [];
  }
}

export class Incarnation implements Clock {
  private readonly scheduler: Scheduler;
  private readonly machine: MachineClock;
  private readonly died: (error: unknown) => void;
  private held: (() => void)[] = [];
  private readonly pending = new Set<Cancel>();
  alive = true;
  paused = false;

  /** @param died - an exception came out of the process' own code */
  constructor(scheduler: Scheduler, machine: MachineClock, died: (error: unknown) => void) {
    this.scheduler = scheduler;
    this.machine = machine;
    this.died = died;
  }

  /** Lets something reach the process: now, when it goes on, or never. */
  deliver(run: () => void): void {
    if (!this.alive) return;
    if (this.machine.isSuspended) {
      this.machine.whenAwake(() => this.deliver(run));
      return;
    }
    if (this.paused) {
      this.held.push(run);
      return;
    }
    try {
      run();
    } catch (error) {
      this.died(error);
    }
  }

  /** Something reaches the process in `ms` true milliseconds. */
  later(ms: number, run: () => void): void {
    this.scheduler.after(Math.max(0, ms), () => this.deliver(run));
  }

  /** An answer to the process after `ms` true milliseconds; computed at that time, whether or not it still listens. */
  answer<T>(ms: number, compute: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.scheduler.after(Math.max(0, ms), () => {
        let value: T;
        try {
          value = compute();
        } catch (error) {
          this.deliver(() => reject(error));
          return;
        }
        this.deliver(() => resolve(value));
      });
    });
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    const due = this.held;
    this.held = [];
    // Each as an event of its own, in order: all at the same instant.
    for (const run of due) this.later(0, run);
  }

  kill(): void {
    this.alive = false;
    this.held = [];
    for (const cancel of this.pending) cancel();
    this.pending.clear();
  }

  now(): Instant {
    return this.machine.now();
  }

  wall(): WallTime {
    return this.machine.wall();
  }

  suspendedFor(): Millis {
    return this.machine.standstill();
  }

  timer(after: Millis, run: () => void): CancelTimer {
    if (!this.alive) return () => undefined;
    let open = true;
    const due = this.machine.now() + Math.max(0, after);
    let cancel: Cancel = () => undefined;
    const set = (local: number): void => {
      // A timer never fires early, and fires up to a fraction of a millisecond late.
      cancel = this.scheduler.after(this.machine.trueLength(local) + 0.01, () => {
        this.pending.delete(stop);
        this.deliver(() => {
          if (!open) return;
          const left = due - this.machine.now();
          // The clock stood still meanwhile.
          if (left > 1) {
            set(left);
            return;
          }
          open = false;
          run();
        });
      });
      this.pending.add(stop);
    };
    const stop = (): void => cancel();
    set(Math.max(0, after));
    return () => {
      open = false;
      this.pending.delete(stop);
      cancel();
    };
  }

  sleep(length: Millis, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const finish = (): void => {
        signal?.removeEventListener('abort', finish);
        cancel();
        resolve();
      };
      const cancel = this.timer(length, finish);
      signal?.addEventListener('abort', finish, { once: true });
    });
  }
}
