/**
 * The daemon's end of the guard: a process of its own that stops Postgres when the deadline passes, whatever the
 * daemon does by then (protocol.md 6).
 */
import type { Instant, Millis } from '../core/time.ts';
import type { WatchdogState } from '../core/watchdog.ts';

/** How far two clocks are ahead of CLOCK_MONOTONIC. They get further ahead while the machine stands still. */
export interface ClocksAhead {
  readonly boot: Millis;
  readonly wall: Millis;
}

export interface Arming {
  /** When to strike; absolute, CLOCK_MONOTONIC. */
  readonly deadline: Instant;
  /** Resolved path; the guard ends every process of this Postgres, by its working directory. */
  readonly dataDirectory: string;
  /** What was proven, for the watchdog device; left out: an arming of an earlier process, told by the guard. */
  readonly proven?: { readonly until: Instant; readonly ttl: Millis };
  /**
   * How the clocks stood when what was proven was asked for: a guard that finds them further ahead by now does not take
   * the deadline, which is as late as the machine stood still. Left out: an arming of an earlier process.
   */
  readonly clocks?: ClocksAhead;
}

export type GuardAnswer =
  | { readonly kind: 'acked' }
  /** No ack in time, or no guard: the window does not open. */
  | { readonly kind: 'silent'; readonly cause: string };

export interface Guard {
  /** Written to the guard's own file before the ack. A later deadline replaces an earlier one and the other way round. */
  arm(arming: Arming, limit: Millis): Promise<GuardAnswer>;
  /** Only with the whole Postgres family seen empty, or Postgres in recovery, or in pause mode. */
  disarm(limit: Millis): Promise<GuardAnswer>;
  /** What the guard is armed with now; null when it is not, 'silent' when it does not answer. */
  armed(limit: Millis): Promise<Arming | null | 'silent'>;
  /** The connection to the guard broke: it is being replaced; arm again. */
  onReplaced(listener: () => void): void;
  /** `off` when the operator has switched the guard off: every arm is acked and nothing is promised. */
  readonly mode: 'on' | 'off';
  /** What the guard found at `watchdog.device`, when it said so last. */
  readonly watchdog: WatchdogState;
}
