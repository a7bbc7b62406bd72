/** What becomes of each parameter of repmgr.conf in our own file: nothing is passed over in silence. */
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { localSchema } from '../../../src/config/schema.ts';
import { PghaError } from '../../../src/errors.ts';

const MINIMAL = `scope: main
name: pg1
etcd3: {hosts: [10.0.0.1:2379, 10.0.0.2:2379]}
restapi: {connect_address: 10.0.0.1:8008}
postgresql: {listen: '*:5432', connect_address: 10.0.0.1:5432, data_dir: /srv/pg/main}
`;

function loaded(more: string): { warnings: readonly string[]; problems: readonly string[] } {
  try {
    const { warnings } = loadConfig({ path: 'pgha.yml', env: {}, readFile: () => MINIMAL + more });
    return { warnings, problems: [] };
  } catch (error) {
    if (error instanceof PghaError) return { warnings: [], problems: error.cause as readonly string[] };
    throw error;
  }
}

/** Under a leader key they do nothing: accepted, with one warning that says why. */
const OBSOLETE: readonly (readonly [name: string, value: string, why: RegExp])[] = [
  ['replication_type', 'physical', /always physical/],
  ['witness_sync_interval', '15', /reads etcd/],
  ['log_facility', 'STDERR', /standard output/],
  ['repmgr_bindir', '/usr/lib/postgresql/15/bin', /never runs repmgr/],
  ['ssh_options', "'-q -o ConnectTimeout=10'", /never uses ssh/],
  ['rsync_options', "'--archive'", /never uses ssh/],
  ['pg_ctl_options', "'-s'", /does not run pg_ctl/],
  ['service_promote_command', "'pg_ctlcluster 15 main promote'", /holds the key/],
  ['repmgrd_service_start_command', "'systemctl start repmgrd'", /service manager/],
  ['repmgrd_service_stop_command', "'systemctl stop repmgrd'", /service manager/],
  ['repmgrd_pid_file', '/run/repmgrd.pid', /service manager/],
  ['barman_host', 'backup1', /create_replica_methods/],
  ['barman_server', 'main', /create_replica_methods/],
  ['barman_config', '/etc/barman.conf', /create_replica_methods/],
  ['pg_backupapi_host', 'backup1', /create_replica_methods/],
  ['pg_backupapi_node_name', 'main', /create_replica_methods/],
  ['pg_backupapi_backup_id', '20260101', /create_replica_methods/],
  ['pg_backupapi_remote_ssh_command', "'ssh x'", /create_replica_methods/],
  ['promote_check_timeout', '60', /primary_start_timeout/],
  ['promote_check_interval', '1', /few milliseconds/],
  ['primary_follow_timeout', '60', /leader key/],
  ['standby_follow_timeout', '30', /until it does/],
  ['standby_follow_restart', 'true', /without a restart/],
  ['shutdown_check_timeout', '60', /primary_stop_timeout/],
  ['standby_reconnect_timeout', '60', /comes back by itself/],
  ['wal_receive_check_timeout', '30', /shutdown checkpoint/],
  ['node_rejoin_timeout', '60', /comes back by itself/],
  ['archive_ready_warning', '16', /this version/],
  ['archive_ready_critical', '128', /this version/],
  ['replication_lag_warning', '300', /this version/],
  ['replication_lag_critical', '600', /this version/],
  ['degraded_monitoring_timeout', '10', /never gives up/],
  ['async_query_timeout', '60', /connection_check_timeout/],
  ['repmgrd_standby_startup_timeout', '60', /until it answers/],
  ['repmgrd_exit_on_inactive_node', 'true', /key in etcd/],
  ['always_promote', 'true', /pgha-ctl failover/],
  ['promote_delay', '1', /gate/],
  ['failover_delay', '1', /gate/],
  ['reconnect_loop_sync', 'true', /stand back/],
  ['connection_check_query', "'SELECT 1'", /fixed/],
];

/** They mean something, and stand elsewhere here: taking them for nothing would do something else than was asked for. */
const ELSEWHERE: readonly (readonly [name: string, value: string, where: RegExp])[] = [
  ['node_name', 'pg1', /`name`/],
  ['conninfo', "'host=pg1 user=repmgr'", /connect_address/],
  ['data_directory', '/srv/pg', /postgresql\.data_dir/],
  ['config_directory', '/etc/postgresql/15/main', /postgresql\.config_dir/],
  ['pg_bindir', '/usr/lib/postgresql/15/bin', /postgresql\.bin_dir/],
  ['replication_user', 'repl', /replication\.username/],
  ['use_replication_slots', 'true', /use_slots/],
  ['passfile', '/var/lib/postgresql/.pgpass', /postgresql\.pgpass/],
  ['use_primary_conninfo_password', 'true', /replication\.password/],
  ['pg_basebackup_options', "'--label=x'", /postgresql\.basebackup/],
  ['tablespace_mapping', "'/a=/b'", /tablespace-mapping/],
  ['restore_command', "'cp /a/%f %p'", /postgresql\.parameters/],
  ['archive_cleanup_command', "'true'", /postgresql\.parameters/],
  ['recovery_min_apply_delay', '5min', /postgresql\.parameters/],
  ['log_level', 'INFO', /log\.level/],
  ['log_file', '/var/log/repmgr.log', /log\.file/],
];

const SAME_MEANING = [
  'node_id',
  'location',
  'priority',
  'failover',
  'promote_command',
  'follow_command',
  'service_start_command',
  'service_stop_command',
  'service_restart_command',
  'service_reload_command',
  'monitor_interval_secs',
  'connection_check_type',
  'reconnect_attempts',
  'reconnect_interval',
  'primary_notification_timeout',
  'standby_disconnect_on_failover',
  'sibling_nodes_disconnect_timeout',
  'primary_visibility_consensus',
  'failover_validation_command',
  'election_rerun_interval',
  'child_nodes_check_interval',
  'child_nodes_connected_min_count',
  'child_nodes_disconnect_min_count',
  'child_nodes_disconnect_timeout',
  'child_nodes_disconnect_command',
  'child_nodes_connected_include_witness',
  'event_notification_command',
  'event_notifications',
  'monitoring_history',
  'log_status_interval',
];

describe('a parameter of repmgr', () => {
  it.each(OBSOLETE)(
    'that a leader key makes needless is named in a warning, with the reason: %s',
    (name, value, why) => {
      const { warnings, problems } = loaded(`${name}: ${value}\n`);
      expect(problems).toEqual([]);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain(`${name}: has no effect: `);
      expect(warnings[0]).toMatch(why);
    },
  );

  it.each(ELSEWHERE)('that stands elsewhere here is refused, with the place: %s', (name, value, where) => {
    const { problems } = loaded(`${name}: ${value}\n`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(where);
  });

  it.each(SAME_MEANING)('that means the same is a setting: %s', (name) => {
    const known = Object.hasOwn(localSchema.properties, name) || Object.hasOwn(localSchema.unused ?? {}, name);
    expect(known).toBe(true);
  });
});

describe("the operator's commands", () => {
  it.each([
    ['promote_command', 'repmgr standby promote -f /etc/repmgr.conf --log-to-file'],
    ['promote_command', 'sudo -u postgres /usr/bin/repmgr -f /etc/repmgr.conf standby promote'],
    ['promote_command', 'sleep 5; /usr/lib/postgresql/15/bin/repmgr standby promote'],
    ['follow_command', 'repmgr standby follow -f /etc/repmgr.conf --upstream-node-id=%n'],
    ['service_start_command', 'repmgr node service --action=start'],
  ])('are refused with the reason where they call repmgr: %s', (name, command) => {
    const { problems } = loaded(`${name}: '${command}'\n`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`${name}: calls repmgr, .*pgha never runs it`));
  });

  it.each([
    'promote_command: /usr/local/bin/promote-and-move-address.sh',
    'promote_command: /etc/repmgr/promote.sh',
    'follow_command: /usr/local/bin/follow.sh %n %a "%c"',
    'service_start_command: sudo systemctl start pg\nservice_stop_command: sudo /usr/bin/systemctl stop repmgr-postgres',
    "child_nodes_disconnect_command: '/usr/local/bin/alone.sh %p'",
    "failover_validation_command: 'test %v -ge 2 || test %u = %t; echo 100%% %n %a'",
  ])('are taken as they are: %s', (line) => {
    expect(loaded(`${line}\n`)).toEqual({ warnings: [], problems: [] });
  });

  it.each([
    ["child_nodes_disconnect_command: '/x %p %q %n %q'", /%q, %n means nothing here .* filled in: %p/],
    ["failover_validation_command: '/x %n %z'", /%z means nothing here/],
    ["follow_command: '/x %n %p'", /%p means nothing here .* filled in: %n, %a, %c/],
  ])('with a placeholder that nobody knows are taken with a warning: %s', (line, warning) => {
    const { warnings, problems } = loaded(`${line}\n`);
    expect(problems).toEqual([]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(warning);
  });
});

describe('service_start_command', () => {
  it('without service_stop_command is taken with a warning: nobody could call a start back', () => {
    const { warnings, problems } = loaded('service_start_command: sudo systemctl start pg\n');
    expect(problems).toEqual([]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('service_start_command: stands without service_stop_command');
  });
});

describe('a priority', () => {
  it('below 0 is a mistake, named with its line', () => {
    expect(loaded('priority: -1\n').problems).toEqual(['line 6, column 1, priority: must be at least 0, is -1']);
  });
});
