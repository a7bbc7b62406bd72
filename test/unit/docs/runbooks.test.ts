/** docs/runbooks.md: an answer to everything that asks an operator to look, and times that are those of the settings. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { budgetMarkdown } from '../../../src/config/print.ts';
import { resolveCluster } from '../../../src/config/settings.ts';
import { CLUSTER_EVENTS } from '../../../src/core/cluster-events.ts';
import { EVENTS } from '../../../src/log/events.ts';

const ROOT = join(import.meta.dirname, '../../..');
const text = readFileSync(join(ROOT, 'docs/runbooks.md'), 'utf8');
const rows = text
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => line.split('|').map((cell) => cell.trim()));
const answered = rows.flatMap(([, names = '']) => [...names.matchAll(/`([a-z_.-]+)`/g)].map(([, name = '']) => name));

/** Names of log lines that are written as a warning or an error somewhere, or at a level that is only known then. */
function worthALook(): readonly string[] {
  const source = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(ROOT, 'src', name), 'utf8'));
  const written = source.flatMap((code) => [...code.matchAll(/\.write\(\s*([^;]{0,80}?),\s*'([a-z-]+\.[a-z-]+)'/g)]);
  const names = written.filter(([, level = '']) => !/^'(info|debug)'$/.test(level)).map(([, , name = '']) => name);
  // That a decision is logged at `debug` while something is under way asks for nothing.
  return [...new Set(names)].filter((name) => Object.hasOwn(EVENTS, name) && !EXCEPT.has(name));
}
const EXCEPT: ReadonlySet<string> = new Set(['decision.changed', 'failsafe.confirmed', 'lease.granted']);

describe('docs/runbooks.md', () => {
  it('has an answer to every event that is told to people', () => {
    expect(Object.keys(CLUSTER_EVENTS).filter((name) => !answered.includes(name))).toEqual([]);
  });

  it('has an answer to every line of the log that may be a warning or an error', () => {
    expect(worthALook().length).toBeGreaterThan(40);
    expect(worthALook().filter((name) => !answered.includes(name))).toEqual([]);
  });

  it('names nothing that does not exist, and nothing twice', () => {
    const known = new Set([...Object.keys(CLUSTER_EVENTS), ...Object.keys(EVENTS)]);
    expect(answered.filter((name) => !known.has(name))).toEqual([]);
    expect(answered.filter((name, index) => answered.indexOf(name) !== index)).toEqual([]);
    for (const [, names, means = '', type = ''] of rows) {
      expect(means.length, names).toBeGreaterThan(5);
      expect(type.length, names).toBeGreaterThan(5);
    }
  });

  it('tells the times that the default settings come to', () => {
    const table = budgetMarkdown(resolveCluster(null, {}).cluster);
    expect(text.includes(`\n${table}\n`), 'docs/runbooks.md is out of date: run `npm run docs`').toBe(true);
  });
});
