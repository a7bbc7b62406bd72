/**
 * The transactions that take, prove, keep and give up leadership. Their conditions are written out here in full: each
 * one stands for a story in which two nodes wrote at once because it was missing (protocol.md 9).
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readStatusKey } from '../../../src/core/cluster.ts';
import {
  acquireTxn,
  beatTxn,
  begin,
  holdFor,
  isProof,
  judgeRefusedBeat,
  releaseTxn,
  retakeTxn,
  type StatusFields,
  swapLeaseTxn,
  type Tenure,
  takeOverTxn,
  windowAfter,
} from '../../../src/core/leadership.ts';
import { type KeyValue, leaseId, nodeName, type Revision, revision, type Txn } from '../../../src/core/store.ts';
import { type Instant, instant, LONG_AGO, millis, seconds } from '../../../src/core/time.ts';
import { END } from './builders.ts';

const SELF = nodeName('b');
const LEASE = leaseId('7');
const TERM = revision(40);
const R = revision(50);
const FIELDS: StatusFields = { optime: END, slots: new Map(), retainSlots: [], leader: null, location: null };

const aTenure = (over: Partial<Tenure> = {}): Tenure => ({
  ...begin(TERM, LEASE, seconds(10), R, LONG_AGO),
  seq: 7,
  ...over,
});

const leaderIsOurs = [
  { key: 'leader', modRevision: TERM },
  { key: 'leader', lease: LEASE },
];
const readBoth = [
  { op: 'get', key: 'leader' },
  { op: 'get', key: 'status' },
];

/** The beat in the `status` that this transaction writes, as read when it was applied at `at`. */
function writtenBeat(txn: Txn, at: Revision = revision(51)) {
  const put = txn.success.find((op) => op.op === 'put' && op.key === 'status');
  if (put?.op !== 'put') throw new Error('no status is written');
  expect(put.lease).toBeNull();
  return readStatusKey({ key: 'status', value: put.value, createRevision: at, modRevision: at, lease: null }).beat;
}

describe('the beat', () => {
  const txn = beatTxn(aTenure(), 8, millis(10_000), FIELDS);

  it('is conditional on the term, the lease, and the last known status', () => {
    expect(txn.compare).toEqual([...leaderIsOurs, { key: 'status', modRevision: R }]);
    expect(txn.failure).toEqual(readBoth);
  });

  it('writes status and never the leader key', () => {
    expect(txn.success.map((op) => [op.op, op.key])).toEqual([['put', 'status']]);
    expect(writtenBeat(txn)).toEqual({ term: TERM, seq: 8, holdMs: 10_000, release: null });
  });

  it('says in maintenance that no time opens the gate', () => {
    expect(writtenBeat(beatTxn(aTenure(), 8, null, FIELDS))?.holdMs).toBeNull();
  });
});

describe('an acquire', () => {
  it('is conditional on a free key, the status whose gate has passed, and the failsafe list that was read', () => {
    const txn = acquireTxn(SELF, LEASE, R, revision(12));
    expect(txn.compare).toEqual([
      { key: 'leader', createRevision: 0n },
      { key: 'status', modRevision: R },
      { key: 'failsafe', modRevision: 12n },
    ]);
    expect(txn.success).toEqual([{ op: 'put', key: 'leader', value: 'b', lease: LEASE }]);
    expect(txn.failure).toEqual(readBoth);
  });

  it('of a key that still stands is conditional on the very term that status names', () => {
    const txn = takeOverTxn(SELF, LEASE, revision(33), R, revision(0));
    expect(txn.compare).toEqual([
      { key: 'leader', modRevision: 33n },
      { key: 'status', modRevision: R },
      { key: 'failsafe', modRevision: 0n },
    ]);
    expect(txn.success).toEqual([{ op: 'put', key: 'leader', value: 'b', lease: LEASE }]);
    expect(txn.failure).toEqual(readBoth);
  });
});

describe('taking a vanished key again', () => {
  it('is conditional on a free key and our own last status, and carries a beat of its own term', () => {
    const txn = retakeTxn(SELF, LEASE, R, 8, millis(10_000), FIELDS);
    expect(txn.compare).toEqual([
      { key: 'leader', createRevision: 0n },
      { key: 'status', modRevision: R },
    ]);
    expect(txn.success[0]).toEqual({ op: 'put', key: 'leader', value: 'b', lease: LEASE });
    expect(writtenBeat(txn, revision(77))).toEqual({ term: 77n, seq: 8, holdMs: 10_000, release: null });
    expect(txn.failure).toEqual(readBoth);
  });
});

describe('a change of lease', () => {
  it('moves the key to the new lease in one step, conditional on the old one, with a beat of the new term', () => {
    const txn = swapLeaseTxn(SELF, aTenure(), leaseId('8'), 9, millis(20_000), FIELDS);
    expect(txn.compare).toEqual([...leaderIsOurs, { key: 'status', modRevision: R }]);
    expect(txn.success[0]).toEqual({ op: 'put', key: 'leader', value: 'b', lease: leaseId('8') });
    expect(writtenBeat(txn, revision(78))).toEqual({ term: 78n, seq: 9, holdMs: 20_000, release: null });
    expect(txn.failure).toEqual(readBoth);
  });
});

describe('a release', () => {
  const released = (gate: Instant) =>
    releaseTxn(aTenure({ gate }), 9, instant(1_000), { lsn: END, candidate: nodeName('c') }, FIELDS);

  it('deletes the key and writes its record in one step, conditional on term, lease and status', () => {
    const txn = released(LONG_AGO);
    expect(txn.compare).toEqual([...leaderIsOurs, { key: 'status', modRevision: R }]);
    expect(txn.success.map((op) => [op.op, op.key])).toEqual([
      ['delete', 'leader'],
      ['put', 'status'],
    ]);
    expect(txn.failure).toEqual(readBoth);
  });

  it('lets the next one go at once', () => {
    expect(writtenBeat(released(LONG_AGO))).toEqual({
      term: TERM,
      seq: 9,
      holdMs: 0,
      release: { lsn: END, candidate: 'c' },
    });
  });

  it('hands on what is left of a gate that it has not waited for itself (story 8)', () => {
    expect(writtenBeat(released(instant(4_000.2)))?.holdMs).toBe(3_001);
    expect(writtenBeat(released(instant(1_000)))?.holdMs).toBe(0);
  });
});

describe('the hold of a beat', () => {
  it('is only the rest of the gate while that has not passed', () => {
    expect(holdFor(aTenure({ gate: instant(5_000) }), instant(2_000))).toBe(3_000);
    expect(holdFor(aTenure({ gate: instant(5_000) }), instant(4_999.5))).toBe(1);
  });

  it('is the full TTL from the instant of the gate on', () => {
    expect(holdFor(aTenure({ gate: instant(5_000) }), instant(5_000))).toBe(10_000);
  });

  it('is never less than what is still open here, when the TTL was lowered (story 10)', () => {
    expect(holdFor(aTenure({ until: instant(25_000) }), instant(5_000), seconds(10))).toBe(20_000);
    expect(holdFor(aTenure({ until: instant(14_000) }), instant(5_000), seconds(10))).toBe(10_000);
  });

  it('is rounded up: a fraction of a millisecond must not be writable here and free elsewhere', () => {
    expect(holdFor(aTenure({ until: instant(25_000.001) }), instant(5_000))).toBe(20_001);
  });

  it('always covers the window that it opens', () => {
    const ms = fc.double({ min: 0, max: 100_000, noNaN: true });
    void fc.assert(
      fc.property(ms, ms, ms, (until, gate, sent) => {
        const tenure = aTenure({ until: instant(until), gate: instant(gate) });
        const sentAt = instant(sent);
        const hold = holdFor(tenure, sentAt);
        const opened = windowAfter(tenure, { sentAt, hold }, sentAt, LONG_AGO);
        return opened === null || opened - sentAt <= hold + 1e-6;
      }),
    );
  });
});

describe('the window after a proof', () => {
  const proof = { sentAt: instant(20_000), hold: millis(10_000) };
  const open = aTenure({ until: instant(26_000) });

  it('is counted from sending, never from the answer (story 3)', () => {
    expect(windowAfter(open, proof, instant(24_000), null)).toBe(30_000);
  });

  it('is never shortened by a later proof', () => {
    const long = aTenure({ until: instant(50_000) });
    expect(windowAfter(long, proof, instant(20_100), null)).toBe(50_000);
  });

  it('is not opened at the gate, nor by a proof sent before it', () => {
    const waiting = aTenure({ gate: instant(20_001) });
    expect(windowAfter(waiting, proof, instant(20_100), LONG_AGO)).toBeNull();
    expect(windowAfter(aTenure({ gate: instant(20_000) }), proof, instant(20_100), LONG_AGO)).toBe(30_000);
  });

  it('is not prolonged at the deadline of the old one while Postgres may write', () => {
    // until 26 000, margin 1 000: the guard strikes at 25 000.
    expect(windowAfter(open, proof, instant(24_999), null)).toBe(30_000);
    expect(windowAfter(open, proof, instant(25_000), null)).toBeNull();
  });

  it('is opened anew after it has passed, by a proof sent after Postgres was seen down', () => {
    expect(windowAfter(open, proof, instant(25_000), instant(20_000))).toBe(30_000);
    expect(windowAfter(open, proof, instant(25_000), instant(20_001))).toBeNull();
  });

  it('is opened for the first time only with Postgres known not to write', () => {
    expect(windowAfter(aTenure(), proof, instant(20_100), LONG_AGO)).toBe(30_000);
    expect(windowAfter(aTenure(), proof, instant(20_100), null)).toBeNull();
  });
});

describe('a proof', () => {
  it('needs keepalive and beat of the same raft term (stories 14 and 15)', () => {
    expect(isProof(4n, 4n)).toBe(true);
    expect(isProof(4n, 5n)).toBe(false);
    expect(isProof(5n, 4n)).toBe(false);
  });
});

describe('a refused beat', () => {
  const leader = (over: Partial<KeyValue> = {}): KeyValue => ({
    key: 'leader',
    value: 'b',
    createRevision: TERM,
    modRevision: TERM,
    lease: LEASE,
    ...over,
  });
  const status = (pgha: unknown): KeyValue => ({
    key: 'status',
    value: JSON.stringify({ optime: 1, pgha }),
    createRevision: revision(3),
    modRevision: revision(55),
    lease: null,
  });
  const ours = { term: '40', seq: 8, hold_ms: 10_000 };
  const judge = (key: KeyValue | null, found: KeyValue | null) => judgeRefusedBeat(aTenure(), 8, key, found);

  it('has landed when status carries it: an earlier attempt of the same beat', () => {
    expect(judge(leader(), status(ours))).toEqual({ kind: 'landed', statusRevision: 55n });
  });

  it('is repeated when an older beat of ours landed late (story 1)', () => {
    expect(judge(leader(), status({ ...ours, seq: 6 }))).toEqual({ kind: 'repeat', statusRevision: 55n });
  });

  it('is repeated over a version that Patroni wrote, or that nobody understands', () => {
    expect(judge(leader(), status(undefined))).toEqual({ kind: 'repeat', statusRevision: 55n });
    expect(judge(leader(), { ...status(ours), value: '{' })).toEqual({ kind: 'repeat', statusRevision: 55n });
  });

  it('is repeated when there is no status yet', () => {
    expect(judge(leader(), null)).toEqual({ kind: 'repeat', statusRevision: 0n });
  });

  it('is not taken for landed by a beat of another term with the same number', () => {
    expect(judge(leader(), status({ ...ours, term: '39' }))).toMatchObject({ kind: 'repeat' });
  });

  it('is not taken for landed by a release with the same number', () => {
    const release = { lsn: '0/5000060', candidate: null };
    expect(judge(leader(), status({ ...ours, release }))).toMatchObject({ kind: 'repeat' });
  });

  it('finds the key gone, and what it must name to take it again', () => {
    const gone = { kind: 'key-absent', later: false, by: null };
    expect(judge(null, status(ours))).toEqual({ ...gone, ours: true, statusRevision: 55n });
    expect(judge(null, null)).toEqual({ ...gone, ours: true, statusRevision: 0n });
    // In maintenance, where no window says so, this tells that somebody may have led since.
    const release = { lsn: '0/5000060', candidate: null };
    for (const theirs of [{ ...ours, term: '39' }, { ...ours, release }, undefined])
      expect(judge(null, status(theirs))).toEqual({ ...gone, ours: false, statusRevision: 55n });
    // Of a term after ours, by whoever has led in it.
    const theirs = { ...ours, term: '54', leader: 'c' };
    expect(judge(null, status(theirs))).toEqual({ ...gone, ours: false, later: true, by: 'c', statusRevision: 55n });
  });

  it('is a loss when the key is somebody else’s', () => {
    const theirs = leader({ value: 'c', modRevision: revision(54), lease: leaseId('9') });
    expect(judge(theirs, status(ours))).toEqual({ kind: 'lost', holder: 'c' });
  });

  it('is a loss when the key is ours in another term', () => {
    expect(judge(leader({ modRevision: revision(54) }), status(ours))).toEqual({ kind: 'lost', holder: 'b' });
  });

  it('is a loss when the key hangs on another lease', () => {
    expect(judge(leader({ lease: leaseId('9') }), status(ours))).toEqual({ kind: 'lost', holder: 'b' });
    expect(judge(leader({ lease: null }), status(ours))).toEqual({ kind: 'lost', holder: 'b' });
  });
});
