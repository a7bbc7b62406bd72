/**
 * An operator stops Postgres of this node in maintenance, or starts it again. Only there: at any other time pgha would
 * start it, or have somebody else lead. Who leads stays as it is; handing over first is the business of pgha-ctl.
 */
import type { Agent } from './agent.ts';
import type { RequestOutcome } from './published.ts';

const refused = (sentence: string): RequestOutcome => ({ kind: 'refused', status: 409, sentence });

/** Why it is no moment for either; null: it is one. */
function notNow(agent: Agent, otherwise: string): RequestOutcome | null {
  if (!agent.policy.pause) return refused(`this cluster is not in maintenance: ${otherwise}`);
  const { running } = agent.operations;
  return running === null ? null : refused(`${running.kind} already in progress`);
}

/** In order, within `primary_stop_timeout`. */
export async function stopPostgres(agent: Agent): Promise<RequestOutcome> {
  const { local } = agent.watch;
  const against = notNow(
    agent,
    'pgha would start it again, or another member would take over. First: pgha-ctl pause --wait',
  );
  if (against !== null) return against;
  if (local.kind === 'stopped') return { kind: 'done', sentence: 'stopped already' };
  if (local.kind !== 'primary' && local.kind !== 'standby') return refused(`postgres is ${local.kind}`);
  return asOperation(agent, 'stop', 'stop Postgres, asked for by an operator', 'stopped', async () => {
    if (local.kind === 'standby') await agent.leaveSyncSet();
    else agent.stopServing();
    await agent.beforeStop();
    await agent.parts.postgres.stop('fast', agent.policy.primaryStopTimeout);
  });
}

/** As what it was. A former primary is not started beside another leader: it may have to be rewound first. */
export async function startPostgres(agent: Agent): Promise<RequestOutcome> {
  const against = notNow(agent, 'pgha starts Postgres by itself');
  if (against !== null) return against;
  await agent.lookNow();
  const { local } = agent.watch;
  if (local.kind === 'primary' || local.kind === 'standby') return { kind: 'done', sentence: 'it runs already' };
  if (local.kind !== 'stopped') return refused(`postgres is ${local.kind}`);
  const cluster = await agent.readCluster();
  if (cluster === null) return refused('etcd does not answer, so nobody knows who leads');
  const { postgres } = agent.parts;
  const { server } = agent.resolved;
  const leads = agent.keeper.leadership.kind === 'holding';
  const asStandby = local.standbySignal || !local.wasPrimary;
  if (!asStandby && !leads)
    return refused(
      `its data are those of a former primary, and ${cluster.leader?.name ?? 'nobody'} leads: it comes back by itself when the maintenance ends (pgha-ctl resume)`,
    );
  return asOperation(agent, 'start', 'start Postgres, asked for by an operator', 'started', async () => {
    if (asStandby) {
      const name = leads ? null : (cluster.leader?.name ?? null);
      await postgres.startStandby(name === null ? null : agent.addressOf(name), server);
      return;
    }
    const mayStart = (): boolean => agent.policy.pause && agent.keeper.leadership.kind === 'holding';
    if (!(await agent.keeper.reclaim()) || !mayStart()) throw new Error('this node does not hold the key any more');
    await postgres.startPrimary(server, mayStart, agent.startsBlocked);
  });
}

async function asOperation(
  agent: Agent,
  kind: 'stop' | 'start',
  what: string,
  done: string,
  work: () => Promise<void>,
): Promise<RequestOutcome> {
  return new Promise((resolve) => {
    agent.watch.doubt();
    const begun = agent.operations.start(kind, what, async () => {
      try {
        await work();
        resolve({ kind: 'done', sentence: done });
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        resolve({ kind: 'refused', status: 503, sentence: `it was not ${done}: ${why}` });
        throw error;
      } finally {
        agent.leavingSyncSet = false;
      }
    });
    if (!begun) resolve(refused('another action is already in progress'));
  });
}
