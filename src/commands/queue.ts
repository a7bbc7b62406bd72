/**
 * Runs of one of the operator's commands, one after the other, that nobody waits for. Bounded: when a slow command lets
 * them pile up, the oldest that has not begun is dropped, since the newest says how things stand.
 */

export type Run = (signal: AbortSignal) => Promise<void>;

export class CommandQueue {
  readonly #bound: number;
  readonly #onDropped: () => void;
  readonly #waiting: Run[] = [];
  readonly #ended = new AbortController();
  #working: Promise<void> | null = null;

  /** @param onDropped - one was dropped */
  constructor(bound: number, onDropped: () => void) {
    this.#bound = bound;
    this.#onDropped = onDropped;
  }

  /** @param run - never rejects, and is bounded in time */
  add(run: Run): void {
    if (this.#ended.signal.aborted) return;
    if (this.#waiting.length >= this.#bound) {
      this.#waiting.shift();
      this.#onDropped();
    }
    this.#waiting.push(run);
    this.#working ??= this.#work();
  }

  /** Waits until all have run, or until `enough`; then ends the one that runs, and no other begins. */
  async close(enough: Promise<void>): Promise<void> {
    await Promise.race([this.#working, enough]);
    this.#waiting.length = 0;
    this.#ended.abort(new Error('the service stops'));
  }

  async #work(): Promise<void> {
    // Starting a process takes milliseconds, and what the event is about may just be going on: that goes first.
    await new Promise((resume) => setImmediate(resume));
    for (let run = this.#waiting.shift(); run !== undefined; run = this.#waiting.shift()) {
      await run(this.#ended.signal);
    }
    // Not a moment later: what is added in between would wait for the one after it.
    this.#working = null;
  }
}
