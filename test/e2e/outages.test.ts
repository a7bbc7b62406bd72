/**
 * The table of docs/failsafe.md, cell by cell, on real processes: who goes on, who stops and who takes over for each
 * combination of etcd, members and clients that are out of reach, with and without failsafe_mode.
 */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Cluster } from './lib/cluster.ts';
import type { ProcessId } from './lib/processes.ts';
import { ctlDone, describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

type Outcome = 'the leader goes on' | 'another takes over' | 'nobody leads';

interface Cell {
  readonly what: string;
  /** Does the harm. @returns what ends it, beside cut links */
  readonly harm: (c: Cluster, leader: string) => undefined | (() => unknown) | Promise<undefined | (() => unknown)>;
  readonly without: Outcome;
  readonly withIt: Outcome;
  /** Acknowledged by a leader that no standby reached any more. */
  readonly mayLose?: true;
  /** The writer cannot reach the leader: its pauses say nothing. */
  readonly clientsCut?: true;
}

const noEtcd = (c: Cluster, node: string): void => {
  for (const { host } of c.etcd.members) c.network.cutBetween(node, host.name);
};
const nobodyHasEtcd = (c: Cluster): void => {
  for (const { name } of c.nodes) noEtcd(c, name);
};
const noDaemon = (c: Cluster, a: string, b: string): void => {
  c.network.cutPort(a, b, c.node(a).apiPort);
};
const noDaemons = (c: Cluster, node: string): void => {
  for (const { name } of c.others(node)) noDaemon(c, node, name);
};
const noClients = (c: Cluster, node: string): void => c.network.cutBetween(node, 'client');
const standby = (c: Cluster, leader: string): string => c.others(leader)[0]?.name ?? '';

async function etcdNames(c: Cluster): Promise<{ leader: string; followers: readonly string[] }> {
  const leader = await until('etcd has a leader', 10_000, () => c.etcd.leader());
  return { leader, followers: c.etcd.members.map(({ name }) => name).filter((name) => name !== leader) };
}
function freeze(c: Cluster, names: readonly string[]): () => Promise<void> {
  for (const name of names) c.etcd.freezeMember(name);
  return async () => {
    for (const name of names) c.etcd.thawMember(name);
    await c.etcd.waitHealthy();
  };
}
async function kill(c: Cluster, names: readonly string[]): Promise<() => Promise<void>> {
  for (const name of names) await c.etcd.killMember(name);
  return async () => {
    for (const name of names) c.etcd.startMember(name);
    await c.etcd.waitHealthy();
  };
}

/** Until writes are refused. Keepalives are answered all the while. */
async function fillEtcd(c: Cluster): Promise<() => Promise<void>> {
  const filling = 'x'.repeat(100 * 1_024);
  for (let i = 0; i < 120; i++) {
    const said = await c.etcd.etcdctl('put', `/filling/${i}`, filling).catch((error: unknown) => String(error));
    if (said.includes('space exceeded')) break;
  }
  expect(await c.etcd.etcdctl('alarm', 'list')).toContain('NOSPACE');
  return async () => {
    await c.etcd.etcdctl('alarm', 'disarm');
    await c.etcd.etcdctl('del', '/filling/', '--prefix');
    const [status] = JSON.parse(await c.etcd.etcdctl('endpoint', 'status', '-w', 'json')) as [
      { Status: { header: { revision: number } } },
    ];
    await c.etcd.etcdctl('compact', String(status.Status.header.revision));
    await c.etcd.etcdctl('defrag');
    await c.etcd.etcdctl('alarm', 'disarm');
    await c.etcd.waitHealthy();
  };
}

/** From here on everybody without a name is refused, and the nodes have none. */
async function refuseEverybody(c: Cluster): Promise<() => Promise<void>> {
  if (!(await c.etcd.etcdctl('user', 'list')).includes('root')) {
    await c.etcd.etcdctl('user', 'add', 'root:secret');
    await c.etcd.etcdctl('user', 'grant-role', 'root', 'root');
  }
  await c.etcd.etcdctl('auth', 'enable');
  return async () => {
    await c.etcd.etcdctl('--user', 'root:secret', 'auth', 'disable');
  };
}

const GOES_ON = 'the leader goes on';
const ANOTHER = 'another takes over';
const NOBODY = 'nobody leads';

const CELLS: readonly Cell[] = [
  {
    what: 'no clients reach the leader',
    harm: (c, leader) => void noClients(c, leader),
    without: GOES_ON,
    withIt: GOES_ON,
    clientsCut: true,
  },
  {
    what: 'the leader reaches etcd, and no member',
    harm: (c, leader) => void noDaemons(c, leader),
    without: GOES_ON,
    withIt: GOES_ON,
  },
  {
    what: 'one member does not reach etcd',
    harm: (c, leader) => void noEtcd(c, standby(c, leader)),
    without: GOES_ON,
    withIt: GOES_ON,
  },
  {
    what: 'the leader alone does not reach etcd',
    harm: (c, leader) => void noEtcd(c, leader),
    without: ANOTHER,
    withIt: GOES_ON,
  },
  {
    what: 'the leader alone does not reach etcd, and no clients reach it',
    harm: (c, leader) => {
      noEtcd(c, leader);
      noClients(c, leader);
    },
    without: ANOTHER,
    withIt: GOES_ON,
    clientsCut: true,
  },
  {
    what: 'the leader reaches neither etcd nor one member',
    harm: (c, leader) => {
      noEtcd(c, leader);
      noDaemon(c, leader, standby(c, leader));
    },
    without: ANOTHER,
    withIt: ANOTHER,
  },
  {
    what: 'the leader reaches neither etcd nor any member',
    harm: (c, leader) => {
      noEtcd(c, leader);
      noDaemons(c, leader);
    },
    without: ANOTHER,
    withIt: ANOTHER,
  },
  {
    what: 'the leader reaches nobody, and nobody reaches it',
    harm: (c, leader) => void c.network.cut(leader),
    without: ANOTHER,
    withIt: ANOTHER,
    mayLose: true,
  },
  { what: 'nobody reaches etcd', harm: (c) => void nobodyHasEtcd(c), without: NOBODY, withIt: GOES_ON },
  {
    what: 'nobody reaches etcd, and no clients reach the leader',
    harm: (c, leader) => {
      nobodyHasEtcd(c);
      noClients(c, leader);
    },
    without: NOBODY,
    withIt: GOES_ON,
    clientsCut: true,
  },
  {
    what: 'nobody reaches etcd, and one member is not to be reached',
    harm: (c, leader) => {
      nobodyHasEtcd(c);
      noDaemon(c, leader, standby(c, leader));
    },
    without: NOBODY,
    withIt: NOBODY,
  },
  {
    what: 'nobody reaches etcd, and one member is off',
    harm: async (c, leader) => {
      const off = standby(c, leader);
      await c.killNode(off);
      nobodyHasEtcd(c);
      return () => c.reviveNode(off);
    },
    without: NOBODY,
    withIt: NOBODY,
  },
  {
    what: 'nobody reaches etcd, and no member the leader',
    harm: (c, leader) => {
      nobodyHasEtcd(c);
      noDaemons(c, leader);
    },
    without: NOBODY,
    withIt: NOBODY,
  },
  {
    what: 'one member of etcd hangs',
    harm: async (c) => freeze(c, (await etcdNames(c)).followers.slice(0, 1)),
    without: GOES_ON,
    withIt: GOES_ON,
  },
  {
    what: "etcd's leader hangs",
    harm: async (c) => freeze(c, [(await etcdNames(c)).leader]),
    without: GOES_ON,
    withIt: GOES_ON,
  },
  {
    what: 'etcd has lost its majority, which was killed',
    harm: async (c) => {
      const { leader, followers } = await etcdNames(c);
      return kill(c, [leader, ...followers.slice(0, 1)]);
    },
    without: NOBODY,
    withIt: GOES_ON,
  },
  {
    what: 'etcd has lost its majority, which hangs',
    harm: async (c) => {
      const { leader, followers } = await etcdNames(c);
      return freeze(c, [leader, ...followers.slice(0, 1)]);
    },
    without: NOBODY,
    withIt: GOES_ON,
  },
  {
    what: 'all of etcd hangs',
    harm: (c) =>
      freeze(
        c,
        c.etcd.members.map(({ name }) => name),
      ),
    without: NOBODY,
    withIt: GOES_ON,
  },
  { what: 'etcd answers with errors only', harm: refuseEverybody, without: NOBODY, withIt: GOES_ON },
  { what: 'etcd is out of space', harm: fillEtcd, without: NOBODY, withIt: GOES_ON },
  {
    what: 'etcd was wiped, and is there',
    harm: async (c) => {
      await c.etcd.wipe();
      return undefined;
    },
    without: GOES_ON,
    withIt: GOES_ON,
  },
];

describeOnHosts('the table of etcd outages', () => {
  const shared = sharedCluster({
    etcdMembers: 3,
    ttl: 5,
    // Smaller than etcd itself would advise; its pages are 4 KiB.
    etcdArgs: ['--quota-backend-bytes', String(8 * 1024 * 1024)],
  });

  for (const failsafe of [false, true]) {
    for (const cell of CELLS) {
      const expected = failsafe ? cell.withIt : cell.without;
      it.runIf(everything)(`${failsafe ? 'failsafe: ' : ''}${cell.what}: ${expected}`, async () => {
        const cluster = shared.current;
        await setFailsafe(cluster, failsafe);
        const leader = await cluster.primary();
        const id = await systemId(cluster, leader);
        const before = { timeline: await cluster.timeline(leader), postmaster: cluster.node(leader).postmaster() };
        await cluster.startWriter({ sessions: 2 });
        // The cell before has ended with a new leader, perhaps: the others confirm him once they have read of him.
        if (failsafe) await sleep(cluster.ttlMs);
        const since = monotonic();
        const end = await cell.harm(cluster, leader);
        try {
          await comesTrue(cluster, expected, leader, before);
          if (expected === GOES_ON && cell.clientsCut !== true)
            expect((await cluster.pauseSince(since))?.ms ?? 0).toBeLessThan(cluster.ttlMs);
        } finally {
          cluster.network.healAll();
          await end?.();
        }
        await endsWell(cluster, { mayLose: cell.mayLose === true });
        expect(await systemId(cluster, await cluster.primary())).toBe(id);
        if (expected === GOES_ON) {
          expect(await cluster.primary()).toBe(leader);
          expect(await cluster.timeline(leader)).toBe(before.timeline);
        }
      });
    }

    it.runIf(everything)(
      `${failsafe ? 'failsafe: ' : ''}etcd was restored from an older backup: one leads, with its data`,
      async () => {
        const cluster = shared.current;
        await setFailsafe(cluster, failsafe);
        const backup = join(cluster.directory, `backup-${failsafe}`);
        await cluster.etcd.backUp(backup);
        const old = await cluster.primary();
        const id = await systemId(cluster, old);
        await ctlDone(cluster, ['switchover', '--force']);
        await cluster.waitAllStreaming();
        const leader = await cluster.primary();
        expect(leader).not.toBe(old);
        await cluster.startWriter({ sessions: 2 });
        const since = monotonic();
        await cluster.etcd.restore(backup);
        await sleep(2 * cluster.ttlMs);
        const pause = await cluster.pauseSince(since);
        console.log(`etcd restored: writes paused ${pause?.ms.toFixed(0)} ms`);
        await endsWell(cluster);
        expect(await systemId(cluster, await cluster.primary())).toBe(id);
        expect(cluster.nodes.some((node) => node.logText().includes('dcs.history-restarted'))).toBe(true);
      },
    );
  }
});

interface Before {
  readonly timeline: number;
  readonly postmaster: ProcessId | null;
}

async function comesTrue(cluster: Cluster, expected: Outcome, leader: string, before: Before): Promise<void> {
  const { timeline, postmaster } = before;
  if (expected === GOES_ON) {
    // Every window and every gate of before has passed by then.
    const end = monotonic() + 2 * cluster.ttlMs;
    while (monotonic() < end) {
      expect((await cluster.primaries()).filter((name) => name !== leader)).toEqual([]);
      await sleep(500);
    }
    expect(await cluster.primary()).toBe(leader);
    expect(await cluster.timeline(leader)).toBe(timeline);
    expect(cluster.node(leader).postmaster(), 'it was not stopped meanwhile').toEqual(postmaster);
  } else {
    await until(`${leader} stops accepting writes`, cluster.ttlMs + 2_000, async () => {
      return !(await cluster.primaries()).includes(leader);
    });
    if (expected === ANOTHER) await cluster.waitForPrimary(cluster.ttlMs + 15_000, [leader]);
    else {
      const end = monotonic() + cluster.ttlMs + 2_000;
      while (monotonic() < end) {
        expect(await cluster.primaries()).toEqual([]);
        await sleep(500);
      }
    }
  }
}

async function setFailsafe(cluster: Cluster, on: boolean): Promise<void> {
  await ctlDone(cluster, ['edit-config', '--force', '-s', `failsafe_mode=${on}`]);
  await until(on ? 'all nodes stand in the failsafe list' : 'there is no failsafe list', 15_000, async () => {
    const list = JSON.parse((await cluster.etcd.get(`/service/${cluster.scope}/failsafe`)) ?? '{}') as object;
    return Object.keys(list).length === (on ? cluster.nodes.length : 0);
  });
}

async function systemId(cluster: Cluster, node: string): Promise<unknown> {
  const [row] = await cluster.sql(node, 'select system_identifier::text as id from pg_control_system()');
  return row?.['id'];
}
