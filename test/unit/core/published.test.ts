/** How old a standby's data are, by what the leader published while it was listened to. */
import { describe, expect, it } from 'vitest';
import { lsn } from '../../../src/core/lsn.ts';
import { behindInTime, notePublished, type Publications } from '../../../src/core/published.ts';
import { instant } from '../../../src/core/time.ts';

const heard = (...said: readonly (readonly [position: number, at: number])[]): Publications =>
  said.reduce<Publications>((known, [position, at]) => notePublished(known, lsn(position), instant(at)), []);

describe('the age of data', () => {
  it('is nothing for one who has all that was published', () => {
    expect(behindInTime(heard([100, 1_000], [200, 2_000]), lsn(200))).toBe(0);
    expect(behindInTime([], lsn(5))).toBe(0);
  });

  it('counts from the moment at which the leader last stood where the data end', () => {
    const known = heard([100, 1_000], [100, 60_000], [200, 61_000], [300, 63_000]);
    expect(behindInTime(known, lsn(150))).toBe(3_000);
    expect(behindInTime(known, lsn(299))).toBe(2_000);
  });

  it('is not known for one that is further behind than anybody listened', () => {
    expect(behindInTime(heard([100, 1_000], [200, 2_000]), lsn(99))).toBeNull();
  });

  it('forgets what a line had published that has ended', () => {
    const known = heard([100, 1_000], [500, 2_000], [300, 3_000]);
    expect(behindInTime(known, lsn(300))).toBe(0);
    expect(behindInTime(known, lsn(200))).toBe(2_000);
  });

  it('stays small', () => {
    let known: Publications = [];
    for (let i = 0; i < 10_000; i += 1) known = notePublished(known, lsn(i), instant(i));
    expect(known.length).toBeLessThanOrEqual(512);
    expect(behindInTime(known, lsn(9_990))).toBe(9);
  });
});
