/**
 * The members of etcd as DNS names them (SRV records, as etcdctl and Patroni look them up), once, at the start. Whether
 * they answer is not its business.
 */
import { Resolver } from 'node:dns/promises';
import type { EtcdConfig } from '../config/schema.ts';

export type ResolveSrv = (name: string) => Promise<readonly { readonly name: string; readonly port: number }[]>;

const ask: ResolveSrv = (name) => new Resolver({ timeout: 2_000, tries: 2 }).resolveSrv(name);

/**
 * @returns the configuration with endpoints; unchanged where it names them itself
 * @throws {Error} when no record is found
 */
export async function withEndpoints(config: EtcdConfig, resolve: ResolveSrv = ask): Promise<EtcdConfig> {
  const { srv } = config;
  if (srv === null) return config;
  const end = srv.suffix === null || srv.suffix === '' ? '' : `-${srv.suffix}`;
  const asked: string[] = [];
  for (const [service, protocol] of [
    ['_etcd-client-ssl', 'https'],
    ['_etcd-client', 'http'],
  ] as const) {
    const name = `${service}${end}._tcp.${srv.domain}`;
    asked.push(name);
    // No such record: the next kind is asked for, and the last sentence tells of both.
    const records = await resolve(name).catch(() => []);
    if (records.length > 0)
      return { ...config, endpoints: records.map((one) => `${protocol}://${one.name.replace(/\.$/, '')}:${one.port}`) };
  }
  throw new Error(`etcd cannot be found: DNS has no SRV records ${asked.join(' and ')}`);
}
