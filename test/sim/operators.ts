/**
 * Operators of a simulated cluster: they ask any daemon that is there, over HTTP, and wait for an answer. What they ask
 * for is drawn by the plan; here is how they ask, and L3: each request ends, done or refused with a reason, as long as
 * the daemon that took it lives.
 */
import type { ConfigOutcome, Control, OperatorRequest, SwitchoverRequest } from '../../src/agent/published.ts';
import type { Json } from './plan.ts';
import type { Machine } from './world/machine.ts';
import type { SeededRandom } from './world/random.ts';
import type { Scheduler } from './world/scheduler.ts';

/** A restart waits for primary_start_timeout, 300 s by default; everything else is shorter. */
const LONGEST_RESTART_MS = 400_000;
const LONGEST_ELSE_MS = 70_000;
/** A change of the settings lands by then or never. */
const STORED_WITHIN_MS = 20_000;
const TRY_AGAIN_MS = 1_000;

export interface OperatorEvents {
  say(who: string, what: string): void;
  mark(name: string): void;
  fail(invariant: string, sentence: string): void;
}

interface Asked {
  readonly what: string;
  readonly of: Machine;
  readonly process: object;
  readonly at: number;
  readonly limit: number;
}

export class Operators {
  private readonly scheduler: Scheduler;
  private readonly random: SeededRandom;
  private readonly machines: readonly Machine[];
  private readonly events: OperatorEvents;
  private readonly open = new Set<Asked>();
  /** When an operator last asked this node for something that stops or rebuilds its Postgres. */
  readonly disturbed = new Map<string, number>();
  /** When an operator last asked anybody for another leader. */
  handoverAsked: number | null = null;

  private settingsAskedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: {
    readonly scheduler: Scheduler;
    readonly random: SeededRandom;
    readonly machines: readonly Machine[];
    readonly events: OperatorEvents;
  }) {
    this.scheduler = parts.scheduler;
    this.random = parts.random;
    this.machines = parts.machines;
    this.events = parts.events;
  }

  /** A change of the settings may be stored now because somebody asks for it. */
  get changesSettings(): boolean {
    return this.scheduler.now() - this.settingsAskedAt < STORED_WITHIN_MS;
  }

  /** A change of the cluster-wide settings, until it is stored. */
  change(patch: Json, wanted: () => boolean = () => true): void {
    if (!wanted()) return;
    const again = (): void => {
      this.scheduler.after(TRY_AGAIN_MS, () => this.change(patch, wanted));
    };
    const machine = this.anyDaemon();
    if (machine === null) {
      again();
      return;
    }
    let answered = false;
    this.settingsAskedAt = this.scheduler.now();
    this.ask<ConfigOutcome>(machine, `settings ${JSON.stringify(patch)}`, LONGEST_ELSE_MS, (control) =>
      control.patchConfig(patch).then((outcome) => {
        answered = true;
        if (outcome.kind === 'refused') again();
        return outcome;
      }),
    );
    // The daemon that was asked may have died, and nobody answers.
    this.scheduler.after(5_000, () => {
      if (!answered) this.change(patch, wanted);
    });
  }

  request(machine: Machine, request: OperatorRequest): void {
    this.disturbed.set(machine.name, this.scheduler.now());
    const limit = request.kind === 'restart' ? LONGEST_RESTART_MS : LONGEST_ELSE_MS;
    this.ask(machine, request.kind, limit, (control) => control.request(request));
  }

  switchover(
    machine: Machine,
    request: SwitchoverRequest,
    done: (outcome: string, leader: string | null) => void,
  ): void {
    const what = request.scheduledAt === null ? request.kind : `scheduled ${request.kind}`;
    if (request.scheduledAt === null) this.handoverAsked = this.scheduler.now();
    this.ask(machine, what, LONGEST_ELSE_MS, (control) =>
      control.switchover(request).then((outcome) => {
        done(outcome.kind, outcome.kind === 'done' ? outcome.leader : null);
        return outcome;
      }),
    );
  }

  withdraw(machine: Machine): void {
    this.ask(machine, 'withdrawal', LONGEST_ELSE_MS, (control) => control.cancelSwitchover());
  }

  anyDaemon(): Machine | null {
    // One that stands still takes no connection.
    const answers = (one: Machine): boolean =>
      one.on && !one.clock.isSuspended && one.daemon()?.process.paused === false;
    const there = this.machines.filter(answers);
    return there.length === 0 ? null : this.random.pick(there);
  }

  private ask<T extends { readonly kind: string }>(
    machine: Machine,
    what: string,
    limit: number,
    send: (control: Control) => Promise<T>,
  ): void {
    const daemon = machine.daemon();
    if (daemon === null) return;
    const asked: Asked = { what, of: machine, process: daemon.process, at: this.scheduler.now(), limit };
    this.open.add(asked);
    daemon.process.deliver(() => {
      send(daemon.control).then(
        (outcome) => {
          this.open.delete(asked);
          this.events.mark(`${what.split(' {')[0]} ${outcome.kind}`);
          const sentence = 'sentence' in outcome ? `: ${String(outcome.sentence)}` : '';
          this.events.say(machine.name, `operator: ${what}: ${outcome.kind}${sentence}`);
          if (outcome.kind === 'refused' && sentence === '')
            this.events.fail('L3', `${machine.name} refuses ${what} without a reason`);
        },
        (error: unknown) => this.events.fail('X1', `${what} was rejected: ${String(error)}`),
      );
    });
  }

  /** L3. Called now and then. */
  check(): void {
    const now = this.scheduler.now();
    for (const asked of this.open) {
      const daemon = asked.of.daemon();
      if (daemon?.process !== asked.process || daemon.process.paused || asked.of.clock.isSuspended)
        this.open.delete(asked);
      else if (now - asked.at > asked.limit)
        this.events.fail(
          'L3',
          `${asked.of.name} has not answered an operator's ${asked.what} for ${((now - asked.at) / 1000).toFixed(0)} s`,
        );
    }
  }
}
