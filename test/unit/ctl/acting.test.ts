import { describe, expect, it } from 'vitest';
import { type Keys, threeMembers } from '../http/builders.ts';
import { type Call, ctl, type World } from './fakes.ts';

const PATRONI = JSON.stringify({
  state: 'running',
  xlog: { received_location: 1, replayed_location: 1 },
  timeline: 2,
  patroni: { version: '4.1.4' },
});

/** Three members that answer; a switchover to `next` succeeds, and the new leader takes writes. */
function aWorld(
  over: Omit<Partial<World>, 'clusters'> & { next?: string; refuse?: string } = {},
): World & { clusters: { demo: Keys } } {
  const { next = 'b', refuse, ...rest } = over;
  const demo = threeMembers();
  return {
    clusters: { demo },
    api: ({ method, path }: Call) => {
      if (method === 'GET' && path === '/patroni') return { status: 200, text: PATRONI };
      if (method === 'GET') return { status: 200, text: '' };
      if (refuse !== undefined) return { status: 412, text: refuse };
      if (path === '/switchover' || path === '/failover') {
        demo['leader'] = next;
        return { status: 200, text: `Successfully switched over to "${next}"`, headers: { 'pgha-paused-ms': '312' } };
      }
      if (path === '/config') return { status: 200, text: '{}' };
      if (path === '/reload') return { status: 202, text: 'reload scheduled' };
      return { status: 200, text: 'done' };
    },
    ...rest,
  };
}

const writes = (calls: readonly Call[]): readonly string[] =>
  calls
    .filter((call) => call.method !== 'GET')
    .map((call) => `${call.method} ${call.url.slice(7, 15)} ${call.path} ${JSON.stringify(call.body ?? null)}`);

describe('pgha-ctl switchover', () => {
  it('asks the leader, waits for the new primary, and says how long writes stood still', async () => {
    const ran = await ctl(aWorld(), 'switchover', '--candidate', 'b', '--force');
    expect(ran.code).toBe(0);
    expect(writes(ran.calls)).toEqual(['POST 10.0.0.1 /switchover {"leader":"a","candidate":"b"}']);
    expect(ran.calls.at(-1)).toMatchObject({ url: 'http://10.0.0.2:8008/patroni', path: '/primary' });
    expect(ran.out).toContain('Successfully switched over to "b"\nWrites paused for 312 ms.');
    expect(ran.out).toContain('| b      | 10.0.0.2 | Leader ');
    expect(ran.asked).toEqual([]);
  });

  it('asks what was not given, as patronictl does, with the topology before the last question', async () => {
    const ran = await ctl(aWorld({ typed: ['', 'b', '', 'y'] }), 'switchover');
    expect(ran.code).toBe(0);
    expect(ran.asked).toEqual([
      'Primary [a]: ',
      "Candidate ['b'] []: ",
      expect.stringContaining('When should the switchover take place'),
      'Are you sure you want to switchover cluster demo, demoting current leader a? [y/N]: ',
    ]);
    expect(ran.out.startsWith('Current cluster topology\n+ Cluster: demo')).toBe(true);
  });

  it('does nothing when the answer is no, or when there is nobody to answer', async () => {
    for (const typed of [['a', 'b', 'now', 'n'], ['a', 'b'], []]) {
      const ran = await ctl(aWorld({ typed }), 'switchover');
      expect([ran.code, writes(ran.calls)]).toEqual([1, []]);
      expect(ran.err).toContain('Aborted');
    }
  });

  it('fails when the member refuses, with its words', async () => {
    const ran = await ctl(aWorld({ refuse: 'no good candidates have been found' }), 'switchover', '--force');
    expect(ran.code).toBe(1);
    expect(ran.out).toContain('Switchover failed, details: 412, no good candidates have been found');
  });

  it('refuses a wrong leader, an unknown candidate, the leader itself, and times that are none or in the past', async () => {
    for (const args of [
      ['--leader', 'b'],
      ['--candidate', 'x'],
      ['--candidate', 'a'],
      ['--scheduled', 'tomorrow'],
      ['--scheduled', '2020-01-01T10:00Z'],
    ]) {
      const ran = await ctl(aWorld(), 'switchover', '--force', ...args);
      expect([args, ran.code, writes(ran.calls)]).toEqual([args, 1, []]);
      expect(ran.err).toMatch(/^Error: /);
    }
  });

  it('only schedules when told a time', async () => {
    const world = aWorld({ next: 'a' });
    const ran = await ctl(world, 'switchover', '--force', '--scheduled', '2030-01-01T10:00+00');
    expect(writes(ran.calls)).toEqual([
      'POST 10.0.0.1 /switchover {"leader":"a","scheduled_at":"2030-01-01T10:00:00+00:00"}',
    ]);
    expect(ran.code).toBe(0);
  });

  it('takes a time without a zone for one of the terminal, and shows it with its zone', async () => {
    const typed = ['', 'b', '2030-01-01T10:00', 'y'];
    const ran = await ctl(aWorld({ next: 'a', typed }), 'switchover');
    expect(ran.asked.at(-1)).toContain('at 2030-01-01T10:00:00+01:00, demoting');
    expect(writes(ran.calls)).toEqual([
      'POST 10.0.0.1 /switchover {"leader":"a","candidate":"b","scheduled_at":"2030-01-01T10:00:00+01:00"}',
    ]);
  });

  it('checks and changes nothing with --dry-run', async () => {
    const ran = await ctl(aWorld(), 'switchover', '--dry-run', '--force');
    expect([ran.code, writes(ran.calls)]).toEqual([0, []]);
    expect(ran.out).toBe('ok: b can take over\nok: c can take over');
    const silent = await ctl({ clusters: { demo: threeMembers() } }, 'switchover', '--dry-run', '--force');
    expect(silent.code).toBe(1);
    expect(silent.out).toContain('no: b does not answer');
  });

  it('fails when no new primary takes writes in time', async () => {
    const ran = await ctl(aWorld({ next: 'a' }), 'switchover', '--force');
    expect(ran.code).toBe(1);
    expect(ran.out).toContain('no new primary takes writes');
  });

  it('prints the result for programs', async () => {
    const ran = await ctl(aWorld(), 'switchover', '--force', '--format', 'json');
    expect(JSON.parse(ran.out)).toEqual([
      expect.objectContaining({
        action: 'switchover',
        ok: true,
        status: 200,
        paused_ms: 312,
        leader: 'b',
        writable: true,
      }),
    ]);
  });
});

describe('pgha-ctl failover', () => {
  it('asks the candidate when there is no leader', async () => {
    const world = aWorld();
    delete world.clusters.demo['leader'];
    const ran = await ctl(world, 'failover', '--candidate', 'b', '--force');
    expect(writes(ran.calls)).toEqual(['POST 10.0.0.2 /failover {"candidate":"b"}']);
    expect(ran.code).toBe(0);
  });

  it('passes by a leader whose daemon is gone', async () => {
    const world = aWorld();
    const { api } = world;
    world.api = (call) => {
      if (call.url.includes('10.0.0.1')) return { status: 503, text: '{"state":"no daemon"}' };
      return api?.(call) ?? { status: 500, text: '' };
    };
    expect(writes((await ctl(world, 'failover', '--candidate', 'b', '--force')).calls)).toEqual([
      'POST 10.0.0.2 /failover {"candidate":"b"}',
    ]);
  });

  it('asks once more for a candidate that may lack commits, and takes yes for the blame', async () => {
    const asynchronous = (typed: readonly string[]) => {
      const world = aWorld({ typed });
      world.clusters.demo['config'] = { synchronous_mode: true };
      world.clusters.demo['sync'] = { leader: 'a', quorum: 0, sync_standby: 'c' };
      return world;
    };
    const ran = await ctl(asynchronous(['y', 'y']), 'failover', '--candidate', 'b');
    expect(ran.asked[0]).toContain('asynchronous node b? Commits that it lacks are lost.');
    expect(writes(ran.calls)).toEqual(['POST 10.0.0.1 /failover {"candidate":"b","accept_data_loss":true}']);
    expect(writes((await ctl(asynchronous(['n']), 'failover', '--candidate', 'b')).calls)).toEqual([]);
    // Nobody was asked, so nobody has said so.
    expect(writes((await ctl(asynchronous([]), 'failover', '--candidate', 'b', '--force')).calls)).toEqual([
      'POST 10.0.0.1 /failover {"candidate":"b"}',
    ]);
    expect((await ctl(asynchronous(['y']), 'failover', '--candidate', 'c')).asked).toHaveLength(1);
  });

  it('writes the wish to etcd when no member answers, and does not call that done', async () => {
    const world: World = { clusters: { demo: threeMembers() } };
    const ran = await ctl(world, 'failover', '--candidate', 'b', '--force');
    expect(ran.txns[0]?.success).toEqual([{ op: 'put', key: 'failover', value: '{"member":"b"}', lease: null }]);
    expect(ran.code).toBe(1);
    expect(ran.out).toContain('written to etcd');
  });

  it('needs a candidate', async () => {
    expect((await ctl(aWorld(), 'failover', '--force')).code).toBe(1);
  });
});

describe('pgha-ctl restart, reload, reinit', () => {
  it('takes CLUSTER MEMBER and MEMBER alone, and restarts the leader last', async () => {
    const both = await ctl(aWorld(), 'restart', 'demo', 'b', '--force');
    expect(both.out).toBe('Success: restart on member b');
    expect((await ctl(aWorld(), 'restart', 'b', '--force')).out).toBe(both.out);
    const all = await ctl(aWorld(), 'restart', '--force', '--timeout', '60');
    expect(writes(all.calls)).toEqual([
      'POST 10.0.0.2 /restart {"timeout":60}',
      'POST 10.0.0.3 /restart {"timeout":60}',
      'POST 10.0.0.1 /restart {"timeout":60}',
    ]);
  });

  it('restarts by role, and only where it is pending', async () => {
    const ran = await ctl(aWorld(), 'restart', '-r', 'leader', '--force');
    expect(writes(ran.calls)).toHaveLength(1);
    expect((await ctl(aWorld(), 'restart', '--pending', '--force')).code).toBe(1);
    const world = aWorld();
    world.clusters.demo['members/b'] = { ...(world.clusters.demo['members/b'] as object), pending_restart: true };
    expect(writes((await ctl(world, 'restart', '--pending', '--force')).calls)).toEqual([
      'POST 10.0.0.2 /restart {"restart_pending":true}',
    ]);
  });

  it('ends with 1 when a member refuses', async () => {
    const ran = await ctl(aWorld({ refuse: 'restart conditions are not satisfied' }), 'restart', 'b', '--force');
    expect(ran.code).toBe(1);
    expect(ran.out).toBe('Failed: restart for member b, status code=412, (restart conditions are not satisfied)');
  });

  it('asks when, shows the members, asks whether, and asks from which version on, as patronictl does', async () => {
    const ran = await ctl(aWorld({ typed: ['', 'y', '15.19'] }), 'restart', 'demo', 'b');
    expect(ran.asked).toEqual([
      expect.stringMatching(/^When should the restart take place .* \[now\]: $/),
      'Are you sure you want to restart members b? [y/N]: ',
      expect.stringMatching(/^Restart if the PostgreSQL version is less than provided .* \[\]: $/),
    ]);
    expect(ran.out.startsWith('+ Cluster: demo')).toBe(true);
    expect(writes(ran.calls)).toEqual(['POST 10.0.0.2 /restart {"postgres_version":"15.19"}']);
  });

  it('puts it off to a time', async () => {
    const world = aWorld();
    world.api = () => ({ status: 202, text: 'Restart scheduled' });
    const ran = await ctl(world, 'restart', 'demo', 'b', '--scheduled', '2030-01-01T10:00Z', '--pending', '--force');
    expect([ran.code, writes(ran.calls)]).toEqual([1, []]);
    world.clusters.demo['members/b'] = { ...(world.clusters.demo['members/b'] as object), pending_restart: true };
    const again = await ctl(world, 'restart', 'demo', 'b', '--scheduled', '2030-01-01T10:00Z', '--pending', '--force');
    expect(again.out).toBe('Success: restart scheduled on member b');
    expect(writes(again.calls)).toEqual([
      'POST 10.0.0.2 /restart {"schedule":"2030-01-01T10:00:00+00:00","restart_pending":true}',
    ]);
  });

  it('restarts nothing for wrong versions and times, and schedules nothing in maintenance', async () => {
    const paused = { ...threeMembers(), config: { pause: true } };
    const rows: readonly (readonly [readonly string[], number, Keys?])[] = [
      [['--pg-version', '15'], 2],
      [['--scheduled', 'noon'], 1],
      [['--scheduled', '2020-01-01T10:00Z'], 1],
      [['--timeout', 'soon'], 2],
      [['--scheduled', '2030-01-01T10:00Z'], 1, paused],
    ];
    for (const [args, code, demo = threeMembers()] of rows) {
      const ran = await ctl({ ...aWorld(), clusters: { demo } }, 'restart', 'demo', 'b', '--force', ...args);
      expect([args, ran.code, writes(ran.calls)]).toEqual([args, code, []]);
    }
  });

  it('ends with 0 all the same for scripts that rest on what patronictl does', async () => {
    const env = { PGHA_CTL_EXIT_CODES: 'patronictl' };
    const ran = await ctl(aWorld({ refuse: 'no', env }), 'restart', 'b', '--force');
    expect([ran.code, ran.out]).toEqual([0, 'Failed: restart for member b, status code=412, (no)']);
    // What it refuses by itself, patronictl refuses with 1 and 2 as well.
    expect((await ctl(aWorld({ env }), 'restart', 'x', '--force')).code).toBe(1);
    expect((await ctl(aWorld({ env }), 'restart', '--nonsense')).code).toBe(2);
  });

  it('reinitializes only members that are named', async () => {
    expect(await ctl(aWorld(), 'reinit', 'demo', '--force')).toMatchObject({ code: 1, calls: [] });
    const ran = await ctl(aWorld({ typed: ['y'] }), 'reinit', 'demo', 'b', '--from-leader');
    expect(writes(ran.calls)).toEqual(['POST 10.0.0.2 /reinitialize {"force":false,"from_leader":true}']);
    expect(ran.out).toBe('Success: reinitialize for member b');
  });

  it('offers to cancel what is under way', async () => {
    const world = aWorld({ typed: ['y', 'y'] });
    world.api = ({ body }) =>
      (body as { force: boolean }).force
        ? { status: 200, text: 'reinitialize started' }
        : { status: 503, text: 'copy already in progress' };
    const ran = await ctl(world, 'reinit', 'b');
    expect(ran.code).toBe(0);
    expect(ran.asked[1]).toContain('copy already in progress');
    expect(writes(ran.calls)).toHaveLength(2);
  });

  it('reloads', async () => {
    const ran = await ctl(aWorld(), 'reload', 'demo', 'c', '--force');
    expect(ran.out).toBe('Reload request received for member c and will be processed within 2 seconds');
  });

  it('refuses a member that is none, without touching the others', async () => {
    const ran = await ctl(aWorld(), 'restart', 'demo', 'b', 'x', '--force');
    expect([ran.code, ran.calls.length]).toEqual([1, 0]);
    expect(ran.err).toContain('x is not a member of cluster demo (members: a, b, c)');
  });
});

describe('pgha-ctl flush', () => {
  const scheduled = (): Keys => ({
    ...threeMembers(),
    failover: { leader: 'a', scheduled_at: '2030-01-01T10:00:00+00:00' },
    'members/b': { ...(threeMembers()['members/b'] as object), scheduled_restart: { schedule: '2030-01-01T10:00Z' } },
  });
  const world = (over: Partial<World> = {}): World => ({
    clusters: { demo: scheduled() },
    api: () => ({ status: 200, text: 'deleted' }),
    ...over,
  });

  it('withdraws restarts where there are some, and asks first', async () => {
    const ran = await ctl(world({ typed: ['y'] }), 'flush', 'demo', 'restart');
    expect(ran.asked).toEqual(['Are you sure you want to flush members a, b, c? [y/N]: ']);
    expect(writes(ran.calls)).toEqual(['DELETE 10.0.0.2 /restart null']);
    expect(ran.out.split('\n')).toEqual([
      'No scheduled restart for member a',
      'Success: flush scheduled restart for member b',
      'No scheduled restart for member c',
    ]);
    expect(ran.code).toBe(0);
    expect(writes((await ctl(world({ typed: ['n'] }), 'flush', 'demo', 'restart')).calls)).toEqual([]);
  });

  it('withdraws the switchover of the cluster through the leader', async () => {
    const ran = await ctl(world(), 'flush', 'demo', 'switchover');
    expect(writes(ran.calls)).toEqual(['DELETE 10.0.0.1 /switchover null']);
    expect([ran.code, ran.out]).toEqual([0, 'Success: scheduled switchover deleted in cluster demo']);
    const none = await ctl({ ...world(), clusters: { demo: threeMembers() } }, 'flush', 'demo', 'switchover');
    expect([none.code, none.out, none.calls]).toEqual([0, 'No pending scheduled switchover in cluster demo', []]);
  });

  it('withdraws the switchover in etcd when no member answers', async () => {
    const { api: _, ...silent } = world();
    const ran = await ctl(silent, 'flush', 'demo', 'switchover');
    expect([ran.code, ran.out]).toEqual([0, 'Success: scheduled switchover deleted in cluster demo']);
    expect(ran.txns).toMatchObject([
      { compare: [{ key: 'failover' }], success: [{ op: 'put', key: 'failover', value: '{}' }] },
    ]);
  });

  it('fails with the words of the member', async () => {
    const api = () => ({ status: 409, text: '<html><body><h1>409</h1><p>look again</p></body></html>' });
    const ran = await ctl(world({ api }), 'flush', 'demo', 'switchover');
    expect(ran.code).toBe(1);
    expect(ran.out).toBe('Failed: flush scheduled switchover for member a, status code=409, (look again)');
  });

  it('has to be told what', async () => {
    expect((await ctl(world(), 'flush', 'demo', 'b')).code).toBe(2);
    expect((await ctl(world(), 'flush')).code).toBe(2);
    expect((await ctl(world(), 'flush', 'demo', 'x', 'restart')).code).toBe(1);
  });
});

describe('pgha-ctl restart-daemon', () => {
  /** Members whose daemons are another process, of another version, some looks after they were asked. */
  function anUpgrade(over: { readonly refuses?: string; readonly staysAway?: string } = {}): World {
    const asked = new Map<string, number>();
    const member = (url: string): string => ['a', 'b', 'c'][Number(url.charAt(14)) - 1] ?? '?';
    return {
      ...aWorld(),
      api: ({ url, method }) => {
        const name = member(url);
        if (method === 'POST' && name === over.refuses) return { status: 503, text: 'copy is under way' };
        if (method === 'POST') {
          asked.set(name, 0);
          return { status: 202, text: 'this daemon makes room for the next one' };
        }
        const looks = asked.get(name);
        if (looks !== undefined) asked.set(name, looks + 1);
        if (looks !== undefined && (looks < 3 || name === over.staysAway))
          return { status: 503, text: '{"state":"no daemon","role":"unknown"}' };
        const next = looks !== undefined;
        const pgha = {
          version: next ? '0.2.0' : '0.1.0',
          started_at: next ? '2026-11-20T10:45:00Z' : '2026-11-19T10:00:00Z',
          // The window is taken up a moment after the daemon has begun to answer.
          writable: name === 'a' && (looks === undefined || looks > 5),
          cluster_age_ms: 20,
        };
        return { status: 200, text: JSON.stringify({ postmaster_start_time: '2026-11-18', pgha }) };
      },
    };
  }

  it('goes from member to member, the leader last, and waits until each is as it was', async () => {
    const ran = await ctl(anUpgrade(), 'restart-daemon', '--force');
    expect(ran.code).toBe(0);
    expect(writes(ran.calls)).toEqual([
      'POST 10.0.0.2 /pgha/restart-daemon {"force":false}',
      'POST 10.0.0.3 /pgha/restart-daemon {"force":false}',
      'POST 10.0.0.1 /pgha/restart-daemon {"force":false}',
    ]);
    expect(ran.out.split('\n')[2]).toBe(
      'Success: restart-daemon on member a: pgha 0.1.0 -> 0.2.0, back after 700 ms; Postgres ran on',
    );
    const one = await ctl(anUpgrade(), 'restart-daemon', 'demo', 'b', '--force', '--regardless', '--format', 'json');
    expect(writes(one.calls)).toEqual(['POST 10.0.0.2 /pgha/restart-daemon {"force":true}']);
    expect(JSON.parse(one.out)).toMatchObject([{ member: 'b', ok: true, version_before: '0.1.0', version: '0.2.0' }]);
  });

  it('stops at the first that refuses or does not come back, and says who was spared', async () => {
    const refused = await ctl(anUpgrade({ refuses: 'b' }), 'restart-daemon', '--force');
    expect(refused).toMatchObject({ code: 1, err: 'Not restarted after that: c, a' });
    expect(refused.out).toBe('Failed: restart-daemon for member b, status code=503, (copy is under way)');
    const lost = await ctl(anUpgrade({ staysAway: 'c' }), 'restart-daemon', '--force');
    expect(lost).toMatchObject({ code: 1, err: 'Not restarted after that: a' });
    expect(lost.out).toContain('no daemon was back as before within 30 s');
  });

  it('asks first, and can be told not to wait', async () => {
    const no = await ctl({ ...anUpgrade(), typed: ['n'] }, 'restart-daemon', 'b');
    expect([no.code, writes(no.calls)]).toEqual([1, []]);
    const ran = await ctl(anUpgrade({ staysAway: 'b' }), 'restart-daemon', 'b', '--force', '--no-wait');
    expect([ran.code, ran.out]).toEqual([
      0,
      'Success: restart-daemon on member b: this daemon makes room for the next one',
    ]);
  });
});

describe('pgha-ctl pause and resume', () => {
  it('sets and removes the flag through the leader', async () => {
    const paused = await ctl(aWorld(), 'pause');
    expect(paused.out).toBe('Success: cluster management is paused');
    expect(writes(paused.calls)).toEqual(['PATCH 10.0.0.1 /config {"pause":true}']);
    const world = aWorld();
    world.clusters.demo['config'] = { pause: true };
    expect(writes((await ctl(world, 'resume')).calls)).toEqual(['PATCH 10.0.0.1 /config {"pause":null}']);
  });

  it('refuses what is so already', async () => {
    expect(await ctl(aWorld(), 'resume')).toMatchObject({ code: 1, err: 'Error: Cluster is not paused' });
  });
});

describe('pgha-ctl edit-config', () => {
  it('merges, shows the difference, and writes only over what it has read', async () => {
    const ran = await ctl(
      aWorld(),
      'edit-config',
      '-s',
      'ttl=20',
      '-s',
      'retry_timeout=null',
      '-p',
      'max_connections=200',
      '--force',
    );
    expect(ran.code).toBe(0);
    expect(ran.out).toContain('-ttl: 10\n+ttl: 20\n loop_wait: 2\n-retry_timeout: 3\n+postgresql:');
    expect(ran.txns).toEqual([
      {
        compare: [{ key: 'config', modRevision: 4n }],
        success: [
          {
            op: 'put',
            key: 'config',
            value: '{"ttl":20,"loop_wait":2,"postgresql":{"parameters":{"max_connections":200}}}',
            lease: null,
          },
        ],
        failure: [],
      },
    ]);
  });

  it('writes nothing when nothing changes, when it is not wanted, or when it cannot hold', async () => {
    expect(await ctl(aWorld(), 'edit-config', '-s', 'ttl=10')).toMatchObject({ code: 0, out: 'Not changed', txns: [] });
    expect(await ctl(aWorld({ typed: ['n'] }), 'edit-config', '-s', 'ttl=20')).toMatchObject({ code: 1, txns: [] });
    const misspelt = await ctl(aWorld(), 'edit-config', '-s', 'tttl=20', '--force');
    expect(misspelt).toMatchObject({ code: 1, txns: [] });
    expect(misspelt.err).toContain('ttl');
    expect(await ctl(aWorld(), 'edit-config', '-s', 'ttl=5', '-s', 'loop_wait=5', '--force')).toMatchObject({
      code: 1,
      txns: [],
    });
  });

  it('does not blame an edit for what was wrong before it', async () => {
    const world = aWorld();
    world.clusters.demo['config'] = { ttl: 10, loop_wait: 2, retry_timeout: 3, from_the_future: 1 };
    expect((await ctl(world, 'edit-config', '-s', 'ttl=20', '--force')).code).toBe(0);
  });

  it('applies and replaces from standard input', async () => {
    const applied = await ctl(aWorld({ typed: ['ttl: 20'] }), 'edit-config', '--apply', '-', '--force', '-q');
    expect(applied.txns[0]?.success[0]).toMatchObject({ value: '{"ttl":20,"loop_wait":2,"retry_timeout":3}' });
    const replaced = await ctl(aWorld({ typed: ['ttl: 20'] }), 'edit-config', '--replace', '-', '--force', '-q');
    expect(replaced.txns[0]?.success[0]).toMatchObject({ value: '{"ttl":20}' });
    expect(replaced.out).toBe('Configuration changed');
  });
});

describe('pgha-ctl remove', () => {
  it('removes every key after three confirmations', async () => {
    const world = aWorld({ typed: ['demo', 'Yes I am aware', 'a'] });
    Object.assign(world.clusters.demo, { 'pgha/events/a': [], 'pgha/lag': [] });
    const ran = await ctl(world, 'remove', 'demo');
    expect(ran.code).toBe(0);
    expect(world.clusters.demo).toEqual({});
  });

  it('removes nothing unless every word is right', async () => {
    for (const typed of [['dem'], ['demo', 'yes'], ['demo', 'Yes I am aware', 'b'], []]) {
      const ran = await ctl(aWorld({ typed }), 'remove', 'demo');
      expect([ran.code, ran.txns]).toEqual([1, []]);
    }
  });
});

describe('pgha-ctl demote-cluster and promote-cluster', () => {
  /** A cluster whose leader does what is stored. */
  const obedient = (over: Omit<Partial<World>, 'clusters'> = {}): World & { clusters: { demo: Keys } } => {
    const world = aWorld(over);
    const { api, clusters } = world;
    const become = (role: string): void => {
      clusters.demo['members/a'] = { ...(clusters.demo['members/a'] as object), role };
    };
    world.api = (call) => {
      const { standby_cluster: source } = (call.body ?? {}) as { standby_cluster?: unknown };
      if (call.path === '/config' && call.method === 'PATCH') become(source === null ? 'primary' : 'standby_leader');
      return api?.(call) ?? { status: 500, text: '' };
    };
    return world;
  };

  it('stores whom the cluster follows, and waits until its leader does', async () => {
    const ran = await ctl(
      obedient({ typed: ['y'] }),
      ...['demote-cluster', '--host', 'far1,far2', '--port', '5433', '--primary-slot-name', 'us'],
    );
    expect(ran.asked).toEqual(['Are you sure you want to demote demo cluster? [y/N]: ']);
    expect(writes(ran.calls)).toEqual([
      'PATCH 10.0.0.1 /config {"standby_cluster":{"host":"far1,far2","port":5433,"primary_slot_name":"us"}}',
    ]);
    expect([ran.code, ran.out]).toEqual([0, expect.stringContaining('cluster "demo" is successfully demoted')]);
  });

  it('takes it away again, and waits until the leader is a primary', async () => {
    const world = obedient();
    expect((await ctl(world, 'promote-cluster', '--force')).err).toContain('is no standby cluster');
    world.clusters.demo['members/a'] = { ...(world.clusters.demo['members/a'] as object), role: 'standby_leader' };
    const ran = await ctl(world, 'promote-cluster', '--force');
    expect(writes(ran.calls)).toEqual(['PATCH 10.0.0.1 /config {"standby_cluster":null}']);
    expect([ran.code, ran.out]).toEqual([0, expect.stringContaining('cluster "demo" is successfully promoted')]);
  });

  it('changes nothing without a yes, without a source, with a wrong port, and without a leader', async () => {
    const said = await ctl(obedient({ typed: ['n'] }), 'demote-cluster', '--host', 'x');
    expect([said.code, writes(said.calls)]).toEqual([1, []]);
    expect((await ctl(obedient(), 'demote-cluster', '--force')).code).toBe(2);
    expect((await ctl(obedient(), 'demote-cluster', '--port', '70000', '--force')).code).toBe(2);
    const world = obedient();
    delete world.clusters.demo['leader'];
    expect((await ctl(world, 'demote-cluster', '--host', 'x', '--force')).code).toBe(1);
  });
});
