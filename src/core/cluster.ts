/**
 * What the keys of one cluster say, read tolerantly and written exactly: Patroni's layout and JSON
 * (docs/etcd-keys.md), plus a `pgha` object in members and in `status`. Garbage in a key is never fatal: it is listed
 * in `notUnderstood`, and the key, or the part of it, counts as if it said nothing.
 */
import { LONGEST_TTL_SECONDS } from './lease.ts';
import { type Lsn, lsn, parseLsn, printLsn, type Timeline, timeline } from './lsn.ts';
import { isNestedTooDeep } from './nesting.ts';
import { type PoolerPause, readPoolerPause } from './poolers.ts';
import type { SyncKey } from './quorum.ts';
import type { Header, Key, KeyValue, LeaseId, NodeName, Revision } from './store.ts';
import { nodeName, revision } from './store.ts';
import type { TimelineHistory } from './timeline.ts';

export const KEYS = {
  leader: 'leader',
  status: 'status',
  initialize: 'initialize',
  config: 'config',
  failover: 'failover',
  sync: 'sync',
  history: 'history',
  failsafe: 'failsafe',
  member: (name: string): Key => `members/${name}`,
  membersPrefix: 'members/',
  lastTakeover: 'pgha/last_takeover',
  poolers: 'pgha/poolers',
} as const;

/** Our own facts of a member; absent in a member that runs Patroni. */
export interface MemberExtras {
  readonly version: string;
  readonly nodeId: number | null;
  readonly priority: number;
  readonly location: string;
  /** Milliseconds since this member last saw its primary alive, at the time of writing; null: never. */
  readonly sawPrimary: number | null;
  readonly guard: 'on' | 'off';
  readonly role: 'node' | 'witness';
  /** The member it was told to stream from; null: the leader. */
  readonly upstream: NodeName | null;
  /** The member whose server it receives from now; null: from none that is known. */
  readonly receivesFrom: NodeName | null;
  /** For the operator's scripts; null: a witness, or it does not say. */
  readonly dataDirectory: string | null;
  /** What is wrong with its running Postgres, in a word or two, for people; absent: nothing. */
  readonly trouble?: string;
  /** How far something long has come, for people: `copy 35 %`; absent: nothing is under way, or nobody knows. */
  readonly progress?: string;
  /** The virtual address that it has; absent: it has none. */
  readonly vip?: string;
}

export interface Member {
  readonly name: NodeName;
  readonly lease: LeaseId | null;
  readonly apiUrl: string | null;
  readonly connUrl: string | null;
  /** host and port of `connUrl`. */
  readonly host: string | null;
  readonly port: number | null;
  readonly state: string;
  readonly role: string;
  readonly version: string | null;
  readonly timeline: Timeline | null;
  readonly xlogLocation: Lsn | null;
  readonly receiveLsn: Lsn | null;
  readonly replayLsn: Lsn | null;
  readonly replicationState: string | null;
  /** false until the leader has done its first checkpoint after a promotion; true when the field is absent. */
  readonly checkpointed: boolean;
  readonly pendingRestart: boolean;
  readonly pause: boolean;
  readonly tags: Readonly<Record<string, unknown>>;
  readonly pgha: MemberExtras | null;
  /** The whole JSON object, for those who show fields that nobody here knows. */
  readonly raw: Readonly<Record<string, unknown>>;
}

export interface LeaderKey {
  readonly name: NodeName;
  /** mod_revision of the key: this leadership (protocol.md 1). */
  readonly term: Revision;
  readonly lease: LeaseId | null;
}

/** The `pgha` object in `status`: a beat, or a release record. */
export interface Beat {
  readonly term: Revision;
  readonly seq: number;
  /** After this version was seen, nobody may promote for so long; null: pause mode, no time opens the gate. */
  readonly holdMs: number | null;
  readonly release: Release | null;
}

export interface Release {
  readonly lsn: Lsn;
  readonly candidate: NodeName | null;
  /** An operator had asked for another leader. */
  readonly asked?: boolean;
  /** Its writer was never promoted: where the WAL of the leader before it ended is not known. */
  readonly unpromoted?: boolean;
}

export interface Status {
  readonly revision: Revision;
  readonly optime: Lsn | null;
  readonly slots: ReadonlyMap<string, Lsn>;
  readonly retainSlots: readonly string[];
  /** null: Patroni wrote it, or nobody who keeps our rules. */
  readonly beat: Beat | null;
  /** It does not even try to be a beat: Patroni wrote it. */
  readonly beatless?: true;
  /** Its writer: who led last, also for those who have missed it. null: it does not say. */
  readonly leader: NodeName | null;
  /** Where its writer stands: still to be read here when his member key has run out. null: it does not say. */
  readonly location: string | null;
  /** Its writer had the key and was not promoted: `optime` is what the leader before him has published. */
  readonly unpromoted?: boolean;
  /** Its writer leads a standby cluster: nobody is promoted before the settings are read and say otherwise. */
  readonly standbyCluster?: boolean;
}

/** The `failover` key: an operator's wish. */
export interface FailoverRequest {
  readonly revision: Revision;
  readonly leader: NodeName | null;
  readonly candidate: NodeName | null;
  readonly scheduledAt: string | null;
  /** The operator answers for commits that the candidate may lack. */
  readonly forced?: boolean;
}

/** The `sync` key. */
export interface SyncState {
  readonly revision: Revision;
  /** null: it names no leader, or cannot be read. */
  readonly key: SyncKey | null;
  /** It says something, and nobody understands what: who holds every commit is not known. */
  readonly garbled: boolean;
}

export interface HistoryLine {
  readonly timeline: Timeline;
  readonly lsn: Lsn;
  readonly reason: string;
  readonly when: string | null;
  readonly newLeader: string | null;
}

/** The `failsafe` key: members, with their addresses, without whose word a leader does not go on while etcd is away. */
export interface FailsafeList {
  readonly members: ReadonlyMap<NodeName, string>;
  readonly revision: Revision;
}

export interface ClusterView {
  readonly clusterId: string;
  /** Revision of the store at the time of reading. */
  readonly revision: Revision;
  /** Of etcd's members when it was read: each of their elections raises it, and a restored etcd counts from the beginning. */
  readonly raftTerm: bigint;
  readonly leader: LeaderKey | null;
  /** null: the key does not exist. */
  readonly status: Status | null;
  /** null: no such key; empty text: a bootstrap is under way; else the system identifier. */
  readonly initialize: {
    readonly value: string;
    readonly revision: Revision;
    /** pgha makes a cluster under its lease, Patroni without one; once it has a name it hangs on none. */
    readonly lease: LeaseId | null;
  } | null;
  readonly config: { readonly value: Readonly<Record<string, unknown>>; readonly revision: Revision } | null;
  /** Of a `config` that nobody can read; null: it can be read, or there is none. */
  readonly garbledConfig: Revision | null;
  readonly failover: FailoverRequest | null;
  /** null: there is no such key. */
  readonly failsafe: FailsafeList | null;
  /** Who may hold every acknowledged commit; null: there is no such key. */
  readonly sync: SyncState | null;
  readonly history: readonly HistoryLine[];
  /** The decision record of the last takeover, as text: see decision-record.ts. null: there is none. */
  readonly lastTakeover: string | null;
  /** Who holds clients back in the poolers, or did last; null: nobody has, or it cannot be read. */
  readonly poolers: PoolerPause | null;
  readonly members: readonly Member[];
  readonly notUnderstood: readonly NotUnderstood[];
}

/** What stands in a key and says nothing here. */
export interface NotUnderstood {
  readonly key: Key;
  readonly why: string;
  /** What of it; absent: the key as a whole. */
  readonly part?: string;
}

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);
const nameOrNull = (value: unknown): NodeName | null =>
  typeof value === 'string' && value !== '' ? nodeName(value) : null;
const whole = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) ? value : null;
/** A position as a JSON number: beyond 2^53 it is rounded, by no more than a page of WAL. */
const bytes = (value: unknown): Lsn | null =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 64 ? lsn(value) : null;

/**
 * No leader writes a longer hold, because none is as long as the longest `ttl` that the settings take, with as much again
 * to be sure. Believed, a slip of the pen would close every gate for years.
 */
const LONGEST_HOLD_MS = 2 * LONGEST_TTL_SECONDS * 1_000;
/** Further ahead of everybody's position than this (64 TiB) no leader has ever been whose standbys still count. */
const FARTHEST_AHEAD = 2n ** 46n;
/** So many timelines beyond everybody's the cluster has not been on. */
const TIMELINES_AHEAD = 1_000;

/** Reads the keys of one cluster; `entries` is one linearizable read of all of them. */
export function readCluster(entries: readonly KeyValue[], header: Header): ClusterView {
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  const notUnderstood: NotUnderstood[] = [];

  const object = (entry: KeyValue | undefined): Json | null => {
    if (entry === undefined) return null;
    try {
      const value: unknown = JSON.parse(entry.value);
      if (isObject(value) && !isNestedTooDeep(entry.value)) return value;
      const why = isObject(value) ? 'nested too deep' : 'not a JSON object';
      notUnderstood.push({ key: entry.key, why });
    } catch {
      notUnderstood.push({ key: entry.key, why: 'not JSON' });
    }
    return null;
  };

  const leader = byKey.get(KEYS.leader);
  const initialize = byKey.get(KEYS.initialize);
  const config = byKey.get(KEYS.config);
  const configValue = object(config);
  const status = byKey.get(KEYS.status);
  const statusValue = object(status);
  const failsafe = byKey.get(KEYS.failsafe);
  const failsafeValue = object(failsafe);
  const poolers = byKey.get(KEYS.poolers);
  const poolersValue = object(poolers);
  const members: Member[] = [];
  for (const entry of entries) {
    if (!entry.key.startsWith(KEYS.membersPrefix)) continue;
    const name = entry.key.slice(KEYS.membersPrefix.length);
    // Keys further down are not members.
    if (name === '' || name.includes('/')) continue;
    members.push(readMember(nodeName(name), entry, object(entry) ?? {}));
  }
  members.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));

  return {
    clusterId: header.clusterId,
    revision: header.revision,
    raftTerm: header.raftTerm,
    leader:
      leader === undefined ? null : { name: nodeName(leader.value), term: leader.modRevision, lease: leader.lease },
    status:
      status === undefined
        ? null
        : plausible(readStatus(status.modRevision, statusValue ?? {}, notUnderstood), members, notUnderstood),
    initialize:
      initialize === undefined
        ? null
        : { value: initialize.value, revision: initialize.modRevision, lease: initialize.lease },
    config: config === undefined || configValue === null ? null : { value: configValue, revision: config.modRevision },
    garbledConfig: config === undefined || configValue !== null ? null : config.modRevision,
    failover: readFailover(byKey.get(KEYS.failover), notUnderstood),
    failsafe: failsafe === undefined ? null : { members: addresses(failsafeValue), revision: failsafe.modRevision },
    sync: readSync(byKey.get(KEYS.sync), notUnderstood),
    history: readHistory(byKey.get(KEYS.history), members, notUnderstood),
    lastTakeover: byKey.get(KEYS.lastTakeover)?.value ?? null,
    poolers: poolers === undefined || poolersValue === null ? null : readPoolerPause(poolersValue, poolers.modRevision),
    members,
    notUnderstood,
  };
}

/** `failsafe` as one key: for the answer of a transaction that read it. */
export function readFailsafeKey(entry: KeyValue): FailsafeList {
  try {
    const value: unknown = JSON.parse(entry.value);
    return { members: addresses(isObject(value) ? value : null), revision: entry.modRevision };
  } catch {
    return { members: new Map(), revision: entry.modRevision };
  }
}

function addresses(value: Json | null): ReadonlyMap<NodeName, string> {
  const members = new Map<NodeName, string>();
  for (const [name, url] of Object.entries(value ?? {})) if (name !== '') members.set(nodeName(name), text(url) ?? '');
  return members;
}

/**
 * Who leads, or led last. This node may have missed a whole leadership, of which the newest status tells; or it has seen
 * somebody take the key who was lost before his first beat, and who is in no status.
 *
 * @param seen - the last leader key that this process has read; null: it has read none
 */
export function lastLeaderOf(
  { leader, status, history }: Pick<ClusterView, 'leader' | 'status' | 'history'>,
  seen: LeaderKey | null,
): NodeName | null {
  if (leader !== null) return leader.name;
  const wrote = status?.leader ?? null;
  if (wrote !== null && (seen === null || status === null || status.revision >= seen.term)) return wrote;
  // Of a leader that runs Patroni there is only its line in the history.
  return seen?.name ?? nameOrNull(history.at(-1)?.newLeader);
}

/**
 * Where another machine answers under this name, by the member key: it hangs on a lease that is not ours, and gives an
 * address that is not ours. One that this node had a moment ago looks the same until its lease has run out.
 */
export function nameTakenBy(
  { members }: Pick<ClusterView, 'members'>,
  self: { readonly name: NodeName; readonly apiUrl: string; readonly lease: LeaseId | null },
): string | null {
  const member = members.find(({ name }) => name === self.name);
  if (member === undefined || member.lease === null || member.lease === self.lease) return null;
  return member.apiUrl === null || member.apiUrl === self.apiUrl ? null : member.apiUrl;
}

function readSync(
  entry: KeyValue | undefined,
  notUnderstood: ClusterView['notUnderstood'][number][],
): SyncState | null {
  if (entry === undefined) return null;
  const garbled = (why: string): SyncState => {
    notUnderstood.push({ key: entry.key, why });
    return { revision: entry.modRevision, key: null, garbled: true };
  };
  let value: unknown;
  try {
    value = JSON.parse(entry.value);
  } catch {
    return garbled('not JSON');
  }
  if (!isObject(value)) return garbled('not a JSON object');
  const leader = nameOrNull(value['leader']);
  // Patroni's way of saying that nobody is synchronous.
  if (leader === null) return { revision: entry.modRevision, key: null, garbled: false };
  const standbys = value['sync_standby'] ?? '';
  const quorum = value['quorum'] ?? 0;
  if (typeof standbys !== 'string') return garbled('sync_standby is not text');
  if (typeof quorum !== 'number' || !Number.isSafeInteger(quorum) || quorum < 0) return garbled('quorum is no number');
  const voters = [...new Set(standbys.split(',').map((name) => name.trim()))].filter((name) => name !== '').sort();
  return {
    revision: entry.modRevision,
    key: { leader, voters: voters.map(nodeName), quorum },
    garbled: false,
  };
}

export function writeSync(key: SyncKey): string {
  const { leader, voters, quorum } = key;
  return JSON.stringify({ leader, quorum, sync_standby: voters.length === 0 ? null : [...voters].sort().join(',') });
}

/** `status` as one key: also for the answer of a transaction that read it. */
export function readStatusKey(entry: KeyValue): Status {
  try {
    const value: unknown = JSON.parse(entry.value);
    return readStatus(entry.modRevision, isObject(value) ? value : {});
  } catch {
    return readStatus(entry.modRevision, {});
  }
}

/** A position that nobody comes near is no position: believed, it would make every candidate one that lags. */
function plausible(status: Status, members: readonly Member[], notUnderstood: NotUnderstood[]): Status {
  const known = members
    .flatMap(({ xlogLocation, receiveLsn, replayLsn }) => [xlogLocation, receiveLsn, replayLsn])
    .reduce<Lsn | null>((most, at) => (at !== null && (most === null || at > most) ? at : most), null);
  const { optime } = status;
  if (optime === null || known === null || optime - known <= FARTHEST_AHEAD) return status;
  notUnderstood.push({
    key: KEYS.status,
    part: 'optime',
    why: `${printLsn(optime)} is further than 64 TiB from all that any member has (${printLsn(known)})`,
  });
  return { ...status, optime: null };
}

/** What was found instead, short enough for a line of the log. */
const shown = (value: unknown): string => (JSON.stringify(value) ?? 'nothing').slice(0, 40);

/** @param notUnderstood - what says nothing is added here */
function readStatus(at: Revision, value: Json, notUnderstood: NotUnderstood[] = []): Status {
  const slots = new Map<string, Lsn>();
  if (isObject(value['slots'])) {
    for (const [name, at] of Object.entries(value['slots'])) {
      const position = bytes(at);
      if (position !== null) slots.set(name, position);
    }
  }
  const retain = value['retain_slots'];
  const not = (part: string, why: string): void => {
    notUnderstood.push({ key: KEYS.status, part, why });
  };
  const optime = bytes(value['optime']);
  if (optime === null && value['optime'] !== undefined) not('optime', `${shown(value['optime'])} is no position`);
  const beat = readBeat(value['pgha'], at);
  if (beat === null && value['pgha'] !== undefined) not('pgha', `${shown(value['pgha'])} is no beat`);
  return {
    revision: at,
    optime,
    slots,
    retainSlots: Array.isArray(retain) ? retain.filter((name): name is string => typeof name === 'string') : [],
    beat,
    ...(value['pgha'] === undefined && optime !== null ? { beatless: true } : {}),
    leader: isObject(value['pgha']) ? nameOrNull(value['pgha']['leader']) : null,
    location: isObject(value['pgha']) ? text(value['pgha']['location']) : null,
    ...(isObject(value['pgha']) && value['pgha']['unpromoted'] === true ? { unpromoted: true } : {}),
    ...(isObject(value['pgha']) && value['pgha']['standby_cluster'] === true ? { standbyCluster: true } : {}),
  };
}

/** @param at - the version that carries it: a beat written together with the leader key names its term by `0` */
function readBeat(value: unknown, at: Revision): Beat | null {
  if (!isObject(value)) return null;
  const term = text(value['term']);
  const seq = whole(value['seq']);
  const hold = value['hold_ms'] === null ? null : whole(value['hold_ms']);
  if (term === null || !/^\d+$/.test(term) || seq === null) return null;
  if (hold === null && value['hold_ms'] !== null) return null;
  if (hold !== null && (hold < 0 || hold > LONGEST_HOLD_MS)) return null;
  let release: Beat['release'] = null;
  const record = value['release'];
  if (isObject(record)) {
    const at = text(record['lsn']);
    if (at === null) return null;
    try {
      const candidate = text(record['candidate']);
      release = {
        lsn: parseLsn(at),
        candidate: candidate === null ? null : nodeName(candidate),
        ...(record['asked'] === true ? { asked: true } : {}),
        ...(record['unpromoted'] === true ? { unpromoted: true } : {}),
      };
    } catch {
      return null;
    }
  }
  return { term: term === '0' ? at : revision(term), seq, holdMs: hold, release };
}

/** `status` as it is written: Patroni's fields first, ours in one object. */
export function writeStatus(status: {
  readonly optime: Lsn | null;
  readonly slots: ReadonlyMap<string, Lsn>;
  readonly retainSlots: readonly string[];
  readonly leader: NodeName | null;
  readonly location: string | null;
  readonly unpromoted?: boolean;
  readonly standbyCluster?: boolean;
  readonly beat: Beat;
}): string {
  const { beat } = status;
  const { release } = beat;
  // Written with each beat: what is undefined is left out, and costs a tenth of what spreading an empty object does.
  return JSON.stringify({
    optime: status.optime === null ? undefined : Number(status.optime),
    slots:
      status.slots.size === 0
        ? undefined
        : Object.fromEntries([...status.slots].map(([name, at]) => [name, Number(at)])),
    retain_slots: status.retainSlots.length === 0 ? undefined : status.retainSlots,
    pgha: {
      term: beat.term.toString(),
      seq: beat.seq,
      hold_ms: beat.holdMs,
      leader: status.leader ?? undefined,
      location: status.location ?? undefined,
      unpromoted: status.unpromoted === true ? true : undefined,
      standby_cluster: status.standbyCluster === true ? true : undefined,
      release:
        release === null
          ? undefined
          : {
              lsn: printLsn(release.lsn),
              candidate: release.candidate,
              asked: release.asked === true ? true : undefined,
              unpromoted: release.unpromoted === true ? true : undefined,
            },
    },
  });
}

/** Patroni before 4.0 writes `master`. */
function readRole(value: unknown): string {
  const role = text(value) ?? 'unknown';
  return role === 'master' ? 'primary' : role;
}

function readMember(name: NodeName, entry: KeyValue, raw: Json): Member {
  const connUrl = text(raw['conn_url']);
  const address = connUrl === null ? null : hostAndPort(connUrl);
  const line = whole(raw['timeline']);
  return {
    name,
    lease: entry.lease,
    apiUrl: text(raw['api_url']),
    connUrl,
    host: address?.host ?? null,
    port: address?.port ?? null,
    state: text(raw['state']) ?? 'unknown',
    role: readRole(raw['role']),
    version: text(raw['version']),
    timeline: line === null ? null : timeline(line),
    xlogLocation: bytes(raw['xlog_location']),
    receiveLsn: bytes(raw['receive_lsn']),
    replayLsn: bytes(raw['replay_lsn']),
    replicationState: text(raw['replication_state']),
    checkpointed: raw['checkpoint_after_promote'] !== false,
    pendingRestart: raw['pending_restart'] === true,
    pause: raw['pause'] === true,
    tags: isObject(raw['tags']) ? raw['tags'] : {},
    pgha: readExtras(raw['pgha']),
    raw,
  };
}

function readExtras(value: unknown): MemberExtras | null {
  if (!isObject(value)) return null;
  return {
    version: text(value['version']) ?? 'unknown',
    nodeId: whole(value['node_id']),
    priority: whole(value['priority']) ?? 100,
    location: text(value['location']) ?? 'default',
    sawPrimary: whole(value['saw_primary_ms']),
    guard: value['guard'] === 'off' ? 'off' : 'on',
    role: value['role'] === 'witness' ? 'witness' : 'node',
    upstream: nameOrNull(value['upstream']),
    receivesFrom: nameOrNull(value['receives_from']),
    dataDirectory: text(value['data_dir']),
    ...(typeof value['trouble'] === 'string' ? { trouble: value['trouble'] } : {}),
    ...(typeof value['progress'] === 'string' ? { progress: value['progress'] } : {}),
    ...(typeof value['vip'] === 'string' ? { vip: value['vip'] } : {}),
  };
}

/** The `pgha` object of a member key; what is undefined is left out of the JSON. */
export function writeExtras(extras: MemberExtras): Json {
  return {
    version: extras.version,
    node_id: extras.nodeId,
    priority: extras.priority,
    location: extras.location,
    saw_primary_ms: extras.sawPrimary,
    guard: extras.guard,
    role: extras.role === 'node' ? undefined : extras.role,
    upstream: extras.upstream ?? undefined,
    receives_from: extras.receivesFrom ?? undefined,
    data_dir: extras.dataDirectory ?? undefined,
    trouble: extras.trouble,
    progress: extras.progress,
    vip: extras.vip,
  };
}

/** Host and port of `postgres://host:port/db` or `http://host:port/path`; IPv6 addresses stand in brackets. */
export function hostAndPort(url: string): { readonly host: string; readonly port: number } | null {
  const match = /^[a-z]+:\/\/(?:[^@/]*@)?(?:\[([^\]]+)\]|([^:/?]+)):(\d+)/.exec(url);
  const host = match?.[1] ?? match?.[2];
  return host === undefined || match?.[3] === undefined ? null : { host, port: Number(match[3]) };
}

function readFailover(entry: KeyValue | undefined, notUnderstood: NotUnderstood[]): FailoverRequest | null {
  if (entry === undefined) return null;
  let value: unknown;
  try {
    value = JSON.parse(entry.value);
  } catch {
    // Patroni still reads an older form, `leader:candidate`.
    const [leader = '', candidate = ''] = entry.value.split(':');
    value = { leader, member: candidate };
  }
  if (!isObject(value)) {
    notUnderstood.push({ key: entry.key, why: 'not a JSON object' });
    return null;
  }
  const leader = text(value['leader']);
  const candidate = text(value['member']) ?? text(value['candidate']);
  const scheduledAt = text(value['scheduled_at']);
  // `{}` is how Patroni says "nothing asked for".
  if ((leader ?? '') === '' && (candidate ?? '') === '' && scheduledAt === null) return null;
  return {
    revision: entry.modRevision,
    leader: leader === null || leader === '' ? null : nodeName(leader),
    candidate: candidate === null || candidate === '' ? null : nodeName(candidate),
    scheduledAt,
    ...(isObject(value['pgha']) && value['pgha']['accept_data_loss'] === true ? { forced: true } : {}),
  };
}

/** The `failover` key as it is written. */
export function writeFailover(request: {
  readonly leader: string | null;
  readonly candidate: string | null;
  readonly scheduledAt: string | null;
  readonly forced?: boolean;
}): string {
  return JSON.stringify({
    ...(request.leader === null ? {} : { leader: request.leader }),
    ...(request.candidate === null ? {} : { member: request.candidate }),
    ...(request.scheduledAt === null ? {} : { scheduled_at: request.scheduledAt }),
    ...(request.forced === true ? { pgha: { accept_data_loss: true } } : {}),
  });
}

function readHistory(
  entry: KeyValue | undefined,
  members: readonly Member[],
  notUnderstood: NotUnderstood[],
): readonly HistoryLine[] {
  if (entry === undefined) return [];
  try {
    const value: unknown = JSON.parse(entry.value);
    if (!Array.isArray(value)) throw new Error('not an array');
    const newest = members.reduce((most, member) => Math.max(most, member.timeline ?? 0), 0);
    const lines: HistoryLine[] = [];
    for (const line of value) {
      if (!Array.isArray(line)) continue;
      const id = whole(line[0]);
      const at = bytes(line[1]);
      if (id === null || at === null) continue;
      if (newest > 0 && id > newest + TIMELINES_AHEAD) {
        notUnderstood.push({
          key: KEYS.history,
          part: 'a line',
          why: `tells of timeline ${id}, and the newest is ${newest}`,
        });
        continue;
      }
      lines.push({
        timeline: timeline(id),
        lsn: at,
        reason: text(line[2]) ?? '',
        when: text(line[3]),
        newLeader: text(line[4]),
      });
    }
    return lines;
  } catch {
    notUnderstood.push({ key: entry.key, why: 'not a JSON array' });
    return [];
  }
}

/** The newest timeline on which this cluster has been, as far as etcd tells; 0: it tells of none. */
export const newestTimeline = ({ history }: Pick<ClusterView, 'history'>): number =>
  history.reduce((most, line) => Math.max(most, line.timeline + 1), 0);

/**
 * The lines of the `history` key with those that a promotion adds.
 *
 * @param own - through which timelines the new primary came to `by.timeline`; not empty
 * @param by.when - ISO 8601
 */
export function historyWith(
  known: readonly HistoryLine[],
  own: TimelineHistory,
  by: { readonly timeline: Timeline; readonly node: NodeName; readonly when: string },
): readonly HistoryLine[] {
  const latest = own.at(-1);
  const told = { when: by.when, newLeader: by.node };
  const lines: HistoryLine[] = own
    .filter((entry) => !known.some((line) => line.timeline === entry.timeline))
    .map((entry) => ({
      timeline: entry.timeline,
      lsn: entry.switchedAt,
      reason: 'no recovery target specified',
      ...(entry === latest ? told : { when: null, newLeader: null }),
    }));
  const before = timeline(by.timeline - 1);
  if (latest === undefined || latest.timeline >= before) return [...known, ...lines];
  // Nobody was left who had the timelines in between. The newest line says on which one the cluster is, and who leads.
  const reason = `went on from timeline ${latest.timeline}`;
  return [...known, ...lines, { timeline: before, lsn: latest.switchedAt, reason, ...told }];
}

/**
 * The newest timeline on which this cluster has been, where who stands on `here` has never been on it.
 *
 * @returns with the position at which it was begun, and by whom; null: there is none beyond `here`
 */
export function timelineBeyond(
  cluster: Pick<ClusterView, 'history'>,
  here: Timeline,
): { readonly timeline: Timeline; readonly from: Lsn; readonly leader: NodeName | null } | null {
  const newest = newestTimeline(cluster);
  const line = cluster.history.find((one) => one.timeline + 1 === newest);
  if (newest <= here || line === undefined) return null;
  return { timeline: timeline(newest), from: line.lsn, leader: nameOrNull(line.newLeader) };
}

export function writeHistory(lines: readonly HistoryLine[]): string {
  return JSON.stringify(
    lines.map((line) => [
      line.timeline,
      Number(line.lsn),
      line.reason,
      ...(line.when === null ? [] : [line.when]),
      ...(line.newLeader === null ? [] : [line.newLeader]),
    ]),
  );
}

/** Whether this member is one of those for which commits may wait, as the `sync` key says. Postgres ignores case. */
export function isSyncStandby(cluster: ClusterView | null, member: string): boolean {
  const name = member.toLowerCase();
  return cluster?.sync?.key?.voters.some((voter) => voter.toLowerCase() === name) === true;
}

/** Patroni takes all of these words. */
const YES: ReadonlySet<string> = new Set(['on', 'true', 'yes', '1']);

/** Whether a setting in `config` that is a switch says yes. */
export function isOn(cluster: Pick<ClusterView, 'config'>, setting: string): boolean {
  return YES.has(String(cluster.config?.value[setting] ?? 'off').toLowerCase());
}

/** Slot name of a member, as Patroni derives it (reference: 3.4), so that both programs mean the same slot. */
export function slotName(member: string): string {
  return [...member.toLowerCase()]
    .map((c) =>
      /[a-z0-9_]/.test(c) ? c : c === '-' || c === '.' ? '_' : `u${String(c.codePointAt(0) ?? 0).padStart(4, '0')}`,
    )
    .join('')
    .slice(0, 63);
}
