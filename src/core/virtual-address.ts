/**
 * When this node may have the virtual address of the cluster, and for how long. It follows the right to write and nothing
 * else: it is taken where writes are taken, and it has an end of its own, in the kernel, that lies within the window. It
 * decides nothing about who leads.
 */
import { between, type Instant, type Millis, millis } from './time.ts';
import type { Leadership } from './view.ts';

/** The kernel counts lifetimes of addresses in whole seconds. */
const SECOND = 1_000;

export interface AddressView {
  readonly now: Instant;
  readonly leadership: Leadership;
  /** `/primary` says 200. */
  readonly writable: boolean;
  /** Postgres here is in recovery. */
  readonly standby: boolean;
  /** Every process of Postgres was seen to be gone. */
  readonly down: boolean;
  /** Postgres is being stopped on purpose: to hand over, because the window closes, by an operator. */
  readonly givenUp: boolean;
  /** This process has put it there. */
  readonly held: boolean;
  /** The machine may have been suspended, and nothing was proven since: how much of the window is left is not known. */
  readonly clocksDoubted: boolean;
  readonly maintenance: boolean;
  /** What runs here is not handed over to pgha yet. */
  readonly handsOff: boolean;
}

export type AddressStep =
  /** It is put there, or stays there, for so long from now; whole seconds. */
  | { readonly do: 'hold'; readonly lifetime: Millis }
  | { readonly do: 'let-go'; readonly why: string }
  | { readonly do: 'nothing' };

const NOTHING: AddressStep = { do: 'nothing' };
const letGo = (why: string): AddressStep => ({ do: 'let-go', why });

/**
 * The address goes after Postgres, and before the key. Taken away from under its sessions, they would hear nothing of
 * the stop: what a server sends from an address that it does not have any more never leaves it, and a client that
 * waits for an answer waits on. Once Postgres is down nobody is left to hear anything.
 */
export function nextForAddress(view: AddressView): AddressStep {
  const { leadership, now } = view;
  // Whoever runs this cluster until now moves his addresses himself.
  if (view.handsOff) return NOTHING;
  if (leadership.kind !== 'holding') {
    // In maintenance an operator may put it wherever he likes.
    return view.maintenance && !view.held ? NOTHING : letGo('this node does not lead');
  }
  if (view.standby) return letGo('Postgres here is a standby');
  if (leadership.releaseSent) return letGo('the leader key is handed over');
  if (!leadership.windowOpen) return letGo('the window is not open');
  // The guard, which has cut its deadline, or the next proof says what becomes of it.
  if (view.clocksDoubted) return NOTHING;
  const lifetime = lifetimeOf(leadership.deadline, leadership.ttl, now);
  if (lifetime === null) return letGo('the window closes');
  if (view.writable) return { do: 'hold', lifetime };
  if (view.givenUp && view.down) return letGo('Postgres here was stopped');
  // A server that died is started again here, or somebody else takes over; until that is clear a client is refused at
  // once, which is better than no answer at all.
  return view.held ? { do: 'hold', lifetime } : NOTHING;
}

/**
 * Until when the kernel keeps the address if nobody says anything more: not beyond the deadline of the guard, so that
 * what the kernel is late (up to a second) lies within the margin. In maintenance the window has no end, and the address
 * stays as long as a daemon is there that would take it away.
 *
 * @returns null: less than a second is left
 */
function lifetimeOf(deadline: Instant, ttl: Millis, now: Instant): Millis | null {
  const left = Math.floor(Math.min(ttl, between(now, deadline)) / SECOND);
  return left < 1 ? null : millis(left * SECOND);
}
