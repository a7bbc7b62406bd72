import { castGrpcError } from 'etcd3';
import { describe, expect, it } from 'vitest';
import { failureFrom } from '../../../src/etcd/refusal.ts';

const grpc = (code: number, message: string): Error => castGrpcError(Object.assign(new Error(message), { code }));

describe('an error of the client', () => {
  it.each([
    [5, '5 NOT_FOUND: etcdserver: requested lease not found', 'lease-not-found'],
    [8, '8 RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded', 'no-space'],
    [7, '7 PERMISSION_DENIED: etcdserver: permission denied', 'other'],
    [16, '16 UNAUTHENTICATED: etcdserver: invalid auth token', 'other'],
    [3, '3 INVALID_ARGUMENT: etcdserver: duplicate key given in txn request', 'other'],
    [3, '3 INVALID_ARGUMENT: etcdserver: authentication failed, invalid user ID or password', 'other'],
  ])('says that nothing was applied: %s %s', (code, message, reason) => {
    expect(failureFrom(grpc(code, message))).toMatchObject({ kind: 'refused', reason });
  });

  it.each([
    [4, '4 DEADLINE_EXCEEDED: Deadline exceeded after 0.7s'],
    [14, '14 UNAVAILABLE: etcdserver: request timed out'],
    [14, '14 UNAVAILABLE: etcdserver: leader changed'],
    [14, '14 UNAVAILABLE: Connection dropped'],
    [1, '1 CANCELLED: Call cancelled'],
    [13, '13 INTERNAL: Received RST_STREAM with code 2'],
    // grpc's own: the answer was too long for it, so the request was applied.
    [8, '8 RESOURCE_EXHAUSTED: Received message larger than max (5000000 vs 4194304)'],
  ])('leaves open what became of the request: %s %s', (code, message) => {
    expect(failureFrom(grpc(code, message)).kind).toBe('no-answer');
  });

  it('says that the request was never sent', () => {
    const message = '14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED 127.0.0.1:2379';
    expect(failureFrom(grpc(14, message)).kind).toBe('not-sent');
  });

  it('says that one member is behind with its work, which is no word about the others', () => {
    const message = '8 RESOURCE_EXHAUSTED: etcdserver: too many requests';
    expect(failureFrom(grpc(8, message)).kind).toBe('not-sent');
  });
});
