#!/usr/bin/env node
/**
 * Makes sure that what a script needs is on this machine: the npm dependencies, and system programs. It is quiet when
 * nothing is missing. It never starts, stops or configures a server, and never touches one that runs here already:
 * what it installs on Debian and Ubuntu is kept from starting, now and at the next boot.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Where programs for administrators are, also for users whose PATH does not say so. */
const EXTRA_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** What can be missing: how to see that it is there, and the Debian package that brings it. */
export const PROGRAMS = {
  postgres: { found: () => postgresBinDir() !== null, debian: ['postgresql'], what: 'PostgreSQL 12 or newer (server)' },
  psql: { found: () => which('psql') !== null, debian: ['postgresql-client'], what: 'psql' },
  etcd: { found: () => which('etcd') !== null, debian: ['etcd-server'], what: 'etcd 3.4 or newer' },
  etcdctl: { found: () => which('etcdctl') !== null, debian: ['etcd-client'], what: 'etcdctl' },
  haproxy: { found: () => which('haproxy') !== null, debian: ['haproxy'], what: 'HAProxy' },
  keepalived: { found: () => which('keepalived') !== null, debian: ['keepalived'], what: 'keepalived' },
  pgbouncer: { found: () => which('pgbouncer') !== null, debian: ['pgbouncer'], what: 'PgBouncer' },
  curl: { found: () => which('curl') !== null, debian: ['curl'], what: 'curl' },
  ip: { found: () => which('ip') !== null, debian: ['iproute2'], what: 'ip (iproute2)' },
  nft: { found: () => which('nft') !== null, debian: ['nftables'], what: 'nft (nftables)' },
  arping: { found: () => which('arping') !== null, debian: ['iputils-arping'], what: 'arping (iputils)' },
  nsenter: { found: () => which('nsenter') !== null, debian: ['util-linux'], what: 'nsenter, setpriv (util-linux)' },
  'dpkg-deb': { found: () => which('dpkg-deb') !== null, debian: ['dpkg'], what: 'dpkg-deb' },
  strip: { found: () => which('strip') !== null, debian: ['binutils'], what: 'strip (binutils)' },
  patronictl: {
    found: () => which('patronictl') !== null,
    debian: ['patroni', 'python3-etcd'],
    what: 'patronictl (Patroni)',
  },
  repmgr: {
    found: () => existsSync(join(postgresBinDir() ?? '', 'repmgrd')),
    // A name for the one that fits the distribution's Postgres.
    debian: ['repmgr'],
    what: 'repmgr',
  },
  chromium: { found: () => browser() !== null, debian: ['chromium-headless-shell'], what: 'Chromium' },
  pgpool: { found: () => which('pgpool') !== null, debian: ['pgpool2'], what: 'pgpool-II' },
  'ansible-playbook': {
    found: () => which('ansible-playbook') !== null && existsSync('/usr/lib/python3/dist-packages/apt'),
    debian: ['ansible-core', 'python3-apt'],
    what: 'Ansible, with its module for apt',
  },
  lintian: { found: () => which('lintian') !== null, debian: ['lintian'], what: 'lintian' },
  promtool: { found: () => which('promtool') !== null, debian: ['prometheus'], what: 'promtool (Prometheus)' },
};

/** Services that come with these packages; none of them is to start at the next boot because of us. */
const UNITS = {
  postgresql: ['postgresql.service'],
  'etcd-server': ['etcd.service'],
  haproxy: ['haproxy.service'],
  keepalived: ['keepalived.service'],
  pgbouncer: ['pgbouncer.service'],
  nftables: ['nftables.service'],
  patroni: ['patroni.service'],
  repmgr: ['repmgrd.service'],
  prometheus: ['prometheus.service'],
  pgpool2: ['pgpool2.service'],
};

/** The full path of a program, or null. */
export function which(program) {
  for (const directory of [...(process.env['PATH'] ?? '').split(delimiter), ...EXTRA_PATH]) {
    const path = join(directory, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return null;
}

/** A Chromium that can run without a screen, or null. */
export function browser() {
  return ['chromium-headless-shell', 'chromium', 'google-chrome'].map(which).find((path) => path !== null) ?? null;
}

/** The directory of the newest PostgreSQL server on this machine, or null. */
export function postgresBinDir() {
  const candidates = [];
  for (const [parent, below] of [
    ['/usr/lib/postgresql', 'bin'],
    ['/usr', 'bin'],
  ]) {
    if (!existsSync(parent)) continue;
    for (const name of readdirSync(parent)) {
      const version = /^(?:pgsql-)?(\d+)$/.exec(name)?.[1];
      if (version !== undefined && existsSync(join(parent, name, below, 'postgres'))) {
        candidates.push([Number(version), join(parent, name, below)]);
      }
    }
  }
  candidates.sort(([a], [b]) => b - a);
  const newest = candidates[0]?.[1];
  if (newest !== undefined) return newest;
  const onPath = which('postgres');
  return onPath === null ? null : dirname(onPath);
}

/** Installs the npm dependencies exactly as locked, when they are not. */
export function ensureNodeModules() {
  const lockText = readFileSync(join(root, 'package-lock.json'), 'utf8');
  const installedPath = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(installedPath)) {
    const locked = JSON.parse(lockText).packages;
    const installed = JSON.parse(readFileSync(installedPath, 'utf8')).packages;
    // Compared by content: times say nothing after a checkout. Optional ones are those of other platforms.
    const differing = Object.entries(locked).filter(
      ([path, entry]) => path !== '' && installed[path]?.version !== entry.version && !(entry.optional === true),
    );
    if (differing.length === 0) return;
  }
  say('installing the npm packages (npm ci) ...');
  const started = Date.now();
  const result = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (result.status !== 0) throw new Error('npm ci failed; its messages stand above');
  say(`npm packages installed in ${seconds(started)}`);
}

/**
 * Installs the missing ones of these programs, or says what to install and ends the process with exit code 1.
 *
 * @param names - keys of PROGRAMS
 */
export function ensurePrograms(names) {
  const missing = names.filter((name) => !PROGRAMS[name].found());
  if (missing.length === 0) return;
  const packages = [...new Set(missing.flatMap((name) => PROGRAMS[name].debian))];
  const command = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  const privilege = which('apt-get') === null ? null : rootPrefix();
  if (privilege === null) {
    console.error(`This machine lacks ${missing.map((name) => PROGRAMS[name].what).join(', ')}.`);
    console.error(
      which('apt-get') === null
        ? 'Please install them with the package manager of this system; on Debian and Ubuntu it would be:'
        : 'Please install them as root (their servers need not run and need not be enabled):',
    );
    console.error(`    ${command}`);
    process.exit(1);
  }
  say(`installing ${packages.join(', ')} (nothing is started) ...`);
  const started = Date.now();
  const [program, ...args] = [...privilege, 'sh', '-s', '--', ...packages];
  const units = packages.flatMap((name) => UNITS[name] ?? []);
  const result = spawnSync(program, args, {
    input: INSTALL_SCRIPT.replace('@UNITS@', units.join(' ')),
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  const still = missing.filter((name) => !PROGRAMS[name].found());
  if (result.status !== 0 || still.length > 0) {
    console.error(
      `The installation did not succeed${still.length > 0 ? ` (still missing: ${still.join(', ')})` : ''}.`,
    );
    console.error(`Please install by hand: ${command}`);
    process.exit(1);
  }
  say(`${packages.join(', ')} installed in ${seconds(started)}`);
}

/** What to put before a command to run it as root; null when there is no way without asking for a password. */
export function rootPrefix() {
  if (process.getuid?.() === 0) return [];
  const sudo = which('sudo');
  if (sudo === null) return null;
  return spawnSync(sudo, ['-n', 'true'], { stdio: 'ignore' }).status === 0 ? [sudo, '-n'] : null;
}

/**
 * Debian's packages start their servers when they are configured. `policy-rc.d` with exit code 101 forbids that while
 * we install; what was there before is put back however this ends, also after an earlier run that could not (SIGKILL).
 * Units are disabled only where this very run brought them.
 */
const INSTALL_SCRIPT = `
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
saved=/usr/sbin/policy-rc.d.saved-by-pgha
clusters=/etc/postgresql-common/createcluster.d
ours=$clusters/pgha-no-main-cluster.conf
mark='written by scripts/ensure.mjs of pgha'
restore() {
  if [ -f "$policy" ] && grep -q "$mark" "$policy"; then rm -f "$policy"; fi
  if [ -e "$saved" ]; then mv -f "$saved" "$policy"; fi
  rm -f "$ours"
  rmdir "$clusters" 2>/dev/null || true
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
restore
if [ -e "$policy" ]; then mv -f "$policy" "$saved"; fi
printf '#!/bin/sh\\n# %s, only while it installs\\nexit 101\\n' "$mark" > "$policy"
chmod 755 "$policy"
mkdir -p "$clusters"
printf '# %s, only while it installs\\ncreate_main_cluster = false\\n' "$mark" > "$ours"
fresh=
for unit in @UNITS@; do
  if [ ! -e "/lib/systemd/system/$unit" ] && [ ! -e "/usr/lib/systemd/system/$unit" ]; then fresh="$fresh $unit"; fi
done
log=$(mktemp)
if ! { apt-get -q update && apt-get -q install -y --no-install-recommends "$@"; } > "$log" 2>&1; then
  tail -n 30 "$log" >&2
  rm -f "$log"
  exit 1
fi
rm -f "$log"
if command -v systemctl > /dev/null; then
  for unit in $fresh; do systemctl --quiet disable "$unit" > /dev/null 2>&1 || true; done
fi
`;

const TEST = [
  ...['postgres', 'psql', 'etcd', 'etcdctl', 'ip', 'nft', 'nsenter', 'patronictl', 'repmgr'],
  ...['haproxy', 'keepalived', 'pgbouncer', 'curl', 'arping'],
];

/** For the demo and the tests; `all`: what only `npm run test:all` needs, and is large. */
export const SETS = {
  // `npm run check`: the npm packages alone.
  check: [],
  demo: ['postgres', 'etcd', 'etcdctl', 'haproxy', 'nsenter'],
  test: TEST,
  all: [...TEST, 'promtool', 'chromium', 'pgpool', 'ansible-playbook', 'lintian'],
};

export function ensure(set) {
  ensurePrograms(SETS[set]);
  ensureNodeModules();
}

function say(sentence) {
  console.log(`ensure: ${sentence}`);
}

function seconds(since) {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const set = process.argv[2] ?? 'test';
  if (!(set in SETS)) {
    console.error(`usage: node scripts/ensure.mjs [${Object.keys(SETS).join('|')}]`);
    process.exit(2);
  }
  ensure(set);
}
