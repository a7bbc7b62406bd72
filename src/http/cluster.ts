/**
 * For people and their monitoring: the cluster, its history, its configuration, and why this node does what it does.
 * These may read etcd, within a bound; with etcd away they answer from the last view this node had, with its age.
 */
import type { FastifyInstance } from 'fastify';
import type { ClusterView } from '../core/cluster.ts';
import { eventAsJson } from '../core/cluster-events.ts';
import { between, type Millis, millis } from '../core/time.ts';
import { sendJson, sendPage } from './answers.ts';
import { clusterDocument } from './cluster-document.ts';
import { isStale } from './health.ts';
import type { HttpParts } from './server.ts';
import { instantFields } from './status-document.ts';

/** A person waits; a load balancer does not come here. */
const READ_LIMIT = millis(2_000);

/** Less than what any member waits for an answer. */
const LOOK_LIMIT = millis(300);

interface KnownCluster {
  readonly view: ClusterView;
  /** null: read just now. */
  readonly age: Millis | null;
}

export function clusterRoutes(app: FastifyInstance, parts: HttpParts): void {
  const known = clusterReader(parts);

  const lookAnew = single(() => parts.control.look(LOOK_LIMIT));
  parts.segment(app, 'GET', 'patroni', async (_request, reply) => {
    // Other members rank by this answer: it says where Postgres is now, not where the last cycle saw it.
    await within(lookAnew(), LOOK_LIMIT).catch(() => null);
    const node = parts.look();
    return sendJson(reply, isStale(node) ? 503 : 200, parts.status.render(node, parts.config()));
  });

  parts.segment(app, 'GET', 'cluster', async (_request, reply) => {
    const cluster = await known();
    if (cluster === null) return sendPage(reply, 503, 'etcd does not answer, and was never read since the start.');
    const document = clusterDocument(cluster.view, parts.config().scope);
    return sendJson(reply, 200, cluster.age === null ? document : { ...document, pgha: { age_ms: cluster.age } });
  });

  parts.segment(app, 'GET', 'history', async (_request, reply) => {
    const cluster = await known();
    if (cluster === null) return sendPage(reply, 503, 'etcd does not answer, and was never read since the start.');
    return sendJson(reply, 200, historyDocument(cluster.view));
  });

  parts.segment(app, 'GET', 'config', async (_request, reply) => {
    const cluster = await known();
    if (cluster === null) return sendPage(reply, 503, 'etcd does not answer, and was never read since the start.');
    if (cluster.view.config === null)
      return sendPage(reply, 502, 'There is no configuration in etcd that can be read.');
    return sendJson(reply, 200, cluster.view.config.value);
  });

  parts.segment(app, 'GET', 'failsafe', (_request, reply) => {
    const list = parts.control.published().cluster?.failsafe ?? null;
    return list === null
      ? sendPage(reply, 502, 'No failsafe list was ever seen.')
      : sendJson(reply, 200, Object.fromEntries(list.members));
  });

  const readEvents = single(() => parts.control.readEvents());
  parts.segment(app, 'GET', 'pgha/events', async (_request, reply) => {
    const { events, ofAll } = await readEvents();
    // Newest first. Without etcd a member knows only its own.
    return sendJson(reply, ofAll ? 200 : 503, events.map(eventAsJson));
  });

  parts.segment(app, 'GET', 'status', (_request, reply) => sendJson(reply, 200, decisionDocument(parts)));
}

/** Each line as Patroni has it: `[timeline, lsn, reason, when, new_leader]`, the oldest ones shorter. */
export function historyDocument(view: ClusterView): unknown[] {
  return view.history.map((line) => [
    line.timeline,
    Number(line.lsn),
    line.reason,
    ...(line.when === null ? [] : [line.when]),
    ...(line.when === null || line.newLeader === null ? [] : [line.newLeader]),
  ]);
}

/** What this node makes of its circumstances, in its own words. */
function decisionDocument(parts: HttpParts): unknown {
  const node = parts.look();
  const { published } = node;
  const { leadership, decision, operation, policy } = published;
  return {
    name: parts.control.self,
    scope: parts.config().scope,
    decision: {
      situation: decision.situation,
      rule: decision.rule,
      reason: decision.reason,
      since: new Date(decision.sinceWall).toISOString(),
      for_ms: Math.round(between(decision.since, node.now)),
    },
    operation:
      operation === null
        ? null
        : {
            kind: operation.kind,
            sentence: operation.sentence,
            fraction: operation.fraction,
            for_ms: Math.round(between(operation.since, node.now)),
          },
    leadership:
      leadership.kind === 'none'
        ? { kind: 'none' }
        : {
            kind: 'holding',
            term: leadership.term.toString(),
            ttl_ms: leadership.ttl,
            window_open: leadership.windowOpen,
            release_sent: leadership.releaseSent,
          },
    leader: published.cluster?.leader?.name ?? null,
    state: published.state,
    role: published.role,
    guard: published.guard,
    policy: { cluster: inNumbers(policy.cluster) },
    not_understood: published.cluster?.notUnderstood ?? [],
    ...instantFields(node),
  };
}

/** JSON has no bigint: sizes in bytes are numbers there. */
function inNumbers(settings: object): Record<string, unknown> {
  const number = (value: unknown): unknown => {
    if (typeof value === 'bigint') return Number(value);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? inNumbers(value) : value;
  };
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, number(value)]));
}

/** The last published view when etcd does not answer in time. */
function clusterReader(parts: HttpParts): () => Promise<KnownCluster | null> {
  const readOnce = single(() => parts.control.readCluster().catch(() => null));
  return async () => {
    const fresh = await within(readOnce(), READ_LIMIT);
    if (fresh !== null) return { view: fresh, age: null };
    const { cluster, clusterAt } = parts.control.published();
    if (cluster === null) return null;
    return { view: cluster, age: millis(clusterAt === null ? 0 : Math.round(between(clusterAt, parts.control.now()))) };
  };
}

/** null when `answer` takes longer than `limit`; the answer is then nobody's. */
export function within<T>(answer: Promise<T>, limit: Millis): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(null), limit);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** One at a time, however many ask: those who come while it runs get its answer. */
export function single<T>(work: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<T> | null = null;
  return () => {
    underWay ??= work().finally(() => {
      underWay = null;
    });
    return underWay;
  };
}
