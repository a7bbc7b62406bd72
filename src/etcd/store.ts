/**
 * The adapter behind ports/dcs.ts: etcd over v3, thinly over the raw clients of the package etcd3. It sends, hedges,
 * bounds and counts; it decides nothing and remembers nothing about leadership.
 *
 * A transaction may reach etcd once per endpoint. That is why all that matter are conditional and read the key in
 * their failure branch: the second copy is refused, and what was found says whether the first one was applied.
 */
import type { Etcd3, IStatusResponse } from 'etcd3';
import type { EtcdConfig } from '../config/schema.ts';
import type { LeaseId, Txn } from '../core/store.ts';
import { ABSENT, leaseId } from '../core/store.ts';
import type { Instant, Millis } from '../core/time.ts';
import { between, millis, seconds } from '../core/time.ts';
import type { Chronicle } from '../ports/chronicle.ts';
import type { Clock } from '../ports/clock.ts';
import type {
  Change,
  Dcs,
  GrantAnswer,
  KeepAliveAnswer,
  ReadAnswer,
  StopWatching,
  StoreVersion,
  TxnAnswer,
} from '../ports/dcs.ts';
import type { EventLog } from '../ports/event-log.ts';
import { addressesOf, placeOf } from './address.ts';
import type { Certificates } from './certificates.ts';
import { readCertificates, sameCertificates } from './certificates.ts';
import { foundIn, headerFrom, keyValueFrom, txnRequest } from './codec.ts';
import { withEndpoints } from './discovery.ts';
import type { CallOptions } from './endpoint.ts';
import { Endpoint } from './endpoint.ts';
import type { Hedged } from './hedge.ts';
import { hedge } from './hedge.ts';
import { keepAliveOnce } from './keep-alive.ts';
import type { KeySpace, Range } from './keys.ts';
import { CHRONICLE, keySpace } from './keys.ts';
import { within } from './time-limit.ts';
import { watchPrefix } from './watch.ts';

const STAGGER = millis(200);
/** A second grant is a second lease, which nobody will use; it is worth waiting a little longer for the first. */
const GRANT_STAGGER = millis(500);
const PROBE_EVERY_MS = 10_000;
const PROBE_LIMIT = millis(1_000);
/** One unanswered call is an accident that the next cycle mends; two in a row are news. */
const UNANSWERED_BEFORE_SAID = 2;

export interface RequestCounts {
  keepAlive: number;
  txn: number;
  read: number;
  grant: number;
  revoke: number;
  watchProgress: number;
  probe: number;
}

export interface EtcdSurroundings {
  readonly clock: Pick<Clock, 'now'>;
  readonly log: EventLog;
}

export class EtcdDcs implements Dcs {
  /** The keys that are for people, through the same connections. */
  readonly chronicle: Chronicle = {
    read: async (limit) => {
      const answer = await this.readRanges(this.keys.chronicle, limit);
      if (answer.kind === 'unanswered') return answer;
      const entries = answer.entries.map((entry) => ({ ...entry, key: entry.key.slice(CHRONICLE.length) }));
      return { kind: 'answered', entries };
    },
    put: async (relative, value, known, limit) => {
      const key = CHRONICLE + relative;
      const answer = await this.txn(
        {
          compare: [known === ABSENT ? { key, createRevision: ABSENT } : { key, modRevision: known }],
          success: [{ op: 'put', key, value, lease: null }],
          failure: [{ op: 'get', key }],
        },
        limit,
      );
      if (answer.kind !== 'answered') return { kind: 'unknown', cause: answer.cause };
      if (answer.succeeded) return { kind: 'applied', revision: answer.header.revision };
      return { kind: 'refused', found: answer.found.get(key) ?? null };
    },
  };
  private readonly keys: KeySpace;
  private readonly config: EtcdConfig;
  private readonly surroundings: EtcdSurroundings;
  private readonly endpoints: readonly Endpoint[];
  private certificates: Certificates | null;
  /** The one that answered last is asked first. */
  private preferred: Endpoint | null = null;
  private readonly counts: RequestCounts = {
    keepAlive: 0,
    txn: 0,
    read: 0,
    grant: 0,
    revoke: 0,
    watchProgress: 0,
    probe: 0,
  };
  private unansweredInARow = 0;
  private answeredAt: Instant;
  private saidSilent = false;
  private readonly watches = new Set<StopWatching>();
  private readonly probing: NodeJS.Timeout;
  private probeUnderWay = false;
  private closed = false;

  /**
   * Looks names up and reads certificates; does not wait for etcd.
   *
   * @param base - `/<namespace>/<scope>/`, from `basePath`
   * @throws {PghaError} PGHA_CONFIG_UNREADABLE when a certificate cannot be read
   */
  static async open(given: EtcdConfig, base: string, surroundings: EtcdSurroundings): Promise<EtcdDcs> {
    const config = await withEndpoints(given);
    const certificates = await readCertificates(config);
    const places = config.endpoints.map((url) => placeOf(url, config));
    const endpoints = await Promise.all(
      places.map(async (place) => {
        // A name that the resolver does not know yet is left to grpc, and asked for again when the endpoint fails.
        const addresses = (await addressesOf(place)) ?? [place.host];
        return new Endpoint(place, config, { addresses, certificates });
      }),
    );
    return new EtcdDcs(config, base, surroundings, endpoints, certificates);
  }

  private constructor(
    config: EtcdConfig,
    base: string,
    surroundings: EtcdSurroundings,
    endpoints: readonly Endpoint[],
    certificates: Certificates | null,
  ) {
    this.config = config;
    this.keys = keySpace(base);
    this.surroundings = surroundings;
    this.endpoints = endpoints;
    this.certificates = certificates;
    this.answeredAt = surroundings.clock.now();
    this.probing = setInterval(() => void this.probe(), PROBE_EVERY_MS).unref();
    // Connections and logins stand by the time they are needed.
    void this.probe();
  }

  read(limit: Millis): Promise<ReadAnswer> {
    return this.readRanges(this.keys.decisive, limit);
  }

  private async readRanges(ranges: readonly Range[], limit: Millis): Promise<ReadAnswer> {
    // One transaction without writes: all of it is read at one revision, and linearizably.
    const success = ranges.map(({ first, end }) => ({ request_range: { key: first, range_end: end } }));
    const outcome = await this.ask('read', { limit, stagger: STAGGER }, (client, options) =>
      client.kv.txn({ compare: [], success, failure: [] }, options),
    );
    if (outcome.kind !== 'answered') return { kind: 'unanswered', cause: causeOf(outcome) };
    return {
      kind: 'answered',
      header: headerFrom(outcome.value.header),
      entries: outcome.value.responses.flatMap((response) =>
        response.response_range.kvs.map((kv) => keyValueFrom(this.keys, kv)),
      ),
    };
  }

  async txn(txn: Txn, limit: Millis): Promise<TxnAnswer> {
    const request = txnRequest(this.keys, txn);
    // Without a condition a second copy, applied late, could undo a newer write: nobody else is asked beside the first.
    const stagger = txn.compare.length === 0 ? null : STAGGER;
    const outcome = await this.ask('txn', { limit, stagger }, (client, options) => client.kv.txn(request, options));
    if (outcome.kind === 'refused') {
      return { kind: 'failed', cause: outcome.refusal.cause, reason: outcome.refusal.reason };
    }
    if (outcome.kind === 'unanswered') return { kind: 'unknown', cause: outcome.cause };
    const answer = outcome.value;
    return {
      kind: 'answered',
      header: headerFrom(answer.header),
      succeeded: answer.succeeded,
      found: foundIn(this.keys, txn, answer),
    };
  }

  async grant(ttl: Millis, limit: Millis): Promise<GrantAnswer> {
    const wholeSeconds = String(Math.ceil(ttl / 1000));
    const outcome = await this.ask('grant', { limit, stagger: GRANT_STAGGER }, (client, options) =>
      client.leaseClient.leaseGrant({ TTL: wholeSeconds, ID: '0' }, options),
    );
    if (outcome.kind !== 'answered') return { kind: 'unanswered', cause: causeOf(outcome) };
    const { header, ID, TTL } = outcome.value;
    return { kind: 'granted', lease: leaseId(ID), ttl: seconds(Number(TTL)), header: headerFrom(header) };
  }

  async keepAlive(lease: LeaseId, limit: Millis): Promise<KeepAliveAnswer> {
    const outcome = await this.ask('keepAlive', { limit, stagger: STAGGER }, (client, options) =>
      keepAliveOnce(client, lease, options),
    );
    if (outcome.kind !== 'answered') return { kind: 'unanswered', cause: causeOf(outcome) };
    const { TTL } = outcome.value;
    const header = headerFrom(outcome.value.header);
    return TTL === '0' ? { kind: 'gone', header } : { kind: 'renewed', ttl: seconds(Number(TTL)), header };
  }

  async revoke(lease: LeaseId, limit: Millis): Promise<void> {
    await this.ask('revoke', { limit, stagger: STAGGER }, (client, options) =>
      client.leaseClient.leaseRevoke({ ID: lease }, options),
    );
  }

  watch(hint: (changes: readonly Change[] | null) => void): StopWatching {
    if (this.closed) return () => undefined;
    const stop = watchPrefix(
      { keys: this.keys, endpoints: () => this.inOrder(), onProgressRequest: () => this.counts.watchProgress++ },
      hint,
    );
    this.watches.add(stop);
    return () => {
      this.watches.delete(stop);
      stop();
    };
  }

  versions(limit: Millis): Promise<readonly StoreVersion[]> {
    return Promise.all(
      this.endpoints.map(async (endpoint) => {
        const status = await this.statusOf(endpoint, limit);
        return { endpoint: endpoint.place.url, version: status?.version ?? null };
      }),
    );
  }

  /** How many requests were sent since the start, each endpoint counted; for the bench. */
  requestCounts(): Readonly<RequestCounts> {
    return { ...this.counts };
  }

  close(): Promise<void> {
    this.closed = true;
    clearInterval(this.probing);
    for (const stop of this.watches) stop();
    this.watches.clear();
    for (const endpoint of this.endpoints) endpoint.close();
    return Promise.resolve();
  }

  private async ask<T>(
    kind: keyof RequestCounts,
    hedging: { readonly limit: Millis; readonly stagger: Millis | null },
    send: (client: Etcd3, options: CallOptions) => Promise<T>,
  ): Promise<Hedged<Endpoint, T>> {
    if (this.closed) return { kind: 'unanswered', cause: 'the connection to etcd was closed' };
    const outcome = await hedge(this.inOrder(), hedging, (endpoint, left) => {
      this.counts[kind]++;
      return endpoint.call(left, send);
    });
    if (outcome.kind === 'unanswered') this.unanswered(outcome.cause);
    else this.answered(outcome.by);
    return outcome;
  }

  private inOrder(): readonly Endpoint[] {
    const rank = (endpoint: Endpoint): number => (endpoint === this.preferred ? 0 : endpoint.failing ? 2 : 1);
    return this.endpoints.toSorted((a, b) => rank(a) - rank(b));
  }

  private answered(by: Endpoint): void {
    this.preferred = by;
    this.unansweredInARow = 0;
    const now = this.surroundings.clock.now();
    if (this.saidSilent) {
      this.saidSilent = false;
      this.surroundings.log.write('info', 'dcs.answered-again', 'etcd answers again', {
        endpoint: by.place.url,
        silentMs: Math.round(between(this.answeredAt, now)),
      });
    }
    this.answeredAt = now;
  }

  private unanswered(cause: string): void {
    if (this.closed || this.saidSilent || ++this.unansweredInARow < UNANSWERED_BEFORE_SAID) return;
    this.saidSilent = true;
    this.surroundings.log.write('warn', 'dcs.went-silent', 'etcd does not answer', {
      cause,
      endpoints: this.endpoints.map((endpoint) => endpoint.place.url),
      lastAnswerMsAgo: Math.round(between(this.answeredAt, this.surroundings.clock.now())),
    });
  }

  /** So that an endpoint nobody asks is known to be well or not, and one that healed is found before it is needed. */
  private async probe(): Promise<void> {
    if (this.probeUnderWay || this.closed) return;
    this.probeUnderWay = true;
    try {
      const certificates = await this.currentCertificates();
      const replaced = !sameCertificates(certificates, this.certificates);
      await Promise.all(
        this.endpoints.map(async (endpoint) => {
          this.counts.probe++;
          const status = await this.statusOf(endpoint, PROBE_LIMIT);
          // Alive, but without a leader: it can answer nothing that matters.
          if (status?.leader === '0') endpoint.failing = true;
          if (endpoint.failing) {
            const addresses = await addressesOf(endpoint.place);
            if (addresses !== null && !endpoint.knows(addresses)) endpoint.moveTo(addresses);
          }
          if (replaced) endpoint.useCertificates(certificates);
        }),
      );
      this.certificates = certificates;
    } finally {
      this.probeUnderWay = false;
    }
  }

  private async statusOf(endpoint: Endpoint, limit: Millis): Promise<IStatusResponse | null> {
    try {
      return await endpoint.call(limit, (client, options) => client.maintenance.status(options));
    } catch {
      return null; // it does not answer; `endpoint` has noted that
    }
  }

  private async currentCertificates(): Promise<Certificates | null> {
    try {
      return await within(readCertificates(this.config), PROBE_LIMIT, 'reading the certificates');
    } catch {
      return this.certificates; // half replaced, perhaps: the next look will tell
    }
  }
}

function causeOf(outcome: Exclude<Hedged<unknown, unknown>, { kind: 'answered' }>): string {
  return outcome.kind === 'refused' ? outcome.refusal.cause : outcome.cause;
}
