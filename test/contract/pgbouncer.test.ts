/**
 * What we take the answers of a PgBouncer's console to mean, put to a real one. No Postgres stands behind it: none is
 * needed to hold clients back.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { which } from '../../scripts/ensure.mjs';
import { millis } from '../../src/core/time.ts';
import { examinePooler } from '../../src/pgbouncer/examine.ts';
import { PgbouncerPoolers } from '../../src/pgbouncer/poolers.ts';
import type { PoolerConsole } from '../../src/ports/poolers.ts';
import { SystemClock } from '../../src/system/clock.ts';
import { serverAccount } from '../e2e/lib/run.ts';
import { aConfig } from '../unit/postgres/place-builder.ts';

const LIMIT = millis(5_000);
const clock = new SystemClock();

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });

describe.skipIf(which('pgbouncer') === null)('the console of a PgBouncer', () => {
  let directory: string;
  let child: ChildProcess;
  let address: string;

  const poolersAs = (username: string, password: string, databases: readonly string[] = []): PgbouncerPoolers =>
    new PgbouncerPoolers(
      () => ({
        ...aConfig(),
        pgbouncer: {
          poolers: [address],
          username,
          password,
          databases: databases.map((name) => ({ name, options: '' })),
          pauseTimeout: LIMIT,
          maxPause: LIMIT,
          databasesFile: join(directory, 'databases.ini'),
        },
      }),
      clock,
    );

  async function opened(username = 'pgha', password = 'secret'): Promise<PoolerConsole> {
    for (let round = 0; ; round++) {
      const answer = await poolersAs(username, password).open(address, LIMIT);
      if (answer.kind === 'open') return answer.console;
      if (round > 200) throw new Error(answer.said);
      await clock.sleep(millis(25));
    }
  }

  const never = new AbortController().signal;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'pgha-pgbouncer-'));
    address = `127.0.0.1:${await freePort()}`;
    writeFileSync(
      join(directory, 'databases.ini'),
      '[databases]\n* = host=127.0.0.1 port=1\nother = host=10.0.0.9 port=2\n',
    );
    writeFileSync(join(directory, 'users.txt'), '"pgha" "secret"\n"watcher" "secret"\n');
    writeFileSync(
      join(directory, 'pgbouncer.ini'),
      `[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${address.split(':')[1]}\nunix_socket_dir =\nauth_type = md5\n` +
        `auth_file = ${directory}/users.txt\nadmin_users = pgha\nstats_users = watcher\npool_mode = transaction\n` +
        `%include ${directory}/databases.ini\n`,
    );
    const account = serverAccount();
    // It refuses root.
    const as = account === null ? {} : { uid: account.uid, gid: account.gid };
    if (account !== null) {
      for (const path of [directory, 'databases.ini', 'users.txt', 'pgbouncer.ini'])
        chownSync(path === directory ? directory : join(directory, path), account.uid, account.gid);
    }
    child = spawn(which('pgbouncer') ?? 'pgbouncer', ['-q', join(directory, 'pgbouncer.ini')], {
      stdio: 'ignore',
      ...as,
    });
  });

  afterAll(() => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });

  it('says where its databases lead', async () => {
    const console = await opened();
    expect(await console.databases(LIMIT)).toEqual([{ name: 'other', host: '10.0.0.9', port: 2 }]);
    console.close();
  });

  it('is paused once, tells that it is paused already, and goes on as often as it is told to', async () => {
    const console = await opened();
    expect(await console.pause([], LIMIT, never)).toEqual({ kind: 'paused' });
    expect(await console.pause([], LIMIT, never)).toEqual({ kind: 'was-paused' });
    const another = await opened();
    await another.resume([], LIMIT);
    await another.resume([], LIMIT);
    expect(await console.pause([], LIMIT, never)).toEqual({ kind: 'paused' });
    await console.resume([], LIMIT);
    console.close();
    another.close();
  });

  it('stays paused when the one who paused it has gone: somebody has to let its clients go', async () => {
    const first = await opened();
    await first.pause([], LIMIT, never);
    first.close();
    const second = await opened();
    expect(await second.pause([], LIMIT, never)).toEqual({ kind: 'was-paused' });
    await second.resume([], LIMIT);
    second.close();
  });

  it('is paused by the names of databases, also one that nobody has used yet', async () => {
    const console = await opened();
    expect(await console.pause(['other', 'on demand'], LIMIT, never)).toEqual({ kind: 'paused' });
    // Whether somebody has paused it before is not told by name.
    expect(await console.pause(['other', 'on demand'], LIMIT, never)).toEqual({ kind: 'paused' });
    await console.resume(['other', 'on demand'], LIMIT);
    await console.resume(['other', 'on demand'], LIMIT);
    console.close();
  });

  it('refuses somebody who may only look, and holds nobody back', async () => {
    const console = await opened('watcher');
    expect(await console.pause([], LIMIT, never)).toMatchObject({ kind: 'refused' });
    console.close();
  });

  it('is silent for a wrong password, with its own words', async () => {
    expect(await poolersAs('pgha', 'wrong').open(address, LIMIT)).toMatchObject({
      kind: 'silent',
      said: expect.stringContaining('authentication'),
    });
  });

  it('tells the settings that a pause rests on', async () => {
    const login = { username: 'pgha', password: 'secret' };
    expect(await examinePooler(clock, login, address, LIMIT)).toMatchObject({
      kind: 'answered',
      version: expect.stringMatching(/^\d+\.\d+/),
      poolMode: 'transaction',
      serverLoginRetry: 15,
      queryWaitTimeout: 120,
    });
  });

  it('is silent when it stands still, within the limit', async () => {
    child.kill('SIGSTOP');
    try {
      const answer = await poolersAs('pgha', 'secret').open(address, millis(300));
      expect(answer).toEqual({ kind: 'silent', said: 'no answer within 300 ms' });
    } finally {
      child.kill('SIGCONT');
    }
  });
});
