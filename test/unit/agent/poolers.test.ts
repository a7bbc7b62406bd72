/** What a node says of poolers that others hold; the steps themselves are told by the simulation and by real poolers. */
import { expect, it } from 'vitest';
import type { Agent } from '../../../src/agent/agent.ts';
import { PoolerKeeper } from '../../../src/agent/poolers.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { resolveSettings } from '../../../src/config/settings.ts';
import { KEYS, readCluster } from '../../../src/core/cluster.ts';
import { leaseId, revision } from '../../../src/core/store.ts';
import { FakeClock, FakeLog } from './fakes.ts';

const FILE = `scope: demo
name: c
etcd3: {hosts: ['10.0.0.1:2379', '10.0.0.2:2379', '10.0.0.3:2379']}
restapi: {connect_address: '10.0.0.3:8008'}
postgresql: {data_dir: /srv/pg/data, listen: '*:5432', connect_address: '10.0.0.3:5432'}
`;
const WITH_POOLERS = `${FILE}pgbouncer: {poolers: ['10.0.0.1:6432'], username: pgbouncer, password: secret}\n`;

const pause = (state: 'paused' | 'resumed', at: string): string =>
  JSON.stringify({ state, for: 'switchover', by: 'a', at, held: { '10.0.0.1:6432': { paused: [], led: ['app'] } } });

it.each([
  ['that knows no poolers says once that it could not let their clients go', FILE, ['pooler.unknown']],
  ['that knows them has nothing to say', WITH_POOLERS, []],
])('a node %s', (_what, file, said) => {
  const { config } = loadConfig({ path: 'pgha.yml', env: {}, readFile: () => file });
  const log = new FakeLog();
  const clock = new FakeClock();
  let value = pause('resumed', '2026-11-21T04:00:00.000Z');
  const keeper = new PoolerKeeper({
    resolved: resolveSettings(null, config),
    now: () => clock.now(),
    reader: {
      get latest() {
        const at = revision(60);
        const entry = { key: KEYS.poolers, value, createRevision: at, modRevision: at, lease: leaseId('0') };
        const header = { revision: at, clusterId: 'one', raftTerm: 1n };
        return { cluster: readCluster([entry], header) };
      },
    },
    parts: { log },
  } as unknown as Agent);
  keeper.note();
  expect(log.events).toEqual([]);
  for (const at of ['2026-11-21T05:00:00.000Z', '2026-11-21T06:00:00.000Z']) {
    value = pause('paused', at);
    keeper.note();
    keeper.note();
  }
  expect(log.events).toEqual(said);
  expect(log.lines.map(({ sentence }) => sentence).join()).toMatch(said.length === 0 ? /^$/ : /^a holds clients back/);
});
