/** The operator's own commands. Each is bounded in time by the adapter, and none throws: what went wrong is an answer. */

export type ValidationOutcome =
  | { readonly kind: 'approved' }
  /** It said no, could not be run, or took too long: `said` tells which, with the end of what it printed. */
  | { readonly kind: 'vetoed'; readonly said: string };

export interface Commands {
  /** `failover_validation_command`: may this node take the key? Asked only where one is configured. */
  validateFailover(facts: { readonly visible: number; readonly total: number }): Promise<ValidationOutcome>;
}
