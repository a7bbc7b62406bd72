/**
 * Which process the postmaster of this node is, in the runtime directory. The next daemon finds the server by that where
 * its directory was moved or unmounted meanwhile, and no path says any more whose it is. Memory: synchronous.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isLivingServer, type ProcessId } from './family.ts';

/** Whose postmaster: as the configuration names it, since what that leads to may have changed. */
export interface Owner {
  readonly runtimeDirectory: string;
  readonly dataDir: string;
}

const path = ({ runtimeDirectory }: Owner): string => join(runtimeDirectory, 'postmaster.json');

/** @throws when it cannot be written; what stood there before stays */
export function rememberPostmaster(owner: Owner, { pid, startTicks }: ProcessId): void {
  const file = path(owner);
  writeFileSync(`${file}.next`, `${JSON.stringify({ dataDir: owner.dataDir, pid, startTicks })}\n`, { mode: 0o600 });
  renameSync(`${file}.next`, file);
}

/** null: none is known, or it is gone. A file that is no such file counts as none: then the directory alone tells. */
export function recallPostmaster(owner: Owner): ProcessId | null {
  try {
    const { dataDir, pid, startTicks } = JSON.parse(readFileSync(path(owner), 'utf8')) as Record<string, unknown>;
    if (dataDir !== owner.dataDir || typeof pid !== 'number' || typeof startTicks !== 'string') return null;
    return isLivingServer({ pid, startTicks }) ? { pid, startTicks } : null;
  } catch {
    return null;
  }
}
