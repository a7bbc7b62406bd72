import { describe, expect, it } from 'vitest';
import { isPasswordOf, readPasswordHash } from '../../../src/config/password-hash.ts';
import { ctl } from './fakes.ts';

describe('pgha-ctl hash-password', () => {
  it('hashes what stands on standard input', async () => {
    const { code, out, asked } = await ctl({ clusters: {}, typed: ['hunter2'] }, 'hash-password');
    expect([code, asked]).toEqual([0, []]);
    const hash = readPasswordHash(out);
    expect(hash !== null && (await isPasswordOf(hash, 'hunter2'))).toBe(true);
  });

  it('asks at a terminal, twice', async () => {
    const same = await ctl({ clusters: {}, typed: ['hunter2', 'hunter2'], interactive: true }, 'hash-password');
    expect([same.code, same.asked]).toEqual([0, ['Password: ', 'Again: ']]);
    const different = await ctl({ clusters: {}, typed: ['hunter2', 'hunter3'], interactive: true }, 'hash-password');
    expect([different.code, different.out, different.err]).toEqual([1, '', 'Error: The two are not the same.']);
  });

  it.each([[[]], [['a', 'b']]])('refuses what is no password: %j', async (typed) => {
    expect((await ctl({ clusters: {}, typed }, 'hash-password')).code).toBe(2);
  });
});
