/** docs/patroni-interface.md names a test for each line of the checklist, and each of them is there. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const inRepository = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const LINES = 11;
/** Comes with the migration guide. */
const AWAITED = 'mixed';

const rows = readFileSync(inRepository('docs/patroni-interface.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\| \d+\. /.test(line))
  .map((line) => {
    const [, what = '', tests = ''] = line.split('|');
    return { number: Number(/(\d+)\./.exec(what)?.[1]), tests: [...tests.matchAll(/`([a-z-]+): ([^`]+)`/g)] };
  });

describe("the checklist of Patroni's interface", () => {
  it('has all of its lines, each with a test', () => {
    expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: LINES }, (_, index) => index + 1));
    for (const { number, tests } of rows) expect(`${number}: ${tests.length > 0}`).toBe(`${number}: true`);
  });

  it('names tests that are there', () => {
    for (const { tests } of rows) {
      for (const [, file, name = ''] of tests) {
        const path = inRepository(`test/e2e/${file}.test.ts`);
        if (file === AWAITED && !existsSync(path)) continue;
        const source = readFileSync(path, 'utf8');
        const isThere = source.includes(name);
        expect(`${file}: ${name}: ${isThere}`).toBe(`${file}: ${name}: true`);
      }
    }
  });
});
