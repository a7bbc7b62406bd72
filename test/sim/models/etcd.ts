/**
 * A model of etcd for the simulation: the same port as the real adapter, on a virtual clock, with the members,
 * elections, leases and links that can go wrong. Adversarial within what etcd and a network allow, and held to that
 * by test/contract/dcs.test.ts. It knows nothing of pgha's protocol. Here are members, elections and leases; the keys
 * are in `etcd-store.ts`, links and clients in `etcd-client.ts`.
 *
 * What it can do to a client:
 *   - lose a request; apply it and lose the answer; hold it back and apply it after the sender gave up;
 *   - hang it (member frozen, isolated, or no majority), refuse the connection (member down);
 *   - tell of changes late, or break the watch and tell later that anything may have changed;
 *   - confirm a lease that the majority has given up, by a leader stuck on its disk or just deposed (the old raft
 *     term gives it away), and revoke a good lease when the stuck one wakes (etcd issue 15247);
 *   - run out of space: keepalives are answered, puts are not; be wiped, or go back to an old revision.
 */
import { invariant } from '../../../src/core/invariant.ts';
import type { Header, Key, KeyValue, LeaseId, Revision, Txn } from '../../../src/core/store.ts';
import { leaseId, revision } from '../../../src/core/store.ts';
import type { Instant, Millis } from '../../../src/core/time.ts';
import { instant, seconds } from '../../../src/core/time.ts';
import type { CancelTimer } from '../../../src/ports/clock.ts';
import type { Change, Dcs, GrantAnswer, KeepAliveAnswer, TxnAnswer } from '../../../src/ports/dcs.ts';
import type { Random } from '../../../src/ports/random.ts';
import type { Courier, Inside, Link, LinkFaults, MemberState, NextFault, Scheduler } from './etcd-client.ts';
import { ModelClient, ModelLink } from './etcd-client.ts';
import { KeyStore } from './etcd-store.ts';

export type { Link, LinkFaults, MemberState, NextFault, Scheduler } from './etcd-client.ts';

export interface EtcdOptions {
  readonly members?: number;
  readonly electionTimeoutMs?: number;
  readonly version?: string;
}

export type AppliedListener = (txn: Txn, by: string, revision: Revision) => void;
export type RevokedListener = (lease: LeaseId, why: Revocation, changes: readonly Change[]) => void;
export type Revocation = 'expired' | 'revoked by a client' | 'early';

interface Member {
  state: MemberState;
  /** Came while it was frozen. */
  inbox: (() => void)[];
}

/** What a snapshot of etcd holds: verified with the real one, which also answers a keepalive of a lease in it. */
export interface Backup {
  readonly store: KeyStore;
  readonly leases: readonly { readonly id: LeaseId; readonly ttl: Millis }[];
}

/** Of a cluster whose members have elected once, as they do after `etcdctl snapshot restore`: verified with the real one. */
/** Where this etcd's revisions stand when the cluster begins: it has served others. */
const IN_USE = revision(5_000);
const FIRST_TERM = 2n;

interface Lease {
  readonly id: LeaseId;
  readonly ttl: Millis;
  /** As the leader counts it. */
  deadline: number;
  revoking: boolean;
  /** Keepalives that came after the deadline: etcd answers them when the lease is revoked, or was prolonged after all. */
  readonly late: (() => void)[];
}

/** A leader that the others have given up and that does not know it yet. */
interface Deposed {
  readonly member: number;
  readonly term: bigint;
  /** Leases as it counts them. */
  readonly leases: Map<LeaseId, { deadline: number; readonly ttl: Millis }>;
  /**
   * - stuck: on its disk; its followers still forward to it until they elect
   * - frozen: the whole process
   * - cut-off: from the others; it finds out by itself
   */
  readonly why: 'stuck' | 'frozen' | 'cut-off';
}

interface Waiting {
  readonly member: number;
  readonly since: number;
  readonly run: () => void;
  readonly broke: (cause: string) => void;
}

/** etcd's own limit for a request that finds no leader: 5 s + two elections. */
const SERVER_GIVES_UP_MS = 7_000;
const EXPIRY_LOOK_MS = 500;
const CONSENSUS_MS = [0.5, 4] as const;

export class EtcdModel {
  private readonly scheduler: Scheduler;
  private readonly random: Random;
  private readonly electionTimeoutMs: number;
  private readonly version: string;
  private readonly members: Member[];
  private readonly lines = new Map<string, { readonly link: ModelLink; readonly clients: Set<ModelClient> }>();
  private readonly appliedListeners: AppliedListener[] = [];
  private readonly revokedListeners: RevokedListener[] = [];
  private readonly inside: Inside;
  private store = new KeyStore(undefined, IN_USE);
  /** How often all of it was replaced: restored, or emptied. */
  replacements = 0;
  private clusterId = 1001n;
  private leases = new Map<LeaseId, Lease>();
  private leader: number | null = 0;
  private term = FIRST_TERM;
  private deposed: Deposed | null = null;
  private outOfSpace = false;
  private stopped = false;
  private waiting: Waiting[] = [];
  private cancelElection: CancelTimer | null = null;
  private cancelExpiryLook: CancelTimer | null = null;

  constructor(scheduler: Scheduler, random: Random, options: EtcdOptions = {}) {
    this.scheduler = scheduler;
    this.random = random.fork('etcd');
    this.electionTimeoutMs = options.electionTimeoutMs ?? 1_000;
    this.version = options.version ?? '3.5.17';
    this.members = Array.from({ length: options.members ?? 3 }, () => ({ state: 'up', inbox: [] }));
    this.inside = this.forClients();
  }

  // ---- clients ------------------------------------------------------------------------------------------------------

  /**
   * @param name - of the node; appears as `by` in what was applied. A second client of that name (a daemon that was
   *   started again) shares the link with the first; `close` ends the watches of one that is gone.
   * @param timing - what the client's own limits run on, where clocks run at different rates
   */
  client(name: string, faults: Partial<LinkFaults> = {}, timing: Scheduler = this.scheduler): Dcs {
    let line = this.lines.get(name);
    if (line === undefined) {
      line = { link: new ModelLink(() => this.review()), clients: new Set() };
      this.lines.set(name, line);
    }
    const { link, clients } = line;
    const client = new ModelClient(this.inside, name, link, timing, this.random.fork(`link:${name}:${clients.size}`));
    clients.add(client);
    link.set(faults);
    return client;
  }

  link(name: string): Link {
    return this.lineOf(name).link;
  }

  dropNext(name: string, fault: NextFault): void {
    this.lineOf(name).link.next.push(fault);
  }

  private lineOf(name: string): { readonly link: ModelLink; readonly clients: Set<ModelClient> } {
    const line = this.lines.get(name);
    invariant(line !== undefined, `etcd model: no client is called ${name}`);
    return line;
  }

  private eachClient(run: (client: ModelClient) => void): void {
    for (const { clients } of this.lines.values()) for (const client of clients) run(client);
  }

  // ---- faults -------------------------------------------------------------------------------------------------------

  setMember(index: number, state: MemberState): void {
    const member = this.memberAt(index);
    const before = member.state;
    const isStuck = this.deposed?.why === 'stuck' && this.deposed.member === index;
    if (before === state && !isStuck) return;
    // Healed before its time: it learns of the others before it does any harm.
    if (isStuck && state === 'up') this.deposed = null;
    if (this.leader === index && state === 'isolated') this.depose('cut-off');
    if (this.leader === index && state === 'frozen') this.depose('frozen');
    member.state = state;
    if (state === 'down') {
      member.inbox = [];
      if (this.deposed?.member === index) this.deposed = null;
      this.resetWaitingAt(index);
    }
    if (before === 'frozen') this.handleInbox(index);
    if (state === 'up' && this.deposed?.member === index && this.deposed.why === 'cut-off') this.deposed = null;
    this.review();
    this.resumeWaiting();
  }

  /** The leading member dies. @returns which it was; null while nobody leads */
  killLeader(): number | null {
    const { leader } = this;
    if (leader !== null) this.setMember(leader, 'down');
    return leader;
  }

  /** Leadership moves in order: a new term, and every lease starts afresh. */
  moveLeader(): void {
    if (this.leader === null) return;
    this.leader = null;
    this.elect();
  }

  /**
   * The leading member hangs on its disk for `ms`: it goes on confirming leases in its old term, also after the others
   * have elected a new leader.
   *
   * @param revokes - when it wakes it revokes those that look expired to it, whatever the new leader counts
   * @returns which it was; null while nobody leads
   */
  stuckLeader(ms: number, { revokes }: { readonly revokes: boolean } = { revokes: true }): number | null {
    const { leader } = this;
    if (leader === null) return null;
    const stuck = this.depose('stuck');
    this.review();
    this.scheduler.after(ms, () => {
      if (this.deposed !== stuck) return;
      this.wake(stuck, revokes);
      this.review();
      this.resumeWaiting();
    });
    return leader;
  }

  /** A good lease is revoked, whatever its TTL: what issue 15247 does, at the moment of your choice. */
  expireLeaseEarly(lease: LeaseId): void {
    this.consensus(() => this.revokeNow(lease, 'early'));
  }

  /** Puts and grants are refused, keepalives, reads and deletes are not. */
  setOutOfSpace(outOfSpace: boolean): void {
    this.outOfSpace = outOfSpace;
  }

  /** A copy of all keys and leases, for `restore`. */
  backup(): Backup {
    const leases = [...this.leases.values()].map(({ id, ttl }) => ({ id, ttl }));
    return { store: new KeyStore(this.store), leases };
  }

  /**
   * Its members are stopped in order, as before their data is replaced: nothing is taken any more, and what was applied
   * has been told. Ends with `restore`.
   */
  stop(): void {
    this.stopped = true;
  }

  /** Back to an older state: revisions go back. Its leases are there as well, and begin anew with the next leader. */
  restore({ store, leases }: Backup, { newCluster }: { readonly newCluster: boolean }): void {
    this.store = new KeyStore(store);
    const now = this.scheduler.now();
    this.leases = new Map(
      leases.map(({ id, ttl }) => [id, { id, ttl, deadline: now + ttl, revoking: false, late: [] }]),
    );
    this.lookForExpired();
    this.deposed = null;
    this.waiting = [];
    this.stopped = false;
    this.replacements++;
    if (newCluster) this.clusterId++;
    // Of several that are started one after the other, those that are alone campaign in vain: measured, 2 to 8.
    this.term = FIRST_TERM + (this.members.length === 1 ? 0n : BigInt(Math.floor(this.random.next() * 7)));
    this.eachClient((client) => client.breakWatches());
  }

  /** Somebody who knows nothing of conditions: a script, another program, a person. */
  putByStranger(key: Key, value: string): void {
    this.consensus(
      () =>
        void this.applyNow('a stranger', {
          compare: [],
          success: [{ op: 'put', key, value, lease: null }],
          failure: [],
        }),
    );
  }

  wipe(): void {
    this.restore({ store: new KeyStore(), leases: [] }, { newCluster: true });
  }

  // ---- for invariants -----------------------------------------------------------------------------------------------

  keyNow(key: Key): KeyValue | null {
    return this.store.get(key);
  }

  entriesNow(): readonly KeyValue[] {
    return this.store.entries();
  }

  revisionNow(): Revision {
    return this.store.revision;
  }

  /**
   * When the lease runs out as the leader counts it (the last one, while nobody leads); null when there is no such lease.
   */
  leaseDeadline(lease: LeaseId): Instant | null {
    const deadline = this.leases.get(lease)?.deadline;
    return deadline === undefined ? null : instant(deadline);
  }

  /** Who leads etcd; null while nobody does. */
  leaderNow(): { readonly member: number; readonly term: bigint } | null {
    return this.leader === null ? null : { member: this.leader, term: this.term };
  }

  memberState(index: number): MemberState {
    return this.memberAt(index).state;
  }

  get size(): number {
    return this.members.length;
  }

  /** Every transaction that changed something, at the instant at which it did. */
  onApplied(listener: AppliedListener): void {
    this.appliedListeners.push(listener);
  }

  onRevoked(listener: RevokedListener): void {
    this.revokedListeners.push(listener);
  }

  // ---- members and elections ----------------------------------------------------------------------------------------

  private memberAt(index: number): Member {
    const member = this.members[index];
    invariant(member !== undefined, `etcd model: there is no member ${index}`);
    return member;
  }

  /** Takes part in consensus: up, and not hanging on its disk. */
  private isVoting(index: number): boolean {
    return this.memberAt(index).state === 'up' && !(this.deposed?.why === 'stuck' && this.deposed.member === index);
  }

  private votingMembers(): readonly number[] {
    return this.members.map((_, index) => index).filter((index) => this.isVoting(index));
  }

  private majorityStands(): boolean {
    return this.votingMembers().length * 2 > this.members.length;
  }

  /** After any change to a member or a link: who leads, and which watches are in trouble. */
  private review(): void {
    if (this.leader !== null && !this.isVoting(this.leader)) this.leader = null;
    if (this.leader !== null && !this.majorityStands()) this.depose('cut-off');
    if (this.leader === null && this.majorityStands()) {
      this.cancelElection ??= this.scheduler.after(this.between(1.1, 1.7) * this.electionTimeoutMs, () => {
        this.cancelElection = null;
        if (this.leader === null && this.majorityStands()) this.elect();
      });
    } else {
      this.cancelElection?.();
      this.cancelElection = null;
    }
    this.eachClient((client) => client.reviewWatches());
  }

  private depose(why: Deposed['why']): Deposed {
    const member = this.leader;
    invariant(member !== null, 'etcd model: nobody leads');
    const leases = new Map([...this.leases.values()].map(({ id, deadline, ttl }) => [id, { deadline, ttl }] as const));
    const deposed: Deposed = { member, term: this.term, leases, why };
    this.deposed = deposed;
    this.leader = null;
    // One that only lost the others finds out by itself, after one to two election timeouts.
    if (why === 'cut-off') {
      this.scheduler.after(this.between(1, 2) * this.electionTimeoutMs, () => {
        if (this.deposed === deposed) this.deposed = null;
      });
    }
    return deposed;
  }

  private elect(): void {
    const voting = this.votingMembers();
    const chosen = voting[Math.floor(this.random.next() * voting.length)];
    invariant(chosen !== undefined, 'etcd model: an election without a majority');
    this.leader = chosen;
    this.term++;
    // One that hears the new term leads no longer. The stuck and the frozen don't hear it.
    if (this.deposed !== null && this.deposed.why === 'cut-off' && this.isVoting(this.deposed.member)) {
      this.deposed = null;
    }
    // The new leader cannot know what the old one renewed: every lease gets its full time, and an election more.
    for (const lease of this.leases.values()) {
      lease.deadline = this.scheduler.now() + lease.ttl + this.electionTimeoutMs;
      lease.revoking = false;
      for (const again of lease.late.splice(0)) again();
    }
    this.cancelExpiryLook?.();
    this.cancelExpiryLook = null;
    this.lookForExpired();
    this.resumeWaiting();
    this.eachClient((client) => client.reviewWatches());
  }

  private wake(deposed: Deposed, revokes: boolean): void {
    this.deposed = null;
    if (!revokes) return;
    const now = this.scheduler.now();
    // It learns of the new term only after it has proposed to revoke what its own clock says has run out.
    for (const [lease, { deadline }] of deposed.leases) {
      if (deadline <= now) this.consensus(() => this.revokeNow(lease, 'early'));
    }
  }

  /** What had queued up in the sockets of a frozen member is handled now, a leader's in its old term. */
  private handleInbox(index: number): void {
    const member = this.memberAt(index);
    const came = member.inbox;
    member.inbox = [];
    for (const run of came) run();
    const { deposed } = this;
    if (deposed?.member === index) this.wake(deposed, this.random.next() < 0.5);
  }

  // ---- consensus ----------------------------------------------------------------------------------------------------

  private consensusMs(): number {
    return this.between(...CONSENSUS_MS);
  }

  private between(from: number, to: number): number {
    return from + this.random.next() * (to - from);
  }

  /** Applied by the majority a little later, if there is one then. */
  private consensus(apply: () => void): void {
    this.scheduler.after(this.consensusMs(), () => {
      if (this.leader !== null) apply();
    });
  }

  /** A proposal of a client through this member; hangs while there is no leader, and may be applied when there is one. */
  private propose(member: number, run: () => void, broke: (cause: string) => void): void {
    const waiting: Waiting = { member, since: this.scheduler.now(), run, broke };
    if (this.leader === null || !this.isVoting(member)) {
      this.waiting.push(waiting);
      return;
    }
    const { term } = this;
    this.scheduler.after(this.consensusMs(), () => {
      // Its leader went while it was under way: whether the next one has it in its log, nobody knows yet.
      if (this.leader !== null && this.term === term) run();
      else this.waiting.push(waiting);
    });
  }

  private resumeWaiting(): void {
    if (this.leader === null) return;
    const due = this.waiting.filter(({ member }) => this.isVoting(member));
    this.waiting = this.waiting.filter((each) => !due.includes(each));
    for (const { since, run } of due) {
      const dropped = this.random.next() < 0.5;
      if (!dropped && this.scheduler.now() - since <= SERVER_GIVES_UP_MS) this.consensus(run);
    }
  }

  private resetWaitingAt(index: number): void {
    const theirs = this.waiting.filter(({ member }) => member === index);
    this.waiting = this.waiting.filter(({ member }) => member !== index);
    for (const { run, broke } of theirs) {
      broke('connection reset');
      // It may have reached the others before its member died.
      if (this.random.next() < 0.3) this.consensus(run);
    }
  }

  private header(term = this.term): Header {
    return { clusterId: String(this.clusterId), raftTerm: term, revision: this.store.revision };
  }

  // ---- what clients ask ---------------------------------------------------------------------------------------------

  private forClients(): Inside {
    return {
      scheduler: this.scheduler,
      size: this.members.length,
      version: this.version,
      stateOf: (member) => this.memberAt(member).state,
      tellsChanges: (member) => this.isVoting(member),
      hasLeader: () => this.leader !== null && !this.stopped,
      consensusMs: () => this.consensusMs(),
      arrive: (member, run, broke) => {
        const at = this.memberAt(member);
        if (this.stopped || at.state === 'down') broke('connection refused');
        else if (at.state === 'frozen') at.inbox.push(run);
        else run();
      },
      read: (member, courier) => {
        const answer = (): void =>
          courier.answer({ kind: 'answered', header: this.header(), entries: this.store.entries() });
        this.propose(member, answer, courier.broke);
      },
      txn: (member, by, txn, courier) => {
        this.propose(member, () => courier.answer(this.applyNow(by, txn)), courier.broke);
      },
      grant: (member, ttl, courier) => this.propose(member, () => courier.answer(this.grantNow(ttl)), courier.broke),
      keepAlive: (member, lease, courier) => this.renew(member, lease, courier),
      revoke: (member, lease, courier) => {
        const revoke = (): void => {
          this.revokeNow(lease, 'revoked by a client');
          courier.answer(undefined);
        };
        this.propose(member, revoke, courier.broke);
      },
    };
  }

  private applyNow(by: string, txn: Txn): TxnAnswer {
    const applied = this.store.apply(txn, {
      leaseExists: (lease) => this.leases.has(lease),
      outOfSpace: this.outOfSpace,
    });
    if (applied.kind === 'failed') return applied;
    const { succeeded, found, changes } = applied;
    if (changes.length > 0) {
      for (const listener of this.appliedListeners) listener(txn, by, this.store.revision);
      this.tell(changes);
    }
    return { kind: 'answered', header: this.header(), succeeded, found };
  }

  private tell(changes: readonly Change[]): void {
    if (changes.length > 0) this.eachClient((client) => client.tell(changes));
  }

  // ---- leases -------------------------------------------------------------------------------------------------------

  private grantNow(wanted: Millis): GrantAnswer {
    if (this.outOfSpace) return { kind: 'unanswered', cause: 'etcdserver: mvcc: database space exceeded' };
    const smallest = Math.ceil((1.5 * this.electionTimeoutMs) / 1000);
    const ttl = seconds(Math.max(Math.ceil(wanted / 1000), smallest));
    const draw = (): bigint => BigInt(Math.floor(this.random.next() * 2 ** 31));
    const id = leaseId(String((draw() << 31n) + draw() + 1n));
    this.leases.set(id, { id, ttl, deadline: this.scheduler.now() + ttl, revoking: false, late: [] });
    this.lookForExpired();
    return { kind: 'granted', lease: id, ttl, header: this.header() };
  }

  private revokeNow(id: LeaseId, why: Revocation): void {
    const lease = this.leases.get(id);
    if (lease === undefined) return;
    this.leases.delete(id);
    const changes = this.store.deleteAttachedTo(id);
    for (const listener of this.revokedListeners) listener(id, why, changes);
    this.tell(changes);
    for (const answer of lease.late.splice(0)) answer();
  }

  /** Twice a second the leader looks for leases that have run out, and proposes to revoke them. */
  private lookForExpired(): void {
    if (this.cancelExpiryLook !== null || this.leases.size === 0) return;
    const look = (inMs: number): void => {
      this.cancelExpiryLook = this.scheduler.after(inMs, () => {
        this.cancelExpiryLook = null;
        if (this.leases.size === 0) return;
        for (const lease of this.leases.values()) {
          if (this.leader === null || lease.revoking || lease.deadline > this.scheduler.now()) continue;
          lease.revoking = true;
          this.consensus(() => {
            if (lease.revoking) this.revokeNow(lease.id, 'expired');
          });
        }
        look(EXPIRY_LOOK_MS);
      });
    };
    // The first look falls anywhere within the half second.
    look(this.random.next() * EXPIRY_LOOK_MS);
  }

  private renew(member: number, id: LeaseId, courier: Courier<KeepAliveAnswer>): void {
    const { deposed } = this;
    if (deposed?.member === member) {
      renewAt(deposed, this.header(deposed.term), this.scheduler, id, courier);
      return;
    }
    // Filled in before the renewal, as etcd does: an election in between does not show in it.
    const header = this.header();
    if (this.leader === member) {
      this.renewAtLeader(header, id, courier);
      return;
    }
    const hang = (): void => {
      const again = (): void => this.renew(member, id, courier);
      this.waiting.push({ member, since: this.scheduler.now(), run: again, broke: courier.broke });
    };
    if (!this.isVoting(member)) {
      hang();
      return;
    }
    this.scheduler.after(this.consensusMs() / 2, () => {
      if (this.leader !== null) this.renewAtLeader(header, id, courier);
      // Until they elect, followers take the stuck one for their leader.
      else if (this.deposed?.why === 'stuck') renewAt(this.deposed, header, this.scheduler, id, courier);
      else hang();
    });
  }

  private renewAtLeader(header: Header, id: LeaseId, courier: Courier<KeepAliveAnswer>): void {
    const lease = this.leases.get(id);
    if (lease === undefined) {
      courier.answer({ kind: 'gone', header });
      return;
    }
    const now = this.scheduler.now();
    if (lease.deadline <= now) {
      lease.late.push(() => this.renewAtLeader(header, id, courier));
      return;
    }
    lease.deadline = now + lease.ttl;
    courier.answer({ kind: 'renewed', ttl: lease.ttl, header });
  }
}

/** A leader that nobody follows any more answers from its own memory; of one that ran out it waits for the revocation. */
function renewAt(
  { leases }: Deposed,
  header: Header,
  scheduler: Scheduler,
  id: LeaseId,
  courier: Courier<KeepAliveAnswer>,
): void {
  const lease = leases.get(id);
  if (lease === undefined) {
    courier.answer({ kind: 'gone', header });
    return;
  }
  if (lease.deadline <= scheduler.now()) return;
  lease.deadline = scheduler.now() + lease.ttl;
  courier.answer({ kind: 'renewed', ttl: lease.ttl, header });
}
