import { describe, expect, it } from 'vitest';
import { threeMembers } from '../http/builders.ts';
import { ctl } from './fakes.ts';

describe('pgha-ctl list', () => {
  it('draws the table as patronictl does', async () => {
    const { out, code } = await ctl({ clusters: { demo: threeMembers() } }, 'list');
    expect(code).toBe(0);
    expect(out).toBe(
      [
        '+ Cluster: demo (7438123456789012345) ----+----+-------------+-----+------------+-----+------------------+',
        '| Member | Host     | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag | Tags             |',
        '+--------+----------+---------+-----------+----+-------------+-----+------------+-----+------------------+',
        '| a      | 10.0.0.1 | Leader  | running   |  2 |             |     |            |     |                  |',
        '| b      | 10.0.0.2 | Replica | streaming |  2 |   0/5000060 |   0 |  0/5000000 |   0 |                  |',
        '| c      | 10.0.0.3 | Replica | starting  |    |     unknown |     |    unknown |     | nofailover: true |',
        '+--------+----------+---------+-----------+----+-------------+-----+------------+-----+------------------+',
      ].join('\n'),
    );
  });

  it('shows ports when one is unusual, reasons and tags on several lines with rules between, and what is planned', async () => {
    const demo = threeMembers({
      config: { pause: true },
      failover: { leader: 'a', member: 'b', scheduled_at: '2030-01-01T10:00:00+00:00' },
    });
    demo['members/c'] = {
      conn_url: 'postgres://10.0.0.3:5433/postgres',
      state: 'running',
      role: 'replica',
      xlog_location: 0x3000000,
      pending_restart: true,
      pending_restart_reason: {
        max_connections: { old_value: '100', new_value: '200' },
        archive_command: { old_value: 'x'.repeat(60), new_value: 'y' },
      },
      tags: { clonefrom: true, zone: 'x' },
    };
    const { out } = await ctl({ clusters: { demo } }, 'list');
    expect(out).toBe(
      [
        '+ Cluster: demo (7438123456789012345) ---------+----+-------------+-----+------------+-----+-----------------+--------------------------------------+-----------------+',
        '| Member | Host          | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag | Pending restart | Pending restart reason               | Tags            |',
        '+--------+---------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+--------------------------------------+-----------------+',
        '| a      | 10.0.0.1:5432 | Leader  | running   |  2 |             |     |            |     |                 |                                      |                 |',
        '+--------+---------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+--------------------------------------+-----------------+',
        '| b      | 10.0.0.2:5432 | Replica | streaming |  2 |   0/5000060 |   0 |  0/5000000 |   0 |                 |                                      |                 |',
        '+--------+---------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+--------------------------------------+-----------------+',
        '| c      | 10.0.0.3:5433 | Replica | running   |    |   0/3000000 |  32 |            |     | *               | max_connections: 100->200            | clonefrom: true |',
        '|        |               |         |           |    |             |     |            |     |                 | archive_command: [hidden - too long] | zone: x         |',
        '+--------+---------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+--------------------------------------+-----------------+',
        ' Maintenance mode: on',
        ' Switchover scheduled at: 2030-01-01T10:00:00+00:00',
        '                    from: a',
        '                      to: b',
      ].join('\n'),
    );
  });

  it('shows a witness as one, without positions', async () => {
    const demo = threeMembers();
    const said = { state: 'witness', role: 'witness', pgha: { version: '0.1.0', role: 'witness' } };
    demo['members/w'] = { api_url: 'http://10.0.0.9:8008/patroni', ...said };
    const { out } = await ctl({ clusters: { demo } }, 'list', '-f', 'json');
    expect(JSON.parse(out)).toContainEqual({ Cluster: 'demo', Member: 'w', Role: 'Witness', State: 'running' });
    expect((await ctl({ clusters: { demo } }, 'dsn', '-m', 'w')).code).toBe(1);
  });

  it('says below the table who has the virtual address', async () => {
    const demo = threeMembers();
    expect((await ctl({ clusters: { demo } }, 'list')).out).not.toContain('Virtual address');
    const vip = '10.0.0.100/24 on eth0';
    demo['members/b'] = { ...(demo['members/b'] as object), pgha: { version: '0.1.0', vip } };
    expect((await ctl({ clusters: { demo } }, 'list')).out).toContain(' Virtual address: 10.0.0.100/24 on eth0 of b');
  });

  it('names the trouble of a member in the extended form only, and only while there is some', async () => {
    const demo = threeMembers();
    expect((await ctl({ clusters: { demo } }, 'list', '--extended')).out).not.toContain('Trouble');
    demo['members/b'] = { ...(demo['members/b'] as object), pgha: { version: '0.1.0', trouble: 'disk hangs' } };
    expect((await ctl({ clusters: { demo } }, 'list')).out).not.toContain('disk hangs');
    const { out } = await ctl({ clusters: { demo } }, 'list', '--extended');
    expect(out).toContain('| Trouble');
    expect(out).toContain('| disk hangs');
  });

  it('prints one object per member as JSON, without what is empty', async () => {
    const { out } = await ctl({ clusters: { demo: threeMembers() } }, 'list', '-f', 'json');
    expect(JSON.parse(out)).toEqual([
      { Cluster: 'demo', Member: 'a', Host: '10.0.0.1', Role: 'Leader', State: 'running', TL: 2 },
      {
        Cluster: 'demo',
        Member: 'b',
        Host: '10.0.0.2',
        Role: 'Replica',
        State: 'streaming',
        TL: 2,
        'Receive LSN': '0/5000060',
        'Receive Lag': 0,
        'Replay LSN': '0/5000000',
        'Replay Lag': 0,
      },
      {
        Cluster: 'demo',
        Member: 'c',
        Host: '10.0.0.3',
        Role: 'Replica',
        State: 'starting',
        'Receive LSN': 'unknown',
        'Replay LSN': 'unknown',
        Tags: { nofailover: true },
      },
    ]);
  });

  it('prints tsv with the cluster first', async () => {
    const { out } = await ctl({ clusters: { demo: threeMembers() } }, 'list', '-f', 'tsv');
    expect(out.split('\n').slice(0, 2)).toEqual([
      'Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\tTags',
      'demo\ta\t10.0.0.1\tLeader\trunning\t2\t\t\t\t\t',
    ]);
    expect(out).toContain('{nofailover: true}');
  });

  it('names the state of a cluster that is only being made', async () => {
    const made = await ctl({ clusters: { demo: threeMembers({ initialize: '' }) } }, 'list');
    expect(made.out).toContain('+ Cluster: demo (initializing) ');
  });

  it('fails for a cluster that does not exist', async () => {
    const { code, err } = await ctl({ clusters: {} }, 'list', 'nope');
    expect([code, err]).toEqual([1, 'Error: There is no cluster nope in etcd.']);
  });
});

describe('pgha-ctl topology', () => {
  it('puts the leader first and each standby below its source', async () => {
    const demo = threeMembers();
    demo['members/c'] = { ...(demo['members/c'] as object), tags: { replicatefrom: 'b' } };
    const { out } = await ctl({ clusters: { demo } }, 'topology');
    const first = out.split('\n').map((line) => line.split('|')[1]);
    expect(first.slice(3, 6)).toEqual([' a      ', ' + b    ', '   + c  ']);
  });

  it('goes by where a standby really receives from, where that is known', async () => {
    const demo = threeMembers();
    const told = { tags: { replicatefrom: 'b' }, pgha: { version: '0.1.0', upstream: 'b', receives_from: 'a' } };
    demo['members/c'] = { ...(demo['members/c'] as object), ...told };
    const { out } = await ctl({ clusters: { demo } }, 'topology');
    expect(
      out
        .split('\n')
        .map((line) => line.split('|')[1])
        .slice(3, 6),
    ).toEqual([' a      ', ' + b    ', ' + c    ']);
  });

  it('does not lose members that name each other as their source', async () => {
    const demo = threeMembers();
    for (const [member, source] of [
      ['b', 'c'],
      ['c', 'b'],
    ]) {
      demo[`members/${member}`] = { ...(demo[`members/${member}`] as object), tags: { replicatefrom: source } };
    }
    const { out } = await ctl({ clusters: { demo } }, 'topology');
    expect(out.match(/\+ [bc]/g)).toHaveLength(2);
  });
});

describe('pgha-ctl history, dsn, show-config', () => {
  const clusters = {
    demo: threeMembers({ history: [[1, 100, 'no recovery target specified', '2026-01-01T00:00:00+00:00', 'a']] }),
  };

  it('draws the timelines', async () => {
    expect((await ctl({ clusters }, 'history')).out).toBe(
      [
        '+----+-----+------------------------------+---------------------------+------------+',
        '| TL | LSN | Reason                       | Timestamp                 | New Leader |',
        '+----+-----+------------------------------+---------------------------+------------+',
        '|  1 | 100 | no recovery target specified | 2026-01-01T00:00:00+00:00 | a          |',
        '+----+-----+------------------------------+---------------------------+------------+',
      ].join('\n'),
    );
  });

  it('tells how to reach the leader, a replica, or one member', async () => {
    expect((await ctl({ clusters }, 'dsn')).out).toBe('host=10.0.0.1 port=5432');
    expect((await ctl({ clusters }, 'dsn', '-r', 'replica')).out).toBe('host=10.0.0.2 port=5432');
    expect((await ctl({ clusters }, 'dsn', '-m', 'c')).out).toBe('host=10.0.0.3 port=5432');
    expect((await ctl({ clusters }, 'dsn', '-m', 'x')).code).toBe(1);
    expect((await ctl({ clusters }, 'dsn', '--all')).out).toBe(
      'host=10.0.0.1,10.0.0.2,10.0.0.3 port=5432,5432,5432 target_session_attrs=read-write',
    );
    expect((await ctl({ clusters }, 'dsn', '--all', '-r', 'replica')).out).toContain(
      'target_session_attrs=prefer-standby',
    );
    expect((await ctl({ clusters }, 'dsn', '--all', '-m', 'b')).code).toBe(2);
  });

  it('prints the settings', async () => {
    expect((await ctl({ clusters }, 'show-config')).out).toBe('ttl: 10\nloop_wait: 2\nretry_timeout: 3');
  });

  it('shows lags in bytes where that is asked for', async () => {
    const lag = async (...args: string[]) => {
      const { out } = await ctl({ clusters: { demo: threeMembers() } }, 'list', '-f', 'json', ...args);
      return (JSON.parse(out) as Record<string, unknown>[]).find((row) => row['Member'] === 'b')?.['Replay Lag'];
    };
    expect([await lag(), await lag('--bytes')]).toEqual([0, 96]);
  });

  it('says that the cluster is paused in whatever word the setting is written', async () => {
    for (const word of [true, 'on', 'True', 'yes', 1]) {
      const demo = threeMembers({ config: { pause: word } });
      expect((await ctl({ clusters: { demo } }, 'list')).out).toContain(' Maintenance mode: on');
      expect((await ctl({ clusters: { demo } }, 'pause')).err).toContain('Cluster is already paused');
    }
    for (const word of [false, 'off', null]) {
      const demo = threeMembers({ config: { pause: word } });
      expect((await ctl({ clusters: { demo } }, 'list')).out).not.toContain('Maintenance');
    }
  });
});
