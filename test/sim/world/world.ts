/**
 * One simulated cluster, built from a plan: machines, etcd, links, clients, faults. It runs the plan's two phases and
 * tells what became of it.
 */
import { KEYS, readFailsafeKey, slotName } from '../../../src/core/cluster.ts';
import { isListed } from '../../../src/core/failsafe.ts';
import { readScheduledRestart } from '../../../src/core/schedule.ts';
import { nodeName, type Txn } from '../../../src/core/store.ts';
import type { Instant } from '../../../src/core/time.ts';
import { millis } from '../../../src/core/time.ts';
import type { Facts, Severity } from '../../../src/ports/event-log.ts';
import type { ServerAddress } from '../../../src/ports/postgres.ts';
import { NoPostgres } from '../../../src/postgres/none.ts';
import { Addresses } from '../addresses.ts';
import { Ailments } from '../ailments.ts';
import { Clients } from '../clients.ts';
import { Conduct } from '../conduct.ts';
import { canLead, neverLeads } from '../draw.ts';
import { Invariants } from '../invariants.ts';
import { SimulatedChronicle } from '../models/chronicle.ts';
import { DcsLine, type Fate, kindOf, type RequestKind } from '../models/dcs-line.ts';
import { EtcdModel } from '../models/etcd.ts';
import { GuardProcess } from '../models/guard.ts';
import { SimulatedPeers } from '../models/peers.ts';
import { SimulatedPoolers } from '../models/poolers.ts';
import { SimulatedPostgres } from '../models/postgres-port.ts';
import { PostgresServer, type ServerEvents } from '../models/postgres-server.ts';
import { checkSimulatedServer } from '../models/server-check.ts';
import { SimulatedInterface } from '../models/virtual-address.ts';
import { WalArchive } from '../models/wal.ts';
import { Operators } from '../operators.ts';
import { Pace, paceOf } from '../pace.ts';
import type { Occasion, Plan } from '../plan.ts';
import { Synchrony } from '../synchrony.ts';
import { type AgentParts, makeAgent, operatorsCommands } from './agent.ts';
import { Faults } from './faults.ts';
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
  /** Who accepted writes at `lookAt`. */
  readonly writableThen: readonly string[];
}

export interface WorldOptions {
  readonly echo: ((line: string) => void) | null;
  readonly until: number | null;
  /** Milliseconds after the cluster was whole: who accepts writes then stands in the verdict. */
  readonly lookAt?: number;
  /** Invariants that are not looked at, to see whether the others notice a planted bug as well. */
  readonly mute?: readonly string[];
}

/** How often health checks come. */
const POLL_MS = 500;
/** A Postgres that fails to start so often is one that does not start. */
const FOR_GOOD = 100;
/** What an operator sets right when the liveness phase begins. */
const AS_IT_SHOULD_BE = { pause: null, failover: null, location_policy: null };
/**
 * Where a standby receives from another one, its slots are moved so many loops late: by its member key, then by the
 * leader's look, which is published with the next one, then by the look of each other standby.
 */
const SLOT_LOOPS = 4.5;
/** Of all clients in a moment, in bytes. */
const A_FEW_WRITES = 20_000;
/** The cluster must be whole by then. */
const WARM_UP_MS = 120_000;
const TWICE = 'known limitation: timeline number given twice';
const APART = 'timeline number given twice, at different positions';
/** So long it has to stay as it is once all is well. */
const SETTLE_MS = 10_000;
/** No failover loses commits of so long a time. */
const TOO_MUCH_MS = 60_000;
/** No pooler is waited for longer, as makeAgent configures them. */
/** How old a failed check may be that a decision goes by. */
const CHECK_READ_WITHIN_MS = 2_000;
const POOLERS_MS = 3_000;
const STOP_AFTER_EVENTS = 1_500_000;

export class World {
  private readonly plan: Plan;
  private readonly options: WorldOptions;
  private readonly queue = new EventQueue();
  private readonly network = new Network();
  private readonly random: SeededRandom;
  private readonly trace: Trace;
  private readonly archive = new WalArchive();
  private readonly chronicle = new SimulatedChronicle();
  private readonly machines: readonly Machine[];
  private readonly etcd: EtcdModel;
  private readonly clients: Clients;
  private readonly invariants: Invariants;
  private failure: { readonly invariant: string; readonly sentence: string; readonly at: number } | null = null;
  private phase: 'warm-up' | 'safety' | 'liveness' | 'settling' | 'over' = 'warm-up';
  /** etcd has taken a status since the healing: it has a leader again, and what stood before is not taken for well. */
  private heardSinceHealing = false;
  /** When the cluster was first whole. */
  private wholeAt = 0;
  private endWhenWhole = 0;
  private systemIds = 0;
  private readonly faults: Faults;
  private readonly operators: Operators;
  private writableThen: readonly string[] = [];
  /** Asked at every event: read once for each version. */
  private readonly listed = new LastRead();
  private readonly conduct: Conduct;
  private readonly ailments: Ailments;
  private readonly synchrony: Synchrony;
  private readonly poolers: SimulatedPoolers;
  /** Since when a node holds clients back for a stop, until it has said what came of it. */
  private readonly holdingBack = new Map<string, number>();
  private readonly addresses: Addresses;
  private readonly leaderTerms: bigint[] = [];
  /** Acknowledged writes that earlier promotions have cost. */
  private readonly lostBefore = new Set<number>();
  private readonly pace: Pace;
  /** Who has held the key since the healing: the last one before it first. */
  private readonly holders: (string | null)[] = [];
  /** How often all seemed to be well after the healing. */
  private settlings = 0;
  private lastHolder: string | null = null;
  /** An operator has failed over by hand since the healing. */
  private rescued = false;
  /** Where a rescue has failed since Postgres died. */
  private rescueFailed: string | null = null;
  private readonly checked = {
    'S5 only Postgres processes died': 0,
    'S12 nobody leads, and one is there that may not': 0,
    'S13 nothing has changed': 0,
    'L1 a leader after the healing': 0,
    'L2 all stream after the healing': 0,
    'L2 it stays as it is': 0,
    'L3 nobody is held back': 0,
    'C1 transactions end before the stop': 0,
  };
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
    this.poolers = new SimulatedPoolers(plan.poolers ?? 0, new SeededRandom(`poolers:${plan.seed}`), (name) =>
      this.trace.mark(name),
    );
    this.etcd = new EtcdModel(scheduler, this.random.fork('etcd'), { members: plan.etcdMembers });
    this.machines = plan.nodes.map((name, i) => this.makeMachine(name, plan.clockRates[i] ?? 1));
    this.clients = new Clients({
      scheduler: this.queue,
      network: this.network,
      random: this.random.fork('clients'),
      servers: this.machines.map((machine) => machine.server),
      everyMs: plan.workload.everyMs,
      acknowledged: (server, token) => this.synchrony.acknowledged(server, token),
    });
    this.synchrony = new Synchrony({
      keepers: this.machines,
      etcd: this.etcd,
      fail: (invariant, sentence) => this.fail(invariant, sentence),
      mark: (name) => this.trace.mark(name),
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
        listed: () => this.listed.read(this.etcd.keyNow(KEYS.failsafe)?.value ?? null),
      },
      ttlMs: plan.settings.ttlMs,
      guarded: plan.guard !== 'off',
      strict: plan.canary === true,
      fail: (invariant, sentence) => this.fail(invariant, sentence),
      mark: (name) => this.trace.mark(name),
    });
    this.operators = new Operators({
      scheduler: this.queue,
      random: this.random.fork('operators'),
      machines: this.machines,
      events: {
        say: (who, what) => this.say(who, what),
        mark: (name) => this.trace.mark(name),
        fail: (invariant, sentence) => this.fail(invariant, sentence),
      },
    });
    this.conduct = new Conduct({
      plan,
      actors: this.machines,
      etcd: this.etcd,
      network: this.network,
      now: () => this.queue.now(),
      askedOf: (name) => this.operators.disturbed.get(name),
      handoverAsked: () => this.operators.handoverAsked,
      fail: (invariant, sentence) => this.fail(invariant, sentence),
    });
    this.ailments = new Ailments({
      patients: this.machines,
      etcd: this.etcd,
      mayLead: (name) => canLead(plan, name),
      now: () => this.queue.now(),
      fail: (invariant, sentence) => this.fail(invariant, sentence),
    });
    this.addresses = new Addresses({
      holders: () =>
        this.machines.map((machine) => ({
          name: machine.name,
          interface: machine.interface,
          isSuspended: machine.clock.isSuspended,
          isExcused: this.invariants.isUnknowing(machine.name),
        })),
      fail: (invariant, sentence) => this.fail(invariant, sentence),
    });
    this.pace = new Pace({
      now: () => this.queue.now(),
      bounds: paceOf(plan),
      fail: (invariant, sentence) => this.fail(invariant, sentence),
    });
    this.faults = new Faults({
      plan,
      queue: this.queue,
      network: this.network,
      etcd: this.etcd,
      machines: this.machines,
      operators: this.operators,
      events: {
        say: (who, what) => this.say(who, what),
        mark: (name) => this.trace.mark(name),
        etcdReplaced: () => {
          this.invariants.etcdReplaced(this.etcd.keyNow(KEYS.status)?.value ?? null);
          this.conduct.etcdReplaced();
          this.synchrony.etcdReplaced();
          this.poolers.etcdReplaced();
          const config = readConfig(this.etcd.keyNow(KEYS.config)?.value ?? '');
          this.settings(config);
          if (config === null) this.conduct.settingsPut('nobody', null, false);
          this.faults.occasion('key-gone', null);
        },
        byHand: () => {
          this.invariants.failedOverByHand();
          this.conduct.failedOverByHand();
          this.ailments.failedOverByHand();
          this.synchrony.failedOverByHand();
        },
      },
    });
    this.etcd.onApplied((txn, by, revision) => this.applied(txn, by, revision));
    this.etcd.onRevoked((lease, why, changes) => {
      if (why === 'early') this.invariants.etcdRevokedEarly(lease);
      for (const { key } of changes) {
        if (key !== KEYS.leader) continue;
        this.say('etcd', `lease ${lease} ${why}: the leader key is gone`);
        this.conduct.keyGone();
        this.invariants.applied([{ key, value: null, revision: this.etcd.revisionNow(), lease: null }], null);
        this.faults.occasion('key-gone', null);
      }
    });
  }

  // ---- running -----------------------------------------------------------------------------------------------

  async run(): Promise<Verdict> {
    const { plan } = this;
    this.bringAlong();
    for (const [i, machine] of this.machines.entries()) {
      this.queue.after(this.random.between(0, 300) + i, () => machine.startDaemon());
    }
    this.clients.start(plan.workload.clients);
    this.watchWholeness();
    this.faults.begin(plan.early ?? []);
    this.poll();
    const limit = this.options.until ?? Number.POSITIVE_INFINITY;
    const go = (until: number): Promise<void> =>
      this.queue.run(
        Math.min(until, limit),
        () => this.eachEvent(),
        () => this.failure !== null || this.phase === 'over',
      );
    const warmUp = plan.early === undefined ? WARM_UP_MS : 3 * WARM_UP_MS;
    await go(warmUp);
    if (this.phase === 'warm-up' && this.failure === null && this.queue.now() < limit) {
      // Whoever made the cluster lost the key before it led, and its own command keeps it from being elected for ever.
      // Or nobody else has all that was acknowledged, for certain.
      const made = this.machines.filter(({ name, server }) => server.data !== null && this.synchrony.mayWin(name));
      if (made.length > 0 && !made.some(({ name }) => canLead(plan, name))) this.phase = 'over';
      else this.fail('L0', `the cluster was not whole after ${warmUp / 1000} s: ${this.describe()}`);
    }
    if (this.failure === null && this.phase !== 'over') await go(this.wholeAt + plan.safetyMs);
    if (this.failure === null && this.phase !== 'over' && this.queue.now() < limit) {
      if (plan.profile === 'quiet') this.checkQuiet();
      this.beginLiveness();
      await go(this.queue.now() + plan.livenessMs);
      if (this.phase === 'settling') await go(this.queue.now() + SETTLE_MS);
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
    const { early = [], faults, policy } = this.plan;
    const loses = policy?.primaryCrash === 'failover' || this.plan.config?.['wal_rescue'] === 'lose';
    if (loses || this.trace.marks.has(TWICE)) return;
    // The second phase takes machines away for good.
    if (this.machines.some((one) => !one.on)) return;
    if (![...early, ...faults].every(({ fault }) => harmless.includes(fault.kind))) return;
    this.checked['S5 only Postgres processes died'] += 1;
    const lost = this.ackedLost();
    if (lost > 0) this.fail('S5', `${lost} acknowledged writes are gone although only Postgres processes had died`);
  }

  /** An exception or a rejected promise that nobody caught: the daemon would have died of it. */
  uncaught(error: unknown): void {
    this.fail('X1', `a promise was rejected and nobody looked: ${describe(error)}`);
  }

  private verdict(): Verdict {
    for (const [what, times] of Object.entries({
      ...this.invariants.checked,
      ...this.conduct.checked,
      ...this.ailments.checked,
      ...this.pace.checked,
      ...this.addresses.checked,
      ...this.checked,
    }))
      if (times > 0) this.trace.marks.set(`checked ${what}`, times);
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
      writableThen: this.writableThen,
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
    this.synchrony.check();
    if (this.plan.virtualAddress === true) this.addresses.check();
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
    // It has to break that one; those nearer the cause would speak first.
    if (this.plan.canary === true && invariant !== 'S1') return;
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
    return (
      leader !== null && this.machines.every((one) => one === leader || this.streams(one, leader) || this.isStuck(one))
    );
  }

  private streams(one: Machine, leader: Machine): boolean {
    if (this.isWitness(one)) return one.daemon() !== null;
    const { receiver } = one.server;
    if (receiver === null || receiver.stalled || !one.server.caughtUp) return false;
    if (receiver.from === leader.server) return true;
    // By way of another standby.
    const upstream = this.machines.find((other) => other.server === receiver.from);
    return upstream !== undefined && upstream !== one && this.streams(upstream, leader);
  }

  /** It says that an operator has to allow, or to do, what would bring it back. */
  private isStuck(one: Machine): boolean {
    const rule = one.daemon()?.control.published().decision.rule;
    if (rule === 'node.unusable') return this.hasForeignData(one);
    // A wiped scope may have been named by whoever came first, before the leader took its key again inside his window.
    if (rule === 'joining.foreign-data') return this.hasForeignData(one) || this.differsFromLeader(one);
    if (rule === 'rejoin.too-much') return this.wouldUndo(one) > TOO_MUCH_MS;
    return !this.plan.postgres.mayCopyAnew && rule === 'rejoin.stuck';
  }

  /** Commits of how long a time it has that the leader never had. */
  private wouldUndo(one: Machine): number {
    const kept = new Set(this.writableLeader()?.server.data?.wal);
    const alone = one.server.data?.wal.filter((entry) => entry.token !== null && !kept.has(entry)) ?? [];
    return (alone.at(-1)?.at ?? 0) - (alone[0]?.at ?? 0);
  }

  private isWitness(one: Machine): boolean {
    return this.plan.members?.[one.name]?.witness === true;
  }

  private hasForeignData(one: Pick<Machine, 'server'>): boolean {
    const theirs = this.etcd.keyNow(KEYS.initialize)?.value ?? '';
    return one.server.data !== null && one.server.data.systemId !== theirs;
  }

  private differsFromLeader(one: Machine): boolean {
    const theirs = this.writableLeader()?.server.data?.systemId;
    return theirs !== undefined && one.server.data !== null && one.server.data.systemId !== theirs;
  }

  private beginSafety(): void {
    this.phase = 'safety';
    this.wholeAt = this.queue.now();
    if (this.options.lookAt !== undefined) {
      this.queue.after(this.options.lookAt, () => {
        this.writableThen = this.machines.filter(({ server }) => server.acceptsWrites()).map(({ name }) => name);
      });
    }
    this.endWhenWhole = Math.max(...this.machines.map(({ server }) => server.end));
    this.leaderTerms.length = 0;
    for (const { server, name } of this.machines) this.stops.set(name, server.restarts + 1000 * server.copies);
    this.clients.books.longestPause = 0;
    // What a server that was brought along has acknowledged is judged by nobody: it need not be this cluster's.
    if (this.plan.brought != null) this.clients.books.acked.length = 0;
    this.clients.books.lastAck = this.queue.now();
    this.say('world', `the cluster is whole; ${this.plan.faults.length} faults are planned (${this.plan.profile})`);
    this.faults.endOfWarmUp();
    this.faults.begin(this.plan.faults);
  }

  /** A random part of the cluster is healed, every other fault is made permanent (simulation.md 5). */
  private beginLiveness(): void {
    this.phase = 'liveness';
    this.holders.push(this.lastHolder);
    this.faults.end();
    this.etcd.setOutOfSpace(false);
    for (let i = 0; i < this.etcd.size; i += 1) this.etcd.setMember(i, 'up');
    const well = this.wellNodes();
    this.say('world', `liveness: ${well.map((one) => one.name).join(', ')} and etcd are healed`);
    for (const machine of this.machines) {
      machine.server.hungUntil = -1;
      const { trouble } = machine.server;
      Object.assign(trouble, {
        checkFailsUntil: -1,
        fullUntil: -1,
        promotions: 0,
        walUnreadableUntil: -1,
        unusableUntil: -1,
      });
      if (trouble.starts < FOR_GOOD || well.length === this.machines.length) trouble.starts = 0;
      if (!well.includes(machine)) {
        machine.powerLoss();
        continue;
      }
      machine.boot();
      machine.resumeDaemon();
      machine.guard.goOn();
      if (machine.daemon() === null) machine.startDaemon();
      if (!machine.guard.alive && this.plan.guardUnitMs !== null) machine.guard.start();
    }
    this.operators.change(AS_IT_SHOULD_BE);
    this.watchLiveness();
    this.queue.after(20_000, () => this.rescueByHand());
  }

  /**
   * The last leader went in maintenance and has not come back: no time opens the gate of the others, and an operator has
   * to say who leads.
   */
  private rescueByHand(): void {
    if (this.phase !== 'liveness') return;
    const leader = this.writableLeader();
    if (leader === null && (this.invariants.endless || this.maintenanceWasLost())) {
      // Nobody names a node whose Postgres does not start, or that says it does not stand in the failsafe list.
      const fit = this.machines.filter(
        (one) =>
          one.on &&
          canLead(this.plan, one.name) &&
          this.mayRace(one.name) &&
          one.daemon() !== null &&
          one.server.trouble.starts < FOR_GOOD,
      );
      const best = fit.toSorted(
        (a, b) => (b.server.data?.branch.id ?? 0) - (a.server.data?.branch.id ?? 0) || b.server.end - a.server.end,
      )[0];
      if (best !== undefined) {
        this.rescued = true;
        this.invariants.failedOverByHand();
        this.conduct.failedOverByHand();
        this.ailments.failedOverByHand();
        this.synchrony.failedOverByHand();
        const request = {
          kind: 'failover' as const,
          leader: null,
          candidate: best.name,
          scheduledAt: null,
          forced: true,
        };
        this.operators.switchover(best, request, () => undefined);
      }
    }
    this.queue.after(20_000, () => this.rescueByHand());
  }

  /** Somebody was heard to go in maintenance, and the etcd that knew of its end, or of nothing, was replaced. */
  private maintenanceWasLost(): boolean {
    const kinds = new Set(this.plan.faults.map(({ fault }) => fault.kind));
    if (!kinds.has('maintenance') || !(kinds.has('etcd-restore') || kinds.has('etcd-wipe'))) return false;
    return this.machines.some((one) => one.daemon()?.control.published().gate?.opensAt === 'never');
  }

  /** Health checks of a load balancer, and what is looked at now and then. */
  private poll(): void {
    if (this.phase === 'over') return;
    this.operators.check();
    this.conduct.look();
    this.ailments.look();
    for (const machine of this.machines) {
      const daemon = machine.daemon();
      if (
        neverLeads(this.plan, machine.name) &&
        machine.server.receiver === null &&
        this.etcd.keyNow(KEYS.leader) === null
      )
        this.checked['S12 nobody leads, and one is there that may not'] += 1;
      if (daemon !== null) this.markRule(daemon.control.published().decision, daemon.control.now());
      const answers = daemon !== null && !daemon.process.paused && !machine.clock.isSuspended;
      const { loopWait, checkTimeout } = daemon?.control.published().policy.cluster ?? { loopWait: 0, checkTimeout: 0 };
      this.invariants.healthChecked(
        machine.name,
        answers && daemon.control.writable(),
        2 * loopWait + checkTimeout + POLL_MS,
      );
    }
    this.queue.after(POLL_MS, () => this.poll());
  }

  /** A rule that has stood for a while was reached, also where the log had nothing to say of a change. */
  private markRule({ rule, since }: { readonly rule: string; readonly since: number }, now: number): void {
    if (now - since > 1_000 && !this.trace.marks.has(`rule ${rule}`)) this.trace.mark(`rule ${rule}`);
  }

  /** The planned ones, if one of them can be elected: it has the newest timeline and nearly all WAL. Else all. */
  private wellNodes(): readonly Machine[] {
    const planned = this.machines.filter((one) => this.plan.healthyNodes.includes(one.name));
    const data = this.machines.flatMap((one) => (one.server.data === null ? [] : [one.server]));
    const newest = Math.max(0, ...data.map((one) => one.data?.branch.id ?? 0));
    const furthest = Math.max(0, ...data.map((one) => one.end));
    // Who can come back as a primary after etcd was wiped is not for the plan to say.
    if (this.plan.faults.some(({ fault }) => fault.kind === 'etcd-wipe')) return this.machines;
    // One whose Postgres never comes up says nothing of what it has.
    const heard = planned.filter(({ server }) => server.trouble.starts < FOR_GOOD);
    const fit = heard.some(
      ({ server, name }) =>
        canLead(this.plan, name) &&
        this.mayRace(name) &&
        this.couldWinWith(server, heard) &&
        server.data !== null &&
        !this.hasForeignData({ server }) &&
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
      const left = (one: Machine): boolean => this.isStuck(one) || one.server.trouble.starts > 0;
      // What an operator has scheduled before is still to come.
      const quiet =
        !this.switchesSoon(leader) && !this.restarts(leader) && !up.some((one) => !left(one) && this.restartsSoon(one));
      const held = this.poolers.holding.length > 0;
      if (
        this.heardSinceHealing &&
        quiet &&
        !held &&
        leader !== null &&
        this.etcd.keyNow(KEYS.initialize)?.value === leader.server.data?.systemId &&
        this.synchrony.isKept(leader.name) &&
        up.every((one) => one === leader || this.streams(one, leader) || left(one))
      ) {
        this.phase = 'settling';
        this.checked['L1 a leader after the healing'] += 1;
        this.checked['L2 all stream after the healing'] += up.length - 1;
        this.checked['L3 nobody is held back'] += this.poolers.addresses.length;
        this.say('world', `alive: ${leader.name} leads, ${up.length - 1} stream from it`);
        const settling = ++this.settlings;
        this.queue.after(SETTLE_MS, () => {
          if (settling === this.settlings) this.settled(leader);
        });
      } else this.watchLiveness();
    });
  }

  /** A restart that was scheduled before has begun. */
  private restarts(leader: Machine | null): boolean {
    return leader?.daemon()?.control.published().operation?.kind === 'restart';
  }

  /** What an operator has asked for is done at once, or at a time that comes soon by the clock of whoever would do it. */
  private switchesSoon(leader: Machine | null): boolean {
    const wish = readConfig(this.etcd.keyNow(KEYS.failover)?.value ?? '');
    const at = wish?.['scheduled_at'];
    if (typeof at !== 'string') return typeof (wish?.['member'] ?? wish?.['leader']) === 'string';
    return leader !== null && Date.parse(at) - leader.clock.wall() < this.plan.livenessMs;
  }

  /** A restart of its Postgres was scheduled for a time that is still to come here, by its own clock. */
  private restartsSoon({ name, clock }: Machine): boolean {
    const member = readConfig(this.etcd.keyNow(`${KEYS.membersPrefix}${name}`)?.value ?? '');
    const plan = readScheduledRestart(member?.['scheduled_restart']);
    return plan !== null && Date.parse(plan.at) - clock.wall() < this.plan.livenessMs;
  }

  /** L2, second half: whoever leads goes on. */
  private settled(leader: Machine): void {
    if (this.phase !== 'settling') return;
    this.phase = 'over';
    this.checked['L2 it stays as it is'] += 1;
    if (this.writableLeader() !== leader)
      this.fail('L2', `all was well, and ${leader.name} does not lead any more: ${this.describe()}`);
    if (this.plan.virtualAddress === true) this.addresses.settled(leader.name);
  }

  /** L2, second half: after the healing at most one more change of leader happens. */
  private held(name: string): void {
    this.lastHolder = name;
    if ((this.phase !== 'liveness' && this.phase !== 'settling') || this.holders.at(-1) === name) return;
    // A request of one who is gone for good may still have been on its way.
    if (this.machine(name)?.on !== true) return;
    this.holders.push(name);
    // Where nobody had the key any more, the first to take it is no change.
    const changes = this.holders.length - 1;
    if (changes > 1 && !this.rescued)
      this.fail('L2', `the leader changed ${changes} times after the healing: ${this.holders.join(', ')}`);
    if (this.phase === 'settling' && this.ailments.gaveUp === this.holders.at(-2)) {
      this.phase = 'liveness';
      this.watchLiveness();
    } else if (this.phase === 'settling')
      this.fail('L2', `all was well, and ${name} took the key from ${this.holders.at(-2)}`);
  }

  private checkLiveness(): void {
    const leader = this.writableLeader();
    if (leader === null && this.onlyStandbysAreLeft()) {
      this.trace.mark('etcd wiped while nobody led: an operator has to say who was the primary');
    } else if (leader === null && !this.machines.some((one) => this.couldLead(one))) {
      this.trace.mark('nobody could be elected');
    } else if (leader === null) {
      // L1: after healing there is a writable leader within T. Not demanded where nobody could be elected.
      this.fail('L1', `no writable leader ${this.plan.livenessMs / 1000} s after healing: ${this.describe()}`);
    } else if (this.poolers.holding.length > 0) {
      // L3: whoever dies, clients are let go.
      const held = this.poolers.holding.join(', ');
      this.fail(
        'L3',
        `clients are held back in ${held} ${this.plan.livenessMs / 1000} s after healing: ${this.describe()}`,
      );
    } else {
      // L2, first half: all healed standbys stream from it within T and the time of a copy.
      this.fail('L2', `not all standbys stream ${this.plan.livenessMs / 1000} s after healing: ${this.describe()}`);
    }
  }

  /** If only these were there: would one of them have every commit that was acknowledged? */
  private couldWinWith(server: PostgresServer, there: readonly Machine[]): boolean {
    const one = there.find((machine) => machine.server === server);
    return one !== undefined && this.synchrony.couldWin({ name: one.name, on: true, server }, there);
  }

  /** Whoever does not stand in the failsafe list waits for one who does (protocol.md 33). */
  private mayRace(name: string): boolean {
    const listed = this.etcd.keyNow(KEYS.failsafe);
    return isListed(listed === null ? null : readFailsafeKey(listed), nodeName(name));
  }

  private couldLead(one: Machine): boolean {
    // One whose Postgres never comes up says nothing of what it has: also where a rewind left it in need of WAL.
    const heard = this.machines.filter(({ on, server }) => on && server.trouble.starts < FOR_GOOD && !server.awaitsWal);
    if (!heard.includes(one)) return false;
    if (!this.synchrony.couldWin(one, heard) || !this.conduct.isNearEnough(one.name)) return false;
    const { data } = one.server;
    if (!one.on || data === null || this.hasForeignData(one) || !canLead(this.plan, one.name)) return false;
    if (!this.mayRace(one.name)) return false;
    // Whoever had the newest timeline may have been given foreign data: an older one leads by no rule.
    const newest = /\[(\d+),[^[\]]*\]\s*\]\s*$/.exec(this.etcd.keyNow(KEYS.history)?.value ?? '')?.[1] ?? '0';
    return data.branch.id > Number(newest);
  }

  /** Nobody can say who was the primary: a standby never claims an empty scope. */
  private onlyStandbysAreLeft(): boolean {
    return (
      this.plan.faults.some(({ fault }) => fault.kind === 'etcd-wipe') &&
      (this.etcd.keyNow(KEYS.initialize)?.value ?? '') === '' &&
      this.machines.every(({ server }) => server.data === null || server.data.standbySignal)
    );
  }

  /** S13: without faults no change of leader, no restart, no copy. Only in quiet plans. */
  private checkQuiet(): void {
    this.checked['S13 nothing has changed'] += 1;
    if (this.leaderTerms.length > 0) this.fail('S13', 'the leader key changed although nothing was wrong');
    for (const { server, name } of this.machines) {
      if (this.stops.get(name) !== server.restarts + 1000 * server.copies) {
        this.fail('S13', `Postgres of ${name} was restarted or copied although nothing was wrong`);
      }
    }
    this.checkSlots();
  }

  /**
   * S15: every node that may lead has a slot for each other node, and none holds back much of what was written
   * meanwhile. Only in quiet plans: whoever is away may need it all.
   */
  private checkSlots(): void {
    const leader = this.writableLeader();
    if (leader === null) return;
    // One with another cluster's data never streams, and its slot waits for it.
    const streams = (one: Machine): boolean => one === leader || (!this.isWitness(one) && this.streams(one, leader));
    for (const machine of this.machines) {
      const { server, name } = machine;
      if (!streams(machine) || !canLead(this.plan, name)) continue;
      const part = Math.max(0.1, (SLOT_LOOPS * this.plan.settings.loopWaitMs) / (this.queue.now() - this.wholeAt));
      const much = part * (server.end - this.endWhenWhole) + A_FEW_WRITES;
      for (const other of this.machines) {
        if (other.name === name || !streams(other)) continue;
        const restart = server.needData().slots.get(slotName(other.name));
        if (restart === undefined) this.fail('S15', `${name} has no slot for ${other.name}`);
        else if (server.end - restart > much)
          this.fail('S15', `the slot of ${other.name} on ${name} holds back ${server.end - restart} bytes for nobody`);
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

  /** What was acknowledged before and is not on the server that has just been promoted. */
  private costOf(name: string): { readonly lost: number; readonly end: number } {
    const there = new Set(this.machine(name)?.server.data?.wal.map((entry) => entry.token));
    const { acked, ends } = this.clients.books;
    const lost = acked.filter((token) => !there.has(token) && !this.lostBefore.has(token));
    for (const token of lost) this.lostBefore.add(token);
    // While daemon and guard are both dead Postgres goes on, and what it acknowledges beside its successor no later
    // failover can tell of: that is the exposure, and counted as such.
    if (this.invariants.exposure > 0) return { lost: 0, end: 0 };
    return { lost: lost.length, end: Math.max(0, ...lost.map((token) => ends.get(token) ?? 0)) };
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
        if (what.startsWith('copies from')) this.faults.occasion('copy-begins', name);
        if (what.startsWith('rewound to')) this.faults.occasion('rewound', name);
      },
      mark: (mark) => this.trace.mark(mark),
      promotionBegins: () => {
        this.faults.occasion('promotion-begins', name);
        this.invariants.promotionBegins(name);
      },
      promoted: () => {
        this.faults.occasion('promoted', name);
        this.invariants.promoted(name);
        // On a machine that has stood still it comes out of recovery blocked, and the guard ends it.
        if (!this.invariants.hasJustResumed(name)) this.synchrony.promoted(name);
        this.conduct.promoted(name, this.costOf(name));
        // S12, its last part. Never off.
        if (neverLeads(plan, name)) this.fail('S12', `${name} may never lead and was promoted`);
      },
      // What it lacks was not lost by a later promotion.
      startedAsPrimary: () => void this.costOf(name),
      postmasterGone: () => {
        this.faults.occasion('postmaster-gone', name);
        this.machine(name)?.daemon()?.postgres?.postmasterGone();
      },
      connectionsBroke: () => this.machine(name)?.daemon()?.postgres?.connectionsBroke(),
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
        feedback: maybeSynchronous(plan),
      },
      events,
      others: (other) => {
        const machine = this.machine(other);
        return machine?.on === true ? machine.server : null;
      },
    });
    const networkInterface = new SimulatedInterface(clock, new SeededRandom(`address:${plan.seed}:${name}`));
    const guard = new GuardProcess({
      name,
      scheduler: queue,
      clock,
      random: random.fork('guard'),
      server,
      events: {
        trace: (who, what) => this.say(who, what),
        mark: (mark) => this.trace.mark(mark),
        armed: () => this.faults.occasion('guard-armed', name),
        strikes: () => this.invariants.guardStrikes(name),
      },
      address: networkInterface,
    });
    return new Machine(name, clock, server, guard, {
      scheduler: queue,
      random: random.fork('daemons'),
      makePostgres: (process) => this.makePostgres(server, process),
      makeAgent: (ports) => {
        this.faults.occasion('daemon-started', name);
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
          commands: operatorsCommands(plan.members?.[name]?.validation, process, random.fork('validation'), {
            told: (event) => this.trace.mark(`cluster event ${event}`),
            validated: (approved) => this.conduct.validated(name, approved),
          }),
          chronicle: this.chronicle.endOf(
            process,
            () => this.etcd.leaderNow() !== null && this.etcd.link(name).faults.cutFrom !== 'all',
          ),
          name,
          index: plan.nodes.indexOf(name),
          clock: process,
          random: random.fork(`agent ${queue.events}`),
          dcs: new DcsLine(inner, process, queue, {
            sent: (kind, txn) => this.sent(name, kind, txn),
            revoked: (lease) => this.invariants.revoked(name, lease),
            replacements: () => this.etcd.replacements,
            read: (entries) => {
              this.invariants.read(name);
              const config = entries.find((entry) => entry.key === KEYS.config);
              this.conduct.wasTold(name, readConfig(config?.value ?? ''));
            },
          }),
          poolers: this.poolers.endOf(process),
          ...(plan.virtualAddress === true
            ? {
                virtualAddress: networkInterface.endOf(process, {
                  others: () => this.othersWithAddress(name),
                  mark: (mark) => this.trace.mark(mark),
                }),
              }
            : {}),
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
            confirmed: (by, askedAt, hold) => this.invariants.confirmed(name, by, askedAt, hold),
            called: () => this.pace.note(name, 'questions to others'),
            answered: (by) => this.conduct.answered(name, by),
          }),
          log: {
            write: (severity, event, sentence, facts) => this.logged(name, process, severity, event, sentence, facts),
          },
        };
        this.conduct.started(name);
        return makeAgent(parts, plan, this.poolers.addresses);
      },
      daemonFailed: (what, error) => this.fail('X1', `the daemon of ${name} failed: ${what}: ${describe(error)}`),
      trace: (what) => this.say(name, what),
      woke: () => this.conduct.woke(name),
      guardUnitMs: plan.guard === 'off' ? null : plan.guardUnitMs,
      guardMode: plan.guard ?? 'on',
      interface: networkInterface,
    });
  }

  private othersWithAddress(name: string): readonly string[] {
    return this.machines.filter((one) => one.name !== name && one.interface.has).map((one) => one.name);
  }

  /** What there is before the first daemon starts. */
  private bringAlong(): void {
    const { brought } = this.plan;
    const server = brought == null ? undefined : this.machine(brought.node)?.server;
    if (brought == null || server === undefined) return;
    this.trace.mark(`brought along: ${brought.as}`);
    server.initdb('6888888888888888888');
    const data = server.needData();
    data.control = brought.as === 'stopped standby' ? 'shut down in recovery' : 'shut down';
    data.standbySignal = brought.as === 'stopped standby';
    if (brought.as !== 'running primary') return;
    server.managed = false;
    server.start(true);
    if (brought.standbys !== true) return;
    for (const one of this.machines) {
      if (one.server === server || this.isWitness(one)) continue;
      one.server.becomeLike(data);
      one.server.needData().upstream = brought.node;
      one.server.managed = false;
      one.server.start(false);
    }
  }

  private makePostgres(server: PostgresServer, process: Incarnation): SimulatedPostgres | NoPostgres {
    const addressOf = (name: string) => {
      const i = this.plan.nodes.indexOf(name);
      return i < 0 ? null : { name, host: `10.0.0.${i + 1}`, port: 5432 };
    };
    const at = (address: ServerAddress): PostgresServer | null => {
      const machine = this.machines.find((one) => addressOf(one.name)?.host === address.host);
      return machine?.on === true ? machine.server : null;
    };
    if (this.plan.members?.[server.name]?.witness === true) {
      return new NoPostgres(server.name, {
        check: (of, type, limit) => checkSimulatedServer(process, server.name, at(of), type, limit),
      });
    }
    return new SimulatedPostgres({
      server,
      process,
      address: addressOf(server.name) ?? { name: server.name, host: '10.0.0.99', port: 5432 },
      at,
      addressOf,
      newSystemId: () => {
        this.systemIds += 1;
        return `7${this.systemIds.toString().padStart(18, '0')}`;
      },
      failChance: this.plan.postgres.failChance,
      does: (deed, source, toHandOver) => {
        if (deed.startsWith('start')) this.pace.note(server.name, 'starts of Postgres');
        if (source !== null) this.pace.note(server.name, 'copies and rewinds');
        this.conduct.does(server.name, deed, source, toHandOver);
      },
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
    if (event === 'decision.changed' && typeof rule === 'string') {
      this.trace.mark(`rule ${rule}`);
      this.ailments.decided(name, rule);
      if (rule === 'switchover.pause-poolers') this.holdingBack.set(name, this.queue.now());
      if (rule === 'switchover.stop') this.checkNobodyIsCutOff(name);
    }
    if (facts !== undefined && event.startsWith('failover.loss-')) this.conduct.said(name, facts);
    if (event === 'failover.completed') this.queue.after(1, () => this.conduct.saidToBeDone(name));
    if (sentence.startsWith('the leader key was found to be ours')) this.trace.mark('own key found');
    if (event === 'rescue.failed') {
      if (sentence.includes('no answer in time')) this.trace.mark('a rescue was cut off half way');
      this.rescueFailed = name;
    }
    if (event === 'rescue.completed' && this.rescueFailed === name)
      this.trace.mark('a rescue went to another candidate');
    if (event.startsWith('postgres.') || event === 'lease.acquired') this.rescueFailed = null;
    if (event === 'pooler.paused' || event === 'pooler.skipped' || event === 'action.failed')
      this.holdingBack.delete(name);
    if (severity === 'debug') return;
    this.pace.note(name, 'log lines');
    this.say(name, `[${event}] ${sentence}`);
  }

  /** C1: a planned stop waits for the transactions that poolers still have, while Postgres seems well to its daemon. */
  private checkNobodyIsCutOff(name: string): void {
    if (this.poolers.addresses.length === 0) return;
    this.checked['C1 transactions end before the stop'] += 1;
    const since = this.holdingBack.get(name);
    const server = this.machine(name)?.server;
    if (since === undefined || server?.acceptsWrites() !== true) return;
    if (this.queue.now() < server.trouble.checkFailsUntil + CHECK_READ_WITHIN_MS) return;
    const waited = this.queue.now() - since;
    if (waited < POOLERS_MS)
      this.fail(
        'C1',
        `${name} stops its Postgres ${waited} ms after it began to hold clients back, and before that is done`,
      );
  }

  // ---- what is sent, what is applied -------------------------------------------------------------------------

  private sent(name: string, kind: RequestKind, txn: Txn | null): Fate {
    this.invariants.sent(name, kind, txn);
    this.pace.note(name, 'requests to etcd');
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
      this.faults.occasion(occasion, name);
    }
    return this.faults.fateOf(name, kind);
  }

  /** @param config - null: nobody can read them, and the last ones count */
  private settings(config: Readonly<Record<string, unknown>> | null): void {
    if (config === null) return;
    this.invariants.settings(config);
    this.conduct.settings(config);
    this.ailments.settings(config);
    this.synchrony.settings(config);
  }

  private applied(txn: Txn, by: string, revision: bigint): void {
    if (txn.success.some((op) => op.op !== 'get' && op.key === KEYS.sync)) this.synchrony.keyChanged();
    for (const op of txn.success) {
      if (op.op === 'put' && op.key === KEYS.status) {
        this.conduct.statusWritten();
        this.heardSinceHealing = this.phase === 'liveness';
      }
      if (op.op === 'put' && op.key === KEYS.failsafe) this.invariants.listPut(by);
      if (op.op === 'put' && op.key === KEYS.initialize) this.conduct.named(by, op.value);
      if (op.op !== 'put' || op.key !== KEYS.config) continue;
      const config = readConfig(op.value);
      this.conduct.settingsPut(by, config, this.operators.changesSettings);
      if (config?.['pause'] === true && this.etcd.keyNow(KEYS.leader) === null)
        this.trace.mark('maintenance began while nobody led');
      this.settings(config);
    }
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
    this.invariants.applied(changes, kindOf(txn));
    if (kindOf(txn) === 'swap') this.invariants.ttlChanged();
    const leader = changes.find((one) => one.key === KEYS.leader);
    if (leader === undefined) return;
    this.leaderTerms.push(revision);
    if (leader.value === null) {
      this.say('etcd', `${by} released the key`);
      this.conduct.keyGone();
      this.faults.occasion('key-gone', null);
    } else {
      this.say('etcd', `${leader.value} has the key (${kindOf(txn)}, term ${revision})`);
      this.trace.mark(`key by ${kindOf(txn)}`);
      this.held(leader.value);
      const how = kindOf(txn);
      if (how === 'acquire' || how === 'take-over') {
        this.conduct.keyTaken(leader.value, this.etcd.keyNow(KEYS.status));
        this.ailments.keyTaken(leader.value);
      }
      this.faults.occasion('key-won', leader.value);
    }
  }
}

/** Commits may have to wait in this plan. */
function maybeSynchronous({ config, faults }: Plan): boolean {
  const says = (settings: Readonly<Record<string, unknown>> | undefined): boolean =>
    settings?.['synchronous_mode'] !== undefined;
  return says(config) || faults.some(({ fault }) => fault.kind === 'settings' && says(fault.patch));
}

/** null: what stands there is not what it should be. */
function readConfig(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isMap ? (value as Readonly<Record<string, unknown>>) : null;
  } catch {
    return null;
  }
}

function describe(error: unknown): string {
  return error instanceof Error
    ? `${error.name}: ${error.message} ${(error.stack ?? '').split('\n').slice(1, 5).join(' ')}`
    : String(error);
}

/** Names in the failsafe key. */
class LastRead {
  private text: string | null = null;
  private names: readonly string[] | null = null;

  read(text: string | null): readonly string[] | null {
    if (text !== this.text) {
      this.text = text;
      this.names = text === null ? null : Object.keys(JSON.parse(text) as object);
    }
    return this.names;
  }
}
