/** An operator has scheduled a restart of this node's Postgres. */
import type { ScheduledRestart } from '../../../../src/core/schedule.ts';
import { millis } from '../../../../src/core/time.ts';
import {
  aCluster,
  aPrimary,
  aRequest,
  aStandby,
  aStopped,
  aView,
  before,
  type Case,
  FAILING,
  holding,
  leads,
  noWindow,
  seeks,
  type ViewOver,
} from '../builders.ts';

const plan = (over: Partial<ScheduledRestart> = {}): ScheduledRestart => ({
  at: '2030-01-01T10:00:00+00:00',
  role: null,
  below: null,
  timeout: null,
  onlyIfPending: false,
  postmasterStart: aPrimary().startedAt,
  ...over,
});

const scheduled = (dueIn: number, over: Partial<ScheduledRestart> = {}): Pick<ViewOver, 'restart'> => ({
  restart: { plan: plan(over), dueIn: millis(dueIn) },
});

const waiting = [{ name: 'max_connections', from: '100', to: '200' }];
const due = { rule: 'restart.due', actions: ['restart'] } as const;
const dropped = { rule: 'restart.dropped', actions: ['drop-restart'] } as const;
const asIfNothing = { rule: 'following.streaming', actions: [] } as const;

export const restarting: readonly Case[] = [
  { name: 'leaves Postgres running until then', view: aView(scheduled(1)), ...asIfNothing },
  { name: 'restarts a standby at its time', view: aView(scheduled(0)), ...due, situation: 'following' },
  {
    name: 'restarts the primary at its time, with the time limit asked for',
    view: leads(scheduled(-10, { timeout: millis(30_000) })),
    rule: 'restart.due',
    actions: [{ do: 'restart', timeout: millis(30_000) }],
    situation: 'leading',
  },
  {
    name: 'restarts a primary that ails and goes on all the same',
    view: leads({
      ...scheduled(0),
      ailments: [
        {
          sickness: {
            kind: 'wraparound-near',
            wraparound: { of: 'transactions', database: 'app', age: 1_600_000_000 },
            limit: 2 ** 31,
          },
          since: before(60_000),
        },
      ],
    }),
    ...due,
  },
  { name: 'restarts it 15 s late', view: aView(scheduled(-15_000)), ...due },
  { name: 'does not restart it later than that', view: aView(scheduled(-15_001)), ...dropped },
  {
    name: 'restarts it one and a half loops late where loops are long',
    view: aView({ ...scheduled(-30_000), set: { loopWait: millis(20_000) } }),
    ...due,
  },
  {
    name: 'does not restart what was started anew since, long before the time',
    view: aView(scheduled(60_000, { postmasterStart: '2020-01-01 00:00:00.000000+00:00' })),
    ...dropped,
  },
  {
    name: 'does not restart a standby when the primary was meant',
    view: aView(scheduled(0, { role: 'primary' })),
    ...dropped,
  },
  { name: 'restarts a standby when one was meant', view: aView(scheduled(0, { role: 'replica' })), ...due },
  {
    name: 'does not restart the primary when a standby was meant',
    view: leads(scheduled(0, { role: 'replica' })),
    ...dropped,
  },
  { name: 'does not restart a server of that very version', view: aView(scheduled(0, { below: '15.18' })), ...dropped },
  { name: 'restarts an older one', view: aView(scheduled(0, { below: '15.19' })), ...due },
  {
    name: 'does not restart where no setting waits for it',
    view: aView(scheduled(0, { onlyIfPending: true })),
    ...dropped,
  },
  {
    name: 'restarts where one does',
    view: aView({ ...scheduled(0, { onlyIfPending: true }), local: aStandby({ pendingRestart: waiting }) }),
    ...due,
  },
  {
    name: 'waits with a server that does not pass its check',
    view: aView({ ...scheduled(0), local: aStandby({ failing: FAILING }) }),
    ...asIfNothing,
  },
  {
    name: 'waits with a primary whose window is not proven',
    view: leads({ ...scheduled(0), leadership: noWindow({ adopting: true }) }),
    rule: 'leading.primary',
    actions: [],
  },
  {
    name: 'waits with a primary whose window is about to end',
    view: leads({ ...scheduled(0), leadership: holding({ deadline: holding().since }) }),
    rule: 'leading.primary',
    actions: [],
  },
  {
    name: 'touches nothing in maintenance',
    view: aView({ ...scheduled(0), set: { pause: true } }),
    rule: 'maintenance.hands-off',
    actions: [],
  },
  {
    name: 'comes after a switchover that is asked for',
    view: leads({ ...scheduled(0), cluster: aCluster({ leader: 'b', failover: aRequest({ leader: 'b' }) }) }),
    rule: 'switchover.stop',
    actions: ['stop-for-switchover'],
  },
  {
    name: 'restarts no standby in an election',
    view: seeks(scheduled(0)),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not start what is down',
    view: leads({ ...scheduled(0), local: aStopped(), set: { failover: 'manual' } }),
    rule: 'leading.start-here',
    actions: ['start-primary'],
  },
];
