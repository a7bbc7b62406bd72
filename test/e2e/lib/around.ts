/**
 * The programs that stand around a cluster: HAProxy, keepalived, PgBouncer, each on a host of the test network with a file that
 * the caller has written. Here is only how they are started so that several stand side by side on one machine.
 */
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { which } from '../../../scripts/ensure.mjs';
import { runOn } from './client.ts';
import { launch, serverDirectory, stepDown } from './launch.ts';
import type { Host } from './network.ts';

export interface Around {
  readonly child: ChildProcess;
  /** The file that it reads. */
  readonly config: string;
  readonly log: string;
}

/** A directory for the program's files on this host. */
export function placeOf(directory: string, program: string, host: Host): string {
  return serverDirectory(join(directory, `${program}-${host.name}`));
}

export function startHaproxyWith(place: string, host: Host, text: string): Around {
  const config = join(place, 'haproxy.cfg');
  const log = join(place, 'haproxy.log');
  writeFileSync(config, text);
  const program = which('haproxy') ?? 'haproxy';
  return {
    config,
    log,
    child: launch({ host, program, args: ['-f', config, '-db'], log, cwd: place, asServer: true }),
  };
}

/** In a mount namespace with a /tmp of its own: without a setting that is where its socket stands. */
export function startPgbouncer(place: string, host: Host, text: string, users: string): Around {
  const config = join(place, 'pgbouncer.ini');
  const log = join(place, 'output.log');
  writeFileSync(config, text);
  writeFileSync(join(place, 'userlist.txt'), users, { mode: 0o644 });
  const command = [...stepDown(true), which('pgbouncer') ?? 'pgbouncer', config];
  const args = [
    '--mount',
    '--',
    'sh',
    '-c',
    'mount -t tmpfs tmpfs /tmp && chmod 1777 /tmp && exec "$@"',
    'sh',
    ...command,
  ];
  return { config, log, child: launch({ host, program: 'unshare', args, log, cwd: place, asServer: false }) };
}

/** As root, for it adds and removes an address; its scripts run as root too, as its file says nothing of a user. */
export function startKeepalived(place: string, host: Host, text: string): Around {
  const config = join(place, 'keepalived.conf');
  const log = join(place, 'keepalived.log');
  writeFileSync(config, text, { mode: 0o644 });
  const ids = ['-p', join(place, 'keepalived.pid'), '-r', join(place, 'vrrp.pid')];
  const args = ['--dont-fork', '--log-console', '--log-detail', '--vrrp', '-f', config, ...ids];
  const program = which('keepalived') ?? 'keepalived';
  return { config, log, child: launch({ host, program, args, log, cwd: place, asServer: false }) };
}

/** The hosts that have this address now; in a moment between two there can be two, or none. */
export async function holdersOf(address: string, hosts: readonly Host[]): Promise<string[]> {
  const answers = await Promise.all(
    hosts.map(async (host) => {
      const { stdout } = await runOn(host, ['ip', '-o', '-4', 'addr', 'show', 'dev', 'eth0']);
      return stdout.includes(` ${address}/`) ? host.name : null;
    }),
  );
  return answers.filter((name) => name !== null);
}
