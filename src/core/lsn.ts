/**
 * Positions in the write-ahead log, as Postgres counts and prints them (docs: "pg_lsn Type").
 */

/** Bytes from 0/0. A bigint, because a busy cluster passes 2^53. */
export type Lsn = bigint & { readonly __brand: 'Lsn' };

/** A timeline id, 1 and up (docs: "Continuous Archiving", section Timelines). */
export type Timeline = number & { readonly __brand: 'Timeline' };

export const lsn = (bytes: bigint | number): Lsn => BigInt(bytes) as Lsn;
export const timeline = (id: number): Timeline => id as Timeline;

export const NOWHERE: Lsn = lsn(0n);

/**
 * `0/5000060` -> position.
 *
 * @throws {RangeError} when the text is not two hexadecimal numbers with a slash between
 */
export function parseLsn(text: string): Lsn {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) throw new RangeError(`not a WAL position: ${text}`);
  return lsn((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`));
}

/** Position -> `0/5000060`, upper case and without leading zeros, as Postgres prints it. */
export function printLsn(position: Lsn): string {
  const high = (position >> 32n).toString(16);
  const low = (position & 0xffffffffn).toString(16);
  return `${high}/${low}`.toUpperCase();
}

export const furthest = (a: Lsn, b: Lsn): Lsn => (a > b ? a : b);

/** Bytes from `behind` to `ahead`, never negative. */
export function distance(behind: Lsn, ahead: Lsn): bigint {
  return ahead > behind ? ahead - behind : 0n;
}

/** Name of the segment file that holds `position`, as in pg_wal. `segmentBytes` is wal_segment_size. */
export function segmentName(tl: Timeline, position: Lsn, segmentBytes: bigint): string {
  const perId = 0x100000000n / segmentBytes;
  const segment = position / segmentBytes;
  const hex = (n: bigint): string => n.toString(16).toUpperCase().padStart(8, '0');
  return hex(BigInt(tl)) + hex(segment / perId) + hex(segment % perId);
}
