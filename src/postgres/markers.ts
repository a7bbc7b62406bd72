/**
 * The marker that says "this data directory is not finished": set before initdb, a copy, a rewind or a wipe touches
 * anything, cleared when the work is done and safe to start. It decides nothing; who finds one never starts Postgres
 * on that directory.
 *
 * It stands beside the data directory, not in it: pg_basebackup and initdb want an empty directory, pg_rewind removes
 * files that its source does not have, and a wipe removes everything. Where the parent directory cannot be written
 * (the data directory is the root of a mounted file system) it stands in the runtime directory, which survives a
 * crash of the daemon but not one of the machine; that is said in the log.
 */
import type { Stats } from 'node:fs';
import { lstat, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errorCode, isMissing, readText, removeDurably, writeDurably } from './durable-file.ts';
import type { Place } from './place.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';

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

/** Where the parent directory is not ours to write. */
const markerPathInRuntime = (place: MarkerPlace): string => join(place.runtimeDirectory, 'unfinished');

/**
 * null: no work is unfinished. A marker that cannot be read as one still is a marker: somebody of ours wrote it, and
 * the directory is treated like the most harmless reading of it, a copy that has to be made again.
 */
export async function readMarker(place: MarkerPlace): Promise<Marker | null> {
  const beside = await readText(place, markerPath(place));
  const inRuntime = beside === null ? await readText(place, markerPathInRuntime(place)) : null;
  if (beside === null && (inRuntime === null || isOfAnother(place, inRuntime))) return null;
  const text = beside ?? inRuntime ?? '';
  const marker = parseMarker(text);
  const moved = hasMoved(stoodIn(text), await standsIn(place), beside === null);
  return moved ? { ...marker, elsewhere: true } : marker;
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
    if (!['EACCES', 'EPERM', 'EROFS'].includes(errorCode(error) ?? '')) throw error;
    await writeDurably(place, markerPathInRuntime(place), text);
    place.log.write(
      'warn',
      'operation.progress',
      `${dirname(place.dataDir)} cannot be written: a reboot in the middle of this work leaves a directory that nobody recognizes as unfinished. Put the data directory one level below the mount point.`,
      { work, error },
    );
  }
}

export async function clearMarker(place: MarkerPlace): Promise<void> {
  await removeDurably(place, markerPath(place));
  const inRuntime = await readText(place, markerPathInRuntime(place));
  if (inRuntime !== null && !isOfAnother(place, inRuntime)) await removeDurably(place, markerPathInRuntime(place));
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
