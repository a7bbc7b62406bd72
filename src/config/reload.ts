/**
 * What a running daemon takes over from its file when that is read again, and what has to wait for its next start
 * because others know it by it, or because it is opened once. Pure; role is refused in daemon.ts.
 */
import type { Config } from './schema.ts';

type Fixed = readonly [name: string, of: (config: Config) => unknown];

const FIXED: readonly Fixed[] = [
  ['scope', ({ scope }) => scope],
  ['namespace', ({ namespace }) => namespace],
  ['name', ({ node }) => node.name],
  ['etcd', ({ etcd }) => etcd],
  ['restapi.listen', ({ restapi }) => restapi.listen],
  ['restapi.connect_address', ({ restapi }) => restapi.connectAddress],
  ['restapi.agent_check', ({ restapi }) => restapi.agentCheck],
  ['restapi.certfile (TLS on or off)', ({ restapi }) => restapi.tls === null],
  ['ctl', ({ ctl }) => ctl],
  ['postgresql.listen', ({ postgresql }) => postgresql.listen],
  ['postgresql.connect_address', ({ postgresql }) => postgresql.connectAddress],
  ['postgresql.proxy_address', ({ postgresql }) => postgresql.proxyAddress],
  ['postgresql.data_dir', ({ postgresql }) => postgresql.dataDir],
  ['postgresql.config_dir', ({ postgresql }) => postgresql.configDir],
  ['postgresql.bin_dir', ({ postgresql }) => postgresql.binDir],
  ['postgresql.unix_socket_directory', ({ postgresql }) => postgresql.unixSocketDirectory],
  ['guard', ({ guard }) => guard],
  ['watchdog', ({ watchdog }) => watchdog],
  ['vip', ({ vip }) => vip],
  ['log.file', ({ log }) => log.file],
  ['log.format', ({ log }) => log.format],
];

/**
 * @param atStart - what the daemon was started with
 * @returns what is in force from now on, and the names of the settings that wait for the next start
 */
export function takeOver(
  atStart: Config,
  read: Config,
): { readonly config: Config; readonly waiting: readonly string[] } {
  const waiting = FIXED.filter(([, of]) => JSON.stringify(of(atStart)) !== JSON.stringify(of(read)));
  return {
    // Under its old name it goes on: a member that answers under another one counts as gone.
    config: {
      ...read,
      scope: atStart.scope,
      namespace: atStart.namespace,
      node: { ...read.node, name: atStart.node.name },
      runtimeDirectory: atStart.runtimeDirectory,
    },
    waiting: waiting.map(([name]) => name),
  };
}
