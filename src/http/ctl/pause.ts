/** `pause` and `resume`: the operator takes the wheel, and gives it back. */
import { type ClusterView, isOn } from '../../core/cluster.ts';
import { type ActFormat, messageOf, type Outcome, plain, report } from './outcome.ts';
import { leaderFirst, type Session } from './session.ts';
import { Refusal } from './terminal.ts';

export interface PauseOptions {
  readonly wait?: boolean;
  readonly format: ActFormat;
}

const LOOK_PAUSE_MS = 500;
const WAIT_LIMIT_MS = 120_000;

export const pause = (session: Session, name: string | undefined, options: PauseOptions): Promise<number> =>
  setPause(session, name, options, true);

export const resume = (session: Session, name: string | undefined, options: PauseOptions): Promise<number> =>
  setPause(session, name, options, false);

async function setPause(
  session: Session,
  name: string | undefined,
  options: PauseOptions,
  paused: boolean,
): Promise<number> {
  const scope = await session.scope(name);
  const view = await session.readExisting(scope);
  if (isOn(view, 'pause') === paused) {
    throw new Refusal(`Cluster is ${paused ? 'already' : 'not'} paused`);
  }
  const outcome = await changePause(session, scope, view, paused, options.wait === true);
  return report(session, options.format, [outcome], (o) =>
    o.ok
      ? `Success: cluster management is ${paused ? 'paused' : 'resumed'}`
      : `Failed: ${o.action} cluster management, status code=${o.status ?? ''}, (${o.said})`,
  );
}

/**
 * By whichever member answers first, the leader before the others.
 *
 * @throws {Refusal} when none answers, or `wait` took too long
 */
export async function changePause(
  session: Session,
  scope: string,
  view: ClusterView,
  paused: boolean,
  wait: boolean,
): Promise<Outcome> {
  const action = paused ? 'pause' : 'resume';
  const silent: string[] = [];
  for (const member of leaderFirst(view)) {
    try {
      const answer = await session.call(member, 'PATCH', '/config', { pause: paused ? true : null });
      const ok = answer.status === 200;
      if (ok && wait) await untilSeen(session, scope, paused);
      return { action, ok, member: member.name, status: answer.status, said: plain(ok ? '' : answer.text) };
    } catch (error) {
      if (error instanceof Refusal) throw error;
      silent.push(`${member.name}: ${messageOf(error)}`);
    }
  }
  throw new Refusal(`No member of ${scope} answers, nothing was changed: ${silent.join('; ')}`);
}

async function untilSeen(session: Session, scope: string, paused: boolean): Promise<void> {
  const { terminal } = session;
  const giveUp = terminal.now().getTime() + WAIT_LIMIT_MS;
  const behind = (view: ClusterView): readonly string[] =>
    view.members.filter((member) => member.pause !== paused).map((member) => member.name);
  for (;;) {
    const waitingFor = behind(await session.read(scope));
    if (waitingFor.length === 0) return;
    if (terminal.now().getTime() > giveUp)
      throw new Refusal(`Set, but not yet recognized by ${waitingFor.join(', ')}.`);
    terminal.progress(`waiting until it is recognized by ${waitingFor.join(', ')} ...`);
    await terminal.sleep(LOOK_PAUSE_MS);
  }
}
