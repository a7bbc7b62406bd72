/** The daemon's state file on one machine: outlives the daemon, is lost at a reboot. */
import type { StateFile, StoredLeadership } from '../../../src/ports/state-file.ts';
import type { Incarnation } from '../world/incarnation.ts';
import type { SeededRandom } from '../world/random.ts';

export interface StoredOnMachine {
  state: StoredLeadership | null;
}

export class SimulatedStateFile implements StateFile {
  private readonly stored: StoredOnMachine;
  private readonly process: Incarnation;
  private readonly random: SeededRandom;

  constructor(stored: StoredOnMachine, process: Incarnation, random: SeededRandom) {
    this.stored = stored;
    this.process = process;
    this.random = random;
  }

  read(): Promise<StoredLeadership | null> {
    return this.process.answer(this.random.between(0.1, 0.6), () => this.stored.state);
  }

  write(state: StoredLeadership): Promise<void> {
    return this.change(state);
  }

  forget(): Promise<void> {
    return this.change(null);
  }

  /** Atomic, and not done when the daemon is killed before. */
  private change(state: StoredLeadership | null): Promise<void> {
    return new Promise((resolve) => {
      this.process.later(this.random.between(0.1, 0.6), () => {
        this.stored.state = state;
        this.process.later(0.05, resolve);
      });
    });
  }
}
