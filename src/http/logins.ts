/**
 * Whether a login is the configured one. A password that stands in the configuration as a hash costs tens of
 * milliseconds to check, so each login is checked once and then known; checks run one after the other, away from the
 * thread that renews the lease, and only a few may wait, so that whoever guesses passwords keeps nobody from anything.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { isPasswordOf, looksHashed, readPasswordHash } from '../config/password-hash.ts';

export interface Expected {
  readonly username: string;
  /** In clear, or as a hash. */
  readonly password: string;
}

export type LoginAnswer = 'right' | 'wrong' | 'busy';

/** A right login is one; the others are guesses, of which the oldest are forgotten. */
const MOST_KNOWN = 64;
const MOST_WAITING = 8;

export class Logins {
  /** So that what is remembered is worth nothing elsewhere. */
  readonly #key = randomBytes(32);
  readonly #known = new Map<string, boolean>();
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** @param given - the header `Authorization` */
  check(expected: Expected, given: string): LoginAnswer | Promise<LoginAnswer> {
    const { username, password } = expected;
    if (!looksHashed(password)) return this.#same(given, basic(expected)) ? 'right' : 'wrong';
    const digest = this.#digest(`${username}\n${password}\n${given}`).toString('base64');
    const known = this.#known.get(digest);
    if (known !== undefined) return known ? 'right' : 'wrong';
    if (this.#waiting >= MOST_WAITING) return 'busy';
    this.#waiting += 1;
    const checked = this.#last
      .then(() => this.#compare(expected, given))
      .finally(() => {
        this.#waiting -= 1;
      });
    this.#last = checked.catch(() => undefined);
    return checked.then((right) => {
      this.#remember(digest, right);
      return right ? 'right' : 'wrong';
    });
  }

  async #compare({ username, password }: Expected, given: string): Promise<boolean> {
    const hash = readPasswordHash(password);
    const [, encoded = ''] = /^Basic\s+(\S+)$/i.exec(given) ?? [];
    const login = Buffer.from(encoded, 'base64').toString();
    const mark = login.indexOf(':');
    if (hash === null || mark < 0) return false;
    // Both are compared, whatever the first says: how long it takes tells nothing.
    const right = await isPasswordOf(hash, login.slice(mark + 1));
    return this.#same(login.slice(0, mark), username) && right;
  }

  #remember(digest: string, right: boolean): void {
    // Those that are right stay: only guesses make room.
    for (const [one, was] of this.#known) {
      if (this.#known.size < MOST_KNOWN) break;
      if (!was) this.#known.delete(one);
    }
    if (this.#known.size < MOST_KNOWN || right) this.#known.set(digest, right);
  }

  /** Takes the same time wherever the texts differ, and whatever their lengths are. */
  #same(a: string, b: string): boolean {
    return timingSafeEqual(this.#digest(a), this.#digest(b));
  }

  #digest(text: string): Buffer {
    return createHmac('sha256', this.#key).update(text).digest();
  }
}

/** As such a login is sent. */
export const basic = ({ username, password }: Expected): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
