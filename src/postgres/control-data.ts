/**
 * What global/pg_control says: read directly, in a tenth of a millisecond, instead of by a process. The layout is known
 * for the versions listed here and checked by its CRC; for any other, pg_controldata is asked. Never written.
 *
 * Source: src/include/catalog/pg_control.h of the versions named below.
 */
import { execFile } from 'node:child_process';
import { open } from 'node:fs/promises';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { type SystemId, systemId } from '../core/local.ts';
import { type Lsn, lsn, parseLsn, type Timeline, timeline } from '../core/lsn.ts';
import { type Millis, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Place } from './place.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';

/** In the order of Postgres' DBState, whose numbers the file holds. */
export const CLUSTER_STATES = [
  'starting up',
  'shut down',
  'shut down in recovery',
  'shutting down',
  'in crash recovery',
  'in archive recovery',
  'in production',
] as const;

export type ClusterState = (typeof CLUSTER_STATES)[number];

export interface ControlData {
  readonly systemId: SystemId;
  readonly state: ClusterState;
  /** Where the record of the last checkpoint begins. */
  readonly checkpoint: Lsn;
  /** Where recovery from that checkpoint begins. */
  readonly redo: Lsn;
  /** Timeline of the last checkpoint; an older one than the server's between a promotion and its first checkpoint. */
  readonly checkpointTimeline: Timeline;
  /** 0/0 on a primary that has done a checkpoint. */
  readonly minRecoveryPoint: Lsn;
  /** 0 where there is no minimum recovery point. */
  readonly minRecoveryTimeline: Timeline;
  /** Where the backup began that this directory was restored from and that is not replayed yet; else 0/0. */
  readonly backupStart: Lsn;
  /** wal_segment_size in bytes. */
  readonly walSegmentBytes: bigint;
}

/** The timeline the server was on when it last wrote the file: a promotion shows up in the minimum recovery point first. */
export function latestTimeline(control: ControlData): Timeline {
  return timeline(Math.max(control.checkpointTimeline, control.minRecoveryTimeline));
}

/** Where the CRC stands, by pg_control_version: all fields that we read stand at the same place in these. */
const CRC_OFFSET: ReadonlyMap<number, number> = new Map([
  [1201, 288], // 12
  [1300, 288], // 13 to 16
  [1700, 288], // 17
  [1800, 292], // 18: one flag more before the nonce
]);

const BYTES_READ = 512;
const LITTLE = endianness() === 'LE';

/** What {@link parseControlData} makes of the bytes. */
export type ParsedControlData =
  | { readonly kind: 'read'; readonly control: ControlData }
  | { readonly kind: 'layout-unknown'; readonly version: number }
  | { readonly kind: 'crc-wrong' };

export function parseControlData(bytes: Uint8Array): ParsedControlData {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < 12) return { kind: 'crc-wrong' };
  const version = view.getUint32(8, LITTLE);
  const crcOffset = CRC_OFFSET.get(version);
  if (crcOffset === undefined) return { kind: 'layout-unknown', version };
  if (bytes.byteLength < crcOffset + 4) return { kind: 'crc-wrong' };
  if (crc32c(bytes.subarray(0, crcOffset)) !== view.getUint32(crcOffset, LITTLE)) return { kind: 'crc-wrong' };
  const state = CLUSTER_STATES[view.getUint32(16, LITTLE)];
  if (state === undefined) return { kind: 'layout-unknown', version };
  const position = (offset: number): Lsn => lsn(view.getBigUint64(offset, LITTLE));
  return {
    kind: 'read',
    control: {
      systemId: systemId(String(view.getBigUint64(0, LITTLE))),
      state,
      checkpoint: position(32),
      redo: position(40),
      checkpointTimeline: timeline(view.getUint32(48, LITTLE)),
      minRecoveryPoint: position(136),
      minRecoveryTimeline: timeline(view.getUint32(144, LITTLE)),
      backupStart: position(152),
      walSegmentBytes: BigInt(view.getUint32(228, LITTLE)),
    },
  };
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C (Castagnoli), as Postgres computes it over control file and WAL. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * @throws {PghaError} PGHA_DATA_DIRECTORY_UNREADABLE when the file is missing, does not answer within the limit, or
 *   makes no sense to pg_controldata either
 */
export async function readControlData(place: Place, limit: Millis = FILE_LIMIT): Promise<ControlData> {
  try {
    return await withLimit(place.clock, limit, 'reading pg_control', read(place));
  } catch (cause) {
    throw new PghaError(
      'PGHA_DATA_DIRECTORY_UNREADABLE',
      {
        happened: `The control file of ${place.dataDir} could not be read: ${cause instanceof Error ? cause.message : String(cause)}.`,
        untouched: 'The data directory was not changed.',
        todo: 'Check that the disk answers and that the directory belongs to the user of pgha.',
      },
      { cause },
    );
  }
}

async function read(place: Place): Promise<ControlData> {
  // A reader may see the file in the middle of being rewritten: then the CRC is wrong, for microseconds.
  for (let attempt = 0; attempt < 5; attempt++) {
    const parsed = parseControlData(await readHead(join(place.dataDir, 'global', 'pg_control')));
    if (parsed.kind === 'read') return parsed.control;
    if (parsed.kind === 'layout-unknown') break;
    await place.clock.sleep(millis(2));
  }
  return parseControlDataText(await pgControlData(place));
}

async function readHead(file: string): Promise<Uint8Array> {
  const handle = await open(file, 'r');
  try {
    const buffer = new Uint8Array(BYTES_READ);
    const { bytesRead } = await handle.read(buffer, 0, BYTES_READ, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

function pgControlData(place: Place): Promise<string> {
  return new Promise((done, failed) => {
    execFile(
      join(place.binDir, 'pg_controldata'),
      ['-D', place.dataDir],
      { timeout: FILE_LIMIT, encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } },
      (error, stdout) => (error === null ? done(stdout) : failed(error)),
    );
  });
}

/**
 * The same facts from the output of `LC_ALL=C pg_controldata`.
 *
 * @throws {RangeError} when one of the lines is missing, or pg_controldata itself doubts the file
 */
export function parseControlDataText(text: string): ControlData {
  if (/CRC checksum does not match/.test(text)) throw new RangeError('pg_controldata: the CRC does not match');
  const value = (name: string): string => {
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${name}:`));
    if (line === undefined) throw new RangeError(`pg_controldata does not say "${name}"`);
    return line.slice(name.length + 1).trim();
  };
  const stated = value('Database cluster state');
  const state = CLUSTER_STATES.find((candidate) => candidate === stated);
  if (state === undefined) throw new RangeError(`pg_controldata names a state that nobody knows: ${stated}`);
  return {
    systemId: systemId(value('Database system identifier')),
    state,
    checkpoint: parseLsn(value('Latest checkpoint location')),
    redo: parseLsn(value("Latest checkpoint's REDO location")),
    checkpointTimeline: timeline(Number(value("Latest checkpoint's TimeLineID"))),
    minRecoveryPoint: parseLsn(value('Minimum recovery ending location')),
    minRecoveryTimeline: timeline(Number(value("Min recovery ending loc's timeline"))),
    backupStart: parseLsn(value('Backup start location')),
    walSegmentBytes: BigInt(value('Bytes per WAL segment')),
  };
}
