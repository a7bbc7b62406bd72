/**
 * Host names to addresses, remembered. Addresses are the rule in members' URLs; where names are used, a name server
 * that does not answer, or a thread pool full of calls to a frozen disk (getaddrinfo shares it), must not silence a
 * member that we could reach a moment ago.
 */
import type { LookupAddress, LookupOptions } from 'node:dns';
import { lookup as systemLookup } from 'node:dns';
import { millis } from '../core/time.ts';

type Done = (error: Error | null, address: string | LookupAddress[], family?: number) => void;

/** Older answers are still used, but asked for anew beside it. */
const FRESH_FOR = millis(30_000);

export class Names {
  readonly #known = new Map<string, { readonly addresses: LookupAddress[]; readonly at: number }>();
  readonly #asking = new Map<string, Promise<LookupAddress[]>>();

  /** As `net.connect` calls it. */
  readonly lookup = (name: string, options: LookupOptions, done: Done): void => {
    const known = this.#known.get(name);
    if (known !== undefined && performance.now() - known.at < FRESH_FOR) {
      this.#give(known.addresses, options, done);
      return;
    }
    const asked = this.#ask(name);
    if (known !== undefined) {
      asked.catch(() => {});
      this.#give(known.addresses, options, done);
      return;
    }
    asked.then(
      (addresses) => this.#give(addresses, options, done),
      (error: Error) => done(error, []),
    );
  };

  #give(addresses: LookupAddress[], options: LookupOptions, done: Done): void {
    // `net` expects the answer after the call has returned.
    queueMicrotask(() => {
      const first = addresses[0];
      if (options.all === true) done(null, addresses);
      else if (first === undefined) done(new Error('the name has no address'), '');
      else done(null, first.address, first.family);
    });
  }

  #ask(name: string): Promise<LookupAddress[]> {
    const underWay = this.#asking.get(name);
    if (underWay !== undefined) return underWay;
    const asked = new Promise<LookupAddress[]>((resolve, reject) => {
      systemLookup(name, { all: true }, (error, addresses) => {
        this.#asking.delete(name);
        if (error !== null || addresses.length === 0) {
          reject(error ?? new Error(`${name} has no address`));
          return;
        }
        this.#known.set(name, { addresses, at: performance.now() });
        resolve(addresses);
      });
    });
    this.#asking.set(name, asked);
    return asked;
  }
}
