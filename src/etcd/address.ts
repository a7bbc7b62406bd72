/**
 * Where an endpoint is, as a socket address. Names are looked up at start and kept: `dns.lookup` waits in the same
 * small thread pool as file operations, and a hung disk would make every new connection to etcd hang with it
 * (four hung writes are enough). They are looked up again only for an endpoint that fails, off everybody's path.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { EtcdConfig } from '../config/schema.ts';
import { millis } from '../core/time.ts';
import { within } from './time-limit.ts';

const LOOKUP_LIMIT = millis(2_000);

export interface Place {
  /** As configured: what logs and answers name. */
  readonly url: string;
  readonly secure: boolean;
  /** Name or address, without brackets. */
  readonly host: string;
  readonly port: string;
  /**
   * False for an address, and for a name that must stay one: etcd3 logs in over a channel of its own that takes no
   * options, so with TLS and a password the certificate can only be checked against the name in the URL. Such
   * endpoints need the resolver for each new connection; a client certificate instead of a password avoids it.
   */
  readonly lookUp: boolean;
}

export function placeOf(url: string, config: Pick<EtcdConfig, 'username'>): Place {
  const parsed = new URL(url.includes('://') ? url : `http://${url}`);
  const host = parsed.hostname.replace(/^\[|\]$/g, '');
  const secure = parsed.protocol === 'https:';
  const port = parsed.port === '' ? (secure && url.endsWith(':443') ? '443' : '2379') : parsed.port;
  return { url, secure, host, port, lookUp: isIP(host) === 0 && !(secure && config.username !== null) };
}

/** All addresses of the place, IPv4 first; null when the resolver does not know or does not answer. */
export async function addressesOf(place: Place): Promise<readonly string[] | null> {
  if (!place.lookUp) return [place.host];
  try {
    const found = await within(lookup(place.host, { all: true }), LOOKUP_LIMIT, `looking up ${place.host}`);
    return found.toSorted((a, b) => a.family - b.family).map(({ address }) => address);
  } catch {
    return null;
  }
}

/** `http://10.0.0.1:2379`, `https://[::1]:2379` */
export function hostUrl(place: Place, address: string): string {
  return `${place.secure ? 'https' : 'http'}://${isIP(address) === 6 ? `[${address}]` : address}:${place.port}`;
}
