/** `reload`: members read their configuration files again. */
import { type ActFormat, failed, messageOf, type Outcome, plain, report } from './outcome.ts';
import { pick, type Role, type Session, targets } from './session.ts';
import { confirm, Refusal } from './terminal.ts';

export interface ReloadOptions {
  readonly role: Role;
  readonly force?: boolean;
  readonly format: ActFormat;
}

export async function reload(session: Session, words: readonly string[], options: ReloadOptions): Promise<number> {
  const { scope, view, names } = await targets(session, words);
  const members = pick(view, scope, names, options.role);
  if (members.length === 0) throw new Refusal(`No member of ${scope} matches: nothing was reloaded.`);
  if (options.force !== true) {
    await confirm(
      session.terminal,
      `Are you sure you want to reload members ${members.map((m) => m.name).join(', ')}?`,
    );
  }
  const loopWait = Number(view.config?.value['loop_wait'] ?? 10);
  const outcomes = await Promise.all(
    members.map(async (member): Promise<Outcome> => {
      const about = { action: 'reload', member: member.name } as const;
      try {
        const answer = await session.call(member, 'POST', '/reload');
        return {
          ...about,
          ok: answer.status === 200 || answer.status === 202,
          status: answer.status,
          said: plain(answer.text),
        };
      } catch (error) {
        return { ...about, ok: false, status: null, said: messageOf(error) };
      }
    }),
  );
  return report(session, options.format, outcomes, (o) =>
    o.ok
      ? `Reload request received for member ${o.member ?? ''} and will be processed within ${loopWait} seconds`
      : failed(o),
  );
}
