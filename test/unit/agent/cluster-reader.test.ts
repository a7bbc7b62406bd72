import { beforeEach, describe, expect, it } from 'vitest';
import { ClusterReader } from '../../../src/agent/cluster-reader.ts';
import { type Revision, revision } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import { FakeClock, FakeEtcd, FakeLog, START } from './fakes.ts';

const LIMIT = millis(1_500);

let clock: FakeClock;
let etcd: FakeEtcd;
let log: FakeLog;
let woken: string[];
let reader: ClusterReader;

beforeEach(() => {
  clock = new FakeClock();
  etcd = new FakeEtcd(clock);
  log = new FakeLog();
  woken = [];
  reader = new ClusterReader(clock, etcd, log, (why) => woken.push(why));
  reader.start();
});

const read = () => clock.outcome(reader.read(LIMIT));
const status = (): Revision => etcd.put('status', { optime: 1, pgha: { term: '1', seq: 1, hold_ms: 1_000 } });
const hint = (key: string, at: Revision = revision(1)): void => etcd.tell([{ key, revision: at }]);

describe('a cycle', () => {
  const every = millis(2_000);
  const isDue = (seeking: string | null) => reader.isDue(every, seeking);

  it('reads once in its length, or when something was hinted', async () => {
    expect(isDue(null)).toBe(true);
    await read();
    expect(isDue(null)).toBe(false);
    await clock.pass(1_700);
    expect(isDue(null)).toBe(false);
    await clock.pass(200);
    expect(isDue(null)).toBe(true);
    await read();
    hint('leader');
    expect(isDue(null)).toBe(true);
  });

  it('reads each time while an election goes on', async () => {
    await read();
    expect(isDue('leaderless.stand-back')).toBe(true);
  });

  it('reads no oftener than otherwise in an election that is held for hours, and at once after a hint', async () => {
    await read();
    expect(isDue('leaderless.location')).toBe(false);
    expect(isDue('leaderless.not-eligible')).toBe(false);
    hint('leader');
    expect(isDue('leaderless.location')).toBe(true);
    await read();
    await clock.pass(1_900);
    expect(isDue('leaderless.location')).toBe(true);
  });
});

describe('a version of status', () => {
  it('arrived with its hint, not with the read that came later', async () => {
    const at = status();
    hint('status', at);
    await clock.pass(500);
    expect((await read())?.statusArrived).toBe(START);
  });

  it('arrived with the read when there was no hint', async () => {
    status();
    await clock.pass(500);
    const reading = await read();
    expect(reading?.statusArrived).toBe(reading?.at);
    expect(reading?.at).toBeGreaterThan(START + 500);
  });

  it('arrived with the first hint when that is told twice', async () => {
    const at = status();
    hint('status', at);
    await clock.pass(300);
    hint('status', at);
    expect((await read())?.statusArrived).toBe(START);
  });

  it('arrived with its own hint, not with that of another version', async () => {
    hint('status', status());
    await clock.pass(300);
    hint('status', status());
    await clock.pass(300);
    expect((await read())?.statusArrived).toBe(START + 300);
  });

  it('arrived with the read after the watch was interrupted, whatever was hinted before (rule 11)', async () => {
    hint('status', status());
    await clock.pass(300);
    etcd.tell(null);
    const reading = await read();
    expect(reading?.statusArrived).toBe(reading?.at);
  });

  it('of a restored etcd did not arrive when the old one of the same number did', async () => {
    await read();
    hint('status', status());
    await read();
    await clock.pass(5_000);
    etcd.clusterId = 'two';
    const reading = await read();
    expect(reading?.statusArrived).toBe(reading?.at);
  });
});

describe('that a version of status was written since the read before', () => {
  const next = async (between: () => void) => {
    await read();
    const at = status();
    between();
    hint('status', at);
    return (await read())?.statusTold;
  };

  it('is told by a watch that did not break in between', async () => {
    expect(await next(() => undefined)).toBe(true);
    expect(await next(() => etcd.tell(null))).toBe(false);
    expect(await next(() => undefined)).toBe(true);
  });

  it('is told by no read, and by no hint before the first', async () => {
    hint('status', status());
    expect((await read())?.statusTold).toBe(false);
    status();
    expect((await read())?.statusTold).toBe(false);
  });
});

describe('a read that knows less than the watch has told before it was sent', () => {
  it('is of a restored etcd: what is there arrives now, though it was seen before', async () => {
    const old = status();
    hint('status', old);
    await read();
    // A later beat was told of and not read yet; the backup is from before it.
    hint('status', revision(Number(old) + 1_000));
    await clock.pass(700);
    const reading = await read();
    expect(reading).toMatchObject({ restarted: true, statusArrived: reading?.at });
    expect(await read()).toMatchObject({ restarted: false });
  });

  it('also where it has counted on as far as it was before', async () => {
    const old = status();
    hint('status', old);
    await read();
    hint('status', revision(Number(old) + 1));
    etcd.put('members/a', {});
    etcd.put('members/b', {});
    const reading = await read();
    expect(reading).toMatchObject({ restarted: true, statusArrived: reading?.at });
  });

  it('also where it is a backup of before an emptied one, whose revisions are higher', async () => {
    status();
    await read();
    etcd.delete('status');
    etcd.put('members/a', {});
    status();
    const reading = await read();
    expect(reading).toMatchObject({ restarted: true, statusArrived: reading?.at });
    status();
    expect(await read()).toMatchObject({ restarted: false });
  });

  it('and one that was under way when the watch told of more is none', async () => {
    const old = status();
    hint('status', old);
    const underWay = reader.read(LIMIT);
    hint('members/a', revision(Number(old) + 1_000));
    expect(await clock.outcome(underWay)).toMatchObject({ restarted: false, statusArrived: START });
  });
});

describe('a hint', () => {
  it('wakes the cycle for keys that decisions rest on', () => {
    for (const key of ['leader', 'failover', 'config', 'initialize']) hint(key);
    expect(woken).toHaveLength(4);
    expect(reader.isDue(millis(2_000), null)).toBe(true);
  });

  it('does not wake it for beats and members: they wait for the next read', async () => {
    await read();
    hint('status');
    hint('members/a');
    expect(woken).toEqual([]);
    expect(reader.isDue(millis(2_000), null)).toBe(false);
  });

  it('says that anything may have changed when the watch was interrupted', async () => {
    await read();
    etcd.tell(null);
    expect(woken).toHaveLength(1);
    expect(reader.isDue(millis(2_000), null)).toBe(true);
  });

  it('that comes while a read is under way leaves that read outdated', async () => {
    const under = reader.read(LIMIT);
    hint('leader');
    await clock.outcome(under);
    expect(reader.isDue(millis(2_000), null)).toBe(true);
  });

  it('tells nothing any more once the agent has stopped', () => {
    reader.stop();
    hint('leader');
    expect(woken).toEqual([]);
  });
});

describe('a read', () => {
  it('is shared by those who ask while it is under way', async () => {
    const [one, two] = await clock.outcome(Promise.all([reader.read(LIMIT), reader.read(LIMIT)]));
    expect(one).toBe(two);
  });

  it('that is not answered leaves the last one standing; telling of it is the adapter’s', async () => {
    etcd.put('leader', 'a');
    await read();
    etcd.reachable = false;
    expect(await read()).toBeNull();
    expect(await read()).toBeNull();
    expect(reader.answering).toBe(false);
    expect(reader.isDue(millis(60_000), null)).toBe(true);
    expect(reader.latest?.cluster.leader?.name).toBe('a');
    etcd.reachable = true;
    await read();
    expect(reader.answering).toBe(true);
    expect(log.events).toEqual([]);
  });

  it('tells of a key that is not understood once, until it is understood again', async () => {
    etcd.put('config', '{');
    await read();
    await read();
    expect(log.events).toEqual(['dcs.value-not-understood']);
    etcd.put('config', '{}');
    await read();
    etcd.put('config', '[');
    await read();
    expect(log.events).toEqual(['dcs.value-not-understood', 'dcs.value-not-understood']);
  });

  it('tells of garbage in a part of a key once as well, each part by itself', async () => {
    etcd.put('status', { optime: -1 });
    await read();
    etcd.put('status', { optime: -2, pgha: {} });
    await read();
    await read();
    expect(log.lines.map(({ sentence }) => sentence)).toEqual([
      "optime in etcd's key status counts as absent: -1 is no position",
      "pgha in etcd's key status counts as absent: {} is no beat",
    ]);
  });
});
