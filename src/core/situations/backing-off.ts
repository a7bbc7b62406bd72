/** After a failure the next try waits: 1 s, 2 s, 4 s, ... up to 30 s. What failed last is said while it waits. */
import { type Decision, decision } from '../decision.ts';
import { between, millis } from '../time.ts';
import type { OperationKind, View } from '../view.ts';

const FIRST = 1_000;
const LONGEST = 30_000;

/**
 * @param longest - milliseconds
 * @returns null: go ahead
 */
export function backingOff(view: View, kind: OperationKind, longest = LONGEST): Decision | null {
  const attempts = view.attempts.get(kind);
  if (attempts === undefined || attempts.failures === 0) return null;
  const wait = Math.min(longest, FIRST * 2 ** (attempts.failures - 1));
  const left = wait - between(attempts.lastFailedAt, view.now);
  if (left <= 0) return null;
  return decision(
    'rejoin.back-off',
    `${kind} failed ${attempts.failures} time(s), last: ${attempts.said}; again in ${Math.ceil(left / 1000)} s`,
    [],
    millis(left),
  );
}
