import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';

const load = (env: Readonly<Record<string, string>>, text = 'scope: file\n') =>
  loadConfig({ path: '/etc/patroni.yml', env, readFile: () => text });

/** The whole of a node, as containers have it. */
const NODE = {
  PATRONI_SCOPE: 'orders',
  PATRONI_NAME: 'db1',
  PATRONI_NAMESPACE: '/prod/',
  PATRONI_ETCD3_HOSTS: "'10.0.0.1:2379','10.0.0.2:2379'",
  PATRONI_RESTAPI_LISTEN: '0.0.0.0:8008',
  PATRONI_RESTAPI_CONNECT_ADDRESS: '10.0.0.11:8008',
  PATRONI_POSTGRESQL_LISTEN: '0.0.0.0:5432',
  PATRONI_POSTGRESQL_CONNECT_ADDRESS: '10.0.0.11:5432',
  PATRONI_POSTGRESQL_DATA_DIR: '/data/pg',
};

describe('a node that is described by Patroni variables alone', () => {
  it('is complete, and what the file says is overridden', () => {
    const { config, warnings } = load(NODE);
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({
      scope: 'orders',
      namespace: '/prod',
      node: { name: 'db1' },
      etcd: { endpoints: ['http://10.0.0.1:2379', 'http://10.0.0.2:2379'] },
      restapi: { connectAddress: { host: '10.0.0.11', port: 8008 } },
      postgresql: { dataDir: '/data/pg', listen: { addresses: '0.0.0.0', port: 5432 } },
    });
  });

  it('has its users with all they need for TLS, and PGHA variables win', () => {
    const user = (name: string) => ({
      [`PATRONI_${name}_USERNAME`]: name.toLowerCase(),
      [`PATRONI_${name}_PASSWORD`]: 'secret',
      [`PATRONI_${name}_SSLMODE`]: 'verify-ca',
      [`PATRONI_${name}_SSLCERT`]: '/tls/crt',
      [`PATRONI_${name}_SSLKEY`]: '/tls/key',
      [`PATRONI_${name}_SSLPASSWORD`]: 'hidden',
      [`PATRONI_${name}_SSLROOTCERT`]: '/tls/ca',
      [`PATRONI_${name}_SSLCRL`]: '/tls/crl',
      [`PATRONI_${name}_SSLCRLDIR`]: '/tls/crls',
      [`PATRONI_${name}_GSSENCMODE`]: 'disable',
      [`PATRONI_${name}_CHANNEL_BINDING`]: 'prefer',
      [`PATRONI_${name}_SSLNEGOTIATION`]: 'direct',
    });
    const env = { ...NODE, ...user('SUPERUSER'), ...user('REPLICATION'), ...user('REWIND') };
    const { authentication } = load({ ...env, PGHA_REWIND_PASSWORD: 'other' }).config.postgresql;
    const expected = (username: string) => ({
      username,
      password: username === 'rewind' ? 'other' : 'secret',
      sslmode: 'verify-ca',
      sslcert: '/tls/crt',
      sslkey: '/tls/key',
      sslpassword: 'hidden',
      sslrootcert: '/tls/ca',
      sslcrl: '/tls/crl',
      libpq: { sslcrldir: '/tls/crls', gssencmode: 'disable', channel_binding: 'prefer', sslnegotiation: 'direct' },
    });
    expect(authentication).toEqual({
      superuser: expected('superuser'),
      replication: expected('replication'),
      rewind: expected('rewind'),
    });
  });

  it.each([
    ['LOG_TYPE', 'json', { log: { format: 'json' } }],
    ['LOG_LEVEL', 'DEBUG', { log: { level: 'debug' } }],
    ['LOGLEVEL', 'WARNING', { log: { level: 'warn' } }],
    ['LOG_DIR', '/var/log/patroni', { log: { file: '/var/log/patroni/pgha.log' } }],
    ['RESTAPI_CERTFILE', '/tls/crt', { restapi: { tls: { certfile: '/tls/crt' } } }],
    ['CTL_INSECURE', 'on', { ctl: { insecure: true } }],
    ['CTL_CACERT', '/tls/ca', { ctl: { cacert: '/tls/ca' } }],
    ['CTL_CERTFILE', '/tls/crt', { ctl: { certfile: '/tls/crt' } }],
    ['CTL_KEYFILE', '/tls/key', { ctl: { keyfile: '/tls/key' } }],
    ['POSTGRESQL_PROXY_ADDRESS', '10.0.0.11:6432', { postgresql: { proxyAddress: { host: '10.0.0.11', port: 6432 } } }],
    ['POSTGRESQL_CONFIG_DIR', '/etc/pg', { postgresql: { configDir: '/etc/pg' } }],
    ['POSTGRESQL_PGPASS', '/run/pgpass', { postgresql: { pgpass: '/run/pgpass' } }],
    ['POSTGRESQL_BIN_DIR', '/usr/pgsql/bin', { postgresql: { binDir: '/usr/pgsql/bin' } }],
    ['ETCD3_CACERT', '/tls/ca', { etcd: { cacert: '/tls/ca' } }],
  ])('PATRONI_%s has its effect', (name, value, expected) => {
    expect(load({ ...NODE, [`PATRONI_${name}`]: value }).config).toMatchObject(expected);
  });

  it.each([
    ['THREAD_POOL_SIZE', '5'],
    ['THREAD_STACK_SIZE', '512kB'],
    ['LOG_TRACEBACK_LEVEL', 'DEBUG'],
    ['LOG_FORMAT', '%(asctime)s %(message)s'],
    ['LOGFORMAT', '%(message)s'],
    ['LOG_DATEFMT', '%H:%M'],
    ['LOG_MAX_QUEUE_SIZE', '1000'],
    ['LOG_FILE_NUM', '4'],
    ['LOG_FILE_SIZE', '25000000'],
    ['LOG_LOGGERS', '{urllib3: ERROR}'],
    ['POSTGRESQL_BIN_PG_CTL', 'pg_ctl_wrapper'],
    ['ETCD3_USE_PROXIES', 'true'],
  ])('PATRONI_%s is told to have no effect', (name, value) => {
    const { warnings } = load({ ...NODE, [`PATRONI_${name}`]: value });
    expect(warnings).toEqual([expect.stringContaining('has no effect')]);
  });

  it('leaves alone what Patroni does not document, and what is of other stores', () => {
    expect(load({ ...NODE, PATRONI_CONSUL_HOST: 'c:8500', PATRONI_WHATEVER: 'x' }).warnings).toEqual([]);
  });
});
