/**
 * docs/configuration.md, made from the schemas: pure, so that a test can compare it with the committed file.
 */
import { margin, orderlyStopLead } from '../core/lease.ts';
import { seconds } from '../core/time.ts';
import { expected } from './check.ts';
import {
  clusterSchema,
  isSection,
  localSchema,
  type Section,
  type Setting,
  settingAt,
  settingsBelow,
} from './schema.ts';
import { printBytes, printSeconds } from './units.ts';

export function configurationMarkdown(): string {
  return [
    '# Configuration\n',
    '<!-- Made from src/config/schema.ts by `npm run docs`. Do not edit. -->\n',
    INTRODUCTION,
    '## The smallest file\n',
    `\`\`\`yaml\n${SMALLEST}\`\`\`\n`,
    '## Cluster-wide settings\n',
    CLUSTER_WIDE,
    table(Object.entries(clusterSchema.properties).flatMap(rowOf)),
    '### `postgresql` in the cluster-wide settings\n',
    table(rowsBelow(clusterSchema, 'postgresql')),
    PARAMETERS,
    '## Times that belong together\n',
    times(),
    '## The file of a node\n',
    LOCAL_FILE,
    table(
      Object.entries(localSchema.properties)
        .filter(([, node]) => !isSection(node) && node.scope === 'local')
        .flatMap(rowOf),
    ),
    ...sections(localSchema, []),
    '## Secrets\n',
    SECRETS,
    '## Environment\n',
    ENVIRONMENT,
    '## Names from Patroni and repmgr without effect\n',
    'They are accepted with a warning. Switched off or empty they are accepted silently.\n',
    withoutEffect(),
    '## Names that are refused\n',
    reasons(localSchema.refused ?? {}),
  ].join('\n');
}

const INTRODUCTION = `pgha reads one YAML file, \`/etc/pgha/pgha.yml\`. Sections and names are Patroni's; names for failover are repmgr's.
A Patroni file for etcd is accepted as it is; what has no effect here is named in a warning. Check a file before you use it:

    pgha --validate-config /etc/pgha/pgha.yml

In the place of a file there may be a directory: all files in it that end in \`.yml\` or \`.yaml\` are joined in the order of their
names, and of what stands in two of them the last one counts.

It prints what was understood and what the times come to. Exit code 0 means usable, 1 refused. All mistakes are reported
at once, each with its line. A misspelt name is a mistake, and the answer says which name is near.

Some settings belong to one node: addresses, paths, passwords. They stand in its file. Others have to be the same
everywhere: they stand in etcd and are changed with \`pgha-ctl edit-config\`.
`;

const SMALLEST = `scope: main
name: pg1
etcd3:
  hosts: [10.0.0.11:2379, 10.0.0.12:2379, 10.0.0.13:2379]
restapi:
  connect_address: 10.0.0.11:8008
postgresql:
  listen: '*:5432'
  connect_address: 10.0.0.11:5432
  data_dir: /var/lib/postgresql/15/main
  authentication:
    superuser: {username: postgres, password_file: /etc/pgha/superuser.password}
    replication: {username: replicator, password_file: /etc/pgha/replication.password}
bootstrap:
  dcs:
    postgresql:
      pg_hba:
        - local all all peer
        - host replication replicator 10.0.0.0/24 scram-sha-256
        - host all all 10.0.0.0/24 scram-sha-256
`;

const CLUSTER_WIDE = `They stand in etcd, in the key \`config\`. \`bootstrap.dcs\` in the file is where they come from when the cluster is made,
and only then. A setting of this table may also stand at the top level of a node's file: then it wins over etcd on this
node only, and pgha shows that. \`pause\` cannot.

What is stored is checked strictly by pgha's own commands. What pgha finds in etcd never stops it: a value that makes no
sense falls back to the default, one that is too small is raised, and the log says so.
`;

const PARAMETERS = `
These parameters have to be the same on all servers, or ordered: \`max_connections\`, \`max_locks_per_transaction\`,
\`max_worker_processes\`, \`max_prepared_transactions\`, \`max_wal_senders\`, \`max_replication_slots\`, \`wal_level\`,
\`hot_standby\`, \`track_commit_timestamp\`, \`wal_log_hints\`, \`wal_keep_size\`. They are taken from the cluster-wide settings
only, and where nothing is set they have Patroni's defaults: 100 connections, 10 WAL senders, 10 slots, \`wal_level\` replica,
\`wal_log_hints\` on. \`wal_retrieve_retry_interval\` is 100ms on every node unless you set it: with PostgreSQL's 5 s a promotion
may wait that long. \`listen_addresses\`, \`port\`, \`cluster_name\` and what standbys need for following are always pgha's.
`;

const LOCAL_FILE = `Paths are those of this machine. Times are seconds, or have a unit: \`500ms\`, \`10s\`, \`30min\`, \`1h\`, \`1d\`. Sizes are
bytes, or have a unit: \`64kB\`, \`1MB\`, \`1GB\`. Booleans are \`true\`, \`on\`, \`yes\`, \`1\` and their opposites.
`;

const SECRETS = `Every password may stand in a file of its own: \`password_file: /etc/pgha/replication.password\` in the place of
\`password:\`. A line end at its end is cut off. Passwords are never written to etcd or to the log, and
\`--validate-config\` does not print them. The configuration file itself should be readable by the user of pgha only.
`;

const ENVIRONMENT = `Every setting has a variable: \`PGHA_\`, the section, the name. \`PGHA_TTL\`, \`PGHA_LOG_LEVEL\`,
\`PGHA_POSTGRESQL_DATA_DIR\`. \`authentication\` is left out as in Patroni: \`PGHA_RESTAPI_USERNAME\`,
\`PGHA_SUPERUSER_PASSWORD\`, \`PGHA_REPLICATION_PASSWORD_FILE\`. Lists are text with commas, maps and lists of lines are YAML.
All variables that Patroni documents (\`PATRONI_POSTGRESQL_DATA_DIR\`, ...) work too; one without a meaning here is told of, like a
setting. The order is: file, then \`PATRONI_*\`, then \`PGHA_*\`.

An unknown \`PGHA_\` variable is a mistake, an unknown \`PATRONI_\` one is not. Empty variables count as not set. Without
a file, the whole configuration may stand in \`PGHA_CONFIGURATION\`.
`;

function times(): string {
  const ttl = seconds(Number(settingAt(clusterSchema, 'ttl').default));
  const loopWait = Number(settingAt(clusterSchema, 'loop_wait').default);
  const retryTimeout = Number(settingAt(clusterSchema, 'retry_timeout').default);
  const print = (ms: number): string => printSeconds(ms / 1000);
  const reserve = margin(ttl);
  const lead = orderlyStopLead(ttl);
  return `\`loop_wait + 2 × retry_timeout\` must not be more than \`ttl\`. With the defaults: ${loopWait} + 2 × ${retryTimeout} = ${loopWait + 2 * retryTimeout} of ${print(ttl)}.
Patroni's 30, 10, 10 is valid as well. Where the values in etcd do not fit, pgha lowers \`loop_wait\`, and if that is not
enough \`retry_timeout\`, as Patroni does.

| With the defaults | |
|---|---|
| a proof of leadership is used for | ttl − margin = ${print(ttl)} − ${print(reserve)} = ${print(ttl - reserve)}; then the guard ends Postgres |
| without a new proof Postgres stops in order after | ${print(ttl - reserve - lead)} |
| the primary's node vanishes: another takes over within | ttl + 1 s = ${print(ttl + 1000)} |

The margin is the larger of 1 s and 0.5 s + ttl / 250.
`;
}

function sections(schema: Section, path: readonly string[]): readonly string[] {
  return Object.entries(schema.properties).flatMap(([name, node]) => {
    if (!isSection(node)) return [];
    const here = [...path, name];
    const title = here.join('.');
    if (title === 'bootstrap.dcs') return [`### \`bootstrap.dcs\`\n`, `${node.description} It may hold all of them.\n`];
    const local = Object.entries(node.properties).filter(([, inner]) => !isSection(inner) && inner.scope === 'local');
    const shared = Object.entries(node.properties).filter(
      ([, inner]) => !isSection(inner) && inner.scope === 'cluster',
    );
    const sharedNames = shared.map(([inner]) => `\`${inner}\``).join(', ');
    return [
      `### \`${title}\`\n`,
      `${node.description}\n`,
      ...(local.length === 0 ? [] : [table(local.flatMap(rowOf))]),
      ...(shared.length === 0 ? [] : [`The cluster-wide ${sharedNames} may be overridden here.\n`]),
      ...sections(node, here),
    ];
  });
}

function rowsBelow(schema: Section, name: string): readonly string[] {
  const node = schema.properties[name];
  return node !== undefined && isSection(node) ? Object.entries(node.properties).flatMap(rowOf) : [];
}

const table = (rows: readonly string[]): string =>
  ['| name | type | default | bounds | from | |', '|---|---|---|---|---|---|', ...rows, ''].join('\n');

function rowOf([name, node]: readonly [string, Setting | Section]): readonly string[] {
  if (isSection(node)) return [];
  const cells = [`\`${name}\``, typeOf(node), defaultOf(node), boundsOf(node), node.from, node.description];
  return [`| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`];
}

function typeOf(setting: Setting): string {
  switch (setting.kind) {
    case 'choice':
      return (setting.enum ?? []).map((word) => `\`${word}\``).join(', ');
    case 'boolean':
      return 'boolean';
    case 'integer':
      return 'whole number';
    case 'duration':
      return setting.type === 'integer' ? 'time, whole seconds' : 'time';
    case 'size':
      return 'size';
    case 'path':
      return 'path';
    case 'address':
      return 'host:port';
    case 'addresses':
      return 'addresses:port';
    case 'list':
      return 'list';
    case 'lines':
      return 'list of lines';
    case 'options':
      return 'list of options';
    case 'slot matchers':
      return 'list of maps';
    case 'map':
    case 'slots':
    case 'parameters':
      return 'map';
    case 'text':
      return setting.patternText === undefined ? 'text' : expected(setting).replace(/^an? /, '');
  }
}

function defaultOf(setting: Setting): string {
  if (setting.default !== undefined) return `\`${inUnit(setting, setting.default)}\``;
  return setting.defaultText ?? '';
}

function inUnit(setting: Setting, value: string | number | boolean): string {
  if (typeof value !== 'number' || setting.unit === undefined) return String(value);
  return setting.unit === 's' ? printSeconds(value) : printBytes(value);
}

function boundsOf(setting: Setting): string {
  const { minimum } = setting;
  return minimum === undefined || (minimum === 0 && setting.unit !== undefined)
    ? ''
    : `at least ${inUnit(setting, minimum)}`;
}

/** Reason -> the names it holds for: one line a reason reads better than the same sentence twenty times. */
function withoutEffect(): string {
  const byReason = new Map<string, Set<string>>();
  const collect = (schema: Section, path: readonly string[]): void => {
    for (const [name, reason] of Object.entries(schema.unused ?? {})) {
      const names = byReason.get(reason) ?? new Set();
      names.add(`\`${[...path, name].join('.')}\``);
      byReason.set(reason, names);
    }
    for (const [name, node] of Object.entries(schema.properties)) {
      // Logins are alike, and bootstrap.dcs is the cluster-wide document again.
      const again = name === 'dcs' || name === 'etcd' || name === 'replication' || name === 'rewind';
      if (isSection(node) && !again) collect(node, [...path, name]);
    }
  };
  collect(localSchema, []);
  collect(clusterSchema, []);
  return [
    '| names | why |',
    '|---|---|',
    ...[...byReason].map(([why, names]) => `| ${[...names].join(', ')} | ${why} |`),
    '',
  ].join('\n');
}

function reasons(of: Readonly<Record<string, string>>): string {
  return [
    '| name | why |',
    '|---|---|',
    ...Object.entries(of).map(([name, why]) => `| \`${name}\` | ${why} |`),
    '',
  ].join('\n');
}

/** Every documented setting, for the test that nothing lacks a description. */
export const documentedSettings = () => [...settingsBelow(localSchema), ...settingsBelow(clusterSchema)];
