import { describe, expect, it } from 'vitest';
import { AuditTrail } from '../../../src/agent/audit-trail.ts';
import { type AuditEntry, readAudit, writeAudit } from '../../../src/core/audit.ts';
import { ABSENT, type KeyValue, leaseId, revision } from '../../../src/core/store.ts';
import type { PutAnswer } from '../../../src/ports/chronicle.ts';
import { FakeClock, FakeLog } from './fakes.ts';

const entry = (said: string): AuditEntry => ({
  time: '2026-11-20T10:44:00.000Z',
  member: 'pg1',
  asker: { address: '10.0.0.9', login: null, certificate: null, says: 'alice@db1' },
  request: 'PATCH /config',
  asked: null,
  ok: true,
  status: 200,
  said,
  before: { ttl: 10 },
  after: { ttl: 20 },
});

describe('the audit trail of a member', () => {
  it('is a line in the log, and joins what others have written in etcd, also after an outage', async () => {
    const clock = new FakeClock();
    const log = new FakeLog();
    let kept = null as KeyValue | null;
    let answers = false;
    const write = (value: string): void => {
      const next = revision((kept === null ? 0 : Number(kept.modRevision)) + 1);
      kept = { key: 'audit', value, createRevision: next, modRevision: next, lease: leaseId('0') };
    };
    write(writeAudit([entry('of another')]));
    const trail = new AuditTrail({
      clock,
      log,
      chronicle: {
        read: async () => ({ kind: 'answered', entries: [] }),
        put: async (_key, value, known): Promise<PutAnswer> => {
          if (!answers) return { kind: 'unknown', cause: 'no answer' };
          if (known !== (kept?.modRevision ?? ABSENT)) return { kind: 'refused', found: kept };
          write(value);
          return { kind: 'applied', revision: kept?.modRevision ?? ABSENT };
        },
      },
    });
    trail.record(entry('one'));
    expect(log.events).toEqual(['request.answered']);
    await clock.pass(5_000);
    answers = true;
    trail.record(entry('two'));
    await clock.pass(30_000);
    const said = (): string[] => readAudit(kept?.value ?? '').entries.map((one) => one.said);
    expect(said()).toEqual(['of another', 'one', 'two']);

    // Somebody else writes; then this one again.
    write(writeAudit([...readAudit(kept?.value ?? '').entries, entry('of another')]));
    trail.record(entry('three'));
    await clock.pass(30_000);
    expect(said()).toEqual(['of another', 'one', 'two', 'of another', 'three']);
  });
});
