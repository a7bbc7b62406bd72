/**
 * Draws plans from seeds, in three ways that are all needed: a random subset of fault kinds per plan (one plan in
 * twenty has none), lengths that cluster around TTL, stop-by and loop times, and faults tied to events.
 */
import type { Fault, FaultyRequest, NodeRef, Occasion, Plan, PlannedFault, RequestFate, When } from './plan.ts';
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

interface Settings {
  readonly ttlMs: number;
  readonly loopWaitMs: number;
  readonly retryTimeoutMs: number;
}

const SETTINGS: readonly Settings[] = [
  { ttlMs: 10_000, loopWaitMs: 2_000, retryTimeoutMs: 3_000 },
  { ttlMs: 10_000, loopWaitMs: 2_000, retryTimeoutMs: 3_000 },
  { ttlMs: 5_000, loopWaitMs: 1_000, retryTimeoutMs: 1_000 },
  { ttlMs: 15_000, loopWaitMs: 3_000, retryTimeoutMs: 4_000 },
  { ttlMs: 30_000, loopWaitMs: 10_000, retryTimeoutMs: 10_000 },
];

export function drawPlan(seed: number): Plan {
  const random = new SeededRandom(`plan:${seed}`);
  const shape = random.fork('shape');
  const settings = shape.pick(SETTINGS);
  const count = shape.chance(0.7) ? 3 : shape.whole(1, 3);
  const nodes = ['a', 'b', 'c'].slice(0, count);
  const etcdMembers = shape.chance(0.75) ? 3 : 1;
  const slow = shape.chance(0.25);
  const quiet = random.fork('quiet').chance(0.05);
  const crashes = random.fork('crashes');
  const onlyCrashes = !quiet && crashes.chance(0.06);
  const policy = random.fork('policy');
  const faults = quiet
    ? []
    : onlyCrashes
      ? drawCrashes(crashes)
      : drawFaults(random.fork('faults'), nodes, etcdMembers, settings);
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
    profile: quiet ? 'quiet' : [...new Set(faults.map((one) => one.fault.kind))].join(' '),
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
    faults.push(...drawStory(stories.fork(`story ${i}`), settings, horizon, etcdMembers));
  }
  return faults;
}

/**
 * Faults that only mean something together: the beginnings of the stories of protocol.md 9. Each is aimed at the moment
 * it is about and leaves open how it goes on.
 */
function drawStory(random: SeededRandom, settings: Settings, horizon: number, etcdMembers: number): PlannedFault[] {
  const { ttlMs } = settings;
  const t = Math.round(random.between(2_000, 0.5 * horizon));
  const at = (ms: number, fault: Fault): PlannedFault => ({ when: { at: Math.round(t + ms) }, fault });
  const on = (what: Occasion, after: number, fault: Fault, nth = 1): PlannedFault => ({
    when: { on: what, nth, node: null, after: Math.round(after * 10) / 10 },
    fault,
  });
  const near = (ms: number): number => Math.round(ms * random.between(0.9, 1.2));
  const cutOff = (node: NodeRef, ms: number): Fault => ({
    kind: 'cut',
    node,
    plane: 'daemon-etcd',
    oneWay: false,
    for: Math.round(ms),
  });
  const revoked = (node: NodeRef): Fault => ({ kind: 'etcd-early-revocation', node });
  const request = (node: NodeRef, what: FaultyRequest, fate: RequestFate, ms: number, count = 1): Fault => ({
    kind: 'request',
    node,
    request: what,
    fate,
    ms: Math.round(ms),
    count,
  });
  const killed = (node: NodeRef): Fault => ({
    kind: 'daemon-kill',
    node,
    restartAfter: Math.round(random.between(150, 700)),
  });
  const lost: readonly Fault[] = [
    { kind: 'power-loss', node: 'holder', bootAfter: near(2 * ttlMs) },
    { kind: 'daemon-kill', node: 'holder', restartAfter: near(2 * ttlMs) },
    cutOff('holder', near(1.5 * ttlMs)),
  ];

  switch (random.whole(1, 14)) {
    case 1:
      // The key vanishes while its owner, cut off, still has an open window: everybody has to wait for its hold.
      return [at(0, cutOff('holder', near(1.5 * ttlMs))), at(random.between(5, 0.6 * ttlMs), revoked('holder'))];
    case 2:
      // The same, and a candidate starts again meanwhile and has seen nothing.
      return [
        at(0, cutOff('holder', near(1.5 * ttlMs))),
        at(random.between(5, 300), revoked('holder')),
        at(random.between(0, 2_000), killed('other')),
      ];
    case 3:
      // The same, and whoever takes the key dies while it waits, or loses a beat on the way.
      return [
        at(0, cutOff('holder', near(1.5 * ttlMs))),
        at(random.between(5, 300), revoked('holder')),
        on(
          'key-won',
          random.between(0, 3_000),
          random.chance(0.5)
            ? { kind: 'power-loss', node: 'event', bootAfter: near(2 * ttlMs) }
            : request('event', 'beat', 'late', random.between(0.3, 1.5) * ttlMs),
        ),
      ];
    case 4:
      // The answer of an acquire is lost while the last owner's window is open.
      return [
        at(0, request('other', 'acquire', random.pick(['answer-lost', 'late'] as const), random.between(50, 2_000))),
        at(10, cutOff('holder', near(1.5 * ttlMs))),
        at(random.between(15, 300), revoked('holder')),
        ...(random.chance(0.5) ? [on('acquire-sent', random.between(0, 20), killed('event'))] : []),
      ];
    case 5:
      // A stale candidate: its acquire is under way while another one leads and loses the key inside its window.
      return [
        at(0, request('other', 'acquire', 'slow', random.between(900, 1_450))),
        at(20, random.pick(lost)),
        on('promoted', 0, cutOff('event', near(1.2 * ttlMs))),
        on('promoted', random.between(1, 60), revoked('event')),
      ];
    case 6:
      // A release of unknown fate, and nobody left to take over: the leader goes on in the same term.
      return [
        at(
          0,
          request(
            'holder',
            'release',
            random.pick(['late', 'late', 'lost', 'answer-lost'] as const),
            random.between(500, 8_000),
            random.whole(1, 60),
          ),
        ),
        at(10, { kind: 'postmaster-kill', node: 'holder', orphans: random.chance(0.2) }),
        on('release-sent', random.between(0, 50), { kind: 'power-loss', node: 'other', bootAfter: near(2 * ttlMs) }),
        on('release-sent', random.between(51, 90), { kind: 'power-loss', node: 'other', bootAfter: near(2 * ttlMs) }),
        ...(random.chance(0.4) ? [on('release-sent', random.between(0, 400), killed('event'))] : []),
      ];
    case 7:
      // The daemon of a new leader starts again after its first beats.
      return [at(0, random.pick(lost)), on('promoted', random.between(0, 2_500), killed('event'))];
    case 8:
      // A new leader's machine fails between winning and promoting, and is back before its lease has run out.
      return [
        at(0, random.pick(lost)),
        on(random.pick(['key-won', 'promotion-begins', 'guard-armed'] as const), random.between(0, 40), {
          kind: 'power-loss',
          node: 'event',
          bootAfter: Math.round(random.between(1_500, 0.6 * ttlMs)),
        }),
      ];
    case 9:
      // The new primary hangs.
      return [
        at(0, random.pick(lost)),
        on('promoted', random.between(0, 3), {
          kind: 'postgres-hang',
          node: 'event',
          for: near(random.between(2, 5) * ttlMs),
        }),
      ];
    case 10:
      // The key is revoked, or the daemon stops, in the middle of a promotion.
      return [
        at(0, random.pick(lost)),
        on(
          random.pick(['key-won', 'promotion-begins'] as const),
          random.between(0, 60),
          random.pick([revoked('event'), { kind: 'daemon-pause', node: 'event', for: near(ttlMs) }]),
        ),
      ];
    case 11: {
      // The guard dies and comes back while the daemon stands still.
      const beat = random.whole(1, 10);
      return [
        on('beat-sent', 1, { kind: 'guard-kill', node: 'event' }, beat),
        ...(random.chance(0.6)
          ? [
              on(
                'beat-sent',
                random.between(2, 60),
                { kind: 'daemon-pause' as const, node: 'event', for: near(1.5 * ttlMs) },
                beat,
              ),
            ]
          : []),
      ];
    }
    case 12:
      // The TTL changes and the leader loses the key right after.
      return [
        at(0, { kind: 'ttl', ...random.pick(SETTINGS) }),
        ...(random.chance(0.5) ? [at(-200, request('holder', 'beat', 'late', random.between(500, ttlMs)))] : []),
        at(random.between(300, 3_000), cutOff('holder', near(1.5 * ttlMs))),
        at(random.between(3_001, 4_000), revoked('holder')),
      ];
    case 13:
      // The etcd leader is stuck for longer than any lease lasts.
      return etcdMembers > 1
        ? [
            at(0, {
              kind: 'etcd-stuck-leader',
              for: near(random.between(1.5, 4) * ttlMs),
              attached: random.chance(0.7) ? 'holder' : null,
            }),
          ]
        : [at(0, killed('holder'))];
    default:
      // A switchover or an orderly stop that something goes wrong with.
      return [
        at(
          0,
          random.chance(0.5)
            ? { kind: 'switchover', to: random.chance(0.5) ? 'other' : null }
            : { kind: 'daemon-stop', node: 'holder', restartAfter: 500 },
        ),
        on(
          random.pick(['release-sent', 'postmaster-gone', 'key-won', 'promotion-begins'] as const),
          random.between(0, 30),
          random.pick([
            killed('event'),
            killed('other'),
            cutOff('event', near(ttlMs)),
            request('holder', 'release', 'late', 3_000),
            { kind: 'postgres-crash', node: 'event' },
          ]),
        ),
      ];
  }
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
