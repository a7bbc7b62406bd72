/** `synchronous_standby_names`: what is written reads back as what was meant, or is known to be somebody else's. */
import { describe, expect, it } from 'vitest';
import type { Acknowledging } from '../../../src/core/quorum.ts';
import { nodeName } from '../../../src/core/store.ts';
import { parseNames, printNames } from '../../../src/postgres/sync-names.ts';

const standbys = (count: number, ...names: string[]): Acknowledging => ({
  kind: 'standbys',
  names: names.map(nodeName),
  count,
});

describe('synchronous_standby_names', () => {
  it.each([
    ['on', standbys(1, 'b'), 'b'],
    ['on', standbys(2, 'b', 'c'), '2 (b,c)'],
    // On the way from one name to another nobody can acknowledge.
    ['on', standbys(2, 'b'), '2 (b)'],
    ['on', standbys(1, 'node-2'), '"node-2"'],
    ['quorum', standbys(1, 'b'), 'ANY 1 (b)'],
    ['quorum', standbys(2, 'b', 'c', 'd'), 'ANY 2 (b,c,d)'],
    ['quorum', standbys(3, 'b', 'c'), 'ANY 3 (b,c)'],
    ['on', { kind: 'alone' }, ''],
    ['on', { kind: 'blocked' }, '__patroni_strict_sync_replica_placeholder__'],
  ] as const)('with mode %s says %o as %s, and reads it back', (mode, acknowledging, text) => {
    expect(printNames(acknowledging, mode)).toBe(text);
    expect(parseNames(text)).toEqual(acknowledging);
  });

  it.each(['*', '1 (b,c)', 'FIRST 1 (b, c)', 'b,c,*', 'b (c)'])("leaves %s alone: it is somebody else's", (text) => {
    expect(parseNames(text)).toEqual({ kind: 'foreign', text });
  });
});
