/** The catalogue of events and the code that writes them, held against each other in both directions. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EVENTS } from '../../../src/log/events.ts';

const SRC = resolve(import.meta.dirname, '../../../src');

/**
 * The source without comments. Names are found as text, since an event may be chosen by a condition or stand in a
 * table: `write(level, ok ? 'action.finished' : 'action.failed', ...)`.
 */
function source(): string {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && name !== 'log/events.ts')
    .map((name) => readFileSync(join(SRC, name), 'utf8'));
  return files
    .join('\n')
    .replaceAll(/\/\*[\s\S]*?\*\//g, '')
    .replaceAll(/^\s*\/\/.*$/gm, '');
}

describe('the catalogue of events', () => {
  const text = source();
  const written = [...text.matchAll(/\bwrite\(\s*(?:'(?:debug|info|warn|error)'|[^,'()]+),\s*'([a-z]+\.[a-z-]+)'/g)];

  it('has every name that the code writes', () => {
    const unknown = written.map((match) => match[1] ?? '').filter((name) => !(name in EVENTS));
    expect(unknown).toEqual([]);
  });

  it('has no name that nothing writes', () => {
    const unused = Object.keys(EVENTS).filter((name) => !text.includes(`'${name}'`));
    expect(unused).toEqual([]);
  });

  it('explains each in words', () => {
    for (const [name, meaning] of Object.entries(EVENTS)) {
      expect(name).toMatch(/^[a-z]+\.[a-z]+(-[a-z]+)*$/);
      expect(meaning.length).toBeGreaterThan(15);
    }
  });
});
