/**
 * What a real server in trouble looks like from its own node and from another one: hung as a whole or in part, full,
 * starting, shutting down, gone. Each state is told from the others, by each way of asking.
 */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LocalPostgres } from '../../src/core/local.ts';
import type { CheckType } from '../../src/core/policy.ts';
import { millis } from '../../src/core/time.ts';
import { asMember, familyOf, type ProcessId, postmasterOf, signalProcess } from '../../src/postgres/family.ts';
import { PostgresInstance } from '../../src/postgres/instance.ts';
import { SystemClock } from '../../src/system/clock.ts';
import { systemRandom } from '../../src/system/random.ts';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

becomePostgres();

const TYPES: readonly CheckType[] = ['ping', 'connection', 'query'];
const LIMIT = millis(400);

let servers: PostgresServers;
let primary: TestServer;
let standby: TestServer;

beforeAll(async () => {
  servers = await postgresServers();
  primary = await servers.addCluster('a');
  await primary.instance.startPrimary(SETTINGS);
  await well(primary);
  standby = await servers.addCopy('b', primary);
  await standby.instance.startStandby(primary.address, SETTINGS);
  await standby.until('standby', (local) => local.receiver?.streaming === true);
});
afterAll(async () => {
  await servers.end();
});

async function well(server: TestServer): Promise<void> {
  await server.until(server === primary ? 'primary' : 'standby', (local) => local.failing === null);
}

const postmaster = (server: TestServer): ProcessId => {
  const found = postmasterOf(familyOf(server));
  if (found === null) throw new Error(`${server.name} does not run`);
  return found;
};

/** With these processes stopped; they go on afterwards, whatever happened. One that ended meanwhile is no matter. */
async function frozen(processes: readonly ProcessId[], then: () => Promise<void>): Promise<void> {
  for (const each of processes) signalProcess(each, 'SIGSTOP');
  try {
    await then();
  } finally {
    for (const each of processes) signalProcess(each, 'SIGCONT');
  }
}

const look = (check: CheckType): Promise<LocalPostgres> => primary.instance.look(LIMIT, check);
/** As another node sees it. */
const ask = (check: CheckType, of: TestServer = primary) => standby.instance.checkServer(of.address, check, LIMIT);
const asked = async (of: TestServer = primary) => Promise.all(TYPES.map((check) => ask(check, of)));

describe('a server that is well', () => {
  test('is alive by every check, and all but a ping tell its role', async () => {
    expect(await asked(primary)).toEqual([
      { kind: 'alive', inRecovery: null, said: null },
      { kind: 'alive', inRecovery: false, said: null },
      { kind: 'alive', inRecovery: false, said: null },
    ]);
    const [, connection, query] = await Promise.all(
      TYPES.map((check) => primary.instance.checkServer(standby.address, check, LIMIT)),
    );
    expect([connection, query]).toEqual([
      { kind: 'alive', inRecovery: true, said: null },
      { kind: 'alive', inRecovery: true, said: null },
    ]);
    for (const check of TYPES) expect(await look(check)).toMatchObject({ kind: 'primary', failing: null });
  });

  test('is shown as it is by its own senders: no check of ours stands among them', async () => {
    // One that lasts: a check's own is gone before anybody looks, nearly always.
    const check = new pg.Client({
      host: '127.0.0.1',
      port: primary.port,
      user: 'postgres',
      application_name: 'pgha b',
      ...{ replication: 'true' },
    });
    await check.connect();
    try {
      const { senders } = await primary.until('primary', (local) => local.senders.length > 0);
      expect(senders.map(({ applicationName }) => applicationName)).toEqual(['b']);
    } finally {
      await check.end();
    }
  });
});

test('a check leaves no line in the log of a server', async () => {
  const path = join(primary.config.runtimeDirectory, 'postgres.log');
  const lines = async (): Promise<string[]> => (await readFile(path, 'utf8')).split('\n');
  const before = (await lines()).length;
  for (let i = 0; i < 3; i++) {
    await asked();
    for (const check of TYPES) await look(check);
  }
  await sleep(300);
  expect((await lines()).slice(before - 1).join('\n')).toBe('');
});

describe('a hung postmaster', () => {
  test('fails a ping and a connection; the held session, and so a query, goes on', async () => {
    await frozen([postmaster(primary)], async () => {
      expect(await look('ping')).toMatchObject({ kind: 'primary', failing: { check: 'ping' } });
      expect(await look('connection')).toMatchObject({ kind: 'primary', failing: { check: 'connection' } });
      expect(await look('query')).toMatchObject({ kind: 'primary', failing: null });
    });
    await well(primary);
  });

  test('takes connections for another node and answers none of them', async () => {
    await frozen([postmaster(primary)], async () => {
      for (const answer of await asked())
        expect(answer).toMatchObject({ kind: 'silent', said: expect.stringContaining('it hangs') });
    });
    await well(primary);
  });
});

describe('a hung backend', () => {
  test('of the held session fails as the query, whatever is configured, and others find a living server', async () => {
    const held = await primary.sql(
      "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgha' AND backend_type = 'client backend'",
    );
    await frozen(
      held.flatMap((row) => asMember(Number(row['pid']), primary) ?? []),
      async () => {
        for (const check of TYPES) expect(await look(check)).toMatchObject({ failing: { check: 'query' } });
        for (const answer of await asked()) expect(answer.kind).toBe('alive');
      },
    );
    await well(primary);
  });
});

describe('a server of which everything hangs', () => {
  test('fails every check within its limit, and another node hears nothing', async () => {
    await frozen(familyOf(primary), async () => {
      for (const check of TYPES) {
        const from = performance.now();
        expect(await look(check)).toMatchObject({ kind: 'primary', failing: { check } });
        expect(performance.now() - from).toBeLessThan(3 * LIMIT);
      }
      for (const answer of await asked()) expect(answer.kind).toBe('silent');
    });
    await well(primary);
  });
});

describe('a server without room', () => {
  test('that still lets superusers in is well by every check, and says that it is full', async () => {
    const { sql } = primary;
    await sql('CREATE ROLE visitor LOGIN');
    const guests = [];
    for (let i = 0; i < 200; i++) {
      const guest = await primary.connect('visitor').catch(() => null);
      if (guest === null) break;
      guests.push(guest);
    }
    for (const check of TYPES) {
      expect(await look(check)).toMatchObject({
        kind: 'primary',
        failing: null,
        full: expect.stringContaining('connections are in use'),
      });
    }
    for (const guest of guests) await guest.end();
    await primary.until('primary', (local) => local.full === undefined);
  });

  test('for anybody lives, by every check, and facts are still to be had', async () => {
    const guests = [];
    for (let i = 0; i < 200; i++) {
      const guest = await primary.connect().catch(() => null);
      if (guest === null) break;
      guests.push(guest);
    }
    for (const check of TYPES) {
      const local = await look(check);
      expect(local).toMatchObject({ kind: 'primary', failing: null, full: expect.any(String) });
    }
    for (const answer of await asked()) expect(['alive', 'full']).toContain(answer.kind);

    // A daemon that has just started has no session yet: it gets in through a place for replication.
    const other = anotherDaemon(primary);
    expect(await other.look(LIMIT)).toMatchObject({ kind: 'primary', failing: null, full: expect.any(String) });
    for (const guest of guests) await guest.end();
    await sleep(100);
    await other.look(LIMIT);
    const inPlace = await other.look(LIMIT);
    expect(inPlace).toMatchObject({ kind: 'primary', failing: null });
    expect(inPlace).not.toHaveProperty('full');
    const kinds = await primary.sql("SELECT backend_type FROM pg_stat_activity WHERE application_name = 'pgha'");
    expect(kinds.map((row) => row['backend_type'])).not.toContain('walsender');
    other.close();
  });
});

describe('a server that starts, stops or is not there', () => {
  test('replays its WAL: not ready, for its own node and for others', async () => {
    const paused = await servers.addCopy('c', primary);
    // Recovery that never gets to a consistent state within the test: its WAL does not come.
    await paused.instance.startStandby(null, {
      ...SETTINGS,
      parameters: { ...SETTINGS.parameters, restore_command: 'sleep 60; false' },
    });
    await paused.until('starting');
    for (const answer of await asked(paused)) expect(answer).toMatchObject({ kind: 'not-ready' });
    expect(await paused.look()).toMatchObject({ kind: 'starting', asPrimary: false });
    await paused.instance.stop('immediate', millis(1_000));
    for (const answer of await asked(paused)) expect(answer).toMatchObject({ kind: 'refused' });
  });

  test('shuts down smartly: it writes, and fails its check whichever is set; to others it is not ready', async () => {
    const server = await servers.addCluster('d');
    await server.instance.startPrimary(SETTINGS);
    await server.until('primary', (local) => local.failing === null);
    const guest = await server.connect();
    signalProcess(postmaster(server), 'SIGTERM');
    await server.until('primary', (local) => local.failing !== null);
    for (const check of TYPES) {
      expect(await server.instance.look(LIMIT, check)).toMatchObject({
        kind: 'primary',
        failing: { said: expect.stringMatching(/shutting down/) },
      });
    }
    for (const answer of await asked(server)) expect(answer).toMatchObject({ kind: 'not-ready' });
    expect((await guest.query('SELECT pg_is_in_recovery() AS standby')).rows).toEqual([{ standby: false }]);
    await guest.end();
    await server.instance.stop('immediate', millis(1_000));
  });

  test('is something else that ends connections without a word: refused', async () => {
    const other = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    for (const check of TYPES)
      expect(await standby.instance.checkServer({ name: 'x', host: '127.0.0.1', port }, check, LIMIT)).toMatchObject({
        kind: 'refused',
      });
    await new Promise((resolve) => other.close(resolve));
  });
});

test('a server that refuses our login lives, and what it said is shown', async () => {
  await primary.sql('CREATE ROLE nobody NOLOGIN');
  const stranger = anotherDaemon(primary, 'nobody');
  for (const check of TYPES)
    expect(await stranger.checkServer(primary.address, check, LIMIT)).toMatchObject({
      kind: 'alive',
      // A ping has its answer before the server knows who asks.
      said: check === 'ping' ? null : expect.stringContaining('not permitted to log in'),
    });
  stranger.close();
});

function anotherDaemon(of: TestServer, replicationUser?: string): PostgresInstance {
  const { authentication } = of.config.postgresql;
  const config =
    replicationUser === undefined
      ? of.config
      : {
          ...of.config,
          postgresql: {
            ...of.config.postgresql,
            authentication: {
              ...authentication,
              replication: { ...authentication.replication, username: replicationUser },
            },
          },
        };
  return new PostgresInstance({
    config,
    log: { write: () => undefined },
    clock: new SystemClock(),
    random: systemRandom(),
  });
}
