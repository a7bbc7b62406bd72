/**
 * A statement on a member's Postgres, for `pgha-ctl query`. Who connects and how is said as for psql: by the PG* variables
 * and ~/.pgpass, where the command line says nothing.
 */
import type { Socket } from 'node:net';
import type { Rows } from './table.ts';
import { Refusal } from './terminal.ts';

export interface SqlTarget {
  readonly host: string;
  readonly port: number;
  readonly user?: string;
  readonly database?: string;
  readonly password?: string;
}

const CONNECT_LIMIT_MS = 5_000;
const GOOD_BYE_MS = 50;

/**
 * @param limitMs - for everything; null: a statement may take as long as it takes
 * @throws {Refusal} when there is no connection, no answer in time, or Postgres refuses the statement
 */
export async function runSql(target: SqlTarget, statement: string, limitMs: number | null): Promise<Rows> {
  const { default: pg } = await import('pg');
  const { database = process.env['PGDATABASE'] ?? 'postgres', ...rest } = target;
  const client = new pg.Client({
    ...rest,
    database,
    application_name: 'pgha-ctl',
    connectionTimeoutMillis: CONNECT_LIMIT_MS,
    // As text, as Postgres prints it: a program that reads this wants no dates of ours.
    types: { getTypeParser: () => (text: string | Buffer) => String(text) },
  });
  client.on('error', () => undefined);
  // With TLS it becomes another one on the way.
  const { connection } = client as unknown as { connection: { stream: Socket } };
  const tooLong = (): void => void connection.stream.destroy(new Error(`no answer within ${limitMs} ms`));
  const over = limitMs === null ? undefined : setTimeout(tooLong, limitMs);
  try {
    await client.connect();
    // Of several statements the last one is shown, as psql does.
    const answers: unknown = await client.query({ text: statement, rowMode: 'array' });
    const answer = (Array.isArray(answers) ? answers.at(-1) : answers) as {
      readonly fields?: readonly { readonly name: string }[];
      readonly rows: readonly (readonly (string | null)[])[];
    };
    const columns = (answer.fields ?? []).map(({ name }) => ({ title: name, key: name, align: 'left' as const }));
    return { columns, rows: answer.rows.map((row) => row.map((cell) => cell ?? '')) };
  } catch (error) {
    throw new Refusal(`${target.host}:${target.port}: ${(error as Error).message}`);
  } finally {
    clearTimeout(over);
    // Its good-bye is not waited for: one who hangs never answers it.
    client.end().catch(() => undefined);
    setTimeout(() => connection.stream.destroy(), GOOD_BYE_MS).unref();
  }
}
