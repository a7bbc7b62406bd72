/**
 * Nobody's window can be open, or soon will not be: who takes the key? Behind the gate everybody is asked for his
 * position, the best candidate takes the key in one transaction, and the others stand back in order of rank, so that
 * two do not collide and the next one goes when the first fails.
 */

import { type Contender, describeRanking, rank } from '../candidate.ts';
import { adoptable } from '../classify.ts';
import { type ClusterView, type FailoverRequest, timelineBeyond } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { waitAtTheGate } from '../election/at-the-gate.ts';
import {
  askedSince,
  contenders,
  kinAnswer,
  lastAnswer,
  mayBeValidating,
  namesOf,
  STAND_BACK_MS,
  saysNo,
  saysPrimary,
  statusOf,
} from '../election/heard.ts';
import {
  endReceiver,
  heldByConsensus,
  heldByLocation,
  heldByReceivers,
  heldByRecord,
  heldByReturning,
  isFurther,
} from '../election/held-back.ts';
import { askOfLastPrimary, lastPrimaryAlive, primaryAlive, seenOfLastPrimary } from '../election/last-primary.ts';
import {
  byHand,
  followsAnother,
  heldBySync,
  isCounted,
  isMember,
  mayHaveAll,
  receiversHaveTo,
} from '../election/voting.ts';
import { isListed } from '../failsafe.ts';
import { gateOpen } from '../gate.ts';
import type { SyncChange } from '../leadership.ts';
import { position, type Standby } from '../local.ts';
import { distance, printLsn, type Timeline } from '../lsn.ts';
import { behindInTime } from '../published.ts';
import { keyOfTaker } from '../quorum.ts';
import type { RuleId } from '../rules.ts';
import { cannotWrite, describeSickness, hinders } from '../sickness.ts';
import { ABSENT, type NodeName, type Revision } from '../store.ts';
import { between, type Instant, LONG_AGO, laterBy, latest, type Millis, millis } from '../time.ts';
import { unwatched, type View } from '../view.ts';
import { backingOff } from './backing-off.ts';

/** What failover_validation_command has agreed to has to be done within this. */
const VALID_MS = 10_000;

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

/**
 * The operator answers for whoever went in maintenance, and not for one who has led since with an end to his word: in an
 * etcd that was restored the wish may come from the backup, and be older than that one.
 */
function isVouchedFor(gate: View['gate'], { revision }: FailoverRequest, now: Instant): boolean {
  return gate?.opensAt === 'never' && revision > gate.revision && (gate.lostUntil ?? LONG_AGO) <= now;
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
  if (request?.candidate === view.self && isVouchedFor(view.gate, request, view.now)) {
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

const behindPrimary = (why: string, waitFor: readonly NodeName[]): Decision =>
  decision('leaderless.primary-alive', why, [{ do: 'ask-peers', waitFor }], millis(500));

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
