/**
 * The candidate's side of a WAL rescue: the leader's Postgres is dead, its node lives and holds the key, and asks us
 * to fetch the end of its WAL before it gives the key to us (postgres-notes 1, method b1).
 */
import { type Lsn, lsn, printLsn } from '../core/lsn.ts';
import type { RescueAnswer, RescueRequest } from '../core/peer.ts';
import { between, laterBy, type Millis, millis } from '../core/time.ts';
import type { PeerAddress } from '../ports/peers.ts';
import type { WalChunk } from '../ports/postgres.ts';
import type { Agent } from './agent.ts';

/** WAL pages; the same bytes are written again from the start of the page that R lies in. */
const PAGE = 8192n;
/** So much is fetched with one request; less after one that was not answered, for a link that is slow or was cut. */
const CHUNK = 8n * 1024n * 1024n;
const SMALLEST_CHUNK = 64n * 1024n;
/** A request gets this part of the whole bound, and not less than `FETCH_LEAST`: a lost one must not use it up. */
const FETCH_PART = 4;
const FETCH_LEAST = millis(500);
const FETCH_AGAIN = millis(50);

export async function serveRescue(agent: Agent, request: RescueRequest): Promise<RescueAnswer> {
  const refused = (reason: string): RescueAnswer => ({ kind: 'refused', reason });
  const { postgres } = agent.parts;
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
        // No longer than the leader waits: he goes on with somebody else then, or starts his Postgres.
        const bound = request.limit ?? agent.policy.walRescueTimeout;
        const endTimer = agent.parts.clock.timer(bound, () => tooLong.abort(new Error('the rescue took too long')));
        const signal = AbortSignal.any([cancelled, tooLong.signal]);
        try {
          const received = await postgres.withdraw(signal);
          if (received < request.end) {
            const chunks = fetchTail(agent, api, request, { from: pageOf(received), bound }, signal);
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

/** Piece by piece, so that a tail of any length fits; a piece that does not come is asked for again within the bound. */
async function* fetchTail(
  agent: Agent,
  api: PeerAddress,
  request: RescueRequest,
  { from, bound }: { readonly from: Lsn; readonly bound: Millis },
  signal: AbortSignal,
): AsyncGenerator<WalChunk> {
  const { peers, clock } = agent.parts;
  const until = laterBy(clock.now(), bound);
  const each = millis(Math.max(FETCH_LEAST, bound / FETCH_PART));
  let size = CHUNK;
  for (let at = from; at < request.end; ) {
    signal.throwIfAborted();
    const to = at + size < request.end ? lsn(at + size) : request.end;
    const left = between(clock.now(), until);
    const chunk = await peers.fetchWal(api, request.timeline, at, to, millis(Math.max(1, Math.min(each, left))));
    if (chunk === null) {
      size = size / 2n < SMALLEST_CHUNK ? SMALLEST_CHUNK : size / 2n;
      await clock.sleep(FETCH_AGAIN, signal);
      continue;
    }
    yield chunk;
    at = to;
  }
}

function pageOf(position: Lsn): Lsn {
  return lsn((position / PAGE) * PAGE);
}
