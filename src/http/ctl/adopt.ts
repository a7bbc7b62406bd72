/**
 * `adopt`: a cluster that runs under repmgr, or under nobody, is taken over by the daemons that watch it (`adopt_from`), and
 * given back. Everything is looked at before anything is touched; repmgrd is paused before pgha leads, and pgha leads no
 * more before repmgrd goes on, so that never both may promote. It uses the daemons' REST API and SQL, and no ssh.
 */
import type { Config } from '../../config/schema.ts';
import type { ClusterView, Member } from '../../core/cluster.ts';
import {
  type AdoptionFacts,
  askDaemon,
  askRepmgrd,
  gatherFacts,
  type Origin,
  type RepmgrdFacts,
  type RepmgrNode,
  readNodes,
  targetOf,
} from './adopt/facts.ts';
import { judgeAdoption, judgeReturn, primariesOf } from './adopt/judge.ts';
import type { Step } from './adopt/names.ts';
import { type Finding, findingsText, worst } from './check/finding.ts';
import { nodeConfig } from './check.ts';
import { type ActFormat, messageOf, plain } from './outcome.ts';
import { changePause } from './pause.ts';
import { removeKeys } from './remove.ts';
import { exists, type Session } from './session.ts';
import { printable } from './table.ts';
import { confirm, Refusal } from './terminal.ts';

export interface AdoptOptions {
  readonly from?: Origin;
  readonly repmgrDatabase?: string;
  readonly force?: boolean;
  readonly format: ActFormat;
}

/** One run: what was found, what was done, what is left to do by hand. */
interface Run {
  readonly session: Session;
  readonly options: AdoptOptions;
  readonly config: Config;
  readonly scope: string;
  readonly origin: Origin;
  readonly done: string[];
}

const LOOK_PAUSE_MS = 250;
/** The daemon takes it within a few cycles or not at all. */
const LEADS_WITHIN_MS = 15_000;
const FOLLOW_WITHIN_MS = 60_000;

export async function adopt(
  session: Session,
  step: Step,
  name: string | undefined,
  options: AdoptOptions,
): Promise<number> {
  const { config } = await nodeConfig(session);
  const scope = name ?? config.scope;
  // Its logins and its repmgr are those of that cluster.
  if (scope !== config.scope)
    throw new Refusal(`This file is a node of cluster ${config.scope}, not of ${scope}. Nothing was touched.`);
  const origin = options.from ?? config.node.adoptFrom ?? 'repmgr';
  const run: Run = { session, options, config, scope, origin, done: [] };
  switch (step) {
    case 'check':
      return check(run);
    case 'take-over':
      return takeOver(run);
    case 'back':
      return back(run);
    default:
      return ((never: never) => never)(step);
  }
}

// ---- what is said ------------------------------------------------------------------------------------------------------------

function say(run: Run, sentence: string): void {
  run.done.push(sentence);
  if (run.options.format === 'pretty') run.session.terminal.out(`-- ${sentence}`);
}

/** The end of a run. @returns the exit code */
function end(run: Run, step: Step, ok: boolean, findings: readonly Finding[], next: readonly string[]): number {
  const { terminal } = run.session;
  if (run.options.format === 'json') {
    terminal.out(JSON.stringify({ step, from: run.origin, ok, findings, done: run.done, next }));
  } else if (next.length > 0) terminal.out(['', 'Next:', ...next.map((one) => `  ${one}`)].join('\n'));
  return ok ? 0 : 1;
}

function show(run: Run, findings: readonly Finding[]): void {
  if (run.options.format === 'pretty' && findings.length > 0)
    run.session.terminal.out(printable(findingsText(findings)));
}

const facts = (run: Run): Promise<AdoptionFacts> =>
  gatherFacts(run.session, run.scope, run.origin, run.config, run.options.repmgrDatabase);

const stands = (findings: readonly Finding[]): boolean => worst(findings) === 'critical';

// ---- check -------------------------------------------------------------------------------------------------------------------

async function check(run: Run): Promise<number> {
  const findings = judgeAdoption(await facts(run));
  show(run, findings);
  if (stands(findings)) return end(run, 'check', false, findings, []);
  return end(run, 'check', true, findings, ['pgha-ctl adopt take-over']);
}

// ---- take-over ---------------------------------------------------------------------------------------------------------------

async function takeOver(run: Run): Promise<number> {
  const { session, scope, options } = run;
  const found = await facts(run);
  const findings = judgeAdoption(found);
  show(run, stands(findings) ? findings : findings.filter(({ level }) => level !== 'ok'));
  if (stands(findings)) {
    if (options.format === 'pretty') session.terminal.err('Error: nothing was touched.');
    return end(run, 'take-over', false, findings, []);
  }
  const [primary] = primariesOf(found);
  if (primary === undefined) throw new Refusal('There is no primary: nothing was touched.');
  const { member } = primary;
  if (options.force !== true)
    await confirm(session.terminal, `Shall pgha lead ${scope} from now on, with ${member.name} as its leader?`);

  const paused = await pauseRepmgrd(run, found);
  // It may have acted until just now.
  const refused = (await newObjections(run)) ?? (await askToLead(run, member));
  if (refused !== null) {
    await unpauseRepmgrd(run, paused);
    throw new Refusal(`${refused}. Postgres was not touched${paused.length > 0 ? ', and repmgrd goes on' : ''}.`);
  }
  const leads = await until(run, `waiting until ${member.name} leads`, LEADS_WITHIN_MS, async () => {
    const view = await session.read(scope);
    return view.leader?.name === member.name && (await askDaemon(session, member))?.writable === true;
  });
  if (!leads) return notLed(run, member, paused);
  say(run, `${member.name} leads ${scope} under pgha: key, guard and window are there, and its Postgres ran on`);

  const standbys = found.members.filter((one) => one.member !== member).map((one) => one.member.name as string);
  let behind: readonly string[] = standbys;
  const follow = await until(run, 'waiting until the standbys follow under pgha', FOLLOW_WITHIN_MS, async () => {
    const followers = await Promise.all(standbys.map((name) => follows(run, name)));
    behind = standbys.filter((_, index) => !followers[index]);
    return behind.length === 0;
  });
  if (follow && standbys.length > 0)
    say(run, `${standbys.join(', ')} stream${standbys.length === 1 ? 's' : ''} from the leader under pgha`);
  const late = behind.map(
    (name): Finding => ({
      level: 'critical',
      about: name,
      said: 'does not stream under pgha yet',
      todo: `journalctl -u pgha on ${name}; pgha-ctl explain`,
    }),
  );
  show(run, late);
  return end(run, 'take-over', follow, [...findings, ...late], afterwards(run));
}

function afterwards({ origin }: Run): readonly string[] {
  return [
    ...(origin === 'repmgr' ? ['on each node: systemctl disable --now repmgrd   (it is paused until then)'] : []),
    'on each node: systemctl disable postgresql   (pgha starts Postgres from now on; do not stop it)',
    ...(origin === 'repmgr' ? ['the slots repmgr_slot_* are dropped by themselves 30 min after their last use'] : []),
    'pgha-ctl list -e shows parameters that wait for a restart; pgha-ctl restart --pending, when it suits you',
    'the way back: pgha-ctl adopt back',
  ];
}

/** null: nothing stands against it. */
async function newObjections(run: Run): Promise<string | null> {
  try {
    const found = judgeAdoption(await facts(run)).filter(({ level }) => level === 'critical');
    return found.length === 0 ? null : found.map(({ about, said }) => `${about}: ${said}`).join('; ');
  } catch (error) {
    return messageOf(error);
  }
}

/** null: it has begun, or may have. */
async function askToLead(run: Run, member: Member): Promise<string | null> {
  try {
    const answer = await run.session.call(member, 'POST', '/pgha/take-over');
    return answer.status === 202 ? null : `${member.name} does not take the cluster over: ${plain(answer.text)}`;
  } catch (error) {
    const said = `${member.name} was asked and did not answer: ${messageOf(error)}`;
    if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return said;
    // Perhaps it leads in a moment: repmgrd must not go on beside it.
    say(run, `${said}; waiting whether it leads`);
    return null;
  }
}

/** Without the key repmgrd may go on; with it, it must not. */
async function notLed(run: Run, member: Member, paused: readonly Paused[]): Promise<number> {
  const view = await run.session.read(run.scope).catch((error: unknown) => messageOf(error));
  if (typeof view === 'string') {
    const said = `whether it has the key of the cluster cannot be seen (${view}); repmgrd stays paused`;
    const how = 'when etcd answers again: pgha-ctl list; where nobody leads: repmgr service unpause';
    const unseen: Finding = { level: 'critical', about: member.name, said, todo: how };
    show(run, [unseen]);
    return end(run, 'take-over', false, [unseen], []);
  }
  const { leader } = view;
  const todo = `journalctl -u pgha on ${member.name} says why`;
  const finding: Finding =
    leader === null
      ? { level: 'critical', about: member.name, said: 'it did not take the key in time; nothing was changed', todo }
      : {
          level: 'critical',
          about: leader.name,
          said: 'has the key of the cluster and does not accept writes under pgha yet; repmgrd stays paused',
          todo: `${todo}; pgha-ctl adopt back gives the cluster back`,
        };
  if (leader === null) await unpauseRepmgrd(run, paused);
  show(run, [finding]);
  return end(run, 'take-over', false, [finding], []);
}

async function follows({ session, scope }: Run, name: string): Promise<boolean> {
  const view = await session.read(scope);
  const member = view.members.find((one) => one.name === name);
  const daemon = member === undefined ? null : await askDaemon(session, member);
  return (
    daemon !== null && daemon.situation === 'following' && daemon.receiving && member?.replicationState === 'streaming'
  );
}

async function until(run: Run, what: string, limitMs: number, isSo: () => Promise<boolean>): Promise<boolean> {
  const { terminal } = run.session;
  const giveUp = terminal.now().getTime() + limitMs;
  for (;;) {
    if (await isSo().catch(() => false)) return true;
    if (terminal.now().getTime() > giveUp) return false;
    terminal.progress(`${what} ...`);
    await terminal.sleep(LOOK_PAUSE_MS);
  }
}

// ---- repmgrd -----------------------------------------------------------------------------------------------------------------

interface Paused {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

const setPaused = async (run: Run, { host, port }: Paused, paused: boolean): Promise<RepmgrdFacts | string> => {
  const target = targetOf(run.config, host, port, run.options.repmgrDatabase);
  try {
    await run.session.sql(target, `SELECT repmgr.repmgrd_pause(${paused})`);
    return await askRepmgrd(run.session, target);
  } catch (error) {
    return messageOf(error);
  }
};

/**
 * On every node where it runs, as `repmgr service pause` does; it then promotes and follows nothing.
 *
 * @returns where it was not paused before
 * @throws {Refusal} when one cannot be paused; those that were go on
 */
async function pauseRepmgrd(run: Run, { members }: AdoptionFacts): Promise<readonly Paused[]> {
  const paused: Paused[] = [];
  for (const { member, repmgrd } of members) {
    if (repmgrd === null || typeof repmgrd === 'string' || repmgrd.paused) continue;
    const node: Paused = { name: member.name, host: member.host ?? '', port: member.port ?? 5432 };
    const now = await setPaused(run, node, true);
    paused.push(node);
    if (typeof now === 'object' && now.paused) continue;
    await unpauseRepmgrd(run, paused);
    const why = typeof now === 'string' ? now : 'it says that it is not paused';
    throw new Refusal(`repmgrd on ${member.name} could not be paused: ${why}. Nothing else was touched.`);
  }
  if (paused.length > 0) say(run, `repmgrd is paused on ${paused.map(({ name }) => name).join(', ')}`);
  return paused;
}

async function unpauseRepmgrd(run: Run, paused: readonly Paused[]): Promise<readonly string[]> {
  const still: string[] = [];
  for (const node of paused) {
    const now = await setPaused(run, node, false);
    if (typeof now === 'string' || now.paused)
      still.push(`${node.name}: ${typeof now === 'string' ? now : 'still paused'}`);
  }
  if (paused.length > 0 && still.length === 0)
    say(run, `repmgrd goes on on ${paused.map(({ name }) => name).join(', ')}`);
  if (still.length > 0) say(run, `repmgrd stays paused (${still.join('; ')}): repmgr service unpause`);
  return still;
}

// ---- back --------------------------------------------------------------------------------------------------------------------

/** Twice: while daemons answer the cluster is paused, so that they can be stopped; after that repmgr goes on. */
async function back(run: Run): Promise<number> {
  const { session, scope, options, origin } = run;
  const view = await session.read(scope);
  const alive = view.members.map(({ name }) => name as string);
  if (alive.length > 0) {
    if (view.leader === null && view.initialize === null)
      throw new Refusal(
        `${scope} was not taken over: its daemons only watch. To end that: systemctl disable --now pgha, on each node.`,
      );
    if (!view.members.every(({ pause: isPaused }) => isPaused)) {
      if (options.force !== true) {
        const question = `Shall ${scope} go back${origin === 'repmgr' ? ' to repmgr' : ''}? From now on there is no failover until that is done.`;
        await confirm(session.terminal, question);
      }
      await pauseAll(run, view);
    }
    const next = ['on each node: systemctl disable --now pgha   (Postgres runs on)', 'pgha-ctl adopt back   once more'];
    return end(run, 'back', true, [], next);
  }
  const findings = origin === 'repmgr' ? await returnToRepmgr(run) : [];
  show(run, findings);
  if (stands(findings)) return end(run, 'back', false, findings, ['pgha-ctl adopt back   once more']);
  if (exists(view)) {
    if (!(await removeKeys(session, scope)))
      throw new Refusal(`Somebody still writes keys of ${scope} into etcd: is pgha stopped on all nodes?`);
    say(
      run,
      `the keys of ${scope} are gone from etcd; with \`adopt_from\` in pgha.yml its daemons would only watch again`,
    );
  }
  return end(run, 'back', true, findings, []);
}

async function pauseAll(run: Run, view: ClusterView): Promise<void> {
  const { ok, said } = await changePause(run.session, run.scope, view, true, true);
  if (!ok) throw new Refusal(`${run.scope} could not be paused: ${said}. Nothing was changed.`);
  say(
    run,
    `${run.scope} is paused: pgha starts, stops and promotes nothing any more, and its guards strike at nothing`,
  );
}

async function returnToRepmgr(run: Run): Promise<readonly Finding[]> {
  const { session, config, options } = run;
  const { host, port } = config.postgresql.connectAddress;
  const nodes = await readNodes(session, targetOf(config, host, port, options.repmgrDatabase));
  if (typeof nodes === 'string')
    return [
      {
        level: 'critical',
        about: 'repmgr',
        said: `repmgr's table cannot be read: ${nodes}`,
        todo: 'run this on a node whose Postgres runs',
      },
    ];
  const ask = async (node: RepmgrNode) => {
    const target = targetOf(config, node.host, node.port, options.repmgrDatabase);
    try {
      const { rows } = await session.sql(target, 'SELECT pg_is_in_recovery()');
      return {
        server: { inRecovery: String(rows[0]?.[0]).startsWith('t') },
        repmgrd: await askRepmgrd(session, target),
      };
    } catch (error) {
      return { server: messageOf(error), repmgrd: messageOf(error) };
    }
  };
  const answers = new Map(await Promise.all(nodes.map(async (node) => [node.id, await ask(node)] as const)));
  const servers = new Map([...answers].map(([id, { server }]) => [id, server]));
  const repmgrd = new Map([...answers].map(([id, one]) => [id, one.repmgrd]));
  const findings = judgeReturn(nodes, servers, repmgrd);
  if (stands(findings)) return findings;
  const there = nodes.filter(({ id, type }) => type !== 'witness' && typeof servers.get(id) === 'object');
  const still = await unpauseRepmgrd(run, there);
  return still.length === 0
    ? findings
    : [...findings, { level: 'critical', about: 'repmgrd', said: still.join('; '), todo: 'repmgr service unpause' }];
}
