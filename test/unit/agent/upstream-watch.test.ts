/** How a node that does not lead watches the leader's Postgres. */
import { beforeEach, describe, expect, it } from 'vitest';
import { UpstreamWatch } from '../../../src/agent/upstream-watch.ts';
import { nodeName } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import type { ServerCheck } from '../../../src/ports/postgres.ts';
import { FakeClock, START } from './fakes.ts';

const EVERY = 2_000;
const ALIVE: ServerCheck = { kind: 'alive', inRecovery: null, said: null };
const SILENT: ServerCheck = { kind: 'silent', said: 'no answer' };

let clock: FakeClock;
let answer: ServerCheck;
let takes: number;
let leader: string | null;
let asked: number[];
let atOnce: number;
let mostAtOnce: number;
let seen: number[];
let logged: string[];
let watch: UpstreamWatch;

beforeEach(() => {
  clock = new FakeClock();
  answer = ALIVE;
  takes = 10;
  leader = 'a';
  asked = [];
  atOnce = 0;
  mostAtOnce = 0;
  seen = [];
  logged = [];
  watch = new UpstreamWatch({
    clock,
    postgres: {
      checkServer: async () => {
        asked.push(clock.now() - START);
        atOnce += 1;
        mostAtOnce = Math.max(mostAtOnce, atOnce);
        const now = answer;
        await clock.sleep(millis(takes));
        atOnce -= 1;
        return now;
      },
    },
    log: { write: (_severity, event) => logged.push(event) },
    target: () =>
      leader === null ? null : { name: nodeName(leader), server: { name: leader, host: '10.0.0.1', port: 5432 } },
    settings: () => ({ type: 'ping', limit: millis(1_000), every: millis(EVERY) }),
    told: (check, isSeen) => {
      if (isSeen) seen.push(check.at - START);
    },
  });
  watch.start();
});

describe('the watch', () => {
  it('asks once per loop_wait', async () => {
    await clock.pass(10 * EVERY);
    expect(asked.length).toBeGreaterThanOrEqual(9);
    expect(asked.length).toBeLessThanOrEqual(10);
  });

  it('never asks twice at once, however long an answer takes', async () => {
    takes = 5 * EVERY;
    await clock.pass(30 * EVERY);
    expect(asked.length).toBeGreaterThan(3);
    expect(mostAtOnce).toBe(1);
  });

  it('notes when it asked, not when it was answered: only then the server is known to have lived', async () => {
    takes = 900;
    await clock.pass(EVERY + 1_000);
    expect(seen).toEqual([EVERY]);
  });

  it('asks nobody while nobody is known, and shows nothing then', async () => {
    await clock.pass(EVERY + 100);
    expect(watch.last?.of).toBe('a');
    leader = null;
    await clock.pass(3 * EVERY);
    expect(asked).toHaveLength(1);
    expect(watch.last).toBeNull();
  });

  it('ends with the daemon', async () => {
    watch.stop();
    await clock.pass(3 * EVERY);
    expect(asked).toEqual([]);
  });
});

describe('a primary', () => {
  it.each([
    ['one that is alive, by a check that cannot tell its role', ALIVE, true],
    ['one out of recovery', { kind: 'alive', inRecovery: false, said: null }, true],
    ['one in recovery', { kind: 'alive', inRecovery: true, said: null }, false],
    ['one without room for us', { kind: 'full', said: 'too many clients' }, true],
    ['one that starts or stops', { kind: 'not-ready', said: 'starting up' }, false],
    ['nobody who listens', { kind: 'refused', said: 'ECONNREFUSED' }, false],
    ['silence', SILENT, false],
  ] as const)('%s is seen: %#', async (_what, said, isSeen) => {
    answer = said;
    await clock.pass(EVERY + 100);
    expect(seen.length === 1).toBe(isSeen);
    expect(watch.last).toMatchObject({ of: 'a', answer: said });
  });
});

it('the log tells once that the check fails and once that it passes again', async () => {
  await clock.pass(2 * EVERY);
  answer = SILENT;
  await clock.pass(5 * EVERY);
  answer = ALIVE;
  await clock.pass(3 * EVERY);
  expect(logged).toEqual(['upstream.check-failed', 'upstream.check-passed']);
});
