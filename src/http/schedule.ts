/** Times and lengths of time that operators type: when something is to be done, and how long it may take. */
import { type Millis, millis } from '../core/time.ts';

export type ReadTime =
  | { readonly kind: 'time'; readonly iso: string; readonly at: number }
  | { readonly kind: 'no-zone' }
  | { readonly kind: 'not-understood' };

/** ISO 8601, also with a space for the T, without seconds, and with a zone of hours only. */
export function readTime(text: string): ReadTime {
  const match = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2}(?:\.\d+)?)?\s*(Z|[+-]\d{2}(?::?\d{2})?)?$/i.exec(
    text.trim(),
  );
  if (match === null) return { kind: 'not-understood' };
  const [, day = '', minute, second = ':00', zone] = match;
  // JavaScript takes the 31st of February for a day in March.
  if (!isDay(day)) return { kind: 'not-understood' };
  if (zone === undefined) return { kind: 'no-zone' };
  const offset =
    zone.toUpperCase() === 'Z' ? '+00:00' : `${zone.slice(0, 3)}:${zone.length > 3 ? zone.slice(-2) : '00'}`;
  const iso = `${day}T${minute}${second}${offset}`;
  const at = Date.parse(iso);
  return Number.isNaN(at) ? { kind: 'not-understood' } : { kind: 'time', iso, at };
}

function isDay(day: string): boolean {
  const at = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(day);
}

const UNITS = new Map([
  ['', 1_000],
  ['ms', 1],
  ['s', 1_000],
  ['min', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

/** `30`, `30s`, `5min`: seconds when no unit is given; null for what is not a positive length. */
export function readLength(value: unknown): Millis | null {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/.exec(String(value).trim());
  const unit = UNITS.get(match?.[2] ?? '?');
  if (match?.[1] === undefined || unit === undefined) return null;
  const length = Number(match[1]) * unit;
  return length > 0 ? millis(length) : null;
}
