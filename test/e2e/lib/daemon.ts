/**
 * The daemon of one node as the tests see it: started, killed, frozen, ended in order; and started again by a tiny
 * supervisor, as systemd would with `Restart=always`, unless it ended with the code of a bad configuration.
 */
import type { ChildProcess } from 'node:child_process';
import { launch, nodeForServer } from './launch.ts';
import type { Host } from './network.ts';
import { alive, identify, type ProcessId, signal } from './processes.ts';
import { until } from './time.ts';

/** sysexits' EX_CONFIG: what the systemd unit names in RestartPreventExitStatus. */
export const EXIT_CONFIG = 78;

/** systemd's RestartSec of our unit. */
const RESTART_AFTER_MS = 100;

export interface DaemonOptions {
  readonly host: Host;
  /** The bundle that Node runs; or, where it is no JavaScript, a program of its own (Patroni). */
  readonly program: string;
  readonly config: string;
  readonly log: string;
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly capabilities?: readonly string[];
}

export class Daemon {
  private readonly options: DaemonOptions;
  private child: ChildProcess | null = null;
  private supervised = false;
  private timer: NodeJS.Timeout | undefined;
  /** Exit codes (or signals) of its earlier lives. */
  readonly exits: (number | NodeJS.Signals | null)[] = [];

  constructor(options: DaemonOptions) {
    this.options = options;
  }

  start(supervise = true): void {
    this.supervised = supervise;
    if (this.id() !== null) return;
    clearTimeout(this.timer);
    const [program = '', ...args] = this.options.program.endsWith('.js')
      ? [nodeForServer(), this.options.program]
      : [this.options.program];
    const child = launch({
      host: this.options.host,
      program,
      args: [...args, this.options.config],
      log: this.options.log,
      cwd: this.options.cwd,
      asServer: true,
      capabilities: this.options.capabilities ?? [],
      ...(this.options.env === undefined ? {} : { env: this.options.env }),
    });
    this.child = child;
    child.on('exit', (code, signalName) => {
      this.exits.push(code ?? signalName);
      if (this.child === child) this.child = null;
      if (!this.supervised || code === EXIT_CONFIG) return;
      this.timer = setTimeout(() => {
        if (this.supervised) this.start();
      }, RESTART_AFTER_MS);
    });
  }

  /** The living process, or null. */
  id(): ProcessId | null {
    if (this.child?.pid === undefined) return null;
    const id = identify(this.child.pid);
    return id !== null && alive(id) ? id : null;
  }

  /** SIGKILL; the supervisor, if there is one, brings it back. */
  kill(): void {
    this.send('SIGKILL');
  }

  /** SIGKILL, and it stays away. */
  killForGood(): void {
    this.supervised = false;
    clearTimeout(this.timer);
    this.send('SIGKILL');
  }

  freeze(): void {
    this.send('SIGSTOP');
  }

  thaw(): void {
    this.send('SIGCONT');
  }

  reload(): void {
    this.send('SIGHUP');
  }

  /** As `systemctl stop`: SIGTERM, and waits for the end. */
  async stop(limitMs = 30_000): Promise<void> {
    this.supervised = false;
    clearTimeout(this.timer);
    this.send('SIGTERM');
    await until('the daemon has ended', limitMs, () => this.id() === null, 20);
  }

  send(name: NodeJS.Signals): void {
    const id = this.id();
    if (id !== null) signal(id, name);
  }
}
