import { expect, test } from 'vitest';
import { DECLARED, NOT_REACHED } from '../../sim/marks.ts';

test('each mark is declared once, and each that need not be reached says why', () => {
  expect(new Set(DECLARED).size).toBe(DECLARED.length);
  for (const [mark, reason] of Object.entries(NOT_REACHED)) {
    expect(DECLARED, mark).toContain(mark);
    expect(reason.length, mark).toBeGreaterThan(20);
  }
});
