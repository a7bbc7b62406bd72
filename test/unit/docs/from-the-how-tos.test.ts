/** docs/from-the-how-tos.md: every row of the five how-tos once, and every test that it names exists. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');
const text = readFileSync(join(ROOT, 'docs/from-the-how-tos.md'), 'utf8');
const rows = text
  .split('\n')
  .filter((line) => /^\| S\d-\d\d \|/.test(line))
  .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));

describe('docs/from-the-how-tos.md', () => {
  it('answers each of the 136 rows once', () => {
    const sizes = [35, 23, 21, 32, 25];
    const expected = sizes.flatMap((size, index) =>
      Array.from({ length: size }, (_, n) => `S${index + 1}-${String(n + 1).padStart(2, '0')}`),
    );
    expect(rows.map(([, id]) => id)).toEqual(expected);
    for (const [, id, , answer = ''] of rows) expect(answer.length, id).toBeGreaterThan(3);
  });

  it('names tests that exist', () => {
    const named = rows.flatMap(([, id, , , tests = '']) =>
      tests
        .split(',')
        .map((one) => one.trim())
        .filter((one) => one !== '')
        .map((one) => `${id} ${one}`),
    );
    expect(named.length).toBeGreaterThan(100);
    expect(named.filter((one) => !existsSync(join(ROOT, 'test', `${one.split(' ')[1]}.test.ts`)))).toEqual([]);
  });

  it('collects at its end every row that is not answered yet', () => {
    const end = text.slice(text.indexOf('## Not yet'));
    const open = rows.filter(([, , , answer = '']) => answer.includes('**not yet**')).map(([, id]) => id ?? '');
    expect(open.filter((id) => !end.includes(id))).toEqual([]);
  });
});
