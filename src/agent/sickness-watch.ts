/**
 * What ails this node, and since when: has disks and server examined every disk_check_interval, remembers what was
 * found, and tells when something begins and when it ends. What a sickness is and what is done about it is core's matter.
 */
import {
  type Ailment,
  describeSickness,
  hinders,
  leastFree,
  NOTHING_LEARNED,
  type SicknessPolicy,
  sicknesses,
  type Vitals,
  wordFor,
} from '../core/sickness.ts';
import { between, type Instant, LONG_AGO, type Millis } from '../core/time.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { Postgres } from '../ports/postgres.ts';

/** As it is shown. */
export interface HealthView {
  readonly vitals: Vitals;
  readonly ailments: readonly Ailment[];
  /** When something that a failover may help against last ailed this node; null: never, that this process knows of. */
  readonly ailedAt: Instant | null;
  readonly freeBytes: bigint | null;
}

export const NOTHING_AILS: HealthView = { vitals: NOTHING_LEARNED, ailments: [], ailedAt: null, freeBytes: null };

export class SicknessWatch {
  private readonly postgres: Pick<Postgres, 'vitals' | 'examine'>;
  private readonly log: EventLog;
  private examinedAt: Instant = LONG_AGO;
  private shown: HealthView = NOTHING_AILS;

  constructor(postgres: Pick<Postgres, 'vitals' | 'examine'>, log: EventLog) {
    this.postgres = postgres;
    this.log = log;
  }

  get view(): HealthView {
    return this.shown;
  }

  /** With every look at Postgres; waits for nothing. */
  look(now: Instant, policy: SicknessPolicy): void {
    if (policy.checkInterval > 0 && between(this.examinedAt, now) >= policy.checkInterval) {
      this.examinedAt = now;
      this.postgres.examine();
    }
    const vitals = policy.checkInterval > 0 ? this.postgres.vitals() : NOTHING_LEARNED;
    const before = this.shown.ailments;
    const ailments = sicknesses(vitals, policy, now, new Set(before.map(({ sickness }) => sickness.kind))).map(
      (sickness): Ailment => ({ sickness, since: sameAs(before, sickness)?.since ?? now }),
    );
    const ailing = ailments.some(({ sickness }) => hinders(sickness.kind));
    this.shown = {
      vitals,
      ailments,
      ailedAt: ailing ? now : this.shown.ailedAt,
      freeBytes: leastFree(vitals.disks),
    };
    for (const { sickness } of ailments) {
      if (sameAs(before, sickness) === null)
        this.log.write('warn', 'sickness.found', describeSickness(sickness), { sickness: sickness.kind });
    }
    for (const { sickness, since } of before) {
      if (sameAs(ailments, sickness) === null)
        this.log.write('info', 'sickness.ended', `${wordFor(sickness)}: that is over`, {
          sickness: sickness.kind,
          lasted_ms: lengthOf(since, now),
        });
    }
  }
}

const lengthOf = (since: Instant, now: Instant): Millis => Math.round(between(since, now)) as Millis;

const sameAs = (among: readonly Ailment[], one: Ailment['sickness']): Ailment | null =>
  among.find(({ sickness }) => wordFor(sickness) === wordFor(one)) ?? null;
