/**
 * `audit`: who asked a cluster for what, as its members and pgha-ctl have written it down. Also the writing of an entry
 * for what pgha-ctl changes in etcd itself, where no member hears of it.
 */
import {
  type AuditEntry,
  auditAsJson,
  difference,
  masked,
  plainText,
  printAsker,
  readAudit,
  writeAudit,
} from '../../core/audit.ts';
import { ABSENT } from '../../core/store.ts';
import { millis } from '../../core/time.ts';
import { timestamp } from './outcome.ts';
import type { Session } from './session.ts';
import { type Column, drawTable, type Format, structured } from './table.ts';

export interface AuditOptions {
  readonly limit: number;
  readonly format: Format;
}

const TITLES = ['Timestamp', 'Who', 'Member', 'Request', 'OK', 'Answer', 'Details'] as const;
const COLUMNS: readonly Column[] = TITLES.map((title) => ({ title, key: title, align: 'left' }));
/** In a table; programs get everything. */
const LONGEST_DETAILS = 120;

export async function audit(session: Session, name: string | undefined, options: AuditOptions): Promise<number> {
  const { terminal } = session;
  const scope = await session.scope(name);
  const kept = (await session.readChronicle(scope)).find(({ key }) => key === 'audit');
  const { entries, trouble } = kept === undefined ? { entries: [], trouble: null } : readAudit(kept.value);
  if (trouble !== null) terminal.err(`Warning: etcd's key pgha/audit is ${trouble}.`);
  const chosen = entries.toSorted((a, b) => Date.parse(b.time) - Date.parse(a.time)).slice(0, options.limit);
  if (options.format === 'json') terminal.out(JSON.stringify(chosen.map(auditAsJson)));
  else if (options.format !== 'pretty')
    terminal.out(
      await structured(options.format, { columns: COLUMNS, rows: chosen.map((entry) => rowOf(entry, entry.time)) }),
    );
  else if (chosen.length === 0) terminal.out('Nothing was asked for.');
  else {
    const rows = chosen.map((entry) => rowOf(entry, timestamp(new Date(entry.time))));
    terminal.out(
      drawTable(
        null,
        COLUMNS,
        rows.map((row) => row.map((cell) => shortened(cell))),
      ),
    );
  }
  return 0;
}

function rowOf(entry: AuditEntry, time: string): string[] {
  const answer = `${entry.status === null ? '' : `${entry.status} `}${entry.said}`;
  return [
    time,
    printAsker(entry.asker),
    entry.member ?? '',
    entry.request,
    entry.ok ? 't' : 'f',
    answer,
    detailsOf(entry),
  ];
}

/** `{"ttl":10} -> {"ttl":20}`, or what was asked for. */
function detailsOf({ before, after, asked }: AuditEntry): string {
  if (before !== null || after !== null) return `${JSON.stringify(before ?? {})} -> ${JSON.stringify(after ?? {})}`;
  return asked === null ? '' : JSON.stringify(asked);
}

const shortened = (cell: string): string =>
  cell.length <= LONGEST_DETAILS ? cell : `${cell.slice(0, LONGEST_DETAILS - 3)}...`;

type Json = Readonly<Record<string, unknown>>;

/** What pgha-ctl itself has written into etcd. */
export interface DirectWrite {
  readonly request: string;
  readonly asked?: Json;
  readonly said: string;
  /** Of a change of the configuration. */
  readonly before?: Json;
  readonly after?: Json;
}

const WRITE_LIMIT = millis(3_000);
const ATTEMPTS = 5;

/** After the change, which stands whatever becomes of this: that it could not be written down is said. */
export async function recordDirect(session: Session, scope: string, write: DirectWrite): Promise<void> {
  const changed = write.after === undefined ? null : difference(write.before ?? {}, write.after);
  const entry: AuditEntry = {
    time: session.terminal.now().toISOString(),
    member: null,
    asker: { address: null, login: null, certificate: null, says: plainText(session.operator) },
    request: write.request,
    asked: masked(write.asked ?? null),
    ok: true,
    status: null,
    said: plainText(write.said),
    before: changed === null ? null : masked(changed.before),
    after: changed === null ? null : masked(changed.after),
  };
  const why = await append(session, scope, entry).catch((error: unknown) => String(error));
  if (why !== null) session.terminal.err(`Warning: done, but not written into the audit trail: ${why}`);
}

/** @returns why it could not; null: it stands there */
async function append(session: Session, scope: string, entry: AuditEntry): Promise<string | null> {
  const { chronicle } = await session.store(scope);
  const answer = await chronicle.read(WRITE_LIMIT);
  if (answer.kind === 'unanswered') return answer.cause;
  let found = answer.entries.find(({ key }) => key === 'audit') ?? null;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const before = found === null ? [] : readAudit(found.value).entries;
    const written = await chronicle.put(
      'audit',
      writeAudit([...before, entry]),
      found?.modRevision ?? ABSENT,
      WRITE_LIMIT,
    );
    if (written.kind === 'applied') return null;
    if (written.kind === 'unknown') return written.cause;
    found = written.found;
  }
  return 'others write there all the time';
}
