/**
 * What the files of the data directory say at one look: our marker, PG_VERSION, postmaster.pid, the signal files. Only
 * reads, and never more than one read at a time: on a hung disk a second one would take another thread of the few
 * that Node has, and soon all of them.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Millis } from '../core/time.ts';
import { asMember, isPostgresProcess } from './family.ts';
import { type Marker, readMarker } from './markers.ts';
import { type Place, resolvePath } from './place.ts';
import { withLimit } from './time-limit.ts';

/** postmaster.pid, line by line (src/include/utils/pidfile.h). */
export interface PidFile {
  /** Negative: a single-user server. */
  readonly pid: number;
  readonly dataDir: string;
  /** null until the postmaster listens. */
  readonly port: number | null;
  readonly socketDir: string | null;
  readonly listenAddress: string | null;
  readonly status: 'starting' | 'stopping' | 'ready' | 'standby' | null;
}

export interface DirectoryFacts {
  /** Where `data_dir` leads now: a file system that was mounted late, or a link that was changed, makes it another place. */
  readonly resolved: string;
  readonly marker: Marker | null;
  readonly content: 'absent' | 'empty' | 'foreign' | 'cluster' | { readonly unreadable: string };
  /** Major version in PG_VERSION; null where there is none. Versions before 10 read as 9. */
  readonly madeBy: number | null;
  readonly pidFile: PidFile | null;
  /** The process that `pidFile` names is a living Postgres of no path of ours, and may work in this directory all the same. */
  readonly isLocked: boolean;
  readonly standbySignal: boolean;
}

export class DataDirectory {
  readonly #place: Place;
  #reading: Promise<DirectoryFacts> | null = null;

  constructor(place: Place) {
    this.#place = place;
  }

  /** @throws {TimeLimitError} when the disk does not answer within `limit` */
  read(limit: Millis): Promise<DirectoryFacts> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
    });
    return withLimit(this.#place.clock, limit, `looking into ${this.#place.dataDir}`, this.#reading);
  }

  async #read(): Promise<DirectoryFacts> {
    const directory = this.#place.dataDir;
    const resolved = await resolvePath(this.#place.config.postgresql.dataDir);
    const marker = await readMarker(this.#place);
    const version = await text(join(directory, 'PG_VERSION'));
    if (typeof version !== 'string') {
      const content = await contentWithoutVersion(directory, version.code);
      return { resolved, marker, content, madeBy: null, pidFile: null, isLocked: false, standbySignal: false };
    }
    const written = await text(join(directory, 'postmaster.pid'));
    const pidFile = typeof written === 'string' ? parsePidFile(written) : null;
    const standbySignal = await text(join(directory, 'standby.signal'));
    return {
      resolved,
      marker,
      content: 'cluster',
      madeBy: Number.parseInt(version, 10) || null,
      pidFile,
      isLocked:
        pidFile !== null && asMember(pidFile.pid, this.#place) === null && (await mayWorkIn(pidFile.pid, directory)),
      standbySignal: typeof standbySignal === 'string',
    };
  }
}

/**
 * Whether this process is a Postgres whose directory this may be, under whatever path it sees it (from a container, say).
 * After a power loss the number in postmaster.pid may be another cluster's by now: that one works in a directory with
 * another number on its file system. Where that cannot be looked at, it may be this one.
 */
export async function mayWorkIn(pid: number, directory: string): Promise<boolean> {
  if (!isPostgresProcess(pid)) return false;
  try {
    const its = await stat(`/proc/${pid}/cwd`);
    const ours = await stat(directory);
    if (its.ino !== ours.ino) return false;
    // The roots of file systems have one number all of them; files in them that were written apart do not agree in this, too.
    const itsFile = await stat(`/proc/${pid}/cwd/postmaster.pid`);
    const ourFile = await stat(join(directory, 'postmaster.pid'));
    return itsFile.ino === ourFile.ino && itsFile.mtimeMs === ourFile.mtimeMs;
  } catch {
    return true;
  }
}

/** The content, or the code of the error. A file that is there and may not be read says so by its code. */
async function text(path: string): Promise<string | { readonly code: string }> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    return { code: (error as NodeJS.ErrnoException).code ?? 'unknown' };
  }
}

async function contentWithoutVersion(directory: string, why: string): Promise<DirectoryFacts['content']> {
  if (why !== 'ENOENT') return { unreadable: why };
  try {
    return (await readdir(directory)).length === 0 ? 'empty' : 'foreign';
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    return code === 'ENOENT' ? 'absent' : { unreadable: code };
  }
}

/** null: the file is not (yet) what a postmaster writes. */
export function parsePidFile(content: string): PidFile | null {
  const lines = content.split('\n');
  const pid = Number(lines[0]);
  const dataDir = lines[1];
  if (!Number.isInteger(pid) || pid === 0 || dataDir === undefined) return null;
  const port = Number(lines[3]);
  const status = lines[7]?.trim();
  return {
    pid,
    dataDir,
    port: Number.isInteger(port) && port > 0 ? port : null,
    socketDir: lines[4]?.trim() || null,
    listenAddress: lines[5]?.trim() || null,
    status:
      status === 'starting' || status === 'stopping' || status === 'ready' || status === 'standby' ? status : null,
  };
}
