/** Protocol 3 to 5 and 7 as the lease keeper carries them out, one thing going wrong at a time. */
import { beforeEach, describe, expect, it } from 'vitest';
import { LeaseKeeper } from '../../../src/agent/lease-keeper.ts';
import { readCluster } from '../../../src/core/cluster.ts';
import type { FailsafeAnswer, FailsafeRequest } from '../../../src/core/failsafe.ts';
import { deadlineOf } from '../../../src/core/lease.ts';
import { systemId } from '../../../src/core/local.ts';
import { lsn } from '../../../src/core/lsn.ts';
import { leaseId, nodeName, type Revision, revision } from '../../../src/core/store.ts';
import { type Instant, instant, LONG_AGO, laterBy, type Millis, millis, seconds } from '../../../src/core/time.ts';
import type { Leadership } from '../../../src/core/view.ts';
import type { StoredLeadership } from '../../../src/ports/state-file.ts';
import { END } from '../core/builders.ts';
import { FakeClock, FakeEtcd, FakeGuard, FakeLog, FakeState, isBeat, START, writesKey } from './fakes.ts';

const TTL = seconds(10);
const THEIR_LEASE = leaseId('9001');

let clock: FakeClock;
let etcd: FakeEtcd;
let guard: FakeGuard;
let state: FakeState;
let log: FakeLog;
let keeper: LeaseKeeper;
let local: { downSince: Instant | null; isPrimary: boolean };
let paused: boolean;
let leadsStandbys = false;
let wantedTtl: Millis;
let reads: number;
let readByAgent: () => void;
let settled: boolean;
let lost: string[];
let failsafe: {
  on: boolean;
  wanted: string[];
  asked: { readonly name: string; readonly request: FailsafeRequest }[];
  answer: (name: string) => FailsafeAnswer;
};

beforeEach(() => {
  clock = new FakeClock();
  etcd = new FakeEtcd(clock);
  guard = new FakeGuard(clock);
  state = new FakeState();
  log = new FakeLog();
  local = { downSince: LONG_AGO, isPrimary: false };
  paused = false;
  leadsStandbys = false;
  wantedTtl = TTL;
  reads = 0;
  readByAgent = () => note();
  settled = true;
  lost = [];
  failsafe = { on: false, wanted: ['a', 'b', 'c'], asked: [], answer: () => ({ kind: 'confirmed', position: null }) };
  keeper = aKeeper();
});

function aKeeper(): LeaseKeeper {
  return new LeaseKeeper({
    clock,
    dcs: etcd,
    guard,
    state,
    log,
    self: nodeName('b'),
    dataDirectory: '/data',
    fields: () => ({ optime: END, slots: new Map(), retainSlots: [], leader: null, location: null }),
    downSince: () => local.downSince,
    isPrimary: () => local.isPrimary,
    paused: () => paused,
    wantedTtl: () => wantedTtl,
    leadsStandbys: () => leadsStandbys,
    settled: () => settled,
    failsafe: {
      enabled: () => failsafe.on,
      wanted: () => new Map(failsafe.wanted.map((name) => [nodeName(name), `http://${name}`])),
      ask: async ({ name }, request) => {
        failsafe.asked.push({ name, request });
        await clock.sleep(millis(1));
        return failsafe.answer(name);
      },
    },
    readCluster: async () => {
      reads += 1;
      await clock.sleep(millis(2));
      if (etcd.reachable) readByAgent();
    },
    onChange: () => undefined,
    onLost: (why) => lost.push(why),
  });
}

type Held = Extract<Leadership, { kind: 'holding' }>;

function held(): Held {
  const { leadership } = keeper;
  if (leadership.kind !== 'holding') throw new Error('this node does not lead');
  return leadership;
}

/** The last leader's newest status; with a hold of 0, a release that names nobody. @returns its revision */
function lastLeaderSaid(holdMs: number | null, over: { term?: Revision } = {}): Revision {
  const release = holdMs === 0 ? { release: { lsn: '0/5000060', candidate: null } } : {};
  const term = (over.term ?? revision(1)).toString();
  return etcd.put('status', { optime: 1, pgha: { term, seq: 1, hold_ms: holdMs, ...release } });
}

/** The agent reads etcd and tells the keeper. */
function note(arrivedAt: Instant = clock.now()): void {
  keeper.note(readCluster(etcd.store.entries(), etcd.header()), arrivedAt, clock.now());
}

/** Takes the free key behind a gate that is open, proves it, and its Postgres is promoted. */
async function leads(): Promise<void> {
  const status = lastLeaderSaid(0);
  await keeper.start();
  await clock.pass(10);
  note();
  expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('ours');
  await clock.pass(20);
  expect(held().windowOpen).toBe(true);
  local = { downSince: null, isPrimary: true };
}

/** Nothing that is written comes through until the window has passed; what is read does. */
async function losesEtcdUntilTheWindowHasPassed(): Promise<void> {
  etcd.reachable = false;
  for (let i = 0; i < 4; i++) {
    note();
    await clock.pass(2_800);
  }
  expect(held().windowOpen).toBe(false);
  etcd.reachable = true;
}

const gateFor = (holdMs: number): void => {
  lastLeaderSaid(holdMs);
  note();
};

describe('a key under which no window opens', () => {
  const winsAlone = async (): Promise<void> => {
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('ours');
  };

  it('is known by beats that land while the guard does not acknowledge', async () => {
    guard.answers = false;
    await winsAlone();
    await clock.pass(3_000);
    expect(held()).toMatchObject({ windowOpen: false });
    expect(clock.now() - (held().unopenedSince ?? clock.now())).toBeGreaterThan(2_500);
    guard.answers = true;
    await clock.pass(1_000);
    expect(held()).toMatchObject({ windowOpen: true, unopenedSince: null });
  });

  it('is known also when what opens it cannot be written down', async () => {
    state.write = () => Promise.reject(new Error('no space left on device'));
    await winsAlone();
    await clock.pass(3_000);
    expect(clock.now() - (held().unopenedSince ?? clock.now())).toBeGreaterThan(2_500);
  });

  it('is another matter while etcd does not answer', async () => {
    guard.answers = false;
    await winsAlone();
    await clock.pass(3_000);
    etcd.reachable = false;
    await clock.pass(6_000);
    expect(held()).toMatchObject({ windowOpen: false, unopenedSince: null });
  });
});

describe('a key of a standby cluster', () => {
  const winsAlone = async (): Promise<void> => {
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('ours');
  };

  it('is proven, opens no window and arms no guard', async () => {
    leadsStandbys = true;
    await winsAlone();
    await clock.pass(3_000);
    expect(held()).toMatchObject({ windowOpen: false, unopenedSince: null });
    expect(keeper.proofsSoFar.count).toBeGreaterThan(1);
    expect(guard.armings).toBe(0);
  });

  it('opens a window, guarded, by the first proof after it is none any more', async () => {
    leadsStandbys = true;
    await winsAlone();
    await clock.pass(3_000);
    leadsStandbys = false;
    await clock.pass(1_100);
    expect(held()).toMatchObject({ windowOpen: true });
    expect(guard.armings).toBeGreaterThan(0);
  });

  it('has its window closed before the guard stands down, and only with Postgres seen not to write', async () => {
    await leads();
    leadsStandbys = true;
    expect(await clock.outcome(keeper.standDown())).toBe(false);
    expect(held().windowOpen).toBe(true);
    local = { downSince: clock.now(), isPrimary: false };
    expect(await clock.outcome(keeper.standDown())).toBe(true);
    expect(held()).toMatchObject({ windowOpen: false });
    await clock.pass(2_000);
    expect(held()).toMatchObject({ windowOpen: false });
  });

  it('is not stood down for in a cluster of its own', async () => {
    await leads();
    local = { downSince: clock.now(), isPrimary: false };
    expect(await clock.outcome(keeper.standDown())).toBe(false);
    expect(held().windowOpen).toBe(true);
  });
});

describe('acquiring', () => {
  it('sends nothing before the gate has passed', async () => {
    const status = lastLeaderSaid(5_000);
    await keeper.start();
    await clock.pass(10);
    note();
    const before = etcd.applied.length;
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('refused');
    await clock.pass(4_989);
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('refused');
    expect(etcd.applied.length).toBe(before);
    await clock.pass(11);
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('ours');
    expect(etcd.key('leader')).toMatchObject({ value: 'b', lease: keeper.lease });
  });

  it('sends nothing on the strength of an older status than is known by now', async () => {
    const old = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    lastLeaderSaid(0);
    note();
    const before = etcd.applied.length;
    expect(await clock.outcome(keeper.acquire(old, null, false))).toBe('refused');
    expect(etcd.applied.length).toBe(before);
  });

  it('is refused by etcd when status has moved since it was read (story 5)', async () => {
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    lastLeaderSaid(10_000);
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('refused');
    expect(etcd.key('leader')).toBeNull();
    expect(keeper.leadership.kind).toBe('none');
  });

  it('is won also when the copy of a hedge is the one that answers', async () => {
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    etcd.fault({ on: 'txn', twice: true });
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('ours');
    expect(held().term).toBe(etcd.key('leader')?.modRevision);
  });

  it('takes over a standing key only in the term that status names', async () => {
    const term = etcd.put('leader', 'a', THEIR_LEASE);
    const status = lastLeaderSaid(1_000, { term });
    await keeper.start();
    await clock.pass(10);
    note();
    await clock.pass(1_000);
    expect(await clock.outcome(keeper.acquire(status, revision(term + 1n), false))).toBe('refused');
    expect(await clock.outcome(keeper.acquire(status, term, false))).toBe('ours');
    expect(etcd.leases.has(THEIR_LEASE)).toBe(true);
    expect(log.events).toContain('lease.taken-over');
  });

  it('whose answer was lost is found by the next read, and its gate comes from that read (story 6)', async () => {
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    etcd.fault({ on: 'txn', when: writesKey('leader'), loseAnswer: true });
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('unknown');
    expect(keeper.leadership.kind).toBe('none');
    // Meanwhile somebody's beat came: his hold is waited for.
    lastLeaderSaid(3_000);
    note();
    expect(held()).toMatchObject({ windowOpen: false, gate: clock.now() + 3_000 });
    await clock.pass(2_990);
    expect(held().windowOpen).toBe(false);
    await clock.pass(1_100);
    expect(held().windowOpen).toBe(true);
  });

  it('that is found to have landed is ours only with the status whose gate has passed', async () => {
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    etcd.fault({ on: 'txn', when: writesKey('leader'), loseAnswer: true });
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('unknown');
    lastLeaderSaid(10_000);
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('refused');
    expect(keeper.leadership.kind).toBe('none');
  });

  it('goes on with a new lease when etcd has lost the old one', async () => {
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    etcd.leases.clear();
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('refused');
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('ours');
  });
});

describe('the gate of a leader in maintenance', () => {
  it('is passed only on the word of an operator, and then at once', async () => {
    const status = lastLeaderSaid(null);
    await keeper.start();
    await clock.pass(10);
    note();
    await clock.pass(60_000);
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('refused');
    expect(await clock.outcome(keeper.acquire(status, null, false, true))).toBe('ours');
    await clock.pass(50);
    expect(held().windowOpen).toBe(true);
  });

  it('is the only one that an operator may pass: where time opens the gate, it is waited for', async () => {
    const status = lastLeaderSaid(5_000);
    await keeper.start();
    await clock.pass(10);
    note();
    expect(await clock.outcome(keeper.acquire(status, null, false, true))).toBe('refused');
  });
});

describe('waiting at the gate with the key', () => {
  beforeEach(async () => {
    await keeper.start();
    await clock.pass(10);
    etcd.put('leader', 'b', keeper.lease ?? leaseId('0'));
    gateFor(4_000);
  });

  it('beats with only the rest of the gate for a hold (rule 16)', async () => {
    await clock.pass(1_500);
    expect(etcd.beat?.holdMs).toBeGreaterThan(1_000);
    expect(etcd.beat?.holdMs).toBeLessThanOrEqual(3_000);
    expect(held().windowOpen).toBe(false);
    expect(guard.armings).toBe(0);
  });

  it('opens the window with a full hold as soon as the gate has passed', async () => {
    await clock.pass(3_990);
    expect(held().windowOpen).toBe(false);
    await clock.pass(100);
    expect(held().windowOpen).toBe(true);
    expect(etcd.beat?.holdMs).toBe(10_000);
  });

  it('hands on the rest of the gate when it gives the key up (story 8)', async () => {
    await clock.pass(1_000);
    expect(await clock.outcome(keeper.release(END, null, []))).toBe(true);
    expect(etcd.beat?.holdMs).toBeGreaterThan(2_900);
    expect(etcd.beat?.holdMs).toBeLessThanOrEqual(3_000);
  });
});

describe('a proof', () => {
  it('opens a window that is counted from sending, guarded before it is open', async () => {
    await leads();
    const { until, deadline } = held();
    expect(etcd.beat).toMatchObject({ term: held().term, holdMs: 10_000, release: null });
    expect(guard.arming).toMatchObject({ deadline, dataDirectory: '/data', proven: { until, ttl: TTL } });
    // What the guard compares its own clocks with: a machine that stood still meanwhile has not proven anything.
    expect(guard.arming?.clocks).toEqual({ boot: clock.suspendedFor(), wall: clock.wall() - clock.now() });
    expect(deadline).toBe(deadlineOf(until, TTL));
    // Sent at some instant since the start; the answers came 2 ms later each.
    expect(until).toBeLessThanOrEqual(clock.now() + 10_000 - 5);
    expect(state.stored).toMatchObject({ term: held().term, lease: keeper.lease, gatePassed: true });
  });

  it('is made every second and prolongs the window', async () => {
    await leads();
    const { until } = held();
    await clock.pass(3_100);
    expect(held().until).toBeGreaterThanOrEqual(until + 3_000);
    expect(lost).toEqual([]);
  });

  it('is none when the raft term moved between keepalive and beat (stories 14 and 15)', async () => {
    await leads();
    const { until } = held();
    etcd.fault({
      on: 'txn',
      when: isBeat,
      first: () => {
        etcd.raftTerm += 1n;
      },
    });
    await clock.pass(1_020);
    expect(held().until).toBe(until);
    await clock.pass(150);
    expect(held().until).toBeGreaterThan(until);
  });

  it('is none without a renewed lease, although the beat landed', async () => {
    await leads();
    const { until } = held();
    const { lease } = keeper;
    if (lease === null) throw new Error('no lease');
    etcd.leases.delete(lease);
    const beats = etcd.beat?.seq ?? 0;
    await clock.pass(2_000);
    expect(etcd.beat?.seq).toBeGreaterThan(beats);
    expect(held().until).toBe(until);
  });

  it('is none while the guard is silent; the window stays as it was', async () => {
    await leads();
    const { until } = held();
    guard.answers = false;
    await clock.pass(3_000);
    expect(held().until).toBe(until);
    expect(keeper.acknowledged).toBe(false);
    expect(log.events.filter((event) => event === 'guard.silent')).toHaveLength(1);
    guard.answers = true;
    await clock.pass(700);
    expect(held().until).toBeGreaterThan(until);
    expect(keeper.acknowledged).toBe(true);
  });

  it('opens no first window without the guard', async () => {
    guard.answers = false;
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    await clock.outcome(keeper.acquire(status, null, false));
    await clock.pass(3_000);
    expect(held()).toMatchObject({ windowOpen: false, until: LONG_AGO });
    expect(state.stored).toBeNull();
  });

  it('is worthless when the machine may have been suspended while it was under way', async () => {
    await leads();
    await clock.pass(200);
    const { until } = held();
    const beats = etcd.beat?.seq;
    etcd.fault({
      on: 'txn',
      when: isBeat,
      first: () => {
        keeper.suspect('the boot clock ran ahead');
        // The answer still comes; the next proof, which is made at once, does not get through.
        etcd.reachable = false;
      },
    });
    await clock.pass(900);
    expect(etcd.beat?.seq).not.toBe(beats);
    expect(held().until).toBe(until);
    etcd.reachable = true;
    await clock.pass(2_000);
    expect(held().until).toBeGreaterThan(until);
  });

  it('is worthless when the clock stood still while it was under way', async () => {
    await leads();
    const { until } = held();
    etcd.fault({
      on: 'txn',
      when: isBeat,
      first: () => {
        clock.suspended += 5_000;
      },
    });
    await clock.pass(1_020);
    expect(held().until).toBe(until);
  });

  it('is made at once when the machine may have been suspended', async () => {
    await leads();
    await clock.pass(300);
    const { until } = held();
    keeper.suspect('the boot clock ran ahead');
    await clock.pass(10);
    expect(held().until).toBeGreaterThan(until);
  });

  it('is made at once when the guard was replaced', async () => {
    await leads();
    await clock.pass(300);
    const { armings } = guard;
    guard.replace();
    expect(keeper.acknowledged).toBe(false);
    await clock.pass(10);
    expect(guard.armings).toBe(armings + 1);
    expect(keeper.acknowledged).toBe(true);
  });

  it('revives no window that has passed while Postgres was up (rule 5)', async () => {
    await leads();
    await losesEtcdUntilTheWindowHasPassed();
    await clock.pass(3_000);
    expect(etcd.key('leader')?.value).toBe('b');
    expect(held().windowOpen).toBe(false);
  });

  it('opens a new window once Postgres was seen down', async () => {
    await leads();
    await losesEtcdUntilTheWindowHasPassed();
    local = { downSince: clock.now(), isPrimary: false };
    await clock.pass(2_000);
    expect(held().windowOpen).toBe(true);
  });
});

describe('a beat', () => {
  it('whose answer was lost has landed: the next one goes on from it', async () => {
    await leads();
    etcd.fault({ on: 'txn', when: isBeat, loseAnswer: true });
    const { until } = held();
    await clock.pass(1_000 + 1_500 + 150);
    expect(lost).toEqual([]);
    expect(held().until).toBeGreaterThan(until + 2_000);
  });

  it('that landed twice counts once, and proves', async () => {
    await leads();
    const { until } = held();
    etcd.fault({ on: 'txn', when: isBeat, twice: true });
    await clock.pass(1_010);
    expect(held().until).toBeGreaterThan(until);
  });

  it('of ours that lands late makes the next one start from what it finds, at once (story 1)', async () => {
    await leads();
    // Given up after 1.5 s, applied while the next proof is under way.
    etcd.fault({ on: 'txn', when: isBeat, delay: 1_590 });
    const { until } = held();
    await clock.pass(1_000 + 1_500 + 200);
    expect(lost).toEqual([]);
    expect(held().until).toBeGreaterThan(until + 2_000);
    expect(etcd.beat?.holdMs).toBe(10_000);
  });

  it('of ours that comes after a newer one never lands', async () => {
    await leads();
    etcd.fault({ on: 'txn', when: isBeat, delay: 4_000 });
    await clock.pass(1_000 + 1_500 + 200);
    const newest = etcd.beat?.seq ?? 0;
    await clock.pass(2_500);
    expect(etcd.beat?.seq).toBeGreaterThan(newest);
    expect(held().windowOpen).toBe(true);
  });

  it('is overwritten by Patroni without a loss: the next one starts from that version', async () => {
    await leads();
    etcd.put('status', { optime: 5 });
    const { until } = held();
    await clock.pass(1_020);
    expect(held().until).toBeGreaterThan(until);
    expect(etcd.beat).not.toBeNull();
    expect(lost).toEqual([]);
  });
});

describe('a key that vanished', () => {
  it('inside of the window is taken again at once, and the window goes on', async () => {
    await leads();
    const { term, until } = held();
    etcd.delete('leader');
    await clock.pass(1_200);
    expect(lost).toEqual([]);
    expect(etcd.key('leader')?.value).toBe('b');
    expect(held().term).toBe(etcd.key('leader')?.modRevision);
    expect(held().term).toBeGreaterThan(term);
    expect(held().until).toBeGreaterThan(until);
    expect(state.stored?.term).toBe(held().term);
    expect(log.events).toContain('lease.retaken');
  });

  it('together with its lease is taken again on a new one', async () => {
    await leads();
    const old = keeper.lease;
    etcd.leases.clear();
    etcd.delete('leader');
    await clock.pass(1_200);
    expect(etcd.key('leader')?.value).toBe('b');
    expect(etcd.key('leader')?.lease).not.toBe(old);
    expect(keeper.lease).toBe(etcd.key('leader')?.lease);
    expect(lost).toEqual([]);
  });

  it('is found again when the answer of taking it was lost', async () => {
    await leads();
    etcd.delete('leader');
    etcd.fault({ on: 'txn', when: writesKey('leader'), loseAnswer: true });
    await clock.pass(1_000 + 1_500 + 300);
    expect(lost).toEqual([]);
    expect(held().term).toBe(etcd.key('leader')?.modRevision);
    expect(held().windowOpen).toBe(true);
  });

  it('is lost when status tells that somebody has led since: our clock stood still, and the window is none', async () => {
    await leads();
    etcd.delete('leader');
    const pgha = { term: String(held().term + 10n), seq: 3, hold_ms: 10_000, leader: 'c' };
    etcd.put('status', { optime: 1, pgha });
    await clock.pass(1_100);
    expect(lost).toHaveLength(1);
    expect(etcd.key('leader')).toBeNull();
  });

  it('is taken again over an older status: etcd was restored', async () => {
    await leads();
    etcd.delete('leader');
    lastLeaderSaid(10_000);
    await clock.pass(1_200);
    expect(lost).toEqual([]);
    expect(etcd.key('leader')?.value).toBe('b');
  });

  it('is lost all the same when the machine may have been suspended since the last proof', async () => {
    await leads();
    etcd.delete('leader');
    lastLeaderSaid(10_000);
    keeper.suspect('the wall clock ran ahead');
    await clock.pass(200);
    expect(lost).toHaveLength(1);
  });

  it('outside of the window is lost (story 11)', async () => {
    await leads();
    await losesEtcdUntilTheWindowHasPassed();
    etcd.delete('leader');
    await clock.pass(2_000);
    expect(lost).toHaveLength(1);
    expect(etcd.key('leader')).toBeNull();
    expect(keeper.leadership.kind).toBe('none');
  });

  it('is lost when Postgres is not our primary', async () => {
    await leads();
    local = { downSince: clock.now(), isPrimary: false };
    etcd.delete('leader');
    await clock.pass(1_100);
    expect(lost).toHaveLength(1);
    expect(etcd.key('leader')).toBeNull();
  });

  it('and was taken by somebody else is lost', async () => {
    await leads();
    etcd.delete('leader');
    etcd.put('leader', 'c', THEIR_LEASE);
    await clock.pass(1_100);
    expect(lost).toHaveLength(1);
    expect(etcd.key('leader')?.value).toBe('c');
  });

  it('and stands again by a write of an earlier process of this node is lost: its window is not ours', async () => {
    await leads();
    const pgha = { term: '0', seq: 99, hold_ms: 10_000 };
    etcd.leases.set(THEIR_LEASE, TTL);
    await clock.outcome(
      etcd.txn(
        {
          compare: [],
          success: [
            { op: 'put', key: 'leader', value: 'b', lease: THEIR_LEASE },
            { op: 'put', key: 'status', value: JSON.stringify({ pgha }), lease: null },
          ],
          failure: [],
        },
        millis(1_000),
      ),
    );
    await clock.pass(1_100);
    expect(lost).toHaveLength(1);
  });

  it('is not taken again over a status that moved: somebody may have led', async () => {
    await leads();
    etcd.fault({
      on: 'txn',
      when: writesKey('leader'),
      first: () => lastLeaderSaid(10_000),
    });
    etcd.delete('leader');
    await clock.pass(1_100);
    expect(lost).toHaveLength(1);
    expect(etcd.key('leader')).toBeNull();
  });
});

describe('a key of our own that no answer told us about', () => {
  it('is not taken up while Postgres may write: that one is stopped first (rule 14)', async () => {
    local = { downSince: null, isPrimary: true };
    await keeper.start();
    await clock.pass(10);
    etcd.put('leader', 'b', keeper.lease ?? leaseId('0'));
    gateFor(0);
    expect(keeper.leadership.kind).toBe('none');
    local = { downSince: clock.now(), isPrimary: false };
    note();
    expect(keeper.leadership.kind).toBe('holding');
  });

  it('is not taken up while another machine runs under this name: it is that one’s', async () => {
    await keeper.start();
    await clock.pass(10);
    etcd.put('leader', 'b', THEIR_LEASE);
    lastLeaderSaid(0);
    const cluster = readCluster(etcd.store.entries(), etcd.header());
    keeper.note(cluster, clock.now(), clock.now(), false);
    expect(keeper.leadership.kind).toBe('none');
    keeper.note(cluster, clock.now(), clock.now());
    expect(keeper.leadership.kind).toBe('holding');
  });

  it('is beaten for at once: the lease of one who waits is shown to be alive', async () => {
    await keeper.start();
    await clock.pass(10);
    etcd.put('leader', 'b', keeper.lease ?? leaseId('0'));
    gateFor(4_000);
    const { seq } = etcd.beat ?? { seq: 0 };
    await clock.pass(10);
    expect(etcd.beat?.seq).not.toBe(seq);
  });
});

describe('a key of our own that a restored etcd has brought back', () => {
  const noteRestored = (): boolean =>
    keeper.note(readCluster(etcd.store.entries(), etcd.header()), clock.now(), clock.now(), true, true);

  it('is not taken up: somebody else has led since, and may have what this node lacks', async () => {
    await keeper.start();
    await clock.pass(10);
    lastLeaderSaid(0);
    note();
    etcd.put('leader', 'b', THEIR_LEASE);
    noteRestored();
    expect(keeper.leadership.kind).toBe('none');
    note();
    expect(keeper.leadership.kind).toBe('none');
  });

  it('is not taken up with a lease of ours that is over, however new that etcd looks', async () => {
    await leads();
    const { lease } = keeper;
    local = { downSince: clock.now(), isPrimary: false };
    await clock.outcome(keeper.release(END, null, []));
    etcd.put('leader', 'b', lease ?? THEIR_LEASE);
    note();
    expect(keeper.leadership.kind).toBe('none');
  });

  it('is taken up where this node itself went on in maintenance, and nowhere behind another one', async () => {
    const saidIn = (leader: string) => ({ optime: 1, pgha: { term: '1', seq: 1, hold_ms: null, leader } });
    await keeper.start();
    await clock.pass(10);
    paused = true;
    etcd.put('status', saidIn('c'));
    note();
    etcd.put('leader', 'b', THEIR_LEASE);
    etcd.put('status', { optime: 1, pgha: { term: '1', seq: 1, hold_ms: 10_000, leader: 'b' } });
    noteRestored();
    expect(keeper.leadership.kind).toBe('none');
    // Of before the other one led, too.
    etcd.put('leader', 'b', THEIR_LEASE);
    etcd.put('status', saidIn('b'));
    noteRestored();
    expect(keeper.leadership.kind).toBe('none');
    etcd.put('leader', 'b', THEIR_LEASE);
    etcd.put('status', saidIn('b'));
    note();
    expect(keeper.leadership.kind).toBe('holding');
  });

  it('is left to run out behind another one in maintenance, also where nothing says that etcd was restored', async () => {
    await keeper.start();
    await clock.pass(10);
    etcd.put('status', { optime: 1, pgha: { term: '1', seq: 1, hold_ms: null, leader: 'c' } });
    note();
    etcd.delete('status');
    noteRestored();
    etcd.put('leader', 'b', THEIR_LEASE);
    etcd.put('status', { optime: 1, pgha: { term: '1', seq: 1, hold_ms: 10_000, leader: 'b' } });
    const again = () =>
      keeper.note(readCluster(etcd.store.entries(), { ...etcd.header(), clusterId: 'two' }), clock.now(), clock.now());
    again();
    expect(keeper.leadership.kind).toBe('none');
    // Whoever has written there since vouches for all before him.
    etcd.put('status', { optime: 1, pgha: { term: '1', seq: 2, hold_ms: 10_000, leader: 'b' } });
    again();
    expect(keeper.gate?.opensAt).not.toBe('never');
  });

  it('is left to run out with the first status in an etcd that was empty, unless that was seen to be written', async () => {
    const emptied = async (told: boolean): Promise<string> => {
      note();
      etcd.put('leader', 'b', THEIR_LEASE);
      etcd.put('status', { optime: 1, pgha: { term: '1', seq: 1, hold_ms: 10_000, leader: 'b' } });
      keeper.note(readCluster(etcd.store.entries(), etcd.header()), clock.now(), clock.now(), true, false, told);
      return keeper.leadership.kind;
    };
    await keeper.start();
    await clock.pass(10);
    expect(await emptied(false)).toBe('none');
    expect(log.events.filter((event) => event === 'lease.lost')).toHaveLength(1);
    etcd.delete('status');
    expect(await emptied(true)).toBe('holding');
  });

  it('is taken up by a process that finds it beside the last word of whoever led in maintenance: by force, then', async () => {
    etcd.put('status', { optime: 1, pgha: { term: '1', seq: 1, hold_ms: null, leader: 'c' } });
    etcd.put('leader', 'b', THEIR_LEASE);
    await keeper.start();
    await clock.pass(10);
    note();
    expect(keeper.leadership.kind).toBe('holding');
  });

  it('is left to run out where this node had it all the time and its Postgres is down', async () => {
    await leads();
    local = { downSince: clock.now(), isPrimary: false };
    noteRestored();
    expect(keeper.leadership).toMatchObject({ windowOpen: false });
    await clock.pass(10);
    expect(keeper.leadership.kind).toBe('none');
    const { seq } = etcd.beat ?? { seq: 0 };
    note();
    await clock.pass(5_000);
    expect(keeper.leadership.kind).toBe('none');
    expect(etcd.beat?.seq).toBe(seq);
    expect(etcd.key('leader')?.value).toBe('b');
  });

  it('is kept by a primary whose window is open: nobody can have led since', async () => {
    await leads();
    noteRestored();
    await clock.pass(1_100);
    expect(held().windowOpen).toBe(true);
    expect(lost).toEqual([]);
  });
});

describe('etcd that answers again after a TTL without a word', () => {
  const restored = (): boolean =>
    keeper.note(readCluster(etcd.store.entries(), { ...etcd.header(), clusterId: 'two' }), clock.now(), clock.now());

  beforeEach(async () => {
    await leads();
    local = { downSince: clock.now(), isPrimary: false };
  });

  it('is read before anything is written: it may have been restored to before somebody else led', async () => {
    await clock.pass(1_100);
    expect(reads).toBe(0);
    const { seq } = etcd.beat ?? { seq: 0 };
    etcd.reachable = false;
    await clock.pass(25_000);
    readByAgent = restored;
    etcd.reachable = true;
    await clock.pass(5_000);
    expect(reads).toBeGreaterThan(0);
    expect(etcd.beat?.seq).toBe(seq);
    expect(keeper.leadership.kind).toBe('none');
  });

  it('is written to after a read that says what was known before', async () => {
    const { seq } = etcd.beat ?? { seq: 0 };
    etcd.reachable = false;
    for (let i = 0; i < 6; i++) {
      note();
      await clock.pass(4_000);
    }
    etcd.reachable = true;
    await clock.pass(2_000);
    expect(etcd.beat?.seq).toBeGreaterThan(seq);
    expect(held().windowOpen).toBe(true);
  });

  it('is not written to where it was not read either for so long: it may be a backup', async () => {
    const { seq } = etcd.beat ?? { seq: 0 };
    etcd.reachable = false;
    await clock.pass(25_000);
    etcd.reachable = true;
    await clock.pass(5_000);
    expect(etcd.beat?.seq).toBe(seq);
    expect(keeper.leadership.kind).toBe('none');
    expect(etcd.key('leader')?.value).toBe('b');
  });

  it('is given no release either: the next one would not wait for whoever leads', async () => {
    etcd.reachable = false;
    await clock.pass(25_000);
    await clock.outcome(keeper.release(END, null, []));
    readByAgent = restored;
    etcd.reachable = true;
    await clock.pass(5_000);
    expect(etcd.beat?.release ?? null).toBeNull();
    expect(etcd.key('leader')?.value).toBe('b');
  });

  it('is read first also by a clock that stood still', async () => {
    const { seq } = etcd.beat ?? { seq: 0 };
    await clock.pass(100);
    clock.suspended += 60_000;
    readByAgent = restored;
    await clock.pass(5_000);
    expect(etcd.beat?.seq).toBe(seq);
    expect(keeper.leadership.kind).toBe('none');
  });
});

describe('leadership that is left to run out', () => {
  it('is proven no more, and the key is left to its lease', async () => {
    await leads();
    await clock.outcome(keeper.resign('Postgres hangs in the kernel'));
    const { seq } = etcd.beat ?? { seq: 0 };
    const { arming } = guard;
    await clock.pass(5_000);
    expect(keeper.leadership.kind).toBe('none');
    expect(etcd.beat?.seq).toBe(seq);
    expect(etcd.key('leader')?.value).toBe('b');
    expect(guard.arming).toEqual(arming);
  });
});

describe('a runtime directory without room', () => {
  it('opens no window, and does not end the proofs', async () => {
    const write = state.write.bind(state);
    state.write = () => Promise.reject(new Error('ENOSPC'));
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    await clock.outcome(keeper.acquire(status, null, false));
    await clock.pass(2_000);
    expect(held().windowOpen).toBe(false);
    state.write = write;
    await clock.pass(500);
    expect(held().windowOpen).toBe(true);
  });
});

describe('a loss', () => {
  it('stops Postgres, forgets the term on disk, and leaves the guard armed', async () => {
    await leads();
    const { disarms } = guard;
    etcd.put('leader', 'c', THEIR_LEASE);
    await clock.pass(1_100);
    expect(lost).toHaveLength(1);
    expect(state.stored).toBeNull();
    expect(guard.disarms).toBe(disarms);
    expect(guard.arming).not.toBeNull();
  });

  it('is not concluded from a read alone, only from a refused beat', async () => {
    await leads();
    const stale = readCluster([], { clusterId: 'one', raftTerm: 2n, revision: revision(1) });
    keeper.note(stale, clock.now(), clock.now());
    await clock.pass(20);
    expect(lost).toEqual([]);
    expect(held().windowOpen).toBe(true);
  });
});

describe('a release', () => {
  beforeEach(async () => {
    await leads();
    local = { downSince: clock.now(), isPrimary: false };
  });

  it('deletes the key, names position and candidate, and lets the next one go at once', async () => {
    expect(await clock.outcome(keeper.release(END, nodeName('c'), []))).toBe(true);
    expect(etcd.key('leader')).toBeNull();
    expect(etcd.beat).toMatchObject({ holdMs: 0, release: { lsn: END, candidate: 'c' } });
    expect(keeper.leadership.kind).toBe('none');
    expect(state.stored).toBeNull();
    expect(guard.arming).toBeNull();
  });

  it('does what goes with it in the same transaction', async () => {
    const op = { op: 'put', key: 'failover', value: '{}', lease: null } as const;
    await clock.outcome(keeper.release(END, null, [op]));
    expect(etcd.key('failover')?.modRevision).toBe(etcd.key('status')?.modRevision);
  });

  it('of one who was not promoted leaves the published position as the leader before had it', async () => {
    await clock.outcome(keeper.release(lsn(END - 96n), null, [], { unpromoted: true }));
    expect(readCluster(etcd.store.entries(), etcd.header()).status).toMatchObject({
      optime: END,
      beat: { release: { lsn: END - 96n, unpromoted: true } },
    });
  });

  it('says that an operator asked for it, also when it has to be sent again', async () => {
    etcd.fault({ on: 'txn', when: writesKey('leader', 'delete'), loseRequest: true });
    await clock.outcome(keeper.release(END, nodeName('c'), [], { asked: true }));
    await clock.pass(2_000);
    expect(etcd.beat?.release).toEqual({ lsn: END, candidate: 'c', asked: true });
  });

  it('names no end for one that writes already, in maintenance: nobody else may lead before an operator says so', async () => {
    etcd.fault({ on: 'txn', when: writesKey('leader', 'delete'), loseRequest: true });
    await clock.outcome(keeper.release(END, nodeName('c'), [], {}, true));
    await clock.pass(2_000);
    expect(etcd.beat).toMatchObject({ holdMs: null, release: { lsn: END, candidate: 'c' } });
  });

  it('closes the window from sending on, whatever becomes of it (rule 18)', async () => {
    etcd.fault({ on: 'txn', when: writesKey('leader', 'delete'), loseRequest: true });
    const released = keeper.release(END, null, []);
    await clock.pass(5);
    expect(held()).toMatchObject({ windowOpen: false, releaseSent: true });
    expect(await clock.outcome(released)).toBe(false);
    expect(held().windowOpen).toBe(false);
  });

  it('is repeated until etcd says what became of it', async () => {
    for (let i = 0; i < 3; i++) etcd.fault({ on: 'txn', when: writesKey('leader', 'delete'), loseRequest: true });
    expect(await clock.outcome(keeper.release(END, null, []))).toBe(false);
    await clock.pass(5_000);
    expect(etcd.key('leader')).toBeNull();
    expect(keeper.leadership.kind).toBe('none');
  });

  it('whose answer was lost is known by the next try', async () => {
    etcd.fault({ on: 'txn', when: writesKey('leader', 'delete'), loseAnswer: true });
    expect(await clock.outcome(keeper.release(END, nodeName('c'), []))).toBe(false);
    const record = etcd.key('status')?.modRevision;
    await clock.pass(500);
    expect(keeper.leadership.kind).toBe('none');
    expect(etcd.key('status')?.modRevision).toBe(record);
  });

  it('is never sent with Postgres perhaps writing', async () => {
    local.downSince = null;
    await expect(clock.outcome(keeper.release(END, null, []))).rejects.toThrow(/release/);
    expect(etcd.key('leader')?.value).toBe('b');
  });

  it('never lets its lease carry a leader key again (rule 19)', async () => {
    const old = keeper.lease;
    await clock.outcome(keeper.release(END, null, []));
    note();
    await clock.outcome(keeper.acquire(etcd.key('status')?.modRevision ?? revision(0), null, false));
    expect(etcd.key('leader')?.value).toBe('b');
    expect(etcd.key('leader')?.lease).not.toBe(old);
  });

  it('is taken back only by a newer beat, which makes a delayed one void (story 2)', async () => {
    // The keeper repeats it by itself: that one is held back too.
    for (let i = 0; i < 2; i++) etcd.fault({ on: 'txn', when: writesKey('leader', 'delete'), delay: 6_000 });
    expect(await clock.outcome(keeper.release(END, null, []))).toBe(false);
    expect(await clock.outcome(keeper.reclaim())).toBe(true);
    expect(held()).toMatchObject({ windowOpen: true, releaseSent: false });
    await clock.pass(6_000);
    expect(etcd.applied.filter(writesKey('leader', 'delete'))).toHaveLength(2);
    expect(etcd.key('leader')?.value).toBe('b');
    expect(etcd.beat?.release).toBeNull();
    expect(held().windowOpen).toBe(true);
  });

  it('is not taken back by finding the key still there', async () => {
    for (let i = 0; i < 2; i++) etcd.fault({ on: 'txn', when: writesKey('leader', 'delete'), loseRequest: true });
    expect(await clock.outcome(keeper.release(END, null, []))).toBe(false);
    note();
    etcd.fault({ on: 'txn', when: isBeat, loseRequest: true });
    expect(await clock.outcome(keeper.reclaim())).toBe(false);
    expect(held()).toMatchObject({ windowOpen: false, releaseSent: true });
  });

  it('that landed after all cannot be taken back', async () => {
    etcd.fault({ on: 'txn', when: writesKey('leader', 'delete'), loseAnswer: true });
    expect(await clock.outcome(keeper.release(END, null, []))).toBe(false);
    await clock.outcome(keeper.reclaim());
    expect(keeper.leadership.kind).toBe('none');
    expect(etcd.key('leader')).toBeNull();
  });
});

describe('a daemon started again', () => {
  /** What an earlier process left: the key in etcd, its state on disk, the guard armed. */
  function leftBehind(over: { deadlineIn?: number | null; gatePassed?: boolean } = {}): Revision {
    const lease = leaseId('8001');
    const term = etcd.put('leader', 'b', lease);
    etcd.put('status', { optime: 1, pgha: { term: term.toString(), seq: 3, hold_ms: 10_000 } });
    const gatePassed = over.gatePassed ?? true;
    state.stored = {
      lease,
      ttl: TTL,
      term,
      dataDirectory: '/data',
      gatePassed,
      unbounded: false,
      ledAs: null,
      list: null,
    };
    const deadlineIn = over.deadlineIn === undefined ? 6_000 : over.deadlineIn;
    guard.arming = deadlineIn === null ? null : { deadline: instant(START + deadlineIn), dataDirectory: '/data' };
    return term;
  }

  it('knows whose cluster the earlier one led, and the next one whose this one does', async () => {
    leftBehind();
    state.stored = { ...(state.stored as StoredLeadership), ledAs: systemId('7001') };
    local = { downSince: null, isPrimary: true };
    await clock.outcome(keeper.start());
    expect(keeper.ledAs).toBe('7001');
    keeper.leadsAs(systemId('7002'));
    await clock.pass(10);
    expect(state.stored).toMatchObject({ ledAs: '7002' });
  });

  it("goes on with the guard's deadline for a window, never with a stored one (rule 25)", async () => {
    const term = leftBehind();
    local = { downSince: null, isPrimary: true };
    etcd.reachable = false;
    await clock.outcome(keeper.start());
    expect(held()).toMatchObject({ term, windowOpen: true, deadline: START + 6_000, until: START + 7_000 });
    await clock.pass(6_100);
    expect(held().windowOpen).toBe(false);
  });

  it('proves that leadership anew, and the window goes on', async () => {
    leftBehind();
    local = { downSince: null, isPrimary: true };
    await clock.outcome(keeper.start());
    await clock.pass(50);
    expect(held().until).toBeGreaterThan(START + 9_900);
    expect(lost).toEqual([]);
  });

  it('is not taken in by the numbers of beats that the earlier process sent', async () => {
    leftBehind();
    local = { downSince: null, isPrimary: true };
    await clock.outcome(keeper.start());
    await clock.pass(50);
    expect(etcd.beat?.seq).toBeGreaterThan(1_000);
  });

  it('gives the hold of what the guard still allows, when that is longer than the TTL (story 10)', async () => {
    leftBehind({ deadlineIn: 14_000 });
    local = { downSince: null, isPrimary: true };
    await clock.outcome(keeper.start());
    await clock.pass(50);
    expect(etcd.beat?.holdMs).toBeGreaterThan(14_900);
  });

  it('says nothing of a window that only a guard knows which does not answer, and waits for its gate', async () => {
    leftBehind({ deadlineIn: 14_000 });
    local = { downSince: null, isPrimary: true };
    guard.answers = false;
    await clock.outcome(keeper.start());
    expect(keeper.leadership.kind).toBe('none');
    await clock.pass(50);
    expect(etcd.beat?.seq).toBe(3);
    note();
    expect(keeper.leadership.kind).toBe('none');
    // Fenced: only then is the key found again, with the gate of a stranger.
    local = { downSince: clock.now(), isPrimary: false };
    note();
    expect(held()).toMatchObject({ windowOpen: false, gate: clock.now() + 10_000 });
  });

  it('loses when the key has another term by now', async () => {
    leftBehind();
    etcd.put('leader', 'c', THEIR_LEASE);
    local = { downSince: null, isPrimary: true };
    await clock.outcome(keeper.start());
    await clock.pass(100);
    expect(lost).toHaveLength(1);
  });

  it('has no window when the guard is not armed, and opens none over a running primary', async () => {
    leftBehind({ deadlineIn: null });
    local = { downSince: null, isPrimary: true };
    await clock.outcome(keeper.start());
    await clock.pass(2_000);
    expect(held().windowOpen).toBe(false);
  });

  it('sets no time for the others while a primary runs that no guard would end (protocol.md 10)', async () => {
    leftBehind({ deadlineIn: null });
    local = { downSince: null, isPrimary: true };
    await clock.outcome(keeper.start());
    await clock.pass(2_000);
    expect(etcd.beat?.seq).toBe(3);
    local = { downSince: clock.now(), isPrimary: false };
    await clock.pass(200);
    expect(etcd.beat?.seq).toBeGreaterThan(1_000);
    expect(etcd.beat?.holdMs).toBe(10_000);
  });

  it('goes on with a primary that no guard would end while the cluster is in maintenance', async () => {
    leftBehind({ deadlineIn: null });
    local = { downSince: null, isPrimary: true };
    paused = true;
    await clock.outcome(keeper.start());
    await clock.pass(50);
    expect(etcd.beat?.holdMs).toBeNull();
    expect(lost).toEqual([]);
  });

  it('forgets a term that never opened a window and waits for its gate like any other (story 7)', async () => {
    leftBehind({ gatePassed: false });
    await clock.outcome(keeper.start());
    expect(keeper.leadership.kind).toBe('none');
    expect(state.stored).toBeNull();
    note();
    expect(held()).toMatchObject({ windowOpen: false, gate: clock.now() + 10_000 });
    await clock.pass(9_900);
    expect(held().windowOpen).toBe(false);
  });

  describe('while etcd is away', () => {
    /** The process ends, or makes room; the next one knows no settings of the cluster yet. */
    async function startedAgain(): Promise<void> {
      await clock.outcome(keeper.handOn(millis(1_500)));
      settled = false;
      failsafe.on = false;
      paused = false;
      keeper = aKeeper();
      await clock.outcome(keeper.start());
    }

    it('in maintenance, goes on with the primary that no guard would end, without a deadline', async () => {
      await leads();
      paused = true;
      await clock.pass(1_100);
      etcd.reachable = false;
      await startedAgain();
      await clock.pass(60_000);
      expect(held()).toMatchObject({ windowOpen: true, until: Number.POSITIVE_INFINITY });
      etcd.reachable = true;
      await clock.pass(200);
      // Maintenance has ended meanwhile: the guard is armed before the first beat with a hold.
      settled = true;
      await clock.pass(1_100);
      expect(etcd.beat?.holdMs).toBe(10_000);
      expect(guard.arming?.deadline).toBe(held().deadline);
      expect([state.stored?.unbounded, lost]).toEqual([false, []]);
    });

    it('in maintenance, does not take the key again when an operator has made somebody lead meanwhile', async () => {
      await leads();
      paused = true;
      await clock.pass(1_100);
      await startedAgain();
      etcd.put('status', {
        optime: 1,
        pgha: { term: '999', seq: 1, hold_ms: 0, release: { lsn: '0/1', candidate: null } },
      });
      etcd.delete('leader');
      await clock.pass(1_100);
      expect([keeper.leadership.kind, lost.length]).toEqual(['none', 1]);
      expect(etcd.key('leader')).toBeNull();
    });

    it('goes on with the word of the list that the earlier process has written in this term', async () => {
      failsafe.on = true;
      await leads();
      await clock.pass(1_100);
      etcd.reachable = false;
      await clock.pass(1_000);
      await startedAgain();
      await clock.pass(60_000);
      expect(held()).toMatchObject({ windowOpen: true, provenBy: 'members' });
      expect(new Set(failsafe.asked.map(({ name }) => name))).toEqual(new Set(['a', 'c']));
      failsafe.answer = () => ({ kind: 'refused', why: 'the last status is of another term' });
      await clock.pass(11_000);
      expect(held().windowOpen).toBe(false);
    });

    it('asks those too whom a write has named that may still land', async () => {
      failsafe.on = true;
      await leads();
      await clock.pass(1_100);
      failsafe.wanted = ['a', 'b', 'c', 'd'];
      etcd.fault({ on: 'txn', when: writesKey('failsafe'), loseAnswer: true });
      await clock.pass(1_100);
      etcd.reachable = false;
      await startedAgain();
      failsafe.asked.length = 0;
      await clock.pass(10_000);
      expect(new Set(failsafe.asked.map(({ name }) => name))).toEqual(new Set(['a', 'c', 'd']));
    });

    it('asks nobody where nothing was written in this term, and after its window has passed', async () => {
      await leads();
      await clock.pass(1_100);
      etcd.reachable = false;
      await startedAgain();
      await clock.pass(11_000);
      expect([failsafe.asked, held().windowOpen]).toEqual([[], false]);
    });
  });

  it('finds a window that was proven a moment before the earlier process made room', async () => {
    await leads();
    await clock.pass(900);
    const before = held().until;
    await clock.outcome(keeper.handOn(millis(1_500)));
    expect(held().until).toBeGreaterThan(before);
    const beats = etcd.beat?.seq;
    await clock.pass(3_000);
    expect(etcd.beat?.seq).toBe(beats);
  });

  it('takes nothing up that was stored for another data directory', async () => {
    leftBehind();
    if (state.stored !== null) state.stored = { ...state.stored, dataDirectory: '/elsewhere' };
    await clock.outcome(keeper.start());
    expect(keeper.leadership.kind).toBe('none');
  });
});

describe('maintenance', () => {
  it('writes no hold, disarms the guard, and knows no deadline', async () => {
    await leads();
    paused = true;
    await clock.pass(1_100);
    expect(etcd.beat?.holdMs).toBeNull();
    expect(guard.arming).toBeNull();
    etcd.reachable = false;
    await clock.pass(60_000);
    expect(held().windowOpen).toBe(true);
    expect(lost).toEqual([]);
  });

  it('doubts a clock that has stood still until the next beat has landed, and no longer', async () => {
    await leads();
    local = { downSince: LONG_AGO, isPrimary: false };
    paused = true;
    await clock.pass(1_100);
    clock.suspended += 60_000;
    expect(keeper.clocksDoubted).toBe(true);
    expect(held().windowOpen).toBe(false);
    await clock.pass(1_100);
    expect(keeper.clocksDoubted).toBe(false);
    expect(held().windowOpen).toBe(true);
  });

  it('ends with a new window for the primary that ran all the time', async () => {
    await leads();
    paused = true;
    await clock.pass(20_000);
    paused = false;
    await clock.pass(1_100);
    expect(etcd.beat?.holdMs).toBe(10_000);
    expect(held().windowOpen).toBe(true);
    expect(Number.isFinite(held().until)).toBe(true);
    expect(guard.arming?.deadline).toBe(held().deadline);
  });
});

describe('the end of maintenance', () => {
  beforeEach(async () => {
    await leads();
    paused = true;
    await clock.pass(1_100);
    paused = false;
  });

  it('bounds the window before the first beat with a hold is sent, which may land unanswered', async () => {
    etcd.fault({
      on: 'txn',
      when: isBeat,
      loseAnswer: true,
      first: () => {
        expect(Number.isFinite(held().until)).toBe(true);
        expect(guard.arming?.deadline).toBe(held().deadline);
      },
    });
    await clock.pass(1_100);
    expect(etcd.faults).toEqual([]);
    expect(etcd.beat?.holdMs).toBe(10_000);
    expect(held().windowOpen).toBe(true);
  });

  it('waits for the guard: without it maintenance goes on', async () => {
    guard.answers = false;
    await clock.pass(5_000);
    expect(etcd.beat?.holdMs).toBeNull();
    guard.answers = true;
    await clock.pass(2_000);
    expect(etcd.beat?.holdMs).toBe(10_000);
  });
});

describe('maintenance between winning and promoting', () => {
  it('leaves no window open when it ends: its guard has stood down', async () => {
    await leads();
    local = { downSince: LONG_AGO, isPrimary: false };
    paused = true;
    await clock.pass(1_100);
    guard.answers = false;
    paused = false;
    await clock.pass(1_100);
    expect(held().windowOpen).toBe(false);
    guard.answers = true;
    await clock.pass(2_000);
    expect(held().windowOpen).toBe(true);
    expect(guard.arming?.deadline).toBe(held().deadline);
  });
});

describe('maintenance with a guard that does not stand down', () => {
  it('keeps its deadline: the guard would strike at it', async () => {
    await leads();
    guard.answers = false;
    paused = true;
    await clock.pass(1_100);
    expect(Number.isFinite(held().deadline)).toBe(true);
  });

  it('arms it again before a beat names an end: it may have stood down when nobody was listening any more', async () => {
    await leads();
    guard.answers = false;
    paused = true;
    await clock.pass(1_100);
    guard.arming = null;
    guard.answers = true;
    paused = false;
    let armed: unknown = null;
    etcd.fault({
      on: 'txn',
      when: isBeat,
      first: () => {
        armed = guard.arming;
      },
    });
    await clock.pass(1_100);
    expect(armed).not.toBeNull();
    expect(etcd.beat?.holdMs).toBe(10_000);
    expect(held().windowOpen).toBe(true);
    expect((guard as FakeGuard).arming?.deadline).toBe(held().deadline);
  });
});

describe('a change of the TTL', () => {
  it('moves key and term to a new lease together, with a hold that covers what is open (rule 8)', async () => {
    await leads();
    const { term, until } = held();
    const old = keeper.lease;
    wantedTtl = seconds(5);
    let swappedAt = 0;
    etcd.fault({
      on: 'txn',
      when: writesKey('leader'),
      first: () => {
        swappedAt = clock.now();
      },
    });
    await clock.pass(1_005);
    const swapHold = etcd.beat?.holdMs;
    expect(etcd.key('leader')?.lease).not.toBe(old);
    expect(held()).toMatchObject({ ttl: 5_000, term: etcd.key('leader')?.modRevision });
    expect(held().term).toBeGreaterThan(term);
    expect(held().until).toBeGreaterThanOrEqual(until);
    expect(swapHold).toBeGreaterThanOrEqual(Math.floor(until - swappedAt));
    await clock.pass(20_000);
    expect(held().windowOpen).toBe(true);
    expect(etcd.beat?.holdMs).toBe(5_000);
    expect(lost).toEqual([]);
  });

  it('names no end in maintenance, like every beat', async () => {
    await leads();
    wantedTtl = seconds(20);
    paused = true;
    // The answer is lost, and no beat can follow it.
    const cutOff = (): void => {
      etcd.reachable = false;
    };
    etcd.fault({ on: 'txn', when: writesKey('leader'), first: cutOff });
    await clock.pass(2_000);
    expect(etcd.key('leader')?.modRevision).toBe(etcd.key('status')?.modRevision);
    expect(etcd.beat?.holdMs).toBeNull();
  });

  it('is found again when the answer of the change was lost', async () => {
    await leads();
    wantedTtl = seconds(20);
    etcd.fault({ on: 'txn', when: writesKey('leader'), loseAnswer: true });
    await clock.pass(6_000);
    expect(lost).toEqual([]);
    expect(held().term).toBe(etcd.key('leader')?.modRevision);
    expect(held().windowOpen).toBe(true);
  });
});

describe('a primary that is taken in as it runs', () => {
  it('gets its first window without having been down', async () => {
    local = { downSince: null, isPrimary: true };
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    await clock.outcome(keeper.acquire(status, null, true));
    expect(held().adopting).toBe(true);
    await clock.pass(20);
    expect(held()).toMatchObject({ adopting: false, windowOpen: true });
  });

  it('gets none when it is not taken in on purpose', async () => {
    local = { downSince: null, isPrimary: true };
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    await clock.outcome(keeper.acquire(status, null, false));
    await clock.pass(3_000);
    expect(held().windowOpen).toBe(false);
  });
});

describe('taking a primary in', () => {
  it('ends when no proof comes in half a TTL: only the lease would speak for it', async () => {
    local = { downSince: null, isPrimary: true };
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    guard.answers = false;
    await clock.outcome(keeper.acquire(status, null, true));
    await clock.pass(4_900);
    expect(held().adopting).toBe(true);
    await clock.pass(200);
    expect(held()).toMatchObject({ adopting: false, windowOpen: false });
  });
});

describe('the lease', () => {
  it('is kept alive for the member key also without leading', async () => {
    await keeper.start();
    await clock.pass(10);
    const { lease } = keeper;
    expect(lease).not.toBeNull();
    await clock.pass(30_000);
    expect(keeper.lease).toBe(lease);
  });

  it('is replaced when etcd has lost it', async () => {
    await keeper.start();
    await clock.pass(10);
    const { lease } = keeper;
    etcd.leases.clear();
    await clock.pass(3_000);
    expect(keeper.lease).not.toBeNull();
    expect(keeper.lease).not.toBe(lease);
  });
});

describe('the gate of a candidate', () => {
  it('is told when etcd was replaced, and starts anew', async () => {
    gateFor(0);
    await clock.pass(100);
    etcd.clusterId = 'two';
    note();
    expect(log.events).toContain('dcs.history-restarted');
    expect(keeper.gate).toMatchObject({ clusterId: 'two', opensAt: clock.now() + 10_000 });
  });

  it('of a status without a hold is the TTL that the cluster’s settings name', () => {
    etcd.put('status', { optime: 1 });
    etcd.put('config', { ttl: 25 });
    note();
    expect(keeper.gate?.opensAt).toBe(laterBy(clock.now(), millis(25_000)));
  });
});

describe('without etcd, in failsafe mode', () => {
  const list = { a: 'http://a', b: 'http://b', c: 'http://c' };

  beforeEach(() => {
    failsafe.on = true;
  });

  it('keeps the list in etcd, conditional on its term and on the list that was there', async () => {
    await leads();
    await clock.pass(1_200);
    expect(JSON.parse(etcd.key('failsafe')?.value ?? '{}')).toEqual(list);
    const txn = etcd.applied.find((one) => one.success.some((op) => op.op === 'put' && op.key === 'failsafe'));
    expect(txn?.compare.map(({ key }) => key)).toEqual(['leader', 'leader', 'failsafe']);
    failsafe.wanted = ['a', 'b', 'c', 'd'];
    await clock.pass(1_200);
    expect(Object.keys(JSON.parse(etcd.key('failsafe')?.value ?? '{}'))).toEqual(['a', 'b', 'c', 'd']);
  });

  it('empties the list when the mode is switched off, and writes none that was never there', async () => {
    await leads();
    await clock.pass(1_200);
    failsafe.on = false;
    await clock.pass(1_200);
    expect(etcd.key('failsafe')?.value).toBe('{}');
  });

  it('leaves none to the next process where the emptied one may have landed', async () => {
    await leads();
    await clock.pass(1_200);
    expect(state.stored?.list).not.toBeNull();
    failsafe.on = false;
    etcd.fault({
      on: 'txn',
      when: writesKey('failsafe'),
      loseAnswer: true,
      first: () => {
        etcd.reachable = false;
      },
    });
    await clock.pass(1_200);
    expect(etcd.key('failsafe')?.value).toBe('{}');
    expect(state.stored?.list).toBeNull();
  });

  it('goes on for as long as all members confirm, with every window counted from the asking', async () => {
    await leads();
    await clock.pass(1_200);
    etcd.reachable = false;
    const gone = clock.now();
    await clock.pass(30_000);
    expect(held()).toMatchObject({ windowOpen: true, provenBy: 'members' });
    expect(held().until).toBeGreaterThan(gone + 35_000);
    expect(held().until).toBeLessThanOrEqual(clock.now() + 10_000);
    expect(guard.arming?.deadline).toBe(held().deadline);
    expect(new Set(failsafe.asked.map(({ name }) => name))).toEqual(new Set(['a', 'c']));
    expect(failsafe.asked[0]?.request).toMatchObject({ name: 'b', to: 'a', term: held().term, hold: 10_000 });
    etcd.reachable = true;
    await clock.pass(3_000);
    expect(held()).toMatchObject({ windowOpen: true, provenBy: 'etcd' });
    expect(log.events.filter((event) => event.startsWith('failsafe.'))).toEqual([
      'failsafe.listed',
      'failsafe.entered',
      'failsafe.left',
    ]);
  });

  it('stops when one of them does not: most of them are not enough (story 18)', async () => {
    await leads();
    await clock.pass(1_200);
    failsafe.answer = (name) =>
      name === 'c' ? { kind: 'refused', why: 'no answer' } : { kind: 'confirmed', position: null };
    const { until } = held();
    etcd.reachable = false;
    await clock.pass(12_000);
    expect(held().windowOpen).toBe(false);
    expect(held().until).toBeLessThanOrEqual(until + 1_000);
    expect(log.lines.find(({ event }) => event === 'failsafe.refused')?.sentence).toContain('c: no answer');
  });

  it('asks nobody while the mode is off, or before it has written the list itself', async () => {
    failsafe.on = false;
    etcd.put('failsafe', list);
    await leads();
    etcd.reachable = false;
    await clock.pass(8_000);
    failsafe.on = true;
    await clock.pass(4_000);
    expect(failsafe.asked).toEqual([]);
    expect(held().windowOpen).toBe(false);
  });

  it('asks those of both lists while it does not know which of them stands', async () => {
    await leads();
    await clock.pass(1_200);
    failsafe.wanted = ['a', 'b', 'd'];
    etcd.fault({ on: 'txn', when: writesKey('failsafe'), loseAnswer: true });
    await clock.pass(1_100);
    etcd.reachable = false;
    await clock.pass(9_000);
    expect(new Set(failsafe.asked.map(({ name }) => name))).toEqual(new Set(['a', 'c', 'd']));
  });

  it('asks nobody by a list that is gone, until it has written it anew', async () => {
    await leads();
    await clock.pass(1_200);
    for (const [gone, then] of [
      ['failsafe', () => note()],
      ['leader', () => undefined],
    ] as const) {
      etcd.delete(gone);
      then();
      etcd.fault({ on: 'txn', when: writesKey('failsafe'), loseRequest: true });
      await clock.pass(1_100);
      etcd.reachable = false;
      await clock.pass(4_000);
      expect(failsafe.asked, gone).toEqual([]);
      etcd.reachable = true;
      await clock.pass(3_000);
      expect(JSON.parse(etcd.key('failsafe')?.value ?? '{}')).toEqual(list);
    }
    etcd.reachable = false;
    await clock.pass(4_000);
    expect(failsafe.asked).not.toEqual([]);
  });

  it('asks nobody after it has sent a release', async () => {
    await leads();
    await clock.pass(1_200);
    etcd.reachable = false;
    local = { downSince: clock.now(), isPrimary: false };
    await clock.outcome(keeper.release(END, null, []));
    await clock.pass(8_000);
    expect(failsafe.asked).toEqual([]);
    expect(held().windowOpen).toBe(false);
  });

  it('takes no key while it does not stand in the list, whatever the mode is', async () => {
    failsafe.on = false;
    etcd.put('failsafe', { a: 'http://a', c: 'http://c' });
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('refused');
    etcd.put('failsafe', list);
    note();
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('ours');
  });

  it('takes no key when the list changes at that very moment', async () => {
    const status = lastLeaderSaid(0);
    await keeper.start();
    await clock.pass(10);
    note();
    etcd.put('failsafe', { a: 'http://a', c: 'http://c' });
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('refused');
    expect(etcd.key('leader')).toBeNull();
  });
});

describe('asked by a leader without etcd', () => {
  const request = (over: Partial<FailsafeRequest> = {}): FailsafeRequest => ({
    name: nodeName('a'),
    to: nodeName('b'),
    term: revision(1),
    slots: new Map(),
    hold: TTL,
    ...over,
  });

  it('confirms, and is behind that from then on, whatever status says (rule 31)', async () => {
    lastLeaderSaid(10_000);
    await keeper.start();
    await clock.pass(10);
    note();
    await clock.pass(9_000);
    expect(await clock.outcome(keeper.confirm(request()))).toBeNull();
    expect(keeper.confirmed?.to).toBe('a');
    const status = lastLeaderSaid(0, { term: revision(9) });
    note();
    await clock.pass(9_000);
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('refused');
    await clock.pass(1_100);
    expect(keeper.confirmed).toBeNull();
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('ours');
  });

  it('does not confirm once it has sent an acquire, also one whose answer was lost', async () => {
    const status = lastLeaderSaid(100);
    await keeper.start();
    await clock.pass(10);
    note();
    await clock.pass(200);
    etcd.fault({ on: 'txn', when: writesKey('leader'), loseRequest: true });
    expect(await clock.outcome(keeper.acquire(status, null, false))).toBe('unknown');
    expect(await clock.outcome(keeper.confirm(request()))).toContain('asked for the key');
  });

  it('does not confirm while a term of its own stands on disk', async () => {
    lastLeaderSaid(10_000);
    await keeper.start();
    await clock.pass(10);
    note();
    const stored = { lease: THEIR_LEASE, ttl: TTL, term: revision(3), dataDirectory: '/data', gatePassed: true };
    state.stored = { ...stored, unbounded: false, ledAs: null, list: null };
    expect(await clock.outcome(keeper.confirm(request()))).toContain('has led');
  });
});
