/**
 * Draws plans from seeds, in four ways that are all needed: a random subset of fault kinds per plan (one plan in
 * twenty has none), lengths that cluster around TTL, stop-by and loop times, faults tied to events, and in one plan of
 * eight several changes of who knows what, close together.
 */
import type {
  Brought,
  Fault,
  FaultyRequest,
  Member,
  NodeRef,
  Occasion,
  Plan,
  PlannedFault,
  RequestFate,
  When,
} from './plan.ts';
import { SICKNESSES } from './plan.ts';
import { drawStory, type Story } from './stories.ts';
import { SeededRandom } from './world/random.ts';

type Kind = Fault['kind'];

const KINDS: readonly Kind[] = [
  'daemon-kill',
  'daemon-pause',
  'daemon-stop',
  'daemon-restart',
  'guard-kill',
  'power-loss',
  'postmaster-kill',
  'postgres-crash',
  'backend-crash',
  'postgres-hang',
  'cut',
  'etcd-kill',
  'etcd-isolate',
  'etcd-move-leader',
  'etcd-stuck-leader',
  'etcd-early-revocation',
  'etcd-no-space',
  'request',
  'switchover',
  'ttl',
  'machine-suspend',
  'wall-step',
  'etcd-freeze',
  'etcd-wipe',
  'etcd-restore',
  'split',
  'check-fails',
  'promotions-fail',
  'starts-fail',
  'wal-unreadable',
  'directory-unusable',
  'foreign-data',
  'maintenance',
  'settings',
  'restart',
  'reinitialize',
  'scheduled-switchover',
  'failover-by-hand',
  'connections-full',
  'guard-pause',
  'garbage',
  'reload',
];

/** Rare in a data centre, and hard on everything else in the plan. */
const RARE: ReadonlySet<Kind> = new Set<Kind>([
  'machine-suspend',
  'etcd-wipe',
  'etcd-restore',
  'foreign-data',
  'maintenance',
  'directory-unusable',
  'wal-unreadable',
]);

const OCCASIONS: readonly Occasion[] = [
  'beat-sent',
  'keepalive-sent',
  'release-sent',
  'acquire-sent',
  'take-over-sent',
  'retake-sent',
  'key-won',
  'key-gone',
  'promotion-begins',
  'promoted',
  'guard-armed',
  'postmaster-gone',
  'copy-begins',
  'daemon-started',
];

const REQUESTS: readonly FaultyRequest[] = [
  'beat',
  'beat',
  'beat',
  'keepalive',
  'release',
  'acquire',
  'take-over',
  'retake',
  'grant',
  'read',
];
const FATES: readonly RequestFate[] = ['lost', 'answer-lost', 'late', 'late', 'slow'];

export interface Settings {
  readonly ttlMs: number;
  readonly loopWaitMs: number;
  readonly retryTimeoutMs: number;
}

export const SETTINGS: readonly Settings[] = [
  { ttlMs: 10_000, loopWaitMs: 2_000, retryTimeoutMs: 3_000 },
  { ttlMs: 10_000, loopWaitMs: 2_000, retryTimeoutMs: 3_000 },
  { ttlMs: 5_000, loopWaitMs: 1_000, retryTimeoutMs: 1_000 },
  { ttlMs: 15_000, loopWaitMs: 3_000, retryTimeoutMs: 4_000 },
  { ttlMs: 30_000, loopWaitMs: 10_000, retryTimeoutMs: 10_000 },
];

/**
 * @param focus - stories that each plan shall tell; none: drawn like everything else
 * @param shape - what each plan shall have, whatever was drawn
 */
export function drawPlan(seed: number, focus: readonly Story[] = [], shape: Partial<Plan> = {}): Plan {
  const poolers = new SeededRandom(`with poolers:${seed}`).chance(0.3) ? { poolers: 2 } : {};
  const address = new SeededRandom(`with an address:${seed}`).chance(0.2) ? { virtualAddress: true as const } : {};
  const plan = { ...drawAny(seed, focus), ...poolers, ...address, ...shape };
  // Drawn apart, so that plans are what they were but for this.
  const failsafe = new SeededRandom(`failsafe:${seed}`).chance(0.35);
  const guarded = failsafe ? { ...plan, config: { failsafe_mode: true, ...plan.config } } : plan;
  const drawn = drawUpheaval(drawSickness(guarded, focus), focus);
  if (plan.config?.['synchronous_mode'] === undefined || plan.profile === 'quiet') return drawn;
  const random = new SeededRandom(`plan:${seed}`).fork('synchronous faults');
  return { ...drawn, faults: [...drawn.faults, ...drawSynchronous(random, plan.settings)] };
}

/** Nodes and their disks fall ill, for longer than it takes to notice, under thresholds that fit into a minute. */
function drawSickness(plan: Plan, focus: readonly Story[]): Plan {
  const random = new SeededRandom(`sickness:${plan.seed}`);
  if (plan.profile === 'quiet' || focus.length > 0 || !random.chance(0.15)) return plan;
  const faults = Array.from({ length: random.whole(1, 3) }, (_, i): PlannedFault => {
    const stream = random.fork(`sick ${i}`);
    return {
      when: { at: Math.round(stream.between(0, 40_000)) },
      fault: {
        kind: 'sick',
        node: stream.pick(['holder', 'holder', 'primary', 'other'] as const),
        of: stream.pick(SICKNESSES),
        for: Math.round(stream.between(2_000, 30_000)),
      },
    };
  });
  const config = {
    disk_check_interval: 1,
    disk_hang_timeout: 2,
    sick_failover_delay: random.pick([0, 1, 5]),
    sick_failover_rest: random.pick([5, 20, 300]),
    crash_loop_count: 3,
    crash_loop_interval: 20,
    on_disk_full: random.pick(['failover', 'failover', 'failover', 'stay']),
    on_checkpointer_stuck: random.pick(['failover', 'stay']),
  };
  return { ...plan, config: { ...config, ...plan.config }, faults: [...plan.faults, ...faults] };
}

/** What changes who knows what of whom, and who may do what. */
const UPHEAVALS: readonly Kind[] = [
  'etcd-restore',
  'etcd-restore',
  'etcd-wipe',
  'etcd-kill',
  'maintenance',
  'maintenance',
  'failover-by-hand',
  'switchover',
  'ttl',
  'daemon-stop',
  'daemon-stop',
  'daemon-kill',
  'daemon-pause',
  'power-loss',
  'machine-suspend',
  'cut',
  'garbage',
];

/** Several of them on top of everything else, each within a few holds of the one before. */
function drawUpheaval(plan: Plan, focus: readonly Story[]): Plan {
  const random = new SeededRandom(`upheaval:${plan.seed}`);
  if (plan.profile === 'quiet' || focus.length > 0 || !random.chance(0.12)) return plan;
  const { nodes, settings } = plan;
  const latest = plan.safetyMs - 8_000;
  let at = random.between(2_000, 0.4 * plan.safetyMs);
  const faults = Array.from({ length: random.whole(3, 6) }, (_, i): PlannedFault => {
    const stream = random.fork(`upheaval ${i}`);
    const fault = drawFault(stream, stream.pick(UPHEAVALS), nodes, settings);
    const when = { at: Math.round(at) };
    at += drawLength(stream, settings) * (stream.chance(0.6) ? 0.3 : 1);
    if (at > latest) at = stream.between(2_000, latest);
    return { when, fault };
  });
  return { ...plan, faults: [...plan.faults, ...faults] };
}

function drawAny(seed: number, focus: readonly Story[]): Plan {
  const random = new SeededRandom(`plan:${seed}`);
  const shape = random.fork('shape');
  const settings = shape.pick(SETTINGS);
  const usual = shape.chance(0.7) || focus.length > 0;
  const count = usual ? 3 : random.fork('size').pick([1, 2, 2, 3, 4, 5]);
  const nodes = ['a', 'b', 'c', 'd', 'e'].slice(0, count);
  const etcdMembers = shape.chance(0.75) || focus.length > 0 ? (random.fork('etcd size').chance(0.1) ? 5 : 3) : 1;
  const slow = shape.chance(0.25);
  const quiet = random.fork('quiet').chance(0.05);
  const crashes = random.fork('crashes');
  const onlyCrashes = !quiet && crashes.chance(0.06);
  const policy = random.fork('policy');
  const draw = (): PlannedFault[] => {
    if (focus.length > 0) return drawFocus(random.fork('focus'), focus, nodes, settings);
    if (quiet) return [];
    if (onlyCrashes) return drawCrashes(crashes);
    return drawFaults(random.fork('faults'), nodes, etcdMembers, settings);
  };
  const neverLead = count === 3 && policy.fork('never').chance(0.15) ? policy.pick(nodes) : null;
  // What was set before the first start would leave a cluster whose first leader fails without any.
  const manual = focus.length === 0 && !quiet && random.fork('manual').chance(0.05);
  const faults = manual ? [...draw(), manualFrom(random.fork('manual from'))] : draw();
  const safetyMs = Math.max(60_000, 6 * settings.ttlMs) + shape.whole(0, 60_000);
  const left = shape.whole(0, 5);
  const healthy = count < 3 ? nodes : nodes.filter((_, i) => i !== left);
  return {
    seed,
    nodes,
    etcdMembers,
    settings,
    clockRates: nodes.map(() => 1 + shape.between(-0.001, 0.001)),
    workload: { clients: shape.whole(1, 2), everyMs: shape.pick([50, 100, 200, 400]) },
    postgres: {
      replicationDelayMs: shape.chance(0.2) ? shape.between(20, 800) : 0,
      slowPromotionChance: slow ? 0.3 : 0.02,
      slowStartChance: slow ? 0.3 : 0.05,
      failChance: shape.chance(0.3) ? 0.3 : 0.02,
      mayCopyAnew: random.fork('copy').chance(0.7),
    },
    policy: {
      primaryCrash: policy.pick(['auto', 'auto', 'auto', 'restart', 'failover'] as const),
      visibilityConsensus: policy.chance(0.5),
      neverLeads: neverLead,
    },
    ...(focus.length > 0 ? {} : drawShape(random.fork('more'), nodes, quiet, neverLead)),
    guardUnitMs: shape.chance(0.5) ? shape.whole(100, 1_500) : null,
    profile: faults.length === 0 ? 'quiet' : [...new Set(faults.map((one) => one.fault.kind))].join(' '),
    faults,
    ...(focus.length === 0 && !quiet && random.fork('early').chance(0.1)
      ? { early: drawEarly(random.fork('early faults'), nodes, settings) }
      : {}),
    safetyMs,
    healthyNodes: healthy,
    livenessMs:
      4 * Math.max(settings.ttlMs, ...faults.map(({ fault }) => (fault.kind === 'ttl' ? fault.ttlMs : 0))) + 60_000,
  };
}

/** What keeps the sets of synchronous standbys moving, and their key in doubt. */
function drawSynchronous(random: SeededRandom, settings: Settings): PlannedFault[] {
  const faults: PlannedFault[] = [];
  for (let i = 0; random.chance(0.6) && i < 4; i += 1) {
    const stream = random.fork(`sync ${i}`);
    const at = Math.round(stream.between(0, 45_000));
    const length = (): number => drawLength(stream, settings);
    const lost: Fault = { kind: 'power-loss', node: stream.pick(['holder', 'other']), bootAfter: length() + 2_000 };
    const doubt: Fault = {
      kind: 'request',
      node: 'holder',
      request: 'sync',
      fate: stream.pick(FATES),
      ms: stream.chance(0.5) ? Math.round(stream.between(50, 4_000)) : length(),
      count: stream.whole(1, 3),
    };
    if (stream.chance(0.6)) faults.push({ when: { at }, fault: doubt });
    // A standby that goes or comes is what the next step is made for.
    faults.push({ when: { at: at + Math.round(stream.between(0, 3_000)) }, fault: lost });
    if (stream.chance(0.4)) {
      const next: Fault = stream.chance(0.5)
        ? { kind: 'daemon-kill', node: 'holder', restartAfter: Math.round(stream.between(100, 1_500)) }
        : { kind: 'power-loss', node: 'holder', bootAfter: length() + 2_000 };
      faults.push({ when: { at: at + Math.round(stream.between(500, 12_000)) }, fault: next });
    }
  }
  return faults;
}

/** What files of nodes say beside the times. Half of all plans keep to the defaults. */
function drawShape(
  random: SeededRandom,
  nodes: readonly string[],
  quiet: boolean,
  neverLeads: string | null,
): Pick<Plan, 'config' | 'members' | 'brought'> {
  const config: Record<string, unknown> = {};
  const set = (chance: number, name: string, from: readonly unknown[]): void => {
    const stream = random.fork(name);
    if (stream.chance(chance)) config[name] = stream.pick(from);
  };
  const some = random.chance(0.5);
  if (some) {
    set(0.4, 'standby_disconnect_on_failover', [true]);
    set(0.3, 'sibling_nodes_disconnect_timeout', [1, 5, 30]);
    set(0.3, 'primary_notification_timeout', [1, 5, 60]);
    set(0.3, 'election_rerun_interval', [1, 5, 15]);
    set(0.5, 'location_policy', ['strict', 'prefer']);
    set(0.4, 'connection_check_type', ['ping', 'connection', 'query']);
    set(0.3, 'connection_check_timeout', [0.3, 2]);
    set(0.3, 'reconnect_attempts', [1, 3, 5]);
    set(0.3, 'reconnect_interval', [0.2, 2]);
    set(0.2, 'primary_start_timeout', [5, 20]);
    set(0.2, 'primary_stop_timeout', [1, 5]);
    set(0.2, 'maximum_lag_on_failover', [0, 2_000]);
    set(0.2, 'wal_rescue_timeout', [0.05, 1]);
    set(0.7, 'wal_rescue', ['wait', 'wait', 'lose', 'restart']);
  }
  const sync = random.fork('synchronous');
  if (sync.chance(0.35)) {
    config['synchronous_mode'] = sync.pick(['on', 'quorum', 'quorum']);
    if (sync.chance(0.3)) config['synchronous_mode_strict'] = true;
    if (sync.chance(0.3)) config['synchronous_node_count'] = 2;
    if (sync.chance(0.1)) config['maximum_lag_on_syncnode'] = 500;
  }
  const members: Record<string, Member> = {};
  const witness = random.fork('witness').chance(0.15) ? nodes.at(-1) : null;
  const cascades = nodes.length > 2 && random.fork('cascades').chance(0.3);
  const validated = random.fork('validation').chance(0.25);
  for (const name of nodes) {
    const own = random.fork(`member ${name}`);
    if (!some) continue;
    members[name] = {
      ...(own.chance(0.3) ? { priority: own.pick([1, 50, 100, 200]) } : {}),
      ...(own.chance(0.2) ? { nodeId: own.pick([null, 7, 100]) } : {}),
      ...(nodes.length > 2 && own.chance(0.06) ? { noFailover: true } : {}),
      ...(nodes.length > 1 && name === witness ? { witness: true as const } : {}),
      ...(cascades && own.chance(0.6) ? { upstream: own.pick(nodes.filter((one) => one !== name)) } : {}),
      ...(own.chance(0.5) ? { location: own.pick(['north', 'south']) } : {}),
      ...(validated && own.chance(0.7)
        ? { validation: own.pick(['approves', 'approves', 'vetoes', 'hangs', 'sometimes'] as const) }
        : {}),
    };
  }
  // Somebody has to be there who may lead.
  if (some && !nodes.some((name) => name !== neverLeads && mayLead(members[name] ?? {}))) {
    members[nodes.find((name) => name !== neverLeads) ?? 'a'] = {};
  }
  const brought = random.fork('brought');
  return {
    config,
    members,
    brought:
      !quiet && brought.chance(0.08)
        ? drawBrought(
            brought,
            nodes.filter((name) => name !== neverLeads),
            members,
          )
        : null,
  };
}

const mayLead = ({ witness, noFailover, validation }: Member): boolean =>
  witness !== true && noFailover !== true && validation !== 'vetoes' && validation !== 'hangs';

function drawBrought(
  random: SeededRandom,
  nodes: readonly string[],
  members: Readonly<Record<string, Member>>,
): Brought | null {
  const lead = nodes.filter((name) => mayLead(members[name] ?? {}));
  const node = random.pick(lead);
  const as = random.pick(['running primary', 'running primary', 'stopped primary', 'stopped standby'] as const);
  // A standby alone is never the beginning of a cluster: somebody else has to be.
  if (as === 'stopped standby' && lead.length < 2) return null;
  return { node, as, ...(as === 'running primary' && random.chance(0.5) ? { standbys: true as const } : {}) };
}

/** Its file says that this node never leads. */
export function neverLeads(plan: Plan, name: string): boolean {
  const { priority = 100, noFailover = false, witness = false } = plan.members?.[name] ?? {};
  return plan.policy?.neverLeads === name || priority <= 0 || noFailover || witness;
}

/** Nothing that an operator has set keeps it from leading when all is well. */
export function canLead(plan: Plan, name: string): boolean {
  const { validation } = plan.members?.[name] ?? {};
  return !neverLeads(plan, name) && validation !== 'vetoes' && validation !== 'hangs';
}

function manualFrom(random: SeededRandom): PlannedFault {
  const fault: Fault = {
    kind: 'settings',
    patch: { failover: 'manual' },
    for: Math.round(random.between(10_000, 120_000)),
  };
  return { when: { at: Math.round(random.between(0, 5_000)) }, fault };
}

const LONGEST_EARLY_MS = 5_000;

function brief(fault: Fault): Fault {
  const lengths = ['for', 'bootAfter', 'restartAfter', 'ms'];
  const shorter = Object.entries(fault).map(([name, value]) =>
    lengths.includes(name) ? [name, Math.min(LONGEST_EARLY_MS, Number(value))] : [name, value],
  );
  return Object.fromEntries(shorter) as Fault;
}

/** While the cluster is being made. */
function drawEarly(random: SeededRandom, nodes: readonly string[], settings: Settings): PlannedFault[] {
  const kinds = ['request', 'request', 'request', 'daemon-kill', 'power-loss', 'etcd-kill', 'guard-kill'] as const;
  return Array.from({ length: random.whole(1, 3) }, (_, i) => {
    const stream = random.fork(`early ${i}`);
    const when: When = stream.chance(0.5)
      ? { at: Math.round(stream.between(0, 8_000)) }
      : {
          on: stream.pick([
            'acquire-sent',
            'key-won',
            'beat-sent',
            'guard-armed',
            'copy-begins',
            'daemon-started',
          ] as const),
          nth: stream.whole(1, 3),
          node: null,
          after: Math.round(stream.between(0, 50)),
        };
    return { when, fault: brief(drawFault(stream, stream.pick(kinds), nodes, settings)) };
  });
}

/** Postgres dies and its node lives, again and again: then nothing that was acknowledged may be lost. */
function drawCrashes(random: SeededRandom): PlannedFault[] {
  return Array.from({ length: random.whole(1, 4) }, (_, i) => {
    const stream = random.fork(`crash ${i}`);
    const kind = stream.pick(['postmaster-kill', 'postmaster-kill', 'postgres-crash', 'backend-crash'] as const);
    return {
      when: { at: Math.round(stream.between(1_000, 45_000)) },
      fault:
        kind === 'postmaster-kill' ? { kind, node: 'primary', orphans: stream.chance(0.5) } : { kind, node: 'primary' },
    };
  });
}

function drawFaults(
  random: SeededRandom,
  nodes: readonly string[],
  etcdMembers: number,
  settings: Settings,
): PlannedFault[] {
  const kinds = KINDS.filter(
    (kind) => random.chance(RARE.has(kind) ? 0.06 : 0.22) && (etcdMembers > 1 || !needsMajority(kind)),
  );
  if (kinds.length === 0) kinds.push(random.pick(['daemon-kill', 'postmaster-kill', 'request', 'cut'] as const));
  const count = random.whole(1, 8);
  const horizon = Math.max(60_000, 6 * settings.ttlMs);
  const faults: PlannedFault[] = [];
  for (let i = 0; i < count; i += 1) {
    const stream = random.fork(`fault ${i}`);
    faults.push({
      when: drawWhen(stream, nodes, horizon),
      fault: drawFault(stream, stream.pick(kinds), nodes, settings),
    });
  }
  // Something has to happen for faults to be tied to: a loss of leadership of some kind.
  const inducers = random.fork('inducers');
  while (inducers.chance(0.6)) {
    const inducer = inducers.fork(`inducer ${faults.length}`);
    const kind = inducer.pick(INDUCERS);
    const node = inducer.pick(['holder', 'holder', 'primary'] as const);
    const fault = drawFault(inducer, kind, nodes, settings);
    faults.push({
      when: { at: Math.round(inducer.between(1_000, 0.6 * horizon)) },
      fault: 'node' in fault ? { ...fault, node } : fault,
    });
  }
  const stories = random.fork('stories');
  for (let i = 0; i < 3 && stories.chance(i === 0 ? 0.75 : 0.3); i += 1) {
    faults.push(...drawStory(stories.fork(`story ${i}`), { settings, horizon, etcdMembers }));
  }
  return faults;
}

/** One kind of story in every plan, among few other faults: for planted bugs whose story is known. */
function drawFocus(
  random: SeededRandom,
  focus: readonly Story[],
  nodes: readonly string[],
  settings: Settings,
): PlannedFault[] {
  const horizon = Math.max(60_000, 6 * settings.ttlMs);
  const faults = random.chance(0.7) ? [] : drawFaults(random.fork('others'), nodes, 3, settings);
  for (let i = 0; i < 2; i += 1) {
    const stream = random.fork(`story ${i}`);
    faults.push(...drawStory(stream, { settings, horizon, etcdMembers: 3 }, stream.pick(focus)));
  }
  return faults;
}

/** What operators change, and change back. */
const PATCHES: readonly Readonly<Record<string, unknown>>[] = [
  { failover: 'manual' },
  { primary_crash: 'restart' },
  { primary_crash: 'failover' },
  { standby_disconnect_on_failover: true },
  { location_policy: 'strict' },
  { primary_visibility_consensus: true },
  { maximum_lag_on_failover: 0 },
  { connection_check_type: 'query' },
  { synchronous_mode: 'quorum' },
  { synchronous_mode: 'on' },
  { synchronous_mode: 'off' },
  { failsafe_mode: true },
  { failsafe_mode: false },
  // What no schema allows: told, and not used.
  { reconnect_attempts: 'many', ttl: -1 },
];

const GARBLED = ['config', 'failover', 'history', 'status', 'members/stranger'] as const;
const GARBAGE = [
  '',
  'not JSON',
  '[]',
  '{"pgha": 7}',
  'null',
  '{"optime": "first", "leader": 3, "ttl": "soon"}',
] as const;

/** What makes leaders change. */
const INDUCERS: readonly Kind[] = [
  'daemon-kill',
  'daemon-pause',
  'daemon-stop',
  'power-loss',
  'postmaster-kill',
  'postgres-crash',
  'cut',
  'etcd-early-revocation',
  'switchover',
  'switchover',
];

const needsMajority = (kind: Kind): boolean =>
  kind === 'etcd-isolate' || kind === 'etcd-freeze' || kind === 'etcd-move-leader' || kind === 'etcd-stuck-leader';

function drawWhen(random: SeededRandom, nodes: readonly string[], horizon: number): When {
  if (random.chance(0.5)) return { at: Math.round(random.between(0, horizon)) };
  const on = random.pick(OCCASIONS);
  const often = on === 'beat-sent' || on === 'keepalive-sent' || on === 'guard-armed';
  return {
    on,
    nth: often ? random.whole(1, 40) : random.chance(0.7) ? 1 : random.whole(1, 3),
    node: random.chance(0.7) ? null : random.pick(nodes),
    after: random.chance(0.5) ? 0 : Math.round(random.pick([1, 3, 10, 30, 100, 1_000]) * random.next() * 10) / 10,
  };
}

/** A length near one of the borders that matter, or any. */
function drawLength(random: SeededRandom, { ttlMs, loopWaitMs, retryTimeoutMs }: Settings): number {
  const border = random.pick([
    ttlMs,
    ttlMs,
    ttlMs - 1_000,
    ttlMs - 1_000 - Math.min(2_000, ttlMs / 5),
    2 * ttlMs,
    ttlMs / 2,
    loopWaitMs,
    retryTimeoutMs,
    1_000,
    500,
  ]);
  if (random.chance(0.25)) return Math.round(random.between(10, 3 * ttlMs));
  return Math.round(border * random.between(0.9, 1.15) + random.between(-50, 50)) + 60;
}

function drawNode(random: SeededRandom, nodes: readonly string[]): NodeRef {
  return random.chance(0.75) ? random.pick(['event', 'holder', 'holder', 'primary', 'other']) : random.pick(nodes);
}

function drawFault(random: SeededRandom, kind: Kind, nodes: readonly string[], settings: Settings): Fault {
  const node = drawNode(random, nodes);
  const length = (): number => drawLength(random, settings);
  const soon = (): number => (random.chance(0.6) ? Math.round(random.between(150, 1_500)) : length());
  switch (kind) {
    case 'daemon-kill':
    case 'daemon-stop':
    case 'daemon-restart':
      return { kind, node, restartAfter: soon() };
    case 'daemon-pause':
      return { kind, node, for: length() };
    case 'guard-kill':
      return { kind, node };
    case 'power-loss':
      return { kind, node, bootAfter: length() + 2_000 };
    case 'postmaster-kill':
      return { kind, node, orphans: random.chance(0.4) };
    case 'postgres-crash':
    case 'backend-crash':
      return { kind, node };
    case 'postgres-hang':
      return { kind, node, for: length(), ...(random.chance(0.4) ? { stopped: true as const } : {}) };
    case 'cut':
      return {
        kind,
        node,
        plane: random.pick([null, 'daemon-etcd', 'daemon-etcd', 'daemon-daemon', 'replication', 'client'] as const),
        oneWay: random.chance(0.25),
        for: length(),
      };
    case 'etcd-kill':
      return { kind, member: random.pick(['leader', 'leader', 'follower', 'all'] as const), for: length() };
    case 'etcd-isolate':
      return { kind, member: random.pick(['leader', 'follower'] as const), for: length() };
    case 'etcd-freeze':
      return { kind, member: random.pick(['leader', 'follower'] as const), for: length() };
    case 'etcd-move-leader':
    case 'etcd-wipe':
      return { kind };
    case 'etcd-restore':
      return { kind, ageMs: length(), newCluster: random.chance(0.5) };
    case 'machine-suspend':
      return { kind, node, for: length(), bootClock: random.chance(0.5) };
    case 'wall-step':
      return { kind, node, by: Math.round(random.pick([-1, 1]) * random.pick([200, 700, 5_000, 3_600_000])) };
    case 'split': {
      const some = nodes.filter(() => random.chance(0.5));
      return { kind, nodes: some, etcd: random.pick(['none', 'these', 'rest'] as const), for: length() };
    }
    case 'garbage':
      return { kind, key: random.pick(GARBLED), value: random.pick(GARBAGE) };
    case 'reload':
      return { kind, node };
    case 'sick':
      return { kind, node, of: random.pick(SICKNESSES), for: length() };
    case 'check-fails':
    case 'connections-full':
    case 'guard-pause':
    case 'wal-unreadable':
    case 'directory-unusable':
      return { kind, node, for: length() };
    case 'promotions-fail':
    case 'starts-fail':
      return {
        kind,
        node: random.pick(['event', 'other', ...nodes]),
        count: kind === 'starts-fail' && random.chance(0.2) ? 100_000 : random.whole(1, 3),
      };
    case 'foreign-data':
      return { kind, node: 'other', bootAfter: length() };
    case 'maintenance':
      return { kind, for: Math.round(random.between(2_000, 60_000)) };
    case 'settings':
      return { kind, patch: random.pick(PATCHES), for: length() };
    case 'restart':
      return random.chance(0.4) ? { kind, node, inMs: Math.round(random.between(500, 20_000)) } : { kind, node };
    case 'reinitialize':
      return { kind, node: random.pick(['other', 'other', 'holder']), force: random.chance(0.3) };
    case 'scheduled-switchover': {
      const inMs = Math.round(random.between(500, 20_000));
      return { kind, inMs, withdrawAfter: random.chance(0.3) ? Math.round(inMs * random.between(0.2, 1.2)) : null };
    }
    case 'failover-by-hand':
      return {
        kind,
        to: random.pick(['other', 'other', 'holder', ...nodes]),
        ...(random.chance(0.3) ? { forced: true } : {}),
      };
    case 'etcd-stuck-leader':
      return { kind, for: length(), attached: random.chance(0.3) ? 'holder' : null };
    case 'etcd-early-revocation':
      return { kind, node };
    case 'etcd-no-space':
      return { kind, for: length() };
    case 'request':
      return {
        kind,
        node: random.chance(0.8) ? random.pick(['event', 'holder', 'holder']) : random.pick(nodes),
        request: random.pick(REQUESTS),
        fate: random.pick(FATES),
        ms: length(),
        count: random.chance(0.6) ? 1 : random.whole(2, 8),
      };
    case 'switchover':
      return { kind, to: random.chance(0.5) ? 'other' : null };
    case 'ttl':
      return { kind, ...random.pick(SETTINGS) };
    default:
      return ((never: never) => never)(kind);
  }
}
