/**
 * Makes a failing plan small: fewer faults, nodes and clients, shorter, round times. Only the plan is edited, and each
 * edit stands only if the very same invariant breaks again. It ends when no edit helps any more or its time is over.
 */
import type { Fault, Plan, PlannedFault } from './plan.ts';

/** Which invariant breaks, and when; null: none does. */
export type Judge = (plan: Plan) => Promise<{ readonly invariant: string; readonly at: number } | null>;

export interface Shrunk {
  readonly plan: Plan;
  readonly tried: number;
}

/**
 * @param invariant - the one that has to break
 * @param enough - asked before each try; true ends it
 */
export async function shrink(from: Plan, invariant: string, judge: Judge, enough: () => boolean): Promise<Shrunk> {
  let plan = from;
  let tried = 0;
  const keep = async (candidate: Plan): Promise<boolean> => {
    if (enough()) return false;
    tried += 1;
    const verdict = await judge(candidate);
    if (verdict?.invariant !== invariant) return false;
    plan = candidate;
    return true;
  };
  for (;;) {
    const before = JSON.stringify(plan);
    await dropFaults(() => plan, keep);
    for (const simpler of simplerShapes(plan)) await keep({ ...plan, ...simpler });
    for (const one of plan.early ?? [])
      await keep({ ...plan, early: plan.early?.filter((other) => other !== one) ?? [] });
    await dropNodes(() => plan, keep);
    await roundTimes(() => plan, keep);
    if (enough() || JSON.stringify(plan) === before) return { plan, tried };
  }
}

type Keep = (candidate: Plan) => Promise<boolean>;

const withFaults = (plan: Plan, faults: readonly PlannedFault[]): Plan => ({
  ...plan,
  faults,
  profile: faults.length === 0 ? 'no fault' : [...new Set(faults.map((one) => one.fault.kind))].join(' '),
});

/** In halves, then quarters, then singly. */
async function dropFaults(plan: () => Plan, keep: Keep): Promise<void> {
  for (let size = Math.ceil(plan().faults.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < plan().faults.length; ) {
      const rest = plan().faults.filter((_, i) => i < at || i >= at + size);
      if (!(await keep(withFaults(plan(), rest)))) at += size;
    }
  }
}

/** A node that no fault names: the first keeps its name, and chance is drawn by names. */
async function dropNodes(plan: () => Plan, keep: Keep): Promise<void> {
  for (const name of [...plan().nodes].reverse()) {
    const now = plan();
    const at = now.nodes.indexOf(name);
    if (now.nodes.length === 1 || now.brought?.node === name) continue;
    const { [name]: _dropped, ...members } = now.members ?? {};
    await keep({
      ...now,
      nodes: now.nodes.filter((one) => one !== name),
      clockRates: now.clockRates.filter((_, i) => i !== at),
      healthyNodes: now.healthyNodes.filter((one) => one !== name),
      ...(now.members === undefined ? {} : { members }),
    });
  }
}

function simplerShapes(plan: Plan): readonly Partial<Plan>[] {
  const config = plan.config ?? {};
  const members = plan.members ?? {};
  return [
    { workload: { ...plan.workload, clients: 1 } },
    { workload: { clients: 1, everyMs: 400 } },
    { etcdMembers: 1 },
    // Only downwards, or it would never end.
    ...(plan.etcdMembers > 3 ? [{ etcdMembers: 3 }] : []),
    { clockRates: plan.clockRates.map(() => 1) },
    { config: {} },
    ...Object.keys(config).map((name) => ({ config: without(config, name) })),
    { members: {} },
    ...Object.keys(members).map((name) => ({ members: without(members, name) })),
    { brought: null },
    { guardUnitMs: null },
    { healthyNodes: plan.nodes },
    {
      postgres: {
        replicationDelayMs: 0,
        slowPromotionChance: 0,
        slowStartChance: 0,
        failChance: 0,
        mayCopyAnew: plan.postgres.mayCopyAnew,
      },
    },
    { safetyMs: Math.ceil(plan.safetyMs / 2_000) * 1_000 },
    { safetyMs: Math.ceil(plan.safetyMs / 10_000) * 1_000 },
  ].filter((simpler) => Object.entries(simpler).some(([key, value]) => !same(plan[key as keyof Plan], value)));
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function without<T>(map: Readonly<Record<string, T>>, name: string): Record<string, T> {
  return Object.fromEntries(Object.entries(map).filter(([key]) => key !== name));
}

const LENGTHS = ['at', 'after', 'for', 'ms', 'restartAfter', 'bootAfter', 'inMs', 'ageMs'];

/** To thousands where that is enough, else to hundreds, else to tens. */
async function roundTimes(plan: () => Plan, keep: Keep): Promise<void> {
  for (let i = 0; i < plan().faults.length; i += 1) {
    for (const part of ['when', 'fault'] as const) {
      for (const name of LENGTHS) {
        for (const step of [1_000, 100, 10]) {
          const rounded = withRounded(plan(), i, part, name, step);
          if (rounded !== null && (await keep(rounded))) break;
        }
      }
    }
  }
}

function withRounded(plan: Plan, index: number, part: 'when' | 'fault', name: string, step: number): Plan | null {
  const planned = plan.faults[index];
  const value = (planned?.[part] as unknown as Readonly<Record<string, unknown>> | undefined)?.[name];
  if (planned === undefined || typeof value !== 'number') return null;
  const round = Math.round(value / step) * step;
  if (round === value || (round === 0 && value !== 0 && name !== 'at' && name !== 'after')) return null;
  const changed = { ...planned, [part]: { ...planned[part], [name]: round } } as PlannedFault;
  return withFaults(
    plan,
    plan.faults.map((one, i) => (i === index ? changed : one)),
  );
}

/** A plan that breaks S1 whatever the code does: there is no guard, and the leader's daemon stands still. */
export const CANARY: Plan = {
  seed: 1,
  canary: true,
  guard: 'off',
  nodes: ['a', 'b', 'c'],
  etcdMembers: 3,
  settings: { ttlMs: 5_000, loopWaitMs: 1_000, retryTimeoutMs: 1_000 },
  clockRates: [1.0003, 0.9998, 1],
  workload: { clients: 2, everyMs: 100 },
  postgres: {
    replicationDelayMs: 0,
    slowPromotionChance: 0,
    slowStartChance: 0,
    failChance: 0,
    mayCopyAnew: true,
  },
  guardUnitMs: null,
  profile: 'canary',
  faults: [
    { when: { at: 2_340 }, fault: { kind: 'etcd-move-leader' } },
    { when: { at: 9_876 }, fault: { kind: 'daemon-pause', node: 'holder', for: 31_234 } satisfies Fault },
    { when: { at: 12_345 }, fault: { kind: 'cut', node: 'other', plane: 'client', oneWay: false, for: 3_333 } },
    { when: { at: 50_000 }, fault: { kind: 'backend-crash', node: 'primary' } },
  ],
  safetyMs: 60_000,
  healthyNodes: ['a', 'b', 'c'],
  livenessMs: 80_000,
};
