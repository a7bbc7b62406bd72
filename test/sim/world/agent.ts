/** The real agent in a simulated world: what the daemon would build from its configuration file. */
import { Agent } from '../../../src/agent/agent.ts';
import type { AgentSettings, AgentParts as Parts } from '../../../src/agent/parts.ts';
import { resolveCluster } from '../../../src/config/settings.ts';
import { nodeName } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import type { Plan } from '../plan.ts';
import type { RunningAgent } from './machine.ts';

export interface AgentParts extends Parts {
  readonly name: string;
  /** 0, 1, 2: gives its address. */
  readonly index: number;
}

/** As the unit file allows: a stop that takes longer is ended by SIGKILL. */
const STOP_LIMIT = millis(60_000);

export function makeAgent({ name, index, ...parts }: AgentParts, plan: Plan): RunningAgent {
  const { ttlMs, loopWaitMs, retryTimeoutMs } = plan.settings;
  const host = `10.0.0.${index + 1}`;
  const initialConfig = {
    ttl: ttlMs / 1000,
    loop_wait: loopWaitMs / 1000,
    retry_timeout: retryTimeoutMs / 1000,
    ...(plan.policy === undefined
      ? {}
      : {
          primary_crash: plan.policy.primaryCrash,
          primary_visibility_consensus: plan.policy.visibilityConsensus,
        }),
    postgresql: {
      remove_data_directory_on_rewind_failure: plan.postgres.mayCopyAnew,
      remove_data_directory_on_diverged_timelines: plan.postgres.mayCopyAnew,
    },
  };
  const node = {
    name: nodeName(name),
    nodeId: index + 1,
    priority: plan.policy?.neverLeads === name ? 0 : 100,
    noFailover: false,
    location: 'default',
    role: 'node' as const,
    upstream: null,
    validates: false,
  };
  const settings: AgentSettings = {
    self: nodeName(name),
    apiUrl: `http://${host}:8008/patroni`,
    connUrl: `postgres://${host}:5432/postgres`,
    tags: {},
    guardMode: 'on',
    resolve: (stored) => {
      // A node's own file carries the same values until the cluster's configuration exists.
      const { cluster, server, adjustments } = resolveCluster(stored ?? initialConfig, {});
      return { policy: { cluster, node }, server, adjustments, notUnderstood: [] };
    },
    validate: () => [],
    merge: (stored, patch) => ({ ...stored, ...patch }),
    initialConfig,
    reload: async () => undefined,
  };
  const agent = new Agent(parts, settings);
  return new Proxy(agent, {
    get(target, property) {
      if (property === 'stop') return (how: 'hand-over' | 'leave-running') => target.stop(how, STOP_LIMIT);
      if (property === 'leadershipNow') return () => target.keeper.leadership;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  }) as unknown as RunningAgent;
}
