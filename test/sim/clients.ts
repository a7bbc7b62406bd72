/**
 * Clients that write numbered tokens and book each as acknowledged, failed or unknown. They find the primary by trying
 * nodes, and stay with it until it fails them.
 */
import type { PostgresServer } from './models/postgres-server.ts';
import type { Network } from './world/network.ts';
import type { SeededRandom } from './world/random.ts';
import type { Scheduler } from './world/scheduler.ts';

/** A client that hears nothing for so long gives up. */
const PATIENCE_MS = 8_000;

export interface Books {
  acked: number[];
  /** Where the record of each that was acknowledged ends. */
  readonly ends: Map<number, number>;
  failed: number;
  unknown: number[];
  /** Longest time between two acknowledgements, and since when there was none. */
  lastAck: number;
  longestPause: number;
}

export class Clients {
  private readonly parts: {
    readonly scheduler: Scheduler;
    readonly network: Network;
    readonly random: SeededRandom;
    readonly servers: readonly PostgresServer[];
    readonly everyMs: number;
    /** The server says to the client that it is committed. */
    readonly acknowledged?: (server: PostgresServer, token: number) => void;
  };
  readonly books: Books = { acked: [], ends: new Map(), failed: 0, unknown: [], lastAck: 0, longestPause: 0 };
  private tokens = 0;
  stopped = false;

  constructor(parts: Clients['parts']) {
    this.parts = parts;
  }

  start(count: number): void {
    for (let i = 0; i < count; i += 1) this.loop(`client${i}`, null);
  }

  private loop(name: string, connected: PostgresServer | null): void {
    const { scheduler, random, everyMs } = this.parts;
    scheduler.after(everyMs * random.between(0.5, 1.5), () => {
      if (!this.stopped) this.write(name, connected ?? this.find(name));
    });
  }

  private find(name: string): PostgresServer | null {
    const { servers, network, random } = this.parts;
    const works = servers.filter((one) => one.acceptsWrites() && network.connects('client', name, one.name));
    return works.length === 0 ? null : random.pick(works);
  }

  private write(name: string, server: PostgresServer | null): void {
    const { scheduler, network, random } = this.parts;
    if (server === null) {
      this.books.failed += 1;
      this.loop(name, null);
      return;
    }
    this.tokens += 1;
    const token = this.tokens;
    let end = 0;
    scheduler.after(random.between(0.2, 1), () => {
      let over = false;
      const ended = (acked: boolean): void => {
        if (over) return;
        over = true;
        answered(acked);
      };
      const entry = network.passes('client', name, server.name) ? server.commitFor(token, ended) : null;
      if (entry === null) {
        this.books.failed += 1;
        this.loop(name, null);
        return;
      }
      end = entry.end;
      // Nobody waits for ever: the connection is closed, and what became of the commit is not known.
      if (!over) scheduler.after(PATIENCE_MS, () => ended(false));
    });
    const answered = (committed: boolean): void => {
      if (committed) this.parts.acknowledged?.(server, token);
      scheduler.after(random.between(0.3, 1.5), () => {
        // The commit stands; whether anybody hears of it is another matter.
        if (committed && network.passes('client', server.name, name) && server.processes.kind !== 'none') {
          this.books.acked.push(token);
          this.books.ends.set(token, end);
          this.books.longestPause = Math.max(this.books.longestPause, scheduler.now() - this.books.lastAck);
          this.books.lastAck = scheduler.now();
          this.loop(name, server);
        } else {
          this.books.unknown.push(token);
          this.loop(name, null);
        }
      });
    };
  }
}
