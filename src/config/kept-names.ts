/** Which names `postgresql.keep_files` may hold: files of the operator's own, inside the data directory. */

/** PostgreSQL 12 to 18; whatever else it puts there lies below one of these. */
const OF_POSTGRES: ReadonlySet<string> = new Set(
  (
    'base global pg_clog pg_commit_ts pg_dynshmem pg_logical pg_multixact pg_notify pg_replslot pg_serial pg_snapshots ' +
    'pg_stat pg_stat_tmp pg_subtrans pg_tblspc pg_twophase pg_wal pg_xact pg_xlog PG_VERSION postgresql.conf ' +
    'postgresql.auto.conf postgresql.base.conf pg_hba.conf pg_hba.base.conf pg_ident.conf postmaster.pid postmaster.opts standby.signal ' +
    'recovery.signal recovery.conf recovery.done backup_label backup_label.old tablespace_map tablespace_map.old ' +
    'backup_manifest current_logfiles lost+found pgha-unfinished'
  ).split(' '),
);
const LONGEST = 255;

/** Why this name cannot be kept; null: it can. */
export function whyNotKept(name: string): string | null {
  const parts = name.split('/');
  const [first = ''] = parts;
  if (name === '' || Buffer.byteLength(name) > LONGEST) return 'is no name of a file';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\\]/.test(name)) return 'holds a character that no name should';
  if (name.startsWith('/')) return 'must be relative to the data directory';
  if (parts.some((part) => part === '' || part === '.' || part === '..'))
    return 'must name a file below the data directory';
  if (OF_POSTGRES.has(first)) return 'belongs to Postgres, or to pgha';
  return parts.some((part) => part.includes('.pgha-')) ? 'belongs to pgha' : null;
}
