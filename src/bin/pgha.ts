/** The service: `pgha FILE`, `pgha --validate-config FILE`, `pgha --version`. Arguments, signals, exit codes; no decisions. */
import '../system/runtime-limits.ts';
import { withFiles } from '../config/files.ts';
import { validateConfig } from '../config/print.ts';
import { printable } from '../config/text.ts';
import { InvariantError } from '../core/invariant.ts';
import { type Daemon, startDaemon } from '../daemon.ts';
import { PghaError } from '../errors.ts';
import { PGHA_VERSION } from '../version.ts';

/** sysexits.h EX_CONFIG: the unit does not restart on it. */
const EXIT_CONFIG = 78;
const USAGE = `usage: pgha FILE                     run the service with this configuration
       pgha --validate-config FILE   check a configuration and print what it means
       pgha --version\n`;

async function main(args: readonly string[]): Promise<void> {
  const [first, second] = args;
  if (first === '--version') {
    process.stdout.write(`pgha ${PGHA_VERSION}\n`);
    return;
  }
  if (first === '--validate-config') {
    const { exitCode, text } = await withFiles((files) => validateConfig(second, process.env, files));
    (exitCode === 0 ? process.stdout : process.stderr).write(text);
    process.exitCode = exitCode;
    return;
  }
  if (first === undefined || first.startsWith('-') || args.length > 1) {
    process.stderr.write(USAGE);
    process.exitCode = 2;
    return;
  }
  if (process.getuid?.() === 0) {
    process.stderr.write(
      'pgha does not run as root, because Postgres does not: run it as the user who owns the data directory.\n',
    );
    process.exitCode = EXIT_CONFIG;
    return;
  }
  await run(first);
}

async function run(config: string): Promise<void> {
  let ending = false;
  const end = (how: 'hand-over' | 'leave-running'): void => {
    if (ending) return;
    ending = true;
    daemon.stop(how).then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  const daemon: Daemon = await startDaemon(config, process.env, () => end('leave-running'));
  process.on('SIGTERM', () => end('hand-over'));
  process.on('SIGINT', () => end('hand-over'));
  process.on('SIGUSR2', () => void daemon.restart());
  process.on('SIGHUP', () => void daemon.reload());
}

// A broken invariant ends the process: the service manager starts it again, and the guard covers the time between.
process.on('uncaughtException', (error) => fail(error));
process.on('unhandledRejection', (error) => fail(error));

function fail(error: unknown): void {
  if (error instanceof PghaError) {
    const { happened, untouched, todo } = error.text;
    process.stderr.write(printable(`${error.code}\n${happened}\n${untouched} ${todo}\n`));
    process.exit(error.code.startsWith('PGHA_CONFIG') ? EXIT_CONFIG : 1);
  }
  const what =
    error instanceof InvariantError ? 'a rule of pgha itself does not hold' : 'an error that nobody expected';
  process.stderr.write(
    `pgha ends: ${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  process.exit(1);
}

main(process.argv.slice(2)).catch(fail);
