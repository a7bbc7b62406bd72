/** How long one decision takes, for the bench: views as the unit tests build them, decided over and over. It judges nothing. */
import { decide } from '../../../src/core/decide.ts';
import { explain } from '../../../src/core/explain.ts';
import type { View } from '../../../src/core/view.ts';
import {
  aCluster,
  aLineage,
  aMember,
  aPeer,
  aView,
  leads,
  leadsWithPostgresDown,
  peers,
  seeks,
} from '../../unit/core/builders.ts';
import { monotonic } from './time.ts';

export interface DecisionTime {
  readonly what: string;
  /** Milliseconds. */
  readonly median: number;
  readonly p99: number;
  readonly largest: number;
}

const CROWD = Array.from({ length: 32 }, (_, i) => `m${i}`);
const crowd = peers(Object.fromEntries(CROWD.map((name) => [name, aPeer(name)])));
const crowded = aCluster({ leader: null, members: ['b', ...CROWD].map((name) => aMember(name)) });

const VIEWS: Readonly<Record<string, View>> = {
  'a leader at rest': leads(),
  'a standby at rest': aView({ lineage: aLineage() }),
  'a leader whose Postgres has died': leadsWithPostgresDown(),
  'an election among 3': seeks(),
  'an election among 33': seeks({ cluster: crowded, peers: crowd }),
};

const ROUNDS = 5_000;
const WARM_UP = 500;

/** Of every kind of view, and of one whole explanation. */
export function decisionTimes(): readonly DecisionTime[] {
  const follows = aView({ peers: peers({ a: aPeer('a'), c: aPeer('c') }) });
  return [
    ...Object.entries(VIEWS).map(([what, view]) => timesOf(what, () => decide(view))),
    timesOf('explain on a standby', () => explain(follows)),
  ];
}

function timesOf(what: string, work: () => unknown): DecisionTime {
  const times: number[] = [];
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const began = monotonic();
    work();
    if (round >= 0) times.push(monotonic() - began);
  }
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
  return { what, median: at(0.5), p99: at(0.99), largest: at(1) };
}
