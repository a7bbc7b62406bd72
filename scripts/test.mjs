#!/usr/bin/env node
/**
 * `npm test`: everything continuous integration checks, from a bare clone, in under 25 minutes on two cores; with
 * `--all` more seeds and the long end-to-end tests as well. Each step runs though an earlier one failed, so that one
 * run tells everything; the exit code is 0 only when all of them passed.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensure, rootPrefix } from './ensure.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const all = process.argv.includes('--all');
const minutes = 60_000;

const results = [];
let running = null;
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // The step removes what it started; only then do we go, and without the steps after it.
    interrupted = true;
    if (running === null) process.exit(130);
    else running.kill('SIGTERM');
  });
}

/** Runs a command with a time limit; its output goes straight through. */
function run(command, limitMs, env = {}) {
  return new Promise((resolve) => {
    const [program, ...args] = command;
    const child = spawn(program, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
    running = child;
    const soft = setTimeout(() => {
      console.error(`\ntest: time limit of ${limitMs / minutes} minutes for: ${command.join(' ')}`);
      child.kill('SIGTERM');
    }, limitMs);
    const hard = setTimeout(() => child.kill('SIGKILL'), limitMs + 15_000);
    child.on('error', (error) => console.error(String(error)));
    child.on('close', (code) => {
      clearTimeout(soft);
      clearTimeout(hard);
      running = null;
      if (interrupted) process.exit(130);
      resolve(code === 0);
    });
  });
}

/** One step; `report` is vitest's JSON, from which single tests are counted. */
async function step(name, command, limitMs, { report = null, env = {} } = {}) {
  console.log(`\n=== ${name}`);
  const started = performance.now();
  if (report !== null) rmSync(report, { force: true });
  const ok = await run(
    report === null ? command : [...command, '--reporter=json', `--outputFile.json=${report}`],
    limitMs,
    env,
  );
  let [passed, failed, skipped] = ok ? [1, 0, 0] : [0, 1, 0];
  let failures = [];
  if (report !== null && existsSync(report)) {
    const counted = JSON.parse(readFileSync(report, 'utf8'));
    [passed, failed] = [counted.numPassedTests, counted.numFailedTests];
    skipped = counted.numPendingTests + counted.numTodoTests;
    if (!ok && failed === 0) failed = 1; // a file that could not be loaded
    failures = failuresIn(counted);
  }
  results.push({ name, ok, passed, failed, skipped, failures, ms: performance.now() - started });
  return ok;
}

/** What failed, from vitest's JSON: `{ test, message }` each, the message in at most 25 lines. */
function failuresIn(report) {
  const failures = [];
  for (const { name, status, message, assertionResults } of report.testResults) {
    const failed = assertionResults.filter((result) => result.status === 'failed');
    if (failed.length === 0 && status === 'failed') failures.push({ test: name, message });
    for (const { fullName, failureMessages } of failed) {
      failures.push({ test: fullName.trim(), message: failureMessages.join('\n') });
    }
  }
  return failures.map(({ test, message }) => ({ test, message: message.split('\n').slice(0, 25).join('\n') }));
}

function skip(name, why) {
  console.log(`\n=== ${name}\nSKIPPED: ${why}`);
  results.push({ name: `${name}: skipped, ${why}`, ok: true, passed: 0, failed: 0, skipped: 1, failures: [], ms: 0 });
}

const vitest = (project) => ['npx', 'vitest', 'run', '--project', project, '--reporter=default'];
const reportOf = (name) => join(root, 'build', `${name}.json`);

ensure('test');
mkdirSync(join(root, 'build'), { recursive: true });

const built = await step('build', ['node', 'scripts/build.mjs'], 2 * minutes);
// Part by part, so that a line that is formatted wrongly does not hide what the unit tests have to say.
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
for (const part of scripts.check.split('&&').map((text) => text.trim().split(/\s+/))) {
  const name = part.filter((word) => !['npm', 'run', '--silent', '--'].includes(word)).join(' ');
  if (name === 'unit') await step('check: unit', vitest('unit'), 5 * minutes, { report: reportOf('unit') });
  else await step(`check: ${name}`, part, 5 * minutes);
}
await step('contract: our models beside the real etcd and Postgres', vitest('contract'), 8 * minutes, {
  report: reportOf('contract'),
});

const privilege = rootPrefix();
if (!built) skip('end-to-end tests', 'there is no build');
else if (privilege === null) skip('end-to-end tests', 'network namespaces need root or sudo without a password');
else {
  const keepEnvironment = privilege.length === 0 ? [] : ['env', `PATH=${process.env['PATH']}`];
  await step(
    'end-to-end: real processes, kills and cut networks',
    [...privilege, ...keepEnvironment, ...vitest('e2e')],
    (all ? 60 : 17) * minutes,
    {
      report: reportOf('e2e'),
      env: all ? { PGHA_E2E_ALL: '1' } : {},
    },
  );
}

const seeds = all ? 10_000 : 2_000;
// A fixed range as long as fresh seeds still find something: about one in a thousand does, and the plans that are not
// understood or not mended yet are kept in test/sim/open. `--ci` without `--first` draws the range from the files.
const first = 7_700_001;
await step(
  `simulation: ${seeds} seeds`,
  ['node', 'scripts/sim.mjs', '--ci', '--seeds', String(seeds), '--first', String(first)],
  (all ? 60 : 8) * minutes,
);
// A green simulation says little until it is known to see mistakes.
await step(
  'simulation: planted mistakes, each has to be noticed',
  ['node', 'scripts/sim.mjs', '--mutants'],
  8 * minutes,
);

// Once more at the end, where somebody looks who has only the last screen of a long log.
for (const { name, failures } of results) {
  for (const { test, message } of failures) {
    console.log(`\nFAILED  ${test}\n        (${name})\n${message.replace(/^/gm, '    ')}`);
  }
}
const sum = (what) => results.reduce((total, result) => total + result[what], 0);
console.log('\n');
for (const { name, ok, passed, failed, skipped, ms } of results) {
  const counts = `${passed} passed${failed > 0 ? `, ${failed} failed` : ''}${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${`${(ms / 1000).toFixed(1)} s`.padStart(9)}  ${counts.padEnd(24)}  ${name}`);
}
console.log(`     ${`${(sum('ms') / 1000).toFixed(1)} s`.padStart(8)}  together\n`);
console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
process.exitCode = results.every(({ ok }) => ok) ? 0 : 1;
