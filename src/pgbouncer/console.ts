/**
 * One connection to the admin console of a PgBouncer: what is asked, and what its answers mean. It speaks the protocol
 * of Postgres and knows simple queries alone. Bounded in everything, because a pooler that stands still answers nothing
 * and closes nothing.
 */
import pg from 'pg';
import type { PoolerDatabase } from '../core/poolers.ts';
import { type Millis, millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { PauseOutcome, PoolerConsole } from '../ports/poolers.ts';

export interface ConsoleLogin {
  readonly username: string;
  readonly password: string | null;
}

type Row = Readonly<Record<string, unknown>>;

/** Of PgBouncer; its errors have no codes of their own. */
const IS_PAUSED = /already (suspended\/)?paused|already suspended/i;
const IS_RUNNING = /not paused/i;

export class AdminConsole implements PoolerConsole {
  readonly #client: pg.Client;
  readonly #clock: Clock;

  private constructor(client: pg.Client, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /** @throws when nobody answers in time, or refuses the login */
  static async open(
    clock: Clock,
    at: { readonly host: string; readonly port: number },
    login: ConsoleLogin,
    limit: Millis,
  ): Promise<AdminConsole> {
    const client = new pg.Client({
      host: at.host,
      port: at.port,
      user: login.username,
      database: 'pgbouncer',
      application_name: 'pgha',
      ...(login.password === null ? {} : { password: login.password }),
      ssl: false,
    });
    // The driver may tell of an end twice; without a listener that ends the process.
    client.on('error', () => undefined);
    const console = new AdminConsole(client, clock);
    try {
      await console.#within(limit, client.connect());
      return console;
    } catch (error) {
      console.close();
      throw error;
    }
  }

  async databases(limit: Millis): Promise<readonly PoolerDatabase[]> {
    const rows = await this.#ask('SHOW DATABASES', limit);
    return rows
      .filter((row) => row['name'] !== 'pgbouncer')
      .map((row) => ({
        name: String(row['name']),
        host: typeof row['host'] === 'string' && row['host'] !== '' ? row['host'] : null,
        port: Number(row['port']),
      }));
  }

  /** @returns what the rows of `SHOW ...` say, for those who look */
  show(what: 'VERSION' | 'POOLS' | 'CONFIG', limit: Millis): Promise<readonly Row[]> {
    return this.#ask(`SHOW ${what}`, limit);
  }

  async pause(names: readonly string[], limit: Millis, signal: AbortSignal): Promise<PauseOutcome> {
    const aborted = new Promise<PauseOutcome>((resolve) => {
      if (signal.aborted) resolve({ kind: 'waiting' });
      signal.addEventListener('abort', () => resolve({ kind: 'waiting' }), { once: true });
    });
    return await Promise.race([aborted, this.#pause(names, limit)]);
  }

  async #pause(names: readonly string[], limit: Millis): Promise<PauseOutcome> {
    const until = this.#clock.now() + limit;
    let before = 0;
    let done = 0;
    for (const statement of statements('PAUSE', names)) {
      try {
        await this.#ask(statement, millis(Math.max(1, until - this.#clock.now())));
      } catch (error) {
        // PgBouncer holds clients back from the moment it is asked, and answers when the last transaction has ended.
        if (error instanceof NoAnswer) return { kind: 'waiting' };
        const said = error instanceof Error ? error.message : String(error);
        if (IS_PAUSED.test(said)) before += 1;
        else return { kind: error instanceof pg.DatabaseError && done === 0 ? 'refused' : 'unclear', said };
      }
      done += 1;
    }
    return before > 0 && before >= names.length ? { kind: 'was-paused' } : { kind: 'paused' };
  }

  async resume(names: readonly string[], limit: Millis): Promise<void> {
    for (const statement of statements('RESUME', names)) {
      try {
        await this.#ask(statement, limit);
      } catch (error) {
        if (!(error instanceof Error) || !IS_RUNNING.test(error.message)) throw error;
      }
    }
  }

  async reload(limit: Millis): Promise<void> {
    await this.#ask('RELOAD', limit);
  }

  /** Does not wait: `end` of the driver hangs where nobody answers. */
  close(): void {
    const { stream } = (this.#client as unknown as { connection: { stream: import('node:net').Socket } }).connection;
    if (stream.writable) stream.write(Buffer.from([0x58, 0, 0, 0, 4]));
    stream.destroy();
  }

  async #ask(statement: string, limit: Millis): Promise<readonly Row[]> {
    const answer = await this.#within(limit, this.#client.query<Record<string, unknown>>(statement));
    return answer.rows;
  }

  async #within<T>(limit: Millis, work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    const over = new AbortController();
    const tooLong = this.#clock.sleep(limit, over.signal).then(() => {
      throw new NoAnswer(limit);
    });
    tooLong.catch(() => undefined);
    try {
      return await Promise.race([work, tooLong]);
    } finally {
      over.abort();
    }
  }
}

class NoAnswer extends Error {
  constructor(limit: Millis) {
    super(`no answer within ${Math.round(limit)} ms`);
  }
}

const statements = (verb: 'PAUSE' | 'RESUME', names: readonly string[]): readonly string[] =>
  names.length === 0 ? [verb] : names.map((name) => `${verb} "${name.replace(/"/g, '""')}"`);
