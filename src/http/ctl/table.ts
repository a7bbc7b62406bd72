/**
 * Text tables as patronictl draws them: the title stands in the top border, a cell may have several lines, and then a
 * rule stands between all rows. Also the same rows as tsv, JSON and YAML. Knows nothing of clusters.
 */
import { printable } from '../../config/text.ts';

export { printable };
export type Format = 'pretty' | 'tsv' | 'json' | 'yaml' | 'yml';
export const FORMATS: readonly Format[] = ['pretty', 'tsv', 'json', 'yaml', 'yml'];

export type Cell = string | number | boolean | Readonly<Record<string, unknown>>;

export interface Column {
  readonly title: string;
  /** In tsv, JSON and YAML, where two columns may not share a name. */
  readonly key: string;
  readonly align: 'left' | 'right';
}

export interface Rows {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
}

const lines = (cell: string): string[] => printable(cell).split('\n');

export function drawTable(
  title: string | null,
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const widths = columns.map((column, index) =>
    Math.max(width(column.title), ...rows.map((row) => Math.max(...lines(row[index] ?? '').map(width)))),
  );
  const rule = `+${widths.map((w) => '-'.repeat(w + 2)).join('+')}+`;
  const drawRow = (cells: readonly string[]): string[] => {
    const split = cells.map(lines);
    const height = Math.max(1, ...split.map((cell) => cell.length));
    return Array.from({ length: height }, (_, line) => {
      const parts = columns.map((column, index) => {
        const content = split[index]?.[line] ?? '';
        const padding = ' '.repeat((widths[index] ?? 0) - width(content));
        return column.align === 'right' ? ` ${padding}${content} ` : ` ${content}${padding} `;
      });
      return `|${parts.join('|')}|`;
    });
  };
  const ruled = rows.some((row) => row.some((cell) => cell.includes('\n')));
  const drawn = rows.map(drawRow);
  return [
    topBorder(rule, title),
    ...drawRow(columns.map((column) => column.title)),
    rule,
    ...drawn.flatMap((row, index) => (ruled && index < drawn.length - 1 ? [...row, rule] : row)),
    ...(rows.length === 0 ? [] : [rule]),
  ].join('\n');
}

/** The title overlays the border behind its first corner, and is cut where the table ends. */
function topBorder(rule: string, title: string | null): string {
  if (title === null) return rule;
  const shown = title.slice(0, rule.length - 2);
  return rule[0] + shown + rule.slice(1 + shown.length);
}

const width = (text: string): number => [...text].length;

export const cellText = (cell: Cell): string => (typeof cell === 'object' ? JSON.stringify(cell) : String(cell));

export function tsv({ columns, rows }: Rows): string {
  return [columns.map((column) => column.key), ...rows.map((row) => row.map(cellText))]
    .map((row) => row.map((cell) => printable(cell.replace(/[\t\n]/g, ' '))).join('\t'))
    .join('\n');
}

/** One object per row; what is empty is left out. */
export function objects({ columns, rows }: Rows): Record<string, unknown>[] {
  return rows.map((row) =>
    Object.fromEntries(
      columns.flatMap((column, index): [string, unknown][] => {
        const cell = row[index] ?? '';
        return cell === '' ? [] : [[column.key, cell]];
      }),
    ),
  );
}

/** Rows for programs: anything but `pretty`. */
export async function structured(format: Exclude<Format, 'pretty'>, rows: Rows): Promise<string> {
  if (format === 'tsv') return tsv(rows);
  if (format === 'json') return JSON.stringify(objects(rows));
  const { stringify } = await import('yaml');
  return stringify(objects(rows)).trimEnd();
}
