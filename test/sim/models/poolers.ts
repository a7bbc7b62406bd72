/**
 * The poolers in front of a simulated cluster: whether each holds its clients back. They answer slowly, not at all, or
 * do as they were told and lose the answer; and transactions end when they end. Where they lead is what the newest
 * leader has told them, as with a file that pgha keeps for them.
 */
import type { Millis } from '../../../src/core/time.ts';
import type { ConsoleAnswer, PauseOutcome, PoolerConsole, Poolers } from '../../../src/ports/poolers.ts';
import type { Incarnation } from '../world/incarnation.ts';
import type { SeededRandom } from '../world/random.ts';

interface Pooler {
  paused: boolean;
  /** The record of that was in an etcd that has been emptied or restored since: only an operator knows what to do. */
  forgotten: boolean;
  target: { readonly host: string; readonly port: number } | null;
}

export class SimulatedPoolers {
  readonly addresses: readonly string[];
  private readonly poolers: ReadonlyMap<string, Pooler>;
  private readonly random: SeededRandom;
  private readonly mark: (name: string) => void;

  constructor(count: number, random: SeededRandom, mark: (name: string) => void) {
    this.addresses = Array.from({ length: count }, (_, at) => `10.0.1.${at + 1}:6432`);
    this.poolers = new Map(
      this.addresses.map((address) => [address, { paused: false, forgotten: false, target: null }]),
    );
    this.random = random;
    this.mark = mark;
  }

  /** Those whose clients wait, as somebody knows. */
  get holding(): readonly string[] {
    return [...this.poolers].filter(([, { paused, forgotten }]) => paused && !forgotten).map(([address]) => address);
  }

  /** etcd was emptied or restored, and with it went the record of who is held back. */
  etcdReplaced(): void {
    for (const pooler of this.poolers.values()) {
      if (!pooler.paused || pooler.forgotten) continue;
      pooler.forgotten = true;
      this.mark('an emptied etcd forgot who was held back');
    }
  }

  /** One daemon's way to them. */
  endOf(process: Incarnation): Poolers {
    return {
      pausedByName: [],
      open: async (address, limit): Promise<ConsoleAnswer> => {
        const pooler = this.poolers.get(address);
        if (pooler === undefined || this.random.chance(0.05)) {
          await process.answer(limit, () => undefined);
          return { kind: 'silent', said: 'no answer in time' };
        }
        await process.answer(this.random.between(1, 8), () => undefined);
        return { kind: 'open', console: this.console(pooler, process) };
      },
      leadTo: (server) =>
        process.answer(this.random.between(1, 30), () => {
          for (const pooler of this.poolers.values()) pooler.target = server;
        }),
    };
  }

  private console(pooler: Pooler, process: Incarnation): PoolerConsole {
    return {
      databases: () =>
        process.answer(this.random.between(0.5, 3), () =>
          pooler.target === null ? [] : [{ name: 'app', host: pooler.target.host, port: pooler.target.port }],
        ),
      pause: async (_, limit, signal) => {
        const before = await process.answer(this.random.between(0.3, 2), () => {
          const was = pooler.paused;
          pooler.paused = true;
          return was;
        });
        if (before) return { kind: 'was-paused' };
        this.mark('clients were held back');
        if (this.random.chance(0.05)) return { kind: 'unclear', said: 'the connection ended' };
        const takes = this.random.chance(0.25) ? this.random.between(100, 2 * limit) : this.random.between(1, 40);
        const outcome: PauseOutcome = takes < limit ? { kind: 'paused' } : { kind: 'waiting' };
        await process.sleep(Math.min(takes, limit) as Millis, signal);
        return signal.aborted ? { kind: 'waiting' } : outcome;
      },
      resume: async (_, limit) => {
        const lost = this.random.chance(0.1);
        await process.answer(lost ? limit : this.random.between(0.3, 2), () => {
          if (lost) return;
          pooler.paused = false;
          pooler.forgotten = false;
        });
        if (lost) throw new Error('no answer in time');
      },
      close: () => undefined,
    };
  }
}
