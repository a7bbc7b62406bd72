/**
 * The adapter behind the Postgres port on a node without Postgres, a witness: it says truthfully that nothing is there,
 * asks the servers of others, and refuses everything that would do something to a server of its own, which no rule asks
 * a witness for.
 */
import { InvariantError } from '../core/invariant.ts';
import type { LocalPostgres } from '../core/local.ts';
import type { CheckType } from '../core/policy.ts';
import { NOTHING_LEARNED, type Vitals } from '../core/sickness.ts';
import type { Millis } from '../core/time.ts';
import type { Postgres, ServerAddress, ServerCheck } from '../ports/postgres.ts';
import type { ServerChecks } from './server-check.ts';

export class NoPostgres implements Postgres {
  readonly address: ServerAddress;
  /** Never a path: no state file and no guard of a node with Postgres can speak of it. */
  readonly dataDirectory = '';

  readonly #checks: Pick<ServerChecks, 'check'>;

  constructor(name: string, checks: Pick<ServerChecks, 'check'>) {
    this.address = { name, host: '', port: 0 };
    this.#checks = checks;
  }

  async look(): Promise<LocalPostgres> {
    return { kind: 'absent' };
  }

  checkServer(of: ServerAddress, type: CheckType, limit: Millis): Promise<ServerCheck> {
    return this.#checks.check(of, type, limit);
  }

  onDeath(): void {
    // There is none that could die.
  }

  onDoubt(): void {
    // Nor one that could be in trouble.
  }

  vitals(): Vitals {
    return NOTHING_LEARNED;
  }

  examine(): void {
    // Nothing here could be sick.
  }

  /** Nothing of a server is here: stopped it is. */
  async stop(): Promise<void> {}

  /** Whoever has a Postgres can tell. */
  async objections(): Promise<readonly string[]> {
    return [];
  }

  readonly bootstrap = nothingHere;
  readonly setAside = nothingHere;
  readonly copy = nothingHere;
  readonly rewind = nothingHere;
  readonly keepDiscarded = nothingHere;
  readonly wipe = nothingHere;
  readonly startPrimary = nothingHere;
  readonly startStandby = nothingHere;
  readonly stopForSwitchover = nothingHere;
  readonly prepareSwitchover = nothingHere;
  readonly afterSwitchover = nothingHere;
  readonly promote = nothingHere;
  readonly follow = nothingHere;
  readonly withdraw = nothingHere;
  readonly checkpoint = nothingHere;
  readonly restart = nothingHere;
  readonly outgrown = nothingHere;
  readonly applySettings = nothingHere;
  readonly sharedParameters = nothingHere;
  readonly setAcknowledging = nothingHere;
  readonly readSlots = nothingHere;
  readonly changeSlot = nothingHere;
  readonly slotsOfLeader = nothingHere;
  readonly fetchSlots = nothingHere;
  readonly installSlots = nothingHere;
  readonly endOfWal = nothingHere;
  readonly lookAtUndone = nothingHere;
  readonly readWal = nothingHere;
  readonly deliverWal = nothingHere;
  readonly lineage = nothingHere;
  readonly ownHistory = nothingHere;
}

async function nothingHere(): Promise<never> {
  throw new InvariantError('a witness was asked to do something with a Postgres that it does not have');
}
