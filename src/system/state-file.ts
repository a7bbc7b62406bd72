/**
 * The daemon's memory behind ports/state-file: one small JSON file in the runtime directory, replaced whole. The term
 * is decimal text in it: JSON's numbers do not hold 64 bits. Synchronous, because it lies on tmpfs: through libuv's
 * pool a promotion would wait behind reads of a data disk that hangs.
 */

import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type SystemId, systemId } from '../core/local.ts';
import { leaseId, type NodeName, nodeName, revision } from '../core/store.ts';
import { millis } from '../core/time.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { StateFile, StoredLeadership, StoredList } from '../ports/state-file.ts';
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
      unbounded: state.unbounded,
      ledAs: state.ledAs,
      failsafe: state.list === null ? null : listText(state.list),
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
  return {
    lease: leaseId(lease),
    ttl: millis(ttlMs),
    term: revision(term),
    dataDirectory,
    gatePassed,
    // These are left out by versions that did not know them yet: then they were not so.
    unbounded: (file as Record<string, unknown>)['unbounded'] === true,
    ledAs: parseSystemId((file as Record<string, unknown>)['ledAs']),
    list: parseList((file as Record<string, unknown>)['failsafe']),
  };
}

const parseSystemId = (value: unknown): SystemId | null =>
  typeof value === 'string' && /^\d+$/.test(value) ? systemId(value) : null;

const listText = ({ members, revision: at, unsettled }: StoredList) => ({
  members: Object.fromEntries(members),
  revision: at.toString(),
  unsettled: unsettled === null ? null : Object.fromEntries(unsettled),
});

/** @throws when it is there and no such list: half of it would leave somebody out */
function parseList(value: unknown): StoredList | null {
  if (value === null || value === undefined) return null;
  const { members, revision: at, unsettled } = value as Record<string, unknown>;
  if (typeof at !== 'string' || !/^\d+$/.test(at)) throw new Error('no revision of the failsafe list');
  return {
    members: membersIn(members),
    revision: revision(at),
    unsettled: unsettled === null ? null : membersIn(unsettled),
  };
}

function membersIn(value: unknown): ReadonlyMap<NodeName, string> {
  if (typeof value !== 'object' || value === null) throw new Error('no members of the failsafe list');
  return new Map(
    Object.entries(value).map(([name, url]) => {
      if (typeof url !== 'string') throw new Error(`no address of ${name} in the failsafe list`);
      return [nodeName(name), url];
    }),
  );
}
