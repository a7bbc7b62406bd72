/** A failover never waits for a command of the operator's. */
import { describe, expect, it } from 'vitest';
import { Patience } from '../../../src/agent/patience.ts';

const never = new Promise<void>(() => undefined);

describe('patience', () => {
  it('waits until the work has ended, and says what came of it', async () => {
    const patience = new Patience();
    await expect(patience.until(Promise.resolve('done'))).resolves.toBeUndefined();
    await expect(patience.until(Promise.reject(new Error('no')))).rejects.toThrow('no');
  });

  it('ends for all who wait', async () => {
    const patience = new Patience();
    const waiting = [patience.until(never), patience.until(never)];
    patience.end();
    await Promise.all(waiting);
  });

  it('begins anew for those who come later', async () => {
    const patience = new Patience();
    patience.end();
    let ended = false;
    const waiting = patience.until(never).then(() => {
      ended = true;
    });
    await Promise.resolve();
    expect(ended).toBe(false);
    patience.end();
    await waiting;
    expect(ended).toBe(true);
  });
});
