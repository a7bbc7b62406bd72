/**
 * The candidate's side of a WAL rescue: the leader's Postgres is dead, its node lives and holds the key, and asks us
 * to fetch the end of its WAL before it gives the key to us (postgres-notes 1, method b1).
 */
import { type Lsn, lsn, printLsn } from '../core/lsn.ts';
import type { RescueAnswer, RescueRequest } from '../core/peer.ts';
import { millis } from '../core/time.ts';
import type { WalChunk } from '../ports/postgres.ts';
import type { Agent } from './agent.ts';

/** WAL pages; the same bytes are written again from the start of the page that R lies in. */
const PAGE = 8192n;
/** So much is fetched with one request. */
const CHUNK = 8n * 1024n * 1024n;
const FETCH_LIMIT = millis(5_000);

export async function serveRescue(agent: Agent, request: RescueRequest): Promise<RescueAnswer> {
  const refused = (reason: string): RescueAnswer => ({ kind: 'refused', reason });
  const { postgres, peers } = agent.parts;
  const { local } = agent.watch;
  if (local.kind !== 'standby') return refused(`Postgres here is ${local.kind}`);
  if (local.systemId !== request.systemId)
    return refused(`system identifier ${local.systemId}, not ${request.systemId}`);
  if (local.timeline !== request.timeline) return refused(`on timeline ${local.timeline}, not ${request.timeline}`);
  // Only the leader of this very term may give us WAL that no stream has carried.
  const cluster = await agent.readCluster();
  if (cluster?.leader?.name !== request.leader || cluster.leader.term !== request.term) {
    return refused(`${request.leader} does not hold the leader key in term ${request.term}`);
  }
  const api = agent.apiOf(request.leader);
  if (api === null) return refused(`the address of ${request.leader} is not known`);

  return new Promise((resolve) => {
    const started = agent.operations.start(
      'deliver',
      `fetch the end of ${request.leader}'s WAL, up to ${printLsn(request.end)}`,
      async (cancelled) => {
        // Replay may be stuck, and so may a receiver: a standby that waits for ever takes part in no election.
        const tooLong = new AbortController();
        const endTimer = agent.parts.clock.timer(agent.policy.walRescueTimeout, () =>
          tooLong.abort(new Error('the rescue took too long')),
        );
        const signal = AbortSignal.any([cancelled, tooLong.signal]);
        try {
          const received = await postgres.withdraw(signal);
          if (received < request.end) {
            const chunks: WalChunk[] = [];
            for (let from = pageOf(received); from < request.end; from = lsn(from + CHUNK)) {
              const to = from + CHUNK < request.end ? lsn(from + CHUNK) : request.end;
              const chunk = await peers.fetchWal(api, request.timeline, from, to, FETCH_LIMIT);
              if (chunk === null) throw new Error(`${request.leader} did not send its WAL from ${printLsn(from)}`);
              chunks.push(chunk);
            }
            await postgres.deliverWal(request.timeline, chunks, request.end, signal);
          }
          agent.watch.doubt();
          await agent.lookNow();
          resolve({ kind: 'delivered', replayed: request.end });
        } catch (error) {
          resolve(refused(error instanceof Error ? error.message : String(error)));
          throw error;
        } finally {
          // Whether it is so is told by the next look, as after a withdrawal for an election.
          agent.withdrawn = true;
          endTimer();
        }
      },
    );
    if (!started) resolve(refused(`${agent.operations.running?.kind ?? 'something'} is under way`));
  });
}

function pageOf(position: Lsn): Lsn {
  return lsn((position / PAGE) * PAGE);
}
