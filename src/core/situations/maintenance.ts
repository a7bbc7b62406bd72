/** The operator has the wheel: pgha watches, keeps the key, and changes nothing. */
import { type Decision, decision } from '../decision.ts';
import type { View } from '../view.ts';

export function standAside(view: View): Decision {
  return decision('maintenance.hands-off', `the cluster is paused; Postgres here is ${view.local.kind}`);
}
