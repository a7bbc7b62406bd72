/** The leader key is ours: promote, keep, repair, or hand over. */
import type { Action } from '../action.ts';
import { type Contender, describeRanking, rank } from '../candidate.ts';
import { foreignData, type Holding, wanted } from '../classify.ts';
import type { ClusterView } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { contenders, describeSightings, sightings } from '../election/heard.ts';
import { compared, isMember } from '../election/voting.ts';
import { roomToBegin } from '../lease.ts';
import type { Stopped } from '../local.ts';
import { distance, type Lsn, printLsn } from '../lsn.ts';
import { standing, type Vote } from '../quorum.ts';
import { standbySource } from '../standby-cluster.ts';
import type { NodeName } from '../store.ts';
import { between, type Instant, laterBy, millis } from '../time.ts';
import type { Attempts, View } from '../view.ts';
import { treat, triedToHandOver } from './ailing.ts';
import { backingOff } from './backing-off.ts';
import { PROMOTIONS } from './leaderless.ts';
import { leadStandbys } from './leading-standbys.ts';
import { restartAsScheduled } from './restarting.ts';

/** After so many failed starts Postgres does not come up here. */
const STARTS = 3;
/** The same where others cannot be asked: after a quarter of a minute the keys of those who are gone have mostly run out. */
const STARTS_UNHEARD = 5;
/** After so many searches in vain the end of the local WAL counts as unknown. */
const SEARCHES = 3;
/** Answers of candidates older than this are asked for again. */
const ASK_AGAIN_MS = 2_000;
/** A data directory that cannot be used for so long, with Postgres down, ends the leadership. */
const UNUSABLE_MS = 5_000;
/** A primary younger than this may still be opening its doors. */
const JUST_STARTED_MS = 3_000;
/** A key under which no window opens within so long, although beats land, is given up: the guard comes back in much less. */
const NO_WINDOW_MS = 5_000;
/** A proof wakes the cycle by itself; this is for when none comes, which may last as long as etcd is away. */
const WINDOW_AGAIN = millis(50);
const JUST_PASSED_MS = 500;
/** With `wal_rescue: wait`, after the first round; each further one waits twice as long, up to the second of these. */
const RESCUE_AGAIN = 1_000;
const RESCUE_AGAIN_AT_MOST = 10_000;
/** A standby that is still starting when it has won gets so long before it gives the key back. */
const STANDBY_START_MS = 10_000;

export function lead(view: View, holding: Holding, cluster: ClusterView): Decision {
  const { local } = view;
  const source = standbySource(view.policy, cluster);
  if (source !== null) return leadStandbys(view, holding, cluster, source);
  switch (local.kind) {
    case 'primary':
      return local.failing === null
        ? (treat(view, holding, cluster) ?? asPrimary(view, holding))
        : unwell(view, local.failing.said, local.failing.check !== 'disk');
    case 'standby':
      // One that does not answer is not promoted: it may be out of recovery already, and hang.
      if (local.failing !== null) return unwell(view, local.failing.said);
      return beforePromotion(view, holding);
    case 'stopped':
      return stopped(view, holding, cluster);
    case 'starting':
      return starting(view, holding, local.asPrimary);
    case 'silent':
      return unwell(view, local.said);
    case 'stopping':
      return stopping(view);
    case 'absent':
    case 'half-made':
      return giveUp(view, `the data directory is ${local.kind}`);
    case 'unusable':
      return local.runs === true || between(view.localSince, view.now) < UNUSABLE_MS
        ? decision('node.unusable', local.sentence, [], millis(500))
        : giveUp(view, local.sentence);
    case 'orphans':
      return decision('node.busy', `Postgres is ${local.kind}`);
    default:
      return ((never: never) => never)(local);
  }
}

function asPrimary(view: View, holding: Holding): Decision {
  if (holding.provenBy === 'members') {
    const names = view.dcs.kind === 'read' ? [...(view.dcs.cluster.failsafe?.members.keys() ?? [])] : [];
    const confirming = names.filter((name) => name !== view.self).join(', ');
    return decision(
      'leading.by-confirmation',
      `etcd does not prove this leadership; ${confirming === '' ? 'nobody else stands in the failsafe list' : `confirmed by ${confirming}`}; Postgres accepts writes`,
    );
  }
  const restart = mayBegin(view, holding) ? restartAsScheduled(view) : null;
  return restart ?? decision('leading.primary', `leading in term ${holding.term}; Postgres accepts writes`);
}

/** The window is open, and not about to close: somebody has to have proven lately that this node still leads. */
function mayBegin(view: View, holding: Holding): boolean {
  return holding.windowOpen && roomToBegin(holding.deadline, holding.ttl, view.now);
}

function stopped(view: View, holding: Holding, cluster: ClusterView): Decision {
  // Replaced while this node was down: what leads has to be this scope's cluster, and where these data end says nothing.
  const foreign = foreignData(view, cluster);
  if (foreign !== null) return giveUp({ ...view, endOfWal: null }, foreign);
  return promotionFailed(view, holding) === null
    ? handOver(view, holding, cluster)
    : giveUp(view, 'the promotion failed here', 'leading.promotion-failed');
}

function promotionFailed(view: View, holding: Holding): Attempts | null {
  const failed = view.attempts.get('promote');
  return failed !== undefined && failed.failures >= PROMOTIONS && failed.lastFailedAt >= holding.since ? failed : null;
}

/**
 * A promotion that failed, was cancelled, or was begun by a daemon that has died may still be under way: whatever the key
 * is given up for, it goes only once Postgres is down.
 * The operator who hands over in maintenance gets this node back as a standby.
 */
export function afterPromotion(view: View, wanted: Decision): Decision {
  const { leadership, local, policy } = view;
  if (leadership.kind !== 'holding' || local.kind !== 'standby' || !view.promotionSent) return wanted;
  if (!wanted.actions.some(({ do: does }) => does === 'release')) return wanted;
  const why = `${wanted.reason}; Postgres was told to promote and may still do so: it is stopped before the key goes`;
  return decision('leading.promotion-failed', why, [
    policy.cluster.pause ? { do: 'stop-in-order', handsOver: true } : { do: 'stop-immediately' },
  ]);
}

/**
 * Our beats go through and our proofs do not: they would keep everybody else from leading for ever. Only for a while, for
 * a guard that died is back in no time. While etcd is silent nothing is kept from anybody: the hold of the last beat runs
 * out by itself.
 *
 * @returns what keeps the window closed; null: it is not for long, or there is nobody else to lead
 */
function noWindow(view: View, { windowOpen, unopenedSince }: Holding): string | null {
  if (windowOpen || unopenedSince === null || others(view).length === 0) return null;
  if (between(unopenedSince, view.now) <= NO_WINDOW_MS) return null;
  return view.guardAcks ? 'no proof of leadership holds here' : 'the guard does not acknowledge';
}

/** As a standby that has the key. */
export function beforePromotion(view: View, holding: Holding): Decision {
  const why = noWindow(view, holding);
  if (why !== null) return giveUp(view, why, 'leading.no-window');
  const refused = view.attempts.get('pre-promote');
  if (refused !== undefined && refused.lastFailedAt >= holding.since)
    return giveUp(view, `pre_promote says no: ${refused.said}`, 'leading.promotion-failed');
  if (!mayBegin(view, holding)) {
    const gate = between(view.now, holding.gate);
    return decision(
      'leading.waiting-for-window',
      gate > 0
        ? `the key is ours; the gate is ${Math.ceil(gate)} ms away`
        : `the key is ours; ${view.guardAcks ? 'the proof is under way' : 'the guard does not acknowledge'}`,
      [],
      gate > -JUST_PASSED_MS ? millis(Math.max(5, Math.min(200, gate))) : WINDOW_AGAIN,
    );
  }
  const failed = promotionFailed(view, holding);
  if (failed !== null) {
    // It may still be under way: the key goes only once Postgres is down.
    return decision('leading.promotion-failed', `the promotion failed ${failed.failures} times: ${failed.said}`, [
      { do: 'stop-immediately' },
    ]);
  }
  return decision(
    'leading.promote',
    `the window is open and guarded until ${Math.floor(between(view.now, holding.deadline))} ms from now`,
    [{ do: 'promote' }],
  );
}

function starting(view: View, holding: Holding, asPrimary: boolean): Decision {
  const took = between(view.localSince, view.now);
  if (!asPrimary) {
    return took > STANDBY_START_MS && between(holding.since, view.now) > STANDBY_START_MS
      ? giveUp(view, 'Postgres does not come up as a standby')
      : decision('leading.waiting-for-window', 'Postgres is starting as a standby', [], millis(100));
  }
  const limit = view.policy.cluster.primaryStartTimeout;
  if (took > limit && !isAsked(view, view.localSince)) {
    return decision(
      'leading.ask-candidates',
      `Postgres did not start within ${limit / 1000} s: ask who can take over`,
      [{ do: 'ask-peers', waitFor: others(view) }],
    );
  }
  if (took > limit && contenders(view, others(view)).length > 0) {
    return decision(
      'leading.start-failed',
      `Postgres did not start within ${limit / 1000} s, and others can take over`,
      [{ do: 'stop-immediately' }],
    );
  }
  return decision(
    'leading.starting',
    `Postgres has been starting for ${Math.round(took)} ms, of ${limit / 1000} s at most`,
    [],
    millis(50),
  );
}

/** Somebody else has asked it to stop: an archiver or a hanging disk must not keep the key for ever. */
function stopping(view: View): Decision {
  const took = between(view.localSince, view.now);
  const limit = view.policy.cluster.primaryStopTimeout;
  return took < limit
    ? decision('leading.starting', 'Postgres is stopping', [], millis(Math.max(1, Math.min(100, limit - took))))
    : decision('leading.give-up-silent', `Postgres has been stopping for ${Math.round(took)} ms: it is ended`, [
        { do: 'stop-immediately' },
      ]);
}

/**
 * The process is there and the check fails: suspicion, not certainty.
 *
 * @param mayBeLocal - others may see it well: not when it is known that nothing can be written
 */
function unwell(view: View, said: string, mayBeLocal = true): Decision {
  const { reconnectAttempts, reconnectInterval, primaryVisibilityConsensus, loopWait } = view.policy.cluster;
  const count = view.failing?.count ?? 1;
  if (count <= reconnectAttempts) {
    return decision(
      'leading.check-failed',
      `check ${count} of ${reconnectAttempts + 1} failed: ${said}; again in ${reconnectInterval / 1000} s`,
      [],
      // One that has only just come up answers in a moment; checks closer together than the interval count as one.
      between(view.localSince, view.now) < JUST_STARTED_MS ? millis(100) : reconnectInterval,
    );
  }
  // Bounded, because one with a half-open view would keep a dead primary for ever; and because a server that hangs on
  // its disk goes on talking to its standbys.
  const vetoLeft = between(view.now, laterBy(givesUpAt(view), view.policy.cluster.ttl));
  if (primaryVisibilityConsensus && mayBeLocal && vetoLeft > 0) {
    const recent = millis(2 * loopWait);
    if (!isAsked(view, view.failing?.since ?? view.now)) {
      return decision(
        'leading.ask-candidates',
        'the check failed for too long: ask the others when they last saw this primary',
        [{ do: 'ask-peers', waitFor: others(view) }],
      );
    }
    const seen = sightings(view, others(view), view.self).filter(({ age }) => age < recent);
    if (seen.length > 0) {
      return decision(
        'leading.seen-by-others',
        `${describeSightings(view.self, seen)}: a local trouble, for up to ${Math.ceil(vetoLeft)} ms more; ${said}`,
        [{ do: 'ask-peers', waitFor: others(view) }],
        millis(Math.max(1, Math.min(reconnectInterval, 1_000, vetoLeft))),
      );
    }
  }
  return decision('leading.give-up-silent', `${count} checks failed one after the other, last: ${said}`, [
    { do: 'stop-immediately' },
  ]);
}

/**
 * Postgres is down and the key is ours: after a crash, in a switchover, or because the service leaves. Who has all of
 * our WAL takes over at once; otherwise the missing tail is brought there first; otherwise Postgres comes back here.
 */
export function handOver(view: View, holding: Holding, cluster: ClusterView): Decision {
  const { local, policy } = view;
  if (local.kind !== 'stopped') return decision('node.busy', `Postgres is ${local.kind}`);
  if (holding.provenBy === 'members' && holding.windowOpen && !view.leaving) {
    return alone(view, holding, local, 'without etcd the key cannot be handed over');
  }
  const names = others(view);
  const requested = wanted(view, cluster);
  const wish = requested ? (cluster.failover?.candidate ?? null) : null;
  const cannotStart = (view.attempts.get('start')?.failures ?? 0) >= STARTS;
  const staysHere =
    policy.cluster.failover === 'manual'
      ? 'failover is manual'
      : policy.cluster.primaryCrash === 'restart' &&
          !cannotStart &&
          wish === null &&
          !view.leaving &&
          !triedToHandOver(view)
        ? 'primary_crash is restart'
        : null;
  if (names.length === 0) return alone(view, holding, local, 'there is no other member');
  if (staysHere !== null && !requested) return alone(view, holding, local, staysHere);

  const end = view.endOfWal;
  const search = view.attempts.get('find-end');
  if (end === null && search !== undefined && search.failures >= SEARCHES) {
    const why = `the end of the WAL here cannot be found: ${search.said}`;
    // Neither does it come up here: those who have more than the last published position may go on.
    return cannotStart ? giveUp(view, why) : alone(view, holding, local, why);
  }
  const asked = isAsked(view, view.localSince);
  const ask: Action = { do: 'ask-peers', waitFor: names };
  if (end === null) {
    return decision(
      'leading.find-end',
      `Postgres is down; find the end of its WAL${asked ? '' : `, and ask ${names.join(', ')} how far they are`}`,
      asked ? [{ do: 'find-end-of-wal' }] : [{ do: 'find-end-of-wal' }, ask],
    );
  }
  if (!asked) {
    return decision(
      'leading.ask-candidates',
      `Postgres is down; the WAL ends at ${printLsn(end)}; ask ${names.join(', ')} how far they are`,
      [ask],
    );
  }
  const preferred = policy.cluster.locationPolicy === 'prefer' ? policy.node.location : null;
  const ranking = rank(
    contenders(view, names).filter((c) => c.timeline === local.timeline),
    preferred,
  );
  // Whoever has everything may take over; those whom the operator has chosen to be synchronous go first.
  const complete = ranking.find((c) => c.position >= end && isMember(view, cluster, c.name));
  // Whoever was asked for, and could not be given the rest, does not keep one from taking over who has it.
  const wished = ranking.find(
    (c) => c.name === wish && (c.position >= end || view.rescue?.failed.has(c.name) !== true),
  );
  const best = wished ?? complete ?? ranking[0];
  if (best === undefined) {
    const why = names.map((name) => whyNoCandidate(view, name)).join('; ');
    // Who does not answer here, and has a key that lives, may well be there for the others.
    const unheard = names.some((name) => view.peers.get(name)?.kind !== 'answered');
    if ((view.attempts.get('start')?.failures ?? 0) >= STARTS_UNHEARD && unheard && !policy.cluster.pause)
      return giveUp(view, `Postgres does not start here; ${why}`);
    return alone(view, holding, local, why === '' ? 'nobody is on our timeline' : why);
  }
  if (policy.cluster.pause && best.name !== wish)
    return alone(view, holding, local, `${wish ?? 'nobody'} cannot take over, and in maintenance nobody else does`);
  if (best.position >= end) {
    return decision(
      'leading.hand-over',
      `${best.name} has all WAL up to ${printLsn(end)}; ranking: ${describeRanking(ranking)}`,
      [{ do: 'release', lsn: end, candidate: best.name, lost: null }],
    );
  }
  const missing = distance(best.position, end);
  const rescued = rescueFirst(view, [best, ...ranking.filter((one) => one !== best)], end);
  if (rescued !== null) return rescued;
  const { walRescue, primaryCrash } = policy.cluster;
  const loses = walRescue === 'lose' || (walRescue === 'auto' && primaryCrash === 'failover');
  if ((loses || cannotStart) && !view.leaving) {
    // One that is further may be none that commits wait for: it may lack some all the same, and never leads.
    const next = [best, ...ranking].find(
      (one) =>
        distance(one.position, end) <= policy.cluster.maximumLagOnFailoverBytes &&
        hasEveryCommit(view, cluster, local, one),
    );
    if (next !== undefined) {
      return decision(
        'leading.hand-over-with-loss',
        `the last ${distance(next.position, end)} bytes, from ${printLsn(next.position)} to ${printLsn(end)}, cannot be brought to ${next.name}`,
        [{ do: 'release', lsn: end, candidate: next.name, lost: { from: next.position, to: end } }],
      );
    }
  }
  return alone(view, holding, local, `${best.name} lacks ${missing} bytes and they cannot be brought there`);
}

/**
 * The missing end of our WAL is brought to the best candidate, and when that fails (he dies, the link is cut, his disk is
 * full) to the next one, all within one bound. While there is another one, a try gets half of what is left of it: one
 * that hangs must not use up the time of all.
 *
 * @returns null: the bound has passed, or nobody is left to bring it to
 */
function rescueFirst(view: View, candidates: readonly Contender[], end: Lsn): Decision | null {
  const { walRescue, walRescueTimeout } = view.policy.cluster;
  // Patroni's members know no rescue.
  const able = candidates.filter(({ name }) => {
    const answer = view.peers.get(name);
    return answer?.kind === 'answered' && answer.status.pgha;
  });
  const tries = view.rescue;
  const left = tries === null ? walRescueTimeout : between(view.now, laterBy(tries.since, walRescueTimeout));
  const untried = able.filter(({ name }) => tries?.failed.has(name) !== true);
  const bring = (to: Contender, among: number, room: number, anew: boolean): Decision =>
    decision(
      'leading.rescue',
      `${to.name} lacks ${distance(to.position, end)} bytes up to ${printLsn(end)}: bring them there first`,
      [{ do: 'rescue', candidate: to.name, end, limit: millis(among > 1 ? room / 2 : room), anew }],
    );
  const [next] = untried;
  if (next !== undefined && left > 0) return bring(next, untried.length, left, tries === null);
  const [first] = able;
  if (walRescue !== 'wait' || view.leaving || first === undefined || tries === null) return null;
  const wait = Math.min(RESCUE_AGAIN * 2 ** tries.rounds, RESCUE_AGAIN_AT_MOST);
  const pause = between(view.now, laterBy(tries.endedAt, millis(wait)));
  if (pause <= 0) return bring(first, able.length, walRescueTimeout, true);
  return decision(
    'leading.rescue-awaited',
    `the end of the WAL could be brought to nobody yet (${able.map(({ name }) => name).join(', ')}); wal_rescue is wait: it is tried again`,
    [],
    millis(Math.max(1, pause)),
  );
}

/** Nothing that it lacks of our WAL was acknowledged, by what the voters of the `sync` key say. */
function hasEveryCommit(view: View, cluster: ClusterView, { systemId }: Stopped, best: Contender): boolean {
  const key = cluster.sync?.key ?? null;
  if (cluster.sync === null || (key === null && !cluster.sync.garbled)) return true;
  if (key === null || !isMember(view, cluster, best.name)) return false;
  const votes = key.voters
    .filter((name) => name !== best.name)
    .map((name): Vote => {
      const answer = view.peers.get(name);
      const fresh = answer?.kind === 'answered' && between(answer.at, view.now) <= ASK_AGAIN_MS;
      return {
        name,
        heard: fresh && answer.at >= view.localSince ? compared(answer.status, { ...best, systemId }) : null,
      };
    });
  return standing(key, best.name, votes).kind === 'may-win';
}

/** Nobody else can take over: come back here, or, when the service leaves, give the key up without a name. */
function alone(view: View, holding: Holding, local: Stopped, why: string): Decision {
  if (view.leaving) {
    const at = view.endOfWal ?? local.checkpoint;
    return decision('leading.hand-over', `the service leaves; ${why}: the key is given up without a candidate`, [
      { do: 'release', lsn: at, candidate: null, lost: null },
    ]);
  }
  // Whoever has stopped it in maintenance wants it to be down.
  if (view.policy.cluster.pause && !view.handedOver)
    return decision('switchover.refused', why, [{ do: 'drop-switchover-request', why }]);
  return comeBackHere(view, holding, local, why);
}

/** Postgres is started again where it was the primary. */
export function comeBackHere(view: View, holding: Holding, local: Stopped, why: string): Decision {
  const again = backingOff(view, 'start');
  if (again !== null) return { ...again, rule: 'leading.start-failed' };
  const closed = noWindow(view, holding);
  if (closed !== null) return giveUp(view, closed, 'leading.no-window');
  if (!mayBegin(view, holding)) {
    return decision(
      'leading.waiting-for-window',
      `${why}; Postgres is started here as soon as the window is open`,
      [],
      WINDOW_AGAIN,
    );
  }
  // What an operator asked for has come to nothing, or it would be tried again as soon as Postgres is back.
  const { dcs } = view;
  const drop: readonly Action[] =
    dcs.kind === 'read' && wanted(view, dcs.cluster) ? [{ do: 'drop-switchover-request', why }] : [];
  // Only what was a primary comes back as one. A standby that started without being promoted would go on writing a
  // timeline that another server has written (protocol.md 26).
  if (!local.wasPrimary || local.standbySignal) {
    return decision('leading.start-here', `${why}; it was a standby, and is started as one before it is promoted`, [
      { do: 'start-standby', upstream: null },
      ...drop,
    ]);
  }
  return decision('leading.start-here', why, [{ do: 'start-primary' }, ...drop]);
}

/** Everybody was asked since then, and not long ago. */
function isAsked(view: View, since: Instant): boolean {
  return others(view).every((name) => {
    const answer = view.peers.get(name);
    return answer !== undefined && answer.at >= since && between(answer.at, view.now) <= ASK_AGAIN_MS;
  });
}

function giveUp(
  view: View,
  why: string,
  rule: 'leading.cannot-lead' | 'leading.promotion-failed' | 'leading.no-window' = 'leading.cannot-lead',
): Decision {
  const at = view.endOfWal ?? (view.dcs.kind === 'read' ? view.dcs.cluster.status?.optime : null) ?? (0n as Lsn);
  return decision(rule, why, [{ do: 'release', lsn: at, candidate: null, lost: null }]);
}

function whyNoCandidate(view: View, name: NodeName): string {
  const answer = view.peers.get(name);
  if (answer === undefined || answer.kind === 'silent') return `${name} does not answer`;
  return `${name} is ${answer.status.state} on timeline ${answer.status.timeline ?? '?'}`;
}

export function others(view: View): readonly NodeName[] {
  if (view.dcs.kind === 'never-read') return [];
  return view.dcs.cluster.members.map((member) => member.name).filter((name) => name !== view.self);
}

/** When a check that goes on failing has cost the server its leadership; the veto of consensus comes on top. */
export function givesUpAt(view: View): Instant {
  const { reconnectAttempts, reconnectInterval } = view.policy.cluster;
  return laterBy(view.failing?.since ?? view.now, millis(reconnectAttempts * reconnectInterval));
}
