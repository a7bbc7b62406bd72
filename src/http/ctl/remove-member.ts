/**
 * `remove-member`: a member that is gone for good is forgotten at once, not after `member_slots_ttl`: its slot on every node,
 * and its place among the synchronous standbys. One that lives is refused.
 */
import type { ClusterView, Member } from '../../core/cluster.ts';
import { slotName } from '../../core/cluster.ts';
import { type ActFormat, failed, messageOf, type Outcome, plain, report } from './outcome.ts';
import { leaderFirst, leaderOf, type Session, targets } from './session.ts';
import { confirm, Misuse, Refusal } from './terminal.ts';

export interface RemoveMemberOptions {
  readonly force?: boolean;
  readonly format: ActFormat;
}

const PUBLISHED_WITHIN_MS = 15_000;
const LOOK_PAUSE_MS = 250;

export async function removeMember(
  session: Session,
  words: readonly string[],
  options: RemoveMemberOptions,
): Promise<number> {
  const { scope, view, names } = await targetsOfGone(session, words);
  const [name, ...more] = names;
  if (name === undefined || more.length > 0) throw new Misuse('Which member? One name: remove-member [CLUSTER] MEMBER');
  refuseLiving(scope, view, name);
  const leader = leaderOf(view);
  if (leader === null)
    throw new Refusal(
      `${scope} has no leader, and a member that is away may be needed: nothing was removed. pgha-ctl explain`,
    );
  if (options.force !== true)
    await confirm(
      session.terminal,
      `Shall ${scope} forget ${name}? Should it come back, it has to be copied anew when WAL that it needs is gone.`,
    );
  const outcomes: Outcome[] = [];
  for (const member of leaderFirst(view)) {
    if (member.pgha?.role === 'witness') continue;
    outcomes.push(await forget(session, member, name));
    // The others would take it over again from what the leader has published.
    if (member === leader && outcomes[0]?.ok === true) await untilPublished(session, scope, name);
  }
  const waits = (await session.read(scope)).sync?.key?.voters.some((voter) => voter === name) === true;
  const code = report(session, options.format, outcomes, (o) =>
    o.ok ? `Success: ${o.said} (${o.member ?? ''})` : failed(o),
  );
  if (waits)
    session.terminal.err(
      `${name} is still named among the synchronous standbys: the leader takes it out within a few seconds, or its log says why not.`,
    );
  return code;
}

/** As `targets`, where the last word need not be a member any more. */
async function targetsOfGone(
  session: Session,
  words: readonly string[],
): Promise<{ readonly scope: string; readonly view: ClusterView; readonly names: readonly string[] }> {
  const [first, ...rest] = words;
  if (rest.length > 0) return targets(session, words);
  const scope = await session.scope(undefined);
  return { scope, view: await session.readExisting(scope), names: first === undefined ? [] : [first] };
}

function refuseLiving(scope: string, view: ClusterView, name: string): void {
  const todo = `stop its service first (systemctl disable --now pgha, on ${name}); its key goes with it, or one ttl later`;
  if (view.leader?.name === name) throw new Refusal(`${name} leads ${scope}: pgha-ctl switchover, then ${todo}.`);
  if (view.members.some((member) => member.name === name))
    throw new Refusal(`${name} is a member of ${scope}: ${todo}.`);
}

async function forget(session: Session, member: Member, name: string): Promise<Outcome> {
  const about = { action: 'remove-member', member: member.name } as const;
  try {
    const answer = await session.call(member, 'POST', '/pgha/forget-member', { member: name });
    return { ...about, ok: answer.status === 200, status: answer.status, said: plain(answer.text) };
  } catch (error) {
    return { ...about, ok: false, status: null, said: messageOf(error) };
  }
}

async function untilPublished(session: Session, scope: string, name: string): Promise<void> {
  const { terminal } = session;
  const giveUp = terminal.now().getTime() + PUBLISHED_WITHIN_MS;
  const slot = slotName(name);
  while (terminal.now().getTime() < giveUp) {
    const { status } = await session.read(scope);
    if (status?.retainSlots.includes(slot) !== true) return;
    await terminal.sleep(LOOK_PAUSE_MS);
  }
}
