/**
 * With synchronous standbys: who may take the key, hand it over, and leave. `b` is this node, `a` led last, `c` is
 * another standby.
 */
import type { SyncKey } from '../../../../src/core/quorum.ts';
import { nodeName, revision } from '../../../../src/core/store.ts';
import { LONG_AGO, millis } from '../../../../src/core/time.ts';
import {
  aCluster,
  after,
  aGate,
  aLineage,
  aPeer,
  aRelease,
  aRequest,
  aSilentPeer,
  aStandby,
  aStopped,
  at,
  aView,
  before,
  type Case,
  type ClusterOver,
  clusterPolicy,
  END,
  failed,
  leads,
  peers,
  seeks,
  type ViewOver,
} from '../builders.ts';

const [A, B, C] = ['a', 'b', 'c'].map(nodeName) as [SyncKey['leader'], SyncKey['leader'], SyncKey['leader']];
const SYNC = revision(70);
const AHEAD = at('0/6000000');
const BEHIND = at('0/5000000');
const mode = (of: 'on' | 'quorum' | 'off') =>
  ({ synchronous: { ...clusterPolicy.synchronous, mode: of } }) as const satisfies ViewOver['set'];
const key = (voters: SyncKey['voters'], quorum: number, leader = A) => ({
  revision: SYNC,
  key: { leader, voters, quorum },
  garbled: false,
});
/** Nobody leads, and the election has gone on for long enough for everybody's turn. */
const election = (sync: ClusterOver['sync'], c: ReturnType<typeof aPeer>, over: ViewOver = {}): Case['view'] =>
  seeks({
    cluster: aCluster({ leader: null, ...(sync === undefined ? {} : { sync }) }),
    leaderlessSince: before(5_000),
    lastLeader: A,
    peers: peers({ a: aSilentPeer(), c }),
    local: aStandby({ receiver: null, follows: null }),
    set: mode('quorum'),
    ...over,
  });
const taking = (next: SyncKey | null) => ({
  do: 'acquire' as const,
  status: aGate().revision,
  standing: null,
  adopting: false,
  sync: { revision: SYNC, key: next },
});
/** `a` holds the key; this voter's receiver was ended in an election, perhaps by an earlier daemon. */
const withdrawnVoter: ViewOver = {
  local: aStandby({ receiver: null, follows: null }),
  cluster: aCluster({ sync: key([B, C], 1) }),
  lineage: aLineage(),
  set: mode('quorum'),
};
const waitsFor = (...names: (typeof A)[]) => [{ do: 'ask-peers' as const, waitFor: names }];

export const synchronously: readonly Case[] = [
  {
    name: 'quorum: takes the key once the other voter is seen to have nothing more, and makes a voter of the last leader',
    view: election(key([B, C], 1), aPeer('c')),
    rule: 'leaderless.acquire',
    actions: [taking({ leader: B, voters: [A, C], quorum: 1 })],
  },
  {
    name: 'quorum: waits for a voter that cannot be seen',
    view: election(key([B, C], 1), aSilentPeer()),
    rule: 'leaderless.wait-for-voters',
    actions: waitsFor(C),
  },
  {
    name: 'quorum: a voter that was asked before the gate had passed does not count',
    view: election(key([B, C], 1), aPeer('c'), { leaderlessSince: before(50) }),
    rule: 'leaderless.ask-peers',
    actions: ['ask-peers'],
  },
  {
    name: 'quorum: a voter ends its receiver before anybody is asked',
    view: election(key([B, C], 1), aPeer('c'), { local: aStandby() }),
    rule: 'leaderless.stop-receiving',
    actions: ['stop-receiving'],
  },
  {
    name: 'quorum: also one that may never lead',
    view: election(key([B, C], 1), aPeer('c'), { local: aStandby(), node: { noFailover: true } }),
    rule: 'leaderless.stop-receiving',
    actions: ['stop-receiving'],
  },
  {
    name: 'quorum: not before the gate has passed',
    view: election(key([B, C], 1), aPeer('c'), { local: aStandby(), gate: aGate({ opensAt: after(100) }) }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'quorum: one that is no voter goes on receiving, and who leads does not depend on it',
    view: election(key([A, C], 0), aPeer('c'), { local: aStandby() }),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'quorum: a voter that may still acknowledge commits of the last leader does not count yet',
    view: election(key([B, C], 1), aPeer('c', { mayReceive: true })),
    rule: 'leaderless.wait-for-receivers',
    actions: waitsFor(C),
  },
  {
    name: 'quorum: it is not waited for where it does not matter',
    view: election(key([B, C], 0), aPeer('c', { mayReceive: true })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'quorum: nor for ever',
    view: election(key([B, C], 1), aPeer('c', { mayReceive: true }), {
      set: { ...mode('quorum'), siblingNodesDisconnectTimeout: millis(5_000) },
    }),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'quorum: after a release, whose sender was down, nobody ends a receiver',
    view: election(key([B, C], 1), aPeer('c', { mayReceive: true }), {
      local: aStandby(),
      gate: aGate({ beat: aRelease('b') }),
    }),
    rule: 'leaderless.chosen',
    actions: ['acquire'],
  },
  {
    name: 'quorum: in maintenance an operator who names this node vouches for what the receivers of others may do',
    view: election(key([B, C], 1), aPeer('c', { mayReceive: true }), {
      local: aStandby(),
      set: { ...mode('quorum'), pause: true },
      cluster: aCluster({ leader: null, sync: key([B, C], 1), failover: aRequest({ candidate: 'b' }) }),
      peers: peers({ a: aPeer('a', { state: 'stopped' }), c: aPeer('c', { mayReceive: true }) }),
    }),
    rule: 'leaderless.chosen',
    actions: ['acquire'],
  },
  {
    name: 'quorum: a voter that still replays what it had does not count',
    view: election(key([B, C], 1), aPeer('c', { positionFinal: false, position: BEHIND })),
    rule: 'leaderless.wait-for-voters',
    actions: waitsFor(C),
  },
  {
    name: 'quorum: nor one whose Postgres does not answer, and may have confirmed more since',
    view: election(key([B, C], 1), aPeer('c', { outdated: true, position: BEHIND })),
    rule: 'leaderless.wait-for-voters',
    actions: waitsFor(C),
  },
  {
    name: 'quorum: a voter with the data of another cluster does not count',
    view: election(key([B, C], 1), aPeer('c', { systemId: null, position: BEHIND })),
    rule: 'leaderless.wait-for-voters',
    actions: waitsFor(C),
  },
  {
    name: 'quorum: a voter that is further is waited for as well',
    view: election(key([B, C], 1), aPeer('c', { position: AHEAD, priority: 0 })),
    rule: 'leaderless.wait-for-voters',
    actions: waitsFor(C),
  },
  {
    name: 'quorum: one that is no voter has to outdo one more',
    view: election(key([A, C], 1, C), aPeer('c')),
    rule: 'leaderless.wait-for-voters',
    actions: waitsFor(A, C),
  },
  {
    name: 'whoever led last has everything that was acknowledged',
    view: election(key([A, C], 1, B), aSilentPeer()),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'on: a synchronous standby needs nobody else, and receives until it is promoted',
    view: election(key([B], 0), aSilentPeer(), { set: mode('on'), local: aStandby() }),
    rule: 'leaderless.acquire',
    actions: [taking({ leader: B, voters: [A], quorum: 0 })],
  },
  {
    name: 'on: a standby that is not synchronous does not take the key',
    view: election(key([C], 0), aSilentPeer(), { set: mode('on') }),
    rule: 'leaderless.not-synchronous',
    actions: [],
  },
  {
    name: 'on: one that is not synchronous is not waited for either, however far it is',
    view: election(key([B], 0), aPeer('c', { position: AHEAD }), { set: mode('on'), leaderlessSince: before(200) }),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'a key that nobody understands: nobody takes the lead by himself',
    view: election({ revision: SYNC, key: null, garbled: true }, aPeer('c')),
    rule: 'leaderless.wait-for-voters',
    actions: [],
  },
  {
    name: 'with synchronous_mode off a key that is left is obeyed, and goes with the takeover',
    view: election(key([B], 0), aPeer('c'), { set: mode('off') }),
    rule: 'leaderless.acquire',
    actions: [taking(null)],
  },
  {
    name: 'the first leader with synchronous_mode on writes the key',
    view: election(undefined, aPeer('c')),
    rule: 'leaderless.acquire',
    actions: [
      {
        ...taking({ leader: B, voters: [], quorum: 0 }),
        sync: { revision: revision(0), key: { leader: B, voters: [], quorum: 0 } },
      },
    ],
  },
  {
    name: 'a release that names this node and ends where its WAL ends says that nothing is missing',
    view: election(key([C], 0), aSilentPeer(), { set: mode('on'), gate: aGate({ beat: aRelease('b') }) }),
    rule: 'leaderless.chosen',
    actions: ['acquire'],
  },
  {
    name: 'a release that names this node and goes on further does not make up for what may be missing',
    view: election(key([C], 0), aSilentPeer(), {
      set: mode('on'),
      gate: aGate({ beat: aRelease('b', at('0/5000070')) }),
    }),
    rule: 'leaderless.not-synchronous',
    actions: [],
  },
  {
    name: 'an operator who names this node does not either',
    view: election(key([B, C], 1), aSilentPeer(), {
      cluster: aCluster({ leader: null, sync: key([B, C], 1), failover: aRequest({ candidate: 'b' }) }),
    }),
    rule: 'leaderless.wait-for-voters',
    actions: waitsFor(C),
  },
  {
    name: 'an operator who says that commits may be lost is obeyed',
    view: election(key([C], 0), aSilentPeer(), {
      set: mode('on'),
      cluster: aCluster({
        leader: null,
        sync: key([C], 0),
        failover: { ...aRequest({ candidate: 'b' }), forced: true },
      }),
    }),
    rule: 'leaderless.chosen',
    actions: [taking({ leader: B, voters: [], quorum: 0 })],
  },
  {
    name: 'a leader whose Postgres is down gives no key to one that may lack acknowledged commits',
    view: leads({
      set: { ...mode('quorum'), primaryCrash: 'failover' },
      cluster: aCluster({ leader: 'b', sync: key([A, C], 1, B) }),
      local: aStopped(),
      localSince: before(200),
      endOfWal: END,
      rescue: { since: before(6_000), endedAt: before(300), rounds: 0, failed: new Set([C]) },
      peers: peers({ a: aSilentPeer(), c: aPeer('c', { position: BEHIND }) }),
    }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'and gives it to one of which the voters say that it lacks none',
    view: leads({
      set: { ...mode('quorum'), primaryCrash: 'failover' },
      cluster: aCluster({ leader: 'b', sync: key([A, C], 1, B) }),
      local: aStopped(),
      localSince: before(200),
      endOfWal: END,
      rescue: { since: before(6_000), endedAt: before(300), rounds: 0, failed: new Set([C]) },
      attempts: failed('start', 1),
      peers: peers({ a: aPeer('a', { position: BEHIND, priority: 0 }), c: aPeer('c', { position: BEHIND }) }),
    }),
    rule: 'leading.hand-over-with-loss',
    actions: ['release'],
  },
  {
    name: 'on: gives it to the synchronous standby when it cannot be started here, also where another one is further',
    view: leads({
      set: mode('on'),
      cluster: aCluster({ leader: 'b', sync: key([A], 0, B) }),
      local: aStopped(),
      localSince: before(200),
      endOfWal: END,
      rescue: { since: before(6_000), endedAt: before(300), rounds: 0, failed: new Set([A, C]) },
      attempts: failed('start', 3),
      peers: peers({ a: aPeer('a', { position: BEHIND }), c: aPeer('c', { position: at('0/5000030') }) }),
    }),
    rule: 'leading.hand-over-with-loss',
    actions: [{ do: 'release', lsn: END, candidate: A, lost: { from: BEHIND, to: END } }],
  },
  {
    name: 'a switchover to a standby that is not synchronous is refused',
    view: leads({
      set: mode('on'),
      cluster: aCluster({ leader: 'b', sync: key([A], 0, B), failover: aRequest({ leader: 'b', candidate: 'c' }) }),
      peers: peers({ a: aPeer('a'), c: aPeer('c') }),
    }),
    rule: 'switchover.refused',
    actions: ['drop-switchover-request'],
  },
  {
    name: 'a switchover without a candidate goes to a synchronous one',
    view: leads({
      set: mode('on'),
      cluster: aCluster({ leader: 'b', sync: key([C], 0, B), failover: aRequest({ leader: 'b' }) }),
      peers: peers({ a: aPeer('a', { position: AHEAD }), c: aPeer('c') }),
    }),
    rule: 'switchover.stop',
    actions: ['stop-for-switchover'],
  },
  {
    name: 'quorum: a voter that receives nothing, and knows of no beat that is young, waits for one before it receives again',
    view: aView({
      ...withdrawnVoter,
      gate: aGate({ opensAt: after(9_000), arrived: before(1_000), writtenAfter: LONG_AGO }),
    }),
    rule: 'following.leader-unheard',
    actions: [],
  },
  {
    name: 'quorum: the same before its Postgres is started as a standby of his',
    view: aView({
      ...withdrawnVoter,
      local: aStopped({ wasPrimary: false, standbySignal: true }),
      gate: aGate({ opensAt: after(9_000), arrived: before(1_000), writtenAfter: LONG_AGO }),
    }),
    rule: 'following.leader-unheard',
    actions: [],
  },
  {
    name: 'quorum: behind a young beat it receives again',
    view: aView({
      ...withdrawnVoter,
      gate: aGate({ opensAt: after(9_000), arrived: before(1_000), writtenAfter: before(3_000) }),
    }),
    rule: 'following.follow',
    actions: [{ do: 'follow', upstream: A }],
  },
  {
    name: 'quorum: one whose receiver was never ended receives on, whatever it knows of beats',
    view: aView({
      ...withdrawnVoter,
      local: aStandby(),
      gate: aGate({ opensAt: after(9_000), arrived: before(1_000), writtenAfter: LONG_AGO }),
    }),
    rule: 'following.streaming',
    actions: [],
  },
  {
    name: 'on: nobody is elected without the only voter, who need not wait for a beat',
    view: aView({
      ...withdrawnVoter,
      set: mode('on'),
      cluster: aCluster({ sync: key([B], 0) }),
      gate: aGate({ opensAt: after(9_000), arrived: before(1_000), writtenAfter: LONG_AGO }),
    }),
    rule: 'following.follow',
    actions: [{ do: 'follow', upstream: A }],
  },
  {
    name: 'a synchronous standby whose service stops waits until no commit waits for it',
    view: aView({ leaving: true, leavingSince: before(100), cluster: aCluster({ sync: key([B], 0) }) }),
    rule: 'service.leaving-sync-set',
    actions: [],
  },
  {
    name: 'but not for longer than two loops',
    view: aView({ leaving: true, leavingSince: before(4_001), cluster: aCluster({ sync: key([B], 0) }) }),
    rule: 'service.leaving-stops',
    actions: ['stop-in-order'],
  },
  {
    name: 'and not without a leader who could let it go',
    view: aView({ leaving: true, leavingSince: before(100), cluster: aCluster({ leader: null, sync: key([B], 0) }) }),
    rule: 'service.leaving-stops',
    actions: ['stop-in-order'],
  },
];
