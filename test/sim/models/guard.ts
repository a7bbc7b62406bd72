/**
 * The guard process of one machine: armed with a deadline of the machine's clock, it ends the whole Postgres family when
 * that passes, whatever the daemon does. Its file outlives it; a reboot loses the file. And the daemon's end of it.
 */
import type { Instant, Millis } from '../../../src/core/time.ts';
import type { Arming, Guard, GuardAnswer } from '../../../src/ports/guard.ts';
import type { Incarnation, MachineClock } from '../world/incarnation.ts';
import type { SeededRandom } from '../world/random.ts';
import type { Cancel, Scheduler } from '../world/scheduler.ts';
import type { PostgresServer } from './postgres-server.ts';

export interface GuardEvents {
  trace(who: string, what: string): void;
  mark(name: string): void;
  armed(arming: Arming): void;
}

export class GuardProcess {
  private readonly name: string;
  private readonly scheduler: Scheduler;
  private readonly clock: MachineClock;
  private readonly random: SeededRandom;
  private readonly server: PostgresServer;
  private readonly events: GuardEvents;
  alive = false;
  arming: Arming | null = null;
  /** Written before each ack, read by the next guard. */
  private file: Arming | null = null;
  private timer: Cancel | null = null;
  private life = 0;
  private readonly onDeath: (() => void)[] = [];

  constructor(parts: {
    readonly name: string;
    readonly scheduler: Scheduler;
    readonly clock: MachineClock;
    readonly random: SeededRandom;
    readonly server: PostgresServer;
    readonly events: GuardEvents;
  }) {
    this.name = parts.name;
    this.scheduler = parts.scheduler;
    this.clock = parts.clock;
    this.random = parts.random;
    this.server = parts.server;
    this.events = parts.events;
  }

  whenItDies(listener: () => void): void {
    this.onDeath.push(listener);
  }

  start(): void {
    if (this.alive) return;
    this.alive = true;
    this.life += 1;
    this.arming = this.file;
    if (this.file !== null) {
      this.events.mark('guard armed itself from its file');
      this.set();
    } else if (this.server.acceptsWrites()) {
      // Out of recovery and nobody vouches for it.
      this.events.trace(this.name, 'guard finds a primary and no file: stops it');
      this.events.mark('guard stopped an unvouched primary');
      this.server.stopImmediate();
    }
  }

  arm(arming: Arming): void {
    this.file = arming;
    this.arming = arming;
    this.events.armed(arming);
    this.set();
  }

  disarm(): void {
    this.file = null;
    this.arming = null;
    this.timer?.();
    this.timer = null;
  }

  private set(): void {
    this.timer?.();
    const { arming, life } = this;
    if (arming === null) return;
    // A tick late, never early.
    const at = this.clock.trueTimeOf(arming.deadline) - this.scheduler.now();
    const wait = Math.max(0, at) + this.random.between(0.5, 25);
    this.timer = this.scheduler.after(wait, () => {
      if (!this.alive || this.life !== life || this.arming !== arming) return;
      this.strike();
    });
  }

  private strike(): void {
    const { life, arming } = this;
    const family = this.server.processes.kind;
    if (family !== 'none') {
      this.events.trace(this.name, `guard strikes (postgres is ${family})`);
      this.events.mark('guard fired');
      this.server.stopImmediate();
    }
    // It stays armed until the family is seen empty.
    const look = (): void => {
      if (!this.alive || this.life !== life || this.arming !== arming) return;
      if (this.server.processes.kind === 'none') this.disarm();
      else this.scheduler.after(10, look);
    };
    look();
  }

  kill(): void {
    if (!this.alive) return;
    this.alive = false;
    this.life += 1;
    this.arming = null;
    this.timer?.();
    this.timer = null;
    this.events.trace(this.name, 'guard killed');
    for (const listener of this.onDeath) listener();
  }

  /** The deadline written last, whether or not a guard is there to keep it. */
  get written(): Instant | null {
    return this.file?.deadline ?? null;
  }

  powerLoss(): void {
    this.alive = false;
    this.life += 1;
    this.arming = null;
    this.file = null;
    this.timer?.();
    this.timer = null;
  }
}

/** `ports/guard` for one life of a daemon; starts a new guard process when it finds none. */
export class SimulatedGuard implements Guard {
  readonly mode = 'on';
  private readonly guard: GuardProcess;
  private readonly process: Incarnation;
  private readonly random: SeededRandom;
  private readonly scheduler: Scheduler;
  private readonly listeners: (() => void)[] = [];
  private starting = false;
  /** One connection: what is sent later arrives later. */
  private lastArrival = 0;

  constructor(guard: GuardProcess, process: Incarnation, random: SeededRandom, scheduler: Scheduler) {
    this.guard = guard;
    this.process = process;
    this.random = random;
    this.scheduler = scheduler;
    if (!guard.alive) this.replaceSoon();
    guard.whenItDies(() => {
      this.process.later(this.random.between(0.5, 5), () => this.replaceSoon());
    });
  }

  /** The connection broke: a new one is started. */
  private replaceSoon(): void {
    if (this.starting) return;
    this.starting = true;
    this.process.later(this.random.between(30, 90), () => {
      this.starting = false;
      if (!this.guard.alive) this.guard.start();
      for (const listener of this.listeners) listener();
    });
  }

  private onTheWay(): number {
    const now = this.scheduler.now();
    this.lastArrival = Math.max(this.lastArrival + 0.001, now + this.random.between(0.3, 1.5));
    return this.lastArrival - now;
  }

  arm(arming: Arming, limit: Millis): Promise<GuardAnswer> {
    return this.call(limit, () => this.guard.arm(arming), { kind: 'acked' as const });
  }

  disarm(limit: Millis): Promise<GuardAnswer> {
    return this.call(limit, () => this.guard.disarm(), { kind: 'acked' as const });
  }

  armed(limit: Millis): Promise<Arming | null | 'silent'> {
    return new Promise((resolve) => {
      this.scheduler.after(this.onTheWay(), () => {
        if (!this.guard.alive) {
          this.process.later(Math.max(0, limit), () => resolve('silent'));
          return;
        }
        const now = this.guard.arming;
        this.process.later(this.random.between(0.3, 1.5), () => resolve(now));
      });
    });
  }

  onReplaced(listener: () => void): void {
    this.listeners.push(listener);
  }

  private call(limit: Millis, run: () => void, done: GuardAnswer): Promise<GuardAnswer> {
    return new Promise((resolve) => {
      // The request is on its way: it arrives also when the daemon dies meanwhile.
      this.scheduler.after(this.onTheWay(), () => {
        if (!this.guard.alive) {
          this.process.later(Math.max(0, limit), () => resolve({ kind: 'silent', cause: 'no guard' }));
          return;
        }
        run();
        this.process.later(this.random.between(0.3, 1.5), () => resolve(done));
      });
    });
  }
}
