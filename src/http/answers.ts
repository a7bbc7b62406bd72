/**
 * The shapes of answers that Patroni's clients know: a bare sentence as text/html, a small HTML page for errors, and
 * JSON. Also the reading of a request's JSON body, with Patroni's codes for bad ones.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isNestedTooDeep } from '../core/nesting.ts';

const REASONS = new Map([
  [400, 'Bad Request'],
  [401, 'Unauthorized'],
  [403, 'Forbidden'],
  [404, 'Not Found'],
  [409, 'Conflict'],
  [411, 'Length Required'],
  [413, 'Payload Too Large'],
  [500, 'Internal Server Error'],
  [501, 'Not Implemented'],
  [502, 'Bad Gateway'],
  [503, 'Service Unavailable'],
]);

const SAID = new WeakMap<FastifyReply, string>();

/** What was answered in words, for the audit trail; null: something else was, or nothing. */
export const saidIn = (reply: FastifyReply): string | null => SAID.get(reply) ?? null;

export function sendSentence(reply: FastifyReply, status: number, sentence: string): FastifyReply {
  SAID.set(reply, sentence);
  return reply.code(status).header('content-type', 'text/html').send(Buffer.from(sentence));
}

export function sendPage(reply: FastifyReply, status: number, explanation: string): FastifyReply {
  SAID.set(reply, explanation);
  return reply.code(status).header('content-type', 'text/html;charset=utf-8').send(errorPage(status, explanation));
}

export function errorPage(status: number, explanation: string): string {
  const escaped = explanation.replace(/[&<>]/g, (c) => (c === '&' ? '&amp;' : c === '<' ? '&lt;' : '&gt;'));
  return (
    `<!DOCTYPE html><html><head><meta charset="utf-8"><title>${status} ${REASONS.get(status) ?? ''}</title></head>` +
    `<body><h1>${status} ${REASONS.get(status) ?? ''}</h1><p>${escaped}</p></body></html>\n`
  );
}

export function sendJson(reply: FastifyReply, status: number, body: unknown): FastifyReply {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  // As bytes: fastify would add a charset to the type of a text, which Patroni's answers do not carry.
  return reply.code(status).header('content-type', 'application/json').send(Buffer.from(text));
}

export type Body = Readonly<Record<string, unknown>>;

/**
 * The request's JSON object. Answers itself and returns null when there is none that can be used: 411 without a
 * length, 400 for anything that is not an object with something in it.
 *
 * @param optional - nothing at all and `{}` are fine
 */
export function readBody(request: FastifyRequest, reply: FastifyReply, optional = false): Body | null {
  const text = typeof request.body === 'string' ? request.body : '';
  if (text.trim() === '') {
    if (optional) return {};
    const sized = request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
    sendPage(reply, sized ? 400 : 411, 'A JSON object is expected in the body.');
    return null;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    sendPage(reply, 400, `The body is not JSON: ${error instanceof Error ? error.message : String(error)}`);
    return null;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    sendPage(reply, 400, 'The body is JSON, but not an object.');
    return null;
  }
  if (isNestedTooDeep(text)) {
    sendPage(reply, 400, 'The object in the body is nested too deep.');
    return null;
  }
  if (!optional && Object.keys(value).length === 0) {
    sendPage(reply, 400, 'The object in the body is empty: nothing is asked for.');
    return null;
  }
  return value as Body;
}
