import { expect, test } from 'vitest';
import type { PlannedFault } from '../../sim/plan.ts';
import { CANARY, shrink } from '../../sim/shrink.ts';

const at = (ms: number, node: string): PlannedFault => ({ when: { at: ms }, fault: { kind: 'guard-kill', node } });
const never = (): boolean => false;

test('of many faults the two that are needed together are left, with round times', async () => {
  const faults = Array.from({ length: 9 }, (_, i) => at(1_234 + i, 'abcdefghi'.charAt(i)));
  const needed = ['c', 'h'];
  const { plan } = await shrink(
    { ...CANARY, faults },
    'S1',
    async ({ faults: left }) => {
      const there = left.map(({ fault }) => ('node' in fault ? fault.node : ''));
      return needed.every((name) => there.includes(name)) ? { invariant: 'S1', at: 0 } : null;
    },
    never,
  );
  expect(plan.faults).toEqual([at(1_000, 'c'), at(1_000, 'h')]);
  expect(plan.nodes).toHaveLength(1);
});

test('a plan that breaks something else after an edit is not taken', async () => {
  const { plan } = await shrink(
    CANARY,
    'S1',
    async (candidate) => ({ invariant: candidate.faults.length === CANARY.faults.length ? 'S1' : 'L1', at: 0 }),
    never,
  );
  expect(plan.faults).toHaveLength(CANARY.faults.length);
});

test('it ends when its time is over', async () => {
  let left = 3;
  const { tried } = await shrink(
    CANARY,
    'S1',
    async () => ({ invariant: 'S1', at: 0 }),
    () => left-- <= 0,
  );
  expect(tried).toBeLessThanOrEqual(3);
});
