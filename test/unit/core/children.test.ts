import { describe, expect, it } from 'vitest';
import { type ChildrenFacts, type ChildrenMemory, NO_CHILDREN, seeChildren } from '../../../src/core/children.ts';
import type { Member, MemberExtras } from '../../../src/core/cluster.ts';
import type { Sender } from '../../../src/core/local.ts';
import type { ChildNodesPolicy } from '../../../src/core/policy.ts';
import { nodeName } from '../../../src/core/store.ts';
import { instant, millis } from '../../../src/core/time.ts';
import { aMember, aSender } from './builders.ts';

const policy: ChildNodesPolicy = {
  checkInterval: millis(5_000),
  connectedMinCount: -1,
  disconnectMinCount: -1,
  disconnectTimeout: millis(30_000),
  includeWitness: false,
};

const witness = (name: string): Member =>
  aMember(name, { pgha: { role: 'witness', upstream: null } as Partial<MemberExtras> as MemberExtras });
const behind = (name: string, upstream: string): Member => aMember(name, { tags: { replicatefrom: upstream } });

/** One look: at which second, who streams; and what differs from a cluster of a (the leader), b, c and d. */
interface Look {
  readonly at: number;
  readonly stream: string;
  readonly members?: readonly Member[];
  readonly pause?: boolean;
  readonly state?: string;
}

const ALL = ['a', 'b', 'c', 'd'].map((name) => aMember(name));

function factsOf({ at, stream, members = ALL, pause = false, state = 'streaming' }: Look, set: ChildNodesPolicy) {
  const senders: Sender[] = [...stream].map((name) => ({ ...aSender(name), state }));
  const facts: ChildrenFacts = {
    now: instant(at * 1_000),
    self: nodeName('a'),
    members,
    senders,
    pause,
    forgetAfter: millis(1_800_000),
    policy: set,
  };
  return facts;
}

/** @returns for each look what it told: `-b` lost, `+b` back, `*b` new, `!` the command with its numbers */
function told(looks: readonly Look[], set: Partial<ChildNodesPolicy> = {}): readonly string[] {
  let memory: ChildrenMemory = NO_CHILDREN;
  const signs = { child_node_disconnect: '-', child_node_reconnect: '+', child_node_new_connect: '*' } as const;
  return looks.map((look) => {
    const seen = seeChildren(factsOf(look, { ...policy, ...set }), memory);
    memory = seen.memory;
    const events = seen.events.map(({ event, name }) => signs[event] + name);
    if (seen.run !== null) events.push(`!${seen.run.connected}<${seen.run.required} lost ${seen.run.lost.join('')}`);
    return events.join(' ');
  });
}

describe('the children of a leader', () => {
  it('are known without an event at the first look', () => {
    expect(told([{ at: 0, stream: 'bc' }])).toEqual(['']);
  });

  it('are told when they leave, come back and come for the first time', () => {
    const looks = [
      { at: 0, stream: 'bc' },
      { at: 5, stream: 'c' },
      { at: 10, stream: 'bc' },
      { at: 15, stream: 'bcd' },
    ];
    expect(told(looks)).toEqual(['', '-b', '+b', '*d']);
  });

  it('say how long they were away', () => {
    let memory = seeChildren(factsOf({ at: 0, stream: 'b' }, policy), NO_CHILDREN).memory;
    memory = seeChildren(factsOf({ at: 5, stream: '' }, policy), memory).memory;
    expect(seeChildren(factsOf({ at: 47, stream: 'b' }, policy), memory).events).toEqual([
      { event: 'child_node_reconnect', name: 'b', after: 42_000 },
    ]);
  });

  it('are lost while they read the archive, and are not replaced by a copy that is taken', () => {
    const looks = [
      { at: 0, stream: 'b' },
      { at: 5, stream: 'b', state: 'backup' },
      { at: 10, stream: 'b', state: 'catchup' },
    ];
    expect(told(looks)).toEqual(['', '-b', '+b']);
  });

  it('are lost when their member key runs out with their stream, and are remembered', () => {
    const without = ALL.filter(({ name }) => name !== 'b');
    const looks = [
      { at: 0, stream: 'bc' },
      { at: 5, stream: 'c', members: without },
      { at: 600, stream: 'bc' },
    ];
    expect(told(looks)).toEqual(['', '-b', '+b']);
  });

  it('are forgotten when they were away for as long as their slot is kept', () => {
    const without = ALL.filter(({ name }) => name !== 'b');
    const looks = [
      { at: 0, stream: 'bc' },
      { at: 5, stream: 'c', members: without },
      { at: 1_900, stream: 'c', members: without },
      { at: 1_905, stream: 'bc' },
    ];
    expect(told(looks)).toEqual(['', '-b', '', '*b']);
  });

  it('are not those that stream from another standby, as they were told to', () => {
    const cascade = [...ALL.filter(({ name }) => name !== 'd'), behind('d', 'b')];
    expect(
      told([
        { at: 0, stream: 'bcd' },
        { at: 5, stream: 'bc', members: cascade },
      ]),
    ).toEqual(['', '']);
  });
});

const lostAll = [
  { at: 0, stream: 'bcd' },
  { at: 10, stream: '' },
  { at: 39, stream: '' },
  { at: 40, stream: '' },
  { at: 45, stream: '' },
];

describe('child_nodes_disconnect_command', () => {
  const lostOne = [
    { at: 0, stream: 'bcd' },
    { at: 10, stream: 'bc' },
    { at: 100, stream: 'bc' },
  ];
  const lostTwo = [
    { at: 0, stream: 'bcd' },
    { at: 10, stream: 'b' },
    { at: 100, stream: 'b' },
  ];

  it.each<{ name: string; looks: readonly Look[]; set?: Partial<ChildNodesPolicy>; runs: readonly string[] }>([
    { name: 'without a threshold: runs when the last one is lost', looks: lostAll, runs: ['!0<1 lost bcd'] },
    { name: 'without a threshold: does not run while one is left', looks: lostTwo, runs: [] },
    {
      name: 'connected_min_count: runs with fewer than that',
      looks: lostOne,
      set: { connectedMinCount: 3 },
      runs: ['!2<3 lost d'],
    },
    {
      name: 'connected_min_count: does not run with as many',
      looks: lostOne,
      set: { connectedMinCount: 2 },
      runs: [],
    },
    {
      name: 'disconnect_min_count: runs with so many lost',
      looks: lostTwo,
      set: { disconnectMinCount: 2 },
      runs: ['!1<2 lost cd'],
    },
    {
      name: 'disconnect_min_count: does not run with fewer lost',
      looks: lostOne,
      set: { disconnectMinCount: 2 },
      runs: [],
    },
    {
      name: 'disconnect_min_count: never runs when it is more than there are',
      looks: lostAll,
      set: { disconnectMinCount: 4 },
      runs: [],
    },
    {
      name: 'connected_min_count wins over disconnect_min_count',
      looks: lostTwo,
      set: { connectedMinCount: 1, disconnectMinCount: 1 },
      runs: [],
    },
    {
      name: '0 is not set',
      looks: lostTwo,
      set: { connectedMinCount: 0, disconnectMinCount: 0 },
      runs: [],
    },
    {
      name: 'disconnect_timeout: runs when the newest loss is that old',
      looks: [
        { at: 0, stream: 'bc' },
        { at: 10, stream: 'c' },
        { at: 35, stream: '' },
        { at: 64, stream: '' },
        { at: 65, stream: '' },
      ],
      runs: ['!0<1 lost bc'],
    },
    {
      name: 'disconnect_timeout: does not run when they are back before',
      looks: [
        { at: 0, stream: 'b' },
        { at: 10, stream: '' },
        { at: 39, stream: 'b' },
        { at: 45, stream: 'b' },
      ],
      runs: [],
    },
    {
      name: 'disconnect_timeout 0: runs at once',
      looks: [
        { at: 0, stream: 'b' },
        { at: 10, stream: '' },
      ],
      set: { disconnectTimeout: millis(0) },
      runs: ['!0<1 lost b'],
    },
    {
      name: 'runs once, and again only after the minimum was met in between',
      looks: [
        ...lostAll,
        { at: 200, stream: '' },
        { at: 205, stream: 'b' },
        { at: 210, stream: '' },
        { at: 300, stream: '' },
        { at: 305, stream: '' },
      ],
      runs: ['!0<1 lost bcd', '!0<1 lost bcd'],
    },
    {
      name: 'does not run in maintenance, and does when it ends',
      looks: [
        { at: 0, stream: 'b' },
        { at: 10, stream: '', pause: true },
        { at: 60, stream: '', pause: true },
        { at: 65, stream: '' },
      ],
      runs: ['!0<1 lost b'],
    },
    {
      name: 'never runs for those who were not there at the start',
      looks: [
        { at: 0, stream: '' },
        { at: 100, stream: '' },
      ],
      set: { connectedMinCount: 3 },
      runs: [],
    },
    {
      name: 'those who were not there at the start do not count as lost beside one that is',
      looks: lostOne.map((look) => ({ ...look, stream: look.stream.replace('c', '') })),
      set: { disconnectMinCount: 2 },
      runs: [],
    },
    {
      name: 'a witness does not count',
      looks: [
        { at: 0, stream: 'b', members: [aMember('a'), aMember('b'), witness('w')] },
        { at: 10, stream: '', members: [aMember('a'), aMember('b'), witness('w')] },
        { at: 100, stream: '', members: [aMember('a'), aMember('b'), witness('w')] },
      ],
      runs: ['!0<1 lost b'],
    },
    {
      name: 'connected_include_witness: a witness counts',
      looks: [
        { at: 0, stream: 'b', members: [aMember('a'), aMember('b'), witness('w')] },
        { at: 10, stream: '', members: [aMember('a'), aMember('b'), witness('w')] },
        { at: 100, stream: '', members: [aMember('a'), aMember('b'), witness('w')] },
      ],
      set: { includeWitness: true },
      runs: [],
    },
    {
      name: 'connected_include_witness: a witness whose key is gone is lost',
      looks: [
        { at: 0, stream: 'b', members: [aMember('a'), aMember('b'), witness('w')] },
        { at: 10, stream: 'b', members: [aMember('a'), aMember('b')] },
        { at: 100, stream: 'b', members: [aMember('a'), aMember('b')] },
      ],
      set: { includeWitness: true, disconnectMinCount: 1 },
      runs: ['!1<2 lost w'],
    },
  ])('$name', ({ looks, set = {}, runs }) => {
    const ran = told(looks, set).flatMap((line) =>
      line.split(' ').length > 0 && line.includes('!') ? [line.slice(line.indexOf('!'))] : [],
    );
    expect(ran).toEqual(runs);
  });

  it('runs at the look at which the newest loss is old enough, not before', () => {
    expect(told(lostAll)).toEqual(['', '-b -c -d', '', '!0<1 lost bcd', '']);
  });
});
