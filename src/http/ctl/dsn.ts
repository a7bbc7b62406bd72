/** `dsn`: how to connect to the leader, to another member, or to whoever of all members is the right one. */
import type { ClusterView, Member } from '../../core/cluster.ts';
import { hasRole, pick, type Role, type Session } from './session.ts';
import { Refusal } from './terminal.ts';

export interface DsnOptions {
  readonly role?: Role;
  readonly member?: string;
  /** A string with all members, of which libpq finds the right one. */
  readonly all?: boolean;
  readonly format: 'pretty' | 'json';
}

export async function dsn(session: Session, name: string | undefined, options: DsnOptions): Promise<number> {
  const scope = await session.scope(name);
  const view = await session.readExisting(scope);
  if (options.all === true) return printAll(session, scope, view, options);
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

/** libpq tries one after the other; whom it takes is said by the server, so that this string outlives every failover. */
function printAll(session: Session, scope: string, view: ClusterView, { role, format }: DsnOptions): number {
  const members = view.members.filter(({ host, pgha }) => host !== null && pgha?.role !== 'witness');
  if (members.length === 0) throw new Refusal(`Cluster ${scope} has no member that could be connected to.`);
  const hosts = members.map(({ host }) => host ?? '');
  const ports = members.map(({ port }) => port ?? 5432);
  // Before 14 libpq knows read-write and any alone; a standby that is preferred is found by 14 and newer.
  const attributes = role === 'replica' || role === 'standby' ? 'prefer-standby' : 'read-write';
  session.terminal.out(
    format === 'json'
      ? JSON.stringify({ hosts, ports, target_session_attrs: attributes })
      : `host=${hosts.join(',')} port=${ports.join(',')} target_session_attrs=${attributes}`,
  );
  return 0;
}
