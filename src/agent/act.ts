/**
 * Carries out what was decided, one action at a time. Before each step that cannot be undone the window is looked at
 * again: between the decision and the deed the world may have changed.
 */
import type { Action } from '../core/action.ts';
import { ASK_LIMIT } from '../core/budget.ts';
import { KEYS } from '../core/cluster.ts';
import type { Decision } from '../core/decision.ts';
import { describePhases } from '../core/decision-record.ts';
import type { LocalPostgres, SystemId } from '../core/local.ts';
import type { LossStatement } from '../core/loss.ts';
import { distance, type Lsn, printLsn, type Timeline } from '../core/lsn.ts';
import { REMOTE, type RemoteSource } from '../core/policy.ts';
import { isGivenTwice } from '../core/situations/rejoining.ts';
import { describeSource } from '../core/standby-cluster.ts';
import { ABSENT, type Revision, type Txn } from '../core/store.ts';
import { between, millis } from '../core/time.ts';
import { kinship, partingPoint, type TimelineHistory } from '../core/timeline.ts';
import { type LearnedLineage, ownHistory } from '../core/view.ts';
import type { TxnAnswer } from '../ports/dcs.ts';
import type { Progress, ServerAddress, ServerSettings } from '../ports/postgres.ts';
import type { Agent } from './agent.ts';
import { whatHappened } from './operation.ts';

const LINEAGE_LIMIT = millis(1_000);
const GUARD_LIMIT = millis(500);
/** A receiver ends in milliseconds; the election goes on without its end when it does not. */
const RECEIVER_LIMIT = millis(2_000);
const STORE_LIMIT = millis(1_500);
const STORE_AGAIN = millis(500);
/** A stop that must not end in a checkpoint gets so long before the family is killed. */
const END_LIMIT = millis(300);

/** @returns whether something was done that changes what the next cycle sees */
export async function carryOut(agent: Agent, action: Action, decision: Decision): Promise<boolean> {
  const { postgres, log, guard } = agent.parts;
  const server = agent.resolved.server;
  switch (action.do) {
    case 'stop-immediately':
      await agent.endPostgres(decision.reason);
      return true;
    case 'stop-in-order':
      agent.stopServing();
      return agent.operations.start('stop', 'stop Postgres in order', async () => {
        await agent.beforeStop();
        await postgres.stop('fast', agent.policy.primaryStopTimeout);
        if (action.handsOver === true) agent.handedOver = true;
      });
    case 'end-family':
      await agent.endFamily(END_LIMIT);
      return true;
    case 'start-primary':
      return startPrimary(agent);
    case 'start-standby': {
      const upstream = action.upstream === null ? null : agent.addressOf(action.upstream);
      // The leader of a standby cluster is not about to promote: before the start it is known that nothing here writes.
      const standsBy = agent.remoteSource !== null && agent.keeper.leadership.kind === 'holding';
      if (standsBy && !agent.policy.pause && !(await agent.keeper.standDown())) return false;
      return agent.operations.start(
        'start',
        `start Postgres as a standby${upstream === null ? '' : ` of ${upstream.name}`}`,
        async () => {
          // A deadline that is still armed would strike the standby; but a holder is about to promote, under that very
          // deadline.
          if (agent.keeper.leadership.kind !== 'holding') {
            const answer = await guard.disarm(GUARD_LIMIT);
            if (answer.kind === 'silent') throw new Error(`the guard does not stand down: ${answer.cause}`);
          }
          await postgres.startStandby(upstream, server);
        },
      );
    }
    case 'promote':
      return promote(agent);
    case 'follow': {
      const upstream = action.upstream === null ? null : agent.addressOf(action.upstream);
      if (action.silent !== undefined) agent.noteSilentUpstream(action.silent);
      await attempt(agent, `follow ${upstream?.name ?? 'nobody'}`, async () => {
        try {
          await postgres.follow(upstream);
          agent.operations.forgetFailures('follow');
        } catch (error) {
          agent.operations.countFailure('follow', whatHappened(error));
          throw error;
        }
      });
      agent.watch.doubt();
      return true;
    }
    case 'acquire': {
      const outcome = await agent.keeper.acquire(
        action.status,
        action.standing,
        action.adopting,
        action.despitePause,
        action.sync,
      );
      // Lost, or not known: what etcd says now decides, not what we hoped for.
      if (outcome !== 'ours') await agent.readCluster();
      return true;
    }
    case 'release':
      return release(agent, action, decision);
    case 'ask-peers':
      await agent.askPeers(action.waitFor, ASK_LIMIT);
      return true;
    case 'stop-receiving':
      return stopReceiving(agent);
    case 'validate':
      return validate(agent, action);
    case 'find-end-of-wal': {
      const { local } = agent.watch;
      if (local.kind !== 'stopped') return false;
      const stoppedSince = agent.watch.since;
      const lsn = await attempt(agent, 'find the end of the local WAL', () =>
        postgres.endOfWal(local.timeline, local.checkpoint),
      );
      if (lsn !== null) agent.endOfWal = { lsn, stoppedSince };
      else agent.operations.countFailure('find-end', 'see the log');
      return true;
    }
    case 'look-at-undone': {
      const { timeline, from, to } = action;
      const seen = await attempt(agent, 'look at the WAL that would be undone', () =>
        postgres.lookAtUndone({ timeline, from, to }),
      );
      // What cannot be read holds nobody back for ever; it is kept aside as far as it is there.
      agent.undone = { from, to, ...(seen ?? { whole: true, span: null }) };
      return true;
    }
    case 'learn-lineage': {
      const address = agent.addressOf(action.of);
      const leader = agent.reader.latest?.cluster.leader;
      if (address === null || leader == null) return false;
      const at = agent.now();
      const { local } = agent.watch;
      const ourTimeline = local.kind === 'standby' || local.kind === 'stopped' ? local.timeline : null;
      const [lineage, ours] = await Promise.all([postgres.lineage(address, LINEAGE_LIMIT), ownLine(agent)]);
      const learned = lineage === null ? null : { ...lineage, of: action.of, term: leader.term, at, ours, ourTimeline };
      if (action.of === leader.name || action.of === REMOTE) agent.lineage = learned ?? agent.lineage;
      else {
        agent.noteAskedUpstream(action.of);
        agent.upstreamLineage = learned;
        // A leader is asked until he answers; for another standby there are others.
        if (learned === null) agent.noteSilentUpstream(action.of);
      }
      return true;
    }
    case 'rescue':
      return rescue(agent, action);
    case 'bootstrap':
      return bootstrap(agent);
    case 'claim-scope':
      return claimScope(agent, action.over);
    case 'copy': {
      const [source, leader] = [agent.addressOf(action.source), agent.addressOf(action.leader)];
      if (source === null || leader === null) return false;
      return agent.operations.start('copy', `copy from ${source.name}`, async (signal, progress) => {
        await guard.disarm(GUARD_LIMIT);
        await agent.confirmSource(source, leader);
        if (action.wipe) {
          await keepDiscarded(agent, leader.name, progress, signal);
          signal.throwIfAborted();
          await agent.wipeFor(leader, signal, () => agent.noteReplacement());
        } else await agent.confirmLeads(leader);
        await postgres.copy(source, server, progress, signal);
        agent.operations.forgetFailures('rewind', 'start');
      });
    }
    case 'rewind': {
      const source = agent.addressOf(action.source);
      if (source === null) return false;
      return agent.operations.start('rewind', `rewind to the line of ${source.name}`, async (signal, progress) => {
        await guard.disarm(GUARD_LIMIT);
        await keepDiscarded(agent, source.name, progress, signal);
        signal.throwIfAborted();
        await agent.confirmLeads(source);
        await postgres.rewind(source, server, progress, signal);
      });
    }
    case 'stop-for-switchover':
      return agent.operations.start('switchover', 'stop in order, to hand over', async (signal) => {
        if (action.prepared !== true) {
          await agent.beforeStop();
          await postgres.prepareSwitchover(signal);
        }
        if (!agent.mayStartPrimary()) throw new Error('the window closed while the switchover was being prepared');
        agent.stopServing();
        agent.handedOver = true;
        const checkpoint = await postgres.stopForSwitchover(agent.policy.primaryStopTimeout);
        log.write(
          'info',
          'action.finished',
          checkpoint === null
            ? 'Postgres had to be ended without a shutdown checkpoint; its WAL is complete all the same'
            : `Postgres is down; its shutdown checkpoint is at ${printLsn(checkpoint)}`,
          { action: 'switchover' },
        );
      });
    case 'prepare-switchover':
      return agent.operations.start('switchover', 'prepare a stop in order, to hand over', async (signal) => {
        await agent.beforeStop();
        await postgres.prepareSwitchover(signal);
        agent.poolers.prepared(action.wish);
      });
    case 'pause-poolers':
      agent.poolers.pauseForHandover(action.wish);
      return true;
    case 'drop-switchover-request':
      agent.refuse(action.why);
      agent.switchoverAbandoned();
      // It stands until etcd takes it away, which it may not do for a while (no space).
      if (!(await agent.dropWish())) return false;
      await agent.readCluster();
      return true;
    case 'restart':
      agent.setScheduledRestart(null);
      // Told by the operation itself.
      void agent.restartNow(action.timeout);
      return true;
    case 'drop-restart':
      log.write('warn', 'restart.dropped', `the scheduled restart of Postgres is not done: ${action.why}`);
      agent.setScheduledRestart(null);
      return true;
    default:
      return ((never: never) => never)(action);
  }
}

async function stopReceiving(agent: Agent): Promise<boolean> {
  const { clock, postgres } = agent.parts;
  const tooLong = new AbortController();
  const endTimer = clock.timer(RECEIVER_LIMIT, () => tooLong.abort(new Error('the receiver did not end in time')));
  try {
    await attempt(agent, 'end the receiver before the election', () => postgres.withdraw(tooLong.signal));
  } finally {
    endTimer();
  }
  // Also when it did not end in time: what stands in the settings tells, with the next look.
  agent.withdrawn = true;
  agent.watch.doubt();
  return true;
}

/** The operator's own command has the last word; it runs beside the cycle, which goes on looking. */
function validate(agent: Agent, action: Extract<Action, { do: 'validate' }>): boolean {
  const { commands, clock, log } = agent.parts;
  const began = clock.now();
  agent.validation = { kind: 'running', since: began };
  const asked = commands
    .validateFailover({ visible: action.visible, total: action.total })
    // A mistake of ours must not leave the election waiting for an answer that never comes.
    .catch((error: unknown) => ({ kind: 'vetoed' as const, said: `it could not be run: ${String(error)}` }));
  void asked.then((outcome) => {
    const at = clock.now();
    const took = { took_ms: Math.round(between(began, at)) };
    if (outcome.kind === 'approved') {
      agent.validation = { kind: 'approved', at };
      log.write('info', 'failover.validated', 'failover_validation_command has nothing against it', took);
    } else {
      agent.validation = { kind: 'vetoed', at, said: outcome.said };
      log.write('warn', 'failover.vetoed', `failover_validation_command is against it: ${outcome.said}`, took);
    }
    agent.soon('the failover was validated');
  });
  return true;
}

async function startPrimary(agent: Agent): Promise<boolean> {
  if (!(await agent.keeper.reclaim()) || !agent.mayStartPrimary()) return false;
  agent.watch.doubt();
  return agent.operations.start('start', 'start Postgres as the primary', async () => {
    if (!agent.mayStartPrimary()) throw new Error('the window closed before Postgres could be started');
    await agent.parts.postgres.startPrimary(agent.resolved.server, () => agent.mayStartPrimary(), agent.startsBlocked);
  });
}

function promote(agent: Agent): boolean {
  const { log, clock, postgres } = agent.parts;
  const leadership = agent.keeper.leadership;
  if (leadership.kind !== 'holding') return false;
  const { term } = leadership;
  const began = clock.now();
  const allowed = (): boolean => {
    const now = agent.keeper.leadership;
    const leads = now.kind === 'holding' && now.term === term && now.windowOpen && !now.releaseSent;
    return leads && agent.remoteSource === null;
  };
  agent.watch.doubt();
  return agent.operations.start('promote', 'promote Postgres', async (cancelled) => {
    await askPrePromote(agent, cancelled);
    const tooLong = new AbortController();
    const limit = agent.policy.primaryStartTimeout;
    agent.takeovers.promoteSent(clock.now());
    const endTimer = clock.timer(limit, () => tooLong.abort(new Error(`it was not done after ${limit / 1000} s`)));
    try {
      const synchronous = agent.startsBlocked;
      agent.promotionSent = true;
      const taken = agent.timelinesTaken();
      await postgres.promote(allowed, AbortSignal.any([cancelled, tooLong.signal]), { synchronous, taken });
    } finally {
      endTimer();
    }
    agent.watch.doubt();
    await agent.lookNow();
    const { local } = agent.watch;
    const record = agent.noteTookOver(term, local, await beginningOf(agent, local));
    log.write('info', 'failover.completed', `${agent.self} is the primary now and accepts writes`, {
      term: term.toString(),
      ...(local.kind === 'primary' ? { timeline: local.timeline, lsn: local.flushed } : {}),
      waited_for_window_ms: Math.round(between(leadership.since, began)),
      promoted_in_ms: Math.round(between(began, clock.now())),
      ...(record === null
        ? {}
        : { kind: record.kind, judgement_ms: record.judgement_ms, phases: describePhases(record) }),
    });
    if (record?.loss != null) tellLoss(agent, record.loss);
    else {
      // A daemon that was started meanwhile has not seen how it came about; an emptied etcd knows of no leader before.
      const sentence = `what ${record?.previous ?? 'the last leader'} committed and sent to nobody may be lost: where its WAL ended is not known here`;
      log.write('warn', 'failover.loss-possible', sentence, { lost: 'unknown' });
    }
  });
}

/** @throws when the operator's pre_promote says no; the next decision gives the key up */
async function askPrePromote(agent: Agent, cancelled: AbortSignal): Promise<void> {
  const outcome = await agent.parts.commands.prePromote(cancelled);
  if (outcome.kind !== 'failed' || cancelled.aborted) return;
  agent.operations.countFailure('pre-promote', outcome.said);
  throw new Error(`pre_promote says no: ${outcome.said}`);
}

/** Where the timeline that this primary has just begun parts from the last one; null: it cannot be read. */
async function beginningOf(agent: Agent, local: LocalPostgres): Promise<Lsn | null> {
  if (local.kind !== 'primary' || local.timeline === 1) return null;
  const ours = await attempt(agent, 'read where the new timeline begins', () =>
    agent.parts.postgres.ownHistory(local.timeline),
  );
  return ours?.at(-1)?.switchedAt ?? null;
}

/** Every failover says what it may have cost, also when that is nothing. */
function tellLoss(agent: Agent, loss: LossStatement): void {
  const { sentence, ...facts } = loss;
  if (loss.lost === 'nothing' || loss.synchronous)
    agent.parts.log.write('info', 'failover.loss-excluded', sentence, facts);
  else agent.parts.log.write('warn', 'failover.loss-possible', sentence, facts);
}

async function release(agent: Agent, action: Extract<Action, { do: 'release' }>, decision: Decision): Promise<boolean> {
  const { log } = agent.parts;
  agent.stopServing();
  // Who leads next takes it as soon as he may write.
  if (agent.address.holds && agent.downSince() !== null) await agent.address.letGo();
  if (agent.downSince() === null) return false;
  const { leadership } = agent.keeper;
  // Once for each key that is given up, however often the release is sent.
  if (decision.rule === 'leading.no-window' && leadership.kind === 'holding' && !leadership.releaseSent)
    agent.operations.countFailure('prove', decision.reason);
  if (action.lost !== null) {
    log.write(
      'error',
      'failover.loss-possible',
      `commits between ${printLsn(action.lost.from)} and ${printLsn(action.lost.to)} are not on ${action.candidate ?? 'any candidate'} and are given up, as the settings ask (wal_rescue, primary_crash)`,
      {
        from: action.lost.from,
        to: action.lost.to,
        bytes: Number(action.lost.to - action.lost.from),
      },
    );
  }
  const asked = agent.reader.latest?.cluster.failover ?? null;
  // One that is scheduled for later stays for whoever leads then. In maintenance he is not promoted without it, and takes
  // it away when he leads.
  const due = asked !== null && (asked.scheduledAt === null || agent.isDue(asked.scheduledAt));
  const { local } = agent.watch;
  const known = await agent.keeper.release(
    action.lsn,
    action.candidate,
    due && !agent.policy.pause ? [agent.failoverAfter(action.candidate)] : [],
    {
      asked: due,
      unpromoted: local.kind === 'standby' || (local.kind === 'stopped' && !local.wasPrimary),
    },
    action.endless === true,
  );
  if (known) await agent.readCluster();
  return known;
}

function rescue(agent: Agent, action: Extract<Action, { do: 'rescue' }>): boolean {
  const { candidate, end, limit } = action;
  const { log, peers } = agent.parts;
  const { local } = agent.watch;
  const leadership = agent.keeper.leadership;
  const api = agent.apiOf(candidate);
  if (local.kind !== 'stopped' || leadership.kind !== 'holding' || api === null) return false;
  if (action.anew || agent.rescueTries === null) {
    const now = agent.now();
    const rounds = agent.rescueTries === null ? 0 : agent.rescueTries.rounds + 1;
    agent.rescueTries = { since: now, endedAt: now, rounds, failed: new Set() };
  }
  return agent.operations.start('rescue', `bring the end of our WAL to ${candidate}`, async () => {
    const answer = await peers.rescue(
      api,
      { leader: agent.self, term: leadership.term, systemId: local.systemId, timeline: local.timeline, end, limit },
      limit,
    );
    if (answer.kind === 'refused') {
      const { since, rounds, failed } = agent.rescueTries ?? { since: agent.now(), rounds: 0, failed: new Set() };
      agent.rescueTries = { since, endedAt: agent.now(), rounds, failed: new Set([...failed, candidate]) };
      log.write('warn', 'rescue.failed', `${candidate} could not be given the end of our WAL: ${answer.reason}`);
      return;
    }
    log.write('info', 'rescue.completed', `${candidate} has replayed our WAL up to ${printLsn(answer.replayed)}`, {
      lsn: answer.replayed,
    });
    await agent.askPeers([candidate], ASK_LIMIT);
  });
}

async function bootstrap(agent: Agent): Promise<boolean> {
  const { dcs, postgres, log } = agent.parts;
  const lease = agent.keeper.lease;
  if (lease === null) return false;
  // On our lease: should this node die in the middle, the next one may try.
  const answer = await dcs.txn(
    {
      compare: [
        { key: KEYS.initialize, createRevision: ABSENT },
        { key: KEYS.leader, createRevision: ABSENT },
      ],
      success: [{ op: 'put', key: KEYS.initialize, value: '', lease }],
      failure: [{ op: 'get', key: KEYS.initialize }],
    },
    STORE_LIMIT,
  );
  // A refusal may come from the second copy of a request whose first one has won: the lease tells.
  const standing = answer.kind === 'answered' ? (answer.found.get(KEYS.initialize) ?? null) : null;
  const ours = answer.kind === 'answered' && (answer.succeeded || (standing?.value === '' && standing.lease === lease));
  if (!ours) {
    await agent.readCluster();
    return true;
  }
  const race = standing?.modRevision ?? answer.header.revision;
  return agent.operations.start('bootstrap', 'make a new cluster', async (signal, progress) => {
    try {
      // etcd says nothing yet: the cluster begins with what its first node's file asks for.
      const { server, policy } = agent.settings.resolve(agent.settings.initialConfig);
      const remote = policy.cluster.standbyCluster;
      const id =
        remote === undefined
          ? await postgres.bootstrap(server, progress, signal)
          : await copyRemote(agent, remote, server, progress, signal);
      const named = await untilAnswered(agent, signal, {
        compare: [{ key: KEYS.initialize, modRevision: race }],
        success: [
          { op: 'put', key: KEYS.initialize, value: id, lease: null },
          { op: 'put', key: KEYS.config, value: JSON.stringify(agent.settings.initialConfig), lease: null },
        ],
        failure: [{ op: 'get', key: KEYS.initialize }],
      });
      if (named.kind !== 'answered' || !named.succeeded) {
        const now = (named.kind === 'answered' ? named.found.get(KEYS.initialize)?.value : undefined) ?? '';
        if (/^\d+$/.test(now) && now !== id) {
          // It holds nothing of anybody, and would keep this node from being copied.
          const kept = await postgres.setAside();
          throw new Error(`the scope has become cluster ${now} in the meantime. ${kept}`);
        }
        if (now !== id) throw new Error('another member has begun to make a cluster in the meantime');
      }
      // Or the next decision would rest on a scope that is still being made.
      await agent.readCluster();
      log.write('info', 'action.finished', `the new cluster has system identifier ${id}`, { action: 'bootstrap' });
    } catch (error) {
      await untilAnswered(agent, signal, {
        compare: [{ key: KEYS.initialize, modRevision: race }],
        success: [{ op: 'delete', key: KEYS.initialize }],
        failure: [],
      });
      throw error;
    }
  });
}

/** The first member of a standby cluster: a copy of the primary of another one, whose name the scope gets. */
async function copyRemote(
  agent: Agent,
  remote: RemoteSource,
  server: ServerSettings,
  progress: Progress,
  signal: AbortSignal,
): Promise<SystemId> {
  const source = { name: describeSource(remote), host: remote.host ?? '', port: remote.port, remote };
  await agent.parts.postgres.copy(source, server, progress, signal);
  agent.watch.doubt();
  await agent.lookNow();
  const { local } = agent.watch;
  if (local.kind !== 'stopped') throw new Error(`after the copy from ${source.name} Postgres here is ${local.kind}`);
  return local.systemId;
}

/**
 * A transaction that only the first to land can win, sent until etcd has said what became of it: while our lease lives,
 * an `initialize` key that says "being made" and is forgotten there keeps everybody waiting, this node too.
 */
async function untilAnswered(agent: Agent, signal: AbortSignal, txn: Txn): Promise<TxnAnswer> {
  const { clock, dcs } = agent.parts;
  for (;;) {
    const answer = await dcs.txn(txn, STORE_LIMIT);
    if (answer.kind === 'answered' || signal.aborted) return answer;
    await clock.sleep(STORE_AGAIN, signal);
  }
}

async function claimScope(agent: Agent, over: Revision | null): Promise<boolean> {
  const { local } = agent.watch;
  if (local.kind !== 'primary' && local.kind !== 'stopped') return false;
  const config =
    local.kind === 'primary' ? await asItRuns(agent) : (agent.storedSettings ?? agent.settings.initialConfig);
  if (config === null) return false;
  const { config: standing = null, garbledConfig = null } = agent.reader.latest?.cluster ?? {};
  agent.claimed = true;
  await agent.parts.dcs.txn(
    {
      compare: [
        over === null ? { key: KEYS.initialize, createRevision: ABSENT } : { key: KEYS.initialize, modRevision: over },
        { key: KEYS.leader, createRevision: ABSENT },
        ...(standing === null ? [{ key: KEYS.config, modRevision: garbledConfig ?? ABSENT }] : []),
      ],
      success: [
        { op: 'put', key: KEYS.initialize, value: local.systemId, lease: null },
        // Settings that somebody has stored in an empty scope are what he wants.
        ...(standing === null
          ? [{ op: 'put' as const, key: KEYS.config, value: JSON.stringify(config), lease: null }]
          : []),
      ],
      failure: [],
    },
    STORE_LIMIT,
  );
  await agent.readCluster();
  return true;
}

/** The cluster's first settings: what the file says, and beside it what the server that is taken in runs with. */
async function asItRuns(agent: Agent): Promise<Readonly<Record<string, unknown>> | null> {
  const { postgres } = agent.parts;
  const { initialConfig, merge } = agent.settings;
  // etcd was emptied: the settings are not.
  if (agent.storedSettings !== null) return agent.storedSettings;
  const parameters = await attempt(agent, 'read the settings of the server', () => postgres.sharedParameters());
  if (parameters === null) return null;
  return Object.keys(parameters).length === 0 ? initialConfig : merge({ postgresql: { parameters } }, initialConfig);
}

/**
 * The other side of the same loss: this node's own WAL beyond the point where the leader's line left it. It is kept
 * aside and told before it is thrown away; that it cannot be kept keeps nobody from coming back.
 */
async function keepDiscarded(agent: Agent, leader: string, progress: Progress, signal: AbortSignal): Promise<void> {
  const { lineage, endOfWal } = agent;
  const { local } = agent.watch;
  if (lineage === null || local.kind !== 'stopped' || endOfWal === null) return;
  const own = { timeline: local.timeline, end: endOfWal.lsn, history: ownHistory(lineage, local.timeline) };
  await keepAndTell(agent, own, partingPoint(own, lineage) ?? local.checkpoint, leader, progress, signal);
}

/** The same for a directory that an operator has given up: its Postgres has only just been stopped for that. */
export async function keepGivenUp(
  agent: Agent,
  leader: ServerAddress,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { postgres } = agent.parts;
  const local = await postgres.look(LINEAGE_LIMIT);
  if (local.kind !== 'stopped') return;
  const lineage = await postgres.lineage(leader, LINEAGE_LIMIT);
  if (lineage === null) throw new Error(`${leader.name} does not answer: nothing was removed here`);
  const { timeline, checkpoint } = local;
  const end = await attempt(agent, 'find the end of the local WAL', () => postgres.endOfWal(timeline, checkpoint));
  const history = await attempt(agent, 'read the history of our own timeline', () => historyOf(agent, timeline));
  if (lineage.systemId !== local.systemId) return;
  if (end === null) {
    const sentence = `what only this node has is not kept: where its WAL ends could not be found, from ${printLsn(checkpoint)} on timeline ${timeline}`;
    agent.parts.log.write('warn', 'action.failed', sentence);
    return;
  }
  const own = { timeline, end, history };
  const kin = kinship(own, lineage);
  if (kin.kind === 'same-line' && !isGivenTwice(local, lineage, kin, end)) return;
  await keepAndTell(agent, own, partingPoint(own, lineage) ?? checkpoint, leader.name, progress, signal);
}

async function keepAndTell(
  agent: Agent,
  own: { readonly timeline: Timeline; readonly end: Lsn },
  from: Lsn,
  leader: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  if (from >= own.end) return;
  const range = { timeline: own.timeline, from, to: own.end, leader };
  const kept = await agent.parts.postgres.keepDiscarded(range, progress, signal);
  if (kept.again) return;
  const { commits, firstCommit, lastCommit } = kept;
  const what =
    commits === null
      ? 'perhaps committed transactions'
      : commits === 0
        ? 'no committed transaction'
        : `${commits} committed transactions (${firstCommit ?? '?'} to ${lastCommit ?? '?'})`;
  agent.parts.log.write(
    commits === 0 ? 'info' : 'warn',
    'wal.discarded',
    `WAL of this node that ${leader} never had is undone, from ${printLsn(from)} to ${printLsn(own.end)} on timeline ${own.timeline}, with ${what} in it; ` +
      (kept.kept === null ? 'it is not kept' : `kept in ${kept.kept}`) +
      (kept.trouble === null ? '' : ` (${kept.trouble})`),
    {
      from,
      to: own.end,
      timeline: own.timeline,
      bytes: Number(distance(from, own.end)),
      commits,
      first_commit: firstCommit,
      last_commit: lastCommit,
      kept: kept.kept,
    },
  );
}

/** Our own way to the timeline we are on, from one small file; unreadable, it is not compared. */
async function ownLine(agent: Agent): Promise<LearnedLineage['ours']> {
  const { local } = agent.watch;
  if ((local.kind !== 'standby' && local.kind !== 'stopped') || local.timeline === 1) return null;
  try {
    return { timeline: local.timeline, history: await historyOf(agent, local.timeline) };
  } catch (error) {
    agent.parts.log.write('debug', 'action.failed', 'the history of our own timeline could not be read', { error });
    return null;
  }
}

/** The first timeline has no file. */
const historyOf = async (agent: Agent, timeline: Timeline): Promise<TimelineHistory> =>
  timeline === 1 ? [] : agent.parts.postgres.ownHistory(timeline);

/** An action that may fail without harm: told, and decided anew in the next cycle. */
async function attempt<T>(agent: Agent, what: string, work: () => Promise<T>): Promise<T | null> {
  const began = agent.now();
  try {
    const result = await work();
    agent.toldFailures.done(what);
    return result;
  } catch (error) {
    const level = agent.toldFailures.isNews(what, error, agent.now()) ? 'error' : 'debug';
    agent.parts.log.write(level, 'action.failed', `${what} failed`, {
      error,
      took_ms: Math.round(between(began, agent.now())),
    });
    return null;
  }
}
