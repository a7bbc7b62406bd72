/**
 * An operator wants this daemon replaced by a new process, perhaps of another version, with Postgres, guard and key left
 * as they are. Whether that is the moment is judged here; that the next one starts is checked by the adapter, and what
 * the next one takes up is the lease keeper's business.
 */
import { margin, orderlyStopLead } from '../core/lease.ts';
import { between, millis } from '../core/time.ts';
import type { Agent } from './agent.ts';
import type { RequestOutcome } from './published.ts';

/** @param force - also at a moment at which it may cost something; never for a program that does not start */
export async function makeRoom(agent: Agent, force: boolean): Promise<RequestOutcome> {
  const { log } = agent.parts;
  const refuse = (sentence: string): RequestOutcome => {
    log.write('warn', 'restart.refused', `this daemon goes on: ${sentence}`);
    return { kind: 'refused', sentence };
  };
  const lastLook = (): string | null => (force ? null : whyNotNow(agent));
  const why = lastLook();
  if (why !== null) return refuse(why);
  const { leadership } = agent.keeper;
  // What is left of a window that was just proven, until Postgres would be stopped in good order.
  const room =
    force || leadership.kind === 'none' || agent.policy.pause
      ? null
      : millis(leadership.ttl - margin(leadership.ttl) - orderlyStopLead(leadership.ttl));
  const answer = await agent.settings.makeRoom(room, lastLook);
  if (answer.kind === 'refused') return refuse(answer.why);
  const sentence = `pgha ${answer.version} follows; Postgres, the guard and the key stay as they are`;
  log.write('info', 'restart.accepted', `this daemon makes room: ${sentence}`, { next: answer.version });
  return { kind: 'accepted', sentence };
}

/** What the next process could not go on with. null: nothing. */
function whyNotNow(agent: Agent): string | null {
  const { leadership, confirmed } = agent.keeper;
  const running = agent.operations.running?.kind ?? null;
  if (running !== null) return `${running} is under way, and would be given up half done`;
  if (confirmed !== null)
    return `${confirmed.to} goes on without etcd by this node's word, which the next daemon could not give`;
  if (!agent.reader.answering) return 'etcd does not answer, and the next daemon would know nothing of the cluster';
  if (leadership.kind === 'none') {
    const seeking = agent.published().decision.situation === 'leaderless';
    return seeking ? 'there is no leader: the next daemon could not take part in the election at once' : null;
  }
  if (agent.settings.guardMode === 'off' && !agent.policy.pause)
    return 'guard is off: nobody knows until when Postgres may write, and the next daemon would have to stop it';
  const { windowOpen, deadline, ttl } = leadership;
  const left = between(agent.now(), deadline);
  if (!windowOpen) return 'no window is open for the leadership of this node';
  // The next one has to prove itself before it closes.
  return left < millis(ttl / 2)
    ? `leadership was not proven lately: the window closes in ${Math.round(left)} ms`
    : null;
}
