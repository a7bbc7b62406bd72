/**
 * What the simulation's model of synchronous replication says (test/sim/models/synchronous.ts), asked of a real
 * Postgres; and that ours puts `synchronous_standby_names` in force as it says.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Acknowledging } from '../../src/core/quorum.ts';
import { nodeName } from '../../src/core/store.ts';
import { millis } from '../../src/core/time.ts';
import { familyOf, signalProcess } from '../../src/postgres/family.ts';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

becomePostgres();

let servers: PostgresServers;
beforeEach(async () => {
  servers = await postgresServers();
});
afterEach(async () => {
  await servers.end();
});

const SYNCHRONOUS = { ...SETTINGS, synchronous: true };
const waitFor = (names: readonly string[], count = names.length): Acknowledging => ({
  kind: 'standbys',
  names: names.map(nodeName),
  count,
});

async function runningPrimary(): Promise<TestServer> {
  const server = await servers.addCluster('a');
  await server.instance.startPrimary(SYNCHRONOUS);
  await server.until('primary');
  return server;
}

async function streamingStandby(name: string, of: TestServer): Promise<TestServer> {
  const server = await servers.addCopy(name, of);
  await server.instance.startStandby(of.address, SYNCHRONOUS);
  await server.until('standby', (standby) => standby.receiver?.streaming === true);
  return server;
}

/** A commit that is begun now; whether it is acknowledged is asked later. */
async function commit(on: TestServer): Promise<{ readonly acked: () => boolean; readonly end: () => Promise<void> }> {
  const session = await on.connect();
  let acked = false;
  const done = session.query('CREATE TABLE IF NOT EXISTS t (i int); INSERT INTO t VALUES (1)').then(
    () => {
      acked = true;
    },
    () => undefined,
  );
  return { acked: () => acked, end: () => done };
}

const inForce = (server: TestServer, kind: Acknowledging['kind']) =>
  server.until('primary', (local) => local.acknowledging?.kind === kind);

async function acknowledgedWithin(one: { readonly acked: () => boolean }, ms: number): Promise<boolean> {
  for (let waited = 0; waited < ms && !one.acked(); waited += 20) await sleep(20);
  return one.acked();
}

describe('a primary that is started', () => {
  test('acknowledges no commit before it is told whom to wait for, and then those that waited', async () => {
    const a = await runningPrimary();
    expect((await inForce(a, 'blocked')).acknowledging).toEqual({ kind: 'blocked' });
    const first = await commit(a);
    expect(await acknowledgedWithin(first, 500)).toBe(false);
    await a.instance.setAcknowledging({ kind: 'alone' }, 'on');
    await first.end();
    expect(first.acked()).toBe(true);
  });

  test('without synchronous standbys in the cluster keeps what its operator has set', async () => {
    const a = await servers.addCluster('a');
    await a.instance.startPrimary({
      ...SETTINGS,
      parameters: { ...SETTINGS.parameters, synchronous_standby_names: 'x' },
    });
    expect((await a.until('primary')).acknowledging).toEqual(waitFor(['x']));
  });
});

describe('whom commits wait for', () => {
  test('is what was set, in new sessions and in the senders; a waiting commit goes on when it changes', async () => {
    const a = await runningPrimary();
    const b = await streamingStandby('b', a);
    await a.instance.setAcknowledging(waitFor(['b', 'gone-1'], 2), 'quorum');
    const set = await a.until('primary', (local) => local.senders.some((sender) => sender.syncPriority > 0));
    expect(set.acknowledging).toEqual(waitFor(['b', 'gone-1'], 2));
    const one = await commit(a);
    expect(await acknowledgedWithin(one, 500)).toBe(false);
    await a.instance.setAcknowledging(waitFor(['b', 'gone-1'], 1), 'quorum');
    await one.end();
    expect(one.acked()).toBe(true);
    const shown = await a.until('primary', (local) => local.checkpointerIdle === true);
    expect(shown.senders.find((sender) => sender.applicationName === 'b')?.syncState).toBe('quorum');

    // By priority, and nobody of that list is there.
    await a.instance.setAcknowledging(waitFor(['gone-1']), 'on');
    await a.until('primary', (local) => local.senders.every((sender) => sender.syncPriority === 0));
    const two = await commit(a);
    expect(await acknowledgedWithin(two, 500)).toBe(false);
    await b.instance.stop('immediate', millis(2_000));
    expect(await acknowledgedWithin(two, 200)).toBe(false);
    await a.instance.stop('immediate', millis(2_000));
    await two.end();
    expect(two.acked(), 'the server has ended: no success').toBe(false);
  });

  test('is a standby that does not acknowledge while it is frozen', async () => {
    const a = await runningPrimary();
    const b = await streamingStandby('b', a);
    await a.instance.setAcknowledging(waitFor(['b']), 'on');
    await a.until('primary', (local) => local.senders.some((sender) => sender.syncState === 'sync'));
    for (const member of familyOf(b)) signalProcess(member, 'SIGSTOP');
    const one = await commit(a);
    expect(await acknowledgedWithin(one, 500)).toBe(false);
    for (const member of familyOf(b)) signalProcess(member, 'SIGCONT');
    await one.end();
    expect(one.acked()).toBe(true);
  });

  test('is not a copy under way, which has WAL and may yet fail', async () => {
    const a = await runningPrimary();
    await a.instance.setAcknowledging(waitFor(['c']), 'on');
    const c = await servers.add('c');
    const one = await commit(a);
    await c.instance.copy(a.address, SYNCHRONOUS, () => undefined, AbortSignal.timeout(30_000));
    expect(one.acked()).toBe(false);
    await a.instance.stop('immediate', millis(2_000));
  });
});

describe('a standby', () => {
  test.each([
    ['as it was started', SYNCHRONOUS],
    ['although synchronous_mode came later', SETTINGS],
  ])('is promoted acknowledging nothing, %s', async (_how, settings) => {
    const a = await runningPrimary();
    await a.instance.setAcknowledging({ kind: 'alone' }, 'on');
    const b = await servers.addCopy('b', a);
    await b.instance.startStandby(a.address, settings);
    await b.until('standby', (standby) => standby.receiver?.streaming === true);
    await a.instance.stop('immediate', millis(2_000));
    await b.instance.promote(() => true, AbortSignal.timeout(10_000), { synchronous: true });
    const one = await commit(b);
    expect(await acknowledgedWithin(one, 500)).toBe(false);
    expect((await b.until('primary')).acknowledging).toEqual({ kind: 'blocked' });
    await b.instance.setAcknowledging({ kind: 'alone' }, 'on');
    await one.end();
    expect(one.acked()).toBe(true);
  });

  test('says no more of itself when ALTER SYSTEM had other ideas', async () => {
    const a = await runningPrimary();
    await a.sql("ALTER SYSTEM SET synchronous_standby_names = 'somebody'");
    await a.instance.setAcknowledging({ kind: 'alone' }, 'on');
    await inForce(a, 'alone');
  });
});
