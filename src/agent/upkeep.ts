/**
 * What a node does beside its decisions, after each cycle and without holding it up: its own member key, the slots of
 * the others, the keys that a leader keeps in order, settings that changed. Everything here may fail and is tried again
 * with the next cycle.
 */
import { KEYS, slotName } from '../core/cluster.ts';
import type { StatusFields } from '../core/leadership.ts';
import { type Lsn, NOWHERE } from '../core/lsn.ts';
import type { LeaseId } from '../core/store.ts';
import { between, type Instant, LONG_AGO, millis } from '../core/time.ts';
import type { Agent } from './agent.ts';
import { writeMember } from './member-key.ts';

const STORE_LIMIT = millis(1_500);
const GUARD_LIMIT = millis(500);

export class Upkeep {
  private readonly agent: Agent;
  private running = false;
  private wanted = false;
  private memberWritten: { readonly value: string; readonly lease: LeaseId; readonly at: Instant } | null = null;
  private settingsDue = true;
  private settingsFailedAt: Instant = LONG_AGO;
  private slotsAt: Instant = LONG_AGO;
  private slots: ReadonlyMap<string, Lsn> = new Map();
  /** Names of slots that pgha made: only these are ever dropped. */
  private readonly made = new Set<string>();
  private checkpointRunning = false;
  private switchoverUndone = false;
  private guardStoodDown = false;
  private troubled = new Set<string>();

  constructor(agent: Agent) {
    this.agent = agent;
  }

  settingsChanged(): void {
    this.settingsDue = true;
  }

  /** Starts a round; one that runs is followed by another. */
  run(): void {
    if (this.running) {
      this.wanted = true;
      return;
    }
    this.running = true;
    this.round()
      .catch((error: unknown) => this.agent.parts.log.write('error', 'action.failed', 'upkeep failed', { error }))
      .finally(() => {
        this.running = false;
        if (this.wanted) {
          this.wanted = false;
          this.run();
        }
      });
  }

  private async round(): Promise<void> {
    await this.step('stand the guard down', () => this.standDown());
    await this.step('write the member key', () => this.writeMemberKey());
    await this.step('apply the settings', () => this.applySettings());
    await this.step('undo the switchover settings', () => this.undoSwitchover());
    await this.step('keep the slots', () => this.keepSlots());
    await this.step("keep the cluster's keys", () => this.leaderKeys());
    this.checkpointAfterPromotion();
  }

  /** One failing duty does not keep the others from being done; it is told once, until it works again. */
  private async step(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.troubled.delete(what);
    } catch (error) {
      if (!this.troubled.has(what))
        this.agent.parts.log.write('warn', 'action.failed', `could not ${what}; tried again with each cycle`, {
          error,
        });
      this.troubled.add(what);
    }
  }

  /** Without leadership, and with Postgres known not to write, the guard has nothing left to strike at. */
  private async standDown(): Promise<void> {
    const { agent } = this;
    if (agent.keeper.leadership.kind === 'holding') {
      this.guardStoodDown = false;
      return;
    }
    if (this.guardStoodDown || agent.downSince() === null || agent.operations.running !== null) return;
    const answer = await agent.parts.guard.disarm(GUARD_LIMIT);
    this.guardStoodDown = answer.kind === 'acked';
  }

  private async writeMemberKey(): Promise<void> {
    const { agent } = this;
    const lease = agent.keeper.lease;
    if (lease === null || !agent.watch.known) return;
    const now = agent.now();
    const facts = {
      settings: agent.settings,
      local: agent.watch.local,
      leadership: agent.keeper.leadership,
      operation: agent.operations.shown,
      node: agent.resolved.policy.node,
      pause: agent.policy.pause,
      now,
    };
    // How long ago the primary was seen changes always and is no reason to write.
    const comparable = writeMember({ ...facts, sawPrimaryAt: null });
    const before = this.memberWritten;
    const present = agent.reader.latest?.cluster.members.some((member) => member.name === agent.self) === true;
    if (
      before !== null &&
      before.lease === lease &&
      before.value === comparable &&
      (present || between(before.at, now) < 2_000)
    )
      return;
    // Positions move all the time on a busy server: once per loop is enough for those who read them here.
    if (
      before !== null &&
      before.lease === lease &&
      sameButPositions(before.value, comparable) &&
      between(before.at, now) < agent.policy.loopWait * 0.8
    )
      return;
    const answer = await agent.parts.dcs.txn(
      {
        compare: [],
        success: [
          {
            op: 'put',
            key: KEYS.member(agent.self),
            value: writeMember({ ...facts, sawPrimaryAt: agent.sawPrimary }),
            lease,
          },
        ],
        failure: [],
      },
      STORE_LIMIT,
    );
    if (answer.kind === 'answered') this.memberWritten = { value: comparable, lease, at: now };
  }

  private async applySettings(): Promise<void> {
    const { agent } = this;
    const { local } = agent.watch;
    if (!this.settingsDue || agent.operations.running !== null) return;
    if (local.kind !== 'primary' && local.kind !== 'standby') return;
    if (between(this.settingsFailedAt, agent.now()) < 10_000) return;
    this.settingsFailedAt = agent.now();
    await agent.parts.postgres.applySettings(agent.resolved.server);
    this.settingsDue = false;
    this.settingsFailedAt = LONG_AGO;
  }

  private async undoSwitchover(): Promise<void> {
    const { agent } = this;
    const { local } = agent.watch;
    if (local.kind !== 'primary' && local.kind !== 'standby') {
      this.switchoverUndone = false;
      return;
    }
    if (this.switchoverUndone || agent.operations.running !== null) return;
    await agent.parts.postgres.afterSwitchover();
    this.switchoverUndone = true;
  }

  private async keepSlots(): Promise<void> {
    const { agent } = this;
    const { local } = agent.watch;
    const reading = agent.reader.latest;
    const { useSlots, loopWait } = agent.policy;
    if (reading === null || !useSlots || agent.operations.running !== null || agent.policy.pause) return;
    if (local.kind !== 'primary' && local.kind !== 'standby') return;
    if (local.kind === 'primary' && !agent.writable()) return;
    // A new member must not wait a loop for its slot: its stream depends on it.
    const members = [
      ...new Set([...reading.cluster.members.map((member) => member.name as string), ...this.retained()]),
    ].filter((name) => name !== agent.self);
    const missing = local.kind === 'primary' && members.some((name) => !this.slots.has(slotName(name)));
    if (!missing && between(this.slotsAt, agent.now()) < loopWait * 0.8) return;
    this.slotsAt = agent.now();
    const status = reading.cluster.status;
    for (const name of members) this.made.add(slotName(name));
    // What earlier leaders made stands in `status`: this process may be younger than the slots.
    for (const name of [...(status?.slots.keys() ?? []), ...(status?.retainSlots ?? [])]) this.made.add(name);
    const states = await agent.parts.postgres.keepSlots(members, this.made, status?.slots ?? new Map());
    this.slots = new Map(
      states.filter((slot) => this.made.has(slot.name)).map((slot) => [slot.name, slot.restartLsn ?? NOWHERE]),
    );
  }

  /** Members that are away keep their slots for member_slots_ttl; remembered by this process only. */
  private readonly seen = new Map<string, Instant>();

  private retained(): readonly string[] {
    const { agent } = this;
    const now = agent.now();
    for (const member of agent.reader.latest?.cluster.members ?? []) this.seen.set(member.name, now);
    for (const [name, at] of this.seen) {
      if (between(at, now) > agent.policy.memberSlotsTtl) this.seen.delete(name);
    }
    return [...this.seen.keys()];
  }

  /** What a leader keeps in order in etcd (reference: 5.1 and 6.5). */
  private async leaderKeys(): Promise<void> {
    const { agent } = this;
    const { local } = agent.watch;
    const reading = agent.reader.latest;
    const leadership = agent.keeper.leadership;
    if (reading === null || leadership.kind !== 'holding' || !leadership.windowOpen || local.kind !== 'primary') return;
    const { cluster } = reading;
    if (cluster.initialize?.value !== local.systemId) {
      if (cluster.initialize === null || !/^\d+$/.test(cluster.initialize.value))
        await agent.put(KEYS.initialize, local.systemId);
    }
    if (cluster.config === null) await agent.put(KEYS.config, JSON.stringify(agent.settings.initialConfig));
    const wish = cluster.failover;
    // The wish that made us leader has come true.
    if (wish !== null && (wish.candidate === agent.self || (wish.leader !== null && wish.leader !== agent.self))) {
      await agent.put(KEYS.failover, '{}');
    }
    await agent.writeHistoryLine();
  }

  /** Until it is done, pg_rewind would take us for a server on the old timeline (postgres-notes 2). */
  private checkpointAfterPromotion(): void {
    const { agent } = this;
    const { local } = agent.watch;
    if (local.kind !== 'primary' || local.checkpointed || this.checkpointRunning || !agent.writable()) return;
    this.checkpointRunning = true;
    agent.parts.postgres
      .checkpoint()
      .catch((error: unknown) =>
        agent.parts.log.write('warn', 'action.failed', 'the checkpoint after the promotion failed', { error }),
      )
      .finally(() => {
        this.checkpointRunning = false;
        agent.soon('checkpoint done');
      });
  }

  /** What stands in `status` beside the beat. A leader that is not yet a primary hands on what it found. */
  statusFields(): StatusFields {
    const { agent } = this;
    const { local } = agent.watch;
    const before = agent.reader.latest?.cluster.status ?? null;
    const { location } = agent.resolved.policy.node;
    if (local.kind !== 'primary') {
      return {
        optime: before?.optime ?? null,
        slots: before?.slots ?? new Map(),
        retainSlots: before?.retainSlots ?? [],
        location,
      };
    }
    const slots = new Map(this.slots);
    slots.set(slotName(agent.self), local.flushed);
    return { optime: local.flushed, slots, retainSlots: [...this.seen.keys()].map(slotName).sort(), location };
  }
}

const POSITIONS = /"(?:xlog_location|receive_lsn|replay_lsn)":\d+/g;

function sameButPositions(a: string, b: string): boolean {
  return a.replace(POSITIONS, '') === b.replace(POSITIONS, '');
}
