import { describe, expect, it } from 'vitest';
import { addressesOf, hostUrl, placeOf } from '../../../src/etcd/address.ts';
import { basePath, keySpace } from '../../../src/etcd/keys.ts';
import { versionIsKnownBad } from '../../../src/etcd/known-bad.ts';

describe('the base path', () => {
  it.each([
    ['/service', 'demo', '/service/demo/'],
    ['service/', 'demo', '/service/demo/'],
    ['//a//b/', '/demo', '/a/b/demo/'],
    ['/', 'demo', '/demo/'],
  ])('of namespace %s and scope %s is %s', (namespace, scope, expected) => {
    expect(basePath(namespace, scope)).toBe(expected);
  });
});

describe('the range of a cluster', () => {
  it('holds its own keys and none of a cluster whose name begins alike', () => {
    const { first, end, absolute } = keySpace('/service/demo/');
    const inside = (bytes: Buffer): boolean => Buffer.compare(bytes, first) >= 0 && Buffer.compare(bytes, end) < 0;
    expect(inside(absolute('leader'))).toBe(true);
    expect(inside(absolute('members/ü'))).toBe(true);
    expect(inside(Buffer.from('/service/demo2/leader'))).toBe(false);
    expect(inside(Buffer.from('/service/demo'))).toBe(false);
  });

  it('that a cycle reads holds all of it but events and lags, and nothing twice', () => {
    const { first, end, decisive, chronicle, absolute } = keySpace('/service/demo/');
    const within = (ranges: typeof decisive, key: string): number =>
      ranges.filter((range) => {
        const bytes = absolute(key);
        return Buffer.compare(bytes, range.first) >= 0 && Buffer.compare(bytes, range.end) < 0;
      }).length;
    for (const key of [
      'config',
      'leader',
      'members/a',
      'members/events',
      'pgha/',
      'pgha/events',
      'pgha/eventsx',
      'pgha/la',
    ]) {
      expect([key, within(decisive, key), within(chronicle, key)]).toEqual([key, 1, 0]);
    }
    for (const key of ['pgha/lag/', 'pgha/lagx', 'pgha/last_takeover', 'pgha/zz', 'status', 'sync', '~']) {
      expect([key, within(decisive, key), within(chronicle, key)]).toEqual([key, 1, 0]);
    }
    for (const key of ['pgha/audit', 'pgha/events/', 'pgha/events/a', 'pgha/events/ü', 'pgha/lag']) {
      expect([key, within(decisive, key), within(chronicle, key)]).toEqual([key, 0, 1]);
    }
    expect(decisive[0]?.first).toEqual(first);
    expect(decisive.at(-1)?.end).toEqual(end);
  });

  it('gives names back as they went in', () => {
    const { absolute, relative } = keySpace('/service/dé/');
    expect(relative(absolute('members/ü'))).toBe('members/ü');
  });
});

describe('the version with the lease bug', () => {
  it.each(['3.3.27', '3.4.0', '3.4.23', '3.4.30', '3.5.0', '3.5.12', '2.3.8'])('is %s', (version) => {
    expect(versionIsKnownBad(version)).toBe(true);
  });
  it.each(['3.4.31', '3.4.35', '3.5.13', '3.5.17', '3.6.0', '4.0.0', 'v3.5.13', 'unknown'])('is not %s', (version) => {
    expect(versionIsKnownBad(version)).toBe(false);
  });
});

describe('an endpoint', () => {
  const nobody = { username: null };

  it.each([
    ['http://10.0.0.1:2379', 'http://10.0.0.1:2379'],
    ['https://[::1]:2379', 'https://[::1]:2379'],
    ['10.0.0.1:2379', 'http://10.0.0.1:2379'],
    ['http://10.0.0.1', 'http://10.0.0.1:2379'],
  ])('given as the address %s is used as it is', async (url, expected) => {
    const place = placeOf(url, nobody);
    expect(await addressesOf(place)).toEqual([place.host]);
    expect(hostUrl(place, place.host)).toBe(expected);
  });

  it('given as a name is looked up', async () => {
    expect(await addressesOf(placeOf('http://localhost:2379', nobody))).toContain('127.0.0.1');
  });

  it('keeps its name where a password travels over TLS', () => {
    expect(placeOf('https://etcd1:2379', { username: 'root' }).lookUp).toBe(false);
    expect(placeOf('https://etcd1:2379', nobody).lookUp).toBe(true);
    expect(placeOf('http://etcd1:2379', { username: 'root' }).lookUp).toBe(true);
  });
});
