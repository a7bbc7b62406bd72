/** Whether this machine is set up so that pgha, and nobody else, runs Postgres on it. Pure. */
import type { HostFacts, PathFacts } from '../../../ports/examination.ts';
import type { Finding, Judgement } from './finding.ts';

/** What a node's file says of this machine. */
export interface HostExpectation {
  /** null: a witness has none. */
  readonly dataDirectory: string | null;
  /** Files that hold, or may hold, passwords. */
  readonly secrets: readonly string[];
  readonly programDirectories: readonly string[];
  /** Seconds that the clocks of members are ahead of ours. */
  readonly clockOffsets: readonly { readonly member: string; readonly seconds: number }[];
  /** The address that pgha moves; left out: it moves none. */
  readonly vip?: { readonly addresses: readonly string[]; readonly interface: string };
}

export const PROGRAMS = ['postgres', 'initdb', 'pg_basebackup', 'pg_rewind', 'pg_controldata'];

interface Rival {
  /** Of a unit, or of a script of System V. */
  readonly unit: RegExp;
  /** null: a process of this name is no sign of it. */
  readonly process: RegExp | null;
  readonly level: 'critical' | 'warning';
  readonly why: string;
}

const RIVALS: readonly Rival[] = [
  {
    unit: /^postgresql(-?\d+)?(@.*)?(\.service)?$/,
    process: null,
    level: 'critical',
    why: 'starts Postgres at boot, before anybody knows who leads: an old primary would take writes',
  },
  {
    unit: /^repmgrd?(-?\d+)?(@.*)?(\.service)?$/,
    process: /^repmgrd$/,
    level: 'critical',
    why: 'promotes and follows without asking for the leader key',
  },
  { unit: /^patroni(@.*)?(\.service)?$/, process: /^patroni$/, level: 'critical', why: 'would run the same Postgres' },
  {
    unit: /^(stolon-keeper|stolon-sentinel|pg_?auto_?failover|pg_autoctl)(@.*)?(\.service)?$/,
    process: /^(stolon-keeper|pg_autoctl)$/,
    level: 'critical',
    why: 'is another failover manager',
  },
  {
    unit: /^pgpool(2|-II)?(-?\d+)?(@.*)?(\.service)?$/i,
    process: /^pgpool$/,
    level: 'warning',
    why: "may stay as a pooler, with failover_command = '' and DISALLOW_TO_FAILOVER for every backend",
  },
];

/** What logs, schedules and certificates put up with. */
const CLOCKS_APART_SECONDS = 3;

export function judgeHost(facts: HostFacts, expected: HostExpectation): Judgement {
  return {
    findings: [
      ...judgeRivals(facts),
      ...judgeDirectory(facts, expected),
      ...judgeSecrets(facts, expected),
      judgePrograms(facts, expected),
      ...judgeClock(facts, expected),
      ...judgeVip(facts, expected),
    ],
    figures: [],
  };
}

function judgeRivals({ enabled, processes }: HostFacts): Finding[] {
  const about = 'rivals';
  const findings = RIVALS.flatMap(({ unit, process, level, why }): Finding[] => [
    ...enabled
      .filter(({ name }) => unit.test(name))
      .map(({ name, script }) => {
        const todo = script
          ? `update-rc.d ${name} disable`
          : `systemctl disable ${process === null ? '' : '--now '}${name}`;
        const said = `${name} is enabled: it ${why}`;
        return level === 'critical' ? { level, about, said, todo } : { level, about, said };
      }),
    ...processes
      .filter(({ name }) => process?.test(name) === true)
      .slice(0, 1)
      .map(({ name, pid }) => {
        const said = `${name} runs (pid ${pid}): it ${why}`;
        return level === 'critical'
          ? { level, about, said, todo: `systemctl disable --now ${name}` }
          : { level, about, said };
      }),
  ]);
  return findings.length > 0 ? findings : [{ level: 'ok', about, said: 'nothing else is set up to run Postgres here' }];
}

/** Whose everything has to be: of who asks, or of `postgres` when root does. */
const ownerOf = ({ uid, postgresUid }: HostFacts): number | null => (uid === 0 ? postgresUid : uid);

const foundAt = (facts: HostFacts, path: string): PathFacts['found'] =>
  facts.paths.find((one) => one.path === path)?.found ?? null;
const octal = (mode: number): string => mode.toString(8).padStart(4, '0');

export const parentOf = (path: string): string => path.replace(/\/+[^/]+\/*$/, '') || '/';

function judgeDirectory(facts: HostFacts, { dataDirectory: path }: HostExpectation): Finding[] {
  const about = 'data';
  if (path === null) return [];
  const owner = ownerOf(facts);
  const found = foundAt(facts, path);
  if (owner === null)
    return [{ level: 'critical', about, said: 'this machine has no user postgres', todo: 'install PostgreSQL' }];
  if (found === null) return [judgeParent(facts, path, owner)];
  if (!found.directory) return [{ level: 'critical', about, said: `${path} is no directory` }];
  const findings: Finding[] = [];
  if (found.owner !== owner)
    findings.push({
      level: 'critical',
      about,
      said: `${path} belongs to uid ${found.owner}, not to the user of pgha (uid ${owner})`,
      todo: `chown -R postgres: ${path}`,
    });
  if ((found.mode & 0o027) !== 0)
    findings.push({
      level: 'critical',
      about,
      said: `${path} has mode ${octal(found.mode)}, and Postgres starts with 0700 and 0750 only`,
      todo: `chmod 0700 ${path}`,
    });
  if (findings.length > 0) return findings;
  const parent = parentOf(path);
  const above = foundAt(facts, parent);
  if (above !== null && !mayWrite(above, owner))
    return [
      {
        level: 'warning',
        about,
        said: `the user of pgha cannot write to ${parent}: after a failover this node is copied and not rewound, and WAL that is undone is kept only with discarded_wal_directory`,
        todo: `put the data directory one level below the mount point, or chown postgres: ${parent}`,
      },
    ];
  return [{ level: 'ok', about, said: `${path} belongs to the user of pgha, mode ${octal(found.mode)}` }];
}

/** A group that may write is taken for one of his. */
const mayWrite = ({ owner, mode }: NonNullable<PathFacts['found']>, uid: number): boolean =>
  uid === 0 || (owner === uid ? (mode & 0o200) !== 0 : (mode & 0o022) !== 0);

/** Where the data directory is not there yet. */
function judgeParent(facts: HostFacts, path: string, owner: number): Finding {
  const about = 'data';
  const parent = parentOf(path);
  const found = foundAt(facts, parent);
  if (found !== null && (found.owner === owner || (found.mode & 0o002) !== 0))
    return { level: 'ok', about, said: `${path} is not there: it is made, or copied, at the start` };
  const why = found === null ? 'is not there either, or may not be looked at' : 'does not belong to the user of pgha';
  const todo = `install -d -o postgres -g postgres -m 0700 ${path}`;
  return { level: 'critical', about, said: `${path} is not there, and ${parent} ${why}`, todo };
}

function judgeSecrets(facts: HostFacts, { secrets }: HostExpectation): Finding[] {
  const about = 'secrets';
  const owner = ownerOf(facts);
  return secrets.flatMap((path): Finding[] => {
    const found = foundAt(facts, path);
    if (found === null) return [];
    if ((found.mode & 0o004) !== 0)
      return [{ level: 'warning', about, said: `${path} can be read by everybody`, todo: `chmod 0600 ${path}` }];
    if (owner !== null && found.owner !== owner && (found.mode & 0o040) === 0)
      return [
        { level: 'critical', about, said: `${path}: the user of pgha cannot read it`, todo: `chown postgres: ${path}` },
      ];
    return [];
  });
}

function judgePrograms({ missingPrograms }: HostFacts, { programDirectories }: HostExpectation): Finding {
  const about = 'programs';
  if (missingPrograms.length === 0) return { level: 'ok', about, said: 'all are there' };
  return {
    level: 'critical',
    about,
    said: `${missingPrograms.join(', ')} not found in ${programDirectories.join(', ')}`,
    todo: "install PostgreSQL's server and client programs, or set postgresql.bin_dir",
  };
}

function judgeClock({ timeIsKept }: HostFacts, { clockOffsets }: HostExpectation): Finding[] {
  const about = 'clock';
  const findings = clockOffsets
    .filter(({ seconds }) => Math.abs(seconds) > CLOCKS_APART_SECONDS)
    .map(
      ({ member, seconds }): Finding => ({
        level: 'warning',
        about,
        said: `that of ${member} is ${Math.round(Math.abs(seconds))} s ${seconds > 0 ? 'ahead of' : 'behind'} ours. Leadership does not rest on it; times in logs, schedules and certificates do`,
        todo: 'timedatectl set-ntp true, on both',
      }),
    );
  if (timeIsKept === false)
    findings.push({
      level: 'warning',
      about,
      said: 'systemd-timesyncd has not set it yet',
      todo: 'timedatectl timesync-status',
    });
  if (findings.length > 0) return findings;
  if (clockOffsets.length > 0) return [{ level: 'ok', about, said: 'it agrees with those of the members' }];
  if (timeIsKept === true) return [{ level: 'ok', about, said: 'it is kept' }];
  return [
    { level: 'warning', about, said: 'nothing that sets it was found', todo: 'timedatectl set-ntp true, or chrony' },
  ];
}

/** capabilities(7) */
const NET_ADMIN = 1n << 12n;
const NET_RAW = 1n << 13n;
const DROP_IN =
  'install -D -m 644 /usr/share/doc/pgha/examples/vip.conf /etc/systemd/system/pgha.service.d/vip.conf; systemctl daemon-reload; pgha-ctl restart-daemon';

function judgeVip({ interface: facts }: HostFacts, { vip }: HostExpectation): Finding[] {
  if (vip === undefined || facts === undefined) return [];
  const about = 'vip';
  const findings: Finding[] = [];
  const { exists, missing, capabilities, announcesIpv6 } = facts;
  const has = (kind: 'v4' | 'v6'): boolean => vip.addresses.some((one) => one.includes(':') === (kind === 'v6'));
  if (!exists)
    findings.push({
      level: 'critical',
      about,
      said: `there is no interface ${vip.interface} on this machine`,
      todo: 'ip link; then set vip.interface',
    });
  if (missing.includes('ip'))
    findings.push({ level: 'critical', about, said: 'ip is not installed', todo: 'apt-get install iproute2' });
  if (capabilities !== null && (capabilities & NET_ADMIN) === 0n)
    findings.push({
      level: 'critical',
      about,
      said: 'the daemon may not put an address on an interface (CAP_NET_ADMIN)',
      todo: DROP_IN,
    });
  else if (capabilities !== null && (capabilities & NET_RAW) === 0n && has('v4'))
    findings.push({
      level: 'warning',
      about,
      said: 'the daemon may not tell the network where the address is (CAP_NET_RAW)',
      todo: DROP_IN,
    });
  if (missing.includes('setpriv'))
    findings.push({
      level: 'warning',
      about,
      said: 'setpriv is not installed: Postgres is started with the rights of the daemon, and may change interfaces too',
      todo: 'apt-get install util-linux',
    });
  if (missing.includes('arping') && has('v4'))
    findings.push({
      level: 'warning',
      about,
      said: 'arping is not installed: others find out by themselves that the address has moved, which may take a minute',
      todo: 'apt-get install iputils-arping',
    });
  if (!announcesIpv6 && has('v6'))
    findings.push({
      level: 'warning',
      about,
      said: `the kernel does not announce an IPv6 address that is put on ${vip.interface}`,
      todo: `sysctl -w net.ipv6.conf.${vip.interface}.ndisc_notify=1, and into /etc/sysctl.d`,
    });
  if (capabilities === null)
    findings.push({
      level: 'warning',
      about,
      said: 'no daemon runs that could be asked whether it may move an address',
    });
  if (findings.length > 0) return findings;
  return [{ level: 'ok', about, said: `${vip.addresses.join(', ')} can be put on ${vip.interface}` }];
}
