import { beforeEach, describe, expect, it } from 'vitest';
import { eventPrimary, type Happening, Happenings } from '../../../src/agent/happenings.ts';
import type { Published } from '../../../src/agent/published.ts';
import type { ClusterView } from '../../../src/core/cluster.ts';
import { NOWHERE } from '../../../src/core/lsn.ts';
import type { RuleId } from '../../../src/core/rules.ts';
import { nodeName, revision } from '../../../src/core/store.ts';
import { instant, millis, wallTime } from '../../../src/core/time.ts';
import { aCluster, aPublished, primary, standby, threeMembers } from '../http/builders.ts';

const b = nodeName('b');
let node: Happenings;
let now: number;
let told: Happening[];

beforeEach(() => {
  node = new Happenings(b);
  now = 100_000;
  told = [];
});

const receiverFrom = (host: string) => ({
  streaming: true,
  from: `${host}:5432`,
  timeline: standby().timeline,
  lastMessage: millis(10),
});
const streaming = (host = '10.0.0.1') => standby({ receiver: receiverFrom(host) });
const silent = () => standby({ receiver: null });

/** The leader keys of one term: `revision` of the key is its place in the object. */
function cluster(leader: string | null, term: number, over: Record<string, unknown> = {}): ClusterView {
  const { leader: _leader, ...rest } = threeMembers(over);
  const { 'members/a': a, 'members/b': own, 'members/c': c } = rest as Record<string, object>;
  const numbered = {
    ...rest,
    'members/a': { ...a, pgha: { node_id: 1, data_dir: '/data/a' } },
    'members/b': { ...own, pgha: { node_id: 2 } },
    'members/c': {
      ...c,
      conn_url: 'postgres://10.0.0.3:5432/postgres',
      pgha: { node_id: 3 },
    },
  };
  for (const [key, value] of Object.entries(over))
    if (value === null) delete (numbered as Record<string, unknown>)[key];
  const view = aCluster(numbered);
  return leader === null ? view : { ...view, leader: { name: nodeName(leader), term: revision(term), lease: null } };
}

const leads = (term: number): Published['leadership'] => ({
  kind: 'holding',
  term: revision(term),
  ttl: millis(10_000),
  since: instant(now),
  windowOpen: true,
  until: instant(now + 8_000),
  deadline: instant(now + 9_000),
  gate: instant(now),
  unopenedSince: null,
  releaseSent: false,
  adopting: false,
  provenBy: 'etcd',
});

/** Lets time pass, sees, and says which events this made. */
function sees(over: Partial<Published> & { rule?: RuleId; pause?: boolean }, after = 100): readonly string[] {
  now += after;
  const { rule = 'following.streaming', ...rest } = over;
  const seen = aPublished({
    at: instant(now),
    clusterAt: instant(now),
    clusterAtWall: wallTime(1_795_000_000_000),
    local: streaming(),
    cluster: cluster('a', 7),
    decision: { situation: '', rule, reason: `because of ${rule}`, since: instant(now), sinceWall: wallTime(0) },
    ...rest,
  });
  told = [...node.see(seen)];
  return told.map(({ event, ok }) => (ok ? event : `${event} (no)`));
}

describe('a quiet cluster', () => {
  it('has nothing to tell, from the first look on', () => {
    for (let i = 0; i < 5; i++) expect(sees({}, 2_000)).toEqual([]);
  });
});

describe('a failover', () => {
  it('is told by the standby that is promoted, with the former primary', () => {
    sees({});
    expect(
      sees({ local: silent(), cluster: cluster(null, 0, { 'members/a': null }), rule: 'leaderless.at-the-gate' }),
    ).toEqual(['standby_unregister', 'repmgrd_upstream_disconnect (no)']);
    sees({
      local: silent(),
      cluster: cluster('b', 9, { 'members/a': null }),
      leadership: leads(9),
      rule: 'leading.promote',
    });
    expect(
      sees({
        local: primary(),
        cluster: cluster('b', 9, { 'members/a': null }),
        leadership: leads(9),
        rule: 'leading.primary',
      }),
    ).toEqual(['standby_promote', 'repmgrd_failover_promote']);
    const [promoted] = told;
    expect(promoted?.other == null ? null : eventPrimary(promoted.other)).toEqual({
      id: 1,
      name: 'a',
      conninfo: 'host=10.0.0.1 port=5432',
    });
    expect(promoted?.other?.member?.pgha?.dataDirectory).toBe('/data/a');
  });

  it('is told also when the new key was not read before the promotion was done', () => {
    sees({});
    sees({ local: silent(), cluster: cluster(null, 0), rule: 'leaderless.at-the-gate' });
    expect(sees({ local: primary(), cluster: cluster(null, 0), leadership: leads(9) })).toEqual([
      'standby_promote',
      'repmgrd_failover_promote',
    ]);
    expect(told[0]?.other?.name).toBe('a');
  });

  it('is told by a standby that follows the new primary', () => {
    sees({});
    expect(sees({ local: silent(), cluster: cluster(null, 0) })).toEqual(['repmgrd_upstream_disconnect (no)']);
    sees({ local: silent(), cluster: cluster('c', 9) });
    expect(sees({ local: streaming('10.0.0.3'), cluster: cluster('c', 9) })).toEqual([
      'standby_follow',
      'repmgrd_failover_follow',
    ]);
    expect(told[0]?.other?.name).toBe('c');
    expect(sees({ local: streaming('10.0.0.3'), cluster: cluster('c', 9) })).toEqual([]);
  });

  it('that ends with the old leader is told as aborted', () => {
    sees({});
    sees({ local: silent(), cluster: cluster(null, 0), rule: 'leaderless.ask-peers' });
    expect(sees({ cluster: cluster('a', 9) })).toEqual(['repmgrd_failover_abort', 'repmgrd_upstream_reconnect']);
  });

  it('of a leader that took its key again at once is none', () => {
    sees({});
    expect(sees({ cluster: cluster('a', 9) })).toEqual([]);
  });

  it('in a cluster with failover: manual leaves the standbys alone, and that is told once', () => {
    sees({});
    sees({ cluster: cluster(null, 0), rule: 'leaderless.at-the-gate' });
    expect(sees({ cluster: cluster(null, 0), rule: 'leaderless.manual' })).toEqual(['standby_disconnect_manual (no)']);
    sees({ cluster: cluster(null, 0), rule: 'leaderless.at-the-gate' });
    expect(sees({ cluster: cluster(null, 0), rule: 'leaderless.manual' })).toEqual([]);
  });
});

describe('a switchover that was asked for', () => {
  const asked = { failover: { leader: 'a', member: 'b' } };

  it('is told by the new primary, and no upstream counts as lost', () => {
    sees({});
    sees({ cluster: cluster('a', 7, asked) });
    expect(sees({ local: silent(), cluster: cluster(null, 0) }, 2_000)).toEqual([]);
    expect(sees({ local: primary(), cluster: cluster('b', 9), leadership: leads(9) })).toEqual([
      'standby_promote',
      'standby_switchover',
    ]);
  });

  it('is followed without a failover', () => {
    sees({});
    sees({ cluster: cluster('a', 7, { failover: { leader: 'a', member: 'c' } }) });
    sees({ local: silent(), cluster: cluster(null, 0) });
    expect(sees({ local: streaming('10.0.0.3'), cluster: cluster('c', 9) })).toEqual(['standby_follow']);
  });

  it('for later does not make a switchover of a failover before it', () => {
    sees({});
    sees({ cluster: cluster('a', 7, { failover: { leader: 'a', scheduled_at: '2099-01-01T00:00:00Z' } }) });
    sees({ local: silent(), cluster: cluster(null, 0) });
    expect(sees({ local: primary(), cluster: cluster('b', 9), leadership: leads(9) })).toContain(
      'repmgrd_failover_promote',
    );
  });

  it('and was refused does not make one of the next failover', () => {
    sees({});
    sees({ cluster: cluster('a', 7, asked) });
    sees({ cluster: cluster('a', 7) });
    sees({ local: silent(), cluster: cluster(null, 0) });
    expect(sees({ local: primary(), cluster: cluster('b', 9), leadership: leads(9) })).toContain(
      'repmgrd_failover_promote',
    );
  });

  it('makes a standby of the old primary, which is told when it receives', () => {
    sees({ local: primary(), cluster: cluster('b', 7), leadership: leads(7) });
    const switching = { kind: 'switchover', since: instant(now), sentence: '', fraction: null };
    sees({ local: primary(), cluster: cluster('b', 7, asked), leadership: leads(7), operation: switching });
    const stopped = {
      kind: 'stopped',
      systemId: primary().systemId,
      timeline: primary().timeline,
      version: 150018,
      cleanly: true,
      wasPrimary: true,
      standbySignal: false,
      checkpoint: primary().flushed,
      minRecoveryPoint: NOWHERE,
    } as const;
    expect(sees({ local: stopped, cluster: cluster('b', 7, asked), leadership: leads(7) })).toEqual([]);
    sees({ local: silent(), cluster: cluster('a', 9) });
    expect(sees({ local: streaming('10.0.0.1'), cluster: cluster('a', 9) })).toEqual(['repmgrd_standby_reconnect']);
  });
});

describe('the upstream of a standby', () => {
  it('is lost after a second of silence, and back when it sends', () => {
    sees({});
    expect(sees({ local: silent() }, 500)).toEqual([]);
    expect(sees({ local: silent() }, 600)).toEqual([]);
    expect(sees({ local: silent() }, 600)).toEqual(['repmgrd_upstream_disconnect (no)']);
    expect(sees({ local: silent() }, 5_000)).toEqual([]);
    expect(sees({})).toEqual(['repmgrd_upstream_reconnect']);
  });

  it('that sends on after its key ran out is back with its key', () => {
    sees({});
    expect(sees({ cluster: cluster(null, 0) })).toEqual(['repmgrd_upstream_disconnect (no)']);
    expect(sees({ cluster: cluster(null, 0) })).toEqual([]);
    expect(sees({ cluster: cluster('a', 9) })).toEqual(['repmgrd_upstream_reconnect']);
  });
});

describe('the own Postgres', () => {
  const failing = { check: 'ping', said: 'no answer' } as const;
  const leading = (local: Published['local'], over: Parameters<typeof sees>[0] = {}) =>
    sees({ local, cluster: cluster('b', 7), leadership: leads(7), rule: 'leading.primary', ...over });

  it('of the primary is lost when its check fails, and back when it passes', () => {
    leading(primary());
    expect(leading(primary({ failing }))).toEqual(['repmgrd_local_disconnect (no)']);
    expect(leading(primary({ failing }))).toEqual([]);
    expect(leading(primary())).toEqual(['repmgrd_local_reconnect']);
  });

  it('of the primary that dies and is started again in place is lost and back', () => {
    leading(primary());
    expect(leading({ kind: 'orphans', processes: 3 })).toEqual(['repmgrd_local_disconnect (no)']);
    leading({ kind: 'starting', since: millis(10), asPrimary: true });
    expect(leading(primary())).toEqual(['repmgrd_local_reconnect']);
  });

  it('of a standby is told in its own words', () => {
    sees({});
    expect(sees({ local: standby({ failing }) })).toEqual(['standby_failure (no)']);
    expect(sees({})).toEqual(['standby_recovery']);
    expect(sees({ local: { kind: 'orphans', processes: 3 }, rule: 'fence.orphans' })).toEqual(['standby_failure (no)']);
    expect(sees({})).toEqual(['standby_recovery']);
  });

  it('that is stopped by us is no failure', () => {
    leading(primary());
    node.onPurpose();
    expect(leading({ kind: 'orphans', processes: 3 })).toEqual([]);
    leading(primary());
    expect(leading({ kind: 'orphans', processes: 3 }, { rule: 'fence.without-window' })).toEqual([]);
    sees({});
    const restart = { kind: 'restart', since: instant(now), sentence: '', fraction: null };
    sees({ local: { kind: 'stopping', since: millis(10) }, operation: restart });
    expect(sees({ local: { kind: 'absent' }, operation: restart })).toEqual([]);
  });

  it('that was found down is no failure', () => {
    const down = { kind: 'stopped', wasPrimary: false } as Published['local'];
    expect(sees({ local: down })).toEqual([]);
    expect(sees({ local: down })).toEqual([]);
  });
});

describe('a node that was copied', () => {
  it('was never a primary, whatever its control file says', () => {
    sees({ local: { kind: 'absent' }, rule: 'joining.copy' });
    node.copied();
    sees({ local: { kind: 'stopped', wasPrimary: true } as Published['local'] });
    expect(sees({})).toEqual([]);
  });
});

describe('what concerns everybody', () => {
  const without = (name: string, leader: string | null) => cluster(leader, 7, { [`members/${name}`]: null });

  it('is told by the leader', () => {
    const leading = { local: primary(), leadership: leads(7) };
    sees({ ...leading, cluster: without('c', 'b') });
    expect(sees({ ...leading, cluster: cluster('b', 7) })).toEqual(['standby_register']);
    expect(told[0]?.about?.name).toBe('c');
    expect(told[0]?.other?.name).toBe('b');
    expect(sees({ ...leading, cluster: without('c', 'b') })).toEqual(['standby_unregister']);
    expect(sees({ ...leading, cluster: without('c', 'b'), pause: true })).toEqual(['cluster_paused']);
    expect(sees({ ...leading, cluster: without('c', 'b') })).toEqual(['cluster_resumed']);
  });

  it('is not told by a standby', () => {
    sees({});
    expect(sees({ cluster: without('c', 'a') })).toEqual([]);
    expect(sees({ pause: true })).toEqual([]);
  });

  it('is told by the first member when nobody leads', () => {
    sees({ local: silent() });
    expect(sees({ local: silent(), cluster: without('a', null) })).toEqual(['standby_unregister']);
  });

  it('names a witness as one', () => {
    const leading = { local: primary(), leadership: leads(7) };
    sees({ ...leading, cluster: cluster('b', 7) });
    const witness = { 'members/w': { state: 'witness', pgha: { role: 'witness' } } };
    expect(sees({ ...leading, cluster: cluster('b', 7, witness) })).toEqual(['witness_register']);
    expect(sees({ ...leading, cluster: cluster('b', 7) })).toEqual(['witness_unregister']);
  });
});

describe('etcd', () => {
  it('is unreachable when it has not answered for longer than two cycles, and reachable when it has', () => {
    sees({});
    const view = cluster('a', 7);
    const silentSince = instant(now);
    expect(sees({ cluster: view, clusterAt: silentSince }, 4_000)).toEqual([]);
    expect(sees({ cluster: view, clusterAt: silentSince }, 2_000)).toEqual(['store_unreachable (no)']);
    expect(sees({ cluster: view, clusterAt: silentSince }, 2_000)).toEqual([]);
    expect(sees({})).toEqual(['store_reachable']);
  });
});

describe('a node that cannot take part', () => {
  it('says so once, until it can', () => {
    sees({});
    expect(sees({ rule: 'node.unusable' })).toEqual(['node_unusable (no)']);
    expect(sees({ rule: 'node.unusable' })).toEqual([]);
    sees({});
    expect(sees({ rule: 'node.unusable' })).toEqual(['node_unusable (no)']);
  });
});
