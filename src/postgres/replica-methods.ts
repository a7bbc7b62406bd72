/**
 * Copies by the methods that the operator has listed (create_replica_methods): pg_basebackup, or a command of his own
 * such as a restore with pgBackRest, Barman or WAL-G. One after the other until one succeeds; what a command has made is
 * looked at, never believed. A directory that is not finished stays marked and is never started.
 */
import { join } from 'node:path';
import { BASEBACKUP, type CopyMethod } from '../config/schema.ts';
import { millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Progress, ServerAddress, ServerSettings, WipeOrder } from '../ports/postgres.ts';
import {
  copyCancelled,
  copyFailed,
  copyFrom,
  finishCopy,
  prepareTarget,
  refuseWithoutRoomOnceEmpty,
} from './basebackup.ts';
import { CommandFailure, lastLine } from './command.ts';
import { readControlData } from './control-data.ts';
import { makePrivateDirectory, readText } from './durable-file.ts';
import { readLineage } from './lineage.ts';
import { setMarker, whileFilling } from './markers.ts';
import { runMethodCommand } from './method-command.ts';
import { madeByVersion, type Place } from './place.ts';
import { connectionString, loginEnvironment } from './remote.ts';
import { passfilePath, writePassfile } from './server-config.ts';
import { syncData } from './sync-data.ts';
import { refuseWhileStillInUse, targetState, wipeDirectory } from './wipe.ts';

const LINEAGE_LIMIT = millis(5_000);

/**
 * Empties a data directory that a copy is to replace, unless there surely is no room for that copy then. How much room
 * a command of the operator's needs is not known here.
 *
 * @param lastLook - called immediately before the first file goes; what it throws is thrown, and nothing was removed
 * @throws {PghaError} PGHA_COPY_FAILED without room, or what `wipeDirectory` throws; nothing was removed then
 */
export async function emptyForCopy(place: Place, lastLook: () => Promise<void>, order: WipeOrder): Promise<void> {
  const { source } = order;
  if (source !== null && !isArchive(source) && methodsFor(place, source)[0]?.command === null)
    await refuseWithoutRoomOnceEmpty(place, source);
  await wipeDirectory(place, lastLook, order);
}

/**
 * @throws {PghaError} PGHA_COPY_FAILED when every method failed, with what each of them said, or PGHA_CANCELLED
 */
export async function createReplica(
  place: Place,
  source: ServerAddress,
  settings: ServerSettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const methods = methodsFor(place, source);
  const failures: string[] = [];
  let last: unknown = null;
  for (const method of methods) {
    try {
      if (method.command === null && isArchive(source)) throw noServerToCopyFrom(place, source);
      if (method.command === null) await copyFrom(place, source, settings, progress, signal);
      else await copyByCommand(place, { ...method, command: method.command }, source, settings, progress, signal);
      return;
    } catch (error) {
      if (signal.aborted || (error instanceof PghaError && error.code === 'PGHA_CANCELLED')) throw error;
      // With only one there is nothing to fall back to: it tells of itself. Nor may the next one write beside somebody.
      if (methods.length === 1 || isLocked(error)) throw error;
      last = error;
      const said = error instanceof PghaError ? error.text.happened : String(error);
      failures.push(`${method.name}: ${said}`);
      const next = methods[methods.indexOf(method) + 1];
      const then = next === undefined ? 'it was the last method' : `${next.name} is next`;
      place.log.write('warn', 'copy.method-failed', `copying with ${method.name} failed, ${then}: ${said}`, {
        method: method.name,
        error,
      });
      // What is not ours is not ours for the next method either.
      if ((await targetState(place)) === 'in use') throw error;
    }
  }
  throw copyFailed(
    place,
    source,
    `all methods failed. ${failures.join(' ')}`,
    'An unfinished copy is never started.',
    last,
  );
}

const isLocked = (error: unknown): boolean => error instanceof PghaError && error.code === 'PGHA_DATA_DIRECTORY_LOCKED';

const methodsFor = (place: Place, source: ServerAddress): readonly CopyMethod[] =>
  source.remote?.copyMethods == null
    ? place.config.postgresql.copyMethods
    : methodsNamed(place, source, source.remote.copyMethods);

/** Those that the settings of a standby cluster name, as this node's own file describes them. */
function methodsNamed(place: Place, source: ServerAddress, names: readonly string[]): readonly CopyMethod[] {
  return names.map((name) => {
    const method = place.config.postgresql.copyMethods.find((one) => one.name === name);
    if (method !== undefined) return method;
    if (name === BASEBACKUP.name) return BASEBACKUP;
    const why = `standby_cluster names ${name}, which does not stand in this node's create_replica_methods`;
    throw copyFailed(place, source, why, 'Nothing was changed.', null);
  });
}

async function copyByCommand(
  place: Place,
  method: CopyMethod & { readonly command: string },
  source: ServerAddress,
  settings: ServerSettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  await prepareTarget(place, source, progress, method.keepData);
  if (signal.aborted) throw copyCancelled(source, `${method.name} was not started.`);
  // An archive cannot be asked: what comes from it gives a new scope its identifier, or is held against the scope's.
  const expected = isArchive(source) ? null : await readLineage(place, source, LINEAGE_LIMIT);
  if (expected === null && !isArchive(source)) {
    const why = `${source.name} does not answer, and what ${method.name} brings could not be compared with it`;
    throw copyFailed(place, source, why, `${method.name} was not started.`, null);
  }
  await setMarker(place, 'copy');
  await makePrivateDirectory(place, place.dataDir);
  await writePassfile(place);
  progress(`copying with ${method.name}`, null);
  const passfile = passfilePath(place);
  const login = place.config.postgresql.authentication.replication;
  const reach = { passfile, version: place.version };
  const connect = isArchive(source)
    ? ''
    : connectionString(source, login, reach, { dbname: place.config.postgresql.database });
  const how = {
    own: [`--scope=${place.config.scope}`, '--role=replica', `--datadir=${place.dataDir}`, `--connstring=${connect}`],
    env: await loginEnvironment(place, login, passfile),
    what: `copying with ${method.name}`,
  };
  const result = await whileFilling(place, () => runMethodCommand(place, method, how, progress, signal));
  const unfinished = 'What it left is marked as unfinished and is never started.';
  if (result.endedBy === 'cancel') throw copyCancelled(source, unfinished);
  if (result.code !== 0) {
    const why =
      result.endedBy === 'limit'
        ? `${method.name} was ended after its timeout of ${method.timeout / 1000} s`
        : `${method.name} ended with ${result.code}: ${lastLine(result)}`;
    throw copyFailed(place, source, why, unfinished, new CommandFailure(method.name, result));
  }
  await refuseWhileStillInUse(place);
  const wrong = await whatIsWrong(place, expected?.systemId ?? null);
  if (wrong !== null)
    throw copyFailed(place, source, `${method.name} says that it is done, but ${wrong}`, unfinished, null);
  // pg_basebackup does that itself; what a command does is not known.
  await syncData(place, progress, signal).catch((cause: Error) => {
    if (signal.aborted) throw copyCancelled(source, unfinished);
    throw copyFailed(place, source, `${method.name} is done, but ${cause.message}`, unfinished, cause);
  });
  await finishCopy(place, source, settings);
  progress(`copied with ${method.name}`, 1);
}

/** A standby cluster that is given no server: there is nobody to ask, and nothing to stream from. */
function isArchive(source: ServerAddress): boolean {
  return source.remote !== undefined && source.remote.host === null;
}

function noServerToCopyFrom(place: Place, source: ServerAddress): PghaError {
  const why = `${BASEBACKUP.name} needs a server, and standby_cluster names none`;
  const todo = 'Nothing was changed. List a method that restores a backup in standby_cluster.create_replica_methods.';
  return copyFailed(place, source, why, todo, null);
}

/** What keeps the directory from being a copy of that cluster (null: of any); null: nothing does. */
async function whatIsWrong(place: Place, systemId: string | null): Promise<string | null> {
  const version = await madeByVersion(place);
  if (version === null) return `${place.dataDir} holds no data directory`;
  if (version !== place.version)
    return `its data are of PostgreSQL ${version}, and the programs here of ${place.version}`;
  try {
    const control = await readControlData(place);
    if (systemId !== null && control.systemId !== systemId)
      return `its data are of another cluster (system identifier ${control.systemId}, expected ${systemId})`;
  } catch (error) {
    return error instanceof PghaError ? error.text.happened : String(error);
  }
  const conf = await readText(place, join(place.dataDir, 'global', 'pg_filenode.map')).catch(() => null);
  return conf === null ? 'it is not complete: global/pg_filenode.map is missing' : null;
}
