/** What a check says of facts: rows of what is unusual, and the findings that are not `ok`. */
import { describe, expect, it } from 'vitest';
import { millis, seconds } from '../../../../src/core/time.ts';
import { type Finding, type Judgement, nagiosLine, worst } from '../../../../src/http/ctl/check/finding.ts';
import { type CloneFacts, judgeClone } from '../../../../src/http/ctl/check/judge-clone.ts';
import { judgeEtcd } from '../../../../src/http/ctl/check/judge-etcd.ts';
import { type HostExpectation, judgeHost } from '../../../../src/http/ctl/check/judge-host.ts';
import { type Door, judgeNetwork } from '../../../../src/http/ctl/check/judge-network.ts';
import { judgePooler } from '../../../../src/http/ctl/check/judge-poolers.ts';
import { judgeReplication } from '../../../../src/http/ctl/check/judge-replication.ts';
import type { EtcdEndpointFacts, EtcdFacts, HostFacts, PoolerFacts, Reach } from '../../../../src/ports/examination.ts';
import { aCluster, type Keys, threeMembers } from '../../http/builders.ts';

const said = ({ findings }: Judgement): string[] =>
  findings
    .filter(({ level }) => level !== 'ok')
    .map(({ level, about, said: what }: Finding) => `${level} ${about}: ${what}`);

/** Whoever says that something is critical says what to type, or there is nothing to type. */
function expectRow(judgement: Judgement, expected: readonly string[]): void {
  const found = said(judgement);
  expect(found).toHaveLength(expected.length);
  for (const [index, part] of expected.entries()) expect(found[index]).toContain(part);
}

const endpoint = (
  n: number,
  over: Partial<Extract<EtcdEndpointFacts, { kind: 'answered' }>> = {},
): EtcdEndpointFacts => ({
  kind: 'answered',
  url: `http://e${n}:2379`,
  version: '3.5.16',
  clusterId: 'c',
  memberId: String(n),
  leader: '1',
  size: 2 ** 20,
  quota: 2 ** 31,
  readMs: millis(2),
  syncMs: 3,
  ...over,
});
const silent = (n: number): EtcdEndpointFacts => ({ kind: 'silent', url: `http://e${n}:2379`, said: 'ECONNREFUSED' });
const etcdMember = (n: number, over: object = {}) => ({
  id: String(n),
  name: `e${n}`,
  clientUrls: [`http://e${n}:2379`],
  peerUrls: [`http://e${n}:2380`],
  ...over,
});
const etcd = (over: Partial<EtcdFacts> = {}): EtcdFacts => ({
  endpoints: [1, 2, 3].map((n) => endpoint(n)),
  members: [1, 2, 3].map((n) => etcdMember(n)),
  alarms: [],
  ...over,
});

describe('etcd', () => {
  const ROWS: readonly (readonly [string, Partial<EtcdFacts>, readonly string[]])[] = [
    ['three members that are well', {}, []],
    [
      'one that is silent',
      { endpoints: [endpoint(1), endpoint(2), silent(3)] },
      ['warning members: 2 of 3 endpoints answer: http://e3:2379 does not'],
    ],
    [
      'two that are silent',
      { endpoints: [endpoint(1), silent(2), silent(3)] },
      ['critical members: 1 of 3 endpoints answer'],
    ],
    [
      'all silent',
      { endpoints: [silent(1), silent(2), silent(3)], members: null, alarms: null },
      ['critical members: 0 of 3', 'unknown members'],
    ],
    ['one member', { endpoints: [endpoint(1)], members: [etcdMember(1)] }, ['warning members: there is one member']],
    [
      'two members',
      { endpoints: [endpoint(1), endpoint(2)], members: [etcdMember(1), etcdMember(2)] },
      ['warning members: there are 2'],
    ],
    [
      'a member that is not named',
      { endpoints: [endpoint(1), endpoint(2)] },
      ['warning members: the configuration does not name e3'],
    ],
    [
      'a member that was never started',
      { members: [etcdMember(1), etcdMember(2), etcdMember(3, { name: '' })] },
      ['warning members: http://e3:2380 was added and never started'],
    ],
    [
      'two clusters',
      { endpoints: [endpoint(1), endpoint(2), endpoint(3, { clusterId: 'd' })] },
      ['critical leader: these are members of different clusters'],
    ],
    [
      'no leader',
      { endpoints: [1, 2, 3].map((n) => endpoint(n, { leader: '0', readMs: null })) },
      ['critical leader: etcd has no leader', 'critical latency', 'critical latency', 'critical latency'],
    ],
    [
      'an election',
      { endpoints: [endpoint(1), endpoint(2), endpoint(3, { leader: '2' })] },
      ['warning leader: the members do not agree'],
    ],
    [
      'no space',
      { alarms: [{ memberId: '2', alarm: 'NoSpace' }] },
      ['critical alarms: NOSPACE of e2: etcd takes no writes'],
    ],
    ['damage', { alarms: [{ memberId: '2', alarm: 'CORRUPT' }] }, ['critical alarms: CORRUPT of e2']],
    [
      'slow',
      { endpoints: [endpoint(1, { readMs: millis(300) }), endpoint(2), endpoint(3)] },
      ['warning latency: http://e1:2379 needs 300 ms for a read; a request has 1500 ms with ttl 10 s'],
    ],
    [
      'far too slow',
      { endpoints: [endpoint(1, { readMs: millis(900) }), endpoint(2), endpoint(3)] },
      ['critical latency'],
    ],
    [
      'a slow disk',
      { endpoints: [endpoint(1, { syncMs: 60 }), endpoint(2), endpoint(3)] },
      ['warning disk: http://e1:2379 needs 60 ms'],
    ],
    [
      'nearly full',
      { endpoints: [endpoint(1, { size: 0.85 * 2 ** 31 }), endpoint(2), endpoint(3, { size: 0.99 * 2 ** 31 })] },
      ['warning space', 'critical space'],
    ],
    [
      'nothing known of quota and disk',
      { endpoints: [1, 2, 3].map((n) => endpoint(n, { quota: null, syncMs: null })) },
      [],
    ],
    [
      'the lease bug',
      {
        endpoints: [
          endpoint(1, { version: '3.4.30' }),
          endpoint(2, { version: '3.5.12' }),
          endpoint(3, { version: '3.6.0' }),
        ],
      },
      ['warning version: http://e1', 'warning version: http://e2'],
    ],
    ['an old one', { endpoints: [endpoint(1, { version: '3.3.10' }), endpoint(2), endpoint(3)] }, ['critical version']],
  ];
  it.each(ROWS)('%s', (_what, over, expected) => expectRow(judgeEtcd(etcd(over), seconds(10)), expected));
});

const HOST: HostFacts = {
  uid: 0,
  postgresUid: 105,
  enabled: [
    { name: 'ssh.service', script: false },
    { name: 'pgha.service', script: false },
  ],
  processes: [{ pid: 1, name: 'systemd' }],
  paths: [
    { path: '/srv/pg', found: { directory: true, owner: 105, mode: 0o700 } },
    { path: '/srv', found: { directory: true, owner: 105, mode: 0o755 } },
    { path: '/etc/pgha/pgha.yml', found: { directory: false, owner: 105, mode: 0o600 } },
  ],
  missingPrograms: [],
  timeIsKept: true,
};
const EXPECTED: HostExpectation = {
  dataDirectory: '/srv/pg',
  secrets: ['/etc/pgha/pgha.yml'],
  programDirectories: ['/usr/lib/postgresql/15/bin'],
  clockOffsets: [{ member: 'b', seconds: 0.4 }],
};
const VIP = { addresses: ['10.0.0.100/24'], interface: 'eth0' };
const INTERFACE = { exists: true, missing: [], capabilities: (1n << 12n) | (1n << 13n), announcesIpv6: false };
const unit = (name: string, script = false) => ({ enabled: [{ name, script }] });
const path = (name: string, found: HostFacts['paths'][number]['found']) => ({
  paths: [...HOST.paths.filter((one) => one.path !== name), { path: name, found }],
});

describe('host', () => {
  const ROWS: readonly (readonly [string, Partial<HostFacts>, Partial<HostExpectation>, readonly string[]])[] = [
    ['a machine that is well', {}, {}, []],
    [
      'the unit of the distribution',
      unit('postgresql.service'),
      {},
      ['critical rivals: postgresql.service is enabled: it starts Postgres at boot'],
    ],
    ['an instance of it', unit('postgresql@15-main.service'), {}, ['critical rivals: postgresql@15-main.service']],
    ["PGDG's", unit('postgresql-12.service'), {}, ['critical rivals: postgresql-12.service']],
    [
      'repmgrd, enabled and running',
      { ...unit('repmgrd.service'), processes: [{ pid: 7, name: 'repmgrd' }] },
      {},
      ['repmgrd.service is enabled', 'repmgrd runs (pid 7)'],
    ],
    ['a script of System V', unit('repmgrd', true), {}, ['critical rivals: repmgrd is enabled']],
    [
      'patroni',
      { ...unit('patroni.service'), processes: [{ pid: 8, name: 'patroni' }] },
      {},
      ['patroni.service', 'patroni runs'],
    ],
    ['pgpool may stay', unit('pgpool2.service'), {}, ['warning rivals: pgpool2.service']],
    [
      'names that only look like it',
      {
        enabled: ['postgresql-exporter.service', 'prometheus-postgres-exporter.service', 'postgresql_backup.timer'].map(
          (name) => ({ name, script: false }),
        ),
      },
      {},
      [],
    ],
    [
      'a foreign owner',
      path('/srv/pg', { directory: true, owner: 0, mode: 0o700 }),
      {},
      ['critical data: /srv/pg belongs to uid 0'],
    ],
    [
      'an open directory',
      path('/srv/pg', { directory: true, owner: 105, mode: 0o755 }),
      {},
      ['critical data: /srv/pg has mode 0755'],
    ],
    ['a group that may read', path('/srv/pg', { directory: true, owner: 105, mode: 0o750 }), {}, []],
    [
      'a file',
      path('/srv/pg', { directory: false, owner: 105, mode: 0o700 }),
      {},
      ['critical data: /srv/pg is no directory'],
    ],
    [
      'a directory whose parent belongs to root',
      path('/srv', { directory: true, owner: 0, mode: 0o755 }),
      {},
      ['warning data: the user of pgha cannot write to /srv: after a failover this node is copied'],
    ],
    ['a parent that a group may write', path('/srv', { directory: true, owner: 0, mode: 0o775 }), {}, []],
    [
      'no directory, and none can be made',
      {
        paths: [
          { path: '/srv/pg', found: null },
          { path: '/srv', found: { directory: true, owner: 0, mode: 0o755 } },
        ],
      },
      {},
      ['critical data: /srv/pg is not there, and /srv does not belong'],
    ],
    [
      'no directory, and one can be made',
      {
        paths: [
          { path: '/srv/pg', found: null },
          { path: '/srv', found: { directory: true, owner: 105, mode: 0o755 } },
        ],
      },
      {},
      [],
    ],
    ['nothing at all', { paths: [] }, {}, ['/srv is not there either']],
    ['no postgres', { postgresUid: null }, {}, ['critical data: this machine has no user postgres']],
    ['as another user', { uid: 105, postgresUid: null }, {}, []],
    ['a witness', { paths: [] }, { dataDirectory: null }, []],
    [
      'an open file',
      path('/etc/pgha/pgha.yml', { directory: false, owner: 105, mode: 0o644 }),
      {},
      ['warning secrets: /etc/pgha/pgha.yml can be read by everybody'],
    ],
    [
      'a closed file',
      path('/etc/pgha/pgha.yml', { directory: false, owner: 0, mode: 0o600 }),
      {},
      ['critical secrets: /etc/pgha/pgha.yml: the user of pgha cannot read it'],
    ],
    [
      'missing programs',
      { missingPrograms: ['pg_rewind'] },
      {},
      ['critical programs: pg_rewind not found in /usr/lib'],
    ],
    [
      'clocks apart',
      {},
      {
        clockOffsets: [
          { member: 'b', seconds: -90 },
          { member: 'c', seconds: 5 },
        ],
      },
      ['that of b is 90 s behind', 'that of c is 5 s ahead'],
    ],
    ['a clock nobody sets', { timeIsKept: null }, { clockOffsets: [] }, ['warning clock: nothing that sets it']],
    ['a clock not set yet', { timeIsKept: false }, {}, ['warning clock: systemd-timesyncd']],
    ['an address that can be moved', { interface: INTERFACE }, { vip: VIP }, []],
    [
      'no such interface',
      { interface: { ...INTERFACE, exists: false } },
      { vip: VIP },
      ['critical vip: there is no interface eth0'],
    ],
    [
      'no right to change it',
      { interface: { ...INTERFACE, capabilities: 0n } },
      { vip: VIP },
      ['critical vip: the daemon may not put an address on an interface (CAP_NET_ADMIN)'],
    ],
    [
      'nobody can be told',
      { interface: { ...INTERFACE, capabilities: 1n << 12n, missing: ['arping'] } },
      { vip: VIP },
      ['warning vip: the daemon may not tell the network', 'warning vip: arping is not installed'],
    ],
    [
      'nothing to do it with',
      { interface: { ...INTERFACE, missing: ['ip'] } },
      { vip: VIP },
      ['critical vip: ip is not installed'],
    ],
    [
      'rights that Postgres would inherit',
      { interface: { ...INTERFACE, missing: ['setpriv'] } },
      { vip: VIP },
      ['warning vip: setpriv is not installed'],
    ],
    [
      'an IPv6 address that nobody announces',
      { interface: { ...INTERFACE, missing: ['arping'] } },
      { vip: { ...VIP, addresses: ['fd00::100/64'] } },
      ['warning vip: the kernel does not announce an IPv6 address'],
    ],
    [
      'no daemon to ask',
      { interface: { ...INTERFACE, capabilities: null } },
      { vip: VIP },
      ['warning vip: no daemon runs'],
    ],
  ];
  it.each(ROWS)('%s', (_what, facts, expected, rows) => {
    const judgement = judgeHost({ ...HOST, ...facts }, { ...EXPECTED, ...expected });
    expectRow(judgement, rows);
  });
});

const CLONE: CloneFacts = {
  replicationUser: 'replicator',
  mayReplicate: true,
  walLevel: 'replica',
  maxWalSenders: 10,
  walSenders: 2,
  maxSlots: 10,
  slots: 2,
  size: 2 ** 30,
  free: 2 ** 32,
  dataDirectory: '/srv/pg',
  version: 150004,
};

describe('clone', () => {
  const ROWS: readonly (readonly [string, Partial<CloneFacts>, readonly string[]])[] = [
    ['all there', {}, []],
    ['one sender left', { walSenders: 9 }, ['critical senders: 9 of max_wal_senders 10']],
    ['no slot left', { slots: 10 }, ['warning slots: 10 of max_replication_slots 10']],
    ['no right', { mayReplicate: false }, ['critical rights: replicator may not replicate']],
    ['no role', { mayReplicate: null }, ['critical rights: there is no role replicator']],
    ['minimal WAL', { walLevel: 'minimal' }, ['critical wal_level']],
    ['an old server', { version: 90624 }, ['critical version']],
    ['no room', { free: 2 ** 29 }, ['critical room: 1.0 GB would be copied; 512 MB are free']],
    ['little room', { free: 1.1 * 2 ** 30 }, ['warning room']],
    ['nobody knows', { free: null }, ['unknown room']],
    ['the leader itself', { free: null, dataDirectory: null }, []],
  ];
  it.each(ROWS)('%s', (_what, over, expected) => expectRow(judgeClone({ ...CLONE, ...over }), expected));

  it('quotes a role that needs it', () => {
    const { findings } = judgeClone({ ...CLONE, replicationUser: 'a"b', mayReplicate: null });
    expect(findings.find(({ about }) => about === 'rights')?.todo).toBe('CREATE ROLE "a""b" LOGIN REPLICATION;');
  });
});

const MB = 2 ** 20;
const LIMITS = { warning: 16 * MB, critical: 128 * MB };
const OURS = { version: '0.1.0', priority: 100, location: 'default', role: 'node', guard: 'on' };
const standby = (over: object = {}, ours: object = {}) => ({
  conn_url: 'postgres://10.0.0.2:5432/postgres',
  state: 'running',
  role: 'replica',
  timeline: 2,
  replication_state: 'streaming',
  receive_lsn: 0x50000000,
  replay_lsn: 0x50000000,
  xlog_location: 0x50000000,
  ...over,
  pgha: { ...OURS, ...ours },
});
const cluster = (over: Keys = {}) =>
  aCluster(
    threeMembers({
      status: { optime: 0x50000000 },
      'members/a': {
        conn_url: 'postgres://10.0.0.1:5432/postgres',
        state: 'running',
        role: 'primary',
        timeline: 2,
        xlog_location: 0x50000000,
        pgha: OURS,
      },
      'members/b': standby(),
      'members/c': standby(),
      ...over,
    }),
  );

describe('replication', () => {
  const ROWS: readonly (readonly [string, Keys, readonly string[]])[] = [
    ['two that stream', {}, []],
    ['no leader', { leader: 'x' }, ['critical leader: there is no leader']],
    ['a stopped one', { 'members/b': standby({ state: 'stopped' }) }, ['critical b: is stopped']],
    [
      'one that does not stream',
      { 'members/b': standby({ replication_state: undefined }) },
      ['critical b: does not stream'],
    ],
    ['one that need not', { 'members/b': standby({ replication_state: undefined, tags: { nostream: true } }) }, []],
    ['another timeline', { 'members/b': standby({ timeline: 1 }) }, ['critical b: is on timeline 1, the leader on 2']],
    [
      'some lag',
      { 'members/b': standby({ receive_lsn: 0x4e000000, replay_lsn: 0x4d000000, xlog_location: 0x4e000000 }) },
      ['warning b: 32.0 MB behind, 48.0 MB in replay'],
    ],
    [
      'much lag',
      { 'members/b': standby({ receive_lsn: 0x40000000, replay_lsn: 0x40000000, xlog_location: 0x40000000 }) },
      ['critical b: 256.0 MB behind'],
    ],
    [
      'nobody who could take over',
      { 'members/b': standby({}, { priority: 0 }), 'members/c': standby({ tags: { nofailover: true } }) },
      ['critical succession'],
    ],
  ];
  it.each(ROWS)('%s', (_what, over, expected) => expectRow(judgeReplication(cluster(over), LIMITS), expected));

  it('a leader alone is warned of', () => {
    const alone = aCluster({ leader: 'a', 'members/a': { state: 'running', role: 'primary', xlog_location: 5 } });
    expectRow(judgeReplication(alone, LIMITS), ['warning succession: there is no standby']);
  });
});

describe('network', () => {
  const door = (reach: Reach, over: Partial<Door> = {}): Door => ({
    who: 'b',
    what: 'Postgres',
    host: '10.0.0.2',
    port: 5432,
    reach,
    ...over,
  });
  const OPEN: Reach = { kind: 'open', ms: millis(1) };
  const ROWS: readonly (readonly [string, Door, readonly string[]])[] = [
    ['open', door(OPEN), []],
    ['far', door({ kind: 'open', ms: millis(400) }), ['warning b 5432: Postgres at 10.0.0.2:5432 is open, 400 ms']],
    [
      'nobody listens',
      door({ kind: 'refused', said: 'nobody listens there' }),
      ['critical b 5432: Postgres at 10.0.0.2:5432: nobody listens there'],
    ],
    [
      'silence',
      door({ kind: 'silent', said: 'no answer within 2000 ms' }, { host: 'fd00::2' }),
      ['critical b 5432: Postgres at [fd00::2]:5432: no answer'],
    ],
    [
      'between members of etcd',
      door({ kind: 'silent', said: 'no answer' }, { what: 'etcd, among its members', port: 2380 }),
      ['warning b 2380'],
    ],
  ];
  it.each(ROWS)('%s', (_what, one, expected) => expectRow(judgeNetwork([one], cluster(), millis(2000)), expected));

  it('looks at etcd alone while there is no cluster, and says so', () => {
    expectRow(judgeNetwork([door(OPEN)], null, millis(2000)), ['unknown members: etcd has no such cluster']);
  });

  it('says what the others publish of the primary', () => {
    const blind = standby({ replication_state: undefined }, { saw_primary: null });
    expectRow(judgeNetwork([door(OPEN)], cluster({ 'members/b': blind }), millis(2000)), [
      'warning b to a: b has never seen the primary',
    ]);
  });
});

describe('a pooler', () => {
  const WELL: PoolerFacts = {
    kind: 'answered',
    version: '1.18.0',
    poolMode: 'transaction',
    serverLoginRetry: 1,
    queryWaitTimeout: 120,
  };
  it.each<[string, PoolerFacts, readonly string[]]>([
    ['that is set up for it', WELL, []],
    [
      'that does not answer',
      { kind: 'silent', said: 'no answer within 2000 ms' },
      ['warning pooler 10.0.0.9:6432: no answer within 2000 ms: it would be passed over'],
    ],
    ['in session mode', { ...WELL, poolMode: 'session' }, ['warning pooler 10.0.0.9:6432: pool_mode is session']],
    [
      'that waits long after a refused connection',
      { ...WELL, serverLoginRetry: 15 },
      ['warning pooler 10.0.0.9:6432: server_login_retry is 15 s'],
    ],
    [
      'that ends waiting clients before we would let them go',
      { ...WELL, queryWaitTimeout: 30 },
      ['warning pooler 10.0.0.9:6432: query_wait_timeout is 30 s'],
    ],
    ['without a limit for waiting clients', { ...WELL, queryWaitTimeout: 0 }, []],
  ])('%s', (_what, facts, expected) =>
    expectRow({ findings: judgePooler('10.0.0.9:6432', facts, 30), figures: [] }, expected),
  );
});

describe('a line for Nagios', () => {
  const finding = (level: Finding['level'], text: string): Finding => ({ level, about: 'x', said: text });
  it('names what weighs most, and has its figures behind a bar that nothing else can draw', () => {
    const line = nagiosLine('etcd', {
      findings: [finding('ok', 'fine'), finding('warning', 'so so'), finding('critical', 'bad | worse\nworst')],
      figures: [{ name: "lag_a'b", value: 1.25, unit: 'ms' }],
    });
    expect(line).toBe("PGHA ETCD CRITICAL - x: bad   worse worst | 'lag_a_b'=1.3ms");
  });
  it('critical goes before unknown, and nothing found is unknown', () => {
    expect(worst([finding('unknown', ''), finding('critical', '')])).toBe('critical');
    expect(worst([])).toBe('unknown');
  });
});
