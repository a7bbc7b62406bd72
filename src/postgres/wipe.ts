/**
 * Empties a data directory that is to be made anew, and ends what an interrupted initdb, copy or rewind left running
 * there. Every refusal comes before the first file is touched. It decides nothing about whether the data are still
 * needed: its caller has done that.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { lstat, readdir, readFile, realpath, rm } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import type { SystemId } from '../core/local.ts';
import { laterBy, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { WipeOrder } from '../ports/postgres.ts';
import { type ControlData, readControlData } from './control-data.ts';
import { isMissing, removeDurably } from './durable-file.ts';
import { commandLine, endFamily, familyOf, living, type ProcessId, postmasterOf, signalProcess } from './family.ts';
import { takenBytes } from './free-space.ts';
import { keepAside } from './kept-files.ts';
import { leftOfCommand } from './known-command.ts';
import { clearMarker, type Marker, NAME_INSIDE, readMarker, setMarker } from './markers.ts';
import { namesDirectory, type Occupant, occupantsOf, programOf, type Where } from './occupants.ts';
import type { Place } from './place.ts';
import { FILE_LIMIT, TimeLimitError, withLimit } from './time-limit.ts';

/** For whoever writes there although a copy is done. */
const IN_USE_LIMIT = millis(10_000);
/** A hundred thousand files or more; of what takes longer the size is not worth knowing. */
const MEASURE_LIMIT = millis(5_000);

/** What the directory is before somebody makes a cluster in it. */
export type TargetState = 'absent' | 'empty' | 'half-made' | 'in use';

/**
 * Removes the content of the data directory, of its tablespaces and of a pg_wal that stands elsewhere; the directories
 * themselves stay, with their rights.
 *
 * @param lastLook - asked immediately before the first file goes; what it throws is thrown, and nothing was removed
 * @throws {PghaError} PGHA_DATA_DIRECTORY_LOCKED while a process works on it, PGHA_DATA_DIRECTORY_FOREIGN when it does
 *   not look like a data directory of ours, belongs to another cluster or could not be filled again,
 *   PGHA_FILES_NOT_KEPT; nothing was removed then
 */
export async function wipeDirectory(
  place: Place,
  lastLook: () => Promise<void>,
  { systemId, signal }: Pick<WipeOrder, 'systemId' | 'signal'>,
): Promise<void> {
  signal.throwIfAborted();
  const marker = await readMarker(place);
  await refuseForeign(place, isUnfinished(marker));
  await refuseMountRoot(place);
  if (systemId !== null) await refuseOtherCluster(place, systemId);
  if (marker !== null) await endLeftovers(place);
  await refuseWhileInUse(place, isUnfinished(marker));
  await keepAside(place);
  signal.throwIfAborted();
  await lastLook();
  await setMarker(place, marker?.work ?? 'copy', marker?.tablespaces ?? []);
  await empty(place, marker?.tablespaces ?? []);
  await clearMarker(place);
}

/** What is there, for those who make a cluster in it: only what our own marker names may be removed without asking. */
export async function targetState(place: Place): Promise<TargetState> {
  const marker = await readMarker(place);
  if (isUnfinished(marker)) return 'half-made';
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
  const politeUntil = laterBy(place.clock.now(), millis(2_000));
  const asked = new Set<number>();
  // Looked for anew each time: who was asked to end may have started another one before.
  for (let tools = toolsAt(place); tools.length > 0 && place.clock.now() < until; tools = toolsAt(place)) {
    const isPolite = place.clock.now() < politeUntil;
    for (const tool of tools)
      if (!isPolite || !asked.has(tool.pid)) signalProcess(tool, isPolite ? 'SIGTERM' : 'SIGKILL');
    for (const { pid } of tools) asked.add(pid);
    await place.clock.sleep(millis(50));
  }
  const family = familyOf(place);
  if (family.length > 0 && (marker?.work === 'initdb' || postmasterOf(family) === null)) {
    await endFamily(place, place.clock, until);
  }
}

/**
 * Before anything below the data directory is removed, overwritten or taken for finished. Nobody is ended here: a process
 * that only has files open there is not known to be ours.
 *
 * @param unfinished - the directory is one that nobody uses: more is held against a process then (occupants.ts)
 * @throws {PghaError} PGHA_DATA_DIRECTORY_LOCKED
 */
export async function refuseWhileInUse(place: Place, unfinished = false): Promise<void> {
  const known: Occupant[] = [...familyOf(place), ...toolsAt(place)].map((one) => ({ ...one, sign: 'works there' }));
  const found = known.length > 0 ? known : await occupantsOf(await whereItIs(place), unfinished);
  const first = found[0];
  if (first === undefined) return;
  const others = found.length === 1 ? '' : `, and ${found.length - 1} more do`;
  throw new PghaError('PGHA_DATA_DIRECTORY_LOCKED', {
    happened: `${place.dataDir} is in use: process ${first.pid} (${programOf(first.pid)}) ${first.sign}${others}.`,
    untouched: 'Nothing was removed or changed.',
    todo: 'Stop Postgres first. If nobody knows these processes, look at them with `ps` before you end them; pgha tries again.',
  });
}

/**
 * At the end of a copy, which may have taken hours: somebody who writes there for a moment (a log that came along is
 * rotated, say) is waited for.
 *
 * @throws {PghaError} PGHA_DATA_DIRECTORY_LOCKED
 */
export async function refuseWhileStillInUse(place: Place): Promise<void> {
  const until = laterBy(place.clock.now(), IN_USE_LIMIT);
  for (;;) {
    try {
      return await refuseWhileInUse(place);
    } catch (error) {
      if (!(error instanceof PghaError) || place.clock.now() >= until) throw error;
      await place.clock.sleep(millis(500));
    }
  }
}

async function whereItIs({ clock, dataDir }: Place): Promise<Where> {
  const looking = outsideDirectories(dataDir);
  const { tablespaces, major, wal } = await withLimit(
    clock,
    FILE_LIMIT,
    `looking for what belongs to ${dataDir}`,
    looking,
  );
  // Beside them may be what clusters of other major versions have there.
  const outside = tablespaces.map((directory) => join(directory, `PG_${major}_`));
  return { clock, dataDir, outside: wal === null ? outside : [...outside, `${wal}/`] };
}

/** A file system that was mounted there since is not what the marker tells of. */
const isUnfinished = (marker: Marker | null): boolean => marker !== null && marker.elsewhere === undefined;

/** In the environment of a command of the operator's that copies: the directory into which it does. */
export const COPIES_INTO = 'PGHA_COPIES_INTO';

/** Programs that make or change this data directory, whoever started them. /proc is memory: synchronous. */
function toolsAt(place: Place): ProcessId[] {
  const { dataDir } = place;
  const ours = living().filter(({ pid }) => isTool(pid, dataDir) || isOperatorsCopy(pid, dataDir));
  return [...ours, ...leftOfCommand(place).filter(({ pid }) => !ours.some((one) => one.pid === pid))];
}

function isTool(pid: number, dataDir: string): boolean {
  const args = commandLine(pid);
  return (
    /^(pg_basebackup|pg_rewind|initdb)/.test(nameOf(pid) ?? basename(args[0] ?? '')) && namesDirectory(args, dataDir)
  );
}

/** null: another user's, whose program is not shown. */
function nameOf(pid: number): string | null {
  try {
    return basename(readlinkSync(`/proc/${pid}/exe`));
  } catch {
    return null;
  }
}

/** Its children have the same environment, unless they choose not to. False also where that may not be read. */
function isOperatorsCopy(pid: number, dataDir: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${COPIES_INTO}=${dataDir}`);
  } catch {
    return false;
  }
}

async function refuseForeign(place: Place, marked: boolean): Promise<void> {
  const { dataDir } = place;
  const steps = dataDir.split(sep).filter((step) => step !== '');
  // A typing error in data_dir must not cost a system: `/`, `/var`, a home.
  if (steps.length < 2) throw notEmptied(place, 'it is at the top of the file system');
  if (`${resolve(place.runtimeDirectory)}/`.startsWith(`${dataDir}/`))
    throw notEmptied(place, 'it contains the runtime directory');
  const names = await content(place);
  if (names.length > 0 && !marked && !names.includes('PG_VERSION'))
    throw notEmptied(place, 'it holds files, and no PG_VERSION');
}

/**
 * initdb and pg_basebackup refuse a directory with lost+found in it, which is not ours to remove: once emptied, it
 * would stay without data.
 *
 * @throws {PghaError} PGHA_DATA_DIRECTORY_FOREIGN
 */
export async function refuseMountRoot(place: Place): Promise<void> {
  if (!(await content(place)).includes('lost+found')) return;
  throw notEmptied(
    place,
    'it is the root of a file system, and no copy is made beside the lost+found in it',
    'Put the data one level below the mount point and set postgresql.data_dir to that, or remove lost+found.',
  );
}

/** Whoever mounted the wrong volume wants it back. What has no pg_control that can be read is nobody's cluster. */
async function refuseOtherCluster(place: Place, expected: SystemId): Promise<void> {
  const found = await readControlData(place).catch((error: PghaError): Pick<ControlData, 'systemId'> | null => {
    if (error.cause instanceof TimeLimitError) throw error;
    return null;
  });
  if (found === null || found.systemId === expected) return;
  throw notEmptied(
    place,
    `its data are of another cluster (system identifier ${found.systemId}, and that of the leader is ${expected})`,
  );
}

async function content({ clock, dataDir }: Place): Promise<readonly string[]> {
  try {
    return await withLimit(clock, FILE_LIMIT, `looking into ${dataDir}`, readdir(dataDir));
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function notEmptied(
  { dataDir }: Place,
  why: string,
  todo = 'Check postgresql.data_dir. If the directory really is to be replaced, move its content away by hand.',
): PghaError {
  return new PghaError('PGHA_DATA_DIRECTORY_FOREIGN', {
    happened: `${dataDir} is not emptied: ${why}.`,
    untouched: 'Nothing was removed.',
    todo,
  });
}

/** How much room emptying makes on the file system of the data directory. null: that cannot be found out in good time. */
export async function freedByWipe({ clock, dataDir }: Place): Promise<bigint | null> {
  const looking = outsideDirectories(dataDir);
  const outside = await withLimit(clock, FILE_LIMIT, `looking for what belongs to ${dataDir}`, looking).catch(
    () => null,
  );
  if (outside === null) return null;
  const elsewhere = outside.wal === null ? outside.tablespaces : [...outside.tablespaces, outside.wal];
  return takenBytes(clock, [dataDir, ...elsewhere], MEASURE_LIMIT);
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
  // On the disk before anything else goes, from whatever file system.
  await removeDurably(place, join(dataDir, 'global', 'pg_control'));
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
    if (name !== 'lost+found' && name !== NAME_INSIDE) await rm(join(dataDir, name), { recursive: true, force: true });
  }
  await rm(join(dataDir, NAME_INSIDE), { force: true });
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
