/**
 * The standbys that the leader feeds: who is connected, who was lost, and when that is reason enough to run the
 * operator's child_nodes_disconnect_command. It protects nothing (a leader without its key stops anyway); it tells.
 */
import type { Member } from './cluster.ts';
import type { Sender } from './local.ts';
import type { ChildNodesPolicy } from './policy.ts';
import type { NodeName } from './store.ts';
import { between, type Instant, type Millis } from './time.ts';
import { toldToFollow } from './upstream.ts';

export interface Child {
  readonly name: NodeName;
  readonly witness: boolean;
  /** `unknown`: never seen connected by this process. It was there before us or not at all, and is not lost. */
  readonly state: 'unknown' | 'connected' | 'lost';
  /** Of the state. */
  readonly since: Instant;
}

export interface ChildrenMemory {
  /** null: nothing was looked at yet. Who is connected at the first look is no event. */
  readonly children: ReadonlyMap<NodeName, Child> | null;
  /** The command was run for this want of standbys. It runs again when the minimum has been met in between. */
  readonly told: boolean;
}

export const NO_CHILDREN: ChildrenMemory = { children: null, told: false };

export interface ChildEvent {
  readonly event: 'child_node_disconnect' | 'child_node_reconnect' | 'child_node_new_connect';
  readonly name: NodeName;
  /** How long it was away. */
  readonly after: Millis | null;
}

/** Why the command is to be run now. */
export interface TooFew {
  readonly connected: number;
  readonly required: number;
  readonly lost: readonly NodeName[];
}

export interface ChildrenSeen {
  readonly memory: ChildrenMemory;
  readonly events: readonly ChildEvent[];
  readonly run: TooFew | null;
}

export interface ChildrenFacts {
  readonly now: Instant;
  readonly self: NodeName;
  readonly members: readonly Member[];
  readonly senders: readonly Sender[];
  readonly pause: boolean;
  /** A member whose key is gone for so long is no child any more: the time for which its slot is kept. */
  readonly forgetAfter: Millis;
  readonly policy: ChildNodesPolicy;
}

export function seeChildren(facts: ChildrenFacts, memory: ChildrenMemory): ChildrenSeen {
  const { now } = facts;
  const registered = new Map(facts.members.filter((member) => isChild(member, facts.self)).map((m) => [m.name, m]));
  const streaming = new Set(facts.senders.filter(isStreaming).map((sender) => sender.applicationName));
  const events: ChildEvent[] = [];
  const children = new Map<NodeName, Child>();

  const others = new Set(facts.members.filter((m) => !registered.has(m.name)).map((m) => m.name));
  const known = memory.children ?? new Map<NodeName, Child>();
  for (const name of new Set([...known.keys(), ...registered.keys()])) {
    const before = known.get(name) ?? null;
    const member = registered.get(name) ?? null;
    // It streams from somebody else now, as it was told to: not lost.
    if (member === null && others.has(name)) continue;
    const witness = member === null ? (before?.witness ?? false) : isWitness(member);
    const connected = witness ? member !== null : streaming.has(name);
    if (connected) {
      if (before?.state === 'lost') {
        events.push({ event: 'child_node_reconnect', name, after: between(before.since, now) });
      } else if (before?.state !== 'connected' && memory.children !== null) {
        events.push({ event: 'child_node_new_connect', name, after: null });
      }
      children.set(name, {
        name,
        witness,
        state: 'connected',
        since: before?.state === 'connected' ? before.since : now,
      });
    } else if (before?.state === 'connected') {
      events.push({ event: 'child_node_disconnect', name, after: null });
      children.set(name, { name, witness, state: 'lost', since: now });
    } else if (before === null) {
      children.set(name, { name, witness, state: 'unknown', since: now });
    } else if (member !== null || (before.state === 'lost' && between(before.since, now) <= facts.forgetAfter)) {
      children.set(name, { ...before, witness });
    }
  }
  return { events, ...judge(facts, [...children.values()], children, memory.told) };
}

function judge(
  { now, policy, pause }: ChildrenFacts,
  all: readonly Child[],
  children: ReadonlyMap<NodeName, Child>,
  told: boolean,
): { readonly memory: ChildrenMemory; readonly run: TooFew | null } {
  const counted = all.filter((child) => child.state !== 'unknown' && (policy.includeWitness || !child.witness));
  const lost = counted.filter((child) => child.state === 'lost');
  const connected = counted.length - lost.length;
  const required = requiredCount(policy, counted.length);
  if (connected >= required) return { memory: { children, told: false }, run: null };
  const newest = lost.reduce<Child | null>((a, b) => (a === null || b.since > a.since ? b : a), null);
  const due = newest !== null && between(newest.since, now) >= policy.disconnectTimeout;
  if (!due || told || pause) return { memory: { children, told }, run: null };
  return {
    memory: { children, told: true },
    run: { connected, required, lost: lost.map((child) => child.name).sort() },
  };
}

/** repmgr's rule: the minimum that is given, else so many that one loss less would not do, else one. */
export function requiredCount(policy: ChildNodesPolicy, children: number): number {
  if (policy.connectedMinCount > 0) return policy.connectedMinCount;
  if (policy.disconnectMinCount > 0) return children - policy.disconnectMinCount + 1;
  return 1;
}

const isWitness = (member: Member): boolean => member.pgha?.role === 'witness';

/** A member that is to stream from this node; one that names another upstream is that one's child. */
function isChild(member: Member, self: NodeName): boolean {
  if (member.name === self) return false;
  const upstream = toldToFollow(member);
  return upstream === null || upstream === self;
}

/** A copy that is being taken streams too, under another name; one that reads the archive does not stream. */
const isStreaming = (sender: Sender): boolean => sender.state !== 'backup' && sender.state !== 'stopping';
