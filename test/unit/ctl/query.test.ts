/** One statement on one member. */
import { describe, expect, it } from 'vitest';
import type { Rows } from '../../../src/http/ctl/table.ts';
import { threeMembers } from '../http/builders.ts';
import { ctl, type World } from './fakes.ts';

const column = (title: string) => ({ title, key: title, align: 'left' as const });
const answer: Rows = {
  columns: [column('name'), column('setting')],
  rows: [
    ['a\tb', '1'],
    ['c', ''],
  ],
};
const world = (over: Partial<World> = {}): World => ({
  clusters: { demo: threeMembers() },
  sql: () => answer,
  ...over,
});

describe('pgha-ctl query', () => {
  it('asks the leader, and prints columns and rows for programs', async () => {
    const ran = await ctl(world(), 'query', 'demo', '-c', 'select 1');
    expect(ran.sql).toEqual([{ target: { host: '10.0.0.1', port: 5432 }, statement: 'select 1' }]);
    expect([ran.code, ran.out]).toEqual([0, 'name\tsetting\na b\t1\nc\t']);
  });

  it('asks a member that is named, or one with a role, as the user and in the database that are named', async () => {
    const args = ['-U', 'bob', '-d', 'app', '--password', '-c', 'x'];
    const ran = await ctl(world({ typed: ['secret'] }), 'query', '-m', 'b', ...args);
    expect(ran.asked).toEqual(['Password: ']);
    expect(ran.sql[0]?.target).toEqual({
      host: '10.0.0.2',
      port: 5432,
      user: 'bob',
      database: 'app',
      password: 'secret',
    });
    expect((await ctl(world(), 'query', '-r', 'replica', '-c', 'x')).sql[0]?.target.host).toBe('10.0.0.2');
  });

  it('prints in the format asked for', async () => {
    const print = async (...args: string[]) => (await ctl(world(), 'query', '-c', 'x', ...args)).out;
    expect(await print('--format', 'json')).toBe('[{"name":"a\\tb","setting":"1"},{"name":"c"}]');
    expect(await print('--delimiter', '|')).toBe('name|setting\na\tb|1\nc|');
    expect(await print('--format', 'pretty')).toContain('| name | setting |');
    expect((await ctl(world({ sql: () => ({ columns: [], rows: [] }) }), 'query', '-c', 'set x = 1')).out).toBe('');
  });

  it('ends with 1 when Postgres refuses, and with 2 when it is not told what to run', async () => {
    const { sql: _, ...down } = world();
    expect(await ctl(down, 'query', '-c', 'x')).toMatchObject({ code: 1, err: 'Error: connect ECONNREFUSED' });
    expect((await ctl(world(), 'query')).code).toBe(2);
    expect((await ctl(world(), 'query', '-c', 'x', '-f', 'y')).code).toBe(2);
    expect((await ctl(world(), 'query', '-f', '/nowhere/at-all')).code).toBe(1);
    expect((await ctl(world(), 'query', '-m', 'x', '-c', 'x')).code).toBe(1);
    expect((await ctl(world({ clusters: {} }), 'query', '-c', 'x')).code).toBe(1);
    const none = { ...threeMembers() };
    delete none['leader'];
    expect(await ctl(world({ clusters: { demo: none } }), 'query', '-c', 'x')).toMatchObject({ code: 1, sql: [] });
  });
});
