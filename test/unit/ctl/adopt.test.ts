/** `pgha-ctl adopt`: what stands against it is said with what to type, and nothing is touched; else the steps in their order. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Refusal } from '../../../src/http/ctl/terminal.ts';
import { ctl, type World } from './fakes.ts';

const SYSTEM = '7438123456789012345';
const HOSTS = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];
const NAMES = ['a', 'b', 'c'];

interface Server {
  recovery: boolean;
  systemId: string;
  slots: number;
  running: boolean;
  paused: boolean;
  /** Does not do what it is told. */
  stubborn?: boolean;
  daemon: Record<string, unknown>;
}

let directory = '';
let file = '';
let servers: Server[] = [];
let nodes: (string | number)[][] | Refusal = [];
let world: World = { clusters: {} };
/** What the leader-to-be says. */
let answerIsLost = false;
let taken: { status: number; text: string } = { status: 202, text: 'taken' };
let told: string[] = [];

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-adopt-'));
  file = join(directory, 'pgha.yml');
  writeFileSync(
    file,
    `scope: demo
name: a
adopt_from: repmgr
restapi: {listen: '10.0.0.1:8008', connect_address: '10.0.0.1:8008'}
etcd3: {hosts: ['10.0.0.9:2379']}
postgresql:
  listen: '10.0.0.1:5432'
  connect_address: '10.0.0.1:5432'
  data_dir: ${join(directory, 'data')}
  database: repmgr
  authentication: {superuser: {username: repmgr}, replication: {username: repmgr}}
`,
    { mode: 0o600 },
  );
});
afterAll(() => rmSync(directory, { recursive: true }));

const member = (index: number, over: Record<string, unknown> = {}): Record<string, unknown> => ({
  conn_url: `postgres://${HOSTS[index]}:5432/repmgr`,
  api_url: `http://${HOSTS[index]}:8008/patroni`,
  state: 'running',
  role: index === 0 ? 'primary' : 'replica',
  xlog_location: 100_000_000,
  timeline: 1,
  ...(index === 0 ? {} : { replication_state: 'streaming' }),
  pgha: { version: '1' },
  ...over,
});

beforeEach(() => {
  told = [];
  taken = { status: 202, text: 'taken' };
  answerIsLost = false;
  servers = NAMES.map((_, index) => ({
    recovery: index > 0,
    systemId: SYSTEM,
    slots: 2,
    running: true,
    paused: false,
    daemon: {
      decision: { situation: 'shadow', rule: 'shadow.watching', reason: 'watches' },
      postgres: index === 0 ? 'primary' : 'standby',
      system_id: SYSTEM,
      timeline: 1,
      receiving: index > 0,
      upstream: '10.0.0.1:5432',
      gate_ms: 0,
    },
  }));
  nodes = NAMES.map((name, index) => [
    index + 1,
    name,
    index === 0 ? 'primary' : 'standby',
    't',
    index === 0 ? '' : 1,
    `host=${HOSTS[index]} user=repmgr dbname=repmgr`,
  ]);
  const clusters: World['clusters'] = {
    demo: { 'members/a': member(0), 'members/b': member(1), 'members/c': member(2) },
  };
  world = {
    clusters,
    sql: ({ host }, statement) => {
      const server = servers[HOSTS.indexOf(host)];
      if (server === undefined) throw new Refusal(`${host}:5432: connection refused`);
      const rows = (cells: readonly (string | number)[][]) => ({
        columns: [],
        rows: cells.map((row) => row.map(String)),
      });
      const pause = /repmgrd_pause\((true|false)\)/.exec(statement)?.[1];
      if (pause !== undefined) {
        told.push(`${host} ${pause === 'true' ? 'pause' : 'unpause'}`);
        if (server.stubborn !== true) server.paused = pause === 'true';
        return rows([['']]);
      }
      if (statement.includes('repmgrd_is_running'))
        return rows([[server.running ? 't' : 'f', server.paused ? 't' : 'f']]);
      if (statement.includes('repmgr.nodes')) {
        if (nodes instanceof Refusal) throw nodes;
        return rows(nodes);
      }
      if (statement.includes('pg_control_system'))
        return rows([[server.recovery ? 't' : 'f', server.systemId, server.slots, 10, 'repmgr']]);
      return rows([[server.recovery ? 't' : 'f']]);
    },
    api: ({ url, method, path, body }) => {
      const index = HOSTS.findIndex((host) => url.includes(host));
      const server = servers[index];
      if (server === undefined) throw new Error('connect ECONNREFUSED');
      if (method === 'POST' && path === '/pgha/take-over') {
        told.push(`${HOSTS[index]} take-over`);
        if (taken.status === 202) lead();
        if (answerIsLost) throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
        return taken;
      }
      if (method === 'PATCH') {
        told.push(`PATCH ${JSON.stringify(body)}`);
        const keys = clusters['demo'] ?? {};
        for (const name of NAMES)
          if (keys[`members/${name}`] !== undefined)
            keys[`members/${name}`] = { ...(keys[`members/${name}`] as object), pause: true };
        return { status: 200, text: '{}' };
      }
      return { status: 200, text: JSON.stringify({ server_version: 150_000, pgha: server.daemon }) };
    },
  };
  const lead = (): void => {
    Object.assign(clusters['demo'] ?? {}, { leader: 'a', initialize: SYSTEM, config: {} });
    servers.forEach((server, index) => {
      const situation = index === 0 ? 'leading' : 'following';
      server.daemon = { ...server.daemon, decision: { situation, rule: situation, reason: '' }, writable: index === 0 };
    });
  };
});

const adopt = (...args: string[]) => ctl(world, '-c', file, 'adopt', ...args);
const demo = (): Record<string, unknown> => world.clusters['demo'] as Record<string, unknown>;

it.each(['check', 'take-over', 'back'])('adopt %s touches nothing with the file of another cluster', async (step) => {
  const { code, err, txns, sql } = await adopt(step, 'another', '--force');
  expect([code, told, txns, sql]).toEqual([1, [], [], []]);
  expect(err).toContain('is a node of cluster demo, not of another');
});

describe('adopt take-over', () => {
  it('pauses repmgrd everywhere before pgha leads, and waits until the standbys follow', async () => {
    const { code, out } = await adopt('take-over', '--force');
    expect({ code, out }).toMatchObject({ code: 0 });
    expect(told).toEqual(['10.0.0.1 pause', '10.0.0.2 pause', '10.0.0.3 pause', '10.0.0.1 take-over']);
    expect(out).toContain('a leads demo under pgha');
    expect(out).toContain('systemctl disable --now repmgrd');
  });

  it('asks first, and touches nothing without a yes', async () => {
    world = { ...world, typed: ['n'] };
    const { code, asked } = await adopt('take-over');
    expect(code).toBe(1);
    expect(asked.join()).toContain('with a as its leader');
    expect(told).toEqual([]);
  });

  it('has repmgrd go on where the primary refuses', async () => {
    taken = { status: 412, text: 'etcd does not answer' };
    const { code, err } = await adopt('take-over', '--force');
    expect(code).toBe(1);
    expect(err).toContain('etcd does not answer. Postgres was not touched, and repmgrd goes on.');
    expect(told.slice(-3)).toEqual(['10.0.0.1 unpause', '10.0.0.2 unpause', '10.0.0.3 unpause']);
    expect(servers.map(({ paused }) => paused)).toEqual([false, false, false]);
  });

  it('has repmgrd go on where etcd fails between the pause and the question', async () => {
    world = { ...world, etcdIsAway: () => told.some((one) => one.endsWith(' pause')) };
    const { code, err } = await adopt('take-over', '--force');
    expect([code, err]).toEqual([1, expect.stringContaining('etcd')]);
    expect(told).not.toContain('10.0.0.1 take-over');
    expect(servers.map(({ paused }) => paused)).toEqual([false, false, false]);
  });

  it('leaves repmgrd paused where the primary was asked and its answer is lost: it may lead in a moment', async () => {
    answerIsLost = true;
    const { code, out } = await adopt('take-over', '--force');
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringContaining('a leads demo under pgha') });
    expect(servers.map(({ paused }) => paused)).toEqual([true, true, true]);
  });

  it('has repmgrd go on where the primary did not answer and does not lead either', async () => {
    answerIsLost = true;
    taken = { status: 412, text: 'no' };
    const { code, out } = await adopt('take-over', '--force');
    expect({ code, out }).toMatchObject({ code: 1, out: expect.stringContaining('did not take the key in time') });
    expect(servers.map(({ paused }) => paused)).toEqual([false, false, false]);
  });

  it('leaves repmgrd paused where nobody can say who leads', async () => {
    answerIsLost = true;
    world = { ...world, etcdIsAway: () => told.includes('10.0.0.1 take-over') };
    const { code, out } = await adopt('take-over', '--force');
    expect({ code, out }).toMatchObject({ code: 1, out: expect.stringContaining('repmgrd stays paused') });
    expect(servers.map(({ paused }) => paused)).toEqual([true, true, true]);
  });

  it('has the others go on where one repmgrd cannot be paused, and asks nobody to lead', async () => {
    Object.assign(servers[1] ?? {}, { stubborn: true });
    const { code, err } = await adopt('take-over', '--force');
    expect(code).toBe(1);
    expect(err).toContain('repmgrd on b could not be paused');
    expect(told).not.toContain('10.0.0.1 take-over');
    expect(servers.map(({ paused }) => paused)).toEqual([false, false, false]);
  });

  it('leaves a repmgrd alone that an operator had paused before', async () => {
    for (const server of servers) server.paused = true;
    taken = { status: 412, text: 'no' };
    await adopt('take-over', '--force');
    expect(told).toEqual(['10.0.0.1 take-over']);
  });

  it('says it in one object for programs', async () => {
    const { out } = await adopt('take-over', '--force', '--format', 'json');
    expect(JSON.parse(out)).toMatchObject({ step: 'take-over', from: 'repmgr', ok: true, done: expect.any(Array) });
  });
});

describe('adopt check', () => {
  it('finds nothing against a cluster that is well, and touches nothing', async () => {
    const { code, out } = await adopt('check');
    expect({ code, out }).toMatchObject({ code: 0 });
    expect(told).toEqual([]);
  });

  const server = (index: number): Server => servers[index] as Server;
  const decides = (index: number, rule: string, reason = ''): void => {
    const situation = rule.startsWith('shadow') ? 'shadow' : rule.replace(/\..*/, '');
    server(index).daemon = { ...server(index).daemon, decision: { situation, rule, reason } };
  };
  const tableSays = (table: typeof nodes): void => {
    nodes = table;
  };
  const rowSays = (index: number, row: (string | number)[]): void => {
    if (!(nodes instanceof Refusal)) nodes[index] = row;
  };
  const wrong: readonly (readonly [string, () => void, string])[] = [
    [
      'no daemon of pgha',
      () => {
        world.clusters['demo'] = {};
      },
      'no daemon of pgha watches cluster demo',
    ],
    ['a cluster that pgha leads', () => Object.assign(demo(), { leader: 'a' }), 'a leads demo under pgha already'],
    ['two primaries', () => Object.assign(server(1), { recovery: false }), 'a and b are both primaries'],
    ['no primary', () => Object.assign(server(0), { recovery: true }), 'a failover may be under way'],
    ['two clusters', () => Object.assign(server(2), { systemId: '1' }), 'the members are not one cluster'],
    ["another cluster's scope", () => Object.assign(demo(), { initialize: '99' }), 'with system identifier 99'],
    ['a daemon that does not answer', () => delete servers[2], 'its daemon does not answer'],
    [
      'a daemon that does more than watch',
      () => decides(1, 'joining.standby-cannot-claim'),
      '`adopt_from: repmgr` in its pgha.yml',
    ],
    [
      'a failover under way',
      () => decides(1, 'shadow.would-fail-over', 'no primary is to be seen'),
      'no primary is to be seen',
    ],
    ['a daemon just started', () => Object.assign(server(0).daemon, { gate_ms: 4_200 }), 'again in 5 s'],
    [
      'a standby that receives nothing',
      () => Object.assign(server(1).daemon, { receiving: false }),
      'this standby receives nothing',
    ],
    [
      'a login that is not let in',
      () => Object.assign(server(1).daemon, { replication_login: false }),
      "does not let pgha's login for replication in",
    ],
    [
      'another timeline',
      () => Object.assign(server(1).daemon, { timeline: 2 }),
      'it is on timeline 2, the primary on 1',
    ],
    [
      'a standby far behind',
      () => Object.assign(demo(), { 'members/c': member(2, { xlog_location: 1_000 }) }),
      '95 MB behind',
    ],
    [
      'no room for slots',
      () => Object.assign(server(0), { slots: 9 }),
      '9 of 10 replication slots are there; pgha makes 2 more',
    ],
    [
      "repmgr's table out of reach",
      () => tableSays(new Refusal('relation "repmgr.nodes" does not exist')),
      '--from streaming',
    ],
    ["repmgr's table empty", () => tableSays([]), "repmgr's table is empty"],
    [
      'a node without pgha',
      () => rowSays(3, [4, 'd', 'standby', 't', 1, 'host=10.0.0.4']),
      'd (10.0.0.4:5432) runs without pgha',
    ],
    [
      'a node that repmgr has written off',
      () => rowSays(2, [3, 'c', 'standby', 'f', 1, 'host=10.0.0.3']),
      'repmgr standby register -F on c',
    ],
    [
      'a failover that repmgr never wrote down',
      () => rowSays(1, [2, 'b', 'primary', 't', '', 'host=10.0.0.2']),
      'repmgr has b down as primary, and it is a standby',
    ],
  ];
  it.each(wrong)('says what to type against %s, and take-over touches nothing', async (_what, spoil, said) => {
    spoil();
    const checked = await adopt('check');
    expect(checked.code).toBe(1);
    expect(checked.out).toContain(said);
    const { code, err } = await adopt('take-over', '--force');
    expect(code).toBe(1);
    expect(err).toContain('nothing was touched');
    expect(told).toEqual([]);
  });

  it('needs no repmgr for a cluster that was made by hand', async () => {
    nodes = new Refusal('relation "repmgr.nodes" does not exist');
    expect((await adopt('check', '--from', 'streaming')).code).toBe(0);
    expect((await adopt('take-over', '--from', 'streaming', '--force')).code).toBe(0);
    expect(told).toEqual(['10.0.0.1 take-over']);
  });

  it('is called wrongly without a step, and refused without a file of a node', async () => {
    expect((await adopt()).code).toBe(2);
    expect((await adopt('forth')).code).toBe(2);
    expect((await ctl(world, 'adopt', 'check')).code).toBe(1);
  });
});

describe('adopt back', () => {
  const ledByPgha = async (): Promise<void> => {
    await adopt('take-over', '--force');
    told = [];
  };

  it('pauses pgha first, and has repmgr go on once no daemon is there', async () => {
    await ledByPgha();
    const first = await adopt('back', '--force');
    expect(first.code).toBe(0);
    expect(told).toEqual(['PATCH {"pause":true}']);
    expect(first.out).toContain('systemctl disable --now pgha');
    for (const name of NAMES) delete demo()[`members/${name}`];
    delete demo()['leader'];
    const second = await adopt('back', '--force');
    expect({ code: second.code, out: second.out }).toMatchObject({ code: 0 });
    expect(told.slice(1)).toEqual(['10.0.0.1 unpause', '10.0.0.2 unpause', '10.0.0.3 unpause']);
    expect(Object.keys(demo())).toEqual([]);
  });

  it('leaves repmgrd paused while its table is not true, and says what to type', async () => {
    await ledByPgha();
    world.clusters['demo'] = { initialize: SYSTEM };
    Object.assign(servers[0] ?? {}, { recovery: true });
    Object.assign(servers[1] ?? {}, { recovery: false });
    const { code, out } = await adopt('back');
    expect(code).toBe(1);
    expect(out).toContain('on b: repmgr primary register -F');
    expect(out).toContain('on a: repmgr standby follow');
    expect(told).toEqual([]);
    expect(Object.keys(demo())).toEqual(['initialize']);
  });

  it('has nothing to give back of what was never taken over', async () => {
    const { code, err } = await adopt('back', '--force');
    expect(code).toBe(1);
    expect(err).toContain('was not taken over');
  });
});
