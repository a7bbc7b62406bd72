/** The closed list of things a node can do. A decision lists some of them; agent/act.ts carries them out, one at a time. */

import type { SyncChange } from './leadership.ts';
import type { Lsn, Timeline } from './lsn.ts';
import type { PauseFor } from './poolers.ts';
import type { NodeName, Revision } from './store.ts';
import type { Millis } from './time.ts';

export type Action =
  /** Ends Postgres without a checkpoint, now: fencing. */
  | { readonly do: 'stop-immediately' }
  /** `handsOver`: for somebody else who is to lead; a standby of his afterwards. */
  | { readonly do: 'stop-in-order'; readonly handsOver?: true }
  /** Ends the children that outlived their postmaster. */
  | { readonly do: 'end-family' }
  | { readonly do: 'start-primary' }
  | { readonly do: 'start-standby'; readonly upstream: NodeName | null }
  | { readonly do: 'promote' }
  /** `silent`: the member that was followed until now and sent nothing; it is left alone for a while. */
  | { readonly do: 'follow'; readonly upstream: NodeName | null; readonly silent?: NodeName }
  /** Takes a free key, or one that still stands although its owner's window has closed. */
  | {
      readonly do: 'acquire';
      readonly status: Revision;
      readonly standing: Revision | null;
      readonly adopting: boolean;
      /** What becomes of the `sync` key with it; absent: there is none, and none is needed. */
      readonly sync?: SyncChange;
      /** Also behind the gate of a leader in maintenance, which no time opens (protocol.md 10). */
      readonly despitePause?: true;
    }
  | {
      readonly do: 'release';
      readonly lsn: Lsn;
      readonly candidate: NodeName | null;
      /** WAL that the candidate does not have; null when nothing is lost. */
      readonly lost: { readonly from: Lsn; readonly to: Lsn } | null;
      /** The candidate writes already, in maintenance, and so without an end. */
      readonly endless?: true;
    }
  | { readonly do: 'ask-peers'; readonly waitFor: readonly NodeName[] }
  /** Ends our WAL receiver, and lets none begin until somebody is followed again: our position is final. */
  | { readonly do: 'stop-receiving' }
  /** Runs this node's failover_validation_command. */
  | { readonly do: 'validate'; readonly visible: number; readonly total: number }
  | { readonly do: 'find-end-of-wal' }
  /** Reads what of our WAL would be undone, before it is. */
  | { readonly do: 'look-at-undone'; readonly timeline: Timeline; readonly from: Lsn; readonly to: Lsn }
  | { readonly do: 'learn-lineage'; readonly of: NodeName }
  /** `limit`: of this try; `anew`: a new round begins with it. */
  | {
      readonly do: 'rescue';
      readonly candidate: NodeName;
      readonly end: Lsn;
      readonly limit: Millis;
      readonly anew: boolean;
    }
  | { readonly do: 'bootstrap' }
  /**
   * The data here becomes the cluster's: writes our system identifier to a scope that has none.
   *
   * @param over - the empty `initialize` key of somebody who is only making a cluster; null: there is no such key
   */
  | { readonly do: 'claim-scope'; readonly over: Revision | null }
  /** `wipe`: what is here goes before. The leader is asked whether he is one, whoever the source is. */
  | { readonly do: 'copy'; readonly source: NodeName; readonly leader: NodeName; readonly wipe: boolean }
  | { readonly do: 'rewind'; readonly source: NodeName }
  /** Shed stale senders, checkpoint, stop serving, stop: the first half of a switchover. */
  | { readonly do: 'stop-for-switchover'; readonly prepared?: true }
  /** With poolers in front, the part of it that takes time while clients still go on. */
  | { readonly do: 'prepare-switchover'; readonly wish: PauseFor }
  /** Begins it, and waits for nothing. */
  | { readonly do: 'pause-poolers'; readonly wish: PauseFor }
  | { readonly do: 'drop-switchover-request'; readonly why: string }
  /** As an operator has scheduled it. `timeout`: how long starting may take; null: as long as always. */
  | { readonly do: 'restart'; readonly timeout: Millis | null }
  | { readonly do: 'drop-restart'; readonly why: string };

export type ActionName = Action['do'];
