/** A login whose password stands in the configuration as a hash. */
import { beforeAll, describe, expect, it } from 'vitest';
import { hashPassword, isPasswordOf, readPasswordHash } from '../../../src/config/password-hash.ts';
import type { Config } from '../../../src/config/schema.ts';
import { basic, Logins } from '../../../src/http/logins.ts';
import { aConfig, aControl, anApi } from './builders.ts';

let hashed: string;
beforeAll(async () => {
  hashed = await hashPassword('hunter2: ü');
});

const login = (password: string, username = 'admin'): string => basic({ username, password });

describe('a hash', () => {
  it('is of one password and no other, and never the same twice', async () => {
    const hash = readPasswordHash(hashed);
    if (hash === null) throw new Error('it cannot be read');
    expect(hashed).toMatch(/^\$scrypt\$ln=14,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    expect(await isPasswordOf(hash, 'hunter2: ü')).toBe(true);
    for (const wrong of ['', 'hunter2: u', 'hunter2: ü ', hashed]) expect(await isPasswordOf(hash, wrong)).toBe(false);
    expect(await hashPassword('hunter2: ü')).not.toBe(hashed);
  });

  it('made by others is understood', async () => {
    // Python: hashlib.scrypt(b'secret', salt=b'0123456789abcdef', n=2**10, r=8, p=1, dklen=32), with the padding.
    const foreign = '$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg==$S7FwBvpu+z8K0PUVUagFRTUAB2dAxIZpzVHvLZir+98=';
    const hash = readPasswordHash(foreign);
    expect(hash !== null && (await isPasswordOf(hash, 'secret'))).toBe(true);
  });

  it.each([
    'hunter2',
    '$scrypt$',
    '$scrypt$ln=14,r=8,p=1$short$short',
    '$scrypt$ln=30,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    '$scrypt$ln=14,r=999,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    '$2b$10$abcdefghijklmnopqrstuv',
  ])('is not %j', (text) => expect(readPasswordHash(text)).toBeNull());
});

describe('a login against a hash', () => {
  it('is checked once, and known from then on', async () => {
    const logins = new Logins();
    const expected = { username: 'admin', password: hashed };
    expect(logins.check(expected, login('hunter2: ü'))).toBeInstanceOf(Promise);
    expect(await logins.check(expected, login('hunter2: ü'))).toBe('right');
    expect(logins.check(expected, login('hunter2: ü'))).toBe('right');
    expect(await logins.check(expected, login('wrong'))).toBe('wrong');
    expect(logins.check(expected, login('wrong'))).toBe('wrong');
    expect(await logins.check(expected, login('hunter2: ü', 'other'))).toBe('wrong');
    // After a reload with another password.
    const other = { username: 'admin', password: await hashPassword('another') };
    expect(await logins.check(other, login('hunter2: ü'))).toBe('wrong');
  });

  it.each(['', 'Basic', 'Basic !!!', 'Bearer abc', `Basic ${Buffer.from('admin').toString('base64')}`])(
    'is none when it is %j',
    async (given) => {
      expect(await new Logins().check({ username: 'admin', password: hashed }, given)).toBe('wrong');
    },
  );

  it('does not wait behind many guesses, and a known one is let in meanwhile', async () => {
    const logins = new Logins();
    const expected = { username: 'admin', password: hashed };
    expect(await logins.check(expected, login('hunter2: ü'))).toBe('right');
    const guesses = Array.from({ length: 20 }, (_, index) => logins.check(expected, login(`guess ${index}`)));
    expect(guesses.filter((guess) => guess === 'busy').length).toBeGreaterThan(5);
    expect(logins.check(expected, login('hunter2: ü'))).toBe('right');
    expect((await Promise.all(guesses)).filter((answer) => answer === 'right')).toEqual([]);
  });
});

describe('the REST API with a hash', () => {
  const config = (over: Partial<Config['restapi']> = {}): Config =>
    aConfig({
      restapi: { ...aConfig().restapi, authentication: { username: 'admin', password: hashed }, ...over },
    });

  it('lets in who knows the password, and not who knows the hash', async () => {
    const app = anApi(aControl(), config());
    const ask = async (authorization: string): Promise<number> =>
      (await app.inject({ method: 'POST', url: '/reload', headers: { authorization } })).statusCode;
    expect(await ask(login('hunter2: ü'))).toBe(202);
    expect(await ask(login('hunter2: ü'))).toBe(202);
    expect(await ask(login('wrong'))).toBe(401);
    expect(await ask(login(hashed))).toBe(401);
  });

  it('protects reads with it too, and answers health checks without', async () => {
    const app = anApi(aControl(), config({ protectReads: true }));
    const headers = { authorization: login('hunter2: ü') };
    expect((await app.inject('/config')).statusCode).toBe(401);
    expect((await app.inject({ url: '/config', headers })).statusCode).toBe(200);
    const check = await app.inject('/');
    expect([check.statusCode, check.body]).toEqual([503, '']);
    expect((await app.inject({ url: '/', headers })).json()).toHaveProperty('patroni');
    const wrong = await app.inject({ url: '/', headers: { authorization: login('wrong') } });
    expect([wrong.statusCode, wrong.body]).toEqual([503, '']);
  });
});
