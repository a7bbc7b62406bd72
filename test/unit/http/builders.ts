/** A fake agent for the REST API: rows of tests say only what they are about. */
import type { Control, Published, SwitchoverOutcome, SwitchoverRequest } from '../../../src/agent/published.ts';
import { NOTHING_AILS } from '../../../src/agent/sickness-watch.ts';
import type { Config } from '../../../src/config/schema.ts';
import { resolveCluster } from '../../../src/config/settings.ts';
import type { AuditEntry } from '../../../src/core/audit.ts';
import { type ClusterView, readCluster } from '../../../src/core/cluster.ts';
import { explain } from '../../../src/core/explain.ts';
import { type Primary, type Standby, systemId } from '../../../src/core/local.ts';
import { lsn, timeline } from '../../../src/core/lsn.ts';
import type { ClusterPolicy } from '../../../src/core/policy.ts';
import { type KeyValue, leaseId, nodeName, revision } from '../../../src/core/store.ts';
import { instant, millis, seconds, wallTime } from '../../../src/core/time.ts';
import { buildHttp } from '../../../src/http/server.ts';
import { aNode, aView } from '../core/builders.ts';

export const NOW = instant(100_000);
export const SYSTEM = '7438123456789012345';

const running = {
  systemId: systemId(SYSTEM),
  timeline: timeline(2),
  version: 150018,
  startedAt: '2026-11-20 10:44:00.123456+00:00',
  pendingRestart: [],
  failing: null,
} as const;

export const primary = (over: Partial<Primary> = {}): Primary => ({
  kind: 'primary',
  ...running,
  flushed: lsn(0x5000060),
  senders: [],
  checkpointed: true,
  ...over,
});

export const standby = (over: Partial<Standby> = {}): Standby => ({
  kind: 'standby',
  ...running,
  received: lsn(0x5000060),
  replayed: lsn(0x5000000),
  replayedAt: '2026-11-20 10:45:00.5+00:00',
  replayPaused: false,
  positionFinal: true,
  receiver: { streaming: true, from: '10.0.0.1:5432', timeline: timeline(2), lastMessage: millis(10) },
  follows: '10.0.0.1:5432',
  senders: [],
  ...over,
});

const policy = {
  ttl: seconds(10),
  loopWait: seconds(2),
  retryTimeout: seconds(3),
  maximumLagOnFailoverBytes: 1_048_576n,
  maximumLagOnFailoverTime: millis(0),
  pause: false,
} as unknown as ClusterPolicy;

export interface Keys {
  [key: string]: unknown;
}

/** A cluster from its keys; objects are stored as JSON. */
export function aCluster(keys: Keys): ClusterView {
  const entries = Object.entries(keys).map(
    ([key, value], index): KeyValue => ({
      key,
      value: typeof value === 'string' ? value : JSON.stringify(value),
      createRevision: revision(index + 1),
      modRevision: revision(index + 1),
      lease: leaseId('1'),
    }),
  );
  return readCluster(entries, { clusterId: '1', raftTerm: 2n, revision: revision(entries.length) });
}

export const threeMembers = (over: Keys = {}): Keys => ({
  leader: 'a',
  initialize: SYSTEM,
  status: { optime: 0x5000060 },
  config: { ttl: 10, loop_wait: 2, retry_timeout: 3 },
  'members/a': {
    conn_url: 'postgres://10.0.0.1:5432/postgres',
    api_url: 'http://10.0.0.1:8008/patroni',
    state: 'running',
    role: 'primary',
    version: '4.1.4',
    xlog_location: 0x5000060,
    timeline: 2,
  },
  'members/b': {
    conn_url: 'postgres://10.0.0.2:5432/postgres',
    api_url: 'http://10.0.0.2:8008/patroni',
    state: 'running',
    role: 'replica',
    version: '4.1.4',
    xlog_location: 0x5000060,
    receive_lsn: 0x5000060,
    replay_lsn: 0x5000000,
    replication_state: 'streaming',
    timeline: 2,
  },
  'members/c': {
    conn_url: 'postgres://10.0.0.3:5432/postgres',
    api_url: 'http://10.0.0.3:8008/patroni',
    state: 'starting',
    role: 'replica',
    version: '4.1.4',
    tags: { nofailover: true },
  },
  ...over,
});

export function aPublished(over: Partial<Published> & { pause?: boolean } = {}): Published {
  const { pause = false, ...rest } = over;
  return {
    at: instant(NOW - 500),
    local: standby(),
    localAt: instant(NOW - 500),
    leadership: { kind: 'none' },
    cluster: aCluster(threeMembers()),
    clusterAt: instant(NOW - 500),
    clusterAtWall: wallTime(1_795_000_000_000),
    decision: {
      situation: 'following',
      rule: 'standby.follow',
      reason: 'a leads.',
      since: instant(NOW - 5_000),
      sinceWall: wallTime(1_795_000_000_000),
    } as Published['decision'],
    operation: null,
    policy: {
      cluster: { ...resolveCluster(null, {}).cluster, ...policy, pause },
      node: aNode('b', { nodeId: 2 }),
    },
    guard: 'acking',
    proofs: { count: 0, last: null },
    gate: { opensAt: instant(NOW + 4_000), revision: revision(7) },
    sawPrimary: millis(30),
    sawPrimaryOf: nodeName('a'),
    upstreamCheck: null,
    scheduledRestart: null,
    slots: { weighed: [], troubles: [] },
    health: NOTHING_AILS,
    validating: false,
    vetoedFor: null,
    etcdSince: null,
    knownCluster: null,
    unwatched: null,
    confirmed: null,
    state: 'running',
    role: 'replica',
    ...rest,
  };
}

export const aLeader = (over: Partial<Published> = {}): Published =>
  aPublished({
    local: primary(),
    role: 'primary',
    leadership: {
      kind: 'holding',
      term: revision(5),
      ttl: seconds(10),
      since: instant(NOW - 60_000),
      windowOpen: true,
      until: instant(NOW + 8_000),
      deadline: instant(NOW + 8_000),
      gate: instant(0),
      unopenedSince: null,
      releaseSent: false,
      adopting: false,
      provenBy: 'etcd',
    },
    ...over,
  });

export function aConfig(over: Partial<Config> = {}): Config {
  return {
    scope: 'demo',
    namespace: '/service',
    node: { name: nodeName('b'), nodeId: 2, priority: 100, noFailover: false, location: 'default' },
    tags: {},
    restapi: {
      listen: { host: '127.0.0.1', port: 0 },
      connectAddress: { host: '127.0.0.1', port: 8008 },
      authentication: null,
      tls: null,
    },
    ctl: { authentication: null, insecure: false, cacert: null, certfile: null, keyfile: null },
    ...over,
  } as Config;
}

export interface Asked {
  switchovers: SwitchoverRequest[];
  requests: unknown[];
  configs: unknown[];
  audit: AuditEntry[];
  looks: number;
}

export interface FakeControl extends Control {
  readonly asked: Asked;
}

export function aControl(
  over: Partial<Control> & { state?: Published; canWrite?: boolean; outcome?: SwitchoverOutcome } = {},
): FakeControl {
  const { state = aPublished(), canWrite = false, outcome, ...rest } = over;
  const asked: Asked = { switchovers: [], requests: [], configs: [], audit: [], looks: 0 };
  return {
    asked,
    self: nodeName('b'),
    published: () => state,
    now: () => NOW,
    writable: () => canWrite,
    look: async () => {
      asked.looks++;
    },
    readCluster: async () => state.cluster,
    confirmFailsafe: async () => ({ kind: 'off' }),
    recordRequest: (entry) => void asked.audit.push(entry),
    readEvents: async () => ({ events: [], ofAll: true }),
    explain: async () => ({ explanation: explain(aView()), lastTakeover: null, mine: null }),
    request: async (request) => {
      asked.requests.push(request);
      return { kind: 'done', sentence: 'done' };
    },
    switchover: async (request) => {
      asked.switchovers.push(request);
      return outcome ?? { kind: 'done', leader: nodeName('c'), pausedMs: 312 };
    },
    cancelSwitchover: async () => ({ kind: 'refused', sentence: 'no switchover is scheduled' }),
    patchConfig: async (patch) => {
      asked.configs.push(patch);
      return { kind: 'stored', config: { ttl: 10, ...patch }, before: { ttl: 10, loop_wait: 2 } };
    },
    putConfig: async (config) => ({ kind: 'stored', config, before: null }),
    problemsOf: async () => [],
    rescue: async (request) => ({ kind: 'delivered', replayed: request.end }),
    readWal: async () => null,
    ...rest,
  };
}

export const silentLog = { write: (): void => {} };

export function anApi(control: Control = aControl(), config: Config = aConfig()): ReturnType<typeof buildHttp> {
  return buildHttp({ config: () => config, control, log: silentLog, version: '0.1.0', tls: null });
}
