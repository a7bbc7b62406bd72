/**
 * The adapter behind ports/commands: runs the operator's own commands through a shell, as repmgr does, with a time
 * limit after which everything they started is ended. What they print is kept to its last line.
 */
import type { Config } from '../config/schema.ts';
import type { Commands, ValidationOutcome } from '../ports/commands.ts';
import type { EventLog } from '../ports/event-log.ts';
import { type CommandPlace, type CommandResult, runCommand } from '../postgres/command.ts';
import { expandPlaceholders, type Placeholders } from './placeholders.ts';

/** More of what a command printed stands in no log line. */
const MOST_SAID = 200;

export class ShellCommands implements Commands {
  readonly #config: () => Config;
  readonly #place: CommandPlace;
  readonly #log: EventLog;
  /** Placeholders that were complained about once. */
  readonly #complained = new Set<string>();

  /** @param config - asked anew with each command: a reload may have changed it */
  constructor(config: () => Config, place: CommandPlace, log: EventLog) {
    this.#config = config;
    this.#place = place;
    this.#log = log;
  }

  async validateFailover(facts: { readonly visible: number; readonly total: number }): Promise<ValidationOutcome> {
    const { commands, node } = this.#config();
    if (commands.failoverValidation === null) return { kind: 'approved' };
    const result = await this.#run('failover_validation_command', commands.failoverValidation, {
      limitMs: commands.failoverValidationTimeout,
      values: {
        n: String(node.nodeId ?? 0),
        a: node.name,
        v: String(facts.visible),
        u: String(facts.total),
        t: String(facts.total),
      },
    });
    return result.kind === 'done' ? { kind: 'approved' } : { kind: 'vetoed', said: result.said };
  }

  /** Never throws; `said` is one sentence on what went wrong. */
  async #run(
    setting: string,
    template: string,
    how: { readonly limitMs: number; readonly values: Placeholders },
  ): Promise<{ readonly kind: 'done' } | { readonly kind: 'failed'; readonly said: string }> {
    const { command, unknown } = expandPlaceholders(template, how.values);
    const strange = unknown.filter((one) => !this.#complained.has(setting + one));
    for (const one of strange) this.#complained.add(setting + one);
    if (strange.length > 0) {
      this.#log.write('warn', 'config.adjusted', `${setting}: ${strange.join(', ')} means nothing here and was left`);
    }
    try {
      const result = await runCommand(this.#place, '/bin/sh', ['-c', command], {
        limitMs: how.limitMs,
        plainLocale: false,
      });
      if (result.endedBy === 'itself' && result.code === 0) return { kind: 'done' };
      return { kind: 'failed', said: whatWentWrong(result, how.limitMs) };
    } catch (error) {
      return { kind: 'failed', said: error instanceof Error ? error.message : String(error) };
    }
  }
}

function whatWentWrong(result: CommandResult, limitMs: number): string {
  const printed = `${result.stderr}\n${result.stdout}`
    .replace(/[^\P{C}\n]/gu, '?')
    .trim()
    .split('\n')[0]
    ?.slice(0, MOST_SAID);
  const why =
    result.endedBy === 'limit'
      ? `it was ended after ${limitMs / 1000} s`
      : result.code === 127
        ? 'there is no such command (exit code 127)'
        : `exit code ${result.code}`;
  return printed === undefined || printed === '' ? why : `${why}: ${printed}`;
}
