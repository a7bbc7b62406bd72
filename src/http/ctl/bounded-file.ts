/** A file that somebody has named, read no further than a configuration may be long. What stands in it is not looked at. */
import { type FileHandle, open } from 'node:fs/promises';
import { MOST_BYTES } from '../../config/text.ts';

/**
 * @returns one byte more than MOST_BYTES where there are more
 * @throws the error of the file system, as it came
 */
export async function readBounded(path: string): Promise<Uint8Array> {
  const file: FileHandle = await open(path, 'r');
  try {
    const bytes = Buffer.alloc(MOST_BYTES + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length);
      length += bytesRead;
      if (bytesRead === 0 || length === bytes.length) return bytes.subarray(0, length);
    }
  } finally {
    await file.close();
  }
}
