/**
 * Makes a new cluster: initdb, configuration, users, the operator's post_bootstrap, all on a server that only a unix
 * socket in a private directory reaches, because at that time nobody leads and nobody may write. It ends with Postgres
 * stopped; whether and as what it is started is not decided here.
 */
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import pg from 'pg';
import type { Login } from '../config/schema.ts';
import type { SystemId } from '../core/local.ts';
import { laterBy, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Progress, ServerSettings } from '../ports/postgres.ts';
import { CommandFailure, type CommandResult, lastLine, runCommand, splitCommandLine } from './command.ts';
import { readControlData } from './control-data.ts';
import { makePrivateDirectory, removeDurably, renameDurably, writeDurably } from './durable-file.ts';
import { endFamily, familyGone, familyOf, postmasterOf, signalProcess } from './family.ts';
import { clearMarker, setMarker } from './markers.ts';
import type { Place } from './place.ts';
import { askRemote, conninfoValue, type Query } from './remote.ts';
import { configDirectory, configFile, passfilePath, writeConfiguration } from './server-config.ts';
import { empty, endLeftovers, refuseWhileInUse, targetState } from './wipe.ts';

/** initdb of an ordinary cluster takes 1 to 30 s; with very slow disks or much preloaded code more. */
const INITDB_LIMIT_MS = 600_000;
const START_LIMIT = millis(120_000);
const STOP_LIMIT = millis(120_000);
const STATEMENT_LIMIT = millis(30_000);

/**
 * @returns the new cluster's system identifier; Postgres is stopped
 * @throws {PghaError} PGHA_BOOTSTRAP_FAILED, or PGHA_CANCELLED: what was made is kept under another name
 */
export async function bootstrapCluster(
  place: Place,
  settings: ServerSettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<SystemId> {
  const state = await targetState(place);
  if (state === 'half-made') {
    await endLeftovers(place);
    refuseWhileInUse(place);
    await empty(place, []);
  } else if (state === 'in use') {
    throw new PghaError('PGHA_BOOTSTRAP_FAILED', {
      happened: `A new cluster cannot be made: ${place.dataDir} is not empty.`,
      untouched: 'Nothing in it was changed.',
      todo: 'If it is the cluster you want, start pgha with it as it is; else move it away.',
    });
  }
  try {
    await setMarker(place, 'initdb');
    await make(place, settings, progress, signal);
    const { systemId } = await readControlData(place);
    await clearMarker(place);
    return systemId;
  } catch (cause) {
    const kept = await keepFailed(place);
    const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new PghaError(
      signal.aborted ? 'PGHA_CANCELLED' : 'PGHA_BOOTSTRAP_FAILED',
      {
        happened: signal.aborted
          ? 'Making a new cluster was cancelled.'
          : `Making a new cluster failed: ${cause instanceof StepFailure ? cause.sentence : why}`,
        untouched: `${kept} No server was reachable for others.`,
        todo: 'Read the output of the step that failed in the log, correct the bootstrap section, and start again.',
      },
      { cause },
    );
  }
}

/**
 * The cluster that was just made here is not this scope's. Nobody has used it: it makes room for a copy, and is kept
 * under another name where that is possible.
 *
 * @returns the sentence that says where it is
 */
export async function setNewClusterAside(place: Place): Promise<string> {
  // Should it not go, it is marked as what it is, and a copy may take its place.
  await setMarker(place, 'initdb');
  return keepFailed(place);
}

/** A program of the bootstrap that failed, with its last line for the operator and the whole output as cause. */
class StepFailure extends Error {
  override readonly name = 'StepFailure';
  readonly sentence: string;

  constructor(program: string, result: CommandResult) {
    const sentence = `${program}: ${lastLine(result)}.`;
    super(sentence, { cause: new CommandFailure(program, result) });
    this.sentence = sentence;
  }
}

async function make(place: Place, settings: ServerSettings, progress: Progress, signal: AbortSignal): Promise<void> {
  progress('making a new cluster: initdb', null);
  await initdb(place, signal);
  await writeConfiguration(place, settings, true);
  progress('making a new cluster: users', null);
  const server = await startTemporary(place, signal);
  try {
    await createUsers(place, server);
    const command = place.config.bootstrap.postBootstrap;
    if (command !== null) {
      progress(`making a new cluster: ${command}`, null);
      await postBootstrap(place, server, command, signal);
    }
    await grantRewind(place, server);
    if (signal.aborted) throw new Error('cancelled');
  } finally {
    await server.stop();
  }
}

async function initdb(place: Place, signal: AbortSignal): Promise<void> {
  const { superuser } = place.config.postgresql.authentication;
  const asked = place.config.bootstrap.initdb.map((option) => (option.startsWith('-') ? option : `--${option}`));
  const says = (...names: string[]): boolean =>
    asked.some((option) => names.some((name) => option === name || option.startsWith(`${name}=`)));
  const passwordFile = join(place.runtimeDirectory, 'initdb-password');
  const options = [
    `--pgdata=${place.dataDir}`,
    `--username=${superuser.username}`,
    // What these write into pg_hba.conf is replaced; initdb wants to be told, and picks the password hash by it.
    ...(says('--auth', '-A', '--auth-local') ? [] : ['--auth-local=trust']),
    ...(says('--auth', '-A', '--auth-host')
      ? []
      : [`--auth-host=${superuser.password === null ? 'reject' : 'scram-sha-256'}`]),
    ...(says('--encoding', '-E') ? [] : ['--encoding=UTF8']),
    // pg_rewind needs them or wal_log_hints, and silent corruption is worse than their small cost.
    ...(says('--data-checksums', '-k', '--no-data-checksums') ? [] : ['--data-checksums']),
    ...(superuser.password === null ? [] : [`--pwfile=${passwordFile}`]),
    ...asked,
  ];
  try {
    await makePrivateDirectory(place, place.runtimeDirectory);
    if (superuser.password !== null) await writeDurably(place, passwordFile, `${superuser.password}\n`);
    const result = await runCommand(place, 'initdb', options, { signal, limitMs: INITDB_LIMIT_MS, plainLocale: false });
    if (result.code !== 0) throw new StepFailure('initdb', result);
  } finally {
    await removeDurably(place, passwordFile);
  }
}

interface TemporaryServer {
  readonly socketDir: string;
  readonly port: number;
  ask<T>(database: string, ask: (query: Query) => Promise<T>): Promise<T>;
  /** Shut down in order, whatever it takes: the directory is to be whole. */
  stop(): Promise<void>;
}

/**
 * A server without TCP, with its socket in a directory that only this user can enter, where everybody is trusted
 * therefore. Its own pg_hba.conf: the one of the cluster may know no method that works without a password.
 */
async function startTemporary(place: Place, signal: AbortSignal): Promise<TemporaryServer> {
  const socketDir = join(place.runtimeDirectory, 'bootstrap');
  const hbaFile = join(socketDir, 'pg_hba.conf');
  const { port } = place;
  await makePrivateDirectory(place, socketDir);
  await writeDurably(place, hbaFile, 'local all all trust\n');

  const overrides: Readonly<Record<string, string>> = {
    config_file: configFile(place),
    listen_addresses: '',
    unix_socket_directories: socketDir,
    unix_socket_permissions: '0700',
    hba_file: hbaFile,
    port: String(port),
    // Messages come to us; nobody confirms commits; nothing of this is for an archive.
    logging_collector: 'off',
    log_destination: 'stderr',
    synchronous_standby_names: '',
    archive_mode: 'off',
    ssl: 'off',
  };
  const options = Object.entries(overrides).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  let ended: CommandResult | null = null;
  const running = runCommand(place, 'postgres', ['-D', place.dataDir, ...options]).then((result) => {
    ended = result;
  });
  // It is awaited in stop(); until then its failure is told by whoever finds it ended.
  running.catch(() => undefined);

  const superuser = { ...place.config.postgresql.authentication.superuser, sslmode: 'disable', password: null };
  const ask: TemporaryServer['ask'] = (database, question) =>
    askRemote(
      place,
      { address: { host: socketDir, port }, login: superuser, as: { database } },
      STATEMENT_LIMIT,
      question,
    );
  const stop = async (): Promise<void> => {
    const postmaster = postmasterOf(familyOf(place.dataDir));
    if (postmaster !== null) signalProcess(postmaster, 'SIGINT');
    const until = laterBy(place.clock.now(), STOP_LIMIT);
    if (!(await familyGone(place.dataDir, place.clock, until))) await endFamily(place.dataDir, place.clock, until);
    await running;
    await removeDurably(place, hbaFile);
  };

  const until = laterBy(place.clock.now(), START_LIMIT);
  for (;;) {
    try {
      await ask('postgres', (query) => query('SELECT 1'));
      return { socketDir, port, ask, stop };
    } catch (cause) {
      if (ended !== null) throw new StepFailure('postgres', ended);
      if (signal.aborted || place.clock.now() >= until) {
        await stop();
        throw new Error('the temporary server did not answer in time.', { cause });
      }
    }
    await place.clock.sleep(millis(50));
  }
}

async function createUsers(place: Place, server: TemporaryServer): Promise<void> {
  const { superuser, replication, rewind } = place.config.postgresql.authentication;
  await server.ask('postgres', async (query) => {
    await keepOutOfLogs(query);
    const made = new Set([superuser.username]);
    for (const [login, attributes] of [
      [replication, 'LOGIN REPLICATION'],
      [rewind, 'LOGIN'],
    ] as const) {
      if (made.has(login.username)) continue;
      made.add(login.username);
      await query(`CREATE ROLE ${pg.escapeIdentifier(login.username)} WITH ${attributes}${password(login)}`);
    }
  });
}

const password = (login: Login): string =>
  login.password === null ? '' : ` PASSWORD ${pg.escapeLiteral(login.password)}`;

/** The statement that carries a password must not appear in any log, whatever the cluster's settings log. */
async function keepOutOfLogs(query: Query): Promise<void> {
  for (const setting of [
    `log_statement = 'none'`,
    'log_min_duration_statement = -1',
    'log_min_error_statement = panic',
    'log_duration = off',
    `pg_stat_statements.track_utility = 'off'`,
    `pgaudit.log = 'none'`,
  ]) {
    await query(`SET ${setting}`);
  }
}

/** What a role that is no superuser needs to be the source of pg_rewind (docs: "pg_rewind", Notes). */
async function grantRewind(place: Place, server: TemporaryServer): Promise<void> {
  const { superuser, rewind } = place.config.postgresql.authentication;
  const { database } = place.config.postgresql;
  if (rewind.username === superuser.username) return;
  const role = pg.escapeIdentifier(rewind.username);
  const found = await server.ask('postgres', (query) =>
    query('SELECT 1 FROM pg_database WHERE datname = $1', [database]),
  );
  if (found.length === 0) {
    place.log.write(
      'warn',
      'operation.progress',
      `Database ${database} (postgresql.database) does not exist: user ${rewind.username} has no rights in it, and rewinding will need the superuser.`,
    );
    return;
  }
  await server.ask(database, async (query) => {
    for (const signature of [
      'pg_ls_dir(text, boolean, boolean)',
      'pg_stat_file(text, boolean)',
      'pg_read_binary_file(text)',
      'pg_read_binary_file(text, bigint, bigint, boolean)',
    ]) {
      await query(`GRANT EXECUTE ON FUNCTION pg_catalog.${signature} TO ${role}`);
    }
    // So that the checkpoint before a rewind needs no superuser.
    if (place.version >= 15) await query(`GRANT pg_checkpoint TO ${role}`);
  });
}

async function postBootstrap(
  place: Place,
  server: TemporaryServer,
  command: string,
  signal: AbortSignal,
): Promise<void> {
  const { superuser } = place.config.postgresql.authentication;
  const dsn = Object.entries({
    host: server.socketDir,
    port: String(server.port),
    user: superuser.username,
    dbname: 'postgres',
  })
    .map(([name, value]) => `${name}=${conninfoValue(value)}`)
    .join(' ');
  // env looks the program up in PATH, where runCommand would look among the Postgres binaries.
  const result = await runCommand(place, '/usr/bin/env', [...splitCommandLine(command), dsn], {
    signal,
    plainLocale: false,
    env: {
      PGPASSFILE: passfilePath(place),
      PGOPTIONS: '-c synchronous_commit=local -c statement_timeout=0',
    },
  });
  if (result.code !== 0) throw new StepFailure(`post_bootstrap (${command}) ended with ${result.code}`, result);
}

/** Keeps what was made, for whoever wants to know why it failed. @returns the sentence that says so */
async function keepFailed(place: Place): Promise<string> {
  try {
    await endLeftovers(place);
    refuseWhileInUse(place);
    if ((await targetState(place)) === 'absent') return 'Nothing was made.';
    const parent = dirname(place.dataDir);
    const taken = new Set(await readdir(parent));
    const name = (n: number): string => `${basename(place.dataDir)}.failed-${n}`;
    let n = 1;
    while (taken.has(name(n))) n += 1;
    if (!taken.has(basename(place.dataDir))) {
      await clearMarker(place);
      return 'Nothing was made.';
    }
    await renameDurably(place, place.dataDir, join(parent, name(n)));
    await clearMarker(place);
    const config = configDirectory(place) === place.dataDir ? '' : ` Files in ${configDirectory(place)} stayed there.`;
    return `What was made is kept in ${join(parent, name(n))}.${config}`;
  } catch (error) {
    place.log.write('warn', 'operation.progress', `${place.dataDir} could not be renamed after a failed bootstrap.`, {
      error,
    });
    return `What was made is still in ${place.dataDir}, marked as unfinished.`;
  }
}
