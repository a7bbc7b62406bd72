/**
 * The programs that stand around a cluster: HAProxy, keepalived, PgBouncer, pgpool, each on a host of the test network with a file that
 * the caller has written. Here is only how they are started so that several stand side by side on one machine.
 */
import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
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
  return {
    config,
    log,
    child: launch({ host, program: 'unshare', args: withOwnTmp(command), log, cwd: place, asServer: false }),
  };
}

/**
 * In a mount namespace with a /tmp of its own, where its sockets are put.
 *
 * @param login - whom it lets in, and logs in to Postgres
 */
export function startPgpool(
  place: string,
  host: Host,
  text: string,
  login: { readonly user: string; readonly password: string },
): Around {
  const config = join(place, 'pgpool.conf');
  const log = join(place, 'pgpool.log');
  const own = `unix_socket_directories = '/tmp'\npcp_socket_dir = '/tmp'\npid_file_name = '/tmp/pgpool.pid'\nlogdir = '/tmp'\n`;
  writeFileSync(config, `${text}\n${own}`);
  const beside = (name: string, lines: string): string => {
    writeFileSync(join(place, name), lines, { mode: 0o644 });
    return join(place, name);
  };
  beside('pool_passwd', `${login.user}:TEXT${login.password}\n`);
  const hba = beside('pool_hba.conf', 'host all all all scram-sha-256\n');
  const files = ['-f', config, '-F', beside('pcp.conf', ''), '-a', hba];
  const command = [...stepDown(true), which('pgpool') ?? 'pgpool', '-n', ...files];
  return {
    config,
    log,
    child: launch({ host, program: 'unshare', args: withOwnTmp(command), log, cwd: place, asServer: false }),
  };
}

const withOwnTmp = (command: readonly string[]): string[] => [
  ...['--mount', '--', 'sh', '-c', 'mount -t tmpfs tmpfs /tmp && chmod 1777 /tmp && exec "$@"', 'sh'],
  ...command,
];

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

/** Every coming and going of an address on these hosts, as their kernels tell it. */
export class AddressWatch {
  private readonly address: string;
  private readonly monitors: readonly { readonly host: string; readonly child: ChildProcess; readonly log: string }[];

  constructor(address: string, directory: string, hosts: readonly Host[]) {
    this.address = address;
    this.monitors = hosts.map((host) => {
      const place = placeOf(directory, 'monitor', host);
      const log = join(place, 'addresses.log');
      const args = ['-ts', 'monitor', 'address'];
      return { host: host.name, log, child: launch({ host, program: 'ip', args, log, cwd: place, asServer: false }) };
    });
  }

  /** Who had it when, in milliseconds since 1970; the end is infinite where it was not seen. */
  get times(): readonly { readonly host: string; readonly from: number; readonly to: number }[] {
    return this.monitors.flatMap(({ host, log }) => {
      const found: { host: string; from: number; to: number }[] = [];
      for (const line of readFileSync(log, 'utf8').split('\n')) {
        const [, at = '', gone] = /^\[(\S+)\] (Deleted )?\d+: /.exec(line) ?? [];
        if (at === '' || !line.includes(` ${this.address}/`)) continue;
        const last = found.at(-1);
        const isThere = last?.to === Number.POSITIVE_INFINITY;
        if (gone !== undefined && isThere) last.to = Date.parse(at);
        // Whatever prolongs it is told as well.
        else if (gone === undefined && !isThere)
          found.push({ host, from: Date.parse(at), to: Number.POSITIVE_INFINITY });
      }
      return found;
    });
  }

  /** Sentences about each time that two hosts had it at once. */
  get overlaps(): readonly string[] {
    const { times } = this;
    return times.flatMap((one, i) =>
      times
        .slice(i + 1)
        .filter((other) => other.host !== one.host && one.from < other.to && other.from < one.to)
        .map((other) => {
          const ms = Math.min(one.to, other.to) - Math.max(one.from, other.from);
          return `${one.host} and ${other.host} had it at once for ${ms} ms`;
        }),
    );
  }

  end(): void {
    for (const { child } of this.monitors) child.kill('SIGTERM');
  }
}
