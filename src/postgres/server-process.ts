/**
 * Starting and ending the server's processes, by signals of our own: pg_ctl looks only every 100 ms. A server started
 * here has a session and a log file of its own and outlives the daemon, whatever happens to that. Where the operator
 * has commands for it they are run instead, and what they did is looked at here; a fence never waits for one.
 */
import { spawn } from 'node:child_process';
import { type FileHandle, open, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lsn } from '../core/lsn.ts';
import { earliest, type Instant, laterBy, type Millis, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import { readControlData } from './control-data.ts';
import { mayWorkIn, parsePidFile } from './data-directory.ts';
import {
  asMember,
  endFamily,
  familyGone,
  familyOf,
  type Home,
  isAlive,
  type ProcessId,
  postmasterOf,
  processStat,
  signalProcess,
} from './family.ts';
import type { Place } from './place.ts';
import { configFile } from './server-config.ts';
import { type OperatorCommand, printable } from './service-commands.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';
import { droppingCapabilities } from './without-capabilities.ts';

/** Until the new postmaster listens. It takes some 20 ms; recovery comes after it. */
const START_LIMIT: Millis = millis(10_000);
const LOOK_EVERY: Millis = millis(5);
/** After SIGKILL only a process that hangs in the kernel is still there. */
const KILL_LIMIT: Millis = millis(3_000);
/** From "shut down" in the control file until the processes are gone: 20..35 ms when the standbys have confirmed. */
const EXIT_LIMIT: Millis = millis(500);
const LOG_LIMIT_BYTES = 8 << 20;
/** The end of a log that was cut. */
const LOG_KEPT_BYTES = 1 << 20;
/** How often a start by the operator's command is looked at. */
const COMMAND_LOOK_EVERY: Millis = millis(20);
/** A command that said yes and only handed the work on: so long until a postmaster has to be seen. */
const HANDED_ON: Millis = millis(5_000);
/** A stop that has less time than this is as good as a fence: no command comes first. */
const SHORT_STOP: Millis = millis(2_000);
/** A stop that was handed on by its command begins within this. */
const STOP_BEGINS: Millis = millis(500);

/** What the server says before its own logging works, and all of it where there is no logging collector. */
export const serverLogFile = ({ runtimeDirectory }: Pick<Place, 'runtimeDirectory'>): string =>
  join(runtimeDirectory, 'postgres.log');

/**
 * Starts the server on the directory as it is.
 *
 * @param stillAllowed - asked immediately before the process is started
 * @throws {PghaError} PGHA_POSTGRES_START_FAILED with the last line of its log when it ends at once
 */
export async function startServer(place: Place, stillAllowed: () => boolean = () => true): Promise<ProcessId> {
  const { dataDir, clock } = place;
  const family = familyOf(place);
  if (family.length > 0) {
    throw startFailed(`${family.length} processes of an earlier server are still there`, 'Stop them first.');
  }
  await removeStalePidFile(place);
  // What still tidies up after the last stop must not stop this one.
  await place.service?.quiet();
  const log = await openLog(place);
  const logFrom = (await withLimit(clock, FILE_LIMIT, 'looking at the server log', log.stat())).size;
  if (place.service?.has('service_start_command') === true) {
    return startByCommand(place, 'service_start_command', log, logFrom, stillAllowed);
  }
  let exited: string | null = null;
  let pid: number | undefined;
  try {
    if (!stillAllowed()) throw notAllowed();
    const config = place.config.postgresql.configDir === null ? [] : ['-c', `config_file=${configFile(place)}`];
    const command = [...droppingCapabilities(), join(place.binDir, 'postgres'), '-D', dataDir, ...config];
    const [program = '', ...args] = command;
    const server = spawn(program, args, {
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
  const postmaster = { pid: stat.pid, startTicks: stat.startTicks };
  if (asMember(stat.pid, { dataDir }) !== null) return postmaster;
  // Whoever ends Postgres here looks for its processes by their directory: the guard, too.
  await endServer({ ...place, postmaster: () => postmaster });
  throw startFailed(
    `it does not work in ${dataDir}, so it was ended again`,
    'Nothing to do: data_dir is resolved anew.',
  );
}

const notAllowed = (): PghaError =>
  startFailed('leadership was not proven any more', 'Nothing to do: the node decides again.');

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
 * nobody is there. A living Postgres that may work in this directory is something else: that one is left to `look`.
 */
async function removeStalePidFile(place: Place): Promise<void> {
  const path = join(place.dataDir, 'postmaster.pid');
  const pidFile = parsePidFile(await readOrEmpty(place, path));
  if (pidFile === null || processStat(Math.abs(pidFile.pid)) === null) return;
  const mayBeOurs = mayWorkIn(Math.abs(pidFile.pid), place.dataDir);
  if (await withLimit(place.clock, FILE_LIMIT, `comparing directories with process ${pidFile.pid}`, mayBeOurs)) return;
  await withLimit(place.clock, FILE_LIMIT, `removing ${path}`, unlink(path));
}

async function openLog(place: Place): Promise<FileHandle> {
  await limitServerLog(place);
  return withLimit(place.clock, FILE_LIMIT, 'opening the server log', open(serverLogFile(place), 'a', 0o600));
}

/**
 * The runtime directory is memory, and guard and daemon write there: the log is emptied before it takes too much, and
 * its last lines are kept beside it. A running server goes on writing to the same file, at its end.
 */
export async function limitServerLog(place: Pick<Place, 'clock' | 'runtimeDirectory'>): Promise<void> {
  try {
    await withLimit(place.clock, FILE_LIMIT, 'cutting the server log', cut(serverLogFile(place)));
  } catch {
    // No log yet, or no way to shorten it: neither keeps Postgres from anything.
  }
}

async function cut(path: string): Promise<void> {
  const log = await open(path, 'r+');
  try {
    const { size } = await log.stat();
    if (size <= LOG_LIMIT_BYTES) return;
    const { buffer, bytesRead } = await log.read(
      Buffer.alloc(LOG_KEPT_BYTES),
      0,
      LOG_KEPT_BYTES,
      size - LOG_KEPT_BYTES,
    );
    // First: there may be no room for the copy before.
    await log.truncate(0);
    await writeFile(`${path}.1`, buffer.subarray(0, bytesRead), { mode: 0o600 });
  } finally {
    await log.close();
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
  const { clock } = place;
  if (mode === 'fast') {
    const postmaster = postmasterOf(familyOf(place));
    if (postmaster !== null && isAlive(postmaster)) {
      askToStop(place, postmaster, limit);
      // Without its postmaster the family is never going to be orderly again.
      const orphaned = (): boolean => !isAlive(postmaster) && familyOf(place).length > 0;
      if (await familyGone(place, clock, laterBy(clock.now(), limit), orphaned)) return;
    }
  }
  place.service?.postgresEnds();
  await endServer(place);
}

/**
 * The request of an orderly stop; nobody waits for it. The operator's command has half of the time, then the signal that
 * it should have led to is sent by us: a second one does no harm to a server that is stopping.
 */
function askToStop(place: Place, postmaster: ProcessId, limit: Millis): void {
  const { service, clock } = place;
  const signal = (): boolean => signalProcess(postmaster, 'SIGINT');
  if (service?.has('service_stop_command') !== true) {
    signal();
    return;
  }
  if (limit < SHORT_STOP) {
    signal();
    service.postgresEnds();
    return;
  }
  const run = async (): Promise<void> => {
    const half = millis(Math.min(service.limit, limit / 2));
    const command = await service.begin('service_stop_command', { limit: half });
    const end = (await command?.ended) ?? { orderly: false, sentence: 'service_stop_command was not run' };
    if (end.orderly) await clock.sleep(STOP_BEGINS);
    if (!isAlive(postmaster)) return;
    const pidFile = parsePidFile(await readOrEmpty(place, join(place.dataDir, 'postmaster.pid')));
    if (!end.orderly || pidFile?.status !== 'stopping') {
      const sentence = `${end.sentence}; Postgres still runs and is stopped by our own signal`;
      place.log.write('warn', 'command.distrusted', sentence);
    }
    signal();
  };
  run().catch(() => signal());
}

const endServer = (place: Place): Promise<void> => endProcesses(place, place.clock);

/** @throws {PghaError} PGHA_POSTGRES_STOP_FAILED when processes hang in the kernel */
export async function endProcesses(home: Home, clock: Clock): Promise<void> {
  if (await endFamily(home, clock, laterBy(clock.now(), KILL_LIMIT))) return;
  const left = familyOf(home);
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
  const { clock } = place;
  const postmaster = postmasterOf(familyOf(place));
  if (postmaster !== null) askToStop(place, postmaster, limit);
  const until = laterBy(clock.now(), limit);
  if (postmaster !== null && (await seenShutDown(place, postmaster, until))) {
    const exitBy = laterBy(clock.now(), EXIT_LIMIT);
    await familyGone(place, clock, earliest(exitBy, laterBy(until, millis(100))));
  }
  if (familyOf(place).length > 0) {
    place.service?.postgresEnds();
    await endServer(place);
  }
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
  return postmasterOf(familyOf(place));
}

/**
 * Starts (or restarts) by the operator's command. What counts is a postmaster of this directory that was not there
 * before, and that the directory still says what it is to be; the command's exit code is only told.
 *
 * @param stillAllowed - asked immediately before the command, and as long as no postmaster is there
 * @throws {PghaError} PGHA_POSTGRES_START_FAILED; what the command may have begun was ended
 */
async function startByCommand(
  place: Place,
  setting: 'service_start_command' | 'service_restart_command',
  log: FileHandle,
  logFrom: number,
  stillAllowed: () => boolean,
): Promise<ProcessId> {
  const { service } = place;
  const before = runningPostmaster(place);
  const asStandby = await hasStandbySignal(place);
  let command: OperatorCommand | null;
  try {
    // To the server's log: a server that writes to a pipe of ours would lose its log with this daemon.
    command = (await service?.begin(setting, { limit: null, outputTo: log.fd, stillAllowed })) ?? null;
  } finally {
    await log.close();
  }
  if (command === null) throw notAllowed();
  const seen = await seePostmaster(place, command, before, stillAllowed);
  const said = async (): Promise<string> =>
    printable(lastWords(await readOrEmpty(place, serverLogFile(place), logFrom)));
  if ('why' in seen) {
    await command.kill();
    if (before === null || runningPostmaster(place)?.pid !== before.pid) {
      // A start that is still queued somewhere must not come true later, as whatever the directory says then.
      service?.postgresEnds();
      await endServer(place);
    }
    throw seen.why === 'not-allowed'
      ? notAllowed()
      : startFailed(`${setting} ${seen.why}: ${await said()}`, `The whole output is in ${serverLogFile(place)}.`);
  }
  // The server may be its child, and may have its outputs: from here on nobody ends it.
  command.letGo();
  if ((await hasStandbySignal(place)) !== asStandby) {
    service?.postgresEnds();
    await endServer(place);
    const was = asStandby ? 'removed standby.signal' : 'made a standby of a server that was to be a primary';
    throw startFailed(`${setting} ${was}, so it was ended again`, 'Correct the command: pgha decides about the role.');
  }
  void tellIfDisorderly(place, command);
  return seen.postmaster;
}

/** A postmaster of this directory other than `before`; or, for a sentence that begins with the command, why there is none. */
async function seePostmaster(
  place: Place,
  command: OperatorCommand,
  before: ProcessId | null,
  stillAllowed: () => boolean,
): Promise<{ readonly postmaster: ProcessId } | { readonly why: string }> {
  const { clock, dataDir } = place;
  const limit = place.service?.limit ?? START_LIMIT;
  const until = laterBy(clock.now(), limit);
  let endedAt: Instant | null = null;
  for (;;) {
    const pidFile = parsePidFile(await readOrEmpty(place, join(dataDir, 'postmaster.pid')));
    const written = pidFile === null || pidFile.status === null ? null : asMember(pidFile.pid, place);
    const isNew = written !== null && (before?.pid !== written.pid || before.startTicks !== written.startTicks);
    if (isNew && pidFile?.status !== 'stopping') return { postmaster: written };
    if (!stillAllowed()) return { why: 'not-allowed' };
    const end = command.end();
    const now = clock.now();
    if (end !== null) endedAt ??= now;
    if (end !== null && !end.orderly) {
      // One that says no and has begun a start all the same: what it began is seen in a moment, or ends.
      if (familyOf(place).length === 0 || now >= laterBy(endedAt ?? now, HANDED_ON)) {
        return { why: `did not start Postgres (${end.sentence.replace(/^\S+ /, '')})` };
      }
    }
    if (end?.orderly === true && now >= laterBy(endedAt ?? now, HANDED_ON)) {
      return {
        why:
          before !== null && isAlive(before)
            ? 'ended with 0, and Postgres goes on as it was'
            : 'ended with 0, and no Postgres runs here',
      };
    }
    if (now >= until) return { why: `did not start Postgres within ${limit / 1000} s` };
    await clock.sleep(COMMAND_LOOK_EVERY);
  }
}

async function tellIfDisorderly(place: Place, command: OperatorCommand): Promise<void> {
  const end = await command.ended;
  if (end.orderly) return;
  place.log.write('warn', 'command.distrusted', `${end.sentence}; but Postgres runs, and that is what counts`);
}

/**
 * A restart of a standby by the operator's command. Never of a primary: between its stop and its start the window has to
 * be looked at.
 *
 * @throws {PghaError} PGHA_POSTGRES_START_FAILED when it was not restarted; it may go on as it was
 */
export async function restartByCommand(place: Place): Promise<ProcessId> {
  const log = await openLog(place);
  const logFrom = (await withLimit(place.clock, FILE_LIMIT, 'looking at the server log', log.stat())).size;
  return startByCommand(place, 'service_restart_command', log, logFrom, () => true);
}

/** What the next start makes of the directory, and what the running server was started as until it is promoted. */
export async function hasStandbySignal(place: Place): Promise<boolean> {
  try {
    await withLimit(place.clock, FILE_LIMIT, 'looking for standby.signal', stat(join(place.dataDir, 'standby.signal')));
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
