/**
 * `stop` and `start`: Postgres of members, in maintenance, one after the other. A leader hands over first, unless it is told
 * otherwise or everybody stops: then it goes first, so that the standbys have all of its WAL.
 */
import { type ClusterView, isOn, type Member } from '../../core/cluster.ts';
import { millis } from '../../core/time.ts';
import { type ActFormat, failed, messageOf, type Outcome, plain, report } from './outcome.ts';
import { leaderFirst, pick, type Session, targets } from './session.ts';
import { confirm, Misuse, Refusal } from './terminal.ts';

export interface StopOptions {
  /** false: the leader is stopped with the key, and nobody accepts writes. */
  readonly handOver: boolean;
  readonly force?: boolean;
  readonly format: ActFormat;
}

export interface StartOptions {
  readonly format: ActFormat;
}

/** The member gives up by itself before: primary_stop_timeout, primary_start_timeout. */
const LIMIT = millis(3_600_000);
const HAND_OVER_LIMIT = millis(120_000);
const BACK_WITHIN_MS = 120_000;
const LOOK_PAUSE_MS = 250;

const PAUSE_FIRST = 'first: pgha-ctl pause --wait';

export async function stop(session: Session, words: readonly string[], options: StopOptions): Promise<number> {
  const { scope, view, names } = await targets(session, words);
  if (names.length === 0) throw new Misuse('Which members? Name them; all of them stop the whole cluster.');
  const members = inOrder(view, scope, names);
  if (!isOn(view, 'pause'))
    throw new Refusal(
      `${scope} is not in maintenance, so pgha would start Postgres again, or have another member lead: ${PAUSE_FIRST}`,
    );
  const leader = members.find(({ name }) => name === view.leader?.name) ?? null;
  const others = view.members.filter((one) => one.pgha?.role !== 'witness' && !members.includes(one));
  const successor = leader === null || !options.handOver || others.length === 0 ? null : bestOf(others);
  if (leader !== null && options.handOver && others.length > 0 && successor === null)
    throw new Refusal(
      `${leader.name} leads, and none of ${others.map(({ name }) => name).join(', ')} could lead instead. Nothing was stopped; --no-hand-over stops it all the same, and nobody accepts writes.`,
    );
  if (options.force !== true) {
    const first = successor === null ? '' : `${leader?.name ?? ''} hands over to ${successor.name} first. `;
    await confirm(
      session.terminal,
      `${first}Are you sure you want to stop Postgres on ${members.map(({ name }) => name).join(', ')}?`,
    );
  }
  const outcomes: Outcome[] = [];
  if (leader !== null && successor !== null) {
    const handed = await handOver(session, scope, leader, successor);
    if (!handed.ok) return report(session, options.format, [handed], said);
    outcomes.push(handed);
  }
  for (const member of members) {
    const outcome = await ask(session, member, 'stop');
    outcomes.push(outcome);
    if (!outcome.ok) break;
  }
  return report(session, options.format, outcomes, said);
}

export async function start(session: Session, words: readonly string[], options: StartOptions): Promise<number> {
  const { scope, view, names } = await targets(session, words);
  const members = inOrder(view, scope, names);
  if (!isOn(view, 'pause')) throw new Refusal(`${scope} is not in maintenance: pgha starts Postgres by itself.`);
  const outcomes: Outcome[] = [];
  for (const member of members) outcomes.push(await ask(session, member, 'start'));
  return report(session, options.format, outcomes, said);
}

/** The leader first: standbys that stop, or start, after it have somebody to receive from for as long as there is one. */
function inOrder(view: ClusterView, scope: string, names: readonly string[]): readonly Member[] {
  const chosen = pick(view, scope, names).filter((member) => member.pgha?.role !== 'witness');
  if (chosen.length === 0) throw new Refusal(`No member of ${scope} with a Postgres matches.`);
  return leaderFirst(view).filter((member) => chosen.includes(member));
}

function bestOf(members: readonly Member[]): Member | null {
  const fit = members.filter(
    ({ state, role, replicationState, tags, pgha }) =>
      state === 'running' &&
      role === 'replica' &&
      replicationState === 'streaming' &&
      tags['nofailover'] !== true &&
      pgha?.priority !== 0,
  );
  return (
    [...fit].sort((a, b) => Number((b.receiveLsn ?? 0n) - (a.receiveLsn ?? 0n)) || (a.name < b.name ? -1 : 1))[0] ??
    null
  );
}

async function handOver(session: Session, scope: string, leader: Member, to: Member): Promise<Outcome> {
  const about = { action: 'switchover', member: leader.name } as const;
  const { terminal } = session;
  terminal.progress(`${leader.name} hands over to ${to.name} ...`);
  try {
    const body = { leader: leader.name, candidate: to.name };
    const answer = await session.call(leader, 'POST', '/switchover', body, HAND_OVER_LIMIT);
    if (answer.status !== 200) return { ...about, ok: false, status: answer.status, said: plain(answer.text) };
    const giveUp = terminal.now().getTime() + BACK_WITHIN_MS;
    while (terminal.now().getTime() < giveUp) {
      const member = (await session.read(scope)).members.find(({ name }) => name === leader.name);
      if (member?.role === 'replica' && member.state === 'running')
        return { ...about, ok: true, status: answer.status, said: `handed over to ${to.name}` };
      await terminal.sleep(LOOK_PAUSE_MS);
    }
    return {
      ...about,
      ok: false,
      status: answer.status,
      said: `${to.name} leads, and ${leader.name} is not back as a standby: it is down already, or pgha-ctl explain says why`,
    };
  } catch (error) {
    return { ...about, ok: false, status: null, said: messageOf(error) };
  }
}

async function ask(session: Session, member: Member, action: 'stop' | 'start'): Promise<Outcome> {
  const about = { action, member: member.name } as const;
  session.terminal.progress(`${action} Postgres on ${member.name} ...`);
  try {
    const answer = await session.call(member, 'POST', `/pgha/${action}`, undefined, LIMIT);
    return { ...about, ok: answer.status === 200, status: answer.status, said: plain(answer.text) };
  } catch (error) {
    return { ...about, ok: false, status: null, said: messageOf(error) };
  }
}

const said = (o: Outcome): string => (o.ok ? `Success: ${o.action} on member ${o.member ?? ''}: ${o.said}` : failed(o));
