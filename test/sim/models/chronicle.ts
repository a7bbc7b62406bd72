/**
 * What happened, as the nodes of a simulated world keep it in etcd, beside the keys that decisions rest on. It answers
 * as long as etcd can be reached; nothing is judged by what stands here.
 */
import { ABSENT, type KeyValue, revision } from '../../../src/core/store.ts';
import type { Millis } from '../../../src/core/time.ts';
import type { Chronicle, ChronicleAnswer, PutAnswer } from '../../../src/ports/chronicle.ts';
import type { Incarnation } from '../world/incarnation.ts';

const ANSWERS_AFTER_MS = 2;

export class SimulatedChronicle {
  readonly keys = new Map<string, KeyValue>();
  private last = 0n;

  /** One daemon's end of it. */
  endOf(process: Incarnation, reachable: () => boolean = () => true): Chronicle {
    const ask = <T>(limit: Millis, none: T, compute: () => T): Promise<T> =>
      reachable() ? process.answer(ANSWERS_AFTER_MS, compute) : process.answer(limit, () => none);
    const cause = 'no answer in time';
    return {
      read: (limit) =>
        ask<ChronicleAnswer>(limit, { kind: 'unanswered', cause }, () => ({
          kind: 'answered',
          entries: [...this.keys.values()],
        })),
      put: (key, value, known, limit) =>
        ask<PutAnswer>(limit, { kind: 'unknown', cause }, () => {
          const found = this.keys.get(key) ?? null;
          if ((found?.modRevision ?? ABSENT) !== known) return { kind: 'refused', found };
          const modRevision = revision(++this.last);
          const createRevision = found?.createRevision ?? modRevision;
          this.keys.set(key, { key, value, createRevision, modRevision, lease: null });
          return { kind: 'applied', revision: modRevision };
        }),
    };
  }
}
