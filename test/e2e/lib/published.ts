/**
 * Files as pages on the net publish them: read from test/fixtures/how-tos, with only what stands there for a machine's own
 * filled in. Nothing else can be changed with this, and a test can ask whether a written file is still the published one.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from './client.ts';

/** What stands in the published file, and what this machine has in its place. */
export type Filling = readonly (readonly [placeholder: string, value: string])[];

/** SHA-256 of each file as it was published. */
const DIGESTS: Readonly<Record<string, string>> = {
  'check_patroni.sh': '6624f70c4c728d18fc026ed352fb286de1c68e9dd55a84da9451f7eb9129303c',
  'etcd-s3.conf': 'ae0d40a218819187b39477e1d21578794dc0e242d5022e75b4ccfdecf087e96d',
  'etcd-s4.conf': '22aa24f0b8e1e05be8ba1cac41308ce012b101e4e6e21f5eb14fad31c1401bce',
  'failover.sh': '0a57f4a4aaa1c20f289e6382f4630891330fac14c51723fc515ae81e9e1fa435',
  'haproxy.cfg': 'ce146d58b24998ef8ebee2f871f1182fccc91929d94f87912de59bb0dace608a',
  'keepalived.conf': '46d0cf17e37618fe7d6745296687d0dcec0e5f3d96aaa2bdd729edae9e3a1be1',
  'patroni-otus.yml': '415328f2dd6c910ffba386d3a09657a5bf249c82c8b56d6967b8a2e67d9b3782',
  'pgbouncer.ini': 'f0cd094a45bb07a502528c595c4b307907585716d6e9660eee9269392335819e',
  'pgpool.conf': 'c2487f0fdffd44b4fa65d737f7be2800df8fdd1511bded16f1cfb4f3e8b0a525',
  'repmgr.conf': '21bb85630b461fb4f67623e7f66cac2031d8459fae2c10c1ac1647f9ea843e9a',
};

/** The file, byte for byte. @throws when it is not what was published */
export function publishedFile(name: string): string {
  const bytes = readFileSync(join(repository, 'test/fixtures/how-tos', name));
  if (createHash('sha256').update(bytes).digest('hex') !== DIGESTS[name])
    throw new Error(`test/fixtures/how-tos/${name} is not the file that was published`);
  return bytes.toString('utf8');
}

/** @throws when a placeholder does not stand in the file: the list is then not about this file */
export function fillIn(name: string, filling: Filling): string {
  return pieces(name, filling)
    .map((piece) => (typeof piece === 'string' ? piece : piece.value))
    .join('');
}

/** What of a written file is neither published nor filled in by the list; null: nothing. */
export function changedBeyond(name: string, filling: Filling, written: string): string | null {
  let rest = written;
  for (const piece of pieces(name, filling)) {
    const wanted = typeof piece === 'string' ? piece : piece.value;
    if (!rest.startsWith(wanted)) return `${JSON.stringify(rest.slice(0, 60))} instead of ${JSON.stringify(wanted)}`;
    rest = rest.slice(wanted.length);
  }
  return rest === '' ? null : `${JSON.stringify(rest)} after the end`;
}

function pieces(name: string, filling: Filling): (string | { readonly value: string })[] {
  let found: (string | { readonly value: string })[] = [publishedFile(name)];
  for (const [placeholder, value] of filling) {
    const split = found.flatMap((piece) =>
      typeof piece !== 'string'
        ? [piece]
        : piece.split(placeholder).flatMap((part, index) => (index === 0 ? [part] : [{ value }, part])),
    );
    if (split.length === found.length) throw new Error(`'${placeholder}' does not stand in ${name}`);
    found = split;
  }
  return found;
}
