/** Small things that are read from files and programs: postmaster.pid, version, addresses, the end of a log. */
import { describe, expect, test } from 'vitest';
import { parsePidFile } from '../../../src/postgres/data-directory.ts';
import { localAddress, parseVersion } from '../../../src/postgres/place.ts';
import { lastWords } from '../../../src/postgres/server-process.ts';

describe('postmaster.pid', () => {
  test('tells where the server listens and how far it is', () => {
    const text = '4711\n/data\n1700000000\n5433\n/run/pgha\n127.0.0.1\n  5433001    196608\nstandby \n';
    expect(parsePidFile(text)).toEqual({
      pid: 4711,
      dataDir: '/data',
      port: 5433,
      socketDir: '/run/pgha',
      listenAddress: '127.0.0.1',
      status: 'standby',
    });
  });

  test('of a server that has only just begun has no status yet', () => {
    expect(parsePidFile('4711\n/data\n1700000000\n5433\n\n\n')).toMatchObject({ status: null, socketDir: null });
  });

  test('that is empty is none', () => {
    expect(parsePidFile('')).toBeNull();
  });
});

test('the version is read as the server prints it', () => {
  expect(parseVersion('postgres (PostgreSQL) 15.20 (Debian 15.20-1)')).toBe(150_020);
  expect(parseVersion('postgres (PostgreSQL) 19devel')).toBe(190_000);
  expect(parseVersion('something else')).toBeNull();
});

test('the local address needs no name service', () => {
  expect(['*', '0.0.0.0', 'localhost', '', '::', '10.0.0.1,127.0.0.1'].map(localAddress)).toEqual([
    '127.0.0.1',
    '127.0.0.1',
    '127.0.0.1',
    '127.0.0.1',
    '::1',
    '10.0.0.1',
  ]);
});

test('the last words of a server are the reason it gives, not what follows it', () => {
  const log =
    '2026 LOG:  starting\n2026 FATAL:  could not create any TCP/IP sockets\n2026 LOG:  database system is shut down\n';
  expect(lastWords(log)).toBe('2026 FATAL:  could not create any TCP/IP sockets');
  expect(lastWords('')).toBe('its log is empty');
});
