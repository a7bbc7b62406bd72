/**
 * Health checks: which path answers 200 on this node at this instant. Pure judgement over what the last cycle has
 * published, so that it never waits for Postgres or etcd; `/primary` and its kin are `Control.writable()` and nothing
 * else. The paths and their order are Patroni's (docs/health-checks.md); only "the leader key alone is enough for 200"
 * is not: a node that cannot write is not the primary.
 */

import type { Control, Published } from '../agent/published.ts';
import { isSyncStandby } from '../core/cluster.ts';
import { replicationState } from '../core/local.ts';
import type { Lsn } from '../core/lsn.ts';
import { lsn } from '../core/lsn.ts';
import { between, type Instant, type Millis } from '../core/time.ts';
import type { Target } from './target.ts';

export type Tags = Readonly<Record<string, unknown>>;
type Query = Target['query'];

/** What a health check looks at. */
export interface NodeHealth {
  readonly published: Published;
  readonly now: Instant;
  readonly writable: boolean;
  readonly tags: Tags;
}

export function lookAt(control: Control, tags: Tags): NodeHealth {
  return { published: control.published(), now: control.now(), writable: control.writable(), tags };
}

export const ageOf = (node: NodeHealth): Millis => between(node.published.at, node.now);

/** Older than a TTL: whatever it says may no longer be so, and nobody is sent here because of it. */
export function isStale(node: NodeHealth): boolean {
  return ageOf(node) > node.published.policy.cluster.ttl;
}

/**
 * Patroni's table, top to bottom, matching by substring until the first hit. The order is part of the interface:
 * `/standby-leader` contains `leader`, and `/read-only-sync` must not be taken for `/read-only`.
 */
export function passes({ path, query }: Target, node: NodeHealth): boolean {
  if (path.includes('standby_leader') || path.includes('standby-leader')) return leadsStandbys(node);
  if (path.includes('leader')) return node.writable || leadsStandbys(node);
  if (path === '/' || /master|primary|read-write/.test(path)) return node.writable;
  if (isStale(node)) return false;
  if (path.includes('replica')) return isReplica(query, node) && tagsMatch(query, node.tags);
  if (path.includes('read-only') && !path.includes('sync') && !path.includes('quorum')) {
    return (node.writable || leadsStandbys(node) || isReplica(query, node)) && tagsMatch(query, node.tags);
  }
  if (path.includes('health')) return node.published.state === 'running' && tagsMatch(query, node.tags);
  // The rest needs to know who is synchronous, so the view of the cluster must be a fresh one.
  if (!clusterKnown(node)) return false;
  const duty = syncDuty(node.published);
  const leads = node.writable || leadsStandbys(node);
  switch (path) {
    case '/sync':
    case '/synchronous':
      return duty === 'sync' && isReplica(query, node) && tagsMatch(query, node.tags);
    case '/quorum':
      return duty === 'quorum' && isReplica(query, node) && tagsMatch(query, node.tags);
    case '/async':
    case '/asynchronous':
      return duty === null && isReplica(query, node) && tagsMatch(query, node.tags);
    case '/read-only-quorum':
      return (leads || (duty === 'quorum' && isReplica(query, node))) && tagsMatch(query, node.tags);
    case '/read-only-sync':
    case '/read-only-synchronous':
      return (leads || (duty === 'sync' && isReplica(query, node))) && tagsMatch(query, node.tags);
    default:
      return false;
  }
}

/** The daemon's cycle runs. Says nothing about Postgres: an orchestrator restarts on this one. */
export function isLive(node: NodeHealth): boolean {
  const { cluster } = node.published.policy;
  if (cluster.pause) return true;
  const patience = node.published.local.kind === 'primary' ? cluster.ttl : 2 * cluster.ttl;
  return ageOf(node) < cluster.loopWait + patience;
}

/** This node leads with the word of the others, or has given its own to one that does. */
export function failsafeIsActive({ published, now }: NodeHealth): boolean {
  const { leadership, confirmed } = published;
  const leads = leadership.kind === 'holding' && leadership.provenBy === 'members' && now < leadership.until;
  return leads || (confirmed !== null && now < confirmed.until);
}

/** Writable, or a standby that streams and is close enough to the leader. */
export function isReady({ query }: Target, node: NodeHealth): boolean {
  if (node.writable || leadsStandbys(node)) return true;
  const { local, state } = node.published;
  if (isStale(node) || state !== 'running' || local.kind !== 'standby') return false;
  if (local.failing !== null || local.receiver?.streaming !== true) return false;
  const leaderAt = leaderPosition(node.published);
  // Without etcd nobody publishes; who was asked to wait by a leader that goes on has one.
  if (leaderAt === null) return failsafeIsActive(node);
  const limit = readSize(query.get('lag')) ?? node.published.policy.cluster.maximumLagOnFailoverBytes;
  const own = query.get('mode') === 'write' && local.received > local.replayed ? local.received : local.replayed;
  return leaderAt <= own + limit;
}

/**
 * It leads a cluster that follows another one, by a proof of the last TTL, and its Postgres answers. In maintenance nothing
 * is proven, and the key stands.
 */
export function leadsStandbys(node: NodeHealth): boolean {
  const { published, now } = node;
  const { leadership, local, proofs, role, policy } = published;
  if (isStale(node) || role !== 'standby_leader' || leadership.kind !== 'holding') return false;
  if (local.kind !== 'standby' || local.failing !== null || leadership.releaseSent) return false;
  return policy.cluster.pause || (proofs.last !== null && between(proofs.last, now) < leadership.ttl);
}

function isReplica(query: Query, node: NodeHealth): boolean {
  const { local, role, state } = node.published;
  if (role !== 'replica' || state !== 'running' || local.kind !== 'standby' || local.failing !== null) return false;
  if (node.tags['noloadbalance'] === true) return false;
  const wanted = query.get('replication_state');
  if (wanted !== undefined && wanted !== replicationState(local)) return false;
  const limit = readSize(query.get('lag'));
  const leaderAt = leaderPosition(node.published);
  return limit === null || leaderAt === null || leaderAt <= local.replayed + limit;
}

/** Whether commits may be waiting for this standby, and in which of the two modes. */
export function syncDuty({ role, cluster, policy }: Published): 'sync' | 'quorum' | null {
  const { mode } = policy.cluster.synchronous;
  if (mode === 'off' || role !== 'replica' || !isSyncStandby(cluster, policy.node.name)) return null;
  return mode === 'quorum' ? 'quorum' : 'sync';
}

export function clusterKnown(node: NodeHealth): boolean {
  const { clusterAt, policy } = node.published;
  return clusterAt !== null && between(clusterAt, node.now) < policy.cluster.ttl;
}

/**
 * Where the leader is, by what it published or by what its own server said since: with etcd away only that goes on. null
 * when unknown: a position of 0 says nothing about lag.
 */
export function leaderPosition({ cluster, local }: Published): Lsn | null {
  const optime = cluster?.status?.optime ?? lsn(0);
  const told = (local.kind === 'standby' ? local.receiver?.latestEnd : undefined) ?? lsn(0);
  const farthest = told > optime ? told : optime;
  return farthest === 0n ? null : farthest;
}

const UNITS = new Map([
  ['', 1],
  ['B', 1],
  ['kB', 1024],
  ['MB', 1024 ** 2],
  ['GB', 1024 ** 3],
  ['TB', 1024 ** 4],
]);

/** `16MB`, `1.5GB`, `100`: bytes; null for what is not a size, which then limits nothing. */
export function readSize(text: string | undefined): Lsn | null {
  const match = /^\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)\s*$/.exec(text ?? '');
  const unit = UNITS.get(match?.[2] ?? '?');
  if (match?.[1] === undefined || unit === undefined) return null;
  const size = Math.round(Number(match[1]) * unit);
  return Number.isFinite(size) ? lsn(BigInt(size)) : null;
}

function tagsMatch(query: Query, tags: Tags): boolean {
  for (const [name, wanted] of query) {
    if (!name.startsWith('tag_')) continue;
    const tag = tags[name.slice('tag_'.length)];
    if (typeof tag === 'string' ? tag !== wanted : !scalar(tag) || String(tag).toLowerCase() !== wanted.toLowerCase()) {
      return false;
    }
  }
  return true;
}

const scalar = (value: unknown): value is number | boolean => typeof value === 'number' || typeof value === 'boolean';
