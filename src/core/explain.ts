/**
 * Could this node become leader right now, and if not, which rule stops it? Answered by deciding: `decide` is asked what
 * it would say if the leader had vanished and its hold had run out, step by step, as if everybody answered what he
 * answered last. No judgement of its own, and nothing is done.
 */
import { ownerIsGone, type Situation } from './classify.ts';
import { decide } from './decide.ts';
import type { Decision } from './decision.ts';
import { namesOf } from './election/heard.ts';
import { position } from './local.ts';
import { distance, type Lsn, printLsn, type Timeline } from './lsn.ts';
import type { PeerAnswer } from './peer.ts';
import type { RuleId } from './rules.ts';
import type { NodeName, Revision } from './store.ts';
import { between, earliest, type Millis, millis } from './time.ts';
import type { View } from './view.ts';

/** The way to the key has at most this many steps; more would be a circle. */
const STEPS = 8;

export interface Step {
  readonly rule: RuleId;
  readonly reason: string;
}

export type Verdict =
  /** It has the key. */
  | 'leads'
  /** It would take the key at once. */
  | 'first'
  /** It would take the key when those who go first do not. */
  | 'after-others'
  | 'no';

export interface Explanation {
  readonly node: NodeName;
  readonly verdict: Verdict;
  /** The leader that is assumed to have vanished; null: things are taken as they are. */
  readonly without: NodeName | null;
  /** The rule that has the last word, and why. */
  readonly rule: RuleId;
  readonly reason: string;
  /** What would be done before it. */
  readonly before: readonly Step[];
  /** What this node really decides now. */
  readonly current: Step & { readonly situation: Situation['kind'] };
  readonly leadership: HeldLeadership | null;
  readonly numbers: Numbers;
}

export interface HeldLeadership {
  readonly term: Revision;
  readonly ttl: Millis;
  readonly heldFor: Millis;
  readonly windowOpen: boolean;
  /** Until Postgres has to have stopped writing; null: maintenance, or no window was ever open. */
  readonly windowLeft: Millis | null;
  /** Until the guard strikes. */
  readonly guardStrikesIn: Millis | null;
  /** Until the gate that was inherited with the key has passed; 0: it has. */
  readonly gateLeft: Millis;
}

/** What the rules about eligibility and ranking look at. */
export interface Numbers {
  readonly timeline: Timeline | null;
  readonly position: Lsn | null;
  /** The last position that the leader published, or gave with the key. */
  readonly published: Lsn | null;
  /** How far behind that; null: not known. */
  readonly lagBytes: bigint | null;
  readonly maximumLagBytes: bigint;
  readonly receiving: boolean;
  readonly priority: number;
  readonly nodeId: number | null;
  readonly noFailover: boolean;
  readonly location: string;
  readonly lastLeaderLocation: string | null;
  /** Until this node's gate opens; 'never': the leader went in maintenance; null: nothing is known yet. */
  readonly gateLeft: Millis | 'never' | null;
  readonly sawPrimary: Millis | null;
}

/** @param view - as `decide` gets it; the fresher the answers of the peers in it, the better */
export function explain(view: View): Explanation {
  const { situation, decision } = decide(view);
  const current = { situation, rule: decision.rule, reason: decision.reason };
  const leadership = held(view);
  const rest = { node: view.self, current, leadership, numbers: numbersOf(view) };
  if (leadership !== null)
    return { ...rest, verdict: 'leads', without: null, rule: decision.rule, reason: decision.reason, before: [] };
  const without = vanishing(view);
  const way = walk(without === null ? view : afterLosing(view, without));
  return { ...rest, ...way, without };
}

/** The leader whose loss has to be imagined; null: there is none, or his window has closed as things are. */
function vanishing(view: View): NodeName | null {
  if (view.dcs.kind === 'never-read') return null;
  const { leader } = view.dcs.cluster;
  if (leader === null || leader.name === view.self) return null;
  return ownerIsGone(view, leader) ? null : leader.name;
}

/**
 * The same view when the leader's node has vanished, his key has run out and his hold has passed: all that was seen of
 * him is older by that time, and everybody else says what he said last.
 */
function afterLosing(view: View, leader: NodeName): View {
  const { dcs, gate, now } = view;
  if (dcs.kind === 'never-read') return view;
  const hold =
    gate === null || gate.opensAt === 'never' ? view.policy.cluster.ttl : between(gate.arrived, gate.opensAt);
  const age = (seen: Millis | null): Millis | null => (seen === null ? null : millis(seen + hold));
  const silent: PeerAnswer = { kind: 'silent', at: now, cause: 'assumed to have vanished' };
  const peers = [...view.peers].map(([name, answer]): readonly [NodeName, PeerAnswer] => {
    if (name === leader) return [name, silent];
    if (answer.kind === 'silent') return [name, { ...answer, at: now }];
    const seen = answer.status.sawPrimary;
    const sawPrimary = age(seen === null ? null : millis(seen + between(answer.at, now)));
    return [name, { ...answer, at: now, status: { ...answer.status, sawPrimary } }];
  });
  const members = dcs.cluster.members.filter((member) => member.name !== leader);
  return {
    ...view,
    dcs: { ...dcs, cluster: { ...dcs.cluster, leader: null, members } },
    // A gate that no time opens stays closed: that is what would stop everybody.
    gate: gate === null || gate.opensAt === 'never' ? gate : { ...gate, opensAt: earliest(gate.opensAt, now) },
    peers: new Map([...peers, [leader, silent]]),
    lately: [...new Set([...view.lately, leader])],
    leaderlessSince: now,
    lastLeader: leader,
    sawPrimary: age(view.sawPrimary),
  };
}

/** Decides, pretends that what was decided is done, and decides again, as far as that leads towards the key. */
function walk(view: View): Pick<Explanation, 'verdict' | 'rule' | 'reason' | 'before'> {
  const before: Step[] = [];
  let at = view;
  for (;;) {
    const { decision } = decide(at);
    const { rule, reason } = decision;
    const next = before.length < STEPS ? afterDoing(at, decision) : null;
    if (next === null) return { verdict: verdictOf(decision), rule, reason, before };
    before.push({ rule, reason });
    at = next;
  }
}

function verdictOf(decision: Decision): Verdict {
  if (decision.actions.some((action) => action.do === 'acquire')) return 'first';
  const othersFirst = decision.rule === 'leaderless.stand-back' || decision.rule === 'leaderless.wait-for-returning';
  return othersFirst ? 'after-others' : 'no';
}

/** The view after a step on the way to the key; null: it is the end of the way. */
function afterDoing(view: View, decision: Decision): View | null {
  const { now, local } = view;
  switch (decision.rule) {
    case 'leaderless.ask-peers': {
      const peers = new Map(view.peers);
      for (const name of view.dcs.kind === 'never-read' ? [] : namesOf(view, view.dcs.cluster)) {
        const answer = peers.get(name);
        // Who has never answered counts as one that does not.
        peers.set(
          name,
          answer === undefined ? { kind: 'silent', at: now, cause: 'not asked yet' } : { ...answer, at: now },
        );
      }
      return { ...view, peers };
    }
    case 'leaderless.stop-receiving':
      return local.kind === 'standby' ? { ...view, local: { ...local, receiver: null, follows: null } } : null;
    case 'leaderless.wait-for-receivers': {
      // They are about to do the same.
      const peers = new Map(view.peers);
      for (const [name, answer] of peers) {
        if (answer.kind === 'answered')
          peers.set(name, { ...answer, status: { ...answer.status, receiving: false, mayReceive: false } });
      }
      return { ...view, peers };
    }
    case 'leaderless.validate':
      return { ...view, validation: { kind: 'approved', at: now } };
    default:
      return null;
  }
}

function held(view: View): HeldLeadership | null {
  const { leadership, now } = view;
  if (leadership.kind !== 'holding') return null;
  const left = (until: Parameters<typeof between>[1]): Millis | null =>
    Number.isFinite(until) ? millis(Math.max(0, between(now, until))) : null;
  return {
    term: leadership.term,
    ttl: leadership.ttl,
    heldFor: between(leadership.since, now),
    windowOpen: leadership.windowOpen,
    windowLeft: left(leadership.until),
    guardStrikesIn: left(leadership.deadline),
    gateLeft: left(leadership.gate) ?? millis(0),
  };
}

function numbersOf(view: View): Numbers {
  const { local, gate, now, dcs } = view;
  const { node, cluster: policy } = view.policy;
  const cluster = dcs.kind === 'never-read' ? null : dcs.cluster;
  const published = gate?.beat?.release?.lsn ?? cluster?.status?.optime ?? null;
  const here = local.kind === 'standby' ? position(local) : local.kind === 'primary' ? local.flushed : null;
  const opensIn = gate === null || gate.opensAt === 'never' ? null : between(now, gate.opensAt);
  return {
    timeline: 'timeline' in local ? local.timeline : null,
    position: here,
    published,
    lagBytes: here === null || published === null ? null : distance(here, published),
    maximumLagBytes: policy.maximumLagOnFailoverBytes,
    receiving: local.kind === 'standby' && local.receiver?.streaming === true,
    priority: node.priority,
    nodeId: node.nodeId,
    noFailover: node.noFailover,
    location: node.location,
    lastLeaderLocation: view.lastLeaderLocation,
    gateLeft: gate?.opensAt === 'never' ? 'never' : opensIn === null ? null : millis(Math.max(0, opensIn)),
    sawPrimary: view.sawPrimary,
  };
}

/** One sentence for people. @param takenBy - how a leader came to the key; null: not known any more */
export function inOneSentence(
  of: Explanation,
  takenBy: { readonly rule: string; readonly reason: string } | null,
): string {
  const name = of.node;
  const { leadership } = of;
  if (leadership !== null) {
    const window = leadership.windowOpen
      ? leadership.guardStrikesIn === null
        ? 'the cluster is in maintenance, no deadline is set'
        : `its window is open for another ${ms(leadership.guardStrikesIn)} without a new proof`
      : leadership.gateLeft > 0
        ? `its gate is ${ms(leadership.gateLeft)} away`
        : 'its window is not open';
    const because = takenBy === null ? '' : `, by ${takenBy.rule} (${takenBy.reason})`;
    return `${name} leads in term ${leadership.term}, for ${Math.round(leadership.heldFor / 1000)} s${because}; ${window}; now ${of.rule}: ${of.reason}.`;
  }
  const when = of.without === null ? 'now' : `if ${of.without} vanished and its hold had run out`;
  const steps = of.before.length === 0 ? '' : ` after ${of.before.map(({ rule }) => rule).join(', ')}`;
  switch (of.verdict) {
    case 'first':
      return `${name} would take the key at once ${when}${steps}: ${of.rule}, ${of.reason}.`;
    case 'after-others':
      return `${name} could lead ${when}, and others go before it: ${of.rule}, ${of.reason}.`;
    default:
      return `${name} could not become leader ${when}: ${of.rule}, ${of.reason}.`;
  }
}

const ms = (length: Millis): string => `${Math.round(length)} ms`;

/** The numbers as one line of text, what is not known left out. */
export function describeNumbers(numbers: Numbers): string {
  const { timeline, position: here, lagBytes, gateLeft, sawPrimary } = numbers;
  return [
    ...(timeline === null ? [] : [`timeline ${timeline}`]),
    ...(here === null ? [] : [printLsn(here)]),
    ...(lagBytes === null ? [] : [`${lagBytes} of ${numbers.maximumLagBytes} bytes behind`]),
    `priority ${numbers.priority}`,
    ...(gateLeft === null ? [] : [gateLeft === 'never' ? 'gate: only an operator opens it' : `gate ${ms(gateLeft)}`]),
    ...(sawPrimary === null ? [] : [`saw the primary ${ms(sawPrimary)} ago`]),
  ].join(', ');
}
