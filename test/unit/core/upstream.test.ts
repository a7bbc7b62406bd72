/** What a standby remembers of the members it could receive from, and who is fed through whom. */
import { describe, expect, it } from 'vitest';
import type { Member } from '../../../src/core/cluster.ts';
import { nodeName } from '../../../src/core/store.ts';
import { isFed, NOTHING_REMEMBERED, noteMembers, noteSilent, toldToFollow } from '../../../src/core/upstream.ts';
import { aCluster, aMember, before, after as later, NOW, someExtras } from './builders.ts';

const c = nodeName('c');
const streams = (name: string, over: Partial<Member> = {}): Member =>
  aMember(name, { replicationState: 'streaming', ...over });
describe('the members', () => {
  it('are good since they were first seen streaming, until they are not', () => {
    const first = noteMembers(NOTHING_REMEMBERED, aCluster({ members: [aMember('a'), streams('c')] }), NOW);
    const then = noteMembers(first, aCluster({ members: [aMember('a'), streams('c')] }), later(500));
    expect(then.goodSince.get(c)).toBe(NOW);
    const worse = noteMembers(then, aCluster({ members: [aMember('a'), aMember('c')] }), later(1_000));
    expect([worse.goodSince.get(c), worse.badSince.get(c)]).toEqual([undefined, later(1_000)]);
    const back = noteMembers(worse, aCluster({ members: [aMember('a'), streams('c')] }), later(1_500));
    expect([back.goodSince.get(c), back.badSince.get(c)]).toEqual([later(1_500), undefined]);
  });

  it.each([
    ['does not stream', {}],
    ['is not running', { replicationState: 'streaming', state: 'starting' }],
    ['is a primary', { replicationState: 'streaming', role: 'primary' }],
    ['is a witness', { replicationState: 'streaming', role: 'witness' }],
    ['has no address', { replicationState: 'streaming', host: null }],
    ['is on an older timeline than the leader', { replicationState: 'streaming', timeline: 1 as Member['timeline'] }],
  ])('feed nobody where one %s', (_what, over) => {
    const noted = noteMembers(NOTHING_REMEMBERED, aCluster({ members: [aMember('a'), aMember('c', over)] }), NOW);
    expect(noted.goodSince.has(c)).toBe(false);
  });

  it('are all bad without a leader: nobody knows which line counts', () => {
    const cluster = aCluster({ leader: null, members: [streams('c')] });
    expect(noteMembers(NOTHING_REMEMBERED, cluster, NOW).goodSince.size).toBe(0);
  });

  it('leave behind whom they were told to follow when their keys run out', () => {
    const d = streams('d', { pgha: someExtras({ upstream: c }) });
    const first = noteMembers(NOTHING_REMEMBERED, aCluster({ members: [aMember('a'), d] }), NOW);
    expect(noteMembers(first, aCluster({ members: [aMember('a')] }), NOW).told.get(nodeName('d'))).toBe(c);
  });

  it('are told by our own setting or by the tag that Patroni knows', () => {
    expect(toldToFollow(aMember('b', { tags: { replicatefrom: 'c' } }))).toBe(c);
    expect(toldToFollow(aMember('b', { pgha: someExtras({ upstream: c }) }))).toBe(c);
    expect(toldToFollow(aMember('b', { tags: { replicatefrom: 7 } }))).toBeNull();
    expect(toldToFollow(aMember('b'))).toBeNull();
  });
});

describe('a silent member', () => {
  it('is counted, and forgiven after long enough', () => {
    const once = noteSilent(NOTHING_REMEMBERED, c, before(60_000));
    expect(noteSilent(once, c, NOW).silent.get(c)).toEqual({ times: 2, at: NOW });
    expect(noteSilent(once, c, later(1_200_000)).silent.get(c)?.times).toBe(1);
  });
});

describe('a member that was silent', () => {
  it.each([
    ['its key runs out', null, false],
    ['its Postgres goes down', aMember('c', { state: 'crashed' }), false],
    ['it goes on as it was', streams('c'), true],
    ['it does not stream for a while', aMember('c'), true],
  ])('is remembered or not when %s', (_what, member, remembered) => {
    const silent = noteSilent(NOTHING_REMEMBERED, c, before(1_000));
    const cluster = aCluster({ members: [aMember('a'), ...(member === null ? [] : [member])] });
    expect(noteMembers(silent, cluster, NOW).silent.has(c)).toBe(remembered);
  });
});

describe('a member is fed by the leader', () => {
  const from = (name: string, upstream: string): Member =>
    streams(name, { pgha: someExtras({ receivesFrom: nodeName(upstream) }) });

  it('when it streams from it, or through others that do', () => {
    const cluster = aCluster({ members: [aMember('a'), from('b', 'a'), from('c', 'b'), from('d', 'c')] });
    expect(['b', 'c', 'd'].map((name) => isFed(cluster, new Set(['b']), nodeName(name)))).toEqual([true, true, true]);
  });

  it('not when one of them does not stream, is gone, or they feed each other', () => {
    const broken = aCluster({ members: [aMember('a'), aMember('b'), from('c', 'b')] });
    expect(isFed(broken, new Set(), c)).toBe(false);
    expect(isFed(aCluster({ members: [from('c', 'x')] }), new Set(), c)).toBe(false);
    expect(isFed(aCluster({ members: [from('c', 'd'), from('d', 'c')] }), new Set(), c)).toBe(false);
  });
});
