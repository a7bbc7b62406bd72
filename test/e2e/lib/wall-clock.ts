/**
 * A wall clock for the processes of one node that can be set while they run: a small library, preloaded, adds what a
 * file says. The machine's own clock is never set. Not for etcd, whose program takes no preloaded library.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from './client.ts';
import { openRun, runDirectory } from './run.ts';

/** Why wall clocks can't be set here, or null. */
export function wallClocksUnavailable(): string | null {
  try {
    library();
    execFileSync('true', { env: { ...process.env, LD_PRELOAD: library() }, stdio: 'ignore' });
    return null;
  } catch (error) {
    return `no C compiler: ${String(error).split('\n')[0]}`;
  }
}

let built: string | null = null;

function library(): string {
  openRun();
  if (built === null) {
    const out = join(runDirectory, 'clock-step.so');
    const source = join(repository, 'test/e2e/lib/clock-step.c');
    execFileSync('cc', ['-shared', '-fPIC', '-O2', '-o', out, source, '-ldl'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 20_000,
    });
    built = out;
  }
  return built;
}

export class WallClock {
  private readonly file: string;

  /** @param name - of the node whose clock it is */
  constructor(name: string) {
    openRun();
    this.file = join(runDirectory, `clock-${name}`);
    this.set(0);
  }

  /** Seconds ahead of the machine's clock; negative: behind. */
  set(seconds: number): void {
    const nanoseconds = Buffer.alloc(8);
    nanoseconds.writeBigInt64LE(BigInt(Math.round(seconds * 1_000)) * 1_000_000n);
    // Never cut off first: whoever has it mapped would die of reading beyond its end.
    writeFileSync(this.file, nanoseconds, { flag: existsSync(this.file) ? 'r+' : 'w', mode: 0o644 });
  }

  /** For the node's daemon; what it starts inherits it. */
  get env(): Readonly<Record<string, string>> {
    return { LD_PRELOAD: library(), E2E_CLOCK_OF_PGHA: this.file };
  }
}
