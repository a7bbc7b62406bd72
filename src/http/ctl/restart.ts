/** `restart`: Postgres of some members is restarted, one after the other, the leader last. */
import type { Member } from '../../core/cluster.ts';
import { type Millis, millis } from '../../core/time.ts';
import { readLength } from '../schedule.ts';
import { type ActFormat, failed, messageOf, type Outcome, plain, report } from './outcome.ts';
import { leaderFirst, pick, type Role, type Session, targets } from './session.ts';
import { confirm, Misuse, Refusal } from './terminal.ts';

export interface RestartOptions {
  readonly role: Role;
  readonly any?: boolean;
  readonly pending?: boolean;
  readonly pgVersion?: string;
  readonly timeout?: string;
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
  if (options.force !== true) {
    await confirm(
      session.terminal,
      `Are you sure you want to restart members ${members.map((m) => m.name).join(', ')}?`,
    );
  }
  const outcomes: Outcome[] = [];
  for (const member of members) outcomes.push(await restartOne(session, member, options, timeout));
  return report(session, options.format, outcomes, (o) =>
    o.ok ? `Success: restart on member ${o.member ?? ''}` : failed(o),
  );
}

async function restartOne(
  session: Session,
  member: Member,
  options: RestartOptions,
  timeout: Millis | null,
): Promise<Outcome> {
  const about = { action: 'restart', member: member.name } as const;
  session.terminal.progress(`restarting Postgres on ${member.name} ...`);
  try {
    const answer = await session.call(
      member,
      'POST',
      '/restart',
      {
        ...(options.pending === true ? { restart_pending: true } : {}),
        ...(options.pgVersion === undefined ? {} : { postgres_version: options.pgVersion }),
        ...(timeout === null ? {} : { timeout: timeout / 1000 }),
      },
      RESTART_LIMIT,
    );
    const ok = answer.status === 200 || answer.status === 202;
    return { ...about, ok, status: answer.status, said: plain(answer.text) };
  } catch (error) {
    return { ...about, ok: false, status: null, said: messageOf(error) };
  }
}
