/** `flush`: what was scheduled is withdrawn: restarts of members, or the switchover of the cluster. */
import { KEYS, type Member } from '../../core/cluster.ts';
import { millis } from '../../core/time.ts';
import { recordDirect } from './audit.ts';
import { type ActFormat, failed, messageOf, type Outcome, plain, report } from './outcome.ts';
import { leaderFirst, pick, type Role, type Session, targets } from './session.ts';
import { confirm, Misuse, Refusal } from './terminal.ts';

const WRITE_LIMIT = millis(5_000);

export interface FlushOptions {
  readonly role: Role;
  readonly force?: boolean;
  readonly format: ActFormat;
}

/** @param words - `[CLUSTER] [MEMBER...] restart|switchover` as it was typed */
export async function flush(session: Session, words: readonly string[], options: FlushOptions): Promise<number> {
  const target = words.at(-1);
  if (target !== 'restart' && target !== 'switchover')
    throw new Misuse('What is to be withdrawn? The last word must be restart or switchover.');
  const rest = words.slice(0, -1);
  return target === 'restart' ? flushRestarts(session, rest, options) : flushSwitchover(session, rest, options);
}

async function flushRestarts(session: Session, words: readonly string[], options: FlushOptions): Promise<number> {
  const { scope, view, names } = await targets(session, words);
  const members = pick(view, scope, names, options.role);
  if (members.length === 0) throw new Refusal(`No member of ${scope} matches: nothing was withdrawn.`);
  if (options.force !== true) {
    const listed = members.map((member) => member.name).join(', ');
    await confirm(session.terminal, `Are you sure you want to flush members ${listed}?`);
  }
  const outcomes: Outcome[] = [];
  for (const member of members) outcomes.push(await flushRestart(session, member));
  return report(session, options.format, outcomes, (o) => {
    if (o.facts?.['scheduled'] === false) return `No scheduled restart for member ${o.member ?? ''}`;
    return o.ok ? `Success: flush scheduled restart for member ${o.member ?? ''}` : failed(o);
  });
}

async function flushRestart(session: Session, member: Member): Promise<Outcome> {
  const about = { action: 'flush scheduled restart', member: member.name } as const;
  // Said by the key: members without one are not asked, so that one that is down fails nothing.
  if (!('scheduled_restart' in member.raw))
    return { ...about, ok: true, status: null, said: 'no restarts are scheduled', facts: { scheduled: false } };
  try {
    const answer = await session.call(member, 'DELETE', '/restart');
    const said = plain(answer.text);
    if (answer.status === 404) return { ...about, ok: true, status: 404, said, facts: { scheduled: false } };
    return { ...about, ok: answer.status === 200, status: answer.status, said };
  } catch (error) {
    return { ...about, ok: false, status: null, said: messageOf(error) };
  }
}

async function flushSwitchover(session: Session, words: readonly string[], options: FlushOptions): Promise<number> {
  const { scope, view } = await targets(session, words);
  const action = 'flush scheduled switchover';
  if (view.failover === null || view.failover.scheduledAt === null) {
    const outcome: Outcome = { action, ok: true, said: 'no switchover is scheduled', facts: { scheduled: false } };
    return report(session, options.format, [outcome], () => `No pending scheduled switchover in cluster ${scope}`);
  }
  const silent: string[] = [];
  for (const member of leaderFirst(view)) {
    try {
      const { status, text } = await session.call(member, 'DELETE', '/switchover');
      const outcome: Outcome = { action, ok: status === 200, member: member.name, status, said: plain(text) };
      return report(session, options.format, [outcome], (o) =>
        o.ok ? `Success: scheduled switchover deleted in cluster ${scope}` : failed(o),
      );
    } catch (error) {
      silent.push(`${member.name}: ${messageOf(error)}`);
    }
  }
  // As for asking: where nobody answers, what stands in etcd is changed there.
  const store = await session.store(scope);
  const written = await store.txn(
    {
      compare: [{ key: KEYS.failover, modRevision: view.failover.revision }],
      success: [{ op: 'put', key: KEYS.failover, value: '{}', lease: null }],
      failure: [],
    },
    WRITE_LIMIT,
  );
  if (written.kind !== 'answered' || !written.succeeded)
    throw new Refusal(`No member of ${scope} answers (${silent.join('; ')}), and it could not be withdrawn in etcd.`);
  const said = 'no member answers: withdrawn in etcd';
  await recordDirect(session, scope, { request: action, said });
  const outcome: Outcome = { action, ok: true, said };
  return report(session, options.format, [outcome], () => `Success: scheduled switchover deleted in cluster ${scope}`);
}
