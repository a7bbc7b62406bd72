/** The file for the pooler on this machine; the console itself is put to a real PgBouncer in test/contract. */
import { expect, it } from 'vitest';
import { millis } from '../../../src/core/time.ts';
import { databasesFile, localPoolers } from '../../../src/pgbouncer/poolers.ts';
import { aConfig } from '../postgres/place-builder.ts';

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
