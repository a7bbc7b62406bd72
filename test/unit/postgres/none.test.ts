/** A node without Postgres: what it says of itself, and what it never does. */
import { describe, expect, it } from 'vitest';
import { millis } from '../../../src/core/time.ts';
import { NoPostgres } from '../../../src/postgres/none.ts';

const alive = { kind: 'alive', inRecovery: false, said: null } as const;
const witness = new NoPostgres('w', { check: () => Promise.resolve(alive) });

describe('a witness', () => {
  it('has no Postgres, which nobody has to stop', async () => {
    expect(await witness.look()).toEqual({ kind: 'absent' });
    await expect(witness.stop()).resolves.toBeUndefined();
  });

  it('asks the servers of others', async () => {
    expect(await witness.checkServer({ name: 'a', host: '10.0.0.1', port: 5432 }, 'query', millis(10))).toBe(alive);
  });

  it.each(['bootstrap', 'copy', 'wipe', 'startPrimary', 'startStandby', 'promote', 'follow'] as const)(
    'is never made to do this: %s',
    async (what) => {
      await expect(witness[what]()).rejects.toThrow('a Postgres that it does not have');
    },
  );
});
