/**
 * Physical replication slots for the other members: a primary holds back WAL for each, and each standby that may
 * become primary keeps the same slots close behind, so that nobody has to be copied anew after a failover. Logical slots
 * are none of its business. A slot that cannot be kept is a warning, never a reason to stop.
 */
import { slotName } from '../core/cluster.ts';
import { type Lsn, parseLsn, printLsn } from '../core/lsn.ts';
import type { SlotState } from '../ports/postgres.ts';
import type { Query, Row } from './remote.ts';

/** One slot could not be made, moved or dropped; the others were seen to all the same. */
export type SlotWarning = (slot: string, what: 'create' | 'advance' | 'drop', error: unknown) => void;

/**
 * Slots exist for all `members` but `own`; those of former members go.
 *
 * A slot has no owner, and one that an archiver or a backup tool made holds WAL that somebody still needs. So only a
 * slot that stands in `made`, is physical, permanent, inactive, and belongs to nobody in `members` is dropped.
 *
 * @param made - names of slots that pgha has made, as `status` in etcd remembers them
 * @param positions - by slot name or by member name. On a standby: where the slot stands on the primary. On a primary: how
 *   far members have come that receive from elsewhere
 * @param version - major version
 * @returns the physical slots afterwards
 */
export async function keepSlots(
  query: Query,
  own: string,
  members: readonly string[],
  made: ReadonlySet<string>,
  positions: ReadonlyMap<string, Lsn>,
  version: number,
  warn: SlotWarning = () => undefined,
): Promise<readonly SlotState[]> {
  const wanted = new Map(members.map((member) => [slotName(member), member]));
  wanted.delete(slotName(own));
  const [server] = await query(
    'SELECT pg_is_in_recovery() AS standby, CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END::text AS replayed',
  );
  const replayed = lsnOf(server?.['replayed']);
  const present = new Map((await slots(query, version)).map((slot) => [String(slot['slot_name']), slot]));

  for (const [name, slot] of present) {
    const isLost = slot['lost'] === true;
    const mayGo = wanted.has(name) ? isLost : made.has(name);
    if (slot['active'] === true || !mayGo) continue;
    try {
      await query('SELECT pg_drop_replication_slot($1)', [name]);
      present.delete(name);
    } catch (error) {
      warn(name, 'drop', error);
    }
  }

  for (const [name, member] of wanted) {
    const slot = present.get(name);
    try {
      // Reserved at once: a slot that holds nothing until its member connects is no help to one that is away.
      if (slot === undefined) await query('SELECT pg_create_physical_replication_slot($1, true)', [name]);
    } catch (error) {
      warn(name, 'create', error);
      continue;
    }
    if (slot?.['active'] === true) continue;
    // On a standby, a member without a known position is the primary, or somebody who needs nothing older than we
    // replay: its slot must not hold back WAL for ever. A primary gives up only what is known not to be needed.
    const known = positions.get(name) ?? positions.get(member) ?? replayed;
    if (known === null) continue;
    const target = replayed === null || known < replayed ? known : replayed;
    const restart = lsnOf(slot?.['restart_lsn']);
    if (restart !== null && restart >= target) continue;
    // One made just now begins at the last restart point, which may be beyond the position: nothing to move then.
    if (slot === undefined && !(await isBefore(query, name, target))) continue;
    try {
      await query('SELECT pg_replication_slot_advance($1, $2::pg_lsn)', [name, printLsn(target)]);
    } catch (error) {
      warn(name, 'advance', error);
    }
  }
  return (await slots(query, version)).map((slot) => ({
    name: String(slot['slot_name']),
    active: slot['active'] === true,
    restartLsn: lsnOf(slot['restart_lsn']),
  }));
}

/** wal_status came with 13: `lost` is a slot whose WAL was removed, which can only be made anew. */
function slots(query: Query, version: number): Promise<readonly Row[]> {
  return query(
    `SELECT slot_name, active, restart_lsn::text AS restart_lsn, ${version >= 13 ? `wal_status = 'lost'` : 'false'} AS lost
       FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary`,
  );
}

async function isBefore(query: Query, name: string, target: Lsn): Promise<boolean> {
  const [row] = await query('SELECT restart_lsn::text AS restart_lsn FROM pg_replication_slots WHERE slot_name = $1', [
    name,
  ]);
  const restart = lsnOf(row?.['restart_lsn']);
  return restart !== null && restart < target;
}

const lsnOf = (value: unknown): Lsn | null => (typeof value === 'string' ? parseLsn(value) : null);
