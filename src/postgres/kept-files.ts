/**
 * Files of the operator's own in the data directory (`postgresql.keep_files`) that are to survive a copy or a rewind: a
 * list of settings that is included, a certificate, a script. They are copied aside before anything is removed, and back
 * once the new data are there, however many tries lie between. Names were checked by the configuration; links are never
 * followed, so that nothing outside of the data directory is read or written.
 */
import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { chmod, lstat, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import { errorCode, isMissing, makePrivateDirectory, writeDurably } from './durable-file.ts';
import { readMarker } from './markers.ts';
import { madeByVersion, type Place } from './place.ts';
import { withLimit } from './time-limit.ts';

const LIMIT = millis(30_000);
/** What is larger is no file of settings. */
const MOST_BYTES = 64 * 1024 * 1024;

/** Beside the data directory, for the reasons of the marker (markers.ts). */
const beside = ({ dataDir }: Place): string => join(dirname(dataDir), `${basename(dataDir)}.pgha-kept`);

/** Where the parent directory is not ours to write; named after the data directory, which it is not bound to otherwise. */
const inRuntime = ({ dataDir, runtimeDirectory }: Place): string =>
  join(runtimeDirectory, `kept-${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}`);

/**
 * Before a data directory is emptied or rewound. What an unfinished one holds under these names came from another node,
 * and what was set aside before it became so still stands there.
 *
 * @throws {PghaError} PGHA_FILES_NOT_KEPT; nothing in the data directory was touched
 */
export async function keepAside(place: Place): Promise<void> {
  const names = place.config.postgresql.keepFiles;
  if (names.length === 0) return;
  const marker = await readMarker(place);
  if ((marker !== null && marker.elsewhere === undefined) || (await madeByVersion(place)) === null) return;
  try {
    await withLimit(place.clock, LIMIT, 'removing what was kept before', removeAside(place));
    for (const name of names) await setAside(place, name);
  } catch (error) {
    throw notKept(place, error instanceof Error ? error.message : String(error), error);
  }
}

/** Before a directory may be taken for finished. @throws when they cannot be written: it is not finished then */
export async function putBack(place: Place): Promise<void> {
  for (const name of place.config.postgresql.keepFiles) {
    const from = await keptAt(place, name);
    if (from === null) continue;
    const wrong = await obstacle(place, name);
    if (wrong === null) await copy(place, from, join(place.dataDir, name));
    else
      place.log.write(
        'error',
        'action.failed',
        `${name} of postgresql.keep_files was not put back: ${wrong}; it is ${from}`,
        {
          action: 'keep-files',
        },
      );
  }
}

/** Once the directory is finished. What could not be put back stays. */
export async function forgetKept(place: Place): Promise<void> {
  const { keepFiles: names } = place.config.postgresql;
  for (const name of names) {
    if ((await keptAt(place, name)) !== null && (await obstacle(place, name)) !== null) return;
  }
  if (names.length > 0) await withLimit(place.clock, LIMIT, 'removing what was kept', removeAside(place));
}

async function setAside(place: Place, name: string): Promise<void> {
  const path = join(place.dataDir, name);
  const found = await obstacle(place, name);
  const stats = found === null ? await statsOf(path) : null;
  if (found === null && stats === null) return;
  if (stats === null || !stats.isFile()) {
    const why = found ?? 'it is no plain file';
    place.log.write('warn', 'action.failed', `${name} of postgresql.keep_files is not kept: ${why}`, {
      action: 'keep-files',
    });
    return;
  }
  if (stats.size > MOST_BYTES) throw new Error(`${name} has ${stats.size} bytes, and ${MOST_BYTES} is the most`);
  try {
    await copy(place, path, join(beside(place), name));
  } catch (error) {
    if (!['EACCES', 'EPERM', 'EROFS'].includes(errorCode(error) ?? '')) throw error;
    await copy(place, path, join(inRuntime(place), name));
  }
}

/** What stands in the way to a name: a link or a file where a directory should be, and so the way out; null: nothing. */
async function obstacle({ dataDir, clock }: Place, name: string): Promise<string | null> {
  const look = async (): Promise<string | null> => {
    let path = dataDir;
    for (const part of name.split('/').slice(0, -1)) {
      path = join(path, part);
      const stats = await statsOf(path);
      if (stats === null) return null;
      if (!stats.isDirectory()) return `${path} is no directory`;
    }
    const stats = await statsOf(join(dataDir, name));
    return stats?.isDirectory() === true ? `${join(dataDir, name)} is a directory` : null;
  };
  return withLimit(clock, LIMIT, `looking for ${name}`, look());
}

async function keptAt(place: Place, name: string): Promise<string | null> {
  for (const aside of [beside(place), inRuntime(place)]) {
    const path = join(aside, name);
    if ((await withLimit(place.clock, LIMIT, `looking at ${path}`, statsOf(path)))?.isFile() === true) return path;
  }
  return null;
}

/** With its rights; whoever reads it meanwhile sees the old or the new one. */
async function copy(place: Place, from: string, to: string): Promise<void> {
  const { clock } = place;
  const { mode } = await withLimit(clock, LIMIT, `looking at ${from}`, lstat(from));
  const content = await withLimit(clock, LIMIT, `reading ${from}`, readFile(from));
  await makePrivateDirectory(place, dirname(to));
  await writeDurably(place, to, content);
  await withLimit(clock, LIMIT, `rights of ${to}`, chmod(to, mode & 0o777));
}

async function statsOf(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

async function removeAside(place: Place): Promise<void> {
  for (const aside of [beside(place), inRuntime(place)]) await rm(aside, { recursive: true, force: true });
}

function notKept(place: Place, why: string, cause: unknown): PghaError {
  return new PghaError(
    'PGHA_FILES_NOT_KEPT',
    {
      happened: `A file of postgresql.keep_files could not be kept aside: ${why}.`,
      untouched: `${place.dataDir} was not changed.`,
      todo: 'Make room or correct the list; the node tries again by itself.',
    },
    { cause },
  );
}
