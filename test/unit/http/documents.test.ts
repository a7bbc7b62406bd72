import { describe, expect, it } from 'vitest';
import type { HealthView } from '../../../src/agent/sickness-watch.ts';
import { systemId } from '../../../src/core/local.ts';
import { lsn } from '../../../src/core/lsn.ts';
import { NOTHING_LEARNED } from '../../../src/core/sickness.ts';
import { nodeName } from '../../../src/core/store.ts';
import { instant, millis, seconds } from '../../../src/core/time.ts';
import { readPeerStatus } from '../../../src/peers/http.ts';
import {
  aCluster,
  aConfig,
  aControl,
  aLeader,
  anApi,
  aPublished,
  NOW,
  primary,
  SYSTEM,
  standby,
  threeMembers,
} from './builders.ts';

const FULL: HealthView = {
  vitals: NOTHING_LEARNED,
  ailments: [
    { sickness: { kind: 'disk-full', where: ['data'], freeBytes: 4096n, said: 'No space left on device' }, since: NOW },
  ],
  ailedAt: NOW,
  freeBytes: 4096n,
};

describe('GET /patroni', () => {
  it('shows a standby as Patroni does', async () => {
    const control = aControl();
    const answer = await anApi(control, aConfig({ tags: { region: 'eu1' } })).inject('/patroni/anything');
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['content-type']).toBe('application/json');
    const { pgha, ...patroni } = answer.json();
    expect(patroni).toEqual({
      state: 'running',
      role: 'replica',
      postmaster_start_time: '2026-11-20 10:44:00.123456+00:00',
      server_version: 150018,
      xlog: {
        received_location: 0x5000060,
        replayed_location: 0x5000000,
        replayed_timestamp: '2026-11-20 10:45:00.5+00:00',
        paused: false,
      },
      timeline: 2,
      replication_state: 'streaming',
      dcs_last_seen: 1_795_000_000,
      tags: { region: 'eu1' },
      database_system_identifier: SYSTEM,
      patroni: { version: '4.1.4', scope: 'demo', name: 'b' },
    });
    expect(pgha).toMatchObject({
      node_id: 2,
      position: '0/5000060',
      replayed: '0/5000000',
      position_final: true,
      writable: false,
      gate_ms: 4_000,
      // 30 ms when the cycle looked, and half a second has passed since.
      saw_primary_ms: 530,
      decision: { rule: 'standby.follow', reason: 'a leads.' },
    });
    expect(control.asked.looks).toBe(1);
  });

  it('shows the tags by which a standby asks to be synchronous no more', async () => {
    const state = aPublished({ leavesSyncSet: true });
    const { body } = await anApi(aControl({ state }), aConfig({ tags: { zone: 'a' } })).inject({ url: '/patroni' });
    expect(JSON.parse(body)).toMatchObject({ tags: { zone: 'a', nosync: true, sync_priority: 0 } });
  });

  it('shows a primary with its senders, maintenance and what waits for a restart', async () => {
    const local = primary({
      pendingRestart: [{ name: 'max_connections', from: '100', to: '200' }],
      senders: [
        {
          applicationName: 'a',
          user: 'replicator',
          clientAddress: '10.0.0.1',
          state: 'streaming',
          syncState: 'async',
          syncPriority: 0,
          sent: null,
          flushed: null,
          replayed: null,
        },
      ],
    });
    const state = aLeader({ local, policy: aPublished({ pause: true }).policy });
    const body = (await anApi(aControl({ state, canWrite: true })).inject('/patroni')).json();
    expect(body).toMatchObject({
      role: 'primary',
      xlog: { location: 0x5000060 },
      pause: true,
      pending_restart: true,
      pending_restart_reason: { max_connections: { old_value: '100', new_value: '200' } },
      replication: [{ usename: 'replicator', application_name: 'a', client_addr: '10.0.0.1', sync_state: 'async' }],
      pgha: { leadership: 'holding', term: '5', window_left_ms: 8_000, writable: true, in_recovery: false },
    });
    expect(body).not.toHaveProperty('replication_state');
    expect(body).not.toHaveProperty('cluster_unlocked');
  });

  it('tells how Postgres is in trouble here, and what the server of the leader said', async () => {
    const pgha = async (over: Parameters<typeof aPublished>[0]) =>
      (await anApi(aControl({ state: aPublished(over) })).inject('/patroni')).json().pgha;
    expect(await pgha({ local: primary({ full: '97 of 100 connections are in use' }) })).toMatchObject({
      failing: null,
      full: '97 of 100 connections are in use',
    });
    expect(await pgha({ local: { kind: 'silent', since: seconds(1), said: 'no answer' } })).toMatchObject({
      failing: { check: null, said: 'no answer' },
      full: null,
    });
    expect(await pgha({ local: { kind: 'silent', since: seconds(1), said: 'too many', full: true } })).toMatchObject({
      failing: null,
      full: 'too many',
    });
    const answer = { kind: 'silent', said: 'no connection within 1000 ms' } as const;
    expect(await pgha({ upstreamCheck: { of: nodeName('a'), answer, at: instant(NOW - 250) } })).toMatchObject({
      upstream_check: { of: 'a', kind: 'silent', said: 'no connection within 1000 ms', age_ms: 250 },
    });
  });

  it('leaves out what Postgres does not say while it does not answer', async () => {
    const state = aPublished({
      local: { kind: 'starting', since: seconds(1), asPrimary: false },
      state: 'starting',
      role: 'replica',
      cluster: null,
      clusterAt: null,
      clusterAtWall: null,
    });
    const body = (await anApi(aControl({ state })).inject('/patroni')).json();
    expect(body).toMatchObject({ state: 'starting', role: 'replica', cluster_unlocked: true, dcs_last_seen: 0 });
    for (const absent of ['xlog', 'timeline', 'server_version', 'database_system_identifier', 'tags']) {
      expect(body).not.toHaveProperty(absent);
    }
  });

  it('is 503 when the cycle has hung for a TTL, and says so to other members', async () => {
    const answer = await anApi(aControl({ state: aPublished({ at: instant(NOW - 10_001) }) })).inject('/patroni');
    expect(answer.statusCode).toBe(503);
    expect(readPeerStatus('b', answer.body)).toContain('cycle hangs');
  });

  it('answers with what is known when looking at Postgres takes too long or fails', async () => {
    const hanging = aControl({ look: () => new Promise(() => {}) });
    expect((await anApi(hanging).inject('/patroni')).statusCode).toBe(200);
    const failing = aControl({ look: () => Promise.reject(new Error('no')) });
    expect((await anApi(failing).inject('/patroni')).statusCode).toBe(200);
  });
});

describe('GET /cluster, /history, /config, /status', () => {
  it('lists the members with roles, states and lags', async () => {
    const body = (await anApi().inject('/cluster')).json();
    expect(body.scope).toBe('demo');
    expect(body.members).toEqual([
      {
        name: 'a',
        role: 'leader',
        state: 'running',
        api_url: 'http://10.0.0.1:8008/patroni',
        host: '10.0.0.1',
        port: 5432,
        timeline: 2,
      },
      {
        name: 'b',
        role: 'replica',
        state: 'streaming',
        api_url: 'http://10.0.0.2:8008/patroni',
        host: '10.0.0.2',
        port: 5432,
        timeline: 2,
        receive_lag: 0,
        receive_lsn: '0/5000060',
        replay_lag: 96,
        replay_lsn: '0/5000000',
        lag: 0,
        lsn: '0/5000060',
      },
      {
        name: 'c',
        role: 'replica',
        state: 'starting',
        api_url: 'http://10.0.0.3:8008/patroni',
        host: '10.0.0.3',
        port: 5432,
        tags: { nofailover: true },
        receive_lag: 'unknown',
        receive_lsn: 'unknown',
        replay_lag: 'unknown',
        replay_lsn: 'unknown',
        lag: 'unknown',
        lsn: 'unknown',
      },
    ]);
  });

  it('answers from the last known view with its age while etcd is away, and 503 when nothing is known', async () => {
    const away = aControl({ readCluster: async () => null });
    const answer = await anApi(away).inject('/cluster');
    expect(answer.statusCode).toBe(200);
    expect(answer.json()).toMatchObject({ scope: 'demo', pgha: { age_ms: 500 } });
    const nothing = aControl({ readCluster: async () => null, state: aPublished({ cluster: null, clusterAt: null }) });
    for (const url of ['/cluster', '/history', '/config']) {
      expect((await anApi(nothing).inject(url)).statusCode).toBe(503);
    }
  });

  it('shows a scheduled switchover and the history as Patroni writes them', async () => {
    const cluster = aCluster(
      threeMembers({
        failover: { leader: 'a', member: 'b', scheduled_at: '2030-01-01T10:00:00+00:00' },
        history: [
          [1, 100, 'no recovery target specified', '2026-01-01T00:00:00+00:00', 'a'],
          [2, 200, 'older'],
        ],
      }),
    );
    const app = anApi(aControl({ state: aPublished({ cluster }) }));
    expect((await app.inject('/cluster')).json().scheduled_switchover).toEqual({
      at: '2030-01-01T10:00:00+00:00',
      from: 'a',
      to: 'b',
    });
    expect((await app.inject('/history')).json()).toEqual([
      [1, 100, 'no recovery target specified', '2026-01-01T00:00:00+00:00', 'a'],
      [2, 200, 'older'],
    ]);
  });

  it('shows what happened in the cluster, and with 503 what this member alone knows while etcd is away', async () => {
    const event = {
      time: '2026-11-20T14:08:00.000Z',
      node: 'a',
      nodeId: 1,
      event: 'fenced',
      ok: true,
      details: 'Postgres is ended here',
      primary: null,
    };
    for (const [ofAll, code] of [
      [true, 200],
      [false, 503],
    ] as const) {
      const answer = await anApi(aControl({ readEvents: async () => ({ events: [event], ofAll }) })).inject(
        '/pgha/events',
      );
      expect(answer.statusCode).toBe(code);
      const { nodeId, primary: _none, ...rest } = event;
      expect(answer.json()).toEqual([{ ...rest, node_id: nodeId }]);
    }
  });

  it('gives the configuration with its keys in the order they are stored in', async () => {
    const cluster = aCluster(threeMembers({ config: '{"zeta":1,"ttl":10,"alpha":{"b":1,"a":2}}' }));
    const answer = await anApi(aControl({ state: aPublished({ cluster }) })).inject('/config');
    expect(answer.body).toBe('{"zeta":1,"ttl":10,"alpha":{"b":1,"a":2}}');
    const none = aCluster(threeMembers({ config: 'garbage' }));
    expect((await anApi(aControl({ state: aPublished({ cluster: none }) })).inject('/config')).statusCode).toBe(502);
  });

  it('names the rule and the reason of the current decision', async () => {
    expect((await anApi().inject('/status')).json()).toMatchObject({
      name: 'b',
      decision: { rule: 'standby.follow', reason: 'a leads.', for_ms: 5_000 },
      leadership: { kind: 'none' },
      leader: 'a',
    });
  });
});

describe('a restart that is scheduled', () => {
  const plan = {
    at: '2030-01-01T10:00:00+00:00',
    role: 'replica',
    below: null,
    timeout: null,
    onlyIfPending: true,
    postmasterStart: '2026-11-20 10:44:00.123456+00:00',
  } as const;

  it('stands in the status without the postmaster that is meant, and is counted', async () => {
    const app = anApi(aControl({ state: aPublished({ scheduledRestart: plan }) }));
    expect((await app.inject('/patroni')).json().scheduled_restart).toEqual({
      schedule: plan.at,
      role: 'replica',
      restart_pending: true,
    });
    expect((await app.inject('/metrics')).body).toContain('pgha_scheduled_restart{scope="demo",name="b"} 1');
    expect((await anApi().inject('/patroni')).json()).not.toHaveProperty('scheduled_restart');
  });
});

describe('GET /metrics', () => {
  const PATRONI = {
    gauge:
      'version postgres_running postmaster_start_time primary standby_leader replica sync_standby quorum_standby ' +
      'xlog_replayed_timestamp xlog_paused postgres_streaming postgres_in_archive_recovery postgres_server_version ' +
      'cluster_unlocked failsafe_mode_is_active failsafe_mode_enabled failsafe_member postgres_timeline ' +
      'dcs_last_seen pending_restart is_paused postgres_state failover_priority',
    counter: 'xlog_location xlog_received_location xlog_replayed_location',
  };
  const read = async (control = aControl()): Promise<{ body: string; samples: readonly string[] }> => {
    const { body } = await anApi(control).inject('/metrics');
    return { body, samples: body.split('\n').filter((line) => line !== '' && !line.startsWith('#')) };
  };

  it('has all of Patroni with its types, each with scope and name and nothing else', async () => {
    const names = Object.values(PATRONI).flatMap((all) => all.split(' '));
    expect(names).toHaveLength(26);
    for (const control of [aControl(), aControl({ state: aLeader(), canWrite: true })]) {
      const { body, samples } = await read(control);
      for (const [type, all] of Object.entries(PATRONI)) {
        for (const name of all.split(' ').map((one) => `patroni_${one}`)) {
          expect(body).toContain(`\n# TYPE ${name} ${type}\n`);
          expect(samples.filter((sample) => sample.startsWith(`${name}{scope="demo",name="b"} `))).toHaveLength(1);
        }
      }
      expect(samples.filter((sample) => sample.startsWith('patroni_'))).toHaveLength(26);
    }
  });

  it('has scope and name on every sample, and a HELP and a TYPE for it, once', async () => {
    const { body, samples } = await read(aControl({ state: aLeader(), canWrite: true }));
    expect((await anApi().inject('/metrics')).headers['content-type']).toBe('text/plain');
    for (const line of [
      'patroni_primary{scope="demo",name="b"} 1',
      'patroni_version{scope="demo",name="b"} 40104',
      'patroni_postgres_state{scope="demo",name="b"} 5',
      'patroni_xlog_location{scope="demo",name="b"} 83886176',
      'pgha_window_left_seconds{scope="demo",name="b"} 8',
      'pgha_guard_state{scope="demo",name="b",state="acking"} 1',
      'pgha_guard_state{scope="demo",name="b",state="silent"} 0',
      'pgha_decision_rule{scope="demo",name="b",rule="standby.follow",situation="following"} 1',
    ])
      expect(samples).toContain(line);
    expect(new Set(samples).size).toBe(samples.length);
    for (const sample of samples) {
      const name = sample.slice(0, sample.indexOf('{'));
      expect(body.split(`# HELP ${name} `)).toHaveLength(2);
      expect(body.split(`# TYPE ${name} `)).toHaveLength(2);
      expect(sample).toMatch(/^[a-z_]+\{scope="demo",name="b"[^}]*\} -?\d+(\.\d+)?$/);
    }
  });

  it('tells how far this standby is behind, and on the primary how far the others are', async () => {
    expect((await read()).samples).toContain('pgha_replay_lag_bytes{scope="demo",name="b",standby="b"} 96');
    const sender = { user: 'r', clientAddress: null, syncState: 'async', syncPriority: 0, sent: null, replayed: null };
    const senders = [
      { ...sender, applicationName: 'c', state: 'streaming', flushed: lsn(0x5000000) },
      { ...sender, applicationName: 'c', state: 'streaming', flushed: lsn(0x5000060) },
      { ...sender, applicationName: 'a copy', state: 'backup', flushed: null },
    ];
    const { samples } = await read(aControl({ state: aLeader({ local: primary({ senders }) }) }));
    expect(samples.filter((sample) => sample.includes('_lag_bytes'))).toEqual([
      'pgha_receive_lag_bytes{scope="demo",name="b",standby="c"} 96',
    ]);
  });

  it('counts proofs of leadership, and says how old the last one is', async () => {
    const proofs = { count: 17, last: instant(NOW - 250) };
    const leads = await read(aControl({ state: aLeader({ proofs }) }));
    expect(leads.samples).toContain('pgha_lease_proofs_total{scope="demo",name="b"} 17');
    expect(leads.samples).toContain('pgha_lease_proof_age_seconds{scope="demo",name="b"} 0.25');
    expect((await read()).body).not.toContain('pgha_lease_proof_age_seconds');
  });

  it('tells how long the phases of the last takeover took, and nothing of one it cannot read', async () => {
    const record = {
      version: 1,
      kind: 'failover',
      node: 'a',
      term: '5',
      at: '2026-11-20T10:44:00.500Z',
      rule: 'leaderless.acquire',
      reason: 'best',
      steps: [],
      seen: [],
      members: [],
      ranking: [],
      phases: [{ phase: 'promotion', planned_ms: null, actual_ms: 150 }],
      followers: [],
      judgement_ms: 12,
    };
    const state = (text: unknown) => aPublished({ cluster: aCluster(threeMembers({ 'pgha/last_takeover': text })) });
    const { samples } = await read(aControl({ state: state(record) }));
    const labels = 'scope="demo",name="b",leader="a",kind="failover"';
    expect(samples).toContain(`pgha_failover_phase_seconds{${labels},phase="promotion"} 0.15`);
    expect(samples).toContain(`pgha_failover_judgement_seconds{${labels}} 0.012`);
    expect(samples).toContain(`pgha_failover_timestamp_seconds{${labels}} ${Date.parse(record.at) / 1000}`);
    expect((await read(aControl({ state: state('garbage') }))).body).not.toContain('pgha_failover');
  });
});

describe('the virtual address', () => {
  const holding = { name: '10.0.0.100/24 on eth0', held: true, trouble: null };

  it('is told by the node that has it, and by no other where none is configured', async () => {
    const none = anApi(aControl());
    expect((await none.inject('/patroni')).json().pgha).not.toHaveProperty('vip');
    expect((await none.inject('/metrics')).body).not.toContain('pgha_vip');
    const api = anApi(aControl({ state: aPublished({ virtualAddress: holding }) }));
    expect((await api.inject('/patroni')).json().pgha.vip).toEqual(holding);
    const { body } = await api.inject('/metrics');
    expect(body).toMatch(/^pgha_vip_held\{.*\} 1$/m);
    expect(body).toMatch(/^pgha_vip_trouble\{.*\} 0$/m);
  });
});

describe('what a member says of itself', () => {
  it('is read back by the other members', async () => {
    const body = (
      await anApi(
        aControl({
          state: aPublished({ local: standby({ positionFinal: false }), health: FULL, knownCluster: systemId(SYSTEM) }),
        }),
      ).inject('/patroni')
    ).body;
    expect(readPeerStatus('b', body)).toEqual({
      name: 'b',
      state: 'running',
      inRecovery: true,
      timeline: 2,
      position: 0x5000060n,
      replayed: 0x5000000n,
      positionFinal: false,
      outdated: false,
      noFailover: false,
      priority: 100,
      nodeId: 2,
      location: 'default',
      systemId: SYSTEM,
      knownCluster: SYSTEM,
      writable: false,
      sawPrimary: 530,
      sawPrimaryOf: 'a',
      receiving: true,
      mayReceive: true,
      witness: false,
      validates: false,
      validating: false,
      vetoedFor: null,
      gateLeft: millis(4_000),
      lostGateLeft: null,
      etcdRead: null,
      ailing: ['disk-full'],
      ailedAgo: 0,
      freeBytes: 4096n,
      pgha: true,
    });
    expect(readPeerStatus('c', body)).toContain('b answers at the address of c');
  });
});
