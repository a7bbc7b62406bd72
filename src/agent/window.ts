/**
 * Stops Postgres in good time before the window closes, while the daemon is well. The guard is for when it is not:
 * it strikes at the deadline; this begins earlier and lets running transactions end in order (protocol.md 9).
 */
import { orderlyStopLead } from '../core/lease.ts';
import { between, earlierBy, type Instant, millis } from '../core/time.ts';
import type { Leadership } from '../core/view.ts';
import type { CancelTimer, Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { Postgres } from '../ports/postgres.ts';

/** The longest between two looks at the clock; the instant itself is always one of them. */
const LOOK_EVERY = millis(500);
const LOOK_SOONEST = millis(20);

export class WindowWatch {
  private readonly clock: Clock;
  private readonly log: EventLog;
  private readonly postgres: Postgres;
  private readonly leadership: () => Leadership;
  private readonly mayWrite: () => boolean;
  private readonly onStop: () => void;
  private cancel: CancelTimer | null = null;
  private closing = false;
  /** The deadline before which it was last said that Postgres is stopped. */
  private saidOf: Instant | null = null;

  constructor(parts: {
    readonly clock: Clock;
    readonly log: EventLog;
    readonly postgres: Postgres;
    readonly leadership: () => Leadership;
    readonly mayWrite: () => boolean;
    readonly onStop: () => void;
  }) {
    this.clock = parts.clock;
    this.log = parts.log;
    this.postgres = parts.postgres;
    this.leadership = parts.leadership;
    this.mayWrite = parts.mayWrite;
    this.onStop = parts.onStop;
  }

  start(): void {
    const closesAt = this.closesAt();
    const left = closesAt === null ? LOOK_EVERY : between(this.clock.now(), closesAt);
    const next = millis(Math.max(LOOK_SOONEST, Math.min(LOOK_EVERY, Math.ceil(left))));
    this.cancel ??= this.clock.timer(next, () => {
      this.cancel = null;
      this.look();
      this.start();
    });
  }

  stop(): void {
    this.cancel?.();
    this.cancel = null;
  }

  /** From when on `/primary` answers 503 although the deadline has not been reached. */
  closesAt(): Instant | null {
    const leadership = this.leadership();
    if (leadership.kind !== 'holding') return null;
    return earlierBy(leadership.deadline, orderlyStopLead(leadership.ttl));
  }

  private look(): void {
    if (this.closing) return;
    const leadership = this.leadership();
    if (leadership.kind !== 'holding' || !this.mayWrite() || leadership.adopting) return;
    const closesAt = this.closesAt();
    const now = this.clock.now();
    if (closesAt === null || now < closesAt || leadership.until < 0) return;
    this.closing = true;
    const left = Math.max(0, Math.round(between(now, leadership.deadline)));
    // Until it was seen to be down it is stopped again and again; one line is enough for that.
    if (this.saidOf !== leadership.deadline) {
      this.log.write(
        'warn',
        'lease.window-closing',
        `no proof of leadership for too long: Postgres is stopped in order, ${left} ms before the guard would end it`,
        {
          term: leadership.term.toString(),
          left_ms: left,
        },
      );
    }
    this.saidOf = leadership.deadline;
    // Half of what is left for a fast stop, then immediate: the family must be gone before the guard has to strike.
    this.postgres
      .stop('fast', millis(left / 2))
      .catch((error: unknown) => {
        this.log.write(
          'error',
          'action.failed',
          'Postgres could not be stopped in order; the guard ends it at the deadline',
          { error },
        );
      })
      .finally(() => {
        this.closing = false;
        this.onStop();
      });
  }
}
