/** What an operator asks for, and what the daemon refuses. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { postgresBinDir } from '../../scripts/ensure.mjs';
import { Cluster } from './lib/cluster.ts';
import { EXIT_CONFIG } from './lib/daemon.ts';
import { stepDown } from './lib/launch.ts';
import { ctlDone, describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

describeOnHosts('switchover', () => {
  // Where the operator's commands of all nodes write to; they run as the user of Postgres.
  const told = mkdtempSync(join(tmpdir(), 'pgha-told-'));
  chmodSync(told, 0o777);
  afterAll(() => rmSync(told, { recursive: true, force: true }));
  const shared = sharedCluster({
    node: (name) => ({
      event_notification_command: `echo "%n %e %s '%a' %d" >> ${told}/${name}; sleep 0.05; test %e != standby_follow`,
      event_notifications: 'standby_promote, standby_switchover, standby_follow, repmgrd_standby_reconnect',
      failover_command: `echo %d %m %P %M >> ${told}/${name}.failover`,
      monitoring_history: true,
    }),
  });

  it('under load to a named candidate and back: no row lost, no rewind, a short pause', async () => {
    const cluster = shared.current;
    const first = await cluster.primary();
    const second = cluster.others(first)[0]?.name ?? '';
    await cluster.startWriter({ sessions: 4 });
    for (const [from, to] of [
      [first, second],
      [second, first],
    ] as const) {
      const asked = monotonic();
      const stdout = await ctlDone(cluster, ['switchover', '--leader', from, '--candidate', to, '--force']);
      expect(await cluster.primary()).toBe(to);
      await cluster.waitForWrites(50);
      const pause = await cluster.pauseSince(asked);
      console.log(`switchover ${from} -> ${to}: writes paused ${pause?.ms.toFixed(0)} ms; it said: ${stdout.trim()}`);
      expect(pause?.ms).toBeLessThan(cluster.ttlMs);
      await cluster.waitAllStreaming();
    }
    await endsWell(cluster);
  });

  it('leaves Postgres alone until the time that a restart is scheduled for, and for ever when it is withdrawn', async () => {
    const cluster = shared.current;
    const standby = cluster.others(await cluster.primary())[0]?.name ?? '';
    const before = cluster.node(standby).postmaster();
    const schedule = (inMs: number) =>
      ctlDone(cluster, [
        'restart',
        cluster.scope,
        standby,
        '--scheduled',
        new Date(Date.now() + inMs).toISOString(),
        '--force',
      ]);
    expect(await schedule(3_600_000)).toContain(`Success: restart scheduled on member ${standby}`);
    await until('the others read of it', 10_000, async () =>
      (await ctlDone(cluster, ['list', '-f', 'json'])).includes('"Scheduled restart"'),
    );
    const again = await cluster.http(standby, '/restart', { method: 'POST', body: { schedule: '2100-01-01T00:00Z' } });
    expect([again.status, again.body]).toEqual([409, 'Another restart is already scheduled']);
    expect(await ctlDone(cluster, ['flush', cluster.scope, standby, 'restart', '--force'])).toContain('Success: flush');
    expect((await cluster.http(standby, '/restart', { method: 'DELETE' })).status).toBe(404);

    // pgha-ctl itself takes a moment on a busy machine, and what is scheduled for the past is refused.
    await schedule(5_000);
    expect(cluster.node(standby).postmaster()).toEqual(before);
    await until('it was restarted', 20_000, () => {
      const now = cluster.node(standby).postmaster();
      return now !== null && now.pid !== before?.pid;
    });
    await cluster.waitAllStreaming();
    await until(
      'nobody reads of it any more',
      10_000,
      async () => !(await ctlDone(cluster, ['list', '-f', 'json'])).includes('"Scheduled restart"'),
    );
  });

  it("is told in etcd and to the operator's commands, also when these fail", async () => {
    const cluster = shared.current;
    const first = await cluster.primary();
    const [second = '', third = ''] = cluster.others(first).map(({ name }) => name);
    const number = (name: string): string => name.slice(1);
    const lines = (file: string): readonly string[] =>
      existsSync(join(told, file)) ? readFileSync(join(told, file), 'utf8').trim().split('\n') : [];
    const before = new Map([first, second, third].map((name) => [name, lines(name).length]));
    await ctlDone(cluster, ['switchover', '--candidate', second, '--force']);
    await cluster.waitAllStreaming();

    const news = (name: string): readonly string[] => lines(name).slice(before.get(name));
    await until('the commands have run', 10_000, () => [first, second, third].every((name) => news(name).length > 0));
    await until('the new primary has told both of its events', 10_000, () => news(second).length >= 2);
    expect(
      news(second)
        .slice(0, 2)
        .map((line) => line.split(' ').slice(0, 4).join(' ')),
    ).toEqual([`${number(second)} standby_promote 1 '${first}'`, `${number(second)} standby_switchover 1 '${first}'`]);
    expect(news(third).join()).toContain(
      `${number(third)} standby_follow 1 '${second}' ${third} follows ${second} now`,
    );
    expect(news(first).join()).toContain(`${number(first)} repmgrd_standby_reconnect 1 '${second}'`);
    await until('its failure is said', 10_000, () =>
      cluster.node(third).logText().includes('event_notification_command: exit code 1'),
    );
    const change = `${number(first)} ${number(second)} ${number(first)} ${number(first)}`;
    await until('failover_command has run', 10_000, () => lines(`${second}.failover`).at(-1) === change);

    // Written within a second or so; a member that serves them reads the same list.
    const events = async (...options: string[]): Promise<readonly Record<string, unknown>[]> => {
      const { code, stdout, stderr } = await cluster.ctl(['events', '--format', 'json', ...options]);
      expect({ code, stderr }).toMatchObject({ code: 0 });
      return JSON.parse(stdout) as Record<string, unknown>[];
    };
    await until('the events stand in etcd', 10_000, async () => {
      const found = await events('--event', 'standby_switchover', '--node', second);
      return found.length > 0 && found[0]?.['Other node'] === first && found[0]?.['OK'] === true;
    });
    const served = JSON.parse((await cluster.http(third, '/pgha/events')).body) as Record<string, unknown>[];
    expect(served.map((event) => event['event'])).toContain('standby_switchover');
    expect((await events('--limit', '2')).length).toBe(2);
    expect(await cluster.ctl(['events', '--event', 'standby_promoted'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('did you mean `standby_promote`?'),
    });
  });

  it('under load while one standby has been cut off for 3 s: the pause stays short', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const [candidate, absent] = cluster.others(primary).map(({ name }) => name);
    await cluster.startWriter({ sessions: 4 });
    cluster.network.cut(absent ?? '');
    await sleep(3_000);
    const asked = monotonic();
    await ctlDone(cluster, ['switchover', '--candidate', candidate ?? '', '--force']);
    await cluster.waitForWrites(50);
    const pause = await cluster.pauseSince(asked);
    cluster.network.heal(absent ?? '');
    await endsWell(cluster);
    console.log(`switchover beside a cut standby: writes paused ${pause?.ms.toFixed(0)} ms`);
    expect(pause?.ms).toBeLessThan(cluster.ttlMs);
  });

  it('to a node that does not exist, or to the leader itself, is refused with the reason and changes nothing', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const timeline = await cluster.timeline(primary);
    for (const candidate of ['nobody', primary]) {
      const { code, stdout, stderr } = await cluster.ctl(['switchover', '--candidate', candidate, '--force']);
      expect(code).not.toBe(0);
      expect(stdout + stderr).toContain(candidate);
    }
    expect(await cluster.primary()).toBe(primary);
    expect(await cluster.timeline(primary)).toBe(timeline);
  });
});

describeOnHosts('rejoin', () => {
  const shared = sharedCluster();

  it('reinit copies a standby anew while the others go on', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    const standby = cluster.others(primary)[0]?.name ?? '';
    await cluster.startWriter();
    writeFileSync(join(cluster.node(standby).dataDir, 'mark-of-the-old-copy'), '');
    await ctlDone(cluster, ['reinit', cluster.scope, standby, '--force']);
    await until('the old copy is gone', 30_000, () => {
      try {
        readFileSync(join(cluster.node(standby).dataDir, 'mark-of-the-old-copy'));
        return false;
      } catch {
        return true;
      }
    });
    await endsWell(cluster);
    expect(await cluster.primary()).toBe(primary);
  });

  it('a standby whose directory is gone is copied anew by itself', async () => {
    const cluster = shared.current;
    const standby = cluster.others(await cluster.primary())[0]?.name ?? '';
    await cluster.startWriter();
    await cluster.killNode(standby);
    rmSync(cluster.node(standby).dataDir, { recursive: true });
    cluster.reviveNode(standby);
    await endsWell(cluster);
  });

  it('an old primary that diverged is rewound by itself', async () => {
    const cluster = shared.current;
    const old = await cluster.primary();
    await cluster.sql(old, 'create table if not exists e2e_diverged (at timestamptz default clock_timestamp())');
    await cluster.waitAllStreaming();
    await cluster.startWriter();
    cluster.network.cut(old);
    // Written in its last window, seen by nobody else: what rewind has to undo.
    await sleep(300);
    for (let i = 0; i < 20; i++) await cluster.sql(old, 'insert into e2e_diverged default values');
    await cluster.waitForPrimary(cluster.ttlMs + 15_000, [old]);
    await cluster.waitForWrites(20);
    cluster.network.heal(old);
    await endsWell(cluster, { mayLose: true });
    expect(cluster.node(old).logText()).toMatch(/rew(ind|ound)/);
    expect((await cluster.sql(old, 'select count(*)::int as rows from e2e_diverged'))[0]?.['rows']).toBe(0);
  });
});

describeOnHosts('refusals', () => {
  it.runIf(everything)('a foreign data directory is left alone, and the error says so', async () => {
    const cluster = await Cluster.start({ notStarted: ['h3'] });
    try {
      const { dataDir, daemon, name } = cluster.node('h3');
      const [first = 'env', ...rest] = stepDown(true);
      execFileSync(first, [...rest, join(postgresBinDir() ?? '', 'initdb'), '-D', dataDir, '-U', 'postgres', '-N'], {
        stdio: 'ignore',
      });
      writeFileSync(join(dataDir, 'somebody-elses'), 'precious');
      daemon.start();
      await until('the daemon says whose directory it is', 20_000, () => {
        return /belongs to the cluster with system identifier \d+/.test(cluster.node(name).logText());
      });
      await sleep(3_000);
      expect(readFileSync(join(dataDir, 'somebody-elses'), 'utf8')).toBe('precious');
      expect(cluster.node(name).family()).toEqual([]);
      await cluster.startWriter();
      await cluster.waitForWrites(20);
      expect(await cluster.twoWriters()).toEqual([]);
    } catch (error) {
      throw cluster.explain(error);
    } finally {
      await cluster.destroy();
    }
  });

  it('a wrong configuration ends the daemon with the code that is not restarted, and names the right key', async () => {
    const cluster = await Cluster.start({ nodes: 1, dontWait: true, notStarted: ['h1'] });
    try {
      const node = cluster.node('h1');
      const good = readFileSync(node.configFile, 'utf8');
      const valid = await cluster.daemonCommand('h1', ['--validate-config', node.configFile]);
      expect({ code: valid.code, text: valid.stderr }).toMatchObject({ code: 0 });
      const wrong = parse(good) as Record<string, Record<string, unknown>>;
      wrong['postgresql'] = { ...wrong['postgresql'], data_dri: '/nowhere' };
      writeFileSync(node.configFile, stringify(wrong));
      const refused = await cluster.daemonCommand('h1', ['--validate-config', node.configFile]);
      expect(refused.code).not.toBe(0);
      expect(refused.stdout + refused.stderr).toContain('data_dir');
      node.daemon.start();
      await until('the daemon has ended', 10_000, () => node.daemon.exits.length > 0);
      await sleep(500);
      expect(node.daemon.exits).toEqual([EXIT_CONFIG]);
      expect(node.logText()).toContain('data_dir');
      const tight = parse(good) as { bootstrap: { dcs: Record<string, unknown> } };
      tight.bootstrap.dcs['ttl'] = 5;
      tight.bootstrap.dcs['retry_timeout'] = 4;
      writeFileSync(node.configFile, stringify(tight));
      const arithmetic = await cluster.daemonCommand('h1', ['--validate-config', node.configFile]);
      expect(arithmetic.code).not.toBe(0);
      expect(arithmetic.stdout + arithmetic.stderr).toMatch(/ttl/);
    } finally {
      await cluster.destroy();
    }
  });
});
