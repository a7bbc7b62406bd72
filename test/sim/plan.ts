/**
 * A run as data: the shape of the cluster, its settings, the workload and the faults. The plan is drawn first and
 * complete; only the plan is replayed, so that an old failure stays reproducible when the drawing changes.
 */

/** Something that happens in a world and to which a fault can be tied. */
export type Occasion =
  | 'beat-sent'
  | 'keepalive-sent'
  | 'release-sent'
  | 'acquire-sent'
  | 'take-over-sent'
  | 'retake-sent'
  | 'key-won'
  | 'key-gone'
  | 'promotion-begins'
  | 'promoted'
  | 'guard-armed'
  | 'postmaster-gone'
  | 'copy-begins'
  | 'daemon-started';

/** When a fault strikes. */
export type When =
  /** Milliseconds after the cluster was first whole. */
  | { readonly at: number }
  /** `after` milliseconds after the n-th occasion since the cluster was whole, of that node or of any. */
  | { readonly on: Occasion; readonly nth: number; readonly node: string | null; readonly after: number };

/**
 * Which node: by name, or by the part it plays when the fault strikes. 'event': the one whose occasion it was;
 * 'holder': whoever has the key; 'primary': an instance that accepts writes; 'other': one that is neither.
 */
export type NodeRef = string;

export type RequestFate = 'lost' | 'answer-lost' | 'late' | 'slow';
export type FaultyRequest = 'beat' | 'keepalive' | 'release' | 'acquire' | 'take-over' | 'retake' | 'grant' | 'read';

export type Fault =
  | { readonly kind: 'daemon-kill'; readonly node: NodeRef; readonly restartAfter: number }
  | { readonly kind: 'daemon-pause'; readonly node: NodeRef; readonly for: number }
  | { readonly kind: 'daemon-stop'; readonly node: NodeRef; readonly restartAfter: number }
  | { readonly kind: 'daemon-restart'; readonly node: NodeRef; readonly restartAfter: number }
  | { readonly kind: 'guard-kill'; readonly node: NodeRef }
  | { readonly kind: 'power-loss'; readonly node: NodeRef; readonly bootAfter: number }
  | { readonly kind: 'postmaster-kill'; readonly node: NodeRef; readonly orphans: boolean }
  | { readonly kind: 'postgres-crash'; readonly node: NodeRef }
  | { readonly kind: 'backend-crash'; readonly node: NodeRef }
  | { readonly kind: 'postgres-hang'; readonly node: NodeRef; readonly for: number }
  /** Everything of this node but its clients; null: all planes. */
  | {
      readonly kind: 'cut';
      readonly node: NodeRef;
      readonly plane: 'daemon-etcd' | 'daemon-daemon' | 'replication' | 'client' | null;
      readonly oneWay: boolean;
      readonly for: number;
    }
  | { readonly kind: 'etcd-kill'; readonly member: 'leader' | 'follower' | 'all'; readonly for: number }
  | { readonly kind: 'etcd-isolate'; readonly member: 'leader' | 'follower'; readonly for: number }
  | { readonly kind: 'etcd-move-leader' }
  /**
   * The etcd leader is stuck on its disk and goes on answering keepalives; thawed, it revokes what looks expired to it.
   * `attached`: a node whose keepalives reach only that member, while its transactions reach all.
   */
  | { readonly kind: 'etcd-stuck-leader'; readonly for: number; readonly attached: NodeRef | null }
  | { readonly kind: 'etcd-early-revocation'; readonly node: NodeRef }
  | { readonly kind: 'etcd-no-space'; readonly for: number }
  | {
      readonly kind: 'request';
      readonly node: NodeRef;
      readonly request: FaultyRequest;
      readonly fate: RequestFate;
      readonly ms: number;
      readonly count: number;
    }
  | { readonly kind: 'switchover'; readonly to: 'other' | null }
  | { readonly kind: 'ttl'; readonly ttlMs: number; readonly loopWaitMs: number; readonly retryTimeoutMs: number };

export interface PlannedFault {
  readonly when: When;
  readonly fault: Fault;
}

export interface Plan {
  readonly seed: number;
  readonly nodes: readonly string[];
  readonly etcdMembers: number;
  readonly settings: { readonly ttlMs: number; readonly loopWaitMs: number; readonly retryTimeoutMs: number };
  /** Rate of each node's clock, 1 ± 0.001. */
  readonly clockRates: readonly number[];
  readonly workload: { readonly clients: number; readonly everyMs: number };
  readonly postgres: {
    readonly replicationDelayMs: number;
    readonly slowPromotionChance: number;
    readonly slowStartChance: number;
    readonly failChance: number;
    /** A directory that a rewind cannot bring back may be copied anew; else an operator has to say so. */
    readonly mayCopyAnew: boolean;
  };
  /** Absent in the plans of earlier failures: all as it is by default. */
  readonly policy?: {
    readonly primaryCrash: 'auto' | 'restart' | 'failover';
    readonly visibilityConsensus: boolean;
    /** A node with priority 0; null: each may lead. */
    readonly neverLeads: string | null;
  };
  /** The guard is a unit of its own, which the service manager starts again after so long; null: only the daemon does. */
  readonly guardUnitMs: number | null;
  readonly profile: string;
  readonly faults: readonly PlannedFault[];
  /** How long phase one lasts, and which nodes are well in phase two. */
  readonly safetyMs: number;
  readonly healthyNodes: readonly string[];
  readonly livenessMs: number;
}
