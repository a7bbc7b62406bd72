/**
 * repmgr.conf -> pgha.yml. One rule for each parameter that repmgr has; what is no parameter of repmgr's is told of and
 * left out. Nothing is guessed: where the file does not say what has to be known, a row says so.
 */
import { EVENTS_OF_REPMGR_ONLY, isClusterEvent } from '../../core/cluster-events.ts';
import { didYouMean } from '../nearest.ts';
import { localSchema } from '../schema.ts';
import { parseBoolean, parseInteger, printSeconds, splitList } from '../units.ts';
import { parseConninfo } from './conninfo.ts';
import { Draft, type Origin, shownValue } from './draft.ts';
import { type Mistake, quoted, type Setting } from './settings-text.ts';
import {
  type Answers,
  addApiPassword,
  addEtcd,
  addScope,
  lookForStrangeLetters,
  takeAddress,
  takeDataDirectory,
  tellOfRivals,
} from './surroundings.ts';
import { versionOfPath } from './traps.ts';

interface Work {
  readonly draft: Draft;
  readonly mistakes: Mistake[];
  /** The last one of each name, as repmgr reads them. */
  readonly settings: ReadonlyMap<string, Setting>;
}

type Rule = (work: Work, setting: Setting, origin: Origin) => void;

export function importRepmgr(
  settings: readonly Setting[],
  answers: Answers,
): { draft: Draft; mistakes: readonly Mistake[] } {
  const draft = new Draft();
  const mistakes: Mistake[] = [];
  const last = lastOfEach(settings, draft);
  const work: Work = { draft, mistakes, settings: last };
  addScope(draft, answers);
  for (const setting of settings) {
    if (last.get(setting.name) !== setting && setting.name !== 'tablespace_mapping') continue;
    apply(work, setting);
  }
  checkRequired(work, settings);
  addTimes(work);
  addEtcd(draft, answers);
  addApiPassword(draft);
  draft.add(
    'adopt_from',
    'repmgr',
    'a cluster that runs goes on undisturbed: the daemon only watches until `pgha-ctl adopt take-over`. Take the line out for a new cluster, or one that is stopped',
  );
  tellOfRivals(draft, 'repmgrd');
  draft.todo(
    'shared_preload_libraries',
    'in postgresql.conf: take `repmgr` out of it once all nodes have moved, which costs a restart; until then it does no harm. The database and the extension repmgr are not needed any more, the role only as far as it stands above',
  );
  return { draft, mistakes };
}

export const originOf = ({ name, line, column, value }: Setting): Origin => ({
  name,
  line,
  column,
  shown: shownValue(value),
});

const mistake = (setting: Setting, message: string, offset = 0): Mistake => ({
  line: setting.line,
  column: setting.valueColumn + offset,
  message: `${setting.name}: ${message}`,
});

/** Of a name that stands there twice the last one counts, and somebody should know. */
function lastOfEach(settings: readonly Setting[], draft: Draft): ReadonlyMap<string, Setting> {
  const last = new Map(settings.map((setting) => [setting.name, setting]));
  for (const setting of settings) {
    const other = last.get(setting.name);
    if (other === undefined || other === setting || setting.name === 'tablespace_mapping') continue;
    const same = other.value === setting.value ? 'with the same value' : 'and the last one counts';
    draft.decide(originOf(setting), `stands there again in line ${other.line}, ${same}: remove one of them`);
  }
  return last;
}

function apply(work: Work, setting: Setting): void {
  const { draft } = work;
  const origin = originOf(setting);
  if (setting.lastLine > setting.line) {
    draft.decide(
      origin,
      `goes on in line ${setting.lastLine}; repmgr itself refuses that. The lines were put together: look at what became of them`,
    );
  }
  const current = RENAMED[setting.name];
  const name = current ?? setting.name;
  const rule = RULES[name];
  if (rule === undefined) {
    tellOfUnknown(work, setting, origin);
    return;
  }
  if (current !== undefined && work.settings.has(current)) {
    draft.notNeeded(origin, `this is the old name of ${current}, which stands there as well`);
    return;
  }
  if (setting.value === '') draft.notNeeded(origin, 'empty: not set');
  else rule(work, { ...setting, name }, origin);
}

/** Names that older versions had. */
const RENAMED: Readonly<Record<string, string | undefined>> = {
  node: 'node_id',
  loglevel: 'log_level',
  logfacility: 'log_facility',
  logfile: 'log_file',
  master_response_timeout: 'async_query_timeout',
  // repmgr's own slip of the pen.
  master_reponse_timeout: 'async_query_timeout',
  retry_promote_interval_secs: 'primary_notification_timeout',
};

function tellOfUnknown({ draft }: Work, setting: Setting, origin: Origin): void {
  if (/^include(_if_exists|_dir)?$/i.test(setting.name)) {
    draft.decide(origin, 'is not followed: what stands there is missing here. Put all into one file, and import that');
    return;
  }
  const known = [...Object.keys(RULES), ...Object.keys(RENAMED)];
  draft.decide(origin, `repmgr knows no such parameter${didYouMean(setting.name, known) || '.'} It was left out`);
}

// ---- forms of values -------------------------------------------------------------------------------------------------------

const MOST = 2_147_483_647;

function wholeOf(work: Work, setting: Setting, least: number): number | null {
  const number = parseInteger(setting.value);
  if (number !== null && number >= least && number <= MOST) return number;
  work.mistakes.push(mistake(setting, `a whole number of at least ${least} is expected, not ${quoted(setting.value)}`));
  return null;
}

const whole =
  (path: string, least: number): Rule =>
  (work, setting, origin) => {
    const number = wholeOf(work, setting, least);
    if (number !== null) work.draft.take(origin, path, number);
  };

const boolean =
  (path: string): Rule =>
  (work, setting, origin) => {
    const value = parseBoolean(setting.value);
    if (value === null)
      work.mistakes.push(
        mistake(setting, `true or false (on/off, yes/no, 1/0) is expected, not ${quoted(setting.value)}`),
      );
    else work.draft.take(origin, path, value);
  };

const text =
  (path: string, why = ''): Rule =>
  ({ draft }, setting, origin) => {
    draft.take(origin, path, setting.value, why);
    if (/[/\\]/.test(setting.value)) lookForStrangeLetters(draft, origin, setting.value);
  };

const word =
  (path: string, words: readonly string[]): Rule =>
  (work, setting, origin) => {
    const value = setting.value.toLowerCase();
    if (words.includes(value)) work.draft.take(origin, path, value);
    else
      work.mistakes.push(
        mistake(
          setting,
          `one of ${words.join(', ')} is expected, not ${quoted(setting.value)}${didYouMean(value, words)}`,
        ),
      );
  };

const unneeded =
  (why: string): Rule =>
  ({ draft }, _setting, origin) =>
    draft.notNeeded(origin, why);

const toDecide =
  (why: string): Rule =>
  ({ draft }, _setting, origin) =>
    draft.decide(origin, why);

// ---- single parameters -----------------------------------------------------------------------------------------------------

const conninfo: Rule = (work, setting, origin) => {
  const { draft, mistakes } = work;
  const read = parseConninfo(setting.value);
  if (read.kind === 'wrong') {
    mistakes.push(mistake(setting, read.message, read.index));
    return;
  }
  const { values } = read;
  const host = values.get('hostaddr') ?? values.get('host') ?? '';
  if (host === '' || host.startsWith('/')) {
    mistakes.push(mistake(setting, 'it names no host, and the other nodes have to reach this one by it'));
    return;
  }
  if (/[,\s]/.test(host)) {
    mistakes.push(mistake(setting, `${quoted(host)} is more than one host: name the one of this node`));
    return;
  }
  const port = parseInteger(values.get('port') ?? '5432') ?? 0;
  if (port < 1 || port > 65_535) {
    mistakes.push(mistake(setting, `${quoted(values.get('port') ?? '')} is no port`));
    return;
  }
  takeAddress(draft, origin, host, port);
  takeLogin(work, origin, values);
};

/** What else a connection string says: who logs in, and how. */
function takeLogin({ draft, settings }: Work, origin: Origin, values: ReadonlyMap<string, string>): void {
  const part = (name: string, value: string): Origin => ({ ...origin, name: `conninfo ${name}`, shown: value });
  const user = values.get('user');
  const replication = settings.get('replication_user')?.value || user;
  const LOGIN = 'postgresql.authentication';
  if (user !== undefined)
    draft.take(part('user', user), `${LOGIN}.superuser.username`, user, 'it has to be a superuser, as for repmgr');
  if (replication !== undefined && replication === user)
    draft.put(`${LOGIN}.replication.username`, replication, part('user', replication));
  const password = values.get('password');
  if (password !== undefined) {
    for (const login of ['superuser', 'replication'])
      draft.put(`${LOGIN}.${login}.password`, password, part('password', '***'));
    draft.decide(part('password', '***'), 'was taken, and stands in clear there too: a password_file is better');
  }
  for (const name of [
    'sslmode',
    'sslcert',
    'sslkey',
    'sslpassword',
    'sslrootcert',
    'sslcrl',
    'sslcrldir',
    'gssencmode',
    'channel_binding',
    'sslnegotiation',
  ]) {
    const value = values.get(name);
    if (value === undefined) continue;
    for (const login of ['superuser', 'replication']) draft.put(`${LOGIN}.${login}.${name}`, value, part(name, value));
  }
  const database = values.get('dbname');
  if (database !== undefined)
    draft.take(
      part('dbname', database),
      'postgresql.database',
      database,
      'pg_hba.conf lets this user into it; change this before you drop it',
    );
  const limit = parseInteger(values.get('connect_timeout') ?? '0') ?? 0;
  if (limit > 0) {
    // More than this would use up what a proof of leadership is good for with the default TTL.
    const checked = Math.min(Math.max(limit, 2), 5);
    const why = checked === limit ? 'the limit of one check' : `the limit of one check; ${limit} s became ${checked} s`;
    draft.take(part('connect_timeout', String(limit)), 'bootstrap.dcs.connection_check_timeout', checked, why);
  }
  const OURS = ['host', 'hostaddr', 'port', 'user', 'password', 'dbname', 'connect_timeout'];
  for (const [name, value] of values) {
    if (OURS.includes(name) || draft.has(`${LOGIN}.superuser.${name}`)) continue;
    if (name === 'passfile' || name === 'service')
      draft.decide(
        part(name, value),
        'pgha reads no such file: write the password into a password_file of `postgresql.authentication`',
      );
    else draft.notNeeded(part(name, value), 'pgha makes its own connection strings');
  }
}

const dataDirectory: Rule = ({ draft, settings }, setting, origin) => {
  takeDataDirectory(draft, origin, setting.value, (settings.get('config_directory')?.value ?? '') !== '');
};

const bindir: Rule = (work, setting, origin) => {
  text('postgresql.bin_dir')(work, setting, origin);
  const directory = work.settings.get('data_directory')?.value ?? '';
  const [here, there] = [versionOfPath(setting.value), versionOfPath(directory)];
  if (here !== null && there !== null && here !== there)
    work.draft.decide(origin, `these are programs of PostgreSQL ${here}, and ${directory} looks like data of ${there}`);
  else if (/\/pgsql-/.test(setting.value) && directory.startsWith('/var/lib/postgresql/'))
    work.draft.decide(
      origin,
      `is a path of Red Hat's packages, and ${directory} one of Debian's: which of them is this machine?`,
    );
};

const failover: Rule = (work, setting, origin) => {
  // Of one node `manual` holds for that node; what all have in common is the cluster's.
  if (setting.value.toLowerCase() === 'manual')
    work.draft.take(
      origin,
      'failover',
      'manual',
      'this node takes over only when an operator says so; where all nodes are manual, `pgha-ctl edit-config -s failover=manual` is clearer',
    );
  else word('bootstrap.dcs.failover', ['automatic', 'manual'])(work, setting, origin);
};

const calls = (command: string, what: string): boolean =>
  new RegExp(`\\brepmgr\\b.*\\bstandby\\s+${what}\\b`).test(command);

const promote: Rule = ({ draft }, { value }, origin) => {
  if (calls(value, 'promote'))
    draft.notNeeded(origin, 'the node that holds the leader key promotes by itself; pgha never runs repmgr');
  else
    draft.decide(
      origin,
      "a command of your own. What has to be done beside the promotion belongs into postgresql.callbacks.on_role_change or event_notification_command; as promote_command it would take the place of pgha's own promotion",
    );
};

const follow: Rule = ({ draft }, { value }, origin) => {
  if (!calls(value, 'follow'))
    draft.decide(
      origin,
      'a command of your own: following needs none. What else it does belongs into postgresql.callbacks.on_role_change',
    );
  else if (value.includes('%n'))
    draft.notNeeded(origin, 'standbys follow by themselves: whom, stands in the leader key');
  else
    draft.notNeeded(
      origin,
      'standbys follow by themselves: whom, stands in the leader key. (This command lacks --upstream-node-id=%n: with repmgr a standby could go back to the old primary when that one returned.)',
    );
};

const attempts: Rule = (work, setting, origin) => {
  const number = wholeOf(work, setting, 0);
  if (number === 0)
    work.draft.take(origin, 'bootstrap.dcs.reconnect_attempts', 1, '0 became 1: one failed check is the least');
  else if (number !== null)
    work.draft.take(origin, 'bootstrap.dcs.reconnect_attempts', Math.min(number, 1000), timesOf(work.settings));
};

const interval: Rule = (work, setting, origin) => {
  const number = wholeOf(work, setting, 0);
  if (number === 0)
    work.draft.take(origin, 'bootstrap.dcs.reconnect_interval', 0.1, '0 became 100 ms: the least there is');
  else if (number !== null) work.draft.take(origin, 'bootstrap.dcs.reconnect_interval', number);
};

const events: Rule = ({ draft }, setting, origin) => {
  const names = splitList(setting.value);
  const known = names.filter(isClusterEvent);
  if (known.length > 0) draft.take(origin, 'event_notifications', known);
  for (const name of names.filter((one) => !isClusterEvent(one))) {
    const instead = Object.hasOwn(EVENTS_OF_REPMGR_ONLY, name) ? EVENTS_OF_REPMGR_ONLY[name] : undefined;
    const one = { ...origin, shown: shownValue(name) };
    if (instead === undefined) draft.decide(one, 'there is no such event; see docs/events.md. It was left out');
    else draft.notNeeded(one, `never told here: ${instead}`);
  }
};

const delayed: Rule = ({ draft }, setting, origin) => {
  draft.take(origin, 'postgresql.recovery_conf.recovery_min_apply_delay', setting.value);
  draft.put('role', 'standby', origin);
  draft.decide(
    origin,
    'a delayed standby would make a late primary: `role: standby` keeps it from leading. Remove that line if it may',
  );
};

const tablespaces: Rule = ({ draft }, setting, origin) => {
  const given = draft.get('postgresql.basebackup');
  const before = Array.isArray(given) ? (given as readonly unknown[]) : [];
  draft.take(origin, 'postgresql.basebackup', [...before, { 'tablespace-mapping': setting.value }]);
};

/** Short options of pg_basebackup that people write, by their long names; null: pgha decides this. */
const SHORT: Readonly<Record<string, string | null>> = {
  '-c': 'checkpoint',
  '-r': 'max-rate',
  '-l': 'label',
  '-T': 'tablespace-mapping',
  '-X': null,
  '-D': null,
  '-P': null,
  '-v': null,
  '-w': null,
  '-R': null,
  '-S': null,
};

const TAKE_VALUE = ['checkpoint', 'max-rate', 'label', 'tablespace-mapping', 'waldir', 'manifest-checksums'];
const KEPT = [...TAKE_VALUE, 'no-verify-checksums', 'no-estimate-size', 'no-manifest', 'manifest-force-encode'];
const GIVEN_ANYWAY = ['wal-method', 'progress', 'verbose', 'pgdata', 'no-password', 'write-recovery-conf', 'slot'];

const basebackup: Rule = ({ draft }, setting, origin) => {
  const given = draft.get('postgresql.basebackup');
  const kept: unknown[] = Array.isArray(given) ? [...(given as readonly unknown[])] : [];
  const left: string[] = [];
  const words = setting.value.split(/\s+/).filter((one) => one !== '');
  for (let at = 0; at < words.length; at += 1) {
    const option = words[at] ?? '';
    const long = /^--([a-z-]+)(?:=(.*))?$/.exec(option);
    const short = /^(-[a-zA-Z])=?(.*)$/.exec(option);
    const name = long?.[1] ?? SHORT[short?.[1] ?? ''];
    const takesValue = TAKE_VALUE.includes(name ?? '') || ['-X', '-D', '-S'].includes(short?.[1] ?? '');
    const inside = long === null ? (short?.[2] ?? '') : (long[2] ?? '');
    const value = takesValue && inside === '' ? (words[++at] ?? '') : inside;
    if (name === undefined || (name !== null && !KEPT.includes(name) && !GIVEN_ANYWAY.includes(name)))
      left.push(option);
    else if (name !== null && KEPT.includes(name)) kept.push(value === '' ? name : { [name]: value });
  }
  if (kept.length > 0) draft.take(origin, 'postgresql.basebackup', kept);
  else draft.notNeeded(origin, 'pgha gives these by itself');
  if (left.length > 0)
    draft.decide(
      { ...origin, shown: shownValue(left.join(' ')) },
      'not understood, and left out: write them as `- name: value` below postgresql.basebackup',
    );
};

const logLevel: Rule = (work, setting, origin) => {
  const level = setting.value.toLowerCase();
  const LEVELS: Readonly<Record<string, string>> = {
    debug: 'debug',
    info: 'info',
    notice: 'info',
    warning: 'warn',
    warn: 'warn',
    error: 'error',
    alert: 'error',
    crit: 'error',
    critical: 'error',
    emerg: 'error',
  };
  const ours = Object.hasOwn(LEVELS, level) ? LEVELS[level] : undefined;
  if (ours === undefined)
    work.mistakes.push(
      mistake(setting, `one of ${Object.keys(LEVELS).join(', ')} is expected, not ${quoted(setting.value)}`),
    );
  else
    work.draft.take(origin, 'log.level', ours, ours === level ? '' : `pgha's levels are debug, info, warn and error`);
};

const location: Rule = ({ draft }, setting, origin) => {
  draft.take(origin, 'location', setting.value);
  if (setting.value !== 'default')
    draft.decide(
      origin,
      "repmgr does not fail over to another location while nobody in the primary's is seen. With etcd no split can come of it; who wants it all the same sets `location_policy: strict` (or prefer) with pgha-ctl edit-config",
    );
};

const SERVICE =
  'pgha starts and stops Postgres itself, which is faster and safer. Where a unit has to carry Postgres, write this into pgha.yml under the same name, and give that unit Restart=no and no start at boot: docs/operations.md, "Commands of your own"';
const PASSWORD_FILE =
  'pgha writes its own password file. Put the password of the replication user into a file, and name that in postgresql.authentication.replication.password_file';
const COPY_METHOD = 'write the restore as a method of postgresql.create_replica_methods: docs/operations.md';
const ARCHIVE =
  'pgha counts no files that wait for the archive; it tells of an archiver that fails (node_sick). Go on watching pg_stat_archiver';
const THRESHOLD = (option: string): string => `give it where it is asked for: pgha-ctl check ${option}`;

/** In the words that pgha-ctl and the daemon have for the same names. */
const becauseOf = (name: string): string => localSchema.unused?.[name] ?? 'not needed';

const NEVER_NEEDED = [
  'replication_type',
  'witness_sync_interval',
  'log_facility',
  'repmgr_bindir',
  'ssh_options',
  'rsync_options',
  'pg_ctl_options',
  'service_promote_command',
  'repmgrd_service_start_command',
  'repmgrd_service_stop_command',
  'repmgrd_pid_file',
  'promote_check_timeout',
  'promote_check_interval',
  'primary_follow_timeout',
  'standby_follow_timeout',
  'standby_follow_restart',
  'shutdown_check_timeout',
  'standby_reconnect_timeout',
  'wal_receive_check_timeout',
  'node_rejoin_timeout',
  'degraded_monitoring_timeout',
  'async_query_timeout',
  'repmgrd_standby_startup_timeout',
  'repmgrd_exit_on_inactive_node',
  'always_promote',
  'promote_delay',
  'failover_delay',
  'reconnect_loop_sync',
  'connection_check_query',
] as const;

const dcs = (name: string): string => `bootstrap.dcs.${name}`;

const RULES: Readonly<Record<string, Rule | undefined>> = {
  ...Object.fromEntries(NEVER_NEEDED.map((name) => [name, unneeded(becauseOf(name))])),
  node_id: whole('node_id', 1),
  node_name: text('name'),
  conninfo,
  data_directory: dataDirectory,
  config_directory: text('postgresql.config_dir'),
  replication_user: text('postgresql.authentication.replication.username'),
  location,
  priority: whole('priority', 0),
  use_replication_slots: boolean(dcs('postgresql.use_slots')),
  log_level: logLevel,
  log_file: text('log.file'),
  log_status_interval: whole(dcs('log_status_interval'), 0),
  event_notification_command: text('event_notification_command'),
  event_notifications: events,
  pg_bindir: bindir,
  use_primary_conninfo_password: toDecide(PASSWORD_FILE),
  passfile: toDecide(PASSWORD_FILE),
  pg_basebackup_options: basebackup,
  service_start_command: toDecide(SERVICE),
  service_stop_command: toDecide(SERVICE),
  service_restart_command: toDecide(SERVICE),
  service_reload_command: toDecide(SERVICE),
  tablespace_mapping: tablespaces,
  restore_command: text('postgresql.recovery_conf.restore_command'),
  archive_cleanup_command: text('postgresql.recovery_conf.archive_cleanup_command'),
  recovery_min_apply_delay: delayed,
  barman_host: toDecide(COPY_METHOD),
  barman_server: toDecide(COPY_METHOD),
  barman_config: toDecide(COPY_METHOD),
  pg_backupapi_host: toDecide(COPY_METHOD),
  pg_backupapi_node_name: toDecide(COPY_METHOD),
  pg_backupapi_backup_id: toDecide(COPY_METHOD),
  pg_backupapi_remote_ssh_command: toDecide(COPY_METHOD),
  failover,
  promote_command: promote,
  follow_command: follow,
  monitor_interval_secs: whole(dcs('loop_wait'), 1),
  connection_check_type: word(dcs('connection_check_type'), ['ping', 'connection', 'query']),
  reconnect_attempts: attempts,
  reconnect_interval: interval,
  primary_notification_timeout: whole(dcs('primary_notification_timeout'), 0),
  monitoring_history: boolean(dcs('monitoring_history')),
  standby_disconnect_on_failover: boolean(dcs('standby_disconnect_on_failover')),
  sibling_nodes_disconnect_timeout: whole(dcs('sibling_nodes_disconnect_timeout'), 0),
  primary_visibility_consensus: boolean(dcs('primary_visibility_consensus')),
  failover_validation_command: text('failover_validation_command'),
  election_rerun_interval: whole(dcs('election_rerun_interval'), 1),
  child_nodes_check_interval: whole(dcs('child_nodes_check_interval'), 1),
  child_nodes_connected_min_count: whole(dcs('child_nodes_connected_min_count'), -1),
  child_nodes_disconnect_min_count: whole(dcs('child_nodes_disconnect_min_count'), -1),
  child_nodes_disconnect_timeout: whole(dcs('child_nodes_disconnect_timeout'), 0),
  child_nodes_disconnect_command: text('child_nodes_disconnect_command'),
  child_nodes_connected_include_witness: boolean(dcs('child_nodes_connected_include_witness')),
  archive_ready_warning: toDecide(ARCHIVE),
  archive_ready_critical: toDecide(ARCHIVE),
  replication_lag_warning: toDecide(THRESHOLD('replication --warning SIZE')),
  replication_lag_critical: toDecide(THRESHOLD('replication --critical SIZE')),
  cluster: toDecide('the name of the cluster in repmgr 3: give it with --scope, if it is to stay'),
  upstream_node: toDecide('the node_id of another node in repmgr 3: write the *name* of that node as upstream_node'),
};

/** For the test that no parameter of repmgr's was forgotten. */
export const REPMGR_PARAMETERS: readonly string[] = Object.keys(RULES);

// ---- the whole -------------------------------------------------------------------------------------------------------------

function checkRequired({ mistakes, settings }: Work, all: readonly Setting[]): void {
  const included = all.find(({ name }) => /^include/i.test(name));
  const missing = ['node_id', 'node_name', 'conninfo', 'data_directory'].filter(
    (name) => (settings.get(name) ?? (name === 'node_id' ? settings.get('node') : undefined)) === undefined,
  );
  if (missing.length === 0) return;
  const where =
    included === undefined ? '' : `; line ${included.line} includes another file, which is not read: put both into one`;
  const end = all.at(-1)?.lastLine ?? 1;
  mistakes.push({
    line: end,
    column: 1,
    message: `missing: ${missing.join(', ')}, which repmgr needs as well${where}`,
  });
}

const RETRY_TIMEOUT = 3;
const TTL = 10;

/** Of a cycle longer than the default TTL has room for. */
function addTimes({ draft, settings }: Work): void {
  for (const name of ['reconnect_attempts', 'reconnect_interval'] as const) {
    if (!settings.has(name))
      draft.todo(
        name,
        `is not set: repmgr takes ${name === 'reconnect_attempts' ? '6, pgha 2' : '10 s, pgha 1 s'}, whatever the page says from which the file was copied. ${timesOf(settings)}`,
      );
  }
  const loop = Number(draft.get('bootstrap.dcs.loop_wait') ?? 2);
  const least = loop + 2 * RETRY_TIMEOUT;
  if (least > TTL)
    draft.add(
      'bootstrap.dcs.ttl',
      least,
      `loop_wait ${loop} + 2 × retry_timeout ${RETRY_TIMEOUT} has to fit into it; the default is ${TTL}. A smaller monitor_interval_secs makes failovers faster`,
    );
}

/** What a primary that is gone cost with repmgr, with its own defaults where the file says nothing, and what it costs here. */
function timesOf(settings: ReadonlyMap<string, Setting>): string {
  const given = (name: string, byDefault: number): number => parseInteger(settings.get(name)?.value ?? '') ?? byDefault;
  const [tries, pause] = [given('reconnect_attempts', 6), given('reconnect_interval', 10)];
  const theirs = given('monitor_interval_secs', 2) + Math.max(0, tries - 1) * pause;
  return `With repmgr a primary that refuses connections was given up after ${printSeconds(theirs)}; here one that died is at once, and one that is silent as \`pgha-ctl explain --budget --config FILE\` says`;
}
