/**
 * Draws plans from seeds, in three ways that are all needed: a random subset of fault kinds per plan (one plan in
 * twenty has none), lengths that cluster around TTL, stop-by and loop times, and faults tied to events.
 */
import type { Fault, FaultyRequest, NodeRef, Occasion, Plan, PlannedFault, RequestFate, When } from './plan.ts';
import { drawStory, type Story } from './stories.ts';
import { SeededRandom } from './world/random.ts';

type Kind = Fault['kind'];

const KINDS: readonly Kind[] = [
  'daemon-kill',
  'daemon-pause',
  'daemon-stop',
  'daemon-restart',
  'guard-kill',
  'power-loss',
  'postmaster-kill',
  'postgres-crash',
  'backend-crash',
  'postgres-hang',
  'cut',
  'etcd-kill',
  'etcd-isolate',
  'etcd-move-leader',
  'etcd-stuck-leader',
  'etcd-early-revocation',
  'etcd-no-space',
  'request',
  'switchover',
  'ttl',
];

const OCCASIONS: readonly Occasion[] = [
  'beat-sent',
  'keepalive-sent',
  'release-sent',
  'acquire-sent',
  'take-over-sent',
  'retake-sent',
  'key-won',
  'key-gone',
  'promotion-begins',
  'promoted',
  'guard-armed',
  'postmaster-gone',
  'copy-begins',
  'daemon-started',
];

const REQUESTS: readonly FaultyRequest[] = [
  'beat',
  'beat',
  'beat',
  'keepalive',
  'release',
  'acquire',
  'take-over',
  'retake',
  'grant',
  'read',
];
const FATES: readonly RequestFate[] = ['lost', 'answer-lost', 'late', 'late', 'slow'];

export interface Settings {
  readonly ttlMs: number;
  readonly loopWaitMs: number;
  readonly retryTimeoutMs: number;
}

export const SETTINGS: readonly Settings[] = [
  { ttlMs: 10_000, loopWaitMs: 2_000, retryTimeoutMs: 3_000 },
  { ttlMs: 10_000, loopWaitMs: 2_000, retryTimeoutMs: 3_000 },
  { ttlMs: 5_000, loopWaitMs: 1_000, retryTimeoutMs: 1_000 },
  { ttlMs: 15_000, loopWaitMs: 3_000, retryTimeoutMs: 4_000 },
  { ttlMs: 30_000, loopWaitMs: 10_000, retryTimeoutMs: 10_000 },
];

/** @param focus - stories that each plan shall tell; none: drawn like everything else */
export function drawPlan(seed: number, focus: readonly Story[] = []): Plan {
  const random = new SeededRandom(`plan:${seed}`);
  const shape = random.fork('shape');
  const settings = shape.pick(SETTINGS);
  const count = shape.chance(0.7) || focus.length > 0 ? 3 : shape.whole(1, 3);
  const nodes = ['a', 'b', 'c'].slice(0, count);
  const etcdMembers = shape.chance(0.75) || focus.length > 0 ? 3 : 1;
  const slow = shape.chance(0.25);
  const quiet = random.fork('quiet').chance(0.05);
  const crashes = random.fork('crashes');
  const onlyCrashes = !quiet && crashes.chance(0.06);
  const policy = random.fork('policy');
  const draw = (): PlannedFault[] => {
    if (focus.length > 0) return drawFocus(random.fork('focus'), focus, nodes, settings);
    if (quiet) return [];
    if (onlyCrashes) return drawCrashes(crashes);
    return drawFaults(random.fork('faults'), nodes, etcdMembers, settings);
  };
  const faults = draw();
  const safetyMs = Math.max(60_000, 6 * settings.ttlMs) + shape.whole(0, 60_000);
  const left = shape.whole(0, 5);
  const healthy = count < 3 ? nodes : nodes.filter((_, i) => i !== left);
  return {
    seed,
    nodes,
    etcdMembers,
    settings,
    clockRates: nodes.map(() => 1 + shape.between(-0.001, 0.001)),
    workload: { clients: shape.whole(1, 2), everyMs: shape.pick([50, 100, 200, 400]) },
    postgres: {
      replicationDelayMs: shape.chance(0.2) ? shape.between(20, 800) : 0,
      slowPromotionChance: slow ? 0.3 : 0.02,
      slowStartChance: slow ? 0.3 : 0.05,
      failChance: shape.chance(0.3) ? 0.3 : 0.02,
      mayCopyAnew: random.fork('copy').chance(0.7),
    },
    policy: {
      primaryCrash: policy.pick(['auto', 'auto', 'auto', 'restart', 'failover'] as const),
      visibilityConsensus: policy.chance(0.5),
      neverLeads: count === 3 && policy.chance(0.15) ? policy.pick(nodes) : null,
    },
    guardUnitMs: shape.chance(0.5) ? shape.whole(100, 1_500) : null,
    profile: faults.length === 0 ? 'quiet' : [...new Set(faults.map((one) => one.fault.kind))].join(' '),
    faults,
    safetyMs,
    healthyNodes: healthy,
    livenessMs:
      4 * Math.max(settings.ttlMs, ...faults.map(({ fault }) => (fault.kind === 'ttl' ? fault.ttlMs : 0))) + 60_000,
  };
}

/** Postgres dies and its node lives, again and again: then nothing that was acknowledged may be lost. */
function drawCrashes(random: SeededRandom): PlannedFault[] {
  return Array.from({ length: random.whole(1, 4) }, (_, i) => {
    const stream = random.fork(`crash ${i}`);
    const kind = stream.pick(['postmaster-kill', 'postmaster-kill', 'postgres-crash', 'backend-crash'] as const);
    return {
      when: { at: Math.round(stream.between(1_000, 45_000)) },
      fault:
        kind === 'postmaster-kill' ? { kind, node: 'primary', orphans: stream.chance(0.5) } : { kind, node: 'primary' },
    };
  });
}

function drawFaults(
  random: SeededRandom,
  nodes: readonly string[],
  etcdMembers: number,
  settings: Settings,
): PlannedFault[] {
  const kinds = KINDS.filter((kind) => random.chance(0.3) && (etcdMembers > 1 || !needsMajority(kind)));
  if (kinds.length === 0) kinds.push(random.pick(['daemon-kill', 'postmaster-kill', 'request', 'cut'] as const));
  const count = random.whole(1, 8);
  const horizon = Math.max(60_000, 6 * settings.ttlMs);
  const faults: PlannedFault[] = [];
  for (let i = 0; i < count; i += 1) {
    const stream = random.fork(`fault ${i}`);
    faults.push({
      when: drawWhen(stream, nodes, horizon),
      fault: drawFault(stream, stream.pick(kinds), nodes, settings),
    });
  }
  // Something has to happen for faults to be tied to: a loss of leadership of some kind.
  const inducers = random.fork('inducers');
  while (inducers.chance(0.6)) {
    const inducer = inducers.fork(`inducer ${faults.length}`);
    const kind = inducer.pick(INDUCERS);
    const node = inducer.pick(['holder', 'holder', 'primary'] as const);
    const fault = drawFault(inducer, kind, nodes, settings);
    faults.push({
      when: { at: Math.round(inducer.between(1_000, 0.6 * horizon)) },
      fault: 'node' in fault ? { ...fault, node } : fault,
    });
  }
  const stories = random.fork('stories');
  for (let i = 0; i < 3 && stories.chance(i === 0 ? 0.75 : 0.3); i += 1) {
    faults.push(...drawStory(stories.fork(`story ${i}`), { settings, horizon, etcdMembers }));
  }
  return faults;
}

/** One kind of story in every plan, among few other faults: for planted bugs whose story is known. */
function drawFocus(
  random: SeededRandom,
  focus: readonly Story[],
  nodes: readonly string[],
  settings: Settings,
): PlannedFault[] {
  const horizon = Math.max(60_000, 6 * settings.ttlMs);
  const faults = random.chance(0.7) ? [] : drawFaults(random.fork('others'), nodes, 3, settings);
  for (let i = 0; i < 2; i += 1) {
    const stream = random.fork(`story ${i}`);
    faults.push(...drawStory(stream, { settings, horizon, etcdMembers: 3 }, stream.pick(focus)));
  }
  return faults;
}

/** What makes leaders change. */
const INDUCERS: readonly Kind[] = [
  'daemon-kill',
  'daemon-pause',
  'daemon-stop',
  'power-loss',
  'postmaster-kill',
  'postgres-crash',
  'cut',
  'etcd-early-revocation',
  'switchover',
  'switchover',
];

const needsMajority = (kind: Kind): boolean =>
  kind === 'etcd-isolate' || kind === 'etcd-move-leader' || kind === 'etcd-stuck-leader';

function drawWhen(random: SeededRandom, nodes: readonly string[], horizon: number): When {
  if (random.chance(0.5)) return { at: Math.round(random.between(0, horizon)) };
  const on = random.pick(OCCASIONS);
  const often = on === 'beat-sent' || on === 'keepalive-sent' || on === 'guard-armed';
  return {
    on,
    nth: often ? random.whole(1, 40) : random.chance(0.7) ? 1 : random.whole(1, 3),
    node: random.chance(0.7) ? null : random.pick(nodes),
    after: random.chance(0.5) ? 0 : Math.round(random.pick([1, 3, 10, 30, 100, 1_000]) * random.next() * 10) / 10,
  };
}

/** A length near one of the borders that matter, or any. */
function drawLength(random: SeededRandom, { ttlMs, loopWaitMs, retryTimeoutMs }: Settings): number {
  const border = random.pick([
    ttlMs,
    ttlMs,
    ttlMs - 1_000,
    ttlMs - 1_000 - Math.min(2_000, ttlMs / 5),
    2 * ttlMs,
    ttlMs / 2,
    loopWaitMs,
    retryTimeoutMs,
    1_000,
    500,
  ]);
  if (random.chance(0.25)) return Math.round(random.between(10, 3 * ttlMs));
  return Math.round(border * random.between(0.9, 1.15) + random.between(-50, 50)) + 60;
}

function drawNode(random: SeededRandom, nodes: readonly string[]): NodeRef {
  return random.chance(0.75) ? random.pick(['event', 'holder', 'holder', 'primary', 'other']) : random.pick(nodes);
}

function drawFault(random: SeededRandom, kind: Kind, nodes: readonly string[], settings: Settings): Fault {
  const node = drawNode(random, nodes);
  const length = (): number => drawLength(random, settings);
  const soon = (): number => (random.chance(0.6) ? Math.round(random.between(150, 1_500)) : length());
  switch (kind) {
    case 'daemon-kill':
    case 'daemon-stop':
    case 'daemon-restart':
      return { kind, node, restartAfter: soon() };
    case 'daemon-pause':
      return { kind, node, for: length() };
    case 'guard-kill':
      return { kind, node };
    case 'power-loss':
      return { kind, node, bootAfter: length() + 2_000 };
    case 'postmaster-kill':
      return { kind, node, orphans: random.chance(0.4) };
    case 'postgres-crash':
    case 'backend-crash':
      return { kind, node };
    case 'postgres-hang':
      return { kind, node, for: length() };
    case 'cut':
      return {
        kind,
        node,
        plane: random.pick([null, 'daemon-etcd', 'daemon-etcd', 'daemon-daemon', 'replication', 'client'] as const),
        oneWay: random.chance(0.25),
        for: length(),
      };
    case 'etcd-kill':
      return { kind, member: random.pick(['leader', 'leader', 'follower', 'all'] as const), for: length() };
    case 'etcd-isolate':
      return { kind, member: random.pick(['leader', 'follower'] as const), for: length() };
    case 'etcd-move-leader':
      return { kind };
    case 'etcd-stuck-leader':
      return { kind, for: length(), attached: random.chance(0.3) ? 'holder' : null };
    case 'etcd-early-revocation':
      return { kind, node };
    case 'etcd-no-space':
      return { kind, for: length() };
    case 'request':
      return {
        kind,
        node: random.chance(0.8) ? random.pick(['event', 'holder', 'holder']) : random.pick(nodes),
        request: random.pick(REQUESTS),
        fate: random.pick(FATES),
        ms: length(),
        count: random.chance(0.6) ? 1 : random.whole(2, 8),
      };
    case 'switchover':
      return { kind, to: random.chance(0.5) ? 'other' : null };
    case 'ttl':
      return { kind, ...random.pick(SETTINGS) };
    default:
      return ((never: never) => never)(kind);
  }
}
