/**
 * npm run sim: bundles the simulation and runs it over both cores.
 *
 *   --seeds N [--first S]    new worlds; the first failing ones are made small and written to build/sim/ with the command
 *                            that repeats them
 *     --synchronous          of these, only those in which commits wait for standbys: some 35 of 100
 *   --ci [--seeds N]         the same with every mark demanded, and the canary; without --first its seeds are drawn from the files
 *   --replay FILE            one plan again; with --trace event by event, with --until MS up to there
 *   --seed N                 the plan of one seed, likewise; with --plan it is printed
 *   --shrink FILE            a failing plan made small
 *   --regressions            test/sim/regressions/ and a few fixed seeds: part of `npm run check`
 *   --mutants [--only NAME]  planted bugs, each of which has to be found
 *   --canary                 a plan that has to fail, to be found, made small and reported
 *   --scenarios [--check]    writes test/scenarios/*.txt anew, or only compares
 *   --coverage [--seeds N]   the lines of core/ that no seed has run
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import esbuild from 'esbuild';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const FAILURES = join(ROOT, 'build', 'sim');
const CI_SEEDS = 2_000;
const RARE_SEEDS = 800;
/** So many failures of one run are made small, and each gets so long. */
const SHRUNK = 3;
const SHRINK_MS = 20_000;

const { values: options } = parseArgs({
  options: {
    seeds: { type: 'string' },
    first: { type: 'string' },
    ci: { type: 'boolean', default: false },
    synchronous: { type: 'boolean', default: false },
    shrink: { type: 'string' },
    canary: { type: 'boolean', default: false },
    coverage: { type: 'boolean', default: false },
    scenarios: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    seed: { type: 'string' },
    replay: { type: 'string' },
    regressions: { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
    mutant: { type: 'string' },
    only: { type: 'string' },
    budget: { type: 'string' },
    workers: { type: 'string', default: '2' },
    trace: { type: 'boolean', default: false },
    plan: { type: 'boolean', default: false },
    until: { type: 'string' },
    keep: { type: 'boolean', default: false },
    'stop-early': { type: 'boolean', default: false },
  },
});

const WORKERS = Number(options.workers);
const workDirectory = mkdtempSync(join(tmpdir(), 'pgha-sim-'));
process.on('exit', () => rmSync(workDirectory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** Applies the edits of a mutant while its file is read; a text that is not there fails the build. */
function planted(mutant) {
  return {
    name: 'planted-bug',
    setup(build) {
      const files = new Map();
      for (const edit of mutant.edits) {
        const path = join(ROOT, edit.file);
        files.set(path, [...(files.get(path) ?? []), edit]);
      }
      build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const edits = files.get(path);
        if (edits === undefined) return undefined;
        let contents = readFileSync(path, 'utf8');
        for (const { find, replace, file } of edits) {
          const parts = contents.split(find);
          if (parts.length !== 2) {
            throw new Error(
              `mutant '${mutant.name}': the text to edit is ${parts.length - 1} times in ${file}: ${find}`,
            );
          }
          contents = parts.join(replace);
        }
        files.delete(path);
        return { contents, loader: 'ts' };
      });
      build.onEnd(() => {
        for (const path of files.keys()) {
          throw new Error(`mutant '${mutant.name}': ${relative(ROOT, path)} is no part of the simulation`);
        }
      });
    },
  };
}

async function bundle(entry, name, mutant = null) {
  const outfile = join(workDirectory, `${name}.mjs`);
  await esbuild.build({
    entryPoints: [join(ROOT, entry)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    // Function names stay readable in stack traces.
    keepNames: false,
    sourcemap: 'inline',
    logLevel: 'silent',
    plugins: mutant === null ? [] : [planted(mutant)],
  });
  return outfile;
}

/**
 * What was run: two commits with the same two names differ in no rule, or in no model and invariant, whatever else they
 * change. Comments do not count.
 */
async function fingerprints(entry) {
  const { metafile } = await esbuild.build({
    entryPoints: [join(ROOT, entry)],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    metafile: true,
    absWorkingDir: ROOT,
    logLevel: 'silent',
  });
  const hashes = { product: createHash('sha256'), judges: createHash('sha256') };
  for (const path of Object.keys(metafile.inputs).sort()) {
    if (!/^(src|test)\//.test(path)) continue;
    const { code } = await esbuild.transform(readFileSync(join(ROOT, path), 'utf8'), { loader: 'ts' });
    hashes[path.startsWith('src/') ? 'product' : 'judges'].update(`${path}\n${code}\n`);
  }
  return `product ${hashes.product.digest('hex').slice(0, 8)}, judged by ${hashes.judges.digest('hex').slice(0, 8)}`;
}

/** Starts one worker; `each` gets every report, and may return true to end it. */
function work(file, args, each, env = {}) {
  return new Promise((done, failed) => {
    // A world makes much garbage that is soon forgotten: room for it halves what collecting it takes.
    const child = spawn(process.execPath, ['--enable-source-maps', '--min-semi-space-size=16', file, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    });
    let ended = false;
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (ended) return;
      if (each(JSON.parse(line)) === true) {
        ended = true;
        child.kill('SIGKILL');
      }
    });
    child.on('error', failed);
    child.on('close', (code) => {
      if (code !== 0 && !ended) failed(new Error(`a worker of the simulation ended with ${code}`));
      else done();
    });
  });
}

async function overAllCores(file, first, count, each, env = {}) {
  const lanes = Math.min(WORKERS, count);
  let ended = false;
  await Promise.all(
    Array.from({ length: lanes }, (_, lane) =>
      work(
        file,
        ['seeds', String(first + lane), String(Math.ceil((count - lane) / lanes)), String(lanes)],
        (report) => {
          if (ended) return true;
          ended = each(report) === true;
          return ended;
        },
        env,
      ),
    ),
  );
}

function show(report, { tail = 40 } = {}) {
  console.log(`\n${report.invariant} at ${(report.at / 1000).toFixed(3)} s, seed ${report.seed} (${report.profile})`);
  console.log(`  ${report.sentence}`);
  for (const line of report.tail.slice(-tail)) console.log(`  ${line}`);
}

function keepFailure(report, name = `seed-${report.seed}`) {
  mkdirSync(FAILURES, { recursive: true });
  const path = join(FAILURES, `${name}.json`);
  const { invariant, sentence, hash, plan } = report;
  const commit = revisionOf('HEAD');
  writeFileSync(path, `${JSON.stringify({ invariant, sentence, hash, commit, plan }, null, 2)}\n`);
  console.log(`  npm run sim -- --replay ${relative(process.cwd(), path)} --trace`);
  return path;
}

const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;

/** No two states of the files test the same seeds, and a rerun of one tests the same ones, whatever its commit is called. */
function firstSeedOf(count) {
  if (options.first !== undefined) return Number(options.first);
  if (!options.ci) return 1;
  // An export without history: the same seeds as ever.
  return 1 + (Number.parseInt((revisionOf('HEAD^{tree}') ?? '00000001').slice(0, 8), 16) % 1_000_000) * count;
}

function revisionOf(name) {
  try {
    return execFileSync('git', ['rev-parse', name], { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return null;
  }
}

async function runSeeds(count) {
  const first = firstSeedOf(count);
  const file = await bundle('test/sim/main.ts', 'main');
  const began = performance.now();
  const marks = new Map();
  const totals = { seeds: 0, synchronous: 0, failed: 0, simulated: 0, lost: 0, exposure: 0, events: 0, failovers: 0 };
  const lengths = [];
  const hashes = new Map();
  const failures = new Map();
  const known = openPlans();
  const knownAgain = [];
  const kept = [];
  const show1 = (text) => process.stderr.isTTY && process.stderr.write(`\r${text}`);
  await overAllCores(
    file,
    first,
    count,
    (report) => {
      totals.seeds += 1;
      if (report.synchronous) totals.synchronous += 1;
      totals.simulated += report.simulatedMs;
      totals.lost += report.ackedLost;
      totals.exposure += report.exposureSeconds;
      totals.events += report.events;
      totals.failovers += report.marks['event failover.completed'] ?? 0;
      lengths.push(report.milliseconds);
      if (report.seed % 100 === 0) hashes.set(report.seed, report.hash);
      for (const [name, hits] of Object.entries(report.marks)) marks.set(name, (marks.get(name) ?? 0) + hits);
      show1(`${totals.seeds} of ${count} seeds, ${totals.failed} failed`);
      if (report.ok) return false;
      if (known.get(report.seed) === report.invariant) {
        knownAgain.push(`${report.seed} (${report.invariant})`);
        return false;
      }
      totals.failed += 1;
      const seen = failures.get(report.invariant) ?? [];
      failures.set(report.invariant, [...seen, report.seed]);
      if (seen.length < 3) {
        show(report);
        kept.push({ path: keepFailure(report), first: seen.length === 0 });
      }
      return options['stop-early'];
    },
    { SYNCHRONOUS: options.synchronous ? '1' : '' },
  );
  show1('\n');
  totals.failed += await runAgain(file, hashes);
  if (options.ci) await seekRareMarks(file, marks);
  for (const { path } of kept.filter((one) => one.first).slice(0, SHRUNK)) await makeSmall(file, path);
  const hours = (totals.simulated / 3_600_000).toFixed(1);
  console.log(
    `\n${totals.seeds} seeds from ${first} (${await fingerprints('test/sim/main.ts')}), ${totals.synchronous} of them synchronous, ${hours} simulated hours, ${totals.failovers} failovers, ${totals.events} events ` +
      `in ${((performance.now() - began) / 1000).toFixed(0)} s (median ${median(lengths).toFixed(0)} ms a seed); ${totals.failed} failed; ` +
      `${totals.lost} acknowledged writes lost with their node (asynchronous); ${totals.exposure.toFixed(1)} s of exposure`,
  );
  if (knownAgain.length > 0)
    console.log(`  failed as test/sim/open says, and not counted: seeds ${knownAgain.join(', ')}`);
  for (const [invariant, which] of failures) console.log(`  ${invariant}: seeds ${which.slice(0, 20).join(' ')}`);
  const missing = await showMarks(marks);
  const canary = options.ci ? await runCanary() : 0;
  return totals.failed === 0 && (missing === 0 || !options.ci) && canary === 0 ? 0 : 1;
}

/** The seeds whose failures are known and not mended yet, with the invariant that each of them breaks. */
function openPlans() {
  const directory = join(ROOT, 'test', 'sim', 'open');
  const files = existsSync(directory) ? readdirSync(directory).filter((name) => /^seed-\d+\.json$/.test(name)) : [];
  return new Map(
    files.map((name) => [
      Number(name.slice('seed-'.length, -'.json'.length)),
      JSON.parse(readFileSync(join(directory, name), 'utf8')).invariant,
    ]),
  );
}

/** What comes up in one seed of many hundred may be missed by chance: a fixed lot of further seeds has it. */
async function seekRareMarks(file, marks) {
  const missing = (await declaredMarks()).missingFrom(marks);
  if (missing.length === 0) return;
  let left = missing;
  await overAllCores(file, 1, RARE_SEEDS, (report) => {
    for (const [name, hits] of Object.entries(report.marks)) marks.set(name, (marks.get(name) ?? 0) + hits);
    left = left.filter((name) => !marks.has(name));
    return left.length === 0;
  });
}

async function declaredMarks() {
  const { DECLARED, NOT_REACHED, RARELY } = await import(
    pathToFileURL(await bundle('test/sim/marks.ts', 'marks')).href
  );
  const missingFrom = (marks) =>
    DECLARED.filter((name) => !marks.has(name) && NOT_REACHED[name] === undefined && RARELY[name] === undefined);
  return { DECLARED, NOT_REACHED, missingFrom };
}

/** Of every hundred seeds one is told again by a fresh process: the same plan must give the same story. */
async function runAgain(file, hashes) {
  let different = 0;
  if (hashes.size === 0) return different;
  const seeds = [...hashes.keys()].sort((a, b) => a - b);
  await work(file, ['list', ...seeds.map(String)], (report) => {
    if (report.hash === hashes.get(report.seed)) return;
    different += 1;
    console.log(`X3: seed ${report.seed} gave ${hashes.get(report.seed)} and then ${report.hash}: not deterministic`);
  });
  return different;
}

/** Writes the small plan in the place of the whole one. */
async function makeSmall(file, path, name = null) {
  let shrunk = null;
  await work(
    file,
    ['shrink', path],
    (report) => {
      shrunk = report;
    },
    { BUDGET: String(SHRINK_MS) },
  );
  if (shrunk === null || shrunk.ok) {
    console.log(`\n${relative(process.cwd(), path)} does not fail when it is run alone`);
    return shrunk;
  }
  console.log(
    `\nmade small in ${shrunk.tried} runs: ${shrunk.plan.nodes.length} nodes, ${shrunk.plan.faults.length} faults`,
  );
  show(shrunk, { tail: 25 });
  for (const { when, fault } of shrunk.plan.faults) console.log(`  ${JSON.stringify(when)} ${JSON.stringify(fault)}`);
  keepFailure(shrunk, name ?? `seed-${shrunk.seed}`);
  return shrunk;
}

/** Every rule and event is a mark of its own: one that no seed reaches is dead, or a fault is missing. */
async function showMarks(marks) {
  const { DECLARED, NOT_REACHED, missingFrom } = await declaredMarks();
  const missing = missingFrom(marks);
  const needless = Object.keys(NOT_REACHED).filter((name) => marks.has(name) || !DECLARED.includes(name));
  const hit = DECLARED.filter((name) => marks.has(name)).length;
  const excused = Object.keys(NOT_REACHED).length;
  console.log(`\nmarks: ${hit} of ${DECLARED.length} hit, ${excused} need not be`);
  if (missing.length > 0) console.log(`  never: ${missing.join(', ')}`);
  if (needless.length > 0)
    console.log(`  hit or unknown, and still excused in test/sim/marks.ts: ${needless.join(', ')}`);
  const few = DECLARED.filter((name) => marks.has(name) && marks.get(name) < 5);
  if (few.length > 0) console.log(`  rarely: ${few.map((name) => `${name} (${marks.get(name)})`).join(', ')}`);
  const others = [...marks].filter(([name, hits]) => hits >= 5 && !/^(rule|event|cluster event) /.test(name)).sort();
  console.log(`  others: ${others.map(([name, hits]) => `${name} ${hits}`).join(', ')}`);
  return missing.length;
}

/** What has to fail does, is found, made small and reported. */
async function runCanary() {
  const file = await bundle('test/sim/main.ts', 'main');
  let report = null;
  await work(file, ['canary'], (told) => {
    report = told;
  });
  const wrong = (why) => {
    console.log(`\nthe canary is silent: ${why}`);
    return 1;
  };
  if (report.ok || report.invariant !== 'S1') return wrong(`${report.invariant ?? 'nothing'} broke, and S1 has to`);
  const path = keepFailure(report, 'canary');
  const shrunk = await makeSmall(file, path, 'canary');
  if (shrunk?.invariant !== 'S1') return wrong('its plan did not fail again');
  if (shrunk.plan.faults.length !== 1 || shrunk.plan.nodes.length > 2) return wrong('it was not made small');
  let replayed = null;
  await work(file, ['plan', path], (told) => {
    replayed = told;
  });
  if (replayed.hash !== shrunk.hash) return wrong('the small plan told another story the second time');
  console.log('\nthe canary fails as it should: found, made small, told again');
  return 0;
}

async function runCoverage(count) {
  const file = await bundle('test/sim/main.ts', 'main');
  const lines = new Map();
  await overAllCores(
    file,
    firstSeedOf(count),
    count,
    (report) => {
      for (const [name, { all, reached }] of Object.entries(report.lines ?? {})) {
        const of = lines.get(name) ?? { all: new Set(), reached: new Set() };
        for (const line of all) of.all.add(line);
        for (const line of reached) of.reached.add(line);
        lines.set(name, of);
      }
      return false;
    },
    { COVERAGE: '1' },
  );
  let [total, hit] = [0, 0];
  for (const [name, { all, reached }] of [...lines].sort()) {
    const missed = [...all].filter((line) => !reached.has(line)).sort((a, b) => a - b);
    total += all.size;
    hit += reached.size;
    const percent = ((100 * reached.size) / all.size).toFixed(1).padStart(5);
    console.log(`${percent} %  ${name}${missed.length === 0 ? '' : `: not ${ranges(missed)}`}`);
  }
  console.log(`${((100 * hit) / total).toFixed(1).padStart(5)} %  of ${total} lines of core/, by ${count} seeds`);
  return 0;
}

/** 3-5, 9 */
function ranges(lines) {
  const found = [];
  for (const line of lines) {
    const last = found.at(-1);
    if (last !== undefined && line === last[1] + 1) last[1] = line;
    else found.push([line, line]);
  }
  return found.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(', ');
}

/** Compares the incident reports with what is kept, or writes them anew. */
async function runScenarios({ write }) {
  const file = await bundle('test/sim/main.ts', 'main');
  const directory = join(ROOT, 'test', 'scenarios');
  const different = [];
  await work(file, ['scenarios'], ({ name, text }) => {
    const path = join(directory, `${name}.txt`);
    if (write) writeFileSync(path, text);
    else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
      different.push(name);
      mkdirSync(FAILURES, { recursive: true });
      writeFileSync(join(FAILURES, `${name}.txt`), text);
    }
  });
  for (const name of different) {
    console.log(
      `test/scenarios/${name}.txt goes another way now: diff it with build/sim/${name}.txt; if that is right, npm run sim -- --scenarios`,
    );
  }
  return different.length;
}

async function runShrink(path) {
  const file = await bundle('test/sim/main.ts', 'main');
  const shrunk = await makeSmall(file, path, `small-${basename(path, '.json')}`);
  return shrunk === null || shrunk.ok ? 1 : 0;
}

async function runOne(args) {
  const mutant = mutantNamed(await mutants(), options.mutant);
  const file = await bundle('test/sim/main.ts', 'main', mutant);
  let code = 0;
  const env = {
    ...environmentOf(mutant),
    ...(options.trace ? { TRACE: '1' } : {}),
    ...(options.plan ? { PLAN: '1' } : {}),
    ...(options.until === undefined ? {} : { UNTIL: options.until }),
  };
  await work(
    file,
    args,
    (report) => {
      if (report.hash === undefined) {
        console.log(JSON.stringify(report, null, 2));
        return;
      }
      if (report.ok) console.log(`no invariant broke; hash ${report.hash}, ${report.events} events`);
      else {
        show(report, { tail: options.trace ? 0 : 60 });
        if (args[0] === 'seed') keepFailure(report);
        code = 1;
      }
    },
    env,
  );
  return code;
}

function environmentOf(mutant) {
  return {
    MUTE: (mutant?.mute ?? []).join(' '),
    FOCUS: (mutant?.focus ?? []).join(';'),
    SHAPE: JSON.stringify(mutant?.shape ?? {}),
  };
}

async function mutants() {
  const { MUTANTS } = await import(pathToFileURL(await bundle('test/sim/mutants/table.ts', 'mutants')).href);
  return MUTANTS;
}

function mutantNamed(all, name) {
  if (name === undefined) return null;
  const found = all.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no mutant is called '${name}'`);
  return found;
}

async function runMutants() {
  const all = (await mutants()).filter((one) => options.only === undefined || one.name.includes(options.only));
  const first = Number(options.first ?? 1);
  let survived = 0;
  for (const mutant of all) {
    const began = performance.now();
    let file;
    try {
      file = await bundle('test/sim/main.ts', `mutant-${all.indexOf(mutant)}`, mutant);
    } catch (error) {
      survived += 1;
      console.log(`BROKEN    ${error.errors?.map((one) => one.text).join('; ') ?? error.message}`);
      continue;
    }
    let killer = null;
    const others = new Map();
    let seeds = 0;
    const budget = Number(options.budget ?? mutant.seeds);
    await overAllCores(
      file,
      first,
      budget,
      (report) => {
        seeds += 1;
        if (report.ok) return false;
        if (!mutant.caughtBy.includes(report.invariant)) {
          others.set(report.invariant, (others.get(report.invariant) ?? 0) + 1);
          return false;
        }
        killer = report;
        return true;
      },
      environmentOf(mutant),
    );
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const also = others.size === 0 ? '' : `; also ${[...others].map(([name, n]) => `${name} ×${n}`).join(', ')}`;
    if (mutant.caughtBy.length === 0) {
      if (others.size > 0) survived += 1;
      console.log(
        `${others.size === 0 ? 'safe      ' : 'NOT SAFE  '}${mutant.name} (${seeds} seeds, ${seconds} s${also})`,
      );
    } else if (killer === null) {
      survived += 1;
      console.log(
        `SURVIVED  ${mutant.name} (${budget} seeds, ${seconds} s; should break ${mutant.caughtBy.join(' or ')}${also})`,
      );
    } else {
      console.log(
        `killed    ${mutant.name}: ${killer.invariant}, seed ${killer.seed} (${seeds} seeds, ${seconds} s${also})`,
      );
    }
  }
  console.log(`\n${all.length - survived} of ${all.length} mutants as they should be`);
  return survived === 0 ? 0 : 1;
}

async function runRegressions() {
  if (!existsSync(join(ROOT, 'src/agent/agent.ts'))) {
    console.log('simulation: there is no agent to simulate yet');
    return 0;
  }
  const began = performance.now();
  const file = await bundle('test/sim/main.ts', 'main');
  const directory = join(ROOT, 'test/sim/regressions');
  const plans = existsSync(directory) ? readdirSync(directory).filter((name) => name.endsWith('.json')) : [];
  let failed = 0;
  await Promise.all(
    Array.from({ length: WORKERS }, (_, lane) => {
      const mine = plans.filter((_, i) => i % WORKERS === lane).map((plan) => join(directory, plan));
      if (mine.length === 0) return undefined;
      return work(file, ['plan', ...mine], (report) => {
        if (report.ok) return;
        failed += 1;
        show(report);
        console.log(`  npm run sim -- --replay ${relative(process.cwd(), report.path)} --trace`);
      });
    }),
  );
  await overAllCores(file, 1, 24, (report) => {
    if (report.ok) return;
    failed += 1;
    show(report);
    keepFailure(report);
  });
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`simulation: ${plans.length} regressions and 24 seeds in ${seconds} s, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

async function main() {
  if (options.regressions) return runRegressions();
  if (options.mutants) return runMutants();
  if (options.replay !== undefined) return runOne(['plan', resolve(options.replay)]);
  if (options.seed !== undefined) return runOne(['seed', options.seed]);
  if (options.scenarios) return (await runScenarios({ write: !options.check })) === 0 ? 0 : 1;
  if (options.shrink !== undefined) return runShrink(resolve(options.shrink));
  if (options.canary) return runCanary();
  const count = Number(options.seeds ?? CI_SEEDS);
  if (options.coverage) return runCoverage(Number(options.seeds ?? 400));
  if (options.ci || options.seeds !== undefined) return runSeeds(count);
  console.error(
    'npm run sim -- --seeds N [--first S] | --ci | --seed N | --replay FILE | --shrink FILE | --regressions | --mutants | --canary | --coverage',
  );
  return 2;
}

process.exitCode = await main();
