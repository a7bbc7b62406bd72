/**
 * The daemon's end of the guard: finds a living guard or starts one, keeps the connection, and starts a new guard at
 * once when the old one is gone or hangs. It remembers no deadline and repeats no order by itself: after a replacement
 * the agent arms again with what it knows then (the new guard has armed itself from the old one's file meanwhile).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { type Instant, instant, type Millis, millis } from '../core/time.ts';
import type { WatchdogState } from '../core/watchdog.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { Arming, Guard, GuardAnswer } from '../ports/guard.ts';
import { holderOf } from '../system/lock.ts';
import { buildOf } from './build.ts';
import { livesOn, monotonicMs, ownProcess, type ProcessId, signalProcess } from './family.ts';
import { recall } from './guard-file.ts';
import {
  type Answer,
  EXIT_NOT_NEEDED,
  FILES,
  type GuardOptions,
  lineReader,
  type Notice,
  type Order,
  SUCCESSOR,
} from './wire.ts';

/** How often a socket that is not there yet is tried, and a guard that refuses us. */
const TRY_AGAIN_MS = 10;
const REFUSED_AGAIN_MS = 50;
/** A guard that has been started listens within this, also on a busy machine. */
const START_LIMIT_MS = 5_000;
/** A successor that was ready holds the lock as soon as the guard before it has gone. */
const SUCCESSION_LIMIT_MS = 1_000;
/** A guard that has answered nothing for so long hangs: it is ended, and the next one arms itself from its file. */
const HUNG_AFTER_MS = 3_000;
/** With a deadline that comes near, or has passed, no longer than this, and so long before it. */
const HUNG_AT_LAST_MS = 500;
const NEXT_GUARD_MS = 1_000;

export interface GuardClientOptions {
  readonly runtimeDirectory: string;
  /** Program and arguments of the guard process; the runtime directory is appended. */
  readonly command: readonly string[];
  /** Written to the runtime directory, where every guard reads it. */
  readonly options: GuardOptions;
  readonly log: EventLog;
}

interface Pending {
  readonly id: number;
  /** Built when it is sent, which may be after a reconnection. */
  readonly order: () => Order;
  readonly resolve: (answer: Answer) => void;
}

interface Connection {
  readonly socket: Socket;
  readonly ended: Promise<void>;
}

export class GuardClient implements Guard {
  readonly mode = 'on';
  watchdog: WatchdogState = { kind: 'off' };
  private readonly config: GuardClientOptions;
  private options: GuardOptions;
  private postmaster: () => ProcessId | null = () => null;
  private readonly self = ownProcess();
  private readonly replaced: (() => void)[] = [];
  private readonly suspended: ((because: string) => void)[] = [];
  /** Asked and neither answered nor given up: waiting for a connection, or for the guard. */
  private readonly pending = new Map<number, Pending>();
  private nextId = 1;
  /** Set once a hello was acked on it. */
  private socket: Socket | null = null;
  /** Connected, or about to be. */
  private current: Socket | null = null;
  private guard: ProcessId | null = null;
  private suspicions = 0;
  private connections = 0;
  private closed = false;
  private keeping: Promise<void> | null = null;
  private whenConnected: (() => void)[] = [];
  /** Which program the guard runs; null: it does not say. */
  private build: string | null = null;
  /** A guard that waits for the one before it to leave. */
  private successor: ChildProcess | null = null;
  /** Something was sent at this instant and nothing was heard since. */
  private unansweredSince: Instant | null = null;
  private trouble = '';

  constructor(config: GuardClientOptions) {
    this.config = config;
    this.options = config.options;
  }

  /**
   * Finds or starts a guard. 'silent' when none has acked the hello within `limit`; it is tried on and on all the same.
   * The health port is free once this has answered 'acked': before that the guard may stand in on it.
   */
  async start(limit: Millis): Promise<GuardAnswer> {
    this.writeOptions(this.options);
    this.keeping ??= this.keep();
    if (this.socket !== null) return { kind: 'acked' };
    const connected = new Promise<GuardAnswer>((resolve) => this.whenConnected.push(() => resolve({ kind: 'acked' })));
    return await within<GuardAnswer>(connected, limit, () => ({
      kind: 'silent',
      cause: this.trouble === '' ? 'no guard yet' : this.trouble,
    }));
  }

  async arm(arming: Arming, limit: Millis): Promise<GuardAnswer> {
    return await this.order(
      () => ({
        do: 'arm',
        deadline: arming.deadline,
        dataDirectory: arming.dataDirectory,
        suspicions: this.suspicions,
        ...arming.proven,
        ...arming.clocks,
        ...this.watched(),
      }),
      limit,
    );
  }

  /** Asked with each order: the postmaster that has to be ended at the deadline, as the daemon knows it. */
  guards(postmaster: () => ProcessId | null): void {
    this.postmaster = postmaster;
  }

  private watched(): { readonly postmaster?: ProcessId } {
    const postmaster = this.postmaster();
    return postmaster === null ? {} : { postmaster };
  }

  async disarm(limit: Millis): Promise<GuardAnswer> {
    return await this.order(() => ({ do: 'disarm' }), limit);
  }

  async armed(limit: Millis): Promise<Arming | null | 'silent'> {
    const answer = await this.request(() => ({ do: 'armed?' }), limit);
    if (!answer.ok) return 'silent';
    const { armed } = answer;
    if (armed === undefined || armed === null) return null;
    return { deadline: instant(armed.deadline), dataDirectory: armed.dataDirectory };
  }

  /** What changes while the daemon runs: the guard goes by it from now on. */
  async reconfigure(changed: Partial<GuardOptions>, limit: Millis): Promise<GuardAnswer> {
    this.options = { ...this.options, ...changed };
    this.writeOptions(this.options);
    return await this.order(() => ({ do: 'hello', ...this.self }), limit);
  }

  /**
   * A clean end of the whole service: the guard goes too, unless it is armed. Afterwards this client is closed.
   */
  async leave(limit: Millis): Promise<GuardAnswer> {
    const answer = await this.order(() => ({ do: 'leave' }), limit);
    await this.close();
    return answer;
  }

  /**
   * A guard of another version than the program that this daemon would start is replaced by that one. It is ready before
   * the old one leaves; then it arms itself from the file, and is armed anew by the proof that follows at once.
   *
   * @returns `same`: nothing had to be done; `replaced`; or why the old one stays, for now or until it ends
   */
  async renew(limit: Millis): Promise<'same' | 'replaced' | { readonly kept: string }> {
    // The disk with the programs may hang as any other does.
    const program = readFile(this.config.command[1] ?? '').catch(() => null);
    const build = buildOf(await within(program, limit, () => null));
    const before = this.connections;
    if (this.socket === null || build === null || build === this.build) return 'same';
    let successor: ChildProcess;
    try {
      successor = this.spawnGuard(true);
    } catch (error) {
      return { kept: String(error) };
    }
    const ready = new Promise<string | null>((resolve) => {
      successor.once('message', () => resolve(null));
      successor.once('error', (error) => resolve(String(error)));
      successor.once('exit', (code, signal) => resolve(`it ended with ${signal ?? code}`));
    });
    const trouble = await within(ready, limit, () => 'it does not start in time');
    if (trouble !== null) {
      successor.kill('SIGKILL');
      return { kept: `the new one is not ready: ${trouble}` };
    }
    this.successor = successor;
    const answer = await this.order(() => ({ do: 'make-room' }), limit);
    if (answer.kind === 'silent') {
      this.successor = null;
      successor.kill('SIGKILL');
      return { kept: answer.cause };
    }
    const until = monotonicMs() + limit;
    while (this.connections === before && monotonicMs() < until && !this.closed) await pause(TRY_AGAIN_MS);
    return this.connections === before ? { kept: 'the new one does not answer yet' } : 'replaced';
  }

  /** Ends the connection and leaves the guard where it is, with its deadline: a daemon that makes room for the next. */
  async close(): Promise<void> {
    this.closed = true;
    this.current?.destroy();
    await this.keeping;
  }

  onReplaced(listener: () => void): void {
    this.replaced.push(listener);
  }

  /**
   * The machine may have been suspended (protocol.md 24): the guard has cut the deadline to half a second. Prove now;
   * a proof whose keepalive was sent before this is worth nothing and must not be armed with.
   */
  onSuspended(listener: (because: string) => void): void {
    this.suspended.push(listener);
  }

  // --- orders ------------------------------------------------------------------------------------------------------

  private async order(order: () => Order, limit: Millis): Promise<GuardAnswer> {
    const answer = await this.request(order, limit);
    return answer.ok ? { kind: 'acked' } : { kind: 'silent', cause: answer.why ?? 'the guard refused' };
  }

  /** Never rejects. Without a connection it waits for one, within the limit; what was given up is not sent later. */
  private async request(order: () => Order, limit: Millis): Promise<Answer> {
    const id = this.nextId++;
    const asked = new Promise<Answer>((resolve) => {
      const pending = { id, order, resolve };
      this.pending.set(id, pending);
      if (this.socket !== null) this.send(this.socket, pending);
    });
    const answer = await within(asked, limit, (): Answer => {
      const why = this.socket !== null ? 'no answer in time' : this.trouble === '' ? 'no guard' : this.trouble;
      return { id, ok: false, why };
    });
    this.pending.delete(id);
    this.replaceIfHung();
    return answer;
  }

  private send(socket: Socket, pending: Pending): void {
    this.unansweredSince ??= instant(monotonicMs());
    socket.write(`${JSON.stringify({ id: pending.id, ...pending.order() })}\n`);
  }

  private replaceIfHung(): void {
    if (this.unansweredSince === null || this.guard === null || this.socket === null) return;
    const silentFor = monotonicMs() - this.unansweredSince;
    if (silentFor < this.patience()) return;
    const sentence = `The guard (pid ${this.guard.pid}) hangs and is replaced.`;
    this.config.log.write('warn', 'guard.silent', sentence, { silent_ms: Math.round(silentFor) });
    signalProcess(this.guard, 'SIGKILL');
    this.socket.destroy();
  }

  /**
   * How long a guard may be silent before the next one takes its place. Postgres has to end at the deadline in the file,
   * and it is the next one that ends it: so that one has to be there by then. Once Postgres is down nothing presses.
   */
  private patience(): number {
    const { orders } = recall(`${this.config.runtimeDirectory}/${FILES.state}`, () => undefined);
    if (orders.kind !== 'armed') return HUNG_AFTER_MS;
    const left = orders.deadline - monotonicMs() - NEXT_GUARD_MS;
    if (left >= HUNG_AFTER_MS || !livesOn(orders)) return HUNG_AFTER_MS;
    return Math.max(left, HUNG_AT_LAST_MS);
  }

  // --- the connection ----------------------------------------------------------------------------------------------

  private async keep(): Promise<void> {
    let backoffMs = 0;
    while (!this.closed) {
      const connection = await this.connect();
      if (connection === 'refused') {
        await pause(REFUSED_AGAIN_MS);
        continue;
      }
      if (connection === 'nobody') {
        await pause(backoffMs);
        if (this.closed) break;
        backoffMs = (await this.startGuard()) ? 0 : Math.min(1_000, Math.max(50, backoffMs * 2));
        continue;
      }
      backoffMs = 0;
      await connection.ended;
    }
  }

  /** One connection, up to the ack of hello. */
  private async connect(): Promise<Connection | 'nobody' | 'refused'> {
    const socket = connect(`${this.config.runtimeDirectory}/${FILES.socket}`);
    this.current = socket;
    socket.setEncoding('utf8');
    const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    const opened = new Promise<boolean>((resolve) => socket.once('connect', () => resolve(true)));
    socket.on('error', () => socket.destroy());
    if (!(await Promise.race([opened, ended.then(() => false)]))) return 'nobody';

    const helloId = this.nextId++;
    let helloAnswered: (answer: Answer | null) => void = () => {};
    const hello = new Promise<Answer | null>((resolve) => {
      helloAnswered = resolve;
    });
    const read = lineReader((line) => {
      let message: Answer | Notice;
      try {
        message = JSON.parse(line) as Answer | Notice;
      } catch {
        socket.destroy();
        return;
      }
      this.hear(socket, message, helloId, helloAnswered);
    });
    socket.on('data', (chunk: string) => read(chunk));
    socket.write(`${JSON.stringify({ id: helloId, do: 'hello', ...this.self })}\n`);
    const answer = await within(
      Promise.race([hello, ended.then(() => null)]),
      millis(this.patience()),
      () => 'hung' as const,
    );

    if (answer === 'hung') {
      this.endHungStranger();
      socket.destroy();
      return 'refused';
    }
    if (answer === null) return 'nobody';
    if (!answer.ok) {
      this.complain(answer.why ?? 'the guard refused the hello');
      socket.destroy();
      return 'refused';
    }
    this.connected(socket, answer);
    return { socket, ended: ended.then(() => this.disconnected()) };
  }

  private hear(
    socket: Socket,
    message: Answer | Notice,
    helloId: number,
    helloAnswered: (answer: Answer) => void,
  ): void {
    this.unansweredSince = null;
    if ('notice' in message) {
      if (message.notice === 'ping') socket.write(`${JSON.stringify({ pong: message.number })}\n`);
      else if (message.notice === 'watchdog') this.hearOfWatchdog(message.state);
      else {
        this.suspicions = message.suspicions;
        this.hearOfSuspension(message.because);
      }
    } else if (message.id === helloId) helloAnswered(message);
    else this.pending.get(message.id)?.resolve(message);
  }

  private hearOfSuspension(because: string): void {
    const sentence = `The machine may have been suspended (${because}): leadership is proven anew at once.`;
    this.config.log.write('warn', 'guard.suspended', sentence);
    for (const listener of this.suspended) listener(because);
  }

  private hearOfWatchdog(state: WatchdogState): void {
    const before = this.watchdog;
    this.watchdog = state;
    if (JSON.stringify(before) === JSON.stringify(state)) return;
    const asked = this.options.watchdog;
    if (state.kind === 'unusable') {
      // As Patroni does, a device is looked for unless somebody says otherwise; that there is none is no news.
      const severity = asked?.mode === 'required' ? 'error' : 'debug';
      const consequence = asked?.mode === 'required' ? ': this node does not lead' : '';
      this.config.log.write(
        severity,
        'watchdog.unusable',
        `${state.device} cannot be used, ${state.why}${consequence}`,
      );
    } else if (state.kind === 'ready' && before.kind === 'unusable')
      this.config.log.write('info', 'watchdog.usable', `${state.device} can be used`);
  }

  private connected(socket: Socket, hello: Answer): void {
    const before = this.guard;
    const known =
      before?.pid === hello.guard?.pid && before?.startTime === hello.guard?.startTime ? this.suspicions : 0;
    this.socket = socket;
    this.guard = hello.guard ?? null;
    this.build = hello.build ?? null;
    this.suspicions = hello.suspicions ?? 0;
    this.hearOfWatchdog(hello.watchdog ?? { kind: 'off' });
    this.trouble = '';
    this.connections++;
    if (this.connections === 1) {
      this.config.log.write('info', 'guard.started', 'The guard is there.', { pid: this.guard?.pid });
    } else {
      const planned = this.successor !== null && this.guard?.pid === this.successor.pid;
      this.successor = null;
      const sentence = planned
        ? 'A guard of the version on disk has taken the place of the former one.'
        : 'The connection to the guard had ended; a guard is there again.';
      const facts = { was: before?.pid, pid: this.guard?.pid };
      this.config.log.write(planned ? 'info' : 'warn', 'guard.replaced', sentence, facts);
      for (const listener of this.replaced) listener();
      // It has cut its deadline, and there was no connection on which to say so.
      if (this.suspicions > known)
        this.hearOfSuspension('the guard has found the clocks further ahead than when it was armed');
    }
    for (const pending of this.pending.values()) this.send(socket, pending);
    for (const resolve of this.whenConnected) resolve();
    this.whenConnected = [];
  }

  /** What was sent and not acked stays pending and goes to the next guard, if one comes before its limit has passed. */
  private disconnected(): void {
    this.socket = null;
    this.unansweredSince = null;
  }

  /** It accepts connections (the kernel does) and does not answer: stopped, or stuck. */
  private endHungStranger(): void {
    const holder = holderOf(`${this.config.runtimeDirectory}/${FILES.lock}`);
    this.complain(`the guard (pid ${holder?.pid ?? 'unknown'}) does not answer; it is ended`);
    if (holder !== null) signalProcess(holder, 'SIGKILL');
  }

  private complain(trouble: string): void {
    if (trouble === this.trouble) return;
    this.trouble = trouble;
    this.config.log.write('warn', 'guard.silent', `No guard obeys this daemon: ${trouble}.`);
  }

  // --- the process -------------------------------------------------------------------------------------------------

  /** @returns whether its socket can be expected to answer now */
  private async startGuard(): Promise<boolean> {
    if (this.successor !== null && (await this.successorListens(this.successor))) return true;
    const exit: { why: string | null; lockIsTaken: boolean } = { why: null, lockIsTaken: false };
    try {
      const child = this.spawnGuard();
      child.on('error', (error) => {
        exit.why = String(error);
      });
      child.on('exit', (code, signal) => {
        exit.lockIsTaken = code === EXIT_NOT_NEEDED;
        exit.why = exit.lockIsTaken ? 'another one is there and does not listen' : `it ended with ${signal ?? code}`;
      });
    } catch (error) {
      exit.why = String(error);
    }
    const limit = monotonicMs() + START_LIMIT_MS;
    while (monotonicMs() < limit && !this.closed) {
      if (await this.listens()) return true;
      // One that holds the lock may be about to listen.
      if (exit.why !== null && !exit.lockIsTaken) break;
      await pause(TRY_AGAIN_MS);
    }
    if (this.closed) return false;
    this.complain(`a guard was started and does not listen: ${exit.why ?? 'it takes too long'}`);
    if (exit.lockIsTaken) this.endHungStranger();
    return false;
  }

  /** It holds the lock already, or is about to: another one would only stand in its way. */
  private async successorListens(successor: ChildProcess): Promise<boolean> {
    const limit = monotonicMs() + SUCCESSION_LIMIT_MS;
    while (monotonicMs() < limit && successor.exitCode === null && successor.signalCode === null && !this.closed) {
      if (await this.listens()) return true;
      await pause(TRY_AGAIN_MS);
    }
    this.successor = null;
    successor.kill('SIGKILL');
    return false;
  }

  private spawnGuard(succeeds = false): ChildProcess {
    const { runtimeDirectory, command } = this.config;
    const [program, ...args] = command;
    if (program === undefined) throw new Error('no command for the guard');
    const output = openSync(`${runtimeDirectory}/${FILES.output}`, 'w', 0o600);
    try {
      const child = spawn(program, [...args, runtimeDirectory, ...(succeeds ? [SUCCESSOR] : [])], {
        // Its own session: it outlives us. A file for its output: a pipe of ours would break with us.
        detached: true,
        stdio: ['ignore', output, output, ...(succeeds ? ['ipc' as const] : [])],
        cwd: '/',
        // Nothing of ours: no NOTIFY_SOCKET, no NODE_OPTIONS, no passwords.
        env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LANG: 'C' },
      });
      child.unref();
      child.channel?.unref();
      return child;
    } finally {
      closeSync(output);
    }
  }

  private async listens(): Promise<boolean> {
    return await new Promise((resolve) => {
      const socket = connect(`${this.config.runtimeDirectory}/${FILES.socket}`);
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  }

  private writeOptions(options: GuardOptions): void {
    const path = `${this.config.runtimeDirectory}/${FILES.options}`;
    // tmpfs, and it may hold the password of the health port's key.
    writeFileSync(`${path}.next`, JSON.stringify(options), { mode: 0o600 });
    renameSync(`${path}.next`, path);
  }
}

/**
 * `value`, or `late()` once the limit has passed. When this process itself was late (stopped, or a busy machine), an
 * answer that already waits in a socket is read before it is given up.
 */
async function within<T>(value: Promise<T>, limit: Millis, late: () => T): Promise<T>;
async function within<T, U>(value: Promise<T>, limit: Millis, late: () => U): Promise<T | U>;
async function within<T, U>(value: Promise<T>, limit: Millis, late: () => U): Promise<T | U> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => setImmediate(() => resolve('late')), limit);
  });
  const first = await Promise.race([value.then((v) => ({ v })), tooLate]);
  clearTimeout(timer);
  return first === 'late' ? late() : first.v;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
