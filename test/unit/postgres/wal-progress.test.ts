/** When a disk that takes no writes any more is noticed, and what is not mistaken for one. */
import { beforeEach, expect, it } from 'vitest';
import { lsn } from '../../../src/core/lsn.ts';
import { instant, type Millis, millis } from '../../../src/core/time.ts';
import { WalProgress } from '../../../src/postgres/wal-progress.ts';

let progress: WalProgress;
beforeEach(() => {
  progress = new WalProgress();
});

const at = (ms: number, flushed: number | null, waiting: number | null): Millis | null =>
  progress.note(instant(ms), flushed === null ? null : lsn(flushed), waiting === null ? null : millis(waiting));

it('an idle server flushes nothing, and nobody waits', () => {
  expect([at(0, 100, null), at(2_000, 100, null), at(9_000, 100, null)]).toEqual([null, null, null]);
});

it('on a busy server somebody always waits, and the position moves', () => {
  expect([at(0, 100, 3), at(2_000, 200, 3), at(4_000, 300, 4_000)]).toEqual([null, null, null]);
});

it('a commit that has waited since the last look, with nothing flushed since, stands', () => {
  at(0, 100, null);
  expect(at(2_000, 100, 1_500)).toBe(1_500);
  expect(at(3_000, 100, 2_500)).toBe(2_500);
});

it('the first commit after an idle time stands only for as long as it has waited', () => {
  at(0, 100, null);
  expect(at(60_000, 100, 2)).toBe(2);
});

it('a long statement counts only since the position stands still', () => {
  at(0, 100, 50_000);
  expect(at(1_000, 200, 51_000)).toBeNull();
  expect(at(3_000, 200, 53_000)).toBe(2_000);
});

it('what waits and is no statement counts from the first look that saw it', () => {
  at(0, 100, null);
  expect(at(2_000, 100, 0)).toBe(0);
  expect(at(3_000, 100, 0)).toBe(1_000);
});

it('one who stopped waiting begins anew, and so does a standby or another server', () => {
  at(0, 100, 0);
  at(1_000, 100, null);
  expect(at(2_000, 100, 0)).toBe(0);
  expect(at(3_000, null, 5_000)).toBeNull();
  progress.forget();
  expect(at(4_000, 100, 5_000)).toBeNull();
});
