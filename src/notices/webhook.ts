/**
 * Hands an event to an HTTP server: one POST of JSON, bounded in time and in what is read of the answer. Redirects are
 * not followed. What the operator made secret (the URL, a header) stands in no sentence of this file.
 */
import http from 'node:http';
import https from 'node:https';
import type { WebhookConfig } from '../config/schema.ts';
import { type ClusterEvent, eventAsJson } from '../core/cluster-events.ts';
import { PGHA_VERSION } from '../version.ts';
import type { Told } from './outlet.ts';
import { fillTemplate } from './template.ts';

/** Of a server's answer that is no success, so much is told. */
const MOST_SAID = 200;
/** Answers to which another try may have another answer. */
const PASSING = new Set([408, 425, 429]);

export interface WebhookFacts {
  readonly scope: string;
  /** Of the authority that has signed the server's certificate; null: the usual ones. */
  readonly ca: Buffer | null;
}

/** The body: as the operator's template says, or everything, with a `text` that chat programs show. */
export function webhookBody(webhook: WebhookConfig, event: ClusterEvent, scope: string): string {
  if (webhook.template !== null) return fillTemplate(webhook.template, event, scope);
  const mark = event.ok ? '' : ' (trouble)';
  const text = `[${scope}] ${event.node}: ${event.event}${mark}: ${event.details}`;
  return JSON.stringify({ text, scope, ...eventAsJson(event) });
}

/** One try. Never rejects. */
export function post(
  webhook: WebhookConfig,
  event: ClusterEvent,
  facts: WebhookFacts,
  signal: AbortSignal,
): Promise<Told> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const over = (told: Told): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
      resolve(told);
    };
    const failed = (said: string, final = false): void => over({ kind: 'failed', said, final });
    const aborted = (): void => {
      outgoing?.destroy();
      failed('the service stops', true);
    };
    let outgoing: http.ClientRequest | null = null;
    try {
      const url = new URL(webhook.url);
      const body = webhookBody(webhook, event, facts.scope);
      const secure = url.protocol === 'https:';
      outgoing = (secure ? https : http).request(url, {
        method: 'POST',
        // A connection that is kept would be dead by the next event, an hour later.
        agent: false,
        headers: {
          'content-type': 'application/json',
          'user-agent': `pgha/${PGHA_VERSION}`,
          ...webhook.headers,
          ...(webhook.authorization === null ? {} : { authorization: webhook.authorization }),
          'content-length': Buffer.byteLength(body),
        },
        ...(facts.ca === null ? {} : { ca: facts.ca }),
      });
      outgoing.on('error', (error: NodeJS.ErrnoException) => failed(whyOf(error)));
      outgoing.on('response', (incoming) => readAnswer(incoming, over));
      signal.addEventListener('abort', aborted, { once: true });
      timer = setTimeout(() => {
        failed(`no whole answer within ${webhook.timeout / 1000} s`);
        outgoing?.destroy();
      }, webhook.timeout);
      outgoing.end(body);
    } catch (error) {
      failed(whyOf(error as NodeJS.ErrnoException), true);
    }
  });
}

function readAnswer(incoming: http.IncomingMessage, over: (told: Told) => void): void {
  const status = incoming.statusCode ?? 0;
  if (status >= 200 && status < 300) {
    incoming.destroy();
    over({ kind: 'done' });
    return;
  }
  let read = '';
  const tell = (): void => {
    incoming.destroy();
    const line =
      read
        .replace(/[^\P{C}\n]/gu, '?')
        .trim()
        .split('\n')[0]
        ?.slice(0, MOST_SAID) ?? '';
    const final = status < 500 && !PASSING.has(status);
    over({ kind: 'failed', said: `the server answered ${status}${line === '' ? '' : `: ${line}`}`, final });
  };
  incoming.setEncoding('utf8');
  incoming.on('data', (part: string) => {
    read += part;
    if (read.length > MOST_SAID) tell();
  });
  incoming.on('end', tell);
  incoming.on('error', tell);
}

/** The message of an error of Node may hold the whole URL. */
function whyOf(error: NodeJS.ErrnoException): string {
  const { code } = error;
  if (code === undefined) return 'the request could not be made';
  if (code.startsWith('HPE_')) return 'the answer is not HTTP';
  return `the server could not be reached (${code})`;
}
