/**
 * What Postgres has against settings that somebody is about to store, if it says so in time. That it cannot be asked
 * keeps nobody from storing them: maintenance must begin also beside a server that hangs.
 */
import { millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';

/** So long an operator who changes settings waits for what Postgres says of them. */
const OBJECTIONS_LIMIT = millis(15_000);

/** @returns a sentence for each objection; empty: there is none, or Postgres could not be asked, which is told */
export async function objectionsInTime(
  { clock, log }: { readonly clock: Clock; readonly log: EventLog },
  ask: () => Promise<readonly string[]>,
): Promise<readonly string[]> {
  const answered = new AbortController();
  const unasked = (error: unknown) => ({ error });
  const outcome = await Promise.race([
    ask().catch(unasked),
    clock.sleep(OBJECTIONS_LIMIT, answered.signal).then(() => unasked(new Error('no answer in time'))),
  ]);
  answered.abort();
  if (!('error' in outcome)) return outcome;
  const sentence = 'whether Postgres takes the new settings could not be found out; what it refuses is left out later';
  log.write('warn', 'action.failed', sentence, outcome);
  return [];
}
