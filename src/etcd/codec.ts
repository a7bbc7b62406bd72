/**
 * Between the words of core/store.ts and etcd's messages. Pure; sends nothing.
 */
import type { ICompare, IKeyValue, IRequestOp, IResponseHeader, ITxnRequest, ITxnResponse } from 'etcd3';
import { assertNever } from '../core/invariant.ts';
import type { Compare, Header, Key, KeyValue, Op, Txn } from '../core/store.ts';
import { leaseId, revision } from '../core/store.ts';
import type { KeySpace } from './keys.ts';

export function headerFrom(header: IResponseHeader): Header {
  return {
    clusterId: header.cluster_id,
    raftTerm: BigInt(header.raft_term),
    revision: revision(header.revision),
  };
}

export function keyValueFrom(keys: KeySpace, kv: IKeyValue): KeyValue {
  return {
    key: keys.relative(kv.key),
    value: kv.value.toString(),
    createRevision: revision(kv.create_revision),
    modRevision: revision(kv.mod_revision),
    lease: kv.lease === '0' ? null : leaseId(kv.lease),
  };
}

export function txnRequest(keys: KeySpace, txn: Txn): ITxnRequest {
  return {
    compare: txn.compare.map((compare) => comparison(keys, compare)),
    success: txn.success.map((op) => operation(keys, op)),
    failure: txn.failure.map((op) => operation(keys, op)),
  };
}

/** What the `get`s of the branch that ran found. */
export function foundIn(keys: KeySpace, txn: Txn, answer: ITxnResponse): ReadonlyMap<Key, KeyValue | null> {
  const found = new Map<Key, KeyValue | null>();
  const branch = answer.succeeded ? txn.success : txn.failure;
  branch.forEach((op, position) => {
    if (op.op !== 'get') return;
    const kv = answer.responses[position]?.response_range.kvs[0];
    found.set(op.key, kv === undefined ? null : keyValueFrom(keys, kv));
  });
  return found;
}

function comparison(keys: KeySpace, compare: Compare): ICompare {
  const key = keys.absolute(compare.key);
  if ('modRevision' in compare) {
    return { key, target: 'Mod', result: 'Equal', mod_revision: String(compare.modRevision) };
  }
  if ('createRevision' in compare) {
    return { key, target: 'Create', result: 'Equal', create_revision: String(compare.createRevision) };
  }
  return { key, target: 'Lease', result: 'Equal', lease: compare.lease };
}

function operation(keys: KeySpace, op: Op): IRequestOp {
  const key = keys.absolute(op.key);
  switch (op.op) {
    case 'put':
      return { request_put: { key, value: Buffer.from(op.value), lease: op.lease ?? '0' } };
    case 'delete':
      return { request_delete_range: { key } };
    case 'get':
      return { request_range: { key } };
    default:
      return assertNever(op);
  }
}
