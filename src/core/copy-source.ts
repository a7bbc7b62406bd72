/**
 * From whom a copy is made: from a standby that its operator has tagged `clonefrom`, so that the leader has his disk for
 * his clients; else from the leader. Pure; whether the source is what it says is asked again before anything is done.
 */
import type { ClusterView, LeaderKey, Member } from './cluster.ts';
import { furthest, type Lsn, NOWHERE } from './lsn.ts';
import type { NodeName } from './store.ts';
import { memberNamed, type View } from './view.ts';

/** Whoever has failed as a source leaves the next turn to the next one; the leader is the last of them. */
export function copySource(view: View, cluster: ClusterView, leader: LeaderKey): NodeName {
  const sources = [...preferredSources(cluster, leader, view.self), leader.name];
  const failures = view.attempts.get('copy')?.failures ?? 0;
  return sources[failures % sources.length] ?? leader.name;
}

/** The furthest first. */
export function preferredSources(cluster: ClusterView, leader: LeaderKey, self: NodeName): readonly NodeName[] {
  // A voter may be the only one beside the leader that has some acknowledged commit, and others take it at its word: it
  // never goes back to what another standby has.
  if (cluster.sync?.key?.voters.includes(self) === true) return [];
  const line = memberNamed(cluster, leader.name)?.timeline ?? null;
  const reaches = (member: Member): Lsn => furthest(member.receiveLsn ?? NOWHERE, member.replayLsn ?? NOWHERE);
  return cluster.members
    .filter(
      (member) =>
        member.name !== self &&
        member.name !== leader.name &&
        member.tags['clonefrom'] === true &&
        member.pgha?.role !== 'witness' &&
        member.host !== null &&
        member.port !== null &&
        member.state === 'running' &&
        member.replicationState === 'streaming' &&
        line !== null &&
        member.timeline === line,
    )
    .toSorted((a, b) => (reaches(a) === reaches(b) ? (a.name < b.name ? -1 : 1) : reaches(a) > reaches(b) ? -1 : 1))
    .map(({ name }) => name);
}
