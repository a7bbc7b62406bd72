/** The leader key is ours, Postgres accepts writes, and something ails this node. */
import type { Ailment, Sickness } from '../../../../src/core/sickness.ts';
import { nodeName, revision } from '../../../../src/core/store.ts';
import { millis } from '../../../../src/core/time.ts';
import type { View } from '../../../../src/core/view.ts';
import type { ViewOver } from '../builders.ts';
import {
  aCluster,
  aPeer,
  aSilentPeer,
  before,
  type Case,
  clusterPolicy,
  failed,
  holding,
  leads,
  leadsWithPostgresDown,
  peers,
} from '../builders.ts';

const FULL: Sickness = {
  kind: 'disk-full',
  where: ['data', 'pg_wal'],
  freeBytes: 4096n,
  said: 'No space left on device',
};
const READ_ONLY: Sickness = { kind: 'disk-read-only', where: ['data'], said: 'Read-only file system' };
const HANGS: Sickness = { kind: 'disk-hangs', where: ['pg_wal'], hangingFor: millis(30_000) };
const STUCK: Sickness = { kind: 'checkpointer-stuck', said: 'process 7 is stopped' };
const CRASHES: Sickness = { kind: 'crash-loop', crashes: 5, within: millis(600_000) };
const ARCHIVER: Sickness = {
  kind: 'archiver-failing',
  archiver: { failing: true, failures: 9, lastFailed: '000000010000000000000005', waiting: 3, oldest: millis(9_000) },
};

/** Commits wait for c alone. */
const SYNCHRONOUS_C = {
  revision: revision(70),
  key: { leader: nodeName('b'), voters: [nodeName('c')], quorum: 0 },
  garbled: false,
};

const since = (sickness: Sickness, ms = 60_000): Ailment => ({ sickness, since: before(ms) });

/** Leads with a full disk, with two standbys that are well. */
const sick = (over: ViewOver = {}): View =>
  leads({ ailments: [since(FULL)], peers: peers({ a: aPeer('a'), c: aPeer('c') }), ...over });

const set = (over: Partial<typeof clusterPolicy.sickness>): Partial<typeof clusterPolicy> => ({
  sickness: { ...clusterPolicy.sickness, ...over },
});
const react = (kind: 'disk-full' | 'checkpointer-stuck', how: 'failover' | 'stay'): Partial<typeof clusterPolicy> =>
  set({ react: { ...clusterPolicy.sickness.react, [kind]: how } });

const ask = { do: 'ask-peers', waitFor: [nodeName('a'), nodeName('c')] } as const;
const waits = { rule: 'leading.sick', actions: [] } as const;
const stays = { rule: 'leading.sick-stays', actions: [] } as const;
const staysAndAsks = { rule: 'leading.sick-stays', actions: [ask] } as const;
const handsOver = { rule: 'leading.sick-hands-over', actions: ['stop-for-switchover'] } as const;
const givesUp = { rule: 'leading.sick-gives-up', actions: ['stop-immediately'] } as const;

export const ailing: readonly Case[] = [
  {
    name: 'with a full disk hands over in order to somebody with room',
    view: sick(),
    ...handsOver,
    situation: 'leading',
  },
  {
    name: 'stays where on_disk_full says so, and tells',
    view: sick({ set: react('disk-full', 'stay') }),
    ...stays,
  },
  { name: 'waits until it has lasted', view: sick({ ailments: [since(FULL, 9_900)] }), ...waits, again: 100 },
  {
    name: 'asks the others first',
    view: sick({ peers: new Map() }),
    rule: 'leading.sick',
    actions: [ask],
  },
  {
    name: 'asks them again and again while nobody was better off, which is no news',
    view: sick({ peers: peers({ a: aPeer('a', { at: before(2_001) }), c: aPeer('c') }) }),
    ...staysAndAsks,
  },
  {
    name: 'stays while everybody else has as little room',
    view: sick({ peers: peers({ a: aPeer('a', { freeBytes: 134_217_727n }), c: aPeer('c', { freeBytes: null }) }) }),
    ...staysAndAsks,
  },
  {
    name: 'goes to one that has four times the room at which a disk counts as full',
    view: sick({ peers: peers({ a: aPeer('a', { freeBytes: 134_217_728n }), c: aSilentPeer() }) }),
    ...handsOver,
  },
  {
    name: 'stays while everybody else is sick too',
    view: sick({
      peers: peers({ a: aPeer('a', { ailing: ['disk-full'] }), c: aPeer('c', { ailing: ['disk-hangs'] }) }),
    }),
    ...staysAndAsks,
  },
  {
    name: 'does not throw the lead back to one that was sick a moment ago',
    view: sick({ peers: peers({ a: aPeer('a', { ailedAgo: millis(299_999) }), c: aSilentPeer() }) }),
    ...staysAndAsks,
  },
  {
    name: 'goes to one that was sick long ago',
    view: sick({ peers: peers({ a: aPeer('a', { ailedAgo: millis(300_000) }), c: aSilentPeer() }) }),
    ...handsOver,
  },
  {
    name: 'does not care whose archiver fails',
    view: sick({ peers: peers({ a: aPeer('a', { ailing: ['archiver-failing'] }), c: aSilentPeer() }) }),
    ...handsOver,
  },
  {
    name: 'hands over to nobody who may lack a commit that was acknowledged',
    view: sick({
      set: { synchronous: { ...clusterPolicy.synchronous, mode: 'on' } },
      cluster: aCluster({ leader: 'b', sync: SYNCHRONOUS_C }),
      peers: peers({ a: aPeer('a'), c: aSilentPeer() }),
    }),
    ...staysAndAsks,
  },
  { name: 'stays with failover: manual', view: sick({ set: { failover: 'manual' } }), ...stays },
  {
    name: 'stays while etcd is away: the key cannot be handed over',
    view: sick({ etcd: 'silent', leadership: holding({ provenBy: 'members' }) }),
    ...stays,
  },
  {
    name: 'stays alone',
    view: sick({ cluster: aCluster({ leader: 'b', members: [] }) }),
    ...stays,
  },
  {
    name: 'does not stop again and again, when it came back after a try',
    view: sick({ handoverTriedAt: before(299_000) }),
    ...stays,
  },
  { name: 'tries anew after a rest', view: sick({ handoverTriedAt: before(300_000) }), ...handsOver },
  {
    name: 'stops without preparing it when there was no room even for that',
    view: sick({ handoverTriedAt: before(3_000), attempts: failed('switchover', 1, before(1_000)) }),
    rule: 'leading.sick-hands-over',
    actions: ['stop-in-order'],
  },
  {
    name: 'on a read-only disk is ended: no checkpoint can be written',
    view: sick({ ailments: [since(READ_ONLY)] }),
    ...givesUp,
  },
  { name: 'on a disk that hangs is ended', view: sick({ ailments: [since(HANGS)] }), ...givesUp },
  {
    name: 'on a disk that hangs needs no room elsewhere',
    view: sick({ ailments: [since(HANGS)], peers: peers({ a: aPeer('a', { freeBytes: null }), c: aSilentPeer() }) }),
    ...givesUp,
  },
  {
    name: 'that crashes again and again hands over in order',
    view: sick({ ailments: [since(CRASHES)] }),
    ...handsOver,
  },
  { name: 'with a stuck checkpointer goes on by default', view: sick({ ailments: [since(STUCK)] }), ...stays },
  {
    name: 'with a stuck checkpointer is ended where that is asked for',
    view: sick({ ailments: [since(STUCK)], set: react('checkpointer-stuck', 'failover') }),
    ...givesUp,
  },
  {
    name: 'with a failing archiver only tells: a failover would not help',
    view: sick({ ailments: [since(ARCHIVER)] }),
    ...stays,
  },
  {
    name: 'once stopped for it hands over, whatever primary_crash says',
    view: leadsWithPostgresDown({ set: { primaryCrash: 'restart' }, handoverTriedAt: before(1_000) }),
    rule: 'leading.hand-over',
    actions: ['release'],
  },
  {
    name: 'that crashes long after a try is restarted, as primary_crash says',
    view: leadsWithPostgresDown({ set: { primaryCrash: 'restart' }, handoverTriedAt: before(100_000) }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
];
