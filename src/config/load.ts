/**
 * From a file and the environment to a checked, complete and frozen `Config`; or one error that names every problem
 * at once, with its line. The rules that tie settings together stand here. It looks at no data directory and talks
 * to nobody.
 */
import { validateHeaderName, validateHeaderValue } from 'node:http';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { posix } from 'node:path';
import { misfitOfCheck } from '../core/budget.ts';
import { CALLBACKS } from '../core/callbacks.ts';
import { CLUSTER_EVENTS, EVENTS_OF_REPMGR_ONLY, isClusterEvent } from '../core/cluster-events.ts';
import { margin, orderlyStopLead } from '../core/lease.ts';
import { fromFailoverPriority, toFailoverPriority } from '../core/policy.ts';
import type { PoolerPolicy } from '../core/poolers.ts';
import { nodeName } from '../core/store.ts';
import { type Millis, millis, seconds } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import { PATRONI_LEVEL } from '../version.ts';
import { check, isMap, isMethod, MOST_REMARKS, type Path, type Remark } from './check.ts';
import { type Environment, overlay } from './environment.ts';
import { type ParsedFile, parseFile, parseFiles } from './file.ts';
import type { Files } from './files.ts';
import { hbaMistake } from './hba.ts';
import { whyNotKept } from './kept-names.ts';
import { didYouMean } from './nearest.ts';
import { looksHashed, readPasswordHash } from './password-hash.ts';
import {
  BASEBACKUP,
  type BootstrapConfig,
  type BootstrapMethod,
  type CommandsConfig,
  type Config,
  type CopyMethod,
  type CtlConfig,
  clusterSchema,
  type EtcdConfig,
  type HostPort,
  LIBPQ_NAMES,
  type LogConfig,
  type Login,
  localSchema,
  type PgbouncerConfig,
  type PostgresConfig,
  type RestApiConfig,
  SERVICE_SETTINGS,
  type SyslogConfig,
  type SyslogFacility,
  settingAt,
  settingsBelow,
  type VipConfig,
  type WebhookConfig,
  witnessSchema,
} from './schema.ts';
import {
  checkTimeoutOf,
  contradictionsOfSync,
  isSameEverywhere,
  isSetByPgha,
  misfitOfTimes,
  resolveCluster,
  timesOf,
} from './settings.ts';
import { NoText } from './text.ts';
import {
  isWildcard,
  parseAddress,
  parseAddresses,
  parseBoolean,
  parseDuration,
  printAddress,
  printSeconds,
  splitAddress,
} from './units.ts';

export interface LoadRequest extends Files {
  readonly path: string;
  readonly env: Environment;
}

export interface Loaded {
  readonly config: Config;
  readonly warnings: readonly string[];
}

/**
 * @throws {PghaError} PGHA_CONFIG_UNREADABLE, or PGHA_CONFIG_INVALID with all problems in `happened` and, as a list
 *   of texts, in `cause`
 */
export function loadConfig(request: LoadRequest): Loaded {
  const { readFile, path: label } = request;
  const { file, variable: given } = fileOf(request);
  const calledBy = given ?? label;
  if (file.mistakes.length > 0) throw invalid(calledBy, file.mistakes);
  const raw = file.value ?? {};
  if (!isMap(raw)) throw invalid(calledBy, ['the file is not a map of sections (scope:, name:, postgresql:, ...)']);

  const overlaid = overlay(raw, request.env);
  const problems: Remark[] = [...overlaid.problems];
  const warnings: Remark[] = [];
  const logFormat = takePatroniLogFormat(overlaid.document, warnings);
  const isWitness = String(overlaid.document['role']).trim().toLowerCase() === 'witness';
  const checked = check(isWitness ? witnessSchema : localSchema, overlaid.document, (path) =>
    overlaid.origins.has(path.join('\n')) ? null : file.sourceOf(path),
  );
  problems.push(...checked.problems);
  warnings.push(...checked.warnings);

  const builder: Builder = {
    value: withoutMisfits(checked.value, checked.problems),
    written: overlaid.document,
    problems,
    warnings,
    readFile,
    logFormat,
  };
  const config = build(builder);

  const place = (remark: Remark): string => {
    const variable = overlaid.origins.get(remark.path.join('\n'));
    const name = remark.path.join('.');
    if (variable !== undefined) return `${variable} (${name}): ${remark.message}`;
    const where = file.placeOf(remark.path);
    return where === null ? `${name}: ${remark.message}` : `${where}, ${name}: ${remark.message}`;
  };
  const inOrder = (remarks: readonly Remark[]): readonly string[] => {
    const placed = remarks
      .slice(0, MOST_REMARKS)
      .map((one) => ({ line: file.lineOf(one.path) ?? 0, said: place(one) }));
    const more = remarks.length - placed.length;
    return [
      ...new Set(placed.sort((a, b) => a.line - b.line).map(({ said }) => said)),
      ...(more > 0 ? [`and ${more} more`] : []),
    ];
  };
  if (problems.length > 0) throw invalid(calledBy, inOrder(problems));
  return { config: frozen(config), warnings: inOrder(warnings) };
}

/** One file; or all of a directory, joined in the order of their names; or the text in a variable where there is neither. */
function fileOf(request: LoadRequest): { readonly file: ParsedFile; readonly variable?: string } {
  try {
    return { file: parseFile(request.readFile(request.path)) };
  } catch (cause) {
    if (cause instanceof NoText) throw invalid(request.path, [cause.message]);
    const code = errorCode(cause);
    for (const variable of ['PGHA_CONFIGURATION', 'PATRONI_CONFIGURATION']) {
      const text = request.env[variable];
      if (code === 'ENOENT' && text !== undefined && text !== '') return { file: parseFile(text), variable };
    }
    if (code === 'EISDIR') return { file: filesOf(request) };
    throw unreadable(request.path, reasonOf(code), cause);
  }
}

function filesOf({ path, readFile, readDirectory }: LoadRequest): ParsedFile {
  const names = [...(readDirectory?.(path) ?? [])].filter((name) => /\.ya?ml$/.test(name)).sort();
  if (names.length === 0) throw unreadable(path, 'no file in this directory ends in .yml or .yaml', null);
  return parseFiles(
    names.map((name) => {
      try {
        return { name, text: readFile(posix.join(path, name)) };
      } catch (cause) {
        if (cause instanceof NoText) throw invalid(path, [`${name}, ${cause.message}`]);
        throw unreadable(posix.join(path, name), reasonOf(errorCode(cause)), cause);
      }
    }),
  );
}

function unreadable(path: string, why: string, cause: unknown): PghaError {
  return new PghaError(
    'PGHA_CONFIG_UNREADABLE',
    {
      happened: `The configuration ${path} could not be read: ${why}.`,
      untouched: 'Nothing was started or changed.',
      todo: 'Check the path, and that the user who runs pgha may read it.',
    },
    { cause },
  );
}

function errorCode(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
}

function reasonOf(code: string): string {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    EACCES: 'permission denied',
    EISDIR: 'it is a directory',
    EAGAIN: 'nobody writes into this pipe',
    ETIMEDOUT: 'the disk does not answer',
    ELOOP: 'its links lead to themselves',
  };
  return reasons[code] ?? `error ${code}`;
}

function invalid(label: string, problems: readonly string[]): PghaError {
  const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
  return new PghaError(
    'PGHA_CONFIG_INVALID',
    {
      happened: `The configuration ${label} has ${count}:\n${problems.map((problem) => `  ${problem}\n`).join('')}`,
      untouched: 'It is not used; nothing was started or changed.',
      todo: 'Correct it and check it with `pgha --validate-config FILE`.',
    },
    { cause: problems },
  );
}

/**
 * `log.format` is a format string of Python in Patroni's files, and `plain` or `json` here. What is neither is taken
 * out with a warning, so that a Patroni file loads.
 */
function takePatroniLogFormat(document: Record<string, unknown>, warnings: Remark[]): 'plain' | 'json' | null {
  const log = document['log'];
  if (!isMap(log) || log['format'] === undefined || log['format'] === null) return null;
  const format = typeof log['format'] === 'string' ? log['format'].toLowerCase() : null;
  delete log['format'];
  if (format === 'plain' || format === 'json') return format;
  warnings.push({ path: ['log', 'format'], message: 'has no effect: it is neither plain nor json' });
  return null;
}

interface Builder {
  /** In normal form; what had a problem is left out, so that all other problems can still be found. */
  readonly value: Readonly<Record<string, unknown>>;
  /** As written, environment included. */
  readonly written: Readonly<Record<string, unknown>>;
  readonly problems: Remark[];
  readonly warnings: Remark[];
  readonly readFile: (path: string) => string;
  readonly logFormat: 'plain' | 'json' | null;
}

function withoutMisfits(
  value: Readonly<Record<string, unknown>>,
  problems: readonly Remark[],
): Record<string, unknown> {
  const copy = structuredClone(value) as Record<string, unknown>;
  for (const { path } of problems) {
    const name = path.at(-1);
    const parent = valueAt(copy, path.slice(0, -1));
    if (name !== undefined && isMap(parent)) delete parent[name];
    else if (path.length > 1 && Array.isArray(parent)) {
      const above = valueAt(copy, path.slice(0, -2));
      if (isMap(above)) delete above[path.at(-2) ?? ''];
    }
  }
  return copy;
}

function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const part of path) at = isMap(at) && Object.hasOwn(at, part) ? at[part] : undefined;
  return at;
}

/** What the file says at `path`, else the schema's default, else null. */
function get(from: Builder, path: string): unknown {
  return valueAt(from.value, path.split('.')) ?? settingAt(localSchema, path).default ?? null;
}

const text = (from: Builder, path: string): string | null => {
  const value = get(from, path);
  return typeof value === 'string' ? value : null;
};
const lines = (from: Builder, path: string): readonly string[] | null => {
  const value = get(from, path);
  return Array.isArray(value) ? value.map(String) : null;
};
const isGiven = (from: Builder, path: string): boolean => valueAt(from.value, path.split('.')) !== undefined;

/** One complaint for one place: what already has a problem gets no second one that follows from it. */
function complain(from: Builder, path: string, message: string): void {
  const parts = path.split('.');
  if (!hasProblem(from, path)) from.problems.push({ path: parts, message });
}

/** Also when the whole section around `path` has one. */
const hasProblem = (from: Builder, path: string): boolean =>
  from.problems.some((problem) => `${path}.`.startsWith(`${problem.path.join('.')}.`));

const warn = (from: Builder, path: string, message: string): void => {
  from.warnings.push({ path: path.split('.'), message });
};

function build(from: Builder): Config {
  const scope = text(from, 'scope') ?? '';
  const name = text(from, 'name') ?? '';
  if (Buffer.byteLength(name) > 63) {
    complain(
      from,
      'name',
      `must have at most 63 bytes, has ${Buffer.byteLength(name)}: Postgres cuts application_name there`,
    );
  }
  const runtimeDirectory = posix.normalize(text(from, 'runtime_directory') ?? `/run/pgha/${scope}-${name}`);
  const localOverrides = overridesOf(from);
  const isWitness = text(from, 'role') === 'witness';
  const postgresql = isWitness ? buildLogins(from) : buildPostgres(from, runtimeDirectory);
  const restapi = buildRestApi(from);
  const node = buildNode(from, name);
  checkTimes(from, localOverrides);
  const watchdog = buildWatchdog(from, isWitness);
  const etcd = buildEtcd(from);
  const pgbouncer = buildPgbouncer(from, [
    restapi.connectAddress.host,
    ...(isWitness ? [] : [postgresql.connectAddress.host]),
  ]);
  const vip = isWitness ? null : buildVip(from, postgresql, restapi);
  if (!isWitness) {
    checkPorts(from, postgresql, restapi);
    checkReachable(from, postgresql, etcd);
  }
  return {
    scope,
    namespace: `/${(text(from, 'namespace') ?? '').replace(/^\/+|\/+$/g, '')}`,
    node: {
      ...node.policy,
      ...(watchdog.mode === 'required' ? { watchdog } : {}),
      ...(pgbouncer === null ? {} : { poolers: poolerPolicy(pgbouncer) }),
    },
    tags: node.tags,
    cluster: resolveCluster(null, localOverrides).cluster,
    localOverrides,
    etcd,
    restapi,
    ctl: buildCtl(from, restapi),
    postgresql,
    bootstrap: buildBootstrap(from),
    log: buildLog(from),
    // Without a Postgres there is nothing to strike at.
    guard: { mode: isWitness || text(from, 'guard') === 'off' ? 'off' : 'on' },
    watchdog,
    commands: buildCommands(from),
    notices: { webhook: buildWebhook(from), syslog: buildSyslog(from) },
    pgbouncer,
    vip,
    runtimeDirectory,
  };
}

function overridesOf(from: Builder): Readonly<Record<string, unknown>> {
  const overrides: Record<string, unknown> = {};
  for (const { path, setting } of settingsBelow(clusterSchema)) {
    const value = valueAt(from.value, path);
    const [first, second] = path;
    if (first === undefined || value === undefined || setting.kind === 'parameters' || setting.kind === 'lines')
      continue;
    if (second === undefined) overrides[first] = value;
    else overrides[first] = { ...(isMap(overrides[first]) ? overrides[first] : {}), [second]: value };
  }
  return overrides;
}

function buildNode(from: Builder, name: string): { policy: Config['node']; tags: Config['tags'] } {
  const given = valueAt(from.value, ['priority']);
  const priority = typeof given === 'number' ? given : null;
  const tags = { ...(isMap(from.value['tags']) ? from.value['tags'] : {}) };
  // 1 is Patroni's default: published by many files that mean nothing by it.
  const tagged =
    typeof tags['failover_priority'] === 'number' && tags['failover_priority'] !== 1 ? tags['failover_priority'] : null;
  const tagMeans = tagged === null ? null : fromFailoverPriority(tagged);
  if (priority !== null && tagMeans !== null && priority !== tagMeans && priority !== tagged) {
    complain(
      from,
      'tags.failover_priority',
      `is ${tagged}, but priority is ${priority}: they are one setting under two names; remove one of them`,
    );
  }
  const role = text(from, 'role');
  const effective = priority ?? tagMeans ?? Number(settingAt(localSchema, 'priority').default);
  if (tags['nofailover'] === false && effective === 0) {
    complain(from, 'tags.nofailover', 'is false, but the priority is 0, which means never: remove one of them');
  }
  if (tags['nofailover'] === true && priority !== null && priority > 0) {
    warn(from, 'priority', `has no effect: the tag nofailover wins, this node never leads`);
  }
  const upstream = text(from, 'upstream_node');
  const replicateFrom = tags['replicatefrom'];
  if (upstream !== null && typeof replicateFrom === 'string' && replicateFrom !== upstream) {
    complain(
      from,
      'upstream_node',
      `is ${upstream}, but the tag replicatefrom is ${replicateFrom}: remove one of them`,
    );
  }
  if (upstream === name && name !== '') complain(from, 'upstream_node', 'names this node itself');
  if (role === 'witness') {
    if (effective > 0 && (priority !== null || tagMeans !== null))
      warn(from, priority !== null ? 'priority' : 'tags.failover_priority', 'has no effect: a witness never leads');
    if (upstream !== null) warn(from, 'upstream_node', 'has no effect: a witness receives nothing');
    return { policy: witnessPolicy(from, name), tags: witnessTags(tags) };
  }
  const noFailover = tags['nofailover'] === true || role === 'standby' || effective === 0;
  if (upstream !== null) tags['replicatefrom'] = upstream;
  if (noFailover) tags['nofailover'] = true;
  if (priority !== null && tagged === null) tags['failover_priority'] = toFailoverPriority(priority);
  for (const tag of ['clonefrom', 'noloadbalance', 'nostream', 'nofailover', 'nosync']) {
    // As Patroni publishes: a false one says nothing, except beside the priority that it belongs to.
    const partner = tag === 'nofailover' ? 'failover_priority' : tag === 'nosync' ? 'sync_priority' : null;
    if (tags[tag] === false && (partner === null || tags[partner] === undefined)) delete tags[tag];
  }
  return {
    policy: {
      name: nodeName(name),
      nodeId: nodeIdOf(from),
      priority: effective,
      ...(tags['nostream'] === true ? { noStream: true as const } : {}),
      noFailover,
      location: text(from, 'location') ?? 'default',
      role: 'node',
      upstream: upstreamOf(upstream, tags['replicatefrom']),
      validates: text(from, 'failover_validation_command') !== null,
      ...adoption(from),
    },
    tags,
  };
}

function adoption(from: Builder): Pick<Config['node'], 'adoptFrom'> {
  const given = text(from, 'adopt_from');
  return given === 'repmgr' || given === 'streaming' ? { adoptFrom: given } : {};
}

function nodeIdOf(from: Builder): number | null {
  const nodeId = valueAt(from.value, ['node_id']);
  return typeof nodeId === 'number' ? nodeId : null;
}

function witnessPolicy(from: Builder, name: string): Config['node'] {
  return {
    name: nodeName(name),
    nodeId: nodeIdOf(from),
    priority: 0,
    noFailover: true,
    location: text(from, 'location') ?? 'default',
    role: 'witness',
    upstream: null,
    validates: false,
  };
}

/** So that no member of Patroni makes a candidate or a slot of it, and no balancer sends anybody there. */
function witnessTags(given: Config['tags']): Config['tags'] {
  const { clonefrom: _c, replicatefrom: _r, failover_priority: _f, sync_priority: _s, ...own } = given;
  return { ...own, nofailover: true, noloadbalance: true, nosync: true, nostream: true };
}

function upstreamOf(upstream: string | null, replicateFrom: unknown): Config['node']['upstream'] {
  const name = upstream ?? (typeof replicateFrom === 'string' && replicateFrom !== '' ? replicateFrom : null);
  return name === null ? null : nodeName(name);
}

function buildCommands(from: Builder): CommandsConfig {
  warnOfPlaceholders(from);
  const service = Object.fromEntries(SERVICE_SETTINGS.map((name) => [name, text(from, name)]));
  for (const name of SERVICE_SETTINGS) {
    if (!callsRepmgr(service[name] ?? '')) continue;
    complain(
      from,
      name,
      'calls repmgr, which knows nothing of the leader key and would decide on its own: pgha never runs it. ' +
        'Remove this (pgha does it itself), or write what has to be done without repmgr',
    );
  }
  if (service['service_start_command'] !== null && service['service_stop_command'] === null) {
    warn(
      from,
      'service_start_command',
      'stands without service_stop_command: a start that a service manager still has in hand when leadership is lost cannot be called back',
    );
  }
  return {
    failoverValidation: text(from, 'failover_validation_command'),
    failoverValidationTimeout: seconds(Number(get(from, 'failover_validation_timeout'))),
    childNodesDisconnect: text(from, 'child_nodes_disconnect_command'),
    service: service as CommandsConfig['service'],
    serviceTimeout: seconds(Number(get(from, 'service_command_timeout'))),
    eventNotification: text(from, 'event_notification_command'),
    eventNotifications: wantedEvents(from, 'event_notifications'),
    eventNotificationTimeout: seconds(Number(get(from, 'event_notification_timeout'))),
    failover: failoverCommand(from),
    failoverTimeout: seconds(Number(get(from, 'failover_command_timeout'))),
    callbacks: Object.fromEntries(
      CALLBACKS.map((name) => [name, text(from, `postgresql.callbacks.${name}`)]),
    ) as CommandsConfig['callbacks'],
    prePromote: text(from, 'postgresql.pre_promote'),
    prePromoteTimeout: seconds(Number(get(from, 'postgresql.pre_promote_timeout'))),
    beforeStop: text(from, 'postgresql.before_stop'),
    beforeStopTimeout: seconds(Number(get(from, 'postgresql.before_stop_timeout'))),
  };
}

/** repmgr's own names are known, also those whose events never come here: a file that is moved over should load. */
function wantedEvents(from: Builder, path: string): readonly string[] | null {
  const given = get(from, path);
  if (!Array.isArray(given) || given.length === 0) return null;
  const names = given.map(String);
  const never = names.filter((name) => Object.hasOwn(EVENTS_OF_REPMGR_ONLY, name));
  for (const name of never) warn(from, path, `${name} is never told here: ${EVENTS_OF_REPMGR_ONLY[name] ?? ''}`);
  const strange = names.filter((name) => !isClusterEvent(name) && !never.includes(name));
  if (strange.length > 0) {
    const known = Object.keys(CLUSTER_EVENTS);
    const said = strange.map((name) => `${JSON.stringify(name)}${didYouMean(name, known)}`);
    complain(from, path, `no such event: ${said.join(', ')}`);
  }
  return names;
}

function buildWebhook(from: Builder): WebhookConfig | null {
  if (!isGiven(from, 'event_webhook')) return null;
  const url = secretOf(from, 'event_webhook.url');
  const where = isGiven(from, 'event_webhook.url_file') ? 'event_webhook.url_file' : 'event_webhook.url';
  // What stands there is a secret: it is not repeated.
  if (url === null) complain(from, 'event_webhook.url', 'missing: an address, `https://HOST/PATH`');
  else if (!isHttpUrl(url)) complain(from, where, 'is no address: write `https://HOST/PATH`');
  const authorization = secretOf(from, 'event_webhook.authorization');
  if (authorization !== null && !isHeader('authorization', authorization))
    complain(from, 'event_webhook.authorization', 'holds what no header can hold');
  const template = text(from, 'event_webhook.template');
  if (template !== null && !isJson(template.replace(/%(.)/g, '0')))
    complain(from, 'event_webhook.template', 'is not JSON once its placeholders are filled in');
  return {
    url: url ?? '',
    headers: headersOf(from, 'event_webhook.headers'),
    authorization,
    events: wantedEvents(from, 'event_webhook.events'),
    timeout: seconds(Number(get(from, 'event_webhook.timeout'))),
    template,
    cacert: text(from, 'event_webhook.cacert'),
  };
}

function isHeader(name: string, value: string): boolean {
  try {
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}

function isHttpUrl(url: string): boolean {
  return URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);
}

function isJson(given: string): boolean {
  try {
    JSON.parse(given);
    return true;
  } catch {
    return false;
  }
}

/** The default ports are those of syslog: 514, and 601 where it is reliable. */
function buildSyslog(from: Builder): SyslogConfig | null {
  if (!isGiven(from, 'event_syslog')) return null;
  const given = text(from, 'event_syslog.to');
  if (given === null)
    complain(from, 'event_syslog.to', 'missing: `local`, a path, `udp://HOST:514` or `tcp://HOST:601`');
  return {
    to: syslogTarget(from, given ?? 'local'),
    facility: (text(from, 'event_syslog.facility') ?? 'daemon') as SyslogFacility,
    events: wantedEvents(from, 'event_syslog.events'),
  };
}

function syslogTarget(from: Builder, given: string): SyslogConfig['to'] {
  if (given === 'local') return { kind: 'local' };
  if (given.startsWith('/')) return { kind: 'socket', path: given };
  const [, scheme = 'udp', rest = ''] = /^(udp|tcp):\/\/(.*?)\/?$/.exec(given) ?? [];
  const address = parseAddress(rest, scheme === 'tcp' ? 601 : 514);
  if (address === null || isWildcard(address.host))
    complain(from, 'event_syslog.to', `${JSON.stringify(given)} has no host and port: write \`${scheme}://HOST:PORT\``);
  return { kind: scheme === 'tcp' ? 'tcp' : 'udp', host: address?.host ?? '', port: address?.port ?? 0 };
}

/** A script of pgpool's compares numbers of nodes. */
function failoverCommand(from: Builder): string | null {
  const command = text(from, 'failover_command');
  if (command !== null && nodeIdOf(from) === null)
    warn(from, 'failover_command', '%m is -1 on this node, and %d, %M and %P are where it fails: set node_id');
  return command;
}

/** As a program of the command line, wherever it stands: `sudo -u postgres /usr/bin/repmgr -f ...`. */
const callsRepmgr = (command: string): boolean => /(^|[\s;&|('"/])repmgr(["']?\s|$)/.test(command);

function warnOfPlaceholders(from: Builder): void {
  for (const { path, setting } of settingsBelow(localSchema)) {
    const known = setting.placeholders;
    const command = valueAt(from.value, path);
    if (known === undefined || typeof command !== 'string') continue;
    const strange = new Set([...command.matchAll(/%(.)/g)].map(([, letter = '']) => letter));
    for (const letter of [...known, '%']) strange.delete(letter);
    if (strange.size === 0) continue;
    warn(
      from,
      path.join('.'),
      `${[...strange].map((letter) => `%${letter}`).join(', ')} means nothing here and is left as it is; filled in: ${[...known].map((letter) => `%${letter}`).join(', ')}, and %% for a percent sign`,
    );
  }
}

/** Every secret may stand in a file of its own; its content never appears in a message. */
function secretOf(from: Builder, path: string): string | null {
  const direct = text(from, path);
  const file = text(from, `${path}_file`);
  if (file === null) return direct;
  if (direct !== null) {
    complain(from, `${path}_file`, `is set beside ${path.split('.').at(-1)}: remove one of them`);
    return direct;
  }
  try {
    const content = from.readFile(file).replace(/\r?\n$/, '');
    if (content === '') complain(from, `${path}_file`, `${file} is empty`);
    return content;
  } catch (cause) {
    const why = cause instanceof NoText ? cause.message : reasonOf(errorCode(cause));
    complain(from, `${path}_file`, `${file} could not be read: ${why}`);
    return null;
  }
}

function buildLogin(from: Builder, user: 'superuser' | 'replication' | 'rewind', fallback: Login | null): Login {
  const base = `postgresql.authentication.${user}`;
  const section = valueAt(from.value, base.split('.'));
  if (fallback !== null && (!isMap(section) || Object.keys(section).length === 0)) return fallback;
  return {
    username: text(from, `${base}.username`) ?? fallback?.username ?? '',
    password: secretOf(from, `${base}.password`),
    sslmode: text(from, `${base}.sslmode`),
    sslcert: text(from, `${base}.sslcert`),
    sslkey: text(from, `${base}.sslkey`),
    sslpassword: secretOf(from, `${base}.sslpassword`),
    sslrootcert: rootCertificateOf(from, base),
    sslcrl: text(from, `${base}.sslcrl`),
    libpq: libpqOf(from, base),
  };
}

function rootCertificateOf(from: Builder, base: string): string | null {
  const given = text(from, `${base}.sslrootcert`);
  if (given !== null && given !== 'system' && !given.startsWith('/'))
    complain(from, `${base}.sslrootcert`, `must be an absolute path or \`system\`, is ${JSON.stringify(given)}`);
  return given;
}

function libpqOf(from: Builder, base: string): Login['libpq'] {
  const given: Record<string, string> = {};
  for (const name of LIBPQ_NAMES) {
    const value = text(from, `${base}.${name}`);
    if (value !== null) given[name] = value;
  }
  const service = text(from, 'postgresql.krbsrvname');
  return service === null ? given : { ...given, krbsrvname: service };
}

/** What a person has to write where an address that others can use is missing. */
function exampleFor(port: number): string {
  return `write \`connect_address: ${hostname()}:${port}\` with a name or an address that the other nodes reach`;
}

function connectAddress(from: Builder, base: string, hosts: readonly string[], port: number): HostPort {
  const path = `${base}.connect_address`;
  const nobody = { host: '127.0.0.1', port };
  const given = text(from, path);
  if (given === null) {
    const [only] = hosts;
    if (only !== undefined && hosts.length === 1 && !isWildcard(only)) return { host: only, port };
    if (!hasProblem(from, `${base}.listen`)) {
      complain(from, path, `missing, and \`listen\` is not the address of one host: ${exampleFor(port)}`);
    }
    return nobody;
  }
  const address = parseAddress(given, port);
  if (address === null) return nobody;
  if (isWildcard(address.host)) {
    complain(from, path, `${given} is not an address that others can connect to: ${exampleFor(address.port)}`);
  }
  return address;
}

const REFUSED_INITDB = ['pgdata', 'nosync', 'no-sync', 'pwfile', 'sync-only', 'version', 'help'];
const REFUSED_BASEBACKUP = [
  'pgdata',
  'format',
  'wal-method',
  'xlog-method',
  'gzip',
  'version',
  'help',
  'dbname',
  'host',
  'port',
  'username',
  'password',
];

const REFUSED_REWIND = [
  'target-pgdata',
  'source-pgdata',
  'source-server',
  'write-recovery-conf',
  'dry-run',
  'restore-target-wal',
  'config-file',
  'no-ensure-shutdown',
  'version',
  'help',
];

function optionsOf(from: Builder, path: string, refused: readonly string[]): readonly string[] {
  const options = lines(from, path) ?? [];
  for (const option of options) {
    const name = /^--([^=]*)/.exec(option)?.[1] ?? '';
    if (refused.includes(name)) complain(from, path, `the option \`${name}\` cannot be given: pgha decides it`);
    else if (!/^[a-z][a-z0-9-]*$/.test(name)) complain(from, path, `\`${option}\` is not a long option`);
  }
  return options;
}

function buildPostgres(from: Builder, runtimeDirectory: string): PostgresConfig {
  const given = text(from, 'postgresql.listen');
  const listen = (given === null ? null : parseAddresses(given, 5432)) ?? { hosts: [], port: 5432 };
  const addresses = listen.hosts.includes('*') ? '*' : listen.hosts.join(',');
  const dataDir = posix.normalize(text(from, 'postgresql.data_dir') ?? '/');
  if (isGiven(from, 'postgresql.data_dir')) checkDirectories(from, dataDir, runtimeDirectory);

  const superuser = buildLogin(from, 'superuser', null);
  const parameters = ownParameters(from);
  const unixSocketDirectory = text(from, 'postgresql.unix_socket_directory') ?? socketDirectoryOf(parameters);
  const socket = `${unixSocketDirectory ?? runtimeDirectory}/.s.PGSQL.${listen.port}`;
  if (Buffer.byteLength(socket) > 107) {
    complain(
      from,
      unixSocketDirectory === null ? 'runtime_directory' : 'postgresql.unix_socket_directory',
      `too long: the socket ${socket} has ${Buffer.byteLength(socket)} bytes, the system allows 107`,
    );
  }
  const pgHba = lines(from, 'postgresql.pg_hba');
  checkHba(from, 'postgresql.pg_hba', pgHba);
  return {
    listen: { addresses, port: listen.port },
    connectAddress: connectAddress(from, 'postgresql', listen.hosts, listen.port),
    proxyAddress: parseAddress(text(from, 'postgresql.proxy_address') ?? '', 5432),
    dataDir,
    configDir: text(from, 'postgresql.config_dir'),
    customConf: text(from, 'postgresql.custom_conf'),
    binDir: text(from, 'postgresql.bin_dir'),
    database: text(from, 'postgresql.database') ?? 'postgres',
    unixSocketDirectory,
    pgpass: text(from, 'postgresql.pgpass'),
    authentication: {
      superuser,
      replication: buildLogin(from, 'replication', null),
      rewind: buildLogin(from, 'rewind', superuser),
    },
    parameters,
    recoveryConf: recoveryConfOf(from),
    pgHba,
    pgIdent: lines(from, 'postgresql.pg_ident'),
    basebackup: optionsOf(from, 'postgresql.basebackup', REFUSED_BASEBACKUP),
    rewind: optionsOf(from, 'postgresql.rewind', REFUSED_REWIND),
    copyMethods: copyMethods(from),
    keepFiles: keptFiles(from),
    discardedWal: {
      directory: text(from, 'postgresql.discarded_wal_directory'),
      size: BigInt(Number(get(from, 'postgresql.discarded_wal_size'))),
      number: Number(get(from, 'postgresql.discarded_wal_number')),
    },
  };
}

function keptFiles(from: Builder): readonly string[] {
  const names = [...new Set(lines(from, 'postgresql.keep_files') ?? [])];
  for (const name of names) {
    const why = whyNotKept(name);
    if (why !== null) complain(from, 'postgresql.keep_files', `${JSON.stringify(name)} ${why}`);
  }
  return names;
}

function recoveryConfOf(from: Builder): PostgresConfig['recoveryConf'] {
  const given = valueAt(from.value, ['postgresql', 'recovery_conf']);
  const kept: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(isMap(given) ? given : {})) {
    if (isSetByPgha(name)) warn(from, `postgresql.recovery_conf.${name}`, 'has no effect: pgha sets this parameter');
    else kept[name] = value as string | number | boolean;
  }
  return kept;
}

const settingNames: ReadonlySet<string> = new Set(
  settingsBelow(localSchema)
    .filter(({ path }) => path[0] === 'postgresql')
    .map(({ path }) => path[1] ?? ''),
);

/** create_replica_methods, each with its section. */
function copyMethods(from: Builder): readonly CopyMethod[] {
  const listed = lines(from, 'postgresql.create_replica_methods') ?? [];
  const methods: CopyMethod[] = [];
  const given = from.written['postgresql'];
  const written = isMap(given) ? given : {};
  for (const [name, section] of Object.entries(written)) {
    const known = settingNames.has(name);
    if (!known && isMethod(section) && !listed.includes(name))
      warn(from, `postgresql.${name}`, 'has no effect: it does not stand in create_replica_methods');
  }
  for (const name of listed) {
    const section = written[name];
    if (name === 'basebackup') methods.push(BASEBACKUP);
    else if (isMap(section) && typeof section['command'] === 'string' && section['command'].trim() !== '')
      methods.push(copyMethod(from, name, section));
    else
      complain(
        from,
        'postgresql.create_replica_methods',
        `${name} has no section postgresql.${name} with a command, and is not basebackup`,
      );
  }
  return methods.length === 0 ? [BASEBACKUP] : methods;
}

const OF_METHOD: ReadonlySet<string> = new Set([
  'command',
  'keep_data',
  'no_params',
  'no_leader',
  'no_master',
  'timeout',
]);

function flagOf(from: Builder, at: string, section: Readonly<Record<string, unknown>>, key: string): boolean {
  const given = section[key] ?? false;
  const value = parseBoolean(given);
  if (value === null) complain(from, `${at}.${key}`, `must be true or false, is ${JSON.stringify(given)}`);
  return value === true;
}

function timeoutOf(from: Builder, at: string, section: Readonly<Record<string, unknown>>): Millis {
  const given = section['timeout'] ?? BASEBACKUP.timeout / 1000;
  const timeout = parseDuration(given);
  if (timeout === null || timeout <= 0 || timeout > 1_000_000)
    complain(from, `${at}.timeout`, `must be a time between 0 and 1000000 s, is ${JSON.stringify(given)}`);
  return millis(Math.round((timeout ?? 1) * 1000));
}

/** What is not ours becomes an argument. */
function paramsOf(
  from: Builder,
  at: string,
  section: Readonly<Record<string, unknown>>,
  ours: ReadonlySet<string>,
): CopyMethod['params'] {
  const params: (readonly [string, string])[] = [];
  for (const [key, value] of Object.entries(section)) {
    if (ours.has(key) || value === null || value === undefined) continue;
    if (typeof value === 'object') complain(from, `${at}.${key}`, 'must be a text, a number or a boolean');
    else params.push([key, String(value)]);
  }
  return params;
}

function copyMethod(from: Builder, name: string, section: Readonly<Record<string, unknown>>): CopyMethod {
  const at = `postgresql.${name}`;
  const isSet = (key: string): boolean => flagOf(from, at, section, key);
  if (isSet('no_leader') || isSet('no_master'))
    warn(from, `${at}.no_leader`, 'has no effect: a copy waits until there is a leader to follow');
  return {
    name,
    command: String(section['command']),
    keepData: isSet('keep_data'),
    noParams: isSet('no_params'),
    params: paramsOf(from, at, section, OF_METHOD),
    timeout: timeoutOf(from, at, section),
  };
}

/** Of a witness: how to log in to the servers that it checks, and nothing that would be of a Postgres here. */
function buildLogins(from: Builder): PostgresConfig {
  const section = valueAt(from.value, ['postgresql']);
  for (const name of Object.keys(isMap(section) ? section : {})) {
    if (name !== 'authentication' && name !== 'database')
      warn(from, `postgresql.${name}`, 'has no effect: no Postgres runs on a witness');
  }
  if (isGiven(from, 'bootstrap')) warn(from, 'bootstrap', 'has no effect: a witness makes no cluster');
  const superuser = buildLogin(from, 'superuser', null);
  return {
    listen: { addresses: '', port: 5432 },
    connectAddress: { host: '', port: 5432 },
    proxyAddress: null,
    dataDir: '',
    configDir: null,
    customConf: null,
    binDir: null,
    database: text(from, 'postgresql.database') ?? 'postgres',
    unixSocketDirectory: null,
    pgpass: null,
    authentication: {
      superuser,
      replication: buildLogin(from, 'replication', null),
      rewind: buildLogin(from, 'rewind', superuser),
    },
    parameters: {},
    recoveryConf: {},
    pgHba: null,
    pgIdent: null,
    basebackup: [],
    rewind: [],
    copyMethods: [BASEBACKUP],
    keepFiles: [],
    discardedWal: { directory: null, size: 0n, number: 0 },
  };
}

function checkDirectories(from: Builder, dataDir: string, runtimeDirectory: string): void {
  const inside = (inner: string, outer: string): boolean => `${inner}/`.startsWith(`${outer.replace(/\/$/, '')}/`);
  if (dataDir === '/') complain(from, 'postgresql.data_dir', 'is the root directory');
  else if (inside(dataDir, runtimeDirectory)) {
    complain(
      from,
      'postgresql.data_dir',
      `is inside of the runtime directory ${runtimeDirectory}, which a restart empties`,
    );
  } else if (inside(runtimeDirectory, dataDir)) {
    complain(
      from,
      isGiven(from, 'runtime_directory') ? 'runtime_directory' : 'postgresql.data_dir',
      `the runtime directory ${runtimeDirectory} is inside of the data directory, which a new copy replaces`,
    );
  }
}

function ownParameters(from: Builder): PostgresConfig['parameters'] {
  const given = valueAt(from.value, ['postgresql', 'parameters']);
  const kept: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(isMap(given) ? given : {})) {
    const path = `postgresql.parameters.${name}`;
    if (isSetByPgha(name)) warn(from, path, 'has no effect: pgha sets this parameter');
    else if (isSameEverywhere(name)) {
      warn(
        from,
        path,
        'has no effect here: it has to be the same on all nodes; use bootstrap.dcs or `pgha-ctl edit-config`',
      );
    } else kept[name] = value as string | number | boolean;
  }
  return kept;
}

function socketDirectoryOf(parameters: PostgresConfig['parameters']): string | null {
  const first = String(parameters['unix_socket_directories'] ?? '')
    .split(',')[0]
    ?.trim();
  return first?.startsWith('/') === true ? first : null;
}

/** A line that Postgres cannot read keeps it from starting. */
function checkHba(from: Builder, path: string, pgHba: readonly string[] | null): void {
  for (const line of pgHba ?? []) {
    const mistake = hbaMistake(line);
    if (mistake !== null) complain(from, path, `Postgres does not read this line: ${line.trim()} (${mistake})`);
  }
  warnOfTrust(from, path, pgHba);
}

function warnOfTrust(from: Builder, path: string, pgHba: readonly string[] | null): void {
  for (const line of pgHba ?? []) {
    const words = line.trim().split(/\s+/);
    const local = /^(127\.|::1(\/|$)|samehost$|localhost$)/.test(words[3] ?? '');
    if (words[0]?.startsWith('host') === true && words.at(-1) === 'trust' && !local) {
      warn(from, path, `lets everybody in without a password from ${words[3] ?? 'there'}: ${words.join(' ')}`);
    }
  }
}

function credentials(from: Builder, section: 'restapi' | 'ctl'): RestApiConfig['authentication'] {
  const base = `${section}.authentication`;
  const username = text(from, `${base}.username`);
  const password = secretOf(from, `${base}.password`);
  if (username === null && password === null) return null;
  if (username === null) complain(from, `${base}.username`, 'missing: there is a password');
  if (password === null && !hasProblem(from, `${base}.password_file`)) {
    complain(from, `${base}.password`, 'missing: there is a username');
  }
  checkHash(from, section, password ?? '');
  return { username: username ?? '', password: password ?? '' };
}

function checkHash(from: Builder, section: 'restapi' | 'ctl', password: string): void {
  if (!looksHashed(password)) return;
  const path = `${section}.authentication.${isGiven(from, `${section}.authentication.password`) ? 'password' : 'password_file'}`;
  if (section === 'ctl') complain(from, path, 'is a hash: here the password itself is needed, which is sent');
  else if (readPasswordHash(password) === null)
    complain(from, path, 'is no hash that can be used: make one with `pgha-ctl hash-password`');
  else if (text(from, 'ctl.authentication.username') === null)
    complain(
      from,
      path,
      'is a hash, and the other members want the password itself: write it into ctl.authentication, as `password_file`',
    );
}

const AGENT_CHECK_PORT = 8009;

function buildRestApi(from: Builder): RestApiConfig {
  const listen = parseAddress(text(from, 'restapi.listen') ?? '', 8008) ?? { host: '0.0.0.0', port: 8008 };
  const agentCheck = parseAddress(text(from, 'restapi.agent_check') ?? '', AGENT_CHECK_PORT);
  const certfile = text(from, 'restapi.certfile');
  const verifyClient = (text(from, 'restapi.verify_client') ?? 'none') as 'none' | 'optional' | 'required';
  const cafile = text(from, 'restapi.cafile');
  if (verifyClient !== 'none' && certfile === null) {
    complain(from, 'restapi.verify_client', 'needs TLS: set restapi.certfile');
  } else if (verifyClient !== 'none' && cafile === null) {
    complain(from, 'restapi.verify_client', 'needs restapi.cafile, against which client certificates are checked');
  }
  if (certfile === null && text(from, 'restapi.keyfile') !== null) {
    complain(from, 'restapi.keyfile', 'is set without restapi.certfile');
  }
  const ciphers = text(from, 'restapi.ciphers');
  const protectReads = get(from, 'restapi.protect_reads') === true;
  if (protectReads && text(from, 'restapi.authentication.username') === null && verifyClient === 'none')
    complain(from, 'restapi.protect_reads', 'needs restapi.authentication, or verify_client');
  return {
    listen: { host: listen.host === '*' ? '0.0.0.0' : listen.host, port: listen.port },
    connectAddress: connectAddress(from, 'restapi', [listen.host], listen.port),
    ...(agentCheck === null ? {} : { agentCheck }),
    authentication: credentials(from, 'restapi'),
    tls:
      certfile === null
        ? null
        : {
            certfile,
            keyfile: text(from, 'restapi.keyfile'),
            keyfilePassword: secretOf(from, 'restapi.keyfile_password'),
            cafile,
            verifyClient,
            ...(ciphers === null ? {} : { ciphers }),
          },
    protectReads,
    allowlist: allowlistOf(from),
    allowlistIncludeMembers: get(from, 'restapi.allowlist_include_members') === true,
    extraHeaders: {
      ...serverHeader(get(from, 'restapi.server_tokens')),
      ...headersOf(from, 'restapi.http_extra_headers'),
      ...(certfile === null ? {} : headersOf(from, 'restapi.https_extra_headers')),
    },
  };
}

/** `restapi.server_tokens`: who answers, in Patroni's words and at its level. */
function serverHeader(tokens: unknown): Readonly<Record<string, string>> {
  if (tokens === 'Minimal') return { Server: `Patroni/${PATRONI_LEVEL}` };
  return tokens === 'ProductOnly' ? { Server: 'Patroni' } : {};
}

/** `10.0.0.1`, `10.0.0.0/24`, `::1`, `host.example` */
function allowlistOf(from: Builder): readonly string[] {
  const path = 'restapi.allowlist';
  const entries = lines(from, path) ?? [];
  const bad = entries.filter((entry) => {
    const [address = '', prefix, ...more] = entry.split('/');
    const bits = isIP(address) === 0 ? null : isIP(address) === 4 ? 32 : 128;
    if (prefix === undefined) return bits === null && !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(address);
    return bits === null || more.length > 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > bits;
  });
  if (bad.length > 0) complain(from, path, `no address, network or host name: ${bad.join(', ')}`);
  return entries;
}

function headersOf(from: Builder, path: string): Readonly<Record<string, string>> {
  const given = get(from, path);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(isMap(given) ? given : {})) {
    try {
      validateHeaderName(name);
      validateHeaderValue(name, String(value));
      headers[name] = String(value);
    } catch {
      complain(from, `${path}.${name}`, 'is no header that can be sent');
    }
  }
  return headers;
}

function buildCtl(from: Builder, restapi: RestApiConfig): CtlConfig {
  return {
    authentication: credentials(from, 'ctl') ?? restapi.authentication,
    insecure: get(from, 'ctl.insecure') === true,
    cacert: text(from, 'ctl.cacert') ?? restapi.tls?.cafile ?? null,
    certfile: text(from, 'ctl.certfile') ?? restapi.tls?.certfile ?? null,
    keyfile: text(from, 'ctl.keyfile') ?? restapi.tls?.keyfile ?? null,
    keyfilePassword: secretOf(from, 'ctl.keyfile_password') ?? restapi.tls?.keyfilePassword ?? null,
  };
}

function buildEtcd(from: Builder): EtcdConfig {
  const has = (section: string): boolean =>
    isMap(from.written[section]) && Object.keys(from.written[section]).length > 0;
  const section = has('etcd3') || !has('etcd') ? 'etcd3' : 'etcd';
  if (section === 'etcd3' && has('etcd')) warn(from, 'etcd', 'has no effect: there is an etcd3 section as well');
  const protocol = text(from, `${section}.protocol`) ?? 'http';
  const endpoints: string[] = [];
  const add = (key: string, written: string): void => {
    const endpoint = endpointOf(written, protocol);
    // A URL may hold a password: it is not repeated.
    const shown = written.includes('@') ? '' : `, is ${JSON.stringify(written)}`;
    if (endpoint === null) complain(from, `${section}.${key}`, `must be host:port or http(s)://host:port${shown}`);
    else if (!endpoints.includes(endpoint)) endpoints.push(endpoint);
  };
  for (const host of lines(from, `${section}.hosts`) ?? []) add('hosts', host);
  for (const key of ['host', 'url', 'proxy']) {
    const written = text(from, `${section}.${key}`);
    if (endpoints.length === 0 && written !== null) add(key, written);
  }
  const misnamed = ['hosts', 'host', 'url', 'proxy', 'srv', 'srv_suffix'].some((key) =>
    hasProblem(from, `${section}.${key}`),
  );
  const domain = text(from, `${section}.srv`);
  const srv = domain === null || endpoints.length > 0 ? null : { domain, suffix: text(from, `${section}.srv_suffix`) };
  if (endpoints.length === 0 && srv === null && !misnamed && !hasProblem(from, section)) {
    const other = ['consul', 'zookeeper', 'exhibitor', 'kubernetes', 'raft'].some((name) => hasProblem(from, name));
    if (!other) {
      complain(
        from,
        `${section}.hosts`,
        'missing: name the members of etcd, e.g. `hosts: [10.0.0.1:2379, 10.0.0.2:2379]`',
      );
    }
  }
  const cert = text(from, `${section}.cert`);
  if (cert === null && text(from, `${section}.key`) !== null) complain(from, `${section}.key`, 'is set without `cert`');
  const cacert = text(from, `${section}.cacert`);
  if ((cacert !== null || cert !== null) && endpoints.some((endpoint) => endpoint.startsWith('http:'))) {
    warn(from, `${section}.protocol`, 'is http although there are certificates: they are not used');
  }
  const [only] = endpoints;
  if (only !== undefined && endpoints.length === 1 && isLoopback(new URL(only).hostname)) {
    warn(
      from,
      section,
      `names only the etcd on this machine (${only}): name all members, or this node stops writing when that one is down`,
    );
  }
  const username = text(from, `${section}.username`);
  const password = secretOf(from, `${section}.password`);
  if (password !== null && username === null) complain(from, `${section}.username`, 'missing: there is a password');
  return { endpoints, srv, username, password, cacert, cert, key: text(from, `${section}.key`) };
}

function endpointOf(written: string, protocol: string): string | null {
  const match = /^(?:(https?):\/\/)?([^/]*)\/?$/i.exec(written.trim());
  if (match?.[2] === undefined) return null;
  const address = splitAddress(match[2]);
  if (address === null || isWildcard(address.host)) return null;
  const url = `${(match[1] ?? protocol).toLowerCase()}://${printAddress({ host: address.host, port: address.port ?? 2379 })}`;
  // `10.0.0.256`, `a<b`: names to us, and nothing that could be called.
  return URL.canParse(url) ? url : null;
}

const isLoopback = (host: string): boolean => /^(localhost|127\.[\d.]+|\[?::1\]?)$/.test(host);

function checkReachable(from: Builder, postgresql: PostgresConfig, etcd: EtcdConfig): void {
  const alone = etcd.srv === null && etcd.endpoints.every((endpoint) => isLoopback(new URL(endpoint).hostname));
  if (!alone && isGiven(from, 'postgresql.connect_address') && isLoopback(postgresql.connectAddress.host)) {
    warn(from, 'postgresql.connect_address', 'is this machine itself: no other node can connect to it');
  }
}

function buildBootstrap(from: Builder): BootstrapConfig {
  const pgHba = lines(from, 'bootstrap.pg_hba');
  checkHba(from, 'bootstrap.pg_hba', pgHba);
  const dcs = valueAt(from.written, ['bootstrap', 'dcs']);
  return {
    dcs: isMap(dcs) ? structuredClone(dcs) : {},
    initdb: optionsOf(from, 'bootstrap.initdb', REFUSED_INITDB),
    method: bootstrapMethod(from),
    pgHba,
    postBootstrap: text(from, 'bootstrap.post_bootstrap'),
  };
}

const OF_BOOTSTRAP_METHOD: ReadonlySet<string> = new Set([
  'command',
  'no_params',
  'keep_existing_recovery_conf',
  'recovery_conf',
  'timeout',
]);

function bootstrapMethod(from: Builder): BootstrapMethod | null {
  const name = text(from, 'bootstrap.method') ?? 'initdb';
  if (name === 'initdb') return null;
  const section = valueAt(from.written, ['bootstrap', name]);
  const command = isMap(section) ? section['command'] : undefined;
  if (!isMap(section) || typeof command !== 'string' || command.trim() === '') {
    complain(from, 'bootstrap.method', `${name} has no section bootstrap.${name} with a command, and is not initdb`);
    return null;
  }
  const at = `bootstrap.${name}`;
  return {
    name,
    command,
    noParams: flagOf(from, at, section, 'no_params'),
    params: paramsOf(from, at, section, OF_BOOTSTRAP_METHOD),
    keepExistingRecoveryConf: flagOf(from, at, section, 'keep_existing_recovery_conf'),
    recoveryConf: recoveryOf(from, at, section['recovery_conf']),
    timeout: timeoutOf(from, at, section),
  };
}

function recoveryOf(from: Builder, at: string, given: unknown): BootstrapMethod['recoveryConf'] {
  if (given === null || given === undefined) return null;
  if (!isMap(given)) {
    complain(from, `${at}.recovery_conf`, 'must be names with values');
    return null;
  }
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue;
    if (!/^[a-z_]+$/i.test(name) || typeof value === 'object')
      complain(from, `${at}.recovery_conf.${name}`, 'must be a setting of recovery with a text, a number or a boolean');
    // Of files for servers before 12: a signal file takes their place.
    else if (name === 'standby_mode' || name === 'primary_conninfo' || name === 'primary_slot_name')
      warn(from, `${at}.recovery_conf.${name}`, 'has no effect: a new cluster is no standby');
    else settings[name.toLowerCase()] = typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
  }
  return settings;
}

function buildLog(from: Builder): LogConfig {
  const dir = text(from, 'log.dir');
  return {
    level: (text(from, 'log.level') ?? 'info') as LogConfig['level'],
    format: from.logFormat ?? (text(from, 'log.type') === 'json' ? 'json' : 'plain'),
    file: text(from, 'log.file') ?? (dir === null ? null : posix.join(dir, 'pgha.log')),
  };
}

function buildWatchdog(from: Builder, isWitness: boolean): Config['watchdog'] {
  const mode = (text(from, 'watchdog.mode') ?? 'automatic') as Config['watchdog']['mode'];
  if (mode === 'required' && text(from, 'guard') === 'off') {
    complain(from, 'watchdog.mode', 'is required, but guard is off, and the guard is who keeps the device alive');
  }
  const margin = Number(get(from, 'watchdog.safety_margin'));
  return {
    mode: isWitness || text(from, 'guard') === 'off' ? 'off' : mode,
    device: text(from, 'watchdog.device') ?? '/dev/watchdog',
    safetyMargin: margin < 0 ? null : seconds(margin),
    driver: text(from, 'watchdog.driver') === 'testing' ? 'testing' : 'default',
  };
}

/** @param own - the hosts by which this node is known */
function buildPgbouncer(from: Builder, own: readonly string[]): PgbouncerConfig | null {
  if (!isGiven(from, 'pgbouncer')) return null;
  const poolers = (lines(from, 'pgbouncer.poolers') ?? []).flatMap((written) => {
    const address = parseAddress(written, 6432);
    if (address === null || isWildcard(address.host)) {
      complain(from, 'pgbouncer.poolers', `${written} is no address of a pooler: host:port is expected`);
      return [];
    }
    if (isLoopback(address.host))
      complain(
        from,
        'pgbouncer.poolers',
        `${written} is another pooler on each node, and whoever leads next has to reach this one: write the address by which the others know it`,
      );
    return [printAddress(address)];
  });
  if (poolers.length === 0 && !hasProblem(from, 'pgbouncer.poolers'))
    complain(from, 'pgbouncer.poolers', 'missing: the addresses of the consoles');
  const databasesFile = text(from, 'pgbouncer.databases_file');
  const local = poolers.some((address) =>
    own.some((host) => printAddress({ host, port: 0 }) === address.replace(/:\d+$/, ':0')),
  );
  if (databasesFile !== null && !local && poolers.length > 0)
    complain(
      from,
      'pgbouncer.databases_file',
      `is written here, and no pooler stands in the list with an address of this node (${own.join(', ')}) that could read it`,
    );
  const databases = (lines(from, 'pgbouncer.databases') ?? []).map((entry) => {
    const [name = '', ...options] = entry.trim().split(/\s+/);
    return { name, options: options.join(' ') };
  });
  const pauseTimeout = seconds(Number(get(from, 'pgbouncer.pause_timeout')));
  const maxPause = seconds(Number(get(from, 'pgbouncer.max_pause')));
  if (maxPause <= pauseTimeout)
    complain(
      from,
      'pgbouncer.max_pause',
      'has to be longer than pause_timeout, or clients go on before Postgres is stopped',
    );
  return {
    poolers: [...new Set(poolers)],
    username: text(from, 'pgbouncer.username') ?? 'pgbouncer',
    password: secretOf(from, 'pgbouncer.password'),
    databases,
    pauseTimeout,
    maxPause,
    databasesFile,
  };
}

const poolerPolicy = ({ poolers, pauseTimeout, maxPause }: PgbouncerConfig): PoolerPolicy => ({
  addresses: poolers,
  pauseTimeout,
  maxPause,
});

/** As the kernel takes and prints it; null: it is no address with a prefix that one interface can have. */
function interfaceAddress(from: Builder, written: string): string | null {
  const [address = '', length = '', ...rest] = written.trim().split('/');
  const version = isIP(address);
  const wrong = (message: string): null => {
    complain(from, 'vip.address', `${written} ${message}`);
    return null;
  };
  if (version === 0 || rest.length > 0) return wrong('is no IP address with the length of its prefix (10.0.0.100/24)');
  const longest = version === 4 ? 32 : 128;
  if (!written.includes('/'))
    return wrong(`has no prefix: ${address}/${version === 4 ? '24' : '64'}, as its network has it, is expected`);
  if (!/^\d{1,3}$/.test(length) || Number(length) < 1 || Number(length) > longest)
    return wrong(`has a prefix that is none: 1 to ${longest} is expected`);
  const canonical = version === 4 ? address : new URL(`http://[${address}]/`).hostname.slice(1, -1);
  if (isLoopback(canonical) || isWildcard(canonical) || /^(22[4-9]|2[3-5]\d)\.|^f[ef][0-9a-f]{2}:/i.test(canonical))
    return wrong('can not be reached by clients as the address of one machine');
  return `${canonical}/${Number(length)}`;
}

function buildVip(
  from: Builder,
  { connectAddress, listen }: Pick<PostgresConfig, 'connectAddress' | 'listen'>,
  restapi: Pick<RestApiConfig, 'connectAddress'>,
): VipConfig | null {
  if (!isGiven(from, 'vip')) return null;
  const addresses = (lines(from, 'vip.address') ?? []).flatMap((written) => {
    const address = interfaceAddress(from, written);
    const host = address?.split('/')[0];
    if (host !== undefined && [connectAddress.host, restapi.connectAddress.host].includes(host)) {
      complain(
        from,
        'vip.address',
        `${host} is this node's own address (connect_address), which it has whether it leads or not: the virtual one is another`,
      );
    }
    const hears = listen.addresses.split(',').some((one) => isWildcard(one.trim()) || one.trim() === host);
    if (host !== undefined && !hears && !hasProblem(from, 'postgresql.listen'))
      complain(
        from,
        'vip.address',
        `Postgres listens on ${listen.addresses} and would refuse every connection to ${host}: postgresql.listen has to be '*:${listen.port}'`,
      );
    return address === null ? [] : [address];
  });
  if (addresses.length === 0 && !hasProblem(from, 'vip.address'))
    complain(from, 'vip.address', 'missing: the address that is to follow the primary, 10.0.0.100/24');
  const device = text(from, 'vip.interface');
  if (device === null) {
    if (!hasProblem(from, 'vip.interface'))
      complain(from, 'vip.interface', 'missing: the interface of this node that the address is put on');
  } else if (!/^[\w.:@-]{1,15}$/.test(device))
    complain(from, 'vip.interface', `${device} is no name of a network interface`);
  return { addresses: [...new Set(addresses)], interface: device ?? '' };
}

/** The times of a cluster that this file makes: what `bootstrap.dcs` says, with this node's own values over it. */
function checkTimes(from: Builder, overrides: Readonly<Record<string, unknown>>): void {
  const inDcs = valueAt(from.value, ['bootstrap', 'dcs']);
  const dcs = isMap(inDcs) ? inDcs : {};
  const names = ['ttl', 'loop_wait', 'monitor_interval_secs', 'retry_timeout'];
  if (names.some((name) => hasProblem(from, name) || hasProblem(from, `bootstrap.dcs.${name}`))) return;
  const times = timesOf(dcs, overrides);
  const place = names.find((name) => overrides[name] !== undefined) ?? null;
  const path = place ?? `bootstrap.dcs.${names.find((name) => dcs[name] !== undefined) ?? 'ttl'}`;
  const misfit = misfitOfTimes(times);
  if (misfit !== null) complain(from, path, misfit);
  const ttl = seconds(times.ttl);
  const reserve = margin(ttl) + orderlyStopLead(ttl);
  if (reserve >= ttl) {
    complain(
      from,
      path,
      `ttl ${printSeconds(times.ttl)} is used up by the safety margin ${printSeconds(margin(ttl) / 1000)} and ${printSeconds(orderlyStopLead(ttl) / 1000)} for an orderly stop`,
    );
  }
  const settings = check(clusterSchema, dcs).value;
  const parameters = valueAt(settings, ['postgresql', 'parameters']);
  // Patroni takes them as they are, and so do we: strict without a mode means nothing, the others are not used.
  for (const sentence of contradictionsOfSync(settings, isMap(parameters) ? parameters : {}))
    warn(from, 'bootstrap.dcs', sentence);
  const slowCheck = misfitOfCheck({ ttl, checkTimeout: checkTimeoutOf(dcs, overrides) });
  if (slowCheck !== null && !hasProblem(from, 'bootstrap.dcs.connection_check_timeout')) {
    const own = overrides['connection_check_timeout'] !== undefined;
    complain(from, own ? 'connection_check_timeout' : 'bootstrap.dcs.connection_check_timeout', slowCheck);
  }
  if (times.ttl < 10) {
    warn(
      from,
      path,
      `ttl ${printSeconds(times.ttl)} is short: an election inside of etcd (1 s by default) may cost the leadership; 10 s is on the safe side`,
    );
  }
}

function checkPorts(from: Builder, postgresql: PostgresConfig, restapi: RestApiConfig): void {
  if (hasProblem(from, 'postgresql.listen')) return;
  const ofPostgres = { port: postgresql.listen.port, hosts: postgresql.listen.addresses.split(',') };
  const ofApi = { port: restapi.listen.port, hosts: [restapi.listen.host] };
  if (overlap(restapi.listen, ofPostgres))
    complain(from, 'restapi.listen', `uses port ${restapi.listen.port}, on which Postgres listens`);
  const { agentCheck } = restapi;
  for (const [other, who] of [
    [ofPostgres, 'Postgres listens'],
    [ofApi, 'the health checks are answered'],
  ] as const)
    if (agentCheck !== undefined && overlap(agentCheck, other))
      complain(from, 'restapi.agent_check', `uses port ${agentCheck.port}, on which ${who}`);
}

function overlap(one: HostPort, other: { readonly port: number; readonly hosts: readonly string[] }): boolean {
  const same = (host: string): string => (host === 'localhost' ? '127.0.0.1' : host);
  if (one.port !== other.port) return false;
  return isWildcard(one.host) || other.hosts.some((host) => isWildcard(host) || same(host) === same(one.host));
}

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) frozen(inner);
  }
  return value;
}
