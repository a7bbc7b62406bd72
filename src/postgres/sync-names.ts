/** The text of `synchronous_standby_names`: how it is written and how it is read back. Pure. */
import type { Acknowledging, SyncMode } from '../core/quorum.ts';
import { nodeName } from '../core/store.ts';

/** A name that no standby has: commits wait for ever. Patroni knows it too, and refuses members of that name. */
export const BLOCKED_NAME = '__patroni_strict_sync_replica_placeholder__';

/** As Postgres reads it (docs: "Synchronous Replication", Multiple Synchronous Standbys). */
export function printNames(acknowledging: Acknowledging, mode: SyncMode): string {
  switch (acknowledging.kind) {
    case 'alone':
      return '';
    case 'blocked':
      return BLOCKED_NAME;
    case 'foreign':
      return acknowledging.text;
    case 'standbys': {
      const names = acknowledging.names.map(quoteName).join(',');
      if (mode === 'quorum') return `ANY ${acknowledging.count} (${names})`;
      // More than there are names: nobody can acknowledge, on the way from one list to another.
      return acknowledging.names.length === 1 && acknowledging.count === 1
        ? names
        : `${acknowledging.count} (${names})`;
    }
    default:
      return ((never: never) => never)(acknowledging);
  }
}

/** Unquoted only what could not be taken for anything else. */
function quoteName(name: string): string {
  return /^[a-z_][a-z0-9_]*$/i.test(name) && !/^(any|first)$/i.test(name) ? name : `"${name.replace(/"/g, '""')}"`;
}

/** What a running server has in force; a text that pgha would not write is `foreign`. */
export function parseNames(text: string): Acknowledging {
  const foreign: Acknowledging = { kind: 'foreign', text };
  const trimmed = text.trim();
  if (trimmed === '') return { kind: 'alone' };
  if (trimmed === BLOCKED_NAME) return { kind: 'blocked' };
  const counted = /^(ANY|FIRST)?\s*(\d+)\s*\(([\s\S]*)\)$/i.exec(trimmed);
  const names = listOf(counted === null ? trimmed : (counted[3] ?? ''));
  if (names === null || names.includes('*')) return foreign;
  const count = counted === null ? 1 : Number(counted[2]);
  const any = counted?.[1]?.toUpperCase() === 'ANY';
  // A list by priority waits for the first of those who are there: not one that we write.
  if (count < 1 || (!any && count < names.length)) return foreign;
  return { kind: 'standbys', names: names.map(nodeName), count };
}

/** `a, "b-1"` -> [a, b-1]; null: not such a list. */
function listOf(text: string): string[] | null {
  const names: string[] = [];
  const pattern = /\s*(?:"((?:[^"]|"")*)"|([^\s",()]+))\s*(,|$)/y;
  while (pattern.lastIndex < text.length) {
    const match = pattern.exec(text);
    if (match === null) return null;
    names.push(match[1] === undefined ? (match[2] ?? '') : match[1].replace(/""/g, '"'));
    if (match[3] === '') return names;
  }
  return null;
}
