/** How far the standbys are behind, by what the members publish in etcd (a cycle old at most), and whether one could take over. Pure. */
import { printBytes } from '../../../config/units.ts';
import type { ClusterView, Member } from '../../../core/cluster.ts';
import { type Lsn, printLsn } from '../../../core/lsn.ts';
import type { Finding, Judgement } from './finding.ts';

/** Bytes. */
export interface LagLimits {
  readonly warning: number;
  readonly critical: number;
}

export function judgeReplication(view: ClusterView, limits: LagLimits): Judgement {
  const leader = view.members.find(({ name }) => name === view.leader?.name);
  if (leader === undefined) {
    const said = 'there is no leader: nobody accepts writes';
    return { findings: [{ level: 'critical', about: 'leader', said, todo: 'pgha-ctl explain' }], figures: [] };
  }
  const end = furthest([view.status?.optime ?? null, leader.xlogLocation]);
  const standbys = view.members.filter((member) => member !== leader && member.pgha?.role !== 'witness');
  const judged = standbys.map((member) => ({ member, finding: judgeStandby(member, leader, end, limits) }));
  const where = end === null ? 'says no position' : `is at ${printLsn(end)}, timeline ${leader.timeline ?? 'unknown'}`;
  return {
    findings: [
      { level: end === null ? 'unknown' : 'ok', about: leader.name, said: `leads, and ${where}` },
      ...judged.map(({ finding }) => finding),
      ...judgeSuccession(judged),
    ],
    figures: standbys.flatMap((member) => {
      const lag = lagOf(member, end);
      return lag === null ? [] : [{ name: `lag_${member.name}`, value: lag, unit: 'B' as const }];
    }),
  };
}

const furthest = (positions: readonly (Lsn | null)[]): Lsn | null =>
  positions.reduce((most, one) => (one !== null && (most === null || one > most) ? one : most), null);

/** Of what it has received: what it has not replayed yet is not lost. */
function lagOf(member: Member, end: Lsn | null): number | null {
  const has = furthest([member.receiveLsn, member.replayLsn, member.xlogLocation]);
  return end === null || has === null ? null : Math.max(0, Number(end - has));
}

function judgeStandby(member: Member, leader: Member, end: Lsn | null, limits: LagLimits): Finding {
  const about = member.name;
  const lag = lagOf(member, end);
  const replay = end === null || member.replayLsn === null ? null : Math.max(0, Number(end - member.replayLsn));
  const behind = `${amount(lag)} behind, ${amount(replay)} in replay`;
  const todo = `pgha-ctl list -e says more; pgha-ctl reinit CLUSTER ${member.name} copies it anew`;
  if (member.state !== 'running' && member.state !== 'streaming')
    return { level: 'critical', about, said: `is ${member.state}`, todo: `journalctl -u pgha, on ${member.name}` };
  if (member.timeline !== null && leader.timeline !== null && member.timeline !== leader.timeline)
    return {
      level: 'critical',
      about,
      said: `is on timeline ${member.timeline}, the leader on ${leader.timeline}`,
      todo,
    };
  if (member.replicationState !== 'streaming' && member.tags['nostream'] !== true)
    return { level: 'critical', about, said: `does not stream; ${behind}`, todo };
  if (lag === null) return { level: 'unknown', about, said: 'says no position' };
  const level = lag > limits.critical ? 'critical' : lag > limits.warning ? 'warning' : 'ok';
  return { level, about, said: behind };
}

const amount = (bytes: number | null): string =>
  bytes === null ? 'unknown' : bytes < 2 ** 20 ? printBytes(bytes) : `${(bytes / 2 ** 20).toFixed(1)} MB`;

function judgeSuccession(judged: readonly { readonly member: Member; readonly finding: Finding }[]): Finding[] {
  const about = 'succession';
  if (judged.length === 0)
    return [{ level: 'warning', about, said: 'there is no standby: when the leader is lost, nobody takes over' }];
  const able = judged.filter(
    ({ member, finding }) =>
      (finding.level === 'ok' || finding.level === 'warning') &&
      member.tags['nofailover'] !== true &&
      member.pgha?.priority !== 0,
  );
  if (able.length === 0)
    return [{ level: 'critical', about, said: 'no standby could take over now', todo: 'pgha-ctl explain' }];
  return [{ level: 'ok', about, said: `${able.map(({ member }) => member.name).join(', ')} could take over` }];
}
