/**
 * `GET /metrics`: Patroni's gauges under Patroni's names, with the labels scope and name, and a few of our own. Text by
 * hand: what is published already holds every number, and nothing is counted here.
 */
import type { FastifyInstance } from 'fastify';
import { PATRONI_LEVEL } from '../version.ts';
import { clusterKnown, syncDuty } from './health.ts';
import type { HttpParts } from './server.ts';
import { answering, failsafeIsActive, instantFields, shownRole } from './status-document.ts';

/** Patroni's numbers for the states of Postgres; dashboards translate them back. */
const STATES = [
  'initializing new cluster',
  'initdb failed',
  'running custom bootstrap script',
  'custom bootstrap failed',
  'creating replica',
  'running',
  'starting',
  'starting after custom bootstrap',
  'start failed',
  'restarting',
  'restart failed',
  'stopping',
  'stopped',
  'stop failed',
  'crashed',
];

export function metricsRoutes(app: FastifyInstance, parts: HttpParts): void {
  parts.segment(app, 'GET', 'metrics', (_request, reply) =>
    reply
      .code(200)
      .header('content-type', 'text/plain')
      .send(Buffer.from(metricsText(parts))),
  );
}

export function metricsText(parts: HttpParts): string {
  const config = parts.config();
  const node = parts.look();
  const { published } = node;
  const labels = `{scope="${escaped(config.scope)}",name="${escaped(config.node.name)}"}`;
  const lines: string[] = [];
  const add = (name: string, help: string, value: number, type = 'gauge', comment?: string): void => {
    lines.push(`# HELP ${name} ${help}`);
    if (comment !== undefined) lines.push(`# ${comment}`);
    lines.push(`# TYPE ${name} ${type}`, `${name}${labels} ${value}`);
  };
  const flag = (name: string, help: string, value: boolean): void => add(name, help, value ? 1 : 0);

  const server = answering(published.local);
  const primary = server?.kind === 'primary' ? server : null;
  const standby = server?.kind === 'standby' ? server : null;
  const role = shownRole(published);
  const { noFailover } = published.policy.node;
  const instant = instantFields(node);

  add('patroni_version', 'Level of the Patroni interface, two digits a part.', versionNumber(PATRONI_LEVEL));
  flag('patroni_postgres_running', 'Postgres runs and answers.', published.state === 'running');
  add('patroni_postmaster_start_time', 'When Postgres was started, epoch seconds.', epoch(server?.startedAt ?? null));
  flag('patroni_primary', 'This Postgres is out of recovery.', role === 'primary');
  add('patroni_xlog_location', 'Flush position of the primary, bytes.', Number(primary?.flushed ?? 0n), 'counter');
  flag('patroni_standby_leader', 'This node leads a standby cluster.', role === 'standby_leader');
  flag('patroni_replica', 'This node is a replica.', role === 'replica');
  flag('patroni_sync_standby', 'This node is a synchronous standby.', syncDuty(published) === 'sync');
  flag('patroni_quorum_standby', 'This node is a quorum standby.', syncDuty(published) === 'quorum');
  const received = standby === null ? 0n : standby.received === 0n ? standby.replayed : standby.received;
  add('patroni_xlog_received_location', 'Received position of a standby, bytes.', Number(received), 'counter');
  const replayed = Number(standby?.replayed ?? 0n);
  add('patroni_xlog_replayed_location', 'Replayed position of a standby, bytes.', replayed, 'counter');
  const replayedAt = epoch(standby?.replayedAt ?? null);
  add('patroni_xlog_replayed_timestamp', 'Time of the last replayed commit, epoch seconds.', replayedAt);
  flag('patroni_xlog_paused', 'Replay is paused.', standby?.replayPaused === true);
  flag('patroni_postgres_streaming', 'This standby streams.', standby?.receiver?.streaming === true);
  flag('patroni_postgres_in_archive_recovery', 'This standby is fed from an archive.', false);
  add('patroni_postgres_server_version', 'Version of Postgres.', server?.version ?? 0);
  flag('patroni_cluster_unlocked', 'No leader is known.', !clusterKnown(node) || published.cluster?.leader === null);
  flag('patroni_failsafe_mode_is_active', 'Failsafe mode is in force.', failsafeIsActive(node));
  flag('patroni_failsafe_mode_enabled', 'Failsafe mode is switched on.', published.policy.cluster.failsafeMode);
  const listed = published.cluster?.failsafe?.members.has(published.policy.node.name) === true;
  flag('patroni_failsafe_member', 'This node stands in the failsafe list.', listed);
  add('patroni_postgres_timeline', 'Timeline of Postgres.', server?.timeline ?? 0);
  const dcsSeen = Math.floor((published.clusterAtWall ?? 0) / 1000);
  add('patroni_dcs_last_seen', 'When etcd was last read, epoch seconds.', dcsSeen);
  flag('patroni_pending_restart', 'A setting waits for a restart.', (server?.pendingRestart.length ?? 0) > 0);
  flag('patroni_is_paused', 'The cluster is in maintenance.', published.policy.cluster.pause);
  add(
    'patroni_postgres_state',
    'State of Postgres as a number.',
    STATES.indexOf(published.state),
    'gauge',
    STATES.map((state, index) => `${index}=${state}`).join(', '),
  );
  const priority = noFailover ? 0 : Number(config.tags['failover_priority'] ?? 1);
  add(
    'patroni_failover_priority',
    'Priority among candidates; 0 never leads.',
    Number.isFinite(priority) ? priority : 1,
  );

  flag('pgha_writable', 'This Postgres accepts writes, by proven leadership.', node.writable);
  add('pgha_window_left_seconds', 'What is left of the window.', Number(instant['window_left_ms'] ?? 0) / 1000);
  flag('pgha_guard_acking', 'The guard acknowledges.', published.guard === 'acking');
  add('pgha_published_age_seconds', 'Age of what this answer rests on.', Number(instant['age_ms']) / 1000);
  add('pgha_slot_troubles', 'Replication slots that need somebody to look at them.', published.slots.troubles.length);
  lines.push(
    '# HELP pgha_slot_retained_bytes WAL that a replication slot holds back.',
    '# TYPE pgha_slot_retained_bytes gauge',
    ...published.slots.weighed.map(
      ({ name, kind, active, retainedBytes }) =>
        `pgha_slot_retained_bytes${labels.slice(0, -1)},slot="${escaped(name)}",type="${kind}",active="${active}"} ${retainedBytes}`,
    ),
  );
  return `${lines.join('\n')}\n`;
}

const escaped = (text: string): string => text.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`));

/** `4.1.4` -> 40104 */
function versionNumber(version: string): number {
  return Number(
    version
      .split('.')
      .map((part) => part.padStart(2, '0'))
      .join(''),
  );
}

/** Postgres prints `2026-11-20 10:44:00.123456+00:00`; 0 when there is none. */
function epoch(text: string | null): number {
  const ms = text === null ? Number.NaN : Date.parse(text.replace(' ', 'T').replace(/([+-]\d{2})$/, '$1:00'));
  return Number.isNaN(ms) ? 0 : ms / 1000;
}
