import { describe, expect, test } from 'vitest';
import { printLsn } from '../../../src/core/lsn.ts';
import { crc32c, latestTimeline, parseControlData, parseControlDataText } from '../../../src/postgres/control-data.ts';

/** A control file as version 13 to 16 write it, with the fields that we read. */
function controlFile({
  version = 1300,
  crcOffset = 288,
  state = 6,
  timeline = 3,
  recoveryTimeline = 0,
} = {}): Uint8Array {
  const bytes = new Uint8Array(512);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, 7423110022945573123n, true);
  view.setUint32(8, version, true);
  view.setUint32(16, state, true);
  view.setBigUint64(32, 0x1_0500_0060n, true);
  view.setBigUint64(40, 0x1_0500_0028n, true);
  view.setUint32(48, timeline, true);
  view.setBigUint64(136, 0n, true);
  view.setUint32(144, recoveryTimeline, true);
  view.setBigUint64(152, 0x1_0300_0028n, true);
  view.setUint32(228, 16 << 20, true);
  view.setUint32(crcOffset, crc32c(bytes.subarray(0, crcOffset)), true);
  return bytes;
}

const TEXT = `pg_control version number:            1300
Database system identifier:           7423110022945573123
Database cluster state:               shut down in recovery
Latest checkpoint location:           1/5000060
Latest checkpoint's REDO location:    1/5000028
Latest checkpoint's TimeLineID:       3
Minimum recovery ending location:     1/6000000
Min recovery ending loc's timeline:   4
Backup start location:                1/3000028
Bytes per WAL segment:                67108864
`;

describe('the control file', () => {
  test('is read as its version lays it out', () => {
    for (const [version, crcOffset] of [
      [1201, 288],
      [1300, 288],
      [1700, 288],
      [1800, 292],
    ] as const) {
      const parsed = parseControlData(controlFile({ version, crcOffset }));
      if (parsed.kind !== 'read') throw new Error(parsed.kind);
      expect(parsed.control.systemId).toBe('7423110022945573123');
      expect(parsed.control.state).toBe('in production');
      expect(printLsn(parsed.control.checkpoint)).toBe('1/5000060');
      expect(printLsn(parsed.control.redo)).toBe('1/5000028');
      expect(printLsn(parsed.control.backupStart)).toBe('1/3000028');
      expect(parsed.control.walSegmentBytes).toBe(16n << 20n);
      expect(latestTimeline(parsed.control)).toBe(3);
    }
  });

  test('shows the timeline of a promotion before its first checkpoint', () => {
    const parsed = parseControlData(controlFile({ timeline: 3, recoveryTimeline: 4 }));
    if (parsed.kind !== 'read') throw new Error(parsed.kind);
    expect(latestTimeline(parsed.control)).toBe(4);
  });

  test('is not believed when its checksum is wrong, or when it is cut off', () => {
    const torn = controlFile();
    torn[33] = 0xff;
    expect(parseControlData(torn)).toEqual({ kind: 'crc-wrong' });
    expect(parseControlData(controlFile().subarray(0, 100))).toEqual({ kind: 'crc-wrong' });
    expect(parseControlData(new Uint8Array(0))).toEqual({ kind: 'crc-wrong' });
  });

  test('of a version that is not known is left to pg_controldata', () => {
    expect(parseControlData(controlFile({ version: 2100 }))).toEqual({ kind: 'layout-unknown', version: 2100 });
  });

  test('is read from the output of pg_controldata as well', () => {
    const control = parseControlDataText(TEXT);
    expect(control).toMatchObject({ state: 'shut down in recovery', walSegmentBytes: 64n << 20n });
    expect(latestTimeline(control)).toBe(4);
    expect(printLsn(control.backupStart)).toBe('1/3000028');
  });

  test('is not believed when pg_controldata doubts it', () => {
    expect(() =>
      parseControlDataText(`WARNING: Calculated CRC checksum does not match value stored\n${TEXT}`),
    ).toThrow();
    expect(() => parseControlDataText('')).toThrow(RangeError);
  });
});

test('CRC-32C of the standard check text', () => {
  expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
});
