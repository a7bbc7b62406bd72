import { describe, expect, it } from 'vitest';
import { lossesTold, timelineOf, together, writerOf } from '../../e2e/lib/ledger.ts';

describe('what became of rows', () => {
  it('is told for several writers as for one', () => {
    const one = { acked: [{ row: 'w1-0-0', at: 1, server: 'h1' }], failed: ['w1-0-1'], unknown: [], errors: [] };
    const two = { acked: [], failed: [], unknown: ['w2-0-0'], errors: [{ at: 2, text: 'h2: ended' }] };
    expect(together([one, two])).toEqual({ ...one, unknown: two.unknown, errors: two.errors });
    expect(writerOf('w1x2-0-17')).toBe('w1x2');
  });

  it('goes by the timeline on which its own node wrote at that moment', () => {
    const write = (node: string, timeline: string, acked: number) => ({ node, timeline, sent: acked - 1, acked });
    const writes = [write('h1', '00000001', 10), write('h2', '00000002', 19), write('h1', '0000000A', 30)];
    expect(timelineOf({ row: 'r', at: 18, server: 'h1' }, writes)).toBe(1);
    expect(timelineOf({ row: 'r', at: 28, server: 'h1' }, writes)).toBe(10);
    expect(timelineOf({ row: 'r', at: 18, server: 'h3' }, writes)).toBeNull();
  });

  it('knows which primaries have said that something may be lost', () => {
    const log = `
      10:00:00.100 info  failover.completed  h2 is the primary now and accepts writes  term=48 timeline=2 lsn=0/5D3BB30
      10:00:00.101 info  failover.loss-excluded  all WAL of h1 is here  lost=nothing
      10:00:09.100 info  failover.completed  h2 is the primary now and accepts writes  term=90 timeline=4 lsn=0/6D3BB30
      10:00:09.101 warn  failover.loss-possible  what h1 committed may be lost  lost=unknown`;
    expect(lossesTold(log)).toEqual([4]);
    expect(lossesTold('')).toEqual([]);
  });
});
