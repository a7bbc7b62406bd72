/** What `pgha-ctl check` takes for granted about etcd and Postgres: that they answer its questions, and in these words. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { millis, seconds } from '../../src/core/time.ts';
import { examineEtcd } from '../../src/etcd/examine.ts';
import { judgeClone } from '../../src/http/ctl/check/judge-clone.ts';
import { judgeEtcd } from '../../src/http/ctl/check/judge-etcd.ts';
import { copyAnswer, copyQuestion } from '../../src/http/ctl/check.ts';
import { runSql } from '../../src/http/ctl/sql.ts';
import { type EtcdServers, startEtcd } from './etcd-server.ts';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

becomePostgres();

let etcd: EtcdServers;
let servers: PostgresServers;
let server: TestServer;

beforeAll(async () => {
  etcd = await startEtcd({ members: 2, args: ['--quota-backend-bytes', '16777216'] });
  servers = await postgresServers();
  server = await servers.addCluster('a');
  await server.instance.startPrimary(SETTINGS);
  await server.until('primary', (local) => local.failing === null);
});
afterAll(async () => {
  await etcd?.stop();
  await servers?.end();
});

const config = () => ({
  endpoints: etcd.endpoints,
  srv: null,
  username: null,
  password: null,
  cacert: null,
  cert: null,
  key: null,
});

test('etcd says its version, size, quota and leader, who its members are, and that nothing alarms it', async () => {
  const facts = await examineEtcd(config(), millis(2_000));
  expect(facts.endpoints).toHaveLength(2);
  for (const endpoint of facts.endpoints) {
    expect(endpoint).toMatchObject({ kind: 'answered', quota: 16_777_216 });
    if (endpoint.kind !== 'answered') continue;
    expect(endpoint.version).toMatch(/^3\.\d+\.\d+/);
    expect(endpoint.readMs).toBeGreaterThan(0);
    expect(endpoint.syncMs).toBeGreaterThan(0);
    expect(facts.members?.map(({ id }) => id)).toContain(endpoint.memberId);
    expect(facts.members?.map(({ id }) => id)).toContain(endpoint.leader);
  }
  expect(facts.members?.map(({ name }) => name).sort()).toEqual(['e0', 'e1']);
  expect(facts.alarms).toEqual([]);
  const { findings } = judgeEtcd(facts, seconds(30));
  expect(findings.find(({ about, level }) => about === 'members' && level === 'warning')?.said).toContain(
    'there are 2',
  );
});

test('a member that is gone is silent, and without a majority no read is confirmed', async () => {
  await etcd.members[1]?.kill();
  const facts = await examineEtcd(config(), millis(800));
  expect(facts.endpoints.map(({ kind }) => kind)).toEqual(['answered', 'silent']);
  const { findings } = judgeEtcd(facts, seconds(10));
  expect(findings.filter(({ level }) => level === 'critical').map(({ about }) => about)).toContain('latency');
});

test('Postgres says whether it could be copied', async () => {
  const ask = async (user: string) => {
    const target = { host: '127.0.0.1', port: server.port, user: 'postgres', database: 'postgres' };
    const { rows } = await runSql(target, copyQuestion(user), 10_000);
    return { ...copyAnswer(rows[0] ?? []), replicationUser: user, free: 2 ** 40, dataDirectory: '/srv' };
  };
  const facts = await ask('postgres');
  expect(facts).toMatchObject({ mayReplicate: true, walSenders: 0, slots: 0, walLevel: 'replica' });
  expect(facts.size).toBeGreaterThan(10_000_000);
  expect(facts.maxWalSenders).toBeGreaterThan(1);
  expect(judgeClone(facts).findings.every(({ level }) => level === 'ok')).toBe(true);
  await server.sql(`create role "o'rly\\" login`);
  expect((await ask("o'rly\\")).mayReplicate).toBe(false);
  expect((await ask('nobody')).mayReplicate).toBeNull();
});
