/**
 * A password of the REST API as a hash, so that a configuration that many can read holds none: scrypt, written as
 * `$scrypt$ln=14,r=8,p=1$SALT$HASH` (base64 without its padding). Hashing costs tens of milliseconds of another thread
 * and 16 MB on purpose: whoever checks remembers the result.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';

export interface PasswordHash {
  /** The cost is 2 to the power of it. */
  readonly logCost: number;
  readonly blockSize: number;
  readonly parallel: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

const PREFIX = '$scrypt$';
const COST = { logCost: 14, blockSize: 8, parallel: 1 } as const;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** What one check may take of the memory. */
const MOST_MEMORY = 256 * 2 ** 20;

/** Whether it is meant as a hash, well made or not: no password begins like that. */
export const looksHashed = (password: string): boolean => password.startsWith(PREFIX);

/** null: it is none, or one that would cost more than a check may. */
export function readPasswordHash(text: string): PasswordHash | null {
  const match = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,88})\$([A-Za-z0-9+/]{22,88})$/.exec(
    text.replace(/=+(?=\$|$)/g, ''),
  );
  if (match === null) return null;
  const [logCost = 0, blockSize = 0, parallel = 0] = match.slice(1, 4).map(Number);
  const memory = 128 * 2 ** logCost * blockSize;
  if (logCost < 10 || blockSize < 1 || parallel < 1 || parallel > 16 || memory > MOST_MEMORY) return null;
  const [salt = '', hash = ''] = match.slice(4);
  return { logCost, blockSize, parallel, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') };
}

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(password, { ...COST, salt, hash: Buffer.alloc(HASH_BYTES) });
  const { logCost, blockSize, parallel } = COST;
  const text = (bytes: Buffer): string => bytes.toString('base64').replace(/=+$/, '');
  return `${PREFIX}ln=${logCost},r=${blockSize},p=${parallel}$${text(salt)}$${text(hash)}`;
}

/** In another thread; takes as long for a wrong password as for the right one. */
export async function isPasswordOf(known: PasswordHash, password: string): Promise<boolean> {
  return timingSafeEqual(await derive(password, known), known.hash);
}

function derive(password: string, { logCost, blockSize, parallel, salt, hash }: PasswordHash): Promise<Buffer> {
  const N = 2 ** logCost;
  // As much as it needs and a little: Node.js refuses at its own limit of 32 MiB otherwise.
  const maxmem = 128 * blockSize * (N + parallel + 2);
  return new Promise((resolve, reject) => {
    scrypt(password, salt, hash.length, { N, r: blockSize, p: parallel, maxmem }, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
}
