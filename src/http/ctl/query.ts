/** `query`: one statement on one member, as psql would run it, once or again and again. Changes what the statement changes. */
import { readFile } from 'node:fs/promises';
import type { ClusterView, Member } from '../../core/cluster.ts';
import { messageOf } from './outcome.ts';
import { hasRole, pick, type Role, type Session } from './session.ts';
import { type Cell, cellText, drawTable, type Format, type Rows, structured } from './table.ts';
import { Misuse, Refusal } from './terminal.ts';

export interface QueryOptions {
  readonly command?: string;
  readonly file?: string;
  readonly format: Format;
  readonly role?: Role;
  readonly member?: string;
  readonly username?: string;
  readonly dbname?: string;
  readonly password?: boolean;
  readonly delimiter: string;
  readonly W?: boolean;
  readonly watch?: number;
}

const WATCH_SECONDS = 2;

export async function query(session: Session, name: string | undefined, options: QueryOptions): Promise<number> {
  const { terminal } = session;
  const scope = await session.scope(name);
  const statement = await statementOf(options);
  const password = options.password === true ? await terminal.askSecret('Password: ') : null;
  if (options.password === true && password === null) throw new Refusal('Aborted: no password was given.');
  const once = async (): Promise<number> => {
    // The role is looked up each time: whoever watches a failover wants to see the next leader.
    const member = chosen(await session.readExisting(scope), scope, options);
    const rows = await session.sql(
      {
        host: member.host ?? '',
        port: member.port ?? 5432,
        ...(options.username === undefined ? {} : { user: options.username }),
        ...(options.dbname === undefined ? {} : { database: options.dbname }),
        ...(password === null ? {} : { password }),
      },
      statement,
      null,
    );
    const text = await shown(rows, options);
    if (text !== '') terminal.out(text);
    return 0;
  };
  const pause = options.watch ?? (options.W === true ? WATCH_SECONDS : null);
  if (pause === null) return await once();
  for (;;) {
    await once().catch((error: unknown) => terminal.err(messageOf(error)));
    await terminal.sleep(pause * 1000);
  }
}

async function statementOf({ command, file }: QueryOptions): Promise<string> {
  if ((command === undefined) === (file === undefined))
    throw new Misuse('What is to be run? Give either --command SQL or --file FILE.');
  if (command !== undefined) return command;
  return await readFile(file ?? '', 'utf8').catch((error: Error) => {
    throw new Refusal(`${file} cannot be read: ${error.message}`);
  });
}

function chosen(view: ClusterView, scope: string, { role, member }: QueryOptions): Member {
  const wanted = role ?? (member === undefined ? 'leader' : 'any');
  const named = member === undefined ? view.members : pick(view, scope, [member]);
  const found = named.find((one) => hasRole(one, view, wanted) && one.host !== null);
  if (found === undefined) throw new Refusal(`Cluster ${scope} has no ${wanted} that could be connected to.`);
  return found;
}

async function shown(rows: Rows, { format, delimiter }: QueryOptions): Promise<string> {
  if (rows.columns.length === 0) return '';
  if (format === 'pretty') {
    return drawTable(
      null,
      rows.columns,
      rows.rows.map((row) => row.map(cellText)),
    );
  }
  if (format !== 'tsv') return await structured(format, rows);
  const line = (cells: readonly Cell[]): string =>
    cells.map((cell) => cellText(cell).replaceAll(delimiter, ' ').replace(/\n/g, ' ')).join(delimiter);
  return [line(rows.columns.map(({ title }) => title)), ...rows.rows.map(line)].join('\n');
}
