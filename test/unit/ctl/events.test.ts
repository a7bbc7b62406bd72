import { describe, expect, it } from 'vitest';
import { type ClusterEvent, eventAsJson } from '../../../src/core/cluster-events.ts';
import { threeMembers } from '../http/builders.ts';
import { ctl, type World } from './fakes.ts';

const event = (minute: number, node: string, name: string, over: Partial<ClusterEvent> = {}): unknown =>
  eventAsJson({
    time: `2026-11-20T14:0${minute}:00.000Z`,
    node,
    nodeId: node === 'a' ? 1 : 2,
    event: name,
    ok: true,
    details: `what ${node} did`,
    primary: null,
    ...over,
  });

const told = (): World => ({
  env: { TZ: 'UTC' },
  clusters: {
    demo: {
      ...threeMembers(),
      'pgha/events/a': [event(1, 'a', 'repmgrd_start'), event(2, 'a', 'fenced', { ok: false })],
      'pgha/events/b': [
        event(3, 'b', 'standby_promote', { primary: { id: 1, name: 'a', conninfo: null } }),
        event(4, 'b', 'repmgrd_start'),
      ],
    },
  },
});

const asked = async (...args: string[]): Promise<readonly string[]> => {
  const { code, out } = await ctl(told(), 'events', '--format', 'json', ...args);
  expect(code).toBe(0);
  return (JSON.parse(out) as Record<string, string>[]).map((one) => `${one['Name']} ${one['Event']}`);
};

describe('pgha-ctl events', () => {
  it('prints what all members told, newest first, in the columns of repmgr', async () => {
    const { out, code } = await ctl(told(), 'events', '--limit', '3');
    expect(code).toBe(0);
    const [, header, , ...rows] = out.split('\n').map((line) => line.replace(/\d\d:(\d\d:\d\d)/, 'HH:$1'));
    expect(header).toBe('| Node ID | Name | Event           | OK | Timestamp           | Details    |');
    expect(rows.slice(0, 3)).toEqual([
      '|       2 | b    | repmgrd_start   | t  | 2026-11-20 HH:04:00 | what b did |',
      '|       2 | b    | standby_promote | t  | 2026-11-20 HH:03:00 | what b did |',
      '|       1 | a    | fenced          | f  | 2026-11-20 HH:02:00 | what a did |',
    ]);
  });

  it('chooses by event, and by node or its number', async () => {
    expect(await asked()).toHaveLength(4);
    expect(await asked('--event', 'repmgrd_start')).toEqual(['b repmgrd_start', 'a repmgrd_start']);
    expect(await asked('--node', 'a')).toEqual(['a fenced', 'a repmgrd_start']);
    expect(await asked('--node', '2', '--limit', '1')).toEqual(['b repmgrd_start']);
    expect(await asked('--node', 'c')).toEqual([]);
  });

  it('takes no number that nobody has for a node', async () => {
    const world = told();
    world.clusters['demo'] = {
      ...world.clusters['demo'],
      'pgha/events/a': [event(1, 'a', 'fenced', { nodeId: null })],
    };
    for (const node of ['null', 'undefined', '']) {
      expect((await ctl(world, 'events', '--node', node)).code).toBe(2);
    }
  });

  it('lets nothing in a sentence steer the terminal', async () => {
    const world = told();
    world.clusters['demo'] = { 'pgha/events/a': [event(1, 'a', 'fenced', { details: 'a\u001b[2J' })] };
    expect((await ctl(world, 'events')).out).toContain('a?[2J');
    expect((await ctl(world, 'events', '-f', 'tsv')).out).toContain('a?[2J');
  });

  it('gives programs the whole event', async () => {
    const { out } = await ctl(told(), 'events', '--event', 'standby_promote', '-f', 'json');
    expect(JSON.parse(out)).toEqual([
      {
        'Node ID': 2,
        Name: 'b',
        Event: 'standby_promote',
        OK: true,
        Timestamp: '2026-11-20T14:03:00.000Z',
        Details: 'what b did',
        'Other node': 'a',
      },
    ]);
    const { out: tsv } = await ctl(told(), 'events', '--event', 'fenced', '-f', 'tsv');
    expect(tsv.split('\n')[1]).toBe('1\ta\tfenced\tfalse\t2026-11-20T14:02:00.000Z\twhat a did\t');
  });

  it.each([
    [['--event', 'standby_promoted'], 'there is no event standby_promoted; did you mean `standby_promote`?'],
    [['--event', 'primary_register'], 'primary_register is never told here: members register themselves'],
    [['--node', 'nobody'], 'nobody is not a node of cluster demo (nodes: a, b, c)'],
    [['--limit', '0'], 'a whole number of at least 1 is expected'],
    [['--limit', '-3'], 'a whole number of at least 1 is expected'],
    [['--limit', '1e3'], 'a whole number of at least 1 is expected'],
    [['--format', 'xml'], 'Allowed choices are pretty, tsv, json, yaml, yml'],
    [['--since', '1h'], "unknown option '--since'"],
  ])('with %j is a wrong call: %s', async (args, said) => {
    const { code, out, err } = await ctl(told(), 'events', ...args);
    expect(code).toBe(2);
    expect(err).toContain(said);
    expect(out).toBe('');
  });

  it('prints what can be read beside garbage, which it names', async () => {
    const world = told();
    (world.clusters['demo'] ?? {})['pgha/events/a'] = 'rubbish';
    const { code, out, err } = await ctl(world, 'events', '-f', 'json');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toHaveLength(2);
    expect(err).toContain("etcd's key pgha/events/a is not JSON");
  });

  it('says so where nothing was told, and where there is no cluster', async () => {
    const quiet = await ctl({ clusters: { demo: threeMembers() } }, 'events');
    expect(quiet).toMatchObject({ code: 0, out: 'No matching events.' });
    expect(JSON.parse((await ctl({ clusters: { demo: threeMembers() } }, 'events', '-f', 'json')).out)).toEqual([]);
    const none = await ctl({ clusters: {} }, 'events');
    expect(none).toMatchObject({ code: 1, err: expect.stringContaining('There is no cluster demo') });
  });
});

describe('pgha-ctl history --lag', () => {
  const world = (lag: unknown): World => ({ clusters: { demo: { ...threeMembers(), 'pgha/lag': lag } } });
  const points = [['2026-11-20T14:00:00.000Z', 'a', { b: [0, 120], c: [null, null] }]];

  it('prints the peaks of each minute, in bytes', async () => {
    const { out, code } = await ctl(world(points), 'history', '--lag');
    expect(code).toBe(0);
    const rows = out.split('\n').map((line) => line.replace(/\d\d:(\d\d:\d\d)/, 'HH:$1'));
    expect(rows.slice(3, 5)).toEqual([
      '| 2026-11-20 HH:00:00 | a       | b      |           0 |        120 |',
      '| 2026-11-20 HH:00:00 | a       | c      |     unknown |    unknown |',
    ]);
    expect(JSON.parse((await ctl(world(points), 'history', '--lag', '-f', 'json')).out)).toEqual([
      { Timestamp: '2026-11-20T14:00:00.000Z', Primary: 'a', Member: 'b', 'Receive Lag': 0, 'Replay Lag': 120 },
      { Timestamp: '2026-11-20T14:00:00.000Z', Primary: 'a', Member: 'c' },
    ]);
  });

  it('says what to switch on where nothing is kept', async () => {
    const { out, code } = await ctl({ clusters: { demo: threeMembers() } }, 'history', '--lag');
    expect(code).toBe(0);
    expect(out).toContain('monitoring_history');
  });

  it('names garbage', async () => {
    const { err, code } = await ctl(world('rubbish'), 'history', '--lag');
    expect(code).toBe(0);
    expect(err).toContain("etcd's key pgha/lag is not JSON");
  });
});
