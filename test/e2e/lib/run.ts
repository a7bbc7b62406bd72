/**
 * One run of tests, demo or bench: its identity, its directory, the user its servers run as, and the promise that
 * nothing of it is left behind. What a run that was killed left behind is swept by the next one; what belongs to a
 * living run, or to nobody we know, is never touched.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeSharedMemory } from '../../shared-memory.ts';
import { startTimeOf } from './processes.ts';

/** Variables every process of a run carries in its environment, so that it can be found again. */
export const RUN_VARIABLE = 'E2E_RUN_OF_PGHA';
export const NODE_VARIABLE = 'E2E_NODE_OF_PGHA';

const NAME = /^pgha-e2e-(\d+)-(\d+)$/;
const NETNS = /^(pgha-e2e-\d+-\d+)-/;

/** `pgha-e2e-<pid>-<start time of that pid>`: unique on this machine until it boots again. */
export const runName = `pgha-e2e-${process.pid}-${startTimeOf(process.pid) ?? '0'}`;

/** On tmpfs where there is one: these tests are about processes and networks, not about disks. */
const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** The directory of this run; short, since the paths of unix sockets are limited to 107 characters. */
export const runDirectory = join(parent, runName);

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Whom Postgres and the daemons run as: Postgres refuses root, so root steps down to user postgres. */
export function serverAccount(): Account | null {
  if (process.getuid?.() !== 0) return null;
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((l) => l.startsWith('postgres:'));
  const fields = line?.split(':') ?? [];
  if (fields.length < 4) throw new Error('there is no user postgres on this machine: node scripts/ensure.mjs');
  return { name: 'postgres', uid: Number(fields[2]), gid: Number(fields[3]) };
}

let open = false;

/** Creates the directory, sweeps what dead runs left, and sees to it that nothing stays however this process ends. */
export function openRun(): void {
  if (open) return;
  open = true;
  sweepDeadRuns();
  mkdirSync(runDirectory, { recursive: true, mode: 0o755 });
  process.on('exit', closeRun);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Vitest and the demo may have handlers of their own; then ending is their business and we only wait for 'exit'.
    if (process.listenerCount(signal) === 0) process.on(signal, () => process.exit(130));
  }
}

/** Ends every process of this run and removes its namespaces and files. */
export function closeRun(): void {
  if (!open) return;
  open = false;
  remove(runName);
}

function sweepDeadRuns(): void {
  const names = new Set<string>();
  for (const name of readdirSync(parent)) if (NAME.test(name)) names.add(name);
  if (existsSync('/run/netns')) {
    for (const name of readdirSync('/run/netns')) {
      const run = NETNS.exec(name)?.[1];
      if (run !== undefined) names.add(run);
    }
  }
  for (const name of names) {
    const [, pid, start] = NAME.exec(name) ?? [];
    if (startTimeOf(Number(pid)) !== start) remove(name);
  }
}

function remove(name: string): void {
  const directory = join(parent, name);
  removeSharedMemory(directory);
  const mounts = mountsBelow(directory);
  // Who writes to a frozen file system dies of no signal.
  for (const place of mounts) attempt('fsfreeze', '--unfreeze', place);
  for (let round = 0; round < 50; round++) {
    const pids = processesOf(name, directory);
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // ended meanwhile
      }
    }
    if (pids.length === 0) break;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  }
  if (existsSync('/run/netns')) {
    for (const netns of readdirSync('/run/netns')) {
      if (NETNS.exec(netns)?.[1] !== name) continue;
      try {
        execFileSync('ip', ['netns', 'del', netns], { stdio: 'ignore' });
      } catch {
        // without root, or removed by somebody else; nothing more we can do here
      }
    }
  }
  for (const place of mounts) attempt('umount', place);
  try {
    rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    // belongs to another user
  }
}

/** File systems that a test has mounted in a directory of its run. */
function mountsBelow(directory: string): string[] {
  if (!existsSync('/proc/mounts')) return [];
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((place) => place.startsWith(`${directory}/`));
}

function attempt(program: string, ...args: string[]): void {
  try {
    execFileSync(program, args, { stdio: 'ignore', timeout: 10_000 });
  } catch {
    // it was not frozen, or is gone already
  }
}

/** Living processes of a run: by environment, by working directory, or by a path in the command line. */
function processesOf(name: string, directory: string): number[] {
  const marker = `${RUN_VARIABLE}=${name}`;
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => pid !== process.pid && pid !== process.ppid)
    .filter((pid) => {
      const read = (file: string): string => {
        try {
          return file === 'cwd' ? readlinkSync(`/proc/${pid}/cwd`) : readFileSync(`/proc/${pid}/${file}`, 'latin1');
        } catch {
          return '';
        }
      };
      if (/\) Z /.test(read('stat'))) return false;
      return (
        read('environ').split('\0').includes(marker) ||
        read('cwd').startsWith(`${directory}/`) ||
        read('cmdline').includes(`${directory}/`)
      );
    });
}
