import { describe, expect, test } from 'vitest';
import { lsn } from '../../../src/core/lsn.ts';
import {
  type Acknowledging,
  agrees,
  chooseTarget,
  keyOfTaker,
  nextStep,
  type SyncKey,
  type SyncMode,
  type SyncStandby,
  type SyncState,
  type SyncTarget,
  type SyncWish,
  sameAcknowledging,
  standing,
  type Vote,
} from '../../../src/core/quorum.ts';
import { type NodeName, nodeName } from '../../../src/core/store.ts';

const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(nodeName) as [NodeName, NodeName, NodeName, NodeName];
const key = (voters: readonly NodeName[], quorum = 0, leader = a): SyncKey => ({ leader, voters, quorum });
const waitFor = (names: readonly NodeName[], count = names.length): Acknowledging => ({
  kind: 'standbys',
  names,
  count,
});
const ALONE: Acknowledging = { kind: 'alone' };
const BLOCKED: Acknowledging = { kind: 'blocked' };

function target(mode: SyncMode, names: readonly NodeName[], count: number): SyncTarget {
  if (names.length === 0) return { voters: [], quorum: 0, acknowledging: ALONE };
  const needed = mode === 'on' ? names.length : Math.min(count, names.length);
  return { voters: names, quorum: names.length - needed, acknowledging: waitFor(names, needed) };
}

/** The steps to a target, each standby having everything at once; as text. */
function way(mode: SyncMode, from: { key: SyncKey | null; acknowledging: Acknowledging }, to: SyncTarget): string[] {
  const said: string[] = [];
  let state: SyncState = { self: a, mode, target: to, confirmed: new Set(to.voters), settled: true, ...from };
  for (let i = 0; i < 10; i += 1) {
    const step = nextStep(state);
    if (step.do === 'nothing') return said;
    if (step.do === 'write-key') {
      said.push(`key ${step.key.voters.join(',') || '-'} ${step.key.quorum}`);
      state = { ...state, key: step.key };
    } else if (step.do === 'set-names') {
      said.push(`names ${print(step.acknowledging)}`);
      state = { ...state, acknowledging: step.acknowledging };
    } else return [...said, `wait for ${step.for.join(',')}`];
  }
  throw new Error(`it does not end: ${said.join('; ')}`);
}

const print = (one: Acknowledging): string =>
  one.kind === 'standbys' ? `${one.count} of ${one.names.join(',')}` : one.kind;

describe('the steps between two pairs of sets', () => {
  const rows: readonly (readonly [string, SyncMode, SyncKey | null, Acknowledging, SyncTarget, readonly string[]])[] = [
    ['the first key names nobody', 'on', null, ALONE, target('on', [], 1), ['key - 0']],
    [
      'a standby is waited for before it may win',
      'on',
      key([]),
      ALONE,
      target('on', [b], 1),
      ['names 1 of b', 'key b 0'],
    ],
    [
      'whoever leaves cannot win before he is not waited for',
      'on',
      key([b]),
      waitFor([b]),
      target('on', [], 1),
      ['key - 0', 'names alone'],
    ],
    [
      'a dead one is replaced without a moment in which commits wait for it longer than they have to',
      'on',
      key([b]),
      waitFor([b]),
      target('on', [c], 1),
      ['key - 0', 'names 1 of c', 'key c 0'],
    ],
    [
      'of two one leaves',
      'on',
      key([b, c]),
      waitFor([b, c]),
      target('on', [c], 1),
      ['key c 0', 'names 2 of c', 'names 1 of c'],
    ],
    [
      'never the list and the count at once, where a sender that is behind would count one that is ahead',
      'on',
      key([c]),
      waitFor([c]),
      target('on', [b, c], 2),
      ['names 2 of c', 'names 2 of b,c', 'key b,c 0'],
    ],
    [
      'quorum: a voter joins by a larger quorum first',
      'quorum',
      key([b]),
      waitFor([b]),
      target('quorum', [b, c], 1),
      ['key b,c 1', 'names 1 of b,c'],
    ],
    [
      'quorum: one that died is no longer waited for, then no longer asked',
      'quorum',
      key([b, c], 1),
      waitFor([b, c], 1),
      target('quorum', [b], 1),
      ['names 1 of b', 'key b 0'],
    ],
    ['quorum: nobody is left', 'quorum', key([b]), waitFor([b]), target('quorum', [], 1), ['key - 0', 'names alone']],
    [
      'quorum: after a promotion commits wait for the ones that vote',
      'quorum',
      key([b, c], 1),
      BLOCKED,
      target('quorum', [b, c], 1),
      ['names 1 of b,c'],
    ],
    [
      'names that somebody has set by hand: nobody wins until ours are in force',
      'on',
      key([b]),
      { kind: 'foreign', text: '*' },
      target('on', [b], 1),
      ['names 1 of b'],
    ],
    [
      'names that somebody has emptied by hand, and others are wanted',
      'on',
      key([b]),
      ALONE,
      target('on', [c], 1),
      ['key - 0', 'names 1 of c', 'key c 0'],
    ],
  ];
  test.each(rows)('%s', (_name, mode, from, acknowledging, to, steps) => {
    expect(way(mode, { key: from, acknowledging }, to)).toEqual(steps);
  });

  test('a standby that lacks what was acknowledged is not a voter before it has it', () => {
    const state: SyncState = {
      self: a,
      mode: 'on',
      key: key([]),
      acknowledging: waitFor([b]),
      target: target('on', [b], 1),
      confirmed: new Set(),
      settled: true,
    };
    expect(nextStep(state)).toEqual({ do: 'wait', for: [b] });
  });

  test('with two to be waited for, the one that has everything votes before the other does', () => {
    const state: SyncState = {
      self: a,
      mode: 'on',
      key: key([]),
      acknowledging: waitFor([b, c]),
      target: target('on', [b, c], 2),
      confirmed: new Set([c]),
      settled: true,
    };
    expect(nextStep(state)).toMatchObject({ do: 'write-key', key: { voters: [c], quorum: 0 } });
  });
});

describe('who may win', () => {
  const vote = (name: NodeName, heard: Vote['heard']): Vote => ({ name, heard });
  test('the one who led last, whatever the others say', () => {
    expect(standing(key([b, c], 1), a, [])).toEqual({ kind: 'may-win' });
  });
  test('a voter that has outdone as many others as the quorum asks for', () => {
    expect(standing(key([b, c], 1), b, [vote(c, 'outdone')])).toEqual({ kind: 'may-win' });
    expect(standing(key([b, c], 1), b, [vote(c, null)])).toEqual({ kind: 'short', by: 1, missing: [c], ahead: [] });
    expect(standing(key([b, c], 1), b, [vote(c, 'ahead')])).toEqual({ kind: 'short', by: 1, missing: [], ahead: [c] });
  });
  test('one that is no voter has to outdo one more', () => {
    expect(standing(key([b, c], 1), d, [vote(b, 'outdone')])).toMatchObject({ kind: 'short', by: 1 });
    expect(standing(key([b, c], 1), d, [vote(b, 'outdone'), vote(c, 'outdone')])).toEqual({ kind: 'may-win' });
  });
  test('nobody else when the key names no voters', () => {
    expect(standing(key([]), b, [])).toMatchObject({ kind: 'short', by: 1 });
  });
  test('the taker of the key makes a voter of whoever led before', () => {
    expect(keyOfTaker(key([b, c], 1), b)).toEqual(key([a, c], 1, b));
    expect(keyOfTaker(key([b], 0), d)).toEqual(key([a, b], 0, d));
    expect(keyOfTaker(null, b)).toEqual(key([], 0, b));
  });
});

describe('who is chosen', () => {
  const wish = (over: Partial<SyncWish> = {}): SyncWish => ({
    mode: 'on',
    strict: false,
    count: 1,
    maximumLag: -1n,
    ...over,
  });
  const standby = (name: NodeName, over: Partial<SyncStandby> = {}): SyncStandby => ({
    name,
    priority: 1,
    noFailover: false,
    flushed: lsn(100n),
    ...over,
  });
  const choose = (
    of: SyncWish,
    active: readonly SyncStandby[],
    lately: readonly NodeName[] = [],
    from: SyncKey = key([]),
    now: Acknowledging = ALONE,
  ): SyncTarget => chooseTarget(of, active, new Set(lately), from, now);

  test('the highest sync_priority, then who is one already, then the furthest', () => {
    expect(choose(wish(), [standby(b), standby(c, { priority: 5 })]).voters).toEqual([c]);
    expect(choose(wish(), [standby(b, { flushed: lsn(200n) }), standby(c)], [], key([c])).voters).toEqual([c]);
    expect(choose(wish(), [standby(b), standby(c, { flushed: lsn(200n) })]).voters).toEqual([c]);
    expect(choose(wish(), [standby(b, { noFailover: true, priority: 9 }), standby(c)]).voters).toEqual([c]);
  });
  test('one with a higher priority comes: the one that has everything stays until the new one has it', () => {
    expect(choose(wish(), [standby(b), standby(c, { priority: 5 })], [], key([b])).voters).toEqual([b, c]);
    expect(choose(wish(), [standby(b), standby(c, { priority: 5 })], [], key([b, c])).voters).toEqual([c]);
  });
  test('quorum: everybody who streams, and synchronous_node_count of them', () => {
    expect(choose(wish({ mode: 'quorum' }), [standby(b), standby(c)])).toMatchObject({ voters: [b, c], quorum: 1 });
    expect(choose(wish({ mode: 'quorum', count: 2 }), [standby(b), standby(c)])).toMatchObject({ quorum: 0 });
    const never = standby(c, { noFailover: true });
    expect(choose(wish({ mode: 'quorum' }), [standby(b), never]).voters).toEqual([b]);
    expect(choose(wish({ mode: 'quorum', count: 2 }), [standby(b), never]).voters).toEqual([b, c]);
  });
  test('maximum_lag_on_syncnode leaves out who is further behind the best', () => {
    const far = standby(c, { flushed: lsn(5_000n), priority: 1 });
    expect(choose(wish({ maximumLag: 1_000n, count: 2 }), [standby(b), far]).voters).toEqual([c]);
  });
  test('one that is away for a moment stays; one that is away for longer does not', () => {
    expect(choose(wish(), [], [b], key([b]), waitFor([b])).voters).toEqual([b]);
    expect(choose(wish(), [standby(c)], [b], key([b]), waitFor([b])).voters).toEqual([c]);
    expect(choose(wish(), [], [], key([b]), waitFor([b])).acknowledging).toEqual(ALONE);
  });
  test('strict: with nobody left commits wait', () => {
    expect(choose(wish({ strict: true }), [], [], key([b]), waitFor([b])).acknowledging).toEqual(waitFor([b]));
    expect(choose(wish({ strict: true }), []).acknowledging).toEqual(BLOCKED);
  });
});

// ---- every reachable state --------------------------------------------------------------------------------------------

/** Positions as small numbers; what matters is only which is larger. */
interface World {
  leader: NodeName;
  key: SyncKey | null;
  /** The newest is what was set last; before it has settled, some sender may still go by an older one. */
  inForce: readonly Acknowledging[];
  /** null: the names have not settled. */
  mark: number | null;
  at: Readonly<Record<string, number>>;
  acked: number;
}

const LARGEST = 2;

function normalised(world: World): World {
  const values = [...Object.values(world.at), world.acked, ...(world.mark === null ? [] : [world.mark])];
  const ranks = [...new Set(values)].sort((x, y) => x - y);
  const rank = (value: number): number => ranks.indexOf(value);
  return {
    ...world,
    mark: world.mark === null ? null : rank(world.mark),
    at: Object.fromEntries(Object.entries(world.at).map(([name, value]) => [name, rank(value)])),
    acked: rank(world.acked),
  };
}

function withAcks(world: World): World {
  const head = world.at[world.leader] ?? 0;
  // A sender counts by its own copy of the names, and among all senders that think, by theirs, that they are listed.
  const listed = [...new Set(world.inForce.flatMap((one) => (one.kind === 'standbys' ? one.names : [])))];
  const reached = world.inForce.map((one) => {
    if (one.kind === 'alone') return head;
    if (one.kind !== 'standbys') return 0;
    return listed.map((name) => world.at[name] ?? 0).sort((x, y) => y - x)[one.count - 1] ?? 0;
  });
  return { ...world, acked: Math.max(world.acked, ...reached.map((one) => Math.min(one, head))) };
}

function mayWin(world: World, candidate: NodeName): boolean {
  if (world.key === null) return candidate === world.leader;
  const votes = world.key.voters
    .filter((name) => name !== candidate)
    .map((name): Vote => ({ name, heard: (world.at[name] ?? 0) <= (world.at[candidate] ?? 0) ? 'outdone' : 'ahead' }));
  return standing(world.key, candidate, votes).kind === 'may-win';
}

function explore(
  nodes: readonly NodeName[],
  modes: readonly SyncMode[],
  step: typeof nextStep,
): { states: number; broken: string | null } {
  const targets = (leader: NodeName): (readonly [SyncMode, SyncTarget])[] => {
    const others = nodes.filter((name) => name !== leader);
    const found: (readonly [SyncMode, SyncTarget])[] = [];
    for (let set = 0; set < 2 ** others.length; set += 1) {
      const names = others.filter((_, i) => (set >> i) % 2 === 1);
      for (const mode of modes)
        for (const count of mode === 'on' ? [1] : [1, 2]) found.push([mode, target(mode, names, count)]);
    }
    return [...found, ...modes.map((mode) => [mode, { ...target(mode, [], 1), acknowledging: BLOCKED }] as const)];
  };
  const start: World = {
    leader: nodes[0] as NodeName,
    key: null,
    inForce: [ALONE],
    mark: null,
    at: Object.fromEntries(nodes.map((name) => [name, 0])),
    acked: 0,
  };
  const seen = new Set<string>();
  const open: World[] = [start];
  while (open.length > 0) {
    const raw = open.pop() as World;
    const world = normalised(withAcks(raw));
    const text = JSON.stringify(world);
    if (seen.has(text)) continue;
    seen.add(text);
    if (world.key !== null) {
      const wrong = nodes.find((name) => mayWin(world, name) && (world.at[name] ?? 0) < world.acked);
      if (wrong !== undefined) return { states: seen.size, broken: `${wrong} may win: ${text}` };
      const { key: now } = world;
      if (!world.inForce.every((one) => agrees(now, one)))
        return { states: seen.size, broken: `sets do not meet: ${text}` };
    }
    const head = world.at[world.leader] ?? 0;
    if (head < LARGEST) open.push({ ...world, at: { ...world.at, [world.leader]: head + 1 } });
    if (world.mark === null && world.key !== null)
      open.push({ ...world, inForce: world.inForce.slice(-1), mark: head });
    for (const name of nodes) {
      if (name !== world.leader && (world.at[name] ?? 0) < head)
        open.push({ ...world, at: { ...world.at, [name]: head } });
      if (name !== world.leader && world.key !== null && mayWin(world, name)) {
        const end = world.at[name] ?? 0;
        const at = Object.fromEntries(Object.entries(world.at).map(([one, value]) => [one, Math.min(value, end)]));
        open.push({ ...world, leader: name, key: keyOfTaker(world.key, name), inForce: [BLOCKED], mark: null, at });
      }
    }
    const acknowledging = world.inForce.at(-1) as Acknowledging;
    const { mark } = world;
    const confirmed = new Set(mark === null ? [] : nodes.filter((name) => (world.at[name] ?? 0) >= mark));
    const settled = world.inForce.length === 1;
    for (const [mode, to] of targets(world.leader)) {
      const next = step({ self: world.leader, mode, key: world.key, acknowledging, target: to, confirmed, settled });
      if (next.do === 'write-key') open.push({ ...world, key: next.key });
      // Set while older ones have not settled: each sender may go by any of them.
      if (next.do === 'set-names')
        open.push({ ...world, inForce: [...world.inForce.slice(-2), next.acknowledging], mark: null });
    }
  }
  return { states: seen.size, broken: null };
}

describe('in every state that can be reached, after any stop', () => {
  test.each([
    ['two nodes', [a, b], ['on', 'quorum']],
    ['three nodes, synchronous', [a, b, c], ['on']],
    ['three nodes, quorum', [a, b, c], ['quorum']],
    ['three nodes, the mode changes', [a, b, c], ['on', 'quorum']],
  ] as const)('%s: whoever can win has everything that was acknowledged', (_name, nodes, modes) => {
    const { states, broken } = explore(nodes, modes, nextStep);
    expect(broken).toBeNull();
    expect(states).toBeGreaterThan(20);
  });

  const wrong: readonly (readonly [string, typeof nextStep])[] = [
    [
      'the list and the count at once',
      (state) => {
        const step = nextStep(state);
        return step.do === 'set-names' ? { do: 'set-names', acknowledging: state.target.acknowledging } : step;
      },
    ],
    ['names that are set before the last ones have settled', (state) => nextStep({ ...state, settled: true })],
    ['whoever joins counts as having everything', (state) => nextStep({ ...state, confirmed: new Set([a, b, c, d]) })],
    [
      'the key before the names',
      (state) =>
        state.key !== null && state.key.leader === state.self
          ? { do: 'write-key', key: { leader: state.self, ...state.target } }
          : nextStep(state),
    ],
    [
      'the names before the key',
      (state) => {
        const step = nextStep(state);
        return step.do === 'write-key' &&
          state.key?.leader === state.self &&
          !sameAcknowledging(state.acknowledging, state.target.acknowledging)
          ? { do: 'set-names', acknowledging: state.target.acknowledging }
          : step;
      },
    ],
    [
      'a smaller quorum at once',
      (state) => {
        const step = nextStep(state);
        return step.do === 'write-key' && step.key.quorum > 0
          ? { do: 'write-key', key: { ...step.key, quorum: step.key.quorum - 1 } }
          : step;
      },
    ],
  ];
  test.each(wrong)('a mistake would be noticed: %s', (_name, step) => {
    const found = ['on', 'quorum'].map((mode) => explore([a, b, c], [mode as SyncMode], step).broken);
    expect(found.some((broken) => broken !== null)).toBe(true);
  });
});
