/** A scope without a cluster, or a node without data. */
import type { ClusterView } from '../cluster.ts';
import { copySource } from '../copy-source.ts';
import { type Decision, decision } from '../decision.ts';
import { waitAtTheGate } from '../election/at-the-gate.ts';
import { askedSince, namesOf } from '../election/heard.ts';
import { gateOpen } from '../gate.ts';
import type { LocalPostgres, SystemId } from '../local.ts';
import { standbySource } from '../standby-cluster.ts';
import { LONG_AGO, millis } from '../time.ts';
import type { View } from '../view.ts';
import { memberNamed, unwatched } from '../view.ts';
import { backingOff } from './backing-off.ts';

const BRINGS_IT_BACK =
  'a member that has its data brings it back; to make a new cluster, start the service anew on all members';

export function join(view: View, cluster: ClusterView): Decision {
  if (cluster.initialize === null) return intoEmptyScope(view, cluster);
  if (cluster.initialize.value === '') return besideBootstrap(view, cluster, cluster.initialize);
  return copyFromLeader(view, cluster);
}

/**
 * Another member makes a cluster from nothing, and there may be data here: they win, or a server that is being taken
 * over would find itself in a scope of another cluster because an empty node was quicker. Nothing is lost by it: nobody
 * has led, and what that member makes is empty.
 */
function besideBootstrap(
  view: View,
  cluster: ClusterView,
  initialize: NonNullable<ClusterView['initialize']>,
): Decision {
  const { local } = view;
  const wait = (why: string): Decision => decision('joining.wait-for-bootstrap', why);
  // Our own claim, whose answer was lost: nobody else can make the cluster while our lease lives.
  if (initialize.lease !== null && initialize.lease === view.lease) return intoEmptyScope(view, cluster);
  const data = local.kind === 'primary' || (local.kind === 'stopped' && local.wasPrimary && !local.standbySignal);
  if (!data) return wait('another member is making the cluster; this node copies from it afterwards');
  if (ofAnotherCluster(view, local.systemId) !== null || cluster.leader !== null || cluster.status !== null)
    return wait('another member is making the cluster, and the data here are not what it was before');
  // Patroni writes its identifier whatever stands there by then.
  if (initialize.lease === null)
    return wait('a member that runs Patroni is making the cluster: the data here cannot become it any more');
  // Nobody is asked for what he knew: that member has done so, and may be ready before the last one answers.
  return decision(
    'joining.claim',
    `an empty member is making a cluster; the data here (system identifier ${local.systemId}) go before it and become this scope's cluster`,
    [{ do: 'claim-scope', over: initialize.revision }],
  );
}

function intoEmptyScope(view: View, cluster: ClusterView): Decision {
  const { local } = view;
  switch (local.kind) {
    case 'absent':
    case 'half-made': {
      const standby = view.policy.node.makesStandbyCluster === true;
      const former = standby && view.formerCluster === null ? null : formerCluster(view, local);
      if (former !== null) return decision('joining.wait-for-bootstrap', former);
      const again = backingOff(view, 'bootstrap');
      if (again !== null) return again;
      if (view.policy.node.noFailover || view.policy.node.priority <= 0) {
        return decision('joining.wait-for-bootstrap', 'this node may never lead, so it does not make the cluster');
      }
      const trouble = unwatched(view);
      if (trouble !== null) return decision('joining.wait-for-bootstrap', trouble);
      // What a standby cluster begins with is a copy of the other one, under the same system identifier.
      const known = standby ? null : othersKnowBetter(view, cluster, null);
      return (
        known ??
        decision('joining.bootstrap', 'no cluster exists under this scope: try to be the one that makes it', [
          { do: 'bootstrap' },
        ])
      );
    }
    case 'standby':
    case 'starting':
      return decision(
        'joining.standby-cannot-claim',
        'no cluster exists under this scope, and the Postgres here is a standby of something: promote its primary into the scope first',
      );
    case 'primary': {
      const foreign = ofAnotherCluster(view, local.systemId);
      if (foreign !== null) return decision('joining.foreign-data', foreign);
      // Its writers must not notice that it is taken in; the gate still has to pass: nobody knows who wrote before.
      if (!gateOpen(view.gate, view.now)) return waitAtTheGate(view);
      return (
        othersKnowBetter(view, cluster, local.systemId) ??
        decision(
          'joining.claim',
          `a running primary with system identifier ${local.systemId} becomes this scope's cluster`,
          [{ do: 'claim-scope', over: null }],
        )
      );
    }
    case 'stopped': {
      const foreign = ofAnotherCluster(view, local.systemId);
      if (foreign !== null) return decision('joining.foreign-data', foreign);
      if (!local.wasPrimary || local.standbySignal) {
        return decision(
          'joining.standby-cannot-claim',
          "no cluster exists under this scope, and the data directory here is a standby's: start with the primary's",
        );
      }
      return (
        othersKnowBetter(view, cluster, local.systemId) ??
        decision(
          'joining.claim',
          `the data directory here (system identifier ${local.systemId}) becomes this scope's cluster`,
          [{ do: 'claim-scope', over: null }],
        )
      );
    }
    case 'stopping':
    case 'silent':
    case 'orphans':
    case 'unusable':
      break;
  }
  return decision(
    'node.busy',
    `Postgres here is ${local.kind}; the scope ${cluster.clusterId} is looked at again later`,
  );
}

/** The scope was another cluster's before etcd was emptied: whoever has that one's data brings it back. */
function ofAnotherCluster({ formerCluster }: View, own: SystemId): string | null {
  if (formerCluster === null || formerCluster === own) return null;
  return `this scope was cluster ${formerCluster} before etcd forgot it, and the data here belong to ${own}: left alone`;
}

/**
 * A process that has just started knows nothing of what etcd has forgotten; others may. Without them, data that were
 * brought here from elsewhere, or an empty directory, would become the cluster, and lock out whoever has its data.
 *
 * @param own - null: there is no data here
 */
function othersKnowBetter(view: View, cluster: ClusterView, own: SystemId | null): Decision | null {
  // What this process has read itself goes before what others say, and so does the operator who hands over.
  if (view.formerCluster !== null || view.takeOverAsked === true) return null;
  const others = namesOf(view, cluster);
  if (!others.every((name) => askedSince(view, name, LONG_AGO))) {
    const asked = others.join(', ');
    return decision('joining.ask-peers', `etcd knows no cluster under this scope: ask ${asked} whether they do`, [
      { do: 'ask-peers', waitFor: others },
    ]);
  }
  for (const name of others) {
    const answer = view.peers.get(name);
    const known = answer?.kind === 'answered' ? answer.status.knownCluster : null;
    if (known === null || known === own) continue;
    const was = `this scope was cluster ${known} before etcd forgot it, as ${name} knows`;
    return own === null
      ? decision('joining.wait-for-bootstrap', `${was}, and there is no data of it here: ${BRINGS_IT_BACK}`)
      : decision(
          'joining.foreign-data',
          `${was}, and the data here belong to ${own}: left alone. Should they be the right ones, start the service of ${name} anew`,
        );
  }
  return null;
}

/**
 * etcd was wiped while this node had no data of its own: the cluster exists, and a second one would lock out whoever has
 * its data. null: nothing speaks of a former cluster.
 */
function formerCluster(view: View, local: LocalPostgres): string | null {
  if (view.formerCluster !== null)
    return `etcd has forgotten cluster ${view.formerCluster}, and there is no data of it here: ${BRINGS_IT_BACK}`;
  if (local.kind === 'half-made' && local.by !== 'initdb')
    return `the data directory here is an unfinished ${local.by} from another member, and etcd knows no cluster: ${BRINGS_IT_BACK} with an empty directory`;
  return null;
}

function copyFromLeader(view: View, cluster: ClusterView): Decision {
  const leader = cluster.leader;
  if (leader === null) return decision('leaderless.wait-for-data', 'no leader to copy from');
  const again = backingOff(view, 'copy');
  if (again !== null) return again;
  const member = memberNamed(cluster, leader.name);
  const leads = standbySource(view.policy, cluster) === null ? 'primary' : 'standby_leader';
  if (member?.host == null || member.role !== leads || member.state !== 'running') {
    return decision(
      'following.leader-not-ready',
      `${leader.name} is not a running primary yet; copied as soon as it is`,
      [],
      millis(500),
    );
  }
  const source = copySource(view, cluster, leader);
  return decision('joining.copy', `no usable data here: copy from ${source}`, [
    { do: 'copy', source, leader: leader.name, wipe: false },
  ]);
}
