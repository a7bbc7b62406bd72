/** `events`: what happened in a cluster, as its members have told it; read from etcd, so also while none of them lives. */

import { didYouMean } from '../../config/nearest.ts';
import {
  CLUSTER_EVENTS,
  type ClusterEvent,
  EVENTS_OF_REPMGR_ONLY,
  isClusterEvent,
  readAllEvents,
} from '../../core/cluster-events.ts';
import { timestamp } from './outcome.ts';
import type { Session } from './session.ts';
import { type Column, drawTable, type Format, structured } from './table.ts';
import { Misuse } from './terminal.ts';

export interface EventsOptions {
  readonly event?: string;
  /** A name or a node_id. */
  readonly node?: string;
  readonly limit: number;
  readonly format: Format;
}

const COLUMNS: readonly Column[] = [
  { title: 'Node ID', key: 'Node ID', align: 'right' },
  { title: 'Name', key: 'Name', align: 'left' },
  { title: 'Event', key: 'Event', align: 'left' },
  { title: 'OK', key: 'OK', align: 'left' },
  { title: 'Timestamp', key: 'Timestamp', align: 'left' },
  { title: 'Details', key: 'Details', align: 'left' },
];

export async function events(session: Session, name: string | undefined, options: EventsOptions): Promise<number> {
  checkEvent(options.event);
  const scope = await session.scope(name);
  const { events: all, troubles } = readAllEvents(await session.readChronicle(scope));
  for (const { key, why } of troubles) session.terminal.err(`Warning: etcd's key pgha/${key} is ${why}.`);
  await checkNode(session, scope, options.node, all);
  const chosen = all
    .filter(({ event }) => options.event === undefined || event === options.event)
    .filter((event) => options.node === undefined || isAbout(event, options.node))
    .slice(0, options.limit);
  session.terminal.out(await rendered(chosen, options.format));
  return 0;
}

async function rendered(chosen: readonly ClusterEvent[], format: Format): Promise<string> {
  if (format === 'pretty') {
    if (chosen.length === 0) return 'No matching events.';
    const rows = chosen.map((event) => [
      String(event.nodeId ?? ''),
      event.node,
      event.event,
      event.ok ? 't' : 'f',
      timestamp(new Date(event.time)),
      event.details,
    ]);
    return drawTable(null, COLUMNS, rows);
  }
  const rows = chosen.map((event) => [
    event.nodeId ?? '',
    event.node,
    event.event,
    event.ok,
    event.time,
    event.details,
    event.primary?.name ?? '',
  ]);
  const other: Column = { title: 'Other node', key: 'Other node', align: 'left' };
  return structured(format, { columns: [...COLUMNS, other], rows });
}

const has = (name: string, id: number | null, node: string): boolean =>
  name === node || (id !== null && String(id) === node);
const isAbout = (event: ClusterEvent, node: string): boolean => has(event.node, event.nodeId, node);

function checkEvent(name: string | undefined): void {
  if (name === undefined || isClusterEvent(name)) return;
  const instead = Object.hasOwn(EVENTS_OF_REPMGR_ONLY, name) ? EVENTS_OF_REPMGR_ONLY[name] : undefined;
  throw new Misuse(
    instead === undefined
      ? `there is no event ${name}${didYouMean(name, Object.keys(CLUSTER_EVENTS))}`
      : `${name} is never told here: ${instead}`,
  );
}

/** Of a node that has told nothing there is nothing to show; a name that nobody has is a mistake. */
async function checkNode(
  session: Session,
  scope: string,
  node: string | undefined,
  all: readonly ClusterEvent[],
): Promise<void> {
  if (node === undefined || all.some((event) => isAbout(event, node))) return;
  const { members } = await session.read(scope);
  if (members.some(({ name, pgha }) => has(name, pgha?.nodeId ?? null, node))) return;
  const known = [...new Set([...members.map((member) => member.name), ...all.map((event) => event.node)])].sort();
  throw new Misuse(
    `${node} is not a node of cluster ${scope}${known.length === 0 ? '' : ` (nodes: ${known.join(', ')})`}`,
  );
}
