/** Protocol 9: Postgres is stopped in order before the guard has to strike. */
import { beforeEach, describe, expect, it } from 'vitest';
import { WindowWatch } from '../../../src/agent/window.ts';
import { instant, LONG_AGO, millis, seconds } from '../../../src/core/time.ts';
import type { Leadership } from '../../../src/core/view.ts';
import type { Postgres } from '../../../src/ports/postgres.ts';
import { holding } from '../core/builders.ts';
import { FakeClock, FakeLog, START } from './fakes.ts';

let clock: FakeClock;
let log: FakeLog;
let leadership: Leadership;
let mayWrite: boolean;
let stops: { readonly at: number; readonly mode: string; readonly limit: number }[];
let stopFails: boolean;
let stopped: number;
let watch: WindowWatch;

beforeEach(() => {
  clock = new FakeClock();
  log = new FakeLog();
  mayWrite = true;
  stops = [];
  stopFails = false;
  stopped = 0;
  leadership = until(10_000);
  const postgres = {
    stop: async (mode: string, limit: number) => {
      stops.push({ at: clock.now() - START, mode, limit });
      await clock.sleep(millis(200));
      if (stopFails) throw new Error('no');
      mayWrite = false;
    },
  } as unknown as Postgres;
  watch = new WindowWatch({
    clock,
    log,
    postgres,
    leadership: () => leadership,
    mayWrite: () => mayWrite,
    onStop: () => {
      stopped += 1;
    },
  });
  watch.start();
});

/** The guard strikes 9 000 ms from the start, the orderly stop begins two seconds earlier. */
function until(ms: number, over: Partial<Extract<Leadership, { kind: 'holding' }>> = {}): Leadership {
  return holding({ ttl: seconds(10), until: instant(START + ms), deadline: instant(START + ms - 1_000), ...over });
}

describe('the window watch', () => {
  it('says from when on there is no 200 any more', () => {
    expect(watch.closesAt()).toBe(START + 7_000);
    leadership = { kind: 'none' };
    expect(watch.closesAt()).toBeNull();
  });

  it('stops Postgres in order two seconds before the guard would end it', async () => {
    await clock.pass(6_999);
    expect(stops).toEqual([]);
    await clock.pass(101);
    expect(stops).toMatchObject([{ mode: 'fast' }]);
    expect(stops[0]?.at).toBeGreaterThanOrEqual(7_000);
    expect(log.events).toEqual(['lease.window-closing']);
  });

  it('leaves half of what is left for the case that the fast stop does not end', async () => {
    await clock.pass(7_100);
    expect(stops[0]?.limit).toBeLessThanOrEqual(1_000);
    expect(stops[0]?.limit).toBeGreaterThan(900);
  });

  it('does nothing while proofs come', async () => {
    for (let second = 1; second <= 30; second++) {
      leadership = until(second * 1_000 + 10_000);
      await clock.pass(1_000);
    }
    expect(stops).toEqual([]);
  });

  it('stops once, and tells the cycle when it is done', async () => {
    await clock.pass(8_500);
    expect(stops).toHaveLength(1);
    expect(stopped).toBe(1);
  });

  it('tries again when the stop failed', async () => {
    stopFails = true;
    await clock.pass(7_700);
    expect(stops.length).toBeGreaterThan(1);
    expect(log.events).toContain('action.failed');
  });

  it.each([
    ['a node that does not lead', (): Leadership => ({ kind: 'none' })],
    ['a leader that waits at its gate and has never written', () => until(0, { until: LONG_AGO, deadline: LONG_AGO })],
    ['a primary that is being taken in', () => until(0, { adopting: true })],
    [
      'a leader in maintenance',
      () => until(0, { until: instant(Number.POSITIVE_INFINITY), deadline: instant(Number.POSITIVE_INFINITY) }),
    ],
  ])('leaves alone %s', async (_who, then) => {
    leadership = then();
    await clock.pass(20_000);
    expect(stops).toEqual([]);
  });

  it('leaves a Postgres alone that does not write', async () => {
    mayWrite = false;
    await clock.pass(20_000);
    expect(stops).toEqual([]);
  });

  it('ends with the agent', async () => {
    watch.stop();
    await clock.pass(20_000);
    expect(stops).toEqual([]);
  });
});
