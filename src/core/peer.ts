/** What another member said of itself when it was asked over HTTP (its `GET /patroni`). */
import type { SystemId } from './local.ts';
import type { Lsn, Timeline } from './lsn.ts';
import type { NodeName, Revision } from './store.ts';
import type { Instant, Millis } from './time.ts';

export interface EtcdRead {
  readonly ago: Millis;
  readonly unbrokenFor: Millis;
  /** Which etcd that was, and of the store then. */
  readonly clusterId: string;
  readonly revision: Revision;
}

export interface PeerStatus {
  readonly name: NodeName;
  /** `running`, `stopped`, `starting`, ... as Patroni names them. */
  readonly state: string;
  readonly inRecovery: boolean;
  readonly timeline: Timeline | null;
  /** The larger of received and replayed on a standby, the flush position on a primary; null when unknown. */
  readonly position: Lsn | null;
  readonly replayed: Lsn | null;
  /** false while it still replays what it had before its start. Patroni does not say: true. */
  readonly positionFinal: boolean;
  /** Its Postgres does not answer its daemon: the position is from before, and it may have confirmed commits since. */
  readonly outdated: boolean;
  readonly noFailover: boolean;
  readonly priority: number;
  readonly nodeId: number | null;
  readonly location: string;
  readonly systemId: SystemId | null;
  /** Which cluster this scope was when its daemon last read one, also where etcd has forgotten it since; null: it does not say. */
  readonly knownCluster: SystemId | null;
  /** Its Postgres accepts writes and its window is open, by its own account. Patroni members: role primary. */
  readonly writable: boolean;
  /** Since it last saw the primary alive (receiver message or own check); null when it never did or does not say. */
  readonly sawPrimary: Millis | null;
  /** Which member that primary was; null when it does not say. */
  readonly sawPrimaryOf: NodeName | null;
  /** A WAL receiver runs there: its position may still grow. Patroni does not say: false. */
  readonly receiving: boolean;
  /**
   * A WAL receiver runs there, or will be started again: it may still confirm commits of a primary that nobody stopped.
   * null: it does not say, or cannot be kept from it (Patroni; Postgres 12).
   */
  readonly mayReceive: boolean | null;
  /** It has no Postgres: it only says whom it sees. */
  readonly witness: boolean;
  /** It has a failover_validation_command. */
  readonly validates: boolean;
  /** Its failover_validation_command is being asked: it goes when that has said yes. */
  readonly validating: boolean;
  /** Its failover_validation_command said no; it stays out of elections for so long. null: it did not. */
  readonly vetoedFor: Millis | null;
  /** Until it may take over, by its own gate. null: nobody knows (maintenance), or it does not say. */
  readonly gateLeft: Millis | null;
  /** Until nobody may promote by what was lost with an etcd that was replaced, and was read there. null: nothing of it. */
  readonly lostGateLeft: Millis | null;
  /**
   * How long ago it last read etcd, and for how long it has read it without a silence in which etcd could have been
   * replaced. null: it does not say, or has not read it.
   */
  readonly etcdRead: EtcdRead | null;
  /** What ails it; Patroni does not say: nothing. */
  readonly ailing: readonly string[];
  /** Since something that a failover may help against last ailed it; null: never, or it does not say. */
  readonly ailedAgo: Millis | null;
  /** What is free on the fullest of its disks; null: it does not say. */
  readonly freeBytes: bigint | null;
  /** Whether a pgha member answered: one of Patroni knows no rescue. */
  readonly pgha: boolean;
}

export type PeerAnswer =
  /** What he says may be as old as the question (`at`); he was heard later. */
  | { readonly kind: 'answered'; readonly at: Instant; readonly heardAt: Instant; readonly status: PeerStatus }
  | { readonly kind: 'silent'; readonly at: Instant; readonly cause: string };

/** From the leader whose Postgres is down to the candidate: fetch my tail, then tell me. */
export interface RescueRequest {
  readonly leader: NodeName;
  readonly term: Revision;
  readonly systemId: SystemId;
  readonly timeline: Timeline;
  /** End of the dead primary's WAL. */
  readonly end: Lsn;
  /** How long the leader waits for it; null: one that does not say. */
  readonly limit: Millis | null;
}

export type RescueAnswer =
  | { readonly kind: 'delivered'; readonly replayed: Lsn }
  | { readonly kind: 'refused'; readonly reason: string };
