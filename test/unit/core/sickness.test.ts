/** From measured facts to what ails a node. */
import { describe, expect, it } from 'vitest';
import {
  type DiskFacts,
  describeSickness,
  leastFree,
  NOTHING_LEARNED,
  type SicknessKind,
  sicknessAsJson,
  sicknesses,
  type Vitals,
  wordFor,
} from '../../../src/core/sickness.ts';
import { earlierBy, instant, millis } from '../../../src/core/time.ts';
import { clusterPolicy, NOW } from './builders.ts';

const policy = clusterPolicy.sickness;
const MB = 1_048_576n;
const aDisk = (over: Partial<DiskFacts> = {}): DiskFacts => ({
  directory: 'data',
  last: { kind: 'done', said: '' },
  freeBytes: 10_000n * MB,
  totalBytes: 20_000n * MB,
  tryingSince: null,
  ...over,
});
const ago = (ms: number) => earlierBy(NOW, millis(ms));
const found = (vitals: Partial<Vitals>, over: Partial<typeof policy> = {}, before: SicknessKind[] = []) =>
  sicknesses({ ...NOTHING_LEARNED, ...vitals }, { ...policy, ...over }, NOW, new Set(before));
const kinds = (...given: Parameters<typeof found>) => found(...given).map(({ kind }) => kind);

describe('a disk', () => {
  it('of which nothing is known is not sick, and neither is one that is written to', () => {
    expect(kinds({ disks: [aDisk({ last: null, freeBytes: null }), aDisk()] })).toEqual([]);
  });

  it('is full when a write finds no room, or when there is less than disk_full_threshold', () => {
    expect(kinds({ disks: [aDisk({ last: { kind: 'full', said: 'No space left on device' } })] })).toEqual([
      'disk-full',
    ]);
    expect(kinds({ disks: [aDisk({ freeBytes: 32n * MB - 1n })] })).toEqual(['disk-full']);
    expect(kinds({ disks: [aDisk({ freeBytes: 32n * MB })] })).toEqual([]);
  });

  it('that was full is well only with twice the room, lest it comes and goes', () => {
    expect(kinds({ disks: [aDisk({ freeBytes: 64n * MB - 1n })] }, {}, ['disk-full'])).toEqual(['disk-full']);
    expect(kinds({ disks: [aDisk({ freeBytes: 64n * MB })] }, {}, ['disk-full'])).toEqual([]);
  });

  it('of both directories is sick once, and says so with the least room', () => {
    const full = { kind: 'full', said: 'Disk quota exceeded' } as const;
    const both = [aDisk({ last: full, freeBytes: 9n }), aDisk({ directory: 'pg_wal', last: full, freeBytes: 7n })];
    const [one, ...more] = found({ disks: both });
    expect(more).toEqual([]);
    expect(one && describeSickness(one)).toBe(
      'the disk of the data directory and pg_wal is full, 7 bytes free (Disk quota exceeded)',
    );
    expect(leastFree([aDisk({ freeBytes: null })])).toBeNull();
  });

  it('hangs when a small write takes longer than disk_hang_timeout; what was heard before does not count then', () => {
    const hangs = aDisk({ tryingSince: ago(10_000), last: { kind: 'full', said: '' } });
    expect(kinds({ disks: [hangs] })).toEqual(['disk-hangs']);
    expect(kinds({ disks: [aDisk({ tryingSince: ago(9_999) })] })).toEqual([]);
  });

  it('that is worse off comes first', () => {
    const disks = [
      aDisk({ last: { kind: 'full', said: '' } }),
      aDisk({ directory: 'pg_wal', last: { kind: 'read-only', said: 'Read-only file system' } }),
    ];
    expect(kinds({ disks, checkpointer: 'it is stopped' })).toEqual([
      'disk-read-only',
      'disk-full',
      'checkpointer-stuck',
    ]);
  });
});

describe('crashes', () => {
  it('are a loop when there were so many within the interval', () => {
    const crashes = [ago(700_000), ago(500_000), ago(4_000), ago(3_000), ago(2_000)];
    expect(kinds({ crashes })).toEqual([]);
    expect(kinds({ crashes: [...crashes, ago(1_000)] })).toEqual(['crash-loop']);
    expect(kinds({ crashes: [...crashes, ago(1_000)] }, { crashes: 0 })).toEqual([]);
  });
});

describe('the archiver', () => {
  const fine = {
    failing: false,
    failures: 2,
    lastFailed: '000000010000000000000005',
    waiting: 1,
    oldest: millis(4_000),
  };

  it('is sick when its last try failed, or when WAL has waited for five minutes without a failure', () => {
    expect(kinds({ archiver: fine })).toEqual([]);
    expect(kinds({ archiver: { ...fine, failing: true } })).toEqual(['archiver-failing']);
    expect(kinds({ archiver: { ...fine, oldest: millis(300_001) } })).toEqual(['archiver-failing']);
  });

  it('is told of with how much has piled up', () => {
    const [one] = found({ archiver: { ...fine, failing: true, waiting: 12 } });
    expect(one && describeSickness(one)).toBe(
      'WAL cannot be archived: 2 failures, last with 000000010000000000000005; 12 files wait, the oldest for 4 s',
    );
  });
});

describe('a wraparound', () => {
  it('is near from wraparound_warning_age on, of transactions and of multixacts', () => {
    const wraparound = [
      { of: 'transactions', database: 'shop', age: 1_500_000_000 },
      { of: 'multixacts', database: 'shop', age: 1_499_999_999 },
    ] as const;
    const near = found({ wraparound });
    expect(near.map(wordFor)).toEqual(['wraparound near']);
    expect(near[0] && describeSickness(near[0])).toContain(
      'of database shop are 1500000000 old, of 2147483648 at most',
    );
    expect(kinds({ wraparound }, { wraparoundAge: 0 })).toEqual([]);
  });
});

it('every sickness has its numbers for programs', () => {
  const all = found({
    disks: [
      aDisk({ last: { kind: 'io-error', said: 'Input/output error' } }),
      aDisk({ freeBytes: 5n }),
      aDisk({ tryingSince: ago(20_000) }),
    ],
    checkpointer: 'it is stopped',
    crashes: [1, 2, 3, 4, 5].map(ago),
    archiver: { failing: true, failures: 2, lastFailed: null, waiting: 0, oldest: null },
    wraparound: [{ of: 'multixacts', database: 'shop', age: 2_000_000_000 }],
  });
  const shown = all.map((sickness) => sicknessAsJson({ sickness, since: ago(1_500) }, NOW));
  expect(shown).toMatchObject([
    { kind: 'disk-hangs', directories: ['data'], hanging_for_ms: 20_000, for_ms: 1_500 },
    { kind: 'disk-io-error', said: 'Input/output error' },
    { kind: 'disk-full', free_bytes: 5 },
    { kind: 'checkpointer-stuck', said: 'it is stopped' },
    { kind: 'crash-loop', crashes: 5, within_ms: 600_000 },
    { kind: 'archiver-failing', failures: 2, files_waiting: 0, oldest_ms: null },
    { kind: 'wraparound-near', of: 'multixacts', age: 2_000_000_000, word: 'multixact wraparound near' },
  ]);
  expect(sicknesses(NOTHING_LEARNED, policy, instant(0))).toEqual([]);
});
