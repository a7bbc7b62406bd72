/**
 * The way back of a node against real servers: what is kept of the WAL that it loses, rewinds whose WAL is missing, and
 * copies by every method, with tools that fail, hang and leave garbage.
 */
import {
  access,
  chmod,
  copyFile,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Lsn, lsn, parseLsn, printLsn, segmentName, type Timeline, timeline } from '../../src/core/lsn.ts';
import { millis } from '../../src/core/time.ts';
import { kinship } from '../../src/core/timeline.ts';
import type { DiscardedWal } from '../../src/ports/postgres.ts';
import { runCommand } from '../../src/postgres/command.ts';
import {
  becomePostgres,
  type OwnSettings,
  type PostgresServers,
  postgresServers,
  SETTINGS,
  type TestServer,
} from './postgres-server.ts';

becomePostgres();

let servers: PostgresServers;
beforeEach(async () => {
  servers = await postgresServers();
});
afterEach(async () => {
  await servers.end();
});

const REWINDABLE = { ...SETTINGS, usePgRewind: true };
const SEGMENT = 16n << 20n;
const quiet = (): void => undefined;
const unhindered = async (): Promise<void> => undefined;
/** Of whatever cluster, and for whatever copy. */
const ANY = { systemId: null, source: null, signal: new AbortController().signal };
const within = (ms: number): AbortSignal => AbortSignal.timeout(ms);

interface Parted {
  /** Killed, with WAL that `leader` never had. */
  readonly old: TestServer;
  readonly leader: TestServer;
  readonly timeline: Timeline;
  readonly from: Lsn;
  readonly to: Lsn;
}

/** `a` goes on for `tail` after `b` stopped receiving, is killed, and `b` is promoted. @param before - both have this */
async function parted(
  tail: readonly string[],
  postgresql: OwnSettings = {},
  before: readonly string[] = [],
): Promise<Parted> {
  const a = await servers.addCluster('a', postgresql);
  await a.instance.startPrimary(REWINDABLE);
  await a.until('primary');
  await a.sql('CREATE TABLE t (n int)');
  const b = await servers.addCopy('b', a);
  await b.instance.startStandby(a.address, REWINDABLE);
  await b.until('standby', (standby) => standby.receiver?.streaming === true);
  for (const statement of [...before, 'INSERT INTO t VALUES (1)']) await a.sql(statement);
  const sent = parseLsn(String((await a.sql('SELECT pg_current_wal_flush_lsn()::text AS at'))[0]?.['at']));
  await b.until('standby', (standby) => standby.replayed >= sent);
  await b.instance.withdraw(within(5_000));
  for (const statement of tail) await a.sql(statement);
  await a.instance.stop('immediate', millis(1_000));
  await b.instance.promote(() => true, within(5_000));
  const history = await b.instance.ownHistory(timeline(2));
  const from = history.at(-1)?.switchedAt;
  if (from === undefined) throw new Error('b was not promoted');
  await b.sql('INSERT INTO t VALUES (2)');
  return { old: a, leader: b, timeline: timeline(1), from, to: await endOf(a) };
}

async function endOf(server: TestServer): Promise<Lsn> {
  const { checkpoint } = await server.until('stopped');
  return server.instance.endOfWal(timeline(1), checkpoint);
}

const keep = ({ old, leader, ...range }: Parted): Promise<DiscardedWal> =>
  old.instance.keepDiscarded({ ...range, leader: leader.name }, quiet, within(30_000));

async function comesBack(old: TestServer, leader: TestServer): Promise<void> {
  await old.instance.startStandby(leader.address, REWINDABLE);
  await old.until('standby', (standby) => standby.timeline === 2 && standby.receiver?.streaming === true);
  const end = parseLsn(String((await leader.sql('SELECT pg_current_wal_flush_lsn()::text AS at'))[0]?.['at']));
  await old.until('standby', (standby) => standby.replayed >= end);
  const rows = await old.sql('SELECT n FROM t ORDER BY n');
  expect(rows.map((row) => row['n'])).toEqual([1, 2]);
}

describe('a timeline that was lost with its server', () => {
  test('is not begun again by a server that never heard of it, and whoever comes back from it is told apart', async () => {
    const { old: a, leader: b } = await parted([]);
    // `a` ended where `b` was promoted: it stands for a standby that had everything.
    await b.instance.stop('immediate', millis(1_000));
    await a.instance.startStandby(null, REWINDABLE);
    await a.until('standby');
    const c = await servers.addCopy('c', a);
    await c.instance.startStandby(a.address, REWINDABLE);
    await c.until('standby', (standby) => standby.receiver !== null || standby.follows !== null);

    await a.instance.promote(() => true, within(5_000), { taken: [timeline(2)] });
    expect(await a.until('primary')).toMatchObject({ timeline: 3 });
    const history = await a.instance.ownHistory(timeline(3));
    expect(history.map((entry) => entry.timeline)).toEqual([1]);
    await a.sql('INSERT INTO t VALUES (3)');

    const rows = async (of: TestServer): Promise<unknown> =>
      (await of.sql('SELECT n FROM t ORDER BY n')).map((r) => r['n']);
    const streams = async (of: TestServer): Promise<void> => {
      await of.until('standby', (standby) => standby.timeline === 3 && standby.receiver?.streaming === true);
      const end = parseLsn(String((await a.sql('SELECT pg_current_wal_flush_lsn()::text AS at'))[0]?.['at']));
      await of.until('standby', (standby) => standby.replayed >= end);
      expect(await rows(of)).toEqual([1, 3]);
    };
    await c.instance.follow(a.address);
    await streams(c);

    const { checkpoint } = await b.until('stopped');
    const end = await b.instance.endOfWal(timeline(2), checkpoint);
    const own = { timeline: timeline(2), end, history: await b.instance.ownHistory(timeline(2)) };
    expect(kinship(own, { timeline: timeline(3), history })).toMatchObject({ kind: 'diverged' });
    await b.instance.rewind(a.address, REWINDABLE, quiet, within(60_000));
    await b.instance.startStandby(a.address, REWINDABLE);
    await streams(b);
  });
});

describe('WAL that is thrown away', () => {
  test('is kept with a report of its transactions, can be read, and stays as it was through the rewind', async () => {
    const began = Date.now();
    const all = await parted([
      'INSERT INTO t VALUES (-1)',
      'INSERT INTO t VALUES (-2)',
      'BEGIN; INSERT INTO t VALUES (-3); ROLLBACK',
      'SELECT pg_switch_wal()',
      'INSERT INTO t VALUES (-4)',
    ]);
    const { old, leader } = all;
    // Of what the new leader has: before anything that is undone was committed.
    const { recoveredUpTo } = await leader.until('primary');
    expect(Date.parse(recoveredUpTo ?? '')).toBeGreaterThan(began);
    const kept = await keep(all);
    expect(kept).toMatchObject({ commits: 3, again: false, trouble: null });
    expect(Date.parse(kept.firstCommit ?? '')).toBeGreaterThanOrEqual(began - 1);
    expect(Date.parse(kept.lastCommit ?? '')).toBeGreaterThanOrEqual(Date.parse(kept.firstCommit ?? ''));
    const directory = kept.kept ?? '';
    const report = JSON.parse(await readFile(join(directory, 'report.json'), 'utf8')) as Record<string, unknown>;
    expect(report).toMatchObject({
      node: 'a',
      leader: 'b',
      timeline: 1,
      from: printLsn(all.from),
      to: printLsn(all.to),
      complete: true,
      transactions: { commits: 3 },
    });
    expect((report['segments'] as string[]).length).toBe(2);

    // A second try finds it kept.
    expect(await keep(all)).toMatchObject({ again: true, kept: directory, commits: 3 });
    await old.instance.rewind(leader.address, REWINDABLE, quiet, within(60_000));
    await comesBack(old, leader);
    const place = await old.instance.open();
    const words = String(report['look']).split(' ');
    const read = await runCommand(place, 'pg_waldump', [...words.slice(1), '--rmgr=Transaction']);
    expect(read.stdout.match(/desc: COMMIT/g)).toHaveLength(3);
  });

  test('is not kept beyond its bounds: the oldest goes first, and what is too long is cut', async () => {
    const all = await parted(['INSERT INTO t VALUES (-1)', 'SELECT pg_switch_wal()', 'INSERT INTO t VALUES (-2)'], {
      discarded_wal_size: '16MB',
      discarded_wal_number: 2,
    });
    const root = `${all.old.dataDir}.discarded-wal`;
    const older = ['20200101T000000Z-timeline-1-from-0-1', '20210101T000000Z-timeline-1-from-0-2'];
    for (const name of [...older, '20220101T000000Z-timeline-1-from-0-3.unfinished', 'of-somebody-else'])
      await mkdir(join(root, name), { recursive: true });
    await writeFile(join(root, older[1] ?? '', 'x'), 'x');
    const kept = await keep(all);
    expect(kept.trouble).toMatch(/only the first 1 of 2 segments/);
    expect(kept.commits).toBe(2);
    const left = await readdir(root);
    expect(left.sort()).toEqual([kept.kept?.split('/').at(-1), 'of-somebody-else'].sort());
  });

  test('where it cannot be kept, its transactions are told all the same', async () => {
    const all = await parted(['INSERT INTO t VALUES (-1)'], { discarded_wal_number: 0 });
    expect(await keep(all)).toMatchObject({ kept: null, commits: 1, trouble: expect.stringContaining('not kept') });
    const blocked = { ...all, old: all.old };
    await writeFile(`${all.old.dataDir}.discarded-wal`, 'a file in the way');
    expect(await keep(blocked)).toMatchObject({ kept: null, commits: 1 });
  });
});

/** The last common checkpoint lies a segment before the point where histories part, and recovery does not need it. */
const FAR: readonly string[] = ['SELECT pg_switch_wal()', 'CREATE TABLE u (n int)'];
const RECYCLED = ['INSERT INTO t VALUES (-1)', 'CHECKPOINT', 'INSERT INTO t VALUES (-2)'];

/** Every segment before that of `from` goes. @returns their names */
async function recycle(server: TestServer, from: Lsn): Promise<readonly string[]> {
  const kept = segmentName(timeline(1), from, 16n << 20n);
  const wal = join(server.dataDir, 'pg_wal');
  const old = (await readdir(wal)).filter((name) => /^[0-9A-F]{24}$/.test(name) && name < kept).sort();
  for (const name of old) await rm(join(wal, name));
  return old;
}

describe('a rewind whose WAL is recycled here', () => {
  test('fetches what is missing from the new leader', async () => {
    const { old, leader, from } = await parted(RECYCLED, {}, FAR);
    expect(await recycle(old, from)).not.toEqual([]);
    const told: string[] = [];
    await old.instance.rewind(leader.address, REWINDABLE, (sentence) => told.push(sentence), within(60_000));
    expect(told.join('\n')).toContain('fetching WAL that is missing here from b');
    await comesBack(old, leader);
  });

  test('fetches it with restore_command, and without either changes nothing', async () => {
    const archive = join(servers.directory, 'archive');
    await mkdir(archive);
    const restore = { parameters: { restore_command: `cp ${archive}/%f %p` } };
    const { old, leader, from } = await parted(RECYCLED, restore, FAR);
    const wal = join(old.dataDir, 'pg_wal');
    for (const name of await readdir(wal)) if (name.length === 24) await copyFile(join(wal, name), join(archive, name));
    await recycle(old, from);
    await recycle(leader, from);
    const hidden = `${archive}.hidden`;
    await runCommand(await old.instance.open(), '/bin/mv', [archive, hidden]);
    await expect(old.instance.rewind(leader.address, REWINDABLE, quiet, within(60_000))).rejects.toMatchObject({
      code: 'PGHA_REWIND_FAILED',
    });
    expect((await old.look()).kind).toBe('stopped');
    await runCommand(await old.instance.open(), '/bin/mv', [hidden, archive]);
    await old.instance.rewind(leader.address, REWINDABLE, quiet, within(60_000));
    await comesBack(old, leader);
  });
});

describe('methods of copying', () => {
  const exists = (path: string): Promise<boolean> =>
    access(path).then(
      () => true,
      () => false,
    );

  async function leading(): Promise<TestServer> {
    const a = await servers.addCluster('a');
    await a.instance.startPrimary(SETTINGS);
    await a.until('primary');
    return a;
  }

  async function script(name: string, text: string): Promise<string> {
    const path = join(servers.directory, name);
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, 0o755);
    return path;
  }

  test('that fail, hang, bring garbage or another cluster are followed by the next, and nothing of them is left', async () => {
    const a = await leading();
    const stranger = await servers.add('stranger');
    const place = await stranger.instance.open();
    await runCommand(place, 'initdb', ['-D', stranger.dataDir, '-U', 'postgres', '--auth=trust', '--no-sync']);
    const into = join(servers.directory, 'c');
    const mark = join(servers.directory, 'still-there');
    const c = await servers.add('c', {
      create_replica_methods: ['failing', 'hanging', 'garbage', 'stranger', 'basebackup'],
      failing: { command: await script('failing', 'echo "no backup found" >&2; exit 3') },
      hanging: { command: await script('hanging', `(sleep 2; touch ${mark}) & sleep 60`), timeout: 1 },
      garbage: { command: await script('garbage', `echo 15 > ${into}/PG_VERSION; echo "50% done"`), no_params: true },
      stranger: { command: `cp -a ${stranger.dataDir}/. ${into}`, no_params: true },
    });
    await c.instance.copy(a.address, SETTINGS, quiet, within(60_000));
    const failures = c.told.filter(({ event }) => event === 'copy.method-failed').map(({ sentence }) => sentence);
    expect(failures).toEqual([
      expect.stringContaining('failing ended with 3: no backup found'),
      expect.stringContaining('hanging was ended after its timeout of 1 s'),
      expect.stringContaining('The control file'),
      expect.stringContaining('another cluster'),
    ]);
    await c.instance.startStandby(a.address, SETTINGS);
    await c.until('standby', (standby) => standby.receiver?.streaming === true);
    // What the hanging one had left in the background was ended with it.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await exists(mark)).toBe(false);
  });

  test('that all fail leave a directory that is never started, and say what each of them said', async () => {
    const a = await leading();
    const c = await servers.add('c', {
      create_replica_methods: ['one', 'two'],
      one: { command: 'false' },
      two: { command: '/nowhere/restore' },
    });
    await expect(c.instance.copy(a.address, SETTINGS, quiet, within(60_000))).rejects.toMatchObject({
      code: 'PGHA_COPY_FAILED',
      message: expect.stringMatching(/one: .*ended with 1.*two: .*ended with 127/s),
    });
    expect(await c.look()).toMatchObject({ kind: 'half-made', by: 'copy' });
  });

  test('of the operator get the arguments that Patroni gives, and their copy follows', async () => {
    const a = await leading();
    const args = join(servers.directory, 'args');
    const into = join(servers.directory, 'c');
    const bin = (await a.instance.open()).binDir;
    const c = await servers.add('c', {
      create_replica_methods: ['restore', 'basebackup'],
      restore: {
        command: await script(
          'restore',
          `printf '%s\\n' "$@" > ${args}; exec ${bin}/pg_basebackup -X stream -c fast --no-sync -h 127.0.0.1 -p ${a.port} -U postgres -D ${into}`,
        ),
        stanza: 'main',
        keep_data: true,
      },
    });
    await c.instance.copy(a.address, SETTINGS, quiet, within(60_000));
    const given = (await readFile(args, 'utf8')).trim().split('\n');
    expect(given).toEqual([
      '--scope=contract',
      '--role=replica',
      `--datadir=${into}`,
      expect.stringContaining(`port=${a.port}`),
      '--stanza=main',
    ]);
    await c.instance.startStandby(a.address, SETTINGS);
    await c.until('standby', (standby) => standby.receiver?.streaming === true);
  });
});

describe('a directory that somebody else has written is synced before it counts as finished', () => {
  /** The programs of Postgres, with an initdb that writes down what it is asked for, and fails once `broken` is there. */
  async function programs(): Promise<{ bin_dir: string; syncs(): Promise<number>; breakSync(): Promise<void> }> {
    const own = join(servers.directory, 'bin');
    const [log, broken] = [join(servers.directory, 'initdb-log'), join(servers.directory, 'broken')];
    const { binDir } = await (await servers.add('of-the-package')).instance.open();
    await mkdir(own);
    for (const name of await readdir(binDir)) if (name !== 'initdb') await symlink(join(binDir, name), join(own, name));
    await writeFile(
      join(own, 'initdb'),
      `#!/bin/sh\necho "$@" >> ${log}\nif [ -e ${broken} ]; then echo 'initdb: error: could not fsync file "x": Input/output error' >&2; exit 1; fi\nexec ${binDir}/initdb "$@"\n`,
    );
    await chmod(join(own, 'initdb'), 0o755);
    return {
      bin_dir: own,
      async syncs() {
        const text = await readFile(log, 'utf8').catch(() => '');
        return text.split('\n').filter((line) => line.startsWith('--sync-only --pgdata=')).length;
      },
      breakSync: () => writeFile(broken, ''),
    };
  }

  test('after a rewind that found nothing to undo', async () => {
    const { bin_dir, syncs, breakSync } = await programs();
    const a = await servers.addCluster('a');
    await a.instance.startPrimary(REWINDABLE);
    await a.until('primary');
    const c = await servers.addCopy('c', a, { bin_dir });
    await c.instance.startStandby(a.address, REWINDABLE);
    await c.until('standby', (standby) => standby.receiver?.streaming === true);
    await c.instance.stop('fast', millis(10_000));
    await c.instance.rewind(a.address, REWINDABLE, quiet, within(60_000));
    expect(await syncs()).toBe(1);
    expect((await c.look()).kind).toBe('stopped');
    await breakSync();
    await expect(c.instance.rewind(a.address, REWINDABLE, quiet, within(60_000))).rejects.toMatchObject({
      code: 'PGHA_REWIND_FAILED',
      message: expect.stringMatching(/could not be synced: .*Input\/output error.* is marked as unfinished/),
    });
    expect(await c.look()).toMatchObject({ kind: 'half-made', by: 'rewind' });
  });

  test('after a rewind that changed nothing but what the recovery before it did; pg_rewind itself syncs what it changes', async () => {
    const { bin_dir, syncs, breakSync } = await programs();
    const { old, leader } = await parted(['INSERT INTO t VALUES (-1)'], { bin_dir });
    const stranger = await servers.add('stranger');
    const place = await stranger.instance.open();
    await runCommand(place, 'initdb', ['-D', stranger.dataDir, '-U', 'postgres', '--auth=trust', '--no-sync']);
    // As in every other cluster here: POSIX segments outlive a server that is killed.
    const parameters = { ...SETTINGS.parameters, dynamic_shared_memory_type: 'mmap' };
    await stranger.instance.startPrimary({ ...REWINDABLE, parameters });
    await stranger.until('primary');
    await expect(old.instance.rewind(stranger.address, REWINDABLE, quiet, within(60_000))).rejects.toThrow(
      'different systems',
    );
    expect(await syncs()).toBe(1);
    // Now it was shut down in order: there is nothing to recover.
    await breakSync();
    await expect(old.instance.rewind(stranger.address, REWINDABLE, quiet, within(60_000))).rejects.toThrow(
      'different systems',
    );
    expect(await old.look()).toMatchObject({ kind: 'stopped' });
    await old.instance.rewind(leader.address, REWINDABLE, quiet, within(60_000));
    expect(await syncs()).toBe(1);
    await comesBack(old, leader);
  });

  test('after a copy by a command of the operator', async () => {
    const { bin_dir, syncs, breakSync } = await programs();
    const a = await servers.addCluster('a');
    await a.instance.startPrimary(SETTINGS);
    await a.until('primary');
    const into = join(servers.directory, 'c');
    const command = `${bin_dir}/pg_basebackup -D ${into} -h 127.0.0.1 -p ${a.port} -U postgres -c fast --no-sync`;
    const c = await servers.add('c', {
      bin_dir,
      create_replica_methods: ['own'],
      own: { command, no_params: true },
    });
    await c.instance.copy(a.address, SETTINGS, quiet, within(60_000));
    expect(await syncs()).toBe(1);
    expect((await c.look()).kind).toBe('stopped');
    await c.instance.wipe(unhindered, ANY);
    await breakSync();
    await expect(c.instance.copy(a.address, SETTINGS, quiet, within(60_000))).rejects.toMatchObject({
      code: 'PGHA_COPY_FAILED',
      message: expect.stringMatching(/own is done, but its data could not be synced: .*Input\/output error/),
    });
    expect(await c.look()).toMatchObject({ kind: 'half-made', by: 'copy' });
  });

  test('after a first data directory that a command of the operator has brought', async () => {
    const { bin_dir, syncs, breakSync } = await programs();
    const backup = await servers.addCluster('backup');
    const own = { command: `cp -a ${backup.dataDir}/. ${join(servers.directory, 'c')}`, no_params: true };
    const c = await servers.add('c', { bin_dir }, { method: 'own', own });
    await breakSync();
    await expect(c.instance.bootstrap(SETTINGS, quiet, within(60_000))).rejects.toMatchObject({
      code: 'PGHA_BOOTSTRAP_FAILED',
      message: expect.stringMatching(/could not be synced: .*Input\/output error/),
    });
    expect(await syncs()).toBe(1);
    expect((await c.look()).kind).toBe('absent');
  });
});

describe('files of the operator in the data directory', () => {
  const own = (server: TestServer, name: string): string => join(server.dataDir, name);
  const NAMES = ['pg_audit.conf', 'ssl/server.key', 'not-there', 'a-link', 'through/a-link'];

  async function withFiles(server: TestServer): Promise<void> {
    await writeFile(own(server, 'pg_audit.conf'), `of ${server.name}\n`);
    await mkdir(own(server, 'ssl'), { recursive: true });
    await writeFile(own(server, 'ssl/server.key'), Buffer.from([0, 255, 1]), { mode: 0o600 });
    await chmod(own(server, 'pg_audit.conf'), 0o640);
  }

  async function theirOwn(server: TestServer): Promise<void> {
    expect(await readFile(own(server, 'pg_audit.conf'), 'utf8')).toBe(`of ${server.name}\n`);
    expect((await stat(own(server, 'pg_audit.conf'))).mode & 0o777).toBe(0o640);
    expect([...(await readFile(own(server, 'ssl/server.key')))]).toEqual([0, 255, 1]);
    expect(await readdir(servers.directory)).not.toContain(`${server.name}.pgha-kept`);
  }

  test('survive a copy, also when the first try fails half way, and nothing is read or written through links', async () => {
    const a = await servers.addCluster('a');
    await a.instance.startPrimary(SETTINGS);
    await a.until('primary');
    await withFiles(a);
    const outside = join(servers.directory, 'outside');
    await mkdir(outside);
    await writeFile(join(outside, 'a-link'), 'of nobody\n');
    const into = join(servers.directory, 'c');
    const tried = join(servers.directory, 'tried');
    const from = `-h 127.0.0.1 -p ${a.port} -U postgres`;
    const command = join(servers.directory, 'half');
    await writeFile(
      command,
      `#!/bin/sh
      if [ -e ${tried} ]; then exec pg_basebackup -D ${into} ${from} -c fast -X stream --no-sync; fi
      touch ${tried}; echo 15 > ${into}/PG_VERSION; echo "of nobody" > ${into}/pg_audit.conf; exit 3\n`,
    );
    await chmod(command, 0o755);
    const c = await servers.addCopy('c', a, {
      keep_files: NAMES,
      create_replica_methods: ['half'],
      half: { command: `env PATH=${(await a.instance.open()).binDir}:/usr/bin:/bin ${command}`, no_params: true },
    });
    await withFiles(c);
    await symlink(join(outside, 'a-link'), own(c, 'a-link'));
    await symlink(outside, own(c, 'through'));

    await c.instance.wipe(unhindered, ANY);
    await expect(c.instance.copy(a.address, SETTINGS, quiet, within(60_000))).rejects.toThrow('half ended with 3');
    expect(await c.look()).toMatchObject({ kind: 'half-made' });
    // As the daemon does before the next try; what lies there now is nobody's.
    await c.instance.wipe(unhindered, ANY);
    await c.instance.copy(a.address, SETTINGS, quiet, within(60_000));
    await theirOwn(c);
    const told = c.told.map(({ sentence }) => sentence).filter((sentence) => sentence.includes('keep_files'));
    expect(told).toEqual([
      'a-link of postgresql.keep_files is not kept: it is no plain file',
      `through/a-link of postgresql.keep_files is not kept: ${into}/through is no directory`,
    ]);
    expect(await readFile(join(outside, 'a-link'), 'utf8')).toBe('of nobody\n');
    await c.instance.startStandby(a.address, SETTINGS);
    await c.until('standby', (standby) => standby.receiver?.streaming === true);
  });

  test('survive a rewind, which brings everything else from the other side', async () => {
    const { old, leader } = await parted(['INSERT INTO t VALUES (-1)'], { keep_files: NAMES });
    await withFiles(old);
    await withFiles(leader);
    await writeFile(own(leader, 'other.conf'), 'of b\n');
    await old.instance.rewind(leader.address, REWINDABLE, quiet, within(60_000));
    await theirOwn(old);
    expect(await readFile(own(old, 'other.conf'), 'utf8')).toBe('of b\n');
    await comesBack(old, leader);
  });

  test('that cannot be set aside keep the directory from being emptied', async () => {
    const a = await servers.addCluster('a', { keep_files: NAMES });
    await withFiles(a);
    await truncate(own(a, 'pg_audit.conf'), 65 * 1024 * 1024);
    await expect(a.instance.wipe(unhindered, ANY)).rejects.toMatchObject({ code: 'PGHA_FILES_NOT_KEPT' });
    expect(await readdir(a.dataDir)).toContain('PG_VERSION');
  });
});

describe('WAL that would be undone', () => {
  test('is looked at before: whether it is all there, and commits of how long a time are in it', async () => {
    const { old, from, to } = await parted([
      'INSERT INTO t VALUES (-1)',
      'SELECT pg_switch_wal()',
      'SELECT pg_sleep(0.5)',
      'INSERT INTO t VALUES (-2)',
    ]);
    const range = { timeline: timeline(1), from, to };
    const seen = await old.instance.lookAtUndone(range);
    expect(seen).toMatchObject({ whole: true });
    expect(seen.span).toBeGreaterThan(500);
    expect(seen.span).toBeLessThan(20_000);
    // Only what is asked for counts: the second commit alone.
    const second = lsn((from / SEGMENT + 1n) * SEGMENT);
    expect(await old.instance.lookAtUndone({ ...range, from: second })).toEqual({ whole: true, span: 0 });
    await rm(join(old.dataDir, 'pg_wal', segmentName(timeline(1), from, SEGMENT)));
    expect(await old.instance.lookAtUndone(range)).toEqual({ whole: false, span: 0 });
  });
});

describe('a standby whose pages are newer than its WAL', () => {
  test('starts only with whoever has the rest, and says whom it was told to receive from', async () => {
    const { old, leader } = await parted(['INSERT INTO t VALUES (-1)']);
    for (const statement of ['SELECT pg_switch_wal()', 'CREATE TABLE v (n int)']) await leader.sql(statement);
    await old.instance.rewind(leader.address, REWINDABLE, quiet, within(60_000));
    const { minRecoveryPoint, timeline: at } = await old.until('stopped');
    expect(at).toBe(2);
    const written = await leader.sql('SELECT pg_current_wal_flush_lsn()::text AS at');
    expect(printLsn(minRecoveryPoint)).toBe(written[0]?.['at']);
    // As where it was cut off from its source right after: the last of the WAL has not come.
    await rm(join(old.dataDir, 'pg_wal', segmentName(timeline(2), minRecoveryPoint, SEGMENT)));
    await old.instance.startStandby(null, REWINDABLE);
    await sleep(1_500);
    const waits = await old.look();
    expect(waits).toMatchObject({ kind: 'starting', asPrimary: false, follows: null });
    expect(waits.kind === 'starting' && waits.idle).toBe(0);
    await sleep(500);
    const later = await old.look();
    expect(later.kind === 'starting' && later.idle).toBeGreaterThanOrEqual(500);
    await old.instance.stop('fast', millis(10_000));
    expect(await old.look()).toMatchObject({ kind: 'stopped', minRecoveryPoint });
    await comesBack(old, leader);
  });
});
