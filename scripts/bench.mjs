#!/usr/bin/env node
/**
 * `npm run bench`: how long writes pause and what pgha costs, on this machine, beside the floor measured in the same
 * run: the same Postgres stopped and promoted by a bare script that knows everything beforehand. Medians over runs;
 * one table, and the same as JSON in build/bench.json. It judges nothing. Needs root, for network namespaces.
 *
 *     npm run bench -- [--runs 5] [--only crash,switchover,...] [--size 1024] [--json FILE]
 *
 * `--size`: megabytes of the old primary that comes back by rewind and by copy; three times as much is needed in /dev/shm.
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, root } from './build.mjs';
import { ensure, postgresBinDir } from './ensure.mjs';
import { loadLab } from './lab.mjs';

const PARTS = [
  'decision',
  'floor',
  'crash',
  'switchover',
  'pgbouncer',
  'node-loss',
  'node-loss-etcd',
  'node-loss-quorum',
  'commits',
  'rejoin',
  'health',
  'ctl',
  'metrics',
  'settings',
  'ready',
  'haproxy',
  'keepalived',
  'vip',
  'idle',
];

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: PARTS.join(',') },
    size: { type: 'string', default: '1024' },
    json: { type: 'string', default: join(root, 'build', 'bench.json') },
  },
});
const runs = Number(options.runs);
const parts = new Set(options.only.split(','));
for (const part of parts) {
  if (!PARTS.includes(part)) {
    console.error(`bench: there is no part '${part}'; there are ${PARTS.join(', ')}`);
    process.exit(2);
  }
}

ensure('test');
await build({ quiet: true });
const lab = await loadLab();
const { monotonic, sleep, until } = lab;
const unavailable = lab.namespacesUnavailable();
if (unavailable !== null) {
  console.error(`bench: ${unavailable}`);
  process.exit(1);
}
lab.openRun();
lab.giveServersTheirOwnNode();

const rows = [];
const median = (values) => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** Books one figure: the median, and the smallest and largest where there were several. */
function book(what, unit, values, note = '') {
  if (values.length === 0) {
    rows.push({ what, unit, median: null, min: null, max: null, n: 0, note: note || 'every run failed' });
    return;
  }
  const row = {
    what,
    unit,
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    n: values.length,
    note,
  };
  rows.push(row);
  console.log(`bench: ${what}: ${print(row)}`);
}

const print = ({ unit, median: m, min, max, n }) => {
  if (n === 0) return '-';
  const digits = m >= 100 ? 0 : m < 0.1 ? 4 : 2;
  const one = (value) => value.toFixed(digits);
  return n === 1 ? `${one(m)} ${unit}` : `${one(m)} (${one(min)}-${one(max)}) ${unit}`;
};

/** Runs something several times; a run that fails is said and not counted. */
async function repeat(times, what, once, place = null) {
  const values = [];
  for (let run = 1; run <= times; run++) {
    try {
      values.push(await once(run));
    } catch (error) {
      console.error(`bench: ${what}, run ${run} failed: ${error instanceof Error ? error.message : error}`);
      // One that did not come back would spoil everything after it.
      if (place !== null) await place.renew();
    }
  }
  return values;
}

// ---- one decision -----------------------------------------------------------------------------------------------------

function decisions() {
  for (const { what, median: middle, p99, largest } of lab.decisionTimes()) {
    book(
      `one decision, ${what}`,
      'ms',
      [middle],
      `p99 ${p99.toFixed(4)} ms, largest ${largest.toFixed(2)} ms; target: under 1 ms`,
    );
  }
}

// ---- the floor: Postgres and a script that knows everything -----------------------------------------------------------

async function floor() {
  const network = lab.createNamespaces(['h1', 'h2', 'client']);
  const bin = postgresBinDir();
  const client = await lab.Client.start(network.host('client'), 'floor-client');
  const as = (command) => {
    const [first, ...rest] = [...lab.stepDown(true), ...command];
    execFileSync(first ?? '', rest, { stdio: 'ignore' });
  };
  const login = { port: 5432, user: 'postgres', password: '', database: 'postgres' };
  let round = 0;
  const pair = async (how) => {
    const directory = lab.serverDirectory(join(lab.runDirectory, `floor-${round++}`));
    const nodes = ['h1', 'h2'].map((name) => ({
      name,
      host: network.host(name),
      data: join(directory, name),
      socket: lab.serverDirectory(join(directory, `${name}-socket`)),
    }));
    const [primary, standby] = nodes;
    const start = ({ name, host, data, socket }) =>
      lab.launch({
        host,
        program: join(bin, 'postgres'),
        args: ['-D', data, '-h', host.address, '-k', socket],
        log: join(directory, `${name}.log`),
        cwd: directory,
        asServer: true,
      });
    const sql = (node, text) =>
      client.ask('sql', { server: { ...login, name: node.name, host: node.socket }, text, timeoutMs: 5_000 });
    as([join(bin, 'initdb'), '-D', primary.data, '-A', 'trust', '-U', 'postgres', '-N']);
    appendFileSync(
      join(primary.data, 'pg_hba.conf'),
      'host all all 0.0.0.0/0 trust\nhost replication all 0.0.0.0/0 trust\n',
    );
    appendFileSync(
      join(primary.data, 'postgresql.conf'),
      "fsync = off\ndynamic_shared_memory_type = mmap\nshared_buffers = 32MB\nwal_log_hints = on\nwal_retrieve_retry_interval = '100ms'\n",
    );
    start(primary);
    await until('the primary of the floor answers', 10_000, () => sql(primary, 'select 1'));
    await sql(primary, 'create table e2e_ledger (row text primary key, payload text)');
    as([
      join(bin, 'pg_basebackup'),
      '-h',
      primary.socket,
      '-U',
      'postgres',
      '-D',
      standby.data,
      '-c',
      'fast',
      '-X',
      'stream',
    ]);
    writeFileSync(join(standby.data, 'standby.signal'), '');
    appendFileSync(
      join(standby.data, 'postgresql.auto.conf'),
      `primary_conninfo = 'host=${primary.host.address} user=postgres'\n`,
    );
    start(standby);
    await until('the standby of the floor streams', 10_000, async () => {
      const [row] = await sql(primary, "select count(*)::int as n from pg_stat_replication where state = 'streaming'");
      return row?.n === 1;
    });
    await client.ask('writer-start', {
      servers: nodes.map((node) => ({ ...login, name: node.name, host: node.host.address })),
      sessions: 2,
      everyMs: 5,
      payloadBytes: 20,
    });
    const acked = () => client.ask('writer-acked', null);
    await until('rows are written', 5_000, async () => (await acked()) > 200);
    const since = monotonic();
    const postmaster = lab.postmasterOf(primary.data);
    lab.signal(postmaster, how === 'crash' ? 'SIGKILL' : 'SIGINT');
    if (how === 'switchover') {
      await until('the old primary has stopped', 5_000, () => lab.postmasterOf(primary.data) === null, 1);
    }
    await sql(standby, 'select pg_promote(true)');
    const before = await acked();
    await until('rows are written again', 10_000, async () => (await acked()) > before + 50);
    const report = await client.ask('writer-stop', null);
    const pause = lab.longestPause(report.acked, since);
    for (const node of nodes) {
      const running = lab.postmasterOf(node.data);
      if (running !== null) lab.signal(running, 'SIGQUIT');
      await until('Postgres has ended', 5_000, () => lab.postgresFamily(node.data).length === 0);
    }
    return pause.ms;
  };
  book(
    'floor: SIGKILL the postmaster and promote, bare script',
    'ms',
    await repeat(runs, 'floor of a crash', () => pair('crash')),
  );
  book(
    'floor: fast stop and promote, bare script',
    'ms',
    await repeat(runs, 'floor of a switchover', () => pair('switchover')),
  );
  client.stop();
  network.destroy();
}

// ---- pgha -----------------------------------------------------------------------------------------------------------

/** A cluster that is replaced by a new one when it has failed: `place.cluster` is the one of now. */
async function withCluster(shape, work) {
  const start = () => lab.Cluster.start({ defaults: true, ...(typeof shape === 'function' ? shape() : shape) });
  const place = {
    cluster: await start(),
    renew: async () => {
      console.error(`bench: the logs are in ${place.cluster.saveLogs()}`);
      await place.cluster.destroy();
      place.cluster = await start();
    },
  };
  try {
    await work(place);
  } finally {
    await place.cluster.destroy();
  }
}

/** The record of the takeover by this node, once its followers stand in it too. */
async function takeoverBy(cluster, node) {
  return until(
    `the takeover by ${node} is on record`,
    15_000,
    async () => {
      const { code, stdout } = await cluster.ctl(['explain', '--last', '--format', 'json'], { node });
      const record = code === 0 ? JSON.parse(stdout) : null;
      return record?.node === node && record.followers.length > 0 ? record : null;
    },
    500,
  );
}

/** Medians of what the new leaders wrote down: the judgement as a whole, and phase by phase. */
function bookPhases(what, records) {
  const judgements = records.flatMap(({ judgement_ms }) => (judgement_ms === null ? [] : [judgement_ms]));
  if (judgements.length === 0) return;
  book(`${what}: judgement, open gate to promotion sent`, 'ms', judgements, 'target: under 100 ms');
  for (const phase of new Set(records.flatMap(({ phases }) => phases.map((one) => one.phase)))) {
    const taken = records.flatMap(({ phases }) => phases.filter((one) => one.phase === phase));
    book(
      `${what}: phase '${phase}'`,
      'ms',
      taken.map(({ actual_ms }) => actual_ms),
      taken[0].planned_ms === null ? '' : `planned: at most ${taken[0].planned_ms} ms`,
    );
  }
}

/** Harm done under load, several times, until all is well again; books the write pause and the phases of the takeover. */
async function bookPauses(place, what, times, harm, mend = () => undefined) {
  const records = [];
  const values = await repeat(
    times,
    what,
    async () => {
      const { cluster } = place;
      await cluster.waitAllStreaming(LIMIT_MS);
      await cluster.startWriter({ sessions: 2 });
      await cluster.waitForWrites(200);
      const primary = await cluster.primary();
      const since = monotonic();
      await harm(cluster, primary);
      await cluster.waitForWrites(100, LIMIT_MS);
      const pause = await cluster.pauseSince(since);
      const next = await cluster.waitForPrimary(LIMIT_MS);
      // A primary that came back where it was has taken nothing over.
      if (next !== primary) records.push(await takeoverBy(cluster, next));
      await mend(cluster, primary);
      const report = await cluster.stopWriter();
      await cluster.waitAllStreaming(LIMIT_MS);
      const { lost } = await cluster.finalRead(report);
      if (lost.length > 0) console.error(`bench: ${what}: ${lost.length} acknowledged rows are lost`);
      const twice = await cluster.twoWriters();
      if (twice.length > 0) throw new Error(twice.join('; '));
      return pause.ms;
    },
    place,
  );
  book(
    `${what}: writes pause`,
    'ms',
    values,
    times === values.length ? '' : `${times - values.length} of ${times} runs failed`,
  );
  bookPhases(what, records);
}

const LIMIT_MS = 60_000;

async function loseNode(cluster, primary) {
  const etcd = cluster.etcd.members.find(({ host }) => host.name === primary);
  if (etcd !== undefined) await cluster.etcd.moveLeader(etcd.name);
  await cluster.killNode(primary);
}

/** Before both vote, only the primary has every commit for certain, and nobody may take over (docs/synchronous.md). */
async function loseNodeOfQuorum(cluster, primary) {
  await until(
    'both standbys vote',
    LIMIT_MS,
    async () => {
      const { code, stdout } = await cluster.ctl(['list', '--format', 'json']);
      return code === 0 && JSON.parse(stdout).filter(({ Role }) => Role === 'Quorum Standby').length === 2;
    },
    100,
  );
  await loseNode(cluster, primary);
}

async function switchOver(cluster, primary) {
  const [candidate] = cluster.others(primary);
  const { code, stdout, stderr } = await cluster.ctl(['switchover', '--candidate', candidate.name, '--force']);
  if (code !== 0) throw new Error(`pgha-ctl switchover: ${stdout}${stderr}`);
}

async function outages() {
  const revive = (cluster, primary) => cluster.reviveNode(primary);
  const few = Math.min(runs, 3);
  if (['crash', 'switchover', 'node-loss', 'health', 'ctl', 'metrics', 'settings'].some((part) => parts.has(part))) {
    await withCluster({}, async (place) => {
      const ttl = `TTL ${place.cluster.ttlMs / 1000} s`;
      if (parts.has('crash')) {
        await bookPauses(place, 'SIGKILL of the postmaster', runs, (cluster, primary) =>
          cluster.killPostmaster(primary),
        );
      }
      if (parts.has('switchover')) await bookPauses(place, 'switchover', runs, switchOver);
      if (parts.has('node-loss')) await bookPauses(place, `node of the primary lost (${ttl})`, few, loseNode, revive);
      if (parts.has('health')) await health(place);
      if (parts.has('ctl')) await ctl(place);
      if (parts.has('metrics')) await metrics(place);
      if (parts.has('settings')) await settings(place);
    });
  }
  if (parts.has('node-loss-quorum')) {
    await withCluster(QUORUM, async (place) => {
      const what = `node of the primary lost, quorum mode (TTL ${place.cluster.ttlMs / 1000} s)`;
      await bookPauses(place, what, few, loseNodeOfQuorum, revive);
    });
  }
  if (parts.has('node-loss-etcd')) {
    await withCluster({ etcdMembers: 3, etcdOnNodes: true }, async (place) => {
      const ttl = `TTL ${place.cluster.ttlMs / 1000} s`;
      await bookPauses(place, `node of the primary lost, with the leader of etcd (${ttl})`, few, loseNode, revive);
    });
  }
}

// ---- clients behind PgBouncer -------------------------------------------------------------------------------------------

/** The longest that one of eight clients of pgbench waits for a transaction; an error of any of them fails the run. */
async function pgbouncer() {
  const shape = lab.poolersInFile(['h1', 'h2', 'h3']);
  await withCluster(shape, async (place) => {
    let poolers = await lab.startPoolers(place.cluster);
    const measure = async (harm) => {
      const { cluster } = place;
      await cluster.waitAllStreaming(LIMIT_MS);
      const primary = await cluster.primary();
      const pgbench = await poolers.get(primary).bench(8, null);
      await pgbench.goesOn(500);
      await harm(cluster, primary);
      await pgbench.goesOn(500);
      const { errors, longestMs } = await pgbench.report();
      if (errors.length > 0) throw new Error(`clients saw errors: ${errors.join('; ')}`);
      return longestMs;
    };
    const again = {
      renew: async () => {
        await place.renew();
        poolers = await lab.startPoolers(place.cluster);
      },
    };
    const target = 'no client saw an error; target: under 700 ms';
    const switched = await repeat(runs, 'pgbouncer', () => measure(switchOver), again);
    book('switchover through PgBouncer, pgbench with 8 clients: longest wait', 'ms', switched, target);
    const restart = (cluster, primary) => ctlDone(cluster, ['restart', cluster.scope, primary, '--force']);
    const restarted = await repeat(Math.min(runs, 3), 'pgbouncer', () => measure(restart), again);
    book('restart of the primary, the same', 'ms', restarted, 'no client saw an error');
  });
}

// ---- what a commit costs in quorum mode --------------------------------------------------------------------------------

const QUORUM = { dcs: { synchronous_mode: 'quorum' } };
const COMMITS = { sessions: 1, seconds: 5 };

const namesAreSet = (cluster, node) =>
  until(
    'commits wait for a quorum',
    30_000,
    async () => {
      const [row] = await cluster.sql(node, 'show synchronous_standby_names');
      return String(row?.synchronous_standby_names).startsWith('ANY');
    },
    100,
  );

async function ctlDone(cluster, args) {
  const { code, stdout, stderr } = await cluster.ctl(args);
  if (code !== 0) throw new Error(`pgha-ctl ${args.join(' ')}: ${stdout}${stderr}`);
}

/** In maintenance every service is stopped: what goes on is Postgres alone, with the very settings it had. */
async function leaveAlone(cluster) {
  await ctlDone(cluster, ['pause', '--wait']);
  await Promise.all(cluster.nodes.map((node) => node.daemon.stop()));
  await until('no guard is left', 10_000, () => cluster.nodes.every((node) => node.guard() === null));
}

/** With pgha and without it by turns, on the same servers: nothing else is different. */
async function commits() {
  await withCluster(QUORUM, async (place) => {
    const { cluster } = place;
    const primary = await cluster.primary();
    await cluster.sql(primary, 'create table e2e_commits (n int)');
    await namesAreSet(cluster, primary);
    const measure = () => cluster.client.ask('commits', { server: cluster.node(primary).server, ...COMMITS });
    await measure(); // warms up
    const pairs = await repeat(runs, 'commits in quorum mode', async () => {
      const guarded = await measure();
      await leaveAlone(cluster);
      // What it waits for is still the same, or nothing would be compared.
      await namesAreSet(cluster, primary);
      const plain = await measure();
      for (const node of cluster.nodes) node.daemon.start();
      await until(
        'every member answers again',
        LIMIT_MS,
        async () => {
          const answers = await Promise.all(cluster.nodes.map(({ name }) => cluster.http(name, '/patroni')));
          return answers.every(({ body }) => body.includes('"pgha"')) && (await cluster.leader()) === primary;
        },
        100,
      );
      await ctlDone(cluster, ['resume', '--wait']);
      await cluster.waitAllStreaming(LIMIT_MS);
      await namesAreSet(cluster, primary);
      return { guarded, plain };
    });
    for (const [what, key] of [
      ['median', 'p50Ms'],
      ['p99', 'p99Ms'],
    ]) {
      book(
        `commit in quorum mode, ${what}`,
        'ms',
        pairs.map(({ guarded }) => guarded[key]),
      );
      book(
        `commit, plain Postgres with the same synchronous settings, ${what}`,
        'ms',
        pairs.map(({ plain }) => plain[key]),
      );
      book(
        `commit, added by pgha, ${what}`,
        'ms',
        pairs.map(({ guarded, plain }) => guarded[key] - plain[key]),
        'pair by pair; target: no more than noise',
      );
    }
  });
}

// ---- an old primary comes back -----------------------------------------------------------------------------------------

const BULK_ROWS_PER_MB = 7_500;

async function rejoin() {
  const mb = Number(options.size);
  const few = Math.min(runs, 3);
  const bin = postgresBinDir();
  await withCluster({ nodes: 2, dcs: { wal_rescue: 'restart' } }, async (place) => {
    const { cluster } = place;
    const first = await cluster.primary();
    await cluster.sql(first, 'create table e2e_bulk (n int primary key, t text)');
    for (let at = 0; at < mb; at += 64) {
      const rows = Math.min(64, mb - at) * BULK_ROWS_PER_MB;
      const from = at * BULK_ROWS_PER_MB;
      await cluster.sql(
        first,
        `insert into e2e_bulk select n, repeat(md5(n::text), 3) from generate_series(${from}, ${from + rows - 1}) n`,
        120_000,
      );
    }
    await cluster.sql(first, 'checkpoint', 120_000);
    await cluster.waitAllStreaming(LIMIT_MS);
    const [{ size }] = await cluster.sql(first, 'select sum(pg_database_size(oid))::bigint as size from pg_database');
    const what = `an old primary of ${(Number(size) / 2 ** 20).toFixed(0)} MB`;
    /** Writes that only this one has: a hundred places all over the table. */
    const diverge = (node) =>
      cluster.sql(node, `update e2e_bulk set t = t where n % ${mb * (BULK_ROWS_PER_MB / 100)} = 7`, 10_000);

    book(
      `${what} comes back by copy, with pgha`,
      's',
      await repeat(few, 'copy', async () => {
        const standby = cluster.others(await cluster.primary())[0];
        const since = monotonic();
        await ctlDone(cluster, ['reinit', cluster.scope, standby.name, '--force']);
        await sleep(200);
        await cluster.waitAllStreaming(LIMIT_MS * 5);
        return (monotonic() - since) / 1000;
      }),
      'from the request until it streams and has replayed',
    );
    book(
      `${what} comes back by rewind, with pgha`,
      's',
      await repeat(few, 'rewind', async () => {
        const old = await cluster.primary();
        cluster.network.cut(old);
        await sleep(300);
        await diverge(old);
        await cluster.waitForPrimary(LIMIT_MS, [old]);
        await until('the old primary is down', LIMIT_MS, () => cluster.node(old).family().length === 0, 50);
        const since = monotonic();
        cluster.network.heal(old);
        await cluster.waitAllStreaming(LIMIT_MS * 5);
        return (monotonic() - since) / 1000;
      }),
      'from the end of the cut until it streams and has replayed',
    );

    // From here on without pgha: the same servers, and a script that knows everything beforehand.
    await cluster.waitAllStreaming(LIMIT_MS);
    await leaveAlone(cluster);
    const bare = bareServers(cluster, bin);
    const tools = { copy: [], rewind: [] };
    book(
      `${what} comes back by copy, bare pg_basebackup`,
      's',
      await repeat(few, 'bare copy', async () => {
        const leader = await cluster.primary();
        const [standby] = cluster.others(leader);
        const kept = bare.settings(standby);
        const since = monotonic();
        await bare.stop(standby);
        rmSync(standby.dataDir, { recursive: true });
        const from = monotonic();
        await bare.run(standby, 'pg_basebackup', ['-d', bare.conninfo(leader), '-D', standby.dataDir, '-c', 'fast']);
        tools.copy.push((monotonic() - from) / 1000);
        await bare.follow(standby, leader, kept);
        return (monotonic() - since) / 1000;
      }),
      `pg_basebackup itself ${tools.copy.map((s) => s.toFixed(2)).join(', ')} s`,
    );
    book(
      `${what} comes back by rewind, bare pg_rewind`,
      's',
      await repeat(few, 'bare rewind', async () => {
        const old = cluster.node(await cluster.primary());
        const [next] = cluster.others(old.name);
        const kept = bare.settings(old);
        await bare.run(next, 'pg_ctl', ['promote', '-w', '-D', next.dataDir]);
        await cluster.sql(next.name, 'checkpoint', 60_000);
        await diverge(old.name);
        await bare.stop(old);
        const since = monotonic();
        await bare.run(old, 'pg_rewind', ['-D', old.dataDir, '--source-server', bare.conninfo(next.name)]);
        tools.rewind.push((monotonic() - since) / 1000);
        await bare.follow(old, next.name, kept);
        return (monotonic() - since) / 1000;
      }),
      `pg_rewind itself ${tools.rewind.map((s) => s.toFixed(2)).join(', ')} s`,
    );
  });
}

/** Postgres of the nodes by hand, as its user. */
function bareServers(cluster, bin) {
  const FILES = ['postgresql.conf', 'postgresql.auto.conf', 'pg_hba.conf', 'pg_ident.conf'];
  const run = async (node, program, args) => {
    const { code, stderr } = await lab.runOn(node.host, [...lab.stepDown(true), join(bin, program), ...args], {
      timeoutMs: 600_000,
    });
    if (code !== 0) throw new Error(`${program}: ${stderr.trim().split('\n').at(-1)}`);
  };
  const conninfo = (name) => {
    const { host, port, user, password } = cluster.node(name).server;
    return `host=${host} port=${port} user=${user} password=${password} dbname=postgres application_name=h`;
  };
  return {
    run,
    conninfo,
    /** A copy or a rewind brings those of the source. */
    settings: (node) => FILES.map((file) => [file, readFileSync(join(node.dataDir, file))]),
    stop: (node) => run(node, 'pg_ctl', ['stop', '-w', '-m', 'fast', '-D', node.dataDir]),
    /** Starts it as a standby and waits until it streams and has replayed what is there now. */
    follow: async (node, leader, kept) => {
      for (const [file, content] of kept) writeFileSync(join(node.dataDir, file), content);
      const conninfoOf = conninfo(leader).replace('application_name=h', `application_name=${node.name}`);
      appendFileSync(
        join(node.dataDir, 'postgresql.conf'),
        `primary_conninfo = '${conninfoOf}'\nprimary_slot_name = ''\nrestore_command = ''\n`,
      );
      writeFileSync(join(node.dataDir, 'standby.signal'), '');
      const postgres = lab.launch({
        host: node.host,
        program: join(bin, 'postgres'),
        args: ['-D', node.dataDir],
        log: node.log,
        cwd: node.directory,
        asServer: true,
      });
      postgres.unref();
      await cluster.waitAllStreaming(LIMIT_MS * 5);
    },
  };
}

const LOAD = { perSecond: 1_000, seconds: 5 };

async function health(place) {
  // Stays with one cluster: the bare server stands in its network.
  const { cluster } = place;
  const host = cluster.network.host('h1');
  const bare = lab.launch({
    host,
    program: process.execPath,
    args: ['-e', `require('http').createServer((q, s) => s.end('{}')).listen(8099, '${host.address}')`],
    log: join(cluster.directory, 'bare.log'),
    cwd: cluster.directory,
    asServer: false,
  });
  const load = (url) => cluster.client.ask('load', { url, ...LOAD });
  /** Several rounds: on a machine with other work the p99 of a single one says little. */
  const figure = async (what, url, harm, mend) => {
    const rounds = await repeat(Math.min(runs, 3), what, async () => {
      const running = load(await url());
      await sleep(1_000);
      await harm?.();
      const report = await running;
      await mend?.();
      return report;
    });
    if (rounds.length === 0) return;
    const statuses = new Map();
    for (const round of rounds) {
      for (const [status, n] of Object.entries(round.statuses)) statuses.set(status, (statuses.get(status) ?? 0) + n);
    }
    const unanswered = rounds.reduce((sum, round) => sum + round.unanswered, 0);
    const notes = [
      `${median(rounds.map(({ perSecond }) => perSecond)).toFixed(0)}/s`,
      `p50 ${median(rounds.map(({ p50Ms }) => p50Ms)).toFixed(2)} ms`,
      ...[...statuses].map(([status, n]) => `${n}×${status}`),
      ...(unanswered > 0 ? [`${unanswered} unanswered`] : []),
    ];
    book(
      `health checks, ${what}: p99`,
      'ms',
      rounds.map(({ p99Ms }) => p99Ms),
      notes.join(', '),
    );
  };
  try {
    await sleep(500);
    await load(`http://${host.address}:8099/`); // warms up the client as well
    await figure('bare Node HTTP server', () => `http://${host.address}:8099/`);
    const standby = async () => cluster.others(await cluster.primary())[0];
    await figure('idle', async () => `${(await standby()).url}/primary`);
    const failOver = async () => cluster.killPostmaster(await cluster.primary());
    const failedOver = () => cluster.waitAllStreaming(60_000);
    // What the machine itself makes of a failover beside it: all three nodes share its cores here.
    await figure('bare Node HTTP server beside a failover', () => `http://${host.address}:8099/`, failOver, failedOver);
    await figure('during a failover', async () => `${(await standby()).url}/primary`, failOver, failedOver);
    let hanging = '';
    await figure(
      'while its Postgres hangs',
      async () => {
        const node = await standby();
        hanging = node.name;
        return `${node.url}/replica`;
      },
      () => cluster.freezeFamily(hanging),
      async () => {
        cluster.thawFamily(hanging);
        await cluster.waitAllStreaming(60_000);
      },
    );
    await figure(
      'while etcd is away',
      async () => `${(await standby()).url}/replica`,
      () => cluster.network.cut('e1'),
      async () => {
        cluster.network.heal('e1');
        await cluster.waitAllStreaming(60_000);
      },
    );
  } finally {
    bare.kill('SIGKILL');
  }
}

// ---- what stands in front of a cluster ---------------------------------------------------------------------------------

const config = (file) => readFileSync(join(root, 'config', file), 'utf8');
const filled = (file, words) =>
  Object.entries(words).reduce((text, [from, to]) => text.replaceAll(from, to), config(file));

/**
 * A writer that knows one address alone, several crashes and switchovers: how long its writes pause, and how long the new primary
 * has been writable (by the watch on its node) before the first write gets there.
 */
async function bookFront(place, what, front, times) {
  for (const [kind, harm] of [
    ['SIGKILL of the postmaster', (cluster, primary) => cluster.killPostmaster(primary)],
    ['switchover', switchOver],
  ]) {
    const delays = [];
    const pauses = await repeat(
      times,
      `${what}, ${kind}`,
      async () => {
        const { cluster } = place;
        const stop = await front(cluster);
        try {
          await cluster.waitAllStreaming(LIMIT_MS);
          await cluster.startWriter({ servers: [{ ...cluster.nodes[0].server, ...stop.address }] });
          await cluster.waitForWrites(100, LIMIT_MS);
          // Whatever the checks have to say of all nodes they have said.
          await sleep(10_000);
          const primary = await cluster.primary();
          const since = monotonic();
          await harm(cluster, primary);
          const next = await cluster.waitForPrimary(LIMIT_MS, [primary]);
          const [last, writable, first] = await until('writes get there', LIMIT_MS, async () => {
            const accepted = (await cluster.watched()).filter(({ node, sent }) => node === next && sent > since);
            const began = Math.min(...accepted.map(({ acked }) => acked));
            const acked = (await cluster.writerReport()).acked.map(({ at }) => at);
            // Nobody acknowledges anything after the new one is writable but the new one.
            const there = acked.find((at) => at >= began);
            return there === undefined ? null : [acked.findLast((at) => at < began), began, there];
          });
          await sleep(1_000);
          const report = await cluster.stopWriter();
          delays.push(first - writable);
          await cluster.waitAllStreaming(LIMIT_MS);
          const { lost } = await cluster.finalRead(report);
          if (lost.length > 0) throw new Error(`${lost.length} acknowledged rows are lost`);
          return (first - last) / 1_000;
        } finally {
          await stop.end();
        }
      },
      place,
    );
    book(`${what}, ${kind}: writes pause`, 's', pauses);
    book(
      `${what}, ${kind}: from writable to the first write through it`,
      's',
      delays.map((ms) => ms / 1_000),
    );
  }
}

const ended = (children) => async () => {
  for (const child of children) child.kill('SIGTERM');
  await until('they have ended', 10_000, () => children.every((one) => (one.exitCode ?? one.signalCode) !== null));
};

async function haproxy() {
  const shape = () => ({ network: lab.createNamespaces([...lab.hostNames(), 'lb']), node: () => AGENT });
  const AGENT = { restapi: { agent_check: '*:8009' } };
  await withCluster(shape, async (place) => {
    const files = {
      'HAProxy with the file of the how-to': (cluster) =>
        lab.fillIn(
          'haproxy.cfg',
          cluster.nodes.map(({ host }, i) => [`192.168.11.10${i + 1}:6543`, `${host.address}:5432`]),
        ),
      'HAProxy with config/haproxy.cfg': (cluster) => ourHaproxy(cluster),
      'HAProxy with config/haproxy.cfg and agent-check': (cluster) =>
        ourHaproxy(cluster).replaceAll(/^( +)# (default-server agent)/gm, '$1$2'),
    };
    for (const [what, text] of Object.entries(files)) {
      const front = async (cluster) => {
        const host = cluster.network.host('lb');
        const { child } = lab.startHaproxyWith(lab.placeOf(cluster.directory, 'haproxy', host), host, text(cluster));
        return { address: { name: 'haproxy', host: host.address, port: 5000 }, end: ended([child]) };
      };
      await bookFront(place, what, front, runs);
    }
  });
}

const ourHaproxy = (cluster) =>
  filled(
    'haproxy.cfg',
    Object.fromEntries(cluster.nodes.map(({ host }, i) => [`10.0.0.${11 + i}:5432`, `${host.address}:5432`])),
  );

const VIRTUAL = '10.77.0.10';

async function keepalived() {
  const everywhere = { restapi: { listen: '0.0.0.0:8008' }, postgresql: { listen: '*:5432' } };
  await withCluster({ node: () => everywhere }, async (place) => {
    const script = (cluster, name, text) => {
      const path = join(cluster.directory, name);
      writeFileSync(path, text, { mode: 0o755 });
      return path;
    };
    const files = {
      'keepalived with the files of the how-to': (cluster) => () =>
        lab.fillIn('keepalived.conf', [
          [
            '/usr/local/bin/check_patroni.sh',
            script(cluster, 'check_patroni.sh', lab.publishedFile('check_patroni.sh')),
          ],
          ['ens192', 'eth0'],
          ['*password*', 'vrrp-4-us'],
          ['*VirtualIP*', VIRTUAL],
        ]),
      'keepalived with config/keepalived.conf': (cluster) => (host, others) =>
        filled('keepalived.conf', {
          '/etc/keepalived/check_pgha.sh': script(cluster, 'check_pgha.sh', config('check_pgha.sh')),
          '10.0.0.10/24': `${VIRTUAL}/24`,
          '10.0.0.11': host.address,
          '10.0.0.12': others[0].address,
          '10.0.0.13': others[1].address,
        }),
    };
    for (const [what, textFor] of Object.entries(files)) {
      const front = async (cluster) => {
        const text = textFor(cluster);
        const children = cluster.nodes.map(({ host }) => {
          const others = cluster.nodes.map((other) => other.host).filter((other) => other !== host);
          return lab.startKeepalived(lab.placeOf(cluster.directory, 'keepalived', host), host, text(host, others))
            .child;
        });
        return { address: { name: 'address', host: VIRTUAL, port: 5432 }, end: ended(children) };
      };
      await bookFront(place, what, front, runs);
    }
  });
}

/** The address that pgha moves itself. */
async function vip() {
  const node = { postgresql: { listen: '*:5432' }, vip: { address: `${VIRTUAL}/24`, interface: 'eth0' } };
  await withCluster({ node: () => node, capabilities: ['net_admin', 'net_raw'] }, async (place) => {
    const front = async () => ({ address: { name: 'address', host: VIRTUAL, port: 5432 }, end: async () => {} });
    await bookFront(place, 'the built-in address (vip)', front, runs);
  });
}

/** From its start to its end, the table printed; beside what Node itself takes to start. */
async function ctl({ cluster }) {
  const host = cluster.network.host('client');
  const timed = async (what, run) => {
    await run(); // files are in memory from now on, as for whoever types it a second time
    const values = await repeat(2 * runs, what, async () => {
      const began = monotonic();
      const { code, stderr } = await run();
      if (code !== 0) throw new Error(stderr);
      return monotonic() - began;
    });
    return values;
  };
  const bare = [...lab.stepDown(true), process.execPath, '-e', '0'];
  book('node -e 0, start to end', 'ms', await timed('node -e 0', () => lab.runOn(host, bare)), 'the floor');
  const list = await timed('pgha-ctl list', () => cluster.ctl(['list']));
  book('pgha-ctl list, start to end', 'ms', list, 'target: under 300 ms');
}

/** From the moment pgha-ctl has stored a setting to the moment the last server works with it. */
async function settings({ cluster }) {
  const inForce = async (value) =>
    (
      await Promise.all(
        cluster.nodes.map(async ({ name }) => {
          const [row] = await cluster.sql(name, "select setting from pg_settings where name = 'work_mem'");
          return row?.setting === String(value);
        }),
      )
    ).every(Boolean);
  const what = 'an edit of the settings, stored until in force on every server';
  const values = await repeat(2 * runs, what, async (run) => {
    const value = 4_096 + run;
    await ctlDone(cluster, ['edit-config', '--force', '-p', `work_mem=${value}kB`]);
    const stored = monotonic();
    await until(`work_mem is ${value} kB everywhere`, LIMIT_MS, () => inForce(value), 10);
    return monotonic() - stored;
  });
  const note = `${cluster.nodes.length} servers; loop_wait 1 s; target: under one loop`;
  book(what, 'ms', values, note);
}

/** One scrape after the other, of the leader, as Prometheus sees it; `/liveness` is the floor. */
async function metrics({ cluster }) {
  const { url } = cluster.node(await cluster.primary());
  for (const [path, note] of [
    ['/liveness', 'the floor'],
    ['/metrics', 'target: under 10 ms'],
  ]) {
    const report = await cluster.client.ask('load', { url: `${url}${path}`, perSecond: 20, seconds: 5 });
    book(`GET ${path}: p50`, 'ms', [report.p50Ms], `p99 ${report.p99Ms.toFixed(2)} ms; ${note}`);
  }
}

/** One pair alone: the primary of a cluster of one, and of the three for what etcd is asked. */
/**
 * From the start of the service to READY=1, by which systemd takes it for started. What hands that word over on a real
 * host is systemd-notify; here it is a script of the same name that leaves a file.
 */
async function ready() {
  const place = mkdtempSync(join(tmpdir(), 'pgha-bench-'));
  const told = join(place, 'told');
  try {
    chmodSync(place, 0o777);
    writeFileSync(join(place, 'systemd-notify'), `#!/bin/sh\ncase $1 in READY=1) : > ${told};; esac\n`, {
      mode: 0o755,
    });
    const env = () => ({ NOTIFY_SOCKET: told, PATH: `${place}:${process.env['PATH']}` });
    await withCluster({ nodes: 2, env }, async ({ cluster }) => {
      const primary = await cluster.primary();
      const [{ daemon }] = cluster.others(primary);
      const values = await repeat(2 * runs, 'start of the service', async () => {
        await daemon.stop();
        rmSync(told, { force: true });
        const began = monotonic();
        daemon.start();
        await until('it is ready', LIMIT_MS, () => existsSync(told), 2);
        const took = monotonic() - began;
        await cluster.waitAllStreaming(LIMIT_MS);
        return took;
      });
      book('start of the service on a standby, to READY=1', 'ms', values, 'target: under 1 s');
    });
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

async function idle() {
  const minute = 60_000;
  await withCluster({ nodes: 1 }, async ({ cluster }) => {
    const [node] = cluster.nodes;
    await sleep(15_000); // the heap has settled
    const pair = [node.daemon.id(), node.guard()].map((id) => {
      if (id === null) throw new Error('daemon or guard is not there');
      return { id, before: lab.footprint(id) };
    });
    await sleep(minute);
    const after = pair.map(({ id }) => lab.footprint(id));
    const mb = after.map(({ pssKb }) => pssKb / 1024);
    book(
      'idle PSS, guard and daemon, alone on the machine',
      'MB',
      [mb[0] + mb[1]],
      `daemon ${mb[0].toFixed(1)}, guard ${mb[1].toFixed(1)}`,
    );
    const ticks = after.reduce((sum, { cpuTicks }, i) => sum + cpuTicks - pair[i].before.cpuTicks, 0);
    book('idle CPU, guard and daemon of the primary, per minute', 's', [ticks / 100]);
  });
  await withCluster({}, async ({ cluster }) => {
    await sleep(5_000);
    const count = async () => {
      const { body } = await cluster.client.ask('http', {
        method: 'GET',
        url: `${cluster.etcd.endpoints[0]}/metrics`,
        body: null,
        headers: {},
        timeoutMs: 5_000,
      });
      return new Map(
        [...body.matchAll(/^grpc_server_msg_received_total\{grpc_method="(\w+)"[^}]*\} (\S+)$/gm)].map(
          ([, kind, n]) => [kind, Number(n)],
        ),
      );
    };
    const before = await count();
    await sleep(minute);
    for (const [kind, n] of await count()) {
      const more = n - (before.get(kind) ?? 0);
      if (more > 0) book(`etcd requests per minute, three idle nodes: ${kind}`, '', [more]);
    }
  });
}

try {
  const started = monotonic();
  console.log(`bench: ${runs} runs each; this takes about ${8 + 2 * runs} minutes`);
  if (parts.has('decision')) decisions();
  if (parts.has('floor')) await floor();
  await outages();
  if (parts.has('pgbouncer')) await pgbouncer();
  if (parts.has('commits')) await commits();
  if (parts.has('rejoin')) await rejoin();
  if (parts.has('ready')) await ready();
  if (parts.has('haproxy')) await haproxy();
  if (parts.has('keepalived')) await keepalived();
  if (parts.has('vip')) await vip();
  if (parts.has('idle')) await idle();
  const width = Math.max(...rows.map(({ what }) => what.length));
  console.log(`\n${'what'.padEnd(width)}  median (min-max)`);
  for (const row of rows) {
    console.log(`${row.what.padEnd(width)}  ${print(row).padEnd(28)}${row.note}`);
  }
  mkdirSync(dirname(options.json), { recursive: true });
  const machine = { cpus: cpus().length, cpu: cpus()[0]?.model ?? '', node: process.version };
  writeFileSync(options.json, `${JSON.stringify({ machine, runs, rows }, null, 2)}\n`);
  console.log(`\n${((monotonic() - started) / 1000).toFixed(0)} s; as JSON: ${options.json}`);
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
process.exit();
