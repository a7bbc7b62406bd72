/**
 * Who may change something, in Patroni's order: from an address that may, with a verified client certificate where one
 * is asked for, as the configured user. Reading is open to everybody, as with Patroni, unless the configuration says
 * otherwise.
 */
import { TLSSocket } from 'node:tls';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { RestApiConfig } from '../config/schema.ts';
import { sendSentence } from './answers.ts';
import type { LoginAnswer, Logins } from './logins.ts';

interface Denial {
  readonly status: 401 | 403 | 503;
  readonly sentence: string;
}

/** What stands against this request, addresses apart; null: nothing. At once, unless a new login has to be checked. */
export function denial(
  restapi: RestApiConfig,
  request: FastifyRequest,
  logins: Logins,
): Denial | null | Promise<Denial | null> {
  if (restapi.tls !== null && restapi.tls.verifyClient !== 'none') {
    const socket = request.raw.socket;
    if (!(socket instanceof TLSSocket) || !socket.authorized)
      return { status: 403, sentence: 'client certificate required' };
  }
  const expected = restapi.authentication;
  if (expected === null) return null;
  const given = request.headers.authorization;
  if (given === undefined) return { status: 401, sentence: 'no auth header received' };
  const answer = logins.check(expected, given);
  return typeof answer === 'string' ? denialOf(answer) : answer.then(denialOf);
}

function denialOf(answer: LoginAnswer): Denial | null {
  if (answer === 'right') return null;
  return answer === 'busy'
    ? { status: 503, sentence: 'other logins are being checked: try again' }
    : { status: 401, sentence: 'not authenticated' };
}

export function sendDenial(reply: FastifyReply, { status, sentence }: Denial): FastifyReply {
  if (status === 401) reply.header('www-authenticate', 'Basic realm="Patroni"');
  return sendSentence(reply, status, sentence);
}

/** Whether this request may read what is not a mere health check. */
export function mayRead(
  restapi: RestApiConfig,
  request: FastifyRequest,
  logins: Logins,
): Denial | null | Promise<Denial | null> {
  return restapi.protectReads === true ? denial(restapi, request, logins) : null;
}
