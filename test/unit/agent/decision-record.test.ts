/** What is noted on the way to a takeover: views go by as the agent would see them, and the record tells the story. */
import { describe, expect, it } from 'vitest';
import { TakeoverRecorder } from '../../../src/agent/decision-record.ts';
import { decide } from '../../../src/core/decide.ts';
import { describePhases, readRecord } from '../../../src/core/decision-record.ts';
import { parseLsn, timeline } from '../../../src/core/lsn.ts';
import { type NodeName, nodeName, revision } from '../../../src/core/store.ts';
import { type Instant, instant, millis, wallTime } from '../../../src/core/time.ts';
import type { View } from '../../../src/core/view.ts';
import {
  aBeat,
  aCluster,
  aGate,
  aLoneStandby,
  aPeer,
  aPrimary,
  aRelease,
  aRequest,
  aSender,
  aSilentPeer,
  aStatus,
  aView,
  clusterPolicy,
  END,
  holding,
  NOW,
  peers,
  seeks,
  type ViewOver,
} from './../core/builders.ts';

const WALL = wallTime(1_795_000_000_000);
const at = (ms: number): Instant => instant(NOW + ms);
const TERM = revision(70);
const by = { node: nodeName('b'), term: TERM, policy: clusterPolicy };

function recorder() {
  const noted = new TakeoverRecorder();
  const see = (view: View): string => {
    const judgement = decide(view);
    noted.saw(view, judgement, WALL);
    return judgement.decision.rule;
  };
  return { noted, see };
}

const gate = aGate({ arrived: at(-9_990), opensAt: at(10) });
/** `a` is gone, and its hold runs out at `NOW + 10`. */
const lost = (ms: number, over: ViewOver = {}): View =>
  seeks({ now: at(ms), gate, leaderlessSince: at(10), lastLeader: nodeName('a'), peers: new Map(), ...over });
const asked = peers({
  a: aSilentPeer(at(12)),
  c: aPeer('c', {
    at: at(12),
    position: parseLsn('0/5000000'),
    sawPrimary: millis(10_100),
    sawPrimaryOf: nodeName('a'),
  }),
});

/** A whole failover: `a` led, vanished, this node asked and took the key. */
function failOver() {
  const { noted, see } = recorder();
  see(aView({ now: at(-500) }));
  const rules = [
    see(lost(0)),
    see(lost(12)),
    see(lost(20, { peers: asked, sawPrimary: millis(10_020) })),
    see(lost(31, { leadership: holding({ term: TERM, since: at(29), windowOpen: false, until: at(-1) }) })),
    see(lost(45, { leadership: holding({ term: TERM, since: at(29) }) })),
  ];
  noted.promoteSent(at(46));
  const record = noted.tookOver(at(90), WALL, by, aPrimary({ timeline: timeline(3) }));
  return { noted, see, rules, record };
}

describe('the record of a failover', () => {
  it('tells who led before, who decided what when, and who stood where', () => {
    const { record, rules } = failOver();
    expect(rules).toEqual([
      'leaderless.at-the-gate',
      'leaderless.ask-peers',
      'leaderless.acquire',
      'leading.waiting-for-window',
      'leading.promote',
    ]);
    expect(record).toMatchObject({
      kind: 'failover',
      node: 'b',
      previous: 'a',
      term: '70',
      timeline: 3,
      rule: 'leaderless.acquire',
      release: null,
      seen: [
        { by: 'b', ms_before: 10_020 },
        { by: 'c', ms_before: 10_108 },
      ],
      members: [
        { name: 'a', said: 'no answer: no answer within 500 ms' },
        { name: 'c', said: 'standby, running', position: '0/5000000' },
      ],
    });
    expect(record?.steps.map(({ after_ms, rule }) => [after_ms, rule])).toEqual([
      [0, 'leaderless.at-the-gate'],
      [12, 'leaderless.ask-peers'],
      [20, 'leaderless.acquire'],
    ]);
    expect(record?.ranking.map(({ name, position }) => [name, position])).toEqual([
      ['b', '0/5000060'],
      ['c', '0/5000000'],
    ]);
  });

  it('tells what it may have cost, by where the new timeline begins', () => {
    const { noted, see } = recorder();
    see(aView({ now: at(-500) }));
    see(lost(20, { peers: asked }));
    const local = aPrimary({ timeline: timeline(3), recoveredUpTo: '2026-11-17 11:46:00.000000+00:00' });
    const record = noted.tookOver(at(90), WALL, by, local, parseLsn('0/5000020'));
    expect(record?.loss).toMatchObject({
      lost: 'range',
      has: '0/5000020',
      published: '0/5000060',
      // Heard 9.99 s before NOW, which is 20 ms before WALL.
      published_at: new Date(WALL - 10_010).toISOString(),
      bytes: 64,
      open_ended: true,
      committed_after: '2026-11-17T11:46:00.000Z',
      committed_before: new Date(WALL - 10).toISOString(),
    });
    expect(readRecord(JSON.stringify(record))).toEqual(record);
  });

  it('does not take the end of one who only had the key for the end of the last leader', () => {
    const { noted, see } = recorder();
    see(aView());
    const given = { ...aRelease('b'), release: { lsn: END, candidate: nodeName('b'), unpromoted: true } };
    see(lost(20, { peers: asked, gate: { ...gate, beat: given } }));
    const record = noted.tookOver(at(30), WALL, by, aPrimary(), parseLsn('0/5000060'));
    expect(record?.loss).toMatchObject({ lost: 'unknown', open_ended: true });
  });

  it('takes the leader before for the last one when the next had only the key, and vanished with it', () => {
    const { noted, see } = recorder();
    see(aView({ now: at(-9_000) }));
    see(aView({ now: at(-500), cluster: aCluster({ leader: 'c' }) }));
    const status = { ...aStatus(), leader: nodeName('c'), unpromoted: true };
    see(lost(20, { peers: asked, lastLeader: nodeName('c'), cluster: { ...aCluster({ leader: null }), status } }));
    const record = noted.tookOver(at(30), WALL, by, aPrimary(), parseLsn('0/5000060'));
    expect(record?.previous).toBe('a');
    expect(record?.loss?.sentence).toContain('what a committed after 0/5000060');
  });

  it('tells that nothing is lost when the last leader said where its WAL ended', () => {
    const { noted, see } = recorder();
    see(aView());
    see(lost(20, { peers: asked, gate: { ...gate, beat: aRelease('b') } }));
    const record = noted.tookOver(at(30), WALL, by, aPrimary(), parseLsn('0/5000060'));
    expect(record?.loss).toMatchObject({ lost: 'nothing', end: '0/5000060' });
  });

  describe('where commits wait for standbys', () => {
    const [a, b, c] = ['a', 'b', 'c'].map(nodeName) as [NodeName, NodeName, NodeName];
    const takesOver = (mayReceive: boolean | null) => {
      const { noted, see } = recorder();
      see(aView({ now: at(-500) }));
      const sync = { revision: revision(69), key: { leader: a, voters: [b, c], quorum: 1 }, garbled: false };
      const rule = see(
        lost(20, {
          peers: peers({ a: aSilentPeer(at(12)), c: aPeer('c', { at: at(12), mayReceive }) }),
          local: aLoneStandby({ follows: null }),
          cluster: aCluster({ leader: null, sync }),
        }),
      );
      expect(rule).toBe('leaderless.acquire');
      return noted.tookOver(at(30), WALL, by, aPrimary(), parseLsn('0/5000060'), true)?.loss;
    };

    it('says that none of these is lost once those who were counted could acknowledge nothing any more', () => {
      expect(takesOver(false)).toMatchObject({ lost: 'unknown', synchronous: true });
    });

    it('does not say so of one of whom that is not known', () => {
      expect(takesOver(null)).toMatchObject({ lost: 'unknown', synchronous: false });
    });
  });

  it('tells how long each phase took beside what was planned for it', () => {
    const { record } = failOver();
    expect(record?.phases).toEqual([
      { phase: 'hold of the last leader', planned_ms: 10_000, actual_ms: 10_000 },
      { phase: 'noticed', planned_ms: 0, actual_ms: 2 },
      { phase: 'members asked', planned_ms: 500, actual_ms: 8 },
      { phase: 'others first, vetoes', planned_ms: 0, actual_ms: 0 },
      { phase: 'key taken', planned_ms: 1_500, actual_ms: 9 },
      { phase: 'proven and guarded', planned_ms: 3_500, actual_ms: 16 },
      { phase: 'promotion sent', planned_ms: 0, actual_ms: 1 },
      { phase: 'promotion', planned_ms: null, actual_ms: 44 },
    ]);
    expect(record?.judgement_ms).toBe(36);
    expect(record === null ? '' : describePhases(record)).toContain('key taken 9 ms, proven and guarded 16 ms');
  });

  it('is complete with the followers, and is to be written once before and once after them', () => {
    const { noted, see } = failOver();
    expect(noted.due?.followers).toEqual([]);
    noted.written();
    expect(noted.due).toBeNull();
    const leading = (ms: number, names: readonly string[]) =>
      aView({
        now: at(ms),
        local: aPrimary({ senders: names.map((name) => aSender(name)) }),
        cluster: aCluster({ leader: 'b' }),
        leadership: holding({ term: TERM }),
      });
    see(leading(500, ['c']));
    expect(noted.due).toBeNull();
    see(leading(900, ['c', 'a']));
    expect(noted.due?.followers).toEqual([
      { name: 'c', after_ms: 410 },
      { name: 'a', after_ms: 810 },
    ]);
    noted.written();
    see(leading(1_500, ['c', 'a']));
    expect(noted.due).toBeNull();
  });

  it('does not wait for a follower that never comes', () => {
    const { noted, see } = failOver();
    noted.written();
    see(
      aView({
        now: at(60_100),
        local: aPrimary({ senders: [] }),
        cluster: aCluster({ leader: 'b' }),
        leadership: holding(),
      }),
    );
    expect(noted.due?.followers).toEqual([]);
  });

  it('is read back from its JSON', () => {
    const { record } = failOver();
    expect(readRecord(JSON.stringify(record))).toEqual(record);
  });
});

describe('a record', () => {
  it('is not begun by a failover that another member won', () => {
    const { noted, see } = recorder();
    see(lost(0));
    see(aView({ now: at(100), cluster: aCluster({ leader: 'c' }) }));
    expect(noted.tookOver(at(200), WALL, by, aPrimary())).toBeNull();
  });

  it('is not begun by a daemon that finds its leadership again after a restart', () => {
    const { noted, see } = recorder();
    see(aView({ local: aPrimary(), cluster: aCluster({ leader: 'b' }), leadership: holding() }));
    expect(noted.record).toBeNull();
    expect(noted.due).toBeNull();
  });

  it('begins anew when the key that was taken is lost again', () => {
    const { noted, see } = recorder();
    see(lost(0));
    see(lost(20, { peers: asked }));
    see(lost(30, { leadership: holding({ term: TERM, since: at(29) }) }));
    see(lost(5_000, { peers: peers({ c: aPeer('c', { at: at(5_000), position: parseLsn('0/6000000') }) }) }));
    const record = noted.tookOver(at(6_000), WALL, by, aPrimary());
    expect(record?.steps.map(({ rule }) => rule)).not.toContain('leaderless.at-the-gate');
  });

  it('tells a switchover from a leader that gave the key up by itself, and both from a hold that ran out', () => {
    const kindAfter = (over: ViewOver) => {
      const { noted, see } = recorder();
      see(aView({ cluster: aCluster() }));
      see(lost(20, { peers: asked, ...over }));
      return noted.tookOver(at(30), WALL, by, aPrimary())?.kind;
    };
    const released = (asked: boolean): ViewOver => {
      const release = { lsn: END, candidate: nodeName('b'), ...(asked ? { asked } : {}) };
      return { gate: { ...gate, opensAt: at(10), beat: aBeat({ holdMs: 0, release }) } };
    };
    expect(kindAfter(released(true))).toBe('switchover');
    expect(kindAfter(released(false))).toBe('hand-over');
    expect(kindAfter({})).toBe('failover');
    expect(kindAfter({ cluster: aCluster({ leader: null, failover: aRequest({ candidate: 'b' }) }) })).toBe(
      'failover-by-hand',
    );
  });

  it('is also kept of a primary that was taken in as it ran', () => {
    const { noted, see } = recorder();
    const unled = aCluster({ leader: null, status: null });
    const nobodyWrote = aGate({ revision: revision(0), beat: null });
    see(seeks({ local: aPrimary(), cluster: unled, gate: nobodyWrote }));
    see(seeks({ local: aPrimary(), cluster: unled, gate: nobodyWrote, leadership: holding({ since: NOW }) }));
    expect(noted.record).toMatchObject({ kind: 'first', rule: 'leaderless.acquire' });
  });

  it('stays small whatever goes on', () => {
    const { noted, see } = recorder();
    const crowd = Object.fromEntries(
      Array.from({ length: 60 }, (_, i) => [`m${i}`, aPeer(`m${i}`, { at: at(15), state: 'x'.repeat(2_000) })]),
    );
    const cluster = aCluster({ leader: null, status: aStatus() });
    for (let i = 0; i < 200; i++)
      see(
        lost(i % 2 === 0 ? 5 : 30, {
          local: i % 2 === 0 ? aLoneStandby() : { kind: 'stopping', since: millis(1) },
          cluster,
        }),
      );
    see(lost(20, { peers: peers(crowd), cluster }));
    const record = noted.tookOver(at(30), WALL, by, aPrimary());
    expect(JSON.stringify(record).length).toBeLessThan(16_384);
  });

  it.each([null, '', 'x', '[]', '{}', '{"node":1}', '{"node":"b","rule":"x","steps":{}}'])(
    'that is none is read as none: %s',
    (text) => expect(readRecord(text)).toBeNull(),
  );
});
