import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../../src/core/invariant.ts';
import { deadlineOf, margin, orderlyStopLead, stopWritingBy } from '../../../src/core/lease.ts';
import { instant, millis, seconds } from '../../../src/core/time.ts';

describe('the margin', () => {
  it('is one second for short TTLs and grows with long ones, for clocks that run apart', () => {
    expect(margin(seconds(5))).toBe(1_000);
    expect(margin(seconds(125))).toBe(1_000);
    expect(margin(seconds(126))).toBe(1_004);
    expect(margin(seconds(600))).toBe(2_900);
  });

  it('is always more than what clocks that differ by 0.1 % can drift apart, with half a second left to fence', () => {
    void fc.assert(
      fc.property(fc.integer({ min: 5, max: 3_600 }), (ttl) => margin(seconds(ttl)) >= 500 + 2 * 0.001 * ttl * 1_000),
    );
  });
});

describe('the guard', () => {
  it('strikes a margin before the window ends', () => {
    expect(deadlineOf(instant(100_000), seconds(10))).toBe(99_000);
  });
});

describe('the orderly stop', () => {
  it('begins a fifth of the TTL before the guard strikes, two seconds at most', () => {
    expect(orderlyStopLead(seconds(5))).toBe(1_000);
    expect(orderlyStopLead(seconds(10))).toBe(2_000);
    expect(orderlyStopLead(seconds(60))).toBe(2_000);
    expect(stopWritingBy(instant(100_000), seconds(10))).toBe(97_000);
    expect(stopWritingBy(instant(100_000), seconds(5))).toBe(98_000);
  });

  it('leaves no window to a TTL that the reserve uses up', () => {
    expect(() => stopWritingBy(instant(100_000), millis(1_250))).toThrow(InvariantError);
    expect(() => stopWritingBy(instant(100_000), millis(1_251))).not.toThrow();
  });
});
