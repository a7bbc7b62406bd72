/**
 * What there is to know before a cluster that runs without pgha is taken over, and after it was given back: from the
 * daemons that watch, from each server itself, and from repmgr's own table and functions. Asks only; changes nothing.
 */

import { parseConninfo } from '../../../config/import/conninfo.ts';
import type { Config } from '../../../config/schema.ts';
import type { ClusterView, Member } from '../../../core/cluster.ts';
import { messageOf } from '../outcome.ts';
import type { Session } from '../session.ts';
import type { SqlTarget } from '../sql.ts';

export type Origin = 'repmgr' | 'streaming';

/** What a member's daemon says of itself. */
export interface DaemonFacts {
  readonly situation: string | null;
  readonly rule: string | null;
  readonly reason: string;
  readonly postgres: string | null;
  readonly systemId: string | null;
  readonly timeline: number | null;
  readonly version: number | null;
  /** The server it receives from. */
  readonly upstream: string | null;
  readonly receiving: boolean;
  /** Whether its login for replication was let in by the primary; null: not tried. */
  readonly loginWorks: boolean | null;
  /** Milliseconds until it could take over; null: it does not know. */
  readonly gateMs: number | null;
  readonly writable: boolean;
}

/** What a server says when it is asked itself. */
export interface ServerFacts {
  readonly inRecovery: boolean;
  readonly systemId: string;
  readonly slots: number;
  readonly maxSlots: number;
  readonly preloadsRepmgr: boolean;
}

export interface RepmgrdFacts {
  readonly running: boolean;
  readonly paused: boolean;
}

export interface RepmgrNode {
  readonly id: number;
  readonly name: string;
  readonly type: string;
  readonly active: boolean;
  readonly upstreamId: number | null;
  readonly host: string;
  readonly port: number;
}

export interface MemberFacts {
  readonly member: Member;
  readonly daemon: DaemonFacts | null;
  readonly server: ServerFacts | string;
  /** A sentence: why that is not known. null: there is no repmgr to ask. */
  readonly repmgrd: RepmgrdFacts | string | null;
}

export interface AdoptionFacts {
  readonly origin: Origin;
  readonly scope: string;
  readonly view: ClusterView;
  readonly members: readonly MemberFacts[];
  /** repmgr's table; a sentence: why it could not be read. null: there is no repmgr. */
  readonly nodes: readonly RepmgrNode[] | string | null;
}

const STANDING = `SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()),
  (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots'), current_setting('shared_preload_libraries')`;
const REPMGRD = 'SELECT repmgr.repmgrd_is_running(), repmgr.repmgrd_is_paused()';
const NODES = 'SELECT node_id, node_name, type, active, upstream_node_id, conninfo FROM repmgr.nodes ORDER BY node_id';

/** How this node's superuser connects to a server, in the database where repmgr keeps its table. */
export function targetOf(config: Config, host: string, port: number, database?: string): SqlTarget {
  const { superuser } = config.postgresql.authentication;
  const { password } = superuser;
  const fallback = config.postgresql.database === 'postgres' ? 'repmgr' : config.postgresql.database;
  return {
    host,
    port,
    user: superuser.username,
    database: database ?? fallback,
    ...(password === null ? {} : { password }),
  };
}

/** @param database - where repmgr keeps its table; undefined: as `targetOf` finds it */
export async function gatherFacts(
  session: Session,
  scope: string,
  origin: Origin,
  config: Config,
  database: string | undefined,
): Promise<AdoptionFacts> {
  const view = await session.read(scope);
  const withServer = view.members.filter((member) => member.pgha?.role !== 'witness');
  const members = await Promise.all(withServer.map((member) => aboutMember(session, member, origin, config, database)));
  if (origin === 'streaming') return { origin, scope, view, members, nodes: null };
  const primary = members.find(({ server }) => typeof server !== 'string' && !server.inRecovery) ?? members[0];
  const { host = null, port = null } = primary?.member ?? {};
  const nodes =
    host === null || port === null
      ? 'no member of pgha is there to ask'
      : await readNodes(session, targetOf(config, host, port, database));
  return { origin, scope, view, members, nodes };
}

async function aboutMember(
  session: Session,
  member: Member,
  origin: Origin,
  config: Config,
  database: string | undefined,
): Promise<MemberFacts> {
  const { host, port } = member;
  if (host === null || port === null) {
    const said = 'it has not published where its Postgres is';
    return { member, daemon: null, server: said, repmgrd: origin === 'repmgr' ? said : null };
  }
  const [daemon, server, repmgrd] = await Promise.all([
    askDaemon(session, member),
    askServer(session, targetOf(config, host, port, config.postgresql.database)),
    origin === 'repmgr' ? askRepmgrd(session, targetOf(config, host, port, database)) : null,
  ]);
  return { member, daemon, server, repmgrd };
}

/** null: no daemon answers. */
export async function askDaemon(session: Session, member: Member): Promise<DaemonFacts | null> {
  try {
    const said = JSON.parse((await session.call(member, 'GET', '/patroni')).text) as Said;
    const { pgha } = said;
    if (pgha === undefined) return null;
    const { decision, gate_ms: gate } = pgha;
    return {
      situation: decision?.situation ?? null,
      rule: decision?.rule ?? null,
      reason: decision?.reason ?? '',
      postgres: pgha.postgres ?? null,
      systemId: pgha.system_id ?? null,
      timeline: pgha.timeline ?? null,
      version: said.server_version ?? null,
      upstream: pgha.upstream ?? null,
      receiving: pgha.receiving === true,
      loginWorks: pgha.replication_login ?? null,
      gateMs: typeof gate === 'number' ? gate : null,
      writable: pgha.writable === true,
    };
  } catch {
    return null;
  }
}

interface Said {
  readonly server_version?: number;
  readonly pgha?: {
    readonly decision?: { readonly situation?: string; readonly rule?: string; readonly reason?: string };
    readonly postgres?: string;
    readonly system_id?: string | null;
    readonly timeline?: number | null;
    readonly upstream?: string | null;
    readonly receiving?: boolean;
    readonly replication_login?: boolean | null;
    readonly gate_ms?: number | string | null;
    readonly writable?: boolean;
  };
}

const isTrue = (cell: unknown): boolean => String(cell).startsWith('t');

async function askServer(session: Session, target: SqlTarget): Promise<ServerFacts | string> {
  try {
    const [row = []] = (await session.sql(target, STANDING)).rows;
    return {
      inRecovery: isTrue(row[0]),
      systemId: String(row[1]),
      slots: Number(row[2]),
      maxSlots: Number(row[3]),
      preloadsRepmgr: /\brepmgr\b/.test(String(row[4])),
    };
  } catch (error) {
    return messageOf(error);
  }
}

export async function askRepmgrd(session: Session, target: SqlTarget): Promise<RepmgrdFacts | string> {
  try {
    const [row = []] = (await session.sql(target, REPMGRD)).rows;
    return { running: isTrue(row[0]), paused: isTrue(row[1]) };
  } catch (error) {
    return messageOf(error);
  }
}

/** A sentence: why it cannot be read. */
export async function readNodes(session: Session, target: SqlTarget): Promise<readonly RepmgrNode[] | string> {
  try {
    const { rows } = await session.sql(target, NODES);
    return rows.map((row) => {
      const address = addressIn(String(row[5]));
      return {
        id: Number(row[0]),
        name: String(row[1]),
        type: String(row[2]),
        active: isTrue(row[3]),
        upstreamId: row[4] === '' || row[4] === null ? null : Number(row[4]),
        ...address,
      };
    });
  } catch (error) {
    return messageOf(error);
  }
}

/** By whichever name the other nodes reach it. */
function addressIn(conninfo: string): { readonly host: string; readonly port: number } {
  const read = parseConninfo(conninfo);
  const values = read.kind === 'read' ? read.values : new Map<string, string>();
  return { host: values.get('host') ?? values.get('hostaddr') ?? '', port: Number(values.get('port') ?? 5432) };
}
