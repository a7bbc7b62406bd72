import { EtcdLeaseInvalidError, GRPCUnavailableError } from 'etcd3';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { millis } from '../../../src/core/time.ts';
import { hedge } from '../../../src/etcd/hedge.ts';

/** What an endpoint does with a request, and after how many milliseconds. */
type Behaviour =
  | { readonly after: number; readonly answer: string }
  | { readonly after: number; readonly error: Error }
  | 'hangs';

const LEASE_GONE = new EtcdLeaseInvalidError('4711');
const BROKEN = new GRPCUnavailableError('14 UNAVAILABLE: connection dropped');
const REFUSED_CONNECTION = new GRPCUnavailableError(
  '14 UNAVAILABLE: No connection established. Last error: ECONNREFUSED',
);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Runs one request over endpoints of these behaviours: the outcome, when it came, and which were asked when. */
async function ask(behaviours: readonly Behaviour[], stagger: number | null = 200) {
  const asked: [number, number][] = [];
  const startedAt = performance.now();
  const at = (): number => Math.round(performance.now() - startedAt);
  const outcome = hedge(
    behaviours.map((_, index) => index),
    { stagger: stagger === null ? null : millis(stagger), limit: millis(1_000) },
    (index) => {
      asked.push([index, at()]);
      const behaviour = behaviours[index] ?? 'hangs';
      return new Promise<string>((resolve, reject) => {
        if (behaviour === 'hangs') return;
        setTimeout(() => {
          if ('answer' in behaviour) resolve(behaviour.answer);
          else reject(behaviour.error);
        }, behaviour.after);
      });
    },
  ).then((value) => ({ ...value, at: at() }));
  await vi.advanceTimersByTimeAsync(2_000);
  return { outcome: await outcome, asked };
}

describe('hedging', () => {
  it('asks one endpoint only, while it is fast', async () => {
    const { outcome, asked } = await ask([{ after: 3, answer: 'a' }, 'hangs']);
    expect(outcome).toMatchObject({ kind: 'answered', value: 'a', by: 0, at: 3 });
    expect(asked).toEqual([[0, 0]]);
  });

  it('asks the next beside a slow one, and takes the first answer', async () => {
    const { outcome, asked } = await ask(['hangs', { after: 5, answer: 'b' }, 'hangs']);
    expect(outcome).toMatchObject({ kind: 'answered', value: 'b', by: 1, at: 205 });
    expect(asked).toEqual([
      [0, 0],
      [1, 200],
    ]);
  });

  it('asks the next at once when one fails', async () => {
    const { outcome } = await ask([
      { after: 2, error: BROKEN },
      { after: 2, answer: 'b' },
    ]);
    expect(outcome).toMatchObject({ kind: 'answered', value: 'b', by: 1, at: 4 });
  });

  it('ends at the limit when all hang, having asked each once', async () => {
    const { outcome, asked } = await ask(['hangs', 'hangs', 'hangs']);
    expect(outcome).toMatchObject({ kind: 'unanswered', at: 1_000 });
    expect(asked).toEqual([
      [0, 0],
      [1, 200],
      [2, 400],
    ]);
  });

  it('waits for a failure before it asks the next, where two copies would do harm', async () => {
    expect((await ask(['hangs', { after: 1, answer: 'b' }], null)).outcome).toMatchObject({ kind: 'unanswered' });
    const failing = await ask(
      [
        { after: 300, error: BROKEN },
        { after: 1, answer: 'b' },
      ],
      null,
    );
    expect(failing.outcome).toMatchObject({ kind: 'answered', at: 301 });
  });

  it('believes a refusal when nothing else was sent, and asks nobody else', async () => {
    const { outcome, asked } = await ask([
      { after: 2, error: LEASE_GONE },
      { after: 1, answer: 'b' },
    ]);
    expect(outcome).toMatchObject({ kind: 'refused', refusal: { reason: 'lease-not-found' }, at: 2 });
    expect(asked).toHaveLength(1);
  });

  it('does not believe a refusal beside a copy whose fate is open', async () => {
    const hanging = await ask(['hangs', { after: 2, error: LEASE_GONE }]);
    expect(hanging.outcome).toMatchObject({ kind: 'unanswered', at: 1_000 });
    const broken = await ask([
      { after: 2, error: BROKEN },
      { after: 2, error: LEASE_GONE },
    ]);
    expect(broken.outcome).toMatchObject({ kind: 'unanswered', at: 4 });
  });

  it('believes a refusal after a copy that never left this machine', async () => {
    const { outcome } = await ask([
      { after: 1, error: REFUSED_CONNECTION },
      { after: 2, error: LEASE_GONE },
    ]);
    expect(outcome).toMatchObject({ kind: 'refused' });
  });

  it('takes the answer of an earlier copy that comes after a refusal', async () => {
    const { outcome } = await ask([
      { after: 400, answer: 'a' },
      { after: 2, error: LEASE_GONE },
    ]);
    expect(outcome).toMatchObject({ kind: 'answered', value: 'a', at: 400 });
  });

  it('answers at once when there is nobody to ask', async () => {
    expect((await ask([])).outcome).toMatchObject({ kind: 'unanswered', at: 0 });
  });
});
