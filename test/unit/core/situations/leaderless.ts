/** Nobody's window can be open, or soon will not be. */

import { systemId } from '../../../../src/core/local.ts';
import { lsn, timeline } from '../../../../src/core/lsn.ts';
import type { Publications } from '../../../../src/core/published.ts';
import { nodeName, revision } from '../../../../src/core/store.ts';
import { laterBy, millis } from '../../../../src/core/time.ts';
import {
  aBeat,
  aCluster,
  aGate,
  aHistoryLine,
  aLoneStandby,
  aPeer,
  aPrimary,
  aRelease,
  aRequest,
  aSilentPeer,
  aStatus,
  aStopped,
  at,
  aView,
  before,
  type Case,
  closedGate,
  END,
  FAILING,
  failed,
  NOW,
  peers,
  STATUS,
  seeks,
  TERM,
  type ViewOver,
} from '../builders.ts';

const acquire = (over: { standing?: boolean; adopting?: boolean; status?: typeof STATUS } = {}) =>
  ({
    do: 'acquire',
    status: over.status ?? STATUS,
    standing: over.standing === true ? TERM : null,
    adopting: over.adopting ?? false,
  }) as const;

/** The key of `a` still stands; its gate has passed. */
const standing: ViewOver = { cluster: aCluster() };
const noKey = aCluster({ leader: null });

/** This node led last, in maintenance; its machine was away, and it is a standby by now. */
const ledLast = (over: ViewOver = {}) =>
  seeks({
    local: aLoneStandby(),
    cluster: aCluster({ leader: null }),
    gate: aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }), writer: nodeName('b'), arrived: before(10_000) }),
    lastLeader: null,
    peers: peers({ a: aPeer('a'), c: aPeer('c') }),
    ...over,
  });

export const atTheGate: readonly Case[] = [
  {
    name: 'leads again after maintenance in which it led last: nobody else has led since',
    view: ledLast(),
    rule: 'leaderless.acquire',
    actions: [{ ...acquire(), despitePause: true }],
  },
  {
    name: 'but not for a TTL: etcd may have been restored to before somebody else led',
    view: ledLast({
      gate: aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }), writer: nodeName('b'), arrived: before(9_000) }),
    }),
    rule: 'leaderless.at-the-gate',
    actions: [],
    again: 1_000,
  },
  {
    name: 'nor where it gave the key up for one who was promoted by hand: that one writes, whether it is seen or not',
    view: ledLast({
      gate: aGate({
        opensAt: 'never',
        beat: aBeat({ holdMs: null, release: { lsn: END, candidate: nodeName('a') } }),
        writer: nodeName('b'),
        arrived: before(10_000),
      }),
      peers: peers({ a: aSilentPeer(), c: aPeer('c') }),
    }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'and drops nothing that is scheduled because somebody else runs as a primary',
    view: ledLast({
      cluster: aCluster({ leader: null, failover: aRequest({ leader: 'b', scheduledAt: '2033-05-18T03:33:20Z' }) }),
      wishSince: before(60_000),
      peers: peers({ a: aPeer('a', { inRecovery: false }), c: aPeer('c') }),
    }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor by itself where failover is manual',
    view: ledLast({ set: { failover: 'manual' } }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'nor before its failover_validation_command has agreed',
    view: ledLast({ node: { validates: true } }),
    rule: 'leaderless.validate',
    actions: [{ do: 'validate', visible: 3, total: 3 }],
  },
  {
    name: 'nor before the others were asked',
    view: ledLast({ peers: new Map() }),
    rule: 'leaderless.ask-peers',
    actions: ['ask-peers'],
  },
  {
    name: 'nor beside one that was promoted by hand',
    view: ledLast({ peers: peers({ a: aPeer('a', { inRecovery: false }), c: aPeer('c') }) }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor with less than another one has, who may have been promoted by hand and stopped again',
    view: ledLast({ peers: peers({ a: aPeer('a', { timeline: timeline(3) }), c: aPeer('c') }) }),
    rule: 'leaderless.at-the-gate',
    actions: ['ask-peers'],
  },
  {
    name: 'nor with less than it had published itself: its disk was replaced',
    view: ledLast({ cluster: aCluster({ leader: null, status: aStatus({ optime: lsn(END + 16n) }) }) }),
    rule: 'leaderless.at-the-gate',
    actions: ['ask-peers'],
  },
  {
    name: 'asks meanwhile what others have read of an etcd that was replaced',
    view: seeks({ gate: { ...closedGate(9_000), lostUntil: closedGate(9_000).arrived }, peers: new Map() }),
    rule: 'leaderless.at-the-gate',
    actions: ['ask-peers'],
    again: 250,
  },
  {
    name: 'once a second',
    view: seeks({
      gate: { ...closedGate(9_000), lostUntil: closedGate(9_000).arrived },
      peers: peers({ a: aPeer('a', { at: before(900) }), c: aPeer('c', { at: before(900) }) }),
    }),
    rule: 'leaderless.at-the-gate',
    actions: [],
    again: 250,
  },
  {
    name: 'also of the one who led last, for whom nobody waits',
    view: seeks({
      gate: { ...closedGate(9_000), lostUntil: closedGate(9_000).arrived },
      peers: peers({ b: aPeer('b', { at: before(900) }), c: aPeer('c', { at: before(900) }) }),
    }),
    rule: 'leaderless.at-the-gate',
    actions: ['ask-peers'],
    again: 250,
  },
  {
    name: 'and oftener whether somebody has read it all the while, but not past the gate',
    view: seeks({
      gate: {
        ...closedGate(9_000),
        doubt: {
          why: 'etcd was not read here for 40 s',
          since: before(40_000),
          readAt: before(100),
          storeRevision: revision(50),
          opensAt: before(0),
        },
      },
    }),
    rule: 'leaderless.at-the-gate',
    actions: ['ask-peers'],
    again: 250,
  },
  {
    name: 'waits until the last leader can no longer be writing, and looks again exactly then',
    view: seeks({ gate: closedGate(1_234) }),
    rule: 'leaderless.at-the-gate',
    actions: [],
    again: 1_234,
    situation: 'leaderless',
  },
  {
    name: 'waits one millisecond before the gate',
    view: seeks({ gate: closedGate(1) }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'goes at the very instant of the gate',
    view: seeks({ gate: aGate({ opensAt: NOW }) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'goes through no gate of which it knows nothing',
    view: seeks({ gate: null }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'does not wait out a leader that went in maintenance: only an operator opens that gate',
    view: seeks({ gate: aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }) }) }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'waits for a leader without etcd to whom it has given its word',
    view: seeks({ gate: closedGate(900), confirmed: { to: nodeName('a'), until: laterBy(NOW, millis(900)) } }),
    rule: 'leaderless.at-the-gate',
    actions: [],
    again: 900,
  },
  {
    name: 'takes no key while it does not stand in the failsafe list',
    view: seeks({
      cluster: aCluster({
        leader: null,
        failsafe: { members: new Map([[nodeName('a'), 'http://a']]), revision: STATUS },
      }),
    }),
    rule: 'leaderless.not-listed',
    actions: [],
  },
  {
    name: 'waits at the gate although the release names it',
    view: seeks({ gate: { ...closedGate(5), beat: aRelease('b') } }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
];

export const takingOver: readonly Case[] = [
  {
    name: 'takes over a key that still stands although its window has closed',
    view: seeks(standing),
    rule: 'leaderless.acquire',
    actions: [acquire({ standing: true })],
  },
  {
    name: 'does not take over from one whose status is not of his term',
    view: seeks({ ...standing, gate: aGate({ beat: aBeat({ term: revision(39) }) }) }),
    rule: 'following.waiting-to-stream',
    actions: [],
    situation: 'following',
  },
  {
    name: 'does not take over from one that writes no holds',
    view: seeks({ ...standing, gate: aGate({ beat: null }) }),
    rule: 'following.waiting-to-stream',
    actions: [],
  },
  {
    name: 'does not take over on the strength of a release: its key is gone, or it is not this one',
    view: seeks({ ...standing, gate: aGate({ beat: aRelease('b') }) }),
    rule: 'following.waiting-to-stream',
    actions: [],
  },
  {
    name: 'does not wait for the leader that is known to be gone when it asks for positions',
    view: seeks({ ...standing, peers: new Map() }),
    rule: 'leaderless.ask-peers',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('c')] }],
  },
  {
    name: 'seeks a leader while the key is its own and it does not hold it: an earlier process left it',
    view: seeks({ cluster: aCluster({ leader: 'b' }), gate: closedGate(300) }),
    rule: 'leaderless.at-the-gate',
    actions: [],
    situation: 'leaderless',
  },
];

/** The cluster has been at this position; we are `bytes` behind it. */
const behind = (bytes: number): ViewOver => ({
  cluster: aCluster({ leader: null, status: aStatus({ optime: lsn(END + BigInt(bytes)) }) }),
});
const LIMIT = 1_048_576;
const limitedTo = (ms: number): ViewOver => ({ set: { maximumLagOnFailoverTime: millis(ms) } });
/** Where this standby stands, and further: the leader was heard to stand there so long ago. */
const published = (here: number, further: number): Publications => [
  { lsn: END, heardAt: before(here) },
  { lsn: lsn(END + 4_096n), heardAt: before(further) },
];

export const eligible: readonly Case[] = [
  {
    name: 'never leads when it is tagged nofailover',
    view: seeks({ node: { noFailover: true } }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'never leads with priority 0',
    view: seeks({ node: { priority: 0 } }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'does not lead before it has replayed what it had at its start, and looks again soon',
    view: seeks({ local: aLoneStandby({ positionFinal: false }) }),
    rule: 'leaderless.not-up',
    actions: [],
    again: 200,
  },
  {
    name: 'does not lead with a failing health check',
    view: seeks({ local: aLoneStandby({ failing: FAILING }) }),
    rule: 'leaderless.not-up',
    actions: [],
  },
  {
    name: 'stays out for ten seconds after it gave up a key under which no window opened',
    view: seeks({ attempts: failed('prove', 1, before(9_999)) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'stays out twice as long after the second',
    view: seeks({ attempts: failed('prove', 2, before(19_999)) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'tries again after that',
    view: seeks({ attempts: failed('prove', 2, before(20_000)) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'stays out for no more than a minute',
    view: seeks({ attempts: failed('prove', 40, before(60_000)) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'stays out for a TTL after pre_promote said no',
    view: seeks({ attempts: failed('pre-promote', 3, before(9_999)) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'tries again after that TTL',
    view: seeks({ attempts: failed('pre-promote', 3, before(10_000)) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'stays out for a while after its promotions failed, longer with each one',
    view: seeks({ attempts: failed('promote', 3, before(3_999)) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'tries again after that while, which is never longer than a TTL',
    view: seeks({ attempts: failed('promote', 30, before(10_000)) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'goes again at once after one promotion that failed',
    view: seeks({ attempts: failed('promote', 1, before(0)) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'does not lead on a timeline that the cluster has left',
    view: seeks({ cluster: aCluster({ leader: null, history: [aHistoryLine(1), aHistoryLine(2)] }) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: "leads on the cluster's newest timeline",
    view: seeks({ cluster: aCluster({ leader: null, history: [aHistoryLine(1)] }) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'leads exactly as far behind as maximum_lag_on_failover allows',
    view: seeks(behind(LIMIT)),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'leads when its data are as old as maximum_lag_seconds_on_failover allows',
    view: seeks({ ...behind(4_096), ...limitedTo(3_000), publications: published(5_000, 2_000) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'does not lead when they are older',
    view: seeks({ ...behind(4_096), ...limitedTo(2_999), publications: published(5_000, 2_000) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'does not lead when they are older than it has listened to the leader',
    view: seeks({ ...behind(4_096), ...limitedTo(60_000), publications: published(5_000, 2_000).slice(1) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'leads whatever it has heard when it has all that was published',
    view: seeks(limitedTo(1_000)),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'does not lead one byte further behind',
    view: seeks(behind(LIMIT + 1)),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'measures its lag against the release record, which is newer than the last published position',
    view: seeks({ gate: aGate({ beat: aRelease('b', lsn(END + BigInt(LIMIT + 1))) }) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'reports and does nothing where failover is manual',
    view: seeks({ set: { failover: 'manual' } }),
    rule: 'leaderless.manual',
    actions: [],
  },
];

const after = (waited: number, over: ViewOver = {}): ViewOver => ({ leaderlessSince: before(waited), ...over });
/** `c` is ahead of us by one byte. */
const aheadC = peers({ a: aSilentPeer(), c: aPeer('c', { position: lsn(END + 1n) }) });
const writableC = peers({ a: aSilentPeer(), c: aPeer('c', { writable: true, inRecovery: false }) });

export const electing: readonly Case[] = [
  {
    name: 'asks everybody once the gate has passed',
    view: seeks({ peers: new Map() }),
    rule: 'leaderless.ask-peers',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('a'), nodeName('c')] }],
  },
  {
    name: 'asks again when all answers are from before the gate passed',
    view: seeks(after(100, { peers: peers({ a: aSilentPeer(before(101)), c: aPeer('c', { at: before(101) }) }) })),
    rule: 'leaderless.ask-peers',
    actions: ['ask-peers'],
  },
  {
    name: 'takes the key as the best candidate',
    view: seeks(),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'takes the key alone in its cluster, without asking anybody',
    view: seeks({ cluster: aCluster({ leader: null, members: [] }), peers: new Map() }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'takes the key when nobody answers: etcd is the quorum, not the members',
    view: seeks({ peers: peers({ a: aSilentPeer(), c: aSilentPeer() }) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'takes the key at once when the release names it',
    view: seeks({ gate: aGate({ beat: aRelease('b') }), peers: new Map() }),
    rule: 'leaderless.chosen',
    actions: [acquire()],
  },
  {
    name: 'stands back for a candidate that is one byte further',
    view: seeks(after(399, { peers: aheadC })),
    rule: 'leaderless.stand-back',
    actions: [],
    again: 1,
  },
  {
    name: 'goes when the better candidate has had its time',
    view: seeks(after(400, { peers: aheadC })),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'gives each better candidate its own time',
    view: seeks(after(799, { peers: peers({ a: aPeer('a'), c: aPeer('c', { priority: 200 }) }) })),
    rule: 'leaderless.stand-back',
    actions: [],
    again: 1,
  },
  {
    name: 'stands back for a newer timeline, however little it has received',
    view: seeks({ peers: peers({ a: aSilentPeer(), c: aPeer('c', { timeline: timeline(3), position: at('0/1') }) }) }),
    rule: 'leaderless.stand-back',
    actions: [],
  },
  {
    name: 'stands back for a higher priority at the same position',
    view: seeks({ peers: peers({ a: aSilentPeer(), c: aPeer('c', { priority: 101 }) }) }),
    rule: 'leaderless.stand-back',
    actions: [],
  },
  {
    name: 'does not stand back for a higher priority one byte behind',
    view: seeks({ peers: peers({ a: aSilentPeer(), c: aPeer('c', { priority: 101, position: lsn(END - 1n) }) }) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'stands back for a lower node_id at the same position and priority',
    view: seeks({ node: { nodeId: 2 }, peers: peers({ a: aSilentPeer(), c: aPeer('c', { nodeId: 1 }) }) }),
    rule: 'leaderless.stand-back',
    actions: [],
  },
  {
    name: 'goes first by its lower node_id although its name comes later',
    view: seeks({ node: { nodeId: 1 }, peers: peers({ a: aPeer('a', { nodeId: 2 }), c: aSilentPeer() }) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'stands back for the earlier name when nothing else differs',
    view: seeks({ peers: peers({ a: aPeer('a'), c: aPeer('c') }) }),
    rule: 'leaderless.stand-back',
    actions: [],
  },
  {
    name: 'goes before the later name when nothing else differs',
    view: seeks({ peers: peers({ a: aSilentPeer(), c: aPeer('c') }) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'does not stand back for one that may not lead',
    view: seeks({ peers: peers({ a: aSilentPeer(), c: aPeer('c', { position: lsn(END + 1n), noFailover: true }) }) }),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'does not stand back for an answer older than two seconds',
    view: seeks(
      after(5_000, {
        peers: peers({ a: aSilentPeer(), c: aPeer('c', { position: lsn(END + 1n), at: before(2_001) }) }),
      }),
    ),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'lets the one named in the release go first, although it would win the ranking itself',
    view: seeks(
      after(399, { gate: aGate({ beat: aRelease('c') }), peers: peers({ a: aSilentPeer(), c: aPeer('c') }) }),
    ),
    rule: 'leaderless.stand-back',
    actions: [],
    again: 1,
  },
  {
    name: 'goes when the one named in the release is slow',
    view: seeks(
      after(400, { gate: aGate({ beat: aRelease('c') }), peers: peers({ a: aSilentPeer(), c: aPeer('c') }) }),
    ),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'holds back while somebody says that it is a writable primary',
    view: seeks(after(9_999, { peers: writableC })),
    rule: 'leaderless.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'holds back for a member of Patroni that says so as long as it does: nobody else ends that primary',
    view: seeks(
      after(600_000, { peers: peers({ c: aPeer('c', { writable: true, inRecovery: false, pgha: false }) }) }),
    ),
    rule: 'leaderless.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'does not hold back longer than another TTL',
    view: seeks(after(10_000, { peers: writableC })),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
];

const byHand = (candidate: string, rest: Parameters<typeof aCluster>[0] = {}) =>
  aCluster({ leader: null, failover: aRequest({ candidate }), ...rest });

const byHandForced = (rest: Parameters<typeof aCluster>[0]) =>
  aCluster({ leader: null, failover: { ...aRequest({ candidate: 'b' }), forced: true }, ...rest });
const tooFar = aStatus({ optime: lsn(END + BigInt(LIMIT + 1)) });

/** `a` ran Patroni and has given the key up because an operator had asked for somebody else. */
const switchoverOfPatroni = (candidate: string) =>
  aCluster({ leader: null, failover: aRequest({ leader: 'a', candidate }) });
const ofPatroni = aGate({ beat: null, beatless: TERM });

export const byOperator: readonly Case[] = [
  {
    name: 'takes the key when an operator names it, without an election',
    view: seeks({ cluster: byHand('b'), peers: aheadC }),
    rule: 'leaderless.chosen',
    actions: [acquire()],
  },
  {
    name: 'does not take it when it lags too far behind: he may not know',
    view: seeks({ cluster: byHand('b', { status: tooFar }) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'takes it then when he answers for what is missing',
    view: seeks({ cluster: byHandForced({ status: tooFar }) }),
    rule: 'leaderless.chosen',
    actions: [acquire()],
  },
  {
    name: 'does not take it on an older timeline than the cluster has been on',
    view: seeks({ cluster: byHand('b', { history: [aHistoryLine(2)] }) }),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'takes it then when he answers for what is missing: nobody may be left who was on that one',
    view: seeks({ cluster: byHandForced({ history: [aHistoryLine(2)] }) }),
    rule: 'leaderless.chosen',
    actions: [acquire()],
  },
  {
    name: 'takes it also where failover is manual: this is the hand',
    view: seeks({ cluster: byHand('b'), set: { failover: 'manual' } }),
    rule: 'leaderless.chosen',
    actions: [acquire()],
  },
  {
    name: 'lets the one that an operator names go, however long there has been no leader',
    view: seeks(after(600_000, { cluster: byHand('c'), peers: peers({ a: aSilentPeer(), c: aPeer('c') }) })),
    rule: 'leaderless.stand-back',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('c')] }],
  },
  {
    name: 'goes itself when the one that an operator names cannot',
    view: seeks(after(100, { cluster: byHand('c'), peers: peers({ a: aSilentPeer(), c: aSilentPeer() }) })),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'does not go in his place where failover is manual',
    view: seeks(
      after(100, {
        cluster: byHand('c'),
        peers: peers({ a: aSilentPeer(), c: aSilentPeer() }),
        set: { failover: 'manual' },
      }),
    ),
    rule: 'leaderless.manual',
    actions: [],
  },
  {
    name: 'goes when an operator has named it to a last leader that runs Patroni, which leaves no record',
    view: seeks({ cluster: switchoverOfPatroni('b'), gate: ofPatroni, lastLeader: nodeName('a'), peers: aheadC }),
    rule: 'leaderless.chosen',
    actions: [acquire()],
  },
  {
    name: 'lets another one go whom an operator has named to such a leader, however long the wish has stood',
    view: seeks(
      after(100, {
        cluster: switchoverOfPatroni('c'),
        gate: ofPatroni,
        lastLeader: nodeName('a'),
        wishSince: before(600_000),
        peers: peers({ a: aSilentPeer(), c: aPeer('c', { pgha: false }) }),
      }),
    ),
    rule: 'leaderless.stand-back',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('c')] }],
  },
  {
    name: 'goes by the record of a leader that writes one, whatever switchover still stands there',
    view: seeks(
      after(100, {
        cluster: switchoverOfPatroni('c'),
        lastLeader: nodeName('a'),
        peers: peers({ a: aSilentPeer(), c: aPeer('c') }),
      }),
    ),
    rule: 'leaderless.acquire',
    actions: [acquire()],
  },
  {
    name: 'waits at the gate also when an operator names it',
    view: seeks({ cluster: byHand('b'), gate: closedGate(5) }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'waits for one who has led since then with an end to his word: the wish may come from a backup of etcd',
    view: seeks({
      cluster: byHand('b'),
      gate: { ...aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }) }), lostUntil: laterBy(before(0), millis(1)) },
    }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'takes the key of a leader that went in maintenance on the word of an operator that is newer',
    view: seeks({ cluster: byHand('b'), gate: aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }) }) }),
    rule: 'leaderless.chosen',
    actions: [{ ...acquire(), despitePause: true }],
  },
  {
    name: 'does not take it on the word of an operator that is older than that leader',
    view: seeks({
      cluster: byHand('b'),
      gate: aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }), revision: revision(61) }),
    }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'does not take it on a switchover that names a leader: who leads is not his any more',
    view: seeks({
      cluster: aCluster({ leader: null, failover: aRequest({ leader: 'a', candidate: 'b' }) }),
      gate: aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }) }),
    }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
];

const neverLed = aCluster({ leader: null, status: null });
const nobodyWrote = aGate({ revision: revision(0), beat: null });

const madeHere: ViewOver = {
  local: aStopped({ cleanly: true, timeline: timeline(1) }),
  cluster: neverLed,
  gate: nobodyWrote,
  peers: peers({ a: aSilentPeer(), c: aPeer('c', { timeline: timeline(1) }) }),
};

export const notRunning: readonly Case[] = [
  {
    name: 'brings a stopped Postgres up as a standby first, so that its position counts',
    view: seeks({ local: aStopped() }),
    rule: 'leaderless.start-standby',
    actions: [{ do: 'start-standby', upstream: null }],
  },
  {
    name: 'does not wait for the gate to bring it up',
    view: seeks({ local: aStopped(), gate: closedGate(5_000) }),
    rule: 'leaderless.start-standby',
    actions: ['start-standby'],
  },
  {
    name: 'waits between starts that fail',
    view: seeks({ local: aStopped(), attempts: failed('start', 1, before(1)) }),
    rule: 'rejoin.back-off',
    actions: [],
    again: 999,
  },
  {
    name: 'takes the key of a cluster that nobody has ever led with its stopped primary',
    view: seeks(after(100, madeHere)),
    rule: 'leaderless.acquire',
    actions: [acquire({ status: revision(0) })],
  },
  {
    name: 'asks the others first whether they know better: etcd may have been emptied',
    view: seeks({ ...madeHere, peers: new Map() }),
    rule: 'leaderless.ask-peers',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('a'), nodeName('c')] }],
  },
  {
    name: 'stays behind one who is on a newer timeline: somebody has led since',
    view: seeks(after(100, { ...madeHere, peers: peers({ a: aPeer('a'), c: aSilentPeer() }) })),
    rule: 'leaderless.start-standby',
    actions: ['start-standby'],
  },
  {
    name: 'stays behind one who runs as a primary, also of other data, until its daemon has heard of this cluster',
    view: seeks(
      after(100, {
        ...madeHere,
        peers: peers({ a: aPeer('a', { inRecovery: false, systemId: systemId('666') }), c: aSilentPeer() }),
      }),
    ),
    rule: 'leaderless.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'does not lead from the stopped primary of a cluster that had failovers: a wiped store forgets them, the data do not',
    view: seeks({ local: aStopped({ cleanly: true, timeline: timeline(2) }), cluster: neverLed, gate: nobodyWrote }),
    rule: 'leaderless.start-standby',
    actions: ['start-standby'],
  },
  {
    name: 'waits at the gate also for a cluster that nobody seems to have led',
    view: seeks({ local: aStopped({ cleanly: true, timeline: timeline(1) }), cluster: neverLed, gate: closedGate(10) }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'brings up as a standby what crashed, also where nobody has ever led',
    view: seeks({ local: aStopped(), cluster: neverLed, gate: nobodyWrote }),
    rule: 'leaderless.start-standby',
    actions: ['start-standby'],
  },
  {
    name: 'takes a running primary in as it runs, where nobody has ever led',
    view: seeks({ local: aPrimary(), cluster: neverLed, gate: nobodyWrote }),
    rule: 'leaderless.acquire',
    actions: [acquire({ status: revision(0), adopting: true })],
  },
  {
    name: 'does not take a running primary in before the gate has passed',
    view: seeks({ local: aPrimary(), cluster: neverLed, gate: closedGate(10) }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'stands back for a primary that is just being taken in, where nobody has ever led, however long that takes',
    view: seeks(
      after(60_000, {
        cluster: neverLed,
        gate: nobodyWrote,
        peers: peers({ a: aPeer('a', { inRecovery: false }), c: aSilentPeer() }),
      }),
    ),
    rule: 'leaderless.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'waits for a leader when it has no data',
    view: seeks({ local: { kind: 'half-made', by: 'copy' } }),
    rule: 'leaderless.wait-for-data',
    actions: [],
  },
  {
    name: 'takes no part while Postgres is stopping',
    view: seeks({ local: { kind: 'stopping', since: millis(1) } }),
    rule: 'leaderless.not-up',
    actions: [],
  },
  {
    name: 'takes no part while etcd does not answer',
    view: aView({ local: aLoneStandby(), cluster: noKey, gate: aGate(), etcd: 'silent' }),
    rule: 'blind.standby',
    actions: [],
  },
];
