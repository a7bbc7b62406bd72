import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CLUSTER_EVENTS,
  type ClusterEvent,
  EVENTS_OF_REPMGR_ONLY,
  isClusterEvent,
  KEPT_EVENTS,
  KEPT_EVENTS_BYTES,
  readAllEvents,
  readEvents,
  sentenceOf,
  writeEvents,
} from '../../../src/core/cluster-events.ts';

const ROOT = resolve(import.meta.dirname, '../../..');

const anEvent = (over: Partial<ClusterEvent> = {}): ClusterEvent => ({
  time: '2026-11-20T14:08:00.000Z',
  node: 'a',
  nodeId: 1,
  event: 'standby_promote',
  ok: true,
  details: 'a is the primary now',
  primary: null,
  ...over,
});

describe('the catalogue of cluster events', () => {
  const names = Object.keys(CLUSTER_EVENTS);
  const agent = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /^(agent|core)\/.*\.ts$|^daemon\.ts$/.test(name) && name !== 'core/cluster-events.ts')
    .map((name) => readFileSync(join(ROOT, 'src', name), 'utf8'))
    .join('\n');
  const page = readFileSync(join(ROOT, 'docs/events.md'), 'utf8');

  it('has no event that nothing tells', () => {
    expect(names.filter((name) => !agent.includes(`'${name}'`))).toEqual([]);
  });

  it('stands in docs/events.md as it stands in the program, and nothing else does', () => {
    const described = new Map(
      [...page.matchAll(/^\| `([a-z_]+)` \| (.*) \|$/gm)].map(([, name = '', said]) => [name, said]),
    );
    const expected = { ...CLUSTER_EVENTS, ...EVENTS_OF_REPMGR_ONLY };
    expect(Object.fromEntries(described)).toEqual(expected);
  });

  it('knows a name from a name that only looks like one', () => {
    expect(isClusterEvent('fenced')).toBe(true);
    expect(isClusterEvent('toString')).toBe(false);
    expect(isClusterEvent('primary_register')).toBe(false);
  });
});

describe('a list of events', () => {
  it('reads back as it was written', () => {
    const event = fc.record({
      time: fc
        .date({ noInvalidDate: true, min: new Date(0), max: new Date('2100-01-01') })
        .map((at) => at.toISOString()),
      node: fc.string({ minLength: 1, maxLength: 63 }),
      nodeId: fc.option(fc.nat()),
      event: fc.constantFrom(...Object.keys(CLUSTER_EVENTS)),
      ok: fc.boolean(),
      details: fc.string().map(sentenceOf),
      primary: fc.option(fc.record({ id: fc.option(fc.nat()), name: fc.string(), conninfo: fc.option(fc.string()) })),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: KEPT_EVENTS }), (events) => {
        expect(readEvents(writeEvents(events))).toEqual({ events, trouble: null });
      }),
    );
  });

  it('keeps the newest hundred', () => {
    const many = Array.from({ length: 250 }, (_, i) => anEvent({ details: String(i) }));
    const { events } = readEvents(writeEvents(many));
    expect(events).toHaveLength(KEPT_EVENTS);
    expect(events.at(-1)?.details).toBe('249');
  });

  it('stays within its bytes, whatever its letters are', () => {
    const written = writeEvents(Array.from({ length: 100 }, () => anEvent({ details: '€'.repeat(500) })));
    expect(Buffer.byteLength(written)).toBeLessThanOrEqual(KEPT_EVENTS_BYTES);
    expect(readEvents(written).events.length).toBeGreaterThan(20);
  });

  it.each([
    ['', 'not JSON'],
    ['{}', 'not a JSON array'],
    ['"x"', 'not a JSON array'],
    ['[1, null, {"event": "fenced"}]', 'a list with 3 entries that are no events'],
  ])('that is %s is said to be %s, and is empty', (value, trouble) => {
    expect(readEvents(value)).toEqual({ events: [], trouble });
  });

  it('keeps what is an event beside what is none, also one of a newer version', () => {
    const newer = anEvent({ event: 'moon_landing' });
    const value = `[17, ${writeEvents([newer]).slice(1)}`;
    expect(readEvents(value)).toEqual({ events: [newer], trouble: 'a list with 1 entries that are no events' });
  });
});

describe('the events of all members', () => {
  it('come newest first; what is no list is named, and other keys are passed over', () => {
    const at = (minute: number, node: string): ClusterEvent =>
      anEvent({ time: `2026-11-20T14:0${minute}:00.000Z`, node });
    const read = readAllEvents([
      { key: 'events/a', value: writeEvents([at(1, 'a'), at(4, 'a')]) },
      { key: 'events/b', value: writeEvents([at(2, 'b'), at(3, 'b')]) },
      { key: 'events/c', value: 'rubbish' },
      { key: 'lag', value: '[]' },
    ]);
    expect(read.events.map(({ time, node }) => `${time.slice(14, 16)} ${node}`)).toEqual([
      '04 a',
      '03 b',
      '02 b',
      '01 a',
    ]);
    expect(read.troubles).toEqual([{ key: 'events/c', why: 'not JSON' }]);
  });

  it('of one instant come in the reverse of the order in which they were written', () => {
    const value = writeEvents([anEvent({ details: 'first' }), anEvent({ details: 'second' })]);
    expect(readAllEvents([{ key: 'events/a', value }]).events.map(({ details }) => details)).toEqual([
      'second',
      'first',
    ]);
  });
});
