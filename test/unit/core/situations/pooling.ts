/** Rows of a leader with poolers in front, which is asked to hand over. */
import type { PoolerStep, PoolersView } from '../../../../src/core/poolers.ts';
import { revision } from '../../../../src/core/store.ts';
import { millis } from '../../../../src/core/time.ts';
import {
  aCluster,
  aPeer,
  aPrimary,
  aRequest,
  aSilentPeer,
  before,
  type Case,
  FAILING,
  leads,
  peers,
  type ViewOver,
} from '../builders.ts';

const POOLERS = { addresses: ['10.0.1.1:6432'], pauseTimeout: millis(5_000), maxPause: millis(30_000) };
const WISH = aRequest({ leader: 'b' }).revision;
const at = (step: PoolerStep): PoolersView => ({ since: null, step });
const asked = (step: PoolerStep, over: ViewOver = {}): ViewOver => ({
  cluster: aCluster({ leader: 'b', failover: aRequest({ leader: 'b' }) }),
  node: { poolers: POOLERS },
  poolers: at(step),
  ...over,
});
const stopped = { rule: 'switchover.stop', actions: [{ do: 'stop-for-switchover', prepared: true }] } as const;
const prepared = { rule: 'switchover.prepare', actions: [{ do: 'prepare-switchover', wish: WISH }] } as const;
const pausing = (ms: number): PoolerStep => ({ kind: 'pausing', wish: WISH, since: before(ms) });

export const pooling: readonly Case[] = [
  {
    name: 'does what a stop would wait for before anybody has to wait',
    view: leads(asked({ kind: 'none' })),
    ...prepared,
  },
  {
    name: 'does so again for another wish',
    view: leads(asked({ kind: 'settled', wish: revision(3), at: before(100) })),
    ...prepared,
  },
  {
    name: 'holds clients back once that is done',
    view: leads(asked({ kind: 'prepared', wish: WISH, at: before(100) })),
    rule: 'switchover.pause-poolers',
    actions: [{ do: 'pause-poolers', wish: WISH }],
  },
  {
    name: 'prepares anew what was prepared long ago',
    view: leads(asked({ kind: 'prepared', wish: WISH, at: before(30_000) })),
    ...prepared,
  },
  {
    name: 'waits for transactions to end',
    view: leads(asked(pausing(8_999))),
    rule: 'switchover.wait-for-poolers',
    actions: [],
    again: 100,
  },
  { name: 'does not wait beyond the bound', view: leads(asked(pausing(9_000))), ...stopped },
  {
    name: 'does not wait for transactions in a server that does not answer',
    view: leads(asked(pausing(10), { local: aPrimary({ failing: FAILING }) })),
    ...stopped,
  },
  {
    name: 'stops when all poolers have answered or were passed over',
    view: leads(asked({ kind: 'settled', wish: WISH, at: before(5) })),
    ...stopped,
  },
  {
    name: 'refuses when the candidate is lost while clients are held back',
    view: leads(asked(pausing(100), { peers: peers({ a: aSilentPeer(), c: aSilentPeer() }) })),
    rule: 'switchover.refused',
    actions: ['drop-switchover-request'],
  },
  {
    name: 'hands over in the same way when the service stops',
    view: leads({ leaving: true, node: { poolers: POOLERS } }),
    rule: 'service.leaving-hands-over',
    actions: [{ do: 'prepare-switchover', wish: 'leaving' }],
  },
  {
    name: 'holds clients back when the service stops',
    view: leads({
      leaving: true,
      node: { poolers: POOLERS },
      poolers: at({ kind: 'prepared', wish: 'leaving', at: before(10) }),
    }),
    rule: 'service.leaving-hands-over',
    actions: [{ do: 'pause-poolers', wish: 'leaving' }],
  },
  {
    name: 'does none of it without poolers',
    view: leads({ ...asked({ kind: 'none' }), node: {}, peers: peers({ a: aPeer('a'), c: aPeer('c') }) }),
    rule: 'switchover.stop',
    actions: [{ do: 'stop-for-switchover' }],
  },
];
