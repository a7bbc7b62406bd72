/** An operator's switchover or failover: checked, written to etcd's `failover` key, and watched until it is true. */
import { unfit } from '../core/candidate.ts';
import { type ClusterView, KEYS, type Member, writeFailover } from '../core/cluster.ts';
import { isMember } from '../core/election/voting.ts';
import { nodeName, type Revision } from '../core/store.ts';
import { between, laterBy, millis } from '../core/time.ts';
import { memberNamed } from '../core/view.ts';
import type { Agent } from './agent.ts';
import type { RequestOutcome, SwitchoverOutcome, SwitchoverRequest } from './published.ts';

const ASK_LIMIT = millis(1_000);
const POLL = millis(20);
const WITHDRAW_LIMIT = millis(1_500);

export async function askForSwitchover(agent: Agent, request: SwitchoverRequest): Promise<SwitchoverOutcome> {
  const refused = (status: number, sentence: string): SwitchoverOutcome => ({ kind: 'refused', status, sentence });
  const action = request.kind;
  const cluster = await agent.readCluster();
  if (cluster === null) return refused(503, 'etcd does not answer: nothing was changed');
  const leader = cluster.leader?.name ?? null;
  const paused = agent.policy.pause;
  if (action === 'failover' && request.candidate === null)
    return refused(400, 'Failover could be performed only to a specific candidate');
  if (action === 'switchover' && request.leader === null)
    return refused(400, 'Switchover could be performed only from a specific leader');
  if (action === 'failover' && request.scheduledAt !== null) return refused(400, "Failover can't be scheduled");
  if (request.scheduledAt !== null && paused) return refused(400, "Can't schedule switchover in the paused state");
  if (paused && request.candidate === null)
    return refused(400, 'Switchover is possible only to a specific candidate in a paused state');
  if (request.leader !== null && request.leader === request.candidate)
    return refused(400, 'Switchover target and source are the same');
  if (request.scheduledAt === null) {
    const why = await impossible(agent, cluster, request, leader);
    if (why !== null) return refused(412, why);
  }
  agent.parts.log.write(
    'info',
    'switchover.requested',
    `an operator asked for a ${action}${request.candidate === null ? '' : ` to ${request.candidate}`}`,
    {
      leader: request.leader,
      candidate: request.candidate,
      scheduled_at: request.scheduledAt,
    },
  );
  const value = writeFailover({
    leader: request.leader,
    candidate: request.candidate,
    scheduledAt: request.scheduledAt,
    ...(request.forced === true ? { forced: true } : {}),
  });
  agent.lastRefusal = null;
  if (!(await agent.put(KEYS.failover, value))) return refused(503, `failed to write the ${action} key into etcd`);
  await agent.readCluster();
  agent.soon(`${action} asked for`);
  if (request.scheduledAt !== null) return { kind: 'scheduled' };
  return watchUntilDone(agent, leader, request);
}

async function impossible(
  agent: Agent,
  cluster: ClusterView,
  request: SwitchoverRequest,
  leader: string | null,
): Promise<string | null> {
  const action = request.kind;
  if (request.leader !== null && request.leader !== leader) return 'leader name does not match';
  const others = cluster.members.filter((member) => member.name !== leader);
  if (request.candidate !== null && !others.some((member) => member.name === request.candidate))
    return 'candidate does not exists';
  if (others.length === 0) return `${action} is not possible: cluster does not have members except leader`;
  const view = { policy: agent.resolved.policy };
  const mayLead = (name: Member['name']): boolean => agent.remoteSource !== null || isMember(view, cluster, name);
  const fit = others.filter((member) => mayLead(member.name)).map((member) => member.name);
  if (request.candidate !== null && request.forced !== true && !fit.some((name) => name === request.candidate))
    return action === 'switchover'
      ? 'candidate name does not match with sync_standby'
      : `failover is not possible: ${request.candidate} is not a synchronous standby and may lack acknowledged commits; accept_data_loss (pgha-ctl failover --accept-data-loss) says that they may be lost`;
  if (fit.length === 0 && request.candidate === null) return `${action} is not possible: can not find sync_standby`;
  const names = request.candidate === null ? fit : [nodeName(request.candidate)];
  await agent.askPeers(names, ASK_LIMIT);
  // In maintenance nobody stops it, and the one that was asked for would be a second primary.
  const alive = agent.policy.pause && leader === null ? agent.seesLastPrimary() : null;
  if (alive !== null)
    return `${action} is not possible: Postgres of ${alive}, who led last, was seen alive just now; stop it, or start its daemon and switch over`;
  const reasons: string[] = [];
  for (const name of names) {
    if (name === agent.self) {
      const why = whyNotThisOne(agent, request);
      if (why === null) return null;
      reasons.push(why);
      continue;
    }
    const answer = agent.peers.answers.get(name);
    if (answer?.kind !== 'answered') reasons.push(`${name} does not answer`);
    else {
      const why = unfit(answer.status);
      if (why === null) return null;
      reasons.push(why);
    }
  }
  return `${action} is not possible: no good candidates have been found (${reasons.join('; ')})`;
}

function whyNotThisOne(agent: Agent, { forced = false }: SwitchoverRequest): string | null {
  const { local } = agent.watch;
  if (local.kind !== 'standby') return `Postgres of ${agent.self} is ${local.kind}`;
  const why = agent.refusesToLead(forced);
  if (why === null || forced || agent.refusesToLead(true) !== null) return why;
  return `${why}; accept_data_loss (pgha-ctl failover --accept-data-loss) says that it leads with what it has`;
}

async function watchUntilDone(
  agent: Agent,
  before: string | null,
  request: SwitchoverRequest,
): Promise<SwitchoverOutcome> {
  const { clock } = agent.parts;
  const wish = agent.reader.latest?.cluster.failover?.revision ?? null;
  const began = clock.now();
  const limit = laterBy(began, millis(2 * Math.max(10_000, agent.policy.loopWait)));
  let asked = began;
  while (clock.now() < limit) {
    await clock.sleep(POLL);
    if (agent.lastRefusal !== null) {
      return {
        kind: 'refused',
        status: 503,
        sentence: `${request.kind === 'failover' ? 'Failover' : 'Switchover'} failed: ${agent.lastRefusal}`,
      };
    }
    const reading = agent.reader.latest;
    const leader = reading?.cluster.leader ?? null;
    // Hints wake the reader; this is for an etcd whose watch is slow.
    if (between(asked, clock.now()) > 500) {
      asked = clock.now();
      await agent.readCluster();
    }
    if (reading === null || leader === null) continue;
    if (leader.name === before) {
      if (reading.cluster.failover === null && reading.at > began && between(began, clock.now()) > 1_000) {
        return {
          kind: 'refused',
          status: 503,
          sentence: `${request.kind === 'failover' ? 'Failover' : 'Switchover'} failed`,
        };
      }
      continue;
    }
    if (!(await isWritable(agent, leader.name))) continue;
    const pausedMs =
      agent.stoppedServingAt !== null && agent.stoppedServingAt >= began
        ? Math.round(between(agent.stoppedServingAt, clock.now()))
        : null;
    agent.parts.log.write(
      'info',
      'switchover.completed',
      `${leader.name} is the primary now${pausedMs === null ? '' : `; writes paused for ${pausedMs} ms`}`,
      {
        leader: leader.name,
        paused_ms: pausedMs,
      },
    );
    return { kind: 'done', leader: leader.name, pausedMs };
  }
  const waited = Math.round(between(began, clock.now()) / 1000);
  if (await withdrawInMaintenance(agent, before, wish)) {
    const title = request.kind === 'failover' ? 'Failover' : 'Switchover';
    const sentence = `${title} failed: nobody has carried it out within ${waited} seconds, and it was withdrawn`;
    return { kind: 'refused', status: 503, sentence };
  }
  return {
    kind: 'unknown',
    sentence: `after ${waited} seconds; operation may still be in progress`,
  };
}

/**
 * A wish that outlives the one who wished for it would be carried out when nobody expects it any more: when maintenance
 * has ended, or the leader has gone for another reason.
 *
 * @returns whether it is gone; false also where it is being carried out
 */
async function withdrawInMaintenance(agent: Agent, before: string | null, wish: Revision | null): Promise<boolean> {
  if (!agent.policy.pause || wish === null) return false;
  const cluster = await agent.readCluster();
  if (cluster === null || (cluster.leader?.name ?? null) !== before || cluster.failover?.revision !== wish)
    return false;
  const answer = await agent.parts.dcs.txn(
    {
      compare: [{ key: KEYS.failover, modRevision: wish }],
      success: [{ op: 'put', key: KEYS.failover, value: '{}', lease: null }],
      failure: [],
    },
    WITHDRAW_LIMIT,
  );
  return answer.kind === 'answered' && answer.succeeded;
}

async function isWritable(agent: Agent, name: string): Promise<boolean> {
  // Who leads a standby cluster never is.
  if (agent.remoteSource !== null) return true;
  if (name === agent.self) return agent.writable();
  await agent.askPeers([nodeName(name)], ASK_LIMIT);
  const answer = agent.peers.answers.get(nodeName(name));
  if (answer?.kind === 'answered' && answer.status.pgha) return answer.status.writable;
  const cluster = agent.reader.latest?.cluster;
  return cluster !== undefined && memberNamed(cluster, nodeName(name))?.role === 'primary';
}

export async function withdrawSwitchover(agent: Agent): Promise<RequestOutcome> {
  const cluster = await agent.readCluster();
  if (cluster === null) return { kind: 'refused', status: 503, sentence: 'etcd does not answer: nothing was changed' };
  if (cluster.failover?.scheduledAt == null) return { kind: 'refused', sentence: 'no switchover is scheduled' };
  const answer = await agent.parts.dcs.txn(
    {
      compare: [{ key: KEYS.failover, modRevision: cluster.failover.revision }],
      success: [{ op: 'put', key: KEYS.failover, value: '{}', lease: null }],
      failure: [],
    },
    millis(1_500),
  );
  if (answer.kind !== 'answered' || !answer.succeeded)
    return { kind: 'refused', status: 409, sentence: 'the schedule changed at the same moment: look again' };
  await agent.readCluster();
  return { kind: 'done', sentence: 'scheduled switchover deleted' };
}
