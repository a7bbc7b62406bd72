/**
 * The leader's samples of how far its standbys are behind, one point a minute, handed to etcd beside everything else.
 * With `monitoring_history` off it does nothing.
 */
import {
  type Lag,
  type LagPoint,
  lagsNow,
  minuteOf,
  peaks,
  readLags,
  thinned,
  writeLags,
} from '../core/lag-history.ts';
import type { Chronicle } from '../ports/chronicle.ts';
import type { Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';
import { Ledger } from './ledger.ts';
import type { Published } from './published.ts';

/** Points that wait for etcd: an hour of them. */
const MOST_WAITING = 60;

export class LagHistory {
  private readonly clock: Clock;
  private readonly self: string;
  private readonly ledger: Ledger;
  /** The minute that is not over yet. */
  private current: LagPoint | null = null;
  private pending: readonly LagPoint[] = [];
  private composed: readonly LagPoint[] = [];

  constructor(parts: {
    readonly clock: Clock;
    readonly chronicle: Chronicle;
    readonly log: EventLog;
    readonly self: string;
  }) {
    this.clock = parts.clock;
    this.self = parts.self;
    this.ledger = new Ledger({
      clock: parts.clock,
      chronicle: parts.chronicle,
      log: parts.log,
      key: 'lag',
      compose: (found) => this.compose(found),
      written: () => {
        this.pending = this.pending.filter((point) => !this.composed.includes(point));
      },
    });
  }

  /** With each cycle. */
  sample({ local, leadership, cluster, policy }: Published): void {
    const leads = leadership.kind === 'holding' && leadership.windowOpen && local.kind === 'primary';
    if (!policy.cluster.monitoringHistory || !leads || cluster === null) {
      this.current = null;
      return;
    }
    // What a server that does not answer said last would be the same lag again and again.
    if (local.failing !== null) return;
    const from = minuteOf(this.clock.wall());
    const lags: ReadonlyMap<string, Lag> = lagsNow(local, cluster);
    if (this.current?.from === from) {
      this.current = { ...this.current, lags: peaks(this.current.lags, lags) };
      return;
    }
    if (this.current !== null) {
      this.pending = [...this.pending, this.current].slice(-MOST_WAITING);
      this.ledger.due();
    }
    this.current = { from, primary: this.self, lags };
  }

  private compose(found: string | null): string | null {
    this.composed = this.pending;
    if (this.pending.length === 0) return null;
    const before = found === null ? [] : readLags(found).points;
    return writeLags(thinned([...before, ...this.pending], this.clock.wall()));
  }
}
