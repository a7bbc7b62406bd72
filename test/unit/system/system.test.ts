import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { millis } from '../../../src/core/time.ts';
import { PghaError } from '../../../src/errors.ts';
import { SystemClock } from '../../../src/system/clock.ts';
import { notifyServiceManager } from '../../../src/system/notify.ts';
import { SeededRandom, systemRandom } from '../../../src/system/random.ts';
import { prepareRuntimeDirectory } from '../../../src/system/runtime-directory.ts';

let directory = '';

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-system-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('the clock', () => {
  const clock = new SystemClock();

  it('counts suspension apart from the time that runs, and trembles little', () => {
    const first = clock.suspendedFor();
    expect(Math.abs(clock.suspendedFor() - first)).toBeLessThan(100);
  });

  it('sleeps as long as asked, or until woken', async () => {
    const began = clock.now();
    await clock.sleep(millis(20));
    expect(clock.now() - began).toBeGreaterThanOrEqual(19);
    const waker = new AbortController();
    const sleep = clock.sleep(millis(60_000), waker.signal);
    waker.abort();
    await sleep;
    await clock.sleep(millis(60_000), waker.signal);
    expect(clock.now() - began).toBeLessThan(5_000);
  });

  it('fires a timer once, or never when it was cancelled', async () => {
    const fired: string[] = [];
    clock.timer(millis(5), () => fired.push('kept'));
    clock.timer(millis(5), () => fired.push('cancelled'))();
    await clock.sleep(millis(40));
    expect(fired).toEqual(['kept']);
  });
});

describe('chance', () => {
  it('is the same for the same seed, and a fork has a stream of its own', () => {
    const draw = (name: string) => {
      const random = new SeededRandom('s');
      const fork = random.fork(name);
      return [random.next(), fork.next(), fork.next(), random.next()];
    };
    expect(draw('a')).toEqual(draw('a'));
    expect(draw('a')[1]).not.toBe(draw('b')[1]);
    expect(draw('a')[0]).toBe(draw('b')[0]);
  });

  it('lies between 0 and 1 and differs from start to start', () => {
    const draws = Array.from({ length: 1_000 }, () => systemRandom().next());
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...draws)).toBeLessThan(1);
    expect(new Set(draws).size).toBeGreaterThan(990);
  });
});

describe('the runtime directory', () => {
  it('is made for us alone', () => {
    const path = join(directory, 'a', 'b');
    expect(prepareRuntimeDirectory(path).path).toBe(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    chmodSync(path, 0o755);
    prepareRuntimeDirectory(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  it('is refused where it is no directory of ours, or too long a name', () => {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    const link = join(directory, 'link');
    symlinkSync(directory, link);
    for (const path of [file, link, join(directory, 'x'.repeat(90))]) {
      expect(() => prepareRuntimeDirectory(path), path).toThrow(PghaError);
    }
  });

  it('warns when it is not in memory', () => {
    expect(prepareRuntimeDirectory(join(directory, 'r')).warnings.length).toBeLessThanOrEqual(1);
    if (existsSync('/dev/shm')) {
      const shm = mkdtempSync('/dev/shm/pgha-test-');
      expect(prepareRuntimeDirectory(shm).warnings).toEqual([]);
      rmSync(shm, { recursive: true });
    }
  });
});

describe('the service manager', () => {
  it('is told with the words of sd_notify, and only when there is one', async () => {
    const before = { path: process.env['PATH'], socket: process.env['NOTIFY_SOCKET'] };
    const said = join(directory, 'said');
    writeFileSync(join(directory, 'systemd-notify'), `#!/bin/sh\necho "$@" > ${said}\n`, { mode: 0o755 });
    try {
      delete process.env['NOTIFY_SOCKET'];
      process.env['PATH'] = `${directory}:${before.path}`;
      expect(await notifyServiceManager('ready')).toBe(false);
      expect(existsSync(said)).toBe(false);
      process.env['NOTIFY_SOCKET'] = join(directory, 'socket');
      expect(await notifyServiceManager('ready', { status: 'follows a', within: 90_500 })).toBe(true);
      expect(readFileSync(said, 'utf8').trim()).toBe(
        `READY=1 MAINPID=${process.pid} STATUS=follows a EXTEND_TIMEOUT_USEC=90500000`,
      );
    } finally {
      process.env['PATH'] = before.path;
      if (before.socket === undefined) delete process.env['NOTIFY_SOCKET'];
      else process.env['NOTIFY_SOCKET'] = before.socket;
    }
  });
});
