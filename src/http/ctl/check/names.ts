/** The checks there are. Apart from the rest, so that pgha-ctl's help loads nothing else. */
export const CHECKS = ['host', 'network', 'etcd', 'clone', 'replication'] as const;
export type Check = (typeof CHECKS)[number];
