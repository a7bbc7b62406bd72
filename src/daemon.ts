/**
 * Builds all parts from the configuration and the real adapters, and takes them down again. The one file that knows
 * them all; it decides nothing.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Agent } from './agent/agent.ts';
import type { AgentSettings } from './agent/parts.ts';
import { ShellCommands } from './commands/shell.ts';
import type { Environment } from './config/environment.ts';
import { withFiles } from './config/files.ts';
import { type Loaded, loadConfig } from './config/load.ts';
import { takeOver } from './config/reload.ts';
import type { Config, HostPort } from './config/schema.ts';
import { initialStored, mergePatch, resolveSettings, validateStored } from './config/settings.ts';
import { millis } from './core/time.ts';
import { basePath } from './etcd/keys.ts';
import { versionIsKnownBad } from './etcd/known-bad.ts';
import { EtcdDcs } from './etcd/store.ts';
import { GuardClient } from './guard/client.ts';
import { GuardOff } from './guard/off.ts';
import { DEFAULT_OPTIONS, type GuardOptions } from './guard/wire.ts';
import { type HttpServer, startHttp } from './http/server.ts';
import { type ClosableLog, createLog } from './log/log.ts';
import { EventNotices } from './notices/notices.ts';
import { openPeers } from './peers/http.ts';
import { PgbouncerPoolers } from './pgbouncer/poolers.ts';
import { PostgresInstance } from './postgres/instance.ts';
import { NoPostgres } from './postgres/none.ts';
import { ServerChecks } from './postgres/server-check.ts';
import { limitServerLog } from './postgres/server-process.ts';
import { SystemClock } from './system/clock.ts';
import { lockNode } from './system/lock.ts';
import { notifyServiceManager, underServiceManager } from './system/notify.ts';
import { systemRandom } from './system/random.ts';
import { prepareRuntimeDirectory } from './system/runtime-directory.ts';
import { RuntimeStateFile } from './system/state-file.ts';
import { checkSuccessor } from './system/successor.ts';
import { InterfaceAddress, removalOf } from './system/virtual-address.ts';
import { PGHA_VERSION } from './version.ts';

const GUARD_START_LIMIT = millis(5_000);
/** The first proof of a new daemon comes first. */
const GUARD_RENEWAL_PAUSE = millis(2_000);
const GUARD_RENEWALS = 5;
const GUARD_LEAVE_LIMIT = millis(1_000);
const VERSIONS_LIMIT = millis(2_000);
/** Beyond this a clean stop gives up waiting; the guard ends Postgres at its deadline. */
const STOP_LIMIT = millis(60_000);
/** What a stop takes beside that of Postgres itself: a checkpoint before it, finding a candidate, the release. */
const HAND_OVER_LIMIT = millis(30_000);
/** Events, the guard and the log, after Postgres is down. */
const AFTER_STOP_LIMIT = millis(15_000);
const LOG_FLUSH_MS = 500;
/** What events and their commands get at the end. Without Postgres nobody misses the daemon; with it, the next one waits. */
const EVENTS_LIMIT = { 'hand-over': millis(3_000), 'leave-running': millis(300) } as const;

/** An answer that has been given has left the machine by then. */
const ANSWERED = millis(50);

export interface Daemon {
  /** `hand-over`: Postgres down in order, key to the best candidate. `leave-running`: only this process ends. */
  stop(how: 'hand-over' | 'leave-running'): Promise<void>;
  /** The file was changed: read again; what cannot change while running is told and stays as it is. */
  reload(): Promise<void>;
  /** Asked by a signal to make room for the next daemon: as when `pgha-ctl restart-daemon` asks. */
  restart(): Promise<void>;
}

/** @param leave - ends this process by `stop('leave-running')`: it is to make room for the next one */
export async function startDaemon(path: string, env: Environment, leave: () => void): Promise<Daemon> {
  const load = (): Promise<Loaded> => withFiles((files) => loadConfig({ path, env, ...files }));
  const { config: loaded, warnings } = await load();
  const runtime = prepareRuntimeDirectory(loaded.runtimeDirectory);
  const clock = new SystemClock();
  // Nobody has cut it while no daemon ran, and nothing can be started where it fills the runtime directory.
  await limitServerLog({ clock, runtimeDirectory: runtime.path });
  const lock = lockNode(runtime.path);
  const atStart: Config = { ...loaded, runtimeDirectory: runtime.path };
  let config = atStart;
  const log = createLog({ ...config.log, base: { scope: config.scope, name: config.node.name } });
  for (const warning of [...warnings, ...runtime.warnings]) log.write('warn', 'config.adjusted', warning);

  const random = systemRandom();
  const server = config.node.role === 'witness' ? null : new PostgresInstance({ config, log, clock, random });
  // Not fatal when it fails: an unusable data directory or missing binaries are told by the first look.
  await server?.open().catch(() => undefined);
  const current = {
    clock,
    get config(): Config {
      return config;
    },
  };
  const postgres = server ?? new NoPostgres(config.node.name, new ServerChecks(current));
  const guard = await openGuard(config, postgres.dataDirectory, log);
  if (guard instanceof GuardClient && server !== null) tellWhereTheDataAre(guard, server, log);
  const dcs = await EtcdDcs.open(config.etcd, basePath(config.namespace, config.scope), { clock, log });
  // Nothing is read again before everything stands.
  let reload = async (): Promise<void> => undefined;
  const settings = settingsFor(
    () => config,
    () => reload(),
    makingRoom(path, config, leave),
  );
  const peers = await openPeers({ ctl: config.ctl, restapi: config.restapi, clock, own: settings });
  const state = new RuntimeStateFile(runtime.path, log);
  const commands = new ShellCommands(() => config, { binDir: '/', clock }, log);
  const notices = new EventNotices(() => config, { clock, log });
  const { chronicle } = dcs;
  const poolers = new PgbouncerPoolers(() => config, clock);
  const virtualAddress = config.vip === null ? null : new InterfaceAddress(config.vip);
  const agent = new Agent(
    {
      ...{ clock, random, dcs, postgres, peers, poolers, guard, state, log, commands, chronicle, notices },
      ...(virtualAddress === null ? {} : { virtualAddress }),
    },
    settings,
  );
  if (guard instanceof GuardClient) guard.onSuspended((because) => agent.keeper.suspect(because));
  log.write('info', 'daemon.started', `pgha ${PGHA_VERSION}: ${config.node.name} of cluster ${config.scope}`, {
    pid: process.pid,
    data_dir: postgres.dataDirectory,
    etcd: config.etcd.endpoints.join(','),
  });
  const http: HttpServer = await startHttp({ config, control: agent, log, version: PGHA_VERSION });
  await agent.start();
  await notifyServiceManager('ready', { status: `${config.node.name} of ${config.scope}` });
  warnAboutVersions(dcs, log);
  if (guard instanceof GuardClient)
    renewGuard(guard, clock, log).catch((error: unknown) =>
      log.write('error', 'action.failed', 'the guard could not be compared with the version on disk', { error }),
    );

  reload = async () => {
    try {
      const again = await load();
      if (again.config.node.role !== config.node.role)
        throw new Error('role: a witness becomes a node with Postgres, or the other way round, by a restart only');
      for (const warning of again.warnings) log.write('warn', 'config.adjusted', warning);
      const taken = takeOver(atStart, again.config);
      config = taken.config;
      if (taken.waiting.length > 0)
        log.write(
          'warn',
          'config.adjusted',
          `${taken.waiting.join(', ')}: as changed from the next start of the daemon on`,
        );
      log.setLevel(config.log.level);
      log.reopen();
      server?.useConfig(config);
      await http.useConfig(config);
      agent.settingsRead();
      log.write('info', 'daemon.reloaded', 'the configuration file was read again');
    } catch (error) {
      const sentence = 'the configuration file was not taken over; everything goes on as before';
      log.write('error', 'action.failed', sentence, { error });
      agent.events.record('repmgrd_config_reload', false, sentence);
    }
  };

  return {
    stop: async (how) => {
      const { primaryStopTimeout, walRescueTimeout } = agent.policy;
      const limit = millis(Math.max(STOP_LIMIT, primaryStopTimeout + walRescueTimeout + HAND_OVER_LIMIT));
      await notifyServiceManager('stopping', { within: limit + AFTER_STOP_LIMIT });
      await agent.stop(how, limit);
      await http.close();
      await Promise.all([
        agent.events.close(EVENTS_LIMIT[how]),
        agent.audit.close(EVENTS_LIMIT[how]),
        commands.close(EVENTS_LIMIT[how]),
        notices.close(EVENTS_LIMIT[how]),
      ]);
      if (guard instanceof GuardClient) {
        if (how === 'hand-over') await guard.leave(GUARD_LEAVE_LIMIT);
        else await guard.close();
      }
      server?.close();
      virtualAddress?.close();
      await dcs.close();
      log.write(
        'info',
        'daemon.stopped',
        how === 'hand-over'
          ? 'the service has stopped'
          : 'the daemon ends; Postgres, the guard and the key are left for the next one',
      );
      await log.close(LOG_FLUSH_MS);
      lock.release();
    },
    reload: () => reload(),
    restart: async () => {
      try {
        await agent.request({ kind: 'restart-daemon', force: false });
      } catch (error) {
        log.write('error', 'restart.refused', 'this daemon goes on: whether it may make room was not found out', {
          error,
        });
      }
    },
  };
}

const programs = dirname(fileURLToPath(import.meta.url));
const GUARD_PROGRAM = join(programs, 'guard.js');

/** Nothing ends before what follows was seen to start. */
function makingRoom(path: string, config: Config, leave: () => void): AgentSettings['makeRoom'] {
  let underWay = false;
  return async (room, lastLook) => {
    if (process.pid === 1)
      return { kind: 'refused', why: 'this daemon is process 1 of a container, which would end with it' };
    if (underWay) return { kind: 'refused', why: 'a restart is under way already' };
    underWay = true;
    const answer = await checkSuccessor({
      node: process.execPath,
      daemon: process.argv[1] ?? '',
      guard: config.guard.mode === 'off' ? null : GUARD_PROGRAM,
      config: path,
    }).finally(() => {
      underWay = false;
    });
    if (answer.kind === 'unfit') return { kind: 'refused', why: answer.sentence };
    // Taking everything up costs as much again as loading the program.
    const needed = Math.round(2 * answer.tookMs);
    if (room !== null && needed > room) {
      const why = `a daemon takes about ${needed} ms to be there on this machine now, and the window is open for ${room} ms`;
      return { kind: 'refused', why };
    }
    const stands = lastLook();
    if (stands !== null) return { kind: 'refused', why: stands };
    setTimeout(leave, ANSWERED);
    return { kind: 'accepted', version: answer.version };
  };
}

async function openGuard(config: Config, dataDirectory: string, log: ClosableLog): Promise<GuardClient | GuardOff> {
  if (config.guard.mode === 'off') return new GuardOff();
  const { listen, tls } = config.restapi;
  const guard = new GuardClient({
    runtimeDirectory: config.runtimeDirectory,
    command: [process.execPath, GUARD_PROGRAM],
    options: {
      ...DEFAULT_OPTIONS,
      dataDirectory,
      health: {
        host: listen.host,
        port: listen.port,
        tls:
          tls === null ? null : { certfile: tls.certfile, keyfile: tls.keyfile, keyfilePassword: tls.keyfilePassword },
      },
      endHungDaemon: underServiceManager(),
      watchdog: watchdogOptions(config),
      address: config.vip === null ? null : removalOf(config.vip),
    },
    log,
  });
  const answer = await guard.start(GUARD_START_LIMIT);
  if (answer.kind === 'silent')
    log.write('error', 'guard.silent', `no guard: ${answer.cause}; this node does not lead until one acknowledges`);
  return guard;
}

/** A server that nobody has ever armed the guard for is looked for there, too. */
function tellWhereTheDataAre(guard: GuardClient, server: PostgresInstance, log: ClosableLog): void {
  guard.guards(() => {
    const { postmaster } = server;
    return postmaster === null ? null : { pid: postmaster.pid, startTime: postmaster.startTicks };
  });
  server.onMoved((dataDirectory) => {
    guard.reconfigure({ dataDirectory }, GUARD_START_LIMIT).catch((error: unknown) => {
      log.write('error', 'action.failed', `the guard was not told that the data are in ${dataDirectory}`, { error });
    });
  });
}

/** After an upgrade: the guard that the last daemon has left is of the version before. */
async function renewGuard(guard: GuardClient, clock: SystemClock, log: ClosableLog): Promise<void> {
  let said = '';
  for (let attempt = 0; attempt < GUARD_RENEWALS; attempt++) {
    await clock.sleep(GUARD_RENEWAL_PAUSE);
    const outcome = await guard.renew(GUARD_START_LIMIT);
    if (outcome === 'same' || outcome === 'replaced') return;
    const severity = outcome.kept === said ? 'debug' : 'warn';
    said = outcome.kept;
    log.write(severity, 'guard.kept', `the guard of another version stays for now: ${said}`);
  }
}

function watchdogOptions({ watchdog }: Config): GuardOptions['watchdog'] {
  const { mode, device, safetyMargin, driver } = watchdog;
  return mode === 'off' ? null : { mode, device, safetyMarginMs: safetyMargin, driver };
}

function settingsFor(
  config: () => Config,
  reload: () => Promise<void>,
  makeRoom: AgentSettings['makeRoom'],
): AgentSettings {
  const { restapi, postgresql, node, guard } = config();
  const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);
  const api = restapi.connectAddress;
  const urlOf = ({ host, port }: HostPort): string => `postgres://${bracketed(host)}:${port}/${postgresql.database}`;
  const proxy = postgresql.proxyAddress;
  return {
    self: node.name,
    apiUrl: `${restapi.tls === null ? 'http' : 'https'}://${bracketed(api.host)}:${api.port}/patroni`,
    connUrl: node.role === 'witness' ? null : urlOf(postgresql.connectAddress),
    ...(proxy === null ? {} : { proxyUrl: urlOf(proxy) }),
    get tags() {
      return config().tags;
    },
    guardMode: guard.mode,
    resolve: (stored) => resolveSettings(stored, config()),
    validate: (candidate) => validateStored(candidate, config()),
    merge: (stored, patch) => mergePatch(stored, patch),
    initialConfig: initialStored(config()),
    reload,
    makeRoom,
  };
}

/** etcd issue 15247: a stuck ex-leader confirms leases that it does not hold, and revokes live ones when it wakes up. */
function warnAboutVersions(dcs: EtcdDcs, log: ClosableLog): void {
  dcs.versions(VERSIONS_LIMIT).then(
    (versions) => {
      const bad = versions.filter(({ version }) => version !== null && versionIsKnownBad(version));
      if (bad.length === 0) return;
      log.write(
        'warn',
        'dcs.version-known-bad',
        `etcd ${bad.map(({ endpoint, version }) => `${version} at ${endpoint}`).join(', ')} may revoke leases too early after a disk hang; upgrade to 3.5.13 or 3.4.31 and newer`,
      );
    },
    () => undefined,
  );
}
