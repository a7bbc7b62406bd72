/** The programs whose files can be imported. Apart from the rest, so that pgha-ctl's help loads nothing else. */
export const KINDS = ['repmgr', 'patroni', 'pgpool'] as const;
export type Kind = (typeof KINDS)[number];

export const KIND_NAMES: Readonly<Record<Kind, string>> = {
  repmgr: 'repmgr.conf',
  patroni: "Patroni's file",
  pgpool: 'pgpool.conf',
};
