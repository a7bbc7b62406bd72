/**
 * Who sent a request, for the audit trail: what was verified of him, and what he says himself. And the requests that were
 * not let in: for the log alone, as otherwise strangers could push out of etcd what is kept there.
 */
import { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import type { RestApiConfig } from '../config/schema.ts';
import { type Asker, plainText } from '../core/audit.ts';
import type { EventLog } from '../ports/event-log.ts';

/** pgha-ctl says in it who runs it, and where. */
export const ASKED_BY = 'pgha-asked-by';

/** @param request - one that was let in: its login is the right one where one is asked for */
export function askerOf(restapi: RestApiConfig, request: FastifyRequest): Asker {
  const says = request.headers[ASKED_BY];
  return {
    address: plainText(request.ip),
    login: restapi.authentication === null ? null : plainText(restapi.authentication.username),
    certificate: commonName(request),
    says: typeof says === 'string' && says !== '' ? plainText(says).slice(0, 128) : null,
  };
}

function commonName(request: FastifyRequest): string | null {
  const { socket } = request.raw;
  if (!(socket instanceof TLSSocket) || !socket.authorized) return null;
  const name: unknown = socket.getPeerCertificate().subject?.CN;
  return typeof name === 'string' ? plainText(name) : null;
}

/** One line in so many milliseconds, however many knock. */
const TOLD_EVERY = 10_000;

export class DeniedRequests {
  readonly #log: EventLog;
  #toldAt = Number.NEGATIVE_INFINITY;
  #untold = 0;

  constructor(log: EventLog) {
    this.#log = log;
  }

  tell(request: FastifyRequest, why: string): void {
    const now = performance.now();
    if (now - this.#toldAt < TOLD_EVERY) {
      this.#untold += 1;
      return;
    }
    const others = this.#untold === 0 ? '' : `; so were ${this.#untold} others since the last such line`;
    this.#toldAt = now;
    this.#untold = 0;
    const what = plainText(`${request.method} ${request.url}`);
    this.#log.write('warn', 'request.denied', `${request.ip} was not let in for ${what}: ${why}${others}`, {
      from: request.ip,
    });
  }
}
