import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PghaError } from '../../../src/errors.ts';
import { ownProcess } from '../../../src/guard/family.ts';
import { holderOf, lockNode } from '../../../src/system/lock.ts';

let directory = '';

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-lock-'));
});

/** Other threads of this process start programs too, and these have every descriptor until they are what they will be. */
const soonFree = (): Promise<void> => vi.waitFor(() => lockNode(directory).release(), { timeout: 5_000 });

afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('the lock of a node', () => {
  it('is had by one, who is named to the second', async () => {
    const lock = lockNode(directory);
    expect(holderOf(join(directory, 'daemon.lock'))).toEqual(ownProcess());
    let refused: unknown;
    try {
      lockNode(directory);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(PghaError);
    expect((refused as PghaError).code).toBe('PGHA_ALREADY_RUNNING');
    expect((refused as PghaError).message).toContain(String(process.pid));
    lock.release();
    await soonFree();
  });

  it('ends with its holder, however that ends, and no child of the holder inherits it', async () => {
    const lock = lockNode(directory);
    const child = spawn('/bin/sleep', ['30'], { stdio: 'ignore' });
    lock.release();
    await soonFree();
    child.kill('SIGKILL');

    const path = join(directory, 'daemon.lock');
    const holder = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo held; sleep 30'], { detached: true });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    expect(() => lockNode(directory)).toThrow(PghaError);
    process.kill(-(holder.pid ?? 0), 'SIGKILL');
    // The shell that inherited the lock ends a moment after flock itself.
    await soonFree();
  });
});
