/** Time as the rest of pgha sees it. The real one and the simulated one are the only places that touch a clock. */
import type { Instant, Millis, WallTime } from '../core/time.ts';

/** Ends a timer that has not fired; harmless afterwards. */
export type CancelTimer = () => void;

export interface Clock {
  /** Monotonic; the same base in every process of this machine. */
  now(): Instant;
  /** For people and Patroni's timestamps, and for a guard to see that the machine stood still. Nothing else rests on it. */
  wall(): WallTime;
  /** How far the boot clock (which counts suspension) has run ahead of the monotonic one since the machine booted. */
  suspendedFor(): Millis;
  /** Calls `run` once, `after` milliseconds from now or later. Does not keep the process alive by itself. */
  timer(after: Millis, run: () => void): CancelTimer;
  sleep(length: Millis, signal?: AbortSignal): Promise<void>;
}
