/** The difference of two short texts, line by line, with a little of what stands around it. */

const CONTEXT = 3;

interface Line {
  readonly sign: ' ' | '-' | '+';
  readonly text: string;
}

/** Empty when they are the same. */
export function diffLines(before: string, after: string): string {
  const lines = compare(before.trimEnd().split('\n'), after.trimEnd().split('\n'));
  const changed = lines.flatMap((line, index) => (line.sign === ' ' ? [] : [index]));
  if (changed.length === 0) return '';
  const near = (index: number): boolean => changed.some((at) => Math.abs(at - index) <= CONTEXT);
  return [
    '--- before',
    '+++ after',
    ...lines.filter((_, index) => near(index)).map((line) => line.sign + line.text),
  ].join('\n');
}

/** By the longest common subsequence: configurations have some dozens of lines. */
function compare(a: readonly string[], b: readonly string[]): Line[] {
  const common = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  const at = (i: number, j: number): number => common[i]?.[j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const row = common[i];
      if (row !== undefined) row[j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ sign: ' ', text: a[i] ?? '' });
      i++;
      j++;
    } else if (i < a.length && (j >= b.length || at(i + 1, j) >= at(i, j + 1))) {
      lines.push({ sign: '-', text: a[i++] ?? '' });
    } else {
      lines.push({ sign: '+', text: b[j++] ?? '' });
    }
  }
  return lines;
}
