/**
 * `GET /metrics`: Patroni's metrics under Patroni's names, with the labels scope and name and no others, and our own under
 * `pgha_`. Text by hand: what is published already holds every number, and nothing is counted here.
 */
import type { FastifyInstance } from 'fastify';
import { readRecord } from '../core/decision-record.ts';
import { replicationState } from '../core/local.ts';
import type { Lsn } from '../core/lsn.ts';
import { between } from '../core/time.ts';
import { PATRONI_LEVEL } from '../version.ts';
import { clusterKnown, failsafeIsActive, leaderPosition, syncDuty } from './health.ts';
import type { HttpParts } from './server.ts';
import { answering, instantFields, shownRole } from './status-document.ts';

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
  flag(
    'patroni_postgres_in_archive_recovery',
    'This standby is fed from an archive.',
    replicationState(published.local) === 'in archive recovery',
  );
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

  ownMetrics(parts, (name, help, samples, type = 'gauge') => {
    if (samples.length === 0) return;
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [more, value] of samples) {
      const named = Object.entries(more).map(([label, text]) => `,${label}="${escaped(text)}"`);
      lines.push(`${name}${labels.slice(0, -1)}${named.join('')}} ${value}`);
    }
  });
  return `${lines.join('\n')}\n`;
}

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];
type AddAll = (name: string, help: string, samples: readonly Sample[], type?: 'gauge' | 'counter') => void;

const GUARD_STATES = ['acking', 'silent', 'off'] as const;

/** What Patroni has no word for. A metric about which nothing is known here is left out, rather than shown as 0. */
function ownMetrics(parts: HttpParts, addAll: AddAll): void {
  const node = parts.look();
  const { published, now } = node;
  const { leadership, decision, guard, proofs, gate, slots, health } = published;
  const instant = instantFields(node);
  const add = (name: string, help: string, value: number | null, type?: 'counter'): void =>
    addAll(name, help, value === null ? [] : [[{}, value]], type);
  const flag = (name: string, help: string, value: boolean): void => add(name, help, value ? 1 : 0);
  const inSeconds = (value: unknown): number | null => (typeof value === 'number' ? value / 1000 : null);

  flag('pgha_writable', 'This Postgres accepts writes, by proven leadership.', node.writable);
  flag('pgha_leader', 'This node holds the leader key.', leadership.kind === 'holding');
  add('pgha_window_left_seconds', 'What is left of the window.', inSeconds(instant['window_left_ms']) ?? 0);
  add('pgha_lease_proofs_total', 'How often leadership was proven by this process.', proofs.count, 'counter');
  add(
    'pgha_lease_proof_age_seconds',
    'Since the last proof of leadership was asked for.',
    leadership.kind === 'holding' && proofs.last !== null ? between(proofs.last, now) / 1000 : null,
  );
  add('pgha_gate_left_seconds', 'Until this node might take over.', inSeconds(instant['gate_ms']));
  flag('pgha_gate_never_opens', 'The last leader went in maintenance.', gate?.opensAt === 'never');
  flag('pgha_guard_acking', 'The guard acknowledges.', guard === 'acking');
  addAll(
    'pgha_guard_state',
    'What the guard does: 1 at the state it is in.',
    GUARD_STATES.map((state) => [{ state }, state === guard ? 1 : 0]),
  );
  addAll('pgha_decision_rule', 'The rule that spoke last, and where this node finds itself.', [
    [{ rule: decision.rule, situation: decision.situation }, 1],
  ]);
  add('pgha_decision_age_seconds', 'Since that rule speaks.', between(decision.since, now) / 1000);
  add('pgha_published_age_seconds', 'Age of what this answer rests on.', inSeconds(instant['age_ms']) ?? 0);
  add('pgha_cluster_age_seconds', 'Since etcd was last read.', inSeconds(instant['cluster_age_ms']));
  flag('pgha_scheduled_restart', 'A restart of Postgres is scheduled here.', published.scheduledRestart !== null);
  addAll(
    'pgha_sick',
    'What ails this node: 1 for each kind of sickness that it has.',
    health.ailments.map(({ sickness }) => [{ kind: sickness.kind }, 1]),
  );
  addAll(
    'pgha_disk_free_bytes',
    'Free where the files of Postgres are.',
    health.vitals.disks.flatMap(({ directory, freeBytes }): Sample[] =>
      freeBytes === null ? [] : [[{ directory }, Number(freeBytes)]],
    ),
  );
  const pause = published.cluster?.poolers ?? null;
  if (published.policy.node.poolers !== undefined) {
    add(
      'pgha_poolers_held',
      'Poolers in which clients are held back now.',
      pause?.state === 'paused' ? pause.held.size : 0,
    );
    add('pgha_poolers_skipped', 'Poolers that were passed over in the last pause.', pause?.skipped.size ?? 0);
    add('pgha_pooler_pause_seconds', 'How long clients were held back last.', inSeconds(pause?.pauseMs));
  }
  if (published.virtualAddress != null) {
    flag('pgha_vip_held', 'This node has the virtual address.', published.virtualAddress.held);
    flag('pgha_vip_trouble', 'It could not be put here, or removed.', published.virtualAddress.trouble !== null);
  }
  lagMetrics(parts, addAll);
  takeoverMetrics(parts, addAll);
  add('pgha_slot_troubles', 'Replication slots that need somebody to look at them.', slots.troubles.length);
  addAll(
    'pgha_slot_retained_bytes',
    'WAL that a replication slot holds back.',
    slots.weighed.map(({ name, kind, active, retainedBytes }) => [
      { slot: name, type: kind, active: String(active) },
      Number(retainedBytes),
    ]),
  );
}

/** How far this standby is behind, or the standbys of this primary. */
function lagMetrics(parts: HttpParts, addAll: AddAll): void {
  const { published } = parts.look();
  const server = answering(published.local);
  const behind = (ahead: Lsn, at: Lsn | null): number | null =>
    at === null ? null : ahead > at ? Number(ahead - at) : 0;
  const samples: [label: Readonly<Record<string, string>>, received: number | null, replayed: number | null][] = [];
  const leaderAt = leaderPosition(published);
  const { name } = published.policy.node;
  if (server?.kind === 'standby' && leaderAt !== null) {
    const reached = server.received > server.replayed ? server.received : server.replayed;
    samples.push([{ standby: name }, behind(leaderAt, reached), behind(leaderAt, server.replayed)]);
  }
  if (server?.kind === 'primary') {
    // Several connections of one name would be several samples of one.
    const seen = new Set<string>();
    for (const sender of server.senders) {
      if (sender.state !== 'streaming' || seen.has(sender.applicationName)) continue;
      seen.add(sender.applicationName);
      const { applicationName: standby, flushed, replayed } = sender;
      samples.push([{ standby }, behind(server.flushed, flushed), behind(server.flushed, replayed)]);
    }
  }
  const known = (which: 1 | 2): Sample[] =>
    samples.flatMap((sample) => (sample[which] === null ? [] : [[sample[0], sample[which]] as const]));
  addAll('pgha_receive_lag_bytes', 'WAL that a standby has not received yet, as seen from here.', known(1));
  addAll('pgha_replay_lag_bytes', 'WAL that a standby has not replayed yet, as seen from here.', known(2));
}

/** The last takeover in this cluster, as it stands in etcd: the same on every member. */
function takeoverMetrics(parts: HttpParts, addAll: AddAll): void {
  const record = readRecord(parts.control.published().cluster?.lastTakeover ?? null);
  if (record === null) return;
  const about = { leader: record.node, kind: record.kind };
  addAll('pgha_failover_timestamp_seconds', 'When the present leader took writes first.', [
    [about, Date.parse(record.at) / 1000],
  ]);
  addAll(
    'pgha_failover_phase_seconds',
    'How long each phase of the last takeover took.',
    record.phases.map(({ phase, actual_ms }) => [{ ...about, phase }, actual_ms / 1000]),
  );
  addAll(
    'pgha_failover_judgement_seconds',
    'From the instant from which the last promotion was allowed to the one at which it was sent.',
    record.judgement_ms === null ? [] : [[about, record.judgement_ms / 1000]],
  );
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
