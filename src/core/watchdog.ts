/**
 * How long the kernel's watchdog device may be kept alive by a proof of leadership, and whether a device fits a TTL. It
 * resets the machine when neither guard nor daemon runs any more. Pure arithmetic; src/guard/watchdog-device.ts opens it.
 */
import { margin } from './lease.ts';
import { earlierBy, type Instant, type Millis, millis } from './time.ts';

/** What the guard found at `watchdog.device`. */
export type WatchdogState =
  | { readonly kind: 'off' }
  /** `timeout`: after the last ping, as the driver has it; null: a device for tests, which has none. */
  | { readonly kind: 'ready'; readonly device: string; readonly timeout: Millis | null }
  | { readonly kind: 'unusable'; readonly device: string; readonly why: string };

/** A timeout shorter than this would be reached by a machine that is merely busy. */
const SHORTEST = millis(2_000);
/** A proof comes this often, and each has to be worth a ping. */
const PROOFS_APART = millis(1_000);

/**
 * How long before the end of the window the device fires. Never sooner than half the margin: the guard, which strikes a
 * margin before the end, goes first, and a machine is reset only where that came to nothing.
 *
 * @param safetyMargin - `watchdog.safety_margin`; null: not set
 */
export function resetReserve(ttl: Millis, safetyMargin: Millis | null): Millis {
  const most = margin(ttl) / 2;
  return millis(safetyMargin === null ? most : Math.min(most, safetyMargin));
}

/** By when the device has to have fired, should nobody ping it any more. @param until - the last instant to write */
export function resetBy(until: Instant, ttl: Millis, safetyMargin: Millis | null): Instant {
  return earlierBy(until, resetReserve(ttl, safetyMargin));
}

/** The longest timeout with which each proof of leadership is good for a ping. */
export function longestTimeout(ttl: Millis, safetyMargin: Millis | null): Millis {
  return millis(ttl - resetReserve(ttl, safetyMargin) - PROOFS_APART);
}

/** Why this timeout of a device cannot go with this TTL; null: it can. */
export function misfitOfTimeout(timeout: Millis, ttl: Millis, safetyMargin: Millis | null): string | null {
  const longest = longestTimeout(ttl, safetyMargin);
  if (timeout < SHORTEST) return `its timeout of ${timeout / 1000} s is shorter than ${SHORTEST / 1000} s`;
  if (timeout > longest)
    return `its timeout of ${timeout / 1000} s is longer than ${longest / 1000} s, which is what ttl ${ttl / 1000} s leaves`;
  return null;
}

/** Why this node may not lead for want of a watchdog device; null: nothing stands against it. */
export function watchdogTrouble(
  state: WatchdogState,
  policy: { readonly mode: 'off' | 'automatic' | 'required'; readonly safetyMargin: Millis | null },
  ttl: Millis,
): string | null {
  if (policy.mode !== 'required') return null;
  if (state.kind === 'off') return 'watchdog.mode is required and the guard has not said what became of the device';
  if (state.kind === 'unusable') return `watchdog.mode is required and ${state.device} cannot be used: ${state.why}`;
  const misfit = state.timeout === null ? null : misfitOfTimeout(state.timeout, ttl, policy.safetyMargin);
  return misfit === null ? null : `watchdog.mode is required and ${state.device} cannot be used: ${misfit}`;
}
