import { expect, test } from 'vitest';
import { LatestOnly } from '../../../src/commands/latest.ts';

test('the newest ends the one that runs, takes the place of one that waits, and begins after its end', async () => {
  const latest = new LatestOnly();
  const said: string[] = [];
  const run = (name: string) => async (signal: AbortSignal) => {
    said.push(`${name} begins`);
    await new Promise<void>((resolve) => {
      if (signal.aborted || name === 'c') resolve();
      signal.addEventListener('abort', () => setImmediate(resolve));
    });
    said.push(`${name} ends`);
  };
  latest.add(run('a'));
  await new Promise((resume) => setImmediate(resume));
  await new Promise((resume) => setImmediate(resume));
  latest.add(run('b'));
  latest.add(run('c'));
  await latest.idle();
  expect(said).toEqual(['a begins', 'a ends', 'c begins', 'c ends']);
});
