/**
 * HTTP as text, for clients that speak as little of it as they can: each request is sent as it stands on a connection of its
 * own, from a host of the test network, and the whole answer is read until the server ends it.
 */
import { runOn } from './client.ts';
import { nodeForServer } from './launch.ts';
import type { Host } from './network.ts';

export interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** One after the other: what listens takes one at a time from nobody's point of view but ours. */
const PROGRAM = `
const net = require('node:net');
const { host, port, requests } = JSON.parse(process.argv[1]);
const ask = (text) => new Promise((resolve, reject) => {
  const socket = net.connect(port, host, () => socket.write(text));
  let said = '';
  socket.setTimeout(3000, () => socket.destroy(new Error('no answer: ' + text)));
  socket.on('data', (data) => (said += data));
  socket.on('error', reject);
  socket.on('close', () => resolve(said));
});
(async () => {
  const answers = [];
  for (const text of requests) answers.push(await ask(text));
  process.stdout.write(JSON.stringify(answers));
})();
`;

export async function rawRequests(
  from: Host,
  to: { readonly host: string; readonly port: number },
  requests: readonly string[],
): Promise<readonly RawAnswer[]> {
  const { code, stdout, stderr } = await runOn(from, [
    nodeForServer(),
    '-e',
    PROGRAM,
    JSON.stringify({ ...to, requests }),
  ]);
  if (code !== 0) throw new Error(`raw requests: ${stderr}`);
  return (JSON.parse(stdout) as string[]).map((text) => {
    const [head = '', ...rest] = text.split('\r\n\r\n');
    return { status: Number(/^HTTP\/1\.[01] (\d+)/.exec(head)?.[1]), head, body: rest.join('\r\n\r\n') };
  });
}
