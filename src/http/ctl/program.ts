/**
 * pgha-ctl's command line: every command with its options, and what the exit code means. 0 done, 1 refused or failed,
 * 2 called wrongly. What commands do stands in their own files, loaded when they run.
 */
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { KINDS } from '../../config/import/kinds.ts';
import { parseSize } from '../../config/units.ts';
import { ORIGINS, STEPS, type Step } from './adopt/names.ts';
import { CHECKS, type Check } from './check/names.ts';
import { SHELLS, type Shell } from './completion.ts';
import { type ContextFlags, readContext } from './context.ts';
import { type Outside, ROLES, Session } from './session.ts';
import { FORMATS } from './table.ts';
import { Misuse, Refusal, type Terminal } from './terminal.ts';

/** @returns the exit code */
export async function run(args: readonly string[], outside: Outside): Promise<number> {
  const { terminal } = outside;
  let code = 0;
  let session: Session | null = null;
  const program = build(terminal, (work) => async () => {
    const flags = program.opts() as { configFile?: string; dcsUrl?: string; dcs?: string; insecure?: boolean };
    const contextFlags: ContextFlags = { ...flags, dcsUrl: flags.dcsUrl ?? flags.dcs };
    session = new Session(outside, () => readContext(contextFlags, terminal.env));
    code = await work(session);
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    // commander ends with 1 for what is a wrong call; help and version are no error.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof Misuse) {
      terminal.err(`Error: ${error.message}`);
      return 2;
    }
    if (error instanceof Refusal) {
      terminal.err(`Error: ${error.message}`);
      return 1;
    }
    terminal.err(`Error: ${error instanceof Error ? error.message : String(error)}`);
    if (terminal.env['PGHA_CTL_DEBUG'] !== undefined && error instanceof Error) terminal.err(error.stack ?? '');
    return 1;
  } finally {
    await (session as Session | null)?.close();
  }
}

type Work = (session: Session) => Promise<number>;

// biome-ignore lint/suspicious/noExplicitAny: commander hands parsed options over untyped; each command's own type says what they are.
type Parsed = any;

const GLOBAL = [
  { flags: '-c, --config-file <file>', long: 'config-file', attributeName: 'configFile' },
  { flags: '-d, --dcs-url <url>', long: 'dcs-url', attributeName: 'dcsUrl' },
  { flags: '-k, --insecure', long: 'insecure', attributeName: 'insecure' },
] as const;

const CLUSTER = 'name of the cluster; the scope of the configuration when left out';

function build(terminal: Terminal, start: (work: Work) => () => Promise<void>): Command {
  const program = new Command('pgha-ctl')
    .description('Shows and steers PostgreSQL clusters that pgha (or Patroni) keeps available.')
    .option('-c, --config-file <file>', 'configuration of a node or of patronictl')
    .option('-d, --dcs-url <url>', 'etcd3://HOST:PORT[,HOST:PORT]/NAMESPACE')
    .addOption(new Option('--dcs <url>').hideHelp())
    .option('-k, --insecure', 'accept any certificate of a REST API')
    // Before the commands are made: they take these over.
    .configureOutput({
      writeOut: (text) => terminal.out(text.trimEnd()),
      writeErr: (text) => terminal.err(text.trimEnd()),
    })
    .exitOverride()
    // `query -c` is a statement, whatever -c is before it.
    .enablePositionalOptions()
    .showHelpAfterError('(use --help for the options)');

  const bare = (usage: string, description: string): Command => program.command(usage).description(description);
  /** The program's own options may stand behind the command as well. */
  const command = (usage: string, description: string): Command => {
    const made = bare(usage, description);
    for (const { flags, attributeName, long } of GLOBAL) {
      made.addOption(new Option(flags).hideHelp());
      made.on(`option:${long}`, (value: string | null) => program.setOptionValue(attributeName, value ?? true));
    }
    made.addOption(new Option('--group <number>').hideHelp());
    made.on('option:group', () => {
      throw new Misuse('--group names a group of Citus, and pgha runs none');
    });
    return made;
  };
  const acting = (made: Command): Command =>
    made.addOption(
      new Option('--format <format>', 'how to print the result').choices(['pretty', 'json']).default('pretty'),
    );
  const listed = (made: Command): Command =>
    made.addOption(new Option('-f, --format <format>', 'how to print').choices([...FORMATS]).default('pretty'));
  const watched = (made: Command): Command =>
    made
      .option('-W', 'again every two seconds')
      .option('-w, --watch <seconds>', 'again every so many seconds', positive);
  const role = (byDefault?: string): Option => {
    const option = new Option('-r, --role <role>', 'only members with this role').choices([...ROLES]);
    return byDefault === undefined ? option : option.default(byDefault);
  };
  const one = new Argument('[cluster]', CLUSTER);
  /** CLUSTER [MEMBER...], where the cluster may be left out: `targets` finds out which words are which. */
  const withMembers = (made: Command): Command =>
    made.argument('[cluster]', CLUSTER).argument('[members...]', 'all of them when left out');
  const words = (cluster: string | undefined, members: readonly string[]): string[] =>
    cluster === undefined ? [] : [cluster, ...members];

  watched(command('list', 'the members of clusters').argument('[clusters...]', CLUSTER))
    .addOption(
      new Option(
        '-f, --format <format>',
        'how to print; repmgr: as `repmgr cluster show`, repmgr-service: as `repmgr service status`',
      )
        .choices([...FORMATS, 'repmgr', 'repmgr-service'])
        .default('pretty'),
    )
    .option('--compact', "repmgr's table without connection strings")
    .option('-e, --extended', 'all columns')
    .option('-t, --timestamp', 'print the time above')
    .option('--bytes', 'lags in bytes, not in whole MB')
    .action((names: string[], options: Parsed) =>
      start(async (session) => (await import('./list.ts')).list(session, names, options))(),
    );
  watched(command('topology', 'the members as a tree').argument('[clusters...]', CLUSTER)).action(
    (names: string[], options: Parsed) =>
      start(async (session) => (await import('./list.ts')).topology(session, names, options))(),
  );

  acting(command('switchover', 'hand leadership over to another member').addArgument(one))
    .option('--leader <name>', 'the current leader')
    .addOption(new Option('--primary <name>', 'the same').conflicts('leader'))
    .addOption(new Option('--master <name>').hideHelp())
    .option('--candidate <name>', 'who is to lead; the best one when left out')
    .option('--scheduled <time>', 'when: `now`, or a time; without a zone it is a local one')
    .option('--force', 'do not ask')
    .option('--dry-run', 'check only')
    .option('--no-wait', 'do not wait until the new primary takes writes')
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) =>
        (await import('./handover.ts')).switchover(session, name, {
          ...options,
          primary: options.primary ?? options.master,
        }),
      )(),
    );
  acting(command('failover', 'make a member the leader, also when there is none').addArgument(one))
    .option('--candidate <name>', 'who is to lead')
    .option('--accept-data-loss', 'also one that may lack acknowledged commits (synchronous_mode)')
    .option('--force', 'do not ask')
    .option('--dry-run', 'check only')
    .option('--no-wait', 'do not wait until the new primary takes writes')
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./handover.ts')).failover(session, name, options))(),
    );

  acting(withMembers(command('restart', 'restart Postgres')).addOption(role('any')))
    .option('--any', 'one of them')
    .option('--scheduled <time>', 'when: `now`, or a time; without a zone it is a local one')
    .option('--pending', 'only where settings wait for it')
    .option('--pg-version <version>', 'only where Postgres is older')
    .option('--timeout <seconds>', 'how long starting may take')
    .option('--force', 'do not ask')
    .action((cluster: string | undefined, members: string[], options: Parsed) =>
      start(async (session) => (await import('./restart.ts')).restart(session, words(cluster, members), options))(),
    );
  acting(withMembers(command('stop', 'stop Postgres, in maintenance; a leader hands over first')))
    .option('--no-hand-over', 'a leader is stopped with the key: nobody accepts writes')
    .option('--force', 'do not ask')
    .action((cluster: string | undefined, members: string[], options: Parsed) =>
      start(async (session) => (await import('./stop-start.ts')).stop(session, words(cluster, members), options))(),
    );
  acting(withMembers(command('start', 'start Postgres that was stopped in maintenance'))).action(
    (cluster: string | undefined, members: string[], options: Parsed) =>
      start(async (session) => (await import('./stop-start.ts')).start(session, words(cluster, members), options))(),
  );
  acting(
    command('remove-member', 'forget a member that is gone for good: its slots')
      .argument('[cluster]', CLUSTER)
      .argument('[member]', 'its name'),
  )
    .option('--force', 'do not ask')
    .action((cluster: string | undefined, member: string | undefined, options: Parsed) =>
      start(async (session) =>
        (await import('./remove-member.ts')).removeMember(
          session,
          words(cluster, member === undefined ? [] : [member]),
          options,
        ),
      )(),
    );
  acting(withMembers(command('reload', 'read configuration files again')).addOption(role('any')))
    .option('--force', 'do not ask')
    .action((cluster: string | undefined, members: string[], options: Parsed) =>
      start(async (session) => (await import('./reload.ts')).reload(session, words(cluster, members), options))(),
    );
  acting(
    withMembers(command('restart-daemon', 'the daemon alone makes room for the next one, of another version perhaps')),
  )
    .addOption(role('any'))
    .option('--force', 'do not ask')
    .option(
      '--regardless',
      'also while the next one could not go on with everything (etcd is away, a copy is under way)',
    )
    .option('--no-wait', 'do not wait until the next one is there')
    .action((cluster: string | undefined, members: string[], options: Parsed) =>
      start(async (session) =>
        (await import('./restart-daemon.ts')).restartDaemon(session, words(cluster, members), options),
      )(),
    );
  acting(withMembers(command('reinit', 'copy a standby anew')))
    .option('--force', 'do not ask, and cancel what is under way')
    .option('--from-leader', 'copy from the leader')
    .option('--dry-run', 'check only: senders, slots, rights, room')
    .option('--wait', 'wait until it is done')
    .action((cluster: string | undefined, members: string[], options: Parsed) =>
      start(async (session) => (await import('./reinit.ts')).reinit(session, words(cluster, members), options))(),
    );

  acting(
    command('flush', 'withdraw what is scheduled')
      .argument('<words...>', '[CLUSTER] [MEMBER...] and what: restart or switchover')
      .addOption(role('any')),
  )
    .option('--force', 'do not ask')
    .action((names: string[], options: Parsed) =>
      start(async (session) => (await import('./flush.ts')).flush(session, names, options))(),
    );

  acting(command('pause', 'leave everything as it is: maintenance').addArgument(one))
    .option('--wait', 'wait until every member knows')
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./pause.ts')).pause(session, name, options))(),
    );
  acting(command('resume', 'end of the maintenance').addArgument(one))
    .option('--wait', 'wait until every member knows')
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./pause.ts')).resume(session, name, options))(),
    );

  acting(command('demote-cluster', 'have the whole cluster follow another one').addArgument(one))
    .option('--host <host>', "the other cluster's primary, or several with commas between")
    .option('--port <port>', 'its port', port)
    .option('--restore-command <command>', 'brings WAL from an archive')
    .option('--primary-slot-name <name>', 'a replication slot there')
    .option('--force', 'do not ask')
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./cluster-role.ts')).demoteCluster(session, name, options))(),
    );
  acting(command('promote-cluster', 'make a standby cluster one of its own').addArgument(one))
    .option('--force', 'do not ask')
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./cluster-role.ts')).promoteCluster(session, name, options))(),
    );

  command('show-config', 'the cluster-wide settings')
    .addArgument(one)
    .addOption(new Option('--format <format>', 'how to print').choices(['yaml', 'json']).default('yaml'))
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./show-config.ts')).showConfig(session, name, options))(),
    );
  acting(command('edit-config', 'change the cluster-wide settings').addArgument(one))
    .option('-s, --set <key=value>', 'one setting; null removes it', gather, [])
    .option('-p, --pg <name=value>', 'one parameter of Postgres', gather, [])
    .option('--apply <file>', 'merge this file in; - is standard input')
    .option('--replace <file>', 'set exactly what this file says; - is standard input')
    .option('-q, --quiet', 'do not show the difference')
    .option('--force', 'do not ask')
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./edit-config.ts')).editConfig(session, name, options))(),
    );

  listed(command('history', 'the timelines the cluster came through').addArgument(one))
    .option('--lag', 'how far the standbys were behind instead, in bytes')
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./history.ts')).history(session, name, options))(),
    );
  listed(command('events', 'what happened, newest first').addArgument(one))
    .option('--event <name>', 'only this event')
    .option('--node <name>', 'only events about this node; a name or a node_id')
    .option('--limit <number>', 'so many at most', wholeNumber, 20)
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./events.ts')).events(session, name, options))(),
    );
  listed(command('audit', 'who asked for what, newest first').addArgument(one))
    .option('--limit <number>', 'so many at most', wholeNumber, 20)
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./audit.ts')).audit(session, name, options))(),
    );
  command('explain', 'which member could lead now, and what stops the others')
    .addArgument(one)
    .option('--last', 'how the last takeover came about')
    .addOption(new Option('--budget', 'what each failure costs at worst, by the settings').conflicts('last'))
    .option('--config <file>', "with --budget: of the cluster that this node's file makes, instead of etcd's")
    .addOption(
      new Option('-f, --format <format>', 'how to print').choices(['pretty', 'json', 'yaml']).default('pretty'),
    )
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./explain.ts')).explain(session, name, options))(),
    );
  acting(withMembers(command('version', 'the version of pgha-ctl, and of members'))).action(
    (cluster: string | undefined, members: string[], options: Parsed) =>
      start(async (session) => (await import('./version.ts')).version(session, words(cluster, members), options))(),
  );
  acting(command('dsn', 'how to connect').addArgument(one).addOption(role()))
    .addOption(new Option('-m, --member <name>', 'this member').conflicts('role'))
    .addOption(
      new Option('--all', 'all members in one string: libpq finds the primary, or a standby with -r').conflicts(
        'member',
      ),
    )
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./dsn.ts')).dsn(session, name, options))(),
    );
  watched(bare('query', 'run a statement on a member').addArgument(one).addOption(role()))
    .option('-c, --command <sql>', 'the statement')
    .option('-f, --file <file>', 'a file with the statement')
    .addOption(new Option('--format <format>', 'how to print').choices([...FORMATS]).default('tsv'))
    .addOption(new Option('-m, --member <name>', 'on this member').conflicts('role'))
    .option('-U, --username <name>', 'as this user')
    .option('-d, --dbname <name>', 'in this database')
    .option('--password', 'ask for a password')
    .option('--delimiter <text>', 'between the columns of tsv', '\t')
    .action((name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./query.ts')).query(session, name, options))(),
    );
  acting(command('import', 'a file of repmgr, Patroni or pgpool becomes a pgha.yml').argument('<file>', 'the file'))
    .addOption(
      new Option('--from <program>', 'whose file it is; seen from its content when left out').choices([...KINDS]),
    )
    .option('-o, --output <file>', 'where to write it; standard output when left out')
    .option('--force', 'also over a file that exists')
    .option('--scope <name>', 'name of the cluster, where the file has none')
    .option('--etcd <addresses>', 'members of etcd, HOST:PORT with commas, where the file names none')
    .option('--node <number>', 'of a pgpool.conf: the backend that this node is', backendNumber)
    .action((file: string, options: Parsed) =>
      start(async (session) => (await import('./import.ts')).importFile(session, file, options))(),
    );
  acting(
    command('check', 'whether what is needed is there: from this machine, changing nothing')
      .addArgument(new Argument('<what>', 'which').choices([...CHECKS, 'all']))
      .addArgument(one),
  )
    .option('--nagios', "one line, with the exit codes of Nagios' plugins: 0 ok, 1 warning, 2 critical, 3 unknown")
    .option('--warning <size>', 'replication: more lag than this is worth a warning', size, 16 * 2 ** 20)
    .option('--critical <size>', 'replication: more than this is critical', size, 128 * 2 ** 20)
    .option('--timeout <seconds>', 'for each question', positive, 2)
    .action((what: Check | 'all', name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./check.ts')).check(session, what, name, options))(),
    );
  acting(
    command('adopt', 'take over a cluster that runs under repmgr, or under nobody, without restarting its Postgres')
      .addArgument(
        new Argument(
          '<step>',
          'check: changes nothing; take-over: from the watching daemons on; back: to repmgr',
        ).choices([...STEPS]),
      )
      .addArgument(one),
  )
    .addOption(
      new Option('--from <program>', 'what runs the cluster; left out: as adopt_from says').choices([...ORIGINS]),
    )
    .option('--repmgr-database <name>', "where repmgr keeps its table; left out: the database of pgha.yml, or 'repmgr'")
    .option('--force', 'do not ask')
    .action((step: Step, name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./adopt.ts')).adopt(session, step, name, options))(),
    );
  acting(
    command('drill', 'all checks, and then a rehearsal on the living cluster, if it is asked for')
      .addArgument(new Argument('<what>', 'which').choices(['switchover', 'failover']))
      .addArgument(one),
  )
    .option('--candidate <name>', 'switchover: who is to lead meanwhile')
    .option('--kill-postgres', "failover: really kill the primary's Postgres; on its node, as its user")
    .option('--yes', 'rehearse after the checks without asking')
    .option('--regardless', 'also where a check has found something critical')
    .action((what: 'switchover' | 'failover', name: string | undefined, options: Parsed) =>
      start(async (session) => (await import('./drill.ts')).drill(session, what, name, options))(),
    );
  bare(
    'hash-password',
    'a password as a hash, for restapi.authentication.password; read from standard input, or typed',
  ).action(() => start(async () => (await import('./hash-password.ts')).hashTyped(terminal))());
  bare('completion', 'a script that has your shell complete these commands')
    .addArgument(new Argument('<shell>', 'which').choices([...SHELLS]))
    .action((shell: Shell) =>
      start(async () => {
        terminal.out((await import('./completion.ts')).completionScript(program, shell));
        return 0;
      })(),
    );
  command('remove', 'forget a whole cluster: everything about it in etcd')
    .argument('<cluster>', 'its name')
    .addOption(
      new Option('-f, --format <format>', 'how to print the result').choices(['pretty', 'json']).default('pretty'),
    )
    .action((name: string, options: Parsed) =>
      start(async (session) => (await import('./remove.ts')).remove(session, name, options))(),
    );
  return program;
}

function port(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < 1 || number > 65_535) throw new InvalidArgumentError('a port is expected');
  return number;
}

function positive(text: string): number {
  const number = Number(text);
  if (!(number > 0)) throw new InvalidArgumentError('a number of seconds is expected');
  return number;
}

function wholeNumber(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number) || number < 1)
    throw new InvalidArgumentError('a whole number of at least 1 is expected');
  return number;
}

function size(text: string): number {
  const bytes = parseSize(text);
  if (bytes === null || bytes < 0) throw new InvalidArgumentError('a size is expected: 16MB');
  return bytes;
}

function backendNumber(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('the number of a backend is expected');
  return Number(text);
}

const gather = (value: string, before: string[]): string[] => [...before, value];
