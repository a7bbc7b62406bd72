/** What nobody should type: exit code 1 or 2 with the reason, and nothing changed anywhere. */
import { describe, expect, it } from 'vitest';
import { threeMembers } from '../http/builders.ts';
import { type Call, ctl, type World } from './fakes.ts';

const world = (): World => ({
  clusters: { demo: threeMembers() },
  api: ({ method }: Call) => ({ status: 200, text: method === 'GET' ? '{"patroni":{}}' : 'done' }),
  typed: ['y', 'y', 'y', 'y'],
});

const ROWS: readonly (readonly [string, 1 | 2, string])[] = [
  // Members and clusters that there are none of.
  ['list nowhere', 1, 'There is no cluster nowhere'],
  ['switchover nowhere --force', 1, 'There is no cluster nowhere'],
  ['switchover --candidate x --force', 1, 'Member x does not exist'],
  ['switchover --leader x --force', 1, 'Member x is not the leader'],
  ['failover --candidate x --force', 1, 'Member x does not exist'],
  ['failover nowhere --candidate b --force', 1, 'There is no cluster nowhere'],
  ['restart demo x --force', 1, 'x is not a member of cluster demo'],
  ['reload demo x --force', 1, 'x is not a member of cluster demo'],
  ['reinit demo x --force', 1, 'x is not a member of cluster demo'],
  ['flush demo x restart --force', 1, 'x is not a member of cluster demo'],
  ['dsn -m x', 1, 'x is not a member of cluster demo'],
  ['version demo x', 1, 'x is not a member of cluster demo'],
  ['pause nowhere', 1, 'There is no cluster nowhere'],
  ['resume', 1, 'Cluster is not paused'],
  ['show-config nowhere', 1, 'There is no cluster nowhere'],
  ['edit-config nowhere -s ttl=20 --force', 1, 'There is no cluster nowhere'],
  ['remove nowhere', 1, 'There is no cluster nowhere'],
  ['history nowhere', 1, 'There is no cluster nowhere'],
  ['query nowhere -c x', 1, 'There is no cluster nowhere'],
  // Times.
  ['switchover --force --scheduled 2020-01-01T10:00Z', 1, 'is in the past'],
  ['switchover --force --scheduled 2030-02-31T10:00Z', 1, 'is not understood as a time'],
  ['switchover --force --scheduled soon', 1, 'is not understood as a time'],
  ['restart demo b --force --scheduled 2020-01-01T10:00Z', 1, 'is in the past'],
  ['restart demo b --force --scheduled 10:00', 1, 'is not understood as a time'],
  // Numbers, words and options.
  ['restart demo b --force --timeout -1', 2, 'expected a number of seconds'],
  ['restart demo b --force --timeout 1e3', 2, 'expected a number of seconds'],
  ['restart demo b --force --pg-version fifteen', 2, 'is no version'],
  ['restart demo -r king --force', 2, 'Allowed choices'],
  ['reload demo -r king --force', 2, 'Allowed choices'],
  ['list -f csv', 2, 'Allowed choices'],
  ['list -w 0', 2, 'a number of seconds is expected'],
  ['flush demo b', 2, 'must be restart or switchover'],
  ['edit-config -s ttl --force', 2, 'expected KEY=VALUE'],
  ['edit-config -s ttl=soon --force', 1, 'Nothing was changed'],
  ['edit-config -s tttl=20 --force', 1, 'Nothing was changed'],
  ['edit-config --apply /nowhere/at-all --force', 1, 'cannot be read'],
  ['edit-config --replace /dev/null --force', 1, 'does not hold settings'],
  ['query', 2, 'Give either'],
  ['pause demo demo', 2, 'too many arguments'],
  ['switchover --nonsense', 2, 'unknown option'],
  ['switch', 2, 'unknown command'],
  ['failover --force', 1, 'needs to be told its candidate'],
  ['reinit demo --force', 1, 'Which member?'],
];

describe('pgha-ctl', () => {
  for (const [line, code, reason] of ROWS) {
    it(`${line} ends with ${code}: ${reason}`, async () => {
      const ran = await ctl(world(), ...line.split(' '));
      expect([ran.code, ran.err]).toEqual([code, expect.stringContaining(reason)]);
      expect(ran.calls.filter(({ method }) => method !== 'GET')).toEqual([]);
      expect([ran.txns, ran.sql]).toEqual([[], []]);
    });
  }

  it.each(['', '/', '//'])('takes %j for no name of a cluster: it would stand for all there are', async (name) => {
    for (const words of [['list'], ['remove'], ['pause'], ['edit-config', '-s', 'ttl=20', '--force'], ['audit']]) {
      const [command = '', ...rest] = words;
      const all = { '': threeMembers(), '/': threeMembers(), '//': threeMembers() };
      const ran = await ctl(
        { ...world(), clusters: all, typed: [name, 'Yes I am aware', 'a'] },
        command,
        name,
        ...rest,
      );
      expect([ran.code, ran.err]).toEqual([2, expect.stringContaining('is no name of a cluster')]);
      expect([ran.txns, ran.calls]).toEqual([[], []]);
    }
  });

  it('is told the beginning of an answer that is no page, however long that is', async () => {
    const api = ({ method }: Call) => ({ status: 500, text: method === 'GET' ? '{}' : '<'.repeat(4_000_000) });
    const { code, out, err } = await ctl({ ...world(), api }, 'reload', 'demo', 'b', '--force');
    expect(code).toBe(1);
    expect(`${out}${err}`.length).toBeLessThan(10_000);
  });
});
