/**
 * What every failure costs at worst, computed from the settings, phase by phase (docs/timing.md holds the same formulas).
 * Pure arithmetic for people: it decides nothing. The limits of single requests stand here too, because whoever waits
 * and whoever computes the wait must mean the same number.
 */

import { STAND_BACK_MS } from './election/heard.ts';
import { margin, orderlyStopLead } from './lease.ts';
import type { ClusterPolicy } from './policy.ts';
import { longest, type Millis, millis } from './time.ts';

/** Members that are asked for their positions in an election have so long to answer. */
export const ASK_LIMIT = millis(500);
/** The leader proves itself this often. */
export const PROOF_EVERY = millis(1_000);
/** A proof that failed is tried again after this. */
export const PROOF_AGAIN = millis(100);
/** The guard has so long to acknowledge a deadline. */
export const GUARD_LIMIT = millis(500);
/** Postgres is ended (not stopped in order) within this. */
export const END_LIMIT = millis(1_000);
/** What a cycle needs beside a check that hangs. */
const LOOK_EXTRA = millis(200);

/** One request of the lease keeper to etcd takes no longer. */
export const requestLimit = (ttl: Millis): Millis => millis(Math.min(1_500, Math.max(400, ttl / 6)));

/** One look at Postgres takes no longer: all it does, it does within the limit of its check. */
export const lookLimit = (checkTimeout: Millis): Millis => checkTimeout;

/**
 * From the instant at which Postgres falls silent until that is believed: loop_wait + attempts × (limit + interval). What
 * the checks take beyond that is taken off the waits between them (agent/local-watch.ts), as far as there are any.
 */
export function suspicion(policy: ClusterPolicy): Millis {
  const { loopWait, reconnectAttempts: attempts, reconnectInterval: interval } = policy;
  const limit = lookLimit(policy.checkTimeout);
  return millis(loopWait + attempts * limit + Math.max(attempts * interval, limit));
}

/** The same in words: `loop_wait 2 s + reconnect_attempts 2 × (...)`. */
export function suspicionFormula(policy: ClusterPolicy): string {
  const { loopWait, reconnectAttempts: attempts, reconnectInterval: interval, checkTimeout: limit } = policy;
  if (attempts * interval >= limit)
    return `loop_wait ${s(loopWait)} + reconnect_attempts ${attempts} × (connection_check_timeout ${s(limit)} + reconnect_interval ${s(interval)})`;
  return `loop_wait ${s(loopWait)} + ${attempts + 1} checks × connection_check_timeout ${s(limit)}`;
}

/** How long the primary goes on writing after its last proof was sent; then it stops in order. */
export const writesAfterProof = (ttl: Millis): Millis => millis(ttl - margin(ttl) - orderlyStopLead(ttl));

/** When the guard strikes, after the last proof was sent. */
export const guardAfterProof = (ttl: Millis): Millis => millis(ttl - margin(ttl));

/** What the operator's own commands may take where they are set; null: not set. */
export interface CommandLimits {
  /** service_start_command. */
  readonly start: Millis | null;
  /** promote_command. */
  readonly promote: Millis | null;
  /** failover_validation_command. */
  readonly validation: Millis | null;
}

const NO_COMMANDS: CommandLimits = { start: null, promote: null, validation: null };

export const FAILURES = [
  'postmaster-dies',
  'postgres-hangs',
  'node-lost',
  'cut-off',
  'etcd-lost',
  'daemon-dies',
  'daemon-hangs',
  'switchover',
] as const;
export type Failure = (typeof FAILURES)[number];

export interface Phase {
  readonly what: string;
  /** The settings it comes from, with their numbers; empty when there are none. */
  readonly formula: string;
  /** With etcd and all members answering at once; null: as long as Postgres takes. */
  readonly usual: Millis | null;
  /** With every request using all of its patience; null: bounded by Postgres only, or by nothing. */
  readonly worst: Millis | null;
  /** Writes go on meanwhile: it is not part of the sum. */
  readonly writesGoOn: boolean;
}

export interface Budget {
  readonly failure: Failure;
  readonly title: string;
  readonly phases: readonly Phase[];
  /** Sum of what is known of the phases in which no writes are possible. */
  readonly usual: Millis;
  readonly worst: Millis;
  /** What comes on top of the sum, in words; null: nothing. */
  readonly plus: string | null;
  readonly notes: readonly string[];
}

/**
 * The budget of every failure, in the order of {@link FAILURES}.
 *
 * @param commands - of the node that takes over, or starts its Postgres again
 */
export function budgets(policy: ClusterPolicy, commands: CommandLimits = NO_COMMANDS): readonly Budget[] {
  return FAILURES.map((failure) => budgetOf(failure, policy, commands));
}

export function budgetOf(failure: Failure, policy: ClusterPolicy, commands: CommandLimits = NO_COMMANDS): Budget {
  const { ttl } = policy;
  switch (failure) {
    case 'postmaster-dies':
      return budget(failure, 'The postmaster dies, its node lives', [
        phase('noticed by its exit', '', 0, 0),
        ...withPostgresDown(policy, commands),
      ]);
    case 'postgres-hangs':
      return budget(failure, 'Postgres is there and does not answer (stopped, or hung on its disk)', [
        suspected(policy),
        ...seenByOthers(policy, suspicion(policy)),
        phase('Postgres is ended, so that it cannot write any more', `within ${s(END_LIMIT)}`, 0, END_LIMIT),
        ...withPostgresDown(policy, commands),
      ]);
    case 'node-lost':
      return budget(failure, "The primary's node is lost", lost(policy, commands), notesOfLoss(policy));
    case 'cut-off':
      return budget(failure, "The primary's node is cut off from etcd and from the others", lost(policy, commands), [
        `there Postgres stops in order ${s(writesAfterProof(ttl))} after the last proof (ttl ${s(ttl)} − margin ${s(margin(ttl))} − ${s(orderlyStopLead(ttl))}), and the guard ends it after ${s(guardAfterProof(ttl))}: before anybody else promotes`,
        ...notesOfLoss(policy),
      ]);
    case 'etcd-lost':
      return budget(
        failure,
        'etcd is lost as a whole',
        [
          phase(
            'the primary goes on writing with its last proof',
            `ttl ${s(ttl)} − margin ${s(margin(ttl))} − orderly stop ${s(orderlyStopLead(ttl))} = ${s(writesAfterProof(ttl))} after that proof, which is up to ${s(PROOF_EVERY)} old`,
            writesAfterProof(ttl),
            millis(writesAfterProof(ttl) - PROOF_EVERY),
            true,
          ),
          phase('etcd is away', 'as long as that takes', null, null),
          // It looks like one that was restored: see gate.ts.
          phase('whoever may have been elected before it was restored is waited for', `ttl ${s(ttl)}`, ttl, ttl),
          phase('positions are asked', `within ${s(ASK_LIMIT)}`, 0, ASK_LIMIT),
          ...validated(commands),
          ...taken(policy, commands),
        ],
        [
          `an outage of etcd shorter than ${s(millis(writesAfterProof(ttl) - PROOF_EVERY))} costs nothing`,
          ...(policy.failsafeMode
            ? ['failsafe_mode: while every member confirms over HTTP, writes go on however long it takes']
            : []),
        ],
      );
    case 'daemon-dies':
      return budget(
        failure,
        'The daemon dies, Postgres and the guard live',
        [
          phase(
            'a new daemon takes Postgres and the key over',
            `the service manager has ttl ${s(ttl)} − margin ${s(margin(ttl))} − ${s(PROOF_EVERY)} = ${s(millis(guardAfterProof(ttl) - PROOF_EVERY))} for it`,
            0,
            millis(guardAfterProof(ttl) - PROOF_EVERY),
            true,
          ),
        ],
        [
          'while there is no daemon the health port answers 503',
          `without a new daemon by then the guard ends Postgres, and it becomes a lost node: ${sums(lost(policy, commands))}`,
        ],
      );
    case 'daemon-hangs':
      return budget(failure, 'The daemon hangs', lost(policy, commands), [
        `the guard ends Postgres ttl ${s(ttl)} − margin ${s(margin(ttl))} = ${s(guardAfterProof(ttl))} after the last proof, and then the daemon`,
        ...notesOfLoss(policy),
      ]);
    case 'switchover':
      return budget(failure, 'An operator asks for a switchover', [
        phase('the request is seen', `at once, or after loop_wait ${s(policy.loopWait)}`, 0, policy.loopWait, true),
        phase('candidates are asked', `within ${s(ASK_LIMIT)}`, 0, ASK_LIMIT, true),
        phase('checkpoint', '', null, null, true),
        phase(
          'orderly stop',
          `at most primary_stop_timeout ${s(policy.primaryStopTimeout)}; then Postgres is ended`,
          null,
          policy.primaryStopTimeout,
        ),
        givenUp(policy),
        ...taken(policy, commands),
      ]);
    default:
      return ((never: never) => never)(failure);
  }
}

/** Postgres is down, its node and its daemon live, the key is theirs. */
function withPostgresDown(policy: ClusterPolicy, commands: CommandLimits): readonly Phase[] {
  if (policy.primaryCrash === 'restart' || policy.failover === 'manual') {
    return started(policy, commands, policy.failover === 'manual' ? 'failover: manual' : 'primary_crash: restart');
  }
  return [
    phase('end of the WAL found, candidates asked', `within ${s(ASK_LIMIT)}`, 0, ASK_LIMIT),
    phase(
      'the WAL that the candidate lacks is brought there',
      `at most wal_rescue_timeout ${s(policy.walRescueTimeout)}`,
      0,
      policy.walRescueTimeout,
    ),
    givenUp(policy),
    ...validated(commands),
    ...taken(policy, commands),
  ];
}

/** Nobody can hand anything over: the hold has to run out. */
function lost(policy: ClusterPolicy, commands: CommandLimits): readonly Phase[] {
  const { ttl } = policy;
  return [
    phase('the hold of the last beat runs out', `ttl ${s(ttl)}`, ttl, ttl),
    ...seenByOthers(policy, ttl),
    ...(policy.locationPolicy === 'prefer'
      ? [phase("nobody in the leader's location is seen", `location_policy prefer: one more ttl ${s(ttl)}`, 0, ttl)]
      : []),
    phase('positions are asked', `within ${s(ASK_LIMIT)}`, 0, ASK_LIMIT),
    phase('somebody whose Postgres is just coming up is waited for', `at most one more ttl ${s(ttl)}`, 0, ttl),
    ...(policy.standbyDisconnectOnFailover || policy.synchronous.mode === 'quorum'
      ? [
          phase(
            'receivers end, so that positions are final',
            `at most sibling_nodes_disconnect_timeout ${s(policy.siblingNodesDisconnectTimeout)}`,
            0,
            policy.siblingNodesDisconnectTimeout,
          ),
        ]
      : []),
    phase(
      'a better candidate that does not go is waited for',
      `${s(millis(STAND_BACK_MS))} each, at most primary_notification_timeout ${s(policy.primaryNotificationTimeout)}`,
      0,
      millis(Math.min(STAND_BACK_MS, policy.primaryNotificationTimeout)),
    ),
    phase('one that has more data and may not go yet is waited for', `at most one more ttl ${s(ttl)}`, 0, ttl),
    ...validated(commands),
    ...taken(policy, commands),
  ];
}

function notesOfLoss(policy: ClusterPolicy): readonly string[] {
  return [
    ...(policy.failover === 'manual' ? ['failover is manual: nobody takes over until an operator says so'] : []),
    ...(policy.locationPolicy === 'strict'
      ? ["location_policy strict: nobody in another location takes over while nobody in the leader's can be seen"]
      : []),
  ];
}

function suspected(policy: ClusterPolicy): Phase {
  return phase('the silence is believed', suspicionFormula(policy), suspicion(policy), suspicion(policy));
}

/** @param after - how old what others saw is by then at least */
function seenByOthers(policy: ClusterPolicy, after: Millis): readonly Phase[] {
  if (!policy.primaryVisibilityConsensus) return [];
  const { loopWait, ttl } = policy;
  return [
    phase(
      'others who saw the primary a moment ago are believed',
      `primary_visibility_consensus: until nobody saw it for 2 × loop_wait ${s(loopWait)}, at most one more ttl ${s(ttl)}`,
      longest(millis(2 * loopWait - after), millis(0)),
      ttl,
    ),
  ];
}

function givenUp(policy: ClusterPolicy): Phase {
  const limit = requestLimit(policy.ttl);
  return phase('the key is given up with a release record', `one request to etcd, within ${s(limit)}`, 0, limit);
}

function validated({ validation }: CommandLimits): readonly Phase[] {
  return ofCommand('failover_validation_command', 'failover_validation_timeout', validation);
}

function ofCommand(setting: string, limitedBy: string, limit: Millis | null): readonly Phase[] {
  return limit === null ? [] : [phase(`${setting} is run`, `at most ${limitedBy} ${s(limit)}`, null, limit)];
}

function taken(policy: ClusterPolicy, commands: CommandLimits): readonly Phase[] {
  const limit = requestLimit(policy.ttl);
  return [
    phase('the key is taken', `one request to etcd, within ${s(limit)}`, 0, limit),
    phase(
      'leadership is proven and guarded',
      `two requests to etcd, within ${s(limit)} each, and the guard's word, within ${s(GUARD_LIMIT)}`,
      0,
      proof(policy),
    ),
    ...ofCommand('promote_command', 'service_command_timeout', commands.promote),
    phase(
      'promotion',
      `Postgres's own time; given up after primary_start_timeout ${s(policy.primaryStartTimeout)}`,
      null,
      null,
    ),
  ];
}

const proof = (policy: ClusterPolicy): Millis => millis(2 * requestLimit(policy.ttl) + GUARD_LIMIT);

function started(policy: ClusterPolicy, commands: CommandLimits, because: string | null = null): readonly Phase[] {
  return [
    ...ofCommand('service_start_command', 'service_command_timeout', commands.start),
    phase(
      `Postgres is started here${because === null ? '' : ` (${because})`}`,
      `Postgres's own time; given up after primary_start_timeout ${s(policy.primaryStartTimeout)}`,
      null,
      null,
    ),
  ];
}

function phase(what: string, formula: string, usual: number | null, worst: number | null, writesGoOn = false): Phase {
  return {
    what,
    formula,
    usual: usual === null ? null : millis(usual),
    worst: worst === null ? null : millis(worst),
    writesGoOn,
  };
}

function budget(failure: Failure, title: string, phases: readonly Phase[], notes: readonly string[] = []): Budget {
  const pausing = phases.filter(({ writesGoOn }) => !writesGoOn);
  const unknown = pausing.filter(({ usual }) => usual === null).map(({ what }) => what);
  return {
    failure,
    title,
    phases,
    usual: total(pausing.map(({ usual }) => usual)),
    worst: total(pausing.map(({ worst }) => worst)),
    plus: unknown.length === 0 ? null : unknown.join(', '),
    notes,
  };
}

const total = (lengths: readonly (Millis | null)[]): Millis =>
  millis(lengths.reduce<number>((sum, length) => sum + (length ?? 0), 0));

function sums(phases: readonly Phase[]): string {
  return `${s(total(phases.map(({ usual }) => usual)))}, at worst ${s(total(phases.map(({ worst }) => worst)))}, and the promotion`;
}

/** `1.2 s` */
const s = (length: Millis): string => `${Math.round(length) / 1000} s`;

/** The longest connection_check_timeout that fits into the window of a proof. */
export const longestCheck = (ttl: Millis): Millis => millis(writesAfterProof(ttl) - LOOK_EXTRA);

/** The settings cannot hold together: a sentence with the arithmetic; null: they can. */
export function misfitOfCheck(policy: Pick<ClusterPolicy, 'ttl' | 'checkTimeout'>): string | null {
  const { ttl, checkTimeout } = policy;
  const window = writesAfterProof(ttl);
  if (checkTimeout + LOOK_EXTRA <= window) return null;
  return (
    `connection_check_timeout ${s(checkTimeout)} + ${s(LOOK_EXTRA)} is longer than what a proof of leadership is good for: ` +
    `ttl ${s(ttl)} − margin ${s(margin(ttl))} − orderly stop ${s(orderlyStopLead(ttl))} = ${s(window)}: ` +
    `one check that hangs would use up the whole window. Lower it to ${s(longestCheck(ttl))} at most, or raise ttl`
  );
}
