/**
 * What every scenario has in common: a cluster that the tests of one file share as long as they leave it healthy, and
 * the ending in which the promises are checked. A test that fails gets its logs saved, and the next one a new cluster.
 */
import { afterAll, afterEach, beforeEach, describe, expect } from 'vitest';
import { Cluster, type ClusterOptions } from './cluster.ts';
import type { Verdict } from './ledger.ts';
import { namespacesUnavailable } from './network.ts';

const unavailable = namespacesUnavailable();
if (unavailable !== null) console.warn(`end-to-end tests are skipped: ${unavailable}`);

/** A group of tests that need namespaces. */
export const describeOnHosts = describe.skipIf(unavailable !== null);

/** Whether the long ones run too (`npm run test:all`). */
export const everything = process.env['PGHA_E2E_ALL'] === '1';

/** Runs `pgha-ctl` with these arguments, which has to succeed. @returns what it printed */
export async function ctlDone(cluster: Pick<Cluster, 'ctl'>, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.ctl(args);
  expect({ code, text: stdout + stderr }).toMatchObject({ code: 0 });
  return stdout;
}

/** The cluster that the tests of this group share; it is there, healthy and writable, when each of them begins. */
export function sharedCluster(options: ClusterOptions = {}): { readonly current: Cluster } {
  let cluster: Cluster | null = null;
  beforeEach(async () => {
    if (cluster !== null) {
      try {
        await cluster.waitAllStreaming(15_000);
      } catch {
        await cluster.destroy();
        cluster = null;
      }
    }
    cluster ??= await Cluster.start(options);
  });
  afterEach(async (context) => {
    if (cluster === null) return;
    if (context.task.result?.state === 'fail') {
      for (const error of context.task.result.errors ?? []) {
        error.message = cluster.explain(error.message).message;
      }
      await cluster.destroy();
      cluster = null;
    } else await cluster.stopWriter();
  });
  afterAll(async () => {
    await cluster?.destroy();
    cluster = null;
  });
  return {
    get current() {
      if (cluster === null) throw new Error('the cluster is there only while a test runs');
      return cluster;
    },
  };
}

/**
 * The end of a scenario: a writable primary, every node streaming again without help, never two writers, and no
 * acknowledged row lost.
 *
 * @param mayLose - the fault allows the loss of rows in asynchronous mode (the node itself was lost)
 */
export async function endsWell(
  cluster: Cluster,
  options: { readonly limitMs?: number; readonly mayLose?: boolean } = {},
): Promise<Verdict> {
  await cluster.waitForWrites(20, options.limitMs ?? 60_000);
  await cluster.waitAllStreaming(options.limitMs ?? 60_000);
  const report = await cluster.stopWriter();
  const verdict = await cluster.finalRead(report);
  expect(await cluster.twoWriters(), 'two writers').toEqual([]);
  expect(await cluster.watchedWrites(), 'the watch saw writes').toBeGreaterThan(0);
  expect(verdict.phantom, 'rows that were never attempted, or refused').toEqual([]);
  if (verdict.lost.length > 0 && options.mayLose === true) {
    const said = cluster.nodes.some((node) => node.logText().includes('failover.loss-possible'));
    expect(said, `${verdict.lost.length} acknowledged rows are lost and no log says so`).toBe(true);
  } else expect(verdict.lost, 'acknowledged rows that are lost').toEqual([]);
  return verdict;
}
