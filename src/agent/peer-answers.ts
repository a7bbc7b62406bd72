/**
 * What the other members said when they were asked last. Questions overlap, and whoever is slow answers the older one
 * later: only the newest question counts. It asks nobody and decides nothing.
 */
import { isReturning } from '../core/candidate.ts';
import type { PeerAnswer } from '../core/peer.ts';
import type { NodeName } from '../core/store.ts';
import type { Instant } from '../core/time.ts';

export class PeerAnswers {
  private readonly newest = new Map<NodeName, PeerAnswer>();
  private readonly returning = new Map<NodeName, Instant>();
  private readonly vetoed = new Set<NodeName>();
  private vetoSeen: Instant | null = null;

  get answers(): ReadonlyMap<NodeName, PeerAnswer> {
    return this.newest;
  }

  /** Members whose Postgres is coming up, and when they first said so in this election. */
  get returningSince(): ReadonlyMap<NodeName, Instant> {
    return this.returning;
  }

  /** When one of them was last seen to have been stopped by its command, in this election. */
  get vetoSeenAt(): Instant | null {
    return this.vetoSeen;
  }

  /** @param answer - its `at` is when the question was sent */
  note(name: NodeName, answer: PeerAnswer): void {
    const before = this.newest.get(name);
    if (before !== undefined && before.at > answer.at) return;
    this.newest.set(name, answer);
    if (answer.kind === 'answered') {
      if (answer.status.vetoedFor === null) this.vetoed.delete(name);
      else if (!this.vetoed.has(name)) {
        this.vetoed.add(name);
        this.vetoSeen = answer.heardAt;
      }
    }
    // Never forgotten within an election: one that crashes again and again would be waited for anew each time.
    if (answer.kind === 'answered' && isReturning(answer.status) && !this.returning.has(name))
      this.returning.set(name, answer.at);
  }

  electionEnded(): void {
    this.vetoed.clear();
    this.vetoSeen = null;
    this.returning.clear();
  }
}
