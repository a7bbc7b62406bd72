/**
 * One connection to the local server that can never hang its user: each call has a limit of its own, and the end of
 * the connection is told once. `pg` alone hangs in connect, query and end when the server is stopped.
 */
import pg from 'pg';
import { type Instant, type Millis, millis } from '../core/time.ts';
import { localAddress, type Place } from './place.ts';
import { tlsOptions } from './remote.ts';
import { withLimit } from './time-limit.ts';

/** Where the running server is reached: what postmaster.pid says, or what is configured. */
export interface Endpoint {
  /** null: it has no socket there. */
  readonly socketDir: string | null;
  readonly tcpHost: string;
  readonly port: number;
}

export function endpointOf(
  place: Place,
  running: { readonly port: number | null; readonly socketDir: string | null; readonly listenAddress: string | null },
): Endpoint {
  if (running.port === null) return { socketDir: place.socketDir, tcpHost: place.tcpHost, port: place.port };
  return {
    socketDir: running.socketDir,
    tcpHost: running.listenAddress === null ? place.tcpHost : localAddress(running.listenAddress),
    port: running.port,
  };
}

/** The longest path that a unix socket can have. */
const LONGEST_SOCKET_PATH = 107;

export function socketPath(endpoint: Endpoint): string | null {
  if (endpoint.socketDir === null) return null;
  const path = `${endpoint.socketDir}/.s.PGSQL.${endpoint.port}`;
  return Buffer.byteLength(path) <= LONGEST_SOCKET_PATH ? path : null;
}

export interface ConnectionOptions {
  /** Of connecting. */
  readonly limit: Millis;
  /** The server ends a statement by itself after so long; 0 is never. */
  readonly statementTimeout: Millis;
  /**
   * One of the places that are kept for replication: for a server without room for anybody else. Statements without
   * parameters only, and none that is prepared.
   */
  readonly reserved?: boolean;
  /** Left out: the configured one. */
  readonly database?: string;
  /** Once, when the connection has ended, whoever ended it. */
  readonly ended?: () => void;
}

export interface Row {
  readonly [column: string]: unknown;
}

export class Connection {
  readonly #client: pg.Client;
  readonly #place: Place;
  #open = true;
  /** The end of the statement that was begun last, however it ends; null: none is under way. */
  #last: Promise<void> | null = null;

  /** One of the places for replication, see {@link ConnectionOptions}. */
  readonly reserved: boolean;

  private constructor(client: pg.Client, place: Place, reserved: boolean) {
    this.reserved = reserved;
    this.#client = client;
    this.#place = place;
  }

  /** Over the unix socket; over TCP where there is none. */
  static async open(place: Place, endpoint: Endpoint, options: ConnectionOptions): Promise<Connection> {
    const path = socketPath(endpoint);
    if (path === null || endpoint.socketDir === null)
      return Connection.#openAt(place, endpoint.tcpHost, endpoint, options);
    const started = place.clock.now();
    try {
      return await Connection.#openAt(place, endpoint.socketDir, endpoint, options);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== 'ENOENT' && code !== 'ECONNREFUSED' && code !== 'EACCES') throw error;
      const limit = millis(Math.max(1, options.limit - (place.clock.now() - started)));
      return Connection.#openAt(place, endpoint.tcpHost, endpoint, { ...options, limit });
    }
  }

  static async #openAt(
    place: Place,
    host: string,
    endpoint: Endpoint,
    options: ConnectionOptions,
  ): Promise<Connection> {
    const login = place.config.postgresql.authentication.superuser;
    // The server is on this machine: encrypted where it insists, and there is no name to verify.
    const ssl =
      host.startsWith('/') || !insistsOnTls(login.sslmode)
        ? null
        : { ...(await withLimit(place.clock, options.limit, 'reading certificates', tlsOptions(login))), ...ANY_NAME };
    const client = new pg.Client({
      host,
      port: endpoint.port,
      user: login.username,
      database: options.database ?? place.config.postgresql.database,
      application_name: 'pgha',
      ...(options.reserved === true ? { replication: 'database' } : {}),
      options: sessionOptions(place.version, options.statementTimeout),
      ...(login.password === null ? {} : { password: login.password }),
      ...(ssl === null ? {} : { ssl }),
    });
    const connection = new Connection(client, place, options.reserved === true);
    // Before connect: an error without a listener ends the process. It may fire twice; the end counts once.
    const ended = (): void => {
      if (!connection.#open) return;
      connection.#open = false;
      options.ended?.();
    };
    client.on('error', ended);
    client.on('end', ended);
    try {
      await withLimit(place.clock, options.limit, 'connecting to Postgres', client.connect(), (error) =>
        connection.#destroy(error),
      );
      return connection;
    } catch (error) {
      connection.#open = false;
      connection.#destroy(null);
      throw error;
    }
  }

  get open(): boolean {
    return this.#open;
  }

  /**
   * @throws {TimeLimitError} after `limit`: the statement is then still under way, and the next one waits behind it
   */
  query(text: string, values: readonly unknown[], limit: Millis): Promise<readonly Row[]> {
    return withLimit(this.#place.clock, limit, 'a query', this.start(text, values));
  }

  /** Without a limit, for a caller who wants to know when a statement that was given up has ended after all. */
  async start(text: string, values: readonly unknown[], prepareAs?: string): Promise<readonly Row[]> {
    const query = { text, values: [...values], ...(prepareAs === undefined ? {} : { name: prepareAs }) };
    // One after the other: pg's own queue does the same and will go.
    const before = this.#last;
    const begin = () => this.#client.query<Record<string, unknown>>(query);
    const answer = before === null ? begin() : before.then(begin);
    const over = answer.then(
      () => undefined,
      () => undefined,
    );
    this.#last = over;
    void over.then(() => {
      if (this.#last === over) this.#last = null;
    });
    return (await answer).rows;
  }

  /** Does not wait: `end` of pg hangs when the server is stopped. */
  close(): void {
    this.#open = false;
    this.#destroy(null);
  }

  #destroy(error: Error | null): void {
    const { stream } = (this.#client as unknown as { connection: { stream: import('node:net').Socket } }).connection;
    // A farewell, so that the server does not log a lost connection; then the end, whether it was heard or not.
    if (error === null && stream.writable) stream.write(Buffer.from([0x58, 0, 0, 0, 4]));
    stream.destroy(error ?? undefined);
  }
}

/**
 * The server gets the same limits, so that nothing of ours stays behind in it, our checks stay out of its log, and no
 * object that somebody put into `public` is mistaken for one of the catalogue.
 */
function sessionOptions(version: number, statementTimeout: Millis): string {
  const settings = [
    `statement_timeout=${statementTimeout}`,
    'tcp_user_timeout=3000',
    'lock_timeout=0',
    'search_path=pg_catalog',
    'log_statement=none',
    'log_min_duration_statement=-1',
    'log_duration=off',
    'jit=off',
    // A commit of ours must not wait for a standby that may be gone.
    'synchronous_commit=local',
    ...(version >= 14 ? ['idle_session_timeout=0'] : []),
  ];
  return settings.map((setting) => `-c ${setting}`).join(' ');
}

const ANY_NAME = { rejectUnauthorized: false } as const;

function insistsOnTls(sslmode: string | null): boolean {
  return sslmode === 'require' || sslmode === 'verify-ca' || sslmode === 'verify-full';
}

/** Runs `work` on a connection of its own and closes it afterwards. */
export async function withConnection<T>(
  place: Place,
  endpoint: Endpoint,
  limits: { readonly connect: Millis; readonly statement: Millis; readonly database?: string },
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = await Connection.open(place, endpoint, {
    limit: limits.connect,
    statementTimeout: limits.statement,
    ...(limits.database === undefined ? {} : { database: limits.database }),
  });
  try {
    return await work(connection);
  } finally {
    connection.close();
  }
}

/** What is left until `deadline`, at least one millisecond. */
export const leftUntil = (deadline: Instant, now: Instant): Millis => millis(Math.max(1, deadline - now));
