/**
 * One life of one process on a simulated machine, and the machine's clocks. Killed, its timers and answers are never
 * delivered again; stopped (SIGSTOP), they are held back and all delivered at once when it goes on.
 */
import { type Instant, instant, type Millis, millis, type WallTime, wallTime } from '../../../src/core/time.ts';
import type { CancelTimer, Clock } from '../../../src/ports/clock.ts';
import type { Cancel, Scheduler } from './scheduler.ts';

/** The clocks of one machine: all its processes share them, and a reboot starts the monotonic one anew. */
export class MachineClock {
  private readonly scheduler: Scheduler;
  /** 1.001 runs 0.1 % fast. */
  readonly rate: number;
  private base: number;
  private readonly wallOffset: number;

  constructor(scheduler: Scheduler, rate: number, base: number, wallOffset: number) {
    this.scheduler = scheduler;
    this.rate = rate;
    this.base = base;
    this.wallOffset = wallOffset;
  }

  now(): Instant {
    return instant(this.base + this.scheduler.now() * this.rate);
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
    return millis(0);
  }

  timer(after: Millis, run: () => void): CancelTimer {
    if (!this.alive) return () => undefined;
    let open = true;
    // A timer never fires early, and fires up to a fraction of a millisecond late.
    const length = Math.max(0, this.machine.trueLength(after)) + 0.01;
    const cancel = this.scheduler.after(length, () => {
      this.pending.delete(cancel);
      this.deliver(() => {
        if (!open) return;
        open = false;
        run();
      });
    });
    this.pending.add(cancel);
    return () => {
      open = false;
      this.pending.delete(cancel);
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
