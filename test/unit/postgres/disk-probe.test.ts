/** What the shell's answer about a directory means. That it gives these answers, test/contract has. */
import { expect, it } from 'vitest';
import { readAnswer } from '../../../src/postgres/disk-probe.ts';

const last = (code: string, said: string, room = '100 200 4096') => readAnswer(`${code}\t${room}\t${said}`).last;

it('a write that was done, with the room there is', () => {
  expect(readAnswer('0\t100 200 4096\t1+0 records in')).toEqual({
    last: { kind: 'done', said: '' },
    freeBytes: 409_600n,
    totalBytes: 819_200n,
  });
});

it.each([
  ["dd: error writing '/pg/x': No space left on device 1+0 records in", 'full'],
  ["dd: fsync failed for '/pg/x': Disk quota exceeded", 'full'],
  ["dd: failed to open '/pg/x': Read-only file system", 'read-only'],
  ["dd: fsync failed for '/pg/x': Input/output error", 'io-error'],
  ["dd: can't open '/pg/x': I/O error", 'io-error'],
  ["dd: failed to open '/pg/x': Structure needs cleaning", 'io-error'],
])('%s', (said, kind) => {
  expect(last('1', said)?.kind).toBe(kind);
});

it('an error of the file system that shows when its room is asked for counts too', () => {
  const room = "stat: cannot read file system information for '/pg': Input/output error";
  expect(readAnswer(`1\t${room}\tdd: failed to open`)).toEqual({
    last: { kind: 'io-error', said: 'Input/output error' },
    freeBytes: null,
    totalBytes: null,
  });
});

it('a directory that is not there, or a right that is missing, is no sickness of the disk', () => {
  expect(last('1', "dd: failed to open '/pg/x': No such file or directory")).toBeNull();
  expect(last('1', "dd: failed to open '/pg/x': Permission denied")).toBeNull();
  expect(last('127', 'sh: dd: not found', 'sh: stat: not found')).toBeNull();
});
