/** Keys as Patroni and pgha write them, and garbage, which is never fatal. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Beat,
  type ClusterView,
  historyWith,
  hostAndPort,
  lastLeaderOf,
  nameTakenBy,
  readCluster,
  readStatusKey,
  slotName,
  timelineBeyond,
  writeExtras,
  writeFailover,
  writeHistory,
  writeStatus,
} from '../../../src/core/cluster.ts';
import { lsn, parseLsn, timeline } from '../../../src/core/lsn.ts';
import { type KeyValue, leaseId, nodeName, revision } from '../../../src/core/store.ts';
import { END } from './builders.ts';

function entry(key: string, value: unknown, at = 50): KeyValue {
  return {
    key,
    value: typeof value === 'string' ? value : JSON.stringify(value),
    createRevision: revision(3),
    modRevision: revision(at),
    lease: key === 'leader' || key.startsWith('members/') ? leaseId('7') : null,
  };
}

function cluster(keys: Readonly<Record<string, unknown>>): ClusterView {
  const entries = Object.entries(keys).map(([key, value]) => entry(key, value));
  return readCluster(entries, { clusterId: 'one', raftTerm: 2n, revision: revision(100) });
}

const EMPTY = {
  leader: null,
  status: null,
  initialize: null,
  config: null,
  failover: null,
  failsafe: null,
  sync: null,
  history: [],
  lastTakeover: null,
  poolers: null,
  members: [],
  garbledConfig: null,
};

describe('an empty scope', () => {
  it('says nothing, which is no error', () => {
    expect(cluster({})).toEqual({ ...EMPTY, clusterId: 'one', raftTerm: 2n, revision: 100n, notUnderstood: [] });
  });
});

describe('garbage', () => {
  const keys = [
    'leader',
    'status',
    'initialize',
    'config',
    'failover',
    'sync',
    'history',
    'failsafe',
    'members/a',
    'members/',
    'members/a/b',
    'x',
  ];
  const garbage = fc.oneof(
    fc.string(),
    fc.json(),
    fc.constantFrom(
      '',
      '{',
      '[]',
      'null',
      '0',
      '"x"',
      '{"pgha":1}',
      '[[]]',
      '{"pgha":{"term":"-1","seq":0,"hold_ms":0}}',
    ),
    fc
      .record({ term: fc.json(), seq: fc.json(), hold_ms: fc.json(), release: fc.json() }, { requiredKeys: [] })
      .map((pgha) => `{"pgha":${JSON.stringify(pgha)}}`),
  );

  it('in any key is never fatal', () => {
    const scope = fc.dictionary(fc.constantFrom(...keys), garbage);
    void fc.assert(
      fc.property(scope, (values) => {
        const read = cluster(values);
        for (const { key } of read.notUnderstood) expect(keys).toContain(key);
        for (const { key, value } of Object.entries(values).map(([key, value]) => entry(key, value))) {
          if (key === 'status') readStatusKey(entry(key, value));
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('what is nested so deep that nobody could walk through it counts as garbage', () => {
    const deep = `{"ttl":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
    const read = cluster({ config: deep, 'members/a': deep });
    expect(read.notUnderstood).toEqual([
      { key: 'config', why: 'nested too deep' },
      { key: 'members/a', why: 'nested too deep' },
    ]);
    expect(read.config).toBeNull();
    // Brackets in a text are none.
    expect(cluster({ config: { ttl: 20, x: '['.repeat(10_000) } }).notUnderstood).toEqual([]);
  });

  it('is listed, and counts as if the key said nothing', () => {
    const read = cluster({ status: '{', config: '[]', failover: '7', history: '{}', 'members/a': 'x' });
    expect(read.notUnderstood.map(({ key }) => key).sort()).toEqual([
      'config',
      'failover',
      'history',
      'members/a',
      'status',
    ]);
    expect(read).toMatchObject({ config: null, failover: null, history: [], status: { optime: null, beat: null } });
    expect(read.members).toMatchObject([{ name: 'a', state: 'unknown', host: null, pgha: null }]);
  });

  it.each([
    ['no term', { seq: 1, hold_ms: 1 }],
    ['a term that is no text', { term: 40, seq: 1, hold_ms: 1 }],
    ['a negative term', { term: '-40', seq: 1, hold_ms: 1 }],
    ['no number', { term: '40', hold_ms: 1 }],
    ['no hold', { term: '40', seq: 1 }],
    ['a hold that is no number', { term: '40', seq: 1, hold_ms: 'long' }],
    ['a fraction for a hold', { term: '40', seq: 1, hold_ms: 1.5 }],
    ['a negative hold', { term: '40', seq: 1, hold_ms: -1 }],
    ['a hold longer than any leader can mean', { term: '40', seq: 1, hold_ms: 7_200_001 }],
    ['a release without a position', { term: '40', seq: 1, hold_ms: 0, release: {} }],
    ['a release at what is no position', { term: '40', seq: 1, hold_ms: 0, release: { lsn: 'here' } }],
  ])('in a beat makes it no beat at all: %s', (_what, pgha) => {
    const read = cluster({ status: { optime: 1, pgha } });
    expect(read.status).toMatchObject({ beat: null, optime: 1n });
    expect(read.notUnderstood).toMatchObject([{ key: 'status', part: 'pgha' }]);
  });

  it.each([
    ['a text', 'far'],
    ['negative', -1],
    ['a fraction', 0.5],
    ['beyond 64 bits', 1e30],
    ['nothing', null],
  ])('in the published position makes it unknown, and is told: %s', (_what, optime) => {
    const read = cluster({ status: { optime } });
    expect(read.status?.optime).toBeNull();
    expect(read.notUnderstood).toMatchObject([{ key: 'status', part: 'optime' }]);
  });

  it('in the published position shows by what the members have', () => {
    const members = { 'members/a': { xlog_location: 1_000 }, 'members/b': { receive_lsn: 900, replay_lsn: 2_000 } };
    const farthest = 2 ** 46 + 2_000;
    expect(cluster({ ...members, status: { optime: farthest } })).toMatchObject({
      status: { optime: BigInt(farthest) },
      notUnderstood: [],
    });
    expect(cluster({ ...members, status: { optime: farthest + 1 } })).toMatchObject({
      status: { optime: null },
      notUnderstood: [{ key: 'status', part: 'optime' }],
    });
    // Nobody says where he is: nothing speaks against it.
    expect(cluster({ status: { optime: farthest + 1 } }).status?.optime).toBe(BigInt(farthest + 1));
  });

  it('in the history shows by the timelines that members are on', () => {
    const history = [
      [3, 1_000, 'x'],
      [1_005, 1_000, 'x'],
    ];
    const read = cluster({ 'members/a': { timeline: 4 }, history });
    expect(read.history.map((line) => line.timeline)).toEqual([3]);
    expect(read.notUnderstood).toMatchObject([{ key: 'history', part: 'a line' }]);
    expect(cluster({ 'members/a': { timeline: 5 }, history }).history).toHaveLength(2);
    expect(cluster({ history }).history).toHaveLength(2);
  });
});

describe('the history that a promotion adds to', () => {
  const entry = (from: number, at: string) => ({ timeline: timeline(from), switchedAt: parseLsn(at) });
  const by = (to: number) => ({ timeline: timeline(to), node: nodeName('c'), when: '2026-11-21T04:00:00.000Z' });
  const rows = (...of: Parameters<typeof historyWith>) =>
    historyWith(...of).map((line) => [line.timeline, line.lsn, line.newLeader]);
  const [first, second] = [entry(1, '0/3000000'), entry(2, '0/4000000')];

  it('has a line for each timeline that the new primary came through, the last one with its name', () => {
    const known = historyWith([], [first], by(2));
    expect(known).toMatchObject([{ reason: 'no recovery target specified', when: '2026-11-21T04:00:00.000Z' }]);
    expect(rows(known, [first, second], by(3))).toEqual([
      [1, first.switchedAt, 'c'],
      [2, second.switchedAt, 'c'],
    ]);
    expect(rows([], [first, second], by(3))[0]).toEqual([1, first.switchedAt, null]);
  });

  it('says on which timeline the cluster is where one was left out, because nobody was left who had it', () => {
    const known = historyWith([], [first], by(2));
    const read = historyWith(known, [entry(1, '0/2000000')], by(3));
    expect(read.slice(0, 1)).toEqual(known);
    expect(read.slice(1)).toMatchObject([
      { timeline: 2, lsn: parseLsn('0/2000000'), reason: 'went on from timeline 1', newLeader: 'c' },
    ]);
    expect(timelineBeyond({ history: read }, timeline(3))).toBeNull();
    expect(timelineBeyond({ history: read }, timeline(1))).toMatchObject({ timeline: 3, leader: 'c' });
  });
});

describe("a member's key", () => {
  it('reads as a live Patroni writes it', () => {
    const value =
      '{"conn_url":"postgres://127.0.0.1:15431/postgres","api_url":"http://127.0.0.1:18001/patroni","state":"running","role":"replica","version":"4.1.4","tags":{"region":"eu1"},"xlog_location":83886176,"replay_lsn":83886176,"receive_lsn":83886176,"replication_state":"streaming","timeline":1}';
    const read = cluster({ 'members/pg2': value });
    expect(read.notUnderstood).toEqual([]);
    expect(read.members[0]).toEqual({
      name: 'pg2',
      lease: '7',
      connUrl: 'postgres://127.0.0.1:15431/postgres',
      apiUrl: 'http://127.0.0.1:18001/patroni',
      host: '127.0.0.1',
      port: 15431,
      state: 'running',
      role: 'replica',
      version: '4.1.4',
      timeline: 1,
      xlogLocation: 0x5000060n,
      receiveLsn: 0x5000060n,
      replayLsn: 0x5000060n,
      replicationState: 'streaming',
      checkpointed: true,
      pendingRestart: false,
      pause: false,
      tags: { region: 'eu1' },
      pgha: null,
      raw: JSON.parse(value),
    });
  });

  it('knows a primary also by the word that Patroni had for it before 4.0', () => {
    expect(cluster({ 'members/a': { role: 'master' } }).members[0]?.role).toBe('primary');
  });

  it('tells a leader that has not done its first checkpoint after a promotion', () => {
    expect(cluster({ 'members/a': { checkpoint_after_promote: false } }).members[0]?.checkpointed).toBe(false);
  });

  it('carries our own facts, which read back as they were written', () => {
    const extras = {
      version: '0.1.0',
      nodeId: 3,
      priority: 50,
      location: 'east',
      sawPrimary: 120,
      guard: 'off',
      role: 'witness',
      upstream: nodeName('a'),
      receivesFrom: nodeName('c'),
      dataDirectory: '/var/lib/postgresql/15/main',
    } as const;
    expect(cluster({ 'members/a': { pgha: writeExtras(extras) } }).members[0]?.pgha).toEqual(extras);
  });

  it('is none when it stands deeper down, or has no name; the others come in order of their names', () => {
    const read = cluster({ 'members/c': {}, 'members/': {}, 'members/a/optime': {}, 'members/b': {} });
    expect(read.members.map(({ name }) => name)).toEqual(['b', 'c']);
  });

  it('gives host and port of any address that is written as a URL', () => {
    expect(hostAndPort('postgres://[fd00::1]:5432/postgres')).toEqual({ host: 'fd00::1', port: 5432 });
    expect(hostAndPort('postgres://user:secret@db1.example:5432/postgres')).toEqual({
      host: 'db1.example',
      port: 5432,
    });
    expect(hostAndPort('http://db1:8008/patroni')).toEqual({ host: 'db1', port: 8008 });
    expect(hostAndPort('postgres://db1/postgres')).toBeNull();
    expect(hostAndPort('db1:5432')).toBeNull();
  });
});

describe('the leader key', () => {
  it('names its owner; the term is the revision at which it was taken', () => {
    expect(cluster({ leader: 'a' }).leader).toEqual({ name: 'a', term: 50n, lease: '7' });
  });
});

describe('a name', () => {
  const self = { name: nodeName('b'), apiUrl: 'http://10.0.0.2:8008/patroni', lease: leaseId('8') };
  const member = (apiUrl: string) => cluster({ 'members/b': { api_url: apiUrl } });

  it('is taken by whoever stands under it with another address, on a lease that is not ours', () => {
    expect(nameTakenBy(member('http://10.0.0.9:8008/patroni'), self)).toBe('http://10.0.0.9:8008/patroni');
  });

  it('is ours with our address, on our lease, and where nobody stands under it', () => {
    expect(nameTakenBy(member(self.apiUrl), self)).toBeNull();
    expect(nameTakenBy(member('http://10.0.0.9:8008/patroni'), { ...self, lease: leaseId('7') })).toBeNull();
    expect(nameTakenBy(cluster({}), self)).toBeNull();
  });
});

describe('the last leader', () => {
  /** The key as it was read last; the status of `cluster(...)` is of revision 50. */
  const seen = (term: number) => ({ name: nodeName('seen'), term: revision(term), lease: null });
  const told = { pgha: { term: '40', seq: 1, hold_ms: 1, leader: 'b' } };
  const history = [
    [1, 1_000, 'x', 'then', 'a'],
    [2, 2_000, 'x', 'then', 'c'],
  ];

  it('is whoever holds the key', () => {
    expect(lastLeaderOf(cluster({ leader: 'a', status: told, history }), seen(40))).toBe('a');
  });

  it('is whoever wrote the newest status, also for those who saw another one lead before', () => {
    expect(lastLeaderOf(cluster({ status: told, history }), seen(40))).toBe('b');
  });

  it('is the one that was seen where the status does not say, as of a leader that runs Patroni', () => {
    expect(lastLeaderOf(cluster({ status: { optime: 1 }, history }), seen(40))).toBe('seen');
  });

  it('is the one that was seen to take the key after the newest status, and was lost before his first beat', () => {
    expect(lastLeaderOf(cluster({ status: told, history }), seen(51))).toBe('seen');
  });

  it('is the newest of the history for those who have seen nobody', () => {
    expect(lastLeaderOf(cluster({ status: { optime: 1 }, history }), null)).toBe('c');
    expect(lastLeaderOf(cluster({}), null)).toBeNull();
  });
});

describe('status', () => {
  it('reads as Patroni writes it, and has no beat then', () => {
    const value = { optime: 83886176, slots: { pg1: 83886176, pg2: 83886000 }, retain_slots: ['pg1', 'pg2'] };
    expect(cluster({ status: value }).status).toEqual({
      revision: 50n,
      optime: 83886176n,
      slots: new Map([
        ['pg1', 83886176n],
        ['pg2', 83886000n],
      ]),
      retainSlots: ['pg1', 'pg2'],
      beat: null,
      beatless: true,
      leader: null,
      location: null,
    });
  });

  const position = fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }).map(lsn);
  const beat: fc.Arbitrary<Beat> = fc.record({
    term: fc.bigInt({ min: 1n, max: 2n ** 63n - 1n }).map(revision),
    seq: fc.nat(),
    holdMs: fc.option(fc.nat({ max: 7_200_000 })),
    release: fc.option(
      fc.record({
        lsn: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(lsn),
        candidate: fc.option(fc.string({ minLength: 1 }).map(nodeName)),
      }),
    ),
  });
  const slots = fc
    .array(fc.tuple(fc.stringMatching(/^[a-z_]{1,8}$/), position))
    .map((pairs) => new Map(pairs.map(([name, at]) => [name, at])));
  const anyStatus = fc.record({
    optime: fc.option(position),
    slots,
    retainSlots: fc.array(fc.string()),
    leader: fc.option(fc.string({ minLength: 1 }).map(nodeName)),
    location: fc.option(fc.string()),
    beat,
  });

  it('reads back as it was written', () => {
    void fc.assert(
      fc.property(anyStatus, (status) => {
        expect(readStatusKey(entry('status', writeStatus(status)))).toEqual({ ...status, revision: 50n });
      }),
    );
  });

  it("is written with Patroni's fields first and ours in one object", () => {
    const written = writeStatus({
      optime: END,
      slots: new Map([['b', END]]),
      retainSlots: ['b'],
      leader: nodeName('a'),
      location: null,
      beat: { term: revision(40), seq: 7, holdMs: 0, release: { lsn: END, candidate: nodeName('c') } },
    });
    expect(written).toBe(
      '{"optime":83886176,"slots":{"b":83886176},"retain_slots":["b"],"pgha":{"term":"40","seq":7,"hold_ms":0,"leader":"a","release":{"lsn":"0/5000060","candidate":"c"}}}',
    );
  });

  it('with the term 0 speaks of the version that carries it: key and beat were written together', () => {
    const status = entry('status', { pgha: { term: '0', seq: 1, hold_ms: 5 } }, 77);
    expect(readStatusKey(status).beat?.term).toBe(77n);
  });

  it('without a beat is still a version: garbage does not hide that something was written', () => {
    expect(readStatusKey(entry('status', 'garbage'))).toMatchObject({ revision: 50n, beat: null, optime: null });
  });
});

describe('the failover key', () => {
  it('reads back as it was written', () => {
    const name = fc.option(fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/));
    void fc.assert(
      fc.property(name, name, (leader, candidate) => {
        fc.pre(leader !== null || candidate !== null);
        const request = { leader, candidate, scheduledAt: null };
        expect(cluster({ failover: writeFailover(request) }).failover).toEqual({ ...request, revision: 50n });
      }),
    );
  });

  it('asks for nothing when it is empty, as Patroni leaves it', () => {
    expect(cluster({ failover: '{}' }).failover).toBeNull();
    expect(cluster({ failover: '{"leader":"","member":""}' }).failover).toBeNull();
  });

  it('is understood in the old form of two names and a colon', () => {
    expect(cluster({ failover: 'a:b' }).failover).toMatchObject({ leader: 'a', candidate: 'b' });
    expect(cluster({ failover: ':b' }).failover).toMatchObject({ leader: null, candidate: 'b' });
  });

  it('carries the time of a scheduled switchover', () => {
    const read = cluster({ failover: { leader: 'a', member: 'b', scheduled_at: '2030-01-01T10:00:00+00:00' } });
    expect(read.failover?.scheduledAt).toBe('2030-01-01T10:00:00+00:00');
  });
});

describe('the history key', () => {
  it('reads back as it was written', () => {
    const lines = [
      {
        timeline: timeline(1),
        lsn: lsn(83886176n),
        reason: 'no recovery target specified',
        when: null,
        newLeader: null,
      },
      {
        timeline: timeline(2),
        lsn: lsn(100663296n),
        reason: 'no recovery target specified',
        when: '2026-11-20T10:44:00.000+00:00',
        newLeader: 'b',
      },
    ];
    expect(cluster({ history: writeHistory(lines) }).history).toEqual(lines);
  });

  it('is read line by line: one that is not understood does not take the others with it', () => {
    expect(cluster({ history: [[1, 83886176, 'x'], 'garbage', [2]] }).history).toMatchObject([{ timeline: 1 }]);
  });
});

describe('the name of a slot', () => {
  it('is the one that Patroni derives, so that both mean the same slot', () => {
    expect(slotName('Node-1.example')).toBe('node_1_example');
    expect(slotName('a b')).toBe('au0032b');
    expect(slotName('x'.repeat(80))).toHaveLength(63);
  });
});
