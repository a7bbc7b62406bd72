/**
 * Which program a guard runs: its text, the Node that runs it, and what it may do. By this a daemon sees that the guard it
 * found is not the one it would start itself, after an upgrade of either, or of the unit: a guard that may not remove an
 * address, or may not even see a Postgres that may do more than it, has to be another one.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** @param program - its text; null: it could not be read, and nothing can be compared */
export const buildOf = (program: Uint8Array | null): string | null =>
  program === null
    ? null
    : `${process.version}-${createHash('sha256').update(program).digest('hex').slice(0, 16)}${rights()}`;

/** Those of a plain user are no part of the name. */
function rights(): string {
  const effective = /^CapEff:\s*0*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return effective === undefined || effective === '0' ? '' : `-${effective}`;
}
