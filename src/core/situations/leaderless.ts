/**
 * Nobody's window can be open, or soon will not be: who takes the key? Behind the gate everybody is asked for his
 * position, the best candidate takes the key in one transaction, and the others stand back in order of rank, so that
 * two do not collide and the next one goes when the first fails.
 */

import { type Contender, compareContenders, contender, describeRanking, isReturning, rank } from '../candidate.ts';
import { adoptable } from '../classify.ts';
import { type ClusterView, type FailoverRequest, timelineBeyond } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { isListed } from '../failsafe.ts';
import { gateOpen } from '../gate.ts';
import type { SyncChange } from '../leadership.ts';
import { position, type Standby, type SystemId } from '../local.ts';
import { distance, type Lsn, printLsn, type Timeline } from '../lsn.ts';
import type { PeerAnswer, PeerStatus } from '../peer.ts';
import { behindInTime } from '../published.ts';
import { keyOfTaker, type SyncKey, standing, type Vote } from '../quorum.ts';
import type { RuleId } from '../rules.ts';
import { cannotWrite, describeSickness, hinders } from '../sickness.ts';
import { standbySource } from '../standby-cluster.ts';
import { ABSENT, type NodeName, type Revision } from '../store.ts';
import { between, type Instant, LONG_AGO, laterBy, latest, type Millis, millis } from '../time.ts';
import { memberNamed, unwatched, type View } from '../view.ts';
import { backingOff } from './backing-off.ts';

/** How long each better candidate is given before the next one goes. */
export const STAND_BACK_MS = 400;
/** Answers of peers older than this are asked for again. */
const FRESH_MS = 2_000;
/** Nobody is waited for longer than this when he is asked, and a little. */
const ASKING_MS = 1_000;
/** What failover_validation_command has agreed to has to be done within this. */
const VALID_MS = 10_000;

/** What a daemon says of a Postgres that accepts no writes. */
const DOWN: ReadonlySet<string> = new Set(['stopped', 'crashed', 'creating replica', 'initializing new cluster']);
/** A failover by hand that could not be done for so long is not done any more: the operator may have turned to something else. */
const WISH_MS = 30_000;

/** A node under whose key no window opened stays out of elections for so long, doubled each time. */
const WITHOUT_WINDOW_MS = 10_000;
const WITHOUT_WINDOW_LONGEST_MS = 60_000;

/** After so many failed promotions the key goes to somebody else. */
export const PROMOTIONS = 2;

/** Rules that keep this node from going, whoever is better. */
export const HELD_BACK: ReadonlySet<string> = new Set<RuleId>([
  'leaderless.not-eligible',
  'leaderless.not-up',
  'leaderless.start-standby',
  'leaderless.primary-alive',
  'leaderless.seen-by-others',
  'leaderless.location',
  'leaderless.wait-for-returning',
  'leaderless.stop-receiving',
  'leaderless.wait-for-receivers',
  'leaderless.wait-for-voters',
]);

/**
 * Rules that may speak for hours, and of which nothing changes but by what a watch tells, or another member. The cluster
 * is read at the pace of the cycle then: etcd refuses an acquire that rests on an older status all the same.
 */
export const LASTING: ReadonlySet<string> = new Set<RuleId>([
  'leaderless.not-eligible',
  'leaderless.location',
  'leaderless.not-synchronous',
  'leaderless.wait-for-voters',
  'leading.sick',
  'leading.sick-stays',
]);

export function seekLeader(view: View, cluster: ClusterView): Decision {
  const { local } = view;
  switch (local.kind) {
    case 'standby':
      return asStandby(view, cluster, local);
    case 'stopped': {
      const isPrimarys = local.wasPrimary && local.cleanly && !local.standbySignal;
      if (cluster.status === null && local.timeline === 1 && isPrimarys && !followsAnother(view, cluster)) {
        const first = leadsFirst(view, cluster, local.timeline);
        if (first !== null) return first;
      }
      // Everybody comes up as a standby first (protocol.md 26): only then do positions count, also after the whole
      // cluster was down.
      const again = backingOff(view, 'start');
      if (again !== null) return again;
      return decision('leaderless.start-standby', 'no leader, and Postgres is down here: start it as a standby', [
        { do: 'start-standby', upstream: null },
      ]);
    }
    case 'primary':
      // Anything else that writes without a window was fenced before this question is asked.
      if (!adoptable(view))
        return decision('leaderless.not-eligible', 'this primary was not started under a leadership');
      if (!gateOpen(view.gate, view.now)) return waitAtTheGate(view);
      return take(view, cluster, 'leaderless.acquire', 'the running primary is taken in as it is', {
        adopting: true,
      });
    case 'absent':
    case 'half-made':
      return decision(
        'leaderless.wait-for-data',
        `no leader, and the data directory here is ${local.kind}: wait for a leader to copy from`,
      );
    case 'starting':
    case 'stopping':
    case 'silent':
    case 'orphans':
    case 'unusable':
      return decision('leaderless.not-up', `no leader, and Postgres here is ${local.kind}`, [], millis(200));
    default:
      return ((never: never) => never)(local);
  }
}

/**
 * The cluster that this node has just made, or brought along: nobody ever led it, so nobody else can hold newer data, and
 * it starts as the primary it was, on its own timeline, once the key is ours.
 *
 * @returns null: somebody has led since, and an etcd that was emptied knows nothing of it
 */
function leadsFirst(view: View, cluster: ClusterView, here: Timeline): Decision | null {
  if (!gateOpen(view.gate, view.now)) return waitAtTheGate(view);
  const since = view.leaderlessSince ?? view.now;
  const others = namesOf(view, cluster);
  if (!others.every((name) => askedSince(view, name, since))) {
    return decision('leaderless.ask-peers', `nobody has ever led: ask ${others.join(', ')} whether they know better`, [
      { do: 'ask-peers', waitFor: others },
    ]);
  }
  if (others.some((name) => (kinAnswer(view, name)?.timeline ?? here) > here)) return null;
  // Also of other data, which its daemon cannot stop yet: it may not have heard of this cluster.
  const primary = others.find((name) => saysPrimary(view, name, true));
  if (primary !== undefined) return behindPrimary(`${primary} runs as a primary, and nobody has ever led here`, others);
  return take(view, cluster, 'leaderless.acquire', 'nobody has ever led this cluster, and its data is here');
}

function asStandby(view: View, cluster: ClusterView, local: Standby): Decision {
  const ends = voterEndsReceiver(view, cluster, local);
  if (ends !== null) return ends;
  const request = byHand(view, cluster);
  // Neither an operator's wish nor a record makes up for commits that may be missing here; only an operator's word does.
  const forced = request?.candidate === view.self && request.forced === true;
  const unfit = whyNot(view, cluster, local, forced);
  if (unfit !== null)
    return (
      onlookerEndsReceiver(view, cluster, local) ??
      decision(
        unfit === notUp(view, local) ? 'leaderless.not-up' : 'leaderless.not-eligible',
        unfit,
        [],
        local.positionFinal ? null : millis(200),
      )
    );
  if (!isListed(cluster.failsafe, view.self)) return notListed(view, cluster);
  const promised = forced || followsAnother(view, cluster) ? null : (cluster.sync ?? null);
  if (request?.candidate === view.self && view.gate?.opensAt === 'never' && request.revision > view.gate.revision) {
    return (
      lastPrimaryAlive(view, cluster) ??
      heldBySync(view, cluster, local, 'asked first') ??
      take(
        view,
        cluster,
        'leaderless.chosen',
        'an operator fails over by hand: he vouches for the last leader, who went in maintenance',
        { despitePause: true },
      )
    );
  }
  const goesOn = ledInMaintenance(view, cluster, local);
  if (goesOn !== null) return goesOn;
  if (!gateOpen(view.gate, view.now)) return waitAtTheGate(view);
  const vetoed = stillVetoed(view);
  const release = view.gate?.beat?.release ?? null;
  // The last leader handed over because an operator had asked him to.
  const ordered = release?.asked === true && release.candidate === view.self;
  // And nobody has come of it: the one who gave the key up for him has everything, and goes on.
  const backAgain = release?.asked === true && cluster.status?.leader === view.self;
  const named = request?.candidate === view.self || ordered || backAgain;
  const manual = view.policy.cluster.failover === 'manual' && !named;
  const complete = release !== null && position(local) >= release.lsn;
  if (
    release !== null &&
    release.candidate === view.self &&
    (complete || promised === null) &&
    (ordered || vetoed === null) &&
    !manual
  ) {
    const others = namesOf(view, cluster);
    return (
      // The command is about failovers, not about a leader whom an operator has asked for.
      (ordered ? null : beforeTaking(view, others.length + 1, 1)) ??
      take(
        view,
        cluster,
        'leaderless.chosen',
        `the last leader named ${view.self} when it gave the key up at ${printLsn(release.lsn)}`,
      )
    );
  }
  if (request?.candidate === view.self) {
    const short = heldBySync(view, cluster, local, 'asked first');
    return short ?? take(view, cluster, 'leaderless.chosen', `an operator asked for a failover to ${view.self}`);
  }
  if (vetoed !== null) return vetoed;
  return elect(view, cluster, local, manual);
}

/**
 * Who may never lead ends his receiver too: the candidates cannot tell whose it is, and wait for all of them. One that
 * lags behind goes on: it may yet become a candidate.
 */
function onlookerEndsReceiver(view: View, cluster: ClusterView, local: Standby): Decision | null {
  const { node, cluster: policy } = view.policy;
  const never = node.noFailover || node.priority <= 0;
  if (followsAnother(view, cluster)) return null;
  if (!never || !policy.standbyDisconnectOnFailover || !local.positionFinal || local.failing !== null) return null;
  if (!gateOpen(view.gate, view.now) || (view.gate?.beat?.release ?? null) !== null) return null;
  const since = view.leaderlessSince ?? view.now;
  if (between(since, view.now) >= policy.siblingNodesDisconnectTimeout) return null;
  if (heldByConsensus(view, [], cluster.leader?.name ?? view.lastLeader, since) !== null) return null;
  return endReceiver(local);
}

/**
 * Where a commit waits for some of several voters, a primary that nobody stopped (its daemon dead, its guard frozen) could
 * get acknowledgements from those who are counted and not elected. So each of them ends his receiver once the gate has
 * passed, whether he may lead or not, and his position counts only then. A winner ends his own by being promoted.
 */
function voterEndsReceiver(view: View, cluster: ClusterView, local: Standby): Decision | null {
  const key = cluster.sync?.key ?? null;
  if (key === null || !key.voters.includes(view.self) || !isCounted(view, key)) return null;
  if (local.failing !== null || !receiversHaveTo(view)) return null;
  const since = view.leaderlessSince ?? view.now;
  if (heldByConsensus(view, [], cluster.leader?.name ?? view.lastLeader, since) !== null) return null;
  return endReceiver(local);
}

/** Somebody may have to outdo a voter before he leads. */
export const isCounted = (view: View, key: SyncKey): boolean =>
  key.quorum > 0 || view.policy.cluster.synchronous.mode === 'quorum';

/** By his own word. One who only had the key speaks of himself, not of whoever led before him. */
function lastLeaderIsDown(view: View): boolean {
  const release = view.gate?.beat?.release ?? null;
  return release !== null && release.unpromoted !== true;
}

/** Bounded, because a receiver may not end. In maintenance nobody ends one, and whoever asks for a leader vouches. */
function receiversHaveTo(view: View): boolean {
  if (!gateOpen(view.gate, view.now) || lastLeaderIsDown(view) || view.policy.cluster.pause) return false;
  return between(view.leaderlessSince ?? view.now, view.now) < view.policy.cluster.siblingNodesDisconnectTimeout;
}

/** Everybody who was a member a short while ago, without us. */
export function namesOf(view: View, cluster: ClusterView): readonly NodeName[] {
  return [...new Set([...cluster.members.map((member) => member.name), ...view.lately])].filter(
    (name) => name !== view.self,
  );
}

/** Our own command has said no, not long ago. */
function stillVetoed(view: View): Decision | null {
  const { validation } = view;
  if (validation.kind !== 'vetoed' || !view.policy.node.validates) return null;
  const left = view.policy.cluster.electionRerunInterval - between(validation.at, view.now);
  if (left <= 0) return null;
  return decision(
    'leaderless.vetoed',
    `failover_validation_command: ${validation.said}; ${view.self} stays out for another ${Math.ceil(left / 1000)} s`,
    [],
    millis(Math.min(left, 1_000)),
  );
}

/**
 * The operator's own command has the last word before the key is taken; only about failovers, never about a leader
 * that he asks for himself.
 *
 * @returns null when nothing stands against it
 */
function beforeTaking(view: View, total: number, visible: number): Decision | null {
  const { validation, policy, now } = view;
  if (!policy.node.validates) return null;
  if (validation.kind === 'approved' && between(validation.at, now) < VALID_MS) return null;
  if (validation.kind === 'running')
    return decision(
      'leaderless.validate',
      `failover_validation_command has been running for ${Math.round(between(validation.since, now))} ms`,
      [],
      millis(100),
    );
  return decision('leaderless.validate', `${view.self} is next: ask failover_validation_command`, [
    { do: 'validate', visible, total },
  ]);
}

/**
 * A failover to a named member that an operator asks for while there is no leader. Or a switchover that he has asked a
 * leader for who runs Patroni: that one leaves no record of whom it chose, and the wish stands until somebody leads.
 */
function byHand({ gate, lastLeader }: View, { failover }: ClusterView): FailoverRequest | null {
  if (failover === null || failover.candidate === null || failover.scheduledAt !== null) return null;
  if (failover.leader === null) return failover;
  return gate !== null && gate.beatless !== null && failover.leader === lastLeader ? failover : null;
}

function elect(view: View, cluster: ClusterView, local: Standby, manual: boolean): Decision {
  const since = view.leaderlessSince ?? view.now;
  const others = namesOf(view, cluster);
  // The lost leader is asked too, but nobody waits for the one that is known to be gone.
  const lost = cluster.leader?.name ?? view.lastLeader;
  const waitFor = others.filter((name) => name !== lost);
  if (others.length > 0 && !others.some((name) => askedSince(view, name, since))) {
    return decision('leaderless.ask-peers', `no leader: ask ${others.join(', ')} for their positions`, [
      { do: 'ask-peers', waitFor },
    ]);
  }

  const neverLed = cluster.status === null;
  const writable = others.find((name) => saysPrimary(view, name, neverLed));
  // No guard ends the Postgres of a member that runs Patroni, and no gate tells when: its word is all there is.
  const ofPatroni = writable !== undefined && lastAnswer(view, writable)?.status.pgha === false;
  // Positive evidence against the gate's arithmetic: hold back, but not for ever (one more TTL).
  if (writable !== undefined && (neverLed || ofPatroni || between(since, view.now) < view.policy.cluster.ttl)) {
    return behindPrimary(
      neverLed
        ? `${writable} runs as a primary and nobody has ever led here: it is the one to lead`
        : ofPatroni
          ? `${writable} runs Patroni and says that it is a primary: no election while it does`
          : `${writable} says that it is a writable primary: no election for up to another TTL`,
      waitFor,
    );
  }

  // A leader that gave the key up by a record is known not to write, and was just heard of.
  const released = (view.gate?.beat?.release ?? null) !== null;
  const held = released
    ? null
    : followsAnother(view, cluster)
      ? // Whatever somebody here lacks the other cluster has: only one that is about to come up is waited for.
        heldByReturning(view, local, others)
      : (heldByConsensus(view, others, lost, since) ??
        heldByLocation(view, others, since) ??
        // Before the wait for those who come back, which may be as long as the limit for the receivers.
        heldByReceivers(view, cluster, local, others, since) ??
        heldByReturning(view, local, others));
  if (held !== null) return held;
  const short = followsAnother(view, cluster)
    ? null
    : (heldByRecord(view, local, others, since) ?? heldBySync(view, cluster, local));
  if (short !== null) return short;

  const ranking = rankingFor(view, cluster, local);
  const wish = byHand(view, cluster);
  const asked = wish?.candidate ?? null;
  // A wish for a leader that had to be stopped first is carried out from the end of its key on.
  const wishedSince = wish?.leader == null ? (view.wishSince ?? view.now) : latest(view.wishSince ?? since, since);
  const { primaryNotificationTimeout } = view.policy.cluster;
  // He may see a reason against himself that nobody else can see.
  if (
    asked !== null &&
    asked !== view.self &&
    ranking.some((c) => c.name === asked) &&
    (wish?.forced === true || mayHaveAll(cluster, asked)) &&
    between(wishedSince, view.now) < Math.max(primaryNotificationTimeout, view.policy.cluster.ttl)
  ) {
    return decision(
      'leaderless.stand-back',
      `an operator asked for a failover to ${asked}, who can take over`,
      [{ do: 'ask-peers', waitFor: [asked] }],
      millis(300),
    );
  }
  if (manual) {
    return decision(
      'leaderless.manual',
      `failover is manual: ${ranking[0]?.name} would take over; ranking: ${describeRanking(ranking)}`,
    );
  }
  const place = ranking.findIndex((c) => c.name === view.self);
  const first = ranking.slice(0, place);
  // Somebody chosen by name in the release goes before the ranking, unless he was stopped by his own command.
  const chosen = view.gate?.beat?.release?.candidate ?? null;
  const waitsForChosen =
    chosen !== null && chosen !== view.self && !first.some((c) => c.name === chosen) && !saysNo(view, chosen);
  const better = place + (waitsForChosen ? 1 : 0);
  // What held us back held the better ones back too, or made them known: their turn begins when it ends, which they may
  // notice a little later than we do.
  const turns = (view.heldBackAt ?? view.vetoSeenAt) !== null && better > 0 ? better + 1 : better;
  const goAt = Math.min(STAND_BACK_MS * turns, primaryNotificationTimeout);
  // A veto ends a wait that may have taken seconds, for all who are left: between them the better one goes first again.
  const stoodBack = between(latest(view.heldBackAt ?? since, view.vetoSeenAt ?? since), view.now);
  if (stoodBack < goAt) {
    return decision(
      'leaderless.stand-back',
      `${ranking[0]?.name === view.self ? chosen : ranking[0]?.name} goes first; ranking: ${describeRanking(ranking)}`,
      [],
      millis(goAt - stoodBack),
    );
  }
  // One that has more and waits at his gate for longer than we did: no turn is worth what he has.
  const latestOpening = laterBy(view.heldBackAt ?? since, millis(view.policy.cluster.ttl + goAt));
  const waiting = isKnownComplete(view, cluster, local)
    ? []
    : first
        .filter((one) => isFurther(one, local) && waitsAtHisGate(view, one.name, latestOpening))
        .map(({ name }) => name);
  if (waiting.length > 0) {
    return decision(
      'leaderless.stand-back',
      `${waiting.join(', ')} ${waiting.length === 1 ? 'has' : 'have'} more and may not go yet; ranking: ${describeRanking(ranking)}`,
      [{ do: 'ask-peers', waitFor: waiting }],
      millis(150),
    );
  }
  // One that is being validated takes its time, and goes or is ruled out: what it said before says neither.
  const validating = [...first.map((c) => c.name), ...(waitsForChosen ? [chosen] : [])].filter((name) =>
    mayBeValidating(view, name),
  );
  // While our own command runs, theirs changes nothing: it is asked once more when ours has said yes.
  const oursRuns = view.policy.node.validates && view.validation.kind === 'running';
  // Counted from the beginning: two whose commands hang could take turns for ever.
  const waited = between(view.heldBackAt ?? since, view.now);
  if (validating.length > 0 && !oursRuns && waited < primaryNotificationTimeout) {
    return decision(
      'leaderless.stand-back',
      `${validating.join(', ')} may be asking its failover_validation_command; ranking: ${describeRanking(ranking)}`,
      [{ do: 'ask-peers', waitFor: validating }],
      millis(150),
    );
  }
  const visible = 1 + others.filter((name) => lastAnswer(view, name) !== null).length;
  return (
    beforeTaking(view, others.length + 1, visible) ??
    take(view, cluster, 'leaderless.acquire', `ranking: ${describeRanking(ranking)}`)
  );
}

/** Whatever another one has beyond it was acknowledged to nobody, or comes from elsewhere. */
function isKnownComplete(view: View, cluster: ClusterView, local: Standby): boolean {
  if (followsAnother(view, cluster) || (cluster.sync?.key ?? null) !== null) return true;
  const release = view.gate?.beat?.release ?? null;
  return release !== null && position(local) >= release.lsn;
}

/**
 * By his own word; he is given a turn once it has opened. One that opens later than that is moved on again and again, as
 * that of one who goes on confirming a leader without etcd.
 */
function waitsAtHisGate(view: View, name: NodeName, latestOpening: Instant): boolean {
  const answer = lastAnswer(view, name);
  const left = answer?.status.gateLeft ?? null;
  if (answer === null || left === null || left <= 0) return false;
  const goesBy = laterBy(answer.heardAt, millis(left + STAND_BACK_MS));
  return view.now < goesBy && goesBy <= latestOpening;
}

/** Who goes first, by what everybody said lately: what an election goes by, and what is shown of it afterwards. */
export function rankingFor(view: View, cluster: ClusterView, local: Standby): readonly Contender[] {
  const preferred = view.policy.cluster.locationPolicy === 'prefer' ? view.lastLeaderLocation : null;
  const others = contenders(view, namesOf(view, cluster)).filter((one) => isMember(view, cluster, one.name));
  return rank([ownContender(view, local), ...others], preferred);
}

/** With `synchronous_mode: on` only those who have every commit for certain may lead. */
export function isMember(view: Pick<View, 'policy'>, cluster: ClusterView, name: NodeName): boolean {
  const key = cluster.sync?.key ?? null;
  if (key === null || view.policy.cluster.synchronous.mode === 'quorum') return true;
  return key.leader === name || key.voters.includes(name);
}

/**
 * Somebody promised with the `sync` key that no commit is acknowledged before enough of its voters have it. Who wants
 * to lead has to be sure of having them all.
 *
 * @param first - `asked first`: nobody need have been asked yet
 */
function heldBySync(
  view: View,
  cluster: ClusterView,
  local: Standby,
  first: 'asked' | 'asked first' = 'asked',
): Decision | null {
  const { sync } = cluster;
  if (sync === null || (sync.key === null && !sync.garbled) || followsAnother(view, cluster)) return null;
  if (byHand(view, cluster)?.candidate === view.self && byHand(view, cluster)?.forced === true) return null;
  const since = electionBegan(view);
  if (sync.key === null) {
    return decision(
      'leaderless.wait-for-voters',
      'the key sync cannot be read: nobody knows who has every acknowledged commit; an operator has to say who leads',
      [],
      millis(1_000),
    );
  }
  const { key } = sync;
  // The last leader's own word: nothing was acknowledged beyond it.
  const release = view.gate?.beat?.release ?? null;
  if (release?.candidate === view.self && position(local) >= release.lsn) return null;
  if (!isMember(view, cluster, view.self)) {
    return decision(
      'leaderless.not-synchronous',
      `${view.self} is not a synchronous standby: ${[...key.voters, key.leader].join(' or ')} has to come back`,
      [],
      millis(1_000),
    );
  }
  const voters = key.voters.filter((name) => name !== view.self);
  if (first === 'asked first' && !voters.every((name) => askedSince(view, name, since))) {
    if (key.leader !== view.self && voters.length > 0)
      return decision('leaderless.ask-peers', `ask ${voters.join(', ')} for their positions`, [
        { do: 'ask-peers', waitFor: voters },
      ]);
  }
  const votes = votesFor(view, key, local);
  const verdict = standing(key, view.self, votes);
  if (verdict.kind === 'may-win') return heldByVotersReceivers(view, key, votes);
  const { by, missing, ahead } = verdict;
  const known = [
    ...(missing.length === 0 ? [] : [`${missing.join(', ')} cannot be seen`]),
    ...(ahead.length === 0 ? [] : [`${ahead.join(', ')} ${ahead.length === 1 ? 'is' : 'are'} further`]),
  ];
  const back = [...missing, ...(missing.includes(key.leader) ? [] : [key.leader])];
  return decision(
    'leaderless.wait-for-voters',
    key.voters.length === 0
      ? `only ${key.leader}, who led last, has every acknowledged commit for certain: wait for it`
      : `${by} more of the voters ${key.voters.join(', ')} must be seen to have nothing that ${view.self} lacks (quorum ${key.quorum}): ${known.join('; ')}; wait for ${back.join(' or ')}`,
    [{ do: 'ask-peers', waitFor: voters }],
    millis(500),
  );
}

/** Whether the `sync` key would let this one lead at best, with all other voters there and behind. */
function mayHaveAll({ sync }: ClusterView, name: NodeName): boolean {
  const key = sync?.key ?? null;
  if (key === null) return true;
  const votes = key.voters.filter((voter) => voter !== name).map((voter): Vote => ({ name: voter, heard: 'outdone' }));
  return standing(key, name, votes).kind === 'may-win';
}

/** A position that may still grow by what the last leader sends counts only where it decides nothing. */
function heldByVotersReceivers(view: View, key: SyncKey, votes: readonly Vote[]): Decision | null {
  const receiving = receiversHaveTo(view)
    ? votes.map(({ name }) => name).filter((name) => mayReceive(view, name) === true)
    : [];
  const final = votes.map((vote): Vote => (receiving.includes(vote.name) ? { ...vote, heard: null } : vote));
  if (standing(key, view.self, final).kind === 'may-win') return null;
  return decision(
    'leaderless.wait-for-receivers',
    `${receiving.join(', ')} may still acknowledge commits of the last leader: wait until the receivers have ended`,
    [{ do: 'ask-peers', waitFor: receiving }],
    millis(30),
  );
}

/** What the voters other than this node say about it, as a candidate. */
function votesFor(view: View, key: SyncKey, local: Standby): readonly Vote[] {
  const mine = { systemId: local.systemId, timeline: local.timeline, position: position(local) };
  const since = electionBegan(view);
  return key.voters.filter((name) => name !== view.self).map((name) => voteOf(view, name, mine, since));
}

/** Behind a gate that only an operator opens there is no election that began at some time. */
const electionBegan = (view: View): Instant => view.leaderlessSince ?? laterBy(view.now, millis(-FRESH_MS));

const mayReceive = (view: View, name: NodeName): boolean | null => statusOf(view, name)?.mayReceive ?? null;

/**
 * Whether it is proved that no commit that waited for synchronous standbys is missing here: the last leader said that it
 * is down, or those who were outdone could not acknowledge anything of his any more when they were asked.
 */
export function provesSynchronous(view: View, cluster: ClusterView): boolean {
  const key = cluster.sync?.key ?? null;
  if (key === null || view.local.kind !== 'standby') return false;
  if (lastLeaderIsDown(view)) return true;
  const final = votesFor(view, key, view.local).map(
    (vote): Vote => (mayReceive(view, vote.name) === false ? vote : { ...vote, heard: null }),
  );
  return standing(key, view.self, final).kind === 'may-win';
}

/** Where a candidate stands, and in which cluster. */
export interface Stand {
  readonly systemId: SystemId;
  readonly timeline: Timeline;
  readonly position: Lsn;
}

/** What a voter's answer says about a candidate that stands at `mine`. Only one that was asked behind the gate counts. */
function voteOf(view: View, name: NodeName, mine: Stand, since: Instant): Vote {
  const answer = view.peers.get(name);
  const said = answer?.kind === 'answered' && askedSince(view, name, since) ? answer.status : null;
  return { name, heard: said === null ? null : compared(said, mine) };
}

/** null: it does not know yet how far its own WAL reaches, or runs as something else than a standby of this cluster. */
export function compared(said: PeerStatus, mine: Stand): Vote['heard'] {
  if (said.state !== 'running' || !said.inRecovery || !said.positionFinal) return null;
  if (said.timeline === null || said.position === null || said.systemId !== mine.systemId) return null;
  // What is on an older timeline and not part of ours was acknowledged by nobody.
  if (said.timeline !== mine.timeline) return said.timeline < mine.timeline ? 'outdone' : 'ahead';
  return said.position <= mine.position ? 'outdone' : 'ahead';
}

/** What this member said, if it did so lately. */
function lastAnswer(view: View, name: NodeName): Extract<PeerAnswer, { kind: 'answered' }> | null {
  const answer = view.peers.get(name);
  return answer?.kind === 'answered' && between(answer.at, view.now) <= FRESH_MS ? answer : null;
}

/**
 * What this member said of data that are this cluster's. One with data of another cluster runs, and has a position, that
 * means nothing here: it never takes the key, and whoever has less must not wait for it, or hand over to it.
 */
function kinAnswer(view: View, name: NodeName): PeerStatus | null {
  const said = lastAnswer(view, name)?.status ?? null;
  return said === null || isForeign(view, said) ? null : said;
}

const isForeign = ({ local }: View, { systemId }: PeerStatus): boolean =>
  'systemId' in local && systemId !== null && systemId !== local.systemId;

const saysNo = (view: View, name: NodeName): boolean => (lastAnswer(view, name)?.status.vetoedFor ?? null) !== null;

/** It says so; or it has a command, and has not been asked since it could have begun. */
function mayBeValidating(view: View, name: NodeName): boolean {
  const answer = lastAnswer(view, name);
  if (answer === null) return false;
  // By when he was heard, not by when he was asked: one who takes his time to answer would be asked for ever.
  return answer.status.validating || (answer.status.validates && between(answer.heardAt, view.now) > STAND_BACK_MS / 2);
}

/**
 * The last leader went in maintenance, or is in it: without its daemon nobody stops its Postgres. While that is seen there
 * would be two primaries, whatever the operator who asks for a failover vouches for.
 */
export function lastPrimaryAlive(view: View, cluster: ClusterView): Decision | null {
  const unheard = askOfLastPrimary(view, cluster);
  if (unheard !== null) return unheard;
  const seen = seenOfLastPrimary(view, cluster);
  if (seen === null) return null;
  const why = `${seen}: nobody stops it in maintenance, and two would accept writes. Stop it, or start its daemon and switch over`;
  if (between(view.wishSince ?? view.now, view.now) > WISH_MS)
    return decision('switchover.refused', why, [{ do: 'drop-switchover-request', why }]);
  return primaryAlive(view, cluster, why);
}

const primaryAlive = (view: View, cluster: ClusterView, why: string): Decision =>
  decision('maintenance.primary-alive', why, [{ do: 'ask-peers', waitFor: namesOf(view, cluster) }], millis(500));

/** It is known to be down: he gave the key up, and not in maintenance for one who was promoted by hand, who writes on. */
const isKnownDown = ({ gate }: View): boolean => gate?.beat?.release != null && gate.beat.holdMs !== null;

function askOfLastPrimary(view: View, cluster: ClusterView): Decision | null {
  if (isKnownDown(view)) return null;
  const names = namesOf(view, cluster);
  const unheard = names.filter((name) => !heardLately(view, name));
  if (unheard.length === 0) return null;
  return decision('leaderless.ask-peers', `ask ${unheard.join(', ')} whether the last primary is alive`, [
    { do: 'ask-peers', waitFor: names },
  ]);
}

/** By whom a primary was seen that nobody would stop; null: by nobody. */
function seenOfLastPrimary(view: View, cluster: ClusterView): string | null {
  if (isKnownDown(view)) return null;
  const names = namesOf(view, cluster);
  const primary = names.find((name) => runsAsPrimary(statusOf(view, name)));
  if (primary !== undefined) return `${primary} runs as a primary`;
  const last = view.lastLeader;
  const itself = last === null || last === view.self ? null : statusOf(view, last);
  // By its own daemon's word it is down, or a standby by now; who saw it before that saw the same server.
  if (itself !== null && (itself.inRecovery || DOWN.has(itself.state))) return null;
  if (itself !== null) return `Postgres of ${last}, who led last, is ${itself.state}`;
  // Its address is forgotten with its key, which may have gone just now; who streams from it knows better.
  const fed = names.filter((name) => {
    const named = memberNamed(cluster, name)?.pgha?.receivesFrom ?? null;
    const from = named === null ? null : memberNamed(cluster, named);
    return statusOf(view, name)?.receiving === true && (from === null || from.role === 'primary');
  });
  if (receivesFromStranger(cluster, view.local)) fed.unshift(view.self);
  if (fed.length > 0)
    return `${fed.join(' and ')} receive${fed.length === 1 ? 's' : ''} from a primary that no daemon answers for`;
  if (last === null || last === view.self) return null;
  const recent: Millis = millis(2 * view.policy.cluster.loopWait);
  const seen = sightings(view, names, last).filter(({ age }) => age < recent);
  return seen.length === 0 ? null : describeSightings(last, seen);
}

/**
 * This node led last, in maintenance, and its machine was away since: its own Postgres is a standby by now, and who else
 * had led would have said so. One that an operator has promoted by hand, or that has more than we, is his to judge.
 *
 * @returns null: that is not so
 */
function ledInMaintenance(view: View, cluster: ClusterView, local: Standby): Decision | null {
  const { gate, now, self } = view;
  if (gate?.opensAt !== 'never' || gate.writer !== self || cluster.leader !== null || cluster.status === null)
    return null;
  // It gave the key up for one who was promoted by hand: that one writes, whether it is seen or not.
  if (gate.beat?.release != null || view.policy.cluster.failover === 'manual') return null;
  // A process that has just begun may read a backup, after which somebody else has led.
  const left = view.policy.cluster.ttl - between(gate.arrived, now);
  if (left > 0) {
    return decision(
      'leaderless.at-the-gate',
      `${self} led last, in maintenance; whoever has led since, should etcd have been restored, may be writing for up to ${Math.ceil(left)} ms more`,
      [],
      millis(Math.max(1, left)),
    );
  }
  const unheard = askOfLastPrimary(view, cluster);
  if (unheard !== null) return unheard;
  const seen = seenOfLastPrimary(view, cluster);
  if (seen !== null)
    return primaryAlive(
      view,
      cluster,
      `${seen}, and ${self} led last, in maintenance: an operator has to say who leads`,
    );
  const lacks = (who: string): Decision =>
    decision(
      'leaderless.at-the-gate',
      `${self} led last, in maintenance, and lacks what ${who}: an operator has to fail over by hand`,
      [{ do: 'ask-peers', waitFor: namesOf(view, cluster) }],
      millis(1_000),
    );
  const { optime } = cluster.status;
  if (optime !== null && optime > position(local)) return lacks(`it had published, up to ${printLsn(optime)}`);
  const names = namesOf(view, cluster);
  const further = names.find((name) => {
    const said = kinAnswer(view, name);
    return said !== null && isFurther(said, local);
  });
  if (further !== undefined) return lacks(`${further} has`);
  return (
    stillVetoed(view) ??
    beforeTaking(view, names.length + 1, names.filter((name) => statusOf(view, name) !== null).length + 1) ??
    take(view, cluster, 'leaderless.acquire', `${self} led last, in maintenance, and nobody has led since`, {
      despitePause: true,
    })
  );
}

/** A standby that streams, and from none of those who have a member key: perhaps from a primary without its daemon. */
export function receivesFromStranger({ members }: ClusterView, local: View['local']): boolean {
  if (local.kind !== 'standby' || local.receiver?.streaming !== true) return false;
  const { from } = local.receiver;
  return !members.some(({ host, port, role }) => `${host}:${port}` === from && role !== 'primary');
}

export function heardLately(view: View, name: NodeName): boolean {
  const answer = view.peers.get(name);
  return answer !== undefined && between(answer.at, view.now) <= FRESH_MS;
}

export function statusOf(view: View, name: NodeName): PeerStatus | null {
  const answer = view.peers.get(name);
  return answer?.kind === 'answered' && heardLately(view, name) ? answer.status : null;
}

/** @param neverLed where nobody has led, one that runs without a window is one that is just being taken in */
function saysPrimary(view: View, name: NodeName, neverLed: boolean): boolean {
  const status = statusOf(view, name);
  if (status === null) return false;
  return status.writable || (neverLed && status.state === 'running' && !status.inRecovery);
}

const behindPrimary = (why: string, waitFor: readonly NodeName[]): Decision =>
  decision('leaderless.primary-alive', why, [{ do: 'ask-peers', waitFor }], millis(500));

export const runsAsPrimary = (status: PeerStatus | null): boolean =>
  status?.pgha === true && !status.witness && status.state === 'running' && !status.inRecovery;

/**
 * `primary_visibility_consensus`: whoever saw the last leader's Postgres alive within two monitor intervals is positive
 * evidence against the gate's arithmetic. Bounded, because one with a half-open view would block for ever.
 */
function heldByConsensus(
  view: View,
  others: readonly NodeName[],
  lost: NodeName | null,
  since: Instant,
): Decision | null {
  const { primaryVisibilityConsensus, ttl, loopWait } = view.policy.cluster;
  // Whether we write ourselves is not for others to say.
  if (!primaryVisibilityConsensus || lost === null || lost === view.self) return null;
  // A ping, and a receiver, see a server; that it is a primary they do not see.
  if (isPrimaryNoMore(view, lost)) return null;
  const seen = sightings(view, others, lost).filter(({ age }) => age < 2 * loopWait);
  const left = ttl - between(since, view.now);
  if (seen.length === 0 || left <= 0) return null;
  return decision(
    'leaderless.seen-by-others',
    `${describeSightings(lost, seen)}: no election while that is so, for up to ${Math.ceil(left)} ms more`,
    [{ do: 'ask-peers', waitFor: seen.map(({ by }) => by).filter((by) => by !== view.self) }],
    millis(Math.max(1, Math.min(250, left))),
  );
}

/** By its own word: its Postgres is a standby by now, or down. */
function isPrimaryNoMore(view: View, name: NodeName): boolean {
  const said = lastAnswer(view, name)?.status;
  return said !== undefined && !said.writable && (said.inRecovery || said.state !== 'running');
}

export interface Sighting {
  readonly by: NodeName;
  readonly age: Millis;
}

/** Who saw Postgres of `primary` alive, and how long ago that is now; youngest first. */
export function sightings(view: View, others: readonly NodeName[], primary: NodeName): readonly Sighting[] {
  const found: Sighting[] = [];
  if (view.sawPrimary !== null && primary !== view.self) found.push({ by: view.self, age: view.sawPrimary });
  for (const by of others) {
    const answer = lastAnswer(view, by);
    if (answer === null || answer.status.sawPrimary === null || answer.status.sawPrimaryOf !== primary) continue;
    found.push({ by, age: millis(answer.status.sawPrimary + between(answer.at, view.now)) });
  }
  return found.sort((a, b) => a.age - b.age);
}

/** `b saw a 120 ms ago, c 900 ms ago` */
export function describeSightings(primary: NodeName, seen: readonly Sighting[]): string {
  return seen
    .map(({ by, age }, i) =>
      i === 0 ? `${by} saw ${primary} ${Math.round(age)} ms ago` : `${by} ${Math.round(age)} ms ago`,
    )
    .join(', ');
}

/** Two sites that lost each other: the one without the leader cannot know whether he is gone, or only out of sight. */
function heldByLocation(view: View, others: readonly NodeName[], since: Instant): Decision | null {
  const { locationPolicy, ttl } = view.policy.cluster;
  const theirs = view.lastLeaderLocation;
  const ours = view.policy.node.location;
  if (locationPolicy === 'off' || theirs === null || theirs === ours) return null;
  if (others.some((name) => lastAnswer(view, name)?.status.location === theirs)) return null;
  const left = ttl - between(since, view.now);
  if (locationPolicy === 'prefer' && left <= 0) return null;
  const until = locationPolicy === 'prefer' ? `for up to ${Math.ceil(left)} ms more` : 'until one of them can be seen';
  return decision(
    'leaderless.location',
    `the last leader is in ${theirs}, ${view.self} in ${ours}, and nobody in ${theirs} answers: no election here ${until} (location_policy ${locationPolicy})`,
    // Everybody is waited for: when the first of them is seen again, the others must have had their chance.
    [{ do: 'ask-peers', waitFor: others }],
    millis(locationPolicy === 'prefer' ? Math.max(1, Math.min(500, left)) : 500),
  );
}

/**
 * Somebody whose Postgres is down or starting may hold more than all standbys: a primary that was fenced and is back, or
 * any node after all of them went down. It comes up as a standby first, and then its position counts: when it has more
 * than we, it goes first, for which it may have to wait at its gate, or we receive it from there. Bounded, because it may
 * never come up, or not be allowed to lead.
 */
function heldByReturning(view: View, local: Standby, others: readonly NodeName[]): Decision | null {
  const { ttl } = view.policy.cluster;
  const coming: { readonly what: string; readonly name: NodeName; readonly left: number }[] = [];
  for (const name of others) {
    const said = kinAnswer(view, name);
    const since = view.returningSince.get(name);
    if (said === null || since === undefined) continue;
    const left = ttl - between(since, view.now);
    if (left <= 0) continue;
    if (isReturning(said))
      coming.push({ what: `Postgres of ${name} (${said.state}) may hold more and is coming up`, name, left });
    else if (isFurther(said, local)) coming.push({ what: `${name} is back and has more`, name, left });
  }
  if (coming.length === 0) return null;
  const left = Math.max(...coming.map((one) => one.left));
  return decision(
    'leaderless.wait-for-returning',
    `${coming.map(({ what }) => what).join(', ')}: wait for up to ${Math.ceil(left)} ms more`,
    [{ do: 'ask-peers', waitFor: coming.map(({ name }) => name) }],
    millis(150),
  );
}

function isFurther({ timeline, position: at }: Pick<PeerStatus, 'timeline' | 'position'>, local: Standby): boolean {
  if (timeline === null || at === null) return false;
  return timeline === local.timeline ? at > position(local) : timeline > local.timeline;
}

/** `standby_disconnect_on_failover`: positions that still grow cannot be compared. */
function heldByReceivers(
  view: View,
  cluster: ClusterView,
  local: Standby,
  others: readonly NodeName[],
  since: Instant,
): Decision | null {
  const { standbyDisconnectOnFailover, siblingNodesDisconnectTimeout, maximumLagOnFailoverBytes } = view.policy.cluster;
  const left = siblingNodesDisconnectTimeout - between(since, view.now);
  if (!standbyDisconnectOnFailover || left <= 0) return null;
  const end = endReceiver(local);
  if (end !== null) return end;
  const known = cluster.status?.optime ?? null;
  // One that lags too far to lead goes on receiving, as it may yet catch up; it would be waited for in vain.
  const counts = (at: Lsn | null): boolean =>
    known === null || at === null || distance(at, known) <= maximumLagOnFailoverBytes;
  const receiving = others.filter((name) => {
    const said = kinAnswer(view, name);
    // Without etcd, which is where its key has gone, nobody wins, and nobody ends his receiver for an election.
    const canWin = cluster.members.some((member) => member.name === name);
    return canWin && said?.receiving === true && counts(said.position);
  });
  if (receiving.length === 0) return null;
  return decision(
    'leaderless.wait-for-receivers',
    `${receiving.join(', ')} still receive${receiving.length === 1 ? 's' : ''}: wait for up to ${Math.ceil(left)} ms more`,
    [{ do: 'ask-peers', waitFor: receiving }],
    millis(100),
  );
}

/**
 * The last leader's record says where his WAL ends, and the one to whom it was brought may not go (a veto). Who lacks some
 * of it waits for the stream as long as somebody is there who has it; bounded, because it may never come.
 */
function heldByRecord(view: View, local: Standby, others: readonly NodeName[], since: Instant): Decision | null {
  const end = view.gate?.beat?.release?.lsn ?? null;
  const left = view.policy.cluster.ttl - between(since, view.now);
  if (end === null || position(local) >= end || left <= 0) return null;
  const has = others.find((name) => (kinAnswer(view, name)?.position ?? end - 1n) >= end);
  if (has === undefined) return null;
  return decision(
    'leaderless.stand-back',
    `${has} has all WAL up to ${printLsn(end)}, of which we lack ${distance(position(local), end)} bytes: wait for it for up to ${Math.ceil(left)} ms more`,
    [{ do: 'ask-peers', waitFor: [has] }],
    millis(100),
  );
}

/** null: none runs, and none will. */
function endReceiver(local: Standby): Decision | null {
  // Before 13 a change of primary_conninfo needs a restart, and a standby that restarts is no candidate for seconds.
  if (local.version >= 130_000 && (local.receiver !== null || local.follows !== null)) {
    return decision(
      'leaderless.stop-receiving',
      `end our receiver at ${printLsn(position(local))}, before positions are compared`,
      [{ do: 'stop-receiving' }],
    );
  }
  return null;
}

export function take(
  view: View,
  cluster: ClusterView,
  rule: 'leaderless.acquire' | 'leaderless.chosen',
  reason: string,
  how: { readonly adopting?: true; readonly despitePause?: true } = {},
): Decision {
  const trouble = unwatched(view);
  if (trouble !== null) return decision('leaderless.not-eligible', trouble, [], millis(1_000));
  if (!isListed(cluster.failsafe, view.self)) return notListed(view, cluster);
  const status: Revision = view.gate?.revision ?? (0n as Revision);
  const standing = cluster.leader === null ? null : cluster.leader.term;
  const late =
    standing === null ? '' : `; the key of ${cluster.leader?.name ?? ''} still stands, but its window has closed`;
  const { adopting = false, ...more } = how;
  const sync = syncChange(view, cluster);
  return decision(
    rule,
    reason + late,
    [{ do: 'acquire', status, standing, adopting, ...(sync === null ? {} : { sync }), ...more }],
    millis(200),
  );
}

/** What the `sync` key says once this node has the leader key. */
function syncChange(view: View, cluster: ClusterView): SyncChange | null {
  const { sync } = cluster;
  const wanted = view.policy.cluster.synchronous.mode !== 'off';
  if (!wanted && sync === null) return null;
  const revision = sync?.revision ?? ABSENT;
  if (!wanted) return { revision, key: null };
  // Whoever answers for lost commits begins anew: what the voters have may be another line.
  const forced = byHand(view, cluster)?.candidate === view.self && byHand(view, cluster)?.forced === true;
  return { revision, key: keyOfTaker(forced ? null : (sync?.key ?? null), view.self) };
}

function notListed(view: View, cluster: ClusterView): Decision {
  const listed = [...(cluster.failsafe?.members.keys() ?? [])].join(', ');
  return decision(
    'leaderless.not-listed',
    `${view.self} does not stand in the failsafe list (${listed}): the next leader among them adds it; an operator can delete the key`,
    [],
    millis(1_000),
  );
}

export function waitAtTheGate(view: View): Decision {
  const opensAt = view.gate?.opensAt ?? 'never';
  if (opensAt === 'never') {
    return decision(
      'leaderless.at-the-gate',
      'the last leader went in maintenance, without saying for how long it may write: an operator has to resume or to fail over by hand',
    );
  }
  const left = between(view.now, opensAt);
  if (view.confirmed !== null && view.confirmed.until >= opensAt) {
    return decision(
      'leaderless.at-the-gate',
      `${view.confirmed.to} goes on without etcd, and ${view.self} has agreed to wait for up to ${Math.ceil(left)} ms more`,
      [],
      millis(Math.max(1, left)),
    );
  }
  const unknown = notTold(view);
  if (unknown !== null && view.dcs.kind === 'read') {
    const why = `${unknown.why} may be writing for up to ${Math.ceil(left)} ms more`;
    // Asking must not take us past the gate, nor wait for the one who is gone.
    if (left < ASKING_MS) return decision('leaderless.at-the-gate', why, [], millis(Math.max(1, left)));
    const { cluster } = view.dcs;
    const lost = cluster.leader?.name ?? view.lastLeader;
    const names = namesOf(view, cluster);
    const waitFor = names.filter((name) => name !== lost);
    const isDue = names.some((name) => between(view.peers.get(name)?.at ?? LONG_AGO, view.now) >= unknown.askEvery);
    return decision(
      'leaderless.at-the-gate',
      why,
      isDue ? [{ do: 'ask-peers', waitFor }] : [],
      millis(Math.min(left, 250)),
    );
  }
  return decision(
    'leaderless.at-the-gate',
    `the last leader may still be writing for up to ${Math.ceil(left)} ms: nobody promotes before that`,
    [],
    millis(Math.max(1, left)),
  );
}

/** Of what etcd does not tell here the others are asked, while they are there: what they have read may end or prolong the wait. */
function notTold({ gate }: View): { readonly why: string; readonly askEvery: number } | null {
  if (gate?.doubt !== undefined) {
    const why = `${gate.doubt.why}; should etcd have been restored meanwhile, whoever was elected before that`;
    return { why, askEvery: 0 };
  }
  const isLost = gate?.lostUntil !== undefined;
  return isLost ? { why: 'etcd was replaced; whoever led before', askEvery: 1_000 } : null;
}

/** What passes by itself when a standby comes up. null: it is up. */
function notUp(view: View, local: Standby): string | null {
  if (!local.positionFinal)
    return `${view.self} still replays WAL that it had before its start; its position is not known yet`;
  return local.failing === null ? null : `the health check of Postgres fails here: ${local.failing.said}`;
}

/**
 * Why this standby may not become leader now; null: it may.
 *
 * @param forced - an operator answers for what it lacks
 */
function whyNot(view: View, cluster: ClusterView, local: Standby, forced: boolean): string | null {
  const { node, cluster: policy } = view.policy;
  if (node.noFailover) return `${view.self} is tagged nofailover`;
  if (node.priority <= 0) return `${view.self} has priority 0`;
  const trouble = unwatched(view);
  if (trouble !== null) return trouble;
  const notYet = notUp(view, local);
  if (notYet !== null) return notYet;
  const disk = view.ailments.find(({ sickness }) => cannotWrite(sickness.kind));
  if (disk !== undefined) return `nothing can be written here: ${describeSickness(disk.sickness)}`;
  const unproven = view.attempts.get('prove');
  if (unproven !== undefined) {
    const out = Math.min(WITHOUT_WINDOW_LONGEST_MS, WITHOUT_WINDOW_MS * 2 ** (unproven.failures - 1));
    const left = out - between(unproven.lastFailedAt, view.now);
    if (left > 0)
      return `${view.self} had the key and could not lead (${unproven.said}): it stays out for another ${Math.ceil(left / 1000)} s`;
  }
  const refused = view.attempts.get('pre-promote');
  const refusedFor = refused === undefined ? 0 : policy.ttl - between(refused.lastFailedAt, view.now);
  if (refusedFor > 0)
    return `pre_promote said no here (${refused?.said ?? ''}): ${view.self} stays out for another ${Math.ceil(refusedFor / 1000)} s`;
  const failed = view.attempts.get('promote');
  const again = failed === undefined || failed.failures < PROMOTIONS ? null : backingOff(view, 'promote', policy.ttl);
  if (again !== null) return `${view.self} had the key and was not promoted: ${again.reason}`;
  // Its line and its positions are the other cluster's, which has them all.
  if (followsAnother(view, cluster) || forced) return null;
  const beyond = timelineBeyond(cluster, local.timeline);
  if (beyond !== null)
    return `${view.self} is on timeline ${local.timeline}, the cluster has been on ${beyond.timeline}`;
  const known = view.gate?.beat?.release?.lsn ?? cluster.status?.optime ?? null;
  if (known !== null) {
    const behind = distance(position(local), known);
    if (behind > policy.maximumLagOnFailoverBytes) {
      return `${view.self} is ${behind} bytes behind ${printLsn(known)}; maximum_lag_on_failover allows ${policy.maximumLagOnFailoverBytes}`;
    }
    if (behind > 0n && policy.maximumLagOnFailoverTime > 0) return tooOld(view, local, policy.maximumLagOnFailoverTime);
  }
  return null;
}

/** `maximum_lag_seconds_on_failover`: why this standby's data are too old; null: they are not. */
function tooOld(view: View, local: Standby, limit: Millis): string | null {
  const age = behindInTime(view.publications, position(local));
  if (age !== null && age <= limit) return null;
  const old = age === null ? 'are older than this node has listened to the leader' : `are ${age / 1000} s old`;
  return `the data of ${view.self} ${old}; maximum_lag_seconds_on_failover allows ${limit / 1000}`;
}

const followsAnother = (view: View, cluster: ClusterView): boolean => standbySource(view.policy, cluster) !== null;

function ownContender(view: View, local: Standby): Contender {
  return {
    name: view.self,
    timeline: local.timeline,
    position: position(local),
    priority: view.policy.node.priority,
    nodeId: view.policy.node.nodeId,
    location: view.policy.node.location,
    ailing: view.ailments.some(({ sickness }) => hinders(sickness.kind)),
  };
}

/** Members who answered lately and may lead. Who does not answer cannot win either. */
export function contenders(view: View, names: readonly NodeName[]): readonly Contender[] {
  const found: Contender[] = [];
  for (const name of names) {
    const answer = view.peers.get(name);
    if (answer?.kind !== 'answered' || between(answer.at, view.now) > FRESH_MS) continue;
    const one = isForeign(view, answer.status) ? null : contender(answer.status);
    if (one !== null) found.push(one);
  }
  return found.sort((a, b) => compareContenders(a, b));
}

export function askedSince(view: View, name: NodeName, since: Instant): boolean {
  const answer = view.peers.get(name);
  return answer !== undefined && answer.at >= since && between(answer.at, view.now) <= FRESH_MS;
}
