/** What this node says of itself in `members/<name>`, in Patroni's words, and how Patroni names its state and role. */
import { type MemberExtras, writeExtras } from '../core/cluster.ts';
import { type LocalPostgres, position, replicationState, troubleOf } from '../core/local.ts';
import type { NodePolicy } from '../core/policy.ts';
import { type ScheduledRestart, writeScheduledRestart } from '../core/schedule.ts';
import { type Ailment, wordFor } from '../core/sickness.ts';
import type { NodeName } from '../core/store.ts';
import { between, type Instant } from '../core/time.ts';
import type { Leadership } from '../core/view.ts';
import { PATRONI_LEVEL, PGHA_VERSION } from '../version.ts';
import type { AgentSettings } from './parts.ts';
import type { OperationView } from './published.ts';

type Role = NodePolicy['role'];

/** Patroni's text for the state of Postgres (reference: 1.5). */
export function patroniState(local: LocalPostgres, operation: OperationView | null, role: Role = 'node'): string {
  // Anything that means a Postgres would have Patroni's members and their tools look for one.
  if (role === 'witness') return role;
  switch (operation?.kind) {
    case 'bootstrap':
      return 'initializing new cluster';
    case 'copy':
      return 'creating replica';
    case 'restart':
      return 'restarting';
    default:
      break;
  }
  switch (local.kind) {
    case 'primary':
    case 'standby':
      return 'running';
    case 'starting':
      return 'starting';
    case 'stopping':
      return 'stopping';
    case 'stopped':
      return local.cleanly ? 'stopped' : 'crashed';
    case 'orphans':
      return 'crashed';
    case 'absent':
    case 'half-made':
    case 'unusable':
      return 'stopped';
    case 'silent':
      return 'unknown';
    default:
      return ((never: never) => never)(local);
  }
}

/** @param standbyCluster - this cluster follows another one: who leads it is no primary */
export function patroniRole(
  local: LocalPostgres,
  leadership: Leadership,
  role: Role = 'node',
  standbyCluster = false,
): string {
  if (role === 'witness') return role;
  if (standbyCluster && local.kind === 'standby' && leadership.kind === 'holding') return 'standby_leader';
  switch (local.kind) {
    case 'primary':
      return 'primary';
    case 'absent':
    case 'half-made':
      return 'uninitialized';
    case 'stopped':
      return local.wasPrimary ? (leadership.kind === 'holding' ? 'primary' : 'demoted') : 'replica';
    case 'starting':
      return local.asPrimary ? 'primary' : 'replica';
    case 'standby':
    case 'stopping':
    case 'orphans':
    case 'unusable':
    case 'silent':
      return 'replica';
    default:
      return ((never: never) => never)(local);
  }
}

export interface MemberFacts {
  readonly settings: AgentSettings;
  readonly local: LocalPostgres;
  readonly ailments: readonly Ailment[];
  readonly leadership: Leadership;
  readonly operation: OperationView | null;
  readonly node: NodePolicy;
  readonly pause: boolean;
  /** This cluster follows another one. */
  readonly standbyCluster?: boolean;
  /** It asks to be no synchronous standby any more. */
  readonly leavesSyncSet: boolean;
  readonly scheduledRestart: ScheduledRestart | null;
  /** The member whose server it receives from. */
  readonly receivesFrom: NodeName | null;
  /** The virtual address, while it is here. */
  readonly vip?: string | null;
  readonly dataDirectory: string | null;
  readonly sawPrimaryAt: Instant | null;
  readonly now: Instant;
}

/** In steps of 5 %: each of them is a write to etcd. */
function progressOf(operation: OperationView | null): { readonly progress?: string } {
  if (operation === null || operation.fraction === null) return {};
  return { progress: `${operation.kind} ${Math.floor(operation.fraction * 20) * 5} %` };
}

/** The JSON of the member key; compact, fields in Patroni's order. */
export function writeMember(facts: MemberFacts): string {
  const { local, settings } = facts;
  const running = local.kind === 'primary' || local.kind === 'standby' ? local : null;
  const troubles = [troubleOf(local), ...facts.ailments.map(({ sickness }) => wordFor(sickness))];
  const trouble = [...new Set(troubles.filter((one) => one !== null))].join(', ');
  const tags = facts.leavesSyncSet ? { ...settings.tags, nosync: true, sync_priority: 0 } : settings.tags;
  const extras: MemberExtras = {
    version: PGHA_VERSION,
    nodeId: facts.node.nodeId,
    priority: facts.node.priority,
    location: facts.node.location,
    sawPrimary: facts.sawPrimaryAt === null ? null : Math.round(between(facts.sawPrimaryAt, facts.now)),
    guard: settings.guardMode,
    role: facts.node.role,
    upstream: facts.node.upstream,
    receivesFrom: facts.receivesFrom,
    dataDirectory: facts.dataDirectory,
    ...(trouble === '' ? {} : { trouble }),
    ...progressOf(facts.operation),
    ...(facts.vip == null ? {} : { vip: facts.vip }),
  };
  const standby = local.kind === 'standby' ? local : null;
  const pending = running === null || running.pendingRestart.length === 0 ? null : running.pendingRestart;
  // What is undefined is left out. It is written down with every cycle, to see whether it changed.
  return JSON.stringify({
    conn_url: settings.connUrl ?? undefined,
    api_url: settings.apiUrl,
    state: patroniState(local, facts.operation, facts.node.role),
    role: patroniRole(local, facts.leadership, facts.node.role, facts.standbyCluster === true),
    version: PATRONI_LEVEL,
    proxy_url: settings.proxyUrl,
    tags: Object.keys(tags).length > 0 ? tags : undefined,
    xlog_location:
      local.kind === 'primary' ? Number(local.flushed) : standby === null ? undefined : Number(position(standby)),
    receive_lsn: standby === null ? undefined : Number(standby.received),
    replay_lsn: standby === null ? undefined : Number(standby.replayed),
    replication_state: replicationState(local) ?? undefined,
    timeline: running?.timeline,
    checkpoint_after_promote: local.kind === 'primary' && !local.checkpointed ? false : undefined,
    pending_restart: pending === null ? undefined : true,
    pending_restart_reason:
      pending === null
        ? undefined
        : Object.fromEntries(pending.map((one) => [one.name, { old_value: one.from, new_value: one.to }])),
    scheduled_restart: facts.scheduledRestart === null ? undefined : writeScheduledRestart(facts.scheduledRestart),
    pause: facts.pause ? true : undefined,
    pgha: writeExtras(extras),
  });
}
