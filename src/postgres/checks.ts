/**
 * The three ways to ask a server whether it is there: `ping`, `connection`, `query`. What counts as an answer is
 * libpq's rule (PQping): any reply means that the server is alive; 57P03 means that it does not take connections now.
 * Whether a failed check is a failure of the server is the decision's matter.
 */
import { connect } from 'node:net';
import { type Millis, millis } from '../core/time.ts';
import { Connection, type Endpoint, socketPath } from './connection.ts';
import type { Place } from './place.ts';

export type CheckAnswer =
  | { readonly kind: 'accepting' }
  /** Alive and not ready: starting up, shutting down, a standby without hot standby (57P03). */
  | { readonly kind: 'rejecting'; readonly said: string }
  | { readonly kind: 'no-response'; readonly said: string };

const ACCEPTING: CheckAnswer = { kind: 'accepting' };

/** cannot_connect_now: Appendix A of the Postgres docs. */
const CANNOT_CONNECT_NOW = '57P03';
const TOO_MANY_CONNECTIONS = '53300';

/** First bytes of the conversation, as libpq sends them; the server's first reply is all that is wanted. */
export async function ping(place: Place, endpoint: Endpoint, limit: Millis): Promise<CheckAnswer> {
  const path = socketPath(endpoint);
  const started = place.clock.now();
  if (path !== null) {
    const answer = await pingAt(place, { path }, limit);
    if (answer !== 'no-socket') return answer;
  }
  const left = millis(Math.max(1, limit - (place.clock.now() - started)));
  const answer = await pingAt(place, { host: endpoint.tcpHost, port: endpoint.port }, left);
  return answer === 'no-socket' ? { kind: 'no-response', said: 'nobody listens' } : answer;
}

function pingAt(
  place: Place,
  at: { readonly path: string } | { readonly host: string; readonly port: number },
  limit: Millis,
): Promise<CheckAnswer | 'no-socket'> {
  return new Promise((done) => {
    const socket = connect(at);
    const end = (answer: CheckAnswer | 'no-socket'): void => {
      cancel();
      socket.destroy();
      done(answer);
    };
    const cancel = place.clock.timer(limit, () =>
      end({ kind: 'no-response', said: `no answer within ${Math.round(limit)} ms` }),
    );
    socket.on('error', (error: NodeJS.ErrnoException) =>
      end(error.code === 'ENOENT' ? 'no-socket' : { kind: 'no-response', said: error.code ?? error.message }),
    );
    socket.on('close', () => end({ kind: 'no-response', said: 'the connection was closed without an answer' }));
    socket.on('connect', () => {
      socket.write(startupMessage(place.config.postgresql.authentication.superuser.username));
    });
    socket.on('data', (reply: Buffer) => end(firstReply(reply)));
  });
}

/** StartupMessage of protocol 3.0 (docs: "Message Formats"). */
export function startupMessage(user: string): Buffer {
  const body = Buffer.from(`user\0${user}\0database\0postgres\0application_name\0pgha ping\0\0`);
  const head = Buffer.alloc(8);
  head.writeInt32BE(8 + body.length, 0);
  head.writeInt32BE(3 << 16, 4);
  return Buffer.concat([head, body]);
}

/** R asks for a password, or says that none is needed; E is an error with its SQLSTATE in field C. */
export function firstReply(reply: Buffer): CheckAnswer {
  if (reply[0] !== 0x45 || !reply.includes(`C${CANNOT_CONNECT_NOW}\0`)) return ACCEPTING;
  const message = /\0M([^\0]*)\0/.exec(reply.toString('utf8', 5))?.[1];
  return { kind: 'rejecting', said: message ?? 'it does not take connections now' };
}

/** A whole new connection with login, ended at once. */
export async function connectionCheck(place: Place, endpoint: Endpoint, limit: Millis): Promise<CheckAnswer> {
  try {
    const connection = await Connection.open(place, endpoint, { limit, statementTimeout: limit });
    connection.close();
    return ACCEPTING;
  } catch (error) {
    return answerIn(error);
  }
}

/** What a failed attempt to connect or to ask says about the server. */
export function answerIn(error: unknown): CheckAnswer {
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  const said = typeof message === 'string' && message !== '' ? message : String(code ?? error);
  if (code === CANNOT_CONNECT_NOW) return { kind: 'rejecting', said };
  // The server is there, and busy; a failover would make room for nobody.
  if (code === TOO_MANY_CONNECTIONS) return ACCEPTING;
  return { kind: 'no-response', said };
}
