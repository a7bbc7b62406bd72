/**
 * Entry of the guard process: `guard.js RUNTIME_DIRECTORY`. Takes the guard's lock, puts the parts together, and lets
 * nothing but its own judgement end it. Nothing but Node's built-in modules is loaded here.
 */
import { appendFileSync, readFileSync, renameSync, statSync } from 'node:fs';
import { holdExclusively } from '../system/lock.ts';
import { GuardProcess } from './guard-process.ts';
import { DEFAULT_OPTIONS, EXIT_NOT_NEEDED, FILES, type GuardOptions } from './wire.ts';

const LOG_LIMIT_BYTES = 256 * 1024;

function main(): void {
  const runtimeDirectory = process.argv[2];
  if (runtimeDirectory === undefined || !runtimeDirectory.startsWith('/')) {
    console.error('usage: guard RUNTIME_DIRECTORY');
    process.exit(2);
  }
  process.umask(0o077);
  if (holdExclusively(`${runtimeDirectory}/${FILES.lock}`) === null) process.exit(EXIT_NOT_NEEDED);

  const log = logTo(`${runtimeDirectory}/${FILES.log}`);
  const guard = new GuardProcess({
    runtimeDirectory,
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
