/**
 * Empties a data directory that is to be made anew, and ends what an interrupted initdb, copy or rewind left running
 * there. Every refusal comes before the first file is touched. It decides nothing about whether the data are still
 * needed: its caller has done that.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { lstat, readdir, readFile, realpath, rm } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import { laterBy, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import { isMissing } from './durable-file.ts';
import {
  endFamily,
  type FamilyMember,
  familyOf,
  isAlive,
  type ProcessId,
  postmasterOf,
  processStat,
  signalProcess,
} from './family.ts';
import { keepAside } from './kept-files.ts';
import { clearMarker, readMarker, setMarker } from './markers.ts';
import type { Place } from './place.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';

/** What the directory is before somebody makes a cluster in it. */
export type TargetState = 'absent' | 'empty' | 'half-made' | 'in use';

/**
 * Removes the content of the data directory, of its tablespaces and of a pg_wal that stands elsewhere; the directories
 * themselves stay, with their rights.
 *
 * @param lastLook - called immediately before the first file goes; what it throws is thrown, and nothing was removed
 * @throws {PghaError} PGHA_DATA_DIRECTORY_LOCKED while a process works on it, PGHA_DATA_DIRECTORY_FOREIGN when it does
 *   not look like a data directory of ours, PGHA_FILES_NOT_KEPT; nothing was removed then
 */
export async function wipeDirectory(place: Place, lastLook: () => void): Promise<void> {
  const marker = await readMarker(place);
  if (marker !== null) await endLeftovers(place);
  refuseWhileInUse(place);
  await refuseForeign(place, marker !== null && marker.elsewhere === undefined);
  await keepAside(place);
  lastLook();
  await setMarker(place, marker?.work ?? 'copy', marker?.tablespaces ?? []);
  await empty(place, marker?.tablespaces ?? []);
  await clearMarker(place);
}

/** What is there, for those who make a cluster in it: only what our own marker names may be removed without asking. */
export async function targetState(place: Place): Promise<TargetState> {
  const marker = await readMarker(place);
  if (marker !== null && marker.elsewhere === undefined) return 'half-made';
  try {
    const names = await withLimit(place.clock, FILE_LIMIT, `looking into ${place.dataDir}`, readdir(place.dataDir));
    return names.length === 0 ? 'empty' : 'in use';
  } catch (error) {
    if (isMissing(error)) return 'absent';
    throw error;
  }
}

/**
 * Ends what an earlier daemon started here and did not live to see the end of: the programs themselves, pg_rewind's
 * single-user server, and the temporary server of a bootstrap. A server that somebody else started in a directory that
 * we call unfinished is left running; `refuseWhileInUse` then tells of it.
 */
export async function endLeftovers(place: Place): Promise<void> {
  const until = laterBy(place.clock.now(), millis(10_000));
  const marker = await readMarker(place);
  const tools = toolsAt(place.dataDir);
  for (const tool of tools) signalProcess(tool, 'SIGTERM');
  const politeUntil = laterBy(place.clock.now(), millis(2_000));
  while (tools.some(isAlive) && place.clock.now() < until) {
    if (place.clock.now() >= politeUntil) for (const tool of tools) signalProcess(tool, 'SIGKILL');
    await place.clock.sleep(millis(20));
  }
  const family = familyOf(place);
  if (family.length > 0 && (marker?.work === 'initdb' || postmasterOf(family) === null)) {
    await endFamily(place, place.clock, until);
  }
}

/** @throws {PghaError} PGHA_DATA_DIRECTORY_LOCKED */
export function refuseWhileInUse(place: Place): void {
  const found: readonly (FamilyMember | ProcessId)[] = [...familyOf(place), ...toolsAt(place.dataDir)];
  const first = found[0];
  if (first === undefined) return;
  throw new PghaError('PGHA_DATA_DIRECTORY_LOCKED', {
    happened: `${found.length} processes work on ${place.dataDir}, the first is ${first.pid}.`,
    untouched: 'Nothing was removed or changed.',
    todo: 'Stop Postgres first. If nobody knows these processes, look at them with `ps` before you end them.',
  });
}

/** In the environment of a command of the operator's that copies: the directory into which it does. */
export const COPIES_INTO = 'PGHA_COPIES_INTO';

/** Programs that make or change this data directory, whoever started them. /proc is memory: synchronous. */
function toolsAt(dataDir: string): ProcessId[] {
  const tools: ProcessId[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if (!isTool(entry, dataDir) && !isOperatorsCopy(entry, dataDir)) continue;
      const stat = processStat(Number(entry));
      if (stat !== null && isAlive(stat)) tools.push(stat);
    } catch {
      // Gone meanwhile, or another user's.
    }
  }
  return tools;
}

function isTool(pid: string, dataDir: string): boolean {
  if (!/^(pg_basebackup|pg_rewind|initdb)/.test(basename(readlinkSync(`/proc/${pid}/exe`)))) return false;
  const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  return args.some((arg) => arg === dataDir || arg.endsWith(`=${dataDir}`));
}

/** Its children have the same environment, unless they choose not to. */
function isOperatorsCopy(pid: string, dataDir: string): boolean {
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  return environment.includes(`${COPIES_INTO}=${dataDir}`);
}

async function refuseForeign(place: Place, marked: boolean): Promise<void> {
  const { dataDir } = place;
  const steps = dataDir.split(sep).filter((step) => step !== '');
  const refuse = (why: string): never => {
    throw new PghaError('PGHA_DATA_DIRECTORY_FOREIGN', {
      happened: `${dataDir} is not emptied: ${why}.`,
      untouched: 'Nothing was removed.',
      todo: 'Check postgresql.data_dir. If the directory really is to be replaced, move its content away by hand.',
    });
  };
  // A typing error in data_dir must not cost a system: `/`, `/var`, a home.
  if (steps.length < 2) refuse('it is at the top of the file system');
  if (`${resolve(place.runtimeDirectory)}/`.startsWith(`${dataDir}/`)) refuse('it contains the runtime directory');
  let names: string[];
  try {
    names = await withLimit(place.clock, FILE_LIMIT, `looking into ${dataDir}`, readdir(dataDir));
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  if (names.length > 0 && !marked && !names.includes('PG_VERSION')) refuse('it holds files, and no PG_VERSION');
}

/**
 * The content and what belongs to it outside. Takes as long as the file system needs for so many files. pg_control goes first: whatever is left when this is interrupted, no
 * Postgres starts on it.
 *
 * @param known - tablespace directories that an interrupted copy had begun to fill; no link leads to them yet
 */
export async function empty(place: Place, known: readonly string[]): Promise<void> {
  const { dataDir } = place;
  const outside = await outsideDirectories(dataDir);
  await rm(join(dataDir, 'global', 'pg_control'), { force: true });
  // Clusters of several major versions may share one location: what another one has in it is not ours.
  const majors = new Map(known.map((directory) => [directory, String(place.version)] as const));
  for (const directory of outside.tablespaces) if (outside.major !== null) majors.set(directory, outside.major);
  for (const [directory, major] of majors) {
    for (const name of await listing(directory)) {
      const [, whose] = /^PG_(\d+)_\d+$/.exec(name) ?? [];
      if (whose === major) await rm(join(directory, name), { recursive: true, force: true });
    }
  }
  if (outside.wal !== null) {
    for (const name of await listing(outside.wal)) {
      // Only what Postgres itself puts there.
      if (/^([0-9A-F]{24}|[0-9A-F]{8}\.history|archive_status|summaries|xlogtemp)/.test(name)) {
        await rm(join(outside.wal, name), { recursive: true, force: true });
      }
    }
  }
  for (const name of await listing(dataDir)) {
    // Belongs to the file system whose root this is.
    if (name !== 'lost+found') await rm(join(dataDir, name), { recursive: true, force: true });
  }
}

/**
 * Where links lead out of the data directory. A tablespace is followed only where it holds a subdirectory of this very
 * major version: any other directory is not what the link was made for.
 */
async function outsideDirectories(
  dataDir: string,
): Promise<{ tablespaces: string[]; major: string | null; wal: string | null }> {
  const major = await readFile(join(dataDir, 'PG_VERSION'), 'utf8').then(
    (text) => text.trim(),
    () => null,
  );
  const tablespaces: string[] = [];
  for (const name of await listing(join(dataDir, 'pg_tblspc'))) {
    const target = await linkTarget(join(dataDir, 'pg_tblspc', name));
    if (target === null || major === null) continue;
    if ((await listing(target)).some((entry) => entry.startsWith(`PG_${major}_`))) tablespaces.push(target);
  }
  return { tablespaces, major, wal: await linkTarget(join(dataDir, 'pg_wal')) };
}

async function linkTarget(path: string): Promise<string | null> {
  try {
    if (!(await lstat(path)).isSymbolicLink()) return null;
    return await realpath(path);
  } catch {
    return null;
  }
}

async function listing(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
