import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

// In a process of its own: a world sets traps for whatever brings in real time, and this runner uses it.
test('the incident reports of test/scenarios still tell what happens', async () => {
  const run = promisify(execFile)(process.execPath, ['scripts/sim.mjs', '--scenarios', '--check']);
  const { stdout } = await run.catch((error: { readonly stdout: string }) => error);
  expect(stdout).toBe('');
}, 150_000);
