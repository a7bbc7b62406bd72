/**
 * The guard as a real process, with daemons that are real processes, on fake families (any program called `postgres`
 * in the right directory) and on a real Postgres with a backend that never stops committing.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { instant, type Millis, millis } from '../../src/core/time.ts';
import { GuardClient } from '../../src/guard/client.ts';
import { familyOf, isAlive, monotonicMs, type ProcessId, processStat } from '../../src/guard/family.ts';
import { GuardProcess } from '../../src/guard/guard-process.ts';
import { readClockLead, SuspensionWatch } from '../../src/guard/suspension.ts';
import { DEFAULT_OPTIONS, FILES, type GuardOptions } from '../../src/guard/wire.ts';
import { bootId } from '../../src/system/boot-id.ts';
import { holderOf } from '../../src/system/lock.ts';
import { removeSharedMemory } from '../shared-memory.ts';

const PG_BIN = '/usr/lib/postgresql/15/bin';
const REPO = resolve(import.meta.dirname, '../..');
const BUILD = mkdtempSync(join(tmpdir(), 'pgha-guard-build-'));
const GUARD = join(BUILD, 'guard.mjs');
const DAEMON = join(BUILD, 'daemon.mjs');

/** A daemon that does nothing but hold a GuardClient and do as it is told on its standard input. */
const DAEMON_SOURCE = `
import { createInterface } from 'node:readline';
import { GuardClient } from './src/guard/client.ts';
const config = JSON.parse(process.argv[2]);
const say = (message) => process.stdout.write(JSON.stringify(message) + '\\n');
const log = { write: (severity, event, sentence) => say({ event, sentence }) };
const client = new GuardClient({ ...config, log });
client.onReplaced(() => say({ heard: 'replaced' }));
client.onSuspended(() => say({ heard: 'suspended' }));
if (config.postmaster !== undefined) client.guards(() => config.postmaster);
say({ started: await client.start(config.startLimit) });
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { n, call, args } = JSON.parse(line);
  say({ n, answer: await client[call](...args) });
});
`;

const cleanups: (() => void)[] = [];
/** A data directory made once and copied for every test. */
let template: string | null = null;

beforeAll(async () => {
  const common = { bundle: true, platform: 'node', target: 'node20', format: 'esm', logLevel: 'error' } as const;
  const main = join(REPO, 'src/guard/main.ts');
  const { metafile } = await build({ ...common, entryPoints: [main], outfile: GUARD, metafile: true });
  // The guard must not depend on anybody else's code.
  expect(Object.keys(metafile.inputs).filter((path) => path.includes('node_modules'))).toEqual([]);
  await build({ ...common, stdin: { contents: DAEMON_SOURCE, resolveDir: REPO, loader: 'ts' }, outfile: DAEMON });
});

afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

afterAll(() => {
  rmSync(BUILD, { recursive: true, force: true });
  if (template !== null) rmSync(join(template, '..'), { recursive: true, force: true });
});

// --- the pieces of a node --------------------------------------------------------------------------------------------

interface Node {
  readonly runtime: string;
  readonly data: string;
  readonly options: GuardOptions;
}

function aNode(options: Partial<GuardOptions> = {}): Node {
  const base = mkdtempSync(join(tmpdir(), 'pgha-guard-'));
  const runtime = join(base, 'run');
  const data = join(base, 'data');
  mkdirSync(runtime, { mode: 0o700 });
  mkdirSync(data, { mode: 0o700 });
  const node = { runtime, data, options: { ...DEFAULT_OPTIONS, dataDirectory: data, ...options } };
  cleanups.push(() => {
    kill(guardOf(node));
    for (const member of familyOf(data)) kill(member);
    removeSharedMemory(base);
    rmSync(base, { recursive: true, force: true });
  });
  return node;
}

const guardOf = (node: Node): ProcessId | null => {
  const holder = holderOf(join(node.runtime, FILES.lock));
  return holder !== null && isAlive(holder) ? holder : null;
};

const guardLog = (node: Node): string => {
  const path = join(node.runtime, FILES.log);
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
};

function kill(id: ProcessId | null, signal: NodeJS.Signals = 'SIGKILL'): void {
  if (id !== null && isAlive(id)) process.kill(id.pid, signal);
}

/** Starts a guard the way the service manager would: without a daemon. */
function startGuard(node: Node): ChildProcess {
  writeFileSync(join(node.runtime, FILES.options), JSON.stringify(node.options));
  return spawn(process.execPath, [GUARD, node.runtime], { stdio: 'ignore' });
}

class Daemon {
  readonly process: ChildProcess;
  readonly id: ProcessId;
  readonly heard: string[] = [];
  private readonly waiting = new Map<number, (answer: unknown) => void>();
  private n = 0;
  private start: (answer: { kind: string; cause?: string }) => void = () => {};
  readonly started = new Promise<{ kind: string; cause?: string }>((resolve) => {
    this.start = resolve;
  });

  constructor(node: Node, startLimit = 5_000, program = GUARD, postmaster?: ProcessId) {
    const config = {
      runtimeDirectory: node.runtime,
      command: [process.execPath, program],
      options: node.options,
      startLimit,
      postmaster,
    };
    this.process = spawn(process.execPath, [DAEMON, JSON.stringify(config)], { stdio: ['pipe', 'pipe', 'inherit'] });
    const pid = this.process.pid ?? 0;
    this.id = { pid, startTime: processStat(pid)?.startTime ?? '' };
    cleanups.push(() => kill(this.id));
    if (this.process.stdout === null) throw new Error('no stdout');
    createInterface({ input: this.process.stdout }).on('line', (line) => {
      const message = JSON.parse(line);
      if (message.started !== undefined) this.start(message.started);
      if (message.heard !== undefined) this.heard.push(message.heard);
      if (message.n !== undefined) this.waiting.get(message.n)?.(message.answer);
    });
  }

  async ask(call: string, ...args: unknown[]): Promise<{ kind: string; cause?: string }> {
    const n = ++this.n;
    const answer = new Promise((resolve) => this.waiting.set(n, resolve));
    this.process.stdin?.write(`${JSON.stringify({ n, call, args })}\n`);
    return (await answer) as { kind: string; cause?: string };
  }

  /** As the lease keeper does: the deadline is a margin before the end of the window. */
  async prove(node: Node, inMs: number, ttl = 5_000): Promise<{ kind: string; cause?: string }> {
    const until = monotonicMs() + inMs;
    return await this.ask('arm', { deadline: until - 1_000, dataDirectory: node.data, proven: { until, ttl } }, 500);
  }

  async arm(node: Node, inMs: number, limit = 500): Promise<{ kind: string; cause?: string }> {
    return await this.ask('arm', { deadline: monotonicMs() + inMs, dataDirectory: node.data }, limit);
  }
}

async function aDaemon(node: Node, program = GUARD, postmaster?: ProcessId): Promise<Daemon> {
  const daemon = new Daemon(node, 5_000, program, postmaster);
  expect(await daemon.started).toEqual({ kind: 'acked' });
  return daemon;
}

/** Any executable called `postgres` in the data directory counts. */
function aFakeFamily(node: Node): ChildProcess {
  const program = join(BUILD, 'postgres');
  if (!existsSync(program)) cpSync('/bin/sleep', program);
  return spawn(program, ['60'], { cwd: node.data, stdio: 'ignore' });
}

/** A running primary of which one backend never stops committing. */
async function aBusyPostgres(node: Node): Promise<ProcessId> {
  const passwd = readFileSync('/etc/passwd', 'utf8').split('\n');
  const [, , uid, gid] = (passwd.find((line) => line.startsWith('postgres:')) ?? '').split(':').map(Number);
  const as = process.getuid?.() === 0 ? { uid: uid ?? 0, gid: gid ?? 0 } : {};
  const own = (path: string): void => chownSync(path, as.uid ?? process.getuid?.() ?? 0, as.gid ?? 0);
  if (template === null) {
    const base = mkdtempSync(join(tmpdir(), 'pgha-guard-template-'));
    own(base);
    template = join(base, 'data');
    const initdb = spawnSync(`${PG_BIN}/initdb`, ['-D', template, '-A', 'trust', '-U', 'postgres', '--no-sync'], as);
    expect(initdb.status, String(initdb.stderr)).toBe(0);
  }
  const parent = join(node.data, '..');
  own(parent);
  rmSync(node.data, { recursive: true });
  expect(spawnSync('cp', ['-a', template, node.data]).status).toBe(0);
  const settings = ['fsync=off', 'listen_addresses=', `unix_socket_directories=${parent}`, 'port=5999'];
  const postmaster = spawn(`${PG_BIN}/postgres`, ['-D', node.data, ...settings.flatMap((s) => ['-c', s])], {
    ...as,
    stdio: 'ignore',
    detached: true,
  });
  const psql = (sql: string): ChildProcess =>
    spawn(`${PG_BIN}/psql`, ['-XqAt', '-h', parent, '-p', '5999', '-U', 'postgres', '-c', sql], { stdio: 'ignore' });
  const succeeds = async (sql: string): Promise<boolean> =>
    await new Promise((resolve) => psql(sql).on('exit', (code) => resolve(code === 0)));
  await eventually(() => succeeds('CREATE TABLE IF NOT EXISTS t (n int)'), 15_000);
  psql('DO $$ BEGIN LOOP INSERT INTO t VALUES (1); COMMIT; END LOOP; END $$');
  await eventually(() => succeeds('DO $$ BEGIN ASSERT (SELECT count(*) FROM t) > 100; END $$'), 15_000);
  const stat = processStat(postmaster.pid ?? 0);
  if (stat === null) throw new Error('the postmaster is gone');
  return stat;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function eventually(holds: () => boolean | Promise<boolean>, limitMs = 5_000): Promise<number> {
  const began = monotonicMs();
  while (!(await holds())) {
    if (monotonicMs() - began > limitMs) throw new Error(`not within ${limitMs} ms: ${holds.toString()}`);
    await pause(5);
  }
  return monotonicMs() - began;
}

async function aFreePort(): Promise<number> {
  return await new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

const health = (port: number) => ({ host: '127.0.0.1', port, tls: null });

async function get(port: number, method = 'GET', path = '/primary'): Promise<number | null> {
  return await new Promise((resolve) => {
    const ask = request({ host: '127.0.0.1', port, method, path, agent: false }, (response: IncomingMessage) => {
      response.resume();
      resolve(response.statusCode ?? null);
    });
    ask.on('error', () => resolve(null));
    ask.end();
  });
}

// --- the stories -----------------------------------------------------------------------------------------------------

describe('a deadline', () => {
  it('ends the family on time when the daemon was killed', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    await eventually(() => familyOf(node.data).length === 1);
    const deadline = monotonicMs() + 600;
    expect(await daemon.ask('arm', { deadline, dataDirectory: node.data }, 500)).toEqual({ kind: 'acked' });
    kill(daemon.id);
    await pause(deadline - monotonicMs() - 100);
    expect(familyOf(node.data)).toHaveLength(1);
    await eventually(() => familyOf(node.data).length === 0);
    expect(monotonicMs() - deadline).toBeLessThan(400);
  });

  it('ends the family on time when the daemon is stopped', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    expect(await daemon.arm(node, 500)).toEqual({ kind: 'acked' });
    kill(daemon.id, 'SIGSTOP');
    await eventually(() => familyOf(node.data).length === 0, 1_500);
    expect(isAlive(daemon.id)).toBe(true);
  });

  it('does not come while it is moved on, and not after a disarm', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    for (let i = 0; i < 6; i++) {
      expect(await daemon.arm(node, 400)).toEqual({ kind: 'acked' });
      await pause(150);
    }
    expect(await daemon.ask('disarm', 500)).toEqual({ kind: 'acked' });
    await pause(600);
    expect(familyOf(node.data)).toHaveLength(1);
    expect(await daemon.ask('armed', 500)).toBeNull();
  });

  it('comes also where the next daemon is for another directory: it knows nothing of the server in this one', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    await eventually(() => familyOf(node.data).length === 1);
    expect(await daemon.arm(node, 600)).toEqual({ kind: 'acked' });
    const later = { deadline: monotonicMs() + 5_000, dataDirectory: aNode().data };
    expect(await daemon.ask('arm', later, 500)).toMatchObject({ kind: 'silent' });
    await eventually(() => familyOf(node.data).length === 0, 1_500);
    expect(await daemon.ask('arm', later, 500)).toEqual({ kind: 'acked' });
  });

  it('keeps a family down that appears after it, until the daemon gives other orders', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    expect(await daemon.arm(node, 100)).toEqual({ kind: 'acked' });
    await pause(200);
    aFakeFamily(node);
    await pause(20);
    await eventually(() => familyOf(node.data).length === 0, 1_000);
    expect(await daemon.ask('disarm', 500)).toEqual({ kind: 'acked' });
    aFakeFamily(node);
    await pause(500);
    expect(familyOf(node.data)).toHaveLength(1);
  });

  it('leaves other programs and other directories alone', async () => {
    const node = aNode();
    const other = aNode();
    const daemon = await aDaemon(node);
    const sleep = spawn('/bin/sleep', ['60'], { cwd: node.data, stdio: 'ignore' });
    aFakeFamily(other);
    expect(await daemon.arm(node, 50)).toEqual({ kind: 'acked' });
    await pause(300);
    expect(familyOf(other.data)).toHaveLength(1);
    expect(sleep.exitCode).toBeNull();
    sleep.kill('SIGKILL');
  });
});

describe('the virtual address', () => {
  /** Writes down what it is told, as `ip` would do it. */
  const noting = (node: Node): string => {
    const notes = join(node.runtime, 'notes');
    writeFileSync(notes, '');
    return notes;
  };
  const withAddress = (script: (notes: string) => string): { node: Node; notes: () => string } => {
    const node = aNode();
    const notes = noting(node);
    const address = { program: '/bin/sh', args: ['-c', script(notes)], input: 'address del 10.0.0.100/24 dev eth0\n' };
    return {
      node: { ...node, options: { ...node.options, address } },
      notes: () => readFileSync(notes, 'utf8'),
    };
  };
  const NOTES = (notes: string): string => `while read -r line; do echo "$line" >> ${notes}; done`;

  it('goes when the guard strikes, and not before', async () => {
    const { node, notes } = withAddress(NOTES);
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    await eventually(() => familyOf(node.data).length === 1);
    for (let i = 0; i < 3; i++) {
      expect(await daemon.arm(node, 600)).toEqual({ kind: 'acked' });
      await pause(200);
    }
    expect(notes()).toBe('');
    kill(daemon.id, 'SIGSTOP');
    await eventually(() => familyOf(node.data).length === 0);
    await eventually(() => notes().startsWith('address del 10.0.0.100/24 dev eth0\n'));
  });

  it('goes also where Postgres was down before, and when another guard has taken over', async () => {
    const { node, notes } = withAddress(NOTES);
    const daemon = await aDaemon(node);
    expect(await daemon.arm(node, 1_500)).toEqual({ kind: 'acked' });
    kill(guardOf(node));
    await eventually(() => daemon.heard.includes('replaced'));
    await eventually(() => notes().includes('address del'));
  });

  it('does not hold the guard up where what removes it hangs, has ended, or is not there', async () => {
    for (const script of ['sleep 60', 'exit 1']) {
      const { node } = withAddress(() => script);
      const daemon = await aDaemon(node);
      aFakeFamily(node);
      await eventually(() => familyOf(node.data).length === 1);
      expect(await daemon.arm(node, 300)).toEqual({ kind: 'acked' });
      kill(daemon.id, 'SIGSTOP');
      await eventually(() => familyOf(node.data).length === 0);
    }
    const node = aNode({ address: { program: '/nowhere/ip', args: [], input: 'x\n' } });
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    await eventually(() => familyOf(node.data).length === 1);
    expect(await daemon.arm(node, 300)).toEqual({ kind: 'acked' });
    await eventually(() => familyOf(node.data).length === 0);
    expect(guardLog(node)).toContain('/nowhere/ip, which is to remove the virtual address, does not run');
  });
});

/** A fifo in the place of the device, and what was written to it. With ttl 5 its timeout is 3.5 s. */
async function aFifo(node: Node): Promise<{ readonly path: string; readonly written: () => string }> {
  const path = join(node.runtime, 'watchdog');
  expect(spawnSync('mkfifo', [path]).status).toBe(0);
  const reader = spawn('/bin/cat', [path], { stdio: ['ignore', 'pipe', 'ignore'] });
  cleanups.push(() => reader.kill('SIGKILL'));
  let text = '';
  reader.stdout?.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  // The reader hears of an end when the last writer closes, and a fifo without a reader cannot be opened.
  const holder = spawn('/bin/sh', ['-c', `exec 3<>${path}; exec sleep 60`], { stdio: 'ignore' });
  cleanups.push(() => holder.kill('SIGKILL'));
  await pause(100);
  return { path, written: () => text };
}

const watched = (mode: 'automatic' | 'required', device: string): Partial<GuardOptions> => ({
  watchdog: { mode, device, safetyMarginMs: null, driver: 'testing' },
});

describe('a watchdog device', () => {
  it('is opened with the first proof, and kept alive for as long as the proofs allow', async () => {
    const base = aNode();
    const fifo = await aFifo(base);
    const node = { ...base, options: { ...base.options, ...watched('required', fifo.path) } };
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    await eventually(() => familyOf(node.data).length === 1);
    expect(fifo.written()).toBe('');
    expect(await daemon.prove(node, 5_000)).toEqual({ kind: 'acked' });
    await eventually(() => fifo.written().length > 0);
    // A ping reaches 3.5 s ahead and the machine has to be reset half a second before the end: none after one second.
    await pause(1_200);
    const { length } = fifo.written();
    expect(length).toBeGreaterThan(1);
    await pause(700);
    expect(fifo.written()).toHaveLength(length);
    expect(await daemon.prove(node, 5_000)).toEqual({ kind: 'acked' });
    await eventually(() => fifo.written().length > length);
    expect(fifo.written()).not.toContain('V');
    expect(await daemon.ask('disarm', 500)).toEqual({ kind: 'acked' });
    await eventually(() => fifo.written().endsWith('V'));
  });

  it('is left to fire when the guard stands still, and stopped once the guard has seen everything ended', async () => {
    const base = aNode();
    const fifo = await aFifo(base);
    const node = { ...base, options: { ...base.options, ...watched('automatic', fifo.path) } };
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    await eventually(() => familyOf(node.data).length === 1);
    expect(await daemon.prove(node, 4_500)).toEqual({ kind: 'acked' });
    await eventually(() => fifo.written().length > 0);
    const guard = guardOf(node);
    kill(daemon.id, 'SIGSTOP');
    kill(guard, 'SIGSTOP');
    await pause(300);
    const { length } = fifo.written();
    await pause(1_000);
    expect(fifo.written()).toHaveLength(length);
    expect(familyOf(node.data)).toHaveLength(1);
    kill(guard, 'SIGCONT');
    await eventually(() => familyOf(node.data).length === 0, 6_000);
    await eventually(() => fifo.written().endsWith('V'));
  });

  it('that a killed guard has left running is stopped by the next one, once there is nothing to guard', async () => {
    const base = aNode();
    const fifo = await aFifo(base);
    const node = { ...base, options: { ...base.options, ...watched('required', fifo.path) } };
    const daemon = await aDaemon(node);
    expect(await daemon.prove(node, 4_400)).toEqual({ kind: 'acked' });
    kill(daemon.id);
    kill(guardOf(node));
    await pause(1_500);
    expect(fifo.written()).not.toContain('V');
    startGuard(node);
    await eventually(() => fifo.written().endsWith('V'), 6_000);
  });

  it('that is required and cannot be opened keeps the guard from acknowledging, and the daemon hears why', async () => {
    const base = aNode();
    const path = join(base.runtime, 'none');
    const node = { ...base, options: { ...base.options, ...watched('required', path) } };
    const daemon = await aDaemon(node);
    expect(await daemon.prove(node, 5_000)).toMatchObject({ kind: 'silent', cause: expect.stringContaining('exist') });
    expect(await daemon.ask('armed', 500)).toBeNull();
    const other = { ...base, ...aNode(watched('automatic', path)) };
    expect(await (await aDaemon(other)).prove(other, 5_000)).toEqual({ kind: 'acked' });
  });
});

describe('with a real Postgres that commits without end', () => {
  it('everything is gone soon after the deadline', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    await aBusyPostgres(node);
    const deadline = monotonicMs() + 500;
    expect(await daemon.ask('arm', { deadline, dataDirectory: node.data }, 500)).toEqual({ kind: 'acked' });
    kill(daemon.id);
    await eventually(() => familyOf(node.data).length === 0);
    expect(monotonicMs() - deadline).toBeLessThan(500);
  });

  it('a stopped postmaster does not protect its backends', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    const postmaster = await aBusyPostgres(node);
    kill(postmaster, 'SIGSTOP');
    const deadline = monotonicMs() + 300;
    expect(await daemon.ask('arm', { deadline, dataDirectory: node.data }, 500)).toEqual({ kind: 'acked' });
    await eventually(() => familyOf(node.data).length === 0);
    expect(monotonicMs() - deadline).toBeLessThan(600);
  });

  it('orphans of a killed postmaster are ended as well', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    const postmaster = await aBusyPostgres(node);
    kill(postmaster);
    await pause(100);
    expect(familyOf(node.data).length).toBeGreaterThan(0);
    expect(await daemon.arm(node, 50)).toEqual({ kind: 'acked' });
    await eventually(() => familyOf(node.data).length === 0, 1_500);
  });

  it('a frozen server is ended with all its processes, also where its directory was moved under it', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    const postmaster = await aBusyPostgres(node);
    expect(await daemon.arm(node, 3_000)).toEqual({ kind: 'acked' });
    const family = familyOf(node.data);
    expect(family.length).toBeGreaterThan(3);
    renameSync(node.data, `${node.data}.moved`);
    cleanups.push(() => {
      for (const member of family) kill(member);
    });
    expect(familyOf(node.data)).toEqual([]);
    kill(daemon.id);
    const next = await aDaemon(node);
    kill(postmaster, 'SIGSTOP');
    expect(await next.arm(node, 100)).toEqual({ kind: 'acked' });
    await eventually(() => !family.some(isAlive), 2_000);
  });

  it('a server whose directory was moved while nothing was armed is ended as the one that the daemon names', async () => {
    const node = aNode();
    const postmaster = await aBusyPostgres(node);
    const family = familyOf(node.data);
    cleanups.push(() => {
      for (const member of family) kill(member);
    });
    const daemon = await aDaemon(node, GUARD, { pid: postmaster.pid, startTime: postmaster.startTime });
    expect(await daemon.ask('disarm', 500)).toEqual({ kind: 'acked' });
    renameSync(node.data, `${node.data}.moved`);
    expect(await daemon.arm(node, 300)).toEqual({ kind: 'acked' });
    kill(daemon.id);
    await eventually(() => !family.some(isAlive), 3_000);
  });

  it('a primary that no daemon ever spoke for is ended when no daemon is there', async () => {
    const node = aNode({ unledGraceMs: 400 });
    await aBusyPostgres(node);
    startGuard(node);
    await eventually(() => familyOf(node.data).length === 0, 8_000);
    expect(guardLog(node)).toContain('none has ever armed');
  });

  it('a standby is left alone, and a primary of which the daemon has said "disarmed" as well', async () => {
    const standby = aNode({ unledGraceMs: 200 });
    await aBusyPostgres(standby);
    // Not restarted: to the guard, which can't ask, the file makes the difference.
    writeFileSync(join(standby.data, 'standby.signal'), '');
    startGuard(standby);
    const paused = aNode({ unledGraceMs: 200 });
    const daemon = await aDaemon(paused);
    await daemon.ask('disarm', 500);
    await aBusyPostgres(paused);
    kill(daemon.id);
    await pause(1_500);
    expect(familyOf(standby.data).length).toBeGreaterThan(0);
    expect(familyOf(paused.data).length).toBeGreaterThan(0);
  });
});

describe('the guard', () => {
  it('killed, is replaced at once, and its successor knows the deadline', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    const deadline = monotonicMs() + 1_500;
    await daemon.ask('arm', { deadline, dataDirectory: node.data }, 500);
    const first = guardOf(node);
    kill(first);
    const took = await eventually(() => daemon.heard.includes('replaced'));
    expect(took).toBeLessThan(1_000);
    expect(guardOf(node)?.pid).not.toBe(first?.pid);
    expect(await daemon.ask('armed', 500)).toEqual({ deadline, dataDirectory: node.data });
    await eventually(() => familyOf(node.data).length === 0);
    expect(monotonicMs() - deadline).toBeGreaterThan(0);
    expect(monotonicMs() - deadline).toBeLessThan(400);
  });

  it('killed together with the daemon, strikes as soon as it is there again after the deadline', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    await daemon.arm(node, 300);
    kill(daemon.id);
    kill(guardOf(node));
    await pause(500);
    expect(familyOf(node.data)).toHaveLength(1);
    startGuard(node);
    await eventually(() => familyOf(node.data).length === 0, 2_000);
  });

  it('that hangs when the next daemon comes is replaced in time for the deadline', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    const deadline = monotonicMs() + 2_000;
    await daemon.ask('arm', { deadline, dataDirectory: node.data }, 500);
    kill(guardOf(node), 'SIGSTOP');
    kill(daemon.id);
    new Daemon(node, 5_000, GUARD);
    await eventually(() => familyOf(node.data).length === 0, 8_000);
    expect(monotonicMs() - deadline).toBeLessThan(1_000);
  });

  it('of another version than the program on disk makes room for that one, and the deadline stays', async () => {
    const node = aNode();
    const program = join(node.runtime, 'guard.mjs');
    cpSync(GUARD, program);
    const daemon = await aDaemon(node, program);
    aFakeFamily(node);
    const deadline = monotonicMs() + 4_000;
    await daemon.ask('arm', { deadline, dataDirectory: node.data }, 500);
    const first = guardOf(node);
    expect(await daemon.ask('renew', 5_000)).toBe('same');
    appendFileSync(program, '\n// another version\n');
    expect(await daemon.ask('renew', 5_000)).toBe('replaced');
    expect(daemon.heard).toEqual(['replaced']);
    expect(first !== null && isAlive(first)).toBe(false);
    expect(await daemon.ask('armed', 500)).toEqual({ deadline, dataDirectory: node.data });
    expect(await daemon.ask('renew', 5_000)).toBe('same');
    expect(familyOf(node.data)).toHaveLength(1);
    // The new one keeps the word of the old one, also without a daemon.
    kill(daemon.id);
    await eventually(() => familyOf(node.data).length === 0, 6_000);
    expect(monotonicMs() - deadline).toBeGreaterThan(0);
  });

  it('stays when the one on disk does not start, and near its deadline', async () => {
    const node = aNode();
    const program = join(node.runtime, 'guard.mjs');
    cpSync(GUARD, program);
    const daemon = await aDaemon(node, program);
    aFakeFamily(node);
    await daemon.arm(node, 1_000);
    const first = guardOf(node);
    appendFileSync(program, '\n// another version\n');
    expect(await daemon.ask('renew', 5_000)).toEqual({ kept: expect.stringContaining('not now') });
    await daemon.arm(node, 20_000);
    writeFileSync(program, 'throw new Error("half an upgrade");');
    expect(await daemon.ask('renew', 5_000)).toEqual({ kept: expect.stringContaining('not ready') });
    expect(guardOf(node)).toEqual(first);
    expect(await daemon.arm(node, 20_000)).toEqual({ kind: 'acked' });
  });

  it('stopped, is replaced by the daemon: arms are silent until then', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    await daemon.arm(node, 20_000);
    const first = guardOf(node);
    kill(first, 'SIGSTOP');
    expect((await daemon.arm(node, 20_000, 300)).kind).toBe('silent');
    await eventually(async () => (await daemon.arm(node, 20_000, 500)).kind === 'acked', 8_000);
    expect(guardOf(node)?.pid).not.toBe(first?.pid);
  });

  it('stays through SIGTERM while it is armed and goes when it is not', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    await daemon.arm(node, 20_000);
    const guard = guardOf(node);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) kill(guard, signal);
    await pause(200);
    expect(guardOf(node)).toEqual(guard);
    await daemon.ask('disarm', 500);
    kill(daemon.id);
    kill(guard, 'SIGTERM');
    await eventually(() => guardOf(node) === null);
  });

  it('stands alone: a second one in the same directory ends at once', async () => {
    const node = aNode();
    await aDaemon(node);
    const second = startGuard(node);
    await eventually(() => second.exitCode !== null);
    expect(second.exitCode).toBe(3);
  });

  it('leaves by itself when there is nothing left to guard', async () => {
    const node = aNode({ leaveAfterMs: 300 });
    const daemon = await aDaemon(node);
    await pause(600);
    expect(guardOf(node)).not.toBeNull();
    await daemon.arm(node, 700);
    kill(daemon.id);
    await pause(500);
    expect(guardOf(node)).not.toBeNull();
    await eventually(() => guardOf(node) === null);
  });

  it('leaves at once when the daemon says so, but not while it is armed', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    await daemon.ask('disarm', 500);
    expect(await daemon.ask('leave', 500)).toEqual({ kind: 'acked' });
    await eventually(() => guardOf(node) === null, 500);

    const armed = aNode();
    const other = await aDaemon(armed);
    await other.arm(armed, 10_000);
    expect((await other.ask('leave', 500)).kind).toBe('silent');
    expect(guardOf(armed)).not.toBeNull();
  });

  it('does not use a file from before a reboot', async () => {
    const node = aNode({ unledGraceMs: 60_000 });
    const orders = { kind: 'armed', deadline: 1, dataDirectory: node.data, postmaster: null };
    writeFileSync(join(node.runtime, FILES.state), JSON.stringify({ boot: 'another', orders, daemon: null }));
    aFakeFamily(node);
    startGuard(node);
    await eventually(() => guardLog(node).includes('before the last boot'));
    await pause(200);
    expect(familyOf(node.data)).toHaveLength(1);
  });
});

describe('orders', () => {
  it('are taken from one daemon only, and from the next one when the first is gone', async () => {
    const node = aNode();
    const first = await aDaemon(node);
    await first.arm(node, 20_000);
    const second = new Daemon(node, 300);
    expect((await second.started).kind).toBe('silent');
    expect((await second.arm(node, 60_000, 200)).kind).toBe('silent');
    kill(first.id);
    await eventually(async () => (await second.arm(node, 20_000)).kind === 'acked', 2_000);
  });

  it('of a process that is not the one it says it is are not taken', async () => {
    const node = aNode();
    startGuard(node);
    await eventually(() => existsSync(join(node.runtime, FILES.socket)));
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(join(node.runtime, FILES.socket));
      socket.setEncoding('utf8').on('data', (data: string) => resolve(data));
      socket.write(`${JSON.stringify({ id: 1, do: 'hello', pid: process.pid, startTime: '1' })}\n`);
    });
    expect(JSON.parse(answer)).toMatchObject({ id: 1, ok: false });
  });

  it('a daemon that hangs after a strike is ended, where a service manager starts the next', async () => {
    const node = aNode({ endHungDaemon: true });
    const daemon = await aDaemon(node);
    await daemon.arm(node, 100);
    kill(daemon.id, 'SIGSTOP');
    await eventually(() => !isAlive(daemon.id), 10_000);

    // The same while the guard was replaced, by its own unit, during the hang.
    const worse = aNode({ endHungDaemon: true });
    const hung = await aDaemon(worse);
    await hung.arm(worse, 500);
    kill(hung.id, 'SIGSTOP');
    kill(guardOf(worse));
    startGuard(worse);
    await eventually(() => !isAlive(hung.id), 8_000);

    const well = aNode({ endHungDaemon: true });
    const other = await aDaemon(well);
    await other.arm(well, 100);
    await pause(2_800);
    expect(isAlive(other.id)).toBe(true);
  });
});

describe('a suspension of the machine', () => {
  it('leaves half a second, tells the daemon, and a proof made before it extends nothing', async () => {
    const node = aNode();
    // In this process, so that its clocks can be moved.
    let ahead = 0;
    const guard = new GuardProcess({
      runtimeDirectory: node.runtime,
      build: null,
      readOptions: () => node.options,
      log: () => undefined,
      exit: () => undefined,
      suspension: new SuspensionWatch(() => ({ boot: ahead, wall: 0 })),
    });
    guard.start();
    await eventually(() => existsSync(join(node.runtime, FILES.socket)));
    const told: string[] = [];
    const log = { write: () => undefined };
    const client = new GuardClient({ runtimeDirectory: node.runtime, command: ['false'], options: node.options, log });
    client.onSuspended((because) => told.push(because));
    expect(await client.start(millis(1_000))).toEqual({ kind: 'acked' });
    const armFor = (ms: number) =>
      client.arm({ deadline: instant(monotonicMs() + ms), dataDirectory: node.data }, millis(500));
    expect(await armFor(20_000)).toEqual({ kind: 'acked' });
    ahead += 3_000;
    // Sent before the guard could tell: refused. Everything after the notice is taken.
    expect((await armFor(30_000)).kind).toBe('silent');
    const armed = await client.armed(millis(500));
    expect(armed).not.toBe('silent');
    if (armed !== null && armed !== 'silent') expect(armed.deadline - monotonicMs()).toBeLessThanOrEqual(500);
    expect(told).toHaveLength(1);
    expect(await armFor(20_000)).toEqual({ kind: 'acked' });
    ahead += 3_000;
    await eventually(() => told.length === 2, 1_000);
    await client.disarm(millis(500));
    // Unarmed it watches no clock: the order says how they stood when the proof was asked for.
    const clocks = { boot: millis(ahead), wall: millis(0) };
    const proven = (ms: number, at: { readonly boot: Millis; readonly wall: Millis }) =>
      client.arm({ deadline: instant(monotonicMs() + ms), dataDirectory: node.data, clocks: at }, millis(500));
    ahead += 3_000;
    expect((await proven(20_000, clocks)).kind).toBe('silent');
    expect(await client.armed(millis(500))).toBeNull();
    await eventually(() => told.length === 3, 1_000);
    expect(await proven(20_000, { ...clocks, boot: millis(ahead) })).toEqual({ kind: 'acked' });
    await client.disarm(millis(500));
    await client.leave(millis(500));
  });
});

describe('a suspension that no guard has seen', () => {
  const armedAsOf = (node: Node, ago: number, deadline: number): void => {
    const { boot, wall } = readClockLead();
    const clocks = { boot, wall: wall - ago };
    const orders = { kind: 'armed', deadline, dataDirectory: node.data, postmaster: null, clocks };
    writeFileSync(join(node.runtime, FILES.state), JSON.stringify({ boot: bootId(), orders, daemon: null }));
  };

  it('is found by the next one in the file, which leaves half a second', async () => {
    const node = aNode();
    armedAsOf(node, 3_000, monotonicMs() + 60_000);
    aFakeFamily(node);
    startGuard(node);
    await eventually(() => familyOf(node.data).length === 0);
    expect(guardLog(node)).toContain('suspended?');
  });

  it('is not suspected because the next one came late', async () => {
    const node = aNode();
    const deadline = monotonicMs() + 60_000;
    armedAsOf(node, 0, deadline);
    aFakeFamily(node);
    const daemon = await aDaemon(node);
    expect(await daemon.ask('armed', 500)).toEqual({ deadline, dataDirectory: node.data });
    expect(daemon.heard).not.toContain('suspended');
  });

  it('is told the daemon that was there all the time, when it has a guard again', async () => {
    const node = aNode();
    const daemon = await aDaemon(node);
    aFakeFamily(node);
    await daemon.arm(node, 60_000);
    armedAsOf(node, 3_000, monotonicMs() + 60_000);
    kill(guardOf(node));
    await eventually(() => daemon.heard.includes('suspended'));
    await eventually(() => familyOf(node.data).length === 0);
  });
});

describe('the health port', () => {
  it('answers 503 to anything soon after the daemon is gone, and is free when the next hello is acked', async () => {
    const port = await aFreePort();
    const node = aNode({ health: health(port) });
    const daemon = await aDaemon(node);
    expect(await get(port)).toBeNull();
    kill(daemon.id);
    const took = await eventually(async () => (await get(port)) === 503, 2_000);
    expect(took).toBeLessThan(400);
    for (const method of ['HEAD', 'OPTIONS', 'POST']) expect(await get(port, method, '//x')).toBe(503);
    const raw = await new Promise<string>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write('OPTIONS / HTTP/1.0\r\n\r\n'));
      socket.setEncoding('utf8').on('data', (data: string) => resolve(data));
    });
    expect(raw).toMatch(/^HTTP\/1\.1 503 /);

    const idle = connect(port, '127.0.0.1').on('error', () => {});
    await aDaemon(node);
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.on('error', reject);
      server.listen(port, '127.0.0.1', () => resolve());
    });
    server.close();
    idle.destroy();
  });

  it('is taken as soon as whoever holds it lets go', async () => {
    const port = await aFreePort();
    const node = aNode({ health: health(port) });
    const holder = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', () => resolve()));
    startGuard(node);
    await pause(700);
    holder.close();
    expect(await eventually(async () => (await get(port)) === 503, 1_000)).toBeLessThan(300);
  });

  it('speaks TLS with the certificate of the daemon', async () => {
    const port = await aFreePort();
    const certfile = join(BUILD, 'cert.pem');
    const keyfile = join(BUILD, 'key.pem');
    const openssl = spawnSync('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-keyout', keyfile, '-out', certfile],
    ]);
    expect(openssl.status).toBe(0);
    const tls = { certfile, keyfile, keyfilePassword: null };
    const node = aNode({ health: { host: '127.0.0.1', port, tls } });
    startGuard(node);
    await eventually(() => {
      const curl = spawnSync('curl', ['-sk', '-o', '/dev/null', '-w', '%{http_code}', `https://127.0.0.1:${port}/`]);
      return String(curl.stdout) === '503';
    });
  });
});
