import { describe, expect, test } from 'vitest';
import { timeline } from '../../../src/core/lsn.ts';
import type { Row } from '../../../src/postgres/connection.ts';
import { observe, positionFinal, serverFrom, timelineInTitle, upstreamIn } from '../../../src/postgres/probe.ts';

const common: Row = {
  version: 150020,
  system_id: '7423110022945573123',
  started_at: '2026-11-20 10:44:00.123456+00:00',
  checkpoint_timeline: 1,
  recovery_timeline: 0,
  replay_paused: false,
  senders: null,
  receiver: null,
};

const aPrimary = (changed: Row = {}): Row => ({
  ...common,
  in_recovery: false,
  flushed: '0/5000060',
  wal_file: '000000020000000000000005',
  conninfo: '',
  ...changed,
});

const aStandby = (changed: Row = {}): Row => ({
  ...common,
  in_recovery: true,
  received: '0/6000000',
  replayed: '0/5000060',
  conninfo: 'host=10.0.0.1 port=5433',
  startup_pid: 17,
  ...changed,
});

describe('what the query says', () => {
  test('of a primary before its first checkpoint on a new timeline', () => {
    const { server } = serverFrom(observe(aPrimary()), [], timeline(0));
    expect(server).toMatchObject({
      kind: 'primary',
      timeline: 2,
      checkpointed: false,
      flushed: 0x5000060n,
      senders: [],
    });
  });

  test('of a primary with a standby, over a socket and with positions still unknown', () => {
    const sender = { application_name: 'b', usename: 'rep', client_addr: null, state: 'startup', sync_state: 'async' };
    const { server } = serverFrom(observe(aPrimary({ senders: [sender] })), [], timeline(0));
    expect(server.senders).toEqual([
      {
        applicationName: 'b',
        user: 'rep',
        clientAddress: null,
        state: 'startup',
        syncState: 'async',
        syncPriority: 0,
        sent: null,
        flushed: null,
        replayed: null,
      },
    ]);
  });

  test('of a server whose last free places are kept for superusers is that it is full', () => {
    const full = (clients: number) =>
      observe(aPrimary({ clients, max_connections: 100, kept_back: 3 })).full?.slice(0, '97 of 100'.length) ?? null;
    expect([0, 96, 97, 100].map(full)).toEqual([null, null, '97 of 100', '100 of 10']);
    expect(serverFrom(observe(aPrimary()), [], timeline(0)).server).not.toHaveProperty('full');
  });

  test('of who waits for WAL is the longest wait, nobody, or one that has no statement', () => {
    const waits = (wal_waiting: unknown) => observe(aPrimary({ wal_waiting })).walWaiting;
    expect([null, '0.000000', '1500.25'].map(waits)).toEqual([null, 0, 1_500.25]);
  });

  test('of a standby whose receiver is on a timeline that the control file does not name yet', () => {
    const receiver = {
      status: 'streaming',
      sender_host: '10.0.0.1',
      sender_port: 5433,
      received_tli: 3,
      silent_for: '12.5',
    };
    const { server } = serverFrom(observe(aStandby({ receiver })), [], timeline(3));
    expect(server).toMatchObject({
      kind: 'standby',
      timeline: 3,
      received: 0x6000000n,
      follows: '10.0.0.1:5433',
      receiver: { streaming: true, from: '10.0.0.1:5433', timeline: 3, lastMessage: 12.5 },
    });
  });
});

describe('a position', () => {
  test('is final when a receiver has run since the start, or when the startup process waits for more', () => {
    const at = observe(aStandby()).received;
    expect(positionFinal({ received: at, startupWaitsFor: null })).toBe(true);
    expect(positionFinal({ received: null, startupWaitsFor: 'RecoveryRetrieveRetryInterval' })).toBe(true);
    expect(positionFinal({ received: null, startupWaitsFor: 'RecoveryWalStream' })).toBe(true);
  });

  test('is not final while local WAL is replayed, or while replay is paused', () => {
    expect(positionFinal({ received: null, startupWaitsFor: null })).toBe(false);
    expect(positionFinal({ received: null, startupWaitsFor: 'RecoveryPause' })).toBe(false);
  });
});

test('the timeline that the startup process reads stands in its title', () => {
  expect(timelineInTitle('postgres: demo: startup recovering 0000000A0000000000000005')).toBe(10);
  expect(timelineInTitle('postgres: startup waiting for 00000002000000000000000F\0')).toBe(2);
  expect(timelineInTitle('postgres: startup')).toBeNull();
});

describe('the upstream in a connection string', () => {
  for (const [conninfo, upstream] of [
    ['', null],
    ['user=rep application_name=b', null],
    ['host=10.0.0.1 port=5433 user=rep', '10.0.0.1:5433'],
    ['host=10.0.0.1', '10.0.0.1:5432'],
    ["user='it''s' host = 'db one' port='5433'", 'db one:5433'],
    ["password='a\\' host=evil' host=10.0.0.1", '10.0.0.1:5432'],
    ['host=a,b port=1,2', 'a:1'],
  ] as const) {
    test(`${conninfo === '' ? 'nothing' : conninfo} -> ${upstream ?? 'nobody'}`, () => {
      expect(upstreamIn(conninfo)).toBe(upstream);
    });
  }
});
