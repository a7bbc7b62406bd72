/** Chance behind ports/random: seeded from the kernel, one stream per name. Not for secrets. */
import { createHash, randomBytes } from 'node:crypto';
import type { Random } from '../ports/random.ts';

export class SeededRandom implements Random {
  private readonly seed: string;
  /** Named streams differ by name, equal names by their count. */
  private forks = 0;
  private state: number;

  /** @param seed - any text; the same seed draws the same numbers */
  constructor(seed: string) {
    this.seed = seed;
    this.state = createHash('sha256').update(seed).digest().readUInt32LE(0);
  }

  /** mulberry32: 32 bits of state are plenty for jitter and for the order in which endpoints are tried. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  fork(name: string): Random {
    return new SeededRandom(`${this.seed}/${name}#${this.forks++}`);
  }
}

export const systemRandom = (): Random => new SeededRandom(randomBytes(16).toString('hex'));
