/**
 * What became of every row a writer tried to write, and what that means once the table has been read. Pure: the
 * writing itself is in client-process.ts.
 *
 * A row is *acked* when the server confirmed it, *failed* when the server certainly refused it, and *unknown* when
 * the connection broke or the time ran out: then it may be there or not. The promise is acked ⊆ read ⊆ attempted.
 */

export type RowFate = 'acked' | 'failed' | 'unknown';

export interface Acknowledgement {
  readonly row: string;
  /** Monotonic milliseconds when the answer was there, and which server gave it. */
  readonly at: number;
  readonly server: string;
}

export interface WriterReport {
  /** Rows in the order of writing, per fate. */
  readonly acked: readonly Acknowledgement[];
  readonly failed: readonly string[];
  readonly unknown: readonly string[];
  readonly errors: readonly { readonly at: number; readonly text: string }[];
}

/** Rows are called WRITER-SESSION-NUMBER. */
export function writerOf(row: string): string {
  return row.slice(0, row.indexOf('-'));
}

/** What several writers know, as if it were one. */
export function together(reports: readonly WriterReport[]): WriterReport {
  return {
    acked: reports.flatMap(({ acked }) => acked),
    failed: reports.flatMap(({ failed }) => failed),
    unknown: reports.flatMap(({ unknown }) => unknown),
    errors: reports.flatMap(({ errors }) => errors),
  };
}

export interface Verdict {
  readonly attempted: number;
  readonly acked: number;
  readonly unknown: number;
  readonly read: number;
  /** Acknowledged and not there any more. */
  readonly lost: readonly string[];
  /** There, though never attempted or certainly refused. */
  readonly phantom: readonly string[];
}

export function judge(report: WriterReport, read: readonly string[]): Verdict {
  const there = new Set(read);
  const acked = new Set(report.acked.map(({ row }) => row));
  const unknown = new Set(report.unknown);
  return {
    attempted: acked.size + unknown.size + report.failed.length,
    acked: acked.size,
    unknown: unknown.size,
    read: there.size,
    lost: [...acked].filter((row) => !there.has(row)),
    phantom: [...there].filter((row) => !acked.has(row) && !unknown.has(row)),
  };
}

export interface Pause {
  readonly ms: number;
  /** Monotonic instants of the last acknowledgement before it and of the first after it. */
  readonly from: number;
  readonly to: number;
  readonly fromServer: string;
  readonly toServer: string;
}

/** The longest time without any acknowledgement, between two instants. */
export function longestPause(
  acked: readonly Acknowledgement[],
  since = 0,
  to = Number.POSITIVE_INFINITY,
): Pause | null {
  const sorted = acked.toSorted((a, b) => a.at - b.at);
  let longest: Pause | null = null;
  for (let i = 1; i < sorted.length; i++) {
    const [before, after] = [sorted[i - 1], sorted[i]];
    if (before === undefined || after === undefined || after.at < since || before.at > to) continue;
    const ms = after.at - before.at;
    if (longest === null || ms > longest.ms) {
      longest = { ms, from: before.at, to: after.at, fromServer: before.server, toServer: after.server };
    }
  }
  return longest;
}

/** One write that a server accepted: the commit happened somewhere between the two instants. */
export interface Accepted {
  readonly node: string;
  readonly timeline: string;
  readonly sent: number;
  readonly acked: number;
}

/** On which timeline a row was acknowledged: that of the watched write nearest to it; null: none was seen on its node. */
export function timelineOf(row: Acknowledgement, writes: readonly Accepted[]): number | null {
  let nearest: Accepted | null = null;
  for (const write of writes) {
    if (write.node !== row.server) continue;
    if (nearest === null || Math.abs(write.acked - row.at) < Math.abs(nearest.acked - row.at)) nearest = write;
  }
  return nearest === null ? null : Number.parseInt(nearest.timeline, 16);
}

/** The timelines whose new primary has said, in this log, that acknowledged commits may be lost. */
export function lossesTold(log: string): number[] {
  const told: number[] = [];
  let timeline: number | null = null;
  for (const line of log.split('\n')) {
    const begun = / failover\.completed .* timeline=(\d+)/.exec(line);
    if (begun !== null) timeline = Number(begun[1]);
    if (timeline !== null && line.includes(' failover.loss-possible ')) told.push(timeline);
  }
  return told;
}

export interface Overlap {
  readonly a: string;
  readonly b: string;
  readonly ms: number;
  readonly sentence: string;
}

/**
 * Two nodes that accepted writes at the same time. A *reign* is one node on one timeline; each promotion opens a new
 * one. Reign P ended before reign Q began unless some write of P was *sent* after some write of Q was *acknowledged*,
 * and the other way round: then both were open at once, whatever the delays in between.
 */
export function overlaps(writes: readonly Accepted[]): Overlap[] {
  const reigns = new Map<string, { lastSent: number; firstAcked: number; writes: number }>();
  for (const write of writes) {
    const name = `${write.node} on timeline ${Number.parseInt(write.timeline, 16)}`;
    const reign = reigns.get(name);
    if (reign === undefined) reigns.set(name, { lastSent: write.sent, firstAcked: write.acked, writes: 1 });
    else {
      reign.lastSent = Math.max(reign.lastSent, write.sent);
      reign.firstAcked = Math.min(reign.firstAcked, write.acked);
      reign.writes += 1;
    }
  }
  const found: Overlap[] = [];
  const all = [...reigns];
  for (const [i, [a, p]] of all.entries()) {
    for (const [b, q] of all.slice(i + 1)) {
      const ms = Math.min(p.lastSent - q.firstAcked, q.lastSent - p.firstAcked);
      if (ms > 0) found.push({ a, b, ms, sentence: `${a} and ${b} both accepted writes during ${ms.toFixed(1)} ms` });
    }
  }
  return found;
}
