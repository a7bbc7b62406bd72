/**
 * Which lines of core/ the seeds of one process have run, from V8's own counters. A line that no seed reaches is dead,
 * or a fault is missing. Only statements count: a line is reached when its first character is.
 */
import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { SourceMap } from 'node:module';
import { fileURLToPath } from 'node:url';

/** Per file, from `core/` on: lines that could be reached, and those that were. */
export type Lines = Readonly<Record<string, { readonly all: readonly number[]; readonly reached: readonly number[] }>>;

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

/** Where a place of the bundle came from; from 0. */
interface Entry {
  readonly originalSource: string;
  readonly originalLine: number;
}

export class Coverage {
  private readonly session = new Session();

  async start(): Promise<void> {
    this.session.connect();
    await this.session.post('Profiler.enable');
    await this.session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** @param url - of the bundle */
  async take(url: string): Promise<Lines> {
    const { result } = await this.session.post('Profiler.takePreciseCoverage');
    const ours = result.find((script) => script.url === url);
    if (ours === undefined) return {};
    const ranges = ours.functions.flatMap((one) => one.ranges);
    return linesOf(readFileSync(fileURLToPath(url), 'utf8'), ranges);
  }
}

function linesOf(source: string, ranges: readonly Range[]): Lines {
  const map = sourceMapOf(source);
  const found: Record<string, { all: Set<number>; reached: Set<number> }> = {};
  const counts = countsByOffset(source.length, ranges);
  let offset = 0;
  for (const [index, line] of source.split('\n').entries()) {
    const column = line.search(/\S/);
    const entry = column < 0 ? {} : (map.findEntry(index, column) as Partial<Entry>);
    const file = coreFile(entry.originalSource ?? '');
    // Brackets and the like belong to what they close.
    if (file !== null && entry.originalLine !== undefined && /\w/.test(line)) {
      found[file] ??= { all: new Set(), reached: new Set() };
      found[file].all.add(entry.originalLine + 1);
      if (counts[offset + column] === 1) found[file].reached.add(entry.originalLine + 1);
    }
    offset += line.length + 1;
  }
  return Object.fromEntries(
    Object.entries(found).map(([file, { all, reached }]) => [file, { all: [...all], reached: [...reached] }]),
  );
}

/** 1 where the innermost range was run. Ranges come with the outer ones first. */
function countsByOffset(length: number, ranges: readonly Range[]): Uint8Array {
  const counts = new Uint8Array(length).fill(1);
  const outerFirst = ranges.toSorted((a, b) => b.endOffset - b.startOffset - (a.endOffset - a.startOffset));
  for (const { startOffset, endOffset, count } of outerFirst) counts.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  return counts;
}

function coreFile(original: string): string | null {
  const at = original.lastIndexOf('src/core/');
  return at < 0 ? null : original.slice(at + 'src/'.length);
}

function sourceMapOf(source: string): SourceMap {
  const text = source.slice(source.lastIndexOf('base64,') + 'base64,'.length).trim();
  return new SourceMap(
    JSON.parse(Buffer.from(text, 'base64').toString('utf8')) as ConstructorParameters<typeof SourceMap>[0],
  );
}
