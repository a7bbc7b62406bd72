/**
 * Replication slots of the local server: what there is of them, and one step of a plan at a time. Which slots there
 * should be is decided in core/slots.ts; how logical slots come from the leader to a standby is in logical-slots.ts.
 */
import { type Lsn, NOWHERE, parseLsn, printLsn } from '../core/lsn.ts';
import { type ServerSlots, type SlotState, type SlotStep, type Xid, xid } from '../core/slots.ts';
import { PghaError } from '../errors.ts';
import type { Query, Row } from './remote.ts';

/** Runs a statement in this database, on a connection of its own. */
export type QueryIn = (database: string, sql: string, values: readonly unknown[]) => Promise<readonly Row[]>;

/** @param version - major version: wal_status came with 13, failover and synced with 17 */
export async function readSlots(query: Query, version: number): Promise<ServerSlots> {
  const rows = await query(
    `SELECT pg_is_in_recovery() AS in_recovery,
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS "end",
            slot_name, slot_type, database, plugin, active, temporary, xmin::text, catalog_xmin::text,
            restart_lsn::text, confirmed_flush_lsn::text,
            ${version >= 13 ? 'wal_status' : 'NULL AS wal_status'},
            ${version >= 17 ? 'failover, synced' : 'false AS failover, false AS synced'}
       FROM (SELECT 1) AS always LEFT JOIN pg_replication_slots ON true`,
  );
  const [first] = rows;
  return {
    inRecovery: first?.['in_recovery'] === true,
    end: lsnOf(first?.['end']) ?? NOWHERE,
    slots: rows.filter((row) => typeof row['slot_name'] === 'string').map(slotOf),
  };
}

function slotOf(row: Row): SlotState {
  const text = (column: string): string | null => (typeof row[column] === 'string' ? row[column] : null);
  return {
    name: text('slot_name') ?? '',
    kind: row['slot_type'] === 'logical' ? 'logical' : 'physical',
    database: text('database'),
    plugin: text('plugin'),
    active: row['active'] === true,
    temporary: row['temporary'] === true,
    restartLsn: lsnOf(row['restart_lsn']),
    confirmedLsn: lsnOf(row['confirmed_flush_lsn']),
    xmin: xidOf(row['xmin']),
    catalogXmin: xidOf(row['catalog_xmin']),
    walStatus: text('wal_status') as SlotState['walStatus'],
    failover: row['failover'] === true,
    synced: row['synced'] === true,
  };
}

/**
 * @param query - on the held connection: what takes no time
 * @param queryIn - for logical slots, which belong to a database and may take long
 * @throws {PghaError} PGHA_SLOT_FAILED
 */
export async function changeSlot(step: SlotStep, query: Query, queryIn: QueryIn, version: number): Promise<void> {
  try {
    switch (step.do) {
      case 'drop':
        await query('SELECT pg_drop_replication_slot($1)', [step.slot]);
        return;
      case 'create-physical':
        // Reserved at once: a slot that holds nothing until its member connects is no help to one that is away.
        await query('SELECT pg_create_physical_replication_slot($1, true)', [step.slot]);
        return;
      case 'create-logical':
        await queryIn(
          step.database,
          version >= 17
            ? 'SELECT pg_create_logical_replication_slot($1, $2, false, false, $3)'
            : 'SELECT pg_create_logical_replication_slot($1, $2)',
          version >= 17 ? [step.slot, step.plugin, step.failover] : [step.slot, step.plugin],
        );
        return;
      case 'advance': {
        const sql = 'SELECT pg_replication_slot_advance($1, $2::pg_lsn)';
        const values = [step.slot, printLsn(step.to)];
        await (step.database === null ? query(sql, values) : queryIn(step.database, sql, values));
        return;
      }
      default:
        return ((never: never) => never)(step);
    }
  } catch (cause) {
    throw slotFailed(`The slot ${step.slot} could not be ${DONE[step.do]}`, cause);
  }
}

const DONE: Readonly<Record<SlotStep['do'], string>> = {
  drop: 'dropped',
  'create-physical': 'made',
  'create-logical': 'made',
  advance: 'moved on',
};

export function slotFailed(what: string, cause: unknown): PghaError {
  const said = cause instanceof Error ? cause.message : String(cause);
  return new PghaError(
    'PGHA_SLOT_FAILED',
    {
      happened: `${what}: ${said}.`,
      untouched: 'Other slots, and the server, are as they were.',
      todo: `${remedy(cause)}It is tried again by itself, less and less often.`,
    },
    { cause },
  );
}

/** What the operator can do about what Postgres said, by its code; what we found out ourselves says it already. */
function remedy(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : null;
  const advice = typeof code === 'string' ? adviceOn(code) : null;
  return advice === null ? '' : `${advice} `;
}

function adviceOn(code: string): string | null {
  switch (code) {
    case '53400':
      return 'Raise max_replication_slots in postgresql.parameters of the cluster (it needs a restart), or drop a slot that nobody needs.';
    case '58P01':
    case '42704':
      return 'Install the output plugin on every node, or correct `plugin`.';
    case '3D000':
      return 'Make the database, or correct `database`.';
    case '55000':
      return 'A logical slot needs wal_level = logical: restart the members that have it pending.';
    case '42602':
      return 'Postgres takes no such name: correct it in `slots`.';
    case '57014':
      return 'A logical slot waits for the transactions that run: look for one that has been open for long.';
    case '55006':
      return 'Somebody uses it.';
    default:
      return null;
  }
}

export const lsnOf = (value: unknown): Lsn | null => (typeof value === 'string' ? parseLsn(value) : null);
export const xidOf = (value: unknown): Xid | null => (typeof value === 'string' ? xid(Number(value)) : null);
