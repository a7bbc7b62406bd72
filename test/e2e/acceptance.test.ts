/**
 * The acceptance checklist of Patroni's interface, line by line, on one real cluster and with real clients: docs/patroni-
 * interface.md names the test of each line. h1 stands open; h2 asks for a user, lets only some addresses change anything, has
 * tags, and is configured with Patroni's own file and variables.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { which } from '../../scripts/ensure.mjs';
import { type CommandResult, repository, runOn } from './lib/client.ts';
import type { Cluster, Node } from './lib/cluster.ts';
import { launch } from './lib/launch.ts';
import { type RawAnswer, rawRequests } from './lib/raw-http.ts';
import { ctlDone, describeOnHosts, everything, sharedCluster } from './lib/scenario.ts';
import { sleep, until } from './lib/time.ts';

const USER = { username: 'operator', password: 'of the test' };
const BASIC = `Basic ${Buffer.from(`${USER.username}:${USER.password}`).toString('base64')}`;
/** h1, h2, e1, client: the hosts of the network, in this order. */
const CLIENT = '10.77.0.14';

interface Fields {
  readonly [name: string]: unknown;
}

describeOnHosts("Patroni's interface", () => {
  const shared = sharedCluster({
    nodes: 2,
    node: (name) => ({
      ctl: { authentication: USER },
      ...(name === 'h2'
        ? {
            tags: { zone: 'north', canary: true, weight: 1.4, clonefrom: false },
            restapi: {
              authentication: USER,
              allowlist: [CLIENT],
              allowlist_include_members: true,
              thread_pool_size: 7,
            },
            postgresql: { pg_ctl_timeout: 60, config_base_name: 'postgresql' },
          }
        : {}),
    }),
    env: (name) =>
      name === 'h2' ? { PATRONI_RESTAPI_SERVER_TOKENS: 'Minimal', PATRONI_LOG_TRACEBACK_LEVEL: 'DEBUG' } : {},
  });

  const raw = (node: Node, requests: readonly string[], from = 'client'): Promise<readonly RawAnswer[]> =>
    rawRequests(shared.current.network.host(from), { host: node.host.address, port: node.apiPort }, requests);

  const get = async (node: string, path: string): Promise<{ status: number | null; json: Fields }> => {
    const { status, body } = await shared.current.http(node, path);
    return { status, json: JSON.parse(body === '' ? '{}' : body) as Fields };
  };
  const code = async (node: string, path: string): Promise<string> =>
    `${path} ${(await shared.current.http(node, path)).status}`;

  /** h1 leads, and both know it. */
  const ready = async (): Promise<{ cluster: Cluster; leader: Node; standby: Node }> => {
    const cluster = shared.current;
    if ((await cluster.primary()) !== 'h1') await ctlDone(cluster, ['switchover', '--candidate', 'h1', '--force']);
    await until('both say what they are', 15_000, async () => {
      const [primary, replica] = await Promise.all([cluster.http('h1', '/primary'), cluster.http('h2', '/readiness')]);
      const [status, cached] = await Promise.all([cluster.http('h2', '/replica?lag=0'), cluster.http('h2', '/async')]);
      return [primary, replica, status, cached].every((answer) => answer.status === 200);
    });
    return { cluster, leader: cluster.node('h1'), standby: cluster.node('h2') };
  };

  it('1. answers every row of the health checks alike, for each method and each kind of HTTP', async () => {
    const { leader, standby } = await ready();
    const rows: readonly (readonly [paths: string, ofLeader: number, ofStandby: number])[] = [
      ['/ /primary /master /read-write /leader /primary/x /a/read-write', 200, 503],
      ['/standby-leader /standby_leader /sync /synchronous /quorum /nothing /async/', 503, 503],
      ['/replica /replica/ /foo/replica //replica /async /asynchronous', 503, 200],
      ['/read-only /health', 200, 200],
      ['/read-only-sync /read-only-synchronous /read-only-quorum', 200, 503],
    ];
    const kinds = [
      ' HTTP/1.0\r\n\r\n',
      ' HTTP/1.0\r\nHost: x\r\n\r\n',
      ' HTTP/1.1\r\nConnection: close\r\n\r\n',
      ' HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    ];
    for (const [node, of] of [
      [leader, 1],
      [standby, 2],
    ] as const) {
      const asked = rows.flatMap(([paths, ...codes]) =>
        paths
          .split(' ')
          .flatMap((path) =>
            ['GET', 'HEAD', 'OPTIONS'].flatMap((method) =>
              kinds.map((kind) => ({ method, path, text: `${method} ${path}${kind}`, wanted: codes[of - 1] })),
            ),
          ),
      );
      const answers = await raw(
        node,
        asked.map(({ text }) => text),
      );
      asked.forEach(({ text, method, wanted }, index) => {
        const answer = answers[index];
        expect(`${node.name} ${JSON.stringify(text)} ${answer?.status}`).toBe(
          `${node.name} ${JSON.stringify(text)} ${wanted}`,
        );
        if (method !== 'GET') expect(answer?.body).toBe('');
        else expect(JSON.parse(answer?.body ?? '')).toHaveProperty('patroni.version', '4.1.4');
      });
      // Reads with a handler of their own, which HEAD and OPTIONS never reach.
      const paths = ['/patroni', '/cluster', '/history', '/config', '/metrics', '/liveness', '/readiness'];
      const reads = await raw(
        node,
        paths.flatMap((path) => ['GET', 'HEAD', 'OPTIONS'].map((m) => `${m} ${path}${kinds[0]}`)),
      );
      expect(reads.map(({ status }) => status)).toEqual(paths.flatMap(() => [200, 503, 503]));
      expect(reads[0]?.head).toMatch(/content-type: application\/json/i);
    }
  });

  it('2. limits by lag, by tags and by the state of replication', async () => {
    const { standby } = await ready();
    const yes = ['?lag=0', '?lag=10', '?lag=16MB', '?lag=1.5kB', '?lag=1GB', '?lag=', '?lag=junk', '?lag=5mb'];
    for (const query of yes) expect(await code(standby.name, `/replica${query}`)).toBe(`/replica${query} 200`);
    const tags: readonly (readonly [string, number])[] = [
      ['tag_zone=north', 200],
      ['tag_zone=North', 503],
      ['tag_canary=true', 200],
      ['tag_canary=True', 200],
      ['tag_canary=false', 503],
      ['tag_weight=1.4', 200],
      ['tag_missing=1', 503],
      ['tag_zone=north&tag_weight=1.4', 200],
      ['tag_zone=north&tag_weight=2', 503],
      ['replication_state=streaming', 200],
      ['replication_state=in+archive+recovery', 503],
    ];
    for (const path of ['/replica', '/read-only', '/health', '/async'])
      for (const [query, wanted] of tags) {
        // The state of replication is the standby's own: whoever asks for health only does not ask for it.
        const asks = path === '/health' && query.startsWith('replication_state') ? 200 : wanted;
        expect(await code(standby.name, `${path}?${query}`)).toBe(`${path}?${query} ${asks}`);
      }
    await shared.current.sql('h2', 'select pg_wal_replay_pause()');
    try {
      await shared.current.sql(
        'h1',
        "select pg_logical_emit_message(false, 'x', repeat('y', 100000)), pg_switch_wal()",
      );
      await until('it lags by its own word', 10_000, async () =>
        (await code('h2', '/replica?lag=1kB')).endsWith('503'),
      );
      expect(await code('h2', '/replica?lag=1GB')).toBe('/replica?lag=1GB 200');
      expect(await code('h2', '/replica')).toBe('/replica 200');
      expect(await code('h2', '/readiness?lag=1kB')).toBe('/readiness?lag=1kB 503');
      await until('by what it has received it does not', 10_000, async () =>
        (await code('h2', '/readiness?lag=1kB&mode=write')).endsWith(' 200'),
      );
    } finally {
      await shared.current.sql('h2', 'select pg_wal_replay_resume()');
    }
  });

  it.runIf(everything)(
    '3. tells its fields by what the node is: pending and scheduled restarts, maintenance, sync, quorum',
    async () => {
      const { cluster } = await ready();
      const primary = (await get('h1', '/patroni')).json;
      expect(primary).toMatchObject({
        state: 'running',
        role: 'primary',
        server_version: expect.any(Number),
        timeline: expect.any(Number),
        xlog: { location: expect.any(Number) },
        dcs_last_seen: expect.any(Number),
        database_system_identifier: expect.stringMatching(/^\d+$/),
        postmaster_start_time: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00:00$/),
        replication: [expect.objectContaining({ application_name: 'h2', state: 'streaming', sync_state: 'async' })],
        patroni: { version: '4.1.4', scope: 'e2e', name: 'h1' },
      });
      const standby = (await get('h2', '/patroni')).json;
      expect(standby).toMatchObject({
        role: 'replica',
        replication_state: 'streaming',
        tags: { zone: 'north', canary: true, weight: 1.4 },
        xlog: {
          received_location: expect.any(Number),
          replayed_location: expect.any(Number),
          paused: false,
        },
      });
      const absent = ['pause', 'pending_restart', 'scheduled_restart', 'cluster_unlocked', 'failsafe_mode_is_active'];
      for (const name of [...absent, 'sync_standby', 'quorum_standby', 'watchdog_failed', 'replication'])
        expect(standby).not.toHaveProperty(name);
      expect(primary).not.toHaveProperty('tags');

      const shown = (await get('h1', '/cluster')).json;
      expect(shown).toMatchObject({
        scope: 'e2e',
        members: [
          {
            name: 'h1',
            role: 'leader',
            state: 'running',
            api_url: expect.any(String),
            host: expect.any(String),
            port: 5432,
          },
          {
            name: 'h2',
            role: 'replica',
            state: 'streaming',
            timeline: expect.any(Number),
            lag: expect.any(Number),
            receive_lag: expect.any(Number),
            replay_lag: expect.any(Number),
            lsn: expect.stringMatching(/^[0-9A-F]+\/[0-9A-F]+$/),
          },
        ],
      });
      expect((shown['members'] as Fields[])[0]).not.toHaveProperty('lag');

      const becomes = (node: string, what: string, wanted: Fields): Promise<unknown> =>
        until(`${node}: ${what}`, 10_000, async () => {
          const { json } = await get(node, '/patroni');
          expect(json).toMatchObject(wanted);
          return true;
        });
      await ctlDone(cluster, ['edit-config', '-p', 'max_connections=60', '--force']);
      const reason = { max_connections: { old_value: '50', new_value: '60' } };
      await becomes('h1', 'a restart is pending', { pending_restart: true, pending_restart_reason: reason });
      // pgha-ctl goes by the member keys, which follow a moment later.
      await until('the list shows it', 10_000, async () => {
        const rows = JSON.parse((await cluster.ctl(['list', '-f', 'json'])).stdout) as Fields[];
        return rows.some((row) => row['Member'] === 'h1' && row['Pending restart'] === '*');
      });
      const at = '2100-01-01T10:00:00+00:00';
      await ctlDone(cluster, ['restart', 'e2e', 'h1', '--scheduled', at, '--pending', '--force']);
      await becomes('h1', 'a restart is scheduled', { scheduled_restart: { schedule: at, restart_pending: true } });
      await ctlDone(cluster, ['flush', 'e2e', 'h1', 'restart', '--force']);
      await ctlDone(cluster, ['edit-config', '-p', 'max_connections=50', '--force']);

      for (const [mode, duty, path] of [
        ['on', 'sync_standby', '/sync'],
        ['quorum', 'quorum_standby', '/quorum'],
      ] as const) {
        await ctlDone(cluster, ['edit-config', '-s', `synchronous_mode=${mode}`, '--force']);
        await becomes('h2', `${duty}`, { [duty]: true });
        expect(await code('h2', path)).toBe(`${path} 200`);
        expect(await code('h2', '/async')).toBe('/async 503');
        expect(await code('h1', `/read-only-sync`)).toBe('/read-only-sync 200');
        expect((await get('h1', '/cluster')).json['members']).toMatchObject([{}, { role: duty }]);
      }
      // Whoever deletes or garbles the settings in etcd switches nothing off: the leader writes them again.
      for (const spoil of [
        ['del', '/service/e2e/config'],
        ['put', '/service/e2e/config', 'synchronous_mode: off'],
      ]) {
        await cluster.etcd.etcdctl(...spoil);
        await until('the settings are back', 10_000, async () => {
          const stored = await cluster.etcd.etcdctl('get', '/service/e2e/config', '--print-value-only');
          expect(JSON.parse(stored)).toMatchObject({ synchronous_mode: 'quorum' });
          return true;
        });
        expect(await code('h2', '/quorum')).toBe('/quorum 200');
      }
      expect(cluster.node('h1').logText()).toContain('config.restored');
      await ctlDone(cluster, ['edit-config', '-s', 'synchronous_mode=null', '--force']);
      await until('nobody waits any more', 10_000, async () => (await code('h2', '/async')) === '/async 200');
    },
  );

  it('4. has all 26 metrics, which promtool takes', async () => {
    const { cluster } = await ready();
    const names =
      'version postgres_running postmaster_start_time primary xlog_location standby_leader replica sync_standby ' +
      'quorum_standby xlog_received_location xlog_replayed_location xlog_replayed_timestamp xlog_paused ' +
      'postgres_streaming postgres_in_archive_recovery postgres_server_version cluster_unlocked ' +
      'failsafe_mode_is_active failsafe_mode_enabled failsafe_member postgres_timeline dcs_last_seen pending_restart ' +
      'is_paused postgres_state failover_priority';
    const counters = new Set(['xlog_location', 'xlog_received_location', 'xlog_replayed_location']);
    for (const node of ['h1', 'h2']) {
      const { body } = await cluster.http(node, '/metrics');
      for (const name of names.split(' ')) {
        expect(body).toMatch(new RegExp(`^# HELP patroni_${name} .+$`, 'm'));
        expect(body).toMatch(new RegExp(`^# TYPE patroni_${name} ${counters.has(name) ? 'counter' : 'gauge'}$`, 'm'));
        expect(body).toMatch(new RegExp(`^patroni_${name}\\{scope="e2e",name="${node}"\\} -?[0-9.e+]+$`, 'm'));
      }
      expect(body).toMatch(/^patroni_version\{.*\} 40104$/m);
    }
    const promtool = which('promtool');
    if (promtool === null) return;
    const file = join(cluster.directory, 'metrics');
    for (const node of ['h1', 'h2']) {
      writeFileSync(file, (await cluster.http(node, '/metrics')).body);
      const said = await runOn(cluster.network.host('client'), ['sh', '-c', `${promtool} check metrics < ${file}`]);
      // It only finds fault with Patroni's own names: counters of positions do not end in _total.
      const lines = (said.stdout + said.stderr).split('\n').filter((line) => line !== '');
      expect(lines.filter((line) => !/^patroni_xlog_(received_|replayed_)?location .*_total/.test(line))).toEqual([]);
    }
  });

  it('5. answers writes with the codes and sentences that scripts compare', async () => {
    const { leader, standby } = await ready();
    const post = (path: string, body: string | null, more = '', method = 'POST'): string =>
      `${method} ${path} HTTP/1.0\r\n${more}${body === null ? '' : `Content-Length: ${body.length}\r\n`}\r\n${body ?? ''}`;
    const past = '2001-01-01T00:00+00';
    const later = '2100-01-01T00:00+00';
    const rows: readonly (readonly [string, number, string])[] = [
      [post('/switchover', '{"leader":"h1","candidate":"h1"}'), 400, 'Switchover target and source are the same'],
      [post('/switchover', '{"leader":"h2"}'), 412, 'leader name does not match'],
      [post('/switchover', '{"leader":"h1","candidate":"h9"}'), 412, 'candidate does not exists'],
      [post('/switchover', '{"candidate":"h2"}'), 400, 'Switchover could be performed only from a specific leader'],
      [post('/failover', '{"x":1}'), 400, 'Failover could be performed only to a specific candidate'],
      [post('/switchover', `{"leader":"h1","scheduled_at":"${past}"}`), 422, 'Cannot schedule switchover in the past'],
      [
        post('/switchover', '{"leader":"h1","scheduled_at":"2100-01-01T00:00"}'),
        400,
        'Timezone information is mandatory for the scheduled switchover',
      ],
      [post('/switchover', '{"leader":"h1","scheduled_at":"when I say"}'), 422, 'Unable to parse scheduled timestamp'],
      [post('/switchover', `{"leader":"h1","scheduled_at":"${later}"}`), 202, 'Switchover scheduled'],
      [post('/switchover', null, '', 'DELETE'), 200, 'scheduled switchover deleted'],
      [post('/switchover', null, '', 'DELETE'), 404, 'no switchover is scheduled'],
      [post('/restart', '{"role":"replica"}'), 503, 'restart conditions are not satisfied'],
      [post('/restart', '{"postgres_version":"9.6.0"}'), 503, 'restart conditions are not satisfied'],
      [post('/restart', '{"restart_pending":false}'), 503, 'restart conditions are not satisfied'],
      [post('/restart', '{"role":"boss"}'), 400, 'primary, standby_leader, replica'],
      [post('/restart', '{"colour":"red"}'), 400, 'Unknown filter for the scheduled restart: colour'],
      [post('/restart', '{"timeout":-1}'), 400, 'positive number'],
      [post('/restart', '{"postgres_version":"x"}'), 400, 'nvalid'],
      [post('/restart', `{"schedule":"${later}"}`), 202, 'Restart scheduled'],
      [post('/restart', `{"schedule":"${later}"}`), 409, 'Another restart is already scheduled'],
      [post('/restart', null, '', 'DELETE'), 200, 'scheduled restart deleted'],
      [post('/restart', null, '', 'DELETE'), 404, 'no restarts are scheduled'],
      [post('/reinitialize', '{}'), 503, 'I am the leader, can not reinitialize'],
      [post('/reload', '{}'), 202, 'reload scheduled'],
      [post('/sigterm', '{}'), 202, ''],
      [post('/citus', '{"type":"x"}'), 200, 'OK'],
      [post('/mpp', '{"type":"x"}'), 200, 'OK'],
      [post('/failsafe', '{"name":"h2"}'), 502, ''],
      [post('/config', '{"ttl": "soon"}', '', 'PATCH'), 400, 'ttl'],
      [post('/config', '{', '', 'PATCH'), 400, ''],
      [post('/config', '[]', '', 'PATCH'), 400, ''],
      [post('/config', '{}', '', 'PATCH'), 400, ''],
      [post('/config', null, '', 'PATCH'), 411, ''],
      [post('/config', '{"ttl":5}', '', 'PATCH'), 200, '"ttl":5'],
      [post('/nothing', '{}'), 501, 'Server does not support this operation'],
      [post('/config', null, '', 'DELETE'), 501, 'Server does not support this operation'],
    ];
    const answers = await raw(
      leader,
      rows.map(([text]) => text),
    );
    rows.forEach(([text, status, sentence], index) => {
      const told = `${text.split('\r\n')[0]} ${text.split('\r\n\r\n')[1]}`;
      expect(`${told} -> ${answers[index]?.status}`).toBe(`${told} -> ${status}`);
      expect(answers[index]?.body).toContain(sentence);
    });
    expect(await code('h1', '/failsafe')).toBe('/failsafe 502');

    // h2 asks who it is, and from where.
    const [none, wrong, right, head] = await raw(standby, [
      post('/reload', '{}'),
      post('/reload', '{}', 'Authorization: Basic eDp5\r\n'),
      post('/reload', '{}', `Authorization: ${BASIC}\r\n`),
      'GET /config HTTP/1.0\r\n\r\n',
    ]);
    expect([none?.status, none?.body]).toEqual([401, 'no auth header received']);
    expect(none?.head).toMatch(/www-authenticate: Basic realm="/i);
    expect([wrong?.status, wrong?.body]).toEqual([401, 'not authenticated']);
    expect([right?.status, right?.body]).toEqual([202, 'reload scheduled']);
    expect(head?.status).toBe(200);
    expect(head?.head).toMatch(/^server: Patroni\/4\.1\.4$/im);
    const [elsewhere, reads] = await raw(
      standby,
      [post('/reload', '{}', `Authorization: ${BASIC}\r\n`), 'GET /patroni HTTP/1.0\r\n\r\n'],
      'e1',
    );
    expect([elsewhere?.status, elsewhere?.body, reads?.status]).toEqual([403, 'Access is denied', 200]);
  });

  it('6. and 7. writes the keys as Patroni does, and renews the leader key without writing it', async () => {
    const { cluster } = await ready();
    const { etcd } = cluster;
    interface Stored {
      readonly value: string;
      readonly lease: string;
      readonly modified: number;
    }
    const read = async (key: string): Promise<Stored> => {
      const text = await etcd.etcdctl('get', `/service/e2e/${key}`, '-w', 'json');
      const found = (JSON.parse(text) as { kvs?: { value?: string; mod_revision: number }[] }).kvs?.[0];
      if (found === undefined) throw new Error(`there is no key ${key}`);
      const value = Buffer.from(found.value ?? '', 'base64').toString();
      // It does not fit into a number of JavaScript.
      return { value, lease: /"lease":(\d+)/.exec(text)?.[1] ?? '0', modified: found.mod_revision };
    };
    const leader = await read('leader');
    const [member, other] = [await read('members/h1'), await read('members/h2')];
    expect(leader.value).toBe('h1');
    expect(leader.lease).not.toBe('0');
    expect(member.lease).toBe(leader.lease);
    expect(other.lease).not.toBe(leader.lease);
    const fields = JSON.parse(member.value) as Fields;
    expect(member.value).toBe(JSON.stringify(fields));
    expect(fields).toMatchObject({
      conn_url: `postgres://${cluster.node('h1').host.address}:5432/postgres`,
      api_url: `http://${cluster.node('h1').host.address}:8008/patroni`,
      state: 'running',
      role: 'primary',
      version: '4.1.4',
      xlog_location: expect.any(Number),
      timeline: expect.any(Number),
    });
    expect(JSON.parse(other.value)).toMatchObject({
      role: 'replica',
      replication_state: 'streaming',
      receive_lsn: expect.any(Number),
      replay_lsn: expect.any(Number),
      tags: { zone: 'north', canary: true, weight: 1.4 },
    });
    const status = await read('status');
    expect(status.lease).toBe('0');
    expect(JSON.parse(status.value)).toMatchObject({
      optime: expect.any(Number),
      slots: { h1: expect.any(Number), h2: expect.any(Number) },
      retain_slots: expect.arrayContaining(['h2']),
    });
    expect(Object.keys(JSON.parse(status.value) as Fields).slice(0, 3)).toEqual(['optime', 'slots', 'retain_slots']);
    expect((await read('initialize')).value).toMatch(/^\d{10,}$/);
    expect((await read('config')).lease).toBe('0');
    const history = JSON.parse((await etcd.get('/service/e2e/history')) ?? '[]') as unknown[][];
    for (const line of history)
      expect(line).toEqual([
        expect.any(Number),
        expect.any(Number),
        expect.any(String),
        expect.any(String),
        expect.any(String),
      ]);

    // Half a TTL later the lease has been renewed and the key stands as it was: vip-manager watches it.
    await sleep(cluster.ttlMs / 2);
    expect(await read('leader')).toEqual(leader);

    await ctlDone(cluster, ['edit-config', '-s', 'ttl=6', '--force']);
    const swapped = await until('the key hangs on a lease with the new TTL', 10_000, async () => {
      const now = await read('leader');
      return now.lease !== leader.lease && now.value === 'h1' ? now : null;
    });
    const hex = BigInt(swapped.lease).toString(16);
    expect(await etcd.etcdctl('lease', 'timetolive', hex)).toMatch(/granted with TTL\(6s\)/);
    await ctlDone(cluster, ['edit-config', '-s', 'ttl=5', '--force']);
    const back = await until('and back', 10_000, async () => {
      const now = await read('leader');
      return now.lease === swapped.lease ? null : now;
    });

    // A lease that is lost is no failover: the same node has the key again, and Postgres goes on.
    const timeline = await cluster.timeline('h1');
    const postmaster = cluster.node('h1').postmaster();
    await etcd.etcdctl('lease', 'revoke', BigInt(back.lease).toString(16));
    await until('the key is there again', 10_000, async () => {
      const now = await read('leader').catch(() => null);
      return now !== null && now.value === 'h1' && now.lease !== back.lease;
    });
    expect([await cluster.timeline('h1'), cluster.node('h1').postmaster()]).toEqual([timeline, postmaster]);
  });

  it.skipIf(!everything || which('patronictl') === null)("8. obeys Debian's patronictl", async () => {
    const { cluster } = await ready();
    const config = join(cluster.directory, 'patronictl.yml');
    const hosts = cluster.etcd.endpoints.map((endpoint) => endpoint.replace('http://', ''));
    const settings = { scope: 'e2e', namespace: '/service', etcd3: { hosts }, restapi: { authentication: USER } };
    writeFileSync(config, stringify(settings));
    const patronictl = async (...args: string[]): Promise<string> => {
      const said: CommandResult = await runOn(
        cluster.network.host('client'),
        [which('patronictl') ?? '', '-c', config, ...args],
        { timeoutMs: 60_000 },
      );
      expect({ args, code: said.code, stderr: said.stderr }).toMatchObject({ code: 0 });
      return said.stdout;
    };
    const list = await patronictl('list', '-e');
    expect(list).toMatch(/\| h1 +\| [0-9.]+ +\| Leader +\| running +\| +\d+ \|/);
    expect(list).toMatch(/\| h2 +\| [0-9.]+ +\| Replica +\| (running|streaming) +\| +\d+ \| +0 \|/);
    expect(list).toContain('zone: north');
    expect(await patronictl('topology')).toMatch(/\| h1 [\s\S]*\| \+ h2 /);
    expect(await patronictl('version', 'e2e')).toMatch(/h1: Patroni 4\.1\.4 PostgreSQL \d+/);
    expect(await patronictl('dsn', 'e2e')).toContain(`host=${cluster.node('h1').host.address} port=5432`);
    expect(await patronictl('show-config', 'e2e')).toContain('ttl: 5');
    expect(await patronictl('edit-config', 'e2e', '-s', 'maximum_lag_on_failover=2097152', '--force')).toContain(
      'Configuration changed',
    );
    expect(await patronictl('reload', 'e2e', '--force')).toContain('Reload request received for member h2');
    const restarted = (text: string, member: string): void =>
      expect(text).toContain(`Success: restart on member ${member}`);
    restarted(await patronictl('restart', 'e2e', 'h2', '--force'), 'h2');
    expect(await patronictl('restart', 'e2e', 'h2', '--pending', '--force')).toContain('conditions are not satisfied');
    expect(await patronictl('restart', 'e2e', 'h2', '--scheduled', '2100-01-01T10:00+00:00', '--force')).toContain(
      'Success: restart scheduled on member h2',
    );
    expect(await patronictl('flush', 'e2e', 'h2', 'restart', '--force')).toContain(
      'Success: flush scheduled restart for member h2',
    );
    expect(await patronictl('pause', 'e2e', '--wait')).toContain('Success: cluster management is paused');
    expect(await patronictl('list')).toContain('Maintenance mode: on');
    expect(await patronictl('resume', 'e2e', '--wait')).toContain('Success: cluster management is resumed');
    await cluster.waitAllStreaming(20_000);
    const switched = await patronictl('switchover', 'e2e', '--leader', 'h1', '--candidate', 'h2', '--force');
    expect(switched).toContain('Successfully switched over to "h2"');
    await cluster.waitAllStreaming(20_000);
    expect(await patronictl('failover', 'e2e', '--candidate', 'h1', '--force')).toContain('"h1"');
    await cluster.waitAllStreaming(20_000);
    expect(await patronictl('history', 'e2e')).toMatch(/\| +\d+ \| +\d+ \|/);
    expect(await patronictl('reinit', 'e2e', 'h2', '--force', '--wait')).toContain('reinitialize');
    await cluster.waitAllStreaming(30_000);
  });

  it.runIf(everything)('9. serves check_patroni, vip-manager and a HAProxy with the file of a how-to', async () => {
    const { cluster, leader } = await ready();
    // check_patroni: what it reads, and in which order keys come, since it hashes the settings.
    const members = await until('everybody has published a timeline', 10_000, async () => {
      const shown = (await get('h2', '/cluster')).json['members'] as Fields[];
      return shown.every((member) => typeof member['timeline'] === 'number') ? shown : null;
    });
    for (const member of members) {
      expect(member).toMatchObject({
        name: expect.any(String),
        role: expect.any(String),
        state: expect.any(String),
        timeline: expect.any(Number),
      });
      if (member['role'] !== 'leader') expect(member).toHaveProperty('lag');
    }
    expect(
      String(((await get('h1', '/patroni')).json['patroni'] as Fields)['version'])
        .split('.')
        .map(Number),
    ).toEqual([4, 1, 4]);
    const settings = (await cluster.http('h1', '/config')).body;
    expect((await cluster.http('h2', '/config')).body).toBe(settings);
    for (const path of ['/primary', '/leader', '/liveness', '/config'])
      expect(await code('h1', path)).toBe(`${path} 200`);
    expect(await code('h2', '/replica?lag=100MB')).toBe('/replica?lag=100MB 200');

    // vip-manager: a key whose value is the name byte for byte, or an endpoint with a status.
    expect(await cluster.etcd.etcdctl('get', '/service/e2e/leader', '--print-value-only')).toBe('h1\n');
    expect([await code('h1', '/leader'), await code('h2', '/leader')]).toEqual(['/leader 200', '/leader 503']);

    // The how-to's stanza, with its servers and a poolers' port that is Postgres' own here.
    const port = 5000;
    const file = join(cluster.directory, 'haproxy-s4.cfg');
    writeFileSync(
      file,
      `global\n    maxconn 100\ndefaults\n    mode tcp\n    retries 2\n    timeout client 30m\n    timeout connect 4s\n    timeout server 30m\n    timeout check 5s\nlisten postgres\n    bind *:${port}\n    option httpchk\n    http-check expect status 200\n    default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions\n${cluster.nodes
        .map(
          (node) =>
            `    server ${node.name} ${node.host.address}:${node.pgPort} maxconn 100 check port ${node.apiPort}\n`,
        )
        .join('')}`,
    );
    const host = cluster.network.host('client');
    const log = join(cluster.directory, 'haproxy-s4.log');
    const haproxy = launch({
      host,
      program: which('haproxy') ?? 'haproxy',
      args: ['-f', file, '-db'],
      log,
      cwd: cluster.directory,
      asServer: false,
    });
    try {
      await until('HAProxy sends a client to the primary', 15_000, async () => {
        const said = await runOn(
          host,
          [
            'psql',
            '-h',
            '127.0.0.1',
            '-p',
            String(port),
            '-U',
            leader.server.user,
            '-Atc',
            'select pg_is_in_recovery(), inet_server_addr()',
            'postgres',
          ],
          {
            env: { ...process.env, PGPASSWORD: leader.server.password },
          },
        );
        return said.stdout.trim() === `f|${leader.host.address}`;
      });
      // The standby is marked down after three checks, and nobody gets there.
      await until('the standby is marked down', 15_000, () =>
        /Server postgres\/h2 is DOWN/.test(readFileSync(log, 'utf8')),
      );
      expect(readFileSync(log, 'utf8')).not.toMatch(/postgres\/h1 is DOWN/);
    } finally {
      haproxy.kill('SIGTERM');
    }
  });

  it("11. starts with Patroni's file and variables, and names what has no meaning here", async () => {
    const { cluster } = await ready();
    const log = cluster.node('h2').logText();
    for (const name of ['restapi.thread_pool_size', 'postgresql.pg_ctl_timeout', 'postgresql.config_base_name'])
      expect(log).toContain(name);
    // A whole file of a how-to, as it is; only the addresses of its machines are not ours.
    const file = join(cluster.directory, 'patroni.yml');
    const given = readFileSync(join(repository, 'test/unit/config/fixtures/patroni.yml'), 'utf8');
    writeFileSync(file, given);
    const said = await cluster.daemonCommand('h1', ['--validate-config', file]);
    expect({ code: said.code, said: said.stdout + said.stderr }).toMatchObject({ code: 0 });
    expect(Object.keys(parse(given) as object)).toContain('bootstrap');
  });

  it.runIf(everything)(
    '5. and 3. with etcd away: /cluster tells its age, /primary goes on in maintenance only',
    async () => {
      const { cluster } = await ready();
      await ctlDone(cluster, ['pause', '--wait']);
      expect((await get('h1', '/patroni')).json).toMatchObject({ pause: true });
      expect((await get('h1', '/cluster')).json).toMatchObject({ pause: true });
      for (const { name } of cluster.etcd.members) cluster.etcd.freezeMember(name);
      try {
        await until('the view is too old', 3 * cluster.ttlMs, async () => {
          return (await get('h1', '/patroni')).json['cluster_unlocked'] === true;
        });
        const shown = await get('h1', '/cluster');
        expect(shown).toMatchObject({ status: 200, json: { pgha: { age_ms: expect.any(Number) } } });
        expect(await code('h1', '/history')).toBe('/history 200');
        expect(await code('h2', '/replica')).toBe('/replica 200');
        expect(await code('h2', '/async')).toBe('/async 503');
        expect(await code('h1', '/liveness')).toBe('/liveness 200');
      } finally {
        for (const { name } of cluster.etcd.members) cluster.etcd.thawMember(name);
      }
      await ctlDone(cluster, ['resume', '--wait']);
    },
  );
});
