/** The service is being stopped: the key is handed over at once, without anybody waiting for a TTL. */
import { adoptable } from '../classify.ts';
import { type Decision, decision } from '../decision.ts';
import { standbySource } from '../standby-cluster.ts';
import { between, millis } from '../time.ts';
import type { View } from '../view.ts';
import { handOver } from './leading.ts';
import { leaveStandbys } from './leading-standbys.ts';
import { stopAfterPoolers } from './switching-over.ts';

const HANDS_OVER = {
  prepare: 'service.leaving-hands-over',
  pause: 'service.leaving-hands-over',
  wait: 'service.leaving-hands-over',
  stop: 'service.leaving-hands-over',
} as const;

export function leave(view: View): Decision {
  const { local, leadership } = view;
  // As with Patroni: who stops the service of a paused cluster wants to work on it himself; Postgres stays.
  if (view.policy.cluster.pause) return decision('service.left', 'the cluster is paused: Postgres is left running');
  if (isAsFound(view))
    return decision('service.left', 'this primary was not taken in yet: it is left running, as it was found');
  const holding = leadership.kind === 'holding' ? leadership : null;
  const cluster = view.dcs.kind === 'read' ? view.dcs.cluster : null;
  const isDown = local.kind === 'standby' || (local.kind === 'stopped' && !local.wasPrimary);
  if (holding !== null && isDown && standbySource(view.policy, cluster) !== null) return leaveStandbys(view);
  switch (local.kind) {
    case 'primary':
      // What prepares a quick stop may fail; the stop itself must not wait for it.
      return holding === null || (view.attempts.get('switchover')?.failures ?? 0) > 0
        ? decision('service.leaving-stops', 'the service stops', [{ do: 'stop-in-order' }])
        : stopAfterPoolers(view, 'leaving', HANDS_OVER, 'the service stops here and this node leads');
    case 'standby': {
      const wait = holding === null ? leaveSyncSet(view) : null;
      if (wait !== null) return wait;
      return decision('service.leaving-stops', 'the service stops', [{ do: 'stop-in-order' }]);
    }
    case 'starting':
    case 'silent':
    case 'stopping':
      // A standby that has just won the key gives it back before it goes.
      return decision('service.leaving-stops', 'the service stops', [{ do: 'stop-in-order' }]);
    case 'orphans':
      return decision('service.leaving-stops', 'the service stops', [{ do: 'end-family' }]);
    case 'stopped':
      if (holding === null || view.dcs.kind === 'never-read') break;
      return handOver(view, holding, view.dcs.cluster);
    case 'absent':
    case 'unusable':
    case 'half-made':
      break;
  }
  return decision('service.left', 'nothing of ours runs any more');
}

/**
 * No cluster has its name in this scope yet, nor will it by our asking: nothing of pgha's has touched the server that runs
 * here, and none of its standbys can be elected beside it.
 */
function isAsFound(view: View): boolean {
  const { claimed, dcs, leadership } = view;
  if (claimed || leadership.kind === 'holding' || dcs.kind !== 'read' || !dcs.answering) return false;
  return (dcs.cluster.initialize?.value ?? '') === '' && adoptable(view);
}

/** The leader is told by our member key, and lets us go within a loop or two; a leader that does not answer is not waited for. */
function leaveSyncSet(view: View): Decision | null {
  const { dcs, leavingSince, now, self } = view;
  if (dcs.kind === 'never-read' || !dcs.answering || leavingSince === null) return null;
  const { leader, sync } = dcs.cluster;
  if (leader === null || leader.name === self || sync?.key?.voters.includes(self) !== true) return null;
  const left = 2 * view.policy.cluster.loopWait - between(leavingSince, now);
  if (left <= 0) return null;
  return decision(
    'service.leaving-sync-set',
    `${leader.name} is asked to let ${self} go from the synchronous standbys; for up to ${Math.ceil(left)} ms more`,
    [],
    millis(Math.min(left, 100)),
  );
}
