/** Who may change something, from where, and who may read. */
import type { FastifyInstance } from 'fastify';
import { describe, expect, it } from 'vitest';
import type { RestApiConfig } from '../../../src/config/schema.ts';
import { Allowlist } from '../../../src/http/allowlist.ts';
import { buildHttp } from '../../../src/http/server.ts';
import { aConfig, aControl, silentLog } from './builders.ts';

/** Members at 10.0.0.1 to 10.0.0.3. */
async function anApiWith(restapi: Partial<RestApiConfig>): Promise<FastifyInstance> {
  const config = aConfig({ restapi: { ...aConfig().restapi, ...restapi } });
  const allowlist = new Allowlist();
  await allowlist.use(config.restapi);
  return buildHttp({ config: () => config, control: aControl(), log: silentLog, version: '1', tls: null, allowlist });
}

const authentication = { username: 'admin', password: 'secret' };
const login = { authorization: `Basic ${Buffer.from('admin:secret').toString('base64')}` };

describe('from where something may be changed', () => {
  const rows: readonly (readonly [Partial<RestApiConfig>, string, number])[] = [
    [{}, '192.0.2.1', 202],
    [{ allowlist: ['192.0.2.1'] }, '192.0.2.1', 202],
    [{ allowlist: ['192.0.2.1'] }, '192.0.2.2', 403],
    [{ allowlist: ['192.0.2.0/24'] }, '192.0.2.200', 202],
    [{ allowlist: ['192.0.2.0/24'] }, '192.0.3.1', 403],
    [{ allowlist: ['192.0.2.0/24'] }, '::ffff:192.0.2.7', 202],
    [{ allowlist: ['2001:db8::/32'] }, '2001:db8::17', 202],
    [{ allowlist: ['2001:db8::/32'] }, '2001:db9::17', 403],
    [{ allowlist: ['localhost'] }, '127.0.0.1', 202],
    [{ allowlist: ['nobody.invalid'] }, '127.0.0.1', 403],
    [{ allowlist: ['192.0.2.1'] }, '10.0.0.1', 403],
    [{ allowlist: ['192.0.2.1'], allowlistIncludeMembers: true }, '10.0.0.1', 202],
    [{ allowlist: ['192.0.2.1'], allowlistIncludeMembers: true }, '192.0.2.1', 202],
    [{ allowlistIncludeMembers: true }, '10.0.0.3', 202],
    [{ allowlistIncludeMembers: true }, '10.0.0.4', 403],
    [{ allowlist: ['192.0.2.1'] }, 'somewhere', 403],
  ];
  for (const [restapi, remoteAddress, status] of rows) {
    it(`${JSON.stringify(restapi)}: ${remoteAddress} is answered with ${status}`, async () => {
      const app = await anApiWith(restapi);
      const answer = await app.inject({ method: 'POST', url: '/reload', remoteAddress });
      expect(answer.statusCode).toBe(status);
      if (status === 403) expect(answer.body).toBe('Access is denied');
      // Reading is not changing.
      expect((await app.inject({ url: '/patroni', remoteAddress })).statusCode).toBe(200);
    });
  }

  it('the address is looked at before the login', async () => {
    const app = await anApiWith({ allowlist: ['192.0.2.1'], authentication });
    const ask = (remoteAddress: string, headers = {}) =>
      app.inject({ method: 'POST', url: '/reload', remoteAddress, headers });
    expect((await ask('192.0.2.2')).statusCode).toBe(403);
    expect((await ask('192.0.2.1')).statusCode).toBe(401);
    expect((await ask('192.0.2.1', login)).statusCode).toBe(202);
  });

  it('members may ask each other for WAL whatever the list says, and anybody whether failsafe holds', async () => {
    const url = '/pgha/wal?timeline=1&from=0/1&to=0/2';
    const listed = await anApiWith({ allowlist: ['192.0.2.1'] });
    expect((await listed.inject({ url, remoteAddress: '10.0.0.1' })).statusCode).toBe(404);
    expect((await listed.inject({ url, remoteAddress: '10.0.0.9' })).statusCode).toBe(403);
    const failsafe = { method: 'POST', url: '/failsafe', payload: { name: 'a' }, remoteAddress: '10.0.0.9' } as const;
    expect((await listed.inject(failsafe)).statusCode).toBe(403);
    const members = await anApiWith({ allowlistIncludeMembers: true });
    expect((await members.inject(failsafe)).statusCode).toBe(502);
  });
});

describe('who may read', () => {
  const PATHS = [
    '/patroni',
    '/cluster',
    '/history',
    '/config',
    '/metrics',
    '/failsafe',
    '/status',
    '/pgha/events',
    '/pgha/explain',
    '/patroni/x',
  ];

  it('everybody, unless reading is protected', async () => {
    const open = await anApiWith({ authentication });
    const shut = await anApiWith({ authentication, protectReads: true });
    for (const url of PATHS) {
      const usual = (await open.inject(url)).statusCode;
      expect([url, usual === 401]).toEqual([url, false]);
      const answer = await shut.inject(url);
      expect([url, answer.statusCode, answer.body]).toEqual([url, 401, 'no auth header received']);
      expect((await shut.inject({ url, headers: login })).statusCode).toBe(usual);
    }
  });

  it('health checks stay open, and tell their code alone', async () => {
    const app = await anApiWith({ authentication, protectReads: true });
    for (const [url, code] of [
      ['/replica', 200],
      ['/primary', 503],
      ['/', 503],
      ['/nobody-knows', 503],
      ['/liveness', 200],
      ['/readiness', 200],
    ] as const) {
      const stranger = await app.inject(url);
      expect([url, stranger.statusCode, stranger.body]).toEqual([url, code, '']);
    }
    expect((await app.inject({ url: '/replica', headers: login })).json()).toMatchObject({ role: 'replica' });
  });
});

it('headers of the configuration go with every answer', async () => {
  const app = await anApiWith({ extraHeaders: { 'x-frame-options': 'deny' }, authentication });
  for (const [method, url] of [
    ['GET', '/patroni'],
    ['HEAD', '/primary'],
    ['POST', '/reload'],
    ['DELETE', '/nothing'],
  ] as const)
    expect((await app.inject({ method, url })).headers['x-frame-options']).toBe('deny');
});

describe('who was not let in', () => {
  it('stands in the log, once for however many knock', async () => {
    const said: string[] = [];
    const config = aConfig({ restapi: { ...aConfig().restapi, authentication } });
    const log = {
      write: (_severity: unknown, event: string, sentence: string) => void said.push(`${event} ${sentence}`),
    };
    const app = buildHttp({ config: () => config, control: aControl(), log, version: '1', tls: null });
    for (let i = 0; i < 100; i++) await app.inject({ method: 'POST', url: '/reload', remoteAddress: '192.0.2.1' });
    expect(said).toEqual(['request.denied 192.0.2.1 was not let in for POST /reload: no auth header received']);
  });
});
