/**
 * What one cycle knows, frozen, and how old each fact is. Nothing is fetched while deciding, so that one decision never
 * rests on two snapshots, and any decision can be repeated from its view.
 */
import type { ClusterView, Member } from './cluster.ts';
import type { Gate } from './gate.ts';
import type { LocalPostgres, SystemId } from './local.ts';
import type { Lsn, Timeline } from './lsn.ts';
import type { PeerAnswer } from './peer.ts';
import type { Policy } from './policy.ts';
import type { PoolersView } from './poolers.ts';
import type { Publications } from './published.ts';
import type { ScheduledRestart } from './schedule.ts';
import type { Ailment } from './sickness.ts';
import type { LeaseId, NodeName, Revision } from './store.ts';
import type { Instant, Millis } from './time.ts';
import type { TimelineHistory } from './timeline.ts';
import type { UpstreamMemory } from './upstream.ts';
import { type WatchdogState, watchdogTrouble } from './watchdog.ts';

/** This node's leadership as its lease keeper knows it at one instant. */
export type Leadership =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'holding';
      readonly term: Revision;
      readonly ttl: Millis;
      /** Since when this node holds it in this term, by its own clock. */
      readonly since: Instant;
      /** Postgres may accept writes now: proven, gate passed, guard acked, deadline not reached. */
      readonly windowOpen: boolean;
      /** The last instant it may write. */
      readonly until: Instant;
      /** When the guard strikes. */
      readonly deadline: Instant;
      /** Inherited: not before this may this node promote. */
      readonly gate: Instant;
      /** Since when beats land in etcd, behind the gate, and no window opens all the same; null: that is not so. */
      readonly unopenedSince: Instant | null;
      /** A release was sent and no newer beat has succeeded: the window is closed (protocol.md 18). */
      readonly releaseSent: boolean;
      /** A primary that ran before anybody led here is being taken in: it may go on until its first window opens. */
      readonly adopting: boolean;
      /** Whose word the window was last extended with: `members` while etcd is away (protocol.md 8). */
      readonly provenBy: 'etcd' | 'members';
    };

export type DcsView =
  | { readonly kind: 'never-read' }
  | {
      readonly kind: 'read';
      readonly cluster: ClusterView;
      readonly readAt: Instant;
      /** The newest read was answered; false: what is shown is the last that was. */
      readonly answering: boolean;
    };

/** Another server's line of descent, asked for through a replication connection. */
export interface LearnedLineage {
  readonly of: NodeName;
  /** The leadership during which it was asked. */
  readonly term: Revision;
  readonly at: Instant;
  readonly systemId: SystemId;
  readonly timeline: Timeline;
  readonly position: Lsn;
  readonly history: TimelineHistory;
  readonly inRecovery: boolean;
  /** Read here at the same time: our own way to the timeline that we were on. null: timeline 1, or not readable. */
  readonly ours: { readonly timeline: Timeline; readonly history: TimelineHistory } | null;
  /** The timeline that we were on when this was read; null: none. On another one by now, nothing of it was compared. */
  readonly ourTimeline: Timeline | null;
}

/** WAL of ours that the leader never had. */
export interface Undone {
  readonly from: Lsn;
  readonly to: Lsn;
  /** All of it is still here. */
  readonly whole: boolean;
  /** From the first commit in it to the last one, by this node's clock then; null: none, or they cannot be read. */
  readonly span: Millis | null;
}

/** Our history, if what was read of it is about the timeline that we are on. */
export function ownHistory(lineage: LearnedLineage, timeline: Timeline): TimelineHistory | null {
  return lineage.ours?.timeline === timeline ? lineage.ours.history : null;
}

export interface RunningOperation {
  readonly kind: OperationKind;
  readonly since: Instant;
}

export type OperationKind =
  | 'bootstrap'
  | 'copy'
  | 'rewind'
  | 'start'
  | 'stop'
  | 'promote'
  | 'rescue'
  | 'deliver'
  | 'switchover'
  | 'restart'
  | 'find-end'
  /** Not an operation: the upstream of a running standby could not be written. */
  | 'follow'
  /** Nor this: a key that was given up because no window opened under it. */
  | 'prove'
  /** Nor this: the operator's pre_promote said no when the key was ours. */
  | 'pre-promote';

/** How often something failed in a row, and when last: for backing off. */
export interface Attempts {
  readonly failures: number;
  readonly lastFailedAt: Instant;
  readonly said: string;
}

/** What the failover_validation_command of this node has said in this election. */
export type Validation =
  | { readonly kind: 'not-asked' }
  | { readonly kind: 'running'; readonly since: Instant }
  | { readonly kind: 'approved'; readonly at: Instant }
  | { readonly kind: 'vetoed'; readonly at: Instant; readonly said: string };

/** One round of bringing the tail of a dead primary's WAL to others, within one bound in time. */
export interface RescueTries {
  readonly since: Instant;
  /** When the newest try ended. */
  readonly endedAt: Instant;
  /** How many rounds before this one were in vain. */
  readonly rounds: number;
  /** To whom it could not be brought in this round. */
  readonly failed: ReadonlySet<NodeName>;
}

export interface View {
  readonly now: Instant;
  readonly self: NodeName;
  readonly policy: Policy;
  readonly local: LocalPostgres;
  /** Since when the local Postgres is of this kind. */
  readonly localSince: Instant;
  /** Checks that failed one after the other, and since when; null: the last one passed, or there was nothing to check. */
  readonly failing: { readonly since: Instant; readonly count: number; readonly said: string } | null;
  /** What ails this node, the worst first. */
  readonly ailments: readonly Ailment[];
  /** When this leader last stopped its Postgres because something ailed it; null: it never did. */
  readonly handoverTriedAt: Instant | null;
  readonly dcs: DcsView;
  /** With what this node has confirmed to a leader without etcd: see `confirmed`. */
  readonly gate: Gate | null;
  /** To whom this node has confirmed that it does not promote, and until when; null: to nobody, or that has passed. */
  readonly confirmed: { readonly to: NodeName; readonly until: Instant } | null;
  readonly leadership: Leadership;
  readonly guardAcks: boolean;
  /** What the guard found at `watchdog.device`. */
  readonly watchdog: WatchdogState;
  readonly peers: ReadonlyMap<NodeName, PeerAnswer>;
  readonly operation: RunningOperation | null;
  readonly attempts: ReadonlyMap<OperationKind, Attempts>;
  /** Postgres here was told to promote, and has not been down since. */
  readonly promotionSent: boolean;
  /** End of the local WAL, found since Postgres stopped; null: not looked for yet. */
  readonly endOfWal: Lsn | null;
  /** What was read of WAL that would be undone, since Postgres stopped; null: nothing was. */
  readonly undone: Undone | null;
  readonly lineage: LearnedLineage | null;
  /** The same of another standby that this one may receive from. */
  readonly upstreamLineage: LearnedLineage | null;
  /** What is remembered of members that could feed this standby. */
  readonly upstreams: UpstreamMemory;
  /** The service is being stopped. */
  readonly leaving: boolean;
  /** Since when; null: it is not. */
  readonly leavingSince: Instant | null;
  /** Since when there is nobody whose window could be open (no leader, or his gate has passed) while etcd answers. */
  readonly leaderlessSince: Instant | null;
  /** When something last kept this node from going in this election, other than better candidates; null: nothing did. */
  readonly heldBackAt: Instant | null;
  /** Since when this node knows the operator's wish for another leader; null: there is none. */
  readonly wishSince: Instant | null;
  /** What became of bringing our tail to candidates since Postgres stopped; null: nothing was tried. */
  readonly rescue: RescueTries | null;
  /** Since when this standby follows its upstream without receiving anything; null while it streams. */
  readonly notStreamingSince: Instant | null;
  /** What this node's keys hang on; null: it has no lease yet. */
  readonly lease: LeaseId | null;
  /** Where another machine answers under this node's name, in whose name no other may act; null: nowhere. */
  readonly nameTakenBy: string | null;
  /** This process has stopped Postgres to hand over, and it has not run since. */
  readonly handedOver: boolean;
  /** This process has asked for the scope to become its data's cluster, and that may land late. */
  readonly claimed: boolean;
  /** This process has ended our receiver for an election, and we have followed nobody since. */
  readonly withdrawn: boolean;
  /**
   * Members whose keys ran out a short while ago. After an outage of etcd longer than the TTL all leases are gone, and
   * an election among the keys that are there would be one of a single candidate.
   */
  readonly lately: readonly NodeName[];
  /** The cluster that had this scope when this process last read one: etcd may have been emptied since. */
  readonly formerCluster: SystemId | null;
  /** Who led last, as far as this process has seen; nobody waits for his answer. */
  readonly lastLeader: NodeName | null;
  /** Where he stands; null: not known. */
  readonly lastLeaderLocation: string | null;
  /** Since this node itself last saw the last leader's Postgres alive: receiver message, or own check. */
  readonly sawPrimary: Millis | null;
  readonly validation: Validation;
  /** Which positions the leaders have published while this process listened. */
  readonly publications: Publications;
  /** When it was last seen in this election that another member's command had begun to be against it; null: never. */
  readonly vetoSeenAt: Instant | null;
  /** Members whose Postgres is coming up, and since when they have said so in this election. */
  readonly returningSince: ReadonlyMap<NodeName, Instant>;
  /** How often in the last 24 hours this process has replaced the data directory by a copy without being asked. */
  readonly replacementsToday: number;
  /** By the wall clock, read outside: until the switchover that is scheduled; negative: since. null: none is. */
  readonly switchoverDueIn: Millis | null;
  readonly poolers: PoolersView;
  /** A restart of Postgres that is scheduled here, and until when, in the same way; null: none is. */
  readonly restart: { readonly plan: ScheduledRestart; readonly dueIn: Millis } | null;
  /** An operator has just asked that the server here, which somebody else has run until now, be taken over. */
  readonly takeOverAsked: boolean;
}

/** Why this node may not lead for want of a watchdog device; null: nothing stands against it. */
export function unwatched(view: Pick<View, 'watchdog' | 'policy'>): string | null {
  const { node, cluster } = view.policy;
  return node.watchdog === undefined ? null : watchdogTrouble(view.watchdog, node.watchdog, cluster.ttl);
}

export function memberNamed(cluster: ClusterView, name: NodeName): Member | null {
  return cluster.members.find((member) => member.name === name) ?? null;
}
