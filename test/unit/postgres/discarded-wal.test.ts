/** What is read from the lines of pg_waldump about transactions. */
import { expect, it } from 'vitest';
import { transactionIn } from '../../../src/postgres/discarded-wal.ts';

const line = (desc: string): string =>
  `rmgr: Transaction len (rec/tot):     46/    46, tx:        745, lsn: 0/0301B2C8, prev 0/0301B288, desc: ${desc}`;

it.each([
  ['COMMIT 2026-11-20 10:44:00.123456 UTC', { kind: 'commit', xid: 745, at: '2026-11-20T10:44:00.123Z' }],
  ['COMMIT 2026-11-20 10:44:00.5 UTC; inval msgs: catcache 55', { kind: 'commit', at: '2026-11-20T10:44:00.500Z' }],
  ['COMMIT_PREPARED gid x: 744: 2026-11-20 10:44:00 UTC', { kind: 'commit', at: '2026-11-20T10:44:00.000Z' }],
  ['ABORT 2026-11-20 10:44:00.123456 UTC', { kind: 'abort' }],
  ['COMMIT of another form', { kind: 'commit', at: null }],
])('%s', (desc, expected) => expect(transactionIn(line(desc))).toMatchObject(expected));

it.each([
  line('PREPARE gid x: 2026-11-20 10:44:00 UTC'),
  line('ASSIGNMENT xtop 745: subxacts: 746'),
  'rmgr: Heap        len (rec/tot):     59/    59, tx:        745, lsn: 0/0301B288, prev 0/0301B250, desc: INSERT off 1',
  '',
])('no end of a transaction: %s', (text) => expect(transactionIn(text)).toBeNull());
