/**
 * The one event queue of a simulated world, ordered by time and then by the order of scheduling. Time is "true" time in
 * milliseconds; what a daemon reads as its clock is made of it elsewhere. Every promise that an event woke has settled
 * before the next event.
 */

/** Ends a scheduled event that has not run; harmless afterwards. */
export type Cancel = () => void;

/** What the models need of the queue. */
export interface Scheduler {
  now(): number;
  after(ms: number, run: () => void): Cancel;
}

interface Entry {
  readonly at: number;
  readonly order: number;
  run: (() => void) | null;
}

const before = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** Taken before the traps are set: the scheduler alone may use it. */
const turn = globalThis.setImmediate;
/**
 * What Node does between two callbacks: runs ticks and promises until none is left, and tells of rejections that nobody
 * looks at. A whole turn of the event loop does the same and takes as long as the average event.
 */
const settle = (process as unknown as { readonly _tickCallback: () => void })._tickCallback;

export class EventQueue implements Scheduler {
  private readonly heap: Entry[] = [];
  private time = 0;
  private scheduled = 0;
  private ran = 0;

  now(): number {
    return this.time;
  }

  /** How many events have run. */
  get events(): number {
    return this.ran;
  }

  after(ms: number, run: () => void): Cancel {
    // A negative or absurd delay is a mistake of the harness or of the code under test; an event in the past would
    // silently break the order of everything.
    if (!(ms >= 0) || ms > 1e12) throw new RangeError(`cannot schedule an event ${ms} ms from now`);
    const entry: Entry = { at: this.time + ms, order: this.scheduled++, run };
    this.push(entry);
    return () => {
      entry.run = null;
    };
  }

  /**
   * Runs events until `until` (true time) or until `stop` says so.
   *
   * @param eachEvent - called before an event at its time, and once more after its promises have settled
   */
  run(until: number, eachEvent: () => void, stop: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      // Promises are not run while one is being run: the loop has to begin outside of them.
      turn(() => {
        try {
          this.runNow(until, eachEvent, stop);
          resolve();
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  private runNow(until: number, eachEvent: () => void, stop: () => boolean): void {
    // What was looked at after the last event need not be looked at again before the next one of the same instant.
    let lookedAt = -1;
    for (;;) {
      const next = this.heap[0];
      if (next === undefined || next.at > until) {
        this.time = Math.max(this.time, until);
        return;
      }
      this.pop();
      if (next.run === null) continue;
      this.time = next.at;
      if (next.at !== lookedAt) {
        eachEvent();
        if (stop()) return;
      }
      const { run } = next;
      next.run = null;
      this.ran += 1;
      run();
      settle();
      eachEvent();
      lookedAt = this.time;
      if (stop()) return;
    }
  }

  private push(entry: Entry): void {
    const { heap } = this;
    heap.push(entry);
    let i = heap.length - 1;
    while (i > 0) {
      const up = (i - 1) >> 1;
      const parent = heap[up] as Entry;
      if (!before(entry, parent)) break;
      heap[i] = parent;
      i = up;
    }
    heap[i] = entry;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
      if (!before(heap[child] as Entry, last)) break;
      heap[i] = heap[child] as Entry;
      i = child;
    }
    heap[i] = last;
  }
}
