/**
 * The simulation as a process: runs seeds or plans and prints one JSON line for each. scripts/sim.mjs bundles it, starts
 * it on both cores and makes sentences of what it says.
 *
 *   seeds FIRST COUNT STEP       that many seeds, every STEP-th; COVERAGE=1 prints the lines of core/ that were run,
 *                                SYNCHRONOUS=1 leaves out the worlds in which commits wait for nobody
 *   list SEED...                 these seeds
 *   plan FILE...                 the plans of files; TRACE=1 tells the story, UNTIL=ms stops there
 *   seed N                       the same for the plan of a seed; PLAN=1 prints it instead
 *   shrink FILE                  a failing plan made small, for at most BUDGET milliseconds
 *   canary                       a plan that has to fail
 *   scenarios                    the incident reports of test/scenarios/
 */
import { readFileSync } from 'node:fs';
import { SCENARIOS } from '../scenarios/scenarios.ts';
import { Coverage } from './coverage.ts';
import { drawPlan } from './draw.ts';
import { tellOutages } from './outages.ts';
import type { Plan } from './plan.ts';
import { runPlan } from './run.ts';
import { CANARY, shrink } from './shrink.ts';
import type { Story } from './stories.ts';
import { tell } from './tell.ts';
import type { Verdict } from './world/world.ts';

export interface Report extends Omit<Verdict, 'marks'> {
  readonly seed: number;
  readonly profile: string;
  readonly synchronous: boolean;
  readonly marks: Readonly<Record<string, number>>;
  readonly milliseconds: number;
  readonly plan: Plan | null;
}

/** For mutants: see mutants/table.ts. */
const FOCUS = (process.env['FOCUS'] ?? '').split(';').filter((name) => name !== '') as Story[];
const SHAPE = JSON.parse(process.env['SHAPE'] ?? '{}') as Partial<Plan>;
const MUTED = (process.env['MUTE'] ?? '').split(' ');
const SHRINK_MS = Number(process.env['BUDGET'] ?? 20_000);

function report(plan: Plan, verdict: Verdict, milliseconds: number): Report {
  return {
    ...verdict,
    seed: plan.seed,
    profile: plan.profile,
    synchronous: isSynchronous(plan),
    marks: Object.fromEntries(verdict.marks),
    tail: verdict.ok ? [] : verdict.tail,
    milliseconds,
    plan: verdict.ok ? null : plan,
  };
}

async function timed(plan: Plan): Promise<Report> {
  const began = performance.now();
  const verdict = await runPlan(plan, { echo: null, until: null, mute: MUTED });
  return report(plan, verdict, performance.now() - began);
}

function print(line: unknown): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const isSynchronous = ({ config }: Plan): boolean => ['on', 'quorum'].includes(String(config?.['synchronous_mode']));

async function seeds(wanted: readonly number[]): Promise<void> {
  const coverage = process.env['COVERAGE'] === '1' ? new Coverage() : null;
  await coverage?.start();
  for (const seed of wanted) {
    const plan = drawPlan(seed, FOCUS, SHAPE);
    if (process.env['SYNCHRONOUS'] !== '1' || isSynchronous(plan)) print(await timed(plan));
  }
  if (coverage !== null) print({ lines: await coverage.take(import.meta.url) });
}

async function one(plan: Plan, path: string | null = null): Promise<void> {
  const echo = process.env['TRACE'] === '1' ? (line: string): void => void process.stderr.write(`${line}\n`) : null;
  const until = process.env['UNTIL'] === undefined ? null : Number(process.env['UNTIL']);
  const began = performance.now();
  const verdict = await runPlan(plan, { echo, until, mute: MUTED });
  print({ ...report(plan, verdict, performance.now() - began), path });
}

async function small(plan: Plan): Promise<void> {
  const judge = async (candidate: Plan): Promise<Verdict | null> => {
    const verdict = await runPlan(candidate, { echo: null, until: null, mute: MUTED });
    return verdict.ok ? null : verdict;
  };
  const first = await judge(plan);
  const invariant = first?.invariant ?? null;
  if (invariant === null) {
    print({ ...(await timed(plan)), tried: 0 });
    return;
  }
  const ends = performance.now() + SHRINK_MS;
  const strict = async (candidate: Plan): Promise<{ readonly invariant: string; readonly at: number } | null> => {
    const verdict = await judge(candidate);
    return verdict?.invariant == null ? null : { invariant: verdict.invariant, at: verdict.at };
  };
  const { plan: shrunk, tried } = await shrink(plan, invariant, strict, () => performance.now() > ends);
  print({ ...(await timed(shrunk)), tried });
}

const fromFile = (path: string): Plan => (JSON.parse(readFileSync(path, 'utf8')) as { readonly plan: Plan }).plan;

const [command, ...rest] = process.argv.slice(2);
const [a = '1', b = '1', c = '1'] = rest;
switch (command) {
  case 'seeds':
    await seeds(Array.from({ length: Number(b) }, (_, i) => Number(a) + i * Number(c)));
    break;
  case 'list':
    await seeds(rest.map(Number));
    break;
  case 'seed':
    if (process.env['PLAN'] === '1') print(drawPlan(Number(a), FOCUS, SHAPE));
    else await one(drawPlan(Number(a), FOCUS, SHAPE));
    break;
  case 'plan':
    for (const path of rest) await one(fromFile(path), path);
    break;
  case 'shrink':
    await small(fromFile(a));
    break;
  case 'canary':
    await one(CANARY);
    break;
  case 'scenarios':
    for (const one of SCENARIOS) print({ name: one.name, text: await tell(one) });
    print({ name: 'etcd-outages', text: await tellOutages() });
    break;
  default:
    process.stderr.write(
      'usage: seeds FIRST COUNT STEP | list SEED... | seed N | plan FILE... | shrink FILE | canary | scenarios\n',
    );
    process.exitCode = 2;
}
