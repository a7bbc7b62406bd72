/**
 * Chance drawn from a seed, in named streams: a new draw in one place does not shift the draws everywhere else, and a
 * plan that was shrunk still tells nearly the same story.
 */
import type { Random } from '../../../src/ports/random.ts';

/** FNV-1a over the text, for seeding a stream by its name. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    h ^= text.charCodeAt(i);
    h = Math.imul(h, 0x01000193);
  }
  return h >>> 0;
}

/** sfc32: small, fast, and good enough for drawing worlds. */
export class SeededRandom implements Random {
  private readonly name: string;
  private a: number;
  private b: number;
  private c: number;
  private d = 1;

  constructor(name: string) {
    this.name = name;
    this.a = hash(`${name}/a`);
    this.b = hash(`${name}/b`);
    this.c = hash(`${name}/c`);
    for (let i = 0; i < 12; i += 1) this.next();
  }

  next(): number {
    const t = (this.a + this.b + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (this.c << 21) | (this.c >>> 11);
    this.c = (this.c + t) | 0;
    return (t >>> 0) / 4294967296;
  }

  fork(name: string): SeededRandom {
    return new SeededRandom(`${this.name}:${name}`);
  }

  /** At least `low`, below `high`. */
  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  /** A whole number from `low` to `high`, both included. */
  whole(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(from: readonly T[]): T {
    const one = from[Math.floor(this.next() * from.length)];
    if (one === undefined) throw new RangeError('nothing to pick from');
    return one;
  }
}
