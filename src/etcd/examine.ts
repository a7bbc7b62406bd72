/**
 * How etcd is, member by member, for `pgha-ctl check etcd`: asked once, with a limit for each question. It changes
 * nothing and judges nothing.
 */
import http from 'node:http';
import https from 'node:https';
import type { EtcdConfig } from '../config/schema.ts';
import { type Millis, millis } from '../core/time.ts';
import type { EtcdEndpointFacts, EtcdFacts, EtcdMemberFacts } from '../ports/examination.ts';
import { addressesOf, hostUrl, placeOf } from './address.ts';
import { type Certificates, readCertificates } from './certificates.ts';
import { withEndpoints } from './discovery.ts';
import { Endpoint } from './endpoint.ts';
import { failureFrom } from './refusal.ts';

const READS = 5;
const MOST_METRICS = 4 * 1024 * 1024;
/** No key of anybody's: what is read is how long reading takes. */
const NO_KEY = Buffer.from('\0pgha-check');

/** @throws when a certificate cannot be read, or DNS names no member */
export async function examineEtcd(given: EtcdConfig, limit: Millis): Promise<EtcdFacts> {
  const config = await withEndpoints(given);
  const certificates = await readCertificates(config);
  const endpoints = await Promise.all(
    config.endpoints.map(async (url) => {
      const place = placeOf(url, config);
      return new Endpoint(place, config, { addresses: (await addressesOf(place)) ?? [place.host], certificates });
    }),
  );
  try {
    const facts = await Promise.all(endpoints.map((endpoint) => examineOne(endpoint, certificates, limit)));
    return { endpoints: facts, ...(await examineCluster(endpoints, limit)) };
  } finally {
    for (const endpoint of endpoints) endpoint.close();
  }
}

async function examineOne(
  endpoint: Endpoint,
  certificates: Certificates | null,
  limit: Millis,
): Promise<EtcdEndpointFacts> {
  const { url } = endpoint.place;
  try {
    const status = await endpoint.call(limit, (client, options) => client.maintenance.status(options));
    const [readMs, metrics] = await Promise.all([
      readTime(endpoint, limit),
      metricsOf(endpoint, certificates, limit).catch(() => ''),
    ]);
    return {
      kind: 'answered',
      url,
      version: status.version,
      clusterId: status.header.cluster_id,
      memberId: status.header.member_id,
      leader: status.leader,
      size: Number(status.dbSize),
      quota: metric(metrics, 'etcd_server_quota_backend_bytes'),
      readMs,
      syncMs: meanMs(metrics, 'etcd_disk_wal_fsync_duration_seconds'),
    };
  } catch (error) {
    return { kind: 'silent', url, said: failureFrom(error).cause };
  }
}

/** Linearizable, as leadership is read: a member that is cut off from the majority answers none. */
async function readTime(endpoint: Endpoint, limit: Millis): Promise<Millis | null> {
  const times: number[] = [];
  try {
    for (let read = 0; read < READS; read += 1) {
      const started = performance.now();
      await endpoint.call(limit, (client, options) => client.kv.range({ key: NO_KEY, limit: 1 }, options));
      times.push(performance.now() - started);
    }
  } catch (error) {
    // A user who may not read this key was answered all the same.
    if (failureFrom(error).kind !== 'refused' || times.length === 0) return null;
  }
  const median = times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
  return median === undefined ? null : millis(median);
}

async function examineCluster(
  endpoints: readonly Endpoint[],
  limit: Millis,
): Promise<Pick<EtcdFacts, 'members' | 'alarms'>> {
  for (const endpoint of endpoints) {
    try {
      const { members } = await endpoint.call(limit, (client, options) => client.cluster.memberList({}, options));
      const { alarms } = await endpoint.call(limit, (client, options) =>
        client.maintenance.alarm({ action: 'Get' }, options),
      );
      return {
        members: members.map(
          ({ ID, name, clientURLs, peerURLs }): EtcdMemberFacts => ({
            id: ID,
            name,
            clientUrls: clientURLs,
            peerUrls: peerURLs,
          }),
        ),
        alarms: alarms.map(({ memberID, alarm }) => ({ memberId: memberID, alarm: String(alarm) })),
      };
    } catch {
      // The next one may know.
    }
  }
  return { members: null, alarms: null };
}

/** What etcd says over HTTP on the same port: the quota stands nowhere else. */
function metricsOf(endpoint: Endpoint, certificates: Certificates | null, limit: Millis): Promise<string> {
  const { place } = endpoint;
  const url = `${hostUrl(place, place.host)}/metrics`;
  return new Promise((resolve, reject) => {
    const secure = certificates === null ? {} : tlsOf(certificates);
    const request = (place.secure ? https : http).get(url, { timeout: limit, ...secure }, (answer) => {
      const parts: Buffer[] = [];
      let length = 0;
      answer.on('data', (part: Buffer) => {
        length += part.length;
        if (length > MOST_METRICS) request.destroy(new Error('too long'));
        else parts.push(part);
      });
      answer.on('end', () => resolve(Buffer.concat(parts).toString('utf8')));
      answer.on('error', reject);
    });
    const timer = setTimeout(() => request.destroy(new Error('no answer in time')), limit);
    request.on('close', () => clearTimeout(timer));
    request.on('error', reject);
  });
}

const tlsOf = (certificates: Certificates) => ({
  ca: certificates.rootCertificate,
  ...('certChain' in certificates ? { cert: certificates.certChain, key: certificates.privateKey } : {}),
});

function metric(text: string, name: string): number | null {
  const value = Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  return Number.isFinite(value) ? value : null;
}

function meanMs(text: string, name: string): number | null {
  const [sum, count] = [metric(text, `${name}_sum`), metric(text, `${name}_count`)];
  return sum === null || count === null || count === 0 ? null : (sum / count) * 1000;
}
