/**
 * What the daemon must still know after it was killed and started again: in the runtime directory, on tmpfs, so that
 * a reboot forgets it (protocol.md 2 and 26). A window is never stored: it is proven anew (rule 25).
 */

import type { SystemId } from '../core/local.ts';
import type { LeaseId, NodeName, Revision } from '../core/store.ts';
import type { Millis } from '../core/time.ts';

export interface StoredLeadership {
  readonly lease: LeaseId;
  readonly ttl: Millis;
  readonly term: Revision;
  readonly dataDirectory: string;
  /** The inherited gate had passed and a full hold was proven: this term may write without waiting again. */
  readonly gatePassed: boolean;
  /** Maintenance: the newest beat names no end, and the guard stands down. No time makes anybody else a leader. */
  readonly unbounded: boolean;
  /** Whose cluster the scope was while it was led with these data; null: it was not yet. */
  readonly ledAs: SystemId | null;
  /** Whom this term may go on with when etcd is away; null: nothing was written in it. */
  readonly list: StoredList | null;
}

/** The failsafe list as it was written in this term (protocol.md 28). */
export interface StoredList {
  readonly members: ReadonlyMap<NodeName, string>;
  readonly revision: Revision;
  /** What may still land; stored before it is sent. */
  readonly unsettled: ReadonlyMap<NodeName, string> | null;
}

export interface StateFile {
  /** null when there is none, or when it cannot be read as one (which is reported, and counts as none). */
  read(): Promise<StoredLeadership | null>;
  write(state: StoredLeadership): Promise<void>;
  forget(): Promise<void>;
}
