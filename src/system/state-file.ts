/**
 * The daemon's memory behind ports/state-file: one small JSON file in the runtime directory, replaced whole. The term
 * is decimal text in it: JSON's numbers do not hold 64 bits. Synchronous, because it lies on tmpfs: through libuv's
 * pool a promotion would wait behind reads of a data disk that hangs.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { leaseId, revision } from '../core/store.ts';
import { millis } from '../core/time.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { StateFile, StoredLeadership } from '../ports/state-file.ts';
import { bootId } from './boot-id.ts';

export class RuntimeStateFile implements StateFile {
  private readonly path: string;
  private readonly log: EventLog;

  constructor(runtimeDirectory: string, log: EventLog) {
    this.path = `${runtimeDirectory}/leadership.json`;
    this.log = log;
  }

  async read(): Promise<StoredLeadership | null> {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.report(error);
      return null;
    }
    try {
      return parse(text);
    } catch (error) {
      this.report(error);
      return null;
    }
  }

  async write(state: StoredLeadership): Promise<void> {
    const text = JSON.stringify({
      boot: bootId(),
      lease: state.lease,
      ttlMs: state.ttl,
      term: state.term.toString(),
      dataDirectory: state.dataDirectory,
      gatePassed: state.gatePassed,
    });
    writeFileSync(`${this.path}.next`, `${text}\n`, { mode: 0o600 });
    renameSync(`${this.path}.next`, this.path);
  }

  async forget(): Promise<void> {
    rmSync(this.path, { force: true });
  }

  private report(error: unknown): void {
    const sentence = `${this.path} cannot be used and counts as absent: this node knows of no leadership of its own.`;
    this.log.write('warn', 'state.unreadable', sentence, { error });
  }
}

/** @throws when it is not such a file; null when it is from before the last boot */
function parse(text: string): StoredLeadership | null {
  const file: unknown = JSON.parse(text);
  if (typeof file !== 'object' || file === null) throw new Error('not an object');
  const { boot, lease, ttlMs, term, dataDirectory, gatePassed } = file as Record<string, unknown>;
  if (typeof boot !== 'string') throw new Error('no boot');
  if (boot !== bootId()) return null;
  if (typeof lease !== 'string' || !/^\d+$/.test(lease)) throw new Error('no lease');
  if (typeof term !== 'string' || !/^\d+$/.test(term)) throw new Error('no term');
  if (typeof ttlMs !== 'number' || !(ttlMs > 0)) throw new Error('no TTL');
  if (typeof dataDirectory !== 'string' || typeof gatePassed !== 'boolean') throw new Error('incomplete');
  return { lease: leaseId(lease), ttl: millis(ttlMs), term: revision(term), dataDirectory, gatePassed };
}
