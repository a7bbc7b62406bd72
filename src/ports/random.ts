/** Chance, as a port: a simulated run draws it from the seed. */
export interface Random {
  /** At least 0, below 1. */
  next(): number;
  /** A stream of its own, so that a new draw in one place does not shift the draws of all others. */
  fork(name: string): Random;
}
