/**
 * The settings in force: defaults, over them what etcd's `config` key says, over that what this node's own file says.
 * Pure. What comes from etcd is never fatal: what makes no sense falls back, what cannot hold is adjusted, and every
 * such step is listed. New documents are checked strictly before they are stored.
 */
import { type CommandLimits, longestCheck, misfitOfCheck } from '../core/budget.ts';
import type { ClusterPolicy, Policy } from '../core/policy.ts';
import type { SicknessPolicy, Treatable } from '../core/sickness.ts';
import { type Millis, millis } from '../core/time.ts';
import type { ServerSettings } from '../ports/postgres.ts';
import { check, checkSetting, isInactive, isMap } from './check.ts';
import { hbaMistake } from './hba.ts';
import { type Config, clusterSchema, type Section, settingAt, settingsBelow } from './schema.ts';
import { resolveSlots } from './slots.ts';
import { readStandbyCluster } from './standby-cluster.ts';
import { parseInteger, parseSize, printBytes, printSeconds } from './units.ts';

export interface Settings {
  readonly policy: Policy;
  readonly server: ServerSettings;
  /** What was not taken as it stands, a sentence each. */
  readonly adjustments: readonly string[];
  /** What the cluster's configuration says and this version does not act on. */
  readonly notUnderstood: readonly string[];
}

type Document = Readonly<Record<string, unknown>>;

export function resolveSettings(stored: Document | null, config: Config): Settings {
  const resolved = resolveCluster(stored, config.localOverrides);
  const makesStandby = readStandbyCluster(config.bootstrap.dcs['standby_cluster']).source !== null;
  return {
    policy: {
      cluster: resolved.cluster,
      node: makesStandby ? { ...config.node, makesStandbyCluster: true } : config.node,
    },
    server: resolved.server,
    adjustments: resolved.adjustments,
    notUnderstood: notUnderstood(stored),
  };
}

export interface ResolvedCluster {
  readonly cluster: ClusterPolicy;
  readonly server: ServerSettings;
  readonly adjustments: readonly string[];
}

/** @param overrides - checked and in normal form, as `Config.localOverrides` */
export function resolveCluster(stored: unknown, overrides: Document): ResolvedCluster {
  const adjustments: string[] = [];
  if (stored !== null && stored !== undefined && !isMap(stored)) {
    adjustments.push('the configuration of the cluster is not a map and was ignored');
  }
  const document = isMap(stored) ? stored : {};
  const fromStore = new Map<string, unknown>();
  const fromFile = new Map<string, unknown>();
  for (const { path, setting } of settingsBelow(clusterSchema)) {
    if (setting.kind === 'parameters' || setting.kind === 'lines') continue;
    if (setting.kind === 'slots' || setting.kind === 'slot matchers' || path[0] === 'standby_cluster') continue;
    const name = path.join('.');
    const local = valueAt(overrides, path);
    if (local !== undefined) fromFile.set(name, local);
    const raw = storedValue(document, path);
    if (raw === undefined) continue;
    const checked = checkSetting(setting, raw);
    if (checked.kind === 'fits') fromStore.set(name, checked.value);
    else if (checked.kind === 'wrong') {
      adjustments.push(`${name} ${checked.message}: the default ${String(setting.default ?? '')} is used`);
    } else {
      fromStore.set(name, checked.limit);
      adjustments.push(`${name} ${checked.message}: ${checked.limit} is used`);
    }
  }
  const value = (name: string): unknown =>
    fromFile.get(name) ?? fromStore.get(name) ?? settingAt(clusterSchema, name).default;

  const loopWait =
    fromFile.get('loop_wait') ??
    fromStore.get('loop_wait') ??
    fromFile.get('monitor_interval_secs') ??
    fromStore.get('monitor_interval_secs') ??
    settingAt(clusterSchema, 'loop_wait').default;
  const times = madeToFit(
    { ttl: Number(value('ttl')), loopWait: Number(loopWait), retryTimeout: Number(value('retry_timeout')) },
    adjustments,
  );

  // Patroni's 0 means "hand over at once if somebody can take it", which `auto` does anyway; and no limit for a
  // restart, which a limit of zero would turn into its opposite.
  const startTimeout = positiveOrDefault('primary_start_timeout', value('primary_start_timeout'));
  const stopTimeout = positiveOrDefault('primary_stop_timeout', value('primary_stop_timeout'));
  const standbyCluster = readStandbyCluster(document['standby_cluster']);
  adjustments.push(...standbyCluster.problems.map((problem) => `standby_cluster${problem}`));
  const isStandby = standbyCluster.source !== null;

  const ms = (name: string): Millis => inMillis(Number(value(name)));
  const reaction = (name: string) => value(name) as SicknessPolicy['react'][Treatable];
  const cluster: ClusterPolicy = {
    ttl: inMillis(times.ttl),
    loopWait: inMillis(times.loopWait),
    retryTimeout: inMillis(times.retryTimeout),
    maximumLagOnFailoverBytes: BigInt(Math.trunc(Number(value('maximum_lag_on_failover')))),
    maximumLagOnFailoverTime: ms('maximum_lag_seconds_on_failover'),
    primaryStartTimeout: inMillis(startTimeout),
    primaryStopTimeout: inMillis(stopTimeout),
    primaryCrash: value('primary_crash') as ClusterPolicy['primaryCrash'],
    walRescue: value('wal_rescue') as ClusterPolicy['walRescue'],
    walRescueTimeout: ms('wal_rescue_timeout'),
    checkType: value('connection_check_type') as ClusterPolicy['checkType'],
    checkTimeout: checkThatFits(inMillis(times.ttl), ms('connection_check_timeout'), adjustments),
    reconnectAttempts: Number(value('reconnect_attempts')),
    reconnectInterval: ms('reconnect_interval'),
    primaryVisibilityConsensus: value('primary_visibility_consensus') === true,
    standbyDisconnectOnFailover: value('standby_disconnect_on_failover') === true,
    siblingNodesDisconnectTimeout: ms('sibling_nodes_disconnect_timeout'),
    primaryNotificationTimeout: ms('primary_notification_timeout'),
    electionRerunInterval: ms('election_rerun_interval'),
    locationPolicy: value('location_policy') as ClusterPolicy['locationPolicy'],
    childNodes: {
      checkInterval: ms('child_nodes_check_interval'),
      connectedMinCount: Number(value('child_nodes_connected_min_count')),
      disconnectMinCount: Number(value('child_nodes_disconnect_min_count')),
      disconnectTimeout: ms('child_nodes_disconnect_timeout'),
      includeWitness: value('child_nodes_connected_include_witness') === true,
    },
    synchronous: {
      // Its commits are made elsewhere, and nobody here is waited for.
      mode: isStandby ? 'off' : (value('synchronous_mode') as ClusterPolicy['synchronous']['mode']),
      strict: value('synchronous_mode_strict') === true,
      count: Number(value('synchronous_node_count')),
      maximumLagBytes: BigInt(Math.trunc(Number(value('maximum_lag_on_syncnode')))),
    },
    failover: value('failover') as ClusterPolicy['failover'],
    pause: value('pause') === true,
    ...(standbyCluster.source === null ? {} : { standbyCluster: standbyCluster.source }),
    failsafeMode: value('failsafe_mode') === true,
    usePgRewind: value('postgresql.use_pg_rewind') === true,
    useSlots: value('postgresql.use_slots') === true,
    memberSlotsTtl: ms('member_slots_ttl'),
    slotWalWarningBytes: BigInt(Math.trunc(Number(value('slot_wal_warning')))),
    slots: resolveSlots(storedValue(document, ['slots']), storedValue(document, ['ignore_slots']), adjustments),
    sickness: {
      checkInterval: ms('disk_check_interval'),
      fullBelowBytes: BigInt(Math.trunc(Number(value('disk_full_threshold')))),
      hangTimeout: ms('disk_hang_timeout'),
      crashes: Number(value('crash_loop_count')),
      crashInterval: ms('crash_loop_interval'),
      wraparoundAge: Number(value('wraparound_warning_age')),
      react: {
        'disk-full': reaction('on_disk_full'),
        'disk-read-only': reaction('on_disk_error'),
        'disk-io-error': reaction('on_disk_error'),
        'disk-hangs': reaction('on_disk_hang'),
        'checkpointer-stuck': reaction('on_checkpointer_stuck'),
        'crash-loop': reaction('on_crash_loop'),
      },
      patience: ms('sick_failover_delay'),
      rest: ms('sick_failover_rest'),
    },
    monitoringHistory: value('monitoring_history') === true,
    maxTimelinesHistory: Number(value('max_timelines_history')),
    logStatusInterval: ms('log_status_interval'),
    removeDataDirectoryOnRewindFailure: value('postgresql.remove_data_directory_on_rewind_failure') === true,
    removeDataDirectoryOnDivergedTimelines: value('postgresql.remove_data_directory_on_diverged_timelines') === true,
    replacementsPerDay: Number(value('postgresql.data_directory_replacements_per_day')),
  };
  const postgresql = isMap(document['postgresql']) ? document['postgresql'] : {};
  const server: ServerSettings = {
    parameters: clusterParameters(postgresql['parameters'], adjustments),
    recoveryConf: clusterParameters(postgresql['recovery_conf'], adjustments, 'recovery_conf'),
    pgHba: hbaOf(postgresql['pg_hba'], adjustments),
    pgIdent: linesOf('pg_ident', postgresql['pg_ident'], adjustments),
    usePgRewind: cluster.usePgRewind,
    useSlots: cluster.useSlots,
    logicalSlots: !isStandby && cluster.useSlots && cluster.slots.permanent.some(({ kind }) => kind === 'logical'),
    synchronous: cluster.synchronous.mode !== 'off',
  };
  return { cluster, server, adjustments };
}

const inMillis = (seconds: number): Millis => millis(Math.round(seconds * 1000));

function positiveOrDefault(name: string, value: unknown): number {
  return Number(value) > 0 ? Number(value) : Number(settingAt(clusterSchema, name).default);
}

/** Seconds. */
export interface Times {
  readonly ttl: number;
  readonly loopWait: number;
  readonly retryTimeout: number;
}

/**
 * A cycle, and two requests to etcd that use all their patience, must fit into the TTL: else one lost request costs
 * the leadership.
 *
 * @returns the arithmetic, when they do not fit
 */
export function misfitOfTimes({ ttl, loopWait, retryTimeout }: Times): string | null {
  const needed = loopWait + 2 * retryTimeout;
  if (needed <= ttl) return null;
  const spare = ttl - 2 * retryTimeout;
  const lower = spare >= 1 ? `loop_wait to ${spare}` : 'loop_wait and retry_timeout';
  return (
    `ttl ${printSeconds(ttl)} < loop_wait ${printSeconds(loopWait)} + 2 × retry_timeout ${printSeconds(retryTimeout)}` +
    ` = ${printSeconds(needed)}: raise ttl to ${Math.ceil(needed)}, or lower ${lower}`
  );
}

/** Patroni's way of making them fit, so that all members of a mixed cluster run with the same figures. */
function madeToFit(times: Times, adjustments: string[]): Times {
  const misfit = misfitOfTimes(times);
  if (misfit === null) return times;
  const spare = times.ttl - 2 * times.retryTimeout;
  const fitted =
    spare < 1
      ? { ttl: times.ttl, loopWait: 1, retryTimeout: Math.floor((times.ttl - 1) / 2) }
      : { ttl: times.ttl, loopWait: spare, retryTimeout: times.retryTimeout };
  adjustments.push(
    `${misfit}. Running with loop_wait ${printSeconds(fitted.loopWait)}, retry_timeout ${printSeconds(fitted.retryTimeout)}`,
  );
  return fitted;
}

/** A check that could outlast the window is cut to what fits. */
function checkThatFits(ttl: Millis, checkTimeout: Millis, adjustments: string[]): Millis {
  const misfit = misfitOfCheck({ ttl, checkTimeout });
  if (misfit === null) return checkTimeout;
  const fitting = longestCheck(ttl);
  adjustments.push(`${misfit}. Running with ${printSeconds(fitting / 1000)}`);
  return fitting;
}

/** null counts as not set; an old name counts where the new one is not set. */
function storedValue(document: Document, path: readonly string[]): unknown {
  const now = valueAt(document, path);
  if (now !== undefined && now !== null) return now;
  if (path.length > 1) return undefined;
  for (const [old, current] of Object.entries(clusterSchema.renamed ?? {})) {
    if (current === path[0]) return valueAt(document, [old]) ?? undefined;
  }
  return undefined;
}

function valueAt(document: unknown, path: readonly string[]): unknown {
  let at = document;
  for (const part of path) {
    if (!isMap(at) || !Object.hasOwn(at, part)) return undefined;
    at = at[part];
  }
  return at;
}

/**
 * Parameters that have to be the same, or ordered, on all servers of a cluster: a standby whose value is lower than
 * the primary's does not start (Postgres docs, "Hot Standby", Administrator's Overview). They are taken from the
 * cluster's configuration only.
 */
const SAME_EVERYWHERE: Readonly<Record<string, { readonly minimum?: number; readonly words?: readonly string[] }>> = {
  max_connections: { minimum: 25 },
  max_locks_per_transaction: { minimum: 32 },
  max_worker_processes: { minimum: 2 },
  max_prepared_transactions: { minimum: 0 },
  max_wal_senders: { minimum: 3 },
  max_replication_slots: { minimum: 4 },
  wal_level: { words: ['hot_standby', 'replica', 'logical'] },
  hot_standby: { words: ['on', 'true', 'yes', '1'] },
  track_commit_timestamp: {},
  wal_log_hints: {},
  wal_keep_segments: { minimum: 1 },
  wal_keep_size: {},
};

export const isSameEverywhere = (parameter: string): boolean => Object.hasOwn(SAME_EVERYWHERE, parameter.toLowerCase());

const SET_BY_PGHA: ReadonlySet<string> = new Set([
  'listen_addresses',
  'port',
  'cluster_name',
  'primary_conninfo',
  'primary_slot_name',
  'promote_trigger_file',
  'recovery_target',
  'recovery_target_lsn',
  'recovery_target_name',
  'recovery_target_time',
  'recovery_target_timeline',
  'recovery_target_xid',
  'recovery_target_action',
  'recovery_target_inclusive',
]);

export const isSetByPgha = (parameter: string): boolean => SET_BY_PGHA.has(parameter.toLowerCase());

/**
 * Only what is no value at all is left out here. What a server cannot use is known to the adapter, which has the
 * server's version, and falls back there.
 */
function clusterParameters(
  raw: unknown,
  adjustments: string[],
  section: 'parameters' | 'recovery_conf' = 'parameters',
): ServerSettings['parameters'] {
  if (raw === undefined || raw === null) return {};
  if (!isMap(raw)) {
    adjustments.push(`postgresql.${section} is not a map and was ignored`);
    return {};
  }
  const parameters = new Map<string, string | number | boolean>();
  for (const [name, value] of Object.entries(raw)) {
    if (value === null || value === undefined) continue;
    const fits =
      typeof value === 'number' ? Number.isFinite(value) : typeof value === 'string' || typeof value === 'boolean';
    if (fits) parameters.set(name, value as string | number | boolean);
    else adjustments.push(`postgresql.${section}.${name} must be text, a number or a boolean, and was ignored`);
  }
  return Object.fromEntries(parameters);
}

/** Why Postgres, or a standby beside this primary, could not live with the value; null when it can. */
function parameterMisfit(name: string, value: string | number | boolean): string | null {
  const lower = name.toLowerCase();
  const rule = Object.hasOwn(SAME_EVERYWHERE, lower) ? SAME_EVERYWHERE[lower] : undefined;
  if (rule === undefined) return null;
  if (rule.minimum !== undefined) {
    const number = parseInteger(value);
    return number !== null && Number.isInteger(number) && number >= rule.minimum
      ? null
      : `must be a whole number of at least ${rule.minimum}, is ${JSON.stringify(value)}`;
  }
  if (lower === 'wal_keep_size') {
    // Postgres reads a bare number as megabytes.
    const size =
      typeof value === 'number'
        ? value * 2 ** 20
        : /^\s*\d+\s*$/.test(String(value))
          ? Number(value) * 2 ** 20
          : parseSize(value);
    return size !== null && size >= 2 ** 24
      ? null
      : `must be at least ${printBytes(2 ** 24)}, is ${JSON.stringify(value)}`;
  }
  if (rule.words !== undefined) {
    const word = String(value).toLowerCase();
    return rule.words.includes(word) ? null : `must be ${rule.words.join(' or ')}, is ${JSON.stringify(value)}`;
  }
  return null;
}

function linesOf(name: 'pg_hba' | 'pg_ident', raw: unknown, adjustments: string[]): readonly string[] | null {
  if (raw === undefined || raw === null) return null;
  const checked = checkSetting(settingAt(clusterSchema, `postgresql.${name}`), raw);
  // An empty pg_hba.conf would lock everybody out, the other nodes included.
  if (checked.kind === 'fits' && Array.isArray(checked.value) && checked.value.length > 0) {
    return checked.value.map(String);
  }
  adjustments.push(`postgresql.${name} is not a list of lines, or is empty, and was ignored`);
  return null;
}

/** With one line that Postgres cannot read it would not start: then none of them is used, and the file stays as it is. */
function hbaOf(raw: unknown, adjustments: string[]): readonly string[] | null {
  const lines = linesOf('pg_hba', raw, adjustments);
  const problems = hbaProblems(lines ?? []);
  if (problems.length === 0) return lines;
  adjustments.push(`${problems[0] ?? ''}; pg_hba.conf stays as it is`);
  return null;
}

const hbaProblems = (lines: readonly string[]): readonly string[] =>
  lines.flatMap((line) => {
    const mistake = hbaMistake(line);
    return mistake === null ? [] : [`postgresql.pg_hba: Postgres does not read ${JSON.stringify(line)}: ${mistake}`];
  });

/** What the operator's own commands of this node may take, for the budget. */
export function commandLimits({
  service,
  serviceTimeout,
  failoverValidation,
  failoverValidationTimeout,
}: Config['commands']): CommandLimits {
  const limit = (command: string | null) => (command === null ? null : serviceTimeout);
  return {
    start: limit(service.service_start_command),
    promote: limit(service.promote_command),
    validation: failoverValidation === null ? null : failoverValidationTimeout,
  };
}

function notUnderstood(stored: unknown): readonly string[] {
  if (!isMap(stored)) return [];
  const lines: string[] = [];
  const look = (section: Section, values: Readonly<Record<string, unknown>>, prefix: string): void => {
    for (const [name, value] of Object.entries(values)) {
      const current = ownText(section.renamed, name) ?? name;
      const node = Object.hasOwn(section.properties, current) ? section.properties[current] : undefined;
      const reason = ownText(section.unused, current);
      if (reason !== undefined) {
        if (!isInactive(value)) lines.push(`${prefix}${name}: ${reason}`);
      } else if (node === undefined) lines.push(`${prefix}${name}: unknown to this version`);
      else if ('properties' in node && isMap(value)) look(node, value, `${prefix}${name}.`);
    }
  };
  look(clusterSchema, stored, '');
  return lines;
}

const ownText = (of: Readonly<Record<string, string>> | undefined, name: string): string | undefined =>
  of !== undefined && Object.hasOwn(of, name) ? of[name] : undefined;

/**
 * The strict check of a whole document before it is stored (PATCH, PUT, edit-config).
 *
 * @returns the problems, none when it may be stored
 */
export function validateStored(candidate: unknown, config: Config): readonly string[] {
  if (!isMap(candidate)) return ['the configuration must be an object'];
  const checked = check(clusterSchema, candidate);
  const problems = checked.problems.map(({ path, message }) =>
    path.length === 0 ? message : `${path.join('.')}: ${message}`,
  );
  if (problems.length > 0) return problems;
  const alone = misfitOfTimes(timesOf(checked.value, {}));
  if (alone !== null) return [alone];
  const here = misfitOfTimes(timesOf(checked.value, config.localOverrides));
  if (here !== null) problems.push(`with what the file of ${config.node.name} sets: ${here}`);
  const ttl = inMillis(timesOf(checked.value, {}).ttl);
  const slowCheck = misfitOfCheck({ ttl, checkTimeout: checkTimeoutOf(checked.value, {}) });
  if (slowCheck !== null) problems.push(slowCheck);
  const postgresql = checked.value['postgresql'];
  const parameters = isMap(postgresql) ? postgresql['parameters'] : undefined;
  problems.push(...contradictionsOfSync(checked.value, isMap(parameters) ? parameters : {}));
  const pgHba = isMap(postgresql) ? postgresql['pg_hba'] : undefined;
  problems.push(...hbaProblems(Array.isArray(pgHba) ? pgHba.map(String) : []));
  const recoveryConf = isMap(postgresql) ? postgresql['recovery_conf'] : undefined;
  for (const name of Object.keys(isMap(recoveryConf) ? recoveryConf : {}))
    if (isSetByPgha(name)) problems.push(`postgresql.recovery_conf.${name}: pgha sets this parameter`);
  for (const [name, value] of Object.entries(isMap(parameters) ? parameters : {})) {
    const misfit = isSetByPgha(name)
      ? 'pgha sets this parameter'
      : parameterMisfit(name, value as string | number | boolean);
    if (misfit !== null) problems.push(`postgresql.parameters.${name}: ${misfit}`);
  }
  return problems;
}

/** Settings about synchronous replication of which one takes away what the other promises. */
export function contradictionsOfSync(document: Document, parameters: Document): readonly string[] {
  const problems: string[] = [];
  const mode = document['synchronous_mode'] ?? 'off';
  if (mode === 'off') {
    if (document['synchronous_mode_strict'] === true)
      problems.push(
        'synchronous_mode_strict: true says that commits must wait for a standby, and synchronous_mode is off: set that to on or quorum, or remove it',
      );
    return problems;
  }
  for (const [written, value] of Object.entries(parameters)) {
    const name = written.toLowerCase();
    if (name === 'synchronous_standby_names')
      problems.push(
        `postgresql.parameters.${written}: pgha sets this parameter while synchronous_mode is ${String(mode)}`,
      );
    if (name === 'synchronous_commit' && !waitsForStandbys(value))
      problems.push(
        `postgresql.parameters.${written}: with ${String(value)} no commit waits for a standby, and synchronous_mode is ${String(mode)}: use on, remote_apply or remote_write`,
      );
  }
  return problems;
}

/** Whether a session with this `synchronous_commit` waits for synchronous standbys. */
export const waitsForStandbys = (value: unknown): boolean =>
  ['on', 'true', 'yes', '1', 'remote_apply', 'remote_write'].includes(String(value).toLowerCase());

/** The limit of one check of Postgres, of a checked document with overrides over it. */
export function checkTimeoutOf(document: Document, overrides: Document): Millis {
  const name = 'connection_check_timeout';
  return inMillis(Number(overrides[name] ?? document[name] ?? settingAt(clusterSchema, name).default));
}

/** The three times of a checked document with overrides over it, before any adjustment. */
export function timesOf(document: Document, overrides: Document): Times {
  const value = (name: string): unknown => overrides[name] ?? document[name];
  const byDefault = (name: string): unknown => settingAt(clusterSchema, name).default;
  return {
    ttl: Number(value('ttl') ?? byDefault('ttl')),
    loopWait: Number(value('loop_wait') ?? value('monitor_interval_secs') ?? byDefault('loop_wait')),
    retryTimeout: Number(value('retry_timeout') ?? byDefault('retry_timeout')),
  };
}

/**
 * What becomes etcd's `config` key when a cluster is made: `bootstrap.dcs` as written. The times and the lag are made
 * explicit, because Patroni's defaults for them are others; and what the file sets under repmgr's names goes along.
 */
export function initialStored(config: Config): Readonly<Record<string, unknown>> {
  const written = config.bootstrap.dcs;
  const { cluster } = config;
  const times = timesOf(check(clusterSchema, written).value, config.localOverrides);
  const explicit: Readonly<Record<string, unknown>> = {
    ttl: times.ttl,
    loop_wait: times.loopWait,
    retry_timeout: times.retryTimeout,
    maximum_lag_on_failover: Number(cluster.maximumLagOnFailoverBytes),
  };
  const added = new Map<string, unknown>();
  for (const [name, value] of Object.entries(explicit)) if (isUnset(written, name)) added.set(name, value);
  for (const { path, setting } of settingsBelow(clusterSchema)) {
    const name = path[0] ?? '';
    const own = config.localOverrides[name];
    const alreadyExplicit = Object.hasOwn(explicit, name) || name === 'monitor_interval_secs';
    if (
      path.length === 1 &&
      setting.from !== 'Patroni' &&
      own !== undefined &&
      !alreadyExplicit &&
      isUnset(written, name)
    ) {
      added.set(name, own);
    }
  }
  return { ...Object.fromEntries(added), ...withoutEmpty(written, added) };
}

const isUnset = (document: Document, name: string): boolean =>
  !Object.hasOwn(document, name) || document[name] === null || document[name] === undefined;

const withoutEmpty = (written: Document, added: ReadonlyMap<string, unknown>): Document =>
  Object.fromEntries(Object.entries(written).filter(([name]) => !added.has(name)));

/**
 * PATCH /config: null removes a key, objects merge, everything else replaces. Values that read the same are no change,
 * so `"100"` over `100` keeps what is there.
 *
 * @returns `stored` itself when nothing changes
 */
export function mergePatch(stored: Document, patch: Document): Document {
  const merged = new Map(Object.entries(stored));
  let changed = false;
  for (const [name, value] of Object.entries(patch)) {
    const before = merged.get(name);
    if (value === null || value === undefined) {
      changed = merged.delete(name) || changed;
    } else if (!merged.has(name)) {
      merged.set(name, value);
      changed = true;
    } else if (isMap(value) && isMap(before)) {
      const inner = mergePatch(before, value);
      if (inner !== before) {
        merged.set(name, inner);
        changed = true;
      }
    } else if (asText(before) !== asText(value)) {
      merged.set(name, value);
      changed = true;
    }
  }
  return changed ? Object.fromEntries(merged) : stored;
}

const asText = (value: unknown): string => (typeof value === 'object' ? (JSON.stringify(value) ?? '') : String(value));
