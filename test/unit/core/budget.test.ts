/** The arithmetic of what failures cost, held against docs/timing.md's figures and against its own parts. */
import { describe, expect, it } from 'vitest';
import { resolveCluster } from '../../../src/config/settings.ts';
import {
  budgetOf,
  budgets,
  FAILURES,
  guardAfterProof,
  longestCheck,
  misfitOfCheck,
  requestLimit,
  suspicion,
  writesAfterProof,
} from '../../../src/core/budget.ts';
import type { ClusterPolicy } from '../../../src/core/policy.ts';
import { millis, seconds } from '../../../src/core/time.ts';

const defaults = resolveCluster(null, {}).cluster;
const policy = (over: Partial<ClusterPolicy> = {}): ClusterPolicy => ({ ...defaults, ...over });

describe('the figures of docs/timing.md', () => {
  it.each([
    [5, 3_000, 4_000],
    [10, 7_000, 9_000],
    [30, 27_000, 29_000],
  ])('with a ttl of %i s writes stop in order after %i ms and at the latest after %i ms', (ttl, writes, guard) => {
    expect([writesAfterProof(seconds(ttl)), guardAfterProof(seconds(ttl))]).toEqual([writes, guard]);
  });

  it('a silent Postgres is given up after 6 s with the defaults', () => {
    expect(suspicion(policy())).toBe(6_000);
  });

  it('a silent Postgres is never given up before its checks have had their time', () => {
    const checkTimeout = seconds(3);
    expect(suspicion(policy({ reconnectAttempts: 1, reconnectInterval: seconds(1), checkTimeout }))).toBe(8_000);
  });

  it('a request to etcd has between 0.4 and 1.5 s', () => {
    expect([5, 10, 1].map((ttl) => requestLimit(seconds(ttl)))).toEqual([5_000 / 6, 1_500, 400]);
  });
});

describe('the budget of a failure', () => {
  it('exists for every one, and its sum is that of the phases in which nobody can write', () => {
    const all = budgets(policy());
    expect(all.map(({ failure }) => failure)).toEqual([...FAILURES]);
    for (const { phases, usual, worst } of all) {
      const pausing = phases.filter(({ writesGoOn }) => !writesGoOn);
      expect(usual).toBe(pausing.reduce((sum, phase) => sum + (phase.usual ?? 0), 0));
      expect(worst).toBe(pausing.reduce((sum, phase) => sum + (phase.worst ?? 0), 0));
    }
  });

  it('of a lost node is the hold and hardly more, and at worst every request at its limit', () => {
    const { usual, worst, plus } = budgetOf('node-lost', policy());
    expect(usual).toBe(10_000);
    // hold, asking, somebody who is coming up, one candidate that does not go, one that may not go yet, acquire, proof of two requests and the guard
    expect(worst).toBe(10_000 + 500 + 10_000 + 400 + 10_000 + 1_500 + 3_000 + 500);
    expect(plus).toBe('promotion');
  });

  it('of a silent Postgres begins with the suspicion', () => {
    expect(budgetOf('postgres-hangs', policy()).usual).toBe(suspicion(policy()));
  });

  it('grows by what was switched on', () => {
    const worst = (over: Partial<ClusterPolicy>) =>
      budgetOf('node-lost', policy(over)).worst - budgetOf('node-lost', policy()).worst;
    expect(worst({ standbyDisconnectOnFailover: true, siblingNodesDisconnectTimeout: seconds(30) })).toBe(30_000);
    expect(worst({ locationPolicy: 'prefer' })).toBe(10_000);
    expect(worst({ primaryVisibilityConsensus: !defaults.primaryVisibilityConsensus })).toBe(
      defaults.primaryVisibilityConsensus ? -10_000 : 10_000,
    );
  });

  it("grows by what the operator's own commands may take", () => {
    const commands = { start: seconds(60), promote: seconds(30), validation: seconds(5) };
    const more = (failure: (typeof FAILURES)[number], over: Partial<ClusterPolicy> = {}) =>
      budgetOf(failure, policy(over), commands).worst - budgetOf(failure, policy(over)).worst;
    expect(more('node-lost')).toBe(35_000);
    expect(more('postmaster-dies')).toBe(35_000);
    expect(more('postmaster-dies', { primaryCrash: 'restart' })).toBe(60_000);
    expect(more('etcd-lost')).toBe(35_000);
    // Nobody is validated whom an operator has asked for.
    expect(more('switchover')).toBe(30_000);
    expect(budgetOf('node-lost', policy(), commands).plus).toContain('promote_command is run');
  });

  it('of a dead postmaster is a start here where nothing may move', () => {
    for (const over of [{ primaryCrash: 'restart' }, { failover: 'manual' }] as const) {
      const { phases, plus } = budgetOf('postmaster-dies', policy(over));
      expect(phases).toHaveLength(2);
      expect(plus).toContain('Postgres is started here');
    }
  });

  it('of a dead daemon is nothing, as long as a new one comes in time', () => {
    expect(budgetOf('daemon-dies', policy()).usual).toBe(0);
    expect(budgetOf('daemon-dies', policy()).phases[0]?.worst).toBe(8_000);
  });

  it('says that nobody takes over by himself where failover is manual, or the location policy is strict', () => {
    const notes = (over: Partial<ClusterPolicy>) => budgetOf('node-lost', policy(over)).notes.join();
    expect(notes({ failover: 'manual' })).toContain('until an operator says so');
    expect(notes({ locationPolicy: 'strict' })).toContain('location_policy strict');
  });
});

describe('a check that outlasts the window', () => {
  it('is refused with the arithmetic and the largest that fits', () => {
    expect(misfitOfCheck({ ttl: seconds(10), checkTimeout: seconds(7) })).toContain(
      'ttl 10 s − margin 1 s − orderly stop 2 s = 7 s',
    );
    expect(misfitOfCheck({ ttl: seconds(10), checkTimeout: longestCheck(seconds(10)) })).toBeNull();
    expect(misfitOfCheck({ ttl: seconds(10), checkTimeout: millis(longestCheck(seconds(10)) + 1) })).not.toBeNull();
  });
});
