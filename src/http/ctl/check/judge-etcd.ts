/** What is good and bad about an etcd, measured against the TTL of the cluster. Pure. */
import { requestLimit } from '../../../core/budget.ts';
import type { Millis } from '../../../core/time.ts';
import type { EtcdEndpointFacts, EtcdFacts } from '../../../ports/examination.ts';
import type { Finding, Judgement } from './finding.ts';

type Answered = Extract<EtcdEndpointFacts, { kind: 'answered' }>;

/** etcd refuses to write from its quota on: at this part of it there is time to do something. */
const FULL_SOON = 0.8;
const NEARLY_FULL = 0.95;
/** Means of the write-ahead log on a disk that is good enough are far below. */
const SLOW_SYNC_MS = 25;

export function judgeEtcd(facts: EtcdFacts, ttl: Millis): Judgement {
  const answered = facts.endpoints.filter((one): one is Answered => one.kind === 'answered');
  return {
    findings: [
      ...judgeEndpoints(facts, answered),
      ...judgeMembers(facts),
      ...judgeLeader(answered),
      ...judgeAlarms(facts),
      ...answered.flatMap((one) => [...judgeTimes(one, ttl), ...judgeSpace(one), ...judgeVersion(one)]),
    ],
    figures: [
      { name: 'answering', value: answered.length, unit: '' },
      { name: 'read', value: Math.max(0, ...answered.map(({ readMs }) => readMs ?? 0)), unit: 'ms' },
      { name: 'size', value: Math.max(0, ...answered.map(({ size }) => size)), unit: 'B' },
    ],
  };
}

function judgeEndpoints({ endpoints, members }: EtcdFacts, answered: readonly Answered[]): Finding[] {
  const about = 'members';
  const count = `${answered.length} of ${endpoints.length} endpoints answer`;
  const silent = endpoints.flatMap((one) => (one.kind === 'silent' ? [`${one.url} does not (${one.said})`] : []));
  if (silent.length === 0) return [{ level: 'ok', about, said: count }];
  const size = Math.max(members?.length ?? 0, endpoints.length);
  // Where a file names fewer than there are, all that it names is all that can be asked.
  const enough = answered.length >= Math.min(Math.floor(size / 2) + 1, endpoints.length);
  return [
    {
      level: enough ? 'warning' : 'critical',
      about,
      said: `${count}: ${silent.join(', ')}${enough ? '' : '. Without a majority nobody can lead'}`,
      todo: 'look at etcd there: systemctl status etcd; is its port open?',
    },
  ];
}

function judgeMembers({ endpoints, members }: EtcdFacts): Finding[] {
  const about = 'members';
  if (members === null) return [{ level: 'unknown', about, said: 'nobody says who the members are' }];
  const findings: Finding[] = [];
  if (members.length === 1)
    findings.push({
      level: 'warning',
      about,
      said: 'there is one member: when it is lost, nobody can lead',
      todo: 'have three: etcdctl member add',
    });
  else if (members.length % 2 === 0)
    findings.push({
      level: 'warning',
      about,
      said: `there are ${members.length} members: one fewer would survive as many losses`,
      todo: 'have three, or five',
    });
  for (const { peerUrls } of members.filter(({ name }) => name === ''))
    findings.push({
      level: 'warning',
      about,
      said: `${peerUrls.join(', ')} was added and never started, and counts for the majority`,
      todo: 'start it, or take it out: etcdctl member remove ID',
    });
  const asked = new Set(endpoints.flatMap((one) => (one.kind === 'answered' ? [one.memberId] : [])));
  const unnamed = members.filter(({ id, name }) => name !== '' && !asked.has(id));
  // One that does not answer may be the one that seems not to be named.
  if (unnamed.length > 0 && endpoints.every(({ kind }) => kind === 'answered'))
    findings.push({
      level: 'warning',
      about,
      said: `the configuration does not name ${unnamed.map(({ name }) => name).join(', ')}, which is of no use to this node when the others are lost`,
      todo: `write into etcd3.hosts: ${unnamed.flatMap(({ clientUrls }) => clientUrls).join(', ')}`,
    });
  return findings;
}

function judgeLeader(answered: readonly Answered[]): Finding[] {
  const about = 'leader';
  if (answered.length === 0) return [];
  if (new Set(answered.map(({ clusterId }) => clusterId)).size > 1)
    return [
      {
        level: 'critical',
        about,
        said: `these are members of different clusters: ${answered.map(({ url, clusterId }) => `${url} of ${clusterId}`).join(', ')}`,
        todo: 'name the members of one, the same on all nodes',
      },
    ];
  const leaders = new Set(answered.map(({ leader }) => leader));
  if (leaders.has('0'))
    return [{ level: 'critical', about, said: 'etcd has no leader: nothing can be written, nobody can lead' }];
  if (leaders.size > 1)
    return [{ level: 'warning', about, said: 'the members do not agree who leads: an election is under way' }];
  const leader = answered.find((one) => one.memberId === one.leader);
  return [{ level: 'ok', about, said: leader?.url ?? 'there is one' }];
}

function judgeAlarms({ alarms, members }: EtcdFacts): Finding[] {
  const about = 'alarms';
  if (alarms === null) return [];
  if (alarms.length === 0) return [{ level: 'ok', about, said: 'none' }];
  return alarms.map(({ memberId, alarm }): Finding => {
    const name = members?.find(({ id }) => id === memberId)?.name ?? memberId;
    const isSpace = /no_?space/i.test(alarm);
    return {
      level: 'critical',
      about,
      said: `${alarm.toUpperCase()} of ${name}${isSpace ? ': etcd takes no writes' : ''}`,
      todo: isSpace
        ? 'etcdctl compact REVISION; etcdctl defrag; etcdctl alarm disarm; then auto-compaction, so that it does not come again'
        : 'its data are damaged: take the member out, and add it anew with an empty directory',
    };
  });
}

/** A request has so long; a read that takes a good part of that in quiet times fails in busy ones. */
function judgeTimes({ url, readMs, syncMs }: Answered, ttl: Millis): Finding[] {
  const about = 'latency';
  const limit = requestLimit(ttl);
  const findings: Finding[] = [];
  if (readMs === null)
    findings.push({ level: 'critical', about, said: `${url} confirms no read: it is cut off from the majority` });
  else {
    const said = `${url} needs ${ms(readMs)} for a read; a request has ${ms(limit)} with ttl ${ttl / 1000} s`;
    const level = readMs > limit / 2 ? 'critical' : readMs > limit / 8 ? 'warning' : 'ok';
    const todo = 'faster disks and a nearer network for etcd; or a longer ttl: pgha-ctl edit-config -s ttl=30';
    findings.push(level === 'ok' ? { level, about, said } : { level, about, said, todo });
  }
  if (syncMs !== null && syncMs > SLOW_SYNC_MS)
    findings.push({
      level: 'warning',
      about: 'disk',
      said: `${url} needs ${ms(syncMs)} on average to write its log; below 10 ms is good`,
      todo: 'give etcd a disk of its own',
    });
  return findings;
}

const ms = (value: number): string => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
const mb = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MB`;

function judgeSpace({ url, size, quota }: Answered): Finding[] {
  const about = 'space';
  if (quota === null || quota <= 0) return [];
  const said = `${url} uses ${mb(size)} of its quota of ${mb(quota)}`;
  if (size < quota * FULL_SOON) return [{ level: 'ok', about, said }];
  return [
    {
      level: size < quota * NEARLY_FULL ? 'warning' : 'critical',
      about,
      said: `${said}: beyond it nothing can be written`,
      todo: 'etcdctl compact REVISION; etcdctl defrag; and turn auto-compaction on: --auto-compaction-retention=1h',
    },
  ];
}

function judgeVersion({ url, version }: Answered): Finding[] {
  const about = 'version';
  const [major = 0, minor = 0, patch = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  const said = `${url} is etcd ${version}`;
  if (major < 3 || (major === 3 && minor < 4))
    return [
      { level: 'critical', about, said: `${said}; 3.4 is the oldest that pgha works with`, todo: 'upgrade etcd' },
    ];
  if (major === 3 && ((minor === 4 && patch < 31) || (minor === 5 && patch < 13)))
    return [
      {
        level: 'warning',
        about,
        said: `${said}, whose leader goes on confirming leases while its disk hangs (etcd issue 15247)`,
        todo: 'upgrade etcd to 3.4.31, 3.5.13 or newer',
      },
    ];
  return [{ level: 'ok', about, said }];
}
