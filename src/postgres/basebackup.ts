/**
 * Copies another server with pg_basebackup into an absent, empty or half-made directory and leaves a stopped standby
 * of it. It never touches a directory that is anything else, and chooses no source.
 */
import { chmod, readdir, stat } from 'node:fs/promises';
import { millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Progress, ServerAddress, ServerSettings } from '../ports/postgres.ts';
import { CommandFailure, lastLine, runCommand } from './command.ts';
import { isMissing } from './durable-file.ts';
import { freeBytes } from './free-space.ts';
import { forgetKept, putBack } from './kept-files.ts';
import { clearMarker, readMarker, setMarker, whileFilling } from './markers.ts';
import type { Place } from './place.ts';
import { askRemote, connectionString, loginEnvironment } from './remote.ts';
import { passfilePath, setStandbySignal, writeConfiguration, writePassfile, writeUpstream } from './server-config.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';
import {
  empty,
  endLeftovers,
  freedByWipe,
  refuseMountRoot,
  refuseWhileInUse,
  refuseWhileStillInUse,
  targetState,
} from './wipe.ts';

/**
 * Without any output for so long: the source's checkpoint, the wait for its WAL and the final sync of everything
 * are silent, and can take many minutes on a large cluster.
 */
const QUIET_LIMIT_MS = 3_600_000;
const SOURCE_LIMIT = millis(10_000);
/** What a cluster needs beside its databases, at least. */
const ROOM_BESIDE = 128n * 1024n * 1024n;

/** Options that decide where and how the copy is written; they are ours, as in Patroni. */
const REFUSED_OPTIONS =
  /^--(pgdata|format|wal-method|gzip|version|dbname|host|port|username|password|no-password|write-recovery-conf|target)(=|$)/;

/**
 * @throws {PghaError} PGHA_COPY_FAILED or PGHA_CANCELLED; once pg_basebackup had been started the marker stays, and
 *   the next copy begins by removing what is there
 */
export async function copyFrom(
  place: Place,
  source: ServerAddress,
  settings: ServerSettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  await prepareTarget(place, source, progress);
  const facts = await lookAtSource(place, source);
  await refuseWithoutRoom(place, source, facts, 0n, 'pg_basebackup was not started.');
  if (signal.aborted) throw cancelled(source, 'pg_basebackup was not started.');

  const tablespaces = tablespacesToFill(place, facts?.tablespaces ?? []);
  await setMarker(place, 'copy', await withLimit(place.clock, FILE_LIMIT, 'looking into tablespaces', tablespaces));
  await writePassfile(place);
  progress(`copying from ${source.name}`, 0);
  const login = place.config.postgresql.authentication.replication;
  const passfile = passfilePath(place);
  const env = await loginEnvironment(place, login, passfile);
  const result = await whileFilling(place, () =>
    runCommand(
      place,
      'pg_basebackup',
      [
        `--pgdata=${place.dataDir}`,
        `--dbname=${connectionString(source, login, { passfile, version: place.version }, { application_name: `${place.config.node.name} copy`, connect_timeout: '10' })}`,
        '--wal-method=stream',
        '--checkpoint=fast',
        '--progress',
        '--no-password',
        ...extraOptions(place),
      ],
      {
        signal,
        quietLimitMs: QUIET_LIMIT_MS,
        env,
        onLine: (line) => {
          const done = /^\s*(\d+)\/(\d+) kB \(\d+%\)/.exec(line);
          if (done === null) return;
          const [copied, whole] = [Number(done[1]), Number(done[2])];
          const fraction = whole === 0 ? null : Math.min(1, copied / whole);
          progress(`copying from ${source.name}: ${copied} of ${whole} kB`, fraction);
        },
      },
    ),
  );
  if (result.endedBy === 'cancel') throw cancelled(source, 'The unfinished copy is marked and is never started.');
  if (result.code !== 0) {
    const why = result.endedBy === 'limit' ? 'pg_basebackup had nothing to say for an hour' : lastLine(result);
    const cause = new CommandFailure('pg_basebackup', result);
    throw failed(place, source, why, 'The unfinished copy is marked and is never started.', cause);
  }

  await finishCopy(place, source, settings);
  progress(`copied from ${source.name}`, 1);
}

/**
 * Makes room for a copy: what an earlier try left goes, anything else is refused.
 *
 * @param keepData - what an earlier try left is of use to the next
 * @throws {PghaError} PGHA_COPY_FAILED, or PGHA_DATA_DIRECTORY_FOREIGN where no copy could be made; nothing was
 *   removed then
 */
export async function prepareTarget(
  place: Place,
  source: ServerAddress,
  progress: Progress,
  keepData = false,
): Promise<void> {
  const state = await targetState(place);
  if (state === 'in use') throw failed(place, source, `${place.dataDir} is not empty`, 'Nothing in it was changed.');
  if (state === 'half-made') {
    if (!keepData) await refuseMountRoot(place);
    await endLeftovers(place);
    await refuseWhileInUse(place, true);
    if (!keepData) {
      progress('removing what an earlier attempt left', null);
      await empty(place, (await readMarker(place))?.tablespaces ?? []);
    }
  }
  await refuseWhileInUse(place);
}

/**
 * All is there: a stopped standby of `source` from here on.
 *
 * @throws {PghaError} PGHA_DATA_DIRECTORY_LOCKED where an earlier try, by another method perhaps, still writes there
 */
export async function finishCopy(place: Place, source: ServerAddress, settings: ServerSettings): Promise<void> {
  await refuseWhileStillInUse(place);
  await makePrivate(place);
  // The source's files came along: this node's own over them, before anybody may take the directory for finished.
  await setStandbySignal(place, true);
  await writeConfiguration(place, settings);
  await writeUpstream(place, source);
  await putBack(place);
  await clearMarker(place);
  await forgetKept(place);
}

/** pg_basebackup leaves an empty directory that it finds (a mount point) as open as it was; Postgres would not start. */
async function makePrivate(place: Place): Promise<void> {
  const { dataDir, clock } = place;
  const { mode } = await withLimit(clock, FILE_LIMIT, `looking at ${dataDir}`, stat(dataDir));
  if ((mode & 0o027) === 0) return;
  await withLimit(clock, FILE_LIMIT, `closing ${dataDir} to others`, chmod(dataDir, mode & 0o750));
}

function extraOptions(place: Place): string[] {
  const options: string[] = [];
  for (const option of place.config.postgresql.basebackup) {
    const long = option.startsWith('-') ? option : `--${option}`;
    if (!REFUSED_OPTIONS.test(long)) options.push(long);
    else
      place.log.write('warn', 'config.adjusted', `postgresql.basebackup: ${long} is set by pgha itself and ignored.`);
  }
  return options;
}

interface SourceFacts {
  readonly databaseBytes: bigint;
  readonly tablespaces: readonly string[];
}

/** Best effort: the user may have no rights there, and pg_basebackup finds out by itself what doesn't fit. */
async function lookAtSource(place: Place, source: ServerAddress): Promise<SourceFacts | null> {
  const { authentication, database } = place.config.postgresql;
  try {
    return await askRemote(
      place,
      { address: source, login: authentication.rewind, as: { database } },
      SOURCE_LIMIT,
      async (query) => {
        const [size] = await query('SELECT sum(pg_database_size(oid))::text AS bytes FROM pg_database');
        const locations = await query(
          `SELECT pg_tablespace_location(oid) AS path FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''`,
        );
        return {
          databaseBytes: BigInt(String(size?.['bytes'])),
          tablespaces: locations.map((row) => String(row['path'])),
        };
      },
    );
  } catch (error) {
    place.log.write('debug', 'operation.progress', `The size of ${source.name} could not be asked for.`, { error });
    return null;
  }
}

/**
 * Before a directory is emptied for a copy: what goes with that makes room. Where sizes cannot be found out it says
 * nothing.
 *
 * @throws {PghaError} PGHA_COPY_FAILED
 */
export async function refuseWithoutRoomOnceEmpty(place: Place, source: ServerAddress): Promise<void> {
  const facts = await lookAtSource(place, source);
  const freed = facts === null ? null : await freedByWipe(place);
  if (freed !== null) await refuseWithoutRoom(place, source, facts, freed, 'Nothing was removed.');
}

/** @param freed - bytes that are taken now, and will not be */
async function refuseWithoutRoom(
  place: Place,
  source: ServerAddress,
  facts: SourceFacts | null,
  freed: bigint,
  untouched: string,
): Promise<void> {
  // With tablespaces nobody knows here which part goes to which disk.
  if (facts === null || facts.tablespaces.length > 0) return;
  const free = await withLimit(place.clock, FILE_LIMIT, 'looking for free space', freeBytes(place.dataDir));
  const needed = facts.databaseBytes + ROOM_BESIDE;
  if (free === null || free + freed >= needed) return;
  const mb = (bytes: bigint): string => `${bytes / (1024n * 1024n)} MB`;
  throw failed(
    place,
    source,
    `it needs ${mb(needed)}, and ${place.dataDir} has room for ${mb(free + freed)}`,
    untouched,
  );
}

/**
 * Where the copy will put tablespaces, and nobody has anything yet. Only these may be emptied when it is interrupted: on
 * the same machine as the source the others hold the source's own files.
 */
async function tablespacesToFill(place: Place, locations: readonly string[]): Promise<string[]> {
  const mapped = new Map<string, string>();
  for (const option of extraOptions(place)) {
    const [, from, to] = /^--tablespace-mapping=([^=]+)=(.+)$/.exec(option) ?? [];
    if (from !== undefined && to !== undefined) mapped.set(from, to);
  }
  const fresh: string[] = [];
  for (const location of locations) {
    const target = mapped.get(location) ?? location;
    const content = await readdir(target).catch((error: unknown) => (isMissing(error) ? [] : null));
    if (content?.length === 0) fresh.push(target);
  }
  return fresh;
}

export { cancelled as copyCancelled, failed as copyFailed };

function failed(place: Place, source: ServerAddress, why: string, untouched: string, cause?: unknown): PghaError {
  const from = source.host === '' ? source.name : `${source.name} (${source.host}:${source.port})`;
  return new PghaError(
    'PGHA_COPY_FAILED',
    {
      happened: `Copying ${from} to ${place.dataDir} failed: ${why}.`,
      untouched,
      todo: 'The node tries again by itself. If it fails the same way, see to what it says.',
    },
    { cause },
  );
}

function cancelled(source: ServerAddress, untouched: string): PghaError {
  return new PghaError('PGHA_CANCELLED', {
    happened: `Copying from ${source.name} was cancelled.`,
    untouched,
    todo: 'Nothing to do: the next copy begins anew.',
  });
}
