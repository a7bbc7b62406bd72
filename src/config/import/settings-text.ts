/**
 * The text of repmgr.conf and pgpool.conf: `name = 'value'` lines as postgresql.conf has them, into settings with line and
 * column. It knows no setting, and follows no include.
 */
import { strangeLetter } from './traps.ts';

export interface Setting {
  readonly name: string;
  readonly value: string;
  /** Counted from 1; of the name. */
  readonly line: number;
  readonly column: number;
  /** Of the first letter of the value, behind its quote. */
  readonly valueColumn: number;
  /** A quoted value that went on in the next lines: the last of them; else the same as `line`. */
  readonly lastLine: number;
}

export interface Mistake {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export interface SettingsText {
  readonly settings: readonly Setting[];
  readonly mistakes: readonly Mistake[];
}

/** More than any of these programs knows, with room for many servers: what is longer is no such file. */
const MOST_SETTINGS = 2_000;
/** After so many the rest says nothing new. */
const MOST_MISTAKES = 20;
/** A value that a page of a manual has broken has two parts, or three. */
const MOST_LINES_OF_A_VALUE = 3;

const NAME = /^[A-Za-z_][A-Za-z0-9_.]*/;
const ONLY_COMMENT = /^\s*(#.*)?$/;

export function parseSettings(text: string): SettingsText {
  const lines = text.split(/\r\n|\n|\r/);
  const settings: Setting[] = [];
  const mistakes: Mistake[] = [];
  for (let at = 0; at < lines.length; ) {
    if (settings.length > MOST_SETTINGS) {
      mistakes.push({ line: at + 1, column: 1, message: `more than ${MOST_SETTINGS} settings: this is no such file` });
    }
    if (settings.length > MOST_SETTINGS || mistakes.length >= MOST_MISTAKES) break;
    if (ONLY_COMMENT.test(lines[at] ?? '')) {
      at += 1;
      continue;
    }
    const read = readSetting(lines, at);
    if ('message' in read) mistakes.push(read);
    else settings.push(read);
    at = 'message' in read ? at + 1 : read.lastLine;
  }
  return { settings, mistakes };
}

function readSetting(lines: readonly string[], at: number): Setting | Mistake {
  const line = lines[at] ?? '';
  const wrong = (index: number, message: string): Mistake => ({ line: at + 1, column: index + 1, message });
  const start = line.search(/\S/);
  const name = NAME.exec(line.slice(start))?.[0] ?? '';
  const afterName = start + name.length;
  const strange = strangeLetter(line.slice(start).split(/[\s=]/, 1)[0] ?? '');
  if (strange !== null)
    return wrong(start + strange.index, `${strange.sentence}: no name of a setting has such a letter`);
  if (name === '')
    return wrong(start, `a name and a value are expected (name = 'value'), not ${quoted(line.slice(start))}`);
  const between = /^\s*=?\s*/.exec(line.slice(afterName))?.[0] ?? '';
  const valueAt = afterName + between.length;
  const rest = line.slice(valueAt);
  if (between === '' && rest !== '')
    return wrong(afterName, `${quoted(rest)} behind the name: \`=\`, or a blank, is expected`);
  if (rest === '' || rest.startsWith('#')) return wrong(valueAt, `${name} has no value; an empty one is written ''`);
  if (/^["\u201c\u201d\u201e\u2018\u2019\u201a`]/.test(rest))
    return wrong(valueAt, `${rest[0]} is no quote here: write '...' (an apostrophe on both sides)`);
  if (rest.startsWith("'")) return readQuoted(lines, at, { name, column: start + 1, valueAt });
  const bare = /^[^\s#'"=]+/.exec(rest)?.[0] ?? '';
  const end = valueAt + bare.length;
  if (bare === '' || !ONLY_COMMENT.test(line.slice(end)))
    return wrong(
      end,
      `${quoted(line.slice(end).trimStart())} behind the value of ${name}: are quotes missing around it?`,
    );
  if (hasControl(bare)) return wrong(valueAt, `the value of ${name} has a control character in it`);
  return { name, value: bare, line: at + 1, column: start + 1, valueColumn: valueAt + 1, lastLine: at + 1 };
}

interface Opened {
  readonly name: string;
  readonly column: number;
  /** Index of the quote. */
  readonly valueAt: number;
}

/** A value in quotes; also one that goes on in the next line, as manuals break them where a page ends. */
function readQuoted(lines: readonly string[], at: number, { name, column, valueAt }: Opened): Setting | Mistake {
  const parts: string[] = [];
  for (let next = at; next < Math.min(lines.length, at + MOST_LINES_OF_A_VALUE); next += 1) {
    const line = lines[next] ?? '';
    const from = next === at ? valueAt + 1 : 0;
    const { value, end } = untilQuote(line, from);
    const part = next === at ? value.trimEnd() : value.trim();
    parts.push(parts.length === 0 && end !== null ? value : part);
    if (end === null) continue;
    const isWhole = ONLY_COMMENT.test(line.slice(end + 1));
    // The quote that was missing is the one that opens the next value.
    if (!isWhole && next > at) break;
    if (!isWhole)
      return {
        line: next + 1,
        column: end + 2,
        message: `${quoted(line.slice(end + 1).trimStart())} behind the value of ${name}`,
      };
    const joined = parts.join(' ');
    if (hasControl(joined))
      return { line: at + 1, column: valueAt + 1, message: `the value of ${name} has a control character in it` };
    return { name, value: joined, line: at + 1, column, valueColumn: valueAt + 2, lastLine: next + 1 };
  }
  return { line: at + 1, column: valueAt + 1, message: `the quote that begins the value of ${name} does not end` };
}

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/** @returns end: index of the quote that ends the value; null when the line ends before */
function untilQuote(line: string, from: number): { readonly value: string; readonly end: number | null } {
  let value = '';
  for (let index = from; index < line.length; index += 1) {
    const letter = line[index] ?? '';
    if (letter === "'" && line[index + 1] !== "'") return { value, end: index };
    if (letter === '\\' || letter === "'") {
      index += 1;
      const next = line[index] ?? '';
      value += letter === '\\' ? (ESCAPES[next] ?? next) : next;
    } else value += letter;
  }
  return { value, end: null };
}

const hasControl = (text: string): boolean => /\p{Cc}/u.test(text);

/** Somebody else's text in a sentence of ours: short, on one line, and without what would steer a terminal. */
export function quoted(text: string): string {
  const short = text.length > 40 ? `${text.slice(0, 37)}...` : text;
  return JSON.stringify(short).replace(/[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '?');
}
