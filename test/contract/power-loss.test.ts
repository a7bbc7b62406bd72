/**
 * What is on the disk when the power goes: the image below a file system, copied while that is still mounted, holds what
 * was synced, and little else. Needs root and a loop device.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lsn, timeline } from '../../src/core/lsn.ts';
import { keepDiscardedWal } from '../../src/postgres/discarded-wal.ts';
import { aConfig, aControlFile, aPlace } from '../unit/postgres/place-builder.ts';

const SEGMENT = 1 << 20;

/** Without what ext4 does of its own accord for programs that do not sync. */
const OPTIONS = 'loop,noauto_da_alloc';

const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 });

let base: string;
let mounted: string[];
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'pgha-power-'));
  mounted = [];
});
afterEach(() => {
  for (const path of mounted) run('umount', path);
  rmSync(base, { recursive: true });
});

function mount(image: string): string {
  const path = `${image}.mounted`;
  mkdirSync(path);
  run('mount', '-o', OPTIONS, image, path);
  mounted.push(path);
  return path;
}

function newDisk(): string {
  const image = join(base, 'disk');
  writeFileSync(image, '');
  truncateSync(image, 256 << 20);
  run('mkfs.ext4', '-q', image);
  return image;
}

/** @returns where what the disk holds now is mounted */
function afterPowerLoss(image: string): string {
  run('cp', image, `${image}-later`);
  return mount(`${image}-later`);
}

const unavailable = ((): boolean => {
  if (process.getuid?.() !== 0) return true;
  const place = mkdtempSync(join(tmpdir(), 'pgha-power-'));
  try {
    const image = join(place, 'try');
    writeFileSync(image, '');
    truncateSync(image, 8 << 20);
    run('mkfs.ext4', '-q', image);
    mkdirSync(`${image}.mounted`);
    run('mount', '-o', OPTIONS, image, `${image}.mounted`);
    run('umount', `${image}.mounted`);
    return false;
  } catch {
    return true;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
})();

test.skipIf(unavailable)('WAL that is kept aside is there as a whole', async () => {
  const disk = newDisk();
  const dataDir = join(base, 'data');
  await mkdir(join(dataDir, 'pg_wal'), { recursive: true });
  await mkdir(join(dataDir, 'global'));
  await writeFile(join(dataDir, 'global', 'pg_control'), aControlFile(SEGMENT));
  const files = ['000000020000000000000001', '000000020000000000000002', '00000002.history'];
  for (const name of files) await writeFile(join(dataDir, 'pg_wal', name), Buffer.alloc(SEGMENT, name));
  await writeFile(join(base, 'pg_waldump'), '#!/bin/sh\n', { mode: 0o755 });
  const directory = join(mount(disk), 'kept', 'here');
  const discardedWal = { directory, size: 1n << 30n, number: 5 };
  const place = aPlace(aConfig({ dataDir, discardedWal }), { binDir: base });
  const range = { timeline: timeline(2), from: lsn(BigInt(SEGMENT)), to: lsn(BigInt(3 * SEGMENT)), leader: 'b' };
  const set = await keepDiscardedWal(place, range, () => undefined, new AbortController().signal);
  expect(set.trouble).toBeNull();

  const left = join(afterPowerLoss(disk), 'kept', 'here');
  const [name = ''] = await readdir(left);
  expect(set.kept).toBe(join(directory, name));
  expect((await readdir(join(left, name))).sort()).toEqual([...files, 'report.json'].sort());
  for (const file of files) {
    const content = await readFile(join(left, name, file));
    expect(content.equals(await readFile(join(dataDir, 'pg_wal', file)))).toBe(true);
  }
});
