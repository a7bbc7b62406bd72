/** The difference of two short texts, line by line, with a little of what stands around it. */

const CONTEXT = 3;

interface Line {
  readonly sign: ' ' | '-' | '+';
  readonly text: string;
}

/** Empty when they are the same; else as `diff -u` writes it, so that `patch` takes it. */
export function diffLines(before: string, after: string): string {
  const lines = compare(before.trimEnd().split('\n'), after.trimEnd().split('\n'));
  const changed = lines.flatMap((line, index) => (line.sign === ' ' ? [] : [index]));
  if (changed.length === 0) return '';
  const near = (index: number): boolean => changed.some((at) => Math.abs(at - index) <= CONTEXT);
  const said = ['--- before', '+++ after'];
  let hunk: Line[] = [];
  let [old, fresh] = [1, 1];
  const end = (): void => {
    if (hunk.length > 0) said.push(header(hunk, old, fresh), ...hunk.map(({ sign, text }) => sign + text));
    old += hunk.filter(({ sign }) => sign !== '+').length;
    fresh += hunk.filter(({ sign }) => sign !== '-').length;
    hunk = [];
  };
  lines.forEach((line, index) => {
    if (near(index)) {
      hunk.push(line);
      return;
    }
    end();
    old++;
    fresh++;
  });
  end();
  return said.join('\n');
}

/** `@@ -3,7 +3,9 @@`: where it begins, and how many lines of each side it has. */
function header(hunk: readonly Line[], old: number, fresh: number): string {
  const side = (from: number, without: Line['sign']): string => {
    const count = hunk.filter(({ sign }) => sign !== without).length;
    return `${count === 0 ? from - 1 : from}${count === 1 ? '' : `,${count}`}`;
  };
  return `@@ -${side(old, '+')} +${side(fresh, '-')} @@`;
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
