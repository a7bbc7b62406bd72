/**
 * What a node does beside its decisions, after each cycle and without holding it up: its own member key, the slots of
 * the others, the keys that a leader keeps in order, settings that changed. Everything here may fail and is tried again
 * with the next cycle.
 */
import { isTriedBefore } from '../core/classify.ts';
import { type ClusterView, KEYS } from '../core/cluster.ts';
import type { StatusFields } from '../core/leadership.ts';
import { position, type SystemId } from '../core/local.ts';
import { REMOTE } from '../core/policy.ts';
import { ABSENT, type Key, type LeaseId, type Revision, type Txn } from '../core/store.ts';
import { between, type Instant, LONG_AGO, millis } from '../core/time.ts';
import type { Agent } from './agent.ts';
import { writeMember } from './member-key.ts';
import { SharedNodeIds } from './shared-node-ids.ts';
import { SlotKeeper } from './slot-keeper.ts';

const STORE_LIMIT = millis(1_500);
const REFUSED_AGAIN = millis(1_000);
const GUARD_LIMIT = millis(500);
/** A restart that did not help is not repeated sooner. */
const OUTGROWN_EVERY = millis(10_000);

export class Upkeep {
  private readonly agent: Agent;
  private readonly sharedNodeIds: SharedNodeIds;
  readonly slots: SlotKeeper;
  private running = false;
  private wanted = false;
  /** etcd has said no to the member key, as it does without space: not asked again with every cycle. */
  private memberRefused: { readonly lease: LeaseId; readonly at: Instant } | null = null;
  private memberWritten: { readonly value: string; readonly lease: LeaseId; readonly at: Instant } | null = null;
  private settingsDue = true;
  private settingsFailedAt: Instant = LONG_AGO;
  private outgrownAskedAt: Instant = LONG_AGO;
  private checkpointRunning = false;
  private switchoverUndone = false;
  private guardStoodDown = false;
  private troubled = new Set<string>();

  constructor(agent: Agent) {
    this.agent = agent;
    this.sharedNodeIds = new SharedNodeIds(agent.parts.log);
    this.slots = new SlotKeeper(agent);
  }

  settingsChanged(): void {
    this.settingsDue = true;
  }

  /** The settings of a switchover were made again, and nothing came of it. */
  switchoverAbandoned(): void {
    this.switchoverUndone = false;
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
    if (this.agent.handsOff) {
      await this.step('write the member key', () => this.writeMemberKey());
      return;
    }
    this.sharedNodeIds.look(this.agent.reader.latest?.cluster.members ?? []);
    await this.step('stand the guard down', () => this.standDown());
    await this.step('write the member key', () => this.writeMemberKey());
    await this.step('apply the settings', () => this.applySettings());
    await this.step('see whether the primary has outgrown this standby', () => this.restartOutgrown());
    await this.step('undo the switchover settings', () => this.undoSwitchover());
    this.slots.run();
    await this.step("keep the cluster's keys", () => this.leaderKeys());
    await this.step('write down how this node came to lead', () => this.writeTakeover());
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
    const { leadership } = agent.keeper;
    if (leadership.kind === 'holding') {
      this.guardStoodDown = false;
      // It was a primary until a moment ago, or took the key before the settings said what it leads.
      if (agent.leadsStandbys() && leadership.windowOpen && !agent.policy.pause) await agent.keeper.standDown();
      return;
    }
    if (this.guardStoodDown || agent.downSince() === null || agent.operations.running !== null) return;
    const answer = await agent.parts.guard.disarm(GUARD_LIMIT);
    this.guardStoodDown = answer.kind === 'acked';
  }

  private async writeMemberKey(): Promise<void> {
    const { agent } = this;
    const lease = agent.keeper.lease;
    // Another machine's key is left to it: whoever writes it last would have the name.
    if (lease === null || !agent.watch.known || agent.nameTakenBy !== null) return;
    const now = agent.now();
    const refused = this.memberRefused;
    if (refused?.lease === lease && between(refused.at, now) < REFUSED_AGAIN) return;
    const facts = {
      settings: agent.settings,
      local: agent.watch.local,
      ailments: agent.sickness.view.ailments,
      leadership: agent.keeper.leadership,
      operation: agent.operations.shown,
      node: agent.resolved.policy.node,
      receivesFrom: agent.receivesFrom(),
      dataDirectory: agent.resolved.policy.node.role === 'witness' ? null : agent.parts.postgres.dataDirectory,
      pause: agent.policy.pause,
      standbyCluster: agent.remoteSource !== null,
      leavesSyncSet: agent.leavingSyncSet,
      scheduledRestart: agent.scheduledRestart,
      vip: agent.address.shown?.held === true ? agent.address.shown.name : null,
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
    this.memberRefused = answer.kind === 'failed' ? { lease, at: now } : null;
    if (answer.kind === 'answered') this.memberWritten = { value: comparable, lease, at: now };
  }

  private async applySettings(): Promise<void> {
    const { agent } = this;
    const { local } = agent.watch;
    if (!this.settingsDue || agent.operations.running !== null) return;
    if (local.kind !== 'primary' && local.kind !== 'standby') return;
    if (between(this.settingsFailedAt, agent.now()) < 10_000) return;
    this.settingsFailedAt = agent.now();
    const remote = agent.keeper.leadership.kind === 'holding' ? agent.addressOf(REMOTE) : null;
    if (remote !== null && local.kind === 'standby') await agent.parts.postgres.follow(remote);
    const reloaded = await agent.parts.postgres.applySettings(agent.resolved.server);
    if (reloaded) agent.settingsReloaded();
    this.settingsDue = false;
    this.settingsFailedAt = LONG_AGO;
  }

  /** Only where replay stands still; an operator may have stopped it, too. */
  private async restartOutgrown(): Promise<void> {
    const { agent } = this;
    const { local } = agent.watch;
    if (local.kind !== 'standby' || !local.replayPaused || local.failing !== null || agent.policy.pause) return;
    if (agent.operations.running !== null || agent.keeper.leadership.kind === 'holding') return;
    if (between(this.outgrownAskedAt, agent.now()) < OUTGROWN_EVERY) return;
    this.outgrownAskedAt = agent.now();
    const names = await agent.parts.postgres.outgrown();
    const still = agent.watch.local.kind === 'standby' && agent.operations.running === null;
    if (names.length > 0 && still) agent.restartOutgrown(names);
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

  /** What a leader keeps in order in etcd (reference: 5.1 and 6.5). */
  private async leaderKeys(): Promise<void> {
    const { agent } = this;
    const { local } = agent.watch;
    const reading = agent.reader.latest;
    const leadership = agent.keeper.leadership;
    if (reading === null || leadership.kind !== 'holding' || !leadership.windowOpen || local.kind !== 'primary') return;
    const { cluster } = reading;
    const isNamed = cluster.initialize?.value === local.systemId;
    if (isNamed) agent.keeper.leadsAs(local.systemId);
    else await this.restoreName(cluster, local.systemId, leadership.term);
    if (cluster.config === null) await this.restoreSettings(cluster, leadership.term);
    const wish = cluster.failover;
    // The wish that made us leader has come true, or one that we had given the key up for came to nothing.
    const over = wish !== null && isTriedBefore(wish, agent.self, leadership.term);
    if (
      wish !== null &&
      (over || wish.candidate === agent.self || (wish.leader !== null && wish.leader !== agent.self))
    ) {
      await this.putAsLeader(KEYS.failover, '{}', leadership.term, [
        { key: KEYS.failover, modRevision: wish.revision },
      ]);
    }
    const history = await agent.historyWithOwn();
    if (history !== null) await this.putAsLeader(KEYS.history, history, leadership.term);
  }

  /**
   * Only with the key in hand: in an etcd that was emptied, `initialize` tells the others that there is a cluster, and
   * without the key beside it that nobody leads it.
   */
  private async putAsLeader(key: Key, value: string, term: Revision, also: Txn['compare'] = []): Promise<boolean> {
    const txn: Txn = {
      compare: [{ key: KEYS.leader, modRevision: term }, ...also],
      success: [{ op: 'put', key, value, lease: null }],
      failure: [],
    };
    const answer = await this.agent.parts.dcs.txn(txn, STORE_LIMIT);
    return answer.kind === 'answered' && answer.succeeded;
  }

  /**
   * etcd was emptied, and before the key of this leader stood there again a node whose service had just started may have
   * given the scope to data that nobody has led with. Whoever leads with an open window says whose scope it is, with the
   * data that he has led it with.
   */
  private async restoreName({ initialize }: ClusterView, own: SystemId, term: Revision): Promise<void> {
    const given = initialize?.value ?? '';
    const isGiven = /^\d+$/.test(given);
    if (isGiven && this.agent.keeper.ledAs !== own) return;
    const also = initialize === null ? [] : [{ key: KEYS.initialize, modRevision: initialize.revision }];
    const isWritten = await this.putAsLeader(KEYS.initialize, own, term, also);
    if (!isWritten || !isGiven) return;
    this.agent.parts.log.write(
      'warn',
      'scope.restored',
      `this scope had been given to cluster ${given} while the leader key was missing, and ${own} leads: it is ${own} again`,
    );
  }

  /**
   * Somebody deleted or garbled the cluster-wide settings, or etcd was emptied: those that count go on counting, also for
   * a daemon that starts now. Where this daemon has read none since its start, it knows of none that count: a garbled
   * key is left alone, and in an empty place goes what its file says.
   */
  private async restoreSettings({ garbledConfig }: ClusterView, term: Revision): Promise<void> {
    const { agent } = this;
    const { storedSettings: stored, parts, settings } = agent;
    if (stored === null && garbledConfig !== null) return;
    const answer = await parts.dcs.txn(
      {
        compare: [
          { key: KEYS.leader, modRevision: term },
          garbledConfig === null
            ? { key: KEYS.config, createRevision: ABSENT }
            : { key: KEYS.config, modRevision: garbledConfig },
        ],
        success: [
          { op: 'put', key: KEYS.config, value: JSON.stringify(stored ?? settings.initialConfig), lease: null },
        ],
        failure: [],
      },
      STORE_LIMIT,
    );
    if (answer.kind !== 'answered' || !answer.succeeded) return;
    const sentence = `the cluster-wide settings ${garbledConfig === null ? 'were missing in etcd' : 'in etcd could not be read'}: ${
      stored === null ? 'what the file of this node says was written' : 'those that were read last were written again'
    }`;
    parts.log.write('warn', 'config.restored', sentence);
  }

  /** For people, also when this node is gone. */
  private async writeTakeover(): Promise<void> {
    const { takeovers, keeper, parts } = this.agent;
    const record = takeovers.due;
    const { leadership } = keeper;
    if (record === null || leadership.kind !== 'holding') return;
    const answer = await parts.dcs.txn(
      {
        // Whoever leads by now has a story of his own.
        compare: [{ key: KEYS.leader, modRevision: leadership.term }],
        success: [{ op: 'put', key: KEYS.lastTakeover, value: JSON.stringify(record), lease: null }],
        failure: [],
      },
      STORE_LIMIT,
    );
    if (answer.kind === 'answered') takeovers.written();
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
    const standbyCluster = agent.remoteSource !== null;
    if (standbyCluster && local.kind === 'standby') {
      const at = position(local);
      return {
        optime: at,
        ...this.slots.statusFields(at),
        leader: agent.self,
        location,
        unpromoted: true,
        standbyCluster,
      };
    }
    if (local.kind !== 'primary') {
      return {
        ...(standbyCluster ? { standbyCluster } : {}),
        optime: before?.optime ?? null,
        slots: before?.slots ?? new Map(),
        retainSlots: before?.retainSlots ?? [],
        leader: agent.self,
        location,
        ...(local.kind === 'standby' || (local.kind === 'stopped' && !local.wasPrimary) ? { unpromoted: true } : {}),
      };
    }
    return { optime: local.flushed, ...this.slots.statusFields(local.flushed), leader: agent.self, location };
  }
}

const POSITIONS = /"(?:xlog_location|receive_lsn|replay_lsn)":\d+/g;

function sameButPositions(a: string, b: string): boolean {
  return a.replace(POSITIONS, '') === b.replace(POSITIONS, '');
}
