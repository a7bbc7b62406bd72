import { describe, expect, it } from 'vitest';
import { SharedNodeIds } from '../../../src/agent/shared-node-ids.ts';
import type { Member, MemberExtras } from '../../../src/core/cluster.ts';
import { aMember } from '../core/builders.ts';

const withId = (name: string, nodeId: number | null): Member =>
  aMember(name, { pgha: { nodeId } as Partial<MemberExtras> as MemberExtras });

describe('two members with one node_id', () => {
  it('are named once, in one warning, and again only after it was put right', () => {
    const said: string[] = [];
    const ids = new SharedNodeIds({ write: (severity, _, sentence) => void said.push(`${severity}: ${sentence}`) });
    const wrong = [withId('b', 2), withId('a', 2), withId('c', 3)];
    for (let i = 0; i < 3; i++) ids.look(wrong);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/^warn: a and b have the same node_id 2/);
    ids.look([withId('b', 1), withId('a', 2), withId('c', 3)]);
    ids.look(wrong);
    expect(said).toHaveLength(2);
  });

  it('are not those who have none, or who run Patroni', () => {
    const said: string[] = [];
    const ids = new SharedNodeIds({ write: (_, __, sentence) => void said.push(sentence) });
    ids.look([withId('a', null), withId('b', null), aMember('c'), withId('d', 1)]);
    expect(said).toEqual([]);
  });
});
