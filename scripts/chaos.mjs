#!/usr/bin/env node
/**
 * `npm run chaos`: real processes in network namespaces, random faults, round after round. After each round everything is
 * healed, and within two minutes the cluster has to be writable with all nodes streaming, without help; then every row is
 * read back, on every node. Exit code 0 only when each promise held. Needs root.
 *
 *     npm run chaos -- [--minutes 3] [--seed S] [--nodes 4] [--set synchronous_mode=quorum --set failsafe_mode=true]
 *     npm run chaos -- --seed S --round N       one round again
 *     npm run chaos -- --plan FILE              the rounds of a file; a round that fails leaves one in build/chaos/
 *
 * The seed also says how many nodes there are, three to five.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, root } from './build.mjs';
import { ensure } from './ensure.mjs';
import { loadLab } from './lab.mjs';

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '3' },
    seed: { type: 'string' },
    round: { type: 'string' },
    nodes: { type: 'string' },
    set: { type: 'string', multiple: true, default: [] },
    plan: { type: 'string' },
  },
});
const seed = options.seed ?? String(Math.floor(Date.now() / 1000) % 1_000_000);
const minutes = Number(options.minutes);
if (!(minutes > 0) || (options.nodes !== undefined && !/^[2-7]$/.test(options.nodes))) {
  console.error('chaos: --minutes takes a number above 0, --nodes one from 2 to 7');
  process.exit(2);
}
/** `a.b=1` as `{ a: { b: 1 } }`; a value that is no JSON is text. */
const given = {};
for (const text of options.set) {
  const [path = '', ...rest] = text.split('=');
  let value = rest.join('=');
  try {
    value = JSON.parse(value);
  } catch {
    // Text as it stands.
  }
  const keys = path.split('.');
  let place = given;
  for (const key of keys.slice(0, -1)) place = place[key] ??= {};
  place[keys.at(-1)] = value;
}

ensure('test');
await build({ quiet: true });
const lab = await loadLab();
const unavailable = lab.namespacesUnavailable();
if (unavailable !== null) {
  console.error(`chaos: ${unavailable}`);
  process.exit(1);
}
lab.openRun();

const { monotonic } = lab;
const text = options.plan === undefined ? null : readFileSync(options.plan, 'utf8');
const planned = text === null ? null : lab.readPlan(text);
const kept = text === null ? {} : JSON.parse(text);
const nodes = Number(options.nodes ?? kept.nodes ?? lab.drawNodes(seed));
const settings = { ...kept.settings, ...given };
const mode = settings.synchronous_mode ?? 'off';
const mayLose = mode === 'off' || mode === false;
console.log(`chaos: ${commit()}, seed ${seed}, ${nodes} nodes, settings ${JSON.stringify(settings)}`);

/** Of what these promises were tested. */
function commit() {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' }).trim();
  } catch {
    return 'no commit';
  }
}

function* rounds() {
  if (planned !== null) yield* planned;
  else if (options.round !== undefined) yield lab.drawRound(seed, Number(options.round));
  else {
    const end = monotonic() + minutes * 60_000;
    for (let number = 1; monotonic() < end; number++) yield lab.drawRound(seed, number);
  }
}

const reports = [];
let failure = null;
let round = null;
const chaos = await lab.Chaos.start({ nodes, dcs: settings, mayLose, say: (sentence) => console.log(`  ${sentence}`) });
try {
  for (round of rounds()) {
    console.log(`round ${round.number}`);
    const report = await chaos.run(round);
    reports.push(report);
    const { verdict, longestPauseMs, calmAfterMs, broken } = report;
    console.log(
      `  ${verdict.acked} rows acknowledged, ${verdict.lost.length} lost, longest pause ${(longestPauseMs / 1000).toFixed(1)} s, ` +
        `all stream ${(calmAfterMs / 1000).toFixed(1)} s after the last fault; ${report.from} led, now ${report.to}`,
    );
    if (broken.length > 0) throw new Error(broken.join('; '));
  }
} catch (error) {
  failure = chaos.cluster.explain(error);
}
await chaos.destroy();

const sum = (what) => reports.reduce((total, report) => total + what(report), 0);
const slowest = (what) => (Math.max(0, ...reports.map(what)) / 1000).toFixed(1);
/** `3 node-cut, 1 disk-full` */
const counted = (names) => {
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, n]) => `${n} ${name}`).join(', ') || 'none';
};
const injected = reports.flatMap((report) => report.injected);
const notDone = reports.flatMap((report) => report.notDone);
const twoWriters = reports.filter(({ broken }) => broken.some((text) => text.includes('both accepted writes')));
console.log(`
${commit()}, seed ${seed}, ${nodes} nodes, ${JSON.stringify(settings)}: ${reports.length} rounds, ${injected.length} faults
  rows attempted        ${sum(({ verdict }) => verdict.attempted)}
  acknowledged          ${sum(({ verdict }) => verdict.acked)}
  of unknown fate       ${sum(({ verdict }) => verdict.unknown)}
  lost                  ${sum(({ verdict }) => verdict.lost.length)}${mayLose ? ' (asynchronous: each announced)' : ''}
  never written, read   ${sum(({ verdict, reads }) => verdict.phantom.length + reads.phantom.length)}
  seen by readers       ${sum(({ reads }) => reads.rows)} rows in ${sum(({ reads }) => reads.answers)} answers, on every node
  two writers           ${twoWriters.length}
  longest pause         ${slowest((report) => report.longestPauseMs)} s
  slowest calm          ${slowest((report) => report.calmAfterMs)} s
  faults                ${counted(injected.map(({ kind }) => kind))}
  could not be done     ${counted(notDone.map(({ kind }) => kind))}`);
if (failure === null) console.log('every promise held');
else {
  const directory = join(root, 'build', 'chaos');
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `seed-${seed}-round-${round?.number ?? 0}.json`);
  writeFileSync(file, `${JSON.stringify({ settings, nodes, rounds: round === null ? [] : [round] }, null, 2)}\n`);
  console.error(`\nchaos: round ${round?.number ?? 0} went wrong: ${failure.message}\n\nits plan: ${file}`);
  process.exitCode = 1;
}
process.exit();
