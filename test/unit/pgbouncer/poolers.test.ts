/** The file for the pooler on this machine; the console itself is put to a real PgBouncer in test/contract. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { millis } from '../../../src/core/time.ts';
import { databasesFile, localPoolers, PgbouncerPoolers } from '../../../src/pgbouncer/poolers.ts';
import { aConfig, realClock } from '../postgres/place-builder.ts';

const PGBOUNCER = {
  poolers: ['10.0.0.1:6432', '[fd00::1]:6432', '10.0.0.2:6432'],
  username: 'pgbouncer',
  password: null,
  databases: [],
  pauseTimeout: millis(5_000),
  maxPause: millis(30_000),
  databasesFile: '/etc/pgbouncer/databases.ini',
};

it('leads every database to the primary, or those that are named, with their options', () => {
  const server = { host: '10.0.0.2', port: 5433 };
  expect(databasesFile(PGBOUNCER, server)).toMatch(/^;.*\n\[databases\]\n\* = host=10.0.0.2 port=5433\n$/);
  const databases = [
    { name: 'app', options: 'pool_size=40' },
    { name: 'reports', options: '' },
  ];
  expect(databasesFile({ databases }, server)).toContain(
    '[databases]\napp = host=10.0.0.2 port=5433 pool_size=40\nreports = host=10.0.0.2 port=5433\n',
  );
});

it('is read again by the poolers with an address of this node', () => {
  const config = { ...aConfig({ connectAddress: { host: '10.0.0.1', port: 5432 } }), pgbouncer: PGBOUNCER };
  const restapi = { ...config.restapi, connectAddress: { host: 'fd00::1', port: 8008 } };
  expect(localPoolers({ ...config, restapi })).toEqual(['10.0.0.1:6432', '[fd00::1]:6432']);
});

it('is given up in time on a disk that hangs, asked for nothing else meanwhile, and written once that goes on', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'pgha-poolers-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, 'databases.ini');
  execFileSync('mkfifo', [file]);
  const clock = { ...realClock, timer: (_after: unknown, run: () => void) => realClock.timer(millis(20), run) };
  const pgbouncer = { ...PGBOUNCER, poolers: [], databasesFile: file };
  const poolers = new PgbouncerPoolers(() => ({ ...aConfig(), pgbouncer }), clock);
  for (const host of ['10.0.0.1', '10.0.0.2'])
    await expect(poolers.leadTo({ host, port: 5432 }, millis(1_000))).rejects.toThrow(
      expect.objectContaining({
        code: 'PGHA_POOLER_FILE_UNWRITABLE',
        message: expect.stringContaining('no answer within'),
      }),
    );
  // One reader has waited here, for what belongs to the first of the two.
  execFileSync('sh', ['-c', ': > "$0"', file]);
  await expect
    .poll(() =>
      poolers.leadTo({ host: '10.0.0.2', port: 5432 }, millis(1_000)).then(() => readFileSync(file, 'utf8'), String),
    )
    .toContain('host=10.0.0.2');
});
