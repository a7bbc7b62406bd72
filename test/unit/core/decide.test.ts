/** Every situation, rule by rule. Rows are in situations/; what a case does not care about, the builders fill in. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../../src/core/decide.ts';
import { RULES } from '../../../src/core/rules.ts';
import type { Case } from './builders.ts';
import { ailing } from './situations/ailing.ts';
import { fencing, inMaintenanceAsAsked, leaving, maintenance, others } from './situations/before-all-else.ts';
import { cascading, witnessing } from './situations/cascading.ts';
import {
  byConsensus,
  byGate,
  byHandOnly,
  byLocation,
  byOnlookers,
  byReceivers,
  byRecord,
  byReturning,
  byStrangers,
  byTurn,
  byValidation,
} from './situations/election.ts';
import { following, joining, rejoining, startingStandbys } from './situations/following.ts';
import { atTheGate, byOperator, electing, eligible, notRunning, takingOver } from './situations/leaderless.ts';
import { handingOver, promoting, starting, suspicion, switchingOver } from './situations/leading.ts';
import { pooling } from './situations/pooling.ts';
import { restarting } from './situations/restarting.ts';
import { shadow } from './situations/shadow.ts';
import { amongStandbys, fedByArchive, leadingStandbys } from './situations/standby-cluster.ts';
import { synchronously } from './situations/synchronous.ts';

const tables: Readonly<Record<string, readonly Case[]>> = {
  'a node whose Postgres writes without a window': fencing,
  'a node that can decide nothing yet': others,
  'a node in maintenance': maintenance,
  'in maintenance, when an operator asks': inMaintenanceAsAsked,
  'a node whose service leaves': leaving,
  'a leader': promoting,
  'a leader whose Postgres starts': starting,
  'a leader whose check fails': suspicion,
  'a leader whose Postgres is down': handingOver,
  'a leader that something ails': ailing,
  'a leader asked to hand over': switchingOver,
  'a leader with poolers in front': pooling,
  'a node whose Postgres is to be restarted at a time': restarting,
  'a follower': following,
  'a standby below another': cascading,
  'a witness': witnessing,
  'a node that comes back': rejoining,
  'a standby that starts': startingStandbys,
  'a node that joins': joining,
  'a node of a cluster that is not handed over': shadow,
  'a candidate at the gate': atTheGate,
  'a candidate before a standing key': takingOver,
  primary_visibility_consensus: byConsensus,
  location_policy: byLocation,
  standby_disconnect_on_failover: byReceivers,
  'a member that comes back': byReturning,
  'a member with data of another cluster': byStrangers,
  'the end of the WAL in a release': byRecord,
  failover_validation_command: byValidation,
  'one who has more and waits at his gate': byGate,
  'failover: manual': byHandOnly,
  'a candidate after what held it back': byTurn,
  'a standby that never leads, in an election': byOnlookers,
  'a candidate that may or may not lead': eligible,
  'a candidate among others': electing,
  'a candidate named by an operator': byOperator,
  'a candidate that does not run': notRunning,
  'a node of a cluster with synchronous standbys': synchronously,
  'the leader of a standby cluster': leadingStandbys,
  'a member of a standby cluster': amongStandbys,
  'a standby that does not stream': fedByArchive,
};

for (const [who, cases] of Object.entries(tables)) {
  describe(who, () => {
    it.each(cases.map((row) => [row.name, row] as const))('%s', (_name, row) => {
      const { situation, decision } = decide(row.view);
      const actions = decision.actions.map((action, i) => (typeof row.actions[i] === 'string' ? action.do : action));
      expect({ rule: decision.rule, actions }).toEqual({ rule: row.rule, actions: row.actions });
      if (row.situation !== undefined) expect(situation).toBe(row.situation);
      if (row.again !== undefined) expect(decision.again).toBe(row.again);
    });
  });
}

describe('the tables', () => {
  it('show every rule at least once', () => {
    const shown = new Set(Object.values(tables).flatMap((cases) => cases.map(({ rule }) => rule)));
    expect(Object.keys(RULES).filter((rule) => !shown.has(rule as keyof typeof RULES))).toEqual([]);
  });

  it('give no two rows of a table the same name', () => {
    for (const cases of Object.values(tables)) expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  });
});

describe('a decision', () => {
  it('is the same for the same view, and always says why', () => {
    for (const { view } of Object.values(tables).flat()) {
      const first = decide(view);
      expect(decide(view)).toEqual(first);
      expect(first.decision.reason).not.toBe('');
    }
  });
});
