/**
 * One look at the local Postgres: from files, processes, the held query and the configured check to the one case of
 * `LocalPostgres` that holds. It changes nothing and never throws. "No answer" never becomes "stopped": that takes a
 * family of processes that is seen to be empty.
 */
import type { LocalPostgres, Primary, Running, Standby, Starting } from '../core/local.ts';
import { NOWHERE } from '../core/lsn.ts';
import type { CheckType } from '../core/policy.ts';
import { between, type Instant, laterBy, type Millis, millis } from '../core/time.ts';
import type { ErrorCode } from '../errors.ts';
import type { ServerCheck } from '../ports/postgres.ts';
import { ALIVE, answerIn, connectionCheck, isSignOfLife, ping } from './checks.ts';
import { type Endpoint, endpointOf, leftUntil } from './connection.ts';
import { latestTimeline, readControlData } from './control-data.ts';
import { DataDirectory, type DirectoryFacts } from './data-directory.ts';
import {
  asMember,
  type DeathWatch,
  familyOf,
  isAlive,
  type ProcessId,
  postmasterOf,
  startupProcess,
  worksElsewhere,
} from './family.ts';
import { OLDEST_SUPPORTED_VERSION, type Place } from './place.ts';
import type { Probe, Probed } from './probe.ts';
import { writtenUpstream } from './server-config.ts';
import { withLimit } from './time-limit.ts';
import type { VitalSigns } from './vital-signs.ts';

/** The last thing that was learned from the postmaster that runs now. */
interface Known {
  readonly postmaster: ProcessId;
  readonly server: Primary | Standby;
}

/** A state without facts, and since when it lasts. */
interface Phase {
  readonly kind: 'starting' | 'stopping' | 'silent';
  readonly postmaster: number;
  readonly since: Instant;
}

type ProbeAnswer = { readonly kind: 'told'; readonly probed: Probed } | Exclude<ServerCheck, { kind: 'alive' }>;

interface Answers {
  readonly told: ProbeAnswer;
  readonly checked: ServerCheck;
}

/** With a server that answers, the files add little: they are not waited for longer than this. */
const FILES_BESIDE_ANSWERS = 250;

export class Lookout {
  readonly #place: Place;
  readonly #probe: Probe;
  readonly #watch: DeathWatch;
  readonly #signs: VitalSigns;
  readonly #directory: DataDirectory;
  #known: Known | null = null;
  #phase: Phase | null = null;
  #endpoint: Endpoint;
  #receiverPid: number | null = null;
  #replay: { readonly title: string; readonly since: Instant } | null = null;
  #facts: DirectoryFacts | null = null;
  /** The postmaster whose address is known. */
  #met: ProcessId | null = null;

  constructor(place: Place, probe: Probe, watch: DeathWatch, signs: VitalSigns) {
    this.#place = place;
    this.#probe = probe;
    this.#watch = watch;
    this.#signs = signs;
    this.#directory = new DataDirectory(place);
    this.#endpoint = endpointOf(place, { port: null, socketDir: null, listenAddress: null });
  }

  /** Where the running server was last seen to listen. */
  get endpoint(): Endpoint {
    return this.#endpoint;
  }

  /** What the files said at the last look; null: the disk did not answer. */
  get facts(): DirectoryFacts | null {
    return this.#facts;
  }

  /** The WAL receiver's process at the last look that was answered. */
  get receiverPid(): number | null {
    return this.#receiverPid;
  }

  async look(limit: Millis, check: CheckType): Promise<LocalPostgres> {
    const deadline = laterBy(this.#place.clock.now(), limit);
    // With a known postmaster the server is asked while the files are read: a hung disk costs its answer no time.
    const { living } = this.#watch;
    const known = living !== null && same(this.#met, living) ? living : null;
    const asked = known === null ? null : this.#ask(limit, check);
    const facts = await this.#readDirectory(deadline, living !== null);
    this.#facts = facts;
    if (facts?.marker != null && facts.marker.elsewhere === undefined)
      return { kind: 'half-made', by: facts.marker.work };
    const postmaster = this.#findPostmaster(facts);
    if (postmaster === null) return this.#withoutPostmaster(facts, deadline);

    const elsewhere = this.#worksElsewhere(postmaster);
    if (elsewhere !== null) return elsewhere;
    const answers =
      asked !== null && same(known, postmaster) ? await asked : await this.#meet(postmaster, facts, deadline, check);
    // It may have ended while it was asked.
    if (answers.told.kind !== 'told' && !isAlive(postmaster)) return this.#withoutPostmaster(facts, deadline);
    const seen = this.#judge(postmaster, facts, answers, check, limit);
    return seen.kind === 'starting' && !seen.asPrimary ? this.#asStandby(seen, deadline) : seen;
  }

  /** A server that takes no connections yet is not asked what it does: it shows in its file and in its processes. */
  async #asStandby(starting: Starting, deadline: Instant): Promise<Starting> {
    const left = leftUntil(deadline, this.#place.clock.now());
    const reading = withLimit(this.#place.clock, left, 'reading the upstream', writtenUpstream(this.#place));
    const follows = await reading.catch(() => undefined);
    const idle = this.#idling();
    return { ...starting, ...(follows === undefined ? {} : { follows }), ...(idle === null ? {} : { idle }) };
  }

  /** For how long its replay has not come further, and was seen neither to work nor to wait for a disk. */
  #idling(): Millis | null {
    const now = this.#place.clock.now();
    const seen = startupProcess(this.#place);
    if (seen === null || seen.state !== 'S') this.#replay = null;
    else if (this.#replay?.title !== seen.title) this.#replay = { title: seen.title, since: now };
    return seen === null ? null : between(this.#replay?.since ?? now, now);
  }

  /**
   * The server that was started here, and the directory was moved or unmounted under it since, or `data_dir` is a link that
   * was changed: what stands there now is not what it writes to, and whoever ends it does not find it by the path. It may
   * write, and nothing that it or the files say can be relied on.
   */
  #worksElsewhere(postmaster: ProcessId): LocalPostgres | null {
    const { dataDir } = this.#place;
    const where = worksElsewhere(postmaster.pid, dataDir);
    if (where === null) return null;
    this.#known = null;
    const since = this.#lasting('silent', postmaster);
    return {
      kind: 'silent',
      since,
      said: `Postgres, process ${postmaster.pid}, works in ${where} and not in ${dataDir}`,
    };
  }

  /** null: the disk does not answer, and the processes are asked instead. */
  async #readDirectory(deadline: Instant, running: boolean): Promise<DirectoryFacts | null> {
    const left = leftUntil(deadline, this.#place.clock.now());
    try {
      return await this.#directory.read(millis(running ? Math.min(left, FILES_BESIDE_ANSWERS) : left / 2));
    } catch {
      return null;
    }
  }

  /**
   * Directories that are not there, not ours or not understood. Asked only once no process of a server is left: one that
   * runs, of whatever version, may write, and "unusable" would say that it does not.
   */
  #refusal(facts: DirectoryFacts): LocalPostgres | null {
    const { dataDir, version } = this.#place;
    if (typeof facts.content !== 'string') {
      return unusable('PGHA_DATA_DIRECTORY_UNREADABLE', `${dataDir} cannot be read: ${facts.content.unreadable}.`);
    }
    if (facts.content === 'absent' || facts.content === 'empty') return { kind: 'absent' };
    if (facts.marker !== null) {
      return unusable(
        'PGHA_DATA_DIRECTORY_FOREIGN',
        `A ${facts.marker.work} was begun in ${dataDir} before what stands there now was mounted or linked there; it is left alone. Where these data are whole, remove the marker (\`unfinished\` in ${this.#place.runtimeDirectory}, or ${dataDir}.pgha-unfinished).`,
      );
    }
    if (facts.content === 'foreign') {
      return unusable(
        'PGHA_DATA_DIRECTORY_FOREIGN',
        `${dataDir} is not empty and is not a data directory of Postgres; it is left alone.`,
      );
    }
    if (facts.madeBy === null) {
      return unusable('PGHA_DATA_DIRECTORY_FOREIGN', `PG_VERSION in ${dataDir} does not name a version.`);
    }
    if (facts.madeBy < OLDEST_SUPPORTED_VERSION) {
      const oldest = `the oldest supported one is ${OLDEST_SUPPORTED_VERSION}`;
      return unusable('PGHA_POSTGRES_TOO_OLD', `${dataDir} is of PostgreSQL ${facts.madeBy}; ${oldest}.`);
    }
    if (facts.madeBy !== version) {
      return unusable(
        'PGHA_POSTGRES_NOT_FOUND',
        `${dataDir} is of PostgreSQL ${facts.madeBy}, and ${this.#place.binDir} holds version ${version}.`,
      );
    }
    return null;
  }

  #findPostmaster(facts: DirectoryFacts | null): ProcessId | null {
    const living = this.#watch.living;
    if (living !== null) return living;
    const written = facts === null || facts.pidFile === null ? null : asMember(facts.pidFile.pid, this.#place);
    const family = written === null ? familyOf(this.#place) : [written];
    return postmasterOf(family) ?? postmasterOf(familyOf(this.#place));
  }

  async #withoutPostmaster(facts: DirectoryFacts | null, deadline: Instant): Promise<LocalPostgres> {
    this.#known = null;
    this.#phase = null;
    this.#receiverPid = null;
    this.#probe.forget();
    const { dataDir, clock, versionNumber } = this.#place;
    const family = familyOf(this.#place);
    if (family.length > 0) return { kind: 'orphans', processes: family.length };
    if (facts === null) return unusable('PGHA_DATA_DIRECTORY_UNREADABLE', `The disk of ${dataDir} does not answer.`);
    const refusal = this.#refusal(facts);
    if (refusal !== null) return refusal;
    const { pidFile } = facts;
    // Another view of the same directory, most likely from a container. Postgres refuses to start then, and so do we.
    if (pidFile !== null && facts.isLocked) {
      return unusable(
        'PGHA_DATA_DIRECTORY_LOCKED',
        `postmaster.pid in ${dataDir} names process ${pidFile.pid}, a Postgres that works there under another path.`,
      );
    }
    try {
      const control = await readControlData(this.#place, leftUntil(deadline, clock.now()));
      return {
        kind: 'stopped',
        systemId: control.systemId,
        timeline: latestTimeline(control),
        version: versionNumber,
        cleanly: control.state === 'shut down' || control.state === 'shut down in recovery',
        wasPrimary: control.state !== 'shut down in recovery' && control.state !== 'in archive recovery',
        standbySignal: facts.standbySignal,
        checkpoint: control.redo,
        minRecoveryPoint: control.minRecoveryTimeline === latestTimeline(control) ? control.minRecoveryPoint : NOWHERE,
      };
    } catch (error) {
      return unusable('PGHA_DATA_DIRECTORY_UNREADABLE', error instanceof Error ? error.message : String(error));
    }
  }

  /** A postmaster that was not known before: what was known of another one holds no longer. */
  #meet(postmaster: ProcessId, facts: DirectoryFacts | null, deadline: Instant, check: CheckType): Promise<Answers> {
    this.#probe.forget();
    this.#known = null;
    this.#met = postmaster;
    this.#watch.watch(postmaster);
    if (facts !== null && facts.pidFile !== null) this.#endpoint = endpointOf(this.#place, facts.pidFile);
    return this.#ask(leftUntil(deadline, this.#place.clock.now()), check);
  }

  async #ask(limit: Millis, check: CheckType): Promise<Answers> {
    const [told, checked] = await Promise.all([this.#askHeld(limit), this.#check(limit, check)]);
    return { told, checked };
  }

  async #askHeld(limit: Millis): Promise<ProbeAnswer> {
    try {
      return { kind: 'told', probed: await this.#probe.look(this.#endpoint, limit) };
    } catch (error) {
      const answer = answerIn(error);
      return answer.kind === 'alive' ? { kind: 'refused', said: answer.said ?? 'the held query failed' } : answer;
    }
  }

  #check(limit: Millis, check: CheckType): Promise<ServerCheck> {
    switch (check) {
      case 'ping':
        return ping(this.#place, this.#endpoint, limit);
      case 'connection':
        return connectionCheck(this.#place, this.#endpoint, limit);
      case 'query':
        return Promise.resolve(ALIVE); // the held query is it
      default:
        return ((never: never) => never)(check);
    }
  }

  #judge(
    postmaster: ProcessId,
    facts: DirectoryFacts | null,
    answers: Answers,
    check: CheckType,
    limit: Millis,
  ): LocalPostgres {
    const { told, checked } = answers;
    const { pidFile } = facts ?? { pidFile: null };
    if (pidFile !== null && pidFile.port !== null && pidFile.pid === postmaster.pid) {
      this.#endpoint = endpointOf(this.#place, pidFile);
    }
    if (told.kind === 'told') {
      this.#phase = null;
      this.#receiverPid = told.probed.receiverPid;
      const server = withFullness(told.probed.server, checked);
      this.#signs.saw(server.startedAt, told.probed.checkpointer);
      this.#known = { postmaster, server };
      const isStopping = pidFile?.status === 'stopping' && pidFile.pid === postmaster.pid;
      const failing = failure(check, answers, isStopping, limit);
      return failing === null ? server : { ...server, failing };
    }
    if (pidFile?.status === 'stopping' || (told.kind === 'not-ready' && isShuttingDown(told.said))) {
      return { kind: 'stopping', since: this.#lasting('stopping', postmaster) };
    }
    if (told.kind === 'not-ready' || pidFile?.status === 'starting' || notListeningYet(facts, postmaster)) {
      const asPrimary = facts === null || !facts.standbySignal;
      return { kind: 'starting', since: this.#lasting('starting', postmaster), asPrimary };
    }
    if (this.#known !== null) {
      // Too many connections is an answer: the server is there, and what is known of it is a little older.
      // Not of a standby: it may have been promoted since, and would be taken for one that cannot write.
      const { server } = this.#known;
      if (told.kind === 'full' && isSignOfLife(checked) && server.kind === 'primary')
        return { ...server, full: told.said };
      const failing = isSignOfLife(checked)
        ? ({ check: 'query', said: told.said, outdated: true } as const)
        : ({ check, said: checked.said, outdated: true } as const);
      return { ...server, failing };
    }
    const since = this.#lasting('silent', postmaster);
    return { kind: 'silent', since, said: told.said, ...(told.kind === 'full' ? { full: true } : {}) };
  }

  /** How long the same postmaster has been in the same state. */
  #lasting(kind: Phase['kind'], postmaster: ProcessId): Millis {
    const now = this.#place.clock.now();
    if (this.#phase?.kind !== kind || this.#phase.postmaster !== postmaster.pid) {
      this.#phase = { kind, postmaster: postmaster.pid, since: now };
    }
    return between(this.#phase.since, now);
  }
}

/** What fails in a server that answered the held query; null: nothing. */
function failure(check: CheckType, { told, checked }: Answers, isStopping: boolean, limit: Millis): Running['failing'] {
  // A smart shutdown: its sessions still work, and it will never take another one.
  if (!isSignOfLife(checked)) return { check, said: checked.said };
  if (isStopping) return { check, said: 'it is shutting down: its sessions go on, no other begins' };
  const stands = told.kind === 'told' ? told.probed.walStands : null;
  if (stands === null || stands < limit) return null;
  return { check: 'disk', said: `processes have waited ${Math.round(stands)} ms for WAL to be written, and none was` };
}

function withFullness(server: Primary | Standby, checked: ServerCheck): Primary | Standby {
  return checked.kind === 'full' && server.full === undefined ? { ...server, full: checked.said } : server;
}

function same(a: ProcessId | null, b: ProcessId): boolean {
  return a !== null && a.pid === b.pid && a.startTicks === b.startTicks;
}

function unusable(code: ErrorCode, sentence: string): LocalPostgres {
  return { kind: 'unusable', code, sentence };
}

/** The postmaster writes where it listens, and its status, when it has got so far. */
function notListeningYet(facts: DirectoryFacts | null, postmaster: ProcessId): boolean {
  if (facts === null || facts.content !== 'cluster') return false;
  return facts.pidFile === null || facts.pidFile.pid !== postmaster.pid || facts.pidFile.status === null;
}

/** In English: lc_messages of another language is caught by the status in postmaster.pid. */
function isShuttingDown(said: string): boolean {
  return said.includes('shutting down');
}
