/** When a node may have the virtual address, and for how long. */
import { describe, expect, it } from 'vitest';
import { laterBy, millis, seconds } from '../../../src/core/time.ts';
import type { Leadership } from '../../../src/core/view.ts';
import { type AddressView, nextForAddress } from '../../../src/core/virtual-address.ts';
import { holding, NOW } from './builders.ts';

const leads = (leftMs: number, over: Partial<Extract<Leadership, { kind: 'holding' }>> = {}): Leadership =>
  holding({ ttl: seconds(10), deadline: laterBy(NOW, millis(leftMs)), windowOpen: true, ...over });

const view = (over: Partial<AddressView> = {}): AddressView => ({
  now: NOW,
  leadership: leads(8_700),
  writable: true,
  standby: false,
  down: false,
  givenUp: false,
  held: true,
  clocksDoubted: false,
  maintenance: false,
  handsOff: false,
  ...over,
});
const next = (over: Partial<AddressView>) => nextForAddress(view(over));
/** Dead or being started, or failing its checks. */
const NOT_NOW = { writable: false } as const;

describe('the virtual address', () => {
  it('is taken where writes are taken, for whole seconds that end before the guard would strike', () => {
    expect(next({ held: false })).toEqual({ do: 'hold', lifetime: 8_000 });
    expect(next({ leadership: leads(1_000) })).toEqual({ do: 'hold', lifetime: 1_000 });
  });

  it('is neither prolonged nor taken away while the machine may have been suspended and nothing was proven since', () => {
    expect(next({ clocksDoubted: true })).toEqual({ do: 'nothing' });
    expect(next({ clocksDoubted: true, leadership: { kind: 'none' } }).do).toBe('let-go');
  });

  it('never has an end beyond the TTL, also in maintenance, where the window has none', () => {
    const leadership = leads(Number.POSITIVE_INFINITY);
    expect(next({ leadership, maintenance: true })).toEqual({ do: 'hold', lifetime: 10_000 });
  });

  it.each<[string, Partial<AddressView>]>([
    ['another one leads, or nobody', { leadership: { kind: 'none' } }],
    ['Postgres is a standby', { standby: true, writable: false }],
    ['the window is not open', { leadership: leads(8_000, { windowOpen: false }) }],
    ['less than a second is left', { leadership: leads(999) }],
    ['the key is being handed over', { leadership: leads(8_000, { releaseSent: true }) }],
    ['Postgres was stopped on purpose, and is down', { ...NOT_NOW, givenUp: true, down: true }],
    ['maintenance goes on and another one leads by now', { leadership: { kind: 'none' }, maintenance: true }],
  ])('is let go where %s', (_, over) => {
    expect(next(over)).toMatchObject({ do: 'let-go' });
  });

  it('stays until sessions have ended when Postgres is stopped: they would not hear of it otherwise', () => {
    expect(next({ ...NOT_NOW, givenUp: true })).toMatchObject({ do: 'hold' });
  });

  it('stays while a server that died is started again, and is not taken for one', () => {
    expect(next({ ...NOT_NOW, down: true })).toMatchObject({ do: 'hold' });
    expect(next({ ...NOT_NOW, down: true, held: false })).toEqual({ do: 'nothing' });
  });

  it('is the business of others in a cluster that is not handed over, and of the operator in maintenance', () => {
    expect(next({ handsOff: true, leadership: { kind: 'none' } })).toEqual({ do: 'nothing' });
    expect(next({ held: false, maintenance: true, leadership: { kind: 'none' } })).toEqual({ do: 'nothing' });
  });

  it('is looked for where somebody else leads', () => {
    expect(next({ held: false, leadership: { kind: 'none' } })).toMatchObject({ do: 'let-go' });
  });
});
