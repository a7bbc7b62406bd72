/**
 * What the running agent shows to HTTP, and what HTTP may ask of it. Answers come from the last cycle's state and
 * from what has happened since; nothing here waits for Postgres or etcd unless it says so.
 */
import type { AuditEntry } from '../core/audit.ts';
import type { ClusterView } from '../core/cluster.ts';
import type { ClusterEvent } from '../core/cluster-events.ts';
import type { DecisionRecord } from '../core/decision-record.ts';
import type { Explanation } from '../core/explain.ts';
import type { ConfirmOutcome, FailsafeRequest } from '../core/failsafe.ts';
import type { Gate } from '../core/gate.ts';
import type { LocalPostgres, SystemId } from '../core/local.ts';
import type { Lsn, Timeline } from '../core/lsn.ts';
import type { RescueAnswer, RescueRequest } from '../core/peer.ts';
import type { Policy } from '../core/policy.ts';
import type { RestartConditions, ScheduledRestart } from '../core/schedule.ts';
import type { WeighedSlot } from '../core/slots.ts';
import type { NodeName } from '../core/store.ts';
import type { Instant, Millis, WallTime } from '../core/time.ts';
import type { Leadership } from '../core/view.ts';
import type { WalChunk } from '../ports/postgres.ts';
import type { AddressShown } from './address-keeper.ts';
import type { HealthView } from './sickness-watch.ts';
import type { UpstreamCheck } from './upstream-watch.ts';

/** This node's leadership as the lease keeper knows it at one instant. */
export type LeadershipView = Leadership;

export interface OperationView {
  /** `copy`, `rewind`, `promote`, `start`, `bootstrap`, `rescue`, `switchover`, `restart`, ... */
  readonly kind: string;
  readonly since: Instant;
  readonly sentence: string;
  readonly fraction: number | null;
}

export interface DecisionView {
  readonly situation: string;
  readonly rule: string;
  readonly reason: string;
  readonly since: Instant;
  readonly sinceWall: WallTime;
}

export interface Published {
  /** When the cycle that made this ended. */
  readonly at: Instant;
  readonly local: LocalPostgres;
  readonly localAt: Instant;
  readonly leadership: LeadershipView;
  /** null: etcd was never read since the start. */
  readonly cluster: ClusterView | null;
  /** When it was last read; its age says how far to trust it. */
  readonly clusterAt: Instant | null;
  readonly clusterAtWall: WallTime | null;
  /** Since when it has been read without a silence in which it could have been replaced; null: never read. */
  readonly etcdSince: Instant | null;
  /** Which cluster this scope was when this process last read one; etcd may have been emptied since. */
  readonly knownCluster: SystemId | null;
  readonly decision: DecisionView;
  readonly operation: OperationView | null;
  readonly policy: Policy;
  readonly guard: 'acking' | 'silent' | 'off';
  /** How often leadership was proven by this process, and when last; null: never. */
  readonly proofs: { readonly count: number; readonly last: Instant | null };
  /** Nobody may promote here before this instant, and why; null when nothing is known yet. */
  readonly gate: Pick<Gate, 'opensAt' | 'revision' | 'lostUntil'> | null;
  /** Since this node last saw its primary alive. */
  readonly sawPrimary: Millis | null;
  /** Which member that was. */
  readonly sawPrimaryOf: NodeName | null;
  /** What the leader's Postgres said when this node last asked it; null on the leader, or while none is known. */
  readonly upstreamCheck: UpstreamCheck | null;
  /** Of a cluster that is not ours yet: whether its primary lets our login for replication in; null: not known. */
  readonly replicationLogin?: boolean | null;
  /** This node's failover_validation_command is being asked. */
  readonly validating: boolean;
  /** This node's failover_validation_command said no: it stays out of elections for so long. */
  readonly vetoedFor: Millis | null;
  /** To whom this node has confirmed that it waits, and until when; null: to nobody who still counts on it. */
  readonly confirmed: { readonly to: NodeName; readonly until: Instant } | null;
  /** Why this node may not lead for want of a watchdog device; null: nothing stands against it. */
  readonly unwatched: string | null;
  readonly scheduledRestart: ScheduledRestart | null;
  /** This standby asks to be no synchronous one any more: its Postgres is about to stop. Left out: it does not. */
  readonly leavesSyncSet?: boolean;
  readonly slots: SlotsView;
  /** null, left out: none is configured. */
  readonly virtualAddress?: AddressShown | null;
  readonly health: HealthView;
  /** Patroni's text for the state of Postgres: `running`, `starting`, `stopped`, `creating replica`, ... */
  readonly state: string;
  /** Patroni's role: `primary`, `replica`, `demoted`, `uninitialized`, ... */
  readonly role: string;
}

/** The replication slots of this node's Postgres, as they were looked at last. */
export interface SlotsView {
  readonly weighed: readonly WeighedSlot[];
  /** What is wrong with them, a sentence each. */
  readonly troubles: readonly string[];
}

export type OperatorRequest =
  | ({ readonly kind: 'restart'; readonly timeout: Millis | null } & RestartConditions)
  | ({ readonly kind: 'schedule-restart'; readonly timeout: Millis | null; readonly at: string } & RestartConditions)
  /** The server here, which somebody else has run until now (`adopt_from`). */
  | { readonly kind: 'take-over' }
  /** Of Postgres, in maintenance. */
  | { readonly kind: 'stop' }
  | { readonly kind: 'start' }
  /** Whose slot is kept although it is gone. */
  | { readonly kind: 'forget-member'; readonly name: string }
  | { readonly kind: 'cancel-restart' }
  | { readonly kind: 'reload' }
  | { readonly kind: 'restart-daemon'; readonly force: boolean }
  | { readonly kind: 'reinitialize'; readonly force: boolean; readonly fromLeader: boolean };

export type RequestOutcome =
  | { readonly kind: 'done'; readonly sentence: string }
  | { readonly kind: 'accepted'; readonly sentence: string }
  /** `status`: what Patroni answers, where that is not 503. */
  | { readonly kind: 'refused'; readonly sentence: string; readonly status?: number };

/** What became of a switchover or failover that was asked for. */
export type SwitchoverOutcome =
  | { readonly kind: 'done'; readonly leader: NodeName; readonly pausedMs: number | null }
  | { readonly kind: 'scheduled' }
  /** `status`: what Patroni answers, 400, 412 or 503. */
  | { readonly kind: 'refused'; readonly status: number; readonly sentence: string }
  /** `sentence` goes on where "status unknown" ends. */
  | { readonly kind: 'unknown'; readonly sentence: string };

export interface SwitchoverRequest {
  readonly kind: 'switchover' | 'failover';
  readonly leader: string | null;
  readonly candidate: string | null;
  readonly scheduledAt: string | null;
  /** The operator answers for commits that the candidate may lack. */
  readonly forced?: boolean;
}

export type ConfigOutcome =
  | {
      readonly kind: 'stored';
      readonly config: Readonly<Record<string, unknown>>;
      /** What stood there until then; null: nothing, or it could not be read. */
      readonly before: Readonly<Record<string, unknown>> | null;
    }
  | { readonly kind: 'refused'; readonly status: number; readonly sentence: string };

/** Why this node leads, or whether it could. */
export interface NodeExplanation {
  readonly explanation: Explanation;
  /** The last takeover in this cluster that this node knows of. */
  readonly lastTakeover: DecisionRecord | null;
  /** The last takeover by this node, if it was by this process or stands in etcd. */
  readonly mine: DecisionRecord | null;
}

/** The agent as HTTP sees it. */
export interface Control {
  readonly self: NodeName;
  published(): Published;
  now(): Instant;
  /**
   * The one truth behind `/primary`: at this very instant, the window is open, Postgres is out of recovery and passed
   * its last check, no orderly stop has begun, and the published state is not too old.
   */
  writable(): boolean;
  /**
   * Looks at Postgres now instead of showing what the last cycle saw, bounded by `limit`; afterwards `published()`
   * shows it. For GET /patroni, which other members rank by: a position that is two seconds old loses elections.
   */
  look(limit: Millis): Promise<void>;
  /** Looks, and asks the other members, within the limit of an election; decides nothing. */
  explain(): Promise<NodeExplanation>;
  /** Reads etcd now; null when it does not answer. */
  readCluster(): Promise<ClusterView | null>;
  /** What all members have told, newest first; while etcd does not answer, what this one knows of itself. */
  readEvents(): Promise<{ readonly events: readonly ClusterEvent[]; readonly ofAll: boolean }>;
  /** For the audit trail. Nobody waits for it. */
  recordRequest(entry: AuditEntry): void;
  request(request: OperatorRequest): Promise<RequestOutcome>;
  switchover(request: SwitchoverRequest): Promise<SwitchoverOutcome>;
  /** Withdraws a scheduled switchover. */
  cancelSwitchover(): Promise<RequestOutcome>;
  patchConfig(patch: Readonly<Record<string, unknown>>): Promise<ConfigOutcome>;
  putConfig(config: Readonly<Record<string, unknown>>): Promise<ConfigOutcome>;
  /** What stands against storing this as the cluster-wide settings; this node's Postgres is asked too. Nothing changes. */
  problemsOf(config: Readonly<Record<string, unknown>>): Promise<readonly string[]>;
  /** A leader without etcd asks this node to wait for it (protocol.md 29). */
  confirmFailsafe(request: FailsafeRequest): Promise<ConfirmOutcome>;
  /** From the leader whose Postgres is down: fetch its tail (protocol: release record after a rescue). */
  rescue(request: RescueRequest): Promise<RescueAnswer>;
  /** Serves the tail: only while this node's Postgres is down and it holds the key or was the last leader. */
  readWal(tl: Timeline, from: Lsn, to: Lsn): Promise<WalChunk | null>;
}
