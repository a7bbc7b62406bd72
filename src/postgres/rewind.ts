/**
 * Takes a stopped data directory back to where it parted from another server's history, with pg_rewind, and leaves a
 * stopped standby of that server. Whether a rewind is right is decided elsewhere; a directory that only lags behind
 * must never come here, because pg_rewind's crash recovery would make it diverge.
 */
import { join } from 'node:path';
import type { Login } from '../config/schema.ts';
import { laterBy, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Progress, ServerAddress, ServerSettings } from '../ports/postgres.ts';
import { CommandFailure, type CommandResult, lastLine, runCommand } from './command.ts';
import { readControlData } from './control-data.ts';
import { readText, writeIfDifferent } from './durable-file.ts';
import { clearMarker, readMarker, setMarker } from './markers.ts';
import type { Place } from './place.ts';
import { askRemote, connectionString, type Query } from './remote.ts';
import {
  configDirectory,
  configFile,
  passfilePath,
  setStandbySignal,
  writeConfiguration,
  writePassfile,
  writeUpstream,
} from './server-config.ts';
import { refuseWhileInUse } from './wipe.ts';

/** A checkpoint of a busy server with a large cache. */
const CHECKPOINT_LIMIT = millis(300_000);
/** Where we may not ask for one: the leader does its own after each promotion. */
const WAIT_FOR_CHECKPOINT = millis(60_000);
/** Crash recovery and reading the WAL back to the divergence point are silent. */
const QUIET_LIMIT_MS = 3_600_000;

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
  refuseWhileInUse(place);
  if ((await readMarker(place)) !== null) {
    throw failed(place, source, 'the directory is unfinished already', 'Nothing was changed.', null);
  }
  progress(`asking ${source.name} for a checkpoint`, null);
  await checkpointOnSource(place, source, signal);
  const { state } = await readControlData(place);
  const cleanly = state === 'shut down' || state === 'shut down in recovery';
  const wasStandby = (await readText(place, join(place.dataDir, 'standby.signal'))) !== null;
  const ownFiles = new Map<string, string>();
  for (const name of OWN_FILES) {
    const text = await readText(place, join(place.dataDir, name));
    if (text !== null && configDirectory(place) === place.dataDir) ownFiles.set(join(place.dataDir, name), text);
  }
  await writePassfile(place);

  // Before the signal file goes: without it and without the marker the directory would be one that starts as a primary.
  await setMarker(place, 'rewind');
  const asItWas = async (): Promise<void> => {
    if (wasStandby) await setStandbySignal(place, true);
    await clearMarker(place);
  };
  // The single-user server that replays the last WAL of a crashed one refuses to run beside a standby.signal.
  if (!cleanly) await setStandbySignal(place, false);
  const { result, began } = await run(place, source, cleanly, progress, signal).catch(async (error: unknown) => {
    // It could not even be started.
    await asItWas();
    throw error;
  });
  if (result.code !== 0) {
    if (!began) await asItWas();
    const untouched = began
      ? 'The directory is half rewound: it is marked and is never started.'
      : 'pg_rewind had not begun to change anything.';
    if (result.endedBy === 'cancel') {
      throw new PghaError('PGHA_CANCELLED', {
        happened: `Rewinding to ${source.name} was cancelled.`,
        untouched,
        todo: began ? 'Nothing to do: the node is copied anew.' : 'Nothing to do: it can be tried again.',
      });
    }
    const why = result.endedBy === 'limit' ? 'pg_rewind had nothing to say for an hour' : lastLine(result);
    throw failed(place, source, why, untouched, new CommandFailure('pg_rewind', result));
  }

  for (const [path, text] of ownFiles) await writeIfDifferent(place, path, text);
  await setStandbySignal(place, true);
  await writeConfiguration(place, settings);
  await writeUpstream(place, source);
  await clearMarker(place);
  progress(`rewound to ${source.name}`, 1);
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
  progress: Progress,
  signal: AbortSignal,
): Promise<{ readonly result: CommandResult; readonly began: boolean }> {
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
      `--source-server=${connectionString(source, login, passfile, more)}`,
      '--progress',
      ...(place.version >= 15 && configDirectory(place) !== place.dataDir
        ? [`--config-file=${configFile(place)}`]
        : []),
    ],
    {
      signal,
      quietLimitMs: QUIET_LIMIT_MS,
      ...(login.password === null ? {} : { env: { PGPASSFILE: passfile } }),
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
    if (signal.aborted) {
      throw new PghaError('PGHA_CANCELLED', {
        happened: `Rewinding to ${source.name} was cancelled.`,
        untouched: 'pg_rewind was not started.',
        todo: 'Nothing to do: it can be tried again.',
      });
    }
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
