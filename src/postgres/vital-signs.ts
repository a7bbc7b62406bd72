/**
 * What is learned of the disks and of the server's inner works beside the looks, for core/sickness.ts to judge. Each
 * question is asked at most once at a time and nobody waits for an answer: what is told is what was learned last.
 */
import { join } from 'node:path';
import type { LocalPostgres } from '../core/local.ts';
import type { ArchiverFacts, Vitals, WraparoundFacts } from '../core/sickness.ts';
import { between, type Instant, type Millis, millis } from '../core/time.ts';
import { type Endpoint, type Row, withConnection } from './connection.ts';
import { DiskProbe } from './disk-probe.ts';
import { asMember, processStat } from './family.ts';
import type { Place } from './place.ts';
import { withLimit } from './time-limit.ts';

/** A try that is under way when the directory is about to be replaced ends in milliseconds, or hangs. */
const SETTLE_LIMIT: Millis = millis(1_000);
/** The server is asked no more often than this, however often the disks are. */
const SERVER_EVERY: Millis = millis(2_000);
/** An answer counts for so long when the next ones do not come. */
const KEPT: Millis = millis(60_000);
const SERVER_LIMITS = { connect: millis(2_000), statement: millis(3_000) };
/** Kept for so long: more than any interval in which they are counted. */
const CRASHES_KEPT: Millis = millis(24 * 3_600_000);
const MOST_CRASHES = 1_000;
/** A checkpoint may begin one checkpoint_timeout after the last one did and take almost as long. */
const OVERDUE_AFTER = 3;
/** With less WAL than this since the last one, no checkpoint need be due. */
const WAL_WITHOUT_CHECKPOINT = 33_554_432;

/** The process that would do the checkpoints, as the held query sees it. */
export interface Checkpointer {
  readonly pid: number;
  /** When it was started; it lives as long as the shared memory that a crash throws away. */
  readonly since: string;
}

export class VitalSigns {
  readonly #place: Place;
  readonly #disks: readonly DiskProbe[];
  #changing = 0;
  #checkpointer: (Checkpointer & { readonly server: string }) | null = null;
  #crashes: readonly Instant[] = [];
  #asking = false;
  #askedAt: Instant | null = null;
  #server: ServerFacts | null = null;
  #answeredAt: Instant | null = null;

  constructor(place: Place) {
    this.#place = place;
    this.#disks = [
      new DiskProbe(place, 'data', place.dataDir),
      new DiskProbe(place, 'pg_wal', join(place.dataDir, 'pg_wal')),
    ];
  }

  get vitals(): Vitals {
    return {
      disks: this.#disks.map(({ facts }) => facts),
      checkpointer: this.#stoppedCheckpointer() ?? this.#server?.overdue ?? null,
      archiver: this.#server?.archiver ?? null,
      wraparound: this.#server?.wraparound ?? [],
      crashes: this.#crashes,
    };
  }

  /** @param local - as it was seen last; in a directory that holds no server nothing is written */
  examine(local: LocalPostgres, endpoint: Endpoint): void {
    if (this.#changing > 0) return;
    if (!holdsServer(local)) {
      for (const disk of this.#disks) disk.forget();
      return;
    }
    for (const disk of this.#disks) disk.examine();
    const running = local.kind === 'primary' || local.kind === 'standby';
    if (!running) this.#server = null;
    else if (local.failing === null) this.#askServer(endpoint);
  }

  /** The held query was answered. @param server - when the postmaster was started */
  saw(server: string, checkpointer: Checkpointer | null): void {
    if (checkpointer === null) return;
    const before = this.#checkpointer;
    this.#checkpointer = { ...checkpointer, server };
    if (before === null || before.server !== server || before.since === checkpointer.since) return;
    const now = this.#place.clock.now();
    this.#crashes = [...this.#crashes.filter((at) => between(at, now) < CRASHES_KEPT), now].slice(-MOST_CRASHES);
  }

  /** The directory is about to be made, replaced or removed: meanwhile nothing of ours is written into it. */
  async whileChanging<T>(work: () => Promise<T>): Promise<T> {
    this.#changing += 1;
    try {
      const settled = Promise.all(this.#disks.map((disk) => disk.settled()));
      await withLimit(this.#place.clock, SETTLE_LIMIT, 'the last try to write', settled).catch(() => undefined);
      return await work();
    } finally {
      this.#changing -= 1;
    }
  }

  close(): void {
    for (const disk of this.#disks) disk.close();
  }

  #stoppedCheckpointer(): string | null {
    if (this.#checkpointer === null) return null;
    const { pid } = this.#checkpointer;
    // Another process may have got its number since.
    const state = asMember(pid, this.#place) === null ? null : processStat(pid)?.state;
    return state === 'T' || state === 't' ? `process ${pid} is stopped by a signal or a debugger` : null;
  }

  /** On a connection of its own: the held one is what the server's health is judged by. */
  #askServer(endpoint: Endpoint): void {
    const { clock } = this.#place;
    const now = clock.now();
    // Each new session on a disk that hangs would leave another stuck process behind.
    const hangs = this.#disks.some(
      ({ facts }) => facts.tryingSince !== null && between(facts.tryingSince, now) > SETTLE_LIMIT,
    );
    if (this.#asking || hangs || (this.#askedAt !== null && between(this.#askedAt, now) < SERVER_EVERY)) return;
    this.#asking = true;
    this.#askedAt = now;
    withConnection(this.#place, endpoint, SERVER_LIMITS, (connection) =>
      connection.query(QUESTION, [], SERVER_LIMITS.statement),
    )
      .then(([row]) => {
        this.#server = row === undefined ? null : readServer(row);
        this.#answeredAt = clock.now();
      })
      .catch(() => {
        // One question that fails (all connections are taken) ends no sickness. What cannot be asked for long is not known;
        // that the server does not answer is told by the looks.
        if (this.#answeredAt === null || between(this.#answeredAt, clock.now()) > KEPT) this.#server = null;
      })
      .finally(() => {
        this.#asking = false;
      });
  }
}

function holdsServer(local: LocalPostgres): boolean {
  switch (local.kind) {
    case 'primary':
    case 'standby':
    case 'starting':
    case 'stopping':
    case 'stopped':
    case 'orphans':
    case 'silent':
      return true;
    case 'absent':
    case 'half-made':
    case 'unusable':
      return false;
    default:
      return ((never: never) => never)(local);
  }
}

interface ServerFacts {
  readonly overdue: string | null;
  readonly archiver: ArchiverFacts | null;
  readonly wraparound: readonly WraparoundFacts[];
}

const QUESTION = `
SELECT extract(epoch FROM pg_catalog.clock_timestamp() - c.checkpoint_time) * 1000 AS checkpoint_age,
       (SELECT s.setting::int * 1000 FROM pg_catalog.pg_settings s WHERE s.name = 'checkpoint_timeout') AS checkpoint_timeout,
       CASE WHEN NOT r.in_recovery
            THEN pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), c.redo_lsn) END AS wal_since,
       CASE WHEN pg_catalog.current_setting('archive_mode') = 'always'
              OR pg_catalog.current_setting('archive_mode') = 'on' AND NOT r.in_recovery
            THEN (SELECT pg_catalog.row_to_json(x) FROM (
                    SELECT a.failed_count, a.last_failed_wal, w.waiting, w.oldest,
                           a.last_failed_time > coalesce(a.last_archived_time, '-infinity') AS failing
                      FROM pg_catalog.pg_stat_archiver a,
                           (SELECT count(*)::int AS waiting,
                                   extract(epoch FROM pg_catalog.clock_timestamp() - min(modification)) * 1000 AS oldest
                              FROM pg_catalog.pg_ls_archive_statusdir() WHERE name LIKE '%.ready') w) x) END AS archiver,
       CASE WHEN NOT r.in_recovery THEN (SELECT pg_catalog.row_to_json(x) FROM (
              SELECT datname, pg_catalog.age(datfrozenxid) AS age FROM pg_catalog.pg_database
               ORDER BY 2 DESC LIMIT 1) x) END AS transactions,
       CASE WHEN NOT r.in_recovery THEN (SELECT pg_catalog.row_to_json(x) FROM (
              SELECT datname, pg_catalog.mxid_age(datminmxid) AS age FROM pg_catalog.pg_database
               ORDER BY 2 DESC LIMIT 1) x) END AS multixacts
  FROM pg_catalog.pg_control_checkpoint() c, (SELECT pg_catalog.pg_is_in_recovery() AS in_recovery) r`;

export function readServer(row: Row): ServerFacts {
  const number = (value: unknown): number | null => (value === null || value === undefined ? null : Number(value));
  const archiver = row['archiver'] as Row | null;
  const oldest = archiver === null ? null : number(archiver['oldest']);
  const wraparound = (['transactions', 'multixacts'] as const).flatMap((of): WraparoundFacts[] => {
    const oldestOf = row[of] as Row | null;
    return oldestOf === null ? [] : [{ of, database: String(oldestOf['datname']), age: Number(oldestOf['age']) }];
  });
  return {
    overdue: overdue(number(row['checkpoint_age']), number(row['checkpoint_timeout']), number(row['wal_since'])),
    archiver:
      archiver === null
        ? null
        : {
            failing: archiver['failing'] === true,
            failures: Number(archiver['failed_count'] ?? 0),
            lastFailed: typeof archiver['last_failed_wal'] === 'string' ? archiver['last_failed_wal'] : null,
            waiting: Number(archiver['waiting'] ?? 0),
            oldest: oldest === null ? null : millis(Math.max(0, oldest)),
          },
    wraparound,
  };
}

/** @param walSince - bytes of WAL since the last checkpoint began; null on a standby, whose checkpoints are the primary's */
function overdue(age: number | null, timeout: number | null, walSince: number | null): string | null {
  if (age === null || timeout === null || walSince === null) return null;
  if (age <= OVERDUE_AFTER * timeout || walSince < WAL_WITHOUT_CHECKPOINT) return null;
  return (
    `the last checkpoint began ${Math.round(age / 1000)} s ago, and checkpoint_timeout is ${Math.round(timeout / 1000)} s; ` +
    `${Math.round(walSince / 1_048_576)} MB of WAL wait for the next`
  );
}
