/**
 * Patroni (Debian's package) and pgha in one cluster, both from Patroni's own file: each leads, each follows the other,
 * and the shipped script takes nodes from one to the other and back while a writer goes on.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { which } from '../../scripts/ensure.mjs';
import { repository, runOn } from './lib/client.ts';
import type { Cluster } from './lib/cluster.ts';
import { environment, nodeForServer } from './lib/launch.ts';
import { ctlDone, describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

async function patronictl(cluster: Cluster, ...args: string[]): Promise<string> {
  const command = [which('patronictl') ?? '', '-c', cluster.node('h1').configFile, ...args];
  const { code, stdout, stderr } = await runOn(cluster.network.host('client'), command, { timeoutMs: 60_000 });
  expect({ code, text: stdout + stderr }).toMatchObject({ code: 0 });
  return stdout;
}

type Row = Readonly<Record<string, unknown>>;

/** What both commands show of a member; Patroni 3 has no word for a standby that streams. */
const shown = (text: string): string[] =>
  (JSON.parse(text) as Row[]).map((row) =>
    [
      row['Cluster'],
      row['Member'],
      row['Host'],
      row['Role'],
      row['TL'],
      row['State'] === 'streaming' ? 'running' : row['State'],
    ].join(' '),
  );

/** Both commands show this leader, and the same of everybody. Members tell of themselves once in a loop. */
async function sameTable(cluster: Cluster, leader: string): Promise<void> {
  let last: unknown;
  try {
    await until('patronictl and pgha-ctl show the same table', 15_000, async () => {
      const theirs = shown(await patronictl(cluster, 'list', '-f', 'json'));
      const ours = shown(await ctlDone(cluster, ['list', '-f', 'json']));
      last = { theirs, ours };
      const rows = new Set(theirs);
      return (
        ours.length === 3 &&
        ours.every((row) => rows.has(row)) &&
        ours.some((row) => row.includes(` ${leader} `) && row.includes(' Leader '))
      );
    });
  } catch (error) {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`, { cause: error });
  }
}

async function switchover(cluster: Cluster, to: string, by: 'patronictl' | 'pgha-ctl'): Promise<void> {
  const from = (await cluster.leader()) ?? '';
  if (from === to) return;
  await cluster.startWriter();
  const began = monotonic();
  const words = ['--candidate', to, '--force'];
  if (by === 'patronictl')
    expect(await patronictl(cluster, 'switchover', '--master', from, ...words)).toContain(
      `Successfully switched over to "${to}"`,
    );
  else await ctlDone(cluster, ['switchover', '--leader', from, ...words]);
  await cluster.waitForWrites(20);
  expect(await cluster.primary()).toBe(to);
  const pause = await cluster.pauseSince(began);
  console.log(
    `switchover ${from} (${cluster.node(from).program}) -> ${to} (${cluster.node(to).program}) by ${by}: writes paused ${pause?.ms.toFixed(0)} ms`,
  );
  await endsWell(cluster);
}

/** Somebody else leads after this, and the one who was harmed comes back as a standby. */
async function failover(
  cluster: Cluster,
  what: string,
  next: string,
  harm: (old: string) => Promise<void> | void,
  heal: (old: string) => Promise<void> | void,
): Promise<void> {
  const old = await cluster.primary();
  await cluster.startWriter({ sessions: 4 });
  const began = monotonic();
  await harm(old);
  await cluster.waitForPrimary(
    40_000,
    cluster.others(next).map(({ name }) => name),
  );
  await cluster.waitForWrites(20);
  const pause = await cluster.pauseSince(began);
  console.log(
    `${what}: ${old} (${cluster.node(old).program}) -> ${next} (${cluster.node(next).program}): writes paused ${pause?.ms.toFixed(0)} ms`,
  );
  await heal(old);
  await endsWell(cluster, { limitMs: 60_000 });
}

const killNode = (cluster: Cluster, next: string): Promise<void> =>
  failover(
    cluster,
    'node lost',
    next,
    (old) => cluster.killNode(old),
    (old) => cluster.reviveNode(old),
  );

/** Runs the shipped script on a node. What it would ask systemd for, it asks us for. */
async function takeOver(cluster: Cluster, name: string, verb: 'forth' | 'back'): Promise<string> {
  const node = cluster.node(name);
  const request = join(node.directory, 'request');
  const ask = (what: string): string => `echo ${what} > ${request}; while [ -e ${request} ]; do sleep 0.1; done`;
  const command = (program: string): string => `${nodeForServer()} ${join(cluster.dist, program)}`;
  let ended = false;
  const run = runOn(node.host, ['sh', join(repository, 'config/from-patroni.sh'), verb, node.configFile], {
    timeoutMs: 120_000,
    env: environment(name, {
      RUN_PGHA: command('pgha.js'),
      RUN_PGHA_CTL: command('pgha-ctl.js'),
      STOP_PATRONI: ask('stop'),
      START_PATRONI: ask('start'),
      STOP_PGHA: ask('stop'),
      START_PGHA: ask('start'),
      LIMIT: '60',
      ...(name === 'h3' ? VARIABLES : {}),
    }),
  }).finally(() => {
    ended = true;
  });
  while (!ended) {
    const what = existsSync(request) ? readFileSync(request, 'utf8').trim() : '';
    if (what === 'stop') await node.daemon.stop(60_000);
    else if (what === 'start') {
      node.program = verb === 'forth' ? 'pgha' : 'patroni';
      node.daemon.start();
    }
    if (what !== '') rmSync(request);
    await sleep(50);
  }
  const { code, stdout, stderr } = await run;
  if (code !== 0) throw new Error(`from-patroni.sh ${verb} on ${name} ended with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

/** A member's slots on a node, and where they stand. */
async function slotsOn(cluster: Cluster, node: string): Promise<ReadonlyMap<string, number>> {
  const rows = await cluster.sql(
    node,
    "select slot_name, (restart_lsn - '0/0')::text as at from pg_replication_slots where slot_type = 'physical'",
  );
  return new Map(rows.map((row) => [String(row['slot_name']), Number(row['at'])]));
}

/** What the file of h3 leaves out, Patroni's variables say. */
const SAID_BY_VARIABLES = {
  name: undefined,
  restapi: undefined,
  postgresql: { connect_address: undefined, authentication: { replication: undefined } },
};
const VARIABLES = {
  PATRONI_NAME: 'h3',
  PATRONI_RESTAPI_LISTEN: '10.77.0.13:8008',
  PATRONI_RESTAPI_CONNECT_ADDRESS: '10.77.0.13:8008',
  PATRONI_POSTGRESQL_CONNECT_ADDRESS: '10.77.0.13:5432',
  PATRONI_REPLICATION_USERNAME: 'replicator',
  PATRONI_REPLICATION_PASSWORD: 'replicator-of-the-test',
  PATRONI_LOGLEVEL: 'INFO',
};

/** Debian's package brings both. */
const withPatroni =
  which('patroni') !== null && existsSync('/etc/patroni/config.yml.in') ? describeOnHosts : describe.skip;

withPatroni('Patroni and pgha in one cluster', () => {
  // h2 is never synchronous: in synchronous mode it is certain who follows whom.
  const shared = sharedCluster({
    program: (name) => (name === 'h3' ? 'pgha' : 'patroni'),
    node: (name) => (name === 'h2' ? { tags: { nosync: true } } : name === 'h3' ? SAID_BY_VARIABLES : {}),
    env: (name) => (name === 'h3' ? VARIABLES : {}),
    ttl: 8,
    loopWait: 1,
    retryTimeout: 3,
  });

  /** `null`: nobody is. */
  const synchronous = async (cluster: Cluster, name: string | null): Promise<void> => {
    await patronictl(cluster, 'edit-config', '--force', '-s', `synchronous_mode=${name !== null}`);
    await until(`${name ?? 'nobody'} is synchronous`, 30_000, async () => {
      const key = JSON.parse((await cluster.etcd.get(`/service/${cluster.scope}/sync`)) ?? '{}') as Row;
      return (key['sync_standby'] ?? null) === name;
    });
  };

  it('a switchover goes from Patroni to pgha and back, by either command, and both show the same table', async () => {
    const cluster = shared.current;
    await sameTable(cluster, await cluster.primary());
    await switchover(cluster, 'h3', 'patronictl');
    await sameTable(cluster, 'h3');
    await switchover(cluster, 'h1', 'pgha-ctl');
    // The slots that a standby keeps for the others move on with them, also under a leader that publishes no positions.
    const before = await slotsOn(cluster, 'h3');
    expect([...before.keys()].toSorted()).toEqual(['h1', 'h2']);
    await cluster.startWriter();
    await until('the slots on h3 move on', 20_000, async () => {
      const now = await slotsOn(cluster, 'h3');
      return ['h1', 'h2'].every((name) => (now.get(name) ?? 0) > (before.get(name) ?? 0));
    });
    await cluster.stopWriter();
  });

  it("with synchronous standbys nothing acknowledged is lost with the node of Patroni's leader, and it comes back", async () => {
    const cluster = shared.current;
    await switchover(cluster, 'h1', 'patronictl');
    await synchronous(cluster, 'h3');
    await killNode(cluster, 'h3');
    await synchronous(cluster, null);
  });

  it.runIf(everything)(
    'the script takes a node from Patroni to pgha and back under writes; Patroni leads two of pgha meanwhile',
    async () => {
      const cluster = shared.current;
      await switchover(cluster, 'h3', 'pgha-ctl');
      await cluster.startWriter();
      expect(await takeOver(cluster, 'h1', 'forth')).toContain('h1 runs pgha and streams');
      await endsWell(cluster);
      await switchover(cluster, 'h2', 'pgha-ctl');
      await sameTable(cluster, 'h2');
      await cluster.startWriter();
      expect(await takeOver(cluster, 'h1', 'back')).toContain('h1 runs Patroni and streams');
      await endsWell(cluster);
    },
  );

  describe.skipIf(!everything)('and all the rest of it', () => {
    it('nothing acknowledged is lost with the node of the leader of pgha, and it comes back', async () => {
      const cluster = shared.current;
      await switchover(cluster, 'h3', 'pgha-ctl');
      await synchronous(cluster, 'h1');
      await killNode(cluster, 'h1');
    });

    // Patroni 3.0 that is cut off may start Postgres twice, and remove the data below one of them (Debian's file has
    // remove_data_directory_on_rewind_failure): its node is switched off and on before it is connected again.
    const cutOff = (cluster: Cluster, next: string): Promise<void> =>
      failover(
        cluster,
        'node cut off',
        next,
        (old) => cluster.network.cut(old),
        async (old) => {
          const again = cluster.node(old).program === 'patroni';
          if (again) await cluster.killNode(old);
          cluster.network.healAll();
          if (again) cluster.reviveNode(old);
        },
      );

    it('a leader that is cut off stops writing before another one leads, and its WAL is undone: either way', async () => {
      const cluster = shared.current;
      await switchover(cluster, 'h1', 'patronictl');
      await synchronous(cluster, 'h3');
      await cutOff(cluster, 'h3');
      await synchronous(cluster, 'h1');
      await cutOff(cluster, 'h1');
      await synchronous(cluster, null);
    });

    it.each(['h1', 'h3'])(
      'Postgres of the leader %s is killed: it comes back, or somebody else goes on',
      async (name) => {
        const cluster = shared.current;
        await switchover(cluster, name, 'pgha-ctl');
        await cluster.startWriter({ sessions: 4 });
        cluster.killPostmaster(name);
        await cluster.waitForWrites(50);
        await endsWell(cluster);
      },
    );

    it.each(['h1', 'h3'])('the daemon of the leader %s is killed and started again: writes go on', async (name) => {
      const cluster = shared.current;
      await switchover(cluster, name, 'patronictl');
      await cluster.startWriter();
      cluster.node(name).daemon.kill();
      await cluster.waitForWrites(200);
      await endsWell(cluster);
      expect(await cluster.leader()).toBe(name);
    });

    it('the daemon of the leader of pgha stays away: its guard ends Postgres, and Patroni leads', async () => {
      const cluster = shared.current;
      await switchover(cluster, 'h3', 'patronictl');
      await synchronous(cluster, 'h1');
      const stays = (old: string): void => cluster.node(old).daemon.killForGood();
      await failover(cluster, 'daemon lost', 'h1', stays, (old) => cluster.node(old).daemon.start());
      await synchronous(cluster, null);
    });

    it('with failsafe_mode the leader goes on while etcd is away: of Patroni by the word of pgha, and the other way round', async () => {
      const cluster = shared.current;
      await patronictl(cluster, 'edit-config', '--force', '-s', 'failsafe_mode=true');
      for (const name of ['h1', 'h3']) {
        await switchover(cluster, name, 'patronictl');
        await until('everybody stands in the list', 20_000, async () => {
          const key = await cluster.etcd.get(`/service/${cluster.scope}/failsafe`);
          return Object.keys(JSON.parse(key ?? '{}') as Row).length === 3;
        });
        await cluster.startWriter();
        await cluster.etcd.killMember('etcd1');
        await sleep(2 * cluster.ttlMs);
        await cluster.waitForWrites(50);
        cluster.etcd.startMember('etcd1');
        await cluster.etcd.waitHealthy();
        await endsWell(cluster);
        expect(await cluster.leader()).toBe(name);
      }
      await patronictl(cluster, 'edit-config', '--force', '-s', 'failsafe_mode=false');
    });

    it('the history has a line for every timeline, whoever began it', async () => {
      const cluster = shared.current;
      const timeline = await cluster.timeline(await cluster.primary());
      await until('the history is complete', 15_000, async () => {
        const lines = JSON.parse((await cluster.etcd.get(`/service/${cluster.scope}/history`)) ?? '[]') as unknown[][];
        return lines.map(([id]) => id).join() === Array.from({ length: timeline - 1 }, (_, i) => i + 1).join();
      });
      expect((await patronictl(cluster, 'history', '-f', 'tsv')).trim().split('\n')).toHaveLength(timeline);
    });

    it('maintenance holds for both, whoever leads', async () => {
      const cluster = shared.current;
      await ctlDone(cluster, ['pause', '--wait']);
      await until('Patroni knows', 10_000, async () =>
        (await patronictl(cluster, 'list')).includes('Maintenance mode: on'),
      );
      await patronictl(cluster, 'resume', '--wait');
      await endsWellAfterWriting(cluster);
    });

    it('the whole cluster goes to pgha, leader and all, and back to Patroni', async () => {
      const cluster = shared.current;
      await switchover(cluster, 'h1', 'patronictl');
      for (const verb of ['forth', 'back'] as const) {
        for (const name of ['h1', 'h2', 'h3']) {
          if (verb === 'forth' && name === 'h3') continue;
          await cluster.startWriter();
          const began = monotonic();
          await takeOver(cluster, name, verb);
          const pause = await cluster.pauseSince(began);
          console.log(
            `${name} ${verb}: writes paused ${pause?.ms.toFixed(0)} ms, of ${(monotonic() - began).toFixed(0)} ms`,
          );
          await endsWell(cluster);
        }
      }
    });
  });
});

async function endsWellAfterWriting(cluster: Cluster): Promise<void> {
  await cluster.startWriter();
  await endsWell(cluster);
}
