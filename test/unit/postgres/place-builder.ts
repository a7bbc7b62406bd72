/** A place and a configuration with everything filled in, for tests that care about two or three of the values. */
import type { Config, Login, PostgresConfig } from '../../../src/config/schema.ts';
import { resolveCluster } from '../../../src/config/settings.ts';
import { instant, millis, wallTime } from '../../../src/core/time.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import type { EventLog } from '../../../src/ports/event-log.ts';
import { crc32c } from '../../../src/postgres/control-data.ts';
import type { Place } from '../../../src/postgres/place.ts';
import { aNode } from '../core/builders.ts';

export function aLogin(username: string, password: string | null = null): Login {
  return {
    username,
    password,
    sslmode: null,
    sslcert: null,
    sslkey: null,
    sslpassword: null,
    sslrootcert: null,
    sslcrl: null,
    libpq: {},
  };
}

export function aConfig(
  postgresql: Partial<PostgresConfig> = {},
  more: Partial<Pick<Config, 'scope' | 'bootstrap' | 'runtimeDirectory'>> & { readonly name?: string } = {},
): Config {
  const { name = 'node-1', ...rest } = more;
  return {
    scope: 'demo',
    namespace: '/service',
    node: aNode(name, { nodeId: 1 }),
    tags: {},
    cluster: { ...resolveCluster(null, {}).cluster, primaryStopTimeout: millis(0) },
    localOverrides: {},
    commands: {
      failoverValidation: null,
      failoverValidationTimeout: millis(5_000),
      childNodesDisconnect: null,
      service: {
        service_start_command: null,
        service_stop_command: null,
        service_restart_command: null,
        service_reload_command: null,
        promote_command: null,
        follow_command: null,
      },
      serviceTimeout: millis(60_000),
      eventNotification: null,
      eventNotifications: null,
      eventNotificationTimeout: millis(10_000),
      failover: null,
      failoverTimeout: millis(60_000),
      callbacks: { on_start: null, on_stop: null, on_restart: null, on_reload: null, on_role_change: null },
      prePromote: null,
      prePromoteTimeout: millis(5_000),
      beforeStop: null,
      beforeStopTimeout: millis(10_000),
    },
    notices: { webhook: null, syslog: null },
    pgbouncer: null,
    vip: null,
    etcd: { endpoints: [], srv: null, username: null, password: null, cacert: null, cert: null, key: null },
    restapi: {
      listen: { host: '127.0.0.1', port: 8008 },
      connectAddress: { host: '127.0.0.1', port: 8008 },
      authentication: null,
      tls: null,
    },
    ctl: { authentication: null, insecure: false, cacert: null, certfile: null, keyfile: null },
    log: { level: 'info', format: 'plain', file: null },
    guard: { mode: 'on' },
    watchdog: { mode: 'automatic', device: '/dev/watchdog', safetyMargin: null, driver: 'default' },
    runtimeDirectory: '/run/pgha/demo-node-1',
    bootstrap: { dcs: {}, initdb: [], method: null, pgHba: null, postBootstrap: null },
    ...rest,
    postgresql: {
      listen: { addresses: '127.0.0.1', port: 5432 },
      connectAddress: { host: '127.0.0.1', port: 5432 },
      proxyAddress: null,
      dataDir: '/var/lib/postgresql/demo',
      configDir: null,
      customConf: null,
      binDir: null,
      database: 'postgres',
      unixSocketDirectory: null,
      pgpass: null,
      authentication: {
        superuser: aLogin('postgres', 'secret'),
        replication: aLogin('replicator', 'rep'),
        rewind: aLogin('rewinder', 'rew'),
      },
      parameters: {},
      recoveryConf: {},
      pgHba: null,
      pgIdent: null,
      basebackup: [],
      rewind: [],
      copyMethods: [
        {
          name: 'basebackup',
          command: null,
          keepData: false,
          noParams: false,
          params: [],
          timeout: millis(86_400_000),
        },
      ],
      keepFiles: [],
      discardedWal: { directory: null, size: 1n << 30n, number: 5 },
      ...postgresql,
    },
  };
}

/** The machine's own clock. */
export const realClock: Clock = {
  now: () => instant(Number(process.hrtime.bigint()) / 1e6),
  wall: () => wallTime(Date.now()),
  suspendedFor: () => millis(0),
  timer: (after, run) => {
    const timer = setTimeout(run, after);
    timer.unref();
    return () => clearTimeout(timer);
  },
  sleep: (length, signal) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, length);
      signal?.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve();
      });
    }),
};

export interface Written {
  readonly severity: string;
  readonly event: string;
  readonly sentence: string;
}

/** A log that is a list. */
export function aLog(): EventLog & { readonly written: Written[] } {
  const written: Written[] = [];
  return { written, write: (severity, event, sentence) => void written.push({ severity, event, sentence }) };
}

export function aPlace(config: Config, values: Partial<Place> = {}): Place {
  return {
    dataDir: config.postgresql.dataDir,
    binDir: '/usr/lib/postgresql/15/bin',
    version: 15,
    versionNumber: 150_000,
    socketDir: config.postgresql.unixSocketDirectory ?? config.runtimeDirectory,
    tcpHost: '127.0.0.1',
    port: config.postgresql.listen.port,
    runtimeDirectory: config.runtimeDirectory,
    config,
    log: aLog(),
    clock: realClock,
    ...values,
  };
}

/** Of a server that is down, as version 13 to 16 write it. */
export function aControlFile(segmentBytes: number, systemId = 7423110022945573123n): Uint8Array {
  const bytes = new Uint8Array(512);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, systemId, true);
  view.setUint32(8, 1300, true);
  view.setUint32(16, 1, true);
  view.setUint32(228, segmentBytes, true);
  view.setUint32(288, crc32c(bytes.subarray(0, 288)), true);
  return bytes;
}
