/**
 * Replication slots on real servers: what the adapter reads of them, what each step of a plan does, and a logical slot
 * that goes from the leader to a standby and survives its promotion without a gap.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Lsn, lsn, parseLsn } from '../../src/core/lsn.ts';
import {
  type CopyFloors,
  fitness,
  planSlots,
  type SlotPolicy,
  type SlotQuestion,
  type SlotStep,
  weigh,
} from '../../src/core/slots.ts';
import { instant, millis } from '../../src/core/time.ts';
import type { ServerSettings } from '../../src/ports/postgres.ts';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

becomePostgres();

const WITH_SLOTS: ServerSettings = {
  ...SETTINGS,
  useSlots: true,
  logicalSlots: true,
  parameters: { ...SETTINGS.parameters, wal_receiver_status_interval: '100ms', max_replication_slots: 8 },
};
const LIMIT = millis(5_000);
const VERSION = 15;
const NEVER = new AbortController().signal;
const names = (...of: string[]): ReadonlySet<string> => new Set(of);

let servers: PostgresServers;
let a: TestServer;
let b: TestServer;

beforeAll(async () => {
  servers = await postgresServers();
  a = await servers.addCluster('a');
  await a.instance.startPrimary(WITH_SLOTS);
  await a.until('primary');
  await a.sql('CREATE TABLE t (n int PRIMARY KEY)');
  await a.sql('CREATE DATABASE other');
  await make(a, { do: 'create-physical', slot: 'b' });
  b = await servers.addCopy('b', a);
  await b.instance.startStandby(a.address, WITH_SLOTS);
  await b.until('standby', (standby) => standby.receiver?.streaming === true);
});
afterAll(() => servers.end());

const make = (server: TestServer, step: SlotStep): Promise<void> => server.instance.changeSlot(step);
const slotOf = async (server: TestServer, name: string) =>
  (await server.instance.readSlots()).slots.find((slot) => slot.name === name) ?? null;
const logical = (slot: string, more: object = {}): SlotStep => ({
  do: 'create-logical',
  slot,
  database: 'postgres',
  plugin: 'test_decoding',
  failover: false,
  lostPosition: false,
  ...more,
});

async function plan(server: TestServer, own: string, question: Partial<SlotQuestion>) {
  return planSlots({
    server: await server.instance.readSlots(),
    version: VERSION,
    own,
    members: names('a', 'b'),
    needed: new Set(),
    fed: new Set(),
    mayLead: true,
    policy: { permanent: [], ignored: [], complete: true },
    made: new Set(),
    strangers: new Map(),
    positions: new Map(),
    published: new Set(),
    now: instant(0),
    patience: millis(1_800_000),
    ...question,
  });
}

async function carryOut(server: TestServer, steps: readonly SlotStep[]): Promise<void> {
  for (const step of steps) await make(server, step);
}

const flushed = async (): Promise<Lsn> =>
  parseLsn(String((await a.sql('SELECT pg_current_wal_flush_lsn()::text AS at'))[0]?.['at']));
const replayed = async (at: Lsn): Promise<void> => {
  await b.until('standby', (standby) => standby.replayed >= at);
};
async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await holds()) return;
    await sleep(10);
  }
  throw new Error('not in 5 s');
}
let row = 0;
const insert = (server: TestServer): Promise<unknown> => server.sql(`INSERT INTO t VALUES (${++row})`);

/** What a consumer would get next; `get` takes it, and the slot moves on. */
const decode = async (server: TestServer, slot: string): Promise<number[]> => {
  const rows = await server.sql(`SELECT data FROM pg_logical_slot_get_changes('${slot}', NULL, NULL)`);
  return rows.flatMap(({ data }) => /n\[integer\]:(\d+)/.exec(String(data))?.[1] ?? []).map(Number);
};

describe('physical slots', () => {
  test('are read as they are', async () => {
    expect(await slotOf(a, 'b')).toMatchObject({
      kind: 'physical',
      active: true,
      walStatus: 'reserved',
      database: null,
    });
    expect(await a.instance.readSlots()).toMatchObject({ inRecovery: false });
    expect(await b.instance.readSlots()).toMatchObject({ inRecovery: true, slots: [] });
  });

  test('a standby keeps them close behind the leader, and never beyond what it has replayed', async () => {
    const needed = names('a', 'b', 'c');
    await carryOut(b, (await plan(b, 'b', { needed })).steps);
    await insert(a);
    const at = await flushed();
    await replayed(at);
    const behind = lsn(at - 50n);
    await carryOut(b, (await plan(b, 'b', { needed, positions: new Map([['c', behind]]) })).steps);
    expect((await slotOf(b, 'c'))?.restartLsn).toBe(behind);
    // The primary's own, for which nobody publishes a position here.
    expect((await slotOf(b, 'a'))?.restartLsn).toBeGreaterThanOrEqual(at);
    const beyond = await plan(b, 'b', { needed, positions: new Map([['c', lsn(at + 1_000_000_000n)]]) });
    await carryOut(b, beyond.steps);
    expect((await slotOf(b, 'c'))?.restartLsn).toBeLessThanOrEqual((await b.instance.readSlots()).end);
    expect((await plan(b, 'b', { needed })).steps.filter((step) => step.do !== 'advance')).toEqual([]);
  });

  test('one that nobody wants goes after its time, and none that is in use', async () => {
    await make(a, { do: 'create-physical', slot: 'stranger' });
    const seen = await plan(a, 'a', { needed: names('b') });
    expect([...seen.strangers.keys()]).toEqual(['stranger']);
    const later = { now: instant(1_800_000), strangers: seen.strangers };
    expect((await plan(a, 'a', later)).steps.map(({ slot }) => slot)).toEqual(['stranger']);
    await carryOut(a, (await plan(a, 'a', later)).steps);
    expect(await slotOf(a, 'stranger')).toBeNull();
    expect(await slotOf(a, 'b')).not.toBeNull();
  });

  test('how much WAL one holds back is known, and what Postgres thinks of it', async () => {
    await make(a, { do: 'create-physical', slot: 'idle' });
    await a.sql('SELECT pg_switch_wal()');
    await insert(a);
    const [idle] = weigh(await a.instance.readSlots(), 1_000n).filter(({ name }) => name === 'idle');
    expect(idle).toMatchObject({ burden: 'much', walStatus: 'reserved', active: false });
    expect(idle?.retainedBytes).toBeGreaterThan(100_000n);
    await make(a, { do: 'drop', slot: 'idle', why: '' });
  });

  test('one that has lost its WAL says so, and is made anew', async () => {
    await make(a, { do: 'create-physical', slot: 'd' });
    await a.sql(`ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`);
    await a.sql(`ALTER SYSTEM SET wal_keep_size = 0`);
    await a.sql('SELECT pg_reload_conf()');
    for (let i = 0; i < 4; i++) {
      await insert(a);
      await a.sql('SELECT pg_switch_wal()');
      await insert(a);
      // The standby's own slot must not be lost with it.
      await replayed(await flushed());
      await until(async () => ((await slotOf(a, 'b'))?.restartLsn ?? 0n) >= (await flushed()));
      await a.sql('CHECKPOINT');
    }
    expect(weigh(await a.instance.readSlots(), 0n).find(({ name }) => name === 'd')).toMatchObject({ burden: 'lost' });
    const { steps } = await plan(a, 'a', { needed: names('b', 'd') });
    expect(steps).toMatchObject([{ do: 'drop', slot: 'd' }]);
    await carryOut(a, steps);
    await carryOut(a, (await plan(a, 'a', { needed: names('b', 'd') })).steps);
    expect(await slotOf(a, 'd')).toMatchObject({ walStatus: 'reserved' });
    await make(a, { do: 'drop', slot: 'd', why: '' });
    await a.sql('ALTER SYSTEM RESET ALL');
    await a.sql('SELECT pg_reload_conf()');
    await b.until('standby', (standby) => standby.receiver?.streaming === true);
  });

  test('a refusal says what happened and what to do about it', async () => {
    const refused = (step: SlotStep): Promise<unknown> => make(a, step).catch((error: unknown) => error);
    expect(await refused({ do: 'create-physical', slot: 'Not-a-name' })).toMatchObject({
      code: 'PGHA_SLOT_FAILED',
      message: expect.stringMatching(/Not-a-name.*could not be made.*invalid character.*correct it in `slots`/s),
    });
    expect(await refused({ do: 'drop', slot: 'b', why: '' })).toMatchObject({
      message: expect.stringMatching(/is active/),
    });
    expect(await refused(logical('x', { plugin: 'no_such_plugin' }))).toMatchObject({
      message: expect.stringMatching(/no_such_plugin.*Install the output plugin/s),
    });
    expect(await refused(logical('x', { database: 'nowhere' }))).toMatchObject({
      message: expect.stringMatching(/nowhere.*Make the database/s),
    });
    for (let i = 0; i < 7; i++) await make(a, { do: 'create-physical', slot: `filler${i}` });
    expect(await refused({ do: 'create-physical', slot: 'one_too_many' })).toMatchObject({
      message: expect.stringMatching(/all replication slots are in use.*Raise max_replication_slots/s),
    });
    for (let i = 0; i < 7; i++) await make(a, { do: 'drop', slot: `filler${i}`, why: '' });
    expect((await a.instance.readSlots()).slots.map(({ name }) => name)).toEqual(['b']);
  });
});

describe('logical slots', () => {
  let running: pg.Client | null = null;
  let begun = 0;
  const policy: SlotPolicy = {
    permanent: [
      { name: 'feed', kind: 'logical', database: 'postgres', plugin: 'test_decoding' },
      { name: 'changes', kind: 'logical', database: 'other', plugin: 'pgoutput' },
    ],
    ignored: [],
    complete: true,
  };
  const published = async (): Promise<ReadonlyMap<string, Lsn>> =>
    new Map(
      (await a.instance.readSlots()).slots.flatMap(({ name, confirmedLsn }) =>
        confirmedLsn === null ? [] : [[name, confirmedLsn] as const],
      ),
    );

  test('are made in their databases, with what the configuration needs for them', async () => {
    expect(await a.sql('SHOW wal_level')).toEqual([{ wal_level: 'logical' }]);
    expect(await b.sql('SHOW hot_standby_feedback')).toEqual([{ hot_standby_feedback: 'on' }]);
    const { steps } = await plan(a, 'a', { needed: names('b'), policy });
    expect(steps.map((step) => step.do)).toEqual(['create-logical', 'create-logical']);
    await carryOut(a, steps);
    expect(await slotOf(a, 'changes')).toMatchObject({ kind: 'logical', database: 'other', plugin: 'pgoutput' });
    expect((await plan(a, 'a', { needed: names('b'), policy })).steps).toEqual([]);
  });

  test('are copied to a standby with where decoding begins, also while a transaction runs', async () => {
    // Transactions that overlap, as on any busy server: wherever decoding may begin, one of them runs.
    const first = await a.connect();
    await first.query('BEGIN');
    await first.query(`INSERT INTO t VALUES (${++row})`);
    await a.sql('CHECKPOINT');
    await decode(a, 'feed');
    running = await a.connect();
    await running.query('BEGIN');
    begun = ++row;
    await running.query(`INSERT INTO t VALUES (${begun})`);
    await first.query('COMMIT');
    await first.end();
    for (let i = 0; i < 3; i++) {
      await insert(a);
      await a.sql('CHECKPOINT');
      await decode(a, 'feed');
    }
    await insert(a);
    await replayed(await flushed());

    const wanted = await plan(b, 'b', { needed: names('a'), policy, positions: await published() });
    expect(wanted.toCopy.map(({ name }) => name)).toEqual(['feed', 'changes']);
    const copies = await b.instance.fetchSlots(a.address, ['feed', 'changes'], LIMIT);
    expect(copies.map(({ name }) => name)).toEqual(['feed', 'changes']);
    expect(copies[0]?.snapshot?.file).toMatch(/^0-[0-9A-F]+\.snap$/);
    await b.instance.checkpoint();
    await b.instance.installSlots(copies, () => true, LIMIT, NEVER);
    await b.until('standby', (standby) => standby.receiver?.streaming === true);
    expect(await slotOf(b, 'feed')).toMatchObject({ kind: 'logical', database: 'postgres', plugin: 'test_decoding' });
    expect(await slotOf(b, 'changes')).toMatchObject({ database: 'other', plugin: 'pgoutput' });
  });

  test('nothing is stopped for a slot that cannot be had', async () => {
    const { startedAt } = await b.until('standby');
    await expect(b.instance.fetchSlots(a.address, ['missing'], LIMIT)).rejects.toMatchObject({
      code: 'PGHA_SLOT_FAILED',
      message: expect.stringMatching(/missing was not copied from a: a has no logical slot/),
    });
    const [copy] = await b.instance.fetchSlots(a.address, ['feed'], LIMIT);
    if (copy === undefined) throw new Error('no copy');
    await expect(b.instance.installSlots([copy], () => false, LIMIT, NEVER)).rejects.toThrow(/more urgent/);
    expect((await b.until('standby')).startedAt).toBe(startedAt);
  });

  test('a copy that Postgres does not start with is taken away again', async () => {
    const [copy] = await b.instance.fetchSlots(a.address, ['feed'], LIMIT);
    if (copy === undefined) throw new Error('no copy');
    const broken = { ...copy, name: 'broken', state: Uint8Array.from(copy.state, (byte) => byte ^ 0x55) };
    await expect(b.instance.installSlots([broken], () => true, LIMIT, NEVER)).rejects.toThrow(
      /did not start with them/,
    );
    await b.until('standby', (standby) => standby.receiver?.streaming === true);
    expect((await b.instance.readSlots()).slots.map(({ name }) => name).sort()).toEqual(['a', 'c', 'changes', 'feed']);
  });

  test('a copy moves on with its consumer, and is proven when the leader keeps what it needs', async () => {
    const ask = () => b.instance.slotsOfLeader(a.address, ['feed', 'changes'], 'b', LIMIT);
    let floors: CopyFloors = new Map();
    const prove = async (): Promise<ReadonlySet<string>> => {
      const { slots } = await b.instance.readSlots();
      const copies = slots.filter(({ kind }) => kind === 'logical');
      const said = fitness(new Map(copies.map((slot) => [slot.name, slot.catalogXmin])), await ask(), floors);
      floors = said.floors;
      return said.fit;
    };
    let fit: ReadonlySet<string> = new Set();
    for (let i = 0; i < 100 && (i < 3 || !fit.has('feed')); i++) {
      await insert(a);
      await a.sql('CHECKPOINT');
      await decode(a, 'feed');
      await replayed(await flushed());
      const { steps } = await plan(b, 'b', { needed: names('a', 'c'), policy, positions: await published() });
      expect(steps).toContainEqual(expect.objectContaining({ do: 'advance', slot: 'feed', database: 'postgres' }));
      await carryOut(b, steps);
      fit = await prove();
    }
    expect(fit).toContain('feed');
    expect((await slotOf(b, 'feed'))?.confirmedLsn).toBe((await slotOf(a, 'feed'))?.confirmedLsn);
  });

  test('after a promotion its consumer goes on where it was: nothing is missing, nothing comes twice', async () => {
    // Committed, and not fetched by anybody yet; one of them was begun before the slot was copied.
    await insert(a);
    await running?.query('COMMIT');
    await insert(a);
    await replayed(await flushed());
    await a.instance.stop('immediate', LIMIT);
    await b.instance.promote(() => true, AbortSignal.timeout(10_000));
    await b.until('primary');
    await insert(b);
    expect(await decode(b, 'feed')).toEqual([row - 2, begun, row - 1, row]);
  });
});
