import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { endpoint, readContext, readDcsUrl } from '../../../src/http/ctl/context.ts';
import { threeMembers } from '../http/builders.ts';
import { ctl } from './fakes.ts';

const clusters = { demo: threeMembers() };

describe('exit codes', () => {
  const CODES: readonly (readonly [string, number])[] = [
    ['--help', 0],
    ['list --help', 0],
    ['list', 0],
    ['', 2],
    ['lst', 2],
    ['list --nonsense', 2],
    ['list -f xml', 2],
    ['list -w never', 2],
    ['list --group 1', 2],
    ['remove', 2],
    ['restart -r boss', 2],
    ['restart --timeout soon --force', 2],
    ['switchover --leader a --primary a', 2],
    ['dsn one two', 2],
    ['edit-config -s nonsense', 2],
    ['list nope', 1],
    ['show-config nope', 1],
  ];
  for (const [line, code] of CODES) {
    it(`pgha-ctl ${line} ends with ${code}`, async () => {
      expect((await ctl({ clusters }, ...line.split(' ').filter((word) => word !== ''))).code).toBe(code);
    });
  }

  it('is 2 when no cluster is named anywhere', async () => {
    expect((await ctl({ clusters, env: { PGHA_SCOPE: '' } }, 'list')).code).toBe(2);
  });
});

describe('finding the cluster', () => {
  let directory: string;
  const file = async (name: string, text: string): Promise<string> => {
    const path = join(directory, name);
    await writeFile(path, text);
    return path;
  };
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'pgha-ctl-test-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('reads a node file of Patroni', async () => {
    const path = await file(
      'patroni.yml',
      `scope: demo
namespace: /db/
name: a
restapi: {listen: 0.0.0.0:8008, authentication: {username: admin, password: pw}, cafile: /ca.pem}
etcd3: {hosts: ['10.0.0.1:2379', '10.0.0.2'], protocol: https, cacert: /etcd.pem, username: root, password: x}
postgresql: {data_dir: /data}
`,
    );
    expect(await readContext({ configFile: path }, {})).toEqual({
      scope: 'demo',
      file: path,
      namespace: '/db/',
      etcd: {
        endpoints: ['https://10.0.0.1:2379', 'https://10.0.0.2:2379'],
        srv: null,
        username: 'root',
        password: 'x',
        cacert: '/etcd.pem',
        cert: null,
        key: null,
      },
      ctl: {
        authentication: { username: 'admin', password: 'pw' },
        insecure: false,
        cacert: '/ca.pem',
        certfile: null,
        keyfile: null,
        keyfilePassword: null,
      },
    });
  });

  it('prefers ctl credentials, hosts as text, and the etcd section under its old name', async () => {
    const path = await file(
      'ctl.yml',
      `scope: demo
etcd: {host: etcd.example}
ctl: {insecure: true, authentication: {username: ctl, password: pw2}}
restapi: {authentication: {username: admin, password: pw}}
`,
    );
    const context = await readContext({ configFile: path }, {});
    expect(context.etcd.endpoints).toEqual(['http://etcd.example:2379']);
    expect(context.ctl).toMatchObject({ insecure: true, authentication: { username: 'ctl', password: 'pw2' } });
  });

  it('takes the environment before the file, and the command line before both', async () => {
    const path = await file('env.yml', 'scope: demo\nnamespace: x\netcd3: {host: 10.0.0.1:2379}\n');
    const env = {
      PATRONI_SCOPE: 'other',
      PATRONI_ETCD3_HOSTS: "'10.0.0.5:2379','10.0.0.6:2379'",
      PATRONICTL_CONFIG_FILE: path,
    };
    const context = await readContext({}, env);
    expect(context).toMatchObject({ scope: 'other', namespace: '/x' });
    expect(context.etcd.endpoints).toEqual(['http://10.0.0.5:2379', 'http://10.0.0.6:2379']);
    const flagged = await readContext({ dcsUrl: 'etcd3://10.0.0.7:2379,10.0.0.8/svc' }, env);
    expect(flagged.namespace).toBe('/svc');
    expect(flagged.etcd.endpoints).toEqual(['http://10.0.0.7:2379', 'http://10.0.0.8:2379']);
  });

  it('says what is missing', async () => {
    await expect(readContext({ configFile: join(directory, 'none.yml') }, {})).rejects.toThrow('cannot be read');
    const consul = await file('consul.yml', 'scope: demo\nconsul: {host: x}\n');
    await expect(readContext({ configFile: consul }, {})).rejects.toThrow('names consul');
    const broken = await file('broken.yml', 'scope: [\n');
    await expect(readContext({ configFile: broken }, {})).rejects.toThrow('is not YAML');
    expect(() => readDcsUrl('consul://x/y')).toThrow('expected etcd3://');
  });

  it('completes addresses', () => {
    expect(endpoint('[::1]', 'http')).toBe('http://[::1]:2379');
    expect(endpoint('http://a:1/', 'https')).toBe('http://a:1');
  });
});
