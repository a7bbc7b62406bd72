import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Contender,
  compareContenders,
  contender,
  describeRanking,
  rank,
  unfit,
} from '../../../src/core/candidate.ts';
import { lsn, timeline } from '../../../src/core/lsn.ts';
import type { PeerStatus } from '../../../src/core/peer.ts';
import { nodeName } from '../../../src/core/store.ts';
import { aPeer, END } from './builders.ts';

const aContender = (name: string, over: Partial<Contender> = {}): Contender => ({
  name: nodeName(name),
  timeline: timeline(2),
  position: END,
  priority: 100,
  ailing: false,
  location: 'default',
  nodeId: null,
  ...over,
});
const order = (...contenders: readonly Contender[]): string =>
  rank(contenders)
    .map(({ name }) => name)
    .join(' ');

describe('the ranking', () => {
  it('puts the newer timeline before the further position', () => {
    expect(order(aContender('a', { position: lsn(END + 9n) }), aContender('b', { timeline: timeline(3) }))).toBe('b a');
  });

  it('puts the further position before the higher priority', () => {
    expect(order(aContender('a', { priority: 200 }), aContender('b', { position: lsn(END + 1n) }))).toBe('b a');
  });

  it('puts the higher priority before the lower node_id', () => {
    expect(order(aContender('a', { nodeId: 1 }), aContender('b', { nodeId: 2, priority: 101 }))).toBe('b a');
  });

  it('puts the lower node_id before the earlier name', () => {
    expect(order(aContender('a', { nodeId: 10 }), aContender('b', { nodeId: 9 }))).toBe('b a');
  });

  it('puts one with a node_id before one without', () => {
    expect(order(aContender('a'), aContender('b', { nodeId: 1 }))).toBe('b a');
  });

  it('goes by name when nothing else differs', () => {
    expect(order(aContender('b'), aContender('a'))).toBe('a b');
    expect(order(aContender('b', { nodeId: 1 }), aContender('a', { nodeId: 1 }))).toBe('a b');
  });

  it('says what it rests on', () => {
    expect(describeRanking([aContender('b')])).toBe('b (timeline 2, 0/5000060, priority 100)');
  });

  const anyContender = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd').map(nodeName),
    // Mostly alike, so that all the criteria are come to.
    timeline: fc.constantFrom(2, 2, 2, 3).map(timeline),
    position: fc.constantFrom(7n, 7n, 7n, 8n).map(lsn),
    priority: fc.constantFrom(100, 100, 100, 50),
    nodeId: fc.option(fc.integer({ min: 1, max: 3 })),
    location: fc.constantFrom('east', 'west'),
    ailing: fc.constantFrom(false, false, true),
  });
  /** Names are unique in a cluster. */
  const cluster = fc.uniqueArray(anyContender, { selector: ({ name }) => name, maxLength: 4 });

  it('is the same on every node, in whatever order the answers came', () => {
    void fc.assert(
      fc.property(
        cluster.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
        ([all, shuffled]) => {
          expect(rank(shuffled)).toEqual(rank(all));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('is a total order', () => {
    void fc.assert(
      fc.property(anyContender, anyContender, anyContender, (a, b, c) => {
        expect(Math.sign(compareContenders(a, b))).toBe(-Math.sign(compareContenders(b, a)) + 0);
        if (compareContenders(a, b) < 0 && compareContenders(b, c) < 0) expect(compareContenders(a, c)).toBeLessThan(0);
        if (a.name !== b.name) expect(compareContenders(a, b)).not.toBe(0);
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('who may lead', () => {
  const peer = (over: Partial<PeerStatus>): PeerStatus => {
    const answer = aPeer('c', over);
    if (answer.kind !== 'answered') throw new Error('it answers');
    return answer.status;
  };

  it('is a running standby with a known final position', () => {
    expect(unfit(peer({}))).toBeNull();
    expect(contender(peer({}))).toEqual(aContender('c'));
  });

  it.each([
    ['one tagged nofailover', { noFailover: true }],
    ['one with priority 0', { priority: 0 }],
    ['a primary', { inRecovery: false }],
    ['one that is not running', { state: 'starting' }],
    ['one without a position', { position: null }],
    ['one without a timeline', { timeline: null }],
    ['one that still replays its own WAL', { positionFinal: false }],
  ] as const)('is not %s', (_who, over) => {
    expect(unfit(peer(over))).toMatch(/c/);
    expect(contender(peer(over))).toBeNull();
  });
});
