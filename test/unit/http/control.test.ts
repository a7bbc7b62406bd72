import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { aConfig, aControl, anApi, aPublished } from './builders.ts';

const withLogin = aConfig({
  restapi: {
    ...aConfig().restapi,
    authentication: { username: 'admin', password: 'secret' },
  },
});
const login = (user: string, password: string): { authorization: string } => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
});

/** Everything that changes something, or hands out data. */
const PROTECTED = [
  ['PATCH', '/config'],
  ['PUT', '/config'],
  ['POST', '/reload'],
  ['POST', '/restart'],
  ['POST', '/pgha/restart-daemon'],
  ['POST', '/pgha/take-over'],
  ['POST', '/pgha/stop'],
  ['POST', '/pgha/start'],
  ['POST', '/pgha/forget-member'],
  ['DELETE', '/restart'],
  ['POST', '/reinitialize'],
  ['POST', '/switchover'],
  ['POST', '/failover'],
  ['DELETE', '/switchover'],
  ['POST', '/failsafe'],
  ['POST', '/pgha/rescue'],
  ['GET', '/pgha/wal?timeline=1&from=0/1&to=0/2'],
] as const;

describe('who may change something', () => {
  for (const [method, url] of PROTECTED) {
    it(`${method} ${url} wants the configured user, and only that one`, async () => {
      const app = anApi(aControl(), withLogin);
      const none = await app.inject({ method, url });
      expect([none.statusCode, none.body]).toEqual([401, 'no auth header received']);
      expect(none.headers['www-authenticate']).toBe('Basic realm="Patroni"');
      const wrong = await app.inject({ method, url, headers: login('admin', 'secre') });
      expect([wrong.statusCode, wrong.body]).toEqual([401, 'not authenticated']);
      const right = await app.inject({ method, url, headers: login('admin', 'secret') });
      expect(right.statusCode).not.toBe(401);
    });
  }

  it('is not asked of those who only read', async () => {
    const app = anApi(aControl(), withLogin);
    for (const url of ['/patroni', '/cluster', '/config', '/metrics', '/liveness', '/status']) {
      expect((await app.inject(url)).statusCode).toBe(200);
    }
  });

  it('wants a certificate where the configuration asks for one', async () => {
    const tls = { certfile: '', keyfile: null, keyfilePassword: null, cafile: null, verifyClient: 'optional' as const };
    const app = anApi(aControl(), aConfig({ restapi: { ...withLogin.restapi, tls } }));
    const answer = await app.inject({ method: 'POST', url: '/reload', headers: login('admin', 'secret') });
    expect([answer.statusCode, answer.body]).toEqual([403, 'client certificate required']);
  });
});

describe('bodies', () => {
  const codes: readonly (readonly [string, string | undefined, number])[] = [
    ['PATCH /config', undefined, 411],
    ['PATCH /config', '{}', 400],
    ['PATCH /config', '[1]', 400],
    ['PATCH /config', '{"ttl":', 400],
    ['PATCH /config', '"text"', 400],
    ['POST /switchover', undefined, 411],
    ['POST /failover', '{}', 400],
    ['POST /restart', undefined, 200],
    ['POST /restart', '{}', 200],
    ['POST /restart', '[]', 400],
    ['POST /reinitialize', undefined, 200],
    ['POST /reload', undefined, 202],
    ['POST /pgha/restart-daemon', undefined, 202],
    ['POST /pgha/take-over', undefined, 202],
    ['POST /pgha/stop', undefined, 200],
    ['POST /pgha/start', undefined, 200],
    ['POST /pgha/forget-member', '{}', 400],
    ['POST /pgha/forget-member', '{"member":"c"}', 200],
  ];
  for (const [request, payload, code] of codes) {
    it(`${request} with ${payload ?? 'no body'} is ${code}`, async () => {
      const [method, url] = request.split(' ') as ['POST', string];
      const answer = await anApi().inject({ method, url, ...(payload === undefined ? {} : { payload }) });
      expect(answer.statusCode).toBe(code);
    });
  }

  it('are refused when they are larger than any configuration', async () => {
    const payload = JSON.stringify({ ttl: 'x'.repeat(1024 * 1024) });
    expect((await anApi().inject({ method: 'PATCH', url: '/config', payload })).statusCode).toBe(413);
  });

  it('need no content type', async () => {
    const control = aControl();
    const answer = await anApi(control).inject({
      method: 'PATCH',
      url: '/config',
      payload: '{"ttl":20}',
      headers: { 'content-type': '' },
    });
    expect(answer.json()).toEqual({ ttl: 20 });
    expect(control.asked.configs).toEqual([{ ttl: 20 }]);
  });
});

describe('POST /pgha/restart-daemon', () => {
  it('says why the daemon goes on, and forces only when it is told to', async () => {
    const asked: unknown[] = [];
    const app = anApi(
      aControl({
        request: async (request) => {
          asked.push(request);
          return { kind: 'refused', sentence: 'copy is under way' };
        },
      }),
    );
    for (const payload of [{}, { force: true }]) {
      const answer = await app.inject({ method: 'POST', url: '/pgha/restart-daemon', payload });
      expect([answer.statusCode, answer.body]).toEqual([503, 'copy is under way']);
    }
    expect(asked).toEqual([
      { kind: 'restart-daemon', force: false },
      { kind: 'restart-daemon', force: true },
    ]);
  });
});

describe('PATCH and PUT /config', () => {
  it('pass on why it was refused', async () => {
    const app = anApi(
      aControl({ patchConfig: async () => ({ kind: 'refused', status: 409, sentence: 'somebody was faster' }) }),
    );
    const answer = await app.inject({ method: 'PATCH', url: '/config', payload: { ttl: 20 } });
    expect(answer.statusCode).toBe(409);
    expect(answer.body).toContain('somebody was faster');
  });
});

describe('POST /switchover and /failover', () => {
  const post = async (
    url: string,
    payload: object,
    control = aControl(),
  ): Promise<{ status: number; text: string; paused: unknown; control: typeof control }> => {
    const answer = await anApi(control).inject({ method: 'POST', url, payload });
    return { status: answer.statusCode, text: answer.body, paused: answer.headers['pgha-paused-ms'], control };
  };

  const REFUSED: readonly (readonly [string, object, number, string])[] = [
    ['/failover', { scheduled_at: 'x' }, 400, 'Failover could be performed only to a specific candidate'],
    ['/switchover', { candidate: 'c' }, 400, 'Switchover could be performed only from a specific leader'],
    ['/failover', { candidate: 'c', scheduled_at: '2030-01-01T10:00+00' }, 400, "Failover can't be scheduled"],
    ['/switchover', { leader: 'a', candidate: 'a' }, 400, 'Switchover target and source are the same'],
    [
      '/switchover',
      { leader: 'a', scheduled_at: '2030-01-01T10:00' },
      400,
      'Timezone information is mandatory for the scheduled switchover',
    ],
    [
      '/switchover',
      { leader: 'a', scheduled_at: '2020-01-01T10:00+00' },
      422,
      'Cannot schedule switchover in the past',
    ],
    ['/switchover', { leader: 'a', scheduled_at: 'tomorrow' }, 422, 'Unable to parse scheduled timestamp'],
  ];
  for (const [url, body, status, text] of REFUSED) {
    it(`${url} ${JSON.stringify(body)} is ${status}: ${text}`, async () => {
      const answer = await post(url, body);
      expect(answer.status).toBe(status);
      expect(answer.text).toContain(text);
      expect(answer.control.asked.switchovers).toEqual([]);
    });
  }

  it('in maintenance needs a candidate and cannot be scheduled', async () => {
    const paused = (): ReturnType<typeof aControl> => aControl({ state: aPublished({ pause: true }) });
    expect((await post('/switchover', { leader: 'a' }, paused())).status).toBe(400);
    const scheduled = await post(
      '/switchover',
      { leader: 'a', candidate: 'c', scheduled_at: '2030-01-01T10:00Z' },
      paused(),
    );
    expect(scheduled.status).toBe(400);
    expect((await post('/switchover', { leader: 'a', candidate: 'c' }, paused())).status).toBe(200);
  });

  it('says who leads now, in the sentence that scripts compare, and for how long writes stood still', async () => {
    const done = await post('/switchover', { leader: 'a', candidate: 'c' });
    expect([done.status, done.text, done.paused]).toEqual([200, 'Successfully switched over to "c"', '312']);
    expect(done.control.asked.switchovers).toEqual([
      { kind: 'switchover', leader: 'a', candidate: 'c', scheduledAt: null },
    ]);
    expect((await post('/switchover', { leader: 'a', member: 'b' })).text).toBe('Switched over to "c" instead of "b"');
    expect((await post('/failover', { candidate: 'c' })).text).toBe('Successfully failed over to "c"');
    expect((await post('/failover', { candidate: 'b' })).text).toBe('Failed over to "c" instead of "b"');
  });

  it('takes a failover that names the leader for a switchover', async () => {
    const { control } = await post('/failover', { leader: 'a', candidate: 'c' });
    expect(control.asked.switchovers[0]?.kind).toBe('switchover');
  });

  it('hands a schedule on with its zone', async () => {
    const control = aControl({ outcome: { kind: 'scheduled' } });
    const answer = await post('/switchover', { leader: 'a', scheduled_at: '2030-01-01 10:00+02' }, control);
    expect([answer.status, answer.text]).toEqual([202, 'Switchover scheduled']);
    expect(control.asked.switchovers[0]?.scheduledAt).toBe('2030-01-01T10:00:00+02:00');
  });

  it('passes refusals on with their codes, and does not call an unknown outcome a success', async () => {
    const refused = aControl({ outcome: { kind: 'refused', status: 412, sentence: 'leader name does not match' } });
    expect(await post('/switchover', { leader: 'x' }, refused)).toMatchObject({
      status: 412,
      text: 'leader name does not match',
    });
    const unknown = aControl({
      outcome: { kind: 'unknown', sentence: 'after 20 seconds; operation may still be in progress' },
    });
    const answer = await post('/switchover', { leader: 'a' }, unknown);
    expect(answer.status).toBe(503);
    expect(answer.text).toBe('Switchover status unknown after 20 seconds; operation may still be in progress');
  });

  it('withdraws a scheduled switchover', async () => {
    const app = anApi(aControl({ cancelSwitchover: async () => ({ kind: 'done', sentence: '' }) }));
    const answer = await app.inject({ method: 'DELETE', url: '/switchover' });
    expect([answer.statusCode, answer.body]).toEqual([200, 'scheduled switchover deleted']);
    expect((await anApi().inject({ method: 'DELETE', url: '/switchover' })).statusCode).toBe(404);
  });
});

describe('POST /restart', () => {
  const restart = async (payload: object, control = aControl()) => {
    const answer = await anApi(control).inject({ method: 'POST', url: '/restart', payload });
    return { status: answer.statusCode, text: answer.body, asked: control.asked.requests };
  };

  it('passes on the conditions', async () => {
    const answer = await restart({ role: 'replica', timeout: '5min', restart_pending: false });
    expect([answer.status, answer.text]).toEqual([200, 'restarted successfully']);
    expect(answer.asked).toEqual([
      { kind: 'restart', onlyIfPending: true, role: 'replica', below: null, timeout: 300_000 },
    ]);
  });

  const WRONG: readonly (readonly [object, number, string])[] = [
    [{ rôle: 'x' }, 400, 'Unknown filter for the scheduled restart: rôle'],
    [{ role: 'boss' }, 400, "Value for 'role' must be one of: primary, standby_leader, replica"],
    [{ role: ['replica'] }, 400, "Value for 'role' must be one of: primary, standby_leader, replica"],
    [{ timeout: -1 }, 400, 'Timeout should be a positive number of seconds'],
    [{ timeout: {} }, 400, 'Timeout should be a positive number of seconds'],
    [{ postgres_version: 'new' }, 400, 'Invalid postgres version: use X.Y'],
    [{ postgres_version: 15 }, 400, 'Invalid postgres version: use X.Y'],
    [{ schedule: 12 }, 400, 'schedule must be a text, and is 12'],
    [{ schedule: '2030-01-01T10:00' }, 400, 'Timezone information is mandatory for the scheduled restart'],
    [{ schedule: '2020-01-01T10:00Z' }, 422, 'Cannot schedule restart in the past'],
    [{ schedule: 'soon' }, 422, 'Unable to parse scheduled timestamp'],
  ];
  for (const [body, status, text] of WRONG) {
    it(`refuses ${JSON.stringify(body)} with ${status}, and asks nobody`, async () => {
      const answer = await restart(body);
      expect(answer).toMatchObject({ status, asked: [] });
      expect(answer.text).toContain(text);
    });
  }

  it('hands on which version is old enough', async () => {
    expect((await restart({ postgres_version: '15.19' })).asked).toMatchObject([{ below: '15.19' }]);
  });

  it('puts it off to a time, with its conditions', async () => {
    const answer = await restart({ schedule: '2030-01-01 10:00+02', role: 'master', timeout: 30 });
    expect([answer.status, answer.text]).toEqual([202, 'Restart scheduled']);
    expect(answer.asked).toEqual([
      {
        kind: 'schedule-restart',
        at: '2030-01-01T10:00:00+02:00',
        onlyIfPending: false,
        role: 'primary',
        below: null,
        timeout: 30_000,
      },
    ]);
  });

  it('passes on why it cannot be scheduled, with the code of the reason', async () => {
    for (const [status, sentence] of [
      [409, 'Another restart is already scheduled'],
      [500, "Can't schedule restart in the paused state"],
    ] as const) {
      const control = aControl({ request: async () => ({ kind: 'refused', status, sentence }) });
      expect(await restart({ schedule: '2030-01-01T10:00Z' }, control)).toMatchObject({ status, text: sentence });
    }
  });

  it('is withdrawn, and 404 where there is none', async () => {
    const remove = (control = aControl()) => anApi(control).inject({ method: 'DELETE', url: '/restart' });
    const there = aControl({ request: async () => ({ kind: 'done', sentence: 'scheduled restart deleted' }) });
    expect(await remove(there)).toMatchObject({ statusCode: 200, body: 'scheduled restart deleted' });
    const none = aControl({ request: async () => ({ kind: 'refused', sentence: 'no restarts are scheduled' }) });
    expect(await remove(none)).toMatchObject({ statusCode: 404, body: 'no restarts are scheduled' });
  });

  it('passes a refusal on as 503, in its own words', async () => {
    const control = aControl({ request: async () => ({ kind: 'refused', sentence: 'copy already in progress' }) });
    const app = anApi(control);
    const answer = await app.inject({ method: 'POST', url: '/reinitialize' });
    expect([answer.statusCode, answer.body]).toEqual([503, 'copy already in progress']);
  });
});

describe('members of the wrong type', () => {
  const rows: readonly (readonly [string, object, string])[] = [
    ['/switchover', { leader: 5 }, 'leader must be a text, and is 5'],
    ['/switchover', { leader: 'a', candidate: ['c'] }, 'candidate must be a text, and is ["c"]'],
    ['/switchover', { leader: 'a', scheduled_at: 17 }, 'scheduled_at must be a text, and is 17'],
    ['/failover', { candidate: {} }, 'candidate must be a text, and is {}'],
    ['/failover', { candidate: 'c', accept_data_loss: 'yes' }, 'accept_data_loss must be true or false, and is "yes"'],
    ['/reinitialize', { force: 'yes' }, 'force must be true or false, and is "yes"'],
    ['/reinitialize', { from_leader: 1 }, 'from_leader must be true or false, and is 1'],
  ];
  for (const [url, payload, text] of rows) {
    it(`${url} ${JSON.stringify(payload)} is 400, and nobody is asked for anything`, async () => {
      const control = aControl();
      const answer = await anApi(control).inject({ method: 'POST', url, payload });
      expect([answer.statusCode, answer.body]).toEqual([400, text]);
      expect([control.asked.switchovers, control.asked.requests]).toEqual([[], []]);
    });
  }

  it('of those that are not known say nothing: a newer client may send them', async () => {
    const payload = { leader: 'a', candidate: 'c', site: 'x' };
    expect((await anApi().inject({ method: 'POST', url: '/switchover', payload })).statusCode).toBe(200);
  });
});

describe('DELETE /switchover', () => {
  it('is 409 when somebody changed the schedule at the same moment', async () => {
    const control = aControl({
      cancelSwitchover: async () => ({ kind: 'refused', status: 409, sentence: 'look again' }),
    });
    expect((await anApi(control).inject({ method: 'DELETE', url: '/switchover' })).statusCode).toBe(409);
  });
});

describe('what Patroni does for others alone', () => {
  it('is answered, and does nothing', async () => {
    const post = async (url: string, payload?: object) => {
      const { statusCode, body } = await anApi().inject({
        method: 'POST',
        url,
        ...(payload === undefined ? {} : { payload }),
      });
      return [statusCode, body];
    };
    expect(await post('/sigterm')).toEqual([202, 'nothing is done on this system']);
    expect(await post('/citus', { type: 'before_demote' })).toEqual([200, 'OK']);
    expect(await post('/mpp', { type: 'before_demote' })).toEqual([200, 'OK']);
    expect((await post('/citus'))[0]).toBe(411);
  });
});

describe('unknown writes', () => {
  it('are 501, with the words that patronictl looks for', async () => {
    for (const [method, url] of [
      ['POST', '/nothing'],
      ['DELETE', '/'],
      ['PUT', '/primary'],
      ['PATCH', '/%zz'],
    ] as const) {
      const answer = await anApi().inject({ method, url });
      expect(answer.statusCode).toBe(501);
      expect(answer.body).toContain('Server does not support this operation');
    }
  });
});

describe('between members', () => {
  const asked = {
    leader: 'a',
    term: '18446744073709551616',
    system_id: '7438123456789012345',
    timeline: 2,
    end: '1/5000060',
  };

  it('hands a rescue on with its numbers whole', async () => {
    let seen: unknown;
    const control = aControl({
      rescue: async (request) => {
        seen = request;
        return { kind: 'delivered', replayed: request.end };
      },
    });
    const answer = await anApi(control).inject({ method: 'POST', url: '/pgha/rescue', payload: asked });
    expect(answer.json()).toEqual({ kind: 'delivered', replayed: '1/5000060' });
    expect(seen).toEqual({
      leader: 'a',
      term: 18446744073709551616n,
      systemId: '7438123456789012345',
      timeline: 2,
      end: 0x1_0500_0060n,
      limit: null,
    });
    await anApi(control).inject({ method: 'POST', url: '/pgha/rescue', payload: { ...asked, limit_ms: 1_500 } });
    expect(seen).toMatchObject({ limit: 1_500 });
  });

  it('refuses a rescue with anything missing', async () => {
    for (const key of Object.keys(asked)) {
      const { [key as keyof typeof asked]: _, ...rest } = asked;
      const answer = await anApi().inject({ method: 'POST', url: '/pgha/rescue', payload: rest });
      expect([key, answer.statusCode]).toEqual([key, 400]);
    }
  });

  it('gives out WAL with its digest, and 404 when the agent does not', async () => {
    const bytes = Buffer.from('some WAL');
    const control = aControl({ readWal: async (_tl, from) => ({ start: from, bytes }) });
    const url = '/pgha/wal?timeline=2&from=0/5000000&to=0/5000008';
    const answer = await anApi(control).inject(url);
    expect(answer.rawPayload).toEqual(bytes);
    expect(answer.headers['content-type']).toBe('application/octet-stream');
    expect(answer.headers['pgha-sha256']).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect((await anApi().inject(url)).statusCode).toBe(404);
    for (const bad of [
      '',
      '?timeline=0&from=0/1&to=0/2',
      '?timeline=1&from=0/2&to=0/1',
      '?timeline=1&from=0/0&to=1/0',
    ]) {
      expect((await anApi(control).inject(`/pgha/wal${bad}`)).statusCode).toBe(400);
    }
  });
});

describe('the audit trail', () => {
  it('has who asked, from where, what, and what became of it', async () => {
    const control = aControl();
    const app = anApi(control, withLogin);
    const headers = { ...login('admin', 'secret'), 'pgha-asked-by': 'alice@db1\u0000'.replace('\u0000', '') };
    await app.inject({
      method: 'POST',
      url: '/switchover',
      headers,
      remoteAddress: '192.0.2.7',
      payload: { leader: 'a', candidate: 'c' },
    });
    expect(control.asked.audit).toMatchObject([
      {
        member: 'b',
        asker: { address: '192.0.2.7', login: 'admin', certificate: null, says: 'alice@db1' },
        request: 'POST /switchover',
        asked: { leader: 'a', candidate: 'c' },
        ok: true,
        status: 200,
        said: 'Successfully switched over to "c"',
        before: null,
      },
    ]);
  });

  it('has what changed in the configuration, as it was and as it is, without secrets', async () => {
    const control = aControl();
    const payload = { ttl: 20, postgresql: { parameters: { primary_conninfo: 'host=a password=hunter2' } } };
    await anApi(control).inject({ method: 'PATCH', url: '/config', payload });
    expect(control.asked.audit).toMatchObject([
      {
        request: 'PATCH /config',
        asked: null,
        before: { ttl: 10, loop_wait: 2 },
        after: { ttl: 20, postgresql: { parameters: { primary_conninfo: 'host=a password=***' } } },
      },
    ]);
  });

  it('has what was refused, and what could not be answered, but nothing of strangers', async () => {
    const control = aControl({
      patchConfig: async () => ({ kind: 'refused', status: 400, sentence: 'not stored: ttl' }),
      cancelSwitchover: () => Promise.reject(new Error('broken')),
    });
    const app = anApi(control, withLogin);
    await app.inject({ method: 'PATCH', url: '/config', payload: { ttl: 1 } });
    expect(control.asked.audit).toEqual([]);
    const headers = login('admin', 'secret');
    await app.inject({ method: 'PATCH', url: '/config', headers, payload: { ttl: 1 } });
    await app.inject({ method: 'DELETE', url: '/switchover', headers });
    expect(control.asked.audit).toMatchObject([
      { asked: { ttl: 1 }, ok: false, status: 400, said: 'not stored: ttl', before: null, after: null },
      { request: 'DELETE /switchover', ok: false, status: 500 },
    ]);
  });
});
