import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import type { Config } from '../../../src/config/schema.ts';
import { initialStored, mergePatch, resolveSettings, validateStored } from '../../../src/config/settings.ts';

function configWith(lines = ''): Config {
  const text = `scope: main
name: pg1
etcd3: {hosts: [10.0.0.1:2379, 10.0.0.2:2379]}
restapi: {connect_address: 10.0.0.1:8008}
postgresql: {listen: '10.0.0.1:5432', data_dir: /srv/pg/main}
${lines}`;
  return loadConfig({ path: '/etc/pgha/pgha.yml', env: {}, readFile: () => text }).config;
}

const plain = configWith();

describe('the settings in force', () => {
  it('are the defaults as long as etcd says nothing', () => {
    const { policy, server, adjustments, notUnderstood } = resolveSettings(null, plain);
    expect(policy).toEqual({ cluster: plain.cluster, node: plain.node });
    expect(server).toEqual({
      parameters: {},
      recoveryConf: {},
      pgHba: null,
      pgIdent: null,
      usePgRewind: true,
      useSlots: true,
      logicalSlots: false,
      synchronous: false,
    });
    expect([...adjustments, ...notUnderstood]).toEqual([]);
  });

  it("take Patroni's 30, 10, 10 as they are", () => {
    const { policy, adjustments } = resolveSettings({ ttl: 30, loop_wait: 10, retry_timeout: 10 }, plain);
    expect(policy.cluster).toMatchObject({ ttl: 30_000, loopWait: 10_000, retryTimeout: 10_000 });
    expect(adjustments).toEqual([]);
  });

  it('are what etcd says, with the file of this node over it', () => {
    const config = configWith('ttl: 20\nreconnect_attempts: 5\n');
    const stored = {
      ttl: 40,
      pause: 'on',
      maximum_lag_on_failover: '16MB',
      connection_check_type: 'query',
      reconnect_attempts: 3,
      reconnect_interval: '250ms',
      master_start_timeout: 60,
      postgresql: {
        use_pg_rewind: 'no',
        use_slots: 0,
        parameters: { work_mem: '8MB', max_connections: 300, broken: [1], absent: null },
        pg_hba: ['local all all peer'],
      },
    };
    const { policy, server, adjustments } = resolveSettings(stored, config);
    expect(policy.cluster).toMatchObject({
      ttl: 20_000,
      pause: true,
      maximumLagOnFailoverBytes: 16n * 2n ** 20n,
      checkType: 'query',
      reconnectAttempts: 5,
      reconnectInterval: 250,
      primaryStartTimeout: 60_000,
    });
    expect(server).toEqual({
      parameters: { work_mem: '8MB', max_connections: 300 },
      recoveryConf: {},
      pgHba: ['local all all peer'],
      pgIdent: null,
      usePgRewind: false,
      useSlots: false,
      logicalSlots: false,
      synchronous: false,
    });
    expect(adjustments).toEqual([expect.stringContaining('postgresql.parameters.broken')]);
  });

  it("take repmgr's name of the cycle only where loop_wait is not set", () => {
    const config = configWith('monitor_interval_secs: 3\n');
    expect(resolveSettings(null, config).policy.cluster.loopWait).toBe(3_000);
    expect(resolveSettings({ loop_wait: 1 }, config).policy.cluster.loopWait).toBe(1_000);
    expect(resolveSettings({ monitor_interval_secs: 4 }, plain).policy.cluster.loopWait).toBe(4_000);
    expect(resolveSettings({ monitor_interval_secs: 4, loop_wait: 2 }, plain).policy.cluster.loopWait).toBe(2_000);
  });

  it.each([
    ['raise what is below the minimum', { ttl: 1 }, { ttl: 5_000 }, /ttl must be at least 5 s, is 1 s: 5 is used/],
    ['lower what is beyond any sense', { retry_timeout: 1, ttl: 1e9 }, { ttl: 3_600_000 }, /ttl must be at most/],
    [
      'fall back where the type is wrong',
      { ttl: 'soon' },
      { ttl: 10_000 },
      /ttl must be a time .* the default 10 is used/,
    ],
    [
      'shorten the cycle when the times do not fit',
      { ttl: 20, loop_wait: 5, retry_timeout: 9 },
      { loopWait: 2_000, retryTimeout: 9_000 },
      /= 23 s.*Running with loop_wait 2 s/,
    ],
    [
      'shorten the patience when the cycle alone does not help',
      { ttl: 8, loop_wait: 5, retry_timeout: 4 },
      { loopWait: 1_000, retryTimeout: 3_000 },
      /Running with loop_wait 1 s, retry_timeout 3 s/,
    ],
    [
      'shorten a check that outlasts the window',
      { ttl: 10, connection_check_timeout: 20 },
      { checkTimeout: 6_800 },
      /connection_check_timeout 20 s .* Running with 6\.8 s/,
    ],
    [
      'follow the usual port of a standby cluster whose port is none',
      { standby_cluster: { host: 'x', port: 'y' } },
      { standbyCluster: expect.objectContaining({ host: 'x', port: 5432 }) },
      /standby_cluster\.port y is none/,
    ],
  ] as const)('%s, and say so', (_name, stored, expected, line) => {
    const { policy, adjustments } = resolveSettings(stored, plain);
    expect(policy.cluster).toMatchObject(expected);
    expect(adjustments.join('\n')).toMatch(line);
  });

  it("read Patroni's zero time limits as the defaults", () => {
    const { cluster } = resolveSettings({ primary_start_timeout: 0, primary_stop_timeout: 0 }, plain).policy;
    expect([cluster.primaryStartTimeout, cluster.primaryStopTimeout]).toEqual([300_000, 10_000]);
  });

  it('name what this version does not act on, unless it is switched off', () => {
    const stored = {
      synchronous_mode: true,
      failsafe_mode: false,
      slots: { a: null },
      ignore_slots: [],
      whatever: 1,
      postgresql: { callbacks: { on_start: 'x' }, pre_promote: '', odd: 2, use_slots: true },
    };
    expect(resolveSettings(stored, plain).notUnderstood.map((line) => line.split(':')[0])).toEqual([
      'whatever',
      'postgresql.callbacks',
      'postgresql.odd',
    ]);
  });

  it('leave pg_hba.conf as it is where Postgres would not read a line of the new one', () => {
    const pgHba = ['local all all peer', 'hots all all 0.0.0.0/0 md5'];
    const { server, adjustments } = resolveSettings({ postgresql: { pg_hba: pgHba } }, plain);
    expect(server.pgHba).toBeNull();
    expect(adjustments).toEqual([expect.stringMatching(/hots all all.*did you mean `host`.*stays as it is/)]);
  });

  it('never fail, whatever stands in etcd', () => {
    const names = fc.constantFrom(
      ...['ttl', 'loop_wait', 'retry_timeout', 'maximum_lag_on_failover', 'pause', 'failover', 'primary_crash'],
      ...['reconnect_attempts', 'member_slots_ttl', 'postgresql', 'parameters', 'pg_hba', 'use_slots', 'slots'],
      ...['__proto__', 'constructor', 'standby_cluster', 'synchronous_mode', 'master_stop_timeout'],
    );
    const scalar = fc.oneof(
      fc.string(),
      fc.double(),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.constantFrom('5', '1e400', '-1', '10min'),
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ maxDepth: 4 }, scalar, tie('list'), tie('map')),
      list: fc.array(tie('tree'), { maxLength: 3 }),
      map: fc.dictionary(fc.oneof(names, fc.string()), tie('tree'), { maxKeys: 8 }),
    }));
    void fc.assert(
      fc.property(tree, (stored) => {
        const { cluster } = resolveSettings(stored as Record<string, unknown> | null, plain).policy;
        const { ttl, loopWait, retryTimeout } = cluster;
        for (const value of Object.values(cluster)) expect(value).not.toBeNaN();
        expect(ttl).toBeGreaterThanOrEqual(5_000);
        expect(loopWait).toBeGreaterThanOrEqual(1_000);
        expect(retryTimeout).toBeGreaterThanOrEqual(1_000);
        expect(loopWait + 2 * retryTimeout).toBeLessThanOrEqual(ttl);
        validateStored(stored, plain);
      }),
      { numRuns: 500 },
    );
  });
});

describe('a document before it is stored', () => {
  it.each([
    ['an empty one', {}],
    ["Patroni's times", { ttl: 30, loop_wait: 10, retry_timeout: 10 }],
    [
      'what Patroni documents and we do not act on',
      {
        synchronous_mode: true,
        failsafe_mode: true,
        slots: { a: { type: 'physical' } },
        postgresql: { recovery_conf: {}, callbacks: { on_start: '/x' } },
      },
    ],
    [
      'a copy method of a name of its own',
      { postgresql: { create_replica_methods: ['wal_e'], wal_e: { command: '/x' } } },
    ],
    ['old names', { master_start_timeout: 10, master_stop_timeout: 0 }],
    [
      'parameters of any name',
      { postgresql: { parameters: { 'pg_stat_statements.track': 'all', max_connections: '200', wal_keep_size: 128 } } },
    ],
  ])('may be %s', (_name, document) => {
    expect(validateStored(document, plain)).toEqual([]);
  });

  it.each([
    ['a misspelt name', { lop_wait: 1 }, /^lop_wait: unknown name; did you mean `loop_wait`\?$/],
    ['a misspelt name in a section', { postgresql: { use_slot: true } }, /^postgresql\.use_slot: .*`use_slots`/],
    ['a value of the wrong kind', { pause: 'maybe' }, /^pause: must be true or false/],
    ['a value below the minimum', { retry_timeout: 0 }, /^retry_timeout: must be at least 1 s/],
    ['times that do not fit', { ttl: 5 }, /^ttl 5 s < loop_wait 2 s \+ 2 × retry_timeout 3 s = 8 s: raise ttl to 8/],
    [
      'too few connections',
      { postgresql: { parameters: { max_connections: 5 } } },
      /max_connections: must be a whole number of at least 25, is 5/,
    ],
    [
      'too little WAL kept',
      { postgresql: { parameters: { wal_keep_size: '1MB' } } },
      /wal_keep_size: must be at least 16 MB/,
    ],
    [
      'a slot name that Postgres refuses',
      { slots: { 'Not-a-name': { type: 'physical' } } },
      /^slots\.Not-a-name: Postgres takes no such name/,
    ],
    [
      'strictness without a synchronous mode',
      { synchronous_mode: 'off', synchronous_mode_strict: true },
      /^synchronous_mode_strict: .* synchronous_mode is off: set that to on or quorum/,
    ],
    [
      'names of synchronous standbys beside a mode that chooses them',
      { synchronous_mode: 'quorum', postgresql: { parameters: { synchronous_standby_names: '*' } } },
      /^postgresql\.parameters\.synchronous_standby_names: pgha sets this parameter while synchronous_mode is quorum/,
    ],
    [
      'a synchronous mode, and commits that wait for nobody',
      { synchronous_mode: true, postgresql: { parameters: { Synchronous_Commit: 'local' } } },
      /^postgresql\.parameters\.Synchronous_Commit: with local no commit waits for a standby/,
    ],
    [
      'a synchronous mode that there is not',
      { synchronous_mode: 'all' },
      /^synchronous_mode: must be one of off, on, quorum/,
    ],
    [
      'a commit that waits for no standby in a synchronous mode',
      { synchronous_mode: 'on', synchronous_node_count: 0 },
      /^synchronous_node_count: must be at least 1/,
    ],
    ['a logical slot without a database', { permanent_slots: { a: { type: 'logical' } } }, /^permanent_slots\.a: /],
    ['a matcher that fits every slot', { ignore_slots: [{}] }, /^ignore_slots\.1: says of no slot/],
    ['a parameter that pgha sets', { postgresql: { parameters: { port: 1 } } }, /port: pgha sets this/],
    [
      'a target of recovery',
      { postgresql: { recovery_conf: { recovery_target_time: 'now' } } },
      /recovery_conf\.recovery_target_time: pgha sets this/,
    ],
    [
      'a line of pg_hba.conf that keeps Postgres from starting',
      { postgresql: { pg_hba: ['local all all peer', 'host all all 10.0.0.1 md5'] } },
      /^postgresql\.pg_hba: Postgres does not read "host all all 10\.0\.0\.1 md5": 10\.0\.0\.1 needs a mask/,
    ],
    [
      'a check that outlasts the window',
      { ttl: 10, connection_check_timeout: 7 },
      /^connection_check_timeout 7 s .* = 7 s: .* Lower it to 6\.8 s at most/,
    ],
    ['no object at all', [1], /must be an object/],
  ])('must not have %s', (_name, document, expected) => {
    const found = validateStored(document, plain);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });

  it('must fit to what the file of this node sets', () => {
    expect(validateStored({ ttl: 20, loop_wait: 2, retry_timeout: 9 }, configWith('loop_wait: 4\n'))[0]).toMatch(
      /^with what the file of pg1 sets: ttl 20 s < loop_wait 4 s/,
    );
  });
});

describe('the first document of a new cluster', () => {
  it('has the times in it even if the file says nothing', () => {
    expect(initialStored(plain)).toEqual({
      ttl: 10,
      loop_wait: 2,
      retry_timeout: 3,
      maximum_lag_on_failover: 1_048_576,
    });
  });

  it("is bootstrap.dcs as written, with what the file sets under repmgr's names", () => {
    const config = configWith(
      "reconnect_attempts: 4\nttl: 40\nfailover: manual\nbootstrap: {dcs: {ttl: 30s, synchronous_mode: 'off', slots: {x: null}, loop_wait: null}}\n",
    );
    expect(initialStored(config)).toEqual({
      ttl: '30s',
      loop_wait: 2,
      retry_timeout: 3,
      maximum_lag_on_failover: 1_048_576,
      reconnect_attempts: 4,
      failover: 'manual',
      synchronous_mode: 'off',
      slots: { x: null },
    });
  });

  it('passes the check that later documents have to pass', () => {
    expect(validateStored(initialStored(configWith('monitor_interval_secs: 4\n')), plain)).toEqual([]);
  });
});

describe('a patch', () => {
  const stored = { ttl: 30, postgresql: { parameters: { work_mem: '8MB', a: 1 } }, tags: [1, 2] };

  it('removes with null, merges objects and replaces everything else', () => {
    const patch = { ttl: null, postgresql: { parameters: { a: null, b: 2 } }, tags: [3], neu: { x: 1 } };
    expect(mergePatch(stored, patch)).toEqual({
      postgresql: { parameters: { work_mem: '8MB', b: 2 } },
      tags: [3],
      neu: { x: 1 },
    });
    expect(stored.ttl).toBe(30);
  });

  it.each([
    ['the same values as text', { ttl: '30', postgresql: { parameters: { a: '1' } } }],
    ['keys to remove that are not there', { nothing: null }],
    ['an empty object', {}],
    ['an equal list', { tags: [1, 2] }],
  ])('of %s changes nothing', (_name, patch) => {
    expect(mergePatch(stored, patch)).toBe(stored);
  });

  it('keeps the order of what is there', () => {
    expect(Object.keys(mergePatch(stored, { ttl: 20, added: 1 }))).toEqual(['ttl', 'postgresql', 'tags', 'added']);
  });

  it('cannot reach the prototype', () => {
    const patched = mergePatch({}, JSON.parse('{"__proto__": {"polluted": 1}}') as Record<string, unknown>);
    expect(Object.keys(patched)).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});
