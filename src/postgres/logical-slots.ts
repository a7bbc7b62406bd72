/**
 * Logical slots from the leader to a standby, for the versions (before 17) in which Postgres does not do that itself:
 * the slot's state file is fetched over SQL, and put into the data directory of the standby while that is stopped. It
 * decides nothing: which slots, when, and whether a copy is fit to be used is core/slots.ts's matter.
 *
 * Postgres does not start on a state file that it does not understand, so each is looked at as Postgres would.
 */
import { chown, mkdir, open, rename, rm } from 'node:fs/promises';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { type Lsn, lsn, segmentName, timeline } from '../core/lsn.ts';
import type { LeaderSlots, Xid } from '../core/slots.ts';
import { type Millis, millis } from '../core/time.ts';
import type { ServerAddress, SlotCopy } from '../ports/postgres.ts';
import type { Place } from './place.ts';
import { askRemote, type Query } from './remote.ts';
import { lsnOf, slotFailed, xidOf } from './slots.ts';
import { withLimit } from './time-limit.ts';

/** Of all files of all slots: a few kilobytes, on a disk that may be busy. */
const INSTALL_LIMIT = millis(20_000);
/** A snapshot holds the transactions that ran; one of this size would be no snapshot. */
const LARGEST_SNAPSHOT = 64 * 2 ** 20;

/** @throws what pg throws, or TimeLimitError */
export async function slotsOfLeader(
  place: Place,
  leader: ServerAddress,
  names: readonly string[],
  through: string,
  limit: Millis,
): Promise<LeaderSlots> {
  const rows = await asRewinder(place, leader, limit, (query) =>
    query(
      `SELECT slot_name, slot_type, catalog_xmin::text, confirmed_flush_lsn::text
         FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 OR (slot_type = 'logical' AND slot_name = ANY ($2))`,
      [through, names],
    ),
  );
  const logical = new Map<string, { readonly catalogXmin: Xid | null; readonly confirmedLsn: Lsn | null }>();
  let kept: Xid | null = null;
  for (const row of rows) {
    const catalogXmin = xidOf(row['catalog_xmin']);
    if (row['slot_type'] === 'logical')
      logical.set(String(row['slot_name']), { catalogXmin, confirmedLsn: lsnOf(row['confirmed_flush_lsn']) });
    else kept = catalogXmin;
  }
  return { kept, logical };
}

/**
 * @param local - statements on the local standby
 * @throws {PghaError} PGHA_SLOT_FAILED when none of them can be had, with the first reason
 */
export async function fetchSlots(
  place: Place,
  leader: ServerAddress,
  names: readonly string[],
  local: Query,
  limit: Millis,
): Promise<readonly SlotCopy[]> {
  const room = await roomHere(local);
  const copies: SlotCopy[] = [];
  let failure: unknown = null;
  await asRewinder(place, leader, limit, async (query) => {
    for (const name of names) {
      try {
        if (copies.length >= room.free)
          throw new Error(`all max_replication_slots (${room.most}) of this standby are in use`);
        const [row] = await query(STATE_FILE, [name]);
        const bytes = row?.['state'];
        if (!(bytes instanceof Uint8Array)) throw new Error(`${leader.name} has no logical slot of this name`);
        const header = readStateFile(bytes, name);
        await needWal(local, room, header.restartLsn);
        copies.push({ name, state: bytes, snapshot: await fetchSnapshot(query, header.restartLsn) });
      } catch (error) {
        failure ??= slotFailed(`The logical slot ${name} was not copied from ${leader.name}`, error);
      }
    }
  });
  if (copies.length === 0 && failure !== null) throw failure;
  return copies;
}

/** With the signatures for which pg_rewind's user has rights (docs: "pg_rewind", Notes). */
const STATE_FILE = `
SELECT pg_catalog.pg_read_binary_file('pg_replslot/' || slot_name || '/state') AS state
  FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND slot_type = 'logical' AND NOT temporary`;

async function fetchSnapshot(query: Query, at: Lsn): Promise<SlotCopy['snapshot']> {
  const file = `${(at >> 32n).toString(16)}-${(at & 0xffffffffn).toString(16)}.snap`
    .toUpperCase()
    .replace('SNAP', 'snap');
  const [row] = await query('SELECT pg_catalog.pg_read_binary_file($1, 0, $2, true) AS bytes', [
    `pg_logical/snapshots/${file}`,
    LARGEST_SNAPSHOT,
  ]);
  const bytes = row?.['bytes'];
  return bytes instanceof Uint8Array && bytes.length > 0 ? { file, bytes } : null;
}

interface Room {
  readonly free: number;
  readonly most: number;
  readonly segmentBytes: bigint;
  /** What the segments in pg_wal are called after their timeline. */
  readonly segments: ReadonlySet<string>;
}

async function roomHere(local: Query): Promise<Room> {
  const [row] = await local(
    `SELECT current_setting('wal_level') AS wal_level,
            current_setting('max_replication_slots')::int AS most,
            (SELECT count(*)::int FROM pg_replication_slots) AS used,
            (SELECT setting FROM pg_settings WHERE name = 'wal_segment_size') AS segment_bytes,
            (SELECT array_agg(substr(name, 9)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$') AS segments`,
  );
  // Postgres would not start with a logical slot otherwise.
  if (row?.['wal_level'] !== 'logical')
    throw slotFailed('No logical slot was copied', new Error('wal_level of this standby is not logical yet'));
  const most = Number(row['most']);
  return {
    most,
    free: most - Number(row['used']),
    segmentBytes: BigInt(String(row['segment_bytes'])),
    segments: new Set((row['segments'] ?? []) as readonly string[]),
  };
}

/** A slot whose WAL is not here could never be read from, and not be moved on. */
async function needWal(local: Query, room: Room, from: Lsn): Promise<void> {
  const [row] = await local('SELECT pg_last_wal_replay_lsn()::text AS replayed');
  const replayed = lsnOf(row?.['replayed']);
  if (replayed === null || replayed < from) throw new Error('this standby has not replayed that far yet');
  if (!room.segments.has(segmentName(timeline(1), from, room.segmentBytes).slice(8)))
    throw new Error(
      'the WAL from where its consumer would go on is not here any more; when the consumer has come further, it is',
    );
}

/** The users that may read files: pg_rewind's, and the superuser. */
async function asRewinder<T>(
  place: Place,
  leader: ServerAddress,
  limit: Millis,
  ask: (query: Query) => Promise<T>,
): Promise<T> {
  const { authentication, database } = place.config.postgresql;
  const target = { address: leader, as: { database } };
  try {
    return await askRemote(place, { ...target, login: authentication.rewind }, limit, ask);
  } catch (error) {
    // It may do less than we think (42501: no right to read the file), or not exist.
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (!/^(42501|28)/.test(code)) throw error;
    return askRemote(place, { ...target, login: authentication.superuser }, limit, ask);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// The state file

const MAGIC = 0x1051ca1;
/** What the checksum covers begins here: version and length, then the slot's data with its name first. */
const CHECKED_FROM = 8;
const NAME_AT = 16;
const NAME_LENGTH = 64;
const RESTART_LSN_AT = NAME_AT + 80;

/**
 * As Postgres reads it (RestoreSlotFromDisk): magic, CRC-32C of the rest, version, length, then the data.
 *
 * @throws {Error} when Postgres would not take it, or it is not the slot of this name
 */
export function readStateFile(bytes: Uint8Array, name: string): { readonly restartLsn: Lsn } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = endianness() === 'LE';
  if (bytes.length < RESTART_LSN_AT + 8 || view.getUint32(0, little) !== MAGIC)
    throw new Error('its state file is not one of a replication slot');
  if (view.getUint32(12, little) !== bytes.length - NAME_AT)
    throw new Error('its state file has another length than it says');
  if (view.getUint32(4, little) !== crc32c(bytes.subarray(CHECKED_FROM)))
    throw new Error('the checksum of its state file is wrong');
  const written = Buffer.from(bytes.subarray(NAME_AT, NAME_AT + NAME_LENGTH))
    .toString('latin1')
    .replace(/\0.*$/s, '');
  if (written !== name) throw new Error(`its state file is that of ${written}`);
  return { restartLsn: lsn(view.getBigUint64(RESTART_LSN_AT, little)) };
}

/** Castagnoli's polynomial, as pg_crc32c. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0x82f63b78;
  }
  return ~crc >>> 0;
}

/** Puts the copies into the directory of a stopped server; what stands there under these names is replaced. */
export async function putSlots(place: Place, copies: readonly SlotCopy[]): Promise<void> {
  const all = async (): Promise<void> => {
    for (const { name, state, snapshot } of copies) {
      if (snapshot !== null)
        await putFile(place, join(place.dataDir, 'pg_logical', 'snapshots'), snapshot.file, snapshot.bytes);
      const slots = join(place.dataDir, 'pg_replslot');
      // Postgres removes directories of such a name when it starts.
      const beside = join(slots, `${name}.tmp`);
      await rm(beside, { recursive: true, force: true });
      await mkdir(beside, { mode: 0o700 });
      await own(place, beside);
      await putFile(place, beside, 'state', state);
      await rm(join(slots, name), { recursive: true, force: true });
      await rename(beside, join(slots, name));
      await sync(slots);
    }
  };
  await withLimit(place.clock, INSTALL_LIMIT, 'writing slots', all());
}

/** Takes them away again from a stopped server. */
export async function removeSlots(place: Place, names: readonly string[]): Promise<void> {
  const all = async (): Promise<void> => {
    for (const name of names) await rm(join(place.dataDir, 'pg_replslot', name), { recursive: true, force: true });
    await sync(join(place.dataDir, 'pg_replslot'));
  };
  await withLimit(place.clock, INSTALL_LIMIT, 'removing slots', all());
}

async function putFile(place: Place, directory: string, name: string, bytes: Uint8Array): Promise<void> {
  const path = join(directory, name);
  const file = await open(path, 'w', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await own(place, path);
  await sync(directory);
}

async function own(place: Place, path: string): Promise<void> {
  if (place.runAs !== undefined) await chown(path, place.runAs.uid, place.runAs.gid);
}

async function sync(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
