import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { PghaError } from '../../../src/errors.ts';

const MINIMAL = `scope: main
name: pg1
etcd3:
  hosts: [10.0.0.1:2379, 10.0.0.2:2379]
restapi:
  connect_address: 10.0.0.1:8008
postgresql:
  listen: '*:5432'
  connect_address: 10.0.0.1:5432
  data_dir: /srv/pg/main
`;

type Files = Readonly<Record<string, string>>;

function reader(files: Files): (path: string) => string {
  return (path) => {
    const content = files[path];
    if (content === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    return content;
  };
}

const load = (text: string, env: Readonly<Record<string, string>> = {}, files: Files = {}) =>
  loadConfig({ path: '/etc/pgha/pgha.yml', env, readFile: reader({ '/etc/pgha/pgha.yml': text, ...files }) });

function refusal(text: string, env: Readonly<Record<string, string>> = {}, files: Files = {}): PghaError {
  try {
    load(text, env, files);
  } catch (error) {
    if (error instanceof PghaError) return error;
    throw error;
  }
  throw new Error('the file was accepted');
}

const problems = (text: string, env: Readonly<Record<string, string>> = {}, files: Files = {}): readonly string[] =>
  refusal(text, env, files).cause as readonly string[];

const inRepository = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

const HASH = '$scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

describe('restapi.server_tokens', () => {
  it.each([
    ['Minimal', { Server: 'Patroni/4.1.4' }],
    ['minimal', { Server: 'Patroni/4.1.4' }],
    ['ProductOnly', { Server: 'Patroni' }],
    ['Original', {}],
  ])('%s decides the header Server', (tokens, headers) => {
    const { config } = load(MINIMAL, { PGHA_RESTAPI_SERVER_TOKENS: tokens });
    expect(config.restapi.extraHeaders).toEqual(headers);
  });
});

describe('the section vip', () => {
  const section = (lines: string, listen = '*:5432'): string =>
    `${MINIMAL.replace("listen: '*:5432'", `listen: '${listen}'`)}vip:\n${lines}`;

  it('names addresses, as the kernel prints them, and the interface', () => {
    const { config } = load(section('  address: 10.0.0.100/24\n  interface: eth0\n'));
    expect(config.vip).toEqual({ addresses: ['10.0.0.100/24'], interface: 'eth0' });
    const several = load(section('  address: [10.0.0.100/24, FD00:0::0100/64]\n  interface: bond0.12\n'));
    expect(several.config.vip?.addresses).toEqual(['10.0.0.100/24', 'fd00::100/64']);
    expect(load(MINIMAL).config.vip).toBeNull();
  });

  it.each([
    ['  interface: eth0\n', 'missing: the address that is to follow the primary'],
    ['  address: 10.0.0.100/24\n', 'missing: the interface of this node'],
    ['  address: 10.0.0.100\n  interface: eth0\n', 'has no prefix: 10.0.0.100/24'],
    ['  address: 10.0.0.100/33\n  interface: eth0\n', 'has a prefix that is none: 1 to 32 is expected'],
    ['  address: db.example.org/24\n  interface: eth0\n', 'is no IP address with the length of its prefix'],
    ['  address: 127.0.0.9/8\n  interface: lo\n', 'can not be reached by clients'],
    ['  address: 10.0.0.1/24\n  interface: eth0\n', "10.0.0.1 is this node's own address"],
    ['  address: 10.0.0.100/24\n  interface: "eth0; reboot"\n', 'is no name of a network interface'],
  ])('refuses %j', (lines, said) => {
    expect(() => load(section(lines))).toThrow(said);
  });

  it('refuses an address on which Postgres does not listen', () => {
    const text = '  address: 10.0.0.100/24\n  interface: eth0\n';
    expect(() => load(section(text, '10.0.0.1,127.0.0.1:5432'))).toThrow("postgresql.listen has to be '*:5432'");
    expect(load(section(text, '10.0.0.1,10.0.0.100:5432')).config.vip).not.toBeNull();
  });
});

describe('the section pgbouncer', () => {
  const section = (lines: string): string => `${MINIMAL}pgbouncer:\n${lines}`;

  it('names the poolers, with what is left out', () => {
    const { config } = load(section('  poolers: [10.0.0.1, 10.0.0.2:6543]\n  password: s\n'));
    expect(config.pgbouncer).toEqual({
      poolers: ['10.0.0.1:6432', '10.0.0.2:6543'],
      username: 'pgbouncer',
      password: 's',
      databases: [],
      pauseTimeout: 5_000,
      maxPause: 30_000,
      databasesFile: null,
    });
    expect(config.node.poolers).toEqual({
      addresses: ['10.0.0.1:6432', '10.0.0.2:6543'],
      pauseTimeout: 5_000,
      maxPause: 30_000,
    });
  });

  it('takes what follows the name of a database as its options', () => {
    const { config } = load(section('  poolers: 10.0.0.9\n  databases: [app pool_size=40  dbname=main, reports]\n'));
    expect(config.pgbouncer?.databases).toEqual([
      { name: 'app', options: 'pool_size=40 dbname=main' },
      { name: 'reports', options: '' },
    ]);
  });

  it.each([
    ['  username: x\n', 'missing: the addresses of the consoles'],
    ['  poolers: [127.0.0.1:6432]\n', '127.0.0.1:6432 is another pooler on each node'],
    ['  poolers: ["*:6432"]\n', '*:6432 is no address of a pooler'],
    [
      '  poolers: [10.0.0.9]\n  databases_file: /tmp/x.ini\n',
      'no pooler stands in the list with an address of this node (10.0.0.1',
    ],
    ['  poolers: [10.0.0.1]\n  max_pause: 5\n', 'has to be longer than pause_timeout'],
  ])('refuses %j', (lines, said) => {
    expect(problems(section(lines)).join()).toContain(said);
  });
});

describe('a minimal file', () => {
  it('is complete with the defaults', () => {
    const { config, warnings } = load(MINIMAL);
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({
      scope: 'main',
      namespace: '/service',
      node: { name: 'pg1', nodeId: null, priority: 100, noFailover: false, location: 'default' },
      tags: {},
      localOverrides: {},
      cluster: {
        ttl: 10_000,
        loopWait: 2_000,
        retryTimeout: 3_000,
        maximumLagOnFailoverBytes: 1_048_576n,
        maximumLagOnFailoverTime: 0,
        primaryStartTimeout: 300_000,
        primaryCrash: 'auto',
        walRescue: 'auto',
        walRescueTimeout: 2_000,
        checkType: 'ping',
        checkTimeout: 1_000,
        reconnectAttempts: 2,
        reconnectInterval: 1_000,
        failover: 'automatic',
        pause: false,
        memberSlotsTtl: 1_800_000,
      },
      etcd: { endpoints: ['http://10.0.0.1:2379', 'http://10.0.0.2:2379'], username: null },
      restapi: { listen: { host: '0.0.0.0', port: 8008 }, connectAddress: { host: '10.0.0.1', port: 8008 }, tls: null },
      postgresql: {
        listen: { addresses: '*', port: 5432 },
        authentication: {
          superuser: { username: 'postgres', password: null },
          replication: { username: 'replicator' },
          rewind: { username: 'postgres' },
        },
      },
      log: { level: 'info', format: 'plain', file: null },
      guard: { mode: 'on' },
      pgbouncer: null,
      watchdog: { mode: 'automatic', device: '/dev/watchdog', safetyMargin: 5_000, driver: 'default' },
      runtimeDirectory: '/run/pgha/main-pg1',
    });
  });

  it('cannot be changed by anybody afterwards', () => {
    const { config } = load(MINIMAL);
    expect(Object.isFrozen(config.postgresql.authentication.superuser)).toBe(true);
    expect(() => ((config as { scope: string }).scope = 'other')).toThrow(TypeError);
  });
});

describe('files that people have', () => {
  it.each(['config/pgha.yml', 'config/pgha-minimal.yml', 'config/pgha-witness.yml'])(
    'loads the example %s without a warning',
    (path) => {
      const secrets = Object.fromEntries(
        ['superuser', 'replication', 'restapi'].map((name) => [`/etc/pgha/${name}.password`, `secret of ${name}\n`]),
      );
      const { warnings } = load(readFileSync(inRepository(path), 'utf8'), {}, secrets);
      expect(warnings).toEqual([]);
    },
  );

  it('loads a Patroni file as it is, with warnings only', () => {
    const { config, warnings } = load(readFileSync(inRepository('test/unit/config/fixtures/patroni.yml'), 'utf8'));
    expect(config).toMatchObject({
      scope: 'orders',
      namespace: '/db',
      node: { name: 'db2', priority: 100, noFailover: false },
      tags: { rack: 'r12' },
      etcd: { endpoints: ['http://localhost:2379'] },
      log: { level: 'warn', format: 'plain' },
      bootstrap: { initdb: ['--encoding=UTF8', '--data-checksums'] },
      postgresql: {
        listen: { addresses: '0.0.0.0', port: 5432 },
        pgpass: '/tmp/pgpass2',
        unixSocketDirectory: '/var/run/postgresql',
        authentication: { replication: { username: 'copier', password: '0123' } },
      },
    });
    expect(config.bootstrap.dcs).toMatchObject({ ttl: 30, master_start_timeout: 120, synchronous_mode: false });
    expect(config.postgresql.copyMethods).toMatchObject([
      { name: 'pgbackrest', command: '/usr/bin/pgbackrest --stanza=orders restore', keepData: true, noParams: true },
      { name: 'basebackup', command: null },
    ]);
    for (const name of ['log.format', 'etcd']) {
      expect(warnings.filter((line) => line.includes(name)).length, name).toBeGreaterThan(0);
    }
  });
});

describe('the first data directory', () => {
  const withBootstrap = (text: string): string => `${MINIMAL}bootstrap: ${text}\n`;

  it('comes from initdb, or from a method with all that it needs', () => {
    expect(load(MINIMAL).config.bootstrap.method).toBeNull();
    const { config, warnings } = load(
      withBootstrap(`
  method: pitr
  pitr:
    command: /usr/local/bin/restore.sh
    no_params: off
    stanza: main
    recovery_conf:
      standby_mode: on
      restore_command: pgbackrest archive-get %f "%p"
      recovery_target_time: 2026-11-20 10:00:00+00
      recovery_target_inclusive: false
  wal_g:
    command: /usr/local/bin/other.sh`),
    );
    expect(config.bootstrap.method).toEqual({
      name: 'pitr',
      command: '/usr/local/bin/restore.sh',
      noParams: false,
      params: [['stanza', 'main']],
      keepExistingRecoveryConf: false,
      recoveryConf: {
        restore_command: 'pgbackrest archive-get %f "%p"',
        recovery_target_time: '2026-11-20 10:00:00+00',
        recovery_target_inclusive: 'off',
      },
      timeout: 86_400_000,
    });
    expect(warnings).toEqual([expect.stringContaining('bootstrap.pitr.recovery_conf.standby_mode: has no effect')]);
  });

  it.each([
    ['a method without a section', '{method: pitr}', /bootstrap\.method: pitr has no section bootstrap\.pitr/],
    ['a method without a command', '{method: pitr, pitr: {command: ""}}', /bootstrap\.method: pitr has no section/],
    ['a flag that is none', '{method: p, p: {command: x, no_params: maybe}}', /bootstrap\.p\.no_params: must be true/],
    ['a recovery that is no map', '{method: p, p: {command: x, recovery_conf: [a]}}', /recovery_conf: must be names/],
    ['a timeout that is none', '{method: p, p: {command: x, timeout: soon}}', /bootstrap\.p\.timeout: must be a time/],
  ])('%s is refused', (_what, text, said) => {
    expect(problems(withBootstrap(text))[0]).toMatch(said);
  });
});

describe("Patroni's files", () => {
  const fixture = (name: string): string =>
    readFileSync(inRepository(`test/unit/config/fixtures/patroni-${name}.yml`), 'utf8');
  const without = (warnings: readonly string[]): readonly string[] =>
    warnings.map((line) => /^line \d+, column \d+, ([^:]+):/.exec(line)?.[1] ?? line);

  it('with TLS, hooks and a backup tool have their effect, down to what has no meaning here', () => {
    const { config, warnings } = load(fixture('tls'));
    expect(config).toMatchObject({
      etcd: { endpoints: ['https://etcd1.internal:2379', 'https://etcd2.internal:2379'], cacert: '/etc/pki/ca.pem' },
      restapi: { tls: { certfile: '/etc/pki/db.pem', verifyClient: 'optional' }, authentication: { username: 'ops' } },
      commands: {
        callbacks: {
          on_start: '/usr/local/bin/vip.sh eth0',
          on_role_change: '/usr/local/bin/vip.sh eth0',
          on_reload: null,
        },
        prePromote: '/usr/local/bin/fence.sh',
        beforeStop: '/usr/local/bin/drain.sh',
      },
      postgresql: {
        proxyAddress: { host: 'db1.internal', port: 6432 },
        customConf: '/etc/postgresql/common.conf',
        recoveryConf: { restore_command: 'pgbackrest --stanza=main archive-get %f "%p"' },
        authentication: {
          superuser: { sslmode: 'verify-full', sslkey: '/etc/pki/admin.key', sslpassword: 'of the key' },
          replication: { sslcrl: '/etc/pki/crl.pem', libpq: { channel_binding: 'require', krbsrvname: 'pg' } },
          rewind: { username: 'rewinder' },
        },
        basebackup: ['--max-rate=100M', '--verbose'],
      },
      tags: { nofailover: true, rack: 'r1' },
      node: { noFailover: true },
    });
    expect(without(warnings)).toEqual([
      'thread_pool_size',
      'log.format',
      'log.file_num',
      'log.file_size',
      'bootstrap.dcs.check_timeline',
      'postgresql.bin_name',
      'postgresql.parameters.max_connections',
      'postgresql.pg_ctl_timeout',
    ]);
  });

  it('of Debian packages are read as they are', () => {
    const { config } = load(fixture('debian'));
    expect(config).toMatchObject({
      scope: '15-main',
      namespace: '/postgresql-common',
      bootstrap: {
        method: {
          name: 'pg_createcluster',
          command: '/usr/share/patroni/pg_createcluster_patroni',
          recoveryConf: null,
        },
        dcs: { postgresql: { pg_hba: { length: 4 } } },
      },
      postgresql: {
        configDir: '/etc/postgresql/15/main',
        copyMethods: [{ name: 'pg_clonecluster', command: '/usr/share/patroni/pg_clonecluster_patroni' }],
        authentication: { superuser: { username: 'postgres', password: null } },
      },
    });
  });

  it('may be a directory, whose files are joined in the order of their names, the last one winning', () => {
    const files: Files = {
      '/etc/patroni/10-node.yml': MINIMAL,
      '/etc/patroni/20-log.yaml': 'log: {level: DEBUG}\nttl: 20\n',
      '/etc/patroni/30-more.yml': 'ttl: 30\npostgresql:\n  database: ops\n',
    };
    const readFile = (path: string): string => {
      if (path === '/etc/patroni') throw Object.assign(new Error('a directory'), { code: 'EISDIR' });
      return reader(files)(path);
    };
    const names = ['30-more.yml', '10-node.yml', 'notes.txt', '20-log.yaml'];
    const joined = (more: Files = {}) => {
      Object.assign(files, more);
      return loadConfig({ path: '/etc/patroni', env: {}, readFile, readDirectory: () => names });
    };
    expect(joined().config).toMatchObject({
      cluster: { ttl: 30_000 },
      log: { level: 'debug' },
      postgresql: { database: 'ops', dataDir: '/srv/pg/main' },
    });
    expect(() => joined({ '/etc/patroni/20-log.yaml': 'log:\n  levle: INFO\n' })).toThrow(
      /20-log\.yaml, line 2, column 3, log\.levle: unknown name; did you mean `level`/,
    );
    expect(() => joined({ '/etc/patroni/20-log.yaml': 'a: [' })).toThrow(/20-log\.yaml, line \d+, column/);
    const empty = () => loadConfig({ path: '/etc/patroni', env: {}, readFile, readDirectory: () => ['x.txt'] });
    expect(empty).toThrow(/no file in this directory ends in \.yml/);
  });

  it('may leave the members of etcd to DNS', () => {
    const text = MINIMAL.replace('hosts: [10.0.0.1:2379, 10.0.0.2:2379]', 'srv: example.org');
    expect(load(text).config.etcd).toMatchObject({ endpoints: [], srv: { domain: 'example.org', suffix: null } });
  });
});

describe('mistakes in a file', () => {
  it('are all named at once, each with its line and what was probably meant', () => {
    const text = MINIMAL.replace('scope: main', 'scope: main\nttll: 10\nloop_wait: soon').replace(
      'data_dir',
      'datadir',
    );
    expect(problems(text)).toEqual([
      'line 2, column 1, ttll: unknown name; did you mean `ttl`?',
      expect.stringMatching(/^line 3, column 1, loop_wait: must be a time in seconds .*, is "soon"$/),
      'line 9, column 1, postgresql.data_dir: missing',
      'line 12, column 3, postgresql.datadir: unknown name; did you mean `data_dir`?',
    ]);
  });

  it('in the YAML are named with line and column', () => {
    expect(problems(`${MINIMAL}tags:\n\t nofailover: true\n`)[0]).toMatch(/^line 12, column 1: /);
    expect(problems('scope: a\nscope: b\n')[0]).toMatch(/^line 2, column 1: /);
    expect(problems('- a\n- b\n')[0]).toContain('not a map');
  });

  const cases: readonly (readonly [name: string, text: string, expected: RegExp])[] = [
    [
      'a ttl that the rest does not fit into',
      `${MINIMAL}ttl: 10\nloop_wait: 4\nretry_timeout: 5\n`,
      /ttl 10 s < loop_wait 4 s \+ 2 × retry_timeout 5 s = 14 s: raise ttl to 14/,
    ],
    [
      'the same inside of bootstrap.dcs',
      `${MINIMAL}bootstrap: {dcs: {loop_wait: 10, retry_timeout: 10}}\n`,
      /bootstrap\.dcs\.loop_wait: ttl 10 s < .* = 30 s: raise ttl to 30/,
    ],
    ['a ttl below the smallest', `${MINIMAL}ttl: 3\n`, /ttl: must be at least 5 s, is 3 s/],
    ['a ttl that is not whole seconds', `${MINIMAL}ttl: 7500ms\n`, /ttl: must be a time in whole seconds .*, is 7\.5/],
    ['another store', `${MINIMAL}consul: {host: 10.0.0.1:8500}\n`, /consul: pgha speaks etcd only/],
    ['no etcd at all', MINIMAL.replace(/etcd3:\n.*\n/, ''), /etcd3\.hosts: missing/],
    [
      'an etcd member that is no address',
      MINIMAL.replace('10.0.0.2:2379', '10.0.0.2:99999'),
      /etcd3\.hosts: must be host:port/,
    ],
    [
      'no address that others reach',
      MINIMAL.replace(/ {2}connect_address: 10.0.0.1:8008\n/, '  listen: 0.0.0.0:8008\n'),
      /restapi\.connect_address: missing, .*write `connect_address: .*:8008`/,
    ],
    [
      'a connect address that is a wildcard',
      MINIMAL.replace('connect_address: 10.0.0.1:5432', "connect_address: '*:5432'"),
      /postgresql\.connect_address: .* not an address that others can connect to/,
    ],
    [
      'one port for two',
      MINIMAL.replace('connect_address: 10.0.0.1:8008', 'listen: 10.0.0.1:5432'),
      /restapi\.listen: uses port 5432, on which Postgres listens/,
    ],
    [
      'an agent-check on the port of Postgres',
      MINIMAL.replace(
        '  connect_address: 10.0.0.1:8008\n',
        "  connect_address: 10.0.0.1:8008\n  agent_check: '*:5432'\n",
      ),
      /restapi\.agent_check: uses port 5432, on which Postgres listens/,
    ],
    [
      'an agent-check on the port of the health checks',
      MINIMAL.replace(
        '  connect_address: 10.0.0.1:8008\n',
        "  connect_address: 10.0.0.1:8008\n  agent_check: '*:8008'\n",
      ),
      /restapi\.agent_check: uses port 8008, on which the health checks are answered/,
    ],
    [
      'a data directory inside of the runtime directory',
      `${MINIMAL}runtime_directory: /srv/pg\n`,
      /data_dir: is inside of the runtime directory/,
    ],
    [
      'a runtime directory inside of the data directory',
      `${MINIMAL}runtime_directory: /srv/pg/main/run\n`,
      /runtime_directory: .* is inside of the data directory/,
    ],
    [
      'a socket path longer than the system allows',
      `${MINIMAL}runtime_directory: /run/${'x'.repeat(100)}\n`,
      /runtime_directory: too long/,
    ],
    [
      'a relative data directory',
      MINIMAL.replace('/srv/pg/main', 'main'),
      /data_dir: must be an absolute path, is "main"/,
    ],
    [
      'a scope with a slash',
      MINIMAL.replace('scope: main', 'scope: a/b'),
      /scope: must be a name without blanks and slashes/,
    ],
    [
      'a name longer than application_name',
      MINIMAL.replace('pg1', 'p'.repeat(64)),
      /name: must have at most 63 bytes, has 64/,
    ],
    ['node_id 0', `${MINIMAL}node_id: 0\n`, /node_id: must be at least 1, is 0/],
    ['a negative priority', `${MINIMAL}priority: -1\n`, /priority: must be at least 0, is -1/],
    [
      'two different priorities',
      `${MINIMAL}priority: 50\ntags: {failover_priority: 70}\n`,
      /failover_priority: is 70, but priority is 50/,
    ],
    [
      'nofailover denied with priority 0',
      `${MINIMAL}priority: 0\ntags: {nofailover: false}\n`,
      /tags\.nofailover: is false, but the priority is 0/,
    ],
    [
      'two different upstreams',
      `${MINIMAL}upstream_node: a\ntags: {replicatefrom: b}\n`,
      /upstream_node: is a, but the tag replicatefrom is b/,
    ],
    ['pause for one node only', `${MINIMAL}pause: true\n`, /pause: this holds for the whole cluster/],
    [
      "repmgr's name for something of ours",
      `${MINIMAL}pg_bindir: /usr/bin\n`,
      /pg_bindir: .* write `postgresql\.bin_dir`/,
    ],
    [
      'a misspelt choice',
      `${MINIMAL}connection_check_type: qery\n`,
      /must be one of ping, connection, query, is "qery"; did you mean `query`\?/,
    ],
    [
      'a full disk answered with something else',
      `${MINIMAL}on_disk_full: fail_over\n`,
      /on_disk_full: must be one of failover, stay, is "fail_over"; did you mean `failover`\?/,
    ],
    ['a disk that hangs at once', `${MINIMAL}disk_hang_timeout: 100ms\n`, /disk_hang_timeout: must be at least 1/],
    [
      'a wraparound that nobody lives to see',
      `${MINIMAL}wraparound_warning_age: 3000000000\n`,
      /wraparound_warning_age: must be at most 2147483647/,
    ],
    [
      'an initdb option that pgha decides',
      `${MINIMAL}bootstrap: {initdb: [{pgdata: /x}]}\n`,
      /bootstrap\.initdb: the option `pgdata` cannot be given/,
    ],
    [
      'a basebackup option that pgha decides',
      MINIMAL.replace('  data_dir', '  basebackup: {wal-method: none}\n  data_dir'),
      /basebackup: the option `wal-method`/,
    ],
    [
      'client certificates without TLS',
      MINIMAL.replace('restapi:', 'restapi:\n  verify_client: required'),
      /verify_client: needs TLS/,
    ],
    [
      'an allowlist with what is no address',
      MINIMAL.replace('restapi:', `restapi:\n  allowlist: [10.0.0.0/33, 'a b', 10.0.0.1]`),
      /restapi\.allowlist: no address, network or host name: 10\.0\.0\.0\/33, a b$/m,
    ],
    [
      'a header that cannot be sent',
      MINIMAL.replace('restapi:', `restapi:\n  http_extra_headers: {'X Frame': deny}`),
      /restapi\.http_extra_headers\.X Frame: is no header/,
    ],
    [
      'protected reads without anybody who may read',
      MINIMAL.replace('restapi:', `restapi:\n  protect_reads: true`),
      /restapi\.protect_reads: needs restapi\.authentication/,
    ],
    [
      'a username without a password',
      `${MINIMAL}ctl: {authentication: {username: a}}\n`,
      /ctl\.authentication\.password: missing/,
    ],
    ['a section that is none', `${MINIMAL}tags: [a]\n`, /tags: must be a section/],
    [
      'events that do not exist',
      `${MINIMAL}event_notifications: standby_promote, standby_promoted, nonsense\n`,
      /event_notifications: no such event: "standby_promoted"; did you mean `standby_promote`\?, "nonsense"$/,
    ],
    [
      'an address of etcd that nobody could call',
      MINIMAL.replace('10.0.0.1:2379, 10.0.0.2:2379', '10.0.0.256:2379, 10.0.0.2:2379'),
      /etcd3\.hosts: must be host:port/,
    ],
    [
      'a hash of a password that cannot be used, without repeating it',
      `${MINIMAL}ctl: {authentication: {username: a, password: b}}\n`.replace(
        'restapi:',
        `restapi:\n  authentication: {username: a, password: '$scrypt$ln=99,r=8,p=1$x$y'}`,
      ),
      /^(?!.*ln=99).*restapi\.authentication\.password: is no hash that can be used/,
    ],
    [
      'a hash without the password that the members send each other',
      MINIMAL.replace('restapi:', `restapi:\n  authentication: {username: a, password: '${HASH}'}`),
      /restapi\.authentication\.password: is a hash, and the other members want the password itself/,
    ],
    [
      'a hash where the password is needed',
      `${MINIMAL}ctl: {authentication: {username: a, password: '${HASH}'}}\n`,
      /ctl\.authentication\.password: is a hash: here the password itself is needed/,
    ],
    ...[
      ['../outside', /"\.\.\/outside" must name a file below/],
      ['/etc/passwd', /must be relative/],
      ['a/../../b', /must name a file below/],
      ['pg_wal/x', /belongs to Postgres/],
      ['base', /belongs to Postgres/],
      ['pg_hba.conf', /belongs to Postgres/],
      ['x.pgha-kept', /belongs to pgha/],
      ['a\\\\b', /holds a character/],
    ].map(([name, expected]): [string, string, RegExp] => [
      `a file to keep that is not the operator's: ${String(name)}`,
      MINIMAL.replace('  data_dir', `  keep_files: ["${String(name)}"]\n  data_dir`),
      expected as RegExp,
    ]),
    [
      'a webhook without an address',
      `${MINIMAL}event_webhook: {timeout: 3}\n`,
      /event_webhook\.url: missing: an address/,
    ],
    [
      'a webhook whose address is none, without repeating it',
      `${MINIMAL}event_webhook: {url: ftp://s3cret}\n`,
      /^(?!.*s3cret).*event_webhook\.url: is no address: write/,
    ],
    [
      'a webhook with a template that is no JSON',
      `${MINIMAL}event_webhook: {url: 'https://h/x', template: '{"text": %d}, '}\n`,
      /event_webhook\.template: is not JSON/,
    ],
    [
      'a webhook for an event that is none',
      `${MINIMAL}event_webhook: {url: 'https://h/x', events: [fence]}\n`,
      /event_webhook\.events: no such event: "fence"; did you mean `fenced`/,
    ],
    [
      'a webhook with a header that cannot be sent',
      `${MINIMAL}event_webhook: {url: 'https://h/x', authorization: "a\\nb"}\n`,
      /event_webhook\.authorization: holds what no header can hold/,
    ],
    ['a syslog that is nowhere', `${MINIMAL}event_syslog: {facility: local0}\n`, /event_syslog\.to: missing/],
    ['a syslog that is no address', `${MINIMAL}event_syslog: {to: 'udp://:514'}\n`, /event_syslog\.to: .* has no host/],
    [
      'a command that may take no time at all',
      `${MINIMAL}event_notification_timeout: 0\n`,
      /event_notification_timeout: must be at least/,
    ],
    [
      'a method of copying that is not there',
      MINIMAL.replace('  data_dir', '  create_replica_methods: [pgbackrest, basebackup]\n  data_dir'),
      /create_replica_methods: pgbackrest has no section postgresql\.pgbackrest with a command/,
    ],
    [
      'a method of copying with a time that is none',
      MINIMAL.replace('  data_dir', '  create_replica_methods: [x]\n  x: {command: y, timeout: soon}\n  data_dir'),
      /x\.timeout: must be a time/,
    ],
    [
      'a parameter that is a list',
      MINIMAL.replace('  data_dir', '  parameters: {work_mem: [1]}\n  data_dir'),
      /parameters\.work_mem: must be text, a number or a boolean/,
    ],
  ];
  it.each(cases)('refuses %s', (_name, text, expected) => {
    const found = problems(text);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });

  it('says what to do with a file that cannot be read', () => {
    expect(() => loadConfig({ path: '/nowhere.yml', env: {}, readFile: reader({}) })).toThrow(
      expect.objectContaining({ code: 'PGHA_CONFIG_UNREADABLE' }),
    );
  });

  it('never ends in anything but a list of problems', () => {
    const word = fc.constantFrom(
      'scope',
      'postgresql',
      'listen',
      'ttl',
      'etcd3',
      'hosts',
      'tags',
      'bootstrap',
      'dcs',
      'x',
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        fc.string(),
        fc.integer(),
        fc.boolean(),
        fc.constant(null),
        tie('list'),
        tie('map'),
      ),
      list: fc.array(tie('tree'), { maxLength: 3 }),
      map: fc.dictionary(word, tie('tree'), { maxKeys: 6 }),
    }));
    void fc.assert(
      fc.property(tree, (value) => {
        try {
          load(JSON.stringify(value));
        } catch (error) {
          expect(error).toBeInstanceOf(PghaError);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('forms of values', () => {
  it.each([
    ['ttl: 30s', { ttl: 30 }],
    ['ttl: "1min"', { ttl: 60 }],
    ['primary_visibility_consensus: on', { primary_visibility_consensus: true }],
    ['primary_visibility_consensus: 0', { primary_visibility_consensus: false }],
    ['maximum_lag_on_failover: 16MB', { maximum_lag_on_failover: 16 * 2 ** 20 }],
    ['reconnect_interval: 500ms', { reconnect_interval: 0.5 }],
    ['member_slots_ttl: 2h', { member_slots_ttl: 7200 }],
    ['connection_check_type: Query', { connection_check_type: 'query' }],
    ['master_stop_timeout: 5', { primary_stop_timeout: 5 }],
  ])('understands %s', (line, expected) => {
    expect(load(`${MINIMAL}${line}\n`).config.localOverrides).toEqual(expected);
  });

  it.each([
    ["'*:5432'", { addresses: '*', port: 5432 }],
    ['10.0.0.1,127.0.0.1:5433', { addresses: '10.0.0.1,127.0.0.1', port: 5433 }],
    ["'[::1],10.0.0.1:5432'", { addresses: '::1,10.0.0.1', port: 5432 }],
    ["[127.0.0.1, '[fe80::1]:6000']", { addresses: '127.0.0.1,fe80::1', port: 6000 }],
    ['pg1', { addresses: 'pg1', port: 5432 }],
  ])('understands that Postgres listens on %s', (written, expected) => {
    expect(load(MINIMAL.replace("'*:5432'", written)).config.postgresql.listen).toEqual(expected);
  });

  it.each([
    ['hosts: "10.0.0.1:2379, 10.0.0.2"', ['http://10.0.0.1:2379', 'http://10.0.0.2:2379']],
    ['host: etcd1', ['http://etcd1:2379']],
    ['url: https://etcd1:4001/', ['https://etcd1:4001']],
    ['hosts: ["[::1]:2379"]\n  protocol: https', ['https://[::1]:2379']],
  ])('understands the etcd section with %s', (written, expected) => {
    const text = MINIMAL.replace('hosts: [10.0.0.1:2379, 10.0.0.2:2379]', written).replace('etcd3:', 'etcd:');
    expect(load(text).config.etcd.endpoints).toEqual(expected);
  });

  it('takes the address of one host as the address for others', () => {
    const text = MINIMAL.replace("listen: '*:5432'\n  connect_address: 10.0.0.1:5432", "listen: '[2001:db8::1]:5432'");
    expect(load(text).config.postgresql.connectAddress).toEqual({ host: '2001:db8::1', port: 5432 });
  });

  it('keeps what must be the same everywhere out of the parameters of one node', () => {
    const { config, warnings } = load(
      MINIMAL.replace('  data_dir', '  parameters: {max_connections: 500, port: 6000, work_mem: 8MB}\n  data_dir'),
    );
    expect(config.postgresql.parameters).toEqual({ work_mem: '8MB' });
    expect(warnings).toHaveLength(2);
  });

  it('warns of a trust line that others can use', () => {
    const { warnings } = load(
      `${MINIMAL}bootstrap: {pg_hba: [local all all trust, host all all 127.0.0.1/32 trust, host all all 0.0.0.0/0 trust]}\n`,
    );
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('0.0.0.0/0');
  });

  it('warns of a short ttl', () => {
    expect(load(`${MINIMAL}ttl: 5\nloop_wait: 1\nretry_timeout: 1\n`).warnings[0]).toContain('ttl 5 s is short');
  });
});

describe('who may lead', () => {
  const standard = { priority: 100, noFailover: false };
  it.each([
    ['nothing', '', standard, {}],
    ['failover_priority 1', 'tags: {failover_priority: 1}', standard, { failover_priority: 1 }],
    [
      'failover_priority 7',
      'tags: {failover_priority: 7}',
      { priority: 106, noFailover: false },
      { failover_priority: 7 },
    ],
    [
      'failover_priority 0',
      'tags: {failover_priority: 0}',
      { priority: 0, noFailover: true },
      { failover_priority: 0, nofailover: true },
    ],
    ['priority 50', 'priority: 50', { priority: 50, noFailover: false }, { failover_priority: 1 }],
    ['priority 120', 'priority: 120', { priority: 120, noFailover: false }, { failover_priority: 21 }],
    ['priority 0', 'priority: 0', { priority: 0, noFailover: true }, { failover_priority: 0, nofailover: true }],
    [
      'the same under both names',
      'priority: 50\ntags: {failover_priority: 50}',
      { priority: 50, noFailover: false },
      { failover_priority: 50 },
    ],
    ['nofailover', 'tags: {nofailover: yes}', { priority: 100, noFailover: true }, { nofailover: true }],
    ['role standby', 'role: standby', { priority: 100, noFailover: true }, { nofailover: true }],
    ['an upstream node', 'upstream_node: pg9', standard, { replicatefrom: 'pg9' }],
  ])('is decided by %s', (_name, lines, policy, tags) => {
    const { config } = load(`${MINIMAL}${lines}\n`);
    expect(config.node).toMatchObject(policy);
    expect(config.tags).toEqual(tags);
  });
});

describe('a witness', () => {
  const WITNESS = MINIMAL.replace(/postgresql:.*/s, 'role: witness\n');

  it('needs no Postgres, never leads, and is told apart from candidates, balancers and owners of slots', () => {
    const { config, warnings } = load(WITNESS);
    expect(warnings).toEqual([]);
    expect(config.node).toMatchObject({ role: 'witness', noFailover: true, priority: 0, upstream: null });
    expect(config.tags).toEqual({ nofailover: true, noloadbalance: true, nosync: true, nostream: true });
    expect(config.guard.mode).toBe('off');
  });

  it('may say how to log in to the servers that it checks', () => {
    const logins = 'postgresql: {database: probe, authentication: {replication: {username: eye, password: secret}}}\n';
    const { config, warnings } = load(WITNESS + logins);
    expect(warnings).toEqual([]);
    expect(config.postgresql).toMatchObject({
      database: 'probe',
      authentication: { replication: { username: 'eye', password: 'secret' } },
    });
  });

  it.each([
    ['a data directory', 'postgresql: {data_dir: /srv/pg}', 'postgresql.data_dir'],
    ['an address of Postgres', "postgresql: {listen: '*:5432'}", 'postgresql.listen'],
    ['a priority', 'priority: 50', 'priority'],
    ['an upstream', 'upstream_node: pg2', 'upstream_node'],
    ['what makes a cluster', 'bootstrap: {dcs: {ttl: 20}}', 'bootstrap'],
  ])('is warned that %s has no effect', (_what, line, name) => {
    const { warnings } = load(`${WITNESS}${line}\n`);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`${name}: has no effect`);
  });

  it('is what the role says: without it Postgres is missing', () => {
    expect(problems(WITNESS.replace('role: witness', 'role: standby'))).toEqual(['postgresql: missing']);
  });
});

describe('the environment', () => {
  it('overrides the file, and pgha names override those of Patroni', () => {
    const env = {
      PATRONI_NAME: 'from-patroni',
      PATRONI_SCOPE: 'from-patroni',
      PGHA_NAME: 'from-pgha',
      PATRONI_RUBBISH: '1',
    };
    const { config } = load(MINIMAL, env);
    expect([config.scope, config.node.name]).toEqual(['from-patroni', 'from-pgha']);
  });

  it('reaches logins, lists, maps and the etcd section that the file has', () => {
    const { config } = load(MINIMAL.replace('etcd3:', 'etcd:'), {
      PGHA_SUPERUSER_PASSWORD: '0123',
      PATRONI_REPLICATION_USERNAME: 'copier',
      PGHA_RESTAPI_USERNAME: 'boss',
      PGHA_RESTAPI_PASSWORD: 'pw',
      PATRONI_ETCD3_HOSTS: "'10.0.0.7:2379','10.0.0.8:2379'",
      PGHA_TAGS: 'rack: r1, clonefrom: true',
      PGHA_POSTGRESQL_PARAMETERS: '{work_mem: 8MB}',
      PGHA_TTL: '20',
      PGHA_LOG_LEVEL: 'DEBUG',
      PGHA_NODE_ID: '',
    });
    expect(config).toMatchObject({
      postgresql: {
        authentication: { superuser: { password: '0123' }, replication: { username: 'copier' } },
        parameters: { work_mem: '8MB' },
      },
      restapi: { authentication: { username: 'boss', password: 'pw' } },
      ctl: { authentication: { username: 'boss', password: 'pw' } },
      etcd: { endpoints: ['http://10.0.0.7:2379', 'http://10.0.0.8:2379'] },
      tags: { rack: 'r1', clonefrom: true },
      localOverrides: { ttl: 20 },
      log: { level: 'debug' },
      node: { nodeId: null },
    });
  });

  it('names the variable that a mistake comes from', () => {
    expect(problems(MINIMAL, { PGHA_TTL: 'soon', PGHA_TLL: '5' })).toEqual([
      'PGHA_TLL: unknown environment variable; did you mean `PGHA_TTL`?',
      expect.stringMatching(/^PGHA_TTL \(ttl\): must be a time/),
    ]);
  });

  it('may hold what others put there under our name', () => {
    const env = { PGHA_PORT: 'tcp://10.96.0.1:8008', PGHA_SERVICE_HOST: '10.96.0.1', PGHA_CTL_CONFIG_FILE: '/x' };
    expect(load(MINIMAL, env).warnings).toEqual([]);
  });

  it('may hold the whole file', () => {
    const { config } = loadConfig({ path: '/none', env: { PGHA_CONFIGURATION: MINIMAL }, readFile: reader({}) });
    expect(config.scope).toBe('main');
  });
});

describe('secrets', () => {
  const withFile = MINIMAL.replace('  data_dir', '  authentication: {superuser: {password_file: /etc/pw}}\n  data_dir');

  it('come from a file, without the line end', () => {
    const { config } = load(withFile, {}, { '/etc/pw': 'top secret \n' });
    expect(config.postgresql.authentication.superuser.password).toBe('top secret ');
    expect(config.postgresql.authentication.rewind.password).toBe('top secret ');
  });

  it('come from the environment in the place of the file', () => {
    const { config } = load(withFile, { PGHA_SUPERUSER_PASSWORD: 'pw' });
    expect(config.postgresql.authentication.superuser.password).toBe('pw');
    const other = load(
      MINIMAL.replace('  data_dir', '  authentication: {superuser: {password: a}}\n  data_dir'),
      { PGHA_SUPERUSER_PASSWORD_FILE: '/etc/pw' },
      { '/etc/pw': 'b' },
    );
    expect(other.config.postgresql.authentication.superuser.password).toBe('b');
  });

  it('are refused when they are given twice, or when the file cannot be read', () => {
    const twice = withFile.replace('{password_file', '{password: hidden-one, password_file');
    expect(problems(twice, {}, { '/etc/pw': 'hidden-two' })[0]).toContain('remove one of them');
    expect(problems(withFile)).toEqual([
      'line 10, column 32, postgresql.authentication.superuser.password_file: /etc/pw could not be read: there is no such file',
    ]);
  });

  it('never stand in a message', () => {
    const text = MINIMAL.replace('  data_dir', '  authentication: {superuser: {password: [hidden]}}\n  data_dir');
    expect(refusal(text).message).not.toContain('hidden');
    const url = MINIMAL.replace('10.0.0.2:2379', 'http://me:hidden@10.0.0.2:2379');
    expect(refusal(url).message).not.toContain('hidden');
  });
});

describe('what is told to the operator', () => {
  it('goes to his commands, for the events that he names', () => {
    const { config, warnings } = load(
      `${MINIMAL}node_id: 1
event_notification_command: /usr/bin/tell %n %e %s %t %d %p %c %a %%
event_notifications: [standby_promote, fenced]
event_notification_timeout: 500ms
failover_command: /usr/bin/failover.sh %d %h %p %D %m %H %M %P %r %R %N %S
monitoring_history: yes
log_status_interval: 60
`,
    );
    expect(warnings).toEqual([]);
    expect(config.commands).toMatchObject({
      eventNotification: '/usr/bin/tell %n %e %s %t %d %p %c %a %%',
      eventNotifications: ['standby_promote', 'fenced'],
      eventNotificationTimeout: 500,
      failoverTimeout: 60_000,
    });
    expect(config.cluster).toMatchObject({ monitoringHistory: true, logStatusInterval: 60_000 });
  });

  it('is everything where no events are named', () => {
    expect(load(MINIMAL).config.commands.eventNotifications).toBeNull();
    expect(load(`${MINIMAL}event_notifications: ''\n`).config.commands.eventNotifications).toBeNull();
    expect(load(MINIMAL).config.cluster).toMatchObject({ monitoringHistory: false, logStatusInterval: 300_000 });
  });

  it("takes over repmgr's list, and says which of its events never come", () => {
    const { config, warnings } = load(`${MINIMAL}event_notifications: 'primary_register,standby_follow'\n`);
    expect(config.commands.eventNotifications).toEqual(['primary_register', 'standby_follow']);
    expect(warnings).toEqual([expect.stringContaining('primary_register is never told here')]);
  });

  it('warns of placeholders that mean nothing, and of numbers that are not there', () => {
    const { warnings } = load(`${MINIMAL}event_notification_command: 'tell %e %x'\nfailover_command: f %d\n`);
    expect(warnings).toEqual([
      expect.stringMatching(/event_notification_command: %x means nothing here/),
      expect.stringMatching(/failover_command: .*set node_id/),
    ]);
  });
});
