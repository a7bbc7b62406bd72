/**
 * What a command of the operator's leaves behind when it is cancelled, takes too long, or its daemon is killed: processes
 * that may write into the data directory, and that nothing in their environment makes known.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { millis } from '../../src/core/time.ts';
import { isAlive, processStat } from '../../src/postgres/family.ts';
import { rememberCommand } from '../../src/postgres/known-command.ts';
import { setMarker } from '../../src/postgres/markers.ts';
import { occupantsOf } from '../../src/postgres/occupants.ts';
import { becomePostgres, type PostgresServers, postgresServers, SETTINGS, type TestServer } from './postgres-server.ts';

/** Root's, as what sudo starts: begun while we still may. It ends with its input. */
const OF_ROOT = '/nowhere/of-root/data';
const ofRoot =
  process.getuid?.() === 0
    ? spawn('/bin/sh', ['-c', 'cat >/dev/null', 'sh', `--datadir=${OF_ROOT}`], { stdio: ['pipe', 'ignore', 'ignore'] })
    : null;

becomePostgres();

let servers: PostgresServers;
let started: number[];
beforeEach(async () => {
  servers = await postgresServers();
  started = [];
});
afterEach(async () => {
  for (const pid of started) if (processStat(pid) !== null) process.kill(pid, 'SIGKILL');
  await servers.end();
});

const quiet = (): void => undefined;
const unhindered = async (): Promise<void> => undefined;
const within = (ms: number): AbortSignal => AbortSignal.timeout(ms);
/** Of whatever cluster, and for whatever copy. */
const ANY = { systemId: null, source: null, signal: new AbortController().signal };
const LOCKED = 'PGHA_DATA_DIRECTORY_LOCKED';

async function script(name: string, text: string): Promise<string> {
  const path = join(servers.directory, name);
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
  return path;
}

async function leading(): Promise<TestServer> {
  const a = await servers.addCluster('a');
  await a.instance.startPrimary(SETTINGS);
  await a.until('primary');
  return a;
}

async function appears(path: string): Promise<string> {
  for (let i = 0; i < 500; i += 1) {
    const text = await readFile(path, 'utf8').catch(() => '');
    if (text.endsWith('\n')) return text.trim();
    await sleep(10);
  }
  throw new Error(`${path} was not written`);
}

async function begin(args: readonly string[], cwd = '/'): Promise<number> {
  const child = spawn('/usr/bin/env', ['-i', ...args], { cwd, detached: true, stdio: 'ignore' });
  await once(child, 'spawn');
  started.push(child.pid ?? 0);
  await sleep(100);
  return child.pid ?? 0;
}

describe('a command that is cancelled', () => {
  test('and left a writer in another session keeps everybody from the directory, until that is gone', async () => {
    const a = await leading();
    const into = join(servers.directory, 'c');
    const told = join(servers.directory, 'pid');
    // As rsync under sshd: neither its session nor its environment is the command's.
    const command = await script(
      'restore',
      `mkdir -p ${into}/base; setsid env -i sh -c 'exec 7>>${into}/base/1; echo $$ > ${told}; exec sleep 60' >/dev/null 2>&1 & sleep 60`,
    );
    const c = await servers.add('c', {
      create_replica_methods: ['own', 'basebackup'],
      own: { command, no_params: true },
    });
    const cancel = new AbortController();
    const copying = c.instance.copy(a.address, SETTINGS, quiet, cancel.signal);
    const refused = expect(copying).rejects.toMatchObject({ code: 'PGHA_CANCELLED' });
    const pid = Number(await appears(told));
    started.push(pid);
    cancel.abort();
    await refused;

    const locked = { code: LOCKED, message: expect.stringContaining(`process ${pid} (sleep) `) };
    await expect(c.instance.copy(a.address, SETTINGS, quiet, within(60_000))).rejects.toMatchObject(locked);
    await expect(c.instance.wipe(unhindered, ANY)).rejects.toMatchObject(locked);
    expect(await readdir(into)).toEqual(['base']);
    process.kill(pid, 'SIGKILL');
    await sleep(100);
    await c.instance.wipe(unhindered, ANY);
    expect(await readdir(into)).toEqual([]);
  });

  test('has ended only when all of its processes have, each of which has time to', async () => {
    const a = await leading();
    const [told, done] = [join(servers.directory, 'pid'), join(servers.directory, 'done')];
    const child = `trap "sleep 0.7; touch ${done}; exit" TERM; echo $$ > ${told}; while :; do sleep 0.05; done`;
    const command = await script('restore', `env -i sh -c '${child}' >/dev/null 2>&1 & exec sleep 60`);
    const c = await servers.add('c', { create_replica_methods: ['own'], own: { command, no_params: true } });
    const cancel = new AbortController();
    const copying = c.instance.copy(a.address, SETTINGS, quiet, cancel.signal);
    const refused = expect(copying).rejects.toMatchObject({ code: 'PGHA_CANCELLED' });
    const pid = Number(await appears(told));
    const stat = processStat(pid);
    started.push(pid);
    cancel.abort();
    await refused;
    expect(existsSync(done)).toBe(true);
    expect(stat !== null && isAlive(stat)).toBe(false);
  });
});

test('what a killed daemon has left of a command is ended by its process group, whatever its environment says', async () => {
  const a = await leading();
  const c = await servers.add('c');
  const place = await c.instance.open();
  await mkdir(c.dataDir, { mode: 0o700 });
  const pid = await begin(['sh', '-c', 'sleep 60; :']);
  rememberCommand(place, pid);
  await setMarker(place, 'copy');
  await c.instance.copy(a.address, SETTINGS, quiet, within(60_000));
  expect(processStat(pid)).toBeNull();
});

describe('a process that nobody knows', () => {
  test('keeps a directory from being emptied or rewound only while it writes there; Postgres starts all the same', async () => {
    const a = await leading();
    const c = await servers.addCopy('c', a);
    await writeFile(join(c.dataDir, 'note'), 'x');
    const [reads, writes] = ['<', '>>'].map((how) => ['sh', '-c', `exec 7${how}${c.dataDir}/note; exec sleep 60`]);
    await begin(reads ?? [], c.dataDir);
    const pid = await begin(writes ?? []);
    const locked = { code: LOCKED, message: expect.stringContaining(`process ${pid} (sleep) has ${c.dataDir}/note`) };
    await expect(c.instance.wipe(unhindered, ANY)).rejects.toMatchObject(locked);
    await expect(c.instance.rewind(a.address, SETTINGS, quiet, within(60_000))).rejects.toMatchObject(locked);
    await c.instance.startStandby(a.address, SETTINGS);
    await c.until('standby');
    await c.instance.stop('immediate', millis(1_000));
    process.kill(pid, 'SIGKILL');
    await sleep(100);
    await c.instance.wipe(unhindered, ANY);
  });

  test('keeps a copy from being taken for finished while it writes there', async () => {
    const a = await leading();
    const c = await servers.add('c');
    const late = async (): Promise<void> => {
      while (!existsSync(join(c.dataDir, 'PG_VERSION'))) await sleep(5);
      await begin(['sh', '-c', `exec 7>>${c.dataDir}/PG_VERSION; exec sleep 60`]);
    };
    const [copied] = await Promise.allSettled([c.instance.copy(a.address, SETTINGS, quiet, within(60_000)), late()]);
    expect(copied).toMatchObject({ status: 'rejected', reason: { code: LOCKED } });
    expect(await c.look()).toMatchObject({ kind: 'half-made', by: 'copy' });
  });
});

test.skipIf(ofRoot === null)('of another user’s process its arguments say that it may write there', async () => {
  const { clock } = await (await servers.add('c')).instance.open();
  const where = { clock, dataDir: OF_ROOT, outside: [] };
  expect(await occupantsOf(where, true)).toMatchObject([{ pid: ofRoot?.pid }]);
  expect(await occupantsOf(where, false)).toEqual([]);
  ofRoot?.stdin?.end();
});
