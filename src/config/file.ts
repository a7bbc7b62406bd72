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
  /** A scalar as it is written, without quotes. */
  sourceOf(path: readonly string[]): string | null;
}

export function parseFile(text: string): ParsedFile {
  const lines = new LineCounter();
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
    } catch (cause) {
      mistakes.push(cause instanceof Error ? cause.message : String(cause));
    }
  }
  return {
    value,
    mistakes,
    lineOf: (path) => {
      const offset = deepest(document, path).offset;
      return offset === null ? null : lines.linePos(offset).line;
    },
    sourceOf: (path) => {
      const found = deepest(document, path);
      return found.complete && isScalar(found.node) ? (found.node.source ?? null) : null;
    },
  };
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
