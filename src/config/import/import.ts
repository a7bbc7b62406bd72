/**
 * The file of another program -> a pgha.yml that `pgha --validate-config` takes, with a row for every setting. Bytes in,
 * text out: it reads and writes no file. What it makes was checked by the daemon's own reader before it is handed out.
 */
import { stringify } from 'yaml';
import { PghaError } from '../../errors.ts';
import { parseFile } from '../file.ts';
import { loadConfig } from '../load.ts';
import { localSchema } from '../schema.ts';
import { readText } from '../text.ts';
import type { Draft, Row } from './draft.ts';
import { KIND_NAMES, KINDS, type Kind } from './kinds.ts';
import { importPatroni } from './patroni.ts';
import { importPgpool } from './pgpool.ts';
import { importRepmgr, REPMGR_PARAMETERS } from './repmgr.ts';
import { type Mistake, parseSettings } from './settings-text.ts';
import type { Answers } from './surroundings.ts';

export interface ImportRequest {
  readonly bytes: Uint8Array;
  /** null: its content says it. */
  readonly from: Kind | null;
  readonly answers: Answers;
  /** For files with secrets that a Patroni file may name; throws like `fs.readFileSync`. */
  readonly readFile: (path: string) => string;
}

export type Imported =
  | {
      readonly kind: 'imported';
      readonly from: Kind;
      /** Of a pgha.yml; may hold passwords. */
      readonly yaml: string;
      readonly rows: readonly Row[];
    }
  /** `line 3, column 1: ...`, in the order of the file. */
  | { readonly kind: 'refused'; readonly mistakes: readonly string[] };

export function importConfig(request: ImportRequest): Imported {
  const read = readText(request.bytes);
  if (read.kind === 'none') return refused(read.why);
  if (read.text.trim() === '') return refused('line 1, column 1: the file is empty');
  const from = request.from ?? kindOf(read.text);
  if (from === null)
    return refused(
      'line 1, column 1: neither repmgr.conf nor a Patroni file nor pgpool.conf, by what stands in it: say which with --from',
    );
  const made = make(from, read.text, request.answers);
  if (made.mistakes.length > 0) return { kind: 'refused', mistakes: inOrder(made.mistakes).map(printed) };
  const yaml = yamlOf(from, made.draft);
  const problems = check(yaml, made.draft, request.readFile);
  if (problems.length > 0) return { kind: 'refused', mistakes: inOrder(problems).map(printed) };
  return { kind: 'imported', from, yaml: yamlOf(from, made.draft), rows: made.draft.rows };
}

const refused = (mistake: string): { readonly kind: 'refused'; readonly mistakes: readonly string[] } => ({
  kind: 'refused',
  mistakes: [mistake],
});

const printed = ({ line, column, message }: Mistake): string => `line ${line}, column ${column}: ${message}`;

const inOrder = (mistakes: readonly Mistake[]): readonly Mistake[] =>
  [...mistakes].sort((a, b) => a.line - b.line || a.column - b.column);

// ---- what it is -------------------------------------------------------------------------------------------------------------

const SECTIONS = Object.keys(localSchema.properties).join('|');
const MARKS: Readonly<Record<Kind, RegExp>> = {
  repmgr: new RegExp(
    `^[ \\t]*(${REPMGR_PARAMETERS.filter((name) => name.includes('_') || name === 'conninfo').join('|')})([ \\t]*=|[ \\t]+['\\d])`,
    'gm',
  ),
  patroni: new RegExp(`^(${SECTIONS}|zookeeper|consul|exhibitor|kubernetes|raft|citus)[ \\t]*:([ \\t]|\\r?$)`, 'gm'),
  pgpool:
    /^[ \t]*(backend_(hostname|port|weight|data_directory|flag)\d*|sr_check_\w+|health_check_\w+|load_balance_mode|num_init_children|max_pool|pcp_\w+|enable_pool_hba|master_slave_\w+|backend_clustering_mode|memory_cache_enabled|wd_\w+|use_watchdog|delegate_ip|pool_passwd|connection_cache|failback_command|follow_(primary|master)_command)[ \t]*=/gim,
};

/** The one whose names stand in it most often; null: nobody's do, or two are alike. */
export function kindOf(text: string): Kind | null {
  const counted = KINDS.map((kind) => ({ kind, count: (text.match(MARKS[kind]) ?? []).length }));
  const [first, second] = counted.sort((a, b) => b.count - a.count);
  return first === undefined || first.count === 0 || first.count === second?.count ? null : first.kind;
}

// ---- what it becomes ---------------------------------------------------------------------------------------------------------

interface Made {
  readonly draft: Draft;
  readonly mistakes: readonly Mistake[];
}

function make(from: Kind, text: string, answers: Answers): Made {
  if (from === 'patroni') {
    const file = parseFile(text);
    const made = importPatroni(file, answers);
    return file.mistakes.length === 0 ? made : { draft: made.draft, mistakes: file.mistakes.map(ofYaml) };
  }
  const { settings, mistakes } = parseSettings(text);
  const made = (from === 'repmgr' ? importRepmgr : importPgpool)(settings, answers);
  // What follows from a line that could not be read says nothing new.
  return mistakes.length > 0 ? { draft: made.draft, mistakes } : made;
}

/** `line 3, column 1: ...` as our reader of YAML says it. */
function ofYaml(sentence: string): Mistake {
  const match = /^line (\d+), column (\d+): (.*)$/s.exec(sentence);
  const [, line, column, message] = match ?? [];
  return { line: Number(line ?? 1), column: Number(column ?? 1), message: message ?? sentence };
}

const ORDER = [
  'scope',
  'namespace',
  'name',
  'node_id',
  'priority',
  'location',
  'role',
  'failover',
  'etcd3',
  'etcd',
  'restapi',
  'ctl',
  'bootstrap',
  'postgresql',
  'tags',
  'watchdog',
  'log',
];

function yamlOf(from: Kind, draft: Draft): string {
  const body = stringify(draft.document(ORDER), { lineWidth: 0 });
  const open = draft.rows.filter(({ verdict }) => verdict === 'decide');
  const head = `# Made from ${KIND_NAMES[from]} by pgha-ctl import. Check it with: pgha --validate-config FILE\n`;
  if (open.length === 0) return `${head}\n${body}`;
  const remarks = open.map(({ line, name, value, why }) => {
    const where = line === null ? '' : `line ${line}, `;
    return `# - ${where}${oneLine(name)}${value === null || value === '' ? '' : ` = ${oneLine(value)}`}\n#   ${oneLine(why)}`;
  });
  return `${head}\n${body}\n# Needs a decision:\n${remarks.join('\n')}\n`;
}

/** A comment ends where its line ends: nothing of the imported file may go on behind it. */
const oneLine = (text: string): string => text.replace(/[\p{Cc}\u2028\u2029]/gu, '?');

// ---- whether it is usable ----------------------------------------------------------------------------------------------------

const NAME_OF_RESULT = 'the pgha.yml made of it';

/** The daemon's own reader has the last word; what it says is said of the lines that were imported. */
function check(yaml: string, draft: Draft, readFile: (path: string) => string): readonly Mistake[] {
  try {
    const { warnings } = loadConfig({
      path: NAME_OF_RESULT,
      env: {},
      readFile: (path) => (path === NAME_OF_RESULT ? yaml : secretOf(path, readFile, draft)),
    });
    for (const warning of warnings) tell(draft, warning);
    return [];
  } catch (error) {
    if (!(error instanceof PghaError) || !Array.isArray(error.cause)) throw error;
    return error.cause.map((problem) => located(String(problem), draft));
  }
}

/** A file of a password need not be on the machine where the import is made. */
function secretOf(path: string, readFile: (path: string) => string, draft: Draft): string {
  try {
    return readFile(path);
  } catch {
    draft.todo(path, 'is named for a password and cannot be read here; where pgha runs it has to be there');
    return 'not known here';
  }
}

function split(sentence: string): { readonly path: string; readonly message: string } {
  const match = /^(?:line \d+, column \d+, )?([^\s:]+): (.*)$/s.exec(sentence);
  return { path: match?.[1] ?? '', message: match?.[2] ?? sentence };
}

function located(problem: string, draft: Draft): Mistake {
  const { path, message } = split(problem);
  const origin = originOf(path, draft);
  const said = origin === null || origin.name === path ? `${path}: ${message}` : `${origin.name} (${path}): ${message}`;
  return { line: origin?.line ?? 1, column: origin?.column ?? 1, message: said };
}

function tell(draft: Draft, warning: string): void {
  const { path, message } = split(warning);
  const origin = originOf(path, draft);
  if (origin === null || origin.name !== path) draft.todo(path, message);
  else draft.decide(origin, message);
}

/** Of the longest part of the path that comes from the file. */
function originOf(path: string, draft: Draft) {
  const parts = path.split('.');
  for (let length = parts.length; length > 0; length -= 1) {
    const origin = draft.origins.get(parts.slice(0, length).join('.'));
    if (origin !== undefined) return origin;
  }
  return null;
}
