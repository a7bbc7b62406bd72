/**
 * The text of a configuration file and where things stand in it: YAML into plain values, and paths back into line
 * numbers. It knows no setting.
 */
import { type Document, isAlias, isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';

export interface ParsedFile {
  readonly value: unknown;
  /** Mistakes in the YAML itself, with line and column; `value` is null then. */
  readonly mistakes: readonly string[];
  /** The line of the deepest part of `path` that the file has; null when it has none of it. */
  lineOf(path: readonly string[]): number | null;
  /** The same in words: `line 3`, and of several files with the name: `20-users.yml, line 3`. */
  placeOf(path: readonly string[]): string | null;
  /** Where it begins in its file, both counted from 1; null when the file has none of it. */
  positionOf(path: readonly string[]): { readonly line: number; readonly column: number } | null;
  /** A scalar as it is written, without quotes. */
  sourceOf(path: readonly string[]): string | null;
}

export function parseFile(text: string): ParsedFile {
  const lines = new LineCounter();
  const positionOf: ParsedFile['positionOf'] = (path) => {
    const offset = deepest(document, path).offset;
    if (offset === null) return null;
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const lineOf = (path: readonly string[]): number | null => positionOf(path)?.line ?? null;
  // `merge` because Patroni's reader knows `<<:`; YAML 1.2 keeps `on` and `off` as text, as Postgres wants them.
  const document = parseDocument(text, { lineCounter: lines, merge: true, prettyErrors: false });
  const mistakes = document.errors.map((error) => {
    const at = lines.linePos(error.pos[0]);
    return `line ${at.line}, column ${at.col}: ${error.message}`;
  });
  let value: unknown = null;
  if (mistakes.length === 0) {
    try {
      value = document.toJS({ maxAliasCount: 1000 });
      if (containsItself(value)) {
        value = null;
        mistakes.push('line 1, column 1: an alias stands inside of what it names');
      }
    } catch (cause) {
      mistakes.push(cause instanceof Error ? cause.message : String(cause));
    }
  }
  return {
    value,
    mistakes,
    lineOf,
    positionOf,
    placeOf: (path) => {
      const line = lineOf(path);
      return line === null ? null : `line ${line}`;
    },
    sourceOf: (path) => {
      const found = deepest(document, path);
      return found.complete && isScalar(found.node) ? (found.node.source ?? null) : null;
    },
  };
}

/** `a: &a {b: *a}`: without an end, for everybody who walks through it. */
function containsItself(value: unknown, above: ReadonlySet<unknown> = new Set()): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (above.has(value)) return true;
  const here = new Set(above).add(value);
  return Object.values(value).some((inner) => containsItself(inner, here));
}

/** So that remarks stand in the order of the files. */
const LINES_OF_A_FILE = 1_000_000;

/** Several files as one: maps are joined, and of everything else the last one counts (as Patroni reads a directory). */
export function parseFiles(files: readonly { readonly name: string; readonly text: string }[]): ParsedFile {
  const parsed = files.map(({ name, text }) => ({ name, file: parseFile(text) }));
  /** Whoever has the whole of it last, else whoever has the most of it. */
  const whoHas = (path: readonly string[]): number | null => {
    for (let length = path.length; length > 0; length -= 1) {
      const at = parsed.findLastIndex(({ file }) => has(file.value, path.slice(0, length)));
      if (at !== -1) return at;
    }
    return null;
  };
  return {
    value: parsed.reduce<unknown>((joined, { file }) => join(joined, file.value), {}),
    mistakes: parsed.flatMap(({ name, file }) => file.mistakes.map((mistake) => `${name}, ${mistake}`)),
    lineOf: (path) => {
      const at = whoHas(path);
      return at === null ? null : at * LINES_OF_A_FILE + (parsed[at]?.file.lineOf(path) ?? 0);
    },
    placeOf: (path) => {
      const one = parsed[whoHas(path) ?? -1];
      return one === undefined ? null : `${one.name}, ${one.file.placeOf(path) ?? 'line 1'}`;
    },
    positionOf: (path) => parsed[whoHas(path) ?? -1]?.file.positionOf(path) ?? null,
    sourceOf: (path) => parsed[whoHas(path) ?? -1]?.file.sourceOf(path) ?? null,
  };
}

const isPlainMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function join(before: unknown, after: unknown): unknown {
  if (after === null || after === undefined) return before;
  if (!isPlainMap(before) || !isPlainMap(after)) return after;
  const joined = new Map(Object.entries(before));
  for (const [name, value] of Object.entries(after)) joined.set(name, join(joined.get(name), value));
  return Object.fromEntries(joined);
}

function has(value: unknown, path: readonly string[]): boolean {
  let at = value;
  for (const part of path) {
    if (!isPlainMap(at) || !Object.hasOwn(at, part)) return false;
    at = at[part];
  }
  return true;
}

interface Found {
  readonly node: unknown;
  readonly offset: number | null;
  readonly complete: boolean;
}

function deepest(document: Document, path: readonly string[]): Found {
  let node: unknown = document.contents;
  let offset: number | null = null;
  for (const part of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && String(item.key.value) === part);
      if (pair === undefined) return { node, offset, complete: false };
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      const item: unknown = node.items[Number(part)];
      if (item === undefined) return { node, offset, complete: false };
      offset = startOf(item) ?? offset;
      node = item;
    } else return { node, offset, complete: false };
  }
  return { node: isAlias(node) ? node.resolve(document) : node, offset, complete: true };
}

const startOf = (node: unknown): number | null => (node as Node | null)?.range?.[0] ?? null;
