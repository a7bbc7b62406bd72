/**
 * A machine with a real systemd as its first process, in namespaces of its own: the files of this machine under an
 * overlay, so that packages are installed and units enabled there and nowhere else. What it does not have: a kernel,
 * a clock and devices of its own.
 */
import type { ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type CommandResult, runOn } from './client.ts';
import { launch } from './launch.ts';
import type { Host } from './network.ts';
import { runDirectory, runName } from './run.ts';
import { until } from './time.ts';

/** What would reach the kernel of this machine, or wants devices. */
const MASKED = [
  'getty.target',
  'systemd-udevd.service',
  'systemd-udevd-control.socket',
  'systemd-udevd-kernel.socket',
  'systemd-udev-trigger.service',
  'systemd-logind.service',
  'systemd-sysctl.service',
  'systemd-modules-load.service',
  'systemd-binfmt.service',
  'systemd-journald-audit.socket',
  'networking.service',
  'cron.service',
  'etcd.service',
  'haproxy.service',
  'keepalived.service',
  'nftables.service',
  'patroni.service',
  'pgbouncer.service',
  'pgpool2.service',
  'postgresql.service',
  'repmgrd.service',
];

/** Each has a branch of its own among the control groups: two that share one take each other's services for theirs. */
const INTO_GROUP = `
set -e
mkdir -p $1/groups
mount --make-rprivate /
mount -t cgroup -o none,name=systemd cgroup $1/groups
mkdir -p $1/groups/$2
echo $$ > $1/groups/$2/cgroup.procs
umount $1/groups
shift 2
exec "$@"
`;

const LEAVE_NO_GROUP = `
mkdir -p $1/groups
mount --make-rprivate /
mount -t cgroup -o none,name=systemd cgroup $1/groups
cd $1/groups
if [ -d $2 ]; then find $2 -depth -type d -exec rmdir {} +; fi
`;

const BOOT = `
set -e
place=$1
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=/,upperdir=$place/changes,workdir=$place/work $place/root
cd $place/root
mount -t proc proc proc
mount -o bind,ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd,xattr cgroup sys/fs/cgroup/systemd
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p etc/systemd/system run/before
for unit in $2; do ln -sf /dev/null etc/systemd/system/$unit; done
ip link set lo up
pivot_root . run/before
umount -l /run/before
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=pgha-test /lib/systemd/systemd --system --unit=multi-user.target --show-status=false
`;

/**
 * To be typed on a machine that is to be like a new one with Debian's packages. A package that is installed already is taken as
 * it is, without a look for a newer one: there is no network. The empty cluster that Debian makes is there, and what only this
 * machine starts at boot is not.
 */
export const asDebianLeavesIt = `
rm -rf /var/lib/apt/lists/*
for unit in patroni repmgrd keepalived pgbouncer pgpool2; do
  rm -f /etc/systemd/system/*.wants/$unit.service
  update-rc.d $unit disable > /dev/null 2>&1 || true
done
test -e /etc/postgresql/15/main/postgresql.conf || pg_createcluster 15 main > /dev/null
`;

export class Machine {
  readonly host: Host;
  private readonly place: string;
  private readonly group: string;
  private child: ChildProcess | null = null;
  private first: number | null = null;
  private readonly masked: readonly string[];

  /**
   * @param host - whose network it has
   * @param units - services of the packages here that it has too; they start at boot where they do so on this machine
   */
  constructor(host: Host, units: readonly string[] = []) {
    this.host = host;
    this.masked = MASKED.filter((unit) => !units.includes(unit));
    this.place = join(runDirectory, `machine-${host.name}`);
    this.group = `${runName}-${host.name}`;
    for (const name of ['changes', 'work', 'root']) mkdirSync(join(this.place, name), { recursive: true });
  }

  /** Puts a file or directory of this machine there. Only while it is off. */
  bring(file: string, path: string): void {
    const to = join(this.place, 'changes', path);
    mkdirSync(dirname(to), { recursive: true });
    cpSync(file, to, { recursive: true });
  }

  async boot(): Promise<void> {
    const namespaces = ['--mount', '--pid', '--fork', '--kill-child', '--uts', '--ipc', '--cgroup'];
    const machine = ['unshare', ...namespaces, '--', 'sh', '-c', BOOT, 'boot', this.place, this.masked.join(' ')];
    this.child = launch({
      host: this.host,
      program: 'unshare',
      args: ['--mount', '--', 'sh', '-c', INTO_GROUP, 'group', this.place, this.group, ...machine],
      log: join(runDirectory, `machine-${this.host.name}.log`),
      cwd: '/',
      asServer: false,
    });
    const { pid } = this.child;
    this.first = await until('systemd is started', 10_000, () => Promise.resolve(onlyChild(pid ?? 0)));
    await until(`${this.host.name} has booted`, 60_000, async () => {
      const { stdout } = await this.run(['systemctl', 'is-system-running']);
      return /running|degraded/.test(stdout) ? true : null;
    });
  }

  /** The power is switched off. Its files stay. */
  async cutPower(): Promise<void> {
    const { child } = this;
    this.child = null;
    this.first = null;
    if (child === null || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    const leave = ['unshare', '--mount', '--', 'sh', '-c', LEAVE_NO_GROUP, 'leave', this.place, this.group];
    // Processes of a namespace that has ended may take a moment to be gone.
    await until(
      'its control groups are gone',
      5_000,
      async () => (await runOn({ ...this.host, prefix: [] }, leave)).code === 0,
    );
  }

  async destroy(): Promise<void> {
    await this.cutPower();
    rmSync(this.place, { recursive: true, force: true });
  }

  /** Runs a command there, as root. */
  run(command: readonly string[], timeoutMs = 60_000): Promise<CommandResult> {
    if (this.first === null) return Promise.resolve({ code: null, stdout: '', stderr: `${this.host.name} is off` });
    return runOn(
      { ...this.host, prefix: ['nsenter', `--target=${this.first}`, '--all', '--root', '--wd=/', '--'] },
      command,
      {
        timeoutMs,
        cwd: '/',
        env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' },
      },
    );
  }

  /** @throws when it ends with another code than 0 */
  async must(command: readonly string[], timeoutMs?: number): Promise<string> {
    const { code, stdout, stderr } = await this.run(command, timeoutMs);
    if (code === 0) return stdout;
    const journal = await this.run(['journalctl', '--no-pager', '-n', '40']);
    throw new Error(
      `${this.host.name}: ${command.join(' ')} ended with ${code}:\n${stdout}${stderr}\n${journal.stdout}`,
    );
  }

  /** As root in one shell, which ends with the first line that fails. @throws then */
  type(commands: string): Promise<string> {
    return this.must(['bash', '-ec', `cd /root\n${commands}`], 180_000);
  }

  async write(path: string, text: string): Promise<void> {
    await this.must(['sh', '-c', 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1"', 'write', path, text]);
  }

  /** The value of one property of a unit. */
  async show(unit: string, property: string): Promise<string> {
    return (await this.must(['systemctl', 'show', '--value', `--property=${property}`, unit])).trim();
  }
}

/** The one child of a process; null: it has none yet. */
function onlyChild(pid: number): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    const comm = text === '' ? '' : readFileSync(`/proc/${text}/comm`, 'utf8').trim();
    return comm === 'systemd' ? Number(text) : null;
  } catch {
    return null;
  }
}
