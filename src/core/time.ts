/**
 * Two kinds of number that must never be mixed up: an instant on this machine's monotonic clock, and a length of
 * time. Wall-clock time is a third kind, and exists to be shown to people.
 */

/** Milliseconds on the monotonic clock of this machine (CLOCK_MONOTONIC: the same base in every process of the host). */
export type Instant = number & { readonly __brand: 'Instant' };

/** A length of time in milliseconds. */
export type Millis = number & { readonly __brand: 'Millis' };

/** Milliseconds since 1970, for people; nothing is ever decided by it. */
export type WallTime = number & { readonly __brand: 'WallTime' };

export const instant = (ms: number): Instant => ms as Instant;
export const millis = (ms: number): Millis => ms as Millis;
export const seconds = (s: number): Millis => (s * 1000) as Millis;
export const wallTime = (ms: number): WallTime => ms as WallTime;

export const laterBy = (at: Instant, length: Millis): Instant => (at + length) as Instant;
export const earlierBy = (at: Instant, length: Millis): Instant => (at - length) as Instant;
/** How long from `from` to `to`; negative when `to` came first. */
export const between = (from: Instant, to: Instant): Millis => (to - from) as Millis;
export const latest = (a: Instant, b: Instant): Instant => (a > b ? a : b);
export const earliest = (a: Instant, b: Instant): Instant => (a < b ? a : b);
export const longest = (a: Millis, b: Millis): Millis => (a > b ? a : b);

/** The instant before every other: "never yet". */
export const LONG_AGO: Instant = Number.NEGATIVE_INFINITY as Instant;
