/**
 * The leader's Postgres accepts writes, and something ails its node. A failover is worth its pause only where somebody
 * else is better off: so this asks who is well and has room, and stays where nobody is. Who was sick lately is handed
 * nothing, or two nodes whose disks fill up would throw the lead to each other.
 */
import type { Action } from '../action.ts';
import { describeRanking } from '../candidate.ts';
import type { Holding } from '../classify.ts';
import type { ClusterView } from '../cluster.ts';
import { type Decision, decision } from '../decision.ts';
import { isMember } from '../election/voting.ts';
import type { PeerStatus } from '../peer.ts';
import { type Ailment, cannotWrite, describeSickness, hinders, treatable } from '../sickness.ts';
import type { NodeName } from '../store.ts';
import { between, earlierBy, type Instant, laterBy, millis } from '../time.ts';
import type { View } from '../view.ts';
import { others } from './leading.ts';
import { restartAsScheduled } from './restarting.ts';
import { whoCanTake } from './switching-over.ts';

/** A candidate for a leader whose disk is full has so many times the room at which a disk counts as full. */
const ROOM = 4n;
/** Answers older than this are asked for again. */
const FRESH = millis(2_000);
/** A stop that was decided here has been carried out by then, or something else is going on. */
const STOPPED_WITHIN_MS = 60_000;

/** @returns null: nothing ails it */
export function treat(view: View, holding: Holding, cluster: ClusterView): Decision | null {
  const found = howToTreat(view, holding, cluster);
  // Where it goes on all the same, what an operator has scheduled is done: a restart may be the remedy.
  return found?.rule === 'leading.sick-stays' ? (restartAsScheduled(view) ?? found) : found;
}

function howToTreat(view: View, holding: Holding, cluster: ClusterView): Decision | null {
  const { ailments, now } = view;
  if (ailments.length === 0) return null;
  const all = ailments.map(({ sickness }) => describeSickness(sickness)).join('; ');
  const goesOn = (rule: 'leading.sick' | 'leading.sick-stays', why: string): Decision =>
    decision(rule, `${all}; Postgres goes on: ${why}`);
  const stays = (why: string): Decision => goesOn('leading.sick-stays', why);

  const acute = ailments.filter((ailment) => reaction(view, ailment) === 'failover');
  if (acute.length === 0) return stays(whyNothingIsDone(ailments));
  const { failover, sickness: policy } = view.policy.cluster;
  if (failover === 'manual') return stays('failover is manual');
  if (holding.provenBy === 'members') return stays('without etcd the key cannot be handed over');
  if (!holding.windowOpen) return null;
  const patience = millis(Math.min(...acute.map(({ since }) => policy.patience - between(since, now))));
  if (patience > 0)
    return {
      ...goesOn('leading.sick', `for ${Math.ceil(patience / 1000)} s more it may pass by itself`),
      again: patience,
    };
  const failed = failedSinceTried(view);
  const rest = view.handoverTriedAt === null ? 0 : policy.rest - between(view.handoverTriedAt, now);
  if (rest > 0 && failed === null)
    return stays(`it was given up here and came back; not again for ${Math.ceil(rest / 1000)} s`);

  const names = others(view);
  if (names.length === 0) return stays('there is no other member');
  const ask: readonly Action[] = [{ do: 'ask-peers', waitFor: names }];
  const heardSince = (when: Instant): boolean =>
    names.every((name) => {
      const answer = view.peers.get(name);
      return answer !== undefined && answer.at >= when;
    });
  if (!heardSince(earlierBy(now, FRESH))) {
    // Once they were all heard, that they are asked anew with each loop is no news.
    const rule = heardSince(laterBy(now, patience)) ? 'leading.sick-stays' : 'leading.sick';
    return { ...goesOn(rule, `${names.join(', ')} are asked whether they are better off`), actions: ask };
  }
  const { fit, reasons } = whoCanTake(
    view,
    cluster,
    names.filter((name) => isMember(view, cluster, name)),
  );
  const unwell = new Map(fit.map(({ name }) => [name, whyNoBetter(view, name, acute)]));
  const well = fit.filter(({ name }) => unwell.get(name) === null);
  const best = well[0];
  if (best === undefined) {
    const why = [...reasons, ...[...unwell.values()].filter((one) => one !== null)].join('; ');
    return { ...stays(`nobody is better off${why === '' ? '' : ` (${why})`}`), actions: ask };
  }
  const whom = `${best.name} takes over; ranking: ${describeRanking(well)}`;
  // Neither has anything to write a checkpoint with, or somebody to write one.
  const atOnce = acute.some(({ sickness: { kind } }) => cannotWrite(kind) || kind === 'checkpointer-stuck');
  if (atOnce) return decision('leading.sick-gives-up', `${all}; ${whom}`, [{ do: 'stop-immediately' }]);
  return failed === null
    ? decision('leading.sick-hands-over', `${all}; ${whom}`, [{ do: 'stop-for-switchover' }])
    : decision('leading.sick-hands-over', `${all}; the stop could not be prepared (${failed}); ${whom}`, [
        { do: 'stop-in-order' },
      ]);
}

/** Postgres here was stopped by the rules above: it stays down if somebody takes over, whatever a crash would do. */
export function triedToHandOver({ handoverTriedAt, localSince }: View): boolean {
  if (handoverTriedAt === null) return false;
  const took = between(handoverTriedAt, localSince);
  return took >= 0 && took <= STOPPED_WITHIN_MS;
}

function reaction(view: View, { sickness }: Ailment): 'failover' | 'stay' {
  const kind = treatable(sickness);
  return kind === null ? 'stay' : view.policy.cluster.sickness.react[kind];
}

function whyNothingIsDone(ailments: readonly Ailment[]): string {
  return ailments.some(({ sickness }) => treatable(sickness) !== null)
    ? 'the settings say so'
    : 'a failover would not help';
}

/** What the last try died of, if it is to be tried in another way. */
function failedSinceTried({ attempts, handoverTriedAt }: View): string | null {
  const failed = attempts.get('switchover');
  if (failed === undefined || failed.failures === 0 || handoverTriedAt === null) return null;
  return failed.lastFailedAt >= handoverTriedAt ? failed.said : null;
}

/** null: it would be better off as the leader. */
function whyNoBetter(view: View, name: NodeName, acute: readonly Ailment[]): string | null {
  const answer = view.peers.get(name);
  if (answer?.kind !== 'answered') return `${name} does not answer`;
  const { status } = answer;
  const { rest, fullBelowBytes } = view.policy.cluster.sickness;
  const same = status.ailing.find(hinders);
  if (same !== undefined) return `${name} is sick itself (${same})`;
  if (status.ailedAgo !== null && status.ailedAgo < rest)
    return `${name} was sick ${Math.round(status.ailedAgo / 1000)} s ago`;
  if (acute.every(({ sickness }) => sickness.kind !== 'disk-full')) return null;
  return whyNoRoom(status, ROOM * fullBelowBytes);
}

function whyNoRoom({ name, freeBytes }: PeerStatus, needed: bigint): string | null {
  if (freeBytes === null) return `${name} does not say how much room it has`;
  return freeBytes < needed ? `${name} has ${freeBytes} bytes of room, and ${needed} are needed` : null;
}
