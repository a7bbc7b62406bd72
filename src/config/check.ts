/**
 * One document against one of our schemas: every form of a value into the one that the schema names, old names into
 * new ones, then ajv. It reports all problems with the path at which they stand, and reads no file and no environment.
 */
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { didYouMean } from './nearest.ts';
import { isSection, type Section, type Setting } from './schema.ts';
import { readIgnoredSlots, readPermanentSlots } from './slots.ts';
import {
  parseAddresses,
  parseBoolean,
  parseDuration,
  parseInteger,
  parseSize,
  printBytes,
  printSeconds,
  splitAddress,
  splitList,
} from './units.ts';

export type Path = readonly string[];

export interface Remark {
  /** As written in the document: also where the name is an old one. */
  readonly path: Path;
  readonly message: string;
}

export interface Checked {
  /** Complete only when there are no problems. Without the names that have no effect. */
  readonly value: Readonly<Record<string, unknown>>;
  readonly problems: readonly Remark[];
  readonly warnings: readonly Remark[];
}

/** Nobody reads more of them, and each takes a look through the whole file. */
export const MOST_REMARKS = 100;

/** How a scalar stands in the file (`0123` is no number 123 when it is a password); null: not known. */
export type SourceOf = (path: Path) => string | null;

const ajv = new Ajv({ allErrors: true, allowUnionTypes: true });
ajv.addVocabulary([
  'kind',
  'scope',
  'from',
  'unit',
  'defaultText',
  'synonyms',
  'patternText',
  'secret',
  'placeholders',
  'renamed',
  'unused',
  'methods',
  'keepsMethods',
  'refused',
]);
ajv.addFormat('address', (text: string) => splitAddress(text) !== null);
ajv.addFormat('addresses', (text: string) => parseAddresses(text, 1) !== null);

const compiled = new WeakMap<Section | Setting, ValidateFunction>();

function validatorOf(schema: Section | Setting): ValidateFunction {
  const known = compiled.get(schema);
  if (known !== undefined) return known;
  const made = ajv.compile(schema);
  compiled.set(schema, made);
  return made;
}

/** Checks a whole document. */
export function check(schema: Section, document: unknown, sourceOf: SourceOf = () => null): Checked {
  const walk: Walk = { problems: [], warnings: [], origins: new Map(), sourceOf };
  const value = normaliseSection(schema, document, [], [], walk);
  const validate = validatorOf(schema);
  if (!validate(value)) {
    for (const error of validate.errors?.slice(0, MOST_REMARKS) ?? [])
      walk.problems.push(explain(schema, value, error, walk));
  }
  return { value: isMap(value) ? value : {}, problems: walk.problems, warnings: walk.warnings };
}

export type CheckedSetting =
  | { readonly kind: 'fits'; readonly value: unknown }
  | { readonly kind: 'too-small' | 'too-large'; readonly limit: number; readonly message: string }
  | { readonly kind: 'wrong'; readonly message: string };

/** Checks the value of one setting; what is out of bounds is told apart from what makes no sense. */
export function checkSetting(setting: Setting, raw: unknown): CheckedSetting {
  const value = normaliseValue(setting, raw, null);
  const validate = validatorOf(setting);
  if (validate(value)) return { kind: 'fits', value };
  const message = describeMisfit(setting, value);
  if (typeof value === 'number' && Number.isFinite(value)) {
    if (setting.minimum !== undefined && value < setting.minimum) {
      return { kind: 'too-small', limit: setting.minimum, message };
    }
    if (setting.maximum !== undefined && value > setting.maximum) {
      return { kind: 'too-large', limit: setting.maximum, message };
    }
  }
  return { kind: 'wrong', message };
}

interface Walk {
  readonly problems: Remark[];
  readonly warnings: Remark[];
  /** Path in the normalised document -> path as written, where the two differ. */
  readonly origins: Map<string, Path>;
  readonly sourceOf: SourceOf;
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function normaliseSection(schema: Section, raw: unknown, path: Path, written: Path, walk: Walk): unknown {
  // `tags:` with nothing behind it is an empty section.
  if (raw === null || raw === undefined) return {};
  if (!isMap(raw)) return raw;
  const entries = new Map<string, unknown>();
  for (const [name, value] of Object.entries(raw)) {
    const here = [...written, name];
    const current = own(schema.renamed, name) ?? name;
    const reason = own(schema.unused, current);
    const refusal = own(schema.refused, current);
    const node = own(schema.properties, current);
    if (refusal !== undefined) walk.problems.push({ path: here, message: refusal });
    else if (reason !== undefined) {
      if (!isInactive(value)) walk.warnings.push({ path: here, message: `has no effect: ${reason}` });
    } else if (node === undefined && schema.keepsMethods === true && isMethod(value)) {
      // Free in form: who reads the section takes it as it is written.
    } else if (node === undefined && schema.methods !== undefined && isMethod(value)) {
      walk.warnings.push({ path: here, message: `has no effect: ${schema.methods}` });
    } else if (current !== name && Object.hasOwn(raw, current)) {
      walk.warnings.push({ path: here, message: `has no effect: \`${current}\` is set as well, and wins` });
    } else if (value === null || value === undefined) {
      // Written but empty, as in many sample files: not set. A name that nobody knows is a mistake all the same.
      if (node === undefined) entries.set(current, value);
    } else {
      const there = [...path, current];
      if (current !== name) walk.origins.set(there.join('\n'), here);
      entries.set(
        current,
        node === undefined
          ? value
          : isSection(node)
            ? normaliseSection(node, value, there, here, walk)
            : normaliseValue(node, value, walk.sourceOf(here)),
      );
      if (node !== undefined && !isSection(node)) walk.problems.push(...slotProblems(node, value, here));
    }
  }
  return Object.fromEntries(entries);
}

/** What ajv's words would not say well. */
function slotProblems(setting: Setting, value: unknown, path: Path): readonly Remark[] {
  const read =
    setting.kind === 'slots' ? readPermanentSlots : setting.kind === 'slot matchers' ? readIgnoredSlots : null;
  const problems = read === null ? [] : read(value).problems;
  return problems.map(({ at, message }) => ({ path: at === '' ? path : [...path, at], message }));
}

function own<T>(of: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return of !== undefined && Object.hasOwn(of, name) ? of[name] : undefined;
}

export const isMethod = (value: unknown): boolean => isMap(value) && typeof value['command'] === 'string';

/** A setting that is switched off needs no warning that it cannot be switched on. */
export function isInactive(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0 || value === -1) return true;
  if (parseBoolean(value) === false) return true;
  if (Array.isArray(value)) return value.length === 0 || (value.length === 1 && value[0] === 'basebackup');
  return isMap(value) && Object.keys(value).length === 0;
}

/** What does not fit any form is returned as it came: ajv then refuses it. */
function normaliseValue(setting: Setting, raw: unknown, source: string | null): unknown {
  switch (setting.kind) {
    case 'text':
    case 'path':
    case 'address':
      return typeof raw === 'number' || typeof raw === 'boolean' ? (source ?? String(raw)) : raw;
    case 'addresses':
      return Array.isArray(raw) ? raw.join(',') : typeof raw === 'number' ? (source ?? String(raw)) : raw;
    case 'choice':
      return normaliseChoice(setting, raw);
    case 'boolean':
      return parseBoolean(raw) ?? raw;
    case 'integer':
      return parseInteger(raw) ?? raw;
    case 'duration':
      return parseDuration(raw) ?? raw;
    case 'size':
      return parseSize(raw) ?? raw;
    case 'list':
      return typeof raw === 'string' ? splitList(raw) : raw;
    case 'lines':
      return typeof raw === 'string' ? raw.split('\n').filter((line) => line.trim() !== '') : raw;
    case 'options':
      return normaliseOptions(raw);
    case 'parameters':
      // A parameter without a value is one that is not set.
      return isMap(raw) ? Object.fromEntries(Object.entries(raw).filter(([, value]) => value !== null)) : raw;
    case 'map':
      return raw;
    // What is no map, or no list, was told of already.
    case 'slots':
      return isMap(raw) ? raw : {};
    case 'slot matchers':
      return Array.isArray(raw) ? raw : [];
  }
}

function normaliseChoice(setting: Setting, raw: unknown): unknown {
  const words = setting.enum ?? [];
  if (typeof raw === 'boolean') {
    // YAML 1.1 reads `guard: off` as a boolean, and people write it as one.
    const word = raw ? 'on' : 'off';
    return words.includes(word) ? word : raw;
  }
  if (typeof raw !== 'string') return raw;
  const word = raw.trim().toLowerCase();
  return own(setting.synonyms, word) ?? (words.includes(word) ? word : raw);
}

/** `[{encoding: UTF8}, 'data-checksums']` or `{encoding: UTF8}` into `--encoding=UTF8`, `--data-checksums`. */
function normaliseOptions(raw: unknown): unknown {
  const entries: readonly unknown[] = Array.isArray(raw) ? raw : isMap(raw) ? [raw] : [raw];
  const options: unknown[] = [];
  for (const entry of entries) {
    if (isMap(entry)) {
      for (const [name, value] of Object.entries(entry)) {
        if (value === true || value === null || value === '') options.push(optionName(name));
        else if (value !== false) options.push(`${optionName(name)}=${String(value)}`);
      }
    } else if (typeof entry === 'string') options.push(optionName(entry));
    else options.push(entry);
  }
  return options;
}

const optionName = (text: string): string => `--${text.trim().replace(/^--?/, '')}`;

function explain(schema: Section, value: unknown, error: ErrorObject, walk: Walk): Remark {
  const path = error.instancePath
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  const params = error.params as Record<string, unknown>;
  const node = nodeAt(schema, path);
  if (error.keyword === 'required') {
    return { path: [...writtenPath(path, walk), String(params['missingProperty'])], message: 'missing' };
  }
  if (error.keyword === 'additionalProperties' && node !== null && isSection(node)) {
    const name = String(params['additionalProperty']);
    const known = [
      ...Object.keys(node.properties),
      ...Object.keys(node.renamed ?? {}),
      ...Object.keys(node.unused ?? {}),
    ];
    return { path: [...writtenPath(path, walk), name], message: `unknown name${didYouMean(name, known)}` };
  }
  const at = writtenPath(path, walk);
  if (node === null) return { path: at, message: `must be text, a number or a boolean` };
  if (isSection(node)) return { path: at, message: 'must be a section with names and values' };
  return { path: at, message: describeMisfit(node, valueAt(value, path)) };
}

function writtenPath(path: Path, walk: Walk): Path {
  // The longest part that was renamed decides; what stands below it is called the same in both.
  for (let length = path.length; length > 0; length -= 1) {
    const written = walk.origins.get(path.slice(0, length).join('\n'));
    if (written !== undefined) return [...written, ...path.slice(length)];
  }
  return path;
}

function nodeAt(schema: Section, path: Path): Section | Setting | null {
  let node: Section | Setting = schema;
  for (const part of path) {
    // Below a list or a map nothing is described.
    if (!isSection(node)) return node.kind === 'parameters' ? null : node;
    const next: Section | Setting | undefined = own(node.properties, part);
    if (next === undefined) return null;
    node = next;
  }
  return node;
}

function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const part of path) at = isMap(at) ? at[part] : Array.isArray(at) ? (at[Number(part)] as unknown) : undefined;
  return at;
}

function describeMisfit(setting: Setting, value: unknown): string {
  const is = setting.secret === true ? '' : `, is ${quote(value)}`;
  if (typeof value === 'number' && setting.type !== 'string') {
    if (setting.minimum !== undefined && value < setting.minimum) {
      return `must be at least ${printIn(setting, setting.minimum)}, is ${printIn(setting, value)}`;
    }
    if (setting.maximum !== undefined && value > setting.maximum) {
      return `must be at most ${printIn(setting, setting.maximum)}, is ${printIn(setting, value)}`;
    }
  }
  const meant = setting.enum !== undefined && typeof value === 'string' ? didYouMean(value, setting.enum) : '';
  return `must be ${expected(setting)}${is}${meant}`;
}

const printIn = (setting: Setting, value: number): string =>
  setting.unit === 's' ? printSeconds(value) : setting.unit === 'bytes' ? printBytes(value) : String(value);

function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** What a value of this setting has to look like, in words. */
export function expected(setting: Setting): string {
  switch (setting.kind) {
    case 'text':
      return setting.patternText ?? 'text';
    case 'path':
      return 'an absolute path';
    case 'choice':
      return `one of ${(setting.enum ?? []).join(', ')}`;
    case 'boolean':
      return 'true or false (also on/off, yes/no, 1/0)';
    case 'integer':
      return 'a whole number';
    case 'duration':
      return setting.type === 'integer'
        ? 'a time in whole seconds (10), or with a unit (10s, 1min)'
        : 'a time in seconds (10), or with a unit (10s, 500ms, 30min)';
    case 'size':
      return 'a number of bytes (1048576), or with a unit (1MB)';
    case 'address':
      return 'host:port (10.0.0.1:5432, [::1]:5432)';
    case 'addresses':
      return 'addresses with one port (*:5432, or 10.0.0.1,127.0.0.1:5432; IPv6 in brackets)';
    case 'list':
      return 'a list, or text with commas';
    case 'lines':
      return 'a list of lines';
    case 'options':
      return 'a list of options (`- name: value`, `- name`)';
    case 'slot matchers':
      return 'a list of slots';
    case 'map':
    case 'slots':
    case 'parameters':
      return 'names with values';
  }
}
