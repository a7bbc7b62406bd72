/**
 * `restart-daemon`: the daemons of members make room for the next one, standbys first, the leader last; Postgres, guard
 * and key stay. Stops at the first that does not come back as it should: a broken upgrade must not reach them all.
 */
import type { Member } from '../../core/cluster.ts';
import { millis } from '../../core/time.ts';
import { type ActFormat, failed, messageOf, type Outcome, plain, report } from './outcome.ts';
import { leaderFirst, pick, type Role, type Session, targets } from './session.ts';
import { confirm, Refusal } from './terminal.ts';

export interface RestartDaemonOptions {
  readonly role: Role;
  readonly force?: boolean;
  /** Also at a moment at which the next daemon could not go on with everything. */
  readonly regardless?: boolean;
  readonly wait: boolean;
  readonly format: ActFormat;
}

/** The member runs the next programs to see whether they start. */
const ACCEPT_LIMIT = millis(65_000);
const LOOK_PAUSE_MS = 100;
/** systemd starts the next one at once; reading etcd and looking at Postgres takes a second at most. */
const BACK_LIMIT_MS = 30_000;

export async function restartDaemon(
  session: Session,
  words: readonly string[],
  options: RestartDaemonOptions,
): Promise<number> {
  const { scope, view, names } = await targets(session, words);
  const [last, ...first] = leaderFirst(view);
  const chosen = pick(view, scope, names, options.role);
  const members = [...first, ...(last === undefined ? [] : [last])].filter((member) => chosen.includes(member));
  if (members.length === 0) throw new Refusal(`No member of ${scope} matches: no daemon was restarted.`);
  if (options.force !== true) {
    const listed = members.map((member) => member.name).join(', ');
    await confirm(session.terminal, `Are you sure you want to restart the daemons of members ${listed}?`);
  }
  const outcomes: Outcome[] = [];
  for (const member of members) {
    const outcome = await restartOne(session, member, options);
    outcomes.push(outcome);
    if (!outcome.ok) break;
  }
  const spared = members.slice(outcomes.length).map((member) => member.name);
  const code = report(session, options.format, outcomes, (o) => (o.ok ? success(o) : failed(o)));
  if (spared.length > 0) session.terminal.err(`Not restarted after that: ${spared.join(', ')}`);
  return code;
}

const success = ({ member, said }: Outcome): string => `Success: restart-daemon on member ${member ?? ''}: ${said}`;

async function restartOne(session: Session, member: Member, options: RestartDaemonOptions): Promise<Outcome> {
  const about = { action: 'restart-daemon', member: member.name } as const;
  const { terminal } = session;
  terminal.progress(`restarting the daemon of ${member.name} ...`);
  try {
    const before = await look(session, member);
    const body = { force: options.regardless === true };
    const answer = await session.call(member, 'POST', '/pgha/restart-daemon', body, ACCEPT_LIMIT);
    const said = plain(answer.text);
    if (answer.status !== 202) return { ...about, ok: false, status: answer.status, said };
    if (!options.wait) return { ...about, ok: true, status: answer.status, said };
    const asked = terminal.now().getTime();
    while (terminal.now().getTime() - asked < BACK_LIMIT_MS) {
      await terminal.sleep(LOOK_PAUSE_MS);
      const now = await look(session, member);
      if (now === null || now.startedAt === before?.startedAt || !now.informed) continue;
      const less =
        (before?.writable === true && !now.writable) || (before?.postmaster != null && now.postmaster === null);
      if (less) continue;
      const took = terminal.now().getTime() - asked;
      const facts = { version_before: before?.version ?? null, version: now.version, took_ms: took };
      const from = facts.version_before === now.version ? '' : `${facts.version_before ?? 'an unknown version'} -> `;
      const kept = now.postmaster !== null && now.postmaster === before?.postmaster;
      const sentence = `pgha ${from}${now.version ?? '?'}, back after ${took} ms${kept ? '; Postgres ran on' : ''}`;
      return { ...about, ok: true, status: answer.status, said: sentence, facts };
    }
    const sentence =
      `it made room, and no daemon was back as before within ${BACK_LIMIT_MS / 1000} s: look at its log. ` +
      'While none leads, the guard ends its Postgres when the last proof runs out, and another member takes over';
    return { ...about, ok: false, status: answer.status, said: sentence };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    return { ...about, ok: false, status: null, said: messageOf(error) };
  }
}

interface Seen {
  readonly startedAt: string | null;
  readonly version: string | null;
  readonly postmaster: string | null;
  readonly writable: boolean;
  /** It has read etcd since its start. */
  readonly informed: boolean;
}

/** null: no daemon answers; a guard that stands in for one says so in words of its own. */
async function look(session: Session, member: Member): Promise<Seen | null> {
  const answer = await session.call(member, 'GET', '/patroni').catch(() => null);
  if (answer === null) return null;
  try {
    const said = JSON.parse(answer.text) as Said;
    if (said.pgha === undefined) return null;
    const { started_at: startedAt, version, writable, cluster_age_ms: age } = said.pgha;
    return {
      startedAt: startedAt ?? null,
      version: version ?? null,
      postmaster: said.postmaster_start_time ?? null,
      writable: writable === true,
      informed: typeof age === 'number',
    };
  } catch {
    return null;
  }
}

interface Said {
  readonly postmaster_start_time?: string;
  readonly pgha?: {
    readonly version?: string;
    readonly started_at?: string;
    readonly writable?: boolean;
    readonly cluster_age_ms?: number | null;
  };
}
