/**
 * V1: two nodes never have the virtual address at once. And V2: once all is well, whoever leads has it. Checked against
 * what stands on the simulated interfaces.
 *
 * V1 is off for a node whose kernel did not take the address away when it was told to (its Postgres is down, and the
 * kernel's own end is near), for one that has just come back from a suspension or whose guard cannot know of it
 * (protocol.md 10), and for a leader in maintenance whom an operator has replaced by hand.
 */
import type { SimulatedInterface } from './models/virtual-address.ts';

export interface AddressHolder {
  readonly name: string;
  readonly interface: SimulatedInterface;
  readonly isSuspended: boolean;
  /** Nothing that is known of its windows holds now. */
  readonly isExcused: boolean;
}

export class Addresses {
  readonly checked = { 'V1 somebody has the address': 0, 'V2 the leader has the address': 0 };
  private readonly holders: () => readonly AddressHolder[];
  private readonly fail: (invariant: string, sentence: string) => void;

  constructor(parts: {
    readonly holders: () => readonly AddressHolder[];
    readonly fail: (invariant: string, sentence: string) => void;
  }) {
    this.holders = parts.holders;
    this.fail = parts.fail;
  }

  check(): void {
    const found = this.holders().filter((one) => one.interface.has && !one.isSuspended);
    if (found.length === 0) return;
    this.checked['V1 somebody has the address'] += 1;
    const counted = found.filter((one) => !one.interface.stuck && !one.isExcused);
    if (counted.length > 1)
      this.fail('V1', `${counted.map(({ name }) => name).join(' and ')} have the virtual address`);
  }

  settled(leader: string): void {
    if (this.holders().some((one) => one.interface.failedLately)) return;
    this.checked['V2 the leader has the address'] += 1;
    const names = this.holders()
      .filter((one) => one.interface.has)
      .map(({ name }) => name);
    if (names.join() !== leader)
      this.fail('V2', `all is well, ${leader} leads, and the address is on ${names.join(' and ') || 'no node'}`);
  }
}
