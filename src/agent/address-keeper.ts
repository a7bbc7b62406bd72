/**
 * Keeps the virtual address where writes are taken. It runs on a timer of its own beside the cycle, which never waits for
 * it but for one bounded moment before the key is given up. What is to be done is decided in core/virtual-address.ts.
 */
import { between, type Instant, laterBy, type Millis, millis } from '../core/time.ts';
import { type AddressStep, type AddressView, nextForAddress } from '../core/virtual-address.ts';
import type { CancelTimer, Clock } from '../ports/clock.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { VirtualAddress } from '../ports/virtual-address.ts';

/** The kernel answers within a millisecond; one that hangs is tried again. */
const LIMIT = millis(500);
/** How often it is prolonged and read back where it is held. */
const EVERY = millis(1_000);
/** How often it is looked for where it is not to be. */
const STRAY_EVERY = millis(10_000);
/** Whoever is to be let go before the key is waited for no longer. */
const LET_GO_WITHIN = millis(1_000);
const LET_GO_LOOK = millis(2);
/** What was refused once may work the next time, and a key waits for it. */
const LET_GO_AGAIN = millis(100);
const ANNOUNCE_LIMIT = millis(5_000);
/** When it is asked first who else answers under it: an old holder has had its time by then. */
const OTHERS_AFTER = millis(3_000);
const OTHERS_EVERY = millis(30_000);
const OTHERS_LIMIT = millis(3_000);

/** For people. */
export interface AddressShown {
  readonly name: string;
  readonly held: boolean;
  /** Why it is not as it should be; null: it is. */
  readonly trouble: string | null;
}

export interface AddressKeeperParts {
  readonly clock: Clock;
  readonly log: EventLog;
  /** null: none is configured, and nothing is done. */
  readonly address: VirtualAddress | null;
  /** What is true now, but for what is known here. */
  readonly view: () => Omit<AddressView, 'now' | 'givenUp' | 'held'>;
  /** It was put here, or removed. */
  readonly onChange: () => void;
}

export class AddressKeeper {
  private readonly parts: AddressKeeperParts;
  private readonly address: VirtualAddress | null;
  /** As read back last. */
  private held = false;
  /** It was to be put there, and was not seen to be gone since. */
  private mayBeThere = false;
  /** The interface was seen since this process began: an earlier one may have left it there. */
  private looked = false;
  private givenUp = false;
  private actedAt: Instant | null = null;
  private acting = false;
  private again = false;
  private trouble: string | null = null;
  /** What that came of: the other thing is tried at once. */
  private troubleWith: AddressStep['do'] = 'nothing';
  private unannounced: string | null = null;
  private others = '';
  private askOthersAt: Instant | null = null;
  private cancel: CancelTimer | null = null;
  private started = false;

  constructor(parts: AddressKeeperParts) {
    this.parts = parts;
    this.address = parts.address;
  }

  get shown(): AddressShown | null {
    const { address, held, trouble } = this;
    return address === null ? null : { name: address.name, held, trouble };
  }

  /** From now on it is looked after; who led before is known by now. */
  start(): void {
    this.started = true;
    this.soon();
  }

  stop(): void {
    this.started = false;
    this.cancel?.();
  }

  /** Something may have changed. Returns at once. */
  soon(): void {
    if (this.address === null || !this.started) return;
    if (this.acting) this.again = true;
    else this.schedule(0);
  }

  /** Postgres here is being stopped on purpose: the address goes with it. */
  giveUp(): void {
    this.givenUp = true;
    this.soon();
  }

  /** Before the key is given up. A kernel that does not answer is not waited for: its own end of it is near. */
  async letGo(): Promise<void> {
    const { clock } = this.parts;
    this.giveUp();
    const until = laterBy(clock.now(), LET_GO_WITHIN);
    while (this.holds && clock.now() < until) await clock.sleep(LET_GO_LOOK);
  }

  /** Whether it has to be let go before the key is. */
  get holds(): boolean {
    return this.address !== null && (this.mayBeThere || !this.looked);
  }

  private schedule(afterMs: number): void {
    this.cancel?.();
    this.cancel = this.parts.clock.timer(millis(afterMs), () => {
      this.cancel = null;
      this.turn();
    });
  }

  private turn(): void {
    const { address } = this;
    if (address === null || !this.started || this.acting) return;
    const step = this.next();
    const wait = this.waitFor(step);
    if (wait > 0) {
      this.schedule(wait);
      return;
    }
    this.acting = true;
    this.again = false;
    this.carryOut(address, step)
      .catch((error: unknown) => {
        this.parts.log.write('error', 'action.failed', 'the virtual address could not be looked after', {
          error,
        });
      })
      .finally(() => {
        this.acting = false;
        this.actedAt = this.now();
        if (this.started) this.schedule(this.again ? 0 : this.waitFor(this.next()));
      });
  }

  private next(): AddressStep {
    const view = this.parts.view();
    // It goes on here after all.
    if (view.writable) this.givenUp = false;
    return nextForAddress({ ...view, now: this.now(), givenUp: this.givenUp, held: this.held });
  }

  private now(): Instant {
    return this.parts.clock.now();
  }

  /** Milliseconds until that is due; 0: now. */
  private waitFor(step: AddressStep): number {
    if (this.actedAt === null) return 0;
    const since = between(this.actedAt, this.now());
    switch (step.do) {
      case 'hold':
        return this.held || this.failedLately(step) ? Math.max(0, EVERY - since) : 0;
      case 'let-go':
        if (this.holds) return this.failedLately(step) ? Math.max(0, LET_GO_AGAIN - since) : 0;
        return Math.max(0, (this.failedLately(step) ? EVERY : STRAY_EVERY) - since);
      case 'nothing':
        return EVERY;
      default:
        return ((never: never) => never)(step);
    }
  }

  private failedLately(step: AddressStep): boolean {
    return this.trouble !== null && this.troubleWith === step.do;
  }

  private async carryOut(address: VirtualAddress, step: AddressStep): Promise<void> {
    switch (step.do) {
      case 'hold':
        await this.hold(address, step.lifetime);
        return;
      case 'let-go':
        await this.remove(address, step.why);
        return;
      case 'nothing':
        return;
      default:
        ((never: never) => never)(step);
    }
  }

  private async hold(address: VirtualAddress, lifetime: Millis): Promise<void> {
    const { log } = this.parts;
    const { name } = address;
    this.mayBeThere = true;
    const outcome = await address.hold(lifetime, LIMIT);
    if (outcome.kind === 'failed') {
      this.failed('hold', `${name} could not be put here`, outcome.said);
      return;
    }
    const isNew = !this.held;
    this.looked = true;
    this.held = true;
    this.trouble = null;
    if (isNew) {
      log.write('info', 'vip.taken', `this node has the virtual address ${name}`);
      this.parts.onChange();
    } else if (!outcome.wasThere)
      log.write(
        'warn',
        'vip.restored',
        `the virtual address ${name} was gone and is put back: somebody had removed it, or this daemon was late`,
      );
    if (isNew || !outcome.wasThere) this.announce(address);
    this.askOthers(address, isNew);
  }

  private async remove(address: VirtualAddress, why: string): Promise<void> {
    const { log } = this.parts;
    const { name } = address;
    const { held } = this;
    const found = this.mayBeThere ? ({ kind: 'here' } as const) : await address.look(LIMIT);
    const outcome = found.kind === 'here' ? await address.letGo(LIMIT) : found;
    if (outcome.kind === 'failed') {
      this.failed('let-go', `${name} could not be ${found.kind === 'here' ? 'removed' : 'looked for'}`, outcome.said);
      return;
    }
    this.looked = true;
    const wasStray = found.kind === 'here' && !this.mayBeThere;
    this.mayBeThere = false;
    this.held = false;
    this.trouble = null;
    this.askOthersAt = null;
    if (wasStray) log.write('warn', 'vip.stray', `the virtual address ${name} was found here and removed: ${why}`);
    if (!held) return;
    log.write('info', 'vip.released', `this node has given up the virtual address ${name}: ${why}`);
    this.parts.onChange();
  }

  /** Told once, until it is well again. */
  private failed(step: AddressStep['do'], what: string, said: string): void {
    this.troubleWith = step;
    const sentence = `the virtual address ${what}: ${said}`;
    if (this.trouble === null) this.parts.log.write('error', 'vip.failed', sentence);
    this.trouble = sentence;
  }

  private announce(address: VirtualAddress): void {
    address.announce(ANNOUNCE_LIMIT).then(
      (why) => {
        if (why !== null && why !== this.unannounced) {
          const sentence = `the network was not told that ${address.name} is here now: ${why}; others find out by themselves, later`;
          this.parts.log.write('warn', 'vip.unannounced', sentence);
        }
        this.unannounced = why;
      },
      () => undefined,
    );
  }

  /** Two who answer under one address: told, and the network is reminded of who leads. */
  private askOthers(address: VirtualAddress, isNew: boolean): void {
    const now = this.now();
    if (isNew) this.askOthersAt = laterBy(now, OTHERS_AFTER);
    if (this.askOthersAt === null || now < this.askOthersAt) return;
    this.askOthersAt = laterBy(now, OTHERS_EVERY);
    address.others(OTHERS_LIMIT).then(
      (found) => {
        const others = found.join(', ');
        if (others !== '' && this.held) {
          if (others !== this.others) {
            const sentence = `another machine answers under ${address.name} as well: ${others}`;
            this.parts.log.write('error', 'vip.duplicate', sentence, { others });
          }
          this.announce(address);
        }
        this.others = others;
      },
      () => undefined,
    );
  }
}
