/**
 * What makes a planned stop short: before it, while writes still go on, senders whose peers do not answer are shed and
 * a checkpoint is done. A fast stop waits for each sender, and for one that is blocked in a send it waits until
 * wal_sender_timeout; a minute by default.
 */
import { join } from 'node:path';
import { laterBy, type Millis, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import { type Endpoint, withConnection } from './connection.ts';
import { readText, writeDurably } from './durable-file.ts';
import type { Place } from './place.ts';
import { type RunningServer, reload } from './recovery.ts';
import { runningPostmaster } from './server-process.ts';

/** Nobody else writes it like that: so it can be told from an operator's own value when a daemon was killed here. */
const SHORT_TIMEOUT = '1001ms';
/** How long healthy peers have to answer to a new record, before the others are shed. */
const REPLY_LIMIT: Millis = millis(300);
const SHED_LIMIT: Millis = millis(4_000);
const LOOK_EVERY: Millis = millis(20);
const STATEMENT_LIMIT: Millis = millis(3_000);
/** Of a checkpoint. It may write all of shared_buffers; whoever asked has a signal to end the waiting. */
const CHECKPOINT_LIMIT: Millis = millis(600_000);

/** The time in a reply is by its sender's clock, so it is only compared with what the same sender said before. */
const REPLIES = `
SELECT pid, COALESCE(reply_time::text, '') AS reply FROM pg_catalog.pg_stat_replication WHERE state <> 'backup'`;

/**
 * wal_sender_timeout is short only in the memory of the running server: the file is put back as soon as all have read
 * it. So nothing has to be undone on disk when the server stops, and after an abandoned switchover a reload does it.
 */
export async function prepareSwitchover(server: RunningServer, endpoint: Endpoint, signal: AbortSignal): Promise<void> {
  const { place } = server;
  const before = await autoConfValue(place);
  const heardBefore = await replies(server);
  await refreshReplies(server, heardBefore, signal);
  await server.ask(`ALTER SYSTEM SET wal_sender_timeout = '${SHORT_TIMEOUT}'`, STATEMENT_LIMIT);
  try {
    reload(place);
    const until = laterBy(place.clock.now(), SHED_LIMIT);
    // The short timeout has to reach the senders before the file is put back.
    await place.clock.sleep(millis(100), signal);
    while (place.clock.now() < until) {
      signal.throwIfAborted();
      if (!(await anySilent(server, heardBefore))) break;
      await place.clock.sleep(LOOK_EVERY, signal);
    }
  } finally {
    await restoreFile(server, before);
  }
  await checkpoint(place, endpoint, signal);
}

/**
 * Makes every healthy peer reply now. Replies of an idle cluster are up to 10 s old, and a sender that takes over the
 * short timeout measures it from the last one: without this, it would shed the healthy ones too.
 */
async function refreshReplies(server: RunningServer, before: Replies, signal: AbortSignal): Promise<void> {
  const { clock } = server.place;
  await server.ask("SELECT pg_catalog.pg_logical_emit_message(true, 'pgha', 'switchover')", STATEMENT_LIMIT);
  const until = laterBy(clock.now(), REPLY_LIMIT);
  while (clock.now() < until) {
    if (!(await anySilent(server, before))) return;
    await clock.sleep(millis(5), signal);
  }
}

/** By sender: the time in its newest reply. */
type Replies = ReadonlyMap<unknown, unknown>;

async function replies(server: RunningServer): Promise<Replies> {
  const rows = await server.ask(REPLIES, STATEMENT_LIMIT);
  return new Map(rows.map((row) => [row['pid'], row['reply']]));
}

/** Whether one of these senders is still there and has heard nothing from its peer since. */
async function anySilent(server: RunningServer, since: Replies): Promise<boolean> {
  return [...(await replies(server))].some(([pid, reply]) => since.get(pid) === reply);
}

/** Harmless when nothing was prepared. */
export async function afterSwitchover(server: RunningServer): Promise<void> {
  const { place } = server;
  await cleanAutoConf(place);
  if (runningPostmaster(place) !== null) reload(place);
}

/** On a connection of its own, without the time limits of the held one. */
export async function checkpoint(place: Place, endpoint: Endpoint, signal: AbortSignal | null): Promise<void> {
  try {
    await withConnection(place, endpoint, { connect: STATEMENT_LIMIT, statement: millis(0) }, async (connection) => {
      const aborted = (): void => connection.close();
      signal?.addEventListener('abort', aborted, { once: true });
      try {
        signal?.throwIfAborted();
        await connection.query('CHECKPOINT', [], CHECKPOINT_LIMIT);
      } finally {
        signal?.removeEventListener('abort', aborted);
      }
    });
  } catch (cause) {
    const said = signal?.aborted === true ? 'it was cancelled' : cause instanceof Error ? cause.message : String(cause);
    throw new PghaError(
      signal?.aborted === true ? 'PGHA_CANCELLED' : 'PGHA_POSTGRES_UNREACHABLE',
      {
        happened: `The checkpoint was not done: ${said}.`,
        untouched: 'Nothing else was changed.',
        todo: 'Nothing to do if Postgres is being stopped; else look at its log.',
      },
      { cause },
    );
  }
}

async function restoreFile(server: RunningServer, before: string | null): Promise<void> {
  const statement =
    before === null
      ? 'ALTER SYSTEM RESET wal_sender_timeout'
      : `ALTER SYSTEM SET wal_sender_timeout = '${before.replace(/'/g, "''")}'`;
  await server.ask(statement, STATEMENT_LIMIT);
}

const autoConf = (place: Place): string => join(place.dataDir, 'postgresql.auto.conf');
const SETTING = /^wal_sender_timeout = '(.*)'\n?/m;

/** The operator's own ALTER SYSTEM, if there is one. */
async function autoConfValue(place: Place): Promise<string | null> {
  const value = SETTING.exec((await readText(place, autoConf(place))) ?? '')?.[1] ?? null;
  return value === SHORT_TIMEOUT ? null : value;
}

/** What a daemon that was killed while it prepared a switchover left in the file. */
export async function cleanAutoConf(place: Place): Promise<void> {
  const text = await readText(place, autoConf(place));
  if (text === null || SETTING.exec(text)?.[1] !== SHORT_TIMEOUT) return;
  await writeDurably(place, autoConf(place), text.replace(SETTING, ''));
}
