/**
 * The simulation as a process: runs seeds or plans and prints one JSON line for each. scripts/sim.mjs bundles it, starts
 * it on both cores and makes sentences of what it says.
 *
 *   seeds FIRST COUNT STEP       that many seeds, every STEP-th
 *   plan FILE...                 the plans of files; TRACE=1 tells the story, UNTIL=ms stops there
 *   seed N                       the same for the plan of a seed; PLAN=1 prints it instead
 */
import { readFileSync } from 'node:fs';
import { drawPlan } from './draw.ts';
import type { Plan } from './plan.ts';
import { runPlan } from './run.ts';
import type { Story } from './stories.ts';
import type { Verdict } from './world/world.ts';

export interface Report extends Omit<Verdict, 'marks'> {
  readonly seed: number;
  readonly profile: string;
  readonly marks: Readonly<Record<string, number>>;
  readonly milliseconds: number;
  readonly plan: Plan | null;
}

/** For mutants: see mutants/table.ts. */
const FOCUS = (process.env['FOCUS'] ?? '').split(';').filter((name) => name !== '') as Story[];
const MUTED = (process.env['MUTE'] ?? '').split(' ');

function report(plan: Plan, verdict: Verdict, milliseconds: number): Report {
  return {
    ...verdict,
    seed: plan.seed,
    profile: plan.profile,
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

async function seeds(first: number, count: number, step: number): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    const seed = first + i * step;
    const plan = drawPlan(seed, FOCUS);
    print(await timed(plan));
  }
}

async function one(plan: Plan, path: string | null = null): Promise<void> {
  const echo = process.env['TRACE'] === '1' ? (line: string): void => void process.stderr.write(`${line}\n`) : null;
  const until = process.env['UNTIL'] === undefined ? null : Number(process.env['UNTIL']);
  const began = performance.now();
  const verdict = await runPlan(plan, { echo, until, mute: MUTED });
  print({ ...report(plan, verdict, performance.now() - began), path });
}

const [command, ...rest] = process.argv.slice(2);
const [a = '1', b = '1', c = '1'] = rest;
if (command === 'seeds') await seeds(Number(a), Number(b), Number(c));
else if (command === 'seed' && process.env['PLAN'] === '1') print(drawPlan(Number(a), FOCUS));
else if (command === 'seed') await one(drawPlan(Number(a), FOCUS));
else if (command === 'plan') {
  for (const path of rest) {
    const file = JSON.parse(readFileSync(path, 'utf8')) as { readonly plan: Plan };
    await one(file.plan, path);
  }
} else {
  process.stderr.write('usage: seeds FIRST COUNT STEP | seed N | plan FILE...\n');
  process.exitCode = 2;
}
