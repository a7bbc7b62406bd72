/**
 * What every import has to say whichever program the file is of: addresses, etcd, directories, the HTTP interface, and
 * what has to be done on the machine beside the file.
 */
import { printAddress } from '../units.ts';
import type { Draft, Origin } from './draft.ts';
import { hostTrap, strangeLetter, versionTrap } from './traps.ts';

/** What the command line says that the file cannot say. */
export interface Answers {
  readonly scope: string | null;
  /** `host:port` each. */
  readonly etcd: readonly string[];
  /** Of a file about several servers: which one this node is. */
  readonly node: number | null;
}

/** RFC 2606: a name that nobody has, so that a file that was not completed harms nobody. */
const NO_ETCD = 'etcd1.invalid:2379';
const API_PORT = 8008;

export function addScope(draft: Draft, answers: Answers): void {
  if (answers.scope !== null) draft.add('scope', answers.scope, 'given with --scope');
  else draft.add('scope', 'main', 'the name of the cluster, the same on all nodes; --scope NAME gives another one');
}

export function addEtcd(draft: Draft, answers: Answers): void {
  if (answers.etcd.length > 0) {
    draft.add('etcd3.hosts', [...answers.etcd], 'given with --etcd');
    return;
  }
  draft.put('etcd3.hosts', [NO_ETCD]);
  draft.todo(
    'etcd3.hosts',
    `pgha keeps the leader key in etcd, which this file does not name. ${NO_ETCD} stands there for now: write all members of yours, or import again with --etcd HOST:PORT,HOST:PORT,HOST:PORT`,
  );
}

export function takeAddress(draft: Draft, origin: Origin, host: string, port: number): void {
  draft.take(origin, 'postgresql.connect_address', printAddress({ host, port }));
  draft.add('postgresql.listen', `*:${port}`, 'all addresses of this machine; list them where some are not to be used');
  draft.add(
    'restapi.connect_address',
    printAddress({ host, port: API_PORT }),
    'health checks and commands; open this port',
    origin,
  );
  const trap = hostTrap(host);
  if (trap !== null) draft.decide({ ...origin, shown: host }, `${host} ${trap}`);
}

export function addApiPassword(draft: Draft): void {
  draft.todo(
    'restapi.authentication',
    `everybody who reaches port ${API_PORT} can steer the cluster. Write username and password_file there, the same on all nodes`,
  );
}

export function takeDataDirectory(draft: Draft, origin: Origin, path: string, hasConfigDirectory: boolean): void {
  draft.take(origin, 'postgresql.data_dir', path);
  const trap = versionTrap(path);
  if (trap !== null) draft.decide(origin, trap);
  lookForStrangeLetters(draft, origin, path);
  const debian = /^\/var\/lib\/postgresql\/([^/]+)\/([^/]+)\/?$/.exec(path);
  if (debian !== null && !hasConfigDirectory) {
    draft.add(
      'postgresql.config_dir',
      `/etc/postgresql/${debian[1]}/${debian[2]}`,
      "Debian's layout: postgresql.conf stands apart from the data. Remove this where it does not",
      origin,
    );
  }
}

export function lookForStrangeLetters(draft: Draft, origin: Origin, value: string): void {
  const strange = strangeLetter(value);
  if (strange !== null)
    draft.decide(origin, `${strange.sentence}: copied from a page where it looks like another one? Type it anew`);
}

/** What no file says, and what harms when it is forgotten. */
export function tellOfRivals(draft: Draft, unit: string | null): void {
  const other = unit === null ? '' : `systemctl disable --now ${unit}; `;
  draft.todo(
    'systemd',
    `nobody but pgha may start, stop or promote Postgres: ${other}systemctl disable postgresql. A Postgres that runs is taken in as it runs. \`pgha-ctl check host\` finds what was forgotten`,
  );
}
