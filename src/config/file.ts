/**
 * The text of a configuration file and where things stand in it: YAML into plain values, and paths back into line
 * numbers. It knows no setting.
 */
import {
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import { MOST_BYTES } from './text.ts';

/** Of the mistakes in one file so many are told: what follows from one says nothing new. */
const MOST_MISTAKES = 20;
/** Nothing of ours is nested further than six deep; the reader's own limit is the stack of the process. */
const DEEPEST = 100;
/** A configuration has some hundreds of them; to look for what each of more may have meant takes minutes. */
const MOST_NAMES = 10_000;
/** So many aliases may stand in a file, and so much longer than any file may be what it is with them written out. */
const MOST_ALIASES = 1_000;
const MOST_WRITTEN_OUT = 8 * MOST_BYTES;

export interface ParsedFile {
  readonly value: unknown;
  /** Mistakes in the YAML itself, with line and column; `value` is null then. */
  readonly mistakes: readonly string[];
  /** The line of the deepest part of `path` that the file has; null when it has none of it. */
  lineOf(path: readonly string[]): number | null;
  /** In words: `line 3, column 1`, and of several files with the name before it. */
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
  const mistakes: string[] = [];
  const complain = (offset: number, message: string): void => {
    const at = lines.linePos(offset);
    mistakes.push(`line ${at.line}, column ${at.col}: ${message}`);
  };
  const tooDeep = bracketTooDeep(text);
  // `merge` because Patroni's reader knows `<<:`; YAML 1.2 keeps `on` and `off` as text, as Postgres wants them. Whether
  // names repeat is looked at below: the reader compares each with each.
  const options = { lineCounter: lines, merge: true, prettyErrors: false, uniqueKeys: false } as const;
  const document = parseDocument(tooDeep === null ? text : '', options);
  if (tooDeep !== null) mistakes.push(`${tooDeep}: ${NESTED_TOO_DEEP}`);
  for (const { pos, message } of document.errors.slice(0, MOST_MISTAKES))
    complain(pos[0], /call stack/.test(message) ? NESTED_TOO_DEEP : message);
  let value: unknown = null;
  if (mistakes.length === 0) {
    const wrongAt = whatIsWrongAt(document);
    if (wrongAt !== null) complain(wrongAt.offset, wrongAt.message);
    else {
      try {
        value = document.toJS({ maxAliasCount: MOST_ALIASES });
        const wrong = whyNoTree(value);
        if (wrong !== null) {
          value = null;
          complain(firstAlias(document), wrong);
        }
      } catch (cause) {
        const isTooMuch = cause instanceof ReferenceError && /alias count/.test(cause.message);
        complain(
          firstAlias(document),
          isTooMuch ? ALIASES_MULTIPLY : cause instanceof Error ? cause.message : String(cause),
        );
      }
    }
  }
  return {
    value,
    mistakes,
    lineOf,
    positionOf,
    placeOf: (path) => {
      const at = positionOf(path);
      return at === null ? null : `line ${at.line}, column ${at.column}`;
    },
    sourceOf: (path) => {
      const found = deepest(document, path);
      return found.complete && isScalar(found.node) ? (found.node.source ?? null) : null;
    },
  };
}

const NESTED_TOO_DEEP = 'nested too deep: this is no configuration';
/** Before a document, before a scalar, where a flow ends by itself: they stand in no text. */
const MARKS_OF_LEXER: ReadonlySet<string> = new Set(['\x02', '\x1f', '\x18']);
const ALIASES_MULTIPLY = 'aliases that multiply: written out, this is no configuration any more';

/** Where brackets stand in one another too often; null: nowhere. What is indented so far has its own end, the stack. */
function bracketTooDeep(text: string): string | null {
  let depth = 0;
  let before = '';
  for (const token of new Lexer().lex(text)) {
    if (token === '[' || token === '{') depth += 1;
    else if (token === ']' || token === '}') depth -= 1;
    if (depth > DEEPEST) {
      const above = before.split('\n');
      return `line ${above.length}, column ${(above.at(-1)?.length ?? 0) + 1}`;
    }
    if (!MARKS_OF_LEXER.has(token)) before += token;
  }
  return null;
}

/** A name that a map has already, something nested too deep by its indentation, too much of everything; null: nothing. */
function whatIsWrongAt(document: Document.Parsed): { readonly offset: number; readonly message: string } | null {
  let found: { offset: number; message: string } | null = null;
  let count = 0;
  visit(document, {
    Collection: (_, node, path) => {
      // Of a map the pair stands between.
      if (path.length > 2 * DEEPEST) {
        found = { offset: startOf(node) ?? 0, message: NESTED_TOO_DEEP };
        return visit.BREAK;
      }
      const names = new Set<unknown>();
      for (const item of node.items) {
        const key = isPair(item) ? item.key : null;
        if (!isScalar(key) || key.value === '<<') continue;
        if (names.has(key.value)) {
          found = { offset: startOf(key) ?? 0, message: 'Map keys must be unique' };
          return visit.BREAK;
        }
        names.add(key.value);
        count += 1;
        if (count > MOST_NAMES) {
          found = { offset: startOf(key) ?? 0, message: `more than ${MOST_NAMES} names: this is no configuration` };
          return visit.BREAK;
        }
      }
      return undefined;
    },
  });
  return found;
}

function firstAlias(document: Document.Parsed): number {
  let found = 0;
  visit(document, {
    Alias: (_, alias) => {
      found = startOf(alias) ?? 0;
      return visit.BREAK;
    },
  });
  return found;
}

/** Aliases may make of a file what nobody can walk through: `a: &a {b: *a}` has no end, and others end too late. */
function whyNoTree(value: unknown): string | null {
  let length = 0;
  const above = new Set<unknown>();
  const look = (one: unknown): string | null => {
    if (typeof one === 'string') length += one.length;
    if (length > MOST_WRITTEN_OUT) return ALIASES_MULTIPLY;
    if (typeof one !== 'object' || one === null) return null;
    if (above.has(one)) return 'an alias stands inside of what it names';
    above.add(one);
    for (const [name, inner] of Object.entries(one)) {
      length += name.length + 1;
      const wrong = look(inner);
      if (wrong !== null) return wrong;
    }
    above.delete(one);
    return null;
  };
  return look(value);
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
      return one === undefined ? null : `${one.name}, ${one.file.placeOf(path) ?? 'line 1, column 1'}`;
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
