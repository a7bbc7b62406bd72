/**
 * Views for tests of the decision core: each builder fills in what a case does not care about, so that a row shows only
 * what it is about. This node is always `b`; the others are `a`, who led before, and `c`. Everything is well unless
 * a row says otherwise.
 */
import { resolveCluster } from '../../../src/config/settings.ts';
import type { Action } from '../../../src/core/action.ts';
import type { Holding } from '../../../src/core/classify.ts';
import type {
  Beat,
  ClusterView,
  FailoverRequest,
  HistoryLine,
  Member,
  MemberExtras,
  Status,
} from '../../../src/core/cluster.ts';
import type { Gate } from '../../../src/core/gate.ts';
import { type LocalPostgres, type Primary, type Standby, type Stopped, systemId } from '../../../src/core/local.ts';
import { type Lsn, NOWHERE, parseLsn, timeline } from '../../../src/core/lsn.ts';
import type { PeerAnswer, PeerStatus } from '../../../src/core/peer.ts';
import type { ClusterPolicy, NodePolicy, Policy } from '../../../src/core/policy.ts';
import { NOBODY_HELD } from '../../../src/core/poolers.ts';
import type { RuleId } from '../../../src/core/rules.ts';
import { NO_SLOTS_ASKED_FOR } from '../../../src/core/slots.ts';
import { type LeaseId, leaseId, type NodeName, nodeName, type Revision, revision } from '../../../src/core/store.ts';
import { type Instant, instant, millis, seconds } from '../../../src/core/time.ts';
import { parseHistory } from '../../../src/core/timeline.ts';
import { NOTHING_REMEMBERED } from '../../../src/core/upstream.ts';
import type { Attempts, LearnedLineage, OperationKind, View } from '../../../src/core/view.ts';

export const NOW: Instant = instant(100_000);
export const before = (ms: number): Instant => instant(NOW - ms);
export const after = (ms: number): Instant => instant(NOW + ms);

export const SYSTEM = systemId('7438123456789012345');
export const SELF = nodeName('b');
/** Where everybody's WAL ends unless a row says otherwise. */
export const END: Lsn = parseLsn('0/5000060');
export const at = (position: string): Lsn => parseLsn(position);
/** The term in which `a` leads, and the revision of its last beat. */
export const TERM: Revision = revision(40);
export const STATUS: Revision = revision(50);

// ---- Postgres ---------------------------------------------------------------------------------------------------------

const running = {
  systemId: SYSTEM,
  timeline: timeline(2),
  version: 150018,
  startedAt: '2026-11-20 10:44:00.123456+00:00',
  pendingRestart: [],
  failing: null,
} as const;

export const aPrimary = (over: Partial<Primary> = {}): Primary => ({
  kind: 'primary',
  ...running,
  flushed: END,
  senders: [aSender('a'), aSender('c')],
  checkpointed: true,
  ...over,
});

export const aSender = (name: string, state = 'streaming'): Primary['senders'][number] => ({
  applicationName: name,
  user: 'replicator',
  clientAddress: '10.0.0.9',
  state,
  syncState: 'async',
  syncPriority: 0,
  sent: END,
  flushed: END,
  replayed: END,
});

/** Streams from `a`. */
export const aStandby = (over: Partial<Standby> = {}): Standby => ({
  kind: 'standby',
  ...running,
  received: END,
  replayed: END,
  replayedAt: null,
  replayPaused: false,
  positionFinal: true,
  receiver: { streaming: true, from: '10.0.0.1:5432', timeline: timeline(2), lastMessage: millis(10) },
  follows: '10.0.0.1:5432',
  senders: [],
  ...over,
});

/** A standby whose upstream is gone. */
export const aLoneStandby = (over: Partial<Standby> = {}): Standby => aStandby({ receiver: null, ...over });

export const FAILING = { check: 'query', said: 'no answer within 1000 ms' } as const;

/** A primary that crashed. */
export const aStopped = (over: Partial<Stopped> = {}): Stopped => ({
  kind: 'stopped',
  systemId: SYSTEM,
  timeline: timeline(2),
  version: 150018,
  cleanly: false,
  wasPrimary: true,
  standbySignal: false,
  checkpoint: at('0/5000028'),
  minRecoveryPoint: NOWHERE,
  ...over,
});

export const aSilent = (): LocalPostgres => ({ kind: 'silent', since: millis(2_000), said: 'no answer' });
export const isStarting = (asPrimary: boolean): LocalPostgres => ({ kind: 'starting', since: millis(500), asPrimary });

// ---- etcd -------------------------------------------------------------------------------------------------------------

const ADDRESSES: Readonly<Record<string, string>> = { a: '10.0.0.1', b: '10.0.0.2', c: '10.0.0.3' };

/** What a member that runs pgha writes of itself. */
export const someExtras = (over: Partial<MemberExtras> = {}): MemberExtras => ({
  version: '0.1.0',
  nodeId: null,
  priority: 100,
  location: 'default',
  sawPrimary: null,
  guard: 'on',
  role: 'node',
  upstream: null,
  receivesFrom: null,
  dataDirectory: null,
  ...over,
});

export function aMember(name: string, over: Partial<Member> = {}): Member {
  const host = ADDRESSES[name] ?? '10.0.0.9';
  return {
    name: nodeName(name),
    lease: leaseId(`lease-of-${name}`),
    apiUrl: `http://${host}:8008/patroni`,
    connUrl: `postgres://${host}:5432/postgres`,
    host,
    port: 5432,
    state: 'running',
    role: name === 'a' ? 'primary' : 'replica',
    version: '4.1.4',
    timeline: timeline(2),
    xlogLocation: END,
    receiveLsn: null,
    replayLsn: null,
    replicationState: null,
    checkpointed: true,
    pendingRestart: false,
    pause: false,
    tags: {},
    pgha: null,
    raw: {},
    ...over,
  };
}

export const aBeat = (over: Partial<Beat> = {}): Beat => ({
  term: TERM,
  seq: 7,
  holdMs: 10_000,
  release: null,
  ...over,
});

export const aRelease = (candidate: string | null, position: Lsn = END): Beat =>
  aBeat({ holdMs: 0, release: { lsn: position, candidate: candidate === null ? null : nodeName(candidate) } });

export const aStatus = (over: Partial<Status> = {}): Status => ({
  revision: STATUS,
  optime: END,
  slots: new Map(),
  retainSlots: [],
  leader: null,
  location: null,
  beat: aBeat(),
  ...over,
});

export const aRequest = (
  over: { leader?: string; candidate?: string; scheduledAt?: string } = {},
): FailoverRequest => ({
  revision: revision(60),
  leader: over.leader === undefined ? null : nodeName(over.leader),
  candidate: over.candidate === undefined ? null : nodeName(over.candidate),
  scheduledAt: over.scheduledAt ?? null,
});

export const aHistoryLine = (id: number): HistoryLine => ({
  timeline: timeline(id),
  lsn: at('0/3000000'),
  reason: 'no recovery target specified',
  when: null,
  newLeader: null,
});

export interface ClusterOver extends Partial<Omit<ClusterView, 'leader' | 'initialize'>> {
  /** Holds the key in TERM. */
  readonly leader?: string | null;
  readonly initialize?: string | null;
  /** Somebody runs Patroni and is making the cluster: its empty key hangs on no lease. */
  readonly initializeLease?: LeaseId | null;
}

/** Three members, `a` leads. */
export function aCluster(over: ClusterOver = {}): ClusterView {
  const { leader = 'a', initialize = SYSTEM, initializeLease = null, ...rest } = over;
  return {
    clusterId: 'one',
    revision: revision(100),
    raftTerm: 2n,
    leader: leader === null ? null : { name: nodeName(leader), term: TERM, lease: leaseId(`lease-of-${leader}`) },
    status: aStatus(),
    initialize: initialize === null ? null : { value: initialize, revision: revision(5), lease: initializeLease },
    config: null,
    failover: null,
    failsafe: null,
    sync: null,
    history: [],
    lastTakeover: null,
    poolers: null,
    members: ['a', 'b', 'c'].map((name) => aMember(name)),
    garbledConfig: null,
    notUnderstood: [],
    ...rest,
  };
}

/** A gate that passed five seconds ago, of the last leader's newest beat. */
export const aGate = (over: Partial<Gate> = {}): Gate => ({
  revision: STATUS,
  arrived: before(15_000),
  writtenAfter: before(16_000),
  opensAt: before(5_000),
  beat: aBeat(),
  clusterId: 'one',
  storeRevision: revision(100),
  readAt: before(0),
  beatless: null,
  ...over,
});

export const closedGate = (ms: number): Gate => aGate({ arrived: before(0), opensAt: after(ms) });

// ---- others -----------------------------------------------------------------------------------------------------------

/** A member that answered a moment ago: a standby with all of the WAL. */
export function aPeer(name: string, over: Partial<PeerStatus> & { readonly at?: Instant } = {}): PeerAnswer {
  const { at: answeredAt = before(100), ...rest } = over;
  return {
    kind: 'answered',
    at: answeredAt,
    heardAt: answeredAt,
    status: {
      name: nodeName(name),
      state: 'running',
      inRecovery: true,
      timeline: timeline(2),
      position: END,
      replayed: END,
      positionFinal: true,
      outdated: false,
      noFailover: false,
      priority: 100,
      nodeId: null,
      location: 'default',
      systemId: SYSTEM,
      knownCluster: null,
      writable: false,
      sawPrimary: null,
      sawPrimaryOf: null,
      receiving: false,
      mayReceive: false,
      witness: false,
      validates: false,
      validating: false,
      vetoedFor: null,
      gateLeft: null,
      lostGateLeft: null,
      etcdRead: null,
      ailing: [],
      ailedAgo: null,
      freeBytes: 10_737_418_240n,
      pgha: true,
      ...rest,
    },
  };
}

export const aSilentPeer = (answeredAt: Instant = before(100)): PeerAnswer => ({
  kind: 'silent',
  at: answeredAt,
  cause: 'no answer within 500 ms',
});

export const peers = (answers: Readonly<Record<string, PeerAnswer>>): ReadonlyMap<NodeName, PeerAnswer> =>
  new Map(Object.entries(answers).map(([name, answer]) => [nodeName(name), answer]));

/** What `a` told of its line, in its present term: timeline 2, branched off timeline 1 at 0/3000000. */
export const aLineage = (over: Partial<LearnedLineage> = {}): LearnedLineage => ({
  of: nodeName('a'),
  term: TERM,
  at: before(10),
  systemId: SYSTEM,
  timeline: timeline(2),
  position: END,
  history: parseHistory('1\t0/3000000\tno recovery target\n'),
  inRecovery: false,
  ours: { timeline: timeline(2), history: parseHistory('1\t0/3000000\tno recovery target\n') },
  ourTimeline: null,
  ...over,
});

/** `a` was promoted to timeline 3 and left ours at this position. */
export const newLineage = (switchedAt: string, over: Partial<LearnedLineage> = {}): LearnedLineage =>
  aLineage({
    timeline: timeline(3),
    position: at('0/7000000'),
    history: parseHistory(`1\t0/3000000\tx\n2\t${switchedAt}\tx\n`),
    ...over,
  });

// ---- this node --------------------------------------------------------------------------------------------------------

/** This node leads, and its window is open for five more seconds. */
export function holding(over: Partial<Holding> = {}): Holding {
  return {
    kind: 'holding',
    term: TERM,
    ttl: seconds(10),
    since: before(30_000),
    windowOpen: true,
    until: after(6_000),
    deadline: after(5_000),
    gate: before(30_000),
    unopenedSince: null,
    releaseSent: false,
    adopting: false,
    provenBy: 'etcd',
    ...over,
  };
}

export const noWindow = (over: Partial<Holding> = {}): Holding =>
  holding({ windowOpen: false, until: before(1), deadline: before(1_001), ...over });

/** The defaults, but for what the tests' figures rest on. */
export const clusterPolicy: ClusterPolicy = {
  ...resolveCluster(null, {}).cluster,
  ttl: seconds(10),
  loopWait: seconds(2),
  retryTimeout: seconds(3),
  maximumLagOnFailoverBytes: 1_048_576n,
  maximumLagOnFailoverTime: millis(0),
  primaryStartTimeout: seconds(300),
  primaryStopTimeout: seconds(10),
  primaryCrash: 'auto',
  walRescue: 'auto',
  walRescueTimeout: seconds(5),
  checkType: 'query',
  checkTimeout: seconds(1),
  reconnectAttempts: 3,
  reconnectInterval: seconds(1),
  primaryVisibilityConsensus: false,
  failover: 'automatic',
  pause: false,
  usePgRewind: true,
  useSlots: true,
  memberSlotsTtl: seconds(1_800),
  slotWalWarningBytes: 1_073_741_824n,
  slots: NO_SLOTS_ASKED_FOR,
  removeDataDirectoryOnRewindFailure: true,
  removeDataDirectoryOnDivergedTimelines: false,
  replacementsPerDay: 0,
};

export const failed = (
  kind: OperationKind,
  failures: number,
  lastFailedAt: Instant = before(60_000),
): ReadonlyMap<OperationKind, Attempts> => new Map([[kind, { failures, lastFailedAt, said: `${kind} failed` }]]);

export const aNode = (name: string, over: Partial<NodePolicy> = {}): NodePolicy => ({
  name: nodeName(name),
  nodeId: null,
  priority: 100,
  noFailover: false,
  location: 'default',
  role: 'node',
  upstream: null,
  validates: false,
  ...over,
});

export interface ViewOver extends Partial<Omit<View, 'policy' | 'dcs'>> {
  /** Settings of the cluster and of this node that differ. */
  readonly set?: Partial<ClusterPolicy>;
  readonly node?: Partial<NodePolicy>;
  readonly cluster?: ClusterView;
  /** 'silent': the newest read was not answered, and what is shown is older. */
  readonly etcd?: 'answers' | 'silent' | 'never-read';
}

/** A standby that streams from `a`, who leads. */
export function aView(over: ViewOver = {}): View {
  const { set = {}, node = {}, cluster = aCluster(), etcd = 'answers', ...rest } = over;
  const policy: Policy = {
    cluster: { ...clusterPolicy, ...set },
    node: aNode(SELF, node),
  };
  return {
    now: NOW,
    undone: null,
    self: SELF,
    policy,
    local: aStandby(),
    localSince: before(60_000),
    failing: null,
    ailments: [],
    handoverTriedAt: null,
    dcs:
      etcd === 'never-read'
        ? { kind: 'never-read' }
        : { kind: 'read', cluster, readAt: before(100), answering: etcd === 'answers' },
    gate: closedGate(10_000),
    confirmed: null,
    leadership: { kind: 'none' },
    guardAcks: true,
    watchdog: { kind: 'off' },
    peers: new Map(),
    operation: null,
    attempts: new Map(),
    promotionSent: false,
    endOfWal: null,
    lineage: null,
    upstreamLineage: null,
    upstreams: NOTHING_REMEMBERED,
    leaving: false,
    leavingSince: null,
    leaderlessSince: null,
    heldBackAt: null,
    wishSince: null,
    rescue: null,
    notStreamingSince: null,
    handedOver: false,
    claimed: false,
    withdrawn: false,
    lease: null,
    nameTakenBy: null,
    switchoverDueIn: null,
    poolers: NOBODY_HELD,
    restart: null,
    takeOverAsked: false,
    lately: [],
    formerCluster: null,
    lastLeaderLocation: null,
    sawPrimary: null,
    validation: { kind: 'not-asked' },
    vetoSeenAt: null,
    publications: [],
    replacementsToday: 0,
    returningSince: new Map(),
    lastLeader: null,
    ...rest,
  };
}

/** This node leads: the key names it, its window is open, its Postgres is a primary. */
export const leads = (over: ViewOver = {}): View =>
  aView({
    local: aPrimary(),
    cluster: aCluster({ leader: 'b' }),
    leadership: holding(),
    peers: peers({ a: aPeer('a'), c: aPeer('c') }),
    ...over,
  });

/** This node leads and its Postgres has just died; both others were asked since, and have everything. */
export const leadsWithPostgresDown = (over: ViewOver = {}): View =>
  leads({ local: aStopped(), localSince: before(300), endOfWal: END, ...over });

/** Nobody leads, the gate has passed, this standby and both others have everything, and all were asked. */
export const seeks = (over: ViewOver = {}): View =>
  aView({
    local: aLoneStandby(),
    cluster: aCluster({ leader: null }),
    gate: aGate(),
    leaderlessSince: before(100),
    peers: peers({ a: aSilentPeer(), c: aPeer('c', { position: at('0/5000000') }) }),
    ...over,
  });

// ---- rows -------------------------------------------------------------------------------------------------------------

export interface Case {
  readonly name: string;
  readonly view: View;
  readonly rule: RuleId;
  /** Names of the actions, or the whole action where its details are what the row is about. */
  readonly actions: readonly (Action['do'] | Action)[];
  readonly situation?: string;
  /** When it is looked at again at the latest. */
  readonly again?: number;
}
