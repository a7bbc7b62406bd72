/** From whom a copy is made. */
import { describe, expect, it } from 'vitest';
import type { ClusterView, Member } from '../../../src/core/cluster.ts';
import { copySource } from '../../../src/core/copy-source.ts';
import { parseLsn, timeline } from '../../../src/core/lsn.ts';
import { nodeName, revision } from '../../../src/core/store.ts';
import { aCluster, aMember, aView, before, failed } from './builders.ts';

const source = (name: string, over: Partial<Member> = {}): Member =>
  aMember(name, {
    tags: { clonefrom: true },
    replicationState: 'streaming',
    receiveLsn: parseLsn('0/5000000'),
    ...over,
  });

function chosen(members: readonly Member[], failures = 0): string {
  const cluster: ClusterView = aCluster({ members: [aMember('a'), aMember('b'), ...members] });
  const leader = cluster.leader;
  if (leader === null) throw new Error('somebody leads here');
  const attempts = failures === 0 ? new Map() : failed('copy', failures, before(60_000));
  return copySource(aView({ cluster, attempts, local: { kind: 'absent' } }), cluster, leader);
}

describe('the source of a copy', () => {
  it('is the leader where nobody is tagged clonefrom', () => {
    expect(chosen([aMember('c', { replicationState: 'streaming' })])).toBe('a');
  });

  it('is the leader for a voter of synchronous replication, who must not lose what he has acknowledged', () => {
    const key = { leader: nodeName('a'), voters: [nodeName('b'), nodeName('c')], quorum: 1 };
    const cluster = aCluster({
      members: [aMember('a'), aMember('b'), source('c')],
      sync: { revision: revision(7), key, garbled: false },
    });
    if (cluster.leader === null) throw new Error('somebody leads here');
    expect(copySource(aView({ cluster, local: { kind: 'absent' } }), cluster, cluster.leader)).toBe('a');
  });

  it('is the tagged standby that has received most', () => {
    expect(chosen([source('c'), source('d', { receiveLsn: parseLsn('0/5000060') }), source('e')])).toBe('d');
  });

  it.each<[string, Partial<Member>]>([
    ['does not stream', { replicationState: null }],
    ['is on another timeline', { timeline: timeline(1) }],
    ['does not run', { state: 'starting' }],
    ['has no address', { host: null }],
  ])('is no standby that %s', (_what, over) => expect(chosen([source('c', over)])).toBe('a'));

  it('is the next one after each failure, the leader last, and then the first again', () => {
    expect([0, 1, 2, 3].map((failures) => chosen([source('c'), source('d')], failures))).toEqual(['c', 'd', 'a', 'c']);
  });
});
