import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type AgentCheck, startAgentCheck } from '../../../src/http/agent-check.ts';
import { lookAt } from '../../../src/http/health.ts';
import { aControl, aLeader, silentLog } from './builders.ts';

const open: AgentCheck[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

async function startOn(what: 'leader' | 'replica', port = 0): Promise<AgentCheck> {
  const control = what === 'leader' ? aControl({ state: aLeader(), canWrite: true }) : aControl();
  const check = startAgentCheck({ host: '127.0.0.1', port }, () => lookAt(control, {}), silentLog);
  open.push(check);
  return check;
}

async function portOf(check: AgentCheck): Promise<number> {
  for (;;) {
    const port = check.port();
    if (port !== null) return port;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** What comes back for what is sent, until the other side closes. */
async function asked(check: AgentCheck, send: string | null): Promise<string> {
  const port = await portOf(check);
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      if (send !== null) socket.write(send);
    });
    let answer = '';
    socket.on('data', (part) => {
      answer += part.toString();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}

describe("HAProxy's agent-check", () => {
  it('is up for the check that passes and down for every other', async () => {
    const leader = await startOn('leader');
    const replica = await startOn('replica');
    for (const [send, ofLeader, ofReplica] of [
      ['/primary\n', 'up\n', 'down\n'],
      ['/\r\n', 'up\n', 'down\n'],
      ['/replica\n', 'down\n', 'up\n'],
      ['/read-only\n', 'up\n', 'up\n'],
      ['/replica?tag_zone=nowhere\n', 'down\n', 'down\n'],
      ['nonsense\n', 'down\n', 'down\n'],
      ['\n', 'up\n', 'down\n'],
    ] as const) {
      expect([send, await asked(leader, send), await asked(replica, send)]).toEqual([send, ofLeader, ofReplica]);
    }
  });

  it('answers for the primary where nothing is sent, and ends a line that does not end', async () => {
    const leader = await startOn('leader');
    expect(await asked(leader, null)).toBe('up\n');
    expect(await asked(leader, 'x'.repeat(5_000))).toBe('down\n');
  });

  it('waits for a port that is taken, and gives it back at once', async () => {
    const first = await startOn('leader');
    const port = await portOf(first);
    const second = await startOn('replica', port);
    expect(await asked(first, '/primary\n')).toBe('up\n');
    first.close();
    expect(await portOf(second)).toBe(port);
    expect(await asked(second, '/primary\n')).toBe('down\n');
  });
});
