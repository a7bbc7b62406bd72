/**
 * A candidate's gate: the instant before which it may not promote. Every version of `status` says for how long after
 * it was *seen* nobody may promote; the gate is counted on our own clock from the arrival of the newest version
 * (protocol.md 4). What was never seen counts as arriving now.
 */
import type { Beat, ClusterView } from './cluster.ts';
import type { PeerAnswer } from './peer.ts';
import { ABSENT, type NodeName, type Revision } from './store.ts';
import { between, earlierBy, type Instant, LONG_AGO, laterBy, latest, longest, type Millis, millis } from './time.ts';

export interface Gate {
  /** Of the `status` this gate comes from; 0 when the key does not exist. */
  readonly revision: Revision;
  /** When that version arrived here. */
  readonly arrived: Instant;
  /** When another version was last read: this one was written later. LONG_AGO: it stood there when this process began. */
  readonly writtenAfter: Instant;
  /** 'never': pause mode; only a newer version opens it. */
  readonly opensAt: Instant | 'never';
  readonly beat: Beat | null;
  /** Who said for how long. Absent: that is not known. */
  readonly writer?: NodeName;
  readonly clusterId: string;
  /** Of the whole store when it was last read. It only grows, unless etcd was restored. */
  readonly storeRevision: Revision;
  /** When the cluster was last read. */
  readonly readAt: Instant;
  /** It waits for somebody of whom what is read may not tell. Absent: it does not. */
  readonly doubt?: Doubt;
  /** etcd was restored: until when the versions that are lost, as far as they were read here, let nobody promote. */
  readonly lostUntil?: Instant;
  /** The term of the leader without beats (Patroni) whose first status this gate was counted for; null: not so. */
  readonly beatless: Revision | null;
}

export interface Doubt {
  readonly why: string;
  /** When etcd was read before the silence; LONG_AGO: no clock tells. */
  readonly since: Instant;
  /** ... and after it, and of the store then. */
  readonly readAt: Instant;
  readonly storeRevision: Revision;
  /** When the gate opens where somebody vouches for what was read. */
  readonly opensAt: Gate['opensAt'];
}

export interface Arrival {
  readonly cluster: Pick<ClusterView, 'clusterId' | 'revision' | 'status' | 'leader' | 'members'>;
  readonly readAt: Instant;
  /** When this version of `status` was first known to exist: its watch hint if there was one, else the read. */
  readonly at: Instant;
  /** The cluster's TTL: the hold of a version that Patroni wrote. */
  readonly clusterTtl: Millis;
  /** The watch had told of more than is there now: etcd was restored, and versions that were not read are lost. */
  readonly historyRestarted?: boolean;
  /** The clock that tells for how long it was not read stood still meanwhile. */
  readonly stoodStill?: boolean;
  /** The watch has told of this version, and did not break since the read before: it was written since, and there. */
  readonly told?: boolean;
  /** Who else led, in maintenance, when etcd was last read; null: nobody did. */
  readonly ledInMaintenance?: NodeName | null;
  /** This node: what it said itself keeps others waiting, and not itself. */
  readonly self?: NodeName;
  /** This node's own TTL: with no status at all, the larger of the two is waited. */
  readonly ownTtl: Millis;
}

/** A read may be answered so long after etcd has done it. */
const READ_MS = 2_000;

/** @param known - the gate so far; null: nothing was seen since the start, so whatever is read arrives now (rule 11) */
export function noteStatus(known: Gate | null, arrival: Arrival): Gate {
  const { status, clusterId, revision: storeRevision } = arrival.cluster;
  const revision = status?.revision ?? ABSENT;
  // etcd was wiped or restored: what we knew is about another history. The store tells it also where `status` itself is
  // as it was: versions that were written after it, and that we have not seen, may be lost.
  const restarted =
    known !== null &&
    (arrival.historyRestarted === true ||
      known.clusterId !== clusterId ||
      storeRevision < known.storeRevision ||
      revision < known.revision);
  const { readAt } = arrival;
  const read = { storeRevision, readAt };
  const isOld = known !== null && mayBeOld(known, arrival);
  if (known !== null && !restarted && revision === known.revision) {
    if (!isOld) return { ...known, ...read };
    // Behind one who went in maintenance, `arrived` is what he himself waits from.
    if (known.opensAt === 'never') return { ...known, ...read, arrived: readAt };
    const doubt = doubtOf(known, arrival, known.doubt?.opensAt ?? known.opensAt);
    return { ...known, ...read, doubt, opensAt: unreadUntil(known, known.opensAt, readAt, arrival) };
  }
  if (known !== null && !restarted && sameBeatless(known, arrival)) {
    const { lostUntil: _over, ...rest } = known;
    return { ...rest, ...read, revision, arrived: arrival.at, writtenAfter: known.readAt };
  }
  const goesOn = known === null ? null : whoGoesOn(known, arrival, restarted);
  const opens = goesOn === null ? opensAt(known, arrival, restarted, isOld) : 'never';
  const writer = goesOn === 'unknown' ? undefined : (goesOn ?? status?.leader);
  return {
    revision,
    arrived: arrival.at,
    writtenAfter: known === null || restarted ? LONG_AGO : known.readAt,
    opensAt: opens,
    beat: status?.beat ?? null,
    ...(writer == null ? {} : { writer }),
    clusterId,
    ...read,
    ...(isOld && !restarted && goesOn === null
      ? { doubt: doubtOf(known, arrival, opensAt(known, arrival, false, false)) }
      : {}),
    ...lostWith(known, arrival, restarted, opens),
    beatless: status?.beatless === true ? termOfBeatless(arrival.cluster) : null,
  };
}

function lostWith(
  known: Gate | null,
  arrival: Arrival,
  restarted: boolean,
  opens: Gate['opensAt'],
): Pick<Gate, 'lostUntil'> {
  if (known === null) return {};
  if (restarted)
    return known.opensAt === 'never' ? {} : { lostUntil: unreadUntil(known, known.opensAt, arrival.at, arrival) };
  if (vouchesAfter(known, arrival)) return {};
  const lostUntil = known.revision === ABSENT && opens !== 'never' ? opens : known.lostUntil;
  return lostUntil === undefined ? {} : { lostUntil };
}

/**
 * For so long etcd was not read here that somebody can have been elected, and etcd restored to before that and to after
 * what we know: then nothing in it goes back, and what stands there is not the newest word. Nobody restores it faster than
 * in half a TTL. That etcd was only down does not show: in both cases its members elect, as often as they have to.
 */
export function mayBeOld(
  known: Pick<Gate, 'readAt'>,
  { readAt, clusterTtl, stoodStill }: Pick<Arrival, 'readAt' | 'clusterTtl' | 'stoodStill'>,
): boolean {
  return stoodStill === true || between(known.readAt, readAt) > clusterTtl / 2;
}

function doubtOf(known: Gate, { cluster, readAt, stoodStill }: Arrival, opens: Gate['opensAt']): Doubt {
  const silence = `etcd was not read here for ${Math.round(between(known.readAt, readAt) / 1_000)} s`;
  return {
    why: stoodStill === true ? 'this machine may have stood still' : silence,
    since: stoodStill === true ? LONG_AGO : (known.doubt?.since ?? known.readAt),
    readAt,
    storeRevision: cluster.revision,
    opensAt: opens,
  };
}

/**
 * Somebody has read etcd all the while, from before the silence here to after it: had it been restored meanwhile, he would
 * not say so. Then what is read here is the newest word.
 */
export function vouchedFor(gate: Gate, answers: Iterable<PeerAnswer>): Gate {
  const { doubt, ...rest } = gate;
  if (doubt === undefined) return gate;
  for (const answer of answers) {
    const read = answer.kind === 'answered' ? answer.status.etcdRead : null;
    if (answer.kind !== 'answered' || read === null) continue;
    // He may be another cluster's by now, or still be connected to what etcd was before.
    if (read.clusterId !== gate.clusterId || read.revision < doubt.storeRevision) continue;
    // When he was asked, and when he was heard: what he says is as old as the one, or as young as the other.
    const readAfter = earlierBy(answer.at, read.ago) >= doubt.readAt;
    const readBefore = earlierBy(answer.heardAt, read.unbrokenFor) <= doubt.since;
    if (readAfter && readBefore) return { ...rest, opensAt: doubt.opensAt };
  }
  return gate;
}

/**
 * A leader may have named a longer hold, for a longer TTL, in a version that was lost with the old etcd before it was read
 * here. Whoever has read it says for how long that one holds.
 */
export function noShorterThanLost(gate: Gate, answers: Iterable<PeerAnswer>): Gate {
  // After a silence, and before this process began, it may have been restored, too, and what is read does not tell.
  const mayBeRestored = gate.lostUntil !== undefined || gate.doubt !== undefined || gate.writtenAfter === LONG_AGO;
  if (!mayBeRestored || gate.opensAt === 'never') return gate;
  let { opensAt } = gate;
  for (const answer of answers) {
    const left = answer.kind === 'answered' ? answer.status.lostGateLeft : null;
    if (answer.kind === 'answered' && left !== null) opensAt = latest(opensAt, laterBy(answer.heardAt, left));
  }
  return { ...gate, opensAt };
}

/**
 * A leader in maintenance goes on without an end until somebody who has led after him says so: not what stands in an etcd
 * that was restored, whatever it says; also where his own word of it went with that before it was read.
 *
 * @returns null: there is none
 */
function whoGoesOn(known: Gate, arrival: Arrival, restarted: boolean): NodeName | 'unknown' | null {
  if (!restarted && vouchesAfter(known, arrival)) return null;
  if (restarted && arrival.ledInMaintenance != null) return arrival.ledInMaintenance;
  const isOurs = known.writer !== undefined && known.writer === arrival.self;
  return known.opensAt === 'never' && !isOurs ? (known.writer ?? 'unknown') : null;
}

function opensAt(known: Gate | null, arrival: Arrival, restarted: boolean, isOld: boolean): Gate['opensAt'] {
  const hold = holdOf(arrival);
  if (hold === 'never') return 'never';
  const opens = laterBy(arrival.at, hold);
  if (known === null || (!restarted && !isOld && vouchesAfter(known, arrival))) return opens;
  // What stands in a restored etcd may be a release that asks for no wait.
  const before = known.opensAt === 'never' ? LONG_AGO : known.opensAt;
  return latest(opens, unreadUntil(known, before, isOld ? arrival.readAt : arrival.at, arrival));
}

/**
 * Until when a window may be open whose beats are lost with the old etcd and were not read: of one who led since, for a TTL;
 * of one who was seen to lead, and went on until it was replaced, for as long as he had said, if the TTL is shorter now.
 */
function unreadUntil(known: Gate, opensAt: Instant, since: Instant, arrival: Arrival): Instant {
  return latest(opensAt, laterBy(since, longest(longestTtl(arrival), millis(known.beat?.holdMs ?? 0))));
}

/**
 * Where nothing stood when it was read, etcd may have been emptied before, and a backup of before that put over it since:
 * nothing in it goes back, and what stands there may be old. What is seen to be written there somebody has written who leads.
 */
function vouchesAfter(known: Gate, arrival: Arrival): boolean {
  return (known.revision !== ABSENT || arrival.told === true) && vouches(arrival);
}

/** Who leads, with pgha or with Patroni, knows of all before him. Of what stands there otherwise nobody knows who wrote it. */
function vouches({ cluster: { status } }: Arrival): boolean {
  return status !== null && (status.beat !== null || status.beatless === true);
}

/**
 * One more status of a Patroni leader says nothing new: it promises no hold, and what ends its right to write is the end
 * of its key. Its first one was waited for, because whoever led before may have had a window open. Waiting for each would
 * make every switchover from Patroni as long as the TTL, since it writes one just before it deletes its key.
 *
 * Between two reads that lie close together nobody else can have led, opened a window and lost the key again.
 */
function sameBeatless(known: Gate, { cluster, readAt, clusterTtl }: Arrival): boolean {
  if (known.beatless === null || known.opensAt === 'never' || cluster.status?.beatless !== true) return false;
  if (cluster.leader === null) return between(known.readAt, readAt) < clusterTtl / 2;
  return cluster.leader.term === known.beatless;
}

/** null: nobody leads, or one who writes beats, or one whose member key is not there to tell. */
function termOfBeatless({ leader, members }: Arrival['cluster']): Revision | null {
  const member = leader === null ? undefined : members.find(({ name }) => name === leader.name);
  return leader !== null && member?.pgha === null ? leader.term : null;
}

function holdOf(arrival: Arrival): Millis | 'never' {
  const { status } = arrival.cluster;
  if (status === null) return longestTtl(arrival);
  if (status.beat === null) return arrival.clusterTtl;
  return status.beat.holdMs === null ? 'never' : millis(status.beat.holdMs);
}

function longestTtl({ clusterTtl, ownTtl }: Arrival): Millis {
  return longest(clusterTtl, ownTtl);
}

/** May this node promote or acquire as far as the gate is concerned? */
export function gateOpen(gate: Gate | null, now: Instant): boolean {
  return gate !== null && gate.opensAt !== 'never' && now >= gate.opensAt;
}

/**
 * Whether the newest beat is so young that nobody's gate behind it can have passed, however early it arrived there. In
 * maintenance none passes with time.
 */
export function isYoung({ beat, writtenAfter }: Gate, now: Instant): boolean {
  if (beat === null || beat.release !== null) return false;
  return beat.holdMs === null || between(writtenAfter, now) < beat.holdMs - READ_MS;
}

/** The gate as an inherited instant for one who takes the key now; a gate that never opens must not be inherited. */
export function inheritedGate(gate: Gate): Instant {
  return gate.opensAt === 'never' ? LONG_AGO : gate.opensAt;
}
