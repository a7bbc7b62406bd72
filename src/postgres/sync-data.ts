/**
 * Brings a data directory to the disk as a whole, where what was written there was not synced by whoever wrote it: the
 * marker of unfinished work goes next, and a power loss after that must not find less than what was finished.
 */
import type { Progress } from '../ports/postgres.ts';
import { CommandFailure, lastLine, runCommand } from './command.ts';
import type { Place } from './place.ts';

/** It says nothing while it works, and has to wait for all that the page cache holds. */
const LIMIT_MS = 3_600_000;

/**
 * With its tablespaces and a pg_wal elsewhere. Takes as long as the disk needs for what is not on it yet.
 *
 * @throws {Error} whose message tells why it is not known to be on the disk; it may be after a cancellation, too
 * @see PostgreSQL docs, initdb, `--sync-only`
 */
export async function syncData(place: Place, progress: Progress, signal: AbortSignal): Promise<void> {
  progress('syncing the data directory', null);
  const options = ['--sync-only', `--pgdata=${place.dataDir}`];
  const result = await runCommand(place, 'initdb', options, { signal, limitMs: LIMIT_MS });
  if (result.code === 0) return;
  const why = {
    itself: lastLine(result),
    cancel: 'it was cancelled',
    limit: `it took longer than ${LIMIT_MS / 60_000} minutes`,
  }[result.endedBy];
  throw new Error(`its data could not be synced: ${why}`, { cause: new CommandFailure('initdb --sync-only', result) });
}
