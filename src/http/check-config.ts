/**
 * `POST /pgha/check-config`: what would be wrong with the cluster-wide settings in the body, this node's Postgres asked
 * too. For pgha-ctl, before it stores them; nothing is stored here.
 */
import type { FastifyInstance } from 'fastify';
import { readBody, sendJson } from './answers.ts';
import type { HttpParts } from './server.ts';

export const CHECK_CONFIG_PATH = '/pgha/check-config';

export function checkConfigRoutes(app: FastifyInstance, parts: HttpParts): void {
  app.post(CHECK_CONFIG_PATH, async (request, reply) => {
    if (!(await parts.admits(request, reply))) return reply;
    const body = readBody(request, reply);
    if (body === null) return reply;
    return sendJson(reply, 200, { problems: await parts.control.problemsOf(body) });
  });
}
