/**
 * pgpool.conf -> pgha.yml of one of its backends. What pgpool does as a pooler and balancer stays pgpool's: it may stand in
 * front of pgha, and rows say what has to be changed in its own file then.
 */
import { didYouMean } from '../nearest.ts';
import { parseInteger } from '../units.ts';
import { Draft, type Origin } from './draft.ts';
import { originOf } from './repmgr.ts';
import { type Mistake, quoted, type Setting } from './settings-text.ts';
import {
  type Answers,
  addApiPassword,
  addEtcd,
  addScope,
  takeAddress,
  takeDataDirectory,
  tellOfRivals,
} from './surroundings.ts';
import { hostTrap } from './traps.ts';

interface Backend {
  readonly number: number;
  readonly settings: ReadonlyMap<string, Setting>;
}

const OF_BACKEND = /^backend_(hostname|port|weight|data_directory|flag|application_name)(\d{1,4})$/;

export function importPgpool(
  settings: readonly Setting[],
  answers: Answers,
): { draft: Draft; mistakes: readonly Mistake[] } {
  const draft = new Draft();
  const mistakes: Mistake[] = [];
  const backends = backendsOf(settings, draft);
  addScope(draft, answers);
  const chosen = choose(backends, answers, mistakes);
  if (chosen !== null) {
    const forbidden = backends.length > 1 && backends.every(({ settings }) => mayNotFail(settings.get('flag')));
    takeBackend(draft, mistakes, chosen, forbidden);
    tellOfOthers(draft, backends, chosen);
  }
  const last = new Map(settings.map((setting) => [setting.name, setting]));
  for (const setting of settings) {
    if (OF_BACKEND.test(setting.name)) continue;
    const other = last.get(setting.name);
    const origin = hidden(setting);
    if (other !== undefined && other !== setting)
      draft.decide(origin, `stands there again in line ${other.line}, and the last one counts: remove one of them`);
    else apply(draft, setting, origin);
  }
  addEtcd(draft, answers);
  addApiPassword(draft);
  draft.add(
    'adopt_from',
    'streaming',
    'a cluster that runs goes on undisturbed: the daemon only watches until `pgha-ctl adopt take-over`. Take the line out for a new cluster, or one that is stopped',
  );
  tellOfRivals(draft, null);
  draft.todo(
    'pgpool.conf',
    "before `pgha-ctl adopt take-over`: failover_command = '' and backend_flag DISALLOW_TO_FAILOVER for every backend, so that nobody else promotes. If pgpool stays in front, as a pooler and balancer: config/pgpool.conf, with HAProxy between them. Backends that are the nodes themselves do not do: pgpool looks for the primary when it starts and after a failover of its own, and after one of pgha's it goes on writing to the old one",
  );
  return { draft, mistakes };
}

/** Passwords are nobody's business. */
function hidden(setting: Setting): Origin {
  const origin = originOf(setting);
  return /password/.test(setting.name) && setting.value !== '' ? { ...origin, shown: '***' } : origin;
}

/**
 * A manual that is copied has the second server under the number of the first one: pgpool takes the last of them and
 * knows one server. What was meant is two.
 */
function backendsOf(settings: readonly Setting[], draft: Draft): readonly Backend[] {
  const backends: { number: number; settings: Map<string, Setting> }[] = [];
  const current = new Map<number, { number: number; settings: Map<string, Setting> }>();
  const free = (): number =>
    Math.max(
      -1,
      ...settings.map(({ name }) => Number(OF_BACKEND.exec(name)?.[2] ?? -1)),
      ...backends.map(({ number }) => number),
    ) + 1;
  for (const setting of settings) {
    const [, key, digits] = OF_BACKEND.exec(setting.name) ?? [];
    if (key === undefined || digits === undefined) continue;
    const number = Number(digits);
    const known = current.get(number);
    const before = known?.settings.get(key);
    const another = key === 'hostname' && before !== undefined && before.value !== setting.value;
    if (known !== undefined && !another) {
      if (before !== undefined)
        draft.decide(hidden(setting), `stands in line ${before.line} too, and the last one counts: remove one of them`);
      known.settings.set(key, setting);
      continue;
    }
    const made = { number: another ? free() : number, settings: new Map([[key, setting]]) };
    if (another)
      draft.decide(
        hidden(setting),
        `backend ${number} has a host in line ${before.line} already: pgpool takes this last one and knows one server of the two. Read here as backend ${made.number}; write ${made.number} behind the names`,
      );
    current.set(number, made);
    backends.push(made);
  }
  return backends;
}

function choose(backends: readonly Backend[], answers: Answers, mistakes: Mistake[]): Backend | null {
  const wanted = answers.node;
  const found = wanted === null ? backends[0] : backends.find(({ number }) => number === wanted);
  if (found !== undefined) return found;
  const known = backends.map(({ number }) => number).join(', ');
  mistakes.push({
    line: 1,
    column: 1,
    message:
      backends.length === 0
        ? 'the file names no server: backend_hostname0 is missing'
        : `there is no backend ${wanted ?? 0} in it; there are ${known}`,
  });
  return null;
}

const mayNotFail = (flag: Setting | undefined): boolean => /\bDISALLOW_TO_FAILOVER\b/i.test(flag?.value ?? '');

/** @param forbidden - of no backend pgpool may believe that it failed: somebody else decides, which says nothing of this one */
function takeBackend(draft: Draft, mistakes: Mistake[], { number, settings }: Backend, forbidden: boolean): void {
  const host = settings.get('hostname');
  const port = settings.get('port');
  const directory = settings.get('data_directory');
  const wrong = (setting: Setting, message: string): void => {
    mistakes.push({ line: setting.line, column: setting.valueColumn, message: `${setting.name}: ${message}` });
  };
  const first = [...settings.values()][0];
  if (host === undefined || host.value === '' || host.value.startsWith('/')) {
    const at = host ?? first;
    mistakes.push({
      line: at?.line ?? 1,
      column: at?.column ?? 1,
      message: `backend ${number} has no backend_hostname${number} by which other machines reach it`,
    });
  } else {
    const given = parseInteger(port?.value ?? '5432') ?? 0;
    if (port !== undefined && (given < 1 || given > 65_535)) wrong(port, `${quoted(port.value)} is no port`);
    else {
      takeAddress(draft, originOf(host), host.value, given);
      if (port !== undefined) draft.keepsDefault(originOf(port), 'postgresql.connect_address', '');
    }
    takeName(draft, settings.get('application_name'), host, number);
  }
  draft.add('node_id', number + 1, `the backend's number and one: node_id begins at 1`);
  if (directory === undefined)
    mistakes.push({
      line: first?.line ?? 1,
      column: 1,
      message: `backend ${number} has no backend_data_directory${number}`,
    });
  else if (!directory.value.startsWith('/'))
    wrong(directory, `an absolute path is expected, not ${quoted(directory.value)}`);
  else takeDataDirectory(draft, originOf(directory), directory.value, false);
  takeWeight(draft, settings.get('weight'), wrong);
  takeFlag(draft, settings.get('flag'), forbidden);
  draft.todo(
    'postgresql.authentication',
    'pgpool.conf names no user of replication: `replicator` is taken, without a password, and `postgres` as superuser. Make that role, or write yours, with password_file',
  );
}

function takeName(draft: Draft, given: Setting | undefined, host: Setting, number: number): void {
  if (given !== undefined && given.value !== '') {
    draft.take(originOf(given), 'name', given.value);
    return;
  }
  const isAddress = /^[\d.]+$/.test(host.value) || host.value.includes(':');
  // A role in a name is wrong after the first failover.
  const isRole = /master|slave|primary|standby|replica/i.test(host.value);
  const name = isAddress || isRole ? `node${number + 1}` : host.value.split('.')[0];
  draft.add('name', name, 'the name of this node; it should say nothing of a role, because roles change');
}

function takeWeight(
  draft: Draft,
  weight: Setting | undefined,
  wrong: (setting: Setting, message: string) => void,
): void {
  if (weight === undefined) return;
  const number = Number(weight.value);
  if (weight.value === '' || !Number.isFinite(number) || number < 0)
    wrong(weight, `a number is expected, not ${quoted(weight.value)}`);
  else if (number === 0)
    draft.take(originOf(weight), 'tags.noloadbalance', true, 'no reading here: /replica answers 503');
  else draft.take(originOf(weight), 'tags.weight', number, 'published with the member, for whoever balances');
}

function takeFlag(draft: Draft, flag: Setting | undefined, forbidden: boolean): void {
  if (flag === undefined) return;
  const origin = originOf(flag);
  for (const word of flag.value.split('|').map((one) => one.trim().toUpperCase())) {
    if (word === 'DISALLOW_TO_FAILOVER' && forbidden)
      draft.keepsDefault(
        origin,
        'tags.nofailover',
        'it stands with every backend: another program decided. Every node may lead',
      );
    else if (word === 'DISALLOW_TO_FAILOVER') draft.take(origin, 'tags.nofailover', true, 'this node never leads');
    else if (word === 'ALLOW_TO_FAILOVER' || word === '')
      draft.keepsDefault(origin, 'tags.nofailover', 'every node may lead, as far as nothing else is said');
    else if (word === 'ALWAYS_PRIMARY')
      draft.decide(
        origin,
        'no node is always the primary: who leads stands in the leader key. A higher `priority` makes a node preferred among equals',
      );
    else
      draft.decide(
        origin,
        `pgpool knows no flag ${quoted(word)}${didYouMean(word, ['DISALLOW_TO_FAILOVER', 'ALLOW_TO_FAILOVER', 'ALWAYS_PRIMARY'])}`,
      );
  }
}

function tellOfOthers(draft: Draft, backends: readonly Backend[], chosen: Backend): void {
  for (const { number, settings } of backends) {
    if (number === chosen.number) continue;
    const host = settings.get('hostname') ?? [...settings.values()][0];
    if (host === undefined) continue;
    const trap = settings.has('hostname') ? hostTrap(host.value) : null;
    draft.notNeeded(
      hidden(host),
      `another node: on that machine, import with --node ${number}${trap === null ? '' : ` (${host.value} ${trap})`}`,
    );
  }
}

function apply(draft: Draft, setting: Setting, origin: Origin): void {
  if (setting.value === '') {
    draft.notNeeded(origin, 'empty: not set');
    return;
  }
  const group = GROUPS.find(({ names }) => names.test(setting.name));
  if (group !== undefined) {
    group.say(draft, setting, origin);
    return;
  }
  const known = KNOWN.split(/\s+/);
  draft.decide(
    origin,
    known.includes(setting.name)
      ? "a setting of pgpool's own: pgha has nothing like it"
      : `pgpool knows no such parameter${didYouMean(setting.name, known) || '.'} It was left out`,
  );
}

interface Group {
  readonly names: RegExp;
  readonly say: (draft: Draft, setting: Setting, origin: Origin) => void;
}

const because =
  (why: string): Group['say'] =>
  (draft, _setting, origin) =>
    draft.notNeeded(origin, why);

const failoverCommand: Group['say'] = (draft, { value }, origin) => {
  const order = /%M\s+\S*trigger/.test(value)
    ? ' Before the trigger file stands %M, the number of the old primary: a script that takes its third argument for the file touches a file of that name, and never promoted anything.'
    : '';
  draft.decide(
    origin,
    `not taken: pgha has promoted by itself when it runs a failover_command, on the new primary, as a notification with the same placeholders (%d and %m are node_id: the backend's number and one).${order} What the script does beside the promotion can be written into pgha.yml under this name; ssh and trigger files are not needed`,
  );
};

const GROUPS: readonly Group[] = [
  { names: /^(failover_command)$/, say: failoverCommand },
  {
    names: /^(failback_command|follow_master_command|follow_primary_command)$/,
    say: because('standbys follow a new primary by themselves, and an old primary comes back by itself'),
  },
  {
    names: /^(recovery_|client_idle_limit_in_recovery)/,
    say: because('copies are made by pgha, over a replication connection: no script, no ssh'),
  },
  {
    names: /^fail_?over_on_backend_error$|^failover_on_backend_shutdown$/,
    say: (draft, { name }, origin) =>
      draft.notNeeded(
        origin,
        `one broken connection of a client is no reason to fail over: pgha looks at its own Postgres, several times.${name.startsWith('fail_over') ? ' (Written failover_on_backend_error since pgpool 4.)' : ''}`,
      ),
  },
  {
    names:
      /^(failover_|auto_failback|search_primary_node_timeout|detach_false_primary|failover_require_consensus|follow_)/,
    say: because('who leads is decided by the leader key in etcd, not by a pooler'),
  },
  {
    names: /^health_check_password|^sr_check_password|^wd_lifecheck_password/,
    say: because('pgha needs no login for its checks but its own. This password stood in clear: change it'),
  },
  {
    names: /^health_check_(max_retries|retry_delay)/,
    say: (draft, { value }, origin) =>
      draft.decide(
        origin,
        `pgha tries again by itself (reconnect_attempts 2, reconnect_interval 1 s); here it was ${value}: pgha-ctl edit-config, if it is to stay`,
      ),
  },
  {
    names: /^(health_check_|connect_timeout)/,
    say: because(
      'each node looks at its own Postgres every loop_wait (2 s), with a limit of connection_check_timeout (1 s). A postmaster that dies is seen at once; pgpool took up to health_check_period + health_check_timeout',
    ),
  },
  {
    names: /^(sr_check_|delay_threshold|prefer_lower_delay_standby|log_standby_delay)/,
    say: because('members publish their positions: pgha-ctl list, and /replica?lag=10MB for whoever balances'),
  },
  {
    names: /^log_destination$|^syslog_/,
    say: because(
      'pgha writes to standard output: journald keeps it, and hands it to syslog; for events alone see event_syslog',
    ),
  },
  {
    names: /^(log_|client_min_messages|logging_collector|logdir|debug_level|print_)/,
    say: because("pgpool's own log. pgha's: `log.level`, `log.format`"),
  },
  {
    names: /^pcp_|^(pool_passwd|authentication_timeout|allow_clear_text_frontend_auth)$/,
    say: because('in place of pcp there is pgha-ctl, with `restapi.authentication`'),
  },
  {
    names:
      /^(use_watchdog|trusted_servers|trusted_server_command|ping_path|delegate_ip|delegate_IP|if_.*|arping_.*|wd_.*|hostname\d+|heartbeat_.*|other_.*|clear_memqcache_on_escalation|enable_consensus_with_half_votes)$/,
    say: (draft, { name, value }, origin) =>
      /^delegate/.test(name)
        ? draft.decide(
            origin,
            `an address that moves: \`vip\` (docs/vip.md) with its prefix and an interface, or let HAProxy or keepalived ask pgha's health check, config/ has files for both (${value})`,
          )
        : draft.notNeeded(origin, 'no watchdog between poolers is needed to agree: etcd is asked'),
  },
  {
    names:
      /^(listen_addresses|port|unix_socket_directories|pcp_socket_dir|socket_dir|listen_backlog_multiplier|serialize_accept|reserved_connections|pid_file_name|backend_clustering_mode|enable_pool_hba|pool_hba.*|ssl.*|tls.*|num_init_children|max_pool|child_.*|connection_life_time|client_idle_limit|process_management_.*|max_spare_children|min_spare_children|connection_cache|reset_query_list|load_balance_mode|ignore_leading_white_space|.*_function_list|.*_query_pattern_list|.*_preference_list|.*_object_relationship_list|primary_routing_.*|disable_load_balance_on_write|statement_level_load_balance|allow_sql_comments|replication_mode|replicate_.*|insert_lock|lobj_lock_table|replication_stop_on_mismatch|failover_if_.*|master_slave_mode|master_slave_sub_mode|native_replication_mode|relcache_.*|check_temp_table|check_unlogged_table|enable_shared_relcache|memory_cache_enabled|memqcache_.*|cache_.*|work_dir|unix_socket_.*|max_.*)$/,
    say: because("pgpool's own work as a pooler and balancer: it stays in pgpool.conf as long as pgpool stays"),
  },
];

/** For "did you mean": names that a manual may have misspelt. */
const KNOWN =
  'listen_addresses port pcp_listen_addresses pcp_port backend_hostname0 backend_port0 backend_weight0 backend_data_directory0 backend_flag0 backend_application_name0 ' +
  'enable_pool_hba pool_passwd authentication_timeout num_init_children max_pool child_life_time child_max_connections connection_life_time client_idle_limit ' +
  'log_destination log_connections log_hostname log_statement pid_file_name logdir connection_cache reset_query_list replication_mode load_balance_mode ' +
  'master_slave_mode master_slave_sub_mode sr_check_period sr_check_user sr_check_password sr_check_database delay_threshold follow_primary_command ' +
  'health_check_period health_check_timeout health_check_user health_check_password health_check_database health_check_max_retries health_check_retry_delay ' +
  'connect_timeout failover_command failback_command failover_on_backend_error detach_false_primary search_primary_node_timeout recovery_user recovery_password ' +
  'recovery_1st_stage_command recovery_2nd_stage_command use_watchdog trusted_servers wd_hostname wd_port wd_priority delegate_ip relcache_expire';
