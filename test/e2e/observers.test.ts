/** What outsiders see: health checks that tell the truth, and Patroni's own command line reading our keys. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { stringify } from 'yaml';
import { which } from '../../scripts/ensure.mjs';
import { runOn } from './lib/client.ts';
import { ctlDone, describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { sleep, until } from './lib/time.ts';

interface TakeoverRecord {
  readonly node: string;
  readonly phases: readonly { readonly phase: string; readonly actual_ms: number }[];
  readonly followers: readonly { readonly name: string }[];
  readonly judgement_ms: number | null;
}

/** Where the tests run nothing is installed, which `check host` finds critical. */
const drill = ['drill', '--yes', '--regardless', '--format', 'json'];

describeOnHosts('observers', () => {
  const shared = sharedCluster();

  it('the health check says 200 on the leader alone, for GET, HEAD and OPTIONS', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    // A standby says so after its next look at Postgres, not at the instant at which it begins to stream.
    await until('every standby says that it is one', 5_000, async () => {
      const answers = await Promise.all(cluster.others(primary).map(({ name }) => cluster.http(name, '/replica')));
      return answers.every(({ status }) => status === 200);
    });
    for (const { name } of cluster.nodes) {
      for (const method of ['GET', 'HEAD', 'OPTIONS']) {
        for (const path of ['/', '/primary', '/leader', '/read-write']) {
          const { status } = await cluster.http(name, path, { method });
          expect(`${method} ${path} ${name} ${status}`).toBe(
            `${method} ${path} ${name} ${name === primary ? 200 : 503}`,
          );
        }
        const replica = await cluster.http(name, '/replica', { method });
        expect(`${method} /replica ${name} ${replica.status}`).toBe(
          `${method} /replica ${name} ${name === primary ? 503 : 200}`,
        );
      }
      expect((await cluster.http(name, '/liveness')).status).toBe(200);
    }
  });

  it("the checks find nothing wrong with a cluster that is well, and repmgr's table has no warning", async () => {
    const cluster = shared.current;
    for (const what of ['network', 'etcd', 'clone', 'replication']) {
      expect(await ctlDone(cluster, ['check', what])).toContain('ok  ');
    }
    expect(await ctlDone(cluster, ['list', '--format', 'repmgr'])).toContain('| primary | * running |');
    expect(await ctlDone(cluster, ['check', 'replication', '--nagios'])).toMatch(
      /^PGHA REPLICATION OK - .*'lag_h\d'=\d/,
    );
  });

  it('who changed the configuration is on record, whether a member was asked or etcd was written to', async () => {
    const cluster = shared.current;
    const [{ name } = { name: '' }] = cluster.nodes;
    await ctlDone(cluster, ['edit-config', '-s', 'log_status_interval=297', '--force']);
    const answer = await cluster.http(name, '/config', { method: 'PATCH', body: { log_status_interval: null } });
    expect(answer.status).toBe(200);
    const entries = await until('both are on record', 15_000, async () => {
      const read = JSON.parse(await ctlDone(cluster, ['audit', '--format', 'json'])) as Record<string, unknown>[];
      return read.length >= 2 ? read : null;
    });
    expect(entries).toMatchObject([
      { member: name, request: 'PATCH /config', ok: true, before: { log_status_interval: 297 }, after: {} },
      { request: 'edit-config', ok: true, before: {}, after: { log_status_interval: 297 } },
    ]);
    expect(String(entries[1]?.['says'])).toMatch(/^.+@.+$/);
  });

  it('a rehearsal hands over and back, and reports what each phase took beside what was planned', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    const { code, stdout, stderr } = await cluster.ctl([...drill, 'switchover'], {
      timeoutMs: 90_000,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const report = JSON.parse(stdout) as {
      checks: { check: string; level: string }[];
      legs: { from: string; to: string; paused_ms: number; planned: { worst_ms: number }; phases: object[] }[];
    };
    for (const check of ['network', 'replication']) expect(report.checks).toContainEqual({ check, level: 'ok' });
    expect(report.legs.map(({ from }) => from)).toEqual([old, report.legs[0]?.to]);
    expect(report.legs[1]?.to).toBe(old);
    for (const leg of report.legs) {
      expect(leg.paused_ms).toBeGreaterThan(0);
      expect(leg.planned.worst_ms).toBeGreaterThan(0);
      expect(leg.phases).toContainEqual(expect.objectContaining({ phase: 'promotion' }));
    }
    expect(await cluster.primary()).toBe(old);
  });

  it.runIf(everything)(
    "a rehearsed failover really kills the primary's Postgres, and only on its own node",
    async () => {
      const cluster = shared.current;
      const old = await cluster.primary();
      const [other] = cluster.others(old);
      const args = [...drill, 'failover', '--kill-postgres'];
      const elsewhere = await cluster.ctl(args, { node: other?.name ?? '', timeoutMs: 90_000 });
      expect(elsewhere.code).toBe(1);
      expect(elsewhere.stderr).toContain('run it there. Nothing was done.');
      expect(await cluster.primary()).toBe(old);
      const here = await cluster.ctl(args, { node: old, timeoutMs: 90_000 });
      expect({ code: here.code, stderr: here.stderr }).toEqual({ code: 0, stderr: '' });
      const [leg] = (JSON.parse(here.stdout) as { legs: { from: string; to: string; phases: object[] }[] }).legs;
      expect(leg?.from).toBe(old);
      expect(leg?.to).toBe(await cluster.primary());
    },
  );

  it('no two nodes say 200 on /primary at once during a failover', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    await cluster.startWriter();
    await cluster.client.ask('polls-start', {
      urls: cluster.nodes.map(({ name, url }) => ({ name, url: `${url}/primary` })),
      everyMs: 5,
    });
    await sleep(500);
    cluster.killPostmaster(old);
    const next = await cluster.waitForPrimary(15_000, [old]);
    await cluster.waitForWrites(20);
    const polls = await cluster.client.ask('polls-stop', null);
    await endsWell(cluster);
    const yes = (name: string) => polls.filter((poll) => poll.name === name && poll.status === 200);
    const lastOld = Math.max(...yes(old).map(({ sent }) => sent));
    const firstNew = Math.min(...yes(next).map(({ answered }) => answered));
    expect(yes(old).length).toBeGreaterThan(0);
    expect(lastOld).toBeLessThan(firstNew);
  });

  it('explain says who could lead, and after a failover how that came about', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    // Each member compares what it has now with what it heard of the others a moment ago: under writes both can be behind.
    await until('one of the standbys goes first', 10_000, async () => {
      const said = await cluster.ctl(['explain', '--format', 'json']);
      const { leader, members } = JSON.parse(said.stdout) as {
        leader: string;
        members: { node: string; verdict: string; rule: string; sentence: string }[];
      };
      expect({ code: said.code, leader }).toEqual({ code: 0, leader: old });
      const verdicts = new Map(members.map(({ node, verdict }) => [node, verdict]));
      expect(verdicts.get(old)).toBe('leads');
      return cluster.others(old).some(({ name }) => verdicts.get(name) === 'first');
    });
    cluster.killPostmaster(old);
    const next = await cluster.waitForPrimary(15_000, [old]);
    const record = await until(
      'the takeover is on record, with its followers',
      20_000,
      async () => {
        const { code, stdout } = await cluster.ctl(['explain', '--last', '--format', 'json']);
        const read = code === 0 ? (JSON.parse(stdout) as TakeoverRecord) : null;
        return read?.node === next && read.followers.length === cluster.nodes.length - 1 ? read : null;
      },
      300,
    );
    expect(record).toMatchObject({ kind: 'hand-over', previous: old, release: { candidate: next } });
    expect(record.phases.map(({ phase }) => phase)).toEqual(
      expect.arrayContaining(['key taken', 'proven and guarded', 'promotion sent', 'promotion']),
    );
    expect(record.judgement_ms).not.toBeNull();
    const { stdout } = await cluster.ctl(['explain', '--last']);
    expect(stdout).toContain(`${next} took over from ${old}`);
    expect(cluster.node(next).logText()).toMatch(/failover\.completed .*judgement_ms=/);
    const why = await cluster.ctl(['explain']);
    expect(why.stdout).toMatch(new RegExp(`- ${next} leads in term \\d+, .* by leaderless\\.`));
  });

  it('the port answers 503 while the daemon is dead and nothing while it is frozen', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const { daemon } = cluster.node(primary);
    await cluster.startWriter();
    await cluster.client.ask('polls-start', {
      urls: [{ name: primary, url: `${cluster.node(primary).url}/primary` }],
      everyMs: 5,
    });
    daemon.kill();
    await sleep(2_500);
    const polls = await cluster.client.ask('polls-stop', null);
    expect(new Set(polls.map(({ status }) => status))).toContain(503);
    // On a busy machine its next life takes a while: frozen before that, the guard would go on answering.
    await until(
      'the daemon answers again',
      20_000,
      async () => (await cluster.http(primary, '/primary')).status === 200,
    );
    daemon.freeze();
    const frozen = await cluster.http(primary, '/primary', { timeoutMs: 500 });
    daemon.thaw();
    expect(frozen.status).toBeNull();
    await endsWell(cluster);
  });

  it.skipIf(which('patronictl') === null)("Debian's patronictl prints the cluster from our keys", async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const config = join(cluster.directory, 'patronictl.yml');
    writeFileSync(
      config,
      stringify({
        scope: cluster.scope,
        namespace: '/service',
        etcd3: { hosts: cluster.etcd.endpoints.map((endpoint) => endpoint.replace('http://', '')) },
      }),
    );
    const { code, stdout, stderr } = await runOn(cluster.network.host('client'), [
      which('patronictl') ?? '',
      '-c',
      config,
      'list',
      '-f',
      'json',
    ]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const rows = JSON.parse(stdout) as { Member: string; Role: string; State: string; Host: string; TL: number }[];
    expect(rows.map(({ Member, Role }) => `${Member} ${Role}`).toSorted()).toEqual(
      cluster.nodes.map(({ name }) => `${name} ${name === primary ? 'Leader' : 'Replica'}`),
    );
    for (const row of rows) {
      expect(row.Host).toContain(cluster.node(row.Member).host.address);
      expect(['running', 'streaming']).toContain(row.State);
    }
  });
});
