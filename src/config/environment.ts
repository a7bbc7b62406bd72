/**
 * Environment variables over the file: `PGHA_<SECTION>_<KEY>` for every setting, and under Patroni's names what
 * Patroni has names for. The names are made from the schema. Values are text here; check.ts gives them their form.
 */
import { parse } from 'yaml';
import type { Path, Remark } from './check.ts';
import { isMap } from './check.ts';
import { didYouMean } from './nearest.ts';
import { localSchema, type NamedSetting, type Setting, settingsBelow } from './schema.ts';

/**
 * Variables that are no settings: the whole file as text, what pgha-ctl and the tests read, and what Kubernetes sets in
 * every container when there is a service called `pgha`.
 */
const NO_SETTING =
  /^PGHA_(CONFIGURATION|CTL_CONFIG_FILE|CTL_DEBUG|CTL_EXIT_CODES|E2E_.*|SERVICE_(HOST|PORT).*|PORT(_.*)?)$/;

const TAGS: NamedSetting = {
  path: ['tags'],
  setting: { type: 'object', kind: 'map', description: 'All tags, as YAML.', scope: 'local', from: 'Patroni' },
};

/** `RESTAPI_USERNAME`, `SUPERUSER_PASSWORD`, `POSTGRESQL_DATA_DIR`: as Patroni shortens them. */
function environmentName(path: Path): string {
  const [first, second, third] = path;
  const short =
    first === 'postgresql' && second === 'authentication' && third !== undefined
      ? path.slice(2)
      : second === 'authentication' && first !== undefined
        ? [first, ...path.slice(2)]
        : path;
  return short.join('_').toUpperCase();
}

/** Name without `PGHA_` -> setting. What is written once for a whole cluster (`bootstrap.dcs`) has none. */
export const environmentNames: ReadonlyMap<string, NamedSetting> = new Map(
  [...settingsBelow(localSchema), TAGS]
    .filter(({ path }) => !(path[0] === 'bootstrap' && path[1] === 'dcs'))
    .map((named) => [environmentName(named.path), named]),
);

const inGroup = (group: string, below: Path, names: string): [string, Path][] =>
  names.split(' ').map((name) => [`${group}_${name}`, [...below, name.toLowerCase()]]);
const ETCD = 'HOST HOSTS URL PROXY SRV SRV_SUFFIX PROTOCOL USE_PROXIES USERNAME PASSWORD CACERT CERT KEY';
const USER =
  'USERNAME PASSWORD SSLMODE SSLCERT SSLKEY SSLPASSWORD SSLROOTCERT SSLCRL SSLCRLDIR GSSENCMODE CHANNEL_BINDING SSLNEGOTIATION';
const ofUser = (user: string): [string, Path][] =>
  inGroup(user.toUpperCase(), ['postgresql', 'authentication', user], USER);

/**
 * What Patroni documents, and where in a file it stands. Also what has no effect here: it is put where a file would have
 * it, and told of like that. Others are left alone, as there.
 */
const PATRONI_NAMES: ReadonlyMap<string, Path> = new Map<string, Path>([
  ['NAME', ['name']],
  ['NAMESPACE', ['namespace']],
  ['SCOPE', ['scope']],
  ['THREAD_POOL_SIZE', ['thread_pool_size']],
  ['THREAD_STACK_SIZE', ['thread_stack_size']],
  ...inGroup(
    'LOG',
    ['log'],
    'TYPE LEVEL TRACEBACK_LEVEL FORMAT DATEFORMAT STATIC_FIELDS MAX_QUEUE_SIZE DIR MODE FILE_SIZE FILE_NUM LOGGERS DEDUPLICATE_HEARTBEAT_LOGS',
  ),
  ...inGroup('RESTAPI', ['restapi', 'authentication'], 'USERNAME PASSWORD'),
  ...inGroup(
    'RESTAPI',
    ['restapi'],
    'LISTEN CONNECT_ADDRESS CERTFILE KEYFILE KEYFILE_PASSWORD CAFILE CIPHERS VERIFY_CLIENT HTTP_EXTRA_HEADERS HTTPS_EXTRA_HEADERS ALLOWLIST ALLOWLIST_INCLUDE_MEMBERS REQUEST_QUEUE_SIZE SERVER_TOKENS THREAD_POOL_SIZE',
  ),
  ...inGroup('CTL', ['ctl', 'authentication'], 'USERNAME PASSWORD'),
  ...inGroup('CTL', ['ctl'], 'INSECURE CACERT CERTFILE KEYFILE KEYFILE_PASSWORD'),
  ...inGroup('POSTGRESQL', ['postgresql'], 'LISTEN CONNECT_ADDRESS PROXY_ADDRESS CONFIG_DIR DATA_DIR PGPASS BIN_DIR'),
  ...inGroup(
    'POSTGRESQL_BIN',
    ['postgresql', 'bin_name'],
    'PG_CTL INITDB PG_CONTROLDATA PG_BASEBACKUP POSTGRES PG_ISREADY PG_REWIND',
  ),
  ...ofUser('superuser'),
  ...ofUser('replication'),
  ...ofUser('rewind'),
  ...inGroup('ETCD', ['etcd'], ETCD),
  ...inGroup('ETCD3', ['etcd3'], ETCD),
]);

const PATRONI_OLD_NAMES: Readonly<Record<string, string>> = {
  LOGLEVEL: 'LOG_LEVEL',
  LOGFORMAT: 'LOG_FORMAT',
  LOG_DATEFMT: 'LOG_DATEFORMAT',
};

/** Of what has no effect here: it is only told of. */
const NO_EFFECT: Setting = { type: 'string', kind: 'text', description: '', scope: 'local', from: 'Patroni' };

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Overlaid {
  readonly document: Record<string, unknown>;
  /** Path, parts joined by line ends -> the variable that its value comes from. */
  readonly origins: ReadonlyMap<string, string>;
  readonly problems: readonly Remark[];
}

/** file < PATRONI_* < PGHA_*. The given document is not changed. */
export function overlay(file: Readonly<Record<string, unknown>>, env: Environment): Overlaid {
  const document = structuredClone(file) as Record<string, unknown>;
  const origins = new Map<string, string>();
  const problems: Remark[] = [];
  const put = (variable: string, named: NamedSetting, text: string): void => {
    const path = inEtcdSectionOfFile(file, named.path);
    const target = parentOf(document, path);
    if (target === null) return;
    const name = path.at(-1) ?? '';
    // The password from the environment replaces the password file of the file, and the other way round.
    delete target[name.endsWith('_file') ? name.slice(0, -'_file'.length) : `${name}_file`];
    const value = structured(named.setting, text);
    const before = target[name];
    target[name] = named === TAGS && isMap(before) && isMap(value) ? { ...before, ...value } : value;
    origins.set(path.join('\n'), variable);
  };

  const variables = Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [variable, text] of variables) {
    if (!variable.startsWith('PATRONI_') || text === undefined || text === '') continue;
    const name = variable.slice('PATRONI_'.length);
    const current = Object.hasOwn(PATRONI_OLD_NAMES, name) ? (PATRONI_OLD_NAMES[name] ?? name) : name;
    const path = PATRONI_NAMES.get(current);
    if (path !== undefined) put(variable, environmentNames.get(current) ?? { path, setting: NO_EFFECT }, text);
  }
  for (const [variable, text] of variables) {
    if (!variable.startsWith('PGHA_') || NO_SETTING.test(variable)) continue;
    const named = environmentNames.get(variable.slice('PGHA_'.length));
    if (named === undefined) {
      const known = [...environmentNames.keys()].map((name) => `PGHA_${name}`);
      problems.push({ path: [variable], message: `unknown environment variable${didYouMean(variable, known)}` });
    } else if (text !== undefined && text !== '') put(variable, named, text);
  }
  return { document, origins, problems };
}

/** `etcd` and `etcd3` mean the same: a variable for either goes to the section that the file has. */
function inEtcdSectionOfFile(file: Readonly<Record<string, unknown>>, path: Path): Path {
  if (path[0] !== 'etcd' && path[0] !== 'etcd3') return path;
  const section = isMap(file['etcd3']) ? 'etcd3' : isMap(file['etcd']) ? 'etcd' : 'etcd3';
  return [section, ...path.slice(1)];
}

/** The map that holds the last name of `path`, made where it is absent; null where the file has something else there. */
function parentOf(document: Record<string, unknown>, path: Path): Record<string, unknown> | null {
  let at = document;
  for (const part of path.slice(0, -1)) {
    const next = at[part] ?? {};
    if (!isMap(next)) return null;
    at[part] = next;
    at = next;
  }
  return at;
}

/** Maps, options and lists of lines are YAML inside of the variable; the braces of a map may be left out. */
function structured(setting: Setting, text: string): unknown {
  if (
    setting.kind !== 'map' &&
    setting.kind !== 'parameters' &&
    setting.kind !== 'options' &&
    setting.kind !== 'lines'
  ) {
    return text;
  }
  const wantsMap = setting.type === 'object';
  for (const candidate of wantsMap ? [text, `{${text}}`] : [text]) {
    try {
      const value: unknown = parse(candidate);
      if (wantsMap ? isMap(value) : Array.isArray(value) || isMap(value)) return value;
    } catch {
      // Not YAML: it is taken as plain text, and refused where that does not do.
    }
  }
  return text;
}
