import { beforeEach, describe, expect, it } from 'vitest';
import { LagHistory } from '../../../src/agent/lag-history.ts';
import type { Published } from '../../../src/agent/published.ts';
import { statusLine } from '../../../src/agent/status-line.ts';
import { readLags, writeLags } from '../../../src/core/lag-history.ts';
import type { Sender } from '../../../src/core/local.ts';
import { lsn } from '../../../src/core/lsn.ts';
import { ABSENT, type KeyValue, revision } from '../../../src/core/store.ts';
import { instant, millis } from '../../../src/core/time.ts';
import type { Chronicle } from '../../../src/ports/chronicle.ts';
import { aCluster, aPublished, primary, threeMembers } from '../http/builders.ts';
import { FakeClock, FakeLog } from './fakes.ts';

let clock: FakeClock;
let entry: KeyValue | null;
let puts: number;
let history: LagHistory;

beforeEach(() => {
  clock = new FakeClock();
  entry = null;
  puts = 0;
  const chronicle: Chronicle = {
    read: async () => ({ kind: 'answered', entries: [] }),
    put: async (key, value, known) => {
      if ((entry?.modRevision ?? ABSENT) !== known) return { kind: 'refused', found: entry };
      const modRevision = revision(100 + ++puts);
      entry = { key, value, createRevision: modRevision, modRevision, lease: null };
      return { kind: 'applied', revision: modRevision };
    },
  };
  history = new LagHistory({ clock, chronicle, log: new FakeLog(), self: 'b' });
});

const toA = { applicationName: 'a', flushed: lsn(0x5000060), replayed: lsn(0x5000060) } as Sender;

function leading(flushed: number, over: Partial<Published> = {}, on = true): Published {
  const base = aPublished();
  return {
    ...base,
    local: primary({ flushed: lsn(flushed), senders: [toA] }),
    cluster: aCluster(threeMembers({ leader: 'b' })),
    leadership: { kind: 'holding', windowOpen: true, until: instant(base.at + 7_200) } as Published['leadership'],
    policy: {
      ...base.policy,
      cluster: { ...base.policy.cluster, monitoringHistory: on, logStatusInterval: millis(0) },
    },
    ...over,
  };
}

/** One sample a second. */
async function samples(seconds: number, published: Published): Promise<void> {
  for (let i = 0; i < seconds; i++) {
    history.sample(published);
    await clock.pass(1_000);
  }
}

const kept = () => (entry === null ? [] : readLags(entry.value).points);

describe('the leader', () => {
  it('writes one point a minute, with the peak of that minute', async () => {
    await samples(100, leading(0x5000060));
    await samples(1, leading(0x5000260));
    await samples(200, leading(0x5000060));
    expect(puts).toBeGreaterThanOrEqual(4);
    expect(puts).toBeLessThanOrEqual(5);
    expect(Math.max(...kept().map(({ lags }) => lags.get('a')?.receive ?? -1))).toBe(0x200);
    expect(kept().filter(({ lags }) => lags.get('a')?.receive === 0).length).toBeGreaterThanOrEqual(3);
  });

  it('goes on where an earlier leader stopped', async () => {
    const before = { from: Number(clock.wall()) - 120_000, primary: 'a', lags: new Map() };
    entry = {
      key: 'lag',
      value: writeLags([before]),
      createRevision: revision(1),
      modRevision: revision(1),
      lease: null,
    };
    await samples(130, leading(0x5000060));
    expect(kept()[0]?.primary).toBe('a');
    expect(kept().at(-1)?.primary).toBe('b');
  });

  it('writes nothing while monitoring_history is off, its window is closed or its Postgres does not answer', async () => {
    const closed = { kind: 'holding', windowOpen: false } as Published['leadership'];
    await samples(130, leading(0x5000060, {}, false));
    await samples(130, leading(0x5000060, { leadership: closed }));
    await samples(130, leading(0x5000060, { local: primary({ failing: { check: 'ping', said: 'no' } }) }));
    expect(puts).toBe(0);
  });
});

describe('the line of log_status_interval', () => {
  it('says of a leader how its standbys are, and how long its window is open', () => {
    const { sentence, facts } = statusLine('b', leading(0x5000060));
    expect(sentence).toBe(
      'b leads, replica running, timeline 2 at 0/5000060, a 0 bytes behind, c is not heard, window open for 7.2 s',
    );
    expect(facts).toMatchObject({ leader: 'b', window_left_ms: 7_200 });
  });

  it('says of a standby whom it follows and how far it is behind', () => {
    expect(statusLine('b', aPublished({ role: 'replica' })).sentence).toBe(
      'b follows a, replica running, timeline 2 at 0/5000060, 96 bytes behind as of 0 s ago',
    );
  });

  it('says that nobody leads', () => {
    const nobody = aPublished({ cluster: null, local: { kind: 'absent' } });
    expect(statusLine('b', nobody).sentence).toMatch(/^b knows no leader, /);
  });
});
