/**
 * The configuration of one node: the TypeScript type here, the JSON schema beside it. What `load.ts` hands out is
 * checked, complete (defaults filled in) and frozen; nothing else in pgha reads YAML or the environment.
 */
import type { ClusterPolicy, NodePolicy } from '../core/policy.ts';

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
  readonly sslrootcert: string | null;
}

export interface TlsFiles {
  readonly certfile: string;
  readonly keyfile: string | null;
  readonly keyfilePassword: string | null;
  readonly cafile: string | null;
}

export interface EtcdConfig {
  /** `http://10.0.0.1:2379` */
  readonly endpoints: readonly string[];
  readonly username: string | null;
  readonly password: string | null;
  readonly cacert: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

export interface RestApiConfig {
  readonly listen: HostPort;
  readonly connectAddress: HostPort;
  readonly authentication: { readonly username: string; readonly password: string } | null;
  readonly tls: (TlsFiles & { readonly verifyClient: 'none' | 'optional' | 'required' }) | null;
}

/** How pgha-ctl and other members reach a REST API: credentials and what to trust. */
export interface CtlConfig {
  readonly authentication: { readonly username: string; readonly password: string } | null;
  readonly insecure: boolean;
  readonly cacert: string | null;
  readonly certfile: string | null;
  readonly keyfile: string | null;
}

export interface PostgresConfig {
  /** listen_addresses as Postgres takes it (comma-separated), and the port. */
  readonly listen: { readonly addresses: string; readonly port: number };
  readonly connectAddress: HostPort;
  readonly dataDir: string;
  readonly configDir: string | null;
  /** Directory of postgres, pg_ctl, ...; null: the newest that Debian or PGDG put in its usual place, else PATH. */
  readonly binDir: string | null;
  readonly database: string;
  /** Directory of the unix socket; null: the runtime directory of pgha. */
  readonly unixSocketDirectory: string | null;
  readonly pgpass: string | null;
  readonly authentication: { readonly superuser: Login; readonly replication: Login; readonly rewind: Login };
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  readonly pgHba: readonly string[] | null;
  readonly pgIdent: readonly string[] | null;
  /** Extra options of pg_basebackup, `--name=value` or `--name`. */
  readonly basebackup: readonly string[];
}

export interface BootstrapConfig {
  /** Becomes etcd's `config` key at bootstrap, as written. */
  readonly dcs: Readonly<Record<string, unknown>>;
  readonly initdb: readonly string[];
  readonly pgHba: readonly string[] | null;
  readonly postBootstrap: string | null;
}

export interface LogConfig {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly format: 'plain' | 'json';
  /** null: standard output. */
  readonly file: string | null;
}

export interface GuardConfig {
  readonly mode: 'on' | 'off';
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
  /** On tmpfs: state file, guard's file, sockets. `/run/pgha/<scope>-<name>` when nothing is set. */
  readonly runtimeDirectory: string;
}
