/**
 * The test library itself, without the daemon: a library that cannot see a lost row, a second writer or a cut link
 * would make every other test here worthless.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { postgresBinDir } from '../../scripts/ensure.mjs';
import { Client, runOn } from './lib/client.ts';
import { startEtcd } from './lib/etcd.ts';
import { launch, serverDirectory, stepDown } from './lib/launch.ts';
import { type Accepted, judge, longestPause, overlaps, type WriterReport } from './lib/ledger.ts';
import { createNamespaces, type Network, namespacesUnavailable } from './lib/network.ts';
import { postgresFamily, postmasterOf, signal } from './lib/processes.ts';
import { openRun, runDirectory } from './lib/run.ts';
import { sleep, until } from './lib/time.ts';

const report = (acked: string[], failed: string[], unknown: string[]): WriterReport => ({
  acked: acked.map((row, at) => ({ row, at, server: 'h1' })),
  failed,
  unknown,
  errors: [],
});

describe('the ledger', () => {
  it('calls an acknowledged row that is not there lost', () => {
    expect(judge(report(['a', 'b'], [], []), ['a']).lost).toEqual(['b']);
  });

  it('lets a row of unknown fate be there or not', () => {
    expect(judge(report(['a'], [], ['b']), ['a', 'b'])).toMatchObject({ lost: [], phantom: [] });
    expect(judge(report(['a'], [], ['b']), ['a'])).toMatchObject({ lost: [], phantom: [] });
  });

  it('calls a row that was refused and is there all the same a phantom', () => {
    expect(judge(report([], ['c'], []), ['c']).phantom).toEqual(['c']);
  });

  it('finds the longest pause and between which servers it was', () => {
    const acked = [
      { row: '1', at: 0, server: 'h1' },
      { row: '2', at: 10, server: 'h1' },
      { row: '3', at: 500, server: 'h2' },
    ];
    expect(longestPause(acked)).toMatchObject({ ms: 490, fromServer: 'h1', toServer: 'h2' });
  });
});

describe('the watch for two writers', () => {
  const write = (node: string, timeline: string, sent: number): Accepted => ({ node, timeline, sent, acked: sent + 2 });

  it('is content with reigns one after the other, and with one that returns on a new timeline', () => {
    expect(overlaps([write('h1', '1', 0), write('h1', '1', 10), write('h2', '2', 20), write('h1', '3', 30)])).toEqual(
      [],
    );
  });

  it('reports a write sent to the old primary after the new one had acknowledged one', () => {
    expect(overlaps([write('h1', '1', 0), write('h2', '2', 20), write('h1', '1', 30)])).toHaveLength(1);
  });

  it('does not report what could have been in order', () => {
    const slow: Accepted = { node: 'h1', timeline: '1', sent: 0, acked: 100 };
    expect(overlaps([slow, write('h2', '2', 20)])).toEqual([]);
  });
});

describe.skipIf(namespacesUnavailable() !== null)('the test network', { timeout: 60_000 }, () => {
  let network: Network;
  beforeAll(() => {
    network = createNamespaces(['h1', 'h2', 'client']);
  });
  afterAll(() => network.destroy());

  it('joins its hosts, and cuts and heals links without telling the sender', async () => {
    const reaches = async (from: string, to: string): Promise<boolean> => {
      const probe = `const s = require('net').connect({ host: '${network.host(to).address}', port: 1, timeout: 400 });
        s.on('error', (e) => process.exit(e.code === 'ECONNREFUSED' ? 0 : 3)); s.on('timeout', () => process.exit(4));`;
      const { code } = await runOn(network.host(from), [process.execPath, '-e', probe]);
      expect([0, 4]).toContain(code);
      return code === 0;
    };
    expect(await reaches('h1', 'h2')).toBe(true);
    network.cutBetween('h1', 'h2');
    expect(await reaches('h1', 'h2')).toBe(false);
    expect(await reaches('h2', 'h1')).toBe(false);
    expect(await reaches('client', 'h1')).toBe(true);
    network.healBetween('h1', 'h2');
    network.cutPort('h1', 'h2', 2);
    expect(await reaches('h1', 'h2')).toBe(true);
    network.cutPort('h1', 'h2', 1);
    expect(await reaches('h1', 'h2')).toBe(false);
    network.healAll();
    expect(await reaches('h1', 'h2')).toBe(true);
    network.cut('h1');
    expect(await reaches('client', 'h1')).toBe(false);
    expect(await reaches('client', 'h2')).toBe(true);
    network.heal('h1');
    network.linkDown('h1');
    expect((await runOn(network.host('h1'), ['ip', '-br', 'link', 'show', 'eth0'])).stdout).toContain('DOWN');
    network.linkUp('h1');
    await until('the link works again', 5_000, () => reaches('client', 'h1'));
  });

  it('carries an etcd that loses a member and gets it back', async () => {
    const directory = join(runDirectory, 'etcd-of-the-library');
    mkdirSync(directory);
    const etcd = await startEtcd(network, ['h1', 'h2', 'client'], 'client', directory);
    await etcd.etcdctl('put', '/x', 'y');
    const leader = await until('etcd has a leader', 5_000, () => etcd.leader());
    await etcd.killMember(leader);
    await etcd.waitHealthy();
    expect(await etcd.get('/x')).toBe('y');
    etcd.startMember(leader);
    await etcd.stop();
  });

  it('carries a Postgres whose writes are booked, whose writer is watched and whose death is seen', async () => {
    openRun();
    const bin = postgresBinDir() ?? '';
    const directory = serverDirectory(join(runDirectory, 'pg-of-the-library'), 0o755);
    const data = join(directory, 'data');
    const host = network.host('h1');
    const [setpriv = 'env', ...rest] = [...stepDown(true)];
    execFileSync(setpriv, [...rest, join(bin, 'initdb'), '-D', data, '-A', 'trust', '-U', 'postgres', '-N'], {
      stdio: 'ignore',
    });
    const start = (): void =>
      void launch({
        host,
        program: join(bin, 'postgres'),
        args: [
          '-D',
          data,
          '-h',
          host.address,
          '-k',
          directory,
          '-c',
          'fsync=off',
          '-c',
          'dynamic_shared_memory_type=mmap',
        ],
        log: join(directory, 'postgres.log'),
        cwd: directory,
        asServer: true,
      });
    execFileSync('sh', ['-c', `echo 'host all all 0.0.0.0/0 trust' >> ${data}/pg_hba.conf`]);
    start();
    const client = await Client.start(network.host('client'), 'library-client');
    const watcher = await Client.start(network.host('client'), 'library-watcher');
    const login = { name: 'h1', port: 5432, user: 'postgres', password: '', database: 'postgres' };
    const overNetwork = { ...login, host: host.address };
    const sql = (text: string) => client.ask('sql', { server: overNetwork, text, timeoutMs: 2_000 });
    await until('Postgres answers', 10_000, () => sql('select 1'));
    await sql('create table e2e_ledger (row text primary key, payload text)');
    await sql('create table e2e_watch (node text)');
    await watcher.ask('watcher-start', { servers: [{ ...login, host: directory }], everyMs: 10 });
    await client.ask('writer-start', { servers: [overNetwork], sessions: 2, everyMs: 5, payloadBytes: 10 });
    const acked = (more: number) =>
      until('rows are written', 5_000, async () => (await client.ask('writer-acked', null)) > more);
    await acked(100);
    const postmaster = postmasterOf(data);
    expect(postmaster).not.toBeNull();
    // Frozen first: each session then has a row under way when its server dies, whose fate it cannot know.
    const family = postgresFamily(data);
    for (const id of family) signal(id, 'SIGSTOP');
    await sleep(200);
    for (const id of family) signal(id, 'SIGKILL');
    await until('the whole family is gone', 5_000, () => postgresFamily(data).length === 0);
    const before = await client.ask('writer-acked', null);
    start();
    await acked(before + 100);
    const written = await client.ask('writer-stop', null);
    const rows = await sql('select row from e2e_ledger');
    const verdict = judge(
      written,
      rows.map(({ row }) => String(row)),
    );
    expect(verdict).toMatchObject({ lost: [], phantom: [] });
    expect(verdict.unknown).toBeGreaterThan(0);
    expect(longestPause(written.acked)?.ms).toBeGreaterThan(20);
    const accepted = await watcher.ask('watcher-report', null);
    expect(accepted.length).toBeGreaterThan(10);
    expect(overlaps(accepted)).toEqual([]);
    const last = postmasterOf(data);
    if (last !== null) signal(last, 'SIGQUIT');
    await until('Postgres has ended', 5_000, () => postgresFamily(data).length === 0);
    client.stop();
    watcher.stop();
    expect(existsSync(data)).toBe(true);
  });
});
