/** Postgres may write and must not; and what comes before every other question. */
import { timeline } from '../../../../src/core/lsn.ts';
import { nodeName, revision } from '../../../../src/core/store.ts';
import { millis } from '../../../../src/core/time.ts';
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
  aSilent,
  aSilentPeer,
  aStandby,
  aStopped,
  aView,
  before,
  type Case,
  closedGate,
  END,
  failed,
  holding,
  isStarting,
  leads,
  leadsWithPostgresDown,
  newLineage,
  noWindow,
  peers,
  STATUS,
  seeks,
  someExtras,
  TERM,
  type ViewOver,
} from '../builders.ts';

const cFromA = aMember('c', { pgha: someExtras({ receivesFrom: nodeName('a') }) });

const fenced = {
  rule: 'fence.without-window',
  actions: ['stop-immediately'],
  situation: 'writing-without-window',
} as const;
const underWay = { kind: 'start', since: before(100) } as const;

export const fencing: readonly Case[] = [
  {
    name: 'ends a primary for which this node holds no key',
    view: aView({ local: aPrimary() }),
    ...fenced,
  },
  {
    name: 'stops writing once the window is closed, even if etcd still names this node leader',
    view: leads({ leadership: noWindow() }),
    ...fenced,
  },
  {
    name: 'stops writing once a release was sent, whatever etcd says of it',
    view: leads({ leadership: noWindow({ releaseSent: true }) }),
    ...fenced,
  },
  { name: 'ends a Postgres that does not answer: it may be writing', view: aView({ local: aSilent() }), ...fenced },
  {
    name: 'ends a Postgres that starts as a primary without a window',
    view: aView({ local: isStarting(true) }),
    ...fenced,
  },
  {
    name: 'does not wait for an operation, for etcd, or for the service to leave before it stops writing',
    view: aView({ local: aPrimary(), operation: underWay, leaving: true, etcd: 'silent' }),
    ...fenced,
  },
  {
    name: 'ends a running primary in a scope that somebody has led, although nobody does now',
    view: aView({ local: aPrimary(), cluster: aCluster({ leader: null }) }),
    ...fenced,
  },
  {
    name: "ends a running primary of another cluster's data in a scope nobody has led",
    view: aView({ local: aPrimary(), cluster: aCluster({ leader: null, status: null, initialize: '1' }) }),
    ...fenced,
  },
  {
    name: 'leaves a running primary alone until etcd was read for the first time',
    view: aView({ local: aPrimary(), etcd: 'never-read' }),
    rule: 'node.waiting-for-etcd',
    actions: [],
    situation: 'uninformed',
  },
  {
    name: 'leaves a primary alone that is being taken in, until its first window opens',
    view: leads({ leadership: noWindow({ adopting: true }) }),
    rule: 'leading.primary',
    actions: [],
  },
  {
    name: 'leaves the private server of a bootstrap alone',
    view: aView({ local: aPrimary(), operation: { kind: 'bootstrap', since: before(100) } }),
    rule: 'node.busy',
    actions: [],
    situation: 'busy',
  },
  {
    name: 'ends what outlived its postmaster before anything else is asked',
    view: aView({ local: { kind: 'orphans', processes: 2 }, operation: underWay, leaving: true }),
    rule: 'fence.orphans',
    actions: ['end-family'],
    situation: 'orphans',
  },
  {
    name: 'ends orphans also with an open window: nothing is certain until they are gone',
    view: leads({ local: { kind: 'orphans', processes: 1 } }),
    rule: 'fence.orphans',
    actions: ['end-family'],
  },
];

export const others: readonly Case[] = [
  {
    name: 'does one thing at a time',
    view: aView({ local: aStopped(), operation: underWay }),
    rule: 'node.busy',
    actions: [],
    situation: 'busy',
  },
  {
    name: 'takes no part while another machine runs under its name, and does not touch the leader key of that name',
    view: aView({ nameTakenBy: 'http://10.0.0.9:8008/patroni', cluster: aCluster({ leader: 'b' }), gate: aGate() }),
    rule: 'node.name-taken',
    actions: [],
    situation: 'name-taken',
  },
  {
    name: 'makes no cluster under a name that another machine has',
    view: aView({
      nameTakenBy: 'http://10.0.0.9:8008/patroni',
      local: { kind: 'absent' },
      cluster: aCluster({ leader: null, status: null, initialize: null }),
    }),
    rule: 'node.name-taken',
    actions: [],
  },
  {
    name: 'stops a Postgres that writes without a window all the same',
    view: aView({ nameTakenBy: 'http://10.0.0.9:8008/patroni', local: aPrimary() }),
    ...fenced,
  },
  {
    name: 'goes on leading when another machine comes with its name',
    view: leads({ nameTakenBy: 'http://10.0.0.9:8008/patroni' }),
    rule: 'leading.primary',
    actions: [],
  },
  {
    name: 'knows nothing of the cluster before etcd was read',
    view: aView({ etcd: 'never-read' }),
    rule: 'node.waiting-for-etcd',
    actions: [],
    situation: 'uninformed',
  },
  {
    name: 'leaves a data directory alone that is not its own',
    view: aView({ local: { kind: 'unusable', code: 'PGHA_DATA_DIRECTORY_FOREIGN', sentence: 'not ours' } }),
    rule: 'node.unusable',
    actions: [],
    situation: 'unusable',
  },
  {
    name: "leaves the data of another cluster alone, also when its own scope's leader is there to copy from",
    view: aView({ local: aStopped(), cluster: aCluster({ initialize: '1' }) }),
    rule: 'node.unusable',
    actions: [],
    situation: 'unusable',
  },
  {
    name: 'goes on as a standby while etcd is away, and takes part in no election',
    view: aView({ etcd: 'silent', gate: closedGate(-5_000) }),
    rule: 'blind.standby',
    actions: [],
    situation: 'blind',
  },
  {
    name: 'starts nothing while etcd is away',
    view: aView({ local: aStopped(), etcd: 'silent' }),
    rule: 'blind.standby',
    actions: [],
  },
  {
    name: 'goes on as the leader while etcd is away and the window is open',
    view: leads({ etcd: 'silent' }),
    rule: 'leading.primary',
    actions: [],
    situation: 'leading',
  },
];

const paused = { set: { pause: true } } as const;

/** The key ran out while the service was stopped; the last beat was one of maintenance. */
const primaryWithoutKey = (over: ViewOver = {}) =>
  aView({
    ...paused,
    local: aPrimary(),
    cluster: aCluster({ leader: null, members: [aMember('b'), aMember('c')] }),
    gate: aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }) }),
    ...over,
  });

const withdrawn = aLoneStandby({ follows: null });

export const maintenance: readonly Case[] = [
  {
    name: 'leaves a primary without a key running',
    view: aView({ ...paused, local: aPrimary() }),
    rule: 'maintenance.hands-off',
    actions: [],
    situation: 'maintenance',
  },
  {
    name: 'starts no stopped Postgres',
    view: aView({ ...paused, local: aStopped() }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'leaves orphans alone',
    view: aView({ ...paused, local: { kind: 'orphans', processes: 1 } }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'gives a standby its upstream back that it had taken from it for an election',
    view: aView({ ...paused, local: withdrawn, withdrawn: true, lineage: aLineage() }),
    rule: 'following.follow',
    actions: ['follow'],
    situation: 'maintenance',
  },
  {
    name: 'compares histories before that',
    view: aView({ ...paused, local: withdrawn, withdrawn: true }),
    rule: 'following.learn-lineage',
    actions: ['learn-lineage'],
  },
  {
    name: 'leaves it without one where the leader is on another line: nothing is stopped in maintenance',
    view: aView({ ...paused, local: withdrawn, withdrawn: true, lineage: newLineage('0/4000000') }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'leaves it without one while nobody leads',
    view: aView({ ...paused, local: withdrawn, withdrawn: true, cluster: aCluster({ leader: null }) }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'leaves a standby alone whose upstream somebody else has taken away',
    view: aView({ ...paused, local: withdrawn, lineage: aLineage() }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'does not hand over when the leading Postgres dies',
    view: leads({ ...paused, local: aStopped() }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'does not look at a schedule, also when its time has come',
    view: leads({
      ...paused,
      switchoverDueIn: millis(0),
      cluster: aCluster({ leader: 'b', failover: aRequest({ leader: 'b', candidate: 'a', scheduledAt: 'then' }) }),
    }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'takes the free key for the primary that runs here, also behind a gate that no time opens',
    view: primaryWithoutKey(),
    rule: 'leaderless.acquire',
    actions: [{ do: 'acquire', status: STATUS, standing: null, adopting: true, despitePause: true }],
    situation: 'maintenance',
  },
  {
    name: 'does not take the key while another hold may still be running',
    view: primaryWithoutKey({ gate: closedGate(1) }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'does not choose between two primaries',
    view: primaryWithoutKey({ cluster: aCluster({ leader: null }) }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'does not take the key for a primary whose timeline the cluster has left',
    view: primaryWithoutKey({
      cluster: aCluster({ leader: null, members: [aMember('b')], history: [aHistoryLine(2)] }),
    }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'stays in force while etcd is away',
    view: aView({ ...paused, etcd: 'silent' }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
];

const toA = aRequest({ leader: 'b', candidate: 'a' });
const toB = aRequest({ leader: 'a', candidate: 'b' });
const byHand = aRequest({ candidate: 'b' });
const releasedAsAsked = (candidate: string) =>
  aBeat({ holdMs: 0, release: { lsn: END, candidate: nodeName(candidate), asked: true } });
const dropped = { rule: 'switchover.refused', actions: ['drop-switchover-request'] } as const;
const handsOff = { rule: 'maintenance.hands-off', actions: [] } as const;

/** Its Postgres is down, as asked for; everybody else was asked since. */
const handingOver = (over: ViewOver = {}) =>
  leadsWithPostgresDown({ ...paused, handedOver: true, cluster: aCluster({ leader: 'b', failover: toA }), ...over });

/** `a` went in maintenance without a word, and the operator names this standby. */
const named = (over: ViewOver = {}) =>
  seeks({
    ...paused,
    cluster: aCluster({ leader: null, failover: byHand }),
    gate: aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }) }),
    lastLeader: nodeName('a'),
    leaderlessSince: null,
    ...over,
  });

/** The key is this standby's. */
const won = (over: ViewOver = {}) =>
  leads({ ...paused, local: aLoneStandby(), cluster: aCluster({ leader: 'b', failover: toB }), ...over });

const promotedByHand = aPeer('a', { inRecovery: false, timeline: timeline(3) });
const claimed = aCluster({ leader: 'b', members: [aMember('b'), aMember('a'), aMember('c')] });
const claimedTwice = aCluster({
  leader: 'b',
  members: [aMember('b'), aMember('a'), aMember('c', { role: 'primary' })],
});

export const inMaintenanceAsAsked: readonly Case[] = [
  {
    name: 'a switchover needs its candidate',
    view: leads({ ...paused, cluster: aCluster({ leader: 'b', failover: aRequest({ leader: 'b' }) }) }),
    ...dropped,
    situation: 'switching-over',
  },
  {
    name: 'the leader stops for a candidate that is named',
    view: leads({ ...paused, cluster: aCluster({ leader: 'b', failover: toA }) }),
    rule: 'switchover.stop',
    actions: ['stop-for-switchover'],
  },
  {
    name: 'and gives it the key',
    view: handingOver(),
    rule: 'leading.hand-over',
    actions: [{ do: 'release', lsn: END, candidate: nodeName('a'), lost: null }],
    situation: 'maintenance',
  },
  {
    name: 'and to nobody else: with a candidate that is gone it comes back itself',
    view: handingOver({ peers: peers({ a: aSilentPeer(), c: aPeer('c') }) }),
    rule: 'leading.start-here',
    actions: ['start-primary', 'drop-switchover-request'],
  },
  {
    name: 'and comes back itself once nobody asks for it any more',
    view: handingOver({ cluster: aCluster({ leader: 'b' }) }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'what the operator has stopped himself is given to the candidate that he names',
    view: handingOver({ handedOver: false }),
    rule: 'leading.hand-over',
    actions: ['release'],
  },
  {
    name: 'and stays down when that one is gone',
    view: handingOver({ handedOver: false, peers: peers({ a: aSilentPeer(), c: aPeer('c') }) }),
    ...dropped,
  },
  {
    name: 'the candidate takes the key that was released for it',
    view: seeks({
      ...paused,
      cluster: aCluster({ leader: null, failover: toB }),
      gate: aGate({ opensAt: before(0), beat: releasedAsAsked('b') }),
    }),
    rule: 'leaderless.chosen',
    actions: ['acquire'],
    situation: 'maintenance',
  },
  {
    name: 'nobody else takes it',
    view: seeks({
      ...paused,
      cluster: aCluster({ leader: null, failover: aRequest({ leader: 'a', candidate: 'c' }) }),
      gate: aGate({ opensAt: before(0), beat: releasedAsAsked('c') }),
    }),
    ...handsOff,
  },
  {
    name: 'a standby that is named by hand takes the key of a leader who went in maintenance and is not seen',
    view: named(),
    rule: 'leaderless.chosen',
    actions: [{ do: 'acquire', status: STATUS, standing: null, adopting: false, despitePause: true }],
  },
  {
    name: 'but asks the others first',
    view: named({ peers: new Map() }),
    rule: 'leaderless.ask-peers',
    actions: ['ask-peers'],
  },
  {
    name: 'and not while it sees his Postgres alive itself',
    view: named({ sawPrimary: millis(100) }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor while somebody else sees it',
    view: named({
      peers: peers({ a: aSilentPeer(), c: aPeer('c', { sawPrimary: millis(100), sawPrimaryOf: nodeName('a') }) }),
    }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor while any member runs as a primary',
    view: named({ peers: peers({ a: aSilentPeer(), c: aPeer('c', { inRecovery: false }) }) }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor while it still streams from a server whose key and address are gone',
    view: named({
      local: aStandby(),
      cluster: aCluster({ leader: null, failover: byHand, members: [aMember('b'), aMember('c')] }),
    }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor while another one does',
    view: named({
      cluster: aCluster({ leader: null, failover: byHand, members: [aMember('b'), aMember('c')] }),
      peers: peers({ c: aPeer('c', { receiving: true }) }),
    }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor while another one does whose key still names him, whose own has just gone',
    view: named({
      cluster: aCluster({ leader: null, failover: byHand, members: [aMember('b'), cFromA] }),
      peers: peers({ c: aPeer('c', { receiving: true }) }),
    }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor while another one streams from him, whose key has not gone yet',
    view: named({
      cluster: aCluster({
        leader: null,
        failover: byHand,
        members: [aMember('a', { role: 'primary' }), aMember('b'), cFromA],
      }),
      peers: peers({ a: aSilentPeer(), c: aPeer('c', { receiving: true }) }),
    }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor, once maintenance has ended, while it streams from him who has not come back',
    view: named({ set: {}, local: aStandby() }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'nor while his daemon cannot say that it is down',
    view: named({
      peers: peers({ a: aPeer('a', { state: 'unknown', inRecovery: false, position: null }), c: aPeer('c') }),
    }),
    rule: 'maintenance.primary-alive',
    actions: ['ask-peers'],
  },
  {
    name: 'and after half a minute of that not at all',
    view: named({ sawPrimary: millis(100), wishSince: before(30_001) }),
    ...dropped,
  },
  {
    name: 'his own daemon says that it is down: who saw it before saw nothing else',
    view: named({
      sawPrimary: millis(100),
      peers: peers({ a: aPeer('a', { state: 'stopped', inRecovery: false, position: null }), c: aPeer('c') }),
    }),
    rule: 'leaderless.chosen',
    actions: ['acquire'],
  },
  {
    name: 'nobody who is not named takes part in an election',
    view: named({ cluster: aCluster({ leader: null }), gate: aGate() }),
    ...handsOff,
  },
  { name: 'who was named and has the key is promoted', view: won(), rule: 'leading.promote', actions: ['promote'] },
  {
    name: 'who has the key and was not named is not',
    view: won({ cluster: aCluster({ leader: 'b' }) }),
    ...handsOff,
  },
  {
    name: 'a promotion that failed is not tried again',
    view: won({ attempts: failed('promote', 1, before(100)) }),
    ...dropped,
  },
  {
    name: 'who has the key and was not promoted passes it on to whom the operator names instead',
    view: won({ cluster: aCluster({ leader: 'b', failover: aRequest({ candidate: 'a' }) }) }),
    rule: 'leading.hand-over',
    actions: [{ do: 'release', lsn: END, candidate: nodeName('a'), lost: null }],
  },
  {
    name: 'the key goes to the member that was promoted by hand, once Postgres is down here',
    view: leads({ ...paused, local: aStopped(), cluster: claimed, peers: peers({ a: promotedByHand, c: aPeer('c') }) }),
    rule: 'maintenance.makes-way',
    actions: [{ do: 'release', lsn: aStopped().checkpoint, candidate: nodeName('a'), lost: null, endless: true }],
  },
  {
    name: 'also where it was made a standby by hand',
    view: leads({ ...paused, local: aStandby(), cluster: claimed, peers: peers({ a: promotedByHand, c: aPeer('c') }) }),
    rule: 'maintenance.makes-way',
    actions: ['release'],
  },
  {
    name: 'that one is asked first',
    view: leads({ ...paused, local: aStopped(), cluster: claimed, peers: new Map() }),
    rule: 'leaderless.ask-peers',
    actions: ['ask-peers'],
  },
  {
    name: 'one that only says so in its key gets nothing',
    view: leads({ ...paused, local: aStopped(), cluster: claimed }),
    ...handsOff,
  },
  {
    name: 'nor one on an older timeline',
    view: leads({
      ...paused,
      local: aStopped(),
      cluster: claimed,
      peers: peers({ a: aPeer('a', { inRecovery: false, timeline: timeline(1) }), c: aPeer('c') }),
    }),
    ...handsOff,
  },
  {
    name: 'nor one of two',
    view: leads({
      ...paused,
      local: aStopped(),
      cluster: claimedTwice,
      peers: peers({ a: promotedByHand, c: aPeer('c', { inRecovery: false, timeline: timeline(3) }) }),
    }),
    ...handsOff,
  },
  {
    name: 'a primary that runs keeps the key, whoever else was promoted',
    view: leads({ ...paused, cluster: claimed, peers: peers({ a: promotedByHand, c: aPeer('c') }) }),
    ...handsOff,
  },
  {
    name: 'who has handed over follows the new leader',
    view: aView({
      ...paused,
      local: aStopped({ cleanly: true }),
      handedOver: true,
      lineage: newLineage('0/5000060'),
      endOfWal: END,
    }),
    rule: 'rejoin.start',
    actions: [{ do: 'start-standby', upstream: nodeName('a') }],
  },
  {
    name: 'but undoes nothing in maintenance',
    view: aView({ ...paused, local: aStopped(), handedOver: true, lineage: newLineage('0/4000000'), endOfWal: END }),
    ...handsOff,
  },
  {
    name: 'and runs as a standby when nobody has taken the key for a TTL',
    view: aView({
      ...paused,
      local: aStopped({ cleanly: true }),
      localSince: before(10_000),
      handedOver: true,
      cluster: aCluster({ leader: null }),
    }),
    rule: 'leaderless.start-standby',
    actions: ['start-standby'],
  },
  {
    name: 'not before',
    view: aView({
      ...paused,
      local: aStopped({ cleanly: true }),
      localSince: before(9_999),
      handedOver: true,
      cluster: aCluster({ leader: null }),
    }),
    ...handsOff,
  },
  {
    name: 'the other standbys follow a leader whose leadership began in maintenance',
    view: aView({
      ...paused,
      local: aLoneStandby({ follows: '10.0.0.3:5432' }),
      cluster: aCluster({ config: { value: { pause: true }, revision: revision(TERM - 1n) } }),
      lineage: aLineage(),
    }),
    rule: 'following.follow',
    actions: ['follow'],
  },
];

export const leaving: readonly Case[] = [
  {
    name: 'stops the primary in order, to hand over',
    view: leads({ leaving: true }),
    rule: 'service.leaving-hands-over',
    actions: ['stop-for-switchover'],
    situation: 'leaving',
  },
  {
    name: 'stops the primary in order without further ado when preparing the hand-over has failed',
    view: leads({ leaving: true, attempts: failed('switchover', 1) }),
    rule: 'service.leaving-stops',
    actions: ['stop-in-order'],
  },
  {
    name: 'stops a standby in order',
    view: aView({ leaving: true }),
    rule: 'service.leaving-stops',
    actions: ['stop-in-order'],
  },
  {
    name: 'stops a primary in order that etcd knows nothing of yet',
    view: aView({ leaving: true, local: aPrimary(), etcd: 'never-read' }),
    rule: 'service.leaving-stops',
    actions: ['stop-in-order'],
  },
  {
    name: 'stops a standby that has just won the key before it gives the key back',
    view: leads({ leaving: true, local: aStandby() }),
    rule: 'service.leaving-stops',
    actions: ['stop-in-order'],
  },
  {
    name: 'gives the key to the best candidate once Postgres is down',
    view: leads({
      leaving: true,
      local: aStopped({ cleanly: true }),
      localSince: before(200),
      endOfWal: aPrimary().flushed,
    }),
    rule: 'leading.hand-over',
    actions: [{ do: 'release', lsn: aPrimary().flushed, candidate: 'a' as never, lost: null }],
  },
  {
    name: 'hands over although a crash alone would be repaired here',
    view: leads({
      leaving: true,
      set: { primaryCrash: 'restart' },
      local: aStopped(),
      localSince: before(200),
      endOfWal: aPrimary().flushed,
    }),
    rule: 'leading.hand-over',
    actions: [{ do: 'release', lsn: aPrimary().flushed, candidate: 'a' as never, lost: null }],
  },
  {
    name: 'gives the key up without a name when there is nobody to give it to',
    view: leads({
      leaving: true,
      local: aStopped(),
      localSince: before(200),
      cluster: aCluster({ leader: 'b', members: [] }),
    }),
    rule: 'leading.hand-over',
    actions: [{ do: 'release', lsn: aStopped().checkpoint, candidate: null, lost: null }],
  },
  {
    name: 'has left once Postgres is down and no key is held',
    view: aView({ leaving: true, local: aStopped() }),
    rule: 'service.left',
    actions: [],
  },
  {
    name: 'leaves a primary as it was found that is not the scope’s cluster yet',
    view: aView({
      leaving: true,
      local: aPrimary(),
      cluster: aCluster({ leader: null, status: null, initialize: null }),
    }),
    rule: 'service.left',
    actions: [],
  },
  {
    name: 'stops it where it has asked for that: its claim may land when nobody is here any more',
    view: aView({
      leaving: true,
      claimed: true,
      local: aPrimary(),
      cluster: aCluster({ leader: null, status: null, initialize: null }),
    }),
    rule: 'service.leaving-stops',
    actions: ['stop-in-order'],
  },
  {
    name: 'stops it where the scope has its name: a standby of it could be promoted',
    view: aView({ leaving: true, local: aPrimary(), cluster: aCluster({ leader: null, status: null }) }),
    rule: 'service.leaving-stops',
    actions: ['stop-in-order'],
  },
  {
    name: 'leaves Postgres running in maintenance',
    view: leads({ leaving: true, ...paused }),
    rule: 'service.left',
    actions: [],
  },
  {
    name: 'waits for the operation that runs: it was asked to end',
    view: aView({ leaving: true, operation: { kind: 'copy', since: before(5_000) } }),
    rule: 'node.busy',
    actions: [],
  },
  {
    name: 'does not wait for a window that is closed anyway',
    view: leads({
      leaving: true,
      leadership: holding({ windowOpen: false }),
      local: aStopped(),
      localSince: before(200),
      endOfWal: null,
    }),
    rule: 'leading.find-end',
    actions: ['find-end-of-wal'],
    situation: 'leaving',
  },
];
