/**
 * What happened between one cycle and the next, told from what both saw: promotions, followed upstreams, servers and
 * stores that fell silent, members that came and went. It remembers and compares; whom it is told to is not its
 * business, and nothing is decided by it.
 */
import type { ClusterView, Member } from '../core/cluster.ts';
import type { ClusterEventName, EventPrimary } from '../core/cluster-events.ts';
import type { LocalPostgres } from '../core/local.ts';
import type { NodeName, Revision } from '../core/store.ts';
import { between, type Instant } from '../core/time.ts';
import { memberNamed } from '../core/view.ts';
import type { Published } from './published.ts';

export interface Happening {
  readonly event: ClusterEventName;
  readonly ok: boolean;
  readonly details: string;
  /** The member it is about; left out: this node. */
  readonly about?: Member;
  /** Whom this node follows now, or who was the primary before. */
  readonly other?: Led | null;
}

/** Somebody who leads or led. */
export interface Led {
  readonly name: NodeName;
  /** What he last said of himself; his key may be gone by now. */
  readonly member: Member | null;
}

/** A receiver that comes back sooner has not lost its upstream. */
const QUIET_FOR_MS = 1_000;

/** Operations during which a server that is down is no failure. */
const DELIBERATE: ReadonlySet<string> = new Set(['restart', 'stop', 'switchover', 'copy', 'rewind', 'bootstrap']);

/** Rules that are events themselves: nothing else would tell of them. */
const OF_RULE: Readonly<Record<string, ClusterEventName>> = {
  'leaderless.manual': 'standby_disconnect_manual',
  'node.unusable': 'node_unusable',
  'node.name-taken': 'node_unusable',
  'rejoin.stuck': 'node_unusable',
  'joining.foreign-data': 'node_unusable',
  'joining.standby-cannot-claim': 'node_unusable',
};

/** Rules of the leaderless under which nobody gets as far as an election. */
const NO_ELECTION: ReadonlySet<string> = new Set([
  'leaderless.not-eligible',
  'leaderless.not-up',
  'leaderless.at-the-gate',
  'leaderless.manual',
  'leaderless.start-standby',
  'leaderless.wait-for-data',
]);

export class Happenings {
  private readonly self: NodeName;
  private found: Happening[] = [];
  private cluster: ClusterView | null = null;
  private firstSeenAt: Instant | null = null;

  private leader: (Led & { readonly term: Revision }) | null = null;
  /** Who led before `leader`. */
  private former: Led | null = null;
  /** A handover is asked for under `leader`; it was, under `former`. */
  private asked = false;
  private formerAsked = false;

  private role: 'primary' | 'standby' | null = null;
  /** It was a primary and has not streamed as a standby since. */
  private wasPrimary = false;
  private deliberate = false;
  private localLost = false;

  /** `host:port` that this standby last received from. */
  private upstream: string | null = null;
  private quietSince: Instant | null = null;
  private lost: 'nothing' | 'stream' | 'leader' = 'nothing';
  /** Against whose absence an election was going on. */
  private electingWithout: NodeName | null = null;

  private storeLost = false;
  private paused: boolean | null = null;
  private saidOfRule: string | null = null;

  constructor(self: NodeName) {
    this.self = self;
  }

  /** Postgres here is being stopped by this daemon: that is no failure. */
  onPurpose(): void {
    this.deliberate = true;
  }

  /** The data here are another node's now: what pg_control says of a primary is about that one. */
  copied(): void {
    this.role = 'standby';
    this.wasPrimary = false;
    this.upstream = null;
    this.deliberate = true;
  }

  /** @param now - what a cycle knows before it acts */
  see(now: Published): readonly Happening[] {
    this.found = [];
    this.firstSeenAt ??= now.at;
    const before = this.cluster;
    this.cluster = now.cluster;
    const readAnew = now.cluster !== null && now.cluster !== before;
    if (now.cluster !== null && readAnew) {
      this.seeMembers(before, now.cluster);
      this.seeLeader(now.cluster, now.clusterAtWall);
    }
    this.seeStore(now);
    this.seeMaintenance(now);
    this.seeRule(now);
    this.seeLocal(now);
    this.seeRole(now);
    this.seeUpstream(now);
    return this.found;
  }

  private tell(
    event: ClusterEventName,
    ok: boolean,
    details: string,
    more: Pick<Happening, 'about' | 'other'> = {},
  ): void {
    this.found.push({ event, ok, details, ...more });
  }

  /** What concerns all is told by one: the leader, or without one the first member. */
  private speaksForAll(cluster: ClusterView | null): boolean {
    return cluster !== null && (cluster.leader?.name ?? cluster.members[0]?.name) === this.self;
  }

  private seeMembers(before: ClusterView | null, now: ClusterView): void {
    if (before === null || !this.speaksForAll(now)) return;
    const other = now.leader === null ? null : { name: now.leader.name, member: memberNamed(now, now.leader.name) };
    for (const member of now.members) {
      if (member.name === this.self || memberNamed(before, member.name) !== null) continue;
      const witness = member.pgha?.role === 'witness';
      this.tell(witness ? 'witness_register' : 'standby_register', true, `${member.name} has joined`, {
        about: member,
        other,
      });
    }
    for (const member of before.members) {
      if (member.name === this.self || memberNamed(now, member.name) !== null) continue;
      const witness = member.pgha?.role === 'witness';
      this.tell(
        witness ? 'witness_unregister' : 'standby_unregister',
        true,
        `${member.name} has left: its key is gone`,
        {
          about: member,
          other,
        },
      );
    }
  }

  private seeLeader(cluster: ClusterView, wall: Published['clusterAtWall']): void {
    const key = cluster.leader;
    // Without a key the last leader stays in mind, and whether he was asked to hand over: the request goes with the key.
    if (key === null) return;
    const member = memberNamed(cluster, key.name);
    if (this.leader !== null && this.leader.term !== key.term) {
      this.former = this.leader;
      this.formerAsked = this.asked;
    }
    const known = this.leader?.name === key.name ? this.leader.member : null;
    this.leader = { name: key.name, term: key.term, member: member ?? known };
    const { failover } = cluster;
    this.asked =
      failover !== null &&
      (failover.scheduledAt === null || (wall !== null && Date.parse(failover.scheduledAt) <= wall));
  }

  private seeStore(now: Published): void {
    const { loopWait } = now.policy.cluster;
    const silentMs = between(now.clusterAt ?? this.firstSeenAt ?? now.at, now.at);
    if (!this.storeLost && silentMs > 2 * loopWait + 1_000) {
      this.storeLost = true;
      this.tell('store_unreachable', false, `etcd has not answered for ${(silentMs / 1000).toFixed(1)} s`);
    } else if (this.storeLost && now.clusterAt !== null && silentMs <= loopWait) {
      this.storeLost = false;
      this.tell('store_reachable', true, 'etcd answers again');
    }
  }

  private seeMaintenance(now: Published): void {
    const { pause } = now.policy.cluster;
    const changed = this.paused !== null && this.paused !== pause;
    // Before etcd was read nobody knows.
    if (now.cluster !== null) this.paused = pause;
    if (!changed || !this.speaksForAll(now.cluster)) return;
    if (pause) this.tell('cluster_paused', true, 'maintenance: nothing is started, stopped or promoted by itself');
    else this.tell('cluster_resumed', true, 'the end of the maintenance');
  }

  private seeRule(now: Published): void {
    const { rule, reason } = now.decision;
    const event = OF_RULE[rule];
    if (event !== undefined) {
      if (this.saidOfRule !== rule) this.tell(event, false, reason);
      this.saidOfRule = rule;
    } else if (/^(following|leading)\./.test(rule)) this.saidOfRule = null;

    if (rule.startsWith('leaderless.') && !NO_ELECTION.has(rule)) this.electingWithout ??= this.leader?.name ?? null;
    else if (rule.startsWith('following.') && this.electingWithout !== null) {
      if (this.electingWithout === now.cluster?.leader?.name)
        this.tell('repmgrd_failover_abort', true, `${this.electingWithout} leads again: nobody else was promoted`, {
          other: this.leader,
        });
      this.electingWithout = null;
    } else if (now.leadership.kind === 'holding') this.electingWithout = null;
  }

  private seeLocal({ local, operation, decision, leadership }: Published): void {
    const running = local.kind === 'primary' || local.kind === 'standby' ? local : null;
    if (running !== null && running.failing === null) {
      // Whatever it was that lost its server: told as what it is now.
      if (this.localLost && this.role === running.kind)
        this.tell(
          running.kind === 'primary' ? 'repmgrd_local_reconnect' : 'standby_recovery',
          true,
          `Postgres answers again, as ${running.kind === 'primary' ? 'the primary' : 'a standby'}`,
        );
      this.localLost = false;
      this.deliberate = operation !== null && DELIBERATE.has(operation.kind);
      return;
    }
    if (operation !== null && DELIBERATE.has(operation.kind) && !this.localLost) this.deliberate = true;
    // Orphans are ended too, but it was not we who made them orphans.
    if (decision.rule.startsWith('service.') || decision.rule === 'fence.without-window') this.deliberate = true;
    if (this.localLost || this.deliberate || this.role === null || !broken(local)) return;
    // One that does not lead any more was fenced, which is an event of its own.
    if (this.role === 'primary' && leadership.kind !== 'holding') return;
    this.localLost = true;
    this.tell(this.role === 'primary' ? 'repmgrd_local_disconnect' : 'standby_failure', false, whatIsWrong(local));
  }

  private seeRole({ local, leadership }: Published): void {
    if (local.kind === 'primary') {
      if (this.role === 'standby' && leadership.kind === 'holding') this.promoted(leadership.term, local.timeline);
      this.role = 'primary';
      this.wasPrimary = true;
      this.upstream = null;
      this.quietSince = null;
      this.lost = 'nothing';
    } else if (local.kind === 'standby') this.role = 'standby';
    else if (local.kind === 'stopped' && this.role === null) {
      this.role = local.wasPrimary ? 'primary' : 'standby';
      this.wasPrimary = local.wasPrimary;
      // It was found like that.
      this.deliberate = true;
    }
  }

  private promoted(term: Revision, timeline: number): void {
    // The key may not have been read since it was taken.
    const known = this.leader?.name === this.self && this.leader.term === term;
    const former = known ? this.former : this.leader;
    const asked = known ? this.formerAsked : this.asked;
    const before = former === null ? '' : `; the former primary was ${former.name}`;
    this.tell('standby_promote', true, `${this.self} is the primary now, on timeline ${timeline}${before}`, {
      other: former,
    });
    if (asked && former !== null && former.name !== this.self)
      this.tell('standby_switchover', true, `${former.name} has handed over to ${this.self}, as was asked for`, {
        other: former,
      });
    else
      this.tell(
        'repmgrd_failover_promote',
        true,
        `${this.self} has taken over${former === null ? '' : ` from ${former.name}`}`,
        {
          other: former,
        },
      );
  }

  private seeUpstream(now: Published): void {
    const { local, cluster } = now;
    if (local.kind !== 'standby') return;
    const from = local.receiver?.streaming === true ? local.receiver.from : null;
    if (from !== null) {
      this.quietSince = null;
      this.receives(from, cluster);
    } else this.quietSince ??= now.at;

    if (this.lost !== 'nothing' || this.upstream === null || this.asked || now.operation !== null) return;
    const server = this.leader === null ? null : serverOf(this.leader.member);
    if (cluster !== null && cluster.leader === null && this.upstream === server) {
      this.lost = 'leader';
      this.tell(
        'repmgrd_upstream_disconnect',
        false,
        `nobody leads any more: the key of ${this.leader?.name} is gone`,
        {
          other: this.leader,
        },
      );
    } else if (this.quietSince !== null && between(this.quietSince, now.at) >= QUIET_FOR_MS) {
      this.lost = 'stream';
      this.tell(
        'repmgrd_upstream_disconnect',
        false,
        `nothing is received from ${this.nameOf(this.upstream, cluster)}`,
        {
          other: this.atServer(this.upstream, cluster),
        },
      );
    }
  }

  /** @param from - `host:port` that WAL comes from now */
  private receives(from: string, cluster: ClusterView | null): void {
    const other = this.atServer(from, cluster);
    const whom = this.nameOf(from, cluster);
    const leads = cluster?.leader != null && other?.name === cluster.leader.name;
    if (this.wasPrimary) {
      this.wasPrimary = false;
      this.tell('repmgrd_standby_reconnect', true, `the former primary ${this.self} is a standby of ${whom} now`, {
        other,
      });
    } else if (this.upstream !== null && this.upstream !== from) {
      this.tell('standby_follow', true, `${this.self} follows ${whom} now`, { other });
      if (leads && this.former !== null && this.former.name !== other?.name && !this.formerAsked)
        this.tell('repmgrd_failover_follow', true, `${this.self} follows ${whom} after the failover`, { other });
    } else if (this.lost === 'stream' || (this.lost === 'leader' && leads)) {
      this.tell('repmgrd_upstream_reconnect', true, `${this.self} receives from ${whom} again`, { other });
    } else if (this.lost === 'leader') return;
    this.upstream = from;
    this.lost = 'nothing';
  }

  private atServer(server: string, cluster: ClusterView | null): Led | null {
    const member = cluster?.members.find((one) => serverOf(one) === server);
    if (member !== undefined) return { name: member.name, member };
    return this.leader !== null && serverOf(this.leader.member) === server ? this.leader : null;
  }

  private nameOf(server: string, cluster: ClusterView | null): string {
    return this.atServer(server, cluster)?.name ?? server;
  }
}

const serverOf = (member: Member | null): string | null =>
  member === null || member.host === null || member.port === null ? null : `${member.host}:${member.port}`;

/** As an event has it. */
export function eventPrimary({ name, member }: Led): EventPrimary {
  return {
    id: member?.pgha?.nodeId ?? null,
    name,
    conninfo: member?.host == null || member.port === null ? null : `host=${member.host} port=${member.port}`,
  };
}

function broken(local: LocalPostgres): boolean {
  switch (local.kind) {
    case 'primary':
    case 'standby':
      return local.failing !== null;
    case 'stopped':
    case 'orphans':
    case 'silent':
    case 'absent':
    case 'unusable':
      return true;
    case 'starting':
    case 'stopping':
    case 'half-made':
      return false;
    default:
      return ((never: never) => never)(local);
  }
}

function whatIsWrong(local: LocalPostgres): string {
  switch (local.kind) {
    case 'primary':
    case 'standby':
      return local.failing === null
        ? 'Postgres is well'
        : `the ${local.failing.check} check fails: ${local.failing.said}`;
    case 'stopped':
      return local.cleanly ? 'Postgres was stopped by somebody else' : 'Postgres has crashed';
    case 'orphans':
      return 'the postmaster is gone and some of its processes are still there';
    case 'silent':
      return `Postgres does not answer: ${local.said}`;
    case 'absent':
      return 'the data directory is gone';
    case 'unusable':
      return local.sentence;
    case 'starting':
    case 'stopping':
    case 'half-made':
      return `Postgres is ${local.kind}`;
    default:
      return ((never: never) => never)(local);
  }
}
