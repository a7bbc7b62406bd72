/**
 * Which cluster pgha-ctl talks about, and how: scope, namespace, etcd, and the credentials for the members' REST API.
 * Reads a pgha node's file, Patroni's, patronictl's, the environment and the command line, leniently: of a node's file
 * only these sections matter here, and what is wrong elsewhere in it is the daemon's business.
 */
import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { ParsedFile } from '../../config/file.ts';
import { readTextFile } from '../../config/files.ts';
import { looksHashed } from '../../config/password-hash.ts';
import type { CtlConfig, EtcdConfig } from '../../config/schema.ts';
import { NoText } from '../../config/text.ts';
import { Refusal } from './terminal.ts';

export interface CtlContext {
  /** null: every command has to be told the cluster's name. */
  readonly scope: string | null;
  /** The file that was read; null: there was none. */
  readonly file: string | null;
  readonly namespace: string;
  readonly etcd: EtcdConfig;
  readonly ctl: CtlConfig;
}

export interface ContextFlags {
  readonly configFile?: string | undefined;
  readonly dcsUrl?: string | undefined;
  readonly insecure?: boolean | undefined;
}

type Env = Readonly<Record<string, string | undefined>>;
type Section = Readonly<Record<string, unknown>>;

const DEFAULT_PORT = 2379;
const OTHER_STORES = ['consul', 'zookeeper', 'exhibitor', 'kubernetes', 'raft'];

/** @throws {Refusal} when no etcd is named anywhere, or a named file cannot be read */
export async function readContext(flags: ContextFlags, env: Env): Promise<CtlContext> {
  const { path, content: file } = await readConfigFile(flags.configFile, env);
  const setting = (name: string): string | undefined => env[`PGHA_${name}`] || env[`PATRONI_${name}`] || undefined;
  const url = flags.dcsUrl ?? (env['DCS_URL'] || undefined);
  const fromUrl = url === undefined ? null : readDcsUrl(url);
  const namespace = fromUrl?.namespace ?? setting('NAMESPACE') ?? text(file['namespace']) ?? '/service';
  return {
    file: path,
    scope: setting('SCOPE') ?? text(file['scope']),
    namespace: namespace.startsWith('/') ? namespace : `/${namespace}`,
    etcd: await readEtcd(file, setting, fromUrl?.hosts ?? null),
    ctl: await readCtl(file, setting, flags.insecure === true),
  };
}

async function readConfigFile(
  given: string | undefined,
  env: Env,
): Promise<{ readonly path: string | null; readonly content: Section }> {
  const named = given ?? (env['PGHA_CTL_CONFIG_FILE'] || env['PATRONICTL_CONFIG_FILE'] || undefined);
  const places =
    named === undefined ? ['/etc/pgha/pgha.yml', join(homedir(), '.config/patroni/patronictl.yaml')] : [named];
  for (const path of places) {
    let file: ParsedFile;
    try {
      file = await parsedFrom(path);
    } catch (error) {
      if (error instanceof NoText) throw new Refusal(`${path}, ${error.message}`);
      const { code } = error as NodeJS.ErrnoException;
      if (named === undefined && (code === 'ENOENT' || code === 'EACCES')) continue;
      throw new Refusal(`${path} cannot be read: ${(error as Error).message}`);
    }
    // Without the line itself, in which a password may stand.
    if (file.mistakes.length > 0) throw new Refusal(`${path} is not YAML: ${file.mistakes[0] ?? ''}`);
    return { path, content: section(file.value) };
  }
  return { path: null, content: {} };
}

/** Of a directory all files that the daemon would join. */
async function parsedFrom(path: string): Promise<ParsedFile> {
  const { parseFile, parseFiles } = await import('../../config/file.ts');
  try {
    return parseFile(await readTextFile(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EISDIR') throw error;
    const files: { name: string; text: string }[] = [];
    for (const name of (await readdir(path)).filter((one) => /\.ya?ml$/.test(one)).sort())
      files.push({ name, text: await readTextFile(join(path, name)) });
    return parseFiles(files);
  }
}

type Setting = (name: string) => string | undefined;

async function readEtcd(file: Section, setting: Setting, hosts: readonly string[] | null): Promise<EtcdConfig> {
  const named = 'etcd3' in file ? section(file['etcd3']) : section(file['etcd']);
  const from = (name: string): string | null =>
    setting(`ETCD3_${name.toUpperCase()}`) ?? setting(`ETCD_${name.toUpperCase()}`) ?? text(named[name]);
  const protocol = from('protocol') ?? (from('cacert') === null ? 'http' : 'https');
  const listed =
    hosts ??
    list(
      setting('ETCD3_HOSTS') ?? setting('ETCD_HOSTS') ?? named['hosts'] ?? from('host') ?? from('url') ?? from('proxy'),
    );
  const domain = hosts === null && listed.length === 0 ? from('srv') : null;
  if (listed.length === 0 && domain === null) {
    const other = OTHER_STORES.find((name) => name in file);
    throw new Refusal(
      other === undefined
        ? 'No etcd is named: use -c FILE with an etcd3 section, or -d etcd3://HOST:PORT/NAMESPACE.'
        : `The file names ${other}; pgha keeps its clusters in etcd: use -d etcd3://HOST:PORT/NAMESPACE.`,
    );
  }
  return {
    endpoints: listed.map((host) => endpoint(host, protocol)),
    srv: domain === null ? null : { domain, suffix: from('srv_suffix') },
    username: from('username'),
    password: from('password') ?? (await secretFile(named['password_file'])),
    cacert: from('cacert'),
    cert: from('cert'),
    key: from('key'),
  };
}

/** `host`, `host:port`, `[v6]:port` or a whole URL -> `http://host:port` */
export function endpoint(host: string, protocol: string): string {
  const url = /^[a-z0-9]+:\/\//i.test(host) ? host : `${protocol}://${host}`;
  const bare = url.replace(/\/+$/, '');
  return /:\d+$/.test(bare) ? bare : `${bare}:${DEFAULT_PORT}`;
}

/** `etcd3://host:port[,host:port]/namespace`; scheme and namespace may be left out. */
export function readDcsUrl(url: string): { readonly hosts: readonly string[]; readonly namespace: string | null } {
  const match = /^(?:([a-z0-9+]+):\/\/)?([^/]+)(\/.*)?$/i.exec(url);
  const scheme = match?.[1]?.toLowerCase() ?? 'etcd3';
  if (match?.[2] === undefined || !['etcd', 'etcd3', 'http', 'https'].includes(scheme)) {
    throw new Refusal(`-d ${url}: expected etcd3://HOST:PORT[,HOST:PORT]/NAMESPACE`);
  }
  const secure = scheme === 'https' ? 'https' : 'http';
  const namespace = (match[3] ?? '').replace(/\/+$/, '');
  return {
    hosts: match[2].split(',').map((host) => (scheme.startsWith('etcd') ? host : `${secure}://${host}`)),
    namespace: namespace === '' ? null : namespace,
  };
}

async function readCtl(file: Section, setting: Setting, insecure: boolean): Promise<CtlConfig> {
  const ctl = section(file['ctl']);
  const restapi = section(file['restapi']);
  const logins = [section(ctl['authentication']), section(restapi['authentication'])];
  const login = logins.find((one) => text(one['username']) !== null) ?? {};
  const username = setting('CTL_USERNAME') ?? setting('RESTAPI_USERNAME') ?? text(login['username']);
  const password =
    setting('CTL_PASSWORD') ??
    setting('RESTAPI_PASSWORD') ??
    text(login['password']) ??
    (await secretFile(login['password_file']));
  const own = (name: string): string | null => setting(`CTL_${name.toUpperCase()}`) ?? text(ctl[name]);
  return {
    // What a hash was made of is not known from it: somebody has to say it in ctl.authentication.
    authentication: username === null || password === null || looksHashed(password) ? null : { username, password },
    insecure: insecure || /^(true|on|yes|1)$/i.test(own('insecure') ?? 'false'),
    cacert: own('cacert') ?? text(restapi['cafile']),
    certfile: own('certfile') ?? text(restapi['certfile']),
    keyfile: own('keyfile') ?? text(restapi['keyfile']),
    keyfilePassword: own('keyfile_password') ?? text(restapi['keyfile_password']),
  };
}

async function secretFile(path: unknown): Promise<string | null> {
  if (typeof path !== 'string') return null;
  try {
    return (await readTextFile(path)).replace(/\r?\n$/, '');
  } catch (error) {
    throw new Refusal(`${path} cannot be read: ${(error as Error).message}`);
  }
}

function section(value: unknown): Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Section) : {};
}

function text(value: unknown): string | null {
  if (typeof value === 'string') return value === '' ? null : value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : null;
}

function list(value: unknown): string[] {
  const items = Array.isArray(value) ? value : String(value ?? '').split(',');
  return items
    .map((item) =>
      String(item)
        .trim()
        .replace(/^['"]|['"]$/g, ''),
    )
    .filter((item) => item !== '');
}
