/**
 * The guard: it holds the instant by which this node's Postgres must have stopped writing, and ends Postgres itself
 * when that instant passes, whatever the daemon does (protocol.md 6). It decides nothing else, starts nothing, speaks
 * to no network but the health port, and while it is armed it waits for nothing but /proc, tmpfs and its own sockets.
 *
 * How rules 21 and 22 are read here. A guard remembers one of three things: an arming, "disarmed" (the daemon vouched
 * for what runs), or nothing at all. "Nothing at all" means that no daemon has said anything since the machine booted;
 * a primary that runs then is led by nobody. While a daemon is connected that is its business: it may be the server
 * of a bootstrap, which it never arms for and nobody can reach. Without a daemon for `unledGraceMs` the guard ends it.
 * "Disarmed" is a word and is kept: in pause mode Postgres writes on without daemon and without guard.
 */
import { chmodSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { WatchdogState } from '../core/watchdog.ts';
import { AddressRemover } from './address-remover.ts';
import {
  endFamily,
  familyOf,
  heads,
  isAlive,
  livesOn,
  monotonicMs,
  ownProcess,
  type ProcessId,
  processStat,
  signalProcess,
} from './family.ts';
import { type Orders, recall, remember } from './guard-file.ts';
import { recoveryStateOf } from './recovery.ts';
import { StandIn } from './stand-in.ts';
import { SuspensionWatch } from './suspension.ts';
import { WatchdogDevice } from './watchdog-device.ts';
import { type Answer, FILES, type GuardOptions, lineReader, type Notice, type Pong, type Request } from './wire.ts';

/** While armed: how often the clocks are looked at beside the timer to the deadline. */
const LOOK_MS = 200;
/** What is left of a deadline once the machine may have been suspended. */
const AFTER_SUSPENSION_MS = 500;
/** After a strike: how soon a family that comes back is seen; often at first, when a start may have been under way. */
const LOOK_AGAIN_SOON_MS = 50;
const LOOK_AGAIN_LATER_MS = 250;
const SOON_FOR_MS = 3_000;
/** A daemon that does not answer a ping for so long after a strike hangs. */
const HUNG_AFTER_MS = 2_000;
/** A new guard gives the daemon that started it this long to say hello before it stands in for it. */
const FIRST_STAND_IN_MS = 300;
/** While there is a watchdog device in the configuration: how often the daemon hears what became of it. */
const WATCHDOG_LOOK_MS = 2_000;
/** A deadline as near as this is not left to a successor. */
const ROOM_MS = 1_500;
/** The end of one look at the files of a server that nobody leads. */
const RECOVERY_LOOK_MS = 1_000;

interface Master {
  readonly socket: Socket;
  readonly id: ProcessId;
}

export interface GuardProcessParts {
  readonly runtimeDirectory: string;
  /** Which program this is; null: not known. */
  readonly build: string | null;
  /** Reads the options file; also with every hello, since the next daemon may have been configured anew. */
  readonly readOptions: () => GuardOptions;
  readonly log: (sentence: string) => void;
  readonly exit: (code: number) => void;
  readonly suspension?: SuspensionWatch;
}

export class GuardProcess {
  private readonly parts: GuardProcessParts;
  private readonly self = ownProcess();
  private readonly suspension: SuspensionWatch;
  private readonly standIn: StandIn;
  private readonly server: Server;
  private options: GuardOptions;
  private orders: Orders;
  /** Whose orders these are; stays when the connection ends. */
  private daemon: ProcessId | null;
  private master: Master | null = null;
  private withoutDaemonSince = monotonicMs();
  private suspicions = 0;
  private timer: NodeJS.Timeout | null = null;
  /** A strike is under way or keeps watch; `ending`: the family was not empty when last seen. */
  private striking = false;
  private ending = false;
  private ping: { number: number; sentAt: number; answered: boolean } | null = null;
  private watchdog: WatchdogDevice | null;
  private watchdogSaid = '';
  private remover: AddressRemover | null = null;

  constructor(parts: GuardProcessParts) {
    this.parts = parts;
    this.options = parts.readOptions();
    this.suspension = parts.suspension ?? new SuspensionWatch();
    this.standIn = new StandIn(parts.log);
    const { orders, daemon } = recall(this.path('state'), parts.log);
    this.orders = orders;
    this.daemon = daemon;
    this.watchdog = this.openWatchdog();
    this.takeAddress();
    this.server = createServer((socket) => this.welcome(socket));
  }

  /** Arms itself from its file first, then listens. Only the holder of the guard's lock may call this. */
  start(): void {
    this.parts.log(`started, pid ${this.self.pid}, ${describe(this.orders)}`);
    this.doubtTheFile();
    this.keepWatchdog();
    this.schedule();
    const path = this.path('socket');
    try {
      unlinkSync(path);
    } catch {
      // None was left behind.
    }
    this.server.on('error', (error) => {
      this.parts.log(`cannot listen on ${path}: ${String(error)}`);
      if (!this.isArmed()) this.parts.exit(1);
    });
    this.server.listen(path, () => chmodSync(path, 0o600));
    setInterval(() => this.sayWatchdog(), WATCHDOG_LOOK_MS).unref();
    this.daemonIsGone(FIRST_STAND_IN_MS);
  }

  /** SIGTERM and SIGINT: a guard that has something to guard stays. */
  askedToEnd(signal: string): void {
    if (this.isArmed()) this.parts.log(`${signal} ignored: ${describe(this.orders)}`);
    else this.leave(signal);
  }

  private path(file: keyof typeof FILES): string {
    return `${this.parts.runtimeDirectory}/${FILES[file]}`;
  }

  // --- the daemon's connection -------------------------------------------------------------------------------------

  private welcome(socket: Socket): void {
    socket.setEncoding('utf8');
    const read = lineReader((line) => {
      let message: Request | Pong;
      try {
        message = JSON.parse(line) as Request | Pong;
      } catch {
        socket.destroy();
        return;
      }
      if ('pong' in message) {
        if (socket === this.master?.socket && message.pong === this.ping?.number) this.ping.answered = true;
        return;
      }
      const id = message.id;
      void this.obey(socket, message).then(
        (answer) => send(socket, { id, ok: true, ...answer }),
        (error: unknown) =>
          send(socket, { id, ok: false, why: error instanceof Error ? error.message : String(error) }),
      );
    });
    socket.on('data', (chunk: string) => read(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      if (socket !== this.master?.socket) return;
      this.master = null;
      this.ping = null;
      this.parts.log(`the connection of daemon ${this.daemon?.pid} ended; ${describe(this.orders)}`);
      this.daemonIsGone(0);
    });
  }

  private async obey(socket: Socket, request: Request): Promise<Omit<Answer, 'id' | 'ok'>> {
    if (request.do === 'hello') return await this.hello(socket, request);
    if (socket !== this.master?.socket) throw new Error('say hello first');
    switch (request.do) {
      case 'arm':
        this.arm(request);
        return {};
      case 'disarm':
        this.refuseWhileEnding();
        this.refuseForAnother(this.options.dataDirectory);
        this.follow({ kind: 'disarmed' });
        this.watchdog?.end();
        return {};
      case 'armed?': {
        const { orders } = this;
        if (orders.kind !== 'armed') return { armed: null };
        return { armed: { deadline: orders.deadline, dataDirectory: orders.dataDirectory } };
      }
      case 'leave':
        if (this.isArmed()) throw new Error(`not while ${describe(this.orders)}`);
        setTimeout(() => this.leave('the daemon said so'), 20);
        return {};
      case 'make-room':
        this.makeRoom();
        return {};
      default:
        throw new Error(`not understood: ${JSON.stringify(request satisfies never)}`);
    }
  }

  /** Rule 23: a new daemon is heard once the old one's connection has ended and its process is gone. */
  private async hello(socket: Socket, id: ProcessId): Promise<Omit<Answer, 'id' | 'ok'>> {
    if (!isAlive(id)) throw new Error(`there is no process ${id.pid} with start time ${id.startTime}`);
    const former = this.daemon;
    if (former !== null && !same(former, id)) {
      if (this.master !== null) throw new Error(`takes orders from daemon ${former.pid}, which is connected`);
      if (isAlive(former)) throw new Error(`takes orders from daemon ${former.pid}, which still lives`);
    }
    // A daemon may say hello again on its connection: its options have changed.
    if (this.master?.socket !== socket) this.master?.socket.destroy();
    this.master = { socket, id: { pid: id.pid, startTime: id.startTime } };
    this.ping = null;
    this.daemon = this.master.id;
    this.save(this.orders);
    try {
      this.options = this.parts.readOptions();
    } catch (error) {
      this.parts.log(`the options of daemon ${id.pid} can't be read, the former ones stay: ${String(error)}`);
    }
    this.takeWatchdogOptions();
    this.takeAddress();
    await this.standIn.end();
    this.parts.log(`daemon ${id.pid} is here; ${describe(this.orders)}`);
    const { build } = this.parts;
    return { guard: this.self, suspicions: this.suspicions, watchdog: this.watchdogState(), build };
  }

  private daemonIsGone(standInAfterMs: number): void {
    this.withoutDaemonSince = monotonicMs();
    if (this.options.health !== null) this.standIn.begin(this.options.health, standInAfterMs);
    void this.keepHouse();
  }

  /** While there is no daemon: a server that nobody leads is ended, and a guard with nothing to guard leaves. */
  private async keepHouse(): Promise<void> {
    const since = this.withoutDaemonSince;
    const stillAlone = (): boolean => this.master === null && since === this.withoutDaemonSince;
    for (;;) {
      const alone = monotonicMs() - since;
      const ahead = [this.options.unledGraceMs, this.options.leaveAfterMs].filter((at) => at > alone);
      await pause(Math.max(20, Math.min(1_000, ...ahead.map((at) => at - alone))));
      if (!stillAlone()) return;
      const passed = monotonicMs() - since;
      try {
        if (passed >= this.options.unledGraceMs && (await this.isUnled())) {
          if (stillAlone()) this.strikeUnled();
        } else if (passed >= this.options.leaveAfterMs && !this.isArmed() && stillAlone()) {
          this.leave('nothing to guard');
          return;
        }
      } catch (error) {
        this.parts.log(`tries again: ${String(error)}`);
      }
    }
  }

  /** From here on it is a strike like any other, and it is remembered like one. */
  private strikeUnled(): void {
    const { dataDirectory } = this.options;
    this.parts.log(`Postgres in ${dataDirectory} is out of recovery, no daemon lives and none has ever armed`);
    this.follow({ kind: 'armed', deadline: monotonicMs(), dataDirectory, postmaster: null });
  }

  private async isUnled(): Promise<boolean> {
    if (this.orders.kind !== 'none-yet') return false;
    const { dataDirectory } = this.options;
    if (familyOf(dataDirectory).length === 0) return false;
    return (await recoveryStateOf(dataDirectory, RECOVERY_LOOK_MS)) === 'out-of-recovery';
  }

  /**
   * A guard of another version waits for the lock: it arms itself from the file, as after a death of this one, and until
   * then the daemon that asked for it is there. Never near a deadline, nor while a strike has work to do.
   */
  private makeRoom(): void {
    this.refuseWhileEnding();
    const { orders } = this;
    if (orders.kind === 'armed' && livesOn(orders) && orders.deadline - monotonicMs() < ROOM_MS)
      throw new Error(`not now: ${describe(orders)}`);
    this.save(orders);
    // Everything that is ordered until then stands in the file before it is acknowledged.
    setTimeout(() => this.leave('another guard takes its place'), 20);
  }

  private leave(why: string): void {
    this.parts.log(`leaves: ${why}`);
    try {
      unlinkSync(this.path('socket'));
    } catch {
      // Already gone.
    }
    this.parts.exit(0);
  }

  // --- armed -------------------------------------------------------------------------------------------------------

  private arm(request: Extract<Request, { do: 'arm' }>): void {
    const { deadline, dataDirectory, suspicions, until, ttl, boot, wall, postmaster: told = null } = request;
    const asked = boot === undefined || wall === undefined ? null : { boot, wall };
    if (!Number.isFinite(deadline) || !dataDirectory.startsWith('/')) throw new Error('no deadline or no directory');
    this.refuseWhileEnding();
    this.refuseForAnother(dataDirectory);
    // After a strike nobody has watched the clocks. A deadline that passed a moment ago is still one: a guard that woke
    // late from a suspension would forget it here.
    if (this.orders.kind === 'armed' && !(this.striking && this.hasPassed())) this.lookAtClocks();
    // The order itself may have been under way for as long, also to a guard that had nothing to watch the clocks for.
    const because = asked === null ? null : this.suspension.since(asked);
    if (because !== null) this.suspect(because);
    // A proof that was under way while the machine stood still says less than it seems to: only a daemon that knows
    // of the suspension may extend the deadline.
    const isLater = this.orders.kind !== 'armed' || deadline > this.orders.deadline;
    if (isLater && suspicions !== this.suspicions) throw new Error('the machine may have been suspended: prove anew');
    const known = this.orders.kind === 'armed' && this.orders.dataDirectory === dataDirectory ? this.orders : null;
    const proven = this.watchdog === null || until === undefined || ttl === undefined ? null : { until, ttl };
    const trouble = proven === null ? null : (this.watchdog?.keepFor(proven) ?? null);
    this.sayWatchdog();
    if (trouble !== null && this.options.watchdog?.mode === 'required')
      throw new Error(`watchdog required: ${trouble}`);
    const clocks = asked ?? this.suspension.reading();
    this.follow({
      kind: 'armed',
      deadline,
      dataDirectory,
      postmaster: postmasterNow(dataDirectory, told, known?.postmaster ?? null),
      ...(proven === null ? {} : { proven }),
      clocks,
    });
    this.suspension.restart();
  }

  /** `data_dir` was changed: the new daemon knows nothing of the server that runs in the former one, and may still write. */
  private refuseForAnother(dataDirectory: string): void {
    const { orders } = this;
    if (orders.kind !== 'armed' || orders.dataDirectory === dataDirectory || !livesOn(orders)) return;
    throw new Error(`${describe(orders)}, and Postgres runs there; this daemon is for ${dataDirectory}`);
  }

  /** Whoever was struck goes down all the way before anybody may start it again. */
  private refuseWhileEnding(): void {
    if (!this.ending) return;
    if (this.orders.kind === 'armed' && livesOn(this.orders)) {
      throw new Error('the deadline has passed and Postgres is being ended');
    }
    // Empty already; the strike, which looks every few milliseconds, only has not seen it yet.
    this.ending = false;
  }

  /** Armed, and not only with the memory of a strike that is over. */
  private isArmed(): boolean {
    return this.orders.kind === 'armed' && (this.ending || !this.hasPassed() || !this.striking);
  }

  private hasPassed(): boolean {
    return this.orders.kind === 'armed' && monotonicMs() >= this.orders.deadline;
  }

  /** @throws when it can't be written; then the old orders hold */
  private follow(orders: Orders): void {
    this.save(orders);
    this.orders = orders;
    this.schedule();
  }

  private save(orders: Orders): void {
    remember(this.path('state'), { orders, daemon: this.daemon });
  }

  private schedule(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.orders.kind !== 'armed' || this.striking) return;
    const left = this.orders.deadline - monotonicMs();
    this.timer = setTimeout(() => this.look(), Math.max(0, Math.min(LOOK_MS, left)));
  }

  private look(): void {
    this.lookAtClocks();
    // Seen to be down in good time: a machine that serves nothing must not be reset.
    if (this.watchdog?.isRunningOut === true && this.orders.kind === 'armed' && !livesOn(this.orders))
      this.watchdog.end();
    if (!this.hasPassed()) {
      this.schedule();
      return;
    }
    // A guard that was late itself (a busy machine, a stop) may have a timely arm waiting in its socket: one round of
    // the event loop reads it. It costs no time otherwise.
    setImmediate(() => {
      if (this.hasPassed()) void this.strike();
      else this.schedule();
    });
  }

  /** Rule 24. */
  private lookAtClocks(): void {
    const because = this.suspension.suspicion();
    if (because !== null && this.orders.kind === 'armed') this.suspect(because);
  }

  /**
   * Rule 24 for what the guard before this one was armed with: while it hung, or was gone, nobody looked at the clocks, and
   * the deadline in the file is as late as the machine stood still.
   */
  private doubtTheFile(): void {
    if (this.orders.kind !== 'armed' || this.orders.clocks === undefined || this.hasPassed()) return;
    const because = this.suspension.since(this.orders.clocks);
    if (because !== null) this.suspect(because);
  }

  /** Nothing that was proven before counts for long any more, and the daemon is told to prove anew. */
  private suspect(because: string): void {
    const clocks = this.suspension.restart();
    this.suspicions++;
    if (this.master !== null) {
      send(this.master.socket, { notice: 'suspended', suspicions: this.suspicions, because });
    }
    if (this.orders.kind !== 'armed') return;
    const deadline = Math.min(this.orders.deadline, monotonicMs() + AFTER_SUSPENSION_MS);
    const { proven, ...orders } = this.orders;
    const until = deadline + ((proven?.until ?? 0) - orders.deadline);
    this.orders = { ...orders, deadline, clocks, ...(proven === undefined ? {} : { proven: { ...proven, until } }) };
    this.watchdog?.doubt();
    try {
      this.save(this.orders);
    } catch {
      // The file then holds a later deadline than this guard, which lives.
    }
    this.parts.log(`suspended? ${because}; the deadline is at most ${AFTER_SUSPENSION_MS} ms away now`);
    this.schedule();
  }

  // --- the watchdog device -----------------------------------------------------------------------------------------

  private openWatchdog(): WatchdogDevice | null {
    const { watchdog } = this.options;
    return watchdog === null ? null : new WatchdogDevice(watchdog, this.parts.log);
  }

  /** A daemon that was configured anew, unless what it says is what is there. */
  private takeWatchdogOptions(): void {
    if (JSON.stringify(this.options.watchdog) === JSON.stringify(this.watchdog?.options ?? null)) return;
    this.watchdog?.end();
    this.watchdog = this.openWatchdog();
    this.keepWatchdog();
  }

  /** What an earlier guard was armed with holds for its device too. */
  private keepWatchdog(): void {
    if (this.orders.kind === 'armed' && this.orders.proven !== undefined) this.watchdog?.keepFor(this.orders.proven);
    this.sayWatchdog();
  }

  private watchdogState(): WatchdogState {
    return this.watchdog?.look() ?? { kind: 'off' };
  }

  private sayWatchdog(): void {
    if (this.watchdog === null) return;
    const state = this.watchdogState();
    const said = JSON.stringify(state);
    if (said === this.watchdogSaid) return;
    this.watchdogSaid = said;
    if (state.kind === 'unusable') this.parts.log(`${state.device} cannot be used: ${state.why}`);
    if (this.master !== null) send(this.master.socket, { notice: 'watchdog', state });
  }

  // --- the virtual address -----------------------------------------------------------------------------------------

  private takeAddress(): void {
    const { address } = this.options;
    if (JSON.stringify(address) === JSON.stringify(this.remover?.removal ?? null)) {
      this.remover?.ready();
      return;
    }
    this.remover?.end();
    this.remover = address === null ? null : new AddressRemover(address, this.parts.log);
  }

  // --- the strike --------------------------------------------------------------------------------------------------

  /** Ends the family, and whatever of it appears later, until the daemon gives other orders. */
  private async strike(): Promise<void> {
    if (this.striking) return;
    this.striking = true;
    const began = monotonicMs();
    let stopped = false;
    this.parts.log(`the deadline has passed: ${describe(this.orders)}`);
    while (this.orders.kind === 'armed' && this.hasPassed()) {
      const struck = this.orders;
      const { dataDirectory, postmaster } = struck;
      try {
        this.ending = livesOn(struck);
        if (this.ending) {
          const from = monotonicMs();
          this.parts.log(`ends the Postgres processes of ${dataDirectory}`);
          const watch = setInterval(() => this.watchDaemon(), LOOK_MS);
          try {
            const { graceMs } = this.options;
            // New orders are taken only once the family is empty: what runs after them is none of this strike's.
            const ended = endFamily(dataDirectory, { graceMs, postmaster, stillWanted: () => this.orders === struck });
            // The first signals are sent by now.
            this.remover?.remove();
            await ended;
          } finally {
            clearInterval(watch);
          }
          this.ending = false;
          this.parts.log(`seen empty after ${Math.round(monotonicMs() - from)} ms`);
          continue;
        }
        this.remover?.ready();
        this.remover?.remove();
        if (struck.proven !== undefined && !stopped) this.watchdog?.end(true);
        stopped = true;
        // In here too: an error that left this method would leave `striking` set, and no later deadline would count.
        this.watchDaemon();
      } catch (error) {
        this.parts.log(`cannot look at the processes, tries again: ${String(error)}`);
      }
      await pause(monotonicMs() - began < SOON_FOR_MS ? LOOK_AGAIN_SOON_MS : LOOK_AGAIN_LATER_MS);
    }
    this.ending = false;
    this.striking = false;
    this.ping = null;
    this.schedule();
  }

  /**
   * A daemon that is well acts on its own before the deadline. One that does not even answer a ping hangs; ended, it
   * is started anew by the service manager, and Postgres is already down.
   */
  private watchDaemon(): void {
    const { master } = this;
    if (!this.options.endHungDaemon) return;
    const now = monotonicMs();
    if (master === null) {
      this.endDaemonThatNeverCame(now);
      return;
    }
    if (this.ping === null || (this.ping.answered && now - this.ping.sentAt > HUNG_AFTER_MS)) {
      this.ping = { number: (this.ping?.number ?? 0) + 1, sentAt: now, answered: false };
      send(master.socket, { notice: 'ping', number: this.ping.number });
      return;
    }
    if (this.ping.answered || now - this.ping.sentAt < HUNG_AFTER_MS) return;
    const asked = this.ping;
    // Its answer may wait in our socket, should it have been us that was late.
    setImmediate(() => {
      if (asked !== this.ping || asked.answered || this.master !== master || !this.striking) return;
      this.parts.log(`daemon ${master.id.pid} has not answered for ${HUNG_AFTER_MS} ms: it hangs, ends it`);
      signalProcess(master.id, 'SIGKILL');
      asked.sentAt = monotonicMs();
    });
  }

  /** It lives and has not come back to a guard that was replaced, which takes a daemon that is well milliseconds. */
  private endDaemonThatNeverCame(now: number): void {
    if (this.daemon === null || now - this.withoutDaemonSince < 2 * HUNG_AFTER_MS || !isAlive(this.daemon)) return;
    this.parts.log(`daemon ${this.daemon.pid} lives and has not connected: it hangs, ends it`);
    signalProcess(this.daemon, 'SIGKILL');
  }
}

function same(a: ProcessId, b: ProcessId): boolean {
  return a.pid === b.pid && a.startTime === b.startTime;
}

/** The one that the daemon names, or that was known so far, while it lives; else whoever heads the family now. */
function postmasterNow(dataDirectory: string, ...known: readonly (ProcessId | null)[]): ProcessId | null {
  for (const one of known) if (one !== null && isAlive(one)) return { pid: one.pid, startTime: one.startTime };
  const [head, ...others] = heads(familyOf(dataDirectory));
  if (head === undefined || others.length > 0) return null;
  const stat = processStat(head.pid);
  return stat === null ? null : { pid: stat.pid, startTime: stat.startTime };
}

function describe(orders: Orders): string {
  switch (orders.kind) {
    case 'none-yet':
      return 'told nothing yet';
    case 'disarmed':
      return 'disarmed';
    case 'armed':
      return `armed for ${orders.dataDirectory}, ${Math.round(orders.deadline - monotonicMs())} ms left`;
    default:
      return orders satisfies never;
  }
}

function send(socket: Socket, message: Answer | Notice): void {
  if (!socket.writable) return;
  // A daemon that no longer reads must not make this process grow.
  if (socket.writableLength > 64 * 1024) socket.destroy();
  else socket.write(`${JSON.stringify(message)}\n`);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
