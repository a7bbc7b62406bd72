/**
 * What the model of etcd can do to a client beyond what one healthy member does: elections, stuck leaders, links that
 * lose and hold requests. The plain behaviour is in test/contract/dcs.test.ts, side by side with the real etcd.
 */
import { beforeEach, describe, expect, it } from 'vitest';
import type { LeaseId, Op, Txn } from '../../../src/core/store.ts';
import { ABSENT } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import type { Change, Dcs } from '../../../src/ports/dcs.ts';
import { EtcdModel } from '../../sim/models/etcd.ts';
import { SeededRandom } from '../../sim/world/random.ts';
import { EventQueue } from '../../sim/world/scheduler.ts';

const LIMIT = millis(1_500);

let queue: EventQueue;
let model: EtcdModel;
let a: Dcs;
let revoked: string[];

beforeEach(() => build('seed'));

function build(seed: string, members = 3): void {
  queue = new EventQueue();
  model = new EtcdModel(queue, new SeededRandom(seed), { members });
  a = model.client('a');
  revoked = [];
  model.onRevoked((_lease, why) => revoked.push(why));
}

async function outcomeOf<T>(promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = promise.finally(() => {
    settled = true;
  });
  await queue.run(
    queue.now() + 60_000,
    () => undefined,
    () => settled,
  );
  return done;
}

async function pass(ms: number): Promise<void> {
  await queue.run(
    queue.now() + ms,
    () => undefined,
    () => false,
  );
}

const put = (key: string, value: string, lease: LeaseId | null = null): Op => ({ op: 'put', key, value, lease });
const always = (...success: Op[]): Txn => ({
  compare: [{ key: 'never', createRevision: ABSENT }],
  success,
  failure: [],
});

async function lease(ttlMs: number): Promise<LeaseId> {
  const answer = await outcomeOf(a.grant(millis(ttlMs), LIMIT));
  if (answer.kind !== 'granted') throw new Error(answer.cause);
  return answer.lease;
}

async function leading(ttlMs: number): Promise<LeaseId> {
  const id = await lease(ttlMs);
  await outcomeOf(a.txn(always(put('leader', 'a', id)), LIMIT));
  return id;
}

describe('the model of etcd', () => {
  it('tells the same story for the same seed', async () => {
    const story = async (): Promise<string> => {
      build('same');
      const told: unknown[] = [];
      model.onApplied((txn, by, at) => told.push([queue.now(), by, at.toString(), txn.success.length]));
      model.link('a').set({ answerLost: 0.3, requestLost: 0.2, held: 0.2 });
      a.watch((changes) => told.push([queue.now(), changes?.length ?? null]));
      for (let i = 0; i < 30; i++) {
        if (i === 10) model.killLeader();
        told.push((await outcomeOf(a.txn(always(put('status', String(i))), LIMIT))).kind);
      }
      return JSON.stringify(told);
    };
    expect(await story()).toBe(await story());
  });

  it('applies a transaction whose answer it loses', async () => {
    model.dropNext('a', { what: 'lose-answer', kind: 'txn' });
    expect((await outcomeOf(a.txn(always(put('status', 'x')), LIMIT))).kind).toBe('unknown');
    expect(model.keyNow('status')?.value).toBe('x');
    expect((await outcomeOf(a.txn(always(put('status', 'y')), LIMIT))).kind).toBe('answered');
  });

  it('answers out of a second copy when only the first is lost, as hedging does', async () => {
    model.dropNext('a', { what: 'lose-request', allCopies: false });
    expect((await outcomeOf(a.txn(always(put('status', 'x')), LIMIT))).kind).toBe('answered');
    expect(queue.now()).toBeGreaterThan(200);
  });

  it('applies a held transaction after its sender gave up', async () => {
    model.dropNext('a', { what: 'hold', heldMs: 5_000, when: (txn) => txn.success.length > 0 });
    expect((await outcomeOf(a.txn(always(put('status', 'late')), LIMIT))).kind).toBe('unknown');
    expect(model.keyNow('status')).toBeNull();
    await pass(6_000);
    expect(model.keyNow('status')?.value).toBe('late');
  });

  it('refuses the late copy of a conditional transaction', async () => {
    const first = await outcomeOf(a.txn(always(put('status', '1')), LIMIT));
    if (first.kind !== 'answered') throw new Error(first.kind);
    const compare = [{ key: 'status', modRevision: first.header.revision }];
    model.dropNext('a', { what: 'hold', heldMs: 3_000 });
    await outcomeOf(a.txn({ compare, success: [put('status', 'late')], failure: [] }, LIMIT));
    await outcomeOf(a.txn({ compare, success: [put('status', 'now')], failure: [] }, LIMIT));
    await pass(5_000);
    expect(model.keyNow('status')?.value).toBe('now');
  });

  it('goes on with two of three members, hangs with one, and is back after an election', async () => {
    model.setMember(2, 'down');
    expect((await outcomeOf(a.read(LIMIT))).kind).toBe('answered');
    model.setMember(1, 'frozen');
    const before = queue.now();
    expect((await outcomeOf(a.read(LIMIT))).kind).toBe('unanswered');
    expect(queue.now() - before).toBeLessThan(1_501);
    model.setMember(2, 'up');
    await pass(2_000);
    expect((await outcomeOf(a.read(LIMIT))).kind).toBe('answered');
  });

  it('starts every lease afresh under a new leader, in a new term', async () => {
    const id = await leading(5_000);
    const term = model.leaderNow()?.term ?? 0n;
    await pass(4_000);
    model.killLeader();
    await pass(2_000);
    expect(model.leaderNow()?.term).toBe(term + 1n);
    expect((model.leaseDeadline(id) ?? 0) - queue.now()).toBeGreaterThan(5_000);
    await pass(8_000);
    expect(model.keyNow('leader')).toBeNull();
    expect(revoked).toEqual(['expired']);
  });

  it('confirms a lease through a stuck leader in its old term, while the majority has moved on', async () => {
    const id = await leading(5_000);
    const stuck = model.stuckLeader(30_000, { revokes: false });
    await pass(2_500);
    // This client reaches nobody but the stuck one.
    model.link('a').set({ cutFrom: [0, 1, 2].filter((member) => member !== stuck) });
    for (let i = 0; i < 8; i++) {
      expect(await outcomeOf(a.keepAlive(id, LIMIT))).toMatchObject({ kind: 'renewed', header: { raftTerm: 2n } });
      expect((await outcomeOf(a.txn(always(put('status', 'x')), millis(500)))).kind).toBe('unknown');
      await pass(1_000);
    }
    expect(model.leaderNow()?.term).toBe(3n);
    expect(model.keyNow('leader')).toBeNull();
  });

  it('revokes a lease early when the stuck leader wakes, although it was renewed all the time', async () => {
    const id = await leading(5_000);
    const stuck = model.stuckLeader(12_000);
    model.link('a').set({ cutFrom: stuck === null ? [] : [stuck] });
    const renewals: string[] = [];
    for (let i = 0; i < 20 && revoked.length === 0; i++) {
      renewals.push((await outcomeOf(a.keepAlive(id, LIMIT))).kind);
      await pass(600);
    }
    expect(renewals.slice(3)).toContain('renewed');
    expect(revoked).toEqual(['early']);
    expect(model.keyNow('leader')).toBeNull();
  });

  it('does no harm with a stuck leader that is healed before its time', async () => {
    await leading(5_000);
    const stuck = model.stuckLeader(12_000) ?? 0;
    await pass(2_000);
    model.setMember(stuck, 'up');
    await pass(20_000);
    expect(revoked).toEqual(['expired']);
  });

  it('answers keepalives and refuses puts when it is out of space', async () => {
    const id = await leading(5_000);
    model.setOutOfSpace(true);
    expect((await outcomeOf(a.keepAlive(id, LIMIT))).kind).toBe('renewed');
    expect(await outcomeOf(a.txn(always(put('status', 'x')), LIMIT))).toMatchObject({
      kind: 'failed',
      reason: 'no-space',
    });
    expect((await outcomeOf(a.txn(always({ op: 'delete', key: 'leader' }), LIMIT))).kind).toBe('answered');
  });

  it('takes a good lease away early on request', async () => {
    const id = await leading(5_000);
    model.expireLeaseEarly(id);
    await pass(100);
    expect(model.keyNow('leader')).toBeNull();
    expect((await outcomeOf(a.keepAlive(id, LIMIT))).kind).toBe('gone');
  });

  it('goes back in revision, with another cluster id, when it is restored', async () => {
    const backup = model.backup();
    await leading(5_000);
    model.restore(backup, { newCluster: true });
    const answer = await outcomeOf(a.read(LIMIT));
    expect(answer).toMatchObject({ kind: 'answered', entries: [], header: { clusterId: '1002', revision: 5_000n } });
  });

  it('has the leases of the backup again, which begin anew, and the keys that hang on them', async () => {
    const id = await leading(5_000);
    const backup = model.backup();
    await pass(4_000);
    model.expireLeaseEarly(id);
    await pass(100);
    expect(model.keyNow('leader')).toBeNull();
    model.restore(backup, { newCluster: false });
    await pass(4_000);
    expect(model.keyNow('leader')).not.toBeNull();
    expect((await outcomeOf(a.keepAlive(id, LIMIT))).kind).toBe('renewed');
    await pass(7_000);
    expect(model.keyNow('leader')).toBeNull();
  });

  it('takes nothing any more while it is stopped for that, and what was applied before is told', async () => {
    const backup = model.backup();
    const b = model.client('b');
    const hints: (readonly Change[] | null)[] = [];
    b.watch((changes) => hints.push(changes));
    await pass(100);
    await outcomeOf(a.txn(always(put('status', 'x')), LIMIT));
    model.stop();
    await pass(100);
    expect(hints.at(-1)).toMatchObject([{ key: 'status' }]);
    expect((await outcomeOf(a.read(LIMIT))).kind).toBe('unanswered');
    model.restore(backup, { newCluster: false });
    expect((await outcomeOf(a.read(LIMIT))).kind).toBe('answered');
  });

  it('breaks a watch that is cut off, and says afterwards that anything may have changed', async () => {
    const b = model.client('b');
    const hints: (readonly Change[] | null)[] = [];
    b.watch((changes) => hints.push(changes));
    await pass(100);
    model.link('b').set({ cutFrom: 'all' });
    await outcomeOf(a.txn(always(put('status', 'x')), LIMIT));
    await pass(4_000);
    expect(hints).toEqual([null]);
    model.link('b').set({ cutFrom: [] });
    await pass(2_000);
    expect(hints).toEqual([null, null]);
    await outcomeOf(a.txn(always(put('status', 'y')), LIMIT));
    await pass(100);
    expect(hints.at(-1)).toMatchObject([{ key: 'status' }]);
  });

  it('keeps every limit, whatever it draws', async () => {
    for (let seed = 0; seed < 20; seed++) {
      build(`limits-${seed}`);
      const chance = new SeededRandom(`faults-${seed}`);
      model.link('a').set({ answerLost: 0.2, requestLost: 0.2, held: 0.2, hintsBroken: 0.2 });
      a.watch(() => undefined);
      const states = ['up', 'down', 'frozen', 'isolated', 'up', 'up'] as const;
      for (let i = 0; i < 40; i++) {
        model.setMember(chance.whole(0, 2), chance.pick(states));
        if (chance.chance(0.1)) model.stuckLeader(5_000);
        const before = queue.now();
        await outcomeOf(a.txn(always(put('status', String(i))), millis(700)));
        expect(queue.now() - before).toBeLessThan(701);
      }
      for (let i = 0; i < 3; i++) model.setMember(i, 'up');
      await pass(10_000);
      model.link('a').set({ answerLost: 0, requestLost: 0, held: 0 });
      expect((await outcomeOf(a.read(LIMIT))).kind).toBe('answered');
    }
  });
});
