/**
 * Planted bugs: small edits of the source that each let a story of protocol.md 9 (or a row of simulation.md 7) happen,
 * with the invariants that have to notice. A mutant that survives its budget fails the build; the answer is a better
 * fault or a nearer invariant, not more seeds. Stories 12 (safe), 13's clock that stands still and 20 (a member that
 * starts anew and owns the key without knowing) are not here. A copy is not cancelled when its source loses the lead: who
 * leads is asked before data go, and what was copied is compared with whoever leads by then before it is started.
 */

import type { Plan, PlannedFault } from '../plan.ts';
import type { Story } from '../stories.ts';

export interface Edit {
  readonly file: string;
  /** Must be there exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly name: string;
  /** Which story it lets happen. */
  readonly story: string;
  readonly edits: readonly Edit[];
  readonly caughtBy: readonly string[];
  /** Not looked at, so that what the bug leads to has to show it and not only the shape of a request. */
  readonly mute?: readonly string[];
  /** Stories that all plans of this mutant tell (stories.ts); left out: plans as always. */
  readonly focus?: readonly Story[];
  /** What all plans of this mutant have: settings that it is about. */
  readonly shape?: Partial<Plan>;
  /** Budget. */
  readonly seeds: number;
}

const LEADERSHIP = 'src/core/leadership.ts';
const KEEPER = 'src/agent/lease-keeper.ts';
const AGENT = 'src/agent/agent.ts';
const ACT = 'src/agent/act.ts';
const LEADING = 'src/core/situations/leading.ts';
const LEADERLESS = 'src/core/situations/leaderless.ts';
const QUORUM = 'src/core/quorum.ts';
const AILING = 'src/core/situations/ailing.ts';
const CLASSIFY = 'src/core/classify.ts';
const MAINTENANCE = 'src/core/situations/maintenance.ts';
const REJOINING = 'src/core/situations/rejoining.ts';
const SLOTS = 'src/core/slots.ts';
const POOLERS = 'src/agent/poolers.ts';

/** Two poolers in front. */
const POOLED: Partial<Plan> = { poolers: 2 };

/** Three nodes, and it is known who leads. */
const LED_BY_A: Partial<Plan> = { nodes: ['a', 'b', 'c'], brought: { node: 'a', as: 'running primary' }, members: {} };
/** The daemon of the leader is away for a while, and the scope is given to foreign data in an emptied etcd. */
const givenAway = (away: PlannedFault['fault']): Partial<Plan> => ({
  nodes: ['a', 'b'],
  brought: { node: 'a', as: 'running primary' },
  members: {},
  settings: { ttlMs: 30_000, loopWaitMs: 10_000, retryTimeoutMs: 10_000 },
  profile: 'the scope is given away while its leader is',
  faults: [
    { when: { at: 20_000 }, fault: away },
    { when: { at: 21_000 }, fault: { kind: 'foreign-data', node: 'b', bootAfter: 3_000 } },
    { when: { at: 22_000 }, fault: { kind: 'etcd-wipe' } },
  ],
});
/** Whoever led first is away for long, and comes up alone in an emptied etcd. */
const OLDER_LEADS: Partial<Plan> = {
  ...LED_BY_A,
  settings: { ttlMs: 5_000, loopWaitMs: 1_000, retryTimeoutMs: 1_000 },
  config: { maximum_lag_on_failover: 2_000 },
  profile: 'an older primary alone in an emptied etcd',
  faults: [
    { when: { at: 4_000 }, fault: { kind: 'cut', node: 'a', plane: 'replication', oneWay: false, for: 3_000 } },
    { when: { at: 5_000 }, fault: { kind: 'power-loss', node: 'a', bootAfter: 112_000 } },
    { when: { at: 105_000 }, fault: { kind: 'power-loss', node: 'b', bootAfter: 50_000 } },
    { when: { at: 105_000 }, fault: { kind: 'power-loss', node: 'c', bootAfter: 50_000 } },
    { when: { at: 110_000 }, fault: { kind: 'etcd-wipe' } },
  ],
  safetyMs: 170_000,
  healthyNodes: ['a', 'b', 'c'],
};
/** Settings under which commits wait. */
const ON: Partial<Plan> = { config: { synchronous_mode: 'on' } };
const QUORUM_MODE: Partial<Plan> = { config: { synchronous_mode: 'quorum' } };
/** Standbys lag behind, so a lost node takes acknowledged writes along. */
const LAGGING: Plan['postgres'] = {
  replicationDelayMs: 400,
  slowPromotionChance: 0.02,
  slowStartChance: 0.05,
  failChance: 0.02,
  mayCopyAnew: true,
};

/** What ails a disk is noticed and acted on within seconds. */
const SICK: Partial<Plan> = {
  ...LED_BY_A,
  config: { disk_check_interval: 1, disk_hang_timeout: 2, sick_failover_delay: 1, sick_failover_rest: 5 },
};
const hangs = (node: string, at: number, ms: number): PlannedFault => ({
  when: { at },
  fault: { kind: 'sick', node, of: 'hang', for: ms },
});

/** In one of the transactions of core/leadership.ts; `from` is unique to it. */
function inTxn(from: string, without: string): Edit {
  return { file: LEADERSHIP, find: from, replace: from.replace(without, '') };
}

const ON_STATUS = `      { key: KEYS.status, modRevision: tenure.statusRevision },\n`;
const BEAT_CONDITIONS = `  const beat: Beat = { term: tenure.term, seq, holdMs, release: null };
  return {
    compare: [
      { key: KEYS.leader, modRevision: tenure.term },
      { key: KEYS.leader, lease: tenure.lease },
      { key: KEYS.status, modRevision: tenure.statusRevision },
`;
const RELEASE_CONDITIONS = `  const beat: Beat = { term: tenure.term, seq, holdMs: endless ? null : left, release: final };
  return {
    compare: [
      { key: KEYS.leader, modRevision: tenure.term },
      { key: KEYS.leader, lease: tenure.lease },
      { key: KEYS.status, modRevision: tenure.statusRevision },
`;
const ACQUIRE_CONDITIONS = `export function acquireTxn(self: NodeName, lease: LeaseId, statusRevision: Revision, listRevision: Revision): Txn {
  return {
    compare: [
      { key: KEYS.leader, createRevision: ABSENT },
      { key: KEYS.status, modRevision: statusRevision },
`;

/**
 * Rule 13 lets nobody acquire before the gate has passed; the waits after winning (rules 14 to 16) are a second line
 * behind it. To see whether a hole in the second line is noticed, the first is taken away: that alone is safe.
 */
const ACQUIRE_EARLY: readonly Edit[] = [
  {
    file: KEEPER,
    find: '!gateOpen(known, clock.now())',
    replace: '!gateOpen(known, laterBy(clock.now(), millis(1e9)))',
  },
  {
    file: 'src/core/situations/leaderless.ts',
    find: `  if (!gateOpen(view.gate, view.now)) return waitAtTheGate(view);
  const vetoed = stillVetoed(view);`,
    replace: '  const vetoed = stillVetoed(view);',
  },
  {
    file: 'src/agent/agent.ts',
    find: `return gate.opensAt !== 'never' && this.parts.clock.now() >= gate.opensAt;`,
    replace: `return gate.opensAt !== 'never' && cluster.leader === null;`,
  },
];

/** As `dcs.keepAlive` after the beat instead of before it; S stays where it was. */
const BEAT_FIRST: readonly Edit[] = [
  {
    file: KEEPER,
    find: `    const keepAlive = await dcs.keepAlive(started.lease, this.callLimit());
    if (keepAlive.kind === 'unanswered') return false;
    if (keepAlive.kind === 'renewed' && this.tenure !== null) this.tenure = { ...this.tenure, ttl: keepAlive.ttl };
`,
    replace: '',
  },
  {
    file: KEEPER,
    find: 'this.heldFor = hold;',
    replace: `const keepAlive = await dcs.keepAlive(started.lease, this.callLimit());
          this.heldFor = hold;`,
  },
];

/**
 * A new etcd leader gives every lease its full time again, and an election more. A beat that was applied in the old term
 * was so before that election: whatever a stuck leader confirms in the old term, nobody revokes the lease before S + TTL.
 * All that is left of story 15 is a lease that would have run out while nobody led, which S2 sees in one seed of 400. An
 * etcd that keeps what was left of each lease (it has checkpoints of leases for that) takes this away.
 */
const LEASES_GO_ON: Edit = {
  file: 'test/sim/models/etcd.ts',
  find: `      lease.deadline = this.scheduler.now() + lease.ttl + this.electionTimeoutMs;
`,
  replace: '',
};

/** Plans in which the mode is on. */
const FAILSAFE: Partial<Plan> = { config: { failsafe_mode: true } };

/** Etcd is restored, behind a split, to after what two of three have read and before somebody led. */
const RESTORED_BEHIND_A_SPLIT: Partial<Plan> = {
  nodes: ['a', 'b', 'c'],
  etcdMembers: 1,
  settings: { ttlMs: 15_000, loopWaitMs: 3_000, retryTimeoutMs: 4_000 },
  clockRates: [1, 1, 1],
  policy: { primaryCrash: 'failover', visibilityConsensus: false, neverLeads: null },
  config: { failsafe_mode: false },
  members: {},
  brought: { node: 'a', as: 'stopped primary' },
  profile: 'a release, and an etcd restored behind a split',
  faults: [
    { when: { at: 14_000 }, fault: { kind: 'switchover', to: 'other' } },
    {
      when: { on: 'key-gone', nth: 1, node: null, after: 0 },
      fault: { kind: 'split', nodes: ['b', 'c'], etcd: 'these', for: 15_000 },
    },
    {
      when: { on: 'acquire-sent', nth: 1, node: null, after: 1_000 },
      fault: { kind: 'daemon-restart', node: 'primary', restartAfter: 7_000 },
    },
    { when: { at: 29_000 }, fault: { kind: 'etcd-restore', ageMs: 8_000, newCluster: false } },
  ],
};

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'beat without R',
    story: '1: a delayed beat with a shorter hold lands after the window was opened',
    edits: [...ACQUIRE_EARLY, inTxn(BEAT_CONDITIONS, ON_STATUS)],
    caughtBy: ['P1', 'P3', 'S1'],
    mute: ['S10'],
    focus: ['next one fails at the gate', 'ttl changed'],
    seeds: 200,
  },
  {
    name: 'beat without any condition',
    story: '1: the beat of a former leader lands in the term of the next one',
    edits: [
      inTxn(
        BEAT_CONDITIONS,
        `      { key: KEYS.leader, modRevision: tenure.term },
      { key: KEYS.leader, lease: tenure.lease },
      { key: KEYS.status, modRevision: tenure.statusRevision },
`,
      ),
    ],
    caughtBy: ['S10'],
    seeds: 5,
  },
  {
    name: 'release without R',
    story: '2: a delayed release lands after the leader has gone on with a newer beat',
    edits: [inTxn(RELEASE_CONDITIONS, ON_STATUS)],
    caughtBy: ['P1', 'S1', 'S3', 'S2'],
    mute: ['S10'],
    focus: ['release unanswered'],
    seeds: 150,
  },
  {
    name: 'release without term and lease',
    story: 'the key is deleted without its revision',
    edits: [
      inTxn(
        RELEASE_CONDITIONS,
        `      { key: KEYS.leader, modRevision: tenure.term },
      { key: KEYS.leader, lease: tenure.lease },
`,
      ),
    ],
    caughtBy: ['S10'],
    seeds: 20,
  },
  {
    name: 'writing again after a release of unknown fate',
    story: '2: the release was sent, nothing was heard, Postgres is started again and the release lands',
    edits: [
      {
        file: KEEPER,
        find: 'if (!this.tenure.releaseSent) return true;',
        replace: 'this.tenure = { ...this.tenure, releaseSent: false }; return true;',
      },
      { file: KEEPER, find: 'releaseSent: true, until: LONG_AGO }', replace: 'releaseSent: false }' },
    ],
    caughtBy: ['P4', 'P1', 'S1'],
    focus: ['release unanswered'],
    seeds: 150,
  },
  {
    name: 'window from the answer',
    story: '3: the window is counted from the answer instead of the sending',
    edits: [
      {
        file: LEADERSHIP,
        find: 'return latest(tenure.until, laterBy(proof.sentAt, proof.hold));',
        replace: 'return latest(tenure.until, laterBy(arrived, proof.hold));',
      },
    ],
    caughtBy: ['P2'],
    seeds: 10,
  },
  {
    name: 'members who confirm prolong what was open before',
    story: 'P2: the machine stood still in between, and the clock that tells the end of it did too',
    edits: [
      {
        file: KEEPER,
        find: 'const until = this.clocksDoubted ? laterBy(proof.sentAt, proof.hold) : counted;',
        replace: 'const until = counted;',
      },
    ],
    caughtBy: ['P2', 'P1', 'S1'],
    shape: {
      config: { failsafe_mode: true },
      nodes: ['a', 'b', 'c'],
      settings: { ttlMs: 30_000, loopWaitMs: 10_000, retryTimeoutMs: 10_000 },
      profile: 'a leader without etcd stood still',
      faults: [
        { when: { at: 20_000 }, fault: { kind: 'postmaster-kill', node: 'holder', orphans: false } },
        {
          when: { on: 'key-won', nth: 1, node: null, after: 0 },
          fault: { kind: 'ttl', ttlMs: 5_000, loopWaitMs: 1_000, retryTimeoutMs: 1_000 },
        },
        { when: { at: 26_000 }, fault: { kind: 'machine-suspend', node: 'holder', for: 14_500, bootClock: true } },
        {
          when: { at: 26_000 },
          fault: { kind: 'cut', node: 'holder', plane: 'daemon-etcd', oneWay: false, for: 80_000 },
        },
      ],
    },
    seeds: 60,
  },
  {
    name: 'who has just started takes foreign data for the cluster that etcd has forgotten',
    story: 'another member runs, and knows which cluster the scope was',
    edits: [
      {
        file: 'src/core/situations/joining.ts',
        find: 'if (view.formerCluster !== null || view.takeOverAsked === true) return null;',
        replace: 'if (cluster.initialize === null) return null;',
      },
    ],
    caughtBy: ['S9'],
    shape: {
      ...LED_BY_A,
      profile: 'foreign data, and etcd is emptied',
      faults: [
        { when: { at: 20_000 }, fault: { kind: 'daemon-pause', node: 'a', for: 40_000 } },
        { when: { at: 21_000 }, fault: { kind: 'etcd-wipe' } },
        { when: { at: 30_000 }, fault: { kind: 'foreign-data', node: 'b', bootAfter: 3_000 } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'sync: a key that was refused is tried again at once',
    story: 'S14: it is refused for as long as the leader key has to be taken again',
    edits: [{ file: 'src/agent/sync-keeper.ts', find: 'if (!landed) return this.again(LOOK_AGAIN);', replace: '' }],
    caughtBy: ['S14'],
    shape: {
      ...QUORUM_MODE,
      nodes: ['a', 'b', 'c'],
      settings: { ttlMs: 10_000, loopWaitMs: 2_000, retryTimeoutMs: 3_000 },
      config: { failsafe_mode: true, synchronous_mode: 'quorum' },
      profile: 'the key cannot be taken again',
      faults: [
        {
          when: { at: 1_000 },
          fault: { kind: 'request', node: 'holder', request: 'retake', fate: 'late', ms: 2_000, count: 12 },
        },
        {
          when: { at: 1_000 },
          fault: { kind: 'cut', node: 'holder', plane: 'daemon-etcd', oneWay: false, for: 11_000 },
        },
        { when: { at: 1_200 }, fault: { kind: 'daemon-kill', node: 'b', restartAfter: 500 } },
      ],
    },
    seeds: 100,
  },
  {
    name: 'a daemon that goes on with the primary of an earlier one leaves the scope to whom it was given meanwhile',
    story: 'etcd was emptied while its daemon was being restarted, and foreign data were brought along',
    edits: [
      {
        file: KEEPER,
        find: 'this.servedCluster = stored.ledAs;',
        replace: '',
      },
    ],
    caughtBy: ['L2', 'L1'],
    shape: givenAway({ kind: 'daemon-kill', node: 'a', restartAfter: 12_000 }),
    seeds: 60,
  },
  {
    name: 'a leader leaves the scope to whom it was given while its key was missing',
    story: 'etcd was emptied while its daemon stood still, and foreign data were brought along',
    edits: [
      {
        file: 'src/agent/upkeep.ts',
        find: 'if (isGiven && this.agent.keeper.ledAs !== own) return;',
        replace: 'if (isGiven) return;',
      },
    ],
    caughtBy: ['L2', 'L1'],
    shape: givenAway({ kind: 'daemon-pause', node: 'a', for: 12_000 }),
    seeds: 60,
  },
  {
    name: 'a backup of before etcd was emptied is taken for the newest word',
    story: 'P3: its revisions are higher than those of the emptied etcd, and nothing goes back',
    edits: [
      {
        file: 'src/agent/cluster-reader.ts',
        find: '(this.snapshot !== null && !isOneHistory(this.snapshot, snapshot, KEYS.status)) ||',
        replace: '',
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    shape: {
      ...LED_BY_A,
      profile: 'a backup of before etcd was emptied',
      faults: [
        { when: { at: 30_000 }, fault: { kind: 'etcd-wipe' } },
        { when: { at: 44_000 }, fault: { kind: 'cut', node: 'a', plane: 'daemon-etcd', oneWay: false, for: 20_000 } },
        { when: { at: 45_000 }, fault: { kind: 'etcd-restore', ageMs: 20_000, newCluster: false } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'the first status in an emptied etcd is the newest word, also where it comes from a backup',
    story: 'P3: nobody led in it, and then a backup of before maintenance was put over it',
    edits: [
      {
        file: 'src/core/gate.ts',
        find: 'return (known.revision !== ABSENT || arrival.told === true) && vouches(arrival);',
        replace: 'return vouches(arrival);',
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    shape: {
      ...LED_BY_A,
      profile: 'a backup of before maintenance over an emptied etcd',
      faults: [
        { when: { at: 20_000 }, fault: { kind: 'maintenance', for: 200_000 } },
        { when: { at: 40_000 }, fault: { kind: 'cut', node: 'a', plane: 'daemon-etcd', oneWay: false, for: 150_000 } },
        { when: { at: 45_000 }, fault: { kind: 'etcd-wipe' } },
        { when: { at: 55_000 }, fault: { kind: 'etcd-restore', ageMs: 40_000, newCluster: false } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'a key that a backup has brought back is taken up behind another leader in maintenance',
    story: 'P3: nobody led in the emptied etcd, and the backup is of when this one led',
    edits: [
      {
        file: KEEPER,
        find: 'if (leader !== null && fromBackup !== null) this.disown(',
        replace: 'if (leader !== null && fromBackup !== null && this.stopped) this.disown(',
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    shape: {
      ...LED_BY_A,
      settings: { ttlMs: 10_000, loopWaitMs: 10_000, retryTimeoutMs: 3_000 },
      profile: 'a backup of when another one led, over an emptied etcd',
      faults: [
        { when: { at: 20_000 }, fault: { kind: 'switchover', to: 'other' } },
        { when: { at: 42_000 }, fault: { kind: 'daemon-kill', node: 'a', restartAfter: 200 } },
        { when: { at: 48_000 }, fault: { kind: 'maintenance', for: 200_000 } },
        {
          when: { at: 54_000 },
          fault: { kind: 'cut', node: 'holder', plane: 'daemon-etcd', oneWay: false, for: 150_000 },
        },
        { when: { at: 60_000 }, fault: { kind: 'etcd-wipe' } },
        { when: { at: 63_000 }, fault: { kind: 'etcd-restore', ageMs: 46_000, newCluster: false } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'in a restored etcd a member waits no longer than what he has read himself',
    story: 'P3: a longer TTL was set while he was cut off, and is lost with the old etcd',
    edits: [
      {
        file: KEEPER,
        find: 'this.known = noShorterThanLost(vouchedFor(this.known, answers), answers);',
        replace: 'this.known = vouchedFor(this.known, answers);',
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    shape: {
      ...LED_BY_A,
      settings: { ttlMs: 10_000, loopWaitMs: 2_000, retryTimeoutMs: 3_000 },
      profile: 'a longer ttl is lost',
      faults: [
        { when: { at: 38_000 }, fault: { kind: 'split', nodes: ['a', 'b'], etcd: 'rest', for: 10_000 } },
        { when: { at: 44_500 }, fault: { kind: 'ttl', ttlMs: 30_000, loopWaitMs: 10_000, retryTimeoutMs: 10_000 } },
        { when: { at: 47_000 }, fault: { kind: 'etcd-restore', ageMs: 29_000, newCluster: false } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'sync: a primary starts without waiting, though the key names voters',
    story: 'S6: the mode was switched off a moment ago',
    edits: [
      {
        file: AGENT,
        find: 'return this.resolved.server.synchronous || voters.length > 0;',
        replace: 'return this.resolved.server.synchronous || voters.length > 99;',
      },
    ],
    caughtBy: ['S6', 'S4'],
    shape: {
      ...QUORUM_MODE,
      ...LED_BY_A,
      profile: 'the mode is switched off while the primary is down',
      faults: [
        { when: { at: 20_000 }, fault: { kind: 'daemon-pause', node: 'a', for: 4_000 } },
        { when: { at: 20_100 }, fault: { kind: 'postmaster-kill', node: 'a', orphans: false } },
        { when: { at: 21_000 }, fault: { kind: 'settings', patch: { synchronous_mode: 'off' }, for: 3_100 } },
      ],
      policy: { primaryCrash: 'restart', visibilityConsensus: true, neverLeads: null },
      settings: { ttlMs: 30_000, loopWaitMs: 10_000, retryTimeoutMs: 10_000 },
    },
    seeds: 120,
  },
  {
    name: 'sync: what was written counts by the revisions of an etcd that is gone',
    story: 'the key is not kept any more, and a standby that stops counts for ever',
    edits: [
      {
        file: 'src/agent/sync-keeper.ts',
        find: '    this.ownRevision = null;\n    this.pending = null;\n  }',
        replace: '  }',
      },
    ],
    caughtBy: ['L2', 'L1', 'S4', 'S6'],
    shape: {
      ...QUORUM_MODE,
      ...LED_BY_A,
      profile: 'etcd is emptied',
      faults: [
        { when: { at: 15_000 }, fault: { kind: 'etcd-wipe' } },
        { when: { at: 30_000 }, fault: { kind: 'power-loss', node: 'b', bootAfter: 60_000 } },
        { when: { at: 30_500 }, fault: { kind: 'power-loss', node: 'c', bootAfter: 60_000 } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'a restarted candidate holds its gate for passed',
    story: '4: what was read first counts as seen long ago',
    edits: [
      {
        file: 'src/core/gate.ts',
        find: 'const hold = holdOf(arrival);',
        replace: 'const hold = known === null ? millis(0) : holdOf(arrival);',
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    focus: ['candidate restarted'],
    seeds: 60,
  },
  {
    name: 'what is read after a long silence counts as the newest word',
    story: '4: who led after what a backup holds, while etcd was not heard here, is not waited for',
    edits: [
      {
        file: 'src/core/gate.ts',
        find: 'return stoodStill === true || between(known.readAt, readAt) > clusterTtl / 2;',
        replace: 'return stoodStill === true || between(known.readAt, readAt) > 100 * clusterTtl;',
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    shape: RESTORED_BEHIND_A_SPLIT,
    seeds: 150,
  },
  {
    name: 'who was cut off himself vouches for what is read after a silence',
    story: '4: two who were silent together take each other for those who have read etcd all the while',
    edits: [{ file: 'src/core/gate.ts', find: 'if (readAfter && readBefore)', replace: 'if (readAfter)' }],
    caughtBy: ['P3', 'P1', 'S1'],
    shape: RESTORED_BEHIND_A_SPLIT,
    seeds: 150,
  },
  {
    name: 'a release in a restored etcd opens the gate at once',
    story: '4: who led after the release that the backup holds is not waited for',
    edits: [
      {
        file: 'src/core/gate.ts',
        find: 'if (known === null || (!restarted && !isOld && vouchesAfter(known, arrival))) return opens;',
        replace: 'if (known === null || (!isOld && vouchesAfter(known, arrival))) return opens;',
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    shape: {
      ...LED_BY_A,
      profile: 'a release in a restored etcd',
      faults: [
        // Nobody is there to take over from the release for so long that a backup holds it.
        { when: { at: 3_000 }, fault: { kind: 'cut', node: 'b', plane: 'daemon-etcd', oneWay: false, for: 12_000 } },
        { when: { at: 3_000 }, fault: { kind: 'cut', node: 'c', plane: 'daemon-etcd', oneWay: false, for: 12_000 } },
        { when: { at: 5_000 }, fault: { kind: 'daemon-stop', node: 'a', restartAfter: 60_000 } },
        {
          when: { on: 'promoted', nth: 1, node: null, after: 0 },
          fault: { kind: 'daemon-pause', node: 'event', for: 30_000 },
        },
        {
          when: { on: 'promoted', nth: 1, node: null, after: 0 },
          fault: { kind: 'etcd-restore', ageMs: 4_000, newCluster: true },
        },
      ],
    },
    seeds: 60,
  },
  {
    name: 'settings that are gone from etcd become those of the file',
    story: 'S17: somebody garbles the settings, and what operators had set since the cluster was made is forgotten',
    edits: [
      {
        file: 'src/agent/upkeep.ts',
        find: 'JSON.stringify(stored ?? settings.initialConfig)',
        replace: 'JSON.stringify(settings.initialConfig)',
      },
    ],
    caughtBy: ['S17'],
    shape: {
      profile: 'settings are garbled',
      faults: [
        {
          when: { at: 1_000 },
          fault: { kind: 'settings', patch: { maximum_lag_on_failover: 5_000_000 }, for: 90_000 },
        },
        { when: { at: 30_000 }, fault: { kind: 'garbage', key: 'config', value: 'not JSON' } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'acquire without R',
    story: '5: an acquire that hung lands on an absent key, behind a leadership it knows nothing of',
    edits: [inTxn(ACQUIRE_CONDITIONS, `      { key: KEYS.status, modRevision: statusRevision },\n`)],
    caughtBy: ['P3', 'P1', 'S1'],
    mute: ['S10'],
    focus: ['stale candidate'],
    seeds: 150,
  },
  {
    name: 'own key found, no gate',
    story: '6: an acquire whose answer was lost; the key is found and nothing is waited for',
    edits: [
      ...ACQUIRE_EARLY,
      {
        file: KEEPER,
        find: `const gate = behind === 'never' ? anew : behind;`,
        replace: 'const gate = this.parts.clock.now();',
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    focus: ['acquire unanswered'],
    seeds: 80,
  },
  {
    name: 'promotion without the gate',
    story: '7: the proof opens a window although the inherited gate has not passed',
    edits: [
      ...ACQUIRE_EARLY,
      { file: LEADERSHIP, find: 'if (proof.sentAt < tenure.gate) return null;', replace: '' },
      {
        file: LEADERSHIP,
        find: 'if (sentAt < tenure.gate) return millis(Math.ceil(between(sentAt, tenure.gate)));',
        replace: '',
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    focus: ['revoked while cut off'],
    seeds: 40,
  },
  {
    name: 'a stored leadership is believed with its window',
    story: '7: the daemon starts again and takes its window for open without a proof',
    edits: [
      {
        file: KEEPER,
        find: 'const until = deadline === null ? LONG_AGO : laterBy(deadline, margin(stored.ttl));',
        replace: 'const until = laterBy(this.parts.clock.now(), stored.ttl);',
      },
    ],
    caughtBy: ['P2'],
    seeds: 200,
  },
  {
    name: 'numbers of beats start again with the process',
    story:
      '7: the last beat of an earlier process is taken for ours, and a window opens for which nothing stands in etcd',
    edits: [{ file: KEEPER, find: 'return Math.floor(this.parts.clock.now());', replace: 'return 0;' }],
    caughtBy: ['P2'],
    focus: ['new leader restarted'],
    seeds: 60,
  },
  {
    name: 'no hold while waiting at the gate',
    story: '8: the beats of one who waits say nothing of what it inherited',
    edits: [
      ...ACQUIRE_EARLY,
      {
        file: LEADERSHIP,
        find: 'if (sentAt < tenure.gate) return millis(Math.ceil(between(sentAt, tenure.gate)));',
        replace: 'if (sentAt < tenure.gate) return millis(0);',
      },
    ],
    caughtBy: ['P1', 'P3', 'S1'],
    focus: ['next one fails at the gate'],
    seeds: 60,
  },
  {
    name: 'the guard is not waited for',
    story: '9: the window opens although no guard has acked its deadline',
    edits: [
      { file: KEEPER, find: `if (answer.kind === 'silent') {`, replace: `if (answer.kind === ('never' as string)) {` },
    ],
    caughtBy: ['P2', 'S2'],
    focus: ['guard killed'],
    seeds: 300,
  },
  {
    name: 'promote first, arm second',
    story: '9: nothing ends the new primary when the daemon is stopped between the two',
    edits: [
      {
        file: KEEPER,
        find: 'const answer = await guard.arm({ deadline, dataDirectory: this.parts.dataDirectory, proven, clocks }, GUARD_LIMIT);',
        replace: `this.tenure = { ...tenure, until };
    this.parts.onChange('proof');
    await clock.sleep(millis(60));
    const answer = await guard.arm({ deadline, dataDirectory: this.parts.dataDirectory, proven, clocks }, GUARD_LIMIT);`,
      },
    ],
    caughtBy: ['P2', 'S2'],
    seeds: 20,
  },
  {
    name: 'a lowered TTL shortens the hold at once',
    story: '10: the window of the old TTL is still open when a beat says the new one',
    edits: [
      {
        file: LEADERSHIP,
        find: 'return millis(Math.ceil(longest(ttl, between(sentAt, tenure.until))));',
        replace: 'return millis(Math.ceil(longest(ttl, millis(0))));',
      },
    ],
    caughtBy: ['P1', 'S1'],
    focus: ['ttl changed'],
    seeds: 60,
  },
  {
    name: "gate counted with one's own TTL",
    story: "10: a candidate waits what it has configured, not what the leader's beat says",
    edits: [
      {
        file: 'src/core/gate.ts',
        find: `return status.beat.holdMs === null ? 'never' : millis(status.beat.holdMs);`,
        replace: `return status.beat.holdMs === null ? 'never' : arrival.ownTtl;`,
      },
    ],
    caughtBy: ['P3', 'P1', 'S1'],
    focus: ['ttl changed'],
    seeds: 150,
  },
  {
    // Either condition alone is enough: when the window has passed the guard has ended Postgres, and while that is not
    // known here the clock says it. So both are taken away.
    name: 'taking the key again too late',
    story: '11: the window has passed, another one leads and has lost the key in its own window, and it is taken again',
    edits: [
      {
        file: KEEPER,
        find: 'const inTime = (): boolean => this.pausedBeat || clock.now() < deadlineOf(tenure.until, tenure.ttl);',
        replace: 'const inTime = (): boolean => tenure.term >= 0n;',
      },
      {
        file: KEEPER,
        find: 'if (tenure.releaseSent || !inTime() || !this.parts.isPrimary()) {',
        replace: 'if (tenure.releaseSent || !inTime()) {',
      },
      // That status tells of the next one would hide it.
      {
        file: KEEPER,
        find: 'if (this.mayHaveBeenSucceeded(verdict, tenure.statusRevision)) {',
        replace: 'if (this.pausedBeat && !verdict.ours) {',
      },
    ],
    caughtBy: ['S1', 'P1', 'S8'],
    focus: ['back while the next one has lost the key'],
    seeds: 60,
  },
  {
    name: 'no margin',
    story: '13: the guard strikes when the window ends, and not before',
    edits: [
      {
        file: 'src/core/lease.ts',
        find: 'return millis(Math.max(1000, 500 + ttl / 250));',
        replace: 'return millis(ttl * 0);',
      },
    ],
    caughtBy: ['P2'],
    seeds: 5,
  },
  {
    name: 'raft terms not compared',
    story: '14: a stuck former leader of etcd confirms a lease that the majority has given up',
    edits: [
      {
        file: LEADERSHIP,
        find: 'return keepAliveTerm === beatTerm;',
        replace: 'return keepAliveTerm !== null && beatTerm !== null;',
      },
    ],
    caughtBy: ['S2'],
    focus: ['etcd stuck'],
    seeds: 100,
  },
  {
    name: 'beat before the keepalive',
    story: '15: the beat succeeds, and a stuck former leader of etcd confirms a dying lease in the term of the beat',
    edits: [...BEAT_FIRST, LEASES_GO_ON],
    caughtBy: ['S2'],
    // It takes S for the sending of a keepalive before the beat, and would only find the wrong order.
    mute: ['P2'],
    focus: ['etcd stuck between beat and keepalive'],
    seeds: 40,
  },
  {
    name: 'leases that an election does not prolong are safe',
    story: '15 with its order right: not a bug but the proof that the order is what counts; must survive',
    edits: [LEASES_GO_ON],
    caughtBy: [],
    focus: ['etcd stuck between beat and keepalive', 'etcd stuck'],
    seeds: 60,
  },
  {
    name: 'proof from the keepalive alone',
    story: '14: the answer of the keepalive opens the window, whatever becomes of the beat',
    edits: [
      {
        file: KEEPER,
        find: `case 'unknown':\n          return false;`,
        replace: `case 'unknown':\n          return keepAlive.kind === 'renewed' ? this.openWindow({ sentAt, hold, clocks }, false) : false;`,
      },
    ],
    caughtBy: ['P2', 'S2'],
    seeds: 300,
  },
  {
    name: 'unknown outcome of a beat taken as applied',
    story: 'simulation.md 7',
    edits: [
      {
        file: KEEPER,
        find: `if (answer.kind !== 'answered') return { kind: 'unknown' };`,
        replace: `if (answer.kind !== 'answered') return { kind: 'landed', statusRevision: tenure.statusRevision, raftTerm: 0n };`,
      },
      {
        file: LEADERSHIP,
        find: 'return keepAliveTerm === beatTerm;',
        replace: 'return keepAliveTerm === beatTerm || beatTerm === 0n;',
      },
    ],
    caughtBy: ['P2', 'S2'],
    seeds: 300,
  },
  {
    name: 'a guard started again is not armed',
    story: '16: guard killed and back, daemon stopped: nobody strikes',
    edits: [{ file: 'test/sim/models/guard.ts', find: 'this.arming = this.file;', replace: 'this.arming = null;' }],
    caughtBy: ['S2', 'P1', 'S1'],
    focus: ['guard killed'],
    seeds: 150,
  },
  {
    name: 'window not looked at again before promote',
    story: 'simulation.md 7',
    edits: [
      {
        file: 'src/agent/act.ts',
        find: `const leads = now.kind === 'holding' && now.term === term && now.windowOpen && !now.releaseSent;`,
        replace: `return now.kind !== ('never' as string) && term >= 0n;`,
      },
      // The guard ends a standby too when its deadline passes, which hides this one.
      {
        file: 'test/sim/models/guard.ts',
        find: `if (family !== 'none') {`,
        replace: `if (this.server.acceptsWrites()) {`,
      },
      {
        file: 'test/sim/models/guard.ts',
        find: `if (kind !== 'none' && kind !== 'stopping') this.server.stopImmediate();`,
        replace: `if (this.server.acceptsWrites()) this.server.stopImmediate();`,
      },
    ],
    caughtBy: ['S3', 'S2', 'P1', 'P3', 'S1'],
    focus: ['revoked while promoting'],
    seeds: 150,
  },
  {
    name: 'acquiring early is safe',
    story: 'rule 13 without its gate: not a bug but the proof that the second line holds; must survive',
    edits: ACQUIRE_EARLY,
    caughtBy: [],
    // Whoever goes early knows less of where the last leader's WAL ended, and says less of what that cost.
    mute: ['S5'],
    focus: ['revoked while cut off', 'next one fails at the gate', 'acquire unanswered', 'candidate restarted'],
    seeds: 100,
  },
  {
    name: 'the old primary follows without a rewind',
    story: 'simulation.md 7',
    edits: [
      {
        file: 'src/core/timeline.ts',
        find: `return own.end <= left.switchedAt ? { kind: 'same-line' } : { kind: 'diverged', at: left.switchedAt };`,
        replace: `return { kind: 'same-line' };`,
      },
    ],
    caughtBy: ['S8', 'L2'],
    focus: ['revoked while cut off', 'rebooted between winning and promoting'],
    seeds: 200,
  },
  {
    name: 'a timeline is known by its number alone',
    story: 'two promotions gave one number; the first server comes back as a standby and follows the second',
    edits: [
      {
        file: 'src/core/timeline.ts',
        find: 'const parted = own.history == null ? null : partedAt(own.timeline, own.history, other.history);',
        replace: 'const parted = own.history == null ? null : partedAt(own.timeline, [], []);',
      },
    ],
    caughtBy: ['S8'],
    focus: ['new primary lost unheard'],
    seeds: 150,
  },
  {
    name: 'a standby is started as the primary',
    story: 'rule 26: after a reboot with the key still ours, without a promotion',
    edits: [
      {
        file: 'src/core/situations/leading.ts',
        find: 'if (!local.wasPrimary || local.standbySignal) {',
        replace: `if (local.kind === ('never' as string)) {`,
      },
    ],
    caughtBy: ['S8'],
    focus: ['rebooted between winning and promoting'],
    seeds: 200,
  },
  {
    name: 'a stopping server is taken for one that is down',
    story: 'rule 7: the guard stands down before the family is gone',
    edits: [{ file: 'src/agent/local-watch.ts', find: `else if (seen.kind !== 'stopping' &&`, replace: 'else if (' }],
    caughtBy: ['S2', 'P1'],
    focus: ['revoked while promoting'],
    seeds: 200,
  },
  {
    name: 'the key is kept with a Postgres that cannot be started',
    story: 'keepalives go on with Postgres dead, and nobody else is let',
    edits: [
      {
        file: 'src/core/situations/leading.ts',
        find: `? handOver(view, holding, cluster)`,
        replace: `? decision('node.busy', 'planted')`,
      },
    ],
    caughtBy: ['L1', 'L2'],
    seeds: 400,
  },
  {
    name: 'window on the wall clock',
    story: 'simulation.md 7: whoever sets the wall clock sets the window',
    edits: [
      {
        file: KEEPER,
        find: `    const sentAt = clock.now();
    // Maintenance ends`,
        replace: `    const zero = (clock as unknown as { zero?: number }).zero ?? clock.wall() - clock.now();
    (clock as unknown as { zero?: number }).zero = zero;
    const sentAt = laterBy(clock.now(), millis(clock.wall() - clock.now() - zero));
    // Maintenance ends`,
      },
    ],
    caughtBy: ['P2', 'S2'],
    focus: ['wall clock stepped'],
    seeds: 60,
  },
  {
    name: 'a half-made directory is started',
    story: 'simulation.md 7: a copy was cut off, and nobody leads',
    edits: [
      {
        file: 'src/core/situations/leaderless.ts',
        find: `    case 'half-made':
      return decision(
        'leaderless.wait-for-data',`,
        replace: `    case 'half-made':
      return decision('leaderless.start-standby', 'planted', [{ do: 'start-standby', upstream: null }]);
      return decision(
        'leaderless.wait-for-data',`,
      },
    ],
    caughtBy: ['S7'],
    // It is refused, and tried again without end.
    mute: ['S14'],
    focus: ['copy cut off'],
    seeds: 40,
  },
  {
    name: 'a standby that needs WAL waits for whoever it was told to receive from',
    story: 'a rewind that was cut off from its source: it takes no connections, and nobody tells it who leads',
    edits: [
      { file: 'src/core/local.ts', find: '(local.idle ?? 0) > WAITS_FOR_WAL_MS', replace: '(local.idle ?? 0) < 0' },
    ],
    caughtBy: ['L2'],
    focus: ['leader lost by whom was rewound to it'],
    seeds: 60,
  },
  {
    name: 'pages that are newer than the WAL are not compared',
    story: 'a rewind that was cut off from its source, and the next leader never had what its pages were made by',
    edits: [{ file: REJOINING, find: 'furthest(walEnd, local.minRecoveryPoint)', replace: 'furthest(walEnd, walEnd)' }],
    caughtBy: ['L2'],
    focus: ['leader lost by whom was rewound to it'],
    seeds: 200,
  },
  {
    name: 'a rewind goes by WAL that is not whole',
    story: 'the same: pages of a line that is lost stay, and nothing tells that they are there',
    edits: [{ file: REJOINING, find: '!numberGivenTwice && !lacksWal;', replace: '!numberGivenTwice;' }],
    caughtBy: ['S8'],
    focus: ['leader lost by whom was rewound to it'],
    seeds: 200,
  },
  {
    name: 'commits of a long time are undone as those of a failover',
    story: 'an emptied etcd let somebody lead who was away for long, and whoever has led since is rewound to him',
    edits: [{ file: REJOINING, find: ' && !isLong) return null;', replace: ') return null;' }],
    caughtBy: ['S7'],
    shape: OLDER_LEADS,
    seeds: 10,
  },
  {
    name: 'rewind from any running node',
    story: 'simulation.md 7: the source is a standby',
    edits: [
      {
        file: REJOINING,
        find: `[{ do: 'rewind', source: leader.name }]`,
        replace: `[
      { do: 'rewind', source: cluster.members.find((m) => m.name !== view.self && m.name !== leader.name)?.name ?? leader.name },
    ]`,
      },
      {
        file: AGENT,
        find: 'if (cluster.leader?.name !== leader) throw',
        replace: 'if (cluster.leader === null) throw',
      },
    ],
    caughtBy: ['S7'],
    focus: ['new leader restarted', 'rebooted between winning and promoting'],
    seeds: 100,
  },
  {
    name: 'what has failed is tried again at once',
    story: 'S14: a Postgres that does not start is started without end',
    edits: [
      { file: 'src/core/situations/backing-off.ts', find: 'const FIRST = 1_000;', replace: 'const FIRST = 1;' },
      { file: 'src/core/situations/backing-off.ts', find: 'const LONGEST = 30_000;', replace: 'const LONGEST = 1;' },
    ],
    caughtBy: ['S14'],
    focus: ['starts fail without end'],
    seeds: 60,
  },
  {
    name: 'a decision is told with every cycle',
    story: 'S14: logs grow for as long as a standby follows',
    edits: [
      {
        file: AGENT,
        find: 'if (this.decided.rule === decision.rule && this.decided.situation === situation) {',
        replace: `if (this.decided.rule === ('never' as string)) {`,
      },
    ],
    caughtBy: ['S14'],
    seeds: 60,
  },
  {
    name: 'who leads gives the key to a higher priority',
    story: 'L2: nothing is wrong, and the leader changes all the same',
    edits: [
      {
        file: LEADING,
        find: '        ? (treat(view, holding, cluster) ?? asPrimary(view, holding))',
        replace: `        ? cluster.members.some((m) => (m.pgha?.priority ?? 0) > view.policy.node.priority) &&
          view.now - holding.since > 6_000
          ? decision('leading.primary', 'planted', [{ do: 'stop-for-switchover' }])
          : asPrimary(view, holding)`,
      },
    ],
    caughtBy: ['L2'],
    mute: ['S14'],
    focus: ['new leader restarted'],
    shape: { members: { a: { priority: 50 }, b: { priority: 100 }, c: { priority: 200 } } },
    seeds: 60,
  },
  {
    name: 'nobody says what a failover cost',
    story: 'S5: acknowledged writes are gone, and the log has a success',
    edits: [
      {
        file: ACT,
        find: '    if (record?.loss != null) tellLoss(agent, record.loss);\n    else',
        replace: '    if (began < 0)',
      },
    ],
    caughtBy: ['S5'],
    focus: ['new leader restarted'],
    shape: { postgres: LAGGING },
    seeds: 60,
  },
  {
    name: 'what nobody knows is said to be nothing',
    story: 'S5: the end of the last leader is not known, and all that he had published is here',
    edits: [
      {
        file: 'src/core/loss.ts',
        find: 'const openEnded = !own && (end === null || unheard !== null);',
        replace: 'const openEnded = own && end === null;',
      },
    ],
    caughtBy: ['S5'],
    focus: ['new leader restarted'],
    shape: { postgres: LAGGING },
    seeds: 60,
  },
  {
    name: 'one who only had the key is taken for the last leader',
    story: 'S5: a candidate fails to promote and hands on, and what the leader before him lost is not said',
    edits: [{ file: 'src/agent/decision-record.ts', find: ' || release.unpromoted === true', replace: '' }],
    caughtBy: ['S5'],
    focus: ['key handed on unpromoted'],
    shape: { postgres: LAGGING },
    seeds: 60,
  },
  {
    name: 'data go on the word of a leader of long ago',
    story: 'S7: a daemon is stopped before the removal of its data and wakes when nobody leads any more',
    edits: [
      {
        file: AGENT,
        find: '      const stillTrue = await this.confirmLeads(source);\n      signal.throwIfAborted();',
        replace: '      const stillTrue = (): void => undefined;\n      signal.throwIfAborted();',
      },
    ],
    caughtBy: ['S7'],
    focus: ['woken in the middle of a copy anew'],
    seeds: 60,
  },
  {
    name: 'the leader is copied anew from itself',
    story: 'simulation.md 7: an operator asks for it, and nothing stands in the way',
    edits: [
      {
        file: AGENT,
        find: `        if (this.keeper.leadership.kind === 'holding')
          return { kind: 'refused', sentence: 'I am the leader, can not reinitialize' };
`,
        replace: '',
      },
      { file: AGENT, find: `leads === null || leads.name === this.self`, replace: `leads === null` },
      {
        file: AGENT,
        find: `    if (lineage === null) throw new Error(\`\${source.name} does not answer: nothing was removed here\`);`,
        replace: `    if (lineage === null) return this.parts.postgres.wipe(async () => undefined);`,
      },
      {
        file: ACT,
        find: `  if (lineage === null) throw new Error(\`\${leader.name} does not answer: nothing was removed here\`);`,
        replace: '  if (lineage === null) return;',
      },
    ],
    caughtBy: ['S7'],
    focus: ['leader reinitialised'],
    seeds: 30,
  },
  {
    name: 'silent is taken for stopped',
    story: 'simulation.md 7: a primary that hangs is given up as if it were down, and wakes',
    edits: [
      {
        file: 'src/core/local.ts',
        find: `    case 'orphans':
    case 'silent':
      return true;`,
        replace: `    case 'orphans':
      return true;
    case 'silent':
      return false;`,
      },
      {
        file: LEADING,
        find: `  return decision('leading.give-up-silent', \`\${count} checks failed one after the other, last: \${said}\`, [
    { do: 'stop-immediately' },
  ]);`,
        replace: `  return giveUp(view, said);`,
      },
      { file: ACT, find: `  if (agent.downSince() === null) return false;\n`, replace: '' },
      {
        file: KEEPER,
        find: `invariant(down !== null, 'a release is only sent`,
        replace: `invariant(down !== undefined, 'a release is only sent`,
      },
    ],
    caughtBy: ['P4', 'P1', 'S1', 'S2'],
    focus: ['new primary hangs'],
    seeds: 60,
  },
  {
    name: 'settings are read once, maintenance too',
    story: 'simulation.md 7: an operator takes the wheel and nobody lets go of it',
    edits: [
      {
        file: AGENT,
        find: `    this.resolved = this.settings.resolve(this.storedSettings);
    const { log } = this.parts;`,
        replace: `    if (first) this.resolved = this.settings.resolve(this.storedSettings);
    const { log } = this.parts;`,
      },
    ],
    caughtBy: ['S12'],
    focus: ['lost in maintenance'],
    seeds: 30,
  },
  {
    name: 'the beats of a leader in maintenance name an end',
    story: 'protocol.md 10: its guard is disarmed, and others hold its window for over',
    edits: [
      { file: KEEPER, find: 'beatTxn(tenure, seq, paused ? null : hold,', replace: 'beatTxn(tenure, seq, hold,' },
    ],
    caughtBy: ['P2', 'S2', 'P1', 'S1', 'S3'],
    focus: ['lost in maintenance'],
    seeds: 60,
  },
  {
    name: 'a suspension is not noticed',
    story: 'protocol.md 24: the clock stood still, and the deadline with it',
    edits: [
      { file: 'test/sim/models/guard.ts', find: 'const TOLERATED_MS = 500;', replace: 'const TOLERATED_MS = 1e12;' },
    ],
    caughtBy: ['P2', 'S2', 'P1', 'S1'],
    focus: ['suspended'],
    seeds: 40,
  },
  {
    name: 'foreign data are brought into the cluster',
    story: 'S9: a directory of another cluster is taken for one that diverged',
    edits: [
      {
        file: 'src/core/classify.ts',
        find: `  if (foreign !== null) return { kind: 'unusable', sentence: foreign };`,
        replace: '',
      },
      {
        file: REJOINING,
        find: 'if (lineage.systemId !== local.systemId) {',
        replace: `if (lineage.systemId === ('' as string)) {`,
      },
    ],
    caughtBy: ['S9'],
    focus: ['foreign data'],
    seeds: 40,
  },
  {
    name: 'the tail of a dead primary is not brought over',
    story: 'design 4: the best candidate lacks the end of the WAL and is given the key all the same',
    edits: [{ file: LEADING, find: 'if (best.position >= end) {', replace: 'if (best.position >= 0n) {' }],
    caughtBy: ['S5'],
    focus: ['postmaster killed'],
    seeds: 100,
  },
  {
    name: 'manual failover is not manual',
    story: 'failover: manual reports and does nothing',
    edits: [
      {
        file: LEADERLESS,
        find: `const manual = view.policy.cluster.failover === 'manual' &&`,
        replace: `const manual = view.policy.cluster.failover === ('never' as string) &&`,
      },
    ],
    caughtBy: ['S12'],
    focus: ['new primary hangs', 'new leader restarted'],
    shape: { config: { failover: 'manual' } },
    seeds: 40,
  },
  {
    name: 'priority 0 is elected',
    story: 'a node that never leads is the best candidate',
    edits: [
      { file: LEADERLESS, find: 'if (node.priority <= 0) return', replace: `if (node.name === ('' as string)) return` },
    ],
    caughtBy: ['S12'],
    focus: ['new leader restarted', 'stale candidate'],
    shape: { policy: { primaryCrash: 'auto', visibilityConsensus: false, neverLeads: 'b' } },
    seeds: 60,
  },
  {
    name: 'the location rule is ignored',
    story: 'location_policy strict: the site that lost sight of the leader elects one of its own',
    edits: [
      {
        file: 'src/core/election/held-back.ts',
        find: `if (locationPolicy === 'off' || theirs === null`,
        replace: `if (locationPolicy !== ('never' as string) || theirs === null`,
      },
    ],
    caughtBy: ['S12'],
    focus: ['new leader restarted', 'new primary hangs'],
    shape: {
      config: { location_policy: 'strict' },
      members: { a: { location: 'north' }, b: { location: 'south' }, c: { location: 'west' } },
    },
    seeds: 40,
  },
  {
    name: 'the validation command is not asked first',
    story: 'failover_validation_command has the last word before the key is taken',
    edits: [
      {
        file: LEADERLESS,
        find: `  if (!policy.node.validates) return null;`,
        replace: `  if (policy.node.validates) return null;`,
      },
    ],
    caughtBy: ['S12'],
    focus: ['new leader restarted', 'interrupted handover'],
    shape: { members: { a: { validation: 'approves' }, b: { validation: 'approves' }, c: { validation: 'approves' } } },
    seeds: 40,
  },
  {
    name: 'a vetoed candidate goes all the same',
    story: 'what failover_validation_command says is heard and not heeded',
    edits: [
      {
        file: LEADERLESS,
        find: `  if (validation.kind === 'approved' && between`,
        replace: `  if (validation.kind === 'vetoed') return null;
  if (validation.kind === 'approved' && between`,
      },
      {
        file: LEADERLESS,
        find: `  if (validation.kind !== 'vetoed' || !view.policy.node.validates) return null;`,
        replace: `  if (validation.kind !== 'vetoed' || view.policy.node.validates) return null;`,
      },
    ],
    caughtBy: ['S12'],
    focus: ['new leader restarted', 'interrupted handover'],
    shape: { members: { a: { validation: 'vetoes' }, b: { validation: 'vetoes' }, c: { validation: 'sometimes' } } },
    seeds: 60,
  },
  {
    name: 'positions are compared while they grow',
    story: 'standby_disconnect_on_failover: nobody ends his receiver',
    edits: [
      {
        file: 'src/core/election/held-back.ts',
        find: `(local.receiver !== null || local.follows !== null)`,
        replace: `local.follows === ('' as string)`,
      },
    ],
    caughtBy: ['S12'],
    focus: ['revoked while cut off'],
    shape: { config: { standby_disconnect_on_failover: true } },
    seeds: 40,
  },
  {
    name: 'the receivers of others are not waited for',
    story: 'standby_disconnect_on_failover: another standby still receives',
    edits: [
      {
        file: 'src/core/election/held-back.ts',
        find: `  if (receiving.length === 0) return null;`,
        replace: `  if (receiving.length >= 0) return null;`,
      },
    ],
    caughtBy: ['S12'],
    focus: ['candidate restarted', 'new leader restarted'],
    shape: { config: { standby_disconnect_on_failover: true, sibling_nodes_disconnect_timeout: 60 } },
    seeds: 60,
  },
  {
    name: 'a window made stale by a suspension lets Postgres start again',
    story: 'protocol.md 24: the guard has ended it, and the daemon still believes what its clock says',
    edits: [{ file: KEEPER, find: '(!this.clocksDoubted || this.parts.isPrimary()),', replace: 'true,' }],
    caughtBy: ['P2', 'S2', 'P1', 'S1'],
    focus: ['suspended'],
    seeds: 60,
  },
  {
    name: 'a wiped scope is filled by whoever has no data',
    story: 'S9: etcd was emptied while a node was copied, and that node makes a cluster of its own',
    edits: [
      {
        file: 'src/core/situations/joining.ts',
        find: `if (former !== null) return decision('joining.wait-for-bootstrap', former);`,
        replace: '',
      },
    ],
    caughtBy: ['S9'],
    focus: ['etcd wiped while a node is copied'],
    seeds: 60,
  },
  {
    name: 'most of them confirm',
    story: '18: the one who does not, and has etcd, takes the key when its gate has passed',
    edits: [
      { file: KEEPER, find: 'if (refusals.length > 0) {', replace: 'if (2 * refusals.length > others.length) {' },
    ],
    caughtBy: ['P2', 'S1', 'S2', 'P1'],
    focus: ['leader without etcd and without one of the others'],
    shape: FAILSAFE,
    seeds: 60,
  },
  {
    name: 'confirmed and forgotten',
    story: '19: a version of status opens the gate of a member that has given its word',
    edits: [
      {
        file: KEEPER,
        find: 'return gateBehind(this.known, this.confirmedTo?.until ?? LONG_AGO);',
        replace: 'return this.known;',
      },
      { file: KEEPER, find: "      if (this.confirmed !== null) return 'refused';\n", replace: '' },
    ],
    caughtBy: ['S1', 'P1'],
    focus: ['leader alone without etcd'],
    shape: FAILSAFE,
    seeds: 60,
  },
  {
    name: 'confirmations counted from the answer',
    story: '3 and 29: the window of a round begins when it was asked for',
    edits: [
      {
        file: KEEPER,
        find: 'if (!(await this.openWindow({ sentAt, hold: tenure.ttl, clocks }))',
        replace: 'if (!(await this.openWindow({ sentAt: clock.now(), hold: tenure.ttl, clocks }))',
      },
    ],
    caughtBy: ['P2'],
    focus: ['leader alone without etcd'],
    shape: FAILSAFE,
    seeds: 40,
  },
  {
    name: 'whoever is not in the list races',
    story: '17: nobody has asked it, and its own wait is over before the window of the leader',
    edits: [
      {
        file: 'src/core/failsafe.ts',
        find: 'return list === null || list.members.size === 0 || list.members.has(self);',
        replace: 'return true;',
      },
    ],
    caughtBy: ['S1', 'P1'],
    focus: ['one was away when the leader lost etcd'],
    shape: FAILSAFE,
    seeds: 80,
  },
  {
    name: 'sync: whoever joins the voters counts as having everything',
    story: 'S6: a standby that has yet to catch up may be elected',
    edits: [
      {
        file: QUORUM,
        find: 'const unconfirmed = without(after.voters, confirmed);',
        replace: 'const unconfirmed = without(after.voters, new Set(after.voters));',
      },
    ],
    caughtBy: ['S6', 'S4'],
    shape: ON,
    seeds: 200,
  },
  {
    name: 'sync: names count as soon as one session has them',
    story: 'S6: a WAL sender goes by the old names, or the checkpointer has not said that commits wait',
    edits: [
      {
        file: 'src/agent/sync-keeper.ts',
        find: `    if (this.mark !== null || between(seen.since, agent.watch.at) < SETTLE) return;
    if (primary.checkpointerIdle === true && sendersGoBy(primary, names)) this.mark = primary.flushed;`,
        replace: '    this.mark ??= primary.flushed;',
      },
    ],
    caughtBy: ['S6', 'S4'],
    shape: ON,
    seeds: 200,
  },
  {
    name: 'sync: the busy checkpointer is not waited for',
    story: 'S6: sessions of a primary that kept no synchronous standby before do not wait yet',
    edits: [
      {
        file: 'src/agent/sync-keeper.ts',
        find: 'if (primary.checkpointerIdle === true && sendersGoBy(primary, names))',
        replace: 'if (sendersGoBy(primary, names))',
      },
    ],
    caughtBy: ['S6', 'S4'],
    shape: ON,
    seeds: 200,
  },
  {
    name: 'sync: Postgres counts other names before the voters agree',
    story: 'S6: somebody may be elected who is not waited for any more',
    edits: [
      {
        file: QUORUM,
        find: 'if (!namesDone && agrees(key, target.acknowledging))',
        replace: 'if (!namesDone)',
      },
    ],
    caughtBy: ['S6', 'S4'],
    shape: QUORUM_MODE,
    seeds: 200,
  },
  {
    name: 'sync: the voters change before Postgres agrees',
    story: 'S6: somebody may be elected whom nobody waits for yet',
    edits: [
      {
        file: QUORUM,
        find: 'agrees(target, acknowledging) && keepsHistory(key, target, confirmed)',
        replace: 'key !== null',
      },
    ],
    caughtBy: ['S6', 'S4'],
    shape: QUORUM_MODE,
    seeds: 200,
  },
  {
    name: 'sync: nobody asks the voters before an election',
    story: 'S4: a standby leads that lacks what the other one has acknowledged',
    edits: [
      {
        file: 'src/core/election/voting.ts',
        find: "if (verdict.kind === 'may-win') return heldByVotersReceivers(view, key, votes);",
        replace: "if (verdict.kind !== 'never') return null;",
      },
    ],
    caughtBy: ['S4'],
    shape: QUORUM_MODE,
    seeds: 200,
  },
  {
    name: 'sync: a voter that still replays is taken at its word',
    story: 'S4: its position is too low, and what it acknowledged before its restart counts as nowhere',
    edits: [
      {
        file: 'src/core/election/voting.ts',
        find: '!said.inRecovery || !said.positionFinal || said.outdated) return null;',
        replace: '!said.inRecovery || said.outdated) return null;',
      },
    ],
    caughtBy: ['S4'],
    shape: {
      ...QUORUM_MODE,
      ...LED_BY_A,
      profile: 'one voter comes back',
      faults: [
        // Only b has what is acknowledged from here on.
        { when: { at: 3_000 }, fault: { kind: 'cut', node: 'c', plane: 'replication', oneWay: false, for: 90_000 } },
        { when: { at: 9_000 }, fault: { kind: 'power-loss', node: 'a', bootAfter: 200_000 } },
        { when: { at: 9_000 }, fault: { kind: 'power-loss', node: 'b', bootAfter: 9_000 } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'sync: whoever is counted goes on receiving',
    story: 'S4: a primary that nobody stopped gets an acknowledgement from a voter that was counted and not elected',
    edits: [
      {
        file: LEADERLESS,
        find: '  const ends = voterEndsReceiver(view, cluster, local);',
        replace: '  const ends = null as Decision | null;',
      },
      {
        file: 'src/core/election/voting.ts',
        find: "if (verdict.kind === 'may-win') return heldByVotersReceivers(view, key, votes);",
        replace: "if (verdict.kind === 'may-win') return null;",
      },
    ],
    caughtBy: ['S4'],
    shape: {
      ...QUORUM_MODE,
      ...LED_BY_A,
      profile: 'nobody stops the old primary',
      faults: [
        { when: { at: 9_000 }, fault: { kind: 'guard-pause', node: 'a', for: 90_000 } },
        { when: { at: 9_000 }, fault: { kind: 'daemon-pause', node: 'a', for: 90_000 } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'sync: a write of the key whose answer was lost is forgotten',
    story: 'S6: it is applied after names were set that do not agree with it',
    edits: [{ file: 'src/agent/sync-keeper.ts', find: '      this.pending = change;\n', replace: '' }],
    caughtBy: ['S6', 'S4'],
    shape: {
      ...QUORUM_MODE,
      ...LED_BY_A,
      profile: 'a late write',
      faults: [
        {
          when: { at: 5_000 },
          fault: { kind: 'request', node: 'a', request: 'sync', fate: 'late', ms: 6_000, count: 1 },
        },
        // Gone for long enough to be given up, and back before that write lands.
        { when: { at: 5_000 }, fault: { kind: 'power-loss', node: 'b', bootAfter: 2_500 } },
      ],
    },
    seeds: 60,
  },
  {
    name: 'the health check answers by the key and the window',
    story: 'S11: clients are sent to a server that does not come up',
    edits: [
      {
        file: AGENT,
        find: `    if (!this.serving || this.leaving || !this.watch.certain) return false;
    if (local.kind !== 'primary' || local.failing !== null) return false;`,
        replace: `    if (local.kind === 'absent') return false;`,
      },
    ],
    caughtBy: ['S11'],
    focus: ['postmaster killed', 'new leader restarted'],
    seeds: 60,
  },
  {
    name: 'a copy begins although its source leads no more',
    story: 'simulation.md 7: the word of etcd is asked for and not heeded',
    edits: [
      {
        file: AGENT,
        find: 'if (cluster.leader?.name !== leader) throw',
        replace: `if (cluster.leader?.name === ('' as string)) throw`,
      },
      {
        file: AGENT,
        find: 'if (lineage.inRecovery && this.remoteSource',
        replace: 'if (lineage === null && this.remoteSource',
      },
    ],
    caughtBy: ['S7'],
    focus: ['woken in the middle of a copy anew', 'leader reinitialised'],
    seeds: 100,
  },
  {
    name: 'in maintenance the leader decides as ever',
    story: 'S12: an operator restarts Postgres by hand, and somebody else is promoted',
    edits: [
      {
        file: CLASSIFY,
        find: `  if (view.policy.cluster.pause) return { kind: 'maintenance' };
  // The key is ours by the lease keeper's knowledge, which is newer than the last read of the cluster.
  if (leadership.kind === 'holding') return { kind: 'leading', holding: leadership, cluster };`,
        replace: `  if (leadership.kind === 'holding') return { kind: 'leading', holding: leadership, cluster };
  if (view.policy.cluster.pause) return { kind: 'maintenance' };`,
      },
    ],
    caughtBy: ['S12', 'S14'],
    shape: {
      nodes: ['a', 'b', 'c'],
      brought: null,
      members: {},
      profile: 'postmaster killed in maintenance',
      // Long enough for what is said again and again to fill a minute.
      faults: [
        { when: { at: 1_000 }, fault: { kind: 'maintenance', for: 150_000 } },
        { when: { at: 3_000 }, fault: { kind: 'postmaster-kill', node: 'holder', orphans: false } },
      ],
    },
    seeds: 20,
  },
  {
    name: 'a failover by hand in maintenance looks at nobody',
    story: 'design 1: the last primary is alive, and nobody stops it',
    edits: [
      {
        file: MAINTENANCE,
        find: '  const alive = lastPrimaryAlive(view, cluster);\n',
        replace: '  const alive = null as Decision | null;\n',
      },
      {
        file: LEADERLESS,
        find: `    return (
      lastPrimaryAlive(view, cluster) ??
      heldBySync`,
        replace: `    return (
      heldBySync`,
      },
    ],
    caughtBy: ['S12'],
    focus: ['handed over in maintenance'],
    seeds: 60,
  },
  {
    name: 'what ails a leader is shown and nothing is done',
    story: 'S16: its disk hangs, nobody writes, and others are well',
    edits: [
      {
        file: LEADING,
        find: '        ? (treat(view, holding, cluster) ?? asPrimary(view, holding))',
        replace: '        ? asPrimary(view, holding)',
      },
    ],
    caughtBy: ['S16'],
    shape: { ...SICK, profile: 'a sick leader', faults: [hangs('a', 8_000, 60_000)] },
    seeds: 20,
  },
  {
    name: 'who cannot write to its disk is elected',
    story: 'S16: the leader is lost, and the others are no better',
    edits: [
      { file: LEADERLESS, find: '  if (disk !== undefined) return', replace: '  if (disk === null) return' },
      {
        file: 'src/core/candidate.ts',
        find: '  if (disk !== undefined) return',
        replace: '  if (disk === null) return',
      },
    ],
    caughtBy: ['S16'],
    shape: {
      ...SICK,
      profile: 'sick candidates',
      faults: [
        hangs('b', 5_000, 60_000),
        hangs('c', 5_000, 60_000),
        { when: { at: 18_000 }, fault: { kind: 'power-loss', node: 'a', bootAfter: 120_000 } },
      ],
    },
    seeds: 20,
  },
  {
    name: 'the sick give the lead to the sick',
    story: 'S16: all disks hang, and the lead goes round',
    edits: [
      {
        file: AILING,
        find: `  const { status } = answer;
  const { rest,`,
        replace: `  const { status } = answer;
  if (status.pgha) return null;
  const { rest,`,
      },
    ],
    caughtBy: ['S16'],
    shape: {
      ...SICK,
      profile: 'all are sick',
      faults: [hangs('a', 8_000, 60_000), hangs('b', 8_000, 60_000), hangs('c', 8_000, 60_000)],
    },
    seeds: 20,
  },
  {
    name: 'who was sick a moment ago is handed the lead',
    story: 'S16: two nodes whose disks come and go throw the lead to each other',
    edits: [
      { file: AILING, find: 'status.ailedAgo !== null && status.ailedAgo < rest', replace: 'status.ailedAgo === rest' },
    ],
    caughtBy: ['S16'],
    shape: {
      ...SICK,
      config: { ...SICK.config, sick_failover_rest: 60 },
      profile: 'they were sick',
      faults: [hangs('b', 4_000, 12_000), hangs('c', 4_000, 12_000), hangs('a', 12_000, 40_000)],
    },
    seeds: 20,
  },
  {
    name: 'manual failover does not hold for the sick',
    story: 'S16: failover: manual reports and does nothing',
    edits: [
      {
        file: AILING,
        find: "if (failover === 'manual') return stays('failover is manual');",
        replace: "if (failover === ('never' as string)) return stays('failover is manual');",
      },
    ],
    caughtBy: ['S16'],
    shape: {
      ...SICK,
      config: { ...SICK.config, failover: 'manual' },
      profile: 'a sick leader',
      faults: [hangs('a', 8_000, 60_000)],
    },
    seeds: 20,
  },
  {
    name: 'a standby takes in the tail while it receives',
    story: 'wal_rescue: bytes are put into pg_wal beside those that a receiver writes',
    edits: [
      {
        file: 'src/agent/rescue.ts',
        find: 'const received = await postgres.withdraw(signal);',
        replace: 'const received = local.received ?? local.replayed;',
      },
    ],
    caughtBy: ['S7'],
    focus: ['postmaster killed'],
    shape: { postgres: LAGGING },
    seeds: 60,
  },
  {
    name: 'what was not brought over is given up unasked',
    story: 'wal_rescue: nobody was told to lose anything, and the key goes to one who lacks the end',
    edits: [
      { file: LEADING, find: '  if (rescued !== null) return rescued;\n', replace: '' },
      {
        file: LEADING,
        find: "  const loses = walRescue === 'lose' ||",
        replace: "  const loses = walRescue !== ('' as string) ||",
      },
    ],
    caughtBy: ['S5'],
    focus: ['postmaster killed'],
    shape: { postgres: LAGGING },
    seeds: 60,
  },
  {
    name: 'slots on standbys stay where they were made',
    story: 'S15: a slot that nobody moves holds back WAL until the disk is full',
    edits: [
      {
        file: SLOTS,
        find: `return to <= at ? [] : [{ do: 'advance'`,
        replace: `return to >= at ? [] : [{ do: 'advance'`,
      },
    ],
    caughtBy: ['S15'],
    shape: { faults: [], profile: 'quiet' },
    seeds: 10,
  },
  {
    name: 'only the leader has slots',
    story: 'S15: after a failover whoever is behind has to be copied anew',
    edits: [
      {
        file: 'src/agent/slot-keeper.ts',
        find: `local.kind === 'primary' || this.mayLead ? new Set`,
        replace: `local.kind === 'primary' ? new Set`,
      },
    ],
    caughtBy: ['S15'],
    shape: { faults: [], profile: 'quiet' },
    seeds: 10,
  },
  {
    name: 'the key goes before the virtual address',
    story: 'V1: who leads next takes the address while a slow kernel still has it here',
    edits: [
      {
        file: ACT,
        find: 'agent.downSince() !== null) await agent.address.letGo()',
        replace: 'agent.downSince() !== null) agent.address.giveUp()',
      },
    ],
    caughtBy: ['V1'],
    shape: {
      virtualAddress: true,
      config: {},
      faults: [3, 11, 19, 27, 35, 43, 51].map((second) => ({
        when: { at: second * 1_000 },
        fault: { kind: 'switchover', to: null },
      })),
    },
    seeds: 60,
  },
  {
    name: 'the virtual address outlives the window',
    story: 'V1: its end in the kernel is counted from now, as a TTL, and nobody is there to take it away sooner',
    edits: [
      {
        file: 'src/core/virtual-address.ts',
        find: 'Math.floor(Math.min(ttl, between(now, deadline)) / SECOND)',
        replace: 'Math.floor((between(now, deadline) > 0 ? 2 * ttl : 0) / SECOND)',
      },
    ],
    caughtBy: ['V1'],
    shape: {
      virtualAddress: true,
      guard: 'off',
      faults: [3, 40].map((second) => ({
        when: { at: second * 1_000 },
        fault: { kind: 'daemon-pause', node: 'holder', for: 25_000 },
      })),
    },
    seeds: 40,
  },
  {
    name: 'clients are held back before it is written down',
    story: 'poolers: a daemon dies between PAUSE and the record, and nobody knows that anybody waits',
    edits: [
      { file: POOLERS, find: 'const written = await this.write(pause, null);', replace: 'const written = ABSENT;' },
      {
        file: POOLERS,
        find: 'this.keeping = this.keepWritten(pause, written).catch(',
        replace: 'this.keeping = this.write(pause, null).then(() => undefined).catch(',
      },
    ],
    caughtBy: ['L3'],
    focus: ['interrupted handover'],
    shape: POOLED,
    seeds: 150,
  },
  {
    name: 'clients are held back although etcd did not take it down',
    story: 'poolers: PAUSE without a record',
    edits: [
      { file: POOLERS, find: 'if (written === null) {', replace: 'if (written === null && clock.wall() === 0) {' },
      {
        file: POOLERS,
        find: 'this.keeping = this.keepWritten(pause, written).catch(',
        replace: 'this.keeping = Promise.resolve().catch(',
      },
    ],
    caughtBy: ['L3'],
    focus: ['interrupted handover'],
    shape: POOLED,
    seeds: 150,
  },
  {
    name: 'a lost RESUME counts as done',
    story: 'poolers: it is written that clients go on, and they wait for ever',
    edits: [
      {
        file: POOLERS,
        find: '          said = whatHappened(error);\n        } finally {',
        replace: '          said = whatHappened(error);\n          return true;\n        } finally {',
      },
    ],
    caughtBy: ['L3'],
    focus: ['interrupted handover'],
    shape: POOLED,
    seeds: 60,
  },
  {
    name: 'a pooler whose answer was lost counts as one that refused',
    story: 'poolers: PAUSE came, its answer did not, and it stands in no record',
    edits: [
      {
        file: POOLERS,
        find: `        } else if (outcome.kind === 'unclear') {
          late.set(address, outcome.said);`,
        replace: `        } else if (outcome.kind === 'unclear') {
          held.delete(address);`,
      },
    ],
    caughtBy: ['L3'],
    focus: ['interrupted handover'],
    shape: POOLED,
    seeds: 150,
  },
  {
    name: 'those who are held back already are forgotten by the next pause',
    story: 'poolers: a daemon died in the middle, and one pooler does not answer the next one',
    edits: [
      { file: POOLERS, find: 'const held = new Map(before);', replace: 'const held = new Map<string, HeldPooler>();' },
    ],
    caughtBy: ['L3'],
    focus: ['interrupted handover'],
    shape: POOLED,
    seeds: 150,
  },
  {
    name: 'Postgres is stopped while clients are still being held back',
    story: 'poolers: their transactions end with an error',
    edits: [
      {
        file: 'src/core/poolers.ts',
        find: "return well && waited < limits.pauseTimeout + REACHED_WITHIN ? { kind: 'wait', waited } : null;",
        replace: "return well && waited < 0 ? { kind: 'wait', waited } : null;",
      },
    ],
    caughtBy: ['C1'],
    focus: ['interrupted handover'],
    shape: POOLED,
    seeds: 150,
  },
];
