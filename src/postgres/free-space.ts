/** How much room a file system has for us. It judges nothing. */
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isMissing } from './durable-file.ts';

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
