#!/usr/bin/env node
/**
 * `npm run demo`: three nodes, a real etcd and HAProxy on the loopback of this machine, and the story of a failover
 * told while it happens. On a terminal the cluster then stays until Ctrl-C; without one, or with `--once`, the script
 * ends with exit code 0 only when the story went right. Everything it starts it removes; what already runs here it
 * neither uses nor touches.
 */
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join, relative } from 'node:path';
import { build, root } from './build.mjs';
import { ensure } from './ensure.mjs';
import { loadLab } from './lab.mjs';

const once = process.argv.includes('--once') || process.stdout.isTTY !== true;
const link = join(root, 'build', 'demo');

let told = false;
process.on('SIGINT', () => {
  console.log('\nEverything is being removed.');
  process.exit(told ? 0 : 130); // at the end of the story Ctrl-C is how it ends
});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(143));
process.on('exit', () => rmSync(link, { force: true }));

ensure('demo');
await build({ quiet: true });
const lab = await loadLab();
const { monotonic, sleep } = lab;

const started = monotonic();
const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;

/** One sentence of the story, with the time since the beginning. */
function tell(sentence) {
  console.log(`${((monotonic() - started) / 1000).toFixed(1).padStart(6)} s  ${sentence}`);
}

function chapter(title) {
  console.log(`\n── ${title} ${'─'.repeat(Math.max(0, 100 - title.length))}`);
}

function show(text) {
  for (const line of text.trimEnd().split('\n')) console.log(`          ${line}`);
}

/** Waits, and shows that something is going on: in place on a terminal, a line every five seconds elsewhere. */
async function during(what, work) {
  const since = monotonic();
  const tty = process.stdout.isTTY === true;
  const timer = setInterval(
    () => {
      const elapsed = `${((monotonic() - since) / 1000).toFixed(0)} s`;
      if (tty) process.stdout.write(`\r          ... ${what} (${elapsed})\x1b[K`);
      else console.log(`          ... ${what} (${elapsed})`);
    },
    tty ? 200 : 5_000,
  );
  try {
    return await work;
  } finally {
    clearInterval(timer);
    if (tty) process.stdout.write('\r\x1b[K');
  }
}

const wrong = [];
function check(right, sentence, otherwise) {
  if (right) tell(sentence);
  else {
    wrong.push(otherwise);
    tell(`WRONG: ${otherwise}`);
  }
}

/** What all daemons logged from an instant on, in order of time: what an operator would read. */
function logSince(cluster, wallMs) {
  // 2026-11-20 10:44:00.123 info  lease.window-opened  Sentence.  facts=...
  const LINE = /^(\d{4}-\d\d-\d\d [\d:.]+) (\w+) +(\S+) {2}(.*?)(?: {2}(\w+=.*))?$/;
  return cluster.nodes
    .flatMap((node) =>
      node
        .logText()
        .split('\n')
        .map((line) => LINE.exec(line))
        .filter((match) => match !== null)
        .map(([, time, , event, sentence]) => ({ node: node.name, at: Date.parse(time), event, sentence })),
    )
    .filter(({ at }) => at >= wallMs)
    .sort((a, b) => a.at - b.at);
}

/** Events that carry the story; the rest stands in the log files. */
const TELLING = /^(postgres\.died|lease\.|failover\.|switchover\.|rescue\.|decision\.changed|action\.failed)/;

function showLog(entries, since) {
  for (const { node, at, event, sentence } of entries) {
    if (!TELLING.test(event)) continue;
    const text = sentence.length > 150 ? `${sentence.slice(0, 149)}…` : sentence;
    console.log(`          ${`+${at - since}`.padStart(6)} ms  ${node}  ${text}`);
  }
}

async function list(cluster, when) {
  const { code, stdout, stderr } = await cluster.ctl(['list']);
  if (code !== 0) wrong.push(`pgha-ctl list (${when}) ended with code ${code}`);
  show(stdout === '' ? stderr : stdout);
}

let cluster = null;

async function story() {
  console.log('pgha demo: three PostgreSQL nodes kept available, on the loopback of this machine.');
  console.log('Nothing that runs here already is used or touched; all of this is removed at the end.');

  chapter('A cluster from nothing');
  const network = await lab.createLoopback(['h1', 'h2', 'h3', 'e1', 'client', 'proxy'], [5432, 8008, 2379, 2480, 5000]);
  lab.openRun();
  const directory = join(lab.runDirectory, 'demo');
  mkdirSync(join(root, 'build'), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(directory, link);
  tell('etcd and three daemons (h1, h2, h3) start, on empty directories. They race to create the cluster.');
  cluster = await during(
    'starting etcd and the daemons',
    lab.Cluster.start({
      network,
      directory,
      scope: 'demo',
      defaults: true,
      dontWait: true,
    }),
  );
  const first = await during('one of them runs initdb', cluster.waitForPrimary(60_000));
  tell(`${first} won the race: it created the database and leads.`);
  await cluster.prepare();
  await during('the others copy it', cluster.waitAllStreaming(60_000));
  tell('The others have copied it and stream from it.');
  const proxy = lab.startHaproxy(cluster, network.host('proxy'));
  await list(cluster, 'at the beginning');

  chapter('The primary dies');
  await cluster.startWriter({ servers: [proxy] });
  tell(
    `A writer inserts a row every 5 ms through HAProxy (${proxy.host}:${proxy.port}), which asks each node's /primary.`,
  );
  await cluster.waitForWrites(300);
  const killed = monotonic();
  const killedWall = Date.now();
  const { pid } = cluster.node(first).postmaster();
  cluster.killPostmaster(first);
  tell(`kill -9 ${pid}: the Postgres of ${first} is gone, in the middle of writes.`);
  const second = await during('a new primary', cluster.waitForPrimary(30_000, [first]));
  await cluster.waitForWrites(100);
  const pause = await cluster.pauseSince(killed);
  check(
    pause !== null,
    `${second} is the primary now. Writes paused for ${seconds(pause?.ms ?? 0)}.`,
    'nobody could write again',
  );
  await sleep(300);
  tell('Who, and why (from the logs of the three daemons, milliseconds since the kill):');
  showLog(logSince(cluster, killedWall), killedWall);

  chapter('Nothing was lost, and nobody has to help');
  await during(`${first} comes back`, cluster.waitAllStreaming(60_000));
  tell(
    `${first} has come back by itself, as a standby of ${second} (${seconds(monotonic() - killed)} after the kill).`,
  );
  await list(cluster, 'after the failover');
  const report = await cluster.stopWriter();
  const verdict = await cluster.finalRead(report);
  check(
    verdict.lost.length === 0 && verdict.phantom.length === 0,
    `The writer had ${verdict.acked} rows acknowledged; all of them are there (${verdict.unknown} were under way at the kill: unknown to it).`,
    `${verdict.lost.length} acknowledged rows are lost, ${verdict.phantom.length} are there that should not be`,
  );
  const twice = await cluster.twoWriters();
  check(
    twice.length === 0,
    'At no instant did two nodes accept writes (each was tried all the time).',
    twice.join('; '),
  );

  chapter('A switchover back');
  await cluster.startWriter({ servers: [proxy] });
  await cluster.waitForWrites(100);
  const asked = monotonic();
  const askedWall = Date.now();
  tell(`pgha-ctl switchover --leader ${second} --candidate ${first} --force`);
  const result = await during(
    'the switchover',
    cluster.ctl(['switchover', '--leader', second, '--candidate', first, '--force']),
  );
  show(`${result.stdout}${result.stderr}`);
  await cluster.waitForWrites(100);
  const planned = await cluster.pauseSince(asked);
  check(
    result.code === 0 && (await cluster.primary()) === first,
    `${first} is the primary again. Writes paused for ${seconds(planned?.ms ?? 0)}.`,
    `the switchover ended with code ${result.code}`,
  );
  showLog(logSince(cluster, askedWall), askedWall);
  await during(`${second} follows`, cluster.waitAllStreaming(60_000));
  const after = await cluster.finalRead(await cluster.stopWriter());
  check(
    after.lost.length === 0,
    `Again all ${after.acked} acknowledged rows are there.`,
    `${after.lost.length} rows are lost`,
  );
  const again = await cluster.twoWriters();
  if (again.length > 0) check(false, '', again.join('; '));
  await list(cluster, 'at the end');
  console.log('');
  if (wrong.length === 0) {
    tell(
      `Done. Without writes: ${seconds(pause.ms)} when the primary was killed, ${seconds(planned.ms)} in the switchover. Lost: nothing.`,
    );
  }
  return proxy;
}

function howToPlay(proxy) {
  const ctl = (words) => `node dist/pgha-ctl.js -c ${relative(root, link)}/h1/pgha.yml ${words}`;
  const { password } = cluster.nodes[0].server;
  console.log(`
The cluster keeps running until you press Ctrl-C here. In another terminal, in ${root}:

    ${ctl('list -W')}
    ${ctl('switchover --candidate h2 --force')}
    ${ctl('history')}
    psql "host=${proxy.host} port=${proxy.port} user=postgres password=${password} dbname=postgres"
    kill -9 $(head -n 1 ${relative(root, link)}/h1/data/postmaster.pid)      # Postgres of h1
    kill -9 ${cluster.nodes.map((node) => `${node.daemon.id()?.pid}`).join('|')}      # the daemon of h1|h2|h3; it is started again
    curl -i ${cluster.nodes[0].url}/                    # what a load balancer sees
    curl -s ${cluster.nodes[0].url}/status              # the decision of h1 now, and why
    tail -f ${relative(root, link)}/h1/daemon.log

To see the databases' side of it, keep a writer going:

    while sleep 0.2; do psql "host=${proxy.host} port=${proxy.port} user=postgres password=${password} dbname=postgres" \\
      -Atc "insert into e2e_watch (node) values ('me') returning at"; done
`);
}

try {
  const proxy = await story();
  if (wrong.length > 0) throw new Error(wrong.join('; '));
  told = true;
  if (!once) {
    howToPlay(proxy);
    await new Promise(() => setInterval(() => undefined, 60_000));
  }
  await cluster.destroy();
} catch (error) {
  console.error(`\nThe story went wrong: ${error instanceof Error ? error.message : String(error)}`);
  if (error?.cause !== undefined) console.error(String(error.cause));
  if (cluster !== null) {
    console.error(`The logs are in ${cluster.saveLogs()}`);
    await cluster.destroy().catch(() => undefined);
  }
  process.exitCode = 1;
}
process.exit();
