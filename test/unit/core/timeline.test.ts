import { describe, expect, it } from 'vitest';
import { parseLsn, timeline } from '../../../src/core/lsn.ts';
import { kinship, parseHistory } from '../../../src/core/timeline.ts';

const leader = {
  timeline: timeline(3),
  history: parseHistory('1\t0/5000000\tno recovery target\n\n2\t0/7000028\tx\n'),
};

describe('where histories part', () => {
  it('lets a server follow whose WAL ends exactly at the switch point', () => {
    expect(kinship({ timeline: timeline(2), end: parseLsn('0/7000028') }, leader)).toEqual({ kind: 'same-line' });
  });

  it('finds a server diverged that holds one byte more', () => {
    expect(kinship({ timeline: timeline(2), end: parseLsn('0/7000029') }, leader)).toEqual({
      kind: 'diverged',
      at: parseLsn('0/7000028'),
    });
  });

  it('knows a server that is on a timeline the other has never heard of', () => {
    expect(kinship({ timeline: timeline(4), end: parseLsn('0/1') }, leader)).toEqual({ kind: 'ahead' });
  });

  it('refuses what is not a history file', () => {
    expect(() => parseHistory('nonsense')).toThrow(RangeError);
  });
});
