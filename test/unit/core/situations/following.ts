/** Somebody else leads, or there is no cluster yet. */
import { type LocalPostgres, systemId } from '../../../../src/core/local.ts';
import { timeline } from '../../../../src/core/lsn.ts';
import { leaseId, nodeName, revision } from '../../../../src/core/store.ts';
import { millis } from '../../../../src/core/time.ts';
import { parseHistory } from '../../../../src/core/timeline.ts';
import type { Undone } from '../../../../src/core/view.ts';
import {
  aCluster,
  aGate,
  aLineage,
  aLoneStandby,
  aMember,
  aPeer,
  aPrimary,
  aSilentPeer,
  aStandby,
  aStatus,
  aStopped,
  at,
  aView,
  before,
  type Case,
  closedGate,
  END,
  failed,
  isStarting,
  newLineage,
  peers,
  SYSTEM,
  type ViewOver,
} from '../builders.ts';
import { FAR } from './standby-cluster.ts';

/** Timeline 2 as this node began it, elsewhere than the leader did. */
const anotherWay = { timeline: timeline(2), history: parseHistory('1\t0/2FFFFA0\tx\n') };
const askLineage = { do: 'learn-lineage', of: nodeName('a') } as const;
/** `c` led before; now `a` does. */
const behindC: ViewOver = { local: aLoneStandby({ follows: '10.0.0.3:5432' }) };
const withoutAddress = aCluster({ members: [aMember('a', { host: null, port: null }), aMember('b')] });

export const following: readonly Case[] = [
  { name: 'receives from the leader', view: aView(), rule: 'following.streaming', actions: [], situation: 'following' },
  {
    name: 'gives a receiver that is set up five seconds to stream',
    view: aView({ local: aLoneStandby(), notStreamingSince: before(5_000) }),
    rule: 'following.waiting-to-stream',
    actions: [],
  },
  {
    name: 'compares histories again when nothing was received for longer',
    view: aView({ local: aLoneStandby(), notStreamingSince: before(5_001) }),
    rule: 'following.learn-lineage',
    actions: [askLineage],
  },
  {
    name: 'goes on waiting when the histories turn out to be one',
    view: aView({ local: aLoneStandby(), notStreamingSince: before(5_001), lineage: aLineage() }),
    rule: 'following.waiting-to-stream',
    actions: [],
  },
  {
    name: "asks for a new leader's history before it follows",
    view: aView(behindC),
    rule: 'following.learn-lineage',
    actions: [askLineage],
  },
  {
    name: 'waits for the address of a new leader',
    view: aView({ ...behindC, cluster: withoutAddress }),
    rule: 'following.leader-not-ready',
    actions: [],
  },
  {
    name: 'waits for a leader that is not promoted yet, and keeps asking',
    view: aView({ ...behindC, lineage: aLineage({ inRecovery: true, at: before(50) }) }),
    rule: 'following.leader-not-ready',
    actions: [askLineage],
  },
  {
    name: 'asks a leader in recovery again, however long ago it said so',
    view: aView({ ...behindC, lineage: aLineage({ inRecovery: true, at: before(51) }) }),
    rule: 'following.leader-not-ready',
    actions: [askLineage],
  },
  {
    name: 'does not trust a history that was asked for in another term',
    view: aView({ ...behindC, lineage: aLineage({ term: revision(39) }) }),
    rule: 'following.learn-lineage',
    actions: [askLineage],
  },
  {
    name: 'does not trust the history of another server',
    view: aView({ ...behindC, lineage: aLineage({ of: nodeName('c') }) }),
    rule: 'following.learn-lineage',
    actions: [askLineage],
  },
  {
    name: "follows when its own history is part of the leader's",
    view: aView({ ...behindC, lineage: aLineage() }),
    rule: 'following.follow',
    actions: [{ do: 'follow', upstream: nodeName('a') }],
  },
  {
    name: 'waits a moment when that could not be written, and longer each time',
    view: aView({
      ...behindC,
      lineage: aLineage(),
      attempts: new Map([['follow', { failures: 2, lastFailedAt: before(1_999), said: 'the disk is full' }]]),
    }),
    rule: 'rejoin.back-off',
    actions: [],
    again: 1,
  },
  {
    name: 'but tries again every 5 s, because there may be room at any moment',
    view: aView({
      ...behindC,
      lineage: aLineage(),
      attempts: new Map([['follow', { failures: 9, lastFailedAt: before(5_000), said: 'the disk is full' }]]),
    }),
    rule: 'following.follow',
    actions: ['follow'],
  },
  {
    name: 'follows when its WAL ends exactly where the leader left its timeline',
    view: aView({ ...behindC, lineage: newLineage('0/5000060') }),
    rule: 'following.follow',
    actions: ['follow'],
  },
  {
    name: 'stops to be rewound when it has one byte more',
    view: aView({ ...behindC, lineage: newLineage('0/500005F') }),
    rule: 'following.diverged-stop',
    actions: ['stop-in-order'],
  },
  {
    name: 'counts what it replayed when that is further than what it received',
    view: aView({
      local: aLoneStandby({ follows: null, received: at('0/0'), replayed: END }),
      lineage: newLineage('0/500005F'),
    }),
    rule: 'following.diverged-stop',
    actions: ['stop-in-order'],
  },
  {
    name: 'stops when it is on a timeline the leader has never heard of',
    view: aView({ local: aLoneStandby({ follows: null, timeline: timeline(3) }), lineage: aLineage() }),
    rule: 'following.diverged-stop',
    actions: ['stop-in-order'],
  },
  {
    name: 'stops when the leader came to the same timeline at another position: the number was given twice',
    view: aView({ ...behindC, lineage: aLineage({ ours: anotherWay }) }),
    rule: 'following.diverged-stop',
    actions: ['stop-in-order'],
  },
  {
    name: 'compares anew when it has come onto another timeline since: of the same number, perhaps of another leader',
    view: aView({ ...behindC, lineage: aLineage({ ourTimeline: timeline(1) }) }),
    rule: 'following.learn-lineage',
    actions: ['learn-lineage'],
  },
  {
    name: 'compares no history that was read of another timeline than it is on',
    view: aView({ ...behindC, lineage: aLineage({ ours: { ...anotherWay, timeline: timeline(1) } }) }),
    rule: 'following.follow',
    actions: ['follow'],
  },
  {
    name: 'does not take streaming on an older timeline than the leader is on for following',
    view: aView({
      cluster: aCluster({ members: [aMember('a', { timeline: timeline(3) }), aMember('b')] }),
      lineage: newLineage('0/4000000'),
    }),
    rule: 'following.diverged-stop',
    actions: ['stop-in-order'],
  },
  {
    name: 'waits for a standby that starts',
    view: aView({ local: isStarting(false) }),
    rule: 'following.starting',
    actions: [],
  },
  {
    name: 'waits for a standby that stops',
    view: aView({ local: { kind: 'stopping', since: millis(10) } }),
    rule: 'following.starting',
    actions: [],
  },
  {
    name: 'follows, and takes nothing over, while the key stands and the gate is closed',
    view: aView({ gate: closedGate(1) }),
    rule: 'following.streaming',
    actions: [],
    situation: 'following',
  },
];

const wasStandby = aStopped({ wasPrimary: false, standbySignal: true });
const down = (over: ViewOver = {}): ViewOver => ({ local: wasStandby, lineage: aLineage(), ...over });
const diverged = (over: ViewOver = {}): ViewOver =>
  down({ local: aStopped(), lineage: newLineage('0/5000060'), endOfWal: at('0/5000061'), ...over });
/** 60 MB beyond what the leader has. */
const farAhead = (over: ViewOver = {}): ViewOver => ({ endOfWal: at('0/9000000'), ...over });
const seenUndone = (over: Partial<Undone> = {}): Undone => ({
  from: at('0/5000060'),
  to: at('0/9000000'),
  whole: true,
  span: millis(80_000),
  ...over,
});
const farStandby = aStopped({ wasPrimary: false, standbySignal: true, minRecoveryPoint: at('0/A000000') });
/** As much as timeline 2 has here. */
const twice = seenUndone({ from: at('0/2FFFFA0'), to: at('0/5000061') });
const allOfTwo = { ...twice, from: at('0/3000000') };

export const rejoining: readonly Case[] = [
  {
    name: "asks for the leader's history first",
    view: aView(down({ lineage: null })),
    rule: 'following.learn-lineage',
    actions: [askLineage],
    situation: 'rejoining',
  },
  {
    name: 'asks again while the leader is not promoted',
    view: aView(down({ lineage: aLineage({ inRecovery: true }) })),
    rule: 'following.leader-not-ready',
    actions: [askLineage],
  },
  {
    name: "waits for the leader's address",
    view: aView(down({ cluster: withoutAddress })),
    rule: 'following.leader-not-ready',
    actions: [],
  },
  {
    name: 'starts as a standby on the same timeline, without looking for its end',
    view: aView(down()),
    rule: 'rejoin.start',
    actions: [{ do: 'start-standby', upstream: nodeName('a') }],
  },
  {
    name: 'finds the end of its WAL where it was a primary on the very timeline the leader is on: what is undone is kept up to there',
    view: aView(down({ local: aStopped() })),
    rule: 'rejoin.find-end',
    actions: [{ do: 'find-end-of-wal' }],
  },
  {
    name: 'copies anew where it was a primary on the very timeline the leader is on: the number was given twice',
    view: aView(down({ local: aStopped(), endOfWal: at('0/5000061'), undone: allOfTwo })),
    rule: 'rejoin.copy',
    actions: [{ do: 'copy', source: nodeName('a'), leader: nodeName('a'), wipe: true }],
  },
  {
    name: 'copies anew where it came to the timeline of the leader at another position, and was started as a standby since',
    view: aView(down({ lineage: aLineage({ ours: anotherWay }), endOfWal: at('0/5000061'), undone: twice })),
    rule: 'rejoin.copy',
    actions: [{ do: 'copy', source: nodeName('a'), leader: nodeName('a'), wipe: true }],
  },
  {
    name: 'asks the leader once more where he seems to be behind: he was asked before Postgres stopped here',
    view: aView(down({ local: farStandby, localSince: before(5) })),
    rule: 'following.learn-lineage',
    actions: [askLineage],
  },
  {
    name: 'finds the end of its WAL where its pages are newer than what the leader has flushed, on his very timeline',
    view: aView(down({ local: farStandby })),
    rule: 'rejoin.find-end',
    actions: ['find-end-of-wal'],
  },
  {
    name: 'starts where its WAL is not: a rewind took what was only in the memory of the leader',
    view: aView(down({ local: farStandby, endOfWal: END })),
    rule: 'rejoin.start',
    actions: ['start-standby'],
  },
  {
    name: 'copies anew where it is further than the leader on his very timeline: he began another one of that number',
    view: aView(down({ local: farStandby, endOfWal: at('0/B000000'), undone: { ...allOfTwo, to: at('0/B000000') } })),
    rule: 'rejoin.copy',
    actions: ['copy'],
  },
  {
    name: 'is stuck there where copying anew is forbidden: a rewind takes both for one line',
    view: aView(
      down({
        lineage: aLineage({ ours: anotherWay }),
        endOfWal: at('0/5000061'),
        set: { removeDataDirectoryOnRewindFailure: false },
      }),
    ),
    rule: 'rejoin.stuck',
    actions: [],
  },
  {
    name: 'stays stuck there without asking the leader again and again',
    view: aView(
      down({
        lineage: aLineage({ ours: anotherWay, at: before(60_000) }),
        endOfWal: at('0/5000061'),
        set: { removeDataDirectoryOnRewindFailure: false },
      }),
    ),
    rule: 'rejoin.stuck',
    actions: [],
  },
  {
    name: 'asks the leader once more before it copies for that',
    view: aView(
      down({ lineage: aLineage({ ours: anotherWay, at: before(1_100) }), endOfWal: at('0/5000061'), undone: twice }),
    ),
    rule: 'following.learn-lineage',
    actions: [askLineage],
  },
  {
    name: 'looks for the end of its WAL when the leader is on another timeline',
    view: aView(diverged({ endOfWal: null })),
    rule: 'rejoin.find-end',
    actions: ['find-end-of-wal'],
  },
  {
    name: 'starts without a rewind when its WAL ends exactly where the leader left its timeline',
    view: aView(diverged({ endOfWal: at('0/5000060') })),
    rule: 'rejoin.start',
    actions: ['start-standby'],
  },
  {
    name: 'rewinds when it has one byte more',
    view: aView(diverged()),
    rule: 'rejoin.rewind',
    actions: [{ do: 'rewind', source: nodeName('a') }],
  },
  {
    name: 'looks at what a rewind would undo, where it is more than an election may lose',
    view: aView(diverged(farAhead())),
    rule: 'rejoin.look-at-undone',
    actions: [{ do: 'look-at-undone', timeline: timeline(2), from: at('0/5000060'), to: at('0/9000000') }],
  },
  {
    name: 'looks anew where it was another part that was looked at',
    view: aView(diverged(farAhead({ undone: seenUndone({ from: at('0/5000000') }) }))),
    rule: 'rejoin.look-at-undone',
    actions: ['look-at-undone'],
  },
  {
    name: 'rewinds where commits of the time of a failover are in it',
    view: aView(diverged(farAhead({ undone: seenUndone() }))),
    rule: 'rejoin.rewind',
    actions: ['rewind'],
  },
  {
    name: 'undoes nothing where commits of a longer time are in it, and asks the leader again at times',
    view: aView(
      diverged(
        farAhead({
          undone: seenUndone({ span: millis(150_000) }),
          lineage: newLineage('0/5000060', { at: before(60_000) }),
        }),
      ),
    ),
    rule: 'rejoin.too-much',
    actions: [askLineage],
  },
  {
    name: 'undoes nothing where its beginning is not here any more',
    view: aView(diverged(farAhead({ undone: seenUndone({ whole: false, span: null }) }))),
    rule: 'rejoin.too-much',
    actions: [],
  },
  {
    name: 'compares its pages, too, which a rewind has made newer than its WAL, and is copied then: another rewind goes by that WAL',
    view: aView(diverged({ local: aStopped({ minRecoveryPoint: at('0/5000090') }), endOfWal: at('0/5000028') })),
    rule: 'rejoin.copy',
    actions: ['copy'],
  },
  {
    name: 'starts as a standby where all that its pages were made by is part of the line',
    view: aView(diverged({ local: aStopped({ minRecoveryPoint: at('0/5000058') }), endOfWal: at('0/5000028') })),
    rule: 'rejoin.start',
    actions: ['start-standby'],
  },
  {
    name: 'rewinds where its beginning is not here any more, and no slot would have kept it',
    view: aView(diverged(farAhead({ undone: seenUndone({ whole: false }), set: { useSlots: false } }))),
    rule: 'rejoin.rewind',
    actions: ['rewind'],
  },
  {
    name: 'undoes it all in a cluster that follows another one: an operator has said whose data count',
    view: aView(diverged(farAhead({ set: { standbyCluster: FAR } }))),
    rule: 'rejoin.rewind',
    actions: ['rewind'],
  },
  {
    name: 'asks the leader once more before it undoes anything: what it knows of him may be from before his promotion',
    view: aView(diverged({ lineage: newLineage('0/5000060', { at: before(1_100) }) })),
    rule: 'following.learn-lineage',
    actions: ['learn-lineage'],
  },
  {
    name: 'rewinds when it is on a timeline that the leader has never heard of',
    view: aView(diverged({ local: aStopped({ timeline: timeline(4) }) })),
    rule: 'rejoin.rewind',
    actions: ['rewind'],
  },
  {
    name: 'rewinds a second time after one failure',
    view: aView(diverged({ attempts: failed('rewind', 1) })),
    rule: 'rejoin.rewind',
    actions: ['rewind'],
  },
  {
    name: 'waits between the two',
    view: aView(diverged({ attempts: failed('rewind', 1, before(400)) })),
    rule: 'rejoin.back-off',
    actions: [],
    again: 600,
  },
  {
    name: 'copies anew after two failed rewinds',
    view: aView(diverged({ attempts: failed('rewind', 2) })),
    rule: 'rejoin.copy',
    actions: [{ do: 'copy', source: nodeName('a'), leader: nodeName('a'), wipe: true }],
  },
  {
    name: 'is stuck after two failed rewinds where copying anew is forbidden',
    view: aView(diverged({ attempts: failed('rewind', 2), set: { removeDataDirectoryOnRewindFailure: false } })),
    rule: 'rejoin.stuck',
    actions: [],
  },
  {
    name: 'copies anew although that is forbidden while the budget of the day lasts',
    view: aView(
      diverged({
        attempts: failed('rewind', 2),
        set: { removeDataDirectoryOnRewindFailure: false, replacementsPerDay: 2 },
        replacementsToday: 1,
      }),
    ),
    rule: 'rejoin.copy',
    actions: ['copy'],
  },
  {
    name: 'is stuck when the budget of the day is used up',
    view: aView(
      diverged({
        attempts: failed('rewind', 2),
        set: { removeDataDirectoryOnRewindFailure: false, replacementsPerDay: 2 },
        replacementsToday: 2,
      }),
    ),
    rule: 'rejoin.stuck',
    actions: [],
  },
  {
    name: 'starts a copy of a backup, which has no WAL of its own in which an end could be found',
    view: aView(
      diverged({ local: aStopped({ standbySignal: true }), endOfWal: null, attempts: failed('find-end', 3) }),
    ),
    rule: 'rejoin.start',
    actions: ['start-standby'],
  },
  {
    name: 'does not take that for granted of what was no standby',
    view: aView(diverged({ endOfWal: null, attempts: failed('find-end', 3) })),
    rule: 'rejoin.find-end',
    actions: ['find-end-of-wal'],
  },
  {
    name: 'is stuck without pg_rewind where copying anew is not allowed',
    view: aView(diverged({ set: { usePgRewind: false } })),
    rule: 'rejoin.stuck',
    actions: [],
  },
  {
    name: 'copies anew without pg_rewind where that is allowed',
    view: aView(diverged({ set: { usePgRewind: false, removeDataDirectoryOnDivergedTimelines: true } })),
    rule: 'rejoin.copy',
    actions: ['copy'],
  },
  {
    name: "leaves its data alone when the leader serves another cluster's",
    view: aView(down({ lineage: aLineage({ systemId: '1' as never }) })),
    rule: 'joining.foreign-data',
    actions: [],
  },
  {
    name: 'doubles the wait with each failed start',
    view: aView(down({ attempts: failed('start', 3, before(1_000)) })),
    rule: 'rejoin.back-off',
    actions: [],
    again: 3_000,
  },
  {
    name: 'never waits longer than thirty seconds between starts',
    view: aView(down({ attempts: failed('start', 40, before(30_000)) })),
    rule: 'rejoin.start',
    actions: ['start-standby'],
  },
];

const empty = (over: ViewOver = {}): ViewOver => ({
  local: { kind: 'absent' },
  cluster: aCluster({ leader: null, status: null, initialize: null }),
  gate: aGate({ beat: null }),
  peers: peers({ a: aPeer('a'), c: aSilentPeer() }),
  ...over,
});

/** An empty member of pgha is at it. */
const beingMade = aCluster({
  leader: null,
  status: null,
  initialize: '',
  initializeLease: leaseId('lease-of-c'),
});
const startsInVain = (follows: string | null, idle = 10_001): LocalPostgres => ({
  kind: 'starting',
  since: millis(600_000),
  asPrimary: false,
  follows,
  idle: millis(idle),
});

export const startingStandbys: readonly Case[] = [
  {
    name: 'waits for a standby that has replayed something in the last ten seconds, whoever feeds it, and however long it takes',
    view: aView({ local: startsInVain(null, 10_000) }),
    rule: 'following.starting',
    actions: [],
  },
  {
    name: 'waits for one that is told to receive from the leader, as long as it takes',
    view: aView({ local: startsInVain('10.0.0.1:5432', 600_000) }),
    rule: 'following.starting',
    actions: [],
  },
  {
    name: 'starts one anew that is told to receive from nobody: it may need WAL before it takes connections',
    view: aView({ local: startsInVain(null) }),
    rule: 'following.start-anew',
    actions: [{ do: 'stop-in-order' }],
  },
  {
    name: 'starts one anew that is told to receive from whoever led before',
    view: aView({ local: startsInVain('10.0.0.3:5432') }),
    rule: 'following.start-anew',
    actions: [{ do: 'stop-in-order' }],
  },
  {
    name: 'leaves one that receives from the standby that it was told to stream from',
    view: aView({
      local: startsInVain('10.0.0.3:5432'),
      cluster: aCluster({ members: [aMember('a'), aMember('b', { tags: { replicatefrom: 'c' } }), aMember('c')] }),
    }),
    rule: 'following.starting',
    actions: [],
  },
  {
    name: 'does not where that one is down',
    view: aView({
      local: startsInVain('10.0.0.3:5432'),
      cluster: aCluster({
        members: [aMember('a'), aMember('b', { tags: { replicatefrom: 'c' } }), aMember('c', { state: 'stopped' })],
      }),
    }),
    rule: 'following.start-anew',
    actions: [{ do: 'stop-in-order' }],
  },
  {
    name: 'leaves one that is fed by the archive alone',
    view: aView({ local: startsInVain(null), node: { noStream: true } }),
    rule: 'following.starting',
    actions: [],
  },
  {
    name: 'leaves one of which nobody knows whom it receives from',
    view: aView({ local: { kind: 'starting', since: millis(60_000), asPrimary: false, idle: millis(60_000) } }),
    rule: 'following.starting',
    actions: [],
  },
  {
    name: 'leaves one while the address of the leader is not known',
    view: aView({ local: startsInVain(null), cluster: withoutAddress }),
    rule: 'following.starting',
    actions: [],
  },
];

const startingAsPrimary = { kind: 'starting', since: millis(10), asPrimary: true } as const;

export const joining: readonly Case[] = [
  {
    name: 'makes the cluster in an empty scope',
    view: aView(empty()),
    rule: 'joining.bootstrap',
    actions: ['bootstrap'],
    situation: 'joining',
  },
  {
    name: 'asks the others whether they have known a cluster before it makes one',
    view: aView(empty({ peers: new Map() })),
    rule: 'joining.ask-peers',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('a'), nodeName('c')] }],
  },
  {
    name: 'does not make a second cluster where another member knows the one that etcd has forgotten',
    view: aView(empty({ peers: peers({ a: aPeer('a', { knownCluster: SYSTEM }), c: aSilentPeer() }) })),
    rule: 'joining.wait-for-bootstrap',
    actions: [],
  },
  {
    name: 'asks the others before it takes the data of a stopped primary for the cluster',
    view: aView(empty({ local: aStopped(), peers: new Map() })),
    rule: 'joining.ask-peers',
    actions: ['ask-peers'],
  },
  {
    name: "does not take foreign data for the cluster's where another member knows which it was",
    view: aView(
      empty({ local: aStopped(), peers: peers({ a: aSilentPeer(), c: aPeer('c', { knownCluster: systemId('1') }) }) }),
    ),
    rule: 'joining.foreign-data',
    actions: [],
  },
  {
    name: 'takes its data for the cluster that another member knows',
    view: aView(
      empty({ local: aPrimary(), peers: peers({ a: aPeer('a', { knownCluster: SYSTEM }), c: aSilentPeer() }) }),
    ),
    rule: 'joining.claim',
    actions: ['claim-scope'],
  },
  {
    name: 'asks nobody about a cluster that it has known itself',
    view: aView(empty({ local: aStopped(), formerCluster: SYSTEM, peers: new Map() })),
    rule: 'joining.claim',
    actions: ['claim-scope'],
  },
  {
    name: 'makes it anew where an initdb did not end',
    view: aView(empty({ local: { kind: 'half-made', by: 'initdb' } })),
    rule: 'joining.bootstrap',
    actions: ['bootstrap'],
  },
  {
    name: 'does not make a cluster that it may never lead',
    view: aView(empty({ node: { noFailover: true } })),
    rule: 'joining.wait-for-bootstrap',
    actions: [],
  },
  {
    name: 'does not make a cluster with priority 0',
    view: aView(empty({ node: { priority: 0 } })),
    rule: 'joining.wait-for-bootstrap',
    actions: [],
  },
  {
    name: 'goes on making the cluster after its own claim, whose answer was lost',
    view: aView(empty({ cluster: beingMade, lease: leaseId('lease-of-c') })),
    rule: 'joining.bootstrap',
    actions: ['bootstrap'],
  },
  {
    name: 'waits for another member that makes it',
    view: aView(empty({ cluster: aCluster({ leader: null, status: null, initialize: '' }) })),
    rule: 'joining.wait-for-bootstrap',
    actions: [],
  },
  {
    name: 'leaves a running primary alone while an empty member makes a cluster, and claims the scope for it at once',
    view: aView(empty({ local: aPrimary(), cluster: beingMade, gate: closedGate(7_000) })),
    rule: 'joining.claim',
    actions: [{ do: 'claim-scope', over: revision(5) }],
    situation: 'joining',
  },
  {
    name: 'waits for a server that is starting while an empty member makes a cluster: whose data it has is not known yet',
    view: aView(empty({ local: startingAsPrimary, cluster: beingMade })),
    rule: 'joining.wait-for-bootstrap',
    actions: [],
    situation: 'joining',
  },
  {
    name: 'ends a server that is starting as a primary where somebody has led',
    view: aView(empty({ local: startingAsPrimary, cluster: { ...beingMade, status: aStatus() } })),
    rule: 'fence.without-window',
    actions: ['stop-immediately'],
  },
  {
    name: "claims the scope for a stopped primary's data while an empty member makes a cluster",
    view: aView(empty({ local: aStopped(), cluster: beingMade })),
    rule: 'joining.claim',
    actions: ['claim-scope'],
  },
  {
    name: "never claims it for a standby's data",
    view: aView(empty({ local: aStopped({ standbySignal: true }), cluster: beingMade })),
    rule: 'joining.wait-for-bootstrap',
    actions: [],
  },
  {
    name: 'leaves a running primary alone while a Patroni member makes a cluster, and cannot claim the scope',
    view: aView(empty({ local: aPrimary(), cluster: aCluster({ leader: null, status: null, initialize: '' }) })),
    rule: 'joining.wait-for-bootstrap',
    actions: [],
  },
  {
    name: 'does not claim a scope that is being made where somebody has led',
    view: aView(empty({ local: aStopped(), cluster: { ...beingMade, status: aStatus() } })),
    rule: 'joining.wait-for-bootstrap',
    actions: [],
  },
  {
    name: 'does not claim it for data that are not those which the scope had before',
    view: aView(empty({ local: aPrimary(), cluster: beingMade, formerCluster: systemId('1') })),
    rule: 'joining.wait-for-bootstrap',
    actions: [],
  },
  {
    name: 'waits after a bootstrap that failed',
    view: aView(empty({ attempts: failed('bootstrap', 1, before(100)) })),
    rule: 'rejoin.back-off',
    actions: [],
    again: 900,
  },
  {
    name: 'takes a running primary in once nobody else can be writing',
    view: aView(empty({ local: aPrimary() })),
    rule: 'joining.claim',
    actions: ['claim-scope'],
  },
  {
    name: 'waits at the gate before it takes a running primary in',
    view: aView(empty({ local: aPrimary(), gate: closedGate(700) })),
    rule: 'leaderless.at-the-gate',
    actions: [],
    again: 700,
  },
  {
    name: "takes the data of a stopped primary for the cluster's",
    view: aView(empty({ local: aStopped() })),
    rule: 'joining.claim',
    actions: ['claim-scope'],
  },
  {
    name: 'never makes a standby the first leader',
    view: aView(empty({ local: aStandby() })),
    rule: 'joining.standby-cannot-claim',
    actions: [],
  },
  {
    name: "never takes a stopped standby's data for the cluster's",
    view: aView(empty({ local: aStopped({ wasPrimary: false, standbySignal: true }) })),
    rule: 'joining.standby-cannot-claim',
    actions: [],
  },
  {
    name: 'never takes data for the cluster’s that a start would make a standby’s',
    view: aView(empty({ local: aStopped({ standbySignal: true }) })),
    rule: 'joining.standby-cannot-claim',
    actions: [],
  },
  {
    name: 'copies from the leader when it has no data',
    view: aView({ local: { kind: 'absent' } }),
    rule: 'joining.copy',
    actions: [{ do: 'copy', source: nodeName('a'), leader: nodeName('a'), wipe: false }],
  },
  {
    name: 'copies from a standby that is tagged for it',
    view: aView({
      local: { kind: 'absent' },
      cluster: aCluster({
        members: [aMember('a'), aMember('c', { tags: { clonefrom: true }, replicationState: 'streaming' })],
      }),
    }),
    rule: 'joining.copy',
    actions: [{ do: 'copy', source: nodeName('c'), leader: nodeName('a'), wipe: false }],
  },
  {
    name: 'copies anew where a copy did not end',
    view: aView({ local: { kind: 'half-made', by: 'copy' } }),
    rule: 'joining.copy',
    actions: ['copy'],
  },
  {
    name: 'waits for a leader that is not a running primary yet',
    view: aView({
      local: { kind: 'absent' },
      cluster: aCluster({ members: [aMember('a', { role: 'replica' })] }),
    }),
    rule: 'following.leader-not-ready',
    actions: [],
  },
  {
    name: 'waits after a copy that failed',
    view: aView({ local: { kind: 'absent' }, attempts: failed('copy', 2, before(500)) }),
    rule: 'rejoin.back-off',
    actions: [],
    again: 1_500,
  },
  {
    name: 'waits for a leader to copy from',
    view: aView({ local: { kind: 'absent' }, cluster: aCluster({ leader: null }) }),
    rule: 'leaderless.wait-for-data',
    actions: [],
    situation: 'leaderless',
  },
];
