import { describe, expect, test } from 'vitest';
import type { Config } from '../../../src/config/schema.ts';
import type { ServerSettings } from '../../../src/ports/postgres.ts';
import { splitCommandLine } from '../../../src/postgres/command.ts';
import { conninfoValue } from '../../../src/postgres/remote.ts';
import {
  effectiveParameters,
  quoteSetting,
  type RenderInput,
  renderConfiguration,
  renderHba,
  renderPassfile,
  renderUpstream,
} from '../../../src/postgres/server-config.ts';
import { aConfig, aLogin } from './place-builder.ts';

const settings = (values: Partial<ServerSettings> = {}): ServerSettings => ({
  parameters: {},
  recoveryConf: {},
  pgHba: null,
  pgIdent: null,
  usePgRewind: true,
  useSlots: true,
  logicalSlots: false,
  synchronous: false,
  ...values,
});

function input(values: Partial<RenderInput> = {}): RenderInput {
  return {
    config: aConfig(),
    version: 15,
    settings: settings(),
    socketDirectories: ['/run/pgha/demo-node-1'],
    hbaFile: '/data/pg_hba.conf',
    identFile: null,
    minimums: {},
    refused: new Set(),
    ...values,
  };
}

const effective = (values: Partial<RenderInput>) => {
  const { values: parameters, remarks } = effectiveParameters(input(values));
  return { get: (name: string) => parameters.get(name), remarks: remarks.map((remark) => remark.parameter) };
};
const withNode = (parameters: Config['postgresql']['parameters']) => aConfig({ parameters });

describe('what wins', () => {
  test("this node's own value wins over the cluster's, and that over ours", () => {
    expect(effective({}).get('wal_retrieve_retry_interval')).toBe('100ms');
    const cluster = settings({ parameters: { work_mem: '8MB', wal_retrieve_retry_interval: '50ms' } });
    const found = effective({ settings: cluster, config: withNode({ work_mem: '64MB' }) });
    expect(found.get('work_mem')).toBe('64MB');
    expect(found.get('wal_retrieve_retry_interval')).toBe('50ms');
  });

  test('names are the same whatever their case', () => {
    const found = effective({
      settings: settings({ parameters: { Work_Mem: '8MB' } }),
      config: withNode({ WORK_MEM: '9MB' }),
    });
    expect(found.get('work_mem')).toBe('9MB');
  });

  test('what has to be the same everywhere comes from the cluster only, and the node is told', () => {
    const found = effective({
      settings: settings({ parameters: { max_connections: 200 } }),
      config: withNode({ max_connections: 50, wal_keep_size: '1GB' }),
    });
    expect(found.get('max_connections')).toBe(200);
    expect(found.get('wal_keep_size')).toBe('128MB');
    expect(found.remarks).toEqual(['max_connections', 'wal_keep_size']);
  });

  test('nobody moves the port, the addresses, the cluster name or the upstream through parameters', () => {
    const found = effective({
      config: withNode({
        port: 1,
        listen_addresses: '*',
        cluster_name: 'x',
        primary_conninfo: 'host=x',
        recovery_target_lsn: '0/1',
      }),
    });
    expect(found.get('port')).toBe(5432);
    expect(found.get('listen_addresses')).toBe('127.0.0.1');
    expect(found.get('cluster_name')).toBe('demo');
    expect(found.get('primary_conninfo')).toBeUndefined();
    expect(found.remarks).toHaveLength(5);
  });

  test('nobody takes away what a synchronous mode promises, neither the cluster nor a node', () => {
    const synchronous = (parameters: Config['postgresql']['parameters']) => settings({ synchronous: true, parameters });
    const found = effective({
      settings: synchronous({ synchronous_standby_names: '*', synchronous_commit: 'local' }),
      config: withNode({ Synchronous_Commit: 'off' }),
    });
    expect(found.get('synchronous_standby_names')).toBeUndefined();
    expect(found.get('synchronous_commit')).toBeUndefined();
    expect(found.remarks).toEqual(['synchronous_standby_names', 'synchronous_commit', 'synchronous_commit']);
    expect(effective({ settings: synchronous({ synchronous_commit: 'remote_apply' }) }).remarks).toEqual([]);
  });

  test.each([
    ['max_connections', 3, 100],
    ['max_wal_senders', 'many', 10],
    ['wal_level', 'minimal', 'replica'],
    ['wal_level', 'logical', 'logical'],
    ['hot_standby', 'off', 'on'],
    ['wal_log_hints', false, false],
  ])('%s = %s cluster-wide becomes %s', (name, asked, used) => {
    expect(effective({ settings: settings({ parameters: { [name]: asked } }) }).get(name)).toBe(used);
  });

  test('a standby starts with what its primary ran with where that is more', () => {
    const found = effective({
      settings: settings({ parameters: { max_connections: 100, max_worker_processes: 16 } }),
      minimums: { max_connections: 300, max_worker_processes: 8 },
    });
    expect(found.get('max_connections')).toBe(300);
    expect(found.get('max_worker_processes')).toBe(16);
    expect(found.remarks).toEqual(['max_connections']);
  });

  test('logical slots bring what they cannot do without, and say when they win', () => {
    const found = effective({ settings: { ...settings(), logicalSlots: true } });
    expect([found.get('wal_level'), found.get('hot_standby_feedback')]).toEqual(['logical', 'on']);
    expect(found.get('sync_replication_slots')).toBeUndefined();
    expect(found.remarks).toEqual([]);
    const against = effective({
      version: 17,
      settings: {
        ...settings({ parameters: { hot_standby_feedback: 'off', wal_level: 'replica' } }),
        logicalSlots: true,
      },
    });
    expect([against.get('wal_level'), against.get('hot_standby_feedback')]).toEqual(['logical', 'on']);
    expect(against.get('sync_replication_slots')).toBe('on');
    expect(against.remarks).toEqual(['hot_standby_feedback']);
  });

  test.each([
    [15, { wal_keep_segments: 32 }, 'wal_keep_size', '512MB'],
    [15, { wal_keep_size: '1GB', wal_keep_segments: 8 }, 'wal_keep_size', '1024MB'],
    [15, { wal_keep_size: 'a lot' }, 'wal_keep_size', '128MB'],
    [12, { wal_keep_size: '1GB' }, 'wal_keep_segments', 64],
    [12, {}, 'wal_keep_segments', 8],
  ])('on version %s %j is %s = %s', (version, parameters, name, value) => {
    const found = effective({
      version,
      settings: settings({ parameters: parameters as ServerSettings['parameters'] }),
    });
    expect(found.get(name)).toBe(value);
    expect(found.get(name === 'wal_keep_size' ? 'wal_keep_segments' : 'wal_keep_size')).toBeUndefined();
  });
});

describe('postgresql.conf', () => {
  test('says not to edit it, includes the base, sorts, and ends with the upstream', () => {
    const { text } = renderConfiguration(
      input({ settings: settings({ parameters: { work_mem: '8MB', archive_mode: true } }) }),
    );
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    expect(text).toMatch(/^# Written by pgha.*do not edit/);
    expect(lines[0]).toBe(`include_if_exists = 'postgresql.base.conf'`);
    expect(lines.slice(-2)).toEqual([
      `include_if_exists = 'pgha-upstream.conf'`,
      `include_if_exists = 'pgha-sync.conf'`,
    ]);
    expect(lines).toContain(`archive_mode = 'on'`);
    expect(lines).toContain(`primary_slot_name = 'node_1'`);
    expect(lines).toContain(`recovery_target_timeline = 'latest'`);
    const parameters = lines.slice(1, lines.indexOf(`hba_file = '/data/pg_hba.conf'`));
    expect(parameters).toEqual([...parameters].sort());
  });

  test('leaves out what the server refused, and the slot where slots are not used', () => {
    const { text } = renderConfiguration(
      input({
        settings: settings({ parameters: { wurk_mem: '8MB' }, useSlots: false }),
        refused: new Set(['wurk_mem']),
      }),
    );
    expect(text).not.toContain('wurk_mem');
    expect(text).toContain(`primary_slot_name = ''`);
  });

  test('a name that could smuggle in a second line is no name', () => {
    const { text, remarks } = renderConfiguration(input({ settings: settings({ parameters: { 'a = 1\nb': 'x' } }) }));
    expect(text).not.toContain('b = ');
    expect(remarks).toHaveLength(1);
  });

  test.each([
    ['plain', `'plain'`],
    [`it's`, `'it''s'`],
    ['C:\\x', `'C:\\\\x'`],
    ['a\nb', `'a\\nb'`],
    [true, `'on'`],
    [5, `'5'`],
  ])('%j is quoted as %s', (value, quoted) => {
    expect(quoteSetting(value)).toBe(quoted);
  });
});

describe('upstream', () => {
  const upstream = { name: 'b', host: 'b.example', port: 5433 };

  test('names the member and the passfile, and never the password', () => {
    const text = renderUpstream(aConfig(), upstream, '/run/x/pgpass', 15);
    expect(text).toContain('host=b.example port=5433 user=replicator passfile=/run/x/pgpass sslmode=prefer');
    expect(text).toContain('application_name=node-1');
    expect(text).not.toContain('rep ');
    expect(text).not.toMatch(/password/);
  });

  test('names a database from 17 on, for whoever fetches logical slots', () => {
    expect(renderUpstream(aConfig(), upstream, '/p', 17)).toMatch(/ dbname=/);
    expect(renderUpstream(aConfig(), upstream, '/p', 16)).not.toContain('dbname');
  });

  test('nobody is an empty primary_conninfo', () => {
    expect(renderUpstream(aConfig(), null, '/p', 15)).toContain(`primary_conninfo = ''\n`);
  });

  test('survives two kinds of quoting', () => {
    const config = aConfig({}, { name: `o'neil \\ 1` });
    expect(renderUpstream(config, upstream, '/p', 15)).toContain(`application_name=''o\\\\''neil \\\\\\\\ 1''`);
  });

  test.each([
    ['abc', 'abc'],
    ['', `''`],
    [`a b`, `'a b'`],
    [`a'b`, `'a\\'b'`],
    ['a\\b', `'a\\\\b'`],
  ])('conninfo value %j is %s', (value, written) => {
    expect(conninfoValue(value)).toBe(written);
  });
});

describe('pg_hba.conf', () => {
  const render = (values: Partial<Parameters<typeof renderHba>[0]> = {}): string[] =>
    renderHba({
      config: aConfig(),
      settings: settings(),
      socketIsPrivate: true,
      systemUser: 'postgres',
      middle: null,
      ...values,
    })
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.replace(/ +/g, ' '));

  test('by default: ourselves through the private socket, everybody else with a password', () => {
    expect(render()).toEqual([
      'local all "postgres" trust',
      'local all all scram-sha-256',
      'host all all all scram-sha-256',
      'host replication "replicator" all scram-sha-256',
      'host "postgres" "rewinder" all scram-sha-256',
    ]);
  });

  test("the operator's lines stand between ours", () => {
    expect(render({ middle: ['hostssl all all 10.0.0.0/8 cert'] })[1]).toBe('hostssl all all 10.0.0.0/8 cert');
  });

  test('nobody is trusted through a socket that others can reach', () => {
    expect(render({ socketIsPrivate: false })[0]).toBe('local all "postgres" peer');
    expect(render({ socketIsPrivate: false, systemUser: 'dba' })[0]).toBe('local all "postgres" scram-sha-256');
  });

  test('without passwords it adds no rule that could not work', () => {
    const authentication = { superuser: aLogin('postgres'), replication: aLogin('rep'), rewind: aLogin('postgres') };
    expect(render({ config: aConfig({ authentication }), middle: ['host all all all trust'] })).toEqual([
      'local all "postgres" trust',
      'host all all all trust',
    ]);
  });

  test('md5 where passwords are stored as md5', () => {
    expect(render({ settings: settings({ parameters: { password_encryption: 'md5' } }) }).at(-1)).toMatch(/ md5$/);
  });
});

test('the passfile escapes colons and backslashes, and has a line for each user once', () => {
  expect(renderPassfile([aLogin('a:b', 'p:w\\d'), aLogin('c'), aLogin('a:b', 'other')])).toBe(
    '*:*:*:a\\:b:p\\:w\\\\d\n',
  );
});

test.each([
  ['/bin/x --a b', ['/bin/x', '--a', 'b']],
  [`x 'a b' "c \\" d" e\\ f ''`, ['x', 'a b', 'c " d', 'e f', '']],
  [`--opt='a b'c`, ['--opt=a bc']],
])('%s is parted into words as a shell does', (line, words) => {
  expect(splitCommandLine(line)).toEqual(words);
});
