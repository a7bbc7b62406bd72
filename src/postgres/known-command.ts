/**
 * Which process group the operator's command that fills the data directory runs in, in the runtime directory. What it
 * started stays in that group, or in its session, also without our mark in its environment (`env -i`) or where that may
 * not be read (sudo); the next daemon finds it by that. Memory: synchronous.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { living, type ProcessId, processStat } from './family.ts';
import type { Place } from './place.ts';

type Owner = Pick<Place, 'runtimeDirectory' | 'dataDir'>;

const path = ({ runtimeDirectory }: Owner): string => join(runtimeDirectory, 'copy-command.json');

/** @param pid - of the first process of a session of its own. @throws when it cannot be written */
export function rememberCommand(owner: Owner, pid: number): void {
  const startTicks = processStat(pid)?.startTicks;
  const file = path(owner);
  const known = { dataDir: owner.dataDir, pid, startTicks, boot: bootOf() };
  writeFileSync(`${file}.next`, `${JSON.stringify(known)}\n`, { mode: 0o600 });
  renameSync(`${file}.next`, file);
}

export function forgetCommand(owner: Owner): void {
  rmSync(path(owner), { force: true });
}

/** What lives of the command that was remembered last, and of what it has started. */
export function leftOfCommand(owner: Owner): ProcessId[] {
  const known = recall(owner);
  if (known === null) return [];
  const all = living();
  // While one of them lives nobody else gets the number; somebody who has it was given it after the last was gone.
  if (all.some(({ pid, startTicks }) => pid === known.pid && startTicks !== known.startTicks)) return [];
  return all
    .filter(({ group, session }) => group === known.pid || session === known.pid)
    .filter(({ startTicks }) => BigInt(startTicks) >= BigInt(known.startTicks));
}

/** Where the numbers of processes begin anew: with the machine, and with a container. */
const bootOf = (): string =>
  [() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(), startOfFirst].map(known).join(' ');

const startOfFirst = (): string => processStat(1)?.startTicks ?? '';

/** Empty where it is not shown: a container's /proc, or one that is mounted with hidepid. */
function known(ask: () => string): string {
  try {
    return ask();
  } catch {
    return '';
  }
}

/** A file that is no such file counts as none. */
function recall(owner: Owner): ProcessId | null {
  try {
    const { dataDir, pid, startTicks, boot } = JSON.parse(readFileSync(path(owner), 'utf8')) as Record<string, unknown>;
    if (dataDir !== owner.dataDir || boot !== bootOf() || typeof pid !== 'number') return null;
    return typeof startTicks === 'string' && /^\d+$/.test(startTicks) ? { pid, startTicks } : null;
  } catch {
    return null;
  }
}
