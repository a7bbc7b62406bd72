/**
 * The table of a cluster's members, in patronictl's columns, order and words, for `list` and `topology` and as the
 * closing picture of what changes something.
 */
import type { ClusterView } from '../../core/cluster.ts';
import { clusterDocument, type ShownMember } from '../cluster-document.ts';
import type { Cell, Column, Format, Rows } from './table.ts';
import { cellText, drawTable, structured, tsv } from './table.ts';

export interface NamedCluster {
  readonly scope: string;
  readonly view: ClusterView;
}

const column = (title: string, align: Column['align'] = 'left', key = title): Column => ({ title, key, align });

const COLUMNS: readonly Column[] = [
  column('Member'),
  column('Host'),
  column('Role'),
  column('State'),
  column('TL', 'right'),
  column('Receive LSN', 'right'),
  column('Lag', 'right', 'Receive Lag'),
  column('Replay LSN', 'right'),
  column('Lag', 'right', 'Replay Lag'),
];
const CLUSTER = column('Cluster');
const PENDING = column('Pending restart');
const REASON = column('Pending restart reason');
const SCHEDULED = column('Scheduled restart');
const TAGS = column('Tags');
/** Only in the extended form, where Patroni has no such column, and only where somebody is in trouble. */
const TROUBLE = column('Trouble');
const OPTIONAL = [PENDING, REASON, SCHEDULED, TAGS, TROUBLE];

/** Longer reasons would push everything else off the screen. */
const LONGEST_REASON = 50;

/** The title in the border: which cluster, and which system. */
export function tableTitle({ scope, view }: NamedCluster): string {
  const initialize = view.initialize?.value ?? 'uninitialized';
  return ` Cluster: ${scope} (${initialize === '' ? 'initializing' : initialize}) `;
}

export interface Order {
  readonly members: readonly ShownMember[];
  /** How deep below the leader; 0 for the leader and in a plain list. */
  readonly depth: ReadonlyMap<string, number>;
}

export function alphabetically(members: readonly ShownMember[]): Order {
  return { members: [...members].sort(byName), depth: new Map() };
}

/** The leader first, each standby below the one it replicates from. */
export function byUpstream(members: readonly ShownMember[]): Order {
  const sorted = [...members].sort(byName);
  const leader = sorted.find((member) => member.role.endsWith('leader'));
  const parentOf = (member: ShownMember): string | undefined => {
    // Where it receives from; of a member that does not say, where it was told to.
    const wanted = member.receives_from ?? member.tags?.['replicatefrom'];
    const known = typeof wanted === 'string' && wanted !== member.name && sorted.some((one) => one.name === wanted);
    return known ? wanted : leader?.name;
  };
  const depth = new Map<string, number>();
  const ordered: ShownMember[] = [];
  const place = (member: ShownMember, level: number): void => {
    if (depth.has(member.name)) return;
    depth.set(member.name, level);
    ordered.push(member);
    for (const child of sorted) if (child !== leader && parentOf(child) === member.name) place(child, level + 1);
  };
  if (leader !== undefined) place(leader, 0);
  // Two that name each other as their source, or a cluster without a leader.
  for (const member of sorted) place(member, leader === undefined ? 0 : 1);
  return { members: ordered, depth };
}

const byName = (a: ShownMember, b: ShownMember): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

function memberRows(cluster: NamedCluster, order: Order, lagOf: Lag): Rows {
  const withPort = showsPorts(order.members);
  return {
    columns: [CLUSTER, ...COLUMNS, ...OPTIONAL],
    rows: order.members.map((member) => {
      const level = order.depth.get(member.name) ?? 0;
      const name = level === 0 ? member.name : `${'  '.repeat(level - 1)}+ ${member.name}`;
      return [
        cluster.scope,
        name,
        host(member, withPort),
        title(member.role),
        stateOf(member),
        ...facts(member, lagOf),
      ];
    }),
  };
}

/** TL, positions and lags, then the optional ones. */
function facts(member: ShownMember, lagOf: Lag): Cell[] {
  // Members that publish neither position are old ones: their plain position stands in the first pair.
  const plain = member.receive_lsn === 'unknown' && member.replay_lsn === 'unknown' && member.lsn !== 'unknown';
  const receive: Cell[] = plain
    ? [member.lsn ?? '', lagOf(member.lag)]
    : [member.receive_lsn ?? '', lagOf(member.receive_lag)];
  const replay: Cell[] = plain ? ['', ''] : [member.replay_lsn ?? '', lagOf(member.replay_lag)];
  return [
    member.timeline ?? '',
    ...receive,
    ...replay,
    member.pending_restart === true ? '*' : '',
    reasons(member.pending_restart_reason),
    schedule(member.scheduled_restart),
    member.tags ?? '',
    member.trouble ?? '',
  ];
}

function showsPorts(members: readonly ShownMember[]): boolean {
  const hosts = members.map((member) => member.host).filter((one) => one !== undefined);
  return (
    members.some((member) => member.port !== undefined && member.port !== 5432) || new Set(hosts).size < hosts.length
  );
}

function host(member: ShownMember, withPort: boolean): string {
  if (member.host === undefined) return '';
  return withPort && member.port !== undefined ? `${member.host}:${member.port}` : member.host;
}

/** `creating replica (copy 35 %)` */
const stateOf = ({ state, progress }: ShownMember): string =>
  progress === undefined ? state : `${state} (${progress})`;

/** `sync_standby` -> `Sync Standby` */
const title = (role: string): string =>
  role
    .split('_')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join(' ');

type Lag = (lag: number | 'unknown' | undefined) => Cell;

const megabytes: Lag = (lag) => (typeof lag === 'number' ? Math.round(lag / 1024 / 1024) : '');
const bytes: Lag = (lag) => (typeof lag === 'number' ? lag : '');

function reasons(value: unknown): string {
  if (typeof value !== 'object' || value === null) return '';
  return Object.entries(value)
    .map(([name, change]) => {
      const text = `${String(change?.old_value ?? '')}->${String(change?.new_value ?? '')}`;
      return `${name}: ${text.length > LONGEST_REASON ? '[hidden - too long]' : text}`;
    })
    .join('\n');
}

function schedule(value: unknown): string {
  if (typeof value !== 'object' || value === null) return '';
  const { schedule: when, postgres_version: below } = value as Record<string, unknown>;
  return `${String(when ?? '')}${below === undefined ? '' : ` if version < ${String(below)}`}`;
}

/** The members of each cluster, in the format asked for. */
export async function membersText(
  clusters: readonly NamedCluster[],
  format: Format,
  options: {
    readonly extended?: boolean;
    /** Lags in bytes, not in whole MB. */
    readonly bytes?: boolean;
    readonly order?: (members: readonly ShownMember[]) => Order;
  } = {},
): Promise<string> {
  const { extended = false, order = alphabetically } = options;
  const tables = clusters.map((cluster) =>
    memberRows(
      cluster,
      order(clusterDocument(cluster.view, cluster.scope).members),
      options.bytes === true ? bytes : megabytes,
    ),
  );
  if (format !== 'pretty') {
    const rows = tables.flatMap((table) => table.rows);
    const all = { columns: [CLUSTER, ...COLUMNS, ...OPTIONAL], rows };
    const kept = withoutEmpty(all, extended);
    if (format !== 'tsv') return await structured(format, kept);
    const { stringify } = await import('yaml');
    const flat = kept.rows.map((row) => row.map((cell) => (typeof cell === 'object' ? inline(stringify, cell) : cell)));
    return tsv({ columns: kept.columns, rows: flat });
  }
  const { stringify } = await import('yaml');
  const flow = (cell: Cell): string => (typeof cell === 'object' ? inline(stringify, cell) : cellText(cell));
  const block = (cell: Cell): string => (typeof cell === 'object' ? stringify(cell).trimEnd() : cellText(cell));
  return clusters
    .map((cluster, index) => {
      const table = withoutEmpty(tables[index] ?? { columns: [], rows: [] }, extended, true);
      const drawn = drawTable(
        tableTitle(cluster),
        table.columns,
        table.rows.map((row) => row.map(order === alphabetically ? block : flow)),
      );
      return [drawn, ...footer(cluster)].join('\n');
    })
    .join('\n');
}

/** `{clonefrom: true, zone: x}` */
function inline(stringify: typeof import('yaml')['stringify'], cell: object): string {
  return stringify(cell, { collectionStyle: 'flow', flowCollectionPadding: false, lineWidth: 0 }).trimEnd();
}

/** Optional columns stand only where some member has something to say in them. */
function withoutEmpty({ columns, rows }: Rows, extended: boolean, pretty = false): Rows {
  const kept = columns
    .map((one, index) => ({ one, index }))
    .filter(({ one, index }) => {
      if (one === CLUSTER) return !pretty;
      const isSaid = rows.some((row) => row[index] !== '');
      if (one === TROUBLE) return extended && isSaid;
      return extended || !OPTIONAL.includes(one) || isSaid;
    });
  return {
    columns: kept.map(({ one }) => one),
    rows: rows.map((row) => kept.map(({ index }) => row[index] ?? '')),
  };
}

function footer({ scope, view }: NamedCluster): string[] {
  const { members, pause, scheduled_switchover: wish } = clusterDocument(view, scope);
  const said: string[] = members.flatMap(({ name, vip }) =>
    vip === undefined ? [] : [` Virtual address: ${vip} of ${name}`],
  );
  if (pause === true) said.push(' Maintenance mode: on');
  if (wish !== undefined) {
    said.push(` Switchover scheduled at: ${wish.at}`);
    for (const end of ['from', 'to'] as const) {
      if (wish[end] !== undefined) said.push(`${`${end}:`.padStart(25)} ${wish[end]}`);
    }
  }
  return said;
}
