/**
 * Planted bugs: small edits of the source that each let a story of protocol.md 9 (or a row of simulation.md 7) happen,
 * with the invariant that has to notice. A mutant that survives its budget fails the build; the answer is a better fault
 * or a nearer invariant, not more seeds.
 */

export interface Edit {
  readonly file: string;
  /** Must be there exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly name: string;
  /** Which story it lets happen. */
  readonly story: string;
  readonly edits: readonly Edit[];
  readonly caughtBy: readonly string[];
  /** Budget. */
  readonly seeds: number;
}

export const MUTANTS: readonly Mutant[] = [];
