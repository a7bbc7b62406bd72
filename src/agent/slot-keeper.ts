/**
 * Keeps this node's replication slots as core/slots.ts plans them, beside the decisions and never in their way: what
 * takes long (a logical slot waits for transactions, a copy needs a restart of the standby) runs on a lane of its own,
 * what fails is told once and tried again less and less often, and nothing here is waited for by anybody.
 */
import { type ClusterView, type Member, slotName } from '../core/cluster.ts';
import { type Lsn, NOWHERE } from '../core/lsn.ts';
import {
  type CopyFloors,
  clashes,
  describeBurden,
  fitness,
  isHeavier,
  NATIVE_SLOT_SYNC,
  type PermanentSlot,
  planSlots,
  type ServerSlots,
  type SlotStep,
  type WeighedSlot,
  weigh,
  type Xid,
} from '../core/slots.ts';
import type { NodeName, Revision } from '../core/store.ts';
import { between, type Instant, LONG_AGO, laterBy, type Millis, millis } from '../core/time.ts';
import { toldToFollow } from '../core/upstream.ts';
import { PghaError } from '../errors.ts';
import type { Agent } from './agent.ts';
import type { SlotsView } from './published.ts';

const FETCH_LIMIT = millis(3_000);
const RESTART_LIMIT = millis(10_000);
/** What failed is tried again after so long, doubled each time. */
const FIRST_PAUSE = millis(10_000);
const LONGEST_PAUSE = millis(600_000);
/** A restart of the standby is no small thing. */
const FIRST_COPY_PAUSE = millis(60_000);
const LONGEST_COPY_PAUSE = millis(3_600_000);
/** Standbys take their copies one after the other: each is restarted for them. */
const TURN = millis(10_000);
/** A copy that is proven stays so while the leader keeps what it needs: looked at now and then. */
const PROVEN_AGAIN = millis(10_000);

interface Trouble {
  readonly said: string;
  readonly failures: number;
  readonly again: Instant;
}

export class SlotKeeper {
  private readonly agent: Agent;
  private looking = false;
  private slow = false;
  private lookedAt: Instant = LONG_AGO;
  private failing = false;
  /** Members of late, by the names of their slots. */
  private readonly seen = new Map<string, Instant>();
  /** Slots of members, present and former. */
  private readonly made = new Set<string>();
  private strangers: ReadonlyMap<string, Instant> = new Map();
  private weighed: readonly WeighedSlot[] = [];
  /** As they are published by a leader; null: never looked. */
  private positions: ReadonlyMap<string, Lsn> | null = null;
  private heard: { readonly slots: ReadonlyMap<string, Lsn>; readonly at: Instant } | null = null;
  private readonly troubles = new Map<string, Trouble>();
  private problems: ReadonlyMap<string, string> = new Map();
  private clashing: ReadonlyMap<string, readonly string[]> = new Map();
  private copyWantedSince: Instant | null = null;
  /** What was found out about copies under this leader. */
  private proof: { readonly term: Revision; readonly floors: CopyFloors; readonly fit: ReadonlySet<string> } | null =
    null;
  private provenAt: Instant = LONG_AGO;
  /** Copies of which that is not known. */
  private unproven: readonly string[] = [];
  private wasStandby = false;

  constructor(agent: Agent) {
    this.agent = agent;
  }

  /** Looks, if it is time to; never waits. */
  run(): void {
    this.noteMembers();
    if (this.looking) return;
    this.looking = true;
    this.look()
      .then(
        () => {
          this.failing = false;
        },
        (error: unknown) => {
          if (!this.failing)
            this.agent.parts.log.write('warn', 'slot.failed', 'the slots could not be looked at; tried again', {
              error,
            });
          this.failing = true;
        },
      )
      .finally(() => {
        this.looking = false;
      });
  }

  /** A leader without etcd tells where its slots are when it asks for a confirmation. */
  heardFromLeader(slots: ReadonlyMap<string, Lsn>): void {
    if (slots.size > 0) this.heard = { slots, at: this.agent.now() };
  }

  /** Where the leader's slots are, by etcd, or by what it said itself since that arrived. */
  private positionsOfLeader(arrived: Instant, published: ReadonlyMap<string, Lsn>): ReadonlyMap<string, Lsn> {
    const { heard } = this;
    return heard !== null && heard.at > arrived ? heard.slots : published;
  }

  /** What a leader writes into `status`. */
  statusFields(flushed: Lsn): { readonly slots: ReadonlyMap<string, Lsn>; readonly retainSlots: readonly string[] } {
    const { agent } = this;
    // Positions that an earlier leader has published are better than none: without one, standbys let go of WAL.
    const known = this.positions ?? agent.reader.latest?.cluster.status?.slots ?? new Map<string, Lsn>();
    return {
      slots: new Map(known).set(slotName(agent.self), flushed),
      retainSlots: [...this.seen.keys()].sort(),
    };
  }

  get view(): SlotsView {
    return {
      weighed: this.weighed,
      troubles: [
        ...this.weighed.filter(({ burden }) => burden !== 'fine').map(describeBurden),
        ...[...this.problems].map(([slot, said]) => `slot ${slot}: ${said}`),
        ...[...this.clashing].map(([slot, names]) => clashSentence(slot, names)),
        ...[...this.troubles.values()].map(({ said }) => said),
        ...this.unproven.map((slot) => `the logical slot ${slot} is here, and not proven yet to have all it needs`),
      ],
    };
  }

  // ------------------------------------------------------------------ whose slots

  /** Members that are away keep their slots for member_slots_ttl, which begins anew with each leader. */
  private noteMembers(): void {
    const { agent } = this;
    const cluster = agent.reader.latest?.cluster;
    if (cluster === undefined) return;
    const now = agent.now();
    for (const member of cluster.members) {
      const name = slotName(member.name);
      if (needsSlot(member)) {
        this.seen.set(name, now);
        this.made.add(name);
      } else this.seen.delete(name);
    }
    if (cluster.leader?.name !== agent.self || this.positions === null) {
      for (const name of cluster.status?.retainSlots ?? []) {
        this.seen.set(name, now);
        this.made.add(name);
      }
    }
    for (const [name, at] of this.seen) {
      if (between(at, now) > agent.policy.memberSlotsTtl) this.seen.delete(name);
    }
    this.noteClashes(cluster.members);
  }

  /** An operator says that this member does not come back: its slot goes with the next look. */
  forget(member: string): void {
    const name = slotName(member);
    this.seen.delete(name);
    this.made.add(name);
    this.lookedAt = LONG_AGO;
  }

  private noteClashes(members: readonly Member[]): void {
    const clashing = clashes(
      members.filter(needsSlot).map(({ name }) => name),
      slotName,
    );
    for (const [slot, names] of clashing) {
      if (this.clashing.get(slot)?.join() !== names.join())
        this.agent.parts.log.write('warn', 'slot.names-clash', clashSentence(slot, names), { slot });
    }
    this.clashing = clashing;
  }

  private get mayLead(): boolean {
    const { node } = this.agent.resolved.policy;
    return !node.noFailover && node.priority > 0;
  }

  // ------------------------------------------------------------------ the look

  private async look(): Promise<void> {
    const { agent } = this;
    const { local } = agent.watch;
    const reading = agent.reader.latest;
    const { useSlots, loopWait, pause } = agent.policy;
    if (reading === null || !useSlots || agent.operations.running !== null || pause) return;
    if (local.kind !== 'primary' && local.kind !== 'standby') return;
    if (local.kind === 'primary' && !agent.writable()) return;
    const { cluster } = reading;
    const leads = local.kind === 'primary' || (agent.remoteSource !== null && cluster.leader?.name === agent.self);
    const fed = namesOf(
      cluster.members.filter((one) => leads || toldToFollow(one) === agent.self),
      agent.self,
    );
    const needed = local.kind === 'primary' || this.mayLead ? new Set([...this.seen.keys(), ...fed]) : fed;
    needed.delete(slotName(agent.self));
    // Whoever streams from here must not wait a loop for his slot: his stream depends on it.
    const missing = [...fed].some((name) => this.positions?.has(name) !== true && !this.troubles.has(name));
    if (!missing && between(this.lookedAt, agent.now()) < loopWait * 0.8) return;
    this.lookedAt = agent.now();

    const server = await agent.parts.postgres.readSlots();
    const version = Math.floor(local.version / 10_000);
    if (server.inRecovery !== (local.kind === 'standby')) return;
    this.tellPromotion(server, version);
    this.tellBurdens(server);
    const { status } = cluster;
    const plan = planSlots({
      server,
      version,
      own: slotName(agent.self),
      members: namesOf(cluster.members),
      needed,
      fed,
      mayLead: this.mayLead,
      // Nobody knows what the operator wants while his settings are not there.
      policy: { ...agent.policy.slots, complete: agent.policy.slots.complete && cluster.config !== null },
      made: this.made,
      strangers: this.strangers,
      positions: leads
        ? positionsElsewhere(cluster)
        : this.positionsOfLeader(reading.statusArrived, status?.slots ?? new Map()),
      published: new Set(status?.slots.keys() ?? []),
      now: agent.now(),
      patience: agent.policy.memberSlotsTtl,
    });
    const concerned = new Set([...plan.steps.map(({ slot }) => slot), ...plan.toCopy.map(({ name }) => name)]);
    for (const name of this.troubles.keys()) if (!concerned.has(name)) this.troubles.delete(name);
    this.tellStrangers(plan.strangers);
    this.tellProblems(plan.problems);
    const isSlow = (step: SlotStep): boolean =>
      step.do === 'create-logical' || (step.do === 'advance' && step.database !== null);
    for (const step of plan.steps.filter((step) => !isSlow(step))) await this.carryOut(step);
    this.notePositions(server, plan.steps, needed);
    this.startSlowLane(plan.steps.filter(isSlow), plan.toCopy, server, version);
  }

  /** As they will be after the steps; what is not ours is not published. */
  private notePositions(server: ServerSlots, steps: readonly SlotStep[], needed: ReadonlySet<string>): void {
    const ours = new Set([...needed, ...this.agent.policy.slots.permanent.map(({ name }) => name)]);
    const positions = new Map<string, Lsn>();
    for (const { name, restartLsn, confirmedLsn } of server.slots)
      if (ours.has(name)) positions.set(name, confirmedLsn ?? restartLsn ?? NOWHERE);
    for (const step of steps) {
      if (this.troubles.has(step.slot)) continue;
      if (step.do === 'create-physical') positions.set(step.slot, server.end);
      else if (step.do === 'drop') positions.delete(step.slot);
    }
    this.positions = positions;
  }

  // ------------------------------------------------------------------ doing

  private async carryOut(step: SlotStep): Promise<void> {
    const { agent } = this;
    if (agent.operations.running !== null || !this.isDue(step.slot)) return;
    const { log } = agent.parts;
    try {
      await agent.parts.postgres.changeSlot(step);
    } catch (error) {
      this.noteFailure(step.slot, error, FIRST_PAUSE, LONGEST_PAUSE);
      return;
    }
    this.troubles.delete(step.slot);
    const slot = { slot: step.slot };
    if (step.do === 'drop') {
      const severity = step.routine === true ? 'info' : 'warn';
      log.write(severity, 'slot.dropped', `the slot ${step.slot} was dropped: ${step.why}`, slot);
    } else if (step.do === 'create-logical' && step.lostPosition)
      log.write(
        'warn',
        'slot.position-lost',
        `the logical slot ${step.slot} was not here and was made anew: what its consumer had not received before is not in it, so have it begin anew`,
        slot,
      );
    else if (step.do === 'create-logical')
      log.write('info', 'slot.made', `the logical slot ${step.slot} was made in database ${step.database}`, slot);
    else if (step.do === 'create-physical') log.write('debug', 'slot.made', `the slot ${step.slot} was made`, slot);
  }

  private startSlowLane(
    steps: readonly SlotStep[],
    toCopy: readonly PermanentSlot[],
    server: ServerSlots,
    version: number,
  ): void {
    const { agent } = this;
    const work = async (): Promise<void> => {
      for (const step of steps) await this.carryOut(step);
      if (version < NATIVE_SLOT_SYNC && server.inRecovery) {
        await this.prove(server);
        await this.copy(toCopy);
      }
    };
    if (this.slow) return;
    this.slow = true;
    work()
      .catch((error: unknown) =>
        agent.parts.log.write('error', 'action.failed', 'work on logical slots failed', { error }),
      )
      .finally(() => {
        this.slow = false;
      });
  }

  /** Copies need a restart of this standby: for all of them at once, while the leader is well and no other restarts. */
  private async copy(wanted: readonly PermanentSlot[]): Promise<void> {
    const { agent } = this;
    const { postgres, log } = agent.parts;
    const names = wanted.map(({ name }) => name).filter((name) => this.isDue(name));
    if (names.length === 0) {
      if (wanted.length === 0) this.copyWantedSince = null;
      return;
    }
    const leader = this.copiesFrom();
    this.copyWantedSince ??= agent.now();
    if (leader === null || between(this.copyWantedSince, agent.now()) < this.turn()) return;
    const stillAllowed = (): boolean => this.copiesFrom()?.name === leader.name;
    try {
      const copies = await postgres.fetchSlots(leader, names, FETCH_LIMIT);
      // What is written now need not be written during the stop.
      await postgres.checkpoint();
      if (copies.length === 0 || agent.operations.running !== null || !stillAllowed()) return;
      const copied = copies.map(({ name }) => name);
      const sentence = `restart Postgres with copies of the logical slots ${copied.join(', ')}`;
      agent.operations.start('restart', sentence, async (signal) => {
        try {
          await postgres.installSlots(copies, stillAllowed, RESTART_LIMIT, signal);
        } catch (error) {
          for (const name of copied) this.noteFailure(name, error, FIRST_COPY_PAUSE, LONGEST_COPY_PAUSE);
          throw error;
        }
        for (const name of copied) this.troubles.delete(name);
        log.write('info', 'slot.copied', `the logical slots ${copied.join(', ')} were copied from ${leader.name}`, {
          from: leader.name,
        });
      });
    } catch (error) {
      for (const name of names) this.noteFailure(name, error, FIRST_PAUSE, LONGEST_PAUSE);
    }
  }

  /** The leader, while this standby can be restarted without harm. */
  private copiesFrom(): ReturnType<Agent['addressOf']> {
    const { agent } = this;
    const reading = agent.reader.latest;
    const { local } = agent.watch;
    const leader = reading?.cluster.leader ?? null;
    if (reading === null || leader === null || leader.name === agent.self || !this.mayLead) return null;
    if (agent.settings.tags['nostream'] === true || agent.policy.pause || reading.cluster.failover !== null)
      return null;
    if (between(reading.at, agent.now()) > 2 * agent.policy.loopWait) return null;
    if (local.kind !== 'standby' || local.receiver?.streaming !== true) return null;
    const isWell = (member: Member): boolean => member.state === 'running' || member.state === 'streaming';
    if (!reading.cluster.members.filter(needsSlot).every(isWell)) return null;
    return agent.addressOf(leader.name);
  }

  /** Standbys go in the order of their names. */
  private turn(): Millis {
    const { agent } = this;
    const cluster = agent.reader.latest?.cluster;
    const before = (cluster?.members ?? []).filter(
      ({ name }) => name < agent.self && name !== cluster?.leader?.name,
    ).length;
    return millis(before * TURN);
  }

  /** Whether the copies here have all the rows of the catalogue that they need: see core/slots.ts. */
  private async prove(server: ServerSlots): Promise<void> {
    const { agent } = this;
    const cluster = agent.reader.latest?.cluster;
    const leader = cluster?.leader ?? null;
    const wanted = new Set(this.logicalNames());
    const copies = new Map<string, Xid | null>(
      server.slots.filter(({ name }) => wanted.has(name)).map(({ name, catalogXmin }) => [name, catalogXmin]),
    );
    this.unproven = [...copies.keys()].filter((name) => this.proof?.fit.has(name) !== true);
    // Below another standby the feedback goes through that one: what the leader keeps for us cannot be told apart.
    if (leader === null || copies.size === 0 || agent.receivesFrom() !== leader.name) return;
    const term = leader.term;
    const before = this.proof?.term === term ? this.proof : null;
    const allFit = [...copies.keys()].every((name) => before?.fit.has(name) === true);
    if (allFit && between(this.provenAt, agent.now()) < PROVEN_AGAIN) return;
    const address = agent.addressOf(leader.name);
    if (address === null) return;
    const said = await agent.parts.postgres
      .slotsOfLeader(address, [...copies.keys()], slotName(agent.self), FETCH_LIMIT)
      .catch(() => null);
    // It does not answer: what was proven before holds, for it keeps what it was told to keep.
    if (said === null) return;
    this.provenAt = agent.now();
    this.proof = { term, ...fitness(copies, said, before?.floors ?? new Map()) };
    this.unproven = [...copies.keys()].filter((name) => this.proof?.fit.has(name) !== true);
  }

  private logicalNames(): readonly string[] {
    return this.agent.policy.slots.permanent.filter(({ kind }) => kind === 'logical').map(({ name }) => name);
  }

  private isDue(slot: string): boolean {
    const trouble = this.troubles.get(slot);
    return trouble === undefined || this.agent.now() >= trouble.again;
  }

  private noteFailure(slot: string, error: unknown, first: Millis, longest: Millis): void {
    const before = this.troubles.get(slot);
    const failures = (before?.failures ?? 0) + 1;
    const said =
      error instanceof PghaError ? error.text.happened : error instanceof Error ? error.message : String(error);
    const pause = millis(Math.min(longest, first * 2 ** (failures - 1)));
    this.troubles.set(slot, { said, failures, again: laterBy(this.agent.now(), pause) });
    if (before?.said === said) return;
    const todo = error instanceof PghaError ? ` ${error.text.todo}` : '';
    this.agent.parts.log.write('warn', 'slot.failed', `${said}${todo}`, { slot, error });
  }

  // ------------------------------------------------------------------ telling

  private tellPromotion(server: ServerSlots, version: number): void {
    const promoted = this.wasStandby && !server.inRecovery;
    this.wasStandby = server.inRecovery;
    if (!promoted) return;
    const here = new Set(server.slots.filter(({ synced }) => !synced).map(({ name }) => name));
    for (const name of version < NATIVE_SLOT_SYNC ? this.logicalNames() : []) {
      if (!here.has(name) || this.proof?.fit.has(name) === true) continue;
      const sentence =
        `the logical slot ${name} was not proven to be fit here before the promotion:` +
        ' decoding may lack rows of the catalogue. When its consumer reports an error, have it begin anew';
      this.agent.parts.log.write('warn', 'slot.unproven', sentence, { slot: name });
    }
    this.proof = null;
    this.unproven = [];
  }

  private tellBurdens(server: ServerSlots): void {
    const { log } = this.agent.parts;
    const before = new Map(this.weighed.map((slot) => [slot.name, slot.burden]));
    this.weighed = weigh(server, this.agent.policy.slotWalWarningBytes, this.weighed);
    for (const slot of this.weighed) {
      const was = before.get(slot.name) ?? 'fine';
      const facts = { slot: slot.name, bytes: Number(slot.retainedBytes), wal_status: slot.walStatus };
      if (isHeavier(slot.burden, was)) log.write('warn', 'slot.holds-wal', describeBurden(slot), facts);
      else if (was !== 'fine' && slot.burden === 'fine')
        log.write('info', 'slot.eased', `the slot ${slot.name} holds back little WAL again`, facts);
    }
  }

  private tellStrangers(strangers: ReadonlyMap<string, Instant>): void {
    const minutes = Math.round(this.agent.policy.memberSlotsTtl / 60_000);
    for (const slot of strangers.keys()) {
      if (this.strangers.has(slot)) continue;
      this.agent.parts.log.write(
        'warn',
        'slot.unknown',
        `the slot ${slot} belongs to no member, and nobody uses it: it is dropped in ${minutes} min, unless it stands in \`slots\` or \`ignore_slots\` by then`,
        { slot },
      );
    }
    this.strangers = strangers;
  }

  private tellProblems(problems: ReadonlyMap<string, string>): void {
    for (const [slot, said] of problems) {
      if (this.problems.get(slot) !== said)
        this.agent.parts.log.write('warn', 'slot.failed', `slot ${slot}: ${said}`, { slot });
    }
    this.problems = problems;
  }
}

const clashSentence = (slot: string, names: readonly string[]): string =>
  `${names.join(' and ')} would have to share the slot ${slot}: only one of them can stream through it, so rename one`;

/** Who is tagged nostream does not stream, and needs none. */
const needsSlot = (member: Member): boolean =>
  member.role !== 'witness' && member.pgha?.role !== 'witness' && member.tags['nostream'] !== true;

function namesOf(members: readonly Member[], except?: NodeName): Set<string> {
  return new Set(members.filter((one) => needsSlot(one) && one.name !== except).map(({ name }) => slotName(name)));
}

/**
 * Where standbys stand that receive from another standby. Their slots here, kept for the day on which they come back,
 * follow what they report: nothing older is needed of us, and a slot that nobody moves would hold WAL back for ever.
 */
function positionsElsewhere(cluster: ClusterView): ReadonlyMap<string, Lsn> {
  const positions = new Map<string, Lsn>();
  for (const member of cluster.members) {
    const { replicationState, receiveLsn, replayLsn } = member;
    if (toldToFollow(member) === null || replicationState !== 'streaming' || receiveLsn === null || replayLsn === null)
      continue;
    positions.set(slotName(member.name), receiveLsn < replayLsn ? receiveLsn : replayLsn);
  }
  return positions;
}
