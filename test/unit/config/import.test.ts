/** The files of the how-tos, and every trap in them, as `pgha-ctl import` sees them. Bytes in, rows and a pgha.yml out. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Row } from '../../../src/config/import/draft.ts';
import { type Imported, importConfig, kindOf } from '../../../src/config/import/import.ts';
import type { Kind } from '../../../src/config/import/kinds.ts';
import { REPMGR_PARAMETERS } from '../../../src/config/import/repmgr.ts';
import type { Answers } from '../../../src/config/import/surroundings.ts';
import { validateConfig } from '../../../src/config/print.ts';

const HOW_TOS = join(import.meta.dirname, '../../fixtures/how-tos');
const howTo = (name: string): string => readFileSync(join(HOW_TOS, name), 'utf8');

const ANSWERS: Answers = { scope: null, etcd: [], node: null };

function imported(text: string, answers: Partial<Answers> = {}, from: Kind | null = null): Imported {
  return importConfig({
    bytes: Buffer.from(text),
    from,
    answers: { ...ANSWERS, ...answers },
    readFile: (path) => {
      throw new Error(`${path} is not there`);
    },
  });
}

function good(text: string, answers: Partial<Answers> = {}, from: Kind | null = null) {
  const made = imported(text, answers, from);
  if (made.kind === 'refused') throw new Error(made.mistakes.join('\n'));
  return { ...made, config: parse(made.yaml) as Record<string, Record<string, unknown>> };
}

function mistakes(text: string, from: Kind | null = null): readonly string[] {
  const made = imported(text, {}, from);
  return made.kind === 'refused' ? made.mistakes : [];
}

/** `verdict name: why` of one name. */
const said = (made: ReturnType<typeof good>, name: string): string =>
  made.rows
    .filter((row) => row.name === name)
    .map((row) => `${row.verdict} ${row.why}`)
    .join('\n');

const NODE = `node_id=1
node_name='a'
conninfo='host=10.0.0.1 user=repmgr dbname=repmgr'
data_directory='/var/lib/postgresql/15/main'
reconnect_attempts=2
reconnect_interval=2
`;

const BACKEND = `backend_hostname0 = '10.0.0.1'
backend_port0 = 5433
backend_data_directory0 = '/srv/pg'
`;

describe('the published files', () => {
  it.each([
    ['repmgr.conf', 'repmgr'],
    ['patroni-otus.yml', 'patroni'],
    ['pgpool.conf', 'pgpool'],
  ] as const)('%s is known by its content, and what is made of it passes --validate-config', (name, kind) => {
    expect(kindOf(howTo(name))).toBe(kind);
    const { from, yaml } = good(howTo(name));
    expect(from).toBe(kind);
    const { exitCode, text } = validateConfig('pgha.yml', {}, { readFile: () => yaml });
    expect(text).toContain('pgha.yml is usable');
    expect(exitCode).toBe(0);
  });

  it.each(['haproxy.cfg', 'keepalived.conf', 'pgbouncer.ini', 'check_patroni.sh', 'failover.sh', 'etcd-s3.conf'])(
    '%s is none of the three, and refused',
    (name) => {
      expect(mistakes(howTo(name))).toEqual([expect.stringMatching(/^line 1, column 1: neither repmgr\.conf nor/)]);
    },
  );

  it('of repmgr: every setting of the final file has a row, and nothing is lost', () => {
    const made = good(howTo('repmgr.conf'), { etcd: ['10.0.0.7:2379'], scope: 'shop' });
    expect(made.config).toEqual({
      scope: 'shop',
      name: 'db3',
      adopt_from: 'repmgr',
      node_id: 3,
      etcd3: { hosts: ['10.0.0.7:2379'] },
      restapi: { connect_address: '172.31.29.241:8008' },
      bootstrap: {
        dcs: {
          connection_check_timeout: 2,
          failover: 'automatic',
          loop_wait: 2,
          connection_check_type: 'ping',
          reconnect_attempts: 2,
          reconnect_interval: 2,
          postgresql: { use_slots: true },
          primary_visibility_consensus: true,
          standby_disconnect_on_failover: true,
        },
      },
      postgresql: {
        connect_address: '172.31.29.241:5432',
        listen: '*:5432',
        authentication: { superuser: { username: 'repmgr' }, replication: { username: 'repmgr' } },
        database: 'repmgr',
        data_dir: '/var/lib/postgresql/12/main',
        config_dir: '/etc/postgresql/12/main',
      },
    });
    const names = howTo('repmgr.conf').match(/^\w+/gm) ?? [];
    expect(names.length).toBe(20);
    for (const name of names) expect(made.rows.filter((row) => row.name === name)).toHaveLength(1);
    expect(said(made, 'promote_command')).toMatch(/^not needed .*pgha never runs repmgr/);
    expect(said(made, 'follow_command')).toMatch(/^not needed .*lacks --upstream-node-id=%n/);
    expect(said(made, 'service_stop_command')).toMatch(/^decide pgha starts and stops Postgres itself/);
    // What was not decided stands in the file too, as a remark.
    expect(made.yaml).toContain('# - line 18, service_stop_command = sudo systemctl stop postgresql.service');
  });

  it("of Patroni: each key that pgha knows is taken in its own form, and the etcd on one's own machine is warned of", () => {
    const made = good(howTo('patroni-otus.yml'));
    expect(made.config).toEqual(parse(howTo('patroni-otus.yml')));
    expect(said(made, 'etcd')).toContain("etcd's API v2");
    expect(said(made, 'etcd')).toContain('names only the etcd on this machine');
    expect(said(made, 'postgresql.authentication.superuser.password')).toContain('stand in clear');
    expect(JSON.stringify(made.rows.filter(({ name }) => name.endsWith('password')))).not.toContain('"otus"');
  });

  it('of pgpool: the second server under the number of the first one is the second server', () => {
    const [first, second] = [good(howTo('pgpool.conf')), good(howTo('pgpool.conf'), { node: 1 })];
    expect(first.config['postgresql']).toMatchObject({ connect_address: '192.168.12.7:5432' });
    expect(second.config['postgresql']).toMatchObject({ connect_address: '192.168.12.6:5432' });
    expect([first.config['node_id'], second.config['node_id']]).toEqual([1, 2]);
    expect(said(first, 'backend_hostname0')).toContain('backend 0 has a host in line 3 already');
    expect(said(first, 'backend_data_directory0')).toContain('PostgreSQL 9.6; 12 is the oldest');
    expect(said(first, 'failover_command')).toContain('Before the trigger file stands %M');
    expect(said(first, 'fail_over_on_backend_error')).toMatch(/^not needed .*failover_on_backend_error/);
    // Passwords in clear are shown nowhere.
    expect(JSON.stringify(first)).not.toContain('12345678');
  });
});

describe('repmgr.conf', () => {
  it('a conninfo that a page has broken over two lines is put together, and told of', () => {
    const made = good(`${NODE.replace(' user=repmgr', '\n   user=repmgr')}`);
    expect(made.config['postgresql']).toMatchObject({ database: 'repmgr', connect_address: '10.0.0.1:5432' });
    expect(said(made, 'conninfo')).toContain('goes on in line 4; repmgr itself refuses that');
  });

  it('a quote that is missing does not swallow the next setting', () => {
    expect(mistakes(NODE.replace("dbname=repmgr'", 'dbname=repmgr'))).toEqual([
      'line 3, column 10: the quote that begins the value of conninfo does not end',
    ]);
  });

  it.each([
    [
      'conninfo=host=10.0.0.1 user=x',
      /line 7, column 14: "=10.0.0.1 user=x" behind the value of conninfo: are quotes missing/,
    ],
    ['conninfo="host=10.0.0.1"', /line 7, column 10: " is no quote here/],
    ['conninfo=‘host=10.0.0.1’', /line 7, column 10: ‘ is no quote here/],
    ['priority=high', /line 7, column 10: priority: a whole number of at least 0 is expected, not "high"/],
    ['priority=-1', /at least 0/],
    ['priority=99999999999', /at least 0/],
    ['failover=automatik', /line 7, column 10: failover: one of automatic, manual .*did you mean `automatic`/],
    ['use_replication_slots=maybe', /true or false/],
    ["conninfo='host=10.0.0.1 usr=x'", /line 7, column 25: conninfo: libpq knows no `usr`; did you mean `user`/],
    ["conninfo='user=x'", /conninfo: it names no host/],
    ["conninfo='host=a,b user=x'", /more than one host/],
    ["conninfo='host=a port=0'", /is no port/],
    ['priority', /line 7, column 9: priority has no value/],
    ['= 5', /line 7, column 1: a name and a value are expected/],
    ['nodе_id=4', /line 7, column 4: `е` is a Cyrillic letter \(U\+0435\)/],
    ["node_name='a b'", /line 7, column 1: node_name \(name\): must be a name without blanks/],
    ["data_directory='data'", /data_directory \(postgresql.data_dir\): must be an absolute path/],
    ["log_file='\u0007'", /control character/],
  ])('%s is refused with line and column', (line, message) => {
    expect(mistakes(NODE + line, 'repmgr').join('\n')).toMatch(message);
  });

  it('what repmgr needs too and is not there is refused; an include is named as the reason it may have', () => {
    expect(mistakes("node_id=1\nnode_name='a'\n")).toEqual([
      'line 2, column 1: missing: conninfo, data_directory, which repmgr needs as well',
    ]);
    expect(mistakes("node_id=1\ninclude '/etc/shadow'\nnode_name='a'\n").join()).toContain(
      'line 2 includes another file',
    );
  });

  it('no parameter of repmgr is unknown, each of those without effect says why, and a misspelt one what it is near to', () => {
    const values: Readonly<Record<string, string>> = {
      log_facility: 'STDERR',
      promote_command: 'x',
      restore_command: 'x',
    };
    for (const name of REPMGR_PARAMETERS) {
      if (/^(node_id|node_name|conninfo|data_directory|reconnect_)/.test(name)) continue;
      const tries = [values[name], '1', "'/x'", 'true', 'ping', 'automatic', 'info'].filter((one) => one !== undefined);
      let rows: readonly Row[] = [];
      for (const value of tries) {
        const made = imported(`${NODE}${name}=${value}\n`);
        if (made.kind === 'imported') rows = made.rows.filter((row) => row.name === name);
        if (rows.length > 0) break;
      }
      expect(rows.length, name).toBeGreaterThan(0);
      for (const row of rows) {
        expect(row.why, name).not.toContain('knows no such');
        if (row.verdict !== 'taken') expect(row.why.length, name).toBeGreaterThan(15);
      }
    }
    expect(said(good(`${NODE}reconect_attempts=3\n`), 'reconect_attempts')).toContain(
      'did you mean `reconnect_attempts`',
    );
    expect(said(good(`${NODE}master_response_timeout=60\n`), 'master_response_timeout')).toContain(
      'connection_check_timeout',
    );
  });

  it.each([
    ['a name that stands there twice', 'priority=1\npriority=2\n', 'priority', 'stands there again in line 8'],
    ['an address that is a network', '', 'conninfo', '127.0.0.0 is the name of a network'],
    ['a letter of another alphabet in a path', "log_file='/vаr/log/x'\n", 'log_file', 'is a Cyrillic letter (U+0430)'],
    ['programs of another version', "pg_bindir='/usr/pgsql-12/bin'\n", 'pg_bindir', 'programs of PostgreSQL 12'],
    ['a password in clear', '', 'conninfo password', 'stands in clear'],
    [
      'a wrapper around the promotion',
      "promote_command='/opt/promote.sh'\n",
      'promote_command',
      'a command of your own',
    ],
    ['a delayed standby', "recovery_min_apply_delay='1h'\n", 'recovery_min_apply_delay', 'would make a late primary'],
    ['another site', "location='dc2'\n", 'location', 'location_policy: strict'],
    [
      'an event that repmgr has not',
      "event_notifications='foo,standby_promote'\n",
      'event_notifications',
      'no such event',
    ],
    ['include', "include 'x.conf'\n", 'include', 'is not followed'],
  ])('%s needs a decision', (what, more, name, why) => {
    const base =
      what === 'an address that is a network'
        ? NODE.replace('10.0.0.1', '127.0.0.0')
        : what === 'a password in clear'
          ? NODE.replace('user=repmgr', 'user=repmgr password=geheim')
          : NODE;
    const made = good(base + more);
    expect(said(made, name)).toContain('decide');
    expect(said(made, name)).toContain(why);
    expect(JSON.stringify(made.rows)).not.toContain('geheim');
  });

  it("repmgr's real defaults are told where the file says nothing, with what they cost", () => {
    const made = good(NODE.replace(/reconnect.*\n/g, ''));
    expect(said(made, 'reconnect_attempts')).toContain('repmgr takes 6, pgha 2');
    expect(said(made, 'reconnect_interval')).toContain('given up after 52 s');
  });

  it('a slow cycle gets a TTL that it fits into', () => {
    expect(good(`${NODE}monitor_interval_secs=30\n`).config['bootstrap']).toMatchObject({
      dcs: { loop_wait: 30, ttl: 36 },
    });
  });

  it('URIs, passwords and TLS of a conninfo go where they belong', () => {
    const uri = "conninfo='postgresql://u:p%40w@[fd00::1]:5433/db?sslmode=require&connect_timeout=60'";
    const made = good(NODE.replace(/conninfo.*/, uri));
    expect(made.config['postgresql']).toMatchObject({
      connect_address: '[fd00::1]:5433',
      database: 'db',
      authentication: { superuser: { username: 'u', password: 'p@w', sslmode: 'require' } },
    });
    expect(JSON.stringify(made.rows)).not.toMatch(/p@w|p%40w/);
  });

  it('an apostrophe, a comment and a carriage return are read as repmgr reads them', () => {
    const made = good(`${NODE}location='o''clock \\'x' # site\r\npriority 5\r\n`);
    expect(made.config).toMatchObject({ location: "o'clock 'x", priority: 5 });
  });

  it('manual holds for this node, pg_basebackup_options and tablespaces become options', () => {
    const made = good(
      `${NODE}failover=manual\npg_basebackup_options='-X stream --label=x -r 10M --foo=1'\ntablespace_mapping='/a=/b'\ntablespace_mapping='/c=/d'\n`,
    );
    expect(made.config['failover']).toBe('manual');
    expect(made.config['postgresql']?.['basebackup']).toEqual([
      { label: 'x' },
      { 'max-rate': '10M' },
      { 'tablespace-mapping': '/a=/b' },
      { 'tablespace-mapping': '/c=/d' },
    ]);
    expect(made.rows).toContainEqual(expect.objectContaining({ verdict: 'decide', value: '--foo=1' }));
  });
});

const PATRONI = `scope: main
name: a
etcd3: {hosts: [10.0.0.1:2379, 10.0.0.2:2379]}
restapi: {connect_address: 10.0.0.1:8008, authentication: {username: u, password_file: /nowhere/x}}
postgresql:
  listen: '*:5432'
  connect_address: 10.0.0.1:5432
  data_dir: /srv/pg
`;

describe("Patroni's file", () => {
  it.each([
    [
      'a parameter that Postgres has not',
      '  parameters: {max_connection: 300}\n',
      'postgresql.parameters.max_connection',
      'did you mean `max_connections`',
    ],
    [
      'an archive that keeps nothing',
      '  parameters: {archive_command: /bin/true}\n',
      'postgresql.parameters.archive_command',
      'archives nothing',
    ],
    ['a misspelt name', '  data_dri: /x\n', 'postgresql.data_dri', 'did you mean `data_dir`'],
    ['a Cyrillic letter in a name', '  bіn_dir: /x\n', 'postgresql.bіn_dir', 'is a Cyrillic letter'],
    ['a Cyrillic letter in a path', '  bin_dir: /еtс/patroni\n', 'postgresql.bin_dir', 'is a Cyrillic letter (U+0435)'],
    ['an old version', '  bin_dir: /usr/pgsql-9.6/bin\n', 'postgresql.bin_dir', 'PostgreSQL 9.6; 12 is the oldest'],
    ['trust for everybody', "  pg_hba: ['host all all 0.0.0.0/0 trust']\n", 'postgresql.pg_hba', 'without a password'],
    [
      'networks that are not this one',
      "  pg_hba: ['host replication r 192.168.122.0/24 md5']\n",
      'postgresql.pg_hba',
      'this node itself is 10.0.0.1',
    ],
    ['two stores', 'zookeeper: {hosts: [a:2181]}\n', 'etcd', 'which of them holds the cluster'],
    ['a second store', 'zookeeper: {hosts: [a:2181]}\n', 'zookeeper', 'etcd only'],
    ['a setting of the cluster', 'synchronous_mode: true\n', 'synchronous_mode', 'whole cluster'],
    ['a file that is not here', '', '/nowhere/x', 'cannot be read here'],
  ])('%s needs a decision, and what is made of it is usable', (_what, more, name, why) => {
    const made = good(PATRONI + more);
    expect(said(made, name)).toContain('decide');
    expect(said(made, name)).toContain(why);
  });

  it('without etcd it asks for one, and takes what the command line says', () => {
    const text = PATRONI.replace(/etcd3.*/, 'zookeeper: {hosts: [a:2181]}');
    expect(good(text).config['etcd3']).toEqual({ hosts: ['etcd1.invalid:2379'] });
    expect(good(text, { etcd: ['e:1'] }).config['etcd3']).toEqual({ hosts: ['e:1'] });
  });

  it('old names become new ones, what has no effect is left out, methods and tags of a person pass', () => {
    const made = good(
      `${PATRONI}  create_replica_method: [wal_g]\n  wal_g: {command: /bin/x}\n  bin_name: {postgres: p}\ntags: {zone: x, "a.b": 1}\nbootstrap:\n  users: {}\n  dcs: {master_start_timeout: 60}\n`,
    );
    expect(made.config['postgresql']).toMatchObject({
      create_replica_methods: ['wal_g'],
      wal_g: { command: '/bin/x' },
    });
    expect(made.config['bootstrap']).toEqual({ dcs: { primary_start_timeout: 60 } });
    expect(made.config['tags']).toEqual({ zone: 'x', 'a.b': 1 });
    expect(said(made, 'postgresql.bin_name')).toMatch(/^not needed/);
  });

  it('a password of digits stays what it is', () => {
    const made = good(`${PATRONI}  authentication: {superuser: {username: 0123, password: 0123}}\n`);
    expect(made.config['postgresql']?.['authentication']).toEqual({
      superuser: { username: '0123', password: '0123' },
    });
  });

  it.each([
    ['ttl: soon\n', 'line 9, column 1: ttl: must be a time in whole seconds'],
    ['wal_level: [\n', 'line 10, column 1: '],
    ['scope: b\n', 'line 9, column 1: Map keys must be unique'],
    ['\tx: 1\n', 'line 9, column 1'],
    ['tags: 5\n', 'line 9, column 1: tags: must be a section'],
  ])('%j is refused with line and column', (more, message) => {
    expect(mistakes(PATRONI + more, 'patroni').join('\n')).toContain(message);
  });
});

describe('pgpool.conf', () => {
  it.each([
    ["listen_address = '*'\n", 'listen_address', 'did you mean `listen_addresses`'],
    ["delegate_IP = '10.0.0.9'\n", 'delegate_IP', 'an address that moves'],
    ["backend_flag0 = 'ALWAYS_PRIMARY'\n", 'backend_flag0', 'no node is always the primary'],
    ['health_check_max_retries = 3\n', 'health_check_max_retries', 'tries again by itself'],
    ['backend_port0 = 5433\n', 'backend_port0', 'stands in line 2 too'],
  ])('%j needs a decision', (more, name, why) => {
    expect(said(good(BACKEND + more), name)).toContain(why);
  });

  it('a quote that is missing has its line and column', () => {
    expect(mistakes(`${BACKEND}listen_addresses = '*\n`)).toEqual([
      'line 4, column 20: the quote that begins the value of listen_addresses does not end',
    ]);
  });

  it('weight 0 and DISALLOW_TO_FAILOVER become tags, an application name the name', () => {
    const made = good(
      `${BACKEND}backend_weight0 = 0\nbackend_flag0 = 'DISALLOW_TO_FAILOVER'\nbackend_application_name0 = 's1'\n`,
    );
    expect(made.config).toMatchObject({ name: 's1', node_id: 1, tags: { noloadbalance: true, nofailover: true } });
    expect(made.config['postgresql']).toMatchObject({ connect_address: '10.0.0.1:5433', listen: '*:5433' });
    // What runs goes on undisturbed until it is handed over.
    expect(made.config['adopt_from']).toBe('streaming');
  });

  it('DISALLOW_TO_FAILOVER with every backend keeps none of them from leading', () => {
    const two = BACKEND + BACKEND.replaceAll(/^(backend_\w+)0/gm, '$11').replace('10.0.0.1', '10.0.0.2');
    const made = good(`${two}backend_flag0 = 'DISALLOW_TO_FAILOVER'\nbackend_flag1 = 'DISALLOW_TO_FAILOVER'\n`);
    expect(made.config['tags']).toBeUndefined();
    expect(said(made, 'backend_flag0')).toContain('Every node may lead');
  });

  it.each([
    ['backend_port0 = 5432\n', 'backend 0 has no backend_hostname0'],
    ['load_balance_mode = on\nsr_check_period = 1\n', 'names no server'],
    [BACKEND.replace('5433', '0'), 'line 2, column 17: backend_port0: "0" is no port'],
    [BACKEND.replace('/srv', 'srv'), 'an absolute path is expected'],
    [`${BACKEND}backend_weight0 = x\n`, 'a number is expected'],
  ])('%j is refused', (text, message) => {
    expect(mistakes(text, 'pgpool').join('\n')).toContain(message);
  });
});
