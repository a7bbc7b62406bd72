/**
 * Starts a program on a host of the test network, as the right user, with its output in a file, and with the marks by
 * which it is found again when the run ends. The program is the child itself: no shell and no wrapper stays between.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, chownSync, closeSync, constants, copyFileSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Host } from './network.ts';
import { NODE_VARIABLE, openRun, RUN_VARIABLE, runDirectory, runName, serverAccount } from './run.ts';

export interface LaunchOptions {
  readonly host: Host;
  readonly program: string;
  readonly args: readonly string[];
  /** Standard output and error are appended there. */
  readonly log: string;
  readonly cwd: string;
  /** As user postgres when we are root. */
  readonly asServer: boolean;
  /** What it may do although it is not root, as a unit's AmbientCapabilities: `net_admin`. */
  readonly capabilities?: readonly string[];
  readonly ipc?: boolean;
  /** Two pipes besides: what is written to its descriptor 3, and read from its 4. */
  readonly pipes?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

export function launch(options: LaunchOptions): ChildProcess {
  openRun();
  const command = [
    ...options.host.prefix,
    ...stepDown(options.asServer, options.capabilities),
    options.program,
    ...options.args,
  ];
  const [first = '', ...rest] = command;
  const log = openSync(options.log, 'a');
  try {
    const child = spawn(first, rest, {
      cwd: options.cwd,
      env: environment(options.host.name, options.env),
      stdio: [
        'ignore',
        log,
        log,
        ...(options.ipc === true ? (['ipc'] as const) : []),
        ...(options.pipes === true ? (['pipe', 'pipe'] as const) : []),
      ],
      // A session of its own: Ctrl-C on the terminal is for the test, which then ends its processes in order.
      detached: true,
    });
    // Without a listener a program that cannot be started would end the test process.
    child.on('error', () => undefined);
    return child;
  } finally {
    closeSync(log);
  }
}

/** The part of a command that steps down from root to user postgres. */
export function stepDown(asServer: boolean, capabilities: readonly string[] = []): string[] {
  const account = asServer ? serverAccount() : null;
  if (account === null) return [];
  const added = capabilities.map((name) => `+${name}`).join();
  const kept = added === '' ? [] : [`--inh-caps=${added}`, `--ambient-caps=${added}`];
  return ['setpriv', `--reuid=${account.uid}`, `--regid=${account.gid}`, '--init-groups', ...kept, '--'];
}

export function environment(node: string, extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const clean: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) {
    // What the developer has set for his own Postgres, etcd or pgha must not reach those of the test.
    if (!/^(PG|PATRONI_|ETCD|NODE_|VITEST|TEST$)/.test(name)) clean[name] = value;
  }
  const account = serverAccount();
  return {
    ...clean,
    ...(account === null ? {} : { USER: account.name, LOGNAME: account.name, HOME: '/nonexistent' }),
    PATH: `${clean['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`,
    [RUN_VARIABLE]: runName,
    [NODE_VARIABLE]: node,
    ...extra,
  };
}

let nodeBinary: string | undefined;

/** This very Node, at a place where user postgres can read it (a version manager keeps it under /root). */
export function nodeForServer(): string {
  if (nodeBinary === undefined) {
    nodeBinary = process.execPath;
    if (serverAccount() !== null && !readableByAll(process.execPath)) {
      nodeBinary = join(runDirectory, 'node');
      copyFileSync(process.execPath, nodeBinary);
    }
  }
  return nodeBinary;
}

/**
 * Servers run a copy of Node from now on, so that they share no page of it with the test's own processes: their
 * proportional set size is then that of servers alone on a machine.
 */
export function giveServersTheirOwnNode(): void {
  openRun();
  nodeBinary = join(runDirectory, 'node');
  copyFileSync(process.execPath, nodeBinary);
}

function readableByAll(path: string): boolean {
  for (let at = path; at !== '/'; at = dirname(at)) if ((statSync(at).mode & 0o001) === 0) return false;
  accessSync(path, constants.X_OK);
  return true;
}

/** A directory that belongs to the user the servers run as. */
export function serverDirectory(path: string, mode = 0o755): string {
  mkdirSync(path, { recursive: true, mode });
  const account = serverAccount();
  if (account !== null) chownSync(path, account.uid, account.gid);
  return path;
}
