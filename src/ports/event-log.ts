/** Where the story goes: one named event with its facts. `log/events.ts` is the catalogue. */
import type { EventName } from '../log/events.ts';

export type Severity = 'debug' | 'info' | 'warn' | 'error';

/** LSNs as `bigint` are printed as Postgres prints them; errors keep their cause. */
export type Facts = Readonly<Record<string, unknown>>;

export interface EventLog {
  /**
   * @param event - a name from log/events.ts: `lease.acquired`
   * @param sentence - for the operator; reads without the facts
   */
  write(severity: Severity, event: EventName, sentence: string, facts?: Facts): void;
}
