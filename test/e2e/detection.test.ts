/** What is noticed of a server in trouble, from its own node and from others, when it is judged, and what it leads to. */
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { resolveCluster } from '../../src/config/settings.ts';
import { suspicion } from '../../src/core/budget.ts';
import { Cluster } from './lib/cluster.ts';
import { Disk, disksUnavailable } from './lib/disk.ts';
import { runDirectory } from './lib/run.ts';
import { describeOnHosts, endsWell, sharedCluster } from './lib/scenario.ts';
import { sleep, until } from './lib/time.ts';

/** Above the bound: what the log's own writing and a busy machine take. */
const A_SECOND = 1_000;

describeOnHosts('a server in trouble', () => {
  const shared = sharedCluster();

  it('hangs as a whole: given up within the bound of the settings, ended, and another takes over', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    await cluster.startWriter({ sessions: 2 });
    const frozenAt = Date.now();
    cluster.freezeFamily(old);
    const standby = cluster.others(old)[0]?.name ?? '';
    await until('a standby says that the primary hangs', 15_000, async () => {
      const check = await upstreamCheck(cluster, standby);
      return check?.['of'] === old && check['kind'] === 'silent' && String(check['said']).includes('it hangs');
    });
    const next = await cluster.waitForPrimary(cluster.ttlMs + 20_000, [old]);
    cluster.thawFamily(old);
    await endsWell(cluster);

    const givenUpAt = firstLogged(cluster, old, 'rule=leading.give-up-silent', frozenAt);
    const promotedAt = firstLogged(cluster, next, 'rule=leading.promote', frozenAt);
    const bound = suspicion(resolveCluster({ ttl: 5, loop_wait: 1, retry_timeout: 1 }, {}).cluster);
    console.log(
      `hung: given up after ${givenUpAt - frozenAt} ms of ${bound}, promoted after ${promotedAt - frozenAt} ms`,
    );
    expect(givenUpAt - frozenAt).toBeLessThanOrEqual(bound + A_SECOND);
    expect(promotedAt).toBeGreaterThan(givenUpAt);
  });

  it('is full: it stays the primary, its health check stays as it was, and the log says so', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const timeline = await cluster.timeline(primary);
    await cluster.startWriter();
    const guests = await fill(cluster, primary);
    try {
      await until('the node says that it is full', 10_000, async () => (await pgha(cluster, primary))['full'] !== null);
      // Long enough for every check that could be held against it.
      for (let i = 0; i < 14; i++) {
        expect((await cluster.http(primary, '/primary')).status).toBe(200);
        await sleep(500);
      }
      expect((await pgha(cluster, primary))['failing']).toBeNull();
      const standby = cluster.others(primary)[0]?.name ?? '';
      expect(await upstreamCheck(cluster, standby)).toMatchObject({ of: primary, kind: 'alive' });
    } finally {
      for (const guest of guests) await guest.end();
    }
    await until('there is room again', 10_000, async () => (await pgha(cluster, primary))['full'] === null);
    const log = (): string => cluster.node(primary).logText();
    expect(log()).toContain('postgres.filled');
    await until('the log says so', 10_000, () => log().includes('postgres.has-room'));
    expect(await cluster.primary()).toBe(primary);
    expect(await cluster.timeline(primary)).toBe(timeline);
    await endsWell(cluster);
  });

  it('is out of sight of one standby: that one says so, and nothing else happens', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const standby = cluster.others(primary)[0]?.name ?? '';
    await cluster.startWriter();
    cluster.network.cutBetween(primary, standby);
    await until('the standby hears nothing', 15_000, async () => {
      const check = await upstreamCheck(cluster, standby);
      return check?.['kind'] === 'silent' && String(check['said']).includes('no connection');
    });
    expect(cluster.node(standby).logText()).toContain('upstream.check-failed');
    cluster.network.healBetween(primary, standby);
    await until('the standby hears the primary again', 15_000, async () => {
      return (await upstreamCheck(cluster, standby))?.['kind'] === 'alive';
    });
    expect(cluster.node(standby).logText()).toContain('upstream.check-passed');
    expect(await cluster.primary()).toBe(primary);
    await endsWell(cluster);
  });
});

const noDisks = disksUnavailable();
if (noDisks !== null) console.warn(`the end-to-end test of a hung disk is skipped: ${noDisks}`);

describe.skipIf(noDisks !== null)('the disk of the primary', () => {
  let cluster: Cluster;
  const disks = new Map<string, Disk>();

  beforeAll(async () => {
    const place = join(runDirectory, 'hanging');
    cluster = await Cluster.start({
      nodes: 2,
      directory: place,
      // With its files in the data directory even the postmaster would hang, and no check would pass.
      parameters: { dynamic_shared_memory_type: 'posix' },
      node: (name) => {
        disks.set(name, Disk.at(join(place, name, 'data')));
        return {};
      },
    });
  });
  afterEach((context) => {
    if (context.task.result?.state !== 'fail') return;
    for (const error of context.task.result.errors ?? []) error.message = cluster.explain(error.message).message;
  });
  afterAll(async () => {
    for (const disk of disks.values()) disk.thaw();
    await cluster?.destroy();
    for (const disk of disks.values()) disk.remove();
  });

  it('hangs: the primary is given up, nobody else begins before its window is over, and it comes back as a standby', async () => {
    const old = await cluster.primary();
    await cluster.startWriter({ sessions: 2 });
    disks.get(old)?.freeze();
    await until('the node says that its disk hangs', 15_000, async () => {
      const failing = (await pgha(cluster, old))['failing'] as { check: string } | null;
      return failing?.check === 'disk';
    });
    expect((await cluster.http(old, '/primary')).status).toBe(503);
    await cluster.waitForPrimary(2 * cluster.ttlMs + 20_000, [old]);
    // The daemon itself hangs on nothing.
    expect((await cluster.http(old, '/liveness')).status).toBe(200);
    disks.get(old)?.thaw();
    await endsWell(cluster);
  });
});

async function pgha(cluster: Cluster, node: string): Promise<Record<string, unknown>> {
  const { body } = await cluster.http(node, '/patroni');
  return (JSON.parse(body) as { pgha: Record<string, unknown> }).pgha;
}

async function upstreamCheck(cluster: Cluster, node: string): Promise<Record<string, unknown> | null> {
  return (await pgha(cluster, node))['upstream_check'] as Record<string, unknown> | null;
}

/** Sessions of an ordinary user until there is no room for another one, over the unix socket. */
async function fill(cluster: Cluster, node: string): Promise<pg.Client[]> {
  await cluster.sql(node, 'create role visitor login');
  const { host, port, database } = cluster.node(node).local;
  const guests: pg.Client[] = [];
  for (;;) {
    const guest = new pg.Client({ host, port, user: 'visitor', database });
    guest.on('error', () => undefined);
    try {
      await guest.connect();
    } catch (error) {
      expect(error).toMatchObject({ code: '53300' });
      return guests;
    }
    guests.push(guest);
  }
}

/** The wall-clock time of the first line since then that holds this text. */
function firstLogged(cluster: Cluster, node: string, text: string, since: number): number {
  for (const line of cluster.node(node).logText().split('\n')) {
    const at = Date.parse(line.slice(0, '2026-11-20 10:44:00.123'.length));
    if (line.includes(text) && at >= since) return at;
  }
  throw new Error(`the log of ${node} does not say ${text}`);
}
