import { describe, expect, it } from 'vitest';
import {
  KEPT_LAGS_BYTES,
  type Lag,
  type LagPoint,
  lagsNow,
  minuteOf,
  readLags,
  thinned,
  writeLags,
} from '../../../src/core/lag-history.ts';
import { type Lsn, lsn } from '../../../src/core/lsn.ts';
import { aCluster, primary, threeMembers } from '../http/builders.ts';

const MINUTE = 60_000;
const NOON = Date.UTC(2026, 10, 20, 12);

const aPoint = (from: number, over: Record<string, Lag> = { b: { receive: 0, replay: 0 } }, of = 'a'): LagPoint => ({
  from,
  primary: of,
  lags: new Map(Object.entries(over)),
});

describe('how far a standby is behind', () => {
  const sender = (applicationName: string, flushed: Lsn | null, replayed: Lsn | null) =>
    ({ applicationName, flushed, replayed }) as ReturnType<typeof primary>['senders'][number];

  it('is what its sender says; of a cascading standby what it has published', () => {
    const local = primary({ flushed: lsn(0x5000060), senders: [sender('c', lsn(0x5000050), lsn(0x5000000))] });
    expect(lagsNow(local, aCluster(threeMembers()))).toEqual(
      new Map([
        ['b', { receive: 0, replay: 0x60 }],
        ['c', { receive: 0x10, replay: 0x60 }],
      ]),
    );
  });

  it('is unknown of one that says nothing, and never negative', () => {
    const local = primary({ flushed: lsn(0x4000000) });
    expect(lagsNow(local, aCluster(threeMembers()))).toEqual(
      new Map([
        ['b', { receive: 0, replay: 0 }],
        ['c', { receive: null, replay: null }],
      ]),
    );
  });
});

describe('the history', () => {
  it('has a point a minute for the last hour and one in ten minutes before that, with the peaks', () => {
    const points = Array.from({ length: 90 }, (_, i) =>
      aPoint(NOON - i * MINUTE, { b: { receive: i, replay: i === 75 ? 1_000 : null } }),
    );
    const kept = thinned(points, NOON);
    const fine = kept.filter(({ from }) => from >= NOON - 60 * MINUTE);
    expect(fine).toHaveLength(61);
    const coarse = kept.filter(({ from }) => from < NOON - 60 * MINUTE);
    expect(coarse.map(({ from }) => (NOON - from) / MINUTE)).toEqual([90, 80, 70]);
    expect(coarse[1]?.lags.get('b')).toEqual({ receive: 80, replay: 1_000 });
    expect(kept.map(({ from }) => from)).toEqual(kept.map(({ from }) => from).toSorted());
  });

  it('forgets after a day, and stays small', () => {
    let points: readonly LagPoint[] = [];
    for (let i = 0; i < 26 * 60; i++) points = thinned([...points, aPoint(NOON + i * MINUTE)], NOON + i * MINUTE);
    expect(points.length).toBeLessThanOrEqual(61 + 139);
    expect(points[0]?.from).toBeGreaterThanOrEqual(NOON + 2 * 60 * MINUTE - 11 * MINUTE);
  });

  it('keeps the points of two primaries apart', () => {
    const kept = thinned([aPoint(NOON), aPoint(NOON, { a: { receive: 1, replay: 1 } }, 'b')], NOON);
    expect(kept.map((point) => point.primary)).toEqual(['a', 'b']);
  });

  it('gives the same when it is thinned twice', () => {
    const points = Array.from({ length: 300 }, (_, i) => aPoint(NOON - i * MINUTE, { b: { receive: i, replay: i } }));
    const once = thinned(points, NOON);
    expect(thinned(once, NOON)).toEqual(once);
  });
});

describe('its text', () => {
  it('reads back as it was written', () => {
    const points = [aPoint(minuteOf(NOON), { b: { receive: 0, replay: 120 }, c: { receive: null, replay: null } })];
    expect(writeLags(points)).toBe('[["2026-11-20T12:00:00.000Z","a",{"b":[0,120],"c":[null,null]}]]');
    expect(readLags(writeLags(points))).toEqual({ points, trouble: null });
  });

  it('stays within its bytes, the oldest go', () => {
    const members = Object.fromEntries(
      Array.from({ length: 60 }, (_, i) => [`member-${i}`, { receive: 1, replay: 2 }]),
    );
    const text = writeLags(Array.from({ length: 200 }, (_, i) => aPoint(NOON + i * MINUTE, members)));
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(KEPT_LAGS_BYTES);
    expect(readLags(text).points.at(-1)?.from).toBe(NOON + 199 * MINUTE);
  });

  it.each([
    ['rubbish', 'not JSON'],
    ['{}', 'not a JSON array'],
    ['[1,["never","a",{}],["2026-11-20T12:00:00Z",7,{}]]', 'a list with 3 entries that are not understood'],
  ])('that is %s is said to be %s', (value, trouble) => {
    expect(readLags(value)).toEqual({ points: [], trouble });
  });

  it('with nonsense for a lag leaves that unknown', () => {
    expect(readLags('[["2026-11-20T12:00:00Z","a",{"b":[-1,"x"],"c":7}]]').points[0]?.lags).toEqual(
      new Map([
        ['b', { receive: null, replay: null }],
        ['c', { receive: null, replay: null }],
      ]),
    );
  });
});
