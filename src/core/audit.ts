/**
 * Who asked for what: one entry of the audit trail, how a list of them stands in etcd, and how secrets are kept out of
 * it. Nothing is decided by it.
 */

type Json = Readonly<Record<string, unknown>>;

/** Who asked, as far as is known. */
export interface Asker {
  /** Where the request came from; null: pgha-ctl has written into etcd itself. */
  readonly address: string | null;
  /** The name that was logged in with. */
  readonly login: string | null;
  /** The common name of a verified client certificate. */
  readonly certificate: string | null;
  /** What pgha-ctl says of itself, which nobody has verified: `alice@db1`. */
  readonly says: string | null;
}

export interface AuditEntry {
  /** When it was asked, by the wall clock of who answers; ISO 8601 in UTC. */
  readonly time: string;
  /** The member that was asked; null: nobody, it was written into etcd. */
  readonly member: string | null;
  readonly asker: Asker;
  /** `PATCH /config`, `edit-config` */
  readonly request: string;
  /** What was asked for, without secrets; null: nothing but the request itself. */
  readonly asked: Json | null;
  readonly ok: boolean;
  /** HTTP status; null: there was no HTTP. */
  readonly status: number | null;
  /** What was answered, one sentence. */
  readonly said: string;
  /** Of a change of the configuration: what changed, as it was and as it is. */
  readonly before: Json | null;
  readonly after: Json | null;
}

/** What etcd keeps at most: the newest. */
export const KEPT_AUDIT = 200;
export const KEPT_AUDIT_BYTES = 128 * 1024;
const LONGEST_TEXT = 300;
const LONGEST_DOCUMENT = 4_000;

/** A list as it is written, newest last; the oldest go when it would become too long. */
export function writeAudit(entries: readonly AuditEntry[]): string {
  const written = entries.slice(-KEPT_AUDIT).map((entry) => JSON.stringify(auditAsJson(entry)));
  let bytes = written.reduce((sum, one) => sum + new TextEncoder().encode(one).length + 1, 2);
  while (bytes > KEPT_AUDIT_BYTES) bytes -= new TextEncoder().encode(written.shift() ?? '').length + 1;
  return `[${written.join(',')}]`;
}

/** One entry as it stands in JSON. */
export function auditAsJson(entry: AuditEntry): Json {
  const { asker } = entry;
  return {
    time: entry.time,
    ...(entry.member === null ? {} : { member: entry.member }),
    ...(asker.address === null ? {} : { address: asker.address }),
    ...(asker.login === null ? {} : { login: asker.login }),
    ...(asker.certificate === null ? {} : { certificate: asker.certificate }),
    ...(asker.says === null ? {} : { says: asker.says }),
    request: entry.request,
    ...(entry.asked === null ? {} : { asked: entry.asked }),
    ok: entry.ok,
    ...(entry.status === null ? {} : { status: entry.status }),
    said: entry.said,
    ...(entry.before === null ? {} : { before: entry.before }),
    ...(entry.after === null ? {} : { after: entry.after }),
  };
}

/** @returns what could be read, and why something could not; null: all of it was */
export function readAudit(value: string): { readonly entries: readonly AuditEntry[]; readonly trouble: string | null } {
  let list: unknown;
  try {
    list = JSON.parse(value);
  } catch {
    return { entries: [], trouble: 'not JSON' };
  }
  if (!Array.isArray(list)) return { entries: [], trouble: 'not a JSON array' };
  const entries = list.map(readEntry).filter((entry) => entry !== null);
  const strange = list.length - entries.length;
  return { entries, trouble: strange === 0 ? null : `a list with ${strange} entries that are none` };
}

function readEntry(value: unknown): AuditEntry | null {
  if (!isObject(value)) return null;
  const { time, request } = value;
  if (typeof time !== 'string' || Number.isNaN(Date.parse(time)) || typeof request !== 'string') return null;
  const text = (name: string): string | null => {
    const given = value[name];
    return typeof given === 'string' ? plainText(given) : null;
  };
  const document = (name: string): Json | null => {
    const given = value[name];
    return isObject(given) ? given : null;
  };
  const status = value['status'];
  return {
    time,
    member: text('member'),
    asker: { address: text('address'), login: text('login'), certificate: text('certificate'), says: text('says') },
    request: plainText(request),
    asked: document('asked'),
    ok: value['ok'] === true,
    status: typeof status === 'number' ? status : null,
    said: text('said') ?? '',
    before: document('before'),
    after: document('after'),
  };
}

/** One line of bounded length without what a terminal would obey: others have written it. */
export function plainText(given: string): string {
  const line = given.replace(/\s+/g, ' ').replace(/\p{C}/gu, '?').trim();
  return line.length <= LONGEST_TEXT ? line : `${line.slice(0, LONGEST_TEXT - 3)}...`;
}

/** Who asked, in a few words: `admin (alice@db1) from 10.0.0.9`. */
export function printAsker({ address, login, certificate, says }: Asker): string {
  const known = [login, certificate === null ? null : `CN=${certificate}`].filter((one) => one !== null).join(', ');
  const who = known === '' ? (says ?? 'somebody') : says === null ? known : `${known} (${says})`;
  return address === null ? who : `${who} from ${address}`;
}

const SECRET_NAME = /(pass(word|wd|phrase)?|secret|token|credentials?|private_?key|api_?key)$/i;

/** A document in which nothing secret is left, and which is not too long; null stays null. */
export function masked(given: Json | null): Json | null {
  if (given === null) return null;
  const clean = maskedValue(given) as Json;
  const length = JSON.stringify(clean).length;
  return length <= LONGEST_DOCUMENT ? clean : { '...': `${length} characters, too long to keep` };
}

function maskedValue(value: unknown): unknown {
  if (typeof value === 'string') return maskedText(value);
  if (Array.isArray(value)) return value.map(maskedValue);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => {
      const secret = SECRET_NAME.test(name) && inner !== null && typeof inner !== 'boolean';
      return [name, secret ? '***' : maskedValue(inner)];
    }),
  );
}

/** Longer texts are cut before anything is looked for in them, so that none costs more than a moment. */
const LONGEST_VALUE = 2_000;

/** Passwords in connection strings, in addresses, and before commands. */
function maskedText(text: string): string {
  return text
    .slice(0, LONGEST_VALUE)
    .replace(
      /((?:pass(?:word|wd|phrase)?|secret|token)\s{0,3}=\s{0,3})('(?:\\.|''|[^'\\])*'?|"[^"]*"?|[^\s&'"]+)/gi,
      '$1***',
    )
    .replace(/([a-z][a-z0-9+.-]{0,20}:\/\/[^\s:/@]{0,200}):[^\s/@]*@/gi, '$1:***@');
}

/** Of two documents what differs, as it stands in each: the names around a changed setting, and nothing else. */
export function difference(before: Json, after: Json): { readonly before: Json; readonly after: Json } {
  const was: Record<string, unknown> = {};
  const is: Record<string, unknown> = {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const a = before[name];
    const b = after[name];
    if (JSON.stringify(a) === JSON.stringify(b)) continue;
    if (isObject(a) && isObject(b)) {
      const inner = difference(a, b);
      if (Object.keys(inner.before).length > 0) was[name] = inner.before;
      if (Object.keys(inner.after).length > 0) is[name] = inner.after;
      continue;
    }
    if (a !== undefined) was[name] = a;
    if (b !== undefined) is[name] = b;
  }
  return { before: was, after: is };
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
