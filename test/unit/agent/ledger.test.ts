import { describe, expect, it } from 'vitest';
import { Ledger } from '../../../src/agent/ledger.ts';
import { revision } from '../../../src/core/store.ts';
import type { PutAnswer } from '../../../src/ports/chronicle.ts';
import { FakeClock, FakeLog } from './fakes.ts';

describe('a key of the chronicle', () => {
  it('is told of, and written with what comes next, when putting its value together failed', async () => {
    const clock = new FakeClock();
    const log = new FakeLog();
    const values: string[] = [];
    let broken = true;
    let waiting: string | null = 'first';
    const ledger = new Ledger({
      clock,
      log,
      key: 'lag',
      chronicle: {
        read: async () => ({ kind: 'answered', entries: [] }),
        put: async (_key, value): Promise<PutAnswer> => {
          values.push(value);
          return { kind: 'applied', revision: revision(values.length) };
        },
      },
      compose: () => {
        if (broken) throw new Error('a mistake of ours');
        return waiting;
      },
      written: () => {
        waiting = null;
      },
    });

    ledger.due();
    await clock.pass(2_000);
    expect(log.events).toEqual(['action.failed']);
    expect(values).toEqual([]);

    broken = false;
    ledger.due();
    await clock.pass(2_000);
    expect(values).toEqual(['first']);
    expect(log.events).toEqual(['action.failed']);
  });
});
