/**
 * `history`: which timelines the cluster came through, and who led it then; with `--lag`, how far the standbys were
 * behind.
 */
import { type Lag, readLags } from '../../core/lag-history.ts';
import { timestamp } from './outcome.ts';
import type { Session } from './session.ts';
import { type Cell, type Column, cellText, drawTable, type Format, structured } from './table.ts';

export interface HistoryOptions {
  readonly lag?: boolean;
  readonly format: Format;
}

const column = (title: string, align: Column['align']): Column => ({ title, key: title, align });

const TIMELINES: readonly Column[] = [
  column('TL', 'right'),
  column('LSN', 'right'),
  column('Reason', 'left'),
  column('Timestamp', 'left'),
  column('New Leader', 'left'),
];

const LAGS: readonly Column[] = [
  column('Timestamp', 'left'),
  column('Primary', 'left'),
  column('Member', 'left'),
  column('Receive Lag', 'right'),
  column('Replay Lag', 'right'),
];

export async function history(session: Session, name: string | undefined, options: HistoryOptions): Promise<number> {
  const scope = await session.scope(name);
  if (options.lag === true) return lagHistory(session, scope, options.format);
  const view = await session.readExisting(scope);
  const rows = view.history.map((line) => [
    line.timeline as number,
    Number(line.lsn),
    line.reason,
    line.when ?? '',
    line.newLeader ?? '',
  ]);
  await print(session, options.format, TIMELINES, rows);
  return 0;
}

/** Bytes; the peaks of the minute, or of the ten minutes, that begins at each time. */
async function lagHistory(session: Session, scope: string, format: Format): Promise<number> {
  const { terminal } = session;
  const kept = (await session.readChronicle(scope)).find(({ key }) => key === 'lag');
  const { points, trouble } = kept === undefined ? { points: [], trouble: null } : readLags(kept.value);
  if (trouble !== null) terminal.err(`Warning: etcd's key pgha/lag is ${trouble}.`);
  if (points.length === 0 && format === 'pretty') {
    terminal.out('No lags are known. They are kept, a point a minute, once monitoring_history is on.');
    return 0;
  }
  const cell = (bytes: Lag['receive']): Cell => bytes ?? (format === 'pretty' ? 'unknown' : '');
  const time = (from: number): string =>
    format === 'pretty' ? timestamp(new Date(from)) : new Date(from).toISOString();
  const rows = points.flatMap(({ from, primary, lags }) =>
    [...lags].map(([member, { receive, replay }]) => [time(from), primary, member, cell(receive), cell(replay)]),
  );
  await print(session, format, LAGS, rows);
  return 0;
}

async function print(
  session: Session,
  format: Format,
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
): Promise<void> {
  session.terminal.out(
    format === 'pretty'
      ? drawTable(
          null,
          columns,
          rows.map((row) => row.map(cellText)),
        )
      : await structured(format, { columns, rows }),
  );
}
