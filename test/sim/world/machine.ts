/**
 * One simulated machine: its clocks, its Postgres, its guard, its state file, and the daemon that runs on it. There is
 * never more than one daemon on a machine; that is an invariant of the simulator itself.
 */
import type { Control } from '../../../src/agent/published.ts';
import type { Leadership } from '../../../src/core/view.ts';
import { GuardOff } from '../../../src/guard/off.ts';
import type { Guard } from '../../../src/ports/guard.ts';
import type { Postgres } from '../../../src/ports/postgres.ts';
import type { NoPostgres } from '../../../src/postgres/none.ts';
import { type GuardProcess, SimulatedGuard } from '../models/guard.ts';
import { SimulatedPostgres } from '../models/postgres-port.ts';
import type { PostgresServer } from '../models/postgres-server.ts';
import { SimulatedStateFile, type StoredOnMachine } from '../models/state-file.ts';
import type { SimulatedInterface } from '../models/virtual-address.ts';
import { Incarnation, type MachineClock } from './incarnation.ts';
import type { SeededRandom } from './random.ts';
import type { Scheduler } from './scheduler.ts';

/** What of an agent the world uses. */
export interface RunningAgent extends Control {
  /** Its leadership at this very instant; `published()` shows the last cycle's. */
  leadershipNow(): Leadership;
  /** What the daemon does when its guard says that the machine may have been suspended. */
  suspect(because: string): void;
  start(): Promise<void>;
  stop(how: 'hand-over' | 'leave-running'): Promise<void>;
}

export interface DaemonPorts {
  readonly process: Incarnation;
  readonly postgres: Postgres;
  readonly guard: Guard;
  readonly state: SimulatedStateFile;
}

export interface Daemon {
  /** True time. */
  readonly startedAt: number;
  readonly process: Incarnation;
  /** By the service manager, on the word of an operator. */
  askedToStop?: true;
  readonly control: RunningAgent;
  /** null: a witness has none. */
  readonly postgres: SimulatedPostgres | null;
}

export class Machine {
  readonly name: string;
  readonly clock: MachineClock;
  readonly server: PostgresServer;
  readonly guard: GuardProcess;
  /** Where the virtual address may be. */
  readonly interface: SimulatedInterface;
  private readonly parts: {
    readonly scheduler: Scheduler;
    readonly random: SeededRandom;
    readonly makePostgres: (process: Incarnation) => SimulatedPostgres | NoPostgres;
    readonly makeAgent: (ports: DaemonPorts) => RunningAgent;
    readonly daemonFailed: (what: string, error: unknown) => void;
    readonly trace: (what: string) => void;
    /** The daemon begins, or goes on after it stood still. */
    readonly woke: () => void;
    readonly guardUnitMs: number | null;
    readonly guardMode: 'on' | 'off';
    readonly interface: SimulatedInterface;
  };
  private readonly stored: StoredOnMachine = { state: null };
  private running: Daemon | null = null;
  private starts = 0;
  on = true;

  constructor(name: string, clock: MachineClock, server: PostgresServer, guard: GuardProcess, parts: Machine['parts']) {
    this.name = name;
    this.clock = clock;
    this.server = server;
    this.guard = guard;
    this.parts = parts;
    this.interface = parts.interface;
    const { guardUnitMs, scheduler } = parts;
    if (guardUnitMs !== null) {
      guard.whenItDies(() => {
        scheduler.after(guardUnitMs, () => {
          clock.whenAwake(() => {
            if (this.on) guard.start();
          });
        });
      });
    }
  }

  daemon(): Daemon | null {
    return this.running;
  }

  startDaemon(): void {
    if (!this.on) return;
    if (this.clock.isSuspended) {
      this.clock.whenAwake(() => {
        if (this.running === null) this.startDaemon();
      });
      return;
    }
    if (this.running !== null) throw new Error(`the simulator started a second daemon on ${this.name}`);
    this.starts += 1;
    const { scheduler, random } = this.parts;
    const own = random.fork(`daemon ${this.starts}`);
    const process = new Incarnation(scheduler, this.clock, (error) => this.parts.daemonFailed('an exception', error));
    const postgres = this.parts.makePostgres(process);
    const guard =
      this.parts.guardMode === 'off'
        ? new GuardOff()
        : new SimulatedGuard(this.guard, process, own.fork('guard'), scheduler);
    const state = new SimulatedStateFile(this.stored, process, own.fork('state'));
    this.parts.trace(`daemon starts (${this.starts})`);
    this.parts.woke();
    const control = this.parts.makeAgent({ process, postgres, guard, state });
    this.running = {
      startedAt: scheduler.now(),
      process,
      control,
      postgres: postgres instanceof SimulatedPostgres ? postgres : null,
    };
    if (guard instanceof SimulatedGuard) guard.onSuspended(() => control.suspect('the clocks say so'));
    control.start().catch((error: unknown) => {
      if (process.alive) this.parts.daemonFailed('it did not start', error);
    });
  }

  /** SIGKILL. */
  killDaemon(): void {
    if (this.running === null) return;
    this.parts.trace('daemon killed');
    if (this.running.control.published().operation !== null)
      this.server.events.mark('daemon ended in the middle of work');
    this.running.process.kill();
    this.running = null;
  }

  pauseDaemon(): void {
    if (this.running === null || this.running.process.paused) return;
    this.parts.trace('daemon stopped (SIGSTOP)');
    this.running.process.pause();
  }

  resumeDaemon(): void {
    if (this.running === null || !this.running.process.paused) return;
    this.parts.trace('daemon goes on (SIGCONT)');
    this.parts.woke();
    const { written } = this.guard;
    if (written !== null && this.clock.now() > written) this.server.events.mark('daemon woke after its window');
    this.running.process.resume();
  }

  /** The whole machine stands still, as a virtual machine does that is moved or saved; nothing on it notices. */
  suspend(ms: number): void {
    if (!this.on || this.clock.isSuspended) return;
    this.parts.trace('machine suspended');
    this.clock.suspend();
    this.server.hangsByProcess = false;
    this.server.hungUntil = Math.max(this.server.hungUntil, this.parts.scheduler.now() + ms);
  }

  resume(bootClock: boolean): void {
    if (!this.clock.isSuspended) return;
    this.parts.trace('machine goes on');
    this.parts.woke();
    this.clock.resume(bootClock);
    this.guard.resumed();
  }

  /** The service manager asks it to stop; it exits when it has, or is killed when it takes too long. */
  stopDaemon(how: 'hand-over' | 'leave-running', gone: () => void): void {
    const daemon = this.running;
    if (daemon === null || daemon.process.paused || this.clock.isSuspended) return;
    this.parts.trace(`daemon is asked to stop (${how})`);
    daemon.askedToStop = true;
    const end = (): void => {
      if (this.running !== daemon) return;
      this.killDaemon();
      gone();
    };
    daemon.control.stop(how).then(end, (error: unknown) => {
      if (daemon.process.alive) this.parts.daemonFailed('it did not stop', error);
    });
    this.parts.scheduler.after(90_000, end);
  }

  powerLoss(): void {
    if (!this.on) return;
    this.parts.trace('power lost');
    this.on = false;
    this.killDaemon();
    this.server.powerLoss();
    this.guard.powerLoss();
    this.interface.powerLoss();
    this.stored.state = null;
  }

  boot(): void {
    if (this.on) return;
    this.parts.trace('boots');
    this.clock.reboot();
    this.on = true;
  }
}
