/**
 * Which failures of things that are tried again with each cycle stand in the log already. On a full disk the same one
 * comes several times a second, for as long as nobody makes room: it is told at once, and then now and then.
 */
import { between, type Instant, millis } from '../core/time.ts';

/** The same failure is told again after this. */
export const AGAIN_AFTER = millis(30_000);

export class ToldFailures {
  private readonly told = new Map<string, { readonly said: string; readonly at: Instant }>();

  /** @returns whether this is news: another failure than the last one of this work, or long ago */
  isNews(work: string, error: unknown, now: Instant): boolean {
    const said = String(error);
    const before = this.told.get(work);
    if (before?.said === said && between(before.at, now) < AGAIN_AFTER) return false;
    this.told.set(work, { said, at: now });
    return true;
  }

  /** It went well: the next failure is news. */
  done(work: string): void {
    this.told.delete(work);
  }
}
