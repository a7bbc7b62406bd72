/**
 * A Patroni node's YAML -> pgha.yml. Names and sections are the same, so nearly everything is taken as it stands, in its own
 * form; what has no effect or cannot be accepted is named, with the reason that the schema has for it.
 */
import { isIP } from 'node:net';
import { isInactive, isMap, isMethod } from '../check.ts';
import type { ParsedFile } from '../file.ts';
import { didYouMean } from '../nearest.ts';
import { isSection, localSchema, type Section, type Setting } from '../schema.ts';
import { splitAddress, splitList } from '../units.ts';
import { Draft, type Origin, shownValue } from './draft.ts';
import { isParameter, PARAMETER_NAMES } from './parameters.ts';
import type { Mistake } from './settings-text.ts';
import { type Answers, addApiPassword, addEtcd, lookForStrangeLetters, tellOfRivals } from './surroundings.ts';
import { archivesNothing, hostTrap, strangeLetter, versionTrap } from './traps.ts';

interface Walk {
  readonly file: ParsedFile;
  readonly draft: Draft;
  readonly mistakes: Mistake[];
}

type Path = readonly string[];

export function importPatroni(file: ParsedFile, answers: Answers): { draft: Draft; mistakes: readonly Mistake[] } {
  const draft = new Draft();
  const walk: Walk = { file, draft, mistakes: [] };
  if (!isMap(file.value)) {
    walk.mistakes.push({ line: 1, column: 1, message: 'this is no map of sections (scope:, name:, postgresql:, ...)' });
    return { draft, mistakes: walk.mistakes };
  }
  for (const [name, value] of walkSection(walk, localSchema, file.value, [])) draft.put(name, value);
  if (answers.scope !== null && draft.get('scope') !== answers.scope)
    draft.add('scope', answers.scope, 'given with --scope');
  judgeEtcd(walk, answers);
  judgePostgres(walk);
  judgePasswords(walk);
  if (!draft.has('restapi.authentication')) addApiPassword(draft);
  tellOfRivals(draft, 'patroni');
  return { draft, mistakes: walk.mistakes };
}

function originOf({ file }: Walk, path: Path, value: unknown, secret = false): Origin {
  const at = file.positionOf(path) ?? { line: 1, column: 1 };
  const isSecret = secret || /password|passwd|secret|conninfo/i.test(path.at(-1) ?? '');
  return {
    name: shownValue(path.join('.')),
    line: at.line,
    column: at.column,
    shown: isSecret ? '***' : shownValue(value),
  };
}

/** What of a section goes over, in its own order; rows are written on the way. */
function walkSection(
  walk: Walk,
  schema: Section,
  raw: Readonly<Record<string, unknown>>,
  path: Path,
): Map<string, unknown> {
  const kept = new Map<string, unknown>();
  for (const [name, value] of Object.entries(raw)) {
    const here = [...path, name];
    const current = own(schema.renamed, name) ?? name;
    const node = own(schema.properties, current);
    const origin = originOf(walk, here, value, node !== undefined && !isSection(node) && node.secret === true);
    const refusal = own(schema.refused, current);
    const reason = own(schema.unused, current);
    if (refusal !== undefined) walk.draft.decide(section(origin, value), refusal);
    else if (reason !== undefined)
      walk.draft.notNeeded(section(origin, value), isInactive(value) ? `off or empty. ${reason}` : reason);
    else if (current !== name && Object.hasOwn(raw, current))
      walk.draft.notNeeded(origin, `\`${current}\` is set as well, and wins`);
    else if (value === null || value === undefined) walk.draft.notNeeded(origin, 'empty: not set');
    else if (node === undefined) takeOther(walk, schema, here, value, origin, kept);
    else if (!isSection(node)) kept.set(current, takeSetting(walk, node, here, current, value, origin));
    else if (isMap(value)) {
      walk.draft.origins.set([...path, current].join('.'), section(origin, value));
      kept.set(current, walkSection(walk, node, value, here));
    } else walk.mistakes.push({ ...origin, message: `${origin.name}: must be a section with names and values` });
  }
  return kept;
}

/** A section is a row of its own: its values are not all shown. */
const section = (origin: Origin, value: unknown): Origin => (isMap(value) ? { ...origin, shown: '' } : origin);

function own<T>(of: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return of !== undefined && Object.hasOwn(of, name) ? of[name] : undefined;
}

/** Names that the schema does not have: methods and tags of one's own, and mistakes. */
function takeOther(
  walk: Walk,
  schema: Section,
  path: Path,
  value: unknown,
  origin: Origin,
  kept: Map<string, unknown>,
): void {
  const name = path.at(-1) ?? '';
  if (schema.additionalProperties) {
    kept.set(name, value);
    walk.draft.keepsDefault(origin, origin.name, '');
  } else if (isMethod(value) && schema.keepsMethods === true) {
    kept.set(name, value);
    walk.draft.keepsDefault(section(origin, value), origin.name, 'a method of your own');
  } else if (isMethod(value) && schema.methods !== undefined)
    walk.draft.notNeeded(section(origin, value), schema.methods);
  else {
    const known = [
      ...Object.keys(schema.properties),
      ...Object.keys(schema.renamed ?? {}),
      ...Object.keys(schema.unused ?? {}),
    ];
    const strange = strangeLetter(name);
    const why = strange === null ? didYouMean(name, known) || '.' : `: ${strange.sentence}.`;
    walk.draft.decide(section(origin, value), `neither Patroni nor pgha knows this name${why} It was left out`);
  }
}

function takeSetting(walk: Walk, node: Setting, path: Path, current: string, value: unknown, origin: Origin): unknown {
  const target = [...path.slice(0, -1), current].join('.');
  walk.draft.origins.set(target, origin);
  if (node.kind === 'parameters' && isMap(value)) return takeParameters(walk, path, value);
  walk.draft.keepsDefault(origin, target, current === path.at(-1) ? '' : `is called ${current} now`);
  // `0123` is no number 83 when it is a password, and 5432.10 no number when it is a name.
  const isText = node.kind === 'text' || node.kind === 'path' || node.kind === 'address' || node.kind === 'addresses';
  if (isText && (typeof value === 'number' || typeof value === 'boolean'))
    return walk.file.sourceOf(path) ?? String(value);
  if (isText && typeof value === 'string' && node.secret !== true) judgeText(walk, node, value, origin);
  return value;
}

function judgeText({ draft }: Walk, node: Setting, value: string, origin: Origin): void {
  if (node.kind === 'path' || value.includes('/')) lookForStrangeLetters(draft, origin, value);
  if (node.kind === 'path') {
    const trap = versionTrap(value);
    if (trap !== null) draft.decide(origin, trap);
  }
  if (node.kind === 'address' && origin.name.endsWith('connect_address')) {
    const host = splitAddress(value)?.host;
    const trap = host === undefined ? null : hostTrap(host);
    if (trap !== null) draft.decide(origin, `${host} ${trap}`);
  }
}

/** Parameters of Postgres: a name that it does not know keeps it from starting. */
function takeParameters(walk: Walk, path: Path, given: Readonly<Record<string, unknown>>): Map<string, unknown> {
  const kept = new Map<string, unknown>();
  for (const [name, value] of Object.entries(given)) {
    const here = [...path, name];
    const origin = originOf(walk, here, value);
    if (value === null || value === undefined) {
      walk.draft.notNeeded(origin, 'empty: not set');
      continue;
    }
    // Of an extension, or one that is known.
    const meant = name.includes('.') || isParameter(name) ? '' : didYouMean(name, PARAMETER_NAMES);
    if (meant !== '') {
      walk.draft.decide(
        origin,
        `PostgreSQL has no parameter of this name, and would not start with it${meant} It was left out`,
      );
      continue;
    }
    kept.set(name, value);
    walk.draft.origins.set(here.join('.'), origin);
    if (!name.includes('.') && !isParameter(name))
      walk.draft.decide(
        origin,
        'was taken, but no PostgreSQL from 12 to 18 is known to have such a parameter: with one it does not know it does not start',
      );
    else
      walk.draft.keepsDefault(
        origin,
        here.join('.'),
        name === 'wal_keep_segments' ? 'as wal_keep_size from PostgreSQL 13 on, 16 MB each' : '',
      );
    if (name === 'archive_command' && typeof value === 'string' && archivesNothing(value))
      walk.draft.decide(
        origin,
        'archives nothing and says that it did: no backup can be restored to a point in time with it. archive_mode off says the same honestly',
      );
    if (name === 'shared_preload_libraries' && /\brepmgr\b/.test(String(value)))
      walk.draft.decide(origin, 'repmgr is not needed in it any more');
  }
  return kept;
}

const OTHER_STORES = ['zookeeper', 'consul', 'exhibitor', 'kubernetes', 'raft'];

function judgeEtcd(walk: Walk, answers: Answers): void {
  const { draft, file } = walk;
  const given = isMap(file.value) ? file.value : {};
  const other = OTHER_STORES.find((name) => name in given);
  const has = (name: string): boolean => draft.has(name) && isMap(given[name]) && Object.keys(given[name]).length > 0;
  if (answers.etcd.length > 0) {
    draft.put('etcd3.hosts', [...answers.etcd]);
    draft.add('etcd3.hosts', [...answers.etcd], 'given with --etcd');
    return;
  }
  if (!has('etcd') && !has('etcd3')) addEtcd(draft, answers);
  else if (other !== undefined)
    draft.todo(
      'etcd',
      `the file names etcd and ${other}: which of them holds the cluster? With ${other}, pgha needs an etcd beside it, and begins an empty scope there`,
    );
  if (has('etcd') && !has('etcd3'))
    draft.decide(
      section(originOf(walk, ['etcd'], given['etcd']), given['etcd']),
      "with Patroni this section means etcd's API v2; pgha speaks v3 to the same addresses, where those keys are not seen. A cluster that Patroni keeps through v2 has to move to etcd3 first, with Patroni (docs/from-patroni.md); without one, nothing is to be done",
    );
  for (const name of ['etcd', 'etcd3']) {
    const hosts = draft.get(`${name}.hosts`) ?? draft.get(`${name}.host`);
    for (const one of typeof hosts === 'string' ? splitList(hosts) : Array.isArray(hosts) ? hosts.map(String) : []) {
      const host = splitAddress(one.replace(/^https?:\/\//, ''))?.host ?? '';
      const trap = host === '127.0.0.0' || (/^[\d.]+$/.test(host) && isIP(host) === 0) ? hostTrap(host) : null;
      if (trap !== null) draft.decide(originOf(walk, [name, 'hosts'], one), `${host} ${trap}`);
    }
  }
}

/** Whether the members can connect to each other by the lines of pg_hba, as far as networks can tell. */
function judgePostgres(walk: Walk): void {
  const { draft } = walk;
  for (const path of [
    ['postgresql', 'pg_hba'],
    ['bootstrap', 'pg_hba'],
    ['bootstrap', 'dcs', 'postgresql', 'pg_hba'],
  ]) {
    const given = draft.get(path.join('.'));
    if (!Array.isArray(given)) continue;
    const own = splitAddress(String(draft.get('postgresql.connect_address') ?? ''))?.host ?? '';
    const networks = given
      .map((line) => String(line).trim().split(/\s+/))
      .filter(([type = '', database = '']) => type.startsWith('host') && database.split(',').includes('replication'))
      .map(([, , , address = '']) => address);
    const judged = networks.map((network) => contains(network, own));
    if (isIP(own) === 4 && judged.length > 0 && judged.every((one) => one === false))
      draft.decide(
        originOf(walk, path, networks.join(', ')),
        `replication is allowed from ${networks.join(', ')} only, and this node itself is ${own}: the others are in its network, most likely, and would not get in`,
      );
  }
}

/** null: not to be told from the text (a name, `samenet`, IPv6). */
function contains(network: string, address: string): boolean | null {
  const [base = '', bits = '32'] = network.split('/');
  if (network === 'all') return true;
  if (isIP(base) !== 4 || isIP(address) !== 4 || !/^\d{1,2}$/.test(bits)) return null;
  const number = (text: string): number => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(bits));
  return Math.floor(number(base) / size) === Math.floor(number(address) / size);
}

function judgePasswords(walk: Walk): void {
  const inClear = ['superuser', 'replication', 'rewind'].filter((user) =>
    walk.draft.has(`postgresql.authentication.${user}.password`),
  );
  if (inClear.length === 0) return;
  const path = ['postgresql', 'authentication', inClear[0] ?? '', 'password'];
  walk.draft.decide(
    originOf(walk, path, '', true),
    `passwords of ${inClear.join(', ')} stand in clear in both files: \`password_file: /etc/pgha/NAME.password\` keeps them apart; pgha never writes them to etcd or a log`,
  );
}
