import { beforeEach, describe, expect, it } from 'vitest';
import { ClusterEvents, eventOfLog } from '../../../src/agent/events.ts';
import { type ClusterEvent, KEPT_EVENTS, readEvents, writeEvents } from '../../../src/core/cluster-events.ts';
import { ABSENT, type KeyValue, revision } from '../../../src/core/store.ts';
import { type Instant, type Millis, millis } from '../../../src/core/time.ts';
import type { Chronicle, PutAnswer } from '../../../src/ports/chronicle.ts';
import { FakeClock, FakeLog } from './fakes.ts';

/** One key of etcd, whose next answers can be made to go wrong. */
class FakeChronicle implements Chronicle {
  readonly clock: FakeClock;
  entry: KeyValue | null = null;
  /** When it was written to. */
  readonly puts: { readonly at: Instant; readonly value: string }[] = [];
  attempts = 0;
  away = false;
  loseNextAnswer = false;
  private last = 0;

  constructor(clock: FakeClock) {
    this.clock = clock;
  }

  read = async () => ({ kind: 'answered' as const, entries: this.entry === null ? [] : [this.entry] });

  async put(key: string, value: string, known: KeyValue['modRevision'], limit: Millis): Promise<PutAnswer> {
    this.attempts++;
    const lost = this.loseNextAnswer;
    this.loseNextAnswer = false;
    await this.clock.sleep(this.away ? limit : millis(2));
    if (this.away) return { kind: 'unknown', cause: 'etcd does not answer' };
    if ((this.entry?.modRevision ?? ABSENT) !== known) return { kind: 'refused', found: this.entry };
    this.write(key, value);
    this.puts.push({ at: this.clock.now(), value });
    return lost ? { kind: 'unknown', cause: 'no answer' } : { kind: 'applied', revision: revision(this.last) };
  }

  write(key: string, value: string): void {
    const modRevision = revision(++this.last);
    this.entry = { key, value, createRevision: modRevision, modRevision, lease: null };
  }

  get details(): readonly string[] {
    return this.entry === null ? [] : readEvents(this.entry.value).events.map((event) => event.details);
  }
}

let clock: FakeClock;
let log: FakeLog;
let chronicle: FakeChronicle;
let notified: ClusterEvent[];
let events: ClusterEvents;

const make = (): ClusterEvents =>
  new ClusterEvents({
    clock,
    chronicle,
    log,
    commands: {
      validateFailover: async () => ({ kind: 'approved' }),
      callback: () => undefined,
      prePromote: async () => ({ kind: 'not-configured' }),
      beforeStop: async () => ({ kind: 'not-configured' }),
      childNodesLost: async () => ({ kind: 'not-configured' }),
      notify: (event) => void notified.push(event),
      failedOver: () => undefined,
    },
    self: () => ({ name: 'a', id: 1 }),
    quiet: () => false,
  });

beforeEach(() => {
  clock = new FakeClock();
  log = new FakeLog();
  chronicle = new FakeChronicle(clock);
  notified = [];
  events = make();
});

const record = (...details: readonly string[]): void => {
  for (const one of details) events.record('standby_follow', true, one);
};

describe('an event', () => {
  it('is told to the command at once and stands in etcd within a second or so', async () => {
    record('one');
    expect(notified.map(({ details }) => details)).toEqual(['one']);
    await clock.pass(1_100);
    expect(chronicle.details).toEqual(['one']);
    expect(readEvents(chronicle.entry?.value ?? '').events).toEqual(notified);
  });

  it('is about this node, unless it is said to be about another', async () => {
    record('one');
    events.record('standby_register', true, 'b has joined', { about: { name: 'b', id: 2 } });
    expect(notified.map(({ node, nodeId }) => `${node} ${nodeId}`)).toEqual(['a 1', 'b 2']);
  });

  it('of a burst is written together with the others, and a second later at the earliest comes the next write', async () => {
    record('one', 'two');
    await clock.pass(600);
    record('three');
    await clock.pass(3_000);
    expect(chronicle.details).toEqual(['one', 'two', 'three']);
    expect(chronicle.puts).toHaveLength(2);
    const [first, second] = chronicle.puts;
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(1_000);
  });

  it('that comes again and again is written every five seconds at last, and at once after a quiet time', async () => {
    for (let i = 0; i < 60; i++) {
      record(String(i));
      await clock.pass(1_000);
    }
    expect(chronicle.puts.length).toBeLessThan(18);
    await clock.pass(60_000);
    expect(chronicle.details).toHaveLength(60);
    record('later');
    await clock.pass(1_100);
    expect(chronicle.details.at(-1)).toBe('later');
  });

  it('is put behind what an earlier process has told', async () => {
    record('one');
    await clock.pass(1_100);
    events = make();
    record('two');
    await clock.pass(1_100);
    expect(chronicle.details).toEqual(['one', 'two']);
  });

  it('is written once when the answer to its write is lost', async () => {
    record('one');
    chronicle.loseNextAnswer = true;
    await clock.pass(10_000);
    expect(chronicle.details).toEqual(['one']);
    const { attempts } = chronicle;
    await clock.pass(60_000);
    expect(chronicle.attempts).toBe(attempts);
  });

  it('is handed over before the service ends, and nothing after it', async () => {
    record('one');
    await clock.outcome(events.close(millis(500)));
    expect(chronicle.details).toEqual(['one']);
    record('two');
    await clock.pass(5_000);
    expect(chronicle.details).toEqual(['one']);
  });

  it('keeps the end of the service waiting no longer than it may', async () => {
    chronicle.away = true;
    record('one');
    const began = clock.now();
    await clock.outcome(events.close(millis(500)));
    expect(clock.now() - began).toBeLessThanOrEqual(510);
  });
});

describe('while etcd is away', () => {
  it('events wait, are tried again ever more seldom, and stand there when it is back', async () => {
    chronicle.away = true;
    record('one');
    await clock.pass(30_000);
    record('two');
    await clock.pass(90_000);
    // Every ten seconds and two for the attempt, at last.
    expect(chronicle.attempts).toBeLessThan(20);
    chronicle.away = false;
    await clock.pass(13_000);
    expect(chronicle.details).toEqual(['one', 'two']);
  });

  it('no more events wait than the list can hold', async () => {
    chronicle.away = true;
    record(...Array.from({ length: 500 }, (_, i) => String(i)));
    expect(events.own).toHaveLength(KEPT_EVENTS);
    chronicle.away = false;
    await clock.pass(30_000);
    expect(chronicle.details).toHaveLength(KEPT_EVENTS);
    expect(chronicle.details.at(-1)).toBe('499');
    expect(events.own.map(({ details }) => details)).toEqual(chronicle.details);
  });

  it('events that are too long to be kept together are not tried for ever', async () => {
    record(...Array.from({ length: 100 }, () => '€'.repeat(500)));
    await clock.pass(60_000);
    expect(chronicle.attempts).toBe(1);
  });
});

describe('the key', () => {
  it('that holds garbage is written anew, and that is said once', async () => {
    chronicle.write('events/a', 'rubbish');
    record('one');
    await clock.pass(5_000);
    expect(chronicle.details).toEqual(['one']);
    expect(log.lines.filter(({ event }) => event === 'dcs.value-not-understood')).toHaveLength(1);
  });

  it('that was emptied with all of etcd is written anew with what is still known', async () => {
    record('one');
    await clock.pass(1_100);
    chronicle.entry = null;
    record('two');
    await clock.pass(3_000);
    expect(chronicle.details).toEqual(['one', 'two']);
  });

  it('holds the newest hundred', async () => {
    const before = Array.from(
      { length: KEPT_EVENTS },
      (_, i): ClusterEvent => ({
        time: '2026-11-20T14:08:00.000Z',
        node: 'a',
        nodeId: 1,
        event: 'fenced',
        ok: true,
        details: `old ${i}`,
        primary: null,
      }),
    );
    chronicle.write('events/a', writeEvents(before));
    record('new');
    await clock.pass(3_000);
    expect(chronicle.details).toHaveLength(KEPT_EVENTS);
    expect(chronicle.details[0]).toBe('old 1');
    expect(chronicle.details.at(-1)).toBe('new');
  });
});

describe('lines of the log', () => {
  it.each([
    ['warn', 'lease.lost', {}, 'lease_lost', false],
    ['info', 'lease.released', {}, 'lease_released', true],
    ['warn', 'failover.vetoed', {}, 'failover_vetoed', false],
    ['error', 'failover.loss-possible', {}, 'failover_loss_possible', false],
    ['info', 'failover.loss-excluded', {}, 'failover_loss_excluded', true],
    ['warn', 'wal.discarded', {}, 'wal_discarded', false],
    ['info', 'wal.discarded', {}, 'wal_discarded', true],
    ['warn', 'rescue.failed', {}, 'wal_rescue', false],
    ['info', 'action.finished', { action: 'rewind', took_ms: 3 }, 'node_rejoin', true],
    ['error', 'action.failed', { action: 'rewind', took_ms: 3 }, 'node_rejoin', false],
    ['info', 'action.finished', { action: 'copy', took_ms: 3 }, 'standby_clone', true],
    ['info', 'action.finished', { action: 'bootstrap', took_ms: 3 }, 'cluster_created', true],
    ['error', 'action.failed', { action: 'promote', took_ms: 3 }, 'repmgrd_promote_error', false],
  ] as const)('of level %s called %s with %o are the event %s', (severity, name, facts, event, ok) => {
    expect(eventOfLog(severity, name, facts)).toEqual({ event, ok });
  });

  it.each([
    // Cancelled: it is tried again.
    ['info', 'action.failed', { action: 'copy', took_ms: 3 }],
    // Told by what the next cycle sees.
    ['info', 'action.finished', { action: 'promote', took_ms: 3 }],
    // A line within an action, not its end.
    ['info', 'action.finished', { action: 'bootstrap' }],
    ['error', 'action.failed', {}],
    ['info', 'decision.changed', {}],
  ] as const)('of level %s called %s with %o are no event', (severity, name, facts) => {
    expect(eventOfLog(severity, name, facts)).toBeNull();
  });

  it('are events with the sentence of the line, which is written all the same', async () => {
    const heard = events.listenTo(log);
    heard.write('warn', 'failover.vetoed', 'no: the disk is full');
    expect(notified.map(({ event, details }) => [event, details])).toEqual([
      ['failover_vetoed', 'no: the disk is full'],
    ]);
    expect(log.lines).toHaveLength(1);
  });
});
