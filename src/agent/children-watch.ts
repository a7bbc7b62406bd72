/**
 * Counts the leader's standbys on a timer of its own and runs child_nodes_disconnect_command when too few are left.
 * The command runs beside everything else: nothing waits for it, and nothing is decided by what it says.
 */
import { type ChildrenMemory, NO_CHILDREN, seeChildren, type TooFew } from '../core/children.ts';
import type { CancelTimer } from '../ports/clock.ts';
import type { Agent } from './agent.ts';

export class ChildrenWatch {
  private readonly agent: Agent;
  private memory: ChildrenMemory = NO_CHILDREN;
  private cancel: CancelTimer | null = null;

  constructor(agent: Agent) {
    this.agent = agent;
  }

  start(): void {
    this.cancel ??= this.agent.parts.clock.timer(this.agent.policy.childNodes.checkInterval, () => {
      this.cancel = null;
      this.look();
      this.start();
    });
  }

  stop(): void {
    this.cancel?.();
    this.cancel = null;
  }

  private look(): void {
    const { agent } = this;
    const { local } = agent.watch;
    const reading = agent.reader.latest;
    if (agent.keeper.leadership.kind !== 'holding' || reading === null || local.kind !== 'primary') {
      // A new leadership begins with what it finds: standbys that have not come over yet are not lost.
      if (agent.operations.running === null) this.memory = NO_CHILDREN;
      return;
    }
    // What a server that does not answer said last is no news.
    if (local.failing !== null || !agent.watch.certain) return;
    const seen = seeChildren(
      {
        now: agent.now(),
        self: agent.self,
        members: reading.cluster.members,
        senders: local.senders,
        pause: agent.policy.pause,
        forgetAfter: agent.policy.memberSlotsTtl,
        policy: agent.policy.childNodes,
      },
      this.memory,
    );
    this.memory = seen.memory;
    const { log } = agent.parts;
    for (const { event, name, after } of seen.events) {
      const away = after === null ? '' : ` again, after ${Math.round(after / 1000)} s`;
      const sentence =
        event === 'child_node_disconnect'
          ? `${name} does not stream from here any more`
          : `${name} streams from here${away}`;
      if (event === 'child_node_disconnect') log.write('warn', 'child.lost', sentence, { member: name });
      else log.write('info', 'child.connected', sentence, { member: name });
      agent.events.record(event, event !== 'child_node_disconnect', sentence);
    }
    if (seen.run !== null) this.tellOperator(seen.run);
  }

  private tellOperator({ connected, required, lost }: TooFew): void {
    const { events, parts } = this.agent;
    const { clock, commands, log } = parts;
    const began = clock.now();
    const facts = { connected, required, lost: lost.join(',') };
    const why = `${connected} standbys are connected, ${required} are required; lost: ${lost.join(', ')}`;
    const asked = commands
      .childNodesLost()
      // A mistake of ours is told like a command that failed, and never ends the daemon of a leader.
      .catch((error: unknown) => ({ kind: 'failed' as const, said: `it could not be run: ${String(error)}` }));
    void asked.then((outcome) => {
      const took = Math.round(clock.now() - began);
      if (outcome.kind === 'done') {
        const sentence = `${why}: child_nodes_disconnect_command was run`;
        log.write('warn', 'child.command-run', sentence, { ...facts, took_ms: took });
        events.record('child_nodes_disconnect_command', true, sentence);
      } else if (outcome.kind === 'failed') {
        const sentence = `${why}: child_nodes_disconnect_command failed: ${outcome.said}`;
        log.write('error', 'child.command-run', sentence, { ...facts, took_ms: took });
        events.record('child_nodes_disconnect_command', false, sentence);
      }
    });
  }
}
