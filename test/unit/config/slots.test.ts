import { describe, expect, it } from 'vitest';
import { readIgnoredSlots, readPermanentSlots, resolveSlots } from '../../../src/config/slots.ts';

describe('permanent slots', () => {
  it('are read as Patroni reads them', () => {
    const { slots, problems } = readPermanentSlots({
      plain: null,
      named: { type: 'physical' },
      feed: { type: 'logical', database: 'app', plugin: 'pgoutput' },
      untyped: { database: 'app', plugin: 'test_decoding' },
      elsewhere: { type: 'physical', cluster_type: 'standby' },
    });
    expect(problems).toEqual([]);
    expect(slots.map(({ name, kind }) => `${name} ${kind}`)).toEqual([
      'plain physical',
      'named physical',
      'feed logical',
      'untyped logical',
    ]);
  });

  it.each([
    ['a name that Postgres refuses', { 'Not-a-name': null }, /a to z, 0 to 9 and _ only/],
    ['a name that is too long', { ['x'.repeat(64)]: null }, /63 characters at most/],
    ['another type', { a: { type: 'temporary' } }, /`type` must be/],
    ['a logical one without its plugin', { a: { type: 'logical', database: 'app' } }, /needs its `database` and/],
    ['a word that nobody knows', { a: { typ: 'physical' } }, /`typ` is unknown/],
    ['something else in the place of a slot', { a: 5 }, /`type: physical`, or/],
    ['a list', ['a'], /names with values/],
  ])('cannot be %s', (_name, raw, expected) => {
    const { slots, problems } = readPermanentSlots(raw);
    expect(slots).toEqual([]);
    expect(problems.map(({ message }) => message).join()).toMatch(expected);
  });
});

describe('slots to be ignored', () => {
  it('are read with what is said of them', () => {
    expect(readIgnoredSlots([{ name: 'barman' }, { type: 'logical', database: 'app' }])).toEqual({
      slots: [
        { name: 'barman', kind: null, database: null, plugin: null },
        { name: null, kind: 'logical', database: 'app', plugin: null },
      ],
      problems: [],
    });
  });

  it.each([
    ['one that would fit every slot', [{}], /says of no slot/],
    ['no list', { name: 'barman' }, /must be a list/],
    ['an unknown word', [{ nam: 'barman' }], /`nam` is unknown/],
    ['a type that does not exist', [{ type: 'big' }], /`type` must be/],
  ])('cannot be %s', (_name, raw, expected) => {
    expect(
      readIgnoredSlots(raw)
        .problems.map(({ message }) => message)
        .join(),
    ).toMatch(expected);
  });
});

describe('what stands in etcd', () => {
  it('is used as far as it makes sense, and then no slot is dropped', () => {
    const adjustments: string[] = [];
    const policy = resolveSlots({ good: null, 'BAD!': null }, [{}], adjustments);
    expect(policy).toMatchObject({ complete: false, ignored: [] });
    expect(policy.permanent.map(({ name }) => name)).toEqual(['good']);
    expect(adjustments).toEqual([expect.stringMatching(/^slots\.BAD!/), expect.stringMatching(/^ignore_slots\[1\]/)]);
  });

  it('is nothing when nothing is set', () => {
    expect(resolveSlots(undefined, null, [])).toEqual({ permanent: [], ignored: [], complete: true });
  });
});
