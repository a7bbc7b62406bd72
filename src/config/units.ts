/**
 * The forms in which people write values: booleans, times and sizes with units, addresses. Each function turns one
 * form into the one that the rest of pgha knows, or answers null; it never guesses and never complains by itself.
 */
import { isIPv6 } from 'node:net';
import type { HostPort } from './schema.ts';

const TRUE = new Set(['on', 'true', 'yes', '1']);
const FALSE = new Set(['off', 'false', 'no', '0']);

export function parseBoolean(raw: unknown): boolean | null {
  if (typeof raw === 'boolean') return raw;
  if (typeof raw !== 'string' && typeof raw !== 'number') return null;
  const word = String(raw).trim().toLowerCase();
  if (TRUE.has(word)) return true;
  return FALSE.has(word) ? false : null;
}

const TIME_UNITS: Readonly<Record<string, number>> = { us: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, d: 86_400 };
const SIZE_UNITS: Readonly<Record<string, number>> = { b: 1, kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30, tb: 2 ** 40 };

function withUnit(raw: unknown, units: Readonly<Record<string, number>>): number | null {
  if (typeof raw === 'number') return raw;
  if (typeof raw !== 'string') return null;
  const match = /^([+-]?\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(raw.trim());
  if (match?.[1] === undefined || match[2] === undefined) return null;
  const name = match[2].toLowerCase();
  const factor = name === '' ? 1 : Object.hasOwn(units, name) ? units[name] : undefined;
  return factor === undefined ? null : Number(match[1]) * factor;
}

/** Seconds. `10`, `10s`, `500ms`, `30min`. */
export function parseDuration(raw: unknown): number | null {
  const seconds = withUnit(raw, TIME_UNITS);
  // Six digits are all that the units have; more would be rounding noise (0.30000000000000004).
  return seconds === null ? null : Math.round(seconds * 1e6) / 1e6;
}

/** Bytes; units as Postgres has them, 1kB = 1024. */
export function parseSize(raw: unknown): number | null {
  const bytes = withUnit(raw, SIZE_UNITS);
  return bytes === null ? null : Math.round(bytes);
}

export function parseInteger(raw: unknown): number | null {
  if (typeof raw === 'number') return raw;
  return typeof raw === 'string' && /^[+-]?\d+$/.test(raw.trim()) ? Number(raw.trim()) : null;
}

const IS_HOST = /^[^\s:[\]/,@]+$/;

function parsePort(text: string): number | null {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : null;
}

/**
 * `10.0.0.1:5432`, `pg1:5432`, `*:5432`, `:5432`, `[::1]:5432`, `::1`, `pg1`. The host comes without brackets.
 *
 * @returns port null when none is given; null when it is no address
 */
export function splitAddress(text: string): { readonly host: string; readonly port: number | null } | null {
  const whole = text.trim();
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(whole);
  if (bracketed?.[1] !== undefined) {
    if (!isIPv6(bracketed[1])) return null;
    if (bracketed[2] === undefined) return { host: bracketed[1], port: null };
    const port = parsePort(bracketed[2]);
    return port === null ? null : { host: bracketed[1], port };
  }
  if (isIPv6(whole)) return { host: whole, port: null };
  const colon = whole.lastIndexOf(':');
  const host = colon < 0 ? whole : whole.slice(0, colon);
  const port = colon < 0 ? null : parsePort(whole.slice(colon + 1));
  if (colon >= 0 && port === null) return null;
  if (host === '') return colon < 0 ? null : { host: '*', port };
  // An IPv6 address with a port needs brackets: nobody can tell where it ends.
  return IS_HOST.test(host) ? { host, port } : null;
}

export function parseAddress(text: string, defaultPort: number): HostPort | null {
  const parts = splitAddress(text);
  return parts === null ? null : { host: parts.host, port: parts.port ?? defaultPort };
}

/** `10.0.0.1,127.0.0.1:5432`: several addresses, one port, which stands at the end. */
export function parseAddresses(
  text: string,
  defaultPort: number,
): { readonly hosts: readonly string[]; readonly port: number } | null {
  const hosts: string[] = [];
  let port: number | null = null;
  for (const part of text.split(',')) {
    const address = splitAddress(part);
    if (address === null) return null;
    if (address.port !== null && port !== null && address.port !== port) return null;
    port = address.port ?? port;
    hosts.push(address.host);
  }
  return { hosts, port: port ?? defaultPort };
}

/** Addresses that mean "every address of this machine": good to listen on, of no use to others. */
export const isWildcard = (host: string): boolean => host === '*' || host === '0.0.0.0' || host === '::';

/** `10.0.0.1:5432`, `[::1]:5432` */
export const printAddress = (address: HostPort): string =>
  address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;

/** Text with commas into its parts: `a, 'b'` and `[a, b]` as in Patroni's environment variables. */
export function splitList(text: string): readonly string[] {
  const whole = text.trim();
  const inner = /^\[.*\]$/s.test(whole) && !isIPv6(whole.slice(1, -1)) ? whole.slice(1, -1) : whole;
  return inner
    .split(',')
    .map((part) => part.trim().replace(/^(['"])(.*)\1$/s, '$2'))
    .filter((part) => part !== '');
}

/** `10 s`, `500 ms`, `30 min` for people. */
export function printSeconds(seconds: number): string {
  if (seconds !== 0 && Math.abs(seconds) < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds >= 600 && seconds % 60 === 0) return `${seconds / 60} min`;
  return `${Math.round(seconds * 1000) / 1000} s`;
}

export function printBytes(bytes: number): string {
  for (const [name, size] of [
    ['TB', 2 ** 40],
    ['GB', 2 ** 30],
    ['MB', 2 ** 20],
    ['kB', 2 ** 10],
  ] as const) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size} ${name}`;
  }
  return `${bytes} bytes`;
}
