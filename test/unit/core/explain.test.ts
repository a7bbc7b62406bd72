/** Each rule that stops a candidate shows up in `explain` with its numbers, and nothing but the core decides it. */
import { describe, expect, it } from 'vitest';
import { explain, inOneSentence, type Verdict } from '../../../src/core/explain.ts';
import { lsn, timeline } from '../../../src/core/lsn.ts';
import type { RuleId } from '../../../src/core/rules.ts';
import { nodeName } from '../../../src/core/store.ts';
import { millis, seconds } from '../../../src/core/time.ts';
import {
  aBeat,
  aCluster,
  aGate,
  aHistoryLine,
  aPeer,
  aRequest,
  aSilentPeer,
  aStandby,
  aStatus,
  aStopped,
  aView,
  before,
  closedGate,
  END,
  FAILING,
  leads,
  noWindow,
  peers,
  seeks,
  type ViewOver,
} from './builders.ts';

/** `a` leads, `b` (this node) and `c` stream from it; both others have just been asked. */
const follows = (over: ViewOver = {}) =>
  aView({ peers: peers({ a: aPeer('a', { writable: true, inRecovery: false }), c: aPeer('c') }), ...over });

const LIMIT = 1_048_576;

interface Row {
  readonly name: string;
  readonly view: ViewOver;
  readonly verdict: Verdict;
  readonly rule: RuleId;
  /** What the reason has to say. */
  readonly says?: RegExp;
}

const withLeader: readonly Row[] = [
  { name: 'would take the key as the best candidate', view: {}, verdict: 'first', rule: 'leaderless.acquire' },
  {
    name: 'would let a candidate with a higher priority go first',
    view: { peers: peers({ a: aPeer('a'), c: aPeer('c', { priority: 200 }) }) },
    verdict: 'after-others',
    rule: 'leaderless.stand-back',
    says: /c goes first.*priority 200/,
  },
  {
    name: 'may not when it is tagged nofailover',
    view: { node: { noFailover: true } },
    verdict: 'no',
    rule: 'leaderless.not-eligible',
    says: /tagged nofailover/,
  },
  {
    name: 'may not with priority 0',
    view: { node: { priority: 0 } },
    verdict: 'no',
    rule: 'leaderless.not-eligible',
    says: /priority 0/,
  },
  {
    name: 'may not when it is too far behind',
    view: { cluster: aCluster({ status: aStatus({ optime: lsn(END + BigInt(LIMIT + 1)) }) }) },
    verdict: 'no',
    rule: 'leaderless.not-eligible',
    says: /1048577 bytes behind 0\/5100061; maximum_lag_on_failover allows 1048576/,
  },
  {
    name: 'may although it does not stream at the moment, as long as it has everything',
    view: { local: aStandby({ receiver: null }) },
    verdict: 'first',
    rule: 'leaderless.acquire',
  },
  {
    name: 'may not on a timeline that the cluster has left',
    view: { cluster: aCluster({ history: [aHistoryLine(1), aHistoryLine(2)] }) },
    verdict: 'no',
    rule: 'leaderless.not-eligible',
    says: /on timeline 2, the cluster has been on 3/,
  },
  {
    name: 'may not while its health check fails',
    view: { local: aStandby({ failing: FAILING }) },
    verdict: 'no',
    rule: 'leaderless.not-up',
    says: /no answer within 1000 ms/,
  },
  {
    name: 'may not while it replays what it had before its start',
    view: { local: aStandby({ positionFinal: false }) },
    verdict: 'no',
    rule: 'leaderless.not-up',
  },
  {
    name: 'may not while its Postgres is down',
    view: { local: aStopped() },
    verdict: 'no',
    rule: 'leaderless.start-standby',
  },
  {
    name: 'may not while the cluster is paused',
    view: { set: { pause: true } },
    verdict: 'no',
    rule: 'maintenance.hands-off',
  },
  {
    name: 'may not by itself where failover is manual',
    view: { set: { failover: 'manual' } },
    verdict: 'no',
    rule: 'leaderless.manual',
    says: /b would take over/,
  },
  {
    name: "may not from another location while nobody in the leader's would be seen",
    view: {
      set: { locationPolicy: 'strict' },
      node: { location: 'north' },
      lastLeaderLocation: 'south',
      peers: peers({ a: aPeer('a', { location: 'south' }), c: aPeer('c', { location: 'north' }) }),
    },
    verdict: 'no',
    rule: 'leaderless.location',
    says: /last leader is in south, b in north/,
  },
  {
    name: "may from another location while somebody else in the leader's is seen",
    view: {
      set: { locationPolicy: 'strict' },
      node: { location: 'north' },
      lastLeaderLocation: 'south',
      peers: peers({ a: aPeer('a', { location: 'south' }), c: aPeer('c', { location: 'south', position: lsn(1) }) }),
    },
    verdict: 'first',
    rule: 'leaderless.acquire',
  },
  {
    name: 'may not while its own command said no a moment ago',
    view: {
      node: { validates: true },
      validation: { kind: 'vetoed', at: before(1_000), said: 'backup is running' },
    },
    verdict: 'no',
    rule: 'leaderless.vetoed',
    says: /backup is running; b stays out for another 14 s/,
  },
  {
    name: 'may not behind a gate that only an operator opens',
    view: { gate: aGate({ opensAt: 'never', beat: aBeat({ holdMs: null }) }) },
    verdict: 'no',
    rule: 'leaderless.at-the-gate',
  },
  {
    name: 'may not while etcd does not answer',
    view: { etcd: 'silent' },
    verdict: 'no',
    rule: 'blind.standby',
  },
  {
    name: 'may not before etcd was read at all',
    view: { etcd: 'never-read', gate: null },
    verdict: 'no',
    rule: 'node.waiting-for-etcd',
  },
  {
    name: 'may not while something long is under way',
    view: { operation: { kind: 'copy', since: before(1_000) } },
    verdict: 'no',
    rule: 'node.busy',
  },
  {
    name: 'may not as a witness, which has no data',
    view: { node: { role: 'witness' }, local: { kind: 'absent' } },
    verdict: 'no',
    rule: 'witness.watching',
  },
  {
    name: 'forgets that it saw the leader just now: by the time the hold has run out that is old',
    view: { set: { primaryVisibilityConsensus: true }, sawPrimary: millis(10) },
    verdict: 'first',
    rule: 'leaderless.acquire',
  },
  {
    name: 'waits for nobody who did not answer',
    view: { peers: peers({ a: aPeer('a'), c: aSilentPeer() }) },
    verdict: 'first',
    rule: 'leaderless.acquire',
  },
];

describe('a standby that is asked whether it could lead, the leader lost', () => {
  for (const { name, view, verdict, rule, says } of withLeader) {
    it(name, () => {
      const said = explain(follows(view));
      expect({ verdict: said.verdict, rule: said.rule }).toEqual({ verdict, rule });
      if (says !== undefined) expect(said.reason).toMatch(says);
      if (view.etcd !== 'never-read') expect(said.without).toBe('a');
    });
  }

  it('names what would be done first', () => {
    const said = explain(follows({ set: { standbyDisconnectOnFailover: true }, node: { validates: true } }));
    expect(said.verdict).toBe('first');
    expect(said.before.map(({ rule }) => rule)).toEqual(['leaderless.stop-receiving', 'leaderless.validate']);
    expect(inOneSentence(said, null)).toContain('after leaderless.stop-receiving, leaderless.validate');
  });

  it('shows the numbers that rules look at', () => {
    const { numbers } = explain(follows({ cluster: aCluster({ status: aStatus({ optime: lsn(END + 100n) }) }) }));
    expect(numbers).toMatchObject({
      timeline: 2,
      position: END,
      lagBytes: 100n,
      maximumLagBytes: BigInt(LIMIT),
      priority: 100,
      gateLeft: 10_000,
      receiving: true,
    });
  });

  it('says what it really decides now beside what it would', () => {
    expect(explain(follows()).current).toMatchObject({ situation: 'following', rule: 'following.streaming' });
  });
});

const leaderless: readonly Row[] = [
  { name: 'it takes the key', view: {}, verdict: 'first', rule: 'leaderless.acquire' },
  {
    name: 'its gate stops it, with what is left of it',
    view: { gate: closedGate(3_400) },
    verdict: 'no',
    rule: 'leaderless.at-the-gate',
    says: /up to 3400 ms/,
  },
  {
    name: 'others who saw the last leader a moment ago stop it',
    view: {
      set: { primaryVisibilityConsensus: true },
      lastLeader: nodeName('a'),
      peers: peers({ c: aPeer('c', { sawPrimary: millis(20), sawPrimaryOf: nodeName('a') }) }),
    },
    verdict: 'no',
    rule: 'leaderless.seen-by-others',
    says: /c saw a 120 ms ago/,
  },
  {
    name: 'a member that says that it is a writable primary stops it',
    view: { peers: peers({ a: aSilentPeer(), c: aPeer('c', { writable: true, inRecovery: false }) }) },
    verdict: 'no',
    rule: 'leaderless.primary-alive',
  },
  {
    name: 'an operator who named another makes it wait',
    view: { cluster: aCluster({ leader: null, failover: aRequest({ candidate: 'c' }) }) },
    verdict: 'after-others',
    rule: 'leaderless.stand-back',
  },
  {
    name: 'a key whose owner has no window any more counts as gone, without imagining anything',
    view: { cluster: aCluster({ leader: 'a' }) },
    verdict: 'first',
    rule: 'leaderless.acquire',
  },
];

describe('a standby that is asked whether it could lead while there is no leader', () => {
  for (const { name, view, verdict, rule, says } of leaderless) {
    it(name, () => {
      const said = explain(seeks(view));
      expect({ verdict: said.verdict, rule: said.rule, without: said.without }).toEqual({
        verdict,
        rule,
        without: null,
      });
      if (says !== undefined) expect(said.reason).toMatch(says);
    });
  }
});

describe('a leader that is asked why it leads', () => {
  it('tells its term, for how long, how it came to it, and what is left of its window', () => {
    const said = explain(leads());
    expect(said).toMatchObject({
      verdict: 'leads',
      rule: 'leading.primary',
      leadership: {
        term: 40n,
        heldFor: 30_000,
        windowOpen: true,
        windowLeft: 6_000,
        guardStrikesIn: 5_000,
        gateLeft: 0,
      },
    });
    expect(inOneSentence(said, { rule: 'leaderless.acquire', reason: 'ranking: b' })).toMatch(
      /b leads in term 40, for 30 s, by leaderless\.acquire \(ranking: b\); its window is open for another 5000 ms/,
    );
  });

  it('tells that its gate has not passed', () => {
    const said = explain(
      leads({ local: aStandby(), leadership: noWindow({ gate: closedGate(2_000).opensAt as never }) }),
    );
    expect(said).toMatchObject({ verdict: 'leads', rule: 'leading.waiting-for-window' });
    expect(inOneSentence(said, null)).toContain('its gate is 2000 ms away');
  });

  it('tells that no deadline is set in maintenance', () => {
    const forEver = Number.POSITIVE_INFINITY as never;
    const said = explain(
      leads({
        set: { pause: true, ttl: seconds(10) },
        leadership: { ...noWindow(), windowOpen: true, until: forEver, deadline: forEver },
      }),
    );
    expect(said.leadership?.guardStrikesIn).toBeNull();
    expect(inOneSentence(said, null)).toContain('no deadline is set');
  });
});

describe('what it is asked', () => {
  it('changes nothing in the view', () => {
    const view = follows({ set: { standbyDisconnectOnFailover: true } });
    const print = () =>
      JSON.stringify(view, (_, value) =>
        typeof value === 'bigint' ? `${value}` : value instanceof Map ? [...value] : value,
      );
    const shown = print();
    explain(view);
    expect(print()).toBe(shown);
  });

  it('ends also where everybody asks for ever', () => {
    expect(explain(follows({ peers: new Map(), local: aStandby({ timeline: timeline(2) }) })).verdict).toBe('first');
  });
});
