/**
 * The JSON of `GET /cluster`, and the source of pgha-ctl's table: what the keys in etcd say about every member, in
 * Patroni's words. Pure; it knows nothing of this node.
 */
import { type ClusterView, isOn, isSyncStandby, type Member } from '../core/cluster.ts';
import { type Lsn, lsn, printLsn } from '../core/lsn.ts';

export interface ShownMember {
  readonly name: string;
  readonly role: string;
  readonly state: string;
  readonly api_url?: string;
  readonly host?: string;
  readonly port?: number;
  readonly timeline?: number;
  readonly pending_restart?: true;
  readonly pending_restart_reason?: unknown;
  readonly scheduled_restart?: unknown;
  readonly tags?: Readonly<Record<string, unknown>>;
  readonly receive_lag?: number | 'unknown';
  readonly receive_lsn?: string;
  readonly replay_lag?: number | 'unknown';
  readonly replay_lsn?: string;
  /** The member whose server it receives from, where that is known. */
  readonly receives_from?: string;
  readonly lag?: number | 'unknown';
  readonly lsn?: string;
  /** What is wrong with its running Postgres. */
  readonly trouble?: string;
  /** How far a copy or a rewind has come. */
  readonly progress?: string;
  /** The virtual address that it has now. */
  readonly vip?: string;
}

export interface ShownCluster {
  readonly members: readonly ShownMember[];
  readonly scope: string;
  readonly pause?: true;
  readonly scheduled_switchover?: { readonly at: string; readonly from?: string; readonly to?: string };
}

export function clusterDocument(view: ClusterView, scope: string): ShownCluster {
  const wish = view.failover;
  return {
    members: view.members.map((member) => shown(member, view)),
    scope,
    ...(isOn(view, 'pause') ? { pause: true as const } : {}),
    ...(wish === null || wish.scheduledAt === null
      ? {}
      : {
          scheduled_switchover: {
            at: wish.scheduledAt,
            ...(wish.leader === null ? {} : { from: wish.leader }),
            ...(wish.candidate === null ? {} : { to: wish.candidate }),
          },
        }),
  };
}

function shown(member: Member, view: ClusterView): ShownMember {
  const isLeader = view.leader?.name === member.name;
  const isWitness = member.pgha?.role === 'witness';
  const { raw } = member;
  const from = member.pgha?.receivesFrom ?? null;
  return {
    name: member.name,
    role: isLeader
      ? isStandbyCluster(view)
        ? 'standby_leader'
        : 'leader'
      : isWitness
        ? 'witness'
        : standbyRole(member, view),
    // What counts members that are well looks for this word.
    state: isWitness ? 'running' : isLeader ? member.state : (member.replicationState ?? member.state),
    ...(member.apiUrl === null ? {} : { api_url: member.apiUrl }),
    ...(member.host === null ? {} : { host: member.host }),
    ...(member.port === null ? {} : { port: member.port }),
    ...(member.timeline === null ? {} : { timeline: member.timeline }),
    ...(member.pendingRestart ? { pending_restart: true as const } : {}),
    ...('pending_restart_reason' in raw ? { pending_restart_reason: raw['pending_restart_reason'] } : {}),
    ...('scheduled_restart' in raw ? { scheduled_restart: raw['scheduled_restart'] } : {}),
    ...(Object.keys(member.tags).length === 0 ? {} : { tags: member.tags }),
    ...(isLeader || from === null ? {} : { receives_from: from }),
    ...(isLeader || isWitness ? {} : lags(member, view.status?.optime ?? lsn(0))),
    ...(member.pgha?.trouble === undefined ? {} : { trouble: member.pgha.trouble }),
    ...(member.pgha?.progress === undefined ? {} : { progress: member.pgha.progress }),
    ...(member.pgha?.vip === undefined ? {} : { vip: member.pgha.vip }),
  };
}

/** Both spellings of `on` are in files. */
function standbyRole(member: Member, view: ClusterView): 'replica' | 'sync_standby' | 'quorum_standby' {
  if (!isSyncStandby(view, member.name)) return 'replica';
  const mode = String(view.config?.value['synchronous_mode'] ?? 'off').toLowerCase();
  if (mode === 'quorum') return 'quorum_standby';
  return isOn(view, 'synchronous_mode') ? 'sync_standby' : 'replica';
}

function isStandbyCluster(view: ClusterView): boolean {
  const source = view.config?.value['standby_cluster'];
  if (typeof source !== 'object' || source === null) return false;
  return 'host' in source || 'port' in source || 'restore_command' in source;
}

function lags(member: Member, leaderAt: Lsn): Partial<ShownMember> {
  const behind = (at: Lsn | null): number | 'unknown' =>
    at === null ? 'unknown' : leaderAt > at ? Number(leaderAt - at) : 0;
  const text = (at: Lsn | null): string => (at === null ? 'unknown' : printLsn(at));
  return {
    receive_lag: behind(member.receiveLsn),
    receive_lsn: text(member.receiveLsn),
    replay_lag: behind(member.replayLsn),
    replay_lsn: text(member.replayLsn),
    lag: behind(member.xlogLocation),
    lsn: text(member.xlogLocation),
  };
}
