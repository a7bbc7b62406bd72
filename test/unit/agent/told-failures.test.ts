import { describe, expect, it } from 'vitest';
import { AGAIN_AFTER, ToldFailures } from '../../../src/agent/told-failures.ts';
import { instant } from '../../../src/core/time.ts';

const at = (ms: number) => instant(1_000 + ms);
const full = new Error('no space left on device');

describe('a failure that comes again with each cycle', () => {
  it('is told once, and again after a while', () => {
    const told = new ToldFailures();
    expect(told.isNews('follow a', full, at(0))).toBe(true);
    expect(told.isNews('follow a', full, at(250))).toBe(false);
    expect(told.isNews('follow a', full, at(AGAIN_AFTER))).toBe(true);
    expect(told.isNews('follow a', full, at(AGAIN_AFTER + 250))).toBe(false);
  });

  it('is told when it is another one, of something else, or after a success', () => {
    const told = new ToldFailures();
    told.isNews('follow a', full, at(0));
    expect(told.isNews('follow b', full, at(1))).toBe(true);
    expect(told.isNews('follow a', new Error('it hangs'), at(2))).toBe(true);
    told.done('follow a');
    expect(told.isNews('follow a', new Error('it hangs'), at(3))).toBe(true);
  });
});
