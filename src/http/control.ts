/**
 * What changes something: configuration, switchover, restart, reload, copy anew. Checks who asks and whether the
 * question makes sense, hands it to the agent, and answers with Patroni's codes and sentences. Decides nothing.
 */
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { ConfigOutcome, RequestOutcome, SwitchoverOutcome, SwitchoverRequest } from '../agent/published.ts';
import { difference, masked, plainText, printAsker } from '../core/audit.ts';
import { assertNever } from '../core/invariant.ts';
import { type Lsn, lsn } from '../core/lsn.ts';
import { RESTART_ROLES, type RestartRole, versionNumber } from '../core/schedule.ts';
import { nodeName, revision } from '../core/store.ts';
import { millis } from '../core/time.ts';
import { type Body, readBody, saidIn, sendJson, sendPage, sendSentence } from './answers.ts';
import { askerOf } from './audit.ts';
import { readLength, readTime } from './schedule.ts';
import type { HttpParts, Method } from './server.ts';

/** What a request has changed in the cluster-wide configuration, without secrets; null: nothing. */
interface Changes {
  before: Body | null;
  after: Body | null;
}

/** @param changes - filled in by those that change the configuration */
type Answer = (body: Body, reply: FastifyReply, changes: Changes) => Promise<FastifyReply>;

/** How many milliseconds writes stood still, on a successful switchover. Patroni's clients ignore it. */
export const PAUSED_HEADER = 'pgha-paused-ms';

export function controlRoutes(app: FastifyInstance, parts: HttpParts): void {
  /** A route behind the checks; `body`: what Patroni expects of one. */
  const protect = (method: Method, segment: string, body: 'required' | 'optional' | 'none', answer: Answer): void => {
    parts.segment(app, method, segment, async (request, reply) => {
      if (!(await parts.admits(request, reply))) return reply;
      const read = body === 'none' ? {} : readBody(request, reply, body === 'optional');
      if (read === null) return reply;
      const path = `/${segment}`;
      const asker = askerOf(parts.config().restapi, request);
      const asked = Object.keys(read).length === 0 ? null : masked(read);
      parts.log.write('info', 'request.received', `${printAsker(asker)} asks for ${method} ${path}.`, {
        method,
        path,
        from: asker.address,
        ...(asked === null ? {} : { asked }),
      });
      const time = new Date().toISOString();
      const changes: Changes = { before: null, after: null };
      let failed = true;
      try {
        const answered = await answer(read, reply, changes);
        failed = false;
        return answered;
      } finally {
        const status = failed ? 500 : reply.statusCode;
        const ok = status < 300;
        parts.control.recordRequest({
          time,
          member: parts.control.self,
          asker,
          request: `${method} ${path}`,
          // Of a configuration that was stored it is said what has changed.
          asked: changes.after === null ? asked : null,
          ok,
          status,
          said: plainText(saidIn(reply) ?? (ok ? 'done' : 'not done')),
          ...changes,
        });
      }
    });
  };

  protect('PATCH', 'config', 'required', async (body, reply, changes) =>
    sendConfig(reply, await parts.control.patchConfig(body), changes),
  );
  protect('PUT', 'config', 'required', async (body, reply, changes) =>
    sendConfig(reply, await parts.control.putConfig(body), changes),
  );

  protect('POST', 'reload', 'none', async (_body, reply) =>
    sendOutcome(reply, await parts.control.request({ kind: 'reload' }), { status: 202, sentence: 'reload scheduled' }),
  );
  protect('POST', 'pgha/restart-daemon', 'optional', async (body, reply) =>
    sendOutcome(reply, await parts.control.request({ kind: 'restart-daemon', force: body['force'] === true }), {
      status: 202,
      sentence: 'this daemon makes room for the next one',
    }),
  );
  protect('POST', 'pgha/take-over', 'optional', async (_body, reply) =>
    sendOutcome(reply, await parts.control.request({ kind: 'take-over' }), {
      status: 202,
      sentence: 'this node takes the cluster over',
    }),
  );
  for (const kind of ['stop', 'start'] as const)
    protect('POST', `pgha/${kind}`, 'optional', async (_body, reply) => {
      const outcome = await parts.control.request({ kind });
      return sendOutcome(reply, outcome, { status: 200, sentence: outcome.sentence });
    });
  protect('POST', 'pgha/forget-member', 'required', async (body, reply) => {
    const member = name(body['member']);
    if (member === null) return sendSentence(reply, 400, 'member: the name of one that is gone');
    const outcome = await parts.control.request({ kind: 'forget-member', name: member });
    return sendOutcome(reply, outcome, { status: 200, sentence: outcome.sentence });
  });
  protect('POST', 'restart', 'optional', (body, reply) => restart(parts, body, reply));
  protect('DELETE', 'restart', 'none', async (_body, reply) => {
    const outcome = await parts.control.request({ kind: 'cancel-restart' });
    return sendSentence(reply, outcome.kind === 'refused' ? 404 : 200, outcome.sentence);
  });
  protect('POST', 'reinitialize', 'optional', async (body, reply) => {
    const wrong = wrongType(body, { force: 'boolean', from_leader: 'boolean' });
    if (wrong !== null) return sendSentence(reply, 400, wrong);
    const outcome = await parts.control.request({
      kind: 'reinitialize',
      force: body['force'] === true,
      fromLeader: body['from_leader'] === true,
    });
    return sendOutcome(reply, outcome, { status: 200, sentence: 'reinitialize started' });
  });

  protect('POST', 'switchover', 'required', (body, reply) => switchover(parts, 'switchover', body, reply));
  protect('POST', 'failover', 'required', (body, reply) => switchover(parts, 'failover', body, reply));
  protect('DELETE', 'switchover', 'none', async (_body, reply) => {
    const outcome = await parts.control.cancelSwitchover();
    if (outcome.kind !== 'refused') return sendSentence(reply, 200, 'scheduled switchover deleted');
    const { status = 404, sentence } = outcome;
    return status === 404 ? sendSentence(reply, status, sentence) : sendPage(reply, status, sentence);
  });

  // A hook of Patroni's own tests, which does nothing on this system either.
  protect('POST', 'sigterm', 'none', async (_body, reply) =>
    sendSentence(reply, 202, 'nothing is done on this system'),
  );
  // Events of Citus, of which pgha knows nothing: whoever sends them goes on.
  for (const of of ['citus', 'mpp'])
    protect('POST', of, 'required', async (_body, reply) => sendSentence(reply, 200, 'OK'));

  // Not told for each request: a leader without etcd asks every second or two.
  parts.segment(app, 'POST', 'failsafe', async (request, reply) => {
    // Who leads without etcd may be one whose address nobody here could look up any more.
    if (!(await parts.admits(request, reply, 'everybody'))) return reply;
    const body = readBody(request, reply);
    return body === null ? reply : confirmFailsafe(parts, body, reply);
  });
}

/** What makes no sense of it says nothing. */
function positionsOf(said: unknown): ReadonlyMap<string, Lsn> {
  if (typeof said !== 'object' || said === null) return new Map();
  return new Map(
    Object.entries(said).flatMap(([slot, at]) =>
      Number.isSafeInteger(at) && at >= 0 ? [[slot, lsn(BigInt(at))]] : [],
    ),
  );
}

/** Patroni's request, with our term and hold beside it; the asker looks for the code and for exactly this word. */
async function confirmFailsafe(parts: HttpParts, body: Body, reply: FastifyReply): Promise<FastifyReply> {
  const leader = name(body['name']);
  if (leader === null) return sendPage(reply, 400, 'name: the leader that asks must say who it is.');
  const own = body['pgha'];
  const { to, term = null, hold_ms: hold = null } = typeof own === 'object' && own !== null ? (own as Body) : {};
  const knowsTerms = typeof term === 'string' && /^\d+$/.test(term);
  const holds = typeof hold === 'number' && Number.isSafeInteger(hold) && hold > 0;
  if ((term !== null || hold !== null) && !(knowsTerms && holds)) {
    return sendPage(reply, 400, 'pgha: term and hold_ms belong together, a number as text and milliseconds.');
  }
  const outcome = await parts.control.confirmFailsafe({
    name: nodeName(leader),
    to: name(to) === null ? null : nodeName(String(to)),
    term: knowsTerms ? revision(term) : null,
    hold: holds ? millis(hold) : null,
    slots: positionsOf(body['slots']),
  });
  switch (outcome.kind) {
    case 'off':
      return sendPage(reply, 502, 'failsafe_mode is not in force here.');
    case 'primary':
      return sendSentence(reply, 500, 'Running as a leader');
    case 'refused':
      return sendSentence(reply, 503, outcome.why);
    case 'confirmed':
      if (outcome.position !== null) reply.header('lsn', outcome.position.toString());
      return sendSentence(reply, 200, 'Accepted');
    default:
      return assertNever(outcome);
  }
}

function sendConfig(reply: FastifyReply, outcome: ConfigOutcome, changes: Changes): FastifyReply {
  if (outcome.kind === 'refused') return sendPage(reply, outcome.status, outcome.sentence);
  const differs = difference(outcome.before ?? {}, outcome.config);
  changes.before = masked(differs.before);
  changes.after = masked(differs.after);
  return sendJson(reply, 200, outcome.config);
}

/** Patroni's sentence where it went well (clients compare it), the agent's own where it did not. */
function sendOutcome(
  reply: FastifyReply,
  outcome: RequestOutcome,
  good: { readonly status: number; readonly sentence: string },
): FastifyReply {
  return outcome.kind === 'refused'
    ? sendSentence(reply, outcome.status ?? 503, outcome.sentence)
    : sendSentence(reply, good.status, good.sentence);
}

/** What a member of the body is that it should not be; null: nothing. Those that are not named are nobody's business. */
function wrongType(body: Body, types: Readonly<Record<string, 'string' | 'boolean'>>): string | null {
  for (const [key, type] of Object.entries(types)) {
    const value = body[key];
    if (value === undefined || value === null || typeof value === type) continue;
    return `${key} must be ${type === 'string' ? 'a text' : 'true or false'}, and is ${JSON.stringify(value).slice(0, 60)}`;
  }
  return null;
}

type WhenRead = { readonly iso: string } | { readonly status: number; readonly sentence: string };

/** A time at which something is to be done, with Patroni's codes and sentences for those that are none. */
function readSchedule(text: string, action: 'switchover' | 'restart'): WhenRead {
  const time = readTime(text);
  switch (time.kind) {
    case 'no-zone':
      return { status: 400, sentence: `Timezone information is mandatory for the scheduled ${action}` };
    case 'not-understood':
      return {
        status: 422,
        sentence: 'Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601',
      };
    case 'time':
      return time.at <= Date.now()
        ? { status: 422, sentence: `Cannot schedule ${action} in the past` }
        : { iso: time.iso };
    default:
      return assertNever(time);
  }
}

const RESTART_KEYS = new Set(['schedule', 'role', 'postgres_version', 'timeout', 'restart_pending']);

async function restart(parts: HttpParts, body: Body, reply: FastifyReply): Promise<FastifyReply> {
  const unknown = Object.keys(body).find((key) => !RESTART_KEYS.has(key));
  if (unknown !== undefined) return sendSentence(reply, 400, `Unknown filter for the scheduled restart: ${unknown}`);
  const wrong = wrongType(body, { schedule: 'string' });
  if (wrong !== null) return sendSentence(reply, 400, wrong);
  const role = body['role'] === 'master' ? 'primary' : (body['role'] ?? null);
  if (role !== null && !isRestartRole(role)) {
    return sendSentence(reply, 400, "Value for 'role' must be one of: primary, standby_leader, replica");
  }
  const given = body['timeout'] ?? null;
  const timeout = given === null ? null : readLength(given);
  if (given !== null && timeout === null) {
    return sendSentence(reply, 400, 'Timeout should be a positive number of seconds');
  }
  const below = body['postgres_version'] ?? null;
  if (below !== null && versionNumber(String(below)) === null) {
    return sendSentence(reply, 400, 'Invalid postgres version: use X.Y');
  }
  const conditions = {
    // Its mere presence counts, as with Patroni.
    onlyIfPending: 'restart_pending' in body,
    role,
    below: below === null ? null : String(below),
    timeout,
  };
  const schedule = body['schedule'] ?? null;
  if (typeof schedule === 'string') {
    const time = readSchedule(schedule, 'restart');
    if ('status' in time) return sendSentence(reply, time.status, time.sentence);
    const outcome = await parts.control.request({ kind: 'schedule-restart', at: time.iso, ...conditions });
    return sendOutcome(reply, outcome, { status: 202, sentence: 'Restart scheduled' });
  }
  const outcome = await parts.control.request({ kind: 'restart', ...conditions });
  return outcome.kind === 'accepted'
    ? sendSentence(reply, 202, outcome.sentence)
    : sendOutcome(reply, outcome, { status: 200, sentence: 'restarted successfully' });
}

const isRestartRole = (role: unknown): role is RestartRole => RESTART_ROLES.some((one) => one === role);

async function switchover(
  parts: HttpParts,
  asked: SwitchoverRequest['kind'],
  body: Body,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const wrong = wrongType(body, {
    leader: 'string',
    candidate: 'string',
    member: 'string',
    scheduled_at: 'string',
    accept_data_loss: 'boolean',
  });
  if (wrong !== null) return sendSentence(reply, 400, wrong);
  const leader = name(body['leader']);
  const candidate = name(body['candidate']) ?? name(body['member']);
  const schedule = name(body['scheduled_at']);
  // As Patroni reads it: a failover that names the leader is a switchover.
  const kind = leader === null ? asked : 'switchover';
  const title = kind === 'switchover' ? 'Switchover' : 'Failover';

  if (kind === 'failover' && candidate === null) {
    return sendSentence(reply, 400, 'Failover could be performed only to a specific candidate');
  }
  if (kind === 'switchover' && leader === null) {
    return sendSentence(reply, 400, 'Switchover could be performed only from a specific leader');
  }
  const { pause } = parts.control.published().policy.cluster;
  let scheduledAt: string | null = null;
  if (schedule !== null) {
    if (kind === 'failover') return sendSentence(reply, 400, "Failover can't be scheduled");
    if (pause) return sendSentence(reply, 400, "Can't schedule switchover in the paused state");
    const time = readSchedule(schedule, 'switchover');
    if ('status' in time) return sendSentence(reply, time.status, time.sentence);
    scheduledAt = time.iso;
  }
  if (pause && candidate === null) {
    return sendSentence(reply, 400, 'Switchover is possible only to a specific candidate in a paused state');
  }
  if (leader !== null && leader === candidate) {
    return sendSentence(reply, 400, 'Switchover target and source are the same');
  }
  return sendSwitchover(
    reply,
    title,
    candidate,
    await parts.control.switchover({
      kind,
      leader,
      candidate,
      scheduledAt,
      ...(kind === 'failover' && body['accept_data_loss'] === true ? { forced: true } : {}),
    }),
  );
}

const name = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);

function sendSwitchover(
  reply: FastifyReply,
  title: 'Switchover' | 'Failover',
  candidate: string | null,
  outcome: SwitchoverOutcome,
): FastifyReply {
  switch (outcome.kind) {
    case 'done': {
      if (outcome.pausedMs !== null) reply.header(PAUSED_HEADER, String(Math.round(outcome.pausedMs)));
      const verb = title === 'Switchover' ? 'witched over to' : 'ailed over to';
      return sendSentence(
        reply,
        200,
        candidate === null || candidate === outcome.leader
          ? `Successfully ${title === 'Switchover' ? 's' : 'f'}${verb} "${outcome.leader}"`
          : `${title === 'Switchover' ? 'S' : 'F'}${verb} "${outcome.leader}" instead of "${candidate}"`,
      );
    }
    case 'scheduled':
      return sendSentence(reply, 202, 'Switchover scheduled');
    case 'refused':
      return sendSentence(reply, outcome.status, outcome.sentence);
    case 'unknown':
      return sendSentence(reply, 503, `${title} status unknown ${outcome.sentence}`);
    default:
      return assertNever(outcome);
  }
}
