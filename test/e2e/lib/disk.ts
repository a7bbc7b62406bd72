/**
 * A disk for one directory that can be made to hang: a file system of its own on a loop device, which the kernel freezes.
 * While it is frozen every write waits in the kernel, and no signal ends the one who waits. Reads go on. It can also be
 * filled, and made to answer with errors, by the kernel's own means of trying out what ext4 does then.
 */
import { execFileSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmdirSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { openRun, runDirectory, serverAccount } from './run.ts';

/** Grows as it is written to; nothing here writes more. */
const SIZE_BYTES = 1 << 30;

const FILLER = 'filler-of-the-test';
/** EXT4_SIM_DIRBLOCK_EIO: whoever looks into a directory, as who makes a file does, gets an I/O error. */
const DIRECTORIES_FAIL = '7';

const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 });

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

/** As a careful operator mounts it: a file system that finds itself broken takes no more writes. */
const MOUNTED = 'loop,errors=remount-ro';

export class Disk {
  readonly path: string;
  private readonly image: string;
  private frozen = false;
  private failing: NodeJS.Timeout | null = null;

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
    run('mount', '-o', MOUNTED, image, path);
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

  /** Nothing is left of it for anybody but root. */
  fill(): void {
    const { bavail, bsize } = statfsSync(this.path);
    if (bavail > 0) run('fallocate', '-l', String(bavail * bsize), join(this.path, FILLER));
  }

  makeRoom(): void {
    rmSync(join(this.path, FILLER), { force: true });
  }

  /** The kernel finds the file system broken and makes it read-only, also for who has a file open. */
  turnReadOnly(): void {
    writeFileSync(this.knob('trigger_fs_error'), 'for a test of pgha');
  }

  /** As after a repair: the same files can be written to again. @throws while somebody uses it */
  mountAnew(): void {
    run('umount', this.path);
    run('sh', '-c', 'e2fsck -fp "$0" || test $? -eq 1', this.image);
    run('mount', '-o', MOUNTED, this.image, this.path);
  }

  /** Whether this kernel can make ext4 answer with I/O errors. */
  get canFail(): boolean {
    try {
      accessSync(this.knob('simulate_fail'));
      return true;
    } catch {
      return false;
    }
  }

  /** Whoever makes a file gets an I/O error. The kernel lets one call fail each time it is told to. */
  fail(on: boolean): void {
    if (this.failing !== null) clearInterval(this.failing);
    this.failing = null;
    if (!this.canFail) return;
    const knob = this.knob('simulate_fail');
    const again = (): void => writeFileSync(knob, DIRECTORIES_FAIL);
    if (on) this.failing = setInterval(again, 2);
    else writeFileSync(knob, '0');
  }

  private knob(name: string): string {
    const device = basename(run('losetup', '-j', this.image).split(':')[0] ?? '');
    return join('/sys/fs/ext4', device, name);
  }

  /** After everybody who used it has ended. */
  remove(): void {
    this.fail(false);
    this.thaw();
    run('umount', this.path);
    rmSync(this.image, { force: true });
  }
}
