/** `dsn`: how to connect to the leader, or to another member. */
import type { Member } from '../../core/cluster.ts';
import { hasRole, pick, type Role, type Session } from './session.ts';
import { Refusal } from './terminal.ts';

export interface DsnOptions {
  readonly role?: Role;
  readonly member?: string;
  readonly format: 'pretty' | 'json';
}

export async function dsn(session: Session, name: string | undefined, options: DsnOptions): Promise<number> {
  const scope = await session.scope(name);
  const view = await session.readExisting(scope);
  const named = options.member === undefined ? view.members : pick(view, scope, [options.member]);
  const role = options.role ?? (options.member === undefined ? 'leader' : 'any');
  const member: Member | undefined = named.find((one) => hasRole(one, view, role));
  if (member === undefined || member.host === null)
    throw new Refusal(`Cluster ${scope} has no ${role} that could be connected to.`);
  const { host, port } = member;
  session.terminal.out(
    options.format === 'json'
      ? JSON.stringify({ member: member.name, host, port })
      : `host=${host} port=${port ?? 5432}`,
  );
  return 0;
}
