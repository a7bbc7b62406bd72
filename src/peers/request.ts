/**
 * One bounded HTTP request: for members among each other and for pgha-ctl. An answer that does not come whole and in
 * time is an exception; nothing is repeated but a read whose kept connection turned out to be dead.
 */
import http from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import type { Millis } from '../core/time.ts';
import { Names } from './names.ts';

export interface Login {
  readonly username: string;
  readonly password: string;
}

export interface Trust {
  readonly ca: Buffer | null;
  readonly cert: Buffer | null;
  readonly key: Buffer | null;
  /** Of the key; null: it has none. */
  readonly passphrase?: string | null;
  /** Accept any certificate. */
  readonly insecure: boolean;
}

export interface HttpRequest {
  readonly method: string;
  readonly url: string;
  /** For the whole exchange, connecting included. */
  readonly limit: Millis;
  /** A larger answer is refused while it comes in. */
  readonly mostBytes: number;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Asking twice does no more than asking once. Reads always are. */
  readonly repeatable?: true;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Keeps a few connections to each member open. */
export class HttpClient {
  readonly #login: Login | null;
  readonly #plain: http.Agent;
  readonly #secure: https.Agent;
  readonly #names = new Names();

  constructor(login: Login | null, trust: Trust) {
    const pool = { keepAlive: true, maxSockets: 4, maxFreeSockets: 2, scheduling: 'lifo' as const };
    this.#login = login;
    this.#plain = new http.Agent(pool);
    this.#secure = new https.Agent({
      ...pool,
      ...(trust.ca === null ? {} : { ca: trust.ca }),
      ...(trust.cert === null ? {} : { cert: trust.cert, key: trust.key ?? trust.cert }),
      ...(trust.passphrase == null ? {} : { passphrase: trust.passphrase }),
      // Members go by addresses that certificates seldom name; what counts is that the cluster's own authority signed.
      // Without an authority to check against, members are not verified, as with Patroni.
      rejectUnauthorized: trust.ca !== null && !trust.insecure,
      checkServerIdentity: () => undefined,
    });
  }

  /** @throws when there is no whole answer within the limit */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    const until = performance.now() + request.limit;
    try {
      return await this.#exchange(request, request.limit);
    } catch (error) {
      const left = until - performance.now();
      // The other end may close a kept connection in the very moment we use it: that says nothing about the member.
      const mayRepeat = request.method === 'GET' || request.repeatable === true;
      if (!mayRepeat || !(error instanceof StaleConnection) || left < 1) throw error;
      return await this.#exchange(request, left as Millis);
    }
  }

  close(): void {
    this.#plain.destroy();
    this.#secure.destroy();
  }

  #exchange(request: HttpRequest, limit: Millis): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      const url = new URL(request.url);
      const secure = url.protocol === 'https:';
      const outgoing = (secure ? https : http).request(url, {
        method: request.method,
        agent: secure ? this.#secure : this.#plain,
        lookup: this.#names.lookup as LookupFunction,
        headers: {
          ...request.headers,
          ...(this.#login === null
            ? {}
            : {
                authorization: `Basic ${Buffer.from(`${this.#login.username}:${this.#login.password}`).toString('base64')}`,
              }),
          ...(request.body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(request.body) }),
        },
        ...(secure && isIP(url.hostname.replace(/^\[|\]$/g, '')) === 0 ? { servername: url.hostname } : {}),
      });
      const timer = setTimeout(() => {
        outgoing.destroy(new Error(`no answer within ${Math.round(request.limit)} ms`));
      }, limit);
      const fail = (error: Error): void => {
        clearTimeout(timer);
        const closed = ['ECONNRESET', 'EPIPE'].includes((error as NodeJS.ErrnoException).code ?? '');
        reject(outgoing.reusedSocket && closed ? new StaleConnection(error.message, { cause: error }) : error);
      };
      outgoing.on('error', fail);
      outgoing.on('response', (incoming) => {
        const parts: Buffer[] = [];
        let size = 0;
        incoming.on('data', (part: Buffer) => {
          size += part.length;
          if (size > request.mostBytes)
            outgoing.destroy(new Error(`the answer is larger than ${request.mostBytes} bytes`));
          else parts.push(part);
        });
        incoming.on('error', fail);
        incoming.on('end', () => {
          clearTimeout(timer);
          if (!incoming.complete) return reject(new Error('the answer broke off'));
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.concat(parts) });
        });
      });
      outgoing.end(request.body);
    });
  }
}

class StaleConnection extends Error {
  override readonly name = 'StaleConnection';
}
