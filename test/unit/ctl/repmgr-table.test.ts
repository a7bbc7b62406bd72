import { describe, expect, it } from 'vitest';
import { threeMembers } from '../http/builders.ts';
import { ctl } from './fakes.ts';

const OURS = { version: '0.1.0', priority: 100, location: 'default', role: 'node', guard: 'on' };

const member = (id: number, over: object = {}, ours: object = {}) => ({
  conn_url: `postgres://10.0.0.${id}:5432/postgres`,
  state: 'running',
  role: 'replica',
  timeline: 2,
  replication_state: 'streaming',
  ...over,
  pgha: { ...OURS, node_id: id, ...ours },
});

const cluster = (over: object = {}) =>
  threeMembers({
    'members/a': member(1, { role: 'primary', replication_state: undefined }),
    'members/b': member(2, {}, { priority: 0, location: 'dc2', receives_from: 'a' }),
    'members/c': member(3, {}, { upstream: 'b', receives_from: 'b' }),
    ...over,
  });

describe('pgha-ctl list --format repmgr', () => {
  it("prints the table of repmgr's cluster show", async () => {
    const { out, code } = await ctl({ clusters: { demo: cluster() } }, 'list', '--format', 'repmgr');
    expect(out).toBe(
      [
        ' ID | Name | Role    | Status    | Upstream | Location | Priority | Timeline | Connection string',
        '----+------+---------+-----------+----------+----------+----------+----------+-------------------------',
        ' 1  | a    | primary | * running |          | default  | 100      | 2        | host=10.0.0.1 port=5432',
        ' 2  | b    | standby |   running | a        | dc2      | 0        | 2        | host=10.0.0.2 port=5432',
        ' 3  | c    | standby |   running | b        | default  | 100      | 2        | host=10.0.0.3 port=5432',
      ].join('\n'),
    );
    expect(code).toBe(0);
  });

  it('--compact leaves the connection strings out and shortens titles', async () => {
    const { out } = await ctl({ clusters: { demo: cluster() } }, 'list', '--compact');
    expect(out.split('\n').slice(0, 3)).toEqual([
      ' ID | Name | Role    | Status    | Upstream | Location | Prio. | TLI',
      '----+------+---------+-----------+----------+----------+-------+-----',
      ' 1  | a    | primary | * running |          | default  | 100   | 2',
    ]);
  });

  it.each([
    [
      'a second primary',
      { 'members/b': member(2, { role: 'primary' }) },
      '! running as primary',
      'node "b" (ID: 2) does not hold the leader key',
    ],
    ['a server that is down', { 'members/b': member(2, { state: 'stopped' }) }, '- failed', 'is stopped'],
    ['a copy', { 'members/b': member(2, { state: 'creating replica' }) }, '? creating replica', 'is creating replica'],
    [
      'a standby that does not stream',
      { 'members/b': member(2, { replication_state: undefined }) },
      '? a ',
      'not attached to its upstream node "a"',
    ],
    [
      'one that streams from another',
      { 'members/c': member(3, {}, { upstream: 'b', receives_from: 'a' }) },
      '! b ',
      'streams from a, not from its upstream b',
    ],
    ['a leader in recovery', { 'members/a': member(1) }, '! running as standby', 'is running as standby'],
    ['nobody who leads', { leader: 'nobody-here' }, '! running as primary', 'node "a"'],
  ])('%s is a warning below the table, and makes the exit code 1', async (_what, over, status, warning) => {
    const { out, code } = await ctl({ clusters: { demo: cluster(over) } }, 'list', '-f', 'repmgr');
    expect(out).toContain(status);
    expect(out).toContain('WARNING: following issues were detected');
    expect(out).toContain(warning);
    expect(code).toBe(1);
  });

  it('shows a witness, and members of Patroni, which have no number', async () => {
    const { pgha: _ours, ...patroni } = member(3, { tags: { failover_priority: 2 } });
    const over = {
      'members/c': patroni,
      'members/w': { state: 'witness', role: 'witness', pgha: { ...OURS, role: 'witness', node_id: 9, priority: 0 } },
    };
    const { out, code } = await ctl({ clusters: { demo: cluster(over) } }, 'list', '-f', 'repmgr');
    expect(out).toContain(' 9  | w    | witness | * running | a        | default  | 0        | n/a      |');
    expect(out).toContain(
      '    | c    | standby |   running | a        | default  | 101      | 2        | host=10.0.0.3 port=5432',
    );
    expect(code).toBe(0);
  });

  it.each([
    ['-f', 'repmgr', '-e'],
    ['-f', 'json', '--compact'],
    ['--compact', '--bytes'],
  ])('%s %s %s is a wrong call', async (...args) => {
    expect(
      (await ctl({ clusters: { demo: cluster() } }, 'list', ...args.filter((one) => one !== undefined))).code,
    ).toBe(2);
  });
});

describe('pgha-ctl list --format repmgr-service', () => {
  it("prints the table of repmgr's service status, with what the daemons say themselves", async () => {
    const { out, code } = await ctl(
      {
        clusters: {
          demo: cluster({
            'members/b': {
              ...member(2, { pause: true }, { receives_from: 'a' }),
              api_url: 'http://10.0.0.2:8008/patroni',
            },
          }),
        },
        api: ({ url }) => {
          if (!url.includes('10.0.0.2')) throw new Error('connect ECONNREFUSED');
          return { status: 200, text: JSON.stringify({ patroni: {}, pgha: { pid: 4711, saw_primary_ms: 1_400 } }) };
        },
      },
      'list',
      '--format',
      'repmgr-service',
    );
    expect(out.split('\n')).toEqual([
      ' ID | Name | Role    | Status    | Upstream | repmgrd     | PID  | Paused? | Upstream last seen',
      '----+------+---------+-----------+----------+-------------+------+---------+--------------------',
      ' 1  | a    | primary | * running |          | not running | n/a  | n/a     | n/a',
      ' 2  | b    | standby |   running | a        | running     | 4711 | yes     | 1 second(s) ago',
      ' 3  | c    | standby |   running | b        | not running | n/a  | n/a     | n/a',
      '',
      'WARNING: following issues were detected',
      '  - the daemon of node "a" (ID: 1) does not answer',
      '  - the daemon of node "c" (ID: 3) does not answer',
    ]);
    expect(code).toBe(1);
  });
});
