/**
 * Files that somebody has named, read beside the event loop: no further than a configuration may be long, no longer than
 * a disk that works needs, and as text. What stands in them is not looked at.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { MOST_BYTES, NoText, readText } from './text.ts';

/** What takes longer hangs: a disk, or a pipe that nobody writes to. */
const LIMIT_MS = 10_000;
const ASK_PIPE_AGAIN_MS = 10;

/**
 * @returns one byte more than MOST_BYTES where there are more
 * @throws the error of the file system, as it came
 */
export async function readBounded(path: string): Promise<Uint8Array> {
  // Opening a pipe would wait for somebody who writes, and nothing could end that.
  const file: FileHandle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.alloc(MOST_BYTES + 1);
    let length = 0;
    for (;;) {
      const bytesRead = await readSome(file, bytes, length);
      length += bytesRead;
      if (bytesRead === 0 || length === bytes.length) return bytes.subarray(0, length);
    }
  } finally {
    await file.close();
  }
}

async function readSome(file: FileHandle, into: Buffer, at: number): Promise<number> {
  for (let waited = 0; ; waited += ASK_PIPE_AGAIN_MS) {
    try {
      return (await file.read(into, at, into.length - at)).bytesRead;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || waited > LIMIT_MS) throw error;
      await new Promise((resolve) => setTimeout(resolve, ASK_PIPE_AGAIN_MS));
    }
  }
}

/** @throws the error of the file system, or {@link NoText} */
export async function readTextFile(path: string): Promise<string> {
  const read = readText(await readBounded(path));
  if (read.kind === 'none') throw new NoText(read.why);
  return read.text;
}

/** As `loadConfig` takes them. Both throw: what the file system says, or {@link NoText}. */
export interface Files {
  readonly readFile: (path: string) => string;
  /** The names in a directory. */
  readonly readDirectory?: (path: string) => readonly string[];
}

/**
 * Repeats `work`, which is not to change anything, until every file that it asks for has been read. Which ones those are
 * stands in the first of them.
 */
export async function withFiles<T>(work: (files: Files) => T): Promise<T> {
  const found = new Map<string, () => unknown>();
  for (;;) {
    const missing = new Map<string, () => Promise<unknown>>();
    const from = <V>(name: string, read: () => Promise<V>): V => {
      const known = found.get(name);
      if (known !== undefined) return known() as V;
      missing.set(name, read);
      throw new Error(`${name} is not read yet`);
    };
    let outcome: () => T;
    try {
      const made = work({
        readFile: (path) => from(path, () => readTextFile(path)),
        readDirectory: (path) => from(`${path}/`, () => readdir(path)),
      });
      outcome = () => made;
    } catch (error) {
      outcome = () => {
        throw error;
      };
    }
    if (missing.size === 0) return outcome();
    for (const [name, read] of missing) found.set(name, await outcomeOf(read()));
  }
}

/** Waits for it, and gives it or throws it when it is asked for. */
async function outcomeOf<V>(work: Promise<V>): Promise<() => V> {
  try {
    const value = await readInTime(work);
    return () => value;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/** @throws an error with the code ETIMEDOUT where the file system does not answer, and whatever `reading` throws */
export async function readInTime<V>(reading: Promise<V>): Promise<V> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(Object.assign(new Error('the file system does not answer'), { code: 'ETIMEDOUT' })),
      LIMIT_MS,
    );
  });
  try {
    return await Promise.race([reading, tooLong]);
  } finally {
    clearTimeout(timer);
  }
}
