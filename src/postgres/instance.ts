/**
 * The adapter behind the Postgres port: puts the parts of this directory together, and holds what they share, the
 * place, the held connection, and who is told of a death. Each method is a few lines; what is hard stands in the parts.
 */
import { resolve } from 'node:path';
import type { Config } from '../config/schema.ts';
import type { LocalPostgres, SystemId } from '../core/local.ts';
import type { Lsn, Timeline } from '../core/lsn.ts';
import type { CheckType } from '../core/policy.ts';
import type { Acknowledging, SyncMode } from '../core/quorum.ts';
import { NOTHING_LEARNED, type Vitals } from '../core/sickness.ts';
import type { LeaderSlots, ServerSlots, SlotStep } from '../core/slots.ts';
import { between, type Instant, LONG_AGO, laterBy, type Millis, millis } from '../core/time.ts';
import type { TimelineHistory } from '../core/timeline.ts';
import { PghaError } from '../errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';
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
} from '../ports/postgres.ts';
import type { Random } from '../ports/random.ts';
import { bootstrapCluster, setNewClusterAside } from './bootstrap.ts';
import { withConnection } from './connection.ts';
import { keepDiscardedWal } from './discarded-wal.ts';
import { writeDurably } from './durable-file.ts';
import { asMember, DeathWatch, familyOf, type Home, type ProcessId, signalProcess } from './family.ts';
import { FollowCommand } from './follow-command.ts';
import { recallPostmaster, rememberPostmaster } from './known-postmaster.ts';
import { readHistoryFile, readLineage } from './lineage.ts';
import { fetchSlots, putSlots, removeSlots, slotsOfLeader } from './logical-slots.ts';
import { Lookout } from './look.ts';
import { readMarker, unwritableParent } from './markers.ts';
import { findDataDirectory, findPlace, type Place } from './place.ts';
import { Probe, upstreamIn } from './probe.ts';
import { follow, promote, type RunningServer, reload, reloadByCommand, withdraw } from './recovery.ts';
import { createReplica, emptyForCopy } from './replica-methods.ts';
import { rewindFrom } from './rewind.ts';
import { ServerChecks } from './server-check.ts';
import {
  foundParameters,
  hasUpstreamFile,
  needsWalOfItsSource,
  type Raised,
  type ReplacedFile,
  readStandbyMinimums,
  SHARED_PARAMETERS,
  setStandbySignal,
  type Written,
  writeConfiguration,
  writeUpstream,
} from './server-config.ts';
import {
  endProcesses,
  hasStandbySignal,
  limitServerLog,
  restartByCommand,
  startServer,
  stopForSwitchover,
  stopServer,
} from './server-process.ts';
import { ServiceCommands } from './service-commands.ts';
import { objectionsToSettings } from './settings-check.ts';
import { changeSlot, readSlots, slotFailed } from './slots.ts';
import { afterSwitchover, checkpoint, cleanAutoConf, prepareSwitchover } from './switchover.ts';
import { blockCommits, writeAcknowledging, writeBlocked } from './sync-standbys.ts';
import { TimeLimitError } from './time-limit.ts';
import { removeLeftTrials } from './trial.ts';
import { lookAtUndone, type SeenUndone, type UndoneRange } from './undone-wal.ts';
import { VitalSigns } from './vital-signs.ts';
import { deliverWal, endOfWal, readWal } from './wal-rescue.ts';

export interface PostgresInstanceOptions {
  readonly config: Config;
  readonly log: EventLog;
  readonly clock: Clock;
  readonly random: Random;
}

/** What belongs together once the place is known. */
interface Parts {
  readonly place: Place;
  readonly probe: Probe;
  readonly lookout: Lookout;
  readonly server: RunningServer;
  readonly service: ServiceCommands;
  readonly following: FollowCommand;
  readonly serverChecks: ServerChecks;
  readonly signs: VitalSigns;
}

/** Programs that were not there may be installed. */
const OPEN_AGAIN: Millis = millis(10_000);
const LIMIT_SERVER_LOG_EVERY: Millis = millis(60_000);
const SLOT_LIMIT: Millis = millis(3_000);
/** A logical slot is made when the transactions that run have ended, and moved on by reading WAL. */
const LOGICAL_SLOT_LIMIT: Millis = millis(60_000);
const CONNECT_LIMIT: Millis = millis(3_000);
/** A standby that was stopped in order is there again in a moment. */
const COMES_UP: Millis = millis(30_000);
const LOOK_AGAIN: Millis = millis(50);

export class PostgresInstance implements Postgres {
  readonly address: ServerAddress;
  #config: Config;
  readonly #log: EventLog;
  readonly #clock: Clock;
  readonly #watch: DeathWatch;
  readonly #listeners: (() => void)[] = [];
  readonly #whenMoved: ((dataDir: string) => void)[] = [];
  readonly #doubters: (() => void)[] = [];
  #parts: Parts | null = null;
  #opening: Promise<Parts> | null = null;
  /** Where `data_dir` led when it was last resolved, also where the programs were not found then. */
  #resolved: string | null = null;
  /** Set between withdraw and the next upstream: a receiver that appears meanwhile is ended again. */
  #withdrawn = false;
  #logLimitedAt: Instant = LONG_AGO;
  /** What was written higher than the settings say, because the primary still had it. */
  #raised: readonly Raised[] = [];
  /** Settings are tried out one after the other. */
  #checking: Promise<unknown> = Promise.resolve();
  #openedAt: Instant = LONG_AGO;
  /** The version of the data for which other programs were looked for last. */
  #openedFor: number | null = null;
  #recalled = false;
  #starting = false;
  /** Since when nothing was found out because a disk does not answer, with a server that runs. */
  #hangsSince: Instant | null = null;
  /** What trials of an earlier daemon have left is gone; whatever is there from now on is at work. */
  #tidied = false;
  /** The server was started with commits blocked, and nothing else was written since. */
  #startedBlocked = false;
  /** The last look. */
  #seen: LocalPostgres | null = null;

  constructor(options: PostgresInstanceOptions) {
    this.#config = options.config;
    this.#log = options.log;
    this.#clock = options.clock;
    const { host, port } = options.config.postgresql.connectAddress;
    this.address = { name: options.config.node.name, host, port };
    const died = (): void => {
      for (const listener of this.#listeners) listener();
    };
    this.#watch = new DeathWatch(options.clock, died, (postmaster) => this.#met(postmaster));
  }

  /**
   * Finds binaries, directory and versions. Every method does so on its own where it was not done before.
   *
   * @throws {PghaError} PGHA_POSTGRES_NOT_FOUND
   */
  async open(): Promise<Place> {
    return (await this.#opened()).place;
  }

  /**
   * The file was read again: parameters, pg_hba and logins are used with the next change. Where the data and the
   * programs are and what Postgres listens on stays as it was at the start.
   */
  useConfig(config: Config): void {
    const { dataDir, configDir, binDir, listen, connectAddress, unixSocketDirectory } = this.#config.postgresql;
    const fixed = { dataDir, configDir, binDir, listen, connectAddress, unixSocketDirectory };
    this.#config = { ...config, node: this.#config.node, postgresql: { ...config.postgresql, ...fixed } };
  }

  /** Lets go of the server; it goes on running. */
  close(): void {
    this.#watch.close();
    this.#parts?.probe.forget();
    this.#parts?.signs.close();
  }

  /** With all links followed, as far as they could be. */
  get dataDirectory(): string {
    return this.#parts?.place.dataDir ?? this.#resolved ?? resolve(this.#config.postgresql.dataDir);
  }

  /** The one that is watched; null: none that lives is known. */
  get postmaster(): ProcessId | null {
    return this.#watch.living;
  }

  /** Told where the data are now: a link leads elsewhere, or for the first time somewhere. */
  onMoved(listener: (dataDir: string) => void): void {
    this.#whenMoved.push(listener);
  }

  onDeath(listener: () => void): void {
    this.#listeners.push(listener);
  }

  onDoubt(listener: () => void): void {
    this.#doubters.push(listener);
  }

  async look(limit: Millis, check: CheckType = this.#config.cluster.checkType): Promise<LocalPostgres> {
    let parts: Parts;
    try {
      parts = await this.#opened();
    } catch (error) {
      return this.#notOpened(error);
    }
    this.#hangsSince = null;
    const found = await parts.lookout.look(limit, check);
    if (this.#isElsewhere(parts, found)) {
      try {
        const { dataDir, version } = await this.#openedAnew(parts);
        // Said once, so that whatever was concluded from what stood in the former place is concluded anew.
        if (dataDir !== parts.place.dataDir || version !== parts.place.version)
          return unusable(`Postgres is looked for in ${dataDir} now, with the programs of version ${version}.`);
      } catch (error) {
        return this.#notOpened(error);
      }
    }
    const local = this.#withRaised(found);
    this.#seen = local;
    this.#holdWithdrawal(parts, local);
    this.#limitServerLog(parts.place);
    return local;
  }

  /** What is told where nothing could be found out. */
  async #notOpened(error: unknown): Promise<LocalPostgres> {
    const code = error instanceof PghaError ? error.code : 'PGHA_DATA_DIRECTORY_UNREADABLE';
    const sentence = error instanceof Error ? error.message : String(error);
    const hangs = error instanceof TimeLimitError;
    const runs = await this.#runsAllTheSame(hangs);
    // As a server that was met before the disk hung, and does not answer.
    if (runs && hangs) return { kind: 'silent', since: this.#hanging(), said: sentence };
    return { kind: 'unusable', code, sentence, ...(runs ? { runs } : {}) };
  }

  /**
   * Where the programs or the versions cannot be found.
   *
   * @param hangs - the path may not answer: it is not asked once more, and the processes are found by it as it is written
   */
  async #runsAllTheSame(hangs: boolean): Promise<boolean> {
    const known = this.#home;
    const dataDir = hangs
      ? known.dataDir
      : await findDataDirectory(this.#config, this.#clock).catch(() => known.dataDir);
    return familyOf({ ...known, dataDir }).length > 0;
  }

  /** Where its processes are looked for, without asking a disk. */
  get #home(): Home {
    return { dataDir: this.dataDirectory, postmaster: this.#living };
  }

  #hanging(): Millis {
    const now = this.#clock.now();
    this.#hangsSince ??= now;
    return between(this.#hangsSince, now);
  }

  vitals(): Vitals {
    return this.#parts?.signs.vitals ?? NOTHING_LEARNED;
  }

  examine(): void {
    if (this.#parts !== null && this.#seen !== null)
      this.#parts.signs.examine(this.#seen, this.#parts.lookout.endpoint);
  }

  /** The file says what is in force, so that the server does not know that a restart is due. */
  #withRaised(local: LocalPostgres): LocalPostgres {
    if (local.kind !== 'standby' || this.#raised.length === 0) return local;
    const known = new Set(local.pendingRestart.map(({ name }) => name));
    const more = this.#raised
      .filter(({ name }) => !known.has(name))
      .map(({ name, wanted, used }) => ({ name, from: String(used), to: String(wanted) }));
    return { ...local, pendingRestart: [...local.pendingRestart, ...more] };
  }

  async bootstrap(settings: ServerSettings, progress: Progress, signal: AbortSignal): Promise<SystemId> {
    const { place, signs } = await this.#opened();
    return signs.whileChanging(() => bootstrapCluster(place, settings, progress, signal));
  }

  async setAside(): Promise<string> {
    const { place, signs } = await this.#opened();
    return signs.whileChanging(() => setNewClusterAside(place));
  }

  async copy(source: ServerAddress, settings: ServerSettings, progress: Progress, signal: AbortSignal): Promise<void> {
    const { place, signs } = await this.#opened();
    await signs.whileChanging(() => createReplica(place, source, settings, progress, signal));
  }

  async rewind(
    source: ServerAddress,
    settings: ServerSettings,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<void> {
    const { place, signs } = await this.#opened();
    await signs.whileChanging(() => rewindFrom(place, source, settings, progress, signal));
  }

  async keepDiscarded(range: DiscardedRange, progress: Progress, signal: AbortSignal): Promise<DiscardedWal> {
    return keepDiscardedWal(await this.open(), range, progress, signal);
  }

  async wipe(lastLook: () => Promise<void>, order: WipeOrder): Promise<void> {
    const { place, signs } = await this.#opened();
    await signs.whileChanging(() => emptyForCopy(place, lastLook, order));
  }

  async startPrimary(
    settings: ServerSettings,
    stillAllowed: () => boolean = () => true,
    blocked: boolean = settings.synchronous,
  ): Promise<void> {
    const { place } = await this.#startable();
    const prepare = async (): Promise<void> => {
      await setStandbySignal(place, false);
      await writeUpstream(place, null);
      await writeBlocked(place, blocked);
      await this.#write(place, settings);
    };
    await told('Postgres was not started', prepare());
    await this.#start(place, stillAllowed);
  }

  async startStandby(upstream: ServerAddress | null, settings: ServerSettings): Promise<void> {
    const { place } = await this.#startable();
    const prepare = async (): Promise<void> => {
      // First: whatever fails after it, the next start of this directory makes no second primary.
      await setStandbySignal(place, true);
      if (upstream !== null || !(await needsWalOfItsSource(place))) await writeUpstream(place, upstream);
      await writeBlocked(place, settings.synchronous);
      this.#startedBlocked = settings.synchronous;
      await this.#write(place, settings);
    };
    await told('Postgres was not started', prepare());
    await this.#start(place);
  }

  async stop(mode: 'fast' | 'immediate', limit: Millis): Promise<void> {
    const place = await this.open().catch((error: unknown) => {
      if (familyOf(this.#home).length === 0) throw error;
      return null;
    });
    if (place !== null) await stopServer(place, mode, limit);
    // Neither its programs nor its files are needed for that.
    else await endProcesses(this.#home, this.#clock);
  }

  async stopForSwitchover(limit: Millis): Promise<Lsn | null> {
    return stopForSwitchover(await this.open(), limit);
  }

  async prepareSwitchover(signal: AbortSignal): Promise<void> {
    const { server, lookout } = await this.#opened();
    await told('The switchover was not prepared', prepareSwitchover(server, lookout.endpoint, signal));
  }

  async afterSwitchover(): Promise<void> {
    const { server } = await this.#opened();
    await told('The settings of the switchover were not put back', afterSwitchover(server));
  }

  async promote(stillAllowed: () => boolean, signal: AbortSignal, how: Promotion = {}): Promise<void> {
    const { server, following } = await this.#opened();
    await following.stop();
    if (how.synchronous === true)
      await told('The promotion was not begun', blockCommits(server, this.#startedBlocked, signal));
    this.#startedBlocked = false;
    await promote(server, stillAllowed, signal, how.taken ?? []);
    this.#withdrawn = false;
  }

  async follow(upstream: ServerAddress | null): Promise<void> {
    this.#withdrawn = false;
    const { server, service, following } = await this.#opened();
    if (upstream !== null && service.has('follow_command')) {
      following.begin(upstream);
      return;
    }
    await following.stop();
    await told('The upstream was not changed', follow(server, upstream));
  }

  async withdraw(signal: AbortSignal): Promise<Lsn> {
    this.#withdrawn = true;
    const { server, following } = await this.#opened();
    // A follow_command that is still at work must not give the standby its upstream back.
    await following.stop();
    return withdraw(server, signal);
  }

  async checkpoint(): Promise<void> {
    const { place, lookout } = await this.#opened();
    await checkpoint(place, lookout.endpoint, null);
  }

  async #write(place: Place, settings: ServerSettings): Promise<Written> {
    const written = await writeConfiguration(place, settings);
    this.#raised = written.raised;
    return written;
  }

  async outgrown(): Promise<readonly string[]> {
    const { place } = await this.#opened();
    const minimums = await told('The control file was not compared', readStandbyMinimums(place));
    const rows = await this.#query('SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY($1)', [
      Object.keys(minimums),
    ]);
    return rows
      .filter((row) => Number(row['setting']) < (minimums[String(row['name'])] ?? 0))
      .map((row) => String(row['name']));
  }

  async restart(limit: Millis, settings: ServerSettings): Promise<void> {
    const { place, service, probe } = await this.#opened();
    if (service.has('service_restart_command') && (await hasStandbySignal(place))) {
      this.#withdrawn = false;
      await told('Postgres was not restarted', this.#write(place, settings));
      const postmaster = await restartByCommand(place);
      probe.forget();
      this.#watch.watch(postmaster);
      return;
    }
    await stopServer(place, 'fast', limit);
    await this.#startable();
    await told('Postgres was not started', this.#write(place, settings));
    await this.#start(place);
  }

  async setAcknowledging(names: Acknowledging | null, mode: SyncMode): Promise<void> {
    const { place, probe } = await this.#opened();
    // Decided for the primary that this server was until a moment ago.
    if (await hasStandbySignal(place)) return;
    this.#startedBlocked = false;
    await told('synchronous_standby_names was not written', writeAcknowledging(place, names, mode));
    // Also when it was there already: the reload that belongs to it may not have been sent.
    reload(place);
    probe.settingsChanged();
  }

  objections(candidate: ServerSettings, inForce: ServerSettings): Promise<readonly string[]> {
    // One at a time: each writes a file of the same name beside the configuration.
    const asked = this.#checking.then(async () => objectionsToSettings(await this.open(), candidate, inForce));
    this.#checking = asked.catch(() => undefined);
    return asked;
  }

  async applySettings(settings: ServerSettings): Promise<boolean> {
    const { place, probe, server, service } = await this.#opened();
    if (await hasStandbySignal(place)) await told('The settings were not written', this.#keepUpstream(place));
    const written = await told('The settings were not written', this.#write(place, settings));
    if (written.hba !== null) await this.#keepReadable(place, written.hba);
    // Of a primary its leader decides, step by step.
    const isStandby = await hasStandbySignal(place);
    const blocked =
      isStandby && (await told('The settings were not written', writeBlocked(place, settings.synchronous))).changed;
    if (blocked) this.#startedBlocked = false;
    if (!written.changed && !blocked) return false;
    if (service.has('service_reload_command')) {
      // Beside everything else: what follows in the caller's round does not wait for an operator's command.
      void reloadByCommand(server, service).finally(() => probe.settingsChanged());
      return true;
    }
    reload(place);
    probe.settingsChanged();
    return true;
  }

  async sharedParameters(): Promise<Readonly<Record<string, string>>> {
    const rows = await told(
      'The settings of the server were not read',
      this.#query(
        "SELECT name, pg_catalog.current_setting(name) AS value FROM pg_catalog.pg_settings WHERE name = ANY($1) OR name = 'data_checksums'",
        [SHARED_PARAMETERS],
      ),
    );
    const values = new Map(rows.map((row) => [String(row['name']), String(row['value'])]));
    const checksums = values.get('data_checksums') === 'on';
    values.delete('data_checksums');
    return foundParameters(values, checksums);
  }

  /**
   * A standby that somebody else has made says in postgresql.auto.conf whom it follows, which our files are about to
   * replace: it goes on with the same one until it is told otherwise.
   */
  async #keepUpstream(place: Place): Promise<void> {
    if (await hasUpstreamFile(place)) return;
    const [row] = await this.#query("SELECT pg_catalog.current_setting('primary_conninfo') AS conninfo");
    const from = upstreamIn(String(row?.['conninfo'] ?? ''));
    const colon = from?.lastIndexOf(':') ?? -1;
    if (from === null || colon === -1) return;
    const [host, port] = [from.slice(0, colon), Number(from.slice(colon + 1))];
    await writeUpstream(place, { name: host, host, port });
  }

  /** A server that runs goes on with the old lines when it cannot read the new ones; its next start would fail. */
  async #keepReadable(place: Place, { path, before }: ReplacedFile): Promise<void> {
    const rows = await this.#query(
      'SELECT line_number, error FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL ORDER BY 1 LIMIT 1',
    ).catch(() => []);
    const [wrong] = rows;
    if (wrong === undefined) return;
    await writeDurably(place, path, before);
    place.log.write(
      'error',
      'config.adjusted',
      `pg_hba.conf stays as it was: Postgres does not read line ${String(wrong['line_number'])} of the new one (${String(wrong['error'])}).`,
    );
  }

  async readSlots(): Promise<ServerSlots> {
    const { place } = await this.#opened();
    return told('The replication slots were not seen to', readSlots(this.#query, place.version));
  }

  async changeSlot(step: SlotStep): Promise<void> {
    const { place, lookout } = await this.#opened();
    const queryIn = (database: string, sql: string, values: readonly unknown[]) =>
      withConnection(
        place,
        lookout.endpoint,
        { connect: CONNECT_LIMIT, statement: LOGICAL_SLOT_LIMIT, database },
        (connection) => connection.query(sql, values, millis(LOGICAL_SLOT_LIMIT + CONNECT_LIMIT)),
      );
    await changeSlot(step, this.#query, queryIn, place.version);
  }

  async slotsOfLeader(
    leader: ServerAddress,
    names: readonly string[],
    through: string,
    limit: Millis,
  ): Promise<LeaderSlots> {
    return slotsOfLeader(await this.open(), leader, names, through, limit);
  }

  async fetchSlots(leader: ServerAddress, names: readonly string[], limit: Millis): Promise<readonly SlotCopy[]> {
    return fetchSlots(await this.open(), leader, names, this.#query, limit);
  }

  async installSlots(
    copies: readonly SlotCopy[],
    stillAllowed: () => boolean,
    limit: Millis,
    signal: AbortSignal,
  ): Promise<void> {
    const { place } = await this.#opened();
    if (!stillAllowed()) throw slotFailed('No slot was copied', new Error('there is more urgent work to do'));
    await stopServer(place, 'fast', limit);
    const names = copies.map(({ name }) => name);
    let failure: unknown = null;
    try {
      if (!(await hasStandbySignal(place))) throw new Error('this server is no standby any more');
      await putSlots(place, copies);
    } catch (error) {
      failure = error;
      await removeSlots(place, names);
    }
    signal.throwIfAborted();
    await this.#startable();
    if (failure !== null) {
      await this.#start(place);
      throw slotFailed(`The slots ${names.join(', ')} were not copied`, failure);
    }
    // A state that Postgres refuses ends it at once or a moment after it said that it runs: as it happens to go.
    let refused: unknown = null;
    try {
      await this.#start(place);
    } catch (error) {
      refused = error;
    }
    if (refused === null) {
      if (await this.#comesUp(signal)) return;
      if ((await this.look(SLOT_LIMIT)).kind !== 'stopped') signal.throwIfAborted();
    }
    await stopServer(place, 'immediate', limit);
    await removeSlots(place, names);
    // Not before they are gone: whoever starts Postgres next would find that it does not.
    signal.throwIfAborted();
    await this.#startable();
    await this.#start(place);
    throw slotFailed(
      `The slots ${names.join(', ')} were taken away again`,
      new Error('Postgres did not start with them', { cause: refused }),
    );
  }

  /** false: the postmaster ended, or takes no connections after long. */
  async #comesUp(signal: AbortSignal): Promise<boolean> {
    const until = laterBy(this.#clock.now(), COMES_UP);
    while (this.#clock.now() < until && !signal.aborted) {
      const { kind } = await this.look(SLOT_LIMIT);
      if (kind === 'standby' || kind === 'primary') return true;
      if (kind === 'stopped') return false;
      await this.#clock.sleep(LOOK_AGAIN);
    }
    return false;
  }

  /** A statement on the held connection. */
  readonly #query = async (sql: string, values: readonly unknown[] = []) => {
    const { probe, lookout } = await this.#opened();
    return probe.ask(sql, values, lookout.endpoint, SLOT_LIMIT);
  };

  async endOfWal(tl: Timeline, from: Lsn): Promise<Lsn> {
    return endOfWal(await this.open(), tl, from);
  }

  async lookAtUndone(range: UndoneRange): Promise<SeenUndone> {
    return lookAtUndone(await this.open(), range);
  }

  async readWal(tl: Timeline, from: Lsn, to: Lsn): Promise<WalChunk> {
    return readWal(await this.open(), tl, from, to);
  }

  async deliverWal(tl: Timeline, chunks: readonly WalChunk[], end: Lsn, signal: AbortSignal): Promise<void> {
    await deliverWal((await this.#opened()).server, tl, chunks, end, signal);
  }

  async lineage(of: ServerAddress, limit: Millis): Promise<Lineage | null> {
    return readLineage(await this.open(), of, limit);
  }

  async checkServer(of: ServerAddress, type: CheckType, limit: Millis): Promise<ServerCheck> {
    try {
      return await (await this.#opened()).serverChecks.check(of, type, limit);
    } catch (error) {
      // Nothing was asked: where our own Postgres lives could not be found out.
      return { kind: 'silent', said: error instanceof Error ? error.message : String(error) };
    }
  }

  async ownHistory(tl: Timeline): Promise<TimelineHistory> {
    return readHistoryFile(await this.open(), tl);
  }

  readonly #living = (): ProcessId | null => this.#watch.living;

  /** Found once, and again where it has changed; a failure is tried again by the next who asks. */
  async #opened(): Promise<Parts> {
    if (this.#parts !== null) return this.#parts;
    if (!this.#recalled) {
      this.#recalled = true;
      const known = recallPostmaster(this.#owner);
      if (known !== null) this.#watch.watch(known);
    }
    this.#opening ??= this.#open().finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  get #owner() {
    const { runtimeDirectory, postgresql } = this.#config;
    return { runtimeDirectory, dataDir: postgresql.dataDir };
  }

  #met(postmaster: ProcessId): void {
    try {
      rememberPostmaster(this.#owner, postmaster);
    } catch (error) {
      const sentence = 'which process Postgres is could not be written to the runtime directory';
      this.#log.write('warn', 'action.failed', sentence, { error });
    }
  }

  /**
   * Nothing runs, and the directory that `data_dir` leads to, or its version, is another one than was found. Where that
   * changes nothing (the programs of this version are not installed), it is not tried with every look.
   */
  #isElsewhere({ place, lookout }: Parts, { kind }: LocalPostgres): boolean {
    const { facts } = lookout;
    if (facts === null || this.#starting || (kind !== 'stopped' && kind !== 'absent' && kind !== 'unusable'))
      return false;
    if (facts.resolved !== place.dataDir) return true;
    const { madeBy } = facts;
    if (madeBy === null || madeBy === place.version) return false;
    const isDue = madeBy !== this.#openedFor || this.#clock.now() >= laterBy(this.#openedAt, OPEN_AGAIN);
    this.#openedFor = madeBy;
    return isDue;
  }

  /** What was found before is used by whoever asks meanwhile. */
  async #openedAnew(former: Parts): Promise<Place> {
    if (this.#parts === former) {
      this.#opening ??= Promise.all([former.following.stop(), former.service.quiet()])
        .then(() => this.#open())
        .catch((error: unknown) => {
          this.#parts = null;
          throw error;
        })
        .finally(() => {
          this.#opening = null;
          former.probe.forget();
          former.signs.close();
        });
      await this.#opening;
    }
    return (await this.#opened()).place;
  }

  #resolvedTo(dataDir: string): void {
    if (this.#resolved === dataDir) return;
    const before = this.#resolved;
    this.#resolved = dataDir;
    if (before !== null) {
      const sentence = `data_dir, ${this.#config.postgresql.dataDir}, leads to ${dataDir} now, and no longer to ${before}`;
      this.#log.write('warn', 'config.adjusted', sentence);
    }
    for (const listener of this.#whenMoved) listener(dataDir);
  }

  async #open(): Promise<Parts> {
    this.#resolvedTo(await findDataDirectory(this.#config, this.#clock));
    const found = await findPlace(this.#config, this.#log, this.#clock);
    this.#resolvedTo(found.dataDir);
    const current = (): Config => this.#config;
    const fixed = {
      ...found,
      postmaster: this.#living,
      get config() {
        return current();
      },
    };
    const service = new ServiceCommands(fixed);
    const place: Place = Object.assign(fixed, { service });
    if (!this.#tidied) {
      await removeLeftTrials(place);
      await this.#warnOfParent(place);
    }
    this.#tidied = true;
    this.#openedAt = this.#clock.now();
    const probe = new Probe(place, () => {
      this.#watch.suspect();
      for (const listener of this.#doubters) listener();
    });
    const signs = new VitalSigns(place);
    const lookout = new Lookout(place, probe, this.#watch, signs);
    const server = {
      place,
      ask: (text: string, limit: Millis) => probe.ask(text, [], lookout.endpoint, limit),
    };
    this.#parts = {
      place,
      probe,
      lookout,
      server,
      service,
      following: new FollowCommand(server, service),
      serverChecks: new ServerChecks(place),
      signs,
    };
    return this.#parts;
  }

  async #warnOfParent(place: Place): Promise<void> {
    const parent = await unwritableParent(place).catch(() => null);
    if (parent === null) return;
    const wal =
      place.config.postgresql.discardedWal.directory === null ? ', and WAL that is undone cannot be kept' : '';
    const sentence = `${parent} cannot be written: a rewind is not begun then, the node is copied instead${wal}. Let the user of pgha write there, or put the data directory one level below the mount point.`;
    this.#log.write('warn', 'config.adjusted', sentence);
  }

  /** A directory that may be started: whole, ours, and with nobody in it. */
  async #startable(): Promise<Parts> {
    const parts = await this.#opened();
    const { place } = parts;
    await parts.following.stop();
    const marker = await readMarker(place);
    if (marker !== null) {
      throw new PghaError('PGHA_POSTGRES_START_FAILED', {
        happened: `Postgres was not started: the ${marker.work} of ${place.dataDir} did not end.`,
        untouched: 'The directory was not changed.',
        todo:
          marker.elsewhere === true
            ? 'What stands there was mounted or linked there since: remove the marker where these data are whole.'
            : 'Nothing to do: the node makes the copy anew. A half-made directory is never started.',
      });
    }
    const processes = familyOf(place).length;
    if (processes > 0) {
      throw new PghaError('PGHA_POSTGRES_START_FAILED', {
        happened: `Postgres was not started: ${processes} of its processes are still there.`,
        untouched: 'Neither they nor the files were changed.',
        todo: 'Nothing to do: the node ends them first, or adopts the server that runs.',
      });
    }
    await cleanAutoConf(place);
    return parts;
  }

  async #start(place: Place, stillAllowed: () => boolean = () => true): Promise<void> {
    this.#withdrawn = false;
    this.#starting = true;
    try {
      // Else the guard is armed for another directory than this one.
      if (this.#parts?.place !== place) throw movedMeanwhile(place);
      this.#parts.probe.forget();
      this.#watch.watch(await startServer(place, stillAllowed));
    } finally {
      this.#starting = false;
    }
  }

  #holdWithdrawal(parts: Parts, local: LocalPostgres): void {
    const { receiverPid } = parts.lookout;
    if (!this.#withdrawn || local.kind !== 'standby' || local.follows !== null || receiverPid === null) return;
    const receiver = asMember(receiverPid, parts.place);
    if (receiver !== null) signalProcess(receiver, 'SIGTERM');
  }

  #limitServerLog(place: Place): void {
    const now = this.#clock.now();
    if (now - this.#logLimitedAt < LIMIT_SERVER_LOG_EVERY) return;
    this.#logLimitedAt = now;
    void limitServerLog(place);
  }
}

const unusable = (sentence: string): LocalPostgres => ({
  kind: 'unusable',
  code: 'PGHA_DATA_DIRECTORY_UNREADABLE',
  sentence,
});

const movedMeanwhile = ({ dataDir }: Place): PghaError =>
  new PghaError('PGHA_POSTGRES_START_FAILED', {
    happened: `Postgres was not started: data_dir no longer leads to ${dataDir}.`,
    untouched: 'The data was not changed.',
    todo: 'Nothing to do: the node decides again.',
  });

/** What pg or the file system throws, in an operator's words. */
async function told<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (cause instanceof PghaError) throw cause;
    throw new PghaError(
      'PGHA_POSTGRES_UNREACHABLE',
      {
        happened: `${what}: ${cause instanceof Error ? cause.message : String(cause)}.`,
        untouched: 'Postgres goes on as it was.',
        todo: 'Nothing to do: it is tried again. If it goes on, look at the log of Postgres and at the disk.',
      },
      { cause },
    );
  }
}
