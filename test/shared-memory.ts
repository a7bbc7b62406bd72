/**
 * What a killed Postgres leaves on the machine beside its files, for tests that are about to remove those files: after
 * that nobody could tell whose it was.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A killed Postgres leaves a small System V segment; its postmaster.pid names it.
 *
 * @param directory - with data directories at most three levels below
 */
export function removeSharedMemory(directory: string): void {
  const walk = (path: string, depth: number): void => {
    let entries: string[];
    try {
      entries = readdirSync(path);
    } catch {
      return;
    }
    if (entries.includes('postmaster.pid')) {
      try {
        const id = readFileSync(join(path, 'postmaster.pid'), 'utf8').split('\n')[6]?.trim().split(/\s+/)[1];
        if (id !== undefined) execFileSync('ipcrm', ['-m', id], { stdio: 'ignore' });
      } catch {
        // already gone with its server, or no ipcrm here
      }
    } else if (depth > 0) for (const entry of entries) walk(join(path, entry), depth - 1);
  };
  walk(directory, 3);
}
