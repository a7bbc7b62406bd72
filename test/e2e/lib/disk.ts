/**
 * A disk for one directory that can be made to hang: a file system of its own on a loop device, which the kernel freezes.
 * While it is frozen every write waits in the kernel, and no signal ends the one who waits. Reads go on.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { openRun, runDirectory, serverAccount } from './run.ts';

/** Grows as it is written to; nothing here writes more. */
const SIZE_BYTES = 1 << 30;

const run = (program: string, ...args: string[]): void =>
  void execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 20_000 });

/** Why such disks can't be had here, or null. */
export function disksUnavailable(): string | null {
  if (process.getuid?.() !== 0) return 'a disk that hangs needs root';
  try {
    openRun();
    const place = mkdtempSync(join(runDirectory, 'try-'));
    const disk = Disk.at(join(place, 'mounted'));
    disk.freeze();
    disk.thaw();
    disk.remove();
    return null;
  } catch (error) {
    return `a loop device with a file system that can be frozen cannot be had here: ${String(error)}`;
  }
}

export class Disk {
  readonly path: string;
  private readonly image: string;
  private frozen = false;

  private constructor(path: string, image: string) {
    this.path = path;
    this.image = image;
  }

  /** Made and mounted there, empty, for the user the servers run as. */
  static at(path: string): Disk {
    openRun();
    const image = `${path}.img`;
    writeFileSync(image, '');
    truncateSync(image, SIZE_BYTES);
    run('mkfs.ext4', '-q', '-O', '^has_journal', image);
    mkdirSync(path, { recursive: true });
    run('mount', '-o', 'loop', image, path);
    // Postgres wants an empty directory.
    if (existsSync(join(path, 'lost+found'))) rmdirSync(join(path, 'lost+found'));
    chmodSync(path, 0o700);
    const account = serverAccount();
    if (account !== null) chownSync(path, account.uid, account.gid);
    return new Disk(path, image);
  }

  freeze(): void {
    run('fsfreeze', '--freeze', this.path);
    this.frozen = true;
  }

  thaw(): void {
    if (!this.frozen) return;
    run('fsfreeze', '--unfreeze', this.path);
    this.frozen = false;
  }

  /** After everybody who used it has ended. */
  remove(): void {
    this.thaw();
    run('umount', this.path);
    rmSync(this.image, { force: true });
  }
}
