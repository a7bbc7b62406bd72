/**
 * Whether this cluster follows another one, and by what source. What its leader does about it stands in
 * situations/leading-standbys.ts; this only answers the question, for everybody who must not take such a leader for a
 * primary to be.
 */
import type { ClusterView } from './cluster.ts';
import type { Policy, RemoteSource } from './policy.ts';

/**
 * `unknown`: its leader has written that it follows another one, and the settings that say which cannot be read now.
 * Nobody is promoted for want of settings. null: it is a cluster of its own.
 */
export function standbySource(policy: Policy, cluster: ClusterView | null): RemoteSource | 'unknown' | null {
  const { standbyCluster } = policy.cluster;
  if (standbyCluster !== undefined) return standbyCluster;
  return cluster !== null && cluster.config === null && cluster.status?.standbyCluster === true ? 'unknown' : null;
}

/** What primary_conninfo names first, as `host:port`; null: no server is followed. */
export function followedServer({ host, port }: RemoteSource): string | null {
  return host === null ? null : `${host.split(',')[0]?.trim()}:${port}`;
}

/** For people. */
export function describeSource(source: RemoteSource): string {
  return source.host === null ? 'the archive' : `${source.host}:${source.port}`;
}
