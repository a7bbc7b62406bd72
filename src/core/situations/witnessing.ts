/** A node without Postgres: it watches, and tells those who ask whom it sees and where it stands. */
import { type Decision, decision } from '../decision.ts';
import type { View } from '../view.ts';

export function bearWitness(view: View): Decision {
  return decision('witness.watching', `this node is a witness; ${whoLeads(view)}`);
}

function whoLeads({ dcs }: View): string {
  if (dcs.kind === 'never-read' || !dcs.answering) return 'etcd does not answer';
  return dcs.cluster.leader === null ? 'nobody leads' : `${dcs.cluster.leader.name} leads`;
}
