/** `reinit`: a standby's data directory is copied anew. Refused by the member itself when it leads. */
import type { ClusterView, Member } from '../../core/cluster.ts';
import { millis } from '../../core/time.ts';
import type { Finding } from './check/finding.ts';
import { type ActFormat, failed, messageOf, type Outcome, plain, report } from './outcome.ts';
import { type ApiAnswer, pick, type Session, targets } from './session.ts';
import { printable } from './table.ts';
import { confirm, prompt, Refusal } from './terminal.ts';

export interface ReinitOptions {
  readonly force?: boolean;
  readonly wait?: boolean;
  readonly fromLeader?: boolean;
  readonly dryRun?: boolean;
  readonly format: ActFormat;
}

const START_LIMIT = millis(30_000);
const LOOK_PAUSE_MS = 1_000;
/** The copy has begun by then, or it was over before we looked. */
const BEGUN_AFTER_MS = 10_000;

export async function reinit(session: Session, words: readonly string[], options: ReinitOptions): Promise<number> {
  const { terminal } = session;
  const { scope, view, names } = await targets(session, words);
  const standbys = view.members.filter((member) => member.name !== view.leader?.name);
  let chosen = names;
  if (chosen.length === 0) {
    if (options.force === true) throw new Refusal('Which member? Its data directory will be replaced: give MEMBER.');
    const listed = standbys.map((member) => member.name).join(', ');
    chosen = [await prompt(terminal, `Which member do you want to reinitialize [${listed}]?`, '')];
  }
  const members = pick(view, scope, chosen);
  if (options.dryRun === true) return await tryOut(session, scope, view, members, options);
  if (options.force !== true) {
    await confirm(terminal, `Are you sure you want to reinitialize members ${members.map((m) => m.name).join(', ')}?`);
  }
  const outcomes: Outcome[] = [];
  for (const member of members) outcomes.push(await start(session, member, options));
  const ended =
    options.wait === true ? await Promise.all(outcomes.map((o) => untilDone(session, members, o))) : outcomes;
  return report(session, options.format, ended, (o) =>
    o.ok
      ? `Success: ${o.action} for member ${o.member ?? ''}${o.facts?.['waited'] === true ? ': done' : ''}`
      : failed(o),
  );
}

/** What would happen, and what speaks against it. Nobody is asked to do anything. */
async function tryOut(
  session: Session,
  scope: string,
  view: ClusterView,
  members: readonly Member[],
  { format }: ReinitOptions,
): Promise<number> {
  const { judgeCopy } = await import('./check.ts');
  const { findingsText, worst } = await import('./check/finding.ts');
  const tried: { readonly member: string; readonly findings: readonly Finding[] }[] = [];
  for (const { name } of members) {
    const leads = {
      level: 'critical',
      about: 'leader',
      said: `${name} leads: there is nobody to copy it from`,
    } as const;
    const findings = name === view.leader?.name ? [leads] : (await judgeCopy(session, scope, name)).findings;
    tried.push({ member: name, findings });
  }
  const fails = tried.some(({ findings }) => ['critical', 'unknown'].includes(worst(findings)));
  if (format === 'json')
    session.terminal.out(JSON.stringify(tried.map((one) => ({ ...one, level: worst(one.findings) }))));
  else
    for (const { member, findings } of tried)
      session.terminal.out(
        `${printable(findingsText(findings))}\nDry run: the data directory of ${member} would be replaced by a copy. Nothing was changed.`,
      );
  return fails ? 1 : 0;
}

async function start(session: Session, member: Member, options: ReinitOptions): Promise<Outcome> {
  const about = { action: 'reinitialize', member: member.name } as const;
  const post = (force: boolean): Promise<ApiAnswer> =>
    session.call(member, 'POST', '/reinitialize', { force, from_leader: options.fromLeader === true }, START_LIMIT);
  try {
    let answer = await post(options.force === true);
    if (answer.status !== 200 && plain(answer.text).endsWith(' already in progress') && options.force !== true) {
      await confirm(session.terminal, `${plain(answer.text)}. Do you want to cancel it and reinitialize anyway?`);
      answer = await post(true);
    }
    return {
      ...about,
      ok: answer.status === 200 || answer.status === 202,
      status: answer.status,
      said: plain(answer.text),
    };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    return { ...about, ok: false, status: null, said: messageOf(error) };
  }
}

async function untilDone(session: Session, members: readonly Member[], outcome: Outcome): Promise<Outcome> {
  const member = members.find((one) => one.name === outcome.member);
  if (!outcome.ok || member === undefined) return outcome;
  const { terminal } = session;
  const asked = terminal.now().getTime();
  let begun = false;
  for (;;) {
    await terminal.sleep(LOOK_PAUSE_MS);
    const answer = await session.call(member, 'GET', '/patroni').catch(() => null);
    const status = answer === null ? null : parse(answer.text);
    if (status === null) continue;
    const operation = status.pgha?.operation ?? null;
    if (operation !== null) terminal.progress(`${member.name}: ${operation.sentence ?? operation.kind ?? 'working'}`);
    begun ||= operation !== null || status.state !== 'running' || terminal.now().getTime() - asked > BEGUN_AFTER_MS;
    if (begun && operation === null && status.state === 'running') return { ...outcome, facts: { waited: true } };
  }
}

interface Working {
  readonly state?: string;
  readonly pgha?: { readonly operation?: { readonly kind?: string; readonly sentence?: string } | null };
}

function parse(text: string): Working | null {
  try {
    return JSON.parse(text) as Working;
  } catch {
    return null;
  }
}
