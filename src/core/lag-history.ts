/**
 * How far the standbys were behind, for a day: a peak per minute for the last hour, per ten minutes before that. Pure;
 * who samples and where it is kept is not known here. For people: nothing is decided by it.
 */
import type { ClusterView } from './cluster.ts';
import type { Primary } from './local.ts';

/** Bytes of WAL; null: not known, because the standby does not stream or does not say. */
export interface Lag {
  readonly receive: number | null;
  readonly replay: number | null;
}

/** The peaks of one stretch of time. */
export interface LagPoint {
  /** Milliseconds since 1970: when the stretch began. */
  readonly from: number;
  readonly primary: string;
  readonly lags: ReadonlyMap<string, Lag>;
}

const MINUTE = 60_000;
const COARSE = 10 * MINUTE;
const FINE_FOR = 60 * MINUTE;
const KEPT_FOR = 24 * 60 * MINUTE;
export const KEPT_LAGS_BYTES = 64 * 1024;

/** What the primary knows now: from its own senders, and of cascading standbys what they have published. */
export function lagsNow(local: Primary, cluster: ClusterView): ReadonlyMap<string, Lag> {
  const behind = (position: bigint | null): number | null =>
    position === null ? null : Math.max(0, Number(local.flushed - position));
  const lags = new Map<string, Lag>();
  for (const member of cluster.members) {
    if (member.name === cluster.leader?.name || member.pgha?.role === 'witness') continue;
    const sender = local.senders.find(({ applicationName }) => applicationName === member.name);
    lags.set(member.name, {
      receive: behind(sender === undefined ? member.receiveLsn : sender.flushed),
      replay: behind(sender === undefined ? member.replayLsn : sender.replayed),
    });
  }
  return lags;
}

/** @param wall - milliseconds since 1970 */
export const minuteOf = (wall: number): number => Math.floor(wall / MINUTE) * MINUTE;

/** The worse of the two, for each standby; what was never known stays unknown. */
export function peaks(a: ReadonlyMap<string, Lag>, b: ReadonlyMap<string, Lag>): ReadonlyMap<string, Lag> {
  const worse = (x: number | null, y: number | null): number | null =>
    x === null ? y : y === null ? x : Math.max(x, y);
  const merged = new Map(a);
  for (const [name, lag] of b) {
    const before = merged.get(name);
    merged.set(
      name,
      before === undefined
        ? lag
        : { receive: worse(before.receive, lag.receive), replay: worse(before.replay, lag.replay) },
    );
  }
  return merged;
}

/** In the order of time, older stretches made longer, what is older than a day left out. */
export function thinned(points: readonly LagPoint[], wall: number): readonly LagPoint[] {
  const slots = new Map<string, LagPoint>();
  for (const point of points.toSorted((a, b) => a.from - b.from)) {
    if (point.from < wall - KEPT_FOR) continue;
    const length = point.from < wall - FINE_FOR ? COARSE : MINUTE;
    const from = Math.floor(point.from / length) * length;
    const slot = `${from} ${point.primary}`;
    const before = slots.get(slot);
    slots.set(slot, before === undefined ? { ...point, from } : { ...before, lags: peaks(before.lags, point.lags) });
  }
  return [...slots.values()];
}

/** `[["2026-11-20T14:08:00.000Z","pg1",{"pg2":[0,120]}],...]`, newest last. */
export function writeLags(points: readonly LagPoint[]): string {
  const written = points.map(({ from, primary, lags }) =>
    JSON.stringify([
      new Date(from).toISOString(),
      primary,
      Object.fromEntries([...lags].map(([name, lag]) => [name, [lag.receive, lag.replay]])),
    ]),
  );
  const encoder = new TextEncoder();
  let bytes = written.reduce((sum, one) => sum + encoder.encode(one).length + 1, 2);
  while (bytes > KEPT_LAGS_BYTES) bytes -= encoder.encode(written.shift() ?? '').length + 1;
  return `[${written.join(',')}]`;
}

/** @returns what could be read, and why something could not; null: all of it was */
export function readLags(value: string): { readonly points: readonly LagPoint[]; readonly trouble: string | null } {
  let list: unknown;
  try {
    list = JSON.parse(value);
  } catch {
    return { points: [], trouble: 'not JSON' };
  }
  if (!Array.isArray(list)) return { points: [], trouble: 'not a JSON array' };
  const points = list.map(readPoint).filter((point) => point !== null);
  const strange = list.length - points.length;
  return { points, trouble: strange === 0 ? null : `a list with ${strange} entries that are not understood` };
}

function readPoint(value: unknown): LagPoint | null {
  if (!Array.isArray(value)) return null;
  const [time, primary, lags] = value as readonly unknown[];
  const from = typeof time === 'string' ? Date.parse(time) : Number.NaN;
  if (Number.isNaN(from) || typeof primary !== 'string' || typeof lags !== 'object' || lags === null) return null;
  const size = (bytes: unknown): number | null =>
    typeof bytes === 'number' && Number.isFinite(bytes) && bytes >= 0 ? bytes : null;
  return {
    from,
    primary,
    lags: new Map(
      Object.entries(lags).map(([name, pair]: [string, unknown]) => {
        const [receive, replay] = Array.isArray(pair) ? (pair as readonly unknown[]) : [];
        return [name, { receive: size(receive), replay: size(replay) }];
      }),
    ),
  };
}
