/** The operator's own body for a webhook: the placeholders of event_notification_command within a JSON text. */
import { notificationValues } from '../commands/values.ts';
import type { ClusterEvent } from '../core/cluster-events.ts';

/** Each value is made safe for the inside of a JSON string. %o is the cluster's name; a percent sign is %%. */
export function fillTemplate(template: string, event: ClusterEvent, scope: string): string {
  const values: Readonly<Record<string, string>> = {
    ...notificationValues(event),
    '%': '%',
    o: scope,
    N: event.node,
  };
  return template.replace(/%(.)/g, (whole, letter: string) => {
    const value = values[letter];
    return value === undefined ? whole : JSON.stringify(value).slice(1, -1);
  });
}
