/**
 * Connection strings as libpq reads them (docs: "Connection Strings"), both forms. It connects to nobody, and asks no
 * environment.
 */
import { didYouMean } from '../nearest.ts';

export type Conninfo =
  | { readonly kind: 'read'; readonly values: ReadonlyMap<string, string> }
  /** `index`: where in the text, counted from 0. */
  | { readonly kind: 'wrong'; readonly index: number; readonly message: string };

const KEYWORDS = [
  'host',
  'hostaddr',
  'port',
  'dbname',
  'user',
  'password',
  'passfile',
  'require_auth',
  'channel_binding',
  'connect_timeout',
  'client_encoding',
  'options',
  'application_name',
  'fallback_application_name',
  'keepalives',
  'keepalives_idle',
  'keepalives_interval',
  'keepalives_count',
  'tcp_user_timeout',
  'replication',
  'gssencmode',
  'sslmode',
  'requiressl',
  'sslnegotiation',
  'sslcompression',
  'sslcert',
  'sslkey',
  'sslpassword',
  'sslcertmode',
  'sslrootcert',
  'sslcrl',
  'sslcrldir',
  'sslsni',
  'requirepeer',
  'ssl_min_protocol_version',
  'ssl_max_protocol_version',
  'krbsrvname',
  'gsslib',
  'gssdelegation',
  'service',
  'target_session_attrs',
  'load_balance_hosts',
];

export function parseConninfo(text: string): Conninfo {
  return /^postgres(ql)?:\/\//.test(text) ? parseUri(text) : parsePairs(text);
}

const wrong = (index: number, message: string): Conninfo => ({ kind: 'wrong', index, message });

function parsePairs(text: string): Conninfo {
  const values = new Map<string, string>();
  let at = 0;
  const skipBlanks = (): void => {
    while (/\s/.test(text[at] ?? '')) at += 1;
  };
  for (skipBlanks(); at < text.length; skipBlanks()) {
    const start = at;
    const name = /^[^\s=]+/.exec(text.slice(at))?.[0] ?? '';
    at += name.length;
    skipBlanks();
    if (name === '' || text[at] !== '=') return wrong(start, `\`${name}\` is not followed by \`=\``);
    at += 1;
    skipBlanks();
    const read = readValue(text, at);
    if (read === null) return wrong(at, `the quote that begins the value of ${name} does not end`);
    at = read.end;
    if (!KEYWORDS.includes(name)) return wrong(start, `libpq knows no \`${name}\`${didYouMean(name, KEYWORDS)}`);
    values.set(name, read.value);
  }
  return { kind: 'read', values };
}

function readValue(text: string, from: number): { readonly value: string; readonly end: number } | null {
  const isQuoted = text[from] === "'";
  let value = '';
  for (let at = isQuoted ? from + 1 : from; at < text.length; at += 1) {
    const letter = text[at] ?? '';
    if (isQuoted && letter === "'") return { value, end: at + 1 };
    if (!isQuoted && /\s/.test(letter)) return { value, end: at };
    if (letter === '\\') at += 1;
    value += text[at] ?? '';
  }
  return isQuoted ? null : { value, end: text.length };
}

function parseUri(text: string): Conninfo {
  const match = /^postgres(?:ql)?:\/\/(?:([^:@/?]*)(?::([^@/?]*))?@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(text);
  if (match === null) return wrong(0, 'this is no URI of libpq (postgresql://user@host:port/dbname)');
  const values = new Map<string, string>();
  const [, user, password, authority = '', dbname, query = ''] = match;
  const address = /^(\[[^\]]*\]|[^:,]*)(?::(\d+))?$/.exec(authority);
  const given = [
    ['user', user],
    ['password', password],
    // Of several hosts the list is kept: who reads it says what that means.
    ['host', address === null ? authority : address[1]?.replace(/^\[|\]$/g, '')],
    ['port', address?.[2]],
    ['dbname', dbname],
    ...query
      .split('&')
      .filter((part) => part !== '')
      .map((part) => part.split(/=(.*)/s).slice(0, 2)),
  ] as const;
  for (const [name = '', value] of given) {
    if (value === undefined || value === '') continue;
    if (!KEYWORDS.includes(name))
      return wrong(text.indexOf(name), `libpq knows no \`${name}\`${didYouMean(name, KEYWORDS)}`);
    try {
      values.set(name, decodeURIComponent(value));
    } catch {
      return wrong(text.indexOf(value), `the percent signs in ${name} mean nothing`);
    }
  }
  return { kind: 'read', values };
}
