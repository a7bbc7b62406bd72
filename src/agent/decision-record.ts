/**
 * Notes on the way to a takeover by this node what was seen and when each phase was passed, so that afterwards it can be
 * told why this node leads. It only looks on: nothing waits for it and nothing is decided by it. The record is kept in
 * memory; upkeep.ts writes it to etcd after the promotion.
 */
import type { Contender } from '../core/candidate.ts';
import type { Holding, Situation } from '../core/classify.ts';
import { type ClusterView, timelineBeyond } from '../core/cluster.ts';
import type { Judgement } from '../core/decide.ts';
import {
  assemble,
  type DecisionRecord,
  type Marks,
  type Takeover,
  type TakeoverKind,
} from '../core/decision-record.ts';
import { namesOf, type Sighting, sightings } from '../core/election/heard.ts';
import { provesSynchronous } from '../core/election/voting.ts';
import { gateOpen } from '../core/gate.ts';
import type { LocalPostgres } from '../core/local.ts';
import { type LossFacts, type LossStatement, stateLoss } from '../core/loss.ts';
import type { Lsn } from '../core/lsn.ts';
import type { PeerAnswer } from '../core/peer.ts';
import { rankingFor } from '../core/situations/leaderless.ts';
import type { NodeName, Revision } from '../core/store.ts';
import { between, type Instant, type WallTime, wallTime } from '../core/time.ts';
import type { View } from '../core/view.ts';

/** Followers that come later than this after the takeover are not part of its story. */
const FOLLOWERS_MS = 60_000;
/** More changes of mind than this are not remembered one by one; the latest are. */
const MOST_STEPS = 40;
/** Answers older than this were not asked for in this election. */
const ASKED_MS = 10_000;

const BETWEEN: ReadonlySet<Situation['kind']> = new Set(['blind', 'busy', 'orphans']);

type Writable<T> = { -readonly [K in keyof T]: T[K] };

interface UnderWay {
  previous: NodeName | null;
  readonly previousLocation: string | null;
  readonly steps: { readonly at: Instant; readonly rule: string; readonly reason: string }[];
  readonly marks: Writable<Marks>;
  /** Of the status whose hold is waited for. */
  status: Revision | null;
  asked: boolean;
  kind: TakeoverKind;
  release: Takeover['release'];
  sightings: readonly Sighting[];
  peers: ReadonlyMap<NodeName, PeerAnswer>;
  ranking: readonly Contender[];
  /** The last position that the last leader published, and when it was heard here. */
  published: { readonly lsn: Lsn; readonly heardAt: WallTime } | null;
  /** When the last leader's hold ran out, or its record was seen. */
  stoppedBy: WallTime | null;
  unheard: ReturnType<typeof timelineBeyond>;
  /** No commit that waited for synchronous standbys was missing here when the key was asked for. */
  synchronous: boolean;
}

export class TakeoverRecorder {
  private underWay: UnderWay | null = null;
  private completed: Takeover | null = null;
  private readonly followers = new Map<string, Instant>();
  /** What is to be written to etcd, and was not yet. */
  private unwritten = false;
  private followersWritten = false;
  /** Who led when somebody last did. */
  private leader: NodeName | null = null;
  /** ... and who did before him. */
  private leaderBefore: NodeName | null = null;
  /** This process saw Postgres here as a primary under the leadership that was the last, or still is. */
  private wrote = false;
  private keyGoneAt: Instant | null = null;

  /** Each cycle, after it was decided and before anything is done. @param wall - now, for people */
  saw(view: View, { situation, decision }: Judgement, wall: WallTime): void {
    if (view.dcs.kind === 'never-read') return;
    const { cluster, readAt } = view.dcs;
    const leader = cluster.leader?.name ?? view.lastLeader ?? this.leader;
    if (leader !== this.leader) {
      this.leaderBefore = this.leader;
      this.wrote = false;
    }
    this.leader = leader;
    if (view.leadership.kind === 'holding' && view.local.kind === 'primary') this.wrote = true;
    if (cluster.leader !== null) this.keyGoneAt = null;
    else this.keyGoneAt ??= readAt;
    if (view.leadership.kind === 'holding') this.sawHolding(view, view.leadership, wall);
    else if (situation === 'leaderless') this.sawLeaderless(view, cluster, decision, wall);
    // While something runs, or etcd is away, it is still the same story.
    else if (!BETWEEN.has(situation)) this.underWay = null;
  }

  private sawLeaderless(view: View, cluster: ClusterView, decision: Judgement['decision'], wall: WallTime): void {
    // Held before and lost again: what comes is another takeover.
    if (this.underWay === null || this.underWay.marks.acquired !== null) this.underWay = this.begin(view);
    const { underWay } = this;
    const { marks } = underWay;
    const { gate, now } = view;
    if (gate !== null && gate.revision !== underWay.status) {
      underWay.status = gate.revision;
      marks.statusSeen = gate.arrived;
      marks.gateOpened = gate.opensAt === 'never' ? null : gate.opensAt;
      marks.noticed = null;
      marks.answered = null;
      underWay.asked = false;
    }
    marks.keyGone = this.keyGoneAt;
    if (gateOpen(gate, now)) marks.noticed ??= now;
    if (decision.rule === 'leaderless.ask-peers') underWay.asked = true;
    else if (underWay.asked) marks.answered ??= now;
    if (underWay.steps.at(-1)?.rule !== decision.rule) {
      underWay.steps.push({ at: now, rule: decision.rule, reason: decision.reason });
      if (underWay.steps.length > MOST_STEPS) underWay.steps.splice(1, 1);
    }
    if (!decision.actions.some((action) => action.do === 'acquire')) return;
    marks.decided = now;
    underWay.kind = this.kindOf(cluster, gate?.beat?.release ?? null);
    underWay.release = gate?.beat?.release ?? null;
    // He only had the key: what may be lost is what the one before him wrote.
    const unpromoted = underWay.release?.unpromoted === true || cluster.status?.unpromoted === true;
    if (unpromoted) underWay.previous = this.leaderBefore ?? underWay.previous;
    // Nor is it the one before him when a history tells that he was promoted.
    underWay.unheard = view.local.kind === 'standby' ? timelineBeyond(cluster, view.local.timeline) : null;
    underWay.previous = underWay.unheard?.leader ?? underWay.previous;
    const wallOf = (at: Instant): WallTime => wallTime(wall - between(at, now));
    const published = cluster.status?.optime ?? null;
    underWay.published = published === null || gate === null ? null : { lsn: published, heardAt: wallOf(gate.arrived) };
    underWay.stoppedBy = gate === null || gate.opensAt === 'never' ? null : wallOf(gate.opensAt);
    underWay.synchronous = provesSynchronous(view, cluster);
    underWay.peers = new Map([...view.peers].filter(([, answer]) => between(answer.at, now) < ASKED_MS));
    underWay.ranking = view.local.kind === 'standby' ? rankingFor(view, cluster, view.local) : [];
    const lost = underWay.previous;
    underWay.sightings = lost === null ? [] : sightings(view, namesOf(view, cluster), lost);
  }

  private sawHolding(view: View, holding: Holding, wall: WallTime): void {
    const { underWay, completed } = this;
    const { local } = view;
    if (underWay !== null) {
      underWay.marks.acquired ??= holding.since;
      if (!holding.windowOpen) return;
      underWay.marks.proven ??= view.now;
      // Taken in as it ran, or started as the primary that it was: nothing was promoted.
      if (local.kind === 'primary' && view.operation === null)
        this.tookOver(view.now, wall, { node: view.self, term: holding.term, policy: view.policy.cluster }, local);
      return;
    }
    if (completed?.marks.promoted == null || local.kind !== 'primary' || this.followersWritten) return;
    for (const { applicationName, state } of local.senders) {
      if (state === 'streaming' && !this.followers.has(applicationName)) this.followers.set(applicationName, view.now);
    }
    const members = view.dcs.kind === 'read' ? view.dcs.cluster.members : [];
    const expected = members.filter(({ name, pgha }) => name !== view.self && pgha?.role !== 'witness').length;
    const late = between(completed.marks.promoted, view.now) > FOLLOWERS_MS;
    if (this.followers.size < expected && !late) return;
    this.followersWritten = true;
    this.unwritten = true;
  }

  private begin(view: View): UnderWay {
    return {
      previous: this.leader,
      previousLocation: view.lastLeaderLocation,
      steps: [],
      marks: { ...NOTHING },
      status: null,
      asked: false,
      kind: 'failover',
      release: null,
      sightings: [],
      peers: new Map(),
      ranking: [],
      published: null,
      stoppedBy: null,
      unheard: null,
      synchronous: false,
    };
  }

  private kindOf(cluster: ClusterView, release: Takeover['release']): TakeoverKind {
    if (cluster.status === null) return 'first';
    if (release !== null) return release.asked ? 'switchover' : 'hand-over';
    return cluster.failover !== null && cluster.failover.leader === null ? 'failover-by-hand' : 'failover';
  }

  /** Immediately before Postgres is told to promote. */
  promoteSent(at: Instant): void {
    if (this.underWay !== null) this.underWay.marks.promoteSent = at;
  }

  /**
   * This node accepts writes.
   *
   * @param from - where its new timeline begins; null: it was not promoted, or that is not known
   * @param synchronous - commits wait for standbys, by the `sync` key
   * @returns the record of how that came about; null: nothing was seen of it
   */
  tookOver(
    at: Instant,
    wall: WallTime,
    by: { readonly node: NodeName; readonly term: Revision; readonly policy: Takeover['policy'] },
    local: LocalPostgres,
    from: Lsn | null = null,
    synchronous = false,
  ): DecisionRecord | null {
    const { underWay } = this;
    if (underWay === null) return null;
    this.underWay = null;
    this.followers.clear();
    this.followersWritten = false;
    this.unwritten = true;
    const { marks, previous, previousLocation, steps, kind, release, ranking, peers } = underWay;
    this.completed = {
      ...by,
      kind,
      previous,
      previousLocation,
      release,
      steps,
      sightings: underWay.sightings,
      peers,
      ranking,
      marks: { ...marks, promoted: at },
      completedAt: wall,
      timeline: local.kind === 'primary' ? local.timeline : null,
      lsn: local.kind === 'primary' ? local.flushed : null,
      loss: lossOf(underWay, by.node, local, from, {
        wroteBefore: this.wrote,
        synchronous: synchronous && underWay.synchronous,
      }),
      followers: this.followers,
    };
    return this.record;
  }

  /** Of the last takeover by this process. */
  get record(): DecisionRecord | null {
    return this.completed === null ? null : assemble(this.completed);
  }

  /** What etcd should be told and was not yet. */
  get due(): DecisionRecord | null {
    return this.unwritten ? this.record : null;
  }

  written(): void {
    this.unwritten = false;
  }
}

function lossOf(
  underWay: UnderWay,
  node: NodeName,
  local: LocalPostgres,
  from: Lsn | null,
  known: Pick<LossFacts, 'wroteBefore' | 'synchronous'>,
): LossStatement | null {
  const { previous, release, published, stoppedBy, kind, unheard } = underWay;
  if (from === null || previous === null || kind === 'first' || local.kind !== 'primary') return null;
  return stateLoss({
    previous,
    node,
    ...known,
    has: from,
    published,
    // Who names nobody may have given up without having found where his WAL ends; and who was not promoted cannot know
    // where that of the one before him ended.
    end: release?.candidate == null || release.unpromoted === true ? null : release.lsn,
    lastCommit: local.recoveredUpTo ?? null,
    stoppedBy,
    unheard,
  });
}

const NOTHING: Marks = {
  statusSeen: null,
  keyGone: null,
  gateOpened: null,
  noticed: null,
  answered: null,
  decided: null,
  acquired: null,
  proven: null,
  promoteSent: null,
  promoted: null,
};
