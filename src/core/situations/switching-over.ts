/** An operator asks this leader to hand over. Everything is checked before anything is stopped. */
import type { Action } from '../action.ts';
import { type Contender, describeRanking, rank, unfit } from '../candidate.ts';
import type { Holding } from '../classify.ts';
import type { ClusterView, FailoverRequest } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { contenders } from '../election/heard.ts';
import { isMember } from '../election/voting.ts';
import { assertNever } from '../invariant.ts';
import { distance } from '../lsn.ts';
import { nextForPoolers, type PauseFor } from '../poolers.ts';
import type { RuleId } from '../rules.ts';
import { dueness } from '../schedule.ts';
import type { NodeName } from '../store.ts';
import { between, millis } from '../time.ts';
import { isFed } from '../upstream.ts';
import type { View } from '../view.ts';
import { others } from './leading.ts';

const FRESH_MS = 2_000;
/** Their end wakes the cycle by itself; this is for their bound. */
const POOLERS_AGAIN = millis(100);

export function switchOver(view: View, holding: Holding, cluster: ClusterView): Decision {
  const request = cluster.failover;
  const { local } = view;
  if (request === null || local.kind !== 'primary') return decision('node.busy', 'the request is gone');
  const no = (why: string): Decision => decision('switchover.refused', why, [{ do: 'drop-switchover-request', why }]);
  // In maintenance nobody is elected: he has to be named.
  if (view.policy.cluster.pause && request.candidate === null)
    return no('in maintenance a switchover has to name its candidate');
  const late = request.scheduledAt === null ? null : view.switchoverDueIn;
  if (late !== null && dueness(late, view.policy.cluster.loopWait) === 'missed')
    return no(`it was scheduled for ${Math.round(-late / 1000)} s ago, and could not be done then`);
  if (!holding.windowOpen) return decision('leading.waiting-for-window', 'a switchover waits for a proven window');
  if (request.leader !== null && request.leader !== view.self) {
    return no(`the request names ${request.leader} as the leader, but the leader is ${view.self}`);
  }
  const names = others(view);
  if (names.length === 0) return no('there is no other member');
  if (request.candidate !== null && !names.includes(request.candidate))
    return no(`there is no member ${request.candidate}`);
  const failed = view.attempts.get('switchover');
  if (failed !== undefined && failed.failures > 0 && between(failed.lastFailedAt, view.now) < FRESH_MS) {
    return no(`it was tried and failed: ${failed.said}`);
  }
  const fresh = names.every((name) => {
    const answer = view.peers.get(name);
    return answer !== undefined && between(answer.at, view.now) <= FRESH_MS;
  });
  if (!fresh)
    return decision('switchover.check', `ask ${names.join(', ')} first`, [{ do: 'ask-peers', waitFor: names }]);
  return check(view, cluster, request, no);
}

function check(view: View, cluster: ClusterView, request: FailoverRequest, no: (why: string) => Decision): Decision {
  const everybody = others(view);
  // An orderly stop gives the candidate everything; but the operator has said who shall be one.
  const mayTake = (name: NodeName): boolean => request.forced === true || isMember(view, cluster, name);
  const names = request.candidate === null ? everybody.filter(mayTake) : [request.candidate];
  if (request.candidate !== null && !mayTake(request.candidate))
    return no(
      `${request.candidate} is not a synchronous standby (${cluster.sync?.key?.voters.join(', ') || 'there is none'})`,
    );
  if (names.length === 0) return no('there is no synchronous standby');
  const { fit, reasons } = whoCanTake(view, cluster, names);
  const best = fit[0];
  if (best === undefined) return no(reasons.length === 0 ? 'no candidate is fit' : reasons.join('; '));
  const takesOver = `${best.name} takes over; ranking: ${describeRanking(fit)}`;
  return stopAfterPoolers(view, request.revision, RULES_OF_SWITCHOVER, takesOver);
}

interface StopRules {
  readonly prepare: RuleId;
  readonly pause: RuleId;
  readonly wait: RuleId;
  readonly stop: RuleId;
}
const RULES_OF_SWITCHOVER: StopRules = {
  prepare: 'switchover.prepare',
  pause: 'switchover.pause-poolers',
  wait: 'switchover.wait-for-poolers',
  stop: 'switchover.stop',
};

/** With poolers in front clients are held back first, and for no longer than the stop and the takeover need. */
export function stopAfterPoolers(view: View, wish: PauseFor, rules: StopRules, why: string): Decision {
  const next = nextForPoolers(view, wish);
  if (next === null) {
    const stop: Action = { do: 'stop-for-switchover' };
    return decision(rules.stop, why, [view.policy.node.poolers === undefined ? stop : { ...stop, prepared: true }]);
  }
  switch (next.kind) {
    case 'prepare':
      return decision(rules.prepare, why, [{ do: 'prepare-switchover', wish }]);
    case 'pause':
      return decision(rules.pause, why, [{ do: 'pause-poolers', wish }]);
    case 'wait': {
      const waiting = `the poolers let transactions end, for ${Math.round(next.waited)} ms now`;
      return decision(rules.wait, waiting, [], POOLERS_AGAIN);
    }
    default:
      return assertNever(next);
  }
}

/**
 * Who of these has, or gets in a moment, all that this primary has written.
 *
 * @returns best first, and why the others do not
 */
export function whoCanTake(
  view: View,
  cluster: ClusterView,
  names: readonly NodeName[],
): { readonly fit: readonly Contender[]; readonly reasons: readonly string[] } {
  const { local } = view;
  if (local.kind !== 'primary') return { fit: [], reasons: [`Postgres is ${local.kind}`] };
  const reasons: string[] = [];
  const streamHere = new Set(
    local.senders.filter((sender) => sender.state === 'streaming').map((sender) => sender.applicationName),
  );
  const fit = contenders(view, names).filter((c) => {
    if (c.timeline !== local.timeline) reasons.push(`${c.name} is on timeline ${c.timeline}, not ${local.timeline}`);
    const behind = distance(c.position, local.flushed);
    const lagging = behind > view.policy.cluster.maximumLagOnFailoverBytes;
    if (lagging) reasons.push(`${c.name} is ${behind} bytes behind`);
    const streams = isFed(cluster, streamHere, c.name);
    if (!streams) reasons.push(`${c.name} does not stream from here, nor through another standby`);
    return c.timeline === local.timeline && !lagging && streams;
  });
  for (const name of names) {
    const answer = view.peers.get(name);
    if (answer?.kind !== 'answered') reasons.push(`${name} does not answer`);
    else {
      const why = unfit(answer.status);
      if (why !== null) reasons.push(why);
    }
  }
  return { fit: rank(fit), reasons };
}
