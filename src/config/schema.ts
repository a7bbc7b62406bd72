/**
 * The configuration of one node: the TypeScript type here, the JSON schema beside it. What `load.ts` hands out is
 * checked, complete (defaults filled in) and frozen; nothing else in pgha reads YAML or the environment.
 */
import type { CallbackName } from '../core/callbacks.ts';
import { LONGEST_TTL_SECONDS } from '../core/lease.ts';
import type { ClusterPolicy, NodePolicy } from '../core/policy.ts';
import { type Millis, millis } from '../core/time.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** How to log in to Postgres; `password` null means none is sent (peer, trust, certificates or a passfile). */
export interface Login {
  readonly username: string;
  readonly password: string | null;
  readonly sslmode: string | null;
  readonly sslcert: string | null;
  readonly sslkey: string | null;
  /** Password of the client key. */
  readonly sslpassword: string | null;
  readonly sslrootcert: string | null;
  readonly sslcrl: string | null;
  /** Parameters of libpq that only libpq understands, by their names: `gssencmode`, `channel_binding`, ... */
  readonly libpq: Readonly<Record<string, string>>;
}

export interface TlsFiles {
  readonly certfile: string;
  readonly keyfile: string | null;
  readonly keyfilePassword: string | null;
  readonly cafile: string | null;
}

export interface EtcdConfig {
  /** `http://10.0.0.1:2379`; empty where DNS says it. */
  readonly endpoints: readonly string[];
  /** The domain whose SRV records name the members; null: `endpoints` do. */
  readonly srv: { readonly domain: string; readonly suffix: string | null } | null;
  readonly username: string | null;
  readonly password: string | null;
  readonly cacert: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

export interface RestApiConfig {
  readonly listen: HostPort;
  readonly connectAddress: HostPort;
  /** Where HAProxy's agent-check is answered; absent: nowhere. */
  readonly agentCheck?: HostPort;
  readonly authentication: { readonly username: string; readonly password: string } | null;
  readonly tls:
    | (TlsFiles & {
        readonly verifyClient: 'none' | 'optional' | 'required';
        /** OpenSSL's list; absent: what Node offers. */
        readonly ciphers?: string;
      })
    | null;
  /** Reading asks for the login too; health checks then answer with their code alone. */
  readonly protectReads?: boolean;
  /** Addresses, networks and names from which something may be changed; empty: from everywhere. */
  readonly allowlist?: readonly string[];
  /** From the members' addresses as well. */
  readonly allowlistIncludeMembers?: boolean;
  /** Sent with every answer; the second only over TLS. */
  readonly extraHeaders?: Readonly<Record<string, string>>;
}

/** How pgha-ctl and other members reach a REST API: credentials and what to trust. */
export interface CtlConfig {
  readonly authentication: { readonly username: string; readonly password: string } | null;
  readonly insecure: boolean;
  readonly cacert: string | null;
  readonly certfile: string | null;
  readonly keyfile: string | null;
  readonly keyfilePassword?: string | null;
}

/** Of a witness only the logins and the database mean something. */
export interface PostgresConfig {
  /** listen_addresses as Postgres takes it (comma-separated), and the port. */
  readonly listen: { readonly addresses: string; readonly port: number };
  readonly connectAddress: HostPort;
  /** Of a pooler or balancer in front of it: published, and used by nobody here. */
  readonly proxyAddress: HostPort | null;
  readonly dataDir: string;
  readonly configDir: string | null;
  /** The operator's own file, included in the place of `postgresql.base.conf`; null: that one. */
  readonly customConf: string | null;
  /** Directory of postgres, pg_ctl, ...; null: the newest that Debian or PGDG put in its usual place, else PATH. */
  readonly binDir: string | null;
  readonly database: string;
  /** Directory of the unix socket; null: the runtime directory of pgha. */
  readonly unixSocketDirectory: string | null;
  readonly pgpass: string | null;
  readonly authentication: { readonly superuser: Login; readonly replication: Login; readonly rewind: Login };
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  /** restore_command and its kin, over those of the cluster. */
  readonly recoveryConf: Readonly<Record<string, string | number | boolean>>;
  readonly pgHba: readonly string[] | null;
  readonly pgIdent: readonly string[] | null;
  /** Extra options of pg_basebackup, `--name=value` or `--name`. */
  readonly basebackup: readonly string[];
  /** The same of pg_rewind. */
  readonly rewind: readonly string[];
  /** How a copy is made; the first that works. Never empty. */
  readonly copyMethods: readonly CopyMethod[];
  /** Files of the operator's own in the data directory, by relative names, that survive a copy and a rewind. */
  readonly keepFiles: readonly string[];
  /** WAL that a rewind or a copy throws away is kept within these bounds; 0: none is. */
  readonly discardedWal: {
    /** null: beside the data directory. */
    readonly directory: string | null;
    /** Bytes, of all that is kept. */
    readonly size: bigint;
    /** How many of them. */
    readonly number: number;
  };
}

/** One of create_replica_methods. */
export interface CopyMethod {
  readonly name: string;
  /** null: pg_basebackup. */
  readonly command: string | null;
  /** What an interrupted try has left is not removed before. */
  readonly keepData: boolean;
  /** The command gets no arguments but its own. */
  readonly noParams: boolean;
  /** Its other keys: `--name=value`. */
  readonly params: readonly (readonly [name: string, value: string])[];
  readonly timeout: Millis;
}

/** What is done where no other method is named. */
export const BASEBACKUP: CopyMethod = {
  name: 'basebackup',
  command: null,
  keepData: false,
  noParams: false,
  params: [],
  timeout: millis(86_400_000),
};

export interface BootstrapConfig {
  /** Becomes etcd's `config` key at bootstrap, as written. */
  readonly dcs: Readonly<Record<string, unknown>>;
  readonly initdb: readonly string[];
  /** The operator's own way to the first data directory; null: initdb. */
  readonly method: BootstrapMethod | null;
  readonly pgHba: readonly string[] | null;
  readonly postBootstrap: string | null;
}

/** A command that brings a data directory: one that is ready, or a backup that is recovered afterwards. */
export interface BootstrapMethod {
  readonly name: string;
  readonly command: string;
  /** The command gets no arguments but its own. */
  readonly noParams: boolean;
  /** Its other keys: `--name=value`. */
  readonly params: readonly (readonly [name: string, value: string])[];
  /** What the command has written down for the recovery counts. */
  readonly keepExistingRecoveryConf: boolean;
  /** Settings of the recovery: restore_command, a target; null: none is asked for. */
  readonly recoveryConf: Readonly<Record<string, string>> | null;
  /** Of the command, and again of the recovery. */
  readonly timeout: Millis;
}

export interface LogConfig {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly format: 'plain' | 'json';
  /** null: standard output. */
  readonly file: string | null;
}

/** The operator's commands that do something to Postgres. */
export const SERVICE_SETTINGS = [
  'service_start_command',
  'service_stop_command',
  'service_restart_command',
  'service_reload_command',
  'promote_command',
  'follow_command',
] as const;
export type ServiceSetting = (typeof SERVICE_SETTINGS)[number];

/** Commands of the operator's own; each is run by a shell, with a time limit, and never in the way of a failover. */
export interface CommandsConfig {
  readonly failoverValidation: string | null;
  readonly failoverValidationTimeout: Millis;
  readonly childNodesDisconnect: string | null;
  /** Used in the place of our own way with Postgres; null: our own way. */
  readonly service: Readonly<Record<ServiceSetting, string | null>>;
  /** Limit of each command of `service`, and of `childNodesDisconnect`. */
  readonly serviceTimeout: Millis;
  readonly eventNotification: string | null;
  /** Names of the events that are wanted; null: all of them. */
  readonly eventNotifications: readonly string[] | null;
  readonly eventNotificationTimeout: Millis;
  /** pgpool's: run on a new primary. */
  readonly failover: string | null;
  readonly failoverTimeout: Millis;
  /** Patroni's: told what became of Postgres here. Nobody waits for them. */
  readonly callbacks: Readonly<Record<CallbackName, string | null>>;
  /** Asked once the key is ours, before Postgres is promoted. */
  readonly prePromote: string | null;
  readonly prePromoteTimeout: Millis;
  /** Run before Postgres is stopped in order. */
  readonly beforeStop: string | null;
  readonly beforeStopTimeout: Millis;
}

/** Whom events are told beside event_notification_command. */
export interface NoticesConfig {
  readonly webhook: WebhookConfig | null;
  readonly syslog: SyslogConfig | null;
}

export interface WebhookConfig {
  /** http or https; often a secret itself. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The header of that name; a secret. */
  readonly authorization: string | null;
  /** Names of the events that are wanted; null: all of them. */
  readonly events: readonly string[] | null;
  /** Of one try. */
  readonly timeout: Millis;
  /** A JSON text with placeholders, in the place of our own. */
  readonly template: string | null;
  readonly cacert: string | null;
}

export interface SyslogConfig {
  readonly to:
    | { readonly kind: 'local' }
    | { readonly kind: 'socket'; readonly path: string }
    | { readonly kind: 'udp' | 'tcp'; readonly host: string; readonly port: number };
  readonly facility: SyslogFacility;
  readonly events: readonly string[] | null;
}

export const SYSLOG_FACILITIES = [
  'user',
  'daemon',
  'local0',
  'local1',
  'local2',
  'local3',
  'local4',
  'local5',
  'local6',
  'local7',
] as const;
export type SyslogFacility = (typeof SYSLOG_FACILITIES)[number];

export interface GuardConfig {
  readonly mode: 'on' | 'off';
}

/** The kernel's watchdog device, kept alive by the guard. */
export interface WatchdogConfig {
  readonly mode: 'off' | 'automatic' | 'required';
  readonly device: string;
  /** null: as little as there may be. */
  readonly safetyMargin: Millis | null;
  readonly driver: 'default' | 'testing';
}

/** The poolers in front, whose clients are held back before a planned stop. */
export interface PgbouncerConfig {
  /** `host:port` of their consoles. Never empty. */
  readonly poolers: readonly string[];
  readonly username: string;
  readonly password: string | null;
  /** What is paused by name; empty: everything. `options` stand behind the address in `databasesFile`. */
  readonly databases: readonly { readonly name: string; readonly options: string }[];
  readonly pauseTimeout: Millis;
  readonly maxPause: Millis;
  /** Where the pooler on this machine is told which node leads; null: it is not. */
  readonly databasesFile: string | null;
}

/** The address that follows the primary. */
export interface VipConfig {
  /** `ADDRESS/LENGTH`, as the kernel prints them. Never empty. */
  readonly addresses: readonly string[];
  readonly interface: string;
}

export interface Config {
  readonly scope: string;
  /** `/service` */
  readonly namespace: string;
  readonly node: NodePolicy;
  readonly tags: Readonly<Record<string, unknown>>;
  /** Defaults with this node's own values over them. What etcd's `config` key says stands between the two: see settings.ts. */
  readonly cluster: ClusterPolicy;
  /** Cluster-wide keys that this node's own file sets: they win over etcd's, and are shown. */
  readonly localOverrides: Readonly<Record<string, unknown>>;
  readonly etcd: EtcdConfig;
  readonly restapi: RestApiConfig;
  readonly ctl: CtlConfig;
  readonly postgresql: PostgresConfig;
  readonly bootstrap: BootstrapConfig;
  readonly log: LogConfig;
  readonly guard: GuardConfig;
  readonly watchdog: WatchdogConfig;
  readonly commands: CommandsConfig;
  readonly notices: NoticesConfig;
  /** null: there are none that pgha knows of. */
  readonly pgbouncer: PgbouncerConfig | null;
  /** null: pgha moves none. */
  readonly vip: VipConfig | null;
  /** On tmpfs: state file, guard's file, sockets. `/run/pgha/<scope>-<name>` when nothing is set. */
  readonly runtimeDirectory: string;
}

/*
 * The JSON schemas. Beside the standard words they carry what people and other code need to know of a setting
 * (unit, where it may stand, whose name it is): the checks, the environment variables, `--validate-config` and
 * docs/configuration.md are all made from them, so that a setting is described in one place.
 */

/** How a value may be written; load.ts turns every form into the one that `type` names. */
export type SettingKind =
  | 'text'
  | 'path'
  | 'choice'
  /** also on/off, yes/no, 1/0 */
  | 'boolean'
  | 'integer'
  /** a number of seconds, or text with a unit: `10s`, `500ms`, `30min` */
  | 'duration'
  /** a number of bytes, or text with a unit: `1MB` */
  | 'size'
  /** `host:port` */
  | 'address'
  /** several addresses with one port, as text or as a list: `10.0.0.1,127.0.0.1:5432` */
  | 'addresses'
  /** a list, or text with commas */
  | 'list'
  /** a list of lines, or text of several lines */
  | 'lines'
  /** long options of a program: `- name: value`, `- name`, or a map */
  | 'options'
  /** names and values that pgha does not look into */
  | 'map'
  /** names and values of PostgreSQL parameters */
  | 'parameters'
  /** replication slots by name; see slots.ts */
  | 'slots'
  /** a list of what is true of certain slots; see slots.ts */
  | 'slot matchers';

export interface Setting {
  readonly type: 'string' | 'boolean' | 'integer' | 'number' | 'array' | 'object';
  readonly kind: SettingKind;
  readonly description: string;
  readonly scope: 'local' | 'cluster';
  /** The program that users know the name from. */
  readonly from: 'Patroni' | 'repmgr' | 'pgha';
  readonly unit?: 's' | 'bytes';
  readonly default?: string | number | boolean;
  /** What is taken when nothing is set, where that is no constant. */
  readonly defaultText?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly enum?: readonly string[];
  /** Other words for the values of a choice. */
  readonly synonyms?: Readonly<Record<string, string>>;
  readonly pattern?: string;
  readonly patternText?: string;
  readonly minLength?: number;
  readonly format?: string;
  readonly items?: { readonly type: 'string' };
  readonly additionalProperties?: true | { readonly type: readonly string[] };
  /** Never printed; may come from a file named by `<key>_file`. */
  readonly secret?: true;
  /** A command in which these letters after a percent sign are filled in. */
  readonly placeholders?: string;
}

export interface Section {
  readonly type: 'object';
  readonly description: string;
  readonly properties: Readonly<Record<string, Setting | Section>>;
  /** true: other names pass, as published tags do. */
  readonly additionalProperties: boolean;
  readonly required?: readonly string[];
  /** Old names of settings, and what they are called now. */
  readonly renamed?: Readonly<Record<string, string>>;
  /** Names that Patroni or repmgr document and that have no effect here, with the reason: a warning. */
  readonly unused?: Readonly<Record<string, string>>;
  /** Sections of a name of the user's own pass where they are methods (they have a `command`): why they have no effect. */
  readonly methods?: string;
  /** They pass, and are read as they are written: who reads the section checks them. */
  readonly keepsMethods?: true;
  /** Names that cannot be accepted without doing something else than the user asked for, with the reason. */
  readonly refused?: Readonly<Record<string, string>>;
}

export const isSection = (node: Setting | Section): node is Section => 'properties' in node;

type Extra = Partial<Omit<Setting, 'kind' | 'description' | 'from'>>;

const TYPE_OF: Readonly<Record<SettingKind, Setting['type']>> = {
  text: 'string',
  path: 'string',
  choice: 'string',
  boolean: 'boolean',
  integer: 'integer',
  duration: 'number',
  size: 'number',
  address: 'string',
  addresses: 'string',
  list: 'array',
  lines: 'array',
  options: 'array',
  map: 'object',
  parameters: 'object',
  slots: 'object',
  'slot matchers': 'array',
};

/** Longer would overflow a timer of Node (2^31 ms), and means nothing to anybody. */
const LONGEST_SECONDS = 1_000_000;

function setting(from: Setting['from'], kind: SettingKind, description: string, extra: Extra = {}): Setting {
  const shape: Extra =
    kind === 'duration'
      ? { unit: 's', minimum: 0, maximum: LONGEST_SECONDS }
      : kind === 'size'
        ? { unit: 'bytes', minimum: 0, maximum: Number.MAX_SAFE_INTEGER }
        : kind === 'list' || kind === 'lines' || kind === 'options'
          ? { items: { type: 'string' } }
          : kind === 'map' || kind === 'slots'
            ? { additionalProperties: true }
            : kind === 'parameters'
              ? { additionalProperties: { type: ['string', 'number', 'boolean'] } }
              : kind === 'address' || kind === 'addresses'
                ? { format: kind }
                : kind === 'path'
                  ? { pattern: '^/', patternText: 'an absolute path' }
                  : {};
  return { type: TYPE_OF[kind], kind, description, scope: 'local', from, ...shape, ...extra };
}

function section(
  description: string,
  properties: Section['properties'],
  extra: Partial<Omit<Section, 'type' | 'description' | 'properties'>> = {},
): Section {
  return { type: 'object', description, properties, additionalProperties: false, ...extra };
}

const shared = (settings: Readonly<Record<string, Setting>>): Readonly<Record<string, Setting>> =>
  Object.fromEntries(Object.entries(settings).map(([name, is]) => [name, { ...is, scope: 'cluster' }]));

const CHOICE = '`failover` hands over to a standby that is well, if there is one; `stay` only tells.';

/** Cluster-wide settings at the top level of the document in etcd's `config` key. */
const CLUSTER_SETTINGS = shared({
  ttl: setting(
    'Patroni',
    'duration',
    'Time to live of the leader key. A leader that vanishes is replaced after this.',
    {
      type: 'integer',
      default: 10,
      minimum: 5,
      maximum: LONGEST_TTL_SECONDS,
    },
  ),
  loop_wait: setting('Patroni', 'duration', 'Length of one cycle.', { default: 2, minimum: 1 }),
  monitor_interval_secs: setting(
    'repmgr',
    'duration',
    'Another name of `loop_wait`; taken only where that is not set.',
    {
      defaultText: '`loop_wait`',
      minimum: 1,
    },
  ),
  retry_timeout: setting('Patroni', 'duration', 'How long a request to etcd may take with all its repetitions.', {
    default: 3,
    minimum: 1,
  }),
  maximum_lag_on_failover: setting('Patroni', 'size', 'A standby further behind than this does not take over.', {
    default: 1_048_576,
  }),
  maximum_lag_seconds_on_failover: setting(
    'pgha',
    'duration',
    'A standby whose data are older than this, counted back from the last position that the leader published, does not take over. 0: however old.',
    { default: 0 },
  ),
  failsafe_mode: setting(
    'Patroni',
    'boolean',
    'While etcd is away the primary goes on for as long as every other member answers it over HTTP and agrees to wait.',
    { default: false },
  ),
  synchronous_mode: setting(
    'Patroni',
    'choice',
    'Whether commits wait for standbys: `off`; `on`, for `synchronous_node_count` chosen ones; `quorum`, for so many of all that stream. No standby that may lack an acknowledged commit is promoted (docs/synchronous.md).',
    {
      default: 'off',
      enum: ['off', 'on', 'quorum'],
      synonyms: { true: 'on', yes: 'on', '1': 'on', false: 'off', no: 'off', '0': 'off' },
    },
  ),
  synchronous_mode_strict: setting(
    'Patroni',
    'boolean',
    'Without any synchronous standby commits wait, instead of being acknowledged by the primary alone.',
    { default: false },
  ),
  synchronous_node_count: setting('Patroni', 'integer', 'How many standbys a commit waits for, where so many stream.', {
    default: 1,
    minimum: 1,
    maximum: 100,
  }),
  maximum_lag_on_syncnode: setting(
    'Patroni',
    'size',
    'A standby further behind the best one is not chosen to be waited for. -1 and 0: no limit.',
    { default: -1, minimum: -1 },
  ),
  primary_start_timeout: setting(
    'Patroni',
    'duration',
    'How long a primary may take to start, crash recovery included, before another node takes over. 0 means the default.',
    { default: 300 },
  ),
  primary_stop_timeout: setting(
    'Patroni',
    'duration',
    'Limit of the orderly stop of a primary in a switchover; after it Postgres is ended. 0 means the default.',
    { default: 10 },
  ),
  primary_crash: setting(
    'pgha',
    'choice',
    "What happens when the primary's postmaster dies and its node lives: `auto` hands over to a standby that has everything (missing WAL is brought to it first) and else restarts; `restart` restarts, and goes on as `auto` after three starts that failed; `failover` hands over.",
    { default: 'auto', enum: ['auto', 'restart', 'failover'] },
  ),
  wal_rescue: setting(
    'pgha',
    'choice',
    "What happens when the end of a dead primary's WAL could not be brought to a standby within `wal_rescue_timeout`: `restart` starts Postgres where it was; `wait` goes on trying, without a primary, as long as a standby is there; `lose` hands over without it, up to `maximum_lag_on_failover`; `auto` is `lose` with `primary_crash: failover`, else `restart`.",
    { default: 'auto', enum: ['auto', 'restart', 'wait', 'lose'] },
  ),
  wal_rescue_timeout: setting(
    'pgha',
    'duration',
    "Limit for bringing the end of a dead primary's WAL to a standby, all tries together.",
    { default: 2 },
  ),
  connection_check_type: setting(
    'repmgr',
    'choice',
    "How Postgres is checked, the local one and the leader's from other nodes: `ping` (it answers), `connection` (a new login each time), `query` (a statement).",
    { default: 'ping', enum: ['ping', 'connection', 'query'] },
  ),
  connection_check_timeout: setting('pgha', 'duration', 'Time limit of one check.', { default: 1, minimum: 0.1 }),
  reconnect_attempts: setting('repmgr', 'integer', 'Failed checks in a row before a silent primary is given up.', {
    default: 2,
    minimum: 1,
    maximum: 1000,
  }),
  reconnect_interval: setting('repmgr', 'duration', 'Pause between those checks, less what the first of them took.', {
    default: 1,
    minimum: 0.1,
  }),
  primary_visibility_consensus: setting(
    'repmgr',
    'boolean',
    'Ask the other nodes when they last saw the primary; while one saw it just now, it is not given up.',
    { default: false },
  ),
  standby_disconnect_on_failover: setting(
    'repmgr',
    'boolean',
    'When the primary is lost, every standby ends its receiver before positions are compared.',
    { default: false },
  ),
  sibling_nodes_disconnect_timeout: setting(
    'repmgr',
    'duration',
    'How long the election waits for the receivers of the others to end.',
    { default: 30 },
  ),
  primary_notification_timeout: setting(
    'repmgr',
    'duration',
    'The longest a candidate stands back for better ones before it takes the key itself; for one that has more data and may not go yet, up to a ttl longer.',
    { default: 60 },
  ),
  election_rerun_interval: setting(
    'repmgr',
    'duration',
    'How long a candidate stays out of the election after its failover_validation_command said no.',
    { default: 15, minimum: 1 },
  ),
  location_policy: setting(
    'pgha',
    'choice',
    "Whether the lead may go to another `location`: `strict` only while a member of the last leader's location can be seen, `prefer` after one more TTL, `off` always.",
    { default: 'off', enum: ['strict', 'prefer', 'off'] },
  ),
  failover: setting('repmgr', 'choice', '`manual` only reports: no node takes over by itself.', {
    default: 'automatic',
    enum: ['automatic', 'manual'],
  }),
  child_nodes_check_interval: setting('repmgr', 'duration', 'How often the leader counts its standbys.', {
    default: 5,
    minimum: 1,
  }),
  child_nodes_connected_min_count: setting(
    'repmgr',
    'integer',
    'With fewer standbys connected than this, child_nodes_disconnect_command is run. -1 and 0: not set.',
    { default: -1, minimum: -1, maximum: 1_000_000 },
  ),
  child_nodes_disconnect_min_count: setting(
    'repmgr',
    'integer',
    'With so many standbys lost, child_nodes_disconnect_command is run; only where child_nodes_connected_min_count is not set. -1 and 0: not set. With neither it is run when the last one is lost.',
    { default: -1, minimum: -1, maximum: 1_000_000 },
  ),
  child_nodes_disconnect_timeout: setting(
    'repmgr',
    'duration',
    'The newest loss must be so old before child_nodes_disconnect_command is run.',
    { default: 30 },
  ),
  child_nodes_connected_include_witness: setting('repmgr', 'boolean', 'A witness counts among the standbys here.', {
    default: false,
  }),
  monitoring_history: setting(
    'repmgr',
    'boolean',
    'The leader keeps in etcd how far the standbys were behind, for a day; `pgha-ctl history --lag` prints it.',
    { default: false },
  ),
  log_status_interval: setting(
    'repmgr',
    'duration',
    'Every so often one line in the log says how this node stands. 0: never.',
    {
      default: 300,
    },
  ),
  pause: setting('Patroni', 'boolean', 'Maintenance: pgha watches and changes nothing. Use `pgha-ctl pause`.', {
    default: false,
  }),
  max_timelines_history: setting(
    'Patroni',
    'integer',
    'So many of the newest changes of timeline are kept in `history`. 0: all.',
    { default: 0, minimum: 0, maximum: 1_000_000 },
  ),
  member_slots_ttl: setting(
    'Patroni',
    'duration',
    'How long the slot of an absent member is kept, and a slot that is not ours and that nobody uses.',
    { default: 1800, maximum: 1_000_000_000 },
  ),
  slot_wal_warning: setting(
    'pgha',
    'size',
    'A slot that holds back more WAL than this is told of. 0: only when Postgres itself finds it too much (`wal_status`).',
    { default: 1_073_741_824 },
  ),
  disk_check_interval: setting(
    'pgha',
    'duration',
    'How often a small file is written under the data directory and pg_wal, and the server asked what ails it. 0: never, and none of the sicknesses is noticed.',
    { default: 5 },
  ),
  disk_full_threshold: setting('pgha', 'size', 'Less free space than this is a full disk.', {
    default: 33_554_432,
    maximum: 1_125_899_906_842_624,
  }),
  disk_hang_timeout: setting('pgha', 'duration', 'A small write that takes longer is a disk that hangs.', {
    default: 10,
    minimum: 1,
  }),
  on_disk_full: setting('pgha', 'choice', `A leader whose disk is full: ${CHOICE}`, {
    default: 'failover',
    enum: ['failover', 'stay'],
  }),
  on_disk_error: setting('pgha', 'choice', `A leader whose file system is read-only or has I/O errors: ${CHOICE}`, {
    default: 'failover',
    enum: ['failover', 'stay'],
  }),
  on_disk_hang: setting(
    'pgha',
    'choice',
    `A leader whose disk hangs while nobody waits for it: ${CHOICE} Once commits wait, the health check fails.`,
    { default: 'failover', enum: ['failover', 'stay'] },
  ),
  on_checkpointer_stuck: setting('pgha', 'choice', `A leader whose checkpointer does nothing: ${CHOICE}`, {
    default: 'stay',
    enum: ['failover', 'stay'],
  }),
  on_crash_loop: setting('pgha', 'choice', `A leader whose Postgres crashes again and again: ${CHOICE}`, {
    default: 'failover',
    enum: ['failover', 'stay'],
  }),
  crash_loop_count: setting(
    'pgha',
    'integer',
    'So many crashes after which Postgres restarted itself, within `crash_loop_interval`, are a loop. 0: never.',
    { default: 5, minimum: 0, maximum: 1000 },
  ),
  crash_loop_interval: setting('pgha', 'duration', 'In which crashes are counted.', { default: 600, maximum: 86_400 }),
  wraparound_warning_age: setting(
    'pgha',
    'integer',
    'Transactions and multixacts older than this are told of as near to a wraparound, which is at 2147483648. 0: never.',
    { default: 1_500_000_000, minimum: 0, maximum: 2_147_483_647 },
  ),
  sick_failover_delay: setting('pgha', 'duration', 'A sickness lasts so long before a leader hands over for it.', {
    default: 10,
  }),
  sick_failover_rest: setting(
    'pgha',
    'duration',
    'Who was sick is handed nothing for so long; and after a try to hand over so long passes before the next.',
    { default: 300 },
  ),
});

/** Cluster-wide settings in the `postgresql` section. */
const CLUSTER_POSTGRESQL_SETTINGS = shared({
  use_pg_rewind: setting('Patroni', 'boolean', 'Bring a diverged old primary back with pg_rewind.', { default: true }),
  use_slots: setting('Patroni', 'boolean', 'Keep a physical replication slot for every member.', { default: true }),
  remove_data_directory_on_rewind_failure: setting(
    'Patroni',
    'boolean',
    'Copy anew when pg_rewind fails. The old directory is removed.',
    { default: true },
  ),
  remove_data_directory_on_diverged_timelines: setting(
    'Patroni',
    'boolean',
    'Copy anew when the histories differ and pg_rewind is not used. The old directory is removed.',
    { default: true },
  ),
  data_directory_replacements_per_day: setting(
    'pgha',
    'integer',
    'So many times in 24 hours a directory may be replaced by a copy where neither of the two above allows it. Counted from the start of the service.',
    { default: 0, minimum: 0, maximum: 1000 },
  ),
});

const SLOTS_ARE_THE_CLUSTERS =
  'this holds for the whole cluster: write it into `bootstrap.dcs`, or `pgha-ctl edit-config`';
const NOT_YET = 'not acted on by this version';

/** Documented by Patroni or repmgr, without effect in the cluster-wide document. */
const CLUSTER_UNUSED: Readonly<Record<string, string>> = {
  check_timeline: 'not needed: timelines are always compared',
  primary_race_backoff: 'not needed: candidates stand back in order of rank',
};

const PARAMETER_VARIANTS = 'this version knows one set of parameters for all roles';
const HBA_VARIANTS = 'this version knows one pg_hba and one pg_ident for all roles';
const COPY_METHODS = "belongs into each node's own file";

const POSTGRESQL_UNUSED: Readonly<Record<string, string>> = {
  parameters_primary: PARAMETER_VARIANTS,
  parameters_replica: PARAMETER_VARIANTS,
  parameters_standby_leader: PARAMETER_VARIANTS,
  pg_hba_primary: HBA_VARIANTS,
  pg_hba_replica: HBA_VARIANTS,
  pg_hba_standby_leader: HBA_VARIANTS,
  pg_ident_primary: HBA_VARIANTS,
  pg_ident_replica: HBA_VARIANTS,
  pg_ident_standby_leader: HBA_VARIANTS,
  config_base_name: 'the file is always called postgresql.conf',
  bin_name: 'the programs have their usual names in bin_dir',
  pg_ctl_timeout: 'not needed: pgha starts Postgres itself; see primary_start_timeout',
};

const OWN_FILE_ONLY = "belongs into each node's own file";

/** The document in etcd's `config` key; also what `bootstrap.dcs` may hold. */
export const clusterSchema: Section = section(
  "The cluster-wide settings: etcd's `config` key, changed with `pgha-ctl edit-config`.",
  {
    ...CLUSTER_SETTINGS,
    slots: setting(
      'Patroni',
      'slots',
      'Slots that always exist and survive a failover: `name: {type: physical}`, or `name: {type: logical, database: ..., plugin: ...}`. See [slots.md](slots.md).',
      { scope: 'cluster' },
    ),
    ignore_slots: setting(
      'Patroni',
      'slot matchers',
      'Slots that are left alone: a list of `name`, `type`, `database`, `plugin`, any of them.',
      { scope: 'cluster' },
    ),
    standby_cluster: section(
      'This cluster follows another one and takes no writes: in force once `host`, `port` or `restore_command` is set. Remove it, or run `pgha-ctl promote-cluster`, and its leader is promoted. See [standby-cluster.md](standby-cluster.md).',
      {
        host: setting(
          'Patroni',
          'text',
          "The other cluster's primary; several with commas between, of which the one that accepts writes is followed.",
          { scope: 'cluster' },
        ),
        port: setting('Patroni', 'integer', 'Its port.', {
          scope: 'cluster',
          minimum: 1,
          maximum: 65_535,
          defaultText: '5432',
        }),
        primary_slot_name: setting(
          'Patroni',
          'text',
          'A replication slot there, which its operator keeps. None is used when this is not set.',
          { scope: 'cluster' },
        ),
        create_replica_methods: setting(
          'Patroni',
          'list',
          "How the first member is copied: `basebackup`, or names of methods in that node's own file.",
          { scope: 'cluster' },
        ),
        restore_command: setting('Patroni', 'text', 'Brings WAL from an archive, besides or instead of `host`.', {
          scope: 'cluster',
        }),
        archive_cleanup_command: setting('Patroni', 'text', 'Run after each restart point of the leader.', {
          scope: 'cluster',
        }),
        recovery_min_apply_delay: setting('Patroni', 'text', 'The leader replays commits so much later: `5min`.', {
          scope: 'cluster',
        }),
      },
      { renamed: { create_replica_method: 'create_replica_methods' } },
    ),
    postgresql: section(
      'What has to be the same in Postgres on all nodes.',
      {
        ...CLUSTER_POSTGRESQL_SETTINGS,
        parameters: setting('Patroni', 'parameters', 'PostgreSQL parameters of all nodes.', { scope: 'cluster' }),
        pg_hba: setting('Patroni', 'lines', 'The lines of pg_hba.conf of all nodes.', { scope: 'cluster' }),
        pg_ident: setting('Patroni', 'lines', 'The lines of pg_ident.conf of all nodes.', { scope: 'cluster' }),
        recovery_conf: setting(
          'Patroni',
          'parameters',
          'restore_command and other settings of recovery. Targets and the upstream are left out: standbys follow the leader to the end.',
          { scope: 'cluster' },
        ),
      },
      {
        renamed: { create_replica_method: 'create_replica_methods' },
        methods: COPY_METHODS,
        unused: {
          ...POSTGRESQL_UNUSED,
          create_replica_methods: COPY_METHODS,
          callbacks: OWN_FILE_ONLY,
          pre_promote: OWN_FILE_ONLY,
          before_stop: OWN_FILE_ONLY,
          custom_conf: OWN_FILE_ONLY,
          krbsrvname: OWN_FILE_ONLY,
          rewind: OWN_FILE_ONLY,
          use_unix_socket: OWN_FILE_ONLY,
          use_unix_socket_repl: OWN_FILE_ONLY,
          listen: OWN_FILE_ONLY,
          connect_address: OWN_FILE_ONLY,
          proxy_address: OWN_FILE_ONLY,
          data_dir: OWN_FILE_ONLY,
          config_dir: OWN_FILE_ONLY,
          bin_dir: OWN_FILE_ONLY,
          database: OWN_FILE_ONLY,
          pgpass: OWN_FILE_ONLY,
          basebackup: OWN_FILE_ONLY,
          authentication: OWN_FILE_ONLY,
        },
      },
    ),
  },
  {
    renamed: {
      master_start_timeout: 'primary_start_timeout',
      master_stop_timeout: 'primary_stop_timeout',
      permanent_slots: 'slots',
      permanent_replication_slots: 'slots',
    },
    unused: CLUSTER_UNUSED,
  },
);

const secret = (from: Setting['from'], description: string): Setting =>
  setting(from, 'text', description, { secret: true });

/** `password` with its `password_file`: every secret may come from a file of its own. */
function secretPair(name: string, from: Setting['from'], description: string): Record<string, Setting> {
  return {
    [name]: secret(from, description),
    [`${name}_file`]: setting('pgha', 'path', `A file with ${name}; a line end at its end is cut off.`),
  };
}

const OF_LIBPQ = 'Of libpq: for copies, rewinds and the receiver of a standby.';

/** What only libpq understands, so that it counts for programs of Postgres and for the WAL receiver. */
const LIBPQ_SETTINGS: Readonly<Record<string, Setting>> = {
  sslcrldir: setting('Patroni', 'path', `Directory of such lists. ${OF_LIBPQ} PostgreSQL 14 and newer.`),
  gssencmode: setting('Patroni', 'choice', OF_LIBPQ, { enum: ['disable', 'prefer', 'require'] }),
  channel_binding: setting('Patroni', 'choice', `${OF_LIBPQ} PostgreSQL 13 and newer.`, {
    enum: ['disable', 'prefer', 'require'],
  }),
  sslnegotiation: setting('Patroni', 'choice', `${OF_LIBPQ} PostgreSQL 17 and newer.`, {
    enum: ['postgres', 'direct'],
  }),
};
export const LIBPQ_NAMES: readonly string[] = Object.keys(LIBPQ_SETTINGS);

const login = (description: string, username: Extra): Section =>
  section(description, {
    username: setting('Patroni', 'text', 'User name.', { minLength: 1, ...username }),
    ...secretPair('password', 'Patroni', 'Password. Without one none is sent (peer, trust, certificates).'),
    sslmode: setting('Patroni', 'choice', 'As in libpq.', {
      enum: ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'],
    }),
    sslcert: setting('Patroni', 'path', 'Client certificate.'),
    sslkey: setting('Patroni', 'path', 'Key of the client certificate.'),
    ...secretPair('sslpassword', 'Patroni', 'Password of that key.'),
    sslrootcert: setting('Patroni', 'text', 'What server certificates are checked against: a path, or `system`.'),
    sslcrl: setting('Patroni', 'path', 'List of certificates that are revoked.'),
    ...LIBPQ_SETTINGS,
  });

const basicAuthentication = (description: string, password = 'Password.'): Section =>
  section(description, {
    username: setting('Patroni', 'text', 'User name.', { minLength: 1 }),
    ...secretPair('password', 'Patroni', password),
  });

const etcdSection = (description: string): Section =>
  section(
    description,
    {
      hosts: setting(
        'Patroni',
        'list',
        'The members of etcd, `host:port` each; name all of them. The default port is 2379.',
      ),
      host: setting('Patroni', 'text', 'One member of etcd.'),
      url: setting('Patroni', 'text', 'One member of etcd, as URL.'),
      proxy: setting('Patroni', 'text', 'An etcd gateway, as URL. Used like `url`.'),
      srv: setting(
        'Patroni',
        'text',
        'Domain whose SRV records (`_etcd-client-ssl._tcp`, `_etcd-client._tcp`) name the members. Looked up at the start.',
        { minLength: 1 },
      ),
      srv_suffix: setting('Patroni', 'text', 'End of the name in these records: `_etcd-client-SUFFIX._tcp`.'),
      protocol: setting('Patroni', 'choice', 'http or https.', { default: 'http', enum: ['http', 'https'] }),
      username: setting('Patroni', 'text', 'User name in etcd.', { minLength: 1 }),
      ...secretPair('password', 'Patroni', 'Password in etcd.'),
      cacert: setting('Patroni', 'path', "What etcd's certificates are checked against."),
      cert: setting('Patroni', 'path', 'Client certificate.'),
      key: setting('Patroni', 'path', 'Key of the client certificate.'),
    },
    {
      unused: { use_proxies: 'not needed: exactly the given addresses are used' },
    },
  );

const NO_THREADS = 'pgha has no thread pool';
const LOG_ROTATION = 'pgha does not rotate: write to standard output, or use logrotate';
const ETCD_ONLY = 'pgha speaks etcd only (API v3): use an etcd3 section';
const NO_SSH = 'pgha never uses ssh: each node acts for its own Postgres';
const NO_BARMAN = 'write the restore as a method of postgresql.create_replica_methods';
const UNIT_OF_PGHA = 'not needed: the service manager starts and stops pgha, and knows its process';
const BY_THE_KEY = 'not needed: whom to follow stands in the leader key, and every node watches it';

/** What repmgr documents and a leader key makes needless, or what goes by another measure here; with the reason. */
const REPMGR_UNUSED: Readonly<Record<string, string>> = {
  replication_type: 'replication is always physical',
  witness_sync_interval: 'not needed: a witness reads etcd like all others, there is no table to copy',
  log_facility:
    'pgha writes to standard output or to `log.file`; the service manager hands it to syslog; events: see event_syslog',
  repmgr_bindir: 'pgha never runs repmgr',
  ssh_options: NO_SSH,
  rsync_options: NO_SSH,
  pg_ctl_options: 'not needed: pgha does not run pg_ctl',
  service_promote_command: 'not needed: the node that holds the key promotes; see promote_command',
  repmgrd_service_start_command: UNIT_OF_PGHA,
  repmgrd_service_stop_command: UNIT_OF_PGHA,
  repmgrd_pid_file: UNIT_OF_PGHA,
  barman_host: NO_BARMAN,
  barman_server: NO_BARMAN,
  barman_config: NO_BARMAN,
  pg_backupapi_host: NO_BARMAN,
  pg_backupapi_node_name: NO_BARMAN,
  pg_backupapi_backup_id: NO_BARMAN,
  pg_backupapi_remote_ssh_command: NO_BARMAN,
  promote_check_timeout: 'see primary_start_timeout: the limit of a promotion',
  promote_check_interval: 'not needed: a promotion is looked at every few milliseconds',
  primary_follow_timeout: BY_THE_KEY,
  standby_follow_timeout: 'not needed: a standby that does not stream is looked at until it does',
  standby_follow_restart: 'not needed: the upstream is changed without a restart where Postgres can (13 and newer)',
  shutdown_check_timeout: 'see primary_stop_timeout',
  standby_reconnect_timeout: 'not needed: an old primary comes back by itself, however long it takes',
  wal_receive_check_timeout: 'not needed: the candidate has confirmed the shutdown checkpoint before Postgres is gone',
  node_rejoin_timeout: 'not needed: an old primary comes back by itself, however long it takes',
  archive_ready_warning: NOT_YET,
  archive_ready_critical: NOT_YET,
  replication_lag_warning: NOT_YET,
  replication_lag_critical: NOT_YET,
  degraded_monitoring_timeout: 'pgha never gives up: it goes on looking, and says what it sees',
  async_query_timeout: 'see connection_check_timeout',
  repmgrd_standby_startup_timeout: 'not needed: a standby that starts is looked at until it answers',
  repmgrd_exit_on_inactive_node: 'not needed: a member is active while its key in etcd lives',
  always_promote: 'not needed: see `pgha-ctl failover`, which asks the operator',
  promote_delay: 'not needed: a candidate waits for the gate and no longer',
  failover_delay: 'not needed: a candidate waits for the gate and no longer',
  reconnect_loop_sync: 'not needed: candidates stand back in order of rank',
  connection_check_query: 'the statement is fixed; see connection_check_type',
};

const CLUSTER_WIDE = 'this holds for the whole cluster: write it below `bootstrap.dcs`, or use `pgha-ctl edit-config`';

const PLAIN_NAME = { pattern: '^[^/\\s]+$', patternText: 'a name without blanks and slashes', minLength: 1 } as const;

/** A node with its own idea of these would lead by other rules than those that the rest elects by. */
const {
  pause: _pause,
  synchronous_mode: _mode,
  synchronous_mode_strict: _strict,
  synchronous_node_count: _count,
  maximum_lag_on_syncnode: _lag,
  ...LOCALLY_OVERRIDABLE
} = CLUSTER_SETTINGS;

/** The file of one node. */
export const localSchema: Section = section(
  'The file of one node, `/etc/pgha/pgha.yml`.',
  {
    scope: setting('Patroni', 'text', 'Name of the cluster; the same on all nodes.', PLAIN_NAME),
    name: setting('Patroni', 'text', 'Name of this node; unique in the cluster, at most 63 characters.', PLAIN_NAME),
    namespace: setting('Patroni', 'text', 'Where in etcd the keys of all clusters stand.', {
      default: '/service',
      pattern: '^[^\\s]*$',
      patternText: 'a path without blanks',
    }),
    node_id: setting('repmgr', 'integer', 'Number of this node. Breaks ties in an election: the lowest wins.', {
      defaultText: 'ties are broken by name',
      minimum: 1,
      maximum: 2_147_483_647,
    }),
    priority: setting('repmgr', 'integer', 'Among equally good candidates the highest wins. 0: never leads.', {
      default: 100,
      minimum: 0,
      maximum: 2_147_483_647,
    }),
    location: setting('repmgr', 'text', 'Site of this node.', { default: 'default', minLength: 1 }),
    upstream_node: setting(
      'repmgr',
      'text',
      'Name of the node to stream from; the same as the tag `replicatefrom`. While that one cannot send, its own upstream is used, and so on up to the leader.',
      {
        defaultText: 'the leader',
        minLength: 1,
      },
    ),
    role: setting(
      'repmgr',
      'choice',
      '`standby`: this node never leads; the same as the tag `nofailover`. `witness`: no Postgres runs here; the node says whom it sees and where it stands.',
      { default: 'auto', enum: ['auto', 'standby', 'witness'] },
    ),
    adopt_from: setting(
      'pgha',
      'choice',
      'This node belongs to a cluster that runs without pgha: until `pgha-ctl adopt take-over` the daemon only watches, and changes nothing. Without effect once pgha has led the cluster.',
      { defaultText: 'an existing server is taken in at the first start', enum: ['repmgr', 'streaming'] },
    ),
    failover_validation_command: setting(
      'repmgr',
      'text',
      'Command that is asked on the winner before it takes the key; another exit code than 0 is a veto. %n %a node, %v visible, %u and %t members.',
      { minLength: 1, placeholders: 'navut' },
    ),
    failover_validation_timeout: setting(
      'pgha',
      'duration',
      'Time limit of that command; one that takes longer counts as a veto.',
      { default: 5, minimum: 0.1 },
    ),
    child_nodes_disconnect_command: setting(
      'repmgr',
      'text',
      'Command that the leader runs once when it has lost too many of its standbys. %p is the node_id of this node.',
      { minLength: 1, placeholders: 'p' },
    ),
    service_start_command: setting(
      'repmgr',
      'text',
      'Command that starts Postgres, in the place of our own start. Whether Postgres runs is seen by us.',
      { minLength: 1 },
    ),
    service_stop_command: setting(
      'repmgr',
      'text',
      'Command of an orderly stop. What still runs after half of the time for the stop is stopped by us; a fence never waits for it.',
      { minLength: 1 },
    ),
    service_restart_command: setting('repmgr', 'text', 'Command that restarts a standby.', { minLength: 1 }),
    service_reload_command: setting(
      'repmgr',
      'text',
      'Command that is run after settings of Postgres were written. What it did not do is done by us.',
      { minLength: 1 },
    ),
    promote_command: setting(
      'repmgr',
      'text',
      'Command that promotes Postgres, in the place of our own promotion. Whether it was promoted is seen by us.',
      { minLength: 1 },
    ),
    follow_command: setting(
      'repmgr',
      'text',
      'Command that makes this standby follow a new primary; afterwards it is made sure that it does. %n and %a are the node_id and the name of the primary, %c how to connect to it.',
      { minLength: 1, placeholders: 'nac' },
    ),
    service_command_timeout: setting(
      'pgha',
      'duration',
      'Time limit of each `service_*_command`, of promote_command, follow_command and child_nodes_disconnect_command.',
      { default: 60, minimum: 1 },
    ),
    event_notification_command: setting(
      'repmgr',
      'text',
      'Command that is run for each event of this node, beside everything else. %n node_id, %e event, %s 1 or 0, %t time, %d details; where the event has one, %p node_id, %a name and %c address of the other node.',
      { minLength: 1, placeholders: 'nestdpca' },
    ),
    event_notifications: setting('repmgr', 'list', 'The events for which it is run; see events.md.', {
      defaultText: 'all',
    }),
    event_notification_timeout: setting('pgha', 'duration', 'Time limit of one run of that command.', {
      default: 10,
      minimum: 0.1,
    }),
    event_webhook: section(
      'An HTTP server that is told events of this node, by a POST of JSON each; see [events.md](events.md#event_webhook). Nobody waits for it.',
      {
        ...secretPair(
          'url',
          'pgha',
          '`http://` or `https://`. Never printed, because such addresses often are passwords.',
        ),
        headers: setting('pgha', 'map', 'Headers that are sent with it.'),
        ...secretPair('authorization', 'pgha', 'The header `Authorization`: `Bearer ...`, `Basic ...`.'),
        events: setting('pgha', 'list', 'The events that are told.', { defaultText: 'all' }),
        timeout: setting('pgha', 'duration', 'Time limit of one try; there are three.', { default: 5, minimum: 0.1 }),
        template: setting(
          'pgha',
          'text',
          'The JSON that is sent, in the place of our own. %o cluster, %N %n node and node_id, %e event, %s 1 or 0, %t time, %d details, %p %a %c the other node; each is made safe for a JSON string.',
          { minLength: 1, placeholders: 'oNnestdpca' },
        ),
        cacert: setting('pgha', 'path', "What the server's certificate is checked against.", {
          defaultText: 'the authorities that Node.js knows',
        }),
      },
    ),
    event_syslog: section(
      'A syslog that is told events of this node; see [events.md](events.md#event_syslog). Nobody waits for it.',
      {
        to: setting(
          'pgha',
          'text',
          '`local`: journald, with fields of its own, or else /dev/log; the path of a socket; `udp://HOST:514`, `tcp://HOST:601` (RFC 5424).',
          {
            pattern: '^(local|/.+|(udp|tcp)://.+)$',
            patternText: '`local`, an absolute path, `udp://HOST:PORT` or `tcp://HOST:PORT`',
          },
        ),
        facility: setting('pgha', 'choice', 'Its facility.', { default: 'daemon', enum: SYSLOG_FACILITIES }),
        events: setting('pgha', 'list', 'The events that are told.', { defaultText: 'all' }),
      },
    ),
    failover_command: setting(
      'pgha',
      'text',
      "Command that is run on a new primary after a failover or switchover, with pgpool's placeholders: %d %h %p %D the failed node, %m %H %r %R the new primary, %M %P %N %S the old one. A notification: pgha has promoted already.",
      { minLength: 1, placeholders: 'dhpDmHMPrRNS' },
    ),
    failover_command_timeout: setting('pgha', 'duration', 'Time limit of one run of failover_command.', {
      default: 60,
      minimum: 0.1,
    }),
    guard: setting(
      'pgha',
      'choice',
      'The process that stops Postgres when leadership has run out and the daemon does not. Off: a hung daemon means two writers.',
      { default: 'on', enum: ['on', 'off'] },
    ),
    pgbouncer: section(
      'The poolers in front of the cluster: before a switchover, a restart of the leader or a stop of its service clients are held back in them (PAUSE), and go on on the new primary (RESUME). The same on all nodes. See [pgbouncer.md](pgbouncer.md).',
      {
        poolers: setting(
          'pgha',
          'list',
          'Their addresses, `host:port`, as every node can reach them. The default port is 6432.',
        ),
        username: setting('pgha', 'text', 'One of their admin_users.', { default: 'pgbouncer', minLength: 1 }),
        ...secretPair('password', 'pgha', 'Its password.'),
        databases: setting(
          'pgha',
          'list',
          'The databases of this cluster in them, where they serve others too; each is then paused by its name. What follows a name goes into `databases_file`: `app pool_size=40`.',
          { defaultText: 'all' },
        ),
        pause_timeout: setting(
          'pgha',
          'duration',
          'So long transactions may take to end. Then Postgres is stopped all the same, and what is still under way ends with an error.',
          { default: 5, minimum: 0.1, maximum: 300 },
        ),
        max_pause: setting(
          'pgha',
          'duration',
          'So long after it began a pause is ended by whoever knows of it, also when nobody leads.',
          { default: 30, minimum: 1, maximum: 3600 },
        ),
        databases_file: setting(
          'pgha',
          'path',
          'Written on this node, for `%include` in the pgbouncer.ini of the pooler on this machine, which is told to read it again: its databases then lead to whoever leads.',
        ),
      },
    ),
    vip: section(
      'An address that is where the primary is, moved by pgha itself. The daemon needs the right to do so. See [vip.md](vip.md).',
      {
        address: setting(
          'pgha',
          'list',
          'The address with the length of its prefix: `10.0.0.100/24`. Several, IPv4 and IPv6, move together.',
        ),
        interface: setting('pgha', 'text', 'The interface of this node that it is put on: `eth0`.', { minLength: 1 }),
      },
    ),
    watchdog: section(
      "The kernel's watchdog device. It resets the machine when neither guard nor daemon runs any more.",
      {
        mode: setting(
          'Patroni',
          'choice',
          'automatic: used where it can be. required: this node does not lead without it.',
          { default: 'automatic', enum: ['off', 'automatic', 'required'] },
        ),
        device: setting('Patroni', 'path', 'The device; the user of pgha must be allowed to write to it.', {
          default: '/dev/watchdog',
        }),
        safety_margin: setting(
          'Patroni',
          'integer',
          'Seconds between the reset of the machine and the end of the TTL. Never more than half the margin in which the guard ends Postgres, because the guard goes first: a larger value, and -1, mean that.',
          { default: 5, minimum: -1 },
        ),
        driver: setting(
          'Patroni',
          'choice',
          'testing: anything that can be written to is taken for a device, and its timeout is not looked at.',
          { default: 'default', enum: ['default', 'testing'] },
        ),
      },
    ),
    runtime_directory: setting('pgha', 'path', 'State file, sockets. On tmpfs.', {
      defaultText: '`/run/pgha/<scope>-<name>`',
    }),
    log: section(
      'The log.',
      {
        level: setting('Patroni', 'choice', 'What is logged.', {
          default: 'info',
          enum: ['debug', 'info', 'warn', 'error'],
          synonyms: {
            notset: 'debug',
            notice: 'info',
            warning: 'warn',
            critical: 'error',
            alert: 'error',
            crit: 'error',
          },
        }),
        format: setting('pgha', 'text', '`plain` for people, or `json`: one object in a line.', { default: 'plain' }),
        type: setting('Patroni', 'choice', 'The same as `format`, which wins.', { enum: ['plain', 'json'] }),
        file: setting('pgha', 'path', 'File to append to.', { defaultText: 'standard output' }),
        dir: setting('Patroni', 'path', 'Directory of the log; the file is called `pgha.log`.'),
      },
      {
        unused: {
          traceback_level: 'pgha logs no tracebacks',
          dateformat: 'times are in ISO 8601',
          static_fields: NOT_YET,
          loggers: 'there is one level for everything',
          max_queue_size: 'the queue is bounded by pgha',
          file_num: LOG_ROTATION,
          file_size: LOG_ROTATION,
          mode: 'the umask decides',
          deduplicate_heartbeat_logs: 'not needed: an unchanged decision is not logged again',
        },
      },
    ),
    restapi: section(
      'The HTTP interface: health checks and commands.',
      {
        listen: setting('Patroni', 'address', 'Where it listens.', { default: '0.0.0.0:8008' }),
        connect_address: setting('Patroni', 'address', 'Under which address the other nodes reach it.', {
          defaultText: '`listen`, where that is the address of one host',
        }),
        authentication: basicAuthentication(
          'Who may change something over HTTP. Health checks are open to all.',
          'Password, or a hash of it (`pgha-ctl hash-password`); with a hash, `ctl.authentication` has what the members send each other.',
        ),
        agent_check: setting(
          'pgha',
          'address',
          "Where HAProxy's agent-check is answered, over plain TCP: `up` or `down` for the health check that it sends. Off where this is not set.",
        ),
        certfile: setting('Patroni', 'path', 'Certificate; TLS is on where this is set.'),
        keyfile: setting('Patroni', 'path', 'Its key.', { defaultText: '`certfile`' }),
        ...secretPair('keyfile_password', 'Patroni', 'Password of the key.'),
        cafile: setting('Patroni', 'path', 'What client certificates are checked against.'),
        verify_client: setting('Patroni', 'choice', 'Whether clients need a certificate.', {
          default: 'none',
          enum: ['none', 'optional', 'required'],
        }),
        ciphers: setting('Patroni', 'text', "The ciphers of TLS up to 1.2, in OpenSSL's words.", {
          defaultText: 'those of Node.js',
        }),
        protect_reads: setting(
          'pgha',
          'boolean',
          'Reading asks for `authentication` (and a client certificate where `verify_client` is not `none`) too. Health checks stay open, and tell their code alone to who does not say who he is.',
          { default: false },
        ),
        allowlist: setting(
          'Patroni',
          'list',
          'From where something may be changed: addresses, networks (`10.0.0.0/24`) and host names, which are looked up when the file is read. Empty: from everywhere.',
        ),
        allowlist_include_members: setting(
          'Patroni',
          'boolean',
          "From the members' addresses as well; with an empty `allowlist` from them alone.",
          { default: false },
        ),
        server_tokens: setting(
          'Patroni',
          'choice',
          'The header `Server`: `Patroni/4.1.4`, `Patroni`, or with `Original` none.',
          {
            default: 'Original',
            enum: ['Original', 'Minimal', 'ProductOnly'],
            synonyms: { original: 'Original', minimal: 'Minimal', productonly: 'ProductOnly' },
          },
        ),
        http_extra_headers: setting('Patroni', 'map', 'Headers that are sent with every answer.'),
        https_extra_headers: setting('Patroni', 'map', 'Headers that are sent with every answer over TLS.'),
      },
      {
        unused: {
          request_queue_size: 'the operating system decides',
          thread_pool_size: NO_THREADS,
        },
      },
    ),
    ctl: section('How pgha-ctl and the other nodes talk to the HTTP interface.', {
      authentication: basicAuthentication('User name and password to send. Default: those of `restapi`.'),
      insecure: setting('Patroni', 'boolean', 'Do not check certificates.', { default: false }),
      cacert: setting('Patroni', 'path', 'What certificates are checked against.', {
        defaultText: '`restapi.cafile`',
      }),
      certfile: setting('Patroni', 'path', 'Client certificate.', { defaultText: '`restapi.certfile`' }),
      keyfile: setting('Patroni', 'path', 'Its key.', { defaultText: '`restapi.keyfile`' }),
      ...secretPair('keyfile_password', 'Patroni', 'Password of the key.'),
    }),
    etcd3: etcdSection('Where etcd is.'),
    etcd: etcdSection('The same as `etcd3`: pgha always speaks API v3.'),
    bootstrap: section(
      'What is needed only when a cluster is made.',
      {
        dcs: {
          ...clusterSchema,
          description:
            'The first cluster-wide settings. Later changes here have no effect: use `pgha-ctl edit-config`.',
        },
        method: setting(
          'Patroni',
          'text',
          'How the first data directory is made: `initdb`, or the name of a section beside this setting, with `command`, `no_params`, `keep_existing_recovery_conf`, `recovery_conf`, `timeout` (s, default 86400) and keys of your own that become arguments. See [operations.md](operations.md#a-cluster-from-a-backup).',
          { default: 'initdb' },
        ),
        initdb: setting('Patroni', 'options', 'Options of initdb.'),
        pg_hba: setting('Patroni', 'lines', 'Lines of pg_hba.conf, where `postgresql.pg_hba` is not set.'),
        post_bootstrap: setting(
          'Patroni',
          'text',
          'Command that is run once the new cluster stands, with a connection string.',
        ),
      },
      {
        renamed: { post_init: 'post_bootstrap' },
        keepsMethods: true,
        unused: { users: 'make roles with post_bootstrap, as with Patroni 4' },
      },
    ),
    postgresql: section(
      'The Postgres of this node.',
      {
        listen: setting('Patroni', 'addresses', 'Where Postgres listens: addresses with commas, one port.'),
        connect_address: setting('Patroni', 'address', 'Under which address others reach it.', {
          defaultText: '`listen`, where that is the address of one host',
        }),
        data_dir: setting('Patroni', 'path', 'The data directory.'),
        proxy_address: setting(
          'Patroni',
          'address',
          'Address of a pooler in front of Postgres, published as `proxy_url` for those who look for it.',
        ),
        config_dir: setting('Patroni', 'path', 'Where postgresql.conf is.', { defaultText: '`data_dir`' }),
        custom_conf: setting(
          'Patroni',
          'path',
          'A file of your own that is included in the place of `postgresql.base.conf`.',
        ),
        bin_dir: setting('Patroni', 'path', "PostgreSQL's programs.", {
          defaultText: 'the usual places of Debian and PGDG, then PATH',
        }),
        database: setting('Patroni', 'text', "Database for pgha's own connections.", {
          default: 'postgres',
          minLength: 1,
        }),
        unix_socket_directory: setting('pgha', 'path', 'Directory of the unix socket.', {
          defaultText: 'the runtime directory',
        }),
        pgpass: setting('Patroni', 'path', 'Password file that pgha writes.', {
          defaultText: 'in the runtime directory',
        }),
        krbsrvname: setting('Patroni', 'text', 'Name of the Kerberos service of Postgres.', { minLength: 1 }),
        use_unix_socket: setting(
          'Patroni',
          'boolean',
          'Accepted: pgha goes through the unix socket to its own Postgres wherever it can, and else through TCP.',
          { default: true },
        ),
        use_unix_socket_repl: setting('Patroni', 'boolean', 'The same as `use_unix_socket`.', { default: true }),
        authentication: section("Users of pgha's own connections.", {
          superuser: login('The superuser.', { default: 'postgres' }),
          replication: login('The user of replication.', { default: 'replicator' }),
          rewind: login('The user of pg_rewind. Default: the superuser.', { defaultText: '`superuser`' }),
        }),
        ...CLUSTER_POSTGRESQL_SETTINGS,
        parameters: setting('Patroni', 'parameters', 'PostgreSQL parameters of this node, over those of the cluster.'),
        pg_hba: setting('Patroni', 'lines', 'The lines of pg_hba.conf.', { defaultText: 'those of the cluster' }),
        pg_ident: setting('Patroni', 'lines', 'The lines of pg_ident.conf.', { defaultText: 'those of the cluster' }),
        recovery_conf: setting(
          'Patroni',
          'parameters',
          'restore_command and other settings of recovery, over those of the cluster.',
        ),
        basebackup: setting('Patroni', 'options', 'Options of pg_basebackup.'),
        rewind: setting('Patroni', 'options', 'Options of pg_rewind.'),
        callbacks: section(
          'Commands that are told what became of Postgres here: `COMMAND ACTION ROLE SCOPE`, without a shell. Nobody waits for them; a newer one ends one that still runs.',
          {
            on_start: setting('Patroni', 'text', 'Postgres runs, or was found running.', { minLength: 1 }),
            on_stop: setting('Patroni', 'text', 'Postgres is down.', { minLength: 1 }),
            on_restart: setting('Patroni', 'text', 'Postgres was restarted in the same role.', { minLength: 1 }),
            on_reload: setting('Patroni', 'text', 'Settings were written and Postgres was told to read them.', {
              minLength: 1,
            }),
            on_role_change: setting('Patroni', 'text', 'A standby became the primary, or the other way round.', {
              minLength: 1,
            }),
          },
        ),
        pre_promote: setting(
          'Patroni',
          'text',
          'Command that is run when this node has the key, before Postgres is promoted; another exit code than 0 gives the key up, and this node stays out of elections for a while. Without a shell.',
          { minLength: 1 },
        ),
        pre_promote_timeout: setting(
          'pgha',
          'duration',
          'Time limit of pre_promote: nobody accepts writes while it runs. One that takes longer counts as a no.',
          { default: 5, minimum: 0.1, maximum: 60 },
        ),
        before_stop: setting(
          'Patroni',
          'text',
          'Command that is run before Postgres is stopped in order, whatever its exit code. A fence never waits for it. Without a shell.',
          { minLength: 1 },
        ),
        before_stop_timeout: setting('pgha', 'duration', 'Time limit of before_stop: the stop goes on after it.', {
          default: 10,
          minimum: 0.1,
          maximum: 600,
        }),
        create_replica_methods: setting(
          'Patroni',
          'list',
          'How a copy is made: names of methods, tried in this order. `basebackup` is pg_basebackup; any other is a section of that name beside this setting, with `command`, `keep_data`, `no_params`, `timeout` (s, default 86400) and keys of your own that become arguments.',
          { defaultText: '`[basebackup]`' },
        ),
        keep_files: setting(
          'pgha',
          'list',
          'Files of your own in the data directory (`pg_audit.conf`, `ssl/server.key`) that survive a copy and a rewind: relative names, none of those of Postgres. See [way-back.md](way-back.md#files-of-your-own).',
        ),
        discarded_wal_directory: setting(
          'pgha',
          'path',
          'Where WAL is kept that only this node had, when its way back throws it away.',
          { defaultText: '`<data_dir>.discarded-wal`' },
        ),
        discarded_wal_size: setting('pgha', 'size', 'How much of it is kept in all; the oldest goes first. 0: none.', {
          default: 1_073_741_824,
        }),
        discarded_wal_number: setting('pgha', 'integer', 'How many of them are kept. 0: none.', {
          default: 5,
          minimum: 0,
          maximum: 1000,
        }),
      },
      {
        required: ['data_dir', 'listen'],
        renamed: { create_replica_method: 'create_replica_methods' },
        keepsMethods: true,
        unused: POSTGRESQL_UNUSED,
      },
    ),
    tags: section(
      'Published with the member. Any name may be used; these have a meaning.',
      {
        nofailover: setting('Patroni', 'boolean', 'This node never leads.', { default: false }),
        failover_priority: setting('Patroni', 'integer', 'The same as `priority`; 1 counts as not set.'),
        clonefrom: setting('Patroni', 'boolean', 'Preferred source of new copies.', { default: false }),
        noloadbalance: setting('Patroni', 'boolean', '`/replica` answers 503.', { default: false }),
        replicatefrom: setting('Patroni', 'text', 'Name of the node to stream from.'),
        nosync: setting('Patroni', 'boolean', 'Not a synchronous standby.', { default: false }),
        nostream: setting(
          'Patroni',
          'boolean',
          'No streaming: WAL comes by `restore_command` (recovery_conf) alone, and no member keeps a slot for this one.',
          { default: false },
        ),
        sync_priority: setting('Patroni', 'integer', 'Preference among synchronous standbys.'),
      },
      { additionalProperties: true },
    ),
    ...LOCALLY_OVERRIDABLE,
  },
  {
    required: ['scope', 'name', 'postgresql'],
    renamed: { master_start_timeout: 'primary_start_timeout', master_stop_timeout: 'primary_stop_timeout' },
    unused: {
      ...CLUSTER_UNUSED,
      slots: SLOTS_ARE_THE_CLUSTERS,
      permanent_slots: SLOTS_ARE_THE_CLUSTERS,
      permanent_replication_slots: SLOTS_ARE_THE_CLUSTERS,
      ignore_slots: SLOTS_ARE_THE_CLUSTERS,
      thread_pool_size: NO_THREADS,
      thread_stack_size: NO_THREADS,
      ...REPMGR_UNUSED,
    },
    refused: {
      pause: 'this holds for the whole cluster: use `pgha-ctl pause`',
      synchronous_mode: CLUSTER_WIDE,
      synchronous_mode_strict: CLUSTER_WIDE,
      synchronous_node_count: CLUSTER_WIDE,
      maximum_lag_on_syncnode: CLUSTER_WIDE,
      consul: ETCD_ONLY,
      zookeeper: ETCD_ONLY,
      exhibitor: ETCD_ONLY,
      kubernetes: ETCD_ONLY,
      raft: ETCD_ONLY,
      citus: 'pgha does not run Citus clusters',
      node_name: "this is repmgr's name: write `name`",
      conninfo: "this is repmgr's name: write `postgresql.connect_address`",
      data_directory: "this is repmgr's name: write `postgresql.data_dir`",
      config_directory: "this is repmgr's name: write `postgresql.config_dir`",
      pg_bindir: "this is repmgr's name: write `postgresql.bin_dir`",
      use_replication_slots: "this is repmgr's name: write `postgresql.use_slots`",
      replication_user: "this is repmgr's name: write `postgresql.authentication.replication.username`",
      log_level: "this is repmgr's name: write `log.level`",
      log_file: "this is repmgr's name: write `log.file`",
      passfile: "this is repmgr's name: write `postgresql.pgpass`",
      use_primary_conninfo_password:
        "this is repmgr's name: write `postgresql.authentication.replication.password`, or `password_file`",
      pg_basebackup_options: "this is repmgr's name: write `postgresql.basebackup`",
      tablespace_mapping: "this is repmgr's name: write `tablespace-mapping=OLD=NEW` in `postgresql.basebackup`",
      restore_command: 'this is a parameter of Postgres: write it into `postgresql.parameters`',
      archive_cleanup_command: 'this is a parameter of Postgres: write it into `postgresql.parameters`',
      recovery_min_apply_delay: 'this is a parameter of Postgres: write it into `postgresql.parameters`',
    },
  },
);

/** The file of a node without Postgres: the section says only how to log in to the servers that it checks. */
export const witnessSchema: Section = {
  ...localSchema,
  required: ['scope', 'name'],
  properties: { ...localSchema.properties, postgresql: withoutRequired(localSchema.properties['postgresql']) },
};

function withoutRequired(node: Setting | Section | undefined): Section {
  if (node === undefined || !isSection(node)) throw new Error('the schema has no section postgresql');
  const { required: _required, ...rest } = node;
  return rest;
}

export interface NamedSetting {
  /** `postgresql.use_slots` as a list of its parts. */
  readonly path: readonly string[];
  readonly setting: Setting;
}

/** Every setting below a section, in the order in which the schema has them. */
export function settingsBelow(below: Section, path: readonly string[] = []): readonly NamedSetting[] {
  return Object.entries(below.properties).flatMap(([name, node]) =>
    isSection(node) ? settingsBelow(node, [...path, name]) : [{ path: [...path, name], setting: node }],
  );
}

/** @throws {Error} when the schema has no such setting: a mistake in pgha's own code */
export function settingAt(below: Section, path: string): Setting {
  let node: Setting | Section | undefined = below;
  for (const part of path.split('.')) node = node !== undefined && isSection(node) ? node.properties[part] : undefined;
  if (node === undefined || isSection(node)) throw new Error(`the schema has no setting ${path}`);
  return node;
}
