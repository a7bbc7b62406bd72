import { describe, expect, test } from 'vitest';
import { parseLsn, printLsn } from '../../../src/core/lsn.ts';
import { lastRecordIn, recordEnd, recordHead, waldumpEnd } from '../../../src/postgres/wal-rescue.ts';

const SEGMENT = 16n << 20n;
const endOf = (start: string, length: number, switchesSegment = false): string =>
  printLsn(recordEnd(parseLsn(start), { length: BigInt(length), switchesSegment }, SEGMENT));

describe('the end of a record', () => {
  for (const [what, start, length, end] of [
    ['inside of a page, rounded up to 8 bytes', '0/1000028', 50, '0/1000060'],
    ['exactly at the end of its page', '0/1001FC0', 64, '0/1002000'],
    ['behind the header of the next page', '0/1001FC0', 72, '0/1002020'],
    ['over several pages', '0/1001FC0', 64 + 8168 + 8, '0/1004020'],
    ['behind the longer header of the next segment', '0/1FFFFC0', 72, '0/2000030'],
  ] as const) {
    test(`is found ${what}`, () => {
      expect(endOf(start, length)).toBe(end);
    });
  }

  test('of a segment switch is the end of its segment', () => {
    expect(endOf('0/1000028', 24, true)).toBe('0/2000000');
  });

  test('is told by its length and, for a segment switch, by its kind', () => {
    const bytes = new Uint8Array(24);
    bytes[0] = 24;
    bytes[16] = 0x40;
    expect(recordHead(bytes)).toEqual({ length: 24n, switchesSegment: true });
    bytes[17] = 10;
    expect(recordHead(bytes)).toEqual({ length: 24n, switchesSegment: false });
  });
});

describe('what pg_waldump says last', () => {
  for (const [line, end] of [
    [
      'pg_waldump: error: error in WAL record at 0/1B2F2E8: invalid record length at 0/1B2F320: wanted 24, got 0',
      { kind: 'last-record', start: parseLsn('0/1B2F2E8') },
    ],
    [
      'pg_waldump: error: error in WAL record at 0/1B2FFC0: unexpected pageaddr 0/30000 in log segment 000000010000000000000001, offset 0',
      { kind: 'last-record', start: parseLsn('0/1B2FFC0') },
    ],
    ['pg_waldump: error: could not find a valid record after 0/1B2F320', { kind: 'nothing' }],
    [
      'pg_waldump: error: could not find file "000000010000000000000002": No such file or directory',
      { kind: 'no-file' },
    ],
    ['pg_waldump: fatal: out of memory', { kind: 'not-understood' }],
  ] as const) {
    test(line, () => {
      expect(waldumpEnd(line)).toEqual(end);
    });
  }
});

test('the last record that pg_waldump lists is found in its output', () => {
  const line = (position: string): string =>
    `rmgr: Heap        len (rec/tot):     59/    59, tx:        731, lsn: ${position}, prev 0/014F2158, desc: INSERT off 2\n`;
  expect(lastRecordIn(line('0/014F2190') + line('0/014F21D0'))).toBe(parseLsn('0/14F21D0'));
  expect(lastRecordIn('')).toBeNull();
});
