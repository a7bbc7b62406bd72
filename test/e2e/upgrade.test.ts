/** The daemon, and the guard, are restarted or replaced by another version while Postgres goes on. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Cluster } from './lib/cluster.ts';
import { LATER_VERSION, makeLater, replaceProgram } from './lib/later-version.ts';
import type { ProcessId } from './lib/processes.ts';
import { ctlDone, describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

const programs = (cluster: Cluster, node: string): string => join(cluster.node(node).directory, 'programs');

/** What a restart of daemons must leave as it is. */
async function untouched(cluster: Cluster) {
  const primary = await cluster.primary();
  const key = JSON.parse(await cluster.etcd.etcdctl('get', `/service/${cluster.scope}/leader`, '-w', 'json')) as {
    readonly kvs: readonly { readonly mod_revision: number; readonly lease: number }[];
  };
  return {
    primary,
    timeline: await cluster.timeline(primary),
    // The term, and the lease it hangs on.
    key: { term: key.kvs[0]?.mod_revision, lease: key.kvs[0]?.lease },
    postmasters: cluster.nodes.map((node) => node.postmaster()),
  };
}

/**
 * With a window in which also a daemon on a machine that does many other things is there in time: it refuses to make room
 * where the next one might not be.
 */
async function takesItsTime(cluster: Cluster): Promise<void> {
  await ctlDone(cluster, ['edit-config', '-s', 'ttl=30', '--force']);
  await until('the leader beats with the new ttl', 20_000, async () => {
    const status = (await cluster.etcd.get(`/service/${cluster.scope}/status`)) ?? '{}';
    return (JSON.parse(status) as { pgha?: { hold_ms?: number } }).pgha?.hold_ms === 30_000;
  });
}

const daemons = (cluster: Cluster): (ProcessId | null)[] => cluster.nodes.map((node) => node.daemon.id());
const guards = (cluster: Cluster): (ProcessId | null)[] => cluster.nodes.map((node) => node.guard());

/** How long `/primary` of a node did not answer 200, asked every few milliseconds until `work` has ended. */
async function darkFor(cluster: Cluster, node: string, work: () => Promise<unknown>): Promise<number> {
  let ended = false;
  const done = work().finally(() => {
    ended = true;
  });
  done.catch(() => undefined);
  let [dark, longest, last] = [0, 0, monotonic()];
  while (!ended) {
    const { status } = await cluster.http(node, '/primary', { timeoutMs: 500 });
    const now = monotonic();
    dark = status === 200 ? 0 : dark + now - last;
    longest = Math.max(longest, dark);
    last = now;
    await sleep(5);
  }
  await done;
  return longest;
}

describeOnHosts('the daemon is restarted', () => {
  const shared = sharedCluster({ ownPrograms: true });

  it('on all members, the leader last: no write fails, and Postgres, term and lease stay', async () => {
    const cluster = shared.current;
    await takesItsTime(cluster);
    const before = await untouched(cluster);
    const [ids, guarding] = [daemons(cluster), guards(cluster)];
    await cluster.startWriter({ sessions: 4 });
    const since = monotonic();
    let said = '';
    const dark = await darkFor(cluster, before.primary, async () => {
      said = await ctlDone(cluster, ['restart-daemon', '--force']);
    });
    expect(said.match(/Success: restart-daemon on member/g)).toHaveLength(3);
    expect(said.trim().split('\n').at(-1)).toContain(`member ${before.primary}`);
    // By then the next one leads by proofs of its own.
    await sleep(cluster.ttlMs / 2);
    const pause = await cluster.pauseSince(since);
    const report = await cluster.writerReport();
    expect({ failed: report.failed, unknown: report.unknown }).toEqual({ failed: [], unknown: [] });
    expect(await untouched(cluster)).toEqual(before);
    expect(guards(cluster)).toEqual(guarding);
    daemons(cluster).forEach((id, index) => {
      expect(id?.pid).not.toBe(ids[index]?.pid);
    });
    console.log(
      `${said.trim()}\n/primary was not 200 for ${dark.toFixed(0)} ms; no write waited ${pause?.ms.toFixed(0)} ms`,
    );
    await endsWell(cluster);
  });

  it('by a signal, with programs that do not start: says why, and goes on', async () => {
    const cluster = shared.current;
    await takesItsTime(cluster);
    const { primary } = await untouched(cluster);
    const node = cluster.node(primary);
    const [before, id] = [await untouched(cluster), node.daemon.id()];
    await cluster.startWriter();
    for (const [file, text] of [
      ['pgha.js', 'throw new Error("half an upgrade");'],
      ['guard.js', 'import "./not-there.js";'],
    ] as const) {
      const mend = replaceProgram(programs(cluster, primary), file, () => text);
      const { code, stdout } = await cluster.ctl(['restart-daemon', cluster.scope, primary, '--force']);
      mend();
      expect({ code, stdout }).toMatchObject({ code: 1, stdout: expect.stringContaining(`${file} does not start`) });
    }
    const mend = replaceProgram(programs(cluster, primary), 'pgha.js', () => 'process.exit(1);');
    node.daemon.send('SIGUSR2');
    await until('the daemon says that it goes on', 15_000, () =>
      /restart.refused .*this daemon goes on: .*pgha.js does not start: /.test(
        node.logText().split('\n').slice(-5).join('\n'),
      ),
    );
    mend();
    expect(node.daemon.id()).toEqual(id);
    expect(await untouched(cluster)).toEqual(before);
    await endsWell(cluster);
  });

  it.skipIf(!everything)(
    'with a program that ends as soon as it runs: another takes over, and nothing is lost',
    async () => {
      const cluster = shared.current;
      const old = await cluster.primary();
      await cluster.startWriter();
      // Its version and its configuration can be asked for; only as the service it does not come up.
      const mend = replaceProgram(programs(cluster, old), 'pgha.js', (text) => {
        const [shebang, ...rest] = text.split('\n');
        return `${shebang}\nif (!process.argv[2].startsWith('--')) process.exit(1);\n${rest.join('\n')}`;
      });
      const { code, stdout } = await cluster.ctl(['restart-daemon', cluster.scope, old, '--force']);
      expect({ code, stdout }).toMatchObject({
        code: 1,
        stdout: expect.stringContaining('no daemon was back as before'),
      });
      await cluster.waitForPrimary(60_000, [old]);
      expect(cluster.node(old).family()).toEqual([]);
      mend();
      await endsWell(cluster);
    },
  );

  it('of another version, member by member: both stand in one cluster, and hand over to each other', async () => {
    const cluster = shared.current;
    await takesItsTime(cluster);
    const [first, guarding] = [await untouched(cluster), guards(cluster)];
    const [later = '', other = ''] = cluster.others(first.primary).map(({ name }) => name);
    await cluster.startWriter({ sessions: 2 });
    makeLater(programs(cluster, later));
    const said = await ctlDone(cluster, ['restart-daemon', cluster.scope, later, '--force']);
    expect(said).toContain(`pgha 0.1.0 -> ${LATER_VERSION}`);
    expect(await untouched(cluster)).toEqual(first);

    // The later version leads the present one, and the other way round.
    await ctlDone(cluster, ['switchover', '--candidate', later, '--force']);
    await cluster.waitAllStreaming();
    cluster.killPostmaster(later);
    const second = await cluster.waitForPrimary(15_000, [later]);
    await cluster.waitAllStreaming();

    // The leader itself, and with it the guard: its program is another one now.
    makeLater(programs(cluster, second));
    const before = await untouched(cluster);
    await ctlDone(cluster, ['restart-daemon', cluster.scope, second, '--force']);
    const index = cluster.nodes.findIndex(({ name }) => name === second);
    await until('the guard is of the later version', 15_000, () => {
      const guard = cluster.node(second).guard();
      return guard !== null && guard.pid !== guarding[index]?.pid;
    });
    expect(await untouched(cluster)).toEqual(before);
    const last = [first.primary, other].find((name) => name !== second) ?? '';
    const versions = await ctlDone(cluster, ['version', cluster.scope]);
    expect(versions).toContain(`${last}: pgha 0.1.0,`);
    expect(versions).toContain(`${second}: pgha ${LATER_VERSION},`);
    await endsWell(cluster);
    for (const { name } of cluster.nodes)
      expect(cluster.node(name).logText(), name).not.toMatch(
        /dcs.value-not-understood|state.unreadable|ended with an error that nobody expected/,
      );
  });
});

describeOnHosts('the daemon of the leader is killed while etcd is away', () => {
  const shared = sharedCluster({ ttl: 10, dcs: { failsafe_mode: true } });
  const away = (cluster: Cluster, name: 'freezeMember' | 'thawMember'): void => {
    for (const member of cluster.etcd.members) cluster.etcd[name](member.name);
  };

  it.skipIf(!everything)('in failsafe mode: the next one goes on with the word of the members', async () => {
    const cluster = shared.current;
    await until('all nodes stand in the failsafe list', 15_000, async () => {
      const list = JSON.parse((await cluster.etcd.get(`/service/${cluster.scope}/failsafe`)) ?? '{}') as object;
      return Object.keys(list).length === cluster.nodes.length;
    });
    await sleep(1_000);
    const before = await untouched(cluster);
    await cluster.startWriter();
    const since = monotonic();
    away(cluster, 'freezeMember');
    await sleep(cluster.ttlMs / 2);
    cluster.node(before.primary).daemon.kill();
    await sleep(2 * cluster.ttlMs);
    expect((await cluster.http(before.primary, '/primary')).status).toBe(200);
    away(cluster, 'thawMember');
    expect((await cluster.pauseSince(since))?.ms).toBeLessThan(1_000);
    await endsWell(cluster);
    expect((await untouched(cluster)).postmasters).toEqual(before.postmasters);
  });

  it.skipIf(!everything)('in maintenance: Postgres goes on, and the next one leads when etcd is back', async () => {
    const cluster = shared.current;
    await ctlDone(cluster, ['pause', '--wait']);
    const before = await untouched(cluster);
    await cluster.startWriter();
    const since = monotonic();
    away(cluster, 'freezeMember');
    await sleep(1_000);
    cluster.node(before.primary).daemon.kill();
    await sleep(2 * cluster.ttlMs);
    away(cluster, 'thawMember');
    await sleep(2_000);
    await ctlDone(cluster, ['resume', '--wait']);
    await sleep(2 * cluster.ttlMs);
    expect((await cluster.pauseSince(since))?.ms).toBeLessThan(1_000);
    const after = await untouched(cluster);
    expect([after.primary, after.timeline, after.postmasters]).toEqual([
      before.primary,
      before.timeline,
      before.postmasters,
    ]);
    await endsWell(cluster);
  });
});
