/**
 * One place that events are told to: one after the other, tried again a few times, in bounded memory. A place that does
 * not take them is told of in the log at once, then once an hour, and when it is back. How one event is handed over
 * stands in webhook.ts and syslog.ts.
 */
import { CommandQueue } from '../commands/queue.ts';
import type { ClusterEvent } from '../core/cluster-events.ts';
import { between, type Instant, type Millis, millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';

/** So many events may wait for a slow one. */
const MOST_WAITING = 100;
/** Before the second and the third try. */
const PAUSES = [millis(1_000), millis(5_000)];
const SAID_AGAIN_AFTER = millis(3_600_000);

export type Told =
  | { readonly kind: 'done' }
  /** `final`: the same would be said to another try. `said` holds no secret. */
  | { readonly kind: 'failed'; readonly said: string; readonly final: boolean };

export interface OutletParts {
  readonly clock: Clock;
  readonly log: EventLog;
  /** Before the second and the third try of one event. */
  readonly pauses?: readonly Millis[];
}

export class Outlet {
  readonly #name: string;
  readonly #parts: OutletParts;
  readonly #queue: CommandQueue;
  #lost = 0;
  #saidAt: Instant | null = null;

  /** @param name - the section of the configuration: `event_webhook` */
  constructor(name: string, parts: OutletParts) {
    this.#name = name;
    this.#parts = parts;
    this.#queue = new CommandQueue(MOST_WAITING, () =>
      this.#notTold('it is too slow: the oldest events that wait for it are dropped'),
    );
  }

  /** @param tell - bounded in time; never rejects, and ends with its signal */
  add(event: ClusterEvent, tell: (event: ClusterEvent, signal: AbortSignal) => Promise<Told>): void {
    this.#queue.add((signal) => this.#deliver(event, tell, signal));
  }

  /** What waits is told until `enough`; then it is dropped. */
  close(enough: Promise<void>): Promise<void> {
    return this.#queue.close(enough);
  }

  async #deliver(event: ClusterEvent, tell: Parameters<Outlet['add']>[1], signal: AbortSignal): Promise<void> {
    const pauses = this.#parts.pauses ?? PAUSES;
    for (let attempt = 0; ; attempt++) {
      const told = await tell(event, signal);
      if (told.kind === 'done') return this.#works();
      const pause = pauses[attempt];
      // While it is known to be away, one try an event: a queue that waits for each would only lose more.
      const again = !told.final && pause !== undefined && this.#saidAt === null;
      if (!again || signal.aborted) return this.#notTold(told.said);
      await this.#pause(pause, signal);
    }
  }

  async #pause(length: Millis, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#parts.clock.timer(length, resolve);
      const ended = (): void => {
        cancel();
        resolve();
      };
      if (signal.aborted) ended();
      else signal.addEventListener('abort', ended, { once: true });
    });
  }

  #works(): void {
    if (this.#saidAt === null) return;
    this.#saidAt = null;
    const lost = this.#lost;
    this.#lost = 0;
    const sentence = `${this.#name} works again; ${lost === 1 ? 'an event was' : `${lost} events were`} not told`;
    this.#parts.log.write('info', 'action.finished', sentence, { action: this.#name });
  }

  #notTold(said: string): void {
    const { clock, log } = this.#parts;
    this.#lost += 1;
    const now = clock.now();
    if (this.#saidAt !== null && between(this.#saidAt, now) < SAID_AGAIN_AFTER) return;
    this.#saidAt = now;
    const so = this.#lost === 1 ? '' : ` (${this.#lost} events were not told so far)`;
    log.write('warn', 'action.failed', `${this.#name}: ${said}${so}`, { action: this.#name });
  }
}
