/** `demote-cluster` and `promote-cluster`: the whole cluster begins to follow another one, and stops to. */
import type { ClusterView } from '../../core/cluster.ts';
import { membersText } from './member-table.ts';
import { type ActFormat, messageOf, plain, report, timestamp } from './outcome.ts';
import { leaderFirst, leaderOf, type Session } from './session.ts';
import { confirm, Misuse, Refusal } from './terminal.ts';

export interface DemoteOptions extends PromoteOptions {
  readonly host?: string;
  readonly port?: number;
  readonly restoreCommand?: string;
  readonly primarySlotName?: string;
}

export interface PromoteOptions {
  readonly force?: boolean;
  readonly format: ActFormat;
}

const LOOK_PAUSE_MS = 1_000;
const WAIT_LIMIT_MS = 300_000;

/** @throws {Misuse} when nothing says whom the cluster is to follow */
export async function demoteCluster(
  session: Session,
  name: string | undefined,
  options: DemoteOptions,
): Promise<number> {
  const { host, port, restoreCommand, primarySlotName } = options;
  if (host === undefined && port === undefined && restoreCommand === undefined)
    throw new Misuse('Whom shall it follow? Give --host, --port or --restore-command.');
  const source = {
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port }),
    ...(restoreCommand === undefined ? {} : { restore_command: restoreCommand }),
    ...(primarySlotName === undefined ? {} : { primary_slot_name: primarySlotName }),
  };
  return changeRole(session, name, options, { word: 'demote', done: 'demoted', role: 'standby_leader', source });
}

export const promoteCluster = (session: Session, name: string | undefined, options: PromoteOptions): Promise<number> =>
  changeRole(session, name, options, { word: 'promote', done: 'promoted', role: 'primary', source: null });

interface Change {
  readonly word: 'demote' | 'promote';
  readonly done: string;
  /** What the leader is afterwards. */
  readonly role: 'standby_leader' | 'primary';
  readonly source: Readonly<Record<string, unknown>> | null;
}

async function changeRole(
  session: Session,
  name: string | undefined,
  options: PromoteOptions,
  change: Change,
): Promise<number> {
  const { terminal } = session;
  const scope = await session.scope(name);
  const view = await session.readExisting(scope);
  const leader = leaderOf(view);
  if (leader === null) throw new Refusal(`Cluster ${scope} has no leader, so there is nobody to ${change.word} it.`);
  if (leader.role === change.role && change.word === 'promote')
    throw new Refusal(`Cluster ${scope} is no standby cluster.`);
  if (leader.role === change.role) throw new Refusal(`Cluster ${scope} is a standby cluster already.`);
  if (options.force !== true) {
    terminal.out('Current cluster topology');
    terminal.out(await membersText([{ scope, view }], 'pretty'));
    await confirm(terminal, `Are you sure you want to ${change.word} ${scope} cluster?`);
  }
  const outcome = { action: `${change.word}-cluster`, member: leader.name };
  const sentence = (ok: boolean, said: string): string =>
    ok
      ? `${timestamp(terminal.now(), true)} cluster "${scope}" is successfully ${change.done}`
      : `Failed to ${change.word} ${scope} cluster: ${said}`;
  const told = (ok: boolean, said: string, status?: number): number =>
    report(session, options.format, [{ ...outcome, ok, said, ...(status === undefined ? {} : { status }) }], () =>
      sentence(ok, said),
    );
  const refused = await store(session, view, change);
  if (refused !== null) return told(false, refused.said, refused.status);
  const seen = await untilSo(session, scope, change);
  return told(seen === null, seen ?? '', 200);
}

/** @returns why it was not stored; null: it was */
async function store(
  session: Session,
  view: ClusterView,
  change: Change,
): Promise<{ readonly said: string; readonly status?: number } | null> {
  const silent: string[] = [];
  for (const member of leaderFirst(view)) {
    try {
      const body = { standby_cluster: change.source };
      const answer = await session.call(member, 'PATCH', '/config', body);
      return answer.status === 200 ? null : { said: plain(answer.text), status: answer.status };
    } catch (error) {
      silent.push(`${member.name}: ${messageOf(error)}`);
    }
  }
  return { said: `no member answers, nothing was changed: ${silent.join('; ')}` };
}

/** @returns what it is still like when that has not come true; null: it has */
async function untilSo(session: Session, scope: string, change: Change): Promise<string | null> {
  const { terminal } = session;
  const giveUp = terminal.now().getTime() + WAIT_LIMIT_MS;
  for (;;) {
    const view = await session.read(scope);
    const leader = leaderOf(view);
    const { role, state } = leader ?? { role: 'none', state: 'unknown' };
    if (role === change.role && state === 'running') return null;
    const now = `the leader is ${leader?.name ?? 'nobody'}, its role ${role}, its state ${state}`;
    if (terminal.now().getTime() > giveUp) return `after ${WAIT_LIMIT_MS / 1000} s ${now}; it may still come true`;
    terminal.progress(`${timestamp(terminal.now())} ${now}`);
    await terminal.sleep(LOOK_PAUSE_MS);
  }
}
