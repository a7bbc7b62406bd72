/**
 * Which program a guard runs: its text and the Node that runs it. By this a daemon sees that the guard it found is not
 * the one it would start itself, after an upgrade of either.
 */
import { createHash } from 'node:crypto';

/** @param program - its text; null: it could not be read, and nothing can be compared */
export const buildOf = (program: Uint8Array | null): string | null =>
  program === null ? null : `${process.version}-${createHash('sha256').update(program).digest('hex').slice(0, 16)}`;
