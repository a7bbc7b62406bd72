/**
 * Between members only: the leader whose Postgres died asks the candidate to fetch the tail of its WAL, and the
 * candidate fetches it. Whether it is given is the agent's business; who may ask is checked as for every request that
 * changes something, because WAL holds the data.
 */
import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { systemId } from '../core/local.ts';
import { type Lsn, parseLsn, printLsn, timeline } from '../core/lsn.ts';
import type { RescueRequest } from '../core/peer.ts';
import { nodeName, revision } from '../core/store.ts';
import { millis } from '../core/time.ts';
import { type Body, readBody, sendJson, sendPage } from './answers.ts';
import type { HttpParts } from './server.ts';
import { readTarget } from './target.ts';

/** SHA-256 of the body, hexadecimal. */
export const DIGEST_HEADER = 'pgha-sha256';
/** Where the bytes begin, as Postgres prints it. */
export const START_HEADER = 'pgha-wal-start';
/** No single answer is larger: the caller asks in pieces. */
export const MOST_WAL_BYTES = 64n * 1024n * 1024n;

export function rescueRoutes(app: FastifyInstance, parts: HttpParts): void {
  app.post('/pgha/rescue', async (request, reply) => {
    if (!(await parts.admits(request, reply, 'members'))) return reply;
    const body = readBody(request, reply);
    if (body === null) return reply;
    const asked = readRescue(body);
    if (asked === null) {
      return sendPage(reply, 400, 'Expected: leader, term, system_id (texts), timeline (number), end (WAL position).');
    }
    const answer = await parts.control.rescue(asked);
    return answer.kind === 'delivered'
      ? sendJson(reply, 200, { kind: 'delivered', replayed: printLsn(answer.replayed) })
      : sendJson(reply, 409, { kind: 'refused', reason: answer.reason });
  });

  app.get('/pgha/wal', async (request, reply) => {
    if (!(await parts.admits(request, reply, 'members'))) return reply;
    const { query } = readTarget(request.raw.url ?? '');
    const line = Number(query.get('timeline'));
    const from = readPosition(query.get('from'));
    const to = readPosition(query.get('to'));
    if (!Number.isSafeInteger(line) || line < 1 || from === null || to === null || from >= to) {
      return sendPage(reply, 400, 'Expected: timeline=<number>&from=<WAL position>&to=<later WAL position>.');
    }
    if (to - from > MOST_WAL_BYTES) return sendPage(reply, 400, `At most ${MOST_WAL_BYTES} bytes at once.`);
    const chunk = await parts.control.readWal(timeline(line), from, to);
    if (chunk === null) return sendPage(reply, 404, 'This node does not hand out its WAL now.');
    return reply
      .code(200)
      .header('content-type', 'application/octet-stream')
      .header(DIGEST_HEADER, createHash('sha256').update(chunk.bytes).digest('hex'))
      .header(START_HEADER, printLsn(chunk.start))
      .send(Buffer.from(chunk.bytes.buffer, chunk.bytes.byteOffset, chunk.bytes.byteLength));
  });
}

function readRescue(body: Body): RescueRequest | null {
  const { leader, term, timeline: line } = body;
  const system = body['system_id'];
  const end = typeof body['end'] === 'string' ? readPosition(body['end']) : null;
  if (typeof leader !== 'string' || leader === '' || end === null) return null;
  if (typeof term !== 'string' || !/^\d+$/.test(term) || typeof system !== 'string' || !/^\d+$/.test(system))
    return null;
  if (typeof line !== 'number' || !Number.isSafeInteger(line) || line < 1) return null;
  const limit = body['limit_ms'];
  return {
    leader: nodeName(leader),
    term: revision(term),
    systemId: systemId(system),
    timeline: timeline(line),
    end,
    limit: typeof limit === 'number' && Number.isSafeInteger(limit) && limit > 0 ? millis(limit) : null,
  };
}

function readPosition(text: string | undefined): Lsn | null {
  try {
    return text === undefined ? null : parseLsn(text);
  } catch {
    return null;
  }
}
