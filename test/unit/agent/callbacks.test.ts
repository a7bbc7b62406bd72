import { describe, expect, test } from 'vitest';
import { Callbacks } from '../../../src/agent/callbacks.ts';
import type { OperationView } from '../../../src/agent/published.ts';
import type { LocalPostgres } from '../../../src/core/local.ts';
import type { OperationKind } from '../../../src/core/view.ts';
import { aPrimary, aStandby, NOW, aStopped as stopped } from '../core/builders.ts';

const during = (kind: OperationKind): OperationView => ({ kind, since: NOW, sentence: '', fraction: null });
const standby = aStandby();
const primary = aPrimary({ startedAt: standby.startedAt });

type Step = readonly [LocalPostgres, (OperationKind | undefined)?, string?];

function told(...steps: readonly Step[]): readonly string[] {
  const callbacks = new Callbacks();
  return steps.flatMap(([local, kind, role = '']) =>
    callbacks
      .see({ local, operation: kind === undefined ? null : during(kind), role })
      .map(({ name, role }) => `${name} ${role}`),
  );
}

describe('what Postgres was seen to do', () => {
  test('a running server that is found is a start', () => {
    expect(told([standby], [standby])).toEqual(['on_start replica']);
  });
  test('a promotion is a change of role and nothing else', () => {
    expect(told([standby], [standby, 'promote'], [primary])).toEqual(['on_start replica', 'on_role_change primary']);
  });
  test('who begins to lead a standby cluster changes its role', () => {
    expect(told([standby], [standby, undefined, 'standby_leader'], [primary])).toEqual([
      'on_start replica',
      'on_role_change standby_leader',
      'on_role_change primary',
    ]);
  });
  test('a primary that hands over stops as demoted, and comes back in another role', () => {
    const back = aStandby({ startedAt: 'later' });
    expect(told([primary], [stopped(), 'switchover'], [back])).toEqual([
      'on_start primary',
      'on_stop demoted',
      'on_role_change replica',
    ]);
  });
  test('a restart is one thing, also when nobody saw the server down', () => {
    const again = aPrimary({ startedAt: 'later' });
    expect(told([primary], [stopped(), 'restart'], [again])).toEqual(['on_start primary', 'on_restart primary']);
    expect(told([primary], [again])).toEqual(['on_start primary', 'on_restart primary']);
  });
  test('a server that died and comes back has stopped and started', () => {
    const again = aPrimary({ startedAt: 'later' });
    expect(told([primary], [stopped()], [again])).toEqual(['on_start primary', 'on_stop primary', 'on_start primary']);
  });
  test('a reload is told of a running server only', () => {
    const callbacks = new Callbacks();
    expect(callbacks.reloaded()).toEqual([]);
    callbacks.see({ local: standby, operation: null, role: 'replica' });
    expect(callbacks.reloaded()).toEqual([{ name: 'on_reload', role: 'replica' }]);
  });
});
