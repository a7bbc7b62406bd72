/** What the agent knows of its Postgres, and above all what it does not know. */
import { beforeEach, describe, expect, it } from 'vitest';
import { LocalWatch } from '../../../src/agent/local-watch.ts';
import type { LocalPostgres } from '../../../src/core/local.ts';
import { millis } from '../../../src/core/time.ts';
import type { Postgres } from '../../../src/ports/postgres.ts';
import { aPrimary, aSilent, aStandby, aStopped, FAILING, isStarting } from '../core/builders.ts';
import { FakeClock, START } from './fakes.ts';

const LIMIT = millis(1_200);
const SPACING = millis(1_000);
/** So long a look takes. */
const TAKES = 10;
let takes: number;

let clock: FakeClock;
let seen: LocalPostgres;
let looks: number;
let watch: LocalWatch;

beforeEach(() => {
  clock = new FakeClock();
  seen = aStandby();
  looks = 0;
  takes = TAKES;
  const postgres = {
    look: async () => {
      looks += 1;
      const then = seen;
      await clock.sleep(millis(takes));
      return then;
    },
  } as unknown as Postgres;
  watch = new LocalWatch(clock, postgres);
});

const begin = (): Promise<void> => watch.look(LIMIT, SPACING);
async function look(local?: LocalPostgres): Promise<void> {
  if (local !== undefined) seen = local;
  await clock.outcome(begin());
}

describe('a look', () => {
  it('counts from its beginning: what it says was true then, not when it came back', async () => {
    await clock.pass(100);
    await look(aStopped());
    expect(watch).toMatchObject({ at: START + 100, since: START + 100, downSince: START + 100, known: true });
  });

  it('leaves `since` alone while Postgres stays of its kind', async () => {
    await look(aStandby());
    await clock.pass(500);
    await look(aStandby());
    expect(watch.since).toBe(START);
    await look(aPrimary());
    expect(watch.since).toBeGreaterThan(START + 500);
  });

  it('is shared with nobody who came after it had begun: he gets one that begins later', async () => {
    const first = begin();
    await clock.pass(TAKES / 2);
    seen = aPrimary();
    const second = begin();
    const third = begin();
    await clock.outcome(Promise.all([first, second, third]));
    expect(watch.local.kind).toBe('primary');
    expect(looks).toBe(2);
  });
});

describe('knowing that Postgres does not write', () => {
  it('is not there before the first look', () => {
    expect(watch).toMatchObject({ downSince: null, known: false });
  });

  it('begins with the first look that says so, and lasts', async () => {
    await look(aStopped());
    await clock.pass(300);
    await look(aStopped());
    expect(watch.downSince).toBe(START);
  });

  it.each([
    ['a primary', aPrimary()],
    ['a silent one', aSilent()],
    ['orphans', { kind: 'orphans', processes: 1 } as const],
    ['one that starts as a primary', isStarting(true)],
  ])('ends with %s', async (_what, local) => {
    await look(aStopped());
    await look(local);
    expect(watch.downSince).toBeNull();
  });

  it('is not given by a server that is stopping: a backend may finish its commit', async () => {
    await look(aPrimary());
    await look({ kind: 'stopping', since: millis(5) });
    expect(watch.downSince).toBeNull();
  });

  it('is not given by a standby that did not answer: it may have been promoted since', async () => {
    await look(aStandby({ failing: FAILING }));
    expect(watch.downSince).toBeNull();
    await look(aStandby());
    expect(watch.downSince).not.toBeNull();
  });
});

describe('a doubt', () => {
  it('takes back what was known', async () => {
    await look(aStandby());
    expect(watch.certain).toBe(true);
    await clock.pass(1);
    watch.doubt();
    expect(watch).toMatchObject({ downSince: null, certain: false });
  });

  it('makes a look worthless that had begun before', async () => {
    const before = begin();
    await clock.pass(TAKES / 2);
    watch.doubt();
    await clock.outcome(before);
    expect(watch.local.kind).toBe('standby');
    expect(watch).toMatchObject({ downSince: null, certain: false });
  });

  it('makes a look worthless that had begun in the same instant', async () => {
    const before = begin();
    watch.doubt();
    await clock.outcome(before);
    expect(watch).toMatchObject({ downSince: null, certain: false });
  });

  it('is ended by a look that begins after it', async () => {
    watch.doubt();
    await clock.pass(1);
    await look(aStandby());
    expect(watch).toMatchObject({ downSince: START + 1, certain: true });
  });
});

describe('failing checks', () => {
  it('are counted when they are a reconnect interval apart', async () => {
    for (let i = 0; i < 3; i++) {
      await look(aPrimary({ failing: FAILING }));
      await clock.pass(1_000);
    }
    expect(watch.failing).toMatchObject({ count: 3, said: FAILING.said });
  });

  it('count once when they come in a row', async () => {
    for (let i = 0; i < 10; i++) await look(aPrimary({ failing: FAILING }));
    expect(watch.failing?.count).toBe(1);
  });

  it('are not those of a server that says that it has no room: it has answered', async () => {
    for (let i = 0; i < 5; i++) {
      await look({ kind: 'silent', since: millis(5), said: 'too many clients', full: true });
      await clock.pass(1_000);
    }
    expect(watch.failing).toBeNull();
    expect(watch.downSince).toBeNull();
  });

  it('are forgotten with the first that passes', async () => {
    await look(aSilent());
    expect(watch.failing?.count).toBe(1);
    await look(aPrimary());
    expect(watch.failing).toBeNull();
  });
});

describe('the next look', () => {
  it('comes when it was wanted while nothing fails', async () => {
    await look(aPrimary());
    expect(watch.nextLookIn(millis(2_000), SPACING, 2)).toBe(2_000);
  });

  it.each([
    ['the interval is as long as the limit', 2, 1_000, 1_000],
    ['the interval is shorter', 4, 500, 1_200],
    ['the interval is longer than a cycle', 3, 5_000, 800],
    ['there is one attempt', 1, 1_500, 1_000],
  ])(
    'judges a server that hangs within attempts × (limit + interval) when %s',
    async (_when, attempts, interval, limit) => {
      takes = limit;
      seen = aPrimary({ failing: FAILING });
      const spacing = millis(interval);
      for (let i = 0; (watch.failing?.count ?? 0) <= attempts && i < 50; i++) {
        if (i > 0) await clock.pass(watch.nextLookIn(millis(Math.min(2_000, interval)), spacing, attempts));
        await clock.outcome(watch.look(millis(limit), spacing));
      }
      expect(clock.now() - START).toBeLessThanOrEqual(attempts * (limit + interval) + 1);
      expect(clock.now() - START).toBeGreaterThan(attempts * interval);
    },
  );

  it('comes after the whole interval when the checks fail at once', async () => {
    takes = 0;
    await look(aPrimary({ failing: FAILING }));
    expect(watch.nextLookIn(millis(1_000), SPACING, 2)).toBe(1_000);
  });
});
