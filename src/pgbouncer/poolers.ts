/**
 * The adapter behind ports/poolers: the consoles of the configured PgBouncers, and the file in which the one on this
 * machine is told where its databases are. What is paused and when is decided elsewhere.
 */
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { Config, PgbouncerConfig } from '../config/schema.ts';
import { hostOf } from '../core/poolers.ts';
import { type Millis, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { ConsoleAnswer, Poolers } from '../ports/poolers.ts';
import { FILE_LIMIT, withLimit } from '../postgres/time-limit.ts';
import { AdminConsole } from './console.ts';

export class PgbouncerPoolers implements Poolers {
  readonly #config: () => Config;
  readonly #clock: Clock;
  /** What the pooler on this machine has read since this process runs. */
  #loaded: string | null = null;
  /** A disk that hangs keeps what it was asked for, and may do it later: nothing else is begun meanwhile. */
  #writing: Promise<void> | null = null;

  constructor(config: () => Config, clock: Clock) {
    this.#config = config;
    this.#clock = clock;
  }

  get pausedByName(): readonly string[] {
    return (this.#config().pgbouncer?.databases ?? []).map(({ name }) => name).filter((name) => name !== '*');
  }

  async open(address: string, limit: Millis): Promise<ConsoleAnswer> {
    const { pgbouncer } = this.#config();
    if (pgbouncer === null) return { kind: 'silent', said: 'no section pgbouncer is configured here' };
    try {
      return { kind: 'open', console: await this.#open(pgbouncer, address, limit) };
    } catch (error) {
      return { kind: 'silent', said: error instanceof Error ? error.message : String(error) };
    }
  }

  async leadTo(server: { readonly host: string; readonly port: number }, limit: Millis): Promise<void> {
    const config = this.#config();
    const { pgbouncer } = config;
    if (pgbouncer === null || pgbouncer.databasesFile === null) return;
    const wanted = databasesFile(pgbouncer, server);
    if (this.#loaded === wanted) return;
    await this.#write(pgbouncer.databasesFile, wanted);
    for (const address of localPoolers(config)) {
      const console = await this.#open(pgbouncer, address, limit);
      try {
        await console.reload(limit);
      } finally {
        console.close();
      }
    }
    this.#loaded = wanted;
  }

  async #write(path: string, wanted: string): Promise<void> {
    const inTime = (writing: Promise<void>): Promise<void> =>
      withLimit(this.#clock, FILE_LIMIT, `writing ${path}`, writing);
    try {
      if (this.#writing !== null) await inTime(this.#writing.catch(() => undefined));
      this.#writing = replace(path, wanted);
      const over = (): void => {
        this.#writing = null;
      };
      this.#writing.then(over, over);
      await inTime(this.#writing);
    } catch (cause) {
      throw unwritable(path, cause);
    }
  }

  #open(pgbouncer: PgbouncerConfig, address: string, limit: Millis): Promise<AdminConsole> {
    const at = { host: hostOf(address), port: Number(address.slice(address.lastIndexOf(':') + 1)) };
    return AdminConsole.open(this.#clock, at, pgbouncer, millis(Math.max(1, limit)));
  }
}

/** Those on this machine: only they can read a file that is written here. */
export function localPoolers({ pgbouncer, postgresql, restapi, node }: Config): readonly string[] {
  const own = new Set([restapi.connectAddress.host]);
  if (node.role !== 'witness') own.add(postgresql.connectAddress.host);
  return (pgbouncer?.poolers ?? []).filter((address) => own.has(hostOf(address)));
}

/** As `%include` of pgbouncer.ini takes it. */
export function databasesFile(
  { databases }: Pick<PgbouncerConfig, 'databases'>,
  { host, port }: { readonly host: string; readonly port: number },
): string {
  const all = databases.length === 0 ? [{ name: '*', options: '' }] : databases;
  const lines = all.map(
    ({ name, options }) => `${name} = host=${host} port=${port}${options === '' ? '' : ` ${options}`}`,
  );
  return `; written by pgha: where the primary is. Changes are lost.\n[databases]\n${lines.join('\n')}\n`;
}

/** In one step: a pooler that reads it at this moment reads the one or the other. */
async function replace(path: string, text: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => null)) === text) return;
  const beside = `${path}.new`;
  try {
    await writeFile(beside, text, { mode: 0o640 });
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw error;
  }
}

const unwritable = (path: string, cause: unknown): PghaError =>
  new PghaError(
    'PGHA_POOLER_FILE_UNWRITABLE',
    {
      happened: `${path} could not be written: ${cause instanceof Error ? cause.message : String(cause)}.`,
      untouched: 'The pooler on this machine goes on leading to where it led.',
      todo: 'Let the user of pgha write into that directory, or choose another for pgbouncer.databases_file.',
    },
    { cause },
  );
