/** Whether the Postgres of whoever led last, in maintenance, is alive: nobody stops it there. */

import type { ClusterView } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { between, type Millis, millis } from '../time.ts';
import { memberNamed, type View } from '../view.ts';
import { describeSightings, heardLately, namesOf, runsAsPrimary, sightings, statusOf } from './heard.ts';

/** What a daemon says of a Postgres that accepts no writes. */
const DOWN: ReadonlySet<string> = new Set(['stopped', 'crashed', 'creating replica', 'initializing new cluster']);
/** A failover by hand that could not be done for so long is not done any more: the operator may have turned to something else. */
const WISH_MS = 30_000;

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

export const primaryAlive = (view: View, cluster: ClusterView, why: string): Decision =>
  decision('maintenance.primary-alive', why, [{ do: 'ask-peers', waitFor: namesOf(view, cluster) }], millis(500));

/** It is known to be down: he gave the key up, and not in maintenance for one who was promoted by hand, who writes on. */
const isKnownDown = ({ gate }: View): boolean => gate?.beat?.release != null && gate.beat.holdMs !== null;

export function askOfLastPrimary(view: View, cluster: ClusterView): Decision | null {
  if (isKnownDown(view)) return null;
  const names = namesOf(view, cluster);
  const unheard = names.filter((name) => !heardLately(view, name));
  if (unheard.length === 0) return null;
  return decision('leaderless.ask-peers', `ask ${unheard.join(', ')} whether the last primary is alive`, [
    { do: 'ask-peers', waitFor: names },
  ]);
}

/** By whom a primary was seen that nobody would stop; null: by nobody. */
export function seenOfLastPrimary(view: View, cluster: ClusterView): string | null {
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

/** A standby that streams, and from none of those who have a member key: perhaps from a primary without its daemon. */
export function receivesFromStranger({ members }: ClusterView, local: View['local']): boolean {
  if (local.kind !== 'standby' || local.receiver?.streaming !== true) return false;
  const { from } = local.receiver;
  return !members.some(({ host, port, role }) => `${host}:${port}` === from && role !== 'primary');
}
