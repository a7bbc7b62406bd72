/** A standby below another standby: this node was told to stream from `c`, `a` leads. And a node without Postgres. */
import type { Member } from '../../../../src/core/cluster.ts';
import { timeline } from '../../../../src/core/lsn.ts';
import { nodeName } from '../../../../src/core/store.ts';
import { millis } from '../../../../src/core/time.ts';
import { parseHistory } from '../../../../src/core/timeline.ts';
import { NOTHING_REMEMBERED, type UpstreamMemory } from '../../../../src/core/upstream.ts';
import type { View } from '../../../../src/core/view.ts';
import {
  aBeat,
  aCluster,
  aLineage,
  aLoneStandby,
  aMember,
  aStandby,
  aStatus,
  at,
  aView,
  before,
  type Case,
  END,
  holding,
  newLineage,
  type ViewOver,
} from '../builders.ts';

const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(nodeName) as [
  Member['name'],
  Member['name'],
  Member['name'],
  Member['name'],
];
const askC = { do: 'learn-lineage', of: c } as const;
const askA = { do: 'learn-lineage', of: a } as const;
const toA = { do: 'follow', upstream: a } as const;
const toC = { do: 'follow', upstream: c } as const;

const streams = (name: string, over: Partial<Member> = {}): Member =>
  aMember(name, { replicationState: 'streaming', ...over });
/** Told to stream from this member. */
const below = (upstream: Member['name'] | null): Pick<Member, 'tags'> => ({
  tags: upstream === null ? {} : { replicatefrom: upstream },
});
const withC = (over: Partial<Member> | null, ...more: readonly Member[]) =>
  aCluster({ members: [aMember('a'), aMember('b'), ...(over === null ? [] : [streams('c', over)]), ...more] });

/** `c` has been well for ten seconds. */
const remembered = (over: Partial<UpstreamMemory> = {}): UpstreamMemory => ({
  ...NOTHING_REMEMBERED,
  goodSince: new Map([[c, before(10_000)]]),
  told: new Map([[c, null]]),
  ...over,
});
const bad = (ms: number): UpstreamMemory => remembered({ goodSince: new Map(), badSince: new Map([[c, before(ms)]]) });

const receiver = (from: string, over = {}) => ({
  streaming: true,
  from,
  timeline: timeline(2),
  lastMessage: millis(10),
  ...over,
});
/** Receives from `c`. */
const fromC = aStandby({ follows: '10.0.0.3:5432', receiver: receiver('10.0.0.3:5432') });
const lostC = aLoneStandby({ follows: '10.0.0.3:5432' });
const lineOfC = aLineage({ of: c, inRecovery: true });

const cascade = (over: ViewOver = {}): View =>
  aView({
    node: { upstream: c },
    local: fromC,
    cluster: withC({}),
    upstreams: remembered(),
    lineage: aLineage({ at: before(3_600_000) }),
    ...over,
  });

/** \`b\` was told to stream from \`c\`, which was told to stream from \`d\`; \`b\` streams from the leader. */
const twoAbove = (over: Partial<UpstreamMemory>, line: ReturnType<typeof aLineage>): View =>
  cascade({
    local: aStandby(),
    cluster: withC({}, streams('d', { host: '10.0.0.4' })),
    upstreams: remembered({
      goodSince: new Map([
        [c, before(10_000)],
        [d, before(10_000)],
      ]),
      told: new Map([
        [c, d],
        [d, null],
      ]),
      ...over,
    }),
    upstreamLineage: line,
  });
const farBehind = at('0/3000000');

export const cascading: readonly Case[] = [
  {
    name: 'asks the next one up the chain when the first does not fit',
    view: twoAbove({ asked: new Map([[c, before(10)]]) }, { ...lineOfC, position: farBehind }),
    rule: 'following.upstream-away',
    actions: [{ do: 'learn-lineage', of: d }],
  },
  {
    name: 'follows the next one without asking the first again: the two would be asked in turns without end',
    view: twoAbove(
      {
        asked: new Map([
          [c, before(20)],
          [d, before(10)],
        ]),
      },
      { ...lineOfC, of: d },
    ),
    rule: 'following.follow',
    actions: [{ do: 'follow', upstream: d }],
  },
  {
    name: 'asks neither again for a while when neither fits',
    view: twoAbove(
      {
        asked: new Map([
          [c, before(20)],
          [d, before(10)],
        ]),
      },
      { ...lineOfC, of: d, position: farBehind },
    ),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'receives from the member that was configured',
    view: cascade(),
    rule: 'following.streaming',
    actions: [],
    situation: 'following',
  },
  {
    name: 'goes to the leader as soon as its upstream has no member key',
    view: cascade({ cluster: withC(null), local: lostC, notStreamingSince: before(10) }),
    rule: 'following.follow',
    actions: [toA],
  },
  {
    name: 'goes to the leader as soon as Postgres of its upstream is down',
    view: cascade({ cluster: withC({ state: 'crashed', replicationState: null }), upstreams: bad(10) }),
    rule: 'following.follow',
    actions: [toA],
  },
  {
    name: 'compares histories with the leader first where that was not done in this term',
    view: cascade({ cluster: withC(null), local: lostC, lineage: null }),
    rule: 'following.learn-lineage',
    actions: [askA],
  },
  {
    name: 'stays three seconds with an upstream that is there and does not stream itself',
    view: cascade({ cluster: withC({ replicationState: null }), upstreams: bad(2_999) }),
    rule: 'following.streaming',
    actions: [],
  },
  {
    name: 'leaves it after that',
    view: cascade({ cluster: withC({ replicationState: null }), upstreams: bad(3_000) }),
    rule: 'following.follow',
    actions: [toA],
  },
  {
    name: 'leaves an upstream that does not come to the timeline of the leader',
    view: cascade({ cluster: withC({ timeline: timeline(1) }), upstreams: bad(3_000) }),
    rule: 'following.follow',
    actions: [toA],
  },
  {
    name: 'waits three seconds for an upstream that should be sending',
    view: cascade({ local: lostC, notStreamingSince: before(3_000) }),
    rule: 'following.waiting-to-stream',
    actions: [],
  },
  {
    name: 'leaves one that looks well and has not been sending for longer, and remembers it',
    view: cascade({ local: lostC, notStreamingSince: before(3_001) }),
    rule: 'following.upstream-silent',
    actions: [{ ...toA, silent: c }],
  },
  {
    name: 'leaves one whose connection stands and says nothing while the leader goes on',
    view: cascade({
      local: aStandby({
        follows: '10.0.0.3:5432',
        receiver: receiver('10.0.0.3:5432', { lastMessage: millis(3_001) }),
      }),
      cluster: aCluster({
        members: [aMember('a'), aMember('b'), streams('c')],
        status: aStatus({ optime: at('0/5000061'), beat: aBeat() }),
      }),
    }),
    rule: 'following.upstream-silent',
    actions: [{ ...toA, silent: c }],
  },
  {
    name: 'does not take a quiet cluster for a silent upstream',
    view: cascade({
      local: aStandby({
        follows: '10.0.0.3:5432',
        receiver: receiver('10.0.0.3:5432', { lastMessage: millis(25_000) }),
      }),
    }),
    rule: 'following.streaming',
    actions: [],
  },
  {
    name: 'receives from the leader while its upstream is away, and says why',
    view: cascade({ local: aStandby(), cluster: withC(null) }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'does not go back to an upstream that has been well for less than five seconds',
    view: cascade({ local: aStandby(), upstreams: remembered({ goodSince: new Map([[c, before(4_999)]]) }) }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'asks it for its history after that, and receives from the leader meanwhile',
    view: cascade({ local: aStandby(), upstreams: remembered({ goodSince: new Map([[c, before(5_000)]]) }) }),
    rule: 'following.upstream-away',
    actions: [askC],
  },
  {
    name: "asks for the leader's history before that of another standby",
    view: cascade({ local: aStandby(), lineage: null }),
    rule: 'following.upstream-away',
    actions: [askA],
  },
  {
    name: 'goes back once its history is known to be that of the leader',
    view: cascade({ local: aStandby(), upstreamLineage: lineOfC }),
    rule: 'following.follow',
    actions: [toC],
  },
  {
    name: 'does not go back on an answer older than a second',
    view: cascade({ local: aStandby(), upstreamLineage: aLineage({ of: c, inRecovery: true, at: before(1_001) }) }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'asks again after five',
    view: cascade({ local: aStandby(), upstreamLineage: aLineage({ of: c, inRecovery: true, at: before(5_001) }) }),
    rule: 'following.upstream-away',
    actions: [askC],
  },
  {
    name: 'does not follow a member that came to the timeline another way',
    view: cascade({
      local: aStandby(),
      upstreamLineage: aLineage({ of: c, inRecovery: true, history: parseHistory('1\t0/2FFFFA0\tx\n') }),
    }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'does not follow one that is still on an older timeline',
    view: cascade({ local: aStandby(), lineage: newLineage('0/5000060'), upstreamLineage: lineOfC }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'does not follow one that serves another cluster',
    view: cascade({
      local: aStandby(),
      upstreamLineage: aLineage({ of: c, inRecovery: true, systemId: 'x' as never }),
    }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'does not follow one that is out of recovery',
    view: cascade({ local: aStandby(), upstreamLineage: aLineage({ of: c }) }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'does not follow one that is further behind than maximum_lag_on_failover',
    view: cascade({
      local: aStandby({ received: at('0/6000000') }),
      upstreamLineage: aLineage({ of: c, inRecovery: true, position: END }),
    }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'leaves one alone that was silent, for half a minute',
    view: cascade({
      local: aStandby(),
      upstreams: remembered({ silent: new Map([[c, { times: 1, at: before(29_999) }]]) }),
    }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'tries it again after that',
    view: cascade({
      local: aStandby(),
      upstreams: remembered({ silent: new Map([[c, { times: 1, at: before(30_000) }]]) }),
    }),
    rule: 'following.upstream-away',
    actions: [askC],
  },
  {
    name: 'leaves it alone for longer each time',
    view: cascade({
      local: aStandby(),
      upstreams: remembered({ silent: new Map([[c, { times: 3, at: before(119_999) }]]) }),
    }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'begins with its upstream, without a detour, when it receives nothing yet',
    view: cascade({
      local: aLoneStandby({ follows: null }),
      upstreams: remembered({ goodSince: new Map([[c, before(0)]]) }),
      upstreamLineage: lineOfC,
    }),
    rule: 'following.follow',
    actions: [toC],
  },
  {
    name: 'asks it before it begins',
    view: cascade({ local: aLoneStandby({ follows: null }) }),
    rule: 'following.learn-lineage',
    actions: [askC],
  },
  {
    name: 'stops to be rewound when it has what the leader never had, whoever its upstream is',
    view: cascade({ local: aLoneStandby({ follows: null }), lineage: newLineage('0/500005F') }),
    rule: 'following.diverged-stop',
    actions: ['stop-in-order'],
  },
  {
    name: "goes to its upstream's own upstream when that one is away",
    view: cascade({
      cluster: withC(null, streams('d')),
      local: lostC,
      upstreams: remembered({
        goodSince: new Map([[d, before(10_000)]]),
        told: new Map([
          [c, d],
          [d, null],
        ]),
      }),
      upstreamLineage: aLineage({ of: d, inRecovery: true }),
    }),
    rule: 'following.follow',
    actions: [{ do: 'follow', upstream: d }],
  },
  {
    name: 'follows the leader when its upstream is to receive from this very node',
    view: cascade({
      local: aStandby(),
      cluster: withC(below(b)),
      upstreams: remembered({ told: new Map([[c, b]]) }),
    }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'leaves a circle that it is part of at once',
    view: cascade({ cluster: withC(below(b)), upstreams: remembered({ told: new Map([[c, b]]) }) }),
    rule: 'following.follow',
    actions: [toA],
  },
  {
    name: 'may receive from a member of a circle that it is no part of',
    view: cascade({
      cluster: withC(below(d), streams('d', below(c))),
      upstreams: remembered({
        told: new Map([
          [c, d],
          [d, c],
        ]),
      }),
    }),
    rule: 'following.streaming',
    actions: [],
  },
  {
    name: 'follows the leader when a witness was configured as its upstream',
    view: cascade({ local: aStandby(), cluster: withC({ role: 'witness', state: 'witness', host: null, port: null }) }),
    rule: 'following.upstream-away',
    actions: [],
  },
  {
    name: 'has nothing to say about an upstream that leads',
    view: cascade({ node: { upstream: a }, local: aStandby() }),
    rule: 'following.streaming',
    actions: [],
  },
];

export const witnessing: readonly Case[] = [
  {
    name: 'watches while somebody leads',
    view: aView({ node: { role: 'witness' }, local: { kind: 'absent' } }),
    rule: 'witness.watching',
    actions: [],
    situation: 'witnessing',
  },
  {
    name: 'takes no part when nobody does',
    view: aView({ node: { role: 'witness' }, local: { kind: 'absent' }, cluster: aCluster({ leader: null }) }),
    rule: 'witness.watching',
    actions: [],
  },
  {
    name: 'makes no cluster in an empty scope',
    view: aView({
      node: { role: 'witness' },
      local: { kind: 'absent' },
      cluster: aCluster({ leader: null, initialize: null, status: null }),
    }),
    rule: 'witness.watching',
    actions: [],
  },
  {
    name: 'says so while etcd does not answer',
    view: aView({ node: { role: 'witness' }, local: { kind: 'absent' }, etcd: 'never-read' }),
    rule: 'witness.watching',
    actions: [],
  },
  {
    name: 'gives up a key that bears its name from earlier days',
    view: aView({
      node: { role: 'witness' },
      local: { kind: 'absent' },
      cluster: aCluster({ leader: 'b' }),
      leadership: holding({ windowOpen: false }),
    }),
    rule: 'leading.cannot-lead',
    actions: ['release'],
  },
  {
    name: 'has nothing to stop when the service leaves',
    view: aView({ node: { role: 'witness' }, local: { kind: 'absent' }, leaving: true }),
    rule: 'service.left',
    actions: [],
  },
];
