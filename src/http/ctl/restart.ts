/** `restart`: Postgres of some members is restarted, one after the other, the leader last; now, or at a time. */
import { isOn, type Member } from '../../core/cluster.ts';
import { versionNumber } from '../../core/schedule.ts';
import { millis } from '../../core/time.ts';
import { readLength } from '../schedule.ts';
import { membersText } from './member-table.ts';
import { type ActFormat, failed, messageOf, type Outcome, plain, report } from './outcome.ts';
import { leaderFirst, pick, type Role, type Session, targets } from './session.ts';
import { confirm, Misuse, prompt, Refusal } from './terminal.ts';
import { chooseTime } from './when.ts';

export interface RestartOptions {
  readonly role: Role;
  readonly any?: boolean;
  readonly pending?: boolean;
  readonly pgVersion?: string;
  readonly timeout?: string;
  readonly scheduled?: string;
  readonly force?: boolean;
  readonly format: ActFormat;
}

/** A crash recovery may take long; the member gives up by itself before. */
const RESTART_LIMIT = millis(3_600_000);

export async function restart(session: Session, words: readonly string[], options: RestartOptions): Promise<number> {
  const { scope, view, names } = await targets(session, words);
  let members = [...pick(view, scope, names, options.role)];
  // Whoever means all of them means those with a Postgres.
  if (names.length === 0) members = members.filter((member) => member.pgha?.role !== 'witness');
  if (options.pending === true) members = members.filter((member) => member.pendingRestart);
  if (members.length === 0) throw new Refusal(`No member of ${scope} matches: nothing was restarted.`);
  if (options.any === true) members = members.slice(0, 1);
  // Standbys first: while the leader restarts, they are what is left to read from.
  const last = leaderFirst(view)[0];
  members.sort((a, b) => Number(a === last && view.leader !== null) - Number(b === last && view.leader !== null));
  const timeout = options.timeout === undefined ? null : readLength(options.timeout);
  if (options.timeout !== undefined && timeout === null)
    throw new Misuse(`--timeout ${options.timeout}: expected a number of seconds`);
  if (options.pgVersion !== undefined) refuseNoVersion(options.pgVersion);
  const at = await chooseTime(session, 'restart', options.scheduled, options.force !== true);
  if (at !== null && isOn(view, 'pause')) throw new Refusal("Can't schedule restart in the paused state");
  let below = options.pgVersion ?? '';
  if (options.force !== true) {
    const { terminal } = session;
    const listed = members.map((m) => m.name).join(', ');
    if (options.format === 'pretty') terminal.out(await membersText([{ scope, view }], 'pretty'));
    await confirm(
      terminal,
      at === null
        ? `Are you sure you want to restart members ${listed}?`
        : `Are you sure you want to schedule restart of members ${listed} at ${at}?`,
    );
    if (options.pgVersion === undefined) {
      below = await prompt(terminal, 'Restart if the PostgreSQL version is less than provided (e.g. 15.3) ', '');
      if (below !== '') refuseNoVersion(below);
    }
  }
  const body = {
    ...(at === null ? {} : { schedule: at }),
    ...(options.pending === true ? { restart_pending: true } : {}),
    ...(below === '' ? {} : { postgres_version: below }),
    ...(timeout === null ? {} : { timeout: timeout / 1000 }),
  };
  const outcomes: Outcome[] = [];
  for (const member of members) outcomes.push(await restartOne(session, member, body));
  return report(session, options.format, outcomes, (o) =>
    o.ok ? `Success: ${o.status === 202 ? 'restart scheduled' : 'restart'} on member ${o.member ?? ''}` : failed(o),
  );
}

function refuseNoVersion(text: string): void {
  if (versionNumber(text) === null) throw new Misuse(`${text} is no version of PostgreSQL: expected X.Y, like 15.3`);
}

async function restartOne(session: Session, member: Member, body: Readonly<Record<string, unknown>>): Promise<Outcome> {
  const about = { action: 'restart', member: member.name } as const;
  session.terminal.progress(`restarting Postgres on ${member.name} ...`);
  try {
    const answer = await session.call(member, 'POST', '/restart', body, RESTART_LIMIT);
    const ok = answer.status === 200 || answer.status === 202;
    return { ...about, ok, status: answer.status, said: plain(answer.text) };
  } catch (error) {
    return { ...about, ok: false, status: null, said: messageOf(error) };
  }
}
