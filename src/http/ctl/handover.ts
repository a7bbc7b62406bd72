/**
 * `switchover` and `failover`: another member becomes the leader. Asks what was not given, has the leader (or, for a
 * failover, any member that answers) do it, and waits until the new primary takes writes. When no member answers, the
 * wish is written into etcd, where whoever comes back finds it.
 */
import { unfit } from '../../core/candidate.ts';
import { type ClusterView, isSyncStandby, KEYS, type Member } from '../../core/cluster.ts';
import { ABSENT } from '../../core/store.ts';
import { millis } from '../../core/time.ts';
import { readPeerStatus } from '../../peers/http.ts';
import { PAUSED_HEADER } from '../control.ts';
import { recordDirect } from './audit.ts';
import { membersText } from './member-table.ts';
import { type ActFormat, messageOf, type Outcome, plain, report, timestamp } from './outcome.ts';
import { type ApiAnswer, leaderFirst, leaderOf, type Session } from './session.ts';
import { confirm, prompt, Refusal } from './terminal.ts';
import { chooseTime } from './when.ts';

export interface HandoverOptions {
  readonly leader?: string;
  /** The same under its other name. */
  readonly primary?: string;
  readonly candidate?: string;
  readonly scheduled?: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  /** Of a failover: commits that the candidate lacks may be lost. */
  readonly acceptDataLoss?: boolean;
  readonly wait?: boolean;
  readonly format: ActFormat;
}

/** Longer than any switchover takes; the member answers with its own bound before. */
const ACT_LIMIT = millis(180_000);
const WRITABLE_LIMIT_MS = 60_000;
const WRITABLE_PAUSE_MS = 100;

interface Plan {
  readonly kind: 'switchover' | 'failover';
  readonly scope: string;
  readonly view: ClusterView;
  readonly leader: string | null;
  readonly candidate: string | null;
  readonly forced?: boolean;
  /** ISO 8601; null: now. */
  readonly scheduledAt: string | null;
}

export async function switchover(
  session: Session,
  name: string | undefined,
  options: HandoverOptions,
): Promise<number> {
  const scope = await session.scope(name);
  const view = await session.readExisting(scope);
  if (view.leader === null) throw new Refusal(`Cluster ${scope} has no leader: use failover --candidate.`);
  const current: string = view.leader.name;
  const { terminal } = session;
  const given = options.leader ?? options.primary;
  const leader = given ?? (options.force === true ? current : await prompt(terminal, 'Primary', current));
  if (leader !== current)
    throw new Refusal(`Member ${leader} is not the leader of cluster ${scope}: that is ${current}.`);

  const candidate = await chooseCandidate(session, view, scope, options);
  if (candidate === leader) throw new Refusal(`${candidate} is the leader already.`);
  const mayAsk = options.force !== true && options.dryRun !== true;
  const scheduledAt = await chooseTime(session, 'switchover', options.scheduled, mayAsk);
  return await carryOut(session, { kind: 'switchover', scope, view, leader, candidate, scheduledAt }, options);
}

export async function failover(session: Session, name: string | undefined, options: HandoverOptions): Promise<number> {
  const scope = await session.scope(name);
  const view = await session.readExisting(scope);
  const candidate = await chooseCandidate(session, view, scope, options);
  if (candidate === null) throw new Refusal('A failover needs to be told its candidate: use --candidate.');
  if (candidate === view.leader?.name) throw new Refusal(`${candidate} is the leader already.`);
  let forced = options.acceptDataLoss === true;
  if (!forced && options.force !== true && options.dryRun !== true && mayLackCommits(view, candidate)) {
    await confirm(
      session.terminal,
      `Are you sure you want to failover to the asynchronous node ${candidate}? Commits that it lacks are lost.`,
    );
    forced = true;
  }
  return await carryOut(
    session,
    {
      kind: 'failover',
      scope,
      view,
      leader: null,
      candidate,
      scheduledAt: null,
      ...(forced ? { forced: true } : {}),
    },
    options,
  );
}

/** Commits wait for others than this one. */
function mayLackCommits(view: ClusterView, candidate: string): boolean {
  const mode = String(view.config?.value['synchronous_mode'] ?? 'off').toLowerCase();
  if (['off', 'false', 'no', '0', 'quorum'].includes(mode) || view.sync?.key == null) return false;
  return view.sync.key.leader !== candidate && !isSyncStandby(view, candidate);
}

async function chooseCandidate(
  session: Session,
  view: ClusterView,
  scope: string,
  options: HandoverOptions,
): Promise<string | null> {
  const others = view.members.filter((member) => member.name !== view.leader?.name);
  const names = others.filter((member) => member.tags['nofailover'] !== true).map((member): string => member.name);
  if (names.length === 0) throw new Refusal(`Cluster ${scope} has no member that could take over.`);
  const ask = options.candidate === undefined && options.force !== true;
  const listed = `[${names.map((name) => `'${name}'`).join(', ')}]`;
  const chosen = ask ? await prompt(session.terminal, `Candidate ${listed}`, '') : (options.candidate ?? '');
  if (chosen === '') return null;
  if (!view.members.some((member) => member.name === chosen)) {
    throw new Refusal(
      `Member ${chosen} does not exist in cluster ${scope} or is tagged as nofailover. Members: ${names.join(', ')}.`,
    );
  }
  return chosen;
}

async function carryOut(session: Session, plan: Plan, options: HandoverOptions): Promise<number> {
  const { terminal } = session;
  const { scope, view, kind } = plan;
  if (options.dryRun === true) return await check(session, plan, options.format);
  if (options.force !== true) {
    terminal.out('Current cluster topology');
    terminal.out(await membersText([{ scope, view }], 'pretty'));
    const demoted = view.leader === null ? '' : `, demoting current leader ${view.leader.name}`;
    const when = plan.scheduledAt === null ? '' : ` at ${plan.scheduledAt}`;
    await confirm(
      terminal,
      plan.scheduledAt === null
        ? `Are you sure you want to ${kind} cluster ${scope}${demoted}?`
        : `Are you sure you want to schedule switchover of cluster ${scope}${when}${demoted}?`,
    );
  }
  terminal.progress(`${kind} of ${scope} under way ...`);
  const outcome = await ask(session, plan);
  const immediate = outcome.ok && plan.scheduledAt === null;
  const done = immediate && options.wait !== false ? await untilWritable(session, plan, outcome) : outcome;
  const code = report(session, options.format, [done], spoken);
  if (options.format === 'pretty') {
    const now = await session.read(scope).catch(() => null);
    if (now !== null) terminal.out(await membersText([{ scope, view: now }], 'pretty'));
  }
  return code;

  function spoken(o: Outcome): string {
    const title = kind === 'switchover' ? 'Switchover' : 'Failover';
    if (!o.ok) return `${title} failed, details: ${o.status ?? 'no answer'}, ${o.said}`;
    const paused = o.facts?.['paused_ms'];
    const lines = [`${timestamp(terminal.now(), true)} ${o.said}`];
    if (typeof paused === 'number') lines.push(`Writes paused for ${paused} ms.`);
    return [...lines, ...ofPoolers(o)].join('\n');
  }
}

/** Has a member do it; the leader first, since any other only passes the wish on. */
async function ask(session: Session, plan: Plan): Promise<Outcome> {
  const { kind } = plan;
  const body = {
    ...(plan.leader === null ? {} : { leader: plan.leader }),
    ...(plan.candidate === null ? {} : { candidate: plan.candidate }),
    ...(plan.scheduledAt === null ? {} : { scheduled_at: plan.scheduledAt }),
    ...(plan.forced === true ? { accept_data_loss: true } : {}),
  };
  const silent: string[] = [];
  for (const member of order(plan)) {
    let answer: ApiAnswer;
    try {
      // A dead node would keep the request itself waiting for minutes, and then leave open whether it arrived.
      const status = (await session.call(member, 'GET', '/patroni')).text;
      // A guard that stands in for a daemon answers as well, and can do nothing.
      if (!status.includes('"patroni"')) throw new Error('its daemon is not running');
    } catch (error) {
      silent.push(`${member.name}: ${messageOf(error)}`);
      continue;
    }
    try {
      answer = await session.call(member, 'POST', `/${kind}`, body, ACT_LIMIT);
    } catch (error) {
      // It may have heard us: asking a second member could start it twice.
      return {
        action: kind,
        ok: false,
        member: member.name,
        status: null,
        said: `status unknown: ${messageOf(error)}`,
      };
    }
    const paused = Number(answer.headers[PAUSED_HEADER]);
    const ok = answer.status === 200 || answer.status === 202;
    return {
      action: kind,
      ok,
      member: member.name,
      status: answer.status,
      said: plain(answer.text),
      ...(Number.isFinite(paused) && answer.headers[PAUSED_HEADER] !== undefined
        ? { facts: { paused_ms: paused } }
        : {}),
    };
  }
  return await writeWish(session, plan, silent);
}

function order(plan: Plan): readonly Member[] {
  const members = leaderFirst(plan.view);
  if (plan.view.leader !== null) return members;
  const candidate = members.find((member) => member.name === plan.candidate);
  return candidate === undefined ? members : [candidate, ...members.filter((member) => member !== candidate)];
}

/** Nobody answers: the wish stands in etcd, unless somebody else's stands there already. */
async function writeWish(session: Session, plan: Plan, silent: readonly string[]): Promise<Outcome> {
  const { kind, view } = plan;
  const wish = {
    ...(plan.leader === null ? {} : { leader: plan.leader }),
    ...(plan.candidate === null ? {} : { member: plan.candidate }),
    ...(plan.scheduledAt === null ? {} : { scheduled_at: plan.scheduledAt }),
    ...(plan.forced === true ? { pgha: { accept_data_loss: true } } : {}),
  };
  const store = await session.store(plan.scope);
  const seen = await store.read(millis(3_000));
  if (seen.kind === 'unanswered')
    return { action: kind, ok: false, status: null, said: `no member answers, and neither does etcd: ${seen.cause}` };
  const standing = seen.entries.find((entry) => entry.key === KEYS.failover);
  if (view.failover !== null && standing?.modRevision !== view.failover.revision) {
    return { action: kind, ok: false, status: null, said: 'another switchover or failover was asked for meanwhile' };
  }
  const written = await store.txn(
    {
      compare: [{ key: KEYS.failover, modRevision: standing?.modRevision ?? ABSENT }],
      success: [{ op: 'put', key: KEYS.failover, value: JSON.stringify(wish), lease: null }],
      failure: [],
    },
    millis(3_000),
  );
  if (written.kind === 'answered' && written.succeeded)
    await recordDirect(session, plan.scope, { request: kind, asked: wish, said: 'written to etcd: no member answers' });
  const why = silent.length === 0 ? 'no member is there' : `no member answers (${silent.join('; ')})`;
  return written.kind === 'answered' && written.succeeded
    ? {
        action: kind,
        ok: true,
        said: `${why}: the request was written to etcd and is acted on by whoever leads or comes back`,
      }
    : { action: kind, ok: false, status: null, said: `${why}, and the request could not be written to etcd` };
}

/** Successful means that writes are taken again, not that the key has moved. */
async function untilWritable(session: Session, plan: Plan, outcome: Outcome): Promise<Outcome> {
  const { terminal } = session;
  const giveUp = terminal.now().getTime() + WRITABLE_LIMIT_MS;
  for (;;) {
    const view = await session.read(plan.scope).catch(() => null);
    const leader = view === null ? null : leaderOf(view);
    if (leader !== null && leader.name !== plan.view.leader?.name) {
      const path = leader.role === 'standby_leader' ? '/standby-leader' : '/primary';
      const answer = await session.call(leader, 'GET', path).catch(() => null);
      if (answer?.status === 200) {
        const poolers = await untilClientsGoOn(session, plan);
        return { ...outcome, facts: { ...outcome.facts, leader: leader.name, writable: true, ...poolers } };
      }
      terminal.progress(`${leader.name} leads; waiting until it takes writes ...`);
    }
    if (terminal.now().getTime() > giveUp) {
      const said = `${outcome.said}, but no new primary takes writes after ${WRITABLE_LIMIT_MS / 1000} s`;
      return { ...outcome, ok: false, said };
    }
    await terminal.sleep(WRITABLE_PAUSE_MS);
  }
}

/** What became of clients that wait in poolers; empty: nobody was held back for this. */
async function untilClientsGoOn(session: Session, plan: Plan): Promise<Readonly<Record<string, unknown>>> {
  const { terminal } = session;
  const giveUp = terminal.now().getTime() + WRITABLE_LIMIT_MS;
  for (;;) {
    const pause = (await session.read(plan.scope).catch(() => null))?.poolers ?? null;
    // An older one has nothing to do with this.
    if (pause === null || pause.revision <= plan.view.revision) return {};
    const facts = {
      poolers_paused_ms: pause.pauseMs,
      poolers_skipped: Object.fromEntries(pause.skipped),
      poolers_late: Object.fromEntries(pause.late),
    };
    if (pause.state === 'resumed' || terminal.now().getTime() > giveUp) return facts;
    terminal.progress('waiting until the poolers let clients go on ...');
    await terminal.sleep(WRITABLE_PAUSE_MS);
  }
}

function ofPoolers({ facts }: Outcome): readonly string[] {
  if (facts?.['poolers_paused_ms'] === undefined) return [];
  const paused = facts['poolers_paused_ms'];
  const sentence =
    typeof paused === 'number'
      ? `Clients of the poolers were held back for ${paused} ms.`
      : 'Clients are still held back in some poolers: see the log of the leader.';
  const named = (what: string): readonly string[] =>
    Object.entries(facts[what] ?? {}).map(([address, why]) => `Pooler ${address}: ${String(why)}`);
  return [sentence, ...named('poolers_skipped'), ...named('poolers_late')];
}

/** `--dry-run`: what stands against it, asked of the members themselves. Changes nothing. */
async function check(session: Session, plan: Plan, format: ActFormat): Promise<number> {
  const { view } = plan;
  const candidates = view.members.filter((member) =>
    plan.candidate === null ? member.name !== view.leader?.name : member.name === plan.candidate,
  );
  const outcomes = await Promise.all(
    candidates.map(async (member): Promise<Outcome> => {
      const against = await reasonAgainst(session, member, plan.kind);
      return { action: 'check', member: member.name, ok: against === null, said: against ?? 'can take over' };
    }),
  );
  report(session, format, outcomes, (o) => `${o.ok ? 'ok' : 'no'}: ${o.member ?? ''} ${o.said}`);
  // Without a named candidate one good one is enough.
  return outcomes.some((outcome) => outcome.ok) ? 0 : 1;
}

/** Why this member could not take over now, in its own words; null: it could. */
export async function reasonAgainst(session: Session, member: Member, kind: Plan['kind']): Promise<string | null> {
  let answer: ApiAnswer;
  try {
    answer = await session.call(member, 'GET', '/patroni');
  } catch (error) {
    return `does not answer: ${messageOf(error)}`;
  }
  const status = readPeerStatus(member.name, answer.text);
  if (typeof status === 'string') return status;
  const bad = unfit(status);
  if (bad !== null) return bad;
  if (kind === 'failover') return null;
  const ready = await session.call(member, 'GET', '/readiness').catch(() => null);
  return ready?.status === 200 ? null : 'does not stream from the leader, or lags too far behind';
}
