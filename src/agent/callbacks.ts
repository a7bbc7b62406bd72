/**
 * What Postgres here was seen to do since the last cycle, in the words of Patroni's callbacks. It compares what cycles
 * saw; it runs nothing and decides nothing.
 */
import type { CallbackName } from '../core/callbacks.ts';
import type { LocalPostgres } from '../core/local.ts';
import type { Published } from './published.ts';

export interface Callback {
  readonly name: CallbackName;
  /** `primary`, `standby_leader`, `replica`, or `demoted` where a primary was stopped to be one no more. */
  readonly role: string;
}

type Seen =
  | { readonly kind: 'running'; readonly role: string; readonly startedAt: string }
  /** `told`: its end was; a restart tells of itself when it is over. */
  | { readonly kind: 'down'; readonly role: string; readonly told: boolean };

export class Callbacks {
  private seen: Seen | null = null;

  /** Settings were written, and Postgres was told to read them. */
  reloaded(): readonly Callback[] {
    return this.seen?.kind === 'running' ? [{ name: 'on_reload', role: this.seen.role }] : [];
  }

  see({ local, operation, role }: Pick<Published, 'local' | 'operation' | 'role'>): readonly Callback[] {
    if (local.kind === 'primary') return this.runs('primary', local.startedAt);
    if (local.kind === 'standby') return this.runs(role === 'standby_leader' ? role : 'replica', local.startedAt);
    if (!isDown(local) || this.seen?.kind !== 'running') return [];
    const was = this.seen.role;
    const restarts = operation?.kind === 'restart';
    this.seen = { kind: 'down', role: was, told: !restarts };
    if (restarts) return [];
    return [{ name: 'on_stop', role: was === 'primary' && operation?.kind === 'switchover' ? 'demoted' : was }];
  }

  private runs(role: string, startedAt: string): readonly Callback[] {
    const before = this.seen;
    this.seen = { kind: 'running', role, startedAt };
    if (before === null) return [{ name: 'on_start', role }];
    if (before.role !== role) return [{ name: 'on_role_change', role }];
    if (before.kind === 'down') return [{ name: before.told ? 'on_start' : 'on_restart', role }];
    return before.startedAt === startedAt ? [] : [{ name: 'on_restart', role }];
  }
}

/** Seen to be down: one that is silent or on its way may be anything. */
function isDown(local: LocalPostgres): boolean {
  return local.kind === 'stopped' || local.kind === 'absent' || local.kind === 'half-made';
}
