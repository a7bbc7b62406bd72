/** The operator has the wheel: pgha watches, keeps the key, and changes nothing but what it has left half done. */
import { type Decision, decision } from '../decision.ts';
import { gateOpen } from '../gate.ts';
import type { View } from '../view.ts';
import { follow } from './following.ts';
import { take } from './leaderless.ts';

export function standAside(view: View): Decision {
  return (
    keepsTheKey(view) ??
    takesUpstreamAgain(view) ??
    decision('maintenance.hands-off', `the cluster is paused; Postgres here is ${view.local.kind}`)
  );
}

/**
 * The service was stopped for longer than a TTL while its primary ran on: the key is gone, and nobody may promote as long
 * as the last word is that of a leader in maintenance. Without the key this primary would be ended when maintenance ends,
 * and nobody could follow it.
 */
function keepsTheKey(view: View): Decision | null {
  const { local, dcs, gate, self } = view;
  if (view.leadership.kind !== 'none' || local.kind !== 'primary' || dcs.kind !== 'read' || !dcs.answering) return null;
  const { cluster } = dcs;
  if (cluster.leader !== null || cluster.initialize?.value !== local.systemId || gate === null) return null;
  if (gate.opensAt !== 'never' && !gateOpen(gate, view.now)) return null;
  // Two of them: which one is right is the operator's to say.
  if (cluster.members.some((member) => member.name !== self && member.role === 'primary')) return null;
  if (cluster.history.some((line) => line.timeline >= local.timeline)) return null;
  return take(view, cluster, 'leaderless.acquire', 'in maintenance, the primary that runs here takes the free key', {
    adopting: true,
    despitePause: true,
  });
}

/**
 * Maintenance began in the middle of an election, for which this standby had ended its receiver: the operator finds it as
 * it was. Only what we have done ourselves is undone, and only towards a leader on our own line.
 */
function takesUpstreamAgain(view: View): Decision | null {
  const { local, dcs } = view;
  if (!view.withdrawn || local.kind !== 'standby' || dcs.kind !== 'read' || !dcs.answering) return null;
  const { cluster } = dcs;
  if (cluster.leader === null || cluster.leader.name === view.self) return null;
  const found = follow(view, cluster, cluster.leader);
  return found.actions.every((action) => action.do === 'follow' || action.do === 'learn-lineage') ? found : null;
}
