/**
 * Runs the operator's own commands for Postgres: service_start_command and its kin, promote_command, follow_command.
 * One at a time, through a shell, bounded in time, ended with all they started. It believes none of them: whether
 * Postgres runs, ended, was promoted or follows is looked at by those who call.
 */
import { type Expanded, expandPlaceholders, type Placeholders } from '../commands/placeholders.ts';
import type { ServiceSetting } from '../config/schema.ts';
import { type Millis, millis } from '../core/time.ts';
import { type CommandResult, lastLine, runCommand } from './command.ts';
import type { Place } from './place.ts';

export interface CommandEnd {
  /** It ended by itself, with 0. Says nothing about what it did. */
  readonly orderly: boolean;
  /** `service_start_command ended with 1: Failed to start postgresql.service` */
  readonly sentence: string;
}

/** A command that runs, or has ended. */
export interface OperatorCommand {
  /** Never rejects. */
  readonly ended: Promise<CommandEnd>;
  /** null: it runs. */
  readonly end: () => CommandEnd | null;
  /** Ends it, with all it started; resolves when it is gone, or soon all the same. Harmless afterwards. */
  readonly kill: () => Promise<void>;
  /** It has done its work and may go on: nobody ends it any more. What it started may be the server. */
  readonly letGo: () => void;
}

export interface BeginOptions {
  readonly values?: Placeholders;
  /** Shorter than the configured limit; `null`: none, whoever called has its own. */
  readonly limit?: Millis | null;
  readonly outputTo?: number;
  /** Asked immediately before it is started; when it says no, nothing is. */
  readonly stillAllowed?: () => boolean;
}

/** A server that a command starts gets back what pgha's own unit took from it, as one that we start ourselves. */
const FOR_THE_SERVER = Object.fromEntries(
  Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[0].startsWith('PG_OOM_ADJUST_') && entry[1] !== undefined,
  ),
);

/** What tidies up after a stop may do so for so long when the next command is due. */
const TIDY_UP: Millis = millis(1_000);
/** A command that was killed is gone at once; only something in the kernel's hands takes longer. */
const KILLED: Millis = millis(1_000);

export class ServiceCommands {
  readonly #place: Pick<Place, 'config' | 'binDir' | 'clock' | 'log' | 'runAs'>;
  #current: { readonly setting: ServiceSetting; readonly command: OperatorCommand } | null = null;
  /** Counts those who want to begin: of two who wait for the same end, the later one has the word. */
  #turn = 0;
  readonly #complained = new Set<string>();

  constructor(place: Pick<Place, 'config' | 'binDir' | 'clock' | 'log' | 'runAs'>) {
    this.#place = place;
  }

  has(setting: ServiceSetting): boolean {
    return this.#place.config.commands.service[setting] !== null;
  }

  get limit(): Millis {
    return this.#place.config.commands.serviceTimeout;
  }

  get busy(): boolean {
    return this.#current !== null;
  }

  /** @returns null when it was not started: it may not be any more, or another one was wanted meanwhile */
  async begin(setting: ServiceSetting, options: BeginOptions = {}): Promise<OperatorCommand | null> {
    const turn = ++this.#turn;
    await this.#endCurrent();
    if (turn !== this.#turn || options.stillAllowed?.() === false) return null;
    const text = this.#place.config.commands.service[setting] ?? 'false';
    const command = this.#start(setting, this.#filledIn(setting, text, options.values), options);
    this.#current = { setting, command };
    void command.ended.then(() => {
      if (this.#current?.command === command) this.#current = null;
    });
    return command;
  }

  /** Nothing of the operator's is at work any more, or waits to be: before we do ourselves what it might undo. */
  async quiet(): Promise<void> {
    this.#turn++;
    await this.#endCurrent();
  }

  /**
   * Postgres is being ended our own way, at once: what might start it again must not go on, and who else looks after it
   * (a unit of systemd) is told that it is meant to be down. Nothing of this is waited for.
   */
  postgresEnds(): void {
    this.#turn++;
    void this.#current?.command.kill();
    if (!this.has('service_stop_command')) return;
    void this.begin('service_stop_command').catch((error: unknown) =>
      this.#place.log.write('debug', 'action.failed', 'service_stop_command after a fence', { error }),
    );
  }

  async #endCurrent(): Promise<void> {
    const current = this.#current;
    if (current === null) return;
    const { clock } = this.#place;
    if (current.setting === 'service_stop_command') await Promise.race([current.command.ended, clock.sleep(TIDY_UP)]);
    await current.command.kill();
    if (this.#current === current) this.#current = null;
  }

  #filledIn(
    setting: ServiceSetting,
    text: string,
    values: Placeholders | undefined,
  ): Pick<Expanded, 'command' | 'env'> {
    // Most of these know no placeholders, and a percent sign in them is the operator's (`date +%s`).
    if (values === undefined) return { command: text, env: {} };
    const { command, env, unknown } = expandPlaceholders(text, values);
    const strange = unknown.filter((one) => !this.#complained.has(setting + one));
    for (const one of strange) this.#complained.add(setting + one);
    if (strange.length > 0) {
      const sentence = `${setting}: ${strange.join(', ')} means nothing here and was left`;
      this.#place.log.write('warn', 'config.adjusted', sentence);
    }
    return { command, env };
  }

  #start(setting: ServiceSetting, filled: Pick<Expanded, 'command' | 'env'>, options: BeginOptions): OperatorCommand {
    const limit = options.limit === undefined ? this.limit : options.limit;
    const abort = new AbortController();
    let free = false;
    let end: CommandEnd | null = null;
    const ran = runCommand(this.#place, '/bin/sh', ['-c', filled.command], {
      withoutCapabilities: true,
      signal: abort.signal,
      // What hangs may do its deed while it is asked politely to end.
      graceMs: 0,
      plainLocale: false,
      env: { ...FOR_THE_SERVER, ...filled.env },
      ...(limit === null ? {} : { limitMs: limit }),
      ...(options.outputTo === undefined ? {} : { outputTo: options.outputTo }),
    });
    const ended = ran.then(
      (result) => ({
        orderly: result.endedBy === 'itself' && result.code === 0,
        sentence: describe(setting, result, limit, options.outputTo === undefined),
      }),
      (error: unknown) => ({
        orderly: false,
        sentence: `${setting} could not be run: ${error instanceof Error ? error.message : String(error)}`,
      }),
    );
    void ended.then((how) => {
      end = how;
    });
    return {
      ended,
      end: () => end,
      kill: async () => {
        if (free) return;
        abort.abort();
        await Promise.race([ended, this.#place.clock.sleep(KILLED)]);
      },
      letGo: () => {
        free = true;
        if (this.#current?.command.ended === ended) this.#current = null;
      },
    };
  }
}

function describe(setting: ServiceSetting, result: CommandResult, limit: Millis | null, kept: boolean): string {
  const how =
    result.endedBy === 'itself'
      ? `ended with ${result.code}`
      : result.endedBy === 'limit'
        ? `was ended after ${(limit ?? 0) / 1000} s`
        : 'was ended by us';
  return kept ? `${setting} ${how}: ${printable(lastLine(result))}` : `${setting} ${how}`;
}

/** More of what a command printed stands in no sentence. */
const MOST_SAID = 200;

export const printable = (line: string): string => line.replace(/\p{C}/gu, '?').slice(0, MOST_SAID);
