/**
 * Window arithmetic: how long a proof of leadership may be used, when the guard strikes, and when an orderly stop
 * has to begin. Instants are this machine's monotonic clock; every length is what etcd granted, never what was asked.
 */
import { invariant } from './invariant.ts';
import { earlierBy, type Instant, type Millis, millis } from './time.ts';

/** The longest `ttl` that the settings take: more is a slip of the pen, and what is written of it is not believed. */
export const LONGEST_TTL_SECONDS = 3_600;

/**
 * The part of a window that is never used, for the guard's strike and for clocks that run at different rates: with
 * less than `fencing time + 2 × rate error × TTL` a strike and another node's promotion could meet (protocol.md,
 * story 13).
 */
export function margin(ttl: Millis): Millis {
  return millis(Math.max(1000, 500 + ttl / 250));
}

/** How long before the guard's strike an orderly stop begins, when no proof has come. */
export function orderlyStopLead(ttl: Millis): Millis {
  return millis(Math.min(2000, ttl / 5));
}

/** When the guard strikes. @param until - the last instant this node may write */
export function deadlineOf(until: Instant, ttl: Millis): Instant {
  return earlierBy(until, margin(ttl));
}

/**
 * Whether a server may be made a primary now: a window that is about to close is for ending in order what runs, and what
 * is started or promoted in it is stopped in the same breath.
 */
export function roomToBegin(deadline: Instant, ttl: Millis, now: Instant): boolean {
  return now < earlierBy(deadline, orderlyStopLead(ttl));
}

/** From here on without a proof: `/primary` answers 503 and Postgres is stopped in order. */
export function stopWritingBy(until: Instant, ttl: Millis): Instant {
  const reserve = margin(ttl) + orderlyStopLead(ttl);
  invariant(reserve < ttl, `TTL ${ttl} ms is used up by the safety reserve of ${reserve} ms`);
  return earlierBy(deadlineOf(until, ttl), orderlyStopLead(ttl));
}
