/**
 * What must hold whatever the world does. A broken invariant is a mistake in pgha, never a fault of the
 * operator or the network; it ends the process, and the guard covers the time until the next one.
 */

/** A rule of pgha itself does not hold. Never caught to go on. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** @throws {InvariantError} with `sentence` when `condition` does not hold */
export function invariant(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new InvariantError(sentence);
}

/** Makes the compiler find every place that a new case of a union concerns. */
export function assertNever(value: never): never {
  throw new InvariantError(`a case nobody thought of: ${JSON.stringify(value)}`);
}
