/**
 * The agent's knowledge of its own Postgres: the last look, since when it is as it is, and since when it is known not
 * to accept writes. One look at a time.
 */
import { type LocalPostgres, mayWrite } from '../core/local.ts';
import type { CheckType } from '../core/policy.ts';
import { between, type Instant, LONG_AGO, laterBy, longest, type Millis, millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { Postgres } from '../ports/postgres.ts';

export interface Failing {
  readonly since: Instant;
  readonly count: number;
  readonly said: string;
}

export class LocalWatch {
  private readonly clock: Clock;
  private readonly postgres: Postgres;
  private running: Promise<void> | null = null;
  private current: LocalPostgres = { kind: 'silent', since: 0 as Millis, said: 'not looked at yet' };
  private lookedAt: Instant = LONG_AGO;
  private kindSince: Instant = LONG_AGO;
  private writesEndedAt: Instant | null = null;
  /** Looks begun before the newest doubt say nothing about whether Postgres may write now. Counted: instants may be equal. */
  private doubts = 0;
  /** How many doubts there had been when the newest look began. */
  private doubtsBeforeLook = -1;
  private failures: (Failing & { readonly countedAt: Instant }) | null = null;
  private seenEver = false;
  private took: Millis = 0 as Millis;

  constructor(clock: Clock, postgres: Postgres) {
    this.clock = clock;
    this.postgres = postgres;
  }

  get local(): LocalPostgres {
    return this.current;
  }
  get at(): Instant {
    return this.lookedAt;
  }
  get since(): Instant {
    return this.kindSince;
  }
  get known(): boolean {
    return this.seenEver;
  }
  get failing(): Failing | null {
    return this.failures;
  }

  /** Since when Postgres is known not to accept writes; null while it may, or while that is not certain. */
  get downSince(): Instant | null {
    return this.writesEndedAt;
  }

  /**
   * How long to wait for the next look: `wanted`, or less when a failure is to be counted before. The limit of the first
   * look is no part of `attempts` × (limit + `spacing`), within which a server that hangs has to be judged: what a look
   * took is taken off the waits, in equal parts. One that fails at once takes nothing off.
   */
  nextLookIn(wanted: Millis, spacing: Millis, attempts: number): Millis {
    if (this.failures === null || attempts === 0) return wanted;
    const due = laterBy(this.failures.countedAt, millis(spacing - this.took / attempts));
    return longest(millis(0), millis(Math.min(wanted, between(this.clock.now(), due))));
  }

  /** Something is about to make Postgres writable, or it died: only looks begun from now on count. */
  doubt(): void {
    this.doubts += 1;
    this.writesEndedAt = null;
  }

  /** Whether a look was begun since the last doubt. */
  get certain(): boolean {
    return this.doubtsBeforeLook === this.doubts;
  }

  /** @param spacing - failures closer together than this count as one */
  async look(limit: Millis, spacing: Millis, check?: CheckType): Promise<void> {
    // Who comes while a look is under way wants one that began after he came.
    if (this.running !== null) await this.running;
    this.running ??= this.lookOnce(limit, spacing, check).finally(() => {
      this.running = null;
    });
    await this.running;
  }

  private async lookOnce(limit: Millis, spacing: Millis, check?: CheckType): Promise<void> {
    const began = this.clock.now();
    const doubts = this.doubts;
    const seen = await this.postgres.look(limit, check);
    this.took = between(began, this.clock.now());
    this.doubtsBeforeLook = doubts;
    if (doubts !== this.doubts) {
      // What was seen may be from before the doubt: shown, but proves nothing.
      this.adopt(seen, began);
      return;
    }
    this.adopt(seen, began);
    if (mayWrite(seen)) this.writesEndedAt = null;
    // A server that is stopping proves nothing yet: until its family is gone, a backend may finish a commit. Nor does a
    // standby that did not answer: what is shown of it is from before, perhaps from before its promotion.
    else if (seen.kind !== 'stopping' && !(seen.kind === 'standby' && seen.failing !== null))
      this.writesEndedAt ??= began;
    this.count(seen, spacing);
  }

  private adopt(seen: LocalPostgres, began: Instant): void {
    if (!this.seenEver || seen.kind !== this.current.kind) this.kindSince = began;
    this.seenEver = true;
    this.current = seen;
    this.lookedAt = began;
  }

  private count(seen: LocalPostgres, spacing: Millis): void {
    const said =
      // One that says that it has no room has answered: that is never counted against it.
      seen.kind === 'silent'
        ? seen.full === true
          ? null
          : seen.said
        : seen.kind === 'primary' || seen.kind === 'standby'
          ? (seen.failing?.said ?? null)
          : null;
    if (said === null) {
      this.failures = null;
      return;
    }
    const now = this.clock.now();
    if (this.failures === null) this.failures = { since: now, count: 1, said, countedAt: now };
    else if (between(this.failures.countedAt, now) >= spacing * 0.9) {
      this.failures = { since: this.failures.since, count: this.failures.count + 1, said, countedAt: now };
    }
  }
}
