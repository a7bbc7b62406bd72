/** The leader key is ours. */

import { systemId } from '../../../../src/core/local.ts';
import { type Lsn, lsn, timeline } from '../../../../src/core/lsn.ts';
import { nodeName, revision } from '../../../../src/core/store.ts';
import { millis, seconds } from '../../../../src/core/time.ts';
import type { ViewOver } from '../builders.ts';
import {
  aCluster,
  after,
  aLoneStandby,
  aMember,
  aPeer,
  aPrimary,
  aRequest,
  aSender,
  aSilent,
  aSilentPeer,
  aStandby,
  aStopped,
  at,
  before,
  type Case,
  END,
  FAILING,
  failed,
  holding,
  isStarting,
  leads,
  leadsWithPostgresDown,
  noWindow,
  peers,
} from '../builders.ts';

const release = (candidate: string | null, from?: Lsn, position: Lsn = END) =>
  ({
    do: 'release',
    lsn: position,
    candidate: candidate === null ? null : nodeName(candidate),
    lost: from === undefined ? null : { from, to: position },
  }) as const;

const unwell = (count: number, over: ViewOver = {}): ViewOver => ({
  local: aPrimary({ failing: FAILING }),
  failing: { since: before(count * 1_000), count, said: FAILING.said },
  ...over,
});

const askedWhileUnwell = (sawPrimary: number | null): ViewOver =>
  unwell(4, {
    set: { primaryVisibilityConsensus: true },
    peers: peers({ a: aPeer('a', { sawPrimary: sawPrimary as never, sawPrimaryOf: nodeName('b') }), c: aSilentPeer() }),
  });

const unusable = { kind: 'unusable', code: 'PGHA_DATA_DIRECTORY_UNREADABLE', sentence: 'EIO' } as const;

/** Beats have been landing for so long, and no window has opened. */
const unopened = (ms: number) => noWindow({ unopenedSince: before(ms) });

export const promoting: readonly Case[] = [
  {
    name: 'goes on without etcd, by the word of the members',
    view: leads({ etcd: 'silent', leadership: holding({ provenBy: 'members' }) }),
    rule: 'leading.by-confirmation',
    actions: [],
    situation: 'leading',
  },
  {
    name: 'starts Postgres again here when it dies without etcd: the key cannot be handed over',
    view: leadsWithPostgresDown({ etcd: 'silent', leadership: holding({ provenBy: 'members' }) }),
    rule: 'leading.start-here',
    actions: [{ do: 'start-primary' }],
    situation: 'leading',
  },
  {
    name: 'lets its primary be',
    view: leads(),
    rule: 'leading.primary',
    actions: [],
    situation: 'leading',
  },
  {
    name: 'promotes a standby once the window is open',
    view: leads({ local: aLoneStandby() }),
    rule: 'leading.promote',
    actions: ['promote'],
  },
  {
    name: 'does not promote before the window is open, and looks again when the gate passes',
    view: leads({ local: aLoneStandby(), leadership: noWindow({ gate: after(150) }) }),
    rule: 'leading.waiting-for-window',
    actions: [],
    again: 150,
  },
  {
    name: 'does not promote in a window that is about to close: it would be stopped at once',
    view: leads({ local: aLoneStandby(), leadership: holding({ deadline: after(2_000) }) }),
    rule: 'leading.waiting-for-window',
    actions: [],
  },
  {
    name: 'does not start its Postgres again in a window that is about to close, from which it was just stopped',
    view: leadsWithPostgresDown({
      cluster: aCluster({ leader: 'b', members: [] }),
      leadership: holding({ deadline: after(2_000) }),
    }),
    rule: 'leading.waiting-for-window',
    actions: [],
  },
  {
    name: 'does not promote when the gate has just passed and the proof is not there',
    view: leads({ local: aLoneStandby(), leadership: noWindow({ gate: before(0) }) }),
    rule: 'leading.waiting-for-window',
    actions: [],
    again: 5,
  },
  {
    name: 'gives a guard that does not acknowledge five seconds',
    view: leads({ local: aLoneStandby(), leadership: unopened(5_000), guardAcks: false }),
    rule: 'leading.waiting-for-window',
    actions: [],
  },
  {
    name: 'gives the key up when the guard does not acknowledge for longer: others can lead',
    view: leads({ local: aLoneStandby(), leadership: unopened(5_001), guardAcks: false }),
    rule: 'leading.no-window',
    actions: [release(null)],
  },
  {
    name: 'gives the key up when no proof holds, whatever the guard says',
    view: leads({ local: aLoneStandby(), leadership: unopened(5_001) }),
    rule: 'leading.no-window',
    actions: [release(null)],
  },
  {
    name: 'keeps the key while its beats do not land: its hold runs out by itself',
    view: leads({ local: aLoneStandby(), leadership: noWindow(), guardAcks: false }),
    rule: 'leading.waiting-for-window',
    actions: [],
  },
  {
    name: 'keeps the key where nobody else could lead',
    view: leads({
      local: aLoneStandby(),
      leadership: unopened(60_000),
      guardAcks: false,
      cluster: aCluster({ leader: 'b', members: [aMember('b')] }),
    }),
    rule: 'leading.waiting-for-window',
    actions: [],
  },
  {
    name: 'ends a Postgres that does not answer also while a hand-over is being prepared, which may wait for its disk for minutes',
    view: leads(unwell(4, { operation: { kind: 'switchover', since: before(3_000) } })),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'also when the service stops',
    view: leads(unwell(4, { operation: { kind: 'switchover', since: before(3_000) }, leaving: true })),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'counts the checks that fail meanwhile',
    view: leads(unwell(2, { operation: { kind: 'switchover', since: before(3_000) } })),
    rule: 'leading.check-failed',
    actions: [],
  },
  {
    name: 'leaves a Postgres alone that was told to stop for the hand-over: that stop has a limit of its own',
    view: leads(unwell(4, { operation: { kind: 'switchover', since: before(3_000) }, handedOver: true })),
    rule: 'node.busy',
    actions: [],
  },
  {
    name: 'ends one that does not answer while it is promoted: somebody else may lead',
    view: leads(
      unwell(4, { local: aLoneStandby({ failing: FAILING }), operation: { kind: 'promote', since: before(3_000) } }),
    ),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'ends one that does not answer while it is restarted',
    view: leads(unwell(4, { operation: { kind: 'restart', since: before(3_000) } })),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'waits for a restart that says that Postgres is stopping',
    view: leads({
      local: { kind: 'stopping', since: millis(8_000) },
      operation: { kind: 'restart', since: before(9_000) },
    }),
    rule: 'node.busy',
    actions: [],
  },
  {
    name: 'gives a promotion the time it takes while Postgres answers',
    view: leads({ local: aLoneStandby(), operation: { kind: 'promote', since: before(100_000) } }),
    rule: 'node.busy',
    actions: [],
  },
  {
    name: 'lets the preparations go on while Postgres answers',
    view: leads({ operation: { kind: 'switchover', since: before(3_000) } }),
    rule: 'node.busy',
    actions: [],
  },
  {
    name: 'does not promote a standby that does not answer: it may have been promoted already, and hang',
    view: leads(unwell(1, { local: aLoneStandby({ failing: FAILING }) })),
    rule: 'leading.check-failed',
    actions: [],
  },
  {
    name: 'promotes again after one failure',
    view: leads({ local: aLoneStandby(), attempts: failed('promote', 1) }),
    rule: 'leading.promote',
    actions: ['promote'],
  },
  {
    name: 'ends Postgres after two failed promotions: the last one may still be under way',
    view: leads({ local: aLoneStandby(), attempts: failed('promote', 2, before(5_000)) }),
    rule: 'leading.promotion-failed',
    actions: ['stop-immediately'],
  },
  {
    name: 'gives the key up once it is down after two failed promotions',
    view: leadsWithPostgresDown({ attempts: failed('promote', 2, before(5_000)) }),
    rule: 'leading.promotion-failed',
    actions: [release(null)],
  },
  {
    name: 'does not count promotions that failed in an earlier leadership',
    view: leads({ local: aLoneStandby(), attempts: failed('promote', 2, before(30_001)) }),
    rule: 'leading.promote',
    actions: ['promote'],
  },
  {
    name: 'gives the key up without a promotion when pre_promote says no',
    view: leads({ local: aLoneStandby(), attempts: failed('pre-promote', 1, before(1)) }),
    rule: 'leading.promotion-failed',
    actions: [release(null)],
  },
  {
    name: 'asks pre_promote again in the next leadership',
    view: leads({ local: aLoneStandby(), attempts: failed('pre-promote', 1, before(30_001)) }),
    rule: 'leading.promote',
    actions: ['promote'],
  },
  {
    name: 'gives the key up instead of starting another cluster as its primary: the data were replaced while it was down',
    view: leads({ local: aStopped({ systemId: systemId('999') }) }),
    rule: 'leading.cannot-lead',
    actions: ['release'],
  },
  {
    name: 'gives the key up when it has no data to lead with',
    view: leads({ local: { kind: 'absent' } }),
    rule: 'leading.cannot-lead',
    actions: [release(null)],
  },
  {
    name: 'gives the key up over a data directory that was never finished',
    view: leads({ local: { kind: 'half-made', by: 'rewind' } }),
    rule: 'leading.cannot-lead',
    actions: ['release'],
  },
  {
    name: 'gives a data directory that cannot be used five seconds',
    view: leads({ local: unusable, localSince: before(4_999) }),
    rule: 'node.unusable',
    actions: [],
  },
  {
    name: 'gives the key up over one that stays unusable',
    view: leads({ local: unusable, localSince: before(5_000) }),
    rule: 'leading.cannot-lead',
    actions: ['release'],
  },
];

export const starting: readonly Case[] = [
  {
    name: 'waits for its primary to start',
    view: leads({ local: isStarting(true), localSince: before(2_000) }),
    rule: 'leading.starting',
    actions: [],
  },
  {
    name: 'waits for exactly as long as primary_start_timeout allows',
    view: leads({ local: isStarting(true), localSince: before(300_000) }),
    rule: 'leading.starting',
    actions: [],
  },
  {
    name: 'ends a start that takes longer than primary_start_timeout when others can take over',
    view: leads({ local: isStarting(true), localSince: before(300_001) }),
    rule: 'leading.start-failed',
    actions: ['stop-immediately'],
  },
  {
    name: 'asks who can take over before it ends a slow start',
    view: leads({ local: isStarting(true), localSince: before(300_001), peers: new Map() }),
    rule: 'leading.ask-candidates',
    actions: ['ask-peers'],
  },
  {
    name: 'goes on waiting for a slow start when nobody can take over',
    view: leads({
      local: isStarting(true),
      localSince: before(300_001),
      peers: peers({ a: aSilentPeer(), c: aSilentPeer() }),
    }),
    rule: 'leading.starting',
    actions: [],
  },
  {
    name: 'ends a Postgres that has been stopping for longer than a stop may take',
    view: leads({ local: { kind: 'stopping', since: 200 as never }, localSince: before(10_000) }),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'waits for a Postgres that is stopping',
    view: leads({ local: { kind: 'stopping', since: 200 as never }, localSince: before(9_999) }),
    rule: 'leading.starting',
    actions: [],
  },
  {
    name: 'gives a standby ten seconds to come up',
    view: leads({
      local: isStarting(false),
      localSince: before(10_000),
      leadership: holding({ since: before(20_000) }),
    }),
    rule: 'leading.waiting-for-window',
    actions: [],
  },
  {
    name: 'gives the key up when its standby does not come up in ten seconds',
    view: leads({
      local: isStarting(false),
      localSince: before(10_001),
      leadership: holding({ since: before(20_000) }),
    }),
    rule: 'leading.cannot-lead',
    actions: ['release'],
  },
];

export const suspicion: readonly Case[] = [
  {
    name: 'repeats a failing check before it does anything',
    view: leads(unwell(1)),
    rule: 'leading.check-failed',
    actions: [],
    again: 1_000,
  },
  {
    name: 'still repeats the check at the last allowed failure',
    view: leads(unwell(3)),
    rule: 'leading.check-failed',
    actions: [],
  },
  {
    name: 'ends a primary whose check failed once more than that',
    view: leads(unwell(4)),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'ends a postmaster that never answered',
    view: leads(unwell(4, { local: aSilent() })),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'asks the others first, where the policy is that they must agree',
    view: leads(
      unwell(4, { set: { primaryVisibilityConsensus: true }, peers: peers({ a: aPeer('a', { at: before(4_001) }) }) }),
    ),
    rule: 'leading.ask-candidates',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('a'), nodeName('c')] }],
  },
  {
    name: 'keeps a primary that another member saw within the last two loops',
    view: leads(askedWhileUnwell(3_899)),
    rule: 'leading.seen-by-others',
    actions: ['ask-peers'],
  },
  {
    name: 'does not keep it when that was exactly two loops ago',
    view: leads(askedWhileUnwell(3_900)),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'takes the silence of the others for no evidence',
    view: leads(askedWhileUnwell(null)),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
];

/** The round of bringing our tail to others has ended, and nobody has it. */
const TRIED = { since: before(6_000), endedAt: before(300), rounds: 0, failed: new Set([nodeName('a')]) };
const lacking = (bytes: number): ViewOver => ({
  rescue: TRIED,
  peers: peers({ a: aPeer('a', { position: lsn(END - BigInt(bytes)) }), c: aSilentPeer() }),
});
const lackingBoth = (bytes: number): ViewOver => ({
  peers: peers({
    a: aPeer('a', { position: lsn(END - BigInt(bytes)) }),
    c: aPeer('c', { position: lsn(END - BigInt(bytes)) }),
  }),
});
const LIMIT = 1_048_576;
const FAR_END = at('0/9000000');
/** The same as `lacking`, with room below the end for more than the limit. */
const farBehind = (bytes: number): ViewOver => ({
  endOfWal: FAR_END,
  rescue: TRIED,
  set: { primaryCrash: 'failover' },
  peers: peers({ a: aPeer('a', { position: lsn(FAR_END - BigInt(bytes)) }), c: aSilentPeer() }),
});

export const handingOver: readonly Case[] = [
  {
    name: 'finds the end of its WAL first',
    view: leadsWithPostgresDown({ endOfWal: null }),
    rule: 'leading.find-end',
    actions: ['find-end-of-wal'],
    situation: 'leading',
  },
  {
    name: 'asks the others with the same step when they have not been asked',
    view: leadsWithPostgresDown({ endOfWal: null, peers: new Map() }),
    rule: 'leading.find-end',
    actions: ['find-end-of-wal', 'ask-peers'],
  },
  {
    name: 'starts Postgres here when the end of its WAL cannot be found',
    view: leadsWithPostgresDown({ endOfWal: null, attempts: failed('find-end', 3) }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'gives the key up when the end cannot be found and Postgres does not start either',
    view: leadsWithPostgresDown({
      endOfWal: null,
      attempts: new Map([...failed('find-end', 3), ...failed('start', 3)]),
    }),
    rule: 'leading.cannot-lead',
    actions: ['release'],
  },
  {
    name: 'drops the request of an operator when Postgres has to come back here',
    view: leadsWithPostgresDown({
      ...lacking(1),
      cluster: aCluster({ leader: 'b', failover: aRequest({ leader: 'b', candidate: 'a' }) }),
    }),
    rule: 'leading.start-here',
    actions: ['start-primary', 'drop-switchover-request'],
  },
  {
    name: 'gives the key to the best candidate while a switchover to another one is scheduled for later',
    view: leadsWithPostgresDown({
      cluster: aCluster({
        leader: 'b',
        failover: aRequest({ leader: 'b', candidate: 'c', scheduledAt: '2030-01-01T10:00:00+00:00' }),
      }),
    }),
    rule: 'leading.hand-over',
    actions: [release('a')],
  },
  {
    name: 'asks the others, if one of them has not been asked since Postgres stopped',
    view: leadsWithPostgresDown({ peers: peers({ a: aPeer('a'), c: aPeer('c', { at: before(301) }) }) }),
    rule: 'leading.ask-candidates',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('a'), nodeName('c')] }],
  },
  {
    name: 'counts a question sent at the very instant Postgres was seen down',
    view: leadsWithPostgresDown({ peers: peers({ a: aPeer('a', { at: before(300) }), c: aSilentPeer() }) }),
    rule: 'leading.hand-over',
    actions: [release('a')],
  },
  {
    name: 'gives the key to a candidate that has exactly all of its WAL',
    view: leadsWithPostgresDown(),
    rule: 'leading.hand-over',
    actions: [release('a')],
  },
  {
    name: 'gives the key to the one that the operator asked for',
    view: leadsWithPostgresDown({
      cluster: aCluster({ leader: 'b', failover: aRequest({ leader: 'b', candidate: 'c' }) }),
    }),
    rule: 'leading.hand-over',
    actions: [release('c')],
  },
  {
    name: 'brings the missing end of the WAL to the best candidate first',
    view: leadsWithPostgresDown({ ...lacking(1), rescue: null }),
    rule: 'leading.rescue',
    actions: [{ do: 'rescue', candidate: nodeName('a'), end: END, limit: seconds(5), anew: true }],
  },
  {
    name: 'gives a try half of the time while there is another one to bring it to',
    view: leadsWithPostgresDown({ ...lackingBoth(1), rescue: null }),
    rule: 'leading.rescue',
    actions: [{ do: 'rescue', candidate: nodeName('a'), end: END, limit: millis(2_500), anew: true }],
  },
  {
    name: 'brings it to the next one when the best candidate died half way, with all that is left of the time',
    view: leadsWithPostgresDown({ ...lackingBoth(1), rescue: { ...TRIED, since: before(2_000) } }),
    rule: 'leading.rescue',
    actions: [{ do: 'rescue', candidate: nodeName('c'), end: END, limit: seconds(3), anew: false }],
  },
  {
    name: 'tries nobody any more once the time for all of it has passed',
    view: leadsWithPostgresDown({ ...lackingBoth(1), rescue: { ...TRIED, since: before(5_000) } }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'goes on trying where wal_rescue is wait, after a pause',
    view: leadsWithPostgresDown({ ...lacking(1), set: { walRescue: 'wait' } }),
    rule: 'leading.rescue-awaited',
    actions: [],
  },
  {
    name: 'begins a new round then',
    view: leadsWithPostgresDown({
      ...lacking(1),
      set: { walRescue: 'wait' },
      rescue: { ...TRIED, endedAt: before(1_000) },
    }),
    rule: 'leading.rescue',
    actions: [{ do: 'rescue', candidate: nodeName('a'), end: END, limit: seconds(5), anew: true }],
  },
  {
    name: 'waits longer after each round that was in vain',
    view: leadsWithPostgresDown({
      ...lacking(1),
      set: { walRescue: 'wait' },
      rescue: { ...TRIED, rounds: 3, endedAt: before(7_900) },
    }),
    rule: 'leading.rescue-awaited',
    actions: [],
  },
  {
    name: 'waits for nobody who is not there: then Postgres is started here',
    view: leadsWithPostgresDown({ set: { walRescue: 'wait' }, peers: peers({ a: aSilentPeer(), c: aSilentPeer() }) }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'hands over without it where wal_rescue is lose',
    view: leadsWithPostgresDown({ ...lacking(1), set: { walRescue: 'lose' } }),
    rule: 'leading.hand-over-with-loss',
    actions: ['release'],
  },
  {
    name: 'loses nothing where wal_rescue is restart, whatever primary_crash is',
    view: leadsWithPostgresDown({ ...lacking(1), set: { walRescue: 'restart', primaryCrash: 'failover' } }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'starts Postgres here when the end cannot be brought over',
    view: leadsWithPostgresDown(lacking(1)),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'asks no member that runs Patroni for a rescue',
    view: leadsWithPostgresDown({
      peers: peers({ a: aPeer('a', { pgha: false, position: lsn(END - 1n) }), c: aSilentPeer() }),
    }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'hands over with a loss of exactly maximum_lag_on_failover, where the policy prefers that',
    view: leadsWithPostgresDown(farBehind(LIMIT)),
    rule: 'leading.hand-over-with-loss',
    actions: [release('a', lsn(FAR_END - BigInt(LIMIT)), FAR_END)],
  },
  {
    name: 'does not hand over with one byte more of a loss',
    view: leadsWithPostgresDown(farBehind(LIMIT + 1)),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'hands over with a small loss once Postgres has failed to start here three times',
    view: leadsWithPostgresDown({ ...lacking(1), attempts: failed('start', 3) }),
    rule: 'leading.hand-over-with-loss',
    actions: ['release'],
  },
  {
    name: 'gives the key up for nobody by name when Postgres does not start for long and somebody cannot be asked',
    view: leadsWithPostgresDown({ peers: peers({ a: aSilentPeer(), c: aSilentPeer() }), attempts: failed('start', 5) }),
    rule: 'leading.cannot-lead',
    actions: [release(null)],
  },
  {
    name: 'and not before',
    view: leadsWithPostgresDown({ peers: peers({ a: aSilentPeer(), c: aSilentPeer() }), attempts: failed('start', 4) }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'nor where all have answered that they cannot lead',
    view: leadsWithPostgresDown({
      peers: peers({ a: aPeer('a', { noFailover: true }), c: aPeer('c', { priority: 0 }) }),
      attempts: failed('start', 5),
    }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'gives the key to nobody on another timeline',
    view: leadsWithPostgresDown({ peers: peers({ a: aPeer('a', { timeline: timeline(3) }), c: aSilentPeer() }) }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'gives the key to nobody who is tagged nofailover, has priority 0 or still replays',
    view: leadsWithPostgresDown({
      peers: peers({ a: aPeer('a', { noFailover: true }), c: aPeer('c', { priority: 0 }) }),
    }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'starts Postgres here at once where the policy says so, without asking anybody',
    view: leadsWithPostgresDown({ set: { primaryCrash: 'restart' }, endOfWal: null, peers: new Map() }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'hands over all the same once Postgres has failed to start here three times',
    view: leadsWithPostgresDown({ set: { primaryCrash: 'restart' }, attempts: failed('start', 3) }),
    rule: 'leading.hand-over',
    actions: ['release'],
  },
  {
    name: 'starts Postgres here when failover is manual',
    view: leadsWithPostgresDown({ set: { failover: 'manual' } }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'starts Postgres here when there is nobody else',
    view: leadsWithPostgresDown({ cluster: aCluster({ leader: 'b', members: [] }), endOfWal: null }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'starts no primary before the window is open',
    view: leadsWithPostgresDown({ ...lacking(1), leadership: noWindow() }),
    rule: 'leading.waiting-for-window',
    actions: [],
  },
  {
    name: 'gives the key up when no window opens for a server that nobody else can replace without loss',
    view: leadsWithPostgresDown({ ...lacking(1), leadership: unopened(5_001), guardAcks: false }),
    rule: 'leading.no-window',
    actions: [release(null)],
  },
  {
    name: 'waits between starts that fail',
    view: leadsWithPostgresDown({ ...lacking(1), attempts: failed('start', 1, before(999)) }),
    rule: 'leading.start-failed',
    actions: [],
    again: 1,
  },
  {
    name: 'tries again exactly when the wait is over',
    view: leadsWithPostgresDown({ ...lacking(1), attempts: failed('start', 1, before(1_000)) }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
  {
    name: 'starts what was a standby as one, and never out of recovery without a promotion',
    view: leadsWithPostgresDown({ ...lacking(1), local: aStopped({ wasPrimary: false, standbySignal: true }) }),
    rule: 'leading.start-here',
    actions: [{ do: 'start-standby', upstream: null }],
  },
];

const asked = (over: Parameters<typeof aRequest>[0] = { leader: 'b' }, rest: ViewOver = {}): ViewOver => ({
  cluster: aCluster({ leader: 'b', failover: aRequest(over) }),
  ...rest,
});
const refused = { rule: 'switchover.refused', actions: ['drop-switchover-request'] } as const;
const agreed = { rule: 'switchover.stop', actions: ['stop-for-switchover'] } as const;
const behind = (bytes: number): ViewOver => ({
  local: aPrimary({ flushed: FAR_END }),
  peers: peers({ a: aPeer('a', { position: lsn(FAR_END - BigInt(bytes)) }), c: aSilentPeer() }),
});

export const switchingOver: readonly Case[] = [
  { name: 'stops in order when the candidate is fit', view: leads(asked()), ...agreed, situation: 'switching-over' },
  {
    name: 'asks everybody first when an answer is older than two seconds',
    view: leads(asked({}, { peers: peers({ a: aPeer('a', { at: before(2_001) }), c: aPeer('c') }) })),
    rule: 'switchover.check',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('a'), nodeName('c')] }],
  },
  {
    name: 'trusts an answer that is exactly two seconds old',
    view: leads(asked({}, { peers: peers({ a: aPeer('a', { at: before(2_000) }), c: aSilentPeer(before(2_000)) }) })),
    ...agreed,
  },
  {
    name: 'refuses when the request names another leader',
    view: leads(asked({ leader: 'c', candidate: 'a' })),
    ...refused,
  },
  {
    name: 'lets a wish be that names itself: it has come true',
    view: leads(asked({ candidate: 'b' })),
    rule: 'leading.primary',
    actions: [],
  },
  {
    name: 'does not try again what it has given the key up for, when it leads again all the same',
    view: leads({
      cluster: aCluster({
        leader: 'b',
        failover: { ...aRequest({ leader: 'b', candidate: 'a' }), revision: revision(39) },
      }),
    }),
    rule: 'leading.primary',
    actions: [],
  },
  { name: 'refuses a candidate that is no member', view: leads(asked({ candidate: 'x' })), ...refused },
  {
    name: 'refuses when there is no other member',
    view: leads({ cluster: aCluster({ leader: 'b', members: [], failover: aRequest({ leader: 'b' }) }) }),
    ...refused,
  },
  {
    name: 'refuses a candidate that does not answer',
    view: leads(asked({ candidate: 'a' }, { peers: peers({ a: aSilentPeer(), c: aPeer('c') }) })),
    ...refused,
  },
  {
    name: 'refuses a candidate that is tagged nofailover, even if asked for by name',
    view: leads(asked({ candidate: 'a' }, { peers: peers({ a: aPeer('a', { noFailover: true }), c: aPeer('c') }) })),
    ...refused,
  },
  {
    name: 'refuses a candidate on another timeline',
    view: leads(
      asked({ candidate: 'a' }, { peers: peers({ a: aPeer('a', { timeline: timeline(1) }), c: aPeer('c') }) }),
    ),
    ...refused,
  },
  {
    name: 'refuses a candidate that does not stream from here',
    view: leads(asked({ candidate: 'a' }, { local: aPrimary({ senders: [aSender('a', 'catchup'), aSender('c')] }) })),
    ...refused,
  },
  {
    name: 'accepts a candidate exactly as far behind as maximum_lag_on_failover allows',
    view: leads(asked({ candidate: 'a' }, behind(LIMIT))),
    ...agreed,
  },
  {
    name: 'refuses a candidate one byte further behind',
    view: leads(asked({ candidate: 'a' }, behind(LIMIT + 1))),
    ...refused,
  },
  {
    name: 'does not stop for a key that cannot be handed over, because etcd does not answer',
    view: leads(asked({ leader: 'b' }, { etcd: 'silent' })),
    rule: 'leading.primary',
    actions: [],
    situation: 'leading',
  },
  {
    name: 'nor while only the members prove its leadership, as when etcd refuses writes',
    view: leads(asked({ leader: 'b' }, { leadership: holding({ provenBy: 'members' }) })),
    rule: 'leading.by-confirmation',
    actions: [],
    situation: 'leading',
  },
  {
    name: 'refuses at once what failed a moment ago',
    view: leads(asked({}, { attempts: failed('switchover', 1, before(1_999)) })),
    ...refused,
  },
  {
    name: 'tries anew two seconds after a failure',
    view: leads(asked({}, { attempts: failed('switchover', 1, before(2_000)) })),
    ...agreed,
  },
  {
    name: 'leaves a scheduled switchover for later',
    view: leads(asked({ leader: 'b', scheduledAt: '2030-01-01T10:00:00+00:00' })),
    rule: 'leading.primary',
    actions: [],
    situation: 'leading',
  },
  {
    name: 'carries a scheduled switchover out when it is due',
    view: leads(asked({ leader: 'b', scheduledAt: '2030-01-01T10:00:00+00:00' }, { switchoverDueIn: millis(0) })),
    ...agreed,
  },
  {
    name: 'carries it out a little late',
    view: leads(asked({ leader: 'b', scheduledAt: '2030-01-01T10:00:00+00:00' }, { switchoverDueIn: millis(-15_000) })),
    ...agreed,
  },
  {
    name: 'refuses one whose time has passed: what was scheduled for the night is not done at noon',
    view: leads(asked({ leader: 'b', scheduledAt: '2030-01-01T10:00:00+00:00' }, { switchoverDueIn: millis(-15_001) })),
    ...refused,
  },
  {
    name: 'waits for a proven window before it hands over a primary that is being taken in',
    view: leads(asked({}, { leadership: noWindow({ adopting: true }) })),
    rule: 'leading.waiting-for-window',
    actions: [],
  },
  {
    name: 'is not for a standby: the request names the leader',
    view: leads(asked({}, { local: aStandby(), leadership: holding() })),
    rule: 'leading.promote',
    actions: ['promote'],
    situation: 'leading',
  },
];
