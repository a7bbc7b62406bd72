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
  | 'rewound'
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
export type FaultyRequest =
  | 'beat'
  | 'keepalive'
  | 'release'
  | 'acquire'
  | 'take-over'
  | 'retake'
  | 'grant'
  | 'read'
  | 'sync';

export const SICKNESSES = [
  'full',
  'read-only',
  'io-error',
  'hang',
  'checkpointer',
  'crashes',
  'archiver',
  'wraparound',
] as const;
export type SimulatedSickness = (typeof SICKNESSES)[number];

export type GarbledKey = 'config' | 'failover' | 'history' | 'status' | 'members/stranger';

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
  /** `stopped`: its processes are (SIGSTOP), so it ends with them; else the disk hangs under it. */
  | { readonly kind: 'postgres-hang'; readonly node: NodeRef; readonly for: number; readonly stopped?: true }
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
  /** Virtual machines are moved and saved: nothing on it runs. `bootClock`: whether that clock noticed it. */
  | { readonly kind: 'machine-suspend'; readonly node: NodeRef; readonly for: number; readonly bootClock: boolean }
  | { readonly kind: 'wall-step'; readonly node: NodeRef; readonly by: number }
  | { readonly kind: 'etcd-freeze'; readonly member: 'leader' | 'follower'; readonly for: number }
  | { readonly kind: 'etcd-wipe' }
  /** Back to what it held that long ago, as by `etcdctl snapshot restore`: revisions and raft terms go back. */
  | { readonly kind: 'etcd-restore'; readonly ageMs: number; readonly newCluster: boolean }
  /** These nodes on one side, the rest on the other; `etcd`: which side does not reach it. */
  | {
      readonly kind: 'split';
      readonly nodes: readonly string[];
      readonly etcd: 'none' | 'these' | 'rest';
      readonly for: number;
    }
  /** Something ails it or its disk. `hang`: for the daemon's own small writes only; `crashes`: of one backend after the other. */
  | { readonly kind: 'sick'; readonly node: NodeRef; readonly of: SimulatedSickness; readonly for: number }
  /** The local check fails although Postgres works for everybody else. */
  | { readonly kind: 'check-fails'; readonly node: NodeRef; readonly for: number }
  /** All connections are taken: it serves those it has. */
  | { readonly kind: 'connections-full'; readonly node: NodeRef; readonly for: number }
  | { readonly kind: 'guard-pause'; readonly node: NodeRef; readonly for: number }
  /** Somebody writes something else into a key that pgha reads. */
  | { readonly kind: 'garbage'; readonly key: GarbledKey; readonly value: string }
  | { readonly kind: 'reload'; readonly node: NodeRef }
  | { readonly kind: 'promotions-fail'; readonly node: NodeRef; readonly count: number }
  | { readonly kind: 'starts-fail'; readonly node: NodeRef; readonly count: number }
  | { readonly kind: 'wal-unreadable'; readonly node: NodeRef; readonly for: number }
  /** A file system that is not mounted, wrong permissions: seen once Postgres is down. */
  | { readonly kind: 'directory-unusable'; readonly node: NodeRef; readonly for: number }
  /** The machine comes back with another cluster's data. */
  | { readonly kind: 'foreign-data'; readonly node: NodeRef; readonly bootAfter: number }
  /** What operators do. */
  | { readonly kind: 'maintenance'; readonly for: number }
  | { readonly kind: 'settings'; readonly patch: Json; readonly for: number }
  /** `inMs`: it is scheduled for then; absent: now. */
  | { readonly kind: 'restart'; readonly node: NodeRef; readonly inMs?: number }
  | { readonly kind: 'reinitialize'; readonly node: NodeRef; readonly force: boolean }
  | { readonly kind: 'scheduled-switchover'; readonly inMs: number; readonly withdrawAfter: number | null }
  /** `forced`: the operator answers for commits that are missing there. */
  | { readonly kind: 'failover-by-hand'; readonly to: NodeRef; readonly forced?: true }
  | { readonly kind: 'switchover'; readonly to: 'other' | null }
  | { readonly kind: 'ttl'; readonly ttlMs: number; readonly loopWaitMs: number; readonly retryTimeoutMs: number };

export interface PlannedFault {
  readonly when: When;
  readonly fault: Fault;
}

export type Json = Readonly<Record<string, unknown>>;

/** What a node's own file says of it. */
export interface Member {
  readonly priority?: number;
  /** null: none is set. */
  readonly nodeId?: number | null;
  readonly noFailover?: boolean;
  readonly location?: string;
  /** Whom it streams from; absent: the leader. */
  readonly upstream?: string;
  /** It has no Postgres. */
  readonly witness?: true;
  /** Its failover_validation_command; absent: none. */
  readonly validation?: 'approves' | 'vetoes' | 'hangs' | 'sometimes';
}

/** What there is before the first daemon starts. */
export interface Brought {
  readonly node: string;
  /** All other nodes are its running standbys: a cluster that somebody else has kept is taken over. */
  readonly standbys?: true;
  readonly as: 'running primary' | 'stopped primary' | 'stopped standby';
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
  /** Cluster-wide settings beside the times, as in a configuration file. */
  readonly config?: Json;
  readonly members?: Readonly<Record<string, Member>>;
  /** null, absent: everything is new. */
  readonly brought?: Brought | null;
  readonly guard?: 'off';
  /** So many poolers stand in front; absent: none. */
  readonly poolers?: number;
  /** Absent: no address follows the leader. */
  readonly virtualAddress?: true;
  /** A plan that has to fail: nobody is excused. */
  readonly canary?: true;
  /** The guard is a unit of its own, which the service manager starts again after so long; null: only the daemon does. */
  readonly guardUnitMs: number | null;
  readonly profile: string;
  readonly faults: readonly PlannedFault[];
  /** They strike while the cluster is being made; times count from the start. */
  readonly early?: readonly PlannedFault[];
  /** How long phase one lasts, and which nodes are well in phase two. */
  readonly safetyMs: number;
  readonly healthyNodes: readonly string[];
  readonly livenessMs: number;
}
