/**
 * What synchronous replication promises, by the true state of the world. S4: what was acknowledged while
 * `synchronous_mode` was on is on every later leader. S6: any set of standbys that can acknowledge a commit meets any
 * set of voters that can make a winner, at every instant. Both are off after etcd was wiped or restored, and for what
 * an operator gave up when he failed over by hand.
 */
import { KEYS, readCluster } from '../../src/core/cluster.ts';
import { lsn, timeline } from '../../src/core/lsn.ts';
import {
  agrees,
  describeAcknowledging,
  describeKey,
  type SyncKey,
  standing,
  type Vote,
} from '../../src/core/quorum.ts';
import { type KeyValue, nodeName, revision } from '../../src/core/store.ts';
import type { EtcdModel } from './models/etcd.ts';
import type { PostgresServer } from './models/postgres-server.ts';
import { indexAt, type WalEntry } from './models/wal.ts';

interface Keeper {
  readonly name: string;
  readonly on: boolean;
  readonly server: PostgresServer;
}

export class Synchrony {
  private readonly keepers: readonly Keeper[];
  private readonly etcd: EtcdModel;
  private readonly fail: (invariant: string, sentence: string) => void;
  private readonly mark: (name: string) => void;
  private readonly protectedEntries: WalEntry[] = [];
  private mode = 'off';
  private key: SyncKey | null = null;
  /** Whether there is a key, also one that nobody can read. */
  private stands = false;
  private replaced = false;
  private byHand = false;
  private vouched = false;
  /** Who may have led before anything was promised, and has not since: no key stood there, and another leader made one. */
  private readonly unpromised = new Set<string>();

  constructor(parts: {
    readonly keepers: readonly Keeper[];
    readonly etcd: EtcdModel;
    readonly fail: (invariant: string, sentence: string) => void;
    readonly mark: (name: string) => void;
  }) {
    this.keepers = parts.keepers;
    this.etcd = parts.etcd;
    this.fail = parts.fail;
    this.mark = parts.mark;
  }

  settings(config: Readonly<Record<string, unknown>>): void {
    const mode = String(config['synchronous_mode'] ?? 'off');
    if (mode === 'off') this.protectedEntries.length = 0;
    this.mode = mode;
  }

  etcdReplaced(): void {
    this.replaced = true;
  }

  failedOverByHand(): void {
    this.byHand = true;
    this.vouched = true;
  }

  /** What the key says is what this leader keeps, and there is none where nobody keeps it. */
  isKept(leader: string): boolean {
    const key = this.keyNow();
    return this.mode === 'off' ? key === null : key?.leader === leader;
  }

  /** The `sync` key was written or removed. */
  keyChanged(): void {
    const before = this.key;
    this.key = this.keyNow();
    const stood = this.stands;
    this.stands = this.etcd.keyNow(KEYS.sync) !== null;
    if (!stood && this.key !== null)
      for (const { name } of this.keepers) if (name !== this.key.leader) this.unpromised.add(name);
    if (before === null || this.key === null) return;
    const waits = this.server(before.leader)?.synchronous.waiting ?? 0;
    if (this.key.leader === before.leader && this.key.voters.length < before.voters.length && waits > 0)
      this.mark('sync set shrunk with a commit waiting');
    if (this.key.leader !== before.leader) this.mark('the sync key changed hands');
  }

  private keyNow(): SyncKey | null {
    const entry = this.etcd.keyNow(KEYS.sync);
    if (entry === null) return null;
    const read: KeyValue = {
      ...entry,
      key: KEYS.sync,
      createRevision: revision(1),
      modRevision: revision(1),
      lease: null,
    };
    return readCluster([read], { clusterId: '', raftTerm: 2n, revision: revision(1) }).sync?.key ?? null;
  }

  /** By the key: it led last, or has confirmed everything. */
  mayWin(name: string): boolean {
    const key = this.keyNow();
    return key === null || key.leader === name || key.voters.some((voter) => voter === name);
  }

  private server(name: string): PostgresServer | null {
    return this.keepers.find((one) => one.name === name)?.server ?? null;
  }

  acknowledged(server: PostgresServer, token: number): void {
    if (this.mode === 'off' || this.key === null || this.replaced) return;
    const entry = server.data?.wal.findLast((one) => one.token === token);
    if (entry === undefined) return;
    if (this.key.leader !== server.name) this.heardAfterwards(server, entry);
    else this.protectedEntries.push(entry);
  }

  /** S4. Nobody may have stopped the last leader: then its commits wait for ever. An operator may have vouched for it. */
  private heardAfterwards(server: PostgresServer, entry: WalEntry): void {
    const next = this.server(this.key?.leader ?? '');
    if (next === null || this.vouched || this.unpromised.has(server.name)) return;
    // Whoever has taken the key and is not promoted yet has to have it when he is.
    if (next.processes.kind !== 'running' || next.processes.recovery) this.protectedEntries.push(entry);
    else if (!holds(next, entry))
      this.fail(
        'S4',
        `${server.name} acknowledges a commit that ${next.name} lacks, which leads with synchronous standbys`,
      );
  }

  /** S4. */
  promoted(name: string): void {
    const server = this.server(name);
    this.unpromised.delete(name);
    if (server === null || this.replaced) return;
    if (this.byHand) {
      this.byHand = false;
      this.protectedEntries.length = 0;
      return;
    }
    const missing = this.protectedEntries.filter((entry) => !holds(server, entry));
    const first = missing[0];
    if (first !== undefined)
      this.fail(
        'S4',
        `${name} is promoted and lacks ${missing.length} commits that were acknowledged synchronously, from ${first.start} on timeline ${first.branch.id}`,
      );
    if (this.protectedEntries.length > 0) this.mark('promotion with everything acknowledged synchronously');
  }

  /** S6. At every event. */
  check(): void {
    const { key } = this;
    if (this.mode === 'off' || key === null || this.replaced || this.byHand) return;
    const last = this.protectedEntries.at(-1);
    if (last !== undefined) {
      const lacking = key.voters.filter((name) => {
        const server = this.server(name);
        return server?.data != null && server.data.systemId === this.systemId() && !holds(server, last);
      });
      if (lacking.length > key.quorum)
        this.fail('S6', `${lacking.join(', ')} lack what was acknowledged, and ${describeKey(key)}`);
    }
    const primary = this.server(key.leader);
    if (primary?.processes.kind !== 'running' || primary.processes.recovery) return;
    for (const way of primary.synchronous.waysToAcknowledge()) {
      if (!agrees(key, way)) this.fail('S6', `${describeAcknowledging(way)} on ${key.leader}, and ${describeKey(key)}`);
    }
  }

  private systemId(): string {
    return this.etcd.keyNow(KEYS.initialize)?.value ?? '';
  }

  /** By what is true of those that are there: could this one be elected as far as acknowledged commits go? */
  couldWin(one: Keeper, among: readonly Keeper[] | null = null): boolean {
    const key = this.keyNow();
    const keepers = among ?? this.keepers.filter((keeper) => keeper.on);
    if (key === null || one.server.data === null) return true;
    if (this.mode !== 'quorum' && key.leader !== one.name && !key.voters.some((name) => name === one.name))
      return false;
    const mine = { timeline: timeline(one.server.data.branch.id), position: lsn(one.server.end) };
    const votes = key.voters
      .filter((name) => name !== one.name)
      .map((name): Vote => {
        const voter = keepers.find((keeper) => keeper.name === name);
        const data = voter?.server.data ?? null;
        if (voter === undefined || data === null || data.systemId !== this.systemId()) return { name, heard: null };
        const theirs = { timeline: timeline(data.branch.id), position: lsn(voter.server.end) };
        const ahead =
          theirs.timeline === mine.timeline ? theirs.position > mine.position : theirs.timeline > mine.timeline;
        return { name, heard: ahead ? 'ahead' : 'outdone' };
      });
    return standing(key, nodeName(one.name), votes).kind === 'may-win';
  }
}

function holds(server: PostgresServer, entry: WalEntry): boolean {
  const { data } = server;
  return data !== null && data.wal[indexAt(data.wal, entry.start)] === entry;
}
