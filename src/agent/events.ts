/**
 * Cluster events: what this node has to tell people and their scripts. Each goes into this member's list in etcd and to
 * event_notification_command and its kin, all without anybody waiting for them. Most of them follow from the log or from what two
 * cycles saw (happenings.ts); the others are recorded where they happen.
 */
import {
  type ClusterEvent,
  type ClusterEventName,
  type EventPrimary,
  KEPT_EVENTS,
  readEvents,
  sentenceOf,
  writeEvents,
} from '../core/cluster-events.ts';
import type { Millis } from '../core/time.ts';
import type { EventName } from '../log/events.ts';
import type { Chronicle } from '../ports/chronicle.ts';
import type { Clock } from '../ports/clock.ts';
import type { Commands } from '../ports/commands.ts';
import type { EventLog, Facts, Severity } from '../ports/event-log.ts';
import type { Notices } from '../ports/notices.ts';
import { Ledger } from './ledger.ts';

/** A node as an event names it. */
export interface Named {
  readonly name: string;
  readonly id: number | null;
}

export interface EventParts {
  readonly clock: Clock;
  readonly chronicle: Chronicle;
  readonly commands: Commands;
  readonly notices?: Notices;
  readonly log: EventLog;
  readonly self: () => Named;
  /** Nobody's command is run: somebody else tells of this cluster (`adopt_from`). */
  readonly quiet: () => boolean;
}

export interface EventExtras {
  /** The node it is about; this one when left out. */
  readonly about?: Named;
  /** Whom this standby follows now, or who was the primary before. */
  readonly primary?: EventPrimary | null;
}

export class ClusterEvents {
  private readonly parts: EventParts;
  private readonly ledger: Ledger;
  /** Not known to be in etcd yet, the oldest first. */
  private pending: readonly ClusterEvent[] = [];
  private stored: readonly ClusterEvent[] = [];
  /** What the write that is under way carries of `pending`. */
  private composed: readonly ClusterEvent[] = [];
  private complainedOf: string | null = null;

  constructor(parts: EventParts) {
    this.parts = parts;
    this.ledger = new Ledger({
      clock: parts.clock,
      chronicle: parts.chronicle,
      log: parts.log,
      key: `events/${parts.self().name}`,
      compose: (found) => this.compose(found),
      written: (value) => {
        this.stored = readEvents(value).events;
        // Also those for which there was no room.
        this.pending = this.pending.filter((event) => !this.composed.includes(event));
      },
    });
  }

  /** Never throws and never waits. @param details - one sentence */
  record(event: ClusterEventName, ok: boolean, details: string, extras: EventExtras = {}): void {
    const { clock, commands, notices, self, quiet } = this.parts;
    const about = extras.about ?? self();
    const happened: ClusterEvent = {
      time: new Date(clock.wall()).toISOString(),
      node: about.name,
      nodeId: about.id,
      event,
      ok,
      details: sentenceOf(details),
      primary: extras.primary ?? null,
    };
    // What the list could not hold anyway is not waited for either.
    this.pending = [...this.pending, happened].slice(-KEPT_EVENTS);
    if (!quiet()) {
      commands.notify(happened);
      notices?.tell(happened);
    }
    this.ledger.due();
  }

  /** What this node has told, the newest last: also while etcd is away. */
  get own(): readonly ClusterEvent[] {
    return [...this.stored, ...this.pending].slice(-KEPT_EVENTS);
  }

  /** The log, which from now on is listened to: some of its lines are events. */
  listenTo(log: EventLog): EventLog {
    return {
      write: (severity, event, sentence, facts) => {
        log.write(severity, event, sentence, facts);
        const told = eventOfLog(severity, event, facts);
        if (told !== null) this.record(told.event, told.ok, sentence);
      },
    };
  }

  /** Hands over what is left, within `limit`; nothing is recorded afterwards. */
  close(limit: Millis): Promise<void> {
    return this.ledger.close(limit);
  }

  private compose(found: string | null): string | null {
    if (found !== null) this.takeFound(found);
    this.composed = this.pending;
    if (this.pending.length === 0) return null;
    return writeEvents([...this.stored, ...this.pending]);
  }

  /** When etcd was emptied, what this process still knows is written anew with the next event. */
  private takeFound(found: string): void {
    const { events, trouble } = readEvents(found);
    this.stored = events;
    this.forgetStored();
    if (trouble === null || this.complainedOf === found) return;
    this.complainedOf = found;
    const key = `pgha/events/${this.parts.self().name}`;
    this.parts.log.write('warn', 'dcs.value-not-understood', `etcd's key ${key} is ${trouble}; it is written anew`, {
      key,
    });
  }

  /** A write that was not answered may have been applied all the same. */
  private forgetStored(): void {
    const stored = new Set(this.stored.map((event) => JSON.stringify(event)));
    this.pending = this.pending.filter((event) => !stored.has(JSON.stringify(event)));
  }
}

/** Which lines of the log are events; actions by their name. */
const OF_LOG: Partial<Readonly<Record<EventName, { readonly event: ClusterEventName; readonly ok: boolean }>>> = {
  'sickness.found': { event: 'node_sick', ok: false },
  'sickness.ended': { event: 'node_recovered', ok: true },
  'lease.lost': { event: 'lease_lost', ok: false },
  'lease.released': { event: 'lease_released', ok: true },
  'lease.window-closing': { event: 'fenced', ok: true },
  'failover.vetoed': { event: 'failover_vetoed', ok: false },
  'failover.loss-possible': { event: 'failover_loss_possible', ok: false },
  'failover.loss-excluded': { event: 'failover_loss_excluded', ok: true },
  'switchover.refused': { event: 'switchover_refused', ok: false },
  'rescue.completed': { event: 'wal_rescue', ok: true },
  'rescue.failed': { event: 'wal_rescue', ok: false },
  'vip.taken': { event: 'vip_taken', ok: true },
  'vip.released': { event: 'vip_released', ok: true },
  'vip.stray': { event: 'vip_released', ok: false },
  'vip.failed': { event: 'vip_failed', ok: false },
  'vip.duplicate': { event: 'vip_failed', ok: false },
};

/** As a warning they tell of trouble. */
const OF_POOLERS: Partial<Readonly<Record<EventName, ClusterEventName>>> = {
  'pooler.paused': 'poolers_paused',
  'pooler.resumed': 'poolers_resumed',
  'pooler.skipped': 'pooler_skipped',
  'pooler.stuck': 'pooler_skipped',
};

const OF_ACTION: Readonly<Record<string, ClusterEventName>> = {
  bootstrap: 'cluster_created',
  copy: 'standby_clone',
  rewind: 'node_rejoin',
};

export function eventOfLog(
  severity: Severity,
  event: EventName,
  facts: Facts = {},
): { readonly event: ClusterEventName; readonly ok: boolean } | null {
  if (event === 'wal.discarded') return { event: 'wal_discarded', ok: severity === 'info' };
  const ofPoolers = OF_POOLERS[event];
  // One that stands in front of something else is no news.
  if (event === 'pooler.skipped' && severity === 'info') return null;
  if (ofPoolers !== undefined) return { event: ofPoolers, ok: severity === 'info' };
  const direct = OF_LOG[event];
  if (direct !== undefined) return direct;
  const action = String(facts['action']);
  // Only the end of an action carries its duration; one that was cancelled is told as `info` and is tried again.
  if (event !== 'action.finished' && (event !== 'action.failed' || severity !== 'error')) return null;
  if (facts['took_ms'] === undefined) return null;
  const ok = event === 'action.finished';
  if (action === 'promote') return ok ? null : { event: 'repmgrd_promote_error', ok };
  return Object.hasOwn(OF_ACTION, action) ? { event: OF_ACTION[action] ?? 'standby_clone', ok } : null;
}
