/** The test's end of a client process: starts it on a host and sends it orders. */
import { type ChildProcess, execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { OrderName, Orders } from './client-messages.ts';
import { environment, launch, nodeForServer } from './launch.ts';
import type { Host } from './network.ts';
import { openRun, runDirectory } from './run.ts';

/** The repository, found from wherever this module was bundled to. */
export const repository = ((): string => {
  for (let at = dirname(fileURLToPath(import.meta.url)); at !== '/'; at = dirname(at)) {
    const path = join(at, 'package.json');
    if (existsSync(path) && (JSON.parse(readFileSync(path, 'utf8')) as { name?: string }).name === 'pgha') return at;
  }
  throw new Error('this module does not stand in the repository of pgha');
})();

let bundled: Promise<string> | null = null;

function clientProgram(): Promise<string> {
  bundled ??= (async () => {
    openRun();
    const out = join(runDirectory, 'client.mjs');
    await build({
      entryPoints: [join(repository, 'test/e2e/lib/client-process.ts')],
      outfile: out,
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'esm',
      external: ['pg-native'],
      banner: { js: "import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);" },
      logLevel: 'warning',
    });
    return out;
  })();
  return bundled;
}

export class Client {
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, { resolve: (answer: never) => void; reject: (error: Error) => void }>();
  private next = 1;

  private constructor(child: ChildProcess) {
    this.child = child;
    child.on('message', (message: { id: number; answer?: never; error?: string }) => {
      const waiting = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.error !== undefined) waiting?.reject(new Error(message.error));
      else waiting?.resolve(message.answer as never);
    });
    child.on('exit', (code, signal) => {
      for (const { reject } of this.waiting.values()) reject(new Error(`the client process ended (${code ?? signal})`));
      this.waiting.clear();
    });
  }

  static async start(host: Host, name: string): Promise<Client> {
    const child = launch({
      host,
      program: nodeForServer(),
      args: [await clientProgram()],
      log: join(runDirectory, `${name}.log`),
      cwd: runDirectory,
      // Postgres knows its superuser over the unix socket by the name of the operating system's user.
      asServer: true,
      ipc: true,
    });
    return new Client(child);
  }

  ask<N extends OrderName>(name: N, order: Orders[N]['order']): Promise<Orders[N]['answer']> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.child.send({ id, name, order }, (error) => {
        if (error !== null) {
          this.waiting.delete(id);
          reject(error);
        }
      });
    });
  }

  stop(): void {
    if (this.child.connected) this.child.disconnect();
  }
}

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command on a host and waits for its end; an exit code other than 0 is not an error here. */
export function runOn(
  host: Host,
  command: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly timeoutMs?: number; readonly cwd?: string } = {},
): Promise<CommandResult> {
  const [first = '', ...rest] = [...host.prefix, ...command];
  return new Promise((resolve) => {
    const child = execFile(
      first,
      rest,
      {
        encoding: 'utf8',
        timeout: options.timeoutMs ?? 30_000,
        maxBuffer: 64 << 20,
        env: options.env ?? environment(host.name),
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
    child.stdin?.end();
  });
}
