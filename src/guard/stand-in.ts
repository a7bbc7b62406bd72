/**
 * Answers 503 on the daemon's health port while there is no daemon, whatever is asked, so that a load balancer hears
 * "not the leader" at once instead of waiting for a refused connection to count. It gives the port back when a daemon
 * says hello. It never says anything else than 503.
 */
import { readFile } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { HealthOptions } from './wire.ts';

const RETRY_MS = 50;
/** A port that stays taken for so many tries is held by a daemon that hangs, or by somebody else. */
const QUICK_TRIES = 100;
const SLOW_RETRY_MS = 500;
const BODY = JSON.stringify({
  state: 'no daemon',
  role: 'unknown',
  message: 'The pgha daemon of this node is not running; its guard answers in its place.',
});
const RAW_ANSWER =
  'HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n' +
  `Content-Length: ${BODY.length}\r\n\r\n${BODY}`;

export class StandIn {
  private server: Server | null = null;
  private readonly sockets = new Set<Socket>();
  private retry: NodeJS.Timeout | null = null;
  /** Grows with every begin and end: what was started before a change notices that it is no longer wanted. */
  private epoch = 0;
  private tries = 0;
  private readonly log: (sentence: string) => void;
  private said = '';

  constructor(log: (sentence: string) => void) {
    this.log = log;
  }

  /** Binds as soon as the port is free: the daemon's own socket may live a moment longer than its process. */
  begin(health: HealthOptions, afterMs: number): void {
    this.cancel();
    const epoch = this.epoch;
    this.tries = 0;
    this.retry = setTimeout(() => void this.bind(health, epoch), afterMs);
  }

  /** Resolves when the port is free again. */
  async end(): Promise<void> {
    this.cancel();
    const server = this.server;
    this.server = null;
    if (server === null) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of this.sockets) socket.destroy();
    this.sockets.clear();
    await closed;
    this.log('gave the health port back');
  }

  private cancel(): void {
    this.epoch++;
    if (this.retry !== null) clearTimeout(this.retry);
    this.retry = null;
  }

  private async bind(health: HealthOptions, epoch: number): Promise<void> {
    let server: Server;
    try {
      server = await this.create(health);
    } catch (error) {
      this.again(health, epoch, `no stand-in on the health port, its certificate: ${String(error)}`);
      return;
    }
    if (epoch !== this.epoch) return;
    server.on('connection', (socket: Socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('error', () => socket.destroy());
    });
    // Broken HTTP, methods that Node does not know, a garbled TLS handshake: 503 where it can still be said.
    server.on('clientError', (_error, socket) => {
      if (socket.writable) socket.end(RAW_ANSWER);
      else socket.destroy();
    });
    server.on('error', (error) => {
      if (this.server === server) this.server = null;
      this.again(health, epoch, (error as NodeJS.ErrnoException).code === 'EADDRINUSE' ? null : String(error));
    });
    server.maxConnections = 256;
    this.server = server;
    server.listen({ host: health.host, port: health.port }, () => {
      this.said = '';
      // Ended between the call and the bind.
      if (this.server !== server) server.close();
      else this.log(`answers 503 on ${health.host}:${health.port}`);
    });
  }

  private again(health: HealthOptions, epoch: number, trouble: string | null): void {
    if (trouble !== null && trouble !== this.said) {
      this.said = trouble;
      this.log(trouble);
    }
    if (epoch !== this.epoch) return;
    const quick = trouble === null && ++this.tries < QUICK_TRIES;
    this.retry = setTimeout(() => void this.bind(health, epoch), quick ? RETRY_MS : SLOW_RETRY_MS);
  }

  private async create(health: HealthOptions): Promise<Server> {
    const limits = { requireHostHeader: false, headersTimeout: 3_000, requestTimeout: 3_000, keepAlive: false };
    if (health.tls === null) return createServer(limits, (_request, response) => answer(response));
    const cert = await readFile(health.tls.certfile);
    // A PEM file may hold certificate and key together.
    const key = health.tls.keyfile === null ? cert : await readFile(health.tls.keyfile);
    const passphrase = health.tls.keyfilePassword === null ? {} : { passphrase: health.tls.keyfilePassword };
    return createTlsServer({ ...limits, cert, key, ...passphrase }, (_request, response) => answer(response));
  }
}

function answer(response: ServerResponse): void {
  response.writeHead(503, {
    'Content-Type': 'application/json',
    'Content-Length': BODY.length,
    'Cache-Control': 'no-cache',
    Connection: 'close',
  });
  response.end(BODY);
}
