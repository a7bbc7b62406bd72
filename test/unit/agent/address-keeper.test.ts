/** The virtual address on its interface: taken, prolonged, read back, let go, and told. */
import { beforeEach, describe, expect, it } from 'vitest';
import { AddressKeeper } from '../../../src/agent/address-keeper.ts';
import { instant, type Millis, millis, seconds } from '../../../src/core/time.ts';
import type { Leadership } from '../../../src/core/view.ts';
import type { VirtualAddress } from '../../../src/ports/virtual-address.ts';
import { holding } from '../core/builders.ts';
import { FakeClock, FakeLog, START } from './fakes.ts';

class FakeInterface implements VirtualAddress {
  readonly name = '10.0.0.100/24 on eth0';
  private readonly clock: FakeClock;
  readonly calls: string[] = [];
  endsAt = Number.NEGATIVE_INFINITY;
  /** What the kernel says instead. */
  refuses: string | null = null;
  hangs = false;
  answering: string[] = [];
  unannounced: string | null = null;

  constructor(clock: FakeClock) {
    this.clock = clock;
  }

  get has(): boolean {
    return this.clock.now() < this.endsAt;
  }

  private async call<T>(name: string, limit: Millis, run: () => T) {
    this.calls.push(`${this.clock.now() - START} ${name}`);
    await this.clock.sleep(this.hangs ? limit : millis(2));
    if (this.hangs) return { kind: 'failed', said: 'ip did not answer' } as const;
    if (this.refuses !== null) return { kind: 'failed', said: this.refuses } as const;
    return run();
  }

  hold(lifetime: Millis, limit: Millis) {
    return this.call(`hold ${lifetime}`, limit, () => {
      const wasThere = this.has;
      this.endsAt = this.clock.now() + lifetime;
      return { kind: 'here', wasThere } as const;
    });
  }
  letGo(limit: Millis) {
    return this.call('let go', limit, () => {
      this.endsAt = Number.NEGATIVE_INFINITY;
      return { kind: 'absent' } as const;
    });
  }
  look(limit: Millis) {
    return this.call('look', limit, () => ({ kind: this.has ? 'here' : 'absent' }) as const);
  }
  async announce(): Promise<string | null> {
    this.calls.push(`${this.clock.now() - START} announce`);
    return this.unannounced;
  }
  async others(): Promise<readonly string[]> {
    return this.answering;
  }
  close(): void {}
}

let clock: FakeClock;
let log: FakeLog;
let address: FakeInterface;
let leads: boolean;
let writable: boolean;
let down: boolean;
let changes: number;
let keeper: AddressKeeper;

/** A leader who proves himself with every second. */
const leadership = (): Leadership => {
  const proved = Math.floor((clock.now() - START) / 1_000) * 1_000;
  if (!leads) return { kind: 'none' };
  return holding({ ttl: seconds(10), windowOpen: true, deadline: instant(START + proved + 9_000) });
};

beforeEach(() => {
  clock = new FakeClock();
  log = new FakeLog();
  address = new FakeInterface(clock);
  leads = true;
  writable = true;
  down = false;
  changes = 0;
  keeper = new AddressKeeper({
    clock,
    log,
    address,
    view: () => ({
      leadership: leadership(),
      writable,
      standby: !leads,
      down,
      clocksDoubted: false,
      maintenance: false,
      handsOff: false,
    }),
    onChange: () => {
      changes += 1;
    },
  });
});

describe('the keeper of the virtual address', () => {
  it('takes it at once, tells the network, and prolongs it with every second', async () => {
    keeper.start();
    await clock.pass(2_500);
    expect(address.calls).toEqual(['0 hold 9000', '2 announce', '1002 hold 8000', '2004 hold 8000']);
    expect(log.events).toEqual(['vip.taken']);
    expect(keeper.shown).toEqual({ name: address.name, held: true, trouble: null });
    expect(changes).toBe(1);
  });

  it('lets it go within milliseconds when this node does not lead any more', async () => {
    keeper.start();
    await clock.pass(500);
    leads = false;
    writable = false;
    keeper.soon();
    await clock.pass(5);
    expect(address.has).toBe(false);
    expect(log.events).toEqual(['vip.taken', 'vip.released']);
  });

  it('is waited for before the key is given up, and not longer than a second for one that hangs', async () => {
    keeper.start();
    await clock.pass(500);
    down = true;
    writable = false;
    expect(keeper.holds).toBe(true);
    await clock.outcome(keeper.letGo());
    expect([address.has, keeper.holds]).toEqual([false, false]);

    down = false;
    writable = true;
    keeper.soon();
    await clock.pass(100);
    address.hangs = true;
    down = true;
    writable = false;
    const began = clock.now();
    await clock.outcome(keeper.letGo());
    expect(clock.now() - began).toBeLessThan(1_050);
    expect(keeper.holds).toBe(true);
    address.hangs = false;
    await clock.pass(3_000);
    expect([address.has, keeper.holds]).toEqual([false, false]);
  });

  it('lets go what it has put there without hearing of it', async () => {
    address.hangs = true;
    keeper.start();
    await clock.pass(100);
    expect(keeper.holds).toBe(true);
    leads = false;
    writable = false;
    address.hangs = false;
    address.endsAt = Number.POSITIVE_INFINITY;
    await clock.pass(2_000);
    expect(address.has).toBe(false);
  });

  it('puts it back when somebody has removed it, and says so', async () => {
    keeper.start();
    await clock.pass(500);
    address.endsAt = Number.NEGATIVE_INFINITY;
    await clock.pass(1_000);
    expect(address.has).toBe(true);
    expect(log.events).toEqual(['vip.taken', 'vip.restored']);
    expect(address.calls.filter((call) => call.endsWith('announce'))).toHaveLength(2);
  });

  it('removes it where it finds it on a node that does not lead', async () => {
    leads = false;
    writable = false;
    address.endsAt = Number.POSITIVE_INFINITY;
    keeper.start();
    await clock.pass(100);
    expect(address.has).toBe(false);
    expect(log.events).toEqual(['vip.stray']);
    address.endsAt = Number.POSITIVE_INFINITY;
    await clock.pass(11_000);
    expect(address.has).toBe(false);
  });

  it('tells once that it cannot be put there, and tries on once a second', async () => {
    address.refuses = 'this process may not change interfaces';
    keeper.start();
    await clock.pass(5_500);
    expect(log.events).toEqual(['vip.failed']);
    expect(address.calls).toHaveLength(6);
    expect(keeper.shown?.trouble).toContain('may not change interfaces');
    address.refuses = null;
    await clock.pass(1_000);
    expect(log.events).toEqual(['vip.failed', 'vip.taken']);
    expect(keeper.shown?.trouble).toBeNull();
  });

  it('tells of another machine that answers under it, and reminds the network', async () => {
    address.answering = ['02:00:00:00:00:01'];
    keeper.start();
    await clock.pass(70_000);
    expect(log.events).toEqual(['vip.taken', 'vip.duplicate']);
    expect(address.calls.filter((call) => call.endsWith('announce')).length).toBeGreaterThan(2);
  });

  it('tells once that the network cannot be told', async () => {
    address.unannounced = 'arping is not installed';
    keeper.start();
    await clock.pass(500);
    address.endsAt = Number.NEGATIVE_INFINITY;
    await clock.pass(2_000);
    expect(log.events).toEqual(['vip.taken', 'vip.unannounced', 'vip.restored']);
  });

  it('does nothing at all where no address is configured', async () => {
    const none = new AddressKeeper({ clock, log, address: null, view: () => expect.fail(), onChange: () => undefined });
    none.start();
    none.soon();
    none.giveUp();
    await clock.pass(5_000);
    expect([none.shown, none.holds, clock.queue.events]).toEqual([null, false, 0]);
  });
});
