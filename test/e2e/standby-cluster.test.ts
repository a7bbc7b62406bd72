/**
 * A cluster that follows another one: made as a copy of it, handed on and failed over inside, promoted when it is told to,
 * and the other way round. Two real clusters, each with an etcd of its own, in one network.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { postgresBinDir } from '../../scripts/ensure.mjs';
import { runOn } from './lib/client.ts';
import { Cluster } from './lib/cluster.ts';
import { serverDirectory, stepDown } from './lib/launch.ts';
import { createNamespaces, type Network } from './lib/network.ts';
import { openRun, runDirectory } from './lib/run.ts';
import { ctlDone, describeOnHosts, everything } from './lib/scenario.ts';
import { until } from './lib/time.ts';

/** The same network, in which the hosts of the second cluster have other names. */
function seenFrom(network: Network, names: Readonly<Record<string, string>>): Network {
  const real = (name: string): string => names[name] ?? name;
  return {
    ...network,
    host: (name) => network.host(real(name)),
    linkDown: (name) => network.linkDown(real(name)),
    linkUp: (name) => network.linkUp(real(name)),
    destroy: () => undefined,
  };
}

// Two clusters take their time to come up.
(everything ? describeOnHosts : describe.skip)('a standby cluster', () => {
  let main: Cluster;
  let far: Cluster;

  beforeAll(async () => {
    const network = createNamespaces(['h1', 'e1', 'client', 'f1', 'f2', 'fe', 'fclient']);
    main = await Cluster.start({ nodes: 1, network });
    await main.sql('h1', 'create table t (v int)');
    far = await Cluster.start({
      nodes: 2,
      scope: 'far',
      network: seenFrom(network, { h1: 'f1', h2: 'f2', e1: 'fe', client: 'fclient' }),
      dontWait: true,
      dcs: { standby_cluster: { host: main.node('h1').host.address, port: 5432 } },
    });
  });
  afterAll(async () => {
    await far?.destroy();
    await main?.destroy();
  });

  const leads = (node: string, limitMs = 20_000): Promise<unknown> =>
    until(`${node} is the standby leader`, limitMs, async () => {
      const { status } = await far.http(node, '/standby-leader').catch(() => ({ status: 0 }));
      return status === 200;
    });

  /** What is written over there is read here, on every member. */
  async function arrives(value: number): Promise<void> {
    await main.sql('h1', `insert into t values (${value})`);
    for (const { name } of far.nodes)
      await until(`${value} is on ${name}`, 20_000, async () => {
        const rows = await far.sql(name, `select 1 from t where v = ${value}`).catch(() => []);
        return rows.length === 1;
      });
  }

  const streamsFrom = async (node: string): Promise<string> => {
    const [row] = await far.sql(node, "select sender_host || '' as host from pg_stat_wal_receiver");
    return String(row?.['host']);
  };

  it('is made as a copy, cascades, and tells everybody that it takes no writes', async () => {
    const leader = await until('somebody leads', 30_000, async () => await far.leader());
    await leads(leader);
    await arrives(1);
    const [other] = far.others(leader).map(({ name }) => name);
    expect(await streamsFrom(leader)).toBe(main.node('h1').host.address);
    await until('the other streams from the leader', 20_000, async () => {
      return (await streamsFrom(other ?? '')) === far.node(leader).host.address;
    });
    const answers = async (node: string, paths: readonly string[]): Promise<string> =>
      (await Promise.all(paths.map(async (path) => `${path} ${(await far.http(node, path)).status}`))).join(', ');
    const paths = ['/', '/primary', '/leader', '/standby_leader', '/replica', '/read-only', '/health', '/readiness'];
    const become = async (node: string, wanted: string): Promise<void> => {
      // What a node knows of itself may be a cycle old.
      await until(`${node} answers`, 5_000, async () => (await answers(node, paths)) === wanted).catch(() => null);
      expect(await answers(node, paths)).toBe(wanted);
    };
    await become(
      leader,
      '/ 503, /primary 503, /leader 200, /standby_leader 200, /replica 503, /read-only 200, /health 200, /readiness 200',
    );
    await become(
      other ?? '',
      '/ 503, /primary 503, /leader 503, /standby_leader 503, /replica 200, /read-only 200, /health 200, /readiness 200',
    );
    expect(await ctlFar(['list'])).toMatch(new RegExp(`\\| ${leader} .*\\| Standby Leader *\\| running`));
    const status = JSON.parse((await far.http(leader, '/patroni')).body ?? '{}') as { role: string };
    expect(status.role).toBe('standby_leader');
    expect((await far.http(leader, '/metrics')).body).toMatch(/patroni_standby_leader\{[^}]*\} 1/);
    const member = JSON.parse((await far.etcd.get(`/service/far/members/${leader}`)) ?? '{}') as { role: string };
    expect(member.role).toBe('standby_leader');
    await expect(far.sql(leader, 'create table no ()')).rejects.toThrow(/read-only/);
  });

  const ctlFar = (args: readonly string[]): Promise<string> => ctlDone(far, args);

  it('hands on inside without stopping anything', async () => {
    const leader = (await far.leader()) ?? '';
    const [other] = far.others(leader).map(({ name }) => name);
    const before = await far.sql(leader, 'select pg_postmaster_start_time()::text as at');
    await ctlFar(['switchover', '--candidate', other ?? '', '--force']);
    await leads(other ?? '');
    await arrives(2);
    await until('the former leader follows the new one', 20_000, async () => {
      return (await streamsFrom(leader)) === far.node(other ?? '').host.address;
    });
    expect(await far.sql(leader, 'select pg_postmaster_start_time()::text as at')).toEqual(before);
    expect(await far.timeline(leader)).toBe(1);
  });

  it('fails over inside when the leader is lost, and takes him back', async () => {
    const leader = (await far.leader()) ?? '';
    const [other] = far.others(leader).map(({ name }) => name);
    await far.killNode(leader);
    await leads(other ?? '', far.ttlMs + 15_000);
    far.reviveNode(leader);
    await arrives(3);
  });

  it('is promoted only when it is told to, and the former main cluster follows it', async () => {
    const leader = (await far.leader()) ?? '';
    await ctlFar(['promote-cluster', '--force']);
    await until('it takes writes', 10_000, async () => (await far.http(leader, '/primary')).status === 200);
    await far.sql(leader, 'insert into t values (10)');
    // What it commits now the other one never had.
    await main.sql('h1', 'insert into t values (11)');
    await ctlDone(main, ['demote-cluster', '--force', '--host', far.node(leader).host.address, '--port', '5432']);
    await until('the former main cluster has what is written here', 30_000, async () => {
      const rows = await main.sql('h1', 'select v from t order by v').catch(() => []);
      return (
        rows.map(({ v }) => v).join() === (await far.sql(leader, 'select v from t order by v')).map(({ v }) => v).join()
      );
    });
    expect((await main.http('h1', '/standby-leader')).status).toBe(200);
  });
});

// A member that does not stream, a slot in the main cluster, and a cluster that knows nothing but the archive.
(everything ? describeOnHosts : describe.skip)('what is read from an archive', () => {
  let main: Cluster;
  let slotted: Cluster;
  let archived: Cluster | null = null;
  let network: Network;
  let place: string;

  const inPlace = (name: string): string => join(place, name);
  const restore = (): string => `cp ${inPlace('archive')}/%f %p`;

  beforeAll(async () => {
    openRun();
    place = serverDirectory(mkdtempSync(join(runDirectory, 'archive')), 0o755);
    serverDirectory(inPlace('archive'));
    network = createNamespaces(['h1', 'h2', 'e1', 'client', 'f1', 'fe', 'fclient', 'g1', 'ge', 'gclient']);
    main = await Cluster.start({
      nodes: 2,
      network,
      parameters: {
        archive_mode: 'on',
        archive_command: `test ! -f ${inPlace('archive')}/%f && cp %p ${inPlace('archive')}/%f`,
      },
      node: (name) =>
        name === 'h2'
          ? { tags: { nostream: true }, postgresql: { recovery_conf: { restore_command: restore() } } }
          : {},
      notStarted: ['h2'],
    });
    await main.sql('h1', 'create table t (v int)');
    await main.sql('h1', "select pg_create_physical_replication_slot('site_b', true)");
    main.node('h2').daemon.start();
    slotted = await Cluster.start({
      nodes: 1,
      scope: 'slotted',
      network: seenFrom(network, { h1: 'f1', e1: 'fe', client: 'fclient' }),
      dontWait: true,
      dcs: { standby_cluster: { host: main.node('h1').host.address, port: 5432, primary_slot_name: 'site_b' } },
    });
  });
  afterAll(async () => {
    await archived?.destroy();
    await slotted?.destroy();
    await main?.destroy();
  });

  /** What is written in the main cluster, and archived, is read on the node. */
  async function arrives(cluster: Cluster, node: string, value: number): Promise<void> {
    await main.sql('h1', `insert into t values (${value})`);
    await main.sql('h1', 'select pg_switch_wal()');
    await until(`${value} is on ${node} of ${cluster.scope}`, 60_000, async () => {
      const rows = await cluster.sql(node, `select 1 from t where v = ${value}`).catch(() => []);
      return rows.length === 1;
    });
  }

  const receivers = async (cluster: Cluster, node: string): Promise<unknown> =>
    (await cluster.sql(node, 'select count(*)::int as n from pg_stat_wal_receiver'))[0]?.['n'];

  it('a member with the tag nostream gets everything, without a stream and without a slot', async () => {
    await arrives(main, 'h2', 1);
    expect(await receivers(main, 'h2')).toBe(0);
    const slots = await main.sql('h1', 'select slot_name::text as name from pg_replication_slots order by 1');
    expect(slots.map(({ name }) => name)).toEqual(['site_b']);
    await until('the list says so', 20_000, async () =>
      /\| h2 .*\| Replica *\| (running|in archive recovery)/.test(await ctlDone(main, ['list'])),
    );
  });

  it('a standby cluster uses the slot that it is given over there', async () => {
    await arrives(slotted, 'h1', 2);
    const slot = "select active from pg_replication_slots where slot_name = 'site_b'";
    await until('the slot is in use', 20_000, async () => (await main.sql('h1', slot))[0]?.['active'] === true);
  });

  it('a standby cluster that loses its host in the settings goes on from the archive', async () => {
    await ctlDone(slotted, [
      ...['edit-config', '--force'],
      ...['-s', 'standby_cluster.host=null', '-s', 'standby_cluster.port=null'],
      ...['-s', 'standby_cluster.primary_slot_name=null', '-s', `standby_cluster.restore_command=${restore()}`],
    ]);
    await until('nobody streams', 20_000, async () => (await receivers(slotted, 'h1')) === 0);
    await arrives(slotted, 'h1', 3);
    expect((await slotted.http('h1', '/standby-leader')).status).toBe(200);
    expect(await main.sql('h1', "select active from pg_replication_slots where slot_name = 'site_b'")).toEqual([
      { active: false },
    ]);
  });

  it('a standby cluster that knows the archive alone is made by a method of its own, and promoted', async () => {
    const backup = inPlace('backup');
    const { local, host } = main.node('h1');
    const program = [join(postgresBinDir() ?? '', 'pg_basebackup'), '-D', backup, '-c', 'fast', '-X', 'none'];
    const from = ['-h', local.host, '-p', String(local.port), '-U', local.user];
    const copied = await runOn(host, [...stepDown(true), ...program, ...from], { timeoutMs: 60_000 });
    expect(copied.stderr).not.toMatch(/error/);
    await main.sql('h1', 'select pg_switch_wal()');
    writeFileSync(
      inPlace('unpack'),
      `#!/bin/sh\nfor each in "$@"; do case $each in --datadir=*) exec cp -a ${backup}/. "\${each#--datadir=}"; esac; done\nexit 1\n`,
      { mode: 0o755 },
    );
    archived = await Cluster.start({
      nodes: 1,
      scope: 'archived',
      network: seenFrom(network, { h1: 'g1', e1: 'ge', client: 'gclient' }),
      dontWait: true,
      dcs: { standby_cluster: { restore_command: restore(), create_replica_methods: ['unpack'] } },
      node: () => ({ postgresql: { create_replica_methods: ['unpack'], unpack: { command: inPlace('unpack') } } }),
    });
    await arrives(archived, 'h1', 4);
    const answers = async (path: string, status: number): Promise<unknown> =>
      until(`${path} is ${status}`, 20_000, async () => (await archived?.http('h1', path))?.status === status);
    await answers('/standby-leader', 200);
    await ctlDone(archived, ['promote-cluster', '--force']);
    await answers('/primary', 200);
    await archived.sql('h1', 'insert into t values (100)');
  });
});
