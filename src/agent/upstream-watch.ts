/**
 * A node that does not lead asks the leader's Postgres itself whether it is there, once per loop_wait: when it matters,
 * everybody already knows when they last saw it. One question at a time, on a timer of its own: no cycle waits for it.
 * It goes on with the last leader when his key is gone. It decides nothing.
 */
import type { CheckType } from '../core/policy.ts';
import type { NodeName } from '../core/store.ts';
import type { Instant, Millis } from '../core/time.ts';
import type { CancelTimer, Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { Postgres, ServerAddress, ServerCheck } from '../ports/postgres.ts';

/** The last answer, and when it was asked for. */
export interface UpstreamCheck {
  readonly of: NodeName;
  readonly answer: ServerCheck;
  readonly at: Instant;
}

export interface UpstreamWatchParts {
  readonly clock: Clock;
  readonly postgres: Pick<Postgres, 'checkServer'>;
  readonly log: EventLog;
  /** Whom to ask: the leader, or the last one; null: nobody is known, or it is this node. */
  readonly target: () => { readonly name: NodeName; readonly server: ServerAddress } | null;
  readonly settings: () => { readonly type: CheckType; readonly limit: Millis; readonly every: Millis };
  /** After each answer. `seen`: a primary is there, as far as this check tells. */
  readonly told: (check: UpstreamCheck, seen: boolean) => void;
}

export class UpstreamWatch {
  private readonly parts: UpstreamWatchParts;
  private cancel: CancelTimer | null = null;
  private stopped = false;
  private current: UpstreamCheck | null = null;

  constructor(parts: UpstreamWatchParts) {
    this.parts = parts;
  }

  /** null: nobody was asked, or there is nobody to ask now. */
  get last(): UpstreamCheck | null {
    return this.current;
  }

  start(): void {
    this.next();
  }

  stop(): void {
    this.stopped = true;
    this.cancel?.();
  }

  private next(): void {
    if (this.stopped) return;
    this.cancel = this.parts.clock.timer(this.parts.settings().every, () => {
      void this.check().finally(() => this.next());
    });
  }

  private async check(): Promise<void> {
    const { clock, postgres, settings, target, told } = this.parts;
    const asked = target();
    if (asked === null) {
      this.current = null;
      return;
    }
    const { type, limit } = settings();
    const at = clock.now();
    const answer = await postgres.checkServer(asked.server, type, limit);
    if (this.stopped) return;
    const check: UpstreamCheck = { of: asked.name, answer, at };
    this.tell(this.current, check);
    this.current = check;
    told(check, isPrimarySeen(answer));
  }

  /** Once when it begins and once when it ends: a quiet cluster has a quiet log. */
  private tell(before: UpstreamCheck | null, now: UpstreamCheck): void {
    const worked = before === null || before.of !== now.of || works(before.answer);
    if (worked === works(now.answer)) return;
    const { kind, said } = now.answer;
    const facts = { member: now.of, kind };
    if (worked) {
      this.parts.log.write('warn', 'upstream.check-failed', `Postgres of ${now.of} is ${kind}: ${said ?? ''}`, facts);
    } else this.parts.log.write('info', 'upstream.check-passed', `Postgres of ${now.of} answers again`, facts);
  }
}

const works = (answer: ServerCheck): boolean => answer.kind === 'alive' || answer.kind === 'full';

/** A ping does not tell a primary from a standby; one that says that it is in recovery is no sign of a primary. */
function isPrimarySeen(answer: ServerCheck): boolean {
  return answer.kind === 'full' || (answer.kind === 'alive' && answer.inRecovery !== true);
}
