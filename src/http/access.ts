/**
 * Who may change something, in Patroni's order: from an address that may, with a verified client certificate where one
 * is asked for, as the configured user. Reading is open to everybody, as with Patroni, unless the configuration says
 * otherwise.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { RestApiConfig } from '../config/schema.ts';
import { sendSentence } from './answers.ts';

interface Denial {
  readonly status: 401 | 403;
  readonly sentence: string;
}

/** What stands against this request, addresses apart; null: nothing. */
export function denial(restapi: RestApiConfig, request: FastifyRequest): Denial | null {
  if (restapi.tls !== null && restapi.tls.verifyClient !== 'none') {
    const socket = request.raw.socket;
    if (!(socket instanceof TLSSocket) || !socket.authorized)
      return { status: 403, sentence: 'client certificate required' };
  }
  const expected = restapi.authentication;
  if (expected === null) return null;
  const given = request.headers.authorization;
  if (given !== undefined && sameText(given, basicAuthorization(expected))) return null;
  return { status: 401, sentence: given === undefined ? 'no auth header received' : 'not authenticated' };
}

export function sendDenial(reply: FastifyReply, { status, sentence }: Denial): FastifyReply {
  if (status === 401) reply.header('www-authenticate', 'Basic realm="Patroni"');
  return sendSentence(reply, status, sentence);
}

/** Whether this request may read what is not a mere health check. */
export function mayRead(restapi: RestApiConfig, request: FastifyRequest): Denial | null {
  return restapi.protectReads === true ? denial(restapi, request) : null;
}

function basicAuthorization(login: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`;
}

/** Takes the same time wherever the texts differ, and whatever their lengths are. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
