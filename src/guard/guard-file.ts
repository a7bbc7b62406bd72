/**
 * The guard's memory: one small JSON file in the runtime directory (tmpfs), replaced whole and written before every
 * acknowledgement. Synchronous on purpose: a strike must never wait behind somebody else's file in libuv's pool.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { bootId } from '../system/boot-id.ts';
import type { ProcessId } from './family.ts';
import type { ClockLead } from './suspension.ts';
import type { Proven } from './watchdog-device.ts';

/** What the daemon has told the guard to do. */
export type Orders =
  /** Nobody has told this guard, or one before it, anything since the machine booted: rule 22. */
  | { readonly kind: 'none-yet' }
  /** The daemon vouched for it: no family, or a standby, or pause mode. */
  | { readonly kind: 'disarmed' }
  | {
      readonly kind: 'armed';
      /** CLOCK_MONOTONIC, milliseconds. It stays here after the strike: a passed deadline means "keep it down". */
      readonly deadline: number;
      readonly dataDirectory: string;
      readonly postmaster: ProcessId | null;
      /** For how long the watchdog device may be kept alive; left out: there is none. */
      readonly proven?: Proven;
      /**
       * How the clocks stood when the deadline was asked for: the guard that reads this finds them further ahead if the
       * machine has stood still while no guard could see it. Left out: a guard of an older version wrote this.
       */
      readonly clocks?: ClockLead;
    };

export interface Remembered {
  readonly orders: Orders;
  /** The daemon whose orders these are; another one is heard only when this one is gone (rule 23). */
  readonly daemon: ProcessId | null;
}

const NOTHING: Remembered = { orders: { kind: 'none-yet' }, daemon: null };

/**
 * @param report - told when there is a file that can't be used. It then counts as none, and rule 22 covers that.
 */
export function recall(path: string, report: (sentence: string) => void): Remembered {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') report(`cannot read ${path}: ${String(error)}`);
    return NOTHING;
  }
  try {
    const file = JSON.parse(text) as { boot: unknown; orders: Orders; daemon: ProcessId | null };
    if (file.boot !== bootId()) {
      report('the state file is from before the last boot and is not used');
      return NOTHING;
    }
    const { orders, daemon } = file;
    const known = orders.kind === 'none-yet' || orders.kind === 'disarmed' || orders.kind === 'armed';
    if (!known) throw new Error('unknown orders');
    if (orders.kind === 'armed' && (!Number.isFinite(orders.deadline) || !orders.dataDirectory.startsWith('/')))
      throw new Error('no deadline or no data directory');
    return { orders, daemon };
  } catch (error) {
    report(`${path} is not a guard's file: ${String(error)}`);
    return NOTHING;
  }
}

/** @throws when it can't be written; then nothing has changed */
export function remember(path: string, what: Remembered): void {
  const next = `${path}.next`;
  writeFileSync(next, `${JSON.stringify({ boot: bootId(), ...what })}\n`, { mode: 0o600 });
  renameSync(next, path);
}
