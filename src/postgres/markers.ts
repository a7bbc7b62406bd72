/**
 * The marker that says "this data directory is not finished": set before initdb, a copy, a rewind or a wipe touches
 * anything, cleared when the work is done and safe to start. It decides nothing; who finds one never starts Postgres
 * on that directory.
 *
 * It stands beside the data directory, not in it: pg_basebackup and initdb want an empty directory, pg_rewind removes
 * files that its source does not have, and a wipe removes everything. Where the parent directory cannot be written
 * (the data directory is the root of a mounted file system) it stands in the runtime directory, which survives a
 * crash of the daemon but not one of the machine, and as soon as the directory is no longer empty in there, too. A
 * rewind is not begun then: it would remove that one before its work is on the disk.
 */
import type { Stats } from 'node:fs';
import { access, constants, lstat, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { millis } from '../core/time.ts';
import { errorCode, isMissing, readText, removeDurably, writeDurably } from './durable-file.ts';
import type { Place } from './place.ts';
import { askOnce, FILE_LIMIT, withLimit } from './time-limit.ts';

/** How often a directory that is being filled is looked at: until it has the marker, and whether it still has it. */
const MARK_SOON = millis(50);
const MARK_AGAIN = millis(1_000);

export type UnfinishedWork = 'initdb' | 'copy' | 'rewind';

export interface Marker {
  readonly work: UnfinishedWork;
  /** For people, as an ISO timestamp. */
  readonly since: string;
  /** Directories outside the data directory that the work began to fill: tablespaces, by their resolved path. */
  readonly tablespaces: readonly string[];
  /**
   * The work was begun under this path, and what stands there now was mounted or linked there since: it is neither
   * unfinished nor known to be whole, and is left alone.
   */
  readonly elsewhere?: true;
}

/** What these functions need of a place. */
export type MarkerPlace = Pick<Place, 'dataDir' | 'runtimeDirectory' | 'clock' | 'log'>;

/** Beside the data directory. */
export const markerPath = (place: MarkerPlace): string =>
  join(dirname(place.dataDir), `${basename(place.dataDir)}.pgha-unfinished`);

/** In the data directory. */
export const NAME_INSIDE = 'pgha-unfinished';
const markerPathInside = (place: MarkerPlace): string => join(place.dataDir, NAME_INSIDE);

/** Where the parent directory is not ours to write. */
const markerPathInRuntime = (place: MarkerPlace): string => join(place.runtimeDirectory, 'unfinished');

/**
 * null: no work is unfinished. A marker that cannot be read as one still is a marker: somebody of ours wrote it, and
 * the directory is treated like the most harmless reading of it, a copy that has to be made again.
 */
export async function readMarker(place: MarkerPlace): Promise<Marker | null> {
  const beside = await readText(place, markerPath(place));
  const inside = beside === null ? await readInside(place) : null;
  // It goes with the data that it tells of, wherever they are mounted.
  if (inside !== null) return parseMarker(inside);
  const inRuntime = beside === null ? await readText(place, markerPathInRuntime(place)) : null;
  if (beside === null && (inRuntime === null || isOfAnother(place, inRuntime))) return null;
  const text = beside ?? inRuntime ?? '';
  const marker = parseMarker(text);
  const moved = hasMoved(stoodIn(text), await standsIn(place), beside === null);
  return moved ? { ...marker, elsewhere: true } : marker;
}

/** A directory that may not be read is told of by whoever wants to use it. */
const readInside = (place: MarkerPlace): Promise<string | null> =>
  readText(place, markerPathInside(place)).catch((error: unknown) => {
    if (isDenied(error)) return null;
    throw error;
  });

const isDenied = (error: unknown): boolean => ['EACCES', 'EPERM', 'EROFS'].includes(errorCode(error) ?? '');

/** The directory in which the marker cannot be written, for want of rights; null: it can. */
export async function unwritableParent({ clock, dataDir }: MarkerPlace): Promise<string | null> {
  const parent = dirname(dataDir);
  const asking = access(parent, constants.W_OK | constants.X_OK).then(
    () => null,
    (error: unknown) => (isDenied(error) ? parent : null),
  );
  return withLimit(clock, FILE_LIMIT, `looking at ${parent}`, asking);
}

/** Where a data directory stands. Inode numbers stay over a reboot, and those of devices do not. */
interface Standing {
  /** Inode of its parent directory: another one once a file system was mounted above it. */
  readonly parent: string | null;
  /** A file system is mounted on it, or it is a link: the resolved path of a directory that is there is none. */
  readonly mounted: boolean;
}

async function standsIn({ clock, dataDir }: MarkerPlace): Promise<Standing> {
  const looked = Promise.all([ifThere(stat(dirname(dataDir))), ifThere(lstat(dataDir))]);
  const [above, own] = await withLimit(clock, FILE_LIMIT, `looking at where ${dataDir} stands`, looked);
  if (above === null) return { parent: null, mounted: false };
  return { parent: String(above.ino), mounted: own !== null && (own.isSymbolicLink() || own.dev !== above.dev) };
}

const ifThere = (looked: Promise<Stats>): Promise<Stats | null> =>
  looked.catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });

/** As it was when the work began. null: half a marker, or one of a version that did not write it, does not say. */
function stoodIn(text: string): Standing | null {
  try {
    const { parent, mounted } = JSON.parse(text) as Record<string, unknown>;
    return typeof parent === 'string' ? { parent, mounted: mounted === true } : null;
  } catch {
    return null;
  }
}

/** @param inRuntime - a marker beside the directory goes with the file system that both are on */
function hasMoved(then: Standing | null, now: Standing, inRuntime: boolean): boolean {
  if (then === null) return false;
  return (now.mounted && !then.mounted) || (inRuntime && then.parent !== now.parent);
}

/**
 * The runtime directory is not bound to one data directory: where `data_dir` was changed after an interrupted copy, the
 * marker found there must not make the directory that is configured now one that may be emptied.
 */
function isOfAnother(place: MarkerPlace, text: string): boolean {
  try {
    const { data_directory: directory } = JSON.parse(text) as Record<string, unknown>;
    return typeof directory === 'string' && directory !== place.dataDir;
  } catch {
    return false; // half a marker is a marker
  }
}

/** @throws when it can be written neither beside the directory nor in the runtime directory; a rewind's only beside it */
export async function setMarker(
  place: MarkerPlace,
  work: UnfinishedWork,
  tablespaces: readonly string[] = [],
): Promise<void> {
  const since = new Date(place.clock.wall()).toISOString();
  const standing = await standsIn(place);
  const text = `${JSON.stringify({ work, since, tablespaces, data_directory: place.dataDir, ...standing })}\n`;
  try {
    await writeDurably(place, markerPath(place), text);
  } catch (error) {
    if (!isDenied(error) || work === 'rewind') throw error;
    await writeDurably(place, markerPathInRuntime(place), text);
    // Not on a full disk: emptying is what helps it, and begins with pg_control.
    await markInside(place, text).catch(() => false);
  }
}

/**
 * While a program fills the directory, which it wants to find empty. It writes pg_control at its end, as pg_basebackup
 * does, or it takes longer than this needs to see its first file: until the marker is in there, no power loss leaves a
 * directory that looks whole. A command of the operator's may remove what it does not know; then it is put back.
 */
export async function whileFilling<T>(place: MarkerPlace, fill: () => Promise<T>): Promise<T> {
  const beside = await readText(place, markerPath(place));
  const text = beside === null ? await readText(place, markerPathInRuntime(place)) : null;
  if (text === null || isOfAnother(place, text)) return fill();
  const ended = new AbortController();
  const marking = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      // A disk that is full or hangs fails the program, too.
      const isThere = await markInside(place, text).catch(() => false);
      await place.clock.sleep(isThere ? MARK_AGAIN : MARK_SOON, ended.signal);
    }
  };
  const marked = marking();
  let filled: T;
  try {
    filled = await fill();
  } finally {
    ended.abort();
    await marked;
  }
  // What comes next, a sync perhaps, is to find it marked.
  await markInside(place, text);
  return filled;
}

/** @returns whether it is there: not in a directory that is still empty */
async function markInside(place: MarkerPlace, text: string): Promise<boolean> {
  const { dataDir, clock } = place;
  const listing = askOnce(`list ${dataDir}`, () => readdir(dataDir));
  const looked = withLimit(clock, FILE_LIMIT, `looking into ${dataDir}`, listing);
  const names = await looked.catch((error: unknown): readonly string[] => {
    if (isMissing(error)) return [];
    throw error;
  });
  if (names.includes(NAME_INSIDE)) return true;
  if (names.length === 0) return false;
  await writeDurably(place, markerPathInside(place), text);
  return true;
}

export async function clearMarker(place: MarkerPlace): Promise<void> {
  await removeDurably(place, markerPath(place));
  const inRuntime = await readText(place, markerPathInRuntime(place));
  if (inRuntime !== null && !isOfAnother(place, inRuntime)) await removeDurably(place, markerPathInRuntime(place));
  // Last: it alone survives a power loss.
  if ((await readInside(place)) !== null) await removeDurably(place, markerPathInside(place));
}

function parseMarker(text: string): Marker {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) {
      const { work, since, tablespaces } = value as Record<string, unknown>;
      return {
        work: work === 'initdb' || work === 'rewind' ? work : 'copy',
        since: typeof since === 'string' ? since : 'unknown',
        tablespaces: Array.isArray(tablespaces)
          ? tablespaces.filter((path): path is string => typeof path === 'string')
          : [],
      };
    }
  } catch {
    // Fall through: half a marker is a marker.
  }
  return { work: 'copy', since: 'unknown', tablespaces: [] };
}
