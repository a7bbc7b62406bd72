/**
 * The directory for what lives as long as the machine runs: sockets, locks, state files. Private to our user, and on
 * tmpfs, because a reboot has to forget it and because a data disk that hangs must not take it along.
 */
import { chmodSync, lstatSync, mkdirSync, realpathSync, statfsSync } from 'node:fs';
import { PghaError } from '../errors.ts';

/** linux/magic.h */
const TMPFS_MAGIC = 0x01021994;
const RAMFS_MAGIC = 0x858458f6;
/** sockaddr_un holds 108 bytes; the longest name in here is `.s.PGSQL.65535.lock`. */
const LONGEST_PATH = 85;

export interface RuntimeDirectory {
  /** Resolved. */
  readonly path: string;
  /** What is not as it should be and does no harm by itself: for the log. */
  readonly warnings: readonly string[];
}

/**
 * Creates it (0700) when it is not there, and checks whose it is.
 *
 * @throws {PghaError} PGHA_CONFIG_INVALID when it can't be made, or others could write in it
 */
export function prepareRuntimeDirectory(path: string): RuntimeDirectory {
  const refuse = (happened: string, todo: string, cause?: unknown): never => {
    throw new PghaError('PGHA_CONFIG_INVALID', { happened, untouched: 'Nothing was started.', todo }, { cause });
  };
  if (Buffer.byteLength(path) > LONGEST_PATH) {
    refuse(
      `The runtime directory ${path} has too long a name for the sockets in it.`,
      `Choose one of at most ${LONGEST_PATH} bytes.`,
    );
  }
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    refuse(
      `The runtime directory ${path} could not be created: ${String(error)}.`,
      'Create it for the user that runs pgha (RuntimeDirectory= in the unit does).',
      error,
    );
  }
  const stat = lstatSync(path);
  const uid = process.getuid?.();
  if (!stat.isDirectory() || stat.uid !== uid) {
    refuse(
      `The runtime directory ${path} is not a directory of the user that runs pgha (uid ${uid}).`,
      `Remove it or give it to that user: somebody else could take orders or give them in it.`,
    );
  }
  if ((stat.mode & 0o077) !== 0) chmodSync(path, 0o700);
  const resolved = realpathSync(path);
  const { type } = statfsSync(resolved);
  const inMemory = type === TMPFS_MAGIC || type === RAMFS_MAGIC;
  const warning = `The runtime directory ${resolved} is not on tmpfs: a disk that hangs can then hang the guard.`;
  return { path: resolved, warnings: inMemory ? [] : [warning] };
}
