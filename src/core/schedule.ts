/**
 * What an operator has put off to a time: whether that time has come, and the restart of Postgres that waits for it, as
 * it stands in the member key. The time is read off the wall clock outside; here it is a length.
 */
import type { Primary, Standby } from './local.ts';
import { type Millis, millis } from './time.ts';

/**
 * Whoever schedules something for the night does not want it at noon: what could not be done so long after its time is
 * not done any more. Patroni gives it one and a half loops of ten seconds; ours are shorter, a look that hangs is not.
 */
const MISSED_AFTER = millis(15_000);

/** @param dueIn - until its time; negative: since */
export function dueness(dueIn: Millis, loopWait: Millis): 'later' | 'due' | 'missed' {
  if (dueIn > 0) return 'later';
  return -dueIn > Math.max(MISSED_AFTER, 1.5 * loopWait) ? 'missed' : 'due';
}

export const RESTART_ROLES = ['primary', 'standby_leader', 'replica'] as const;
export type RestartRole = (typeof RESTART_ROLES)[number];

/** Under which circumstances Postgres is restarted at all. */
export interface RestartConditions {
  /** Only where settings wait for it. */
  readonly onlyIfPending: boolean;
  /** Only while Postgres has this role; null: whatever it is. */
  readonly role: RestartRole | null;
  /** Only a server older than this version, as people write it: `15.19`; null: however old. */
  readonly below: string | null;
}

export interface ScheduledRestart extends RestartConditions {
  /** ISO 8601, with its zone. */
  readonly at: string;
  /** How long starting may take; null: as long as always. */
  readonly timeout: Millis | null;
  /** Of the postmaster that is meant: one that was started since needs no restart. */
  readonly postmasterStart: string;
}

/** Why Postgres is not to be restarted as it stands; null: it is. */
export function unmet(conditions: RestartConditions, local: Primary | Standby): string | null {
  const { role, below, onlyIfPending } = conditions;
  const is = local.kind === 'primary' ? 'primary' : 'replica';
  if (onlyIfPending && local.pendingRestart.length === 0) return 'no setting waits for a restart';
  if (role !== null && role !== is) return `Postgres is a ${is}, not a ${role}`;
  const limit = below === null ? null : versionNumber(below);
  if (limit !== null && local.version >= limit) return `Postgres is not older than ${below}`;
  return null;
}

/** `15.3` -> 150003, as server_version_num counts it; null: that is no version. */
export function versionNumber(text: string): number | null {
  const match = /^(\d{1,3})\.(\d{1,3})(?:\.\d{1,3})?$/.exec(text);
  return match === null ? null : Number(match[1]) * 10_000 + Number(match[2]);
}

type Json = Readonly<Record<string, unknown>>;

/** As Patroni has it in the member key, and without its last field in its answers. */
export function writeScheduledRestart(plan: ScheduledRestart): Json {
  return {
    schedule: plan.at,
    ...(plan.role === null ? {} : { role: plan.role }),
    ...(plan.below === null ? {} : { postgres_version: plan.below }),
    ...(plan.timeout === null ? {} : { timeout: plan.timeout / 1000 }),
    ...(plan.onlyIfPending ? { restart_pending: true } : {}),
    postmaster_start_time: plan.postmasterStart,
  };
}

/** What an earlier process of this node has left in its member key; null: nothing that can be relied on. */
export function readScheduledRestart(value: unknown): ScheduledRestart | null {
  if (typeof value !== 'object' || value === null) return null;
  const { schedule, role = null, postgres_version: below = null, timeout = null, ...rest } = value as Json;
  const postmasterStart = rest['postmaster_start_time'];
  if (typeof schedule !== 'string' || Number.isNaN(Date.parse(schedule))) return null;
  if (typeof postmasterStart !== 'string') return null;
  if (role !== null && !RESTART_ROLES.some((one) => one === role)) return null;
  if (below !== null && (typeof below !== 'string' || versionNumber(below) === null)) return null;
  if (timeout !== null && (typeof timeout !== 'number' || !(timeout > 0))) return null;
  return {
    at: schedule,
    role: role as RestartRole | null,
    below,
    timeout: timeout === null ? null : millis(timeout * 1000),
    onlyIfPending: 'restart_pending' in rest,
    postmasterStart,
  };
}
