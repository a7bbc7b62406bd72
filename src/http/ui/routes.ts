/**
 * The status page: `GET /ui` and what it asks for, `GET /ui/data`. The page is one text made at the start; its data are
 * those of the last cycle, and events are read from etcd once a cycle at most, however many look. It changes nothing:
 * whoever logs in uses the endpoints of control.ts, and `POST /ui/login` only tells him whether they would let him.
 */
import type { FastifyInstance } from 'fastify';
import { type Instant, laterBy, millis } from '../../core/time.ts';
import { sendJson, sendSentence } from '../answers.ts';
import { single, within } from '../cluster.ts';
import type { HttpParts } from '../server.ts';
import { type KnownEvents, PageDocument } from './document.ts';
import { CONTENT_SECURITY_POLICY, PAGE } from './page.ts';

/** So long a page waits for events before it shows the ones that were known before. */
const EVENTS_LIMIT = millis(300);

const HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

export function pageRoutes(app: FastifyInstance, parts: HttpParts, version: string): void {
  const page = Buffer.from(PAGE);
  const document = new PageDocument(version);
  const events = eventsReader(parts);

  parts.segment(app, 'GET', 'ui', (_request, reply) =>
    reply.headers(HEADERS).header('content-type', 'text/html;charset=utf-8').send(page),
  );
  app.get('/ui/data', async (_request, reply) => {
    const known = await events();
    return sendJson(reply.headers(HEADERS), 200, document.render(parts.look(), parts.config(), known));
  });
  app.route({
    method: 'POST',
    url: '/ui/login',
    // Without the header that makes a browser ask for a name in a window of its own: the page does.
    onSend: (_request, reply, _payload, done) => {
      reply.removeHeader('www-authenticate');
      done();
    },
    handler: async (request, reply) =>
      (await parts.admits(request, reply)) ? sendSentence(reply, 200, 'logged in') : reply,
  });
}

/** At most one read per cycle, and none that a reader waits for longer than {@link EVENTS_LIMIT}. */
function eventsReader({ control }: HttpParts): () => Promise<KnownEvents | null> {
  let known: KnownEvents | null = null;
  let readAt: Instant | null = null;
  const read = single(async () => {
    readAt = control.now();
    const { events, ofAll } = await control.readEvents();
    known = { events: ofAll ? events : withOthers(events, known), ofAll, at: control.now() };
  });
  return async () => {
    const due = readAt === null ? null : laterBy(readAt, control.published().policy.cluster.loopWait);
    if (due === null || control.now() >= due) await within(read(), EVENTS_LIMIT).catch(() => null);
    return known;
  };

  /** While etcd is away a member knows its own; what the others had told before is still true. */
  function withOthers(own: KnownEvents['events'], before: KnownEvents | null): KnownEvents['events'] {
    const others = (before?.events ?? []).filter(({ node }) => node !== control.self);
    return [...own, ...others].toSorted((a, b) => Date.parse(b.time) - Date.parse(a.time));
  }
}
