/**
 * The REST API: load balancers' health checks, people's and pgha-ctl's requests, and what members ask of each other.
 * Builds the routes and owns the listening socket and its certificates. Every path answers: an unknown one is a failed
 * health check when it is read, 501 when it is written to.
 */
import { readFile } from 'node:fs/promises';
import { Server as TlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions, TlsOptions } from 'node:tls';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Control } from '../agent/published.ts';
import { readInTime } from '../config/files.ts';
import type { Config, RestApiConfig } from '../config/schema.ts';
import { type Millis, millis } from '../core/time.ts';
import type { EventLog } from '../ports/event-log.ts';
import { denial, mayRead, sendDenial } from './access.ts';
import { type AgentCheck, startAgentCheck } from './agent-check.ts';
import { Allowlist } from './allowlist.ts';
import { errorPage, sendJson, sendPage, sendSentence } from './answers.ts';
import { DeniedRequests } from './audit.ts';
import { checkConfigRoutes } from './check-config.ts';
import { clusterRoutes } from './cluster.ts';
import { controlRoutes } from './control.ts';
import { foreignTo } from './cross-site.ts';
import { explainRoutes } from './explain.ts';
import { isLive, isReady, lookAt, type NodeHealth, passes } from './health.ts';
import { basic, Logins } from './logins.ts';
import { metricsRoutes } from './metrics.ts';
import { rescueRoutes } from './rescue.ts';
import { StatusDocument } from './status-document.ts';
import { readTarget } from './target.ts';
import { pageRoutes } from './ui/routes.ts';

export interface HttpOptions {
  readonly config: Config;
  readonly control: Control;
  readonly log: EventLog;
  /** pgha's own. */
  readonly version: string;
}

export interface HttpServer {
  /** Where it really listens; the port is the one the system chose when 0 was asked for. */
  readonly address: { readonly host: string; readonly port: number };
  /** Certificates from their files anew: for connections from now on. */
  reloadCertificates(): Promise<void>;
  /** After a reload of the file: tags, credentials and certificates. A changed `listen` needs a new start. */
  useConfig(config: Config): Promise<void>;
  /** Ends within two seconds, whatever its connections do. */
  close(): Promise<void>;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type Route = (request: FastifyRequest, reply: FastifyReply) => FastifyReply | Promise<FastifyReply>;

/** What the routes work with. */
export interface HttpParts {
  readonly config: () => Config;
  readonly control: Control;
  readonly log: EventLog;
  readonly status: StatusDocument;
  readonly look: () => NodeHealth;
  /** Patroni looks at the first segment only: `/cluster/anything` is `/cluster`. */
  readonly segment: (app: FastifyInstance, method: Method, segment: string, route: Route) => void;
  /** Lets a request that changes something pass, or answers it with 401 or 403; see {@link Allowlist.admits}. */
  readonly admits: (request: FastifyRequest, reply: FastifyReply, always?: 'members' | 'everybody') => Promise<boolean>;
}

/** Larger than any configuration; Patroni's requests are a few hundred bytes. */
const BODY_LIMIT = 1024 * 1024;
const CLOSE_LIMIT = millis(2_000);
/** A guard that stands in for the last daemon gives the port back within milliseconds. */
const LISTEN_LIMIT = millis(5_000);
const LISTEN_PAUSE = millis(20);

export async function startHttp(options: HttpOptions): Promise<HttpServer> {
  let config = options.config;
  const { listen } = config.restapi;
  const tls = await readTls(config.restapi);
  const allowlist = new Allowlist();
  const useAllowlist = async (): Promise<void> => {
    const unknown = await allowlist.use(config.restapi);
    if (unknown.length > 0)
      options.log.write(
        'warn',
        'config.adjusted',
        `restapi.allowlist: ${unknown.join(', ')} cannot be looked up, and nobody is let in for it until the file is read again`,
      );
  };
  await useAllowlist();
  const logins = new Logins();
  const checkOwnLogin = async (): Promise<void> => {
    const { authentication } = config.restapi;
    if (authentication === null || config.ctl.authentication === null) return;
    // What the other members send as well: it is known before anybody asks, however many guess.
    if ((await logins.check(authentication, basic(config.ctl.authentication))) === 'wrong')
      options.log.write(
        'warn',
        'config.adjusted',
        'ctl.authentication is not the login that restapi.authentication lets in: a member configured like this one is refused here',
      );
  };
  const app = buildHttp({ ...options, config: () => config, tls, allowlist, logins });
  await listenWhenFree(app, listen.host, listen.port);
  const bound = app.server.address() as AddressInfo;
  await checkOwnLogin();
  const agentCheck: AgentCheck | null =
    config.restapi.agentCheck === undefined
      ? null
      : startAgentCheck(config.restapi.agentCheck, () => lookAt(options.control, config.tags), options.log);

  const reloadCertificates = async (): Promise<void> => {
    const { server } = app;
    if (!(server instanceof TlsServer)) return;
    const fresh = await readTls(config.restapi);
    if (fresh !== null) server.setSecureContext(fresh);
  };
  return {
    address: { host: bound.address, port: bound.port },
    reloadCertificates,
    useConfig: async (next) => {
      config = next;
      await Promise.all([reloadCertificates(), useAllowlist(), checkOwnLogin()]);
    },
    close: () => {
      agentCheck?.close();
      return within(app.close(), CLOSE_LIMIT);
    },
  };
}

/** The API without a socket: for `startHttp`, and for tests that `inject`. */
export function buildHttp(options: {
  readonly config: () => Config;
  readonly control: Control;
  readonly log: EventLog;
  readonly version: string;
  readonly tls: TlsOptions | null;
  readonly allowlist?: Allowlist;
  readonly logins?: Logins;
}): FastifyInstance {
  const { config, control, log, allowlist = new Allowlist() } = options;
  // HAProxy sends `OPTIONS / HTTP/1.0` and nothing else; others leave out Host with HTTP/1.1.
  const transport = { requireHostHeader: false, keepAlive: true };
  const app = Fastify({
    ...(options.tls === null ? { http: transport } : { https: { ...transport, ...options.tls } }),
    logger: false,
    bodyLimit: BODY_LIMIT,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    routerOptions: { ignoreDuplicateSlashes: true, querystringParser: () => ({}) },
    // A path that cannot be decoded is one more path that nobody knows.
    frameworkErrors: (_error: Error, request: FastifyRequest, reply: FastifyReply) => unknownPath(request, reply),
    clientErrorHandler: (error: NodeJS.ErrnoException, socket: import('node:net').Socket) => {
      if (!socket.writable) return;
      const status = error.code === 'HPE_INVALID_METHOD' ? 501 : 400;
      const page = errorPage(status, status === 501 ? NOT_SUPPORTED : 'The request was not understood.');
      socket.end(
        `HTTP/1.1 ${status} \r\nContent-Type: text/html;charset=utf-8\r\nConnection: close\r\n` +
          `Content-Length: ${Buffer.byteLength(page)}\r\n\r\n${page}`,
      );
    },
  }) as unknown as FastifyInstance;

  const status = new StatusDocument(options.version);
  const look = (): NodeHealth => lookAt(control, config().tags);
  const denied = new DeniedRequests(log);
  const { logins = new Logins() } = options;
  const admits: HttpParts['admits'] = async (request, reply, always) => {
    const members = control.published().cluster?.members ?? [];
    const hosts = members.map(({ apiUrl }) => hostOf(apiUrl)).filter((host) => host !== '');
    if (!(await allowlist.admits(request.raw.socket.remoteAddress, hosts, always))) {
      sendSentence(reply, 403, 'Access is denied');
      denied.tell(request, 'its address may not');
      return false;
    }
    const foreign = foreignTo(config().restapi, request);
    if (foreign !== null) {
      sendSentence(reply, 403, foreign);
      denied.tell(request, foreign);
      return false;
    }
    const against = await denial(config().restapi, request, logins);
    if (against !== null) {
      sendDenial(reply, against);
      denied.tell(request, against.sentence);
    }
    return against === null;
  };
  const parts: HttpParts = { config, control, log, status, look, segment, admits };

  // Patroni reads JSON whatever the content type says, and accepts none at all, or one that is none.
  app.addHook('onRequest', (request, _reply, done) => {
    delete request.raw.headers['content-type'];
    done();
  });
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers(config().restapi.extraHeaders ?? {});
    const route = request.routeOptions.url ?? '*';
    // A health check stays open to those who look only for its code.
    const against = request.method === 'GET' && !OPEN.test(route) ? mayRead(config().restapi, request, logins) : null;
    if (against === null) done();
    else
      Promise.resolve(against).then((found) => {
        if (found === null) done();
        else sendDenial(reply, found);
      }, done);
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body));
  app.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    const code = error.statusCode ?? 500;
    if (code >= 500) {
      log.write('warn', 'request.received', `${request.method} ${request.url} could not be answered.`, { error });
    }
    return sendPage(reply, code, error.message);
  });

  function health(request: FastifyRequest, reply: FastifyReply): FastifyReply | Promise<FastifyReply> {
    const answer = (tell: boolean): FastifyReply => {
      const node = look();
      const code = passes(readTarget(request.raw.url ?? '/'), node) ? 200 : 503;
      return tell ? sendJson(reply, code, status.render(node, config())) : reply.code(code).send();
    };
    // HEAD and OPTIONS ask for the code alone.
    if (request.method !== 'GET') return answer(false);
    const against = mayRead(config().restapi, request, logins);
    return against instanceof Promise ? against.then((found) => answer(found === null)) : answer(against === null);
  }
  function unknownPath(request: FastifyRequest, reply: FastifyReply): FastifyReply | Promise<FastifyReply> {
    return ['GET', 'HEAD', 'OPTIONS'].includes(request.method)
      ? health(request, reply)
      : sendPage(reply, 501, NOT_SUPPORTED);
  }

  app.route({ method: ['GET', 'HEAD', 'OPTIONS'], url: '*', handler: health });
  segment(app, 'GET', 'liveness', (_request, reply) => reply.code(isLive(look()) ? 200 : 503).send());
  segment(app, 'GET', 'readiness', (request, reply) =>
    reply.code(isReady(readTarget(request.raw.url ?? '/'), look()) ? 200 : 503).send(),
  );
  clusterRoutes(app, parts);
  metricsRoutes(app, parts);
  controlRoutes(app, parts);
  explainRoutes(app, parts);
  rescueRoutes(app, parts);
  checkConfigRoutes(app, parts);
  pageRoutes(app, parts, options.version);
  app.setNotFoundHandler(unknownPath);
  return app;
}

/** Health checks, by their route; the two that are for members ask by themselves. */
const OPEN = /^(\*|\/(liveness|readiness|pgha\/wal)(\/\*)?)$/;

function hostOf(url: string | null): string {
  try {
    return url === null ? '' : new URL(url).hostname;
  } catch {
    return '';
  }
}

/** patronictl looks for exactly this sentence. */
const NOT_SUPPORTED = 'Server does not support this operation';

function segment(app: FastifyInstance, method: Method, name: string, handler: Route): void {
  app.route({ method, url: `/${name}`, handler });
  app.route({ method, url: `/${name}/*`, handler });
}

async function readTls(restapi: RestApiConfig): Promise<(TlsOptions & SecureContextOptions) | null> {
  const { tls } = restapi;
  if (tls === null) return null;
  const [cert, key, ca] = await readInTime(
    Promise.all([
      readFile(tls.certfile),
      readFile(tls.keyfile ?? tls.certfile),
      tls.cafile === null ? null : readFile(tls.cafile),
    ]),
  );
  return {
    cert,
    key,
    ...(ca === null ? {} : { ca }),
    ...(tls.keyfilePassword === null ? {} : { passphrase: tls.keyfilePassword }),
    ...(tls.ciphers === undefined ? {} : { ciphers: tls.ciphers }),
    requestCert: tls.verifyClient !== 'none',
    // With `optional` the handshake lets everybody in, and protected endpoints look at the certificate (access.ts).
    rejectUnauthorized: tls.verifyClient === 'required',
  };
}

async function listenWhenFree(app: FastifyInstance, host: string, port: number): Promise<void> {
  const giveUp = performance.now() + LISTEN_LIMIT;
  let at = host === '*' ? '::' : host;
  for (;;) {
    try {
      await app.listen({ host: at, port });
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (host === '*' && at === '::' && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL')) {
        // A machine without IPv6.
        at = '0.0.0.0';
        continue;
      }
      if (code !== 'EADDRINUSE' || performance.now() > giveUp) throw error;
      await new Promise((resolve) => setTimeout(resolve, LISTEN_PAUSE));
    }
  }
}

function within(work: PromiseLike<unknown>, limit: Millis): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, limit);
    Promise.resolve(work)
      .then(() => resolve(), reject)
      .finally(() => clearTimeout(timer));
  });
}
