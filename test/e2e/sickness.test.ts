/** A primary that answers and is sick: what is shown, who takes over, and that the sick one comes back without help. */
import { readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { postgresBinDir } from '../../scripts/ensure.mjs';
import { runOn } from './lib/client.ts';
import { Cluster } from './lib/cluster.ts';
import { Disk, disksUnavailable } from './lib/disk.ts';
import { stepDown } from './lib/launch.ts';
import { identify, signal } from './lib/processes.ts';
import { openRun, runDirectory } from './lib/run.ts';
import { ctlDone, describeOnHosts, endsWell, everything, sharedCluster } from './lib/scenario.ts';
import { monotonic, sleep, until } from './lib/time.ts';

const unavailable = disksUnavailable();
if (unavailable !== null) console.warn(`the end-to-end tests of sick primaries are skipped: ${unavailable}`);

describe.skipIf(unavailable !== null)('a primary that is sick', () => {
  let cluster: Cluster;
  const disks = new Map<string, Disk>();
  const disk = (node: string): Disk => {
    const found = disks.get(node);
    if (found === undefined) throw new Error(`${node} has no disk of its own`);
    return found;
  };

  beforeAll(async () => {
    const place = join(runDirectory, 'sick');
    cluster = await Cluster.start({
      nodes: 2,
      directory: place,
      // A file system that turns read-only forgets what was never brought to the disk.
      fsync: true,
      parameters: { dynamic_shared_memory_type: 'posix', archive_mode: 'on' },
      dcs: {
        disk_check_interval: 1,
        disk_hang_timeout: 2,
        sick_failover_delay: 2,
        sick_failover_rest: 3,
        crash_loop_count: 3,
        crash_loop_interval: 20,
        postgresql: { parameters: { archive_command: 'true' } },
      },
      node: (name) => {
        disks.set(name, Disk.at(join(place, name, 'data')));
        return {};
      },
    });
  });
  beforeEach(async () => {
    await cluster.waitAllStreaming(30_000);
    await until('nothing ails anybody', 20_000, async () => {
      const all = await Promise.all(cluster.nodes.map(({ name }) => health(name)));
      // Nor did it so lately that nobody would be handed the lead.
      return all.every(({ sick, agoMs }) => sick.length === 0 && (agoMs ?? 10_000) > 3_500);
    });
  });
  afterEach((context) => {
    for (const one of disks.values()) {
      one.thaw();
      one.makeRoom();
      one.fail(false);
    }
    if (context.task.result?.state !== 'fail') return;
    for (const error of context.task.result.errors ?? []) error.message = cluster.explain(error.message).message;
  });
  afterAll(async () => {
    await cluster?.destroy();
    for (const one of disks.values()) one.remove();
  });

  /** What a node says of itself. */
  async function health(node: string): Promise<{ sick: Readonly<Record<string, unknown>>[]; agoMs: number | null }> {
    const { body } = await cluster.http(node, '/patroni');
    const { pgha } = JSON.parse(body) as { pgha: { sick: Record<string, unknown>[]; ailed_ago_ms: number | null } };
    return { sick: pgha.sick, agoMs: pgha.ailed_ago_ms };
  }
  const sickness = (node: string, kind: string): Promise<Readonly<Record<string, unknown>>> =>
    until(`${node} says ${kind}`, 20_000, async () => {
      return (await health(node)).sick.find((one) => one['kind'] === kind) ?? null;
    });
  const wellAgain = (node: string): Promise<unknown> =>
    until(`nothing ails ${node} any more`, 20_000, async () => (await health(node)).sick.length === 0);
  /** In every place where people look. */
  async function isShown(node: string, word: string, sentence: string): Promise<void> {
    await until(`the member key of ${node} says ${word}`, 10_000, async () => {
      const { body } = await cluster.http(node, '/cluster');
      const { members } = JSON.parse(body) as { members: { name: string; trouble?: string }[] };
      return members.find((one) => one.name === node)?.trouble?.includes(word) === true;
    });
    expect(await ctlDone(cluster, ['list', '--extended'])).toContain(word);
    expect(await ctlDone(cluster, ['explain'])).toContain(sentence);
    expect(cluster.node(node).logText()).toContain('sickness.found');
    expect(await ctlDone(cluster, ['events'])).toContain('node_sick');
  }
  const decided = (node: string, rule: string): boolean => cluster.node(node).logText().includes(`rule=${rule}`);

  it('a full disk: shown, handed over in order to one with room, and back once there is room again', async () => {
    const old = await cluster.primary();
    await cluster.startWriter({ sessions: 2 });
    disk(old).fill();
    const { free_bytes: free } = await sickness(old, 'disk-full');
    expect(free).toBe(0);
    await cluster.waitForPrimary(30_000, [old]);
    await isShown(old, 'disk full', 'is full, 0 bytes free');
    disk(old).makeRoom();
    await endsWell(cluster);
    await wellAgain(old);
    expect(cluster.node(old).logText()).toContain('disk full: that is over');
  });

  it.runIf(everything)(
    'a full disk with on_disk_full: stay, and with nobody who has room, keeps its primary',
    async () => {
      const primary = await cluster.primary();
      for (const { name } of cluster.nodes) disk(name).fill();
      await sickness(primary, 'disk-full');
      await until('the primary has looked for somebody with room', 10_000, () =>
        decided(primary, 'leading.sick-stays'),
      );
      await sleep(4_000);
      expect(await cluster.leader()).toBe(primary);
      await ctlDone(cluster, ['edit-config', '-s', 'on_disk_full=stay', '--force']);
      for (const { name } of cluster.others(primary)) disk(name).makeRoom();
      await sleep(5_000);
      expect(await cluster.leader()).toBe(primary);
      disk(primary).makeRoom();
      await wellAgain(primary);
      await ctlDone(cluster, ['edit-config', '-s', 'on_disk_full=null', '--force']);
    },
  );

  it.runIf(everything)('I/O errors while Postgres still answers: ended, and another takes over', async (context) => {
    const old = await cluster.primary();
    if (!disk(old).canFail) context.skip('this kernel cannot make ext4 fail');
    await cluster.startWriter({ sessions: 2 });
    disk(old).fail(true);
    await sickness(old, 'disk-io-error');
    await cluster.waitForPrimary(30_000, [old]);
    await isShown(old, 'disk has errors', 'fails with I/O errors');
    disk(old).fail(false);
    await endsWell(cluster);
  });

  it.runIf(everything)(
    'a file system that turns read-only: another takes over, and after a repair the node is back',
    async () => {
      const old = await cluster.primary();
      await cluster.startWriter({ sessions: 2 });
      disk(old).turnReadOnly();
      await sickness(old, 'disk-read-only');
      await cluster.waitForPrimary(30_000, [old]);
      await isShown(old, 'disk read-only', 'is read-only');
      // Nobody can unmount what a process uses: the service is stopped for the repair.
      cluster.node(old).daemon.killForGood();
      await until('nobody uses the disk', 10_000, () => cluster.node(old).family().length === 0);
      await until('the disk is mounted anew', 10_000, () => {
        try {
          disk(old).mountAnew();
          return true;
        } catch {
          return false;
        }
      });
      cluster.node(old).daemon.start();
      await endsWell(cluster);
    },
  );

  it('a checkpointer that is stopped: told, and nothing is done by default', async () => {
    const primary = await cluster.primary();
    const checkpointer = cluster.backend(primary, 'checkpointer');
    if (checkpointer === null) throw new Error('there is no checkpointer');
    signal(checkpointer, 'SIGSTOP');
    try {
      await sickness(primary, 'checkpointer-stuck');
      await isShown(primary, 'checkpointer stuck', 'is stopped by a signal');
      await sleep(3_000);
      expect(await cluster.leader()).toBe(primary);
    } finally {
      signal(checkpointer, 'SIGCONT');
    }
    await wellAgain(primary);
  });

  it.runIf(everything)(
    'backends that are killed again and again, as for want of memory: the lead goes to a node where they are not',
    async () => {
      const old = await cluster.primary();
      await cluster.startWriter({ sessions: 2 });
      for (let i = 0; i < 3; i++) {
        await until('the server is up', 10_000, async () => (await cluster.http(old, '/primary')).status === 200);
        await killWriter(cluster, old);
        await sleep(1_000);
      }
      const { crashes } = await sickness(old, 'crash-loop');
      expect(crashes).toBe(3);
      await cluster.waitForPrimary(30_000, [old]);
      expect(decided(old, 'leading.sick-hands-over')).toBe(true);
      await isShown(old, 'crashes again and again', 'has crashed and restarted itself 3 times');
      await endsWell(cluster);
    },
  );

  it.runIf(everything)(
    'an archive_command that fails: told with the WAL that piles up, and the primary stays',
    async () => {
      const primary = await cluster.primary();
      const archive = (command: string) =>
        ctlDone(cluster, ['edit-config', '-s', `postgresql.parameters.archive_command=${command}`, '--force']);
      await archive('/bin/false');
      await until('the settings are there', 10_000, async () => {
        const [row] = await cluster.sql(primary, 'show archive_command');
        return row?.['archive_command'] === '/bin/false';
      });
      await cluster.sql(primary, 'select pg_switch_wal()');
      const said = await sickness(primary, 'archiver-failing');
      expect(said['files_waiting']).toBeGreaterThan(0);
      await isShown(primary, 'archiver fails', 'WAL cannot be archived');
      expect(await cluster.leader()).toBe(primary);
      await archive('/bin/true');
      await cluster.sql(primary, 'select pg_reload_conf()');
      await wellAgain(primary);
    },
  );

  it.runIf(everything)(
    'an archive_command that hangs: told, the primary stays, and a switchover is not held up by it',
    async () => {
      const primary = await cluster.primary();
      const archive = (command: string) =>
        ctlDone(cluster, ['edit-config', '-s', `postgresql.parameters.archive_command=${command}`, '--force']);
      await archive('sleep 1000');
      await until('the settings are there', 10_000, async () => {
        const [row] = await cluster.sql(primary, 'show archive_command');
        return row?.['archive_command'] === 'sleep 1000';
      });
      await cluster.startWriter({ sessions: 2 });
      await cluster.sql(primary, 'select pg_switch_wal()');
      const statuses = join(cluster.node(primary).dataDir, 'pg_wal/archive_status');
      const waiting = await until('a file waits for the archiver', 10_000, () =>
        readdirSync(statuses).find((name) => name.endsWith('.ready')),
      );
      // It has waited for six minutes; the test need not.
      const then = new Date(Date.now() - 360_000);
      utimesSync(join(statuses, waiting), then, then);
      const said = await sickness(primary, 'archiver-failing');
      expect(said['files_waiting']).toBeGreaterThan(0);
      await isShown(primary, 'archiver fails', 'WAL is not archived');
      expect(await cluster.leader()).toBe(primary);
      // A server that stops in order waits for its archiver; nobody may wait for that.
      const asked = monotonic();
      await ctlDone(cluster, ['switchover', '--force']);
      await cluster.waitForPrimary(20_000, [primary]);
      console.log(`switchover with an archiver that hangs: ${(monotonic() - asked).toFixed(0)} ms`);
      await archive('/bin/true');
      await endsWell(cluster);
      await wellAgain(primary);
    },
  );

  it.runIf(everything)('a disk that hangs while commits wait is told as what it is', async () => {
    const old = await cluster.primary();
    await cluster.startWriter({ sessions: 2 });
    disk(old).freeze();
    const { directories } = await sickness(old, 'disk-hangs');
    expect(directories).toEqual(['data', 'pg_wal']);
    await cluster.waitForPrimary(2 * cluster.ttlMs + 20_000, [old]);
    expect((await cluster.http(old, '/liveness')).status).toBe(200);
    disk(old).thaw();
    await endsWell(cluster);
  });
});

/** A backend in the middle of its work, as the kernel chooses it for want of memory. */
async function killWriter(cluster: Cluster, node: string): Promise<void> {
  const pid = await until('a session writes', 10_000, async () => {
    const [row] = await cluster.sql<{ pid: number }>(
      node,
      `select pid from pg_stat_activity
        where backend_type = 'client backend' and query ilike 'insert into e2e_ledger%' limit 1`,
    );
    return row?.pid ?? null;
  });
  const backend = identify(pid);
  if (backend !== null) signal(backend, 'SIGKILL');
}

describe.skipIf(unavailable !== null || !everything)('a primary whose WAL is on a disk of its own', () => {
  let cluster: Cluster;
  const disks: Disk[] = [];
  const dataOf = new Map<string, Disk>();
  const walOf = new Map<string, Disk>();
  const of = (all: ReadonlyMap<string, Disk>, node: string): Disk => all.get(node) ?? expect.fail(`${node}: no disk`);

  beforeAll(async () => {
    const place = join(runDirectory, 'two-disks');
    cluster = await Cluster.start({
      nodes: 2,
      directory: place,
      fsync: true,
      parameters: { dynamic_shared_memory_type: 'posix', max_wal_size: '64MB', min_wal_size: '32MB' },
      dcs: {
        disk_check_interval: 1,
        disk_hang_timeout: 2,
        sick_failover_delay: 2,
        sick_failover_rest: 3,
        postgresql: { parameters: { wal_keep_size: 0 } },
      },
      node: (name) => {
        const [data, wal] = [join(place, name, 'data'), join(place, name, 'wal')];
        dataOf.set(name, Disk.at(data));
        walOf.set(name, Disk.at(wal));
        disks.push(of(dataOf, name), of(walOf, name));
        return {
          bootstrap: { initdb: [{ encoding: 'UTF8' }, 'data-checksums', { waldir: wal }] },
          postgresql: { basebackup: [{ waldir: wal }] },
        };
      },
    });
  });
  beforeEach(async () => {
    await cluster.waitAllStreaming(30_000);
    // Who was sick a moment ago is handed nothing.
    await sleep(4_000);
  });
  afterEach((context) => {
    for (const one of disks) {
      one.thaw();
      one.makeRoom();
    }
    if (context.task.result?.state !== 'fail') return;
    for (const error of context.task.result.errors ?? []) error.message = cluster.explain(error.message).message;
  });
  afterAll(async () => {
    await cluster?.destroy();
    for (const one of disks) one.remove();
  });

  const sickOf = (node: string, kind: string): Promise<Readonly<Record<string, unknown>>> =>
    until(`${node} says ${kind}`, 20_000, async () => {
      const { body } = await cluster.http(node, '/patroni');
      const { pgha } = JSON.parse(body) as { pgha: { sick: Record<string, unknown>[] } };
      return pgha.sick.find((one) => one['kind'] === kind) ?? null;
    });

  it('it hangs: every commit waits, the primary is given up, and comes back as a standby', async () => {
    const old = await cluster.primary();
    await cluster.startWriter({ sessions: 2 });
    of(walOf, old).freeze();
    expect((await sickOf(old, 'disk-hangs'))['directories']).toEqual(['pg_wal']);
    await cluster.waitForPrimary(2 * cluster.ttlMs + 20_000, [old]);
    expect((await cluster.http(old, '/liveness')).status).toBe(200);
    of(walOf, old).thaw();
    await endsWell(cluster);
  });

  it('that of the data hangs and commits go on: told, ended, and another takes over', async () => {
    const old = await cluster.primary();
    await cluster.startWriter({ sessions: 2 });
    of(dataOf, old).freeze();
    expect((await sickOf(old, 'disk-hangs'))['directories']).toEqual(['data']);
    await cluster.waitForPrimary(2 * cluster.ttlMs + 20_000, [old]);
    of(dataOf, old).thaw();
    await endsWell(cluster);
  });

  it('it is full: handed over in order to one with room', async () => {
    const old = await cluster.primary();
    await cluster.startWriter({ sessions: 2 });
    of(walOf, old).fill();
    const { directories, free_bytes: free } = await sickOf(old, 'disk-full');
    expect({ directories, free }).toEqual({ directories: ['pg_wal'], free: 0 });
    await cluster.waitForPrimary(30_000, [old]);
    expect(cluster.node(old).logText()).toContain('rule=leading.sick-hands-over');
    of(walOf, old).makeRoom();
    await endsWell(cluster);
  });

  it('it is full, nobody looks, and Postgres ends itself: another takes over with every row', async () => {
    const old = await cluster.primary();
    await ctlDone(cluster, ['edit-config', '-s', 'on_disk_full=stay', '--force']);
    await cluster.startWriter({ sessions: 2 });
    const postmaster = cluster.node(old).postmaster();
    of(walOf, old).fill();
    await sickOf(old, 'disk-full');
    await cluster.sql(old, 'create table if not exists filling (text text)');
    await until('Postgres has ended itself', 60_000, async () => {
      await cluster
        .sql(old, `insert into filling select repeat(md5(i::text), 30) from generate_series(1, 20000) i`, 20_000)
        .catch(() => []);
      const now = cluster.node(old).postmaster();
      return now === null || now.pid !== postmaster?.pid || (await cluster.leader()) !== old;
    });
    await cluster.waitForPrimary(30_000, [old]);
    of(walOf, old).makeRoom();
    await endsWell(cluster);
    await ctlDone(cluster, ['edit-config', '-s', 'on_disk_full=null', '--force']);
  });
});

/** The first data directory: one that has seen 1.6 billion transactions, and was never vacuumed. */
const OLD_CLUSTER = `#!/bin/sh
set -e
for argument; do case $argument in --datadir=*) data=\${argument#--datadir=};; esac; done
BIN/initdb -D "$data" -E UTF8 -A trust --data-checksums >/dev/null
BIN/pg_resetwal -f -x 1600000000 -D "$data" >/dev/null
head -c 262144 /dev/zero > "$data/pg_xact/05F5"
`;

describeOnHosts('a cluster that was not vacuumed for 1.6 billion transactions', () => {
  const script = join(runDirectory, 'old-cluster.sh');
  const binaries = postgresBinDir() ?? '';
  const shared = sharedCluster({
    nodes: 2,
    // Or Postgres would see to it by itself.
    parameters: { autovacuum: 'off', autovacuum_freeze_max_age: 2_000_000_000 },
    dcs: { disk_check_interval: 1 },
    node: () => ({ bootstrap: { method: 'old', old: { command: script } } }),
  });
  beforeAll(() => {
    openRun();
    writeFileSync(script, OLD_CLUSTER.replaceAll('BIN', binaries), { mode: 0o755 });
  });

  it.runIf(everything)('a wraparound is near: told with the database, and over once it is vacuumed', async () => {
    const cluster = shared.current;
    const primary = await cluster.primary();
    await cluster.startWriter();
    const sick = async (): Promise<Readonly<Record<string, unknown>> | null> => {
      const { body } = await cluster.http(primary, '/patroni');
      const { pgha } = JSON.parse(body) as { pgha: { sick: Record<string, unknown>[] } };
      return pgha.sick.find((one) => one['kind'] === 'wraparound-near') ?? null;
    };
    const said = await until('the primary says so', 20_000, sick);
    expect(said['of']).toBe('transactions');
    expect(said['age']).toBeGreaterThan(1_500_000_000);
    await until('list shows it', 10_000, async () =>
      (await ctlDone(cluster, ['list', '--extended'])).includes('wraparound near'),
    );
    expect(await ctlDone(cluster, ['explain'])).toContain(`of database ${String(said['database'])} are`);
    expect(await ctlDone(cluster, ['events'])).toContain('node_sick');
    expect(cluster.node(primary).logText()).toContain('rule=leading.sick-stays');
    expect(await cluster.primary()).toBe(primary);
    await cluster.sql(primary, 'alter database template0 allow_connections true');
    const { host, pgPort } = cluster.node(primary);
    const vacuumed = await runOn(
      host,
      [
        ...stepDown(true),
        join(binaries, 'vacuumdb'),
        ...['-h', cluster.node(primary).socketDirectory, '-p', String(pgPort), '--all', '--freeze', '--quiet'],
      ],
      { timeoutMs: 60_000 },
    );
    expect(vacuumed).toMatchObject({ code: 0 });
    await until('that is over', 20_000, async () => (await sick()) === null);
    await endsWell(cluster);
  });
});
