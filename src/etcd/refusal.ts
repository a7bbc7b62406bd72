/**
 * What an error of the client tells about a request: that etcd has surely not applied it, that it surely never left
 * this machine, or nothing. Everything that is not known for certain counts as "may have been applied".
 */
import {
  EtcdAuthenticationFailedError,
  EtcdInvalidAuthTokenError,
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  GRPCFailedPreconditionError,
  GRPCInvalidArgumentError,
  GRPCNotFoundError,
  GRPCResourceExhastedError,
  GRPCUnauthenticatedError,
} from 'etcd3';

export type Failure =
  | { readonly kind: 'refused'; readonly reason: 'lease-not-found' | 'no-space' | 'other'; readonly cause: string }
  /** Surely not applied through this endpoint, and another may do it: no connection stood, or its member is behind. */
  | { readonly kind: 'not-sent'; readonly cause: string }
  | { readonly kind: 'no-answer'; readonly cause: string };

const ALWAYS_REFUSALS = [EtcdAuthenticationFailedError, EtcdInvalidAuthTokenError, EtcdPermissionDeniedError] as const;

/** Refusals only with etcd's own words in them: grpc itself uses these codes too, for an answer it could not read. */
const REFUSALS_BY_ETCD = [
  GRPCFailedPreconditionError,
  GRPCInvalidArgumentError,
  GRPCNotFoundError,
  GRPCResourceExhastedError,
  GRPCUnauthenticatedError,
] as const;

export function failureFrom(error: unknown): Failure {
  const cause = error instanceof Error ? error.message : String(error);
  if (error instanceof EtcdLeaseInvalidError) return { kind: 'refused', reason: 'lease-not-found', cause };
  if (error instanceof GRPCResourceExhastedError && cause.includes('database space exceeded')) {
    return { kind: 'refused', reason: 'no-space', cause };
  }
  // Said by a member whose own disk is behind, before it proposes anything; the others may be well.
  if (error instanceof GRPCResourceExhastedError && cause.includes('etcdserver: too many requests')) {
    return { kind: 'not-sent', cause };
  }
  if (ALWAYS_REFUSALS.some((kind) => error instanceof kind)) return { kind: 'refused', reason: 'other', cause };
  if (cause.includes('etcdserver:') && REFUSALS_BY_ETCD.some((kind) => error instanceof kind)) {
    return { kind: 'refused', reason: 'other', cause };
  }
  if (cause.includes('No connection established')) return { kind: 'not-sent', cause };
  return { kind: 'no-answer', cause };
}

/** Authentication is configured here and switched off in etcd, or the other way round. */
export function loginMismatch(cause: string): 'not-wanted' | 'wanted' | 'token-outdated' | null {
  if (cause.includes('authentication is not enabled')) return 'not-wanted';
  if (cause.includes('user name is empty')) return 'wanted';
  if (cause.includes('revision of auth store is old') || cause.includes('revision in header is old')) {
    return 'token-outdated';
  }
  return null;
}
