/**
 * Processes that have something to do with files below a directory, found in /proc by what they have open: neither name,
 * mark nor parent says of these that they belong to a copy. A command of the operator's may have started them by way of
 * sudo, or of ssh from the other side. It only looks; what follows from it is decided elsewhere.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { laterBy, millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import { commandLine, living, type ProcessId, type ProcessStat } from './family.ts';

/** So long nobody else of this process gets a turn. There may be a hundred thousand open files to look at. */
const SLICE = millis(5);

export interface Occupant extends ProcessId {
  /** What shows it, as the end of a sentence: `has /data/base/5/1259 open for writing`. */
  readonly sign: string;
}

export interface Where {
  readonly clock: Clock;
  /** Resolved, as /proc shows paths. */
  readonly dataDir: string;
  /** What else belongs to it: what a path of a file in there begins with. */
  readonly outside: readonly string[];
}

/**
 * Who has a file open for writing there. Somebody who only reads does no harm, and is none of them.
 *
 * @param unfinished - nobody but who fills this directory has a reason to be in it. Between two files he has none of them
 *   open, so whoever works there counts; but for those with a terminal: that is somebody who looks.
 *   What another user's process has open cannot be seen: there it counts that its arguments name the directory
 */
export async function occupantsOf(where: Where, unfinished: boolean): Promise<Occupant[]> {
  const { clock } = where;
  const prefixes = [`${where.dataDir}/`, ...where.outside];
  const isBelow = (path: string): boolean => prefixes.some((prefix) => `${path}/`.startsWith(prefix));
  const found: Occupant[] = [];
  let pauseAt = laterBy(clock.now(), SLICE);
  for (const stat of living()) {
    const { pid, startTicks } = stat;
    if (pid === process.pid) continue;
    for (const sign of signsOf(stat, where.dataDir, isBelow, unfinished)) {
      if (clock.now() >= pauseAt) {
        await clock.sleep(millis(1));
        pauseAt = laterBy(clock.now(), SLICE);
      }
      if (sign === null) continue;
      found.push({ pid, startTicks, sign });
      break;
    }
  }
  return found;
}

/** null: nothing was found yet. */
function* signsOf(
  { pid, hasTerminal }: ProcessStat,
  dataDir: string,
  isBelow: (path: string) => boolean,
  unfinished: boolean,
): Generator<string | null> {
  const suspected = unfinished && !hasTerminal;
  const cwd = suspected ? linkAt(`/proc/${pid}/cwd`) : null;
  yield cwd !== null && isBelow(cwd) ? `works in ${cwd}` : null;
  const files = openFiles(pid);
  if (files === 'hidden') {
    const isNamed = suspected && namesDirectory(commandLine(pid), dataDir);
    yield isNamed ? `is another user's, and was started with ${dataDir}` : null;
    return;
  }
  for (const file of files) {
    const path = linkAt(`/proc/${pid}/fd/${file}`);
    const isThere = path !== null && isBelow(path) && !path.endsWith(' (deleted)');
    yield isThere && isOpenForWriting(pid, file) ? `has ${path} open for writing` : null;
  }
}

function openFiles(pid: number): readonly string[] | 'hidden' {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EACCES' || code === 'EPERM') return 'hidden';
    if (code === 'ENOENT' || code === 'ESRCH') return [];
    throw error;
  }
}

/** null: gone meanwhile, or not to be seen. */
function linkAt(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

/** proc(5), /proc/PID/fdinfo: the flags of open(2), octal. The last two bits are 0 for whoever only reads. */
function isOpenForWriting(pid: number, file: string): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${file}`, 'latin1'))?.[1];
    return flags !== undefined && (Number.parseInt(flags, 8) & 3) !== 0;
  } catch {
    return false;
  }
}

/** As an argument or the value of an option: `--datadir=/data`, and `/data/` and `/data/.` as copying programs like it. */
export function namesDirectory(args: readonly string[], dataDir: string): boolean {
  return args
    .map((arg) => arg.replace(/(?<=.)\/\.?$/, ''))
    .some((arg) => arg === dataDir || arg.endsWith(`=${dataDir}`));
}

/** For people. */
export function programOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return 'gone by now';
  }
}
