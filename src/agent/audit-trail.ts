/**
 * Who asked this node for what: a line in the log, and an entry in the cluster's list in etcd, which all members write.
 * Nobody waits for it. While etcd is away the newest wait in memory.
 */
import { type AuditEntry, KEPT_AUDIT, printAsker, readAudit, writeAudit } from '../core/audit.ts';
import type { Millis } from '../core/time.ts';
import type { Chronicle } from '../ports/chronicle.ts';
import type { Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';
import { Ledger } from './ledger.ts';

export class AuditTrail {
  private readonly log: EventLog;
  private readonly ledger: Ledger;
  private pending: readonly AuditEntry[] = [];
  private composed: readonly AuditEntry[] = [];

  constructor(parts: { readonly clock: Clock; readonly chronicle: Chronicle; readonly log: EventLog }) {
    this.log = parts.log;
    this.ledger = new Ledger({
      clock: parts.clock,
      chronicle: parts.chronicle,
      log: parts.log,
      key: 'audit',
      compose: (found) => this.compose(found),
      written: () => {
        this.pending = this.pending.filter((entry) => !this.composed.includes(entry));
      },
    });
  }

  /** Never throws and never waits. */
  record(entry: AuditEntry): void {
    const { asker, request, asked, ok, status, said, before, after } = entry;
    const outcome = `${status === null ? '' : `${status}, `}${said}`;
    this.log.write('info', 'request.answered', `${printAsker(asker)} asked for ${request}: ${outcome}`, {
      ok,
      from: asker.address,
      login: asker.login,
      certificate: asker.certificate,
      says: asker.says,
      ...(asked === null ? {} : { asked }),
      ...(before === null ? {} : { before }),
      ...(after === null ? {} : { after }),
    });
    this.pending = [...this.pending, entry].slice(-KEPT_AUDIT);
    this.ledger.due();
  }

  /** Hands over what is left, within `limit`. */
  close(limit: Millis): Promise<void> {
    return this.ledger.close(limit);
  }

  private compose(found: string | null): string | null {
    this.composed = this.pending;
    if (this.pending.length === 0) return null;
    const before = found === null ? [] : readAudit(found).entries;
    const known = new Set(before.map((entry) => JSON.stringify(entry)));
    // A write that was not answered may have been applied all the same.
    const fresh = this.pending.filter((entry) => !known.has(JSON.stringify(entry)));
    return writeAudit([...before, ...fresh]);
  }
}
