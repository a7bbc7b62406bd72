/**
 * Who may change something: a verified client certificate where one is asked for, and the configured user. Reading is
 * open to everybody, as with Patroni.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { RestApiConfig } from '../config/schema.ts';
import { sendSentence } from './answers.ts';

/** Lets the request pass, or answers it with 401 or 403 and returns false. */
export function admits(restapi: RestApiConfig, request: FastifyRequest, reply: FastifyReply): boolean {
  if (restapi.tls !== null && restapi.tls.verifyClient !== 'none') {
    const socket = request.raw.socket;
    if (!(socket instanceof TLSSocket) || !socket.authorized) {
      sendSentence(reply, 403, 'client certificate required');
      return false;
    }
  }
  const expected = restapi.authentication;
  if (expected === null) return true;
  const given = request.headers.authorization;
  if (given !== undefined && sameText(given, basicAuthorization(expected))) return true;
  reply.header('www-authenticate', 'Basic realm="Patroni"');
  sendSentence(reply, 401, given === undefined ? 'no auth header received' : 'not authenticated');
  return false;
}

function basicAuthorization(login: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`;
}

/** Takes the same time wherever the texts differ, and whatever their lengths are. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
