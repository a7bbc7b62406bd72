import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lsn, parseLsn, printLsn, segmentName, timeline } from '../../../src/core/lsn.ts';

describe('positions in the write-ahead log', () => {
  it('prints as Postgres prints', () => {
    expect(printLsn(lsn(0x5000060n))).toBe('0/5000060');
    expect(printLsn(lsn(0x1_0000_0000n))).toBe('1/0');
  });

  it('reads back whatever it printed', () => {
    const anywhere = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    void fc.assert(fc.property(anywhere, (n) => parseLsn(printLsn(lsn(n))) === n));
  });

  it('refuses what is not a position', () => {
    for (const text of ['', '5000060', '0/', 'x/1', '0/123456789']) expect(() => parseLsn(text)).toThrow(RangeError);
  });

  it('names segments as pg_wal does', () => {
    expect(segmentName(timeline(3), lsn(0x1_02000000n), 16n * 1024n * 1024n)).toBe('000000030000000100000002');
  });
});
