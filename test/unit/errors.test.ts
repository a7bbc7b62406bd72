/** The catalogue of error codes and its chapter for operators, held against each other in both directions. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES } from '../../src/errors.ts';

const CHAPTER = readFileSync(resolve(import.meta.dirname, '../../docs/errors.md'), 'utf8');
const sections = CHAPTER.split(/^## /m).slice(1);
const headings = sections.map((section) => section.slice(0, section.indexOf('\n')).trim());

describe('docs/errors.md', () => {
  it('has a section for every error code, in the order of the catalogue, and no other', () => {
    expect(headings).toEqual([...ERROR_CODES]);
  });

  it('says of each what happened, what was not touched and what to do', () => {
    for (const section of sections) {
      for (const part of ['**Happened:**', '**Not touched:**', '**To do:**']) expect(section).toContain(part);
    }
  });
});
