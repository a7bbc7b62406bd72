/** Runs one plan in a world with the traps set, and takes in whatever nobody caught. */
import type { Plan } from './plan.ts';
import { setTraps } from './world/traps.ts';
import { type Verdict, World, type WorldOptions } from './world/world.ts';

export async function runPlan(plan: Plan, options: WorldOptions = { echo: null, until: null }): Promise<Verdict> {
  const world = new World(plan, options);
  const uncaught = (error: unknown): void => world.uncaught(error);
  process.on('unhandledRejection', uncaught);
  process.on('uncaughtException', uncaught);
  const takeAway = setTraps();
  try {
    return await world.run();
  } finally {
    takeAway();
    process.off('unhandledRejection', uncaught);
    process.off('uncaughtException', uncaught);
  }
}
