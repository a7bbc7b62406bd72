/** What is put off to a time, as it is written down and read again. */
import { describe, expect, it } from 'vitest';
import {
  readScheduledRestart,
  type ScheduledRestart,
  versionNumber,
  writeScheduledRestart,
} from '../../../src/core/schedule.ts';
import { millis } from '../../../src/core/time.ts';

const bare: ScheduledRestart = {
  at: '2030-01-01T10:00:00+02:00',
  role: null,
  below: null,
  timeout: null,
  onlyIfPending: false,
  postmasterStart: '2026-11-20 10:44:00.123456+00:00',
};

describe('a scheduled restart', () => {
  it('is written with what was asked for, in the words of Patroni', () => {
    expect(writeScheduledRestart(bare)).toEqual({ schedule: bare.at, postmaster_start_time: bare.postmasterStart });
    const full = { ...bare, role: 'replica', below: '15.19', timeout: millis(1_500), onlyIfPending: true } as const;
    expect(writeScheduledRestart(full)).toEqual({
      schedule: bare.at,
      role: 'replica',
      postgres_version: '15.19',
      timeout: 1.5,
      restart_pending: true,
      postmaster_start_time: bare.postmasterStart,
    });
    for (const plan of [bare, full]) expect(readScheduledRestart(writeScheduledRestart(plan))).toEqual(plan);
  });

  it('is none where what stands there cannot be relied on', () => {
    const written = writeScheduledRestart(bare);
    for (const wrong of [
      undefined,
      null,
      'soon',
      [],
      {},
      { ...written, schedule: 'soon' },
      { ...written, schedule: 12 },
      { ...written, postmaster_start_time: undefined },
      { ...written, role: 'boss' },
      { ...written, postgres_version: 'new' },
      { ...written, timeout: -1 },
      { ...written, timeout: '1min' },
    ])
      expect(readScheduledRestart(wrong)).toBeNull();
  });
});

it('a version is counted as server_version_num counts it', () => {
  expect(['15.18', '9.6', '12.3.1', '15', '15.x', '1e3.1', ''].map(versionNumber)).toEqual([
    150018,
    90006,
    120003,
    null,
    null,
    null,
    null,
  ]);
});
