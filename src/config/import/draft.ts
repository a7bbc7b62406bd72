/**
 * A pgha.yml in the making, with a row for every setting of the file that it is made from: what was taken, what is not
 * needed any more and why, what somebody has to decide. It judges nothing itself.
 */
import { withoutSecrets } from './traps.ts';

export type Verdict = 'taken' | 'not needed' | 'decide' | 'added';

/** A setting of the imported file. */
export interface Origin {
  readonly name: string;
  readonly line: number;
  readonly column: number;
  /** As it may be shown: without passwords. */
  readonly shown: string;
}

export interface Row {
  readonly verdict: Verdict;
  /** Of the imported file; null: the file says nothing of it. */
  readonly line: number | null;
  readonly column: number | null;
  readonly name: string;
  /** null: there is none, or it is a secret. */
  readonly value: string | null;
  /** Where it stands in pgha.yml, in dots; null: nowhere. */
  readonly became: string | null;
  /** A sentence or two; empty: the names say it. */
  readonly why: string;
}

type Tree = Map<string, unknown>;

export class Draft {
  readonly rows: Row[] = [];
  /** Path in pgha.yml -> where it comes from: so that what is wrong with it is said of the imported file. */
  readonly origins = new Map<string, Origin>();
  readonly #tree: Tree = new Map();

  /** `value` comes to stand at `path`. */
  take(origin: Origin, path: string, value: unknown, why = ''): void {
    this.#set(path, value);
    this.origins.set(path, origin);
    this.#row('taken', origin, path, why);
  }

  /** It goes on to hold without being written down: a default says it. */
  keepsDefault(origin: Origin, path: string, why: string): void {
    this.#row('taken', origin, path, why);
  }

  notNeeded(origin: Origin, why: string): void {
    this.#row('not needed', origin, null, why);
  }

  decide(origin: Origin, why: string): void {
    this.#row('decide', origin, null, why);
  }

  /** What a person has to look at or to do, and no setting of the file says. */
  todo(name: string, why: string): void {
    this.rows.push({ verdict: 'decide', line: null, column: null, name, value: null, became: null, why });
  }

  /** What pgha needs and the file does not say. */
  add(path: string, value: unknown, why: string, origin?: Origin): void {
    this.#set(path, value);
    if (origin !== undefined) this.origins.set(path, origin);
    this.rows.push({
      verdict: 'added',
      line: null,
      column: null,
      name: path,
      value: shownValue(value),
      became: path,
      why,
    });
  }

  /** Without a row of its own: it belongs to one that there is. */
  put(path: string, value: unknown, origin?: Origin): void {
    this.#set(path, value);
    if (origin !== undefined) this.origins.set(path, origin);
  }

  has(path: string): boolean {
    return this.get(path) !== undefined;
  }

  get(path: string): unknown {
    let at: unknown = this.#tree;
    for (const part of path.split('.')) at = at instanceof Map ? at.get(part) : undefined;
    return at;
  }

  /** The whole, for a writer of YAML; in `order` as far as that goes. */
  document(order: readonly string[]): Readonly<Record<string, unknown>> {
    const rank = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length);
    const entries = [...this.#tree].sort(([a], [b]) => rank(a) - rank(b));
    return Object.fromEntries(entries.map(([name, value]) => [name, plain(value)]));
  }

  #set(path: string, value: unknown): void {
    const parts = path.split('.');
    const last = parts.pop() ?? '';
    let at = this.#tree;
    for (const part of parts) {
      const next = at.get(part);
      const below: Tree = next instanceof Map ? next : new Map<string, unknown>();
      at.set(part, below);
      at = below;
    }
    at.set(last, value);
  }

  #row(verdict: Verdict, origin: Origin, became: string | null, why: string): void {
    const { name, line, column, shown } = origin;
    this.rows.push({ verdict, line, column, name, value: shown, became, why });
  }
}

const plain = (value: unknown): unknown =>
  value instanceof Map ? Object.fromEntries([...value].map(([name, inner]) => [name, plain(inner)])) : value;

const LONGEST_SHOWN = 80;

/** A value in a list for people: on one line, not too long, without passwords. */
export function shownValue(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  const safe = withoutSecrets(text).replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '?');
  return safe.length > LONGEST_SHOWN ? `${safe.slice(0, LONGEST_SHOWN - 3)}...` : safe;
}
