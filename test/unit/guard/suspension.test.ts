import { describe, expect, it } from 'vitest';
import { type ClockLead, SuspensionWatch } from '../../../src/guard/suspension.ts';

function aWatch(): { watch: SuspensionWatch; move: (change: Partial<ClockLead>) => void } {
  let lead: ClockLead = { boot: 1_000, wall: 1_700_000_000_000 };
  return {
    watch: new SuspensionWatch(() => lead),
    move: ({ boot = 0, wall = 0 }) => {
      lead = { boot: lead.boot + boot, wall: lead.wall + wall };
    },
  };
}

describe('a suspension of the machine', () => {
  it('is suspected when the boot clock ran ahead', () => {
    const { watch, move } = aWatch();
    move({ boot: 2_000, wall: 2_000 });
    expect(watch.suspicion()).toContain('boot clock');
  });

  it('is suspected when only the wall clock ran ahead: a paused virtual machine looks like that', () => {
    const { watch, move } = aWatch();
    move({ wall: 700 });
    expect(watch.suspicion()).toContain('wall clock');
  });

  it('is not suspected for the small differences of reading two clocks', () => {
    const { watch, move } = aWatch();
    for (const boot of [10, -10, 300, -300]) {
      move({ boot, wall: boot });
      expect(watch.suspicion()).toBeNull();
    }
  });

  it('is suspected also after the wall clock was set back', () => {
    const { watch, move } = aWatch();
    move({ wall: -60_000 });
    expect(watch.suspicion()).toBeNull();
    move({ wall: 2_000 });
    expect(watch.suspicion()).not.toBeNull();
  });

  it('is suspected by how the clocks stood when somebody else looked, also right after a restart', () => {
    const { watch, move } = aWatch();
    const then = { boot: 1_000, wall: 1_700_000_000_000 };
    move({ wall: 3_000 });
    watch.restart();
    expect(watch.since(then)).toContain('wall clock');
    expect(watch.suspicion()).toBeNull();
    expect(watch.since({ ...then, wall: then.wall + 2_990 })).toBeNull();
  });

  it('is forgotten with the next arm', () => {
    const { watch, move } = aWatch();
    move({ boot: 2_000 });
    watch.restart();
    expect(watch.suspicion()).toBeNull();
  });
});
