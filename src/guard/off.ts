/**
 * The guard that is none, for hosts where an operator switched it off: it acknowledges everything and ends nothing. What
 * that costs has been told when the configuration was read.
 */
import type { Arming, Guard, GuardAnswer } from '../ports/guard.ts';

export class GuardOff implements Guard {
  readonly mode = 'off';
  readonly watchdog = { kind: 'off' } as const;
  private arming: Arming | null = null;

  async arm(arming: Arming): Promise<GuardAnswer> {
    this.arming = arming;
    return { kind: 'acked' };
  }

  async disarm(): Promise<GuardAnswer> {
    this.arming = null;
    return { kind: 'acked' };
  }

  async armed(): Promise<Arming | null> {
    return this.arming;
  }

  onReplaced(): void {
    // There is none that could be replaced.
  }
}
