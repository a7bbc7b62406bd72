/**
 * Bounds for what has none of its own: a file system on a hung disk and a connection to a stopped server never
 * answer. The work itself is not ended by this; whoever asked stops waiting for it.
 */
import { type Millis, millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';

/** The time was up before the answer came. Nothing is known about what was asked for. */
export class TimeLimitError extends Error {
  override readonly name = 'TimeLimitError';
}

/** A file of ours on a healthy disk is read in well under a millisecond; what takes longer than this counts as hung. */
export const FILE_LIMIT: Millis = millis(2_000);

/**
 * @param what - for the message: `reading pg_control`
 * @param expired - ends the work where that is possible, for example by destroying a socket
 * @throws {TimeLimitError} after `limit`; what comes later from `work` is dropped, errors included
 */
export function withLimit<T>(
  clock: Clock,
  limit: Millis,
  what: string,
  work: Promise<T>,
  expired?: (error: TimeLimitError) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const cancel = clock.timer(millis(Math.max(0, limit)), () => {
      const error = new TimeLimitError(`${what}: no answer within ${Math.round(limit)} ms`);
      reject(error);
      expired?.(error);
    });
    work.then(
      (value) => {
        cancel();
        resolve(value);
      },
      (error: unknown) => {
        cancel();
        reject(error);
      },
    );
  });
}

const unanswered = new Map<string, Promise<unknown>>();

/**
 * What a disk has not answered is not asked once more: each question holds a thread for as long as the disk hangs, and of
 * those there are few.
 *
 * @param question - tells one from another: what is asked, and of which path
 */
export function askOnce<T>(question: string, ask: () => Promise<T>): Promise<T> {
  const asked = unanswered.get(question);
  // By its question it is known what it answers.
  if (asked !== undefined) return asked as Promise<T>;
  const answer = ask().finally(() => unanswered.delete(question));
  unanswered.set(question, answer);
  return answer;
}

/** What is said of a server that did not answer. The kernel takes connections also for one that hangs. */
export function silence(connected: boolean, limit: Millis): string {
  const within = `within ${Math.round(limit)} ms`;
  return connected ? `connected, and no answer ${within}: it hangs` : `no connection ${within}`;
}
