/**
 * The files that pages on the net publish, unchanged, around one real cluster: the machines of S4 with their own addresses,
 * names, etcd.conf and node file, HAProxy and PgBouncer in front of them, keepalived of S3 on them; and one node of S1 with the
 * etcd of S3. What is filled in stands in the lists below and nowhere else. docs/from-the-how-tos.md names rows and tests.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { postgresBinDir } from '../../scripts/ensure.mjs';
import { type Around, holdersOf, placeOf, startHaproxyWith, startKeepalived, startPgbouncer } from './lib/around.ts';
import { repository, runOn } from './lib/client.ts';
import type { Server } from './lib/client-messages.ts';
import { Cluster, type Node } from './lib/cluster.ts';
import { Daemon } from './lib/daemon.ts';
import { startEtcd } from './lib/etcd.ts';
import { nodeForServer, serverDirectory, stepDown } from './lib/launch.ts';
import type { Host } from './lib/network.ts';
import { allProcesses, commandLine, type ProcessId, postgresFamily, postmasterOf, signal } from './lib/processes.ts';
import { changedBeyond, type Filling, fillIn, publishedFile } from './lib/published.ts';
import { openRun, runDirectory } from './lib/run.ts';
import { ctlDone, describeOnHosts, endsWell, everything } from './lib/scenario.ts';
import { until } from './lib/time.ts';

const NODES = { pg1: '192.168.11.101', pg2: '192.168.11.102', pg3: '192.168.11.103' };
const OTHERS = {
  haproxy: '192.168.11.100',
  'test-pgsql-01': '10.10.10.65',
  'test-pgsql-02': '10.10.10.66',
  'test-pgsql-03': '10.10.10.67',
  db3: '172.31.29.241',
};
const VIRTUAL = '192.168.11.60';
/** As the node file of S4 says. */
const SUPERUSER = { username: 'postgres', password: 'otus' };
const IDS = { pg1: 1, pg2: 2, pg3: 3 } as const;

type Name = keyof typeof NODES;
const NAMES = Object.keys(NODES) as Name[];

// ---- what is filled in --------------------------------------------------------------------------------------------------------

/** The files of S4 are those of pg1, and say nothing that is not true there. */
function etcdOfS4(host: string): Filling {
  if (host === 'pg1') return [];
  const address = NODES[host as Name];
  return [
    ['ETCD_NAME="pg1"', `ETCD_NAME="${host}"`],
    [',http://192.168.11.101:2379"', `,http://${address}:2379"`],
    ['PEER_URLS="http://192.168.11.101:2380"', `PEER_URLS="http://${address}:2380"`],
    ['ADVERTISE_CLIENT_URLS="http://192.168.11.101:2379"', `ADVERTISE_CLIENT_URLS="http://${address}:2379"`],
  ];
}

function etcdOfS3(host: string, directory: string): Filling {
  const data: Filling[number] = ['/var/lib/etcd/default.etcd', join(directory, host, 'default.etcd')];
  if (host === 'test-pgsql-01') return [data];
  const address = OTHERS[host as keyof typeof OTHERS];
  return [
    data,
    ['ETCD_NAME="test-pgsql-01"', `ETCD_NAME="${host}"`],
    ['PEER_URLS="http://10.10.10.65:2380"', `PEER_URLS="http://${address}:2380"`],
    ['LISTEN_CLIENT_URLS="http://10.10.10.65:2379', `LISTEN_CLIENT_URLS="http://${address}:2379`],
    ['ADVERTISE_CLIENT_URLS="http://10.10.10.65:2379"', `ADVERTISE_CLIENT_URLS="http://${address}:2379"`],
  ];
}

function nodeOfS4({ name, dataDir }: Node): Filling {
  const paths: Filling = [
    ['/var/lib/pgsql/otus/pg1/data', dataDir],
    ['/usr/pgsql-12/bin', postgresBinDir() ?? ''],
  ];
  if (name === 'pg1') return paths;
  return [...paths, ['name: pg1', `name: ${name}`], ['192.168.11.101', NODES[name as Name]]];
}

const keepalivedOfS3 = (script: string): Filling => [
  ['/usr/local/bin/check_patroni.sh', script],
  ['ens192', 'eth0'],
  ['*password*', 'vrrp-4-us'],
  ['*VirtualIP*', VIRTUAL],
];

const pgbouncerOfS4 = (place: string): Filling => [
  ['/var/log/pgbouncer/', `${place}/`],
  ['/var/run/pgbouncer/', `${place}/`],
  ['/etc/pgbouncer/', `${place}/`],
];

const repmgrOfS1 = (data: string): Filling => [['/var/lib/postgresql/12/main', data]];

const etcdConf = (name: string): string => join(runDirectory, `${name}.etcd.conf`);

/** As systemd reads an EnvironmentFile, which is how etcd's packages get this file to it. */
function variables(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries(
    [...text.matchAll(/^([A-Z_]+)="(.*)"$/gm)].map(([, name = '', value = '']) => [name, value]),
  );
}

// ---- the tests ----------------------------------------------------------------------------------------------------------------

describeOnHosts('the files of the how-tos', () => {
  let cluster: Cluster;
  const poolers = new Map<string, Around>();

  beforeAll(async () => {
    openRun();
    for (const name of NAMES) writeFileSync(etcdConf(name), fillIn('etcd-s4.conf', etcdOfS4(name)));
    cluster = await Cluster.start({
      scope: 'otus',
      ttl: 30,
      // Without the watch's writes: for the election the positions have to be equal. It begins after that.
      dontWait: true,
      published: {
        nodes: NODES,
        others: OTHERS,
        superuser: SUPERUSER,
        etcd: { variables: (name) => variables(readFileSync(etcdConf(name), 'utf8')) },
        // pg1 and pg2 read the published file itself; pg3 what the importer makes of it.
        file: (node) => {
          const text = fillIn('patroni-otus.yml', nodeOfS4(node));
          return node.name === 'pg3' ? imported(node, text) : text;
        },
      },
    });
    await cluster.waitAllStreaming();
  });
  afterAll(async () => {
    await cluster?.destroy();
  });
  afterEach(async (context) => {
    if (context.task.result?.state === 'fail')
      for (const error of context.task.result.errors ?? []) error.message = cluster.explain(error.message).message;
    await cluster.stopWriter();
  });

  const host = (name: string) => cluster.network.host(name);
  const curl = async (on: string, url: string): Promise<string> =>
    (await runOn(host(on), ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', url])).stdout;
  /** One beside each daemon, as S4 has them; they stay. */
  const startPoolers = (): readonly (Around & { readonly name: string })[] => {
    for (const { name, host } of cluster.nodes) {
      if (poolers.has(name)) continue;
      const place = placeOf(cluster.directory, 'pgbouncer', host);
      const text = fillIn('pgbouncer.ini', pgbouncerOfS4(place));
      poolers.set(name, startPgbouncer(place, host, text, `"${SUPERUSER.username}" "${SUPERUSER.password}"\n`));
    }
    return [...poolers].map(([name, around]) => ({ name, ...around }));
  };
  /** The servers that HAProxy sends connections to, by its page of S4-12. */
  const upInHaproxy = async (): Promise<string[]> => {
    const { stdout } = await runOn(host('haproxy'), ['curl', '-s', '127.0.0.1:7000/;csv']);
    const rows = stdout.split('\n').map((line) => line.split(','));
    return rows
      .filter(([proxy, , ...rest]) => proxy === 'postgres' && rest.includes('UP'))
      .map(([, name = '']) => name)
      .filter((name) => name.startsWith('pg'));
  };
  const through = (name: string, address: string, port: number): Server => ({
    ...{ name, host: address, port, database: 'postgres' },
    ...{ user: SUPERUSER.username, password: SUPERUSER.password },
  });

  it("(5) the node's file of S4 is read as it is, and imported without loss; nodes run by both", async () => {
    for (const name of NAMES) {
      const node = cluster.node(name);
      const filling = nodeOfS4(node);
      const given = fillIn('patroni-otus.yml', filling);
      const written = readFileSync(node.configFile, 'utf8');
      if (name === 'pg3') expect(parse(written)).toEqual(parse(given));
      else expect(changedBeyond('patroni-otus.yml', filling, written)).toBeNull();
      const { stdout } = await cluster.daemonCommand(name, ['--validate-config', node.configFile]);
      expect(stdout).toMatch(/ttl +30/);
    }
    const config = JSON.parse((await cluster.http('pg1', '/config')).body) as Record<string, unknown>;
    expect(config).toMatchObject({ ttl: 30, loop_wait: 10, retry_timeout: 10, maximum_lag_on_failover: 1048576 });
    const primary = await cluster.primary();
    const [asked] = await cluster.sql(
      primary,
      `select pg_encoding_to_char(encoding) as encoding, current_setting('data_checksums') as sums,
       current_setting('wal_keep_size') as kept from pg_database where datname = 'postgres'`,
    );
    expect(asked).toEqual({ encoding: 'UTF8', sums: 'on', kept: '1600MB' });
    const listed = await ctlDone(cluster, ['list', 'otus']);
    for (const name of NAMES) expect(listed).toMatch(new RegExp(`^\\| ${name} +\\| ${NODES[name]} +\\|`, 'm'));
  });

  it('(4) etcd runs by the etcd.conf of S4, one member on each node, and holds the leader key', async () => {
    for (const name of NAMES) {
      expect(changedBeyond('etcd-s4.conf', etcdOfS4(name), readFileSync(etcdConf(name), 'utf8'))).toBeNull();
      const said = await runOn(
        host(name),
        ['etcdctl', '--endpoints', 'localhost:2379', 'get', '/service/otus/leader'],
        {
          env: { ...process.env, ETCDCTL_API: '3' },
        },
      );
      expect(said.stdout).toMatch(/^\/service\/otus\/leader\npg[123]\n$/);
    }
    expect((await cluster.etcd.etcdctl('member', 'list')).match(/started, pg[123], /g)).toHaveLength(3);
  });

  it('(3) curl to port 8008 says 200 on the leader and 503 on the others, without a redirect', async () => {
    const primary = await cluster.primary();
    await until('the leader says so', 15_000, async () => (await curl(primary, '127.0.0.1:8008/')) === '200');
    for (const name of NAMES) {
      const wanted = name === primary ? '200' : '503';
      expect(`${name} ${await curl(name, '127.0.0.1:8008/')}`).toBe(`${name} ${wanted}`);
      expect(`${name} ${await curl('client', `${NODES[name]}:8008/`)}`).toBe(`${name} ${wanted}`);
      const followed = await runOn(host(name), [
        'curl',
        '-sL',
        '-w',
        '%{http_code} %{num_redirects}',
        '-o',
        '/dev/null',
        '127.0.0.1:8008',
      ]);
      expect(followed.stdout).toBe(`${wanted} 0`);
    }
  });

  it('(7) slots and application names are those of the members, streaming as replicator', async () => {
    const primary = await cluster.primary();
    const standbys = NAMES.filter((name) => name !== primary);
    const rows = async (): Promise<string> => {
      const slots = await cluster.sql(primary, 'select slot_name, active from pg_replication_slots order by 1');
      const senders = await cluster.sql(
        primary,
        'select application_name, usename, state from pg_stat_replication order by 1',
      );
      return JSON.stringify({ slots, senders });
    };
    const wanted = JSON.stringify({
      slots: standbys.map((slot_name) => ({ slot_name, active: true })),
      senders: standbys.map((application_name) => ({ application_name, usename: 'replicator', state: 'streaming' })),
    });
    // A slot is taken a moment after the stream has begun without it.
    await until('each has its slot', 30_000, async () => (await rows()) === wanted).catch(() => undefined);
    expect(await rows()).toBe(wanted);
  });

  it('(8) the furthest position is elected, then the highest priority, then the lowest node_id', async () => {
    const set = async (name: string, priority: number): Promise<void> => {
      const { configFile } = cluster.node(name);
      const published = readFileSync(configFile, 'utf8').replace(/^(node_id|priority):.*\n/gm, '');
      writeFileSync(configFile, `node_id: ${IDS[name as Name]}\npriority: ${priority}\n${published}`);
      expect((await cluster.http(name, '/reload', { method: 'POST' })).status).toBe(202);
    };
    const round = async (prepare: (old: string, low: string, high: string) => Promise<void>): Promise<string> => {
      await cluster.waitAllStreaming();
      const old = await cluster.primary();
      const [low = '', high = ''] = NAMES.filter((name) => name !== old);
      for (const name of NAMES) await set(name, 100);
      await prepare(old, low, high);
      cluster.killPostmaster(old);
      const next = await cluster.waitForPrimary(30_000, [old]);
      cluster.network.healAll();
      return next === low ? 'low' : 'high';
    };
    const furthest = await round(async (old, low, high) => {
      await set(low, 200);
      cluster.network.cutPort(old, low, 5432);
      const [row] = await cluster.sql(
        old,
        "select pg_logical_emit_message(false, 'ahead', repeat('x', 10000))::text as at",
      );
      await until('the other has it', 10_000, async () => {
        const [there] = await cluster.sql(high, `select pg_last_wal_receive_lsn() >= '${row?.['at']}' as there`);
        return there?.['there'] === true;
      });
    });
    expect(`LSN: ${furthest}`).toBe('LSN: high');
    expect(`priority: ${await round((_old, _low, high) => set(high, 200))}`).toBe('priority: high');
    expect(`node_id: ${await round(async () => undefined)}`).toBe('node_id: low');
    const { stdout } = await cluster.ctl(['explain', '--last']);
    expect(stdout).toContain('took over from');
  });

  it('(9) pgbouncer.ini stands beside each daemon: clients on 6543 go on after a failover', async () => {
    await cluster.waitAllStreaming();
    await cluster.prepare();
    for (const { name, config } of startPoolers()) {
      const filling = pgbouncerOfS4(dirname(config));
      expect(`${name} ${changedBeyond('pgbouncer.ini', filling, readFileSync(config, 'utf8'))}`).toBe(`${name} null`);
    }
    const old = await cluster.primary();
    await cluster.startWriter({ servers: NAMES.map((name) => through(name, NODES[name], 6543)), sessions: 2 });
    cluster.killPostmaster(old);
    await cluster.waitForPrimary(30_000, [old]);
    await endsWell(cluster);
    for (const { child } of poolers.values()) expect(child.exitCode).toBeNull();
  });

  it('(1) haproxy.cfg in front of the poolers: a writer on port 5000 goes on after a switchover, and loses nothing', async () => {
    await cluster.waitAllStreaming();
    startPoolers();
    const place = placeOf(cluster.directory, 'haproxy', host('haproxy'));
    const haproxy = startHaproxyWith(place, host('haproxy'), publishedFile('haproxy.cfg'));
    expect(changedBeyond('haproxy.cfg', [], readFileSync(haproxy.config, 'utf8'))).toBeNull();
    try {
      const old = await cluster.primary();
      const [next = ''] = NAMES.filter((name) => name !== old);
      await cluster.startWriter({ servers: [through('haproxy', OTHERS.haproxy, 5000)] });
      await ctlDone(cluster, ['switchover', '--candidate', next, '--force']);
      await endsWell(cluster);
      await until(
        'HAProxy has the new primary up, and it alone',
        30_000,
        async () => (await upInHaproxy()).join() === next,
      );
    } finally {
      haproxy.child.kill('SIGTERM');
    }
  });

  it('(2) check_patroni.sh and keepalived.conf: the address goes with the leader, and away from one whose daemon hangs or is dead', async () => {
    // A TTL of 30 s would be waited for.
    await ctlDone(cluster, ['edit-config', '-s', 'loop_wait=1', '-s', 'retry_timeout=1', '-s', 'ttl=6', '--force']);
    await cluster.waitAllStreaming();
    const script = join(cluster.directory, 'check_patroni.sh');
    writeFileSync(script, publishedFile('check_patroni.sh'), { mode: 0o755 });
    const around = new Map(
      cluster.nodes.map((node) => {
        const place = placeOf(cluster.directory, 'keepalived', node.host);
        return [node.name, startKeepalived(place, node.host, fillIn('keepalived.conf', keepalivedOfS3(script)))];
      }),
    );
    const hosts = cluster.nodes.map((node) => node.host);
    const arrives = (name: string): Promise<true> =>
      until(`${name} alone has the address, and answers there`, 60_000, async () => {
        const holders = await holdersOf(VIRTUAL, hosts);
        if (holders.join() !== name) return false;
        return (await curl('client', `${VIRTUAL}:8008/`)) === '200';
      });
    const logOf = (name: string): string => readFileSync(around.get(name)?.log ?? '', 'utf8');
    /** After so many characters of its log. */
    const says = (name: string, what: string, after = 0): Promise<true> =>
      until(`keepalived of ${name} says '${what}'`, 30_000, () => logOf(name).slice(after).includes(what)).catch(
        (error: unknown) => {
          throw new Error(`${String(error)}\n${logOf(name)}`);
        },
      );
    const checked = async (name: string): Promise<number | null> => (await runOn(host(name), ['bash', script])).code;
    try {
      for (const { config } of around.values())
        expect(changedBeyond('keepalived.conf', keepalivedOfS3(script), readFileSync(config, 'utf8'))).toBeNull();
      const first = await cluster.primary();
      await arrives(first);
      expect(await checked(first)).toBe(0);
      const [second = ''] = NAMES.filter((name) => name !== first);
      expect(await checked(second)).toBe(1);
      await ctlDone(cluster, ['switchover', '--candidate', second, '--force']);
      await arrives(second);

      // Dead: the guard answers 503 on its port. As published the script would say 0 if nobody listened.
      const { daemon } = cluster.node(second);
      await says(second, 'VRRP_Script(chk_patroni) succeeded');
      let before = logOf(second).length;
      daemon.killForGood();
      await until('the script says 1', 10_000, async () => (await checked(second)) === 1);
      await says(second, 'VRRP_Script(chk_patroni) failed', before);
      before = logOf(second).length;
      daemon.start();
      // On a busy machine its next life can be too late for its leadership.
      await until('it leads again, or another one does', 30_000, async () => {
        const back = logOf(second).slice(before).includes('VRRP_Script(chk_patroni) succeeded');
        return back || (await cluster.primary()) !== second;
      });
      await cluster.waitAllStreaming();
      await arrives(await cluster.primary());

      // Hanging: nobody answers, curl waits, and keepalived counts a script that does not end as one that failed.
      const leader = await cluster.primary();
      before = logOf(leader).length;
      cluster.node(leader).daemon.freeze();
      await says(leader, 'VRRP_Script(chk_patroni) timed_out', before);
      if (everything) await arrives(await cluster.waitForPrimary(60_000, [leader]));
      cluster.node(leader).daemon.thaw();
      await cluster.waitAllStreaming();
    } finally {
      for (const node of cluster.nodes) node.daemon.thaw();
      for (const { child } of around.values()) child.kill('SIGTERM');
    }
  });

  it.runIf(everything)(
    '(6) repmgr.conf of S1 is imported without loss, and a node runs by it, with the etcd.conf of S3',
    async () => {
      const members = ['test-pgsql-01', 'test-pgsql-02', 'test-pgsql-03'];
      const directory = serverDirectory(join(cluster.directory, 's1'));
      const confs = new Map(members.map((name) => [name, join(directory, `${name}.etcd.conf`)]));
      for (const [name, file] of confs) writeFileSync(file, fillIn('etcd-s3.conf', etcdOfS3(name, directory)));
      const etcd = await startEtcd(cluster.network, members, 'client', directory, [], {
        variables: (name) => variables(readFileSync(confs.get(name) ?? '', 'utf8')),
      });
      for (const [name, file] of confs)
        expect(changedBeyond('etcd-s3.conf', etcdOfS3(name, directory), readFileSync(file, 'utf8'))).toBeNull();
      expect((await etcd.etcdctl('member', 'list')).match(/started, test-pgsql-0[123], /g)).toHaveLength(3);

      const data = join(directory, 'data');
      const given = join(directory, 'repmgr.conf');
      const config = join(directory, 'pgha.yml');
      writeFileSync(given, fillIn('repmgr.conf', repmgrOfS1(data)));
      expect(changedBeyond('repmgr.conf', repmgrOfS1(data), readFileSync(given, 'utf8'))).toBeNull();
      const endpoints = members.map((name) => `${OTHERS[name as keyof typeof OTHERS]}:2379`).join(',');
      const ctl = [...stepDown(true), nodeForServer(), cluster.program('pgha-ctl.js')];
      const said = await runOn(host('db3'), [
        ...[...ctl, 'import', given],
        ...['--scope', 'shop', '--etcd', endpoints, '-o', config, '--format', 'json'],
      ]);
      const { rows } = JSON.parse(said.stdout) as {
        rows: readonly { line: number | null; verdict: string; name: string }[];
      };
      // Every line is told of, under its own name.
      const lines = publishedFile('repmgr.conf').trim().split('\n');
      lines.forEach((line, index) => {
        const name = line.split('=')[0]?.trim();
        expect(rows.filter((row) => row.line === index + 1).map((row) => row.name)).toContain(name);
      });
      expect(parse(readFileSync(config, 'utf8'))).toMatchObject({
        ...{ scope: 'shop', name: 'db3', node_id: 3 },
        bootstrap: {
          dcs: {
            ...{ failover: 'automatic', loop_wait: 2, connection_check_type: 'ping', connection_check_timeout: 2 },
            ...{ reconnect_attempts: 2, reconnect_interval: 2, postgresql: { use_slots: true } },
            ...{ primary_visibility_consensus: true, standby_disconnect_on_failover: true },
          },
        },
        postgresql: {
          ...{ connect_address: `${OTHERS.db3}:5432`, data_dir: data, database: 'repmgr' },
          authentication: { superuser: { username: 'repmgr' } },
        },
      });

      const server = await primaryOfRepmgr(directory, data, host('db3'));
      const daemon = new Daemon({
        ...{ host: host('db3'), program: cluster.program('pgha.js'), config, cwd: directory },
        log: join(directory, 'daemon.log'),
        env: {
          PGHA_RUNTIME_DIRECTORY: serverDirectory(join(directory, 'run')),
          PGHA_POSTGRESQL_UNIX_SOCKET_DIRECTORY: join(directory, 'socket'),
        },
      });
      try {
        daemon.start();
        // It watches until it is told to lead. No repmgrd runs here, and there is no table of repmgr's: adopt.test.ts has both.
        let last = '';
        await until('it takes the primary over', 60_000, async () => {
          const done = await runOn(host('db3'), [
            ...ctl,
            '-c',
            config,
            'adopt',
            'take-over',
            '--from',
            'streaming',
            '--force',
          ]);
          last = done.stdout + done.stderr;
          return done.code === 0;
        }).catch((error: unknown) => {
          throw new Error(`${String(error)}\n${last}\n${readFileSync(join(directory, 'daemon.log'), 'utf8')}`);
        });
        await until('it leads', 30_000, async () => (await curl('db3', '127.0.0.1:8008/')) === '200');
        expect(await etcd.get('/service/shop/leader')).toBe('db3');
        expect(postmasterOf(data)).toEqual(server);
      } finally {
        daemon.killForGood();
        const guard = allProcesses().find((id) => commandLine(id).includes(join(directory, 'run')));
        if (guard !== undefined) signal(guard, 'SIGKILL');
        const postmaster = postmasterOf(data);
        if (postmaster !== null) signal(postmaster, 'SIGQUIT');
        await until('Postgres has ended', 20_000, () => postgresFamily(data).length === 0);
        await etcd.stop();
      }
    },
  );
});

/** What `pgha-ctl import` makes of this file. */
function imported(node: Node, text: string): string {
  const given = join(node.directory, 'patroni.yml');
  writeFileSync(given, text);
  return execFileSync(process.execPath, [join(repository, 'dist/pgha-ctl.js'), 'import', given], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

/** A primary as repmgr's how-to sets it up, running: its user, its database, its lines of pg_hba.conf. */
async function primaryOfRepmgr(directory: string, data: string, on: Host): Promise<ProcessId | null> {
  const bin = postgresBinDir() ?? '';
  const socket = serverDirectory(join(directory, 'socket'));
  const run = async (program: string, ...args: string[]): Promise<void> => {
    const { code, stderr } = await runOn(on, [...stepDown(true), join(bin, program), ...args], { cwd: directory });
    if (code !== 0) throw new Error(`${program}: ${stderr}`);
  };
  await run('initdb', '-D', data, '-U', 'postgres', '-A', 'trust', '-N');
  const settings = `listen_addresses = '*'\nunix_socket_directories = '${socket}'\nfsync = off\ndynamic_shared_memory_type = mmap\n`;
  appendFileSync(join(data, 'postgresql.conf'), `${settings}shared_buffers = 32MB\nwal_log_hints = on\n`);
  const networks = ['127.0.0.1/32', '172.31.16.0/20'];
  const hba = networks.map(
    (network) => `host repmgr repmgr ${network} trust\nhost replication repmgr ${network} trust\n`,
  );
  appendFileSync(join(data, 'pg_hba.conf'), hba.join(''));
  await run('pg_ctl', 'start', '-w', '-D', data, '-l', join(directory, 'postgres.log'));
  await run('psql', '-h', socket, '-U', 'postgres', '-c', 'create role repmgr login superuser replication');
  await run('createdb', '-h', socket, '-U', 'postgres', '--owner=repmgr', 'repmgr');
  return postmasterOf(data);
}
