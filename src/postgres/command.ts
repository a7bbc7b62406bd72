/**
 * Runs the programs that come with Postgres (initdb, pg_basebackup, pg_rewind, ...) and the operator's own hooks:
 * arguments as a list and never through a shell, a bound on time and on output, everything the program started ended
 * with it. It judges no exit code; whoever calls knows what a code means.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { isAbsolute, join } from 'node:path';
import type { Readable } from 'node:stream';
import { type Instant, laterBy, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import { groupLives } from './family.ts';
import type { Place } from './place.ts';
import { droppingCapabilities } from './without-capabilities.ts';

/** What `runCommand` needs to know; a `Place` is one. */
export interface CommandPlace extends Pick<Place, 'binDir' | 'clock'> {
  /** Whom the programs run as, where that is not ourselves: Postgres refuses to run as root. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
}

export interface CommandOptions {
  /** Ends the program: SIGTERM, then SIGKILL. */
  readonly signal?: AbortSignal;
  /** Bound of the whole run, in milliseconds. */
  readonly limitMs?: number;
  /** Bound of the time without a single byte of output: for work whose length nobody knows. */
  readonly quietLimitMs?: number;
  /** Each finished line of both outputs, without its end. */
  readonly onLine?: (line: string, from: 'stdout' | 'stderr') => void;
  /** Added to the environment; secrets only as the name of a file (PGPASSFILE), as /proc shows them to the user's other processes. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to standard input, which is then closed. */
  readonly input?: string;
  /** Between SIGTERM and SIGKILL, in milliseconds; 2 s when left out, 0 for SIGKILL at once. */
  readonly graceMs?: number;
  /**
   * Ended before its time, it has ended only when all of its process group has: each of them gets the whole grace. What
   * still lives some seconds after SIGKILL, as it belongs to another user or hangs in the kernel, is not waited for.
   */
  readonly wholeGroup?: boolean;
  /** Told its process number, which is that of its group and of its session, too. */
  readonly onStart?: (pid: number) => void;
  /**
   * An open file that takes both outputs, for what leaves a server behind: its output must not end with us. Nothing of
   * it is then kept or told.
   */
  readonly outputTo?: number;
  /**
   * Nothing of what this process may do beyond its user's rights is handed on. Left out: programs of Postgres get nothing
   * of it, others all.
   */
  readonly withoutCapabilities?: boolean;
  /** Messages in English, because they are read by a program. `false` where the locale is an input, as for initdb. */
  readonly plainLocale?: boolean;
}

export interface CommandResult {
  /** The exit code, or 128 + the number of the signal that ended it, as shells count. */
  readonly code: number;
  /** The last 256 KiB of each; what was cut off is said in the first line. */
  readonly stdout: string;
  readonly stderr: string;
  /** Who ended it. Only `itself` says anything about the work. */
  readonly endedBy: 'itself' | 'cancel' | 'limit';
}

const KEPT_OUTPUT = 256 * 1024;
/** Between SIGTERM and SIGKILL: pg_basebackup removes what it made when it is asked politely. */
const GRACE = millis(2_000);

/** After SIGKILL, for a whole group. */
const KILL_LIMIT = millis(3_000);
const LOOK_EVERY = millis(20);

/** For what a program has written last: it is in the pipes when it exits. */
const LEFT_BEHIND = millis(200);

/**
 * @param program - a name from the directory of the Postgres binaries, or an absolute path
 * @throws {PghaError} PGHA_POSTGRES_NOT_FOUND when it cannot be started at all
 */
export function runCommand(
  place: CommandPlace,
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const path = isAbsolute(program) ? program : join(place.binDir, program);
  const isBare = options.withoutCapabilities ?? !isAbsolute(program);
  const [first = path, ...rest] = [...(isBare ? droppingCapabilities() : []), path, ...args];
  return new Promise((resolve, reject) => {
    const neverStarted = (cause: unknown): void => reject(notStarted(path, cause));
    if (options.signal?.aborted === true) {
      resolve({ code: 128 + constants.signals.SIGTERM, stdout: '', stderr: '', endedBy: 'cancel' });
      return;
    }
    let child: ChildProcess;
    try {
      child = spawn(first, rest, {
        // A group of its own: pg_basebackup has a second process that receives the WAL, and both have to end.
        detached: true,
        stdio: ['pipe', options.outputTo ?? 'pipe', options.outputTo ?? 'pipe'],
        env: environment(options),
        cwd: '/',
        ...(place.runAs === undefined ? {} : { uid: place.runAs.uid, gid: place.runAs.gid }),
      });
    } catch (cause) {
      neverStarted(cause);
      return;
    }

    if (child.pid !== undefined) options.onStart?.(child.pid);
    let endedBy: CommandResult['endedBy'] = 'itself';
    let killAt = place.clock.now();
    const timers = new Set<() => void>();
    const after = (ms: number, run: () => void): (() => void) => {
      const cancel = place.clock.timer(millis(ms), run);
      timers.add(cancel);
      return cancel;
    };
    const end = (why: 'cancel' | 'limit'): void => {
      if (endedBy !== 'itself') return;
      endedBy = why;
      const grace = options.graceMs ?? GRACE;
      killAt = laterBy(place.clock.now(), millis(grace));
      signalGroup(child, grace > 0 ? 'SIGTERM' : 'SIGKILL');
      if (grace > 0) after(grace, () => signalGroup(child, 'SIGKILL'));
    };
    const cancelled = (): void => end('cancel');
    options.signal?.addEventListener('abort', cancelled, { once: true });
    if (options.limitMs !== undefined) after(options.limitMs, () => end('limit'));

    const quietLimit = options.quietLimitMs;
    let quiet: (() => void) | null = null;
    let exited = false;
    const heard = (): void => {
      if (quietLimit === undefined || exited) return;
      quiet?.();
      quiet = after(quietLimit, () => end('limit'));
    };
    heard();

    // Nor may this process live on because of it.
    if (options.outputTo !== undefined) child.unref();
    const stdout = collect(child.stdout, 'stdout', options.onLine, heard);
    const stderr = collect(child.stderr, 'stderr', options.onLine, heard);
    // A program that never reads its input closes it; that is its business.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input ?? '');

    const settle = (): void => {
      for (const cancel of timers) cancel();
      quiet?.();
      options.signal?.removeEventListener('abort', cancelled);
    };
    let started = true;
    child.once('error', (cause) => {
      // `error` is also how a failed kill is told; only without a process number nothing ever ran.
      if (child.pid !== undefined) return;
      started = false;
      settle();
      neverStarted(cause);
    });
    child.once('exit', () => {
      exited = true;
      // It kept its limits; what it left running in the background has none.
      if (endedBy === 'itself') for (const cancel of timers) cancel();
      quiet?.();
      // That may hold the outputs open, and `close` would wait for it. What waits in the pipes is read before.
      after(LEFT_BEHIND, () => setImmediate(() => void [child.stdout?.destroy(), child.stderr?.destroy()]));
    });
    child.once('close', (code, endSignal) => {
      if (!started) return;
      settle();
      const number = endSignal === null ? 0 : constants.signals[endSignal];
      const end = (): void =>
        resolve({ code: code ?? 128 + number, stdout: stdout.text(), stderr: stderr.text(), endedBy });
      if (endedBy !== 'itself' && options.wholeGroup === true) {
        void groupEnds(place.clock, child, killAt).then(end, reject);
        return;
      }
      if (endedBy !== 'itself') signalGroup(child, 'SIGKILL');
      end();
    });
  });
}

/**
 * The line of a long output that an operator is shown: the last that tells of an error, as the programs go on to say
 * what they clean up; else the last that says something.
 */
export function lastLine(result: Pick<CommandResult, 'stdout' | 'stderr'>): string {
  const lines = (text: string): string[] => text.split(/[\r\n]+/).filter((line) => line.trim() !== '');
  const errors = lines(result.stderr);
  const telling = errors.findLast((line) => /\b(error|fatal|panic):/i.test(line));
  return (telling ?? errors.at(-1) ?? lines(result.stdout).at(-1) ?? 'it said nothing').trim();
}

/** The whole output of a program that failed, kept as the cause of the error that tells of it. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  readonly result: CommandResult;

  constructor(program: string, result: CommandResult) {
    const how =
      result.endedBy === 'itself'
        ? `ended with ${result.code}`
        : result.endedBy === 'cancel'
          ? 'was cancelled'
          : 'took too long';
    super(`${program} ${how}:\n${result.stderr}${result.stdout}`);
    this.result = result;
  }
}

/**
 * An operator's command line as words: blanks part them, single quotes, double quotes and backslashes hold them
 * together as in a shell. Nothing is expanded.
 */
export function splitCommandLine(line: string): string[] {
  const words: string[] = [];
  for (const word of line.matchAll(/(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\])+/gs)) {
    words.push(
      word[0].replace(
        /'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)/gs,
        (_all, single?: string, double?: string, one?: string) =>
          single !== undefined ? single : double !== undefined ? double.replace(/\\(["\\$`])/g, '$1') : (one ?? ''),
      ),
    );
  }
  return words;
}

function collect(
  stream: Readable | null,
  from: 'stdout' | 'stderr',
  onLine: CommandOptions['onLine'],
  heard: () => void,
): { text: () => string } {
  let kept = '';
  let dropped = 0;
  let unfinished = '';
  stream?.setEncoding('utf8');
  stream?.on('error', () => undefined);
  stream?.on('data', (chunk: string) => {
    heard();
    kept += chunk;
    // Cut seldom and by much, so that a chatty program doesn't cost a copy of everything for each line.
    if (kept.length > 2 * KEPT_OUTPUT) {
      dropped += kept.length - KEPT_OUTPUT;
      kept = kept.slice(-KEPT_OUTPUT);
    }
    if (onLine === undefined) return;
    const lines = (unfinished + chunk).split(/\r\n|\r|\n/);
    unfinished = (lines.pop() ?? '').slice(-KEPT_OUTPUT);
    for (const line of lines) onLine(line, from);
  });
  stream?.on('end', () => {
    if (unfinished !== '') onLine?.(unfinished, from);
  });
  return { text: () => (dropped === 0 ? kept : `(${dropped} characters before this are not kept)\n${kept}`) };
}

/** The program is gone, and what it started has been asked to end. */
async function groupEnds(clock: Clock, child: ChildProcess, killAt: Instant): Promise<void> {
  const until = laterBy(killAt, KILL_LIMIT);
  while (child.pid !== undefined && groupLives(child.pid) && clock.now() < until) {
    if (clock.now() >= killAt) signalGroup(child, 'SIGKILL');
    await clock.sleep(LOOK_EVERY);
  }
}

/** To the program and all it started. Also after it exited: its group lives as long as one member of it does. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The group is gone: that is what was wanted.
  }
}

/**
 * Ours without what would change what the programs do (PGHOST, PGSERVICE, ...) and without our own secrets
 * (PGHA_*, PATRONI_*) and the service manager's socket.
 */
function environment(options: CommandOptions): Record<string, string> {
  const plain = options.plainLocale !== false;
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value === undefined || /^(PG|PATRONI_|NOTIFY_SOCKET$|WATCHDOG_|LISTEN_)/.test(name)) continue;
    if (plain && /^(LC_|LANGUAGE$|LANG$)/.test(name)) continue;
    env[name] = value;
  }
  return { ...env, ...(plain ? { LC_ALL: 'C' } : {}), ...options.env };
}

function notStarted(path: string, cause: unknown): PghaError {
  return new PghaError(
    'PGHA_POSTGRES_NOT_FOUND',
    {
      happened: `${path} could not be started: ${cause instanceof Error ? cause.message : String(cause)}.`,
      untouched: 'It did nothing.',
      todo: 'Install the PostgreSQL package that holds it (for Debian postgresql-NN), or correct postgresql.bin_dir.',
    },
    { cause },
  );
}
