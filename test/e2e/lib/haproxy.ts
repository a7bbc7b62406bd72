/** HAProxy in front of a cluster, as operators have it: health checks on `/primary`, sessions of a lost server closed. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Server } from './client-messages.ts';
import type { Cluster } from './cluster.ts';
import { launch, serverDirectory } from './launch.ts';
import type { Host } from './network.ts';

const USUAL_PORT = 5000;

/** @returns where to connect to reach the primary */
export function startHaproxy(cluster: Cluster, host: Host): Server {
  const directory = serverDirectory(join(cluster.directory, 'haproxy'));
  const port = host.port(USUAL_PORT);
  const config = join(directory, 'haproxy.cfg');
  writeFileSync(
    config,
    `global
    maxconn 500

defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    timeout check 1s

listen primary
    bind ${host.address}:${port}
    option httpchk OPTIONS /primary
    http-check expect status 200
    # Checked ten times a second; sessions on a server that is not the primary any more are closed.
    default-server inter 100ms fastinter 50ms downinter 50ms rise 1 fall 1 on-marked-down shutdown-sessions
${cluster.nodes
  .map((node) => `    server ${node.name} ${node.host.address}:${node.pgPort} check port ${node.apiPort}`)
  .join('\n')}
`,
  );
  launch({
    host,
    program: 'haproxy',
    args: ['-f', config, '-db', '-q'],
    log: join(directory, 'haproxy.log'),
    cwd: directory,
    asServer: true,
  });
  const [first] = cluster.nodes;
  if (first === undefined) throw new Error('a cluster without nodes');
  return { ...first.server, name: 'haproxy', host: host.address, port };
}
