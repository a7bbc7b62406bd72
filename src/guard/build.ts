/**
 * Which program a guard runs: its text and the Node that runs it. By this a daemon sees that the guard it found is not
 * the one it would start itself, after an upgrade of either.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** @returns null: it cannot be read, and nothing can be compared */
export function buildOf(program: string): string | null {
  try {
    return `${process.version}-${createHash('sha256').update(readFileSync(program)).digest('hex').slice(0, 16)}`;
  } catch {
    return null;
  }
}
