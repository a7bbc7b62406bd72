/** `adopt_from`: nothing is done before the cluster is handed over, whatever happens; and everything as ever after it. */

import type { ClusterView } from '../../../../src/core/cluster.ts';
import { systemId } from '../../../../src/core/local.ts';
import type { View } from '../../../../src/core/view.ts';
import {
  aCluster,
  aGate,
  aLoneStandby,
  aMember,
  aPrimary,
  aStandby,
  aStopped,
  aView,
  type Case,
  type ClusterOver,
  closedGate,
  isStarting,
  SYSTEM,
  someExtras,
  type ViewOver,
} from '../builders.ts';

const OTHER = '1111111111111111111';
/** Nobody has ever led in the scope; the daemons of all three are there. */
const unled = (over: ClusterOver = {}): ClusterView =>
  aCluster({
    leader: null,
    status: null,
    initialize: null,
    members: ['a', 'b', 'c'].map((name) => aMember(name, { pgha: someExtras() })),
    ...over,
  });

const watching = (over: ViewOver = {}): View =>
  aView({ cluster: unled(), gate: aGate({ beat: null }), ...over, node: { adoptFrom: 'repmgr', ...over.node } });

const withoutPrimary = unled({
  members: [
    aMember('a', { state: 'crashed', role: 'demoted', pgha: someExtras() }),
    aMember('b', { pgha: someExtras() }),
    aMember('c', { pgha: someExtras() }),
  ],
});

export const shadow: readonly Case[] = [
  {
    name: 'watches a primary in a scope that nobody has',
    view: watching({ local: aPrimary(), cluster: unled({ members: [aMember('b', { role: 'primary' })] }) }),
    rule: 'shadow.watching',
    actions: [],
    situation: 'shadow',
  },
  { name: 'watches a standby', view: watching(), rule: 'shadow.watching', actions: [] },
  {
    name: 'says nothing of a failover while a standby receives from a node without pgha',
    view: watching({ cluster: withoutPrimary }),
    rule: 'shadow.watching',
    actions: [],
  },
  {
    name: 'says who would lead when there is no primary',
    view: watching({ local: aLoneStandby(), cluster: withoutPrimary }),
    rule: 'shadow.would-fail-over',
    actions: [],
  },
  {
    name: 'does not start what was stopped',
    view: watching({ local: aStopped() }),
    rule: 'shadow.would-start',
    actions: [],
  },
  {
    name: 'does not end children without their postmaster',
    view: watching({ local: { kind: 'orphans', processes: 2 } }),
    rule: 'shadow.would-start',
    actions: [],
  },
  {
    name: 'does not copy into an empty directory',
    view: watching({ local: { kind: 'absent' } }),
    rule: 'shadow.watching',
    actions: [],
  },
  {
    name: 'does not end a primary that repmgr has just promoted beside another one',
    view: watching({ local: aPrimary() }),
    rule: 'shadow.foreign',
    actions: [],
  },
  {
    name: 'touches nothing where the scope is another cluster that is led',
    view: watching({ local: aPrimary(), cluster: aCluster({ initialize: OTHER }) }),
    rule: 'shadow.foreign',
    actions: [],
  },
  {
    name: 'touches nothing before etcd has answered',
    view: watching({ local: isStarting(true), etcd: 'never-read' }),
    rule: 'shadow.watching',
    actions: [],
  },
  {
    name: 'leaves Postgres running when the service stops',
    view: watching({ local: aPrimary(), leaving: true }),
    rule: 'service.left',
    actions: [],
  },
  {
    name: 'claims the scope when it is asked to, for a primary',
    view: watching({ local: aPrimary(), takeOverAsked: true }),
    rule: 'joining.claim',
    actions: ['claim-scope'],
  },
  {
    name: 'takes the key next, for the primary that runs',
    view: watching({ local: aPrimary(), takeOverAsked: true, cluster: unled({ initialize: SYSTEM }) }),
    rule: 'leaderless.acquire',
    actions: ['acquire'],
  },
  {
    name: 'does not take the scope for a standby, whoever asks',
    view: watching({ takeOverAsked: true }),
    rule: 'shadow.watching',
    actions: [],
  },
  {
    name: 'goes on watching a standby until somebody leads',
    view: watching({ cluster: unled({ initialize: SYSTEM }) }),
    rule: 'shadow.watching',
    actions: [],
  },
  {
    name: 'is a follower like any other once somebody leads',
    view: watching({ cluster: aCluster(), gate: closedGate(5_000) }),
    rule: 'following.streaming',
    actions: [],
    situation: 'following',
  },
  {
    name: 'ends a primary that is none of ours once somebody leads',
    view: watching({ local: aPrimary(), cluster: aCluster() }),
    rule: 'fence.without-window',
    actions: ['stop-immediately'],
  },
  {
    name: 'has no effect when etcd is emptied under a cluster that was handed over',
    view: watching({ local: aPrimary(), formerCluster: systemId(SYSTEM) }),
    rule: 'joining.claim',
    actions: ['claim-scope'],
  },
  {
    name: 'watches on when the scope was another cluster before',
    view: watching({ local: aStandby(), formerCluster: systemId(OTHER) }),
    rule: 'shadow.watching',
    actions: [],
  },
];
