/**
 * Whether a directory can be written to, and how much room it has: a small file, written, brought to the disk and
 * removed again, by a shell that does nothing else. On a hung disk whoever asks hangs, and no signal ends him; so it is
 * the shell that hangs. The daemon only talks to it through a pipe, and never has more than one try under way.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Directory, DiskFacts, Writing } from '../core/sickness.ts';
import type { Instant } from '../core/time.ts';
import type { Place } from './place.ts';

/** As Postgres calls its temporary files: pg_basebackup and pg_rewind leave them where they are. */
const PROBE_FILE = 'pgsql_tmp_pgha_probe';

/**
 * A line in is the directory to try, a line out is what became of it: exit code, room, what was said. Made anew each
 * time, because a full disk goes on taking what is written over. Everything the shell needs is started by the shell:
 * on a hung disk even the start of a program may not end.
 */
const SCRIPT = `
while IFS= read -r directory; do
  file=$directory/${PROBE_FILE}
  room=$(stat -f -c '%a %b %S' "$directory" 2>&1 </dev/null)
  said=$(dd if=/dev/zero of="$file" bs=8192 count=1 conv=fsync 2>&1 </dev/null)
  code=$?
  rm -f "$file" 2>/dev/null </dev/null
  printf '%s\\t%s\\t%s\\n' "$code" "$(printf %s "$room" | tr '\\n\\t' '  ')" "$(printf %s "$said" | tr '\\n\\t' '  ')"
done`;

export class DiskProbe {
  readonly #place: Pick<Place, 'clock' | 'runAs'>;
  readonly #directory: Directory;
  readonly #path: string;
  #shell: ChildProcess | null = null;
  #heard = '';
  #tryingSince: Instant | null = null;
  #known: Pick<DiskFacts, 'last' | 'freeBytes' | 'totalBytes'> = NOTHING_KNOWN;
  #waiting: (() => void)[] = [];

  constructor(place: Pick<Place, 'clock' | 'runAs'>, directory: Directory, path: string) {
    this.#place = place;
    this.#directory = directory;
    this.#path = path;
  }

  get facts(): DiskFacts {
    return { directory: this.#directory, ...this.#known, tryingSince: this.#tryingSince };
  }

  /** Begins a try, unless one is under way. */
  examine(): void {
    if (this.#tryingSince !== null || this.#path.includes('\n')) return;
    try {
      this.#shell ??= this.#begin();
      this.#tryingSince = this.#place.clock.now();
      this.#shell.stdin?.write(`${this.#path}\n`);
    } catch {
      // No process or no file descriptor is left for it: nothing is known of the disk, and the next round tries anew.
      this.#lose();
    }
  }

  /** Resolves when no try is under way. */
  settled(): Promise<void> {
    if (this.#tryingSince === null) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** What was learned is about files that are not there any more. */
  forget(): void {
    this.#known = NOTHING_KNOWN;
  }

  /** The shell ends with its input; one that hangs ends when the disk lets go of it. */
  close(): void {
    this.#shell?.stdin?.end();
    this.#lose();
  }

  #begin(): ChildProcess {
    const shell = spawn('/bin/sh', ['-c', SCRIPT], {
      cwd: '/',
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C' },
      ...(this.#place.runAs ?? {}),
    });
    const gone = (): void => {
      if (this.#shell === shell) this.#lose();
    };
    shell.on('error', gone);
    shell.on('exit', gone);
    shell.stdin.on('error', gone);
    shell.stdout.setEncoding('utf8');
    shell.stdout.on('data', (text: string) => {
      if (this.#shell === shell) this.#hear(text);
    });
    // Neither keeps the daemon from ending.
    shell.unref();
    for (const pipe of [shell.stdin, shell.stdout]) (pipe as unknown as { unref(): void }).unref();
    return shell;
  }

  #hear(text: string): void {
    this.#heard += text;
    const end = this.#heard.indexOf('\n');
    if (end < 0) return;
    this.#known = readAnswer(this.#heard.slice(0, end));
    this.#heard = this.#heard.slice(end + 1);
    this.#settle();
  }

  #lose(): void {
    this.#shell = null;
    this.#heard = '';
    this.#known = NOTHING_KNOWN;
    this.#settle();
  }

  #settle(): void {
    this.#tryingSince = null;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

const NOTHING_KNOWN = { last: null, freeBytes: null, totalBytes: null };

/** As C libraries say it in English: glibc, and musl where it differs. */
const REFUSALS: readonly (readonly [RegExp, Writing['kind']])[] = [
  [/No space left on device|Disk quota exceeded|Quota exceeded/, 'full'],
  [/Read-only file system/, 'read-only'],
  [/Input\/output error|I\/O error|Structure needs cleaning|Stale file handle|No such device/, 'io-error'],
];

/** @param line - exit code, `available blocks, all blocks, block size`, and what was said, with tabs between */
export function readAnswer(line: string): Pick<DiskFacts, 'last' | 'freeBytes' | 'totalBytes'> {
  const [code = '', room = '', said = ''] = line.split('\t');
  const blocks = /^(\d+) (\d+) (\d+)$/.exec(room.trim());
  const size = BigInt(blocks?.[3] ?? 0);
  const known = {
    freeBytes: blocks === null ? null : BigInt(blocks[1] ?? 0) * size,
    totalBytes: blocks === null ? null : BigInt(blocks[2] ?? 0) * size,
  };
  if (code === '0') return { ...known, last: { kind: 'done', said: '' } };
  for (const [pattern, kind] of REFUSALS) {
    const found = pattern.exec(`${said} ${room}`);
    if (found !== null) return { ...known, last: { kind, said: found[0] } };
  }
  // A directory that is not there, a right that is missing: no sickness of the disk, and told by whoever needs it.
  return { ...known, last: null };
}
