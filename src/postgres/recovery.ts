/**
 * What is done to a running standby: told whom to follow, withdrawn from its primary, promoted. Each step is one of
 * those measured to be certain and quick; whether it is to be taken at all, and when, is decided elsewhere.
 */
import { unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { furthest, type Lsn, NOWHERE, parseLsn, type Timeline } from '../core/lsn.ts';
import { between, type Instant, laterBy, type Millis, millis } from '../core/time.ts';
import { type ErrorCode, PghaError } from '../errors.ts';
import type { ServerAddress } from '../ports/postgres.ts';
import type { Row } from './connection.ts';
import { readText, writeDurably } from './durable-file.ts';
import { asMember, type FamilyMember, isAlive, type ProcessId, signalProcess } from './family.ts';
import { historyFile } from './lineage.ts';
import type { Place } from './place.ts';
import { upstreamIn } from './probe.ts';
import { writeUpstream } from './server-config.ts';
import { runningPostmaster, startServer, stopServer } from './server-process.ts';
import type { CommandEnd, OperatorCommand, ServiceCommands } from './service-commands.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';

/** The running server, as these steps need it. */
export interface RunningServer {
  readonly place: Place;
  /** A statement on the held connection. */
  readonly ask: (text: string, limit: Millis) => Promise<readonly Row[]>;
}

const ASK_LIMIT: Millis = millis(1_000);
const POLL_EVERY: Millis = millis(2);
/** Wakes a startup process that sleeps between two attempts to get WAL: a plain reload, safe at any time. */
const WAKE_EVERY: Millis = millis(20);
/** Without a receiver for so long after the last one ended, with its upstream empty: none comes again by itself. */
const QUIET_FOR: Millis = millis(50);
const RESTART_LIMIT: Millis = millis(30_000);
/** So soon after a reload the postmaster has read its files. */
const RELOAD_SEEN: Millis = millis(2_000);
/** A command that takes its time is not worth a reload, and a line in the server's log, every 20 ms. */
const WAKE_OFTEN_FOR: Millis = millis(1_000);
const WAKE_SELDOM: Millis = millis(500);
/** So soon after promote_command said that it is done the server is out of recovery, or it is not promoted. */
const PROMOTE_SEEN: Millis = millis(2_000);
/** primary_conninfo is taken over by a reload from here on. */
const RELOADABLE_UPSTREAM = 13;

const IN_RECOVERY = 'SELECT pg_catalog.pg_is_in_recovery() AS in_recovery';
const UPSTREAM = "SELECT pg_catalog.current_setting('primary_conninfo') AS conninfo";
const RECEIVER = `
SELECT pg_catalog.pg_is_in_recovery() AS in_recovery,
       (SELECT max(pid) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walreceiver') AS pid,
       (SELECT sender_host || ':' || sender_port FROM pg_catalog.pg_stat_wal_receiver) AS sender,
       pg_catalog.pg_last_wal_receive_lsn()::text AS received,
       pg_catalog.pg_last_wal_replay_lsn()::text AS replayed`;

interface ReceiverSeen {
  readonly inRecovery: boolean;
  /** The server counts one among its processes; `process` may be null all the same, where /proc does not show it. */
  readonly present: boolean;
  readonly process: FamilyMember | null;
  readonly from: string | null;
  /** The larger of received and replayed. */
  readonly position: Lsn;
}

async function seeReceiver(server: RunningServer): Promise<ReceiverSeen> {
  const [row] = await server.ask(RECEIVER, ASK_LIMIT);
  const position = (value: unknown): Lsn => (typeof value === 'string' ? parseLsn(value) : NOWHERE);
  const pid = row?.['pid'];
  return {
    inRecovery: row?.['in_recovery'] === true,
    present: typeof pid === 'number',
    process: typeof pid === 'number' ? asMember(pid, server.place) : null,
    from: typeof row?.['sender'] === 'string' ? row['sender'] : null,
    position: furthest(position(row?.['received']), position(row?.['replayed'])),
  };
}

/** Every process reads its files again. */
export function reload(place: Place): void {
  const postmaster = runningPostmaster(place);
  if (postmaster !== null) signalProcess(postmaster, 'SIGHUP');
}

/**
 * The operator's service_reload_command, and the plain signal where it did not make the server read its files. Never
 * throws; it is for settings only: where milliseconds count, the signal is sent without it.
 */
export async function reloadByCommand(server: RunningServer, service: ServiceCommands): Promise<void> {
  const { place } = server;
  const loadedAt = async (): Promise<unknown> =>
    (await server.ask('SELECT pg_catalog.pg_conf_load_time()::text AS at', ASK_LIMIT))[0]?.['at'];
  // What is at work is of more weight, and only one is at a time.
  if (service.busy) return reload(place);
  try {
    const before = await loadedAt();
    const command = await service.begin('service_reload_command');
    // Something more urgent took its place, and reads the files anyway or is followed by a start.
    if (command === null) return reload(place);
    const end = await command.ended;
    const until = laterBy(place.clock.now(), RELOAD_SEEN);
    while (place.clock.now() < until) {
      if ((await loadedAt()) !== before) return;
      await place.clock.sleep(WAKE_EVERY);
    }
    const sentence = `${end.sentence}; Postgres did not read its settings, and is told to by our own signal`;
    place.log.write('warn', 'command.distrusted', sentence);
  } catch {
    // A server that does not answer reads its files when it can.
  }
  reload(place);
}

/** Whether primary_conninfo, as the server has it in force, names this upstream. */
export async function isToldToFollow(server: RunningServer, upstream: ServerAddress): Promise<boolean> {
  const [row] = await server.ask(UPSTREAM, ASK_LIMIT);
  const conninfo = row?.['conninfo'];
  return typeof conninfo === 'string' && upstreamIn(conninfo) === `${upstream.host}:${upstream.port}`;
}

/**
 * Upstream by reload, or by restart before 13.
 *
 * A startup process that is paused, delayed or in a conflict does not read the new setting, and its receiver would
 * stay with the old upstream for ever: one that is connected elsewhere is therefore ended here.
 */
export async function follow(server: RunningServer, upstream: ServerAddress | null): Promise<void> {
  const { place } = server;
  const { changed } = await writeUpstream(place, upstream);
  if (place.version < RELOADABLE_UPSTREAM) {
    if (!changed) return;
    await stopServer(place, 'fast', RESTART_LIMIT);
    await startServer(place);
    return;
  }
  const postmaster = runningPostmaster(place);
  if (postmaster === null) return;
  signalProcess(postmaster, 'SIGHUP');
  const seen = await seeReceiver(server);
  // One of several: which of them accepts writes is seen by the receiver alone.
  if (upstream?.host.includes(',') === true) return;
  const wanted = upstream === null ? null : `${upstream.host}:${upstream.port}`;
  if (seen.process !== null && seen.from !== null && seen.from !== wanted) signalProcess(seen.process, 'SIGTERM');
}

/**
 * Ends the acknowledgements of this standby: upstream empty, reload, SIGTERM to the receiver, until its process is
 * gone. "Signal sent" is nothing: a receiver stuck in a sync acknowledges when that returns. The position is read
 * afterwards, never before: the receiver flushes and counts what it has on its way out.
 *
 * @throws {PghaError} PGHA_WITHDRAW_FAILED when the receiver is still there at the end of `signal`
 */
export async function withdraw(server: RunningServer, signal: AbortSignal): Promise<Lsn> {
  const { place } = server;
  const { clock } = place;
  try {
    await writeUpstream(place, null);
    if (place.version < RELOADABLE_UPSTREAM) return await withdrawByRestart(server, signal);
    reload(place);
    // A startup process that had not read the new setting yet may start one more receiver.
    let quietSince = clock.now();
    for (;;) {
      signal.throwIfAborted();
      const seen = await seeReceiver(server);
      if (!seen.inRecovery) throw new Error('it is not a standby');
      if (seen.present) {
        if (seen.process !== null) signalProcess(seen.process, 'SIGTERM');
        quietSince = clock.now();
      } else if (clock.now() - quietSince >= QUIET_FOR) {
        return seen.position;
      }
      await clock.sleep(POLL_EVERY);
    }
  } catch (cause) {
    throw failed(
      'PGHA_WITHDRAW_FAILED',
      'The standby was not withdrawn from its primary',
      'It may still acknowledge commits.',
      cause,
    );
  }
}

/** 12 takes another upstream only at a start; the position counts when the startup process waits for more WAL. */
async function withdrawByRestart(server: RunningServer, signal: AbortSignal): Promise<Lsn> {
  const { place } = server;
  await stopServer(place, 'immediate', RESTART_LIMIT);
  await startServer(place);
  for (;;) {
    signal.throwIfAborted();
    try {
      const [row] = await server.ask(
        `SELECT pg_catalog.pg_last_wal_replay_lsn()::text AS replayed FROM pg_catalog.pg_stat_activity
          WHERE backend_type = 'startup' AND wait_event IN ('RecoveryWalStream', 'RecoveryWalAll')`,
        ASK_LIMIT,
      );
      if (typeof row?.['replayed'] === 'string') return parseLsn(row['replayed']);
    } catch {
      // It does not take connections yet.
    }
    await place.clock.sleep(WAKE_EVERY);
  }
}

/**
 * Promotes without the stall of a startup process that sleeps: upstream empty and receiver ended first, then the
 * promote file, and a reload every 20 ms until the server is out of recovery.
 *
 * @param stillAllowed - asked first, and again immediately before the file that cannot be taken back
 * @param taken - timelines that are not begun again
 * @throws {PghaError} PGHA_PROMOTE_NOT_ALLOWED with nothing promoted, PGHA_PROMOTE_FAILED otherwise
 */
export async function promote(
  server: RunningServer,
  stillAllowed: () => boolean,
  signal: AbortSignal,
  taken: readonly Timeline[] = [],
): Promise<void> {
  const { place } = server;
  const postmaster = runningPostmaster(place);
  if (postmaster === null) throw promoteFailed(new Error('Postgres does not run'));
  await place.service?.quiet();
  if (!stillAllowed()) throw notAllowed();
  try {
    const [row] = await server.ask(IN_RECOVERY, ASK_LIMIT);
    if (row?.['in_recovery'] === false) return;
    await writeUpstream(place, null);
    signalProcess(postmaster, 'SIGHUP');
    const seen = await seeReceiver(server);
    if (seen.process !== null) signalProcess(seen.process, 'SIGTERM');
    // A paused replay would be ended by the promotion from 14 on; before, it keeps it waiting.
    await server.ask(
      'SELECT CASE WHEN pg_catalog.pg_is_wal_replay_paused() THEN pg_catalog.pg_wal_replay_resume()::text END',
      ASK_LIMIT,
    );
    for (const one of taken) {
      signal.throwIfAborted();
      await take(place, one);
    }
    signal.throwIfAborted();
  } catch (cause) {
    throw promoteFailed(cause);
  }
  if (!stillAllowed()) throw notAllowed();
  if (place.service?.has('promote_command') === true) {
    await promoteByCommand(server, place.service, postmaster, stillAllowed, signal);
  } else await promoteNow(server, postmaster, stillAllowed, signal);
}

/**
 * Keeps a timeline's number from being given again: Postgres takes the first one that has no history file. One without
 * lines names no ancestor, so a server in recovery never goes over to it.
 */
async function take(place: Place, one: Timeline): Promise<void> {
  const path = historyFile(place, one);
  if ((await readText(place, path)) !== null) return;
  await writeDurably(place, path, '# This cluster has been on this timeline. Nothing of it came here.\n');
}

/**
 * The operator's promote_command in the place of the promote file. Only `pg_is_in_recovery()` says that it worked: one
 * that goes on after that does so for itself, within its limit. One that fails, hangs or says yes and does nothing is a
 * failed promotion, and whatever it still has at work is ended before that is told.
 */
async function promoteByCommand(
  server: RunningServer,
  service: ServiceCommands,
  postmaster: ProcessId,
  stillAllowed: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  const { place } = server;
  const { clock } = place;
  const command = await service.begin('promote_command', { stillAllowed });
  if (command === null) throw notAllowed();
  const kill = (): void => void command.kill();
  signal.addEventListener('abort', kill, { once: true });
  try {
    const began = clock.now();
    let endedAt: Instant | null = null;
    let wakeAt = laterBy(began, WAKE_EVERY);
    for (;;) {
      // Looked at before the question: what it did was done by the time the server is asked.
      const end = command.end();
      const rows = await server.ask(IN_RECOVERY, ASK_LIMIT).catch(() => []);
      if (rows[0]?.['in_recovery'] === false) {
        command.letGo();
        void tellOfPromoteCommand(place, command);
        return;
      }
      signal.throwIfAborted();
      if (!isAlive(postmaster)) throw new Error('Postgres ended while it was promoted');
      // Ours is done in a moment; this may begin its deed long after it was begun itself.
      if (!stillAllowed()) throw new Error('leadership was not proven any more, so promote_command was ended');
      const now = clock.now();
      if (end !== null) endedAt ??= now;
      if (end !== null && (!end.orderly || now >= laterBy(endedAt ?? now, PROMOTE_SEEN))) {
        throw new Error(`${end.sentence}, and Postgres is still in recovery`);
      }
      if (now >= wakeAt) {
        signalProcess(postmaster, 'SIGHUP');
        wakeAt = laterBy(now, between(began, now) < WAKE_OFTEN_FOR ? WAKE_EVERY : WAKE_SELDOM);
      }
      await clock.sleep(POLL_EVERY);
    }
  } catch (cause) {
    await command.kill();
    await removePromoteFile(place).catch(() => undefined);
    throw cause instanceof PghaError ? cause : promoteFailed(cause);
  } finally {
    signal.removeEventListener('abort', kill);
  }
}

async function tellOfPromoteCommand(place: Place, command: OperatorCommand): Promise<void> {
  const end: CommandEnd = await command.ended;
  if (end.orderly) return;
  const sentence = `${end.sentence}; but Postgres is promoted, and that is what counts`;
  place.log.write('warn', 'command.distrusted', sentence);
}

async function promoteNow(
  server: RunningServer,
  postmaster: ProcessId,
  stillAllowed: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  const { place } = server;
  const { clock } = place;
  const writing = writeFile(promoteFile(place), '');
  try {
    await withLimit(clock, FILE_LIMIT, 'writing the promote file', writing);
    // The disk may have taken its time; without the signal nobody looks at the file.
    if (!stillAllowed()) {
      await removePromoteFile(place);
      throw notAllowed();
    }
    signalProcess(postmaster, 'SIGUSR1');
    let wakeAt = laterBy(clock.now(), WAKE_EVERY);
    for (;;) {
      // An answer that is late says nothing about the promotion, which goes on.
      const rows = await server.ask(IN_RECOVERY, ASK_LIMIT).catch(() => []);
      if (rows[0]?.['in_recovery'] === false) return;
      signal.throwIfAborted();
      if (!isAlive(postmaster)) throw new Error('Postgres ended while it was promoted');
      if (clock.now() >= wakeAt) {
        signalProcess(postmaster, 'SIGHUP');
        wakeAt = laterBy(clock.now(), WAKE_EVERY);
      }
      await clock.sleep(POLL_EVERY);
    }
  } catch (cause) {
    // Whatever became of it: a file that is left behind, or that a slow disk makes only now, must not promote a standby
    // of later days. Any signal of a child makes the postmaster look for it.
    await removePromoteFile(place).catch(() => undefined);
    void writing.then(() => unlink(promoteFile(place))).catch(() => undefined);
    throw cause instanceof PghaError ? cause : promoteFailed(cause);
  }
}

const promoteFile = ({ dataDir }: Place): string => join(dataDir, 'promote');

function removePromoteFile(place: Place): Promise<void> {
  return withLimit(place.clock, FILE_LIMIT, 'removing the promote file', unlink(promoteFile(place)));
}

function notAllowed(): PghaError {
  return new PghaError('PGHA_PROMOTE_NOT_ALLOWED', {
    happened: 'The promotion was not begun: leadership was not proven any more.',
    untouched: 'Postgres is still a standby.',
    todo: 'Nothing to do: the node decides again with what it knows then.',
  });
}

function promoteFailed(cause: unknown): PghaError {
  return failed('PGHA_PROMOTE_FAILED', 'The promotion did not end', 'It may still be under way.', cause);
}

function failed(code: ErrorCode, what: string, untouched: string, cause: unknown): PghaError {
  const said = cause instanceof Error ? cause.message : String(cause);
  const todo = "Nothing to do: the node looks again and decides. If it goes on, look at the server's log.";
  return new PghaError(code, { happened: `${what}: ${said}.`, untouched, todo }, { cause });
}
