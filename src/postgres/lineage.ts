/**
 * Through which timelines a server came to where it is: another one's by a replication connection, our own from the
 * history file in pg_wal. What follows from it is decided in core/timeline.ts.
 */
import { join } from 'node:path';
import { systemId } from '../core/local.ts';
import { parseLsn, type Timeline, timeline } from '../core/lsn.ts';
import type { Millis } from '../core/time.ts';
import { parseHistory, type TimelineHistory } from '../core/timeline.ts';
import { PghaError } from '../errors.ts';
import type { Lineage, ServerAddress } from '../ports/postgres.ts';
import { readText } from './durable-file.ts';
import type { Place } from './place.ts';
import { askRemote, type Query } from './remote.ts';

const IN_HOT_STANDBY_SINCE = 140_000;

/** null: it did not answer in time, or not all of it. A history is never guessed. */
export async function readLineage(place: Place, of: ServerAddress, limit: Millis): Promise<Lineage | null> {
  const login = place.config.postgresql.authentication.replication;
  try {
    return await askRemote(place, { address: of, login, as: { replication: true } }, limit, async (query) => {
      // Asked first: a promotion that ends between the two questions then reads as "in recovery", and its caller asks
      // again. The other way round it would read as a primary on the timeline that it has just left.
      const inRecovery = await askInRecovery(query);
      const [system] = await query('IDENTIFY_SYSTEM');
      const tl = timeline(Number(system?.['timeline']));
      return {
        systemId: systemId(String(system?.['systemid'])),
        timeline: tl,
        position: parseLsn(String(system?.['xlogpos'])),
        history: tl === 1 ? [] : parseHistory(historyText(await query(`TIMELINE_HISTORY ${tl}`))),
        inRecovery,
      };
    });
  } catch (error) {
    place.log.write('debug', 'action.failed', `${of.name} did not tell its timeline history.`, { error });
    return null;
  }
}

/** Over a replication connection, which knows no functions. */
export async function askInRecovery(query: Query): Promise<boolean> {
  const [version] = await query('SHOW server_version_num');
  // in_hot_standby came with 14. Before, a transaction is read-only in recovery, and else only where a setting
  // makes it so: then this errs to "in recovery", and its caller waits.
  const setting =
    Number(version?.['server_version_num']) >= IN_HOT_STANDBY_SINCE ? 'in_hot_standby' : 'transaction_read_only';
  const [recovery] = await query(`SHOW ${setting}`);
  return recovery?.[setting] !== 'off';
}

/** The content comes as text from a current server, as bytes from older ones. */
function historyText(rows: readonly Readonly<Record<string, unknown>>[]): string {
  const content = rows[0]?.['content'];
  if (Buffer.isBuffer(content)) return content.toString('utf8');
  if (typeof content !== 'string') throw new TypeError('the server sent no history file');
  return content.startsWith('\\x') ? Buffer.from(content.slice(2), 'hex').toString('utf8') : content;
}

export const historyFile = ({ dataDir }: Place, tl: Timeline): string =>
  join(dataDir, 'pg_wal', `${tl.toString(16).toUpperCase().padStart(8, '0')}.history`);

/**
 * The history file of timeline `tl` in our own pg_wal; empty on timeline 1, which has none.
 *
 * @throws {PghaError} PGHA_DATA_DIRECTORY_UNREADABLE when it is missing or makes no sense
 */
export async function readHistoryFile(place: Place, tl: Timeline): Promise<TimelineHistory> {
  if (tl === 1) return [];
  const path = historyFile(place, tl);
  let cause: unknown = null;
  try {
    const text = await readText(place, path);
    if (text !== null) return parseHistory(text);
  } catch (error) {
    cause = error;
  }
  throw new PghaError(
    'PGHA_DATA_DIRECTORY_UNREADABLE',
    {
      happened: `The history of timeline ${tl} could not be read from ${path}.`,
      untouched: 'Nothing was changed.',
      todo: 'Copy the file from another member or from the archive, or make this node anew with `pgha-ctl reinit`.',
    },
    { cause },
  );
}
