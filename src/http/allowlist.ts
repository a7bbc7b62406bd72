/**
 * From which addresses something may be changed: those of the configuration (addresses, networks, and names, which are
 * looked up when the configuration is read) and, where that is wanted, those of the members. It says nothing about who
 * asks from there.
 */
import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';
import type { RestApiConfig } from '../config/schema.ts';

/** A name that the resolver does not know in this time counts as one that it does not know. */
const LOOKUP_MS = 1_000;
/** So long a member's name is taken to be at the addresses where it was last. */
const REMEMBERED_MS = 60_000;

export class Allowlist {
  /** null: nothing is set, and everybody may. */
  #explicit: BlockList | null = null;
  #withMembers = false;
  readonly #names = new Map<string, { readonly at: number; readonly addresses: readonly string[] }>();

  /** @returns the names that could not be looked up: nobody is let in for them */
  async use(restapi: RestApiConfig): Promise<readonly string[]> {
    const { allowlist = [], allowlistIncludeMembers = false } = restapi;
    const unknown: string[] = [];
    const list = new BlockList();
    for (const entry of allowlist) {
      const [address = '', prefix] = entry.split('/');
      if (isIP(address) === 0) {
        const found = await addressesOf(address);
        if (found.length === 0) unknown.push(address);
        for (const one of found) add(list, one);
      } else add(list, address, prefix === undefined ? undefined : Number(prefix));
    }
    this.#explicit = allowlist.length === 0 ? null : list;
    this.#withMembers = allowlistIncludeMembers;
    return unknown;
  }

  /**
   * @param members - hosts of the members, as they publish them
   * @param always - `members`: they may ask this whatever the configuration says of them; `everybody`: while the
   *   configuration names no addresses, it is open to all, also to those who are no members
   */
  async admits(
    address: string | undefined,
    members: readonly string[],
    always: 'members' | 'everybody' | null = null,
  ): Promise<boolean> {
    if (this.#explicit === null && (!this.#withMembers || always === 'everybody')) return true;
    const from = plain(address ?? '');
    if (from === '') return false;
    if (this.#explicit !== null && has(this.#explicit, from)) return true;
    if (!this.#withMembers && always !== 'members') return false;
    for (const host of members) if ((await this.#resolve(host)).includes(from)) return true;
    return false;
  }

  async #resolve(host: string): Promise<readonly string[]> {
    const bare = host.replace(/^\[|\]$/g, '');
    if (isIP(bare) !== 0) return [plain(bare)];
    const known = this.#names.get(bare);
    if (known !== undefined && performance.now() - known.at < REMEMBERED_MS) return known.addresses;
    const addresses = await addressesOf(bare);
    this.#names.set(bare, { at: performance.now(), addresses });
    return addresses;
  }
}

/** `::ffff:10.0.0.1` is 10.0.0.1: so a socket that listens on `::` sees those who come by IPv4. */
const plain = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '');

const family = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

function add(list: BlockList, address: string, prefix?: number): void {
  const one = plain(address);
  if (prefix === undefined) list.addAddress(one, family(one));
  else list.addSubnet(address, prefix, family(address));
}

const has = (list: BlockList, address: string): boolean => isIP(address) !== 0 && list.check(address, family(address));

async function addressesOf(name: string): Promise<readonly string[]> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer')), LOOKUP_MS);
  });
  try {
    return (await Promise.race([lookup(name, { all: true }), tooLong])).map(({ address }) => plain(address));
  } catch {
    return [];
  } finally {
    clearTimeout(timer);
  }
}
