/** Since when something ails a node, and what is told of it. */
import { beforeEach, expect, it } from 'vitest';
import { SicknessWatch } from '../../../src/agent/sickness-watch.ts';
import { NOTHING_LEARNED, type Vitals } from '../../../src/core/sickness.ts';
import { instant } from '../../../src/core/time.ts';
import { clusterPolicy } from '../core/builders.ts';

const policy = clusterPolicy.sickness;
let vitals: Vitals;
let examined: number;
let told: string[];
let watch: SicknessWatch;

beforeEach(() => {
  vitals = NOTHING_LEARNED;
  examined = 0;
  told = [];
  watch = new SicknessWatch(
    {
      vitals: () => vitals,
      examine: () => {
        examined += 1;
      },
    },
    { write: (severity, event, sentence) => told.push(`${severity} ${event} ${sentence}`) },
  );
});

it('examines no more often than disk_check_interval, and never with 0', () => {
  for (const ms of [0, 2_000, 4_999, 5_000, 9_000]) watch.look(instant(ms), policy);
  expect(examined).toBe(2);
  watch.look(instant(60_000), { ...policy, checkInterval: 0 as never });
  expect(examined).toBe(2);
});

it('tells once that something begins and once that it ends, and remembers since when', () => {
  watch.look(instant(0), policy);
  vitals = { ...NOTHING_LEARNED, checkpointer: 'process 7 is stopped' };
  watch.look(instant(1_000), policy);
  watch.look(instant(2_000), policy);
  expect(watch.view.ailments).toMatchObject([{ since: 1_000 }]);
  vitals = NOTHING_LEARNED;
  watch.look(instant(9_000), policy);
  expect(told).toEqual([
    'warn sickness.found the checkpointer does nothing: process 7 is stopped',
    'info sickness.ended checkpointer stuck: that is over',
  ]);
  // Until then it is nobody to hand a sick leader's key to.
  expect(watch.view).toMatchObject({ ailments: [], ailedAt: 2_000 });
});

it('what a failover does not help against does not keep a node from taking over', () => {
  vitals = { ...NOTHING_LEARNED, wraparound: [{ of: 'transactions', database: 'shop', age: 2_000_000_000 }] };
  watch.look(instant(1_000), policy);
  expect(watch.view.ailments).toHaveLength(1);
  expect(watch.view.ailedAt).toBeNull();
});
