/** From a view to a decision: the table of contents of pgha. Pure; no clock, no network, no randomness, no log. */
import { classify, type Situation } from './classify.ts';
import { type Decision, decision } from './decision.ts';
import { assertNever } from './invariant.ts';
import { waitWithoutEtcd } from './situations/blind.ts';
import { endOrphans, stopWriting } from './situations/fencing.ts';
import { follow } from './situations/following.ts';
import { join } from './situations/joining.ts';
import { seekLeader } from './situations/leaderless.ts';
import { afterPromotion, lead } from './situations/leading.ts';
import { leave } from './situations/leaving.ts';
import { standAside } from './situations/maintenance.ts';
import { rejoin } from './situations/rejoining.ts';
import { watchOnly } from './situations/shadow.ts';
import { switchOver } from './situations/switching-over.ts';
import { bearWitness } from './situations/witnessing.ts';
import type { View } from './view.ts';

export interface Judgement {
  readonly situation: Situation['kind'];
  readonly decision: Decision;
}

export function decide(view: View): Judgement {
  const situation = classify(view);
  return { situation: situation.kind, decision: afterPromotion(view, inSituation(view, situation)) };
}

function inSituation(view: View, situation: Situation): Decision {
  switch (situation.kind) {
    case 'writing-without-window':
      return stopWriting(view);
    case 'orphans':
      return endOrphans(view);
    case 'leaving':
      return leave(view);
    case 'shadow':
      return watchOnly(view);
    case 'unusable':
      return decision('node.unusable', situation.sentence);
    case 'busy':
      return decision('node.busy', `${view.operation?.kind ?? 'something'} is under way`);
    case 'name-taken':
      return decision(
        'node.name-taken',
        `another machine runs as ${view.self} (${situation.by}): this one takes no part. Give one of the two another \`name\``,
      );
    case 'witnessing':
      return bearWitness(view);
    case 'uninformed':
      return decision('node.waiting-for-etcd', 'etcd has not answered yet');
    case 'maintenance':
      return standAside(view);
    case 'switching-over':
      return switchOver(view, situation.holding, situation.cluster);
    case 'leading':
      return lead(view, situation.holding, situation.cluster);
    case 'blind':
      return waitWithoutEtcd(view);
    case 'joining':
      return join(view, situation.cluster);
    case 'following':
      return follow(view, situation.cluster, situation.leader);
    case 'rejoining':
      return rejoin(view, situation.cluster, situation.leader);
    case 'leaderless':
      return seekLeader(view, situation.cluster);
    default:
      return assertNever(situation);
  }
}
