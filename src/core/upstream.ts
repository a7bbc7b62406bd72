/**
 * Whom a standby receives from: the member that it was told to stream from, while that one can feed it; else that one's
 * own upstream, and so on up to the leader. Histories are compared before anybody else than before is followed; who is
 * asked for his, and what is done about it, is decided in situations/following.ts.
 */
import type { ClusterView, LeaderKey, Member } from './cluster.ts';
import { position, type Standby } from './local.ts';
import { distance, printLsn } from './lsn.ts';
import type { NodeName } from './store.ts';
import { between, type Instant, type Millis, millis } from './time.ts';
import { kinship } from './timeline.ts';
import { type LearnedLineage, memberNamed, type View } from './view.ts';

/**
 * An upstream that is there and does not feed its standbys is left after so long: longer than it takes to follow a new
 * leader or to connect again, shorter than anybody wants to stand without WAL.
 */
const PATIENCE_MS = 3_000;
/** A standby that is fed goes back to an upstream once it has been well for so long: one that flaps moves nobody. */
const RETURN_AFTER_MS = 5_000;
/** One that looked well and sent nothing is left alone for so long, doubled each time. */
const SILENT_FIRST_MS = 30_000;
const SILENT_LONGEST_MS = 600_000;
/** Answers older than this are asked for again; only a younger one says anything about a position. */
const ASK_AGAIN_MS = 5_000;
const FRESH_MS = 1_000;

/** What a standby remembers of the members that it could receive from; the agent keeps it between cycles. */
export interface UpstreamMemory {
  /** Since when a member can feed standbys without a break; who is missing here cannot. */
  readonly goodSince: ReadonlyMap<NodeName, Instant>;
  readonly badSince: ReadonlyMap<NodeName, Instant>;
  /** Whom each member was told to stream from, as last read: still to be known when its key has run out. */
  readonly told: ReadonlyMap<NodeName, NodeName | null>;
  /** How often a member that looked well sent nothing, and when last. */
  readonly silent: ReadonlyMap<NodeName, { readonly times: number; readonly at: Instant }>;
  /** When each was last asked for its history. */
  readonly asked: ReadonlyMap<NodeName, Instant>;
}

export const NOTHING_REMEMBERED: UpstreamMemory = {
  goodSince: new Map(),
  badSince: new Map(),
  told: new Map(),
  silent: new Map(),
  asked: new Map(),
};

/** After each read of the cluster. */
export function noteMembers(memory: UpstreamMemory, cluster: ClusterView, now: Instant): UpstreamMemory {
  const goodSince = new Map<NodeName, Instant>();
  const badSince = new Map<NodeName, Instant>();
  const told = new Map(memory.told);
  const silent = new Map(memory.silent);
  for (const name of silent.keys()) {
    // It was not silent, it was down: when it returns, it is another matter.
    const member = memberNamed(cluster, name);
    if (member === null || certainMisfit(member) !== null) silent.delete(name);
  }
  for (const member of cluster.members) {
    const good = cluster.leader !== null && misfit(cluster, cluster.leader, member) === null;
    const since = good ? memory.goodSince : memory.badSince;
    (good ? goodSince : badSince).set(member.name, since.get(member.name) ?? now);
    told.set(member.name, toldToFollow(member));
  }
  const asked = new Map([...memory.asked].filter(([, at]) => between(at, now) <= ASK_AGAIN_MS));
  return { goodSince, badSince, told, silent, asked };
}

/** This member looked well and sent nothing, or did not answer when it was asked. */
export function noteSilent(memory: UpstreamMemory, name: NodeName, now: Instant): UpstreamMemory {
  const last = memory.silent.get(name);
  const times = last === undefined || between(last.at, now) > 2 * SILENT_LONGEST_MS ? 1 : last.times + 1;
  return { ...memory, silent: new Map(memory.silent).set(name, { times, at: now }) };
}

/** This member was just asked for its history. */
export function noteAsked(memory: UpstreamMemory, name: NodeName, now: Instant): UpstreamMemory {
  return { ...memory, asked: new Map(memory.asked).set(name, now) };
}

/** The member that this one was told to stream from; null: the leader. */
export function toldToFollow(member: Member): NodeName | null {
  const tag = member.tags['replicatefrom'];
  return member.pgha?.upstream ?? (typeof tag === 'string' && tag !== '' ? (tag as NodeName) : null);
}

interface Misfit {
  readonly why: string;
  /** It cannot send anything at all, so nobody waits for it. */
  readonly certain: boolean;
}

function certainMisfit(member: Member): string | null {
  if (member.role === 'witness' || member.pgha?.role === 'witness') return 'is a witness';
  if (member.host === null || member.port === null) return 'has no address';
  if (member.state !== 'running') return `is ${member.state}`;
  return member.role === 'primary' ? 'is not a standby' : null;
}

/** Why this member cannot feed a standby; null: by its own key it can. */
function misfit(cluster: ClusterView, leader: LeaderKey, member: Member): Misfit | null {
  const certain = certainMisfit(member);
  if (certain !== null) return { why: `${member.name} ${certain}`, certain: true };
  if (member.replicationState !== 'streaming') return { why: `${member.name} does not stream itself`, certain: false };
  const line = memberNamed(cluster, leader.name)?.timeline ?? null;
  if (line !== null && member.timeline !== line)
    return { why: `${member.name} is on timeline ${member.timeline ?? '?'}, not ${line}`, certain: false };
  return null;
}

export interface UpstreamChoice {
  /** Whom to receive from, by what is known. */
  readonly name: NodeName;
  /** Why it is not the one that was configured; null: it is. */
  readonly instead: string | null;
  /** The member that would be better, once its history is known to be the leader's. */
  readonly ask: NodeName | null;
  /** The member followed until now, which has sent nothing. */
  readonly silent: NodeName | null;
}

export function chooseUpstream(
  view: View,
  cluster: ClusterView,
  leader: LeaderKey,
  local: Standby,
  leaderLine: LearnedLineage | null,
): UpstreamChoice {
  const path = pathTo(view, leader.name);
  if (path === 'cycle') {
    const instead = `${view.policy.node.upstream} leads back to ${view.self}: the leader is followed`;
    return { name: leader.name, instead, ask: null, silent: null };
  }
  const reasons: string[] = [];
  const instead = (): string | null => (reasons.length === 0 ? null : reasons.join('; '));
  let ask: NodeName | null = null;
  let silent: NodeName | null = null;
  for (const name of path) {
    const member = memberNamed(cluster, name);
    const followed = member !== null && local.follows === `${member.host}:${member.port}`;
    const quiet = followed ? silenceOf(view, cluster, local) : null;
    if (quiet !== null) silent = name;
    const why = quiet === null ? unusable(view, cluster, leader, local, name, followed) : `${name} ${quiet}`;
    if (why !== null) {
      reasons.push(why);
      continue;
    }
    if (followed) return { name, instead: instead(), ask, silent };
    const line = lineVerdict(view, local, leader, name, leaderLine);
    if (line === 'same') return { name, instead: instead(), ask, silent };
    // Only one answer is kept at a time: without this, two that do not fit would be asked in turns without end.
    const askedAt = view.upstreams.asked.get(name);
    const askedLately = askedAt !== undefined && between(askedAt, view.now) <= ASK_AGAIN_MS;
    if (line === 'unknown' && !askedLately) ask ??= name;
    reasons.push(line === 'unknown' ? `the history of ${name} has to be known first` : line);
  }
  return { name: leader.name, instead: instead(), ask, silent };
}

/** From the configured upstream up to the leader, who is not part of it. A circle that we are part of feeds nobody. */
function pathTo(view: View, leader: NodeName): readonly NodeName[] | 'cycle' {
  const path: NodeName[] = [];
  let at = view.policy.node.upstream;
  while (at !== null && at !== leader && !path.includes(at)) {
    if (at === view.self) return 'cycle';
    path.push(at);
    at = view.upstreams.told.get(at) ?? null;
  }
  return path;
}

/** Why a standby should not receive from this member now; null: nothing that is known speaks against it. */
function unusable(
  view: View,
  cluster: ClusterView,
  leader: LeaderKey,
  local: Standby,
  name: NodeName,
  followed: boolean,
): string | null {
  const { goodSince, badSince, silent } = view.upstreams;
  const member = memberNamed(cluster, name);
  if (member === null) return `${name} is not there`;
  const bad = misfit(cluster, leader, member);
  if (bad !== null) {
    const since = badSince.get(name) ?? view.now;
    return followed && !bad.certain && between(since, view.now) < PATIENCE_MS ? null : bad.why;
  }
  const was = silent.get(name);
  if (was !== undefined && !followed) {
    const left = Math.min(SILENT_LONGEST_MS, SILENT_FIRST_MS * 2 ** (was.times - 1)) - between(was.at, view.now);
    if (left > 0) return `${name} sent nothing before, and is left alone for ${Math.ceil(left / 1_000)} s`;
  }
  const receives = local.receiver?.streaming === true;
  if (receives && !followed && between(goodSince.get(name) ?? view.now, view.now) < RETURN_AFTER_MS)
    return `${name} has been back for less than ${RETURN_AFTER_MS / 1_000} s`;
  return null;
}

/** What tells that the followed member feeds nobody although its key says that it could; null: nothing does. */
function silenceOf(view: View, cluster: ClusterView, local: Standby): string | null {
  if (view.notStreamingSince !== null && between(view.notStreamingSince, view.now) > PATIENCE_MS)
    return `has not been sending for ${Math.round(between(view.notStreamingSince, view.now))} ms`;
  const quiet: Millis = local.receiver?.lastMessage ?? millis(0);
  const known = cluster.status?.optime ?? null;
  // A quiet cluster sends nothing for half a minute: only WAL that the leader has and we have not makes it silence.
  if (quiet <= PATIENCE_MS || known === null || known <= position(local)) return null;
  return `has said nothing for ${Math.round(quiet)} ms, and the leader is at ${printLsn(known)}`;
}

/**
 * Is the other standby on the leader's line, and not so far behind that it would have nothing to send? Its key says so;
 * but two timelines may have one number, and a standby that has diverged shows `streaming` for a moment too.
 */
function lineVerdict(
  view: View,
  local: Standby,
  leader: LeaderKey,
  name: NodeName,
  leaderLine: LearnedLineage | null,
): 'same' | 'unknown' | string {
  const line = view.upstreamLineage;
  if (leaderLine === null || line === null || line.of !== name || line.term !== leader.term) return 'unknown';
  const age = between(line.at, view.now);
  if (age > ASK_AGAIN_MS) return 'unknown';
  if (age > FRESH_MS) return `${name} did not fit when it was asked last`;
  if (!line.inRecovery) return `${name} is not a standby`;
  if (line.systemId !== local.systemId) return `${name} serves another cluster`;
  const kin = kinship({ timeline: line.timeline, end: line.position, history: line.history }, leaderLine);
  if (kin.kind !== 'same-line' || line.timeline !== leaderLine.timeline)
    return `${name} is not on the line of ${leader.name}`;
  const behind = distance(line.position, position(local));
  return behind > view.policy.cluster.maximumLagOnFailoverBytes ? `${name} is ${behind} bytes behind us` : 'same';
}

/**
 * Whether this member gets the leader's WAL now, from it or through other members that do.
 *
 * @param streamsHere - the standbys that receive from the leader itself, by application_name
 */
export function isFed(cluster: ClusterView, streamsHere: ReadonlySet<string>, name: NodeName): boolean {
  const seen = new Set<NodeName>();
  let at: NodeName | null = name;
  while (at !== null && !seen.has(at)) {
    if (streamsHere.has(at)) return true;
    seen.add(at);
    const member: Member | null = memberNamed(cluster, at);
    if (member === null || member.replicationState !== 'streaming') return false;
    at = member.pgha?.receivesFrom ?? null;
  }
  return false;
}
