/**
 * What `pgha-ctl check` asks of the world: etcd's members, whether a port answers, and how this machine is set up. Answers
 * are facts; what is good or bad about them is said in http/ctl/check/.
 */
import type { Millis } from '../core/time.ts';

export type EtcdEndpointFacts =
  | {
      readonly kind: 'answered';
      readonly url: string;
      readonly version: string;
      readonly clusterId: string;
      readonly memberId: string;
      /** Id of etcd's leader as this member sees it; `0`: it sees none. */
      readonly leader: string;
      /** Bytes. */
      readonly size: number;
      /** Bytes; null: it does not say. */
      readonly quota: number | null;
      /** Median of a few reads that a majority has confirmed; null: no read was answered. */
      readonly readMs: Millis | null;
      /** Mean of its writes to disk since it started; null: it does not say. */
      readonly syncMs: number | null;
    }
  | { readonly kind: 'silent'; readonly url: string; readonly said: string };

export interface EtcdMemberFacts {
  readonly id: string;
  /** Empty: it was added and never started. */
  readonly name: string;
  readonly clientUrls: readonly string[];
  readonly peerUrls: readonly string[];
}

export interface EtcdFacts {
  readonly endpoints: readonly EtcdEndpointFacts[];
  /** null: nobody would say. */
  readonly members: readonly EtcdMemberFacts[] | null;
  readonly alarms: readonly { readonly memberId: string; readonly alarm: string }[] | null;
}

export type Reach =
  | { readonly kind: 'open'; readonly ms: Millis }
  /** Somebody is there and takes no connection. */
  | { readonly kind: 'refused'; readonly said: string }
  /** Nobody answers: a firewall, perhaps. */
  | { readonly kind: 'silent'; readonly said: string };

export interface PathFacts {
  readonly path: string;
  /** null: there is nothing, or this user may not look. */
  readonly found: { readonly directory: boolean; readonly owner: number; readonly mode: number } | null;
}

export interface HostQuestion {
  readonly paths: readonly string[];
  /** Where programs are looked for, in this order. */
  readonly programDirectories: readonly string[];
  readonly programs: readonly string[];
  /** The interface that an address is to be put on; left out: none is. */
  readonly interface?: string;
}

/** What moving an address rests on. */
export interface InterfaceFacts {
  readonly exists: boolean;
  /** Of `ip`, `arping` and `setpriv`. */
  readonly missing: readonly string[];
  /** The capabilities of the daemon that runs, as /proc says them; null: none was found. */
  readonly capabilities: bigint | null;
  /** The kernel announces an IPv6 address that is put there. */
  readonly announcesIpv6: boolean;
}

export interface HostFacts {
  /** Who asks; 0 is root. */
  readonly uid: number;
  /** null: there is no user `postgres`. */
  readonly postgresUid: number | null;
  /** Units that this machine starts at boot, and scripts of System V. */
  readonly enabled: readonly { readonly name: string; readonly script: boolean }[];
  readonly processes: readonly { readonly pid: number; readonly name: string }[];
  readonly paths: readonly PathFacts[];
  readonly missingPrograms: readonly string[];
  /** null: nobody can say. */
  readonly timeIsKept: boolean | null;
  /** Left out: it was not asked for. */
  readonly interface?: InterfaceFacts;
}

export type PoolerFacts =
  | { readonly kind: 'silent'; readonly said: string }
  | {
      readonly kind: 'answered';
      readonly version: string;
      /** null: it does not say; the same below. */
      readonly poolMode: string | null;
      /** Seconds. */
      readonly serverLoginRetry: number | null;
      /** Seconds; 0: none. */
      readonly queryWaitTimeout: number | null;
    };

export interface Examiner {
  /** The console of a PgBouncer, `host:port`. */
  pooler(
    login: { readonly username: string; readonly password: string | null },
    address: string,
    limit: Millis,
  ): Promise<PoolerFacts>;
  reach(host: string, port: number, limit: Millis): Promise<Reach>;
  host(question: HostQuestion): Promise<HostFacts>;
  /** Bytes that may still be written there; null: nobody can say. */
  freeBytes(directory: string): Promise<bigint | null>;
}
