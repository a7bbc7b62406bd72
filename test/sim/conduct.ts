/**
 * What pgha does to data and against whose word: S5 (how much a failover loses), S7 (no only copy is written over), S9
 * (foreign data and empty scopes), S12 (maintenance, and what else operators have settled). Judged when it is done, by
 * the true state of the world.
 */
import { KEYS, readStatusKey } from '../../src/core/cluster.ts';
import { parseLsn } from '../../src/core/lsn.ts';
import type { KeyValue } from '../../src/core/store.ts';
import { BY_HAND_MS } from './invariants.ts';
import type { EtcdModel } from './models/etcd.ts';
import type { DataDirectory, PostgresServer } from './models/postgres-server.ts';
import { type Branch, endOf } from './models/wal.ts';
import type { Plan } from './plan.ts';
import type { Network } from './world/network.ts';

type Json = Readonly<Record<string, unknown>>;

/** What a daemon does to its Postgres; those that undo data have a source. */
export type Deed =
  | 'bootstrap'
  | 'copy'
  | 'rewind'
  | 'wipe'
  | 'start as a primary'
  | 'start as a standby'
  | 'stop'
  | 'restart'
  | 'promote';

export interface Actor {
  readonly name: string;
  readonly on: boolean;
  readonly server: PostgresServer;
  readonly clock: { readonly resumedAt: number; readonly stoodStillFor: number };
  daemon(): {
    readonly startedAt: number;
    readonly process: { readonly paused: boolean };
    readonly askedToStop?: true;
    readonly control: { published(): { readonly decision: { readonly situation: string } } };
  } | null;
}

/** What a switchover or a failover by hand consists of, on all nodes together. */
const HAND_OVER: ReadonlySet<Deed> = new Set<Deed>(['stop', 'promote', 'start as a standby', 'start as a primary']);

/** Situations in which things are done that an operator keeps to himself in maintenance. */
const DECIDES: ReadonlySet<string> = new Set(['leading', 'following', 'leaderless']);

/** A leader may have lost the key a moment before somebody acts on what he has read. */
const JUST_NOW_MS = 5_000;
/** What somebody has answered counts for so long. */
const ANSWER_MS = 2_500;
/** What an election has heard may be that old. */
const HEARD_MS = 4_000;
/** Looked at, published and asked for by then. */
const STREAMS_MS = 10_000;
/** What an operator has asked for takes its time. */
const REQUEST_MS = 120_000;
const APPROVED_MS = 13_000;
/** What was begun before its daemon was told otherwise goes on for so long. */
const UNDER_WAY_MS = 5_000;
/** A stop that is waited for, and ended at last. */
const STOPS_MS = 60_000;
/** After etcd was emptied or restored, who led before is known to nobody, and whoever claims it leads from then on. */
const REPLACED_MS = 60_000;
const DEFAULT_LAG = 1_048_576;
/** A cluster is made within this, and who was asked before it can be heard now. */
const MADE_MS = 8_000;

/** How often each was really looked at, as in invariants.ts. */
const noneChecked = () => ({
  'S5 how much a promotion loses': 0,
  'S5 what is said of a promotion': 0,
  'S7 the source leads': 0,
  'S7 somebody keeps the data': 0,
  'S9 the scope keeps its cluster': 0,
  'S9 no new cluster over old data': 0,
  'S9 data of another cluster': 0,
  'S12 a promotion in maintenance': 0,
  'S12 in maintenance something was to be done': 0,
  'S12 failover is manual and nobody leads': 0,
  'S12 another location takes over': 0,
  'S12 receivers have ended': 0,
  'S12 the validation command was asked': 0,
  'S17 settings were written again': 0,
});

export class Conduct {
  /** Somebody has led under this scope. */
  private ledOnce = false;
  private readonly plan: Plan;
  private readonly actors: readonly Actor[];
  private readonly etcd: EtcdModel;
  private readonly network: Network;
  private readonly now: () => number;
  private readonly askedOf: (name: string) => number | undefined;
  private readonly handoverAsked: () => number | null;
  private readonly fail: (invariant: string, sentence: string) => void;
  /** Milliseconds: commits of a longer time are lost by no failover. */
  private readonly longestLoss: number;
  private readonly allowedLoss: number;
  /** Who lags by more may be one that cannot lead. */
  private readonly leastLag: number;
  /** What etcd says of the settings. */
  private config: Json = {};
  /** What each daemon was last told of them, and since when it has been told so. */
  private readonly told = new Map<string, { config: Json; readonly since: Map<string, number> }>();
  private clusterId: string | null = null;
  private clusterBefore: string | null = null;
  private byHandUntil = Number.NEGATIVE_INFINITY;
  private replacedAt = Number.POSITIVE_INFINITY;
  /** Since when etcd does not know whose scope it was; null: it knows. */
  private forgottenAt: number | null = null;
  /** What nobody has said yet of the last promotion: which acknowledged writes it cost, and whose promotion it was. */
  private toBeSaid: { readonly name: string; readonly lost: number; readonly end: number } | null = null;
  readonly checked = noneChecked();
  /** The settings as each node's daemons have read them last. */
  private readonly lastRead = new Map<string, Json>();
  /** Since when nobody can read settings in etcd; null: they can be read. */
  private unreadableSince: number | null = Number.NEGATIVE_INFINITY;
  private lastHolder: string | null = null;
  private takenAt = 0;
  private readonly heldUntil = new Map<string, number>();
  private readonly approvedAt = new Map<string, number>();
  private readonly heard = new Map<string, number>();
  /** Since when the first could hear of the second which cluster etcd has forgotten. */
  private readonly couldTell = new Map<string, number>();
  private readonly answers = new Map<string, number>();
  private statusAt = 0;
  private lastLine: Branch | null = null;

  constructor(parts: {
    readonly plan: Plan;
    readonly actors: readonly Actor[];
    readonly etcd: EtcdModel;
    readonly network: Network;
    readonly now: () => number;
    /** When an operator last asked this node for something. */
    readonly askedOf: (name: string) => number | undefined;
    readonly handoverAsked: () => number | null;
    readonly fail: (invariant: string, sentence: string) => void;
  }) {
    this.plan = parts.plan;
    this.actors = parts.actors;
    this.etcd = parts.etcd;
    this.network = parts.network;
    this.now = parts.now;
    this.askedOf = parts.askedOf;
    this.handoverAsked = parts.handoverAsked;
    this.fail = parts.fail;
    const { plan } = this;
    const patches = plan.faults.flatMap(({ fault }) => (fault.kind === 'settings' ? [fault.patch] : []));
    const lags = [plan.config ?? {}, ...patches].map((config) =>
      Number(config['maximum_lag_on_failover'] ?? DEFAULT_LAG),
    );
    this.allowedLoss = Math.max(...lags);
    this.leastLag = Math.min(...lags);
    const ttls = plan.faults.map(({ fault }) => (fault.kind === 'ttl' ? fault.ttlMs : 0));
    this.longestLoss = 2 * Math.max(plan.settings.ttlMs, ...ttls) + 60_000;
  }

  // ---- what the world tells ----------------------------------------------------------------------------------

  settings(config: Json): void {
    this.config = config;
  }

  /**
   * S17: nobody but an operator changes the settings. What a daemon writes by itself is what it read last, and where it
   * has read none since its start, it knows none.
   *
   * @param config - null: what stands in etcd now is no settings, or nothing at all
   * @param asked - an operator has asked somebody for a change not long ago
   */
  settingsPut(by: string, config: Json | null, asked: boolean): void {
    if (config === null) {
      this.unreadableSince ??= this.now();
      return;
    }
    const daemon = this.actors.find((one) => one.name === by)?.daemon() ?? null;
    const known = this.lastRead.get(by);
    const since = this.unreadableSince ?? Number.POSITIVE_INFINITY;
    this.unreadableSince = null;
    if (asked || daemon === null || known === undefined || daemon.startedAt >= since) return;
    this.checked['S17 settings were written again'] += 1;
    if (JSON.stringify(config) !== JSON.stringify(known))
      this.fail(
        'S17',
        `${by} changes the settings, and nobody has asked for it: from ${JSON.stringify(known)} to ${JSON.stringify(config)}`,
      );
  }

  /** A daemon has read the settings; null: it could not, and goes by the last, or by those that the cluster began with. */
  wasTold(name: string, read: Json | null): void {
    if (read !== null) this.lastRead.set(name, read);
    const known = this.told.get(name) ?? { config: {}, since: new Map<string, number>() };
    const config = read ?? (this.told.has(name) ? known.config : (this.plan.config ?? {}));
    for (const setting of new Set([...Object.keys(config), ...Object.keys(known.config)]))
      if (config[setting] !== known.config[setting]) known.since.set(setting, this.now());
    known.config = config;
    this.told.set(name, known);
  }

  /** A new process knows nothing, and one that was stopped goes on with what it was at. */
  woke(name: string): void {
    this.told.delete(name);
  }

  /** A process has started: what the one before it had read is not known to it. */
  started(name: string): void {
    this.lastRead.delete(name);
  }

  etcdReplaced(): void {
    this.replacedAt = this.now();
    if (this.clusterId !== null && this.etcd.keyNow(KEYS.initialize)?.value !== this.clusterId)
      this.forgottenAt ??= this.replacedAt;
    else this.forgottenAt = null;
    if (this.clusterId !== null && this.actors.some((one) => one.on && one.server.data === null))
      this.checked['S9 no new cluster over old data'] += 1;
    this.keyGone();
  }

  failedOverByHand(): void {
    this.byHandUntil = this.now() + BY_HAND_MS;
  }

  /** Nobody has found together again after etcd was emptied or restored. */
  private replaced(): boolean {
    return Math.abs(this.now() - this.replacedAt) < REPLACED_MS;
  }

  private byHand(): boolean {
    return this.now() < this.byHandUntil;
  }

  /** By the smallest `maximum_lag_on_failover` of the plan it could take over. */
  isNearEnough(name: string): boolean {
    const entry = this.etcd.keyNow(KEYS.status);
    const published = entry === null ? 0 : Number(readStatusKey(entry).optime ?? 0n);
    return published - this.actor(name).server.end <= this.leastLag;
  }

  keyGone(): void {
    if (this.lastHolder !== null) this.heldUntil.set(this.lastHolder, this.now());
  }

  statusWritten(): void {
    this.statusAt = this.now();
    this.ledOnce = true;
  }

  /** Somebody may be there between two looks only. */
  answered(to: string, by: string): void {
    this.answers.set(`${to} ${by}`, this.now());
  }

  validated(name: string, approved: boolean): void {
    if (approved) this.approvedAt.set(name, this.now());
  }

  /** Who could hear whom. Called now and then. */
  look(): void {
    const now = this.now();
    const nobodyLeads = this.etcd.keyNow(KEYS.leader) === null;
    for (const one of this.actors) {
      const down = one.on && one.server.processes.kind === 'none';
      if ((down || nobodyLeads) && this.knows(one.name, 'pause', true))
        this.checked['S12 in maintenance something was to be done'] += 1;
      const situation = one.daemon()?.control.published().decision.situation ?? '';
      if (DECIDES.has(situation) && one.daemon()?.process.paused === false && this.knows(one.name, 'pause', true))
        this.fail('S12', `${one.name} decides as ever (${situation}), and the cluster is in maintenance`);
      if (this.isForeign(one) && one.daemon() !== null) this.checked['S9 data of another cluster'] += 1;
      if (nobodyLeads && this.knows(one.name, 'failover', 'manual'))
        this.checked['S12 failover is manual and nobody leads'] += 1;
      for (const other of this.actors) {
        if (one === other) continue;
        const pair = `${one.name} ${other.name}`;
        if (this.hears(one.name, other)) this.heard.set(pair, now);
        if (!this.hasKnown(other) || !this.network.connects('daemon-daemon', one.name, other.name))
          this.couldTell.delete(pair);
        else if (!this.couldTell.has(pair)) this.couldTell.set(pair, now);
      }
    }
  }

  /** The scope was given a cluster: S9, never another one than it had. */
  named(by: string, value: string): void {
    if (!/^\d+$/.test(value)) return;
    // A daemon that was started on an emptied etcd, or was cut off until then, knows nothing of what was there.
    const since = Math.min(...(this.told.get(by)?.since.values() ?? []));
    if (this.clusterId !== null) this.checked['S9 the scope keeps its cluster'] += 1;
    // Given away before his key stood there again.
    const takesBack = value === this.clusterBefore && this.etcd.keyNow(KEYS.leader)?.value === by;
    if (takesBack) this.clusterId = value;
    if (
      this.clusterId !== null &&
      value !== this.clusterId &&
      since < (this.forgottenAt ?? this.replacedAt) - JUST_NOW_MS
    )
      this.fail('S9', `${by} makes the scope that of ${value}, and it was that of ${this.clusterId}`);
    if (this.clusterId !== null && value !== this.clusterId)
      for (const { name } of this.actors) {
        const known = this.couldTell.get(`${by} ${name}`);
        if (known !== undefined && this.now() - known > MADE_MS)
          this.fail(
            'S9',
            `${by} makes the scope that of ${value}, and ${name} knows that it was that of ${this.clusterId}`,
          );
      }
    if (value !== this.clusterId) this.clusterBefore = this.clusterId;
    this.clusterId = value;
    this.forgottenAt = null;
  }

  /** A member whose daemon has read, before etcd forgot it, which cluster this scope is. */
  private hasKnown(actor: Actor): boolean {
    const daemon = actor.daemon();
    if (daemon === null || daemon.process.paused || this.forgottenAt === null) return false;
    if (daemon.startedAt >= this.forgottenAt - JUST_NOW_MS || !this.lastRead.has(actor.name)) return false;
    return this.etcd.keyNow(KEYS.member(actor.name)) !== null;
  }

  // ---- judging -----------------------------------------------------------------------------------------------

  /** The daemon of `name` has been told for a while that this setting has this value, and it still has. */
  private knows(name: string, setting: string, value: unknown): boolean {
    const known = this.told.get(name);
    if (known === undefined || this.config[setting] !== value || known.config[setting] !== value) return false;
    return this.now() - (known.since.get(setting) ?? 0) > UNDER_WAY_MS;
  }

  private actor(name: string): Actor {
    const found = this.actors.find((one) => one.name === name);
    if (found === undefined) throw new Error(`no node ${name}`);
    return found;
  }

  /** Whose last deed was to stop its Postgres, and not in maintenance; when, where that was to hand over. */
  private readonly stoppedBefore = new Map<string, number>();

  private isForeign({ server: { data } }: Actor): boolean {
    return data !== null && this.clusterId !== null && data.systemId !== this.clusterId;
  }

  private wasAsked(name: string): boolean {
    const at = this.askedOf(name);
    return at !== undefined && this.now() - at < REQUEST_MS;
  }

  /** In maintenance too an operator may ask for another leader; nothing is undone or copied for that. */
  private handsOver(deed: Deed): boolean {
    const at = this.handoverAsked();
    return HAND_OVER.has(deed) && at !== null && this.now() - at < REQUEST_MS;
  }

  /**
   * The last word that others have of it says for how long it may write, and that time is over: maintenance began while
   * it could not say so any more, and never two writers comes first.
   */
  private isBound(name: string): boolean {
    const entry = this.etcd.keyNow(KEYS.status);
    const hold = entry === null ? null : (readStatusKey(entry).beat?.holdMs ?? null);
    return hold !== null && this.lastHolder === name && this.actor(name).server.acceptsWrites();
  }

  does(name: string, deed: Deed, source: string | null, toHandOver = false): void {
    const asked = this.wasAsked(name);
    // S12: in maintenance nothing is promoted, stopped or rebuilt, unless an operator asks for it.
    const bound = deed === 'stop' && this.isBound(name);
    const paused = this.knows(name, 'pause', true);
    // What its own daemon stopped before maintenance, to hand over, comes back: as the primary where nobody has taken over.
    const stopped = this.stoppedBefore.get(name);
    const isReplaced = stopped !== undefined && this.replacedAt >= stopped && Number.isFinite(this.replacedAt);
    const isLately = stopped !== undefined && this.now() - stopped < STOPS_MS && !isReplaced;
    const leads = isLately && this.etcd.keyNow(KEYS.leader)?.value === name;
    const comesBack =
      stopped !== undefined && (deed === 'start as a standby' || (deed === 'start as a primary' && leads));
    if (paused && !asked && !bound && !comesBack && !this.handsOver(deed))
      this.fail('S12', `${name} does '${deed}' in maintenance`);
    if (deed === 'stop' && !paused) this.stoppedBefore.set(name, toHandOver ? this.now() : Number.NEGATIVE_INFINITY);
    else this.stoppedBefore.delete(name);
    if (deed === 'promote' && this.knows(name, 'pause', true)) this.protectPrimary(name);
    this.protectData(name, deed, source, asked);
    this.protectBrought(name, deed);
  }

  /** S12: in maintenance nobody stops the last primary, so nobody is put beside it while somebody is seen to stream from it. */
  private protectPrimary(name: string): void {
    this.checked['S12 a promotion in maintenance'] += 1;
    for (const { name: other, server } of this.actors) {
      if (other === name || !server.acceptsWrites()) continue;
      const long = (one: Actor): boolean =>
        one.server.receiver?.from === server && this.now() - one.server.receiver.began > STREAMS_MS;
      const witness = this.actors.find(
        (one) => one.daemon()?.process.paused === false && long(one) && this.hears(name, one),
      );
      if (witness !== undefined)
        this.fail('S12', `${name} is promoted in maintenance beside ${other}, from which ${witness.name} streams`);
    }
  }

  /**
   * S9: a server that runs and is to be taken over is not stopped before another cluster has the scope. Excused is one
   * who took the key for it and was given no proof for half a TTL: its standbys could follow him, and never two writers
   * comes first. And one whose service is stopped, once the scope may have its name: a standby of it could be elected.
   */
  private protectBrought(name: string, deed: Deed): void {
    const { brought } = this.plan;
    if (deed !== 'stop' || brought?.as !== 'running primary' || brought.node !== name || this.ledOnce) return;
    const actor = this.actor(name);
    const { server } = actor;
    const unnamed = this.clusterId === null && this.etcd.leaderNow() !== null;
    if (actor.daemon()?.askedToStop === true && !unnamed) return;
    if (this.lastHolder === name && this.now() - this.takenAt > this.plan.settings.ttlMs / 2) return;
    if (server.acceptsWrites() && (this.clusterId ?? server.data?.systemId) === server.data?.systemId)
      this.fail('S9', `${name} stops the server that is to be taken over, and no other cluster is in its scope`);
  }

  private protectData(name: string, deed: Deed, source: string | null, asked: boolean): void {
    const data = this.actor(name).server.data;
    const standbyBrought = this.plan.brought?.as === 'stopped standby';
    if (deed === 'bootstrap' && this.clusterId !== null && !standbyBrought) {
      const keeper = this.actors.find((one) => one.server.data?.systemId === this.clusterId);
      if (keeper !== undefined)
        this.fail('S9', `${name} makes a new cluster, and the data of the old one are on ${keeper.name}`);
    }
    if (deed === 'start as a primary' && this.isForeign(this.actor(name)))
      this.fail('S9', `${name} starts another cluster's data as the primary`);
    if (deed !== 'copy' && deed !== 'rewind' && deed !== 'wipe') return;
    if (this.isForeign(this.actor(name)) && !asked)
      this.fail('S9', `${name} does '${deed}' to the data of another cluster`);
    if (source === name) this.fail('S7', `${name} does '${deed}' from itself`);
    if (source !== null && !this.replaced()) this.checked['S7 the source leads'] += 1;
    const holders = this.actors.filter((one) => this.heldJustNow(one.name));
    if (source !== null && !this.replaced() && !holders.some((one) => one.name === source))
      this.fail('S7', `${name} does '${deed}' from ${source}, which is not the leader`);
    // What goes here has to be somewhere else: on whoever leads.
    const keepers = holders.filter((one) => one.name !== name && one.server.data !== null);
    if (deed !== 'copy' && data !== null && !asked) this.protectLongWork(name, deed, data, keepers);
    if (deed === 'copy' || data === null || this.replaced()) return;
    this.checked['S7 somebody keeps the data'] += 1;
    if (keepers.length === 0) this.fail('S7', `${name} does '${deed}', and nobody who leads has the data`);
    // ... and not an earlier part of them: who leads on a line that ended before ours has less than we. Not he who led
    // until a moment ago, where the one after him has it all.
    const less = ({ server }: Actor): boolean => server.data !== null && endsBefore(server.data, data);
    if (!this.byHand() && keepers.length > 0 && keepers.every(less)) {
      const names = keepers.map((one) => one.name).join(' and ');
      this.fail('S7', `${name} does '${deed}', and ${names}, which leads, has only a part of its data`);
    }
  }

  /** S7: no failover loses so much, so whoever leads began with older data, and an operator has to say which are right. */
  private protectLongWork(name: string, deed: Deed, data: DataDirectory, keepers: readonly Actor[]): void {
    const kept = new Set(keepers.flatMap((one) => one.server.data?.wal ?? []));
    const alone = data.wal.filter((entry) => !kept.has(entry));
    const bytes = (alone.at(-1)?.end ?? 0) - (alone[0]?.start ?? 0);
    const commits = alone.filter(({ token }) => token !== null);
    const span = (commits.at(-1)?.at ?? 0) - (commits[0]?.at ?? 0);
    if (bytes > this.allowedLoss && span > this.longestLoss)
      this.fail(
        'S7',
        `${name} does '${deed}', and undoes commits of ${Math.round(span / 1_000)} s that nobody has who leads`,
      );
  }

  private heldJustNow(name: string): boolean {
    if (this.etcd.keyNow(KEYS.leader)?.value === name) return true;
    return this.now() - (this.heldUntil.get(name) ?? Number.NEGATIVE_INFINITY) < JUST_NOW_MS;
  }

  /**
   * Somebody has taken the key. S12: not against what operators have settled.
   *
   * @param before - `status` as it was
   */
  keyTaken(name: string, before: KeyValue | null): void {
    const { server } = this.actor(name);
    // Whose key went with the etcd that held it, of him not everybody has heard.
    const isForgotten = this.takenAt < this.replacedAt && this.replacedAt <= this.now();
    const former = isForgotten ? null : this.lastHolder;
    this.lastHolder = name;
    this.takenAt = this.now();
    const wish = this.etcd.keyNow(KEYS.failover)?.value ?? '{}';
    const isStandby = server.processes.kind === 'running' && server.processes.recovery;
    // Who runs as a primary, or made the cluster, is no candidate of an election.
    if (before === null || !isStandby || this.byHand() || !/^\s*(\{\s*\})?\s*$/.test(wish)) return;
    const status = readStatusKey(before);
    const released = status.beat?.release != null;
    const member = this.plan.members?.[name];
    const ordered = status.beat?.release?.asked === true && status.beat.release.candidate === name;
    if (ordered) return;
    if (member?.validation !== undefined) this.checked['S12 the validation command was asked'] += 1;
    const approvedAt = this.approvedAt.get(name) ?? Number.NEGATIVE_INFINITY;
    // By its own clock, which may have stood still since.
    const { clock } = this.actor(name);
    const age = this.now() - approvedAt - (clock.resumedAt > approvedAt ? clock.stoodStillFor : 0);
    if (member?.validation !== undefined && age > APPROVED_MS)
      this.fail('S12', `${name} takes the key, and its failover_validation_command has not agreed`);
    if (this.knows(name, 'failover', 'manual') && !released)
      this.fail('S12', `${name} takes the key by itself although failover is manual`);
    // Who led last, in maintenance, and goes on compares no positions.
    if (released || (status.beat?.holdMs === null && status.leader === name)) return;
    // Whose location it is stands in `status`, which somebody may have garbled.
    if (status.beat !== null) this.checkLocation(name, former);
    // An election begins when the last hold has run out, whether the key is gone by then or still stands.
    const began = this.statusAt + (status.beat?.holdMs ?? this.plan.settings.ttlMs);
    if (this.knows(name, 'standby_disconnect_on_failover', true))
      this.checkReceivers(name, began, Number(status.optime ?? 0n));
  }

  private locationOf(name: string): string {
    return this.plan.members?.[name]?.location ?? 'default';
  }

  private checkLocation(name: string, former: string | null): void {
    if (!this.knows(name, 'location_policy', 'strict')) return;
    if (former === null || former === name || this.locationOf(former) === this.locationOf(name)) return;
    const theirs = this.actors.filter((one) => this.locationOf(one.name) === this.locationOf(former));
    this.checked['S12 another location takes over'] += 1;
    // Somebody who came back a moment ago may have been heard before the last look at who hears whom, or between two.
    const lately = (when: ReadonlyMap<string, number>, one: Actor): boolean =>
      this.now() - (when.get(`${name} ${one.name}`) ?? -Infinity) < HEARD_MS;
    const heard = theirs.some((one) => this.hears(name, one) || lately(this.heard, one) || lately(this.answers, one));
    if (!heard)
      this.fail(
        'S12',
        `${name} takes the key from ${former}, of whose location nobody can be seen (location_policy strict)`,
      );
  }

  private hears(name: string, other: Actor): boolean {
    const there = other.on && other.daemon()?.process.paused === false;
    return there && this.network.connects('daemon-daemon', name, other.name);
  }

  /** Positions were final when they were compared: nobody received, and the taker is not even set up to. */
  private checkReceivers(name: string, began: number, published: number): void {
    const timeout = 1_000 * Number(this.config['sibling_nodes_disconnect_timeout'] ?? 30);
    const now = this.now();
    if (now - began > timeout - 1_000) return;
    this.checked['S12 receivers have ended'] += 1;
    const { receiver: own, data } = this.actor(name).server;
    if (own !== null || data?.upstream != null)
      this.fail('S12', `${name} takes the key and has not ended its receiver (standby_disconnect_on_failover)`);
    for (const other of this.actors) {
      const { receiver } = other.server;
      const heard = now - (this.answers.get(`${name} ${other.name}`) ?? -Infinity) < 600;
      if (other.name === name || receiver === null || !heard || other.daemon() === null) continue;
      // What it says as it wakes was asked before, and comes too late.
      if (now - other.clock.resumedAt < ANSWER_MS) continue;
      // Without etcd it takes no part.
      if (this.etcd.keyNow(`members/${other.name}`) === null) continue;
      // It may have come up since it was asked.
      if (receiver.from.name === name || now - receiver.began < ANSWER_MS) continue;
      // One that lags too far to lead goes on receiving.
      if (published - other.server.end > this.leastLag) continue;
      this.fail('S12', `${name} takes the key while ${other.name} still receives (standby_disconnect_on_failover)`);
    }
  }

  /**
   * S5: what a failover loses is no more than is allowed, counted from the last position that was published; and what it
   * costs is said.
   *
   * @param lost - how many acknowledged writes were there before and are not here
   * @param end - where the last of them ends
   */
  promoted(name: string, { lost, end }: { readonly lost: number; readonly end: number }): void {
    this.toBeSaid = { name, lost, end };
    const branch = this.actor(name).server.data?.branch ?? null;
    const before = this.lastLine;
    this.lastLine = branch;
    const entry = this.etcd.keyNow(KEYS.status);
    if (branch === null || before === null || entry === null || this.byHand() || this.replaced()) return;
    this.checked['S5 how much a promotion loses'] += 1;
    const published = Number(readStatusKey(entry).optime ?? 0n);
    const gone = published - meetingPoint(branch, before);
    if (gone > this.allowedLoss)
      this.fail('S5', `${name} is promoted ${gone} bytes before what was published; ${this.allowedLoss} are allowed`);
  }

  /** A daemon says what its promotion has cost, or may have. */
  said(name: string, facts: Json): void {
    const { toBeSaid } = this;
    if (toBeSaid === null || toBeSaid.name !== name || typeof facts['lost'] !== 'string') return;
    this.toBeSaid = null;
    const { lost, end } = toBeSaid;
    // Who led before etcd was emptied, and how far, may be known to nobody.
    if (lost === 0 || this.replaced()) return;
    this.checked['S5 what is said of a promotion'] += 1;
    const upTo = typeof facts['to'] === 'string' ? Number(parseLsn(facts['to'])) : 0;
    if (facts['lost'] === 'nothing')
      this.fail('S5', `${name} says that nothing is lost, and ${lost} acknowledged writes are`);
    else if (facts['lost'] === 'range' && facts['open_ended'] !== true && upTo < end)
      this.fail(
        'S5',
        `${name} says that no more is lost than up to ${facts['to']}, and a write that ends at ${end} is`,
      );
  }

  /** The promotion is told as done, in the same breath as what it cost. */
  saidToBeDone(name: string): void {
    const { toBeSaid } = this;
    if (toBeSaid?.name !== name || toBeSaid.lost === 0 || this.replaced()) return;
    this.fail('S5', `${name} has lost ${toBeSaid.lost} acknowledged writes by its promotion and says nothing of it`);
  }
}

/** All that `one` has is in `other`, which goes on beyond it. */
function endsBefore(one: DataDirectory, other: DataDirectory): boolean {
  if (one.branch === other.branch) return endOf(one.wal) < endOf(other.wal);
  for (let at = other.branch; at.parent !== null; at = at.parent)
    if (at.parent === one.branch) return endOf(one.wal) <= at.switchedAt;
  return false;
}

/** Where the line of `branch` left the line that leads to `other`. */
function meetingPoint(branch: Branch, other: Branch): number {
  const line = new Map<Branch, number>();
  for (let [at, end]: [Branch | null, number] = [other, Number.POSITIVE_INFINITY]; at !== null; ) {
    line.set(at, end);
    [at, end] = [at.parent, at.switchedAt];
  }
  for (let [at, end]: [Branch | null, number] = [branch, Number.POSITIVE_INFINITY]; at !== null; ) {
    const theirs = line.get(at);
    if (theirs !== undefined) return Math.min(end, theirs);
    [at, end] = [at.parent, at.switchedAt];
  }
  return 0;
}
