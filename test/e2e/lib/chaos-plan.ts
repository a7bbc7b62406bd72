/**
 * What a run of chaos does, drawn from a seed before anything starts: rounds of faults that overlap, each round followed
 * by a calm in which everything has to come right by itself. Pure, so that a plan can be printed, kept and repeated; whom
 * a fault meets is decided when it happens, because who leads then is not known before.
 */
import { SeededRandom } from '../../sim/world/random.ts';

/** Whom a fault meets: who leads at that moment, one who does not, or anybody. */
export type Whom = 'primary' | 'standby' | 'any';

export interface PlannedFault {
  /** Milliseconds since the round began. */
  readonly at: number;
  readonly kind: FaultKind;
  readonly whom: Whom;
  /** Which of those it could be: 0 to below 1. */
  readonly which: number;
  /** Milliseconds until it is undone; null: there is nothing to undo. */
  readonly lasts: number | null;
}

export interface Round {
  readonly number: number;
  readonly faults: readonly PlannedFault[];
}

interface Kind {
  readonly weight: number;
  /** How likely it meets the primary; null: it meets no node. */
  readonly primary: number | null;
  /** Seconds, from and to; null: it happens and is over. */
  readonly lasts: readonly [number, number] | null;
}

export const KINDS = {
  /** SIGKILL to the postmaster alone; its children find out by themselves. */
  'postmaster-killed': { weight: 4, primary: 0.7, lasts: null },
  /** SIGKILL to some process of Postgres: the others are ended, and it recovers. */
  'backend-killed': { weight: 1, primary: 0.6, lasts: null },
  /** SIGSTOP to all of them. */
  'postgres-frozen': { weight: 2, primary: 0.7, lasts: [2, 12] },
  /** SIGSTOP to one of them, whichever. */
  'backend-frozen': { weight: 2, primary: 0.6, lasts: [2, 12] },
  'daemon-killed': { weight: 2, primary: 0.6, lasts: null },
  'daemon-frozen': { weight: 2, primary: 0.7, lasts: [2, 12] },
  'guard-killed': { weight: 1, primary: 0.7, lasts: null },
  'guard-frozen': { weight: 1, primary: 0.7, lasts: [2, 12] },
  /** Everything of a node at once, and its link; it is started again. */
  'node-lost': { weight: 2, primary: 0.6, lasts: [3, 12] },
  /** No packet to or from anybody. */
  'node-cut': { weight: 3, primary: 0.7, lasts: [2, 12] },
  /** The daemon and etcd. */
  'etcd-cut': { weight: 2, primary: 0.7, lasts: [2, 12] },
  /** A standby's receiver and its upstream's sender, and every other session between the two servers. */
  'replication-cut': { weight: 2, primary: 0.5, lasts: [2, 12] },
  /** The daemons' HTTP. */
  'api-cut': { weight: 1, primary: 0.5, lasts: [2, 12] },
  'client-cut': { weight: 1, primary: 0.8, lasts: [2, 10] },
  /** What a node sends goes at 0.25 to 4 Mbit/s. */
  'link-slow': { weight: 1, primary: 0.6, lasts: [3, 12] },
  'disk-frozen': { weight: 2, primary: 0.7, lasts: [2, 12] },
  'disk-full': { weight: 1, primary: 0.7, lasts: [3, 12] },
  /** The wall clock of a node is set, up to an hour ahead or back, and set right again. */
  'clock-stepped': { weight: 2, primary: 0.6, lasts: [3, 12] },
  'etcd-member-killed': { weight: 2, primary: null, lasts: [2, 12] },
  'etcd-member-frozen': { weight: 1, primary: null, lasts: [2, 12] },
  /** Nobody can write to etcd. */
  'etcd-frozen': { weight: 1, primary: null, lasts: [2, 10] },
  'operator-switchover': { weight: 2, primary: 0, lasts: null },
  'operator-restart': { weight: 1, primary: 0.4, lasts: null },
  'operator-reinit': { weight: 1, primary: 0, lasts: null },
} as const satisfies Readonly<Record<string, Kind>>;

export type FaultKind = keyof typeof KINDS;

const NAMES = Object.keys(KINDS) as readonly FaultKind[];

/** Three to five. */
export function drawNodes(seed: string): number {
  return new SeededRandom(`chaos:${seed}`).whole(3, 5);
}

/** The faults of one round: a few, so close that a second one meets what the first has left. */
export function drawRound(seed: string, number: number): Round {
  const random = new SeededRandom(`chaos:${seed}:${number}`);
  const faults: PlannedFault[] = [];
  let at = random.between(500, 2_000);
  for (let left = random.whole(2, 5); left > 0; left--) {
    const kind = drawKind(random);
    const { primary, lasts }: Kind = KINDS[kind];
    const whom = primary === null ? 'any' : random.chance(primary) ? 'primary' : 'standby';
    const duration = lasts === null ? null : Math.round(random.between(lasts[0] * 1_000, lasts[1] * 1_000));
    faults.push({ at: Math.round(at), kind, whom, which: random.next(), lasts: duration });
    at += random.chance(0.3) ? random.between(50, 800) : random.between(1_500, 7_000);
  }
  return { number, faults };
}

function drawKind(random: SeededRandom): FaultKind {
  let rest = random.between(
    0,
    NAMES.reduce((sum, name) => sum + KINDS[name].weight, 0),
  );
  for (const name of NAMES) {
    rest -= KINDS[name].weight;
    if (rest < 0) return name;
  }
  return 'postmaster-killed';
}

/** A plan as it was printed: one round, or several. @throws when it is none, saying why */
export function readPlan(text: string): readonly Round[] {
  const plan = JSON.parse(text) as { readonly rounds?: readonly Round[] };
  if (!Array.isArray(plan.rounds)) throw new Error('a plan is {"rounds": [...]}');
  for (const { faults } of plan.rounds as readonly Round[]) {
    for (const { kind, at, which } of faults) {
      if (!(kind in KINDS)) throw new Error(`there is no fault '${kind}'; there are ${NAMES.join(', ')}`);
      if (!(at >= 0) || !(which >= 0 && which < 1)) throw new Error(`a fault '${kind}' without a time or a target`);
    }
  }
  return plan.rounds;
}
