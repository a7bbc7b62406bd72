/**
 * One simulated cluster, built from a plan: machines, etcd, links, clients, faults. It runs the plan's two phases and
 * tells what became of it.
 */
import { KEYS } from '../../../src/core/cluster.ts';
import type { Txn } from '../../../src/core/store.ts';
import type { Instant } from '../../../src/core/time.ts';
import { millis } from '../../../src/core/time.ts';
import type { Facts, Severity } from '../../../src/ports/event-log.ts';
import { Clients } from '../clients.ts';
import { Invariants } from '../invariants.ts';
import { DcsLine, type Fate, kindOf, type RequestKind } from '../models/dcs-line.ts';
import { EtcdModel } from '../models/etcd.ts';
import { GuardProcess } from '../models/guard.ts';
import { SimulatedPeers } from '../models/peers.ts';
import { SimulatedPostgres } from '../models/postgres-port.ts';
import { PostgresServer, type ServerEvents } from '../models/postgres-server.ts';
import { WalArchive } from '../models/wal.ts';
import type { Fault, FaultyRequest, NodeRef, Occasion, Plan } from '../plan.ts';
import { type AgentParts, makeAgent } from './agent.ts';
import { type Incarnation, MachineClock } from './incarnation.ts';
import { Machine } from './machine.ts';
import { Network } from './network.ts';
import { SeededRandom } from './random.ts';
import { EventQueue } from './scheduler.ts';
import { Trace } from './trace.ts';

export interface Verdict {
  readonly ok: boolean;
  readonly invariant: string | null;
  readonly sentence: string;
  readonly at: number;
  readonly hash: string;
  readonly tail: readonly string[];
  readonly marks: ReadonlyMap<string, number>;
  readonly events: number;
  readonly simulatedMs: number;
  readonly ackedLost: number;
  readonly longestPauseMs: number;
  readonly exposureSeconds: number;
}

export interface WorldOptions {
  readonly echo: ((line: string) => void) | null;
  readonly until: number | null;
  /** Invariants that are not looked at, to see whether the others notice a planted bug as well. */
  readonly mute?: readonly string[];
}

/** The cluster must be whole by then. */
const WARM_UP_MS = 120_000;
const TWICE = 'known limitation: timeline number given twice';
const APART = 'timeline number given twice, at different positions';
const STOP_AFTER_EVENTS = 1_500_000;

export class World {
  private readonly plan: Plan;
  private readonly options: WorldOptions;
  private readonly queue = new EventQueue();
  private readonly network = new Network();
  private readonly random: SeededRandom;
  private readonly trace: Trace;
  private readonly archive = new WalArchive();
  private readonly machines: readonly Machine[];
  private readonly etcd: EtcdModel;
  private readonly clients: Clients;
  private readonly invariants: Invariants;
  private failure: { readonly invariant: string; readonly sentence: string; readonly at: number } | null = null;
  private phase: 'warm-up' | 'safety' | 'liveness' | 'over' = 'warm-up';
  /** When the cluster was first whole. */
  private wholeAt = 0;
  private systemIds = 0;
  private readonly occasions = new Map<string, number>();
  private readonly tied: {
    fault: Fault;
    on: Occasion;
    node: string | null;
    nth: number;
    after: number;
    seen: number;
  }[] = [];
  private readonly requestFaults: { node: string; request: FaultyRequest; fate: Fate; left: number }[] = [];
  private readonly heal: (() => void)[] = [];
  /** A node whose keepalives reach one etcd member only. */
  private attached: { readonly node: string; readonly member: number } | null = null;
  private readonly leaderTerms: bigint[] = [];
  private readonly stops = new Map<string, number>();

  constructor(plan: Plan, options: WorldOptions) {
    this.plan = plan;
    this.options = options;
    this.random = new SeededRandom(`world:${plan.seed}`);
    this.trace = new Trace(400, options.echo);
    const scheduler = {
      now: () => this.queue.now() as Instant,
      after: (ms: number, run: () => void) => this.queue.after(ms, run),
    };
    this.etcd = new EtcdModel(scheduler, this.random.fork('etcd'), { members: plan.etcdMembers });
    this.machines = plan.nodes.map((name, i) => this.makeMachine(name, plan.clockRates[i] ?? 1));
    this.clients = new Clients({
      scheduler: this.queue,
      network: this.network,
      random: this.random.fork('clients'),
      servers: this.machines.map((machine) => machine.server),
      everyMs: plan.workload.everyMs,
    });
    this.invariants = new Invariants({
      nodes: this.machines,
      now: () => this.queue.now(),
      etcd: {
        leader: () => {
          const key = this.etcd.keyNow(KEYS.leader);
          return key === null ? null : { name: key.value, lease: key.lease };
        },
        leaseLeft: (lease) => {
          const deadline = this.etcd.leaseDeadline(lease);
          return deadline === null ? null : deadline - this.queue.now();
        },
      },
      ttlMs: plan.settings.ttlMs,
      fail: (invariant, sentence) => this.fail(invariant, sentence),
      mark: (name) => this.trace.mark(name),
    });
    this.etcd.onApplied((txn, by, revision) => this.applied(txn, by, revision));
    this.etcd.onRevoked((lease, why, changes) => {
      if (why === 'early') this.invariants.etcdRevokedEarly();
      for (const { key } of changes) {
        if (key !== KEYS.leader) continue;
        this.say('etcd', `lease ${lease} ${why}: the leader key is gone`);
        this.invariants.applied([{ key, value: null, revision: this.etcd.revisionNow(), lease: null }]);
        this.occasion('key-gone', null);
      }
    });
  }

  // ---- running -----------------------------------------------------------------------------------------------

  async run(): Promise<Verdict> {
    const { plan } = this;
    for (const [i, machine] of this.machines.entries()) {
      this.queue.after(this.random.between(0, 300) + i, () => machine.startDaemon());
    }
    this.clients.start(plan.workload.clients);
    this.watchWholeness();
    const limit = this.options.until ?? Number.POSITIVE_INFINITY;
    const go = (until: number): Promise<void> =>
      this.queue.run(
        Math.min(until, limit),
        () => this.eachEvent(),
        () => this.failure !== null || this.phase === 'over',
      );
    await go(WARM_UP_MS);
    if (this.phase === 'warm-up' && this.failure === null && this.queue.now() < limit) {
      this.fail('L1', `the cluster was not whole after ${WARM_UP_MS / 1000} s without any fault: ${this.describe()}`);
    }
    if (this.failure === null) await go(this.wholeAt + plan.safetyMs);
    if (this.failure === null && this.phase !== 'over' && this.queue.now() < limit) {
      if (plan.profile === 'quiet') this.checkQuiet();
      this.beginLiveness();
      await go(this.queue.now() + plan.livenessMs);
      if (this.failure === null && this.queue.now() < limit && this.phase === 'liveness') this.checkLiveness();
    }
    if (this.failure === null && this.phase === 'over') this.checkLosses();
    return this.verdict();
  }

  /**
   * S5, for a node that lives: where only Postgres processes died, nothing that was acknowledged is lost, also with
   * asynchronous standbys that lag. Not demanded where the policy prefers a quick failover.
   */
  private checkLosses(): void {
    const harmless = ['postmaster-kill', 'postgres-crash', 'backend-crash'];
    const { faults, policy } = this.plan;
    if (policy?.primaryCrash === 'failover' || this.trace.marks.has(TWICE)) return;
    // The second phase takes machines away for good.
    if (this.machines.some((one) => !one.on)) return;
    if (!faults.every(({ fault }) => harmless.includes(fault.kind))) return;
    const lost = this.ackedLost();
    if (lost > 0) this.fail('S5', `${lost} acknowledged writes are gone although only Postgres processes had died`);
  }

  /** An exception or a rejected promise that nobody caught: the daemon would have died of it. */
  uncaught(error: unknown): void {
    this.fail('X1', `a promise was rejected and nobody looked: ${describe(error)}`);
  }

  private verdict(): Verdict {
    const { failure, clients } = this;
    return {
      ok: failure === null,
      invariant: failure?.invariant ?? null,
      sentence: failure?.sentence ?? '',
      at: failure?.at ?? this.queue.now(),
      hash: this.trace.hash(),
      tail: this.trace.tail(120),
      marks: this.trace.marks,
      events: this.queue.events,
      simulatedMs: this.queue.now(),
      ackedLost: this.ackedLost(),
      longestPauseMs: clients.books.longestPause,
      exposureSeconds: this.invariants.exposure,
    };
  }

  private eachEvent(): void {
    if (this.failure !== null) return;
    if (this.archive.conflict !== null) {
      // S8: two instances never served different WAL at one place. Off while a node was excused from S1.
      if (!this.trace.marks.has('excused: neither guard nor daemon was there')) this.fail('S8', this.archive.conflict);
      this.archive.conflict = null;
    }
    this.invariants.check();
    const { reused } = this.archive;
    if (reused !== null && this.failure === null) {
      // Postgres picks the next number it knows of. Where the first primary was lost before anybody heard of its
      // timeline, two primaries one after the other write timelines of one number. Begun at different positions their
      // histories tell them apart; else nothing here can, so the run ends. Counted, because no rule prevents it yet.
      // S1 held until here.
      this.say('world', `${reused.apart ? 'told apart by position' : 'known limitation'}: ${reused.sentence}`);
      this.trace.mark(reused.apart ? APART : TWICE);
      this.archive.reused = null;
      if (!reused.apart) this.phase = 'over';
    }
    if (this.queue.events > STOP_AFTER_EVENTS) this.fail('X2', 'too many events: something goes round in circles');
  }

  private fail(invariant: string, sentence: string): void {
    if (this.failure !== null || this.options.mute?.includes(invariant) === true) return;
    this.failure = { invariant, sentence, at: this.queue.now() };
    this.say('!!', `${invariant}: ${sentence}`);
  }

  private say(who: string, what: string): void {
    this.trace.line(this.queue.now(), who, what);
  }

  // ---- phases ------------------------------------------------------------------------------------------------

  private watchWholeness(): void {
    this.queue.after(100, () => {
      if (this.phase !== 'warm-up') return;
      if (this.isWhole()) this.beginSafety();
      else this.watchWholeness();
    });
  }

  private writableLeader(): Machine | null {
    const name = this.etcd.keyNow(KEYS.leader)?.value;
    const machine = this.machines.find((one) => one.name === name);
    if (machine === undefined || !machine.server.acceptsWrites()) return null;
    return machine.daemon()?.control.writable() === true ? machine : null;
  }

  private isWhole(): boolean {
    const leader = this.writableLeader();
    return leader !== null && this.machines.every((one) => one === leader || this.streams(one, leader));
  }

  private streams(one: Machine, leader: Machine): boolean {
    const { receiver } = one.server;
    return receiver !== null && !receiver.stalled && receiver.from === leader.server && one.server.caughtUp;
  }

  /** It says that an operator has to allow what would bring it back. */
  private isStuck(one: Machine): boolean {
    return !this.plan.postgres.mayCopyAnew && one.daemon()?.control.published().decision.rule === 'rejoin.stuck';
  }

  private beginSafety(): void {
    this.phase = 'safety';
    this.wholeAt = this.queue.now();
    this.occasions.clear();
    this.leaderTerms.length = 0;
    for (const { server, name } of this.machines) this.stops.set(name, server.restarts + 1000 * server.copies);
    this.clients.books.longestPause = 0;
    this.clients.books.lastAck = this.queue.now();
    this.say('world', `the cluster is whole; ${this.plan.faults.length} faults are planned (${this.plan.profile})`);
    for (const { when, fault } of this.plan.faults) {
      if ('at' in when) this.queue.after(when.at, () => this.strike(fault, null));
      else this.tied.push({ fault, on: when.on, node: when.node, nth: when.nth, after: when.after, seen: 0 });
    }
  }

  /** A random part of the cluster is healed, every other fault is made permanent (simulation.md 5). */
  private beginLiveness(): void {
    this.phase = 'liveness';
    this.requestFaults.length = 0;
    this.tied.length = 0;
    for (const one of this.heal.splice(0)) one();
    this.etcd.setOutOfSpace(false);
    for (let i = 0; i < this.etcd.size; i += 1) this.etcd.setMember(i, 'up');
    const well = this.wellNodes();
    this.say('world', `liveness: ${well.map((one) => one.name).join(', ')} and etcd are healed`);
    for (const machine of this.machines) {
      machine.server.hungUntil = -1;
      if (!well.includes(machine)) {
        machine.powerLoss();
        continue;
      }
      machine.boot();
      machine.resumeDaemon();
      if (machine.daemon() === null) machine.startDaemon();
      if (!machine.guard.alive && this.plan.guardUnitMs !== null) machine.guard.start();
    }
    this.watchLiveness();
  }

  /** The planned ones, if one of them can be elected: it has the newest timeline and nearly all WAL. Else all. */
  private wellNodes(): readonly Machine[] {
    const planned = this.machines.filter((one) => this.plan.healthyNodes.includes(one.name));
    const data = this.machines.flatMap((one) => (one.server.data === null ? [] : [one.server]));
    const newest = Math.max(0, ...data.map((one) => one.data?.branch.id ?? 0));
    const furthest = Math.max(0, ...data.map((one) => one.end));
    const fit = planned.some(
      ({ server, name }) =>
        name !== this.plan.policy?.neverLeads &&
        server.data !== null &&
        server.data.branch.id === newest &&
        furthest - server.end < 500_000,
    );
    return fit ? planned : this.machines;
  }

  /** L1 and, with it, that all healed standbys stream: looked for until it is true or the time is over. */
  private watchLiveness(): void {
    this.queue.after(200, () => {
      if (this.phase !== 'liveness') return;
      const leader = this.writableLeader();
      const up = this.machines.filter((one) => one.on);
      if (leader !== null && up.every((one) => one === leader || this.streams(one, leader) || this.isStuck(one))) {
        this.phase = 'over';
        this.say('world', `alive: ${leader.name} leads, ${up.length - 1} stream from it`);
      } else this.watchLiveness();
    });
  }

  private checkLiveness(): void {
    const leader = this.writableLeader();
    if (leader === null) {
      // L1: after healing there is a writable leader within T. Not demanded where nobody could be elected.
      this.fail('L1', `no writable leader ${this.plan.livenessMs / 1000} s after healing: ${this.describe()}`);
    } else {
      // L2, first half: all healed standbys stream from it within T and the time of a copy.
      this.fail('L2', `not all standbys stream ${this.plan.livenessMs / 1000} s after healing: ${this.describe()}`);
    }
  }

  /** S13: without faults no change of leader, no restart, no copy. Only in quiet plans. */
  private checkQuiet(): void {
    if (this.leaderTerms.length > 0) this.fail('S13', 'the leader key changed although nothing was wrong');
    for (const { server, name } of this.machines) {
      if (this.stops.get(name) !== server.restarts + 1000 * server.copies) {
        this.fail('S13', `Postgres of ${name} was restarted or copied although nothing was wrong`);
      }
    }
  }

  private describe(): string {
    return this.machines
      .map((machine) => {
        const { name, server, on } = machine;
        const decision = machine.daemon()?.control.published().decision;
        return (
          `${name}: ${on ? 'on' : 'off'}, disk ${server.disk.kind}, postgres ${server.processes.kind}` +
          `${server.processes.kind === 'running' ? (server.processes.recovery ? ' standby' : ' primary') : ''}` +
          `, timeline ${server.data?.branch.id ?? '-'} at ${server.end}, ${decision === undefined ? 'no daemon' : `${decision.rule} (${decision.reason})`}`
        );
      })
      .join('; ');
  }

  /** Acknowledged writes that the newest primary does not have: asynchronous replication may lose them. */
  private ackedLost(): number {
    const leader = this.writableLeader();
    if (leader === null || leader.server.data === null) return 0;
    const there = new Set(leader.server.data.wal.map((entry) => entry.token));
    return this.clients.books.acked.filter((token) => !there.has(token)).length;
  }

  // ---- building ----------------------------------------------------------------------------------------------

  private makeMachine(name: string, rate: number): Machine {
    const { queue, network, plan } = this;
    const random = this.random.fork(`machine ${name}`);
    const clock = new MachineClock(queue, rate, random.between(10_000, 5_000_000), random.between(-200, 200));
    const events: ServerEvents = {
      trace: (who, what) => {
        this.say(who, what);
        if (what.startsWith('copies from')) this.occasion('copy-begins', name);
      },
      mark: (mark) => this.trace.mark(mark),
      promotionBegins: () => {
        this.occasion('promotion-begins', name);
        this.invariants.promotionBegins(name);
      },
      promoted: () => {
        this.occasion('promoted', name);
        this.invariants.promoted(name);
        // S12, its last part. Never off.
        if (plan.policy?.neverLeads === name) this.fail('S12', `${name} has priority 0 and was promoted`);
      },
      startedAsPrimary: () => undefined,
      postmasterGone: () => {
        this.occasion('postmaster-gone', name);
        this.machine(name)?.daemon()?.postgres.postmasterGone();
      },
      connectionsBroke: () => this.machine(name)?.daemon()?.postgres.connectionsBroke(),
      violated: (invariant, sentence) => this.fail(invariant, sentence),
    };
    const server = new PostgresServer({
      name,
      scheduler: queue,
      network,
      random: random.fork('postgres'),
      archive: this.archive,
      timing: {
        replicationDelay: plan.postgres.replicationDelayMs,
        slowPromotionChance: plan.postgres.slowPromotionChance,
        slowStartChance: plan.postgres.slowStartChance,
      },
      events,
      others: (other) => {
        const machine = this.machine(other);
        return machine?.on === true ? machine.server : null;
      },
    });
    const guard = new GuardProcess({
      name,
      scheduler: queue,
      clock,
      random: random.fork('guard'),
      server,
      events: {
        trace: (who, what) => this.say(who, what),
        mark: (mark) => this.trace.mark(mark),
        armed: () => this.occasion('guard-armed', name),
      },
    });
    return new Machine(name, clock, server, guard, {
      scheduler: queue,
      random: random.fork('daemons'),
      makePostgres: (process) => this.makePostgres(server, process),
      makeAgent: (ports) => {
        this.occasion('daemon-started', name);
        const { process } = ports;
        const inner = this.etcd.client(
          name,
          {},
          {
            now: () => process.now(),
            after: (ms, run) => process.timer(millis(ms), run),
          },
        );
        const parts: AgentParts = {
          commands: { validateFailover: async () => ({ kind: 'approved' }) },
          name,
          index: plan.nodes.indexOf(name),
          clock: process,
          random: random.fork(`agent ${queue.events}`),
          dcs: new DcsLine(inner, process, queue, {
            sent: (kind, txn) => this.sent(name, kind, txn),
            revoked: (lease) => this.invariants.revoked(name, lease),
          }),
          postgres: ports.postgres,
          guard: ports.guard,
          state: ports.state,
          peers: new SimulatedPeers({
            self: name,
            process,
            scheduler: queue,
            network,
            random: random.fork('peers'),
            daemonOf: (other) => this.daemonOf(other),
          }),
          log: {
            write: (severity, event, sentence, facts) => this.logged(name, process, severity, event, sentence, facts),
          },
        };
        return makeAgent(parts, plan);
      },
      daemonFailed: (what, error) => this.fail('X1', `the daemon of ${name} failed: ${what}: ${describe(error)}`),
      trace: (what) => this.say(name, what),
      guardUnitMs: plan.guardUnitMs,
    });
  }

  private makePostgres(server: PostgresServer, process: Incarnation): SimulatedPostgres {
    const addressOf = (name: string) => {
      const i = this.plan.nodes.indexOf(name);
      return i < 0 ? null : { name, host: `10.0.0.${i + 1}`, port: 5432 };
    };
    return new SimulatedPostgres({
      server,
      process,
      address: addressOf(server.name) ?? { name: server.name, host: '10.0.0.99', port: 5432 },
      at: (address) => {
        const machine = this.machines.find((one) => addressOf(one.name)?.host === address.host);
        return machine?.on === true ? machine.server : null;
      },
      addressOf,
      newSystemId: () => {
        this.systemIds += 1;
        return `7${this.systemIds.toString().padStart(18, '0')}`;
      },
      failChance: this.plan.postgres.failChance,
    });
  }

  private machine(name: string): Machine | null {
    return this.machines.find((one) => one.name === name) ?? null;
  }

  private daemonOf(name: string) {
    const machine = this.machine(name);
    if (machine === null || !machine.on) return 'off' as const;
    return machine.daemon() ?? ('none' as const);
  }

  private logged(
    name: string,
    process: Incarnation,
    severity: Severity,
    event: string,
    sentence: string,
    facts: Facts | undefined,
  ): void {
    if (!process.alive) return;
    this.trace.mark(`event ${event}`);
    const error = facts?.['error'];
    if (error instanceof Error && error.name === 'InvariantError') this.fail('X1', `${sentence}: ${describe(error)}`);
    if (sentence === 'a cycle ended with an error that nobody expected')
      this.fail('X1', `${sentence}: ${describe(error)}`);
    const rule = facts?.['rule'];
    if (event === 'decision.changed' && typeof rule === 'string') this.trace.mark(`rule ${rule}`);
    if (severity !== 'debug') this.say(name, `[${event}] ${sentence}`);
  }

  // ---- what is sent, what is applied -------------------------------------------------------------------------

  private sent(name: string, kind: RequestKind, txn: Txn | null): Fate {
    this.invariants.sent(name, kind, txn);
    const now: Record<string, Occasion> = {
      beat: 'beat-sent',
      keepalive: 'keepalive-sent',
      release: 'release-sent',
      acquire: 'acquire-sent',
      'take-over': 'take-over-sent',
      retake: 'retake-sent',
    };
    const occasion = now[kind];
    if (occasion !== undefined && (kind !== 'keepalive' || this.etcd.keyNow(KEYS.leader)?.value === name)) {
      this.occasion(occasion, name);
    }
    if (this.attached?.node === name) {
      const { member } = this.attached;
      const others = Array.from({ length: this.etcd.size }, (_, i) => i).filter((i) => i !== member);
      this.etcd.link(name).set({ cutFrom: kind === 'keepalive' ? others : [] });
    }
    const fault = this.requestFaults.find((one) => one.node === name && one.request === kind && one.left > 0);
    if (fault === undefined) return { kind: 'normal' };
    fault.left -= 1;
    this.say(name, `request ${kind}: ${fault.fate.kind}${'ms' in fault.fate ? ` by ${fault.fate.ms} ms` : ''}`);
    this.trace.mark(`request ${kind} ${fault.fate.kind}`);
    return fault.fate;
  }

  private applied(txn: Txn, by: string, revision: bigint): void {
    const changes = txn.success.flatMap((op) =>
      op.op === 'get' || (op.key !== KEYS.leader && op.key !== KEYS.status)
        ? []
        : [
            {
              key: op.key,
              value: op.op === 'put' ? op.value : null,
              revision,
              lease: op.op === 'put' ? op.lease : null,
            },
          ],
    );
    if (changes.length === 0) return;
    this.invariants.applied(changes);
    if (kindOf(txn) === 'swap') this.invariants.ttlChanged();
    const leader = changes.find((one) => one.key === KEYS.leader);
    if (leader === undefined) return;
    this.leaderTerms.push(revision);
    if (leader.value === null) {
      this.say('etcd', `${by} released the key`);
      this.occasion('key-gone', null);
    } else {
      this.say('etcd', `${leader.value} has the key (${kindOf(txn)}, term ${revision})`);
      this.trace.mark(`key by ${kindOf(txn)}`);
      this.occasion('key-won', leader.value);
    }
  }

  // ---- faults ------------------------------------------------------------------------------------------------

  private occasion(what: Occasion, node: string | null): void {
    if (this.phase !== 'safety') return;
    for (const one of this.tied) {
      if (one.on !== what || (one.node !== null && one.node !== node)) continue;
      one.seen += 1;
      if (one.seen !== one.nth) continue;
      // Never within the event itself: what happens in it is whole before the fault strikes.
      this.queue.after(one.after, () => this.strike(one.fault, node));
    }
  }

  private resolve(ref: NodeRef, event: string | null): Machine | null {
    const holder = this.etcd.keyNow(KEYS.leader)?.value ?? null;
    switch (ref) {
      case 'event':
        return this.machine(event ?? holder ?? '');
      case 'holder':
        return this.machine(holder ?? '');
      case 'primary':
        return this.machines.find((one) => one.server.acceptsWrites()) ?? null;
      case 'other':
        return this.machines.find((one) => one.name !== holder && !one.server.acceptsWrites() && one.on) ?? null;
      default:
        return this.machine(ref);
    }
  }

  private strike(fault: Fault, event: string | null): void {
    if (this.phase !== 'safety') return;
    const machine = 'node' in fault ? this.resolve(fault.node, event) : null;
    if ('node' in fault && (machine === null || !machine.on)) return;
    this.trace.mark(`fault ${fault.kind}`);
    this.say(
      'fault',
      `${fault.kind}${machine === null ? '' : ` ${machine.name}`} ${JSON.stringify({ ...fault, kind: undefined, node: undefined })}`,
    );
    if (machine !== null) this.strikeMachine(fault, machine);
    else this.strikeCluster(fault);
  }

  private strikeMachine(fault: Fault, machine: Machine): void {
    const { queue } = this;
    const restart = (ms: number): void => {
      queue.after(ms, () => {
        if (machine.on && machine.daemon() === null && this.phase !== 'over') machine.startDaemon();
      });
    };
    switch (fault.kind) {
      case 'daemon-kill':
        machine.killDaemon();
        restart(fault.restartAfter);
        return;
      case 'daemon-pause':
        machine.pauseDaemon();
        queue.after(fault.for, () => machine.resumeDaemon());
        return;
      case 'daemon-stop':
        machine.stopDaemon('hand-over', () => restart(fault.restartAfter));
        return;
      case 'daemon-restart':
        machine.stopDaemon('leave-running', () => restart(fault.restartAfter));
        return;
      case 'guard-kill':
        machine.guard.kill();
        return;
      case 'power-loss':
        machine.powerLoss();
        queue.after(fault.bootAfter, () => {
          if (this.phase !== 'safety') return;
          machine.boot();
          restart(500);
        });
        return;
      case 'postmaster-kill':
        machine.server.killPostmaster(fault.orphans);
        return;
      case 'postgres-crash':
        machine.server.crash();
        return;
      case 'backend-crash':
        machine.server.backendCrash();
        return;
      case 'postgres-hang':
        if (machine.server.processes.kind !== 'none') machine.server.hungUntil = queue.now() + fault.for;
        return;
      case 'cut':
        this.cut(fault, machine);
        return;
      case 'etcd-early-revocation': {
        const key = this.etcd.keyNow(KEYS.leader);
        if (key !== null && key.value === machine.name && key.lease !== null) this.etcd.expireLeaseEarly(key.lease);
        return;
      }
      case 'request':
        this.requestFaults.push({
          node: machine.name,
          request: fault.request,
          fate:
            fault.fate === 'late' || fault.fate === 'slow' ? { kind: fault.fate, ms: fault.ms } : { kind: fault.fate },
          left: fault.count,
        });
        return;
      default:
        throw new Error(`${fault.kind} does not concern one machine`);
    }
  }

  private cut(fault: Extract<Fault, { kind: 'cut' }>, machine: Machine): void {
    const { network, queue } = this;
    const planes =
      fault.plane === null ? (['daemon-etcd', 'daemon-daemon', 'replication', 'client'] as const) : [fault.plane];
    const undo: (() => void)[] = [];
    for (const plane of planes) {
      if (plane === 'daemon-etcd') {
        this.etcd.link(machine.name).set({ cutFrom: 'all' });
        undo.push(() => this.etcd.link(machine.name).set({ cutFrom: [] }));
        continue;
      }
      const ends =
        plane === 'client'
          ? Array.from({ length: this.plan.workload.clients }, (_, i) => `client${i}`)
          : this.machines.filter((one) => one !== machine).map((one) => one.name);
      for (const end of ends)
        undo.push(fault.oneWay ? network.cut(plane, machine.name, end) : network.cutBoth(plane, machine.name, end));
    }
    this.healLater(
      fault.for,
      () => {
        for (const one of undo) one();
        this.say('world', `links of ${machine.name} are back`);
      },
      queue,
    );
  }

  private healLater(ms: number, heal: () => void, queue = this.queue): void {
    let open = true;
    const once = (): void => {
      if (!open) return;
      open = false;
      heal();
    };
    this.heal.push(once);
    queue.after(ms, once);
  }

  private strikeCluster(fault: Fault): void {
    const { etcd } = this;
    const leader = etcd.leaderNow()?.member ?? 0;
    const follower = etcd.size === 1 ? 0 : (leader + 1) % etcd.size;
    switch (fault.kind) {
      case 'etcd-kill': {
        const which =
          fault.member === 'all'
            ? Array.from({ length: etcd.size }, (_, i) => i)
            : [fault.member === 'leader' ? leader : follower];
        for (const i of which) etcd.setMember(i, 'down');
        this.healLater(fault.for, () => {
          for (const i of which) etcd.setMember(i, 'up');
        });
        return;
      }
      case 'etcd-isolate': {
        const i = fault.member === 'leader' ? leader : follower;
        etcd.setMember(i, 'isolated');
        this.healLater(fault.for, () => etcd.setMember(i, 'up'));
        return;
      }
      case 'etcd-move-leader':
        etcd.moveLeader();
        return;
      case 'etcd-stuck-leader':
        if (etcd.size > 1) this.stickEtcd(fault);
        return;
      case 'etcd-no-space':
        etcd.setOutOfSpace(true);
        this.healLater(fault.for, () => etcd.setOutOfSpace(false));
        return;
      case 'switchover':
        this.switchover(fault.to);
        return;
      case 'ttl':
        this.changeSettings(fault);
        return;
      default:
        throw new Error(`${fault.kind} concerns one machine`);
    }
  }

  private stickEtcd(fault: Extract<Fault, { kind: 'etcd-stuck-leader' }>): void {
    const member = this.etcd.stuckLeader(fault.for);
    const attached = fault.attached === null ? null : this.resolve(fault.attached, null);
    if (member === null || attached === null) return;
    this.attached = { node: attached.name, member };
    this.healLater(fault.for, () => {
      this.attached = null;
      this.etcd.link(attached.name).set({ cutFrom: [] });
    });
  }

  private changeSettings({ ttlMs, loopWaitMs, retryTimeoutMs }: Extract<Fault, { kind: 'ttl' }>): void {
    const daemon = this.resolve('holder', null)?.daemon() ?? null;
    const patch = { ttl: ttlMs / 1000, loop_wait: loopWaitMs / 1000, retry_timeout: retryTimeoutMs / 1000 };
    daemon?.process.deliver(() => {
      daemon.control
        .patchConfig(patch)
        .catch((error: unknown) => this.fail('X1', `patchConfig was rejected: ${describe(error)}`));
    });
  }

  private switchover(to: 'other' | null): void {
    const holder = this.resolve('holder', null);
    const daemon = holder?.daemon() ?? null;
    if (holder === null || daemon === null) return;
    const candidate = to === null ? null : (this.resolve('other', null)?.name ?? null);
    daemon.process.deliver(() => {
      daemon.control.switchover({ kind: 'switchover', leader: holder.name, candidate, scheduledAt: null }).then(
        (outcome) => {
          this.trace.mark(`switchover ${outcome.kind}`);
          this.say(holder.name, `switchover: ${outcome.kind}${'sentence' in outcome ? `: ${outcome.sentence}` : ''}`);
        },
        (error: unknown) => this.fail('X1', `switchover was rejected: ${describe(error)}`),
      );
    });
  }
}

function describe(error: unknown): string {
  return error instanceof Error
    ? `${error.name}: ${error.message} ${(error.stack ?? '').split('\n').slice(1, 5).join(' ')}`
    : String(error);
}
