/**
 * The poolers in front: clients are held back before a planned stop and let go on the new primary. Every step runs
 * beside the cycle, which never waits for one of them. What is decided stands in core/poolers.ts; here are the order of
 * the steps and their limits: first it is written down in etcd, then the first PAUSE is sent, and the writing goes only
 * once every pooler has confirmed that it goes on.
 */
import { KEYS } from '../core/cluster.ts';
import {
  type HeldPooler,
  isServerOf,
  type PauseFor,
  type PausePurpose,
  type PoolerDatabase,
  type PoolerPause,
  type PoolerStep,
  type PoolersView,
  whereItLeads,
  whyResume,
  writePoolerPause,
} from '../core/poolers.ts';
import type { RuleId } from '../core/rules.ts';
import { ABSENT, type Revision } from '../core/store.ts';
import { between, type Instant, laterBy, type Millis, millis } from '../core/time.ts';
import type { View } from '../core/view.ts';
import type { PoolerConsole } from '../ports/poolers.ts';
import type { Agent } from './agent.ts';
import { whatHappened } from './operation.ts';

/** A console that stands still costs no more than this, before anybody is held back. */
const OPEN_LIMIT = millis(1_000);
const ASK_LIMIT = millis(500);
const STORE_LIMIT = millis(1_500);
/** Of leading to the new primary: a balancer or a name follows it in its own time. */
const LOOK_EVERY = millis(20);
/** A pooler that does not take RESUME is asked again, with growing pauses. */
const AGAIN = millis(250);
const AGAIN_AT_MOST = millis(5_000);

interface Reached {
  readonly address: string;
  readonly console: PoolerConsole;
  readonly led: readonly string[];
}

const serverText = ({ host, port }: { readonly host: string; readonly port: number }): string => `${host}:${port}`;

export class PoolerKeeper {
  private readonly agent: Agent;
  private step: PoolerStep = { kind: 'none' };
  /** The pause that stands in etcd, by who paused and when, and since when it is known here. */
  private known: { readonly id: string; readonly since: Instant } | null = null;
  private pausing: { readonly abort: AbortController; readonly done: Promise<void> } | null = null;
  /** That clients are held back is written for as long as PAUSE may have come later than the end of it. */
  private keeping: Promise<void> = Promise.resolve();
  private resuming = false;
  /** Why clients are let go, as the newest cycle sees it; a resumption that runs goes by it. */
  private why: 'leads' | 'overdue' | null = null;
  private pointing = false;
  private pointed: string | null = null;
  private pointFailed: string | null = null;
  private unconfiguredTold = false;

  constructor(agent: Agent) {
    this.agent = agent;
  }

  get view(): PoolersView {
    return { since: this.known?.since ?? null, step: this.step };
  }

  private get policy() {
    return this.agent.resolved.policy.node.poolers;
  }

  private get pause(): PoolerPause | null {
    return this.agent.reader.latest?.cluster.poolers ?? null;
  }

  /** Before each decision: what has been read is noted. */
  note(): void {
    const { pause } = this;
    if (pause?.state !== 'paused') {
      this.known = null;
      return;
    }
    const id = `${pause.by} ${pause.at}`;
    if (this.known?.id !== id) this.known = { id, since: this.agent.now() };
    if (this.policy === undefined && !this.unconfiguredTold) {
      this.unconfiguredTold = true;
      const sentence = `${pause.by} holds clients back in poolers, and no section pgbouncer stands in this node's file: it could not let them go`;
      this.agent.parts.log.write('warn', 'pooler.unknown', sentence);
    }
  }

  /** After each decision and its actions; starts what is due and waits for nothing. */
  run(view: View, rule: RuleId): void {
    this.forgetStep(view, rule);
    this.point();
    this.why = whyResume({ ...view, poolers: this.view }, rule);
    if (this.why === null || this.resuming) return;
    this.resuming = true;
    this.resume()
      .catch((error: unknown) => this.failed('let clients go on in the poolers', error))
      .finally(() => {
        this.resuming = false;
      });
  }

  /** The wish is gone, or has come true: what was begun for it counts no more. */
  private forgetStep(view: View, rule: RuleId): void {
    const { step } = this;
    if (step.kind === 'none' || step.kind === 'restarting') return;
    const wished = view.dcs.kind === 'read' ? (view.dcs.cluster.failover?.revision ?? null) : null;
    const wanted = step.wish === 'leaving' ? view.leaving : wished === step.wish;
    if (view.local.kind === 'primary' && wanted && rule !== 'switchover.refused') return;
    this.pausing?.abort.abort(new Error('the switchover is not done'));
    this.step = { kind: 'none' };
  }

  prepared(wish: PauseFor): void {
    this.step = { kind: 'prepared', wish, at: this.agent.now() };
  }

  /** The first step of a hand-over that clients notice. Its end wakes the cycle. */
  pauseForHandover(wish: PauseFor): void {
    const { agent } = this;
    if (this.pausing !== null) return;
    this.step = { kind: 'pausing', wish, since: agent.now() };
    void this.begin(wish === 'leaving' ? 'stop' : 'switchover').then(() => {
      if (this.step.kind === 'pausing' && this.step.wish === wish)
        this.step = { kind: 'settled', wish, at: agent.now() };
      agent.soon('the poolers are paused');
    });
  }

  /**
   * Waits, bounded, until no transaction is under way through the poolers. {@link restarted} has to follow.
   *
   * @param signal - ends the waiting, not the pause
   */
  async pauseForRestart(signal: AbortSignal): Promise<void> {
    if (this.policy === undefined || this.pausing !== null) return;
    this.step = { kind: 'restarting' };
    signal.addEventListener('abort', () => this.letGo('the restart is cancelled'), { once: true });
    await this.begin('restart');
  }

  restarted(): void {
    if (this.step.kind !== 'restarting') return;
    this.step = { kind: 'none' };
    this.agent.soon('the restart is over');
  }

  /** Postgres is gone or about to be: nobody waits for transactions any more. */
  letGo(why: string): void {
    this.pausing?.abort.abort(new Error(why));
  }

  private async begin(purpose: PausePurpose): Promise<void> {
    const abort = new AbortController();
    const done = this.hold(purpose, abort.signal).catch((error: unknown) =>
      this.failed('hold clients back in the poolers', error),
    );
    this.pausing = { abort, done };
    await done;
    this.pausing = null;
  }

  /** Never leaves a pooler paused of which nothing stands in etcd. */
  private async hold(purpose: PausePurpose, signal: AbortSignal): Promise<void> {
    const { agent, policy } = this;
    const { clock, log, poolers } = agent.parts;
    if (policy === undefined) return;
    const skipped = new Map<string, string>();
    const late = new Map<string, string>();
    const began = clock.now();
    const reached = await Promise.all(policy.addresses.map((address) => this.reach(address, skipped)));
    const fronts = reached.filter((one) => one !== null);
    try {
      // Of a daemon that died here, or of a pooler that has not confirmed yet: they are let go with the others.
      const before = this.pause?.state === 'paused' ? this.pause.held : new Map<string, HeldPooler>();
      const held = new Map(before);
      for (const { address, led } of fronts) held.set(address, { paused: poolers.pausedByName, led });
      const at = new Date(clock.wall()).toISOString();
      const pause = {
        state: 'paused' as const,
        purpose,
        by: agent.self,
        at,
        held,
        skipped,
        late,
        resumedBy: null,
        pauseMs: null,
      };
      if (held.size === 0 || signal.aborted) {
        this.tellSkipped(purpose, skipped);
        if (skipped.size > 0 && held.size === 0)
          await this.write({ ...pause, state: 'resumed', resumedBy: agent.self, pauseMs: 0 }, null);
        return;
      }
      const written = await this.write(pause, null);
      if (written === null) {
        log.write('warn', 'pooler.skipped', 'etcd did not take down that clients are held back: the poolers go on', {
          for: purpose,
        });
        return;
      }
      if (signal.aborted) return;
      const asked = clock.now();
      const outcomes = await Promise.all(
        fronts.map(async ({ address, console }) => ({
          address,
          outcome: await console.pause(poolers.pausedByName, policy.pauseTimeout, signal),
        })),
      );
      const took = Math.round(between(asked, clock.now()));
      for (const { address, outcome } of outcomes) {
        if (outcome.kind === 'was-paused' && !before.has(address)) {
          // Whoever has paused it wants it to be paused.
          held.delete(address);
          skipped.set(address, 'it was paused already, by somebody else');
        } else if (outcome.kind === 'waiting') {
          late.set(address, `transactions were still under way after ${took} ms`);
        } else if (outcome.kind === 'refused') {
          held.delete(address);
          skipped.set(address, outcome.said);
        } else if (outcome.kind === 'unclear') {
          late.set(address, outcome.said);
        }
      }
      this.tellSkipped(purpose, skipped);
      this.keeping = this.keepWritten(pause, written).catch((error: unknown) =>
        this.failed('write once more that clients are held back', error),
      );
      // Nobody waits for it to be written again that all went well.
      const asWritten = late.size === 0 && outcomes.every(({ outcome }) => outcome.kind === 'paused');
      if (!asWritten) await this.kept();
      const names = [...held.keys()].join(', ');
      const sentence =
        held.size === 0
          ? 'no pooler holds clients back'
          : `clients are held back in ${names}${late.size === 0 ? '' : `; in ${[...late.keys()].join(', ')} transactions are still under way, and end with the stop`}`;
      log.write(late.size === 0 ? 'info' : 'warn', 'pooler.paused', sentence, {
        for: purpose,
        reached_in_ms: Math.round(between(began, asked)),
        took_ms: took,
        poolers: held.size,
      });
    } finally {
      for (const { console } of fronts) console.close();
    }
  }

  /**
   * A machine that stood still after it had written that clients are held back sends PAUSE when it wakes, and by then the
   * pause was ended by somebody else: it is written once more, so that whoever leads lets them go again.
   *
   * @param written - the version of ours
   */
  private async keepWritten(pause: Omit<PoolerPause, 'revision'>, written: Revision): Promise<void> {
    const { agent } = this;
    const { clock } = agent.parts;
    // By then everybody who has read of it has ended it.
    const until = laterBy(clock.now(), this.policy?.maxPause ?? STORE_LIMIT);
    let ours = pause;
    let over = written;
    let next = millis(0);
    while ((await this.write(ours, over)) === null) {
      const cluster = await agent.readCluster();
      if (cluster !== null) {
        const { poolers: now } = cluster;
        // Only the answer was lost.
        if (now !== null && writePoolerPause(now) === writePoolerPause(ours)) return;
        over = now?.revision ?? ABSENT;
        // Whom somebody else holds back by now is let go with ours; whom we had meant to, and do not, stays out.
        const isOurs = now?.by === agent.self && now.at === pause.at;
        ours = now?.state === 'paused' && !isOurs ? { ...pause, held: new Map([...now.held, ...pause.held]) } : pause;
      }
      if (clock.now() >= until) throw new Error('etcd did not take it down');
      await clock.sleep(next);
      next = millis(Math.min(Math.max(2 * next, AGAIN), AGAIN_AT_MOST));
    }
  }

  /** Waits, bounded, until it is written. Whoever goes on without costs no more than a second RESUME. */
  private async kept(): Promise<void> {
    await Promise.race([this.keeping, this.agent.parts.clock.sleep(STORE_LIMIT)]);
  }

  /** This process ends: nobody else knows whom it holds back before that is written. */
  async settled(limit: Millis): Promise<void> {
    const settled = Promise.resolve(this.pausing?.done).then(() => this.keeping);
    await Promise.race([settled, this.agent.parts.clock.sleep(limit)]);
  }

  private tellSkipped(purpose: PausePurpose, skipped: ReadonlyMap<string, string>): void {
    for (const [address, why] of skipped) {
      const sentence = `the pooler at ${address} is passed over: ${why}`;
      this.agent.parts.log.write('warn', 'pooler.skipped', sentence, { for: purpose, pooler: address });
    }
  }

  /** @returns null: it does not answer, or stands in front of something else */
  private async reach(address: string, skipped: Map<string, string>): Promise<Reached | null> {
    const { poolers, log } = this.agent.parts;
    const answer = await poolers.open(address, OPEN_LIMIT);
    if (answer.kind === 'silent') {
      skipped.set(address, answer.said);
      return null;
    }
    try {
      const databases = this.named(await answer.console.databases(ASK_LIMIT));
      const leads = await Promise.all(databases.map((one) => this.leads(address, one)));
      const named = (where: 'here' | 'unknown') =>
        databases.filter((_, at) => leads[at] === where).map(({ name }) => name);
      // A balancer that lets nobody through just now stands in front of the primary all the same; beside one that does,
      // what cannot be reached is somebody else's, and is not waited for afterwards.
      const led = leads.includes('here') ? named('here') : named('unknown');
      // Without any it makes them on demand, and the next one may lead here.
      if (databases.length > 0 && led.length === 0) {
        const where = databases.map((one) => `${one.name} to ${serverText(whereItLeads(address, one))}`).join(', ');
        const sentence = `the pooler at ${address} does not lead to the primary (${where}): it is left alone`;
        log.write('info', 'pooler.skipped', sentence, { pooler: address });
        answer.console.close();
        return null;
      }
      return { address, console: answer.console, led };
    } catch (error) {
      skipped.set(address, whatHappened(error));
      answer.console.close();
      return null;
    }
  }

  private named(databases: readonly PoolerDatabase[]): readonly PoolerDatabase[] {
    const names = this.agent.parts.poolers.pausedByName;
    return names.length === 0 ? databases : databases.filter(({ name }) => names.includes(name));
  }

  /** Whether this database leads to the Postgres of this node, which leads the cluster. */
  private async leads(pooler: string, database: PoolerDatabase): Promise<'here' | 'elsewhere' | 'unknown'> {
    const { agent } = this;
    const server = whereItLeads(pooler, database);
    const cluster = agent.reader.latest?.cluster;
    const known = cluster === undefined ? null : isServerOf(cluster, agent.self, server);
    if (known !== null) return known ? 'here' : 'elsewhere';
    const named = { name: serverText(server), ...server };
    const check = await agent.parts.postgres.checkServer(named, 'query', ASK_LIMIT);
    if (check.kind !== 'alive') return 'unknown';
    // While we may write, whoever is out of recovery is this node; one that does not let us in may be.
    return check.inRecovery === true ? 'elsewhere' : 'here';
  }

  /**
   * @param over - the version that it replaces; null: any, for the first one of a pause
   * @returns its version; null: it was not written, or nobody says whether it was
   */
  private async write(pause: Omit<PoolerPause, 'revision'>, over: Revision | null): Promise<Revision | null> {
    const { agent } = this;
    const { leadership } = agent.keeper;
    // Clients are held back by the leader alone, and let go by whoever has read that they are held back.
    if (pause.state === 'paused' && over === null && leadership.kind !== 'holding') return null;
    const answer = await agent.parts.dcs.txn(
      {
        compare: [
          ...(leadership.kind === 'holding' && over === null
            ? [{ key: KEYS.leader, modRevision: leadership.term }]
            : []),
          ...(over === null ? [] : [{ key: KEYS.poolers, modRevision: over }]),
        ],
        success: [{ op: 'put', key: KEYS.poolers, value: writePoolerPause(pause), lease: null }],
        failure: [],
      },
      STORE_LIMIT,
    );
    await agent.readCluster();
    return answer.kind === 'answered' && answer.succeeded ? answer.header.revision : null;
  }

  // ------------------------------------------------------------------ letting go

  private async resume(): Promise<void> {
    const { agent } = this;
    const { clock, log } = agent.parts;
    // A PAUSE that is still to be sent must not come after the RESUME.
    this.letGo('clients are let go');
    await this.pausing?.done;
    await this.kept();
    const pause = this.pause;
    const since = this.known?.since;
    if (pause?.state !== 'paused' || since === undefined) return;
    const late = new Map(pause.late);
    const left = new Map(pause.held);
    const done = await Promise.all(
      [...pause.held].map(async ([address, held]) => {
        const gone = await this.resumeOne(address, held, since, late);
        if (gone) left.delete(address);
        return gone;
      }),
    );
    if (!done.every((one) => one)) return;
    const pauseMs = Math.round(between(since, clock.now()));
    const ended = { ...pause, state: 'resumed' as const, late, resumedBy: agent.self, pauseMs };
    if ((await this.write(ended, pause.revision)) === null) return;
    const trouble = late.size === 0 ? '' : ` (${[...late].map(([address, why]) => `${address}: ${why}`).join('; ')})`;
    const sentence = `clients go on in ${[...pause.held.keys()].join(', ')} after ${pauseMs} ms${trouble}`;
    log.write(late.size === 0 ? 'info' : 'warn', 'pooler.resumed', sentence, {
      for: pause.purpose,
      paused_by: pause.by,
      paused_ms: pauseMs,
    });
  }

  /** @returns false: this node has nothing to say any more */
  private async resumeOne(
    address: string,
    held: HeldPooler,
    since: Instant,
    late: Map<string, string>,
  ): Promise<boolean> {
    const { agent } = this;
    const { clock, log, poolers } = agent.parts;
    let pauseNext: Millis = AGAIN;
    let told = false;
    for (;;) {
      if (this.why === null || this.policy === undefined) return false;
      const answer = await poolers.open(address, OPEN_LIMIT);
      let said: string;
      if (answer.kind === 'open') {
        try {
          const there = await this.untilItLeadsHere(address, held, since, answer.console);
          if (this.why === null) return false;
          await answer.console.resume(held.paused, OPEN_LIMIT);
          if (!there) late.set(address, 'it did not lead to a primary in time, and goes on all the same');
          return true;
        } catch (error) {
          said = whatHappened(error);
        } finally {
          answer.console.close();
        }
      } else said = answer.said;
      if (!this.policy.addresses.includes(address)) {
        late.set(address, `it does not answer and is not configured any more: ${said}`);
        return true;
      }
      if (!told) {
        const sentence = `the pooler at ${address} does not let clients go on: ${said}; it is asked until it does`;
        log.write('warn', 'pooler.stuck', sentence, { pooler: address });
      }
      told = true;
      late.set(address, `it did not answer at once: ${said}`);
      await clock.sleep(pauseNext);
      pauseNext = millis(Math.min(2 * pauseNext, AGAIN_AT_MOST));
    }
  }

  /** Balancers, floating addresses and the pooler's own file follow the leader in their own time. @returns false: not in time */
  private async untilItLeadsHere(
    address: string,
    held: HeldPooler,
    since: Instant,
    console: PoolerConsole,
  ): Promise<boolean> {
    const { clock } = this.agent.parts;
    for (;;) {
      if (this.why !== 'leads') return this.why === null;
      const databases = (await console.databases(ASK_LIMIT)).filter(({ name }) => held.led.includes(name));
      const leads = await Promise.all(databases.map((one) => this.leads(address, one)));
      if (leads.every((one) => one === 'here')) return true;
      const { policy } = this;
      if (policy === undefined || clock.now() >= laterBy(since, policy.maxPause)) return false;
      await clock.sleep(LOOK_EVERY);
    }
  }

  // ------------------------------------------------------------------ the file of the pooler on this machine

  private point(): void {
    const { agent } = this;
    const leader = agent.reader.latest?.cluster.leader?.name ?? null;
    const server = leader === null || this.policy === undefined ? null : agent.addressOf(leader);
    if (server === null || this.pointing) return;
    const name = serverText(server);
    if (this.pointed === name) return;
    this.pointing = true;
    agent.parts.poolers
      .leadTo(server, OPEN_LIMIT)
      .then(
        () => {
          this.pointed = name;
          this.pointFailed = null;
        },
        (error: unknown) => {
          const said = whatHappened(error);
          if (this.pointFailed !== said) this.failed(`lead the pooler on this machine to ${name}`, error);
          this.pointFailed = said;
        },
      )
      .finally(() => {
        this.pointing = false;
      });
  }

  private failed(what: string, error: unknown): void {
    this.agent.parts.log.write('warn', 'action.failed', `could not ${what}`, { error });
  }
}
