/**
 * One key of the chronicle that this node writes: what is new is put into it within a second or so, together with what
 * stands there already, and again until etcd has it. Nobody waits for it, and nothing is lost by a restart but what
 * etcd never got.
 */
import { ABSENT, type Revision } from '../core/store.ts';
import { between, type Instant, LONG_AGO, type Millis, millis } from '../core/time.ts';
import type { Chronicle, ChronicleKey, PutAnswer } from '../ports/chronicle.ts';
import type { CancelTimer, Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';

/** What is recorded in a burst is written at once, and after what the burst was about. */
const GATHERED = millis(500);
/** Two writes are at least so far apart. */
const APART = millis(1_000);
/**
 * The same while there is something new all the time, as from a server that comes and goes: each write is a new
 * revision of the whole list, and etcd keeps revisions until they are compacted.
 */
const APART_WHEN_BUSY = millis(5_000);
/** So long without a write, and it is not busy any more. */
const QUIET = millis(30_000);
/** Between two attempts while etcd does not answer. */
const LONGEST_PAUSE = millis(10_000);
const WRITE_LIMIT = millis(2_000);

export interface LedgerParts {
  readonly clock: Clock;
  readonly chronicle: Chronicle;
  readonly key: ChronicleKey;
  /**
   * What is to stand there now; null: nothing is new.
   *
   * @param found - what stands there, as far as is known; null: nothing
   */
  readonly compose: (found: string | null) => string | null;
  /** etcd has it. */
  readonly written: (value: string) => void;
  readonly log: EventLog;
}

export class Ledger {
  private readonly parts: LedgerParts;
  private known: { readonly value: string | null; readonly revision: Revision } = { value: null, revision: ABSENT };
  private cancelTimer: CancelTimer | null = null;
  private underWay: Promise<void> | null = null;
  private triedAt: Instant = LONG_AGO;
  private pause: Millis = APART;
  private closed = false;

  constructor(parts: LedgerParts) {
    this.parts = parts;
  }

  /** Something is new. */
  due(): void {
    if (this.closed || this.cancelTimer !== null || this.underWay !== null) return;
    const { clock } = this.parts;
    const wait = Math.max(GATHERED, this.pause - between(this.triedAt, clock.now()));
    this.cancelTimer = clock.timer(millis(wait), () => {
      this.cancelTimer = null;
      void this.write();
    });
  }

  /** Writes what is new without waiting any longer, and nothing afterwards. Ends with `limit` at the latest. */
  async close(limit: Millis): Promise<void> {
    this.cancelTimer?.();
    this.cancelTimer = null;
    this.closed = true;
    const { clock } = this.parts;
    const rest = (async () => {
      await this.underWay;
      await this.write();
    })();
    await Promise.race([rest, clock.sleep(limit)]);
  }

  private write(): Promise<void> {
    const { compose, key, log } = this.parts;
    this.underWay ??= this.attempts()
      .finally(() => {
        this.underWay = null;
      })
      .then(() => {
        if (compose(this.known.value) !== null) this.due();
      })
      .catch((error: unknown) => {
        // Nobody waits for what is told here, and no mistake in it may end the daemon of a leader.
        log.write('error', 'action.failed', `writing pgha/${key} failed; it is tried again with what comes next`, {
          error,
        });
      });
    return this.underWay;
  }

  private async attempts(): Promise<void> {
    const { clock, chronicle, key, compose, written } = this.parts;
    const busy = between(this.triedAt, clock.now()) < QUIET;
    this.triedAt = clock.now();
    // The second time with what was found: a refusal says what stands there now.
    for (let attempt = 0; attempt < 2; attempt++) {
      const value = compose(this.known.value);
      if (value === null) return;
      const answer: PutAnswer = await chronicle
        .put(key, value, this.known.revision, WRITE_LIMIT)
        .catch((error: unknown) => ({ kind: 'unknown', cause: String(error) }));
      if (answer.kind === 'unknown') {
        this.pause = millis(Math.min(LONGEST_PAUSE, this.pause * 2));
        return;
      }
      if (answer.kind === 'applied') {
        this.pause = busy ? millis(Math.min(APART_WHEN_BUSY, this.pause * 2)) : APART;
        this.known = { value, revision: answer.revision };
        written(value);
        return;
      }
      this.known = { value: answer.found?.value ?? null, revision: answer.found?.modRevision ?? ABSENT };
    }
  }
}
