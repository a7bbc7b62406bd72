/**
 * Runs of one of the operator's commands of which only the newest counts: it ends one that still runs, and takes the
 * place of one that waits. Nobody waits for any of them.
 */
import type { Run } from './queue.ts';

export class LatestOnly {
  #next: Run | null = null;
  #current: AbortController | null = null;
  #working: Promise<void> | null = null;

  /** @param run - never rejects, and ends soon after its signal */
  add(run: Run): void {
    this.#next = run;
    this.#current?.abort(new Error('a newer one takes its place'));
    this.#working ??= this.#work();
  }

  /** Until nothing runs any more. */
  async idle(): Promise<void> {
    await this.#working;
  }

  async #work(): Promise<void> {
    // Starting a process takes milliseconds, and what the run is about may just be going on: that goes first.
    await new Promise((resume) => setImmediate(resume));
    while (this.#next !== null) {
      const run = this.#next;
      this.#next = null;
      this.#current = new AbortController();
      await run(this.#current.signal);
      this.#current = null;
    }
    this.#working = null;
  }
}
