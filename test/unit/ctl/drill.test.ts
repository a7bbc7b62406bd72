/** A rehearsal against a world in which members do as they are told. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Keys } from '../http/builders.ts';
import { threeMembers } from '../http/builders.ts';
import { type Call, ctl, type World } from './fakes.ts';

const hostOf: Readonly<Record<string, string>> = { a: '10.0.0.1', b: '10.0.0.2', c: '10.0.0.3' };

/** Members answer; a switchover changes the leader after a moment without one. */
function aWorld(over: Partial<World> = {}, keys: Keys = {}): World & { posts: Call[] } {
  const cluster = threeMembers({
    'members/c': { ...(threeMembers()['members/b'] as object), api_url: 'http://10.0.0.3:8008/patroni' },
    ...keys,
  });
  let without = 0;
  const posts: Call[] = [];
  return {
    posts,
    clusters: { demo: cluster },
    examine: {},
    api: (call) => {
      const name = Object.keys(hostOf).find((one) => call.url.includes(hostOf[one] ?? '?')) ?? '';
      const leads = cluster['leader'] === name;
      if (call.method === 'POST') {
        posts.push(call);
        without = 3;
        cluster['leader'] = (call.body as { candidate: string }).candidate;
        return { status: 200, text: 'Successfully switched over', headers: { 'pgha-paused-ms': '120' } };
      }
      if (call.path === '/primary') {
        if (leads && without > 0) without -= 1;
        return { status: leads && without === 0 ? 200 : 503, text: '' };
      }
      if (call.path === '/readiness') return { status: 200, text: '' };
      const own = { in_recovery: true, timeline: 2, position: '0/5000060', position_final: true, receiving: true };
      return { status: 200, text: JSON.stringify({ state: 'running', patroni: { name }, pgha: own }) };
    },
    ...over,
  };
}

const DRILL = ['drill', 'switchover', '--candidate', 'b', '--regardless'];

describe('pgha-ctl drill', () => {
  it('checks, and does nothing else unless it is asked to', async () => {
    for (const typed of [[], [''], ['other']]) {
      const world = aWorld({ typed });
      const { code, err, out } = await ctl(world, ...DRILL);
      expect([code, world.posts]).toEqual([0, []]);
      expect(err).toContain('Only checked: nothing was changed.');
      expect(out).toContain('The rehearsal: a switchover from a to b, and back.');
      expect(out).toContain('Planned, by the settings of the cluster:');
    }
    const failover = await ctl(aWorld(), 'drill', 'failover', '--regardless');
    expect([failover.code, failover.err]).toEqual([
      0,
      'Only checked: a failover is rehearsed with --kill-postgres, on the node of the primary.',
    ]);
  });

  it('ends where a check has found something critical', async () => {
    const { code, err } = await ctl(
      aWorld({ examine: { reach: async () => ({ kind: 'refused', said: 'no' }) } }),
      'drill',
      'switchover',
      '--yes',
    );
    expect(code).toBe(1);
    expect(err).toContain('Nothing was done: first see to');
  });

  it.each([
    ['there is no leader', { leader: undefined }, 'has no leader'],
    ['the cluster is in maintenance', { config: { pause: true } }, 'is in maintenance'],
  ])('refuses while %s', async (_what, keys, why) => {
    const world = aWorld({}, keys);
    if ('leader' in keys) delete world.clusters['demo']?.['leader'];
    const { code, err } = await ctl(world, ...DRILL, '--yes');
    expect([code, world.posts]).toEqual([1, []]);
    expect(err).toContain(why);
  });

  it('hands over and back, and tells what was planned and what it took', async () => {
    const world = aWorld({ typed: ['demo'] });
    const { code, out } = await ctl(world, ...DRILL);
    expect(world.posts.map(({ body }) => body)).toEqual([
      { leader: 'a', candidate: 'b' },
      { leader: 'b', candidate: 'a' },
    ]);
    expect(code).toBe(0);
    expect(out).toContain('Switchover from a to b: b is the primary.');
    expect(out).toContain('Switchover from b to a: a is the primary.');
    expect(out).toMatch(/\| writes stood still +\| +\d+ ms \| +120 ms \|/);
  });

  it('kills nothing of another cluster, whose node has the same name', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pgha-drill-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const file = join(directory, 'pgha.yml');
    writeFileSync(
      file,
      `scope: other
name: a
etcd3: {hosts: ['10.0.0.9:2379']}
restapi: {connect_address: '10.0.0.1:8009'}
postgresql: {data_dir: /srv/other, listen: '*:5433', connect_address: '10.0.0.1:5433'}
`,
    );
    const killed: string[] = [];
    const host = {
      uid: 0,
      postgresUid: 1,
      enabled: [],
      processes: [],
      paths: [],
      missingPrograms: [],
      timeIsKept: true,
    };
    const world = aWorld({
      kill: (dataDir) => void killed.push(dataDir),
      examine: { host: async () => host },
      env: { PGHA_SCOPE: '' },
    });
    const args = ['drill', 'failover', 'demo', '--kill-postgres', '--yes', '--regardless'];
    const { code, err } = await ctl(world, '-c', file, ...args);
    expect([code, killed]).toEqual([1, []]);
    expect(err).toContain('is a node of cluster other');
  });

  it('kills nothing but the Postgres of the node that leads', async () => {
    let killed = 0;
    const world = aWorld({
      kill: () => {
        killed += 1;
      },
    });
    const { code, err } = await ctl(world, 'drill', 'failover', '--kill-postgres', '--yes', '--regardless');
    expect([code, killed]).toEqual([1, 0]);
    expect(err).toContain('is no file of a node');
  });
});
