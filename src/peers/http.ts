/**
 * The adapter behind ports/peers: asks other members over their REST API, those of pgha and those of Patroni. A member
 * that does not answer, answers too late or says something that cannot be read is silent, with the cause.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { CtlConfig, RestApiConfig } from '../config/schema.ts';
import type { FailsafeAnswer, FailsafeRequest } from '../core/failsafe.ts';
import { systemId } from '../core/local.ts';
import { type Lsn, lsn, parseLsn, printLsn, type Timeline, timeline } from '../core/lsn.ts';
import type { PeerAnswer, PeerStatus, RescueAnswer, RescueRequest } from '../core/peer.ts';
import { fromFailoverPriority } from '../core/policy.ts';
import { nodeName, revision } from '../core/store.ts';
import { type Millis, millis } from '../core/time.ts';
import type { Clock } from '../ports/clock.ts';
import type { PeerAddress, Peers } from '../ports/peers.ts';
import type { WalChunk } from '../ports/postgres.ts';
import { HttpClient, type Trust } from './request.ts';

/** A status is a few kilobytes; a thousand walsenders still fit. */
const MOST_JSON_BYTES = 1024 * 1024;

type Json = Readonly<Record<string, unknown>>;

export interface PeersOptions {
  readonly ctl: CtlConfig;
  readonly restapi: RestApiConfig;
  readonly clock: Clock;
  readonly own: OwnAddresses;
}

/** What a member of Patroni wants to know of a leader that asks it to wait. */
export interface OwnAddresses {
  readonly apiUrl: string | null;
  readonly connUrl: string | null;
}

/** Reads the certificates; throws when a configured file cannot be read. */
export async function openPeers(options: PeersOptions): Promise<HttpPeers> {
  const { ctl, restapi, clock, own } = options;
  const trust = await readTrust({ ...ctl, cacert: ctl.cacert ?? restapi.tls?.cafile ?? null });
  return new HttpPeers(new HttpClient(ctl.authentication ?? restapi.authentication, trust), clock, own);
}

export async function readTrust(files: Omit<CtlConfig, 'authentication'>): Promise<Trust> {
  const read = (path: string | null): Promise<Buffer> | null => (path === null ? null : readFile(path));
  const [ca, cert, key] = await Promise.all([read(files.cacert), read(files.certfile), read(files.keyfile)]);
  return { ca, cert, key, passphrase: files.keyfilePassword ?? null, insecure: files.insecure };
}

export class HttpPeers implements Peers {
  readonly #http: HttpClient;
  readonly #clock: Clock;
  readonly #own: OwnAddresses;

  constructor(client: HttpClient, clock: Clock, own: OwnAddresses = { apiUrl: null, connUrl: null }) {
    this.#http = client;
    this.#clock = clock;
    this.#own = own;
  }

  async ask(peer: PeerAddress, limit: Millis): Promise<PeerAnswer> {
    try {
      const answer = await this.#http.send({
        method: 'GET',
        url: peer.apiUrl,
        limit,
        mostBytes: MOST_JSON_BYTES,
      });
      // The status is not looked at, as among Patroni's members: what counts is what the member says of itself.
      const status = readPeerStatus(peer.name, answer.body.toString('utf8'));
      const at = this.#clock.now();
      return typeof status === 'string'
        ? { kind: 'silent', at, cause: status }
        : { kind: 'answered', at, heardAt: at, status };
    } catch (error) {
      return { kind: 'silent', at: this.#clock.now(), cause: sentence(error) };
    }
  }

  async rescue(candidate: PeerAddress, request: RescueRequest, limit: Millis): Promise<RescueAnswer> {
    try {
      const answer = await this.#http.send({
        method: 'POST',
        url: beside(candidate.apiUrl, '/pgha/rescue'),
        limit,
        mostBytes: MOST_JSON_BYTES,
        body: JSON.stringify({
          leader: request.leader,
          term: request.term.toString(),
          system_id: request.systemId,
          timeline: request.timeline,
          end: printLsn(request.end),
          limit_ms: request.limit === null ? null : Math.round(request.limit),
        }),
      });
      return readRescueAnswer(answer.status, answer.body.toString('utf8'));
    } catch (error) {
      return { kind: 'refused', reason: sentence(error) };
    }
  }

  async confirm(member: PeerAddress, request: FailsafeRequest, limit: Millis): Promise<FailsafeAnswer> {
    const { name, to, term, hold, slots } = request;
    try {
      const answer = await this.#http.send({
        method: 'POST',
        url: beside(member.apiUrl, '/failsafe'),
        limit,
        mostBytes: MOST_JSON_BYTES,
        // Asked twice it has the same effect: the later confirmation counts.
        repeatable: true,
        body: JSON.stringify({
          name,
          conn_url: this.#own.connUrl,
          api_url: this.#own.apiUrl,
          ...(slots.size === 0
            ? {}
            : { slots: Object.fromEntries([...slots].map(([slot, at]) => [slot, Number(at)])) }),
          pgha: { to, term: term === null ? null : term.toString(), hold_ms: hold },
        }),
      });
      const said = answer.body.toString('utf8');
      // Patroni's answer: the code and exactly this word.
      if (answer.status !== 200 || said !== 'Accepted') return { kind: 'refused', why: refusal(answer.status, said) };
      const at = answer.headers['lsn'];
      return { kind: 'confirmed', position: typeof at === 'string' && /^\d+$/.test(at) ? lsn(BigInt(at)) : null };
    } catch (error) {
      return { kind: 'refused', why: sentence(error) };
    }
  }

  async fetchWal(leader: PeerAddress, tl: Timeline, from: Lsn, to: Lsn, limit: Millis): Promise<WalChunk | null> {
    const length = Number(to - from);
    try {
      const answer = await this.#http.send({
        method: 'GET',
        url: beside(leader.apiUrl, `/pgha/wal?timeline=${tl}&from=${printLsn(from)}&to=${printLsn(to)}`),
        limit,
        mostBytes: Math.max(length, MOST_JSON_BYTES),
      });
      if (answer.status !== 200 || answer.body.length !== length) return null;
      if (answer.headers['pgha-wal-start'] !== printLsn(from)) return null;
      const digest = createHash('sha256').update(answer.body).digest('hex');
      return answer.headers['pgha-sha256'] === digest ? { start: from, bytes: answer.body } : null;
    } catch {
      return null;
    }
  }

  close(): void {
    this.#http.close();
  }
}

/** Another path at the server that `apiUrl` names. */
export function beside(apiUrl: string, path: string): string {
  return new URL(path, apiUrl).href;
}

/** What a member says of itself in `GET /patroni`; a text tells why it cannot be used. */
export function readPeerStatus(name: string, text: string): PeerStatus | string {
  const said = readObject(text);
  if (said === null) return 'the answer is not a JSON object';
  const patroni = said['patroni'];
  // An address that was given to another member since must not make that member count twice.
  if (isObject(patroni) && typeof patroni['name'] === 'string' && patroni['name'] !== name) {
    return `${patroni['name']} answers at the address of ${name}`;
  }
  const state = typeof said['state'] === 'string' ? said['state'] : 'unknown';
  const own = said['pgha'];
  return isObject(own) ? pghaStatus(name, state, said, own) : patroniStatus(name, state, said);
}

function pghaStatus(name: string, state: string, said: Json, own: Json): PeerStatus | string {
  if (own['stale'] === true) return `its own view is ${String(own['age_ms'])} ms old: its cycle hangs`;
  return {
    name: nodeName(name),
    state,
    inRecovery: own['in_recovery'] === true,
    timeline: readTimeline(own['timeline']),
    position: readPosition(own['position']),
    replayed: readPosition(own['replayed']),
    positionFinal: own['position_final'] === true,
    outdated: isObject(own['failing']) && own['failing']['outdated'] === true,
    noFailover: own['nofailover'] === true || isTrue(tagsOf(said)['nofailover']),
    priority: whole(own['priority']) ?? 100,
    nodeId: whole(own['node_id']),
    location: typeof own['location'] === 'string' ? own['location'] : 'default',
    systemId: readSystemId(own['system_id']),
    knownCluster: readSystemId(own['known_cluster']),
    writable: own['writable'] === true,
    sawPrimary: milliseconds(own['saw_primary_ms']),
    sawPrimaryOf: typeof own['saw_primary_of'] === 'string' ? nodeName(own['saw_primary_of']) : null,
    receiving: own['receiving'] === true,
    mayReceive: mayReceive(said, own),
    witness: own['role'] === 'witness',
    validates: own['validates'] === true,
    validating: own['validating'] === true,
    vetoedFor: milliseconds(own['vetoed_for_ms']),
    gateLeft: milliseconds(own['gate_ms']),
    lostGateLeft: milliseconds(own['lost_gate_ms']),
    etcdRead: readEtcdRead(own),
    ailing: kindsOf(own['sick']),
    ailedAgo: milliseconds(own['ailed_ago_ms']),
    freeBytes: bytes(own['free_bytes']),
    pgha: true,
  };
}

function readEtcdRead(own: Json): PeerStatus['etcdRead'] {
  const ago = milliseconds(own['cluster_age_ms']);
  const unbrokenFor = milliseconds(own['etcd_unbroken_ms']);
  const { etcd_cluster_id: clusterId, etcd_revision: at } = own;
  if (ago === null || unbrokenFor === null || typeof clusterId !== 'string') return null;
  return typeof at === 'string' && /^\d{1,19}$/.test(at)
    ? { ago, unbrokenFor, clusterId, revision: revision(at) }
    : null;
}

/** `upstream` names whom it receives from, or would. Before 13 a standby keeps that until it is restarted. */
function mayReceive(said: Json, own: Json): boolean | null {
  if (own['in_recovery'] !== true) return false;
  if ((whole(said['server_version']) ?? 0) < 130_000) return null;
  return own['receiving'] === true || typeof own['upstream'] === 'string';
}

function kindsOf(sick: unknown): readonly string[] {
  if (!Array.isArray(sick)) return [];
  return sick.flatMap((one: unknown) => (isObject(one) && typeof one['kind'] === 'string' ? [one['kind']] : []));
}

function patroniStatus(name: string, state: string, said: Json): PeerStatus | string {
  // `wal` is what later versions may call it. Without either, Patroni's own race counts the member as unreachable.
  const wal = isObject(said['xlog']) ? said['xlog'] : isObject(said['wal']) ? said['wal'] : null;
  if (wal === null) return `its Postgres is ${state} and tells no position`;
  const location = bytes(wal['location']);
  const received = bytes(wal['received_location']);
  const replayed = bytes(wal['replayed_location']);
  const primary = (location ?? 0n) > 0n || said['role'] === 'primary' || said['role'] === 'master';
  const tags = tagsOf(said);
  // One setting under two names: Patroni's default of 1 is our 100.
  const priority = whole(tags['failover_priority']);
  return {
    name: nodeName(name),
    state,
    inRecovery: !primary,
    timeline: readTimeline(said['timeline']),
    position: primary ? location : later(received, replayed),
    replayed,
    positionFinal: true,
    outdated: false,
    noFailover: isTrue(tags['nofailover']) || (priority !== null && priority <= 0) || said['watchdog_failed'] === true,
    priority: fromFailoverPriority(priority ?? 1),
    nodeId: null,
    location: 'default',
    systemId: readSystemId(said['database_system_identifier']),
    knownCluster: null,
    writable: primary,
    sawPrimary: null,
    sawPrimaryOf: null,
    receiving: false,
    mayReceive: null,
    witness: false,
    validates: false,
    validating: false,
    vetoedFor: null,
    gateLeft: null,
    lostGateLeft: null,
    etcdRead: null,
    ailing: [],
    ailedAgo: null,
    freeBytes: null,
    pgha: false,
  };
}

function readRescueAnswer(status: number, text: string): RescueAnswer {
  const said = readObject(text);
  const replayed = said?.['kind'] === 'delivered' ? readPosition(said['replayed']) : null;
  if (replayed !== null) return { kind: 'delivered', replayed };
  const reason = said?.['reason'];
  return { kind: 'refused', reason: typeof reason === 'string' ? reason : `HTTP status ${status}` };
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const whole = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) ? value : null;
const milliseconds = (value: unknown): Millis | null => {
  const length = whole(value);
  return length === null || length < 0 ? null : millis(length);
};
const isTrue = (value: unknown): boolean => value === true || value === 'true';
const tagsOf = (said: Json): Json => (isObject(said['tags']) ? said['tags'] : {});
const later = (a: Lsn | null, b: Lsn | null): Lsn | null => (a === null || (b !== null && b > a) ? b : a);

function readObject(text: string): Json | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function readTimeline(value: unknown): Timeline | null {
  const id = whole(value);
  return id === null || id < 1 ? null : timeline(id);
}

function readSystemId(value: unknown): PeerStatus['systemId'] {
  return typeof value === 'string' && /^\d+$/.test(value) ? systemId(value) : null;
}

/** Patroni's positions: bytes as a number. */
function bytes(value: unknown): Lsn | null {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? lsn(BigInt(Math.trunc(value))) : null;
}

function readPosition(value: unknown): Lsn | null {
  try {
    return typeof value === 'string' ? parseLsn(value) : null;
  } catch {
    return null;
  }
}

/** The sentence of a refusal, out of the page that it may stand in. */
function refusal(status: number, body: string): string {
  const text = (/<p>(.*?)<\/p>/s.exec(body)?.[1] ?? body).trim();
  return text === '' ? `HTTP status ${status}` : text.slice(0, 200);
}

const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error));
