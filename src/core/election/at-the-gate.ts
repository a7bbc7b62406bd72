/** Nobody promotes before the gate opens; what the others know of it is asked meanwhile. */

import { type Decision, decision } from '../decision.ts';
import { between, LONG_AGO, millis } from '../time.ts';
import type { View } from '../view.ts';
import { namesOf } from './heard.ts';

/** Nobody is waited for longer than this when he is asked, and a little. */
const ASKING_MS = 1_000;

export function waitAtTheGate(view: View): Decision {
  const opensAt = view.gate?.opensAt ?? 'never';
  if (opensAt === 'never') {
    return decision(
      'leaderless.at-the-gate',
      'the last leader went in maintenance, without saying for how long it may write: an operator has to resume or to fail over by hand',
    );
  }
  const left = between(view.now, opensAt);
  if (view.confirmed !== null && view.confirmed.until >= opensAt) {
    return decision(
      'leaderless.at-the-gate',
      `${view.confirmed.to} goes on without etcd, and ${view.self} has agreed to wait for up to ${Math.ceil(left)} ms more`,
      [],
      millis(Math.max(1, left)),
    );
  }
  const unknown = notTold(view);
  if (unknown !== null && view.dcs.kind === 'read') {
    const why = `${unknown.why} may be writing for up to ${Math.ceil(left)} ms more`;
    // Asking must not take us past the gate, nor wait for the one who is gone.
    if (left < ASKING_MS) return decision('leaderless.at-the-gate', why, [], millis(Math.max(1, left)));
    const { cluster } = view.dcs;
    const lost = cluster.leader?.name ?? view.lastLeader;
    const names = namesOf(view, cluster);
    const waitFor = names.filter((name) => name !== lost);
    const isDue = names.some((name) => between(view.peers.get(name)?.at ?? LONG_AGO, view.now) >= unknown.askEvery);
    return decision(
      'leaderless.at-the-gate',
      why,
      isDue ? [{ do: 'ask-peers', waitFor }] : [],
      millis(Math.min(left, 250)),
    );
  }
  return decision(
    'leaderless.at-the-gate',
    `the last leader may still be writing for up to ${Math.ceil(left)} ms: nobody promotes before that`,
    [],
    millis(Math.max(1, left)),
  );
}

/** Of what etcd does not tell here the others are asked, while they are there: what they have read may end or prolong the wait. */
function notTold({ gate }: View): { readonly why: string; readonly askEvery: number } | null {
  if (gate?.doubt !== undefined) {
    const why = `${gate.doubt.why}; should etcd have been restored meanwhile, whoever was elected before that`;
    return { why, askEvery: 0 };
  }
  const isLost = gate?.lostUntil !== undefined;
  return isLost
    ? { why: 'nothing that etcd says is from before it was empty or replaced; whoever led then', askEvery: 1_000 }
    : null;
}
