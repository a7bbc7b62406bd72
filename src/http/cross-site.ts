/**
 * Keeps web pages of others from changing something through the browser of somebody who may. A browser says by itself
 * where a request comes from (`Origin`, `Sec-Fetch-Site`); programs such as curl, pgha-ctl and patronictl send neither,
 * and nothing changes for them. It says nothing about who asks; that is access.ts.
 */
import type { FastifyRequest } from 'fastify';
import type { RestApiConfig } from '../config/schema.ts';

/** Why a request that changes something must not come from this browser; null: it may, or no browser sends it. */
export function foreignTo(restapi: RestApiConfig, request: FastifyRequest): string | null {
  const { origin, host, 'sec-fetch-site': site } = request.headers;
  if (origin === undefined && site === undefined) return null;
  if (site !== undefined && site !== 'same-origin') return 'a browser may ask for this from the status page alone';
  if (origin !== undefined && !isOwn(origin, host)) return 'a browser may ask for this from the status page alone';
  // A name of somebody else's that is pointed at this address makes his page look like one of ours. It cannot know a login,
  // and a certificate is not good for that name.
  const asksWho = restapi.authentication !== null || (restapi.tls !== null && restapi.tls.verifyClient !== 'none');
  return asksWho ? null : 'from a browser nothing can be changed while restapi.authentication is not set';
}

/** Of the host that was asked. The scheme is left out: a proxy may have taken TLS off. */
function isOwn(origin: string, host: string | undefined): boolean {
  if (host === undefined) return false;
  try {
    const from = new URL(origin);
    return from.host !== '' && new URL(`${from.protocol}//${host}`).host === from.host;
  } catch {
    return false;
  }
}
