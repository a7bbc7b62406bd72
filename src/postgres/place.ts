/**
 * Where the Postgres of this node lives: directories, binaries, address, version. Every part of the adapter gets
 * these facts from here, found once. It starts nothing and changes nothing.
 */
import { execFile } from 'node:child_process';
import { access, constants, readdir, readFile, realpath } from 'node:fs/promises';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import type { Config } from '../config/schema.ts';
import { type Millis, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { ProcessId } from './family.ts';
import type { ServiceCommands } from './service-commands.ts';
import { askOnce, FILE_LIMIT, withLimit } from './time-limit.ts';

export interface Place {
  /** Symbolic links followed: the same text that /proc shows as the working directory of Postgres. */
  readonly dataDir: string;
  /** Directory of postgres, pg_basebackup and their kin. */
  readonly binDir: string;
  /** Major version of the binaries: 15. */
  readonly version: number;
  /** As server_version_num has it: 150018. */
  readonly versionNumber: number;
  /** Directory of the unix socket; the socket is `socketDir/.s.PGSQL.port`. */
  readonly socketDir: string;
  /** A numeric address of this machine on which Postgres listens; used when the socket cannot be. */
  readonly tcpHost: string;
  readonly port: number;
  /** On tmpfs. */
  readonly runtimeDirectory: string;
  readonly config: Config;
  readonly log: EventLog;
  readonly clock: Clock;
  /** The operator's own commands, where Postgres is controlled by them. */
  readonly service?: ServiceCommands;
  /** The postmaster that is watched, while it lives. */
  readonly postmaster?: () => ProcessId | null;
  /** Whom Postgres and its programs run as, where that is not ourselves: tests run as root, and Postgres refuses to. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
}

/** The oldest major version that pgha speaks. */
export const OLDEST_SUPPORTED_VERSION = 12;

const VERSION_LIMIT: Millis = millis(5_000);

/**
 * Finds everything. With several versions installed, the one that made the data directory wins over the newest.
 *
 * @throws {PghaError} PGHA_POSTGRES_NOT_FOUND when there are no usable binaries
 */
export async function findPlace(config: Config, log: EventLog, clock: Clock): Promise<Place> {
  const settings = config.postgresql;
  const dataDir = await findDataDirectory(config, clock);
  const made = await madeByVersion({ clock, dataDir });
  const binDir = await withLimit(clock, FILE_LIMIT, 'looking for Postgres', findBinaries(settings.binDir, made));
  const versionNumber = await binaryVersion(binDir);
  return {
    dataDir,
    binDir,
    version: Math.floor(versionNumber / 10_000),
    versionNumber,
    socketDir: settings.unixSocketDirectory ?? config.runtimeDirectory,
    tcpHost: localAddress(settings.listen.addresses),
    port: settings.listen.port,
    runtimeDirectory: config.runtimeDirectory,
    config,
    log,
    clock,
  };
}

/** The data directory alone, where the rest cannot be found. @throws {TimeLimitError} */
export function findDataDirectory({ postgresql: { dataDir } }: Config, clock: Clock): Promise<string> {
  const resolving = askOnce(`resolve ${dataDir}`, () => resolvePath(dataDir));
  return withLimit(clock, FILE_LIMIT, 'resolving the data directory', resolving);
}

/** Links followed as far as the path exists: a data directory that is still to be made has only its parents. */
export async function resolvePath(path: string): Promise<string> {
  const whole = resolve(path);
  try {
    return await realpath(whole);
  } catch {
    const parent = dirname(whole);
    return parent === whole ? whole : join(await resolvePath(parent), basename(whole));
  }
}

/** What PG_VERSION says: 15, or null without such a file. Versions before 10 read as 9. @throws {TimeLimitError} */
export async function madeByVersion({ clock, dataDir }: Pick<Place, 'clock' | 'dataDir'>): Promise<number | null> {
  const path = join(dataDir, 'PG_VERSION');
  const reading = askOnce(`read ${path}`, () => readFile(path, 'utf8').catch(() => ''));
  const major = Number.parseInt(await withLimit(clock, FILE_LIMIT, 'reading PG_VERSION', reading), 10);
  return Number.isNaN(major) ? null : major;
}

async function findBinaries(configured: string | null, made: number | null): Promise<string> {
  const candidates = configured === null ? await usualDirectories(made) : [configured];
  for (const directory of candidates) {
    if (await executable(join(directory, 'postgres'))) return realpath(directory);
  }
  throw new PghaError('PGHA_POSTGRES_NOT_FOUND', {
    happened:
      configured === null
        ? 'No PostgreSQL server program was found in the usual directories or in PATH.'
        : `There is no PostgreSQL server program in ${configured}.`,
    untouched: 'Nothing was started or changed.',
    todo: 'Install the PostgreSQL server package, or set postgresql.bin_dir to the directory that holds `postgres`.',
  });
}

async function usualDirectories(made: number | null): Promise<string[]> {
  const packaged: { readonly major: number; readonly directory: string }[] = [];
  for (const name of await listing('/usr/lib/postgresql')) {
    if (/^\d+$/.test(name)) packaged.push({ major: Number(name), directory: `/usr/lib/postgresql/${name}/bin` });
  }
  for (const name of await listing('/usr')) {
    const major = /^pgsql-(\d+)$/.exec(name)?.[1];
    if (major !== undefined) packaged.push({ major: Number(major), directory: `/usr/${name}/bin` });
  }
  packaged.sort((a, b) => Number(b.major === made) - Number(a.major === made) || b.major - a.major);
  const path = (process.env['PATH'] ?? '').split(delimiter).filter((directory) => directory !== '');
  return [...packaged.map((entry) => entry.directory), ...path];
}

async function listing(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch {
    return [];
  }
}

async function executable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function binaryVersion(binDir: string): Promise<number> {
  const program = join(binDir, 'postgres');
  const said = await new Promise<string>((done, failed) => {
    execFile(program, ['--version'], { timeout: VERSION_LIMIT, encoding: 'utf8' }, (error, stdout) =>
      error === null ? done(stdout) : failed(error),
    );
  }).catch((cause: unknown) => {
    throw unusableBinary(program, 'it could not be run', cause);
  });
  const version = parseVersion(said);
  if (version === null) throw unusableBinary(program, `it calls itself "${said.trim()}"`, null);
  return version;
}

/** `postgres (PostgreSQL) 15.20 (Debian ...)` -> 150020; development versions (`18devel`) count as minor 0. */
export function parseVersion(said: string): number | null {
  const match = /\(PostgreSQL\) (\d+)(?:\.(\d+))?/.exec(said);
  if (match?.[1] === undefined) return null;
  const major = Number(match[1]);
  // Before 10 the minor version was the third number; such a server is refused anyway.
  return major * 10_000 + Number(match[2] ?? 0);
}

function unusableBinary(program: string, why: string, cause: unknown): PghaError {
  return new PghaError(
    'PGHA_POSTGRES_NOT_FOUND',
    {
      happened: `${program} is not usable: ${why}.`,
      untouched: 'Nothing was started or changed.',
      todo: 'Check postgresql.bin_dir and the installed PostgreSQL packages.',
    },
    { cause },
  );
}

/** A numeric address under which listen_addresses is reached from this machine: no name service on this path. */
export function localAddress(listenAddresses: string): string {
  const first = listenAddresses.split(',')[0]?.trim() ?? '';
  if (first === '::') return '::1';
  if (first === '' || first === '*' || first === '0.0.0.0' || first === 'localhost') return '127.0.0.1';
  return first;
}
