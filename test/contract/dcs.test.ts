/**
 * What pgha takes for granted about its store, asked of the real etcd through the adapter and of the model that the
 * simulation runs on: the same questions, the same answers. Below them, what only the adapter has to keep: limits when
 * members die or hang, one transaction per endpoint, logins and certificates.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as realSleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { EtcdConfig } from '../../src/config/schema.ts';
import type { Compare, Header, KeyValue, LeaseId, Op, Revision, Txn } from '../../src/core/store.ts';
import { ABSENT, leaseId } from '../../src/core/store.ts';
import { instant, millis } from '../../src/core/time.ts';
import { basePath } from '../../src/etcd/keys.ts';
import { EtcdDcs } from '../../src/etcd/store.ts';
import type { EventName } from '../../src/log/events.ts';
import type { Change, Dcs, GrantAnswer, KeepAliveAnswer, ReadAnswer, TxnAnswer } from '../../src/ports/dcs.ts';
import { EtcdModel } from '../sim/models/etcd.ts';
import { SeededRandom } from '../sim/world/random.ts';
import { EventQueue } from '../sim/world/scheduler.ts';
import type { EtcdServers } from './etcd-server.ts';
import { startEtcd } from './etcd-server.ts';

const run = promisify(execFile);
const LIMIT = millis(1_500);
const NO_LEASE = leaseId('0');

/** A store with one member, and the time it lives in. */
interface World {
  /** A client over keys that nobody else uses. */
  client(): Promise<Dcs>;
  sleep(ms: number): Promise<void>;
  now(): number;
  freeze(): void;
  thaw(): void;
  /** Its member dies, and is started again. */
  restart(): Promise<void>;
  /** A snapshot of it. @returns what sets it back to that, under the same name */
  backUp(): Promise<() => Promise<void>>;
  end(): Promise<void>;
}

describe.each([
  ['the model', modelWorld],
  ['a real etcd', realWorld],
] as const)('the store, as %s', (_, startWorld) => {
  let world: World;
  let dcs: Dcs;
  const open: Dcs[] = [];

  beforeAll(async () => {
    world = await startWorld();
  });
  afterAll(async () => {
    await world.end();
  });
  const client = async (): Promise<Dcs> => {
    const one = await world.client();
    open.push(one);
    return one;
  };
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });

  it('creates a key once, and shows the second who has it', async () => {
    dcs = await client();
    const create = txn([{ key: 'leader', createRevision: ABSENT }], [put('leader', 'a')], [get('leader')]);
    expect(answered(await dcs.txn(create, LIMIT)).succeeded).toBe(true);
    const second = answered(await dcs.txn(create, LIMIT));
    expect(second.succeeded).toBe(false);
    expect(second.found.get('leader')?.value).toBe('a');
  });

  it('counts the mod revision of a key that does not exist as 0, and so its create revision and lease', async () => {
    dcs = await client();
    const absent: Compare[] = [
      { key: 'status', modRevision: ABSENT },
      { key: 'status', createRevision: ABSENT },
      { key: 'status', lease: NO_LEASE },
    ];
    expect(answered(await dcs.txn(txn(absent, [], []), LIMIT)).succeeded).toBe(true);
    await dcs.txn(txn([], [put('status', 'x')], []), LIMIT);
    for (const compare of absent.slice(0, 2)) {
      expect(answered(await dcs.txn(txn([compare], [], []), LIMIT)).succeeded).toBe(false);
    }
    expect(answered(await dcs.txn(txn(absent.slice(2), [], []), LIMIT)).succeeded).toBe(true);
  });

  it('names a version of a key by its mod revision, which is the revision of the transaction that wrote it', async () => {
    dcs = await client();
    const first = answered(await dcs.txn(txn([], [put('status', '1')], []), LIMIT)).header.revision;
    const second = answered(
      await dcs.txn(txn([{ key: 'status', modRevision: first }], [put('status', '2')], []), LIMIT),
    );
    expect(second.succeeded).toBe(true);
    const stale = txn([{ key: 'status', modRevision: first }], [put('status', '3')], [get('status')]);
    expect(answered(await dcs.txn(stale, LIMIT)).found.get('status')).toEqual({
      key: 'status',
      value: '2',
      createRevision: first,
      modRevision: second.header.revision,
      lease: null,
    });
  });

  it('starts a new create revision when a deleted key comes back', async () => {
    dcs = await client();
    const first = answered(await dcs.txn(txn([], [put('leader', 'a')], []), LIMIT)).header.revision;
    await dcs.txn(txn([], [del('leader')], []), LIMIT);
    const again = answered(await dcs.txn(txn([], [put('leader', 'a')], []), LIMIT)).header.revision;
    expect(again).toBeGreaterThan(first);
    expect((await entries(dcs)).get('leader')?.createRevision).toBe(again);
  });

  it('compares the lease a key hangs on', async () => {
    dcs = await client();
    const [one, other] = [await granted(dcs, 5_000), await granted(dcs, 5_000)];
    await dcs.txn(txn([], [put('leader', 'a', one)], []), LIMIT);
    const ifOn = (lease: LeaseId): Txn => txn([{ key: 'leader', lease }], [], [get('leader')]);
    expect(answered(await dcs.txn(ifOn(one), LIMIT)).succeeded).toBe(true);
    const refused = answered(await dcs.txn(ifOn(other), LIMIT));
    expect(refused.succeeded).toBe(false);
    expect(refused.found.get('leader')?.lease).toBe(one);
  });

  it('reads in the branch that ran, also what the same transaction has just written, and null for what is absent', async () => {
    dcs = await client();
    const both = txn([], [put('status', 'new'), get('status'), get('nothing')], [get('leader')]);
    const { found } = answered(await dcs.txn(both, LIMIT));
    expect(found.get('status')?.value).toBe('new');
    expect(found.get('nothing')).toBeNull();
    expect(found.has('leader')).toBe(false);
  });

  it('deletes one key and writes another in one revision', async () => {
    dcs = await client();
    const before = answered(await dcs.txn(txn([], [put('leader', 'a')], []), LIMIT)).header.revision;
    const release = txn([{ key: 'leader', modRevision: before }], [del('leader'), put('status', 'released')], []);
    const { header } = answered(await dcs.txn(release, LIMIT));
    expect(header.revision).toBe(before + 1n);
    const now = await entries(dcs);
    expect(now.has('leader')).toBe(false);
    expect(now.get('status')?.modRevision).toBe(header.revision);
  });

  it('leaves the revision alone when a transaction changes nothing', async () => {
    dcs = await client();
    const { header } = answered(await dcs.txn(txn([], [put('status', 'x')], []), LIMIT));
    const nothing = txn([], [del('nothing'), get('status')], []);
    expect(answered(await dcs.txn(nothing, LIMIT)).header.revision).toBe(header.revision);
    const refused = txn([{ key: 'status', modRevision: ABSENT }], [put('status', 'y')], [get('status')]);
    expect(answered(await dcs.txn(refused, LIMIT)).header.revision).toBe(header.revision);
  });

  it('applies nothing of a transaction that puts on an unknown lease, and says why', async () => {
    dcs = await client();
    const answer = await dcs.txn(txn([], [put('status', 'x'), put('leader', 'a', leaseId('4711'))], []), LIMIT);
    expect(answer).toMatchObject({ kind: 'failed', reason: 'lease-not-found' });
    expect((await entries(dcs)).size).toBe(0);
  });

  it('refuses a transaction that writes one key twice', async () => {
    dcs = await client();
    expect(await dcs.txn(txn([], [del('leader'), put('leader', 'a')], []), LIMIT)).toMatchObject({
      kind: 'failed',
      reason: 'other',
    });
  });

  it('reads all keys of the cluster with their leases, values as they were written', async () => {
    dcs = await client();
    const lease = await granted(dcs, 5_000);
    await dcs.txn(txn([], [put('members/a', '{"ü":1}', lease), put('config', '')], []), LIMIT);
    const now = await entries(dcs);
    expect([...now.keys()]).toEqual(['config', 'members/a']);
    expect(now.get('members/a')).toMatchObject({ value: '{"ü":1}', lease });
    expect(now.get('config')).toMatchObject({ value: '', lease: null });
  });

  it('says the same raft term and cluster in the answers to a keepalive and to a transaction', async () => {
    dcs = await client();
    const lease = await granted(dcs, 5_000);
    const keepAlive = renewed(await dcs.keepAlive(lease, LIMIT)).header;
    const beat = answered(await dcs.txn(txn([], [put('status', 'x')], []), LIMIT)).header;
    expect(keepAlive.raftTerm).toBe(beat.raftTerm);
    expect(keepAlive.clusterId).toBe(beat.clusterId);
    expect(beat.revision).toBe(keepAlive.revision + 1n);
  });

  it('grants whole seconds, rounded up, and raises a TTL that is too short for its elections', async () => {
    dcs = await client();
    expect(await dcs.grant(millis(2_500), LIMIT)).toMatchObject({ kind: 'granted', ttl: 3_000 });
    expect(await dcs.grant(millis(1_000), LIMIT)).toMatchObject({ kind: 'granted', ttl: 2_000 });
  });

  it('renews a lease by its granted TTL, and says of an unknown one that it is gone', async () => {
    dcs = await client();
    expect(renewed(await dcs.keepAlive(await granted(dcs, 5_000), LIMIT)).ttl).toBe(5_000);
    expect((await dcs.keepAlive(leaseId('4711'), LIMIT)).kind).toBe('gone');
  });

  it('removes a key not before its TTL has run out since the last keepalive, and within a second after', async () => {
    dcs = await client();
    const lease = await granted(dcs, 2_000);
    await dcs.txn(txn([], [put('leader', 'a', lease)], []), LIMIT);
    await world.sleep(1_000);
    const sent = world.now();
    renewed(await dcs.keepAlive(lease, LIMIT));
    const answeredAt = world.now();
    await world.sleep(700);
    // Writing on a lease does not renew it.
    await dcs.txn(txn([], [put('leader', 'b', lease)], []), LIMIT);
    while ((await entries(dcs)).has('leader')) await world.sleep(20);
    expect(world.now() - sent).toBeGreaterThanOrEqual(2_000);
    expect(world.now() - answeredAt).toBeLessThan(3_000);
    expect((await dcs.keepAlive(lease, LIMIT)).kind).toBe('gone');
    expect(await dcs.txn(txn([], [put('leader', 'a', lease)], []), LIMIT)).toMatchObject({ reason: 'lease-not-found' });
  });

  it('takes all keys of a revoked lease away in one revision, and leaves one that was put without it since', async () => {
    dcs = await client();
    const lease = await granted(dcs, 5_000);
    const ops = [put('leader', 'a', lease), put('members/a', '{}', lease), put('members/b', '{}', lease)];
    const before = answered(await dcs.txn(txn([], ops, []), LIMIT)).header.revision;
    await dcs.txn(txn([], [put('members/b', '{}')], []), LIMIT);
    await dcs.revoke(lease, LIMIT);
    const now = await dcs.read(LIMIT);
    expect(now).toMatchObject({ kind: 'answered', header: { revision: before + 2n } });
    expect([...(await entries(dcs)).keys()]).toEqual(['members/b']);
  });

  it('hints at puts, deletes and the end of a lease with their revisions, after a first hint that says nothing', async () => {
    dcs = await client();
    const hints = watched(dcs);
    await until(() => hints.length > 0);
    expect(hints).toEqual([null]);
    const lease = await granted(dcs, 5_000);
    const first = answered(await dcs.txn(txn([], [put('leader', 'a', lease), put('status', 'x')], []), LIMIT));
    await dcs.txn(txn([], [del('status')], []), LIMIT);
    await dcs.revoke(lease, LIMIT);
    await until(() => hints.flat().length >= 5);
    const at = (further: bigint): bigint => first.header.revision + further;
    expect(hints.flat().slice(1)).toEqual([
      { key: 'leader', revision: at(0n) },
      { key: 'status', revision: at(0n) },
      { key: 'status', revision: at(1n) },
      { key: 'leader', revision: at(2n) },
    ]);
  });

  it('hints at nothing any more once the watch was ended', async () => {
    dcs = await client();
    const hints: unknown[] = [];
    const stop = dcs.watch((changes) => hints.push(changes));
    await until(() => hints.length > 0);
    stop();
    await dcs.txn(txn([], [put('status', 'x')], []), LIMIT);
    await world.sleep(100);
    expect(hints).toEqual([null]);
  });

  it('raises its raft term with each election, and counts from the beginning when it is restored; ids and leases are as they were', async () => {
    dcs = await client();
    const lease = await granted(dcs, 10_000);
    answered(await dcs.txn(txn([], [put('leader', 'a', lease)], []), LIMIT));
    const restore = await world.backUp();
    const first = await answering(dcs);
    await world.restart();
    const second = await answering(dcs);
    await world.restart();
    const third = await answering(dcs);
    expect(second.raftTerm).toBeGreaterThan(first.raftTerm);
    expect(third.raftTerm).toBeGreaterThan(second.raftTerm);
    await restore();
    const restored = await answering(dcs);
    expect(restored.raftTerm).toBeLessThan(third.raftTerm);
    expect(restored.clusterId).toBe(first.clusterId);
    expect((await dcs.keepAlive(lease, LIMIT)).kind).toBe('renewed');
    expect(await dcs.read(LIMIT)).toMatchObject({ entries: [{ key: 'leader', value: 'a', lease }] });
  });

  /** The header of its first answer. */
  async function answering(of: Dcs): Promise<Header> {
    for (;;) {
      const answer = await of.read(millis(500));
      if (answer.kind === 'answered') return answer.header;
      await world.sleep(50);
    }
  }

  it('answers every call by its limit when nobody answers, with what is not known; and works again afterwards', async () => {
    dcs = await client();
    const hints = watched(dcs);
    await until(() => hints.length > 0);
    const lease = await granted(dcs, 10_000);
    const before = answered(await dcs.txn(txn([], [put('status', 'before', null)], []), LIMIT)).header.revision;
    world.freeze();
    const frozenAt = world.now();
    const late = txn([{ key: 'status', modRevision: before }], [put('status', 'late')], [get('status')]);
    const outcomes = [
      ...(await Promise.all([
        dcs.txn(late, millis(400)),
        dcs.read(millis(400)),
        dcs.keepAlive(lease, millis(400)),
        dcs.grant(millis(5_000), millis(400)),
      ])),
    ];
    await dcs.revoke(leaseId('4711'), millis(300));
    expect(outcomes.map((outcome) => outcome.kind)).toEqual(['unknown', 'unanswered', 'unanswered', 'unanswered']);
    expect(world.now() - frozenAt).toBeLessThan(1_200);
    // Long enough for the watch to be given up.
    await world.sleep(2_200);
    world.thaw();
    const thawedAt = world.now();
    const hintsBefore = hints.length;

    let status: KeyValue | null = null;
    while (status === null) {
      const answer = await dcs.read(millis(500));
      if (answer.kind === 'answered') status = answer.entries.find((entry) => entry.key === 'status') ?? null;
    }
    expect(world.now() - thawedAt).toBeLessThan(4_000);
    // The transaction without an answer was applied late, or was not; nothing that the next one would not notice.
    expect(['before', 'late']).toContain(status.value);
    const next = txn([{ key: 'status', modRevision: status.modRevision }], [put('status', 'after')], [get('status')]);
    const outcome = answered(await dcs.txn(next, LIMIT));
    expect(outcome.succeeded ? 'after' : outcome.found.get('status')?.value).toBe(
      outcome.succeeded ? (await entries(dcs)).get('status')?.value : 'late',
    );
    await until(() => hints.slice(hintsBefore).some((hint) => hint === null), 6_000);
  });

  it('answers nothing once it was closed, and does not wait either', async () => {
    dcs = await client();
    await dcs.close();
    expect((await dcs.read(LIMIT)).kind).toBe('unanswered');
    expect((await dcs.txn(txn([], [put('status', 'x')], []), LIMIT)).kind).toBe('unknown');
  });

  function watched(of: Dcs): (readonly Change[] | null)[] {
    const hints: (readonly Change[] | null)[] = [];
    of.watch((changes) => hints.push(changes));
    return hints;
  }

  async function until(holds: () => boolean, limitMs = 3_000): Promise<void> {
    const giveUpAt = world.now() + limitMs;
    while (!holds()) {
      expect(world.now(), 'waited too long').toBeLessThan(giveUpAt);
      await world.sleep(20);
    }
  }
});

describe('three real members', () => {
  let etcd: EtcdServers;
  let dcs: EtcdDcs;
  const log: EventName[] = [];

  beforeAll(async () => {
    etcd = await startEtcd({ members: 3 });
    dcs = await openReal(etcd.endpoints, { log });
    await dcs.read(LIMIT);
  });
  afterAll(async () => {
    await dcs?.close();
    await etcd?.stop();
  });

  /** Proofs like a leader's; how many came through, and the longest. */
  async function proofs(lease: LeaseId, forMs: number): Promise<{ good: number; bad: number; longestMs: number }> {
    const result = { good: 0, bad: 0, longestMs: 0 };
    const end = performance.now() + forMs;
    while (performance.now() < end) {
      const startedAt = performance.now();
      const keepAlive = await dcs.keepAlive(lease, millis(700));
      const beat = await dcs.txn(txn([{ key: 'leader', lease }], [put('status', 'x')], [get('leader')]), millis(700));
      const good = keepAlive.kind === 'renewed' && beat.kind === 'answered' && beat.succeeded;
      result[good ? 'good' : 'bad']++;
      result.longestMs = Math.max(result.longestMs, performance.now() - startedAt);
      await realSleep(50);
    }
    return result;
  }

  it.each([
    ['killed', (i: number) => etcd.members[i]?.kill(), (i: number) => etcd.members[i]?.start()],
    ['stopped', async (i: number) => etcd.members[i]?.freeze(), async (i: number) => etcd.members[i]?.thaw()],
  ] as const)('lets no call pass its limit and loses no proof when a follower is %s', async (_, harm, heal) => {
    const lease = await granted(dcs, 10_000);
    const owned = await dcs.txn(txn([], [put('leader', 'a', lease)], []), LIMIT);
    expect(owned.kind).toBe('answered');
    const follower = await indexOfAFollower(etcd);
    await harm(follower);
    try {
      const { good, bad, longestMs } = await proofs(lease, 2_500);
      expect(bad).toBe(0);
      expect(good).toBeGreaterThan(15);
      expect(longestMs).toBeLessThan(700);
    } finally {
      await heal(follower);
    }
  });

  it('keeps every limit while the leading member is stopped, and proves again once the others have elected', async () => {
    const lease = await granted(dcs, 10_000);
    await dcs.txn(txn([], [put('leader', 'a', lease)], []), LIMIT);
    const leader = await indexOfLeader(etcd);
    etcd.members[leader]?.freeze();
    try {
      const { good, longestMs } = await proofs(lease, 5_000);
      expect(good).toBeGreaterThan(20);
      expect(longestMs).toBeLessThan(1_500);
    } finally {
      etcd.members[leader]?.thaw();
    }
  });

  it('says once that nobody answers and once that somebody does again', async () => {
    log.length = 0;
    for (const member of etcd.members) member.freeze();
    const startedAt = performance.now();
    for (let i = 0; i < 5; i++) expect((await dcs.read(millis(200))).kind).toBe('unanswered');
    expect(performance.now() - startedAt).toBeLessThan(1_300);
    for (const member of etcd.members) member.thaw();
    const giveUpAt = performance.now() + 10_000;
    while ((await dcs.read(millis(500))).kind !== 'answered') expect(performance.now()).toBeLessThan(giveUpAt);
    await dcs.read(LIMIT);
    expect(log).toEqual(['dcs.went-silent', 'dcs.answered-again']);
  });

  it('tells the version of each member', async () => {
    const versions = await dcs.versions(LIMIT);
    expect(versions.map(({ endpoint }) => endpoint)).toEqual(etcd.endpoints);
    for (const { version } of versions) expect(version).toMatch(/^3\.\d+\.\d+/);
  });
});

describe('the adapter', () => {
  let etcd: EtcdServers;
  const open: EtcdDcs[] = [];

  beforeAll(async () => {
    etcd = await startEtcd();
  });
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });
  afterAll(async () => {
    await etcd?.stop();
  });
  const opened = async (endpoints: readonly string[], config: Partial<EtcdConfig> = {}): Promise<EtcdDcs> => {
    const one = await openReal(endpoints, { config });
    open.push(one);
    return one;
  };

  it('sends a conditional transaction once per endpoint, an unconditional one once, when nobody answers', async () => {
    const proxies = [await startProxy(etcd.endpoints[0] ?? ''), await startProxy(etcd.endpoints[0] ?? '')];
    const direct = await opened(etcd.endpoints);
    const behind = await opened(proxies.map((proxy) => proxy.endpoint));
    try {
      // Connections to both stand before the test begins.
      expect((await behind.read(LIMIT)).kind).toBe('answered');
      proxies[0]?.holdAnswers(true);
      expect((await behind.read(LIMIT)).kind).toBe('answered');
      proxies[0]?.holdAnswers(false);
      const grownBy = async (transaction: Txn): Promise<bigint> => {
        const before = await revisionNow(direct);
        for (const proxy of proxies) proxy.holdAnswers(true);
        const startedAt = performance.now();
        expect((await behind.txn(transaction, millis(800))).kind).toBe('unknown');
        expect(performance.now() - startedAt).toBeLessThan(950);
        await realSleep(600);
        for (const proxy of proxies) proxy.holdAnswers(false);
        return (await revisionNow(direct)) - before;
      };
      // The condition always holds here, so that every copy that reaches etcd counts.
      const conditional = txn([{ key: 'never', createRevision: ABSENT }], [put('status', 'x')], [get('status')]);
      expect(await grownBy(conditional)).toBe(2n);
      expect((await behind.read(LIMIT)).kind).toBe('answered');
      expect(await grownBy(txn([], [put('members/a', '{}')], []))).toBe(1n);
    } finally {
      for (const proxy of proxies) await proxy.stop();
    }
  });

  it('finds an answer behind an endpoint that gives none, within the stagger', async () => {
    const proxy = await startProxy(etcd.endpoints[0] ?? '');
    const dcs = await opened([proxy.endpoint, ...etcd.endpoints]);
    try {
      await dcs.read(LIMIT);
      proxy.holdAnswers(true);
      const startedAt = performance.now();
      expect((await dcs.read(LIMIT)).kind).toBe('answered');
      expect(performance.now() - startedAt).toBeLessThan(400);
      // The one that answered is asked first from now on.
      const again = performance.now();
      expect((await dcs.read(LIMIT)).kind).toBe('answered');
      expect(performance.now() - again).toBeLessThan(150);
    } finally {
      await proxy.stop();
    }
  });

  it('counts what it sends', async () => {
    const dcs = await opened(etcd.endpoints);
    const lease = await granted(dcs, 5_000);
    await dcs.keepAlive(lease, LIMIT);
    await dcs.txn(txn([], [put('status', 'x')], []), LIMIT);
    await dcs.read(LIMIT);
    expect(dcs.requestCounts()).toMatchObject({ grant: 1, keepAlive: 1, txn: 1, read: 1 });
  });

  it('reaches an endpoint by name', async () => {
    const dcs = await opened(etcd.endpoints.map((url) => url.replace('127.0.0.1', 'localhost')));
    expect((await dcs.read(LIMIT)).kind).toBe('answered');
  });

  it('logs in with user and password, and again when etcd has forgotten its tokens', async () => {
    const own = await startEtcd();
    const etcdctl = (...args: string[]): Promise<unknown> =>
      run('etcdctl', [`--endpoints=${own.endpoints[0]}`, ...args], { env: { ...process.env, ETCDCTL_API: '3' } });
    const login = { username: 'root', password: 'secret' };
    try {
      await etcdctl('user', 'add', 'root:secret');
      await etcdctl('user', 'grant-role', 'root', 'root').catch(() => undefined);
      // A login that etcd does not ask for yet does no harm.
      const dcs = await opened(own.endpoints, login);
      await dcs.read(LIMIT);
      expect((await dcs.read(LIMIT)).kind).toBe('answered');
      await etcdctl('auth', 'enable');
      const hints: unknown[] = [];
      dcs.watch((changes) => hints.push(changes));
      await dcs.read(LIMIT);
      expect((await dcs.read(LIMIT)).kind).toBe('answered');
      const lease = await granted(dcs, 10_000);
      expect((await dcs.txn(txn([], [put('leader', 'a', lease)], []), LIMIT)).kind).toBe('answered');

      const wrong = await opened(own.endpoints, { ...login, password: 'wrong' });
      expect((await wrong.txn(txn([], [put('leader', 'b')], []), LIMIT)).kind).toBe('failed');

      await own.members[0]?.kill();
      await own.members[0]?.start();
      await dcs.read(LIMIT);
      const giveUpAt = performance.now() + 5_000;
      while ((await dcs.keepAlive(lease, LIMIT)).kind !== 'renewed') expect(performance.now()).toBeLessThan(giveUpAt);
      hints.length = 0;
      const seen = (): boolean => hints.some((hint) => hint !== null);
      while (!seen()) {
        expect(performance.now()).toBeLessThan(giveUpAt);
        await dcs.txn(txn([], [put('status', 'x')], []), LIMIT);
        await realSleep(50);
      }
    } finally {
      await own.stop();
    }
  });

  it('talks TLS with a client certificate, checking the name also when it connects to an address', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'pgha-tls-'));
    let own: EtcdServers | null = null;
    try {
      const files = await makeCertificates(directory);
      own = await startEtcd({ tls: files });
      const dcs = await opened(own.endpoints, files);
      expect((await dcs.read(LIMIT)).kind).toBe('answered');
      const lease = await granted(dcs, 5_000);
      expect((await dcs.keepAlive(lease, LIMIT)).kind).toBe('renewed');
      const without = await opened(own.endpoints, { cacert: files.cacert });
      expect((await without.read(millis(500))).kind).toBe('unanswered');
    } finally {
      await own?.stop();
      await rm(directory, { recursive: true, force: true });
    }
  });

  it('refuses to start with a certificate that it cannot read', async () => {
    await expect(opened(etcd.endpoints, { cacert: '/nonexistent/ca.crt' })).rejects.toMatchObject({
      code: 'PGHA_CONFIG_UNREADABLE',
    });
  });
});

describe('the chronicle, in a real etcd', () => {
  let etcd: EtcdServers;
  let dcs: EtcdDcs;
  beforeAll(async () => {
    etcd = await startEtcd();
    dcs = await openReal(etcd.endpoints);
  });
  afterAll(async () => {
    await dcs.close();
    await etcd.stop();
  });

  it('is apart from what a cycle reads, however large it is', async () => {
    await dcs.txn(txn([], [put('leader', 'a'), put('status', 's'), put('pgha/last_takeover', 't')], []), LIMIT);
    expect(await dcs.chronicle.put('events/a', '[]', ABSENT, LIMIT)).toMatchObject({ kind: 'applied' });
    expect(await dcs.chronicle.put('lag', 'x'.repeat(60_000), ABSENT, LIMIT)).toMatchObject({ kind: 'applied' });
    expect([...(await entries(dcs)).keys()]).toEqual(['leader', 'pgha/last_takeover', 'status']);
    const told = await dcs.chronicle.read(LIMIT);
    expect(told.kind === 'answered' && told.entries.map(({ key }) => key)).toEqual(['events/a', 'lag']);
  });

  it('writes only over what it knows, and says what stands there', async () => {
    const first = await dcs.chronicle.put('events/b', '1', ABSENT, LIMIT);
    expect(await dcs.chronicle.put('events/b', '2', ABSENT, LIMIT)).toMatchObject({
      kind: 'refused',
      found: { value: '1' },
    });
    const known = first.kind === 'applied' ? first.revision : ABSENT;
    const second = await dcs.chronicle.put('events/b', '2', known, LIMIT);
    expect(second).toMatchObject({ kind: 'applied' });
    expect(await dcs.chronicle.put('events/b', '3', known, LIMIT)).toMatchObject({ kind: 'refused' });
    await dcs.txn(txn([], [del('pgha/events/b')], []), LIMIT);
    expect(await dcs.chronicle.put('events/b', '3', known, LIMIT)).toEqual({ kind: 'refused', found: null });
  });

  it('answers within its limit when etcd does not', async () => {
    etcd.members[0]?.freeze();
    try {
      expect(await dcs.chronicle.put('events/c', '1', ABSENT, millis(300))).toMatchObject({ kind: 'unknown' });
      expect(await dcs.chronicle.read(millis(300))).toMatchObject({ kind: 'unanswered' });
    } finally {
      etcd.members[0]?.thaw();
    }
  });
});

// ---- words for transactions ---------------------------------------------------------------------------------------------

function txn(compare: readonly Compare[], success: readonly Op[], failure: readonly Op[]): Txn {
  return { compare, success, failure };
}

function put(key: string, value: string, lease: LeaseId | null = null): Op {
  return { op: 'put', key, value, lease };
}

function get(key: string): Op {
  return { op: 'get', key };
}

function del(key: string): Op {
  return { op: 'delete', key };
}

function answered(answer: TxnAnswer): Extract<TxnAnswer, { kind: 'answered' }> {
  if (answer.kind !== 'answered') throw new Error(`${answer.kind}: ${answer.cause}`);
  return answer;
}

function renewed(answer: KeepAliveAnswer): Extract<KeepAliveAnswer, { kind: 'renewed' }> {
  if (answer.kind !== 'renewed') throw new Error(`the lease was not renewed: ${answer.kind}`);
  return answer;
}

async function granted(dcs: Dcs, ttlMs: number): Promise<LeaseId> {
  const answer: GrantAnswer = await dcs.grant(millis(ttlMs), LIMIT);
  if (answer.kind !== 'granted') throw new Error(answer.cause);
  return answer.lease;
}

async function entries(dcs: Dcs): Promise<ReadonlyMap<string, KeyValue>> {
  const answer: ReadAnswer = await dcs.read(LIMIT);
  if (answer.kind !== 'answered') throw new Error(answer.cause);
  return new Map(answer.entries.map((entry) => [entry.key, entry]));
}

async function revisionNow(dcs: Dcs): Promise<Revision> {
  const answer = await dcs.read(LIMIT);
  if (answer.kind !== 'answered') throw new Error(answer.cause);
  return answer.header.revision;
}

// ---- the two worlds -----------------------------------------------------------------------------------------------------

async function realWorld(): Promise<World> {
  const etcd = await startEtcd();
  return {
    client: () => openReal(etcd.endpoints),
    sleep: (ms) => realSleep(ms),
    now: () => performance.now(),
    freeze: () => etcd.members[0]?.freeze(),
    thaw: () => etcd.members[0]?.thaw(),
    restart: async () => {
      await etcd.members[0]?.kill();
      await etcd.members[0]?.start();
    },
    backUp: () => etcd.backUp(),
    end: () => etcd.stop(),
  };
}

let scopes = 0;
async function openReal(
  endpoints: readonly string[],
  { config = {}, log = [] }: { config?: Partial<EtcdConfig>; log?: EventName[] } = {},
): Promise<EtcdDcs> {
  const none = { srv: null, username: null, password: null, cacert: null, cert: null, key: null };
  return EtcdDcs.open({ ...none, endpoints, ...config }, basePath('/contract/', `scope-${scopes++}`), {
    clock: { now: () => instant(performance.now()) },
    log: { write: (_severity, event) => log.push(event) },
  });
}

/** Virtual time runs only while somebody waits for it. */
async function modelWorld(): Promise<World> {
  const queue = new EventQueue();
  let model = new EtcdModel(queue, new SeededRandom('contract'), { members: 1 });
  let clients = 0;
  const pumped = async <T>(promise: Promise<T>): Promise<T> => {
    let settled = false;
    const done = promise.finally(() => {
      settled = true;
    });
    await queue.run(
      queue.now() + 60_000,
      () => undefined,
      () => settled,
    );
    return done;
  };
  return {
    client: async () => {
      // A fresh store each time stands for the keys of another cluster.
      model = new EtcdModel(queue, new SeededRandom(`contract-${clients}`), { members: 1 });
      const dcs = model.client(`node-${clients++}`);
      return {
        read: (limit) => pumped(dcs.read(limit)),
        txn: (transaction, limit) => pumped(dcs.txn(transaction, limit)),
        grant: (ttl, limit) => pumped(dcs.grant(ttl, limit)),
        keepAlive: (lease, limit) => pumped(dcs.keepAlive(lease, limit)),
        revoke: (lease, limit) => pumped(dcs.revoke(lease, limit)),
        watch: (hint) => dcs.watch(hint),
        versions: (limit) => pumped(dcs.versions(limit)),
        close: () => dcs.close(),
      };
    },
    sleep: (ms) => pumped(new Promise((resolve) => queue.after(ms, resolve))),
    now: () => queue.now(),
    freeze: () => model.setMember(0, 'frozen'),
    thaw: () => model.setMember(0, 'up'),
    restart: async () => {
      model.setMember(0, 'down');
      model.setMember(0, 'up');
    },
    backUp: async () => {
      const backup = model.backup();
      return async () => model.restore(backup, { newCluster: false });
    },
    end: async () => undefined,
  };
}

// ---- the real one's surroundings ----------------------------------------------------------------------------------------

async function indexOfLeader(etcd: EtcdServers): Promise<number> {
  const args = [`--endpoints=${etcd.endpoints.join(',')}`, 'endpoint', 'status', '-w', 'json'];
  const { stdout } = await run('etcdctl', args, { env: { ...process.env, ETCDCTL_API: '3' } });
  const states = JSON.parse(stdout) as {
    Endpoint: string;
    Status: { leader: number; header: { member_id: number } };
  }[];
  const leading = states.find(({ Status }) => Status.leader === Status.header.member_id);
  return etcd.endpoints.indexOf(leading?.Endpoint ?? '');
}

async function indexOfAFollower(etcd: EtcdServers): Promise<number> {
  return ((await indexOfLeader(etcd)) + 1) % etcd.members.length;
}

interface Proxy {
  readonly endpoint: string;
  /** From now on etcd gets everything and its client nothing, until the answers are let go. */
  holdAnswers(hold: boolean): void;
  stop(): Promise<void>;
}

async function startProxy(target: string): Promise<Proxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let hold = false;
  let held: (() => void)[] = [];
  const server: Server = createServer((inner) => {
    const outer = connect(Number(port), hostname);
    for (const socket of [inner, outer]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        inner.destroy();
        outer.destroy();
      });
    }
    inner.on('data', (chunk) => outer.write(chunk));
    outer.on('data', (chunk) => {
      const pass = (): boolean => inner.write(chunk);
      if (hold) held.push(pass);
      else pass();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    holdAnswers: (now) => {
      hold = now;
      if (hold) return;
      for (const pass of held) pass();
      held = [];
    },
    stop: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** An authority, and one certificate of it that serves as both the server's and the client's. */
async function makeCertificates(directory: string): Promise<{ cacert: string; cert: string; key: string }> {
  const at = (name: string): string => join(directory, name);
  const openssl = (...args: string[]): Promise<unknown> => run('openssl', args, { cwd: directory });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=test ca');
  await openssl('req', ...newKey, '-keyout', 'node.key', '-out', 'node.csr', '-subj', '/CN=root');
  // Only the name: a connection to the address must still be checked against it.
  await writeFile(at('ext'), 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n');
  const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'ext'];
  await openssl('x509', '-req', '-in', 'node.csr', ...signing, '-out', 'node.crt');
  return { cacert: at('ca.crt'), cert: at('node.crt'), key: at('node.key') };
}
