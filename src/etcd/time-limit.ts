/**
 * A limit in monotonic time around a promise. grpc's own deadlines are wall-clock dates and count only once a call
 * has reached a connection; this one counts always.
 */
import type { Millis } from '../core/time.ts';

/** @throws Error when `promise` has not settled within `limit`; it goes on unheard then */
export function within<T>(promise: Promise<T>, limit: Millis, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what}: no answer within ${Math.round(limit)} ms`)), limit);
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}
