/**
 * Entry of the guard process: `guard.js RUNTIME_DIRECTORY [successor]`. Takes the guard's lock, puts the parts together,
 * and lets nothing but its own judgement end it. Nothing but Node's built-in modules is loaded here. A successor says
 * that it is ready and waits for the lock: the guard before it leaves only then, and nothing but a lock lies between.
 */
import { appendFileSync, readFileSync, renameSync, statSync } from 'node:fs';
import { holdExclusively } from '../system/lock.ts';
import { buildOf } from './build.ts';
import { GuardProcess } from './guard-process.ts';
import { DEFAULT_OPTIONS, EXIT_NOT_NEEDED, FILES, type GuardOptions, SUCCESSOR } from './wire.ts';

const LOG_LIMIT_BYTES = 256 * 1024;
/** The guard before a successor leaves within milliseconds, or says no. */
const SUCCESSION_SECONDS = 5;

function main(): void {
  const runtimeDirectory = process.argv[2];
  if (runtimeDirectory === undefined || !runtimeDirectory.startsWith('/')) {
    console.error('usage: guard RUNTIME_DIRECTORY');
    process.exit(2);
  }
  process.umask(0o077);
  if (process.argv[3] === SUCCESSOR && process.send !== undefined) {
    process.send(SUCCESSOR, () => {
      process.disconnect();
      begin(runtimeDirectory, SUCCESSION_SECONDS);
    });
  } else begin(runtimeDirectory, 0);
}

function programText(): Uint8Array | null {
  try {
    return readFileSync(process.argv[1] ?? '');
  } catch {
    return null;
  }
}

function begin(runtimeDirectory: string, waitSeconds: number): void {
  // Read before the wait: what stands there later may be another version again.
  const build = buildOf(programText());
  if (holdExclusively(`${runtimeDirectory}/${FILES.lock}`, waitSeconds) === null) process.exit(EXIT_NOT_NEEDED);

  const log = logTo(`${runtimeDirectory}/${FILES.log}`);
  const guard = new GuardProcess({
    runtimeDirectory,
    build,
    log,
    readOptions: () => readOptions(`${runtimeDirectory}/${FILES.options}`),
    exit: (code) => process.exit(code),
  });
  process.on('SIGTERM', () => guard.askedToEnd('SIGTERM'));
  process.on('SIGINT', () => guard.askedToEnd('SIGINT'));
  process.on('SIGHUP', () => log('SIGHUP ignored'));
  // A mistake in one message or one client must not take the deadline with it.
  process.on('uncaughtException', (error) => log(`goes on after an unexpected error: ${error.stack ?? String(error)}`));
  guard.start();
}

function readOptions(path: string): GuardOptions {
  return { ...DEFAULT_OPTIONS, ...(JSON.parse(readFileSync(path, 'utf8')) as GuardOptions) };
}

/** Two files of bounded size on tmpfs; a log that can't be written is no reason to do anything differently. */
function logTo(path: string): (sentence: string) => void {
  return (sentence) => {
    try {
      if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LOG_LIMIT_BYTES) renameSync(path, `${path}.1`);
      appendFileSync(path, `${new Date().toISOString()} ${sentence}\n`, { mode: 0o600 });
    } catch {
      // See above.
    }
  };
}

main();
