/**
 * Who says that he takes writes, asked of all members again and again as a load balancer would: since when nobody did,
 * and who does again. It sees no more finely than it asks.
 */
import type { Member } from '../../../core/cluster.ts';
import { millis } from '../../../core/time.ts';
import type { Session } from '../session.ts';

const EVERY_MS = 25;
const ASK_LIMIT = millis(1_000);

export interface Seen {
  /** Nobody said so for so long; 0: it was not noticed. */
  readonly withoutMs: number;
  /** From the beginning until somebody said so again. */
  readonly backAfterMs: number;
}

export class PrimaryWatch {
  readonly #session: Session;
  readonly #members: readonly Member[];
  readonly #from: string;
  #goneAt: number | null = null;
  #backAt: number | null = null;
  #back: string | null = null;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  /** @param from - who leads now */
  constructor(session: Session, members: readonly Member[], from: string) {
    this.#session = session;
    this.#members = members;
    this.#from = from;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** Who takes writes after nobody did, or after another did; null: not yet. */
  get back(): string | null {
    return this.#back;
  }

  seen(began: number): Seen {
    const back = this.#backAt ?? began;
    return { withoutMs: back - (this.#goneAt ?? back), backAfterMs: back - began };
  }

  async #run(): Promise<void> {
    const { terminal } = this.#session;
    while (!this.#stopped && this.#back === null) {
      const says = await Promise.all(this.#members.map((member) => this.#takesWrites(member)));
      const now = terminal.now().getTime();
      const writable = this.#members.filter((_, index) => says[index] === true).map(({ name }): string => name);
      const [one] = writable;
      if (one === undefined) this.#goneAt ??= now;
      else if (this.#goneAt !== null || !writable.includes(this.#from)) {
        this.#backAt = now;
        this.#back = writable.find((name) => name !== this.#from) ?? one;
        return;
      }
      await terminal.sleep(EVERY_MS);
    }
  }

  #takesWrites(member: Member): Promise<boolean> {
    return this.#session.call(member, 'GET', '/primary', undefined, ASK_LIMIT).then(
      ({ status }) => status === 200,
      () => false,
    );
  }
}
