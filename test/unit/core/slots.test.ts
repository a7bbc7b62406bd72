import { describe, expect, it } from 'vitest';
import { slotName } from '../../../src/core/cluster.ts';
import { type Lsn, lsn } from '../../../src/core/lsn.ts';
import {
  clashes,
  describeBurden,
  fitness,
  isHeavier,
  NO_SLOTS_ASKED_FOR,
  notBefore,
  type PermanentSlot,
  planSlots,
  type ServerSlots,
  type SlotMatcher,
  type SlotQuestion,
  type SlotState,
  weigh,
  xid,
} from '../../../src/core/slots.ts';
import { instant, seconds } from '../../../src/core/time.ts';

const slot = (name: string, more: Partial<SlotState> = {}): SlotState => ({
  name,
  kind: 'physical',
  database: null,
  plugin: null,
  active: false,
  temporary: false,
  restartLsn: lsn(1_000n),
  confirmedLsn: null,
  xmin: null,
  catalogXmin: null,
  walStatus: 'reserved',
  failover: false,
  synced: false,
  ...more,
});
const logicalSlot = (name: string, more: Partial<SlotState> = {}): SlotState =>
  slot(name, { kind: 'logical', database: 'app', plugin: 'pgoutput', confirmedLsn: lsn(1_500n), ...more });

const primary = (...slots: SlotState[]): ServerSlots => ({ slots, inRecovery: false, end: lsn(5_000n) });
const standby = (...slots: SlotState[]): ServerSlots => ({ slots, inRecovery: true, end: lsn(4_000n) });

const ARCHIVE: PermanentSlot = { name: 'archive', kind: 'physical', database: null, plugin: null };
const FEED: PermanentSlot = { name: 'feed', kind: 'logical', database: 'app', plugin: 'pgoutput' };
const asking = (...permanent: PermanentSlot[]) => ({ ...NO_SLOTS_ASKED_FOR, permanent });
const ignoring = (matcher: Partial<SlotMatcher>) => ({
  ...NO_SLOTS_ASKED_FOR,
  ignored: [{ name: null, kind: null, database: null, plugin: null, ...matcher }],
});
const at = (positions: Readonly<Record<string, bigint>>): ReadonlyMap<string, Lsn> =>
  new Map(Object.entries(positions).map(([name, position]) => [name, lsn(position)]));
const set = (...names: string[]): ReadonlySet<string> => new Set(names);

/** Node a of a, b and c. */
const plan = (server: ServerSlots, more: Partial<SlotQuestion> = {}) =>
  planSlots({
    server,
    version: 15,
    own: 'a',
    members: set('a', 'b', 'c'),
    needed: new Set(),
    fed: new Set(),
    mayLead: true,
    policy: NO_SLOTS_ASKED_FOR,
    made: new Set(),
    strangers: new Map(),
    positions: new Map(),
    published: new Set(),
    now: instant(10_000),
    patience: seconds(1_800),
    ...more,
  });

const inShort = (steps: ReturnType<typeof plan>['steps']): readonly string[] =>
  steps.map((step) => `${step.do} ${step.slot}${step.do === 'advance' ? ` ${step.to}` : ''}`);

interface Case {
  readonly name: string;
  readonly server: ServerSlots;
  readonly given?: Partial<SlotQuestion>;
  readonly steps?: readonly string[];
  readonly toCopy?: readonly string[];
  readonly strangers?: readonly string[];
  readonly problems?: readonly string[];
}

const B_AND_C: Partial<SlotQuestion> = { needed: set('a', 'b', 'c'), fed: set('b', 'c') };
const CASES: readonly Case[] = [
  {
    name: 'a primary has a slot for each other member, and none for itself',
    server: primary(slot('c', { active: true })),
    given: B_AND_C,
    steps: ['create-physical b'],
  },
  { name: 'a primary gives up nothing that a member may need', server: primary(slot('b'), slot('c')), given: B_AND_C },
  {
    name: 'a primary follows a member that receives from elsewhere, up to what it has',
    server: primary(slot('b'), slot('c')),
    given: { ...B_AND_C, positions: at({ c: 3_000n, b: 9_000n }) },
    steps: ['advance b 5000', 'advance c 3000'],
  },
  {
    name: 'no slot goes back',
    server: primary(slot('c')),
    given: { ...B_AND_C, needed: set('c'), positions: at({ c: 900n }) },
  },
  {
    name: 'a standby follows the slots of the leader',
    server: standby(slot('b'), slot('c')),
    given: { ...B_AND_C, positions: at({ b: 2_000n, c: 1_000n }) },
    steps: ['advance b 2000'],
  },
  {
    name: 'a standby goes no further than it has replayed',
    server: standby(slot('b')),
    given: { needed: set('b'), positions: at({ b: 9_000n }) },
    steps: ['advance b 4000'],
  },
  {
    name: 'on a standby the slot of one that nobody speaks of holds back no WAL for ever',
    server: standby(slot('b')),
    given: { needed: set('b') },
    steps: ['advance b 4000'],
  },
  {
    name: 'a slot that is in use moves by itself',
    server: standby(slot('b', { active: true })),
    given: { needed: set('b'), fed: set('b') },
  },
  {
    name: 'a slot that has lost its WAL is made anew',
    server: primary(slot('b', { walStatus: 'lost', restartLsn: null })),
    given: { needed: set('b') },
    steps: ['drop b'],
  },
  {
    name: 'feedback of former days does not keep rows for nobody on a standby',
    server: standby(slot('b', { xmin: xid(700) }), slot('c', { catalogXmin: xid(700) })),
    given: { ...B_AND_C, fed: set('c'), positions: at({ b: 1_000n, c: 1_000n }) },
    steps: ['drop b'],
  },
  {
    name: 'nor on a primary that the member does not receive from any more',
    server: primary(slot('b', { xmin: xid(700) }), slot('c', { xmin: xid(700) })),
    given: { ...B_AND_C, positions: at({ c: 1_000n }) },
    steps: ['drop c'],
  },
  {
    name: 'the slot of a former member goes',
    server: primary(slot('d')),
    given: { made: set('d') },
    steps: ['drop d'],
  },
  {
    name: 'but not while it is in use',
    server: primary(slot('d', { active: true })),
    given: { made: set('d') },
  },
  { name: 'a slot of somebody else is told of first', server: primary(slot('barman')), strangers: ['barman'] },
  {
    name: 'a slot of somebody else goes when it was left unused for long',
    server: primary(slot('barman')),
    given: { strangers: new Map([['barman', instant(0)]]), patience: seconds(10) },
    steps: ['drop barman'],
  },
  {
    name: 'a slot of somebody else that is in use is nobody to speak of',
    server: primary(slot('barman', { active: true })),
    given: { strangers: new Map([['barman', instant(0)]]), patience: seconds(10) },
  },
  { name: 'a temporary slot is its session’s', server: primary(slot('pg_basebackup_1', { temporary: true })) },
  {
    name: 'what is to be ignored is left alone: by name',
    server: primary(slot('barman')),
    given: { policy: ignoring({ name: 'barman' }), patience: seconds(0) },
  },
  {
    name: 'what is to be ignored is left alone: by kind and database',
    server: primary(logicalSlot('debezium')),
    given: { policy: ignoring({ kind: 'logical', database: 'app' }), patience: seconds(0) },
  },
  {
    name: 'a matcher fits only what all of it fits',
    server: primary(logicalSlot('debezium')),
    given: { policy: ignoring({ kind: 'logical', database: 'other' }), patience: seconds(0) },
    steps: ['drop debezium'],
  },
  {
    name: 'nothing is dropped while the settings are not understood',
    server: primary(slot('barman'), slot('d')),
    given: { policy: { ...NO_SLOTS_ASKED_FOR, complete: false }, made: set('d'), patience: seconds(0) },
  },
  {
    name: 'from 17 on a slot that Postgres is to keep itself is not ours to drop',
    server: primary(logicalSlot('sub', { failover: true })),
    given: { version: 17, patience: seconds(0) },
  },
  {
    name: 'a primary makes the permanent slots, members first',
    server: primary(),
    given: { needed: set('b'), fed: set('b'), policy: asking(FEED, ARCHIVE) },
    steps: ['create-physical b', 'create-logical feed', 'create-physical archive'],
  },
  {
    name: 'a standby makes a permanent slot when the leader has it',
    server: standby(),
    given: { policy: asking(ARCHIVE), positions: at({ archive: 2_000n }) },
    steps: ['create-physical archive'],
  },
  { name: 'and not before', server: standby(), given: { policy: asking(ARCHIVE, FEED) } },
  {
    name: 'a standby moves permanent slots on with the leader’s',
    server: standby(slot('archive'), logicalSlot('feed')),
    given: { policy: asking(ARCHIVE, FEED), positions: at({ archive: 2_000n, feed: 3_000n }) },
    steps: ['advance archive 2000', 'advance feed 3000'],
  },
  {
    name: 'a primary does not: their consumers do',
    server: primary(slot('archive'), logicalSlot('feed')),
    given: { policy: asking(ARCHIVE, FEED), positions: at({ archive: 2_000n, feed: 3_000n }) },
  },
  {
    name: 'a permanent slot whose position is not published stays where it is',
    server: standby(slot('archive'), logicalSlot('feed')),
    given: { policy: asking(ARCHIVE, FEED) },
  },
  {
    name: 'a standby lacks a logical slot: it is to be copied',
    server: standby(),
    given: { policy: asking(FEED), positions: at({ feed: 2_000n }) },
    toCopy: ['feed'],
  },
  {
    name: 'from 17 on Postgres makes it',
    server: standby(),
    given: { version: 17, policy: asking(FEED), positions: at({ feed: 2_000n }) },
  },
  {
    name: 'from 17 on what a former primary has of it stands in the way',
    server: standby(logicalSlot('feed', { failover: true })),
    given: { version: 17, policy: asking(FEED), positions: at({ feed: 2_000n }) },
    steps: ['drop feed'],
  },
  {
    name: 'from 17 on Postgres moves it on, and it goes with the leader’s',
    server: standby(logicalSlot('feed', { failover: true, synced: true })),
    given: { version: 17, policy: asking(FEED), positions: at({ feed: 2_000n }) },
  },
  {
    name: 'from 17 on one that was not made for a failover is told of',
    server: primary(logicalSlot('feed')),
    given: { version: 17, policy: asking(FEED) },
    problems: ['feed'],
  },
  {
    name: 'a node that never leads keeps no slot but for those that it feeds',
    server: standby(),
    given: {
      mayLead: false,
      needed: set('b'),
      policy: asking(ARCHIVE, FEED),
      positions: at({ archive: 1n, feed: 1n }),
    },
    steps: ['create-physical b'],
  },
  {
    name: 'a logical slot that has lost its WAL is left alone on a primary: its consumer would go on behind a gap',
    server: primary(logicalSlot('feed', { walStatus: 'lost', restartLsn: null })),
    given: { policy: asking(FEED), published: set('feed') },
    problems: ['feed'],
  },
  {
    name: 'on a standby it is made anew from the one of the leader',
    server: standby(logicalSlot('feed', { walStatus: 'lost', restartLsn: null })),
    given: { policy: asking(FEED), positions: at({ feed: 2_000n }) },
    steps: ['drop feed'],
  },
  {
    name: 'a physical one that has lost its WAL is made anew: its consumer is refused what is not there',
    server: primary(slot('archive', { walStatus: 'lost', restartLsn: null })),
    given: { policy: asking(ARCHIVE) },
    steps: ['drop archive'],
  },
  {
    name: 'a permanent slot cannot have the name of a member’s',
    server: primary(),
    given: { needed: set('b'), policy: asking({ ...ARCHIVE, name: 'b' }, { ...FEED, name: 'a' }) },
    steps: ['create-physical b'],
    problems: ['b', 'a'],
  },
  {
    name: 'another slot under the name is left alone',
    server: primary(logicalSlot('feed', { plugin: 'wal2json' })),
    given: { policy: asking(FEED) },
    problems: ['feed'],
  },
  {
    name: 'one that the operator has changed is made anew',
    server: primary(logicalSlot('feed', { database: 'former' })),
    given: { policy: asking(FEED), published: set('feed') },
    steps: ['drop feed'],
  },
  {
    name: 'a logical slot under the name of a member’s is left alone',
    server: primary(logicalSlot('b')),
    given: { needed: set('b') },
    problems: ['b'],
  },
];

describe('what is done about slots', () => {
  it.each(CASES)('$name', ({ server, given, steps = [], toCopy = [], strangers = [], problems = [] }) => {
    const planned = plan(server, given);
    expect({
      steps: inShort(planned.steps),
      toCopy: planned.toCopy.map(({ name }) => name),
      strangers: [...planned.strangers.keys()],
      problems: [...planned.problems.keys()],
    }).toEqual({ steps, toCopy, strangers, problems });
  });

  it('a logical slot is asked of Postgres for failovers from 17 on, and its consumer is told when it is not the first', () => {
    const made = (version: number, published: ReadonlySet<string>) =>
      plan(primary(), { version, policy: asking(FEED), published }).steps[0];
    expect(made(15, set())).toMatchObject({ failover: false, lostPosition: false });
    expect(made(17, set('feed'))).toMatchObject({ failover: true, lostPosition: true });
  });
});

describe('what a slot costs', () => {
  const burden = (one: SlotState, threshold = 1_000n) => weigh(primary(one), threshold)[0];

  it.each([
    ['little', slot('b', { restartLsn: lsn(4_500n) }), 'fine'],
    ['more than the threshold', slot('b', { restartLsn: lsn(3_500n) }), 'much'],
    ['more than max_wal_size', slot('b', { walStatus: 'extended' }), 'extended'],
    ['more than max_slot_wal_keep_size', slot('b', { walStatus: 'unreserved' }), 'unreserved'],
    ['what is gone', slot('b', { walStatus: 'lost', restartLsn: null }), 'lost'],
    ['nothing, before 13', slot('b', { walStatus: null, restartLsn: null }), 'fine'],
  ] as const)('%s', (_name, one, expected) => {
    const weighed = burden(one);
    expect(weighed?.burden).toBe(expected);
    if (weighed !== undefined) expect(describeBurden(weighed)).toContain('slot b, which nobody uses,');
  });

  it('is not measured where the operator wants only what Postgres says', () => {
    expect(burden(slot('b', { restartLsn: lsn(0n) }), 0n)?.burden).toBe('fine');
  });

  it('does not come and go about the threshold', () => {
    const before = weigh(primary(slot('b', { restartLsn: lsn(3_900n) })), 1_000n);
    const later = (restart: bigint) =>
      weigh(primary(slot('b', { restartLsn: lsn(restart) })), 1_000n, before)[0]?.burden;
    expect(before[0]?.burden).toBe('much');
    expect([later(4_200n), later(4_600n)]).toEqual(['much', 'fine']);
  });

  it('has an order', () => {
    expect(isHeavier('lost', 'much')).toBe(true);
    expect(isHeavier('much', 'much')).toBe(false);
  });
});

describe('a copy of a logical slot', () => {
  const leader = (kept: number | null, catalogXmin: number | null) => ({
    kept: kept === null ? null : xid(kept),
    logical: new Map([
      ['feed', { catalogXmin: catalogXmin === null ? null : xid(catalogXmin), confirmedLsn: lsn(1n) }],
    ]),
  });
  const copy = (catalogXmin: number) => new Map([['feed', xid(catalogXmin)]]);
  const NOTHING = new Map();

  it('is not proven before the leader keeps rows for this standby', () => {
    expect(fitness(copy(100), leader(null, 100), NOTHING).fit).toEqual(set());
  });

  it('is proven at once when nothing can have been removed since', () => {
    expect(fitness(copy(100), leader(100, 100), NOTHING).fit).toEqual(set('feed'));
  });

  it('is proven only beyond what the leader’s slot had let go of before', () => {
    const first = fitness(copy(100), leader(100, 200), NOTHING);
    expect(first.fit).toEqual(set());
    expect(fitness(copy(150), leader(150, 300), first.floors).fit).toEqual(set());
    expect(fitness(copy(200), leader(200, 400), first.floors).fit).toEqual(set('feed'));
  });

  it('is not proven by what the leader keeps for younger slots only', () => {
    expect(fitness(copy(100), leader(300, 200), NOTHING)).toEqual({ floors: new Map(), fit: set() });
  });

  it('is proven no more when the feedback stops', () => {
    const { floors } = fitness(copy(100), leader(100, 100), NOTHING);
    expect(fitness(copy(100), leader(null, 100), floors)).toEqual({ floors: new Map(), fit: set() });
  });

  it('is compared around the end of the transaction ids', () => {
    expect(notBefore(xid(5), xid(4_294_967_290))).toBe(true);
    expect(notBefore(xid(4_294_967_290), xid(5))).toBe(false);
    expect(notBefore(xid(7), xid(7))).toBe(true);
  });
});

describe('names of members that make one slot name', () => {
  it('are told apart from those that do not', () => {
    expect(clashes(['pg-1', 'pg.1', 'PG_1', 'pg2'], slotName)).toEqual(new Map([['pg_1', ['PG_1', 'pg-1', 'pg.1']]]));
    expect(clashes([`${'x'.repeat(63)}a`, `${'x'.repeat(63)}b`], slotName).size).toBe(1);
    expect(clashes(['pg1', 'pg2'], slotName)).toEqual(new Map());
  });
});
