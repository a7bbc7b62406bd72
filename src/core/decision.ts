/** What one cycle decided. */
import type { Action } from './action.ts';
import type { RuleId } from './rules.ts';
import type { Millis } from './time.ts';

export interface Decision {
  /** Which rule spoke: logged, served by /status, counted by the simulation. */
  readonly rule: RuleId;
  /** One sentence that an operator understands. */
  readonly reason: string;
  readonly actions: readonly Action[];
  /** Look again after this long at the latest; null: with the next regular cycle or event. */
  readonly again: Millis | null;
}

export function decision(
  rule: RuleId,
  reason: string,
  actions: readonly Action[] = [],
  again: Millis | null = null,
): Decision {
  return { rule, reason, actions, again };
}
