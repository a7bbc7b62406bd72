/**
 * The guides that are typed by an end-to-end test: no block of theirs is left out there. And commands of pgha-ctl, wherever a page
 * shows them: they exist, with the options that are shown.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { commandBlocks, firstLine } from '../../e2e/lib/guide.ts';
import { ctl } from '../ctl/fakes.ts';

const ROOT = join(import.meta.dirname, '../../..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const PAGES = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
);

describe('the guides', () => {
  it.each([
    ['docs/new-cluster.md', null, 'guides'],
    ['docs/from-pgpool.md', null, 'guides'],
    ['docs/two-nodes.md', null, 'guides'],
    ['README.md', '## A real set-up: three hosts', 'systemd'],
  ])('%s: each block of commands is typed by a test', (page, heading, test) => {
    const source = read(`test/e2e/${test}.test.ts`);
    // As the test names them, by how they begin.
    const named = [...source.matchAll(/(?:\.block|onEach)\(\s*(['"`])(.+?)\1/g)].map(
      ([, , beginning = '']) => beginning,
    );
    const blocks = commandBlocks(read(page), heading);
    expect(blocks.length).toBeGreaterThan(0);
    const missing = blocks.filter((block) => !named.some((beginning) => block.startsWith(beginning)));
    expect(missing.map(firstLine)).toEqual([]);
  });
});

describe('commands of pgha-ctl', () => {
  const shown = PAGES.flatMap((page) =>
    read(page)
      .split('\n')
      .filter((line) => line.startsWith('    '))
      .flatMap((line) => [...line.replace(/\s#.*/, '').matchAll(/(?:^ +|\$ |; |-- |&& )(pgha-ctl [^;|&<]*)/g)])
      .map(([, command = '']) => ({ page, words: command.trim().split(/\s+/).slice(1) })),
  );
  const helps = new Map<string, Promise<string>>();
  const help = (words: readonly string[]): Promise<string> => {
    const key = words.join(' ');
    const known =
      helps.get(key) ?? ctl({ clusters: {} }, ...words, '--help').then(({ code, out }) => (code === 0 ? out : ''));
    helps.set(key, known);
    return known;
  };

  it('are there, with the options that a page shows', async () => {
    expect(shown.length).toBeGreaterThan(60);
    const general = await help([]);
    const wrong: string[] = [];
    for (const { page, words } of shown) {
      const from = words.findIndex((word, index) => !word.startsWith('-') && !/^-[cd]$/.test(words[index - 1] ?? ''));
      if (from === -1) continue;
      const [command = '', ...rest] = words.slice(from);
      const text = await help([command]);
      const below = text.includes('\nCommands:') && rest[0] !== undefined ? await help([command, rest[0]]) : text;
      if (text === '' || below === '') wrong.push(`${page}: pgha-ctl ${words.join(' ')}`);
      for (const option of rest.filter((word) => /^--?[a-zA-Z]/.test(word)))
        if (!new RegExp(`(^|[\\s,])${option.split('=')[0]}\\b`, 'm').test(`${below}${general}`))
          wrong.push(`${page}: pgha-ctl ${words.join(' ')}: ${option}`);
    }
    expect(wrong).toEqual([]);
  });
});
