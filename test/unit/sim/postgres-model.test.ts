import { expect, test } from 'vitest';
import { PostgresServer } from '../../sim/models/postgres-server.ts';
import { WalArchive } from '../../sim/models/wal.ts';
import { Network } from '../../sim/world/network.ts';
import { SeededRandom } from '../../sim/world/random.ts';
import { EventQueue } from '../../sim/world/scheduler.ts';

function cluster(names: readonly string[]) {
  const queue = new EventQueue();
  const network = new Network();
  const archive = new WalArchive();
  const violations: string[] = [];
  const servers: PostgresServer[] = [];
  for (const name of names) {
    servers.push(
      new PostgresServer({
        name,
        scheduler: queue,
        network,
        archive,
        random: new SeededRandom(name),
        timing: { replicationDelay: 0, slowPromotionChance: 0, slowStartChance: 0, feedback: true },
        events: {
          trace: () => undefined,
          mark: () => undefined,
          promotionBegins: () => undefined,
          promoted: () => undefined,
          startedAsPrimary: () => undefined,
          postmasterGone: () => undefined,
          connectionsBroke: () => undefined,
          violated: (invariant, sentence) => violations.push(`${invariant}: ${sentence}`),
        },
        others: (name) => servers.find((one) => one.name === name) ?? null,
      }),
    );
  }
  const run = (ms: number): Promise<void> =>
    queue.run(
      queue.now() + ms,
      () => undefined,
      () => false,
    );
  return { queue, network, archive, servers, violations, run };
}

/** `a` is a primary, the others stream from it. */
async function streaming(names: readonly string[]) {
  const world = cluster(names);
  const [a, ...others] = world.servers as [PostgresServer, ...PostgresServer[]];
  a.initdb('7000');
  a.start(true);
  await world.run(1_000);
  for (const other of others) {
    other.becomeLike(a.needData());
    other.needData().upstream = a.name;
    other.start(false);
  }
  await world.run(3_000);
  return { ...world, a, others };
}

test('a standby receives what the primary commits, and has replayed it a little later', async () => {
  const { a, others, run } = await streaming(['a', 'b']);
  const [b] = others as [PostgresServer];
  for (let i = 0; i < 10; i += 1) a.commit(i);
  expect(b.end).toBeLessThan(a.end);
  await run(100);
  expect(b.end).toBe(a.end);
  expect(b.replayed).toBe(a.end);
});

test('a restarted standby starts with a low position and does not call it final', async () => {
  const { a, others, run } = await streaming(['a', 'b']);
  const [b] = others as [PostgresServer];
  for (let i = 0; i < 50; i += 1) a.commit(i);
  await run(100);
  a.crash();
  b.crash();
  b.start(false);
  await run(320);
  expect(b.caughtUp).toBe(false);
  await run(2_000);
  expect(b.caughtUp).toBe(true);
  expect(b.replayed).toBe(b.end);
  expect(b.received).toBe(0);
});

test('two standbys that promote without knowing of each other pick one timeline number, and that is noticed', async () => {
  const { a, others, archive, run } = await streaming(['a', 'b', 'c']);
  const [b, c] = others as [PostgresServer, PostgresServer];
  a.commit(1);
  await run(100);
  a.crash();
  await run(100);
  b.promote(() => undefined);
  c.promote(() => undefined);
  await run(500);
  expect(b.needData().branch.id).toBe(2);
  expect(c.needData().branch.id).toBe(2);
  b.commit(2);
  c.commit(3);
  expect(archive.reused?.sentence).toMatch(/^timeline 2 was begun by [bc] and again by [bc]$/);
  expect(archive.reused?.apart).toBe(false);
});

test('an old primary with WAL that the new one never had does not stream from it', async () => {
  const { a, others, network, violations, run } = await streaming(['a', 'b']);
  const [b] = others as [PostgresServer];
  const heal = network.cutBoth('replication', 'a', 'b');
  a.commit(1);
  await run(50);
  b.promote(() => undefined);
  await run(200);
  a.crash();
  heal();
  a.needData().upstream = 'b';
  a.start(false);
  for (let i = 0; i < 5; i += 1) b.commit(10 + i);
  await run(5_000);
  expect(a.receiver).toBeNull();
  expect(violations).toEqual([]);
});

test('a fast stop of the primary waits for a standby that is cut off, an immediate one does not', async () => {
  const { a, network, run } = await streaming(['a', 'b']);
  network.cutBoth('replication', 'a', 'b');
  a.commit(1);
  a.stopFast();
  await run(300);
  expect(a.processes.kind).toBe('stopping');
  expect(a.acceptsWrites()).toBe(false);
  a.stopImmediate();
  await run(100);
  expect(a.processes.kind).toBe('none');
});

test('a backend that outlives its postmaster goes on committing until the family is ended', async () => {
  const { a, run } = await streaming(['a', 'b']);
  a.killPostmaster(true);
  const end = a.end;
  await run(500);
  expect(a.end).toBeGreaterThan(end);
  expect(a.acceptsWrites()).toBe(true);
  a.stopImmediate();
  await run(100);
  expect(a.acceptsWrites()).toBe(false);
});

test('a hung server answers nothing, commits nothing, and goes on afterwards', async () => {
  const { a, queue, run } = await streaming(['a', 'b']);
  a.hungUntil = queue.now() + 1_000;
  expect(a.commit(1)).toBeNull();
  await run(1_001);
  expect(a.commit(1)).not.toBeNull();
});
