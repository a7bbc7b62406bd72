/**
 * `ports/peers` for one life of a daemon: the other daemons' `Control`, over links that can be cut and with limits. A
 * daemon that is stopped (SIGSTOP) takes the connection and answers when it goes on; one that is dead refuses.
 */
import type { Control } from '../../../src/agent/published.ts';
import type { FailsafeAnswer, FailsafeRequest } from '../../../src/core/failsafe.ts';
import { position } from '../../../src/core/local.ts';
import type { Lsn, Timeline } from '../../../src/core/lsn.ts';
import type { PeerAnswer, PeerStatus, RescueAnswer, RescueRequest } from '../../../src/core/peer.ts';
import { between, type Millis, millis } from '../../../src/core/time.ts';
import type { PeerAddress, Peers } from '../../../src/ports/peers.ts';
import type { WalChunk } from '../../../src/ports/postgres.ts';
import type { Incarnation } from '../world/incarnation.ts';
import type { Network } from '../world/network.ts';
import type { SeededRandom } from '../world/random.ts';
import type { Scheduler } from '../world/scheduler.ts';

/** A daemon as others reach it. */
export interface ReachableDaemon {
  readonly process: Incarnation;
  readonly control: Control;
}

export interface PeersParts {
  readonly self: string;
  readonly process: Incarnation;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly random: SeededRandom;
  /** It asks somebody something. */
  readonly called: () => void;
  /** An answer of that one has arrived. */
  readonly answered: (by: string) => void;
  /** The living daemon of a node; 'none': nobody listens. 'off': the machine is off. */
  readonly daemonOf: (name: string) => ReachableDaemon | 'none' | 'off';
  /** This member has confirmed our leadership for `hold`, asked at that (true) instant. */
  readonly confirmed: (by: string, askedAt: number, hold: Millis) => void;
}

export class SimulatedPeers implements Peers {
  private readonly parts: PeersParts;

  constructor(parts: PeersParts) {
    this.parts = parts;
  }

  async ask(peer: PeerAddress, limit: Millis): Promise<PeerAnswer> {
    const answer = await this.call(peer.name, limit, async (control) => {
      // As GET /patroni does: looks at Postgres now, within a limit.
      await control.look(millis(300));
      return peerStatus(control);
    });
    const at = this.parts.process.now();
    if (typeof answer === 'string') return { kind: 'silent', at, cause: answer };
    if (answer === null) return { kind: 'silent', at, cause: 'its own view is too old' };
    return { kind: 'answered', at, heardAt: at, status: answer };
  }

  async rescue(candidate: PeerAddress, request: RescueRequest, limit: Millis): Promise<RescueAnswer> {
    const answer = await this.call(candidate.name, limit, (control) => control.rescue(request));
    return typeof answer === 'string' ? { kind: 'refused', reason: answer } : answer;
  }

  async confirm(member: PeerAddress, request: FailsafeRequest, limit: Millis): Promise<FailsafeAnswer> {
    const askedAt = this.parts.scheduler.now();
    const outcome = await this.call(member.name, limit, (control) => control.confirmFailsafe(request));
    if (typeof outcome === 'string') return { kind: 'refused', why: outcome };
    if (outcome.kind === 'off' || outcome.kind === 'primary') return { kind: 'refused', why: outcome.kind };
    if (outcome.kind === 'confirmed' && request.hold !== null) {
      this.parts.confirmed(member.name, askedAt, request.hold);
    }
    return outcome;
  }

  async fetchWal(leader: PeerAddress, tl: Timeline, from: Lsn, to: Lsn, limit: Millis): Promise<WalChunk | null> {
    const answer = await this.call(leader.name, limit, (control) => control.readWal(tl, from, to));
    return typeof answer === 'string' ? null : answer;
  }

  /** One call with its answer; a text: why there is none. */
  private call<T extends object | null>(
    to: string,
    limit: Millis,
    ask: (control: Control) => Promise<T>,
  ): Promise<T | string> {
    const { self, process, scheduler, network, random, daemonOf } = this.parts;
    this.parts.called();
    const latency = (): number => random.between(0.3, 2);
    return new Promise((resolve) => {
      const give = process.timer(millis(Math.max(0, limit)), () => resolve('no answer in time'));
      const back = (value: T | string): void => {
        if (!network.passes('daemon-daemon', to, self)) return;
        process.later(latency(), () => {
          give();
          if (typeof value !== 'string') this.parts.answered(to);
          resolve(value);
        });
      };
      scheduler.after(latency(), () => {
        if (!network.passes('daemon-daemon', self, to)) return;
        const target = daemonOf(to);
        if (target === 'off') return;
        if (target === 'none') {
          back('connection refused');
          return;
        }
        target.process.deliver(() => {
          ask(target.control).then(back, () => back('it failed to answer'));
        });
      });
    });
  }
}

/** What the HTTP interface would say of this daemon and the peers adapter would read from it. */
function peerStatus(control: Control): PeerStatus | null {
  const published = control.published();
  const { local, policy, sawPrimary } = published;
  const age = between(published.at, control.now());
  if (age > policy.cluster.ttl) return null;
  const running = local.kind === 'primary' || local.kind === 'standby';
  return {
    name: control.self,
    state: published.state,
    inRecovery: local.kind === 'standby',
    timeline: 'timeline' in local ? local.timeline : null,
    position: local.kind === 'standby' ? position(local) : local.kind === 'primary' ? local.flushed : null,
    replayed: local.kind === 'standby' ? local.replayed : null,
    positionFinal: local.kind === 'standby' ? local.positionFinal : true,
    outdated: local.kind === 'standby' && local.failing?.outdated === true,
    noFailover: policy.node.noFailover || published.unwatched !== null,
    priority: policy.node.priority,
    nodeId: policy.node.nodeId,
    location: policy.node.location,
    systemId: running || local.kind === 'stopped' ? local.systemId : null,
    knownCluster: published.knownCluster,
    writable: control.writable(),
    sawPrimary: sawPrimary === null ? null : millis(sawPrimary + age),
    sawPrimaryOf: published.sawPrimaryOf,
    receiving: local.kind === 'standby' && local.receiver !== null,
    mayReceive: local.kind === 'standby' && (local.receiver !== null || local.follows !== null),
    witness: policy.node.role === 'witness',
    validates: policy.node.validates,
    validating: published.validating,
    vetoedFor: published.vetoedFor === null ? null : millis(Math.max(0, published.vetoedFor - age)),
    gateLeft:
      published.gate === null || published.gate.opensAt === 'never'
        ? null
        : millis(Math.max(0, between(control.now(), published.gate.opensAt))),
    lostGateLeft:
      published.gate?.lostUntil === undefined
        ? null
        : millis(Math.max(0, between(control.now(), published.gate.lostUntil))),
    etcdRead:
      published.cluster === null || published.clusterAt === null || published.etcdSince === null
        ? null
        : {
            ago: between(published.clusterAt, control.now()),
            unbrokenFor: between(published.etcdSince, control.now()),
            clusterId: published.cluster.clusterId,
            revision: published.cluster.revision,
          },
    ailing: published.health.ailments.map(({ sickness }) => sickness.kind),
    ailedAgo: published.health.ailedAt === null ? null : between(published.health.ailedAt, control.now()),
    freeBytes: published.health.freeBytes,
    pgha: true,
  };
}
