/** Who lets clients go and when, where a pooler leads, and what stands in etcd about it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  hostOf,
  isServerOf,
  type PoolerPause,
  type PoolersView,
  readPoolerPause,
  whereItLeads,
  whyResume,
  writePoolerPause,
} from '../../../src/core/poolers.ts';
import type { RuleId } from '../../../src/core/rules.ts';
import { nodeName, revision } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import { aCluster, aPrimary, aStopped, aView, before, FAILING, leads, noWindow, type ViewOver } from './builders.ts';

const PAUSE: PoolerPause = {
  revision: revision(60),
  state: 'paused',
  purpose: 'switchover',
  by: nodeName('a'),
  at: '2026-11-21T04:00:00.000Z',
  held: new Map([['10.0.1.1:6432', { paused: [], led: ['app'] }]]),
  skipped: new Map([['10.0.1.2:6432', 'no answer within 1000 ms']]),
  late: new Map(),
  resumedBy: null,
  pauseMs: null,
};
const POOLERS = { addresses: ['10.0.1.1:6432'], pauseTimeout: millis(5_000), maxPause: millis(30_000) };
const sinceMs = (ms: number, step: PoolersView['step'] = { kind: 'none' }): PoolersView => ({
  since: before(ms),
  step,
});

const held = (over: ViewOver = {}, pause: PoolerPause | null = PAUSE): ViewOver => ({
  node: { poolers: POOLERS },
  poolers: sinceMs(500),
  cluster: { ...aCluster({ leader: 'b' }), poolers: pause },
  ...over,
});
const why = (over: ViewOver, rule: RuleId = 'leading.primary') => whyResume(leads(over), rule);

describe('clients who are held back', () => {
  it('are let go by the leader once its Postgres takes writes, whoever had held them back', () => {
    expect(why(held())).toBe('leads');
  });

  it.each<[string, ViewOver, RuleId]>([
    ['its window is closed', { leadership: noWindow() }, 'leading.waiting-for-window'],
    ['its Postgres is down', { local: aStopped() }, 'leading.find-end'],
    ['its Postgres does not answer', { local: aPrimary({ failing: FAILING }) }, 'leading.check-failed'],
    ['something is under way', { operation: { kind: 'restart', since: before(10) } }, 'node.busy'],
    ['the switchover is still to be carried out', {}, 'switchover.wait-for-poolers'],
    ['the service stops, and hands over', {}, 'service.leaving-hands-over'],
    ['it restarts its Postgres', { poolers: sinceMs(500, { kind: 'restarting' }) }, 'leading.primary'],
  ])('are not let go while %s', (_, over, rule) => {
    expect(why(held(over), rule)).toBeNull();
  });

  it('are let go when the switchover is refused', () => {
    expect(why(held(), 'switchover.refused')).toBe('leads');
  });

  it('are let go by everybody when it has taken too long, whatever is under way', () => {
    expect(why(held({ poolers: sinceMs(29_999), local: aStopped() }), 'leading.find-end')).toBeNull();
    expect(why(held({ poolers: sinceMs(30_000), local: aStopped() }), 'leading.find-end')).toBe('overdue');
    expect(whyResume(aView(held({ poolers: sinceMs(30_000) })), 'following.streaming')).toBe('overdue');
    expect(whyResume(aView(held({ poolers: sinceMs(30_000), etcd: 'silent' })), 'blind.standby')).toBe('overdue');
  });

  it('are no business of a standby before that', () => {
    expect(whyResume(aView(held()), 'following.streaming')).toBeNull();
  });

  it('are none where nobody is held back, or no poolers are configured', () => {
    expect(why(held({}, null))).toBeNull();
    expect(why(held({}, { ...PAUSE, state: 'resumed' }))).toBeNull();
    expect(why(held({ node: {} }))).toBeNull();
  });
});

describe('where a database of a pooler leads', () => {
  it.each<[string | null, string]>([
    ['127.0.0.1', '10.0.0.1'],
    ['localhost', '10.0.0.1'],
    ['::1', '10.0.0.1'],
    ['/var/run/postgresql', '10.0.0.1'],
    [null, '10.0.0.1'],
    ['10.0.0.9', '10.0.0.9'],
    ['db.example', 'db.example'],
  ])('%s of the pooler on 10.0.0.1 is %s', (host, expected) => {
    expect(whereItLeads('10.0.0.1:6432', { name: 'app', host, port: 5432 })).toEqual({ host: expected, port: 5432 });
  });

  it('is known by the addresses of members, and has to be asked elsewhere', () => {
    const cluster = aCluster();
    expect(isServerOf(cluster, nodeName('a'), { host: '10.0.0.1', port: 5432 })).toBe(true);
    expect(isServerOf(cluster, nodeName('a'), { host: '10.0.0.2', port: 5432 })).toBe(false);
    expect(isServerOf(cluster, nodeName('a'), { host: '10.0.0.1', port: 5000 })).toBeNull();
  });

  it('reads the host of an address with brackets', () => {
    expect(hostOf('[fd00::1]:6432')).toBe('fd00::1');
  });
});

describe('the key pgha/poolers', () => {
  it('reads back as it was written', () => {
    const { revision: at, ...written } = PAUSE;
    expect(readPoolerPause(JSON.parse(writePoolerPause(written)), at)).toEqual(PAUSE);
    const ended = {
      ...PAUSE,
      state: 'resumed' as const,
      purpose: 'stop' as const,
      resumedBy: nodeName('b'),
      pauseMs: 412,
    };
    expect(readPoolerPause(JSON.parse(writePoolerPause(ended)), at)).toEqual(ended);
  });

  it('says nothing, and never throws, where something else stands in it', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('state', 'by', 'held', 'skipped', 'late', 'for'), fc.jsonValue()),
        (value) => {
          const read = readPoolerPause(value, revision(1));
          expect(read === null || read.state === 'paused' || read.state === 'resumed').toBe(true);
        },
      ),
    );
    expect(readPoolerPause({ state: 'paused' }, revision(1))).toBeNull();
  });
});
