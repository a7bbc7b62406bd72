/**
 * The settings by which an election is tuned, each with a case in which it decides: consensus, location, receivers,
 * validation, how long a candidate stands back. `b` is this node, `a` led last, `c` is another standby.
 */
import { systemId } from '../../../../src/core/local.ts';
import { lsn } from '../../../../src/core/lsn.ts';
import { nodeName } from '../../../../src/core/store.ts';
import { millis } from '../../../../src/core/time.ts';
import type { Validation } from '../../../../src/core/view.ts';
import {
  aBeat,
  aCluster,
  aGate,
  aLoneStandby,
  aMember,
  aPeer,
  aPrimary,
  aRelease,
  aRequest,
  aSilentPeer,
  aStandby,
  aStatus,
  at,
  before,
  type Case,
  END,
  FAILING,
  leads,
  leadsWithPostgresDown,
  NOW,
  peers,
  seeks,
  type ViewOver,
} from '../builders.ts';

const A = nodeName('a');
const after = (waited: number, over: ViewOver = {}): ViewOver => ({
  leaderlessSince: before(waited),
  lastLeader: A,
  ...over,
});
const BEHIND = at('0/5000000');
type Said = Parameters<typeof aPeer>[1];
const others = (c: Said, a: Said | null = null) =>
  peers({ a: a === null ? aSilentPeer() : aPeer('a', a), c: aPeer('c', { position: BEHIND, ...c }) });

const consensus = { primaryVisibilityConsensus: true } as const;
const sawA = (ms: number) => ({ sawPrimary: millis(ms), sawPrimaryOf: A });

export const byConsensus: readonly Case[] = [
  {
    name: 'holds back while another standby saw the last leader within two loops',
    view: seeks(after(100, { set: consensus, peers: others(sawA(3_899)) })),
    rule: 'leaderless.seen-by-others',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('c')] }],
  },
  {
    name: 'counts how old that sight has become since it was told',
    view: seeks(after(100, { set: consensus, peers: others(sawA(3_900)) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'counts what it has seen itself',
    view: seeks(after(100, { set: consensus, sawPrimary: millis(3_999) })),
    rule: 'leaderless.seen-by-others',
    actions: ['ask-peers'],
  },
  {
    name: 'does not count that somebody saw another primary',
    view: seeks(after(100, { set: consensus, peers: others({ ...sawA(10), sawPrimaryOf: nodeName('d') }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not count sights of the last leader when that one says that it is back as a standby',
    view: seeks(after(100, { set: consensus, peers: others(sawA(10), { position: BEHIND }), sawPrimary: millis(10) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not count them when its Postgres is down by its own word',
    view: seeks(
      after(100, { set: consensus, peers: others(sawA(10), { state: 'stopped', inRecovery: false, timeline: null }) }),
    ),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'counts them when it says that it is a primary, with a window or without',
    view: seeks(after(100, { set: consensus, peers: others(sawA(10), { inRecovery: false }) })),
    rule: 'leaderless.seen-by-others',
    actions: ['ask-peers'],
  },
  {
    name: 'is held back by sights for one more TTL at most',
    view: seeks(after(9_999, { set: consensus, peers: others(sawA(10)) })),
    rule: 'leaderless.seen-by-others',
    actions: ['ask-peers'],
    again: 1,
  },
  {
    name: 'goes when that TTL is over, whatever others see',
    view: seeks(after(10_000, { set: consensus, peers: others(sawA(10)) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'asks nobody for sights without the setting',
    view: seeks(after(100, { peers: others(sawA(10)) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'holds nothing back after a release: its writer is known not to write',
    view: seeks(after(100, { set: consensus, peers: others(sawA(10)), gate: aGate({ beat: aRelease(null) }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'keeps a primary that others see for one TTL beyond its own checks at most',
    view: leads({
      local: aPrimary({ failing: FAILING }),
      failing: { since: before(12_999), count: 9, said: FAILING.said },
      set: consensus,
      peers: peers({ a: aPeer('a', { sawPrimary: millis(10), sawPrimaryOf: nodeName('b') }), c: aSilentPeer() }),
    }),
    rule: 'leading.seen-by-others',
    actions: ['ask-peers'],
    again: 1,
  },
  {
    name: 'ends it when that TTL is over: a server that hangs on its disk goes on talking to its standbys',
    view: leads({
      local: aPrimary({ failing: FAILING }),
      failing: { since: before(13_000), count: 9, said: FAILING.said },
      set: consensus,
      peers: peers({ a: aPeer('a', { sawPrimary: millis(10), sawPrimaryOf: nodeName('b') }), c: aSilentPeer() }),
    }),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'asks nobody about a disk that takes no writes: standbys go on hearing from such a server',
    view: leads({
      local: aPrimary({ failing: { check: 'disk', said: 'no WAL is written' } }),
      failing: { since: before(5_000), count: 9, said: 'no WAL is written' },
      set: consensus,
      peers: peers({ a: aPeer('a', { sawPrimary: millis(10), sawPrimaryOf: nodeName('b') }), c: aSilentPeer() }),
    }),
    rule: 'leading.give-up-silent',
    actions: ['stop-immediately'],
  },
  {
    name: 'asks the others again before it believes an old answer, however long reconnect_interval is',
    view: leads({
      local: aPrimary({ failing: FAILING }),
      failing: { since: before(5_000), count: 9, said: FAILING.said },
      set: consensus,
      peers: peers({
        a: aPeer('a', { sawPrimary: millis(10), sawPrimaryOf: nodeName('b'), at: before(2_001) }),
        c: aSilentPeer(),
      }),
    }),
    rule: 'leading.ask-candidates',
    actions: ['ask-peers'],
  },
];

const strict = { locationPolicy: 'strict' } as const;
const prefer = { locationPolicy: 'prefer' } as const;
/** We are in `west`; the last leader was in `east`. */
const abroad = (over: ViewOver): ViewOver => ({ node: { location: 'west' }, lastLeaderLocation: 'east', ...over });

export const byLocation: readonly Case[] = [
  {
    name: "strict: does not go while nobody in the last leader's location answers, however long that is",
    view: seeks(after(600_000, abroad({ set: strict, peers: others({ location: 'west' }) }))),
    rule: 'leaderless.location',
    actions: ['ask-peers'],
  },
  {
    name: "strict: goes when somebody in the last leader's location answers",
    view: seeks(after(100, abroad({ set: strict, peers: others({ location: 'east' }) }))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'strict: a witness there is enough to be seen, and is no candidate',
    view: seeks(
      after(100, abroad({ set: strict, peers: others({ location: 'east', witness: true, position: lsn(END + 9n) }) })),
    ),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'strict: goes in the location of the last leader itself',
    view: seeks(after(100, { set: strict, node: { location: 'east' }, lastLeaderLocation: 'east' })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'strict: a release is a word from that location',
    view: seeks(after(100, abroad({ set: strict, gate: aGate({ beat: aRelease(null) }) }))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'prefer: waits one more TTL for somebody there to be seen',
    view: seeks(after(9_999, abroad({ set: prefer, peers: others({ location: 'west' }) }))),
    rule: 'leaderless.location',
    actions: ['ask-peers'],
    again: 1,
  },
  {
    name: 'prefer: goes after that',
    view: seeks(after(10_000, abroad({ set: prefer, peers: others({ location: 'west' }) }))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: "prefer: the last leader's location goes before the higher priority",
    view: seeks(after(100, abroad({ set: prefer, peers: others({ location: 'east', position: END, priority: 1 }) }))),
    rule: 'leaderless.stand-back',
    actions: [],
  },
  {
    name: 'prefer: never before data: who has more goes first, wherever he is',
    view: seeks(after(100, abroad({ set: prefer, peers: others({ location: 'east' }) }))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'off: knows no locations',
    view: seeks(after(100, abroad({ peers: others({ location: 'east', position: END, priority: 1 }) }))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
];

const disconnect = { standbyDisconnectOnFailover: true, siblingNodesDisconnectTimeout: millis(5_000) } as const;
const aDeafStandby = aLoneStandby({ follows: null });

const FAR = lsn(END - 1_048_576n);
const TOO_FAR = lsn(FAR - 1n);

export const byReceivers: readonly Case[] = [
  {
    name: 'ends its receiver before positions are compared',
    view: seeks(after(100, { set: disconnect, local: aStandby() })),
    rule: 'leaderless.stop-receiving',
    actions: ['stop-receiving'],
  },
  {
    name: 'ends what would start a receiver again, too',
    view: seeks(after(100, { set: disconnect, local: aLoneStandby() })),
    rule: 'leaderless.stop-receiving',
    actions: ['stop-receiving'],
  },
  {
    name: 'waits for the receivers of others',
    view: seeks(after(4_999, { set: disconnect, local: aDeafStandby, peers: others({ receiving: true }) })),
    rule: 'leaderless.wait-for-receivers',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('c')] }],
  },
  {
    name: 'waits for them within sibling_nodes_disconnect_timeout',
    view: seeks(after(5_000, { set: disconnect, local: aDeafStandby, peers: others({ receiving: true }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not wait for the receiver of one that lags too far to lead',
    view: seeks(
      after(100, { set: disconnect, local: aDeafStandby, peers: others({ receiving: true, position: TOO_FAR }) }),
    ),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'waits for the receiver of one that lags just so far that it may lead',
    view: seeks(
      after(100, { set: disconnect, local: aDeafStandby, peers: others({ receiving: true, position: FAR }) }),
    ),
    rule: 'leaderless.wait-for-receivers',
    actions: ['ask-peers'],
  },
  {
    name: 'does not wait for the receiver of one whose key has gone: without etcd it takes no part',
    view: seeks(
      after(100, {
        set: disconnect,
        local: aDeafStandby,
        cluster: aCluster({ leader: null, members: [aMember('a'), aMember('b')] }),
        lately: [nodeName('c')],
        peers: others({ receiving: true }),
      }),
    ),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'goes when nobody receives any more',
    view: seeks(after(100, { set: disconnect, local: aDeafStandby })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not restart an old server for it',
    view: seeks(after(100, { set: disconnect, local: aStandby({ version: 120_020 }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'leaves receivers alone without the setting',
    view: seeks(after(100, { local: aStandby(), peers: others({ receiving: true }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
];

const validates = { validates: true } as const;
const further = { position: lsn(END + 1n) };

export const byGate: readonly Case[] = [
  {
    name: 'waits for one who has more and waits at his gate, whatever turn it is',
    view: seeks(after(5_000, { peers: others({ ...further, gateLeft: millis(3_000) }) })),
    rule: 'leaderless.stand-back',
    actions: ['ask-peers'],
    again: 150,
  },
  {
    name: 'not where his gate opens later than after a TTL and his turn: it is moved on again and again',
    view: seeks(after(5_000, { peers: others({ ...further, gateLeft: millis(5_300) }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'nor where all that he has more was acknowledged to nobody',
    view: seeks(
      after(5_000, {
        gate: aGate({ beat: aRelease('a') }),
        peers: others({ ...further, gateLeft: millis(3_000) }),
      }),
    ),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'not for one whose gate is open, who has had his turn',
    view: seeks(after(5_000, { peers: others({ ...further, gateLeft: millis(0) }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'nor for one who has no more than we, or who does not say',
    view: seeks(after(5_000, { peers: others({ position: END, priority: 200, gateLeft: millis(3_000) }, further) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'nor for longer than a TTL and his turn: he may never get there',
    view: seeks(after(10_400, { peers: others({ ...further, gateLeft: millis(3_000) }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
];
const vetoed = (ms: number): Validation => ({ kind: 'vetoed', at: before(ms), said: 'exit code 1' });

/** `a` would have gone first; `c` is better than we are. */
const bestVetoed: ViewOver = {
  lastLeader: null,
  peers: others({ position: lsn(END + 1n) }, { position: lsn(END + 9n), vetoedFor: millis(9_000) }),
};

export const byValidation: readonly Case[] = [
  {
    name: 'asks its command when it is next, with who is visible of how many',
    view: seeks(after(100, { node: validates })),
    rule: 'leaderless.validate',
    actions: [{ do: 'validate', visible: 2, total: 3 }],
  },
  {
    name: 'waits for what the command says',
    view: seeks(after(100, { node: validates, validation: { kind: 'running', since: before(50) } })),
    rule: 'leaderless.validate',
    actions: [],
  },
  {
    name: 'goes when the command has nothing against it',
    view: seeks(after(100, { node: validates, validation: { kind: 'approved', at: before(9_999) } })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'asks again when that was long ago',
    view: seeks(after(100, { node: validates, validation: { kind: 'approved', at: before(10_000) } })),
    rule: 'leaderless.validate',
    actions: ['validate'],
  },
  {
    name: 'stays out for election_rerun_interval when the command is against it',
    view: seeks(after(100, { node: validates, validation: vetoed(14_999) })),
    rule: 'leaderless.vetoed',
    actions: [],
    again: 1,
  },
  {
    name: 'asks again after that interval',
    view: seeks(after(100, { node: validates, validation: vetoed(15_000) })),
    rule: 'leaderless.validate',
    actions: ['validate'],
  },
  {
    name: 'asks also when the release names it',
    view: seeks(after(100, { node: validates, gate: aGate({ beat: aRelease('b') }) })),
    rule: 'leaderless.validate',
    actions: ['validate'],
  },
  {
    name: 'stays out also when the release names it',
    view: seeks(after(100, { node: validates, gate: aGate({ beat: aRelease('b') }), validation: vetoed(10) })),
    rule: 'leaderless.vetoed',
    actions: [],
  },
  {
    name: 'goes at once when the better one was stopped by its command',
    view: seeks(after(100, { peers: others({ position: lsn(END + 1n), vetoedFor: millis(9_000) }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'gives the better one of those who are left his turn when the best was stopped by its command',
    view: seeks(after(5_000, { ...bestVetoed, vetoSeenAt: before(150) })),
    rule: 'leaderless.stand-back',
    actions: [],
    again: 650,
  },
  {
    name: 'goes when that turn is over',
    view: seeks(after(5_000, { ...bestVetoed, vetoSeenAt: before(800) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'goes at once after that veto when it is the best of those who are left',
    view: seeks(after(5_000, { peers: others({ vetoedFor: millis(9_000) }), vetoSeenAt: before(1) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not wait for the chosen one that was stopped by its command',
    view: seeks(after(100, { gate: aGate({ beat: aRelease('c') }), peers: others({ vetoedFor: millis(9_000) }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'stands back while the better one asks its command, beyond the usual time',
    view: seeks(after(5_000, { peers: others({ position: lsn(END + 1n), validates: true, validating: true }) })),
    rule: 'leaderless.stand-back',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('c')] }],
  },
  {
    name: 'asks the better one anew where it has a command: what it said before says neither yes nor no',
    view: seeks(after(500, { peers: others({ position: lsn(END + 1n), validates: true, at: before(201) }) })),
    rule: 'leaderless.stand-back',
    actions: ['ask-peers'],
  },
  {
    name: 'does not stand back for it longer than primary_notification_timeout',
    view: seeks(after(60_000, { peers: others({ position: lsn(END + 1n), validates: true, validating: true }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not stand back at all where primary_notification_timeout is 0',
    view: seeks(
      after(150, { set: { primaryNotificationTimeout: millis(0) }, peers: others({ position: lsn(END + 1n) }) }),
    ),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
];

const returning = (seconds: number, c: Said): ViewOver => ({
  returningSince: new Map([[nodeName('c'), before(seconds)]]),
  peers: others(c),
});

const beyondUs = lsn(END + 9n);
const recorded: ViewOver = {
  gate: aGate({ beat: aRelease('c', beyondUs) }),
  peers: others({ position: beyondUs, vetoedFor: millis(9_000) }),
};

const foreign = { systemId: systemId('1') } as const;

export const byStrangers: readonly Case[] = [
  {
    name: 'does not stand back for a standby of another cluster, however far its WAL goes',
    view: seeks(after(100, { peers: others({ ...foreign, position: beyondUs }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not wait for data of another cluster to come up',
    view: seeks(after(100, returning(100, { ...foreign, state: 'stopped', inRecovery: false, positionFinal: false }))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not wait for the receiver of another cluster to end',
    view: seeks(after(100, { set: disconnect, local: aDeafStandby, peers: others({ ...foreign, receiving: true }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not wait for what it lacks to come from another cluster',
    view: seeks(
      after(100, {
        gate: aGate({ beat: aRelease(null, beyondUs) }),
        peers: others({ ...foreign, position: beyondUs, vetoedFor: millis(9_000) }),
      }),
    ),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not hand over to it: its position says nothing of our WAL',
    view: leadsWithPostgresDown({
      peers: peers({ a: aPeer('a', { position: lsn(END - 1n) }), c: aPeer('c', { ...foreign, position: beyondUs }) }),
    }),
    rule: 'leading.rescue',
    actions: ['rescue'],
  },
];

export const byRecord: readonly Case[] = [
  {
    name: 'lacks some of what the last leader wrote, and waits for it while one who was vetoed has it',
    view: seeks(after(9_999, recorded)),
    rule: 'leaderless.stand-back',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('c')] }],
  },
  {
    name: 'waits for that one TTL at most',
    view: seeks(after(10_000, recorded)),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not wait where nobody has it',
    view: seeks(after(100, { gate: aGate({ beat: aRelease(null, beyondUs) }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
];

export const byReturning: readonly Case[] = [
  {
    name: 'ends its receiver first: the wait for one who comes back may be longer than that for receivers',
    view: seeks(after(100, { ...returning(50, { positionFinal: false }), set: disconnect, local: aStandby() })),
    rule: 'leaderless.stop-receiving',
    actions: ['stop-receiving'],
  },
  {
    name: 'waits for a fenced primary to come up as a standby: it may hold more than anybody',
    view: seeks(after(60_000, returning(9_999, { state: 'stopped', inRecovery: false, position: null }))),
    rule: 'leaderless.wait-for-returning',
    actions: [{ do: 'ask-peers', waitFor: [nodeName('c')] }],
  },
  {
    name: 'waits for one that still replays what it has',
    view: seeks(after(100, returning(50, { positionFinal: false }))),
    rule: 'leaderless.wait-for-returning',
    actions: ['ask-peers'],
  },
  {
    name: 'waits for it one TTL at most',
    view: seeks(after(60_000, returning(10_000, { state: 'starting', inRecovery: false }))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'lets the one that has come up and has more go first, or feed us, though its gate may take it a while',
    view: seeks(after(60_000, returning(9_000, { position: lsn(END + 1n) }))),
    rule: 'leaderless.wait-for-returning',
    actions: ['ask-peers'],
  },
  {
    name: 'waits for nothing once we have what it has',
    view: seeks(after(60_000, returning(9_000, {}))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not wait for one that may not lead',
    view: seeks(after(100, returning(50, { state: 'starting', priority: 0 }))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not wait for one that has no data',
    view: seeks(after(100, returning(50, { state: 'stopped', inRecovery: false, timeline: null, position: null }))),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not wait after a release: it says where the WAL ends',
    view: seeks(after(100, { ...returning(50, { state: 'stopped' }), gate: aGate({ beat: aRelease(null) }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
];

/** `c` has more than we have. */
const betterC = { position: lsn(END + 1n) } as const;

export const byTurn: readonly Case[] = [
  {
    name: 'gives the better one his turn after whatever has held both back',
    view: seeks(after(5_000, { heldBackAt: before(150), peers: others(betterC) })),
    rule: 'leaderless.stand-back',
    actions: [],
    again: 650,
  },
  {
    name: 'goes when that turn is over',
    view: seeks(after(5_000, { heldBackAt: before(800), peers: others(betterC) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'goes at once after it when it is the best itself',
    view: seeks(after(5_000, { heldBackAt: before(1) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'waits for the command of the better one after a long hold, too',
    view: seeks(
      after(90_000, {
        heldBackAt: before(5_000),
        peers: others({ ...betterC, validates: true, validating: true }),
      }),
    ),
    rule: 'leaderless.stand-back',
    actions: ['ask-peers'],
  },
  {
    name: 'is not held back by who saw itself lead a moment ago',
    view: seeks(
      after(100, {
        set: consensus,
        lastLeader: nodeName('b'),
        peers: others({ sawPrimary: millis(10), sawPrimaryOf: nodeName('b') }),
      }),
    ),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
];

export const byOnlookers: readonly Case[] = [
  {
    name: 'ends its receiver although it never leads: the candidates wait for all of them',
    view: seeks(after(100, { set: disconnect, node: { priority: 0 }, local: aStandby() })),
    rule: 'leaderless.stop-receiving',
    actions: ['stop-receiving'],
  },
  {
    name: 'does not try that for longer than anybody waits for it',
    view: seeks(after(5_000, { set: disconnect, node: { priority: 0 }, local: aStandby() })),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'does not do so while it still sees the primary',
    view: seeks(
      after(100, {
        set: { ...disconnect, ...consensus },
        node: { noFailover: true },
        local: aStandby(),
        sawPrimary: millis(10),
      }),
    ),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
  {
    name: 'goes on receiving when it only lags behind: it may yet become a candidate',
    view: seeks(
      after(100, {
        set: disconnect,
        local: aStandby({ received: at('0/3000000'), replayed: at('0/3000000') }),
      }),
    ),
    rule: 'leaderless.not-eligible',
    actions: [],
  },
];

const wish = (candidate: string) => aCluster({ leader: null, failover: aRequest({ candidate }) });

/** An operator asked for a switchover to `candidate`, who is not there; `by` led last, and is a standby now. */
const gaveItUpFor = (candidate: string, by: string): ViewOver => {
  const beat = aBeat({ holdMs: 0, release: { lsn: END, candidate: nodeName(candidate), asked: true } });
  return {
    gate: aGate({ beat }),
    lastLeader: nodeName(by),
    cluster: aCluster({ leader: null, status: aStatus({ beat, leader: nodeName(by) }) }),
    peers: peers({ a: aSilentPeer(), c: aSilentPeer() }),
  };
};

export const byHandOnly: readonly Case[] = [
  {
    name: 'manual: a handover that an operator asked for is an order',
    view: seeks(
      after(100, {
        set: { failover: 'manual' },
        gate: aGate({ beat: aBeat({ holdMs: 0, release: { lsn: END, candidate: nodeName('b'), asked: true } }) }),
      }),
    ),
    rule: 'leaderless.chosen',
    actions: ['acquire'],
  },
  {
    name: 'manual: the one who gave the key up for somebody whom an operator had asked for takes it back when that one does not come',
    view: seeks(after(NOW, { set: { failover: 'manual' }, ...gaveItUpFor('c', 'b') })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'manual: nobody else takes it then',
    view: seeks(after(NOW, { set: { failover: 'manual' }, ...gaveItUpFor('c', 'a') })),
    rule: 'leaderless.manual',
    actions: [],
  },
  {
    name: 'asks its validation command nothing about a handover that an operator asked for',
    view: seeks(
      after(100, {
        node: validates,
        gate: aGate({ beat: aBeat({ holdMs: 0, release: { lsn: END, candidate: nodeName('b'), asked: true } }) }),
      }),
    ),
    rule: 'leaderless.chosen',
    actions: ['acquire'],
  },
  {
    name: 'does not wait for ever for the one an operator named, who may not go for a reason of his own',
    view: seeks(after(NOW, { cluster: wish('c'), wishSince: before(60_000), peers: others({ position: END }) })),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'waits for that one within primary_notification_timeout',
    view: seeks(after(NOW, { cluster: wish('c'), wishSince: before(59_999), peers: others({ position: END }) })),
    rule: 'leaderless.stand-back',
    actions: ['ask-peers'],
  },
  {
    name: 'asks its command also while a switchover of the lost leader is scheduled for another day',
    view: seeks(
      after(100, {
        node: validates,
        cluster: aCluster({
          leader: null,
          failover: aRequest({ leader: 'a', candidate: 'c', scheduledAt: '2026-12-24T00:00:00Z' }),
        }),
      }),
    ),
    rule: 'leaderless.validate',
    actions: ['validate'],
  },
  {
    name: 'manual: names who would take over, also when that is another one',
    view: seeks(after(NOW, { set: { failover: 'manual' }, peers: others({ position: lsn(END + 1n) }) })),
    rule: 'leaderless.manual',
    actions: [],
  },
  {
    name: 'manual: a release that names this node is no order',
    view: seeks(after(100, { set: { failover: 'manual' }, gate: aGate({ beat: aRelease('b') }) })),
    rule: 'leaderless.manual',
    actions: [],
  },
];
