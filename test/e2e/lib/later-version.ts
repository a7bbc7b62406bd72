/**
 * Turns the programs of a node into those of a version that nobody has written yet: another number, and fields that the
 * present one does not know in everything it writes for others: keys in etcd, answers and requests over HTTP, what daemon
 * and guard say to each other, files in the runtime directory. It changes no behaviour.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const LATER_VERSION = '0.2.0';

/** Of what is written for others; a map of names is none of it: its entries mean something. */
const MARKS = [
  'conn_url',
  'optime',
  'pgha',
  'do',
  'ok',
  'notice',
  'pong',
  'boot',
  'sync_standby',
  'event',
  'kind',
  'name',
];

const PRELUDE = `
const plainly = JSON.stringify;
const unknown = { of: 'a later version', list: [1, { deep: true }] };
const withMore = (value) => {
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  if (!${JSON.stringify(MARKS)}.some((mark) => mark in value)) return value;
  const pgha = typeof value.pgha === 'object' && value.pgha !== null ? { pgha: { ...value.pgha, unknown } } : {};
  return { ...value, ...pgha, unknown };
};
JSON.stringify = (value, ...rest) => plainly(withMore(value), ...rest);
`;

export function makeLater(programs: string): void {
  for (const file of ['pgha.js', 'guard.js']) {
    replaceProgram(programs, file, (text) => {
      const [shebang, ...rest] = text.split('\n');
      return `${shebang}\n${PRELUDE}\n${rest.join('\n').replaceAll('"0.1.0"', `"${LATER_VERSION}"`)}`;
    });
  }
}

/** As a package manager does it: the file is another one from one instant to the next. */
export function replaceProgram(programs: string, file: string, change: (text: string) => string): () => void {
  const path = join(programs, file);
  const before = readFileSync(path, 'utf8');
  const write = (text: string): void => {
    writeFileSync(`${path}.next`, text, { mode: 0o755 });
    renameSync(`${path}.next`, path);
  };
  write(change(before));
  return () => write(before);
}
