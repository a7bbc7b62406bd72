/**
 * Two members with one node_id: nothing stops, since names break the tie, but it is not what their operator meant. Said
 * once, with both names, and again when it comes back.
 */
import type { Member } from '../core/cluster.ts';
import type { EventLog } from '../ports/event-log.ts';

export class SharedNodeIds {
  private readonly log: EventLog;
  private told = new Set<string>();

  constructor(log: EventLog) {
    this.log = log;
  }

  look(members: readonly Member[]): void {
    const byId = new Map<number, string[]>();
    for (const { name, pgha } of members) {
      if (pgha?.nodeId != null) byId.set(pgha.nodeId, [...(byId.get(pgha.nodeId) ?? []), name]);
    }
    const shared = [...byId]
      .filter(([, names]) => names.length > 1)
      .map(([id, names]) => ({ id, names: names.sort().join(' and ') }));
    for (const { id, names } of shared) {
      if (this.told.has(`${id} ${names}`)) continue;
      this.log.write(
        'warn',
        'member.node-id-shared',
        `${names} have the same node_id ${id}: in an election the name decides between them; give each its own`,
        { node_id: id },
      );
    }
    this.told = new Set(shared.map(({ id, names }) => `${id} ${names}`));
  }
}
