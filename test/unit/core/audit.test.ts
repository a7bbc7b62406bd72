import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AuditEntry,
  auditAsJson,
  difference,
  KEPT_AUDIT,
  KEPT_AUDIT_BYTES,
  masked,
  plainText,
  printAsker,
  readAudit,
  writeAudit,
} from '../../../src/core/audit.ts';

const anEntry = (over: Partial<AuditEntry> = {}): AuditEntry => ({
  time: '2026-11-20T10:44:00.000Z',
  member: 'pg1',
  asker: { address: '10.0.0.9', login: 'admin', certificate: null, says: 'alice@db1' },
  request: 'POST /switchover',
  asked: { leader: 'pg1', candidate: 'pg2' },
  ok: true,
  status: 200,
  said: 'Successfully switched over to "pg2"',
  before: null,
  after: null,
  ...over,
});

describe('the audit trail', () => {
  it('is read as it was written', () => {
    const entries = [
      anEntry(),
      anEntry({ member: null, status: null, asked: null, before: { ttl: 10 }, after: { ttl: 20 } }),
      anEntry({ asker: { address: null, login: null, certificate: 'ops', says: null }, ok: false }),
    ];
    expect(readAudit(writeAudit(entries))).toEqual({ entries, trouble: null });
  });

  it('keeps the newest, in number and in bytes', () => {
    const many = Array.from({ length: KEPT_AUDIT + 5 }, (_, index) => anEntry({ said: String(index) }));
    const { entries } = readAudit(writeAudit(many));
    expect([entries.length, entries[0]?.said, entries.at(-1)?.said]).toEqual([KEPT_AUDIT, '5', String(KEPT_AUDIT + 4)]);
    const long = many.map((entry) => ({ ...entry, asked: { x: 'ü'.repeat(3_000) } }));
    expect(Buffer.byteLength(writeAudit(long))).toBeLessThanOrEqual(KEPT_AUDIT_BYTES);
    expect(readAudit(writeAudit(long)).entries.at(-1)?.said).toBe(String(KEPT_AUDIT + 4));
  });

  it.each(['', 'null', '{}', '[1, {"time": "soon", "request": "x"}]', '[{"time": 3}]'])(
    'that is %j is read without harm',
    (value) => expect(readAudit(value).entries).toEqual([]),
  );

  it('is never read into an exception, and nothing in it steers a terminal', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), (value, text) => {
        for (const { said, request } of readAudit(JSON.stringify([value, auditAsJson(anEntry({ said: text }))]))
          .entries) {
          expect(`${said}${request}`).not.toMatch(/\p{Cc}/u);
        }
      }),
    );
  });

  it('says who asked by what is known of him', () => {
    const nobody = { address: '10.0.0.9', login: null, certificate: null, says: null };
    expect(printAsker(nobody)).toBe('somebody from 10.0.0.9');
    expect(printAsker({ ...nobody, says: 'alice@db1' })).toBe('alice@db1 from 10.0.0.9');
    expect(printAsker({ ...nobody, login: 'admin', says: 'alice@db1' })).toBe('admin (alice@db1) from 10.0.0.9');
    expect(printAsker({ ...nobody, address: null, login: 'admin', certificate: 'ops' })).toBe('admin, CN=ops');
  });
});

describe('what is written down', () => {
  it('has no secret in it', () => {
    const asked = {
      password: 'hunter2',
      nested: { api_token: 'hunter2', passphrase: 'hunter2', list: ['password=hunter2', { secret: 'hunter2' }] },
      primary_conninfo: "host=a password='hun\\'ter2' user=b",
      restore_command: 'PGPASSWORD=hunter2 wal-fetch --url https://me:hunter2@store/x %f',
      url: 'postgres://u:hunter2@h/db',
    };
    const text = JSON.stringify(masked(asked));
    expect(text).not.toMatch(/hun|ter2/);
    expect(masked(asked)).toMatchObject({
      password: '***',
      primary_conninfo: 'host=a password=*** user=b',
      restore_command: 'PGPASSWORD=*** wal-fetch --url https://me:***@store/x %f',
    });
    expect(masked({ password_encryption: 'scram-sha-256', ttl: 20 })).toEqual({
      password_encryption: 'scram-sha-256',
      ttl: 20,
    });
  });

  it('is bounded', () => {
    expect(JSON.stringify(masked({ x: 'y'.repeat(100_000) })).length).toBeLessThan(2_100);
    expect(JSON.stringify(masked({ x: Array(1_000).fill('yyyyyyy') })).length).toBeLessThan(100);
    expect(plainText(`a\n\u001b[2Jb${'c'.repeat(1_000)}`)).toHaveLength(300);
  });

  it('is what differs between two configurations', () => {
    const before = { ttl: 10, gone: 1, same: { a: 1 }, postgresql: { parameters: { a: 1, b: 2 }, use_slots: true } };
    const after = { ttl: 20, same: { a: 1 }, postgresql: { parameters: { a: 1, b: 3, c: [4] }, use_slots: true } };
    expect(difference(before, after)).toEqual({
      before: { ttl: 10, gone: 1, postgresql: { parameters: { b: 2 } } },
      after: { ttl: 20, postgresql: { parameters: { b: 3, c: [4] } } },
    });
    expect(difference(after, after)).toEqual({ before: {}, after: {} });
  });
});
