/**
 * Faults that only mean something together: the beginnings of the stories of protocol.md 9. Each is aimed at the moment
 * it is about and leaves open how it goes on.
 */
import { SETTINGS, type Settings } from './draw.ts';
import type { Fault, FaultyRequest, NodeRef, Occasion, PlannedFault, RequestFate } from './plan.ts';
import type { SeededRandom } from './world/random.ts';

interface Setting {
  readonly settings: Settings;
  readonly horizon: number;
  readonly etcdMembers: number;
}

export const STORIES = [
  'revoked while cut off',
  'candidate restarted',
  'next one fails at the gate',
  'acquire unanswered',
  'stale candidate',
  'release unanswered',
  'new leader restarted',
  'rebooted between winning and promoting',
  'new primary hangs',
  'revoked while promoting',
  'guard killed',
  'ttl changed',
  'etcd stuck',
  'interrupted handover',
  'back while the next one has lost the key',
  'etcd stuck between beat and keepalive',
  'new primary lost unheard',
  'wall clock stepped',
  'lost in maintenance',
  'handed over in maintenance',
  'suspended',
  'foreign data',
  'leader reinitialised',
  'postmaster killed',
  'copy cut off',
  'leader lost by whom was rewound to it',
  'etcd wiped while a node is copied',
  'woken in the middle of a copy anew',
  'leader alone without etcd',
  'leader without etcd and without one of the others',
  'one was away when the leader lost etcd',
  'etcd away for all, and somebody falls',
  'key handed on unpromoted',
  'starts fail without end',
] as const;

export type Story = (typeof STORIES)[number];

/** @param told - which one; left out: any */
export function drawStory(
  random: SeededRandom,
  { settings, horizon, etcdMembers }: Setting,
  told: Story = random.pick(STORIES),
): PlannedFault[] {
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

  switch (told) {
    case 'revoked while cut off':
      // The key vanishes while its owner, cut off, still has an open window: everybody has to wait for its hold.
      return [at(0, cutOff('holder', near(1.5 * ttlMs))), at(random.between(5, 0.6 * ttlMs), revoked('holder'))];
    case 'candidate restarted':
      // The same, and a candidate starts again meanwhile and has seen nothing.
      return [
        at(0, cutOff('holder', near(1.5 * ttlMs))),
        at(random.between(5, 300), revoked('holder')),
        at(random.between(0, 2_000), killed('other')),
      ];
    case 'next one fails at the gate':
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
    case 'acquire unanswered':
      // The answer of an acquire is lost while the last owner's window is open.
      return [
        at(0, request('other', 'acquire', random.pick(['answer-lost', 'late'] as const), random.between(50, 2_000))),
        at(10, cutOff('holder', near(1.5 * ttlMs))),
        at(random.between(15, 300), revoked('holder')),
        ...(random.chance(0.5) ? [on('acquire-sent', random.between(0, 20), killed('event'))] : []),
      ];
    case 'stale candidate':
      // A stale candidate: its acquire is under way while another one leads and loses the key inside its window.
      return [
        at(0, request('other', 'acquire', 'slow', random.between(900, 1_450))),
        at(20, random.pick(lost)),
        on('promoted', 0, cutOff('event', near(1.2 * ttlMs))),
        on('promoted', random.between(1, 60), revoked('event')),
      ];
    case 'release unanswered':
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
    case 'new leader restarted':
      // The daemon of a new leader starts again after its first beats.
      return [at(0, random.pick(lost)), on('promoted', random.between(0, 2_500), killed('event'))];
    case 'rebooted between winning and promoting':
      // A new leader's machine fails between winning and promoting, and is back before its lease has run out.
      return [
        at(0, random.pick(lost)),
        on(random.pick(['key-won', 'promotion-begins', 'guard-armed'] as const), random.between(0, 40), {
          kind: 'power-loss',
          node: 'event',
          bootAfter: Math.round(random.between(1_500, 0.6 * ttlMs)),
        }),
      ];
    case 'new primary hangs':
      // The new primary hangs.
      return [
        at(0, random.pick(lost)),
        on('promoted', random.between(0, 3), {
          kind: 'postgres-hang',
          node: 'event',
          for: near(random.between(2, 5) * ttlMs),
        }),
      ];
    case 'revoked while promoting':
      // The key is revoked, or daemon or guard stand still, in the middle of a promotion.
      return [
        at(0, random.pick(lost)),
        on(
          random.pick(['key-won', 'promotion-begins'] as const),
          random.between(0, 60),
          random.pick([
            revoked('event'),
            { kind: 'daemon-pause', node: 'event', for: near(ttlMs) },
            { kind: 'guard-pause', node: 'event', for: near(random.between(0.5, 3) * ttlMs) },
          ]),
        ),
      ];
    case 'guard killed': {
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
    case 'ttl changed':
      // The TTL changes and the leader loses the key right after.
      return [
        at(0, { kind: 'ttl', ...random.pick(SETTINGS) }),
        ...(random.chance(0.5) ? [at(-200, request('holder', 'beat', 'late', random.between(500, ttlMs)))] : []),
        at(random.between(300, 3_000), cutOff('holder', near(1.5 * ttlMs))),
        at(random.between(3_001, 4_000), revoked('holder')),
      ];
    case 'etcd stuck':
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
    case 'interrupted handover':
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
    case 'back while the next one has lost the key':
      // The old leader hears of etcd again after its window, while the next one writes on, cut off and without its key.
      return [
        at(
          0,
          random.chance(0.5)
            ? cutOff('holder', ttlMs + random.between(1_500, 0.9 * ttlMs))
            : { kind: 'daemon-pause', node: 'holder', for: Math.round(ttlMs + random.between(1_500, 0.9 * ttlMs)) },
        ),
        on('promoted', random.between(0, 200), cutOff('event', near(1.2 * ttlMs))),
        on('promoted', random.between(201, 400), revoked('event')),
      ];
    case 'etcd stuck between beat and keepalive': {
      // The lease was not renewed for a while. The next keepalive is slow, and its etcd leader is stuck when it arrives.
      if (etcdMembers === 1) return [at(0, killed('holder'))];
      const nth = random.whole(2, 12);
      const missed = random.whole(1, 3);
      return [
        on('keepalive-sent', 0, request('event', 'keepalive', 'lost', 0, missed), nth),
        on('keepalive-sent', 0.1, request('event', 'keepalive', 'slow', random.between(300, 700)), nth),
        on(
          'keepalive-sent',
          random.between(10, 140),
          { kind: 'etcd-stuck-leader', for: near(random.between(1.5, 3) * ttlMs), attached: 'holder' },
          nth + missed + 1,
        ),
      ];
    }
    case 'new primary lost unheard':
      // A new primary is lost before anybody has heard of its timeline, and the next one gives the same number again:
      // with the cut at a position of its own.
      return [
        ...(random.chance(0.7)
          ? [
              at(-random.between(200, 1_500), {
                kind: 'cut',
                node: 'other',
                plane: 'replication',
                oneWay: false,
                for: near(0.8 * ttlMs),
              }),
            ]
          : []),
        at(0, { kind: 'power-loss', node: 'holder', bootAfter: near(random.between(2.3, 4) * ttlMs) }),
        on('promoted', random.between(0, 40), {
          kind: 'power-loss',
          node: 'event',
          bootAfter: near(random.between(0.6, 3) * ttlMs),
        }),
      ];
    case 'wall clock stepped':
      // The wall clock of the leader is set, and then it is cut off.
      return [
        at(0, {
          kind: 'wall-step',
          node: 'holder',
          by: Math.round(random.pick([-1, 1, 1]) * random.between(0.3, 2) * ttlMs),
        }),
        at(random.between(50, 3_000), cutOff('holder', near(1.5 * ttlMs))),
      ];
    case 'lost in maintenance': {
      // The leader is lost while operators have the wheel, for longer than any lease lasts.
      const length = Math.round(random.between(2, 4) * ttlMs + 25_000);
      return [
        at(0, { kind: 'maintenance', for: length }),
        at(
          random.between(0.4, 0.7) * length,
          random.pick([...lost, { kind: 'postmaster-kill', node: 'holder', orphans: false }]),
        ),
      ];
    }
    case 'handed over in maintenance': {
      // Operators have the wheel and want another leader; some of it goes wrong in the middle.
      const length = Math.round(random.between(2, 5) * ttlMs + 25_000);
      const asked = random.between(0.2, 0.4) * length;
      if (random.chance(0.4)) {
        // The daemon is stopped and its Postgres runs on: nobody may be put beside it.
        return [
          at(0, { kind: 'maintenance', for: length }),
          at(0.1 * length, { kind: 'daemon-stop', node: 'holder', restartAfter: Math.round(0.6 * length) }),
          at(0.1 * length + random.between(1.2, 2) * ttlMs, { kind: 'failover-by-hand', to: 'other' }),
        ];
      }
      return [
        at(0, { kind: 'maintenance', for: length }),
        at(asked, { kind: 'switchover', to: 'other' }),
        ...(random.chance(0.6) ? [at(asked + random.between(50, 3_000), random.pick(lost))] : []),
        ...(random.chance(0.5) ? [at(0.8 * length, { kind: 'failover-by-hand', to: 'other' } as const)] : []),
      ];
    }
    case 'suspended':
      // The leader's machine stands still for about its window, and cannot reach etcd when it goes on.
      return [
        at(0, {
          kind: 'machine-suspend',
          node: 'holder',
          for: near(random.between(0.3, 1.6) * ttlMs),
          bootClock: random.chance(0.5),
        }),
        ...(random.chance(0.7) ? [at(random.between(1, 200), cutOff('holder', near(3 * ttlMs)))] : []),
      ];
    case 'foreign data':
      // A standby comes back with another cluster's data.
      return [at(0, { kind: 'foreign-data', node: 'other', bootAfter: near(3_000) })];
    case 'leader reinitialised':
      // An operator asks the leader, of all nodes, to be copied anew.
      return [at(0, { kind: 'reinitialize', node: 'holder', force: random.chance(0.5) })];
    case 'copy cut off':
      // The leader is lost while another node is copied from it.
      return [
        at(0, { kind: 'reinitialize', node: 'other', force: false }),
        on('copy-begins', random.between(10, 500), { kind: 'power-loss', node: 'holder', bootAfter: near(2 * ttlMs) }),
      ];
    case 'leader lost by whom was rewound to it':
      // Whoever has led comes back by a rewind, and the source of the WAL that it still needs is lost.
      return [
        at(0, { kind: 'cut', node: 'holder', plane: null, oneWay: false, for: near(1.3 * ttlMs) }),
        on('rewound', random.between(0, 60), { kind: 'power-loss', node: 'holder', bootAfter: near(4 * ttlMs) }),
      ];
    case 'etcd wiped while a node is copied':
      return [
        at(0, { kind: 'reinitialize', node: 'other', force: false }),
        on('copy-begins', random.between(10, 400), { kind: 'etcd-wipe' }),
      ];
    case 'woken in the middle of a copy anew': {
      // A daemon is stopped between the end of its Postgres and the removal of its data, and the leader is lost meanwhile.
      const length = near(random.between(1.2, 2) * ttlMs + 8_000);
      return [
        at(0, { kind: 'reinitialize', node: 'other', force: false }),
        on('postmaster-gone', random.between(0, 30), { kind: 'daemon-pause', node: 'event', for: length }),
        at(random.between(200, 0.3 * ttlMs), random.pick(lost)),
      ];
    }
    case 'leader alone without etcd':
      // The others have it: what they have confirmed is all that keeps them from leading (19, 34).
      return [
        at(0, cutOff('holder', near(random.between(1.5, 3) * ttlMs))),
        ...(random.chance(0.4) ? [at(random.between(5, 0.5 * ttlMs), revoked('holder'))] : []),
        ...(random.chance(0.4) ? [at(random.between(0.3, 1.5) * ttlMs, killed('other'))] : []),
      ];
    case 'leader without etcd and without one of the others':
      // Most of them can be asked, and one that cannot has etcd (18).
      return [
        at(random.between(-500, 2_000), {
          kind: 'cut',
          node: 'other',
          plane: 'daemon-daemon',
          oneWay: random.chance(0.3),
          for: near(4 * ttlMs),
        }),
        at(0, cutOff('holder', near(3 * ttlMs))),
      ];
    case 'one was away when the leader lost etcd': {
      // Its member key has run out and the list is without it; then it has etcd again, and the leader has not (17).
      const away = near(random.between(1.6, 2.4) * ttlMs);
      return [
        at(0, cutOff('other', away)),
        at(away - random.between(0.1, 0.5) * ttlMs, cutOff('holder', near(4 * ttlMs))),
      ];
    }
    case 'etcd away for all, and somebody falls':
      // Nobody has it; meanwhile a daemon, a Postgres or a machine falls, and etcd comes back.
      return [
        at(0, { kind: 'etcd-kill', member: 'all', for: near(random.between(1, 3) * ttlMs) }),
        at(
          random.between(0.2, 1.5) * ttlMs,
          random.pick([
            killed('holder'),
            killed('other'),
            { kind: 'postmaster-kill', node: 'primary', orphans: random.chance(0.3) },
            { kind: 'power-loss', node: 'other', bootAfter: near(ttlMs) },
            { kind: 'machine-suspend', node: 'holder', for: near(0.7 * ttlMs), bootClock: random.chance(0.5) },
            { kind: 'daemon-pause', node: 'holder', for: near(ttlMs) },
          ] as const),
        ),
      ];
    case 'key handed on unpromoted':
      // The next leader fails to promote and gives the key to another one.
      return [
        at(-10, { kind: 'promotions-fail', node: 'other', count: 2 }),
        at(0, { kind: 'power-loss', node: 'holder', bootAfter: near(3 * ttlMs) }),
      ];
    case 'starts fail without end':
      return [
        at(-10, { kind: 'starts-fail', node: 'other', count: 100_000 }),
        at(0, { kind: 'postgres-crash', node: 'other' }),
      ];
    case 'postmaster killed':
      // Postgres dies under load, and its node lives.
      return [
        at(0, { kind: 'postmaster-kill', node: 'primary', orphans: random.chance(0.3) }),
        ...(random.chance(0.5) ? [at(random.between(3_000, 20_000), { kind: 'postgres-crash', node: 'primary' })] : []),
      ];
    default:
      return ((never: never) => never)(told);
  }
}
