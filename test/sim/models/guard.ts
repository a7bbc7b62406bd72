/**
 * The guard process of one machine: armed with a deadline of the machine's clock, it ends the whole Postgres family when
 * that passes, whatever the daemon does. Its file outlives it; a reboot loses the file. And the daemon's end of it.
 */
import { type Instant, instant, type Millis, millis } from '../../../src/core/time.ts';
import type { Arming, Guard, GuardAnswer } from '../../../src/ports/guard.ts';
import type { Incarnation, MachineClock } from '../world/incarnation.ts';
import type { SeededRandom } from '../world/random.ts';
import type { Cancel, Scheduler } from '../world/scheduler.ts';
import type { PostgresServer } from './postgres-server.ts';

/** As in src/guard/client.ts. */
const HUNG_AFTER_MS = 3_000;
const HUNG_AT_LAST_MS = 500;
const NEXT_GUARD_MS = 1_000;

export interface GuardEvents {
  trace(who: string, what: string): void;
  mark(name: string): void;
  armed(arming: Arming): void;
  /** It is about to end what runs. */
  strikes(): void;
}

/** While armed: how often the clocks are looked at. */
const LOOK_MS = 200;
/** What is left of a deadline once the machine may have been suspended (protocol.md 24). */
const AFTER_SUSPENSION_MS = 500;
const TOLERATED_MS = 500;

export class GuardProcess {
  private readonly name: string;
  private readonly scheduler: Scheduler;
  private readonly clock: MachineClock;
  private readonly random: SeededRandom;
  private readonly server: PostgresServer;
  private readonly events: GuardEvents;
  private readonly address: { remove(): void } | null;
  alive = false;
  arming: Arming | null = null;
  /** Written before each ack, read by the next guard. */
  private file: Arming | null = null;
  private timer: Cancel | null = null;
  private life = 0;
  private readonly onDeath: (() => void)[] = [];
  private readonly onSuspicion: (() => void)[] = [];
  /** How far boot and wall clock were ahead of the monotonic one when that was looked at last. */
  private lead = { boot: 0, wall: 0 };
  /** Counts what looked like a suspension: who extends the deadline has to know of the last. */
  suspicions = 0;
  /** The deadline was cut since it was armed, and the daemon may not know it yet. */
  cut = false;
  private pausedUntil = Number.NEGATIVE_INFINITY;
  /** What waits for it to go on, in the order in which it came. */
  private readonly sleepers: (() => void)[] = [];
  private wakesAt: number | null = null;
  private lookedAt = Number.NEGATIVE_INFINITY;
  /** When it went on, that stood still as the machine came back from its last suspension: only then could it look at the clocks. */
  wokeLateAt = Number.NEGATIVE_INFINITY;
  private armedAt = Number.NEGATIVE_INFINITY;
  /**
   * Its file says a deadline from before a suspension: it was not there when the machine came back, or no clock told of
   * it (protocol.md 10), because somebody set the wall clock back at the same time.
   */
  missedSuspension = false;

  constructor(parts: {
    readonly name: string;
    readonly scheduler: Scheduler;
    readonly clock: MachineClock;
    readonly random: SeededRandom;
    readonly server: PostgresServer;
    readonly events: GuardEvents;
    /** The virtual address on this machine; null: there is none. */
    readonly address?: { remove(): void } | null;
  }) {
    this.name = parts.name;
    this.scheduler = parts.scheduler;
    this.clock = parts.clock;
    this.random = parts.random;
    this.server = parts.server;
    this.events = parts.events;
    this.address = parts.address ?? null;
  }

  /** SIGSTOP. Goes on after `ms`, with all that came meanwhile. */
  pause(ms: number): void {
    if (!this.alive) return;
    this.events.trace(this.name, 'guard stopped (SIGSTOP)');
    this.pausedUntil = Math.max(this.pausedUntil, this.scheduler.now() + ms);
  }

  /** It stands still, or is gone, since before the machine came back from a suspension: nobody has looked at the clocks since. */
  get blind(): boolean {
    // What came while it stood still is looked at in the instant in which it goes on.
    const standsStill = this.paused || this.sleepers.length > 0;
    return (standsStill || (!this.alive && this.file !== null)) && this.isUnseen();
  }

  private isUnseen(): boolean {
    return this.clock.resumedAt > Math.max(this.lookedAt, this.armedAt);
  }

  /** It has cut its deadline, as late as rule 24 says: what stood there before is told by the clock that stood still. */
  get hasJustCut(): boolean {
    return this.cut && this.arming !== null && this.arming.deadline <= this.clock.now() + AFTER_SUSPENSION_MS;
  }

  /** Nothing is there that it would have to end. */
  get hasNoFamily(): boolean {
    return this.server.processes.kind === 'none';
  }

  /** Counts its lives. */
  get lives(): number {
    return this.life;
  }

  get paused(): boolean {
    return this.alive && this.scheduler.now() < this.pausedUntil;
  }

  /** SIGCONT, sooner than planned. */
  goOn(): void {
    this.pausedUntil = Number.NEGATIVE_INFINITY;
    this.wake();
  }

  whenAwake(run: () => void): void {
    this.clock.whenAwake(() => {
      if (!this.paused && this.sleepers.length === 0) {
        run();
        return;
      }
      this.sleepers.push(run);
      this.wakeLater();
    });
  }

  private wakeLater(): void {
    const at = Math.max(this.scheduler.now(), this.pausedUntil);
    // One that is to wake a guard that was killed meanwhile comes too late for the next one.
    if (this.wakesAt !== null && this.wakesAt <= at) return;
    this.wakesAt = at;
    this.scheduler.after(at - this.scheduler.now(), () => {
      if (this.wakesAt === at) this.wakesAt = null;
      this.clock.whenAwake(() => this.wake());
    });
  }

  private wake(): void {
    while (!this.paused && !this.clock.isSuspended) {
      const next = this.sleepers.shift();
      if (next === undefined) return;
      next();
    }
    if (this.sleepers.length > 0) this.wakeLater();
  }

  whenItDies(listener: () => void): void {
    this.onDeath.push(listener);
  }

  whenItSuspects(listener: () => void): void {
    this.onSuspicion.push(listener);
  }

  /** @param byDaemon - one that lives and looks after a server that was running before */
  start(byDaemon = false): void {
    if (this.alive) return;
    this.alive = true;
    this.pausedUntil = Number.NEGATIVE_INFINITY;
    this.life += 1;
    this.arming = this.file;
    this.lead = this.readLead();
    if (this.file !== null) {
      this.events.mark('guard armed itself from its file');
      const { clocks } = this.file;
      // While the last one hung, or was gone, nobody looked.
      if (clocks !== undefined && this.isAhead(clocks)) this.suspect(this.lead);
      else if (this.isUnseen() && this.clock.stoodStillFor > TOLERATED_MS) this.missedSuspension = true;
      this.set();
    } else if (!byDaemon && this.server.acceptsWrites()) {
      // Out of recovery and nobody vouches for it.
      this.events.trace(this.name, 'guard finds a primary and no file: stops it');
      this.events.mark('guard stopped an unvouched primary');
      this.server.stopImmediate();
    }
    this.wake();
  }

  /**
   * @param suspicions - of how many the daemon knows
   * @returns whether it was armed: a proof that was under way while the machine stood still extends nothing
   */
  arm(arming: Arming, suspicions = this.suspicions): boolean {
    if (this.arming !== null) this.lookAtClocks();
    const { clocks } = arming;
    if (clocks !== undefined && this.isAhead(clocks)) this.suspect(this.readLead());
    const isLater = this.arming === null || arming.deadline > this.arming.deadline;
    if (isLater && suspicions !== this.suspicions) return false;
    this.file = arming;
    this.arming = arming;
    this.lead = this.readLead();
    this.armedAt = this.scheduler.now();
    this.cut = false;
    this.missedSuspension = false;
    this.events.armed(arming);
    this.set();
    return true;
  }

  private readLead(): { boot: number; wall: number } {
    return { boot: this.clock.standstill(), wall: this.clock.wall() - this.clock.now() };
  }

  /** Further than they were then, by more than reading them can differ by. */
  private isAhead(then: { readonly boot: number; readonly wall: number }): boolean {
    const { boot, wall } = this.readLead();
    return boot - then.boot > TOLERATED_MS || wall - then.wall > TOLERATED_MS;
  }

  /** protocol.md 24 */
  private lookAtClocks(): void {
    const comesBack = this.isUnseen();
    this.lookedAt = this.scheduler.now();
    if (comesBack && this.lookedAt - this.clock.resumedAt > LOOK_MS) this.wokeLateAt = this.lookedAt;
    const lead = this.readLead();
    const ahead = this.isAhead(this.lead);
    this.lead = ahead ? lead : { boot: Math.min(lead.boot, this.lead.boot), wall: Math.min(lead.wall, this.lead.wall) };
    if (!ahead && comesBack && this.clock.stoodStillFor > TOLERATED_MS) this.missedSuspension = true;
    if (ahead && this.arming !== null) this.suspect(lead);
  }

  private suspect(lead: { readonly boot: number; readonly wall: number }): void {
    this.lead = lead;
    this.suspicions += 1;
    for (const listener of this.onSuspicion) listener();
    if (this.arming === null) return;
    this.cut = true;
    const deadline = instant(Math.min(this.arming.deadline, this.clock.now() + AFTER_SUSPENSION_MS));
    this.arming = { ...this.arming, deadline, clocks: { boot: millis(lead.boot), wall: millis(lead.wall) } };
    this.file = this.arming;
    this.events.mark('guard cut its deadline after a suspension');
    this.events.trace(this.name, 'guard: the machine may have been suspended');
    this.set();
  }

  disarm(): void {
    this.missedSuspension = false;
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
    const fire = (): void => {
      if (!this.alive || this.life !== life || this.arming !== arming) return;
      if (this.clock.isSuspended || this.paused) {
        this.whenAwake(fire);
        return;
      }
      // The clocks are looked at every now and then while armed; what matters is that they were looked at before this.
      this.lookAtClocks();
      if (this.arming !== arming) return;
      if (this.clock.now() < arming.deadline) this.set();
      else this.strike();
    };
    this.timer = this.scheduler.after(wait, fire);
  }

  /** The machine goes on: with the next tick the clocks tell. */
  resumed(): void {
    this.noticeSoon();
  }

  /** The wall clock was set. */
  noticeSoon(): void {
    const { life } = this;
    this.scheduler.after(this.random.between(1, LOOK_MS), () => {
      this.whenAwake(() => {
        if (this.alive && this.life === life && this.arming !== null) this.lookAtClocks();
      });
    });
  }

  private strike(): void {
    const { life, arming } = this;
    const family = this.server.processes.kind;
    if (family !== 'none') {
      this.events.trace(this.name, `guard strikes (postgres is ${family})`);
      this.events.mark('guard fired');
      this.events.strikes();
      this.server.stopImmediate();
    }
    this.address?.remove();
    // Whatever of the family appears later is ended too, until the daemon gives other orders.
    let looks = 0;
    const look = (): void => {
      if (!this.alive || this.life !== life || this.arming !== arming) return;
      const { kind } = this.server.processes;
      if (kind !== 'none' && kind !== 'stopping') this.server.stopImmediate();
      this.address?.remove();
      looks += 1;
      this.scheduler.after(looks < 60 ? 50 : 250, () => this.whenAwake(look));
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
  readonly watchdog = { kind: 'off' } as const;
  private readonly guard: GuardProcess;
  private readonly process: Incarnation;
  private readonly random: SeededRandom;
  private readonly scheduler: Scheduler;
  private readonly listeners: (() => void)[] = [];
  private readonly suspected: (() => void)[] = [];
  private starting = false;
  /** One connection: what is sent later arrives later. */
  private lastArrival = 0;
  private unansweredSince: number | null = null;
  private suspicions: number;

  constructor(guard: GuardProcess, process: Incarnation, random: SeededRandom, scheduler: Scheduler) {
    this.guard = guard;
    this.process = process;
    this.random = random;
    this.scheduler = scheduler;
    this.suspicions = guard.suspicions;
    guard.whenItSuspects(() => {
      this.process.later(this.random.between(0.3, 1.5), () => {
        this.suspicions = this.guard.suspicions;
        for (const listener of this.suspected) listener();
      });
    });
    if (guard.alive) this.hello();
    else this.replaceSoon();
    guard.whenItDies(() => {
      this.process.later(this.random.between(0.5, 5), () => this.replaceSoon());
    });
  }

  /** One that does not answer the first word of a daemon hangs as well. */
  private hello(): void {
    const sentTo = this.guard.lives;
    this.unansweredSince = this.scheduler.now();
    this.scheduler.after(this.onTheWay(), () =>
      this.guard.whenAwake(() => {
        if (this.guard.lives === sentTo) this.unansweredSince = null;
      }),
    );
    this.process.later(this.patience(), () => this.replaceIfHung());
  }

  /** The next guard has to be there when the deadline in the file comes; once Postgres is down nothing presses. */
  private patience(): number {
    const { written } = this.guard;
    if (written === null || this.guard.hasNoFamily) return HUNG_AFTER_MS;
    const left = written - this.process.now() - NEXT_GUARD_MS;
    return Math.min(HUNG_AFTER_MS, Math.max(left, HUNG_AT_LAST_MS));
  }

  /** The connection broke: a new one is started. */
  private replaceSoon(): void {
    if (this.starting) return;
    this.starting = true;
    this.process.later(this.random.between(30, 90), () => {
      this.starting = false;
      if (!this.guard.alive) this.guard.start(true);
      for (const listener of this.listeners) listener();
    });
  }

  /** As the adapter tells the daemon, which tells the lease keeper. */
  onSuspended(listener: () => void): void {
    this.suspected.push(listener);
  }

  private onTheWay(): number {
    const now = this.scheduler.now();
    this.lastArrival = Math.max(this.lastArrival + 0.001, now + this.random.between(0.3, 1.5));
    return this.lastArrival - now;
  }

  arm(arming: Arming, limit: Millis): Promise<GuardAnswer> {
    // What the daemon knew when it sent this.
    const { suspicions } = this;
    return this.call(limit, () => this.guard.arm(arming, suspicions));
  }

  disarm(limit: Millis): Promise<GuardAnswer> {
    return this.call(limit, () => {
      this.guard.disarm();
      return true;
    });
  }

  armed(limit: Millis): Promise<Arming | null | 'silent'> {
    this.unansweredSince ??= this.scheduler.now();
    return new Promise((resolve) => {
      this.scheduler.after(this.onTheWay(), () => {
        // Nobody waits longer than the limit for one that is there and does not answer.
        this.process.later(Math.max(0, limit), () => {
          resolve('silent');
          this.replaceIfHung();
        });
        if (!this.guard.alive) return;
        this.guard.whenAwake(() => {
          this.unansweredSince = null;
          const now = this.guard.arming;
          this.process.later(this.random.between(0.3, 1.5), () => resolve(now));
        });
      });
    });
  }

  onReplaced(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** A guard that is just being started is waited for, within the limit. */
  private whenThere(until: number, run: () => void): void {
    const sentTo = this.guard.lives;
    this.guard.whenAwake(() => {
      // What stood in the socket of one that was killed goes with it, unless it is still wanted.
      if (this.guard.lives !== sentTo && this.scheduler.now() > until) return;
      if (this.guard.alive) run();
      else if (this.process.alive && this.scheduler.now() < until)
        this.scheduler.after(10, () => this.whenThere(until, run));
    });
  }

  /** As the client does: one that has answered nothing for so long is ended, and the next one arms itself from its file. */
  private replaceIfHung(): void {
    if (this.unansweredSince === null || this.scheduler.now() - this.unansweredSince < this.patience()) return;
    this.unansweredSince = null;
    if (this.guard.paused) this.guard.kill();
  }

  private call(limit: Millis, run: () => boolean): Promise<GuardAnswer> {
    this.unansweredSince ??= this.scheduler.now();
    return new Promise((resolve) => {
      // The request is on its way: it arrives also when the daemon dies meanwhile, and not while the machine stands still.
      this.scheduler.after(this.onTheWay(), () => {
        const until = this.scheduler.now() + Math.max(0, limit);
        this.process.later(Math.max(0, limit), () => {
          resolve({ kind: 'silent', cause: 'no answer in time' });
          this.replaceIfHung();
        });
        this.whenThere(until, () => {
          this.unansweredSince = null;
          const answer: GuardAnswer = run() ? { kind: 'acked' } : { kind: 'silent', cause: 'it refused: prove anew' };
          this.process.later(this.random.between(0.3, 1.5), () => resolve(answer));
        });
      });
    });
  }
}
