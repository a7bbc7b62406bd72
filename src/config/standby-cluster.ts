/**
 * `standby_cluster` of the cluster's settings, in the form in which the core uses it. It is in force once it names a
 * host, a port or a restore_command, as in Patroni; what of it makes no sense is told, and never makes a cluster that
 * was to follow another one a cluster of its own.
 */
import type { RemoteSource } from '../core/policy.ts';

interface Read {
  /** null: this is no standby cluster. */
  readonly source: RemoteSource | null;
  /** What cannot be used as it is written: `.port ...`. */
  readonly problems: readonly string[];
}

const DEFAULT_PORT = 5432;

export function readStandbyCluster(raw: unknown): Read {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    const problems = raw === undefined || raw === null || raw === false ? [] : [' is not a map and was ignored'];
    return { source: null, problems };
  }
  const given = raw as Readonly<Record<string, unknown>>;
  const problems: string[] = [];
  const text = (name: string): string | null => {
    const value = given[name];
    if (value === undefined || value === null || value === '') return null;
    if (typeof value === 'string' || typeof value === 'number') return String(value);
    problems.push(`.${name} is not text and was ignored`);
    return null;
  };
  const host = Array.isArray(given['host']) ? given['host'].map(String).join(',') : text('host');
  const restoreCommand = text('restore_command');
  const port = text('port');
  const isActive = host !== null || port !== null || restoreCommand !== null;
  if (!isActive) return { source: null, problems };
  const number = Number(port ?? DEFAULT_PORT);
  const isPort = Number.isInteger(number) && number > 0 && number < 65_536;
  if (!isPort) problems.push(`.port ${port} is none: ${DEFAULT_PORT} is used`);
  const methods = given['create_replica_methods'] ?? given['create_replica_method'];
  const names = typeof methods === 'string' ? methods.split(',') : Array.isArray(methods) ? methods.map(String) : null;
  return {
    source: {
      // A port alone is one of this machine, as libpq reads it.
      host: host ?? (port === null ? null : 'localhost'),
      port: isPort ? number : DEFAULT_PORT,
      slot: text('primary_slot_name'),
      copyMethods: names === null || names.length === 0 ? null : names.map((name) => name.trim()),
      restoreCommand,
      archiveCleanupCommand: text('archive_cleanup_command'),
      recoveryMinApplyDelay: text('recovery_min_apply_delay'),
    },
    problems,
  };
}
