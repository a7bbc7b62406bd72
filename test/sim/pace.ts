/**
 * S14: what a daemon sends, says and tries stays below its bounds in every minute, whatever has failed: one that asks
 * without end wears out etcd, fills disks with logs, or does the same thing to its data again and again.
 */
import type { Plan } from './plan.ts';

/** What is counted, by node. */
export type Paced =
  | 'requests to etcd'
  | 'questions to others'
  | 'log lines'
  | 'starts of Postgres'
  | 'copies and rewinds';

const MINUTE_MS = 60_000;

/** How much is allowed within a minute of simulated time. */
export function paceOf(plan: Plan): Readonly<Record<Paced, number>> {
  const others = Math.max(1, plan.nodes.length - 1);
  return {
    // A decision that looks again after 20 ms, the soonest there is, may read each time; the lease keeper has ten turns a
    // second of two requests after a failed one.
    'requests to etcd': 3_000 + 1_200,
    'questions to others': 3_000 * others,
    // The worst minute of some thousand stories has half of it.
    'log lines': 250,
    // Again after 1, 2, 4, ... seconds where it fails; what has struck the node since begins anew.
    'starts of Postgres': 30,
    'copies and rewinds': 20,
  };
}

export class Pace {
  private readonly now: () => number;
  private readonly bounds: Readonly<Record<Paced, number>>;
  private readonly fail: (invariant: string, sentence: string) => void;
  private readonly counts = new Map<string, { minute: number; count: number }>();
  readonly checked = { 'S14 something was counted': 0 };

  constructor(parts: {
    readonly now: () => number;
    readonly bounds: Readonly<Record<Paced, number>>;
    readonly fail: (invariant: string, sentence: string) => void;
  }) {
    this.now = parts.now;
    this.bounds = parts.bounds;
    this.fail = parts.fail;
  }

  note(name: string, what: Paced): void {
    this.checked['S14 something was counted'] += 1;
    const minute = Math.floor(this.now() / MINUTE_MS);
    const key = `${name} ${what}`;
    const known = this.counts.get(key);
    if (known === undefined || known.minute !== minute) {
      this.counts.set(key, { minute, count: 1 });
      return;
    }
    known.count += 1;
    const bound = this.bounds[what];
    if (known.count > bound) this.fail('S14', `${name}: more than ${bound} ${what} within a minute`);
  }
}
