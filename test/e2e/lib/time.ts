/** Waiting in tests: for a time, or until something is true. Instants are CLOCK_MONOTONIC, the same in every process. */

/** Milliseconds of CLOCK_MONOTONIC. Node's hrtime is that clock, so instants of two processes can be compared. */
export function monotonic(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Asks again and again until the answer is neither null, undefined nor false.
 *
 * @param what - for the error: "nobody became primary"
 * @throws when time is up, with the last error that `ask` threw
 */
export async function until<T>(
  what: string,
  limitMs: number,
  ask: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  everyMs = 50,
): Promise<T> {
  const end = monotonic() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== null && answer !== undefined && answer !== false) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (monotonic() > end) {
      throw new Error(`not within ${limitMs} ms: ${what}`, last === undefined ? {} : { cause: last });
    }
    await sleep(everyMs);
  }
}
