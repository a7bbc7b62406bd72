import { describe, expect, it } from 'vitest';
import { drawNodes, drawRound, KINDS, readPlan } from '../../e2e/lib/chaos-plan.ts';

const rounds = (seed: string, from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => drawRound(seed, from + i));

describe('a plan of chaos', () => {
  it('is the same for the same seed and round, whichever rounds were drawn before', () => {
    const [, second, third] = rounds('17', 1, 3);
    expect(rounds('17', 2, 3)).toEqual([second, third]);
    expect(drawRound('18', 2)).not.toEqual(second);
  });

  it('draws every kind of fault, in the order of time, each as long as its kind lasts', () => {
    const drawn = rounds('1', 1, 300).flatMap(({ faults }) => faults);
    expect(new Set(drawn.map(({ kind }) => kind))).toEqual(new Set(Object.keys(KINDS)));
    for (const { faults } of rounds('1', 1, 300)) {
      expect(faults.map(({ at }) => at)).toEqual(faults.map(({ at }) => at).toSorted((a, b) => a - b));
    }
    for (const { kind, lasts } of drawn) {
      const [from, to] = KINDS[kind].lasts ?? [null, null];
      if (from === null) expect(lasts).toBeNull();
      else expect(lasts === null || lasts < from * 1_000 || lasts > to * 1_000).toBe(false);
    }
  });

  it('is for three to five nodes, as the seed says', () => {
    const drawn = Array.from({ length: 60 }, (_, seed) => drawNodes(String(seed)));
    expect(new Set(drawn)).toEqual(new Set([3, 4, 5]));
    expect(drawNodes('17')).toBe(drawNodes('17'));
  });

  it('can be read back, and one that names nothing known is refused', () => {
    const plan = rounds('5', 1, 2);
    expect(readPlan(JSON.stringify({ seed: '5', rounds: plan }))).toEqual(plan);
    expect(() => readPlan('{"rounds": [{"faults": [{"kind": "flood", "at": 1, "which": 0}]}]}')).toThrow(
      "no fault 'flood'",
    );
    expect(() => readPlan('{}')).toThrow('a plan is');
  });
});
