/**
 * S16: what is done about a node that is sick. Nobody takes the key whose disk cannot be written, no leader gives it up
 * for a sickness where nobody is better off, and one that is sick does not keep it for long while somebody is. Judged by
 * the true state of the world, and only of what a daemon must have noticed.
 */
import { KEYS } from '../../src/core/cluster.ts';
import { BY_HAND_MS } from './invariants.ts';
import type { EtcdModel } from './models/etcd.ts';
import type { PostgresServer } from './models/postgres-server.ts';
import type { SimulatedSickness } from './plan.ts';

type Json = Readonly<Record<string, unknown>>;

interface Patient {
  readonly name: string;
  readonly on: boolean;
  readonly server: PostgresServer;
  daemon(): { readonly startedAt: number; readonly process: { readonly paused: boolean } } | null;
}

const UNWRITABLE: readonly SimulatedSickness[] = ['read-only', 'io-error', 'hang'];
/** `crashes` is noticed by how often, not by since when. */
const HINDERING: readonly SimulatedSickness[] = [...UNWRITABLE, 'full', 'checkpointer'];
/** Looks, cycles and answers of others that are used for a while. */
const SLACK_MS = 3_000;
/** What another one has said is gone by for so long. */
const ANSWERS_FOR_MS = 2_000;
/** A sick leader has done something by then, beyond its own patience. */
const TREATED_WITHIN_MS = 15_000;

export class Ailments {
  readonly checked = { 'S16 somebody who is sick could be elected': 0, 'S16 a sick leader gives up': 0 };
  private readonly patients: readonly Patient[];
  private readonly etcd: EtcdModel;
  private readonly mayLead: (name: string) => boolean;
  private readonly now: () => number;
  private readonly fail: (invariant: string, sentence: string) => void;
  private config: Json = {};
  /** When the settings were stored. */
  private settledAt = 0;
  private byHandUntil = Number.NEGATIVE_INFINITY;
  /** When something that its daemon knew of last ailed it. */
  private readonly ailed = new Map<string, number>();
  /** When each was last seen to be well. */
  private readonly well = new Map<string, number>();
  /** Since when the leader could have been relieved, by one and the same node. */
  private untreated: { readonly leader: string; readonly by: string; readonly since: number } | null = null;

  constructor(parts: {
    readonly patients: readonly Patient[];
    readonly etcd: EtcdModel;
    /** By its settings: not with priority 0, and not where its validation command forbids it. */
    readonly mayLead: (name: string) => boolean;
    readonly now: () => number;
    readonly fail: (invariant: string, sentence: string) => void;
  }) {
    this.patients = parts.patients;
    this.etcd = parts.etcd;
    this.mayLead = parts.mayLead;
    this.now = parts.now;
    this.fail = parts.fail;
  }

  settings(config: Json): void {
    this.config = config;
    this.settledAt = this.now();
    this.untreated = null;
  }

  failedOverByHand(): void {
    this.byHandUntil = this.now() + BY_HAND_MS;
  }

  private ms(setting: string, usual: number): number {
    return 1_000 * Number(this.config[setting] ?? usual);
  }

  /** What of these its daemon must have noticed by now. @param asked - it decides now; else it had to think of it in a cycle */
  private noticed(one: Patient, kinds: readonly SimulatedSickness[], asked: boolean): SimulatedSickness | null {
    const daemon = one.daemon();
    const checked = this.ms('disk_check_interval', 5);
    if (daemon === null || daemon.process.paused || checked === 0) return null;
    const found = kinds.find((kind) => {
      const since = Math.max(one.server.sickness.get(kind) ?? Number.POSITIVE_INFINITY, daemon.startedAt);
      // What was examined is read with the next cycle; that a disk hangs shows in the time alone.
      const hangs = kind === 'hang' ? this.ms('disk_hang_timeout', 10) : 0;
      const cycle = kind === 'hang' && asked ? 0 : this.ms('loop_wait', 1);
      const takes = 2 * checked + hangs + cycle + SLACK_MS;
      return this.now() - since > takes;
    });
    return found ?? null;
  }

  /** Nothing ails it now, nor did it lately as far as its daemon remembers. */
  private isWell(one: Patient): boolean {
    const { server } = one;
    if (this.noticed(one, HINDERING, true) !== null) return false;
    const daemon = one.daemon();
    const ailed = this.ailed.get(one.name) ?? Number.NEGATIVE_INFINITY;
    const remembered = daemon !== null && ailed > daemon.startedAt;
    if (remembered && this.now() - ailed < this.ms('sick_failover_rest', 300) - SLACK_MS) return false;
    return one.on && daemon !== null && server.processes.kind === 'running' && server.processes.recovery;
  }

  /** Now and then. */
  look(): void {
    const now = this.now();
    for (const one of this.patients) {
      if (this.noticed(one, HINDERING, false) !== null) this.ailed.set(one.name, now);
      if (this.isWell(one)) this.well.set(one.name, now);
    }
    const leader = this.patients.find((one) => this.etcd.keyNow(KEYS.leader)?.value === one.name);
    const hangs =
      leader !== undefined && this.noticed(leader, ['hang'], true) !== null && leader.server.acceptsWrites();
    const stays = ['pause', 'synchronous_mode'].some(
      (setting) => ![undefined, false, 'off'].includes(this.config[setting] as never),
    );
    if (!hangs || stays || this.config['failover'] === 'manual' || this.config['on_disk_hang'] === 'stay') {
      this.untreated = null;
      return;
    }
    const streams = (one: Patient): boolean =>
      one !== leader && this.mayLead(one.name) && this.isWell(one) && one.server.receiver?.from === leader.server;
    const by = this.patients.find(
      (one) => streams(one) && (one.name === this.untreated?.by || this.untreated === null),
    );
    if (by === undefined || (this.untreated !== null && this.untreated.leader !== leader.name)) {
      this.untreated = null;
      return;
    }
    this.untreated ??= { leader: leader.name, by: by.name, since: now };
    const left = this.ms('sick_failover_delay', 10) + this.ms('sick_failover_rest', 300) + TREATED_WITHIN_MS;
    if (now - this.untreated.since > left)
      this.fail('S16', `the disk of ${leader.name} hangs, and it goes on leading although ${by.name} is well`);
  }

  /** Who gave the key up because it was sick: crashes are remembered for long after they have ended. */
  gaveUp: string | null = null;

  /** A daemon says by which rule it acts. */
  decided(name: string, rule: string): void {
    if (rule === 'leading.primary') this.gaveUp = null;
    if (rule !== 'leading.sick-hands-over' && rule !== 'leading.sick-gives-up') return;
    this.gaveUp = name;
    this.checked['S16 a sick leader gives up'] += 1;
    if (this.config['failover'] === 'manual' && this.now() - this.settledAt > SLACK_MS)
      this.fail('S16', `${name} gives up because it is sick (${rule}), and failover is manual`);
    const wasWell = (one: Patient): boolean =>
      this.isWell(one) || this.now() - (this.well.get(one.name) ?? Number.NEGATIVE_INFINITY) < ANSWERS_FOR_MS;
    if (!this.patients.some((one) => one.name !== name && wasWell(one)))
      this.fail('S16', `${name} gives up because it is sick (${rule}), and nobody is better off`);
  }

  /** In an election, or handed over. */
  keyTaken(name: string): void {
    const one = this.patients.find((patient) => patient.name === name);
    if (one === undefined || this.now() < this.byHandUntil) return;
    const { processes } = one.server;
    if (processes.kind !== 'running' || !processes.recovery) return;
    const kind = this.noticed(one, UNWRITABLE, true);
    if (kind !== null) this.fail('S16', `${name} takes the key, and its disk cannot be written (${kind})`);
    const sick = this.patients.some((other) => other.on && this.noticed(other, UNWRITABLE, true) !== null);
    if (sick) this.checked['S16 somebody who is sick could be elected'] += 1;
  }
}
