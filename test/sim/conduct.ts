/**
 * What pgha does to data and against whose word: S5 (how much a failover loses), S7 (no only copy is written over), S9
 * (foreign data and empty scopes), S12 (maintenance, and what else operators have settled). Judged when it is done, by
 * the true state of the world.
 */
import { KEYS, readStatusKey } from '../../src/core/cluster.ts';
import type { KeyValue } from '../../src/core/store.ts';
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
  daemon(): { readonly startedAt: number; readonly process: { readonly paused: boolean } } | null;
}

/** A leader may have lost the key a moment before somebody acts on what he has read. */
const JUST_NOW_MS = 5_000;
/** What somebody has answered counts for so long. */
const ANSWER_MS = 2_500;
/** What an election has heard may be that old. */
const HEARD_MS = 4_000;
/** What an operator has asked for takes its time. */
const REQUEST_MS = 120_000;
const APPROVED_MS = 13_000;
/** What was begun before its daemon was told otherwise goes on for so long. */
const UNDER_WAY_MS = 5_000;
const DEFAULT_LAG = 1_048_576;

export class Conduct {
  /** Somebody has led under this scope. */
  private ledOnce = false;
  private readonly plan: Plan;
  private readonly actors: readonly Actor[];
  private readonly etcd: EtcdModel;
  private readonly network: Network;
  private readonly now: () => number;
  private readonly askedOf: (name: string) => number | undefined;
  private readonly fail: (invariant: string, sentence: string) => void;
  private readonly allowedLoss: number;
  /** What etcd says of the settings. */
  private config: Json = {};
  /** What each daemon was last told of them, and since when it has been told so. */
  private readonly told = new Map<string, { config: Json; readonly since: Map<string, number> }>();
  private clusterId: string | null = null;
  private replaced = false;
  private byHand = false;
  private replacedAt = Number.POSITIVE_INFINITY;
  private lastHolder: string | null = null;
  private readonly heldUntil = new Map<string, number>();
  private readonly approvedAt = new Map<string, number>();
  private readonly heard = new Map<string, number>();
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
    readonly fail: (invariant: string, sentence: string) => void;
  }) {
    this.plan = parts.plan;
    this.actors = parts.actors;
    this.etcd = parts.etcd;
    this.network = parts.network;
    this.now = parts.now;
    this.askedOf = parts.askedOf;
    this.fail = parts.fail;
    const { plan } = this;
    const patches = plan.faults.map(({ fault }) => (fault.kind === 'settings' ? fault.patch : {}));
    const lags = [plan.config ?? {}, ...patches].map((config) =>
      Number(config['maximum_lag_on_failover'] ?? DEFAULT_LAG),
    );
    this.allowedLoss = Math.max(...lags);
  }

  // ---- what the world tells ----------------------------------------------------------------------------------

  settings(config: Json): void {
    this.config = config;
  }

  /** A daemon has read the settings. */
  wasTold(name: string, config: Json): void {
    const known = this.told.get(name) ?? { config: {}, since: new Map<string, number>() };
    for (const setting of new Set([...Object.keys(config), ...Object.keys(known.config)]))
      if (config[setting] !== known.config[setting]) known.since.set(setting, this.now());
    known.config = config;
    this.told.set(name, known);
  }

  /** A new process knows nothing, and one that was stopped goes on with what it was at. */
  woke(name: string): void {
    this.told.delete(name);
  }

  etcdReplaced(): void {
    this.replaced = true;
    this.replacedAt = this.now();
    this.keyGone();
  }

  failedOverByHand(): void {
    this.byHand = true;
  }

  keyGone(): void {
    if (this.lastHolder !== null) this.heldUntil.set(this.lastHolder, this.now());
  }

  statusWritten(): void {
    this.statusAt = this.now();
  }

  validated(name: string, approved: boolean): void {
    if (approved) this.approvedAt.set(name, this.now());
  }

  /** Who could hear whom. Called now and then. */
  look(): void {
    const now = this.now();
    for (const one of this.actors) {
      for (const other of this.actors) {
        const there = other.on && other.daemon()?.process.paused === false;
        if (one !== other && there && this.network.connects('daemon-daemon', one.name, other.name))
          this.heard.set(`${one.name} ${other.name}`, now);
      }
    }
  }

  /** The scope was given a cluster: S9, never another one than it had. */
  named(by: string, value: string): void {
    if (!/^\d+$/.test(value)) return;
    // A daemon that was started on an emptied etcd knows nothing of what was there.
    const startedAt = this.actor(by).daemon()?.startedAt ?? Number.POSITIVE_INFINITY;
    if (this.clusterId !== null && value !== this.clusterId && startedAt < this.replacedAt - JUST_NOW_MS)
      this.fail('S9', `${by} makes the scope that of ${value}, and it was that of ${this.clusterId}`);
    this.clusterId = value;
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

  private wasAsked(name: string): boolean {
    const at = this.askedOf(name);
    return at !== undefined && this.now() - at < REQUEST_MS;
  }

  does(name: string, deed: Deed, source: string | null): void {
    const asked = this.wasAsked(name);
    // S12: in maintenance nothing is promoted, stopped or rebuilt, unless an operator asks for it.
    if (this.knows(name, 'pause', true) && !asked) this.fail('S12', `${name} does '${deed}' in maintenance`);
    this.protectData(name, deed, source, asked);
    this.protectBrought(name, deed);
  }

  /** S9: a server that runs and is to be taken over is not stopped before another cluster has the scope. */
  private protectBrought(name: string, deed: Deed): void {
    const { brought } = this.plan;
    if (deed !== 'stop' || brought?.as !== 'running primary' || brought.node !== name || this.ledOnce) return;
    this.ledOnce ||= this.etcd.keyNow(KEYS.status) !== null;
    const { server } = this.actor(name);
    if (!this.ledOnce && server.acceptsWrites() && (this.clusterId ?? server.data?.systemId) === server.data?.systemId)
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
    if (deed !== 'copy' && deed !== 'rewind' && deed !== 'wipe') return;
    if (data !== null && this.clusterId !== null && data.systemId !== this.clusterId && !asked)
      this.fail('S9', `${name} does '${deed}' to the data of another cluster`);
    if (source === name) this.fail('S7', `${name} does '${deed}' from itself`);
    const holders = this.actors.filter((one) => this.heldJustNow(one.name));
    if (source !== null && !this.replaced && !holders.some((one) => one.name === source))
      this.fail('S7', `${name} does '${deed}' from ${source}, which is not the leader`);
    // What goes here has to be somewhere else: on whoever leads.
    const keepers = holders.filter((one) => one.name !== name && one.server.data !== null);
    if (deed === 'copy' || data === null || this.replaced) return;
    if (keepers.length === 0) this.fail('S7', `${name} does '${deed}', and nobody who leads has the data`);
    // ... and not an earlier part of them: who leads on a line that ended before ours has less than we. Not he who led
    // until a moment ago, where the one after him has it all.
    const less = ({ server }: Actor): boolean => server.data !== null && endsBefore(server.data, data);
    if (!this.byHand && keepers.length > 0 && keepers.every(less)) {
      const names = keepers.map((one) => one.name).join(' and ');
      this.fail('S7', `${name} does '${deed}', and ${names}, which leads, has only a part of its data`);
    }
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
    const former = this.lastHolder;
    this.lastHolder = name;
    const wish = this.etcd.keyNow(KEYS.failover)?.value ?? '{}';
    const isStandby = server.processes.kind === 'running' && server.processes.recovery;
    // Who runs as a primary, or made the cluster, is no candidate of an election.
    if (before === null || !isStandby || this.byHand || !/^\s*(\{\s*\})?\s*$/.test(wish)) return;
    const status = readStatusKey(before);
    const released = status.beat?.release != null;
    const member = this.plan.members?.[name];
    const ordered = status.beat?.release?.asked === true && status.beat.release.candidate === name;
    if (ordered) return;
    if (member?.validation !== undefined && this.now() - (this.approvedAt.get(name) ?? -Infinity) > APPROVED_MS)
      this.fail('S12', `${name} takes the key, and its failover_validation_command has not agreed`);
    if (this.knows(name, 'failover', 'manual') && !released)
      this.fail('S12', `${name} takes the key by itself although failover is manual`);
    if (released) return;
    this.checkLocation(name, former);
    // An election begins when the last hold has run out, whether the key is gone by then or still stands.
    const began = this.statusAt + (status.beat?.holdMs ?? this.plan.settings.ttlMs);
    if (this.knows(name, 'standby_disconnect_on_failover', true)) this.checkReceivers(name, began);
  }

  private locationOf(name: string): string {
    return this.plan.members?.[name]?.location ?? 'default';
  }

  private checkLocation(name: string, former: string | null): void {
    if (!this.knows(name, 'location_policy', 'strict')) return;
    if (former === null || former === name || this.locationOf(former) === this.locationOf(name)) return;
    const theirs = this.plan.nodes.filter((one) => this.locationOf(one) === this.locationOf(former));
    const heard = theirs.some((one) => this.now() - (this.heard.get(`${name} ${one}`) ?? -Infinity) < HEARD_MS);
    if (!heard)
      this.fail(
        'S12',
        `${name} takes the key from ${former}, of whose location nobody can be seen (location_policy strict)`,
      );
  }

  /** Positions were final when they were compared: nobody received, and the taker is not even set up to. */
  private checkReceivers(name: string, began: number): void {
    const timeout = 1_000 * Number(this.config['sibling_nodes_disconnect_timeout'] ?? 30);
    const now = this.now();
    if (now - began > timeout - 1_000) return;
    const { receiver: own, data } = this.actor(name).server;
    if (own !== null || data?.upstream != null)
      this.fail('S12', `${name} takes the key and has not ended its receiver (standby_disconnect_on_failover)`);
    for (const other of this.actors) {
      const { receiver } = other.server;
      const heard = now - (this.heard.get(`${name} ${other.name}`) ?? -Infinity) < 600;
      if (other.name === name || receiver === null || !heard || other.daemon() === null) continue;
      // It may have come up since it was asked.
      if (receiver.from.name === name || now - receiver.began < ANSWER_MS) continue;
      this.fail('S12', `${name} takes the key while ${other.name} still receives (standby_disconnect_on_failover)`);
    }
  }

  /** S5: what a failover loses is no more than is allowed, counted from the last position that was published. */
  promoted(name: string): void {
    const branch = this.actor(name).server.data?.branch ?? null;
    const before = this.lastLine;
    this.lastLine = branch;
    const entry = this.etcd.keyNow(KEYS.status);
    if (branch === null || before === null || entry === null || this.byHand || this.replaced) return;
    const published = Number(readStatusKey(entry).optime ?? 0n);
    const lost = published - meetingPoint(branch, before);
    if (lost > this.allowedLoss)
      this.fail('S5', `${name} is promoted ${lost} bytes before what was published; ${this.allowedLoss} are allowed`);
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
