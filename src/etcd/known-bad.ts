/**
 * Which versions of etcd have the lease bug of issue 15247: an etcd leader that hung on its disk goes on confirming
 * leases that the majority has given up, and revokes good ones when it wakes. pgha survives both (protocol.md, stories
 * 14 and 11); members that look at the leader key alone do not.
 */

/** True below 3.4.31, and from 3.5.0 up to 3.5.12. False for what is not a version. */
export function versionIsKnownBad(version: string): boolean {
  const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version);
  if (parts === null) return false;
  const [major, minor, patch] = parts.slice(1).map(Number) as [number, number, number];
  if (major !== 3) return major < 3;
  if (minor === 5) return patch < 13;
  return minor < 4 || (minor === 4 && patch < 31);
}
