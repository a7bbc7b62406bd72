/**
 * Work on Postgres that takes longer than a cycle: one at a time, with progress, cancelled when it must make way.
 * Failures are counted by kind, so that decisions can back off.
 */
import { millis } from '../core/time.ts';
import type { Attempts, OperationKind, RunningOperation } from '../core/view.ts';
import { PghaError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { Progress } from '../ports/postgres.ts';
import type { OperationView } from './published.ts';

/** Progress is logged when it has moved by so much, or after so long. */
const PROGRESS_STEP = 0.25;
const PROGRESS_EVERY = millis(10_000);

/**
 * What ends well and may have come to nothing: until this node was seen as it should be it counts as a try, so that one
 * that changes nothing is not repeated without a pause for ever. The sentences tell what has not been seen yet.
 */
const UNCONFIRMED: ReadonlyMap<OperationKind, string> = new Map([
  ['rewind', 'it was done, and this node was not seen to stream since'],
  ['copy', 'it was done, and this node was not seen to stream since'],
  ['start', 'the process was started, and did not come up'],
]);

interface Running {
  readonly view: RunningOperation;
  readonly abort: AbortController;
  readonly done: Promise<void>;
  sentence: string;
  fraction: number | null;
}

/** In one sentence. */
export const whatHappened = (error: unknown): string =>
  error instanceof PghaError ? error.text.happened : error instanceof Error ? error.message : String(error);

export class Operations {
  private readonly clock: Clock;
  private readonly log: EventLog;
  private readonly onEnd: (kind: OperationKind, failed: boolean) => void;
  private current: Running | null = null;
  private readonly failed = new Map<OperationKind, Attempts>();

  constructor(clock: Clock, log: EventLog, onEnd: (kind: OperationKind, failed: boolean) => void) {
    this.clock = clock;
    this.log = log;
    this.onEnd = onEnd;
  }

  get running(): RunningOperation | null {
    return this.current?.view ?? null;
  }

  get shown(): OperationView | null {
    const { current } = this;
    if (current === null) return null;
    return {
      kind: current.view.kind,
      since: current.view.since,
      sentence: current.sentence,
      fraction: current.fraction,
    };
  }

  get attempts(): ReadonlyMap<OperationKind, Attempts> {
    return this.failed;
  }

  /** A failure of something that is no operation of its own. */
  countFailure(kind: OperationKind, said: string): void {
    const failures = (this.failed.get(kind)?.failures ?? 0) + 1;
    this.failed.set(kind, { failures, lastFailedAt: this.clock.now(), said });
  }

  /** Circumstances have changed: earlier failures say nothing about the next try. */
  forgetFailures(...kinds: readonly OperationKind[]): void {
    for (const kind of kinds) this.failed.delete(kind);
  }

  /** Starts `work`, unless something runs already. Its end starts a cycle. @returns whether it was started */
  start(
    kind: OperationKind,
    sentence: string,
    work: (signal: AbortSignal, progress: Progress) => Promise<void>,
  ): boolean {
    if (this.current !== null) return false;
    const abort = new AbortController();
    const began = this.clock.now();
    let loggedAt = began;
    let loggedFraction = 0;
    const progress: Progress = (said, fraction) => {
      if (this.current === null) return;
      this.current.sentence = said;
      this.current.fraction = fraction;
      const now = this.clock.now();
      if ((fraction ?? 0) - loggedFraction >= PROGRESS_STEP || now - loggedAt >= PROGRESS_EVERY) {
        loggedAt = now;
        loggedFraction = fraction ?? loggedFraction;
        this.log.write('info', 'operation.progress', said, {
          operation: kind,
          percent: fraction === null ? null : Math.round(fraction * 100),
        });
      }
    };
    this.log.write('info', 'action.started', sentence, { action: kind });
    // Deferred by one turn, so that `current` is set before the work can end.
    const done = Promise.resolve()
      .then(() => work(abort.signal, progress))
      .then(
        () => this.ended(kind, began, null, sentence),
        (error: unknown) => this.ended(kind, began, error, sentence),
      );
    this.current = { view: { kind, since: began }, abort, done, sentence, fraction: null };
    return true;
  }

  /** Asks the running operation to end and waits until it has; what it leaves behind is for the next look. */
  async cancel(why: string): Promise<void> {
    const { current } = this;
    if (current === null) return;
    current.abort.abort(
      new PghaError('PGHA_CANCELLED', {
        happened: `${current.view.kind} was cancelled: ${why}.`,
        untouched: 'What it had begun is marked as unfinished and is not used.',
        todo: 'Nothing to do.',
      }),
    );
    await current.done;
  }

  private ended(kind: OperationKind, began: number, error: unknown, sentence: string): void {
    this.current = null;
    const took = Math.round(this.clock.now() - began);
    if (error === null) {
      const unseen = UNCONFIRMED.get(kind);
      if (unseen !== undefined) this.countFailure(kind, unseen);
      else this.failed.delete(kind);
      this.log.write('info', 'action.finished', `${sentence}: done`, { action: kind, took_ms: took });
    } else {
      const said = whatHappened(error);
      const cancelled = error instanceof PghaError && error.code === 'PGHA_CANCELLED';
      if (!cancelled) {
        this.countFailure(kind, said);
      }
      this.log.write(cancelled ? 'info' : 'error', 'action.failed', `${sentence}: ${said}`, {
        action: kind,
        took_ms: took,
        error,
      });
    }
    this.onEnd(kind, error !== null);
  }
}
