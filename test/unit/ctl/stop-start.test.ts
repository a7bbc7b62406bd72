/** `stop`, `start` and `remove-member`: in which order whom is asked for what, and what is refused. */
import { describe, expect, it } from 'vitest';
import { threeMembers } from '../http/builders.ts';
import { ctl, type World } from './fakes.ts';

const streaming = (name: string): object => ({
  ...(threeMembers()[`members/${name}`] as object),
  state: 'running',
  role: 'replica',
  replication_state: 'streaming',
  receive_lsn: name === 'c' ? 0x6000000 : 0x5000060,
  tags: {},
});

function paused(
  over: Record<string, unknown> = {},
  answers: (path: string, host: string) => number = () => 200,
): World {
  const demo = threeMembers({
    config: { ttl: 10, loop_wait: 2, retry_timeout: 3, pause: true },
    'members/b': streaming('b'),
    'members/c': streaming('c'),
    ...over,
  });
  return {
    clusters: { demo },
    api: ({ url, path }) => {
      const host = /10\.0\.0\.\d/.exec(url)?.[0] ?? '';
      const status = answers(path, host);
      if (path === '/switchover' && status === 200)
        demo['members/a'] = { ...(demo['members/a'] as object), role: 'replica' };
      return { status, text: status === 200 ? 'done' : 'no' };
    },
  };
}

const asked = (ran: Awaited<ReturnType<typeof ctl>>): readonly string[] =>
  ran.calls.map(({ method, url, path }) => `${method} ${/10\.0\.0\.(\d)/.exec(url)?.[1]} ${path}`);

describe('pgha-ctl stop', () => {
  it('stops a standby', async () => {
    const ran = await ctl(paused(), 'stop', 'demo', 'b', '--force');
    expect([ran.code, asked(ran)]).toEqual([0, ['POST 2 /pgha/stop']]);
  });

  it('has the leader hand over to the standby that has most, and stops it when it is back as a standby', async () => {
    const ran = await ctl(paused(), 'stop', 'demo', 'a', '--force');
    expect([ran.code, asked(ran)]).toEqual([0, ['POST 1 /switchover', 'POST 1 /pgha/stop']]);
    expect(ran.calls[0]?.body).toEqual({ leader: 'a', candidate: 'c' });
  });

  it('stops nothing when the leader could not hand over', async () => {
    const ran = await ctl(
      paused({}, (path) => (path === '/switchover' ? 412 : 200)),
      'stop',
      'demo',
      'a',
      '--force',
    );
    expect([ran.code, asked(ran)]).toEqual([1, ['POST 1 /switchover']]);
  });

  it('stops the leader with the key where that is asked for', async () => {
    const ran = await ctl(paused(), 'stop', 'demo', 'a', '--no-hand-over', '--force');
    expect([ran.code, asked(ran)]).toEqual([0, ['POST 1 /pgha/stop']]);
  });

  it('stops all of them leader first, and ends with the first that does not stop', async () => {
    const all = await ctl(paused(), 'stop', 'demo', 'c', 'a', 'b', '--force');
    expect([all.code, asked(all)]).toEqual([0, ['POST 1 /pgha/stop', 'POST 2 /pgha/stop', 'POST 3 /pgha/stop']]);
    const some = await ctl(
      paused({}, (_path, host) => (host.endsWith('2') ? 503 : 200)),
      'stop',
      'demo',
      'a',
      'b',
      'c',
      '--force',
    );
    expect([some.code, asked(some)]).toEqual([1, ['POST 1 /pgha/stop', 'POST 2 /pgha/stop']]);
  });

  it('refuses a leader whom nobody could follow, a cluster that is not in maintenance, and a call without names', async () => {
    const down = paused({
      'members/b': { ...streaming('b'), state: 'stopped' },
      'members/c': { ...streaming('c'), tags: { nofailover: true } },
    });
    expect(await ctl(down, 'stop', 'demo', 'a', '--force')).toMatchObject({
      code: 1,
      calls: [],
      err: expect.stringContaining('--no-hand-over'),
    });
    const running = paused({ config: {} });
    expect(await ctl(running, 'stop', 'demo', 'b', '--force')).toMatchObject({
      code: 1,
      calls: [],
      err: expect.stringContaining('pgha-ctl pause --wait'),
    });
    expect(await ctl(running, 'start', 'demo', 'b')).toMatchObject({ code: 1, calls: [] });
    expect(await ctl(paused(), 'stop', 'demo')).toMatchObject({ code: 2, calls: [] });
  });

  it('asks first', async () => {
    const ran = await ctl({ ...paused(), typed: ['n'] }, 'stop', 'demo', 'a');
    expect(ran).toMatchObject({ code: 1, calls: [] });
    expect(ran.asked.join()).toContain('a hands over to c first');
  });
});

describe('pgha-ctl start', () => {
  it('starts all of them, leader first, also after one that does not start', async () => {
    const ran = await ctl(
      paused({}, (_path, host) => (host.endsWith('1') ? 503 : 200)),
      'start',
      'demo',
    );
    expect([ran.code, asked(ran)]).toEqual([1, ['POST 1 /pgha/start', 'POST 2 /pgha/start', 'POST 3 /pgha/start']]);
  });
});

describe('pgha-ctl remove-member', () => {
  const gone = (): World => {
    const world = paused({ status: { optime: 1, retain_slots: ['b', 'c'] } });
    delete world.clusters['demo']?.['members/c'];
    return world;
  };

  it('has every member forget it, the leader first', async () => {
    const world = gone();
    const demo = world.clusters['demo'] ?? {};
    const { api } = world;
    const ran = await ctl(
      {
        ...world,
        api: (call) => {
          demo['status'] = { optime: 1, retain_slots: ['b'] };
          return api?.(call) ?? { status: 500, text: '' };
        },
      },
      'remove-member',
      'demo',
      'c',
      '--force',
    );
    expect([ran.code, asked(ran)]).toEqual([0, ['POST 1 /pgha/forget-member', 'POST 2 /pgha/forget-member']]);
    expect(ran.calls[0]?.body).toEqual({ member: 'c' });
  });

  it('refuses one that lives, the leader, and everything while there is no leader', async () => {
    expect(await ctl(paused(), 'remove-member', 'demo', 'c', '--force')).toMatchObject({
      code: 1,
      calls: [],
      err: expect.stringContaining('stop its service first'),
    });
    expect(await ctl(paused(), 'remove-member', 'a', '--force')).toMatchObject({
      code: 1,
      calls: [],
      err: expect.stringContaining('a leads demo'),
    });
    const leaderless = gone();
    delete leaderless.clusters['demo']?.['leader'];
    expect(await ctl(leaderless, 'remove-member', 'c', '--force')).toMatchObject({ code: 1, calls: [] });
    expect(await ctl(gone(), 'remove-member')).toMatchObject({ code: 2, calls: [] });
  });
});
