/**
 * How this machine is set up, for `pgha-ctl check host` and `check network`: read from files, without running anything. It
 * judges nothing. `root` is another directory in tests.
 */
import { constants } from 'node:fs';
import { access, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Millis, millis } from '../core/time.ts';
import type { HostFacts, HostQuestion, InterfaceFacts, PathFacts, Reach } from '../ports/examination.ts';
import { PROGRAM_PLACES } from './virtual-address.ts';

export async function examineHost(question: HostQuestion, root = '/'): Promise<HostFacts> {
  const at = (path: string): string => join(root, path);
  return {
    uid: process.getuid?.() ?? 0,
    postgresUid: await uidOf(at('etc/passwd'), 'postgres'),
    enabled: await enabledAtBoot(at),
    processes: await processes(at('proc')),
    paths: await Promise.all(question.paths.map((path) => pathFacts(path, at(path)))),
    missingPrograms: await missing(question, at),
    timeIsKept: await timeIsKept(at),
    ...(question.interface === undefined ? {} : { interface: await interfaceFacts(question.interface, at) }),
  };
}

async function interfaceFacts(device: string, at: (path: string) => string): Promise<InterfaceFacts> {
  const notifies = async (of: string): Promise<boolean> =>
    (await readFile(at(`proc/sys/net/ipv6/conf/${of}/ndisc_notify`), 'utf8').catch(() => '0')).trim() === '1';
  return {
    exists: await exists(at(`sys/class/net/${device}`)),
    missing: await missing({ programs: ['ip', 'arping', 'setpriv'], programDirectories: PROGRAM_PLACES }, at),
    capabilities: await daemonsCapabilities(at),
    announcesIpv6: (await notifies(device)) || (await notifies('all')),
  };
}

async function daemonsCapabilities(at: (path: string) => string): Promise<bigint | null> {
  const daemon = (await processes(at('proc'))).find(({ name }) => name === 'pgha' || name === 'pgha.js');
  if (daemon === undefined) return null;
  const status = await readFile(at(`proc/${daemon.pid}/status`), 'utf8').catch(() => '');
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return effective === undefined ? null : BigInt(`0x${effective}`);
}

async function uidOf(passwd: string, user: string): Promise<number | null> {
  const line = (await readFile(passwd, 'utf8').catch(() => '')).split('\n').find((one) => one.startsWith(`${user}:`));
  const uid = Number(line?.split(':')[2]);
  return Number.isInteger(uid) ? uid : null;
}

const names = (directory: string): Promise<readonly string[]> => readdir(directory).catch(() => []);

/** Links below *.wants, as `systemctl enable` and generators make them, and scripts of System V that are started. */
async function enabledAtBoot(at: (path: string) => string): Promise<HostFacts['enabled']> {
  const found = new Map<string, boolean>();
  const wanted: { readonly by: string; readonly unit: string }[] = [];
  for (const base of ['etc/systemd/system', 'run/systemd/generator', 'run/systemd/generator.late']) {
    for (const directory of await names(at(base))) {
      const by = /^(.+)\.(wants|requires)$/.exec(directory)?.[1];
      if (by === undefined) continue;
      for (const unit of await names(at(join(base, directory))))
        if (!(await isMasked(at, unit))) wanted.push({ by, unit });
    }
  }
  // What a service wants starts with it, and only then: Debian's generator hangs every cluster of Postgres on postgresql.service,
  // also where that one is disabled.
  const byService = wanted.filter(({ by }) => by.endsWith('.service'));
  for (const { by, unit } of wanted) if (!by.endsWith('.service')) found.set(unit, false);
  for (const { by, unit } of byService) if (found.has(by)) found.set(unit, false);
  for (const level of ['etc/rc2.d', 'etc/rc3.d', 'etc/rc5.d', 'etc/rc.d/rc3.d']) {
    for (const script of await names(at(level))) {
      const name = /^S\d\d(.+)$/.exec(script)?.[1];
      // A unit of the same name goes before the script, and says itself whether it is enabled.
      if (name !== undefined && !(await hasUnit(at, name))) found.set(name, true);
    }
  }
  return [...found].map(([name, script]) => ({ name, script })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** A link to nothing at all: it cannot be started. */
async function isMasked(at: (path: string) => string, unit: string): Promise<boolean> {
  return (await readlink(at(`etc/systemd/system/${unit}`)).catch(() => null)) === '/dev/null';
}

async function hasUnit(at: (path: string) => string, name: string): Promise<boolean> {
  for (const directory of ['etc/systemd/system', 'lib/systemd/system', 'usr/lib/systemd/system']) {
    if (await exists(at(`${directory}/${name}.service`))) return true;
  }
  return false;
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

async function processes(proc: string): Promise<HostFacts['processes']> {
  const found: { pid: number; name: string }[] = [];
  for (const entry of await names(proc)) {
    if (!/^\d+$/.test(entry)) continue;
    const line = await readFile(join(proc, entry, 'cmdline'), 'utf8').catch(() => '');
    // An interpreter is not what runs: `python3 /usr/bin/patroni`.
    const [first = '', second = ''] = line.split('\0').map((word) => word.split('/').at(-1) ?? '');
    const name = /^(python|perl|node|bash|sh)[\d.]*$/.test(first) ? second : first;
    if (name !== '') found.push({ pid: Number(entry), name });
  }
  return found;
}

async function pathFacts(path: string, there: string): Promise<PathFacts> {
  try {
    const about = await stat(there);
    return { path, found: { directory: about.isDirectory(), owner: about.uid, mode: about.mode & 0o7777 } };
  } catch {
    return { path, found: null };
  }
}

async function missing(
  { programs, programDirectories }: Pick<HostQuestion, 'programs' | 'programDirectories'>,
  at: (path: string) => string,
): Promise<readonly string[]> {
  const absent: string[] = [];
  for (const program of programs) {
    const tries = await Promise.all(
      programDirectories.map((directory) =>
        access(at(join(directory, program)), constants.X_OK).then(
          () => true,
          () => false,
        ),
      ),
    );
    if (!tries.includes(true)) absent.push(program);
  }
  return absent;
}

/** As systemd-timesyncd and chrony leave it behind; null: neither of them is there. */
async function timeIsKept(at: (path: string) => string): Promise<boolean | null> {
  if (await exists(at('run/systemd/timesync/synchronized'))) return true;
  for (const sign of ['run/chrony', 'run/chrony.pid', 'run/chrony/chronyd.pid', 'run/ntpd.pid', 'run/openntpd.pid']) {
    if (await exists(at(sign))) return true;
  }
  return (await exists(at('run/systemd/timesync'))) ? false : null;
}

/** Whether somebody takes a connection. Nothing is sent. */
export function reach(host: string, port: number, limit: Millis): Promise<Reach> {
  return new Promise((resolve) => {
    const started = performance.now();
    const socket = connect({ host, port });
    const end = (answer: Reach): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end({ kind: 'silent', said: `no answer within ${limit} ms` }), limit);
    socket.on('connect', () => end({ kind: 'open', ms: millis(performance.now() - started) }));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      end(
        error.code === 'ECONNREFUSED'
          ? { kind: 'refused', said: 'nobody listens there' }
          : { kind: 'silent', said: error.code ?? error.message },
      ),
    );
  });
}
