/** Makes an incident report of a scenario: what was done to the cluster on top, what became of it below. */
import type { Scenario } from '../scenarios/scenarios.ts';
import { runPlan } from './run.ts';

/** Not of interest to somebody who reads what happened. */
const DULL = /\[(member\.joined|config\.changed|request\.received|child\.connected)\]/;

interface Line {
  readonly at: number;
  readonly who: string;
  readonly what: string;
}

export async function tell(scenario: Scenario): Promise<string> {
  const lines: Line[] = [];
  const echo = (line: string): void => {
    const at = Number(line.slice(0, 10));
    lines.push({ at, who: line.slice(12, 18).trim(), what: line.slice(19) });
  };
  const verdict = await runPlan(scenario.plan, { echo, until: null });
  const first = lines.findIndex((line) => line.what.startsWith('the cluster is whole'));
  const last = lines.findIndex((line) => line.what.startsWith('liveness:'));
  const whole = lines[first]?.at ?? 0;
  const told = lines.slice(first + 1, last < 0 ? undefined : last).filter((line) => !DULL.test(line.what));
  const print = ({ at, who, what }: Line): string =>
    `${(at - whole).toFixed(3).padStart(9)}  ${who.padEnd(6)} ${what}`.trimEnd();
  const { ttlMs, loopWaitMs } = scenario.plan.settings;
  const settings = JSON.stringify({ ...scenario.plan.config, ...scenario.plan.members });
  return [
    scenario.title,
    '='.repeat(scenario.title.length),
    '',
    scenario.about,
    '',
    `${scenario.plan.nodes.length} nodes, a leads. ttl ${ttlMs / 1000}, loop_wait ${loopWaitMs / 1000}${settings === '{}' ? '' : `, ${settings}`}.`,
    'Seconds since the cluster was whole.',
    '',
    'What was done to it',
    '',
    ...told.filter(({ who }) => who === 'fault').map(print),
    '',
    'What happened',
    '',
    ...told.filter(({ who }) => who !== 'fault').map(print),
    '',
    verdict.ok ? 'All invariants held.' : `${verdict.invariant}: ${verdict.sentence}`,
    '',
  ].join('\n');
}
