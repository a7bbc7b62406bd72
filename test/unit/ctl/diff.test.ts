import { describe, expect, it } from 'vitest';
import { diffLines } from '../../../src/http/ctl/diff.ts';

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

describe('the difference of two settings', () => {
  it('is nothing when they are the same', () => {
    expect(diffLines('a\nb\n', 'a\nb')).toBe('');
  });

  it('is what diff -u writes, with a head for each part', () => {
    const before = numbers(1, 20);
    const after = before.filter((line) => line !== '19').map((line) => (line === '2' ? 'two' : line));
    expect(diffLines(before.join('\n'), after.join('\n')).split('\n')).toEqual([
      ...['--- before', '+++ after', '@@ -1,5 +1,5 @@', ' 1', '-2', '+two', ' 3', ' 4', ' 5'],
      ...['@@ -16,5 +16,4 @@', ' 16', ' 17', ' 18', '-19', ' 20'],
    ]);
    expect(diffLines('a', 'b').split('\n')[2]).toBe('@@ -1 +1 @@');
  });
});
