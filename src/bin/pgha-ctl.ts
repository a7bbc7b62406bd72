/** The command pgha-ctl: arguments in, exit code out. Everything it can do stands in src/http/ctl/. */
import { realOutside } from '../http/ctl/outside.ts';
import { run } from '../http/ctl/program.ts';
import { ProcessTerminal } from '../http/ctl/terminal.ts';

const LINGER_MS = 500;

// `pgha-ctl list | head -1` closes our output early; that is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const terminal = new ProcessTerminal();
process.exitCode = await run(process.argv.slice(2), realOutside(terminal));
terminal.close();
// Connections that are still being taken down must not hold up the shell.
setTimeout(() => process.exit(), LINGER_MS).unref();
