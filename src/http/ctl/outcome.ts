/**
 * What became of a command, for people in patronictl's sentences and for programs as JSON. The exit code is real: one
 * refusal makes it 1.
 */
import type { Session } from './session.ts';

export type ActFormat = 'pretty' | 'json';

export interface Outcome {
  readonly action: string;
  readonly ok: boolean;
  readonly member?: string;
  /** HTTP status of the member's answer; null when it did not answer. */
  readonly status?: number | null;
  /** What the member said, or what happened. */
  readonly said: string;
  readonly facts?: Readonly<Record<string, unknown>>;
}

/**
 * Prints each outcome.
 *
 * @returns the exit code: 0 when all went well. patronictl ends with 0 whatever the members said; scripts that rest on that
 *   have PGHA_CTL_EXIT_CODES=patronictl
 */
export function report(
  session: Session,
  format: ActFormat,
  outcomes: readonly Outcome[],
  spoken: (o: Outcome) => string,
): number {
  const { terminal } = session;
  if (format === 'json') {
    terminal.out(JSON.stringify(outcomes.map(({ facts, ...outcome }) => ({ ...outcome, ...facts }))));
  } else {
    for (const outcome of outcomes) terminal.out(spoken(outcome));
  }
  const ok = outcomes.length > 0 && outcomes.every((outcome) => outcome.ok);
  return ok || terminal.env['PGHA_CTL_EXIT_CODES'] === 'patronictl' ? 0 : 1;
}

export function failed(outcome: Outcome): string {
  const status = outcome.status === null || outcome.status === undefined ? '' : `, status code=${outcome.status}`;
  return `Failed: ${outcome.action} for member ${outcome.member ?? '?'}${status}, (${outcome.said})`;
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** `2026-11-20 10:44:00`, in local time. */
export function timestamp(at: Date, fraction = false): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return `${day} ${time}${fraction ? `.${String(at.getMilliseconds()).padStart(3, '0')}` : ''}`;
}

/** Longer than any page that a member sends; an answer may have 16 MB, and each `<` in it is looked at to the end. */
const MOST_OF_PAGE = 8_000;

/** Server pages are HTML: the sentence in them, for a terminal. Of what is no page of ours, the beginning. */
export function plain(answer: string): string {
  const text = answer.slice(0, MOST_OF_PAGE);
  const paragraph = /<p>([\s\S]*?)<\/p>/.exec(text)?.[1];
  return (paragraph ?? text)
    .replace(/<[^>]*>/g, '')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&amp;/g, '&')
    .trim();
}
