/**
 * Whether the programs on disk, perhaps of another version by now, would start in the place of this daemon: asked
 * before it makes room for the next one. They are run with arguments that change nothing. It starts no successor: that
 * is the service manager's business.
 */
import { execFile } from 'node:child_process';

/** Loading a bundle takes a third of a second; a busy machine gets its time. */
const RUN_LIMIT_MS = 20_000;
/** Exit code of a guard that was called without its directory: it was loaded. */
const GUARD_USAGE = 2;

export interface SuccessorPrograms {
  /** The interpreter. */
  readonly node: string;
  /** As it was started, not resolved: an upgrade may have turned a link to another version. */
  readonly daemon: string;
  /** null: no guard is used. */
  readonly guard: string | null;
  /** The configuration file. */
  readonly config: string;
}

export type SuccessorAnswer =
  /** `tookMs`: how long the daemon's program ran only to look at its configuration. */
  | { readonly kind: 'fit'; readonly version: string; readonly tookMs: number }
  /** One sentence that names what was run and what it said. */
  | { readonly kind: 'unfit'; readonly sentence: string };

export async function checkSuccessor(programs: SuccessorPrograms): Promise<SuccessorAnswer> {
  const { node, daemon, guard, config } = programs;
  // One after the other, so that none waits for the others' processor and the time tells something.
  const version = await run(node, [daemon, '--version']);
  const says = /^pgha (\S+)/.exec(version.stdout)?.[1];
  if (version.code !== 0 || says === undefined) return unfit(`${daemon} does not start`, version);
  const began = performance.now();
  const usable = await run(node, [daemon, '--validate-config', config]);
  const tookMs = performance.now() - began;
  if (usable.code !== 0) return unfit(`pgha ${says} does not accept ${config}`, usable);
  const guards = guard === null ? null : await run(node, [guard]);
  if (guards !== null && guards.code !== GUARD_USAGE) return unfit(`${guard} does not start`, guards);
  return { kind: 'fit', version: says, tookMs };
}

interface Ran {
  /** null: ended by a signal, or not started at all. */
  readonly code: number | null;
  readonly stdout: string;
  readonly said: string;
}

function run(program: string, args: readonly string[]): Promise<Ran> {
  const { NOTIFY_SOCKET: _, ...env } = process.env;
  return new Promise((resolve) => {
    const options = { env, timeout: RUN_LIMIT_MS, killSignal: 'SIGKILL', maxBuffer: 1 << 20 } as const;
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      // Neither a code nor output: it was not started, or was ended at the limit.
      const silent = error === null || error.killed !== true ? (error?.message ?? '') : 'it did not end in time';
      resolve({ code: child.exitCode, stdout, said: stderr.trim() === '' ? silent : stderr });
    });
    child.stdin?.end();
  });
}

function unfit(what: string, { code, said }: Ran): SuccessorAnswer {
  const lines = said
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  // Node prints the error between the line of source and the stack.
  const error = lines.find((line) => /^\w*Error\b.*:/.test(line)) ?? lines.slice(0, 3).join(' ');
  return { kind: 'unfit', sentence: `${what}: ${error === '' ? `exit code ${code}` : error}` };
}
