/** `list` and `topology`: the members of one or more clusters, once or again and again. */
import type { ClusterView } from '../../core/cluster.ts';
import { byUpstream, membersText, type NamedCluster } from './member-table.ts';
import { messageOf, timestamp } from './outcome.ts';
import { type DaemonWord, type RepmgrTable, repmgrServiceTable, repmgrTable } from './repmgr-table.ts';
import { exists, type Session } from './session.ts';
import type { Format } from './table.ts';
import { Misuse, Refusal } from './terminal.ts';

export interface ListOptions {
  readonly extended?: boolean;
  readonly timestamp?: boolean;
  readonly bytes?: boolean;
  /** Without connection strings, in repmgr's table. */
  readonly compact?: boolean;
  /** `repmgr`: the table of `repmgr cluster show`; `repmgr-service`: that of `repmgr service status`. */
  readonly format: Format | 'repmgr' | 'repmgr-service';
  /** -W: every two seconds. */
  readonly W?: boolean;
  /** -w: every so many seconds. */
  readonly watch?: number;
}

const WATCH_SECONDS = 2;

export async function list(session: Session, names: readonly string[], options: ListOptions): Promise<number> {
  const { format, compact = false, extended = false, bytes = false } = options;
  if (format === 'repmgr-service') {
    if (extended || bytes || compact)
      throw new Misuse("repmgr's table has no other columns: leave out --extended, --bytes and --compact");
    return await asRepmgr(session, names, options, async ({ scope, view }) =>
      repmgrServiceTable({ scope, view }, await wordsOf(session, view)),
    );
  }
  if (format !== 'repmgr' && (!compact || format !== 'pretty')) {
    if (compact) throw new Misuse(`--compact is repmgr's table: it cannot be printed as ${format}`);
    return await repeat(session, names, options, (clusters) => membersText(clusters, format, { extended, bytes }));
  }
  if (extended || bytes) throw new Misuse("repmgr's table has no other columns: leave out --extended and --bytes");
  return await asRepmgr(session, names, options, async (cluster) => repmgrTable(cluster, compact));
}

/** As repmgr's own: a warning about any node makes the exit code 1. */
async function asRepmgr(
  session: Session,
  names: readonly string[],
  options: ListOptions,
  tableOf: (cluster: NamedCluster) => Promise<RepmgrTable>,
): Promise<number> {
  let code = 0;
  const listed = await repeat(session, names, options, async (clusters) => {
    const tables = await Promise.all(
      clusters.map(async (cluster) => ({ scope: cluster.scope, ...(await tableOf(cluster)) })),
    );
    code = tables.some(({ warnings }) => warnings.length > 0) ? 1 : 0;
    return tables
      .flatMap(({ scope, text, warnings }) => [
        ...(clusters.length > 1 ? [`Cluster: ${scope}`] : []),
        text,
        ...(warnings.length === 0
          ? []
          : ['', 'WARNING: following issues were detected', ...warnings.map((warning) => `  - ${warning}`)]),
      ])
      .join('\n');
  });
  return Math.max(listed, code);
}

/** The daemons themselves are asked: their keys in etcd outlive them by up to a TTL. */
async function wordsOf(session: Session, view: ClusterView): Promise<ReadonlyMap<string, DaemonWord | null>> {
  const words = view.members.map(async (member): Promise<readonly [string, DaemonWord | null]> => {
    const answer = await session.call(member, 'GET', '/patroni').catch(() => null);
    return [member.name, answer === null ? null : wordIn(answer.text)];
  });
  return new Map(await Promise.all(words));
}

/** null: a guard that stands in for its daemon answers too, and says nothing. */
function wordIn(text: string): DaemonWord | null {
  try {
    const said = JSON.parse(text) as { readonly patroni?: unknown; readonly pgha?: Readonly<Record<string, unknown>> };
    if (said.patroni === undefined) return null;
    const number = (value: unknown): number | null => (typeof value === 'number' ? value : null);
    return { pid: number(said.pgha?.['pid']), sawPrimaryMs: number(said.pgha?.['saw_primary_ms']) };
  } catch {
    return null;
  }
}

export async function topology(
  session: Session,
  names: readonly string[],
  options: Pick<ListOptions, 'W' | 'watch'>,
): Promise<number> {
  return await repeat(session, names, options, (clusters) => membersText(clusters, 'pretty', { order: byUpstream }));
}

async function repeat(
  session: Session,
  names: readonly string[],
  options: Pick<ListOptions, 'W' | 'watch' | 'timestamp'>,
  render: (clusters: readonly NamedCluster[]) => Promise<string>,
): Promise<number> {
  const { terminal } = session;
  const scopes = names.length === 0 ? [await session.scope(undefined)] : names;
  const pause = options.watch ?? (options.W === true ? WATCH_SECONDS : null);
  const once = async (): Promise<number> => {
    const clusters: NamedCluster[] = [];
    for (const scope of scopes) clusters.push({ scope, view: await session.read(scope) });
    const missing = clusters.filter(({ view }) => !exists(view)).map(({ scope }) => scope);
    if (pause === null && missing.length === scopes.length) {
      throw new Refusal(`There is no cluster ${missing.join(', ')} in etcd.`);
    }
    const drawn = await render(clusters);
    if (pause !== null) terminal.clearScreen();
    if (options.timestamp === true) terminal.out(timestamp(terminal.now()));
    terminal.out(drawn);
    return missing.length === 0 ? 0 : 1;
  };
  if (pause === null) return await once();
  for (;;) {
    // Whoever watches a failover wants to go on watching while etcd elects a leader.
    await once().catch((error: unknown) => terminal.err(messageOf(error)));
    await terminal.sleep(pause * 1000);
  }
}
