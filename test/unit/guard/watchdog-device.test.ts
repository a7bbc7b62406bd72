/** What is read of a device before it is opened. The device is /dev/null: a character device that does nothing. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { monotonicMs } from '../../../src/guard/family.ts';
import { WatchdogDevice, type WatchdogOptions } from '../../../src/guard/watchdog-device.ts';

let sysfs: string;
let said: string[];
const devices: WatchdogDevice[] = [];

beforeEach(() => {
  sysfs = mkdtempSync(join(tmpdir(), 'pgha-sysfs-'));
  said = [];
});
afterEach(() => {
  for (const device of devices.splice(0)) device.end();
  rmSync(sysfs, { recursive: true, force: true });
});

function aDevice(over: Partial<WatchdogOptions> = {}): WatchdogDevice {
  const options: WatchdogOptions = {
    mode: 'required',
    device: '/dev/null',
    safetyMarginMs: null,
    driver: 'default',
    ...over,
  };
  const device = new WatchdogDevice(options, (sentence) => said.push(sentence), sysfs);
  devices.push(device);
  return device;
}

function driverSays(attributes: Record<string, string>): void {
  const home = join(sysfs, 'dev/char/1:3');
  mkdirSync(home, { recursive: true });
  for (const [name, value] of Object.entries(attributes)) writeFileSync(join(home, name), `${value}\n`);
}

const proven = (leftMs: number) => ({ until: monotonicMs() + leftMs, ttl: 10_000 });

describe('a watchdog device', () => {
  it('is taken at what its driver says in sysfs', () => {
    driverSays({ timeout: '5' });
    expect(aDevice().look()).toEqual({ kind: 'ready', device: '/dev/null', timeout: 5_000 });
  });

  it('whose timeout nobody can tell is not opened', () => {
    const device = aDevice();
    expect(device.look()).toMatchObject({ kind: 'unusable' });
    expect(device.keepFor(proven(10_000))).toContain('timeout');
    expect(device.isOpen).toBe(false);
  });

  it('that is not there, or is no device, is not opened', () => {
    expect(aDevice({ device: join(sysfs, 'none') }).keepFor(proven(10_000))).toContain('does not exist');
    writeFileSync(join(sysfs, 'file'), '');
    expect(aDevice({ device: join(sysfs, 'file') }).keepFor(proven(10_000))).toContain('character device');
  });

  it('with a timeout that reaches beyond the window is not opened', () => {
    driverSays({ timeout: '60' });
    const device = aDevice();
    expect(device.keepFor(proven(10_000))).toContain('60 s');
    driverSays({ timeout: '5' });
    expect(device.keepFor(proven(5_400))).toContain('too late');
    expect(device.isOpen).toBe(false);
    expect(device.keepFor(proven(5_600))).toBeNull();
    expect(device.isOpen).toBe(true);
    expect(device.isRunningOut).toBe(false);
  });

  it('runs out as soon as what was proven is good for no further ping', () => {
    driverSays({ timeout: '5' });
    const device = aDevice();
    expect(device.keepFor(proven(9_000))).toBeNull();
    device.doubt();
    expect(device.isRunningOut).toBe(true);
    device.end();
    expect(device.isOpen).toBe(false);
    expect(device.isRunningOut).toBe(false);
  });

  it('that cannot be stopped is said to be one', () => {
    driverSays({ timeout: '5', nowayout: '1' });
    const device = aDevice();
    device.keepFor(proven(9_000));
    device.end();
    expect(said.join('\n')).toContain('never to stop');
  });
});
