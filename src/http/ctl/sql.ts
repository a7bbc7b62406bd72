/**
 * A statement on a member's Postgres, for `pgha-ctl query`. Who connects and how is said as for psql: by the PG* variables
 * and ~/.pgpass, where the command line says nothing.
 */
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

/** @throws {Refusal} when there is no connection, or Postgres refuses the statement */
export async function runSql(target: SqlTarget, statement: string): Promise<Rows> {
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
    await client.end().catch(() => undefined);
  }
}
