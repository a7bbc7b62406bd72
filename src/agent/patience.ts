/**
 * Waiting for a command of the operator's that Postgres is to be asked nothing before. It is over as soon as there is
 * nothing left to wait for: a failover never waits for a command. The command itself goes on to its own limit.
 */
export class Patience {
  private readonly waiting = new Set<() => void>();

  /** Until `work` has ended, or {@link end} is called. */
  async until(work: Promise<unknown>): Promise<void> {
    let over = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      over = resolve;
    });
    this.waiting.add(over);
    try {
      await Promise.race([work, ended]);
    } finally {
      this.waiting.delete(over);
    }
  }

  end(): void {
    for (const over of this.waiting) over();
  }
}
