/**
 * The running daemon, apart from its adapters: observe, decide, act, again and again. Events (a watch hint, the
 * postmaster's death, a proof, an HTTP request) start a cycle at once; nobody waits for a loop to come round. The lease
 * keeper and the window watch run on timers of their own beside it.
 */

import type { ActionName } from '../core/action.ts';
import type { AuditEntry } from '../core/audit.ts';
import { ASK_LIMIT, END_LIMIT, lookLimit } from '../core/budget.ts';
import { watchesOnly } from '../core/classify.ts';
import {
  type ClusterView,
  historyWith,
  KEYS,
  type LeaderKey,
  lastLeaderOf,
  type Member,
  nameTakenBy,
  newestTimeline,
  timelineBeyond,
  writeFailover,
  writeHistory,
} from '../core/cluster.ts';
import { readAllEvents } from '../core/cluster-events.ts';
import { preferredSources } from '../core/copy-source.ts';
import { decide, type Judgement } from '../core/decide.ts';
import type { Decision } from '../core/decision.ts';
import { type DecisionRecord, readRecord } from '../core/decision-record.ts';
import { receivesFromStranger } from '../core/election/last-primary.ts';
import { explain } from '../core/explain.ts';
import { type ConfirmOutcome, type FailsafeRequest, ledSince, wantedList } from '../core/failsafe.ts';
import { roomToBegin } from '../core/lease.ts';
import { type LocalPostgres, mayWrite, position, type SystemId, systemId } from '../core/local.ts';
import { type Lsn, type Timeline, timeline } from '../core/lsn.ts';
import type { PeerAnswer, RescueAnswer, RescueRequest } from '../core/peer.ts';
import { REMOTE, type RemoteSource } from '../core/policy.ts';
import { notePublished, type Publications } from '../core/published.ts';
import type { RuleId } from '../core/rules.ts';
import { readScheduledRestart, type ScheduledRestart, unmet } from '../core/schedule.ts';
import { HELD_BACK, LASTING } from '../core/situations/leaderless.ts';
import { describeSource, standbySource } from '../core/standby-cluster.ts';
import { type Key, type NodeName, nodeName, type Op, type Revision, revision } from '../core/store.ts';
import { between, type Instant, laterBy, type Millis, millis } from '../core/time.ts';
import { NOTHING_REMEMBERED, noteAsked, noteMembers, noteSilent, type UpstreamMemory } from '../core/upstream.ts';
import type { LearnedLineage, RescueTries, Undone, Validation, View } from '../core/view.ts';
import { memberNamed, unwatched } from '../core/view.ts';
import type { CancelTimer } from '../ports/clock.ts';
import type { ServerAddress, WalChunk } from '../ports/postgres.ts';
import { PGHA_VERSION } from '../version.ts';
import { carryOut, keepGivenUp } from './act.ts';
import { AddressKeeper } from './address-keeper.ts';
import { AuditTrail } from './audit-trail.ts';
import { type Callback, Callbacks } from './callbacks.ts';
import { ChildrenWatch } from './children-watch.ts';
import { ClusterReader } from './cluster-reader.ts';
import { TakeoverRecorder } from './decision-record.ts';
import { ClusterEvents } from './events.ts';
import { eventPrimary, Happenings } from './happenings.ts';
import { LagHistory } from './lag-history.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { LocalWatch } from './local-watch.ts';
import { makeRoom } from './making-room.ts';
import { patroniRole, patroniState } from './member-key.ts';
import { objectionsInTime } from './objections.ts';
import { Operations } from './operation.ts';
import type { AgentParts, AgentSettings, ResolvedSettings } from './parts.ts';
import { Patience } from './patience.ts';
import { PeerAnswers } from './peer-answers.ts';
import { PoolerKeeper } from './poolers.ts';
import type {
  ConfigOutcome,
  Control,
  DecisionView,
  NodeExplanation,
  OperatorRequest,
  Published,
  RequestOutcome,
  SwitchoverOutcome,
  SwitchoverRequest,
} from './published.ts';
import { serveRescue } from './rescue.ts';
import { NOTHING_AILS, SicknessWatch } from './sickness-watch.ts';
import { statusLine } from './status-line.ts';
import { startPostgres, stopPostgres } from './stop-and-start.ts';
import { askForSwitchover, withdrawSwitchover } from './switchover-request.ts';
import { SyncKeeper } from './sync-keeper.ts';
import { ToldFailures } from './told-failures.ts';
import { Upkeep } from './upkeep.ts';
import { UpstreamWatch } from './upstream-watch.ts';
import { WindowWatch } from './window.ts';

type Json = Readonly<Record<string, unknown>>;

/** The same rule may act again at once so often; then the cycle catches its breath. */
const BREATH = millis(50);
/** A look younger than this need not be repeated. */
const FRESH_LOOK = millis(50);
/** A read of etcd in a cycle takes no longer; the store's adapter hedges within it. */
const READ_LIMIT = millis(1_500);
/** So long a member whose key ran out is still asked in an election. */
const REMEMBERED = millis(30_000);
const LINEAGE_LIMIT = millis(2_000);
/** No more than this is believed of a key that anybody can write. */
const TIMELINES_TAKEN = 1_000;
/** In which replacements of the data directory are counted. */
const A_DAY = millis(24 * 3_600_000);
/** So long what etcd said of the leader is enough to undo data here. */
const LEADS_FOR = millis(4_000);
/** A last proof before this daemon makes room takes no longer. */
const HAND_ON_LIMIT = millis(1_500);
/** What a pooler was told as the last thing is written down by then, or etcd does not answer. */
const POOLERS_SETTLE_LIMIT = millis(1_500);
/** A take-over that has not come about by then is not made later, when nobody expects it any more. */
const TAKE_OVER_WITHIN = millis(5_000);
const ASKING: ReadonlySet<string> = new Set(['leaderless.ask-peers', 'joining.ask-peers']);
/** In which circumstances that take turns are told twice. */
const TURNS_IN = millis(10_000);
const LASTS_AFTER = millis(2_000);
/** A beat is no reason to wake a standby: while one is waited for, etcd is read. */
const UNHEARD: RuleId = 'following.leader-unheard';
const LOGIN_EVERY = millis(5_000);
/** How often a standby that wants to go looks whether it may. */
const LEAVE_LOOK = millis(50);

const SICK_STOPS: ReadonlySet<RuleId> = new Set(['leading.sick-hands-over', 'leading.sick-gives-up']);
const QUESTIONS: ReadonlySet<ActionName> = new Set(['find-end-of-wal', 'look-at-undone', 'ask-peers', 'learn-lineage']);

export class Agent implements Control {
  readonly self: NodeName;
  readonly parts: AgentParts;
  readonly settings: AgentSettings;
  readonly keeper: LeaseKeeper;
  readonly reader: ClusterReader;
  readonly watch: LocalWatch;
  readonly operations: Operations;
  readonly toldFailures = new ToldFailures();
  /** With the operator's before_stop. */
  private readonly stopPatience = new Patience();
  readonly window: WindowWatch;
  readonly takeovers = new TakeoverRecorder();
  /** What is told to people and their scripts: `events.record(...)` never waits and never throws. */
  readonly events: ClusterEvents;
  private readonly happenings: Happenings;
  private readonly callbacks = new Callbacks();
  readonly audit: AuditTrail;
  private readonly lagHistory: LagHistory;
  private statusSaidAt: Instant;
  private readonly upkeep: Upkeep;
  private readonly sync: SyncKeeper;
  readonly poolers: PoolerKeeper;
  readonly address: AddressKeeper;
  private readonly children: ChildrenWatch;
  private readonly upstream: UpstreamWatch;
  readonly sickness: SicknessWatch;

  /** Settings as they are in force. */
  resolved: ResolvedSettings;
  readonly peers = new PeerAnswers();
  endOfWal: { readonly lsn: Lsn; readonly stoppedSince: Instant } | null = null;
  undone: Undone | null = null;
  lineage: LearnedLineage | null = null;
  /** The same of another standby that this one may receive from. */
  upstreamLineage: LearnedLineage | null = null;
  private upstreams: UpstreamMemory = NOTHING_REMEMBERED;
  /** What our failover_validation_command has said in this election. */
  validation: Validation = { kind: 'not-asked' };
  rescueTries: RescueTries | null = null;
  /** Why the last switchover that was asked for was not carried out; for those who wait for it. */
  lastRefusal: string | null = null;
  private refused: { readonly wish: Revision | null; readonly why: string } | null = null;
  /** A restart of Postgres that an operator has put off to a time. */
  scheduledRestart: ScheduledRestart | null = null;
  /** Postgres here is being stopped for a switchover, or its postmaster just died: no 200 from now on. */
  serving = true;
  /** When this node last stopped accepting writes on purpose: for the length of the pause. */
  stoppedServingAt: Instant | null = null;

  /** Members whose keys have just run out, and since when they are not there. */
  private readonly lately = new Map<NodeName, { readonly member: Member; readonly since: Instant }>();
  private membersRead = false;
  private restartTakenUp = false;
  private leaderSeen: LeaderKey | null = null;
  private lastLeader: NodeName | null = null;
  /** Where the last leader of whom that is known stands; his member key runs out long before an election need end. */
  private leadersLocation: { readonly name: NodeName; readonly location: string } | null = null;
  private formerCluster: SystemId | null = null;
  private leaving = false;
  private leavingSince: Instant | null = null;
  /** This standby asks the leader to let it go from the synchronous ones: its Postgres is about to stop. */
  leavingSyncSet = false;
  private leaderlessSince: Instant | null = null;
  /** Of the `status` whose hold has run out in the election that is under way; null: none is. */
  private electionAfter: Revision | null = null;
  /** When something other than better candidates last kept this node from going in this election. */
  private heldBackAt: Instant | null = null;
  /** The operator's newest wish for another leader, and when it was first read. */
  private wishSeen: { readonly revision: Revision; readonly at: Instant } | null = null;
  /** Where another machine answers under this node's name. */
  nameTakenBy: string | null = null;
  /** Postgres was told to promote and has not been down since: it may still do so. */
  promotionSent = false;
  /** Postgres was stopped for a switchover and has not run since. */
  handedOver = false;
  /** The scope was asked for, to become the cluster of the data here. */
  claimed = false;
  /** Our receiver was ended for an election, and nobody was followed since. */
  withdrawn = false;
  private notStreamingSince: Instant | null = null;
  private notStreamingFrom: string | null = null;
  private isFull = false;
  /** When Postgres here was last stopped because something ails this node. */
  private handoverTriedAt: Instant | null = null;
  /** The last try to end Postgres failed: its processes hang in the kernel. */
  private unending = false;
  private publications: Publications = [];
  private replacedAt: readonly Instant[] = [];
  private sawPrimaryAt: Instant | null = null;
  /** Whose Postgres that was. */
  private sawPrimaryOf: NodeName | null = null;
  /** So long what an operator has asked for is carried out: taking over the server that runs here. */
  private takeOverUntil: Instant | null = null;
  /** What the primary of a cluster that is not ours yet has said to our login for replication. */
  private login: { readonly at: Instant; readonly works: boolean | null } | null = null;
  private settingsRevision = -1n;
  /** As etcd had them when they could be read last; null: this daemon has read none. */
  storedSettings: Json | null = null;
  /** The leadership in which attempts to come back are counted. */
  private triedWith: Revision | null = null;
  private cancelTimer: CancelTimer | null = null;
  private running = false;
  private again = false;
  private ended = false;
  private lastActed: { readonly rule: string; readonly at: Instant } | null = null;
  private shown: Published;
  private decided: DecisionView;
  /** What the log last said of asking the others in this situation, and of what came of it. */
  private told = { situation: '', asked: '', answered: '' };
  private untold: { readonly sentence: string; readonly rule: string } | null = null;
  private toldLately: { readonly sentence: string; readonly at: Instant }[] = [];
  private readonly leftWaiters: (() => void)[] = [];

  constructor(given: AgentParts, settings: AgentSettings) {
    this.settings = settings;
    this.self = settings.self;
    this.resolved = settings.resolve(null);
    this.events = new ClusterEvents({
      clock: given.clock,
      chronicle: given.chronicle,
      commands: given.commands,
      ...(given.notices === undefined ? {} : { notices: given.notices }),
      log: given.log,
      self: () => ({ name: this.self, id: this.resolved.policy.node.nodeId }),
      quiet: () => this.handsOff,
    });
    this.happenings = new Happenings(this.self);
    this.audit = new AuditTrail({ clock: given.clock, chronicle: given.chronicle, log: given.log });
    this.lagHistory = new LagHistory({
      clock: given.clock,
      chronicle: given.chronicle,
      log: given.log,
      self: this.self,
    });
    this.statusSaidAt = given.clock.now();
    const parts = { ...given, log: this.events.listenTo(given.log) };
    this.parts = parts;
    const { clock, dcs, postgres, log } = parts;
    this.watch = new LocalWatch(clock, postgres);
    this.operations = new Operations(clock, log, (kind) => {
      // A stop that was only prepared has changed nothing: a balancer must not hear 503 meanwhile, and close sessions.
      if (kind !== 'switchover' || this.handedOver) this.watch.doubt();
      if (kind === 'rewind' || kind === 'copy') this.forgetHistory();
      if (kind === 'copy') this.happenings.copied();
      this.soon(`${kind} ended`);
    });
    this.reader = new ClusterReader(clock, dcs, log, (why) => this.soon(why));
    this.keeper = new LeaseKeeper({
      clock,
      dcs,
      guard: parts.guard,
      state: parts.state,
      log,
      self: this.self,
      // As it is now: a link in it may lead elsewhere later, or for the first time.
      get dataDirectory() {
        return postgres.dataDirectory;
      },
      fields: () => this.upkeep.statusFields(),
      downSince: () => this.downSince(),
      isPrimary: () => this.watch.local.kind === 'primary',
      paused: () => this.resolved.policy.cluster.pause,
      wantedTtl: () => this.resolved.policy.cluster.ttl,
      leadsStandbys: () => this.leadsStandbys(),
      settled: () => this.settingsRevision !== -1n,
      failsafe: {
        enabled: () => this.resolved.policy.cluster.failsafeMode,
        wanted: () => this.wantedFailsafeList(),
        ask: (member, request, limit) => parts.peers.confirm(member, request, limit),
      },
      readCluster: () => this.readCluster(),
      onChange: (what) => this.soon(`lease: ${what}`),
      onLost: (why, promotable) => this.stopNow(why, promotable),
    });
    this.window = new WindowWatch({
      clock,
      log,
      postgres,
      leadership: () => this.keeper.leadership,
      mayWrite: () => mayWrite(this.watch.local) || this.downSince() === null || this.mayYetPromote,
      onStop: () => {
        this.happenings.onPurpose();
        this.soon('stopped before the window closed');
      },
    });
    this.upkeep = new Upkeep(this);
    this.sync = new SyncKeeper(this);
    this.poolers = new PoolerKeeper(this);
    this.address = new AddressKeeper({
      clock,
      log,
      address: parts.virtualAddress ?? null,
      view: () => ({
        leadership: this.keeper.leadership,
        writable: this.writable(),
        standby: this.watch.local.kind === 'standby',
        down: this.downSince() !== null,
        clocksDoubted: this.keeper.clocksDoubted,
        maintenance: this.policy.pause,
        handsOff: this.handsOff,
      }),
      onChange: () => {
        this.publish();
        // Others read of it in the member key.
        this.upkeep.run();
      },
    });
    this.children = new ChildrenWatch(this);
    this.sickness = new SicknessWatch(postgres, log);
    this.upstream = new UpstreamWatch({
      clock,
      postgres,
      log,
      target: () => (this.keeper.leadership.kind === 'holding' ? null : this.lastLeadersServer()),
      settings: () => {
        const { checkType: type, checkTimeout: limit, loopWait: every } = this.policy;
        return { type, limit, every };
      },
      told: (check, seen) => {
        if (seen) this.noteSeen(check.of, check.at);
        this.publish();
      },
    });
    const nothingYet: DecisionView = {
      situation: 'uninformed',
      rule: 'node.waiting-for-etcd',
      reason: 'the service has just started',
      since: clock.now(),
      sinceWall: clock.wall(),
    };
    this.decided = nothingYet;
    this.shown = this.snapshot();
    postgres.onDoubt(() => {
      // When a backend crashes, Postgres restarts all of them: nothing can be written until it was looked at again.
      if (this.ended || this.watch.local.kind !== 'primary') return;
      this.watch.doubt();
      this.soon('the held connection ended');
    });
    postgres.onDeath(() => {
      if (this.ended) return;
      // A family that was seen empty cannot die again: a late hint must not undo what that look proved, or a release
      // that is just being sent finds Postgres "perhaps writing".
      if (this.watch.local.kind !== 'stopped' || this.watch.downSince === null) this.watch.doubt();
      // It may be started again at once: the address stays meanwhile.
      if (this.serving && this.watch.local.kind === 'primary') this.stopAnswering();
      this.poolers.letGo('the postmaster is gone');
      this.stopPatience.end();
      log.write('warn', 'postgres.died', 'the postmaster is gone');
      this.soon('postmaster died');
    });
  }

  // ------------------------------------------------------------------ life

  /** Looks at Postgres, takes up a leadership that an earlier process left behind, and begins to cycle. */
  async start(): Promise<void> {
    this.events.record('repmgrd_start', true, `pgha ${PGHA_VERSION} runs for ${this.self}`);
    await this.lookNow();
    await this.keeper.start();
    // What an earlier process of this term has told its standby is not known.
    const { leadership } = this.keeper;
    this.promotionSent = leadership.kind === 'holding' && this.remoteSource === null;
    this.reader.start();
    this.window.start();
    this.children.start();
    this.upstream.start();
    this.address.start();
    this.soon('started');
  }

  /**
   * `hand-over`: the service stops: Postgres goes down in order, the key to the best candidate. `leave-running`: only
   * the daemon ends; Postgres, guard and key are left for the next one.
   */
  async stop(how: 'hand-over' | 'leave-running', limit: Millis): Promise<void> {
    if (how === 'hand-over' && !this.ended) {
      this.leaving = true;
      this.leavingSince = this.parts.clock.now();
      this.leavingSyncSet = true;
      const left = new Promise<void>((resolve) => this.leftWaiters.push(resolve));
      if (this.operations.running !== null) void this.operations.cancel('the service stops');
      this.soon('the service stops');
      await Promise.race([left, this.parts.clock.sleep(limit)]);
    }
    if (how === 'leave-running' && !this.ended) await this.keeper.handOn(HAND_ON_LIMIT);
    // Postgres that goes on has its address for as long as the kernel keeps it: the next daemon takes it up.
    if (how === 'hand-over' && this.address.holds && this.downSince() !== null) await this.address.letGo();
    await this.poolers.settled(POOLERS_SETTLE_LIMIT);
    this.ended = true;
    this.cancelTimer?.();
    this.events.record(
      'repmgrd_shutdown',
      true,
      how === 'hand-over'
        ? 'the service stops'
        : 'the daemon ends; Postgres, the guard and the key are left for the next',
    );
    this.keeper.stop();
    this.reader.stop();
    this.window.stop();
    this.children.stop();
    this.upstream.stop();
    this.address.stop();
    this.sync.stop();
  }

  get policy() {
    return this.resolved.policy.cluster;
  }

  /** Starts a cycle now, or right after the one that runs. */
  soon(_why: string): void {
    if (this.ended) return;
    if (this.running) {
      this.again = true;
      return;
    }
    this.schedule(millis(0));
  }

  private schedule(after: Millis): void {
    this.cancelTimer?.();
    this.cancelTimer = this.parts.clock.timer(after, () => {
      this.cancelTimer = null;
      void this.cycle();
    });
  }

  private async cycle(): Promise<void> {
    if (this.running || this.ended) return;
    this.running = true;
    this.again = false;
    let next: Millis = this.policy.loopWait;
    try {
      next = await this.observeDecideAct();
    } catch (error) {
      // What can happen in operation is handled where it happens; this is a mistake of ours. It is told, Postgres
      // stays guarded by its window, and the next cycle tries again.
      this.parts.log.write('error', 'action.failed', 'a cycle ended with an error that nobody expected', { error });
    } finally {
      this.running = false;
    }
    if (!this.ended) this.schedule(this.again ? millis(0) : next);
  }

  private async observeDecideAct(): Promise<Millis> {
    await this.observe();
    this.keeper.heed(this.peers.answers.values());
    const view = this.view();
    const judgement = decide(view);
    if (this.leaderlessSince !== null && HELD_BACK.has(judgement.decision.rule)) this.heldBackAt = view.now;
    else this.heldBackAt = view.heldBackAt;
    this.noteTakeover(view, judgement);
    this.tell(judgement.situation, judgement.decision, view);
    this.publish();
    this.tellPeople();
    if (judgement.situation === 'shadow') this.tryLogin(view);
    const { decision } = judgement;
    if (SICK_STOPS.has(decision.rule)) this.handoverTriedAt = view.now;
    if (decision.rule === 'service.left') for (const resolve of this.leftWaiters.splice(0)) resolve();
    let acted = false;
    // Questions can be asked at the same time; deeds are done one after the other.
    if (decision.actions.every((action) => QUESTIONS.has(action.do))) {
      const asked = await Promise.all(decision.actions.map((action) => carryOut(this, action, decision)));
      acted = asked.some((done) => done);
    } else {
      for (const action of decision.actions) acted = (await carryOut(this, action, decision)) || acted;
    }
    this.publish();
    this.poolers.run(view, decision.rule);
    this.sync.run();
    this.upkeep.run();
    const { loopWait, reconnectAttempts, reconnectInterval } = this.policy;
    const wanted = millis(
      Math.min(this.readsEvery, decision.again ?? loopWait, this.untilGate(), this.untilScheduled()),
    );
    const regular =
      decision.rule === 'leading.check-failed'
        ? this.watch.nextLookIn(wanted, reconnectInterval, reconnectAttempts)
        : wanted;
    if (!acted) return regular;
    // What was done changes the view: look again at once, but never spin.
    const now = this.parts.clock.now();
    const spinning = this.lastActed?.rule === decision.rule && between(this.lastActed.at, now) < 1_000;
    this.lastActed = { rule: decision.rule, at: now };
    if (!spinning) return millis(0);
    return LASTING.has(decision.rule) ? regular : millis(Math.max(BREATH, Math.min(regular, 200)));
  }

  /**
   * Until this node may take over, should nobody prove himself any more. It must not be slept over: etcd deletes the key
   * of a lost leader late, and nothing else would wake the cycle. While a leader beats it is always a TTL away.
   */
  private untilGate(): number {
    const { gate, leadership } = this.keeper;
    if (gate === null || gate.opensAt === 'never' || leadership.kind === 'holding') return Number.POSITIVE_INFINITY;
    const left = between(this.parts.clock.now(), gate.opensAt);
    return left > 0 ? Math.ceil(left) : Number.POSITIVE_INFINITY;
  }

  /** `loop_wait`; more often where that is long beside the TTL, since a long silence of etcd makes its word doubtful. */
  private get readsEvery(): Millis {
    return millis(Math.min(this.policy.loopWait, this.policy.ttl / 3));
  }

  // ------------------------------------------------------------------ observe

  private async observe(): Promise<void> {
    const { clock } = this.parts;
    const seeking = this.keeper.leadership.kind === 'none' && this.leaderlessSince !== null ? this.decided.rule : null;
    const due = this.decided.rule === UNHEARD || this.reader.isDue(this.readsEvery, seeking);
    // Cycles that follow each other within milliseconds rest on one look, unless something was done to Postgres since.
    const fresh = this.watch.certain && between(this.watch.at, clock.now()) < FRESH_LOOK;
    await Promise.all([fresh ? Promise.resolve() : this.lookNow(), due ? this.readCluster() : Promise.resolve()]);
    if (!this.watch.certain) await this.lookNow();
    this.remember();
  }

  private rememberMembers(before: readonly Member[], now: readonly Member[]): void {
    const at = this.parts.clock.now();
    const { log } = this.parts;
    if (this.membersRead) {
      for (const { name } of now) {
        if (!before.some((member) => member.name === name))
          log.write('info', 'member.joined', `${name} is there`, { member: name });
      }
      for (const { name } of before) {
        if (!now.some((member) => member.name === name))
          log.write('info', 'member.left', `${name} has gone: its key ran out`, { member: name });
      }
    }
    this.membersRead = true;
    for (const member of before) if (!this.lately.has(member.name)) this.lately.set(member.name, { member, since: at });
    for (const member of now) this.lately.delete(member.name);
    this.lately.delete(this.self);
    for (const [name, { since }] of this.lately) if (between(since, at) > REMEMBERED) this.lately.delete(name);
  }

  /** This node's own file was read again. */
  settingsRead(): void {
    this.events.record('repmgrd_config_reload', true, 'the configuration file was read again');
    this.resolved = this.settings.resolve(this.storedSettings);
    this.upkeep.settingsChanged();
    this.keeper.poke();
    this.soon('the configuration file was read again');
  }

  private takeSettings(cluster: ClusterView): void {
    const at = cluster.config?.revision ?? 0n;
    const value = cluster.config?.value ?? null;
    // In a restored etcd a revision is given once more, to something else.
    if (at === this.settingsRevision && JSON.stringify(value) === JSON.stringify(this.storedSettings)) return;
    const first = this.settingsRevision === -1n;
    // Where they are gone, or garbled, the last ones count: nobody has asked for commits that wait for no standby, or for
    // a standby cluster that becomes one of its own.
    if (cluster.config === null && (!first || this.policy.standbyCluster !== undefined)) return;
    this.settingsRevision = at;
    this.storedSettings = value;
    this.resolved = this.settings.resolve(this.storedSettings);
    const { log } = this.parts;
    if (!first) log.write('info', 'config.changed', 'the cluster-wide settings changed', { revision: at.toString() });
    for (const line of [...this.resolved.adjustments, ...this.resolved.notUnderstood])
      log.write('warn', 'config.adjusted', line);
    this.upkeep.settingsChanged();
    // Maintenance begins or ends, or the TTL changes: with the next beat, not in a second.
    this.keeper.poke();
  }

  private remember(): void {
    this.poolers.note();
    const now = this.parts.clock.now();
    const { local } = this.watch;
    if (local.kind === 'standby' && local.receiver?.streaming === true) {
      this.notStreamingSince = null;
      this.operations.forgetFailures('rewind', 'copy');
      const leader = this.lastLeadersServer();
      // What comes from the leader's own server says that he lives; what a cascading upstream sends does not.
      if (leader !== null && local.receiver.from === `${leader.server.host}:${leader.server.port}`)
        this.noteSeen(leader.name, laterBy(now, millis(-(local.receiver.lastMessage ?? 0))));
    } else if (local.kind === 'standby' && local.follows !== null) {
      // Another upstream gets time of its own.
      if (this.notStreamingFrom !== local.follows) this.notStreamingSince = null;
      this.notStreamingSince ??= now;
    } else this.notStreamingSince = null;
    this.notStreamingFrom = local.kind === 'standby' ? local.follows : null;

    if (local.kind !== 'standby' || local.follows !== null) this.withdrawn = false;
    // A process that hangs on its disk before it answers, or ends again, has not come up.
    if ((local.kind === 'standby' || local.kind === 'primary') && local.failing === null)
      this.operations.forgetFailures('start');
    if (local.kind === 'standby' || (local.kind === 'primary' && this.operations.running === null))
      this.handedOver = false;
    this.tellFullness(local);
    // It writes a small file into the data directory.
    if (!this.handsOff) this.sickness.look(now, this.policy.sickness);

    const term = this.reader.latest?.cluster.leader?.term ?? null;
    if (term !== null && term !== this.triedWith) {
      // What failed against one leader says nothing about the next: a rewind comes before a copy again.
      this.triedWith = term;
      this.operations.forgetFailures('rewind', 'copy');
    }
    if (local.kind === 'stopped') this.promotionSent = false;
    if (local.kind !== 'stopped') {
      this.operations.forgetFailures('find-end');
      this.endOfWal = null;
      this.undone = null;
      this.rescueTries = null;
    } else if (this.endOfWal !== null && this.endOfWal.stoppedSince !== this.watch.since) {
      this.endOfWal = null;
      this.undone = null;
    }

    if (local.kind === 'primary' && this.keeper.leadership.kind === 'holding' && this.operations.running === null) {
      this.serving = true;
    }
    const { leadership } = this.keeper;
    if (leadership.kind === 'holding' && leadership.windowOpen) this.operations.forgetFailures('prove');
    const election = this.situationIsLeaderless() ? (this.keeper.gate?.revision ?? null) : null;
    // Another version of status, and the gate is open again: somebody has led in between, whom no cycle here has seen
    // lead, and what was waited for before that counts for nothing.
    if (election === null || election !== this.electionAfter) {
      this.leaderlessSince = null;
      this.heldBackAt = null;
      this.peers.electionEnded();
      // The next election is another one, and asks again.
      if (this.validation.kind !== 'running') this.validation = { kind: 'not-asked' };
    }
    this.electionAfter = election;
    // Without etcd nobody is elected: what an election waits for is waited for from its first answer on.
    if (election !== null && this.reader.answering) this.leaderlessSince ??= now;
  }

  /** Once when it begins and once when it ends. */
  private tellFullness(local: LocalPostgres): void {
    const full = 'full' in local ? (local.full === true ? local.said : (local.full ?? null)) : null;
    if ((full !== null) === this.isFull || (full === null && local.kind === 'silent')) return;
    this.isFull = full !== null;
    if (full !== null) {
      this.parts.log.write('warn', 'postgres.filled', `Postgres has no room for another session: ${full}`, {
        postgres: local.kind,
      });
    } else this.parts.log.write('info', 'postgres.has-room', 'Postgres has room for sessions again');
  }

  /** Where the Postgres of the leader is, or of the last one, also when his member key has just run out. */
  private lastLeadersServer(): { readonly name: NodeName; readonly server: ServerAddress } | null {
    const cluster = this.reader.latest?.cluster;
    const name = cluster?.leader?.name ?? this.lastLeader;
    if (cluster === undefined || name === null || name === this.self) return null;
    const member = memberNamed(cluster, name) ?? this.lately.get(name)?.member ?? null;
    if (member === null || member.host === null || member.port === null) return null;
    return { name, server: { name, host: member.host, port: member.port } };
  }

  /** The Postgres of that leader was alive at `at`. */
  private noteSeen(name: NodeName, at: Instant): void {
    if (this.sawPrimaryOf === name && this.sawPrimaryAt !== null && this.sawPrimaryAt >= at) return;
    this.sawPrimaryOf = name;
    this.sawPrimaryAt = at;
  }

  /** Nobody's window can be open: the key is gone or its owner's is, and the gate has passed. */
  private situationIsLeaderless(): boolean {
    const cluster = this.reader.latest?.cluster ?? null;
    const { gate } = this.keeper;
    if (cluster === null || this.keeper.leadership.kind === 'holding' || gate === null) return false;
    return gate.opensAt !== 'never' && this.parts.clock.now() >= gate.opensAt;
  }

  private view(): View {
    const now = this.parts.clock.now();
    const reading = this.reader.latest;
    const { watch } = this;
    return {
      now,
      self: this.self,
      policy: this.resolved.policy,
      local: watch.local,
      localSince: watch.since,
      failing: watch.failing,
      ailments: this.sickness.view.ailments,
      handoverTriedAt: this.handoverTriedAt,
      dcs:
        reading === null
          ? { kind: 'never-read' }
          : { kind: 'read', cluster: reading.cluster, readAt: reading.at, answering: this.reader.answering },
      gate: this.keeper.gate,
      confirmed: this.keeper.confirmed,
      leadership: this.keeper.leadership,
      guardAcks: this.keeper.acknowledged,
      watchdog: this.parts.guard.watchdog,
      peers: this.peers.answers,
      operation: this.operations.running,
      attempts: this.operations.attempts,
      promotionSent: this.promotionSent,
      endOfWal: this.endOfWal?.lsn ?? null,
      undone: this.undone,
      lineage: this.lineage,
      upstreamLineage: this.upstreamLineage,
      upstreams: this.upstreams,
      leaving: this.leaving,
      leavingSince: this.leavingSince,
      leaderlessSince: this.leaderlessSince,
      // What held this node back until now may have ended just now: the turns of the better ones begin here.
      heldBackAt: this.leaderlessSince !== null && HELD_BACK.has(this.decided.rule) ? now : this.heldBackAt,
      wishSince: this.wishSeen?.at ?? null,
      rescue: this.rescueTries,
      notStreamingSince: this.notStreamingSince,
      handedOver: this.handedOver,
      claimed: this.claimed,
      withdrawn: this.withdrawn,
      lease: this.keeper.lease,
      nameTakenBy: this.nameTakenBy,
      lately: [...this.lately.keys()],
      formerCluster: this.formerCluster,
      lastLeader: this.lastLeader,
      lastLeaderLocation: this.lastLeaderLocation(),
      sawPrimary: this.sawLost(reading?.cluster ?? null, now),
      validation: this.validation,
      publications: this.publications,
      replacementsToday: this.replacementsSince().length,
      vetoSeenAt: this.peers.vetoSeenAt,
      returningSince: this.peers.returningSince,
      switchoverDueIn: this.dueIn(reading?.cluster.failover?.scheduledAt ?? null),
      poolers: this.poolers.view,
      restart: this.scheduledRestartDue(),
      takeOverAsked: this.takeOverUntil !== null && now < this.takeOverUntil,
    };
  }

  /** Since this node saw the very leader that counts as the last one. */
  private sawLost(cluster: ClusterView | null, now: Instant): Millis | null {
    const name = cluster?.leader?.name ?? this.lastLeader;
    return this.sawPrimaryAt === null || this.sawPrimaryOf !== name ? null : between(this.sawPrimaryAt, now);
  }

  /** The last leader, if this node has just seen its Postgres alive. */
  seesLastPrimary(): NodeName | null {
    const cluster = this.reader.latest?.cluster ?? null;
    if (cluster !== null && receivesFromStranger(cluster, this.watch.local)) return this.lastLeader;
    const seen = this.sawLost(cluster, this.parts.clock.now());
    return seen !== null && seen < 2 * this.policy.loopWait ? this.sawPrimaryOf : null;
  }

  private lastLeaderLocation(): string | null {
    const cluster = this.reader.latest?.cluster;
    const name = cluster?.leader?.name ?? this.lastLeader;
    if (this.leadersLocation !== null && this.leadersLocation.name === name) return this.leadersLocation.location;
    const member = cluster === undefined || name === null ? null : memberNamed(cluster, name);
    const remembered = name === null ? null : (this.lately.get(name)?.member ?? null);
    // What stands in `status` was written by whoever beat last: a leader who was lost before his first beat left none.
    const status = cluster?.status ?? null;
    const written = status !== null && (status.leader ?? name) === name ? status.location : null;
    return member?.pgha?.location ?? remembered?.pgha?.location ?? written;
  }

  /** Until a time of the wall clock; negative: since. null: there is none, or it is none. */
  private dueIn(at: string | null): Millis | null {
    const left = at === null ? Number.NaN : Date.parse(at) - this.parts.clock.wall();
    return Number.isNaN(left) ? null : millis(left);
  }

  private scheduledRestartDue(): View['restart'] {
    const plan = this.scheduledRestart;
    const dueIn = this.dueIn(plan?.at ?? null);
    return plan === null || dueIn === null ? null : { plan, dueIn };
  }

  /** Until the next time that an operator has set: it is not slept over. */
  private untilScheduled(): number {
    const { failover } = this.reader.latest?.cluster ?? { failover: null };
    const ahead = [this.dueIn(failover?.scheduledAt ?? null), this.dueIn(this.scheduledRestart?.at ?? null)];
    return Math.min(...ahead.map((left) => (left === null || left <= 0 ? Number.POSITIVE_INFINITY : Math.ceil(left))));
  }

  isDue(scheduledAt: string): boolean {
    return Date.parse(scheduledAt) <= this.parts.clock.wall();
  }

  // ------------------------------------------------------------------ tell

  /** Whoever waits for others asks them again and again: that, and the same answer each time, is told once. */
  private isToldAgain(situation: string, { rule, reason }: Decision): boolean {
    const before = this.told.situation === situation ? this.told : { situation, asked: '', answered: '' };
    const asks = ASKING.has(rule);
    const said = `${rule} ${reason}`;
    const again = asks ? before.asked === said : ASKING.has(this.decided.rule) && before.answered === said;
    this.told = asks ? { ...before, asked: said } : { ...before, answered: said };
    return again;
  }

  /** Circumstances that take turns, several times a second as long as etcd takes no writes, are told twice in a while. */
  private takesTurns(sentence: string): boolean {
    const now = this.parts.clock.now();
    this.toldLately = this.toldLately.filter(({ at }) => between(at, now) < TURNS_IN);
    const isOften = this.toldLately.filter((one) => one.sentence === sentence).length >= 2;
    if (!isOften) this.toldLately.push({ sentence, at: now });
    return isOften;
  }

  /** What takes turns no longer is told: the last word in the log is what holds. */
  private tellWhatLasts(rule: RuleId): void {
    const { untold } = this;
    if (untold?.rule !== rule || between(this.decided.since, this.parts.clock.now()) < LASTS_AFTER) return;
    this.untold = null;
    this.parts.log.write('info', 'decision.changed', untold.sentence, { rule, situation: this.decided.situation });
  }

  private tell(situation: string, decision: Decision, view: View): void {
    const { clock, log } = this.parts;
    if (this.decided.rule === decision.rule && this.decided.situation === situation) {
      this.decided = { ...this.decided, reason: decision.reason };
      this.tellWhatLasts(decision.rule);
      return;
    }
    const { leadership } = view;
    // People look for this word.
    const sentence = view.policy.cluster.pause ? `PAUSE: ${decision.reason}` : decision.reason;
    // What is under way has told its start itself.
    const again = decision.rule === 'node.busy' || this.isToldAgain(situation, decision);
    const takesTurns = !again && this.takesTurns(sentence);
    if (!again) this.untold = takesTurns ? { sentence, rule: decision.rule } : null;
    const known = again || takesTurns;
    log.write(known ? 'debug' : 'info', 'decision.changed', sentence, {
      rule: decision.rule,
      situation,
      from: this.decided.rule,
      postgres: view.local.kind,
      ...(view.local.kind === 'primary' || view.local.kind === 'standby' || view.local.kind === 'stopped'
        ? { timeline: view.local.timeline }
        : {}),
      ...(view.local.kind === 'primary' ? { lsn: view.local.flushed } : {}),
      ...(view.local.kind === 'standby' ? { lsn: position(view.local) } : {}),
      ...(leadership.kind === 'holding' && Number.isFinite(leadership.deadline)
        ? { window_left_ms: Math.max(0, Math.round(between(view.now, leadership.deadline))) }
        : {}),
    });
    this.decided = {
      situation,
      rule: decision.rule,
      reason: decision.reason,
      since: clock.now(),
      sinceWall: clock.wall(),
    };
  }

  /**
   * For a server that starts as primary, or is promoted. While the `sync` key names voters it tells everybody that they have
   * every commit, also where the mode has just been switched off: it is taken back first.
   */
  get startsBlocked(): boolean {
    const voters = this.reader.latest?.cluster.sync?.key?.voters ?? [];
    return this.resolved.server.synchronous || voters.length > 0;
  }

  /** For people only: a mistake in here must not keep anybody from leading. */
  private noteTakeover(view: View, judgement: Judgement): void {
    try {
      this.takeovers.saw(view, judgement, this.parts.clock.wall());
    } catch (error) {
      this.parts.log.write('error', 'action.failed', 'the way to the takeover could not be noted', { error });
    }
  }

  /** @param from - where the new timeline begins */
  noteTookOver(term: Revision, local: LocalPostgres, from: Lsn | null): DecisionRecord | null {
    // Nobody becomes a leader with voters who may lack a commit that was acknowledged to wait for them.
    const key = this.resolved.server.synchronous ? (this.reader.latest?.cluster.sync?.key ?? null) : null;
    const synchronous = key !== null && key.leader === this.self && key.voters.length > 0;
    const { clock, log } = this.parts;
    const by = { node: this.self, term, policy: this.policy };
    try {
      return this.takeovers.tookOver(clock.now(), clock.wall(), by, local, from, synchronous);
    } catch (error) {
      log.write('error', 'action.failed', 'the record of the takeover could not be put together', { error });
      return null;
    }
  }

  /** Whether the primary would let us in as the upstream that this standby is to follow; asked beside everything else. */
  private tryLogin({ local, dcs, now }: View): void {
    const { cluster } = dcs.kind === 'read' ? dcs : { cluster: null };
    const primary = cluster?.members.find((one) => one.name !== this.self && one.role === 'primary') ?? null;
    const address = primary === null ? null : this.addressOf(primary.name);
    if (local.kind !== 'standby' || address === null) {
      this.login = null;
      return;
    }
    if (this.login !== null && between(this.login.at, now) < LOGIN_EVERY) return;
    const { works = null } = this.login ?? {};
    this.login = { at: now, works };
    this.parts.postgres.lineage(address, LINEAGE_LIMIT).then(
      (lineage) => {
        this.login = { at: now, works: lineage !== null };
      },
      () => {
        this.login = { at: now, works: false };
      },
    );
  }

  private publish(): void {
    this.shown = this.snapshot();
    this.address.soon();
  }

  /** Events, lags and the status line. Whatever goes wrong here, the node must act. */
  private tellPeople(): void {
    // Scripts of an operator that move an address or a pooler belong to whoever runs the cluster.
    if (this.handsOff) return;
    try {
      this.runCallbacks(this.callbacks.see(this.shown));
      this.recordHappenings();
      this.lagHistory.sample(this.shown);
      this.sayStatus();
    } catch (error) {
      this.parts.log.write('error', 'action.failed', 'what happened could not be told', { error });
    }
  }

  private runCallbacks(seen: readonly Callback[]): void {
    for (const { name, role } of seen) this.parts.commands.callback(name, role);
  }

  /** Postgres was told to read new settings. */
  settingsReloaded(): void {
    this.runCallbacks(this.callbacks.reloaded());
  }

  /** With the first cycle after each interval. */
  private sayStatus(): void {
    const { clock, log } = this.parts;
    const { logStatusInterval } = this.policy;
    if (logStatusInterval === 0 || between(this.statusSaidAt, clock.now()) < logStatusInterval) return;
    this.statusSaidAt = clock.now();
    const { sentence, facts } = statusLine(this.self, this.shown);
    log.write('info', 'status.reported', sentence, facts);
  }

  private recordHappenings(): void {
    for (const { event, ok, details, about, other } of this.happenings.see(this.shown)) {
      this.events.record(event, ok, details, {
        ...(about === undefined ? {} : { about: { name: about.name, id: about.pgha?.nodeId ?? null } }),
        primary: other == null ? null : eventPrimary(other),
      });
      if (event === 'standby_promote') this.tellFailover(other?.member ?? null);
    }
  }

  private tellFailover(former: Member | null): void {
    const cluster = this.reader.latest?.cluster;
    const own = cluster === undefined ? null : memberNamed(cluster, this.self);
    const named = (member: Member | null) => ({
      id: member?.pgha?.nodeId ?? null,
      host: member?.host ?? null,
      port: member?.port ?? null,
      dataDirectory: member?.pgha?.dataDirectory ?? null,
    });
    this.parts.commands.failedOver({
      from: named(former),
      to: {
        ...named(own),
        id: this.resolved.policy.node.nodeId,
        dataDirectory: this.parts.postgres.dataDirectory,
      },
    });
  }

  private snapshot(): Published {
    const { clock } = this.parts;
    const reading = this.reader?.latest ?? null;
    const gate = this.keeper?.gate ?? null;
    const operation = this.operations?.shown ?? null;
    const { local } = this.watch;
    const leadership = this.keeper?.leadership ?? { kind: 'none' as const };
    const now = clock.now();
    return {
      at: now,
      local,
      localAt: this.watch.at,
      leadership,
      cluster: reading?.cluster ?? null,
      clusterAt: reading?.at ?? null,
      clusterAtWall: reading?.atWall ?? null,
      etcdSince: this.keeper?.etcdSince ?? null,
      knownCluster: this.formerCluster,
      decision: this.decided,
      operation,
      policy: this.resolved.policy,
      guard: this.settings.guardMode === 'off' ? 'off' : (this.keeper?.acknowledged ?? true) ? 'acking' : 'silent',
      proofs: this.keeper?.proofsSoFar ?? { count: 0, last: null },
      gate,
      sawPrimary: this.sawPrimaryAt === null ? null : between(this.sawPrimaryAt, now),
      sawPrimaryOf: this.sawPrimaryOf,
      upstreamCheck: this.upstream?.last ?? null,
      replicationLogin: this.login?.works ?? null,
      validating: this.validation.kind === 'running',
      vetoedFor: this.vetoedFor(now),
      confirmed: this.keeper?.confirmed ?? null,
      unwatched: unwatched({ watchdog: this.parts.guard.watchdog, policy: this.resolved.policy }),
      scheduledRestart: this.scheduledRestart,
      leavesSyncSet: this.leavingSyncSet,
      health: this.sickness?.view ?? NOTHING_AILS,
      slots: this.upkeep?.slots.view ?? { weighed: [], troubles: [] },
      virtualAddress: this.address?.shown ?? null,
      state: patroniState(local, operation, this.resolved.policy.node.role),
      role: patroniRole(local, leadership, this.resolved.policy.node.role, this.remoteSource !== null),
    };
  }

  // ------------------------------------------------------------------ for act.ts and upkeep.ts

  /**
   * What is here is not ours yet (`adopt_from`): nothing is written, and nobody's scripts are run. It ends with the key, so
   * that nothing was changed when it cannot be taken.
   */
  get handsOff(): boolean {
    return this.resolved.policy.node.adoptFrom !== undefined && watchesOnly({ ...this.view(), takeOverAsked: false });
  }

  lookNow(): Promise<void> {
    return this.watch.look(this.lookLimit(), this.policy.reconnectInterval, this.policy.checkType);
  }

  lookLimit(): Millis {
    return lookLimit(this.policy.checkTimeout);
  }

  /** This member was to be followed, and sends or says nothing. */
  noteSilentUpstream(name: NodeName): void {
    this.upstreams = noteSilent(this.upstreams, name, this.parts.clock.now());
  }

  /** This member's history is compared with ours: whatever comes of it, others have their turn first. */
  noteAskedUpstream(name: NodeName): void {
    this.upstreams = noteAsked(this.upstreams, name, this.parts.clock.now());
  }

  /** The member whose server our standby receives from; null: from none that is known. */
  receivesFrom(): NodeName | null {
    const { local } = this.watch;
    const from = local.kind === 'standby' && local.receiver?.streaming === true ? local.receiver.from : null;
    const members = this.reader.latest?.cluster.members ?? [];
    return from === null ? null : (members.find((one) => `${one.host}:${one.port}` === from)?.name ?? null);
  }

  get sawPrimary(): Instant | null {
    return this.sawPrimaryAt;
  }

  private vetoedFor(now: Instant): Millis | null {
    if (this.validation.kind !== 'vetoed') return null;
    const left = this.policy.electionRerunInterval - between(this.validation.at, now);
    return left > 0 ? millis(left) : null;
  }

  /** Since when Postgres is known not to accept writes; a promotion or start under way makes that uncertain. */
  downSince(): Instant | null {
    const kind = this.operations.running?.kind;
    if (kind === 'promote' || kind === 'start' || kind === 'restart') return null;
    return this.watch.downSince;
  }

  /** A standby that was told to promote does so whenever it can, also when nobody waits for it any more. */
  private get mayYetPromote(): boolean {
    return this.promotionSent && this.watch.local.kind === 'standby';
  }

  /** What was prepared for it is undone. */
  switchoverAbandoned(): void {
    this.upkeep.switchoverAbandoned();
  }

  /** On purpose: it is not to go on here. */
  stopServing(): void {
    this.address.giveUp();
    this.stopAnswering();
  }

  private stopAnswering(): void {
    if (this.serving) this.stoppedServingAt = this.parts.clock.now();
    this.serving = false;
    this.publish();
  }

  /** The source of a standby cluster; `unknown`: it is one, and etcd does not say of whom. null: it is none. */
  get remoteSource(): RemoteSource | 'unknown' | null {
    return standbySource(this.resolved.policy, this.reader.latest?.cluster ?? null);
  }

  /** Nothing here may write, and nothing does: there is nothing for a guard to strike at, and no window to open. */
  leadsStandbys(): boolean {
    return this.remoteSource !== null && !mayWrite(this.watch.local) && this.operations.running?.kind !== 'promote';
  }

  addressOf(name: NodeName): ServerAddress | null {
    if (name === REMOTE) return this.remoteAddress();
    const cluster = this.reader.latest?.cluster;
    const member = cluster === undefined ? null : memberNamed(cluster, name);
    if (member?.host == null || member.port == null) return null;
    return { name, host: member.host, port: member.port, nodeId: member.pgha?.nodeId ?? null };
  }

  private remoteAddress(): ServerAddress | null {
    const remote = this.remoteSource;
    if (remote === null || remote === 'unknown') return null;
    return { name: describeSource(remote), host: remote.host ?? '', port: remote.port, remote };
  }

  apiOf(name: NodeName): { readonly name: string; readonly apiUrl: string } | null {
    const cluster = this.reader.latest?.cluster;
    const member = (cluster === undefined ? null : memberNamed(cluster, name)) ?? this.lately.get(name)?.member;
    const apiUrl = member?.apiUrl ?? null;
    return apiUrl === null ? null : { name, apiUrl };
  }

  /** Asks every member that has an address, in parallel; ends when all of `waitFor` have answered, or with the limit. */
  async askPeers(waitFor: readonly NodeName[], limit: Millis): Promise<void> {
    const members = this.reader.latest?.cluster.members ?? [];
    const names = new Set([...members.map((member) => member.name), ...this.lately.keys()]);
    names.delete(this.self);
    const waited: Promise<void>[] = [];
    for (const name of names) {
      const asked = this.ask(name, limit);
      if (waitFor.includes(name)) waited.push(asked);
    }
    await Promise.all(waited);
  }

  private async ask(name: NodeName, limit: Millis): Promise<void> {
    this.peers.note(name, await this.askOne(name, limit));
  }

  private async askOne(name: NodeName, limit: Millis): Promise<PeerAnswer> {
    const { clock, peers } = this.parts;
    const api = this.apiOf(name);
    const began = clock.now();
    const answer: PeerAnswer =
      api === null ? { kind: 'silent', at: began, cause: 'no address is known' } : await peers.ask(api, limit);
    // What he says is as old as our question, not as young as his answer.
    return answer.kind === 'answered' ? { ...answer, at: began, heardAt: clock.now() } : { ...answer, at: began };
  }

  /**
   * Rule 7 and fencing: Postgres ends now, whatever else is under way.
   *
   * @param promotable - a standby may have been told to promote, and may do it after the last look
   */
  stopNow(why: string, promotable: boolean): void {
    if (this.policy.pause) return;
    this.stopServing();
    const isDown = !mayWrite(this.watch.local) && this.downSince() !== null;
    if (isDown && !(promotable && this.watch.local.kind === 'standby')) return;
    void this.endPostgres(why);
  }

  async endPostgres(why: string): Promise<void> {
    this.stopServing();
    this.happenings.onPurpose();
    // Tried with every cycle, told once.
    if (!this.unending) this.events.record('fenced', true, `Postgres is ended here: ${why}`);
    // Until it was looked at again it may be anything: nobody disarms the guard meanwhile.
    this.watch.doubt();
    this.stopPatience.end();
    try {
      const cancelled = this.operations.cancel(why);
      await this.parts.postgres.stop('immediate', END_LIMIT);
      this.unending = false;
      await cancelled;
    } catch (error) {
      const sentence = 'Postgres could not be ended; the guard ends it at the deadline';
      this.parts.log.write(this.unending ? 'debug' : 'error', 'action.failed', sentence, { error });
      this.unending = true;
      await this.keeper.resign('Postgres does not end');
    }
    this.watch.doubt();
    this.soon('postgres ended');
  }

  /** Ends what outlived its postmaster. */
  async endFamily(limit: Millis): Promise<void> {
    try {
      await this.parts.postgres.stop('immediate', limit);
      this.unending = false;
    } catch (error) {
      const sentence = 'end what is left of Postgres failed';
      this.parts.log.write(this.unending ? 'debug' : 'error', 'action.failed', sentence, { error });
      this.unending = true;
      await this.keeper.resign('processes of Postgres do not end');
    }
    this.watch.doubt();
  }

  /**
   * Asks etcd who leads, before data here are undone or replaced by those of `source`. The answer is good for a few
   * seconds: a daemon that was stopped in between wakes with what it knew before.
   *
   * @returns throws when it has grown too old; for the instant before the deed
   * @throws when `source` is not known to lead
   */
  async confirmLeads(source: ServerAddress): Promise<() => void> {
    const { clock } = this.parts;
    const asked = clock.now();
    const cluster = await this.readCluster();
    const unchanged = 'nothing was changed here';
    if (cluster === null) throw new Error(`etcd does not say who leads: ${unchanged}`);
    // The other cluster is followed by the leader of this one alone.
    const leader = source.remote === undefined ? source.name : this.self;
    if (cluster.leader?.name !== leader) throw new Error(`${source.name} does not lead any more: ${unchanged}`);
    const stillTrue = (): void => {
      const age = between(asked, clock.now());
      if (age > LEADS_FOR)
        throw new Error(`that ${source.name} leads was asked ${Math.round(age)} ms ago, too long: ${unchanged}`);
    };
    stillTrue();
    return stillTrue;
  }

  /** A standby is copied only while it is one of this cluster, on the very line of the leader. */
  async confirmSource(source: ServerAddress, leader: ServerAddress): Promise<void> {
    if (source.name === leader.name) return;
    const ask = (of: ServerAddress) => this.parts.postgres.lineage(of, LINEAGE_LIMIT);
    const [theirs, his] = await Promise.all([ask(source), ask(leader)]);
    if (theirs === null || his === null)
      throw new Error(`${(theirs === null ? source : leader).name} does not answer: nothing was changed here`);
    if (theirs.systemId !== his.systemId || theirs.timeline !== his.timeline)
      throw new Error(`${source.name} is not on the line of ${leader.name}: nothing was changed here`);
  }

  /** The data directory is about to be replaced by a copy, without anybody having asked for it. */
  noteReplacement(): void {
    this.replacedAt = [...this.replacementsSince(), this.parts.clock.now()];
  }

  private replacementsSince(): readonly Instant[] {
    const now = this.parts.clock.now();
    return this.replacedAt.filter((at) => between(at, now) < A_DAY);
  }

  /** The data here are other ones: what was learned of the former ones, and compared with them, says nothing of these. */
  private forgetHistory(): void {
    this.endOfWal = null;
    this.undone = null;
    this.lineage = null;
    this.upstreamLineage = null;
  }

  /**
   * The data here go only while there is somebody to copy from: the directory may be the last good copy.
   *
   * @param begins - called when nothing stands against it any more
   */
  async wipeFor(source: ServerAddress, signal: AbortSignal, begins?: () => void): Promise<void> {
    const lineage = await this.parts.postgres.lineage(source, LINEAGE_LIMIT);
    if (lineage === null) throw new Error(`${source.name} does not answer: nothing was removed here`);
    if (lineage.inRecovery && this.remoteSource === null)
      throw new Error(`${source.name} is not a primary: nothing was removed here`);
    const expected = this.reader.latest?.cluster.initialize?.value ?? '';
    if (expected !== '' && lineage.systemId !== expected)
      throw new Error(`${source.name} serves another cluster (${lineage.systemId}): nothing was removed here`);
    // What is looked at before the first file goes may take longer than it is known who leads.
    const lastLook = async (): Promise<void> => {
      const stillTrue = await this.confirmLeads(source);
      signal.throwIfAborted();
      stillTrue();
      begins?.();
    };
    await this.parts.postgres.wipe(lastLook, { systemId: lineage.systemId, source, signal });
  }

  // ------------------------------------------------------------------ Control

  published(): Published {
    // What was shown before the machine stood still would speak of the time in which it did.
    const etcdSince = this.shown.etcdSince === null ? null : (this.keeper?.etcdSince ?? null);
    return etcdSince === this.shown.etcdSince ? this.shown : { ...this.shown, etcdSince };
  }

  now(): Instant {
    return this.parts.clock.now();
  }

  writable(): boolean {
    const now = this.parts.clock.now();
    const { local } = this.watch;
    const leadership = this.keeper.leadership;
    if (!this.serving || this.leaving || !this.watch.certain) return false;
    if (local.kind !== 'primary' || local.failing !== null) return false;
    if (leadership.kind !== 'holding' || !leadership.windowOpen) return false;
    const closesAt = this.window.closesAt();
    if (closesAt === null || now >= closesAt) return false;
    // The last look must not be older than the cycle allows, with one missed.
    return between(this.watch.at, now) <= 2 * this.policy.loopWait + this.lookLimit();
  }

  async look(limit: Millis): Promise<void> {
    if (this.ended) return;
    // A primary that fails its check is asked again at the pace of the cycle alone: a look that somebody else wanted
    // would make the next one of the cycle wait for its whole limit.
    if (this.keeper.leadership.kind === 'holding' && this.watch.failing !== null) return;
    await Promise.race([this.lookNow(), this.parts.clock.sleep(limit)]);
    this.publish();
  }

  async explain(): Promise<NodeExplanation> {
    const members = this.reader.latest?.cluster.members ?? [];
    const names = new Set([...members.map((member) => member.name), ...this.lately.keys()]);
    names.delete(this.self);
    // Asked for this answer alone: no decision rests on what a person wanted to know.
    const peers = new Map<NodeName, PeerAnswer>();
    const ask = async (name: NodeName): Promise<void> => {
      peers.set(name, await this.askOne(name, ASK_LIMIT));
    };
    await Promise.all([this.look(ASK_LIMIT), ...[...names].map(ask)]);
    const view = this.view();
    const stored = readRecord(this.reader.latest?.cluster.lastTakeover ?? null);
    return {
      explanation: explain({ ...view, peers }),
      lastTakeover: this.takeovers.record ?? stored,
      mine: this.takeovers.record ?? (stored?.node === this.self ? stored : null),
    };
  }

  /** Why this node would not lead if an operator asked for it now; null: it would, or something else decides that. */
  refusesToLead(forced: boolean): string | null {
    const view = this.view();
    if (view.dcs.kind !== 'read') return null;
    const { cluster } = view.dcs;
    const wish = { leader: null, candidate: this.self, scheduledAt: null, revision: revision(cluster.revision + 1n) };
    const failover = { ...wish, ...(forced ? { forced } : {}) };
    const { decision } = decide({ ...view, dcs: { ...view.dcs, cluster: { ...cluster, failover } } });
    return decision.rule === 'leaderless.not-eligible' ? decision.reason : null;
  }

  async readCluster(): Promise<ClusterView | null> {
    const before = this.reader.latest?.cluster.members ?? [];
    const reading = await this.reader.read(millis(Math.min(READ_LIMIT, this.policy.retryTimeout)));
    if (reading === null) return null;
    const { cluster } = reading;
    this.rememberMembers(before, cluster.members);
    this.upstreams = noteMembers(this.upstreams, cluster, this.parts.clock.now());
    if (cluster.leader !== null) {
      this.leaderSeen = cluster.leader;
      const location = memberNamed(cluster, cluster.leader.name)?.pgha?.location;
      if (location !== undefined) this.leadersLocation = { name: cluster.leader.name, location };
    }
    this.lastLeader = lastLeaderOf(cluster, this.leaderSeen);
    const wish = cluster.failover?.revision ?? null;
    if (wish === null) this.wishSeen = null;
    else if (this.wishSeen?.revision !== wish) this.wishSeen = { revision: wish, at: reading.at };
    const named = cluster.initialize?.value ?? '';
    // What this node never belonged to says nothing of what becomes of its data.
    if (/^\d+$/.test(named) && !this.isStrangersScope(named)) this.formerCluster = systemId(named);
    this.publications = notePublished(this.publications, cluster.status?.optime ?? null, reading.statusArrived);
    const { self, settings, keeper } = this;
    this.nameTakenBy = nameTakenBy(cluster, { name: self, apiUrl: settings.apiUrl, lease: keeper.lease });
    if (this.nameTakenBy === null) this.takeUpScheduledRestart(cluster);
    const isOurs = this.nameTakenBy === null;
    const restarted = keeper.note(
      cluster,
      reading.statusArrived,
      reading.at,
      isOurs,
      reading.restarted,
      reading.statusTold,
    );
    if (restarted) this.sync.etcdReplaced();
    // The read that answers a hint is the only one: what it says of the settings must not be passed over.
    this.takeSettings(cluster);
    return cluster;
  }

  recordRequest(entry: AuditEntry): void {
    this.audit.record(entry);
  }

  /** Not handed over to pgha, and under a scope that is another cluster. */
  private isStrangersScope(named: string): boolean {
    const { local } = this.watch;
    if (this.resolved.policy.node.adoptFrom === undefined || !('systemId' in local)) return false;
    return local.systemId !== named;
  }

  async readEvents(): ReturnType<Control['readEvents']> {
    const answer = await this.parts.chronicle.read(READ_LIMIT);
    if (answer.kind === 'unanswered') return { events: this.events.own.toReversed(), ofAll: false };
    return { events: readAllEvents(answer.entries).events, ofAll: true };
  }

  async request(request: OperatorRequest): Promise<RequestOutcome> {
    const { log } = this.parts;
    log.write('info', 'request.received', `an operator asked: ${request.kind}`, { request: request.kind });
    const { local } = this.watch;
    const ofDaemon = request.kind === 'reload' || request.kind === 'restart-daemon';
    if (!ofDaemon && this.resolved.policy.node.role === 'witness')
      return { kind: 'refused', sentence: 'this node is a witness: no Postgres runs here' };
    if (!ofDaemon && request.kind !== 'take-over' && this.handsOff)
      return { kind: 'refused', sentence: 'this cluster is not handed over to pgha yet: nothing is done here' };
    switch (request.kind) {
      case 'take-over':
        return this.takeOver();
      case 'reload':
        await this.settings.reload();
        return { kind: 'accepted', sentence: 'reload scheduled' };
      case 'restart-daemon':
        return makeRoom(this, request.force);
      case 'restart': {
        if (this.operations.running !== null)
          return { kind: 'refused', sentence: `${this.operations.running.kind} already in progress` };
        if (local.kind !== 'primary' && local.kind !== 'standby')
          return { kind: 'refused', sentence: 'postgres is still starting' };
        if (unmet(request, local) !== null)
          return { kind: 'refused', sentence: 'restart conditions are not satisfied' };
        return this.restartNow(request.timeout);
      }
      case 'stop':
        return stopPostgres(this);
      case 'start':
        return startPostgres(this);
      case 'forget-member':
        return this.forgetMember(request.name);
      case 'schedule-restart':
        return this.scheduleRestart(request);
      case 'cancel-restart': {
        if (this.scheduledRestart === null) return { kind: 'refused', sentence: 'no restarts are scheduled' };
        this.setScheduledRestart(null);
        log.write('info', 'restart.scheduled', 'the scheduled restart was withdrawn by an operator');
        return { kind: 'done', sentence: 'scheduled restart deleted' };
      }
      case 'reinitialize': {
        if (this.keeper.leadership.kind === 'holding')
          return { kind: 'refused', sentence: 'I am the leader, can not reinitialize' };
        if (this.reader.latest?.cluster.leader == null)
          return { kind: 'refused', sentence: 'Cluster has no leader, can not reinitialize' };
        if (this.operations.running !== null) {
          if (!request.force)
            return { kind: 'refused', sentence: `${this.operations.running.kind} already in progress` };
          await this.operations.cancel('an operator asked for a copy anew');
        }
        if (!this.reinitialize(request.fromLeader))
          return { kind: 'refused', sentence: 'the leader to copy from is not known' };
        return { kind: 'done', sentence: 'reinitialize started' };
      }
      default:
        return ((never: never) => never)(request);
    }
  }

  /** The server that runs here becomes this scope's cluster, and this node its leader, within a few cycles or not at all. */
  private async takeOver(): Promise<RequestOutcome> {
    const refused = (sentence: string): RequestOutcome => ({ kind: 'refused', status: 412, sentence });
    if (this.resolved.policy.node.adoptFrom === undefined) return refused('adopt_from is not set on this node');
    if (!this.handsOff) return refused('this cluster is led by pgha already');
    await this.lookNow();
    if ((await this.readCluster()) === null) return refused('etcd does not answer');
    const { situation, decision } = decide(this.view());
    if (situation !== 'shadow' || decision.rule !== 'shadow.watching') return refused(decision.reason);
    if (this.watch.local.kind !== 'primary') return refused(`Postgres here is ${this.watch.local.kind}, no primary`);
    const { gate } = this.keeper;
    const now = this.parts.clock.now();
    const left = gate === null ? null : gate.opensAt === 'never' ? null : between(now, gate.opensAt);
    if (left === null || left > 0)
      return refused(
        `this daemon has not watched for long enough yet: again in ${Math.ceil((left ?? 1_000) / 1_000)} s`,
      );
    const next = decide({ ...this.view(), takeOverAsked: true }).decision;
    if (!next.actions.some((action) => action.do === 'claim-scope' || action.do === 'acquire'))
      return refused(next.reason);
    this.takeOverUntil = laterBy(now, TAKE_OVER_WITHIN);
    this.soon('an operator hands the cluster over');
    return { kind: 'accepted', sentence: 'this node takes the cluster over' };
  }

  /** A member that is gone for good: its slot need not be kept for it any longer. */
  private async forgetMember(name: string): Promise<RequestOutcome> {
    const cluster = await this.readCluster();
    if (cluster === null) return { kind: 'refused', sentence: 'etcd does not answer' };
    const there = cluster.members.some((member) => member.name === name) || cluster.leader?.name === name;
    if (there) return { kind: 'refused', status: 409, sentence: `${name} is a member: its service runs` };
    this.lately.delete(nodeName(name));
    this.upkeep.slots.forget(name);
    this.upkeep.run();
    return { kind: 'done', sentence: `${name} is forgotten here` };
  }

  private scheduleRestart(request: Extract<OperatorRequest, { kind: 'schedule-restart' }>): RequestOutcome {
    const { local } = this.watch;
    if (this.policy.pause)
      return { kind: 'refused', status: 500, sentence: "Can't schedule restart in the paused state" };
    if (this.scheduledRestart !== null)
      return { kind: 'refused', status: 409, sentence: 'Another restart is already scheduled' };
    if (local.kind !== 'primary' && local.kind !== 'standby')
      return { kind: 'refused', sentence: 'postgres is still starting' };
    const { kind: _, ...asked } = request;
    this.setScheduledRestart({ ...asked, postmasterStart: local.startedAt });
    this.parts.log.write('info', 'restart.scheduled', `a restart of Postgres is scheduled for ${request.at}`, {
      scheduled_at: request.at,
    });
    return { kind: 'accepted', sentence: 'Restart scheduled' };
  }

  /** Others read of it in the member key. */
  setScheduledRestart(plan: ScheduledRestart | null): void {
    this.scheduledRestart = plan;
    this.publish();
    this.upkeep.run();
    this.soon('the scheduled restart changed');
  }

  /** An earlier process of this node has left it in the member key: a new version of pgha forgets nothing. */
  private takeUpScheduledRestart(cluster: ClusterView): void {
    if (this.restartTakenUp) return;
    this.restartTakenUp = true;
    const raw = memberNamed(cluster, this.self)?.raw['scheduled_restart'];
    this.scheduledRestart ??= readScheduledRestart(raw);
  }

  /** Its replay stands still until it has as much of something as its primary: nobody needs to be asked. */
  restartOutgrown(names: readonly string[]): void {
    const sentence = `Postgres is restarted: the primary runs with more ${names.join(', ')}, and nothing is replayed before`;
    this.parts.log.write('warn', 'postgres.outgrown', sentence);
    void this.restartNow(null);
  }

  /** @param limit - how long starting may take; null: as long as always */
  async restartNow(given: Millis | null): Promise<RequestOutcome> {
    const limit = given ?? this.policy.primaryStartTimeout;
    const wasPrimary = this.watch.local.kind === 'primary';
    const outcome = new Promise<RequestOutcome>((resolve) => {
      const started = this.operations.start('restart', 'restart of Postgres', async (signal) => {
        try {
          await this.beforeStop();
          if (wasPrimary) await this.restartPrimary(limit, signal);
          else {
            await this.leaveSyncSet();
            await this.parts.postgres.restart(limit, this.resolved.server);
          }
          resolve({ kind: 'done', sentence: 'restarted successfully' });
        } catch (error) {
          resolve({ kind: 'refused', sentence: 'restart failed' });
          throw error;
        } finally {
          this.leavingSyncSet = false;
          this.poolers.restarted();
        }
      });
      if (!started) resolve({ kind: 'refused', sentence: 'another action is already in progress' });
    });
    return outcome;
  }

  /** The operator's before_stop, bounded; not where a primary has to be gone in time, or is gone already. */
  async beforeStop(): Promise<void> {
    const { local } = this.watch;
    const { leadership } = this.keeper;
    const leads = leadership.kind === 'holding' && leadership.windowOpen;
    if (local.kind !== 'standby' && (local.kind !== 'primary' || !leads)) return;
    await this.stopPatience.until(this.parts.commands.beforeStop());
  }

  /** The stop may take longer than the window is open: it is looked at again in between (rule 27). */
  private async restartPrimary(limit: Millis, signal: AbortSignal): Promise<void> {
    const { postgres } = this.parts;
    if (this.resolved.policy.node.poolers !== undefined && this.mayStartPrimary()) {
      // What the stop would wait for is done while clients still go on; they wait longer where that fails.
      await postgres.prepareSwitchover(signal).catch((error: unknown) => {
        if (signal.aborted) throw error;
        this.parts.log.write('warn', 'action.failed', 'the restart could not be prepared', { error });
      });
      await this.poolers.pauseForRestart(signal);
    }
    if (!this.mayStartPrimary()) throw new Error('the window is not open');
    await postgres.stop('fast', limit);
    // It was ended meanwhile because it did not answer: what comes of it is decided, not gone on with.
    signal.throwIfAborted();
    if (!this.mayStartPrimary()) throw new Error('the window closed before Postgres could be started again');
    await postgres.startPrimary(this.resolved.server, () => this.mayStartPrimary(), this.startsBlocked);
  }

  /** @returns whether it was started */
  private reinitialize(fromLeader: boolean): boolean {
    const cluster = this.reader.latest?.cluster;
    const leads = cluster?.leader ?? null;
    if (cluster === undefined || leads === null || leads.name === this.self) return false;
    const preferred = fromLeader ? [] : preferredSources(cluster, leads, this.self);
    const leader = this.addressOf(leads.name);
    const source = this.addressOf(preferred[0] ?? leads.name);
    if (leader === null || source === null) return false;
    const started = this.operations.start(
      'copy',
      `copy anew from ${source.name}, asked for by an operator`,
      async (signal, progress) => {
        await this.confirmSource(source, leader);
        await this.leaveSyncSet();
        this.leavingSyncSet = false;
        await this.beforeStop();
        await this.parts.postgres.stop('fast', millis(10_000));
        signal.throwIfAborted();
        await keepGivenUp(this, leader, progress, signal);
        await this.wipeFor(leader, signal);
        await this.parts.postgres.copy(source, this.resolved.server, progress, signal);
      },
    );
    this.soon('reinitialize');
    return started;
  }

  /** Commits shall not wait for a standby that is about to stop; for a leader that does not let it go, nobody waits long. */
  async leaveSyncSet(): Promise<void> {
    const isMember = (): boolean => this.reader.latest?.cluster.sync?.key?.voters.includes(this.self) === true;
    if (!isMember()) return;
    const { clock } = this.parts;
    this.leavingSyncSet = true;
    this.upkeep.run();
    const until = laterBy(clock.now(), millis(2 * this.policy.loopWait));
    while (isMember() && clock.now() < until) await clock.sleep(LEAVE_LOOK);
  }

  /** Rule 27, looked at again immediately before Postgres may become writable. */
  mayStartPrimary(): boolean {
    const leadership = this.keeper.leadership;
    if (this.policy.pause) return true;
    if (leadership.kind !== 'holding' || !leadership.windowOpen || leadership.releaseSent) return false;
    return roomToBegin(leadership.deadline, leadership.ttl, this.parts.clock.now());
  }

  async switchover(request: SwitchoverRequest): Promise<SwitchoverOutcome> {
    if (this.handsOff)
      return {
        kind: 'refused',
        status: 412,
        sentence: 'this cluster is not handed over to pgha yet: nothing was changed',
      };
    return askForSwitchover(this, request);
  }

  cancelSwitchover(): Promise<RequestOutcome> {
    return withdrawSwitchover(this);
  }

  async patchConfig(patch: Json): Promise<ConfigOutcome> {
    const cluster = await this.readCluster();
    // Gone or garbled: the settings that count are written anew with the change, or nobody could end maintenance.
    if (cluster?.config === null && this.storedSettings !== null)
      return this.storeConfig(this.settings.merge(this.storedSettings, patch), null, null);
    if (cluster?.config == null)
      return { kind: 'refused', status: 503, sentence: 'the cluster-wide configuration cannot be read from etcd' };
    const { value, revision } = cluster.config;
    return this.storeConfig(this.settings.merge(value, patch), revision, value);
  }

  async putConfig(config: Json): Promise<ConfigOutcome> {
    // It replaces whatever stands there; what that was is for the audit trail alone.
    const before = (await this.readCluster())?.config?.value ?? null;
    return this.storeConfig(config, null, before);
  }

  async problemsOf(config: Json): Promise<readonly string[]> {
    if (this.handsOff) return ['this cluster is not handed over to pgha yet (pgha-ctl adopt take-over)'];
    // What is wrong already is not this edit's fault: it must not keep anybody from changing something else.
    const known = new Set(this.settings.validate(this.storedSettings ?? {}));
    const problems = this.settings.validate(config).filter((problem) => !known.has(problem));
    return problems.length > 0 ? problems : this.objectionsOfPostgres(config);
  }

  /** Only where something changes for Postgres. */
  private async objectionsOfPostgres(config: Json): Promise<readonly string[]> {
    const before = this.settings.resolve(this.storedSettings).server;
    const after = this.settings.resolve(config).server;
    if (JSON.stringify(before) === JSON.stringify(after)) return [];
    return objectionsInTime(this.parts, () => this.parts.postgres.objections(after, before));
  }

  private async storeConfig(config: Json, basedOn: bigint | null, before: Json | null): Promise<ConfigOutcome> {
    const problems = await this.problemsOf(config);
    if (problems.length > 0) return { kind: 'refused', status: 400, sentence: `not stored: ${problems.join('; ')}` };
    const value = JSON.stringify(config);
    const answer = await this.parts.dcs.txn(
      {
        compare: basedOn === null ? [] : [{ key: KEYS.config, modRevision: basedOn as ClusterView['revision'] }],
        success: [{ op: 'put', key: KEYS.config, value, lease: null }],
        failure: [{ op: 'get', key: KEYS.config }],
      },
      READ_LIMIT,
    );
    // A refusal may come from the second copy of a request whose first one has won.
    if (answer.kind === 'answered' && (answer.succeeded || answer.found.get(KEYS.config)?.value === value)) {
      this.soon('config stored');
      return { kind: 'stored', config, before };
    }
    if (answer.kind === 'answered')
      return {
        kind: 'refused',
        status: 409,
        sentence: 'somebody else changed the configuration at the same moment: read it again',
      };
    return {
      kind: 'refused',
      status: 502,
      sentence: `etcd did not confirm the change (${answer.cause}): read it back before trying again`,
    };
  }

  private wantedFailsafeList(): ReadonlyMap<NodeName, string> {
    const cluster = this.reader.latest?.cluster;
    const { apiUrl } = this.settings;
    return cluster === undefined ? new Map() : wantedList(cluster, { name: this.self, apiUrl });
  }

  async confirmFailsafe(request: FailsafeRequest): Promise<ConfirmOutcome> {
    if (!this.policy.failsafeMode) return { kind: 'off' };
    const { local } = this.watch;
    if (local.kind === 'primary') return { kind: 'primary' };
    const since = ledSince(this.self, local, request.name, this.timelineOf(request.name));
    const why = since ?? (await this.keeper.confirm(request));
    if (why !== null) return { kind: 'refused', why };
    this.upkeep.slots.heardFromLeader(request.slots);
    this.publish();
    return { kind: 'confirmed', position: local.kind === 'standby' ? position(local) : null };
  }

  /** On which timeline another member is, by its key and by its own word; null: neither says so. */
  private timelineOf(name: NodeName): Timeline | null {
    const cluster = this.reader.latest?.cluster;
    const answer = this.peers.answers.get(name);
    const published = cluster === undefined ? null : (memberNamed(cluster, name)?.timeline ?? null);
    const told = answer?.kind === 'answered' ? answer.status.timeline : null;
    return published !== null && told !== null && published > told ? published : (told ?? published);
  }

  rescue(request: RescueRequest): Promise<RescueAnswer> {
    return serveRescue(this, request);
  }

  async readWal(tl: Timeline, from: Lsn, to: Lsn): Promise<WalChunk | null> {
    // A running Postgres has replication for that; its WAL files may be changing.
    if (this.watch.local.kind !== 'stopped' || this.keeper.leadership.kind !== 'holding' || to <= from) return null;
    return this.parts.postgres.readWal(tl, from, to).catch((error: unknown) => {
      this.parts.log.write('error', 'rescue.failed', 'our WAL could not be read for the candidate', { error });
      return null;
    });
  }

  // ------------------------------------------------------------------ small things that several need

  /** Told once for each wish, however long it stands. */
  refuse(why: string): void {
    this.lastRefusal = why;
    const wish = this.reader.latest?.cluster.failover?.revision ?? null;
    if (this.refused?.wish === wish && this.refused.why === why) return;
    this.refused = { wish, why };
    this.parts.log.write('warn', 'switchover.refused', `the switchover was refused: ${why}`);
  }

  /**
   * The operator's wish that was read last; not one that he has written over it since.
   *
   * @returns false: nothing is known of what became of it
   */
  async dropWish(): Promise<boolean> {
    const wish = this.reader.latest?.cluster.failover ?? null;
    if (wish === null) return true;
    const answer = await this.parts.dcs.txn(
      {
        compare: [{ key: KEYS.failover, modRevision: wish.revision }],
        success: [{ op: 'put', key: KEYS.failover, value: '{}', lease: null }],
        failure: [],
      },
      READ_LIMIT,
    );
    return answer.kind === 'answered';
  }

  /** One unconditional write of a key that only people write. */
  async put(key: Key, value: string): Promise<boolean> {
    const answer = await this.parts.dcs.txn(
      { compare: [], success: [{ op: 'put', key, value, lease: null }], failure: [] },
      READ_LIMIT,
    );
    return answer.kind === 'answered';
  }

  /**
   * What becomes of an operator's wish in the transaction that gives the key up. Members of pgha go by the record. Those
   * of Patroni know no record: without the wish each of them would race, and who leads next takes it away.
   */
  failoverAfter(candidate: NodeName | null): Op {
    const members = this.reader.latest?.cluster.members ?? [];
    const kept = candidate !== null && members.some(({ pgha }) => pgha === null);
    const value = kept ? writeFailover({ leader: this.self, candidate, scheduledAt: null }) : '{}';
    return { op: 'put', key: KEYS.failover, value, lease: null };
  }

  /** Timelines on which the cluster has been and this node has not: none of them is begun again. */
  timelinesTaken(): readonly Timeline[] {
    const { local } = this.watch;
    const cluster = this.reader.latest?.cluster;
    if (local.kind !== 'standby' || cluster === undefined) return [];
    const newest = timelineBeyond(cluster, local.timeline)?.timeline ?? local.timeline;
    const count = Math.min(TIMELINES_TAKEN, newest - local.timeline);
    return Array.from({ length: count }, (_, i) => timeline(local.timeline + 1 + i));
  }

  /**
   * The history with the line that this node's promotion adds (reference: 2.2).
   *
   * @returns as the key is to say it; null: it says all of it
   */
  async historyWithOwn(): Promise<string | null> {
    const { local } = this.watch;
    const cluster = this.reader.latest?.cluster;
    if (local.kind !== 'primary' || cluster === undefined) return null;
    if (local.timeline <= 1 || newestTimeline(cluster) >= local.timeline) return null;
    const own = await this.parts.postgres.ownHistory(local.timeline);
    if (own.length === 0) return null;
    const when = new Date(this.parts.clock.wall()).toISOString();
    const all = historyWith(cluster.history, own, { timeline: local.timeline, node: this.self, when });
    const { maxTimelinesHistory: most } = this.policy;
    return writeHistory(most > 0 ? all.slice(-most) : all);
  }
}
