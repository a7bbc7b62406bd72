/**
 * What is done to a running standby: told whom to follow, withdrawn from its primary, promoted. Each step is one of
 * those measured to be certain and quick; whether it is to be taken at all, and when, is decided elsewhere.
 */
import { unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { furthest, type Lsn, NOWHERE, parseLsn } from '../core/lsn.ts';
import { laterBy, type Millis, millis } from '../core/time.ts';
import { type ErrorCode, PghaError } from '../errors.ts';
import type { ServerAddress } from '../ports/postgres.ts';
import type { Row } from './connection.ts';
import { asMember, type FamilyMember, isAlive, type ProcessId, signalProcess } from './family.ts';
import type { Place } from './place.ts';
import { writeUpstream } from './server-config.ts';
import { runningPostmaster, startServer, stopServer } from './server-process.ts';
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
/** primary_conninfo is taken over by a reload from here on. */
const RELOADABLE_UPSTREAM = 13;

const IN_RECOVERY = 'SELECT pg_catalog.pg_is_in_recovery() AS in_recovery';
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
    process: typeof pid === 'number' ? asMember(pid, server.place.dataDir) : null,
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
 * @throws {PghaError} PGHA_PROMOTE_NOT_ALLOWED with nothing promoted, PGHA_PROMOTE_FAILED otherwise
 */
export async function promote(server: RunningServer, stillAllowed: () => boolean, signal: AbortSignal): Promise<void> {
  const { place } = server;
  const postmaster = runningPostmaster(place);
  if (postmaster === null) throw promoteFailed(new Error('Postgres does not run'));
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
    signal.throwIfAborted();
  } catch (cause) {
    throw promoteFailed(cause);
  }
  if (!stillAllowed()) throw notAllowed();
  await promoteNow(server, postmaster, stillAllowed, signal);
}

async function promoteNow(
  server: RunningServer,
  postmaster: ProcessId,
  stillAllowed: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  const { place } = server;
  const { clock, dataDir } = place;
  const file = join(dataDir, 'promote');
  const removeFile = (): Promise<void> => withLimit(clock, FILE_LIMIT, 'removing the promote file', unlink(file));
  const writing = writeFile(file, '');
  try {
    await withLimit(clock, FILE_LIMIT, 'writing the promote file', writing);
    // The disk may have taken its time; without the signal nobody looks at the file.
    if (!stillAllowed()) {
      await removeFile();
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
    await removeFile().catch(() => undefined);
    void writing.then(() => unlink(file)).catch(() => undefined);
    throw cause instanceof PghaError ? cause : promoteFailed(cause);
  }
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
