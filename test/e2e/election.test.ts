/** To whom a cluster fails over, and when it does not: ties, priorities, vetoes, manual mode, lost sight, locations. */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { Cluster } from './lib/cluster.ts';
import { ctlDone, describeOnHosts, endsWell, everything } from './lib/scenario.ts';
import { sleep, until } from './lib/time.ts';

/** What this node's file says from now on; read by the running daemon. */
async function configure(cluster: Cluster, name: string, settings: Record<string, unknown>): Promise<void> {
  const { configFile } = cluster.node(name);
  const now = parse(readFileSync(configFile, 'utf8')) as Record<string, unknown>;
  writeFileSync(configFile, stringify({ ...now, ...settings }));
  expect((await cluster.http(name, '/reload', { method: 'POST' })).status).toBe(202);
}

async function decisionOf(cluster: Cluster, name: string): Promise<{ rule: string; reason: string }> {
  const { body } = await cluster.http(name, '/patroni');
  return (JSON.parse(body ?? '{}') as { pgha: { decision: { rule: string; reason: string } } }).pgha.decision;
}

const says = (cluster: Cluster, name: string, rule: string, limitMs = 20_000): Promise<string> =>
  until(`${name} says ${rule}`, limitMs, async () => {
    const decision = await decisionOf(cluster, name);
    return decision.rule === rule ? decision.reason : null;
  });

describeOnHosts('equal candidates', () => {
  // Without a writer and without the watch: all positions are equal, and the next criteria decide.
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({ dontWait: true });
    await cluster.waitAllStreaming();
  });
  afterAll(() => cluster?.destroy());

  /** The primary's postmaster is killed; returns who took over of `low` and `high` node_id. */
  async function failover(before: (low: string, high: string) => Promise<void>): Promise<'low' | 'high'> {
    await cluster.waitAllStreaming();
    const old = await cluster.primary();
    const [low = '', high = ''] = cluster.others(old).map(({ name }) => name);
    await before(low, high);
    // It comes back within the time that a veto takes, and this is about the other two.
    await configure(cluster, old, { priority: 1 });
    cluster.killPostmaster(old);
    const next = await cluster.waitForPrimary(20_000, [old]);
    for (const name of [low, high, old]) {
      await configure(cluster, name, { priority: 100, failover_validation_command: null });
    }
    return next === low ? 'low' : 'high';
  }

  it('the lowest node_id wins when nothing else differs', async () => {
    expect(await failover(async () => undefined)).toBe('low');
  });

  it('the higher priority wins against the lower node_id', async () => {
    expect(await failover((_, high) => configure(cluster, high, { priority: 101 }))).toBe('high');
  });

  it('priority 0 never wins', async () => {
    expect(await failover((low) => configure(cluster, low, { priority: 0 }))).toBe('high');
  });

  it('a veto of its own command makes room for the next candidate', async () => {
    let best = '';
    const winner = await failover(async (low) => {
      best = low;
      await configure(cluster, low, { failover_validation_command: 'echo "%a: %v of %t, no thanks"; exit 3' });
    });
    expect(winner).toBe('high');
    expect(cluster.node(best).logText()).toMatch(/exit code 3: .*: \d of \d, no thanks/);
  });

  it('a command that hangs is a veto after its limit', async () => {
    let best = '';
    const winner = await failover(async (low) => {
      best = low;
      await configure(cluster, low, {
        failover_validation_command: 'sleep 600',
        failover_validation_timeout: '500ms',
      });
    });
    expect(winner).toBe('high');
    expect(cluster.node(best).logText()).toContain('it was ended after 0.5 s');
  });

  it('in manual mode nobody takes over by himself; who would is said; an operator can', async () => {
    await cluster.waitAllStreaming();
    const old = await cluster.primary();
    await ctlDone(cluster, ['edit-config', '--set', 'failover=manual', '--force']);
    await cluster.killNode(old);
    const [one = '', another = ''] = cluster.others(old).map(({ name }) => name);
    expect(await says(cluster, one, 'leaderless.manual')).toContain(`${one} would take over`);
    await sleep(cluster.ttlMs);
    expect(await cluster.primaries()).toEqual([]);
    const done = await cluster.ctl(['failover', '--candidate', another, '--force'], { node: one });
    expect(`${done.code}: ${done.stdout}${done.stderr}`).toMatch(/^0: /);
    expect(await cluster.waitForPrimary()).toBe(another);
    cluster.reviveNode(old);
    await cluster.waitAllStreaming();
  });
});

describeOnHosts('sight and location', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start({
      dcs: { location_policy: 'strict', primary_visibility_consensus: true },
      node: (name) => ({ location: name === 'h3' ? 'west' : 'east' }),
    });
    if ((await cluster.primary()) === 'h3') {
      await ctlDone(cluster, ['switchover', '--candidate', 'h1', '--force']);
      await cluster.waitAllStreaming();
    }
  });
  afterAll(() => cluster?.destroy());

  it.runIf(everything)('a primary that only one standby lost sight of stays, and the standby says so', async () => {
    const primary = await cluster.primary();
    const standby = cluster.others(primary)[0]?.name ?? '';
    const timeline = await cluster.timeline(primary);
    await cluster.startWriter();
    cluster.network.cutBetween(primary, standby);
    await says(cluster, standby, 'following.waiting-to-stream', cluster.ttlMs + 60_000);
    await sleep(cluster.ttlMs + 1_000);
    expect(await cluster.primary()).toBe(primary);
    expect(await cluster.timeline(primary)).toBe(timeline);
    cluster.network.healBetween(primary, standby);
    await endsWell(cluster);
  });

  it('two locations cut apart: the one without the leader does not promote, also with etcd on its side', async () => {
    const primary = await cluster.primary();
    expect(['h1', 'h2']).toContain(primary);
    await cluster.startWriter();
    for (const east of ['h1', 'h2']) for (const west of ['h3', 'e1']) cluster.network.cutBetween(east, west);
    const reason = await says(cluster, 'h3', 'leaderless.location', cluster.ttlMs + 20_000);
    expect(reason).toContain('the last leader is in east');
    await sleep(cluster.ttlMs);
    expect(await cluster.primaries()).toEqual([]);
    for (const east of ['h1', 'h2']) for (const west of ['h3', 'e1']) cluster.network.healBetween(east, west);
    expect(['h1', 'h2']).toContain(await cluster.waitForPrimary(30_000));
    await endsWell(cluster);
  });
});
