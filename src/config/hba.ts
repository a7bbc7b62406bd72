/**
 * Lines of pg_hba.conf as Postgres reads them (docs: "The pg_hba.conf File"). A server with a line that it cannot read
 * does not start, so such a line is found before it is written. Whether anybody gets in by a good line is not judged.
 */
import { isIP } from 'node:net';
import { didYouMean } from './nearest.ts';

const TYPES = ['local', 'host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc'];
const INCLUDES = ['include', 'include_if_exists', 'include_dir'];
const METHODS = [
  'trust',
  'reject',
  'scram-sha-256',
  'md5',
  'password',
  'gss',
  'sspi',
  'ident',
  'peer',
  'ldap',
  'radius',
  'cert',
  'pam',
  'bsd',
  'oauth',
];

/** @returns what Postgres would not read in it, null when it would read it; comments and blank lines are fine */
export function hbaMistake(line: string): string | null {
  const fields = hbaFields(line);
  if (fields === null) return 'a quote does not end in it';
  const [type, ...rest] = fields;
  // A line that ends in a backslash goes on in the next one, which cannot be judged by itself either.
  if (type === undefined || line.trimEnd().endsWith('\\')) return null;
  if (INCLUDES.includes(type)) return rest.length === 1 ? null : `${type} wants one file name`;
  if (!TYPES.includes(type))
    return `it must begin with ${TYPES.join(', ')}; ${JSON.stringify(type)} is none of them${didYouMean(type, TYPES)}`;
  const [database, user, ...more] = rest;
  if (database === undefined || user === undefined) return `after ${type} come the database and the user`;
  if (type === 'local') return methodMistake(type, more);
  const [address, ...after] = more;
  if (address === undefined) return 'after the user comes the address';
  const place = addressMistake(address, after[0]);
  if (place.mistake !== null) return place.mistake;
  return methodMistake(type, after.slice(place.maskFields));
}

function addressMistake(
  address: string,
  next: string | undefined,
): { readonly mistake: string | null; readonly maskFields: 0 | 1 } {
  const wrong = (mistake: string) => ({ mistake, maskFields: 0 as const });
  const [host = '', bits, ...tooMuch] = address.split('/');
  const family = isIP(host.replace(/%.*$/, ''));
  if (bits !== undefined) {
    if (family === 0) return wrong(`${address} is not an address with a length of its mask (10.0.0.0/8)`);
    const most = family === 4 ? 32 : 128;
    if (tooMuch.length > 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > most)
      return wrong(`${address}: the mask has 0 to ${most} bits`);
    return { mistake: null, maskFields: 0 };
  }
  if (family !== 0) {
    if (next === undefined || isIP(next) !== family)
      return wrong(`${address} needs a mask: ${address}/${family === 4 ? 32 : 128}`);
    return { mistake: null, maskFields: 1 };
  }
  // `10.0.0.256`: a name to Postgres, and one that no machine has.
  if (/^[\d.]+$/.test(host)) return wrong(`${address} is no address`);
  return { mistake: null, maskFields: 0 };
}

function methodMistake(type: string, fields: readonly string[]): string | null {
  const [method, ...options] = fields;
  if (method === undefined) return `the method is missing at its end (${METHODS.slice(0, 3).join(', ')}, ...)`;
  if (!METHODS.includes(method)) return `${JSON.stringify(method)} is no method${didYouMean(method, METHODS)}`;
  if (method === 'peer' && type !== 'local') return 'peer works for local connections only';
  if (method === 'cert' && type !== 'hostssl') return 'cert works for hostssl only';
  if (method === 'gss' && type === 'local') return 'gss does not work for local connections';
  const strange = options.find((option) => !option.includes('='));
  return strange === undefined ? null : `${JSON.stringify(strange)} after the method is no name=value`;
}

/**
 * The fields of one line: parted by blanks, commas bind, quotes hold together, `#` begins a comment.
 *
 * @returns null when a quote does not end
 */
function hbaFields(line: string): readonly string[] | null {
  const fields: string[] = [];
  let field: string | null = null;
  let quoted = false;
  for (const letter of line) {
    if (letter === '"') {
      quoted = !quoted;
      field ??= '';
    } else if (quoted) field = (field ?? '') + letter;
    else if (letter === '#') break;
    else if (/\s/.test(letter)) {
      // `a, b` is one list.
      if (field !== null && !field.endsWith(',')) {
        fields.push(field);
        field = null;
      }
    } else field = (field ?? '') + letter;
  }
  if (quoted) return null;
  if (field !== null) fields.push(field);
  return fields;
}
