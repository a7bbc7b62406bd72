/**
 * `drill switchover|failover`: all checks; then, when that is asked for, a rehearsal on the living cluster: a switchover
 * and back, or a primary whose Postgres is really killed. It reports what each phase took beside what the settings plan
 * for it, as the new leader has recorded it and as it was seen from here.
 */

import { withFiles } from '../../config/files.ts';
import { loadConfig } from '../../config/load.ts';
import { resolveCluster } from '../../config/settings.ts';
import { type ClusterView, isOn, type Member } from '../../core/cluster.ts';
import { type DecisionRecord, readRecord } from '../../core/decision-record.ts';
import { millis } from '../../core/time.ts';
import { recordDirect } from './audit.ts';
import { findingsText, type Level, worst } from './check/finding.ts';
import { CHECKS } from './check/names.ts';
import { judged } from './check.ts';
import { describeTimesOf, type PlannedTimes, plannedTimes } from './drill/planned.ts';
import { PrimaryWatch, type Seen } from './drill/primary-watch.ts';
import { reasonAgainst } from './handover.ts';
import { type ActFormat, messageOf, plain } from './outcome.ts';
import { leaderOf, type Session } from './session.ts';
import { drawTable, printable } from './table.ts';
import { Refusal } from './terminal.ts';

export interface DrillOptions {
  readonly candidate?: string;
  /** Go on after the checks without asking. */
  readonly yes?: boolean;
  /** Of a failover: the primary's Postgres, on this machine, is killed. */
  readonly killPostgres?: boolean;
  /** Also where a check has found something critical. */
  readonly regardless?: boolean;
  readonly format: ActFormat;
}

/** One change of the leader in a rehearsal. */
interface Leg {
  readonly title: string;
  readonly from: string;
  readonly to: string;
  readonly seen: Seen;
  /** What the old leader says that writes stood still; null: it is not known. */
  readonly pausedMs: number | null;
  /** Until every other member received from the new primary. */
  readonly wellMs: number;
  readonly planned: PlannedTimes;
  /** What the new leader has noted; null: it did not promote, or nothing stands in etcd yet. */
  readonly record: DecisionRecord | null;
}

const ACT_LIMIT = millis(180_000);
const WRITABLE_LIMIT_MS = 120_000;
const WELL_LIMIT_MS = 300_000;
const RECORD_LIMIT_MS = 10_000;
const PAUSE_MS = 100;

export async function drill(
  session: Session,
  what: 'switchover' | 'failover',
  name: string | undefined,
  options: DrillOptions,
): Promise<number> {
  const { terminal } = session;
  const scope = await session.scope(name);
  const checks = await checkAll(session, scope, options);
  const view = await session.readExisting(scope);
  const { leader, candidate } = await whoTakesPart(session, scope, view, options.candidate);
  const planned = plannedTimes(what === 'switchover' ? 'switchover' : 'postmaster-dies', policyOf(view));
  const bad = checks.filter(({ level }) => level === 'critical');
  if (bad.length > 0 && options.regardless !== true)
    throw new Refusal(`Nothing was done: first see to ${bad.map(({ check }) => check).join(', ')}.`);
  if (options.format === 'pretty')
    terminal.out([describePlan(what, leader, candidate), ...describeTimesOf(planned)].join('\n'));
  if (what === 'failover' && options.killPostgres !== true) {
    terminal.err('Only checked: a failover is rehearsed with --kill-postgres, on the node of the primary.');
    return 0;
  }
  if (options.yes !== true && !(await typedName(session, scope))) {
    terminal.err('Only checked: nothing was changed.');
    return 0;
  }
  const legs =
    what === 'switchover'
      ? await thereAndBack(session, scope, leader, candidate)
      : [await kill(session, scope, view, leader)];
  if (options.format === 'json')
    terminal.out(JSON.stringify({ drill: what, cluster: scope, checks, legs: legs.map(legAsJson) }));
  else for (const leg of legs) terminal.out(printable(legText(leg)));
  return 0;
}

const policyOf = (view: ClusterView) => resolveCluster(view.config?.value ?? null, {}).cluster;

// ---- before ------------------------------------------------------------------------------------------------------------------

async function checkAll(
  session: Session,
  scope: string,
  options: DrillOptions,
): Promise<readonly { readonly check: string; readonly level: Level }[]> {
  const results: { check: string; level: Level }[] = [];
  for (const one of CHECKS) {
    const how = { warning: 16 * 2 ** 20, critical: 128 * 2 ** 20, timeout: 2, format: options.format };
    const { findings } = await judged(session, one, scope, how, true);
    const level = worst(findings);
    results.push({ check: one, level });
    const worth = findings.filter((finding) => finding.level !== 'ok');
    if (options.format !== 'pretty') continue;
    session.terminal.out(
      printable(worth.length === 0 ? `${one}: ok` : `${one}\n${findingsText(worth).replace(/^/gm, '  ')}`),
    );
  }
  return results;
}

/** A rehearsal is for a cluster that is well. @throws {Refusal} */
async function whoTakesPart(
  session: Session,
  scope: string,
  view: ClusterView,
  wanted: string | undefined,
): Promise<{ readonly leader: string; readonly candidate: string }> {
  const leader = leaderOf(view);
  if (leader === null) throw new Refusal(`Cluster ${scope} has no leader: there is nothing to rehearse.`);
  if (isOn(view, 'pause')) throw new Refusal(`Cluster ${scope} is in maintenance: nothing fails over by itself.`);
  if (view.failover !== null && view.failover.leader !== null)
    throw new Refusal('A switchover is asked for already: see `pgha-ctl list`.');
  const others = standbysOf(view, leader.name);
  const reasons = await Promise.all(others.map((member) => reasonAgainst(session, member, 'switchover')));
  const against = others.map((member, index) => ({ name: String(member.name), why: reasons[index] ?? null }));
  const fit = against.filter(({ why }) => why === null).map((one) => one.name);
  const candidate = wanted ?? fit[0];
  const because = against.filter(({ why }) => why !== null).map((one) => `${one.name} ${one.why}`);
  if (candidate === undefined)
    throw new Refusal(`No member could take over: ${because.join('; ') || 'there is no other'}.`);
  if (!fit.includes(candidate))
    throw new Refusal(
      `${candidate} could not take over: ${because.find((one) => one.startsWith(`${candidate} `)) ?? 'it is no standby'}.`,
    );
  return { leader: leader.name, candidate };
}

const standbysOf = (view: ClusterView, leader: string): readonly Member[] =>
  view.members.filter((member) => member.name !== leader && member.pgha?.role !== 'witness');

async function typedName(session: Session, scope: string): Promise<boolean> {
  const typed = await session.terminal.ask(`This is done to the living cluster. Type its name (${scope}) to go on: `);
  return (typed ?? '').trim() === scope;
}

function describePlan(what: 'switchover' | 'failover', leader: string, candidate: string): string {
  return what === 'switchover'
    ? `The rehearsal: a switchover from ${leader} to ${candidate}, and back.`
    : `The rehearsal: the Postgres of ${leader} is killed; whoever takes over goes on as the primary.`;
}

// ---- the rehearsal -----------------------------------------------------------------------------------------------------------

async function thereAndBack(
  session: Session,
  scope: string,
  leader: string,
  candidate: string,
): Promise<readonly Leg[]> {
  const there = await handOver(session, scope, leader, candidate);
  return [there, await handOver(session, scope, candidate, leader)];
}

async function handOver(session: Session, scope: string, from: string, to: string): Promise<Leg> {
  const view = await session.readExisting(scope);
  const leader = leaderOf(view);
  if (leader?.name !== from) throw new Refusal(`${from} does not lead any more: the rehearsal ends here.`);
  session.terminal.progress(`switchover from ${from} to ${to} ...`);
  return await observed(
    session,
    scope,
    view,
    { title: `Switchover from ${from} to ${to}`, from, failure: 'switchover' },
    async () => {
      const body = { leader: from, candidate: to };
      const answer = await session.call(leader, 'POST', '/switchover', body, ACT_LIMIT);
      if (answer.status !== 200)
        throw new Refusal(`The switchover to ${to} failed: ${answer.status}, ${plain(answer.text)}`);
      const paused = Number(answer.headers['pgha-paused-ms'] ?? Number.NaN);
      return Number.isFinite(paused) ? paused : null;
    },
  );
}

async function kill(session: Session, scope: string, view: ClusterView, leader: string): Promise<Leg> {
  const dataDir = await dataDirectoryHere(session, scope, leader);
  return await observed(
    session,
    scope,
    view,
    { title: `Postgres of ${leader} killed`, from: leader, failure: 'postmaster-dies' },
    async () => {
      session.killPostmaster(dataDir);
      await recordDirect(session, scope, {
        request: 'drill failover',
        asked: { killed: leader },
        said: 'Postgres was killed',
      });
      return null;
    },
  );
}

/** @throws {Refusal} unless this is the node that leads */
async function dataDirectoryHere(session: Session, scope: string, leader: string): Promise<string> {
  const { file } = await session.context();
  if (file === null) throw new Refusal("--kill-postgres wants the node's own file: -c /etc/pgha/pgha.yml");
  let config: ReturnType<typeof loadConfig>['config'];
  try {
    ({ config } = await withFiles((files) => loadConfig({ path: file, env: session.terminal.env, ...files })));
  } catch (error) {
    throw new Refusal(`${file} is no file of a node: ${messageOf(error)}`);
  }
  // Several clusters on one host have nodes of one name.
  if (config.scope !== scope)
    throw new Refusal(`${file} is a node of cluster ${config.scope}, not of ${scope}. Nothing was done.`);
  if (config.node.name !== leader)
    throw new Refusal(`This is ${config.node.name}, and ${leader} leads: run it there. Nothing was done.`);
  return config.postgresql.dataDir;
}

interface Move {
  readonly title: string;
  readonly from: string;
  readonly failure: 'switchover' | 'postmaster-dies';
}

/** Does it, and watches who says that he takes writes, until one does and all others receive from him. */
async function observed(
  session: Session,
  scope: string,
  view: ClusterView,
  move: Move,
  act: () => Promise<number | null>,
): Promise<Leg> {
  const { terminal } = session;
  const began = terminal.now().getTime();
  const watch = new PrimaryWatch(session, view.members, move.from);
  watch.start();
  let pausedMs: number | null;
  try {
    pausedMs = await act();
    await until(session, WRITABLE_LIMIT_MS, 'no primary takes writes', async () => watch.back !== null);
  } finally {
    await watch.stop();
  }
  const to = watch.back ?? move.from;
  await until(session, WELL_LIMIT_MS, 'not all members receive from the new primary', () =>
    allReceive(session, scope, to),
  );
  const wellMs = terminal.now().getTime() - began;
  const record = to === move.from ? null : await recordOf(session, scope, to, began);
  return {
    ...move,
    to,
    seen: watch.seen(began),
    pausedMs,
    wellMs,
    planned: plannedTimes(move.failure, policyOf(view)),
    record,
  };
}

async function allReceive(session: Session, scope: string, leader: string): Promise<boolean> {
  const view = await session.read(scope).catch(() => null);
  if (view?.leader?.name !== leader) return false;
  const answers = await Promise.all(
    standbysOf(view, leader).map((member) => session.call(member, 'GET', '/readiness').catch(() => null)),
  );
  return answers.every((answer) => answer?.status === 200);
}

async function recordOf(
  session: Session,
  scope: string,
  leader: string,
  since: number,
): Promise<DecisionRecord | null> {
  let found: DecisionRecord | null = null;
  const look = async (): Promise<boolean> => {
    const view = await session.read(scope).catch(() => null);
    const record = view === null ? null : readRecord(view.lastTakeover);
    // A second for clocks that are not quite the same.
    found = record !== null && record.node === leader && Date.parse(record.at) > since - 1_000 ? record : null;
    return found !== null;
  };
  await until(session, RECORD_LIMIT_MS, '', look).catch(() => undefined);
  return found;
}

async function until(session: Session, limitMs: number, failed: string, holds: () => Promise<boolean>): Promise<void> {
  const { terminal } = session;
  const giveUp = terminal.now().getTime() + limitMs;
  while (!(await holds())) {
    if (terminal.now().getTime() > giveUp)
      throw new Refusal(`After ${limitMs / 1000} s ${failed}: look with \`pgha-ctl list\`.`);
    await terminal.sleep(PAUSE_MS);
  }
}

// ---- the report --------------------------------------------------------------------------------------------------------------

function legAsJson({ title, from, to, seen, pausedMs, wellMs, planned, record }: Leg): object {
  return {
    title,
    from,
    to,
    paused_ms: pausedMs,
    seen_without_primary_ms: seen.withoutMs,
    seen_writable_after_ms: seen.backAfterMs,
    all_well_after_ms: wellMs,
    planned,
    phases: record?.phases ?? [],
    loss: record?.loss ?? null,
  };
}

function legText(leg: Leg): string {
  const { seen, planned, record } = leg;
  const plan = (value: number | null): string => (value === null ? 'as Postgres takes' : `${value} ms`);
  const rows = [
    ...(record?.phases ?? []).map(({ phase, planned_ms, actual_ms }) => [phase, plan(planned_ms), `${actual_ms} ms`]),
    ...(leg.pausedMs === null ? [] : [['writes stood still', `${planned.worst_ms} ms`, `${leg.pausedMs} ms`]]),
    ['seen from here: nobody takes writes', `${planned.worst_ms} ms`, `${seen.withoutMs} ms`],
    ['seen from here: until somebody does', '', `${seen.backAfterMs} ms`],
    ['until all others receive from him', '', `${leg.wellMs} ms`],
  ];
  const late = seen.withoutMs > planned.worst_ms && planned.plus === null;
  const sentence =
    leg.to === leg.from ? `${leg.title}: it is the primary again.` : `${leg.title}: ${leg.to} is the primary.`;
  return [
    sentence,
    drawTable(
      null,
      [
        { title: 'Phase', key: 'phase', align: 'left' },
        { title: 'Planned, at most', key: 'planned', align: 'right' },
        { title: 'Actual', key: 'actual', align: 'right' },
      ],
      rows,
    ),
    ...(record?.loss == null ? [] : [`Loss: ${record.loss.sentence}.`]),
    ...(late ? ['Slower than planned.'] : []),
  ].join('\n');
}
