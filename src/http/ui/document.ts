/**
 * `GET /ui/data`: all that the status page shows, from what the last cycle has published. It asks neither Postgres nor
 * etcd; what changes from one instant to the next is added per answer, the rest is turned into text once a cycle. The
 * names in it are the page's own and may change with it: programs use /cluster, /status and /pgha/events.
 */
import type { Published } from '../../agent/published.ts';
import type { Config } from '../../config/schema.ts';
import type { ClusterView } from '../../core/cluster.ts';
import { type ClusterEvent, eventAsJson } from '../../core/cluster-events.ts';
import { printLsn } from '../../core/lsn.ts';
import { between, type Instant } from '../../core/time.ts';
import { clusterDocument } from '../cluster-document.ts';
import { failsafeIsActive, type NodeHealth } from '../health.ts';
import { instantFields } from '../status-document.ts';

const MOST_EVENTS = 50;
const MOST_HISTORY = 30;

/** What was told, newest first. */
export interface KnownEvents {
  readonly events: readonly ClusterEvent[];
  /** false: etcd did not answer, and what others told since is missing. */
  readonly ofAll: boolean;
  readonly at: Instant;
}

export class PageDocument {
  readonly #version: string;
  #published: Published | null = null;
  #config: Config | null = null;
  /** Without its closing brace. */
  #cycle = '';
  #known: KnownEvents | null = null;
  #events = '[]';

  constructor(version: string) {
    this.#version = version;
  }

  render(node: NodeHealth, config: Config, known: KnownEvents | null): string {
    const { published, now } = node;
    if (published !== this.#published || config !== this.#config) {
      this.#published = published;
      this.#config = config;
      this.#cycle = JSON.stringify(cycleFields(published, config, this.#version)).slice(0, -1);
    }
    if (known !== this.#known) {
      this.#known = known;
      this.#events = JSON.stringify((known?.events ?? []).slice(0, MOST_EVENTS).map(eventAsJson));
    }
    const instantly = JSON.stringify({
      ...instantFields(node),
      failsafe: failsafeIsActive(node),
      events_of_all: known?.ofAll ?? false,
      events_age_ms: known === null ? null : Math.round(between(known.at, now)),
    });
    return `${this.#cycle},"events":${this.#events},${instantly.slice(1)}`;
  }
}

function cycleFields(published: Published, config: Config, version: string): Record<string, unknown> {
  const { cluster, decision, leadership, operation, policy } = published;
  return {
    node: config.node.name,
    scope: config.scope,
    version,
    login: config.restapi.authentication !== null,
    loop_wait_ms: policy.cluster.loopWait,
    role: published.role,
    state: published.state,
    local: published.local.kind,
    node_role: policy.node.role,
    guard: published.guard,
    unwatched: published.unwatched,
    pause: policy.cluster.pause,
    decision: {
      situation: decision.situation,
      rule: decision.rule,
      reason: decision.reason,
      since: new Date(decision.sinceWall).toISOString(),
    },
    operation: operation === null ? null : { sentence: operation.sentence, fraction: operation.fraction },
    ttl_ms: leadership.kind === 'holding' ? leadership.ttl : policy.cluster.ttl,
    holding: leadership.kind === 'holding',
    slots: published.slots.troubles,
    leader: cluster?.leader?.name ?? null,
    cluster: cluster === null ? null : clusterDocument(cluster, config.scope),
    sync: cluster === null ? null : syncFields(cluster, policy.cluster.synchronous.mode),
    history: cluster === null ? [] : historyFields(cluster),
    takeover: cluster === null ? null : takeoverFields(cluster.lastTakeover),
    not_understood: cluster?.notUnderstood ?? [],
  };
}

function syncFields({ sync }: ClusterView, mode: string): Record<string, unknown> {
  const key = sync?.key ?? null;
  return { mode, garbled: sync?.garbled ?? false, voters: key?.voters ?? [], quorum: key?.quorum ?? 0 };
}

/** Newest first. */
const historyFields = ({ history }: ClusterView): Record<string, unknown>[] =>
  history
    .slice(-MOST_HISTORY)
    .toReversed()
    .map((line) => ({ ...line, lsn: printLsn(line.lsn) }));

/** The page shows a line of it; whoever wrote it. */
function takeoverFields(text: string | null): Record<string, unknown> | null {
  try {
    const { node, at, kind, previous, reason } = JSON.parse(text ?? 'null');
    return { node, at, kind, previous, reason };
  } catch {
    return null;
  }
}
