/**
 * `ports/postgres` over the simulated server, for one life of a daemon. What the daemon's child processes do in the
 * real world (initdb, pg_basebackup, pg_rewind) ends with the daemon here and leaves a half-made directory.
 */
import { type LocalPostgres, type Running, systemId } from '../../../src/core/local.ts';
import { type Lsn, lsn, type Timeline, timeline } from '../../../src/core/lsn.ts';
import type { CheckType } from '../../../src/core/policy.ts';
import { type Acknowledging, sameAcknowledging } from '../../../src/core/quorum.ts';
import type { Vitals, Writing } from '../../../src/core/sickness.ts';
import type { LeaderSlots, ServerSlots, SlotStep } from '../../../src/core/slots.ts';
import { type Instant, laterBy, type Millis, millis } from '../../../src/core/time.ts';
import type { TimelineHistory } from '../../../src/core/timeline.ts';
import { type ErrorCode, PghaError } from '../../../src/errors.ts';
import type {
  DiscardedRange,
  DiscardedWal,
  Lineage,
  Postgres,
  Progress,
  Promotion,
  ServerAddress,
  ServerCheck,
  ServerSettings,
  SlotCopy,
  WalChunk,
  WipeOrder,
} from '../../../src/ports/postgres.ts';
import type { Deed } from '../conduct.ts';
import type { Incarnation } from '../world/incarnation.ts';
import type { DataDirectory, PostgresServer } from './postgres-server.ts';
import { checkSimulatedServer } from './server-check.ts';
import { endOf, historyOf, type WalEntry } from './wal.ts';

/** Copies that fail for no reason, one after the other. */
const MOST_BAD_LUCK = 3;

export interface PostgresPortParts {
  readonly server: PostgresServer;
  readonly process: Incarnation;
  readonly address: ServerAddress;
  /** The server at an address, if that machine exists. */
  readonly at: (address: ServerAddress) => PostgresServer | null;
  readonly addressOf: (name: string) => ServerAddress | null;
  readonly newSystemId: () => string;
  readonly failChance: number;
  /** The daemon is about to do something to its Postgres. */
  readonly does: (deed: Deed, source: string | null, toHandOver?: boolean) => void;
}

const VERSION = 150018;

/** Of a server that does not lead yet: whom to wait for it is told once it does. */
const beforeLeading = (synchronous: boolean): Acknowledging => ({ kind: synchronous ? 'blocked' : 'alone' });

export class SimulatedPostgres implements Postgres {
  readonly address: ServerAddress;
  readonly dataDirectory: string;
  private readonly server: PostgresServer;
  private readonly process: Incarnation;
  private readonly parts: PostgresPortParts;
  private readonly listeners: (() => void)[] = [];
  private readonly doubters: (() => void)[] = [];
  private lastFacts: LocalPostgres | null = null;
  private failingSince: number | null = null;
  /** When this daemon began to look. */
  private readonly beganAt: number;

  constructor(parts: PostgresPortParts) {
    this.parts = parts;
    this.server = parts.server;
    this.process = parts.process;
    this.address = parts.address;
    this.dataDirectory = `/pg/${parts.server.name}`;
    this.beganAt = parts.server.scheduler.now();
  }

  /** The world tells that the postmaster is gone. */
  postmasterGone(): void {
    this.process.later(this.server.random.between(2, 30), () => {
      for (const listener of this.listeners) listener();
    });
  }

  /** The world tells that all sessions were ended. */
  connectionsBroke(): void {
    this.process.later(this.server.random.between(1, 10), () => {
      for (const listener of this.doubters) listener();
    });
  }

  onDoubt(listener: () => void): void {
    this.doubters.push(listener);
  }

  onDeath(listener: () => void): void {
    this.listeners.push(listener);
  }

  // ---- looking -----------------------------------------------------------------------------------------------

  async look(limit: Millis): Promise<LocalPostgres> {
    const { server } = this;
    const running = server.processes.kind !== 'none' && server.disk.kind === 'whole';
    if (server.hung && running) {
      this.failingSince ??= server.scheduler.now();
      await this.wait(this.length(limit));
      if (!server.hung) return this.facts();
      const last = this.lastFacts;
      if (last !== null && (last.kind === 'primary' || last.kind === 'standby')) {
        return { ...last, failing: { check: 'query', said: 'no answer in time', outdated: true } };
      }
      return { kind: 'silent', since: this.since(this.failingSince), said: 'no answer in time' };
    }
    await this.wait(server.random.between(0.3, 2.5));
    const facts = this.facts();
    if (facts.kind !== 'primary' && facts.kind !== 'standby') return facts;
    if (server.full) return { ...facts, full: 'sorry, too many clients already' };
    if (server.scheduler.now() >= server.trouble.checkFailsUntil) return facts;
    return { ...facts, failing: { check: 'connection', said: 'the local check fails' } };
  }

  private facts(): LocalPostgres {
    const facts = this.inspect();
    this.failingSince = null;
    if (facts.kind === 'primary' || facts.kind === 'standby') this.lastFacts = facts;
    else this.lastFacts = null;
    return facts;
  }

  /** Whom primary_conninfo names. */
  private told({ upstream }: DataDirectory): string | null {
    const address = upstream === null ? null : this.parts.addressOf(upstream);
    return address === null ? null : `${address.host}:${address.port}`;
  }

  private since(trueTime: number): Millis {
    return millis(Math.max(0, this.server.scheduler.now() - trueTime));
  }

  private inspect(): LocalPostgres {
    const { server } = this;
    const { disk, processes } = server;
    // What runs goes on, and is seen, also when its directory cannot be read any more.
    if (processes.kind === 'none' && server.scheduler.now() < server.trouble.unusableUntil) {
      return { kind: 'unusable', code: 'PGHA_DATA_DIRECTORY_UNREADABLE', sentence: 'the file system is not there' };
    }
    if (disk.kind === 'absent') return { kind: 'absent' };
    if (disk.kind === 'half-made') return { kind: 'half-made', by: disk.by };
    const { data } = disk;
    switch (processes.kind) {
      case 'none':
        return {
          kind: 'stopped',
          systemId: systemId(data.systemId),
          // The minimum recovery point tells of a promotion before the first checkpoint does.
          timeline: timeline(data.branch.id),
          version: VERSION,
          cleanly: data.control === 'shut down' || data.control === 'shut down in recovery',
          wasPrimary:
            data.control === 'in production' || data.control === 'shutting down' || data.control === 'shut down',
          standbySignal: data.standbySignal,
          checkpoint: lsn(data.checkpoint),
          minRecoveryPoint: lsn(data.minRecoveryPoint),
        };
      case 'orphans':
        return { kind: 'orphans', processes: 2 };
      case 'starting':
        return {
          kind: 'starting',
          since: this.since(processes.since),
          asPrimary: processes.asPrimary,
          ...(processes.asPrimary
            ? {}
            : { follows: this.told(data), idle: server.caughtUp ? this.since(server.idleSince) : millis(0) }),
        };
      case 'stopping':
        return { kind: 'stopping', since: this.since(processes.since) };
      case 'running': {
        const senders = [...server.downstream].map(({ of, receiver }) => ({
          applicationName: of.name,
          user: 'replicator',
          clientAddress: this.parts.addressOf(of.name)?.host ?? null,
          state: 'streaming',
          syncState: server.synchronous.isWaitedFor(receiver) ? 'sync' : 'async',
          syncPriority: server.synchronous.isWaitedFor(receiver) ? 1 : 0,
          sent: lsn(endOf(receiver.wal, receiver.sent)),
          flushed: lsn(server.timing.feedback ? receiver.confirmed : of.end),
          replayed: lsn(of.replayed),
        }));
        const facts: Running = {
          systemId: systemId(data.systemId),
          timeline: timeline(data.branch.id),
          version: VERSION,
          startedAt: `started ${server.startedAt}`,
          pendingRestart: [],
          failing: null,
        };
        if (!processes.recovery) {
          return {
            ...facts,
            kind: 'primary',
            flushed: lsn(server.end),
            senders,
            managed: server.managed,
            checkpointed: data.controlTimeline === data.branch.id,
            acknowledging: server.synchronous.inForce,
            checkpointerIdle: server.synchronous.checkpointerIdle,
          };
        }
        const { receiver } = server;
        const fromAddress = receiver === null ? null : this.parts.addressOf(receiver.from.name);
        return {
          ...facts,
          kind: 'standby',
          received: lsn(server.received),
          replayed: lsn(server.replayed),
          replayedAt: null,
          replayPaused: false,
          positionFinal: server.caughtUp,
          receiver:
            receiver === null || fromAddress === null
              ? null
              : {
                  streaming: true,
                  from: `${fromAddress.host}:${fromAddress.port}`,
                  timeline: timeline(data.branch.id),
                  lastMessage: this.since(receiver.lastMessage),
                },
          follows: this.told(data),
          senders,
        };
      }
      default:
        return ((never: never) => never)(processes);
    }
  }

  // ---- what ails it --------------------------------------------------------------------------------------------

  examine(): void {
    // What is asked for is what is true.
  }

  vitals(): Vitals {
    const { server } = this;
    const { sickness } = server;
    const ago = (trueTime: number): Instant => laterBy(this.process.now(), millis(trueTime - server.scheduler.now()));
    const hangs = sickness.get('hang') ?? (server.hung && !server.hangsByProcess ? this.failingSince : null);
    const written: Writing = { kind: 'done', said: '' };
    const last: Writing = (['full', 'read-only', 'io-error'] as const)
      .filter((kind) => sickness.has(kind))
      .reduce((_, kind): Writing => ({ kind, said: 'it says so' }), written);
    return {
      disks:
        server.disk.kind !== 'whole'
          ? []
          : [
              {
                directory: 'data',
                last,
                freeBytes: sickness.has('full') ? 0n : 10_737_418_240n,
                totalBytes: 107_374_182_400n,
                tryingSince: hangs === null ? null : ago(hangs),
              },
            ],
      checkpointer: sickness.has('checkpointer') ? 'it is stopped' : null,
      archiver: sickness.has('archiver')
        ? { failing: true, failures: 7, lastFailed: '000000010000000000000005', waiting: 3, oldest: millis(1_000) }
        : null,
      wraparound: [
        { of: 'transactions', database: 'postgres', age: sickness.has('wraparound') ? 2_000_000_000 : 1_000 },
      ],
      // Of an earlier process nobody knows.
      crashes: server.crashedAt.filter((at) => at >= this.beganAt).map(ago),
    };
  }

  // ---- directories -------------------------------------------------------------------------------------------

  async bootstrap(
    _settings: ServerSettings,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<ReturnType<typeof systemId>> {
    const { server } = this;
    this.parts.does('bootstrap', null);
    if (server.disk.kind === 'whole') throw this.error('PGHA_BOOTSTRAP_FAILED', 'the data directory is not empty');
    server.disk = { kind: 'half-made', by: 'initdb' };
    progress('initdb', null);
    await this.step(server.random.between(200, 900), signal);
    const id = this.parts.newSystemId();
    server.initdb(id);
    return systemId(id);
  }

  async setAside(): Promise<string> {
    await this.wait(this.server.random.between(5, 50));
    if (this.server.processes.kind !== 'none') throw this.error('PGHA_DATA_DIRECTORY_LOCKED', 'Postgres runs in it');
    this.server.events.trace(this.server.name, 'new cluster set aside');
    this.server.events.mark('new cluster set aside');
    this.server.disk = { kind: 'absent' };
    return 'What was made is kept under another name.';
  }

  async copy(source: ServerAddress, _settings: ServerSettings, progress: Progress, signal: AbortSignal): Promise<void> {
    const { server } = this;
    this.parts.does('copy', source.name);
    if (server.disk.kind === 'whole') throw this.error('PGHA_COPY_FAILED', 'the data directory is not empty');
    if (server.processes.kind !== 'none') throw this.error('PGHA_COPY_FAILED', 'Postgres runs in it');
    server.events.trace(server.name, `copies from ${source.name}`);
    server.disk = { kind: 'half-made', by: 'copy' };
    const steps = server.random.whole(2, 5);
    for (let i = 0; i < steps; i += 1) {
      progress(`copying from ${source.name}`, i / steps);
      await this.step(server.random.between(50, 400), signal);
      if (!this.works(source)) server.events.mark('copy cut off');
      this.needSource(source, 'PGHA_COPY_FAILED');
    }
    // Bad luck is not for ever: it would show as a node that never comes back.
    if (server.random.chance(this.parts.failChance) && server.copiesFailed < MOST_BAD_LUCK) {
      server.copiesFailed += 1;
      throw this.error('PGHA_COPY_FAILED', 'the connection was closed');
    }
    server.copiesFailed = 0;
    const data = this.needSource(source, 'PGHA_COPY_FAILED');
    server.becomeLike(data);
    if (server.data !== null) server.data.upstream = source.name;
    server.events.trace(server.name, `copied from ${source.name}`);
  }

  async rewind(
    source: ServerAddress,
    _settings: ServerSettings,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<void> {
    const { server } = this;
    const own = server.needData();
    if (server.processes.kind !== 'none') throw this.error('PGHA_REWIND_FAILED', 'Postgres runs');
    server.events.trace(server.name, `rewinds to ${source.name}`);
    this.parts.does('rewind', source.name);
    const at = this.parts.at(source);
    if (at === server) server.events.violated('S7', `${server.name} rewinds to itself`);
    progress(`rewinding to ${source.name}`, null);
    await this.step(server.random.between(20, 200), signal);
    const theirs = this.needSource(source, 'PGHA_REWIND_FAILED');
    if (theirs.systemId !== own.systemId) throw this.error('PGHA_REWIND_FAILED', 'other system identifier');
    if (server.awaitsWal)
      server.events.violated('S8', `${server.name} rewinds by its WAL, and its pages are newer than that`);
    if (server.random.chance(this.parts.failChance))
      throw this.error('PGHA_REWIND_FAILED', 'WAL of the source is gone');
    server.disk = { kind: 'half-made', by: 'rewind' };
    await this.step(server.random.between(50, 400), signal);
    const data = this.needSource(source, 'PGHA_REWIND_FAILED');
    server.disk = { kind: 'whole', data: own };
    server.rewoundTo(data);
    if (server.data !== null) server.data.upstream = source.name;
    server.events.mark('rewound');
    server.events.trace(server.name, `rewound to ${source.name}`);
  }

  private works(source: ServerAddress): boolean {
    const server = this.parts.at(source);
    return server?.takesConnections() === true && server.network.connects('replication', this.server.name, server.name);
  }

  private needSource(source: ServerAddress, code: ErrorCode) {
    const data = this.parts.at(source)?.data ?? null;
    if (data === null || !this.works(source)) throw this.error(code, `${source.name} does not answer`);
    return data;
  }

  async keepDiscarded(range: DiscardedRange, _progress: Progress, signal: AbortSignal): Promise<DiscardedWal> {
    const { server } = this;
    await this.step(server.random.between(10, 200), signal);
    const commits = server.needData().wal.filter(({ end, token }) => token !== null && end > Number(range.from)).length;
    const times = { firstCommit: null, lastCommit: null };
    return { ...range, ...times, kept: `/pg/${server.name}.discarded-wal`, again: false, commits, trouble: null };
  }

  async wipe(lastLook: () => Promise<void>, _order: WipeOrder): Promise<void> {
    await this.wait(this.server.random.between(5, 50));
    if (this.server.processes.kind !== 'none') throw this.error('PGHA_DATA_DIRECTORY_LOCKED', 'Postgres runs in it');
    await lastLook();
    if (this.server.processes.kind !== 'none') throw this.error('PGHA_DATA_DIRECTORY_LOCKED', 'Postgres runs in it');
    this.parts.does('wipe', null);
    this.server.events.trace(this.server.name, 'data directory wiped');
    this.server.disk = { kind: 'absent' };
  }

  // ---- starting and stopping ---------------------------------------------------------------------------------

  async startPrimary(
    settings: ServerSettings,
    stillAllowed: () => boolean = () => true,
    blocked: boolean = settings.synchronous,
  ): Promise<void> {
    this.server.synchronous.write(beforeLeading(blocked));
    await this.launch(true, null, stillAllowed);
  }

  async startStandby(upstream: ServerAddress | null, settings: ServerSettings): Promise<void> {
    this.server.synchronous.write(beforeLeading(settings.synchronous));
    await this.launch(false, upstream);
  }

  private async launch(asPrimary: boolean, upstream: ServerAddress | null, stillAllowed = () => true): Promise<void> {
    const { server } = this;
    await this.wait(server.random.between(3, 30));
    if (!stillAllowed()) throw this.error('PGHA_POSTGRES_START_FAILED', 'the window is not open any more');
    if (server.processes.kind !== 'none') {
      throw this.error('PGHA_POSTGRES_START_FAILED', `Postgres is ${server.processes.kind}`);
    }
    if (server.disk.kind === 'absent') throw this.error('PGHA_POSTGRES_START_FAILED', 'there is no data directory');
    this.parts.does(asPrimary ? 'start as a primary' : 'start as a standby', null);
    server.managed = true;
    if (!asPrimary && server.data !== null) server.data.upstream = upstream?.name ?? null;
    server.start(asPrimary);
    await this.wait(server.random.between(1, 5));
    if (server.processes.kind === 'none') throw this.error('PGHA_POSTGRES_START_FAILED', 'Postgres ended at once');
  }

  async stop(mode: 'fast' | 'immediate', limit: Millis): Promise<void> {
    const { server } = this;
    await this.wait(0.2);
    if (server.processes.kind === 'none') return;
    this.parts.does('stop', null);
    if (mode === 'fast' && server.processes.kind !== 'orphans') {
      server.stopFast();
      if (await this.until(() => server.processes.kind === 'none', this.length(limit))) return;
    }
    server.stopImmediate();
    // That it is gone is seen also when somebody has started it again since.
    const { restarts } = server;
    const ended = (): boolean => server.processes.kind === 'none' || server.restarts !== restarts;
    await this.until(ended, Number.POSITIVE_INFINITY);
  }

  async stopForSwitchover(limit: Millis): Promise<Lsn | null> {
    const { server } = this;
    await this.wait(0.2);
    if (server.processes.kind === 'none') return null;
    this.parts.does('stop', null, true);
    server.stopFast();
    const ended = await this.until(() => server.processes.kind === 'none', this.length(limit));
    if (!ended) {
      server.stopImmediate();
      await this.until(() => server.processes.kind === 'none', Number.POSITIVE_INFINITY);
    }
    const { data } = server;
    return ended && data !== null && data.control === 'shut down' ? lsn(data.checkpoint) : null;
  }

  async prepareSwitchover(signal: AbortSignal): Promise<void> {
    const { server } = this;
    await this.step(server.random.between(10, 80), signal);
    // A checkpoint waits for a disk that hangs, for minutes, and for nobody who only looks on.
    await this.until(() => !server.hung || signal.aborted || server.processes.kind === 'none', 600_000);
    await this.step(0.1, signal);
    this.needAnswer();
    server.shed();
    server.checkpoint();
  }

  async afterSwitchover(): Promise<void> {
    await this.wait(this.server.random.between(1, 5));
  }

  async setAcknowledging(names: Acknowledging | null): Promise<void> {
    await this.wait(this.server.random.between(0.5, 5));
    this.server.synchronous.write(names ?? { kind: 'alone' });
    this.server.synchronous.reload();
  }

  /** No commit will be acknowledged once it is promoted, and it is certain that sessions wait. */
  private async blockCommits(signal: AbortSignal): Promise<void> {
    const { synchronous } = this.server;
    if (synchronous.inForce.kind === 'blocked' && synchronous.written.kind === 'blocked' && synchronous.defined) return;
    synchronous.write({ kind: 'blocked' });
    synchronous.reload();
    const there = (): boolean => synchronous.inForce.kind === 'blocked' && synchronous.checkpointerIdle;
    await this.until(() => there() || signal.aborted, Number.POSITIVE_INFINITY);
    signal.throwIfAborted();
  }

  async promote(stillAllowed: () => boolean, signal: AbortSignal, how: Promotion = {}): Promise<void> {
    const { server } = this;
    if (how.synchronous === true) await this.blockCommits(signal);
    await this.step(server.random.between(2, 15), signal);
    if (server.data === null || server.processes.kind !== 'running' || !server.processes.recovery) {
      throw this.error('PGHA_PROMOTE_FAILED', 'Postgres is no standby');
    }
    if (server.hung) throw this.error('PGHA_POSTGRES_UNREACHABLE', 'Postgres does not answer');
    if (!stillAllowed()) {
      server.events.mark('window closed between winning and promoting');
      throw this.error('PGHA_PROMOTE_NOT_ALLOWED', 'the window is not open any more');
    }
    this.parts.does('promote', null);
    server.data.highestKnown = Math.max(server.data.highestKnown, ...(how.taken ?? []));
    let finished = false;
    server.promote(() => {
      finished = true;
    });
    await this.until(() => finished || !server.promoting || signal.aborted, Number.POSITIVE_INFINITY);
    await this.wait(1);
    if (!finished)
      throw this.error(
        signal.aborted ? 'PGHA_CANCELLED' : 'PGHA_PROMOTE_FAILED',
        'Postgres did not come out of recovery',
      );
  }

  async follow(upstream: ServerAddress | null): Promise<void> {
    await this.wait(this.server.random.between(1, 10));
    this.needAnswer();
    this.server.setUpstream(upstream?.name ?? null);
  }

  async withdraw(signal: AbortSignal): Promise<Lsn> {
    const { server } = this;
    await this.step(server.random.between(1, 5), signal);
    this.needAnswer();
    if (server.data === null) throw this.error('PGHA_WITHDRAW_FAILED', 'Postgres is not there');
    server.data.upstream = null;
    await this.step(server.random.between(5, 20), signal);
    server.endReceiver();
    return lsn(server.end);
  }

  async checkpoint(): Promise<void> {
    await this.wait(this.server.random.between(5, 80));
    this.needAnswer();
    this.server.checkpoint();
  }

  async restart(limit: Millis): Promise<void> {
    const { server } = this;
    const primary = server.processes.kind === 'running' && !server.processes.recovery;
    const upstream = server.data?.upstream ?? null;
    await this.stop('fast', limit);
    await this.launch(primary, upstream === null ? null : this.parts.addressOf(upstream));
  }

  async outgrown(): Promise<readonly string[]> {
    return [];
  }

  async objections(): Promise<readonly string[]> {
    return [];
  }

  async applySettings(settings: ServerSettings): Promise<boolean> {
    await this.wait(0.5);
    const { synchronous, data } = this.server;
    const names = beforeLeading(settings.synchronous);
    if (data?.standbySignal !== true || sameAcknowledging(synchronous.written, names)) return false;
    synchronous.write(names);
    synchronous.reload();
    return true;
  }

  async sharedParameters(): Promise<Readonly<Record<string, string>>> {
    return {};
  }

  async readSlots(): Promise<ServerSlots> {
    await this.wait(this.server.random.between(0.3, 2));
    this.needAnswer();
    const { server } = this;
    const { processes } = server;
    const inRecovery = processes.kind === 'running' && processes.recovery;
    return {
      inRecovery,
      end: lsn(inRecovery ? server.replayed : server.end),
      slots: [...server.needData().slots].map(([name, restart]) => ({
        name,
        kind: 'physical',
        database: null,
        plugin: null,
        active: server.streamsThrough(name),
        temporary: false,
        restartLsn: lsn(restart),
        confirmedLsn: null,
        xmin: null,
        catalogXmin: null,
        walStatus: 'reserved',
        failover: false,
        synced: false,
      })),
    };
  }

  /** The cluster of a simulation asks for no permanent slots: those of members are all there are. */
  async changeSlot(step: SlotStep): Promise<void> {
    await this.wait(this.server.random.between(0.3, 2));
    this.needAnswer();
    const refused = this.server.changeSlot(step);
    if (refused !== null) throw this.error('PGHA_SLOT_FAILED', refused);
  }

  slotsOfLeader(): Promise<LeaderSlots> {
    return Promise.resolve({ kept: null, logical: new Map() });
  }

  fetchSlots(): Promise<readonly SlotCopy[]> {
    return Promise.resolve([]);
  }

  installSlots(): Promise<void> {
    return Promise.resolve();
  }

  // ---- WAL ---------------------------------------------------------------------------------------------------

  async endOfWal(tl: Timeline, from: Lsn): Promise<Lsn> {
    await this.wait(this.server.random.between(3, 40));
    if (this.server.scheduler.now() < this.server.trouble.walUnreadableUntil)
      throw this.error('PGHA_RESCUE_FAILED', 'the WAL cannot be read');
    const data = this.server.needData();
    const end = endOf(data.wal);
    return data.branch.id === tl && BigInt(end) > from ? lsn(end) : from;
  }

  async lookAtUndone({ from, to }: Omit<DiscardedRange, 'leader'>) {
    await this.wait(this.server.random.between(10, 100));
    const { wal } = this.server.needData();
    const commits = wal.filter(({ end, token }) => token !== null && end > Number(from) && end <= Number(to));
    const [first, last] = [commits[0], commits.at(-1)];
    return { whole: true, span: first === undefined || last === undefined ? null : millis(last.at - first.at) };
  }

  async readWal(tl: Timeline, from: Lsn, to: Lsn): Promise<WalChunk> {
    await this.wait(this.server.random.between(1, 10));
    const data = this.server.needData();
    if (data.branch.id !== tl || BigInt(endOf(data.wal)) < to) {
      throw this.error('PGHA_RESCUE_FAILED', 'the WAL asked for is not here');
    }
    return { start: from, bytes: new Uint8Array(Number(to - from)) };
  }

  async deliverWal(
    tl: Timeline,
    chunks: AsyncIterable<WalChunk> | Iterable<WalChunk>,
    end: Lsn,
    signal: AbortSignal,
  ): Promise<void> {
    const { server } = this;
    await this.step(server.random.between(1, 10), signal);
    this.needAnswer();
    if (server.receiver !== null)
      server.events.violated('S7', `WAL is put into pg_wal of ${server.name} while it receives`);
    for await (const chunk of chunks) {
      const entries: WalEntry[] = [];
      // A chunk begins at a page, in the middle of what is here, which may be of an older timeline.
      let at = Math.max(Number(chunk.start), server.end);
      const upTo = Number(chunk.start) + chunk.bytes.length;
      while (at < upTo) {
        const entry = server.archive.find(tl, at);
        if (entry === null || entry.end > upTo) break;
        entries.push(entry);
        at = entry.end;
      }
      signal.throwIfAborted();
      server.deliver(entries);
    }
    const there = await this.until(() => BigInt(server.replayed) >= end || signal.aborted, 10_000);
    if (!there || signal.aborted) throw this.error('PGHA_RESCUE_FAILED', 'replay did not reach the end of the tail');
  }

  async lineage(of: ServerAddress, limit: Millis): Promise<Lineage | null> {
    const source = this.parts.at(of);
    const works = source?.takesConnections() && source.network.connects('replication', this.server.name, source.name);
    if (!works || source === null) {
      const refused = source !== null && source.processes.kind === 'none';
      await this.wait(refused ? 1 : this.length(limit));
      return null;
    }
    await this.wait(this.server.random.between(2, 8));
    const { data, processes } = source;
    if (data === null || processes.kind !== 'running') return null;
    return {
      systemId: systemId(data.systemId),
      timeline: timeline(data.branch.id),
      position: lsn(processes.recovery ? source.replayed : source.end),
      history: historyOf(data.branch).map((line) => ({
        timeline: timeline(line.timeline),
        switchedAt: lsn(line.switchedAt),
      })),
      inRecovery: processes.recovery,
    };
  }

  checkServer(of: ServerAddress, type: CheckType, limit: Millis): Promise<ServerCheck> {
    return checkSimulatedServer(this.process, this.server.name, this.parts.at(of), type, limit);
  }

  async ownHistory(tl: Timeline): Promise<TimelineHistory> {
    await this.wait(0.5);
    const { data } = this.server;
    if (data === null || data.branch.id !== tl) return [];
    return historyOf(data.branch).map((line) => ({
      timeline: timeline(line.timeline),
      switchedAt: lsn(line.switchedAt),
    }));
  }

  // ---- waiting -----------------------------------------------------------------------------------------------

  private length(limit: Millis): number {
    return Math.max(0, limit);
  }

  private wait(ms: number): Promise<void> {
    return this.process.answer(ms, () => undefined);
  }

  /** A part of something long, with a look at the caller's signal before and after. */
  private async step(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw this.error('PGHA_CANCELLED', 'it was called off');
    await this.wait(ms);
    if (signal.aborted) throw this.error('PGHA_CANCELLED', 'it was called off');
  }

  /** Looks every few milliseconds; false when `limit` is over first. */
  private async until(condition: () => boolean, limit: number): Promise<boolean> {
    const { scheduler } = this.server;
    const began = scheduler.now();
    while (!condition()) {
      const waited = scheduler.now() - began;
      if (waited >= limit) return false;
      // Often at first, as the adapter does; a long wait costs fewer events.
      await this.wait(Math.min(waited < 200 ? 4 : 40, Math.max(0.1, limit - waited)));
    }
    return true;
  }

  private needAnswer(): void {
    if (!this.server.takesConnections()) throw this.error('PGHA_POSTGRES_UNREACHABLE', 'Postgres does not answer');
  }

  private error(code: ErrorCode, happened: string): PghaError {
    return new PghaError(code, {
      happened: `${happened}.`,
      untouched: 'Nothing else was changed.',
      todo: 'It is tried again.',
    });
  }
}
