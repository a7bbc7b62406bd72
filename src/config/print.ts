/**
 * A checked configuration for people: what was understood, and the times that follow from it. Passwords are never
 * part of it. Used by `pgha --validate-config FILE`.
 */
import { type Budget, budgets, suspicion, suspicionFormula } from '../core/budget.ts';
import { margin, orderlyStopLead } from '../core/lease.ts';
import type { ClusterPolicy } from '../core/policy.ts';
import { type Millis, millis } from '../core/time.ts';
import { PghaError } from '../errors.ts';
import type { Environment } from './environment.ts';
import type { Files } from './files.ts';
import { loadConfig } from './load.ts';
import { type Config, type Login, SERVICE_SETTINGS } from './schema.ts';
import { commandLimits, resolveSettings } from './settings.ts';
import { printable } from './text.ts';
import { printAddress, printBytes, printSeconds } from './units.ts';

export interface Validation {
  /** 0: usable, 1: refused, 2: wrong usage. */
  readonly exitCode: 0 | 1 | 2;
  readonly text: string;
}

/** @param path - undefined or empty: wrong usage */
export function validateConfig(path: string | undefined, env: Environment, files: Files): Validation {
  if (path === undefined || path === '') return { exitCode: 2, text: 'usage: pgha --validate-config FILE\n' };
  try {
    const { config, warnings } = loadConfig({ path, env, ...files });
    return { exitCode: 0, text: printable(`${path} is usable.\n\n${describeConfig(config, warnings)}`) };
  } catch (error) {
    if (!(error instanceof PghaError)) throw error;
    const { happened, untouched, todo } = error.text;
    return { exitCode: 1, text: printable(`${error.code}\n${happened}\n${untouched} ${todo}\n`) };
  }
}

export function describeConfig(config: Config, warnings: readonly string[] = []): string {
  // A cluster that this file makes would run with these; one that exists has its own in etcd.
  const { policy, adjustments, notUnderstood } = resolveSettings(config.bootstrap.dcs, config);
  const overrides = overriddenNames(config.localOverrides);
  return [
    block('Node', [
      ['name', config.node.name],
      ['cluster', `${config.scope} (${config.namespace}/${config.scope}/ in etcd)`],
      ['node_id', config.node.nodeId === null ? 'none: ties are broken by name' : String(config.node.nodeId)],
      ['priority', config.node.noFailover ? 'never leads' : String(config.node.priority)],
      ['location', config.node.location],
      ['tags', Object.keys(config.tags).length === 0 ? 'none' : JSON.stringify(config.tags)],
      [
        'etcd',
        config.etcd.srv === null ? config.etcd.endpoints.join(', ') : `SRV records of ${config.etcd.srv.domain}`,
      ],
      ['etcd login', config.etcd.username === null ? 'none' : `${config.etcd.username}, ${passwordOf(config.etcd)}`],
      ['runtime directory', config.runtimeDirectory],
      ['guard', config.guard.mode],
      ['watchdog', config.watchdog.mode === 'off' ? 'off' : `${config.watchdog.mode}, ${config.watchdog.device}`],
      ...(config.vip === null
        ? []
        : [['virtual address', `${config.vip.addresses.join(', ')} on ${config.vip.interface}`] as const]),
    ]),
    block('HTTP', [
      ['listens on', `${printAddress(config.restapi.listen)}${config.restapi.tls === null ? '' : ', TLS'}`],
      ['others reach it at', printAddress(config.restapi.connectAddress)],
      ['commands', config.restapi.authentication === null ? 'no password: protect the port' : 'with a password'],
    ]),
    block('Postgres', postgresFacts(config)),
    block('Set on this node only, over the settings of the cluster', [
      ['names', overrides.length === 0 ? 'none' : overrides.join(', ')],
    ]),
    'Times (of a cluster that this file makes; one that exists has its own, see `pgha-ctl show-config`)\n',
    ...describeTimes(policy.cluster).map((line) => `  ${line}\n`),
    '\nWhat each failure costs (its phases: `pgha-ctl explain --budget --config FILE`)\n',
    ...budgets(policy.cluster, commandLimits(config.commands)).map((one) => `  ${sentenceOf(one)}\n`),
    list('Adjusted', adjustments),
    list('Without effect in bootstrap.dcs', notUnderstood),
    list('Warnings', warnings),
  ].join('');
}

function postgresFacts(config: Config): readonly (readonly [string, string])[] {
  const { postgresql } = config;
  const commands = SERVICE_SETTINGS.filter((name) => config.commands.service[name] !== null);
  if (config.node.role === 'witness') return [['none', 'this node is a witness']];
  return [
    ['data directory', postgresql.dataDir],
    ['programs', postgresql.binDir ?? 'the usual places, then PATH'],
    ['listens on', `${postgresql.listen.addresses}, port ${postgresql.listen.port}`],
    ['others reach it at', printAddress(postgresql.connectAddress)],
    ['superuser', loginOf(postgresql.authentication.superuser)],
    ['replication', loginOf(postgresql.authentication.replication)],
    ['pg_rewind', loginOf(postgresql.authentication.rewind)],
    ['own parameters', Object.keys(postgresql.parameters).join(', ') || 'none'],
    ...(commands.length === 0 ? [] : [['commands of yours', commands.join(', ')] as const]),
  ];
}

/** What the settings come to when something happens, a sentence each. */
export function describeTimes(policy: ClusterPolicy): readonly string[] {
  const { ttl, loopWait, retryTimeout } = policy;
  const reserve = margin(ttl);
  const lead = orderlyStopLead(ttl);
  return [
    `loop_wait ${print(loopWait)} + 2 × retry_timeout ${print(retryTimeout)} = ${print(millis(loopWait + 2 * retryTimeout))}, within ttl ${print(ttl)}`,
    `A proof of leadership is used for ttl ${print(ttl)} − margin ${print(reserve)} = ${print(millis(ttl - reserve))}: then the guard ends Postgres.`,
    `Without a new proof Postgres stops in order ${print(lead)} before that, ${print(millis(ttl - reserve - lead))} after the last one.`,
    `The primary's node vanishes: another takes over within ttl ${print(ttl)} + 1 s = ${print(millis(ttl + 1000))}.`,
    `The postmaster dies, its node lives: ${crash(policy)}.`,
    `Postgres is there but silent: given up after ${suspicionFormula(policy)} = at most ${print(suspicion(policy))} (connection_check_type ${policy.checkType}).`,
    `A standby more than ${printBytes(Number(policy.maximumLagOnFailoverBytes))} behind does not take over.`,
    ...(policy.maximumLagOnFailoverTime > 0
      ? [
          `Neither does one whose data are more than ${print(policy.maximumLagOnFailoverTime)} older than what was published last.`,
        ]
      : []),
    ...(policy.failover === 'manual' ? ['failover is manual: no node takes over by itself.'] : []),
  ];
}

function crash(policy: ClusterPolicy): string {
  const { walRescue, primaryCrash } = policy;
  const otherwise = {
    auto: primaryCrash === 'failover' ? 'else given up' : 'else it is restarted here',
    restart: 'else it is restarted here',
    wait: 'and tried again until it is there',
    lose: 'else given up',
  }[walRescue];
  const rescue = `missing WAL is brought to a standby within ${print(policy.walRescueTimeout)}, ${otherwise}`;
  const restart = `a restart here may take ${print(policy.primaryStartTimeout)}`;
  switch (policy.primaryCrash) {
    case 'auto':
      return `handed over at once, ${rescue}; without a candidate ${restart}`;
    case 'restart':
      return restart;
    case 'failover':
      return `handed over, ${rescue}`;
  }
}

/** One failure with its phases, a line each; what every failure costs is docs/timing.md in numbers. */
export function describeBudget(budget: Budget): readonly string[] {
  const length = (value: Millis | null): string => (value === null ? '?' : print(value)).padStart(8);
  return [
    sentenceOf(budget),
    '     usual  at worst',
    ...budget.phases.map(
      ({ what, formula, usual, worst, writesGoOn }) =>
        `  ${length(usual)}  ${length(worst)}  ${what}${writesGoOn ? ' (writes go on)' : ''}${formula === '' ? '' : `: ${formula}`}`,
    ),
    ...budget.notes.map((note) => `  ${note}`),
  ];
}

/** The same for all failures, as a table of a page: for docs/runbooks.md. */
export function budgetMarkdown(policy: ClusterPolicy): string {
  const rows = budgets(policy).map(({ title, phases, usual, worst, plus }) =>
    phases.every(({ writesGoOn }) => writesGoOn)
      ? `| ${title} | writes go on | | |`
      : `| ${title} | ${print(usual)} | ${print(worst)} | ${plus ?? ''} |`,
  );
  return ['| what happens | usually | at worst | and as long as this takes |', '|---|---|---|---|', ...rows].join('\n');
}

function sentenceOf({ title, phases, usual, worst, plus }: Budget): string {
  if (phases.every(({ writesGoOn }) => writesGoOn)) return `${title}: writes go on.`;
  const more = plus === null ? '' : `, and as long as this takes: ${plus}`;
  return `${title}: no writes for ${print(usual)}, at worst ${print(worst)}${more}.`;
}

const print = (length: Millis): string => printSeconds(length / 1000);

const passwordOf = (login: { readonly password: string | null }): string =>
  login.password === null ? 'without a password' : 'with a password';

const loginOf = (login: Login): string => `${login.username}, ${passwordOf(login)}`;

function overriddenNames(overrides: Readonly<Record<string, unknown>>): readonly string[] {
  return Object.entries(overrides).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null
      ? Object.entries(value).map(([inner, is]) => `${name}.${inner} ${String(is)}`)
      : [`${name} ${String(value)}`],
  );
}

function block(title: string, rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return `${title}\n${rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`).join('')}\n`;
}

function list(title: string, entries: readonly string[]): string {
  return entries.length === 0 ? '' : `\n${title}\n${entries.map((line) => `  ${line}\n`).join('')}`;
}
