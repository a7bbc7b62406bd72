/** An operator has scheduled a restart of Postgres here. It is done in its time or not at all; never in maintenance. */
import { type Decision, decision } from '../decision.ts';
import { dueness, unmet } from '../schedule.ts';
import type { View } from '../view.ts';

/** Asked where Postgres runs as it should. null: there is nothing to restart yet. */
export function restartAsScheduled(view: View): Decision | null {
  const { restart, local, policy } = view;
  if (restart === null || (local.kind !== 'primary' && local.kind !== 'standby')) return null;
  const { plan, dueIn } = restart;
  const drop = (why: string): Decision => decision('restart.dropped', why, [{ do: 'drop-restart', why }]);
  if (local.startedAt !== plan.postmasterStart)
    return drop('Postgres was started anew since the restart was scheduled');
  const due = dueness(dueIn, policy.cluster.loopWait);
  if (due === 'later') return null;
  if (due === 'missed')
    return drop(`the restart was scheduled for ${Math.round(-dueIn / 1000)} s ago, and could not be done then`);
  // One that does not answer has other troubles; should it recover in time, it is restarted then.
  if (local.failing !== null) return null;
  const why = unmet(plan, local);
  if (why !== null) return drop(`the conditions of the scheduled restart are not met: ${why}`);
  return decision('restart.due', `a restart was scheduled for ${plan.at}`, [{ do: 'restart', timeout: plan.timeout }]);
}
