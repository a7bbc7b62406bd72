/**
 * The adapter behind ports/commands: runs the operator's own commands through a shell, as repmgr does, with a time
 * limit after which everything they started is ended. Of what they print the first line is kept.
 */
import type { Config } from '../config/schema.ts';
import type { CallbackName } from '../core/callbacks.ts';
import type { ClusterEvent } from '../core/cluster-events.ts';
import { type Millis, millis } from '../core/time.ts';
import type { Commands, RunOutcome, ServerNamed, ValidationOutcome } from '../ports/commands.ts';
import type { EventLog } from '../ports/event-log.ts';
import { type CommandPlace, type CommandResult, runCommand, splitCommandLine } from '../postgres/command.ts';
import { LatestOnly } from './latest.ts';
import { expandPlaceholders, type Placeholders } from './placeholders.ts';
import { CommandQueue } from './queue.ts';
import { failoverValues, notificationValues } from './values.ts';

/** So many notifications may wait behind a slow one. */
const MOST_WAITING = 100;
/** Between asking a command to end and ending it: for a trap that tidies up. Short, as the end of the service waits for it. */
const GRACE = millis(500);
/** One that was killed is gone at once; only something in the kernel's hands takes longer. */
const GONE = millis(1_000);
/** Patroni sets no limit to a callback, and one that hangs is ended by the next: this is for the last one. */
const CALLBACK_LIMIT = millis(3_600_000);
/** More of what a command printed stands in no log line. */
const MOST_SAID = 200;

/**
 * For a command that may live longer than this service: with a watcher of its own, which ends it a little after we would.
 * The text is an argument, so that nothing in it is read twice. Without a `timeout` program it runs without.
 */
const WATCHED =
  'if command -v timeout >/dev/null 2>&1; then exec timeout -k 1 "$1" /bin/sh -c "$0"; fi; exec /bin/sh -c "$0"';
const WATCHER_LATER = millis(1_000);

interface RunOptions {
  readonly limitMs: number;
  readonly values: Placeholders;
  readonly signal?: AbortSignal;
  /** It goes on when this service ends, and keeps its limit. */
  readonly outlives?: true;
}

export class ShellCommands implements Commands {
  readonly #config: () => Config;
  readonly #place: CommandPlace;
  readonly #log: EventLog;
  /** Placeholders that were complained about once. */
  readonly #complained = new Set<string>();
  /** Runs that end with the service. */
  readonly #running = new Set<Promise<unknown>>();
  readonly #ended = new AbortController();
  /** Commands that nobody waits for and that have failed; it is said once, until they work. */
  readonly #failing = new Set<string>();
  readonly #notifications = new CommandQueue(MOST_WAITING, () =>
    this.#saidOnce('event_notification_command', 'it is too slow: the oldest events that wait for it are dropped'),
  );
  readonly #failovers = new CommandQueue(MOST_WAITING, () =>
    this.#saidOnce('failover_command', 'it is too slow: the oldest failovers that wait for it are dropped'),
  );

  /** Those about settings end only their like: they must not end the one that moves an address. */
  readonly #reloads = new LatestOnly();
  readonly #callbacks = new LatestOnly();

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
      signal: this.#ended.signal,
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

  async childNodesLost(): Promise<RunOutcome> {
    const { commands, node } = this.#config();
    if (commands.childNodesDisconnect === null) return { kind: 'not-configured' };
    return this.#run('child_nodes_disconnect_command', commands.childNodesDisconnect, {
      limitMs: commands.serviceTimeout,
      outlives: true,
      values: { p: String(node.nodeId ?? 0) },
    });
  }

  notify(event: ClusterEvent): void {
    const { commands } = this.#config();
    const template = commands.eventNotification;
    if (template === null) return;
    if (commands.eventNotifications !== null && !commands.eventNotifications.includes(event.event)) return;
    const values = notificationValues(event);
    this.#notifications.add((signal) =>
      this.#unattended('event_notification_command', template, {
        limitMs: commands.eventNotificationTimeout,
        values,
        signal,
      }),
    );
  }

  failedOver({ from, to }: { readonly from: ServerNamed; readonly to: ServerNamed }): void {
    const { commands } = this.#config();
    const template = commands.failover;
    if (template === null) return;
    const values = failoverValues(from, to);
    this.#failovers.add((signal) =>
      this.#unattended('failover_command', template, { limitMs: commands.failoverTimeout, values, signal }),
    );
  }

  callback(name: CallbackName, role: string): void {
    const { commands, scope } = this.#config();
    const command = commands.callbacks[name];
    if (command === null) return;
    const words = [...splitCommandLine(command), name, role, scope];
    (name === 'on_reload' ? this.#reloads : this.#callbacks).add(async (signal) => {
      const outcome = await this.#program(words, CALLBACK_LIMIT, signal);
      if (outcome.kind === 'failed' && !signal.aborted) this.#saidOnce(name, outcome.said);
      if (outcome.kind === 'done' && this.#failing.delete(name))
        this.#log.write('info', 'action.finished', `${name} works again`, { action: name });
    });
  }

  async prePromote(signal: AbortSignal): Promise<RunOutcome> {
    const { prePromote, prePromoteTimeout } = this.#config().commands;
    if (prePromote === null) return { kind: 'not-configured' };
    return this.#program(splitCommandLine(prePromote), prePromoteTimeout, signal);
  }

  async beforeStop(): Promise<RunOutcome> {
    const { beforeStop, beforeStopTimeout } = this.#config().commands;
    if (beforeStop === null) return { kind: 'not-configured' };
    const outcome = await this.#program(splitCommandLine(beforeStop), beforeStopTimeout);
    if (outcome.kind === 'failed')
      this.#log.write('warn', 'action.failed', `before_stop: ${outcome.said}; Postgres is stopped all the same`, {
        action: 'before_stop',
      });
    return outcome;
  }

  /**
   * Lets what waits run for so long, then ends it. Not child_nodes_disconnect_command: the end of this service may be
   * the first thing that it does. Its limit holds all the same.
   */
  async close(limit: Millis): Promise<void> {
    let cancel = (): void => undefined;
    const enough = new Promise<void>((resolve) => {
      cancel = this.#place.clock.timer(limit, resolve);
    });
    const callbacks = Promise.all([this.#callbacks.idle(), this.#reloads.idle()]);
    await Promise.all([
      this.#notifications.close(enough),
      this.#failovers.close(enough),
      // What the last callback has begun goes on without us.
      Promise.race([callbacks, enough]),
    ]);
    cancel();
    this.#ended.abort();
    // What ignores SIGTERM is killed while there is somebody to do it.
    await Promise.race([Promise.all(this.#running), this.#place.clock.sleep(GONE)]);
  }

  /** One run that nobody waits for. */
  async #unattended(setting: string, template: string, how: RunOptions): Promise<void> {
    const outcome = await this.#run(setting, template, how);
    if (outcome.kind === 'failed' && !(how.signal?.aborted ?? false)) this.#saidOnce(setting, outcome.said);
    if (outcome.kind === 'done' && this.#failing.delete(setting))
      this.#log.write('info', 'action.finished', `${setting} works again`, { action: setting });
  }

  async #tracked<T>(run: Promise<T>): Promise<T> {
    const over = run.then(
      () => undefined,
      () => undefined,
    );
    this.#running.add(over);
    try {
      return await run;
    } finally {
      this.#running.delete(over);
    }
  }

  #saidOnce(setting: string, said: string): void {
    if (this.#failing.has(setting)) return;
    this.#failing.add(setting);
    this.#log.write('warn', 'action.failed', `${setting}: ${said}`, { action: setting });
  }

  /** A program as Patroni calls it: without a shell. Never throws. */
  async #program(
    words: readonly string[],
    limit: Millis,
    signal?: AbortSignal,
  ): Promise<{ readonly kind: 'done' } | { readonly kind: 'failed'; readonly said: string }> {
    try {
      // env looks the program up in PATH.
      const result = await runCommand(this.#place, '/usr/bin/env', words, {
        limitMs: limit,
        graceMs: GRACE,
        plainLocale: false,
        ...(signal === undefined ? {} : { signal }),
      });
      if (result.endedBy === 'itself' && result.code === 0) return { kind: 'done' };
      return { kind: 'failed', said: whatWentWrong(result, limit) };
    } catch (error) {
      return { kind: 'failed', said: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Never throws; `said` is one sentence on what went wrong. */
  async #run(
    setting: string,
    template: string,
    how: RunOptions,
  ): Promise<{ readonly kind: 'done' } | { readonly kind: 'failed'; readonly said: string }> {
    const { command, env, unknown } = expandPlaceholders(template, how.values);
    const strange = unknown.filter((one) => !this.#complained.has(setting + one));
    for (const one of strange) this.#complained.add(setting + one);
    if (strange.length > 0) {
      this.#log.write('warn', 'config.adjusted', `${setting}: ${strange.join(', ')} means nothing here and was left`);
    }
    try {
      const watcher = String(Math.ceil((how.limitMs + GRACE + WATCHER_LATER) / 1_000));
      const args = how.outlives === true ? ['-c', WATCHED, command, watcher] : ['-c', command];
      const run = runCommand(this.#place, '/bin/sh', args, {
        limitMs: how.limitMs,
        graceMs: GRACE,
        plainLocale: false,
        env,
        ...(how.signal === undefined ? {} : { signal: how.signal }),
      });
      const result = await (how.signal === undefined ? run : this.#tracked(run));
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
