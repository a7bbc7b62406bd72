/** The other members, over HTTP. Every call is bounded and never throws for a member that does not answer. */
import type { FailsafeAnswer, FailsafeRequest } from '../core/failsafe.ts';
import type { Lsn, Timeline } from '../core/lsn.ts';
import type { PeerAnswer, RescueAnswer, RescueRequest } from '../core/peer.ts';
import type { Millis } from '../core/time.ts';
import type { WalChunk } from './postgres.ts';

export interface PeerAddress {
  readonly name: string;
  /** `http://host:port/patroni`, as in the member's key. */
  readonly apiUrl: string;
}

export interface Peers {
  ask(peer: PeerAddress, limit: Millis): Promise<PeerAnswer>;
  /** Asks the candidate to withdraw its receiver and to fetch our tail. Resolves when it has replayed it. */
  rescue(candidate: PeerAddress, request: RescueRequest, limit: Millis): Promise<RescueAnswer>;
  /** A leader without etcd asks this member to wait for it (protocol.md 29). Whatever goes wrong is a refusal. */
  confirm(member: PeerAddress, request: FailsafeRequest, limit: Millis): Promise<FailsafeAnswer>;
  /** The candidate's side: bytes [from, to) of the dead primary's WAL; null when it did not answer whole and in time. */
  fetchWal(leader: PeerAddress, tl: Timeline, from: Lsn, to: Lsn, limit: Millis): Promise<WalChunk | null>;
}
