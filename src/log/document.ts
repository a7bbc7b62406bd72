/**
 * docs/rules.md, made from the catalogues of rules and events: pure, so that a test can compare it with the committed
 * file. It adds no knowledge of its own.
 */
import { RULES } from '../core/rules.ts';
import { EVENTS } from './events.ts';

export function rulesMarkdown(): string {
  return [
    '# Rules and events',
    '<!-- Made from src/core/rules.ts and src/log/events.ts by `npm run docs`. Do not edit. -->',
    INTRODUCTION,
    '## Rules',
    RULES_SAY,
    ...groups(RULES, (group) => `### ${group}`),
    '## Events',
    EVENTS_SAY,
    ...groups(EVENTS, (group) => `### ${group} (events)`),
    '',
  ].join('\n\n');
}

const INTRODUCTION = `Every decision of a node names its **rule**: in the log (\`rule=\`), in \`GET /status\` and in \`GET /patroni\`. Every log
line names its **event**. Both lists are closed: what is not here is not in the log.`;

const RULES_SAY = `A rule stands in the log when it is not the one that spoke before (event \`decision.changed\`; \`from=\` is the rule
before it). A rule that goes on speaking is not logged again. \`node.busy\` is logged at level \`debug\` only.`;

const EVENTS_SAY = `The second word of a log line. Some of these names are reserved and not written by this version yet.`;

function groups(catalogue: Readonly<Record<string, string>>, heading: (group: string) => string): readonly string[] {
  const names = Object.keys(catalogue);
  const found = [...new Set(names.map((name) => name.slice(0, name.indexOf('.'))))];
  return found.flatMap((group) => [
    heading(group),
    [
      '| name | meaning |',
      '|---|---|',
      ...names
        .filter((name) => name.startsWith(`${group}.`))
        .map((name) => `| \`${name}\` | ${catalogue[name] ?? ''} |`),
    ].join('\n'),
  ]);
}
