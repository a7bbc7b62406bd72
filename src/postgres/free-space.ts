/** How much room a file system has for us, and how much of it a directory takes. It judges nothing. */
import { lstat, readdir, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Instant, laterBy, type Millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import { isMissing } from './durable-file.ts';
import { withLimit } from './time-limit.ts';

/** Bytes that this user may still write there; null: nobody can say. A directory that does not exist counts as its parent. */
export async function freeBytes(directory: string): Promise<bigint | null> {
  for (let path = directory; ; path = dirname(path)) {
    try {
      const found = await statfs(path, { bigint: true });
      return found.bavail * found.bsize;
    } catch (error) {
      if (!isMissing(error) || path === dirname(path)) return null;
    }
  }
}

/**
 * Bytes that would be free if these directories were empty, counted rather too high than too low.
 *
 * @param directories - counted as far as they are on the file system of the first; links in them are not followed
 * @returns null: it cannot be found out, or not within `limit`
 */
export async function takenBytes(clock: Clock, directories: readonly string[], limit: Millis): Promise<bigint | null> {
  const until = laterBy(clock.now(), limit);
  const counting = async (): Promise<bigint> => {
    let sum = 0n;
    let device: bigint | null = null;
    for (const directory of directories) {
      const found = await ifThere(lstat(directory, { bigint: true }));
      if (found === null) continue;
      device ??= found.dev;
      sum += await bytesBelow(directory, device, clock, until);
    }
    return sum;
  };
  return withLimit(clock, limit, `measuring ${directories[0] ?? 'nothing'}`, counting()).catch(() => null);
}

const ifThere = <T>(looked: Promise<T>): Promise<T | null> =>
  looked.catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });

async function bytesBelow(directory: string, device: bigint, clock: Clock, until: Instant): Promise<bigint> {
  let sum = 0n;
  for (const entry of (await ifThere(readdir(directory))) ?? []) {
    // Nobody waits for it any longer, and the disk has better to do.
    if (clock.now() >= until) throw new Error('the time was up');
    const path = join(directory, entry);
    const found = await ifThere(lstat(path, { bigint: true }));
    if (found?.dev !== device) continue;
    // A file system that compresses takes less than the size, and blocks are more than it in small files.
    const blocks = found.blocks * 512n;
    sum += found.size > blocks ? found.size : blocks;
    if (found.isDirectory()) sum += await bytesBelow(path, device, clock, until);
  }
  return sum;
}
