/**
 * What goes wrong in a world, and what operators do to it: each fault of the plan strikes at its time or with the event
 * it is tied to, and is healed when its time is over or when the liveness phase begins.
 */
import { KEYS } from '../../../src/core/cluster.ts';
import type { Fate, RequestKind } from '../models/dcs-line.ts';
import type { Backup, EtcdModel } from '../models/etcd.ts';
import type { Operators } from '../operators.ts';
import type { Fault, FaultyRequest, Json, NodeRef, Occasion, Plan, PlannedFault } from '../plan.ts';
import type { Machine } from './machine.ts';
import type { Network } from './network.ts';
import type { Scheduler } from './scheduler.ts';

export interface FaultEvents {
  say(who: string, what: string): void;
  mark(name: string): void;
  /** The store is not the one it was. */
  etcdReplaced(how: 'wiped' | 'restored'): void;
  /** A fail-over by hand was asked for; who leads then is the operator's to answer for. */
  byHand(): void;
}

interface Tied {
  readonly fault: Fault;
  readonly on: Occasion;
  readonly node: string | null;
  readonly nth: number;
  readonly after: number;
  seen: number;
}

const BACKUP_EVERY_MS = 2_000;
const CRASH_EVERY_MS = 1_500;
/** Nobody replaces the data of an etcd that runs: it takes a moment at least to stop and to start it. */
export const REPLACING_MS = 1_000;

export class Faults {
  private readonly plan: Plan;
  private readonly queue: Scheduler;
  private readonly network: Network;
  private readonly etcd: EtcdModel;
  private readonly machines: readonly Machine[];
  private readonly operators: Operators;
  private readonly events: FaultEvents;
  private readonly tied: Tied[] = [];
  private readonly requests: { node: string; request: FaultyRequest; fate: Fate; left: number }[] = [];
  private readonly heal: (() => void)[] = [];
  private readonly backups: { readonly at: number; readonly taken: Backup }[] = [];
  /** A node whose keepalives reach one etcd member only. */
  private attached: { readonly node: string; readonly member: number } | null = null;
  private striking = false;
  /** How many have struck so far. */
  struck = 0;

  constructor(parts: {
    readonly plan: Plan;
    readonly queue: Scheduler;
    readonly network: Network;
    readonly etcd: EtcdModel;
    readonly machines: readonly Machine[];
    readonly operators: Operators;
    readonly events: FaultEvents;
  }) {
    this.plan = parts.plan;
    this.queue = parts.queue;
    this.network = parts.network;
    this.etcd = parts.etcd;
    this.machines = parts.machines;
    this.operators = parts.operators;
    this.events = parts.events;
  }

  begin(faults: readonly PlannedFault[]): void {
    this.striking = true;
    for (const { when, fault } of faults) {
      if ('at' in when) this.queue.after(Math.max(0, when.at), () => this.strike(fault, null));
      else this.tied.push({ fault, on: when.on, node: when.node, nth: when.nth, after: when.after, seen: 0 });
    }
    if (faults.some(({ fault }) => fault.kind === 'etcd-restore')) this.keepBackups();
  }

  /** What was planned for the making of the cluster and has not struck does not any more. */
  endOfWarmUp(): void {
    this.tied.length = 0;
    this.requests.length = 0;
  }

  /** Everything is whole again, and stays so. */
  end(): void {
    this.striking = false;
    this.requests.length = 0;
    this.tied.length = 0;
    for (const one of this.heal.splice(0)) one();
  }

  private keepBackups(): void {
    this.backups.push({ at: this.queue.now(), taken: this.etcd.backup() });
    if (this.backups.length > 60) this.backups.shift();
    this.queue.after(BACKUP_EVERY_MS, () => {
      if (this.striking) this.keepBackups();
    });
  }

  occasion(what: Occasion, node: string | null): void {
    if (!this.striking) return;
    for (const one of this.tied) {
      if (one.on !== what || (one.node !== null && one.node !== node)) continue;
      one.seen += 1;
      if (one.seen !== one.nth) continue;
      // Never within the event itself: what happens in it is whole before the fault strikes.
      this.queue.after(one.after, () => this.strike(one.fault, node));
    }
  }

  /** What becomes of a request that this node is sending. */
  fateOf(name: string, kind: RequestKind): Fate {
    if (this.attached?.node === name) {
      const { member } = this.attached;
      const others = Array.from({ length: this.etcd.size }, (_, i) => i).filter((i) => i !== member);
      this.etcd.link(name).set({ cutFrom: kind === 'keepalive' ? others : [] });
    }
    const fault = this.requests.find((one) => one.node === name && one.request === kind && one.left > 0);
    if (fault === undefined) return { kind: 'normal' };
    fault.left -= 1;
    const late = 'ms' in fault.fate ? ` by ${fault.fate.ms} ms` : '';
    this.events.say(name, `request ${kind}: ${fault.fate.kind}${late}`);
    this.events.mark(`request ${kind} ${fault.fate.kind}`);
    return fault.fate;
  }

  // ---- striking ----------------------------------------------------------------------------------------------

  private machine(name: string): Machine | null {
    return this.machines.find((one) => one.name === name) ?? null;
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
    if (!this.striking) return;
    const machine = 'node' in fault ? this.resolve(fault.node, event) : null;
    if ('node' in fault && (machine === null || !machine.on)) return;
    this.struck += 1;
    this.events.mark(`fault ${fault.kind}`);
    const details = JSON.stringify({ ...fault, kind: undefined, node: undefined });
    this.events.say('fault', `${fault.kind}${machine === null ? '' : ` ${machine.name}`} ${details}`);
    if (machine !== null) this.strikeMachine(fault, machine);
    else this.strikeCluster(fault);
  }

  private strikeMachine(fault: Fault, machine: Machine): void {
    const { queue } = this;
    const { server } = machine;
    const restart = (ms: number): void => {
      queue.after(ms, () => {
        if (machine.on && machine.daemon() === null) machine.startDaemon();
      });
    };
    const bootAfter = (ms: number): void => {
      queue.after(ms, () => {
        if (!this.striking) return;
        machine.boot();
        restart(500);
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
        bootAfter(fault.bootAfter);
        return;
      case 'machine-suspend':
        machine.suspend(fault.for);
        this.healLater(fault.for, () => machine.resume(fault.bootClock));
        return;
      case 'wall-step':
        machine.clock.stepWall(fault.by);
        if (Math.abs(fault.by) > this.plan.settings.ttlMs) this.events.mark('wall clock jumped over a TTL');
        machine.guard.noticeSoon();
        return;
      case 'postmaster-kill':
        server.killPostmaster(fault.orphans);
        return;
      case 'postgres-crash':
        server.crash();
        return;
      case 'backend-crash':
        server.backendCrash();
        return;
      case 'postgres-hang':
        if (server.processes.kind === 'none') return;
        server.hungUntil = Math.max(server.hungUntil, queue.now() + fault.for);
        server.hangsByProcess = fault.stopped === true;
        return;
      case 'sick':
        this.sicken(fault, machine);
        return;
      case 'check-fails':
        server.trouble.checkFailsUntil = queue.now() + fault.for;
        return;
      case 'connections-full':
        server.trouble.fullUntil = queue.now() + fault.for;
        return;
      case 'guard-pause':
        machine.guard.pause(fault.for);
        return;
      case 'reload':
        this.operators.request(machine, { kind: 'reload' });
        return;
      case 'promotions-fail':
        server.trouble.promotions = fault.count;
        return;
      case 'starts-fail':
        server.trouble.starts = fault.count;
        return;
      case 'wal-unreadable':
        server.trouble.walUnreadableUntil = queue.now() + fault.for;
        return;
      case 'directory-unusable':
        server.trouble.unusableUntil = queue.now() + fault.for;
        return;
      case 'foreign-data':
        machine.powerLoss();
        server.foreign('6999999999999999999');
        bootAfter(fault.bootAfter);
        return;
      case 'restart': {
        const always = { onlyIfPending: false, role: null, below: null, timeout: null };
        if (fault.inMs === undefined) this.operators.request(machine, { kind: 'restart', ...always });
        else {
          const at = new Date(machine.clock.wall() + fault.inMs).toISOString();
          this.operators.request(machine, { kind: 'schedule-restart', at, ...always });
        }
        return;
      }
      case 'reinitialize':
        this.operators.request(machine, { kind: 'reinitialize', force: fault.force, fromLeader: false });
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
        this.requests.push({
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
      case 'etcd-isolate':
      case 'etcd-freeze': {
        const i = fault.member === 'leader' ? leader : follower;
        etcd.setMember(i, fault.kind === 'etcd-isolate' ? 'isolated' : 'frozen');
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
      case 'etcd-wipe':
        etcd.stop();
        this.healLater(REPLACING_MS, () => {
          etcd.wipe();
          this.events.etcdReplaced('wiped');
        });
        return;
      case 'etcd-restore': {
        const backup = this.backups.findLast(({ at }) => at <= this.queue.now() - fault.ageMs) ?? this.backups[0];
        if (backup === undefined) return;
        etcd.stop();
        this.healLater(REPLACING_MS, () => {
          etcd.restore(backup.taken, { newCluster: fault.newCluster });
          this.events.etcdReplaced('restored');
        });
        return;
      }
      case 'garbage':
        etcd.putByStranger(fault.key, fault.value);
        return;
      case 'split':
        this.split(fault);
        return;
      case 'maintenance':
        this.changeFor(fault.for, { pause: true }, { pause: null });
        return;
      case 'settings': {
        const back = Object.keys(fault.patch).map((key) => [key, this.configured(key)]);
        this.changeFor(fault.for, fault.patch, Object.fromEntries(back));
        return;
      }
      case 'scheduled-switchover':
        this.schedule(fault);
        return;
      case 'failover-by-hand':
        this.failOverByHand(fault);
        return;
      case 'switchover':
        this.switchOver(fault.to);
        return;
      case 'ttl':
        this.operators.change({
          ttl: fault.ttlMs / 1000,
          loop_wait: fault.loopWaitMs / 1000,
          retry_timeout: fault.retryTimeoutMs / 1000,
        });
        return;
      default:
        throw new Error(`${fault.kind} concerns one machine`);
    }
  }

  private configured(key: string): unknown {
    return this.plan.config?.[key] ?? null;
  }

  private sicken({ of, for: length }: Extract<Fault, { kind: 'sick' }>, { server }: Machine): void {
    this.events.mark(`sick ${of}`);
    let sick = true;
    server.sickness.set(of, this.queue.now());
    const crash = (): void => {
      if (!sick) return;
      server.backendCrash();
      this.queue.after(CRASH_EVERY_MS, crash);
    };
    if (of === 'crashes') crash();
    this.healLater(length, () => {
      sick = false;
      server.sickness.delete(of);
    });
  }

  // ---- networks and etcd -------------------------------------------------------------------------------------

  private cut(fault: Extract<Fault, { kind: 'cut' }>, machine: Machine): void {
    const { network } = this;
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
    this.healLater(fault.for, () => {
      for (const one of undo) one();
      this.events.say('world', `links of ${machine.name} are back`);
    });
  }

  private split(fault: Extract<Fault, { kind: 'split' }>): void {
    const { network } = this;
    const here = this.machines.filter((one) => fault.nodes.includes(one.name));
    const there = this.machines.filter((one) => !fault.nodes.includes(one.name));
    const undo: (() => void)[] = [];
    for (const one of here) {
      for (const other of there) {
        undo.push(network.cutBoth('daemon-daemon', one.name, other.name));
        undo.push(network.cutBoth('replication', one.name, other.name));
      }
    }
    const without = fault.etcd === 'none' ? [] : fault.etcd === 'these' ? here : there;
    for (const { name } of without) {
      this.etcd.link(name).set({ cutFrom: 'all' });
      undo.push(() => this.etcd.link(name).set({ cutFrom: [] }));
    }
    this.healLater(fault.for, () => {
      for (const one of undo) one();
      this.events.say('world', 'the two sides reach each other again');
    });
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

  private healLater(ms: number, heal: () => void): void {
    let open = true;
    const once = (): void => {
      if (!open) return;
      open = false;
      heal();
    };
    this.heal.push(once);
    this.queue.after(ms, once);
  }

  /** Nobody tries any more to change what was to be changed back by now. */
  private changeFor(ms: number, patch: Json, back: Json): void {
    let wanted = true;
    this.operators.change(patch, () => wanted);
    this.healLater(ms, () => {
      wanted = false;
      this.operators.change(back);
    });
  }

  // ---- operators ---------------------------------------------------------------------------------------------

  private switchOver(to: 'other' | null): void {
    const holder = this.resolve('holder', null);
    if (holder === null) return;
    const candidate = to === null ? null : (this.resolve('other', null)?.name ?? null);
    const struck = this.struck;
    this.operators.switchover(
      holder,
      { kind: 'switchover', leader: holder.name, candidate, scheduledAt: null },
      (outcome, leader) => {
        if (outcome === 'done' && candidate !== null && leader !== candidate && this.struck === struck)
          this.events.mark('switchover done, with another leader than the one asked for');
      },
    );
  }

  private schedule({ inMs, withdrawAfter }: Extract<Fault, { kind: 'scheduled-switchover' }>): void {
    const holder = this.resolve('holder', null);
    if (holder === null) return;
    const scheduledAt = new Date(holder.clock.wall() + inMs).toISOString();
    const request = { kind: 'switchover' as const, leader: holder.name, candidate: null, scheduledAt };
    this.operators.switchover(holder, request, () => undefined);
    // From then on it is under way, and maintenance may begin in the middle of it.
    this.queue.after(inMs, () => {
      const paused = /"pause":\s*true/.test(this.etcd.keyNow(KEYS.config)?.value ?? '');
      if (!paused) this.operators.handoverAsked = this.queue.now();
    });
    if (withdrawAfter === null) return;
    this.queue.after(withdrawAfter, () => {
      const machine = this.operators.anyDaemon();
      if (machine !== null) this.operators.withdraw(machine);
    });
  }

  private failOverByHand({ to, forced }: Extract<Fault, { kind: 'failover-by-hand' }>): void {
    const target = this.resolve(to, null);
    const machine = target?.daemon() == null ? this.operators.anyDaemon() : target;
    if (target === null || machine === null) return;
    this.events.byHand();
    const wish = { leader: null, candidate: target.name, scheduledAt: null };
    const request = { kind: 'failover' as const, ...wish, ...(forced === true ? { forced } : {}) };
    this.operators.switchover(machine, request, () => undefined);
  }
}
