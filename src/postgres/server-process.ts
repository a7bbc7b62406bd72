/**
 * Starting and ending the server's processes, by signals of our own: pg_ctl looks only every 100 ms. A server started
 * here has a session and a log file of its own and outlives the daemon, whatever happens to that.
 */
import { spawn } from 'node:child_process';
import { type FileHandle, open, readFile, rename, stat, truncate, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lsn } from '../core/lsn.ts';
import { earliest, type Instant, laterBy, type Millis, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import { readControlData } from './control-data.ts';
import { parsePidFile } from './data-directory.ts';
import {
  endFamily,
  familyGone,
  familyOf,
  isAlive,
  isPostgresProcess,
  type ProcessId,
  postmasterOf,
  processStat,
  signalProcess,
} from './family.ts';
import type { Place } from './place.ts';
import { configFile } from './server-config.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';

/** Until the new postmaster listens. It takes some 20 ms; recovery comes after it. */
const START_LIMIT: Millis = millis(10_000);
const LOOK_EVERY: Millis = millis(5);
/** After SIGKILL only a process that hangs in the kernel is still there. */
const KILL_LIMIT: Millis = millis(10_000);
/** From "shut down" in the control file until the processes are gone: 20..35 ms when the standbys have confirmed. */
const EXIT_LIMIT: Millis = millis(500);
const LOG_LIMIT_BYTES = 8 << 20;

/** What the server says before its own logging works, and all of it where there is no logging collector. */
export const serverLogFile = (place: Place): string => join(place.runtimeDirectory, 'postgres.log');

/**
 * Starts the server on the directory as it is.
 *
 * @param stillAllowed - asked immediately before the process is started
 * @throws {PghaError} PGHA_POSTGRES_START_FAILED with the last line of its log when it ends at once
 */
export async function startServer(place: Place, stillAllowed: () => boolean = () => true): Promise<ProcessId> {
  const { dataDir, clock } = place;
  const family = familyOf(dataDir);
  if (family.length > 0) {
    throw startFailed(`${family.length} processes of an earlier server are still there`, 'Stop them first.');
  }
  await removeStalePidFile(place);
  const log = await openLog(place);
  const logFrom = (await withLimit(clock, FILE_LIMIT, 'looking at the server log', log.stat())).size;
  let exited: string | null = null;
  let pid: number | undefined;
  try {
    if (!stillAllowed())
      throw startFailed('leadership was not proven any more', 'Nothing to do: the node decides again.');
    const config = place.config.postgresql.configDir === null ? [] : ['-c', `config_file=${configFile(place)}`];
    const server = spawn(join(place.binDir, 'postgres'), ['-D', dataDir, ...config], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      env: serverEnvironment(),
    });
    server.on('error', (error) => {
      exited = error.message;
    });
    server.on('exit', (code, signal) => {
      exited = signal === null ? `exit code ${code}` : `signal ${signal}`;
    });
    server.unref();
    pid = server.pid;
  } finally {
    await log.close();
  }
  const until = laterBy(clock.now(), START_LIMIT);
  while (exited === null && clock.now() < until) {
    const pidFile = parsePidFile(await readOrEmpty(place, join(dataDir, 'postmaster.pid')));
    // The status comes last, when the sockets are there: what is wrong with ports and settings has shown by then.
    if (pidFile !== null && pidFile.pid === pid && pidFile.status !== null) break;
    await clock.sleep(LOOK_EVERY);
  }
  const stat = pid === undefined ? null : processStat(pid);
  if (exited !== null || stat === null || stat.state === 'Z') {
    const said = lastWords(await readOrEmpty(place, serverLogFile(place), logFrom));
    throw startFailed(
      `it ended at once (${exited ?? 'unknown'}): ${said}`,
      `The whole log is ${serverLogFile(place)}.`,
    );
  }
  return { pid: stat.pid, startTicks: stat.startTicks };
}

function startFailed(why: string, todo: string): PghaError {
  return new PghaError('PGHA_POSTGRES_START_FAILED', {
    happened: `Postgres was not started: ${why}.`,
    untouched: 'The data was not changed.',
    todo,
  });
}

/** Nothing of the daemon's environment reaches the server, as there may be passwords in it, and PGPORT and the like. */
function serverEnvironment(): NodeJS.ProcessEnv {
  const kept = /^(PATH|HOME|USER|LOGNAME|LANG|LC_.*|TZ|LD_LIBRARY_PATH|PG_OOM_ADJUST_.*|SSL_CERT_.*|KRB5.*)$/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => kept.test(name)));
}

/**
 * A postmaster.pid whose number now belongs to another process of this user keeps Postgres from starting, although
 * nobody is there. A living Postgres in another directory is something else: that one is left to `look`.
 */
async function removeStalePidFile(place: Place): Promise<void> {
  const path = join(place.dataDir, 'postmaster.pid');
  const pidFile = parsePidFile(await readOrEmpty(place, path));
  if (pidFile === null || processStat(Math.abs(pidFile.pid)) === null) return;
  if (isPostgresProcess(Math.abs(pidFile.pid))) return;
  await withLimit(place.clock, FILE_LIMIT, `removing ${path}`, unlink(path));
}

async function openLog(place: Place): Promise<FileHandle> {
  await limitServerLog(place);
  return withLimit(place.clock, FILE_LIMIT, 'opening the server log', open(serverLogFile(place), 'a', 0o600));
}

/** The runtime directory is memory: one file of old lines is kept, and neither grows without end. */
export async function limitServerLog(place: Place): Promise<void> {
  const path = serverLogFile(place);
  try {
    const { size } = await withLimit(place.clock, FILE_LIMIT, 'looking at the server log', stat(path));
    if (size <= LOG_LIMIT_BYTES) return;
    // A running server goes on writing to the same file (at its end): it is emptied, not moved.
    if (familyOf(place.dataDir).length > 0)
      await withLimit(place.clock, FILE_LIMIT, 'emptying the log', truncate(path));
    else await withLimit(place.clock, FILE_LIMIT, 'moving the server log', rename(path, `${path}.1`));
  } catch {
    // No log yet, or no way to shorten it: neither keeps Postgres from anything.
  }
}

async function readOrEmpty(place: Place, path: string, from = 0): Promise<string> {
  try {
    const text = await withLimit(place.clock, FILE_LIMIT, `reading ${path}`, readFile(path));
    return text.subarray(from).toString('utf8');
  } catch {
    return '';
  }
}

/** The line that tells the reason: the last FATAL, PANIC or ERROR, else the last line. */
export function lastWords(log: string): string {
  const lines = log.split('\n').filter((line) => line.trim() !== '');
  const reason = lines.findLast((line) => /\b(FATAL|PANIC|ERROR): /.test(line));
  return (reason ?? lines.at(-1) ?? 'its log is empty').trim();
}

/**
 * Ends the server and sees its family empty. `fast` has until `limit`; then, and with `immediate` at once, SIGQUIT;
 * what is left of that after 300 ms gets SIGKILL.
 *
 * @throws {PghaError} PGHA_POSTGRES_STOP_FAILED when processes hang in the kernel
 */
export async function stopServer(place: Place, mode: 'fast' | 'immediate', limit: Millis): Promise<void> {
  const { dataDir, clock } = place;
  if (mode === 'fast') {
    const postmaster = postmasterOf(familyOf(dataDir));
    if (postmaster !== null && signalProcess(postmaster, 'SIGINT')) {
      // Without its postmaster the family is never going to be orderly again.
      const orphaned = (): boolean => !isAlive(postmaster) && familyOf(dataDir).length > 0;
      if (await familyGone(dataDir, clock, laterBy(clock.now(), limit), orphaned)) return;
    }
  }
  await endServer(place);
}

async function endServer(place: Place): Promise<void> {
  const { dataDir, clock } = place;
  if (await endFamily(dataDir, clock, laterBy(clock.now(), KILL_LIMIT))) return;
  const left = familyOf(dataDir);
  throw new PghaError('PGHA_POSTGRES_STOP_FAILED', {
    happened: `${left.length} processes of Postgres do not end, also not by SIGKILL (first: ${left[0]?.pid ?? '?'}).`,
    untouched: 'The data directory was not changed.',
    todo: 'They hang in the kernel, most likely on a disk that does not answer. Look at the disk; the node may need a reset.',
  });
}

/**
 * The stop of a switchover. Commits are impossible from the moment at which the control file says "shut down"; a
 * sender whose peer is frozen keeps the processes longer than that, and is then ended without harm.
 *
 * @returns the control file's position of the shutdown checkpoint, or null when there was none within `limit`
 */
export async function stopForSwitchover(place: Place, limit: Millis): Promise<Lsn | null> {
  const { dataDir, clock } = place;
  const postmaster = postmasterOf(familyOf(dataDir));
  if (postmaster !== null) signalProcess(postmaster, 'SIGINT');
  const until = laterBy(clock.now(), limit);
  if (postmaster !== null && (await seenShutDown(place, postmaster, until))) {
    const exitBy = laterBy(clock.now(), EXIT_LIMIT);
    await familyGone(dataDir, clock, earliest(exitBy, laterBy(until, millis(100))));
  }
  if (familyOf(dataDir).length > 0) await endServer(place);
  const control = await readControlData(place);
  return control.state === 'shut down' ? control.checkpoint : null;
}

async function seenShutDown(place: Place, postmaster: ProcessId, until: Instant): Promise<boolean> {
  while (place.clock.now() < until && isAlive(postmaster)) {
    if ((await readControlData(place)).state === 'shut down') return true;
    await place.clock.sleep(millis(1));
  }
  return false;
}

/** The living postmaster of this directory. */
export function runningPostmaster(place: Place): ProcessId | null {
  return postmasterOf(familyOf(place.dataDir));
}
