/** Whom cluster events are told beside the operator's own command: other programs, over the network or on this machine. */
import type { ClusterEvent } from '../core/cluster-events.ts';

export interface Notices {
  /** Never throws, and nobody waits for it: the adapter picks the events that are wanted, and drops what piles up. */
  tell(event: ClusterEvent): void;
}
