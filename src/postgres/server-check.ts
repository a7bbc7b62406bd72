/**
 * Asks another member's server from here whether it is there. With the replication login, which each member has to be
 * able to use on each other anyway, and as a replication connection: those have places of their own, so that a server
 * full of clients still answers. It says what was heard; what follows from it is decided elsewhere.
 */
import pg from 'pg';
import type { CheckType } from '../core/policy.ts';
import type { Millis } from '../core/time.ts';
import type { ServerAddress, ServerCheck } from '../ports/postgres.ts';
import { ALIVE, answerIn, pingAt, startupMessage } from './checks.ts';
import { askInRecovery } from './lineage.ts';
import type { Place } from './place.ts';
import { askRemote } from './remote.ts';

export class ServerChecks {
  readonly #place: Pick<Place, 'clock' | 'config'>;
  /** Servers that refuse a bare ping: each would be a line in their log, so they get a login in its place. */
  readonly #wantsLogin = new Set<string>();

  constructor(place: Pick<Place, 'clock' | 'config'>) {
    this.#place = place;
  }

  /** Never throws. */
  async check(of: ServerAddress, type: CheckType, limit: Millis): Promise<ServerCheck> {
    try {
      return type === 'ping' ? await this.#ping(of, limit) : await this.#login(of, type, limit);
    } catch (error) {
      return answerIn(error);
    }
  }

  async #ping(of: ServerAddress, limit: Millis): Promise<ServerCheck> {
    const { username, sslmode } = this.#place.config.postgresql.authentication.replication;
    const address = `${of.host}:${of.port}`;
    const insistsOnTls = sslmode === 'require' || sslmode === 'verify-ca' || sslmode === 'verify-full';
    if (insistsOnTls || this.#wantsLogin.has(address)) {
      const check = await this.#login(of, 'connection', limit);
      return check.kind === 'alive' ? { ...check, inRecovery: null } : check;
    }
    const greeting = startupMessage(username, 'replication');
    const check = await pingAt(this.#place, { host: of.host, port: of.port }, greeting, limit);
    if (check === 'no-socket') return { kind: 'refused', said: 'nobody listens' };
    if (check.kind === 'alive' && check.said !== null) this.#wantsLogin.add(address);
    return check;
  }

  /** Whoever refuses a login is there; only what it says of itself is then missing. */
  async #login(of: ServerAddress, type: 'connection' | 'query', limit: Millis): Promise<ServerCheck> {
    const login = this.#place.config.postgresql.authentication.replication;
    const target = { address: of, login, as: { replication: true } } as const;
    try {
      const inRecovery = await askRemote(this.#place, target, limit, async (query, reported) =>
        type === 'query' ? await askInRecovery(query) : inHotStandby(reported),
      );
      return { kind: 'alive', inRecovery, said: null };
    } catch (error) {
      const check = answerIn(error);
      return check.kind === 'refused' && error instanceof pg.DatabaseError ? { ...ALIVE, said: check.said } : check;
    }
  }
}

/** Told with the login, from version 14 on. */
function inHotStandby(reported: ReadonlyMap<string, string>): boolean | null {
  const value = reported.get('in_hot_standby');
  return value === undefined ? null : value === 'on';
}
