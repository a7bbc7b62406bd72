/** `history`: which timelines the cluster came through, and who led it then. */
import type { Session } from './session.ts';
import { type Column, cellText, drawTable, type Format, structured } from './table.ts';

const COLUMNS: readonly Column[] = [
  { title: 'TL', key: 'TL', align: 'right' },
  { title: 'LSN', key: 'LSN', align: 'right' },
  { title: 'Reason', key: 'Reason', align: 'left' },
  { title: 'Timestamp', key: 'Timestamp', align: 'left' },
  { title: 'New Leader', key: 'New Leader', align: 'left' },
];

export async function history(
  session: Session,
  name: string | undefined,
  options: { readonly format: Format },
): Promise<number> {
  const view = await session.readExisting(await session.scope(name));
  const rows = view.history.map((line) => [
    line.timeline as number,
    Number(line.lsn),
    line.reason,
    line.when ?? '',
    line.newLeader ?? '',
  ]);
  session.terminal.out(
    options.format === 'pretty'
      ? drawTable(
          null,
          COLUMNS,
          rows.map((row) => row.map(cellText)),
        )
      : await structured(options.format, { columns: COLUMNS, rows }),
  );
  return 0;
}
