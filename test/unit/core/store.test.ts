import { describe, expect, it } from 'vitest';
import { isOneHistory, type KeyValue, leaseId, revision, type Snapshot } from '../../../src/core/store.ts';

/** Keys as `[createRevision, modRevision]`. */
const at = (now: number, keys: Record<string, readonly [number, number]>): Snapshot => ({
  revision: revision(now),
  entries: Object.entries(keys).map(
    ([key, [created, written]]): KeyValue => ({
      key,
      value: 'x',
      createRevision: revision(created),
      modRevision: revision(written),
      lease: leaseId('1'),
    }),
  ),
});
const BEFORE = at(50, { status: [7, 49], leader: [30, 30], 'members/a': [3, 44] });
const follows = (now: Snapshot): boolean => isOneHistory(BEFORE, now, 'status');

describe('two reads', () => {
  it('are of one history where nothing, or only later things, happened between them', () => {
    expect(follows(BEFORE)).toBe(true);
    expect(follows(at(50, { status: [7, 49], leader: [30, 30], 'members/a': [3, 44] }))).toBe(true);
    expect(follows(at(60, { status: [7, 60], 'members/a': [55, 55], leader: [51, 51], 'members/b': [52, 58] }))).toBe(
      true,
    );
  });

  it('are not where the revision went back', () => {
    expect(follows(at(49, { status: [7, 49] }))).toBe(false);
  });

  it('are not where a key was made, or written, before the first and did not stand there so', () => {
    expect(follows(at(60, { status: [7, 60], 'members/b': [50, 58] }))).toBe(false);
    expect(follows(at(60, { status: [7, 60], 'members/a': [4, 58] }))).toBe(false);
    expect(follows(at(60, { status: [7, 60], 'members/a': [3, 43] }))).toBe(false);
  });

  it('are not where a key that nobody deletes was made anew', () => {
    expect(follows(at(90, { status: [70, 80], 'members/a': [60, 85] }))).toBe(false);
    expect(follows(at(90, { leader: [80, 80] }))).toBe(true);
  });
});
