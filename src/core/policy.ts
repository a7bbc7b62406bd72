/**
 * What the operator has chosen, in the form in which rules use it. `cluster` is the same on all nodes (etcd's `config`
 * key, with this node's overrides merged over it); `node` is this node alone.
 */

import type { PoolerPolicy } from './poolers.ts';
import type { SyncMode } from './quorum.ts';
import type { SicknessPolicy } from './sickness.ts';
import type { SlotPolicy } from './slots.ts';
import type { NodeName } from './store.ts';
import type { Millis } from './time.ts';

export type CheckType = 'ping' | 'connection' | 'query';

/** When the loss of standbys makes the leader run child_nodes_disconnect_command. */
export interface ChildNodesPolicy {
  readonly checkInterval: Millis;
  /** Fewer connected than this; 0 and less: not set. */
  readonly connectedMinCount: number;
  /** So many lost; counts where the other is not set. 0 and less: not set. */
  readonly disconnectMinCount: number;
  /** So old the newest loss must be. */
  readonly disconnectTimeout: Millis;
  readonly includeWitness: boolean;
}

/** Whether and for whom commits wait. */
export interface SynchronousPolicy {
  readonly mode: 'off' | SyncMode;
  /** Without any synchronous standby no commit is acknowledged. */
  readonly strict: boolean;
  /** How many standbys a commit waits for, where there are so many. */
  readonly count: number;
  /** A standby further behind the best one, in bytes, is not waited for; 0 and less: no limit. */
  readonly maximumLagBytes: bigint;
}

/** Where a standby cluster gets its WAL: the primary of another cluster, an archive, or both. */
export interface RemoteSource {
  /** Several, with commas between: whichever of them accepts writes. null: there is only the archive. */
  readonly host: string | null;
  readonly port: number;
  /** A slot that its operator keeps there; null: none is used. */
  readonly slot: string | null;
  /** Names of create_replica_methods, for the first copy; null: those of this node's own file. */
  readonly copyMethods: readonly string[] | null;
  readonly restoreCommand: string | null;
  readonly archiveCleanupCommand: string | null;
  /** As Postgres reads it: `5min`. */
  readonly recoveryMinApplyDelay: string | null;
}

/** That source where a member is named otherwise. No member can be called so: names have no slash. */
export const REMOTE = '/remote' as NodeName;

export interface ClusterPolicy {
  readonly ttl: Millis;
  readonly loopWait: Millis;
  readonly retryTimeout: Millis;
  readonly maximumLagOnFailoverBytes: bigint;
  /** So much older than the last published position a candidate's data may be; 0: however old. */
  readonly maximumLagOnFailoverTime: Millis;
  /** How long a primary may take to start (crash recovery) before the key goes to somebody else. */
  readonly primaryStartTimeout: Millis;
  /** Bound of an orderly stop of the primary in a switchover, before it is ended. */
  readonly primaryStopTimeout: Millis;
  /** What happens when the primary's postmaster dies and its node lives (design 4). */
  readonly primaryCrash: 'auto' | 'restart' | 'failover';
  /** What follows when a dead primary's WAL tail could not be brought to anybody; `auto`: as `primaryCrash` says. */
  readonly walRescue: 'auto' | 'restart' | 'wait' | 'lose';
  /** Bound of the whole rescue of a dead primary's WAL tail. */
  readonly walRescueTimeout: Millis;
  readonly checkType: CheckType;
  readonly checkTimeout: Millis;
  readonly reconnectAttempts: number;
  readonly reconnectInterval: Millis;
  readonly primaryVisibilityConsensus: boolean;
  readonly failover: 'automatic' | 'manual';
  /** Before an election without a release record every standby ends its receiver, so that positions are final. */
  readonly standbyDisconnectOnFailover: boolean;
  /** How long the election waits for receivers of others to end. */
  readonly siblingNodesDisconnectTimeout: Millis;
  /** The longest a candidate stands back for better ones, however many there are. */
  readonly primaryNotificationTimeout: Millis;
  /** After its failover_validation_command said no, a candidate stays out of the election for so long. */
  readonly electionRerunInterval: Millis;
  /** Whether the lead may go to another location than that of the last leader while nobody there can be seen. */
  readonly locationPolicy: 'strict' | 'prefer' | 'off';
  readonly childNodes: ChildNodesPolicy;
  readonly synchronous: SynchronousPolicy;
  readonly pause: boolean;
  /** This cluster takes no writes: it follows another one. Left out: it is a cluster of its own. */
  readonly standbyCluster?: RemoteSource;
  /** While etcd is away the leader goes on for as long as every member confirms (protocol.md 8). */
  readonly failsafeMode: boolean;
  readonly usePgRewind: boolean;
  readonly useSlots: boolean;
  readonly memberSlotsTtl: Millis;
  /** A slot that holds back more WAL than this is told of; 0: only when Postgres finds it too much. */
  readonly slotWalWarningBytes: bigint;
  readonly slots: SlotPolicy;
  readonly sickness: SicknessPolicy;
  /** The leader keeps a history of lags. */
  readonly monitoringHistory: boolean;
  /** Entries of the history key; 0: all are kept. */
  readonly maxTimelinesHistory: number;
  /** How often the log says how this node stands; 0: never. */
  readonly logStatusInterval: Millis;
  readonly removeDataDirectoryOnRewindFailure: boolean;
  readonly removeDataDirectoryOnDivergedTimelines: boolean;
  /** So many times in 24 hours a directory may be replaced by a copy although neither of the two allows it. */
  readonly replacementsPerDay: number;
}

export interface NodePolicy {
  readonly name: NodeName;
  /** null: ties are broken by name. */
  readonly nodeId: number | null;
  /** 0: never leads. */
  readonly priority: number;
  readonly noFailover: boolean;
  readonly location: string;
  /** `witness`: no Postgres here; it says whom it sees and where it stands, and is never a candidate. */
  readonly role: 'node' | 'witness';
  /** The member to stream from (`upstream_node`, tag `replicatefrom`); null: the leader. */
  readonly upstream: NodeName | null;
  /** Tag `nostream`: WAL comes by restore_command alone. Left out: it streams. */
  readonly noStream?: true;
  /** A cluster that this node makes (bootstrap.dcs) is a standby cluster. Left out: it is not. */
  readonly makesStandbyCluster?: true;
  /** What runs the cluster until an operator hands it over to pgha (situations/shadow.ts). Left out: nothing does. */
  readonly adoptFrom?: 'repmgr' | 'streaming';
  /** A failover_validation_command is configured here: it is asked before this node takes the key. */
  readonly validates: boolean;
  /** Clients are held back in these before a planned stop. Left out: there are none. */
  readonly poolers?: PoolerPolicy;
  /** Whether this node leads without a watchdog device; left out: it does. */
  readonly watchdog?: { readonly mode: 'off' | 'automatic' | 'required'; readonly safetyMargin: Millis | null };
}

/**
 * Patroni's `failover_priority` on our scale. Its default of 1 is our default of 100, and what goes before its default
 * goes before ours; 0 and less is never.
 */
export const fromFailoverPriority = (value: number): number => (value <= 0 ? 0 : 99 + value);

/** The other way round, for the tag that Patroni members read; all below our default are its lowest that may lead. */
export const toFailoverPriority = (priority: number): number => (priority <= 0 ? 0 : Math.max(1, priority - 99));

export interface Policy {
  readonly cluster: ClusterPolicy;
  readonly node: NodePolicy;
}
