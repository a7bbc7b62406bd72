/**
 * WAL as the simulation sees it: entries with an identity, on branches of history. Two servers that promote at the same
 * time may pick the same timeline number; their branches stay different here, so that divergence is real and can be
 * seen.
 */

/** One timeline as it really came about; the number may be given twice by servers that know nothing of each other. */
export interface Branch {
  readonly id: number;
  readonly parent: Branch | null;
  /** Where it left its parent. */
  readonly switchedAt: number;
  readonly by: string;
}

export interface WalEntry {
  readonly start: number;
  readonly end: number;
  readonly branch: Branch;
  /** Unique in the world. */
  readonly id: number;
  /** What a client wrote; null for Postgres' own records. */
  readonly token: number | null;
  /** True time. */
  readonly at: number;
}

export const FIRST_LSN = 0x1000028;

/** Where the first `length` entries end. */
export function endOf(wal: readonly WalEntry[], length = wal.length): number {
  return wal[length - 1]?.end ?? FIRST_LSN;
}

/** Index of the first entry that starts at or after `at`. */
export function indexAt(wal: readonly WalEntry[], at: number): number {
  let low = 0;
  let high = wal.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((wal[middle] as WalEntry).start < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function historyOf(branch: Branch): { readonly timeline: number; readonly switchedAt: number }[] {
  const lines: { timeline: number; switchedAt: number }[] = [];
  for (let at: Branch = branch; at.parent !== null; at = at.parent) {
    lines.unshift({ timeline: at.parent.id, switchedAt: at.switchedAt });
  }
  return lines;
}

/** All WAL there ever was, and who wrote it: what S8 is checked against. */
export class WalArchive {
  private readonly byPlace = new Map<string, WalEntry>();
  private readonly branches = new Map<number, Branch[]>();
  private ids = 0;
  /** Set when two different entries were written at one place. */
  conflict: string | null = null;
  /**
   * Two promotions, one after the other, gave the same number: the second server knew nothing of the first's timeline.
   * `apart`: they left their parents at different positions, which tells them apart.
   */
  reused: { readonly sentence: string; readonly apart: boolean } | null = null;
  givenTwice = false;

  /** A server comes out of recovery on a timeline of its own. */
  begun(branch: Branch): void {
    const others = this.branches.get(branch.id) ?? [];
    this.branches.set(branch.id, [...others, branch]);
    const like = (other: Branch): boolean => JSON.stringify(historyOf(other)) === JSON.stringify(historyOf(branch));
    const other = others.find(like) ?? others[0];
    if (other === undefined) return;
    this.givenTwice = true;
    const sentence = `timeline ${branch.id} was begun by ${other.by} and again by ${branch.by}`;
    this.reused ??= { sentence, apart: !like(other) };
  }

  write(branch: Branch, start: number, length: number, token: number | null, at: number): WalEntry {
    this.ids += 1;
    const entry: WalEntry = { start, end: start + length, branch, id: this.ids, token, at };
    const key = `${branch.id}/${start}`;
    const other = this.byPlace.get(key);
    if (other !== undefined) {
      if (other.branch === branch)
        this.conflict ??= `two different records at timeline ${branch.id}, position ${start}`;
    } else {
      this.byPlace.set(key, entry);
    }
    return entry;
  }

  /** The record of a timeline that starts at `start`: what the bytes of a WAL file at that place mean. */
  find(timeline: number, start: number): WalEntry | null {
    return this.byPlace.get(`${timeline}/${start}`) ?? null;
  }
}
