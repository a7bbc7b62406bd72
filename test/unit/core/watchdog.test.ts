/** How long a watchdog device may be kept alive, and which devices fit. */
import { describe, expect, it } from 'vitest';
import { deadlineOf } from '../../../src/core/lease.ts';
import { instant, laterBy, millis, seconds } from '../../../src/core/time.ts';
import { misfitOfTimeout, resetBy, resetReserve, watchdogTrouble } from '../../../src/core/watchdog.ts';

const TTL = seconds(10);
const REQUIRED = { mode: 'required', safetyMargin: null } as const;
const device = '/dev/watchdog';

describe('the device', () => {
  it('fires before anybody else may promote and after the guard has had its time, whatever the margin is set to', () => {
    const until = instant(50_000);
    for (const margin of [null, millis(0), millis(100), seconds(5)]) {
      const fires = resetBy(until, TTL, margin);
      expect(fires).toBeLessThanOrEqual(until);
      expect(fires).toBeGreaterThanOrEqual(laterBy(deadlineOf(until, TTL), millis(500)));
    }
    expect(resetReserve(TTL, millis(200))).toBe(200);
  });

  it('fits when each proof is worth a ping, and a busy machine does not reach its timeout', () => {
    expect(misfitOfTimeout(seconds(5), TTL, null)).toBeNull();
    expect(misfitOfTimeout(seconds(8), TTL, null)).toBeNull();
    expect(misfitOfTimeout(seconds(9), TTL, null)).toContain('longer than 8.5 s');
    expect(misfitOfTimeout(seconds(60), TTL, null)).toContain('longer');
    expect(misfitOfTimeout(seconds(1), TTL, null)).toContain('shorter');
  });
});

describe('required', () => {
  it('lets nobody lead without a device whose timeout is known and fits', () => {
    expect(watchdogTrouble({ kind: 'ready', device, timeout: seconds(5) }, REQUIRED, TTL)).toBeNull();
    expect(watchdogTrouble({ kind: 'ready', device, timeout: seconds(60) }, REQUIRED, TTL)).toContain('60 s');
    expect(watchdogTrouble({ kind: 'unusable', device, why: 'it does not exist' }, REQUIRED, TTL)).toContain('exist');
    expect(watchdogTrouble({ kind: 'off' }, REQUIRED, TTL)).not.toBeNull();
  });

  it('is the only word that keeps a node from leading', () => {
    const gone = { kind: 'unusable', device, why: 'it does not exist' } as const;
    expect(watchdogTrouble(gone, { mode: 'automatic', safetyMargin: null }, TTL)).toBeNull();
    expect(watchdogTrouble(gone, { mode: 'off', safetyMargin: null }, TTL)).toBeNull();
  });
});
