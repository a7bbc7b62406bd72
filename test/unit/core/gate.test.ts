/** Protocol 10 to 12: not before the gate may a candidate promote, and the gate is counted on its own clock. */
import { describe, expect, it } from 'vitest';
import type { Beat } from '../../../src/core/cluster.ts';
import {
  type Arrival,
  type Gate,
  gateOpen,
  inheritedGate,
  isYoung,
  noShorterThanLost,
  noteStatus,
  vouchedFor,
} from '../../../src/core/gate.ts';
import { lsn } from '../../../src/core/lsn.ts';
import type { PeerAnswer } from '../../../src/core/peer.ts';
import { leaseId, nodeName, revision } from '../../../src/core/store.ts';
import { instant, LONG_AGO, millis, seconds } from '../../../src/core/time.ts';
import { aBeat, aMember, aPeer, aSilentPeer, aStatus } from './builders.ts';

interface Seen {
  readonly at: number;
  /** null: there is no `status`. */
  readonly revision?: number | null;
  /** null: Patroni wrote it. */
  readonly beat?: Beat | null;
  /** Nobody understands it. */
  readonly garbled?: true;
  /** The term of a leader that runs Patroni; null: nobody leads. */
  readonly patroni?: number | null;
  readonly readAt?: number;
  readonly clusterId?: string;
  readonly storeRevision?: number;
  readonly historyRestarted?: boolean;
  readonly told?: boolean;
  readonly clusterTtl?: number;
  readonly ownTtl?: number;
}

function arrival(version: Seen): Arrival {
  const at = version.revision === undefined ? 50 : version.revision;
  return {
    cluster: {
      clusterId: version.clusterId ?? 'one',
      revision: revision(version.storeRevision ?? 100),
      status:
        at === null
          ? null
          : aStatus({
              revision: revision(at),
              beat: version.garbled ? null : version.beat === undefined ? aBeat() : version.beat,
              ...(version.beat === null ? { beatless: true } : {}),
            }),
      leader:
        version.patroni == null ? null : { name: nodeName('a'), term: revision(version.patroni), lease: leaseId('7') },
      members: [aMember('a', { pgha: null })],
    },
    at: instant(version.at),
    readAt: instant(version.readAt ?? version.at),
    clusterTtl: seconds(version.clusterTtl ?? 30),
    ownTtl: seconds(version.ownTtl ?? 20),
    ...(version.historyRestarted === undefined ? {} : { historyRestarted: version.historyRestarted }),
    ...(version.told === undefined ? {} : { told: version.told }),
  };
}

function seen(...versions: readonly Seen[]): Gate {
  let gate: Gate | null = null;
  for (const one of versions) gate = noteStatus(gate, arrival(one));
  if (gate === null) throw new Error('nothing was seen');
  return gate;
}

describe('the gate', () => {
  it('opens when the hold of the newest status has run out, counted from its arrival', () => {
    expect(seen({ at: 1_000, beat: aBeat({ holdMs: 10_000 }) }).opensAt).toBe(11_000);
  });

  it('counts the first read after a start as arriving now, however old it is', () => {
    expect(seen({ at: 500_000, beat: aBeat({ holdMs: 10_000 }) }).opensAt).toBe(510_000);
  });

  it('does not move when the same version is seen again', () => {
    const gate = seen({ at: 1_000 }, { at: 9_000 }, { at: 20_000 });
    expect(gate).toMatchObject({ arrived: 1_000, opensAt: 11_000 });
  });

  it('moves with a newer version', () => {
    expect(seen({ at: 1_000 }, { at: 2_000, revision: 51 }).opensAt).toBe(12_000);
  });

  it('moves also to an earlier instant: the writer vouches for all before him', () => {
    const gate = seen({ at: 1_000 }, { at: 2_000, revision: 51, beat: aBeat({ holdMs: 0 }) });
    expect(gate.opensAt).toBe(2_000);
  });

  it('waits the TTL of the cluster for a version that Patroni wrote', () => {
    expect(seen({ at: 1_000, beat: null, clusterTtl: 30, ownTtl: 60 }).opensAt).toBe(31_000);
  });

  it('counts only the first version of a leader that runs Patroni: the end of its key is what ends its right', () => {
    const first = { at: 1_000, beat: null, patroni: 40 };
    expect(seen(first, { ...first, at: 3_000, revision: 51 })).toMatchObject({ opensAt: 31_000, revision: 51n });
    expect(seen(first, { ...first, at: 60_000, revision: 51, patroni: null, readAt: 60_000 }).opensAt).toBe(90_000);
    const led = [14_000, 27_000, 40_000, 50_000].map((readAt) => ({ ...first, readAt }));
    expect(seen(first, ...led, { at: 51_000, revision: 51, beat: null, patroni: null }).opensAt).toBe(31_000);
  });

  it('waits anew when another one that runs Patroni leads, when nobody looked for a while, and after a beat', () => {
    const first = { at: 1_000, beat: null, patroni: 40 };
    expect(seen(first, { at: 50_000, revision: 51, beat: null, patroni: 45 }).opensAt).toBe(80_000);
    expect(seen(first, { at: 50_000, revision: 51, beat: null, patroni: null }).opensAt).toBe(80_000);
    const beat = { at: 2_000, revision: 51, beat: aBeat({ holdMs: 10_000 }) };
    expect(seen(first, beat, { at: 3_000, revision: 52, beat: null, patroni: 40 }).opensAt).toBe(33_000);
  });

  it('waits anew for Patroni after a leader in maintenance', () => {
    const paused = { at: 1_000, beat: aBeat({ holdMs: null }) };
    expect(seen(paused, { at: 5_000, revision: 51, beat: null, patroni: 40 }).opensAt).toBe(35_000);
  });

  it('waits the larger of own and cluster TTL when there is no status at all', () => {
    expect(seen({ at: 1_000, revision: null, clusterTtl: 30, ownTtl: 20 }).opensAt).toBe(31_000);
    expect(seen({ at: 1_000, revision: null, clusterTtl: 30, ownTtl: 60 }).opensAt).toBe(61_000);
  });

  it('never opens by itself behind a leader in maintenance', () => {
    const gate = seen({ at: 1_000, beat: aBeat({ holdMs: null }) });
    expect(gate.opensAt).toBe('never');
    expect(gateOpen(gate, instant(1e12))).toBe(false);
  });

  it('opens behind maintenance with a newer version that says a hold', () => {
    expect(seen({ at: 1_000, beat: aBeat({ holdMs: null }) }, { at: 5_000, revision: 51 }).opensAt).toBe(15_000);
  });

  it('stays closed behind maintenance when etcd is restored to before it, or emptied, until somebody leads again', () => {
    const paused = { at: 1_000, beat: aBeat({ holdMs: null }) };
    expect(seen(paused, { at: 5_000, revision: 49 }).opensAt).toBe('never');
    expect(seen(paused, { at: 5_000, revision: null, clusterId: 'two' }).opensAt).toBe('never');
    expect(seen(paused, { at: 5_000, revision: 49 }, { at: 6_000, revision: 52 }).opensAt).toBe(16_000);
  });

  it('stays closed where somebody led in maintenance whose word of it went with a restored etcd before it was read', () => {
    const before = noteStatus(null, arrival({ at: 1_000 }));
    const led = { ledInMaintenance: nodeName('c') };
    expect(noteStatus(before, { ...arrival({ at: 5_000, revision: 49 }), ...led }).opensAt).toBe('never');
    expect(noteStatus(before, { ...arrival({ at: 5_000, revision: 51 }), ...led }).opensAt).toBe(15_000);
    expect(noteStatus(before, arrival({ at: 5_000, revision: 49 })).opensAt).toBe(35_000);
  });

  it('is waited for anew where etcd was not heard for long: it may have been restored to what was read last', () => {
    const heard = { at: 1_000 };
    expect(seen(heard, { ...heard, readAt: 16_000 }).opensAt).toBe(11_000);
    expect(seen(heard, { ...heard, readAt: 16_001 })).toMatchObject({
      opensAt: 46_001,
      doubt: { why: 'etcd was not read here for 15 s' },
    });
    // Also where it had not opened: another one's, who saw the same version earlier, may have.
    const long = { at: 1_000, beat: aBeat({ holdMs: 60_000 }) };
    expect(seen(long, { ...long, readAt: 50_000 }).opensAt).toBe(110_000);
    expect(noteStatus(seen(heard), { ...arrival({ ...heard, readAt: 2_000 }), stoodStill: true }).opensAt).toBe(32_000);
    const next = seen(heard, { ...heard, readAt: 40_000 }, { at: 41_000, revision: 51 });
    expect([next.opensAt, next.doubt]).toEqual([51_000, undefined]);
    const paused = { at: 1_000, beat: aBeat({ holdMs: null }) };
    expect(seen(paused, { ...paused, readAt: 40_000 })).toMatchObject({ opensAt: 'never', arrived: 40_000 });
  });

  it('is waited for no longer once somebody vouches for it who has read etcd all the while', () => {
    const gate = seen({ at: 1_000 }, { at: 1_000, readAt: 40_000 });
    let thisEtcd = { clusterId: 'one', revision: revision(100) };
    const says = (at: number, heardAt: number, ago: number, unbrokenFor: number) =>
      vouchedFor(gate, [
        {
          ...aPeer('c', {
            at: instant(at),
            etcdRead: { ...thisEtcd, ago: millis(ago), unbrokenFor: millis(unbrokenFor) },
          }),
          heardAt: instant(heardAt),
        } as PeerAnswer,
      ]);
    const lifted = says(40_200, 40_300, 200, 39_300);
    expect([lifted.opensAt, lifted.doubt]).toEqual([11_000, undefined]);
    // He read it before we did; he has not read it since before our silence; he says nothing, or nothing at all.
    expect(says(40_200, 40_300, 201, 39_300).opensAt).toBe(70_000);
    expect(says(40_200, 40_300, 200, 39_299).opensAt).toBe(70_000);
    expect(vouchedFor(gate, [aPeer('c'), aSilentPeer()])).toBe(gate);
    // He reads another etcd, or what it was before.
    thisEtcd = { clusterId: 'two', revision: revision(100) };
    expect(says(40_200, 40_300, 200, 39_300).opensAt).toBe(70_000);
    thisEtcd = { clusterId: 'one', revision: revision(99) };
    expect(says(40_200, 40_300, 200, 39_300).opensAt).toBe(70_000);
    thisEtcd = { clusterId: 'one', revision: revision(100) };
    // A second silence: from before the first.
    const twice = seen({ at: 1_000 }, { at: 1_000, readAt: 40_000 }, { at: 1_000, readAt: 80_000 });
    expect(twice.doubt).toMatchObject({ since: 1_000, readAt: 80_000, opensAt: 11_000 });
    // On a clock that stood still nobody can say it, nor of an etcd that was replaced.
    const stood = noteStatus(seen({ at: 1_000 }), { ...arrival({ at: 1_000, readAt: 2_000 }), stoodStill: true });
    expect(
      vouchedFor(stood, [aPeer('c', { etcdRead: { ...thisEtcd, ago: millis(0), unbrokenFor: millis(1e9) } })]),
    ).toBe(stood);
    expect(seen({ at: 1_000 }, { at: 40_000, revision: 49 }).doubt).toBeUndefined();
  });

  it('waits a TTL for a release that is read after a long silence: whoever led after it may be lost', () => {
    const released = { at: 40_000, revision: 51, beat: aBeat({ holdMs: 0 }) };
    expect(seen({ at: 1_000 }, released).opensAt).toBe(70_000);
    // The watch had told of it before it fell silent.
    expect(seen({ at: 1_000 }, { ...released, at: 2_000, readAt: 40_000 }).opensAt).toBe(70_000);
    expect(seen({ at: 39_000 }, released).opensAt).toBe(40_000);
  });

  it('is not kept closed by what this node itself said before, in maintenance', () => {
    const paused = arrival({ at: 1_000, beat: aBeat({ holdMs: null }) });
    const ours = {
      ...paused.cluster,
      status: aStatus({ revision: revision(50), beat: aBeat({ holdMs: null }), leader: nodeName('a') }),
    };
    const before = noteStatus(null, { ...paused, cluster: ours, self: nodeName('a') });
    const restored = { ...arrival({ at: 5_000, revision: 49 }), self: nodeName('a') };
    expect(noteStatus(before, restored).opensAt).toBe(35_000);
    const once = noteStatus(before, { ...restored, self: nodeName('c') });
    expect(once.opensAt).toBe('never');
    expect(noteStatus(once, { ...arrival({ at: 6_000, revision: 48 }), self: nodeName('a') }).opensAt).toBe(36_000);
  });

  it('is not opened sooner by a status that nobody understands, and not at all behind maintenance', () => {
    expect(seen({ at: 1_000, garbled: true }).opensAt).toBe(31_000);
    const long = { at: 1_000, beat: aBeat({ holdMs: 60_000 }) };
    expect(seen(long, { at: 5_000, revision: 51, garbled: true }).opensAt).toBe(65_000);
    const paused = { at: 1_000, beat: aBeat({ holdMs: null }) };
    expect(seen(paused, { at: 5_000, revision: 51, garbled: true }).opensAt).toBe('never');
  });

  it('starts all over when the cluster id changes, also with the same revision', () => {
    expect(seen({ at: 1_000 }, { at: 5_000, clusterId: 'two' })).toMatchObject({ opensAt: 35_000, clusterId: 'two' });
  });

  it('starts all over when the revision goes back', () => {
    expect(seen({ at: 1_000 }, { at: 5_000, revision: 49 })).toMatchObject({ opensAt: 35_000, revision: 49n });
  });

  it('starts all over when the revision of the store goes back, also where status is as it was', () => {
    expect(seen({ at: 1_000, storeRevision: 100 }, { at: 5_000, storeRevision: 99 }).opensAt).toBe(35_000);
    expect(seen({ at: 1_000, storeRevision: 100 }, { at: 5_000, storeRevision: 101 }).opensAt).toBe(11_000);
  });

  it('starts all over when a beat that was only told of is lost in a restored etcd', () => {
    expect(seen({ at: 1_000 }, { at: 9_000, historyRestarted: true }).opensAt).toBe(39_000);
  });

  it('waits a whole TTL in a restored etcd, whatever its status says: who led after that one may still be writing', () => {
    const released = { revision: 49, beat: aBeat({ holdMs: 0 }) };
    expect(seen({ at: 1_000 }, { at: 5_000, ...released }).opensAt).toBe(35_000);
    expect(seen({ at: 1_000 }, { at: 5_000, ...released, ownTtl: 40 }).opensAt).toBe(45_000);
    const held = { revision: 49, beat: aBeat({ holdMs: 60_000 }) };
    expect(seen({ at: 1_000 }, { at: 5_000, ...held }).opensAt).toBe(65_000);
    const maintenance = { revision: 49, beat: aBeat({ holdMs: null }) };
    expect(seen({ at: 1_000 }, { at: 5_000, ...maintenance }).opensAt).toBe('never');
  });

  it('is no shorter than what another member has read of the versions that are lost with a restored etcd', () => {
    const told = (gate: Gate, lostGateLeft: number) =>
      noShorterThanLost(gate, [
        { ...aPeer('c', { lostGateLeft: millis(lostGateLeft) }), heardAt: instant(5_500) } as PeerAnswer,
        aPeer('d', { gateLeft: millis(1e9) }),
        aSilentPeer(),
      ]).opensAt;
    const long = { at: 1_000, revision: 50, beat: aBeat({ holdMs: 60_000 }) };
    const gate = seen(long, { at: 5_000, revision: 49 });
    expect(gate).toMatchObject({ opensAt: 65_000, lostUntil: 65_000 });
    expect(told(gate, 70_000)).toBe(75_500);
    expect(told(gate, 20_000)).toBe(65_000);
    // After a silence it may have been restored as well.
    expect(told(seen({ at: 1_000 }, { at: 1_000, readAt: 40_000 }), 70_000)).toBe(75_500);
    // Whoever writes after it vouches for all before him; and nothing is lost where nothing was restored.
    const next = seen(long, { at: 5_000, revision: 49 }, { at: 6_000, revision: 51 });
    expect([told(next, 70_000), next.lostUntil]).toEqual([16_000, undefined]);
    expect(told(seen({ at: 1_000 }, { at: 2_000, revision: 51 }), 70_000)).toBe(12_000);
    // Nor does what a process reads first tell what was there before.
    expect(told(seen({ at: 1_000 }), 70_000)).toBe(75_500);
    const paused = seen({ at: 1_000, beat: aBeat({ holdMs: null }) }, { at: 5_000, revision: 49 });
    expect([told(paused, 70_000), paused.lostUntil]).toEqual(['never', undefined]);
  });

  it('starts all over when status has vanished, which nobody who keeps our rules does', () => {
    expect(seen({ at: 1_000 }, { at: 5_000, revision: null })).toMatchObject({ opensAt: 35_000, revision: 0n });
  });

  it('believes the next word but one in an etcd that was emptied: the first may come from a backup that was put over it', () => {
    const emptied = { at: 5_000, revision: null };
    const release = { at: 6_000, revision: 70, beat: aBeat({ holdMs: 0 }) };
    const first = seen({ at: 1_000 }, emptied, release);
    expect(first).toMatchObject({ opensAt: 36_000, lostUntil: 36_000 });
    const next = seen({ at: 1_000 }, emptied, release, { at: 7_000, revision: 71, beat: aBeat({ holdMs: 10_000 }) });
    expect([next.opensAt, next.lostUntil]).toEqual([17_000, undefined]);
    // What the watch has told of was written there.
    expect(seen({ at: 1_000 }, emptied, { ...release, told: true })).toMatchObject({ opensAt: 6_000 });
    const paused = { at: 1_000, beat: aBeat({ holdMs: null }) };
    expect(seen(paused, emptied, { ...release, told: true }).opensAt).toBe(6_000);
    expect(seen(paused, emptied, release).opensAt).toBe('never');
    expect(seen(paused, emptied, release, { at: 7_000, revision: 71, beat: aBeat({ holdMs: 10_000 }) }).opensAt).toBe(
      17_000,
    );
  });

  it('is closed one instant before it opens and open at it', () => {
    const gate = seen({ at: 1_000 });
    expect(gateOpen(gate, instant(10_999))).toBe(false);
    expect(gateOpen(gate, instant(11_000))).toBe(true);
  });

  it('is closed while nothing was seen', () => {
    expect(gateOpen(null, instant(1e12))).toBe(false);
  });

  it('knows since when its beat can have been written: whether nobody else can have waited its hold out', () => {
    const beat = aBeat({ holdMs: 10_000 });
    const first = seen({ at: 1_000, beat });
    expect(isYoung(first, instant(1_000))).toBe(false);
    const second = seen({ at: 1_000, beat }, { at: 2_000, beat }, { at: 3_000, revision: 51, beat });
    expect(second.writtenAfter).toBe(2_000);
    // As long as its hold, less what a read may take.
    expect(isYoung(second, instant(9_999))).toBe(true);
    expect(isYoung(second, instant(10_000))).toBe(false);
    const restored = seen({ at: 1_000, beat }, { at: 3_000, revision: 51, beat, clusterId: 'two' });
    expect(isYoung(restored, instant(3_000))).toBe(false);
  });

  it('calls a beat of a leader in maintenance young at any time, and a release never', () => {
    expect(isYoung(seen({ at: 1_000, beat: aBeat({ holdMs: null }) }), instant(1e9))).toBe(true);
    const release = aBeat({ holdMs: 10_000, release: { lsn: lsn(1n), candidate: null } });
    expect(isYoung(seen({ at: 1_000 }, { at: 2_000, revision: 51, beat: release }), instant(2_000))).toBe(false);
  });

  it('is inherited by who takes the key, unless it never opens', () => {
    expect(inheritedGate(seen({ at: 1_000 }))).toBe(11_000);
    expect(inheritedGate(seen({ at: 1_000, beat: aBeat({ holdMs: null }) }))).toBe(LONG_AGO);
  });
});
