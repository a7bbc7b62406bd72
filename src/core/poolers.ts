/**
 * Holding clients back in the poolers (PgBouncer) while another primary takes over, or this one is restarted: what
 * stands in etcd about it, who lets them go again and when, and where a pooler's database leads. Pure; it talks to no
 * pooler. Nothing here ever delays a failover: whoever waits for a pooler does so while Postgres is well, and for a
 * bounded time.
 */
import type { ClusterView } from './cluster.ts';
import type { RuleId } from './rules.ts';
import { type NodeName, nodeName, type Revision } from './store.ts';
import { between, type Instant, laterBy, type Millis } from './time.ts';
import type { View } from './view.ts';

export interface PoolerPolicy {
  /** `host:port` of each console, as every node can reach it. */
  readonly addresses: readonly string[];
  /** So long transactions may take to end before Postgres stops without waiting for them. */
  readonly pauseTimeout: Millis;
  /** So long after it began a pause is ended by whoever still knows of it, also when nobody leads. */
  readonly maxPause: Millis;
}

/** Reaching the poolers, finding out where they lead, and writing it down come before the pause itself. */
const REACHED_WITHIN = 4_000;

export type PausePurpose = 'switchover' | 'restart' | 'stop';

/** What a pause is begun for: an operator's wish, by its revision, or the end of the service. */
export type PauseFor = Revision | 'leaving';

/** What is held back in one pooler. */
export interface HeldPooler {
  /** The databases that were paused by name; empty: all of them at once. */
  readonly paused: readonly string[];
  /** Those that led to the primary: they have to lead to the next one before clients go on. */
  readonly led: readonly string[];
}

/** The key `pgha/poolers`: written before the first PAUSE is sent, so that nobody is held back without a trace. */
export interface PoolerPause {
  readonly revision: Revision;
  readonly state: 'paused' | 'resumed';
  readonly purpose: PausePurpose;
  readonly by: NodeName;
  /** Wall clock of the one who paused, for people. */
  readonly at: string;
  /** By address; while it is paused: those that are still to be let go. */
  readonly held: ReadonlyMap<string, HeldPooler>;
  /** Those that were passed over, and why. */
  readonly skipped: ReadonlyMap<string, string>;
  /** Those that did not do as they were told in time, and what was done then. */
  readonly late: ReadonlyMap<string, string>;
  readonly resumedBy: NodeName | null;
  /** As the one who resumed has seen it; null: it is not over. */
  readonly pauseMs: number | null;
}

export interface PoolersView {
  /** Since when this process knows of the pause that stands in etcd; null: it knows of none. */
  readonly since: Instant | null;
  readonly step: PoolerStep;
}

/** How far this node has come in holding clients back. */
export type PoolerStep =
  | { readonly kind: 'none' }
  /** The checkpoint before a switchover is done, and nobody waits yet. */
  | { readonly kind: 'prepared'; readonly wish: PauseFor; readonly at: Instant }
  | { readonly kind: 'pausing'; readonly wish: PauseFor; readonly since: Instant }
  /** All have answered or were passed over. */
  | { readonly kind: 'settled'; readonly wish: PauseFor; readonly at: Instant }
  | { readonly kind: 'restarting' };

export const NOBODY_HELD: PoolersView = { since: null, step: { kind: 'none' } };

/** A checkpoint older than this has to be done again. */
const PREPARED_FOR = 30_000;

/** What comes next on the way to a stop; null: nothing keeps Postgres from being stopped now. */
export function nextForPoolers(
  { now, local, policy, poolers: { step } }: View,
  wish: PauseFor,
): { readonly kind: 'prepare' | 'pause' } | { readonly kind: 'wait'; readonly waited: Millis } | null {
  const limits = policy.node.poolers;
  if (limits === undefined) return null;
  // An old step belongs to another wish.
  if (step.kind === 'none' || step.kind === 'restarting' || step.wish !== wish) return { kind: 'prepare' };
  switch (step.kind) {
    case 'prepared':
      return between(step.at, now) < PREPARED_FOR ? { kind: 'pause' } : { kind: 'prepare' };
    case 'pausing': {
      // A server that does not answer ends no transaction either.
      const waited = between(step.since, now);
      const well = local.kind === 'primary' && local.failing === null;
      return well && waited < limits.pauseTimeout + REACHED_WITHIN ? { kind: 'wait', waited } : null;
    }
    case 'settled':
      return null;
    default:
      return ((never: never) => never)(step);
  }
}

/** Clients wait on purpose while one of these speaks. */
const HOLDING_BACK: ReadonlySet<RuleId> = new Set([
  'switchover.check',
  'switchover.prepare',
  'switchover.pause-poolers',
  'switchover.wait-for-poolers',
  'switchover.stop',
  'service.leaving-hands-over',
]);

/**
 * Whether this node lets clients go now. The leader does once its Postgres takes writes and nothing is planned against
 * it, whoever had paused: it was a switchover that came here, one that came to nothing, or a daemon that died in
 * between. Everybody else does when it has taken too long, so that nobody is held back for ever.
 *
 * @param rule - that speaks in this cycle
 */
export function whyResume(view: View, rule: RuleId): 'leads' | 'overdue' | null {
  const { now, local, leadership, policy, poolers, dcs } = view;
  const pause = dcs.kind === 'read' ? dcs.cluster.poolers : null;
  const limits = policy.node.poolers;
  if (limits === undefined || pause?.state !== 'paused' || poolers.since === null) return null;
  if (now >= laterBy(poolers.since, limits.maxPause)) return 'overdue';
  const leads = leadership.kind === 'holding' && (leadership.windowOpen || policy.cluster.pause);
  const writes = local.kind === 'primary' && local.failing === null && view.operation === null;
  const onPurpose = HOLDING_BACK.has(rule) || poolers.step.kind === 'restarting';
  return leads && writes && !onPurpose ? 'leads' : null;
}

/** One database of a pooler, as its console tells. */
export interface PoolerDatabase {
  readonly name: string;
  /** null: a unix socket. */
  readonly host: string | null;
  readonly port: number;
}

const LOOPBACK = /^(localhost|127\.[\d.]+|::1|\/.*)?$/;

/** The server that a pooler's database is sent to: on the pooler's own machine, where it says loopback or a socket. */
export function whereItLeads(
  pooler: string,
  database: PoolerDatabase,
): { readonly host: string; readonly port: number } {
  const host = database.host ?? '';
  return { host: LOOPBACK.test(host) ? hostOf(pooler) : host, port: database.port };
}

/** @param address - `host:port`, with brackets around an IPv6 address */
export const hostOf = (address: string): string =>
  address.slice(0, address.lastIndexOf(':')).replace(/^\[(.*)\]$/, '$1');

/**
 * Whether that server is the Postgres of `leader`, by the addresses that members publish.
 *
 * @returns null: nobody's address, so it has to be asked (a balancer, a floating address, a name)
 */
export function isServerOf(
  cluster: ClusterView,
  leader: NodeName,
  server: { readonly host: string; readonly port: number },
): boolean | null {
  const owner = cluster.members.find(({ host, port }) => host === server.host && port === server.port);
  return owner === undefined ? null : owner.name === leader;
}

// ---- the key ----------------------------------------------------------------------------------------------------------

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);
const texts = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];

function textByAddress(value: unknown): ReadonlyMap<string, string> {
  return new Map(Object.entries(isObject(value) ? value : {}).map(([address, said]) => [address, text(said) ?? '']));
}

/** @returns null: it is no pause */
export function readPoolerPause(value: Json, revision: Revision): PoolerPause | null {
  const state = value['state'];
  const by = text(value['by']);
  if ((state !== 'paused' && state !== 'resumed') || by === null) return null;
  const held = Object.entries(isObject(value['held']) ? value['held'] : {}).map(
    ([address, one]): [string, HeldPooler] => [
      address,
      { paused: texts(isObject(one) ? one['paused'] : null), led: texts(isObject(one) ? one['led'] : null) },
    ],
  );
  const purpose = value['for'];
  const resumedBy = text(value['resumed_by']);
  const pauseMs = value['pause_ms'];
  return {
    revision,
    state,
    purpose: purpose === 'restart' || purpose === 'stop' ? purpose : 'switchover',
    by: nodeName(by),
    at: text(value['at']) ?? '',
    held: new Map(held),
    skipped: textByAddress(value['skipped']),
    late: textByAddress(value['late']),
    resumedBy: resumedBy === null ? null : nodeName(resumedBy),
    pauseMs: typeof pauseMs === 'number' ? pauseMs : null,
  };
}

export function writePoolerPause(pause: Omit<PoolerPause, 'revision'>): string {
  return JSON.stringify({
    state: pause.state,
    for: pause.purpose,
    by: pause.by,
    at: pause.at,
    held: Object.fromEntries(pause.held),
    skipped: Object.fromEntries(pause.skipped),
    late: Object.fromEntries(pause.late),
    ...(pause.resumedBy === null ? {} : { resumed_by: pause.resumedBy }),
    ...(pause.pauseMs === null ? {} : { pause_ms: Math.round(pause.pauseMs) }),
  });
}
