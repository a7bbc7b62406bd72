/** Requests that change something, as a browser sends them for a page: for ours they pass, for others' never. */
import { describe, expect, it } from 'vitest';
import { aConfig, aControl, anApi } from './builders.ts';

const authentication = { username: 'admin', password: 'secret' };
const login = { authorization: `Basic ${Buffer.from('admin:secret').toString('base64')}` };
const host = '10.0.0.11:8008';

/** Everything that changes something or costs something, with a body that is fine. */
const UNSAFE: readonly (readonly ['POST' | 'PUT' | 'PATCH' | 'DELETE', string, string])[] = [
  ['PATCH', '/config', '{"ttl": 20}'],
  ['PUT', '/config', '{"ttl": 20}'],
  ['POST', '/reload', ''],
  ['POST', '/restart', '{}'],
  ['DELETE', '/restart', ''],
  ['POST', '/reinitialize', '{}'],
  ['POST', '/switchover', '{"leader": "a", "candidate": "b"}'],
  ['POST', '/failover', '{"candidate": "b"}'],
  ['DELETE', '/switchover', ''],
  ['POST', '/pgha/restart-daemon', '{}'],
  ['POST', '/pgha/rescue', '{}'],
  ['POST', '/pgha/check-config', '{"ttl": 20}'],
  ['POST', '/failsafe', '{"name": "a"}'],
  ['POST', '/sigterm', ''],
  ['POST', '/citus', '{"type": "x"}'],
  ['POST', '/mpp', '{"type": "x"}'],
  ['POST', '/ui/login', ''],
];

const withLogin = aConfig({ restapi: { ...aConfig().restapi, authentication } });

describe('a page of somebody else', () => {
  const foreign: readonly (readonly [string, Record<string, string>])[] = [
    ['another host', { host, origin: 'http://evil.example' }],
    ['another port', { host, origin: 'http://10.0.0.11:9999' }],
    ['a page without a name (a file, a sandbox)', { host, origin: 'null' }],
    ['no address at all', { host, origin: '' }],
    ['a browser that says so', { host, 'sec-fetch-site': 'cross-site' }],
    ['another port, said by the browser', { host, origin: `http://${host}`, 'sec-fetch-site': 'same-site' }],
  ];
  for (const [method, url, payload] of UNSAFE) {
    it(`cannot use ${method} ${url}, also with a login that the browser knows`, async () => {
      const control = aControl();
      for (const [what, headers] of foreign) {
        const answer = await anApi(control, withLogin).inject({
          method,
          url,
          payload,
          headers: { ...headers, ...login },
        });
        expect([what, answer.statusCode, answer.body]).toEqual([
          what,
          403,
          'a browser may ask for this from the status page alone',
        ]);
      }
      expect(control.asked).toEqual(aControl().asked);
    });
  }

  it('that has a name of its own for this address changes nothing where no login is asked for', async () => {
    const control = aControl();
    const headers = { host: 'evil.example:8008', origin: 'http://evil.example:8008', 'sec-fetch-site': 'same-origin' };
    const payload = '{"leader": "a", "candidate": "b"}';
    const answer = await anApi(control).inject({ method: 'POST', url: '/switchover', payload, headers });
    expect([answer.statusCode, answer.body]).toEqual([
      403,
      'from a browser nothing can be changed while restapi.authentication is not set',
    ]);
    expect(control.asked.switchovers).toEqual([]);
  });
});

describe('passes', () => {
  const rows: readonly (readonly [string, Record<string, string>])[] = [
    ['the status page', { host, origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }],
    ['the status page in a browser that does not trust plain HTTP', { host, origin: `http://${host}` }],
    ['the status page behind a proxy that takes TLS off', { host: 'pg.example', origin: 'https://pg.example' }],
    ['the usual port, written out', { host: 'pg.example:443', origin: 'https://pg.example' }],
    ['curl, patronictl, pgha-ctl', { host }],
  ];
  for (const [what, headers] of rows) {
    it(what, async () => {
      const ask = (more: Record<string, string>) =>
        anApi(aControl(), withLogin).inject({ method: 'POST', url: '/reload', headers: { ...headers, ...more } });
      expect((await ask(login)).statusCode).toBe(202);
      expect((await ask({})).statusCode).toBe(401);
    });
  }

  it('what only reads is not asked where it comes from', async () => {
    const answer = await anApi().inject({ url: '/replica', headers: { host, 'sec-fetch-site': 'cross-site' } });
    expect(answer.statusCode).toBe(200);
  });
});
