/** The operator's own body for a webhook: the placeholders of event_notification_command within a JSON text. */
import type { ClusterEvent } from '../core/cluster-events.ts';

/** Each value is made safe for the inside of a JSON string. %o is the cluster's name; a percent sign is %%. */
export function fillTemplate(template: string, event: ClusterEvent, scope: string): string {
  const { primary } = event;
  const values: Readonly<Record<string, string>> = {
    '%': '%',
    o: scope,
    n: String(event.nodeId ?? 0),
    N: event.node,
    e: event.event,
    s: event.ok ? '1' : '0',
    t: event.time,
    d: event.details,
    p: primary === null ? '' : String(primary.id ?? 0),
    c: primary?.conninfo ?? '',
    a: primary?.name ?? '',
  };
  return template.replace(/%(.)/g, (whole, letter: string) => {
    const value = values[letter];
    return value === undefined ? whole : JSON.stringify(value).slice(1, -1);
  });
}
