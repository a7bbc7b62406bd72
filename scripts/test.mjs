#!/usr/bin/env node
/**
 * `npm test`: everything continuous integration checks, from a bare clone, in under 25 minutes on two cores; with
 * `--all` more seeds and the long end-to-end tests as well. Each step runs though an earlier one failed, so that one
 * run tells everything; the exit code is 0 only when all of them passed.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensure, rootPrefix } from './ensure.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const all = process.argv.includes('--all');
const minutes = 60_000;

const results = [];
const running = new Set();
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // The steps remove what they started; only then do we go, and without the steps after them.
    interrupted = true;
    if (running.size === 0) process.exit(130);
    for (const child of running) child.kill('SIGTERM');
  });
}

/** Runs a command with a time limit; its output goes straight through, or to the file `output`. */
function run(command, limitMs, env = {}, output = null) {
  return new Promise((resolve) => {
    const [program, ...args] = command;
    const to = output === null ? 'inherit' : openSync(output, 'a');
    const child = spawn(program, args, { cwd: root, stdio: ['inherit', to, to], env: { ...process.env, ...env } });
    if (output !== null) closeSync(to);
    running.add(child);
    const soft = setTimeout(() => {
      console.error(`\ntest: time limit of ${limitMs / minutes} minutes for: ${command.join(' ')}`);
      child.kill('SIGTERM');
    }, limitMs);
    const hard = setTimeout(() => child.kill('SIGKILL'), limitMs + 15_000);
    child.on('error', (error) => console.error(String(error)));
    child.on('close', (code) => {
      clearTimeout(soft);
      clearTimeout(hard);
      running.delete(child);
      if (interrupted && running.size === 0) process.exit(130);
      if (interrupted) return;
      resolve(code === 0);
    });
  });
}

/**
 * One step; `report` is vitest's JSON, from which single tests are counted. `again`: it runs real processes in real
 * time, and on a machine whose cores are busy with something else one of them can be late. What failed then runs once
 * more, its files only; what passes the second time is green and called unsteady, with what it said the first time.
 */
async function step(name, command, limitMs, { report = null, env = {}, again = false } = {}) {
  console.log(`\n=== ${name}`);
  const started = performance.now();
  let result = await runAndCount(command, limitMs, report, env);
  let unsteady = [];
  if (again && !result.ok && mayRunAgain(result)) {
    const files = [...new Set(result.failures.map(({ file }) => file))];
    console.log(`\n=== ${name}: once more, ${files.map((file) => relative(root, file)).join(' ')}`);
    const second = await runAndCount([...command, ...files], limitMs, report, env);
    if (second.ok) {
      unsteady = result.failures;
      const passed = result.passed + result.failed;
      result = { ...result, ok: true, passed, failed: 0, failures: [] };
    } else {
      result = { ...result, failures: [...result.failures, ...second.failures.map(inTheSecondRun)] };
    }
  }
  results.push({ name, ...result, unsteady, ms: performance.now() - started });
  return result.ok;
}

const inTheSecondRun = (failure) => ({ ...failure, test: `${failure.test} (when it ran once more)` });

async function runAndCount(command, limitMs, report, env) {
  if (report === null) {
    const ok = await run(command, limitMs, env);
    return { ok, passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0, failures: [] };
  }
  rmSync(report, { force: true });
  const ok = await run([...command, '--reporter=json', `--outputFile.json=${report}`], limitMs, env);
  if (!existsSync(report)) return { ok, passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0, failures: [] };
  const counted = JSON.parse(readFileSync(report, 'utf8'));
  return {
    ok,
    passed: counted.numPassedTests,
    failed: !ok && counted.numFailedTests === 0 ? 1 : counted.numFailedTests, // a file that could not be loaded
    skipped: counted.numPendingTests + counted.numTodoTests,
    failures: failuresIn(counted),
  };
}

/** What `endsWell` of test/e2e/lib says when a promise is broken: that is never bad luck, and never tried again. */
const BROKEN_PROMISE = /two writers|acknowledged rows|rows that were never attempted/;

/** Many at once are no bad luck either. */
function mayRunAgain({ failures }) {
  return (
    failures.length > 0 &&
    failures.length <= 2 &&
    failures.every(({ file, whole }) => file && !BROKEN_PROMISE.test(whole))
  );
}

/** What failed, from vitest's JSON: `{ file, test, whole, message }` each, the message in at most 25 lines. */
function failuresIn(report) {
  const failures = [];
  for (const { name, status, message, assertionResults } of report.testResults) {
    const failed = assertionResults.filter((result) => result.status === 'failed');
    if (failed.length === 0 && status === 'failed') failures.push({ file: name, test: name, whole: message });
    for (const { fullName, failureMessages } of failed) {
      failures.push({ file: name, test: fullName.trim(), whole: failureMessages.join('\n') });
    }
  }
  return failures.map((failure) => ({ ...failure, message: failure.whole.split('\n').slice(0, 25).join('\n') }));
}

function skip(name, why) {
  console.log(`\n=== ${name}\nSKIPPED: ${why}`);
  const counts = { passed: 0, failed: 0, skipped: 1, failures: [], unsteady: [] };
  results.push({ name: `${name}: skipped, ${why}`, ok: true, ...counts, ms: 0 });
}

const vitest = (project) => ['npx', 'vitest', 'run', '--project', project, '--reporter=default'];
const reportOf = (name) => join(root, 'build', `${name}.json`);

ensure(all ? 'all' : 'test');
mkdirSync(join(root, 'build'), { recursive: true });

const built = await step('build', ['node', 'scripts/build.mjs'], 2 * minutes);
// Part by part, so that a line that is formatted wrongly does not hide what the unit tests have to say.
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
for (const part of scripts.check.split('&&').map((text) => text.trim().split(/\s+/))) {
  const name = part.filter((word) => !['npm', 'run', '--silent', '--'].includes(word)).join(' ');
  if (name === 'unit') await step('check: unit', vitest('unit'), 5 * minutes, { report: reportOf('unit') });
  else await step(`check: ${name}`, part, 5 * minutes);
}
// The simulation only computes, and what follows mostly waits: it runs beside them, on what they leave of the cores.
const seeds = all ? 10_000 : 2_000;
// A fixed range as long as fresh seeds still find something: about one in a thousand does, and the plans that are not
// understood or not mended yet are kept in test/sim/open. `--ci` without `--first` draws the range from the files.
const first = 7_700_001;
const quietly = [
  { name: `simulation: ${seeds} seeds`, args: ['--ci', '--seeds', String(seeds), '--first', String(first)] },
  // A green simulation says little until it is known to see mistakes.
  { name: 'simulation: planted mistakes, each has to be noticed', args: ['--mutants'] },
].map((part, i) => ({ ...part, output: join(root, 'build', `simulation-${i}.log`) }));
const beside = (async () => {
  for (const { name, args, output } of quietly) {
    rmSync(output, { force: true });
    console.log(
      `\n=== ${name}: begun beside the other steps; its output follows at the end (${relative(root, output)})`,
    );
    const started = performance.now();
    const command = ['nice', '-n', '19', 'node', 'scripts/sim.mjs', '--workers', '1', ...args];
    const ok = await run(command, (all ? 120 : 25) * minutes, {}, output);
    const counts = { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0, failures: [], unsteady: [] };
    results.push({ name, ok, ...counts, ms: performance.now() - started });
  }
})();

await step('contract: our models beside the real etcd and Postgres', vitest('contract'), 12 * minutes, {
  report: reportOf('contract'),
  again: true,
});

const CHAOS = ['--minutes', '3', '--seed', '293', '--set', 'synchronous_mode=quorum'];
const privilege = rootPrefix();
if (!built) skip('end-to-end tests', 'there is no build');
else if (privilege === null) skip('end-to-end tests', 'network namespaces need root or sudo without a password');
else {
  const keepEnvironment = privilege.length === 0 ? [] : ['env', `PATH=${process.env['PATH']}`];
  await step(
    'end-to-end: real processes, kills and cut networks',
    [...privilege, ...keepEnvironment, ...vitest('e2e')],
    (all ? 80 : 22) * minutes,
    {
      report: reportOf('e2e'),
      again: true,
      env: all ? { PGHA_E2E_ALL: '1' } : {},
    },
  );
  // Three minutes of rounds, and what it takes to start and to come to rest; the same faults each time. Never tried again:
  // a promise that is broken once is broken.
  await step(
    'chaos: random faults on real processes for 3 minutes, every row read back',
    [...privilege, ...keepEnvironment, 'node', 'scripts/chaos.mjs', ...CHAOS],
    9 * minutes,
  );
}

await beside;
for (const { name, output } of quietly) {
  console.log(`\n=== ${name}\n${readFileSync(output, 'utf8')}`);
}

// Once more at the end, where somebody looks who has only the last screen of a long log.
const story = (word, name, { test, message }) =>
  console.log(`\n${word}  ${test}\n        (${name})\n${message.replace(/^/gm, '    ')}`);
for (const { name, failures, unsteady } of results) {
  for (const failure of unsteady) story('UNSTEADY: passed the second time', name, failure);
  for (const failure of failures) story('FAILED', name, failure);
}
const sum = (what) => results.reduce((total, result) => total + result[what], 0);
console.log('\n');
for (const { name, ok, passed, failed, skipped, unsteady, ms } of results) {
  const wavered = unsteady.length > 0 ? `, ${unsteady.length} unsteady` : '';
  const counts = `${passed} passed${failed > 0 ? `, ${failed} failed` : ''}${wavered}${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${`${(ms / 1000).toFixed(1)} s`.padStart(9)}  ${counts.padEnd(24)}  ${name}`);
}
console.log(`     ${`${(performance.now() / 1000).toFixed(1)} s`.padStart(8)}  together, as some of it ran at once\n`);
console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
process.exitCode = results.every(({ ok }) => ok) ? 0 : 1;
