/**
 * The files of a TLS connection to etcd. They are read again from time to time, because certificates are replaced
 * while daemons run; when they differ, the clients are opened anew.
 */
import { readFile } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';
import type { IOptions } from 'etcd3';
import type { EtcdConfig } from '../config/schema.ts';
import { PghaError } from '../errors.ts';

export type Certificates = NonNullable<IOptions['credentials']>;

/**
 * @returns null when none are configured
 * @throws {PghaError} PGHA_CONFIG_UNREADABLE
 */
export async function readCertificates(config: EtcdConfig): Promise<Certificates | null> {
  if (config.cacert === null && config.cert === null) return null;
  try {
    const root = config.cacert === null ? Buffer.from(rootCertificates.join('\n')) : await readFile(config.cacert);
    if (config.cert === null) return { rootCertificate: root };
    const certChain = await readFile(config.cert);
    // One file may hold both, as many tools write it.
    const privateKey = config.key === null ? certChain : await readFile(config.key);
    return { rootCertificate: root, certChain, privateKey };
  } catch (cause) {
    throw new PghaError(
      'PGHA_CONFIG_UNREADABLE',
      {
        happened: `The certificates for etcd could not be read: ${(cause as Error).message}.`,
        untouched: 'Nothing was started or changed.',
        todo: 'Check cacert, cert and key in the etcd3 section, and that the service may read these files.',
      },
      { cause },
    );
  }
}

export function sameCertificates(a: Certificates | null, b: Certificates | null): boolean {
  if (a === null || b === null) return a === b;
  const same = (x: Buffer | undefined, y: Buffer | undefined): boolean =>
    x === undefined || y === undefined ? x === y : x.equals(y);
  return (
    same(a.rootCertificate, b.rootCertificate) && same(a.certChain, b.certChain) && same(a.privateKey, b.privateKey)
  );
}
