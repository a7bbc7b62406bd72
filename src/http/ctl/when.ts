/** When something is to be done: `now`, or a time that the operator types. */
import { readTime } from '../schedule.ts';
import type { Session } from './session.ts';
import { prompt, Refusal, type Terminal } from './terminal.ts';

/**
 * A time without a zone is one of this terminal's: the questions that follow show it with its zone.
 *
 * @param given - what the command line says; absent: it is asked for
 * @param ask - false: `now` when the command line says nothing
 * @returns ISO 8601 with its zone; null: now
 * @throws {Refusal} when it is no time, or has passed
 */
export async function chooseTime(
  { terminal }: Session,
  action: 'switchover' | 'restart',
  given: string | undefined,
  ask: boolean,
): Promise<string | null> {
  const example = new Date(terminal.now().getTime() + 3_600_000).toISOString().slice(0, 16);
  const asked =
    given ?? (ask ? await prompt(terminal, `When should the ${action} take place (e.g. ${example} ) `, 'now') : 'now');
  if (asked.trim().toLowerCase() === 'now') return null;
  const time = readTime(withZone(asked, terminal));
  if (time.kind !== 'time')
    throw new Refusal(`${asked} is not understood as a time: write it like ${example}+00:00, or without a zone.`);
  if (time.at <= terminal.now().getTime()) throw new Refusal(`${asked} is in the past.`);
  return time.iso;
}

/** `2026-12-01T03:00` -> `2026-12-01T03:00+01:00`, where this terminal is at that time of the year. */
function withZone(text: string, terminal: Terminal): string {
  if (readTime(text).kind !== 'no-zone') return text;
  const utc = readTime(`${text}Z`);
  if (utc.kind !== 'time') return text;
  const minutes = -terminal.zoneOffset(new Date(utc.at));
  const two = (n: number): string => String(n).padStart(2, '0');
  const ahead = Math.abs(minutes);
  return `${text.trim()}${minutes < 0 ? '-' : '+'}${two(Math.floor(ahead / 60))}:${two(ahead % 60)}`;
}
