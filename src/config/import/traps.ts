/**
 * What people copy from manuals without seeing it: letters of another alphabet, addresses that are none, versions that
 * nobody supports any more, commands that archive nothing. Judges single values; knows no file.
 */
import { isIP } from 'node:net';

export interface StrangeLetter {
  /** In the text, counted from 0. */
  readonly index: number;
  readonly sentence: string;
}

const ALPHABETS: readonly (readonly [name: string, letters: RegExp])[] = [
  ['Cyrillic', /\p{Script=Cyrillic}/u],
  ['Greek', /\p{Script=Greek}/u],
  ['full-width', /[\uff01-\uff5e]/],
];

/** A letter that looks like a Latin one and is none, in text that is Latin otherwise. */
export function strangeLetter(text: string): StrangeLetter | null {
  if (!/[A-Za-z/]/.test(text)) return null;
  let index = 0;
  for (const letter of text) {
    const alphabet = ALPHABETS.find(([, letters]) => letters.test(letter));
    if (alphabet !== undefined) {
      const code = (letter.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
      return { index, sentence: `\`${letter}\` is a ${alphabet[0]} letter (U+${code})` };
    }
    index += letter.length;
  }
  return null;
}

/** Why nobody can connect to this host; null: nothing speaks against it. */
export function hostTrap(host: string): string | null {
  if (host === '127.0.0.0')
    return 'is the name of a network, not the address of a machine: 127.0.0.1 was meant, perhaps';
  if (isIP(host) === 4 && /^127\./.test(host)) return 'is this machine itself: no other node can connect to it';
  if (host === 'localhost' || host === '::1') return 'is this machine itself: no other node can connect to it';
  if (/^[\d.]+$/.test(host) && isIP(host) === 0) return 'is no IP address';
  return null;
}

/** The major version that a path of Debian's or PGDG's layout names: `12`, `9.6`; null: it names none. */
export function versionOfPath(path: string): string | null {
  const match = /(?:\/postgresql\/|\/pgsql[-/])(\d+(?:\.\d+)?)(?:\/|$)/.exec(path);
  return match?.[1] ?? null;
}

const OLDEST = 12;

export function versionTrap(path: string): string | null {
  const version = versionOfPath(path);
  if (version === null || Number(version) >= OLDEST) return null;
  return `the path is one of PostgreSQL ${version}; ${OLDEST} is the oldest that pgha works with: upgrade first (pg_upgrade), then import`;
}

/** `/bin/true`, `:`, `cd .`: a command that succeeds and keeps nothing. */
export function archivesNothing(command: string): boolean {
  return /^(\/bin\/true|\/usr\/bin\/true|true|:|cd \.|exit 0|\/bin\/echo.*|echo\b.*)$/.test(command.trim());
}

/** What of a value may be shown: passwords in connection strings and URLs may not. */
export function withoutSecrets(text: string): string {
  return text
    .replace(/(password|passwd|sslpassword)(\s*=\s*)('(?:[^'\\]|\\.|'')*'|[^\s&']+)/gi, '$1$2***')
    .replace(/(\/\/[^\s/:@]*):[^\s/@]*@/g, '$1:***@');
}
