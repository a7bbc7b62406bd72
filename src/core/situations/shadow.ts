/**
 * `adopt_from`: this node's server belongs to a cluster that repmgr, or somebody's hand, runs until an operator hands it over.
 * What pgha would do is said, from what the members say of themselves in etcd; nothing is done, here or by agent/upkeep.ts.
 */
import { type Contender, compareContenders, describeRanking } from '../candidate.ts';
import { foreignData } from '../classify.ts';
import type { ClusterView, Member } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import type { View } from '../view.ts';

const HAND_OVER = 'pgha-ctl adopt take-over';

export function watchOnly(view: View): Decision {
  const { local, self, dcs } = view;
  if (view.leaving) return decision('service.left', 'this cluster is not ours yet: Postgres is left running');
  if (dcs.kind === 'never-read')
    return decision('shadow.watching', 'etcd has not answered yet; nothing is touched here');
  const { cluster } = dcs;
  const foreign = foreignData(view, cluster);
  if (foreign !== null) return decision('shadow.foreign', foreign);
  const primaries = cluster.members.filter((one) => one.name !== self && isRunningPrimary(one)).map(({ name }) => name);
  switch (local.kind) {
    case 'primary':
      return primaries.length > 0
        ? decision(
            'shadow.foreign',
            `${[self, ...primaries].sort().join(' and ')} run as primaries: one has to go first`,
          )
        : decision('shadow.watching', `the primary runs here; \`${HAND_OVER}\` would make ${self} the leader`);
    case 'standby': {
      const from =
        local.receiver?.streaming === true
          ? `receives from ${local.receiver.from ?? 'its upstream'}`
          : 'receives nothing';
      const [primary] = primaries;
      if (primary !== undefined)
        return decision('shadow.watching', `a standby that ${from}; after \`${HAND_OVER}\` it would follow ${primary}`);
      // Where it comes from may be a node on which pgha does not run yet.
      if (local.receiver?.streaming === true) return decision('shadow.watching', `a standby that ${from}`);
      return wouldFailOver(view, cluster);
    }
    case 'stopped':
    case 'orphans':
      return decision(
        'shadow.would-start',
        primaries.length === 0 && local.kind === 'stopped' && local.wasPrimary
          ? `Postgres is down here and no other primary runs: pgha would bring the end of its WAL to a standby, and hand over to it`
          : `Postgres is down here: pgha would start it${primaries[0] === undefined ? '' : ` as a standby of ${primaries[0]}, rewound if it has to be`}`,
      );
    case 'absent':
    case 'half-made':
      return decision('shadow.watching', `no usable data here: after \`${HAND_OVER}\` pgha would copy them`);
    case 'starting':
    case 'stopping':
    case 'silent':
    case 'unusable':
      return decision('shadow.watching', `Postgres here is ${local.kind}`);
    default:
      return ((never: never) => never)(local);
  }
}

const isRunningPrimary = (member: Member): boolean => member.role === 'primary' && member.state === 'running';

/** From what stands in etcd, a loop old: an election asks, and waits until nobody can still be writing. */
function wouldFailOver(view: View, cluster: ClusterView): Decision {
  const fit = cluster.members.flatMap((member) => contender(member) ?? []).sort(compareContenders);
  const [best] = fit;
  const after = `after at most ${view.policy.cluster.ttl / 1000} s`;
  return decision(
    'shadow.would-fail-over',
    best === undefined
      ? 'no primary is to be seen, and no member that could lead'
      : `no primary is to be seen: ${after} without one pgha would promote ${best.name}; the order is ${describeRanking(fit)}`,
  );
}

function contender(member: Member): Contender | null {
  const { pgha, timeline, xlogLocation } = member;
  if (pgha === null || member.role !== 'replica' || member.state !== 'running') return null;
  if (pgha.priority <= 0 || member.tags['nofailover'] === true || timeline === null || xlogLocation === null)
    return null;
  const { priority, nodeId, location } = pgha;
  return { name: member.name, timeline, position: xlogLocation, priority, nodeId, location, ailing: false };
}
