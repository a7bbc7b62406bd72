/**
 * The virtual address on this machine's interface. Every call ends within its limit and none throws: what could not be
 * done is an answer, and what is answered was read back from the kernel.
 */
import type { Millis } from '../core/time.ts';

export type AddressOutcome =
  | { readonly kind: 'here' }
  | { readonly kind: 'absent' }
  /** It is not as it was to be, or nobody can say. */
  | { readonly kind: 'failed'; readonly said: string };

export interface VirtualAddress {
  /** For people: `10.0.0.100/24 on eth0`. */
  readonly name: string;
  /**
   * Puts it there, or keeps it there. The kernel takes it away once `lifetime` has passed without another call.
   *
   * @param lifetime - whole seconds
   * @returns `wasThere`: before this call, all of it
   */
  hold(
    lifetime: Millis,
    limit: Millis,
  ): Promise<{ readonly kind: 'here'; readonly wasThere: boolean } | Extract<AddressOutcome, { kind: 'failed' }>>;
  /** `absent`: nothing of it is left. */
  letGo(limit: Millis): Promise<Exclude<AddressOutcome, { kind: 'here' }>>;
  /** Changes nothing. `here`: some of it. */
  look(limit: Millis): Promise<AddressOutcome>;
  /** Tells the network that it is here now. @returns why that could not be told; null: it was */
  announce(limit: Millis): Promise<string | null>;
  /** Who else answers under it, by hardware address; empty: nobody, or it cannot be found out. */
  others(limit: Millis): Promise<readonly string[]>;
  close(): void;
}
