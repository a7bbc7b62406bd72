/** A cluster that follows another one: its leader writes nothing, and is promoted only when the settings say so. */
import { REMOTE, type RemoteSource } from '../../../../src/core/policy.ts';
import { nodeName } from '../../../../src/core/store.ts';
import { millis } from '../../../../src/core/time.ts';
import type { View } from '../../../../src/core/view.ts';
import {
  aBeat,
  aCluster,
  aGate,
  aHistoryLine,
  aLineage,
  aLoneStandby,
  aMember,
  aPeer,
  aPrimary,
  aRequest,
  aSilentPeer,
  aStandby,
  aStatus,
  aStopped,
  aView,
  before,
  type Case,
  END,
  FAILING,
  failed,
  holding,
  isStarting,
  newLineage,
  noWindow,
  peers,
  SYSTEM,
  seeks,
  TERM,
  type ViewOver,
} from '../builders.ts';

export const FAR: RemoteSource = {
  host: 'far1',
  port: 5432,
  slot: null,
  copyMethods: null,
  restoreCommand: null,
  archiveCleanupCommand: null,
  recoveryMinApplyDelay: null,
};
const standbyCluster = { standbyCluster: FAR };
const receiver = { streaming: true, from: 'far1:5432', timeline: aStandby().timeline, lastMessage: millis(10) };
const far = aStandby({ follows: 'far1:5432', receiver });
const followsFar = aLoneStandby({ follows: 'far1:5432' });
const toFar = { do: 'follow', upstream: REMOTE } as const;
const askFar = { do: 'learn-lineage', of: REMOTE } as const;
const startBelowFar = { do: 'start-standby', upstream: REMOTE } as const;
const ofFar = (over = {}) => aLineage({ of: REMOTE, term: TERM, at: before(100), ...over });
const branchedEarlier = newLineage('0/4000000', { of: REMOTE, term: TERM, at: before(100) });

/** This node holds the key of a standby cluster; no window is open. */
const leads = (over: ViewOver = {}): View => {
  const { set = {}, ...rest } = over;
  return aView({
    local: far,
    cluster: aCluster({ leader: 'b' }),
    leadership: noWindow(),
    peers: peers({ a: aPeer('a'), c: aPeer('c') }),
    set: { ...standbyCluster, ...set },
    ...rest,
  });
};
const demoted = aStopped({ wasPrimary: true, standbySignal: false });
const withoutSettings = (flag: boolean) =>
  aCluster({ leader: 'b', config: null, status: aStatus(flag ? { standbyCluster: true } : {}) });

export const leadingStandbys: readonly Case[] = [
  { name: 'receives from the other cluster', view: leads(), rule: 'standby-leader.receiving', actions: [] },
  {
    name: 'is not promoted, also with an open window',
    view: leads({ leadership: holding() }),
    rule: 'standby-leader.receiving',
    actions: [],
  },
  {
    name: 'is promoted once the settings name no other cluster and its window is open',
    view: leads({ leadership: holding(), set: { standbyCluster: undefined } as never }),
    rule: 'leading.promote',
    actions: ['promote'],
  },
  {
    name: 'waits for its window when the settings name no other cluster any more',
    view: leads({ set: { standbyCluster: undefined } as never }),
    rule: 'leading.waiting-for-window',
    actions: [],
  },
  {
    name: 'is not promoted because the settings are gone',
    view: leads({ leadership: holding(), cluster: withoutSettings(true), set: { standbyCluster: undefined } as never }),
    rule: 'standby-leader.settings-unknown',
    actions: [],
  },
  {
    name: 'of a cluster that followed nobody is promoted without settings',
    view: leads({
      leadership: holding(),
      cluster: withoutSettings(false),
      set: { standbyCluster: undefined } as never,
    }),
    rule: 'leading.promote',
    actions: ['promote'],
  },
  {
    name: 'follows the other cluster when it has just taken the key',
    view: leads({ local: aStandby() }),
    rule: 'standby-leader.follow',
    actions: [toFar],
  },
  {
    name: 'is fed by an archive alone',
    view: leads({
      local: aLoneStandby({ follows: null, restores: true }),
      set: { standbyCluster: { ...FAR, host: null, restoreCommand: 'cp' } },
    }),
    rule: 'standby-leader.receiving',
    actions: [],
  },
  {
    name: 'is told of the archive first',
    view: leads({
      local: aLoneStandby({ follows: null, restores: false }),
      set: { standbyCluster: { ...FAR, host: null, restoreCommand: 'cp' } },
    }),
    rule: 'standby-leader.follow',
    actions: [toFar],
  },
  {
    name: 'gives the stream a few seconds to begin',
    view: leads({ local: followsFar, notStreamingSince: before(1_000) }),
    rule: 'standby-leader.waiting',
    actions: [],
  },
  {
    name: 'asks for the history of a cluster that sends nothing',
    view: leads({ local: followsFar, notStreamingSince: before(6_000) }),
    rule: 'standby-leader.waiting',
    actions: [askFar],
  },
  {
    name: 'goes on waiting on the line of the other cluster',
    view: leads({ local: followsFar, notStreamingSince: before(6_000), lineage: ofFar() }),
    rule: 'standby-leader.waiting',
    actions: [],
  },
  {
    name: 'stops when the other cluster never had its WAL',
    view: leads({ local: followsFar, notStreamingSince: before(6_000), lineage: branchedEarlier }),
    rule: 'standby-leader.diverged-stop',
    actions: ['stop-in-order'],
  },
  {
    name: 'stops accepting writes when the settings make it one',
    view: leads({ local: aPrimary(), leadership: holding() }),
    rule: 'standby-leader.demote',
    actions: ['stop-for-switchover'],
  },
  {
    name: 'stops without preparation when that failed',
    view: leads({ local: aPrimary(), leadership: holding(), attempts: failed('switchover', 1) }),
    rule: 'standby-leader.demote',
    actions: ['stop-in-order'],
  },
  {
    name: 'is fenced when somebody has promoted it by hand',
    view: leads({ local: aPrimary() }),
    rule: 'fence.without-window',
    actions: ['stop-immediately'],
  },
  {
    name: 'asks the other cluster before it comes back as a former primary',
    view: leads({ local: demoted, localSince: before(300) }),
    rule: 'standby-leader.learn-lineage',
    actions: [askFar],
  },
  {
    name: 'comes back as a standby of a cluster that has all its WAL',
    view: leads({ local: demoted, localSince: before(300), lineage: ofFar() }),
    rule: 'standby-leader.start',
    actions: [startBelowFar],
  },
  {
    name: 'comes back as a standby of a cluster that does not answer',
    view: leads({ local: demoted, localSince: before(11_000) }),
    rule: 'standby-leader.start',
    actions: [startBelowFar],
  },
  {
    name: 'rewinds when the other cluster left its line',
    view: leads({ local: demoted, localSince: before(300), endOfWal: END, lineage: branchedEarlier }),
    rule: 'standby-leader.rewind',
    actions: [{ do: 'rewind', source: REMOTE }],
  },
  {
    name: 'copies anew when rewinding fails',
    view: leads({
      local: demoted,
      localSince: before(300),
      endOfWal: END,
      lineage: branchedEarlier,
      attempts: failed('rewind', 2),
    }),
    rule: 'standby-leader.copy',
    actions: [{ do: 'copy', source: REMOTE, leader: REMOTE, wipe: true }],
  },
  {
    name: 'starts a standby that died as what it was',
    view: leads({ local: aStopped({ wasPrimary: false, standbySignal: true }), localSince: before(300) }),
    rule: 'standby-leader.start',
    actions: [startBelowFar],
  },
  {
    name: 'gives the key up when Postgres does not start',
    view: leads({ local: aStopped({ wasPrimary: false }), attempts: failed('start', 3) }),
    rule: 'leading.cannot-lead',
    actions: ['release'],
  },
  {
    name: 'waits while Postgres starts',
    view: leads({ local: isStarting(false) }),
    rule: 'standby-leader.starting',
    actions: [],
  },
  {
    name: 'starts one anew that has been starting for long, and does not receive from the other cluster',
    view: leads({
      local: { kind: 'starting', since: millis(60_000), asPrimary: false, follows: null, idle: millis(10_001) },
    }),
    rule: 'standby-leader.start-anew',
    actions: [{ do: 'stop-in-order' }],
  },
  {
    name: 'waits for one that does',
    view: leads({
      local: { kind: 'starting', since: millis(600_000), asPrimary: false, follows: 'far1:5432', idle: millis(60_000) },
    }),
    rule: 'standby-leader.starting',
    actions: [],
  },
  {
    name: 'repeats a check that failed',
    view: leads({
      local: aStandby({ failing: FAILING }),
      failing: { since: before(500), count: 1, said: 'no answer' },
    }),
    rule: 'leading.check-failed',
    actions: [],
  },
  {
    name: 'ends a standby that does not answer',
    view: leads({
      local: aStandby({ failing: FAILING }),
      failing: { since: before(9_000), count: 4, said: 'no answer' },
    }),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'hands on without stopping anything',
    view: leads({ cluster: aCluster({ leader: 'b', failover: aRequest({ leader: 'b', candidate: 'a' }) }) }),
    rule: 'standby-leader.hand-on',
    actions: [{ do: 'release', lsn: END, candidate: nodeName('a'), lost: null }],
  },
  {
    name: 'asks the candidate first',
    view: leads({
      peers: peers({}),
      cluster: aCluster({ leader: 'b', failover: aRequest({ leader: 'b', candidate: 'a' }) }),
    }),
    rule: 'switchover.check',
    actions: ['ask-peers'],
  },
  {
    name: 'refuses a candidate that does not answer',
    view: leads({
      peers: peers({ a: aSilentPeer() }),
      cluster: aCluster({ leader: 'b', failover: aRequest({ leader: 'b', candidate: 'a' }) }),
    }),
    rule: 'switchover.refused',
    actions: ['drop-switchover-request'],
  },
  {
    name: 'gives the key up when the service leaves, and stops afterwards',
    view: leads({ leaving: true }),
    rule: 'standby-leader.leaving',
    actions: ['release'],
  },
  {
    name: 'is not promoted in maintenance when it is asked for by name',
    view: leads({
      leadership: holding(),
      set: { pause: true },
      cluster: aCluster({ leader: 'b', failover: aRequest({ candidate: 'b' }) }),
    }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
];

const noStream = { node: { noStream: true } } as const;

/** Tag `nostream`. */
export const fedByArchive: readonly Case[] = [
  {
    name: 'compares histories first',
    view: aView({ ...noStream, local: aLoneStandby({ follows: null }) }),
    rule: 'following.learn-lineage',
    actions: ['learn-lineage'],
  },
  {
    name: 'leaves the stream',
    view: aView({ ...noStream, lineage: aLineage() }),
    rule: 'following.follow',
    actions: [{ do: 'follow', upstream: null }],
  },
  {
    name: 'is fed by the archive',
    view: aView({ ...noStream, local: aLoneStandby({ follows: null }), lineage: aLineage() }),
    rule: 'following.archive',
    actions: [],
  },
  {
    name: 'stops when it has what the leader never had',
    view: aView({ ...noStream, local: aLoneStandby({ follows: null }), lineage: newLineage('0/4000000') }),
    rule: 'following.diverged-stop',
    actions: ['stop-in-order'],
  },
  {
    name: 'waits for a leader that is not promoted yet',
    view: aView({ ...noStream, lineage: aLineage({ inRecovery: true }) }),
    rule: 'following.leader-not-ready',
    actions: ['learn-lineage'],
  },
  {
    name: 'comes back without an upstream',
    view: aView({ ...noStream, local: aStopped({ wasPrimary: false }), lineage: aLineage() }),
    rule: 'rejoin.start',
    actions: [{ do: 'start-standby', upstream: null }],
  },
];

const leader = aMember('a', { role: 'standby_leader' });

export const amongStandbys: readonly Case[] = [
  {
    name: 'follows a leader that is in recovery itself',
    view: aView({
      set: standbyCluster,
      local: aLoneStandby({ follows: null }),
      lineage: aLineage({ inRecovery: true }),
    }),
    rule: 'following.follow',
    actions: ['follow'],
  },
  {
    name: 'waits for a leader in recovery where no other cluster is followed',
    view: aView({ local: aLoneStandby({ follows: null }), lineage: aLineage({ inRecovery: true }) }),
    rule: 'following.leader-not-ready',
    actions: ['learn-lineage'],
  },
  {
    name: 'comes back below a standby leader on the timeline of which it was the primary',
    view: aView({ set: standbyCluster, local: demoted, lineage: aLineage({ inRecovery: true }) }),
    rule: 'rejoin.start',
    actions: ['start-standby'],
  },
  {
    name: 'is copied from a standby leader',
    view: aView({
      set: standbyCluster,
      local: { kind: 'absent' },
      cluster: aCluster({ members: [leader, aMember('b')] }),
    }),
    rule: 'joining.copy',
    actions: ['copy'],
  },
  {
    name: 'takes the free key however old its timeline is by the history of the cluster',
    view: seeks({
      set: standbyCluster,
      cluster: aCluster({ leader: null, history: [aHistoryLine(7)] }),
    }),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'waits for the hold of the last leader like any other',
    view: seeks({ set: standbyCluster, gate: aGate({ opensAt: before(-3_000), beat: aBeat() }) }),
    rule: 'leaderless.at-the-gate',
    actions: [],
  },
  {
    name: 'makes the cluster although an earlier copy of the other one was not finished',
    view: aView({
      node: { makesStandbyCluster: true },
      local: { kind: 'half-made', by: 'copy' },
      cluster: aCluster({ leader: null, initialize: null, status: null }),
      peers: peers({ a: aPeer('a'), c: aPeer('c') }),
    }),
    rule: 'joining.bootstrap',
    actions: ['bootstrap'],
  },
  {
    name: 'makes it again in an emptied etcd although others know it: what it begins with is the same cluster',
    view: aView({
      node: { makesStandbyCluster: true },
      local: { kind: 'absent' },
      cluster: aCluster({ leader: null, initialize: null, status: null }),
      peers: peers({ a: aPeer('a', { knownCluster: SYSTEM }), c: aPeer('c') }),
    }),
    rule: 'joining.bootstrap',
    actions: ['bootstrap'],
  },
];
