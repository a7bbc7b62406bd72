/**
 * Notices that the machine may have stood still (protocol.md 24): then the clock that counts suspension, or the wall
 * clock, has run ahead of the monotonic one. It cannot tell a stepped wall clock from a suspension and need not: the
 * answer to both is to prove leadership at once.
 */
import { uptime } from 'node:os';
import { monotonicMs } from './family.ts';

/** Both relative to the monotonic clock, in milliseconds. */
export interface ClockLead {
  readonly boot: number;
  readonly wall: number;
}

export function readClockLead(): ClockLead {
  const now = monotonicMs();
  return { boot: uptime() * 1000 - now, wall: Date.now() - now };
}

/** What a lead may grow between two arms by chance: reading the clocks one after the other, uptime's 10 ms steps. */
const TOLERATED_MS = 500;

export class SuspensionWatch {
  private lead: ClockLead;
  private readonly read: () => ClockLead;

  constructor(read: () => ClockLead = readClockLead) {
    this.read = read;
    this.lead = read();
  }

  /** From now on leads are compared with those of this instant, which are returned. */
  restart(): ClockLead {
    this.lead = this.read();
    return this.lead;
  }

  reading(): ClockLead {
    return this.read();
  }

  /** Why the machine may have been suspended since `restart`; null when nothing says so. */
  suspicion(): string | null {
    const because = this.since(this.lead);
    const lead = this.read();
    // A clock that was set back must not hide a suspension that follows.
    this.lead = { boot: Math.min(lead.boot, this.lead.boot), wall: Math.min(lead.wall, this.lead.wall) };
    return because;
  }

  /** The same since the clocks stood as `then`, which somebody else has read. */
  since(then: ClockLead): string | null {
    const lead = this.read();
    const boot = lead.boot - then.boot;
    const wall = lead.wall - then.wall;
    if (boot > TOLERATED_MS) return `the boot clock ran ${Math.round(boot)} ms ahead of the monotonic clock`;
    if (wall > TOLERATED_MS) return `the wall clock ran ${Math.round(wall)} ms ahead of the monotonic clock`;
    return null;
  }
}
