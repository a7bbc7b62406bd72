import { beforeEach, describe, expect, it } from 'vitest';
import { Operations } from '../../../src/agent/operation.ts';
import { millis } from '../../../src/core/time.ts';
import { PghaError } from '../../../src/errors.ts';
import type { Progress } from '../../../src/ports/postgres.ts';
import { FakeClock, FakeLog, START } from './fakes.ts';

let clock: FakeClock;
let log: FakeLog;
let ends: { readonly kind: string; readonly failed: boolean }[];
let operations: Operations;

beforeEach(() => {
  clock = new FakeClock();
  log = new FakeLog();
  ends = [];
  operations = new Operations(clock, log, (kind, failed) => ends.push({ kind, failed }));
});

const lasting = (ms: number) => async (): Promise<void> => clock.sleep(millis(ms));
const failing = async (): Promise<void> => {
  await clock.sleep(millis(10));
  throw new Error('no such host');
};
/** As an adapter does: ends when it is asked to, with the reason that it was given. */
const untilCancelled = (signal: AbortSignal): Promise<void> =>
  new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error));
  });

describe('an operation', () => {
  it('runs alone: a second one is not started', async () => {
    expect(operations.start('copy', 'copy from a', lasting(100))).toBe(true);
    expect(operations.start('rewind', 'rewind', lasting(100))).toBe(false);
    expect(operations.running).toEqual({ kind: 'copy', since: START });
    await clock.pass(200);
    expect(operations.running).toBeNull();
    expect(ends).toEqual([{ kind: 'copy', failed: false }]);
  });

  it('tells its start and its end with what it took', async () => {
    operations.start('copy', 'copy from a', lasting(100));
    await clock.pass(200);
    expect(log.events).toEqual(['action.started', 'action.finished']);
    expect(log.lines[1]?.facts).toEqual({ action: 'copy', took_ms: 100 });
  });

  it('is still the running one while its work begins, however short that is', async () => {
    let running: string | undefined;
    operations.start('start', 'start', async () => {
      running = operations.running?.kind;
    });
    await clock.pass(1);
    expect(running).toBe('start');
    expect(ends).toHaveLength(1);
  });

  it('tells its progress in quarters, and at least every ten seconds', async () => {
    let tell: Progress = () => undefined;
    operations.start('copy', 'copy from a', async (_signal, progress) => {
      tell = progress;
      await clock.sleep(millis(60_000));
    });
    await clock.pass(1);
    for (const percent of [10, 20, 26, 30, 52]) tell(`${percent} %`, percent / 100);
    expect(operations.shown).toMatchObject({ kind: 'copy', sentence: '52 %', fraction: 0.52 });
    const told = () => log.lines.filter(({ event }) => event === 'operation.progress').map(({ sentence }) => sentence);
    expect(told()).toEqual(['26 %', '52 %']);
    await clock.pass(10_000);
    tell('53 %', 0.53);
    expect(told()).toEqual(['26 %', '52 %', '53 %']);
  });
});

describe('a failure', () => {
  it('is counted by kind, with when and why', async () => {
    for (let i = 0; i < 2; i++) {
      operations.start('start', 'start', failing);
      await clock.pass(20);
    }
    expect(operations.attempts.get('start')).toEqual({ failures: 2, lastFailedAt: START + 30, said: 'no such host' });
    expect(operations.attempts.get('copy')).toBeUndefined();
    expect(ends).toEqual([
      { kind: 'start', failed: true },
      { kind: 'start', failed: true },
    ]);
  });

  it('is forgotten with the first success', async () => {
    operations.start('promote', 'promote', failing);
    await clock.pass(20);
    operations.start('promote', 'promote', lasting(1));
    await clock.pass(20);
    expect(operations.attempts.size).toBe(0);
  });

  it('is what a rewind, a copy or a start counts as until more was seen of it, also when it ended well', async () => {
    for (const kind of ['rewind', 'copy', 'start'] as const) {
      operations.start(kind, kind, lasting(1));
      await clock.pass(20);
      expect(operations.attempts.get(kind)?.failures).toBe(1);
    }
  });

  it('is forgotten when circumstances have changed', async () => {
    operations.start('rewind', 'rewind', failing);
    await clock.pass(20);
    operations.forgetFailures('rewind', 'start');
    expect(operations.attempts.size).toBe(0);
  });

  it('says what happened, in the words for the operator', async () => {
    const text = { happened: 'The copy broke off.', untouched: 'Nothing.', todo: 'Nothing to do.' };
    operations.start('copy', 'copy', () => Promise.reject(new PghaError('PGHA_COPY_FAILED', text)));
    await clock.pass(1);
    expect(operations.attempts.get('copy')?.said).toBe('The copy broke off.');
    expect(log.lines.at(-1)).toMatchObject({ severity: 'error', event: 'action.failed' });
  });
});

describe('a cancelled operation', () => {
  it('is waited for, and is no failure to back off from', async () => {
    operations.start('copy', 'copy', untilCancelled);
    await clock.pass(50);
    await clock.outcome(operations.cancel('the service stops'));
    expect(operations.running).toBeNull();
    expect(operations.attempts.size).toBe(0);
    expect(log.lines.at(-1)).toMatchObject({ severity: 'info', event: 'action.failed' });
  });

  it('may be none at all', async () => {
    await clock.outcome(operations.cancel('nothing runs'));
    expect(ends).toEqual([]);
  });
});
