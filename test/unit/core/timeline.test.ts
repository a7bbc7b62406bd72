import { describe, expect, it } from 'vitest';
import { parseLsn, timeline } from '../../../src/core/lsn.ts';
import { kinship, parseHistory, partingPoint } from '../../../src/core/timeline.ts';

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

  describe('with our own history', () => {
    const line = (tl: number, end: string, history: string) => ({
      timeline: timeline(tl),
      end: parseLsn(end),
      history: parseHistory(history),
    });

    it('finds one line where both came to the timeline the same way', () => {
      const own = line(3, '0/9000000', '1\t0/5000000\tx\n2\t0/7000028\tx\n');
      expect(kinship(own, leader)).toEqual({ kind: 'same-line' });
      expect(kinship(line(2, '0/7000028', '1\t0/5000000\tx\n'), leader)).toEqual({ kind: 'same-line' });
      expect(kinship(line(1, '0/5000000', ''), leader)).toEqual({ kind: 'same-line' });
    });

    it('finds two timelines of one number that were begun at different positions, and the lower one is common', () => {
      expect(kinship(line(3, '0/8000000', '1\t0/5000000\tx\n2\t0/7000000\tx\n'), leader)).toEqual({
        kind: 'diverged',
        at: parseLsn('0/7000000'),
      });
      expect(kinship(line(3, '0/8000000', '1\t0/5000000\tx\n2\t0/7000060\tx\n'), leader)).toEqual({
        kind: 'diverged',
        at: parseLsn('0/7000028'),
      });
    });

    it('finds them also where the leader has gone on to another timeline since', () => {
      expect(kinship(line(2, '0/6000000', '1\t0/4FFFFC8\tx\n'), leader)).toEqual({
        kind: 'diverged',
        at: parseLsn('0/4FFFFC8'),
      });
    });

    it('finds them where one came through a timeline that the other never was on', () => {
      expect(kinship(line(3, '0/6000000', '1\t0/5000000\tx\n'), leader)).toEqual({
        kind: 'diverged',
        at: parseLsn('0/5000000'),
      });
    });

    it('cannot tell two promotions at one position apart, and compares nothing where it is not known', () => {
      const own = { timeline: timeline(3), end: parseLsn('0/9000000') };
      expect(kinship({ ...own, history: leader.history }, leader)).toEqual({ kind: 'same-line' });
      expect(kinship({ ...own, history: null }, leader)).toEqual({ kind: 'same-line' });
    });
  });

  it('tells from where on our WAL is ours alone, as far as histories do', () => {
    const own = { timeline: timeline(2), end: parseLsn('0/9000000'), history: parseHistory('1\t0/5000000\tx\n') };
    const at = (other: number, history: string) =>
      partingPoint(own, { timeline: timeline(other), history: parseHistory(history) });
    expect(at(3, '1\t0/5000000\tx\n2\t0/7000028\tx\n')).toBe(parseLsn('0/7000028'));
    // It stayed where we left, or another one of our number was begun.
    expect(at(1, '')).toBe(parseLsn('0/5000000'));
    expect(at(2, '1\t0/5000000\tx\n')).toBe(parseLsn('0/5000000'));
    // It left another one of our timelines long before: where it stayed since is no part of ours.
    expect(at(2, '1\t0/3000000\tx\n')).toBe(parseLsn('0/3000000'));
    expect(at(4, '1\t0/3000000\tx\n3\t0/9000000\tx\n')).toBe(parseLsn('0/3000000'));
    expect(partingPoint({ ...own, history: null }, { timeline: timeline(1), history: [] })).toBeNull();
  });

  it('refuses what is not a history file', () => {
    expect(() => parseHistory('nonsense')).toThrow(RangeError);
  });
});
