/**
 * The held connection and the one query on it that tells all a cycle wants to know about a running server. It reports
 * what the server says and nothing else; what is true when it says nothing is `look.ts`'s matter.
 */
import { readFile } from 'node:fs/promises';
import { type Primary, type Receiver, type Running, type Sender, type Standby, systemId } from '../core/local.ts';
import { type Lsn, NOWHERE, parseLsn, type Timeline, timeline } from '../core/lsn.ts';
import { type Instant, LONG_AGO, laterBy, type Millis, millis } from '../core/time.ts';
import { Connection, type Endpoint, leftUntil, type Row } from './connection.ts';
import type { Place } from './place.ts';
import { ASKER } from './remote.ts';
import { parseNames } from './sync-names.ts';
import { withLimit } from './time-limit.ts';
import type { Checkpointer } from './vital-signs.ts';
import { WalProgress } from './wal-progress.ts';

/** pg_settings takes milliseconds, and settings that wait for a restart wait for long. */
const PENDING_RESTART_EVERY: Millis = millis(5_000);

/** A statement that hangs for so long is given up with its connection; doubled each time, see `#waitForHanging`. */
const FIRST_PATIENCE: Millis = millis(10_000);
const LONGEST_PATIENCE: Millis = millis(60_000);

const SERVER_STATEMENT_TIMEOUT: Millis = millis(3_000);

/** What the query says, before the facts that are only asked for now and then are added. */
export interface Probed {
  readonly server: Primary | Standby;
  /** The WAL receiver's process, whatever its state; null when there is none. */
  readonly receiverPid: number | null;
  /** For how long processes of a primary have waited for WAL to be written while none was; null: it flows. */
  readonly walStands: Millis | null;
  readonly checkpointer: Checkpointer | null;
}

export class Probe {
  readonly #place: Place;
  readonly #connectionEnded: () => void;
  #connection: Connection | null = null;
  #connecting: Promise<Connection> | null = null;
  /** A query that went past its limit: the connection is of use again when it has ended. */
  #hanging: { readonly settled: Promise<void>; readonly since: Instant } | null = null;
  #patience: Millis = FIRST_PATIENCE;
  #pending: Running['pendingRestart'] = [];
  #pendingAskedAt: Instant = LONG_AGO;
  #receivedTimeline: Timeline | null = null;
  readonly #wal = new WalProgress();

  /** @param connectionEnded - the held connection is gone, whoever ended it */
  constructor(place: Place, connectionEnded: () => void) {
    this.#place = place;
    this.#connectionEnded = connectionEnded;
  }

  /** Whether there is a connection that was not seen to end. */
  get connected(): boolean {
    return this.#connection?.open === true;
  }

  /** Another postmaster: nothing known of the last one holds. */
  forget(): void {
    this.#connection?.close();
    this.#connection = null;
    this.#connecting = null;
    this.#hanging = null;
    this.#pending = [];
    this.#pendingAskedAt = LONG_AGO;
    this.#receivedTimeline = null;
    this.#wal.forget();
  }

  /** Settings were changed: what waits for a restart is asked for again with the next look. */
  settingsChanged(): void {
    this.#pendingAskedAt = LONG_AGO;
  }

  /** @throws what pg throws, or TimeLimitError */
  async look(endpoint: Endpoint, limit: Millis): Promise<Probed> {
    const deadline = laterBy(this.#place.clock.now(), limit);
    let row: Row | undefined;
    try {
      [row] = await this.ask(PROBE, [], endpoint, limit, 'pgha-probe');
    } catch (error) {
      // A promotion may end between two functions of the query, one of which then refuses.
      if ((error as { code?: unknown }).code !== OBJECT_NOT_IN_PREREQUISITE_STATE) throw error;
      [row] = await this.ask(PROBE, [], endpoint, leftUntil(deadline, this.#place.clock.now()), 'pgha-probe');
    }
    if (row === undefined) throw new Error('the server answered without a row');
    const observed = observe(row);
    if (observed.receiver !== null && observed.receiver.timeline > (this.#receivedTimeline ?? 0)) {
      this.#receivedTimeline = observed.receiver.timeline;
    }
    const flushed = observed.inRecovery ? null : observed.flushed;
    const walStands = this.#wal.note(this.#place.clock.now(), flushed, observed.walWaiting);
    const read = await this.#timelineBeingRead(observed);
    this.#refreshPending(endpoint);
    // There is room again: a connection of the ordinary kind takes its place with the next statement.
    if (observed.full === null && this.#connection?.reserved === true) this.#letGo();
    const newest = timeline(Math.max(this.#receivedTimeline ?? 0, read ?? 0));
    return { ...serverFrom(observed, this.#pending, newest), walStands, checkpointer: observed.checkpointer };
  }

  /**
   * Any statement on the held connection. Two at a time are carried out one after the other.
   *
   * @param prepareAs - one that comes again and again is planned once
   */
  async ask(
    text: string,
    values: readonly unknown[],
    endpoint: Endpoint,
    limit: Millis,
    prepareAs?: string,
  ): Promise<readonly Row[]> {
    const { clock } = this.#place;
    const deadline = laterBy(clock.now(), limit);
    await this.#waitForHanging(limit);
    const connection = await this.#connected(endpoint, leftUntil(deadline, clock.now()));
    if (connection.reserved && values.length > 0) throw new Error('the server has no room for another connection');
    const answer = connection.start(text, values, connection.reserved ? undefined : prepareAs);
    return withLimit(clock, leftUntil(deadline, clock.now()), 'the held query', answer, () => {
      this.#letHang(answer);
    });
  }

  /**
   * A hanging statement is not given up at once: on a hung disk each new connection would leave another stuck
   * process behind, until the server has no room left. When it answers after all, the connection is of use again.
   */
  #letHang(answer: Promise<unknown>): void {
    if (this.#hanging !== null) return;
    const settled = answer.then(
      () => undefined,
      () => undefined,
    );
    const hanging = { settled, since: this.#place.clock.now() };
    this.#hanging = hanging;
    void settled.then(() => {
      if (this.#hanging === hanging) this.#hanging = null;
    });
  }

  async #waitForHanging(limit: Millis): Promise<void> {
    const hanging = this.#hanging;
    if (hanging === null) return;
    const { clock } = this.#place;
    if (clock.now() - hanging.since > this.#patience) {
      this.#patience = millis(Math.min(LONGEST_PATIENCE, this.#patience * 2));
      this.#hanging = null;
      this.#letGo();
      return;
    }
    await withLimit(clock, limit, 'the held query', hanging.settled);
  }

  async #connected(endpoint: Endpoint, limit: Millis): Promise<Connection> {
    if (this.#connection?.open === true) return this.#connection;
    this.#connecting ??= this.#connect(endpoint, limit).finally(() => {
      this.#connecting = null;
    });
    return withLimit(this.#place.clock, limit, 'connecting to Postgres', this.#connecting);
  }

  async #connect(endpoint: Endpoint, limit: Millis): Promise<Connection> {
    const deadline = laterBy(this.#place.clock.now(), limit);
    try {
      return await this.#open(endpoint, limit, false);
    } catch (error) {
      if ((error as { code?: unknown }).code !== TOO_MANY_CONNECTIONS) throw error;
      return this.#open(endpoint, leftUntil(deadline, this.#place.clock.now()), true);
    }
  }

  async #open(endpoint: Endpoint, limit: Millis, reserved: boolean): Promise<Connection> {
    const connection: Connection = await Connection.open(this.#place, endpoint, {
      limit,
      statementTimeout: SERVER_STATEMENT_TIMEOUT,
      reserved,
      ended: () => {
        if (this.#connection === connection) this.#connection = null;
        this.#connectionEnded();
      },
    });
    this.#connection = connection;
    return connection;
  }

  #letGo(): void {
    this.#connection?.close();
    this.#connection = null;
  }

  /**
   * The timeline of the segment that the startup process reads, from its title: with the receiver gone, no function
   * tells it, and pg_control names it only at the next restart point.
   */
  async #timelineBeingRead(observed: Observed): Promise<Timeline | null> {
    if (observed.startupPid === null || observed.receiver !== null) return null;
    try {
      const title = readFile(`/proc/${observed.startupPid}/cmdline`, 'utf8');
      return timelineInTitle(await withLimit(this.#place.clock, TITLE_LIMIT, 'reading a process title', title));
    } catch {
      return null;
    }
  }

  /** Not waited for: its answer is of use to the next look. */
  #refreshPending(endpoint: Endpoint): void {
    const now = this.#place.clock.now();
    if (now - this.#pendingAskedAt < PENDING_RESTART_EVERY) return;
    this.#pendingAskedAt = now;
    this.ask(PENDING_RESTART, [], endpoint, SERVER_STATEMENT_TIMEOUT).then(
      (rows) => {
        this.#pending = rows.map((row) => ({
          name: String(row['name']),
          from: String(row['from']),
          to: String(row['to']),
        }));
      },
      () => undefined,
    );
  }
}

const OBJECT_NOT_IN_PREREQUISITE_STATE = '55000';
const TOO_MANY_CONNECTIONS = '53300';
const TITLE_LIMIT: Millis = millis(100);

const PROBE = `
SELECT r.in_recovery,
       pg_catalog.current_setting('server_version_num')::int AS version,
       s.system_identifier::text AS system_id,
       pg_catalog.current_setting('cluster_name') AS cluster_name,
       pg_catalog.to_char(pg_catalog.pg_postmaster_start_time(), 'YYYY-MM-DD HH24:MI:SS.USTZH:TZM') AS started_at,
       c.timeline_id AS checkpoint_timeline,
       m.min_recovery_end_timeline AS recovery_timeline,
       CASE WHEN NOT r.in_recovery THEN pg_catalog.pg_current_wal_flush_lsn()::text END AS flushed,
       CASE WHEN NOT r.in_recovery
            THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END AS wal_file,
       pg_catalog.pg_last_wal_receive_lsn()::text AS received,
       CASE WHEN r.in_recovery THEN pg_catalog.pg_last_wal_replay_lsn()::text END AS replayed,
       -- After a promotion it stays what it was.
       pg_catalog.to_char(pg_catalog.pg_last_xact_replay_timestamp(), 'YYYY-MM-DD HH24:MI:SS.USTZH:TZM') AS replayed_at,
       CASE WHEN r.in_recovery THEN pg_catalog.pg_is_wal_replay_paused() ELSE false END AS replay_paused,
       CASE WHEN r.in_recovery THEN pg_catalog.current_setting('primary_conninfo') ELSE '' END AS conninfo,
       pg_catalog.current_setting('restore_command', true) <> '' AS restores,
       pg_catalog.current_setting('synchronous_standby_names') AS sync_names, a.checkpointer_idle,
       a.checkpointer_pid, a.checkpointer_since,
       a.startup_pid, a.startup_waits_for, a.receiver_pid, a.wal_waiting, a.clients,
       pg_catalog.current_setting('max_connections')::int AS max_connections,
       pg_catalog.current_setting('superuser_reserved_connections')::int
         + coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0) AS kept_back,
       (SELECT pg_catalog.row_to_json(w) FROM (
          SELECT status, sender_host, sender_port, received_tli, latest_end_lsn,
                 extract(epoch FROM pg_catalog.clock_timestamp() - last_msg_receipt_time) * 1000 AS silent_for
            FROM pg_catalog.pg_stat_wal_receiver) w) AS receiver,
       (SELECT pg_catalog.json_agg(x) FROM (
          SELECT application_name, usename, client_addr, state, sync_state, sync_priority,
                 sent_lsn, flush_lsn, replay_lsn
            FROM pg_catalog.pg_stat_replication
           WHERE pid <> pg_catalog.pg_backend_pid()
             -- Another member's daemon that asks: it never streams, and nobody who counts standbys wants to see it.
             AND (state = 'startup' AND pg_catalog.starts_with(application_name, '${ASKER}')) IS NOT TRUE) x) AS senders
  FROM (SELECT pg_catalog.pg_is_in_recovery() AS in_recovery) r,
       pg_catalog.pg_control_system() s,
       pg_catalog.pg_control_checkpoint() c,
       pg_catalog.pg_control_recovery() m,
       (SELECT max(pid) FILTER (WHERE backend_type = 'startup') AS startup_pid,
               max(wait_event) FILTER (WHERE backend_type = 'startup') AS startup_waits_for,
               max(pid) FILTER (WHERE backend_type = 'walreceiver') AS receiver_pid,
               coalesce(bool_or(wait_event IN ('CheckpointerMain', 'CheckpointWriteDelay'))
                 FILTER (WHERE backend_type = 'checkpointer'), false) AS checkpointer_idle,
               max(pid) FILTER (WHERE backend_type = 'checkpointer') AS checkpointer_pid,
               (max(backend_start) FILTER (WHERE backend_type = 'checkpointer'))::text AS checkpointer_since,
               count(*) FILTER (WHERE backend_type = 'client backend')::int AS clients,
               extract(epoch FROM max(pg_catalog.clock_timestamp() - coalesce(query_start, pg_catalog.clock_timestamp()))
                 FILTER (WHERE wait_event_type = 'IO' AND pg_catalog.lower(wait_event)
                         IN ('walwrite', 'walsync', 'walinitwrite', 'walinitsync'))) * 1000 AS wal_waiting
          FROM pg_catalog.pg_stat_activity) a`;

const PENDING_RESTART = `
SELECT s.name, pg_catalog.current_setting(s.name) AS "from",
       coalesce((SELECT f.setting FROM pg_catalog.pg_file_settings f
                  WHERE f.name = s.name ORDER BY f.seqno DESC LIMIT 1), s.boot_val, '') AS "to"
  FROM pg_catalog.pg_settings s WHERE s.pending_restart`;

/** The row of {@link PROBE}, with its types. */
export interface Observed {
  readonly inRecovery: boolean;
  readonly version: number;
  readonly systemId: string;
  readonly clusterName: string;
  readonly startedAt: string;
  readonly checkpointTimeline: number;
  readonly recoveryTimeline: number;
  readonly flushed: Lsn;
  readonly walTimeline: number;
  readonly received: Lsn | null;
  readonly replayed: Lsn;
  readonly replayedAt: string | null;
  readonly replayPaused: boolean;
  readonly restores: boolean;
  readonly follows: string | null;
  readonly startupPid: number | null;
  readonly startupWaitsFor: string | null;
  readonly receiverPid: number | null;
  readonly receiver: Receiver | null;
  readonly senders: readonly Sender[];
  readonly syncNames: string;
  readonly checkpointerIdle: boolean;
  readonly checkpointer: Checkpointer | null;
  /** How long the oldest statement runs that waits for WAL to be written; null: nobody waits. */
  readonly walWaiting: Millis | null;
  /** Why ordinary users find no room for another session; null: there is room. */
  readonly full: string | null;
}

export function observe(row: Row): Observed {
  const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);
  const number = (value: unknown): number | null => (value === null || value === undefined ? null : Number(value));
  const position = (value: unknown): Lsn | null => {
    const printed = text(value);
    return printed === null ? null : parseLsn(printed);
  };
  const waiting = number(row['wal_waiting']);
  const senders = (Array.isArray(row['senders']) ? row['senders'] : []) as readonly Row[];
  return {
    inRecovery: row['in_recovery'] === true,
    version: Number(row['version']),
    systemId: String(row['system_id']),
    clusterName: text(row['cluster_name']) ?? '',
    startedAt: String(row['started_at']),
    checkpointTimeline: Number(row['checkpoint_timeline']),
    recoveryTimeline: Number(row['recovery_timeline'] ?? 0),
    flushed: position(row['flushed']) ?? NOWHERE,
    walTimeline: Number.parseInt(text(row['wal_file'])?.slice(0, 8) ?? '0', 16),
    received: position(row['received']),
    replayed: position(row['replayed']) ?? NOWHERE,
    replayedAt: text(row['replayed_at']),
    replayPaused: row['replay_paused'] === true,
    restores: row['restores'] === true,
    follows: upstreamIn(text(row['conninfo']) ?? ''),
    startupPid: number(row['startup_pid']),
    startupWaitsFor: text(row['startup_waits_for']),
    receiverPid: number(row['receiver_pid']),
    receiver: receiverFrom(row['receiver'] as Row | null),
    senders: senders.map((sender) => ({
      applicationName: text(sender['application_name']) ?? '',
      user: text(sender['usename']) ?? '',
      clientAddress: text(sender['client_addr']),
      state: text(sender['state']) ?? '',
      syncState: text(sender['sync_state']) ?? '',
      syncPriority: number(sender['sync_priority']) ?? 0,
      sent: position(sender['sent_lsn']),
      flushed: position(sender['flush_lsn']),
      replayed: position(sender['replay_lsn']),
    })),
    syncNames: text(row['sync_names']) ?? '',
    checkpointerIdle: row['checkpointer_idle'] === true,
    checkpointer: checkpointerFrom(number(row['checkpointer_pid']), text(row['checkpointer_since'])),
    walWaiting: waiting === null ? null : millis(Math.max(0, waiting)),
    full: fullness(number(row['clients']) ?? 0, number(row['max_connections']), number(row['kept_back']) ?? 0),
  };
}

function checkpointerFrom(pid: number | null, since: string | null): Checkpointer | null {
  return pid === null || since === null ? null : { pid, since };
}

/** As InitPostgres counts: the last places are kept for superusers, and replication has places of its own. */
function fullness(clients: number, places: number | null, keptBack: number): string | null {
  if (places === null || clients < places - keptBack) return null;
  return `${clients} of ${places} connections are in use, and the last ${keptBack} are kept for superusers`;
}

function receiverFrom(row: Row | null): Receiver | null {
  if (row === null) return null;
  const silentFor = row['silent_for'];
  return {
    streaming: row['status'] === 'streaming',
    from: `${String(row['sender_host'] ?? '')}:${String(row['sender_port'] ?? '')}`,
    timeline: timeline(Number(row['received_tli'])),
    lastMessage: silentFor === null || silentFor === undefined ? null : millis(Math.max(0, Number(silentFor))),
    ...(typeof row['latest_end_lsn'] === 'string' ? { latestEnd: parseLsn(row['latest_end_lsn']) } : {}),
  };
}

/** @param read - the newest timeline that the receiver or the startup process was seen on since the server's start */
export function serverFrom(
  observed: Observed,
  pendingRestart: Running['pendingRestart'],
  read: Timeline,
): Omit<Probed, 'walStands' | 'checkpointer'> {
  const running = {
    systemId: systemId(observed.systemId),
    version: observed.version,
    startedAt: observed.startedAt,
    pendingRestart,
    failing: null,
    ...(observed.full === null ? {} : { full: observed.full }),
    senders: observed.senders,
  };
  if (!observed.inRecovery) {
    const server: Primary = {
      ...running,
      kind: 'primary',
      timeline: timeline(observed.walTimeline),
      flushed: observed.flushed,
      checkpointed: observed.checkpointTimeline === observed.walTimeline,
      ...(observed.replayedAt === null ? {} : { recoveredUpTo: observed.replayedAt }),
      acknowledging: parseNames(observed.syncNames),
      checkpointerIdle: observed.checkpointerIdle,
    };
    return { server, receiverPid: null };
  }
  const server: Standby = {
    ...running,
    kind: 'standby',
    timeline: timeline(Math.max(observed.checkpointTimeline, observed.recoveryTimeline, read)),
    received: observed.received ?? NOWHERE,
    replayed: observed.replayed,
    replayedAt: observed.replayedAt,
    replayPaused: observed.replayPaused,
    positionFinal: positionFinal(observed),
    receiver: observed.receiver,
    restores: observed.restores,
    follows: observed.follows,
  };
  return { server, receiverPid: observed.receiverPid };
}

/** Wait events of a startup process that has replayed all local WAL; 12 has another name for one of them. */
const WAITS_FOR_MORE_WAL = new Set(['RecoveryRetrieveRetryInterval', 'RecoveryWalStream', 'RecoveryWalAll']);

/**
 * After a restart the replay position climbs through the WAL that was there already, and understates until it is
 * through. A receiver is started only when it is; and then the startup process waits, for more.
 */
export function positionFinal(observed: Pick<Observed, 'received' | 'startupWaitsFor'>): boolean {
  return observed.received !== null || WAITS_FOR_MORE_WAL.has(observed.startupWaitsFor ?? '');
}

/** `postgres: startup recovering 000000020000000000000005` -> 2. */
export function timelineInTitle(title: string): Timeline | null {
  const segment = /\b([0-9A-F]{8})[0-9A-F]{16}\b/.exec(title)?.[1];
  return segment === undefined ? null : timeline(Number.parseInt(segment, 16));
}

/**
 * `host=10.0.0.1 port=5432 user=...` -> `10.0.0.1:5432`; null when it names no host. Values may be quoted, with
 * backslashes (docs: "Connection Strings"); of several hosts the first counts.
 */
export function upstreamIn(conninfo: string): string | null {
  const values = new Map<string, string>();
  for (const match of conninfo.matchAll(/(\w+)\s*=\s*(?:'((?:\\.|[^'\\])*)'|((?:\\.|[^\s'\\])+))/gs)) {
    values.set(match[1] ?? '', (match[2] ?? match[3] ?? '').replace(/\\(.)/gs, '$1'));
  }
  const host = (values.get('host') ?? values.get('hostaddr') ?? '').split(',')[0];
  if (host === undefined || host === '') return null;
  return `${host}:${(values.get('port') ?? '5432').split(',')[0]}`;
}
