/**
 * What ails a node although its Postgres may still answer: disks that are full, read-only, broken or hanging, a
 * checkpointer or an archiver that stands still, a wraparound that comes near, crashes again and again. From measured
 * facts and the operator's thresholds to a closed list of sicknesses. What is done about one is decided in
 * situations/leading.ts; nothing is measured here.
 */
import { between, type Instant, type Millis } from './time.ts';

/** The directory of the data, and that of the WAL: often on one disk, and then sick together. */
export type Directory = 'data' | 'pg_wal';

/** What became of writing a small file there and getting it to the disk. */
export interface Writing {
  readonly kind: 'done' | 'full' | 'read-only' | 'io-error';
  /** What the system said; empty when it was done. */
  readonly said: string;
}

export interface DiskFacts {
  readonly directory: Directory;
  /** null: nothing was learned yet. */
  readonly last: Writing | null;
  /** As of the last try that ended; null: not known. */
  readonly freeBytes: bigint | null;
  readonly totalBytes: bigint | null;
  /** When the try began that has not ended yet; null: none is under way. */
  readonly tryingSince: Instant | null;
}

export interface ArchiverFacts {
  /** The last try to archive failed, and none has succeeded since. */
  readonly failing: boolean;
  readonly failures: number;
  /** `000000010000000000000005`; null: none. */
  readonly lastFailed: string | null;
  /** Finished WAL files that are not archived yet. */
  readonly waiting: number;
  /** How long the oldest of them has waited; null: none waits. */
  readonly oldest: Millis | null;
}

export interface WraparoundFacts {
  readonly of: 'transactions' | 'multixacts';
  /** The database whose oldest one is the oldest of all. */
  readonly database: string;
  readonly age: number;
}

/** What was learned of the disks and of the server's inner works. What is not known says nothing. */
export interface Vitals {
  readonly disks: readonly DiskFacts[];
  /** Why the checkpointer does nothing; null: nothing is known against it. */
  readonly checkpointer: string | null;
  readonly archiver: ArchiverFacts | null;
  readonly wraparound: readonly WraparoundFacts[];
  /** When the server was seen to have crashed and restarted itself, the oldest first. */
  readonly crashes: readonly Instant[];
}

export const NOTHING_LEARNED: Vitals = { disks: [], checkpointer: null, archiver: null, wraparound: [], crashes: [] };

export interface SicknessPolicy {
  /** How often disks and server are examined; 0: never. */
  readonly checkInterval: Millis;
  /** Less free space than this is a full disk. */
  readonly fullBelowBytes: bigint;
  /** A small write that takes longer is a disk that hangs. */
  readonly hangTimeout: Millis;
  /** So many crashes within `crashInterval` are a loop. */
  readonly crashes: number;
  readonly crashInterval: Millis;
  /** Transactions or multixacts older than this are too near to a wraparound. */
  readonly wraparoundAge: number;
  /** What the leader does about which: hands over if somebody can take it, or goes on. */
  readonly react: Readonly<Record<Treatable, 'failover' | 'stay'>>;
  /** A sickness has to last so long before the leader hands over. */
  readonly patience: Millis;
  /**
   * So long a leader stays one before it hands over for a sickness, and so long who was sick is handed nothing: or two
   * sick nodes would throw the lead to each other.
   */
  readonly rest: Millis;
}

/** Where a failover may help. A failing archiver and a wraparound follow the data to the next leader. */
export type Treatable =
  | 'disk-full'
  | 'disk-read-only'
  | 'disk-io-error'
  | 'disk-hangs'
  | 'checkpointer-stuck'
  | 'crash-loop';

interface OfDisk {
  readonly where: readonly Directory[];
}

export type Sickness =
  | (OfDisk & { readonly kind: 'disk-full'; readonly freeBytes: bigint | null; readonly said: string })
  | (OfDisk & { readonly kind: 'disk-read-only' | 'disk-io-error'; readonly said: string })
  | (OfDisk & { readonly kind: 'disk-hangs'; readonly hangingFor: Millis })
  | { readonly kind: 'checkpointer-stuck'; readonly said: string }
  | { readonly kind: 'crash-loop'; readonly crashes: number; readonly within: Millis }
  | { readonly kind: 'archiver-failing'; readonly archiver: ArchiverFacts }
  | { readonly kind: 'wraparound-near'; readonly wraparound: WraparoundFacts; readonly limit: number };

export type SicknessKind = Sickness['kind'];

/** A sickness, and since when this process has known it. */
export interface Ailment {
  readonly sickness: Sickness;
  readonly since: Instant;
}

/** WAL that has waited so long for an archiver that does not even fail. */
const ARCHIVED_WITHIN_MS = 300_000;
/** Both kinds are counted in 32 bits, half of which is the past (Postgres docs, "Preventing Transaction ID Wraparound Failures"). */
const WRAPS_AT = 2 ** 31;

/**
 * All that ails, the worst first.
 *
 * @param before - what ailed until now: what was full is well only with twice the room, lest it comes and goes
 */
export function sicknesses(
  vitals: Vitals,
  policy: SicknessPolicy,
  now: Instant,
  before: ReadonlySet<SicknessKind> = new Set(),
): readonly Sickness[] {
  const found: Sickness[] = [...ofDisks(vitals.disks, policy, now, before)];
  if (vitals.checkpointer !== null) found.push({ kind: 'checkpointer-stuck', said: vitals.checkpointer });
  const crashes = vitals.crashes.filter((at) => between(at, now) <= policy.crashInterval).length;
  if (policy.crashes > 0 && crashes >= policy.crashes)
    found.push({ kind: 'crash-loop', crashes, within: policy.crashInterval });
  const { archiver } = vitals;
  if (archiver !== null && (archiver.failing || (archiver.oldest ?? 0) > ARCHIVED_WITHIN_MS))
    found.push({ kind: 'archiver-failing', archiver });
  for (const wraparound of vitals.wraparound) {
    if (policy.wraparoundAge > 0 && wraparound.age >= policy.wraparoundAge)
      found.push({ kind: 'wraparound-near', wraparound, limit: WRAPS_AT });
  }
  return found;
}

function* ofDisks(
  disks: readonly DiskFacts[],
  { hangTimeout, fullBelowBytes }: SicknessPolicy,
  now: Instant,
  before: ReadonlySet<SicknessKind>,
): Generator<Sickness> {
  const hanging = disks.filter((disk) => disk.tryingSince !== null && between(disk.tryingSince, now) >= hangTimeout);
  // What was last heard of a disk that hangs is from before it did.
  const heard = disks.filter((disk) => !hanging.includes(disk));
  const [first] = hanging;
  if (first !== undefined && first.tryingSince !== null)
    yield { kind: 'disk-hangs', where: named(hanging), hangingFor: between(first.tryingSince, now) };
  for (const kind of ['io-error', 'read-only'] as const) {
    const these = heard.filter((disk) => disk.last?.kind === kind);
    if (these.length > 0) yield { kind: `disk-${kind}`, where: named(these), said: these[0]?.last?.said ?? '' };
  }
  const least = before.has('disk-full') ? fullBelowBytes * 2n : fullBelowBytes;
  const full = heard.filter(
    ({ last, freeBytes }) =>
      last?.kind === 'full' || (last?.kind === 'done' && freeBytes !== null && freeBytes < least),
  );
  if (full.length > 0) {
    const refused = full.find(({ last }) => last?.kind === 'full');
    yield { kind: 'disk-full', where: named(full), freeBytes: leastFree(full), said: refused?.last?.said ?? '' };
  }
}

const named = (disks: readonly DiskFacts[]): readonly Directory[] => disks.map(({ directory }) => directory);

/** What the fullest of them has left; null: nobody knows. */
export function leastFree(disks: readonly Pick<DiskFacts, 'freeBytes'>[]): bigint | null {
  let least: bigint | null = null;
  for (const { freeBytes } of disks) if (freeBytes !== null && (least === null || freeBytes < least)) least = freeBytes;
  return least;
}

/** No server is promoted on such a disk. @param kind - another version may know others */
export const cannotWrite = (kind: string): boolean =>
  kind === 'disk-hangs' || kind === 'disk-read-only' || kind === 'disk-io-error';

/** Who has it would be a leader that is no better off. */
export const hinders = (kind: string): boolean =>
  cannotWrite(kind) || kind === 'disk-full' || kind === 'checkpointer-stuck' || kind === 'crash-loop';

/** What a failover may help against; null: it would only move on with the data. */
export function treatable({ kind }: Sickness): Treatable | null {
  return kind === 'archiver-failing' || kind === 'wraparound-near' ? null : kind;
}

/** In a word or two, the same for as long as it lasts: for tables and for the member key. */
export function wordFor(sickness: Sickness): string {
  switch (sickness.kind) {
    case 'disk-full':
      return 'disk full';
    case 'disk-read-only':
      return 'disk read-only';
    case 'disk-io-error':
      return 'disk has errors';
    case 'disk-hangs':
      return 'disk hangs';
    case 'checkpointer-stuck':
      return 'checkpointer stuck';
    case 'crash-loop':
      return 'crashes again and again';
    case 'archiver-failing':
      return 'archiver fails';
    case 'wraparound-near':
      return sickness.wraparound.of === 'transactions' ? 'wraparound near' : 'multixact wraparound near';
    default:
      return ((never: never) => never)(sickness);
  }
}

/** One sentence with its numbers, without the period. */
export function describeSickness(sickness: Sickness): string {
  switch (sickness.kind) {
    case 'disk-full': {
      const left = sickness.freeBytes === null ? '' : `, ${printBytes(sickness.freeBytes)} free`;
      const said = sickness.said === '' ? '' : ` (${sickness.said})`;
      return `the disk of ${places(sickness)} is full${left}${said}`;
    }
    case 'disk-read-only':
      return `the file system of ${places(sickness)} is read-only (${sickness.said})`;
    case 'disk-io-error':
      return `writing to ${places(sickness)} fails with I/O errors (${sickness.said})`;
    case 'disk-hangs':
      return `a small write to ${places(sickness)} has not ended for ${seconds(sickness.hangingFor)}`;
    case 'checkpointer-stuck':
      return `the checkpointer does nothing: ${sickness.said}`;
    case 'crash-loop':
      return `Postgres has crashed and restarted itself ${sickness.crashes} times within ${seconds(sickness.within)}`;
    case 'archiver-failing': {
      const { failing, failures, lastFailed, waiting, oldest } = sickness.archiver;
      const since = oldest === null ? '' : `, the oldest for ${seconds(oldest)}`;
      const why = failing
        ? `WAL cannot be archived: ${failures} failures, last with ${lastFailed ?? 'an unknown file'}`
        : 'WAL is not archived';
      return `${why}; ${waiting} files wait${since}`;
    }
    case 'wraparound-near': {
      const { of, database, age } = sickness.wraparound;
      return `the oldest ${of} of database ${database} are ${age} old, of ${sickness.limit} at most: vacuum it`;
    }
    default:
      return ((never: never) => never)(sickness);
  }
}

/** The numbers of one, for programs. */
export function sicknessAsJson({ sickness, since }: Ailment, now: Instant): Readonly<Record<string, unknown>> {
  const shared = {
    kind: sickness.kind,
    word: wordFor(sickness),
    sentence: describeSickness(sickness),
    for_ms: Math.round(between(since, now)),
  };
  switch (sickness.kind) {
    case 'disk-full':
      return {
        ...shared,
        directories: sickness.where,
        free_bytes: sickness.freeBytes === null ? null : Number(sickness.freeBytes),
      };
    case 'disk-read-only':
    case 'disk-io-error':
      return { ...shared, directories: sickness.where, said: sickness.said };
    case 'disk-hangs':
      return { ...shared, directories: sickness.where, hanging_for_ms: Math.round(sickness.hangingFor) };
    case 'checkpointer-stuck':
      return { ...shared, said: sickness.said };
    case 'crash-loop':
      return { ...shared, crashes: sickness.crashes, within_ms: sickness.within };
    case 'archiver-failing': {
      const { failures, lastFailed, waiting, oldest } = sickness.archiver;
      return {
        ...shared,
        failures,
        last_failed: lastFailed,
        files_waiting: waiting,
        oldest_ms: oldest === null ? null : Math.round(oldest),
      };
    }
    case 'wraparound-near':
      return { ...shared, ...sickness.wraparound, limit: sickness.limit };
    default:
      return ((never: never) => never)(sickness);
  }
}

const places = ({ where }: OfDisk): string =>
  where.map((one) => (one === 'data' ? 'the data directory' : one)).join(' and ');
const seconds = (length: Millis): string => `${Math.round(length / 1000)} s`;

function printBytes(bytes: bigint): string {
  return bytes < 10_485_760n ? `${bytes} bytes` : `${bytes / 1_048_576n} MB`;
}
