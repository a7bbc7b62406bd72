/**
 * The record of a takeover: what was seen when, who stood where, which rule decided, and how long each phase took
 * beside what was planned for it. Puts together what the agent has noted on its way, and reads and writes the JSON that
 * stands in etcd. Shown to people; nothing is ever decided by it.
 */
import { ASK_LIMIT, GUARD_LIMIT, requestLimit } from './budget.ts';
import type { Contender } from './candidate.ts';
import type { Release } from './cluster.ts';
import { type Sighting, STAND_BACK_MS } from './election/heard.ts';
import { type LossStatement, readLoss } from './loss.ts';
import { type Lsn, printLsn, type Timeline } from './lsn.ts';
import type { PeerAnswer } from './peer.ts';
import type { ClusterPolicy } from './policy.ts';
import type { NodeName, Revision } from './store.ts';
import { between, type Instant, type Millis, type WallTime } from './time.ts';

/** Longer ones are cut: the record is read with every read of the cluster. */
const MOST_STEPS = 12;
const MOST_MEMBERS = 16;
const LONGEST_TEXT = 300;

/** The instants that a takeover passes, on this node's clock; null: not passed, or not noticed. */
export interface Marks {
  /** The status whose hold had to run out was first seen. */
  readonly statusSeen: Instant | null;
  /** The leader key was seen to be gone; null: it still stood when it was taken. */
  readonly keyGone: Instant | null;
  readonly gateOpened: Instant | null;
  /** The first decision behind the open gate. */
  readonly noticed: Instant | null;
  /** All members were asked, and have answered or had their time. */
  readonly answered: Instant | null;
  /** It was decided to take the key. */
  readonly decided: Instant | null;
  readonly acquired: Instant | null;
  /** The window was seen open: proven, and guarded. */
  readonly proven: Instant | null;
  readonly promoteSent: Instant | null;
  readonly promoted: Instant | null;
}

export type TakeoverKind =
  /** The last leader gave nothing up: its hold had to run out. */
  | 'failover'
  /** It gave the key up by a release record, because its Postgres had ended or its service left. */
  | 'hand-over'
  /** The same, because an operator asked for it. */
  | 'switchover'
  /** An operator named this node while there was no leader. */
  | 'failover-by-hand'
  /** Nobody had ever led. */
  | 'first';

/** What the agent has noted of a takeover by this node. */
export interface Takeover {
  readonly node: NodeName;
  readonly term: Revision;
  readonly kind: TakeoverKind;
  readonly previous: NodeName | null;
  readonly previousLocation: string | null;
  readonly policy: ClusterPolicy;
  readonly release: Release | null;
  /** The rules on the way, the first decision without a leader first. */
  readonly steps: readonly { readonly at: Instant; readonly rule: string; readonly reason: string }[];
  /** Who saw the last leader's Postgres alive, and how long before the key was taken. */
  readonly sightings: readonly Sighting[];
  readonly peers: ReadonlyMap<NodeName, PeerAnswer>;
  readonly ranking: readonly Contender[];
  readonly marks: Marks;
  readonly completedAt: WallTime;
  readonly timeline: Timeline | null;
  readonly lsn: Lsn | null;
  /** null: nobody led before, or this node took over without a promotion. */
  readonly loss: LossStatement | null;
  /** When each follower was first seen to stream from here. */
  readonly followers: ReadonlyMap<string, Instant>;
}

export interface PhaseTaken {
  readonly phase: string;
  /** What the settings allow for it; null: as long as Postgres, or the operator's own command, takes. */
  readonly planned_ms: number | null;
  readonly actual_ms: number;
}

/** As it stands in etcd and is shown: plain JSON. */
export interface DecisionRecord {
  readonly version: 1;
  readonly kind: TakeoverKind;
  readonly node: string;
  readonly term: string;
  readonly timeline: number | null;
  readonly lsn: string | null;
  /** When writes were accepted, ISO 8601. */
  readonly at: string;
  readonly previous: string | null;
  readonly previous_location: string | null;
  readonly rule: string;
  readonly reason: string;
  readonly release: { readonly lsn: string; readonly candidate: string | null } | null;
  readonly loss: LossStatement | null;
  readonly steps: readonly { readonly after_ms: number; readonly rule: string; readonly reason: string }[];
  readonly seen: readonly { readonly by: string; readonly ms_before: number }[];
  readonly members: readonly {
    readonly name: string;
    readonly said: string;
    readonly timeline: number | null;
    readonly position: string | null;
  }[];
  readonly ranking: readonly {
    readonly name: string;
    readonly timeline: number;
    readonly position: string;
    readonly priority: number;
    readonly node_id: number | null;
    readonly location: string;
  }[];
  readonly phases: readonly PhaseTaken[];
  /** When the leader key was seen to be gone, counted like the steps; null: it still stood when it was taken. */
  readonly key_gone_ms: number | null;
  /** From the instant from which a promotion was allowed to the one at which it was sent; null: not known. */
  readonly judgement_ms: number | null;
  readonly followers: readonly { readonly name: string; readonly after_ms: number }[];
}

export function assemble(takeover: Takeover): DecisionRecord {
  const { marks, steps, release } = takeover;
  const first = steps[0]?.at ?? marks.acquired ?? marks.promoted;
  const last = steps.at(-1);
  const since = (at: Instant): number => (first === null ? 0 : Math.round(between(first, at)));
  const followed = marks.promoted ?? marks.acquired;
  return {
    version: 1,
    kind: takeover.kind,
    node: takeover.node,
    term: takeover.term.toString(),
    timeline: takeover.timeline,
    lsn: takeover.lsn === null ? null : printLsn(takeover.lsn),
    at: new Date(takeover.completedAt).toISOString(),
    previous: takeover.previous,
    previous_location: takeover.previousLocation,
    rule: last?.rule ?? 'leaderless.acquire',
    reason: cut(last?.reason ?? 'the leader key was found to be ours'),
    release: release === null ? null : { lsn: printLsn(release.lsn), candidate: release.candidate },
    loss: takeover.loss,
    steps: steps.slice(-MOST_STEPS).map(({ at, rule, reason }) => ({ after_ms: since(at), rule, reason: cut(reason) })),
    seen: takeover.sightings.slice(0, MOST_MEMBERS).map(({ by, age }) => ({ by, ms_before: Math.round(age) })),
    members: [...takeover.peers].slice(0, MOST_MEMBERS).map(([name, answer]) => ({ name, ...whatWasSaid(answer) })),
    ranking: takeover.ranking.slice(0, MOST_MEMBERS).map((one) => ({
      name: one.name,
      timeline: one.timeline,
      position: printLsn(one.position),
      priority: one.priority,
      node_id: one.nodeId,
      location: one.location,
    })),
    phases: phasesOf(takeover),
    key_gone_ms: marks.keyGone === null ? null : since(marks.keyGone),
    judgement_ms: length(marks.gateOpened, marks.promoteSent),
    followers:
      followed === null
        ? []
        : [...takeover.followers]
            .slice(0, MOST_MEMBERS)
            .map(([name, at]) => ({ name, after_ms: Math.max(0, Math.round(between(followed, at))) })),
  };
}

/** The phases in one line, for the log. */
export const describePhases = (record: DecisionRecord): string =>
  record.phases.map(({ phase, actual_ms }) => `${phase} ${actual_ms} ms`).join(', ');

/** Each phase from one mark to the next; one whose ends are not both known is left out. */
function phasesOf({ marks, policy, ranking, node, peers, kind }: Takeover): readonly PhaseTaken[] {
  const request = requestLimit(policy.ttl);
  const before = Math.max(
    0,
    ranking.findIndex((one) => one.name === node),
  );
  const standBack = Math.min(before * STAND_BACK_MS, policy.primaryNotificationTimeout);
  const named = kind !== 'failover';
  const asked = marks.answered ?? marks.noticed;
  const rows: readonly (readonly [string, Millis | number | null, Instant | null, Instant | null])[] = [
    ['hold of the last leader', length(marks.statusSeen, marks.gateOpened), marks.statusSeen, marks.gateOpened],
    ['noticed', 0, marks.gateOpened, marks.noticed],
    ['members asked', peers.size === 0 ? 0 : ASK_LIMIT, marks.noticed, marks.answered],
    ['others first, vetoes', named ? 0 : standBack, asked, marks.decided],
    ['key taken', request, marks.decided, marks.acquired],
    ['proven and guarded', 2 * request + GUARD_LIMIT, marks.acquired, marks.proven],
    ['promotion sent', 0, marks.proven, marks.promoteSent],
    ['promotion', null, marks.promoteSent, marks.promoted],
  ];
  return rows.flatMap(([phase, planned_ms, from, to]) => {
    const actual_ms = length(from, to);
    return actual_ms === null
      ? []
      : [{ phase, planned_ms: planned_ms === null ? null : Math.round(planned_ms), actual_ms }];
  });
}

const length = (from: Instant | null, to: Instant | null): number | null =>
  from === null || to === null || !Number.isFinite(from) ? null : Math.max(0, Math.round(between(from, to) * 10) / 10);

function whatWasSaid(answer: PeerAnswer): Omit<DecisionRecord['members'][number], 'name'> {
  if (answer.kind === 'silent') return { said: cut(`no answer: ${answer.cause}`), timeline: null, position: null };
  const { status } = answer;
  const facts = [
    status.witness ? 'witness' : status.writable ? 'writable primary' : status.inRecovery ? 'standby' : 'primary',
    status.state,
    ...(status.noFailover ? ['nofailover'] : []),
    ...(status.priority <= 0 ? ['priority 0'] : []),
    ...(status.vetoedFor === null ? [] : [`vetoed for ${Math.round(status.vetoedFor)} ms`]),
  ];
  return {
    said: facts.join(', '),
    timeline: status.timeline,
    position: status.position === null ? null : printLsn(status.position),
  };
}

const cut = (text: string): string => (text.length <= LONGEST_TEXT ? text : `${text.slice(0, LONGEST_TEXT - 1)}…`);

/** Read tolerantly: a later version may have written it. null: it is none. */
export function readRecord(text: string | null): DecisionRecord | null {
  if (text === null) return null;
  try {
    return recordIn(JSON.parse(text));
  } catch {
    return null;
  }
}

/** The same of what a member has answered. What is not understood in it counts as not known. */
export function recordIn(value: unknown): DecisionRecord | null {
  if (!isObject(value)) return null;
  const { release } = value;
  const lists = ['steps', 'seen', 'members', 'ranking', 'phases', 'followers'].map((name) => value[name]);
  const texts = ['kind', 'node', 'term', 'at', 'rule', 'reason'].map((name) => value[name]);
  const whole =
    lists.every((list) => Array.isArray(list) && list.every(isObject)) && texts.every((one) => typeof one === 'string');
  if (!whole) return null;
  const record = value as unknown as DecisionRecord;
  return {
    ...record,
    timeline: record.timeline ?? null,
    lsn: record.lsn ?? null,
    previous: record.previous ?? null,
    previous_location: record.previous_location ?? null,
    release: isObject(release) ? record.release : null,
    loss: readLoss(value['loss']),
    key_gone_ms: record.key_gone_ms ?? null,
    judgement_ms: record.judgement_ms ?? null,
  };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
