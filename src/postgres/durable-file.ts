/**
 * Small files that must be whole or not there at all after a crash: configuration, signal files, markers, the
 * passfile. Written beside, synced, renamed, and the directory synced. Each call is bounded in time.
 */
import { constants } from 'node:fs';
import { chown, copyFile, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Millis, millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { CommandPlace } from './command.ts';
import { withLimit } from './time-limit.ts';

/** A sync waits for the disk behind everything else that is being written; beyond this the disk counts as hung. */
const WRITE_LIMIT = millis(10_000);

type Owner = Pick<CommandPlace, 'runAs'> & { readonly clock: Clock };

/** null when there is no such file. */
export async function readText(place: Owner, path: string): Promise<string | null> {
  return withLimit(
    place.clock,
    WRITE_LIMIT,
    `reading ${path}`,
    readFile(path, 'utf8').catch((error: unknown) => {
      if (isMissing(error)) return null;
      throw error;
    }),
  );
}

/** Replaces the file as a whole. */
export async function writeDurably(place: Owner, path: string, text: string | Uint8Array, mode = 0o600): Promise<void> {
  await withLimit(place.clock, WRITE_LIMIT, `writing ${path}`, replace(place, path, text, mode));
}

/** As `writeDurably`, but only when the content differs. @returns whether it did */
export async function writeIfDifferent(place: Owner, path: string, text: string, mode = 0o600): Promise<boolean> {
  if ((await readText(place, path)) === text) return false;
  await writeDurably(place, path, text, mode);
  return true;
}

/** @returns whether there was such a file */
export async function removeDurably(place: Owner, path: string): Promise<boolean> {
  return withLimit(
    place.clock,
    WRITE_LIMIT,
    `removing ${path}`,
    rm(path).then(
      async () => {
        await syncDirectory(dirname(path));
        return true;
      },
      (error: unknown) => {
        if (isMissing(error)) return false;
        throw error;
      },
    ),
  );
}

export async function renameDurably(place: Owner, from: string, to: string): Promise<void> {
  const both = async (): Promise<void> => {
    await rename(from, to);
    await syncDirectory(dirname(to));
  };
  await withLimit(place.clock, WRITE_LIMIT, `renaming ${from}`, both());
}

/**
 * The content is on the disk when it ends; its name only when the directory is synced, as `writeDurably` of another
 * file in it does.
 *
 * @param limit - for all of it: what is copied here may be large
 */
export async function copyDurably(place: Owner, from: string, to: string, limit: Millis): Promise<void> {
  const copy = async (): Promise<void> => {
    await copyFile(from, to);
    await own(place, to);
    await sync(to, constants.O_RDONLY);
  };
  await withLimit(place.clock, limit, `copying ${from}`, copy());
}

/** A directory that only its owner may enter. @returns whether it was made; its own name is not synced */
export async function makePrivateDirectory(place: Owner, path: string): Promise<boolean> {
  const make = async (): Promise<boolean> => {
    const made = await mkdir(path, { recursive: true, mode: 0o700 });
    if (made !== undefined) await own(place, path);
    return made !== undefined;
  };
  return withLimit(place.clock, WRITE_LIMIT, `making ${path}`, make());
}

/** The names in a directory are on the disk when it ends. */
export async function syncEntries(place: Owner, directory: string): Promise<void> {
  await withLimit(place.clock, WRITE_LIMIT, `syncing ${directory}`, syncDirectory(directory));
}

export const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');

export const errorCode = (error: unknown): string | null =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;

async function replace(place: Owner, path: string, text: string | Uint8Array, mode: number): Promise<void> {
  const beside = `${path}.pgha-new`;
  // Left by a crash, perhaps with other rights.
  await rm(beside, { force: true });
  const file = await open(beside, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode);
  try {
    await file.writeFile(text);
    if (place.runAs !== undefined) await file.chown(place.runAs.uid, place.runAs.gid);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await syncDirectory(dirname(path));
}

async function own(place: Owner, path: string): Promise<void> {
  if (place.runAs !== undefined) await chown(path, place.runAs.uid, place.runAs.gid);
}

const syncDirectory = (path: string): Promise<void> => sync(path, constants.O_RDONLY | constants.O_DIRECTORY);

async function sync(path: string, flags: number): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
