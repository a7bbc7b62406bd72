/**
 * One etcd endpoint and the client that talks to it. Gives every call a deadline, counts failures and replaces the
 * client after two in a row: grpc's own reconnecting took 8 s to find a healed endpoint again, a new client 0.9 s.
 * Repeats nothing: the library's retries and breakers are off, because they also repeat a call that was applied.
 */
import { noop } from 'cockatiel';
import type { KVClient } from 'etcd3';
import { Etcd3 } from 'etcd3';
import type { EtcdConfig } from '../config/schema.ts';
import type { Millis } from '../core/time.ts';
import { millis } from '../core/time.ts';
import type { Place } from './address.ts';
import { hostUrl } from './address.ts';
import type { Certificates } from './certificates.ts';
import { failureFrom, loginMismatch } from './refusal.ts';
import { within } from './time-limit.ts';

export type CallOptions = NonNullable<Parameters<KVClient['range']>[1]>;

const FAILURES_BEFORE_REOPENING = 2;
/** With etcd away a leader asks ten times a second; new clients at that pace would find nothing either. */
const REOPEN_AT_MOST_EVERY_MS = 500;
/** bcrypt on the server takes 0.1 to 0.4 s. The call that waits for the login has its own, shorter limit. */
const LOGIN_LIMIT_MS = 2_000;
/** grpc's own deadline first, then ours: its error says more. */
const AFTER_DEADLINE = 25;

const GRPC_OPTIONS = {
  // Otherwise a new client shares the dead connection of the one it replaces.
  'grpc.use_local_subchannel_pool': 1,
  // Below 5000 etcd answers GOAWAY "too many pings" and ends every stream.
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 1_500,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.enable_retries': 0,
  // Of the surroundings of whoever types pgha-ctl; an etcd is never behind one.
  'grpc.enable_http_proxy': 0,
} as const;

export class Endpoint {
  readonly place: Place;
  /** The last call failed, or nothing was heard of it yet: others are asked first. */
  failing = false;
  private readonly config: EtcdConfig;
  private addresses: readonly string[];
  private certificates: Certificates | null;
  private client: Etcd3;
  private failures = 0;
  private openedAt = performance.now();
  private login: boolean;
  private closed = false;

  constructor(
    place: Place,
    config: EtcdConfig,
    start: { readonly addresses: readonly string[]; readonly certificates: Certificates | null },
  ) {
    this.place = place;
    this.config = config;
    this.addresses = start.addresses;
    this.certificates = start.certificates;
    this.login = config.username !== null && config.password !== null;
    this.client = this.connect();
  }

  /** One call, once. @throws what the client throws, or that there was no answer within `limit` */
  async call<T>(limit: Millis, run: (client: Etcd3, options: CallOptions) => Promise<T>): Promise<T> {
    const { client } = this;
    try {
      const answer = run(client, { deadline: Date.now() + limit });
      const value = await within(answer, millis(limit + AFTER_DEADLINE), this.place.url);
      this.answered(client);
      return value;
    } catch (error) {
      const failure = failureFrom(error);
      if (failure.kind === 'refused') this.answered(client);
      else this.failed(client);
      this.adaptLogin(client, failure.cause);
      throw error;
    }
  }

  /** A stream that stands until its user ends it; counts no failures, see `distrust`. */
  async stream<T>(limit: Millis, open: (client: Etcd3) => Promise<T>, discard: (late: T) => void): Promise<T> {
    const opening = open(this.client);
    try {
      return await within(opening, limit, this.place.url);
    } catch (error) {
      opening.then(discard, () => undefined);
      throw error;
    }
  }

  /** A stream through this endpoint fell silent: counts like a call without an answer. */
  distrust(): void {
    this.failed(this.client);
  }

  /** Other addresses for the same name: the standing connections are given up. */
  moveTo(addresses: readonly string[]): void {
    this.addresses = addresses;
    this.reopen();
  }

  /** Standing connections are given up too: they end with the certificate that they were opened with. */
  useCertificates(certificates: Certificates | null): void {
    this.certificates = certificates;
    this.reopen();
  }

  knows(addresses: readonly string[]): boolean {
    return addresses.length === this.addresses.length && addresses.every((each) => this.addresses.includes(each));
  }

  close(): void {
    this.closed = true;
    closeQuietly(this.client);
  }

  private answered(client: Etcd3): void {
    if (client !== this.client) return;
    this.failures = 0;
    this.failing = false;
  }

  private failed(client: Etcd3): void {
    // What an already replaced client reports late says nothing about the new one.
    if (client !== this.client || this.closed) return;
    this.failing = true;
    if (++this.failures < FAILURES_BEFORE_REOPENING) return;
    if (performance.now() - this.openedAt < REOPEN_AT_MOST_EVERY_MS) return;
    // A name with several addresses: the next one is tried with the next client.
    this.addresses = [...this.addresses.slice(1), ...this.addresses.slice(0, 1)];
    this.reopen();
  }

  private adaptLogin(client: Etcd3, cause: string): void {
    // Two calls through one client find the same mismatch: the second must not close what the first has opened.
    if (client !== this.client || this.config.username === null || this.closed) return;
    const mismatch = loginMismatch(cause);
    if (mismatch === null) return;
    this.login = mismatch !== 'not-wanted' && this.config.password !== null;
    this.reopen();
  }

  private reopen(): void {
    if (this.closed) return;
    const old = this.client;
    this.failures = 0;
    this.openedAt = performance.now();
    this.client = this.connect();
    // Not from inside one of its own callbacks.
    setImmediate(() => closeQuietly(old));
  }

  private connect(): Etcd3 {
    const address = this.addresses[0] ?? this.place.host;
    const { username, password } = this.config;
    // The certificate carries the name, the connection goes to the address.
    const named =
      address === this.place.host
        ? {}
        : {
            'grpc.default_authority': `${this.place.host}:${this.place.port}`,
            ...(this.place.secure ? { 'grpc.ssl_target_name_override': this.place.host } : {}),
          };
    return new Etcd3({
      hosts: [hostUrl(this.place, address)],
      faultHandling: { host: () => noop, global: noop },
      grpcOptions: { ...GRPC_OPTIONS, ...named },
      ...(this.place.secure && this.certificates !== null ? { credentials: this.certificates } : {}),
      ...(this.login && username !== null && password !== null
        ? { auth: { username, password, callOptions: () => ({ deadline: Date.now() + LOGIN_LIMIT_MS }) } }
        : {}),
    });
  }
}

function closeQuietly(client: Etcd3): void {
  try {
    client.close();
  } catch {
    // It was closed already; there is nothing left to end.
  }
}
