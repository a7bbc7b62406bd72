/**
 * One request, more than one endpoint: the preferred endpoint is asked first, the next one when the first is slow or
 * fails, and the first answer counts. Nobody is asked twice. Knows nothing of etcd but what `refusal.ts` says of errors.
 *
 * It is this that keeps a proof of leadership short when the member it was sent to is stopped or cut off: a stopped
 * member answers neither yes nor no.
 */
import type { Millis } from '../core/time.ts';
import type { Failure } from './refusal.ts';
import { failureFrom } from './refusal.ts';

export interface Hedging {
  /** How long to wait for one endpoint before the next is asked beside it; null: only after it has failed. */
  readonly stagger: Millis | null;
  /** When the caller stops waiting for all of them. */
  readonly limit: Millis;
}

export type Hedged<E, T> =
  | { readonly kind: 'answered'; readonly value: T; readonly by: E }
  /** etcd said that it did not apply it, and nothing else was sent that could have been applied. */
  | { readonly kind: 'refused'; readonly refusal: Extract<Failure, { kind: 'refused' }>; readonly by: E }
  | { readonly kind: 'unanswered'; readonly cause: string };

/**
 * @param endpoints - in the order in which they are asked
 * @param send - sends once and settles; what it settles to after `limit` is not looked at
 */
export function hedge<E, T>(
  endpoints: readonly E[],
  { stagger, limit }: Hedging,
  send: (endpoint: E, limit: Millis) => Promise<T>,
): Promise<Hedged<E, T>> {
  return new Promise((resolve) => {
    const startedAt = performance.now();
    let asked = 0;
    let open = 0;
    let settled = false;
    let uncertain: string | null = null; // an attempt that may have been applied although it was not answered
    let refused: Extract<Hedged<E, T>, { kind: 'refused' }> | null = null;
    let lastCause = 'no endpoint is configured';
    let nextTimer: NodeJS.Timeout | undefined;

    const settle = (outcome: Hedged<E, T>): void => {
      if (settled) return;
      settled = true;
      clearTimeout(nextTimer);
      clearTimeout(limitTimer);
      resolve(outcome);
    };
    const limitTimer = setTimeout(() => settle({ kind: 'unanswered', cause: `no answer within ${limit} ms` }), limit);

    const failed = (endpoint: E, failure: Failure): void => {
      open--;
      lastCause = failure.cause;
      if (failure.kind === 'refused') refused ??= { kind: 'refused', refusal: failure, by: endpoint };
      if (failure.kind === 'no-answer') uncertain ??= failure.cause;
      // A refusal is what all of them would say: nobody else is asked, those already asked are waited for.
      if (refused === null && asked < endpoints.length) askNext();
      else if (open === 0) settle(refused !== null && uncertain === null ? refused : unanswered());
    };
    const unanswered = (): Hedged<E, T> => ({ kind: 'unanswered', cause: uncertain ?? lastCause });

    const askNext = (): void => {
      const endpoint = endpoints[asked];
      if (settled || refused !== null || endpoint === undefined) return;
      asked++;
      open++;
      clearTimeout(nextTimer);
      if (stagger !== null && asked < endpoints.length) nextTimer = setTimeout(askNext, stagger);
      const left = (limit - (performance.now() - startedAt)) as Millis;
      send(endpoint, left).then(
        (value) => settle({ kind: 'answered', value, by: endpoint }),
        (error: unknown) => failed(endpoint, failureFrom(error)),
      );
    };

    if (endpoints.length === 0) settle(unanswered());
    else askNext();
  });
}
