/**
 * Takes a stopped data directory back to where it parted from another server's history, with pg_rewind, and leaves a
 * stopped standby of that server. Whether a rewind is right is decided elsewhere; a directory that only lags behind
 * must never come here, because pg_rewind's crash recovery would make it diverge.
 */
import { access, chown, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Login } from '../config/schema.ts';
import { laterBy, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Progress, ServerAddress, ServerSettings } from '../ports/postgres.ts';
import { CommandFailure, type CommandResult, lastLine, runCommand } from './command.ts';
import { readControlData } from './control-data.ts';
import { readText, writeIfDifferent } from './durable-file.ts';
import { forgetKept, keepAside, putBack } from './kept-files.ts';
import { clearMarker, readMarker, setMarker, unwritableParent } from './markers.ts';
import type { Place } from './place.ts';
import { askRemote, connectionString, loginEnvironment, type Query } from './remote.ts';
import {
  configDirectory,
  configFile,
  passfilePath,
  setStandbySignal,
  writeConfiguration,
  writePassfile,
  writeUpstream,
} from './server-config.ts';
import { syncData } from './sync-data.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';
import { refuseWhileInUse } from './wipe.ts';

/** A checkpoint of a busy server with a large cache. */
const CHECKPOINT_LIMIT = millis(300_000);
/** Where we may not ask for one: the leader does its own after each promotion. */
const WAIT_FOR_CHECKPOINT = millis(60_000);
/** Crash recovery and reading the WAL back to the divergence point are silent. */
const QUIET_LIMIT_MS = 3_600_000;
/** A sync that is cancelled goes on for so long: ended at once, it would cost a copy. */
const SYNC_AFTER_CANCEL = millis(60_000);

/** Segments that are fetched from the source before pg_rewind is run again; more than that is better copied. */
const FETCHED_AT_ONCE = 16;
const MOST_FETCHED = 256;
const SEGMENT_LIMIT = millis(120_000);
/** As text it is twice as long on its way. */
const PART = 1 << 20;

/** This node's own files in the data directory: pg_rewind copies the source's over them. */
const OWN_FILES = ['postgresql.base.conf', 'pg_hba.conf', 'pg_hba.base.conf', 'pg_ident.conf'] as const;

/**
 * @throws {PghaError} PGHA_REWIND_FAILED or PGHA_CANCELLED. The marker stays when pg_rewind may have changed the
 *   directory; else it is as it was, and can be tried again or started
 */
export async function rewindFrom(
  place: Place,
  source: ServerAddress,
  settings: ServerSettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  await refuseWhileInUse(place);
  if ((await readMarker(place)) !== null) {
    throw failed(place, source, 'the directory is unfinished already', 'Nothing was changed.', null);
  }
  const parent = await unwritableParent(place);
  if (parent !== null) throw unmarked(place, source, parent);
  progress(`asking ${source.name} for a checkpoint`, null);
  await checkpointOnSource(place, source, signal);
  const { state, checkpoint } = await readControlData(place);
  const cleanly = state === 'shut down' || state === 'shut down in recovery';
  const wasStandby = (await readText(place, join(place.dataDir, 'standby.signal'))) !== null;
  const ownFiles = new Map<string, string>();
  for (const name of OWN_FILES) {
    const text = await readText(place, join(place.dataDir, name));
    if (text !== null && configDirectory(place) === place.dataDir) ownFiles.set(join(place.dataDir, name), text);
  }
  await writePassfile(place);
  await keepAside(place);

  // Before the signal file goes: without it and without the marker the directory would be one that starts as a primary.
  await setMarker(place, 'rewind');
  const asItWas = async (): Promise<void> => {
    if (wasStandby) await setStandbySignal(place, true);
    // Its recovery runs without fsync, and has put a checkpoint into the control file all the same.
    const now = await readControlData(place).catch(() => null);
    if (now?.checkpoint !== checkpoint) await syncRewound(place, source, progress, signal);
    await clearMarker(place);
    await forgetKept(place);
  };
  // The single-user server that replays the last WAL of a crashed one refuses to run beside a standby.signal.
  if (!cleanly) await setStandbySignal(place, false);
  const { result, began } = await withMissingWal(place, source, cleanly, progress, signal).catch(
    async (error: unknown) => {
      // It could not even be started.
      await asItWas();
      throw error;
    },
  );
  if (result.code !== 0) {
    if (!began) await asItWas();
    const untouched = began
      ? 'The directory is half rewound: it is marked and is never started.'
      : 'pg_rewind had not begun to change anything.';
    if (result.endedBy === 'cancel')
      throw cancelled(source, untouched, began ? COPIED_ANEW : 'Nothing to do: it can be tried again.');
    const why = result.endedBy === 'limit' ? 'pg_rewind had nothing to say for an hour' : lastLine(result);
    throw failed(place, source, why, untouched, new CommandFailure('pg_rewind', result));
  }

  // It syncs what it has changed; where it finds nothing to undo, not even what its recovery has.
  if (!began) await syncRewound(place, source, progress, signal);
  for (const [path, text] of ownFiles) await writeIfDifferent(place, path, text);
  await setStandbySignal(place, true);
  await writeConfiguration(place, settings);
  await writeUpstream(place, source);
  await putBack(place);
  await clearMarker(place);
  await forgetKept(place);
  progress(`rewound to ${source.name}`, 1);
}

/** @throws {PghaError} PGHA_REWIND_FAILED or PGHA_CANCELLED; the marker is to stay then */
async function syncRewound(
  place: Place,
  source: ServerAddress,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const ending = new AbortController();
  let forget = (): void => undefined;
  const endLater = (): void => {
    forget = place.clock.timer(SYNC_AFTER_CANCEL, () => ending.abort());
  };
  if (signal.aborted) endLater();
  else signal.addEventListener('abort', endLater, { once: true });
  try {
    await syncData(place, progress, ending.signal);
  } catch (cause) {
    const untouched = 'The directory is marked as unfinished and is never started.';
    if (ending.signal.aborted) throw cancelled(source, untouched, COPIED_ANEW);
    throw failed(place, source, cause instanceof Error ? cause.message : String(cause), untouched, cause);
  } finally {
    signal.removeEventListener('abort', endLater);
    forget();
  }
}

/**
 * pg_rewind reads our own WAL back to the last checkpoint that both sides have, which may be recycled here long ago. What
 * restore_command does not bring it is fetched from the source, where the same segment may still be.
 */
async function withMissingWal(
  place: Place,
  source: ServerAddress,
  cleanly: boolean,
  progress: Progress,
  signal: AbortSignal,
): Promise<Rewound> {
  const restores = await canRestore(place);
  for (let fetched = 0; ; ) {
    const ran = await run(place, source, cleanly, restores, progress, signal);
    const missing = ran.result.code === 0 || ran.began ? null : missingSegment(ran.result.stderr);
    if (missing === null || fetched >= MOST_FETCHED || signal.aborted) return ran;
    progress(`fetching WAL that is missing here from ${source.name}: ${missing}`, null);
    const got = await fetchSegments(place, source, missing, signal);
    if (got === 0) return ran;
    fetched += got;
  }
}

interface Rewound {
  readonly result: CommandResult;
  readonly began: boolean;
}

/** The segment for whose want pg_rewind ended; null: it ended for something else. */
export function missingSegment(stderr: string): string | null {
  return /could not open file "[^"]*\/pg_wal\/([0-9A-F]{24})": No such file/.exec(stderr)?.[1] ?? null;
}

/** Whether pg_rewind can fetch by itself: from 13 on, and with a configuration elsewhere from 15 on. */
async function canRestore(place: Place): Promise<boolean> {
  const outside = configDirectory(place) !== place.dataDir;
  if (place.version < 13 || (outside && place.version < 15)) return false;
  const options = ['-C', 'restore_command', '-D', place.dataDir, '-c', `config_file=${configFile(place)}`];
  const said = await runCommand(place, 'postgres', options, { limitMs: 10_000 });
  return said.code === 0 && said.stdout.trim() !== '';
}

/**
 * That segment and some before it, because pg_rewind reads backwards and would ask for each of them in a run of its own.
 *
 * @returns how many were brought; 0: the source has not got it either, or does not let us read it
 */
async function fetchSegments(place: Place, source: ServerAddress, last: string, signal: AbortSignal): Promise<number> {
  const { authentication, database } = place.config.postgresql;
  const { walSegmentBytes } = await readControlData(place);
  const size = Number(walSegmentBytes);
  let name: string | null = last;
  let got = 0;
  try {
    for (; name !== null && got < FETCHED_AT_ONCE && !signal.aborted; name = segmentBefore(name, walSegmentBytes)) {
      const path = join(place.dataDir, 'pg_wal', name);
      if (await withLimit(place.clock, FILE_LIMIT, `looking for ${name}`, exists(path))) break;
      const wanted: string = name;
      const target = { address: source, login: authentication.rewind, as: { database } };
      const bytes = await askRemote(place, target, SEGMENT_LIMIT, async (query) => {
        const parts: Buffer[] = [];
        for (let at = 0; at < size; at += PART) {
          const [row] = await query('SELECT pg_read_binary_file($1, $2, $3, true) AS part', [
            `pg_wal/${wanted}`,
            at,
            PART,
          ]);
          const part = row?.['part'];
          if (!Buffer.isBuffer(part)) return null;
          parts.push(part);
        }
        return Buffer.concat(parts);
      });
      if (bytes === null || bytes.length !== size) break;
      await putSegment(place, path, bytes);
      got += 1;
    }
  } catch (error) {
    const sentence = `WAL that is missing here could not be fetched from ${source.name}`;
    place.log.write('warn', 'action.failed', sentence, { segment: name, error });
  }
  return got;
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** The one before it on the same timeline; null: there is none. */
export function segmentBefore(name: string, segmentBytes: bigint): string | null {
  const perId = 0x100000000n / segmentBytes;
  const number = BigInt(`0x${name.slice(8, 16)}`) * perId + BigInt(`0x${name.slice(16)}`);
  if (number === 0n) return null;
  const hex = (n: bigint): string => n.toString(16).toUpperCase().padStart(8, '0');
  return name.slice(0, 8) + hex((number - 1n) / perId) + hex((number - 1n) % perId);
}

/** Under its name only when it is whole. */
async function putSegment(place: Place, path: string, bytes: Buffer): Promise<void> {
  const beside = `${path}.pgha-fetched`;
  const putting = async (): Promise<void> => {
    await writeFile(beside, bytes, { mode: 0o600, flush: true });
    if (place.runAs !== undefined) await chown(beside, place.runAs.uid, place.runAs.gid);
    await rename(beside, path);
  };
  await withLimit(place.clock, SEGMENT_LIMIT, `writing ${path}`, putting());
}

/**
 * pg_rewind, and whether it has begun to change the directory: with --progress it says `need to copy N MB` when all
 * reading and comparing is done and the first change is next. Until then it has at most let a crashed server recover,
 * which any start does. Ended by SIGKILL it may have said so without our hearing it: that counts as begun.
 */
async function run(
  place: Place,
  source: ServerAddress,
  cleanly: boolean,
  restores: boolean,
  progress: Progress,
  signal: AbortSignal,
): Promise<Rewound> {
  let began = false;
  if (!cleanly && place.version < 13) {
    // From 13 on pg_rewind does this itself.
    progress('replaying the last WAL of the crashed server', null);
    const recovered = await runCommand(
      place,
      'postgres',
      [
        '--single',
        '-F',
        '-D',
        place.dataDir,
        '-c',
        `config_file=${configFile(place)}`,
        '-c',
        'archive_mode=off',
        'template1',
      ],
      { signal, limitMs: QUIET_LIMIT_MS },
    );
    if (recovered.code !== 0) return { result: recovered, began };
  }
  progress(`rewinding to ${source.name}`, null);
  const { authentication, database } = place.config.postgresql;
  const login = authentication.rewind;
  const passfile = passfilePath(place);
  const more = { application_name: `${place.config.node.name} rewind`, connect_timeout: '10', dbname: database };
  const result = await runCommand(
    place,
    'pg_rewind',
    [
      `--target-pgdata=${place.dataDir}`,
      `--source-server=${connectionString(source, login, { passfile, version: place.version }, more)}`,
      '--progress',
      ...(restores ? ['--restore-target-wal'] : []),
      ...(place.version >= 15 && configDirectory(place) !== place.dataDir
        ? [`--config-file=${configFile(place)}`]
        : []),
      ...place.config.postgresql.rewind,
    ],
    {
      signal,
      quietLimitMs: QUIET_LIMIT_MS,
      env: await loginEnvironment(place, login, passfile),
      onLine: (line) => {
        const copied = /^\s*(\d+)\/(\d+) kB \(\d+%\) copied/.exec(line);
        if (copied !== null) {
          const [done, whole] = [Number(copied[1]), Number(copied[2])];
          progress(`rewinding to ${source.name}: ${done} of ${whole} kB`, whole === 0 ? null : done / whole);
        }
        if (copied !== null || line.includes('need to copy')) began = true;
        if (line.includes('no rewind required')) {
          place.log.write('info', 'operation.progress', `pg_rewind finds nothing to undo against ${source.name}.`);
        }
      },
    },
  );
  return { result, began: began || result.code === 137 };
}

/**
 * A server that was just promoted keeps the old timeline in its control file until its first checkpoint, and
 * pg_rewind believes that file: it would say "no rewind required" and leave a node that never can follow. So a
 * checkpoint first, and a look at the file. Up to 15 this is certain; later versions are treated alike.
 */
async function checkpointOnSource(place: Place, source: ServerAddress, signal: AbortSignal): Promise<void> {
  const { authentication, database } = place.config.postgresql;
  const logins = [authentication.rewind, authentication.superuser];
  const until = laterBy(place.clock.now(), WAIT_FOR_CHECKPOINT);
  let failure: unknown = null;
  for (let login: Login | undefined = logins[0]; ; login = login === logins[0] ? logins[1] : logins[0]) {
    if (signal.aborted) throw cancelled(source, 'pg_rewind was not started.', 'Nothing to do: it can be tried again.');
    if (login !== undefined) {
      try {
        const target = { address: source, login, as: { database } };
        const answer = await askRemote(place, target, CHECKPOINT_LIMIT, sourceState);
        if (answer === 'ready') return;
        if (answer === 'in recovery') {
          throw failed(
            place,
            source,
            `${source.name} is in recovery, not a primary`,
            'pg_rewind was not started.',
            null,
          );
        }
        failure = new Error('its control file still names the timeline before its promotion');
      } catch (error) {
        if (error instanceof PghaError) throw error;
        failure = error;
      }
    }
    if (login === logins[1] && (place.clock.now() >= until || !isOnlyLate(failure))) break;
    if (login === logins[1]) await place.clock.sleep(millis(500));
  }
  const why = failure instanceof Error ? failure.message : String(failure);
  throw failed(place, source, `no checkpoint on ${source.name}: ${why}`, 'pg_rewind was not started.', failure);
}

/** Waiting helps only against a checkpoint that has not been done yet. */
const isOnlyLate = (failure: unknown): boolean =>
  failure instanceof Error && /control file|permission|must be superuser/i.test(failure.message);

async function sourceState(query: Query): Promise<'ready' | 'in recovery' | 'checkpoint missing'> {
  const [recovery] = await query('SELECT pg_is_in_recovery() AS yes');
  if (recovery?.['yes'] === true) return 'in recovery';
  let refused: unknown = null;
  try {
    await query('CHECKPOINT');
  } catch (error) {
    // No right to ask for one. The file may be new enough all the same.
    refused = error;
  }
  const [row] = await query(
    `SELECT (SELECT timeline_id FROM pg_control_checkpoint()) = ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS current`,
  );
  if (row?.['current'] === true) return 'ready';
  if (refused !== null) throw refused;
  return 'checkpoint missing';
}

const COPIED_ANEW = 'Nothing to do: the node is copied anew.';

function cancelled(source: ServerAddress, untouched: string, todo: string): PghaError {
  return new PghaError('PGHA_CANCELLED', {
    happened: `Rewinding to ${source.name} was cancelled.`,
    untouched,
    todo,
  });
}

/** It changes files in place: after a power loss in the middle of it nothing but the marker says that they do not fit together. */
function unmarked({ dataDir }: Place, source: ServerAddress, parent: string): PghaError {
  return new PghaError('PGHA_REWIND_FAILED', {
    happened: `Rewinding ${dataDir} to ${source.name} was not begun: ${parent} cannot be written, and after a power loss nobody would know that the rewind did not end.`,
    untouched: 'Nothing was changed.',
    todo: `Let the user of pgha write to ${parent}, or put the data directory one level below the mount point. Else the node is copied anew where the configuration allows it.`,
  });
}

function failed(place: Place, source: ServerAddress, why: string, untouched: string, cause: unknown): PghaError {
  return new PghaError(
    'PGHA_REWIND_FAILED',
    {
      happened: `Rewinding ${place.dataDir} to ${source.name} (${source.host}:${source.port}) failed: ${why}.`,
      untouched,
      todo: `The node tries again, or is copied anew where the configuration allows it; \`pgha-ctl reinit\` does that at once.`,
    },
    { cause },
  );
}
