/** What the settings plan for a rehearsed failure: `explain --budget`, for one of them. */
import { describeBudget } from '../../../config/print.ts';
import { budgets } from '../../../core/budget.ts';
import type { ClusterPolicy } from '../../../core/policy.ts';

export interface PlannedTimes {
  readonly usual_ms: number;
  readonly worst_ms: number;
  /** What comes on top, in words. */
  readonly plus: string | null;
  readonly text: readonly string[];
}

export function plannedTimes(failure: 'switchover' | 'postmaster-dies', policy: ClusterPolicy): PlannedTimes {
  const budget = budgets(policy).find((one) => one.failure === failure);
  if (budget === undefined) throw new Error(`there is no budget of ${failure}`);
  const { usual, worst, plus } = budget;
  return { usual_ms: usual, worst_ms: worst, plus, text: describeBudget(budget) };
}

export const describeTimesOf = ({ text }: PlannedTimes): readonly string[] => [
  'Planned, by the settings of the cluster:',
  ...text,
];
