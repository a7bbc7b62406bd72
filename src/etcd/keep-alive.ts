/**
 * One renewal of a lease, over a stream of its own that carries one question and one answer. etcd3's `Lease` is not
 * used: it notices silence after a TTL, reports a loss after two, by the wall clock, and cannot take up an old lease.
 */
import type { Etcd3, ILeaseKeepAliveResponse } from 'etcd3';
import type { LeaseId } from '../core/store.ts';
import type { CallOptions } from './endpoint.ts';

/** A TTL of '0' in the answer: that lease does not exist there. */
export async function keepAliveOnce(
  client: Etcd3,
  lease: LeaseId,
  options: CallOptions,
): Promise<ILeaseKeepAliveResponse> {
  const stream = await client.leaseClient.leaseKeepAlive(options);
  return new Promise((resolve, reject) => {
    // The listener for errors stays: one that comes after the answer must not end the process.
    stream.on('error', reject);
    stream.on('end', () => reject(new Error('the keepalive stream ended without an answer')));
    stream.on('data', (answer) => {
      resolve(answer);
      stream.end();
    });
    stream.write({ ID: lease });
  });
}
