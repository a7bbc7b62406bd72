/**
 * The virtual address against the kernel: two network namespaces with a cable between them. Needs root; nothing of the
 * machine's own network is touched.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { millis } from '../../src/core/time.ts';
import { InterfaceAddress, whatIsWrong } from '../../src/system/virtual-address.ts';

const LIMIT = millis(5_000);
const ADDRESS = '10.78.0.100/24';
const V6 = 'fd78::100/64';
const ONE = `pgha-vip-${process.pid}-1`;
const OTHER = `pgha-vip-${process.pid}-2`;

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: 'pipe' });
const inside = (netns: string): string[] => ['nsenter', `--net=/run/netns/${netns}`, '--'];
const UNPRIVILEGED = ['setpriv', '--bounding-set=-net_admin,-net_raw', '--inh-caps=-all', '--'];

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not in time: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe.skipIf(process.getuid?.() !== 0)('an address on an interface', () => {
  const open: InterfaceAddress[] = [];
  const anAddress = (
    over: { addresses?: readonly string[]; interface?: string } = {},
    prefix: readonly string[] = inside(ONE),
  ): InterfaceAddress => {
    const address = new InterfaceAddress({ addresses: [ADDRESS], interface: 'eth0', ...over }, prefix);
    open.push(address);
    return address;
  };
  const shown = (netns = ONE): string => ip('-n', netns, '-o', 'address', 'show', 'dev', 'eth0');

  beforeAll(() => {
    for (const netns of [ONE, OTHER]) ip('netns', 'add', netns);
    ip('-n', ONE, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', OTHER);
    for (const [at, netns] of [ONE, OTHER].entries()) {
      ip('-n', netns, 'address', 'add', `10.78.0.${at + 1}/24`, 'dev', 'eth0');
      ip('-n', netns, 'link', 'set', 'eth0', 'up');
    }
  });
  afterEach(() => {
    for (const one of open.splice(0)) one.close();
    for (const netns of [ONE, OTHER])
      for (const address of [ADDRESS, V6])
        try {
          ip('-n', netns, 'address', 'del', address, 'dev', 'eth0');
        } catch {
          // It was not there.
        }
  });
  afterAll(() => {
    for (const netns of [ONE, OTHER]) if (existsSync(`/run/netns/${netns}`)) ip('netns', 'del', netns);
  });

  it('is put there, read back, found there, and removed', async () => {
    const address = anAddress();
    expect(await address.look(LIMIT)).toEqual({ kind: 'absent' });
    expect(await address.hold(millis(60_000), LIMIT)).toEqual({ kind: 'here', wasThere: false });
    expect(await address.hold(millis(60_000), LIMIT)).toEqual({ kind: 'here', wasThere: true });
    expect(shown()).toContain(` ${ADDRESS} `);
    expect(await address.look(LIMIT)).toEqual({ kind: 'here' });
    expect(await address.letGo(LIMIT)).toEqual({ kind: 'absent' });
    expect(await address.letGo(LIMIT)).toEqual({ kind: 'absent' });
    expect(shown()).not.toContain(` ${ADDRESS} `);
  });

  it('ends by itself, and no connection of this machine begins at it', async () => {
    const address = anAddress();
    await address.hold(millis(1_000), LIMIT);
    expect(shown()).toContain('deprecated');
    await until(() => !shown().includes(` ${ADDRESS} `));
  });

  it('gets an end where somebody has put it there for good', async () => {
    ip('-n', ONE, 'address', 'add', ADDRESS, 'dev', 'eth0');
    await anAddress().hold(millis(1_000), LIMIT);
    await until(() => !shown().includes(` ${ADDRESS} `));
  });

  it('may be several, of both kinds, which are usable at once', async () => {
    const address = anAddress({ addresses: [ADDRESS, V6] });
    expect(await address.hold(millis(60_000), LIMIT)).toEqual({ kind: 'here', wasThere: false });
    expect(shown()).toContain(` ${V6} `);
    expect(
      shown()
        .split('\n')
        .find((line) => line.includes(V6)),
    ).not.toContain('tentative');
    ip('-n', ONE, 'address', 'del', V6, 'dev', 'eth0');
    expect(await address.look(LIMIT)).toEqual({ kind: 'here' });
    expect(await address.hold(millis(60_000), LIMIT)).toEqual({ kind: 'here', wasThere: false });
    expect(await address.letGo(LIMIT)).toEqual({ kind: 'absent' });
  });

  it('says what is wrong: no such interface, also one that comes later; not the right to do it', async () => {
    const missing = anAddress({ interface: 'eth7' });
    expect(await missing.hold(millis(9_000), LIMIT)).toEqual({
      kind: 'failed',
      said: 'there is no interface eth7 on this machine',
    });
    ip('-n', ONE, 'link', 'add', 'eth7', 'type', 'bridge');
    try {
      expect(await missing.hold(millis(9_000), LIMIT)).toMatchObject({ kind: 'here' });
      ip('-n', ONE, 'link', 'del', 'eth7');
      expect(await missing.hold(millis(9_000), LIMIT)).toMatchObject({ kind: 'failed' });
      ip('-n', ONE, 'link', 'add', 'eth7', 'type', 'bridge');
      await until(async () => (await missing.hold(millis(9_000), LIMIT)).kind === 'here');
    } finally {
      ip('-n', ONE, 'link', 'del', 'eth7');
    }
    const powerless = anAddress({}, [...inside(ONE), ...UNPRIVILEGED]);
    expect(await powerless.hold(millis(9_000), LIMIT)).toMatchObject({
      said: expect.stringContaining('CAP_NET_ADMIN'),
    });
    expect(await powerless.look(LIMIT)).toEqual({ kind: 'absent' });
    ip('-n', ONE, 'address', 'add', ADDRESS, 'dev', 'eth0');
    expect(await powerless.letGo(LIMIT)).toMatchObject({ kind: 'failed' });
    expect(whatIsWrong('Error: ipv4: Address not found.\nCommand failed -:5\n')).toBe('ipv4: Address not found.');
  });

  it('is announced, and another machine that has it is found', async () => {
    const address = anAddress();
    await address.hold(millis(60_000), LIMIT);
    expect(await address.others(LIMIT)).toEqual([]);
    const heard = (): string => ip('-n', OTHER, 'neigh', 'show', 'dev', 'eth0');
    ip('-n', OTHER, 'neigh', 'replace', '10.78.0.100', 'lladdr', '02:00:00:00:00:01', 'dev', 'eth0', 'nud', 'stale');
    const announced = address.announce(LIMIT);
    await until(() => heard().includes('10.78.0.100') && !heard().includes('02:00:00:00:00:01'));
    expect(await announced).toBeNull();
    ip('-n', OTHER, 'address', 'add', ADDRESS, 'dev', 'eth0');
    const mac = /ether (\S+)/.exec(ip('-n', OTHER, 'link', 'show', 'eth0'))?.[1];
    expect(await address.others(LIMIT)).toEqual([mac]);
  });

  it('is not waited for where nobody answers', async () => {
    const stuck = anAddress({}, ['sh', '-c', 'exec sleep 600']);
    expect(await stuck.hold(millis(9_000), millis(300))).toEqual({
      kind: 'failed',
      said: 'ip did not answer within 300 ms',
    });
  });
});
