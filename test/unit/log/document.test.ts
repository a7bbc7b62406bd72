import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { RULES } from '../../../src/core/rules.ts';
import { rulesMarkdown } from '../../../src/log/document.ts';
import { EVENTS } from '../../../src/log/events.ts';

const docs = fileURLToPath(new URL('../../../docs/', import.meta.url));

describe('docs/rules.md', () => {
  it('lists the rules and events that the program has', () => {
    const committed = readFileSync(`${docs}rules.md`, 'utf8');
    expect(committed === rulesMarkdown(), 'docs/rules.md is out of date: run `npm run docs`').toBe(true);
  });
});

describe('the pages for operators', () => {
  const known = new Set([...Object.keys(RULES), ...Object.keys(EVENTS)]);
  // First words that are not those of files too (`guard.log`, `postgres.log`).
  const WORDS =
    'service|node|fence|blind|maintenance|leading|leaderless|following|rejoin|joining|switchover|lease|failover|dcs|rescue';
  const NAME = new RegExp(`\\b((?:${WORDS})\\.[a-z]+(?:-[a-z]+)*)\\b`, 'g');

  it.each(['failures.md', 'architecture.md', 'operations.md'])(
    '%s names no rule or event that there is not',
    (page) => {
      const named = [...readFileSync(`${docs}${page}`, 'utf8').matchAll(NAME)].map(([, name = '']) => name);
      expect(named.filter((name) => !known.has(name))).toEqual([]);
    },
  );
});
