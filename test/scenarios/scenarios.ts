/**
 * Named stories, each a fixed plan. What comes of it stands beside this file as text and reads as an incident report;
 * `npm run sim -- --scenarios` writes the texts anew. A difference is to be read: does the story still go as it should?
 */
import type { Plan } from '../sim/plan.ts';

export interface Scenario {
  /** Of the file, without .txt. */
  readonly name: string;
  readonly title: string;
  /** What to look for in it. */
  readonly about: string;
  readonly plan: Plan;
}

/** Three nodes, `a` leads, nothing is slow. */
export function planned(parts: Partial<Plan> & Pick<Plan, 'faults'>): Plan {
  return {
    // With this one `a` starts first and makes the cluster.
    seed: 2,
    nodes: ['a', 'b', 'c'],
    etcdMembers: 3,
    settings: { ttlMs: 10_000, loopWaitMs: 2_000, retryTimeoutMs: 3_000 },
    clockRates: [1, 1, 1],
    workload: { clients: 1, everyMs: 100 },
    postgres: {
      replicationDelayMs: 0,
      slowPromotionChance: 0,
      slowStartChance: 0,
      failChance: 0,
      mayCopyAnew: true,
    },
    guardUnitMs: 500,
    profile: 'scenario',
    safetyMs: 60_000,
    healthyNodes: ['a', 'b', 'c'],
    livenessMs: 100_000,
    ...parts,
  };
}

const LOST = { kind: 'power-loss', node: 'a', bootAfter: 30_000 } as const;

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'primary-node-lost',
    title: "The primary's node is lost",
    about: 'Writes are back a TTL later; the old primary comes back by itself.',
    plan: planned({ faults: [{ when: { at: 10_000 }, fault: LOST }] }),
  },
  {
    name: 'postmaster-killed-under-load',
    title: 'The postmaster is killed under load, and the standbys lag',
    about: 'Nothing that was acknowledged is lost: the end of the WAL is brought to the best candidate first.',
    plan: planned({
      workload: { clients: 2, everyMs: 50 },
      postgres: {
        replicationDelayMs: 300,
        slowPromotionChance: 0,
        slowStartChance: 0,
        failChance: 0,
        mayCopyAnew: true,
      },
      faults: [{ when: { at: 10_000 }, fault: { kind: 'postmaster-kill', node: 'a', orphans: true } }],
    }),
  },
  {
    name: 'new-primary-lost-before-anybody-followed',
    title: 'The new primary is lost too, before anybody has followed it',
    about:
      'Who is left lacks what was committed there, if anything was: only an operator may say that it leads all the same. It begins a timeline of its own, and both come back to it.',
    plan: planned({
      faults: [
        { when: { at: 10_000 }, fault: { kind: 'power-loss', node: 'a', bootAfter: 90_000 } },
        {
          when: { on: 'promoted', nth: 1, node: null, after: 20 },
          fault: { kind: 'power-loss', node: 'event', bootAfter: 60_000 },
        },
        { when: { at: 45_000 }, fault: { kind: 'failover-by-hand', to: 'c' } },
        { when: { at: 50_000 }, fault: { kind: 'failover-by-hand', to: 'c', forced: true } },
      ],
      safetyMs: 110_000,
    }),
  },
  {
    name: 'etcd-leader-lost-during-a-failover',
    title: 'etcd loses its leader while a failover is under way',
    about: 'An etcd election restarts every lease; the failover does not wait for that.',
    plan: planned({
      faults: [
        { when: { at: 10_000 }, fault: LOST },
        { when: { at: 18_500 }, fault: { kind: 'etcd-kill', member: 'leader', for: 15_000 } },
      ],
    }),
  },
  {
    name: 'validation-command-vetoes',
    title: 'A failover_validation_command vetoes the best candidate',
    about: 'The next candidate is asked and goes.',
    plan: planned({
      members: { b: { validation: 'vetoes', priority: 200 }, c: { validation: 'approves' } },
      faults: [{ when: { at: 10_000 }, fault: LOST }],
    }),
  },
  {
    name: 'two-locations-cut-apart',
    title: 'Two locations are cut apart, and the leader is on the side without etcd',
    about: 'With location_policy strict nobody in the other location takes over; the old leader stops in time.',
    plan: planned({
      config: { location_policy: 'strict' },
      members: { a: { location: 'north' }, b: { location: 'south' }, c: { location: 'south' } },
      faults: [{ when: { at: 10_000 }, fault: { kind: 'split', nodes: ['a'], etcd: 'these', for: 30_000 } }],
    }),
  },
  {
    name: 'hung-primary-with-consensus',
    title: 'The primary hangs, and everybody is asked who has seen it',
    about: 'The checks are repeated, the others are asked, Postgres is ended, and a standby takes over.',
    plan: planned({
      config: { primary_visibility_consensus: true },
      faults: [{ when: { at: 10_000 }, fault: { kind: 'postgres-hang', node: 'a', for: 120_000, stopped: true } }],
    }),
  },
  {
    name: 'disks-full-one-after-the-other',
    title: 'The disk of the primary is full, and later that of the next one; the third has no room either',
    about:
      'The first hands over in order to the one that has room. The second has nobody to hand over to: one is full, and the other was a moment ago. So it stays, and says why.',
    plan: planned({
      faults: [
        { when: { at: 5_000 }, fault: { kind: 'sick', node: 'c', of: 'full', for: 120_000 } },
        { when: { at: 10_000 }, fault: { kind: 'sick', node: 'a', of: 'full', for: 25_000 } },
        { when: { at: 45_000 }, fault: { kind: 'sick', node: 'b', of: 'full', for: 30_000 } },
      ],
      safetyMs: 90_000,
    }),
  },
  {
    name: 'primary-seen-by-others',
    title: 'Only the local check of the primary fails',
    about: 'The others still see it: it stays, and says so.',
    plan: planned({
      config: { primary_visibility_consensus: true },
      faults: [{ when: { at: 10_000 }, fault: { kind: 'check-fails', node: 'a', for: 8_000 } }],
    }),
  },
  {
    name: 'postmaster-killed-in-maintenance',
    title: 'The postmaster is killed while operators have the wheel',
    about: 'Nothing is started or promoted before maintenance ends.',
    plan: planned({
      faults: [
        { when: { at: 5_000 }, fault: { kind: 'maintenance', for: 30_000 } },
        { when: { at: 15_000 }, fault: { kind: 'postmaster-kill', node: 'a', orphans: false } },
      ],
    }),
  },
  {
    name: 'primary-machine-suspended',
    title: "The primary's machine is suspended for longer than its lease, and comes back",
    about: 'Another leads by then. The guard notices the suspension; the old primary writes for less than a second.',
    plan: planned({
      faults: [{ when: { at: 10_000 }, fault: { kind: 'machine-suspend', node: 'a', for: 25_000, bootClock: false } }],
    }),
  },
  {
    name: 'etcd-wiped',
    title: 'Somebody empties etcd',
    about: 'The primary stops, brings its own cluster back under the scope, and nobody makes a new one.',
    plan: planned({ faults: [{ when: { at: 10_000 }, fault: { kind: 'etcd-wipe' } }] }),
  },
];
