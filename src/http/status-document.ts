/**
 * The JSON of `GET /patroni` and of every health check with GET: Patroni's fields, and a `pgha` object in which the
 * other members find what they need for an election. What a cycle has published is turned into text once; only what
 * changes from one instant to the next (window, gate, ages, writable) is added per answer, so that a thousand checks a
 * second cost little.
 */
import type { Published } from '../agent/published.ts';
import type { Config } from '../config/schema.ts';
import { type LocalPostgres, position, type Running, replicationState, type Sender } from '../core/local.ts';
import { type Lsn, printLsn } from '../core/lsn.ts';
import { writeScheduledRestart } from '../core/schedule.ts';
import { type DiskFacts, sicknessAsJson } from '../core/sickness.ts';
import { between, type Instant } from '../core/time.ts';
import { PATRONI_LEVEL } from '../version.ts';
import { ageOf, clusterKnown, failsafeIsActive, isStale, type NodeHealth, syncDuty } from './health.ts';

type Fields = Record<string, unknown>;

export class StatusDocument {
  readonly #version: string;
  /** Tells one process from the next. */
  readonly #startedAt = new Date().toISOString();
  #published: Published | null = null;
  #config: Config | null = null;
  /** Both without their closing brace. */
  #patroni = '';
  #pgha = '';

  constructor(version: string) {
    this.#version = version;
  }

  render(node: NodeHealth, config: Config): string {
    if (node.published !== this.#published || config !== this.#config) {
      this.#published = node.published;
      this.#config = config;
      this.#patroni = JSON.stringify(patroniFields(node.published, config)).slice(0, -1);
      this.#pgha = JSON.stringify(pghaFields(node.published, this.#version, this.#startedAt)).slice(0, -1);
    }
    const unlocked = !clusterKnown(node) || node.published.cluster?.leader === null ? ',"cluster_unlocked":true' : '';
    const failsafe = failsafeIsActive(node) ? ',"failsafe_mode_is_active":true' : '';
    return `${this.#patroni}${unlocked}${failsafe},"pgha":${this.#pgha},${JSON.stringify(instantFields(node)).slice(1)}}`;
  }
}

/** Facts of a server that answered its last check; null when there are none to show. */
export function answering(local: LocalPostgres): Extract<LocalPostgres, { kind: 'primary' | 'standby' }> | null {
  return (local.kind === 'primary' || local.kind === 'standby') && local.failing === null ? local : null;
}

function patroniFields(published: Published, config: Config): Fields {
  const server = answering(published.local);
  const fields: Fields = { state: published.state, role: shownRole(published) };
  if (server !== null) {
    fields['postmaster_start_time'] = server.startedAt;
    fields['server_version'] = server.version;
    fields['xlog'] = walPositions(server);
    fields['timeline'] = server.timeline;
    const replication = replicationState(server);
    if (replication !== null) fields['replication_state'] = replication;
    if (server.senders.length > 0) fields['replication'] = server.senders.map(sender);
  }
  const duty = syncDuty(published);
  if (duty !== null) fields[`${duty}_standby`] = true;
  if (published.policy.cluster.pause) fields['pause'] = true;
  fields['dcs_last_seen'] = Math.floor((published.clusterAtWall ?? 0) / 1000);
  const tags = published.leavesSyncSet === true ? { ...config.tags, nosync: true, sync_priority: 0 } : config.tags;
  if (Object.keys(tags).length > 0) fields['tags'] = tags;
  const system = systemIdentifier(published);
  if (system !== null) fields['database_system_identifier'] = system;
  Object.assign(fields, pendingRestart(published.local));
  if (published.scheduledRestart !== null) {
    const { postmaster_start_time: _, ...shown } = writeScheduledRestart(published.scheduledRestart);
    fields['scheduled_restart'] = shown;
  }
  if (published.unwatched !== null) fields['watchdog_failed'] = true;
  fields['patroni'] = { version: PATRONI_LEVEL, scope: config.scope, name: config.node.name };
  return fields;
}

/** Postgres itself knows best; what the daemon takes it for is only shown while Postgres does not answer. */
export function shownRole(published: Published): string {
  const server = answering(published.local);
  if (server === null) return published.role;
  if (server.kind === 'primary') return 'primary';
  return published.role === 'standby_leader' ? published.role : 'replica';
}

function walPositions(server: Extract<LocalPostgres, { kind: 'primary' | 'standby' }>): Fields {
  if (server.kind === 'primary') return { location: Number(server.flushed) };
  return {
    received_location: Number(server.received === 0n ? server.replayed : server.received),
    replayed_location: Number(server.replayed),
    replayed_timestamp: server.replayedAt,
    paused: server.replayPaused,
  };
}

const sender = (row: Sender): Fields => ({
  usename: row.user,
  application_name: row.applicationName,
  client_addr: row.clientAddress,
  state: row.state,
  sync_state: row.syncState,
  sync_priority: row.syncPriority,
});

export function systemIdentifier(published: Published): string | null {
  const { local } = published;
  if (local.kind === 'primary' || local.kind === 'standby' || local.kind === 'stopped') return local.systemId;
  const initialize = published.cluster?.initialize?.value ?? '';
  return initialize === '' ? null : initialize;
}

function pendingRestart(local: LocalPostgres): Fields {
  const waiting: Running['pendingRestart'] =
    local.kind === 'primary' || local.kind === 'standby' ? local.pendingRestart : [];
  if (waiting.length === 0) return {};
  return {
    pending_restart: true,
    pending_restart_reason: Object.fromEntries(
      waiting.map((setting) => [setting.name, { old_value: setting.from, new_value: setting.to }]),
    ),
  };
}

/** What of `pgha` is true for as long as this state stands. */
function pghaFields(published: Published, version: string, startedAt: string): Fields {
  const { decision, leadership, local, operation, policy } = published;
  return {
    version,
    pid: process.pid,
    started_at: startedAt,
    node_id: policy.node.nodeId,
    priority: policy.node.priority,
    location: policy.node.location,
    nofailover: policy.node.noFailover || published.unwatched !== null,
    watchdog: published.unwatched,
    system_id: systemIdentifier(published),
    known_cluster: published.knownCluster,
    postgres: local.kind,
    in_recovery: local.kind === 'standby',
    timeline: 'timeline' in local ? local.timeline : null,
    position: print(localPosition(local)),
    position_final: local.kind === 'standby' ? local.positionFinal : true,
    replayed: local.kind === 'standby' ? printLsn(local.replayed) : null,
    role: policy.node.role,
    upstream: local.kind === 'standby' ? (local.receiver?.from ?? local.follows) : null,
    receiving: local.kind === 'standby' && local.receiver !== null,
    saw_primary_of: published.sawPrimaryOf,
    validates: policy.node.validates,
    validating: published.validating,
    ...(decision.situation === 'shadow' ? { replication_login: published.replicationLogin ?? null } : {}),
    failing: failingCheck(local),
    slots: published.slots.troubles,
    disks: published.health.vitals.disks.map(disk),
    free_bytes: published.health.freeBytes === null ? null : Number(published.health.freeBytes),
    full: 'full' in local ? (local.full === true ? local.said : (local.full ?? null)) : null,
    leadership: leadership.kind,
    term: leadership.kind === 'holding' ? leadership.term.toString() : null,
    guard: published.guard,
    ...(published.virtualAddress == null ? {} : { vip: published.virtualAddress }),
    decision: {
      situation: decision.situation,
      rule: decision.rule,
      reason: decision.reason,
      since: new Date(decision.sinceWall).toISOString(),
    },
    operation:
      operation === null ? null : { kind: operation.kind, sentence: operation.sentence, fraction: operation.fraction },
  };
}

const disk = ({ directory, last, freeBytes, totalBytes }: DiskFacts): Fields => ({
  directory,
  writable: last === null ? null : last.kind === 'done',
  free_bytes: freeBytes === null ? null : Number(freeBytes),
  total_bytes: totalBytes === null ? null : Number(totalBytes),
});

/** What of `pgha` is different a millisecond later. */
export function instantFields(node: NodeHealth): Fields {
  const { published, now, writable } = node;
  const { leadership, gate } = published;
  return {
    writable,
    sick: published.health.ailments.map((ailment) => sicknessAsJson(ailment, now)),
    ailed_ago_ms: published.health.ailedAt === null ? null : Math.round(between(published.health.ailedAt, now)),
    window_left_ms: leadership.kind === 'holding' ? left(leadership.until, now) : null,
    gate_ms: gate === null ? null : gate.opensAt === 'never' ? 'never' : left(gate.opensAt, now),
    lost_gate_ms: gate?.lostUntil === undefined ? null : left(gate.lostUntil, now),
    saw_primary_ms: published.sawPrimary === null ? null : Math.round(published.sawPrimary + ageOf(node)),
    vetoed_for_ms: published.vetoedFor === null ? null : Math.max(0, Math.round(published.vetoedFor - ageOf(node))),
    upstream_check: upstreamCheck(node),
    etcd_cluster_id: published.cluster?.clusterId ?? null,
    etcd_revision: published.cluster?.revision.toString() ?? null,
    etcd_unbroken_ms: published.etcdSince === null ? null : Math.floor(between(published.etcdSince, now)),
    cluster_age_ms: published.clusterAt === null ? null : Math.round(between(published.clusterAt, now)),
    age_ms: Math.round(ageOf(node)),
    stale: isStale(node),
  };
}

/** What the leader's Postgres said to this node, in the words of its check. */
function upstreamCheck({ published, now }: NodeHealth): Fields | null {
  const check = published.upstreamCheck;
  if (check === null) return null;
  const { kind, said } = check.answer;
  return { of: check.of, kind, said, age_ms: Math.round(between(check.at, now)) };
}

/** One from which nothing was ever learned fails too, whatever was asked. */
function failingCheck(local: LocalPostgres): Fields | null {
  if (local.kind === 'silent' && local.full !== true) return { check: null, said: local.said };
  return local.kind === 'primary' || local.kind === 'standby' ? local.failing : null;
}

function left(until: Instant, now: Instant): number | null {
  const rest = between(now, until);
  return Number.isFinite(rest) ? Math.max(0, Math.round(rest)) : null;
}

/** How far the local WAL is known to reach; null while nobody can say. */
export function localPosition(local: LocalPostgres): Lsn | null {
  if (local.kind === 'standby') return position(local);
  return local.kind === 'primary' ? local.flushed : null;
}

const print = (at: Lsn | null): string | null => (at === null ? null : printLsn(at));
