/**
 * `edit-config`: changes the cluster-wide settings. Shows the difference, asks, checks, and writes only if nobody else
 * has written meanwhile: the compare is on the revision that the difference was made from.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readTextFile } from '../../config/files.ts';
import type { Config } from '../../config/schema.ts';
import { mergePatch, validateStored } from '../../config/settings.ts';
import { NoText } from '../../config/text.ts';
import { type ClusterView, KEYS, type Member } from '../../core/cluster.ts';
import { millis } from '../../core/time.ts';
import { CHECK_CONFIG_PATH } from '../check-config.ts';
import { recordDirect } from './audit.ts';
import { diffLines } from './diff.ts';
import { type ActFormat, report } from './outcome.ts';
import { leaderFirst, type Session } from './session.ts';
import { confirm, Misuse, Refusal, type Terminal } from './terminal.ts';

export interface EditOptions {
  /** `ttl=20`, `postgresql.use_slots=false`, `loop_wait=null` */
  readonly set: readonly string[];
  /** `max_connections=200`, below postgresql.parameters */
  readonly pg: readonly string[];
  readonly apply?: string;
  readonly replace?: string;
  readonly quiet?: boolean;
  readonly force?: boolean;
  readonly format: ActFormat;
}

export type Settings = Record<string, unknown>;

/** pgha-ctl may run anywhere, so that no node's own overrides are looked at. */
const AWAY_FROM_NODES = { localOverrides: {}, node: { name: 'this node' } } as unknown as Config;

const WRITE_LIMIT = millis(5_000);
/** Longer than a member waits for its Postgres. */
const CHECK_LIMIT = millis(20_000);

export async function editConfig(session: Session, name: string | undefined, options: EditOptions): Promise<number> {
  const { terminal } = session;
  const scope = await session.scope(name);
  const view = await session.readExisting(scope);
  if (view.config === null)
    throw new Refusal(`Cluster ${scope} has no configuration in etcd yet: it is made at bootstrap.`);
  const before = view.config.value as Settings;
  const after = await edited(terminal, before, options);

  refuseMistakes(before, after);
  const yaml = await import('yaml');
  const difference = diffLines(yaml.stringify(before), yaml.stringify(after));
  if (difference === '') {
    return report(session, options.format, [{ action: 'edit-config', ok: true, said: 'Not changed' }], (o) => o.said);
  }
  if (options.quiet !== true && options.format === 'pretty') terminal.out(difference);
  await askPostgres(session, view, after);
  if (options.force !== true) await confirm(terminal, 'Apply these changes?');

  const store = await session.store(scope);
  const answer = await store.txn(
    {
      compare: [{ key: KEYS.config, modRevision: view.config.revision }],
      success: [{ op: 'put', key: KEYS.config, value: JSON.stringify(after), lease: null }],
      failure: [],
    },
    WRITE_LIMIT,
  );
  if (answer.kind === 'unknown') {
    throw new Refusal(`etcd did not answer in time (${answer.cause}): look with show-config whether it was written.`);
  }
  if (answer.kind === 'failed') throw new Refusal(`etcd refused: ${answer.cause}. Nothing was changed.`);
  if (!answer.succeeded)
    throw new Refusal('Somebody else changed the configuration meanwhile. Nothing was changed: try again.');
  const said = 'Configuration changed';
  await recordDirect(session, scope, { request: 'edit-config', said, before, after });
  return report(session, options.format, [{ action: 'edit-config', ok: true, said }], (o) => o.said);
}

async function edited(terminal: Terminal, before: Settings, options: EditOptions): Promise<Settings> {
  const given = [
    options.apply !== undefined,
    options.replace !== undefined,
    options.set.length + options.pg.length > 0,
  ];
  if (!given.includes(true)) return await inEditor(terminal, before);
  if (options.replace !== undefined) {
    if (given[0] === true || given[2] === true) throw new Misuse('--replace stands alone: it sets everything.');
    return await fromFile(terminal, options.replace);
  }
  let after = structuredClone(before);
  if (options.apply !== undefined) after = mergePatch(after, await fromFile(terminal, options.apply));
  for (const pair of options.set) after = mergePatch(after, await assignment(pair, []));
  for (const pair of options.pg) after = mergePatch(after, await assignment(pair, ['postgresql', 'parameters']));
  return after;
}

const isSettings = (value: unknown): value is Settings =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** `a.b=1` -> {a: {b: 1}}; the value is YAML. */
async function assignment(pair: string, below: readonly string[]): Promise<Settings> {
  const mark = pair.indexOf('=');
  if (mark < 1) throw new Misuse(`${pair}: expected KEY=VALUE`);
  const text = pair.slice(mark + 1);
  // A Postgres parameter's name may hold a dot itself (auto_explain.log_min_duration); a setting's path is made of them.
  const path = below.length > 0 ? [pair.slice(0, mark)] : pair.slice(0, mark).split('.');
  const value: unknown = text === '' ? null : await yamlOf(text, pair.slice(0, mark));
  return [...below, ...path].reduceRight<unknown>((inner, key) => ({ [key.trim()]: inner }), value) as Settings;
}

async function fromFile(terminal: Terminal, path: string): Promise<Settings> {
  return await fromYaml(path === '-' ? await terminal.readAll() : await read(path, path), path);
}

async function read(path: string, called: string): Promise<string> {
  try {
    return await readTextFile(path);
  } catch (error) {
    const { message } = error as Error;
    throw new Refusal(error instanceof NoText ? `${called}, ${message}` : `${called} cannot be read: ${message}`);
  }
}

async function fromYaml(text: string, from: string): Promise<Settings> {
  const value = await yamlOf(text, from);
  if (!isSettings(value)) throw new Refusal(`${from} does not hold settings.`);
  return value;
}

async function yamlOf(text: string, from: string): Promise<unknown> {
  const { parseFile } = await import('../../config/file.ts');
  const { value, mistakes } = parseFile(text);
  if (mistakes.length > 0) throw new Refusal(`${from} is not YAML: ${mistakes.join('; ')}`);
  return value;
}

async function inEditor(terminal: Terminal, before: Settings): Promise<Settings> {
  const { stringify } = await import('yaml');
  const directory = await mkdtemp(join(tmpdir(), 'pgha-config-'));
  const path = join(directory, 'config.yml');
  try {
    await writeFile(path, stringify(before), { mode: 0o600 });
    // As patronictl: what is set, else Debian's choice of an editor, else the one that is everywhere.
    const command = terminal.env['EDITOR'] || '$(command -v editor || echo vi)';
    const code = await new Promise<number | null>((resolve, reject) => {
      // Through a shell: EDITOR may hold arguments, as for git.
      const editor = spawn('/bin/sh', ['-c', `${command} "$1"`, 'editor', path], { stdio: 'inherit' });
      editor.on('error', reject);
      editor.on('close', resolve);
    });
    if (code !== 0) throw new Refusal(`The editor ended with ${code ?? 'a signal'}: nothing was changed.`);
    const written = 'What you wrote';
    return await fromYaml(await read(path, written), written);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * A member's own Postgres knows its parameters, and what values they take: the leader's is asked first. Where no member
 * answers the change may be what brings them back, so it is let pass and told.
 *
 * @throws {Refusal} when it would not live with these settings
 */
async function askPostgres(session: Session, view: ClusterView, after: Settings): Promise<void> {
  const members = leaderFirst(view).filter((member) => member.pgha !== null && member.pgha.role !== 'witness');
  for (const member of members) {
    const problems = await problemsAt(session, member, after);
    if (problems === null) continue;
    if (problems.length === 0) return;
    throw new Refusal(`Nothing was changed:\n${problems.map((it) => `  ${it}`).join('\n')}`);
  }
  session.terminal.progress('No member could be asked whether Postgres takes these settings.');
}

/** null: it does not answer, or does not know the question. */
async function problemsAt(session: Session, member: Member, after: Settings): Promise<readonly string[] | null> {
  try {
    const answer = await session.call(member, 'POST', CHECK_CONFIG_PATH, after, CHECK_LIMIT);
    if (answer.status !== 200) return null;
    const { problems } = JSON.parse(answer.text) as { readonly problems?: unknown };
    return Array.isArray(problems) ? problems.map(String) : null;
  } catch {
    return null;
  }
}

/**
 * Refuses what this edit would break. What was wrong before is not this edit's fault: a setting of a newer Patroni in a
 * mixed cluster must not keep an operator from changing another one.
 */
function refuseMistakes(before: Settings, after: Settings): void {
  const known = new Set(validateStored(before, AWAY_FROM_NODES));
  const problems = validateStored(after, AWAY_FROM_NODES).filter((problem) => !known.has(problem));
  if (problems.length > 0) throw new Refusal(`Nothing was changed:\n${problems.map((it) => `  ${it}`).join('\n')}`);
}
