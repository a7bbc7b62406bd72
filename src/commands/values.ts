/** What stands behind the placeholders: an event as repmgr fills it in, and a failover as pgpool does. */
import type { ClusterEvent } from '../core/cluster-events.ts';
import type { ServerNamed } from '../ports/commands.ts';
import type { Placeholders } from './placeholders.ts';

/** As repmgr fills them in; what an event does not have is empty. */
export function notificationValues(event: ClusterEvent): Placeholders {
  const { primary } = event;
  return {
    n: String(event.nodeId ?? 0),
    e: event.event,
    s: event.ok ? '1' : '0',
    t: event.time,
    d: event.details,
    p: primary === null ? '' : String(primary.id ?? 0),
    c: primary?.conninfo ?? '',
    a: primary?.name ?? '',
  };
}

/** As pgpool fills them in: -1 stands for a node that has no number. The failed node is the old primary. */
export function failoverValues(from: ServerNamed, to: ServerNamed): Placeholders {
  const id = ({ id: number }: ServerNamed): string => String(number ?? -1);
  const text = (value: string | number | null): string => String(value ?? '');
  return {
    d: id(from),
    h: text(from.host),
    p: text(from.port),
    D: text(from.dataDirectory),
    m: id(to),
    H: text(to.host),
    M: id(from),
    P: id(from),
    r: text(to.port),
    R: text(to.dataDirectory),
    N: text(from.host),
    S: text(from.port),
  };
}
