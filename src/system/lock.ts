/**
 * Exclusive files: one daemon per node, one guard per runtime directory. The kernel's lock on an open file ends with
 * the process that holds it, however it ends, so nothing stale can be left behind and no pid can be mistaken. The file
 * also says who holds it, for people. It is never removed: two processes must never lock two files of one name.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { PghaError } from '../errors.ts';
import { ownProcess, type ProcessId } from '../guard/family.ts';

export interface HeldLock {
  /** Gives it up; the end of the process does the same. */
  release(): void;
}

/**
 * Node has no flock(2). The lock belongs to the open file, not to the process that asked for it: flock(1), of
 * util-linux, takes it on our descriptor and leaves.
 *
 * @param waitSeconds - how long to wait for it; this process does nothing else meanwhile
 * @returns the lock, or null when another living process holds it
 * @throws {PghaError} PGHA_COMMAND_FAILED when flock(1) cannot be run
 */
export function holdExclusively(path: string, waitSeconds = 0): HeldLock | null {
  const fd = openSync(path, 'a+', 0o600);
  const patience = waitSeconds === 0 ? ['--nonblock'] : ['--timeout', String(waitSeconds)];
  const flock = spawnSync('flock', ['--exclusive', ...patience, '3'], {
    stdio: ['ignore', 'ignore', 'ignore', fd],
    timeout: 5_000 + waitSeconds * 1_000,
  });
  if (flock.status !== 0) {
    closeSync(fd);
    if (flock.status === 1) return null;
    throw new PghaError(
      'PGHA_COMMAND_FAILED',
      {
        happened: `The lock ${path} could not be asked for: flock(1) did not run.`,
        untouched: 'Nothing was started.',
        todo: 'Install util-linux, which brings flock.',
      },
      { cause: flock.error ?? flock },
    );
  }
  const self = ownProcess();
  ftruncateSync(fd);
  writeSync(fd, `${self.pid} ${self.startTime}\n`);
  let held = true;
  return {
    release: () => {
      if (held) closeSync(fd);
      held = false;
    },
  };
}

/** Who wrote itself into the lock file last; it may be gone. null when the file says nothing. */
export function holderOf(path: string): ProcessId | null {
  try {
    const [pid, startTime] = readFileSync(path, 'latin1').trim().split(' ');
    return pid === undefined || startTime === undefined ? null : { pid: Number(pid), startTime };
  } catch {
    return null;
  }
}

/**
 * One daemon per node.
 *
 * @throws {PghaError} PGHA_ALREADY_RUNNING when another daemon holds this runtime directory
 */
export function lockNode(runtimeDirectory: string): HeldLock {
  const path = `${runtimeDirectory}/daemon.lock`;
  const lock = holdExclusively(path);
  if (lock !== null) return lock;
  const holder = holderOf(path);
  throw new PghaError('PGHA_ALREADY_RUNNING', {
    happened: `Another pgha daemon${holder === null ? '' : ` (pid ${holder.pid})`} runs with ${runtimeDirectory}.`,
    untouched: 'This one has touched neither Postgres nor etcd.',
    todo: 'Stop the other one first, or give this node a runtime_directory of its own.',
  });
}
