/**
 * Keeps the synchronous standbys of the Postgres that leads: which ones commits wait for (`synchronous_standby_names`)
 * and who may be elected without a loss (etcd's `sync` key), one write at a time, in the order of core/quorum.ts. Runs
 * beside the cycle and never holds it up. It elects nobody and does not decide whether a candidate has every commit.
 */
import { type ClusterView, KEYS, type Member, writeSync } from '../core/cluster.ts';
import { type SyncChange, syncTxn } from '../core/leadership.ts';
import type { Primary } from '../core/local.ts';
import type { Lsn } from '../core/lsn.ts';
import {
  type Acknowledging,
  chooseTarget,
  describeAcknowledging,
  describeKey,
  nextStep,
  type SyncKey,
  type SyncMode,
  type SyncStandby,
  sameAcknowledging,
  sameVoting,
} from '../core/quorum.ts';
import { ABSENT, type NodeName, type Revision } from '../core/store.ts';
import { between, type Instant, type Millis, millis } from '../core/time.ts';
import type { CancelTimer } from '../ports/clock.ts';
import type { Agent } from './agent.ts';

const STORE_LIMIT = millis(1_500);
/**
 * Each WAL sender goes by its own copy of the names until it has read them anew. So long after a change, and with every
 * sign that they have, no commit is acknowledged by the old ones.
 */
const SETTLE = millis(1_000);
/** While a standby is waited for, Postgres is asked this often how far it is. */
const LOOK_AGAIN = millis(200);
/** A setting that is not in force so long after it was written is written again. */
const SET_AGAIN = millis(3_000);

export class SyncKeeper {
  private readonly agent: Agent;
  private running = false;
  private wanted = false;
  private timer: CancelTimer | null = null;
  /** The names that were seen in force, in this life of Postgres, and since when. */
  private seen: { readonly names: Acknowledging; readonly startedAt: string; readonly since: Instant } | null = null;
  /** Everything acknowledged under other names than those in force lies before this. null: they have not settled. */
  private mark: Lsn | null = null;
  /** What was written last for this life of Postgres. */
  private set: { readonly names: Acknowledging; readonly startedAt: string; readonly at: Instant } | null = null;
  /** A write of the key whose fate is not known: nothing else is written before it is. */
  private pending: SyncChange | null = null;
  /** The version of the key that this process wrote last: no write of an earlier process can come over it. */
  private ownRevision: Revision | null = null;
  private readonly activeAt = new Map<NodeName, Instant>();
  private said = '';
  /** Since when this process keeps the standbys of this primary. */
  private firstSeenAt: Instant | null = null;
  /** `synchronous_mode` is off, and nothing of ours is left in Postgres. */
  private handedBack = false;
  /** How often etcd was replaced under this process. */
  private replacements = 0;

  constructor(agent: Agent) {
    this.agent = agent;
  }

  stop(): void {
    this.timer?.();
    this.timer = null;
  }

  /** Starts a turn; one that runs is followed by another. */
  run(): void {
    if (this.running) {
      this.wanted = true;
      return;
    }
    this.running = true;
    this.turn()
      .catch((error: unknown) =>
        this.agent.parts.log.write('warn', 'action.failed', 'could not keep the synchronous standbys', { error }),
      )
      .finally(() => {
        this.running = false;
        if (!this.wanted) return;
        this.wanted = false;
        this.run();
      });
  }

  private async turn(): Promise<void> {
    const { agent } = this;
    const cluster = agent.reader.latest?.cluster ?? null;
    const primary = this.leadingPrimary();
    if (cluster === null || primary === null) {
      this.forget();
      return;
    }
    if (this.isStale(cluster)) {
      await agent.readCluster();
      return this.again(LOOK_AGAIN);
    }
    if (this.pending !== null) {
      await this.settlePending(cluster);
      return;
    }
    if (agent.policy.synchronous.mode === 'off') await this.handBack(cluster, primary);
    else await this.keep(cluster, primary);
  }

  /** A read that began before our last write, and ended after it: what it says of the key is over. */
  private isStale(cluster: ClusterView): boolean {
    const newest = this.pending?.revision ?? this.ownRevision;
    return newest !== null && cluster.revision < newest;
  }

  /** Revisions count anew: what was written is older than nothing that stands there, and what is under way is void. */
  etcdReplaced(): void {
    this.replacements++;
    this.ownRevision = null;
    this.pending = null;
  }

  /** Only a leader that may write keeps anything, and only what it has just seen. */
  private leadingPrimary(): Primary | null {
    const { watch, keeper, operations } = this.agent;
    const { leadership } = keeper;
    const { local } = watch;
    if (leadership.kind !== 'holding' || !leadership.windowOpen || leadership.releaseSent) return null;
    if (local.kind !== 'primary' || local.failing !== null || operations.running !== null) return null;
    return watch.certain && local.acknowledging !== undefined ? local : null;
  }

  private forget(): void {
    this.seen = null;
    this.mark = null;
    this.said = '';
    if (this.agent.keeper.leadership.kind !== 'holding') {
      this.set = null;
      this.firstSeenAt = null;
      this.pending = null;
      this.ownRevision = null;
      this.activeAt.clear();
    }
  }

  private async keep(cluster: ClusterView, primary: Primary): Promise<void> {
    const { agent } = this;
    const { mode } = agent.policy.synchronous;
    const acknowledging = primary.acknowledging;
    if (mode === 'off' || acknowledging === undefined) return;
    this.handedBack = false;
    this.noteNames(primary, acknowledging);
    // It starts with commits blocked, whatever was written before.
    if (this.set?.startedAt !== primary.startedAt) this.set = null;
    // What was written is not in force yet: nothing is decided on what may change at any moment.
    if (this.set !== null && !sameAcknowledging(this.set.names, acknowledging)) {
      if (between(this.set.at, agent.now()) < SET_AGAIN) return this.again(LOOK_AGAIN);
      return this.setNames(this.set.names, mode, primary);
    }
    // Nor on what an earlier process may have written a moment ago. Who leads anew begins with commits blocked.
    this.firstSeenAt ??= agent.now();
    if (this.set === null && acknowledging.kind !== 'blocked' && between(this.firstSeenAt, agent.now()) < SETTLE)
      return this.again(LOOK_AGAIN);
    const key = cluster.sync?.key ?? null;
    const active = this.activeStandbys(cluster, primary);
    const { strict, count, maximumLagBytes: maximumLag } = agent.policy.synchronous;
    const target = chooseTarget({ mode, strict, count, maximumLag }, active, this.lately(key), key, acknowledging);
    const confirmed = this.confirmed(primary);
    // What the server started with is everywhere from the beginning.
    const settled = this.mark !== null || this.set === null;
    const step = nextStep({ self: agent.self, mode, key, acknowledging, target, confirmed, settled });
    const revision = cluster.sync?.revision ?? ABSENT;
    switch (step.do) {
      case 'write-key':
        return this.writeKey({ revision, key: step.key }, key);
      case 'set-names':
        // A write of an earlier process may still be on its way, and these names need not agree with what it says.
        if (key !== null && !this.isOurs(cluster)) return this.writeKey({ revision, key }, key);
        return this.setNames(step.acknowledging, mode, primary);
      case 'wait':
        if (step.for.length > 0)
          this.tell(`waiting for ${step.for.join(', ')} to have every commit; ${describeKey(key as SyncKey)}`);
        return this.again(LOOK_AGAIN);
      case 'nothing':
        this.tell(`${describeAcknowledging(acknowledging)}; ${key === null ? '' : describeKey(key)}`);
        // One that is away now is given up in a while, and no event says when.
        if (this.lately(key).size > active.length) this.again(agent.policy.loopWait);
        return;
      default:
        return ((never: never) => never)(step);
    }
  }

  /** Whether this version of the key is one that this process has written. */
  private isOurs(cluster: ClusterView): boolean {
    const at = cluster.sync?.revision;
    if (at === undefined) return false;
    // Written with the leader key itself: an older term's writes are void, and an earlier process's of this term there
    // are none.
    return at === this.ownRevision || (at === cluster.leader?.term && this.agent.keeper.hasWon(at));
  }

  // ---- what Postgres has -----------------------------------------------------------------------------------------

  private noteNames(primary: Primary, names: Acknowledging): void {
    const { seen, agent } = this;
    if (seen === null || seen.startedAt !== primary.startedAt || !sameAcknowledging(seen.names, names)) {
      this.seen = { names, startedAt: primary.startedAt, since: agent.watch.at };
      this.mark = null;
      return;
    }
    if (this.mark !== null || between(seen.since, agent.watch.at) < SETTLE) return;
    if (primary.checkpointerIdle === true && sendersGoBy(primary, names)) this.mark = primary.flushed;
  }

  private confirmed(primary: Primary): ReadonlySet<NodeName> {
    const { mark } = this;
    if (mark === null) return new Set();
    const there = primary.senders.filter(
      (one) => one.state === 'streaming' && one.flushed !== null && one.flushed >= mark,
    );
    return new Set(this.members().filter((name) => there.some((one) => sameName(one.applicationName, name))));
  }

  private members(): readonly NodeName[] {
    return this.agent.reader.latest?.cluster.members.map((member) => member.name) ?? [];
  }

  private activeStandbys(cluster: ClusterView, primary: Primary): readonly SyncStandby[] {
    const now = this.agent.now();
    const active: SyncStandby[] = [];
    for (const member of cluster.members) {
      if (member.name === this.agent.self || !maySync(member)) continue;
      const sender = primary.senders.find(
        (one) => one.state === 'streaming' && sameName(one.applicationName, member.name),
      );
      if (sender === undefined || sender.flushed === null) continue;
      this.activeAt.set(member.name, now);
      active.push({
        name: member.name,
        priority: syncPriority(member),
        noFailover: isTrue(member.tags['nofailover']),
        flushed: sender.flushed,
      });
    }
    for (const member of cluster.members) if (!maySync(member)) this.activeAt.delete(member.name);
    return active;
  }

  /** Who streams, or did so until a moment ago, or has had no time to come yet. */
  private lately(key: SyncKey | null): ReadonlySet<NodeName> {
    const { agent } = this;
    const now = agent.now();
    const grace = agent.policy.loopWait;
    const names = [...this.activeAt].filter(([, at]) => between(at, now) < grace).map(([name]) => name);
    const refused = (agent.reader.latest?.cluster.members ?? []).filter((one) => !maySync(one)).map((one) => one.name);
    const young = between(agent.watch.since, now) < grace;
    return new Set([...names, ...(young ? (key?.voters ?? []).filter((name) => !refused.includes(name)) : [])]);
  }

  // ---- steps -----------------------------------------------------------------------------------------------------

  private async setNames(names: Acknowledging, mode: SyncMode, { startedAt }: Primary): Promise<void> {
    const { agent } = this;
    this.mark = null;
    this.set = { names, startedAt, at: agent.now() };
    await agent.parts.postgres.setAcknowledging(names, mode);
    this.set = { names, startedAt, at: agent.now() };
    agent.parts.log.write('info', 'sync.names-changed', describeAcknowledging(names), {
      count: names.kind === 'standbys' ? names.count : 0,
      names: names.kind === 'standbys' ? names.names.join(',') : '',
    });
    agent.soon('synchronous_standby_names changed');
  }

  private async writeKey(change: SyncChange, before: SyncKey | null): Promise<void> {
    const { agent } = this;
    const { leadership } = agent.keeper;
    if (leadership.kind !== 'holding') return;
    const { replacements } = this;
    const answer = await agent.parts.dcs.txn(syncTxn(leadership.term, change), STORE_LIMIT);
    // Whatever came of it, it was about another etcd, whose revisions say nothing of those that count now.
    if (replacements !== this.replacements) return this.again(LOOK_AGAIN);
    if (answer.kind === 'unknown' || (answer.kind === 'failed' && answer.reason === 'no-space')) {
      this.pending = change;
      return this.again(LOOK_AGAIN);
    }
    this.pending = null;
    const landed = answer.kind === 'answered' && (answer.succeeded || isWritten(answer.found.get(KEYS.sync), change));
    if (landed) {
      this.ownRevision = answer.succeeded
        ? answer.header.revision
        : (answer.found.get(KEYS.sync)?.modRevision ?? this.ownRevision);
      const { key } = change;
      if (key !== null && (before === null || before.leader !== key.leader || !sameVoting(before, key)))
        agent.parts.log.write('info', 'sync.voters-changed', describeKey(key), {
          voters: key.voters.join(','),
          quorum: key.quorum,
        });
    }
    await agent.readCluster();
    // Refused while the leader key has to be taken again: that takes as long as etcd lets it.
    if (!landed) return this.again(LOOK_AGAIN);
    agent.soon('the sync key changed');
  }

  /** It has landed, or can no more: the key is another version. Or it is sent again, and one of the two lands. */
  private async settlePending(cluster: ClusterView): Promise<void> {
    const { pending } = this;
    if (pending === null) return;
    if ((cluster.sync?.revision ?? ABSENT) !== pending.revision) {
      this.pending = null;
      this.agent.soon('the sync key was settled');
      return;
    }
    await this.writeKey(pending, cluster.sync?.key ?? null);
  }

  /** `synchronous_mode: off`: first nobody is held back by the key, then commits wait for whom the operator has named. */
  private async handBack(cluster: ClusterView, { acknowledging }: Primary): Promise<void> {
    this.mark = null;
    this.seen = null;
    this.set = null;
    this.firstSeenAt = null;
    if (cluster.sync !== null) {
      this.handedBack = false;
      return this.writeKey({ revision: cluster.sync.revision, key: null }, null);
    }
    // It was started again, with commits blocked, before this was known to be done.
    if (this.handedBack && acknowledging?.kind !== 'blocked') return;
    await this.agent.parts.postgres.setAcknowledging(null, 'on');
    this.handedBack = true;
  }

  private tell(what: string): void {
    if (what === this.said) return;
    this.said = what;
    this.agent.parts.log.write('debug', 'sync.names-changed', what);
  }

  private again(after: Millis): void {
    this.timer?.();
    this.timer = this.agent.parts.clock.timer(after, () => {
      this.timer = null;
      this.agent.soon('synchronous standbys');
    });
  }
}

/** The one whose answer was lost is the one that stands there. */
function isWritten(found: { readonly value: string } | null | undefined, { key }: SyncChange): boolean {
  if (key === null) return found === null || found === undefined;
  return found?.value === writeSync(key);
}

/** Each sender shows, by its priority, whether it knows the names as they are now. */
function sendersGoBy(primary: Primary, names: Acknowledging): boolean {
  const waited = names.kind === 'standbys' ? names.names : [];
  return primary.senders
    .filter((sender) => sender.state === 'streaming')
    .every((sender) => sender.syncPriority > 0 === waited.some((name) => sameName(sender.applicationName, name)));
}

/** As Postgres compares them. */
const sameName = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

const isTrue = (tag: unknown): boolean => tag === true || String(tag).toLowerCase() === 'true';

function syncPriority(member: Member): number {
  const given = member.tags['sync_priority'];
  const value = typeof given === 'number' || typeof given === 'string' ? Number(given) : 1;
  return Number.isFinite(value) ? value : 1;
}

/** The key's text is a list with commas, and a star means everybody to Postgres. */
function maySync(member: Member): boolean {
  if (member.role === 'witness' || member.pgha?.role === 'witness' || /[,*]/.test(member.name)) return false;
  return member.state === 'running' && !isTrue(member.tags['nosync']) && syncPriority(member) > 0;
}
