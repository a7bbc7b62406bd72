import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { MUTANTS } from '../../sim/mutants/table.ts';

test.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))(
  'what the planted bug "%s" edits stands in the source exactly once',
  (_name, mutant) => {
    for (const { file, find, replace } of mutant.edits) {
      const times = readFileSync(file, 'utf8').split(find).length - 1;
      expect(times, `${file}: ${find}`).toBe(1);
      expect(replace).not.toBe(find);
    }
  },
);
