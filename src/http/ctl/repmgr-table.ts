/**
 * The members as `repmgr cluster show` prints them, for people and scripts that know that table. What repmgr asks every
 * node for comes from the keys in etcd here; the words of the column Status are repmgr's as far as it has one.
 */
import type { ClusterView, Member } from '../../core/cluster.ts';
import { fromFailoverPriority } from '../../core/policy.ts';
import type { NamedCluster } from './member-table.ts';
import { leaderOf } from './session.ts';
import { printable } from './table.ts';

export interface RepmgrTable {
  readonly text: string;
  /** Below the table, as repmgr has them; with one its exit code is not 0. */
  readonly warnings: readonly string[];
}

const TITLES = ['ID', 'Name', 'Role', 'Status', 'Upstream', 'Location', 'Priority', 'Timeline', 'Connection string'];
const COMPACT: Readonly<Record<string, string>> = { Priority: 'Prio.', Timeline: 'TLI' };

export function repmgrTable({ view }: NamedCluster, compact: boolean): RepmgrTable {
  const warnings: string[] = [];
  if (view.leader === null) warnings.push('there is no leader: no node accepts writes');
  const rows = [...view.members].sort(byId).map((member) => {
    const { status, warning } = statusOf(member, view);
    const upstream = upstreamOf(member, view);
    if (warning !== null) warnings.push(`node "${member.name}" ${label(member)}${warning}`);
    if (upstream.warning !== null) warnings.push(`node "${member.name}" ${label(member)}${upstream.warning}`);
    const cells = [
      String(member.pgha?.nodeId ?? ''),
      member.name,
      roleOf(member, view),
      status,
      upstream.shown,
      member.pgha?.location ?? 'default',
      String(priorityOf(member)),
      member.pgha?.role === 'witness' ? 'n/a' : String(member.timeline ?? '?'),
      member.host === null ? '' : `host=${member.host} port=${member.port ?? 5432}`,
    ];
    return (compact ? cells.slice(0, -1) : cells).map(printable);
  });
  const titles = compact ? TITLES.slice(0, -1).map((title) => COMPACT[title] ?? title) : TITLES;
  return { text: drawn(titles, rows), warnings: warnings.map(printable) };
}

/** As psql draws it: blanks around, bars between, no frame. */
function drawn(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = titles.map((title, index) =>
    Math.max(title.length, ...rows.map((row) => [...(row[index] ?? '')].length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => ` ${cell}${' '.repeat((widths[index] ?? 0) - [...cell].length)} `)
      .join('|')
      .trimEnd();
  const rule = widths.map((width) => '-'.repeat(width + 2)).join('+');
  return [line(titles), rule, ...rows.map(line)].join('\n');
}

/** What a member's daemon says of itself. */
export interface DaemonWord {
  readonly pid: number | null;
  /** How long ago it last saw its primary; null: it does not say. */
  readonly sawPrimaryMs: number | null;
}

const SERVICE = ['ID', 'Name', 'Role', 'Status', 'Upstream', 'repmgrd', 'PID', 'Paused?', 'Upstream last seen'];

/** As `repmgr service status`. @param words - of each member, by its name; null: its daemon does not answer */
export function repmgrServiceTable({ view }: NamedCluster, words: ReadonlyMap<string, DaemonWord | null>): RepmgrTable {
  const warnings: string[] = [];
  const rows = [...view.members].sort(byId).map((member) => {
    const word = words.get(member.name) ?? null;
    if (word === null) warnings.push(`the daemon of node "${member.name}" ${label(member)}does not answer`);
    const seen = view.leader?.name === member.name ? null : (word?.sawPrimaryMs ?? null);
    return [
      String(member.pgha?.nodeId ?? ''),
      member.name,
      roleOf(member, view),
      statusOf(member, view).status,
      upstreamOf(member, view).shown,
      word === null ? 'not running' : 'running',
      String(word?.pid ?? 'n/a'),
      word === null ? 'n/a' : member.pause ? 'yes' : 'no',
      seen === null ? 'n/a' : `${Math.round(seen / 1000)} second(s) ago`,
    ].map(printable);
  });
  return { text: drawn(SERVICE, rows), warnings: warnings.map(printable) };
}

const label = ({ pgha }: Member): string => (pgha?.nodeId == null ? '' : `(ID: ${pgha.nodeId}) `);

function byId(a: Member, b: Member): number {
  const [left, right] = [a.pgha?.nodeId ?? Number.MAX_SAFE_INTEGER, b.pgha?.nodeId ?? Number.MAX_SAFE_INTEGER];
  return left - right || (a.name < b.name ? -1 : 1);
}

function roleOf(member: Member, view: ClusterView): string {
  if (member.pgha?.role === 'witness') return 'witness';
  return view.leader?.name === member.name ? 'primary' : 'standby';
}

/** repmgr's default; 0 is never. */
function priorityOf({ pgha, tags }: Member): number {
  if (tags['nofailover'] === true) return 0;
  if (pgha !== null) return pgha.priority;
  const tagged = tags['failover_priority'];
  return typeof tagged === 'number' ? fromFailoverPriority(tagged) : 100;
}

const isPrimary = ({ role }: Member): boolean => role === 'primary' || role === 'master' || role === 'standby_leader';

function statusOf(member: Member, view: ClusterView): { readonly status: string; readonly warning: string | null } {
  const leads = view.leader?.name === member.name;
  if (member.pgha?.role === 'witness') return { status: '* running', warning: null };
  const runs = member.state === 'running' || member.state === 'streaming' || member.state === 'in archive recovery';
  if (!runs) {
    const down = /^(stopped|stopping|crashed|start failed|restart failed)/.test(member.state);
    return { status: down ? '- failed' : `? ${member.state}`, warning: `is ${member.state}` };
  }
  if (leads && isPrimary(member)) return { status: '* running', warning: null };
  if (leads) return { status: '! running as standby', warning: 'holds the leader key but is running as standby' };
  if (isPrimary(member))
    return { status: '! running as primary', warning: 'does not hold the leader key but is running as primary' };
  return { status: '  running', warning: null };
}

function upstreamOf(member: Member, view: ClusterView): { readonly shown: string; readonly warning: string | null } {
  if (view.leader?.name === member.name) return { shown: '', warning: null };
  const leader = leaderOf(view)?.name ?? null;
  const told = member.pgha?.upstream ?? tagged(member) ?? leader;
  if (told === null) return { shown: '', warning: null };
  if (member.pgha?.role === 'witness') return { shown: told, warning: null };
  const from = member.pgha?.receivesFrom ?? null;
  const streams = member.replicationState === 'streaming';
  // A member of Patroni says that it streams, and not from whom.
  if (streams && (from === null || from === told)) return { shown: told, warning: null };
  if (streams) return { shown: `! ${told}`, warning: `streams from ${from}, not from its upstream ${told}` };
  return { shown: `? ${told}`, warning: `is not attached to its upstream node "${told}"` };
}

const tagged = ({ tags }: Member): string | null =>
  typeof tags['replicatefrom'] === 'string' && tags['replicatefrom'] !== '' ? tags['replicatefrom'] : null;
