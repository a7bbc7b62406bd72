/** The real agent in a simulated world: what the daemon would build from its configuration file. */
import { Agent } from '../../../src/agent/agent.ts';
import type { AgentSettings, AgentParts as Parts } from '../../../src/agent/parts.ts';
import { resolveCluster } from '../../../src/config/settings.ts';
import { nodeName } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import type { Member, Plan } from '../plan.ts';
import type { Incarnation } from './incarnation.ts';
import type { RunningAgent } from './machine.ts';
import type { SeededRandom } from './random.ts';

export interface AgentParts extends Parts {
  readonly name: string;
  /** 0, 1, 2: gives its address. */
  readonly index: number;
}

/** As the unit file allows: a stop that takes longer is ended by SIGKILL. */
const STOP_LIMIT = millis(60_000);

export function makeAgent({ name, index, ...parts }: AgentParts, plan: Plan, poolers: readonly string[]): RunningAgent {
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
    ...plan.config,
    postgresql: {
      remove_data_directory_on_rewind_failure: plan.postgres.mayCopyAnew,
      remove_data_directory_on_diverged_timelines: plan.postgres.mayCopyAnew,
    },
  };
  const member = plan.members?.[name] ?? {};
  const node = {
    name: nodeName(name),
    nodeId: member.nodeId === undefined ? index + 1 : member.nodeId,
    priority: plan.policy?.neverLeads === name ? 0 : (member.priority ?? 100),
    noFailover: member.noFailover ?? false,
    location: member.location ?? 'default',
    role: member.witness === true ? ('witness' as const) : ('node' as const),
    upstream: member.upstream === undefined ? null : nodeName(member.upstream),
    validates: member.validation !== undefined,
    ...(poolers.length === 0
      ? {}
      : { poolers: { addresses: poolers, pauseTimeout: millis(3_000), maxPause: millis(15_000) } }),
  };
  const settings: AgentSettings = {
    self: nodeName(name),
    apiUrl: `http://${host}:8008/patroni`,
    connUrl: plan.members?.[name]?.witness === true ? null : `postgres://${host}:5432/postgres`,
    tags: {},
    guardMode: plan.guard ?? 'on',
    resolve: (stored) => {
      // A node's own file carries the same values until the cluster's configuration exists.
      const { cluster, server, adjustments } = resolveCluster(stored ?? initialConfig, {});
      return { policy: { cluster, node }, server, adjustments, notUnderstood: [] };
    },
    validate: () => [],
    merge: (stored, patch) =>
      Object.fromEntries(Object.entries({ ...stored, ...patch }).filter(([, value]) => value !== null)),
    initialConfig,
    reload: async () => agent.settingsRead(),
    makeRoom: async () => ({ kind: 'refused', why: 'a fault of the plan restarts daemons' }),
  };
  const agent: Agent = new Agent(parts, settings);
  // Bound once: the invariants ask at every event.
  return {
    self: agent.self,
    start: () => agent.start(),
    stop: (how) => agent.stop(how, STOP_LIMIT),
    suspect: (because) => agent.keeper.suspect(because),
    leadershipNow: () => agent.keeper.leadership,
    published: () => agent.published(),
    now: () => agent.now(),
    writable: () => agent.writable(),
    look: (limit) => agent.look(limit),
    explain: () => agent.explain(),
    readCluster: () => agent.readCluster(),
    readEvents: () => agent.readEvents(),
    recordRequest: (entry) => agent.recordRequest(entry),
    request: (request) => agent.request(request),
    switchover: (request) => agent.switchover(request),
    cancelSwitchover: () => agent.cancelSwitchover(),
    patchConfig: (patch) => agent.patchConfig(patch),
    putConfig: (config) => agent.putConfig(config),
    problemsOf: (config) => agent.problemsOf(config),
    confirmFailsafe: (request) => agent.confirmFailsafe(request),
    rescue: (request) => agent.rescue(request),
    readWal: (tl, from, to) => agent.readWal(tl, from, to),
  };
}

/** One that agrees only sometimes says no so often in a row: a cluster without a leader would be its luck alone. */
const MOST_NOES = 2;
/** The adapter bounds each run of the command; one that hangs is a no. */
const VALIDATION_LIMIT_MS = 5_000;

/** This node's failover_validation_command, and the others. */
export function operatorsCommands(
  kind: Member['validation'],
  process: Incarnation,
  random: SeededRandom,
  hears: { readonly told: (event: string) => void; readonly validated: (approved: boolean) => void },
): AgentParts['commands'] {
  let noes = 0;
  return {
    validateFailover: async () => {
      await process.answer(kind === 'hangs' ? VALIDATION_LIMIT_MS : random.between(5, 900), () => undefined);
      if (kind === 'hangs') return { kind: 'vetoed', said: 'it did not end in time' };
      const no = kind === 'vetoes' || (kind === 'sometimes' && noes < MOST_NOES && random.chance(0.5));
      noes = no ? noes + 1 : 0;
      hears.validated(!no);
      return no ? { kind: 'vetoed', said: 'exit code 1' } : { kind: 'approved' };
    },
    // Slow, as scripts are: nobody may wait for it.
    childNodesLost: () => process.answer(random.between(5, 20_000), () => ({ kind: 'done' })),
    notify: ({ event }) => hears.told(event),
    failedOver: () => undefined,
    callback: () => undefined,
    prePromote: async () => ({ kind: 'not-configured' }),
    beforeStop: async () => ({ kind: 'not-configured' }),
  };
}
