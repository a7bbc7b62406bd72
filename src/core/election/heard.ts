/** What the other members have said, and how old it is. */

import { type Contender, compareContenders, contender } from '../candidate.ts';
import type { ClusterView } from '../cluster.ts';
import type { PeerAnswer, PeerStatus } from '../peer.ts';
import type { NodeName } from '../store.ts';
import { between, type Instant, type Millis, millis } from '../time.ts';
import type { View } from '../view.ts';

/** Answers of peers older than this are asked for again. */
export const FRESH_MS = 2_000;

/** How long each better candidate is given before the next one goes. */
export const STAND_BACK_MS = 400;

/** Everybody who was a member a short while ago, without us. */
export function namesOf(view: View, cluster: ClusterView): readonly NodeName[] {
  return [...new Set([...cluster.members.map((member) => member.name), ...view.lately])].filter(
    (name) => name !== view.self,
  );
}

export const mayReceive = (view: View, name: NodeName): boolean | null => statusOf(view, name)?.mayReceive ?? null;

/** What this member said, if it did so lately. */
export function lastAnswer(view: View, name: NodeName): Extract<PeerAnswer, { kind: 'answered' }> | null {
  const answer = view.peers.get(name);
  return answer?.kind === 'answered' && between(answer.at, view.now) <= FRESH_MS ? answer : null;
}

/**
 * What this member said of data that are this cluster's. One with data of another cluster runs, and has a position, that
 * means nothing here: it never takes the key, and whoever has less must not wait for it, or hand over to it.
 */
export function kinAnswer(view: View, name: NodeName): PeerStatus | null {
  const said = lastAnswer(view, name)?.status ?? null;
  return said === null || isForeign(view, said) ? null : said;
}

const isForeign = ({ local }: View, { systemId }: PeerStatus): boolean =>
  'systemId' in local && systemId !== null && systemId !== local.systemId;

export const saysNo = (view: View, name: NodeName): boolean =>
  (lastAnswer(view, name)?.status.vetoedFor ?? null) !== null;

/** It says so; or it has a command, and has not been asked since it could have begun. */
export function mayBeValidating(view: View, name: NodeName): boolean {
  const answer = lastAnswer(view, name);
  if (answer === null) return false;
  // By when he was heard, not by when he was asked: one who takes his time to answer would be asked for ever.
  return answer.status.validating || (answer.status.validates && between(answer.heardAt, view.now) > STAND_BACK_MS / 2);
}

export function heardLately(view: View, name: NodeName): boolean {
  const answer = view.peers.get(name);
  return answer !== undefined && between(answer.at, view.now) <= FRESH_MS;
}

export function statusOf(view: View, name: NodeName): PeerStatus | null {
  const answer = view.peers.get(name);
  return answer?.kind === 'answered' && heardLately(view, name) ? answer.status : null;
}

/** @param neverLed where nobody has led, one that runs without a window is one that is just being taken in */
export function saysPrimary(view: View, name: NodeName, neverLed: boolean): boolean {
  const status = statusOf(view, name);
  if (status === null) return false;
  return status.writable || (neverLed && status.state === 'running' && !status.inRecovery);
}

export const runsAsPrimary = (status: PeerStatus | null): boolean =>
  status?.pgha === true && !status.witness && status.state === 'running' && !status.inRecovery;

/** By its own word: its Postgres is a standby by now, or down. */
export function isPrimaryNoMore(view: View, name: NodeName): boolean {
  const said = lastAnswer(view, name)?.status;
  return said !== undefined && !said.writable && (said.inRecovery || said.state !== 'running');
}

export interface Sighting {
  readonly by: NodeName;
  readonly age: Millis;
}

/** Who saw Postgres of `primary` alive, and how long ago that is now; youngest first. */
export function sightings(view: View, others: readonly NodeName[], primary: NodeName): readonly Sighting[] {
  const found: Sighting[] = [];
  if (view.sawPrimary !== null && primary !== view.self) found.push({ by: view.self, age: view.sawPrimary });
  for (const by of others) {
    const answer = lastAnswer(view, by);
    if (answer === null || answer.status.sawPrimary === null || answer.status.sawPrimaryOf !== primary) continue;
    found.push({ by, age: millis(answer.status.sawPrimary + between(answer.at, view.now)) });
  }
  return found.sort((a, b) => a.age - b.age);
}

/** `b saw a 120 ms ago, c 900 ms ago` */
export function describeSightings(primary: NodeName, seen: readonly Sighting[]): string {
  return seen
    .map(({ by, age }, i) =>
      i === 0 ? `${by} saw ${primary} ${Math.round(age)} ms ago` : `${by} ${Math.round(age)} ms ago`,
    )
    .join(', ');
}

/** Members who answered lately and may lead. Who does not answer cannot win either. */
export function contenders(view: View, names: readonly NodeName[]): readonly Contender[] {
  const found: Contender[] = [];
  for (const name of names) {
    const answer = view.peers.get(name);
    if (answer?.kind !== 'answered' || between(answer.at, view.now) > FRESH_MS) continue;
    const one = isForeign(view, answer.status) ? null : contender(answer.status);
    if (one !== null) found.push(one);
  }
  return found.sort((a, b) => compareContenders(a, b));
}

export function askedSince(view: View, name: NodeName, since: Instant): boolean {
  const answer = view.peers.get(name);
  return answer !== undefined && answer.at >= since && between(answer.at, view.now) <= FRESH_MS;
}
