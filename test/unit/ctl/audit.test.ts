/** What pgha-ctl writes down of its own writes into etcd, and how it shows the trail. */
import { describe, expect, it } from 'vitest';
import { readAudit } from '../../../src/core/audit.ts';
import { threeMembers } from '../http/builders.ts';
import { ctl, type World } from './fakes.ts';

const aWorld = (over: Partial<World> = {}): World => ({ clusters: { demo: threeMembers() }, ...over });
const kept = (world: World) => readAudit(String(world.clusters['demo']?.['pgha/audit'])).entries;

describe('what pgha-ctl writes into etcd itself', () => {
  it('is written down: a configuration before and after', async () => {
    const world = aWorld();
    expect((await ctl(world, 'edit-config', '-s', 'ttl=20', '--force')).code).toBe(0);
    expect(kept(world)).toMatchObject([
      {
        member: null,
        asker: { address: null, says: 'alice@db1' },
        request: 'edit-config',
        ok: true,
        before: { ttl: 10 },
        after: { ttl: 20 },
      },
    ]);
  });

  it('is written down: a failover while no member answers', async () => {
    const world = aWorld();
    await ctl(world, 'failover', '--candidate', 'b', '--force', '--no-wait');
    expect(kept(world)).toMatchObject([{ request: 'failover', asked: { member: 'b' } }]);
  });

  it('is done all the same when it cannot be written down, which is said', async () => {
    const { code, err } = await ctl(aWorld({ chronicleRefuses: true }), 'edit-config', '-s', 'ttl=20', '--force');
    expect(code).toBe(0);
    expect(err).toBe('Warning: done, but not written into the audit trail: no answer');
  });
});

describe('pgha-ctl audit', () => {
  const trail = [
    {
      time: '2026-11-20T10:44:00.000Z',
      member: 'a',
      address: '10.0.0.9',
      login: 'admin',
      says: 'alice@db1',
      request: 'PATCH /config',
      ok: true,
      status: 200,
      said: 'done',
      before: { ttl: 10 },
      after: { ttl: 20 },
    },
    {
      time: '2026-11-20T10:45:00.000Z',
      says: 'bob@db2',
      request: 'edit-config\u001b[2J',
      ok: false,
      said: 'x'.repeat(250),
    },
  ];

  it('shows who asked for what, newest first', async () => {
    const world = aWorld({ clusters: { demo: { ...threeMembers(), 'pgha/audit': trail } } });
    const { out, code } = await ctl(world, 'audit');
    expect(code).toBe(0);
    const rows = out.split('\n').slice(3, -1);
    expect(rows[0]).toMatch(/bob@db2 .* edit-config\?\[2J .* f .* x{117}\.\.\./);
    expect(rows[1]).toMatch(
      /admin \(alice@db1\) from 10.0.0.9 \| a .* PATCH \/config .* t .* 200 done .* {"ttl":10} -> {"ttl":20}/,
    );
    const limited = await ctl(world, 'audit', 'demo', '--limit', '1', '-f', 'json');
    expect(JSON.parse(limited.out)).toMatchObject([{ says: 'bob@db2', ok: false }]);
    expect((await ctl(world, 'audit', '-f', 'tsv')).out.split('\n')).toHaveLength(3);
  });

  it('says so when there is nothing, or nothing that can be read', async () => {
    expect((await ctl(aWorld(), 'audit')).out).toBe('Nothing was asked for.');
    const world = aWorld({ clusters: { demo: { ...threeMembers(), 'pgha/audit': 'rubbish' } } });
    const { err, code } = await ctl(world, 'audit');
    expect([code, err]).toEqual([0, "Warning: etcd's key pgha/audit is not JSON."]);
  });
});
