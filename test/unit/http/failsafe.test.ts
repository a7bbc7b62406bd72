/** `POST /failsafe` and `GET /failsafe`, and the members' end of them. */
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { ConfirmOutcome, FailsafeRequest } from '../../../src/core/failsafe.ts';
import { lsn } from '../../../src/core/lsn.ts';
import { nodeName, revision } from '../../../src/core/store.ts';
import { instant, millis } from '../../../src/core/time.ts';
import { HttpPeers } from '../../../src/peers/http.ts';
import { HttpClient } from '../../../src/peers/request.ts';
import { aControl, aLeader, anApi, aPublished, NOW } from './builders.ts';

const asked = { name: 'a', conn_url: 'postgres://a:5432/postgres', api_url: 'http://a:8008/patroni' };

function answering(outcome: ConfirmOutcome) {
  const requests: FailsafeRequest[] = [];
  const confirmFailsafe = async (request: FailsafeRequest) => {
    requests.push(request);
    return outcome;
  };
  return { app: anApi(aControl({ confirmFailsafe })), requests };
}

const post = (app: ReturnType<typeof anApi>, body: unknown) =>
  app.inject({ method: 'POST', url: '/failsafe', payload: JSON.stringify(body) });

describe('POST /failsafe', () => {
  it('answers as Patroni does: the word, and how far this node is', async () => {
    const { app, requests } = answering({ kind: 'confirmed', position: lsn(83886176n) });
    const answer = await post(app, { ...asked, slots: { b: 83886176 } });
    expect([answer.statusCode, answer.body, answer.headers['lsn']]).toEqual([200, 'Accepted', '83886176']);
    expect(requests).toEqual([{ name: 'a', to: null, term: null, hold: null, slots: new Map([['b', 83886176n]]) }]);
  });

  it('takes no positions of slots that make no sense', async () => {
    const { app, requests } = answering({ kind: 'confirmed', position: null });
    for (const slots of [{ b: 'x', c: -1, d: 1.5, e: 2 }, 'all', [null], null]) await post(app, { ...asked, slots });
    expect(requests.map(({ slots }) => [...slots])).toEqual([[['e', 2n]], [], [], []]);
  });

  it('hands the term and the hold of a pgha leader on', async () => {
    const { app, requests } = answering({ kind: 'confirmed', position: null });
    await post(app, { ...asked, pgha: { to: 'b', term: '42', hold_ms: 10_000 } });
    expect(requests).toEqual([{ name: 'a', to: 'b', term: revision(42), hold: 10_000, slots: new Map() }]);
  });

  it('says why not', async () => {
    const off = await post(answering({ kind: 'off' }).app, asked);
    expect(off.statusCode).toBe(502);
    const primary = await post(answering({ kind: 'primary' }).app, asked);
    expect([primary.statusCode, primary.body]).toEqual([500, 'Running as a leader']);
    const refused = await post(answering({ kind: 'refused', why: 'this node owns the leader key' }).app, asked);
    expect([refused.statusCode, refused.body]).toEqual([503, 'this node owns the leader key']);
  });

  it('takes nothing that it does not understand for a question', async () => {
    const { app, requests } = answering({ kind: 'confirmed', position: null });
    for (const body of [
      {},
      { api_url: 'x' },
      { name: 7 },
      { ...asked, pgha: { term: '42' } },
      { ...asked, pgha: { hold_ms: 10_000 } },
      { ...asked, pgha: { term: 42, hold_ms: 10_000 } },
      { ...asked, pgha: { term: '42', hold_ms: -1 } },
      { ...asked, pgha: { term: 'x', hold_ms: 1 } },
    ]) {
      expect((await post(app, body)).statusCode, JSON.stringify(body)).toBe(400);
    }
    expect(requests).toEqual([]);
  });
});

describe('GET /failsafe', () => {
  it('shows the list, and 502 while none was ever seen', async () => {
    const cluster = aPublished().cluster;
    if (cluster === null) throw new Error('no cluster');
    const failsafe = { members: new Map([[nodeName('a'), 'http://a:8008/patroni']]), revision: revision(3) };
    const answer = await anApi(aControl({ state: aPublished({ cluster: { ...cluster, failsafe } }) })).inject(
      '/failsafe',
    );
    expect([answer.statusCode, answer.json()]).toEqual([200, { a: 'http://a:8008/patroni' }]);
    expect((await anApi(aControl()).inject('/failsafe')).statusCode).toBe(502);
  });
});

describe('failsafe_mode_is_active', () => {
  const shown = async (state: ReturnType<typeof aPublished>) => {
    const app = anApi(aControl({ state }));
    const metrics = (await app.inject('/metrics')).body;
    return [
      (await app.inject('/patroni')).json()['failsafe_mode_is_active'],
      /^patroni_failsafe_mode_is_active\S* (\d)$/m.exec(metrics)?.[1],
    ];
  };

  it('is there on the leader that goes on by confirmations, and on those who have confirmed', async () => {
    const { leadership } = aLeader();
    if (leadership.kind !== 'holding') throw new Error('does not lead');
    expect(await shown(aLeader())).toEqual([undefined, '0']);
    expect(await shown(aLeader({ leadership: { ...leadership, provenBy: 'members' } }))).toEqual([true, '1']);
    const to = nodeName('a');
    expect(await shown(aPublished({ confirmed: { to, until: instant(NOW + 5) } }))).toEqual([true, '1']);
    expect(await shown(aPublished({ confirmed: { to, until: instant(NOW - 5) } }))).toEqual([undefined, '0']);
  });
});

describe('a leader that asks', () => {
  const clock = {
    now: () => instant(0),
    wall: () => 0 as never,
    suspendedFor: () => millis(0),
    timer: () => () => {},
    sleep: async () => {},
  };

  it('is heard by a real member, and takes anything but its word for a no', async () => {
    const request: FailsafeRequest = {
      name: nodeName('a'),
      to: nodeName('b'),
      term: revision(42),
      hold: millis(10_000),
      slots: new Map([['b', lsn(83886176n)]]),
    };
    const trust = { ca: null, cert: null, key: null, insecure: false };
    const own = { apiUrl: 'http://a:8008/patroni', connUrl: 'postgres://a:5432/postgres' };
    const peers = new HttpPeers(new HttpClient(null, trust), clock, own);
    const ask = async (outcome: ConfirmOutcome) => {
      const { app, requests } = answering(outcome);
      await app.listen({ host: '127.0.0.1', port: 0 });
      const { port } = app.server.address() as AddressInfo;
      const address = { name: 'b', apiUrl: `http://127.0.0.1:${port}/patroni` };
      const answer = await peers.confirm(address, request, millis(2_000));
      await app.close();
      return { answer, requests, address };
    };
    const yes = await ask({ kind: 'confirmed', position: lsn(7n) });
    expect([yes.answer, yes.requests]).toEqual([{ kind: 'confirmed', position: 7n }, [request]]);
    expect((await ask({ kind: 'refused', why: 'not now' })).answer).toEqual({ kind: 'refused', why: 'not now' });
    expect((await ask({ kind: 'off' })).answer).toMatchObject({
      kind: 'refused',
      why: expect.stringContaining('force'),
    });
    expect(await peers.confirm(yes.address, request, millis(300))).toMatchObject({ kind: 'refused' });
    peers.close();
  });
});
