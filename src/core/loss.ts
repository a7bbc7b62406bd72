/**
 * What a failover may have cost: where the last leader's WAL is known to have ended, what the new leader has of it, and
 * between which times the commits lie that may be missing. Pure; for people: nothing is decided by it.
 */
import { distance, type Lsn, printLsn } from './lsn.ts';
import type { NodeName } from './store.ts';
import type { WallTime } from './time.ts';

/** What is known at the end of a takeover. */
export interface LossFacts {
  readonly previous: NodeName;
  readonly node: NodeName;
  /** false: the node had the key before, and is not known to have written under it. */
  readonly wroteBefore?: boolean;
  /** The new leader has every commit that waited for synchronous standbys, by the `sync` key. */
  readonly synchronous?: boolean;
  /** Where the new timeline begins: the new leader has all WAL of the last one up to here, and nothing beyond. */
  readonly has: Lsn;
  /** The last position that the last leader published, and when it was heard of here; null: none is known. */
  readonly published: { readonly lsn: Lsn; readonly heardAt: WallTime } | null;
  /** Where its WAL ended, by a release record that names a candidate; null: it gave none. */
  readonly end: Lsn | null;
  /** Commit time of the last transaction that the new leader has, by the last leader's clock; null: not known. */
  readonly lastCommit: string | null;
  /** From then on the last leader cannot have acknowledged anything; null: not known. */
  readonly stoppedBy: WallTime | null;
  /** The last leader wrote on this timeline from here on, and nothing of it came to the new one; absent: no such. */
  readonly unheard?: { readonly timeline: number; readonly from: Lsn } | null;
}

/** As it stands in the decision record: plain JSON, positions as Postgres prints them, times in ISO 8601. */
export interface LossStatement {
  /**
   * `nothing`: the end of the last leader's WAL is known, and it is here. `unknown`: all that is known of it is here, and
   * where it ended is not known. `range`: WAL that it is known to have had is missing.
   */
  readonly lost: 'nothing' | 'unknown' | 'range';
  readonly has: string;
  readonly published: string | null;
  readonly published_at: string | null;
  readonly end: string | null;
  /** Known to be missing. */
  readonly from: string | null;
  readonly to: string | null;
  readonly bytes: number | null;
  /** There may be more beyond `to`, or beyond `has`: nobody knows where the last leader's WAL ended. */
  readonly open_ended: boolean;
  /** What may be missing was committed after this, and before that. */
  readonly committed_after: string | null;
  readonly committed_before: string | null;
  /** No commit that waited for synchronous standbys is lost: the rest speaks of those that did not, or got no answer. */
  readonly synchronous: boolean;
  readonly sentence: string;
}

export function stateLoss(facts: LossFacts): LossStatement {
  const { previous, node, has, published, end, unheard = null } = facts;
  // Who wrote before has all of its own WAL, whatever became of its leadership.
  const own = previous === node && facts.wroteBefore !== false && unheard === null;
  const known = own ? has : (end ?? published?.lsn ?? null);
  const openEnded = !own && (end === null || unheard !== null);
  // Beyond where the other timeline began, positions here and there are of different WAL.
  const common = unheard === null || has < unheard.from ? has : unheard.from;
  const missing = known === null ? 0n : distance(common, known);
  const lost = missing > 0n ? 'range' : openEnded ? 'unknown' : 'nothing';
  const statement = {
    lost,
    has: printLsn(has),
    published: published === null ? null : printLsn(published.lsn),
    published_at: published === null ? null : new Date(published.heardAt).toISOString(),
    end: end === null ? null : printLsn(end),
    from: missing > 0n ? printLsn(common) : null,
    to: known !== null && missing > 0n ? printLsn(known) : null,
    bytes: missing > 0n ? Number(missing) : lost === 'nothing' ? 0 : null,
    open_ended: openEnded,
    committed_after: lost === 'nothing' ? null : isoOf(facts.lastCommit),
    committed_before: lost === 'nothing' || facts.stoppedBy === null ? null : new Date(facts.stoppedBy).toISOString(),
    synchronous: facts.synchronous === true,
  } as const;
  const never =
    unheard === null
      ? ''
      : `timeline ${unheard.timeline}, on which ${previous} wrote from ${printLsn(unheard.from)} on, never came to ${node}: `;
  const sentence = never + inOneSentence(statement, previous, node);
  const others =
    'no commit that waited for synchronous standbys is lost; of what did not wait, or was not acknowledged';
  return { ...statement, sentence: statement.synchronous && lost !== 'nothing' ? `${others}: ${sentence}` : sentence };
}

function inOneSentence(said: Omit<LossStatement, 'sentence'>, previous: string, node: string): string {
  if (said.lost === 'nothing') {
    return previous === node
      ? `nothing is lost: ${node} led before and goes on with its own WAL from ${said.has}`
      : `nothing is lost: the WAL of ${previous} ended at ${said.end}, and ${node} has it up to ${said.has}`;
  }
  const times = timesOf(said);
  if (said.lost === 'range') {
    const least = said.open_ended ? 'at least ' : '';
    const how = said.open_ended ? `the last position that ${previous} published` : `where the WAL of ${previous} ended`;
    return `${least}${said.bytes} bytes of WAL are missing on ${node}, from ${said.from} to ${said.to}, ${how}${times}`;
  }
  const published =
    said.published === null
      ? `${previous} had published no position`
      : `${node} has all that ${previous} had published, up to ${said.published}`;
  return `${published}; what ${previous} committed after ${said.has} and sent to nobody may be lost${times}`;
}

function timesOf({ committed_after: after, committed_before: before }: Omit<LossStatement, 'sentence'>): string {
  if (after === null && before === null) return '';
  const parts = [...(after === null ? [] : [`after ${after}`]), ...(before === null ? [] : [`before ${before}`])];
  return `; commits ${parts.join(' and ')}`;
}

/** `2026-11-20 10:44:00.123456+00:00`, as Postgres' clock is read here, in ISO 8601. */
function isoOf(text: string | null): string | null {
  if (text === null) return null;
  const ms = Date.parse(text.replace(' ', 'T'));
  return Number.isNaN(ms) ? null : new Date(ms).toISOString();
}

/** Of a record that another version may have written; null: it says nothing of loss. */
export function readLoss(value: unknown): LossStatement | null {
  if (typeof value !== 'object' || value === null) return null;
  const said = value as Partial<LossStatement>;
  if (typeof said.lost !== 'string' || typeof said.has !== 'string' || typeof said.sentence !== 'string') return null;
  return {
    lost: said.lost,
    has: said.has,
    published: said.published ?? null,
    published_at: said.published_at ?? null,
    end: said.end ?? null,
    from: said.from ?? null,
    to: said.to ?? null,
    bytes: said.bytes ?? null,
    open_ended: said.open_ended === true,
    committed_after: said.committed_after ?? null,
    committed_before: said.committed_before ?? null,
    synchronous: said.synchronous === true,
    sentence: said.sentence,
  };
}
