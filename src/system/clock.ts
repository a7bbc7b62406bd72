/** The machine's clocks behind ports/clock. With random.ts the one place of the daemon that reads time or sets timers. */
import { uptime } from 'node:os';
import { type Instant, instant, type Millis, millis, type WallTime, wallTime } from '../core/time.ts';
import type { CancelTimer, Clock } from '../ports/clock.ts';

/** Node fires a timer beyond this at once, with a warning. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class SystemClock implements Clock {
  now(): Instant {
    return instant(Number(process.hrtime.bigint()) / 1e6);
  }

  wall(): WallTime {
    return wallTime(Date.now());
  }

  /**
   * CLOCK_BOOTTIME minus CLOCK_MONOTONIC. The uptime comes in steps of 10 ms and is read a moment apart, so this
   * trembles by as much: compare two of them with a tolerance of some 100 ms.
   */
  suspendedFor(): Millis {
    return millis(uptime() * 1000 - this.now());
  }

  timer(after: Millis, run: () => void): CancelTimer {
    const timer = setTimeout(run, Math.min(Math.max(0, after), LONGEST_TIMER_MS));
    timer.unref();
    return () => clearTimeout(timer);
  }

  /** Ends early, without an error, when the signal aborts: whoever sleeps looks around afterwards anyway. */
  async sleep(length: Millis, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        cancel();
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      const cancel = this.timer(length, wake);
      signal?.addEventListener('abort', wake);
    });
  }
}
