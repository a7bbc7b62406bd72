/**
 * The virtual address on the interface of one simulated machine: it ends by the machine's own clock, a little late. Its
 * `ip` is quick, or slow, or hangs until it is killed; now and then the kernel says no.
 */
import type { Millis } from '../../../src/core/time.ts';
import type { VirtualAddress } from '../../../src/ports/virtual-address.ts';
import type { Incarnation, MachineClock } from '../world/incarnation.ts';
import type { SeededRandom } from '../world/random.ts';

/** As measured on Linux 6: how late the kernel takes away what has ended. */
const KERNEL_LATE_MS = 500;

const FAILED_LATELY_MS = 5_000;

export class SimulatedInterface {
  private readonly clock: MachineClock;
  private readonly random: SeededRandom;
  private endsAt = Number.NEGATIVE_INFINITY;
  private life = 0;
  private failedAt = Number.NEGATIVE_INFINITY;
  /** The kernel did not take it away when it was told to. */
  stuck = false;

  constructor(clock: MachineClock, random: SeededRandom) {
    this.clock = clock;
    this.random = random;
  }

  get has(): boolean {
    return this.clock.now() < this.endsAt;
  }

  /** The kernel did not do what it was told a moment ago: a short lifetime may end before the next attempt. */
  get failedLately(): boolean {
    return this.clock.now() - this.failedAt < FAILED_LATELY_MS;
  }

  private failed(said: string): { readonly kind: 'failed'; readonly said: string } {
    this.failedAt = this.clock.now();
    return { kind: 'failed', said };
  }

  private put(lifetime: number): void {
    this.endsAt = this.clock.now() + lifetime + this.random.between(0, KERNEL_LATE_MS);
    this.stuck = false;
  }

  /** The guard strikes, or somebody else removes it. */
  remove(): void {
    this.endsAt = Number.NEGATIVE_INFINITY;
    this.stuck = false;
  }

  powerLoss(): void {
    this.remove();
    this.life += 1;
  }

  /** One daemon's way to it. */
  endOf(process: Incarnation, world: { others(): readonly string[]; mark(name: string): void }): VirtualAddress {
    const { random } = this;
    type Failed = ReturnType<typeof this.failed>;
    const run = <T>(limit: number, what: () => T): Promise<T | Failed> => {
      const { life } = this;
      const hang = (): Failed => this.failed('ip did not answer in time');
      // A machine that stands still does it when it goes on; one that was switched off never does.
      const done = (): T | Failed => (this.life === life ? what() : hang());
      if (random.chance(0.01)) {
        world.mark('ip hung');
        this.failedAt = this.clock.now();
        return process.answer(limit, hang);
      }
      const takes = random.chance(0.05) ? random.between(20, 0.9 * limit) : random.between(0.3, 2);
      return process.answer(takes, done);
    };
    return {
      name: '10.0.0.100/24 on eth0',
      hold: (lifetime: Millis, limit) =>
        run(limit, () => {
          if (random.chance(0.02)) return this.failed('no buffer space available');
          const wasThere = this.has;
          this.put(lifetime);
          return { kind: 'here', wasThere };
        }),
      letGo: async (limit) => {
        const refuses = random.chance(0.02);
        const outcome = await run<Awaited<ReturnType<VirtualAddress['letGo']>>>(limit, () => {
          if (refuses) return this.failed('no buffer space available');
          this.remove();
          return { kind: 'absent' };
        });
        if (outcome.kind === 'failed') this.stuck = this.has;
        return outcome;
      },
      look: (limit) =>
        run<Awaited<ReturnType<VirtualAddress['look']>>>(limit, () => ({
          kind: this.has ? 'here' : 'absent',
        })),
      announce: () => process.answer(3_000, () => (random.chance(0.1) ? 'arping is not installed' : null)),
      others: () =>
        process.answer(random.between(1, 1_000), () => (random.chance(0.02) ? ['02:00:00:00:00:99'] : world.others())),
      close: () => undefined,
    };
  }
}
