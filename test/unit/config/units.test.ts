import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { editDistance, nearest } from '../../../src/config/nearest.ts';
import {
  parseAddresses,
  parseBoolean,
  parseDuration,
  parseSize,
  printAddress,
  printBytes,
  printSeconds,
  splitAddress,
  splitList,
} from '../../../src/config/units.ts';

describe('values as people write them', () => {
  it.each([
    ['10', 10],
    ['10s', 10],
    [' 1.5 s ', 1.5],
    ['500ms', 0.5],
    ['2min', 120],
    ['1h', 3600],
    ['1d', 86_400],
    ['10 parsecs', null],
    ['', null],
    ['s', null],
    ['1 0', null],
    [true, null],
  ])('reads the time %j as %j seconds', (written, expected) => {
    expect(parseDuration(written)).toBe(expected);
  });

  it.each([
    ['1MB', 2 ** 20],
    ['64kB', 65_536],
    ['5', 5],
    ['1gb', 2 ** 30],
    ['3 lightyears', null],
  ])('reads the size %j as %j bytes', (written, expected) => {
    expect(parseSize(written)).toBe(expected);
  });

  it('knows the words for yes and no', () => {
    for (const yes of [true, 'on', 'True', 'YES', '1', 1]) expect(parseBoolean(yes)).toBe(true);
    for (const no of [false, 'off', 'False', 'no', '0', 0]) expect(parseBoolean(no)).toBe(false);
    for (const neither of ['t', '', 2, null, [], {}]) expect(parseBoolean(neither)).toBeNull();
  });

  it.each([
    ['10.0.0.1:5432', '10.0.0.1', 5432],
    ['pg-1.example.org:1', 'pg-1.example.org', 1],
    ['[::1]:5432', '::1', 5432],
    ['[::1]', '::1', null],
    ['::1', '::1', null],
    ['*:5432', '*', 5432],
    [':5432', '*', 5432],
    ['pg1', 'pg1', null],
  ])('reads the address %s', (written, host, port) => {
    expect(splitAddress(written)).toEqual({ host, port });
  });

  it.each(['', 'a:b', 'a:0', 'a:65536', '[::1', '[pg1]:1', 'a b:1', 'http://a:1', 'a:1:2', 'a@b:1'])(
    'finds no address in %j',
    (written) => {
      expect(splitAddress(written)).toBeNull();
    },
  );

  it('reads several addresses with one port, and none with two', () => {
    expect(parseAddresses('a,b:1', 2)).toEqual({ hosts: ['a', 'b'], port: 1 });
    expect(parseAddresses('a:1,b:1', 2)).toEqual({ hosts: ['a', 'b'], port: 1 });
    expect(parseAddresses('a', 2)).toEqual({ hosts: ['a'], port: 2 });
    expect(parseAddresses('a:1,b:2', 3)).toBeNull();
  });

  it('prints addresses so that it can read them again', () => {
    void fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), fc.integer({ min: 1, max: 65_535 }), (host, port) => {
        expect(splitAddress(printAddress({ host, port }))).toEqual({ host, port });
      }),
    );
  });

  it('reads lists with and without quotes and brackets', () => {
    expect(splitList(`'a:1', "b:2",c`)).toEqual(['a:1', 'b:2', 'c']);
    expect(splitList('[a, b]')).toEqual(['a', 'b']);
    expect(splitList('[::1]')).toEqual(['[::1]']);
    expect(splitList('[::1]:2379,[::2]:2379')).toEqual(['[::1]:2379', '[::2]:2379']);
  });

  it('prints lengths and sizes for people', () => {
    expect([0, 0.5, 1, 90, 300, 1800].map(printSeconds)).toEqual(['0 s', '500 ms', '1 s', '90 s', '300 s', '30 min']);
    expect([0, 1000, 2 ** 20, 3 * 2 ** 30].map(printBytes)).toEqual(['0 bytes', '1000 bytes', '1 MB', '3 GB']);
  });
});

describe('did you mean', () => {
  const known = ['ttl', 'loop_wait', 'retry_timeout', 'data_dir', 'name'];
  it.each([
    ['ttll', 'ttl'],
    ['tlt', 'ttl'],
    ['loopwait', 'loop_wait'],
    ['loop-wait', 'loop_wait'],
    ['Data_Dir', 'data_dir'],
    ['retry_timout', 'retry_timeout'],
    ['completely_different', null],
    ['xy', null],
  ])('for %s is %j', (written, expected) => {
    expect(nearest(written, known)).toBe(expected);
  });

  it('counts two swapped letters as one mistake', () => {
    expect(editDistance('abcd', 'abdc')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
  });
});
