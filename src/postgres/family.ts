/**
 * The processes of one Postgres, read from /proc: the postmaster and all its children. Fencing counts when this
 * family is *seen* to be empty, because children of a dead postmaster go on committing for seconds.
 *
 * /proc is memory, so these reads are synchronous; nothing here touches a disk. It decides nothing: who is to be
 * ended, and when, is the caller's matter.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { type Instant, laterBy, type Millis, millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';

/** A process, told apart from a later one that got the same number. */
export interface ProcessId {
  readonly pid: number;
  /** Start time in clock ticks since boot, as /proc has it. */
  readonly startTicks: string;
}

export interface FamilyMember extends ProcessId {
  readonly parent: number;
}

export interface ProcessStat extends FamilyMember {
  /** One letter; Z is a zombie: dead, not yet reaped. */
  readonly state: string;
  /** Its process group, and its session. */
  readonly group: number;
  readonly session: number;
  /** Somebody sits before it. */
  readonly hasTerminal: boolean;
}

/** Between SIGQUIT and SIGKILL. A healthy Postgres under load is gone 23 ms after SIGQUIT. */
export const QUIT_GRACE: Millis = millis(300);

/** How often a stop looks whether the processes are gone. */
const LOOK_EVERY: Millis = millis(5);

/** Reads the text of /proc/PID/stat. The program's name is in parentheses and may hold anything, also parentheses. */
export function parseStat(pid: number, text: string): ProcessStat | null {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent, group, session, terminal] = fields;
  const startTicks = fields[19];
  if (state === undefined || parent === undefined || startTicks === undefined) return null;
  return {
    pid,
    state,
    parent: Number(parent),
    startTicks,
    group: Number(group),
    session: Number(session),
    hasTerminal: Number(terminal) !== 0,
  };
}

/**
 * null: there is no such process.
 *
 * @throws when /proc cannot be read (no file descriptors left, say): nobody must take that for a process that is gone
 */
export function processStat(pid: number): ProcessStat | null {
  try {
    return parseStat(pid, readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH');
}

/** Zombies are dead: an init that reaps late keeps them visible for more than a second. */
const isLiving = ({ state }: ProcessStat): boolean => state !== 'Z' && state !== 'X';

export function isAlive(process: ProcessId): boolean {
  const stat = processStat(process.pid);
  return stat !== null && isLiving(stat) && stat.startTicks === process.startTicks;
}

/** All processes that live, of whichever user, as far as /proc shows them: mounted with hidepid it shows our own alone. */
export function living(): ProcessStat[] {
  return processes().flatMap((pid) => {
    try {
      const stat = processStat(pid);
      return stat !== null && isLiving(stat) ? [stat] : [];
    } catch (error) {
      if (isHidden(error)) return [];
      throw error;
    }
  });
}

const isHidden = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'EPERM' || error.code === 'EACCES');

/** Whether a process of this group lives, also one that belongs to another user. */
export function groupLives(group: number): boolean {
  try {
    process.kill(-group, 0);
  } catch (error) {
    return !isGone(error);
  }
  return living().some((stat) => stat.group === group);
}

/** Whose family: where it works. */
export interface Home {
  /** Resolved: /proc shows the working directory with all links followed. */
  readonly dataDir: string;
  /**
   * The postmaster that was seen to work there, while it lives. The directory may have been moved or unmounted under it
   * since: then neither its own path nor that of its children says whose they are, and they commit all the same.
   */
  readonly postmaster?: () => ProcessId | null;
}

export function familyOf(home: Home): FamilyMember[] {
  const family: FamilyMember[] = [];
  for (const pid of processes()) {
    const member = worksAt(pid, home.dataDir);
    if (member !== null) family.push(member);
  }
  const known = home.postmaster?.() ?? null;
  return known === null || family.some(({ pid }) => pid === known.pid) ? family : [...family, ...headedBy(known)];
}

const processes = (): number[] =>
  readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number);

/** A postmaster and its children, wherever they work. */
function headedBy(postmaster: ProcessId): FamilyMember[] {
  if (!isAlive(postmaster)) return [];
  const all = processes().flatMap((pid) => (isServerProgram(pid) ? (asLiving(pid) ?? []) : []));
  return all.filter(({ pid, parent }) => pid === postmaster.pid || parent === postmaster.pid);
}

/** null: not a living process of this family. */
export function asMember(pid: number, home: Home): FamilyMember | null {
  const there = worksAt(pid, home.dataDir);
  const known = there === null ? (home.postmaster?.() ?? null) : null;
  return known === null ? there : (headedBy(known).find((member) => member.pid === pid) ?? null);
}

/** Where a process works, if that is known and is not `dataDir`; it need not be a Postgres. */
export function worksElsewhere(pid: number, dataDir: string): string | null {
  try {
    const workingDirectory = readlinkSync(`/proc/${pid}/cwd`);
    return workingDirectory === dataDir || workingDirectory === `${dataDir} (deleted)` ? null : workingDirectory;
  } catch {
    return null;
  }
}

/**
 * What the process that replays WAL says that it does, and its state, one letter as in proc(5).
 *
 * @returns null: there is none
 */
export function startupProcess(home: Home): { readonly title: string; readonly state: string } | null {
  for (const { pid } of familyOf(home)) {
    try {
      const title = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0+$/, '');
      const stat = /^postgres: (?:.*: )?startup\b/.test(title) ? processStat(pid) : null;
      if (stat !== null) return { title, state: stat.state };
    } catch {
      // It has just ended.
    }
  }
  return null;
}

function worksAt(pid: number, dataDir: string): FamilyMember | null {
  try {
    // A directory that was removed under a running server ends in " (deleted)" here; the server goes on committing.
    const workingDirectory = readlinkSync(`/proc/${pid}/cwd`);
    if (workingDirectory !== dataDir && workingDirectory !== `${dataDir} (deleted)`) return null;
  } catch {
    return null;
  }
  return isServerProgram(pid) ? asLiving(pid) : null;
}

function isServerProgram(pid: number): boolean {
  try {
    // After a package upgrade the name ends in " (deleted)".
    return basename(readlinkSync(`/proc/${pid}/exe`)).startsWith('postgres');
  } catch {
    return false;
  }
}

function asLiving(pid: number): FamilyMember | null {
  const stat = processStat(pid);
  if (stat === null || !isLiving(stat)) return null;
  return { pid, parent: stat.parent, startTicks: stat.startTicks };
}

/** Is this a living Postgres process of whatever data directory? */
export const isPostgresProcess = (pid: number): boolean => isServerProgram(pid) && asLiving(pid) !== null;

/**
 * The postmaster of the family, also when postmaster.pid is not written yet or was removed: the one whose parent is
 * none of them and whose title is still its command line. Children title themselves `postgres: ...`, and so do orphans.
 */
export function postmasterOf(family: readonly FamilyMember[]): FamilyMember | null {
  const pids = new Set(family.map((member) => member.pid));
  for (const member of family) {
    if (!pids.has(member.parent) && isServerCommand(commandLine(member.pid))) return member;
  }
  return null;
}

/** A server that listens, as against a child and against initdb's and pg_rewind's single-user runs. */
export function isServerCommand(args: readonly string[]): boolean {
  const program = args[0] ?? '';
  return (
    program !== '' && !program.startsWith('postgres: ') && !args.some((arg) => /^--(single|boot|check)$/.test(arg))
  );
}

/** Exactly this process is there, and is a postmaster, of whatever directory. */
export const isLivingServer = (id: ProcessId): boolean =>
  isAlive(id) && isServerProgram(id.pid) && isServerCommand(commandLine(id.pid));

/** Which everybody may read of everybody's processes. Empty: it is gone, or one of the kernel's. */
export function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** False: it was gone already (or has given its number to somebody else). */
export function signalProcess(target: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/**
 * Waits until the family is seen empty.
 *
 * @returns false when `until` came first, or when `stopWaiting` said so
 */
export async function familyGone(
  home: Home,
  clock: Clock,
  until: Instant,
  stopWaiting: () => boolean = () => false,
): Promise<boolean> {
  let known = familyOf(home);
  for (;;) {
    // Looking at the ones known is cheap; only when all of them are gone is /proc searched for later ones.
    if (!known.some(isAlive)) known = familyOf(home);
    if (known.length === 0) return true;
    if (clock.now() >= until || stopWaiting()) return false;
    await clock.sleep(LOOK_EVERY);
  }
}

/**
 * Ends the whole family: SIGQUIT, and SIGKILL for whatever is still there after {@link QUIT_GRACE}. A stopped
 * (SIGSTOP) postmaster ignores the first and dies of the second.
 *
 * @returns false when processes are still there at `until`: they hang in the kernel
 */
export async function endFamily(home: Home, clock: Clock, until: Instant): Promise<boolean> {
  const family = familyOf(home);
  const postmaster = postmasterOf(family);
  // The postmaster passes it on to its children; without one each has to be told.
  for (const member of postmaster === null ? family : [postmaster]) signalProcess(member, 'SIGQUIT');
  if (await familyGone(home, clock, laterBy(clock.now(), QUIT_GRACE))) return true;
  for (;;) {
    // Where their postmaster is gone, and works elsewhere, only having seen them before tells whose they are.
    const found = familyOf(home);
    const left = [...found, ...family.filter((one) => isAlive(one) && !found.some(({ pid }) => pid === one.pid))];
    if (left.length === 0) return true;
    for (const member of left) signalProcess(member, 'SIGKILL');
    if (clock.now() >= until) return false;
    await clock.sleep(LOOK_EVERY);
  }
}

/**
 * Tells of the death of a postmaster: /proc is asked every 100 ms, and at once when somebody has a reason to ask
 * (an idle connection that ended). Asleep while no postmaster is known.
 */
export class DeathWatch {
  readonly #clock: Clock;
  readonly #died: () => void;
  readonly #met: (postmaster: ProcessId) => void;
  #postmaster: ProcessId | null = null;
  #cancel: (() => void) | null = null;

  /** @param met - told of each postmaster that is watched from now on */
  constructor(clock: Clock, died: () => void, met: (postmaster: ProcessId) => void = () => undefined) {
    this.#clock = clock;
    this.#died = died;
    this.#met = met;
  }

  /** The postmaster known now, if it still lives. */
  get living(): ProcessId | null {
    this.#look();
    return this.#postmaster;
  }

  watch(postmaster: ProcessId): void {
    if (this.#postmaster?.pid === postmaster.pid && this.#postmaster.startTicks === postmaster.startTicks) return;
    this.#postmaster = { pid: postmaster.pid, startTicks: postmaster.startTicks };
    this.#lookAgainIn(WATCH_EVERY);
    this.#met(this.#postmaster);
  }

  /** A connection to it ended: look now and a little later (children may notice a moment before it is gone). */
  suspect(): void {
    this.#look();
    if (this.#postmaster !== null) this.#lookAgainIn(SUSPECT_AGAIN);
  }

  #look(): void {
    if (this.#postmaster === null || livesAsFarAsKnown(this.#postmaster)) return;
    this.#postmaster = null;
    this.#cancel?.();
    this.#cancel = null;
    this.#died();
  }

  #lookAgainIn(length: Millis): void {
    this.#cancel?.();
    this.#cancel = this.#clock.timer(length, () => {
      this.#cancel = null;
      this.#look();
      if (this.#postmaster !== null) this.#lookAgainIn(WATCH_EVERY);
    });
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#postmaster = null;
  }
}

/** A /proc that cannot be read now tells of no death; it is asked again. */
function livesAsFarAsKnown(postmaster: ProcessId): boolean {
  try {
    return isAlive(postmaster);
  } catch {
    return true;
  }
}

const WATCH_EVERY: Millis = millis(200);
const SUSPECT_AGAIN: Millis = millis(10);
