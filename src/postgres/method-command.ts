/**
 * Runs an operator's own way to a data directory: a restore with pgBackRest, Barman or WAL-G, say, for the first one of
 * a cluster or for a copy. What it has left behind is not looked at here.
 */
import type { BootstrapMethod } from '../config/schema.ts';
import type { Progress } from '../ports/postgres.ts';
import { type CommandResult, runCommand, splitCommandLine } from './command.ts';
import { forgetCommand, leftOfCommand, rememberCommand } from './known-command.ts';
import { programOf } from './occupants.ts';
import type { Place } from './place.ts';
import { COPIES_INTO, endLeftovers } from './wipe.ts';

export type MethodCommand = Pick<BootstrapMethod, 'command' | 'noParams' | 'params' | 'timeout'>;

/**
 * @param own - arguments that tell it what is to be made; left out for a command that wants none but its own
 * @param what - what is told while it runs, before a percentage of which the command speaks
 * @returns how it ended; nothing that it started goes on writing
 */
export async function runMethodCommand(
  place: Place,
  method: MethodCommand,
  {
    own,
    env = {},
    what,
  }: { readonly own: readonly string[]; readonly env?: Record<string, string>; readonly what: string },
  progress: Progress,
  signal: AbortSignal,
): Promise<CommandResult> {
  const params = method.params.map(([name, value]) => `--${name}=${value}`);
  const words = [...splitCommandLine(method.command), ...(method.noParams ? [] : [...own, ...params])];
  // env looks the program up in PATH, where runCommand would look among the Postgres binaries.
  const result = await runCommand(place, '/usr/bin/env', words, {
    signal,
    limitMs: method.timeout,
    plainLocale: false,
    wholeGroup: true,
    onStart: (pid) => remember(place, pid),
    env: { [COPIES_INTO]: place.dataDir, ...env },
    onLine: (line) => {
      const percent = Number(/(?:^|[^\d.])(\d{1,3})(?:\.\d+)?\s?%/.exec(line)?.[1] ?? Number.NaN);
      if (percent <= 100) progress(`${what}: ${percent} %`, percent / 100);
    },
  });
  // Whatever it has started in the background must not go on writing there.
  await endLeftovers(place);
  const [left] = leftOfCommand(place);
  if (left === undefined) forgetCommand(place);
  else tellOfLeft(place, left.pid, what);
  return result;
}

function remember(place: Place, pid: number): void {
  try {
    rememberCommand(place, pid);
  } catch (error) {
    // It runs already, and most of what it may leave has its mark in the environment.
    place.log.write('warn', 'operation.progress', 'The processes of a command cannot be remembered.', { pid, error });
  }
}

function tellOfLeft(place: Place, pid: number, what: string): void {
  const sentence = `${what}: process ${pid} (${programOf(pid)}) of it cannot be ended; nothing is copied to ${place.dataDir} while it lives.`;
  place.log.write('warn', 'operation.progress', sentence, { pid });
}
