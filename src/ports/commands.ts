/** The operator's own commands. Each is bounded in time by the adapter, and none throws: what went wrong is an answer. */
import type { CallbackName } from '../core/callbacks.ts';
import type { ClusterEvent } from '../core/cluster-events.ts';

/** A server in pgpool's words. */
export interface ServerNamed {
  /** null: it has no node_id, or is not known any more. */
  readonly id: number | null;
  readonly host: string | null;
  readonly port: number | null;
  readonly dataDirectory: string | null;
}

export type ValidationOutcome =
  | { readonly kind: 'approved' }
  /** It said no, could not be run, or took too long: `said` tells which, with the end of what it printed. */
  | { readonly kind: 'vetoed'; readonly said: string };

export type RunOutcome =
  | { readonly kind: 'not-configured' }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly said: string };

export interface Commands {
  /** `failover_validation_command`: may this node take the key? Asked only where one is configured. */
  validateFailover(facts: { readonly visible: number; readonly total: number }): Promise<ValidationOutcome>;
  /** `child_nodes_disconnect_command`: too few standbys are left. Nobody waits for it. */
  childNodesLost(): Promise<RunOutcome>;
  /** `event_notification_command`: the adapter picks the events that are wanted. Nobody waits for it. */
  notify(event: ClusterEvent): void;
  /** One of Patroni's callbacks. Nobody waits for it; it ends an older one that still runs. */
  callback(name: CallbackName, role: string): void;
  /** `pre_promote`: the key is ours, may Postgres be promoted? Bounded; it ends with `signal`. */
  prePromote(signal: AbortSignal): Promise<RunOutcome>;
  /** `before_stop`: run to its end, or to its limit, before Postgres is stopped in order. */
  beforeStop(): Promise<RunOutcome>;
  /** `failover_command`: run here, on the new primary, once it accepts writes. Nobody waits for it. */
  failedOver(change: { readonly from: ServerNamed; readonly to: ServerNamed }): void;
}
