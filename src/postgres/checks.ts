/**
 * The ways to ask a server whether it is there, and what its answers mean. What counts as an answer is libpq's rule
 * (PQping): any reply means that the server is alive; 57P03 means that it does not take connections now. Whether a
 * failed check is a failure of the server is the decision's matter.
 */
import { connect, type Socket } from 'node:net';
import { type Millis, millis } from '../core/time.ts';
import type { ServerCheck } from '../ports/postgres.ts';
import { Connection, type Endpoint, socketPath } from './connection.ts';
import type { Place } from './place.ts';
import { silence, TimeLimitError } from './time-limit.ts';

export const ALIVE: ServerCheck = { kind: 'alive', inRecovery: null, said: null };

/** cannot_connect_now: Appendix A of the Postgres docs. */
const CANNOT_CONNECT_NOW = '57P03';
const TOO_MANY_CONNECTIONS = '53300';

/** A server that still writes the rest of its greeting has so long to hear that we leave. */
const GOODBYE: Millis = millis(500);

/** A server that serves. One without room for another connection does: a failover would make room for nobody. */
export function isSignOfLife(check: ServerCheck): check is Extract<ServerCheck, { kind: 'alive' | 'full' }> {
  return check.kind === 'alive' || check.kind === 'full';
}

/** The local server, over its unix socket; over TCP where there is none. */
export async function ping(place: Place, endpoint: Endpoint, limit: Millis): Promise<ServerCheck> {
  const path = socketPath(endpoint);
  const started = place.clock.now();
  const greeting = startupMessage(place.config.postgresql.authentication.superuser.username, 'postgres');
  if (path !== null) {
    const answer = await pingAt(place, { path }, greeting, limit);
    if (answer !== 'no-socket') return answer;
  }
  const left = millis(Math.max(1, limit - (place.clock.now() - started)));
  const answer = await pingAt(place, { host: endpoint.tcpHost, port: endpoint.port }, greeting, left);
  return answer === 'no-socket' ? { kind: 'refused', said: 'nobody listens' } : answer;
}

/** First bytes of the conversation, as libpq sends them; the server's first reply is all that is wanted. */
export function pingAt(
  place: Pick<Place, 'clock'>,
  at: { readonly path: string } | { readonly host: string; readonly port: number },
  greeting: Buffer,
  limit: Millis,
): Promise<ServerCheck | 'no-socket'> {
  return new Promise((done) => {
    let connected = false;
    const socket = connect(at);
    const end = (answer: ServerCheck | 'no-socket'): void => {
      cancel();
      socket.destroy();
      done(answer);
    };
    const cancel = place.clock.timer(limit, () => end({ kind: 'silent', said: silence(connected, limit) }));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      end(error.code === 'ENOENT' && 'path' in at ? 'no-socket' : whyNot(error)),
    );
    socket.on('close', () => end({ kind: 'refused', said: 'the connection was closed without an answer' }));
    socket.on('connect', () => {
      connected = true;
      socket.write(greeting);
    });
    socket.on('data', (reply: Buffer) => {
      if (isWelcome(reply)) leave(place, socket);
      else socket.destroy();
      cancel();
      done(firstReply(reply));
    });
  });
}

/** AuthenticationOk: no password was asked for, and a session begins. */
function isWelcome(reply: Buffer): boolean {
  return reply[0] === 0x52 && reply.length >= 9 && reply.readInt32BE(5) === 0;
}

/** Whoever just hangs up on a session leaves a line in the server's log each time. */
function leave(place: Pick<Place, 'clock'>, socket: Socket): void {
  socket.removeAllListeners('data');
  socket.resume();
  socket.end(Buffer.from([0x58, 0, 0, 0, 4]));
  const cancel = place.clock.timer(GOODBYE, () => socket.destroy());
  socket.on('close', cancel);
}

/** StartupMessage of protocol 3.0 (docs: "Message Formats"). */
export function startupMessage(user: string, as: 'postgres' | 'replication'): Buffer {
  const whereTo = as === 'postgres' ? 'database\0postgres' : 'replication\0true';
  const body = Buffer.from(`user\0${user}\0${whereTo}\0application_name\0pgha ping\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + body.length, 0);
  head.writeInt32BE(3 << 16, 4);
  return Buffer.concat([head, body]);
}

/**
 * R asks for a password, or says that none is needed; v is a server of another minor protocol; E is an error with its
 * SQLSTATE in field C. Whoever says anything else is no Postgres, as for libpq.
 */
export function firstReply(reply: Buffer): ServerCheck {
  if (reply[0] === 0x52 || reply[0] === 0x76) return ALIVE;
  if (reply[0] !== 0x45) return { kind: 'refused', said: 'what answers there is no Postgres' };
  const said = /\0M([^\0]*)\0/.exec(reply.toString('utf8', 5))?.[1] ?? null;
  if (reply.includes(`C${CANNOT_CONNECT_NOW}\0`)) {
    return { kind: 'not-ready', said: said ?? 'it does not take connections now' };
  }
  if (reply.includes(`C${TOO_MANY_CONNECTIONS}\0`)) return { kind: 'full', said: said ?? 'it has no room' };
  return { kind: 'alive', inRecovery: null, said };
}

/** A whole new connection with login to the local server, ended at once. */
export async function connectionCheck(place: Place, endpoint: Endpoint, limit: Millis): Promise<ServerCheck> {
  try {
    const connection = await Connection.open(place, endpoint, { limit, statementTimeout: limit });
    connection.close();
    return ALIVE;
  } catch (error) {
    return answerIn(error);
  }
}

/** What a failed attempt to connect or to ask says about the server. */
export function answerIn(error: unknown): ServerCheck {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  const said = typeof message === 'string' && message !== '' ? message : String(code ?? error);
  if (code === CANNOT_CONNECT_NOW) return { kind: 'not-ready', said };
  if (code === TOO_MANY_CONNECTIONS) return { kind: 'full', said };
  if (error instanceof TimeLimitError) return { kind: 'silent', said };
  return whyNot(error);
}

const NO_WAY_THERE = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENOTFOUND', 'EAI_AGAIN']);

function whyNot(error: unknown): ServerCheck {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  const said = typeof message === 'string' && message !== '' ? message : String(code ?? error);
  return { kind: NO_WAY_THERE.has(String(code)) ? 'silent' : 'refused', said };
}
