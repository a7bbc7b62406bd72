/**
 * Short-lived connections to another member's server: a question, its answer, the socket destroyed. Bounded as a
 * whole, because neither connect, query nor end() of the driver comes back from a server that stands still. It holds
 * no connection and knows no question; and the connection strings for the programs that connect by themselves.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import type { Login } from '../config/schema.ts';
import { type Millis, millis } from '../core/time.ts';
import type { ServerAddress } from '../ports/postgres.ts';
import { makePrivateDirectory, writeIfDifferent } from './durable-file.ts';
import type { Place } from './place.ts';
import { silence, TimeLimitError, withLimit } from './time-limit.ts';

export type Row = Readonly<Record<string, unknown>>;
/** What the names of our sessions on other members' servers begin with; the asking node's name follows. */
export const ASKER = 'pgha ';
/** What the server reported of itself with the login: `server_version`, `in_hot_standby`, ... */
export type Reported = ReadonlyMap<string, string>;
/** One statement and its rows. */
export type Query = (sql: string, values?: readonly unknown[]) => Promise<readonly Row[]>;

export interface RemoteTarget {
  readonly address: Pick<ServerAddress, 'host' | 'port'>;
  readonly login: Login;
  /** A physical replication connection (`IDENTIFY_SYSTEM`, `SHOW`), or SQL in this database. */
  readonly as: { readonly replication: true } | { readonly database: string };
}

/**
 * Connects, lets `ask` ask, disconnects. `sslmode` is followed as libpq does: `prefer` (also when none is set) tries
 * TLS and goes on without where the server has none.
 *
 * @throws {TimeLimitError} or what the driver throws
 */
export async function askRemote<T>(
  place: Pick<Place, 'clock' | 'config'>,
  target: RemoteTarget,
  limit: Millis,
  ask: (query: Query, reported: Reported) => Promise<T>,
): Promise<T> {
  const until = place.clock.now() + limit;
  let failure: unknown;
  for (const ssl of await withLimit(place.clock, limit, 'reading certificates', tlsAttempts(target.login))) {
    const left = millis(until - place.clock.now());
    try {
      return await connectAndAsk(place, target, left, ssl, ask);
    } catch (error) {
      failure = error;
      if (!refusedBecauseOfTls(error)) break;
    }
  }
  throw failure;
}

async function connectAndAsk<T>(
  place: Pick<Place, 'clock' | 'config'>,
  target: RemoteTarget,
  limit: Millis,
  ssl: pg.ClientConfig['ssl'],
  ask: (query: Query, reported: Reported) => Promise<T>,
): Promise<T> {
  const { login, address, as } = target;
  const settings = {
    host: address.host,
    port: address.port,
    user: login.username,
    // Without a password of ours the driver looks into ~/.pgpass, as libpq does.
    ...(login.password === null ? {} : { password: login.password }),
    ssl: ssl ?? false,
    application_name: `${ASKER}${place.config.node.name}`,
    ...('database' in as
      ? { database: as.database, options: `-c statement_timeout=${Math.max(1, Math.ceil(limit))}` }
      : { database: 'replication', replication: 'true' }),
  };
  const client = new pg.Client(settings);
  // After destroy the driver may tell twice that the connection ended; without a listener that ends the process.
  client.on('error', () => undefined);
  const reported = new Map<string, string>();
  wireOf(client).on('parameterStatus', ({ parameterName, parameterValue }) =>
    reported.set(parameterName, parameterValue),
  );
  // A server that hangs still gets connections from the kernel: how far it came tells it from a network that is silent.
  let connected = false;
  wireOf(client).on('connect', () => {
    connected = true;
  });
  const work = async (): Promise<T> => {
    await client.connect();
    return ask(
      async (sql, values) => (await client.query<Row>(sql, values === undefined ? undefined : [...values])).rows,
      reported,
    );
  };
  try {
    return await withLimit(place.clock, limit, `asking ${address.host}:${address.port}`, work());
  } catch (error) {
    if (error instanceof TimeLimitError) throw new TimeLimitError(silence(connected, limit));
    throw error;
  } finally {
    // end() says good-bye and may wait for ever for the answer: it is not waited for, and the socket goes anyway.
    client.end().catch(() => undefined);
    place.clock.timer(millis(50), () => wireOf(client).stream.destroy());
  }
}

/** What the driver knows of the conversation, and does not show in its types. */
interface Wire {
  readonly stream: { destroy: () => void };
  on(event: 'connect', listener: () => void): void;
  on(
    event: 'parameterStatus',
    listener: (message: { readonly parameterName: string; readonly parameterValue: string }) => void,
  ): void;
}

function wireOf(client: pg.Client): Wire {
  return (client as unknown as { connection: Wire }).connection;
}

async function tlsAttempts(login: Login): Promise<readonly pg.ClientConfig['ssl'][]> {
  const mode = login.sslmode ?? 'prefer';
  if (mode === 'disable') return [false];
  const tls = await tlsOptions(login);
  if (mode === 'allow') return [false, tls];
  return mode === 'prefer' ? [tls, false] : [tls];
}

/** A login's certificates for the driver, with `sslmode`'s meaning of what is verified. */
export async function tlsOptions(login: Login): Promise<Exclude<pg.ClientConfig['ssl'], boolean | undefined>> {
  const mode = login.sslmode ?? 'prefer';
  const file = (path: string | null): Promise<string> | undefined =>
    path === null ? undefined : readFile(path, 'utf8');
  const cert = await file(login.sslcert);
  const key = await file(login.sslkey);
  // `system`: those that Node brings along.
  const ca = await file(login.sslrootcert === 'system' ? null : login.sslrootcert);
  const crl = await file(login.sslcrl);
  return {
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(login.sslpassword === null ? {} : { passphrase: login.sslpassword }),
    ...(ca === undefined ? {} : { ca }),
    ...(crl === undefined ? {} : { crl }),
    rejectUnauthorized: mode === 'verify-ca' || mode === 'verify-full',
    // verify-ca trusts the chain and doesn't look at the name.
    ...(mode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
  };
}

/** The server has no TLS at all, or pg_hba.conf wants it the other way. */
function refusedBecauseOfTls(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (/does not support SSL|SSL connection/i.test(error.message)) return true;
  return 'code' in error && error.code === '28000';
}

/** Since which major version libpq knows a parameter; an older one refuses the whole string. */
const KNOWN_SINCE: Readonly<Record<string, number>> = { channel_binding: 13, sslcrldir: 14, sslnegotiation: 17 };

/**
 * `host=... port=...` for libpq: pg_basebackup, pg_rewind, primary_conninfo. Holds no password, only the name of the
 * passfile; a silent peer is noticed by the kernel within about 15 s.
 *
 * @param version - major version of the program that reads it
 */
export function connectionString(
  address: Pick<ServerAddress, 'host' | 'port'>,
  login: Login,
  { passfile, version }: { readonly passfile: string; readonly version: number },
  more: Readonly<Record<string, string>>,
): string {
  const parts: Record<string, string> = {
    host: address.host,
    port: String(address.port),
    user: login.username,
    // Without a password of ours the operator's own ~/.pgpass stays in force.
    ...(login.password === null ? {} : { passfile }),
    sslmode: login.sslmode ?? 'prefer',
    ...(login.sslcert === null ? {} : { sslcert: login.sslcert }),
    ...(login.sslkey === null ? {} : { sslkey: login.sslkey }),
    ...(login.sslrootcert === null ? {} : { sslrootcert: login.sslrootcert }),
    ...(login.sslcrl === null ? {} : { sslcrl: login.sslcrl }),
    ...Object.fromEntries(Object.entries(login.libpq).filter(([name]) => version >= (KNOWN_SINCE[name] ?? 0))),
    connect_timeout: '3',
    keepalives: '1',
    keepalives_idle: '5',
    keepalives_interval: '3',
    keepalives_count: '3',
    tcp_user_timeout: '15000',
    ...more,
  };
  return Object.entries(parts)
    .map(([name, value]) => `${name}=${conninfoValue(value)}`)
    .join(' ');
}

/**
 * What a program that logs in as `login` finds in its environment: the name of the passfile, and where the client key
 * has a password the name of a service file, because neither may stand among the arguments, which everybody sees.
 */
export async function loginEnvironment(place: Place, login: Login, passfile: string): Promise<Record<string, string>> {
  const env: Record<string, string> = login.password === null ? {} : { PGPASSFILE: passfile };
  if (login.sslpassword === null) return env;
  const file = join(place.runtimeDirectory, 'pg_service.conf');
  await makePrivateDirectory(place, place.runtimeDirectory);
  await writeIfDifferent(place, file, `[pgha]\nsslpassword=${login.sslpassword}\n`);
  return { ...env, PGSERVICEFILE: file, PGSERVICE: 'pgha' };
}

/** libpq, "Connection Strings": quoted where it is empty or has blanks, quotes or backslashes. */
export function conninfoValue(value: string): string {
  return /^[^\s'\\]+$/.test(value) ? value : `'${value.replace(/[\\']/g, '\\$&')}'`;
}
