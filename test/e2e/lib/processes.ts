/**
 * Looking at processes through /proc and sending them signals, safely against the reuse of process ids. Nothing here
 * starts a process.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';

export interface ProcessId {
  readonly pid: number;
  /** Clock ticks since boot, as /proc says: together with the pid it names one process for ever. */
  readonly start: string;
}

/** State letter and start time; null when there is no such process, or only its zombie. */
function statOf(pid: number): { readonly start: string; readonly parent: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    // A zombie is dead; an old init may leave it standing for a second or two.
    if (fields[0] === 'Z' || fields[0] === 'X') return null;
    return { start: fields[19] ?? '', parent: Number(fields[1]) };
  } catch {
    return null;
  }
}

export function startTimeOf(pid: number): string | null {
  return statOf(pid)?.start ?? null;
}

export function identify(pid: number): ProcessId | null {
  const start = startTimeOf(pid);
  return start === null ? null : { pid, start };
}

export function alive(id: ProcessId): boolean {
  return startTimeOf(id.pid) === id.start;
}

/** Whether a SIGSTOP holds it. */
export function frozen({ pid }: ProcessId): boolean {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).startsWith('T');
  } catch {
    return false;
  }
}

/** @returns whether it was there to get the signal */
export function signal(id: ProcessId, name: NodeJS.Signals): boolean {
  if (!alive(id)) return false;
  try {
    process.kill(id.pid, name);
    return true;
  } catch {
    return false;
  }
}

export function allProcesses(): ProcessId[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => identify(Number(entry)))
    .filter((id) => id !== null);
}

/** Every Postgres process that runs in this data directory: the postmaster and all its children. */
export function postgresFamily(dataDir: string): ProcessId[] {
  return allProcesses().filter(({ pid }) => {
    try {
      return (
        readlinkSync(`/proc/${pid}/cwd`) === dataDir &&
        basename(readlinkSync(`/proc/${pid}/exe`)).startsWith('postgres')
      );
    } catch {
      return false;
    }
  });
}

/** The postmaster that runs in this data directory, or null. Its file may be stale, so the process is looked at. */
export function postmasterOf(dataDir: string): ProcessId | null {
  const family = postgresFamily(dataDir);
  const members = new Set(family.map(({ pid }) => pid));
  return family.find(({ pid }) => !members.has(statOf(pid)?.parent ?? 0)) ?? null;
}

/** The words of its command line (or its title, where it has set one). */
export function commandLine({ pid }: ProcessId): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      .split('\0')
      .filter((word) => word !== '');
  } catch {
    return [];
  }
}

/** Proportional set size in kB and CPU time in clock ticks (100 a second on Linux). */
export function footprint(id: ProcessId): { readonly pssKb: number; readonly cpuTicks: number } {
  const rollup = readFileSync(`/proc/${id.pid}/smaps_rollup`, 'utf8');
  const text = readFileSync(`/proc/${id.pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return {
    pssKb: Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0),
    cpuTicks: Number(fields[11]) + Number(fields[12]),
  };
}
