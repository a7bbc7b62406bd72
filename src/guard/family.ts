/**
 * The family of Postgres processes of one data directory, as /proc shows it: who belongs to it, and how to end it for
 * good. Needs nothing but /proc, so that it works while the data disk hangs. It knows nothing about leadership.
 *
 * A family and not a pid, because killing the postmaster alone is not fencing: a backend that is busy goes on
 * committing for as long as it likes.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';

/** A process that cannot be mistaken for a later one with the same number. */
export interface ProcessId {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/PID/stat, as text. */
  readonly startTime: string;
}

/** Whom a deadline is for. */
export interface Guarded {
  readonly dataDirectory: string;
  /** As it was seen when the guard was armed. */
  readonly postmaster: ProcessId | null;
}

export interface ProcessStat extends ProcessId {
  readonly parent: number;
  /** One letter: `R`, `S`, `D`, `T` (stopped), `Z` (zombie), ... */
  readonly state: string;
}

/**
 * What /proc says of this number now; null when there is no such process. Zombies are shown, with their state.
 *
 * @throws when /proc can't be read
 */
export function processStat(pid: number): ProcessStat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command stands in parentheses and may contain spaces and parentheses itself.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [state, parent] = fields;
    const startTime = fields[19];
    if (state === undefined || parent === undefined || startTime === undefined) return null;
    return { pid, startTime, parent: Number(parent), state };
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

/** Anything else (no file descriptors left, say) must not read as "there is no such process". */
function isGone(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ESRCH';
}

/** A zombie has ended: it only waits for somebody to read its exit code, which an old pid 1 may do seconds later. */
export const hasEnded = (process: ProcessStat): boolean => process.state === 'Z' || process.state === 'X';

/** Whether exactly this process is still there; another one with the same number is not it, and a zombie is not. */
export function isAlive(id: ProcessId): boolean {
  const found = processStat(id.pid);
  return found !== null && found.startTime === id.startTime && !hasEnded(found);
}

/** Sends a signal to exactly this process. False when it is gone (or not ours to signal). */
export function signalProcess(id: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isAlive(id)) return false;
  try {
    return process.kill(id.pid, signal);
  } catch {
    return false;
  }
}

/** This very process. */
export function ownProcess(): ProcessId {
  const stat = processStat(process.pid);
  if (stat === null) throw new Error('/proc is not mounted: pgha cannot tell processes apart');
  return { pid: stat.pid, startTime: stat.startTime };
}

/**
 * All living processes of the Postgres on this data directory: postmaster, backends, workers, also orphans of a dead
 * postmaster and a single-user server.
 *
 * By working directory, which is the data directory for all of them, and by executable. An executable or a directory
 * that was replaced or removed meanwhile reads `... (deleted)`, and counts.
 *
 * @param dataDirectory - resolved: without symbolic links, as the kernel prints it
 * @throws when /proc can't be read: nobody must take that for an empty family
 */
export function familyOf(dataDirectory: string): readonly ProcessStat[] {
  const family: ProcessStat[] = [];
  for (const name of readdirSync('/proc')) {
    const first = name.charCodeAt(0);
    if (first < 0x30 || first > 0x39) continue;
    if (!worksIn(name, dataDirectory)) continue;
    const stat = processStat(Number(name));
    if (stat !== null && !hasEnded(stat)) family.push(stat);
  }
  return family;
}

/** Whether anything of what the guard was armed for is still there. @throws when /proc can't be read */
export function livesOn({ dataDirectory, postmaster }: Guarded): boolean {
  return familyOf(dataDirectory).length > 0 || (postmaster !== null && isAlive(postmaster));
}

/**
 * A postmaster and its children, wherever they work: the directory may have been moved or unmounted under them, and then
 * no path says whose they are.
 *
 * @throws when /proc can't be read
 */
function headedBy(postmaster: ProcessId): readonly ProcessStat[] {
  const head = processStat(postmaster.pid);
  if (head === null || head.startTime !== postmaster.startTime || hasEnded(head)) return [];
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && isPostgres(name))
    .flatMap((name) => processStat(Number(name)) ?? [])
    .filter((stat) => stat.parent === head.pid && !hasEnded(stat));
  return [head, ...children];
}

const worksIn = (pid: string, dataDirectory: string): boolean => {
  const cwd = linkOf(`/proc/${pid}/cwd`);
  return (cwd === dataDirectory || cwd === `${dataDirectory} (deleted)`) && isPostgres(pid);
};

const isPostgres = (pid: string): boolean => basename(linkOf(`/proc/${pid}/exe`) ?? '').startsWith('postgres');

/** null: there is no such process, or it is not ours. @throws when /proc can't be read */
function linkOf(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch (error) {
    // Of another user: not ours. Postgres runs as the owner of its data directory, which is our user.
    const code = (error as NodeJS.ErrnoException).code;
    if (isGone(error) || code === 'EACCES' || code === 'EPERM') return null;
    throw error;
  }
}

/** Those without a parent in the family: the postmaster, or, when it is dead, every orphan it left. */
export function heads(family: readonly ProcessStat[]): readonly ProcessStat[] {
  const pids = new Set(family.map((member) => member.pid));
  return family.filter((member) => !pids.has(member.parent));
}

/**
 * The postmaster that postmaster.pid names, if it is alive and works in this directory; null otherwise. Reads the data
 * disk: bound the wait. The guard itself never calls this.
 */
export async function postmasterOf(dataDirectory: string): Promise<ProcessStat | null> {
  let text: string;
  try {
    text = await readFile(`${dataDirectory}/postmaster.pid`, 'latin1');
  } catch {
    return null;
  }
  // A single-user server writes its number negated.
  const pid = Math.abs(Number.parseInt(text, 10));
  if (!Number.isSafeInteger(pid) || pid === 0 || !worksIn(String(pid), dataDirectory)) return null;
  const stat = processStat(pid);
  return stat === null || hasEnded(stat) ? null : stat;
}

export interface EndFamilyOptions {
  /** How long an immediate shutdown (SIGQUIT) may take before every process is killed. */
  readonly graceMs: number;
  /** Give up watching after this; for ever when absent. */
  readonly limitMs?: number;
  /** The postmaster as it was known before, in case its directory has another path by now, or none. */
  readonly postmaster?: ProcessId | null;
  /** Asked before every round: false ends it without another signal, since others have been found to be allowed. */
  readonly stillWanted?: () => boolean;
}

/**
 * Ends the family: SIGQUIT to its heads, after `graceMs` SIGKILL to everyone, repeated until it is *seen* to be empty.
 * A stopped postmaster ignores SIGQUIT while its backends go on committing: then everyone is killed at once.
 *
 * @returns whether the family was seen empty; false when `limitMs` ran out first (a process that hangs in the kernel
 *   can't be ended by anybody), or when it was no longer wanted
 */
export async function endFamily(dataDirectory: string, options: EndFamilyOptions): Promise<boolean> {
  const began = monotonicMs();
  const asked = new Set<string>();
  const postmaster = options.postmaster ?? null;
  let before: readonly ProcessStat[] = [];
  for (let round = 0; options.stillWanted?.() !== false; round++) {
    const family = membersOrNull(dataDirectory, postmaster, before);
    if (family !== null && family.length === 0) return true;
    before = family ?? before;
    const passed = monotonicMs() - began;
    if (options.limitMs !== undefined && passed >= options.limitMs) return false;
    if (family !== null) {
      const first = heads(family);
      const graceIsOver = passed >= options.graceMs || first.some((head) => head.state === 'T' || head.state === 't');
      for (const member of graceIsOver ? [...first, ...family] : first) {
        const key = `${member.pid}/${member.startTime}`;
        if (graceIsOver) signalProcess(member, 'SIGKILL');
        else if (!asked.has(key)) {
          asked.add(key);
          signalProcess(member, 'SIGQUIT');
        }
      }
    }
    await new Promise((resolve) => setTimeout(resolve, round < 60 ? 10 : 100));
  }
  return false;
}

/**
 * @param before - who belonged to them a moment ago: with their postmaster gone nothing else may say so
 * @returns null: /proc could not be read (no file descriptors left, ...). That is not "empty".
 */
function membersOrNull(
  dataDirectory: string,
  postmaster: ProcessId | null,
  before: readonly ProcessStat[],
): readonly ProcessStat[] | null {
  try {
    const found = new Map(familyOf(dataDirectory).map((member) => [member.pid, member]));
    if (postmaster !== null && !found.has(postmaster.pid))
      for (const member of headedBy(postmaster)) found.set(member.pid, member);
    for (const member of before) if (!found.has(member.pid) && isAlive(member)) found.set(member.pid, member);
    return [...found.values()];
  } catch {
    return null;
  }
}

/** CLOCK_MONOTONIC in milliseconds: the same base in every process of the machine. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;
