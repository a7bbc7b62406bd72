/** etcd does not answer and no window is open here. A standby does no harm: it goes on receiving and replaying. */
import { type Decision, decision } from '../decision.ts';
import type { View } from '../view.ts';

export function waitWithoutEtcd(view: View): Decision {
  const { confirmed } = view;
  const promised = confirmed === null ? '' : `; ${confirmed.to} goes on with our word`;
  return decision(
    'blind.standby',
    `etcd does not answer; Postgres here is ${view.local.kind} and is left as it is${promised}`,
  );
}
