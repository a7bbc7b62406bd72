/**
 * Disks that are really sick, as the probe sees them: full, read-only, with I/O errors, hung. Loop devices and mounts
 * need root; the probe itself writes as the user of the servers, to whom root's reserve is not open.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { DiskFacts } from '../../src/core/sickness.ts';
import { DiskProbe } from '../../src/postgres/disk-probe.ts';
import { SystemClock } from '../../src/system/clock.ts';

const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 });
const postgres = (): { uid: number; gid: number } => {
  const line =
    readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((entry) => entry.startsWith('postgres:')) ?? '';
  const [, , uid, gid] = line.split(':').map(Number);
  return { uid: uid ?? 0, gid: gid ?? 0 };
};
const clock = new SystemClock();
const needsRoot = process.getuid?.() !== 0;

let place: string;
let probes: DiskProbe[];
let undo: (() => void)[];
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'pgha-disk-'));
  chmodSync(place, 0o755);
  probes = [];
  undo = [];
});
afterEach(() => {
  for (const probe of probes) probe.close();
  for (const one of undo.reverse()) one();
  rmSync(place, { recursive: true, force: true });
});

const probeOf = (path: string): DiskProbe => {
  const probe = new DiskProbe({ clock, ...(needsRoot ? {} : { runAs: postgres() }) }, 'data', path);
  probes.push(probe);
  return probe;
};
async function tried(probe: DiskProbe): Promise<DiskFacts> {
  probe.examine();
  await probe.settled();
  return probe.facts;
}

/** A file system of its own on a loop device, with blocks of 4 kB. */
function mounted(name: string, megabytes: number): { readonly path: string; readonly image: string } {
  const image = join(place, `${name}.img`);
  const path = join(place, name);
  writeFileSync(image, '');
  truncateSync(image, megabytes * 1_048_576);
  run('mkfs.ext4', '-q', '-O', '^has_journal', '-b', '4096', image);
  mkdirSync(path);
  run('mount', '-o', 'loop', image, path);
  undo.push(() => run('umount', path));
  chmodSync(path, 0o777);
  return { path, image };
}
const fill = (file: string, megabytes?: number): void => {
  try {
    run(
      'dd',
      'if=/dev/zero',
      `of=${file}`,
      'bs=1M',
      'conv=fsync',
      ...(megabytes === undefined ? [] : [`count=${megabytes}`]),
    );
  } catch (error) {
    if (megabytes !== undefined) throw error;
  }
};

test('a directory that can be written to is well, its room is known, and nothing is left in it', async () => {
  chmodSync(place, 0o777);
  const probe = probeOf(place);
  expect(probe.facts.last).toBeNull();
  for (let i = 0; i < 3; i++) {
    const { last, freeBytes, totalBytes, tryingSince } = await tried(probe);
    expect({ last, tryingSince }).toEqual({ last: { kind: 'done', said: '' }, tryingSince: null });
    expect(freeBytes).toBeGreaterThan(0n);
    expect(totalBytes).toBeGreaterThanOrEqual(freeBytes ?? 0n);
  }
  expect(readdirSync(place)).toEqual([]);
});

test('a directory that is not there is not known to be sick', async () => {
  expect(await tried(probeOf(join(place, 'nowhere')))).toMatchObject({ last: null, tryingSince: null });
});

test.skipIf(needsRoot)('a disk without room is full, and well again once there is room', async () => {
  const { path } = mounted('full', 16);
  const probe = probeOf(path);
  fill(join(path, 'filler'));
  expect(await tried(probe)).toMatchObject({ last: { kind: 'full', said: 'No space left on device' }, freeBytes: 0n });
  rmSync(join(path, 'filler'));
  expect(await tried(probe)).toMatchObject({ last: { kind: 'done' } });
});

test.skipIf(needsRoot)('a file system that was remounted read-only is that', async () => {
  const { path } = mounted('read-only', 16);
  const probe = probeOf(path);
  run('mount', '-o', 'remount,ro', path);
  expect((await tried(probe)).last).toEqual({ kind: 'read-only', said: 'Read-only file system' });
  run('mount', '-o', 'remount,rw', path);
  expect((await tried(probe)).last?.kind).toBe('done');
});

test.skipIf(needsRoot)('a device that answers writes with errors', async () => {
  const { path, image } = mounted('broken', 64);
  // New files find their room behind this one, and there the device ends.
  fill(join(path, 'filler'), 40);
  run('sync');
  const device = run('losetup', '-j', image).split(':')[0] ?? '';
  truncateSync(image, 20 * 1_048_576);
  run('losetup', '-c', device);
  expect((await tried(probeOf(path))).last).toEqual({ kind: 'io-error', said: 'Input/output error' });
});

test.skipIf(needsRoot)(
  'a disk that hangs holds up the shell and nobody else, and one try is all that waits',
  async () => {
    const { path } = mounted('hung', 16);
    const probe = probeOf(path);
    expect((await tried(probe)).last?.kind).toBe('done');
    run('fsfreeze', '--freeze', path);
    undo.push(() => existsSync(path) && unfreeze(path));
    const before = clock.now();
    probe.examine();
    const began = probe.facts.tryingSince;
    expect(began).not.toBeNull();
    for (let i = 0; i < 20; i++) {
      probe.examine();
      // Four of them would be all that Node has for files.
      readFileSync(join(path, '..', 'hung.img'), { encoding: 'latin1', flag: 'r' }).slice(0, 1);
      await sleep(10);
    }
    expect(clock.now() - before).toBeLessThan(5_000);
    expect(probe.facts.tryingSince).toBe(began);
    unfreeze(path);
    await probe.settled();
    expect(probe.facts).toMatchObject({ last: { kind: 'done' }, tryingSince: null });
  },
);

test('a shell that was killed is replaced with the next try', async () => {
  chmodSync(place, 0o777);
  const probe = probeOf(place);
  await tried(probe);
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (isOurShell(pid)) process.kill(Number(pid), 'SIGKILL');
  }
  await sleep(200);
  expect((await tried(probe)).last?.kind).toBe('done');
});

function unfreeze(path: string): void {
  try {
    run('fsfreeze', '--unfreeze', path);
  } catch {
    // it was not frozen any more
  }
}

function isOurShell(pid: string): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return (
      status.includes(`PPid:\t${process.pid}\n`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('/bin/sh')
    );
  } catch {
    return false;
  }
}
