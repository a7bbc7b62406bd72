/**
 * The one line by which the log says every log_status_interval how this node stands. Pure: what is shown to HTTP, in a
 * sentence and its facts.
 */
import { lagsNow } from '../core/lag-history.ts';
import { position } from '../core/local.ts';
import { printLsn } from '../core/lsn.ts';
import { between } from '../core/time.ts';
import type { Facts } from '../ports/event-log.ts';
import type { Published } from './published.ts';

export interface StatusLine {
  readonly sentence: string;
  readonly facts: Facts;
}

export function statusLine(self: string, published: Published): StatusLine {
  const { local, leadership, cluster, decision, operation, state, role } = published;
  const leader = cluster?.leader?.name ?? null;
  const window =
    leadership.kind === 'holding' && Number.isFinite(leadership.until)
      ? Math.max(0, Math.round(between(published.at, leadership.until)))
      : null;
  const parts = [
    leader === self ? `${self} leads` : leader === null ? `${self} knows no leader` : `${self} follows ${leader}`,
    `${role} ${state}`,
  ];
  if (local.kind === 'primary') parts.push(`timeline ${local.timeline} at ${printLsn(local.flushed)}`);
  if (local.kind === 'standby') parts.push(`timeline ${local.timeline} at ${printLsn(position(local))}`);
  const lag = lagOf(published);
  if (lag !== null) parts.push(lag);
  if (window !== null) parts.push(`window open for ${(window / 1000).toFixed(1)} s`);
  if (operation !== null) parts.push(operation.sentence);
  return {
    sentence: (published.policy.cluster.pause ? 'PAUSE: ' : '') + parts.join(', '),
    facts: { rule: decision.rule, leader, role, state, ...(window === null ? {} : { window_left_ms: window }) },
  };
}

function lagOf({ local, cluster, at, clusterAt }: Published): string | null {
  if (cluster === null) return null;
  if (local.kind === 'primary') {
    const lags = [...lagsNow(local, cluster)].map(([name, { replay }]) =>
      replay === null ? `${name} is not heard` : `${name} ${replay} bytes behind`,
    );
    return lags.length === 0 ? 'no standby' : lags.join(', ');
  }
  if (local.kind !== 'standby') return null;
  const sent = cluster.status?.optime ?? null;
  if (sent === null) return null;
  const behind = Math.max(0, Number(sent - local.replayed));
  const age = clusterAt === null ? '' : ` as of ${Math.round(between(clusterAt, at) / 1000)} s ago`;
  return `${behind} bytes behind${age}`;
}
