import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { millis } from '../../../../src/core/time.ts';
import type { EtcdFacts } from '../../../../src/ports/examination.ts';
import { threeMembers } from '../../http/builders.ts';
import { ctl, type World } from '../fakes.ts';

const ETCD: EtcdFacts = {
  endpoints: [1, 2, 3].map((n) => ({
    kind: 'answered' as const,
    url: `http://e${n}:2379`,
    version: '3.5.16',
    clusterId: 'c',
    memberId: String(n),
    leader: '1',
    size: 1000,
    quota: 2 ** 31,
    readMs: millis(1),
    syncMs: 1,
  })),
  members: [1, 2, 3].map((n) => ({ id: String(n), name: `e${n}`, clientUrls: [], peerUrls: [`http://e${n}:2380`] })),
  alarms: [],
};

const world = (over: Partial<World> = {}): World => ({
  clusters: { demo: threeMembers() },
  ...over,
  examine: { etcd: async () => ETCD, ...over.examine },
});

describe('pgha-ctl check', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'pgha-check-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  function nodeFile(text = ''): string {
    const path = join(directory, 'pgha.yml');
    writeFileSync(
      path,
      text ||
        `scope: demo\nname: a\netcd3: {hosts: [e1:2379, e2:2379, e3:2379]}\nrestapi: {connect_address: 10.0.0.1:8008}\npostgresql:\n  listen: '*:5432'\n  connect_address: 10.0.0.1:5432\n  data_dir: /srv/pg\n  authentication: {superuser: {username: boss, password: x}, replication: {username: "re'pl"}}\n`,
    );
    return path;
  }

  it('etcd: a line for each finding, and exit code 0 while nothing is critical', async () => {
    const { code, out } = await ctl(world(), 'check', 'etcd');
    expect([code, out.split('\n')[0]]).toEqual([0, 'ok        members  3 of 3 endpoints answer']);
  });

  it.each([
    ['ok', [], 0],
    ['unknown', null, 3],
  ] as const)('--nagios prints one line and its code: %s', async (level, alarms, code) => {
    const facts = alarms === null ? { ...ETCD, members: null, alarms } : { ...ETCD, alarms };
    const ran = await ctl(world({ examine: { etcd: async () => facts } }), 'check', 'etcd', '--nagios');
    expect(ran.code).toBe(code);
    expect(ran.out).toMatch(
      new RegExp(`^PGHA ETCD ${level.toUpperCase()} - [^\\n]* \\| 'answering'=3 'read'=1ms 'size'=1000B$`),
    );
  });

  it('what cannot be asked at all is UNKNOWN for Nagios, a refusal for people, and one finding among the others of `all`', async () => {
    const broken = world({
      examine: {
        etcd: async () => {
          throw new Error('no certificate');
        },
      },
    });
    const nagios = await ctl(broken, 'check', 'etcd', '--nagios');
    expect([nagios.code, nagios.out]).toEqual([3, 'PGHA ETCD UNKNOWN - etcd: etcd could not be asked: no certificate']);
    expect((await ctl(broken, 'check', 'etcd')).err).toContain('no certificate');
    const all = await ctl(broken, 'check', 'all');
    expect(all.code).toBe(1);
    expect(all.out).toContain('replication\n');
    expect(all.out).toContain('PGHA_CONFIG_INVALID');
  });

  it('network: every port of members and of etcd, once', async () => {
    const asked: string[] = [];
    const { code, out } = await ctl(
      world({
        examine: {
          reach: async (host, port) => {
            asked.push(`${host}:${port}`);
            return port === 8008 ? { kind: 'refused', said: 'nobody listens there' } : { kind: 'open', ms: millis(3) };
          },
        },
      }),
      'check',
      'network',
    );
    expect(code).toBe(1);
    expect(new Set(asked).size).toBe(asked.length);
    expect(asked).toEqual(expect.arrayContaining(['10.0.0.1:5432', '10.0.0.2:5432', '10.0.0.9:2379', 'e3:2380']));
    expect(out).toContain('REST API at 10.0.0.1:8008: nobody listens there');
  });

  it('clone: asks the leader as the superuser of the file', async () => {
    const { sql, code, out } = await ctl(
      world({
        sql: () => ({ columns: [], rows: [['10', '9', '10', '1', 'replica', '1000000', '150004', '']] }),
        examine: { freeBytes: async () => 5n },
      }),
      '-c',
      nodeFile(),
      'check',
      'clone',
    );
    expect(code).toBe(1);
    expect(sql[0]?.target).toMatchObject({
      host: '10.0.0.1',
      port: 5432,
      user: 'boss',
      password: 'x',
      database: 'postgres',
    });
    expect(sql[0]?.statement).toContain("rolname = E're''pl')");
    expect(out).toContain('9 of max_wal_senders 10 are in use');
    expect(out).toContain("there is no role re'pl");
    // This node leads.
    expect(out).toContain('room is seen only on the machine itself');
  });

  it('reinit --dry-run says what speaks against it, and asks no member for anything', async () => {
    const row = ['10', '2', '10', '1', 'replica', '1000000', '150004', 't'];
    const answers = world({ sql: () => ({ columns: [], rows: [row] }) });
    const good = await ctl(answers, '-c', nodeFile(), 'reinit', 'demo', 'b', '--dry-run');
    expect([good.code, good.calls, good.asked, good.txns]).toEqual([0, [], [], []]);
    expect(good.out).toContain('2 of max_wal_senders 10 are in use');
    expect(good.out).toContain('the data directory of b would be replaced by a copy. Nothing was changed.');
    const leader = await ctl(answers, '-c', nodeFile(), 'reinit', 'demo', 'a', '--dry-run', '--format', 'json');
    expect(leader.code).toBe(1);
    expect(JSON.parse(leader.out)).toMatchObject([{ member: 'a', level: 'critical' }]);
  });

  it('host: judges by the file of the node, and the clocks by the answers of the members', async () => {
    const questions: unknown[] = [];
    const { code, out } = await ctl(
      world({
        api: () => ({ status: 200, text: '', headers: { date: 'Fri, 20 Nov 2026 10:43:00 GMT' } }),
        examine: {
          host: async (question) => {
            questions.push(question);
            const found = { directory: true, owner: 105, mode: 0o700 };
            return {
              uid: 105,
              postgresUid: 105,
              enabled: [{ name: 'patroni.service', script: false }],
              processes: [],
              paths: [{ path: '/srv/pg', found }],
              missingPrograms: [],
              timeIsKept: null,
            };
          },
        },
      }),
      '-c',
      nodeFile(),
      'check',
      'host',
    );
    expect(code).toBe(1);
    expect(questions[0]).toMatchObject({ paths: ['/srv/pg', '/srv', join(directory, 'pgha.yml')] });
    expect(out).toContain('patroni.service is enabled');
    expect(out).toContain('-> systemctl disable --now patroni.service');
    expect(out).toContain('that of b is 60 s behind ours');
    expect(out).toContain('etcd latency');
  });

  it.each([
    ['broken', 'scope: [', 'line 1, column 9'],
    ['refused', 'scope: a\nttl: soon\n', 'ttl'],
    ['no map', '5\n', 'PGHA_CONFIG_INVALID'],
  ])('a file that is %s: exit code 1 with its place, and 3 for Nagios', async (_what, text, message) => {
    for (const what of ['host', 'clone']) {
      const { code, err } = await ctl(world(), '-c', nodeFile(text), 'check', what);
      expect([code, err]).toEqual([1, expect.stringContaining(message)]);
    }
    expect((await ctl(world(), '-c', nodeFile(text), 'check', 'host', '--nagios')).code).toBe(3);
  });

  it.each([
    ['binary', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 0]), 'line 1, column 5: a byte 0'],
    ['in another encoding', Buffer.from([0x61, 0x3a, 0x20, 0xe9, 0x0a]), 'line 1, column 4: not text in UTF-8'],
    ['huge', Buffer.alloc(2 ** 21, 'a'), 'longer than 1048576 bytes'],
    ['nested without end', Buffer.from('['.repeat(50_000)), 'is not YAML'],
    ['broken', Buffer.from('scope: a\n  b: [\n'), 'is not YAML: line 1, column 8'],
    ['of another program', Buffer.from('node_id=1\nconninfo=x\n'), 'No etcd is named'],
  ])('a file that is %s is refused with its place, by every check', async (_what, bytes, message) => {
    const path = nodeFile();
    writeFileSync(path, bytes);
    for (const what of ['host', 'network', 'etcd', 'clone', 'replication']) {
      const { code, err } = await ctl(
        { ...world(), env: { PGHA_ETCD3_HOSTS: '', PGHA_SCOPE: '' } },
        '-c',
        path,
        'check',
        what,
      );
      expect([code, err]).toEqual([1, expect.stringContaining(message)]);
    }
  });

  it('a file that never ends is not read to its end', async () => {
    const { code, err } = await ctl(world(), '-c', '/dev/zero', 'check', 'etcd');
    expect([code, err]).toEqual([1, expect.stringContaining('/dev/zero, line 1, column 1: longer than')]);
  });

  it('prints findings and figures as JSON', async () => {
    const { out } = await ctl(world(), 'check', 'replication', '--format', 'json');
    expect(JSON.parse(out)).toMatchObject([
      { check: 'replication', level: 'critical', findings: expect.anything(), figures: expect.anything() },
    ]);
  });

  it.each([
    [['everything'], 'Allowed choices'],
    [['all', '--nagios'], 'one check at a time'],
    [['replication', '--warning', '2GB', '--critical', '1GB'], '--warning is more'],
    [['replication', '--warning', 'much'], 'a size is expected'],
    [['etcd', '--nagios', '--format', 'json'], 'its own line'],
  ])('%j is a wrong call', async (args, message) => {
    const { code, err } = await ctl(world(), 'check', ...args);
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  });
});
