import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemId } from '../../../src/core/local.ts';
import { lsn, timeline } from '../../../src/core/lsn.ts';
import { nodeName, revision } from '../../../src/core/store.ts';
import { instant, millis, wallTime } from '../../../src/core/time.ts';
import { HttpPeers, readPeerStatus } from '../../../src/peers/http.ts';
import { HttpClient } from '../../../src/peers/request.ts';
import type { Clock } from '../../../src/ports/clock.ts';

const clock: Clock = {
  now: () => instant(42),
  wall: () => wallTime(0),
  suspendedFor: () => millis(0),
  timer: () => () => {},
  sleep: async () => {},
};
const LIMIT = millis(1_000);

let server: http.Server;
let answer: http.RequestListener;
let requests: http.IncomingMessage[];
let peers: HttpPeers;
let address: { name: string; apiUrl: string };

beforeEach(async () => {
  requests = [];
  server = http.createServer((request, response) => {
    requests.push(request);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  address = { name: 'b', apiUrl: `http://127.0.0.1:${port}/patroni` };
  const trust = { ca: null, cert: null, key: null, insecure: false };
  peers = new HttpPeers(new HttpClient({ username: 'admin', password: 'pw' }, trust), clock);
});

afterEach(async () => {
  peers.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const patroni = {
  state: 'running',
  role: 'replica',
  xlog: { received_location: 100, replayed_location: 90, replayed_timestamp: null, paused: false },
  timeline: 3,
  database_system_identifier: '7438123456789012345',
  patroni: { version: '4.1.4', scope: 'demo', name: 'b' },
};
const json =
  (value: unknown, status = 200): http.RequestListener =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(value));
  };

describe('asking a member', () => {
  it('understands one of Patroni, whatever the status code is', async () => {
    answer = json(patroni, 503);
    expect(await peers.ask(address, LIMIT)).toEqual({
      kind: 'answered',
      at: 42,
      heardAt: 42,
      status: {
        name: 'b',
        state: 'running',
        inRecovery: true,
        timeline: 3,
        position: 100n,
        replayed: 90n,
        positionFinal: true,
        outdated: false,
        noFailover: false,
        priority: 100,
        nodeId: null,
        location: 'default',
        systemId: '7438123456789012345',
        knownCluster: null,
        writable: false,
        sawPrimary: null,
        sawPrimaryOf: null,
        receiving: false,
        mayReceive: null,
        witness: false,
        validates: false,
        validating: false,
        vetoedFor: null,
        gateLeft: null,
        lostGateLeft: null,
        etcdRead: null,
        ailing: [],
        ailedAgo: null,
        freeBytes: null,
        pgha: false,
      },
    });
    expect(requests[0]?.headers.authorization).toBe(`Basic ${Buffer.from('admin:pw').toString('base64')}`);
  });

  it('uses one connection again, and a new one when the kept one has died', async () => {
    let connections = 0;
    server.on('connection', () => connections++);
    answer = json(patroni);
    await peers.ask(address, LIMIT);
    await peers.ask(address, LIMIT);
    expect(connections).toBe(1);
    server.closeAllConnections();
    expect((await peers.ask(address, LIMIT)).kind).toBe('answered');
  });

  it('is over after the limit, also when the answer comes in drops', async () => {
    answer = (_request, response) => {
      response.writeHead(200);
      const drip = setInterval(() => response.write('x'), 10);
      response.on('close', () => clearInterval(drip));
    };
    const started = performance.now();
    const said = await peers.ask(address, millis(150));
    expect(said).toMatchObject({ kind: 'silent', cause: 'no answer within 150 ms' });
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  it('does not read an endless answer', async () => {
    answer = (_request, response) => {
      response.writeHead(200);
      response.end('x'.repeat(2 * 1024 * 1024));
    };
    expect(await peers.ask(address, LIMIT)).toMatchObject({ kind: 'silent' });
  });

  it('is silent, with the cause, when nobody listens or nothing sensible is said', async () => {
    const nobody = await peers.ask({ name: 'x', apiUrl: 'http://127.0.0.1:1/patroni' }, LIMIT);
    expect(nobody).toMatchObject({ kind: 'silent' });
    expect((nobody as { cause: string }).cause).toContain('ECONNREFUSED');
    expect(await peers.ask({ name: 'x', apiUrl: 'nonsense' }, LIMIT)).toMatchObject({ kind: 'silent' });
    answer = (_request, response) => response.end('<html>');
    expect(await peers.ask(address, LIMIT)).toMatchObject({ kind: 'silent', cause: 'the answer is not a JSON object' });
  });

  it('finds a member by name too', async () => {
    answer = json(patroni);
    const byName = { ...address, apiUrl: address.apiUrl.replace('127.0.0.1', 'localhost') };
    expect(await peers.ask(byName, LIMIT)).toMatchObject({ kind: 'answered' });
  });
});

it('a member that saw the primary in the future, or is vetoed for less than nothing, does not say', () => {
  const said = { state: 'running', patroni: { name: 'b' }, pgha: { saw_primary_ms: -1e12, vetoed_for_ms: -5 } };
  expect(readPeerStatus('b', JSON.stringify(said))).toMatchObject({ sawPrimary: null, vetoedFor: null });
});

it('a member whose Postgres does not answer says that its position is from before', () => {
  const said = (failing: unknown) =>
    readPeerStatus(
      'b',
      JSON.stringify({ state: 'running', pgha: { in_recovery: true, position_final: true, failing } }),
    );
  expect(said(null)).toMatchObject({ outdated: false });
  expect(said({ check: 'query', said: 'no answer in time', outdated: true })).toMatchObject({ outdated: true });
  // The check failed, and the query beside it was answered.
  expect(said({ check: 'ping', said: 'no answer in time' })).toMatchObject({ outdated: false, positionFinal: true });
});

describe('a member of Patroni', () => {
  const read = (over: object): ReturnType<typeof readPeerStatus> =>
    readPeerStatus('b', JSON.stringify({ ...patroni, ...over }));

  it('is writable when it has a location or calls itself primary', () => {
    expect(read({ xlog: { location: 5 } })).toMatchObject({ inRecovery: false, writable: true, position: 5n });
    expect(read({ role: 'master' })).toMatchObject({ inRecovery: false, writable: true });
  });

  it('never leads with nofailover, a priority of zero, or a watchdog that failed', () => {
    expect(read({ tags: { nofailover: true } })).toMatchObject({ noFailover: true });
    expect(read({ tags: { failover_priority: 0 } })).toMatchObject({ noFailover: true, priority: 0 });
    expect(read({ watchdog_failed: true })).toMatchObject({ noFailover: true });
  });

  it('says nothing of use without a position', () => {
    expect(read({ xlog: undefined, state: 'starting' })).toBe('its Postgres is starting and tells no position');
  });
});

describe('a rescue', () => {
  const request = {
    leader: nodeName('a'),
    term: revision('9007199254740993'),
    systemId: systemId('7438123456789012345'),
    timeline: timeline(2),
    end: lsn(0x1_0500_0060n),
    limit: millis(1_500),
  };

  it('is asked for with numbers that survive JSON, and answered with a position', async () => {
    let body = '';
    answer = (incoming, response) => {
      incoming.on('data', (part) => {
        body += part;
      });
      incoming.on('end', () => json({ kind: 'delivered', replayed: '1/5000060' })(incoming, response as never));
    };
    expect(await peers.rescue(address, request, LIMIT)).toEqual({ kind: 'delivered', replayed: 0x1_0500_0060n });
    expect(requests[0]?.url).toBe('/pgha/rescue');
    expect(JSON.parse(body)).toEqual({
      leader: 'a',
      term: '9007199254740993',
      system_id: '7438123456789012345',
      timeline: 2,
      end: '1/5000060',
      limit_ms: 1_500,
    });
  });

  it('is refused with the reason, and never thrown', async () => {
    answer = json({ kind: 'refused', reason: 'I am not a standby' }, 409);
    expect(await peers.rescue(address, request, LIMIT)).toEqual({ kind: 'refused', reason: 'I am not a standby' });
    answer = json({}, 404);
    expect(await peers.rescue(address, request, LIMIT)).toEqual({ kind: 'refused', reason: 'HTTP status 404' });
    answer = () => {};
    expect(await peers.rescue(address, request, millis(50))).toMatchObject({ kind: 'refused' });
  });

  it('takes WAL only whole and with the right digest', async () => {
    const bytes = Buffer.from('12345678');
    const digest = createHash('sha256').update(bytes).digest('hex');
    const give =
      (content: Buffer, headers: http.OutgoingHttpHeaders): http.RequestListener =>
      (_request, response) => {
        response.writeHead(200, headers);
        response.end(content);
      };
    const fetch = (): ReturnType<HttpPeers['fetchWal']> =>
      peers.fetchWal(address, timeline(2), lsn(0x5000000), lsn(0x5000008), LIMIT);
    answer = give(bytes, { 'pgha-sha256': digest, 'pgha-wal-start': '0/5000000' });
    expect(await fetch()).toEqual({ start: 0x5000000n, bytes });
    expect(requests[0]?.url).toBe('/pgha/wal?timeline=2&from=0/5000000&to=0/5000008');
    answer = give(Buffer.from('12345679'), { 'pgha-sha256': digest, 'pgha-wal-start': '0/5000000' });
    expect(await fetch()).toBeNull();
    answer = give(bytes.subarray(1), { 'pgha-sha256': digest, 'pgha-wal-start': '0/5000000' });
    expect(await fetch()).toBeNull();
    answer = json({}, 404);
    expect(await fetch()).toBeNull();
  });
});
