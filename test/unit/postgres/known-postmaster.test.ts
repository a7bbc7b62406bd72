/** What the next daemon knows of the server of the one before it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type ProcessId, processStat } from '../../../src/postgres/family.ts';
import { type Owner, recallPostmaster, rememberPostmaster } from '../../../src/postgres/known-postmaster.ts';

let owner: Owner;
let server: ChildProcess;
let postmaster: ProcessId;

/** Any program of that name counts. */
async function start(name: string): Promise<ProcessId> {
  const program = join(owner.runtimeDirectory, name);
  cpSync('/bin/sleep', program);
  server = spawn(program, ['60'], { stdio: 'ignore' });
  await once(server, 'spawn');
  const stat = processStat(server.pid ?? 0);
  if (stat === null) throw new Error('it did not start');
  return { pid: stat.pid, startTicks: stat.startTicks };
}

beforeEach(async () => {
  owner = { runtimeDirectory: mkdtempSync(join(tmpdir(), 'pgha-known-')), dataDir: '/srv/pg/data' };
  postmaster = await start('postgres');
});
afterEach(() => {
  server.kill('SIGKILL');
  rmSync(owner.runtimeDirectory, { recursive: true, force: true });
});

it('is recalled by who has the same data_dir, as long as it lives', async () => {
  expect(recallPostmaster(owner)).toBeNull();
  rememberPostmaster(owner, postmaster);
  expect(recallPostmaster(owner)).toEqual(postmaster);
  expect(recallPostmaster({ ...owner, dataDir: '/srv/pg/other' })).toBeNull();
  server.kill('SIGKILL');
  await once(server, 'exit');
  expect(recallPostmaster(owner)).toBeNull();
});

it('is not a later process with its number, nor one that is no server', async () => {
  rememberPostmaster(owner, { ...postmaster, startTicks: '1' });
  expect(recallPostmaster(owner)).toBeNull();
  server.kill('SIGKILL');
  rememberPostmaster(owner, await start('sleep'));
  expect(recallPostmaster(owner)).toBeNull();
});

it.each(['', '{', 'null', '[]', '{"dataDir":"/srv/pg/data"}', '{"dataDir":"/srv/pg/data","pid":"1","startTicks":2}'])(
  'is nobody where %j was written',
  (text) => {
    rememberPostmaster(owner, postmaster);
    const [file = ''] = readdirSync(owner.runtimeDirectory).filter((name) => name.endsWith('.json'));
    writeFileSync(join(owner.runtimeDirectory, file), text);
    expect(recallPostmaster(owner)).toBeNull();
  },
);
