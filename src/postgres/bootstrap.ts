/**
 * Makes a new cluster: initdb (or what the operator's own method brings, recovered as far as he says), configuration, users, the operator's post_bootstrap, all on a server that only a unix
 * socket in a private directory reaches, because at that time nobody leads and nobody may write. It ends with Postgres
 * stopped; whether and as what it is started is not decided here.
 */
import { readdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import pg from 'pg';
import type { BootstrapMethod, Login } from '../config/schema.ts';
import type { SystemId } from '../core/local.ts';
import { laterBy, type Millis, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Progress, ServerSettings } from '../ports/postgres.ts';
import { CommandFailure, type CommandResult, lastLine, runCommand, splitCommandLine } from './command.ts';
import { readControlData } from './control-data.ts';
import { makePrivateDirectory, readText, removeDurably, renameDurably, writeDurably } from './durable-file.ts';
import { endFamily, familyGone, familyOf, postmasterOf, signalProcess } from './family.ts';
import { clearMarker, setMarker, whileFilling } from './markers.ts';
import { runMethodCommand } from './method-command.ts';
import { madeByVersion, type Place } from './place.ts';
import { askRemote, conninfoValue, type Query } from './remote.ts';
import {
  configDirectory,
  configFile,
  effectiveParameters,
  passfilePath,
  readStandbyMinimums,
  renderInput,
  setStandbySignal,
  writeConfiguration,
} from './server-config.ts';
import { syncData } from './sync-data.ts';
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
    await refuseWhileInUse(place, true);
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
  const { method } = place.config.bootstrap;
  progress(`making a new cluster: ${method?.name ?? 'initdb'}`, null);
  const fill = (): Promise<void> =>
    method === null ? initdb(place, signal) : runMethod(place, method, progress, signal);
  await whileFilling(place, fill);
  const recovery = method === null ? null : await prepareRecovery(place, method);
  await writeConfiguration(place, settings, method === null);
  progress(recovery === null ? 'making a new cluster: users' : 'making a new cluster: recovering the backup', null);
  const server = await startTemporary(
    place,
    {
      ...(method === null ? {} : await atLeastAsBefore(place, settings)),
      ...(recovery === null ? {} : { ...recovery, config_file: await configurationOfRecovery(place) }),
    },
    method?.timeout ?? START_LIMIT,
    signal,
  );
  try {
    if (recovery !== null) progress('making a new cluster: users', null);
    await createUsers(place, server, method !== null);
    const command = place.config.bootstrap.postBootstrap;
    if (command !== null) {
      progress(`making a new cluster: ${command}`, null);
      await postBootstrap(place, server, command, signal);
    }
    await grantRewind(place, server);
    if (signal.aborted) throw new Error('cancelled');
  } finally {
    await server.stop();
    await removeDurably(place, recoveryFile(place));
  }
}

const recoveryFile = (place: Place): string => join(configDirectory(place), 'pgha-recovery.conf');

/** Ours without its empty targets: to Postgres an empty one beside another is one too many, wherever they stand. */
async function configurationOfRecovery(place: Place): Promise<string> {
  const text = (await readText(place, configFile(place))) ?? '';
  await writeDurably(place, recoveryFile(place), text.replace(/^recovery_target\w* = .*$/gm, ''));
  return recoveryFile(place);
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

/** The operator's command; what it brought is looked at, never believed. */
async function runMethod(
  place: Place,
  method: BootstrapMethod,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  await makePrivateDirectory(place, place.dataDir);
  const how = {
    own: [`--scope=${place.config.scope}`, `--datadir=${place.dataDir}`],
    what: `making a new cluster: ${method.name}`,
  };
  const result = await runMethodCommand(place, method, how, progress, signal);
  if (result.endedBy === 'limit') throw new Error(`${method.name} was ended after ${method.timeout / 1000} s`);
  if (result.code !== 0) throw new StepFailure(`${method.name} ended with ${result.code}`, result);
  await refuseWhileInUse(place);
  const made = await madeByVersion(place);
  if (made !== place.version) {
    const brought = made === null ? 'no data directory' : `data of PostgreSQL ${made}`;
    throw new Error(`${method.name} ended with 0 and left ${brought} in ${place.dataDir}`);
  }
  await syncData(place, progress, signal);
}

/** Settings of a recovery that a backup tool writes down in postgresql.auto.conf. */
const OF_RECOVERY = /^(restore_command|recovery_[a-z_]+|archive_cleanup_command)$/;

/**
 * Decides by the signal files whether the next start recovers a backup, and how far.
 *
 * @returns the settings of that recovery, which win over all files; null: there is none
 */
async function prepareRecovery(
  place: Place,
  method: BootstrapMethod,
): Promise<Readonly<Record<string, string>> | null> {
  const signalFile = join(place.dataDir, 'recovery.signal');
  const wasAsked = (await readText(place, signalFile)) !== null;
  const found = method.keepExistingRecoveryConf ? await writtenForRecovery(place) : {};
  const recovers = method.recoveryConf !== null || (method.keepExistingRecoveryConf && wasAsked);
  await setStandbySignal(place, false);
  if (!recovers) return null;
  await writeDurably(place, signalFile, '');
  // Paused or shut down at its target it would be of no use: what comes out of it is a primary.
  return { ...found, ...method.recoveryConf, recovery_target_action: 'promote' };
}

/** Before our own configuration takes its place. */
async function writtenForRecovery(place: Place): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const text = (await readText(place, join(place.dataDir, 'postgresql.auto.conf'))) ?? '';
  for (const [, name = '', quoted, bare] of text.matchAll(/^\s*([a-z_]+)\s*=?\s*(?:'((?:''|[^'])*)'|(\S+))/gim))
    if (OF_RECOVERY.test(name.toLowerCase())) found[name.toLowerCase()] = quoted?.replaceAll("''", "'") ?? bare ?? '';
  return found;
}

/** Recovery refuses less than the server of the backup had (docs: "Hot Standby", Administrator's Overview). */
async function atLeastAsBefore(place: Place, settings: ServerSettings): Promise<Record<string, string>> {
  const { values } = effectiveParameters(await renderInput(place, settings));
  const before = Object.entries(await readStandbyMinimums(place));
  return Object.fromEntries(
    before.filter(([name, least]) => Number(values.get(name)) < least).map(([name, least]) => [name, String(least)]),
  );
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
async function startTemporary(
  place: Place,
  more: Readonly<Record<string, string>>,
  limit: Millis,
  signal: AbortSignal,
): Promise<TemporaryServer> {
  const socketDir = join(place.runtimeDirectory, 'bootstrap');
  const hbaFile = join(socketDir, 'pg_hba.conf');
  const { port } = place;
  await makePrivateDirectory(place, socketDir);
  await writeDurably(place, hbaFile, 'local all all trust\n');

  const overrides: Readonly<Record<string, string>> = {
    config_file: configFile(place),
    ...more,
    listen_addresses: '',
    unix_socket_directories: socketDir,
    unix_socket_permissions: '0700',
    hba_file: hbaFile,
    port: String(port),
    // Messages come to us; nobody confirms commits; nothing of this is for an archive.
    logging_collector: 'off',
    log_destination: 'stderr',
    synchronous_standby_names: '',
    default_transaction_read_only: 'off',
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
    const postmaster = postmasterOf(familyOf(place));
    if (postmaster !== null) signalProcess(postmaster, 'SIGINT');
    const until = laterBy(place.clock.now(), STOP_LIMIT);
    if (!(await familyGone(place, place.clock, until))) await endFamily(place, place.clock, until);
    await running;
    await removeDurably(place, hbaFile);
  };

  const until = laterBy(place.clock.now(), limit);
  for (;;) {
    let failure: unknown = new Error('it is still recovering');
    try {
      const [row] = await ask('postgres', (query) => query('SELECT pg_is_in_recovery() AS recovering'));
      if (row?.['recovering'] === false) return { socketDir, port, ask, stop };
    } catch (cause) {
      failure = cause;
    }
    if (ended !== null) throw new StepFailure('postgres', ended);
    if (signal.aborted || place.clock.now() >= until) {
      await stop();
      throw new Error('the temporary server was not ready in time.', { cause: failure });
    }
    await place.clock.sleep(millis(50));
  }
}

/** @param found - the cluster has users of its own: those that we need are made, or get what they need */
async function createUsers(place: Place, server: TemporaryServer, found: boolean): Promise<void> {
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
      const role = pg.escapeIdentifier(login.username);
      const [there] = found ? await query('SELECT 1 FROM pg_roles WHERE rolname = $1', [login.username]) : [];
      const verb = there === undefined ? 'CREATE' : 'ALTER';
      await query(`${verb} ROLE ${role} WITH ${attributes}${password(login)}`);
    }
    if (found && superuser.password !== null)
      await query(`ALTER ROLE ${pg.escapeIdentifier(superuser.username)} WITH${password(superuser)}`);
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

/** A link that the operator has made would lead nowhere, and the next bootstrap make a directory in its place. */
async function keepLinkWhole(place: Place): Promise<string> {
  if (place.dataDir === resolve(place.config.postgresql.dataDir)) return '';
  return makePrivateDirectory(place, place.dataDir).then(
    () => '',
    (error: unknown) => ` ${place.dataDir}, to which data_dir leads, could not be made again: ${String(error)}.`,
  );
}

/** Keeps what was made, for whoever wants to know why it failed. @returns the sentence that says so */
async function keepFailed(place: Place): Promise<string> {
  try {
    await endLeftovers(place);
    await refuseWhileInUse(place);
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
    const trouble = await keepLinkWhole(place);
    await clearMarker(place);
    const config = configDirectory(place) === place.dataDir ? '' : ` Files in ${configDirectory(place)} stayed there.`;
    return `What was made is kept in ${join(parent, name(n))}.${config}${trouble}`;
  } catch (error) {
    place.log.write('warn', 'operation.progress', `${place.dataDir} could not be renamed after a failed bootstrap.`, {
      error,
    });
    return `What was made is still in ${place.dataDir}, marked as unfinished.`;
  }
}
