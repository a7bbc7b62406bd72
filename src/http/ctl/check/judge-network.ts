/** Whether everybody who has to be reached can be, as far as this node can tell, and what the others say of the primary. Pure. */
import type { ClusterView, Member } from '../../../core/cluster.ts';
import type { Millis } from '../../../core/time.ts';
import type { Reach } from '../../../ports/examination.ts';
import type { Finding, Judgement } from './finding.ts';

export interface Door {
  /** Whose port it is. */
  readonly who: string;
  readonly what: 'Postgres' | 'REST API' | 'etcd' | 'etcd, among its members';
  readonly host: string;
  readonly port: number;
  readonly reach: Reach;
}

const FAR_MS = 250;

export function judgeNetwork(doors: readonly Door[], view: ClusterView | null, loopWait: Millis): Judgement {
  return {
    findings: [...doors.map(judgeDoor), ...seenByOthers(view, loopWait)],
    figures: [
      { name: 'open', value: doors.filter(({ reach }) => reach.kind === 'open').length, unit: '' },
      { name: 'closed', value: doors.filter(({ reach }) => reach.kind !== 'open').length, unit: '' },
    ],
  };
}

function judgeDoor({ who, what, host, port, reach }: Door): Finding {
  const about = `${who} ${port}`;
  const where = `${what} at ${host.includes(':') ? `[${host}]` : host}:${port}`;
  // Members of etcd talk to each other there: this node need not be let in, where it runs none.
  const level = what === 'etcd, among its members' ? 'warning' : 'critical';
  switch (reach.kind) {
    case 'open': {
      const said = `${where} is open, ${Math.round(reach.ms)} ms away`;
      return { level: reach.ms > FAR_MS ? 'warning' : 'ok', about, said };
    }
    case 'refused':
      return { level, about, said: `${where}: ${reach.said}`, todo: `start it on ${who}, or correct its address` };
    case 'silent':
      return { level, about, said: `${where}: ${reach.said}`, todo: `a firewall on ${who}, or on the way there?` };
  }
}

/** What each member publishes of its own look at the primary: the part of the net that cannot be seen from here. */
function seenByOthers(view: ClusterView | null, loopWait: Millis): Finding[] {
  if (view === null)
    return [
      { level: 'unknown', about: 'members', said: 'etcd has no such cluster yet: only etcd itself was looked at' },
    ];
  const leader = view.leader?.name;
  if (leader === undefined) return [{ level: 'critical', about: 'primary', said: 'there is no leader' }];
  return view.members
    .filter(({ name, pgha }) => name !== leader && pgha !== null)
    .map((member) => seenBy(member, leader, loopWait));
}

function seenBy({ name, pgha, replicationState }: Member, leader: string, loopWait: Millis): Finding {
  const about = `${name} to ${leader}`;
  const age = pgha?.sawPrimary ?? null;
  if (replicationState === 'streaming') return { level: 'ok', about, said: `${name} streams` };
  if (age !== null && age <= 3 * loopWait) return { level: 'ok', about, said: `${name} says that it sees the primary` };
  return {
    level: 'warning',
    about,
    said:
      age === null
        ? `${name} has never seen the primary`
        : `${name} has not seen the primary for ${Math.round(age / 1000)} s`,
    todo: 'run this on that node too: pgha-ctl check network',
  };
}
