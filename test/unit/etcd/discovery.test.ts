import { describe, expect, test } from 'vitest';
import type { EtcdConfig } from '../../../src/config/schema.ts';
import { type ResolveSrv, withEndpoints } from '../../../src/etcd/discovery.ts';

const config = (srv: EtcdConfig['srv']): EtcdConfig => ({
  endpoints: srv === null ? ['http://a:2379'] : [],
  srv,
  username: null,
  password: null,
  cacert: null,
  cert: null,
  key: null,
});

function dns(
  records: Readonly<Record<string, readonly { readonly name: string; readonly port: number }[]>>,
): ResolveSrv {
  return async (name) => {
    const found = records[name];
    if (found === undefined) throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
    return found;
  };
}

describe('the members of etcd', () => {
  test('are those of the file where it names them', async () => {
    expect((await withEndpoints(config(null), dns({}))).endpoints).toEqual(['http://a:2379']);
  });
  test('come from the records with TLS, else from those without', async () => {
    const plain = { '_etcd-client._tcp.example.com': [{ name: 'e1.example.com.', port: 2379 }] };
    const found = async (records: Parameters<typeof dns>[0]) =>
      (await withEndpoints(config({ domain: 'example.com', suffix: null }), dns(records))).endpoints;
    expect(await found(plain)).toEqual(['http://e1.example.com:2379']);
    const both = { ...plain, '_etcd-client-ssl._tcp.example.com': [{ name: 'e2.example.com', port: 2380 }] };
    expect(await found(both)).toEqual(['https://e2.example.com:2380']);
  });
  test('are asked for with the suffix, and what was asked for is told when there is nothing', async () => {
    await expect(withEndpoints(config({ domain: 'example.com', suffix: 'dev' }), dns({}))).rejects.toThrow(
      'no SRV records _etcd-client-ssl-dev._tcp.example.com and _etcd-client-dev._tcp.example.com',
    );
  });
});
